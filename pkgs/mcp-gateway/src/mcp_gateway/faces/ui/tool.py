"""A tool's page: what it is, what it takes and gives, and a form to run it with.

The call itself goes from the browser to REST (`js/tool.js`); here is only what it is made of.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require_on_tool
from mcp_gateway.catalog import Entry
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.calls import split_path
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import OPERATE, READ, Let
from mcp_gateway.faces.ui import live, schema
from mcp_gateway.faces.ui.forms import form_of
from mcp_gateway.faces.ui.render import Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import back, read_form
from mcp_gateway.faces.ui.servers import LOOKS
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.events import Change

PREFIX: Final = b"/ui/tools/"
LIVE_PREFIX: Final = b"/ui/live/tools/"
_SWITCH: Final = {"on": True, "off": False}


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/ui/tools/{server}/{tool:path}", dependencies=[READ])
    async def tool_page(visit: Let) -> Response:
        entry = gateway.show_tool(visit.caller, *split_path(visit.path, PREFIX))
        context = _head(gateway, visit.caller, entry) | _whole(gateway, visit.caller, entry)
        return renderer.page(visit, "tool.html", **context)

    @router.post("/ui/tools/{server}/{tool:path}", dependencies=[OPERATE])
    async def switch(visit: Let, request: Request) -> Response:
        server, tool = split_path(visit.path, PREFIX)
        wanted = dict(await read_form(request)).get("enabled", "")
        if wanted not in _SWITCH:
            raise GatewayError(Kind.INVALID, "`enabled` must be `on` or `off`")
        entry = await gateway.switch_tool(visit.caller, server, tool, _SWITCH[wanted])
        if not is_htmx(visit):
            return back(request, "/ui/tools")
        return html(visit, renderer.part("_tool_head.html", **_head(gateway, visit.caller, entry)))

    @router.get("/ui/live/tools/{server}/{tool:path}", dependencies=[READ])
    async def watch(visit: Let, seen: str = "") -> Response:
        server, tool = split_path(visit.path, LIVE_PREFIX)
        gateway.show_server(visit.caller, server)
        return live.stream(gateway, visit, _LiveTool(renderer, visit, (server, tool), seen))


def tags_of(definition: dict[str, Any]) -> list[tuple[str, str]]:
    """What a tool's server says that it does, as words with their tone; nobody checks whether it is so."""
    said = definition.get("annotations")
    said = said if isinstance(said, dict) else {}
    tags = []
    if said.get("readOnlyHint") is True:
        tags.append(("read-only", "good"))
    elif said.get("destructiveHint") is True:
        tags.append(("destructive", "bad"))
    elif said.get("destructiveHint") is False:
        tags.append(("only adds", "none"))
    if said.get("idempotentHint") is True:
        tags.append(("repeatable", "none"))
    if said.get("openWorldHint") is True:
        tags.append(("reaches other systems", "none"))
    return tags


def _head(gateway: Gateway, caller: Caller, entry: Entry) -> dict[str, Any]:
    """What `_tool_head.html` shows; all of it can change while the page is open."""
    definition = schema.decoded(entry.definition)
    annotations = definition.get("annotations")
    other = annotations.get("title") if isinstance(annotations, dict) else None
    view = gateway.show_server(caller, entry.server)
    tone, icon, moves = LOOKS[view["state"]]
    return {
        "entry": entry,
        "title": schema.text_of(definition.get("title")) or schema.text_of(other) or entry.tool,
        "about": schema.text_of(definition.get("description")),
        "tags": tags_of(definition),
        "row": view | {"tone": tone, "icon": icon, "moves": moves},
        "may_switch": _has(caller, Right.OPERATE, entry),
        "has_changed": False,
        "seen": _mark(entry),
    }


def _whole(gateway: Gateway, caller: Caller, entry: Entry) -> dict[str, Any]:
    definition = schema.decoded(entry.definition)
    takes, gives = definition.get("inputSchema", {}), definition.get("outputSchema")
    may_call = _has(caller, Right.CALL, entry)
    words = [word for word, _ in tags_of(definition)]
    facts = {
        "server": entry.server,
        "tool": entry.tool,
        "exposed": entry.exposed,
        "mayCall": may_call,
        "isGuarded": gateway.is_guarded,
        "isDestructive": "destructive" in words,
        "form": asdict(form_of(takes)),
    }
    return {
        "takes": schema.read(takes),
        "takes_raw": schema.raw_text(takes),
        "gives": None if gives is None else schema.read(gives),
        "gives_raw": schema.raw_text(gives),
        "may_call": may_call,
        "is_destructive": facts["isDestructive"],
        "is_silent": not {"read-only", "destructive", "only adds"} & set(words),
        "facts": facts,
    }


def _has(caller: Caller, right: Right, entry: Entry) -> bool:
    try:
        require_on_tool(caller, right, entry.server, entry.tool, entry.is_read_only)
    except GatewayError:
        return False
    return True


def _mark(entry: Entry) -> str:
    """Another one when what the form was made of has changed."""
    return hashlib.sha256(entry.definition).hexdigest()[:16]


class _LiveTool:
    kinds = frozenset({"server", "tools", "config"})
    every_s = live.KEEP_ALIVE_S

    def __init__(self, renderer: Renderer, visit: Visit, path: tuple[str, str], seen: str) -> None:
        self._renderer = renderer
        self._caller = visit.caller
        self._path = path
        self._seen = seen

    async def fresh(self) -> str:
        gateway, caller = self._renderer.gateway, self._caller
        try:
            entry = gateway.show_tool(caller, *self._path)
        except GatewayError:
            return self._renderer.parts([("#tool-state", "_tool_gone.html", {})])
        context = _head(gateway, caller, entry)
        context["has_changed"] = context["seen"] != self._seen
        return self._renderer.parts([("#tool", "_tool_head.html", context)])

    async def changed(self, changes: Sequence[Change]) -> str:
        return await self.fresh()

    async def passed(self) -> str:
        return ""
