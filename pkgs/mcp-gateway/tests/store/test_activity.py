"""Calls in, pages out: what is recorded, what is shown, what is forgotten."""

import time
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import mcp_gateway.store as store_module
from mcp_gateway.clock import CallIds
from mcp_gateway.store import CallQuery, CursorError, Store, StoreClosed, call_id_text, parse_call_id
from mcp_gateway.store import calls as calls_module
from tests.store.records import a_finished_record, a_record


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path / "state")
    yield store
    await store.close()


async def test_a_call_that_was_answered_is_visible_at_once_and_whole(store: Store) -> None:
    record = a_record(arguments=b'{"text":"hello","list":["abc",1]}', request_bytes=33)
    store.begin(record)
    record.outcome, record.duration_s, record.response_bytes = "ok", 0.0125, 2000
    store.end(record)
    row = {
        "id": call_id_text(record.id),
        "started": record.started,
        "caller": "local",
        "right": "call",
        "action": None,
        "face": "rest",
        "server": "git",
        "tool": "git_status",
        "method": "tools/call",
        "target": None,
        "outcome": "ok",
        "durationMs": 12.5,
        "requestBytes": 33,
        "responseBytes": 2000,
        "detail": None,
        "arguments": {"text": "string(5)", "list": ["string(3)", 2]},
    }
    assert await store.call(record.id) == row
    page = await store.calls(CallQuery())
    assert (page.rows, page.cursor) == ([row], None)


async def test_a_running_call_is_shown_as_running_and_later_takes_its_end(store: Store) -> None:
    record = a_record()
    store.begin(record)
    row = await store.call(record.id)
    assert row is not None
    assert (row["outcome"], row["durationMs"]) == ("running", None)

    # The call path may let go of the arguments after the call was begun; their shape stays.
    record.arguments = None
    record.outcome, record.duration_s, record.detail = "lost", 1.5, "The server ended during the call"
    store.end(record)
    row = await store.call(record.id)
    assert row is not None
    assert (row["outcome"], row["durationMs"], row["detail"]) == ("lost", 1500.0, record.detail)
    assert row["arguments"] == {"repo_path": "string(9)"}
    assert len((await store.calls(CallQuery())).rows) == 1


async def test_a_refused_call_needs_no_beginning(store: Store) -> None:
    record = a_record(outcome="refused", arguments=None)
    store.end(record)
    row = await store.call(record.id)
    assert row is not None
    assert (row["outcome"], row["arguments"]) == ("refused", None)


async def test_what_the_caller_sent_is_bounded_and_made_storable(store: Store) -> None:
    class Outcome(StrEnum):
        UNKNOWN = "unknown"

    record = a_record(outcome=Outcome.UNKNOWN, tool="\ud800" + "x" * 5000, detail="é" * 5000)
    store.end(record)
    row = await store.call(record.id)
    assert row is not None
    assert row["outcome"] == "unknown"
    assert row["tool"] == "?" + "x" * 255
    assert row["detail"] == "é" * 500


async def test_a_record_that_breaks_the_rules_takes_no_neighbour_along(store: Store) -> None:
    good = [a_finished_record(), a_finished_record()]
    store.end(good[0])
    store.end(a_finished_record(tool=None))
    store.end(good[1])
    assert [row["id"] for row in (await store.calls(CallQuery())).rows] == [
        call_id_text(good[1].id),
        call_id_text(good[0].id),
    ]
    assert (store.lost_records, store.healthy) == (1, True)


async def test_a_row_that_sqlite_refuses_does_not_come_back_for_ever(store: Store) -> None:
    store.end(a_finished_record(started=float("nan")))
    assert (await store.calls(CallQuery())).rows == []
    assert (store.lost_records, store.healthy) == (1, True)
    store.end(a_finished_record())
    assert len((await store.calls(CallQuery())).rows) == 1


async def test_no_value_of_an_argument_reaches_the_disk(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    record = a_record(arguments=b'{"password":"canary-7f3a","list":["canary-7f3a"]}')
    store.begin(record)
    await store.call(record.id)
    record.outcome = "ok"
    store.end(record)
    await store.close()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"password" in written
    assert b"canary" not in written


async def test_a_writer_that_falls_behind_costs_arguments_first_and_then_records_that_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_PENDING_BYTES", 0)
    record = a_finished_record()
    store.end(record)
    row = await store.call(record.id)
    assert row is not None
    assert row["arguments"] is None
    monkeypatch.setattr(store_module, "MAX_PENDING", 0)
    running = a_record()
    store.begin(running)
    store.end(a_finished_record())
    assert len((await store.calls(CallQuery())).rows) == 1
    assert store.lost_records == 1


async def test_each_filter_narrows_the_page_and_all_of_them_together(store: Store) -> None:
    for n in range(24):
        store.end(
            a_finished_record(
                started=1_900_000_000.0 + n,
                server="git" if n % 2 else "time",
                tool="a" if n % 3 else "b",
                caller="anna" if n % 4 else "ben",
                face="rest" if n % 5 else "mcp",
                outcome="ok" if n % 6 else "busy",
            )
        )

    async def found(**filters: Any) -> list[int]:
        page = await store.calls(CallQuery(**filters))
        return [int(row["started"]) - 1_900_000_000 for row in page.rows]

    newest_first = list(range(23, -1, -1))
    assert await found() == newest_first
    assert await found(server="time") == [n for n in newest_first if n % 2 == 0]
    assert await found(tool="b") == [n for n in newest_first if n % 3 == 0]
    assert await found(caller="ben") == [n for n in newest_first if n % 4 == 0]
    assert await found(face="mcp") == [n for n in newest_first if n % 5 == 0]
    assert await found(outcome="busy") == [n for n in newest_first if n % 6 == 0]
    assert await found(since=1_900_000_020.0) == [23, 22, 21, 20]
    assert await found(until=1_900_000_002.0) == [1, 0]
    assert await found(since=1_900_000_002.0, until=1_900_000_004.0) == [3, 2]
    assert await found(since=1_900_000_004.0, until=1_900_000_002.0) == []
    assert await found(server="time", tool="b", caller="ben", since=1_900_000_001.0) == [12]
    assert await found(server="nobody") == []


async def test_a_query_lets_through_of_a_feed_what_is_on_its_pages(store: Store) -> None:
    for n in range(60):
        record = a_finished_record(
            started=1_900_000_000.0 + n,
            server="" if n % 7 == 0 else "git",
            tool="a" if n % 3 else "b",
            caller="anna" if n % 4 else "ben",
            face="rest" if n % 5 else "mcp",
            outcome="ok" if n % 6 else "busy",
            method="tools/call" if n % 2 else "prompts/get",
        )
        if n % 7 == 0:
            record.action = "key.create" if n % 2 else "reload"
        store.end(record)
    rows = (await store.calls(CallQuery(limit=100))).rows
    queries: list[dict[str, Any]] = [
        {},
        {"kind": "calls"},
        {"kind": "actions"},
        {"kind": "calls", "action": "reload"},
        {"action": "reload"},
        {"method": "tools/call"},
        {"server": "git", "tool": "a", "face": "mcp"},
        {"caller": "ben", "outcome": "busy"},
        {"only": "anna"},
        {"only": "anna", "caller": "ben"},
        {"since": 1_900_000_010.0, "until": 1_900_000_020.0},
        {"kind": "actions", "since": 1_900_000_007.0, "until": 1_900_000_028.0},
    ]
    for words in queries:
        query = CallQuery(**words, limit=100)
        on_pages = [row["id"] for row in (await store.calls(query)).rows]
        assert [row["id"] for row in rows if query.matches(row)] == on_pages, words
        assert on_pages or len(words) == 2, words


async def test_pages_neither_repeat_nor_skip_while_calls_come_in(store: Store) -> None:
    records = [a_finished_record(started=1000.0 + n // 3) for n in range(103)]  # equal times, too
    store.keep_days = 1_000_000.0
    for record in records:
        store.end(record)
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.calls(CallQuery(limit=10, cursor=cursor))
        seen += [row["id"] for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            break
        assert len(page.rows) == 10
        store.end(a_finished_record())
    assert seen == [call_id_text(record.id) for record in reversed(records)]


async def test_pages_before_a_moment_go_on_where_they_ended(store: Store) -> None:
    store.keep_days = 1_000_000.0
    records = [a_finished_record(started=1000.0 + n) for n in range(20)]
    for record in records:
        store.end(record)
    first = await store.calls(CallQuery(until=1015.0, limit=10))
    second = await store.calls(CallQuery(until=1015.0, limit=10, cursor=first.cursor))
    rows = first.rows + second.rows
    assert ([row["started"] for row in rows], second.cursor) == (
        [1000.0 + n for n in range(14, -1, -1)],
        None,
    )


async def test_the_last_full_page_says_that_it_is_the_last(store: Store) -> None:
    for _ in range(10):
        store.end(a_finished_record())
    page = await store.calls(CallQuery(limit=10))
    assert (len(page.rows), page.cursor) == (10, None)


async def test_rare_matches_fill_a_page_over_many_windows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_module, "WINDOW_ROWS", 7)
    rare = []
    for n in range(100):
        record = a_finished_record(server="rare" if n % 25 == 0 else "git")
        rare += [call_id_text(record.id)] * (n % 25 == 0)
        store.end(record)
    first = await store.calls(CallQuery(server="rare", limit=3))
    second = await store.calls(CallQuery(server="rare", limit=3, cursor=first.cursor))
    assert [row["id"] for row in first.rows + second.rows] == rare[::-1]
    assert second.cursor is None


@pytest.mark.parametrize("limit", [-1, 0, 501, 10**9])
async def test_a_page_has_at_least_one_row_and_at_most_five_hundred(store: Store, limit: int) -> None:
    for _ in range(502):
        store.end(a_finished_record())
    assert len((await store.calls(CallQuery(limit=limit))).rows) == (1 if limit < 1 else 500)


@pytest.mark.parametrize(
    "cursor", ["x", "~", "1.0", "1.0~", "nan~a", "inf~a", "1.0~A", "1.0~-1", "1~2~3", "1.0~٣"]
)
async def test_a_cursor_that_is_not_ours_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(CursorError):
        await store.calls(CallQuery(cursor=cursor))


@pytest.mark.parametrize("call_id", [0, 1, 35, 36, 2**53 + 1, 2**63 - 1])
def test_an_id_survives_its_text(call_id: int) -> None:
    assert parse_call_id(call_id_text(call_id)) == call_id


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "01", "A", "1_0", "é", "٣", "1y2p0ij32e8e8", "z" * 14]
)
def test_text_that_is_no_id_is_none(text: str) -> None:
    assert parse_call_id(text) is None


async def test_old_rows_and_surplus_rows_are_pruned_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    store = Store.open(tmp_path, keep_days=30.0)
    for n in range(300):
        store.end(a_finished_record(started=now - 31 * 86_400 + n))
    young = [a_finished_record(started=now - 60 + n / 100) for n in range(300)]
    for record in young:
        store.end(record)
    await store.call(0)
    await store.close()

    # Each question passes through one turn of the writer, and each turn prunes one step.
    monkeypatch.setattr(calls_module, "PRUNE_ROWS", 50)
    monkeypatch.setattr(calls_module, "PRUNE_S", 0.0)
    store = Store.open(tmp_path, keep_days=30.0, max_rows=100)
    for _ in range(20):
        await store.call(0)
    page = await store.calls(CallQuery(limit=500))
    assert [row["id"] for row in page.rows] == [call_id_text(record.id) for record in young[:-101:-1]]
    await store.close()


async def test_pruning_lets_every_batch_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is much to prune, what is written is there at the next look, and less is left each time."""
    now = time.time()
    store = Store.open(tmp_path)
    for n in range(400):
        store.end(a_finished_record(started=now - 60 + n / 100))
    await store.close()

    monkeypatch.setattr(calls_module, "PRUNE_ROWS", 10)
    monkeypatch.setattr(calls_module, "PRUNE_S", 0.0)
    monkeypatch.setattr(store_module, "PRUNE_EVERY_S", 0.0)
    store = Store.open(tmp_path, max_rows=100)
    left = []
    for n in range(40):
        record = a_finished_record(started=now + n / 100)
        store.end(record)
        assert await store.call(record.id) is not None
        left.append(len((await store.calls(CallQuery(limit=500))).rows))
    assert left == sorted(left, reverse=True)
    assert len(set(left)) >= 10
    assert left[-1] == 100
    await store.close()


async def test_what_is_kept_may_change_while_the_store_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PRUNE_EVERY_S", 0.0)
    store = Store.open(tmp_path)
    now = time.time()
    for n in range(100):
        store.end(a_finished_record(started=now - n * 3600))
    assert len((await store.calls(CallQuery(limit=500))).rows) == 100
    store.keep_days = 2.0
    await store.call(0)
    assert len((await store.calls(CallQuery(limit=500))).rows) == 48
    store.max_rows = 5
    await store.call(0)
    assert len((await store.calls(CallQuery(limit=500))).rows) == 5
    await store.close()


async def test_the_highest_id_is_remembered_so_that_none_is_used_twice(tmp_path: Path) -> None:
    """Though the wall clock may have gone back between two lives of the gateway."""
    store = Store.open(tmp_path)
    assert store.last_call_id == 0
    records = [a_finished_record(id=number) for number in (7 << 40, 9 << 40, 8 << 40)]
    for record in records:
        store.end(record)
    await store.close()
    store = Store.open(tmp_path)
    assert store.last_call_id == 9 << 40
    assert CallIds(store.last_call_id).next(0.0) == (9 << 40) + 1
    await store.close()


async def test_a_closed_store_says_so_and_may_be_closed_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    last = a_finished_record()
    store.end(last)
    await store.close()
    await store.close()
    for use in (store.begin, store.end):
        with pytest.raises(StoreClosed):
            use(last)
    for read in (store.overrides, lambda: store.eras("f")):
        with pytest.raises(StoreClosed):
            read()
    with pytest.raises(StoreClosed):
        await store.calls(CallQuery())
    with pytest.raises(StoreClosed):
        await store.set_override("git", None, True)

    again = Store.open(tmp_path)
    assert await again.call(last.id) is not None
    await again.close()
