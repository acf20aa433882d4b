"""The echo server as raw ASGI over Streamable HTTP: the direct call, which a gateway is measured against.

The answers are those of `echo_stdio.py`, so that a direct call and one through a gateway differ by the
gateway alone. uvicorn, uvloop and httptools as in the gateway itself. One route, no sessions: this is a
floor, not a server to use.
"""

import argparse
import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from bench.echo_stdio import answer, decode

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_BYTES_MAX = 64 << 20


_MADE: dict[bytes, bytes] = {}


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["method"] == "GET":
        await _respond(send, 200, _prepared(scope["query_string"]), [])
        return
    if scope["method"] != "POST":
        await _respond(send, 405, b"", [])
        return
    body = await _body(receive)
    if body is None:
        await _respond(send, 413, b"", [])
        return
    message = decode(body)
    reply, after_s = answer(message)
    if after_s > 0:
        await asyncio.sleep(after_s)
    if reply is None:
        await _respond(send, 202, b"", [])
        return
    headers = [(b"content-type", b"application/json")]
    if message["method"] == "initialize":
        headers.append((b"mcp-session-id", secrets.token_hex(16).encode()))
    await _respond(send, 200, reply, headers)


def _prepared(query: bytes) -> bytes:
    """For `?bytes=N` so many, made once: what a transfer takes by itself."""
    if query not in _MADE:
        number = query.removeprefix(b"bytes=")
        _MADE[query] = b"b" * min(int(number) if number.isdigit() else 0, BODY_BYTES_MAX)
    return _MADE[query]


async def _body(receive: Receive) -> bytes | None:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            return None
    return body


async def _respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cpu", type=int, help="run on this CPU only")
    arguments = parser.parse_args()
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
