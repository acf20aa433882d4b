"""What an endpoint says of itself: who it is, what it can, and what of that its servers are told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faces.knocking import Mcp, Modern, check_log, shelf
from tests.harness import Gateway, hostile

VIEWS = {"mimeTypes": ["text/html;profile=mcp-app"]}
UI = "io.modelcontextprotocol/ui"
TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
TASKS: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
INFO = {"name": "old", "title": "Old", "version": "1.0", "websiteUrl": "https://x.test", "x-new": [1.0, None]}
DECLARED = [{"name": "declared", "inputSchema": {"type": "object"}}]
EXTENSIONS: dict[str, Any] = {UI: {}, TASKS_EXTENSION: {"x": 1}, "x.test/new": {}}
CHANGES = {"listChanged": True}
ALWAYS = {"tools": CHANGES, "resources": CHANGES}

SPECS: dict[str, dict[str, Any]] = {
    "old": {
        "info": INFO,
        "tools": DECLARED,
        "capabilities": {
            "tools": {"x": 1},
            "logging": {"x": 1},
            "extensions": {UI: VIEWS, "x.test/other": {}, "x.test/odd": 7},
            "experimental": {"x.test/a": {"deep": [1.0]}},
            "tasks": TASKS,
            "odd": None,
        },
    },
    "new": {"era": "modern", "info": {"name": "new", "version": "2"}, "tools": DECLARED}
    | {"capabilities": {"tools": {}, "logging": {}, "experimental": {"y": {}}, "extensions": EXTENSIONS}},
    "nameless": {"info": {"title": "no name"}, "capabilities": {"tools": {}}},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("promises")
    servers = {name: shelf(directory, name, spec) for name, spec in SPECS.items()}
    servers["never"] = hostile("silent")
    with Gateway(servers, directory / "gateway") as gateway:
        for server in SPECS:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def introduction(gateway: Gateway, server: str | None = None) -> dict[str, Any]:
    return Mcp(gateway, "/mcp" if server is None else f"/servers/{server}/mcp").introduction


def test_at_its_own_endpoint_a_server_is_who_it_says(gateway: Gateway) -> None:
    assert introduction(gateway, "old")["serverInfo"] == INFO
    assert introduction(gateway, "new")["serverInfo"] == {"name": "new", "version": "2"}
    for server in ("nameless", "never", None):  # nothing that clients could read; not yet known; of all
        assert introduction(gateway, server)["serverInfo"]["name"] == "mcp-gateway"


def test_what_a_server_said_is_promised_at_its_own_endpoint_as_far_as_it_is_relayed(gateway: Gateway) -> None:
    theirs = SPECS["old"]["capabilities"]
    assert introduction(gateway, "old")["capabilities"] == {
        **ALWAYS,
        "logging": {},
        "extensions": {UI: VIEWS},
        "experimental": theirs["experimental"],
        "tasks": TASKS,
    }
    assert introduction(gateway, "nameless")["capabilities"] == ALWAYS
    # To a client of the other era a server's methods do not pass; its views and log messages do.
    assert introduction(gateway, "new")["capabilities"] == {**ALWAYS, "logging": {}, "extensions": {UI: {}}}


def test_what_is_not_known_yet_may_turn_out_to_be_there(gateway: Gateway) -> None:
    said = introduction(gateway, "never")["capabilities"]
    always = {**ALWAYS, "resources": {"subscribe": True, **CHANGES}}
    assert said == {**always, "prompts": CHANGES, "completions": {}, "logging": {}}


def test_over_all_servers_only_what_is_relayed_for_all_is_promised(gateway: Gateway) -> None:
    said = introduction(gateway)["capabilities"]
    assert said["extensions"] == {UI: VIEWS}
    assert said["tasks"] == {"cancel": {}, "requests": TASKS["requests"]}, "there is no list over all servers"
    assert said.keys() == {*ALWAYS, "prompts", "completions", "logging", "extensions", "tasks"}


@pytest.mark.parametrize("server", ["old", "new"])
def test_servers_are_told_that_views_are_relayed_and_nothing_that_lets_them_ask(
    gateway: Gateway, server: str
) -> None:
    result = Mcp(gateway, f"/servers/{server}/mcp").call("declared")["result"]
    assert json.loads(result["content"][0]["text"]) == {"extensions": {UI: VIEWS}}


def test_a_modern_client_is_promised_what_its_declarations_reach(gateway: Gateway) -> None:
    said = Modern(gateway, "/servers/new/mcp").ask("server/discover")
    always: dict[str, Any] = {**ALWAYS, "logging": {}}
    assert said["capabilities"] == {**always, "experimental": {"y": {}}, "extensions": EXTENSIONS}
    assert said["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "new", "version": "2"}
    older = Modern(gateway, "/servers/old/mcp").ask("server/discover")
    assert older["capabilities"] == {**always, "extensions": {UI: VIEWS}}
    assert older["_meta"]["io.modelcontextprotocol/serverInfo"] == INFO
    whole = Modern(gateway).ask("server/discover")
    assert whole["capabilities"]["extensions"] == {UI: VIEWS, TASKS_EXTENSION: {"x": 1}}
    assert whole["capabilities"].keys() == {*always, "prompts", "completions", "extensions"}
    assert whole["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcp-gateway"
    assert Modern(gateway, "/servers/new/mcp").ask("tools/list")["_meta"] == said["_meta"]
