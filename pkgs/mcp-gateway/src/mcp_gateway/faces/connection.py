"""One client connection: uvicorn's, with the limits that HTTP itself leaves open.

A request head has a size, a request a time to arrive, an answer a time to be read. Checked by one
look at all connections each second, so that a request pays for two assignments, not for timers.

Thousands of clients may hold an idle connection each, so what only a request needs is let go with it.
"""

import asyncio
from collections import deque
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcp_gateway.clock import now_s
from mcp_gateway.faces.peers import PEER, Peer

HEAD_BYTES: Final = 64 * 1024  # request line and headers; what common servers allow, doubled
ARRIVE_S: Final = 30.0  # from the first byte of a request to the last of its body
READ_S: Final = 30.0  # an answer of which the client takes nothing for so long is not wanted


class _Trailers(list[tuple[bytes, bytes]]):
    """Fields after a body, which nobody reads: they are no headers (RFC 9110, section 6.5.1).

    uvicorn would put them among the headers of the request, past whatever a proxy takes out of those.
    """

    def append(self, _field: tuple[bytes, bytes]) -> None:
        return


_NO_PIPELINE: Final[deque[Any]] = deque(maxlen=0)  # a deque of one's own takes 760 bytes, also when empty


class _Flow(FlowControl):
    """uvicorn's, without an event on every connection: most are never too slow for what is written."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False

    def pause_writing(self) -> None:
        if not self.write_paused:
            self.write_paused = True
            self._is_writable_event = asyncio.Event()


class Connection(HttpToolsProtocol):
    """Closes itself beyond its limits; `check` is called now and then with the time."""

    # Slots, because an object with more than thirty attributes gets a dictionary of its own (1.5 kB).
    __slots__ = ("_another_ended", "_arriving_since", "_head_bytes", "_peer", "_stuck_since")

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self.pipeline = _NO_PIPELINE
        self._peer = Peer(transport)
        self._arriving_since: float | None = None
        self._stuck_since: float | None = None
        self._head_bytes: int | None = None  # of a head that is still arriving, or of fields after a body
        self._another_ended = False  # in the bytes that came last; or a chunk began

    def on_message_begin(self) -> None:
        self._arriving_since = now_s()
        self._head_bytes = 0
        super().on_message_begin()
        scope: Any = self.scope
        # Not the connection itself, which holds the scope: a circle would outlive the request.
        scope[PEER] = self._peer

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and self.pipeline is _NO_PIPELINE:
            self.pipeline = deque()  # this request waits in it
        super().on_headers_complete()
        self.headers = _Trailers()

    def on_chunk_header(self) -> None:
        self._head_bytes = 0  # it may be the last chunk, and what follows be fields
        self._another_ended = True

    def on_body(self, body: bytes) -> None:
        self._head_bytes = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving_since = None
        self._another_ended = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        cycle: Any = self.cycle
        # What still comes of a body that nobody waited for is told to the cycle.
        if cycle is not None and cycle.response_complete and not cycle.more_body:
            self._forget()

    def _forget(self) -> None:
        """Nothing of the last request is needed any more; the next brings its own."""
        nothing: Any = None
        self.cycle = self.scope = self.headers = nothing

    def data_received(self, data: bytes) -> None:
        self._another_ended = False
        super().data_received(data)
        # Where another request ended in these bytes, they are mostly its own.
        if self._head_bytes is not None and not self._another_ended:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.abort()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        if self.cycle is not None:  # of a request before, in the same bytes: nobody hears its answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def pause_writing(self) -> None:
        self._stuck_since = now_s()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    @property
    def is_answering(self) -> bool:
        """Whether an answer has begun and is not over: it is being read, or is a stream."""
        cycle = self.cycle
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def check(self, now: float, read_s: float = READ_S) -> None:
        arriving, stuck = self._arriving_since, self._stuck_since
        if (arriving is not None and now - arriving > ARRIVE_S) or (
            stuck is not None and now - stuck > read_s
        ):
            self.abort()

    def abort(self) -> None:
        """Ends the connection without waiting for what was not read."""
        transport: asyncio.Transport | None = self.transport
        if transport is not None:
            transport.abort()
