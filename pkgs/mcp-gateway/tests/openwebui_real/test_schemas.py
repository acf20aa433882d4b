"""What a model in a real Open WebUI sees of tools: names, descriptions and schemas, and nothing is lost."""

from typing import Any

import pytest

from tests.openwebui_real.model import Model
from tests.openwebui_real.ways import MCP, OPENAPI, Way
from tests.openwebui_real.webui import WebUI
from tests.security.cast import Guarded

SERVERS = ("everything", "filesystem", "memory", "git", "time")
pytestmark = pytest.mark.timeout(300)


def seen(webui: WebUI, model: Model, way: Way) -> dict[str, dict[str, Any]]:
    """The functions that a model is given in a chat, by name."""
    sentence = f"What can you do by {way.id}?"
    model.teach(sentence, says="This and that.")
    webui.chat(sentence, way.tool_id)
    (asked,) = model.asked(sentence)
    functions = [tool["function"] for tool in asked["tools"]]
    found = {function["name"]: function for function in functions}
    assert len(found) == len(functions)
    return found


def test_through_openapi_a_model_sees_what_the_document_says(
    webui: WebUI, model: Model, gateway: Guarded
) -> None:
    document = gateway.as_("caller").get("/tools/openapi.json").json()
    operations = {path["post"]["operationId"]: path["post"] for path in document["paths"].values()}
    found = seen(webui, model, OPENAPI)
    assert found.keys() == operations.keys()
    assert {name.partition("__")[0] for name in found} == set(SERVERS)
    for name, function in found.items():
        operation = operations[name]
        said = operation["requestBody"]["content"]["application/json"]["schema"]
        shown = function["parameters"]
        assert shown["type"] == "object"
        assert shown["properties"] == said.get("properties", {}), name
        assert sorted(shown.get("required", [])) == sorted(said.get("required", [])), name
        assert function["description"] == operation["description"], name


def test_through_mcp_a_model_sees_what_the_server_said(webui: WebUI, model: Model, gateway: Guarded) -> None:
    tools = {tool["name"]: tool for tool in gateway.get("/api/tools").json()["tools"]}
    found = {name.removeprefix(MCP.names): function for name, function in seen(webui, model, MCP).items()}
    assert found.keys() == tools.keys()
    for name, function in found.items():
        assert function["parameters"] == tools[name]["inputSchema"], name
        assert function["description"] == tools[name]["description"], name
