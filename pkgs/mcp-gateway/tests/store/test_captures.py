"""What was said in calls, on disk for who asked for it: written with its call, forgotten with it, bounded."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import mcp_gateway.store as store_module
from mcp_gateway.store import CallQuery, CallRecord, Capture, Captured, Store
from mcp_gateway.store import payloads as payloads_module
from tests.store.records import a_finished_record, a_record


def a_captured(text: str, **fields: Any) -> CallRecord:
    return a_finished_record(capture=Capture(len(text), lambda: {"request": text}), **fields)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path / "state")
    yield store
    await store.close()


async def kept(store: Store, *records: CallRecord) -> list[str | None]:
    found = [await store.captured(record.id) for record in records]
    return [None if one is None else one.document["request"] for one in found]


async def test_what_was_said_is_there_with_its_call_and_after_a_restart(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    records = [a_captured(f"canary-{n}", caller="anna") for n in range(20)]
    plain = a_finished_record()
    for record in (*records, plain):
        store.end(record)
    assert await store.captured(records[3].id) == Captured("git", "anna", {"request": "canary-3"})
    assert await store.captured(plain.id) is None
    assert all(record.capture is None for record in records), "what is written is let go of"
    await store.close()
    store = Store.open(tmp_path)
    assert await kept(store, *records) == [f"canary-{n}" for n in range(20)]
    await store.close()


async def test_it_is_forgotten_with_its_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PRUNE_EVERY_S", 0.0)
    store = Store.open(tmp_path)
    old = a_captured("old", started=time.time() - 40 * 86_400)
    young = a_captured("young", started=time.time())
    for record in (old, young):
        store.end(record)
    await store.call(0)
    assert await kept(store, old, young) == [None, "young"]
    await store.close()
    with closing(sqlite3.connect(tmp_path / "gateway.sqlite3")) as connection:
        assert connection.execute("SELECT call FROM payloads").fetchall() == [(young.id,)]


async def test_the_oldest_are_forgotten_where_there_are_too_many_bytes_and_their_calls_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads_module, "MAX_BYTES", 10_000)
    monkeypatch.setattr(payloads_module, "PRUNE_ROWS", 5)
    monkeypatch.setattr(store_module, "PRUNE_AFTER_BYTES", 1)
    store = Store.open(tmp_path)
    records = [a_captured("x" * 1000) for _ in range(50)]
    for record in records:
        store.end(record)
    await store.call(0)  # writes all; each turn after it prunes a step
    for _ in range(12):
        await store.call(0)
    found = await kept(store, *records)
    count = sum(one is not None for one in found)
    assert 5 <= count <= 9
    assert found == [None] * (50 - count) + ["x" * 1000] * count
    assert len((await store.calls(CallQuery(limit=500))).rows) == 50
    await store.close()


async def test_a_capture_that_cannot_be_made_costs_itself_alone(store: Store) -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("no")

    bad = a_finished_record(capture=Capture(1, fail))
    good = a_captured("good")
    for record in (bad, good):
        store.end(record)
    assert await kept(store, bad, good) == [None, "good"]
    assert await store.call(bad.id) is not None
    assert (store.lost_captures, store.lost_records, store.healthy) == (1, 0, True)


async def test_a_writer_that_falls_behind_lets_go_of_captures_and_counts_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_PENDING_BYTES", 1000)
    small, large = a_captured("small", request_bytes=0), a_captured("x" * 1001, request_bytes=0)
    for record in (small, large):
        store.end(record)
    assert await kept(store, small, large) == ["small", None]
    assert await store.call(large.id) is not None
    assert (store.lost_captures, store.lost_records) == (1, 0)


async def test_a_failed_batch_keeps_its_rows_and_loses_its_captures(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store_module, "RETRY_S", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(payloads_module, "write_rows", fail)
        record = a_captured("lost")
        store.end(record)
        await store.call(0)
        assert (store.healthy, store.lost_captures) == (False, 1)
    assert await store.call(record.id) is not None
    assert await kept(store, record) == [None]
    assert (store.healthy, store.lost_captures, store.lost_records) == (True, 1, 0)


async def test_a_database_of_the_version_before_gets_the_table(tmp_path: Path) -> None:
    first = files("mcp_gateway.store").joinpath("migrations/0001.sql").read_text()
    with closing(sqlite3.connect(tmp_path / "gateway.sqlite3")) as connection:
        connection.executescript(f"{first} PRAGMA user_version = 1;")
        connection.execute(
            "INSERT INTO calls VALUES (7, ?, 'l', 'r', 'g', 't', 'running', 0, 0, 0, NULL, NULL)",
            (time.time(),),
        )
        connection.commit()
    store = Store.open(tmp_path)
    row = await store.call(7)
    assert row is not None
    assert row["outcome"] == "interrupted"
    record = a_captured("new")
    store.end(record)
    assert await kept(store, record) == ["new"]
    await store.close()


@pytest.mark.parametrize("cut", [1, 4096, 50_000])
async def test_a_log_that_was_cut_off_costs_its_end_and_nothing_before(tmp_path: Path, cut: int) -> None:
    """A disk that stopped in the middle of a write: whole transactions are there, the torn one is not."""
    store = Store.open(tmp_path / "state")
    records = []
    for n in range(30):
        records.append(a_captured(f"{n}" * 1000))
        store.end(records[-1])
        await store.call(0)  # a transaction of its own
    torn = tmp_path / "torn"
    torn.mkdir()
    for path in (tmp_path / "state").glob("gateway.sqlite3*"):
        data = path.read_bytes()
        (torn / path.name).write_bytes(data[:-cut] if path.name.endswith("-wal") else data)
    await store.close()

    store = Store.open(torn)
    assert (store.notice, store.healthy) == (None, True)
    there = [await store.call(record.id) is not None for record in records]
    assert there == sorted(there, reverse=True), "a later call is there without an earlier one"
    assert (there[0], there[-1]) == (True, False)
    assert [text is not None for text in await kept(store, *records)] == there
    store.begin(a_record())
    await store.close()
