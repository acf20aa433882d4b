"""What a model in a real Open WebUI sees of tools: names, descriptions and schemas, and nothing is lost."""

from typing import Any

import pytest

from tests.openwebui_real.model import Model
from tests.openwebui_real.ways import CODE, MCP, OPENAPI, SERVERS, WAYS, Way
from tests.openwebui_real.webui import WebUI
from tests.security.cast import Guarded

pytestmark = pytest.mark.timeout(400)


def seen(webui: WebUI, model: Model, way: Way) -> dict[str, dict[str, Any]]:
    """The functions that a model is given in a chat, by name."""
    sentence = f"What can you do by {way.id}?"
    model.teach(sentence, says="This and that.")
    webui.chat(sentence, *way.tool_ids)
    asked = model.asked(sentence)[-1]
    functions = [tool["function"] for tool in asked["tools"]]
    found = {function["name"]: function for function in functions}
    assert len(found) == len(functions)
    return found


def untitled(schema: Any) -> Any:
    """Without titles, which Open WebUI leaves out of what it reads from code."""
    if isinstance(schema, list):
        return [untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: untitled(one) for name, one in schema.items() if name != "title" or not isinstance(one, str)
    }


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
    pages = (gateway.get(f"/api/tools?server={server}").json()["tools"] for server in SERVERS)
    tools = {tool["exposedName"]: tool for page in pages for tool in page}
    found = {name.removeprefix(MCP.names): function for name, function in seen(webui, model, MCP).items()}
    assert found.keys() == tools.keys()
    for name, function in found.items():
        assert function["parameters"] == tools[name]["inputSchema"], name
        assert function["description"] == tools[name]["description"], name


def test_through_code_a_model_sees_what_the_document_says(
    webui: WebUI, model: Model, gateway: Guarded
) -> None:
    through_openapi, found = (seen(webui, model, way) for way in (OPENAPI, CODE))
    assert found.keys() == {name.replace("-", "_") for name in through_openapi}
    for name, other in through_openapi.items():
        function = found[name.replace("-", "_")]
        shown, wanted = function["parameters"], other["parameters"]
        assert shown["properties"].keys() == wanted["properties"].keys(), name
        assert untitled(shown["properties"]) == untitled(wanted["properties"]), name
        assert sorted(shown.get("required", [])) == sorted(wanted.get("required", [])), name
        assert function["description"] == other["description"], name


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_choices_limits_nested_objects_and_defaults_are_all_there(
    webui: WebUI, model: Model, way: Way
) -> None:
    found = seen(webui, model, way)

    def argument(server: str, tool: str, name: str) -> dict[str, Any]:
        shown: dict[str, Any] = found[way.name(server, tool)]["parameters"]["properties"][name]
        return shown

    assert argument("everything", "get-structured-content", "location")["enum"][0] == "New York"
    count = argument("everything", "get-resource-links", "count")
    assert (count["type"], count["minimum"], count["maximum"], count["default"]) == ("number", 1, 10, 3)
    entity = argument("memory", "create_entities", "entities")["items"]
    assert set(entity["required"]) == {"name", "entityType", "observations"}
    assert entity["properties"]["observations"]["items"] == {"type": "string"}
    assert argument("filesystem", "read_multiple_files", "paths")["minItems"] == 1
    assert argument("filesystem", "edit_file", "dryRun")["default"] is False
    optional = found[way.name("git", "git_log")]["parameters"]
    assert optional["required"] == ["repo_path"]
    assert optional["properties"]["max_count"]["type"] == "integer"
    assert set(argument("time", "get_current_time", "timezone")) >= {"type", "description"}
