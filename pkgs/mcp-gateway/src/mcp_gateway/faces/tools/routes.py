"""Where the OpenAPI documents of the tool API are."""

from fastapi import FastAPI
from msgspec import Raw
from starlette.responses import Response

from mcp_gateway.faces.http import JSON_TYPE, Receive, Scope, Send, Visit, respond_in_slices
from mcp_gateway.faces.routing import MINE, Let
from mcp_gateway.faces.tools import files
from mcp_gateway.faces.tools.document import Dialect, document
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.calls import unknown_server


class DocumentResponse(Response):
    """A document, at the client's pace where it is large: written at once, everybody would wait for that."""

    def __init__(self, document: bytes, headers: dict[str, str]) -> None:
        super().__init__()
        self._document = Raw(document)
        self._more = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await respond_in_slices(send, b"", self._document, b"", JSON_TYPE, *self._more)


def add(app: FastAPI, gateway: Gateway) -> None:
    async def answer(visit: Visit, server: str | None, dialect: Dialect) -> Response:
        catalog = gateway.catalog(visit.caller)
        made = await document(catalog, server, dialect, is_guarded=gateway.is_guarded)
        headers = {"etag": made.tag, "cache-control": "private, no-cache", "vary": "Authorization, Cookie"}
        known = visit.headers.get(b"if-none-match", b"").decode("latin-1")
        if made.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")) or known.strip() == "*":
            return Response(None, 304, headers)
        return DocumentResponse(made.body, headers)

    @app.get(
        "/tools/openapi.json",
        name="describe_tools",
        dependencies=[MINE],
        tags=["tools"],
        summary="An OpenAPI document with an operation for every tool you may see",
    )
    async def of_all(visit: Let, dialect: Dialect = "inlined") -> Response:
        """Its paths belong below `/tools`. `dialect`: schemas as models take them, or exact."""
        return await answer(visit, None, dialect)

    @app.get(
        "/tools/{server}/openapi.json",
        name="describe_tools_of_a_server",
        dependencies=[MINE],
        tags=["tools"],
        summary="The same for the tools of one server",
    )
    async def of_one(visit: Let, server: str, dialect: Dialect = "inlined") -> Response:
        """Its paths belong below `/tools/{server}`."""
        if not gateway.has_server(visit.caller, server):
            raise unknown_server(server)
        return await answer(visit, server, dialect)

    files.add(app, gateway)
