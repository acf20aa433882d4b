"""A child process and everything it started.

Owns spawning (own session, minimal environment, parent-death signal), the exit reason, and the end of
the whole tree. Knows nothing of MCP or of what the pipes carry. `stdio.py` holds one child;
`app.py` makes the one `Nursery`.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

from mcp_gateway.upstream import guardian

# The specification's order for stdio: close stdin, wait, SIGTERM, wait, SIGKILL. A stop ends within 5.5 s.
STDIN_GRACE_S: Final = 2.0
TERM_GRACE_S: Final = 2.0
KILL_GRACE_S: Final = 1.0  # the kernel's time to reap; a process in uninterruptible sleep is given up on

# What a server may need to find its home, its terminal type and its language; never our own secrets.
INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")
MARKER: Final = "MCP_GATEWAY_SPAWN"
# A shell's exit codes for a command that could not be run; setpriv uses the same.
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127


class SpawnError(Exception):
    """The command could not be started. `permanent`: trying again without a change is pointless."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: exactly one of `code` and `signal` (a name such as SIGSEGV) is set."""

    code: int | None
    signal: str | None

    @property
    def reason(self) -> str:
        if self.signal is None:
            return f"exited with code {self.code}"
        hint = ", perhaps by the system for want of memory" if self.signal == "SIGKILL" else ""
        return f"was ended by {self.signal}{hint}"

    @classmethod
    def of(cls, returncode: int) -> "Exit":
        if returncode >= 0:
            return cls(returncode, None)
        try:
            return cls(None, signal.Signals(-returncode).name)
        except ValueError:
            return cls(None, f"signal {-returncode}")


class Listener(Protocol):
    """Who hears what a child does; every method is called on the event loop."""

    def stdout(self, data: bytes) -> None: ...
    def stderr(self, data: bytes) -> None: ...
    def pipe_closed(self, name: str) -> None: ...
    def exited(self, how: Exit) -> None: ...


class _Pipes(asyncio.SubprocessProtocol):
    """The event loop's callbacks, passed on by name."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.SubprocessTransport | None = None
        self.exit: Exit | None = None
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base classes.
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._listener.stdout(data)
        else:
            self._listener.stderr(data)

    def pipe_connection_lost(self, fd: int, _problem: Exception | None) -> None:
        self._listener.pipe_closed(("stdin", "stdout", "stderr")[fd])

    def process_exited(self) -> None:
        # Not the end of stdout: a helper that inherited the pipe can hold it open for ever.
        assert self._transport is not None
        self.exit = Exit.of(self._transport.get_returncode() or 0)
        self.gone.set()
        self._listener.exited(self.exit)


class Child:
    """One running child. Made by `Nursery.spawn`; ended by `stop`, always."""

    def __init__(
        self, nursery: "Nursery", transport: asyncio.SubprocessTransport, pipes: _Pipes, marker: bytes
    ) -> None:
        self._nursery = nursery
        self._transport = transport
        self._pipes = pipes
        self._marker = marker
        self.pid = transport.get_pid()
        self.stdin = _stdin_of(transport)

    @property
    def exit(self) -> Exit | None:
        return self._pipes.exit

    async def stop(self, *, gently: bool = True) -> None:
        """Ends the child and everything it started. Returns within 5.5 s, whatever the child does."""
        family = await asyncio.to_thread(guardian.descendants, self.pid)
        if gently and self.exit is None:
            self.stdin.close()
            await self._wait(STDIN_GRACE_S)
            if self.exit is None:
                guardian.send_group(self.pid, signal.SIGTERM)
                await self._wait(TERM_GRACE_S)
        if self.exit is None:
            family += await asyncio.to_thread(guardian.descendants, self.pid)
        # The group, whoever still has a parent among us, and whoever left both but kept its environment.
        guardian.send_group(self.pid, signal.SIGKILL)
        await asyncio.to_thread(self._end_family, family)
        await self._wait(KILL_GRACE_S)
        self._transport.close()
        self._nursery.forget(self.pid)

    def _end_family(self, family: list[int]) -> None:
        carriers = set(guardian.carriers(self._marker))
        for pid in family:
            # A number from the snapshot may belong to somebody else by now; the marker or the group tells.
            if pid in carriers or _group_of(pid) == self.pid:
                guardian.send(pid, signal.SIGKILL)
        guardian.sweep(self._marker)

    async def _wait(self, limit_s: float) -> None:
        # Not transport.wait(): that waits for the pipes as well.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._pipes.gone.wait()


def _stdin_of(transport: asyncio.SubprocessTransport) -> asyncio.WriteTransport:
    return cast(asyncio.WriteTransport, transport.get_pipe_transport(0))


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


class Nursery:
    """Spawns children and keeps the guardian that ends them should this process die.

    `instance` names this gateway's state directory: a later gateway on the same directory recognises
    what an earlier one left behind.
    """

    def __init__(self, instance: str, environment: Mapping[str, str]) -> None:
        self._instance = instance
        self._environment = environment
        self._setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
        self._guardian: asyncio.SubprocessTransport | None = None
        self._groups: set[int] = set()
        self._spawned = 0
        self._closing = False

    async def start(self) -> None:
        """Sweeps what an earlier gateway on this state directory left, then starts the guardian."""
        await asyncio.to_thread(guardian.sweep, self._family_marker())
        await self._start_guardian()

    async def close(self) -> None:
        """Ends the guardian; all children have been stopped before."""
        self._closing = True
        if self._guardian is not None:
            _stdin_of(self._guardian).close()

    def _family_marker(self) -> bytes:
        return f"{MARKER}={self._instance}/".encode()

    async def _start_guardian(self) -> None:
        loop = asyncio.get_running_loop()
        command = (sys.executable, "-I", "-S", str(Path(guardian.__file__)))
        transport, _ = await loop.subprocess_exec(
            lambda: _GuardianWatch(self._guardian_ended),
            *command,
            self._family_marker().decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        self._guardian = transport
        for group in self._groups:
            self._tell_guardian(b"+", group)

    def _guardian_ended(self) -> None:
        self._guardian = None
        if not self._closing:
            self._restarting = asyncio.ensure_future(self._start_guardian())

    def _tell_guardian(self, sign: bytes, group: int) -> None:
        if self._guardian is not None:
            _stdin_of(self._guardian).write(b"%b%d\n" % (sign, group))

    def forget(self, group: int) -> None:
        self._groups.discard(group)
        self._tell_guardian(b"-", group)

    async def spawn(
        self,
        name: str,
        command: str,
        args: tuple[str, ...],
        env: Mapping[str, str],
        cwd: str | None,
        listener: Listener,
    ) -> Child:
        """Starts a command in a session of its own.

        Raises:
            SpawnError: it is missing, not executable, or the system has no room for it.
        """
        self._spawned += 1
        mark = f"{self._instance}/{name}/{self._spawned}"
        child_env = {key: self._environment[key] for key in INHERITED if key in self._environment}
        child_env |= env
        child_env[MARKER] = mark
        argv = (_locate(command, child_env.get("PATH"), cwd), *args)
        if self._setpriv is not None:
            argv = (self._setpriv, "--pdeathsig", "KILL", "--", *argv)
        loop = asyncio.get_running_loop()
        try:
            transport, pipes = await loop.subprocess_exec(
                lambda: _Pipes(listener), *argv, env=child_env, cwd=cwd, start_new_session=True
            )
        except OSError as problem:
            raise SpawnError(
                f"cannot start `{command}`: {problem.strerror or problem}", permanent=False
            ) from None
        child = Child(self, transport, pipes, f"{MARKER}={mark}\0".encode())
        self._groups.add(child.pid)
        self._tell_guardian(b"+", child.pid)
        return child


class _GuardianWatch(asyncio.SubprocessProtocol):
    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def process_exited(self) -> None:
        self._ended()


def _locate(command: str, path: str | None, cwd: str | None) -> str:
    """The absolute path of a command, found before the spawn so that the reason can be precise."""
    if cwd is not None and not os.path.isdir(cwd):
        raise SpawnError(f"the working directory `{cwd}` does not exist", permanent=True)
    if os.sep in command:
        candidate = os.path.join(cwd or os.getcwd(), os.path.expanduser(command))
        if not os.path.exists(candidate):
            raise SpawnError(f"command not found: `{command}`", permanent=True)
    else:
        located = shutil.which(command, path=path)
        if located is None:
            raise SpawnError(f"command not found: `{command}` is not on PATH", permanent=True)
        candidate = located
    if os.path.isdir(candidate) or not os.access(candidate, os.X_OK):
        raise SpawnError(f"not executable: `{command}`", permanent=True)
    return candidate
