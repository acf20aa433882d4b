"""Half a minute of chaos, and proofs that the runner of it would notice.

A run that finds nothing is worth as much as its judges: each of them is shown an answer, a record or a
memory that is wrong, and must say so.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import answers
from tests.chaos.answers import Told, Wrong, events, of_problem, of_rest, of_result, of_rpc
from tests.chaos.cast import (
    FATAL_ACTS,
    JSON_ACTS,
    LARGE_ACTS,
    LEFT_OUT,
    ODD_MODES,
    RIGHT_ACTS,
    SMALL_ACTS,
    SPOILT_ACTS,
    cast,
    complaint,
)
from tests.chaos.faults import DEEDS
from tests.chaos.run import run
from tests.chaos.schedule import Call, Disturbance, schedule
from tests.chaos.stage import Bounds, Stage
from tests.chaos.watch import slope
from tests.harness import Gateway
from tests.hostile import MODES

SEED = 30
SECONDS = 30.0
# On a machine that does much else: what hangs is still found, what is late is not counted.
PATIENT = Bounds(late_s=8.0, health_s=8.0, hang_s=20.0, stop_s=30.0, p99_s=8.0)


@pytest.mark.timeout(240)
def test_half_a_minute_of_chaos_breaks_no_invariant(tmp_path: Path) -> None:
    report = run(SEED, SECONDS, PATIENT, tmp_path / "chaos")
    print(report)
    assert report.violations == [], str(report)
    outcomes = Counter(outcome for _, outcome in report.stage.outcomes.elements())
    assert {"ok", "tool_error", "lost", "unavailable", "cancelled"} <= outcomes.keys(), "nothing happened"
    wanted = {"kill", "freeze", "switch", "restart", "turn", "hear"}
    assert wanted <= report.stage.done.keys(), "nothing was done"


# -- the schedule ---------------------------------------------------------------------------------------


def test_one_seed_is_one_schedule() -> None:
    one = schedule(7, cast(7), 30.0, reloads=True)
    assert one == schedule(7, cast(7), 30.0, reloads=True)
    assert one != schedule(8, cast(8), 30.0, reloads=True)
    assert one == sorted(one, key=lambda action: action.at)
    calls = [action for action in one if isinstance(action, Call)]
    assert len({call.number for call in calls}) == len(calls)
    assert 45 <= len(calls) / 30.0 <= 70


def test_nobody_attacks_the_calm_and_nothing_is_attacked_in_the_end() -> None:
    seen: set[str] = set()
    for seed in range(5):
        kinds = cast(seed)
        assert len(kinds) + 4 <= 25, "with the guests, no more processes than a small machine carries"
        calm = {kind.name for kind in kinds if kind.calm}
        actions = schedule(seed, kinds, 60.0, reloads=True)
        deeds = [action for action in actions if isinstance(action, Disturbance)]
        assert calm.isdisjoint(deed.target for deed in deeds)
        assert max(deed.at + deed.lasts_s for deed in deeds) < 60 * 0.9 * 0.92
        seen |= {deed.what for deed in deeds}
        first = min(action.at for action in actions if getattr(action, "server", "") not in calm)
        assert first >= 0, "the calm is calm"
    assert seen == set(DEEDS), "every disturbance takes part"


def test_without_a_reload_there_are_no_guests() -> None:
    actions = schedule(7, cast(7), 60.0, reloads=False)
    assert not [action for action in actions if isinstance(action, Disturbance) and action.what == "reload"]
    assert not [
        action for action in actions if isinstance(action, Call) and action.server.startswith("guest")
    ]


def test_every_mode_of_the_hostile_server_takes_part_or_is_left_out_on_purpose() -> None:
    acting = {*SMALL_ACTS, *LARGE_ACTS}
    assert acting | ODD_MODES.keys() | LEFT_OUT | {"good"} == MODES.keys()
    assert Counter([*RIGHT_ACTS, *SPOILT_ACTS, *FATAL_ACTS, *JSON_ACTS]).most_common(1)[0][1] == 1


# -- the judges -----------------------------------------------------------------------------------------

OK = {"content": [{"type": "text", "text": "7: hello"}]}
PROBLEM = {
    "type": "urn:mcp-gateway:problem:lost",
    "title": "The server was lost during the call",
    "status": 502,
    "detail": "It was lost",
    "code": "lost",
    "retryable": False,
    "callId": "a1",
}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(Gateway({}, tmp_path), {kind.name: kind for kind in cast(1)}, PATIENT)


def echo(server: str, way: str = "rest", number: int = 7) -> Call:
    return Call(0.0, number, way, server, "echo", {"text": f"{number}: hello"}, 0, "/mcp", 0.0)


def broken(stage: Stage) -> list[str]:
    return [violation.invariant for violation in stage.violations]


@pytest.mark.parametrize(
    ("server", "told", "invariant"),
    [
        ("calm", Told("ok", "a1", "7: hello"), None),
        ("calm", Told("ok", "a1", "8: hello"), "I1 the answer to this call"),
        ("victim-1", Told("ok", "a1", ""), "I1 the answer to this call"),
        ("calm", Told("lost", "a1", "It was lost"), "I6 typed errors"),
        ("calm", Told("unavailable", "a1", "It is down"), "I6 typed errors"),
        ("victim-1", Told("lost", "a1", "It was lost"), None),
        ("victim-1", Told("internal", "a1", "A mistake"), "I6 typed errors"),
        ("victim-1", Told("unknown", "a1", "No such tool"), "I6 typed errors"),
        ("victim-1", Told("busy", "a1", "Too much to do"), "I6 typed errors"),
        ("victim-1", Told("cancelled", "a1", "Taken back"), "I6 typed errors"),
        ("narrow", Told("busy", "a1", "Too much to do"), None),
    ],
)
def test_a_caller_may_be_told_only_what_its_server_can_be_blamed_for(
    stage: Stage, server: str, told: Told, invariant: str | None
) -> None:
    stage.judge(echo(server), told)
    assert broken(stage) == ([] if invariant is None else [invariant])


def test_a_server_that_was_switched_may_be_unknown_for_a_while(stage: Stage) -> None:
    stage.unsettle("victim-1")
    stage.judge(echo("victim-1"), Told("unknown", "a1", "No such tool"))
    assert broken(stage) == []


def test_one_id_for_two_calls_is_noticed(stage: Stage) -> None:
    stage.judge(echo("calm"), Told("ok", "a1", "7: hello"))
    stage.judge(echo("calm", number=8), Told("ok", "a1", "8: hello"))
    assert broken(stage) == ["I1 one answer"]


def test_a_record_that_says_something_else_is_noticed(stage: Stage) -> None:
    stage.compare([("a1", "ok"), ("a2", "lost"), ("a3", "ok")], {"a1": "ok", "a2": "ok"})
    assert broken(stage) == ["I5 one record", "I5 one record"]


def test_a_violation_names_what_was_done_before_it(stage: Stage) -> None:
    stage.gateway.directory.mkdir(exist_ok=True)
    stage.gateway.log.write_text("the last line of the log\n")
    stage.recent += [Disturbance(stage.now - 1, "kill", "victim-1"), echo("calm")]
    stage.violate("I8 recovers alone", "victim-1 is not back", "victim-1")
    said = str(stage.violations[0])
    assert "kill victim-1" in said
    assert "the last line of the log" in said
    assert "calm/echo" not in said


def test_a_success_that_a_mode_cannot_have_is_noticed() -> None:
    assert complaint("wild-1", "act", {"mode": "garbage"}, "right") == ""
    assert complaint("wild-1", "act", {"mode": "garbage"}, "WRONG")
    assert complaint("wild-1", "act", {"mode": "never"}, "right")
    assert complaint("wild-1", "act", {"mode": "huge-line"}, "hhhh")
    assert complaint("wild-large", "act", {"mode": "huge-line"}, "hhhh") == ""


@pytest.mark.parametrize("result", [{}, {"content": []}, {"content": [{"type": "text"}]}, [], None])
def test_an_empty_success_is_no_answer(result: Any) -> None:
    with pytest.raises(Wrong):
        of_result(result, "a1")


@pytest.mark.parametrize(
    "changes", [{"code": "oops"}, {"detail": "oops"}, {"retryable": True}, {"status": 200}, {"more": 1}]
)
def test_an_error_that_is_not_typed_is_no_answer(changes: dict[str, Any]) -> None:
    assert of_problem(PROBLEM, None) == Told("lost", "a1", "It was lost")
    with pytest.raises(Wrong):
        of_problem(PROBLEM | changes, None)


def test_an_answer_over_rest_must_be_what_its_status_says() -> None:
    with pytest.raises(Wrong):
        of_rest(500, "text/plain", b"Internal Server Error", None)
    with pytest.raises(Wrong):
        of_rest(200, "application/json", b"", "a1")
    with pytest.raises(Wrong):
        of_rest(200, "application/json", b'{"content":[{"text":"x"}]}', None)


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 2, "result": OK},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "result": OK, "error": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"message": "oops", "data": {"code": "oops"}}},
    ],
)
def test_an_answer_over_mcp_must_be_the_one_to_this_request(message: dict[str, Any]) -> None:
    assert of_rpc({"jsonrpc": "2.0", "id": 1, "result": OK}, 1, "a1") == Told("ok", "a1", "7: hello")
    with pytest.raises(Wrong):
        of_rpc(message, 1, "a1")


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


async def test_events_are_read_however_the_stream_is_cut() -> None:
    stream = b': call a1\n\nevent: progress\ndata: {"progress":1}\n\nevent: result\ndata: {}\n\n'
    wanted = [("progress", '{"progress":1}'), ("result", "{}")]
    for size in (1, 3, 7, 1000):
        cut = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [event async for event in events(parts(*cut))] == wanted
    with pytest.raises(Wrong):
        assert [event async for event in events(parts(b"event: result\nda"))] == []
    with pytest.raises(Wrong):
        answers.parsed("NaN")


def test_a_leak_has_a_slope_and_a_burst_has_none() -> None:
    rng = random.Random(1)
    noise = [(float(second), rng.uniform(-3, 3)) for second in range(90)]
    burst = [(at, value + (500 if 30 <= at < 50 else 0)) for at, value in noise]
    leak = [(at, value + at / 2) for at, value in noise]
    assert abs(slope(noise)) < 0.1
    assert abs(slope(burst)) < 0.3
    assert 0.4 < slope(leak) < 0.6
    assert slope([]) == 0.0
