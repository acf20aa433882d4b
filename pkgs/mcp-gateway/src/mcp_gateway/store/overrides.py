"""Two small tables, read once at the opening: run-time switches, and the eras servers were found to speak.

Rows in, rows out, on the writer thread, inside a transaction of the caller. Knows neither the declared config
nor what a switch does.
"""

import sqlite3
import time
from collections.abc import Iterable

Key = tuple[str, str | None]  # server, tool; no tool: the server as a whole

MAX_ERAS = 1000  # configurations come and go; the oldest knowledge is the cheapest to learn again


def read_overrides(connection: sqlite3.Connection) -> dict[Key, bool]:
    rows = connection.execute("SELECT server, tool, enabled FROM overrides")
    return {(server, tool): bool(enabled) for server, tool, enabled in rows}


def write_overrides(connection: sqlite3.Connection, keys: Iterable[Key], enabled: bool | None) -> None:
    wanted = dict.fromkeys(keys)
    # The table is read once: it has no index, and to look each key up would be the square of thousands.
    rows = connection.execute("SELECT rowid, server, tool FROM overrides")
    gone = [(rowid,) for rowid, server, tool in rows if (server, tool) in wanted]
    connection.executemany("DELETE FROM overrides WHERE rowid = ?", gone)
    if enabled is not None:
        connection.executemany("INSERT INTO overrides VALUES (?, ?, ?)", ((*key, enabled) for key in wanted))


def read_eras(connection: sqlite3.Connection) -> dict[str, frozenset[str]]:
    rows = connection.execute("SELECT fingerprint, eras FROM eras")
    return {fingerprint: frozenset(eras.split()) for fingerprint, eras in rows}


def write_eras(connection: sqlite3.Connection, fingerprint: str, eras: frozenset[str] | None) -> None:
    connection.execute("DELETE FROM eras WHERE fingerprint = ?", (fingerprint,))
    if eras is None:
        return
    row = (fingerprint, " ".join(sorted(eras)), time.time())
    connection.execute("INSERT INTO eras VALUES (?, ?, ?)", row)
    connection.execute(
        "DELETE FROM eras WHERE fingerprint NOT IN"
        " (SELECT fingerprint FROM eras ORDER BY learned DESC LIMIT ?)",
        (MAX_ERAS,),
    )
