"""The link to a stdio server: framing, and one child process.

Turns bytes into message heads and hands them to its peer; knows no request, no caller, no state of
the server. Only the owner task in `upstream.py` opens and closes it.
"""

import asyncio
import codecs
import mmap
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.process import Child, Exit, Nursery, SpawnError
from mcp_gateway.wire.envelope import Head, NotAMessage, read_head

SPOOL_ABOVE_BYTES: Final = 10 * 1024 * 1024  # product.md, answer 5: beyond this a message lives on disk
DRAIN_AFTER_EXIT_S: Final = 0.25  # an answer written just before the exit is still in the pipe
WRITE_BUFFER_BYTES: Final = 64 * 1024 * 1024  # more than every caller's largest body at once is not a burst
WRITE_STALL_S: Final = 10.0  # a server that reads nothing for so long will not read again


class Peer(Protocol):
    """Who hears the link."""

    def message(self, head: Head) -> None: ...
    def garbage(self, line: bytes | memoryview, reason: str) -> None: ...
    def lost(self, reason: str) -> None: ...


class TooLong(Exception):
    """A message passed the hard cap."""


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


def _is_utf8(line: bytes | memoryview) -> bool:
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


class StdioLink:
    """One child with its pipes. `open`, then `send`; the peer hears messages until `lost`."""

    def __init__(self, peer: Peer, logs: LogRing, spool_dir: Path, cap_bytes: int) -> None:
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._logs = logs
        self._splitter = LineSplitter(self._line, spool_dir, cap_bytes)
        self._child: Child | None = None
        self._lost: str | None = None
        self._closing = False
        self._stdout_open = True
        self._stalled_since: float | None = None
        self._outbox: list[bytes] = []
        self.has_spoken = False

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    @property
    def lost_because(self) -> str | None:
        return self._lost

    @property
    def exit(self) -> Exit | None:
        return None if self._child is None else self._child.exit

    async def open(
        self,
        nursery: Nursery,
        name: str,
        command: str,
        args: tuple[str, ...],
        env: dict[str, str],
        cwd: str | None,
    ) -> None:
        """Starts the child.

        Raises:
            SpawnError: see `Nursery.spawn`.
        """
        self._child = nursery.spawn(name, command, args, env, cwd, self)
        try:
            await self._child.connect()
        except OSError as problem:
            raise SpawnError(f"cannot connect the pipes: {problem.strerror}", permanent=False) from None

    def send(self, line: bytes) -> None:
        """Queues one line. A lost link takes it silently: `lost` has been or will be heard.

        What one turn of the event loop has to say goes out in one write.
        """
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(line)

    def _flush(self) -> None:
        lines, self._outbox = self._outbox, []
        stdin = None if self._child is None else self._child.stdin
        if lines and stdin is not None and self._lost is None and not stdin.is_closing():
            stdin.write(b"".join(lines))
            if stdin.get_write_buffer_size() > WRITE_BUFFER_BYTES:
                self._lose(f"it does not read its stdin: more than {WRITE_BUFFER_BYTES} bytes wait")

    def check(self, now: float) -> None:
        """Called now and then while calls wait: a server that stopped reading its stdin is lost."""
        stdin = None if self._child is None else self._child.stdin
        if stdin is None or self._lost is not None:
            return
        if stdin.is_closing() or stdin.get_write_buffer_size() == 0:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        elif now - self._stalled_since > WRITE_STALL_S:
            self._lose(f"it has not read its stdin for {WRITE_STALL_S:.0f} s")

    async def close(self) -> None:
        """Ends the child and its tree; `lost` is not called any more."""
        self._flush()
        self._closing = True
        self._splitter.close()
        if self._child is not None:
            await self._child.stop(gently=self._lost is None)

    def _lose(self, reason: str) -> None:
        if self._lost is None and not self._closing:
            self._lost = reason
            self._peer.lost(reason)

    # Listener of the child

    def stdout(self, data: bytes) -> None:
        self.has_spoken = True
        if self._lost is None:
            try:
                self._splitter.feed(data)
            except TooLong as problem:
                self._lose(f"it sent {problem}")
            except OSError as problem:
                self._lose(f"its large answer could not be put on disk: {problem.strerror}")

    def stderr(self, data: bytes) -> None:
        self._logs.feed(data)

    def pipe_closed(self, name: str) -> None:
        if name == "stdout":
            self._stdout_open = False
        if name == "stderr":
            return  # losing its voice does not make a server deaf
        if self.exit is not None:
            self._lose(f"it {self.exit.reason}")
        elif not self._closing:
            # Usually the exit itself, heard a moment later; a server without its pipes is of no use.
            self._loop.call_later(DRAIN_AFTER_EXIT_S, self._give_up, f"it closed its {name}")

    def exited(self, how: Exit) -> None:
        if self._stdout_open and not self._closing:
            self._loop.call_later(DRAIN_AFTER_EXIT_S, self._give_up, "")
        else:
            self._lose(f"it {how.reason}")

    def _give_up(self, otherwise: str) -> None:
        self._lose(otherwise if self.exit is None else f"it {self.exit.reason}")

    def _line(self, line: bytes | memoryview) -> None:
        if not _is_utf8(line):
            self._peer.garbage(line, "not UTF-8")
            return
        try:
            head = read_head(line)
        except NotAMessage as problem:
            self._peer.garbage(line, str(problem))
            return
        self._peer.message(head)
