"""What stands behind the page "Access", beside keys: what the gateway is exposed to, and who is signed in."""

from fastapi import FastAPI
from starlette.responses import Response

from mcp_gateway.faces.routing import ADMIN, OPERATE, Let, json_response
from mcp_gateway.gateway import Gateway


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
