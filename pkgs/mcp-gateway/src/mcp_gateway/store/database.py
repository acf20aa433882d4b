"""The SQLite file: lock, open, migrate, set aside when damaged, transactions.

Knows what switches and keys are only to save them from a damaged file. Used by the writer thread alone.
One connection in exclusive locking mode is the whole design: SQLite before 3.51.3 can corrupt a log that two
connections checkpoint, and distributions ship such versions. The price: nobody else can look into the file.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from mcp_gateway.store import keys

FILE_NAME = "gateway.sqlite3"
LOCK_NAME = "lock"
BUSY_TIMEOUT_S = 2.0  # only at the opening: somebody's shell may just be leaving
# A check reads the whole file: 50 ms here. Damage in a larger one is found when the damaged page is met.
QUICK_CHECK_MAX_BYTES = 32 * 1024 * 1024
WAL_KEPT_BYTES = 16 * 1024 * 1024  # a burst may grow the log; afterwards the disk gets it back
DAMAGED_KEPT = 3  # a dying disk must not be filled with copies of what it ruined

_SUFFIXES = ("", "-wal", "-journal")


class StoreError(Exception):
    """Something about the state directory or its database that the operator has to know."""


class StoreInUse(StoreError):
    """Another process has the state directory open."""


class StoreClosed(StoreError):
    """The store was closed; nothing can be written or read any more."""


class _CheckFailed(sqlite3.DatabaseError):
    """The check at the opening found damage that SQLite itself had not met yet."""


def is_damage(error: BaseException) -> bool:
    """Whether the file is at fault, as opposed to the disk, its rights or our own statement."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the low byte is the primary code
    return isinstance(error, _CheckFailed) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """One state directory, held by its lock, and the one connection to its file."""

    def __init__(self, state_dir: Path) -> None:
        """Opens the database and makes what is missing.

        Raises: StoreError.
        """
        self.path = state_dir / FILE_NAME
        self.notice: str | None = None
        self._connection: sqlite3.Connection | None = None
        # The rows of small tables that outlive a damaged file, by the statement that writes them.
        self._carried_over: dict[str, list[tuple[Any, ...]]] = {}
        try:
            self._lock = _lock_directory(state_dir)
        except OSError as error:
            raise StoreError(f"The state directory {state_dir} cannot be used: {error.strerror}") from error
        try:
            self._connection = self._open()
        except (OSError, sqlite3.Error) as error:
            os.close(self._lock)
            raise StoreError(f"The database {self.path} cannot be opened: {error}") from error
        except StoreError:
            os.close(self._lock)
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection; a new one if the last was found damaged.

        Raises: OSError, sqlite3.Error.
        """
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing; `durable` outlives a power cut, too, at the price of a sync."""
        connection = self.connection
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk has rolled back already
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise

    def set_aside(self) -> None:
        """Moves the damaged file out of the way; the next use begins a new one.

        Raises: OSError.
        """
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._put_away(connection)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        os.close(self._lock)

    def _open(self) -> sqlite3.Connection:
        connection = _connect(self.path)
        try:
            try:
                _prepare(connection, self.path)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._put_away(connection)
                connection = _connect(self.path)
                _prepare(connection, self.path)
            for insert, rows in self._carried_over.items():
                connection.executemany(insert, rows)
        except BaseException:
            connection.close()
            raise
        self._carried_over = {}
        return connection

    def _put_away(self, damaged: sqlite3.Connection) -> None:
        """Closes and renames a damaged database; switches and keys are carried over where possible."""
        fates = []
        for what, insert, read in _KEPT:
            try:
                self._carried_over[insert] = read(damaged)
                fates.append(f"{what} is kept.")
            except sqlite3.Error:
                fates.append(f"{what} is lost.")
        fate = " ".join(fates)
        damaged.close()
        aside = f"{self.path}.corrupt-{int(time.time())}"
        # The log goes with its file: SQLite would replay it into the new one.
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        _forget_old_damage(self.path)
        self.notice = f"The database was damaged and is now {aside}; a new one was begun. {fate}"


def _overrides(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT server, tool, enabled FROM overrides").fetchall()


_KEPT = (
    ("What was switched at run time", "INSERT INTO overrides VALUES (?, ?, ?)", _overrides),
    ("Every API key", keys.INSERT, keys.rows_of),
)


def _connect(path: Path) -> sqlite3.Connection:
    # Made here and not by SQLite, for the mode; its log inherits that.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _lock_directory(state_dir: Path) -> int:
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreInUse(f"Another gateway runs on {state_dir}") from None
    except OSError:
        os.close(lock)
        raise
    return lock


def is_in_use(state_dir: Path) -> bool:
    """Whether another process has the state directory open; makes nothing there.

    Raises: OSError.
    """
    try:
        lock = os.open(state_dir / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # Exclusive before the first access: then the index of the log lives on the heap and not in a shared file.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA mmap_size = 0")  # an I/O error must be an error, not a SIGBUS
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    if path.stat().st_size <= QUICK_CHECK_MAX_BYTES:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _CheckFailed(verdict)
    _migrate(connection, path)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Runs every `migrations/NNNN.sql` above the file's version, each in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    folder = files("mcp_gateway.store").joinpath("migrations")
    scripts = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    if version > len(scripts):
        raise StoreError(f"The database {path} was written by a newer gateway (version {version})")
    for number, name in enumerate(scripts[version:], start=version + 1):
        script = folder.joinpath(name).read_text()
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _forget_old_damage(path: Path) -> None:
    aside = [name for name in path.parent.glob(f"{path.name}.corrupt-*") if name.suffix[9:].isdigit()]
    for name in sorted(aside)[:-DAMAGED_KEPT]:
        for suffix in _SUFFIXES:
            Path(f"{name}{suffix}").unlink(missing_ok=True)
