"""The link to a stdio server: framing, and one child process.

Turns bytes into message heads and hands them to its peer; knows no request, no caller, no state of
the server. Only the owner task in `upstream.py` opens and closes it.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from mcp_gateway.catalog import Tool
from mcp_gateway.upstream.framing import LineSplitter, TooLong
from mcp_gateway.upstream.lifecycle import Ended
from mcp_gateway.upstream.link import Peer, deliver
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.process import Child, Exit, Listener, SpawnError
from mcp_gateway.wire.envelope import Params, as_line, notification, request_line

DRAIN_AFTER_EXIT_S: Final = 0.25  # an answer written just before the exit is still in the pipe
WRITE_BUFFER_BYTES: Final = 64 * 1024 * 1024  # more than every caller's largest body at once is not a burst
WRITE_STALL_S: Final = 10.0  # a server that reads nothing for so long will not read again


Spawn = Callable[[Listener], Child]
"""Starts the one child of a link; raises SpawnError."""


class StdioLink:
    """One child with its pipes; see `link.Link`. A lost link takes what is sent silently: `lost` has
    been or will be heard."""

    def __init__(self, spawn: Spawn, peer: Peer, logs: LogRing, spool_dir: Path, cap_bytes: int) -> None:
        self._spawn = spawn
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._logs = logs
        self._splitter = LineSplitter(partial(deliver, peer), spool_dir, cap_bytes)
        self._child: Child | None = None
        self._lost: Ended | None = None
        self._closing = False
        self._stdout_open = True
        self._stalled_since: float | None = None
        self._outbox: list[bytes] = []
        self.has_spoken = False

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    @property
    def lost_because(self) -> Ended | None:
        return self._lost

    @property
    def exit(self) -> Exit | None:
        return None if self._child is None else self._child.exit

    async def open(self) -> None:
        """Starts the child.

        Raises:
            SpawnError: see `Nursery.spawn`.
        """
        self._child = self._spawn(self)
        try:
            await self._child.connect()
        except OSError as problem:
            raise SpawnError(f"cannot connect the pipes: {problem.strerror}", permanent=False) from None

    def agree(self, revision: str) -> None: ...

    def learn(self, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        return tools

    def request(
        self, number: int, method: str, params: Params, forwarded: Mapping[str, str] | None = None
    ) -> None:
        self.send(request_line(number, method, params))

    def cancel(self, number: int, reason: str) -> None:
        self.notify("notifications/cancelled", {"requestId": number, "reason": reason})

    def notify(self, method: str, params: Params | None = None) -> None:
        self.send(as_line(notification(method, params)))

    def answer(self, response: bytes) -> None:
        self.send(as_line(response))

    def settle(self, number: int) -> None: ...

    def send(self, line: bytes) -> None:
        """Queues one line; what one turn of the event loop has to say goes out in one write."""
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
            self._lost = Ended(reason)
            self._peer.lost(self._lost)

    # Listener of the child

    def stdout(self, data: bytes) -> None:
        self.has_spoken = True
        if self._lost is None:
            try:
                self._splitter.feed(data)
            except TooLong as problem:
                self._lose(f"it sent {problem}")

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
