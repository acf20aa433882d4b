"""Numbers of activity: what counts as what, where it falls, how exact it is, and how much is looked at."""

import math
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.errors import Kind
from mcp_gateway.store import StatsQuery, Store
from mcp_gateway.store import stats as stats_module
from tests.store.records import a_finished_record, a_record

NOON = 1_800_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path / "state", keep_days=36_500)
    yield store
    await store.close()


def asked(**more: Any) -> StatsQuery:
    """Of the minute before noon, in stretches of ten seconds."""
    return StatsQuery(**({"since": NOON - 60, "until": NOON, "buckets": 6} | more))


def at(seconds: float, outcome: str = "ok", duration_s: float = 0.0125, **more: Any) -> Any:
    """A record of a call that began so long before noon."""
    return a_finished_record(started=NOON - seconds, outcome=outcome, duration_s=duration_s, **more)


def counts(document: dict[str, Any]) -> list[tuple[int, int]]:
    return [(bucket["calls"], bucket["errors"]) for bucket in document["buckets"]]


async def test_a_call_is_counted_when_it_began(store: Store) -> None:
    for seconds in (60.001, 60, 50.001, 50, 49.999, 0.001, 0):
        store.end(at(seconds))
    document = await store.stats(asked())
    assert counts(document) == [(2, 0), (2, 0), (0, 0), (0, 0), (0, 0), (1, 0)]
    assert [bucket["at"] for bucket in document["buckets"]] == [NOON - left for left in range(60, 0, -10)]
    assert (document["since"], document["until"], document["bucketSeconds"]) == (NOON - 60, NOON, 10)
    assert document["totals"]["calls"] == 5
    assert (document["truncated"], document["countedSince"]) == (False, NOON - 60)


async def test_what_is_an_error_and_what_is_none(store: Store) -> None:
    fine = {"ok", "running", "cancelled", Kind.INPUT_REQUIRED.value}
    others = {"tool_error", "interrupted", *(kind.value for kind in Kind)} - fine
    for outcome in (*fine, *others):
        store.end(at(30, outcome))
    totals = (await store.stats(asked()))["totals"]
    assert (totals["calls"], totals["errors"]) == (len(fine | others), len(others))


async def test_what_was_done_to_the_gateway_is_no_call(store: Store) -> None:
    await store.commit(at(30, action="key.create", needed="admin"))
    store.end(at(30))
    assert (await store.stats(asked()))["totals"]["calls"] == 1


async def test_a_call_that_runs_counts_and_has_no_duration_yet(store: Store) -> None:
    running = a_record(started=NOON - 30)
    store.begin(running)
    totals = (await store.stats(asked()))["totals"]
    assert totals == {"calls": 1, "errors": 0, "p50Ms": None, "p95Ms": None}
    running.outcome, running.duration_s = "lost", 2.0
    store.end(running)
    totals = (await store.stats(asked()))["totals"]
    assert (totals["calls"], totals["errors"]) == (1, 1)
    assert totals["p50Ms"] == pytest.approx(2000, rel=0.05)


async def test_a_call_that_was_refused_at_once_does_not_flatter_the_others(store: Store) -> None:
    for _ in range(9):
        store.end(at(30, "unknown", 0.0))
    store.end(at(30, duration_s=0.5))
    totals = (await store.stats(asked()))["totals"]
    assert (totals["calls"], totals["errors"]) == (10, 9)
    assert totals["p50Ms"] == totals["p95Ms"] == pytest.approx(500, rel=0.05)


async def test_half_of_the_calls_and_nineteen_of_twenty(store: Store) -> None:
    for number in range(1, 101):  # 10 ms to 1 s, in two stretches of time
        store.end(at(5 if number % 2 else 55, duration_s=number / 100))
    document = await store.stats(asked())
    assert document["totals"]["p50Ms"] == pytest.approx(500, rel=0.05)
    assert document["totals"]["p95Ms"] == pytest.approx(950, rel=0.05)
    first, *empty, last = document["buckets"]
    assert (first["p50Ms"], last["p50Ms"]) == pytest.approx((500, 490), rel=0.05)
    assert all((bucket["p50Ms"], bucket["p95Ms"]) == (None, None) for bucket in empty)


@pytest.mark.parametrize("digits", [10, 11, 49, 99, 99.999999])
@pytest.mark.parametrize("power", range(-6, 3))
async def test_durations_are_told_within_five_percent(store: Store, digits: float, power: int) -> None:
    duration_s = digits * 10.0**power
    store.end(at(30, duration_s=duration_s))
    totals = (await store.stats(asked()))["totals"]
    assert totals["p50Ms"] == totals["p95Ms"]
    assert totals["p50Ms"] == pytest.approx(duration_s * 1000, rel=0.0501)


@pytest.mark.parametrize("duration_s", [-1.0, 1e-9, 5e-7, 2e4, 1e300])
async def test_a_duration_beyond_all_reason_is_somewhere(store: Store, duration_s: float) -> None:
    store.end(at(30, duration_s=duration_s))
    totals = (await store.stats(asked()))["totals"]
    assert totals["calls"] == 1
    assert (totals["p50Ms"] is None) is (duration_s <= 0)


@pytest.mark.parametrize(
    ("member", "one", "other"),
    [
        ("server", "git", "time"),
        ("tool", "a", "b"),
        ("caller", "local", "key:laptop"),
        ("face", "rest", "mcp"),
        ("outcome", "ok", "lost"),
        ("method", "tools/call", "resources/read"),
    ],
)
async def test_only_what_is_asked_for_counts(store: Store, member: str, one: str, other: str) -> None:
    for value in (one, one, other):
        store.end(a_finished_record(started=NOON - 30, **{member: value}))
    for value, count in ((one, 2), (other, 1), ("nothing", 0)):
        document = await store.stats(asked(**{member: value}))
        assert document["totals"]["calls"] == count


async def test_who_may_see_only_their_own_sees_no_others_whatever_they_ask_for(store: Store) -> None:
    for caller in ("key:a", "key:a", "key:b"):
        store.end(at(30, caller=caller))
    assert (await store.stats(asked(only="key:b")))["totals"]["calls"] == 1
    assert (await store.stats(asked(only="key:b", caller="key:a")))["totals"]["calls"] == 0
    by_server = await store.stats(asked(only="key:b", by="server", servers=("git",)))
    assert by_server["servers"]["git"]["calls"] == 1


async def test_servers_are_counted_side_by_side_and_only_those_that_are_named(store: Store) -> None:
    store.end(at(55, server="git"))
    store.end(at(5, "lost", server="git"))
    store.end(at(5, server="time"))
    store.end(at(5, "unknown", server="made-up\n\",'"))
    document = await store.stats(asked(by="server", buckets=2, servers=("git", "quiet", "time")))
    assert "buckets" not in document
    assert document["servers"] == {
        "git": {
            "calls": 2,
            "errors": 1,
            "buckets": [{"calls": 1, "errors": 0}, {"calls": 1, "errors": 1}],
        },
        "quiet": {"calls": 0, "errors": 0, "buckets": [{"calls": 0, "errors": 0}] * 2},
        "time": {
            "calls": 1,
            "errors": 0,
            "buckets": [{"calls": 0, "errors": 0}, {"calls": 1, "errors": 0}],
        },
    }
    odd = await store.stats(asked(by="server", servers=("made-up\n\",'",)))
    assert next(iter(odd["servers"].values()))["errors"] == 1


async def test_stretches_of_the_table_add_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        store.end(at(59 - number, "lost" if number % 5 == 0 else "ok", duration_s=0.01 * (1 + number % 7)))
    whole = await store.stats(asked())
    by_server = await store.stats(asked(by="server", servers=("git",)))
    for rows in (1, 7, 49, 50, 51):
        monkeypatch.setattr(stats_module, "WINDOW_ROWS", rows)
        assert await store.stats(asked()) == whole
        assert await store.stats(asked(by="server", servers=("git",))) == by_server
    assert whole["totals"]["calls"] == 50


async def test_calls_of_one_moment_are_all_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(10):
        store.end(at(30))
    monkeypatch.setattr(stats_module, "WINDOW_ROWS", 3)
    assert (await store.stats(asked()))["totals"]["calls"] == 10


async def test_of_too_many_the_newest_are_counted_and_it_is_said_from_when_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        store.end(at(number + 1))
    monkeypatch.setattr(stats_module, "WINDOW_ROWS", 4)
    monkeypatch.setattr(stats_module, "MAX_ROWS", 8)
    document = await store.stats(asked())
    assert (document["truncated"], document["countedSince"]) == (True, NOON - 8)
    assert document["totals"]["calls"] == 8
    monkeypatch.setattr(stats_module, "MAX_ROWS", 24)
    assert (await store.stats(asked()))["truncated"] is False


async def test_records_are_written_between_the_stretches(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        store.end(at(30))
    monkeypatch.setattr(stats_module, "WINDOW_ROWS", 1)
    late = a_finished_record(started=NOON - 59)
    count_window = stats_module.Tally.count_window
    windows = []

    def counting(tally: stats_module.Tally, connection: Any) -> None:
        count_window(tally, connection)
        windows.append(tally.before)
        if len(windows) == 2:
            store.end(late)

    monkeypatch.setattr(stats_module.Tally, "count_window", counting)
    assert (await store.stats(asked()))["totals"]["calls"] == 6


async def test_an_empty_time_has_numbers_too(store: Store) -> None:
    document = await store.stats(asked(buckets=1))
    assert document["buckets"] == [{"at": NOON - 60, "calls": 0, "errors": 0, "p50Ms": None, "p95Ms": None}]
    assert document["totals"] == {"calls": 0, "errors": 0, "p50Ms": None, "p95Ms": None}


async def test_the_shortest_time_there_is_has_its_buckets(store: Store) -> None:
    store.end(at(0))
    document = await store.stats(asked(since=NOON, until=math.nextafter(NOON, math.inf), buckets=240))
    assert (len(document["buckets"]), document["totals"]["calls"]) == (240, 1)


_outcomes = st.sampled_from(["ok", "lost", "tool_error", "cancelled"])
_calls = st.lists(st.tuples(st.floats(0.001, 59.999), _outcomes, st.floats(0, 100)), max_size=40)


@given(_calls, st.integers(1, 240))
def test_no_call_is_lost_between_the_buckets(calls: list[tuple[float, str, float]], buckets: int) -> None:
    tally = stats_module.Tally(asked(buckets=buckets))
    connection = _table(calls)
    while not tally.is_over:
        tally.count_window(connection)
    document = tally.document()
    connection.close()
    errors = sum(outcome in ("lost", "tool_error") for _, outcome, _ in calls)
    assert len(document["buckets"]) == buckets
    assert sum(bucket["calls"] for bucket in document["buckets"]) == document["totals"]["calls"] == len(calls)
    assert sum(bucket["errors"] for bucket in document["buckets"]) == document["totals"]["errors"] == errors
    durations = sorted(duration_s for _, _, duration_s in calls if duration_s >= 1e-5)
    if len(durations) == len(calls) > 0:
        half = durations[math.ceil(len(durations) / 2) - 1] * 1000
        assert document["totals"]["p50Ms"] == pytest.approx(half, rel=0.0501)


def _table(calls: list[tuple[float, str, float]]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE calls (id INTEGER PRIMARY KEY, started REAL, caller TEXT, face TEXT, server TEXT,"
        " tool TEXT, outcome TEXT, duration_s REAL, action TEXT, method TEXT)"
    )
    connection.executemany(
        "INSERT INTO calls VALUES (?, ?, 'local', 'rest', 'git', 'a', ?, ?, NULL, 'tools/call')",
        [
            (number, NOON - seconds, outcome, duration_s)
            for number, (seconds, outcome, duration_s) in enumerate(calls, 1)
        ],
    )
    return connection
