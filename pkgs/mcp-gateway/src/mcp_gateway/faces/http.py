"""The edge in front of every face: who may knock, how much they may send, and how errors are told.

Runs before any routing, so no route can be reached around it. Until callers have keys, one rule
holds: a direct request on loopback, with a loopback Host and no sign of a proxy or a foreign page, is
the local operator; everything else is refused. The check never looks at `request.url`, which a
crafted Host header can bend (CVE-2026-48710).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Raw

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller
from mcp_gateway.errors import TABLE, GatewayError, Kind
from mcp_gateway.wire.envelope import encode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]

BODY_TIMEOUT_S: Final = 30.0  # a body that dribbles in slower than this is nobody's request
LARGE_BYTES: Final = 1024 * 1024  # from here on an answer is sent in slices, at the client's pace
SEND_SLICE_BYTES: Final = 256 * 1024
SEND_TIMEOUT_S: Final = 30.0  # a client that reads nothing for so long is gone

# Any of these says that something forwarded the request: then "from loopback" says nothing about who.
_PROXY_MARKS: Final = frozenset(
    b"forwarded via x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-server "
    b"x-forwarded-prefix x-forwarded-user x-forwarded-email x-real-ip x-client-ip x-cluster-client-ip "
    b"x-original-host x-original-forwarded-for x-original-url x-rewrite-url true-client-ip cf-connecting-ip "
    b"cf-ray cf-visitor cf-ipcountry fastly-client-ip fly-client-ip x-envoy-external-address "
    b"x-appengine-user-ip x-azure-clientip x-amzn-trace-id tailscale-user-login tailscale-user-name "
    b"tailscale-user-profile-pic tailscale-funnel-request tailscale-headers-info "
    b"tailscale-app-capabilities x-authenticated-user x-remote-user remote-user".split()
)
# A second one of these would let two readers see two requests.
_ONCE: Final = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"content-type", b"content-length", b"authorization", b"accept"}
    | {b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"last-event-id"}
)
_LOOPBACK_HOST: Final = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_OWN_PAGE: Final = (b"same-origin", b"none")

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
        _refuse_repeated(pairs)
    host = headers.get(b"host", b"")
    if _LOOPBACK_HOST.fullmatch(host) is None:
        raise _refused(
            f"the Host header is `{_shown(host)}`; this gateway answers direct requests to localhost only"
        )
    if not _PROXY_MARKS.isdisjoint(headers):
        mark = min(_PROXY_MARKS.intersection(headers))
        raise _refused(f"the header `{_shown(mark)}` says that a proxy forwarded it, and none is configured")
    origin = headers.get(b"origin")
    if origin is not None and origin not in (b"http://" + host, b"https://" + host):
        raise _refused(f"it comes from a page of another origin, `{_shown(origin)}`")
    if headers.get(b"sec-fetch-site", b"none") not in _OWN_PAGE:
        raise _refused("it comes from a page of another site; open the address directly")
    return Visit(scope["method"], scope["raw_path"], scope["query_string"], headers, LOCAL_OPERATOR)


def _refused(why: str) -> GatewayError:
    return GatewayError(Kind.REFUSED, f"The request was refused: {why}")


def _refuse_repeated(pairs: list[tuple[bytes, bytes]]) -> None:
    seen: set[bytes] = set()
    for name, _ in pairs:
        if name in _ONCE and name in seen:
            raise GatewayError(Kind.INVALID, f"The header `{_shown(name)}` may be sent only once")
        seen.add(name)


def _shown(value: bytes) -> str:
    return value[:80].decode("ascii", "backslashreplace")


async def read_body(visit: Visit, receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        GatewayError: `invalid` when it is too large or too slow, or the client left.
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
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
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
    except TimeoutError:
        detail = f"The body did not arrive within {BODY_TIMEOUT_S:.0f} s"
        raise GatewayError(Kind.INVALID, detail, status=408) from None


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
    view = memoryview(large)
    length = len(head) + view.nbytes + len(tail)
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % length), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    slices = (view[at : at + SEND_SLICE_BYTES] for at in range(0, view.nbytes, SEND_SLICE_BYTES))
    for part in (head, *slices, tail):
        if len(part):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send({"type": "http.response.body", "body": bytes(part), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


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
    rpc_error = getattr(error, "error", None)
    if isinstance(rpc_error, bytes):
        document["rpcError"] = Raw(rpc_error)
    return encode(document)


def retry_header(error: GatewayError) -> list[tuple[bytes, bytes]]:
    retry_after = error.facts().get("retryAfter")
    return [] if retry_after is None else [(b"retry-after", b"%d" % retry_after)]


async def respond_problem(send: Send, error: GatewayError) -> None:
    await respond(send, error.status, problem_document(error), PROBLEM_TYPE, *retry_header(error))
