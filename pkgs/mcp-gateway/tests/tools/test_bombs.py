"""Schemas that were made to hurt (faults F062 to F075): that tool alone suffers, the document is valid."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.harness import Gateway, hostile
from tests.tools.conftest import saying


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def doubling(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": defs | {f"d{levels}": {"type": "object"}}}


BOMBS: dict[str, Any] = {
    "cycle": {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"},
    "tree": {
        "properties": {"root": {"$ref": "#/$defs/N"}},
        "$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}},
    },
    "doubling": doubling(60),
    "enum": {"properties": {"a": {"enum": [f"value {n}" for n in range(60_000)]}}},
    "wide": {"properties": {f"p{n}": {"type": "string", "description": "x" * 40} for n in range(10_000)}},
    "pattern": {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
    "network": {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}},
    "file": {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "nonsense": {"type": "strnig", "properties": [], "required": "a", "enum": {}},
    "nowhere": {"properties": {"a": {"$ref": "#/$defs/none"}}},
    "key": {"properties": {"k" * 10_000: {"type": "string"}}},
    "fine": {"properties": {"a": {"type": "string"}}, "required": ["a"]},
}


@pytest.fixture(scope="module")
def bombed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("bombed")
    tools = [{"name": name, "inputSchema": {"type": "object"} | schema} for name, schema in BOMBS.items()]
    tools.append({"name": "deep", "inputSchema": {"type": "object", "properties": {"a": deep(150)}}})
    tools.append({"name": "out", "inputSchema": {"type": "object"}, "outputSchema": BOMBS["cycle"]})
    servers = {"bombs": saying(directory / "bombs", tools), "good": hostile("good")}
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway


@pytest.mark.parametrize("dialect", ["inlined", "exact"])
def test_the_document_is_valid_with_every_tool_in_it(bombed: Gateway, dialect: str) -> None:
    document = bombed.get(f"/tools/openapi.json?dialect={dialect}").json()
    OpenAPIV31SpecValidator(document).validate()
    paths = {path for path in document["paths"] if path.startswith("/bombs/")}
    assert paths == {f"/bombs/{name}" for name in (*BOMBS, "deep", "out")}
    fine = document["paths"]["/bombs/fine"]["post"]
    assert fine["requestBody"]["content"]["application/json"]["schema"]["required"] == ["a"]
    assert "x-mcp-schema-note" not in fine
    text = json.dumps(document)
    assert '"$ref": "http' not in text
    assert '"$ref": "file' not in text


def test_what_could_not_be_shown_is_said(bombed: Gateway) -> None:
    document = bombed.get("/tools/bombs/openapi.json").json()
    noted = {path for path, item in document["paths"].items() if "x-mcp-schema-note" in item["post"]}
    assert noted >= {"/wide", "/deep", "/nonsense"}


@pytest.mark.parametrize("tool", [*BOMBS, "deep", "out"])
def test_every_one_of_them_can_be_called(bombed: Gateway, tool: str) -> None:
    arguments = {"a": "b", "root": {"next": {"next": {}}}}
    answer = bombed.request("POST", f"/tools/bombs/{tool}", arguments)
    assert answer.status == 200, answer
    assert json.loads(answer.json().removeprefix("got ")) == arguments


def test_a_server_of_very_many_tools_has_a_document_of_those_that_are_kept(tmp_path: Path) -> None:
    tools = [{"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(50_000)]
    with Gateway({"many": saying(tmp_path / "many", tools)}, tmp_path / "gateway") as gateway:
        gateway.wait_for_state("many", "ready", timeout_s=20)
        listed = gateway.get("/api/tools").json()["tools"]
        assert len(gateway.get("/tools/openapi.json").json()["paths"]) == len(listed) == 2_000
