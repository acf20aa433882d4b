"""The Servers page: what works, what does not and why, what each costs, and the switch for each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import has_whole_server
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import OPERATE, READ, Let
from mcp_gateway.faces.ui import live
from mcp_gateway.faces.ui.render import Renderer, html, is_htmx, size, span
from mcp_gateway.faces.ui.routing import back, read_form
from mcp_gateway.faces.ui.spark import NO_SPARK, Spark
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
_SHOWN: Final = (
    *("id", "title", "state", "reason", "attempt", "nextRetry", "enabled", "declared", "override"),
    *("transport", "protocolRevision", "tools", "toolTokens", "readySince"),
)
TICK_S: Final = 5.0  # after which numbers that move by themselves are looked at again


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    async def servers(visit: Let) -> Response:
        rows = await rows_of(renderer, visit.caller)
        return renderer.page(visit, "servers.html", title="Servers", rows=_drawn(renderer, rows))

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
        await gateway.switch_server(visit.caller, server, _SWITCH[wanted])
        return await replied(visit, request, server)

    @router.post("/ui/servers/{server}/restart", dependencies=[OPERATE])
    async def restart(visit: Let, server: str, request: Request) -> Response:
        gateway.restart_server(visit.caller, server)
        return await replied(visit, request, server)

    async def replied(visit: Visit, request: Request, server: str) -> Response:
        """The row, or the head of the server's own page, whichever the button was on."""
        if not is_htmx(visit):
            return back(request, "/")
        row = await one_of(renderer, visit.caller, server)
        is_head = visit.headers.get(b"hx-target", b"").endswith(b"#server")
        return html(visit, renderer.part("_server_head.html" if is_head else "_server.html", row=row))


async def rows_of(renderer: Renderer, caller: Caller) -> list[dict[str, Any]]:
    """What `_server.html` shows of each server that the caller sees."""
    gateway = renderer.gateway
    await gateway.refresh_usage(caller)
    sparks = await renderer.hours.of(caller)
    views = gateway.list_servers(caller)
    return [row_of(caller, view, sparks.get(view["id"], NO_SPARK)) for view in views]


async def one_of(renderer: Renderer, caller: Caller, server: str) -> dict[str, Any]:
    """The same of one."""
    gateway = renderer.gateway
    await gateway.refresh_usage(caller)
    sparks = await renderer.hours.of(caller)
    return row_of(caller, gateway.show_server(caller, server), sparks.get(server, NO_SPARK))


def row_of(caller: Caller, view: Mapping[str, Any], hour: Spark) -> dict[str, Any]:
    """A server's view (`shapes.SERVER`), as far as the row shows it, and how it looks.

    Holds nothing that moves by itself: two rows are the same while there is nothing new to show.
    """
    tone, icon, moves = LOOKS[view["state"]]
    usage = view.get("usage")
    return {name: view[name] for name in _SHOWN} | {
        "tone": tone,
        "icon": icon,
        "moves": moves,
        "hour": hour,
        "memory": size(usage["memoryBytes"]) if usage else None,
        "cpu": f"{usage['cpuPercent']:.0f} %" if usage and usage["cpuPercent"] is not None else None,
        "may_operate": has_whole_server(caller, Right.OPERATE, view["id"]),
        "is_at_rest": view["state"] in _AT_REST,
    }


def _drawn(renderer: Renderer, rows: Iterable[dict[str, Any]]) -> list[Markup]:
    return [renderer.kept(_slot(row), _facts(row), "_server.html", row=row) for row in rows]


def _slot(row: Mapping[str, Any]) -> tuple[object, ...]:
    """Who sees a server alike, as a rule: what they may do decides what is there."""
    return row["id"], row["may_operate"], row["memory"] is None


def _facts(row: dict[str, Any]) -> tuple[object, ...]:
    """All that `_server.html` depends on: the row, and its clocks as they are written."""
    now, since, until = clock.wall_s(), row["readySince"], row["nextRetry"]
    return row, since and span(now - since), until and span(until - now)


class _LiveServers:
    kinds = frozenset({"server", "config"})
    every_s = TICK_S

    def __init__(self, renderer: Renderer, visit: Visit) -> None:
        self._renderer = renderer
        self._caller = visit.caller
        self._sent: dict[str, dict[str, Any]] = {}

    async def fresh(self) -> str:
        rows = await rows_of(self._renderer, self._caller)
        self._sent = {row["id"]: row for row in rows}
        return self._renderer.parts([("#servers", "_servers.html", {"rows": _drawn(self._renderer, rows)})])

    async def changed(self, changes: Sequence[Change]) -> str:
        if any(change.kind == "config" for change in changes):
            return await self.fresh()
        views = {view["id"]: view for view in (msgspec.json.decode(change.data) for change in changes)}
        rows = [
            row_of(self._caller, view, self._sent.get(server, {}).get("hour", NO_SPARK))
            for server, view in views.items()
        ]
        # Also what is as it was: the reply to a click may have taken its place meanwhile.
        return self._sending(rows)

    async def passed(self) -> str:
        rows = await rows_of(self._renderer, self._caller)
        if rows and {row["id"] for row in rows} != self._sent.keys():
            return await self.fresh()
        return self._rows(rows)

    def _rows(self, rows: Iterable[dict[str, Any]]) -> str:
        """Those in which there is something new."""
        return self._sending([row for row in rows if self._sent.get(row["id"]) != row])

    def _sending(self, rows: Sequence[dict[str, Any]]) -> str:
        self._sent |= {row["id"]: row for row in rows}
        return "".join(
            self._renderer.kept_part(_slot(row), _facts(row), f"#server-{row['id']}", "_server.html", row=row)
            for row in rows
        )
