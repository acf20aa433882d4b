"""One gateway for the tests of the tool API, with a server that says what it is told to."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Gateway, hostile

SAYING = Path(__file__).with_name("saying.py")
FREE: dict[str, Any] = {"name": "free", "inputSchema": {"type": "object"}}
STRICT: dict[str, Any] = {
    "name": "strict",
    "description": "Takes what it says",
    "inputSchema": {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "minimum": 1},
            "ratio": {"type": "number"},
            "force": {"type": "boolean"},
            "filter": {"type": "object", "properties": {"deep": {"$ref": "#/$defs/Deep"}}},
            "names": {"type": "array", "items": {"type": "string"}},
            "note": {"type": "string"},
        },
        "required": ["count"],
        "additionalProperties": False,
        "$defs": {"Deep": {"type": "integer"}},
    },
}
NAMES = ["a b", "a/b", "a%2Fb", "{x}", "ünï", "q?a=1#f", "openapi.json", "x" * 90, "\u2028"]


def saying(directory: Path, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The configuration of a server with these tools."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "tools.json"
    file.write_text(json.dumps(tools))
    return {"command": sys.executable, "args": ["-I", "-S", str(SAYING), str(file)]}


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("tools")
    odd = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]
    servers = {
        "saying": saying(directory / "saying", [FREE, STRICT, *odd]),
        "good": hostile("good"),
        "other": hostile("good"),
    }
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
