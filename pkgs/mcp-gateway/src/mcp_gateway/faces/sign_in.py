"""Signing in and out, for programs as JSON and for people as a form, and who one is then.

Translation only: the cookie is `cookies.py`, what it means `gateway/sign_ins.py`, the look `ui/signing.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import cookies
from mcp_gateway.faces.edge import CODE_HEADER
from mcp_gateway.faces.http import (
    Visit,
)
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.keys import scopes_of
from mcp_gateway.gateway.sign_ins import ELEVATED_S, MAX_SECRET_CHARS, SignIn, Way

FORM_BYTES: Final = 8 * 1024  # a password of `MAX_SECRET_CHARS`, percent-encoded, and what a browser adds
_FORM_TYPE: Final = b"application/x-www-form-urlencoded"
_FORM_FIELDS: Final = 8
_NO_STORE: Final = {"cache-control": "no-store"}

_Secret = Annotated[str, Field(max_length=MAX_SECRET_CHARS)]


class Attempt(BaseModel):
    """The operator's password, or the one-time code of the console."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    password: _Secret | None = None
    code: _Secret | None = None

    def told(self) -> tuple[Way, str]:
        """Raises: GatewayError: `invalid`."""
        if self.password is not None and self.code is None:
            return "password", self.password
        if self.code is not None and self.password is None:
            return "code", self.code
        raise GatewayError(Kind.INVALID, "Exactly one of `password` and `code` is needed to sign in")


def document(gateway: Gateway, visit: Visit) -> dict[str, Any]:
    """The document of `GET /api/me`; times in seconds since 1970."""
    return _document(gateway, visit.caller, visit.sign_in)


def _document(gateway: Gateway, caller: Caller, sign_in: SignIn | None) -> dict[str, Any]:
    signed_in_until = elevated_until = None
    if sign_in is not None:
        now = clock.wall_s()
        signed_in_until = now + gateway.sign_ins.holds_for(sign_in)
        elevated_s = gateway.sign_ins.elevated_for(sign_in)
        elevated_until = now + elevated_s if elevated_s else None
    return {
        "caller": caller.id,
        "name": caller.name or None,
        "rights": [right.value for right in Right if right in caller.rights],
        "scopes": [scopes_of(grant) for grant in caller.grants],
        "signedInUntil": signed_in_until,
        "elevatedUntil": elevated_until,
    }


async def sign_in(
    gateway: Gateway, request: Request, visit: Visit, attempt: tuple[Way, str], face: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Signs in; the document of who that is, and the headers that make the browser keep it.

    Raises:
        GatewayError: see `enter`.
    """
    caller, made, headers = await enter(gateway, request, visit, attempt, face)
    return _document(gateway, caller, made), headers


async def enter(
    gateway: Gateway, request: Request, visit: Visit, attempt: tuple[Way, str], face: str
) -> tuple[Caller, SignIn, dict[str, str]]:
    """Signs in: who that is, by which sign-in, and the headers that make the browser keep it.

    Raises:
        GatewayError: see `SignIns.sign_in`; `refused` where a credential in the request says who it is.
    """
    if b"authorization" in visit.headers or CODE_HEADER in visit.headers:
        detail = "The request itself says who you are; to sign in, send it without that header"
        raise GatewayError(Kind.REFUSED, detail)
    known = _known(visit)
    peer = request.client.host if request.client else ""
    way, secret = attempt
    text, made = await gateway.sign_ins.sign_in(way, secret, known, peer, before=visit.sign_in, face=face)
    caller = gateway.sign_ins.caller(made, known)
    cookie = cookies.to_set(visit.headers, visit.is_secure, text)
    return caller, made, {"set-cookie": cookie, **_NO_STORE}


def sign_out(gateway: Gateway, visit: Visit, face: str) -> dict[str, str]:
    """Signs out, if somebody is in; the headers that make the browser forget it."""
    if visit.sign_in is not None:
        gateway.sign_ins.sign_out(visit.sign_in, visit.caller, face)
    return {"set-cookie": cookies.to_delete(visit.headers, visit.is_secure), **_NO_STORE}


def _known(visit: Visit) -> Caller:
    """Who it is without the cookie."""
    return visit.caller if visit.sign_in is None else visit.known


def require_fresh(visit: Visit) -> None:
    """Refuses administration to who signed in too long ago for it.

    Raises:
        GatewayError: `refused`.
    """
    if visit.sign_in is not None and Right.ADMIN not in visit.caller.rights:
        raise GatewayError(
            Kind.REFUSED,
            f"Administration is open for {round(ELEVATED_S / 60)} minutes after signing in, which are over; "
            "sign in again",
        )


def read_attempt(fields: Mapping[str, str]) -> tuple[Way, str]:
    """What a form says: the way, and the secret.

    Raises:
        GatewayError: `invalid`.
    """
    try:
        return Attempt.model_validate(
            {name: text for name, text in fields.items() if name in Attempt.model_fields}
        ).told()
    except ValueError:
        raise GatewayError(Kind.INVALID, "The form was not filled in as it is meant to be") from None
