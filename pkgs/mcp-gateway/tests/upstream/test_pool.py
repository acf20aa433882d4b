"""The HTTP client of the relay against servers that say exact bytes.

Where it matters how bytes are divided, the test hands them to the connection itself, as the loop would:
a real socket may join or divide them as it likes.
"""

import asyncio
import gc
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from yarl import URL

from mcp_gateway.errors import Kind
from mcp_gateway.upstream import dialing
from mcp_gateway.upstream import pool as pools
from mcp_gateway.upstream.dialing import Dialer
from mcp_gateway.upstream.pool import BARE_MAX_BYTES, INFORMATIONAL_MAX, Pool, Response
from mcp_gateway.upstream.process import SpawnError
from mcp_gateway.upstream.remote import Remote, address, is_same_origin
from mcp_gateway.upstream.trouble import Trouble
from tests.harness import CERTIFICATES
from tests.upstream.parts import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
NOT_HTTP = "its answer is not valid HTTP"
CUT_OFF = "its answer was cut off"
UNANSWERED = "it closed the connection without an answer"
MIB = 1 << 20

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Origin:
    """A server that accepts, and says only what the test or its `talk` says."""

    url: URL
    writers: list[asyncio.StreamWriter] = field(default_factory=list)


@asynccontextmanager
async def origin(
    talk: Talk | None = None, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Origin]:
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            if talk is not None:
                await talk(reader, writer)
            else:
                await asyncio.Event().wait()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    made = Origin(URL(f"{'https' if tls else 'http'}://{shown}:{port}/mcp"))
    try:
        yield made
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for writer in made.writers:
            writer.transport.abort()


@asynccontextmanager
async def pooled(url: URL, headers: dict[str, str] | None = None) -> AsyncIterator[Pool]:
    pool = Pool(url, headers or {})
    try:
        yield pool
    finally:
        await pool.close()
        assert not pool.connections, "a connection outlives its pool"


async def heard(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """One request as it arrived."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = [line.partition(":")[2] for line in head.split("\r\n") if line.startswith("Content-Length:")]
    return head, await reader.readexactly(int(length[0])) if length else b""


def answering(answer: bytes, seen: list[str] | None = None) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await heard(reader)
            if seen is not None:
                seen.append(head)
            writer.write(answer)

    return talk


def post(pool: Pool, url: URL, body: bytes = b"{}") -> Response:
    return pool.exchange("POST", {"Content-Type": "application/json"}, body, url)


async def ended(response: Response) -> tuple[int, bytes] | str:
    """How an exchange ends: with a status and a body, or with a sentence."""
    try:
        async with response:
            return response.status, b"".join([part async for part in response])
    except Trouble as trouble:
        return trouble.failure.reason


async def fed(pool: Pool, url: URL, *parts: bytes, eof: bool = False) -> tuple[int, bytes] | str:
    """How an exchange ends whose connection hears these parts, one after the other."""
    response = post(pool, url)
    task = asyncio.create_task(ended(response))
    connection = await until(lambda: response.connection, "the request is on its connection")
    for part in parts:
        connection.data_received(part)
    if eof:
        connection.eof_received()
    return await asyncio.wait_for(task, 10)


# What is a response, and what is none

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

GOOD: dict[str, tuple[bytes, tuple[int, bytes], bool]] = {
    "a length": (OK, (200, b"ab"), True),
    "no body": (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", (202, b""), True),
    "204 has none": (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b""), True),
    "304 has none, whatever its length": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        (304, b""),
        True,
    ),
    "chunks": (CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n", (200, b"abc"), True),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\nContent-Type: x/y\r\n\r\n", (200, b"a"), True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", (200, b"a"), True),
    "blanks around": (HEAD + b"Content-Length: \t 2 \t\r\n\r\nab", (200, b"ab"), True),
    "informational": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2 + OK, (200, b"ab"), True),
    "an offer to upgrade": (
        HEAD + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\na",
        (200, b"a"),
        True,
    ),
    "its last": (HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\na", (200, b"a"), False),
    "HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        (200, b"a"),
        False,
    ),
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_response_is_read_however_it_is_divided(name: str) -> None:
    answer, expected, is_kept = GOOD[name]
    async with origin() as server, pooled(server.url) as pool:
        for cut in range(len(answer)):
            before = set(pool.connections)
            assert await fed(pool, server.url, answer[:cut], answer[cut:]) == expected
            assert bool(pool.kept_count) is is_kept, "used again exactly if it may be"
            if is_kept and before:
                assert pool.connections == before, "one connection served them all"
        single = [answer[at : at + 1] for at in range(len(answer))]
        assert await fed(pool, server.url, *single) == expected


async def test_the_end_of_the_connection_may_end_a_body() -> None:
    async with origin() as server, pooled(server.url) as pool:
        assert await fed(pool, server.url, HEAD + b"\r\nab", b"cd", eof=True) == (200, b"abcd")
        assert pool.kept_count == 0


BAD: dict[str, bytes] = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "the first version": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a folded header": HEAD + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": HEAD + b"Content-Length : 0\r\n\r\n",
    "a NUL": HEAD + b"A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a length with a sign": HEAD + b"Content-Length: +2\r\n\r\nab",
    "a length beyond counting": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "a coding nobody offered": HEAD + b"Transfer-Encoding: gzip\r\n\r\nab",
    "two codings": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"zz\r\n",
    "a chunk that is too long": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "an informational body": b"HTTP/1.1 150 Odd\r\nContent-Length: 2\r\n\r\nab" + OK,
    "informational for ever": b"HTTP/1.1 103 Hm\r\n\r\n" * (INFORMATIONAL_MAX + 1) + OK,
    "headers without number": HEAD + b"A: b\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_not_valid_http_is_told_and_costs_the_connection(name: str) -> None:
    answer = BAD[name]
    async with origin() as server, pooled(server.url) as pool:
        for cut in {*range(0, len(answer), max(1, len(answer) // 60)), len(answer)}:
            assert await fed(pool, server.url, answer[:cut], answer[cut:]) == NOT_HTTP
            assert pool.kept_count == 0
        await until(lambda: not pool.connections, "the connections are gone")


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 2", OK])
async def test_bytes_after_the_end_spoil_the_answer_they_come_with(extra: bytes) -> None:
    for answer in (OK, CHUNKED + b"0\r\n\r\n", HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"):
        async with origin() as server, pooled(server.url) as pool:
            assert await fed(pool, server.url, answer + extra) == NOT_HTTP
            assert pool.kept_count == 0


async def test_what_nobody_asked_for_never_answers_the_next_request() -> None:
    async with origin() as server, pooled(server.url) as pool:
        assert await fed(pool, server.url, OK) == (200, b"ab")
        (idle,) = pool.connections
        idle.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        task = asyncio.create_task(ended(response := post(pool, server.url)))
        connection = await until(lambda: response.connection, "the request is on its connection")
        assert connection is not idle
        connection.data_received(OK)
        assert await task == (200, b"ab")


@pytest.mark.parametrize("sent", [OK, b""], ids=["poison", "goodbye"])
async def test_what_only_the_kernel_has_is_noticed_before_the_next_request(sent: bytes) -> None:
    async with origin() as server, pooled(server.url) as pool:
        assert await fed(pool, server.url, OK) == (200, b"ab")
        (idle,) = pool.connections
        with socket.socket(fileno=os.dup(server.writers[0].get_extra_info("socket").fileno())) as wire:
            if sent:
                wire.send(sent)
            else:
                wire.shutdown(socket.SHUT_WR)
        assert pool.kept() is None, "asked without letting the loop read"
        await until(lambda: idle not in pool.connections, "the connection is gone")


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ((), UNANSWERED),
        ((b"HTTP/1.1 200 OK\r\nContent-Le",), UNANSWERED),
        ((HEAD + b"Content-Length: 5\r\n\r\nab",), CUT_OFF),
        ((CHUNKED + b"5\r\nab",), CUT_OFF),
        ((CHUNKED + b"2\r\nab\r\n",), CUT_OFF),
    ],
)
async def test_a_connection_that_ends_too_early_is_told_by_how_far_it_came(
    parts: tuple[bytes, ...], sentence: str
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.writelines(parts)

    async with origin(talk) as server, pooled(server.url) as pool:
        with pytest.raises(Trouble) as caught:
            async with post(pool, server.url) as response:
                await response.read()
    assert caught.value.failure.reason == sentence
    assert caught.value.is_cut is (sentence == UNANSWERED)
    assert caught.value.counts


async def test_a_reset_is_told_as_one() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        linger = struct.pack("ii", 1, 0)
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with origin(talk) as server, pooled(server.url) as pool:
        with pytest.raises(Trouble) as caught:
            async with post(pool, server.url):
                raise AssertionError("it answered")
    assert caught.value.failure.reason == "the connection broke: Connection reset by peer"
    assert caught.value.is_cut


# Limits


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 ", HEAD + b"A: ", HEAD])
async def test_a_head_is_read_to_its_limit_and_no_further(start: bytes) -> None:
    rest = b"\r\nContent-Length: 2\r\n\r\n"
    room = BARE_MAX_BYTES - len(start) - len(rest)
    filling = b"a" * room if start != HEAD else (b"B: " + b"a" * (room // 2 - 5) + b"\r\n") * 2
    filling = filling.removesuffix(b"\r\n") if start == HEAD else filling
    async with origin() as server, pooled(server.url) as pool:
        assert await fed(pool, server.url, start + filling + rest + b"ab") == (200, b"ab")
        long = start + filling + b"a" * (BARE_MAX_BYTES - len(start + filling + rest) + 1) + rest + b"ab"
        assert await fed(pool, server.url, long) == NOT_HTTP
        assert await fed(pool, server.url, *(long[at : at + 4_096] for at in range(0, len(long), 4_096))) == (
            NOT_HTTP
        )


@pytest.mark.parametrize("endless", [b"X: " + b"a" * 4_093, b"a" * 4_096])
async def test_trailers_and_chunk_extensions_have_the_same_limit(endless: bytes) -> None:
    start = b"0\r\n" if endless.startswith(b"X") else b"1;"
    async with origin() as server, pooled(server.url) as pool:
        parts = [CHUNKED + start, *[endless] * (BARE_MAX_BYTES // 4_096 + 2)]
        assert await fed(pool, server.url, *parts) == NOT_HTTP


async def test_a_long_body_is_not_a_long_head() -> None:
    body = b"x" * (3 * BARE_MAX_BYTES)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with origin() as server, pooled(server.url) as pool:
        assert await fed(pool, server.url, answer) == (200, body)
        assert await fed(pool, server.url, answer[:50], answer[50:]) == (200, body)


# The request


async def test_a_request_is_written_as_it_was_asked_for() -> None:
    seen: list[str] = []
    async with origin(answering(OK, seen)) as server:
        url = address(f"http://me:p%40ss@127.0.0.1:{server.url.port}/a%2fb%7e?q=%41+b#there")
        headers = {"accept": "everything", "X-Key": "s3cret"}
        async with pooled(url, headers) as pool:
            await ended(pool.exchange("POST", {"Accept": "text/plain"}, b"{}", url))
            await ended(pool.exchange("GET", {}, None, url))
    host = f"Host: 127.0.0.1:{server.url.port}\r\nAuthorization: Basic bWU6cEBzcw==\r\n"
    assert seen == [
        f"POST /a%2fb%7e?q=%41+b HTTP/1.1\r\n{host}X-Key: s3cret\r\n"
        "Accept: text/plain\r\nContent-Length: 2\r\n\r\n",
        f"GET /a%2fb%7e?q=%41+b HTTP/1.1\r\n{host}accept: everything\r\nX-Key: s3cret\r\n\r\n",
    ]


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://example.com:80", "GET / HTTP/1.1\r\nHost: example.com\r\n"),
        ("https://example.com:443/x", "GET /x HTTP/1.1\r\nHost: example.com\r\n"),
        ("https://example.com:80/x?", "GET /x HTTP/1.1\r\nHost: example.com:80\r\n"),
        ("http://[::1]:8080/x", "GET /x HTTP/1.1\r\nHost: [::1]:8080\r\n"),
        ("http://bücher.example/ü", "GET /%C3%BC HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n"),
    ],
)
async def test_the_host_is_named_as_the_address_has_it(url: str, line: str) -> None:
    pool = Pool(address(url), {})
    assert pool.exchange("GET", {}, None, address(url)).head.decode().startswith(line)
    await pool.close()


@pytest.mark.parametrize("bad", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "€"])
async def test_a_header_that_would_be_more_than_one_is_never_sent(bad: str) -> None:
    async with origin() as server, pooled(server.url) as pool:
        for headers in ({"X": bad}, {bad: "x"}):
            with pytest.raises(Trouble) as caught:
                pool.exchange("POST", headers, b"{}", server.url)
            assert not caught.value.counts
        with pytest.raises(ValueError, match="header"):
            Pool(server.url, {"X": bad})
        with pytest.raises(SpawnError) as refused:
            await Remote(str(server.url), {"X": bad}, "me").open()
        assert refused.value.permanent
        assert server.writers == []


async def test_what_divides_messages_is_not_for_a_configuration_to_say() -> None:
    with pytest.raises(SpawnError, match="`Content-length`"):
        await Remote("http://127.0.0.1/", {"Content-length": "1"}, "me").open()


def test_an_origin_is_scheme_host_and_port() -> None:
    base = address("http://Example.com/sse")
    assert is_same_origin(base, address("http://example.COM:80/x"))
    assert not any(
        is_same_origin(base, address(other))
        for other in ("https://example.com/", "http://example.com:81/", "http://example.com.evil/")
    )


# Connections


async def test_a_connection_is_used_again_the_last_one_first() -> None:
    async with origin(answering(OK)) as server, pooled(server.url) as pool:
        for _ in range(5):
            assert await ended(post(pool, server.url)) == (200, b"ab")
        assert len(server.writers) == 1
        await asyncio.gather(*(ended(post(pool, server.url)) for _ in range(3)))
        assert len(server.writers) == 3
        last = pool.kept()
        assert last is not None
        pool.keep(last)
        assert pool.kept() is last


async def test_a_body_that_nobody_reads_to_its_end_costs_the_connection() -> None:
    async with origin() as server, pooled(server.url) as pool:
        response = post(pool, server.url)
        task = asyncio.create_task(response.__aenter__())
        connection = await until(lambda: response.connection, "the request is on its connection")
        connection.data_received(HEAD + b"Content-Length: 5\r\n\r\nab")
        await task
        await response.__aexit__(None, None, None)
        await until(lambda: not pool.connections, "the connection is gone")


async def test_a_connection_that_the_server_closes_while_idle_is_noticed() -> None:
    async with origin(answering(OK)) as server, pooled(server.url) as pool:
        assert await ended(post(pool, server.url)) == (200, b"ab")
        server.writers[0].transport.abort()
        await until(lambda: not pool.connections, "the connection is forgotten")
        assert await ended(post(pool, server.url)) == (200, b"ab")
        assert len(server.writers) == 2


async def test_idle_connections_are_dropped_by_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "KEEP_ALIVE_S", 0.05)
    async with origin(answering(OK)) as server, pooled(server.url) as pool:
        await asyncio.gather(*(ended(post(pool, server.url)) for _ in range(3)))
        await until(lambda: not pool.connections, "all of them are gone")
        assert await ended(post(pool, server.url)) == (200, b"ab")


async def test_a_cancelled_exchange_ends_its_connection_at_once() -> None:
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(HEAD + b"Content-Length: 5\r\n\r\nab")
        try:
            await reader.read()
        finally:
            gone.set()

    async with origin(talk) as server, pooled(server.url) as pool:
        task = asyncio.create_task(ended(response := post(pool, server.url)))
        await until(lambda: response.status, "the answer has begun")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        await asyncio.wait_for(gone.wait(), 10)
        await until(lambda: not pool.connections, "the connection is gone")


async def test_closing_ends_what_is_under_way() -> None:
    async with origin() as server:
        pool = Pool(server.url, {})
        task = asyncio.create_task(ended(response := post(pool, server.url)))
        await until(lambda: response.connection, "the request is on its connection")
        await pool.close()
        assert await task == "the connection to it was closed"
        assert not pool.connections
        assert await ended(post(pool, server.url)) == "the connection to it was closed"


# Back-pressure


async def test_a_body_that_is_read_slowly_makes_the_server_wait() -> None:
    size = 32 * MIB
    written = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await heard(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(b"x" * MIB)
            await writer.drain()
            written += MIB
        await reader.read()

    async with origin(talk) as server, pooled(server.url) as pool, post(pool, server.url) as response:
        await until(lambda: response.unread_bytes > pools.UNREAD_MAX_BYTES, "enough has come")
        held = response.unread_bytes
        for _ in range(50):
            await asyncio.sleep(0)
        assert response.unread_bytes == held < 2 * MIB
        assert written < size
        assert sum([len(part) async for part in response]) == size
        assert pool.kept_count == 1


async def test_a_server_that_does_not_read_gets_no_more_than_it_takes() -> None:
    body = b"x" * (64 * MIB)
    reading = asyncio.Event()
    got = b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await reading.wait()
        _, got = await heard(reader)
        writer.write(OK)
        await reader.read()

    async with origin(talk) as server, pooled(server.url) as pool:
        task = asyncio.create_task(ended(response := post(pool, server.url, body)))
        connection = await until(lambda: response.connection, "the request is on its connection")
        await until(lambda: connection.is_full, "its buffers are full")
        reading.set()
        assert await asyncio.wait_for(task, 30) == (200, b"ab")
        assert got == body
        assert pool.kept_count == 1


async def test_a_long_request_may_be_cancelled_or_refused_while_it_is_sent() -> None:
    body = b"x" * (64 * MIB)
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await asyncio.Event().wait()

    async with origin(talk) as server, pooled(server.url) as pool:
        assert await ended(post(pool, server.url, body)) == (413, b"")
        assert pool.kept_count == 0
    async with origin() as server, pooled(server.url) as pool:
        task = asyncio.create_task(ended(response := post(pool, server.url, body)))
        await until(lambda: response.connection and response.connection.is_full, "its buffers are full")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: not pool.connections, "the connection is gone")


# The way there


async def reason(url: str) -> Trouble:
    pool = Pool(URL(url), {})
    try:
        async with pool.exchange("GET", {}, None, URL(url)):
            raise AssertionError("it answered")
    except Trouble as trouble:
        return trouble
    finally:
        await pool.close()


async def test_a_port_that_refuses_is_told_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = taken.getsockname()[1]
        trouble = await reason(f"http://127.0.0.1:{port}/")
    assert trouble.failure.reason == f"cannot connect to 127.0.0.1:{port}: Connection refused"
    assert trouble.failure.kind is Kind.UNAVAILABLE
    assert trouble.is_down


async def test_a_name_that_leads_nowhere_is_told_so() -> None:
    trouble = await reason("http://nowhere.invalid/")
    assert trouble.failure.reason == "the name nowhere.invalid cannot be resolved"
    assert trouble.is_down


async def test_connecting_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "CONNECT_S", 0.2)
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    try:
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        trouble = await reason(f"http://127.0.0.1:{port}/")
    finally:
        for one in (full, *waiting):
            one.close()
    assert trouble.failure.reason == f"127.0.0.1:{port} did not take a connection within 0.2 s"
    assert trouble.is_down


async def test_a_name_is_asked_for_once_by_all_who_wait() -> None:
    async with origin(answering(OK)) as server:
        url = server.url.with_host("localhost")
        dialer = Dialer(url)
        made = await asyncio.gather(*(dialer.dial(asyncio.Protocol) for _ in range(5)))
        assert len(made) == 5
        await until(lambda: len(server.writers) == 5, "five connections")
        first = dialer.lookup
        await dialer.dial(asyncio.Protocol)
        assert dialer.lookup is first
        await dialer.close()


async def test_an_ipv6_address_is_reached() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with origin(answering(OK), host="::1") as server, pooled(server.url) as pool:
        assert await ended(post(pool, server.url)) == (200, b"ab")


def server_tls(name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / name)
    return context


async def test_tls_trusts_whom_the_machine_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    dialing.trust.cache_clear()
    async with origin(answering(OK), tls=server_tls("good.pem")) as server:
        trouble = await reason(str(server.url))
        assert trouble.failure.reason == (
            f"no secure connection to 127.0.0.1:{server.url.port}: unable to get local issuer certificate"
        )
        assert trouble.is_down
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "ca.pem"))
        dialing.trust.cache_clear()
        async with pooled(server.url) as pool:
            for _ in range(2):
                assert await ended(post(pool, server.url)) == (200, b"ab")
            assert len(pool.connections) == 1
            assert await ended(post(pool, server.url, b"x" * MIB)) == (200, b"ab")
    for name, why in {
        "expired.pem": "certificate has expired",
        "elsewhere.pem": "ip address mismatch",
    }.items():
        async with origin(answering(OK), tls=server_tls(name)) as server:
            assert why in (await reason(str(server.url))).failure.reason
    dialing.trust.cache_clear()


async def test_plain_http_where_tls_was_expected_is_told_so() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with origin(talk) as server:
        trouble = await reason(str(server.url.with_scheme("https")))
    assert trouble.failure.reason.startswith(f"no secure connection to 127.0.0.1:{server.url.port}: ")


# Memory


async def test_an_exchange_leaves_nothing_for_the_collector() -> None:
    async with origin(answering(OK)) as server, pooled(server.url) as pool:
        await ended(post(pool, server.url))
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await ended(post(pool, server.url))
            assert gc.collect() == 0
        finally:
            gc.enable()
