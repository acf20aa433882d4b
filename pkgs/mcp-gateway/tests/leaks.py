"""Where canaries are looked for: in what a gateway says, writes and leaves behind, and in `ps`.

Owns the list of gateways under watch and of what was found. `harness.py` plants canaries, puts a gateway
under watch when it starts it, and listens to every answer through `Connection`; the fixture of `conftest.py`
asks `check` after each test. Looks at what is new only: a log from where it ended, a file once it changed.
"""

import http.client
import io
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tests.canary import LONGEST, Canary, Finder

PIECE_BYTES = 1 << 16  # of a file at a time; one that has not changed is not searched again

# The lawful ways out, of servers that are named `teller` or end with it; of any other, they are leaks.
LAWFUL = (
    # What a server answers to a call reaches the caller of that call as it is, errors, progress and messages
    # included: the gateway neither parses nor changes it (decisions 3 and 9).
    re.compile(r"\S+ in answer to POST (/api/tools/(\S*-)?teller/\S+|/servers/(\S*-)?teller/mcp tools/call)"),
    # The same: over HTTP, tools of the hostile server answer with the headers that reached it.
    re.compile(
        r"(header-of-\S+|variable-for-headers) in answer to "
        r"POST (/api/tools/\S+/(stats|headers)|(/servers/\S+)?/mcp tools/call)"
    ),
    # What the configuration says in the clear may be a directory or a time zone that a description has to
    # name, so a server's tools and instructions may hold it; what is fetched from elsewhere they may not.
    re.compile(
        r"env-of-(\S*-)?teller in answer to "
        r"(GET /api/tools(/\S+)?|(GET|PATCH) /api/servers(/(\S*-)?teller)?"
        r"|GET /tools(/(\S*-)?teller)?/openapi\.json(\?\S*)?"
        r"|GET /api/openwebui/functions(\?\S*|/\S*teller\S*)?"
        r"|POST (/\S+)?/mcp (tools/list|initialize))"
    ),
)

FINDER = Finder()


class Leaked(AssertionError):
    """A secret is where it must not be; says which, where and how it is written, never the value."""


class Ear:
    """Listens to one stream of bytes, however it is cut in pieces."""

    def __init__(self, place: str) -> None:
        self.place = place  # of an answer it is known a little later than its first bytes
        self._end = b""

    def skip(self, data: bytes) -> None:
        """These bytes are known; only what begins in them and goes on is not."""
        self._end = data[-LONGEST:]

    def hear(self, data: bytes) -> None:
        whole = self._end + data
        if FINDER.has(whole):
            FOUND.extend(Finding(self, *hit) for hit in FINDER.find(whole))
        self._end = whole[-LONGEST:]


@dataclass(frozen=True)
class Finding:
    ear: Ear
    canary: Canary
    encoding: str

    @property
    def is_lawful(self) -> bool:
        return any(way.fullmatch(f"{self.canary.name} in {self.ear.place}") for way in LAWFUL)

    def __str__(self) -> str:
        return f"{self.canary.name} in {self.ear.place} ({self.encoding})"


FOUND: list[Finding] = []  # filled from many threads, taken by `check`


def hear(data: bytes, place: str) -> None:
    Ear(place).hear(data)


# -- answers --------------------------------------------------------------------------------------------


class _Tee(io.RawIOBase):
    """A socket that is listened to."""

    def __init__(self, raw: io.RawIOBase, ear: Ear) -> None:
        self._raw = raw
        self._ear = ear

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        if count:
            self._ear.hear(bytes(memoryview(buffer)[:count]))
        return count

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """An answer whose head and body are listened to, byte by byte as they arrive."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.ear = Ear("an answer")
        self.fp = io.BufferedReader(_Tee(self.fp.detach(), self.ear))


class Connection(http.client.HTTPConnection):
    """A connection to a gateway, listened to."""

    response_class = Response
    asked = ""

    def request(self, method: str, url: str, body: Any = None, *more: Any, **options: Any) -> None:
        self.asked = f"{method} {url.partition('?')[0]}"
        if self.asked.endswith("/mcp") and isinstance(body, bytes):
            said = re.search(rb'"method":\s*"([^"]*)"', body[:200])
            self.asked += "" if said is None else f" {said[1].decode('latin-1')}"
        super().request(method, url, body, *more, **options)

    def getresponse(self) -> http.client.HTTPResponse:
        response = super().getresponse()
        assert isinstance(response, Response)
        response.ear.place = f"answer to {self.asked}"
        return response


# -- files and processes --------------------------------------------------------------------------------


@dataclass
class Watch:
    """What one gateway writes. `log` is its stdout and stderr, with what it says when it crashes."""

    owner: str
    log: Path
    state_dir: Path
    ended: bool = False
    _log_offset: int = 0
    _log_ear: Ear = field(default_factory=lambda: Ear("log"))
    _seen: dict[int, tuple[int, int]] = field(default_factory=dict)  # inode: time of change and size
    _pieces: dict[int, dict[int, int]] = field(default_factory=dict)  # inode: end of a piece: its hash

    def look(self) -> None:
        self._look_at_log()
        for path in files_below(self.state_dir):
            self._look_at_file(path)

    def look_anew(self) -> None:
        """From the beginning: there is more to look for."""
        self._log_offset = 0
        self._seen.clear()
        self._pieces.clear()

    def _look_at_log(self) -> None:
        try:
            with self.log.open("rb") as file:
                file.seek(self._log_offset)
                while piece := file.read(PIECE_BYTES):
                    self._log_ear.hear(piece)
                self._log_offset = file.tell()
        except FileNotFoundError:
            pass  # it never came so far

    def _look_at_file(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                now = os.fstat(file.fileno())
                state = (now.st_mtime_ns, now.st_size)
                # An index in shared memory is written without the file's time being changed.
                if self._seen.get(now.st_ino) == state and not path.name.endswith("-shm"):
                    return
                self._look_at_pieces(file, now.st_ino, path)
                self._seen[now.st_ino] = state
        except OSError:
            pass  # gone, or no file: a socket

    def _look_at_pieces(self, file: BinaryIO, inode: int, path: Path) -> None:
        """A database is changed here and there, its log is written again from the beginning."""
        ear = Ear(f"state directory: {path.relative_to(self.state_dir)}")
        pieces = self._pieces.setdefault(inode, {})
        changed = False
        while piece := file.read(PIECE_BYTES):
            number, digest = file.tell(), hash(piece)
            before, changed = changed, pieces.get(number) != digest
            if changed:
                ear.hear(piece)
            else:
                if before:
                    ear.hear(piece[:LONGEST])
                ear.skip(piece)
            pieces[number] = digest


def files_below(directory: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return  # not there yet, or gone
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


_looked_at: dict[str, int] = {}  # process id: how often


def look_at_processes(*, again: bool = False) -> None:
    """What every user of the machine sees of all its processes.

    Each is looked at twice, since one that was just forked still shows its parent's arguments; `again`: all.
    """
    living = {name for name in os.listdir("/proc") if name.isdigit()}
    for name in _looked_at.keys() - living:
        del _looked_at[name]
    for name in living:
        looks = _looked_at.get(name, 0)
        if looks < 2 or again:
            try:
                with open(f"/proc/{name}/cmdline", "rb", buffering=0) as file:
                    command = file.readall()
            except OSError:
                continue  # it has ended
            _looked_at[name] = looks + bool(command)  # one that is being started has none for a moment
            hear(command, f"ps: the arguments of process {name}")


def look_at_cores() -> None:
    """A core file holds all that a process knew; one in the working directory is a leak as it is."""
    for entry in os.scandir("."):
        if re.fullmatch(r"core(\.\d+)?", entry.name) and entry.is_file():
            for piece in _pieces(Path(entry.path)):
                hear(piece, f"core file {entry.name}")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


# -- the check ------------------------------------------------------------------------------------------

_watched: dict[str, Watch] = {}


def watch(owner: str, log: Path, state_dir: Path) -> None:
    """From now on, until `unwatch`; a gateway that is started again goes on where it was."""
    _watched.setdefault(owner, Watch(owner, log, state_dir)).ended = False


def unwatch(owner: str) -> None:
    """It has ended: what it left is looked at once more."""
    if owner in _watched:
        _watched[owner].ended = True


def plant(*canaries: Canary) -> None:
    """Looks for these, too, from now on and in all that gateways under watch have written so far."""
    FINDER.add(*canaries)
    for watched in _watched.values():
        watched.look_anew()


def check() -> None:
    """Looks at all that is new.

    Raises: Leaked for each secret that is, or was heard since the last check, where it must not be.
    """
    if _watched:
        if not all(watched.ended for watched in _watched.values()):
            look_at_processes()
        look_at_cores()
    for watched in list(_watched.values()):
        watched.look()
    found = [str(finding) for finding in FOUND if not finding.is_lawful]
    FOUND.clear()
    for owner in [watched.owner for watched in _watched.values() if watched.ended]:
        del _watched[owner]
        FINDER.forget(owner)
    if found:
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test").partition(" (")[0]
        raise Leaked(f"secrets leak in {test}: " + "; ".join(sorted(set(found))))
