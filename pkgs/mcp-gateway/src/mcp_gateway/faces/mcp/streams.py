"""Event streams of sessions: what is said on them, the connection it goes over, and what is kept of it.

A stream outlives its connection. Who lost that names the last event they have, and gets the rest on another
(2025-11-25, transports, "resumability and redelivery"): what was said is kept for a while, bounded for each
session and for all together, and what is older goes first. A stream is read on one connection at a time, so
each message is on exactly one. Knows nothing of what a message means.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.faces.http import JSON_TYPE, Send, respond, send_part, slices
from mcp_gateway.gateway.bells import Bell, Patience
from mcp_gateway.wire import sse

KEEP_ALIVE_S: Final = 15.0  # below every common proxy's patience
RETRY_MS: Final = 1_000  # soon enough for a person who waits, and no storm after a restart of a proxy
KEPT_S: Final = 300.0  # a train's tunnel, a laptop's lid; whoever stays away for longer asks again
KEPT_EVENTS: Final = 1_000  # of one session; progress of a day is worth nothing, an answer comes last
KEPT_BYTES: Final = 16 * 1024 * 1024  # of one session: the longest result that is no artifact, and then some
KEPT_BYTES_OF_ALL: Final = 64 * 1024 * 1024  # of everybody: a gateway at home has that to spare
_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")  # legal between JSON tokens, the end of a field here


@dataclass(frozen=True, slots=True)
class Large:
    """A message around a large result, which is not copied."""

    head: bytes
    result: Raw
    tail: bytes

    @property
    def size(self) -> int:
        return len(self.head) + memoryview(self.result).nbytes + len(self.tail)

    def parts(self) -> Iterator[bytes]:
        yield self.head
        yield from slices(self.result)
        yield self.tail


class Flowing:
    """A message that is read from a file while it is sent, once; closed when that is over or given up."""

    def __init__(self, body: Iterator[bytes], close: Callable[[], None]) -> None:
        self._body = body
        self._close: Callable[[], None] | None = close

    def parts(self) -> Iterator[bytes]:
        try:
            yield from self._body
        finally:
            self.close()

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()


Said = bytes | Large | Flowing
"""One JSON-RPC message on its way to a client."""


def parts_of(said: Said) -> Iterator[bytes]:
    return iter((said,)) if isinstance(said, bytes) else said.parts()


def size_of(said: Said) -> int:
    """Bytes that it takes in memory."""
    if isinstance(said, Flowing):
        return 0
    return len(said) if isinstance(said, bytes) else said.size


async def send_event(send: Send, said: Said, event_id: str | None = None) -> None:
    """Says it as one event."""
    if isinstance(said, bytes):
        await send_part(send, sse.event(said, "message", event_id))
        return
    head = b"event: message\n" + (b"" if event_id is None else b"id: %b\n" % event_id.encode())
    await send_part(send, head + b"data: ")
    for part in said.parts():
        await send_part(send, part.translate(_LINE_ENDS))
    await send_part(send, b"\n\n")


async def send_answer(send: Send, said: Said | None, headers: list[tuple[bytes, bytes]]) -> None:
    """Says it as the whole answer to a POST; None: that it was taken."""
    if said is None or isinstance(said, bytes):
        await respond(send, 202 if said is None else 200, said or b"", JSON_TYPE, *headers)
        return
    # The length of what flows is known only once it is escaped.
    length = [(b"content-length", b"%d" % said.size)] if isinstance(said, Large) else []
    headers = [(b"content-type", JSON_TYPE), *length, *headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in said.parts():
        await send_part(send, part)
    await send({"type": "http.response.body", "body": b""})


@dataclass(frozen=True, slots=True)
class Event:
    """`number` counts the events of its stream from 1; `at` is when it was said, monotonic."""

    stream: "Stream"
    number: int
    said: Said
    at: float


NO_EVENTS: Final[deque[Event]] = deque(maxlen=0)  # an empty one of one's own takes 760 bytes


class Reader:
    """One connection that a stream is read on."""

    __slots__ = ("_room", "bell", "is_over", "is_sending", "waiting")

    def __init__(self, events: list[Event], patience: Patience) -> None:
        self.waiting = deque(events) if events else NO_EVENTS
        self.is_sending = False
        self.is_over = False
        self.bell = Bell(patience)
        self._room: asyncio.Event | None = None  # of those who wait for it

    @property
    def lags(self) -> bool:
        return self.is_sending or bool(self.waiting)

    def take(self, event: Event) -> None:
        if self.waiting is NO_EVENTS:
            self.waiting = deque()
        self.waiting.append(event)
        self.bell.ring()

    async def room(self) -> None:
        """Returns when it has taken all there was."""
        if self._room is None:
            self._room = asyncio.Event()
        await self._room.wait()

    def has_taken(self) -> None:
        """Nothing waits to be sent."""
        self.waiting = NO_EVENTS
        if self._room is not None:
            self._room.set()
            self._room = None

    def finish(self) -> None:
        """There is nothing to come; what waits is still sent."""
        self.is_over = True
        self.bell.ring()

    def drop(self) -> None:
        """The connection is gone, or the stream goes over another: nothing more is sent on this one."""
        for event in self.waiting:
            if isinstance(event.said, Flowing):
                event.said.close()
        self.has_taken()
        self.finish()


class Stream:
    """One event stream of a session. `name` begins the ids of its events; without `kept` they have none."""

    __slots__ = ("_kept", "_number", "_patience", "_sent", "is_over", "left_at", "name", "reader")

    def __init__(self, name: str, kept: "Kept | None", patience: Patience) -> None:
        self.name = name
        self._patience = patience  # of who waits for something to be said
        self.reader: Reader | None = None
        self.left_at = clock.now_s()  # when the last connection ended
        self.is_over = False
        self._kept = kept
        self._number = 0
        self._sent = 0  # the last event that any connection took

    def attach(self, after: int | None = None) -> Reader:
        """Reads it on a connection from now on, in place of the one before.

        What comes first is what was said after that event; None: what went over no connection yet.
        """
        if self.reader is not None:
            self.reader.drop()
        missed = self._sent if after is None else after
        events = [] if self._kept is None else self._kept.of(self, missed)
        self.reader = reader = Reader(events, self._patience)
        if self.is_over:
            reader.finish()
        return reader

    def detach(self, reader: Reader) -> None:
        reader.drop()
        if self.reader is reader:
            self.reader = None
            self.left_at = clock.now_s()

    def put(self, said: Said) -> None:
        """Says something. Nothing waits here: who can wait asks for `room` first."""
        if not self.is_over:
            self._number += 1
            event = Event(self, self._number, said, clock.now_s())
            if self._kept is not None and not isinstance(said, Flowing):
                self._kept.add(event)
            if self.reader is not None:
                self.reader.take(event)
                return
        if isinstance(said, Flowing):
            said.close()

    async def room(self) -> None:
        """Returns when the connection has taken what was said, or there is none."""
        while self.reader is not None and self.reader.lags:
            await self.reader.room()

    def finish(self) -> None:
        """It is over: nothing more is said; what waits is still sent, and kept."""
        self.is_over = True
        if self.reader is not None:
            self.reader.finish()
        if self._kept is not None:
            self._kept.settle(self)

    async def carry(
        self,
        reader: Reader,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        first: bytes,
        when_quiet: Callable[[], None] | None = None,
    ) -> None:
        """Sends what is said over one connection, until the stream is over or goes over another.

        `first` is sent at once; `when_quiet` is called with every keep-alive.
        """
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *headers]})
            if first:
                await send_part(send, first)
            while True:
                while reader.waiting:
                    event = reader.waiting.popleft()
                    reader.is_sending = True
                    self._sent = max(self._sent, event.number)
                    await self._send(send, event)
                    reader.is_sending = False
                reader.has_taken()
                if reader.is_over:
                    break
                if not await reader.bell.wait(KEEP_ALIVE_S):
                    if when_quiet is not None:
                        when_quiet()
                    await send_part(send, sse.KEEP_ALIVE)
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.detach(reader)

    async def _send(self, send: Send, event: Event) -> None:
        event_id = None if self._kept is None else self.event_id(event.number)
        await send_event(send, event.said, event_id)

    def event_id(self, number: int) -> str:
        return f"{self.name}-{number}"

    def priming(self) -> bytes:
        """The event without data that gives a client an id to come back with, and the time to wait before."""
        return b"id: %b\nretry: %d\ndata: \n\n" % (self.event_id(0).encode(), RETRY_MS)


class Kept:
    """What was said on the streams of one session, the oldest first; and the streams that can be resumed."""

    def __init__(self, store: "EventStore") -> None:
        self.streams: dict[str, Stream] = {}
        self.events = NO_EVENTS
        self.size = 0
        self.is_closed = False
        self._store = store
        self._opened = 0

    def open(self, kind: str) -> Stream:
        """A new stream; `kind` is a letter that its events' ids begin with."""
        self._opened += 1
        stream = Stream(f"{kind}{self._opened}", self, self._store.patience)
        self.streams[stream.name] = stream
        return stream

    def add(self, event: Event) -> None:
        if self.is_closed:
            return
        if self.events is NO_EVENTS:
            self.events = deque()
        self.events.append(event)
        self.size += size_of(event.said)
        while len(self.events) > 1 and (
            len(self.events) > KEPT_EVENTS or self.size > KEPT_BYTES or event.at - self.events[0].at > KEPT_S
        ):
            self.forget()
        self._store.grew(self, size_of(event.said))

    def forget(self) -> None:
        """Lets go of the oldest event."""
        event = self.events.popleft()
        self.size -= size_of(event.said)
        self._store.shrank(size_of(event.said))
        self.settle(event.stream)

    def of(self, stream: Stream, after: int) -> list[Event]:
        return [event for event in self.events if event.stream is stream and event.number > after]

    def settle(self, stream: Stream) -> None:
        """A stream that is over and of which nothing is kept cannot be resumed: it is forgotten, too."""
        if stream.is_over and not any(event.stream is stream for event in self.events):
            self.streams.pop(stream.name, None)

    def clear(self) -> None:
        while self.events:
            self.forget()
        self.events = NO_EVENTS


class EventStore:
    """What all sessions keep together; those that said nothing for the longest come first."""

    def __init__(self) -> None:
        self.size = 0
        self.patience = Patience()
        self._sessions: OrderedDict[Kept, None] = OrderedDict()

    def grew(self, kept: Kept, size: int) -> None:
        self.size += size
        self._sessions[kept] = None
        self._sessions.move_to_end(kept)
        while self.size > KEPT_BYTES_OF_ALL:
            oldest = next(iter(self._sessions))
            oldest.forget()
            if not oldest.events:
                del self._sessions[oldest]

    def shrank(self, size: int) -> None:
        self.size -= size

    def expire(self, now: float) -> None:
        """Lets go of what is too old, of sessions that say nothing any more."""
        while self._sessions:
            oldest = next(iter(self._sessions))
            if oldest.events and now - oldest.events[-1].at <= KEPT_S:
                return
            self.drop(oldest)

    def drop(self, kept: Kept) -> None:
        """Lets go of all that a session keeps."""
        kept.clear()
        self._sessions.pop(kept, None)

    def close(self, kept: Kept) -> None:
        """The session has ended: nothing of it is kept any more."""
        kept.is_closed = True
        self.drop(kept)
