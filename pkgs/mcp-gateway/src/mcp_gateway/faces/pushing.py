"""Open WebUI: the connection to it as a file, asking it whether that works, putting it there.

Asking and putting send credentials to another program and change it, so they are for administrators. What
is sent to whom is `gateway/openwebui.py`.
"""

from typing import Annotated, Any

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from mcp_gateway.config.model import Origin
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import connecting, reaching
from mcp_gateway.faces.connect import Users, around, endpoint
from mcp_gateway.faces.connecting import Way
from mcp_gateway.faces.edge import is_unix
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import ADMIN, MINE, Let, json_response, read_json
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.calls import unknown_server
from mcp_gateway.gateway.openwebui import Wanted
from mcp_gateway.wire.envelope import encode

_Url = Annotated[str, Field(min_length=1, max_length=500)]
_Secret = Annotated[str, Field(max_length=4_096)]


class Asked(BaseModel):
    """`url` and `key` are Open WebUI's, `gatewayUrl` is the gateway's as Open WebUI reaches it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: _Url
    key: Annotated[str, Field(min_length=1, max_length=4_096)]
    way: Way = "openapi"
    server: str | None = None
    gateway_url: Origin = Field(alias="gatewayUrl")
    gateway_key: _Secret = Field(default="", alias="gatewayKey")
    make_key: bool = Field(default=False, alias="makeKey")
    for_all_users: bool = Field(default=False, alias="forAllUsers")


async def check(gateway: Gateway, visit: Visit, asked: Asked) -> dict[str, Any]:
    """What Open WebUI says, before what the gateway knows of the address itself.

    Raises:
        GatewayError: see `OpenWebUi.check`.
    """
    told = await gateway.open_webui.check(visit.caller, wanted(gateway, visit, asked))
    if told["ok"] or told["others"] is None:  # Open WebUI itself was not asked
        return told
    known = reaching.findings(around(gateway), asked.gateway_url, "")
    more = [
        {"tone": one["tone"], "says": one["says"]}
        for one in known
        if one["side"] == "server" and one["tone"] != "good"
    ]
    return told | {"findings": [*told["findings"], *more]}


def wanted(gateway: Gateway, visit: Visit, asked: Asked) -> Wanted:
    """Raises:
    GatewayError: `invalid`, what is asked for makes no sense; `unknown`, the server.
    """
    if asked.server is not None and not gateway.has_server(visit.caller, asked.server):
        raise unknown_server(asked.server)
    if asked.way == "mcp" and not gateway.exposure.is_mcp_open:
        raise GatewayError(Kind.INVALID, "The configuration closes every MCP URL (`mcp.enabled`)")
    if asked.make_key and asked.gateway_key:
        raise GatewayError(Kind.INVALID, "Either a key is made or one is given, not both")
    if not all("!" <= letter <= "~" for letter in asked.gateway_key):
        raise GatewayError(Kind.INVALID, "The key of the gateway has characters that no key has")
    at = connecting.Endpoint(asked.gateway_url, asked.server)
    made = connecting.connection(at, asked.way, key=asked.gateway_key, for_all_users=asked.for_all_users)
    return Wanted(asked.url.strip(), asked.key.strip(), made, asked.make_key, asked.server)


def add(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        "/api/openwebui/connection",
        name="connection_file",
        dependencies=[MINE],
        tags=["gateway"],
        summary="The connection as a file that Open WebUI imports",
    )
    async def connection_file(
        visit: Let,
        request: Request,
        way: Way = "openapi",
        server: str | None = None,
        url: str | None = None,
        users: Users = "all",
    ) -> Response:
        """A placeholder stands for the key, where one is needed."""
        at = endpoint(gateway, visit, server=server, url=url, is_socket=is_unix(request.scope), users=users)
        key = connecting.PLACEHOLDER if at.needs_key else ""
        made = connecting.connection(at, way, key=key, for_all_users=at.for_all_users)
        headers = {"content-disposition": f'attachment; filename="{at.name}.json"'}
        return Response(encode(made), headers=headers, media_type="application/json")

    @app.post(
        "/api/openwebui/check",
        name="check_open_webui",
        dependencies=[ADMIN],
        tags=["gateway"],
        summary="Ask an Open WebUI whether it reaches this gateway",
    )
    async def check_open_webui(visit: Let, request: Request) -> Response:
        """Changes nothing there. `findings` say what is wrong. Keys are used once and not kept."""
        return json_response(await check(gateway, visit, await read_json(request, Asked)))

    @app.post(
        "/api/openwebui/connections",
        name="connect_open_webui",
        dependencies=[ADMIN],
        tags=["gateway"],
        summary="Put a connection to this gateway into an Open WebUI",
    )
    async def connect_open_webui(visit: Let, request: Request) -> Response:
        """In the place of the one with the same id; all others stay. Only if Open WebUI can use it.

        Keys are used once and not kept; with `makeKey` the gateway makes one for it.
        """
        asked = await read_json(request, Asked)
        return json_response(await gateway.open_webui.connect(visit.caller, wanted(gateway, visit, asked)))
