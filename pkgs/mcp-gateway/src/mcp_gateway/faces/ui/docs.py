"""`/docs`: the OpenAPI documents of the gateway and of its tools to read and to try, by Swagger UI."""

from fastapi import APIRouter
from starlette.responses import Response

from mcp_gateway.faces.routing import MINE, Let
from mcp_gateway.faces.ui.render import Renderer


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/docs", dependencies=[MINE])
    async def page(visit: Let, of: str = "") -> Response:
        """`of`: the tools of one server, or of all (`tools`); else the gateway itself."""
        servers = [
            server
            for server, tools in gateway.catalog(visit.caller).by_server.items()
            if any(tool.enabled for tool in tools.values())
        ]
        document = "/openapi.json"
        if of == "tools":
            document = "/tools/openapi.json?dialect=exact"
        elif of in servers:
            document = f"/tools/{of}/openapi.json?dialect=exact"
        return renderer.page(visit, "docs.html", title="API", servers=servers, of=of, document=document)
