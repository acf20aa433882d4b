"""F096 and F098: a disk that is full or read-only, a file that is damaged, newer than we are, or in use."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.store import CallQuery, Store, StoreError, call_id_text
from mcp_gateway.store import database as database_module
from tests.store.records import a_finished_record, a_record

_PACKAGE = Path(__file__).parents[2]
_PAGE_BYTES = 4096


def _run_scribe(task: str, state_dir: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-W", "error", "-m", "tests.store.scribe", task, str(state_dir)]
    done = subprocess.run(command, cwd=_PACKAGE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def _filled(state_dir: Path, count: int) -> None:
    store = Store.open(state_dir)
    await store.set_override("git", "git_commit", False)
    for _ in range(count):
        store.end(a_finished_record())
    await store.close()


def _overwrite(path: Path, start: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\x5a" * size)


async def test_calls_go_on_while_the_disk_is_full_and_are_written_when_it_is_not(tmp_path: Path) -> None:
    failed, refused, full, end = _run_scribe("fill", tmp_path)
    assert "Activity is not recorded" in failed["fault"]
    assert failed["lost"] == 0
    assert "failed" in refused["refused"]
    assert refused["overrides"] == 0
    assert full["lost"] > 0
    assert end["lost"] == full["lost"]

    store = Store.open(tmp_path)
    assert (store.healthy, store.notice) == (True, None)
    assert store.overrides() == {("git", None): False}
    count, cursor = 0, None
    while True:
        page = await store.calls(CallQuery(limit=500, cursor=cursor))
        count += len(page.rows)
        cursor = page.cursor
        if cursor is None:
            break
    await store.close()
    assert count == end["written"] - end["lost"]


async def test_a_gateway_starts_on_a_full_disk_and_marks_what_was_interrupted_later(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    record = a_record()
    store.begin(record)
    await store.close()

    at_first, at_last = _run_scribe("open-full", tmp_path)
    assert "Activity is not recorded" in at_first["fault"]
    assert at_last["fault"] is None
    store = Store.open(tmp_path)
    row = await store.call(record.id)
    assert row is not None
    assert row["outcome"] == "interrupted"
    await store.close()


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"state directory .*/file/state cannot be used: Not a directory"):
        Store.open(tmp_path / "file" / "state")


def test_a_read_only_directory_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    script = (
        "import os, pathlib, sys\n"
        "from mcp_gateway.store import Store, StoreError\n"
        "if os.geteuid() == 0:\n"
        "    os.chown(sys.argv[1], 65534, 65534)\n"
        "    os.chdir(sys.argv[1])\n"
        "    os.setuid(65534)\n"
        "try:\n"
        "    Store.open(pathlib.Path('.' if os.getcwd() == sys.argv[1] else sys.argv[1]))\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    tmp_path.chmod(0o700)
    assert "cannot be used: Permission denied" in done.stdout, done.stderr


async def test_nobody_else_can_read_the_state(tmp_path: Path) -> None:
    state_dir = tmp_path / "a" / "state"
    store = Store.open(state_dir)
    store.end(a_finished_record())
    await store.call(0)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state_dir, *state_dir.iterdir())}
    assert modes == {"state": 0o700, "lock": 0o600, "gateway.sqlite3": 0o600, "gateway.sqlite3-wal": 0o600}
    await store.close()


def test_a_link_in_the_place_of_the_database_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "gateway.sqlite3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("start", "fate"),
    [(0, "is lost"), (40 * _PAGE_BYTES, "is kept")],
    ids=["in the header", "in the middle"],
)
async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, start: int, fate: str) -> None:
    await _filled(tmp_path, 2000)
    _overwrite(tmp_path / "gateway.sqlite3", start, 2 * _PAGE_BYTES)

    store = Store.open(tmp_path)
    assert store.notice is not None
    assert fate in store.notice
    assert store.healthy
    assert store.overrides() == ({("git", "git_commit"): False} if fate == "is kept" else {})
    (aside,) = tmp_path.glob("gateway.sqlite3.corrupt-*")
    assert str(aside) in store.notice
    assert (await store.calls(CallQuery())).rows == []
    await store.close()

    store = Store.open(tmp_path)
    assert store.notice is None
    await store.close()


async def test_damage_that_is_met_later_costs_one_answer_and_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(tmp_path, 2000)
    monkeypatch.setattr(database_module, "QUICK_CHECK_MAX_BYTES", 0)
    _overwrite(tmp_path / "gateway.sqlite3", 20 * _PAGE_BYTES, 10_000 * _PAGE_BYTES)
    store = Store.open(tmp_path)
    record = a_finished_record()
    store.end(record)
    for _ in range(3):  # the batch or the first question meets it; it is replaced at once
        try:
            row = await store.call(record.id)
        except StoreError:
            continue
        if row is not None:
            break
    else:
        pytest.fail("the record was lost")
    assert store.notice is not None
    assert (store.healthy, store.lost_records) == (True, 0)
    assert store.overrides() == {("git", "git_commit"): False}
    await store.set_override("git", None, True)
    await store.close()
    store = Store.open(tmp_path)
    assert store.overrides() == {("git", "git_commit"): False, ("git", None): True}
    await store.close()


async def test_switches_that_cannot_be_read_do_not_keep_the_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(tmp_path, 100)
    monkeypatch.setattr(database_module, "QUICK_CHECK_MAX_BYTES", 0)
    _overwrite(tmp_path / "gateway.sqlite3", _PAGE_BYTES, 10 * _PAGE_BYTES)
    store = Store.open(tmp_path)
    assert store.notice is not None
    assert "is lost" in store.notice
    assert store.overrides() == {}
    await store.close()


async def test_only_the_latest_damaged_files_are_kept(tmp_path: Path) -> None:
    for second in range(5):
        (tmp_path / f"gateway.sqlite3.corrupt-100000000{second}").write_text("")
        (tmp_path / f"gateway.sqlite3.corrupt-100000000{second}-wal").write_text("")
    (tmp_path / "gateway.sqlite3").write_bytes(b"no database" * 1000)
    await Store.open(tmp_path).close()
    kept = sorted(path.name.removeprefix("gateway.sqlite3.corrupt-") for path in tmp_path.glob("*.corrupt-*"))
    assert kept[:4] == ["1000000003", "1000000003-wal", "1000000004", "1000000004-wal"]
    assert len(kept) == 5


async def test_a_database_of_a_newer_gateway_is_left_alone(tmp_path: Path) -> None:
    await _filled(tmp_path, 1)
    path = tmp_path / "gateway.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"written by a newer gateway \(version 99\)"):
        Store.open(tmp_path)
    assert path.read_bytes() == before


async def test_a_database_in_use_by_another_program_is_told_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(tmp_path, 1)
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(tmp_path / "gateway.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked"):
            Store.open(tmp_path)
        other.execute("ROLLBACK")
    store = Store.open(tmp_path)
    assert len((await store.calls(CallQuery())).rows) == 1
    await store.close()


async def test_in_one_process_the_directory_belongs_to_one_store_until_it_is_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    store = Store.open(tmp_path)
    with pytest.raises(StoreError, match="Another gateway"):
        Store.open(tmp_path)
    record = a_finished_record()
    store.end(record)
    await store.close()
    store = Store.open(tmp_path)
    row = await store.call(record.id)
    assert row is not None
    assert row["id"] == call_id_text(record.id)
    await store.close()
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
