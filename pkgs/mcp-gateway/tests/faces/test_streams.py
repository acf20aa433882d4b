"""Event streams that outlive their connection: what is kept, within which bounds, and who gets it.

Without a socket: a connection is a list that what is sent goes into, and may be one that takes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.faces.http import send_event
from mcp_gateway.faces.mcp import streams as streams_module
from mcp_gateway.faces.mcp.streams import (
    KEPT_S,
    EventStore,
    Flowing,
    Kept,
    Large,
    Stream,
)
from tests.faces.knocking import frames

WAIT_S = 10


class Connection:
    """What a client reads; while `blocked`, it takes nothing."""

    def __init__(self) -> None:
        self.sent = b""
        self.headers: dict[bytes, bytes] = {}
        self.over = asyncio.Event()
        self.taking = asyncio.Event()
        self.taking.set()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.taking.wait()
        if message["type"] == "http.response.start":
            self.headers = dict(message["headers"])
        else:
            self.sent += message["body"]
            if not message.get("more_body", False):
                self.over.set()

    @property
    def ended(self) -> bool:
        return self.over.is_set()

    @property
    def said(self) -> list[bytes]:
        return [data for _, data in frames(self.sent)] if self.sent else []

    @property
    def last_id(self) -> int:
        return int(self.sent.rpartition(b"id: ")[2].partition(b"\n")[0].rpartition(b"-")[2])


@asynccontextmanager
async def reading(stream: Stream, after: int | None = None) -> AsyncIterator[Connection]:
    """A connection on which the stream is read; until the end of the block, or its own."""
    connection = Connection()
    reader = stream.attach(after)
    task = asyncio.create_task(stream.carry(reader, connection.send, [], b""))
    try:
        yield connection
    finally:
        connection.taking.set()
        reader.drop()
        async with asyncio.timeout(WAIT_S):
            await task
        assert connection.ended


async def settled(stream: Stream) -> None:
    async with asyncio.timeout(WAIT_S):
        await stream.room()


@pytest.fixture
def store() -> EventStore:
    return EventStore()


@pytest.fixture
def kept(store: EventStore) -> Kept:
    return Kept(store)


async def test_who_lost_the_connection_gets_the_rest_on_another(kept: Kept) -> None:
    stream = kept.open("p")
    async with reading(stream) as first:
        for word in (b"1", b"2", b"3"):
            stream.put(word)
        await settled(stream)
    assert first.said == [b"1", b"2", b"3"]
    assert first.sent.startswith(b"event: message\nid: p1-1\ndata: 1\n\n")
    stream.put(b"4")  # while nobody reads
    async with reading(stream, after=2) as second:
        stream.put(b"5")
        stream.finish()
        async with asyncio.timeout(WAIT_S):
            await second.over.wait()
    assert second.said == [b"3", b"4", b"5"]
    assert second.last_id == 5
    async with reading(stream, after=4) as third:  # it is over, and kept all the same
        async with asyncio.timeout(WAIT_S):
            await third.over.wait()
    assert third.said == [b"5"]


async def test_a_newer_connection_takes_the_place_of_the_older(kept: Kept) -> None:
    stream = kept.open("g")
    async with reading(stream) as older, reading(stream) as newer:
        stream.put(b"1")
        await settled(stream)
        assert (older.said, newer.said) == ([], [b"1"])
        assert older.ended
        assert not newer.ended


async def test_what_went_over_no_connection_comes_first_on_the_next(kept: Kept) -> None:
    stream = kept.open("g")
    async with reading(stream):
        stream.put(b"1")
        await settled(stream)
    stream.put(b"2")
    async with reading(stream) as second:
        await settled(stream)
        assert second.said == [b"2"]


async def test_a_stream_gets_only_its_own(kept: Kept) -> None:
    one, two = kept.open("p"), kept.open("p")
    one.put(b"1")
    two.put(b"2")
    async with reading(two, after=0) as connection:
        await settled(two)
        assert connection.said == [b"2"]


async def test_who_speaks_waits_for_a_connection_that_takes_nothing_and_not_for_none(kept: Kept) -> None:
    stream = kept.open("p")
    async with reading(stream) as connection:
        connection.taking.clear()
        stream.put(b"1")
        waiting = asyncio.create_task(stream.room())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        async with reading(stream, after=0) as another:  # the client came back on a connection that works
            async with asyncio.timeout(WAIT_S):
                await waiting
            assert another.said == [b"1"]
    async with asyncio.timeout(WAIT_S):
        await stream.room()


async def test_large_messages_come_in_parts_and_again(kept: Kept) -> None:
    result = Raw(b'{"x":\n\r"' + b"y" * 1_000_000 + b'"}')
    stream = kept.open("p")
    stream.put(Large(b'{"result":', result, b"}"))
    expected = b'{"result":' + bytes(result).replace(b"\r", b" ").replace(b"\n", b" ") + b"}"
    for _ in range(2):
        async with reading(stream, after=0) as connection:
            await settled(stream)
            assert connection.said == [expected]
            assert b"id: p1-1\n" in connection.sent


async def test_what_flows_from_a_file_is_sent_once_and_always_closed(kept: Kept) -> None:
    closed: list[str] = []
    stream = kept.open("p")

    def flowing(name: str) -> Flowing:
        return Flowing(iter((b"a\n", b"b")), lambda: closed.append(name))

    async with reading(stream, after=0) as connection:
        stream.put(flowing("sent"))
        await settled(stream)
        assert connection.said == [b"a b"]
        connection.taking.clear()
        stream.put(b"in the way")
        stream.put(flowing("dropped"))
        async with reading(stream, after=0):
            pass
        assert closed == ["sent", "dropped"]
    stream.put(flowing("nobody reads"))
    stream.finish()
    stream.put(flowing("over"))
    assert closed == ["sent", "dropped", "nobody reads", "over"]


async def test_a_session_keeps_so_many_and_so_much_and_the_oldest_goes_first(
    kept: Kept, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "KEPT_EVENTS", 3)
    monkeypatch.setattr(streams_module, "KEPT_BYTES", 100)
    stream = kept.open("p")
    for word in (b"1", b"2", b"3", b"4"):
        stream.put(word)
    assert [event.said for event in kept.of(stream, 0)] == [b"2", b"3", b"4"]
    stream.put(b"x" * 99)
    assert [event.number for event in kept.of(stream, 0)] == [4, 5]
    stream.put(b"y" * 1_000)  # the newest is kept, whatever its size: it is most likely an answer
    assert [event.number for event in kept.of(stream, 0)] == [6]
    assert store.size == kept.size == 1_000


async def test_all_sessions_together_keep_so_much_and_who_was_silent_for_longest_loses(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "KEPT_BYTES_OF_ALL", 100)
    some = [Kept(store) for _ in range(3)]
    streams = [one.open("p") for one in some]
    for stream in streams:
        stream.put(b"x" * 30)
    streams[0].put(b"x" * 20)  # so the second is the silent one
    assert [one.size for one in some] == [50, 0, 30]
    streams[1].put(b"x" * 100)
    assert [one.size for one in some] == [0, 100, 0]
    assert store.size == 100


async def test_what_is_old_is_let_go_and_its_stream_with_it(
    kept: Kept, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(clock, "now_s", lambda: now)
    over, running = kept.open("p"), kept.open("p")
    over.put(b"1")
    over.finish()
    running.put(b"2")
    store.expire(now + KEPT_S)
    assert kept.streams.keys() == {"p1", "p2"}
    now += KEPT_S + 1
    running.put(b"3")
    assert kept.streams.keys() == {"p2"}
    assert [event.said for event in kept.events] == [b"3"]
    store.expire(now + KEPT_S + 1)
    assert store.size == 0
    assert kept.streams.keys() == {"p2"}  # it goes on, and can be resumed
    running.finish()
    assert not kept.streams


async def test_a_session_that_has_ended_keeps_nothing(kept: Kept, store: EventStore) -> None:
    stream = kept.open("p")
    stream.put(b"1")
    async with reading(stream) as connection:
        await settled(stream)
        store.close(kept)
        stream.put(b"a call that was cancelled with it")
        await settled(stream)
        assert connection.said == [b"1", b"a call that was cancelled with it"]
    assert store.size == kept.size == 0


async def test_a_quiet_connection_is_kept_alive(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "KEEP_ALIVE_S", 0.001)
    quiet = asyncio.Event()
    stream = kept.open("g")
    connection = Connection()
    reader = stream.attach()
    task = asyncio.create_task(stream.carry(reader, connection.send, [], b"", quiet.set))
    async with asyncio.timeout(WAIT_S):
        await quiet.wait()
        stream.put(b"1")
        stream.finish()
        await task
    assert connection.sent.startswith(b": keep-alive\n\n")
    assert connection.sent.endswith(b"data: 1\n\n")


async def test_line_ends_within_a_large_result_do_not_end_its_event_on_rest_either() -> None:
    result = Raw(b'{\r\n"x":\n"' + b"y" * 2_000_000 + b'"}')
    connection = Connection()
    await send_event(connection.send, "result", b"", result, b"")
    assert frames(connection.sent) == [("result", bytes(result).replace(b"\r", b" ").replace(b"\n", b" "))]
