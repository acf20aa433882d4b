"""Who a proxy says is asking, once it is proven that the proxy said it; pure.

Names a person cannot be known by (empty, control characters, longer than a log-in may be) are nobody.
Sources: Tailscale's serve and app capabilities (headers as its own proxy writes them), RFC 2047.
"""

from collections.abc import Callable, Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final

import msgspec
from pydantic import ValidationError

from mcp_gateway.access.caller import OPERATOR, USER, Caller, Grant, Right
from mcp_gateway.config.model import Scopes, Tailscale, TrustedProxy

TAILSCALE_LOGIN: Final = b"tailscale-user-login"
TAILSCALE_NAME: Final = b"tailscale-user-name"
TAILSCALE_CAPABILITIES: Final = b"tailscale-app-capabilities"
TAILSCALE_FUNNEL: Final = b"tailscale-funnel-request"
PROXY_SECRET: Final = b"mcp-gateway-proxy-secret"
_FORWARDED_FOR: Final = b"x-forwarded-for"
MAX_USER_CHARS: Final = 254  # an address of RFC 5321
MAX_CAPABILITIES: Final = 64  # grants of one caller
_UNREADABLE: Final = (UnicodeError, HeaderParseError, LookupError, ValueError)


def grant_of(scopes: Scopes) -> Grant:
    rights = frozenset(Right(right) for right in scopes.rights)
    return Grant(rights, scopes.servers, scopes.tools, scopes.read_only)


def tailscale_caller(settings: Tailscale, headers: Mapping[bytes, bytes]) -> Caller | None:
    """The user of the tailnet, or None: nobody is named (a tagged node), or they come from the internet."""
    if TAILSCALE_FUNNEL in headers:
        return None
    login = _name(headers.get(TAILSCALE_LOGIN, b""), _decoded)
    name = _name(headers.get(TAILSCALE_NAME, b""), _decoded) or login
    if login and login in settings.operators:
        return Caller(f"tailscale:{login}", (Grant(frozenset(OPERATOR)),), name)
    if settings.capability is None:
        return Caller(f"tailscale:{login}", (Grant(frozenset(USER)),), name) if login else None
    # Grants may be given to machines, too; those are told apart by their address.
    who = login or _name(headers.get(_FORWARDED_FOR, b""), bytes.decode)
    return Caller(f"tailscale:{who}", _granted(settings.capability, headers), name) if who else None


def proxy_caller(settings: TrustedProxy, headers: Mapping[bytes, bytes]) -> Caller | None:
    """The user that the proxy has signed in, or None when it names nobody."""
    user = _name(headers.get(settings.user_header.lower().encode(), b""), bytes.decode)
    if not user:
        return None
    rights = OPERATOR if user in settings.operators else USER
    return Caller(f"proxy:{user}", (Grant(frozenset(rights)),), user)


def _granted(capability: str, headers: Mapping[bytes, bytes]) -> tuple[Grant, ...]:
    """What a capability grants; what cannot be read grants nothing."""
    try:
        text = _decoded(headers.get(TAILSCALE_CAPABILITIES, b"{}"))
        told = msgspec.json.decode(text, type=dict[str, list[object]])
        listed = told.get(capability, [])[:MAX_CAPABILITIES]
        return tuple(
            dict.fromkeys(
                grant_of(Scopes.model_validate(one, by_alias=True, by_name=False)) for one in listed
            )
        )
    except (*_UNREADABLE, msgspec.MsgspecError, ValidationError, RecursionError):
        return ()


def _name(value: bytes, decode: Callable[[bytes], str]) -> str:
    """A header's text; empty when it is no name."""
    try:
        text = decode(value)
    except _UNREADABLE:
        return ""
    return text if text.isprintable() and len(text) <= MAX_USER_CHARS and text == text.strip() else ""


def _decoded(value: bytes) -> str:
    """A header of tailscaled, which writes words of RFC 2047 where a text is not plain ASCII, and only there.

    What is plain ASCII once decoded was never encoded: it is a name that somebody chose for its looks.
    """
    text = bytes.decode(value)
    decoded = str(make_header(decode_header(text))) if "=?" in text else text
    return text if decoded.isascii() and decoded.isprintable() else decoded
