"""The one ASGI application: the edge first, then whichever face the path belongs to.

Every request of every face passes `admit` here, before any routing. The hot routes and MCP are plain
ASGI and looked at first; FastAPI gets the rest.
"""

import contextlib
import logging
from typing import Any, Final

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import calls, rest
from mcp_gateway.faces.http import MISTAKE, Receive, Scope, Send, Visit, admit, respond_problem
from mcp_gateway.faces.mcp.streamable import ALL_SERVERS, StreamableHttp
from mcp_gateway.gateway import Gateway

logger = logging.getLogger(__name__)

_SERVERS: Final = b"/servers/"
_MCP: Final = b"/mcp"
_VIA: Final = b"mcp-gateway-via"  # what `upstream/remote.py` sends


class Application:
    """What the web server calls. The edge stands before every face, and every face behind one table."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._instance = gateway.instance.encode()
        self._mcp = StreamableHttp(gateway) if gateway.config.gateway.mcp.enabled else None
        if self._mcp is not None:
            gateway.metrics.sessions = self._mcp.sessions.__len__
        self._rest: Any = rest.build(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan is used and no websocket is offered
        try:
            await self._route(admit(scope), scope, receive, send)
        except GatewayError as error:
            await respond_problem(send, error)
        except Exception:
            logger.exception("a request to %s failed", scope.get("raw_path"))
            with contextlib.suppress(RuntimeError):  # too late when an answer has begun
                await respond_problem(send, GatewayError(Kind.INTERNAL, MISTAKE))

    async def _route(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        if visit.headers.get(_VIA) == self._instance:
            detail = "This gateway is configured as its own server; take that server out of the configuration"
            raise GatewayError(Kind.REFUSED, detail, status=508)
        path = visit.path
        if visit.method == "POST" and path.startswith(calls.PREFIX):
            await calls.serve_call(self._gateway, visit, receive, send)
            return
        endpoint = _mcp_endpoint(path)
        if endpoint is not None and self._mcp is not None:
            await self._mcp.serve(endpoint, visit, receive, send)
            return
        scope["mcp_gateway.visit"] = visit
        try:
            await self._rest(scope, receive, send)
        except Exception:  # answered already, by the handler in `rest.py`
            logger.exception("a request to %s failed", scope["raw_path"])


def _mcp_endpoint(path: bytes) -> str | None:
    """Which MCP endpoint a path is: `ALL_SERVERS`, a server id, or None."""
    if path == _MCP:
        return ALL_SERVERS
    if path.startswith(_SERVERS) and path.endswith(_MCP):
        server = path[len(_SERVERS) : -len(_MCP)]
        if server and b"/" not in server:
            return server.decode("ascii", "replace")
    return None
