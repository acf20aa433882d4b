"""The Servers page: what works, what does not and why, and the switch for each."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import has_whole_server
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import OPERATE, READ, Let
from mcp_gateway.faces.ui import live
from mcp_gateway.faces.ui.render import Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import back, read_form
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.events import Change

# How a state looks: tone, icon, whether it moves. The word is the state itself.
LOOKS: Final[dict[str, tuple[str, str, bool]]] = {
    "ready": ("good", "circle-check", False),
    "starting": ("uneasy", "loader", True),
    "stopping": ("uneasy", "loader", True),
    "waiting": ("uneasy", "hourglass", False),
    "needs login": ("bad", "key-round", False),
    "failed": ("bad", "octagon-x", False),
    "off": ("none", "power", False),
    "idle": ("none", "moon", False),
}
_SWITCH: Final = {"on": True, "off": False, "declared": None}
_AT_REST: Final = frozenset({"off", "failed", "needs login", "waiting", "idle"})
TICK_S: Final = 5.0


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    async def servers(visit: Let) -> Response:
        rows = rows_of(gateway, visit.caller)
        return renderer.page(visit, "servers.html", title="Servers", rows=rows)

    # Public at the edge, like every page; here it asks for the right.
    router.get("/", dependencies=[READ])(servers)
    router.get("/ui/servers", dependencies=[READ])(servers)

    @router.get("/ui/live/servers", dependencies=[READ])
    async def watch(visit: Let) -> Response:
        return live.stream(gateway, visit, _LiveServers(renderer, visit))

    @router.post("/ui/servers/{server}/switch", dependencies=[OPERATE])
    async def switch(visit: Let, server: str, request: Request) -> Response:
        wanted = dict(await read_form(request)).get("enabled", "")
        if wanted not in _SWITCH:
            raise GatewayError(Kind.INVALID, "`enabled` must be `on`, `off` or `declared`")
        view = await gateway.switch_server(visit.caller, server, _SWITCH[wanted])
        return _replied(visit, request, view)

    @router.post("/ui/servers/{server}/restart", dependencies=[OPERATE])
    async def restart(visit: Let, server: str, request: Request) -> Response:
        return _replied(visit, request, gateway.restart_server(visit.caller, server))

    def _replied(visit: Visit, request: Request, view: dict[str, Any]) -> Response:
        if not is_htmx(visit):
            return back(request, "/")
        return html(visit, renderer.part("_server.html", row=row_of(visit.caller, view)))


def rows_of(gateway: Gateway, caller: Caller) -> list[dict[str, Any]]:
    """What `_server.html` shows of each server that the caller sees."""
    return [row_of(caller, view) for view in gateway.list_servers(caller)]


def row_of(caller: Caller, view: dict[str, Any]) -> dict[str, Any]:
    """A server's view (`shapes.SERVER`), and how it looks."""
    tone, icon, moves = LOOKS[view["state"]]
    retry = view["nextRetry"]
    return view | {
        "tone": tone,
        "icon": icon,
        "moves": moves,
        "retry_s": None if retry is None else max(0.0, retry - clock.wall_s()),
        "may_operate": has_whole_server(caller, Right.OPERATE, view["id"]),
        "is_at_rest": view["state"] in _AT_REST,
    }


class _LiveServers:
    kinds = frozenset({"server", "config"})
    every_s = TICK_S

    def __init__(self, renderer: Renderer, visit: Visit) -> None:
        self._renderer = renderer
        self._caller = visit.caller

    async def fresh(self) -> str:
        rows = rows_of(self._renderer.gateway, self._caller)
        return self._renderer.parts([("#servers", "_servers.html", {"rows": rows})])

    async def changed(self, changes: Sequence[Change]) -> str:
        if any(change.kind == "config" for change in changes):
            return await self.fresh()
        views = {view["id"]: view for view in (msgspec.json.decode(change.data) for change in changes)}
        return self._renderer.parts(
            (f"#server-{server}", "_server.html", {"row": row_of(self._caller, view)})
            for server, view in views.items()
        )

    async def passed(self) -> str:
        return ""
