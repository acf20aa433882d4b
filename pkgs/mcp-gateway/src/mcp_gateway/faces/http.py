"""The edge in front of every face: who may knock, how much they may send, and how errors are told.

Runs before any routing, so no route can be reached around it. Until callers have keys, one rule
holds: a direct request on loopback, with a loopback Host and no sign of a proxy or a foreign page, is
the local operator; everything else is refused. The check never looks at `request.url`, which a
crafted Host header can bend (CVE-2026-48710).
"""

import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Raw

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller
from mcp_gateway.errors import TABLE, GatewayError, InputRequired, Kind, UpstreamAnswered
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import encode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]

LARGE_BYTES: Final = 1024 * 1024  # from here on an answer is sent in slices, at the client's pace
SEND_SLICE_BYTES: Final = 256 * 1024

# Any of these says that something forwarded the request: then "from loopback" says nothing about who.
_PROXY_MARKS: Final = frozenset(
    b"forwarded via x-real-ip x-client-ip x-cluster-client-ip "
    b"x-original-host x-original-forwarded-for x-original-url x-rewrite-url true-client-ip cf-connecting-ip "
    b"cf-ray cf-visitor cf-ipcountry fastly-client-ip fly-client-ip x-envoy-external-address "
    b"x-appengine-user-ip x-azure-clientip x-amzn-trace-id tailscale-user-login tailscale-user-name "
    b"tailscale-user-profile-pic tailscale-funnel-request tailscale-headers-info "
    b"tailscale-app-capabilities x-authenticated-user x-remote-user remote-user "
    b"x-auth-request-user x-auth-request-email x-scheme cdn-loop".split()
)
_PROXY_FAMILY: Final = b"x-forwarded"
# A second one of these would let two readers see two requests.
_ONCE: Final = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"content-type", b"content-length", b"authorization"}
    | {b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"last-event-id"}
)
_LOOPBACK_HOST: Final = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_OWN_PAGE: Final = (b"same-origin", b"none")

MISTAKE: Final = "The gateway made a mistake; its log says more"
JSON_TYPE: Final = b"application/json"
PROBLEM_TYPE: Final = b"application/problem+json"
# `type` of RFC 9457: a name, not an address to fetch.
PROBLEM_NAMESPACE: Final = "urn:mcp-gateway:problem:"


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in. `path` is as sent, percent-encoded."""

    method: str
    path: bytes
    query: bytes
    headers: Headers
    caller: Caller


def admit(scope: Scope) -> Visit:
    """Lets a request in.

    Raises:
        GatewayError: `refused`, saying which sign of a stranger was seen; `invalid` for repeated headers.
    """
    pairs = scope["headers"]
    headers: Headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = _joined(pairs)
    values = b"\n".join(headers.values()) + b"\n"
    if b" \n" in values or b"\t\n" in values:
        # The parser keeps blanks after a value; they are no part of it (RFC 9112, section 5.1).
        headers = {name: value.rstrip(b" \t") for name, value in headers.items()}
    host = headers.get(b"host", b"")
    if _LOOPBACK_HOST.fullmatch(host) is None:
        raise _refused(
            f"the Host header is `{_shown(host)}`; this gateway answers direct requests to localhost only"
        )
    if not _PROXY_MARKS.isdisjoint(headers):
        raise _proxied(min(_PROXY_MARKS.intersection(headers)))
    if _PROXY_FAMILY in b"\n".join(headers):
        raise _proxied(_PROXY_FAMILY)
    if scope["http_version"] == "1.0":
        # A proxy that was set up by nobody speaks 1.0 to what is behind it and may add no other mark.
        raise _refused("it was sent as HTTP/1.0, as proxies do that say nothing else of themselves")
    origin = headers.get(b"origin")
    if origin is not None and origin not in (b"http://" + host, b"https://" + host):
        raise _refused(f"it comes from a page of another origin, `{_shown(origin)}`")
    if headers.get(b"sec-fetch-site", b"none") not in _OWN_PAGE:
        raise _refused("it comes from a page of another site; open the address directly")
    return Visit(scope["method"], scope["raw_path"], scope["query_string"], headers, LOCAL_OPERATOR)


def _proxied(mark: bytes) -> GatewayError:
    return _refused(f"the header `{_shown(mark)}` says that a proxy forwarded it, and none is configured")


def _refused(why: str) -> GatewayError:
    return GatewayError(Kind.REFUSED, f"The request was refused: {why}")


def _joined(pairs: list[tuple[bytes, bytes]]) -> Headers:
    """Headers of which some were sent in several lines: those that are lists (RFC 9110, section 5.3)."""
    headers: Headers = {}
    for name, value in pairs:
        if name in headers and name in _ONCE:
            raise GatewayError(Kind.INVALID, f"The header `{_shown(name)}` may be sent only once")
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _shown(value: bytes) -> str:
    return value[:80].decode("ascii", "backslashreplace")


async def read_body(visit: Visit, receive: Receive, limit: int) -> bytes:
    """The whole body. How long it may take is the connection's business.

    Raises:
        GatewayError: `invalid` when it is too large, or the client left.
    """
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
        await send_part(send, part.replace(b"\r", b" "))
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


def retry_header(error: GatewayError) -> list[tuple[bytes, bytes]]:
    retry_after = error.facts().get("retryAfter")
    return [] if retry_after is None else [(b"retry-after", b"%d" % retry_after)]


async def respond_problem(send: Send, error: GatewayError) -> None:
    await respond(send, error.status, problem_document(error), PROBLEM_TYPE, *retry_header(error))
