"""The shapes of what concerns Open WebUI, as JSON Schema; part of `shapes.py`. Data only."""

from typing import Any, Final

Shape = dict[str, Any]

_TONE: Final[Shape] = {"enum": ["good", "uneasy", "bad"]}
_SENTENCE: Final[Shape] = {"type": "string", "description": "A sentence for a person"}
_COUNT: Final[Shape] = {"type": ["integer", "null"], "minimum": 0}
# Of the Connect page: who goes where, and what the gateway knows of the way.
REACHING: Final[Shape] = {
    "type": "object",
    "description": "For Open WebUI, whose server and whose users' browsers may need different addresses",
    "required": ["forServer", "forBrowser", "findings"],
    "properties": {
        "forServer": {"type": "string", "description": "The address that its server probably has"},
        "forBrowser": {"type": "string", "description": "The address for tool servers that users add"},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["side", "tone", "says"],
                "properties": {"side": {"enum": ["server", "browser"]}, "tone": _TONE, "says": _SENTENCE},
            },
        },
    },
}
CONNECTION: Final[Shape] = {
    "type": "object",
    "description": "A connection as Open WebUI keeps it, imports it and exports it",
    "required": ["type", "url", "path", "auth_type", "key", "config", "info"],
    "properties": {
        "type": {"enum": ["openapi", "mcp"]},
        "url": {"type": "string"},
        "path": {"type": "string"},
        "spec_type": {"const": "url"},
        "spec": {"type": "string"},
        "auth_type": {"enum": ["bearer", "none"]},
        "key": {"type": "string", "description": "A placeholder, where one is needed"},
        "config": {"type": "object"},
        "info": {"type": "object"},
    },
}
WANTED: Final[Shape] = {
    "type": "object",
    "required": ["url", "key", "gatewayUrl"],
    "properties": {
        "url": {
            "type": "string",
            "minLength": 1,
            "maxLength": 500,
            "description": "Open WebUI's, as the gateway reaches it; as in `https://chat.example.com`",
        },
        "key": {
            "type": "string",
            "minLength": 1,
            "maxLength": 4096,
            "description": "Of an administrator of Open WebUI; used once and not kept",
        },
        "way": {"enum": ["openapi", "mcp"], "default": "openapi"},
        "server": {"type": ["string", "null"], "description": "Only this one"},
        "gatewayUrl": {
            "type": "string",
            "minLength": 1,
            "maxLength": 500,
            "description": "The gateway's, as Open WebUI reaches it; as in `http://gateway:8085`",
        },
        "gatewayKey": {
            "type": "string",
            "maxLength": 4096,
            "description": "A key of the gateway for Open WebUI; none where the gateway is open",
        },
        "makeKey": {"type": "boolean", "description": "Make one, with the rights `read` and `call`"},
        "forAllUsers": {"type": "boolean", "description": "Else only administrators of Open WebUI"},
    },
    "additionalProperties": False,
    "examples": [
        {
            "url": "http://127.0.0.1:1",
            "key": "sk-example",
            "gatewayUrl": "http://gateway:8085",
            "forAllUsers": True,
        }
    ],
}
CHECKED: Final[Shape] = {
    "type": "object",
    "required": ["ok", "connected", "tools", "others", "replaces", "findings"],
    "properties": {
        "ok": {"type": "boolean", "description": "Open WebUI can use the connection"},
        "connected": {"type": "boolean", "description": "The connection is in its list now"},
        "tools": {**_COUNT, "description": "How many it finds; null where it finds nothing out"},
        "others": {**_COUNT, "description": "How many other connections it has"},
        "replaces": {"type": ["boolean", "null"], "description": "It has or had one with the same id"},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tone", "says"],
                "properties": {"tone": _TONE, "says": _SENTENCE},
            },
        },
    },
}
SCHEMAS: Final[dict[str, Shape]] = {
    "OpenWebUiChecked": CHECKED,
    "OpenWebUiConnection": CONNECTION,
    "OpenWebUiReaching": REACHING,
    "OpenWebUiWanted": WANTED,
}
