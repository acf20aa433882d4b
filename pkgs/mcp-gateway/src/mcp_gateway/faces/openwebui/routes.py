"""`/api/openwebui/functions`: toolkits to import into Open WebUI, as its file, or as a link that it follows.

Open WebUI fetches a link without saying who it is. So a link carries a ticket, which is worth what the caller
may do who asked for it.
"""

from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.catalog import MAX_NAME_CHARS, Entry
from mcp_gateway.clock import wall_s
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import connect
from mcp_gateway.faces.edge import is_unix
from mcp_gateway.faces.openwebui import functions
from mcp_gateway.faces.routing import MINE, PUBLIC, Let, json_response
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.calls import unknown_server, unknown_tool
from mcp_gateway.gateway.tickets import MAX_CHARS

PATH: Final = "/api/openwebui/functions"
LINK_LASTS_S: Final = 15 * 60.0  # as long as it takes to paste it, and not until somebody finds it in a log
_RIGHTS: Final = frozenset({Right.READ, Right.CALL})
_PURPOSE: Final = "openwebui.functions"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_Tools = Annotated[list[str] | None, Query()]


class _Subject(msgspec.Struct, array_like=True):
    """What a link leads to: a server, the tools if not all, and the address that the code calls."""

    server: str
    tools: list[str] | None
    base: str


def add(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        PATH,
        name="list_functions",
        dependencies=[MINE],
        tags=["tools"],
        summary="The tools as code for Open WebUI, to import under Workspace > Tools",
    )
    async def listed(
        visit: Let, request: Request, server: str | None = None, tool: _Tools = None, url: str | None = None
    ) -> Response:
        """One toolkit for each server: of all tools that are on and that you see, or of some."""
        base = connect.base_of(gateway, visit, url, is_socket=is_unix(request.scope))
        return json_response(
            [
                await _item(id, entries, base)
                for id, entries in _wanted(gateway, visit.caller, server, tool).items()
            ]
        )

    @app.get(
        PATH + "/{server}.py",
        name="get_functions",
        dependencies=[PUBLIC],
        tags=["tools"],
        summary="The tools of a server as code for Open WebUI",
    )
    async def code(
        visit: Let,
        request: Request,
        server: str,
        token: str | None = None,
        tool: _Tools = None,
        url: str | None = None,
    ) -> Response:
        """For whom the link says (`token`), or for you. A link says, too, which tools and which address."""
        if token is None and not visit.caller.rights.isdisjoint(_RIGHTS):
            base = connect.base_of(gateway, visit, url, is_socket=is_unix(request.scope))
            caller, subject = visit.caller, _Subject(server, tool, base)
        else:
            caller, text = gateway.tickets.redeem(token or "", _PURPOSE)
            subject = msgspec.json.decode(text, type=_Subject)
            if subject.server != server:
                raise unknown_server(server)
        entries = _wanted(gateway, caller, server, subject.tools)[server]
        written = await functions.source(server, entries, subject.base)
        return Response(written, headers=_HEADERS, media_type="text/x-python")

    @app.post(
        PATH + "/{server}/link",
        name="link_functions",
        dependencies=[MINE],
        tags=["tools"],
        summary="A link to that code for Open WebUI's own import; it works for 15 minutes",
    )
    async def link(
        visit: Let, request: Request, server: str, tool: _Tools = None, url: str | None = None
    ) -> Response:
        """Whoever has the link gets the code, which holds no key."""
        base = connect.base_of(gateway, visit, url, is_socket=is_unix(request.scope))
        _wanted(gateway, visit.caller, server, tool)
        subject = msgspec.json.encode(_Subject(server, tool, base)).decode()
        token = gateway.tickets.issue(visit.caller, _PURPOSE, subject, LINK_LASTS_S)
        if len(token) > MAX_CHARS:
            raise GatewayError(Kind.INVALID, "A link cannot name so many tools; make one for all of them")
        # Open WebUI names what it imports after what follows the last slash, which the path alone would
        # not be: it does not tell a query from a path.
        name = f"{functions.toolkit_id(server)}.py"
        link = f"{base}{PATH}/{quote(server, safe='')}.py?token={quote(token, safe='')}&as=/{name}"
        return json_response({"url": link, "expires": wall_s() + LINK_LASTS_S})


def _wanted(
    gateway: Gateway, caller: Caller, server: str | None, tools: list[str] | None
) -> dict[str, list[Entry]]:
    """Server -> those of its tools that are on and that the caller sees; only `tools`, by native name.

    Without a server those that have one; a server that was asked for may have none.

    Raises:
        GatewayError: `unknown`, the server or a tool.
    """
    if server is not None and not gateway.has_server(caller, server):
        raise unknown_server(server)
    seen = gateway.catalog(caller).by_server
    found = {
        id: [
            entry
            for entry in seen.get(id, {}).values()
            if entry.enabled and (tools is None or entry.tool in tools)
        ]
        for id in (seen if server is None else (server,))
    }
    known = {entry.tool for entries in found.values() for entry in entries}
    for tool in tools or ():
        if tool not in known:
            raise (
                unknown_tool(server, tool)
                if server is not None
                else GatewayError(Kind.UNKNOWN, f"There is no tool `{tool[:MAX_NAME_CHARS]}` that is on")
            )
    return found if server is not None else {id: entries for id, entries in found.items() if entries}


async def _item(server: str, entries: list[Entry], base: str) -> dict[str, Any]:
    return {
        "id": functions.toolkit_id(server),
        "name": f"{server} (gateway)",
        "content": await functions.source(server, entries, base),
        "meta": {"description": functions.describe(server), "manifest": {}},
    }
