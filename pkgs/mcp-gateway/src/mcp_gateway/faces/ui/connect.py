"""The Connect page: for each client what to paste where, at the address by which this page was reached."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mcp_gateway.access.caller import Right
from mcp_gateway.faces import connect
from mcp_gateway.faces.edge import is_unix
from mcp_gateway.faces.routing import MINE, Let
from mcp_gateway.faces.ui.render import Renderer

_FIRST = "claude-code"


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/ui/connect", dependencies=[MINE])
    async def page(
        visit: Let,
        request: Request,
        server: str = "",
        url: str = "",
        client: Annotated[str, Query(max_length=100)] = _FIRST,
    ) -> Response:
        told = connect.document(
            gateway, visit, server=server or None, url=url or None, is_socket=is_unix(request.scope)
        )
        servers = gateway.list_servers(visit.caller) if Right.READ in visit.caller.rights else []
        return renderer.page(
            visit, "connect.html", title="Connect", told=told, chosen=client, servers=servers
        )
