"""The table of captured payloads: what was said in calls, for those who asked to have it on disk.

Rows in, rows out, on the writer thread, inside a transaction of the caller. The text is made there, too
(`Capture.document`), with secrets replaced by whoever made the capture. Knows no retention but its own bound:
rows go with their calls by a trigger of the schema.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import msgspec

MAX_BYTES = 1024 * 1024 * 1024  # of all texts together; what one opts into must not fill the disk
ROWS_PER_STATEMENT = 8  # see `calls.ROWS_PER_STATEMENT`; these rows are larger
PRUNE_ROWS = 100  # in one statement, 13 MB at most

Row = tuple[int, int, str]  # call id, bytes of the text, the text

_INSERT = "INSERT OR REPLACE INTO payloads (call, size, document) VALUES {}"
_SELECT = """
    SELECT server, caller, document FROM payloads JOIN calls ON calls.id = payloads.call
    WHERE payloads.call = ?
"""
_PRUNE = """
    DELETE FROM payloads WHERE call IN (SELECT call FROM payloads ORDER BY call LIMIT ?)
    RETURNING size
"""


@dataclass(frozen=True, slots=True)
class Capture:
    """What is to be written of one call; `size` is what it holds in memory, in bytes, until then."""

    size: int
    document: Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Captured:
    """What was written of one call, and whose it was."""

    server: str
    caller: str
    document: dict[str, Any]


def row_of(call_id: int, capture: Capture) -> Row:
    text = msgspec.json.encode(capture.document()).decode()
    return call_id, len(text), text


def write_rows(connection: sqlite3.Connection, rows: Iterator[Row]) -> int:
    """Inserts the rows; answers their bytes."""
    size = 0
    while some := list(islice(rows, ROWS_PER_STATEMENT)):
        statement = _INSERT.format(", ".join(["(?, ?, ?)"] * len(some)))
        connection.execute(statement, tuple(chain.from_iterable(some)))
        size += sum(row[1] for row in some)
    return size


def read_captured(connection: sqlite3.Connection, call_id: int) -> Captured | None:
    row: Sequence[Any] | None = connection.execute(_SELECT, (call_id,)).fetchone()
    return None if row is None else Captured(row[0], row[1], msgspec.json.decode(row[2]))


def prune(connection: sqlite3.Connection, max_bytes: int) -> bool:
    """Deletes some of the oldest where there are too many bytes; True: there may be more of them."""
    (size,) = connection.execute("SELECT ifnull(sum(size), 0) FROM payloads").fetchone()
    if size <= max_bytes:
        return False
    for (deleted,) in connection.execute(_PRUNE, (PRUNE_ROWS,)).fetchall():
        size -= deleted
    return bool(size > max_bytes)
