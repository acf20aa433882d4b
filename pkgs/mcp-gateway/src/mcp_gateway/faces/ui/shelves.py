"""The Resources and Prompts pages: what servers offer beside tools, to search, to read and to get.

Reading and getting goes from the browser to REST (`js/shelves.js`). Who does not see a server as a whole sees
none of these.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require_on_whole_server
from mcp_gateway.errors import GatewayError
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import READ, Let
from mcp_gateway.faces.ui import live
from mcp_gateway.faces.ui.render import Renderer
from mcp_gateway.faces.ui.schema import decoded, text_of
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.events import Change

SHOWN_MAX: Final = 500  # of one kind of one server; searching finds the others
VARIABLES_MAX: Final = 20
ARGUMENTS_MAX: Final = 50
NAME_CHARS: Final = 200
ABOUT_CHARS: Final = 1_000  # of a description
SIZE_MAX: Final = 2**63  # of a resource, in bytes; a number of more digits is none
_EXPRESSION: Final = re.compile(r"\{[+#./;?&]?([^{}]+)\}")  # RFC 6570

Rows = list[dict[str, Any]]
Read = Callable[[Gateway, Caller, str, str], Rows]


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/ui/resources", dependencies=[READ])
    async def resources(visit: Let, search: str = "", server: str = "") -> Response:
        groups = resources_of(gateway, visit.caller, search, server)
        asked: dict[str, Any] = {"groups": groups, "search": search, "server": server}
        return renderer.page(visit, "resources.html", title="Resources", **asked)

    @router.get("/ui/prompts", dependencies=[READ])
    async def prompts(visit: Let, search: str = "", server: str = "") -> Response:
        groups = prompts_of(gateway, visit.caller, search, server)
        asked: dict[str, Any] = {"groups": groups, "search": search, "server": server}
        return renderer.page(visit, "prompts.html", title="Prompts", **asked)

    @router.get("/ui/live/resources", dependencies=[READ])
    async def watch_resources(visit: Let, search: str = "", server: str = "") -> Response:
        page = _LiveList(renderer, visit, "resources", resources_of, search, server)
        return live.stream(gateway, visit, page)

    @router.get("/ui/live/prompts", dependencies=[READ])
    async def watch_prompts(visit: Let, search: str = "", server: str = "") -> Response:
        page = _LiveList(renderer, visit, "prompts", prompts_of, search, server)
        return live.stream(gateway, visit, page)


def resources_of(gateway: Gateway, caller: Caller, search: str, only: str) -> Rows:
    """Of each server that has some: `id`, `title`, `things`, how many `more` there are, and `may_read`."""
    shelves = gateway.catalog(caller).shelves
    groups = []
    for view in _servers(gateway, caller, only):
        shelf = shelves.get(view["id"])
        if shelf is None:
            continue
        things = [_resource(view["id"], one.uri, one.definition) for one in shelf.resources]
        things += [_template(view["id"], one.uri, one.definition) for one in shelf.templates]
        groups += _group(caller, view, things, search)
    return groups


def prompts_of(gateway: Gateway, caller: Caller, search: str, only: str) -> Rows:
    """The same of prompts."""
    catalog = gateway.catalog(caller)
    groups = []
    for view in _servers(gateway, caller, only):
        found = catalog.prompts.get(view["id"], {}).values()
        things = [_prompt(one.server, one.prompt, one.exposed, one.definition) for one in found]
        groups += _group(caller, view, things, search)
    return groups


def _servers(gateway: Gateway, caller: Caller, only: str) -> Iterator[dict[str, Any]]:
    return (view for view in gateway.list_servers(caller) if not only or view["id"] == only)


def _group(caller: Caller, view: dict[str, Any], things: Rows, search: str) -> Rows:
    words = search.lower().split()
    found = [one for one in things if all(word in one["words"].lower() for word in words)]
    if not found:
        return []
    return [
        {
            "id": view["id"],
            "title": view["title"],
            "things": found[:SHOWN_MAX],
            "more": max(0, len(found) - SHOWN_MAX),
            "may_read": _may_read(caller, view["id"]),
        }
    ]


def _may_read(caller: Caller, server: str) -> bool:
    try:
        require_on_whole_server(caller, Right.CALL, server)
    except GatewayError:
        return False
    return True


def _told(definition: bytes, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A definition, and what every kind shows of it."""
    said = decoded(definition)
    own = text_of(said.get("name")) or name
    title = text_of(said.get("title"))
    about = text_of(said.get("description"))
    return said, {
        "name": _cut(title or own, NAME_CHARS),
        "about": _cut(about, ABOUT_CHARS),
        "words": "\n".join((name, own, title, about)),
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + " …"


def _resource(server: str, uri: str, definition: bytes) -> dict[str, Any]:
    said, shown = _told(definition, uri)
    size = said.get("size")
    is_size = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < SIZE_MAX
    return shown | {
        "uri": uri,
        "mime": _cut(text_of(said.get("mimeType")), NAME_CHARS),
        "size": size if is_size else None,
        "variables": (),
        # As JSON that is percent-encoded: what is shown is made visible, and this has to stay what it is.
        "what": json.dumps({"server": server, "uri": uri}),
    }


def _template(server: str, uri: str, definition: bytes) -> dict[str, Any]:
    said, shown = _told(definition, uri)
    names = [
        name.strip().rstrip("*").partition(":")[0]
        for expression in _EXPRESSION.findall(uri)
        for name in expression.split(",")
    ]
    variables = list(dict.fromkeys(filter(None, names)))[:VARIABLES_MAX]
    return shown | {
        "uri": uri,
        "mime": _cut(text_of(said.get("mimeType")), NAME_CHARS),
        "size": None,
        "variables": variables,
        "what": json.dumps({"server": server, "template": uri, "variables": variables}),
    }


def _prompt(server: str, name: str, exposed: str, definition: bytes) -> dict[str, Any]:
    said, shown = _told(definition, name)
    listed = said.get("arguments")
    arguments = [
        {
            "name": text_of(one.get("name")),
            "title": _cut(text_of(one.get("title")), NAME_CHARS),
            "about": _cut(text_of(one.get("description")), ABOUT_CHARS),
            "required": one.get("required") is True,
        }
        for one in (listed[:ARGUMENTS_MAX] if isinstance(listed, list) else ())
        if isinstance(one, dict) and text_of(one.get("name"))
    ]
    return shown | {
        "prompt": name,
        "exposed": exposed,
        "arguments": arguments,
        "what": json.dumps({"server": server, "prompt": name, "arguments": arguments}),
    }


class _LiveList:
    every_s = live.KEEP_ALIVE_S

    def __init__(
        self, renderer: Renderer, visit: Visit, kind: str, read: Read, search: str, server: str
    ) -> None:
        self.kinds = frozenset({kind, "config"})
        self._renderer = renderer
        self._caller = visit.caller
        self._kind = kind
        self._read = read
        self._asked = (search, server)

    async def fresh(self) -> str:
        groups = self._read(self._renderer.gateway, self._caller, *self._asked)
        return self._renderer.parts([("#things", f"_{self._kind}.html", {"groups": groups})])

    async def changed(self, changes: Sequence[Change]) -> str:
        return await self.fresh()

    async def passed(self) -> str:
        return ""
