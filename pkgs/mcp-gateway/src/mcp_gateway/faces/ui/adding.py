"""The page "Add a server": paste what another client has, see what it would run, save it to the file."""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.config.pasted import TEXT_CHARS_MAX
from mcp_gateway.errors import GatewayError
from mcp_gateway.faces import sign_in
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import OPERATE, Let
from mcp_gateway.faces.ui.render import Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import read_form
from mcp_gateway.faces.ui.signing import desk

FORM_BYTES: Final = 3 * TEXT_CHARS_MAX + 4_096  # percent-encoded


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/ui/add", dependencies=[OPERATE])
    async def page(visit: Let) -> Response:
        return renderer.page(visit, "add.html", title="Add a server", **await _blank(visit))

    @router.post("/ui/add/check", dependencies=[OPERATE])
    async def check(visit: Let, request: Request) -> Response:
        text, name, _ = await _fields(request)
        context = await _blank(visit, text, name)
        try:
            context["told"] = await gateway.check_servers(visit.caller, text, name)
        except GatewayError as problem:
            context["problem"] = problem
        if is_htmx(visit):
            return html(visit, renderer.part("_proposal.html", **context))
        return renderer.page(visit, "add.html", title="Add a server", **context)

    @router.post("/ui/add", dependencies=[OPERATE])
    async def save(visit: Let, request: Request) -> Response:
        text, name, given = await _fields(request)
        caller, headers = await _risen(visit, request, given)
        made = await gateway.add_servers(caller, text, name)
        servers = [view["id"] for view in made["servers"]]
        return _led(visit, f"/ui/servers/{servers[0]}" if len(servers) == 1 else "/", headers)

    @router.post("/ui/servers/{server}/remove", dependencies=[OPERATE])
    async def remove(visit: Let, server: str, request: Request) -> Response:
        caller, headers = await _risen(visit, request, dict(await read_form(request)))
        await gateway.remove_server(caller, server)
        return _led(visit, "/", headers)

    async def _blank(visit: Visit, text: str = "", name: str | None = None) -> dict[str, Any]:
        return {
            "file": (await gateway.config_file(visit.caller)).facts(),
            "desk": None if Right.EXEC in visit.caller.rights else desk(gateway, visit),
            "told": None,
            "problem": None,
            "text": text,
            "name": name or "",
        }

    async def _risen(visit: Visit, request: Request, given: dict[str, str]) -> tuple[Caller, dict[str, str]]:
        """The person with the rights that a secret in the form gives them, if there is one."""
        if not (given.get("code") or given.get("password")):
            return visit.caller, {}
        secret = {way: given[way] for way in ("code", "password") if given.get(way)}
        caller, _, headers = await sign_in.enter(gateway, request, visit, sign_in.read_attempt(secret), "ui")
        return caller, headers


async def _fields(request: Request) -> tuple[str, str | None, dict[str, str]]:
    given = dict(await read_form(request, FORM_BYTES))
    return given.get("text", "").strip(), given.get("name", "").strip() or None, given


def _led(visit: Visit, path: str, headers: dict[str, str]) -> Response:
    """To another page, whoever asked."""
    if is_htmx(visit):
        return Response(status_code=204, headers={"hx-redirect": path, **headers})
    return Response(status_code=303, headers={"location": path, **headers})
