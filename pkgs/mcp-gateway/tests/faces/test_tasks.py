"""Tasks of servers, of both eras: led to where they run, and nobody's but of who began them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, Modern, check_log, check_rpc_error, shelf
from tests.harness import Gateway
from tests.security.cast import Guarded, wait_ready

TASKS: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
TOOL = {"name": "work", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}}


def spec(**more: Any) -> dict[str, Any]:
    capabilities = {"tools": {}, "resources": {}, "tasks": TASKS}
    return {
        "capabilities": capabilities,
        "tools": [TOOL],
        "resources": [{"uri": "ui://x", "name": "x"}],
        **more,
    }


EXTENSION: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
MODERN = spec(era="modern", capabilities={"tools": {}, **EXTENSION}, resources=[])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("tasks")
    servers = {name: shelf(directory, name, spec()) for name in ("one", "two")}
    servers["new"] = shelf(directory, "new", MODERN)
    with Gateway(servers, directory / "gateway") as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def at(gateway: Gateway, server: str) -> Mcp:
    return Mcp(gateway, f"/servers/{server}/mcp")


def begin(session: Mcp, tool: str, task_id: str, **arguments: Any) -> dict[str, Any]:
    """A call that becomes a task of this id."""
    asked = {"id": task_id, "uri": "ui://x", **arguments}
    result: dict[str, Any] = session.call(tool, asked, task={"ttl": 60_000})["result"]
    return result


def of(session: Mcp, what: str, task_id: str) -> Any:
    return session.ask(f"tasks/{what}", {"taskId": task_id})


def ids(session: Mcp) -> list[str]:
    return [task["taskId"] for task in session.ask("tasks/list")["result"]["tasks"]]


def test_a_task_is_asked_about_and_cancelled_where_it_runs(gateway: Gateway) -> None:
    session = Mcp(gateway)
    for server in ("one", "two"):
        task = {"taskId": f"of {server}", "status": "working", "ttl": None, "server": server}
        assert begin(session, f"{server}__work", f"of {server}") == {"task": task, "_meta": {"x": 1.0}}
        for other in (session, Mcp(gateway), at(gateway, server)):
            assert of(other, "get", f"of {server}")["result"] == {**task, "asked": "tasks/get"}
        assert of(session, "cancel", f"of {server}")["result"] == {**task, "asked": "tasks/cancel"}
    row = gateway.get("/api/calls?limit=1&server=two").json()["calls"][0]
    assert (row["method"], row["outcome"], row["target"]) == ("tasks/cancel", "ok", None)


def test_the_result_shows_uris_as_its_endpoint_does(gateway: Gateway) -> None:
    session = Mcp(gateway)
    begin(session, "two__work", "linked")
    at_all, native = of(session, "result", "linked")["result"], of(at(gateway, "two"), "result", "linked")
    assert at_all["content"][0]["uri"] == "ui://two.mcp-gateway/x"
    assert native["result"]["content"][0]["uri"] == "ui://x"
    assert at_all["_meta"] == native["result"]["_meta"] == {"x": 1.0}


def test_tools_keep_what_they_say_of_tasks(gateway: Gateway) -> None:
    assert Mcp(gateway).tools()["one__work"]["execution"] == TOOL["execution"]
    assert at(gateway, "one").tools()["work"] == TOOL


@pytest.mark.parametrize("what", ["get", "result", "cancel"])
def test_what_is_no_task_is_unknown(gateway: Gateway, what: str) -> None:
    begin(at(gateway, "one"), "work", "elsewhere")
    check_rpc_error(of(at(gateway, "two"), what, "elsewhere"), -32602, "unknown", "elsewhere")
    for session in (Mcp(gateway), at(gateway, "one")):
        for task_id in ("never", "", "x" * 10_000):
            check_rpc_error(of(session, what, task_id), -32602, "unknown", "There is no task")
        for params in ({}, {"taskId": 7}, {"taskId": None}):
            check_rpc_error(session.ask(f"tasks/{what}", params), -32602, "invalid", "taskId")


def test_one_id_at_two_servers_is_nobodys_over_all_and_each_ones_at_its_own(gateway: Gateway) -> None:
    session = Mcp(gateway)
    for server in ("one", "two"):
        begin(session, f"{server}__work", "same")
        assert of(at(gateway, server), "get", "same")["result"]["server"] == server
    check_rpc_error(of(session, "get", "same"), -32602, "unknown", "same")


def test_tasks_are_listed_where_they_run_and_over_all_there_is_no_list(gateway: Gateway) -> None:
    begin(at(gateway, "one"), "work", "listed")
    result = at(gateway, "one").ask("tasks/list")["result"]
    assert "listed" in [task["taskId"] for task in result["tasks"]]
    assert result["x-new"] == 1.0
    check_rpc_error(Mcp(gateway).ask("tasks/list"), -32601, "unknown")


def test_a_call_without_the_member_is_no_task(gateway: Gateway) -> None:
    result = Mcp(gateway).call("one__work", {"id": "plain", "uri": "x://y"})["result"]
    assert "task" not in result
    check_rpc_error(of(Mcp(gateway), "get", "plain"), -32602, "unknown")


def test_tasks_do_not_cross_callers(tmp_path: Path) -> None:
    keys: dict[str, Any] = {name: {"rights": ["read", "call"]} for name in ("one", "two")}
    keys["narrow"] = {"rights": ["read", "call"], "tools": ["s/work"]}
    with Guarded({"s": shelf(tmp_path, "s", spec())}, tmp_path / "gateway", keys=keys) as gateway:
        wait_ready(gateway, "s")
        one, two, narrow = (gateway.as_(key) for key in keys if key != "full")
        for guarded, name in ((one, "of one"), (two, "of two"), (narrow, "of narrow")):
            begin(at(guarded, "s"), "work", name)
            assert ids(at(guarded, "s")) == [name]
            assert "result" in of(at(guarded, "s"), "result", name)
        for what in ("get", "result", "cancel"):
            for session in (at(two, "s"), Mcp(two), at(narrow, "s"), Mcp(gateway)):
                foreign, never = of(session, what, "of one"), of(session, what, "of wun")
                check_rpc_error(foreign, -32602, "unknown", "of one")
                for answer in (foreign, never):
                    answer["error"]["data"].pop("callId")
                assert str(foreign).replace("of one", "of wun") == str(never), "in the same words"
        # What is kept of a call shows nothing of others' tasks either.
        at(two, "s").ask("tasks/list")
        row = two.get("/api/calls?limit=1&method=tasks/list").json()["calls"][0]
        assert b"of one" not in two.get(f"/api/calls/{row['id']}").body
        # An id that its server uses again is the task of who began that one.
        begin(at(two, "s"), "work", "of one")
        check_rpc_error(of(at(one, "s"), "get", "of one"), -32602, "unknown")
        assert "result" in of(at(two, "s"), "get", "of one")


# -- the extension of 2026-07-28 ------------------------------------------------------------------------


def begin_modern(client: Modern, tool: str, task_id: str) -> Any:
    return client.call(tool, {"id": task_id, "uri": "x://y"})


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/new/mcp"])
def test_a_modern_task_is_asked_about_where_it_runs(gateway: Gateway, endpoint: str) -> None:
    client = Modern(gateway, endpoint, EXTENSION)
    task: dict[str, Any] = {"taskId": f"at {endpoint}", "status": "working", "ttl": None, "server": "new"}
    tool = "work" if "new" in endpoint else "new__work"
    assert begin_modern(client, tool, task["taskId"]) == {"resultType": "task", **task}
    for what in ("get", "update", "cancel"):
        for other in (client, Modern(gateway)):
            result = other.ask(f"tasks/{what}", {"taskId": task["taskId"]})
            assert result == {"resultType": "complete", **task, "asked": f"tasks/{what}"}
    for what in ("result", "list"):
        assert client.post(f"tasks/{what}", {"taskId": task["taskId"]}).status == 404
    answer = client.post("tasks/get", {"taskId": "never"})
    assert answer.status == 400
    check_rpc_error(answer.json(), -32602, "unknown", "never")


def test_tasks_do_not_cross_the_eras(gateway: Gateway) -> None:
    client = Modern(gateway, capabilities=EXTENSION)
    begin_modern(client, "new__work", "modern")
    begin(Mcp(gateway), "one__work", "older")
    check_rpc_error(of(Mcp(gateway), "get", "modern"), -32601, "unknown")
    answer = client.post("tasks/get", {"taskId": "older"})
    assert answer.status == 404
    check_rpc_error(answer.json(), -32601, "unknown")


def test_modern_tasks_do_not_cross_callers(tmp_path: Path) -> None:
    keys: dict[str, Any] = {name: {"rights": ["read", "call"]} for name in ("one", "two")}
    with Guarded({"new": shelf(tmp_path, "new", MODERN)}, tmp_path / "gateway", keys=keys) as gateway:
        wait_ready(gateway, "new")
        one, two = (Modern(gateway.as_(key), capabilities=EXTENSION) for key in ("one", "two"))
        begin_modern(one, "new__work", "of one")
        assert one.post("tasks/get", {"taskId": "of one"}).status == 200
        for what in ("get", "update", "cancel"):
            answer = two.post(f"tasks/{what}", {"taskId": "of one"})
            assert answer.status == 400
            check_rpc_error(answer.json(), -32602, "unknown", "of one")
