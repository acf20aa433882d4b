"""MCP over HTTP in bytes: sessions, ids, answers as JSON or as a stream, cancelling, the own stream.

One gateway for all; the official clients are in `test_mcp_clients.py`, the bytes of results in `golden/`.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faces.knocking import (
    BOTH_KINDS,
    Line,
    Mcp,
    check_log,
    check_problem,
    check_rpc_error,
    exact,
    fold,
    frames,
    json_bytes,
)
from tests.harness import Gateway, hostile, until

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
CLIENTS = 50
CALLS = 20
LONG_MS = 60_000
WAIT_S = 30


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journal") / "calls"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, journal: Path) -> Iterator[Gateway]:
    servers = {
        "good": hostile("good", "--journal", str(journal)),
        "exact": exact(),
        "modern": hostile("good", "--era", "modern"),
        "chatty": hostile("log-flood", "--count", "3"),
        "brief": hostile("good", timeout=0.3, maxTimeout=0.6),
        "narrow": hostile("good", "--journal", str(journal), concurrency=1, queue=1),
        "off": hostile("good", enabled=False),
        "broken": {"command": "/nowhere/at-all"},
    }
    with Gateway(servers, tmp_path_factory.mktemp("mcp")) as gateway:
        for server in ("good", "exact", "modern", "chatty", "brief", "narrow"):
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def session(gateway: Gateway) -> Mcp:
    return Mcp(gateway)


@pytest.fixture(scope="module")
def one(gateway: Gateway) -> Mcp:
    return Mcp(gateway, "/servers/good/mcp")


@pytest.fixture
def arrived(journal: Path) -> Callable[[str], Callable[[], bool]]:
    """Makes a question: has one more call of this tool arrived at a server since?"""

    def since(tool: str) -> Callable[[], bool]:
        def count() -> int:
            return journal.read_text().count(f"{tool} ") if journal.exists() else 0

        before = count()
        return lambda: count() > before

    return since


def stats(session: Mcp) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(session.call("good__stats")["result"]["content"][0]["text"])
    return seen


def newest(gateway: Gateway, query: str) -> dict[str, Any]:
    row: dict[str, Any] = gateway.get(f"/api/calls?limit=1&{query}").json()["calls"][0]
    return row


# -- introductions and sessions -------------------------------------------------------------------------


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/good/mcp"])
def test_every_revision_that_is_offered_is_spoken_back(
    gateway: Gateway, endpoint: str, revision: str
) -> None:
    session = Mcp(gateway, endpoint, revision)
    said = session.introduction
    assert said["protocolVersion"] == revision
    changes = {"listChanged": True}  # resources always: large results are some
    assert said["capabilities"] == {"tools": changes, "resources": changes, "logging": {}}
    assert said["serverInfo"].keys() >= {"name", "version"}
    assert session.ask("ping")["result"] == {}
    assert session.end().status in (200, 202, 204)


@pytest.mark.parametrize("revision", ["2026-07-28", "1999-01-01", "", "latest"])
def test_a_revision_that_is_not_offered_is_answered_with_our_latest(gateway: Gateway, revision: str) -> None:
    asked = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = Mcp.message("initialize", asked, 0)
    answer = gateway.request("POST", "/mcp", body, {"Accept": BOTH_KINDS})
    assert answer.json()["result"]["protocolVersion"] == "2025-11-25"


def test_session_ids_are_long_visible_and_never_the_same(gateway: Gateway) -> None:
    ids = [Mcp(gateway).id for _ in range(20)]
    assert len(set(ids)) == 20
    for session_id in ids:
        assert len(session_id) >= 32  # 128 bit, in hexadecimal
        assert all("!" <= char <= "~" for char in session_id)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_without_a_session_the_answer_is_400_and_with_a_dead_one_404(gateway: Gateway, method: str) -> None:
    ended = Mcp(gateway)
    ended.end()
    body = Mcp.message("ping", None, 1) if method == "POST" else None
    accept = {"Accept": "text/event-stream" if method == "GET" else BOTH_KINDS}
    answer = gateway.request(method, "/mcp", body, accept)
    assert answer.status == 400
    check_rpc_error(answer.json(), -32600, "invalid", "session")
    for session_id in (ended.id, "0" * 32, "x", " ", "\u00e9"):
        answer = gateway.request(method, "/mcp", body, accept | {"Mcp-Session-Id": session_id})
        assert answer.status == 404, session_id
        check_rpc_error(answer.json(), -32600, "unknown", "session")


def test_a_session_belongs_to_its_endpoint(session: Mcp, one: Mcp, gateway: Gateway) -> None:
    for endpoint, stranger in (("/mcp", one), ("/servers/good/mcp", session), ("/servers/exact/mcp", one)):
        answer = gateway.request("POST", endpoint, Mcp.message("ping", None, 1), stranger.headers)
        assert answer.status == 404
    assert one.ask("ping")["result"] == session.ask("ping")["result"] == {}


def test_an_endpoint_of_no_server_is_unknown(gateway: Gateway, session: Mcp) -> None:
    for path in (
        "/servers/nobody/mcp",
        "/servers/GOOD/mcp",
        "/servers/..%2fgood/mcp",
        "/servers/good%00/mcp",
    ):
        answer = gateway.request("POST", path, Mcp.message("ping", None, 1), session.headers)
        assert answer.status == 404, path
        check_rpc_error(answer.json(), -32600, "unknown")
    for path in ("/servers/mcp", "/servers//mcp", "/servers/good/mcp/", "/mcp/", "/servers/good/x/mcp"):
        answer = gateway.request("POST", path, Mcp.message("ping", None, 1), session.headers)
        check_problem(answer, 404, "unknown")


def test_ending_a_session_ends_it_for_good(gateway: Gateway) -> None:
    session = Mcp(gateway)
    assert session.end().status in (200, 202, 204)
    assert session.post(Mcp.message("ping", None, 1)).status == 404
    assert session.end().status == 404


def test_ending_a_session_cancels_its_calls(
    gateway: Gateway, session: Mcp, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    before = stats(session)["cancelled"]
    is_running = arrived("sleep")
    ending = Mcp(gateway)
    call = Mcp.message("tools/call", {"name": "good__sleep", "arguments": {"ms": LONG_MS}}, 1)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ending.post, call)
        until(is_running, 5, "the call is at the server")
        ending.end()
        waiting.result()
    until(lambda: stats(session)["cancelled"] == before + 1, 5, "the server hears of it")


def test_ending_a_session_ends_its_stream(gateway: Gateway) -> None:
    session = Mcp(gateway)
    with session.stream(timeout_s=3) as events:  # less than a keep-alive away
        session.end()
        assert list(events) == []


@pytest.mark.parametrize("revision", ["2026-07-28", "1999-01-01", "x", ""])
def test_a_session_is_of_no_use_to_a_request_of_another_era(session: Mcp, revision: str) -> None:
    answer = session.post(Mcp.message("ping", None, 1), MCP_Protocol_Version=revision)
    assert answer.status == 400
    check_rpc_error(answer.json(), -32602, "invalid", "_meta", "protocolVersion")  # as the modern era has it


def test_a_request_may_leave_its_revision_out(session: Mcp, gateway: Gateway) -> None:
    headers = {name: value for name, value in session.headers.items() if name != "MCP-Protocol-Version"}
    assert gateway.request("POST", "/mcp", Mcp.message("ping", None, 1), headers).status == 200


def test_blanks_around_a_header_are_no_part_of_it(gateway: Gateway, session: Mcp) -> None:
    # protocol.md T18: the conformance suite sends them.
    body = Mcp.message("ping", None, 1)
    with Line(gateway.port) as line:
        line.send(
            b"POST /mcp HTTP/1.1",
            b"Host: localhost",
            b"Accept: application/json, text/event-stream",
            b"Content-Type: application/json",
            b"MCP-Protocol-Version:  2025-11-25 \t",
            b"Mcp-Session-Id: \t" + session.id.encode() + b"  ",
            b"Content-Length: %d" % len(body),
            body=body,
        )
        assert line.read().status == 200


@pytest.mark.parametrize(
    ("accept", "status"), [("text/html", 406), ("image/*", 406), ("application/json", 200)]
)
def test_an_answer_that_the_client_does_not_take_is_refused(session: Mcp, accept: str, status: int) -> None:
    assert session.post(Mcp.message("ping", None, 1), Accept=accept).status == status


# -- lists ----------------------------------------------------------------------------------------------


def test_all_servers_are_offered_under_exposed_names_and_one_under_its_own(session: Mcp, one: Mcp) -> None:
    exposed, native = session.tools(), one.tools()
    assert {name for name in exposed if name.startswith("good__")} == {f"good__{name}" for name in native}
    assert native["echo"] | {"name": "good__echo"} == exposed["good__echo"]
    assert all(len(name) <= 46 for name in exposed)
    assert all(char.isalnum() or char in "_-" for name in exposed for char in name)
    assert not [name for name in exposed if name.startswith(("off__", "broken__"))]
    assert list(exposed) == list(session.tools())


def test_a_cursor_that_is_none_of_ours_is_refused(session: Mcp) -> None:
    for cursor in ("", "x", 7):
        check_rpc_error(session.ask("tools/list", {"cursor": cursor}), -32602, "invalid", "cursor")


def test_every_exposed_name_calls_its_own_tool(gateway: Gateway, session: Mcp) -> None:
    listed = gateway.get("/api/tools?server=exact").json()["tools"]
    named = [tool for tool in listed if "/" in tool["name"] or not tool["name"].isascii()]
    assert len(named) >= 4
    for tool in named:
        result = session.call(tool["exposedName"])["result"]
        assert result["content"][0]["text"] == tool["name"]


def test_a_server_that_is_down_lists_nothing_and_says_so_when_called(gateway: Gateway) -> None:
    for server, word in (("off", "off"), ("broken", "failed")):
        session = Mcp(gateway, f"/servers/{server}/mcp")
        assert session.tools() == {}
        error = check_rpc_error(session.call("echo"), -32000, "unavailable", word)
        assert error["data"]["server"] == server
        assert newest(gateway, f"server={server}&face=mcp")["id"] == error["data"]["callId"]


# -- calls ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        b"0",
        b"-1",
        b"1",
        b"12345678901234567890",
        b"9007199254740993",
        b'""',
        b'"1"',
        rb'"\u0041\/"',
        '"é😀"'.encode(),
        b'"' + b"x" * 1_000 + b'"',
    ],
    ids=lambda written: written.decode()[:20],
)
def test_an_id_comes_back_as_it_was_written(session: Mcp, written: bytes) -> None:
    for params in (
        b'"method":"ping"',
        b'"method":"tools/list"',
        b'"method":"nothing"',
        b'"method":"tools/call","params":{"name":"nobody"}',
        b'"method":"tools/call","params":{"name":"good__echo","arguments":{"text":"x"}}',
        b'"method":"tools/call","params":{"name":"good__refuse"}',
    ):
        answer = session.post(b'{"jsonrpc":"2.0","id":%b,%b}' % (written, params))
        assert answer.status == 200
        assert answer.body.startswith(b'{"jsonrpc":"2.0","id":%b,' % written), answer


def test_notifications_and_stray_answers_get_202_and_no_body(session: Mcp) -> None:
    for body in (
        Mcp.message("notifications/initialized"),
        Mcp.message("notifications/roots/list_changed"),
        Mcp.message("notifications/nobody/knows", {"x": 1}),
        Mcp.message("notifications/cancelled", {"requestId": "nobody"}),
        Mcp.message("notifications/cancelled", {"requestId": None}),
        Mcp.message("notifications/cancelled", {}),
        Mcp.message("notifications/cancelled"),
        Mcp.message("tools/call", {"name": "good__echo"}),
        b'{"jsonrpc":"2.0","id":7,"result":{}}',
        b'{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"m"}}',
    ):
        answer = session.post(body)
        assert (answer.status, answer.body) == (202, b""), body


def test_a_call_is_recorded_once_with_its_face(gateway: Gateway, session: Mcp) -> None:
    answer = session.post(Mcp.message("tools/call", {"name": "good__echo", "arguments": {"text": "ab"}}, 1))
    row = newest(gateway, "server=good&tool=echo")
    assert row["id"] == answer.headers["mcp-gateway-call"]
    assert (row["face"], row["outcome"], row["caller"]) == ("mcp", "ok", "local")
    assert row["arguments"] == {"text": "string(2)"}


def test_a_name_nobody_knows_is_recorded_once(gateway: Gateway, session: Mcp) -> None:
    error = check_rpc_error(session.call("good__nothing"), -32602, "unknown", "good__nothing")
    row = newest(gateway, "face=mcp&outcome=unknown")
    assert (row["id"], row["tool"]) == (error["data"]["callId"], "good__nothing")


def test_a_tool_that_is_switched_off_is_neither_listed_nor_called(
    gateway: Gateway, session: Mcp, one: Mcp
) -> None:
    path = "/api/tools/good/pid"
    assert gateway.request("PATCH", path, {"enabled": False}).status == 200
    try:
        assert "good__pid" not in session.tools()
        assert "pid" not in one.tools()
        for caller, name in ((session, "good__pid"), (one, "pid")):
            check_rpc_error(caller.call(name), -32000, "unavailable", "off")
    finally:
        assert gateway.request("PATCH", path, {"enabled": True}).status == 200
    assert "good__pid" in session.tools()
    assert one.call("pid")["result"]["content"]


def test_failures_carry_the_facts_of_the_table(session: Mcp, gateway: Gateway) -> None:
    late = session.call("brief__sleep", {"ms": LONG_MS})
    assert check_rpc_error(late, -32000, "timed_out")["data"]["server"] == "brief"
    lost = session.call("modern__die")
    assert check_rpc_error(lost, -32000, "lost")["data"]["server"] == "modern"
    gateway.wait_for_state("modern", "ready")


def test_a_full_queue_is_busy_with_a_time_to_come_back(
    gateway: Gateway, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    session = Mcp(gateway, "/servers/narrow/mcp")
    is_running = arrived("sleep")
    with ThreadPoolExecutor() as pool:
        sleeping = pool.submit(session.call, "sleep", {"ms": 1_000}, 1)
        until(is_running, 5, "the first call is at the server")
        waiting = pool.submit(session.call, "echo", {"text": "x"}, 2)
        until(lambda: gateway.server("narrow")["calls"]["queued"] == 1, 5, "the second is queued")
        error = check_rpc_error(session.call("echo", {}, 3), -32000, "busy")
        assert error["data"]["retryAfter"] >= 1
        assert sleeping.result()["id"] == 1
        assert waiting.result()["id"] == 2


def test_a_tool_of_a_modern_server_is_called_from_the_handshake_era(gateway: Gateway, session: Mcp) -> None:
    assert gateway.server("modern")["protocolRevision"] == "2026-07-28"
    assert session.call("modern__echo", {"text": "x"})["result"]["content"] == [{"type": "text", "text": "x"}]


# -- many clients with the same ids ---------------------------------------------------------------------


def test_equal_ids_of_fifty_clients_never_cross(gateway: Gateway) -> None:
    async def ask(http: aiohttp.ClientSession, headers: dict[str, str], body: bytes) -> bytes:
        async with http.post("/mcp", data=body, headers=headers) as answer:
            assert answer.status in (200, 202)
            headers.setdefault("Mcp-Session-Id", answer.headers.get("Mcp-Session-Id", ""))
            return await answer.read()

    async def client(http: aiohttp.ClientSession, number: int) -> None:
        headers = {"Accept": BOTH_KINDS, "Content-Type": "application/json"}
        asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
        await ask(http, headers, Mcp.message("initialize", asked, 0))

        async def call(request_id: int) -> None:
            # Every client uses the same ids and tokens, and every call its own number of steps.
            steps = 1 + (number + request_id) % 7
            text = f"client {number} call {request_id}"
            echo = {"name": "good__echo", "arguments": {"text": text}, "_meta": {"progressToken": request_id}}
            progress = {"name": "good__progress", "arguments": {"steps": steps, "ms": 1}}
            progress |= {"_meta": {"progressToken": request_id}}
            params = progress if request_id % 5 == 0 else echo
            received = await ask(http, headers, Mcp.message("tools/call", params, request_id))
            if params is echo:
                wanted = {"content": [{"type": "text", "text": text}], "isError": False}
                assert json.loads(received) == {"jsonrpc": "2.0", "id": request_id, "result": wanted}
                return
            *told, last = [json.loads(data) for _, data in frames(received)]
            assert (last["id"], last["result"]["content"][0]["text"]) == (request_id, f"{steps} steps")
            assert [note["params"]["progress"] for note in told] == list(range(1, steps + 1))
            assert {note["params"]["total"] for note in told} == {steps}
            assert {note["params"]["progressToken"] for note in told} == {request_id}

        await asyncio.gather(*(call(request_id) for request_id in range(CALLS)))

    async def all_clients() -> None:
        url = f"http://127.0.0.1:{gateway.port}"
        connector = aiohttp.TCPConnector(limit=100)
        async with asyncio.timeout(WAIT_S), aiohttp.ClientSession(url, connector=connector) as http:
            await asyncio.gather(*(client(http, number) for number in range(CLIENTS)))

    before = gateway.server("good")["calls"]["total"]
    asyncio.run(all_clients())
    assert gateway.server("good")["calls"]["total"] == before + CLIENTS * CALLS


def test_an_id_that_is_still_running_is_refused_and_only_in_its_own_type(
    session: Mcp, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    is_running = arrived("sleep")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(session.call, "good__sleep", {"ms": 1_000}, 1)
        until(is_running, 5, "the call is at the server")
        check_rpc_error(session.call("good__echo", {}, 1), -32600, "invalid", "id")
        assert session.call("good__echo", {"text": "x"}, "1")["result"]["content"][0]["text"] == "x"
        assert running.result()["result"]["content"][0]["text"] == "slept"
    assert "result" in session.call("good__echo", {}, 1)  # ended, it is free again


# -- said before the answer -----------------------------------------------------------------------------


def test_an_answer_is_json_unless_something_is_said_first(session: Mcp) -> None:
    steps = {"name": "good__progress", "arguments": {"steps": 3, "ms": 1}}
    silent = session.post(Mcp.message("tools/call", steps, 1))
    assert silent.headers["content-type"] == "application/json"
    told = session.post(Mcp.message("tools/call", steps | {"_meta": {"progressToken": "p"}}, 1))
    assert told.headers["content-type"].startswith("text/event-stream")
    assert told.headers["cache-control"] == "no-cache, no-transform"
    assert told.headers["x-accel-buffering"] == "no"
    assert [name for name, _ in frames(told.body)] == ["message"] * 4
    *progress, last = [json.loads(data) for _, data in frames(told.body)]
    assert [note["method"] for note in progress] == ["notifications/progress"] * 3
    assert progress[0]["params"] == {"progressToken": "p", "progress": 1, "total": 3, "message": "1 of 3"}
    assert last == silent.json()


@pytest.mark.parametrize("token", [0, -7, "", "tökén", 12345678901234567890])
def test_a_progress_token_comes_back_in_its_own_type(session: Mcp, token: Any) -> None:
    steps = {"name": "good__progress", "arguments": {"steps": 1}, "_meta": {"progressToken": token}}
    note, _ = frames(session.post(Mcp.message("tools/call", steps, 1)).body)
    assert json.loads(note[1])["params"]["progressToken"] == token


def test_progress_is_told_while_the_call_runs(gateway: Gateway, session: Mcp) -> None:
    steps = {"name": "good__progress", "arguments": {"steps": 1_000_000, "ms": 10}}
    body = Mcp.message("tools/call", steps | {"_meta": {"progressToken": "p"}}, "endless")
    with gateway.open("POST", "/mcp", body, session.headers) as response:
        assert [response.readline() for _ in range(5)][-2:] == [b"\n", b"event: message\n"]
        assert gateway.server("good")["calls"]["running"] == 1
        session.post(Mcp.message("notifications/cancelled", {"requestId": "endless"}))
        rest = response.read()  # it ends, and nothing is answered
    assert b'"result"' not in rest
    assert b'"error"' not in rest


def test_a_failure_after_progress_is_the_last_message_of_the_stream(session: Mcp) -> None:
    steps = {"name": "brief__progress", "arguments": {"steps": 1_000, "ms": 20}}
    answer = session.post(Mcp.message("tools/call", steps | {"_meta": {"progressToken": "p"}}, 5))
    document = json.loads(frames(answer.body)[-1][1])
    assert document["id"] == 5
    check_rpc_error(document, -32000, "timed_out")


def test_a_client_that_takes_json_only_gets_json_only(session: Mcp) -> None:
    steps = {"name": "good__progress", "arguments": {"steps": 3}, "_meta": {"progressToken": "p"}}
    answer = session.post(Mcp.message("tools/call", steps, 1), Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["content"][0]["text"] == "3 steps"


def test_log_messages_come_before_the_answer_on_its_stream(session: Mcp) -> None:
    answer = session.post(Mcp.message("tools/call", {"name": "chatty__act"}, 1))
    *logs, (_, last) = frames(answer.body)
    said = {"method": "notifications/message", "params": {"level": "info", "data": "on and on"}}
    assert [json.loads(data) for _, data in logs] == [{"jsonrpc": "2.0", **said}] * 3
    assert json.loads(last)["result"]["content"]


# -- cancelling -----------------------------------------------------------------------------------------


def test_a_cancellation_reaches_the_server_and_the_call_is_over(
    gateway: Gateway, session: Mcp, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    before = stats(session)["cancelled"]
    is_running = arrived("sleep")
    call = Mcp.message("tools/call", {"name": "good__sleep", "arguments": {"ms": LONG_MS}}, 11)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(session.post, call)
        until(is_running, 5, "the call is at the server")
        # Neither another type of the same id nor another session can take it back.
        for stranger, request_id in ((session, "11"), (Mcp(gateway), 11)):
            stranger.post(Mcp.message("notifications/cancelled", {"requestId": request_id}))
        assert stats(session)["cancelled"] == before
        assert gateway.server("good")["calls"]["running"] == 1
        session.post(Mcp.message("notifications/cancelled", {"requestId": 11, "reason": "enough"}))
        answer = waiting.result()
    assert b'"result"' not in answer.body
    until(lambda: stats(session)["cancelled"] == before + 1, 5, "the server hears of it")
    row = newest(gateway, "server=good&tool=sleep")
    assert (row["outcome"], row["face"]) == ("cancelled", "mcp")
    assert "result" in session.call("good__echo", {}, 11)


def test_hanging_up_is_not_a_cancellation(
    gateway: Gateway, session: Mcp, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    before = stats(session)["cancelled"]
    is_running = arrived("sleep")
    body = Mcp.message("tools/call", {"name": "good__sleep", "arguments": {"ms": 400}}, 12)
    with Line(gateway.port) as line:
        line.send(
            b"POST /mcp HTTP/1.1",
            b"Host: localhost",
            b"Content-Type: application/json",
            *(f"{name}: {value}".encode() for name, value in session.headers.items()),
            b"Content-Length: %d" % len(body),
            body=body,
        )
        until(is_running, 5, "the call is at the server")

    def outcome() -> str:
        return str(newest(gateway, "server=good&tool=sleep")["outcome"])

    until(lambda: outcome() != "running", 5, "the call ends")
    assert outcome() == "ok"
    assert stats(session)["cancelled"] == before


# -- the session's own stream ---------------------------------------------------------------------------


def test_a_switch_is_told_once_on_every_sessions_stream(gateway: Gateway) -> None:
    sessions = [Mcp(gateway), Mcp(gateway, "/servers/exact/mcp"), Mcp(gateway)]
    with ExitStack() as stack:
        streams = [stack.enter_context(session.stream()) for session in sessions]
        assert gateway.request("PATCH", "/api/tools/exact/nulls", {"enabled": False}).status == 200
        for session, events in zip(sessions, streams, strict=True):
            changed = fold(events, lambda name, data: True)
            assert changed == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}
            assert not {"exact__nulls", "nulls"} & session.tools().keys()
        assert gateway.request("PATCH", "/api/tools/exact/nulls", {"enabled": True}).status == 200
        for events in streams:
            assert fold(events, lambda name, data: True)["method"] == "notifications/tools/list_changed"


def test_a_tool_that_appears_at_a_server_is_told_and_listed(gateway: Gateway, session: Mcp) -> None:
    with session.stream() as events:
        session.call("exact__grow", {"name": "sprout"})
        fold(events, lambda name, data: data["method"] == "notifications/tools/list_changed")
        assert "exact__sprout" in session.tools()


def test_a_newer_stream_of_a_session_takes_the_place_of_the_older(gateway: Gateway) -> None:
    session = Mcp(gateway)
    with session.stream(timeout_s=3) as older, session.stream() as newer:
        assert list(older) == []
        assert gateway.request("PATCH", "/api/tools/exact/nulls", {"enabled": False}).status == 200
        assert gateway.request("PATCH", "/api/tools/exact/nulls", {"enabled": True}).status == 200
        assert fold(newer, lambda name, data: True)["method"] == "notifications/tools/list_changed"


def test_a_stream_that_was_left_can_be_opened_again(gateway: Gateway) -> None:
    session = Mcp(gateway)
    sent = session.headers | {"Accept": "text/event-stream"}

    def opens() -> bool:
        with gateway.open("GET", "/mcp", None, sent) as response:
            return response.status == 200

    for _ in range(3):
        assert opens()


def test_the_stream_is_for_who_takes_event_streams(gateway: Gateway, session: Mcp) -> None:
    answer = gateway.request("GET", "/mcp", headers=session.headers | {"Accept": "application/json"})
    assert answer.status == 406


# -- switched off ---------------------------------------------------------------------------------------


def test_mcp_that_is_switched_off_closes_its_urls_and_nothing_else(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path, {"mcp": {"enabled": False}}) as gateway:
        gateway.wait_for_state("good", "ready")
        asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
        body = json_bytes({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked})
        ways = ("/mcp", "/servers/good/mcp", "/mcp/sse", "/mcp/message", "/servers/good/sse")
        for path in (*ways, "/servers/good/message"):
            for method in ("POST", "GET", "DELETE"):
                sent = body if method == "POST" else None
                answer = gateway.request(method, path, sent, {"Accept": BOTH_KINDS})
                check_problem(answer, 404, "unknown")
        assert gateway.get("/api/sessions").json() == {"sessions": []}
        assert gateway.call("good", "echo", text="x").text == "x"
        for path in ("/", "/health", "/ready", "/api/servers", "/api/tools", "/api/calls", "/openapi.json"):
            assert gateway.get(path).status == 200
