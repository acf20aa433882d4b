"""One request to an address that somebody named: how it ends, whatever is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_gateway.errors import Kind
from mcp_gateway.upstream import errand
from mcp_gateway.upstream.trouble import Trouble

BOUND_S = 20.0


@asynccontextmanager
async def answering(*parts: bytes, stays: bool = False) -> AsyncIterator[str]:
    """The address of what answers so, and then hangs up or keeps silent."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
        if stays:
            await gone.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        gone.set()
        server.close()
        await server.wait_closed()


async def run(url: str, within_s: float = BOUND_S, max_bytes: int = 100, **headers: str) -> errand.Brought:
    return await errand.run("GET", url, headers, within_s=within_s, max_bytes=max_bytes)


async def test_an_answer_of_any_status_is_brought() -> None:
    async with answering(b"HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\n\r\n", b"hi") as url:
        assert await run(url) == errand.Brought(418, b"hi")


async def test_a_redirect_is_an_answer_like_others() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with answering(head) as url:
        assert (await run(url)).status == 302


async def test_what_never_ends_is_given_up() -> None:
    for parts in ((), (b"HTTP/1.1 200 OK\r\n",), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"1")):
        async with answering(*parts, stays=True) as url:
            with pytest.raises(Trouble) as raised:
                await run(url, within_s=0.1)
        assert raised.value.failure.kind is Kind.TIMED_OUT


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", b"x" * 101), "larger than 100 bytes"),
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 200_000), "larger than 100 bytes"),
        ((b"SSH-2.0-OpenSSH_10\r\n",), "not valid HTTP"),
        ((), "without an answer"),
    ],
)
async def test_what_is_no_answer_is_told(parts: tuple[bytes, ...], words: str) -> None:
    async with answering(*parts) as url:
        with pytest.raises(Trouble, match=words):
            await run(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nobody.invalid/", "http://a..b/"])
async def test_where_nobody_is_there_is_no_way(url: str) -> None:
    with pytest.raises(Trouble) as raised:
        await run(url)
    assert raised.value.failure.kind is Kind.UNAVAILABLE


async def test_headers_that_would_be_read_as_more_are_not_sent() -> None:
    async with answering() as url:
        for value in ("a\r\nX: y", "a\nb", "a\0b", "\u20ac"):
            with pytest.raises(Trouble, match="has a header"):
                await run(url, Authorization=value)
