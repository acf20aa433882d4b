"""`/openapi.json`: what FastAPI writes of its routes, plus the hot route, with the shapes answered."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from mcp_gateway.errors import TABLE, Kind

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "detail", "code", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for a person"},
        "code": {"type": "string", "enum": [kind.value for kind in Kind]},
        "retryable": {"type": "boolean", "description": "Trying again cannot do a thing twice"},
        "server": {"type": "string"},
        "callId": {"type": "string"},
        "retryAfter": {"type": "integer", "description": "Seconds"},
        "inputRequests": {"type": "object", "description": "What the tool asks for (input_required)"},
        "problems": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/ConfigProblem"},
            "description": "Everything that is wrong with the configuration (reload)",
        },
        "rpcError": {"type": "object", "description": "The server's own JSON-RPC error, unchanged"},
    },
}
_RESULT = {
    "type": "object",
    "description": "The MCP result as the server sent it, unknown members included. In place of one beyond "
    "10 MiB: its first part, a `resource_link`, and where all of it is in `_meta`, `mcp-gateway/artifact`.",
    "properties": {
        "content": {"type": "array", "items": {"type": "object"}},
        "structuredContent": {},
        "isError": {"type": "boolean", "description": "The tool itself reports failure"},
    },
}
_CONFIG_PROBLEM = {
    "type": "object",
    "required": ["file", "line", "place", "message"],
    "properties": {
        "file": {"type": "string"},
        "line": {"type": ["integer", "null"]},
        "place": {"type": ["string", "null"], "description": "As in `mcpServers.git.command`"},
        "message": {"type": "string"},
        "nearest": {"type": ["string", "null"], "description": "The key that was probably meant"},
    },
}
_NAMES = {"type": "array", "items": {"type": "string"}}
_RELOAD = {
    "type": "object",
    "description": "What moved; also the event `config`, where `ok` may be false",
    "required": ["ok", "added", "removed", "changed", "gateway", "problems", "warnings"],
    "properties": {
        "ok": {"type": "boolean"},
        "added": _NAMES,
        "removed": _NAMES,
        "changed": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["server", "keys", "replaced"],
                "properties": {
                    "server": {"type": "string"},
                    "keys": _NAMES,
                    "replaced": {"type": "boolean", "description": "It gets a new process or connection"},
                },
            },
        },
        "gateway": {**_NAMES, "description": "Settings of the gateway that changed and hold now"},
        "problems": {"type": "array", "items": {"$ref": "#/components/schemas/ConfigProblem"}},
        "warnings": {**_NAMES, "description": "Such as settings that hold after a restart"},
    },
}
_SERVER = {
    "type": "object",
    "required": ["id", "title", "state", "enabled", "tools"],
    "properties": {
        "id": {"type": "string"},
        "title": {"type": "string"},
        "state": {
            "type": "string",
            "enum": ["off", "starting", "ready", "waiting", "needs login", "stopping", "failed", "idle"],
        },
        "reason": {"type": ["string", "null"]},
        "attempt": {"type": "integer", "description": "Failures in a row"},
        "since": {"type": ["number", "null"], "description": "Seconds since 1970"},
        "nextRetry": {"type": ["number", "null"], "description": "Seconds since 1970"},
        "enabled": {"type": "boolean"},
        "declared": {"type": "boolean", "description": "What the configuration says"},
        "override": {"type": ["boolean", "null"], "description": "What was switched at run time"},
        "transport": {"type": "string"},
        "protocolRevision": {"type": ["string", "null"]},
        "instructions": {"type": ["string", "null"]},
        "pid": {"type": ["integer", "null"]},
        "successor": {
            "type": ["object", "null"],
            "description": "What a changed configuration has started, while the one before still serves",
            "properties": {
                "state": {"type": "string"},
                "reason": {"type": ["string", "null"]},
                "pid": {"type": ["integer", "null"]},
            },
        },
        "tools": {"type": "integer"},
        "calls": {"type": "object", "additionalProperties": {"type": "integer"}},
        "lastError": {"type": ["string", "null"]},
        "exit": {"type": ["object", "null"], "description": "How the last process ended"},
        "counters": {"type": "object", "additionalProperties": {"type": "integer"}},
        "stderr": {"type": "array", "items": {"type": "string"}},
    },
}
_TOOL = {
    "type": "object",
    "description": "The server's own definition, plus where it belongs",
    "required": ["server", "name", "exposedName", "enabled", "inputSchema"],
    "properties": {
        "server": {"type": "string"},
        "name": {"type": "string", "description": "Native name"},
        "exposedName": {"type": "string"},
        "enabled": {"type": "boolean"},
        "inputSchema": {"type": "object"},
    },
}
_KEPT = {
    "anyOf": [{"$ref": "#/components/schemas/Payload"}, {"type": "null"}],
    "description": "Of one call: the arguments, and the result or the server's error, while they are kept",
}
_PAYLOAD = {
    "type": "object",
    "description": "What was said, with the secrets of the server replaced",
    "required": ["bytes", "truncated", "text"],
    "properties": {
        "bytes": {"type": "integer", "description": "Of the whole"},
        "truncated": {"type": "boolean", "description": "`text` is only the beginning"},
        "text": {"type": "string", "description": "The JSON as it was sent"},
    },
}
_CALL = {
    "type": "object",
    "required": ["id", "started", "caller", "face", "server", "tool", "outcome"],
    "properties": {
        "id": {"type": "string"},
        "started": {"type": "number", "description": "Seconds since 1970"},
        "caller": {"type": "string"},
        "face": {"type": "string"},
        "server": {"type": "string"},
        "tool": {"type": "string"},
        "outcome": {
            "type": "string",
            "enum": [
                "running",
                "ok",
                "tool_error",
                "cancelled",
                "interrupted",
                *(kind.value for kind in Kind),
            ],
        },
        "durationMs": {"type": ["number", "null"]},
        "requestBytes": {"type": "integer"},
        "responseBytes": {"type": "integer"},
        "detail": {"type": ["string", "null"]},
        "arguments": {"description": "The shape of the arguments, never their values"},
        "request": _KEPT,
        "response": _KEPT,
        "result": {"$ref": "#/components/schemas/Result"},
        "problem": {"$ref": "#/components/schemas/Problem"},
    },
}

_READY = {
    "type": "object",
    "required": ["status", "servers"],
    "properties": {
        "status": {"enum": ["serving", "stopping"], "description": "`stopping` comes with status 503"},
        "servers": {"type": "object", "additionalProperties": {"type": "integer"}},
        "finishing": {"type": "integer", "description": "Calls that still run, while stopping"},
        "warnings": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What is wrong with the gateway itself, while calls go on",
        },
    },
}


_SCOPES = {
    "type": "object",
    "description": "What a key may do; `servers` and `tools` are patterns, and absent is all of them",
    "properties": {
        "rights": {"type": "array", "items": {"enum": ["read", "call", "operate", "exec", "admin"]}},
        "servers": {"type": "array", "items": {"type": "string"}},
        "tools": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Native names, `read_*` of any server or `git/git_*` of one",
        },
        "readOnly": {"type": "boolean", "description": "Only tools annotated as read-only"},
    },
}
_KEY = {
    "type": "object",
    "required": ["id", "name", "caller", "scopes", "declared", "expired"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "caller": {"type": "string", "description": "As activity names who holds it"},
        "scopes": {"$ref": "#/components/schemas/Scopes"},
        "declared": {"type": "boolean", "description": "In the configuration, which is where it ends"},
        "created": {"type": ["number", "null"], "description": "Seconds since 1970"},
        "createdBy": {"type": ["string", "null"]},
        "expires": {"type": ["number", "null"], "description": "Seconds since 1970"},
        "expired": {"type": "boolean"},
        "lastUsed": {"type": ["number", "null"], "description": "Seconds since 1970"},
        "key": {
            "type": "string",
            "description": "The key itself: in the answer that makes it, and never again",
        },
    },
}
_SESSION = {
    "type": "object",
    "required": ["id", "client", "revision", "endpoint", "caller", "begun", "seen", "streams", "calls"],
    "properties": {
        "id": {"type": "string", "description": "To close it with; not the id the client uses"},
        "client": {"type": "string", "description": "What the client calls itself; empty if it does not say"},
        "clientVersion": {"type": "string"},
        "revision": {"type": "string", "description": "Of MCP, such as 2025-11-25"},
        "transport": {"enum": ["streamable-http", "sse"]},
        "endpoint": {"type": "string", "description": "Such as `/mcp` or `/servers/git/mcp`"},
        "caller": {"type": "string"},
        "begun": {"type": "number", "description": "Seconds since 1970"},
        "seen": {"type": "number", "description": "Seconds since 1970"},
        "streams": {"type": "integer", "description": "Event streams that are open"},
        "calls": {"type": "integer", "description": "Calls that are running"},
    },
}
_ME = {
    "type": "object",
    "required": ["caller", "name", "rights", "scopes"],
    "properties": {
        "caller": {"type": "string"},
        "name": {"type": ["string", "null"]},
        "rights": {"type": "array", "items": {"type": "string"}},
        "scopes": {"type": "array", "items": {"$ref": "#/components/schemas/Scopes"}},
    },
}
_NEW_KEY = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "scopes": {"$ref": "#/components/schemas/Scopes"},
        "expires": {
            "type": ["string", "number", "null"],
            "description": "A day, a time, or seconds since 1970",
        },
    },
    "additionalProperties": False,
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(member: str, name: str, **more: Any) -> dict[str, Any]:
    properties = {member: {"type": "array", "items": _ref(name)}, **more}
    return {"type": "object", "required": [member], "properties": properties}


_STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}


def _json(schema: dict[str, Any], *, stream: bool = False) -> dict[str, Any]:
    return {"application/json": {"schema": schema}} | (_STREAM if stream else {})


_ANSWERS: dict[tuple[str, str], dict[str, Any]] = {
    ("/health", "get"): _json({"type": "object", "properties": {"status": {"const": "ok"}}}),
    ("/ready", "get"): _json(_READY),
    ("/metrics", "get"): {
        "text/plain": {"schema": {"type": "string"}},
        "application/openmetrics-text": {"schema": {"type": "string"}},
    },
    ("/api/events", "get"): _STREAM,
    ("/api/reload", "post"): _json(_ref("Reload")),
    ("/api/servers", "get"): _json(_list_of("servers", "Server")),
    ("/api/servers/{server}", "get"): _json(_ref("Server")),
    ("/api/servers/{server}", "patch"): _json(_ref("Server")),
    ("/api/servers/{server}/restart", "post"): _json(_ref("Server")),
    ("/api/servers/{server}/logs", "get"): {"text/plain": {"schema": {"type": "string"}}} | _STREAM,
    ("/api/tools", "get"): _json(_list_of("tools", "Tool")),
    ("/api/tools/{server}/{tool}", "get"): _json(_ref("Tool")),
    ("/api/tools/{server}/{tool}", "patch"): _json(_ref("Tool")),
    ("/api/calls", "get"): _json(_list_of("calls", "Call", cursor={"type": ["string", "null"]})),
    ("/api/calls/export", "get"): {
        "application/jsonl": {"schema": {"type": "string", "description": "One call a line"}},
        "text/csv": {"schema": {"type": "string", "description": "RFC 4180, with a head"}},
    },
    ("/api/calls/{id}", "get"): _json(_ref("Call"), stream=True),
    ("/api/calls/{id}", "delete"): _json(_ref("Call")),
    ("/api/artifacts/{id}", "get"): _json(_ref("Result")),
    ("/api/artifacts/{id}", "head"): {},
    ("/api/sessions", "get"): _json(_list_of("sessions", "Session")),
    ("/api/sessions/{id}", "delete"): {},
    ("/api/me", "get"): _json(_ME),
    ("/api/keys", "get"): _json(_list_of("keys", "Key")),
    ("/api/keys", "post"): _json(_ref("Key")),
    ("/api/keys/{id}", "delete"): {},
}
_PART_HEADERS = {
    "Content-Range": {"schema": {"type": "string"}, "description": "Which bytes, and of how many"}
}
# What some routes answer besides.
_MORE_ANSWERS: dict[tuple[str, str], dict[str, Any]] = {
    ("/api/artifacts/{id}", "get"): {
        "206": {
            "description": "The range that was asked for",
            "headers": _PART_HEADERS,
            "content": {"application/json": {}},
        },
        "416": {
            "description": "There are no such bytes",
            "headers": _PART_HEADERS,
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
        },
    }
}
_RANGE_PARAMETER = {
    "name": "Range",
    "in": "header",
    "description": "One range of bytes, such as `bytes=0-65535` (RFC 9110)",
    "schema": {"type": "string"},
}
_BODIES = {
    ("/api/servers/{server}", "patch"): ["boolean", "null"],
    ("/api/tools/{server}/{tool}", "patch"): ["boolean"],
}


def _path_parameter(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
    }


_SERVER_PARAMETER = _path_parameter("server", "The server's id")
_TOOL_PARAMETER = _path_parameter("tool", "The tool's native name, percent-encoded once")


def _call_operation() -> dict[str, Any]:
    """The hot route, which FastAPI does not know."""
    return {
        "tags": ["tools"],
        "summary": "Call a tool",
        "operationId": "call_tool",
        "description": "The body is the arguments object. With `Accept: text/event-stream` the answer is a "
        "stream of `progress` and `log` events, then `result` or `error`.",
        "parameters": [
            _SERVER_PARAMETER,
            _TOOL_PARAMETER,
            {
                "name": "timeout",
                "in": "query",
                "description": "Seconds without an answer or progress",
                "schema": {"type": "number", "exclusiveMinimum": 0},
            },
            {
                "name": "Prefer",
                "in": "header",
                "description": "`respond-async` answers at once and leaves the call running (RFC 7240)",
                "schema": {"type": "string"},
            },
        ],
        "requestBody": {"required": True, "content": _json({"type": "object"})},
        "responses": {
            "200": {"description": "The result", "content": _json(_ref("Result"), stream=True)},
            "202": {
                "description": "The call is running",
                "headers": {"Location": {"schema": {"type": "string"}, "description": "/api/calls/{id}"}},
                "content": _json(
                    {
                        "type": "object",
                        "properties": {"id": {"type": "string"}, "state": {"const": "running"}},
                    }
                ),
            },
            **_problems(),
        },
    }


def _problems() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    by_status: dict[int, str] = {}
    for row in TABLE.values():
        by_status.setdefault(row.status, row.title)
    by_status |= {413: "The body is too large", 415: "The body is not JSON"}
    return {
        str(code): {"description": title, "content": content} for code, title in sorted(by_status.items())
    }


class Described(FastAPI):
    """FastAPI whose document is complete; made once, at its first request."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            written = get_openapi(title=self.title, version=self.version, routes=self.routes)
            self.openapi_schema = _complete(written)
        return self.openapi_schema


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    paths = {path.replace("{tool:path}", "{tool}"): item for path, item in document["paths"].items()}
    for path, item in paths.items():
        for method, operation in item.items():
            _complete_operation(path, method, operation)
    paths["/api/tools/{server}/{tool}"]["post"] = _call_operation()
    stopping = {"description": "The gateway is stopping", "content": _json(_READY)}
    paths["/ready"]["get"]["responses"]["503"] = stopping
    document["paths"] = dict(sorted(paths.items()))
    shapes = {"Problem": _PROBLEM, "Result": _RESULT, "Server": _SERVER, "Tool": _TOOL}
    shapes |= {"Call": _CALL, "Payload": _PAYLOAD}
    shapes |= {"Scopes": _SCOPES, "Key": _KEY, "Session": _SESSION}
    shapes |= {"Reload": _RELOAD, "ConfigProblem": _CONFIG_PROBLEM}
    document["components"] = {"schemas": shapes}
    return document


def _complete_operation(path: str, method: str, operation: dict[str, Any]) -> None:
    success = next(code for code in operation["responses"] if code.startswith("2"))
    answer = {
        "description": operation["responses"][success]["description"],
        "content": _ANSWERS[path, method],
    }
    operation["responses"] = {success: answer, **_MORE_ANSWERS.get((path, method), {}), **_problems()}
    if path == "/api/artifacts/{id}":
        operation["parameters"].append(_RANGE_PARAMETER)
    if path == "/api/tools/{server}/{tool}":
        operation["parameters"] = [_SERVER_PARAMETER, _TOOL_PARAMETER]
    if (path, method) == ("/api/keys", "post"):
        operation["requestBody"] = {"required": True, "content": _json(_NEW_KEY)}
    kinds = _BODIES.get((path, method))
    if kinds is not None:
        schema = {"type": "object", "required": ["enabled"], "properties": {"enabled": {"type": kinds}}}
        operation["requestBody"] = {
            "required": True,
            "content": _json({**schema, "additionalProperties": False}),
        }
