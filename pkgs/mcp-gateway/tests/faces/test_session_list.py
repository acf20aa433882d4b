"""Who is connected over MCP, as REST shows it: closing a session, whose it is, and what a restart leaves."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mcp import Client, MCPError

from mcp_gateway.cli import main
from tests.faces.knocking import BOTH_KINDS, Api, Mcp, check_log, check_problem, check_rpc_error
from tests.harness import Gateway, free_port, hostile, until

WAIT_S = 20
RIGHTS = {"ann": ["read", "call"], "bob": ["read", "call"], "olga": ["read", "call", "operate"]}


def begun(gateway: Gateway, client: dict[str, Any], **headers: str) -> dict[str, str]:
    """The headers of a new session of a client that calls itself so."""
    sent = {"Accept": BOTH_KINDS} | headers
    asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    answer = gateway.request("POST", "/mcp", Mcp.message("initialize", asked, 0), sent)
    assert answer.status == 200, answer
    return sent | {"Mcp-Session-Id": answer.headers["mcp-session-id"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("open")) as gateway:
        gateway.wait_for_state("good", "ready")
        yield gateway
        check_log(gateway)


def rows(gateway: Gateway, **headers: str) -> list[dict[str, Any]]:
    answer = gateway.request("GET", "/api/sessions", headers=headers)
    if not headers:  # only then the description can be had, too
        Api(gateway).check("GET", "/api/sessions", answer)
    assert answer.status == 200, answer
    listed: list[dict[str, Any]] = answer.json()["sessions"]
    return listed


def running_calls(gateway: Gateway) -> int:
    count: int = gateway.server("good")["calls"]["running"]
    return count


def test_a_session_is_listed_with_what_is_known_of_it(gateway: Gateway) -> None:
    first = Mcp(gateway, "/servers/good/mcp")
    second = begun(gateway, {"name": "evil\x1b[2J\u202e", "version": "9" * 500})
    one, two = rows(gateway)
    known = {"client": "t", "clientVersion": "1", "revision": "2025-11-25", "endpoint": "/servers/good/mcp"}
    assert one.items() >= (known | {"caller": "local", "streams": 0, "calls": 0}).items()
    assert one["begun"] <= one["seen"]
    assert (two["client"], two["endpoint"], two["revision"]) == (r"evil\x1b[2J\u202e", "/mcp", "2025-06-18")
    assert two["clientVersion"] == "9" * 100
    shown = gateway.get("/api/sessions").body
    assert first.id.encode() not in shown
    assert second["Mcp-Session-Id"].encode() not in shown
    by_handle = second | {"Mcp-Session-Id": two["id"]}
    assert gateway.request("POST", "/mcp", Mcp.message("ping", None, 1), by_handle).status == 404
    for row in (one, two):
        assert gateway.request("DELETE", f"/api/sessions/{row['id']}").status == 204
    assert rows(gateway) == []


def test_closing_a_session_cancels_its_calls_and_ends_its_stream(gateway: Gateway) -> None:
    session = Mcp(gateway)
    call = Mcp.message("tools/call", {"name": "good__sleep", "arguments": {"ms": 60_000}}, 1)
    with ThreadPoolExecutor() as pool, session.stream() as events:
        waiting = pool.submit(session.post, call)
        until(lambda: running_calls(gateway) == 1, 5, "the call is at the server")
        (row,) = rows(gateway)
        assert (row["streams"], row["calls"]) == (1, 1)
        assert gateway.request("DELETE", f"/api/sessions/{row['id']}").status == 204
        answer = waiting.result()
        assert list(events) == []
    assert b"the session was closed" in answer.body
    assert running_calls(gateway) == 0
    assert session.post(Mcp.message("ping", None, 1)).status == 404
    check_problem(gateway.request("DELETE", f"/api/sessions/{row['id']}"), 404, "unknown")


def test_the_command_line_lists_and_closes(gateway: Gateway) -> None:
    env = {"MCP_GATEWAY_URL": f"http://127.0.0.1:{gateway.port}", "HOME": str(gateway.directory)}

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, words, env=env)
        assert done.exit_code == 0, done.output
        return done.output

    session = Mcp(gateway)
    head, row = run("sessions").splitlines()
    assert head.split() == ["ID", "CALLER", "SPEAKS", "AT", "BEGUN", "SEEN", "STREAMS", "CALLS", "CLIENT"]
    handle, *told = row.split()
    assert told[:3] == ["local", "2025-11-25", "/mcp"]
    assert told[-4:] == ["0", "0", "t", "1"]
    assert json.loads(run("sessions", "--json"))["sessions"][0]["id"] == handle
    assert run("sessions", "close", handle) == f"{handle} is closed\n"
    assert session.post(Mcp.message("ping", None, 1)).status == 404
    assert "No MCP client has a session" in run("sessions")


def test_a_session_is_its_callers_and_operators_see_all(tmp_path: Path) -> None:
    keys = []
    sent = {}
    for name, rights in RIGHTS.items():
        key = secrets.token_hex(20)
        (tmp_path / name).write_text(key)
        (tmp_path / name).chmod(0o600)
        keys.append({"name": name, "file": str(tmp_path / name), "scopes": {"rights": rights}})
        sent[name] = {"Authorization": f"Bearer {key}"}
    with Gateway({}, tmp_path / "run", {"auth": {"keys": keys}}) as gateway:
        ann, bob = (begun(gateway, {"name": name}, **sent[name]) for name in ("ann", "bob"))
        (of_ann,) = rows(gateway, **sent["ann"])
        (of_bob,) = rows(gateway, **sent["bob"])
        assert (of_ann["client"], of_bob["client"]) == ("ann", "bob")
        assert [row["id"] for row in rows(gateway, **sent["olga"])] == [of_ann["id"], of_bob["id"]]
        path = f"/api/sessions/{of_bob['id']}"
        problem = gateway.request("DELETE", path, headers=sent["ann"])
        nothing = gateway.request("DELETE", "/api/sessions/0", headers=sent["ann"])
        assert check_problem(problem, 404, "unknown") == check_problem(nothing, 404, "unknown")
        check_problem(gateway.request("DELETE", path), 401, "unauthenticated")
        ping = Mcp.message("ping", None, 1)
        assert gateway.request("POST", "/mcp", ping, bob).status == 200
        assert gateway.request("POST", "/mcp", ping, bob | sent["ann"]).status == 404
        assert gateway.request("DELETE", path, headers=sent["olga"]).status == 204
        assert gateway.request("POST", "/mcp", ping, bob).status == 404
        assert gateway.request("POST", "/mcp", ping, ann).status == 200
        (noted,) = gateway.request("GET", "/api/calls?action=session.close", headers=sent["olga"]).json()[
            "calls"
        ]
        assert of_bob["id"] in noted["detail"]
    check_log(gateway)


# -- a restart of the gateway ---------------------------------------------------------------------------


async def test_after_a_restart_a_session_is_unknown_and_another_one_goes_on(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path, wanted_port=free_port()) as gateway:
        gateway.wait_for_state("good", "ready")
        before = Mcp(gateway)
        assert before.call("good__echo", {"text": "x"})["result"]
        url = f"http://127.0.0.1:{gateway.port}/mcp"
        async with asyncio.timeout(WAIT_S), Client(url, mode="legacy") as client:
            await client.call_tool("good__echo", {"text": "x"})
            await asyncio.to_thread(gateway.stop)
            await asyncio.to_thread(gateway.start)
            with pytest.raises(MCPError, match=r"[Ss]ession"):
                await client.call_tool("good__echo", {"text": "x"})
        for method, body in (("POST", Mcp.message("ping", None, 1)), ("GET", None), ("DELETE", None)):
            answer = gateway.request(method, "/mcp", body, before.headers)
            assert answer.status == 404
            check_rpc_error(answer.json(), -32600, "unknown", "initialize")
        await asyncio.to_thread(gateway.wait_for_state, "good", "ready")
        after = Mcp(gateway)
        assert after.id != before.id
        assert after.call("good__echo", {"text": "again"})["result"]["content"][0]["text"] == "again"
        async with asyncio.timeout(WAIT_S), Client(url, mode="legacy") as client:
            assert (await client.call_tool("good__echo", {"text": "again"})).content
