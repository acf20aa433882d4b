"""`POST /tools/{server}/{tool}`: a call by a client that knows HTTP and no MCP. Plain ASGI.

The body is the arguments object. Where the tool's schema demands another type than was sent, or forbids an
argument, that is set right first (`schemas.fit`), and the call's record says so; on this face only. The
answer is what `results` makes of the server's; a tool that reports failure is answered with an error status.
"""

import re
from functools import partial
from typing import Any, Final

from msgspec import Raw

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import (
    TOOL_ERROR,
    TOOL_ERROR_STATUS,
    TOOL_ERROR_TITLE,
    CallCancelled,
    GatewayError,
)
from mcp_gateway.faces import calls
from mcp_gateway.faces.artifacts import attachment
from mcp_gateway.faces.http import (
    JSON_TYPE,
    LARGE_BYTES,
    PROBLEM_NAMESPACE,
    PROBLEM_TYPE,
    Receive,
    Send,
    Visit,
    problem_document,
    respond,
    respond_in_slices,
    respond_problem,
    send_event,
    send_part,
)
from mcp_gateway.faces.tools.files import Links
from mcp_gateway.faces.tools.results import Media, Text, Told, decoded, told
from mcp_gateway.gateway import Call, Gateway, call_id_text
from mcp_gateway.schemas import fit
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import encode, read_members

PREFIX: Final = b"/tools/"
FACE: Final = "openapi"
_REFUSED: Final = re.compile(r"(?:^|;)\s*q=0(?:\.0{0,3})?\s*(?:;|$)")
_TEXT_TYPE: Final = b"text/plain; charset=utf-8"


def is_call(method: str, path: bytes) -> bool:
    """Whether a request is for `serve_call`."""
    return method == "POST" and is_tool(path)


def is_tool(path: bytes) -> bool:
    """Whether a tool may have this path."""
    return path.startswith(PREFIX) and path.count(b"/") == 3


async def serve_call(gateway: Gateway, visit: Visit, receive: Receive, send: Send) -> None:
    """Answers one call (`is_call`)."""
    try:
        server, tool = calls.split_path(visit.path, PREFIX)
        body = await calls.read_call(gateway, visit, receive, server, tool, FACE)
        arguments, note = _fitted(gateway, visit.caller, server, tool, body)
        request = calls.request_of(visit, FACE, server, tool, arguments, body)
        request.note = note
        call = gateway.open_call(request)
    except GatewayError as error:
        await respond_problem(send, error)
        return
    links = Links(gateway, visit, server)
    await calls.answer_call(
        gateway,
        visit,
        call,
        receive,
        send,
        partial(_send_answer, links, visit.headers.get(b"accept", b"*/*").lower().decode("latin-1")),
        partial(_send_last_event, links),
    )


def _fitted(
    gateway: Gateway, caller: Caller, server: str, tool: str, body: calls.Body
) -> tuple[bytes, str | None]:
    """The arguments as they go to the server, and what was changed; members that fit stay as written.

    Only for who sees the tool: the record, which its caller may read, shows what came of it.
    """
    entry = gateway.entry(caller, server, tool)
    if entry is None or not body.value:
        return body.text or b"{}", None
    fitted, changes = fit(body.value, entry.accepted)
    if not changes:
        return body.text, None
    written = read_members(body.text)
    arguments: dict[str, Any] = {
        name: written[name] if value is body.value[name] else value for name, value in fitted.items()
    }
    return encode(arguments), "; ".join(changes)


async def _send_answer(links: Links, accept: str, call: Call, send: Send) -> None:
    header = calls.header_of(call)
    try:
        said = await told(call.result(), links)
    except GatewayError as error:
        await respond_problem(send, error)
        return
    except CallCancelled as cancelled:
        await respond_problem(send, calls.cancelled_problem(call, cancelled))
        return
    if said.failure is not None:
        await respond(send, TOOL_ERROR_STATUS, _failure(call, said), PROBLEM_TYPE, header)
    elif isinstance(said.alone, Media) and (data := _wanted(said.alone, accept)) is not None:
        await respond(send, 200, data, said.alone.type.encode(), *attachment("file"), header)
    elif isinstance(said.alone, Text) and said.alone.text is not None and _wants_text(accept):
        await respond(send, 200, said.alone.text.encode(), _TEXT_TYPE, header)
    else:
        value = said.value or Raw(b"null")
        if memoryview(value).nbytes > LARGE_BYTES:
            await respond_in_slices(send, b"", value, b"", JSON_TYPE, header)
        else:
            await respond(send, 200, bytes(value), JSON_TYPE, header)


async def _send_last_event(links: Links, call: Call, send: Send) -> None:
    try:
        said = await told(call.result(), links)
    except GatewayError as error:
        await send_part(send, sse.event(problem_document(error), "error"))
    except CallCancelled as cancelled:
        problem = calls.cancelled_problem(call, cancelled)
        await send_part(send, sse.event(problem_document(problem), "error"))
    else:
        if said.failure is not None:
            await send_part(send, sse.event(_failure(call, said), "error"))
        else:
            await send_event(send, "result", b"", said.value or Raw(b"null"), b"")


def _failure(call: Call, said: Told) -> bytes:
    """Problem details (RFC 9457) of a tool that reports failure; `content` is what it said besides words."""
    document: dict[str, Any] = {
        "type": PROBLEM_NAMESPACE + TOOL_ERROR,
        "title": TOOL_ERROR_TITLE,
        "status": TOOL_ERROR_STATUS,
        "detail": said.failure,
        "code": TOOL_ERROR,
        "retryable": False,
        "server": call.record.server,
        "callId": call_id_text(call.id),
    }
    if said.value is not None:
        document["content"] = said.value
    return encode(document)


def _wanted(media: Media, accept: str) -> bytes | None:
    """The bytes themselves, for a client that names their type (RFC 9110, section 12.5.1)."""
    kind = media.type.partition(";")[0].lower()
    if not _names(accept, kind, f"{kind.partition('/')[0]}/*"):
        return None
    return decoded(media.data)


def _wants_text(accept: str) -> bool:
    return _names(accept, "text/plain", "text/*") and not _names(accept, "application/json")


def _names(accept: str, *kinds: str) -> bool:
    ranges = (part.partition(";") for part in accept.split(","))
    return any(kind.strip() in kinds and _REFUSED.search(more) is None for kind, _, more in ranges)
