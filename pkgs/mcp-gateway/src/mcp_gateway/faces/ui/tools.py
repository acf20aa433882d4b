"""The Tools page: what models can do by way of this gateway, found in a moment, switched one by one or many.

A page of few tools holds them all. Of many it holds the servers, and a script fetches rows when somebody
opens one or begins to search; without scripts each server leads to a page of its tools. Live updates tell of
each server how much it has and a digest of its rows, and rows are fetched again only where they differ.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlencode

from fastapi import APIRouter, Query, Request
from markupsafe import Markup
from starlette.responses import Response

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import OPERATE, READ, Let
from mcp_gateway.faces.ui import live
from mcp_gateway.faces.ui.render import Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import back, read_form
from mcp_gateway.faces.ui.servers import LOOKS
from mcp_gateway.faces.ui.toolrows import Filter, Group, Groups, Row
from mcp_gateway.gateway.events import Change

OPEN_TOOLS: Final = 300  # that a page holds at first; beyond, it holds servers
SENT_SERVERS: Final = 3  # whose rows a click gets back at once
FORM_BYTES: Final = 4 * 1024 * 1024  # 5,000 tools with long names
RENDERED_AT_ONCE: Final = 50  # before somebody else's turn
RETRY_S: Final = 15.0
_SWITCH: Final = {"on": True, "off": False}


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway
    shelf = _Shelf(renderer)

    @router.get("/ui/tools", dependencies=[READ])
    async def tools(visit: Let, request: Request) -> Response:
        wanted = Filter.of(request.query_params)
        parts = shelf.parts(visit.caller)
        found = {
            part["id"]: wanted.takes(await part["group"].read())
            for part in parts
            if wanted.is_narrow and wanted.server in ("", part["id"])
        }
        count = sum(map(len, found.values())) if wanted.is_narrow else sum(part["tools"] for part in parts)
        is_open = count <= OPEN_TOOLS or bool(wanted.server)
        lists = {
            part["id"]: await shelf.rows(part, found.get(part["id"], ()) if wanted.is_narrow else None)
            for part in parts
            if is_open and (not wanted.is_narrow or found.get(part["id"]))
        }
        return renderer.page(
            visit,
            "tools.html",
            title="Tools",
            parts=parts,
            lists=lists,
            found=found,
            count=count,
            wanted=wanted,
            total=total_of(parts),
            is_many=sum(part["tools"] for part in parts) > OPEN_TOOLS,
            link=lambda server: "/ui/tools?" + urlencode(_given(wanted) | {"server": server}),
        )

    @router.get("/ui/tools/rows", dependencies=[READ])
    async def rows(visit: Let, server: Annotated[list[str], Query(max_length=100)]) -> Response:
        """All rows of some servers, as parts of the page; of one that is gone, nothing."""
        wanted = frozenset(server)
        parts = [part for part in shelf.parts(visit.caller) if part["id"] in wanted]
        return html(visit, await shelf.replaced(parts, parts))

    @router.get("/ui/live/tools", dependencies=[READ])
    async def watch(visit: Let) -> Response:
        return live.stream(gateway, visit, _LiveTools(shelf, visit))

    @router.post("/ui/tools/switch", dependencies=[OPERATE])
    async def switch(visit: Let, request: Request) -> Response:
        form = await read_form(request, FORM_BYTES)
        if ("nothing", "") in form:  # somebody pressed Enter
            return back(request, "/ui/tools")
        keys, enabled = _asked(form)
        switched = await gateway.switch_tools(visit.caller, keys, enabled)
        if not is_htmx(visit):
            return back(request, "/ui/tools")
        servers = {server for server, _ in keys}
        parts = shelf.parts(visit.caller)
        touched = [part for part in parts if part["id"] in servers]
        body = await shelf.replaced(touched, touched if len(touched) <= SENT_SERVERS else ())
        body += renderer.parts([("#tools-total", "_tools_total.html", {"total": total_of(parts)})])
        if len(keys) > 1:
            text = f"{switched['tools']:,} tools are {'on' if enabled else 'off'}"
            body += renderer.part("_said.html", tone="good", text=text)
        return html(visit, body)


def total_of(parts: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return {name: sum(part[name] for part in parts) for name in ("tools", "on", "tokens")}


def _given(wanted: Filter) -> dict[str, str]:
    every = {"search": wanted.search, "says": wanted.says, "enabled": wanted.enabled}
    return {name: value for name, value in every.items() if value}


def _asked(form: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], bool]:
    """Of a form's fields which tools, by server and native name, and whether on or off.

    Either `enabled` and any number of `tool`, or `only`: what the button of one tool says, `off git/status`,
    whatever else is selected.

    Raises:
        GatewayError: `invalid`.
    """
    fields = dict(form)
    if "only" in fields:
        word, _, key = fields["only"].partition(" ")
        keys = [key]
    else:
        word, keys = fields.get("enabled", ""), [value for name, value in form if name == "tool"]
    if word not in _SWITCH:
        raise GatewayError(Kind.INVALID, "`enabled` must be `on` or `off`")
    if not keys:
        raise GatewayError(Kind.INVALID, "No tool is selected")
    return list(map(_read_key, keys)), _SWITCH[word]


def _read_key(key: str) -> tuple[str, str]:
    server, _, tool = key.partition("/")
    try:
        name = unquote(tool, errors="strict")
    except ValueError:
        name = ""
    if not server or not name or "/" in tool:
        raise GatewayError(
            Kind.INVALID, "`tool` must be a server, `/` and the name of a tool, percent-encoded"
        )
    return server, name


class _Shelf:
    """Servers and their tools, as the templates take them."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._groups = Groups()

    def parts(self, caller: Caller) -> list[dict[str, Any]]:
        """Of each server that the caller sees what `_tools_head.html` shows, and its `group`."""
        gateway = self._renderer.gateway
        by_server = gateway.catalog(caller).by_server
        return [
            _part(view, self._groups.of(caller, view["id"], by_server.get(view["id"], {})))
            for view in gateway.list_servers(caller)
        ]

    async def rows(self, part: Mapping[str, Any], found: Sequence[Row] | None) -> Markup:
        """The list of a server's tools; all of them where `found` is None."""
        group: Group = part["group"]
        shown = await group.read() if found is None else found
        missing = [row for row in shown if row.id not in group.markup]
        for at, row in enumerate(missing, 1):
            group.markup[row.id] = self._renderer.markup("_tools_row.html", row=row)
            if at % RENDERED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return Markup("").join(group.markup[row.id] for row in shown)

    async def replaced(self, heads: Iterable[Mapping[str, Any]], lists: Iterable[Mapping[str, Any]]) -> str:
        """What takes the place of the heads of some servers, and of the lists of some."""
        replaced: list[tuple[str, str, Mapping[str, Any]]] = [_head(part) for part in heads]
        for part in lists:
            context = {"part": part, "rows": await self.rows(part, None), "is_whole": True}
            replaced.append((f"#tools-of-{part['id']}", "_tools_list.html", context))
        return self._renderer.parts(replaced)

    def told(self, parts: Sequence[Mapping[str, Any]], known: dict[str, object]) -> str:
        """What is not `known` of heads, totals and which servers there are; `known` is then up to date."""
        return self._renderer.parts(list(_news(parts, known)))


def _news(
    parts: Sequence[Mapping[str, Any]], known: dict[str, object]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    facts: dict[str, tuple[object, tuple[str, str, Mapping[str, Any]]]] = {
        f"server {part['id']}": ({**part, "group": None}, _head(part)) for part in parts
    }
    total, servers = total_of(parts), " ".join(part["id"] for part in parts)
    facts["total"] = total, ("#tools-total", "_tools_total.html", {"total": total})
    facts["servers"] = servers, ("#tools-servers", "_tools_servers.html", {"servers": servers})
    for name, (fact, told) in facts.items():
        if known.get(name) != fact:
            known[name] = fact
            yield told


def _head(part: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
    return f"#tools-head-{part['id']}", "_tools_head.html", {"part": part}


def _part(view: Mapping[str, Any], group: Group) -> dict[str, Any]:
    tone, icon, moves = LOOKS[view["state"]]
    return {
        "id": view["id"],
        "title": view["title"],
        "state": view["state"],
        "tone": tone,
        "icon": icon,
        "moves": moves,
        "tools": len(group.entries),
        "on": group.on,
        "tokens": group.tokens,
        "digest": group.digest,
        "group": group,
    }


class _LiveTools:
    kinds = frozenset({"server", "tools", "config"})
    every_s = RETRY_S

    def __init__(self, shelf: _Shelf, visit: Visit) -> None:
        self._shelf = shelf
        self._caller = visit.caller
        self._known: dict[str, object] = {}

    async def fresh(self) -> str:
        self._known.clear()
        return await self.changed(())

    async def changed(self, changes: Sequence[Change]) -> str:
        return self._shelf.told(self._shelf.parts(self._caller), self._known)

    async def passed(self) -> str:
        return ""
