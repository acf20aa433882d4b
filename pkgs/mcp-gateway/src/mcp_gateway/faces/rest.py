"""The rest of `/api` and the probes, by FastAPI, and the OpenAPI document of all of REST.

Every route is a translation of one method of the facade. The hot route and MCP never come here; they
are described in the document all the same.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from mcp_gateway import clock
from mcp_gateway.access.caller import NOBODY, Right
from mcp_gateway.catalog import api_list
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import access, adding, calls, connect, export, pushing, sign_in
from mcp_gateway.faces.artifacts import ArtifactResponse
from mcp_gateway.faces.edge import is_page
from mcp_gateway.faces.http import MISTAKE, error_headers, problem_document
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.faces.openapi import Described
from mcp_gateway.faces.openwebui import routes as functions
from mcp_gateway.faces.routing import (
    CALL,
    MINE,
    OPERATE,
    PUBLIC,
    READ,
    EventStream,
    Let,
    json_response,
    nobody,
    policies,
    read_json,
    visit_of,
)
from mcp_gateway.faces.shapes import SWITCHED_TOOLS_MAX
from mcp_gateway.faces.tools import routes as tools
from mcp_gateway.faces.tools.call import is_tool
from mcp_gateway.faces.ui import routes as ui
from mcp_gateway.gateway import CallQuery, Gateway, StatsQuery
from mcp_gateway.gateway.events import changes
from mcp_gateway.version import VERSION
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import encode

KEEP_ALIVE_S: Final = 15.0
LOOK_UP_S: Final = 1.0  # how soon a reader of a log notices that the gateway stops
LOG_LINES: Final = 1_000
_LOG_WAIT: Final = 1_000  # unread log lines of one reader


class ServerSwitch(BaseModel):
    """`null` goes back to what the configuration declares."""

    model_config = ConfigDict(extra="forbid", strict=True)
    enabled: bool | None


class ToolSwitch(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    enabled: bool


class NamedTool(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    server: str
    name: str


class ToolsSwitch(BaseModel):
    """All of them or none."""

    model_config = ConfigDict(extra="forbid", strict=True)
    enabled: bool
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=SWITCHED_TOOLS_MAX)]


_Time = Annotated[float, Field(allow_inf_nan=False, description="Seconds since 1970")]


class CallsOnly(BaseModel):
    """Which calls; begun at `since` or later and before `until`."""

    model_config = ConfigDict(extra="forbid")
    server: str | None = None
    tool: str | None = None
    caller: str | None = None
    face: str | None = None
    outcome: str | None = None
    method: str | None = None
    since: _Time | None = None
    until: _Time | None = None


class CallFilter(CallsOnly):
    """Calls, or what was done to the gateway itself."""

    action: str | None = None
    kind: Literal["calls", "actions"] | None = None


class CallPage(CallFilter):
    """The query of `GET /api/calls`."""

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class CallExport(CallFilter):
    """The query of `GET /api/calls/export`; without a limit it is everything that matches."""

    format: Literal["jsonl", "csv"] = "jsonl"
    limit: Annotated[int | None, Field(ge=1)] = None


class CallStats(CallsOnly):
    """The query of `GET /api/stats`; `since` is one hour before `until`, and that is now."""

    buckets: Annotated[int, Field(ge=1, le=240)] = 60
    by: Literal["server"] | None = None


def tool_path(request: Request) -> tuple[str, str]:
    """Server and tool from the path as it was sent: a name may hold any character, encoded once."""
    return calls.split_path(visit_of(request).path)


ToolPath = Annotated[tuple[str, str], Depends(tool_path)]


def build(gateway: Gateway, sessions: Sessions) -> FastAPI:
    """The application; `gateway` need not be started yet. `sessions` are those of MCP clients."""
    app = Described(
        title="MCP Gateway",
        version=VERSION,
        openapi_url=None,  # a route of our own: it has a policy like all others
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    _handle_errors(app)
    _add_probes(app, gateway)
    adding.add(app, gateway)  # before `{server}`, which would take the word `check` for one
    _add_servers(app, gateway)
    _add_tools(app, gateway)
    _add_resources_and_prompts(app, gateway)
    _add_calls(app, gateway)
    _add_artifacts(app, gateway)
    _add_sessions(app, gateway, sessions)
    _add_sign_in(app, gateway)
    access.add(app, gateway)
    connect.add(app, gateway)
    functions.add(app, gateway)
    tools.add(app, gateway)
    pushing.add(app, gateway)
    ui.add(app, gateway, sessions)
    app.rights = policies(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    def problem(error: GatewayError) -> Response:
        headers = {name.decode(): value.decode() for name, value in error_headers(error)}
        return Response(problem_document(error), error.status, headers, "application/problem+json")

    @app.exception_handler(GatewayError)
    async def _(_request: Request, error: GatewayError) -> Response:
        return problem(error)

    @app.exception_handler(Exception)
    async def _(_request: Request, _error: Exception) -> Response:
        # Raised again after this answer, and logged where every face's mistakes are (`asgi.py`).
        return problem(GatewayError(Kind.INTERNAL, MISTAKE))

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return problem(GatewayError(Kind.INVALID, f"{place}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        visit = visit_of(request)
        if visit.caller is NOBODY and is_page(visit.path):
            # Which pages there are, and what they take, is not for everybody.
            return problem(nobody())
        status, detail, headers = error.status_code, str(error.detail), dict(error.headers or {})
        if status == 404 and is_tool(visit.path):  # the hot route, which the framework does not know
            status, headers["Allow"] = 405, "POST"
        elif status == 405:
            headers["Allow"] = ", ".join(_methods_at(app, request))
        if status == 405:
            detail = f"This path takes {headers['Allow']}"
        kind = Kind.UNKNOWN if status == 404 else Kind.INVALID
        answer = problem(GatewayError(kind, detail, status=status))
        answer.headers.update(headers)
        return answer


def _methods_at(app: FastAPI, request: Request) -> list[str]:
    """Every method of a path that has a route; the framework names those of its first route alone."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    path = next(route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    methods = {method for route in routes if route.path == path for method in route.methods or ()}
    if path.endswith("/{tool:path}"):
        methods.add("POST")  # the hot route, which the framework does not know
    return sorted(methods)


def _add_probes(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/health", dependencies=[PUBLIC], tags=["probes"], summary="The process is alive")
    async def health() -> Response:
        return json_response({"status": "ok"})

    @app.get("/ready", dependencies=[PUBLIC], tags=["probes"], summary="The gateway serves; servers by state")
    async def ready(visit: Let) -> Response:
        """503 while the gateway stops: the calls it had finish, and new ones are refused."""
        facts: dict[str, Any] = {"status": "serving", "servers": gateway.states()}
        if gateway.is_stopping:
            facts |= {"status": "stopping", "finishing": gateway.running_calls}
        # They name files of this machine.
        if Right.OPERATE in visit.caller.everywhere and (warnings := gateway.warnings()):
            facts["warnings"] = warnings
        return json_response(facts, 503 if gateway.is_stopping else 200)

    @app.get("/metrics", dependencies=[READ], tags=["probes"], summary="Numbers for Prometheus")
    async def metrics(visit: Let) -> Response:
        accept = visit.headers.get(b"accept", b"").decode("latin-1").lower()
        body, media_type = await gateway.write_metrics(visit.caller, accept)
        return Response(body, media_type=media_type)

    @app.get("/openapi.json", dependencies=[MINE], include_in_schema=False)
    async def openapi(_visit: Let) -> Response:
        return json_response(app.openapi())

    @app.get(
        "/api/events",
        dependencies=[MINE],
        tags=["events"],
        summary="Live feed: servers, calls, tool lists, reloads",
    )
    async def events(visit: Let) -> Response:
        feed = gateway.open_feed(visit.caller)

        async def parts() -> AsyncIterator[bytes]:
            yield b": feed\n\n"
            async for change in changes(feed, KEEP_ALIVE_S):
                yield sse.KEEP_ALIVE if change is None else sse.event(change.data, change.kind)

        return EventStream(parts(), at_end=lambda: gateway.close_feed(feed))


def _add_servers(app: FastAPI, gateway: Gateway) -> None:
    @app.post(
        "/api/reload",
        dependencies=[OPERATE],
        tags=["gateway"],
        summary="Read the configuration again and apply it",
    )
    async def reload(visit: Let) -> Response:
        return json_response(await gateway.reload(visit.caller))

    @app.get("/api/servers", dependencies=[READ], tags=["servers"], summary="All servers with their states")
    async def list_servers(visit: Let) -> Response:
        await gateway.refresh_usage(visit.caller)
        return json_response({"servers": gateway.list_servers(visit.caller)})

    @app.get("/api/servers/{server}", dependencies=[READ], tags=["servers"], summary="One server")
    async def show_server(visit: Let, server: str) -> Response:
        await gateway.refresh_usage(visit.caller)
        return json_response(gateway.show_server(visit.caller, server))

    @app.patch(
        "/api/servers/{server}", dependencies=[OPERATE], tags=["servers"], summary="Switch a server on or off"
    )
    async def switch_server(visit: Let, server: str, request: Request) -> Response:
        switch = await read_json(request, ServerSwitch)
        return json_response(await gateway.switch_server(visit.caller, server, switch.enabled))

    @app.post(
        "/api/servers/{server}/restart",
        dependencies=[OPERATE],
        status_code=202,
        tags=["servers"],
        summary="Restart a server",
    )
    async def restart_server(visit: Let, server: str) -> Response:
        return json_response(gateway.restart_server(visit.caller, server), 202)

    @app.get(
        "/api/servers/{server}/logs",
        dependencies=[OPERATE],
        tags=["servers"],
        summary="What a server wrote to stderr",
    )
    async def logs(
        visit: Let, server: str, tail: Annotated[int, Query(ge=0, le=LOG_LINES)] = 200
    ) -> Response:
        ring = gateway.logs(visit.caller, server)
        lines = ring.tail(tail)
        if not calls.wants_stream(visit):
            return PlainTextResponse("".join(f"{line.text}\n" for line in lines))
        fresh: asyncio.Queue[Any] = asyncio.Queue(_LOG_WAIT)
        end = gateway.open_feed(visit.caller, frozenset())  # of nothing but the end: ours, or the caller's
        stop = ring.listen(lambda line: None if fresh.full() else fresh.put_nowait(line))

        async def parts() -> AsyncIterator[bytes]:
            for line in lines:
                yield sse.event(encode(line), "log")
            quiet_s = 0.0
            while not end.is_over:
                try:
                    async with asyncio.timeout(LOOK_UP_S):
                        line = await fresh.get()
                except TimeoutError:
                    quiet_s += LOOK_UP_S
                    if quiet_s >= KEEP_ALIVE_S:
                        yield sse.KEEP_ALIVE
                        quiet_s = 0.0
                else:
                    if not end.is_over:  # it may have ended while a line was waited for
                        yield sse.event(encode(line), "log")

        def close() -> None:
            stop()
            gateway.close_feed(end)

        return EventStream(parts(), close)


def _add_tools(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        "/api/tools",
        dependencies=[READ],
        tags=["tools"],
        summary="All tools, or those of a server or with some words",
    )
    async def list_tools(visit: Let, server: str | None = None, search: str | None = None) -> Response:
        catalog = gateway.catalog(visit.caller)
        if server is None and search is None:
            return Response(catalog.api_list, media_type="application/json")
        if server is not None:
            gateway.show_server(visit.caller, server)
        return Response(api_list(catalog.search(server, search)), media_type="application/json")

    @app.patch(
        "/api/tools", dependencies=[OPERATE], tags=["tools"], summary="Switch many tools on or off at once"
    )
    async def switch_tools(visit: Let, request: Request) -> Response:
        """All of them or none: where one is unknown or not yours, the first such is told."""
        switch = await read_json(request, ToolsSwitch, gateway.config.gateway.limits.body_bytes)
        tools = ((tool.server, tool.name) for tool in switch.tools)
        return json_response(await gateway.switch_tools(visit.caller, tools, switch.enabled))

    @app.get(
        "/api/tools/{server}/{tool:path}",
        dependencies=[READ],
        tags=["tools"],
        summary="One tool with its schemas",
    )
    async def show_tool(visit: Let, path: ToolPath) -> Response:
        return Response(gateway.show_tool(visit.caller, *path).for_api, media_type="application/json")

    @app.patch(
        "/api/tools/{server}/{tool:path}",
        dependencies=[OPERATE],
        tags=["tools"],
        summary="Switch a tool on or off",
    )
    async def switch_tool(visit: Let, path: ToolPath, request: Request) -> Response:
        switch = await read_json(request, ToolSwitch)
        entry = await gateway.switch_tool(visit.caller, *path, switch.enabled)
        return Response(entry.for_api, media_type="application/json")


def _add_resources_and_prompts(app: FastAPI, gateway: Gateway) -> None:
    """Who sees a server as a whole sees these of it; URIs and names are the server's own."""

    @app.get(
        "/api/resources",
        dependencies=[READ],
        tags=["resources"],
        summary="All resources and resource templates, or those of a server",
    )
    async def list_resources(visit: Let, server: str | None = None) -> Response:
        if server is not None:
            gateway.show_server(visit.caller, server)
        body = gateway.catalog(visit.caller).api_resources(server)
        return Response(body, media_type="application/json")

    @app.get("/api/resources/{server}", dependencies=[CALL], tags=["resources"], summary="Read a resource")
    async def read_resource(visit: Let, server: str, uri: Annotated[str, Query(min_length=1)]) -> Response:
        return calls.CallResponse(calls.read_resource(gateway, visit, server, uri), visit)

    @app.get(
        "/api/prompts",
        dependencies=[READ],
        tags=["prompts"],
        summary="All prompts, or those of a server",
    )
    async def list_prompts(visit: Let, server: str | None = None) -> Response:
        if server is not None:
            gateway.show_server(visit.caller, server)
        body = gateway.catalog(visit.caller).api_prompts(server)
        return Response(body, media_type="application/json")

    @app.post(
        "/api/prompts/{server}/{prompt:path}",
        dependencies=[CALL],
        tags=["prompts"],
        summary="Get a prompt; the body is its arguments object",
    )
    async def get_prompt(visit: Let, request: Request) -> Response:
        return calls.CallResponse(await calls.get_prompt(gateway, visit, request.receive), visit)


def _add_calls(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/api/calls", dependencies=[READ], tags=["calls"], summary="Activity: calls, newest first")
    async def list_calls(visit: Let, query: Annotated[CallPage, Query()]) -> Response:
        return json_response(await gateway.list_calls(visit.caller, CallQuery(**query.model_dump())))

    # Before `{id}`, which would take the word for one.
    @app.get(
        "/api/calls/export",
        dependencies=[READ],
        tags=["calls"],
        summary="Activity as a file, as much of it as there is",
    )
    async def export_calls(visit: Let, query: Annotated[CallExport, Query()]) -> Response:
        filters = query.model_dump(exclude={"format", "limit"})
        pages = gateway.export_calls(visit.caller, CallQuery(**filters), query.limit)
        first: list[dict[str, Any]] = await anext(pages, [])  # what is refused is a problem, and no file
        return StreamingResponse(
            export.parts(query.format, first, pages), headers=export.headers(query.format)
        )

    @app.get("/api/stats", dependencies=[READ], tags=["calls"], summary="Activity in numbers, over time")
    async def count_calls(visit: Let, query: Annotated[CallStats, Query()]) -> Response:
        """Only calls count. Errors are all that did not end well: not `ok`, `running`, `cancelled` or
        `input_required`. Durations are told within 5 %, of calls that took any time.
        """
        return json_response(await gateway.stats(visit.caller, StatsQuery(**query.model_dump())))

    @app.get(
        "/api/calls/{id}",
        dependencies=[MINE],
        tags=["calls"],
        summary="One call, and what was said in it while that is kept",
    )
    async def show_call(visit: Let, id: str, request: Request) -> Response:
        call = gateway.find_call(visit.caller, id)
        if call is not None and calls.wants_stream(visit):
            mailbox = call.listen()
            return calls.StreamResponse(call, mailbox)
        state = await calls.state_of(gateway, visit.caller, id, call)
        return json_response(state | await gateway.show_payloads(visit.caller, id))

    @app.delete(
        "/api/calls/{id}",
        dependencies=[MINE],
        status_code=202,
        tags=["calls"],
        summary="Cancel a running call",
    )
    async def cancel_call(visit: Let, id: str) -> Response:
        return json_response(await gateway.cancel_call(visit.caller, id), 202)


def _add_artifacts(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        "/api/artifacts/{id}",
        dependencies=[CALL],
        tags=["calls"],
        summary="A large result, whole or in ranges",
    )
    async def read_artifact(visit: Let, id: str) -> Response:
        return ArtifactResponse(gateway.read_artifact(visit.caller, id), visit.headers)

    @app.head(
        "/api/artifacts/{id}", dependencies=[CALL], tags=["calls"], summary="The size of a large result"
    )
    async def size_artifact(visit: Let, id: str) -> Response:
        return ArtifactResponse(gateway.read_artifact(visit.caller, id), visit.headers, is_head=True)


def _add_sessions(app: FastAPI, gateway: Gateway, sessions: Sessions) -> None:
    @app.get(
        "/api/sessions",
        dependencies=[MINE],
        tags=["sessions"],
        summary="Connected MCP clients: yours, or all for operators",
    )
    async def list_sessions(visit: Let) -> Response:
        shown = sessions.shown_to(visit.caller, clock.now_s())
        return json_response({"sessions": [session.view() for session in shown]})

    @app.delete(
        "/api/sessions/{id}",
        dependencies=[MINE],
        status_code=204,
        tags=["sessions"],
        summary="Close a session: its calls are cancelled and its streams end",
    )
    async def close_session(visit: Let, id: str) -> Response:
        sessions.disconnect(gateway, visit.caller, id)
        return Response(status_code=204)


def _add_sign_in(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/api/me", dependencies=[PUBLIC], tags=["callers"], summary="Who you are, and what you may do")
    async def me(visit: Let) -> Response:
        return json_response(sign_in.document(gateway, visit))

    @app.post(
        "/api/sign-in",
        name="sign_in",
        dependencies=[PUBLIC],
        tags=["callers"],
        summary="Sign in with the password or the one-time code",
    )
    async def signing_in(visit: Let, request: Request) -> Response:
        """Answers who you are as `GET /api/me` does, and sets a cookie."""
        attempt = (await read_json(request, sign_in.Attempt)).told()
        facts, headers = await sign_in.sign_in(gateway, request, visit, attempt, "rest")
        answer = json_response(facts)
        answer.headers.update(headers)
        return answer

    @app.post(
        "/api/sign-out",
        name="sign_out",
        dependencies=[PUBLIC],
        status_code=204,
        tags=["callers"],
        summary="Sign out",
    )
    async def signing_out(visit: Let) -> Response:
        """What was signed in with the cookie is over; without one nothing happens."""
        return Response(status_code=204, headers=sign_in.sign_out(gateway, visit, "rest"))
