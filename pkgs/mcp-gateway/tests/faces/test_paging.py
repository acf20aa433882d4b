"""Lists of more than a page, over MCP with real servers; REST gives them whole."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faces.knocking import Mcp, Modern, check_log, check_rpc_error
from tests.harness import Gateway, hostile

MANY = 1_600  # two servers of so many tools are more than a page, and one is less


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {name: hostile("good", "--tools", str(MANY)) for name in ("one", "two")}
    with Gateway(servers, tmp_path_factory.mktemp("paging")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def session(gateway: Gateway) -> Mcp:
    return Mcp(gateway)


def test_all_servers_tools_come_in_pages_and_are_all_there(gateway: Gateway, session: Mcp) -> None:
    first = session.ask("tools/list")["result"]
    second = session.ask("tools/list", {"cursor": first["nextCursor"]})["result"]
    assert second.keys() == {"tools"}
    assert len(first["tools"]) == 3_000
    paged = [tool["name"] for tool in (*first["tools"], *second["tools"])]
    whole = [tool["exposedName"] for tool in gateway.get("/api/tools").json()["tools"]]
    assert paged == whole
    assert len(set(paged)) == len(paged) > 2 * MANY
    assert Mcp(gateway).ask("tools/list", {"cursor": first["nextCursor"]})["result"] == second


def test_pages_are_the_same_in_the_modern_era(gateway: Gateway, session: Mcp) -> None:
    modern = Modern(gateway)
    first = modern.ask("tools/list")
    second = modern.ask("tools/list", {"cursor": first["nextCursor"]})
    assert first["tools"] == session.ask("tools/list")["result"]["tools"]
    assert len(first["tools"]) + len(second["tools"]) == len(gateway.get("/api/tools").json()["tools"])
    assert first["resultType"] == second["resultType"] == "complete"
    answer = modern.post("tools/list", {"cursor": "made-up"})
    assert answer.status == 400
    check_rpc_error(answer.json(), -32602, "invalid", "cursor")


def test_one_servers_tools_come_whole(gateway: Gateway) -> None:
    result = Mcp(gateway, "/servers/one/mcp").ask("tools/list")["result"]
    assert result.keys() == {"tools"}
    assert len(result["tools"]) > MANY


@pytest.mark.parametrize("kind", ["tools", "resources", "resources/templates", "prompts"])
@pytest.mark.parametrize("cursor", ["", "made-up", 7, True, ["x"], {}])
def test_what_is_no_cursor_of_this_list_is_refused(session: Mcp, kind: str, cursor: Any) -> None:
    check_rpc_error(session.ask(f"{kind}/list", {"cursor": cursor}), -32602, "invalid", "cursor")


def test_a_cursor_is_of_one_list_at_one_endpoint_as_it_is_now(gateway: Gateway, session: Mcp) -> None:
    cursor = {"cursor": session.ask("tools/list")["result"]["nextCursor"]}
    check_rpc_error(session.ask("prompts/list", cursor), -32602, "invalid", "cursor")
    check_rpc_error(Mcp(gateway, "/servers/one/mcp").ask("tools/list", cursor), -32602, "invalid", "cursor")
    assert gateway.request("PATCH", "/api/tools/one/echo", {"enabled": False}).status == 200
    check_rpc_error(session.ask("tools/list", cursor), -32602, "invalid", "has changed since")
    assert gateway.request("PATCH", "/api/tools/one/echo", {"enabled": True}).status == 200
    assert "result" in session.ask("tools/list", cursor), "it is the same list again"
    assert "result" in session.ask("tools/list", {"cursor": None})
