"""Who a proxy says is asking, once it is proven that the proxy said it; pure.

Names a person cannot be known by (empty, control characters, longer than a log-in may be) are nobody.
Sources: Tailscale's serve and app capabilities (headers as its own proxy writes them), RFC 2047.
"""

from collections.abc import Mapping
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


def grant_of(scopes: Scopes) -> Grant:
    rights = frozenset(Right(right) for right in scopes.rights)
    return Grant(rights, scopes.servers, scopes.tools, scopes.read_only)


def tailscale_caller(settings: Tailscale, headers: Mapping[bytes, bytes]) -> Caller | None:
    """The user of the tailnet, or None: nobody is named (a tagged node), or they come from the internet."""
    if TAILSCALE_FUNNEL in headers:
        return None
    login = _name(headers.get(TAILSCALE_LOGIN, b""))
    name = _name(headers.get(TAILSCALE_NAME, b"")) or login
    if login and login in settings.operators:
        return Caller(f"tailscale:{login}", (Grant(frozenset(OPERATOR)),), name)
    if settings.capability is None:
        return Caller(f"tailscale:{login}", (Grant(frozenset(USER)),), name) if login else None
    # Grants may be given to machines, too; those are told apart by their address.
    who = login or _name(headers.get(_FORWARDED_FOR, b""))
    return Caller(f"tailscale:{who}", _granted(settings.capability, headers), name) if who else None


def proxy_caller(settings: TrustedProxy, headers: Mapping[bytes, bytes]) -> Caller | None:
    """The user that the proxy has signed in, or None when it names nobody."""
    user = _name(headers.get(settings.user_header.lower().encode(), b""))
    if not user:
        return None
    rights = OPERATOR if user in settings.operators else USER
    return Caller(f"proxy:{user}", (Grant(frozenset(rights)),), user)


def _granted(capability: str, headers: Mapping[bytes, bytes]) -> tuple[Grant, ...]:
    """What a capability grants; what cannot be read grants nothing."""
    try:
        told = msgspec.json.decode(headers.get(TAILSCALE_CAPABILITIES, b"{}"), type=dict[str, list[object]])
        listed = told.get(capability, [])[:MAX_CAPABILITIES]
        return tuple(
            dict.fromkeys(
                grant_of(Scopes.model_validate(one, by_alias=True, by_name=False)) for one in listed
            )
        )
    except (msgspec.MsgspecError, ValidationError, RecursionError):
        return ()


def _name(value: bytes) -> str:
    """A header's text with RFC 2047 words decoded; empty when it is no name."""
    try:
        text = str(make_header(decode_header(value.decode("utf-8"))))
    except (UnicodeError, HeaderParseError, LookupError, ValueError):
        return ""
    return text if text.isprintable() and len(text) <= MAX_USER_CHARS and text == text.strip() else ""
