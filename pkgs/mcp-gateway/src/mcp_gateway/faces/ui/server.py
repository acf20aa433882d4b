"""One server's page: its state and why, its stderr as it comes, what it offers, how it is set up."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from mcp_gateway.access.caller import Right
from mcp_gateway.access.policy import has_whole_server
from mcp_gateway.errors import GatewayError
from mcp_gateway.faces.connect import reached_at
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import READ, Let
from mcp_gateway.faces.ui import live
from mcp_gateway.faces.ui.render import Renderer
from mcp_gateway.faces.ui.servers import one_of
from mcp_gateway.faces.ui.signing import desk
from mcp_gateway.gateway.events import Change

SAID_CHARS: Final = 80
SAID_MAX: Final = 40  # capabilities; there may be any number
LOG_LINES: Final = 300  # on the page at first; scripts keep as many
TICK_S: Final = 1.0  # how late a line of the log may be
NUMBERS_EVERY: Final = 5  # ticks


def add(router: APIRouter, renderer: Renderer) -> None:
    @router.get("/ui/servers/{server}", dependencies=[READ])
    async def server_page(visit: Let, server: str) -> Response:
        context = await _context(renderer, visit, server)
        return renderer.page(visit, "server.html", title=context["row"]["title"], **context)

    @router.get("/ui/live/servers/{server}", dependencies=[READ])
    async def watch(visit: Let, server: str) -> Response:
        renderer.gateway.show_server(visit.caller, server)
        return live.stream(renderer.gateway, visit, _LiveServer(renderer, visit, server))


async def _context(renderer: Renderer, visit: Visit, server: str) -> dict[str, Any]:
    gateway, caller = renderer.gateway, visit.caller
    row = await one_of(renderer, caller, server)
    view = gateway.show_server(caller, server)
    is_operator = has_whole_server(caller, Right.OPERATE, server)
    catalog = gateway.catalog(caller)
    config = gateway.show_config(caller, server) if is_operator else None
    return {
        "row": row,
        "view": view,
        "said": _said(view),
        "tools": list(catalog.by_server.get(server, {}).values()),
        "lines": gateway.logs(caller, server).tail(LOG_LINES) if is_operator else None,
        "config": config,
        "config_text": json.dumps(config["config"], indent=2, ensure_ascii=False) if config else "",
        "desk": None if Right.EXEC in caller.rights else desk(gateway, visit),
        "base": reached_at(visit),
    }


def _said(view: Mapping[str, Any]) -> dict[str, Any]:
    """What the server said it is and can, as far as that has the shape that it should."""
    try:
        info = msgspec.json.decode(view["serverInfo"] or b"{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        info = {}
    parts = (info.get("title") or info.get("name"), info.get("version"))
    return {
        "is": " ".join(part[:SAID_CHARS] for part in parts if isinstance(part, str)),
        "can": [name[:SAID_CHARS] for name in islice(view["capabilities"] or (), SAID_MAX)],
    }


class _Id(msgspec.Struct):
    id: str


class _LiveServer:
    kinds = frozenset({"server", "tools", "resources", "prompts", "config"})
    every_s = TICK_S

    def __init__(self, renderer: Renderer, visit: Visit, server: str) -> None:
        self._renderer = renderer
        self._visit = visit
        self._server = server
        self._told = 0  # the number of the last line of the log
        self._ticks = 0
        self._shown: dict[str, str] = {}

    async def fresh(self) -> str:
        self._shown.clear()
        return await self._parts() + self._whole_log()

    async def changed(self, changes: Sequence[Change]) -> str:
        if any(
            change.kind == "server" and msgspec.json.decode(change.data, type=_Id).id == self._server
            for change in changes
        ):
            # The reply to a click may have taken its place, which is nothing that was sent here.
            self._shown.pop("#server", None)
        return await self._parts() + self._lines()

    async def passed(self) -> str:
        self._ticks += 1
        parts = await self._parts() if self._ticks % NUMBERS_EVERY == 0 else ""
        return parts + self._lines()

    async def _parts(self) -> str:
        """Those that are others than they were."""
        try:
            context = await _context(self._renderer, self._visit, self._server)
        except GatewayError:
            gone = self._renderer.parts([("#server-how", "_server_gone.html", {})])
            return gone if self._shown.setdefault("gone", "") != gone else ""
        parts = {
            selector: self._renderer.parts([(selector, template, context)])
            for selector, template in _PARTS.items()
            if selector != "#config" or context["config"] is not None
        }
        new = {selector: part for selector, part in parts.items() if self._shown.get(selector) != part}
        self._shown |= new
        return "".join(new.values())

    def _whole_log(self) -> str:
        """What was written while nobody was watching is in it, too."""
        tail = self._tail()
        if tail is None:
            return ""
        self._told = tail[-1].number if tail else 0
        return self._renderer.part("_log_whole.html", lines=tail)

    def _lines(self) -> str:
        lines = [line for line in self._tail() or () if line.number > self._told]
        if not lines:
            return ""
        self._told = lines[-1].number
        return self._renderer.part("_log_more.html", lines=lines)

    def _tail(self) -> Sequence[Any] | None:
        """The last lines of the log, for who may read it."""
        if not has_whole_server(self._visit.caller, Right.OPERATE, self._server):
            return None
        try:
            return self._renderer.gateway.logs(self._visit.caller, self._server).tail(LOG_LINES)
        except GatewayError:
            return None  # the server is gone


_PARTS: Final = {
    "#server": "_server_head.html",
    "#facts": "_server_facts.html",
    "#offers": "_server_offers.html",
    "#config": "_server_config.html",
}
