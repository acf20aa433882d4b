"""A child process and everything it started.

Owns spawning (own session, minimal environment, parent-death signal), the exit reason, and the end of
the whole tree. Knows nothing of MCP or of what the pipes carry. `stdio.py` holds one child;
`app.py` makes the one `Nursery`.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, Final, Protocol, TypeVar

from mcp_gateway.upstream import guardian

# The specification's order for stdio: close stdin, wait, SIGTERM, wait, SIGKILL. A stop ends within 5.5 s.
STDIN_GRACE_S: Final = 2.0
TERM_GRACE_S: Final = 2.0
KILL_GRACE_S: Final = 1.0  # the kernel's time to reap; a process in uninterruptible sleep is given up on

GUARDIAN_RESTART_S: Final = 1.0  # where none can live, not more than one attempt a second
POOL_THREADS: Final = 2  # a look through /proc takes milliseconds; stops queue for it
GUARDIAN_END_S: Final = 2.0  # it sweeps once more; on a machine that is very busy it is not needed any more

# What a server may need to find its home, its terminal type and its language; never our own secrets.
INHERITED: Final = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")
MARKER: Final = "MCP_GATEWAY_SPAWN"
# A shell's exit codes for a command that could not be run; setpriv uses the same.
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127


_A = TypeVar("_A")
_R = TypeVar("_R")


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


class Child:
    """One running child. Made by `Nursery.spawn`; ended by `stop`, always."""

    def __init__(
        self, nursery: "Nursery", popen: "subprocess.Popen[bytes]", marker: bytes, listener: Listener
    ) -> None:
        self._nursery = nursery
        self._popen = popen
        self._marker = marker
        self._listener = listener
        self._reading: list[asyncio.BaseTransport] = []
        self.stdin: asyncio.WriteTransport | None = None
        self._gone = asyncio.Event()
        self.pid = popen.pid
        self.exit: Exit | None = None
        _when_ended(popen, self._ended)

    async def connect(self) -> None:
        """Puts the pipes on the event loop."""
        loop = asyncio.get_running_loop()
        hear = self._listener
        self.stdin, _ = await loop.connect_write_pipe(
            partial(_Pipe, "stdin", hear.pipe_closed, hear.stdout), _Descriptor(self._popen.stdin)
        )
        for name, pipe, data in (
            ("stdout", self._popen.stdout, hear.stdout),
            ("stderr", self._popen.stderr, hear.stderr),
        ):
            protocol = partial(_Pipe, name, hear.pipe_closed, data)
            transport, _ = await loop.connect_read_pipe(protocol, _Descriptor(pipe))
            self._reading.append(transport)

    def _ended(self, returncode: int) -> None:
        # Not the end of stdout: a helper that inherited the pipe can hold it open for ever.
        self.exit = Exit.of(returncode)
        self._gone.set()
        self._listener.exited(self.exit)

    async def stop(self, *, gently: bool = True) -> None:
        """Ends the child and everything it started. Returns within 5.5 s, whatever the child does."""
        family = await self._nursery.look(guardian.descendants, self.pid)
        if gently and self.exit is None:
            self._close_stdin()
            await self._wait(STDIN_GRACE_S)
            if self.exit is None:
                guardian.send_group(self.pid, signal.SIGTERM)
                await self._wait(TERM_GRACE_S)
        if self.exit is None:
            family |= await self._nursery.look(guardian.descendants, self.pid)
        # The group, whoever still has a parent among us, and whoever left both but kept its environment.
        guardian.send_group(self.pid, signal.SIGKILL)
        await self._nursery.look(self._end_family, family)
        await self._wait(KILL_GRACE_S)
        self._close_stdin()
        for transport in self._reading:
            transport.close()
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:  # stopped before it was connected; else closed already
                pipe.close()
        self._nursery.forget(self.pid)

    def _close_stdin(self) -> None:
        if self.stdin is not None:
            self.stdin.close()
        elif self._popen.stdin is not None:
            self._popen.stdin.close()

    def _end_family(self, family: dict[int, bytes]) -> None:
        for pid, born in family.items():
            # A number from the snapshot may belong to somebody else by now; the time of birth tells.
            if guardian.birth(pid) == born:
                guardian.send(pid, signal.SIGKILL)
        guardian.sweep(self._marker)

    async def _wait(self, limit_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._gone.wait()


class _Descriptor:
    """A pipe handed over to the event loop, which closes it.

    uvloop closes the descriptor and then the file around it: by then the number may be somebody else's.
    """

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None, "spawn asked for all three"
        self._number = os.dup(pipe.fileno())
        pipe.close()

    def fileno(self) -> int:
        return self._number

    def close(self) -> None:
        if not type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
            os.close(self._number)


class _Pipe(asyncio.Protocol):
    """One pipe of a child: its data and its end, passed on."""

    def __init__(self, name: str, closed: Callable[[str], None], data: Callable[[bytes], None]) -> None:
        self._name = name
        self._closed = closed
        self._data = data

    def data_received(self, data: bytes) -> None:
        self._data(data)

    def connection_lost(self, _problem: Exception | None) -> None:
        self._closed(self._name)


def _when_ended(popen: "subprocess.Popen[bytes]", ended: Callable[[int], None]) -> None:
    """Calls `ended` with the return code once the process is gone, and reaps it."""
    loop = asyncio.get_running_loop()
    try:
        watch = os.pidfd_open(popen.pid)
    except (AttributeError, OSError) as problem:  # not Linux, an old kernel, or a fence that forbids it
        if getattr(problem, "errno", errno.ENOSYS) not in (errno.ENOSYS, errno.EPERM):
            raise
        threading.Thread(target=_wait_for, args=(popen, loop, ended), daemon=True).start()
        return

    def reap() -> None:
        loop.remove_reader(watch)
        os.close(watch)
        ended(popen.wait())

    loop.add_reader(watch, reap)


def _wait_for(
    popen: "subprocess.Popen[bytes]", loop: asyncio.AbstractEventLoop, ended: Callable[[int], None]
) -> None:
    returncode = popen.wait()
    with contextlib.suppress(RuntimeError):  # the loop has ended first
        loop.call_soon_threadsafe(ended, returncode)


class Nursery:
    """Spawns children and keeps the guardian that ends them should this process die.

    `instance` names this gateway's state directory: a later gateway on the same directory recognises
    what an earlier one left behind.
    """

    def __init__(self, instance: str, environment: Mapping[str, str]) -> None:
        self.instance = instance
        self._environment = environment
        self._setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._restart: asyncio.TimerHandle | None = None
        self._groups: set[int] = set()
        self._spawned = 0
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="look")
        self.started = asyncio.Event()

    async def start(self) -> None:
        """Sweeps what an earlier gateway on this state directory left, then starts the guardian.

        `started` is set after that; nothing may be spawned before.
        """
        await self.look(guardian.sweep, self._family_marker())
        self._start_guardian()
        self.started.set()

    async def look(self, work: Callable[[_A], _R], about: _A) -> _R:
        """Runs a look through /proc beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, about)

    def kill_all(self) -> None:
        """Ends every child now; for a stop that shall not wait."""
        for group in self._groups:
            guardian.send_group(group, signal.SIGKILL)

    def close(self) -> None:
        """Lets the guardian end; all children have been stopped before."""
        if self._restart is not None:
            self._restart.cancel()
        self._pool.shutdown(wait=False)
        ending, self._guardian = self._guardian, None
        if ending is not None and ending.stdin is not None:
            ending.stdin.close()
            try:
                ending.wait(GUARDIAN_END_S)
            except subprocess.TimeoutExpired:
                ending.kill()
                ending.wait()

    def _family_marker(self) -> bytes:
        return f"{MARKER}={self.instance}/".encode()

    def _start_guardian(self) -> None:
        # Unbuffered: what is told must be known at once, for we may be killed at once.
        self._guardian = subprocess.Popen(
            (sys.executable, "-I", "-S", guardian.__file__, self._family_marker(), *map(str, self._groups)),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        assert self._guardian.stdin is not None, "it was asked for"
        os.set_blocking(self._guardian.stdin.fileno(), False)
        _when_ended(self._guardian, self._guardian_ended)

    def _guardian_ended(self, _returncode: int) -> None:
        if self._guardian is not None:
            if self._guardian.stdin is not None:
                self._guardian.stdin.close()
            self._guardian = None
            loop = asyncio.get_running_loop()
            self._restart = loop.call_later(GUARDIAN_RESTART_S, self._start_guardian)

    def _tell_guardian(self, sign: bytes, group: int) -> None:
        if self._guardian is not None and self._guardian.stdin is not None:
            try:
                self._guardian.stdin.write(b"%b%d\n" % (sign, group))
            except OSError:  # dead, or stopped with a full pipe: its successor is told everything
                self._guardian.kill()

    def forget(self, group: int) -> None:
        self._groups.discard(group)
        self._tell_guardian(b"-", group)

    def spawn(
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
        mark = f"{self.instance}/{name}/{self._spawned}"
        child_env = {key: self._environment[key] for key in INHERITED if key in self._environment}
        child_env |= env
        child_env[MARKER] = mark
        argv = (locate(command, child_env.get("PATH"), cwd), *args)
        if self._setpriv is not None:
            argv = (self._setpriv, "--pdeathsig", "KILL", "--", *argv)
        try:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=child_env,
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as problem:
            raise SpawnError(
                f"cannot start `{command}`: {problem.strerror or problem}", permanent=False
            ) from None
        try:
            child = Child(self, popen, f"{MARKER}={mark}\0".encode(), listener)
        except OSError as problem:  # no file descriptor left to watch it with
            popen.kill()
            popen.communicate()
            raise SpawnError(f"cannot watch `{command}`: {problem.strerror}", permanent=False) from None
        self._groups.add(child.pid)
        self._tell_guardian(b"+", child.pid)
        return child


def locate(command: str, path: str | None, cwd: str | None) -> str:
    """The absolute path of a command, found before the spawn so that the reason can be precise."""
    if cwd is not None and not os.path.isdir(cwd):
        raise SpawnError(f"the working directory `{cwd}` does not exist", permanent=True)
    if os.sep in command:
        candidate = os.path.join(cwd or os.getcwd(), os.path.expanduser(command))
        if not os.path.exists(candidate):
            raise SpawnError(f"command not found: `{command}`", permanent=True)
    else:
        located = shutil.which(command, path=path or "")
        if located is None:
            raise SpawnError(f"command not found: `{command}` is not on PATH", permanent=True)
        candidate = located
    if os.path.isdir(candidate) or not os.access(candidate, os.X_OK):
        raise SpawnError(f"not executable: `{command}`", permanent=True)
    return candidate
