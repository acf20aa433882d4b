"""Adding servers and removing them over REST, and the configuration that holds for one.

To look takes the right to operate, to save that to define what runs here: `exec`, which a person shows with
the one-time code or by having signed in just now, and no key holds.
"""

from typing import Annotated, Final

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from mcp_gateway.access.caller import Right
from mcp_gateway.config.model import KeyName
from mcp_gateway.config.pasted import TEXT_CHARS_MAX
from mcp_gateway.faces.routing import OPERATE, Let, json_response, needs, read_json
from mcp_gateway.gateway import Gateway

EXEC: Final = needs(Right.EXEC)
# A character takes six bytes of JSON at most, and some more are for the name.
BODY_BYTES: Final = 6 * TEXT_CHARS_MAX + 4_096


class Pasted(BaseModel):
    """`name` is for a text that proposes one server."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: Annotated[str, Field(min_length=1, max_length=TEXT_CHARS_MAX)]
    name: KeyName | None = None


def add(app: FastAPI, gateway: Gateway) -> None:
    @app.post(
        "/api/servers/check",
        dependencies=[OPERATE],
        tags=["servers"],
        summary="What a pasted text would add, and what is wrong with it",
    )
    async def check_servers(visit: Let, request: Request) -> Response:
        """It is the JSON of any MCP client, Codex's TOML, a command line or a URL. Nothing is started."""
        asked = await read_json(request, Pasted, BODY_BYTES)
        return json_response(await gateway.check_servers(visit.caller, asked.text, asked.name))

    @app.post(
        "/api/servers",
        dependencies=[EXEC],
        status_code=201,
        tags=["servers"],
        summary="Add the servers of a pasted text",
    )
    async def add_servers(visit: Let, request: Request) -> Response:
        """They are written to `addedServers` of the configuration file, all or none, and come up."""
        asked = await read_json(request, Pasted, BODY_BYTES)
        return json_response(await gateway.add_servers(visit.caller, asked.text, asked.name), 201)

    @app.delete(
        "/api/servers/{server}",
        dependencies=[EXEC],
        status_code=204,
        tags=["servers"],
        summary="Remove a server that was added",
    )
    async def remove_server(visit: Let, server: str) -> Response:
        """Only one of `addedServers`: what a person wrote into the file is theirs to take out."""
        await gateway.remove_server(visit.caller, server)
        return Response(status_code=204)

    @app.get(
        "/api/servers/{server}/config",
        dependencies=[OPERATE],
        tags=["servers"],
        summary="The configuration that holds for a server, without its secrets",
    )
    async def show_config(visit: Let, server: str) -> Response:
        return json_response(gateway.show_config(visit.caller, server))
