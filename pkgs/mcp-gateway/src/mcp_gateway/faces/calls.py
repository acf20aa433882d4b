"""`POST /api/tools/{server}/{tool}`: the hot route of REST, plain ASGI; resources and prompts likewise.

The body is the arguments object; the answer is the server's result, byte for byte. The same call can
be streamed (`Accept: text/event-stream`) or left running (`Prefer: respond-async`). A client that
goes away cancels its call.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from msgspec import Raw
from starlette.responses import Response

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import CallCancelled, GatewayError, Kind
from mcp_gateway.faces.http import (
    JSON_TYPE,
    LARGE_BYTES,
    Receive,
    Scope,
    Send,
    Visit,
    problem_document,
    read_body,
    require_json,
    respond,
    respond_in_slices,
    respond_problem,
    send_event,
    send_part,
)
from mcp_gateway.gateway import (
    GET_PROMPT,
    NO_CLIENT,
    READ_RESOURCE,
    Call,
    Client,
    Gateway,
    Mailbox,
    Request,
    call_id_text,
    facts_of,
)
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import encode, read_members, scan_object

PREFIX: Final = b"/api/tools/"
PROMPTS_PREFIX: Final = b"/api/prompts/"
KEEP_ALIVE_S: Final = 15.0  # below every common proxy's patience
TIMEOUT_BELOW_S: Final = 86_400  # a day; whoever waits longer starts the call and comes back for it
_CALL_HEADER: Final = b"mcp-gateway-call"
_SESSION: Final = b"x-session-id"
_FACE: Final = b"mcp-gateway-face"


Ending = Callable[[Call, Send], Awaitable[None]]
"""Says how a call ended: in an answer of its own, or in the last event of a stream."""


@dataclass(slots=True)
class Body:
    """What a call's request said: its arguments as they were sent, and their `value`."""

    text: bytes
    value: dict[str, Any]
    timeout_s: float | None


async def serve_call(gateway: Gateway, visit: Visit, receive: Receive, send: Send) -> None:
    """Answers one POST under `PREFIX`."""
    try:
        server, tool = split_path(visit.path)
        body = await read_call(gateway, visit, receive, server, tool, _face(visit))
        call = gateway.open_call(request_of(visit, _face(visit), server, tool, body.text or b"{}", body))
    except GatewayError as error:
        await respond_problem(send, error)
        return
    await answer_call(gateway, visit, call, receive, send, send_result, send_last_event)


def request_of(visit: Visit, face: str, server: str, tool: str, arguments: bytes, body: Body) -> Request:
    """The call of a tool, its arguments as they go to the server."""
    params = {"name": tool, "arguments": Raw(arguments)}
    return Request(
        visit.caller,
        face,
        server,
        tool,
        params,
        arguments,
        len(body.text),
        body.timeout_s,
        visit.headers,
        client=_client(visit),
    )


async def answer_call(
    gateway: Gateway,
    visit: Visit,
    call: Call,
    receive: Receive,
    send: Send,
    whole: Ending,
    last_event: Ending,
) -> None:
    """Answers with the ending, with a stream, or with where the call is found later; as it was asked for."""
    if b"respond-async" in visit.headers.get(b"prefer", b"").lower():
        gateway.keep_call(call)
        where = b"/api/calls/" + call_id_text(call.id).encode()
        text = encode({"id": call_id_text(call.id), "state": "running"})
        await respond(
            send, 202, text, JSON_TYPE, (b"location", where), (b"preference-applied", b"respond-async")
        )
    elif wants_stream(visit):
        await stream(call, call.mailbox, receive, send, last_event, cancel_on_leave=True)
    else:
        await until_ended(call, receive)
        await whole(call, send)


def _face(visit: Visit) -> str:
    """`ui` for a call that our page says it makes, else `rest`: a label for the activity, never a right."""
    return "ui" if visit.headers.get(_FACE) == b"ui" else "rest"


def _client(visit: Visit) -> Client:
    """Whoever names a session has one where a server gives each its own (`isolation`)."""
    name = visit.headers.get(_SESSION)
    if name is None:
        return NO_CLIENT
    # No session of MCP has such a name, and none of another caller.
    of_caller = hashlib.sha256(visit.caller.id.encode() + b"\0" + name).hexdigest()[:32]
    return Client(session=f"named:{of_caller}")


async def read_call(
    gateway: Gateway, visit: Visit, receive: Receive, server: str, tool: str, face: str, **asked: str
) -> Body:
    """The body, which is the arguments object, and the time to wait; what cannot be read is recorded.

    Raises:
        GatewayError: `invalid`, `unauthenticated`.
    """
    body, value = b"", {}
    try:
        body = await read_body(visit, receive, gateway.config.gateway.limits.body_bytes)
        if body:  # what has no arguments may be called without a body
            require_json(visit.headers)
            value = scan_object(body)
        timeout_s = _timeout_s(visit.query)
    except GatewayError as error:
        gateway.refuse_call(visit.caller, face, server, tool, len(body), error, **asked)
        raise
    return Body(body, value, timeout_s)


async def get_prompt(gateway: Gateway, visit: Visit, receive: Receive) -> Call:
    """Opens the call of `POST /api/prompts/{server}/{prompt}`.

    Raises:
        GatewayError: nothing was sent; the record is written.
    """
    server, prompt = split_path(visit.path, PROMPTS_PREFIX)
    asked = {"method": GET_PROMPT, "target": prompt}
    body = await read_call(gateway, visit, receive, server, "", _face(visit), **asked)
    arguments = body.text or b"{}"
    params = {"name": prompt, "arguments": Raw(arguments)}
    return gateway.open_call(
        Request(
            visit.caller,
            _face(visit),
            server,
            "",
            params,
            arguments,
            len(body.text),
            body.timeout_s,
            visit.headers,
            GET_PROMPT,
            prompt,
            is_prompt=True,
            client=_client(visit),
        )
    )


def read_resource(gateway: Gateway, visit: Visit, server: str, uri: str) -> Call:
    """Opens the call of `GET /api/resources/{server}?uri=`, likewise."""
    try:
        timeout_s = _timeout_s(visit.query)
    except GatewayError as error:
        gateway.refuse_call(
            visit.caller, _face(visit), server, "", 0, error, method=READ_RESOURCE, target=uri
        )
        raise
    arguments = encode({"uri": uri})
    return gateway.open_call(
        Request(
            visit.caller,
            _face(visit),
            server,
            "",
            {"uri": uri},
            arguments,
            0,
            timeout_s,
            visit.headers,
            READ_RESOURCE,
            uri,
            client=_client(visit),
        )
    )


def split_path(path: bytes, prefix: bytes = PREFIX) -> tuple[str, str]:
    """Server id and native name of a path such as `/api/tools/{server}/{tool}`, percent-decoded once.

    Raises:
        GatewayError: `unknown` when the path has another shape.
    """
    parts = path[len(prefix) :].split(b"/")
    if len(parts) != 2 or not all(parts):
        what = prefix.decode().rstrip("/").rpartition("/")[2].rstrip("s")
        raise GatewayError(
            Kind.UNKNOWN,
            f"There is nothing at this path; a {what} is {prefix.decode()}{{server}}/{{{what}}}",
        )
    try:
        server, tool = (unquote(part.decode("ascii"), errors="strict") for part in parts)
    except UnicodeDecodeError:
        raise GatewayError(Kind.UNKNOWN, "The path is not valid UTF-8") from None
    return server, tool


def _timeout_s(query: bytes) -> float | None:
    """`?timeout=` in seconds without progress; the server's `maxTimeout` stays above it."""
    if not query:
        return None
    values = parse_qs(query.decode("ascii", "replace"), keep_blank_values=True).get("timeout")
    if not values:
        return None
    try:
        seconds = float(values[-1])
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < TIMEOUT_BELOW_S:
        detail = f"`timeout` must be a number of seconds above 0 and below {TIMEOUT_BELOW_S}"
        raise GatewayError(Kind.INVALID, detail)
    return seconds


def wants_stream(visit: Visit) -> bool:
    """Whether a stream is asked for; a client that takes JSON as well gets JSON."""
    accept = visit.headers.get(b"accept", b"").lower()
    return b"text/event-stream" in accept and b"application/json" not in accept


async def until_ended(call: Call, receive: Receive) -> None:
    """Returns when the call has ended; a client that goes away meanwhile cancels it."""
    leaving: asyncio.Task[None] | None = None
    try:
        while not call.ended:
            await call.mailbox.wait()
            # The first note comes from the clock or the server, so only a slow call pays for a watcher.
            if call.mailbox.take() and leaving is None:
                leaving = asyncio.create_task(_cancel_when_gone(call, receive))
    finally:
        if leaving is not None:
            leaving.cancel()
        call.cancel("the client went away")  # only when this task itself was ended


def header_of(call: Call) -> tuple[bytes, bytes]:
    """By which an answer says which call it is of."""
    return _CALL_HEADER, call_id_text(call.id).encode()


async def send_result(call: Call, send: Send) -> None:
    """The server's result as it came, or the problem."""
    called = header_of(call)
    try:
        result = call.result()
    except GatewayError as error:
        await respond_problem(send, error)
    except CallCancelled as cancelled:
        await respond_problem(send, cancelled_problem(call, cancelled))
    else:
        if memoryview(result).nbytes > LARGE_BYTES:
            await respond_in_slices(send, b"", result, b"", JSON_TYPE, called)
        else:
            await respond(send, 200, bytes(result), JSON_TYPE, called)


def cancelled_problem(call: Call, cancelled: CallCancelled) -> GatewayError:
    """What is told to somebody who still asks about a cancelled call."""
    problem = GatewayError(
        Kind.LOST, f"The call was cancelled: {cancelled.reason}", server=call.record.server, status=409
    )
    problem.call_id = call_id_text(call.id)
    return problem


async def _cancel_when_gone(call: Call, receive: Receive) -> None:
    await until_gone(receive)
    call.cancel("the client went away")


async def stream(
    call: Call, mailbox: Mailbox, receive: Receive, send: Send, last_event: Ending, *, cancel_on_leave: bool
) -> None:
    """Sends a call's `progress` and `log` events as they happen, then `result` or `error`."""
    left = asyncio.create_task(until_gone(receive))
    headers = [*sse.HEADERS, header_of(call)]
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send_part(send, b": call %b\n\n" % call_id_text(call.id).encode())
        spoke_at = clock.now_s()
        while not call.ended:
            await mailbox.wait()
            for note in mailbox.take():
                if note.kind in ("progress", "log"):
                    await send_part(send, sse.event(_public(note.kind, note.data), note.kind))
                    spoke_at = clock.now_s()
            if left.done() and cancel_on_leave:
                call.cancel("the client went away")
            elif left.done():
                return
            elif clock.now_s() - spoke_at >= KEEP_ALIVE_S:
                await send_part(send, sse.KEEP_ALIVE)
                spoke_at = clock.now_s()
        await last_event(call, send)
        await send({"type": "http.response.body", "body": b""})
    finally:
        left.cancel()
        call.unlisten(mailbox)
        if cancel_on_leave:
            call.cancel("the client went away")


async def until_gone(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _public(kind: str, data: bytes) -> bytes:
    """A note without the progress token, which is ours and means nothing to the caller."""
    if kind != "progress":
        return data or b"{}"
    members = read_members(data)
    members.pop("progressToken", None)
    return encode(members)


async def send_last_event(call: Call, send: Send) -> None:
    """The last event of a call's stream."""
    try:
        result = call.result()
    except GatewayError as error:
        await send_part(send, sse.event(problem_document(error), "error"))
    except CallCancelled as cancelled:
        await send_part(send, sse.event(problem_document(cancelled_problem(call, cancelled)), "error"))
    else:
        await send_event(send, "result", b"", result, b"")


async def state_of(gateway: Gateway, caller: Caller, text: str, call: Call | None) -> dict[str, Any]:
    """A call's record, with its result or problem while that is kept.

    Raises:
        GatewayError: `unknown`.
    """
    if call is None:
        return await gateway.show_call(caller, text)
    state = facts_of(call.record)
    if call.ended:
        try:
            state["result"] = call.result()
        except GatewayError as error:
            state["problem"] = Raw(problem_document(error))
        except CallCancelled as cancelled:
            state["problem"] = Raw(problem_document(cancelled_problem(call, cancelled)))
    return state


class CallResponse(Response):
    """A call as an answer of FastAPI: its result, or its stream; who leaves cancels it."""

    def __init__(self, call: Call, visit: Visit) -> None:
        super().__init__()
        self._call = call
        self._wants_stream = wants_stream(visit)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        if self._wants_stream:
            await stream(self._call, self._call.mailbox, receive, send, send_last_event, cancel_on_leave=True)
        else:
            await until_ended(self._call, receive)
            await send_result(self._call, send)


class StreamResponse(Response):
    """An asynchronous call's stream as an answer of FastAPI; leaving it does not cancel the call."""

    def __init__(self, call: Call, mailbox: Mailbox) -> None:
        super().__init__()
        self._call = call
        self._mailbox = mailbox

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await stream(self._call, self._mailbox, receive, send, send_last_event, cancel_on_leave=False)
