"""F095: kill -9 while a thousand calls a second are recorded; what was acknowledged is there."""

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.store import CallQuery, Store, StoreError, call_id_text

_PACKAGE = Path(__file__).parents[2]
_ROUNDS = 4  # of each kind
_WRITTEN_AFTER_S = 1.0  # 100 ms by contract; a busy machine may schedule the writer late


@contextmanager
def _scribe(task: str, state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.store.scribe", task, str(state_dir)]
    with subprocess.Popen(command, cwd=_PACKAGE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _facts(process: subprocess.Popen[str]) -> Iterator[Any]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith("\n"):  # the kill may cut the last one
            yield json.loads(line)


async def _stored(state_dir: Path) -> dict[str, str]:
    """Every id with its outcome, out of a database that is in order."""
    store = Store.open(state_dir)
    assert store.notice is None
    rows: list[dict[str, Any]] = []
    page = await store.calls(CallQuery(limit=500))
    rows += page.rows
    while page.cursor:
        page = await store.calls(CallQuery(limit=500, cursor=page.cursor))
        rows += page.rows
    await store.close()
    with closing(sqlite3.connect(state_dir / "gateway.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return {row["id"]: row["outcome"] for row in rows}


@pytest.mark.parametrize("seed", range(_ROUNDS))
async def test_what_was_acknowledged_survives_kill_9_and_what_ran_is_interrupted(
    tmp_path: Path, seed: int
) -> None:
    expected: dict[str, str] = {}
    for life in range(2):  # the second one begins on what the first one left
        with _scribe("ask", tmp_path) as scribe:
            facts = _facts(scribe)
            for _ in range(random.Random(seed * 2 + life).randint(1, 25)):
                told = next(facts)
                expected |= dict.fromkeys(map(call_id_text, told["acknowledged"]), "ok")
                expected[call_id_text(told["running"])] = "interrupted"
            scribe.kill()
            for told in facts:  # what it said before the blow fell
                expected |= dict.fromkeys(map(call_id_text, told["acknowledged"]), "ok")
        stored = await _stored(tmp_path)
        assert {call_id: stored.get(call_id) for call_id in expected} == expected
        assert set(stored.values()) <= {"ok", "interrupted"}


@pytest.mark.parametrize("seed", range(_ROUNDS))
async def test_batches_reach_the_disk_though_nobody_asks(tmp_path: Path, seed: int) -> None:
    life_s = _WRITTEN_AFTER_S + random.Random(seed).random()
    ended: dict[int, float] = {}
    with _scribe("write", tmp_path) as scribe:
        for told in _facts(scribe):
            ended[told["ended"]] = told["at"]
            if told["at"] - min(ended.values()) > life_s:
                scribe.kill()
    stored = await _stored(tmp_path)
    last = max(ended.values())
    due = {call_id_text(call_id) for call_id, at in ended.items() if at < last - _WRITTEN_AFTER_S}
    assert due
    assert {stored.get(call_id) for call_id in due} == {"ok"}
    assert "interrupted" in stored.values()


async def test_a_second_gateway_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with _scribe("ask", tmp_path) as scribe:
        next(_facts(scribe))
        with pytest.raises(StoreError, match=f"Another gateway runs on {tmp_path}"):
            Store.open(tmp_path)
    await Store.open(tmp_path).close()
