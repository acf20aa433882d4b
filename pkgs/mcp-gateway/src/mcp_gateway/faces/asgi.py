"""The one ASGI application: the edge first, then whichever face the path belongs to.

Every request of every face passes `Edge.let_in` here, before any routing. The hot routes and MCP are plain
ASGI and looked at first; FastAPI gets the rest. `HOT` and `routing.policies` together name every route there
is and the rights it asks for.
"""

import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware

from mcp_gateway.access.caller import Right
from mcp_gateway.access.policy import require
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import calls, rest
from mcp_gateway.faces.edge import Edge
from mcp_gateway.faces.http import (
    MISTAKE,
    Receive,
    Scope,
    Send,
    Visit,
    respond_problem,
)
from mcp_gateway.faces.mcp.legacy_sse import LegacySse
from mcp_gateway.faces.mcp.messages import Messages
from mcp_gateway.faces.mcp.sessions import ALL_SERVERS, Sessions
from mcp_gateway.faces.mcp.streamable import StreamableHttp
from mcp_gateway.faces.tools import call
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.openwebui import Sightings

logger = logging.getLogger(__name__)

_SERVERS: Final = b"/servers/"
_MCP_PATHS: Final = {b"/mcp": "mcp", b"/mcp/sse": "sse", b"/mcp/message": "message"}
_SERVER_PATHS: Final = {b"mcp": "mcp", b"sse": "sse", b"message": "message"}
_VIA: Final = b"mcp-gateway-via"  # what `upstream/remote.py` sends
# Who has none of these rights gets nowhere. Calls are refused by the call path, which records it.
HOT: Final = {
    ("POST", "/api/tools/{server}/{tool}"): (Right.CALL,),
    ("POST", "/tools/{server}/{tool}"): (Right.CALL,),
    **{
        (method, path): (Right.READ, Right.CALL)
        for method in ("POST", "GET", "DELETE")
        for path in ("/mcp", "/servers/{server}/mcp")
    },
    **{
        (method, f"{parent}/{name}"): (Right.READ, Right.CALL)
        for method, name in (("GET", "sse"), ("POST", "message"))
        for parent in ("/mcp", "/servers/{server}")
    },
}
_MCP_RIGHTS: Final = HOT["POST", "/mcp"]
# What a page of a named origin may send and read (Fetch, "CORS-preflight fetch").
_CORS_HEADERS: Final = (
    *("authorization", "content-type", "accept", "prefer", "last-event-id", "x-session-id"),
    *("mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name"),
)
_PARAM: Final = re.compile(rb"mcp-param-[!#$%&'*+\-.^_`|~0-9a-z]+")
_CORS_READABLE: Final = (
    *("mcp-session-id", "mcp-protocol-version", "mcp-gateway-call", "location"),
    *("retry-after", "www-authenticate", "content-disposition"),
)
_CORS_METHODS: Final = ("GET", "HEAD", "POST", "PATCH", "DELETE")
_App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Application:
    """What the web server calls. The edge stands before every face, and every face behind one table."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._edge = Edge(gateway)
        self._instance = gateway.instance.encode()
        self._sightings = gateway.open_webui.sightings
        sessions = Sessions()
        self._mcp: dict[str, Callable[[str, Visit, Receive, Send], Awaitable[None]]] = {}
        if gateway.config.gateway.mcp.enabled:
            messages = Messages(gateway, self._edge.charge)
            legacy = LegacySse(gateway, sessions, messages)
            self._mcp["mcp"] = StreamableHttp(gateway, sessions, messages).serve
            self._mcp["sse"], self._mcp["message"] = legacy.serve_stream, legacy.serve_message
        sessions.at_end = gateway.end_session
        gateway.metrics.sessions = sessions.__len__
        gateway.at_end_of.append(sessions.end_of)
        self._rest: Any = rest.build(gateway, sessions)
        self._cors: tuple[frozenset[bytes], _App] = (frozenset(), self._serve)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan is used and no websocket is offered
        if self._sightings.open:
            send = _seen(self._sightings, scope, send)
        if self._edge.is_named_page(scope):
            await self._for_pages(self._edge.rules().cors, _params_asked_for(scope))(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    def _for_pages(self, origins: frozenset[bytes], params: tuple[str, ...]) -> _App:
        """The same for pages of the origins that the operator named, which may read the answers.

        `params` are headers that a page wants to send because a tool has its arguments repeated there.
        """
        known, app = self._cors
        if params or known != origins:
            app = CORSMiddleware(
                self._serve,
                allow_origins=[origin.decode() for origin in origins],
                allow_methods=_CORS_METHODS,
                allow_headers=(*_CORS_HEADERS, *params),
                expose_headers=_CORS_READABLE,
                allow_private_network=True,
            )
            if not params:
                self._cors = origins, app
        return app

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            visit = await self._edge.let_in(scope)
        except GatewayError as error:
            self._gateway.metrics.turned_away(error)
            await respond_problem(send, error)
            return
        except Exception:
            logger.exception("a request to %s could not be looked at", scope.get("raw_path"))
            await respond_problem(send, GatewayError(Kind.INTERNAL, MISTAKE))
            return
        try:
            await self._route(visit, scope, receive, send)
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
        if call.is_call(visit.method, path):
            await call.serve_call(self._gateway, visit, receive, send)
            return
        found = _mcp_endpoint(path)
        if found is not None and self._mcp:
            require(visit.caller, *_MCP_RIGHTS)
            endpoint, way = found
            await self._mcp[way](endpoint, visit, receive, send)
            return
        scope["mcp_gateway.visit"] = visit
        try:
            await self._rest(scope, receive, send)
        except Exception:  # answered already, by the handler in `rest.py`
            logger.exception("a request to %s failed", scope["raw_path"])


def _seen(sightings: Sightings, scope: Scope, send: Send) -> Send:
    """Tells a check that waits for this request how it is answered, whoever sent it."""
    sighting = sightings.of(scope["query_string"])
    if sighting is None:
        return send
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")

    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            sighting.add(message["status"], host[:200].decode("ascii", "backslashreplace"))
        await send(message)

    return told


def _params_asked_for(scope: Scope) -> tuple[str, ...]:
    """Those of the headers that a preflight asks for whose names are up to the tools of the servers."""
    if scope["method"] != "OPTIONS":
        return ()
    asked = (value for name, value in scope["headers"] if name == b"access-control-request-headers")
    names = (name.strip().lower() for name in b",".join(asked).split(b","))
    return tuple(name.decode("ascii") for name in names if _PARAM.fullmatch(name))


def _mcp_endpoint(path: bytes) -> tuple[str, str] | None:
    """Which MCP endpoint a path is, `ALL_SERVERS` or a server id, and which way in it is; or None."""
    way = _MCP_PATHS.get(path)
    if way is not None:
        return ALL_SERVERS, way
    if path.startswith(_SERVERS):
        server, _, rest = path[len(_SERVERS) :].partition(b"/")
        way = _SERVER_PATHS.get(rest)
        if server and way is not None:
            return server.decode("ascii", "replace"), way
    return None
