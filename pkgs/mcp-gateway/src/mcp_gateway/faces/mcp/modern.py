"""MCP of the modern era (2026-07-28) over HTTP, plain ASGI: each POST stands alone.

There is no session, nothing is kept and no event has an id: a client whose connection breaks asks again.
Leaving is how a call is cancelled. An answer is JSON, with an HTTP status that tells what kind of error it
is, unless something is said before it or it takes long: only then it becomes an event stream. What a message
means is the business of `messages.py`, what a request must say first that of `wire/inbound.py`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RESOURCE_NOT_FOUND,
    GatewayError,
    Kind,
    UpstreamAnswered,
)
from mcp_gateway.faces.calls import until_gone
from mcp_gateway.faces.http import (
    JSON_TYPE,
    Receive,
    Send,
    Visit,
    may_stream,
    read_body,
    require_acceptable,
    require_json,
    respond,
    send_part,
)
from mcp_gateway.faces.mcp import subscribing
from mcp_gateway.faces.mcp.messages import Asked, Messages, error_body, unreadable
from mcp_gateway.faces.mcp.streams import KEEP_ALIVE_S, Said, send_answer, send_event
from mcp_gateway.gateway import READ_RESOURCE, Call, Client, Gateway, call_id_text
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import (
    Message,
    RequestId,
    encode,
    error_response,
    read_id,
    read_members,
    read_message,
)
from mcp_gateway.wire.headers import HEADER_MISMATCH
from mcp_gateway.wire.inbound import require_revision, require_sound
from mcp_gateway.wire.revisions import (
    LATEST_HANDSHAKE,
    META_CAPABILITIES,
    MISSING_CAPABILITY,
    MODERN,
    REVISIONS,
    UNSUPPORTED_VERSION,
    Era,
)

# What it declares is said with each of its requests, and travels with them.
_CLIENT: Final = Client(Era.MODERN, MODERN)
_ASKS: Final = REVISIONS[LATEST_HANDSHAKE].asks
# Any other error is told with 200 (basic/transports, Streamable HTTP).
_STATUS: Final = {
    METHOD_NOT_FOUND: 404,
    **dict.fromkeys((PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, HEADER_MISMATCH), 400),
    **dict.fromkeys((MISSING_CAPABILITY, UNSUPPORTED_VERSION), 400),
}


@dataclass(slots=True)
class Visitor:
    """Who sends one request, which is all there is of them; another may have the same id at the same time.

    Nobody is asked anything on the way of this revision: what a server wants to know is in its result.
    """

    caller: Caller
    endpoint: str
    client: Client = _CLIENT
    calls: dict[tuple[type, RequestId], Call] = field(default_factory=dict)


class ModernHttp:
    """The endpoint, for what is not of the handshake era; one instance serves `/mcp` and each of a server."""

    def __init__(self, gateway: Gateway, messages: Messages) -> None:
        self._gateway = gateway
        self._messages = messages

    async def serve(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        """Answers one HTTP request to an endpoint.

        Raises:
            GatewayError: nothing could be read that has an id; nothing was sent.
        """
        if visit.method != "POST":
            error = GatewayError(Kind.INVALID, "This revision of MCP is spoken with POST alone", status=405)
            await respond(send, 405, unreadable(error), JSON_TYPE, (b"allow", b"POST"))
            return
        require_json(visit.headers)
        require_acceptable(visit.headers)
        body = await read_body(visit, receive, self._gateway.config.gateway.limits.body_bytes)
        try:
            message = read_message(body)
        except GatewayError as error:
            # Where `_meta` alone is wrong, it is a request, and its answer bears its id.
            id_raw = read_id(body) if error.rpc_code == INVALID_PARAMS else b""
            await respond(send, 400, error_body(id_raw, error), JSON_TYPE)
            return
        await self.answer(endpoint, visit, message, len(body), receive, send)

    async def answer(
        self, endpoint: str, visit: Visit, message: Message, size: int, receive: Receive, send: Send
    ) -> None:
        """Answers one message, `size` bytes long."""
        if message.method is None:
            detail = "A client of this revision answers nothing: a message is a request or a notification"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
        if message.id is None:
            require_revision(visit.headers)
            await respond(send, 202, b"", JSON_TYPE)  # there is none that this revision knows
            return
        reply = Reply(message, visit, receive, send)
        try:
            require_sound(message, visit.headers)
            if message.method == subscribing.LISTEN:
                await self._listen(endpoint, visit, message, receive, send)
                return
        except GatewayError as error:
            await reply.fail(message.id_raw, error)
            return
        try:
            visitor = Visitor(visit.caller, endpoint, _client(message))
            asked = Asked(visitor, message, size, visit.headers)
            await self._messages.answer(asked, reply)
        finally:
            reply.close()

    async def _listen(
        self, endpoint: str, visit: Visit, message: Message, receive: Receive, send: Send
    ) -> None:
        if not may_stream(visit.headers):
            detail = "The answer is a stream; the header Accept must let it be text/event-stream"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
        await subscribing.listen(self._gateway, visit.caller, endpoint or None, message, receive, send)


def _client(message: Message) -> Client:
    """The client of one request: what it declares counts where a server asks in the middle of a call."""
    declared = message.meta.get(META_CAPABILITIES)
    if not isinstance(declared, dict) or not any(name in declared for name in _ASKS):
        return _CLIENT
    # Tasks of the two eras have nothing in common.
    passed = {name: declared[name] for name in sorted(declared) if name != "tasks"}
    return Client(Era.MODERN, MODERN, encode(passed))


class Reply:
    """The answer to one request: JSON, or an event stream from the first thing said before it."""

    def __init__(self, message: Message, visit: Visit, receive: Receive, send: Send) -> None:
        # As the client wrote it; it is another one by the time that a server has answered.
        self._uri = message.params.get("uri") if message.method == READ_RESOURCE else None
        self._receive = receive
        self._send = send
        self._may_stream = may_stream(visit.headers)
        self._is_stream = False
        self._spoke_at = clock.now_s()
        self._headers: list[tuple[bytes, bytes]] = []
        self._end: Callable[[], None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    def about(self, call: Call) -> None:
        self._headers = [(b"mcp-gateway-call", call_id_text(call.id).encode())]
        self._end = lambda: call.cancel("the client went away")

    is_heard = False

    async def ask(self, message: bytes) -> None:
        """Never: see `Visitor`."""

    async def tell(self, message: bytes) -> None:
        self._watch()
        if self._may_stream:
            await self._begin()
            await send_event(self._send, message)
            self._spoke_at = clock.now_s()

    async def still(self) -> None:
        self._watch()
        if self._may_stream and clock.now_s() - self._spoke_at >= KEEP_ALIVE_S:
            await self._begin()
            await send_part(self._send, sse.KEEP_ALIVE)
            self._spoke_at = clock.now_s()

    async def answer(self, said: Said | None) -> None:
        if not self._is_stream:
            await send_answer(self._send, said, self._headers)
            return
        if said is not None:
            await send_event(self._send, said)
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, id_raw: bytes, error: GatewayError) -> None:
        body, code = error_body(id_raw, error), error.rpc_code
        if code == RESOURCE_NOT_FOUND and self._uri is not None:
            body, code = _not_found(id_raw, error, self._uri), INVALID_PARAMS
        if self._is_stream:
            await self.answer(body)
        else:
            await respond(self._send, _STATUS.get(code, 200), body, JSON_TYPE, *self._headers)

    def close(self) -> None:
        """For the end of the request, however it came."""
        if self._leaving is not None:
            self._leaving.cancel()

    async def _begin(self) -> None:
        if not self._is_stream:
            self._is_stream = True
            headers = [*sse.HEADERS, *self._headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    def _watch(self) -> None:
        """The first note comes from the clock or the server, so only a slow call pays for a watcher."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        await until_gone(self._receive)
        if self._end is not None:
            self._end()


def _not_found(id_raw: bytes, error: GatewayError, uri: Raw) -> bytes:
    """That there is no such resource: the handshake era has a code for it, this one an address."""
    said: dict[str, Any] = {"code": INVALID_PARAMS, "message": error.detail, "data": error.facts()}
    if isinstance(error, UpstreamAnswered):
        said = {**read_members(error.error), "code": INVALID_PARAMS}
        said["data"] = read_members(said.get("data", b"{}"))
    said["data"] = {**said["data"], "uri": uri}
    return error_response(id_raw, encode(said))
