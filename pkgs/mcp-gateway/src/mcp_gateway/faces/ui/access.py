"""The Access page: what is in force in plain words, the keys, and who is signed in."""

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from mcp_gateway.access.caller import Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.access import NewKey
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import ADMIN, OPERATE, Let
from mcp_gateway.faces.ui.adding import led
from mcp_gateway.faces.ui.render import Part, Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import back, read_form
from mcp_gateway.faces.ui.signing import desk

KEY_RIGHTS: Final = {
    "read": "see servers, tools and activity",
    "call": "call tools",
    "operate": "switch and restart",
    "admin": "make and revoke keys",
}
# What is another after a key was made or revoked.
_OF_KEYS: Final = (("#rules", "_rules.html"), ("#keys", "_keys.html"), ("#made", "_made.html"))


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/ui/access", dependencies=[OPERATE])
    async def page(visit: Let) -> Response:
        return _page(visit)

    @router.post("/ui/access/keys", dependencies=[ADMIN])
    async def create_key(visit: Let, request: Request) -> Response:
        """Shows the key this once: on the page that answers, which nothing keeps."""
        asked = _asked(await read_form(request))
        made = await gateway.keys.create(visit.caller, asked.name, asked.scopes, asked.expires)
        if not is_htmx(visit):
            return _page(visit, made)
        context = _context(visit) | {"made": made}
        parts: list[Part] = [(selector, template, context) for selector, template in _OF_KEYS]
        # Not morphed, which would keep what was typed.
        parts.append(("#new-key", "_new_key.html", context, "outerHTML"))
        return html(visit, renderer.parts(parts))

    @router.post("/ui/access/keys/{id}/revoke", dependencies=[ADMIN])
    async def revoke_key(visit: Let, id: str, request: Request) -> Response:
        await read_form(request)
        await gateway.keys.revoke(visit.caller, id)
        return _replied(visit, request, *_OF_KEYS)

    @router.post("/ui/access/sign-ins/{id}/end", dependencies=[ADMIN])
    async def end_sign_in(visit: Let, id: str, request: Request) -> Response:
        await read_form(request)
        await gateway.sign_ins.end(visit.caller, id, "ui")
        if visit.sign_in is not None and visit.sign_in.id == id:
            return led(visit, "/ui/access", {})
        return _replied(visit, request, ("#sign-ins", "_sign_ins.html"))

    def _replied(visit: Visit, request: Request, *changed: tuple[str, str]) -> Response:
        if not is_htmx(visit):
            return back(request, "/ui/access")
        context = _context(visit) | {"made": None}
        return html(visit, renderer.parts((selector, template, context) for selector, template in changed))

    def _page(visit: Visit, made: dict[str, Any] | None = None) -> Response:
        return renderer.page(
            visit,
            "access.html",
            title="Access",
            rights=sorted(right.value for right in visit.caller.rights),
            desk=None if Right.ADMIN in visit.caller.everywhere else desk(gateway, visit),
            made=made,
            **_context(visit),
        )

    def _context(visit: Visit) -> dict[str, Any]:
        caller = visit.caller
        may_see = Right.OPERATE in caller.everywhere
        context = {
            "access": gateway.exposure.view(caller) if may_see else None,
            "key_rights": KEY_RIGHTS,
            "keys": None,
            "sign_ins": None,
        }
        if Right.ADMIN not in caller.everywhere:
            return context
        return context | {
            "keys": gateway.keys.list(caller),
            "sign_ins": gateway.sign_ins.shown_to(caller, visit.sign_in),
        }


def _asked(fields: list[tuple[str, str]]) -> NewKey:
    """The key that a form asks for.

    Raises:
        GatewayError: `invalid`.
    """
    given = dict(fields)
    scopes: dict[str, Any] = {"rights": [value for name, value in fields if name == "rights"]}
    for name in ("servers", "tools"):
        patterns = given.get(name, "").replace(",", " ").split()
        if patterns:
            scopes[name] = patterns
    if "readOnly" in given:
        scopes["readOnly"] = True
    if not scopes["rights"]:
        raise GatewayError(Kind.INVALID, "A key without a right is of no use; tick at least one")
    try:
        return NewKey.model_validate(
            {"name": given.get("name", "").strip(), "scopes": scopes, "expires": given.get("expires") or None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = next((part for part in reversed(first["loc"]) if isinstance(part, str)), "key")
        raise GatewayError(Kind.INVALID, f"{place.capitalize()}: {first['msg']}") from None
