"""Signing in and out, for programs as JSON and for people as a form, and who one is then.

Translation only: the cookie is `cookies.py`, what it means `gateway/sign_ins.py`, the look `status.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mcp_gateway import clock
from mcp_gateway.access.caller import NOBODY, Caller, Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import cookies, status
from mcp_gateway.faces.edge import CODE_HEADER, is_loopback_host
from mcp_gateway.faces.http import (
    Visit,
    error_headers,
    unauthenticated,
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
    return _document(gateway, caller, made), {"set-cookie": cookie, **_NO_STORE}


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


# The page


def page(gateway: Gateway, visit: Visit) -> Response:
    """What is at `/`: the servers, or the form to sign in with.

    Raises:
        GatewayError: `unauthenticated` for a program that nobody is known by.
    """
    if visit.caller is NOBODY and b"text/html" not in visit.headers.get(b"accept", b"").lower():
        raise unauthenticated("This needs an API key, or to be signed in")
    return _page(gateway, visit)


async def form(gateway: Gateway, request: Request, visit: Visit, body: bytes) -> Response:
    """The form's answer: the page, or the form again with the reason."""
    tried: Way | None = None
    try:
        tried, secret = _read_form(visit.headers, body)
        _, headers = await sign_in(gateway, request, visit, (tried, secret), "ui")
    except GatewayError as problem:
        return _page(gateway, visit, problem, tried)
    return Response(status_code=303, headers={"location": "/", **headers})


def out(gateway: Gateway, visit: Visit) -> Response:
    return Response(status_code=303, headers={"location": "/", **sign_out(gateway, visit, "ui")})


def _read_form(headers: Mapping[bytes, bytes], body: bytes) -> tuple[Way, str]:
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _FORM_TYPE:
        raise GatewayError(Kind.INVALID, f"The form must be sent as {_FORM_TYPE.decode()}", status=415)
    try:
        fields = parse_qs(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS, errors="strict"
        )
        given = {name: values[0] for name, values in fields.items() if name in Attempt.model_fields}
        return Attempt.model_validate(given).told()
    except ValueError:
        raise GatewayError(Kind.INVALID, "The form was not filled in as it is meant to be") from None


def _page(
    gateway: Gateway, visit: Visit, problem: GatewayError | None = None, tried: Way | None = None
) -> Response:
    """The page that fits whoever looks at it, with what went wrong just now."""
    caller = visit.caller
    ways: tuple[Way, ...] = ("password", "code") if gateway.sign_ins.has_password else ("code",)
    desk = status.Desk(ways, problem.detail if problem else None, tried, _is_readable(visit))
    if caller is NOBODY:
        return _html(status.sign_in_page(desk), problem or unauthenticated("Nobody is signed in"))
    # Who may not operate has nothing to add administration to.
    may_rise = Right.OPERATE in _known(visit).everywhere or visit.sign_in is not None
    body = status.page(
        gateway.list_servers(caller) if Right.READ in caller.rights else None,
        gateway.warnings() if Right.OPERATE in caller.everywhere else (),
        _person(gateway, visit),
        desk if may_rise else None,
    )
    return _html(body, problem)


def _html(body: str, problem: GatewayError | None) -> Response:
    if problem is None:
        return HTMLResponse(body, headers=status.HEADERS)
    more = {name.decode(): value.decode() for name, value in error_headers(problem)}
    return HTMLResponse(body, problem.status, {**status.HEADERS, **more})


def _person(gateway: Gateway, visit: Visit) -> status.Person:
    caller, sign_in, sign_ins = visit.caller, visit.sign_in, gateway.sign_ins
    return status.Person(
        caller.id,
        caller.name,
        is_guarded=gateway.is_guarded,
        signed_in_s=None if sign_in is None else sign_ins.age(sign_in),
        elevated_s=0.0 if sign_in is None else sign_ins.elevated_for(sign_in),
        # Another way than last time would make another caller of who is nobody by other proof.
        way=None if sign_in is None or sign_in.adds else sign_in.way,
    )


def _is_readable(visit: Visit) -> bool:
    """Whether others on the way can read what is sent."""
    return not visit.is_secure and not is_loopback_host(visit.headers)
