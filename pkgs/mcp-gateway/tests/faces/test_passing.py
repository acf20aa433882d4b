"""Methods that the gateway does not know: at a server's own endpoint they are the server's, as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, Modern, check_log, check_rpc_error, shelf
from tests.harness import Gateway, hostile
from tests.security.cast import Guarded, wait_ready

TOOL = {"name": "link", "inputSchema": {"type": "object"}}
SPECS: dict[str, dict[str, Any]] = {
    "old": {"capabilities": {"tools": {}}, "tools": [TOOL]},
    "new": {"era": "modern", "capabilities": {"tools": {}}, "tools": [TOOL]},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("passing")
    servers = {name: shelf(directory, name, spec) for name, spec in SPECS.items()}
    servers |= {"never": hostile("silent"), "off": {**hostile("good"), "enabled": False}}
    with Gateway(servers, directory / "gateway") as gateway:
        for server in SPECS:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def at(gateway: Gateway, server: str) -> Mcp:
    return Mcp(gateway, f"/servers/{server}/mcp")


def newest(gateway: Gateway) -> dict[str, Any]:
    row: dict[str, Any] = gateway.get("/api/calls?limit=1").json()["calls"][0]
    return row


@pytest.mark.parametrize("method", ["x/look", "x/a.b-c_d/$e", "x", "resources/search"])
def test_a_method_that_is_not_ours_goes_to_the_server_and_its_answer_comes_back(
    gateway: Gateway, method: str
) -> None:
    params = {"deep": [1.0, None, {"z": 1, "a": "é"}], "_meta": {"x.test/trace": "t"}}
    answer = at(gateway, "old").post(Mcp.message(method, params, "my id"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["id"] == "my id"
    assert answer.json()["result"] == {"method": method, "params": params, "n": 1.0}
    assert b'"n":1.0' in answer.body
    record = newest(gateway)
    assert (record["method"], record["server"], record["tool"]) == (method, "old", "")
    assert (record["outcome"], record["face"]) == ("ok", "mcp")
    assert record["arguments"] == {"deep": ["number", "null", {"z": "integer", "a": "string(2)"}]} or (
        "deep" in record["arguments"]
    )


def test_it_tells_its_progress_and_refuses_in_its_own_words(gateway: Gateway) -> None:
    session = at(gateway, "old")
    answer = session.post(Mcp.message("x/look", {"_meta": {"progressToken": "mine"}}, 1))
    assert b'"progressToken":"mine"' in answer.body
    assert session.ask("x/refuse")["error"] == {"code": -32055, "message": "Not today", "data": {"n": 1.0}}
    assert session.ask("unknown/to/it")["error"] == {"code": -32601, "message": "no unknown/to/it"}


def test_over_all_servers_nothing_passes(gateway: Gateway) -> None:
    check_rpc_error(Mcp(gateway).ask("x/look"), -32601, "unknown", "x/look")


def test_nothing_passes_between_the_eras(gateway: Gateway) -> None:
    check_rpc_error(at(gateway, "new").ask("x/look"), -32601, "unknown", "x/look")
    assert newest(gateway)["outcome"] == "unknown"


def test_a_modern_client_asks_a_modern_server(gateway: Gateway) -> None:
    modern = Modern(gateway, "/servers/new/mcp")
    result = modern.ask("x/look", {"deep": [1.0]})
    meta = result["params"].pop("_meta")
    assert meta == modern.meta()
    assert result == {"method": "x/look", "params": {"deep": [1.0]}, "n": 1.0, "resultType": "complete"}
    assert (newest(gateway)["method"], newest(gateway)["outcome"]) == ("x/look", "ok")
    for place in (Modern(gateway, "/servers/old/mcp"), Modern(gateway)):
        answer = place.post("x/look")
        assert answer.status == 404
        check_rpc_error(answer.json(), -32601, "unknown", "x/look")
    for method in ("tasks/result", "tasks/list", "ping", "logging/setLevel", "initialize"):
        assert modern.post(method).status == 404


def test_of_a_server_that_is_not_there_it_is_told(gateway: Gateway) -> None:
    for server in ("never", "off"):
        check_rpc_error(at(gateway, server).ask("x/look"), -32000, "unavailable")


@pytest.mark.parametrize(
    "method",
    [
        *("tools/add", "Tools/Call", "tools", "logging/x", "subscriptions/listen", "server/discover"),
        *("resources/subscribe/", "Resources/Read", "prompts/List", "PING", "Initialize", "rpc.discover"),
        *("sampling/createMessage", "elicitation/create", "roots/list", "notifications/x", "tasks/other"),
        *("tasks/update", "", "x//y", "/x", "x/", "x y", "x\r\nMcp-Name: y", "x" * 129, "méthode"),
    ],
)
def test_what_is_reserved_or_no_name_goes_nowhere(gateway: Gateway, method: str) -> None:
    answer = at(gateway, "old").ask(method)
    check_rpc_error(answer, -32601, "unknown", "not offered")


def test_who_does_not_see_the_whole_server_sees_no_method_of_it(tmp_path: Path) -> None:
    keys = {
        "whole": {"rights": ["read", "call"], "servers": ["old"]},
        "some": {"rights": ["read", "call"], "tools": ["old/link"]},
        "reader": {"rights": ["read"]},
    }
    servers = {name: shelf(tmp_path, name, SPECS[name]) for name in ("old",)}
    with Guarded(servers, tmp_path / "gateway", keys=keys) as gateway:
        wait_ready(gateway, *servers)
        assert "result" in at(gateway.as_("whole"), "old").ask("x/look")
        check_rpc_error(at(gateway.as_("some"), "old").ask("x/look"), -32601, "unknown", "x/look")
        answer = at(gateway.as_("reader"), "old").ask("x/look")
        assert answer["error"]["data"]["code"] == "refused"
