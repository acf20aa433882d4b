"""What every face knows of HTTP: who visits, bodies in, answers out, and how errors are told.

Knows no rule about who may come in; that is `edge.py`.
"""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Raw

from mcp_gateway.access.caller import NOBODY, Caller
from mcp_gateway.errors import TABLE, GatewayError, InputRequired, Kind, UpstreamAnswered
from mcp_gateway.gateway.sign_ins import SignIn
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import encode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]

LARGE_BYTES: Final = 1024 * 1024  # from here on an answer is sent in slices, at the client's pace
SEND_SLICE_BYTES: Final = 256 * 1024
MISTAKE: Final = "The gateway made a mistake; its log says more"
JSON_TYPE: Final = b"application/json"
PROBLEM_TYPE: Final = b"application/problem+json"
# `type` of RFC 9457: a name, not an address to fetch.
PROBLEM_NAMESPACE: Final = "urn:mcp-gateway:problem:"


def _is_current(_caller: Caller) -> None:
    """Of who needs no key."""


@dataclass(slots=True)  # made for every request, and a frozen one takes a microsecond more
class Visit:
    """A request that was let in; never changed.

    `path` is as sent, percent-encoded; `caller` is `NOBODY` on public routes.
    `is_secure`: the browser sees https. `sign_in`: by which of them the caller is who they are, and `known`
    who they would be without it. `require_current` is asked when the body has come, which the caller can have
    delayed: meanwhile a key can have been revoked.
    """

    method: str
    path: bytes
    query: bytes
    headers: Headers
    caller: Caller
    is_secure: bool = False
    sign_in: SignIn | None = None
    known: Caller = NOBODY
    require_current: Callable[[Caller], None] = _is_current


class Unclear(GatewayError):
    """Where the body ends could be read in two ways; what follows on the connection is not read at all."""

    def __init__(self, why: str) -> None:
        super().__init__(Kind.INVALID, f"The request is not clear: {why}")


def unauthenticated(why: str) -> GatewayError:
    return GatewayError(Kind.UNAUTHENTICATED, why)


async def read_body(visit: Visit, receive: Receive, limit: int) -> bytes:
    """The whole body. How long it may take is the connection's business.

    Raises:
        GatewayError: `invalid` when it is too large, or the client left; `unauthenticated` when the caller
            is not let in any more.
    """
    body = await _read_body(visit, receive, limit)
    visit.require_current(visit.caller)
    return body


async def _read_body(visit: Visit, receive: Receive, limit: int) -> bytes:
    announced = visit.headers.get(b"content-length", b"0")
    if not announced.isdigit() or int(announced[:20]) > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise GatewayError(Kind.INVALID, "The client left while sending the body")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def _too_large(limit: int) -> GatewayError:
    return GatewayError(Kind.INVALID, f"The body is larger than {limit} bytes", status=413)


def require_json(headers: Headers) -> None:
    """Refuses a body of another type, which a foreign page could send without asking (CSRF).

    Raises:
        GatewayError: `invalid`, status 415.
    """
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != JSON_TYPE:
        raise GatewayError(Kind.INVALID, "The body must be sent as application/json", status=415)


def require_acceptable(headers: Headers) -> None:
    """Raises:
    GatewayError: `invalid`, status 406: JSON is no answer to this client.
    """
    accept = headers.get(b"accept", b"*/*").lower()
    if b"application/json" not in accept and b"*/*" not in accept and b"application/*" not in accept:
        raise GatewayError(Kind.INVALID, "The answer is application/json or an event stream", status=406)


def may_stream(headers: Headers) -> bool:
    """Whether this client takes an event stream."""
    accept = headers.get(b"accept", b"*/*").lower()
    return b"text/event-stream" in accept or b"*/*" in accept


async def respond(
    send: Send, status: int, body: bytes, content_type: bytes, *more: tuple[bytes, bytes]
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *more],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def respond_in_slices(
    send: Send, head: bytes, large: Raw, tail: bytes, content_type: bytes, *more: tuple[bytes, bytes]
) -> None:
    """A body around a large result, in slices as fast as the client reads."""
    length = len(head) + memoryview(large).nbytes + len(tail)
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % length), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send_part(send, head)
    for part in slices(large):
        await send_part(send, part)
    await send({"type": "http.response.body", "body": tail})


async def send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


def slices(large: Raw) -> Iterator[bytes]:
    view = memoryview(large)
    for at in range(0, view.nbytes, SEND_SLICE_BYTES):
        yield bytes(view[at : at + SEND_SLICE_BYTES])


async def send_event(send: Send, name: str, before: bytes, result: Raw, after: bytes) -> None:
    """An event around a result, in slices where that is large."""
    if memoryview(result).nbytes <= LARGE_BYTES:
        await send_part(send, sse.event(b"".join((before, result, after)), name))
        return
    await send_part(send, b"event: %b\ndata: %b" % (name.encode(), before))
    for part in slices(result):
        await send_part(send, part.replace(b"\r", b" ").replace(b"\n", b" "))
    await send_part(send, after + b"\n\n")


def problem_document(error: GatewayError) -> bytes:
    """RFC 9457 problem details with the facts of the error table."""
    facts = error.facts()
    row = TABLE[error.kind]
    document = {
        "type": PROBLEM_NAMESPACE + error.kind.value,
        "title": row.title,
        "status": error.status,
        **facts,
    }
    if isinstance(error, UpstreamAnswered):
        document["rpcError"] = Raw(error.error)
    if isinstance(error, InputRequired) and error.asked:
        document["inputRequests"] = Raw(error.asked)
    return encode(document)


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """What an error says in headers, too: when to try again, and how to say who one is (RFC 6750)."""
    if error.kind is Kind.UNAUTHENTICATED:
        return [(b"www-authenticate", b'Bearer realm="mcp-gateway"')]
    if isinstance(error, Unclear):
        return [(b"connection", b"close")]
    retry_after = error.facts().get("retryAfter")
    return [] if retry_after is None else [(b"retry-after", b"%d" % retry_after)]


async def respond_problem(send: Send, error: GatewayError) -> None:
    await respond(send, error.status, problem_document(error), PROBLEM_TYPE, *error_headers(error))
