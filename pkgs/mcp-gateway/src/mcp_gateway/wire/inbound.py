"""What a request of the modern era over HTTP must say before it is acted on (2026-07-28).

Every request stands alone: it says its revision, its client and what that can in `_meta`, and repeats in
headers what proxies route by. Headers and body must say the same, or who looks at one of them sees another
request than who looks at the other. Header names are in lower case; a value that came in several lines holds
`BETWEEN_LINES`. Pure; knows no method but by its name.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from mcp_gateway.errors import INVALID_PARAMS, GatewayError, Kind
from mcp_gateway.wire.envelope import Message, scan
from mcp_gateway.wire.headers import (
    BETWEEN_LINES,
    HEADER_MISMATCH,
    NAMED_BY,
    Mirrors,
    decoded_value,
    rendered,
    value_at,
)
from mcp_gateway.wire.revisions import (
    ALL,
    META_CAPABILITIES,
    META_REVISION,
    MODERN,
    UNSUPPORTED_VERSION,
    is_handshake,
)

DISCOVER: Final = "server/discover"
Headers = Mapping[bytes, bytes]

_REVISION: Final = b"mcp-protocol-version"
_METHOD: Final = b"mcp-method"
_NAME: Final = b"mcp-name"
# Exponents are never compared as numbers: readers differ in what they make of them.
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_TASKS: Final = "tasks/"


class Mismatch(GatewayError):
    """A header and the body say two things, or a header says something twice."""

    def __init__(self, detail: str) -> None:
        super().__init__(Kind.INVALID, detail, rpc_code=HEADER_MISMATCH)


class OtherRevision(GatewayError):
    """A revision that is not spoken here; the answer says which are."""

    def __init__(self, requested: str) -> None:
        detail = f"The revision `{requested[:40]}` of MCP is not spoken here"
        super().__init__(Kind.INVALID, detail, rpc_code=UNSUPPORTED_VERSION)
        self.requested = requested

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"supported": list(ALL), "requested": self.requested}


def is_modern(headers: Headers) -> bool:
    """Whether the headers alone say that it is no request of a handshake client."""
    sent = headers.get(_REVISION)
    return sent is not None and not is_handshake(_plain(sent))


def speaks_modern(message: Message) -> bool:
    """Whether a message whose headers do not say so is one of the modern era; for those without a session."""
    return message.method == DISCOVER or META_REVISION in message.meta


def require_revision(headers: Headers) -> None:
    """All that is asked of a notification.

    Raises:
        OtherRevision: it has one that is not spoken here.
    """
    sent = _plain(headers.get(_REVISION, b""))
    if sent != MODERN:
        raise OtherRevision(sent)


def require_sound(message: Message, headers: Headers) -> None:
    """The rules for every request, in the order in which they are to be told.

    Raises:
        GatewayError: `invalid`; the first of them that is broken.
    """
    for name in (_REVISION, _METHOD, _NAME):
        if BETWEEN_LINES in headers.get(name, b""):
            raise Mismatch(f"The header `{name.decode()}` came more than once")
    meta = message.meta
    if META_REVISION not in meta or META_CAPABILITIES not in meta:
        missing = [name for name in (META_REVISION, META_CAPABILITIES) if name not in meta]
        detail = f"`params._meta` must hold {' and '.join(f'`{name}`' for name in missing)}"
        raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS)
    revision = meta[META_REVISION]
    if _REVISION not in headers or _plain(headers[_REVISION]) != revision:
        raise Mismatch(f"The header `MCP-Protocol-Version` does not say what `{META_REVISION}` says")
    if _METHOD not in headers or _plain(headers[_METHOD]) != message.method:
        raise Mismatch("The header `Mcp-Method` does not say what `method` says")
    _require_name(message, headers.get(_NAME))
    if revision != MODERN:
        raise OtherRevision(revision)


def _require_name(message: Message, sent: bytes | None) -> None:
    method = message.method or ""
    member = NAMED_BY.get(method)
    if member is None:
        return
    name = message.name if member == "name" else scan(bytes(message.params.get(member, b"null")))
    if name is None or (sent is None and method.startswith(_TASKS)):  # an extension, which not all repeat
        return
    if sent is None or decoded_value(sent) != name:
        raise Mismatch(f"The header `Mcp-Name` does not say what `params.{member}` says")


def require_mirrored(mirrors: Mirrors, arguments: bytes, headers: Headers) -> None:
    """What a tool wants repeated is there in header and arguments, and the same; or in neither.

    Raises:
        Mismatch: of the first that is not.
    """
    if not mirrors:
        return
    values = scan(arguments)
    for place, mirror in mirrors.items():
        sent = headers.get(mirror.header.lower().encode())
        value = value_at(place, values)
        text = rendered(value)
        if sent is None and text is None:
            continue
        if sent is not None and BETWEEN_LINES in sent:
            raise Mismatch(f"The header `{mirror.header}` came more than once")
        found = None if sent is None else decoded_value(sent)
        if text is None or found is None or not _is_same(value, text, found, is_integer=mirror.is_integer):
            where = ".".join(place)
            raise Mismatch(f"The header `{mirror.header}` does not say what the argument `{where}` says")


def _is_same(value: Any, text: str, found: str, *, is_integer: bool) -> bool:
    if not is_integer or isinstance(value, bool | str) or value != value // 1:
        return found == text
    if _DECIMAL.fullmatch(found) is None:
        return found == text
    whole, _, fraction = found.partition(".")
    try:
        return not fraction.strip("0") and int(whole) == int(value)
    except ValueError:  # more digits than a number may have
        return False


def _plain(sent: bytes) -> str:
    return sent.strip(b" \t").decode("latin-1")
