"""The shapes that REST answers with and takes, as JSON Schema, and the words for its tags and parameters.

Data only. `openapi.py` puts them into the document; `tests/faces` holds every answer against them.
"""

from typing import Any, Final

from mcp_gateway.access.caller import Right
from mcp_gateway.config.model import NAME_CHARS_MAX, PATTERNS_MAX
from mcp_gateway.config.pasted import TEXT_CHARS_MAX
from mcp_gateway.errors import TOOL_ERROR, Kind
from mcp_gateway.faces import openwebui_shapes

Shape = dict[str, Any]


def ref(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


PROBLEM: Final[Shape] = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "detail", "code", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence for a person"},
        "code": {"type": "string", "enum": [*(kind.value for kind in Kind), TOOL_ERROR]},
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
        "content": {
            "type": "array",
            "items": {},
            "description": "What a tool says besides words (tool_error)",
        },
    },
}
RESULT: Final[Shape] = {
    "type": "object",
    "description": "The MCP result as the server sent it, unknown members included. In place of one beyond "
    "10 MiB: its first part, a `resource_link`, and where all of it is in `_meta`, `mcp-gateway/artifact`.",
    "properties": {
        "content": {"type": "array", "items": {"type": "object"}},
        "structuredContent": {},
        "isError": {"type": "boolean", "description": "The tool itself reports failure"},
    },
}
CONFIG_PROBLEM: Final[Shape] = {
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
_NAMES: Final[Shape] = {"type": "array", "items": {"type": "string"}}
RELOAD: Final[Shape] = {
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
SERVER: Final[Shape] = {
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
        "readySince": {
            "type": ["number", "null"],
            "description": "Seconds since 1970; null while it is not ready",
        },
        "nextRetry": {"type": ["number", "null"], "description": "Seconds since 1970"},
        "enabled": {"type": "boolean"},
        "declared": {"type": "boolean", "description": "What the configuration says"},
        "override": {"type": ["boolean", "null"], "description": "What was switched at run time"},
        "transport": {"type": "string"},
        "protocolRevision": {"type": ["string", "null"]},
        "serverInfo": {"description": "As the server introduced itself"},
        "capabilities": {
            "type": ["object", "null"],
            "description": "As the server said when it was connected to",
        },
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
        "links": {
            "type": "array",
            "description": "What runs beside the link that all share: for single sessions, callers, an era",
            "items": {
                "type": "object",
                "required": ["for", "of", "state", "reason", "protocolRevision", "pid", "calls", "idle"],
                "properties": {
                    "for": {"enum": ["modern", "lease", "session", "caller", "look"]},
                    "of": {"type": ["string", "null"], "description": "A session's or a caller's id"},
                    "state": {"type": "string"},
                    "reason": {"type": ["string", "null"]},
                    "protocolRevision": {"type": ["string", "null"]},
                    "pid": {"type": ["integer", "null"]},
                    "calls": {"type": "integer"},
                    "idle": {"type": ["number", "null"], "description": "Seconds since its last call"},
                },
            },
        },
        "tools": {"type": "integer"},
        "toolTokens": {
            "type": "integer",
            "description": "An estimate of what the tools that are on take of a model's context: names, "
            "descriptions and input schemas, at four bytes a token",
        },
        "usage": {
            "type": ["object", "null"],
            "description": "What the server's processes take, for operators. At most two seconds old; in an "
            "event as it was last looked at; null where none run here, or none did then",
            "required": ["memoryBytes", "cpuPercent", "processes", "at"],
            "properties": {
                "memoryBytes": {
                    "type": "integer",
                    "description": "Resident; what processes share counts once for each",
                },
                "cpuPercent": {
                    "type": ["number", "null"],
                    "description": "Of one core, since the look before; null at the first",
                },
                "processes": {"type": "integer"},
                "at": {"type": "number", "description": "Seconds since 1970"},
            },
        },
        "resources": {"type": "integer"},
        "resourceTemplates": {"type": "integer"},
        "prompts": {"type": "integer"},
        "calls": {"type": "object", "additionalProperties": {"type": "integer"}},
        "lastError": {"type": ["string", "null"]},
        "exit": {"type": ["object", "null"], "description": "How the last process ended"},
        "counters": {"type": "object", "additionalProperties": {"type": "integer"}},
        "stderr": {"type": "array", "items": {"type": "string"}},
    },
}
_SOURCES: Final[Shape] = {
    "type": "array",
    "description": "Environment variables or headers; never what they hold",
    "items": {
        "type": "object",
        "required": ["name", "value", "from", "of"],
        "properties": {
            "name": {"type": "string"},
            "value": {"enum": ["set", "unset"], "description": "`unset`: a variable is missing"},
            "from": {"enum": ["literal", "variable", "file", "credential", "command"]},
            "of": {"type": ["string", "null"], "description": "Which variables, file, credential, program"},
        },
    },
}
_AS_WRITTEN: Final = "As written, with `<set>` in place of what looks like a secret"
_ARGUMENTS: Final[Shape] = {**_NAMES, "description": _AS_WRITTEN}
_ADDRESS: Final[Shape] = {"type": ["string", "null"], "description": _AS_WRITTEN}
PASTED: Final[Shape] = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {
            "type": "string",
            "minLength": 1,
            # In words: who tries out every bound would try it with texts of that length.
            "description": "The JSON of any MCP client, Codex's TOML, a command line, or a URL; "
            f"{TEXT_CHARS_MAX >> 10} KiB at most",
        },
        "name": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": NAME_CHARS_MAX,
            "description": "For a text with one server; else the name in the text, or one that fits it",
        },
    },
    "additionalProperties": False,
    "examples": [{"text": "npx -y @modelcontextprotocol/server-everything"}],
}
_PROPOSED_ONE: Final[Shape] = {
    "type": "object",
    "required": [
        *("id", "name", "guessed", "title", "transport", "argv", "url", "cwd", "env", "headers"),
        *("program", "taken", "problems", "warnings"),
    ],
    "properties": {
        "id": {"type": "string", "description": "Empty when nothing can be made of the name"},
        "name": {"type": "string"},
        "guessed": {"type": "boolean", "description": "The text gives it no name"},
        "title": {"type": "string"},
        "transport": {"enum": ["stdio", "http", "sse"]},
        "argv": {**_ARGUMENTS, "type": ["array", "null"]},
        "url": _ADDRESS,
        "cwd": {"type": ["string", "null"]},
        "env": _SOURCES,
        "headers": _SOURCES,
        "program": {
            "type": ["object", "null"],
            "description": "Where the command is found on this machine, or why it is not",
            "required": ["path", "reason"],
            "properties": {"path": {"type": ["string", "null"]}, "reason": {"type": ["string", "null"]}},
        },
        "taken": {"type": "boolean", "description": "There is a server with this id"},
        "problems": {
            "type": "array",
            "description": "It cannot be saved with these",
            "items": {
                "type": "object",
                "required": ["place", "message", "nearest"],
                "properties": {
                    "place": {"type": ["string", "null"]},
                    "message": {"type": "string"},
                    "nearest": {"type": ["string", "null"]},
                },
            },
        },
        "warnings": _NAMES,
    },
}
PROPOSED: Final[Shape] = {
    "type": "object",
    "description": "What a pasted text would add, and where it would be written",
    "required": ["entries", "file"],
    "properties": {
        "entries": {"type": "array", "items": _PROPOSED_ONE},
        "file": {
            "type": "object",
            "required": ["path", "writable", "reason"],
            "properties": {
                "path": {"type": ["string", "null"]},
                "writable": {"type": "boolean"},
                "reason": {"type": ["string", "null"], "description": "Why not, and what to do instead"},
            },
        },
    },
}
SERVER_CONFIG: Final[Shape] = {
    "type": "object",
    "description": "The configuration that holds for a server, defaults filled in",
    "required": ["id", "name", "declaredIn", "file", "line", "config", "overrides"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": ["string", "null"], "description": "As the file has it"},
        "declaredIn": {"enum": ["mcpServers", "servers", "addedServers", None]},
        "file": {"type": ["string", "null"]},
        "line": {"type": ["integer", "null"]},
        "config": {
            "type": "object",
            "description": "Every key by its name in the file; seconds and bytes as numbers",
            "required": ["command", "args", "url", "env", "headers", "enabled", "timeout", "tools"],
            "properties": {
                "command": {"type": ["string", "null"]},
                "args": _ARGUMENTS,
                "url": _ADDRESS,
                "env": _SOURCES,
                "headers": _SOURCES,
                "enabled": {"type": "boolean"},
                "timeout": {"type": "number"},
                "tools": {"type": "object"},
            },
        },
        "overrides": {
            "type": "object",
            "description": "What was switched at run time",
            "required": ["enabled", "toolsOff"],
            "properties": {"enabled": {"type": ["boolean", "null"]}, "toolsOff": _NAMES},
        },
    },
}
TOOL: Final[Shape] = {
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
SWITCHED_TOOLS_MAX: Final = 5_000  # at once
TOOLS_SWITCH: Final[Shape] = {
    "type": "object",
    "required": ["enabled", "tools"],
    "properties": {
        "enabled": {"type": "boolean"},
        "tools": {
            "type": "array",
            "description": "By their native names; one that is named twice counts once",
            "minItems": 1,
            "maxItems": SWITCHED_TOOLS_MAX,
            "items": {
                "type": "object",
                "required": ["server", "name"],
                "properties": {"server": {"type": "string"}, "name": {"type": "string"}},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
    "examples": [{"enabled": False, "tools": [{"server": "git", "name": "git_reset"}]}],
}
TOOLS_SWITCHED: Final[Shape] = {
    "type": "object",
    "required": ["tools", "changed"],
    "properties": {
        "tools": {"type": "integer", "description": "How many were named"},
        "changed": {"type": "integer", "description": "How many of them were switched the other way before"},
    },
}
_LISTED: Final[Shape] = {"server": {"type": "string"}, "name": {"type": "string"}}
RESOURCES: Final[Shape] = {
    "type": "object",
    "description": "As the servers define them, and whose they are; URIs are the servers' own",
    "required": ["resources", "resourceTemplates"],
    "properties": {
        member: {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["server", uri, "name"],
                "properties": {**_LISTED, uri: {"type": "string"}},
            },
        }
        for member, uri in (("resources", "uri"), ("resourceTemplates", "uriTemplate"))
    },
}
RESOURCE_RESULT: Final[Shape] = {
    "type": "object",
    "description": "As the server sent it; of one beyond 10 MiB its first part, and where all of it is",
    "properties": {"contents": {"type": "array", "items": {"type": "object"}}},
}
PROMPT: Final[Shape] = {
    "type": "object",
    "description": "The server's own definition, plus where it belongs",
    "required": ["server", "name", "exposedName"],
    "properties": {**_LISTED, "exposedName": {"type": "string"}},
}
PROMPT_RESULT: Final[Shape] = {
    "type": "object",
    "description": "As the server sent it",
    "properties": {"messages": {"type": "array", "items": {"type": "object"}}},
}
_KEPT: Final[Shape] = {
    "anyOf": [{"$ref": "#/components/schemas/Payload"}, {"type": "null"}],
    "description": "Of one call: the arguments, and the result or the server's error, while they are kept",
}
PAYLOAD: Final[Shape] = {
    "type": "object",
    "description": "What was said, with the secrets of the server replaced",
    "required": ["bytes", "truncated", "text"],
    "properties": {
        "bytes": {"type": "integer", "description": "Of the whole"},
        "truncated": {"type": "boolean", "description": "`text` is only the beginning"},
        "text": {"type": "string", "description": "The JSON as it was sent"},
    },
}
CALL: Final[Shape] = {
    "type": "object",
    "required": ["id", "started", "caller", "face", "server", "tool", "method", "target", "outcome"],
    "properties": {
        "id": {"type": "string"},
        "started": {"type": "number", "description": "Seconds since 1970"},
        "caller": {"type": "string"},
        "face": {"type": "string"},
        "right": {"type": ["string", "null"], "description": "Which right it took"},
        "action": {"type": ["string", "null"], "description": "Of what is no call, such as `key.create`"},
        "server": {"type": "string"},
        "tool": {"type": "string"},
        "method": {"type": ["string", "null"], "description": "Of MCP; null where `action` is not"},
        "target": {"type": ["string", "null"], "description": "The URI or prompt, where it is no tool"},
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
_COUNTS: Final[Shape] = {
    "calls": {"type": "integer"},
    "errors": {
        "type": "integer",
        "description": "Of them, all but `ok`, `running`, `cancelled` and `input_required`",
    },
}
_DURATIONS: Final[Shape] = {
    name: {
        "type": ["number", "null"],
        "description": f"{share} took no longer, within 5 %; null when none has ended that took time",
    }
    for name, share in (("p50Ms", "Half of them"), ("p95Ms", "19 of 20"))
}
_NUMBERS: Final[Shape] = {
    "type": "object",
    "required": ["calls", "errors", "p50Ms", "p95Ms"],
    "properties": {**_COUNTS, **_DURATIONS},
}
STATS: Final[Shape] = {
    "type": "object",
    "description": "Numbers over time: `buckets` and `totals`, or `servers` where that is asked for",
    "required": ["since", "until", "bucketSeconds", "truncated", "countedSince"],
    "properties": {
        "since": {"type": "number", "description": "Seconds since 1970"},
        "until": {"type": "number", "description": "Seconds since 1970"},
        "bucketSeconds": {"type": "number"},
        "truncated": {"type": "boolean", "description": "There were too many calls to count them all"},
        "countedSince": {"type": "number", "description": "What began before is not in the numbers"},
        "buckets": {
            "type": "array",
            "items": {
                **_NUMBERS,
                "required": ["at", *_NUMBERS["required"]],
                "properties": {
                    "at": {"type": "number", "description": "Where it begins; seconds since 1970"},
                    **_NUMBERS["properties"],
                },
            },
        },
        "totals": _NUMBERS,
        "servers": {
            "type": "object",
            "description": "By id, all that the caller sees",
            "additionalProperties": {
                "type": "object",
                "required": ["calls", "errors", "buckets"],
                "properties": {
                    **_COUNTS,
                    "buckets": {
                        "type": "array",
                        "items": {"type": "object", "required": ["calls", "errors"], "properties": _COUNTS},
                    },
                },
            },
        },
    },
}

READY: Final[Shape] = {
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


PATTERNS: Final[Shape] = {
    "type": ["array", "null"],
    "items": {"type": "string", "minLength": 1},
    "description": f"At most {PATTERNS_MAX}",
}
SCOPES: Final[Shape] = {
    "type": "object",
    "description": "What a key may do; `servers` and `tools` are patterns, and absent is all of them",
    "properties": {
        "rights": {"type": "array", "items": {"enum": [right.value for right in Right]}, "minItems": 1},
        "servers": PATTERNS,
        "tools": {
            **PATTERNS,
            "description": f"`read_*` of any server, `git/git_*` of one; at most {PATTERNS_MAX}",
        },
        "readOnly": {"type": "boolean", "description": "Only tools annotated as read-only"},
    },
}
KEY: Final[Shape] = {
    "type": "object",
    "required": ["id", "name", "caller", "scopes", "declared", "expired"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "caller": {"type": "string", "description": "As activity names who holds it"},
        "scopes": ref("Scopes"),
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
NEW_KEY: Final[Shape] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100, "description": "Plain text, one line"},
        "scopes": {
            "description": "Without any: to read and to call, everywhere. `exec` is for people alone",
            **SCOPES,
            "additionalProperties": False,
        },
        "expires": {
            "type": ["string", "number", "null"],
            "description": "A day, a time, or seconds since 1970; in the future",
        },
    },
    "additionalProperties": False,
    "examples": [{"name": "laptop"}, {"name": "reader", "scopes": {"rights": ["read"], "servers": ["git"]}}],
}
SESSION: Final[Shape] = {
    "type": "object",
    "required": [
        *("id", "client", "clientVersion", "revision", "transport", "endpoint", "caller"),
        *("begun", "seen", "streams", "calls"),
    ],
    "properties": {
        "id": {"type": "string", "description": "To close it with; not the id the client uses"},
        "client": {"type": "string", "description": "What the client calls itself; empty if it does not say"},
        "clientVersion": {"type": "string"},
        "revision": {"type": "string", "description": "Of MCP, such as 2025-11-25"},
        "transport": {"enum": ["streamable-http", "sse"]},
        "endpoint": {"type": "string", "description": "Such as `/mcp` or `/servers/git/mcp`"},
        "caller": {"type": "string", "description": "As activity names it"},
        "begun": {"type": "number", "description": "Seconds since 1970"},
        "seen": {"type": "number", "description": "When it asked something last; seconds since 1970"},
        "streams": {"type": "integer", "description": "Event streams that are open"},
        "calls": {"type": "integer", "description": "Calls that are running"},
    },
}
ME: Final[Shape] = {
    "type": "object",
    "required": ["caller", "name", "rights", "scopes", "signedInUntil", "elevatedUntil"],
    "properties": {
        "caller": {"type": "string", "description": "As activity names it"},
        "name": {"type": ["string", "null"]},
        "rights": {"type": "array", "items": {"enum": [right.value for right in Right]}},
        "scopes": {"type": "array", "items": ref("Scopes")},
        "signedInUntil": {
            "type": ["number", "null"],
            "description": "Seconds since 1970, if nothing is asked until then; null for who has no cookie",
        },
        "elevatedUntil": {
            "type": ["number", "null"],
            "description": "Seconds since 1970; until then a sign-in has `exec` and `admin`, too",
        },
    },
}
SIGN_IN: Final[Shape] = {
    "type": "object",
    "description": "Exactly one of them",
    "properties": {
        "password": {"type": "string", "maxLength": 1024},
        "code": {"type": "string", "maxLength": 1024, "description": "The one-time code of the console"},
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
LOG_LINE: Final[Shape] = {
    "type": "object",
    "required": ["number", "at", "source", "text"],
    "properties": {
        "number": {"type": "integer", "description": "Counts up, from the start of the gateway"},
        "at": {"type": "number", "description": "Seconds since 1970"},
        "source": {"enum": ["stderr", "stdout", "gateway"]},
        "text": {"type": "string"},
    },
}
CATALOG_CHANGE: Final[Shape] = {
    "type": "object",
    "required": ["version"],
    "properties": {"version": {"type": "integer", "description": "Of all lists together"}},
}
CALL_RUNNING: Final[Shape] = {
    "type": "object",
    "required": ["id", "state"],
    "properties": {"id": {"type": "string"}, "state": {"const": "running"}},
}

_SENTENCES: Final[Shape] = {"type": "array", "items": {"type": "string"}}
CONNECT: Final[Shape] = {
    "type": "object",
    "required": ["urls", "server", "users", "reach", "needsKey", "notes", "openWebUi", "clients"],
    "properties": {
        "urls": {
            "type": "object",
            "required": ["base", "mcp", "sse", "tools", "offered"],
            "properties": {
                "base": {"type": "string"},
                "mcp": {"type": ["string", "null"], "description": "Null where MCP is closed"},
                "sse": {"type": ["string", "null"], "description": "HTTP+SSE, for older clients"},
                "tools": {"type": "string", "description": "OpenAPI: its document is `openapi.json` below"},
                "offered": {**_SENTENCES, "description": "What `url` takes; the first is how you came here"},
            },
        },
        "server": {"type": ["string", "null"]},
        "reach": {
            "enum": ["machine", "network", "tailnet", "internet"],
            "description": "From where the address can be reached at best, as far as it tells",
        },
        "needsKey": {"type": "boolean"},
        "users": {"enum": ["all", "administrators"], "description": "Of Open WebUI: who may use the tools"},
        "notes": _SENTENCES,
        "openWebUi": {"$ref": "#/components/schemas/OpenWebUiReaching"},
        "clients": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "name", "works", "sendsKey", "snippets", "notes", "limits"],
                "properties": {
                    "id": {"type": "string"},
                    "name": {"type": "string"},
                    "works": {"type": "boolean", "description": "At this address, with this gateway"},
                    "why": {"type": "string", "description": "It does not"},
                    "sendsKey": {"type": "boolean", "description": "Whether it can send an API key"},
                    "choose": {"type": "string", "description": "When to take this of several ways"},
                    "link": {"type": "string", "description": "Opens the client; holds no key"},
                    "notes": _SENTENCES,
                    "limits": _SENTENCES,
                    "snippets": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["title", "language", "text"],
                            "properties": {
                                "title": {"type": "string"},
                                "language": {"enum": ["json", "toml", "yaml", "sh"]},
                                "file": {"type": "string", "description": "Where the text belongs"},
                                "download": {"type": "string", "description": "A path that gives a file"},
                                "text": {"type": "string"},
                            },
                        },
                    },
                },
            },
        },
    },
}

_COUNT: Final[Shape] = {"type": "integer", "minimum": 0}
_OPERATORS: Final[Shape] = {**_SENTENCES, "description": "Who may operate; all others read and call"}
ACCESS: Final[Shape] = {
    "type": "object",
    "required": [
        *("guarded", "because", "listening", "publicUrls", "corsOrigins", "mcp", "tailscale", "trustedProxy"),
        *("limits", "password", "code", "keys", "signIns", "rules", "warnings"),
    ],
    "properties": {
        "guarded": {"type": "boolean", "description": "Everybody has to say who they are; else it is open"},
        "because": {**_SENTENCES, "description": "The settings that make it so; `host` is where it listens"},
        "listening": {
            "type": "object",
            "required": ["address", "port", "exposed", "socket"],
            "properties": {
                "address": {"type": "string"},
                "port": {"type": "integer"},
                "exposed": {"type": "boolean", "description": "Other machines reach it"},
                "socket": {"type": ["string", "null"], "description": "The path of a unix socket"},
            },
        },
        "publicUrls": _SENTENCES,
        "corsOrigins": {**_SENTENCES, "description": "Pages there may call with an API key"},
        "mcp": {"type": "boolean", "description": "There are MCP endpoints"},
        "tailscale": {
            "type": "object",
            "required": ["identity", "operators", "capability"],
            "properties": {
                "identity": {"type": "boolean"},
                "operators": _OPERATORS,
                "capability": {"type": ["string", "null"], "description": "What grants rights to the others"},
            },
        },
        "trustedProxy": {
            "type": ["object", "null"],
            "description": "Believed with every proof that is named",
            "required": ["userHeader", "operators", "uid", "addresses", "secret"],
            "properties": {
                "userHeader": {"type": "string"},
                "operators": _OPERATORS,
                "uid": {"type": ["integer", "null"]},
                "addresses": _SENTENCES,
                "secret": {"type": "boolean", "description": "It has to show one"},
            },
        },
        "limits": {
            "type": "object",
            "required": ["body", "rate", "burst", "concurrency"],
            "properties": {
                "body": {**_COUNT, "description": "Bytes of a request"},
                "rate": {**_COUNT, "description": "Requests of one caller a second"},
                "burst": {**_COUNT, "description": "So many of them at once"},
                "concurrency": {**_COUNT, "description": "Calls of one caller under way"},
            },
        },
        "password": {"type": "boolean", "description": "One can sign in with a password"},
        "code": {"type": "boolean", "description": "The one-time code that works is in its file"},
        "keys": {
            "type": "object",
            "required": ["declared", "made", "expired"],
            "properties": {"declared": _COUNT, "made": _COUNT, "expired": _COUNT},
        },
        "signIns": _COUNT,
        "rules": {**_SENTENCES, "description": "What is in force, in sentences for a person"},
        "warnings": _SENTENCES,
    },
}
SIGNED_IN: Final[Shape] = {
    "type": "object",
    "required": [
        *("id", "caller", "name", "way", "adds", "face", "from", "since", "seen", "until"),
        *("elevatedUntil", "yours"),
    ],
    "properties": {
        "id": {"type": "string", "description": "To end it with; it opens nothing"},
        "caller": {"type": "string", "description": "As activity names it"},
        "name": {"type": ["string", "null"]},
        "way": {"enum": ["password", "code"]},
        "adds": {"type": "boolean", "description": "To rights that its caller has without it"},
        "face": {"type": "string"},
        "from": {"type": ["string", "null"], "description": "The address, behind a proxy that of the proxy"},
        "since": {"type": "number", "description": "Seconds since 1970"},
        "seen": {"type": "number", "description": "When it was used last; seconds since 1970"},
        "until": {"type": "number", "description": "Seconds since 1970, if nothing is asked until then"},
        "elevatedUntil": {"type": ["number", "null"], "description": "Until then it may administer"},
        "yours": {"type": "boolean", "description": "It is the one that asks"},
    },
}

SCHEMAS: Final[dict[str, Shape]] = {
    "Access": ACCESS,
    "Call": CALL,
    "CallRunning": CALL_RUNNING,
    "CatalogChange": CATALOG_CHANGE,
    "ConfigProblem": CONFIG_PROBLEM,
    "Connect": CONNECT,
    "Key": KEY,
    "LogLine": LOG_LINE,
    "Me": ME,
    "NewKey": NEW_KEY,
    "Pasted": PASTED,
    "Payload": PAYLOAD,
    "Problem": PROBLEM,
    "Prompt": PROMPT,
    "PromptResult": PROMPT_RESULT,
    "Proposed": PROPOSED,
    "Ready": READY,
    "Reload": RELOAD,
    "ResourceResult": RESOURCE_RESULT,
    "Resources": RESOURCES,
    "Result": RESULT,
    "Scopes": SCOPES,
    "Server": SERVER,
    "ServerConfig": SERVER_CONFIG,
    "Session": SESSION,
    "SignIn": SIGN_IN,
    "SignedIn": SIGNED_IN,
    "Stats": STATS,
    "Tool": TOOL,
    "ToolsSwitch": TOOLS_SWITCH,
    "ToolsSwitched": TOOLS_SWITCHED,
    **openwebui_shapes.SCHEMAS,
}

TAGS: Final = {
    "servers": "What runs behind the gateway: states, switches, logs",
    "tools": "What the servers offer, and calling it",
    "resources": "What the servers have to read",
    "prompts": "What the servers have to begin with",
    "calls": "Activity: what was called, by whom, how it ended; and large results",
    "events": "What changes, as it happens",
    "callers": "Who is asking, and with which rights: API keys, signing in",
    "sessions": "Connected MCP clients",
    "gateway": "The gateway itself",
    "probes": "For supervisors and monitoring",
}

# A name means the same wherever it stands.
PARAMETERS: Final = {
    "server": "The server's id",
    "tool": "The tool's native name",
    "prompt": "The prompt's native name",
    "token": "The ticket of a link; without one the caller is who asks",
    "url": "One of the gateway's addresses, from `urls.offered`",
    "users": "Who may use the tools in Open WebUI: `all`, or `administrators` alone",
    "way": "How Open WebUI is to talk to the gateway: `openapi` or `mcp`",
    "uri": "The resource's URI, as its server writes it",
    "kind": "`calls`, or `actions`: what people did to the gateway itself",
    "method": "Of MCP, such as `tools/call` or `resources/read`",
    "id": "The id, as an earlier answer gave it",
    "search": "Words that name or description hold",
    "caller": "Who called, such as `local`",
    "face": "The way in, such as `rest` or `mcp`",
    "outcome": "How the call ended, such as `ok`, `tool_error` or the `code` of a problem",
    "action": "What was done that is no call, such as `key.create`",
    "since": "Begun then or later; seconds since 1970",
    "until": "Begun before then; seconds since 1970",
    "buckets": "Into how many stretches of the same length the time is divided",
    "by": "`server` counts calls and errors of each server",
    "cursor": "Where to go on: `cursor` of the page before, unchanged",
    "limit": "How many at most, the newest first",
    "format": "One JSON object a line, or a table",
    "tail": "How many of the last lines",
    "timeout": "Seconds without an answer or progress, before the call is given up",
    "X-Session-Id": "Names a session of the caller, with a process of its own at servers that isolate them",
    "Prefer": "`respond-async` answers at once and leaves the call running (RFC 7240)",
    "Range": "One range of bytes (RFC 9110)",
    "If-None-Match": "The `ETag` of what is known already (RFC 9110)",
    "ticket": "As the link has it",
    "dialect": "Schemas as language models and Open WebUI take them, or `exact` as servers wrote them",
}
