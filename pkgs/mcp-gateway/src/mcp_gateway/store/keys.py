"""API keys as rows: who they were made for, what they may, the hash of their text.

Rows in, rows out, on the writer thread, inside a transaction of the caller. Never holds a key.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class KeyRow:
    """`scopes` is JSON text; times are seconds since 1970."""

    id: str
    name: str
    digest: bytes
    scopes: str
    created: float
    created_by: str
    expires: float | None


_SELECT = "SELECT id, name, digest, scopes, created, created_by, expires FROM keys ORDER BY created, id"
INSERT = "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)"


def rows_of(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_SELECT).fetchall()


def read_keys(connection: sqlite3.Connection) -> list[KeyRow]:
    return [KeyRow(*row) for row in rows_of(connection)]


def write_key(connection: sqlite3.Connection, row: KeyRow) -> None:
    connection.execute(INSERT, astuple(row))


def delete_key(connection: sqlite3.Connection, key_id: str) -> None:
    connection.execute("DELETE FROM keys WHERE id = ?", (key_id,))
    connection.execute("DELETE FROM key_uses WHERE key = ?", (key_id,))


def read_uses(connection: sqlite3.Connection) -> dict[str, float]:
    return dict(connection.execute("SELECT key, last_used FROM key_uses").fetchall())


def write_uses(connection: sqlite3.Connection, uses: Mapping[str, float]) -> None:
    connection.executemany("INSERT OR REPLACE INTO key_uses VALUES (?, ?)", uses.items())
