"""`/openapi.json`: what FastAPI writes of its routes, plus the hot route, with the shapes answered.

The rest of an operation follows from rules, so that a new route is described by being there: who may use it,
which problems it can answer, what its parameters mean. Only what it answers when all is well is told here
route by route, in `_ANSWERS`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mcp_gateway.access.caller import Right
from mcp_gateway.errors import TABLE
from mcp_gateway.faces import edge
from mcp_gateway.faces.calls import TIMEOUT_BELOW_S
from mcp_gateway.faces.openwebui.shapes import LINK, TOOLKITS
from mcp_gateway.faces.shapes import PARAMETERS, SCHEMAS, TAGS, Shape, ref

Operation = dict[str, Any]
Place = tuple[str, str]  # path and method

_DESCRIPTION: Final = (
    "Every MCP server behind one door. Errors are problem details (RFC 9457); `code` is one of ten kinds, or "
    "where the tool API tells that a tool reports failure, `tool_error`.\n\n"
    "A gateway that listens on loopback only, with no way to sign in configured, asks nobody who they are. "
    "Every other one asks for one of the credentials of an operation. What a caller may not see is unknown, "
    "in the same words as what does not exist."
)

# --- who may use an operation

_SCHEMES: Final = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "mgk_<id>_<secret>",
        "description": "An API key, for programs",
    },
    "signIn": {
        "type": "apiKey",
        "in": "cookie",
        "name": "mcp-gateway-8085",
        "description": "What a browser holds after signing in; with the port that the browser sees, and over "
        "https with `__Host-` before it. What changes something needs `Origin` or `Sec-Fetch-Site`, too",
    },
    "console": {
        "type": "apiKey",
        "in": "header",
        "name": "Mcp-Gateway-Code",
        "description": "The one-time code that the console printed at start, for the person at the machine",
    },
}
# --- what can go wrong

_ALWAYS: Final = (400, 403, 500)  # the edge refuses before any route is known; and a mistake of ours
_GUARDED: Final = (401, 429)
_OF_A_CALL: Final = (404, 409, 502, 503, 504)
_OF_THE_FILE: Final = (409, 503)  # an id that is taken, a change meanwhile; a disk that takes nothing
_OF_A_KEY: Final = (409, 503)  # a declared one, or one too many; a disk that takes nothing
_OF_OPEN_WEBUI: Final = (404, 409, 502, 503, 504)  # another change meanwhile; what it answers, or does not
# Beyond what the rules of `_statuses` give.
_MORE_PROBLEMS: Final[dict[Place, tuple[int, ...]]] = {
    ("/api/tools", "patch"): (404,),
    ("/api/tools", "get"): (404,),  # the server that is asked for
    ("/api/resources", "get"): (404,),
    ("/api/prompts", "get"): (404,),
    ("/api/connect", "get"): (404,),
    ("/api/openwebui/connection", "get"): (404,),
    ("/api/openwebui/check", "post"): (404,),  # the server that is asked for
    ("/api/openwebui/connections", "post"): _OF_OPEN_WEBUI,
    ("/api/openwebui/functions", "get"): (404,),
    ("/api/openwebui/functions/{server}.py", "get"): (401, 429),  # whose right ended; too many of your own
    ("/api/tools/{server}/{tool}", "post"): _OF_A_CALL,
    ("/tools/{server}/{tool}", "post"): (*_OF_A_CALL, 422),
    ("/api/files/{ticket}", "get"): (401, 416, 429, *_OF_A_CALL),  # as the caller who got the link
    ("/api/resources/{server}", "get"): _OF_A_CALL,
    ("/api/prompts/{server}/{prompt}", "post"): _OF_A_CALL,
    ("/api/artifacts/{id}", "get"): (416,),
    ("/api/artifacts/{id}", "head"): (416,),
    ("/api/servers/check", "post"): (503,),  # a file system that does not answer
    ("/api/servers", "post"): _OF_THE_FILE,
    ("/api/servers/{server}", "delete"): _OF_THE_FILE,
    ("/api/keys", "post"): _OF_A_KEY,
    ("/api/keys/{id}", "delete"): _OF_A_KEY,
    ("/api/sign-in", "post"): (401, 429, 503),  # the wrong word, too often; a disk that takes nothing
}
_HTTP_TITLES: Final = {
    413: "The body is too large",
    415: "The body is not JSON",
    416: "There are no such bytes",
    422: "The tool reports failure; `code` is then `tool_error`",
}


def _header(description: str, *, required: bool = False) -> Shape:
    return {"description": description, "required": required, "schema": {"type": "string"}}


_WHICH_BYTES: Final = {"Content-Range": _header("Which bytes, and of how many", required=True)}
_RETRY: Final = {"Retry-After": _header("Seconds until trying again makes sense")}
_PROBLEM_HEADERS: Final = {
    401: {"WWW-Authenticate": _header("How to say who is asking", required=True)},
    416: _WHICH_BYTES,
    429: _RETRY,
    503: _RETRY,
}


# --- what an operation answers when all is well


def _json(schema: Shape) -> Shape:
    return {"application/json": {"schema": schema}}


def _text(kind: str, description: str) -> Shape:
    return {kind: {"schema": {"type": "string", "description": description}}}


def _list_of(member: str, name: str, **more: Any) -> Shape:
    properties = {member: {"type": "array", "items": ref(name)}, **more}
    return {"type": "object", "required": [member], "properties": properties}


def _stream(**events: Shape) -> Shape:
    """An event stream; its schema is that of one event, by name (WHATWG HTML, section 9.2)."""
    kinds = [
        {
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "event": {"const": name},
                "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": schema},
            },
        }
        for name, schema in events.items()
    ]
    return {"text/event-stream": {"schema": {"description": "One event of the stream", "oneOf": kinds}}}


_OF_THE_CALL: Final = _stream(
    progress={"type": "object", "description": "MCP: progress, total, message"},
    log={"type": "object", "description": "MCP: level, logger, data"},
    result=ref("Result"),
    error=ref("Problem"),
)
_OF_THE_TOOL: Final = _stream(
    progress={"type": "object", "description": "MCP: progress, total, message"},
    log={"type": "object", "description": "MCP: level, logger, data"},
    result={"description": "As the answer without a stream"},
    error=ref("Problem"),
)
_OPENAPI: Final = {
    "type": "object",
    "description": "An OpenAPI 3.1 document",
    "required": ["openapi", "paths"],
}
_ANSWERS: Final[dict[Place, Shape]] = {
    ("/health", "get"): _json({"type": "object", "properties": {"status": {"const": "ok"}}}),
    ("/ready", "get"): _json(ref("Ready")),
    ("/metrics", "get"): _text("text/plain", "Prometheus's text format")
    | _text("application/openmetrics-text", "OpenMetrics, if `Accept` asks for it"),
    ("/api/events", "get"): _stream(
        server=ref("Server"),
        call=ref("Call"),
        tools=ref("CatalogChange"),
        resources=ref("CatalogChange"),
        prompts=ref("CatalogChange"),
        config=ref("Reload"),
    ),
    ("/api/reload", "post"): _json(ref("Reload")),
    ("/api/servers", "get"): _json(_list_of("servers", "Server")),
    ("/api/servers/{server}", "get"): _json(ref("Server")),
    ("/api/servers/{server}", "patch"): _json(ref("Server")),
    ("/api/servers", "post"): _json(
        _list_of("servers", "Server", warnings={"type": "array", "items": {"type": "string"}})
    ),
    ("/api/servers/check", "post"): _json(ref("Proposed")),
    ("/api/servers/{server}", "delete"): {},
    ("/api/servers/{server}/config", "get"): _json(ref("ServerConfig")),
    ("/api/servers/{server}/restart", "post"): _json(ref("Server")),
    ("/api/servers/{server}/logs", "get"): _text("text/plain", "The last lines")
    | _stream(log=ref("LogLine")),
    ("/api/tools", "get"): _json(_list_of("tools", "Tool")),
    ("/api/tools", "patch"): _json(ref("ToolsSwitched")),
    ("/api/tools/{server}/{tool}", "get"): _json(ref("Tool")),
    ("/api/tools/{server}/{tool}", "patch"): _json(ref("Tool")),
    ("/api/tools/{server}/{tool}", "post"): _json(ref("Result")) | _OF_THE_CALL,
    ("/tools/{server}/{tool}", "post"): _json(
        {
            "description": "Structured content; a text, or the object or list it holds; media as `data:` "
            "URIs; links; of several of these a list"
        }
    )
    | _text("text/plain", "A text, if `Accept` asks for it and not for JSON")
    | _text("image/*", "Media, if `Accept` names its type")
    | _OF_THE_TOOL,
    ("/tools/openapi.json", "get"): _json(_OPENAPI),
    ("/tools/{server}/openapi.json", "get"): _json(_OPENAPI),
    ("/api/files/{ticket}", "get"): _text("*/*", "The file, of the type that its server says"),
    ("/api/resources", "get"): _json(ref("Resources")),
    ("/api/resources/{server}", "get"): _json(ref("ResourceResult")) | _OF_THE_CALL,
    ("/api/prompts", "get"): _json(_list_of("prompts", "Prompt")),
    ("/api/prompts/{server}/{prompt}", "post"): _json(ref("PromptResult")) | _OF_THE_CALL,
    ("/api/calls", "get"): _json(_list_of("calls", "Call", cursor={"type": ["string", "null"]})),
    ("/api/calls/export", "get"): _text("application/jsonl", "One call a line")
    | _text("text/csv", "RFC 4180, with a head"),
    ("/api/stats", "get"): _json(ref("Stats")),
    ("/api/calls/{id}", "get"): _json(ref("Call")) | _OF_THE_CALL,
    ("/api/calls/{id}", "delete"): _json(ref("Call")),
    ("/api/artifacts/{id}", "get"): _json(ref("Result")),
    ("/api/artifacts/{id}", "head"): {},
    ("/api/sessions", "get"): _json(_list_of("sessions", "Session")),
    ("/api/sessions/{id}", "delete"): {},
    ("/api/me", "get"): _json(ref("Me")),
    ("/api/keys", "get"): _json(_list_of("keys", "Key")),
    ("/api/keys", "post"): _json(ref("Key")),
    ("/api/keys/{id}", "delete"): {},
    ("/api/sign-in", "post"): _json(ref("Me")),
    ("/api/sign-out", "post"): {},
    ("/api/connect", "get"): _json(ref("Connect")),
    ("/api/openwebui/connection", "get"): _json(ref("OpenWebUiConnection")),
    ("/api/openwebui/check", "post"): _json(ref("OpenWebUiChecked")),
    ("/api/openwebui/connections", "post"): _json(ref("OpenWebUiChecked")),
    ("/api/openwebui/functions", "get"): _json(TOOLKITS),
    ("/api/openwebui/functions/{server}.py", "get"): _text("text/x-python", "A class `Tools`"),
    ("/api/openwebui/functions/{server}/link", "post"): _json(LINK),
    ("/api/access", "get"): _json(ref("Access")),
    ("/api/sign-ins", "get"): _json(_list_of("signIns", "SignedIn")),
    ("/api/sign-ins/{id}", "delete"): {},
}
_PART: Final = {"description": "The range that was asked for", "headers": _WHICH_BYTES}
_RUNNING: Final = {
    "202": {
        "description": "The call is running",
        "headers": {"Location": _header("/api/calls/{id}", required=True)},
        "content": _json(ref("CallRunning")),
    }
}
_UNCHANGED: Final = {"304": {"description": "It is what `If-None-Match` says"}}
# What some routes answer besides.
_MORE_ANSWERS: Final[dict[Place, Shape]] = {
    ("/api/artifacts/{id}", "get"): {"206": _PART | {"content": {"application/json": {}}}},
    ("/api/artifacts/{id}", "head"): {"206": _PART},
    ("/api/tools/{server}/{tool}", "post"): _RUNNING,
    ("/tools/{server}/{tool}", "post"): _RUNNING,
    ("/tools/openapi.json", "get"): _UNCHANGED,
    ("/tools/{server}/openapi.json", "get"): _UNCHANGED,
    ("/api/files/{ticket}", "get"): {"206": _PART | {"content": {"*/*": {}}}},
    ("/ready", "get"): {
        "503": {"description": "The gateway is stopping", "content": _json(ref("Ready"))},
    },
}

# --- what an operation takes


def _switch(*kinds: str) -> Shape:
    """A body that switches something; the example is what most people come for."""
    return {
        "type": "object",
        "required": ["enabled"],
        "properties": {"enabled": {"type": list(kinds)}},
        "additionalProperties": False,
        "examples": [{"enabled": False}],
    }


_BODIES: Final[dict[Place, Shape]] = {
    ("/api/servers/{server}", "patch"): _switch("boolean", "null"),
    ("/api/tools/{server}/{tool}", "patch"): _switch("boolean"),
    ("/api/tools", "patch"): ref("ToolsSwitch"),
    ("/api/tools/{server}/{tool}", "post"): {"type": "object", "description": "The tool's arguments"},
    ("/tools/{server}/{tool}", "post"): {"type": "object", "description": "The tool's arguments"},
    ("/api/prompts/{server}/{prompt}", "post"): {"type": "object", "description": "The prompt's arguments"},
    ("/api/servers", "post"): ref("Pasted"),
    ("/api/servers/check", "post"): ref("Pasted"),
    ("/api/keys", "post"): ref("NewKey"),
    ("/api/openwebui/check", "post"): ref("OpenWebUiWanted"),
    ("/api/openwebui/connections", "post"): ref("OpenWebUiWanted"),
    ("/api/sign-in", "post"): ref("SignIn"),
}
# A tool without arguments may be called without a body.
_BODY_MAY_BE_ABSENT: Final[frozenset[Place]] = frozenset(
    {
        ("/api/tools/{server}/{tool}", "post"),
        ("/tools/{server}/{tool}", "post"),
        ("/api/prompts/{server}/{prompt}", "post"),
    }
)


def _parameter(name: str, place: str, **schema: Any) -> Shape:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, **required, "schema": {"type": "string", **schema}}


_OF_A_TOOL: Final = (_parameter("server", "path"), _parameter("tool", "path"))
_TIMEOUT: Final = _parameter(
    "timeout", "query", type="number", exclusiveMinimum=0, exclusiveMaximum=TIMEOUT_BELOW_S
)
_SESSION: Final = _parameter("X-Session-Id", "header", examples=["browsing-1"])
_RANGE: Final = _parameter("Range", "header", examples=["bytes=0-65535"])
_OF_A_CALL_OF_A_TOOL: Final = (
    *_OF_A_TOOL,
    _TIMEOUT,
    _SESSION,
    _parameter("Prefer", "header", examples=["respond-async"]),
)
_KNOWN: Final = _parameter("If-None-Match", "header")
# Of routes that read them by themselves.
_MORE_PARAMETERS: Final[dict[Place, tuple[Shape, ...]]] = {
    ("/api/tools/{server}/{tool}", "get"): _OF_A_TOOL,
    ("/api/tools/{server}/{tool}", "patch"): _OF_A_TOOL,
    ("/api/tools/{server}/{tool}", "post"): _OF_A_CALL_OF_A_TOOL,
    ("/tools/{server}/{tool}", "post"): _OF_A_CALL_OF_A_TOOL,
    ("/tools/openapi.json", "get"): (_KNOWN,),
    ("/tools/{server}/openapi.json", "get"): (_KNOWN,),
    ("/api/files/{ticket}", "get"): (_RANGE,),
    ("/api/resources/{server}", "get"): (_TIMEOUT, _SESSION),
    ("/api/prompts/{server}/{prompt}", "post"): (
        _parameter("server", "path"),
        _parameter("prompt", "path"),
        _TIMEOUT,
        _SESSION,
    ),
    ("/api/artifacts/{id}", "get"): (_RANGE,),
    ("/api/artifacts/{id}", "head"): (_RANGE,),
}
# The hot routes, which FastAPI does not know.
_RIGHTS_OF_A_CALL: Final = (Right.CALL,)
_CALL: Final[Operation] = {
    "tags": ["tools"],
    "summary": "Call a tool",
    "operationId": "call_tool",
    "description": "The body is the arguments object. With `Accept: text/event-stream` the answer is a "
    "stream of `progress` and `log` events, then `result` or `error`.",
    "responses": {"200": {"description": "The result"}},
}
_CALLS: Final[dict[str, Operation]] = {
    "/api/tools/{server}/{tool}": _CALL,
    "/tools/{server}/{tool}": _CALL
    | {
        "summary": "Call a tool, as the OpenAPI documents of the tools describe it",
        "operationId": "call_tool_over_http",
        "description": "For clients that know no MCP. Arguments are set right where the tool's schema "
        "demands it, and a tool that reports failure answers 422; the rest is as `POST "
        "/api/tools/{server}/{tool}` has it.",
        "responses": {"200": {"description": "What the tool answers"}},
    },
}


class Described(FastAPI):
    """FastAPI whose document is complete; made once, at its first request.

    `rights` of every route, by method and path: who has one of them may ask.
    """

    rights: Mapping[tuple[str, str], Sequence[Right]]

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            written = get_openapi(
                title=self.title,
                version=self.version,
                description=_DESCRIPTION,
                tags=[{"name": name, "description": words} for name, words in TAGS.items()],
                routes=self.routes,
            )
            self.openapi_schema = _complete(written, self.rights)
        return self.openapi_schema


def _complete(
    document: dict[str, Any], policies: Mapping[tuple[str, str], Sequence[Right]]
) -> dict[str, Any]:
    rights = {
        (path.replace(":path}", "}"), method.lower()): held for (method, path), held in policies.items()
    }
    for path, call in _CALLS.items():
        document["paths"].setdefault(path, {})["post"] = dict(call)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            _complete_operation((path, method), operation, rights.get((path, method), _RIGHTS_OF_A_CALL))
    document["paths"] = dict(sorted(document["paths"].items()))
    document["components"] = {"schemas": SCHEMAS, "securitySchemes": _SCHEMES}
    return document


def _complete_operation(place: Place, operation: Operation, rights: Sequence[Right]) -> None:
    success = next(code for code in operation["responses"] if code.startswith("2"))
    answer = {"description": operation["responses"][success]["description"], "content": _ANSWERS[place]}
    parameters = [*operation.get("parameters", ()), *_MORE_PARAMETERS.get(place, ())]
    operation["parameters"] = [_complete_parameter(parameter) for parameter in parameters]
    if place in _BODIES:
        operation["requestBody"] = {
            "required": place not in _BODY_MAY_BE_ABSENT,
            "content": _json(_BODIES[place]),
        }
    operation["security"] = _security(place, rights)
    if rights:
        needed = f"Needs the right {' or '.join(f'`{right}`' for right in rights)}."
        operation["description"] = f"{operation.get('description', '')}\n\n{needed}".strip()
    problems = {str(code): _problem(code) for code in _statuses(place, operation)}
    operation["responses"] = {success: answer, **problems, **_MORE_ANSWERS.get(place, {})}


def _is_public(place: Place) -> bool:
    path, method = place
    return edge.is_public(method.upper(), path.encode())


def _security(place: Place, rights: Sequence[Right]) -> list[Shape]:
    """Any one credential of any one of the rights, or none (`{}`) where the gateway asks nobody."""
    if _is_public(place):
        return []
    roles = [[right.value] for right in rights] or [[]]
    return [
        *({name: role} for name in _SCHEMES for role in roles if (name, role) != ("key", [Right.EXEC.value])),
        {},
    ]


def _complete_parameter(parameter: Shape) -> Shape:
    """With words; and without the `null` and the title that FastAPI takes from Python's types."""
    schema = parameter["schema"]
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    schema = {name: value for name, value in (kinds or [schema])[0].items() if name != "title"}
    words = PARAMETERS.get(parameter["name"]) or schema.pop("description", "")
    return {"description": words, **parameter, "schema": schema}


def _statuses(place: Place, operation: Operation) -> list[int]:
    """Which problems the operation can answer."""
    statuses = {*_ALWAYS, *_MORE_PROBLEMS.get(place, ())}
    if not _is_public(place):
        statuses.update(_GUARDED)
    if "{" in place[0]:
        statuses.add(404)
    if "requestBody" in operation:
        statuses.update((413, 415))
    return sorted(statuses)


def _problem(status: int) -> Shape:
    title = _HTTP_TITLES.get(status) or next(row.title for row in TABLE.values() if row.status == status)
    content = {"application/problem+json": {"schema": ref("Problem")}}
    headers = {"headers": _PROBLEM_HEADERS[status]} if status in _PROBLEM_HEADERS else {}
    return {"description": title, "content": content, **headers}
