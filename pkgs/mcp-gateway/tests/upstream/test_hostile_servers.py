"""Upstreams over real processes: `hostile.py` misbehaves in one way, calls end rightly or typed.

Fewer and larger than the tests over a server in this process: here framing, scheduling and exits are
the kernel's. The black-box fault table in `tests/faults` says the same through HTTP.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from mcp_gateway.errors import CallCancelled, Kind
from mcp_gateway.upstream import opening, process, upstream
from mcp_gateway.upstream.framing import Spooled
from mcp_gateway.upstream.lifecycle import Restart, Start, State, Stop
from mcp_gateway.upstream.stance import Stance
from mcp_gateway.upstream.upstream import Upstream
from tests.upstream.parts import ALL_ASKS, Stage, exchange_of, failure_of, gone, result_of, text_of, until

MIB = 1 << 20
pytestmark = pytest.mark.usefixtures("at_once", "quick_tick")


async def another_process(server: Upstream, than: int | None) -> None:
    await until(lambda: server.pid not in (None, than), "another process")


async def restarts(stage: Stage, server: Upstream) -> None:
    await until(lambda: State.STOPPING in stage.histories[server], "it restarts")


async def works(stage: Stage, server: Upstream) -> None:
    assert text_of(await result_of(stage.call(server, "echo", {"text": "still here"}))) == "still here"


# -- many at once ---------------------------------------------------------------------------------------


async def test_five_hundred_calls_at_once_get_their_own_answers(stage: Stage) -> None:
    """Half of them answered out of order; every argument is used by many calls at the same time."""
    server = await stage.ready("good", concurrency=500)
    calls = []
    for number in range(500):
        if number % 2:
            calls.append((stage.call(server, "sleep", {"ms": number % 7 * 10}), "slept"))
        else:
            calls.append((stage.call(server, "echo", {"text": str(number % 10)}), str(number % 10)))
    assert server.requests.in_flight == 500
    for call, expected in calls:
        assert text_of(await result_of(call)) == expected
    assert (server.requests.in_flight, dict(server.requests.counts)) == (0, {})
    seen = await stage.stats(server)
    assert (seen["methods"]["tools/call"], seen["cancelled"], seen["unreadable"]) == (501, 0, 0)


async def test_the_queue_empties_itself_however_small_the_room(stage: Stage) -> None:
    server = await stage.ready("good", concurrency=3)
    calls = [stage.call(server, "sleep", {"ms": 1}, caller=str(number % 4)) for number in range(200)]
    for call in calls:
        await result_of(call)
    assert (server.requests.in_flight, server.requests.queued) == (0, 0)


async def test_progress_of_many_calls_reaches_each_its_own(stage: Stage) -> None:
    server = await stage.ready("good")
    calls = [stage.call(server, "progress", {"steps": 3 + number % 5, "ms": 2}) for number in range(40)]
    mailboxes = [call.listen() for call in calls]
    for number, (call, mailbox) in enumerate(zip(calls, mailboxes, strict=True)):
        steps = 3 + number % 5
        assert text_of(await result_of(call)) == f"{steps} steps"
        notes = [json.loads(note.data) for note in mailbox.take() if note.kind == "progress"]
        assert [(note["progress"], note["total"]) for note in notes] == [
            (n, steps) for n in range(1, steps + 1)
        ]
        assert {note["progressToken"] for note in notes} == {call.id}


# -- ends of calls --------------------------------------------------------------------------------------


async def test_a_cancelled_call_stops_at_its_server(stage: Stage) -> None:
    server = await stage.ready("good")
    calls = [stage.call(server, "sleep", {"ms": 60_000}) for _ in range(3)]
    await works(stage, server)
    stage.take_back(server, calls[1], "enough")
    with pytest.raises(CallCancelled):
        await calls[1].answer()
    seen = await stage.stats(server)
    assert (seen["cancelledIds"], seen["running"]) == ([calls[1].id], 2)


async def test_a_call_that_times_out_stops_at_its_server_and_leaves_the_others(stage: Stage) -> None:
    server = await stage.ready("never")
    pid = server.pid
    await failure_of(stage.call(server, "act", idle_s=0.1), Kind.TIMED_OUT)
    seen = await stage.stats(server)
    assert (seen["cancelled"], seen["running"]) == (1, 0)
    assert server.pid == pid


async def test_progress_carries_a_call_beyond_its_idle_time(stage: Stage) -> None:
    server = await stage.ready("good")
    call = stage.call(server, "progress", {"steps": 30, "ms": 20}, idle_s=0.3)
    assert text_of(await result_of(call)) == "30 steps"
    call = stage.call(server, "progress", {"steps": 300, "ms": 20}, idle_s=0.3, hard_s=0.6)
    await failure_of(call, Kind.TIMED_OUT)


async def test_an_answer_that_comes_too_late_reaches_nobody(stage: Stage) -> None:
    server = await stage.ready("late", "--delay-ms", "200")
    await failure_of(stage.call(server, "act", idle_s=0.05), Kind.TIMED_OUT)
    await works(stage, server)
    await until(lambda: server.requests.counts["unknown answers"], "the late answer")
    await works(stage, server)


# What `act` does before its answer, or instead of it, and what its caller is told then.
RIGHT = (
    *("garbage", "invalid-utf8", "bom", "crlf", "utf16", "drip", "burst", "deep", "huge-int", "batch"),
    *("unknown-id", "string-id", "duplicate-reply", "result-then-error", "odd-progress", "list-storm"),
)
# A broken line that names the call is its answer: to wait for a better one could be to wait for ever.
LOST = ("invalid-utf8-reply", "deep-reply", "nan", "neither", "odd-result", "two-on-a-line")


@pytest_asyncio.fixture
async def good(stage: Stage) -> Upstream:
    return await stage.ready("good")


async def test_noise_around_an_answer_does_not_reach_its_caller(stage: Stage, good: Upstream) -> None:
    pid = good.pid
    for mode in RIGHT:
        assert text_of(await result_of(stage.call(good, "act", {"mode": mode}))) == "right", mode
        await works(stage, good)
    assert (good.pid, good.life.state) == (pid, State.READY)
    assert good.requests.counts["unknown answers"] > 5
    assert good.requests.counts["garbage lines"] > 10
    assert good.requests.counts["stray progress"] > 5


async def test_an_answer_that_makes_no_sense_fails_its_call_and_no_other(
    stage: Stage, good: Upstream
) -> None:
    pid = good.pid
    for mode in LOST:
        beside = stage.call(good, "sleep", {"ms": 50})
        await failure_of(stage.call(good, "act", {"mode": mode}), Kind.LOST)
        assert text_of(await result_of(beside)) == "slept", mode
    assert good.pid == pid


async def test_a_question_during_a_call_is_answered_so_that_nobody_hangs(
    stage: Stage, good: Upstream
) -> None:
    answers = json.loads(text_of(await result_of(stage.call(good, "act", {"mode": "ask"}))))
    assert answers == {
        "ping": {},
        "nonsense/ask": -32601,
        "elicitation/create": -32601,
        "sampling/createMessage": -32601,
    }
    assert good.requests.counts["declined requests"] == 3


async def test_a_result_beyond_ten_mebibytes_arrives_whole_and_leaves_nothing(
    stage: Stage, good: Upstream, spool_dir: Path
) -> None:
    files = psutil.Process().num_fds()
    beside = stage.call(good, "sleep", {"ms": 10})
    call = stage.call(good, "blob", {"bytes": 17 * MIB})
    await until(lambda: call.ended, "the answer")
    await result_of(beside)
    large = call.result
    assert isinstance(large, Spooled)
    whole = large.read_result(0, large.result_bytes)
    assert json.loads(whole)["content"][0]["text"] == "b" * (17 * MIB)
    large.close()
    assert list(spool_dir.iterdir()) == []
    await until(lambda: psutil.Process().num_fds() <= files, "the file is closed")


async def test_a_result_beyond_what_is_allowed_is_lost_and_the_server_replaced(stage: Stage) -> None:
    server = await stage.ready("good", max_result_bytes=MIB)
    first = server.pid
    problem = await failure_of(stage.call(server, "blob", {"bytes": 3 * MIB}), Kind.LOST)
    assert str(MIB) in problem.detail
    await another_process(server, first)
    await stage.reaches(server, State.READY)
    await works(stage, server)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("die", "it exited with code 3"),
        ("kill9", "SIGKILL"),
        ("half", "it exited with code 0"),
        ("orphan-stdout", "it exited with code 0"),
        ("close-stdout", "it closed its stdout"),
        ("close-stdin", "it closed its stdin"),
    ],
)
async def test_a_server_that_ends_in_a_call_loses_it_and_is_started_again(
    stage: Stage, good: Upstream, mode: str, reason: str
) -> None:
    first = good.pid
    assert first is not None
    beside = stage.call(good, "sleep", {"ms": 60_000})
    problem = await failure_of(stage.call(good, "act", {"mode": mode}), Kind.LOST)
    assert reason in problem.detail
    await failure_of(beside, Kind.LOST)
    await another_process(good, first)
    await stage.reaches(good, State.READY)
    await works(stage, good)
    await gone(first)
    assert good.life.attempt == 1
    assert reason in (good.last_error or "")


async def test_helpers_and_daemons_end_with_their_server(stage: Stage, good: Upstream) -> None:
    pids: list[int] = []
    for mode in ("helpers", "daemon"):
        pids += json.loads(text_of(await result_of(stage.call(good, "act", {"mode": mode}))))
    assert len(pids) == 4
    good.tell(Stop())
    await stage.reaches(good, State.OFF)
    for pid in pids:
        await gone(pid, within_s=1)


# -- openings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "era", "remembered"),
    [
        (("good",), "handshake", "remember handshake"),
        (("good", "--era", "modern"), "modern", "remember modern"),
        (("good", "--era", "dual"), "handshake", "remember handshake modern"),
        (("banner",), "handshake", "remember handshake"),
        (("discover-odd-error",), "handshake", "remember handshake"),
        (("discover-empty",), "handshake", "remember handshake"),
        (("discover-odd-result",), "handshake", "remember handshake"),
        (("discover-exit",), "handshake", "remember handshake"),
        (("init-huge",), "handshake", "remember handshake"),
    ],
    ids=" ".join,
)
async def test_a_server_of_any_era_opens_and_opens_again(
    stage: Stage, options: tuple[str, ...], era: str, remembered: str
) -> None:
    server = await stage.ready(*options)
    assert server.opened is not None
    assert server.opened.era == era
    assert stage.memory.events == [remembered]
    assert (await stage.stats(server))["era"] == era
    server.tell(Restart())
    await restarts(stage, server)
    await stage.reaches(server, State.READY)
    await works(stage, server)


@pytest.mark.parametrize(
    "options",
    [("discover-silent",), ("discover-null-id",), ("init-silent", "--era", "modern")],
    ids=" ".join,
)
async def test_a_server_that_is_silent_to_one_of_the_probes_opens_by_the_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr(opening, "SILENT_PROBE_S", 0.2)
    server = stage.hostile(*options, start_timeout_s=5.0)
    await stage.reaches(server, State.READY, State.WAITING)
    assert server.life.state is State.READY, server.life.reason
    await works(stage, server)


@pytest.mark.parametrize(
    ("mode", "state", "reason"),
    [
        ("init-wrong-version", State.FAILED, "1999-12-31"),
        ("init-empty", State.FAILED, "initialize"),
        ("init-odd-types", State.FAILED, "initialize"),
        ("init-not-object", State.WAITING, "no result"),
        ("init-error", State.WAITING, "no licence found"),
        ("list-error", State.WAITING, "the list is gone"),
        ("list-not-array", State.FAILED, "tools/list"),
        ("exit0", State.WAITING, "it exited with code 0"),
        ("die-after-handshake", State.WAITING, "it exited with code 4"),
    ],
)
async def test_an_opening_that_fails_says_why(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, mode: str, state: State, reason: str
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.999)
    server = stage.hostile(mode)
    await stage.reaches(server, state)
    assert reason in server.life.reason
    assert server.pid is None


async def test_odd_tools_are_left_out_and_said(stage: Stage) -> None:
    server = await stage.ready("list-odd-tools")
    names = [tool.name for tool in server.tools]
    assert {"echo", "pid", "../etc/passwd", "a/b"} <= set(names)
    assert len(names) == len(set(names))
    assert any("left out" in line for line in stage.log_of(server))
    await works(stage, server)


async def test_lists_without_end_are_cut(stage: Stage) -> None:
    for mode, count in (("list-many", 2_000), ("cursor-endless", 200), ("cursor-same", 1)):
        server = await stage.ready(mode)
        assert len(server.tools) == count, mode
        assert any("cut" in line or "does not end" in line for line in stage.log_of(server)), mode


# -- a storm, and a silence -----------------------------------------------------------------------------


async def test_a_storm_of_list_changes_costs_one_refresh(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "REFRESH_AFTER_S", 0.02)
    monkeypatch.setattr(upstream, "REFRESH_EVERY_S", 0.2)
    server = await stage.ready("list-storm")
    await result_of(stage.call(server, "act"))

    async def lists() -> Any:
        return (await stage.stats(server))["methods"]["tools/list"]

    before = stage.changes
    await until(lambda: stage.changes > before, "the refresh")
    assert await lists() == 2
    await asyncio.sleep(0.3)
    assert await lists() == 2


async def test_a_suspended_server_is_found_out_and_replaced(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "PING_S", 0.2)
    monkeypatch.setattr(process, "STDIN_GRACE_S", 0.1)
    monkeypatch.setattr(process, "TERM_GRACE_S", 0.1)
    server = await stage.ready("good")
    first = server.pid
    assert first is not None
    psutil.Process(first).suspend()
    await failure_of(stage.call(server, "echo", idle_s=0.1), Kind.TIMED_OUT)
    await another_process(server, first)
    await stage.reaches(server, State.READY)
    await works(stage, server)
    await gone(first)


async def test_many_servers_live_side_by_side(stage: Stage) -> None:
    servers = [stage.hostile("good") for _ in range(8)]
    for server in servers:
        await stage.reaches(server, State.READY)
    calls = [(n, stage.call(server, "pid")) for n, server in enumerate(servers) for _ in range(20)]
    for number, call in calls:
        assert text_of(await result_of(call)) == str(servers[number].pid)
    for server in servers[::2]:
        server.tell(Restart())
    for server in servers[1::2]:
        await works(stage, server)
    for server in servers[::2]:
        await restarts(stage, server)
        await stage.reaches(server, State.READY)
        server.tell(Start())
        await works(stage, server)


async def test_F053_a_server_of_the_modern_era_asks_nobody_in_the_middle_of_a_call(stage: Stage) -> None:
    stance = Stance(capabilities=b'{"elicitation":{},"sampling":{}}')  # the client came before it was up
    server = await stage.ready("ask", "--era", "modern", stance=stance)
    call = exchange_of("act", capabilities=ALL_ASKS)
    call.listen()
    server.submit(call)
    answers = json.loads(text_of(await result_of(call)))
    assert {answer for method, answer in answers.items() if method != "ping"} == {-32601}


async def test_a_short_time_to_start_leaves_some_for_being_ready_without_resources(stage: Stage) -> None:
    server = await stage.ready("others-silent", start_timeout_s=2.0)
    await works(stage, server)
