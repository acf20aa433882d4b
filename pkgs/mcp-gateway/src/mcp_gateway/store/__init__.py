"""What the gateway remembers: activity, run-time switches, eras of servers. The only room with SQLite.

`Store` lives on the event loop's thread; one writer thread owns the database. `begin` and `end` only append
to a queue; the writer gathers for a moment and writes a batch in one transaction. Whatever reads or must be
on the disk is a job on that thread, behind all that was handed in before: what was answered is visible.
Never knows servers, policy or HTTP. Opened and closed by `app.py`, used by the gateway's facade and calls.

When the disk fails, calls go on: `fault` says why, rows wait in a bounded backlog, and what does not fit is
counted in `lost_records`. Nothing here waits for the disk on the event loop.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

from mcp_gateway.store import calls as _calls
from mcp_gateway.store import keys as _keys
from mcp_gateway.store import overrides as _tables
from mcp_gateway.store import payloads as _payloads
from mcp_gateway.store.calls import (
    CallPage,
    CallQuery,
    CallRecord,
    CursorError,
    Row,
    call_id_text,
    parse_call_id,
)
from mcp_gateway.store.database import (
    FILE_NAME,
    Database,
    StoreClosed,
    StoreError,
    StoreInUse,
    is_damage,
    is_in_use,
)
from mcp_gateway.store.keys import KeyRow
from mcp_gateway.store.payloads import Capture, Captured
from mcp_gateway.store.stats import StatsQuery, Tally

__all__ = [
    "FILE_NAME",
    "CallPage",
    "CallQuery",
    "CallRecord",
    "Capture",
    "Captured",
    "CursorError",
    "KeyRow",
    "StatsQuery",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreInUse",
    "call_id_text",
    "has_keys",
    "is_in_use",
    "parse_call_id",
]

GATHER_S = 0.08  # with the writing itself, batches are at most 100 ms apart
PRUNE_EVERY_S = 60.0
# Captured payloads are large: after so many bytes of them their bound is looked at without waiting for that.
PRUNE_AFTER_BYTES = 64 * 1024 * 1024
RETRY_S = 1.0  # after a failed batch; a full disk stays full for a while
CLOSE_S = 10.0  # a disk that hangs must not keep the process from ending
KEEP_DAYS = 30.0
MAX_ROWS = 1_000_000  # 110 to 300 MB
# How far the writer may fall behind (a hanging disk) before records are dropped, or arguments and captures.
MAX_PENDING = 100_000
MAX_PENDING_BYTES = 64 * 1024 * 1024
MAX_BACKLOG = 20_000  # rows that wait for the disk to recover; at most 3 KiB each

_log = logging.getLogger(__name__)
_K = TypeVar("_K")
_T = TypeVar("_T")
_Job = Callable[[Database], None]
_TROUBLE = (sqlite3.OperationalError, OSError)  # the disk's fault: the same rows may succeed later


class Store:
    """The one open state directory. All methods belong to one event loop's thread; make it with `open`."""

    def __init__(self, state_dir: Path, keep_days: float, max_rows: int) -> None:
        # How much is kept; may be changed at any time and counts from the next pruning on.
        self.keep_days = keep_days
        self.max_rows = max_rows
        self.last_call_id = 0  # the highest that an earlier life of the gateway wrote
        # Handed from the loop to the writer. Appending to a deque is atomic, and each has one end per thread.
        self._pending: deque[CallRecord] = deque()
        self._jobs: deque[_Job] = deque()
        self._handed_bytes = 0
        self._turned_away = 0
        self._let_go = 0
        self._closing = False
        self._asleep = False  # set by the writer, cleared by either
        self._wake = threading.Event()
        self._hurry = threading.Event()  # somebody waits for a job: gather no longer
        # Written by the writer alone.
        self._taken_bytes = 0
        self._backlog: list[Row] = []
        self._dropped = 0
        self._dropped_captures = 0
        self._captured_bytes = 0  # since the last pruning
        self._fault: str | None = None
        self._notice: str | None = None
        self._retry_at = 0.0
        self._prune_at = 0.0
        self._is_marked = False  # calls of an earlier life are `interrupted`
        self._overrides: dict[_tables.Key, bool] = {}
        self._eras: dict[str, frozenset[str]] = {}
        self._key_rows: list[KeyRow] = []
        self._key_uses: dict[str, float] = {}
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(state_dir,), name="store", daemon=True)

    @classmethod
    def open(cls, state_dir: Path, *, keep_days: float = KEEP_DAYS, max_rows: int = MAX_ROWS) -> "Store":
        """Opens the state directory for this process alone.

        Raises: StoreError.
        """
        store = cls(state_dir, keep_days, max_rows)
        store._thread.start()
        store._opened.result()
        return store

    # --- activity, the hot path

    def begin(self, record: CallRecord) -> None:
        """The call has started: if it outlasts the next batch it gets a row, which a crash leaves behind."""
        self._hand_in(record)

    def end(self, record: CallRecord) -> None:
        """The call is over and its record complete; the store may let go of its arguments and its capture."""
        capture = record.capture
        self._handed_bytes += record.request_bytes if capture is None else record.request_bytes + capture.size
        if self._handed_bytes - self._taken_bytes > MAX_PENDING_BYTES:
            self._let_go += capture is not None
            record.arguments = record.capture = None
        self._hand_in(record)

    def _hand_in(self, record: CallRecord) -> None:
        if self._closing:
            raise StoreClosed("The store is closed")
        pending = self._pending
        if len(pending) >= MAX_PENDING:
            self._turned_away += record.outcome != _calls.RUNNING
            return
        pending.append(record)
        # In this order (the writer does it the other way round): it never sleeps beside a record.
        if self._asleep:
            self._asleep = False
            self._wake.set()

    # --- what the operator should know

    @property
    def healthy(self) -> bool:
        return self._fault is None

    @property
    def fault(self) -> str | None:
        """Why nothing can be written at the moment."""
        return self._fault

    @property
    def notice(self) -> str | None:
        """What happened to the database since it was last in order."""
        return self._notice

    @property
    def lost_records(self) -> int:
        return self._turned_away + self._dropped

    @property
    def lost_captures(self) -> int:
        """Payloads that were to be written and were not, while the disk failed or was too slow."""
        return self._let_go + self._dropped_captures

    # --- reading and remembering

    async def calls(self, query: CallQuery) -> CallPage:
        """One page of activity, newest first, whatever was handed in before included.

        Raises: CursorError, StoreError.
        """
        limit = min(max(query.limit, 1), _calls.MAX_PAGE_ROWS)
        rows: list[Row] = []
        before: _calls.Position | None = _calls.start_of(query)
        while before is not None and len(rows) <= limit:
            found, before = await self._ask(partial(_read_window, query, before, limit + 1 - len(rows)))
            rows += found
        return _calls.page_of(rows, limit)

    async def stats(self, query: StatsQuery) -> dict[str, Any]:
        """What happened between the query's times, whatever was handed in before included; see `Tally`.

        Raises: StoreError.
        """
        tally = Tally(query)
        while not tally.is_over:
            await self._ask(lambda database: tally.count_window(database.connection))
        return await self._ask(lambda _database: tally.document())

    async def call(self, call_id: int) -> dict[str, Any] | None:
        """Raises: StoreError."""
        row = await self._ask(lambda database: _calls.read_call(database.connection, call_id))
        return None if row is None else _calls.shown(row)

    async def captured(self, call_id: int) -> Captured | None:
        """What was said in a call, if it was captured.

        Raises: StoreError.
        """
        return await self._ask(lambda database: _payloads.read_captured(database.connection, call_id))

    def overrides(self) -> dict[_tables.Key, bool]:
        """What a person switched, by (server, tool or None)."""
        self._check_open()
        return dict(self._overrides)

    async def set_override(self, server: str, tool: str | None, enabled: bool | None) -> None:
        """Remembers a switch, or forgets it (None); on the disk before it returns.

        Raises: StoreError.
        """
        await self.set_overrides(((server, tool),), enabled)

    async def set_overrides(self, keys: Collection[_tables.Key], enabled: bool | None) -> None:
        """Remembers switches, or forgets them, all or none; on the disk before it returns.

        Raises: StoreError.
        """

        def write(database: Database) -> None:
            with database.transaction(durable=True) as connection:
                _tables.write_overrides(connection, keys, enabled)
            # A changed copy: the event loop may be reading the old one.
            gone = frozenset(keys)
            others = {key: on for key, on in self._overrides.items() if key not in gone}
            self._overrides = others if enabled is None else others | dict.fromkeys(keys, enabled)

        await self._ask(write)

    def eras(self, fingerprint: str) -> frozenset[str] | None:
        """The eras that a server of this configuration was found to speak; None: not known."""
        self._check_open()
        return self._eras.get(fingerprint)

    async def remember_eras(self, fingerprint: str, eras: frozenset[str]) -> None:
        """Raises: StoreError."""
        await self._write_eras(fingerprint, eras)

    async def forget_eras(self, fingerprint: str) -> None:
        """Raises: StoreError."""
        await self._write_eras(fingerprint, None)

    async def _write_eras(self, fingerprint: str, eras: frozenset[str] | None) -> None:
        def write(database: Database) -> None:
            with database.transaction() as connection:
                _tables.write_eras(connection, fingerprint, eras)
            self._eras = _with(self._eras, fingerprint, eras)

        await self._ask(write)

    # --- what must be on the disk before it holds

    def keys(self) -> tuple[list[KeyRow], dict[str, float]]:
        """The API keys as they were at the opening, oldest first, and when each id was last used."""
        return self._key_rows, self._key_uses

    async def add_key(self, row: KeyRow, record: CallRecord) -> None:
        """Writes a key and the record of its making, both or neither; on the disk before it returns.

        Raises: StoreError.
        """
        await self._commit(record, lambda connection: _keys.write_key(connection, row))

    async def remove_key(self, key_id: str, record: CallRecord) -> None:
        """Raises: StoreError."""
        await self._commit(record, lambda connection: _keys.delete_key(connection, key_id))

    async def commit(self, record: CallRecord) -> None:
        """Writes a record of what is about to happen; on the disk before it returns.

        Raises: StoreError.
        """
        await self._commit(record, lambda _connection: None)

    async def note_key_uses(self, uses: dict[str, float]) -> None:
        """When keys were last used, by id, in seconds since 1970.

        Raises: StoreError.
        """

        def write(database: Database) -> None:
            with database.transaction() as connection:
                _keys.write_uses(connection, uses)

        await self._ask(write)

    async def _commit(self, record: CallRecord, write: Callable[[sqlite3.Connection], None]) -> None:
        def job(database: Database) -> None:
            with database.transaction(durable=True) as connection:
                write(connection)
                _calls.write_rows(connection, [_calls.row_of(record)])

        await self._ask(job)

    async def close(self) -> None:
        """Writes what is left, gives the directory free. May be called again."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    async def _ask(self, job: Callable[[Database], _T]) -> _T:
        """Runs a job on the writer thread, after everything that was handed in before it."""
        self._check_open()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()

        def run(database: Database) -> None:
            result, failure = None, None
            try:
                result = job(database)
            except Exception as error:  # told to whoever asked, whatever it is: the thread must live on
                self._replace_if_damaged(error, database)
                failure = StoreError(f"The database {database.path} failed: {error}")
            with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever asked
                loop.call_soon_threadsafe(_settle, answer, result, failure)

        self._jobs.append(run)
        self._hurry.set()
        self._wake.set()
        return await answer

    def _check_open(self) -> None:
        if self._closing:
            raise StoreClosed("The store is closed")

    # --- the writer thread

    def _main(self, state_dir: Path) -> None:
        try:
            database = Database(state_dir)
        except BaseException as error:
            self._opened.set_exception(error)
            return
        with contextlib.closing(database):
            try:
                self._recall(database)
            except BaseException as error:
                self._opened.set_exception(error)
                return
            self._write(database)
            self._opened.set_result(None)
            self._serve(database)

    def _recall(self, database: Database) -> None:
        self._notice = database.notice
        try:
            self._overrides = _tables.read_overrides(database.connection)
            self._eras = _tables.read_eras(database.connection)
            self._key_rows = _keys.read_keys(database.connection)
            self._key_uses = _keys.read_uses(database.connection)
            self.last_call_id = _calls.read_last_id(database.connection)
        except (sqlite3.Error, OSError) as error:
            if not self._replace_if_damaged(error, database):
                raise StoreError(f"The database {database.path} cannot be read: {error}") from error
            # What could be saved is in the new file as soon as that is opened.
            self._overrides = _tables.read_overrides(database.connection)
            self._key_rows = _keys.read_keys(database.connection)

    def _serve(self, database: Database) -> None:
        closing = False
        while not closing:
            self._rest()
            # Each is looked at before what must be done ahead of it: records handed in before a job or before
            # the closing are in the queue by now, and are written first.
            closing = self._closing
            jobs = _drained(self._jobs)
            self._write(database)
            self._prune(database)
            for job in jobs:
                job(database)
        self._drop(self._backlog)

    def _rest(self) -> None:
        """Sleeps until there is something to do, then lets more of it gather."""
        next_duty = self._retry_at if self._backlog or not self._is_marked else self._prune_at
        self._asleep = True
        if not (self._pending or self._jobs or self._closing):
            self._wake.wait(max(0.0, next_duty - time.monotonic()))
        self._asleep = False
        self._wake.clear()
        self._hurry.wait(GATHER_S)
        self._hurry.clear()

    def _write(self, database: Database) -> None:
        """Writes a batch: what an earlier failure left, then the latest state of every record handed in."""
        handed_bytes = self._handed_bytes
        records = {record.id: record for record in _drained(self._pending)}
        self._taken_bytes = handed_bytes
        if not (records or self._backlog) and self._is_marked:
            return
        rows, self._backlog = self._backlog, []
        fresh = self._rows_of(records.values())
        captures = _taken_captures(records.values())
        if time.monotonic() < self._retry_at and not self._closing:
            self._keep([*rows, *fresh])
            self._dropped_captures += len(captures)
            return
        try:
            with database.transaction() as connection:
                if not self._is_marked:
                    _calls.mark_interrupted(connection)
                _calls.write_rows(connection, rows)
                # Rows are made in the same handfuls: the event loop gets its turn at each statement.
                while some := list(islice(fresh, _calls.ROWS_PER_STATEMENT)):
                    rows += some
                    _calls.write_rows(connection, some)
                captured_bytes = _payloads.write_rows(connection, self._payloads_of(captures))
        except Exception as error:
            rows += fresh
            self._dropped_captures += len(captures)  # rows wait for the disk; payloads are too large for that
            if isinstance(error, _TROUBLE) or is_damage(error):
                self._suffer(error, database)
                self._keep(rows)
            else:  # a row that can never be stored would come back with every batch
                _log.exception("store dropped a batch, rows=%d", len(rows))
                self._drop(rows)
        else:
            self._is_marked = True
            self._captured_bytes += captured_bytes
            self._recover()

    def _rows_of(self, records: Iterable[CallRecord]) -> Iterator[Row]:
        for record in records:
            try:
                yield _calls.row_of(record)
            except Exception:  # one record that breaks the rules must not take its neighbours along
                _log.exception("store dropped a record, call=%s", record.id)
                self._dropped += 1

    def _payloads_of(self, captures: Iterable[tuple[int, Capture]]) -> Iterator[_payloads.Row]:
        for call_id, capture in captures:
            try:
                yield _payloads.row_of(call_id, capture)
            except Exception:
                _log.exception("store dropped a payload, call=%s", call_id)
                self._dropped_captures += 1

    def _keep(self, rows: list[Row]) -> None:
        surplus = max(0, len(rows) - MAX_BACKLOG)
        self._drop(rows[:surplus])
        self._backlog = rows[surplus:]

    def _drop(self, rows: list[Row]) -> None:
        self._dropped += sum(map(_calls.is_finished, rows))

    def _prune(self, database: Database) -> None:
        if time.monotonic() < self._prune_at and self._captured_bytes < PRUNE_AFTER_BYTES:
            return
        self._captured_bytes = 0
        has_more = False
        try:
            with database.transaction() as connection:
                has_more = _calls.prune(connection, self.keep_days, self.max_rows)
                has_more |= _payloads.prune(connection, _payloads.MAX_BYTES)
        except (sqlite3.Error, OSError) as error:
            self._replace_if_damaged(error, database)
            _log.warning("store cannot prune: %s", error)
        self._prune_at = time.monotonic() + (0.0 if has_more else PRUNE_EVERY_S)

    def _suffer(self, error: Exception, database: Database) -> None:
        """Notes why a batch failed; the next try is at once for a damaged file, which is replaced."""
        is_replaced = self._replace_if_damaged(error, database)
        self._retry_at = 0.0 if is_replaced else time.monotonic() + RETRY_S
        fault = f"Activity is not recorded: {error} ({database.path})"
        if self._fault != fault:
            _log.error("store fails: %s", fault)
        self._fault = fault

    def _recover(self) -> None:
        failed, self._fault = self._fault, None
        self._retry_at = 0.0
        if failed is not None:
            _log.warning("store recovered, lost_records=%d", self.lost_records)

    def _replace_if_damaged(self, error: Exception, database: Database) -> bool:
        if not is_damage(error):
            return False
        try:
            database.set_aside()
        except OSError as failure:
            _log.error("store cannot move %s: %s", database.path, failure)
            return False
        self._notice = database.notice
        _log.error("store: %s", self._notice)
        return True


def has_keys(state_dir: Path) -> bool:
    """Whether API keys were made in a state directory; makes nothing there. Blocks.

    Raises: StoreError, also when a gateway runs on it.
    """
    if not (state_dir / FILE_NAME).exists():
        return False
    with contextlib.closing(Database(state_dir)) as database:
        return bool(_keys.rows_of(database.connection))


def _read_window(
    query: CallQuery, before: _calls.Position, limit: int, database: Database
) -> tuple[list[Row], _calls.Position | None]:
    return _calls.read_window(database.connection, query, before, limit)


def _with(known: dict[_K, _T], key: _K, value: _T | None) -> dict[_K, _T]:
    """A changed copy: the event loop may be reading the old one."""
    others = {other: known[other] for other in known if other != key}
    return others if value is None else {**others, key: value}


def _taken_captures(records: Iterable[CallRecord]) -> list[tuple[int, Capture]]:
    """What is to be written beside the rows. The records let go of it: a call may be kept for an hour."""
    captures = []
    for record in records:
        if record.capture is not None:
            captures.append((record.id, record.capture))
            record.capture = None
    return captures


def _drained(queue: deque[_T]) -> list[_T]:
    """What is in the queue now; its producer may go on appending."""
    return [queue.popleft() for _ in range(len(queue))]


def _settle(answer: asyncio.Future[_T], result: _T | None, error: Exception | None) -> None:
    if answer.done():  # whoever asked was cancelled
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(cast(_T, result))
