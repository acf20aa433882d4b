"""The page "Add a server": paste what another client has, see what it would run, save it to the file."""

import hashlib
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.config.pasted import TEXT_CHARS_MAX
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import sign_in
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import OPERATE, Let
from mcp_gateway.faces.ui.render import Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import read_form
from mcp_gateway.faces.ui.signing import desk

FORM_BYTES: Final = 3 * TEXT_CHARS_MAX * 2 + 4_096  # percent-encoded; without scripts the text comes twice
_TITLE: Final = "Add a server"


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/ui/add", dependencies=[OPERATE])
    async def page(visit: Let) -> Response:
        return renderer.page(visit, "add.html", title=_TITLE, **await _context(visit, "", ""))

    @router.post("/ui/add/check", dependencies=[OPERATE])
    async def check(visit: Let, request: Request) -> Response:
        given = await _fields(request)
        context = await _looked(visit, given["text"], given["name"])
        if is_htmx(visit):
            return html(visit, renderer.part("_proposal.html", **context))
        return renderer.page(visit, "add.html", title=_TITLE, **context)

    @router.post("/ui/add", dependencies=[OPERATE])
    async def save(visit: Let, request: Request) -> Response:
        given = await _fields(request)
        text, name = given["text"], given["name"]
        try:
            if given.get("seen") != _mark(text, name):
                detail = "The text is another than the one that you looked at; look at this one, too"
                raise GatewayError(Kind.INVALID, detail, status=409)
            caller, headers = await risen(renderer, visit, request, given)
            made = await gateway.add_servers(caller, text, name or None)
        except GatewayError as problem:
            return await _not_saved(visit, text, name, problem)
        servers = [view["id"] for view in made["servers"]]
        return led(visit, f"/ui/servers/{servers[0]}" if len(servers) == 1 else "/", headers)

    @router.post("/ui/servers/{server}/remove", dependencies=[OPERATE])
    async def remove(visit: Let, server: str, request: Request) -> Response:
        caller, headers = await risen(renderer, visit, request, dict(await read_form(request)))
        await gateway.remove_server(caller, server)
        return led(visit, "/", headers)

    async def _not_saved(visit: Visit, text: str, name: str, problem: GatewayError) -> Response:
        """The reason, over a proposal that asks for what is needed now; the text stays."""
        context = await _looked(visit, text, name)
        if not is_htmx(visit):
            context["problem"] = problem
            return renderer.page(visit, "add.html", title=_TITLE, status=problem.status, **context)
        if problem.kind is Kind.UNAUTHENTICATED:
            return renderer.failed(visit, problem)  # what was typed is to be seen, and mended
        said = renderer.part("_said.html", tone="bad", text=problem.detail)
        shown = renderer.parts([("#proposal", "_proposal.html", context, "outerHTML")])
        return html(visit, shown + said, problem.status)

    async def _looked(visit: Visit, text: str, name: str) -> dict[str, Any]:
        context = await _context(visit, text, name)
        try:
            context["told"] = await gateway.check_servers(visit.caller, text, name or None)
        except GatewayError as problem:
            context["problem"] = problem
        return context

    async def _context(visit: Visit, text: str, name: str) -> dict[str, Any]:
        return {
            "file": (await gateway.config_file(visit.caller)).facts(),
            "desk": None if Right.EXEC in visit.caller.rights else desk(gateway, visit),
            "told": None,
            "problem": None,
            "text": text,
            "name": name,
            "seen": _mark(text, name),
            "is_plain": not is_htmx(visit),
        }


async def risen(
    renderer: Renderer, visit: Visit, request: Request, given: dict[str, str]
) -> tuple[Caller, dict[str, str]]:
    """The person with the rights that a secret in the form gives them, and the headers that keep those.

    Raises:
        GatewayError: see `sign_in.enter`; `refused` without a secret, where one is needed.
    """
    secret = {way: given[way] for way in ("code", "password") if given.get(way)}
    if secret:
        caller, _, headers = await sign_in.enter(
            renderer.gateway, request, visit, sign_in.read_attempt(secret), "ui"
        )
        return caller, headers
    if Right.EXEC not in visit.caller.rights:
        ways = "password or the one-time code" if renderer.gateway.sign_ins.has_password else "one-time code"
        raise GatewayError(Kind.REFUSED, f"To say what runs on this machine asks for the {ways} anew")
    return visit.caller, {}


def _mark(text: str, name: str) -> str:
    """Another one for another text: what is saved is what was looked at."""
    return hashlib.sha256(f"{name}\n{text}".encode("utf-8", "replace")).hexdigest()[:32]


async def _fields(request: Request) -> dict[str, str]:
    given = dict(await read_form(request, FORM_BYTES))
    text = given.get("text", "").replace("\r\n", "\n").strip()
    return given | {"text": text, "name": given.get("name", "").strip()}


def led(visit: Visit, path: str, headers: dict[str, str]) -> Response:
    """To another page, whoever asked."""
    if is_htmx(visit):
        return Response(status_code=204, headers={"hx-redirect": path, **headers})
    return Response(status_code=303, headers={"location": path, **headers})
