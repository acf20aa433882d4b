"""What the link to a remote server writes into its headers, where that is not obvious."""

import asyncio
from pathlib import Path

import pytest

from mcp_gateway.upstream import http
from mcp_gateway.upstream.http import HttpLink
from mcp_gateway.upstream.lifecycle import Ended
from mcp_gateway.upstream.link import Failure
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.remote import Remote
from mcp_gateway.wire.envelope import Head
from mcp_gateway.wire.revisions import request_meta


class Deaf:
    """Hears a link and does nothing of it."""

    def message(self, head: Head, stream: int | None = None) -> None: ...
    def large(self, head: Head, message: object) -> None: ...
    def garbage(self, line: object, reason: str) -> None: ...
    def failed(self, number: int, failure: Failure) -> None: ...
    def renewed(self) -> None: ...
    def lost(self, ended: Ended) -> None: ...


async def test_an_event_id_goes_back_as_the_bytes_it_came_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "RECONNECT_S", 0.0)
    monkeypatch.setattr(http, "RECONNECT_MAX_S", 0.0)
    again: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET") and b"Last-Event-ID" in head and not again.done():
            again.set_result(head)
        elif head.startswith(b"GET"):
            event = "id: ü€\ndata: x\n\n".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event)
        else:
            writer.write(b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def relist() -> None: ...

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    remote = Remote(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, "me")
    link = HttpLink(remote, Deaf(), LogRing(), tmp_path, 1 << 20, relist)
    await link.open()
    link.agree("2025-11-25")
    link.notify("notifications/initialized")
    head = await asyncio.wait_for(again, 10)
    await link.close()
    server.close()
    assert "\r\nLast-Event-ID: ü€\r\n" in head.decode()


@pytest.mark.parametrize("is_modern", [True, False])
async def test_a_revision_is_named_before_the_handshake_only_to_a_modern_server(
    tmp_path: Path, is_modern: bool
) -> None:
    came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set_result((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.close()

    async def relist() -> None: ...

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    remote = Remote(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, "me")
    link = HttpLink(remote, Deaf(), LogRing(), tmp_path, 1 << 20, relist)
    await link.open()
    meta = {"_meta": request_meta("2025-11-25", {"name": "us"})} if is_modern else {}
    link.request(1, "initialize", {"protocolVersion": "2025-11-25", **meta})
    head = await asyncio.wait_for(came, 10)
    await link.close()
    server.close()
    assert ("\r\nMCP-Protocol-Version: 2025-11-25\r\n" in head) is is_modern
    assert ("\r\nMcp-Method: initialize\r\n" in head) is is_modern
