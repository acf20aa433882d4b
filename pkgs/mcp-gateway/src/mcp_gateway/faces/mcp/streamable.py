"""MCP over Streamable HTTP (2025-03-26 to 2025-11-25), plain ASGI.

`/mcp` offers the tools of all servers under exposed names, `/servers/{id}/mcp` those of one under
their own. `initialize` and the lists are answered from the catalog; a call is relayed with its id,
name and progress token exchanged and nothing else touched. An answer is JSON unless something has to
be said before it: only then the reply becomes an event stream.
"""

import asyncio
import contextlib
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    CallCancelled,
    GatewayError,
    Kind,
    UpstreamAnswered,
)
from mcp_gateway.faces.calls import cancelled_problem, until_gone
from mcp_gateway.faces.http import (
    JSON_TYPE,
    LARGE_BYTES,
    Receive,
    Send,
    Visit,
    error_headers,
    read_body,
    require_json,
    respond,
    respond_in_slices,
    send_event,
    send_part,
)
from mcp_gateway.faces.mcp import resources
from mcp_gateway.faces.mcp.sessions import ALL_SERVERS, Session, Sessions, client_info
from mcp_gateway.gateway import Call, Gateway, Request, call_id_text, stopping
from mcp_gateway.gateway.events import changes
from mcp_gateway.version import CLIENT_INFO
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import (
    Message,
    Params,
    encode,
    error_response,
    notification,
    read_members,
    read_message,
    response,
)
from mcp_gateway.wire.revisions import LATEST_HANDSHAKE, REVISIONS, Era, is_handshake

# A revision whose batches are not served is not offered either.
OFFERED: Final = frozenset(
    revision.date for revision in REVISIONS.values() if revision.era is Era.HANDSHAKE and not revision.batches
)
KEEP_ALIVE_S: Final = 15.0
LIST_CHANGED_AFTER_S: Final = 0.5  # servers come up and go down in bursts
_SESSION: Final = b"mcp-session-id"
_REVISION: Final = b"mcp-protocol-version"
_NULL: Final = b"null"
_LIST_CHANGED: Final = notification("notifications/tools/list_changed")


class StreamableHttp:
    """The endpoint; one instance serves `/mcp` and every `/servers/{id}/mcp`."""

    def __init__(self, gateway: Gateway, sessions: Sessions) -> None:
        self._gateway = gateway
        self.sessions = sessions

    async def serve(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        """Answers one HTTP request to an endpoint."""
        try:
            if endpoint != ALL_SERVERS and not self._gateway.has_server(visit.caller, endpoint):
                raise GatewayError(Kind.UNKNOWN, f"There is no server `{endpoint[:200]}`")
            if visit.method == "POST":
                await self._post(endpoint, visit, receive, send)
            elif visit.method == "GET":
                await self._listen(self._session(endpoint, visit), visit, receive, send)
            elif visit.method == "DELETE":
                self.sessions.close(self._session(endpoint, visit))
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})
            else:
                error = GatewayError(Kind.INVALID, "MCP is spoken with POST, GET and DELETE", status=405)
                body = _error_body(b"", error)
                await respond(send, 405, body, JSON_TYPE, (b"allow", b"POST, GET, DELETE"))
        except GatewayError as error:
            # Nothing could be read of a JSON-RPC message: the answer has no id (JSON-RPC 2.0 section 5).
            if error.rpc_code == INVALID_PARAMS:
                error.rpc_code = INVALID_REQUEST
            await respond(send, error.status, _error_body(b"", error), JSON_TYPE, *error_headers(error))

    async def _post(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        require_json(visit.headers)
        _require_acceptable(visit)
        body = await read_body(visit, receive, self._gateway.config.gateway.limits.body_bytes)
        message = read_message(body)
        if message.method == "initialize" and message.id is not None:
            await self._initialize(endpoint, visit, message, send)
            return
        _require_known_revision(visit)
        session = self._session(endpoint, visit)
        if message.id is None or message.method is None:
            self._note(session, message)
            await respond(send, 202, b"", JSON_TYPE)
        elif message.method == "tools/call":
            await self._call(session, visit, message, len(body), send)
        elif message.method == "resources/read":
            await self._read(session, message, send)
        else:
            await respond(send, 200, self._answer(session, message), JSON_TYPE)

    # Sessions

    def _session(self, endpoint: str, visit: Visit) -> Session:
        session_id = visit.headers.get(_SESSION)
        if session_id is None:
            raise GatewayError(
                Kind.INVALID,
                "The header Mcp-Session-Id is missing; begin with `initialize`",
                rpc_code=INVALID_REQUEST,
            )
        now = clock.now_s()
        session = self.sessions.find(session_id.decode("latin-1"), visit.caller, endpoint, now)
        if session is None:
            raise GatewayError(
                Kind.UNKNOWN,
                "There is no such session; begin again with `initialize`",
                rpc_code=INVALID_REQUEST,
            )
        return session

    async def _initialize(self, endpoint: str, visit: Visit, message: Message, send: Send) -> None:
        if self._gateway.is_stopping:  # a session would be lost before it is of use
            error = stopping("it opens no more sessions")
            await respond(
                send, error.status, _error_body(message.id_raw, error), JSON_TYPE, *error_headers(error)
            )
            return
        try:
            asked = msgspec.json.decode(encode(message.params), type=_Initialize)
        except msgspec.MsgspecError as problem:
            error = GatewayError(
                Kind.INVALID, f"`initialize` is not valid: {problem}", rpc_code=INVALID_PARAMS
            )
            await respond(send, 200, _error_body(message.id_raw, error), JSON_TYPE)
            return
        revision = asked.protocolVersion if asked.protocolVersion in OFFERED else LATEST_HANDSHAKE
        client = client_info(asked.clientInfo)
        session = self.sessions.open(visit.caller, endpoint, revision, clock.now_s(), client)
        told = self._gateway.instructions(visit.caller, endpoint or None)
        result = encode(
            {
                "protocolVersion": revision,
                "capabilities": {"tools": {"listChanged": True}, "resources": resources.CAPABILITY},
                "serverInfo": CLIENT_INFO,
                **({"instructions": told} if told else {}),
            }
        )
        headers = (_SESSION, session.id.encode())
        await respond(send, 200, response(message.id_raw, result), JSON_TYPE, headers)

    # Messages

    def _note(self, session: Session, message: Message) -> None:
        """Notifications and stray responses; only a cancellation means anything yet."""
        if message.method == "notifications/cancelled":
            with contextlib.suppress(msgspec.MsgspecError):
                request_id = msgspec.json.decode(encode(message.params), type=_Cancelled).requestId
                call = session.calls.get((type(request_id), request_id))
                if call is not None:
                    call.cancel("cancelled by the client", answered=False)

    def _answer(self, session: Session, message: Message) -> bytes:
        """The answer to a request that needs no server."""
        if message.method == "ping":
            return response(message.id_raw, b"{}")
        result = self._list(session, message.method)
        if result is not None:
            if bytes(message.params.get("cursor", _NULL)) != _NULL:
                problem = GatewayError(Kind.INVALID, "This cursor is not one of ours: the list has one page")
                return _error_body(message.id_raw, problem)
            return response(message.id_raw, result)
        detail = f"The method `{(message.method or '')[:80]}` is not offered"
        return _error_body(message.id_raw, GatewayError(Kind.UNKNOWN, detail, rpc_code=METHOD_NOT_FOUND))

    def _list(self, session: Session, method: str | None) -> bytes | None:
        match method:
            case "tools/list":
                return self._tools(session)
            case "resources/list":
                return resources.list_resources(self._gateway, session.caller, session.endpoint or None)
            case "resources/templates/list":
                return resources.list_templates()
        return None

    def _tools(self, session: Session) -> bytes:
        catalog = self._gateway.catalog(session.caller)
        if session.endpoint == ALL_SERVERS:
            return catalog.exposed_list
        return catalog.native_lists.get(session.endpoint, b'{"tools":[]}')

    async def _read(self, session: Session, message: Message, send: Send) -> None:
        server = session.endpoint or None
        try:
            await resources.read_resource(self._gateway, session.caller, server, message, send)
        except GatewayError as error:
            await respond(send, 200, _error_body(message.id_raw, error), JSON_TYPE)

    # Calls

    async def _call(
        self, session: Session, visit: Visit, message: Message, request_bytes: int, send: Send
    ) -> None:
        assert message.id is not None, "a call is a request"
        key = (type(message.id), message.id)
        try:
            if key in session.calls:
                detail = "A request with this id is still running in this session"
                raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
            call = self._open(session, visit, message, request_bytes)
        except GatewayError as error:
            if error.call_id is None:
                server = session.endpoint
                name = message.name if isinstance(message.name, str) else ""
                self._gateway.refuse_call(session.caller, "mcp", server, name, request_bytes, error)
            await respond(send, 200, _error_body(message.id_raw, error), JSON_TYPE)
            return
        session.calls[key] = call
        try:
            await _Reply(call, message, visit, send).run()
        finally:
            del session.calls[key]

    def _open(self, session: Session, visit: Visit, message: Message, request_bytes: int) -> Call:
        params = message.params
        name = tool = message.name
        if not isinstance(name, str):
            raise GatewayError(Kind.INVALID, "`params.name` must be a string")
        arguments = bytes(params.get("arguments", b"{}"))
        if arguments[:1] != b"{":
            raise GatewayError(Kind.INVALID, "`params.arguments` must be an object")
        server = session.endpoint
        if session.endpoint == ALL_SERVERS:
            entry = self._gateway.catalog(session.caller).by_exposed.get(name)
            if entry is None:
                raise GatewayError(Kind.UNKNOWN, f"There is no tool `{name[:200]}`")
            server, tool = entry.server, entry.tool
            params["name"] = tool
        return self._gateway.open_call(
            Request(
                session.caller,
                "mcp",
                server,
                tool,
                params,
                arguments,
                request_bytes,
                headers=visit.headers,
            )
        )

    # The client's own stream

    async def _listen(self, session: Session, visit: Visit, receive: Receive, send: Send) -> None:
        """The GET stream: tells that lists have changed, and keeps the line warm."""
        if b"text/event-stream" not in visit.headers.get(b"accept", b"*/*").lower():
            raise GatewayError(Kind.INVALID, "This stream is text/event-stream", status=406)
        feed = self._gateway.open_feed(session.caller, frozenset({"tools"}))
        if session.stream is not None:
            session.stream.end()  # of a connection that is likely dead: the client came back
        session.stream = feed
        left = asyncio.create_task(until_gone(receive))
        left.add_done_callback(lambda _: feed.end())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": sse.HEADERS})
            await send_part(send, sse.KEEP_ALIVE)
            async for change in changes(feed, KEEP_ALIVE_S):
                if change is None:
                    self.sessions.expire(clock.now_s())  # it is asked for often enough where a stream is open
                    await send_part(send, sse.KEEP_ALIVE)
                    continue
                await asyncio.sleep(LIST_CHANGED_AFTER_S)
                feed.skip()
                await send_part(send, sse.event(_LIST_CHANGED, "message"))
            await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()
            if session.stream is feed:
                session.stream = None
            self._gateway.close_feed(feed)


class _Initialize(msgspec.Struct):
    protocolVersion: str
    capabilities: dict[str, Raw] = {}
    clientInfo: Raw = Raw(b"{}")


class _Cancelled(msgspec.Struct):
    requestId: int | str


class _Reply:
    """The answer to one `tools/call`: JSON, or an event stream from the first thing said before it."""

    def __init__(self, call: Call, message: Message, visit: Visit, send: Send) -> None:
        self._call = call
        self._id_raw = message.id_raw
        self._send = send
        self._token: Any = message.meta.get("progressToken")
        accept = visit.headers.get(b"accept", b"*/*").lower()
        self._may_stream = b"text/event-stream" in accept or b"*/*" in accept
        self._is_stream = False
        self._spoke_at = clock.now_s()

    async def run(self) -> None:
        call, mailbox = self._call, self._call.mailbox
        try:
            # A client that leaves does not cancel in this era (2025-11-25, transports): nobody looks.
            while not call.ended:
                await mailbox.wait()
                for note in mailbox.take():
                    await self._tell(note.kind, note.data)
        finally:
            call.cancel("the gateway is stopping")  # only when this task itself was ended
        await self._end()

    async def _tell(self, kind: str, data: bytes) -> None:
        if not self._may_stream:
            return
        now = clock.now_s()
        if kind == "progress" and self._token is not None:
            params: Params = read_members(data)
            params["progressToken"] = self._token
            await self._say(sse.event(notification("notifications/progress", params), "message"))
        elif now - self._spoke_at >= KEEP_ALIVE_S:
            await self._say(sse.KEEP_ALIVE)
        else:
            return
        self._spoke_at = now

    async def _say(self, part: bytes) -> None:
        if not self._is_stream:
            self._is_stream = True
            headers = [*sse.HEADERS, self._header()]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await send_part(self._send, part)

    def _header(self) -> tuple[bytes, bytes]:
        return (b"mcp-gateway-call", call_id_text(self._call.id).encode())

    async def _end(self) -> None:
        try:
            result = self._call.result()
        except UpstreamAnswered as error:
            await self._finish(error_response(self._id_raw, error.error))
        except GatewayError as error:
            await self._finish(_error_body(self._id_raw, error))
        except CallCancelled as cancelled:
            if cancelled.answered:
                await self._finish(_error_body(self._id_raw, cancelled_problem(self._call, cancelled)))
            else:  # who cancelled wants no answer (utilities/cancellation)
                await self._finish(b"")
        else:
            await self._finish_with(result)

    async def _finish_with(self, result: Raw) -> None:
        head = b'{"jsonrpc":"2.0","id":' + self._id_raw + b',"result":'
        if self._is_stream:
            await send_event(self._send, "message", head, result, b"}")
            await self._send({"type": "http.response.body", "body": b""})
        elif memoryview(result).nbytes > LARGE_BYTES:
            await respond_in_slices(self._send, head, result, b"}", JSON_TYPE, self._header())
        else:
            await self._finish(response(self._id_raw, result))

    async def _finish(self, body: bytes) -> None:
        if not self._is_stream:
            await respond(self._send, 200 if body else 202, body, JSON_TYPE, self._header())
            return
        if body:
            await send_part(self._send, sse.event(body, "message"))
        await self._send({"type": "http.response.body", "body": b""})


def _error_body(id_raw: bytes, error: GatewayError) -> bytes:
    facts = error.facts()
    return error_response(id_raw, encode({"code": error.rpc_code, "message": error.detail, "data": facts}))


def _require_acceptable(visit: Visit) -> None:
    accept = visit.headers.get(b"accept", b"*/*").lower()
    if b"application/json" not in accept and b"*/*" not in accept and b"application/*" not in accept:
        raise GatewayError(Kind.INVALID, "The answer is application/json or an event stream", status=406)


def _require_known_revision(visit: Visit) -> None:
    revision = visit.headers.get(_REVISION)
    if revision is not None and not is_handshake(revision.decode("latin-1").strip()):
        # Not -32022: that would say that this endpoint speaks the modern era.
        detail = "This revision of MCP is not offered; begin with `initialize`"
        raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
