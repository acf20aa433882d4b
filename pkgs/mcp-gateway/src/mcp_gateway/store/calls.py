"""The activity table: a call's record, its row, pages of rows, retention.

Everything but the types, ids and pages runs on the writer thread, inside a transaction or a job of `Store`.
Arguments never reach the disk, only their shape.
"""

import math
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

import msgspec

from mcp_gateway.store.payloads import Capture
from mcp_gateway.store.shape import shape_text

RUNNING = "running"

MAX_NAME_CHARS = 256  # a refused call may name anything
MAX_DETAIL_CHARS = 500
MAX_PAGE_ROWS = 500
# Rare matches are looked for in stretches of this many rows, about 50 ms each, with batches between them.
WINDOW_ROWS = 50_000
# Pruning takes turns with batches: a step ends after `PRUNE_S`, and a statement after so many rows, which is
# 1 ms, or 20 ms if each of them had a payload of 128 KiB. Steps keep ahead of 5,000 calls a second.
PRUNE_S = 0.01
PRUNE_ROWS = 250
MAX_ACTIONS = 10_000  # years of what people do to a gateway; they stand in the way of pruning calls

Row = tuple[
    *tuple[int, float, str, str, str, str, str, float | None, int, int],
    *tuple[str | None, str | None, str, str | None, str, str | None],
]
Position = tuple[float, int]  # (started, id): the order of the pages
NEWEST: Position = (math.inf, 0)


@dataclass(slots=True)
class CallRecord:
    """One request through the gateway; its call path fills it in, the writer reads it."""

    id: int
    started: float
    caller: str
    face: str
    server: str
    tool: str
    arguments: bytes | None
    request_bytes: int = 0
    response_bytes: int = 0
    outcome: str = RUNNING
    duration_s: float = 0.0
    detail: str | None = None
    capture: Capture | None = None  # what was said, if that is to be written
    needed: str = "call"  # the right
    action: str | None = None  # what was done to the gateway itself, where this is no call
    method: str = "tools/call"  # of MCP
    target: str | None = None  # the URI or prompt, where it is no tool; a URI without what may be a secret


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Which rows, newest first: begun at `since` or later, before `until` (seconds since 1970).

    `kind` keeps apart calls and what people did to the gateway itself; `action` is one of the latter.
    `only` is the one caller whose rows may be seen at all, whatever `caller` asks for.

    `cursor` as a page before gave it.
    """

    server: str | None = None
    tool: str | None = None
    caller: str | None = None
    face: str | None = None
    outcome: str | None = None
    action: str | None = None
    method: str | None = None
    since: float | None = None
    until: float | None = None
    cursor: str | None = None
    limit: int = 50
    only: str | None = None
    kind: Literal["calls", "actions"] | None = None

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether a call, as pages and the live feed show it, is among those asked for, on whatever page."""
        if any(row[name] != wanted for name in _ALIKE if (wanted := getattr(self, name)) is not None):
            return False
        if self.only is not None and row["caller"] != self.only:
            return False
        if self.kind is not None and (row["action"] is None) != (self.kind == "calls"):
            return False
        started: float = row["started"]
        return (self.since is None or started >= self.since) and (self.until is None or started < self.until)


@dataclass(frozen=True, slots=True)
class CallPage:
    """Some rows, and where the next older ones begin (None: there are none)."""

    rows: list[dict[str, Any]]
    cursor: str | None


class CursorError(ValueError):
    """The cursor is not one of ours."""


_ALIKE = ("server", "tool", "caller", "face", "outcome", "action", "method")

# --- ids and cursors

_MAX_ID = 2**63 - 1  # SQLite's INTEGER PRIMARY KEY


def call_id_text(call_id: int) -> str:
    """The id as people and programs see it: lower-case hexadecimal."""
    return f"{call_id:x}"


def parse_call_id(text: str) -> int | None:
    """The id behind exactly what `call_id_text` writes; None for anything else."""
    try:
        call_id = int(text, 16)
    except ValueError:
        return None
    return call_id if 0 <= call_id <= _MAX_ID and call_id_text(call_id) == text else None


def _cursor_text(position: Position) -> str:
    return f"{position[0]!r}~{call_id_text(position[1])}"


def parse_cursor(cursor: str) -> Position:
    """Raises: CursorError."""
    started_text, _, id_text = cursor.partition("~")
    call_id = parse_call_id(id_text)
    try:
        started = float(started_text)
    except ValueError:
        started = math.nan
    if call_id is None or not math.isfinite(started):
        raise CursorError("The cursor is not one that an earlier page gave")
    return started, call_id


# --- writing

_COLUMNS = 16
# Each statement lets go of the interpreter once, and getting it back from a busy event loop takes up to 5 ms:
# rows go in by the handful, or a batch of a thousand would take seconds.
_INSERT = """
    INSERT INTO calls (id, started, caller, face, server, tool, outcome, duration_s,
                       request_bytes, response_bytes, detail, arguments, needed, action,
                       method, target) VALUES {}
    ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome, duration_s = excluded.duration_s,
        request_bytes = excluded.request_bytes, response_bytes = excluded.response_bytes,
        detail = excluded.detail, arguments = ifnull(excluded.arguments, arguments)
"""
_PLACES = f"({', '.join('?' * _COLUMNS)})"
ROWS_PER_STATEMENT = 60  # as many values as every SQLite takes
_INSERT_BY_COUNT = {
    count: _INSERT.format(", ".join([_PLACES] * count)) for count in (ROWS_PER_STATEMENT, 8, 1)
}


def row_of(record: CallRecord) -> Row:
    """What is stored of a record: bounded, and text that UTF-8 can carry."""
    return (
        record.id,
        record.started,
        _storable(record.caller, MAX_NAME_CHARS),
        _storable(record.face, MAX_NAME_CHARS),
        _storable(record.server, MAX_NAME_CHARS),
        _storable(record.tool, MAX_NAME_CHARS),
        record.outcome,
        None if record.outcome == RUNNING else record.duration_s,
        record.request_bytes,
        record.response_bytes,
        None if record.detail is None else _storable(record.detail, MAX_DETAIL_CHARS),
        None if record.arguments is None else shape_text(record.arguments),
        record.needed,
        record.action,
        _storable(record.method, MAX_NAME_CHARS),
        None if record.target is None else _storable(record.target, MAX_NAME_CHARS),
    )


def is_finished(row: Row) -> bool:
    return row[6] != RUNNING


def write_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Inserts the rows; one that is there already takes the newer end."""
    left = iter(rows)
    remaining = len(rows)
    for count, statement in _INSERT_BY_COUNT.items():
        while remaining >= count:
            connection.execute(statement, tuple(chain.from_iterable(islice(left, count))))
            remaining -= count


def mark_interrupted(connection: sqlite3.Connection) -> None:
    """Calls that an earlier life of the gateway left running ended with it."""
    connection.execute("UPDATE calls SET outcome = 'interrupted' WHERE outcome = 'running'")


def _storable(text: str, max_chars: int) -> str:
    text = text[:max_chars]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


# --- reading

_SELECT = """
    SELECT id, started, caller, face, server, tool, outcome, duration_s,
           request_bytes, response_bytes, detail, arguments, needed, action, method, target FROM calls
"""
_SELECT_ONE = _SELECT + "WHERE id = ?"
_SELECT_WINDOW = (
    _SELECT
    + """
    WHERE (started, id) < (:started, :id) AND (started, id) >= (:floor_started, :floor_id)
      AND (:server IS NULL OR server = :server) AND (:tool IS NULL OR tool = :tool)
      AND (:caller IS NULL OR caller = :caller)
      AND (:only IS NULL OR caller = :only) AND (:face IS NULL OR face = :face)
      AND (:outcome IS NULL OR outcome = :outcome) AND (:action IS NULL OR action = :action)
      AND (:method IS NULL OR (method = :method AND action IS NULL))
      AND (:kind IS NULL OR (action IS NULL) = (:kind = 'calls'))
    ORDER BY started DESC, id DESC LIMIT :limit
"""
)
_FLOOR = """
    SELECT started, id FROM calls WHERE (started, id) < (?, ?) AND started >= ?
    ORDER BY started DESC, id DESC LIMIT 1 OFFSET ?
"""


def read_call(connection: sqlite3.Connection, call_id: int) -> Row | None:
    row: Row | None = connection.execute(_SELECT_ONE, (call_id,)).fetchone()
    return row


def read_last_id(connection: sqlite3.Connection) -> int:
    """The highest id there is; 0 when there is none."""
    (last,) = connection.execute("SELECT ifnull(max(id), 0) FROM calls").fetchone()
    return int(last)


def start_of(query: CallQuery) -> Position:
    """The position before which the query's first row is looked for.

    Raises: CursorError.
    """
    at = NEWEST if query.cursor is None else parse_cursor(query.cursor)
    return at if query.until is None else min(at, (query.until, 0))


def read_window(
    connection: sqlite3.Connection, query: CallQuery, before: Position, limit: int
) -> tuple[list[Row], Position | None]:
    """Matching rows of the next stretch of the table, and where the one after it begins."""
    since = -math.inf if query.since is None else query.since
    floor: Position | None = connection.execute(_FLOOR, (*before, since, WINDOW_ROWS)).fetchone()
    floor_started, floor_id = floor or (since, 0)
    values = {
        "started": before[0],
        "id": before[1],
        "floor_started": floor_started,
        "floor_id": floor_id,
        "server": query.server,
        "tool": query.tool,
        "caller": query.caller,
        "only": query.only,
        "face": query.face,
        "outcome": query.outcome,
        "action": query.action,
        "method": query.method,
        "kind": query.kind,
        "limit": limit,
    }
    return connection.execute(_SELECT_WINDOW, values).fetchall(), floor


def page_of(rows: Sequence[Row], limit: int) -> CallPage:
    """A page of at most `limit` of the rows; one row more tells that there is another page."""
    more = len(rows) > limit
    cursor = _cursor_text((rows[limit - 1][1], rows[limit - 1][0])) if more else None
    return CallPage([shown(row) for row in rows[:limit]], cursor)


def shown(row: Row) -> dict[str, Any]:
    """The row in the words of the API."""
    call_id, started, caller, face, server, tool, outcome, duration_s, request, response, *rest = row
    detail, shape, needed, action, method, target = rest
    return {
        "id": call_id_text(call_id),
        "started": started,
        "caller": caller,
        "right": needed,
        "action": action,
        "face": face,
        "server": server,
        "tool": tool,
        "method": method if action is None else None,
        "target": target,
        "outcome": outcome,
        "durationMs": None if duration_s is None else round(duration_s * 1000, 3),
        "requestBytes": request,
        "responseBytes": response,
        "detail": detail,
        "arguments": None if shape is None else msgspec.json.decode(shape),
    }


# --- retention

# What was done to the gateway itself outlives the calls, whose number others decide; refusals of it do not.
_PRUNE_OLD = """
    DELETE FROM calls WHERE id IN (
        SELECT id FROM calls WHERE started < ? AND (action IS NULL OR outcome <> 'ok')
        ORDER BY started LIMIT ?)
"""
_PRUNE_OLDEST = """
    DELETE FROM calls WHERE id IN (
        SELECT id FROM calls WHERE action IS NULL OR outcome <> 'ok' ORDER BY started LIMIT ?)
"""
_PRUNE_ACTIONS = """
    DELETE FROM calls WHERE id IN (
        SELECT id FROM calls WHERE action IS NOT NULL AND outcome = 'ok'
        ORDER BY started DESC LIMIT -1 OFFSET ?)
"""
# Counted apart: the sum of all is read off an index, the few of them off theirs.
_COUNT = """
    SELECT (SELECT count(*) FROM calls)
         - (SELECT count(*) FROM calls WHERE action IS NOT NULL AND outcome = 'ok')
"""


def prune(connection: sqlite3.Connection, keep_days: float, max_rows: int) -> bool:
    """Deletes rows that are too old or too many, for a moment; True: there may be more of them."""
    ends_at = time.monotonic() + PRUNE_S
    cutoff = time.time() - keep_days * 86_400
    connection.execute(_PRUNE_ACTIONS, (MAX_ACTIONS,))
    while connection.execute(_PRUNE_OLD, (cutoff, PRUNE_ROWS)).rowcount == PRUNE_ROWS:
        if time.monotonic() >= ends_at:
            return True
    (count,) = connection.execute(_COUNT).fetchone()
    surplus: int = count - max_rows
    while surplus > 0:
        surplus -= connection.execute(_PRUNE_OLDEST, (min(surplus, PRUNE_ROWS),)).rowcount
        if time.monotonic() >= ends_at:
            break
    return surplus > 0
