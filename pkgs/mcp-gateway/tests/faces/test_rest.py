"""Every route of REST, black box, against the real command; one gateway for all.

Each answer passes through `Api`, which holds it against `/openapi.json`. Tests that switch or restart use
the server `spare`; what they change they put back.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faces.knocking import (
    Api,
    Line,
    check_log,
    check_problem,
    check_problem_document,
    exact,
    fold,
    tool_path,
)
from tests.golden.exact import CASES, DEFINITION, NAMES
from tests.harness import Answer, Gateway, hostile, until

STREAM = {"Accept": "text/event-stream"}
ASYNC = {"Prefer": "respond-async"}
HOSTILE_TITLE = "<script>alert('x')</script> & \"more\""
HOSTILE_ID = "script-alert-x-script-more"
LONG_MS = 60_000


def servers(journal: Path) -> dict[str, dict[str, Any]]:
    return {
        "good": hostile("good", "--journal", str(journal)),
        "spare": hostile("good"),
        "exact": exact(),
        "narrow": hostile("good", "--journal", str(journal), concurrency=1, queue=1),
        "brief": hostile("good", timeout=0.3, maxTimeout=0.6),
        "chatty": hostile("log-flood", "--count", "3"),
        "asking": exact("modern"),
        "off": hostile("good", enabled=False),
        "broken": {"command": "/nowhere/<img src=x onerror=alert(1)>"},
        HOSTILE_TITLE: {"command": "/nowhere/at-all"},
    }


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journal") / "calls"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, journal: Path) -> Iterator[Api]:
    with Gateway(servers(journal), tmp_path_factory.mktemp("rest")) as gateway:
        for server in ("good", "spare", "exact", "narrow", "brief", "chatty", "asking"):
            gateway.wait_for_state(server, "ready")
        for server in ("broken", HOSTILE_ID):
            gateway.wait_for_state(server, "failed")
        yield Api(gateway)
        check_log(gateway)


@pytest.fixture
def arrived(journal: Path) -> Callable[[str], Callable[[], bool]]:
    """Makes a question: has one more call of this tool arrived at a server since?"""

    def since(tool: str) -> Callable[[], bool]:
        def count() -> int:
            return journal.read_text().count(f"{tool} ") if journal.exists() else 0

        before = count()
        return lambda: count() > before

    return since


def stats(api: Api, server: str) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(api.call(server, "stats").text)
    return seen


def set_enabled(api: Api, path: str, enabled: bool | None) -> dict[str, Any]:
    answer = api.request("PATCH", path, {"enabled": enabled})
    assert answer.status == 200, answer
    shown: dict[str, Any] = answer.json()
    return shown


# -- servers --------------------------------------------------------------------------------------------


def test_every_server_is_listed_with_its_state_and_why(api: Api) -> None:
    shown = {server["id"]: server for server in api.json("/api/servers")["servers"]}
    assert list(shown) == [*list(servers(Path()))[:-1], HOSTILE_ID]
    good, off, broken = shown["good"], shown["off"], shown["broken"]
    assert psutil.pid_exists(good["pid"])
    assert (good["state"], good["reason"], good["attempt"], good["nextRetry"]) == ("ready", None, 0, None)
    assert (good["enabled"], good["declared"], good["override"]) == (True, True, None)
    assert (good["transport"], good["protocolRevision"]) == ("stdio", "2025-11-25")
    assert good["tools"] > 5
    assert (off["state"], off["enabled"], off["declared"], off["pid"], off["tools"]) == (
        "off",
        False,
        False,
        None,
        0,
    )
    assert (broken["state"], broken["nextRetry"], broken["pid"]) == ("failed", None, None)
    assert "/nowhere/" in broken["reason"]
    assert broken["lastError"] == broken["reason"]
    assert shown[HOSTILE_ID]["title"] == HOSTILE_TITLE
    assert shown["asking"]["protocolRevision"] == "2026-07-28"


def test_one_server_is_shown_as_it_is_listed(api: Api) -> None:
    listed = next(server for server in api.json("/api/servers")["servers"] if server["id"] == "exact")
    moving = {"since": None, "readySince": None, "usage": None}
    assert api.json("/api/servers/exact") | moving == listed | moving
    assert listed["instructions"]


def test_a_server_tells_since_when_it_is_ready_and_what_it_takes(api: Api) -> None:
    # A process that began just after a look is in the next one.
    good = api.gateway.wait_for("good", lambda shown: shown["usage"] is not None, 10, "has been looked at")
    off = api.json("/api/servers/off")
    assert good["readySince"] == good["since"]
    assert off["readySince"] is None
    assert good["usage"]["processes"] == 1
    assert 0 < good["usage"]["memoryBytes"] < 1 << 30
    assert off["usage"] is None
    assert good["toolTokens"] > good["tools"]
    assert off["toolTokens"] == 0


def test_a_tool_that_is_off_takes_nothing_of_a_models_context(api: Api) -> None:
    before = api.json("/api/servers/good")["toolTokens"]
    set_enabled(api, "/api/tools/good/echo", False)
    during = api.json("/api/servers/good")["toolTokens"]
    set_enabled(api, "/api/tools/good/echo", True)
    assert during < before == api.json("/api/servers/good")["toolTokens"]


def test_a_server_switches_off_and_on_and_back_to_what_the_configuration_says(api: Api) -> None:
    path = "/api/servers/spare"
    first_pid = api.json(path)["pid"]
    shown = set_enabled(api, path, False)
    assert (shown["enabled"], shown["declared"], shown["override"]) == (False, True, False)
    api.gateway.wait_for_state("spare", "off")
    assert not api.gateway.survivors("spare")
    check_problem(api.call("spare", "echo", text="x"), 503, "unavailable", "off", server="spare")
    assert api.json("/api/tools?server=spare") == {"tools": []}
    assert set_enabled(api, path, True)["override"] is True
    assert api.gateway.wait_for_state("spare", "ready")["pid"] != first_pid
    shown = set_enabled(api, path, None)
    assert (shown["enabled"], shown["override"]) == (True, None)
    assert shown["state"] == "ready"
    assert api.call("spare", "echo", text="back").text == "back"


def test_a_server_that_is_declared_off_can_be_switched_on(api: Api) -> None:
    assert set_enabled(api, "/api/servers/off", True)["enabled"] is True
    assert api.call("off", "echo", text="on").text == "on"
    assert set_enabled(api, "/api/servers/off", None)["enabled"] is False
    api.gateway.wait_for_state("off", "off")


def test_a_restart_gives_a_new_process_and_calls_wait_for_it(api: Api) -> None:
    before = api.json("/api/servers/spare")["pid"]
    answer = api.request("POST", "/api/servers/spare/restart")
    assert answer.status == 202
    after = int(api.call("spare", "pid").text)
    assert after != before
    assert not psutil.pid_exists(before)
    assert api.json("/api/servers/spare")["pid"] == after


def test_a_restart_does_not_start_what_is_switched_off(api: Api) -> None:
    assert api.request("POST", "/api/servers/off/restart").status == 202
    assert api.gateway.wait_for_state("off", "off")["pid"] is None
    assert not api.gateway.survivors("off")


def test_stderr_is_shown_in_the_order_it_was_written(api: Api) -> None:
    for text in ("first words", "second \x1b[31mwords\u202e"):
        api.call("exact", "complain", text=text)
    until(lambda: len(api.json("/api/servers/exact")["stderr"]) >= 2, 5, "stderr is seen")
    answer = api.get("/api/servers/exact/logs?tail=2")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.decode() == "first words\nsecond \\x1b[31mwords\\u202e\n"
    assert api.get("/api/servers/exact/logs?tail=1").body.startswith(b"second")
    assert api.get("/api/servers/exact/logs?tail=0").body == b""
    assert api.json("/api/servers/exact")["stderr"][-2] == "first words"


def test_stderr_is_followed_live(api: Api) -> None:
    api.call("exact", "complain", text="before")
    until(lambda: "before" in api.json("/api/servers/exact")["stderr"], 5, "stderr is seen")
    with api.events("/api/servers/exact/logs?tail=1") as events:
        assert next(events)[1]["text"] == "before"
        api.call("exact", "complain", text="while you look")
        name, line = next(events)
        assert name == "log"
        assert (line["source"], line["text"]) == ("stderr", "while you look")
        assert line["at"] > 1e9


@pytest.mark.parametrize("tail", ["-1", "1001", "x", ""])
def test_a_tail_that_is_no_number_of_lines_is_refused(api: Api, tail: str) -> None:
    check_problem(api.get(f"/api/servers/exact/logs?tail={tail}"), 400, "invalid", "tail")


# -- tools ----------------------------------------------------------------------------------------------


def test_every_tool_is_listed_with_its_schema_and_where_it_belongs(api: Api) -> None:
    tools = api.json("/api/tools")["tools"]
    by_place = {(tool["server"], tool["name"]): tool for tool in tools}
    assert len(by_place) == len(tools) == len({tool["exposedName"] for tool in tools})
    assert {server for server, _ in by_place} == {
        "good",
        "spare",
        "exact",
        "narrow",
        "brief",
        "chatty",
        "asking",
    }
    echo = by_place["good", "echo"]
    assert (echo["exposedName"], echo["enabled"]) == ("good__echo", True)
    assert echo["inputSchema"] == {"type": "object", "properties": {"text": {"type": "string"}}}
    assert {tool for server, tool in by_place if server == "exact"} >= {*CASES, *NAMES}


def test_tools_are_filtered_by_server_and_by_words(api: Api) -> None:
    def found(query: str) -> set[tuple[str, str]]:
        return {(tool["server"], tool["name"]) for tool in api.json(f"/api/tools?{query}")["tools"]}

    assert {server for server, _ in found("server=good")} == {"good"}
    assert found("server=good&search=ECHO") == {("good", "echo")}
    # Every word counts, wherever it stands: in the name, the title or the description.
    assert found("server=good&search=says%20back") == {("good", "echo")}
    assert found("search=echo%20narrow") == {("narrow", "echo")}
    assert found("server=good&search=nothing-of-the-kind") == set()
    assert len(found("search=")) == len(found(""))
    assert found("server=off") == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_characters_is_shown_called_and_switched(api: Api, name: str) -> None:
    path = tool_path("exact", name)
    assert api.json(path)["name"] == name
    assert api.call("exact", name).text == name
    assert set_enabled(api, path, False)["enabled"] is False
    check_problem(api.call("exact", name), 503, "unavailable", server="exact")
    assert set_enabled(api, path, True)["name"] == name
    assert api.call("exact", name).text == name


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("a%2Fb", 200),
        ("a%2fb", 200),
        ("%61%2Fb", 200),
        ("a%252Fb", 404),  # would be a/b if it were decoded twice
        ("a%252fb", 404),
        ("a/b", 404),
        ("c%252Fd", 200),
        ("c%2Fd", 404),  # would be c%2Fd if it were not decoded at all
        ("c/d", 404),
        ("%2E%2E", 200),
        ("%252E%252E", 404),
        ("%ff", 404),
        ("%E0%80%AF", 404),
        ("a%2Fb%00", 404),
        ("A%2FB", 404),
        ("a%2Fb/", 404),
        ("", 404),
        ("%", 404),
        ("%zz", 404),
        ("a%2Fb;x=1", 404),
        ("n" * 5_000, 404),
        ("exact__nulls", 404),  # the exposed name is not the native one
    ],
)
def test_a_name_in_a_path_is_decoded_exactly_once(api: Api, path: str, status: int) -> None:
    for method in ("GET", "POST"):
        answer = api.request(method, f"/api/tools/exact/{path}", {} if method == "POST" else None)
        assert answer.status == status, answer
        if status == 404:
            check_problem(answer, 404, "unknown")
            assert len(answer.body) < 1_000


def test_one_tool_is_shown_with_what_its_server_says_of_it(api: Api) -> None:
    answer = api.get("/api/tools/exact/nulls")
    shown = answer.json()
    assert shown["exposedName"] == "exact__nulls"
    assert json.loads(b"{" + DEFINITION + b"}").items() <= shown.items()


def test_a_tool_that_is_switched_off_stays_listed_and_is_not_called(api: Api) -> None:
    path = "/api/tools/spare/echo"
    assert set_enabled(api, path, False)["enabled"] is False
    listed = {tool["name"]: tool["enabled"] for tool in api.json("/api/tools?server=spare")["tools"]}
    assert listed["echo"] is False
    assert listed["pid"] is True
    problem = check_problem(api.call("spare", "echo"), 503, "unavailable", "`echo`", "off", server="spare")
    assert api.record(problem["callId"])["outcome"] == "unavailable"
    assert api.call("spare", "pid").status == 200
    # The switch belongs to the tool, not to the process.
    api.request("POST", "/api/servers/spare/restart")
    check_problem(api.call("spare", "echo"), 503, "unavailable")
    assert set_enabled(api, path, True)["enabled"] is True
    assert api.call("spare", "echo", text="on").text == "on"


# -- calls: plain ---------------------------------------------------------------------------------------


def test_a_plain_call_answers_the_result_and_names_its_record(api: Api) -> None:
    answer = api.call("good", "echo", text="héllo")
    assert answer.json() == {"content": [{"type": "text", "text": "héllo"}], "isError": False}
    row = api.record(answer.call_id)
    assert (row["caller"], row["face"], row["server"], row["tool"]) == ("local", "rest", "good", "echo")
    assert (row["outcome"], row["detail"]) == ("ok", None)
    assert row["arguments"] == {"text": "string(5)"}
    assert row["responseBytes"] == len(answer.body)
    assert row["requestBytes"] == len(json.dumps({"text": "héllo"}))
    assert row["durationMs"] >= 0


def test_a_call_without_a_body_has_no_arguments(api: Api) -> None:
    answer = api.request("POST", "/api/tools/exact/raw-line", b"")
    assert '"arguments":{}' in answer.text


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/json ;q=1"],
)
def test_json_is_json_however_its_type_is_written(api: Api, kind: str) -> None:
    answer = api.request("POST", "/api/tools/good/echo", {"text": "x"}, {"Content-Type": kind})
    assert answer.text == "x"


def test_a_tool_that_reports_failure_is_a_result(api: Api) -> None:
    answer = api.call("good", "fail")
    assert answer.status == 200
    assert answer.json()["isError"] is True
    assert api.record(answer.call_id)["outcome"] == "tool_error"


@pytest.mark.parametrize(
    ("rpc_code", "status", "kind"),
    [(-32602, 400, "invalid"), (-32601, 404, "unknown"), (-32603, 502, "lost"), (-1, 502, "lost")],
)
def test_an_error_of_the_server_is_a_problem_that_carries_it(
    api: Api, rpc_code: int, status: int, kind: str
) -> None:
    answer = api.call("good", "refuse", code=rpc_code, message="not today")
    problem = check_problem(answer, status, kind, "not today", str(rpc_code), server="good")
    assert problem["rpcError"] == {"code": rpc_code, "message": "not today", "data": {"hint": "hostile"}}
    row = api.record(problem["callId"])
    assert row["outcome"] == kind
    assert "not today" in row["detail"]


def test_a_server_that_dies_during_a_call_is_lost(api: Api) -> None:
    problem = check_problem(api.call("spare", "die", code=7), 502, "lost", server="spare")
    assert api.record(problem["callId"])["outcome"] == "lost"
    api.gateway.wait_for_state("spare", "ready")


def test_a_server_that_failed_says_why_and_offers_no_retry_time(api: Api) -> None:
    problem = check_problem(api.call("broken", "echo"), 503, "unavailable", "failed", server="broken")
    assert "retryAfter" not in problem


def test_a_full_queue_is_busy_and_says_when_to_come_back(
    api: Api, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    is_running = arrived("sleep")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(api.request, "POST", "/api/tools/narrow/sleep", {"ms": 1_500})
        until(is_running, 5, "the first call is at the server")
        waiting = pool.submit(api.call, "narrow", "echo", text="patient")
        until(lambda: api.json("/api/servers/narrow")["calls"]["queued"] == 1, 5, "the second is queued")
        problem = check_problem(api.call("narrow", "echo"), 429, "busy", "running", server="narrow")
        assert problem["retryAfter"] >= 1
        assert api.record(problem["callId"])["outcome"] == "busy"
        assert api.json("/api/servers/narrow")["calls"] | {"total": 0} == {
            "running": 1,
            "queued": 1,
            "total": 0,
        }
        assert running.result().text == "slept"
        assert waiting.result().text == "patient"


def test_a_tool_that_asks_something_back_is_a_typed_problem(api: Api) -> None:
    check_problem(api.call("asking", "ask-back"), 409, "input_required", server="asking")


# -- calls: time ----------------------------------------------------------------------------------------


def test_a_call_that_takes_too_long_is_cancelled_and_told(api: Api) -> None:
    before = stats(api, "good")["cancelled"]
    answer = api.request("POST", "/api/tools/good/sleep?timeout=0.3", {"ms": LONG_MS})
    problem = check_problem(answer, 504, "timed_out", server="good")
    assert api.record(problem["callId"])["outcome"] == "timed_out"
    until(lambda: stats(api, "good")["cancelled"] == before + 1, 5, "the server hears of it")


def test_progress_keeps_a_call_alive_beyond_its_timeout(api: Api) -> None:
    answer = api.request("POST", "/api/tools/good/progress?timeout=1", {"steps": 14, "ms": 100})
    assert answer.text == "14 steps"


def test_no_progress_keeps_a_call_alive_beyond_the_servers_maximum(api: Api) -> None:
    answer = api.request("POST", "/api/tools/brief/progress?timeout=60", {"steps": 1_000, "ms": 50})
    check_problem(answer, 504, "timed_out", server="brief")


@pytest.mark.parametrize("timeout", ["", "0", "-1", "nan", "inf", "soon", "1e9", "1,5", "0x10"])
def test_a_timeout_that_is_none_is_refused(api: Api, timeout: str) -> None:
    answer = api.request("POST", f"/api/tools/good/echo?timeout={timeout}", {})
    check_problem(answer, 400, "invalid", "timeout")


# -- calls: as a stream ---------------------------------------------------------------------------------


def test_a_stream_tells_progress_as_it_happens_and_then_the_result(api: Api) -> None:
    with api.events("/api/tools/good/progress", "POST", {"steps": 3, "ms": 5}) as events:
        told = list(events)
    assert told[:3] == [
        ("progress", {"progress": step, "total": 3, "message": f"{step} of 3"}) for step in (1, 2, 3)
    ]
    assert told[3:] == [("result", {"content": [{"type": "text", "text": "3 steps"}], "isError": False})]


def test_a_stream_tells_progress_before_the_call_has_ended(
    api: Api, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    with api.events("/api/tools/good/progress", "POST", {"steps": 1_000_000, "ms": 20}) as events:
        assert next(events)[0] == "progress"
        assert api.json("/api/servers/good")["calls"]["running"] == 1
    until(lambda: api.json("/api/servers/good")["calls"]["running"] == 0, 5, "hanging up cancels it")


def test_a_stream_tells_the_log_of_a_call_that_is_alone(api: Api) -> None:
    with api.events("/api/tools/chatty/act", "POST", {}) as events:
        told = list(events)
    assert told[:-1] == [("log", {"level": "info", "data": "on and on"})] * 3
    assert told[-1][0] == "result"


@pytest.mark.parametrize(
    ("tool", "arguments", "query", "code"),
    [
        ("refuse", {"message": "no"}, "", "lost"),
        ("sleep", {"ms": LONG_MS}, "?timeout=0.3", "timed_out"),
        ("refuse", {"code": -32602}, "", "invalid"),
    ],
)
def test_a_stream_ends_with_the_problem(
    api: Api, tool: str, arguments: dict[str, Any], query: str, code: str
) -> None:
    with api.events(f"/api/tools/good/{tool}{query}", "POST", arguments) as events:
        ((name, problem),) = events
    assert name == "error"
    check_problem_document(problem)
    assert (problem["code"], problem["server"]) == (code, "good")
    assert api.record(problem["callId"])["outcome"] == code


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("good/nothing", 404, "unknown"),
        ("nothing/echo", 404, "unknown"),
        ("off/echo", 503, "unavailable"),
        ("good/echo?timeout=x", 400, "invalid"),
    ],
)
def test_a_call_that_never_began_is_an_error_and_no_stream(
    api: Api, path: str, status: int, code: str
) -> None:
    check_problem(api.request("POST", f"/api/tools/{path}", {}, STREAM), status, code)


def test_who_takes_json_as_well_gets_json(api: Api) -> None:
    for accept in ("application/json, text/event-stream", "*/*", "application/json"):
        answer = api.request("POST", "/api/tools/good/progress", {"steps": 2}, {"Accept": accept})
        assert answer.text == "2 steps"
        assert answer.headers["content-type"] == "application/json"


# -- calls: a client that goes away ---------------------------------------------------------------------


@pytest.mark.parametrize("accept", [b"text/event-stream", b"application/json"])
def test_hanging_up_cancels_the_call_and_the_server_hears_of_it(
    api: Api, arrived: Callable[[str], Callable[[], bool]], accept: bytes
) -> None:
    before = stats(api, "good")["cancelled"]
    is_running = arrived("sleep")
    body = b'{"ms":%d}' % LONG_MS
    with Line(api.gateway.port) as line:
        line.send(
            b"POST /api/tools/good/sleep HTTP/1.1",
            b"Host: localhost",
            b"Accept: " + accept,
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            body=body,
        )
        until(is_running, 5, "the call is at the server")
    until(lambda: stats(api, "good")["cancelled"] == before + 1, 5, "the server hears of it")
    newest = api.json("/api/calls?server=good&tool=sleep&limit=1")["calls"][0]
    assert newest["outcome"] == "cancelled"


# -- calls: left running --------------------------------------------------------------------------------


def begin(api: Api, path: str, arguments: dict[str, Any]) -> str:
    answer = api.request("POST", f"/api/tools/{path}", arguments, ASYNC)
    assert answer.status == 202, answer
    where = answer.headers["location"]
    assert answer.json() == {"id": where.removeprefix("/api/calls/"), "state": "running"}
    assert answer.headers["preference-applied"] == "respond-async"
    return where


def test_a_call_left_running_is_polled_until_its_result_is_there(api: Api) -> None:
    where = begin(api, "good/sleep", {"ms": 300})
    running = api.json(where)
    assert running["outcome"] == "running"
    assert "result" not in running
    row = api.record(where.removeprefix("/api/calls/"))
    assert row["outcome"] == "ok"
    assert row["result"] == {"content": [{"type": "text", "text": "slept"}], "isError": False}
    assert api.json(where)["result"] == row["result"]  # it is kept, not handed out once


def test_a_call_left_running_keeps_its_failure(api: Api) -> None:
    where = begin(api, "good/refuse", {"message": "not today"})
    row = api.record(where.removeprefix("/api/calls/"))
    check_problem_document(row["problem"])
    assert (row["outcome"], row["problem"]["code"]) == ("lost", "lost")
    assert "not today" in row["problem"]["detail"]


def test_a_call_left_running_is_followed_and_hanging_up_does_not_end_it(api: Api) -> None:
    where = begin(api, "good/progress", {"steps": 15, "ms": 100})
    with api.events(where) as events:
        assert next(events)[0] == "progress"
    with api.events(where) as events:
        told = list(events)
    assert told[0][0] == "progress"
    assert told[-1] == ("result", {"content": [{"type": "text", "text": "15 steps"}], "isError": False})
    with api.events(where) as events:  # once more, from what is kept
        assert list(events) == told[-1:]
    assert api.json(where)["outcome"] == "ok"


def test_a_call_left_running_is_cancelled_by_delete(
    api: Api, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    before = stats(api, "good")["cancelled"]
    is_running = arrived("sleep")
    where = begin(api, "good/sleep", {"ms": LONG_MS})
    until(is_running, 5, "the call is at the server")
    with api.events(where) as events:
        assert api.request("DELETE", where).status == 202
        ((name, problem),) = events
    assert name == "error"
    check_problem_document(problem)
    assert "cancelled" in problem["detail"]
    until(lambda: stats(api, "good")["cancelled"] == before + 1, 5, "the server hears of it")
    row = api.json(where)
    assert row["outcome"] == "cancelled"
    assert api.request("DELETE", where).json()["outcome"] == "cancelled"  # again: nothing happens


def test_delete_cancels_a_call_somebody_waits_for(
    api: Api, arrived: Callable[[str], Callable[[], bool]]
) -> None:
    is_running = arrived("sleep")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.request, "POST", "/api/tools/good/sleep", {"ms": LONG_MS})
        until(is_running, 5, "the call is at the server")
        row = api.json("/api/calls?server=good&outcome=running")["calls"][0]
        assert api.request("DELETE", f"/api/calls/{row['id']}").status == 202
        answer = waiting.result()
    check_problem_document(answer.json())
    assert "cancelled" in answer.json()["detail"]
    assert answer.json()["callId"] == row["id"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_call_knows_no_other_methods(api: Api, method: str) -> None:
    where = begin(api, "good/echo", {})
    answer = api.request(method, where, {})
    check_problem(answer, 405, "invalid")
    assert set(answer.headers["allow"].split(", ")) >= {"GET"}


@pytest.mark.parametrize("call_id", ["1234abcd", "0", "-1", "ffffffffffffffffff", "x", "%00", "1234ABCD"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_call_nobody_made_is_unknown(api: Api, method: str, call_id: str) -> None:
    check_problem(api.request(method, f"/api/calls/{call_id}"), 404, "unknown")


def test_several_preferences_are_read_one_by_one(api: Api) -> None:
    answer = api.request(
        "POST", "/api/tools/good/echo", {}, {"Prefer": "handling=strict, Respond-Async; x=1"}
    )
    assert answer.status == 202
    answer = api.request("POST", "/api/tools/good/echo", {}, {"Prefer": "wait=10"})
    assert answer.status == 200


# -- activity -------------------------------------------------------------------------------------------


def test_activity_is_newest_first_and_filtered_by_each_of_its_words(api: Api) -> None:
    ids = [api.call("narrow", tool).call_id for tool in ("echo", "fail", "pid")]

    def found(query: str) -> list[str]:
        return [row["id"] for row in api.json(f"/api/calls?{query}")["calls"]]

    assert found("server=narrow&limit=3") == ids[::-1]
    assert found("server=narrow&tool=fail")[0] == ids[1]
    assert found("outcome=tool_error")[0] == ids[1]
    assert found("face=rest&caller=local&server=narrow&limit=1") == [ids[2]]
    assert found("face=mcp") == []
    assert found("caller=somebody") == []
    started = api.record(ids[1])["started"]
    assert found(f"server=narrow&since={started}") == [ids[2], ids[1]]
    assert found("since=99999999999") == []


def test_activity_is_read_page_by_page_without_gap_or_repetition(api: Api) -> None:
    for _ in range(5):
        api.call("chatty", "echo")
    whole = [row["id"] for row in api.json("/api/calls?server=chatty&limit=500")["calls"]]
    paged: list[str] = []
    cursor = ""
    while True:
        page = api.json(f"/api/calls?server=chatty&limit=2{cursor}")
        paged += [row["id"] for row in page["calls"]]
        if page["cursor"] is None:
            break
        api.call("good", "echo")  # what happens meanwhile does not move the pages
        cursor = f"&cursor={page['cursor']}"
    assert paged == whole
    assert len(whole) >= 5


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "since=yesterday",
        "cursor=bogus",
        "cursor=nan~1",
        "cursor=1~zz",
        "sever=good",
    ],
)
def test_a_question_about_activity_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    check_problem(api.get(f"/api/calls?{query}"), 400, "invalid", query.partition("=")[0])


@pytest.mark.parametrize(
    ("path", "code", "server"),
    [
        ("good/nothing", "unknown", "good"),
        ("nothing/echo", "unknown", "nothing"),
        ("off/echo", "unavailable", "off"),
        ("broken/echo", "unavailable", "broken"),
    ],
)
def test_a_refused_call_leaves_exactly_one_record(api: Api, path: str, code: str, server: str) -> None:
    def rows() -> list[Any]:
        found: list[Any] = api.json(f"/api/calls?server={server}&outcome={code}&limit=500")["calls"]
        return found

    before = len(rows())
    problem = api.request("POST", f"/api/tools/{path}", {"text": "x"}).json()
    after = rows()
    assert len(after) == before + 1
    assert after[0]["id"] == problem["callId"]
    assert after[0]["detail"] == problem["detail"]


def test_no_value_of_an_argument_is_stored_or_shown(api: Api) -> None:
    canary = "canary-7f3d20c1"
    api.call("good", "echo", text=canary, list=[canary], deep={"deeper": canary})
    api.call("good", "nothing", text=canary)
    assert canary not in api.get("/api/calls?limit=500").body.decode()
    for file in api.gateway.state_dir.iterdir():
        if file.is_file():
            assert canary.encode() not in file.read_bytes(), file.name


# -- what changes, live ---------------------------------------------------------------------------------


def test_the_feed_tells_calls_states_and_tool_lists(api: Api) -> None:
    with api.events("/api/events") as events:
        made = api.call("good", "echo", text="x")
        call = fold(events, lambda name, data: name == "call" and data["id"] == made.call_id)
        assert (call["outcome"], call["tool"]) == ("ok", "echo")
        set_enabled(api, "/api/tools/spare/pid", False)
        fold(events, lambda name, data: name == "tools")
        set_enabled(api, "/api/tools/spare/pid", True)
        api.request("POST", "/api/servers/spare/restart")
        states = [
            fold(events, lambda name, data: name == "server" and data["id"] == "spare")["state"]
            for _ in range(3)
        ]
        assert states == ["stopping", "starting", "ready"]


def test_a_tool_that_appears_at_run_time_can_be_called(api: Api) -> None:
    with api.events("/api/events") as events:
        api.call("exact", "grow", name="sprout/1")
        fold(events, lambda name, data: name == "tools")
    assert api.call("exact", "sprout/1").text == "sprout/1"


# -- probes and the page --------------------------------------------------------------------------------


def test_the_probes_answer(api: Api) -> None:
    assert api.json("/health") == {"status": "ok"}
    ready = api.json("/ready")
    assert ready["status"] == "serving"
    assert ready["servers"] == {"ready": 7, "off": 1, "failed": 2}


def test_the_page_escapes_whatever_servers_say(api: Api) -> None:
    answer = api.get("/")
    page = answer.body.decode()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.lower().count("<script") == page.count('<script src="/ui/static/') + page.count(
        '<script type="module" src="/ui/static/'
    )
    assert page.lower().count("<img") == page.count('<img src="/ui/icons/icon.svg"')
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;more&#34;" in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    for word in ("good", "ready", "failed", "off"):
        assert word in page


# -- no redirects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["/", "//", "/.", "?", "%2F", "/?x=1"])
def test_no_route_redirects_whatever_follows_its_path(api: Api, ending: str) -> None:
    paths = [
        "/",
        "/ui",
        "/ui/servers",
        "/ui/servers/good/switch",
        "/ui/static/x/app.css",
        "/mcp",
        "/servers/good/mcp",
        "/docs",
        "/openapi.json",
        "/api",
        "/servers",
        "/api/tools/good",
    ]
    paths += [
        path.format(server="good", tool="echo", prompt="p", id="1", ticket="x")
        for path in api.document["paths"]
    ]
    for path in paths:
        for method in ("GET", "POST", "PATCH", "DELETE", "PUT"):
            if method == "GET" and "events" in path:
                continue  # served as it is, it never ends
            answer = api.gateway.request(method, path + ending, None if method == "GET" else b"{}")
            assert answer.status in (200, 202, 204, 400, 403, 404, 405, 406, 415), (
                method,
                path + ending,
                answer,
            )
            assert "location" not in answer.headers
    api.gateway.wait_for_state("good", "ready")


@pytest.mark.parametrize("path", ["//api/servers", "/api//servers", "/API/servers", "/api/./servers", "/x"])
def test_a_path_that_is_no_route_is_unknown(api: Api, path: str) -> None:
    check_problem(api.get(path), 404, "unknown")


def test_head_and_options_are_answered_without_a_hang(api: Api) -> None:
    for path in ("/health", "/api/servers", "/mcp", "/api/tools/good/echo"):
        for method in ("HEAD", "OPTIONS"):
            answer: Answer = api.gateway.request(method, path)
            assert answer.status in (200, 204, 400, 404, 405), (method, path, answer)
