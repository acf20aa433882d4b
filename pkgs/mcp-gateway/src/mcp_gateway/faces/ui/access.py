"""The Access page: what is in force in plain words, the keys, and who is signed in."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from mcp_gateway.access.caller import Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.access import NewKey
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import ADMIN, OPERATE, Let
from mcp_gateway.faces.ui.render import Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import back, read_form
from mcp_gateway.faces.ui.signing import desk

KEY_RIGHTS = ("read", "call", "operate", "admin")


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
        if is_htmx(visit):
            parts = (("#keys", "_keys.html", _context(visit)), ("#made", "_made.html", {"made": made}))
            return html(visit, renderer.parts(parts))
        return _page(visit, made)

    @router.post("/ui/access/keys/{id}/revoke", dependencies=[ADMIN])
    async def revoke_key(visit: Let, id: str, request: Request) -> Response:
        await read_form(request)
        await gateway.keys.revoke(visit.caller, id)
        return _replied(visit, request, "#keys", "_keys.html")

    @router.post("/ui/access/sign-ins/{id}/end", dependencies=[ADMIN])
    async def end_sign_in(visit: Let, id: str, request: Request) -> Response:
        await read_form(request)
        await gateway.sign_ins.end(visit.caller, id, "ui")
        return _replied(visit, request, "#sign-ins", "_sign_ins.html")

    def _replied(visit: Visit, request: Request, selector: str, template: str) -> Response:
        if not is_htmx(visit):
            return back(request, "/ui/access")
        return html(visit, renderer.parts([(selector, template, _context(visit))]))

    def _page(visit: Visit, made: dict[str, Any] | None = None) -> Response:
        view = gateway.exposure.view(visit.caller) if Right.OPERATE in visit.caller.everywhere else None
        return renderer.page(
            visit,
            "access.html",
            title="Access",
            access=view,
            rights=sorted(right.value for right in visit.caller.rights),
            desk=None if Right.ADMIN in visit.caller.rights else desk(gateway, visit),
            made=made,
            key_rights=KEY_RIGHTS,
            **_context(visit),
        )

    def _context(visit: Visit) -> dict[str, Any]:
        caller = visit.caller
        if Right.ADMIN not in caller.rights:
            return {"keys": None, "sign_ins": None}
        return {
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
    try:
        return NewKey.model_validate(
            {"name": given.get("name", "").strip(), "scopes": scopes, "expires": given.get("expires") or None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise GatewayError(Kind.INVALID, f"{place}: {first['msg']}") from None
