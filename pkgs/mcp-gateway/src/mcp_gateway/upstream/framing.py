"""Messages out of byte streams, at linear cost and in bounded memory; the same for every kind of link.

A message above the threshold goes through a file without a name, so that what a server sends decides
how much of the disk is used for a while, never how much of the memory.
"""

import codecs
import mmap
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

SPOOL_ABOVE_BYTES: Final = 10 * 1024 * 1024  # product.md, answer 5: beyond this a message lives on disk


class TooLong(Exception):
    """A message passed the hard cap."""


class Collector:
    """One body of known end: bytes, or a read-only view of a mapped file above the threshold."""

    def __init__(self, spool_dir: Path, cap_bytes: int, spool_above_bytes: int = SPOOL_ABOVE_BYTES) -> None:
        self._spool_dir = spool_dir
        self._cap_bytes = cap_bytes
        self._spool_above_bytes = spool_above_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._spool: BinaryIO | None = None

    def feed(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._cap_bytes:
            self.close()
            raise TooLong(f"a message of more than {self._cap_bytes} bytes")
        if self._spool is None and self._size > self._spool_above_bytes:
            self._spool = tempfile.TemporaryFile(dir=self._spool_dir, prefix="spool-")
            self._spool.writelines(self._parts)
            self._parts.clear()
        if self._spool is None:
            self._parts.append(piece)
        else:
            self._spool.write(piece)

    def finish(self) -> bytes | memoryview:
        if self._spool is None:
            return b"".join(self._parts)
        with self._spool as spool:
            spool.flush()
            return memoryview(mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()
        self._spool, self._parts = None, []


class LineSplitter:
    """Cuts a byte stream into lines at linear cost; a line above the threshold goes through a file.

    `emit` gets each line without its end: bytes, or a read-only view of a mapped file that nobody can
    name any more. `feed` raises TooLong beyond `cap_bytes`; the stream is of no use after that.
    """

    def __init__(
        self,
        emit: Callable[[bytes | memoryview], None],
        spool_dir: Path,
        cap_bytes: int,
        spool_above_bytes: int = SPOOL_ABOVE_BYTES,
    ) -> None:
        self._emit = emit
        self._spool_dir = spool_dir
        self._cap_bytes = cap_bytes
        self._spool_above_bytes = spool_above_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._spool: BinaryIO | None = None

    def feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._size:
                self._keep(line)
                self._finish()
            elif len(line) > self._cap_bytes:
                raise self._too_long()
            elif line:
                self._emit(line)
        if rest:
            self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._cap_bytes:
            raise self._too_long()
        if self._spool is None and self._size > self._spool_above_bytes:
            self._spool = tempfile.TemporaryFile(dir=self._spool_dir, prefix="spool-")
            self._spool.writelines(self._parts)
            self._parts.clear()
        if self._spool is None:
            self._parts.append(piece)
        else:
            self._spool.write(piece)

    def _finish(self) -> None:
        spool, parts = self._spool, self._parts
        self._spool, self._parts, self._size = None, [], 0
        if spool is None:
            self._emit(b"".join(parts))
            return
        with spool:
            spool.flush()
            self._emit(memoryview(mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)))

    def _too_long(self) -> TooLong:
        self.close()
        return TooLong(f"a message of more than {self._cap_bytes} bytes")

    def close(self) -> None:
        """Drops a half line; a spool file has no name and goes with its handle."""
        if self._spool is not None:
            self._spool.close()
        self._spool, self._parts, self._size = None, [], 0


def is_utf8(line: bytes | memoryview) -> bool:
    if isinstance(line, bytes):
        if line.isascii():
            return True
        try:
            line.decode()
        except UnicodeDecodeError:
            return False
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    step = 1024 * 1024
    try:
        for start in range(0, len(line), step):
            decoder.decode(line[start : start + step])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
