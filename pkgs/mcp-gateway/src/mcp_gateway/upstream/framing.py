"""Messages out of byte streams, at linear cost and in bounded memory; the same for every kind of link.

A message above the threshold goes into a file while it arrives, and its outline is drawn from the bytes
as they go by. So what a server sends decides how much of the disk is used for a while, never how much of
the memory, and no step takes longer because the whole is long.
"""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Raw

from mcp_gateway.wire.envelope import Head
from mcp_gateway.wire.outline import Outline

SPOOL_ABOVE_BYTES: Final = 10 * 1024 * 1024  # product.md, answer 5: beyond this a message lives on disk
# From here on the outline is drawn, so that nobody waits for ten mebibytes of it at once when the threshold
# is passed; for a message that ends before, two milliseconds are wasted for each mebibyte.
OUTLINE_ABOVE_BYTES: Final = 1024 * 1024
# No message may fill the disk: with less than this left (or a twentieth of a small disk) it is given up.
# What is kept longer leaves more room than that (`gateway/artifacts.py`).
SPARE_BYTES: Final = 256 * 1024 * 1024
SPARE_PART: Final = 20
LOOK_EVERY_BYTES: Final = 8 * 1024 * 1024  # how much is written between two looks at the room on the disk
# Of a message that turns out to be none: what is shown, and where an id is looked for.
GLIMPSE_START_BYTES: Final = 4096
GLIMPSE_END_BYTES: Final = 128


class TooLong(Exception):
    """A message passed the hard cap."""


class SpoolFile:
    """A file that goes when nobody holds it any more, unless it was moved to a place where it is kept.

    It has a name from the start: a file without one cannot be given one on every file system.
    """

    def __init__(self, directory: Path) -> None:
        """Raises:
        OSError: it cannot be made.
        """
        self.size = 0
        self._path: Path | None = directory / secrets.token_hex(8)
        self._number = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._looked_at = -LOOK_EVERY_BYTES

    def write(self, piece: bytes) -> None:
        """Appends; goes to the page cache and waits for no disk.

        Raises:
            OSError: there is no room.
        """
        if self.size - self._looked_at >= LOOK_EVERY_BYTES:
            self._looked_at = self.size
            if room_bytes(self._number) < spare_bytes(self._number, SPARE_BYTES, SPARE_PART):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = memoryview(piece)
        while view:
            written = os.write(self._number, view)
            self.size += written
            view = view[written:]

    def read(self, at: int, size: int) -> bytes:
        return os.pread(self._number, size, at)

    def move(self, path: Path) -> None:
        """Keeps the file under another name, on the same file system; from now on it stays.

        Raises:
            OSError: it cannot be moved.
        """
        assert self._path is not None, "a file is moved once"
        os.rename(self._path, path)
        self._path = None

    def close(self) -> None:
        """Lets go of it; a file that was not moved is deleted."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def __del__(self) -> None:
        if getattr(self, "_number", -1) >= 0:
            self.close()


def room_bytes(where: Path | int) -> int:
    """What may still be written to the file system of a file or directory."""
    system = os.statvfs(where)
    return system.f_bavail * system.f_frsize


def spare_bytes(where: Path | int, wanted: int, part: int) -> int:
    """How much of it is to stay free: `wanted`, but of a small disk only one of so many parts."""
    system = os.statvfs(where)
    return min(wanted, system.f_blocks * system.f_frsize // part)


class Spooled:
    """A message that lives in a file, or that could not be put there: then `problem` says why.

    `size` is the message's; `result` is what it carries as a result, by its place in `file`.
    """

    def __init__(
        self, file: SpoolFile | None, problem: OSError | None, size: int, glimpse: bytes, outline: Outline
    ) -> None:
        self.file = file
        self.problem = problem
        self.size = size
        self.glimpse = glimpse  # its start and its end, for who is told that it is no message
        self._outline = outline
        self.skeleton = Raw(b"")  # of the result, once the head was read

    def head(self) -> Head:
        """Its head. `result` is a skeleton: top-level members, with what is in them cut; so is `error`.

        Raises:
            NotAMessage: see `read_head` and `Outline`.
        """
        head = self._outline.head()
        self.skeleton = head.result
        head.params = Raw(b"")  # nothing that is read of params can be this long
        return head

    @property
    def result(self) -> tuple[int, int]:
        """Where the result begins and ends; empty unless it is an object."""
        return self._outline.result or (0, 0)

    @property
    def result_bytes(self) -> int:
        start, end = self.result
        return end - start

    def read_result(self, at: int, size: int) -> bytes:
        """So much of the result, from `at` on; less at its end.

        Raises:
            OSError: the disk failed.
        """
        assert self.file is not None, "what could not be put on disk never becomes a result"
        start, end = self.result
        return self.file.read(start + at, max(0, min(size, end - start - at)))

    def close(self) -> None:
        """Drops the file, unless it was moved."""
        if self.file is not None:
            self.file.close()


class Collector:
    """One message at a time, of pieces; its end is known to somebody else.

    Keeps the pieces as they came up to the threshold, a file and an outline above it.
    """

    def __init__(self, spool_dir: Path, cap_bytes: int, spool_above_bytes: int = SPOOL_ABOVE_BYTES) -> None:
        self._spool_dir = spool_dir
        self._cap_bytes = cap_bytes
        self._spool_above_bytes = spool_above_bytes
        self._outline_above_bytes = min(OUTLINE_ABOVE_BYTES, spool_above_bytes)
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []
        self._outline: Outline | None = None
        self._is_spooled = False
        self._file: SpoolFile | None = None
        self._problem: OSError | None = None
        self._start = b""
        self._end = b""

    def feed(self, piece: bytes) -> None:
        """Takes the next piece.

        Raises:
            TooLong: beyond the cap; everything was dropped.
        """
        self.size += len(piece)
        if self.size > self._cap_bytes:
            self.close()
            raise TooLong(f"a message of more than {self._cap_bytes} bytes")
        if self._is_spooled:
            self._write(piece)
        else:
            self._parts.append(piece)
        if self._outline is not None:
            self._outline.feed(piece)
        elif self.size > self._outline_above_bytes:
            self._outline = Outline()
            for part in self._parts:
                self._outline.feed(part)
        if self.size > self._spool_above_bytes and not self._is_spooled:
            self._spool()

    def _spool(self) -> None:
        self._is_spooled = True
        parts, self._parts = self._parts, []
        try:
            self._file = SpoolFile(self._spool_dir)
        except OSError as problem:
            self._problem = problem
        for part in parts:
            if len(self._start) < GLIMPSE_START_BYTES:
                self._start += part[:GLIMPSE_START_BYTES]
            self._write(part)

    def _write(self, piece: bytes) -> None:
        """A message that has no room on disk is still read to its end: the answer is lost, not the link."""
        self._end = (self._end + piece[-GLIMPSE_END_BYTES:])[-GLIMPSE_END_BYTES:]
        if self._file is None:
            return
        try:
            self._file.write(piece)
        except OSError as problem:
            self._problem = problem
            self._file.close()
            self._file = None

    def finish(self) -> bytes | Spooled:
        """The message, which has ended; the next piece begins another."""
        if not self._is_spooled:
            whole = b"".join(self._parts)
            self._begin()
            return whole
        assert self._outline is not None, "it is drawn from below the threshold on"
        self._outline.finish()
        glimpse = self._start + self._end
        message = Spooled(self._file, self._problem, self.size, glimpse, self._outline)
        self._begin()
        return message

    def close(self) -> None:
        """Drops what has come so far."""
        if self._file is not None:
            self._file.close()
        self._begin()


class LineSplitter:
    """Cuts a byte stream into lines at linear cost; a line above the threshold goes through a file.

    `emit` gets each line without its end, empty ones left out. `feed` raises TooLong beyond `cap_bytes`;
    the stream is of no use after that.
    """

    def __init__(
        self,
        emit: Callable[[bytes | Spooled], object],
        spool_dir: Path,
        cap_bytes: int,
        spool_above_bytes: int = SPOOL_ABOVE_BYTES,
    ) -> None:
        self._emit = emit
        self._cap_bytes = cap_bytes
        self._half = Collector(spool_dir, cap_bytes, spool_above_bytes)

    def feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._half.size or len(line) > self._cap_bytes:
                self._half.feed(line)
                self._emit(self._half.finish())
            elif line:
                self._emit(line)
        if rest:
            self._half.feed(rest)

    def close(self) -> None:
        """Drops a half line."""
        self._half.close()


def is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
