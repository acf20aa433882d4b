"""What the routes of Open WebUI's code answer, as JSON Schema. For `faces/openapi.py`."""

from typing import Final

from mcp_gateway.faces.shapes import Shape

TOOLKITS: Final[Shape] = {
    "type": "array",
    "description": "What Open WebUI takes under Workspace > Tools > Import",
    "items": {
        "type": "object",
        "required": ["id", "name", "content", "meta"],
        "additionalProperties": False,
        "properties": {
            "id": {
                "type": "string",
                "pattern": "^[a-z][a-z0-9_]*$",
                "description": "The same each time, of one server and no other",
            },
            "name": {"type": "string"},
            "content": {"type": "string", "description": "Python: a class `Tools`"},
            "meta": {
                "type": "object",
                "required": ["description", "manifest"],
                "properties": {
                    "description": {"type": "string"},
                    "manifest": {"type": "object", "description": "Open WebUI reads it from the code"},
                },
            },
        },
    },
}
LINK: Final[Shape] = {
    "type": "object",
    "required": ["url", "expires"],
    "additionalProperties": False,
    "properties": {
        "url": {"type": "string", "description": "For Workspace > Tools > Import from URL"},
        "expires": {"type": "number", "description": "Seconds since 1970"},
    },
}
