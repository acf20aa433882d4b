"""Batches of 2025-03-26 (protocol.md T23): an array of messages in, an array or a stream of answers out."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, check_log, check_rpc_error, exact, frames, json_bytes
from tests.faces.test_artifacts import SMALL_UNITS
from tests.harness import Gateway, hostile, until


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"good": hostile("good"), "exact": exact()}
    with Gateway(servers, tmp_path_factory.mktemp("batches")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(params=["2024-11-05", "2025-03-26"])
def session(gateway: Gateway, request: pytest.FixtureRequest) -> Mcp:
    return Mcp(gateway, revision=request.param)


def batch(*messages: bytes) -> bytes:
    return b"[" + b", ".join(messages) + b"\n]"


def call(tool: str, request_id: Any, token: Any = None, **arguments: Any) -> bytes:
    params = {"name": f"good__{tool}", "arguments": arguments}
    return Mcp.message(
        "tools/call", params | ({"_meta": {"progressToken": token}} if token else {}), request_id
    )


def total(gateway: Gateway) -> int:
    count: int = gateway.server("good")["calls"]["total"]
    return count


def test_a_batch_is_answered_by_an_array_with_an_answer_for_each_request(session: Mcp) -> None:
    body = batch(
        Mcp.message("ping", None, 1),
        Mcp.message("notifications/initialized"),
        call("echo", "1", text="x"),
        Mcp.message("tools/list", None, 2),
        Mcp.message("nobody/knows", None, 3),
        b'{"jsonrpc":"2.0","id":9,"result":{}}',
        call("nothing", 4),
    )
    answer = session.post(b" \r\n" + body)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    answers = {repr(one["id"]): one for one in answer.json()}
    assert answers.keys() == {"1", "'1'", "2", "3", "4"}
    assert len(answer.json()) == 5
    assert answers["1"]["result"] == {}
    assert answers["'1'"]["result"]["content"][0]["text"] == "x"
    assert len(answers["2"]["result"]["tools"]) == len(session.tools())
    check_rpc_error(answers["3"], -32601, "unknown")
    check_rpc_error(answers["4"], -32602, "unknown", "good__nothing")


def test_a_batch_of_one_is_answered_by_an_array_of_one(session: Mcp) -> None:
    answer = session.post(batch(Mcp.message("ping", None, 7)))
    assert answer.body == b'[{"jsonrpc":"2.0","id":7,"result":{}}]'


def test_a_batch_without_a_request_gets_202_and_no_body(session: Mcp) -> None:
    noted = Mcp.message("notifications/initialized")
    answer = session.post(batch(noted, b'{"jsonrpc":"2.0","id":9,"result":{}}', noted))
    assert (answer.status, answer.body) == (202, b"")


def test_what_is_said_before_the_last_answer_makes_it_a_stream_of_single_ones(session: Mcp) -> None:
    answer = session.post(
        batch(
            call("echo", 1, text="quick"),
            call("progress", 2, "p", steps=3, ms=20),
            call("progress", 3, "q", steps=2, ms=20),
            Mcp.message("ping", None, 4),
        )
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    messages = [json.loads(data) for _, data in frames(answer.body)]
    told = [one["params"] for one in messages if "method" in one]
    answers = {one["id"]: one["result"] for one in messages if "result" in one}
    assert len(told) + len(answers) == len(messages)
    assert [note["progress"] for note in told if note["progressToken"] == "p"] == [1, 2, 3]
    assert [note["progress"] for note in told if note["progressToken"] == "q"] == [1, 2]
    assert answers.keys() == {1, 2, 3, 4}
    assert answers[1]["content"][0]["text"] == "quick"
    assert answers[2]["content"][0]["text"] == "3 steps"


def test_a_client_that_takes_json_only_gets_an_array(session: Mcp) -> None:
    answer = session.post(
        batch(call("progress", 1, "p", steps=2, ms=1), Mcp.message("ping", None, 2)),
        Accept="application/json",
    )
    assert {one["id"] for one in answer.json()} == {1, 2}


def test_large_answers_do_not_wait_for_each_other_in_memory(session: Mcp) -> None:
    size = 700_000
    answer = session.post(batch(*(call("echo", number, text="x" * size) for number in range(4))))
    assert answer.headers["content-type"].startswith("text/event-stream")
    answers = [json.loads(data) for _, data in frames(answer.body)]
    assert {one["id"] for one in answers} == set(range(4))
    assert {len(one["result"]["content"][0]["text"]) for one in answers} == {size}


def test_requests_of_a_batch_run_side_by_side_and_one_can_be_taken_back(
    gateway: Gateway, session: Mcp
) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(
            session.post, batch(*(call("sleep", number, ms=60_000) for number in (1, 2)), call("echo", 3))
        )
        until(lambda: gateway.server("good")["calls"]["running"] == 2, 5, "both are at the server")
        for number in (1, 2):
            session.post(batch(Mcp.message("notifications/cancelled", {"requestId": number})))
        answer = waiting.result()
    assert [one["id"] for one in answer.json()] == [3]


GOOD = call("echo", 1, text="x")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"[]", -32600, ("1 to 50",)),
        (batch(*[GOOD.replace(b'"id":1', b'"id":%d' % number) for number in range(51)]), -32600, ("51",)),
        (batch(GOOD, GOOD), -32600, ("two requests", "id 1")),
        (batch(GOOD, b"7"), -32600, ("message 2",)),
        (batch(GOOD, batch(GOOD)), -32600, ("message 2",)),
        (batch(GOOD, b'{"jsonrpc":"2.0","id":2,"id":3,"method":"ping"}'), -32700, ("message 2",)),
        (batch(GOOD, b'{"jsonrpc":"2.0","id":2,"Method":"ping","method":"ping"}'), -32600, ("case",)),
        (batch(GOOD, b'{"jsonrpc":"2.0","id":2,"method":"ping","params":{"x":NaN}}'), -32700, ()),
        (batch(GOOD, b'{"jsonrpc":"2.0","id":2,"method":"\xff"}'), -32700, ()),
        (batch(GOOD, b'{"id":2,"method":"ping"}'), -32600, ("jsonrpc",)),
        (batch(GOOD, Mcp.message("initialize", {"protocolVersion": "2025-03-26"}, 2)), -32600, ("batch",)),
        (b"[" + GOOD, -32700, ()),
        (batch(GOOD) + b"]", -32700, ()),
        (b"[" * 100_000, -32700, ()),
    ],
    ids=lambda value: value[-40:].decode("ascii", "replace") if isinstance(value, bytes) else "",
)
def test_a_batch_that_cannot_be_read_is_refused_and_nothing_of_it_runs(
    gateway: Gateway, session: Mcp, body: bytes, code: int, words: tuple[str, ...]
) -> None:
    before = total(gateway)
    answer = session.post(body)
    assert answer.status == 400, answer
    assert answer.json()["id"] is None
    check_rpc_error(answer.json(), code, "invalid", *words)
    assert total(gateway) == before


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
def test_a_session_of_a_revision_without_batches_gets_none(gateway: Gateway, revision: str) -> None:
    before = total(gateway)
    answer = Mcp(gateway, revision=revision).post(batch(GOOD))
    assert answer.status == 400
    check_rpc_error(answer.json(), -32600, "invalid", "object")
    assert total(gateway) == before


def test_a_batch_needs_a_session(gateway: Gateway) -> None:
    answer = gateway.request("POST", "/mcp", batch(GOOD), {"Accept": "*/*"})
    assert answer.status == 400
    check_rpc_error(answer.json(), -32600, "invalid", "Mcp-Session-Id")


def test_a_batch_counts_as_many_requests_as_it_holds(tmp_path: Path) -> None:
    with Gateway({}, tmp_path, {"limits": {"rate": 4}}) as gateway:  # 40 at once
        session = Mcp(gateway, revision="2025-03-26")
        body = batch(*(Mcp.message("ping", None, number) for number in range(1, 26)))
        assert session.post(body).status == 200
        answer = session.post(body)
        assert answer.status == 429
        check_rpc_error(answer.json(), -32000, "busy", "4 requests")


def test_a_large_resource_is_one_answer_of_a_batch(session: Mcp) -> None:
    uri = session.call("exact__huge", {"units": SMALL_UNITS})["result"]["content"][1]["uri"]
    read = Mcp.message("resources/read", {"uri": uri}, 1)
    for accept, sent in (
        ("application/json", batch(read, Mcp.message("ping", None, 2))),
        ("*/*", batch(read, call("progress", 2, "p", steps=2, ms=100))),
    ):
        answer = session.post(sent, Accept=accept)
        if answer.headers["content-type"] == "application/json":
            answers = answer.json()
        else:
            answers = [json.loads(data) for _, data in frames(answer.body)]
        (whole,) = (one for one in answers if one.get("id") == 1)
        assert len(json_bytes(whole)) > 10 * 1024 * 1024
