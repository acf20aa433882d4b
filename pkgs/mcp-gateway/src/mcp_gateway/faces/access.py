"""What stands behind the page "Access": what the gateway is exposed to, keys, and who is signed in."""

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from mcp_gateway.config.model import Expiry, KeyName, Scopes
from mcp_gateway.faces.routing import ADMIN, OPERATE, Let, json_response, read_json
from mcp_gateway.gateway import Gateway


class NewKey(BaseModel):
    """`expires` as a day, a time, or seconds since 1970."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: KeyName
    scopes: Scopes = Scopes()
    expires: Expiry | None = None


def add(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        "/api/access",
        dependencies=[OPERATE],
        tags=["callers"],
        summary="What the gateway is exposed to, and which rules are in force",
    )
    async def show_access(visit: Let) -> Response:
        """As facts, and in sentences for a person."""
        return json_response(gateway.exposure.view(visit.caller))

    @app.get("/api/sign-ins", dependencies=[ADMIN], tags=["callers"], summary="Who is signed in, and how")
    async def list_sign_ins(visit: Let) -> Response:
        return json_response({"signIns": gateway.sign_ins.shown_to(visit.caller, visit.sign_in)})

    @app.delete(
        "/api/sign-ins/{id}",
        dependencies=[ADMIN],
        status_code=204,
        tags=["callers"],
        summary="End a sign-in: its cookie is worth nothing from then on",
    )
    async def end_sign_in(visit: Let, id: str) -> Response:
        await gateway.sign_ins.end(visit.caller, id, "rest")
        return Response(status_code=204)

    @app.get("/api/keys", dependencies=[ADMIN], tags=["callers"], summary="All API keys, without their texts")
    async def list_keys(visit: Let) -> Response:
        return json_response({"keys": gateway.keys.list(visit.caller)})

    @app.post("/api/keys", dependencies=[ADMIN], status_code=201, tags=["callers"], summary="Make an API key")
    async def create_key(visit: Let, request: Request) -> Response:
        """`key` in the answer is shown this once."""
        asked = await read_json(request, NewKey)
        made = await gateway.keys.create(visit.caller, asked.name, asked.scopes, asked.expires)
        return json_response(made, 201)

    @app.delete(
        "/api/keys/{id}", dependencies=[ADMIN], status_code=204, tags=["callers"], summary="Revoke a key"
    )
    async def revoke_key(visit: Let, id: str) -> Response:
        await gateway.keys.revoke(visit.caller, id)
        return Response(status_code=204)
