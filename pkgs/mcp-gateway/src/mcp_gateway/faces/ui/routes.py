"""All routes of the web UI, put together: its files, signing in, its pages, and what browsers report."""

import contextlib
import logging
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from mcp_gateway.access.limits import Buckets
from mcp_gateway.clock import now_s
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import sign_in
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.faces.routing import PUBLIC, Let, require_somebody
from mcp_gateway.faces.ui import (
    access,
    activity,
    adding,
    connect,
    docs,
    pwa,
    server,
    servers,
    shelves,
    tool,
    tools,
)
from mcp_gateway.faces.ui.assets import Assets
from mcp_gateway.faces.ui.render import Renderer, own_path
from mcp_gateway.faces.ui.routing import read_form, router_of
from mcp_gateway.faces.ui.signing import sign_in_page
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.sign_ins import Way
from mcp_gateway.visible import safe

SIGN_IN_BYTES: Final = 8 * 1024  # a password of `MAX_SECRET_CHARS`, percent-encoded, and what a browser adds
REPORT_BYTES: Final = 8 * 1024
REPORTS_PER_S: Final = 1.0  # that are written to the log, of all browsers together
REPORTS_BURST: Final = 10.0

logger = logging.getLogger(__name__)


def add(app: FastAPI, gateway: Gateway, sessions: Sessions) -> None:
    """Adds the web UI to the application; `sessions` are those of MCP clients."""
    renderer = Renderer(gateway, Assets())
    router = router_of(renderer)
    _add_files(router, renderer)
    pwa.add(router)
    _add_signing(router, renderer)
    servers.add(router, renderer)
    tool.add(router, renderer)
    shelves.add(router, renderer)
    server.add(router, renderer)
    tools.add(router, renderer)
    connect.add(router, renderer)
    adding.add(router, renderer)
    activity.add(router, renderer, sessions)
    access.add(router, renderer)
    docs.add(router, renderer)

    # The last one: it takes every path that the others left.
    @router.get("/ui/{path:path}", dependencies=[PUBLIC])
    async def nothing(visit: Let, path: str) -> Response:
        require_somebody(visit)
        raise GatewayError(Kind.UNKNOWN, f"There is no page at /ui/{path}")

    # Not as a router of its own: `policies` looks at every route there is.
    app.router.routes.extend(router.routes)


def _add_files(router: APIRouter, renderer: Renderer) -> None:
    @router.get("/ui/static/{version}/{name:path}", dependencies=[PUBLIC])
    async def asset(visit: Let, version: str, name: str) -> Response:
        found = renderer.assets.answer(visit, version, name)
        if found is None:
            raise GatewayError(Kind.UNKNOWN, "There is no such file")
        return found

    reports = Buckets()

    @router.post("/ui/csp-reports", dependencies=[PUBLIC], status_code=204)
    async def report(_visit: Let, request: Request) -> Response:
        """What a browser kept a page from doing (CSP, `report-uri`): a mistake of ours, or somebody's try."""
        body = bytearray()
        with contextlib.suppress(ClientDisconnect):
            async for part in request.stream():
                body += part[: REPORT_BYTES - len(body)]
        if not reports.take("reports", REPORTS_PER_S, REPORTS_BURST, now_s()):
            logger.warning("a browser reports what a page was kept from: %s", _shown(body))
        return Response(status_code=204)


def _shown(report: bytearray) -> str:
    """As one line of the log: anybody can send one, and browsers repeat what a page holds."""
    return safe(report.decode("utf-8", "replace"), lines=False)


def _add_signing(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.post("/ui/sign-in", dependencies=[PUBLIC])
    async def enter(visit: Let, request: Request) -> Response:
        """Leads to the page that was wanted, or shows the form again with the reason."""
        tried: Way | None = None
        next_ = "/"
        try:
            given = dict(await read_form(request, SIGN_IN_BYTES))
            next_ = own_path(given.get("next", "/")) or "/"
            tried, secret = sign_in.read_attempt(given)
            _, headers = await sign_in.sign_in(gateway, request, visit, (tried, secret), "ui")
        except GatewayError as problem:
            return sign_in_page(renderer, visit, problem, tried, next_)
        return Response(status_code=303, headers={"location": next_, **headers})

    @router.post("/ui/sign-out", dependencies=[PUBLIC])
    async def leave(visit: Let) -> Response:
        headers = sign_in.sign_out(gateway, visit, "ui")
        return Response(status_code=303, headers={"location": "/", **headers})
