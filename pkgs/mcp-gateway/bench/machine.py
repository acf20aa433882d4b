"""What the benchmarks need of Linux: processes pinned to a CPU, what they cost, and what is left of them.

Owns every look into /proc and the start and end of every process of a run; nothing outlives its `with`.
Knows nothing of MCP, HTTP or gateways, except that a process running `echo_stdio.py` is an upstream and not
the thing that is measured. `run.py` and `kill.py` call it.
"""

import contextlib
import importlib.metadata
import os
import platform
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MARK = "BENCH_RUN"  # environment variable by which a process is recognised after its parent has gone
STOP_GRACE_S = 10.0  # SIGTERM to SIGKILL: longer than the gateway's own bounded stop order
POLL_S = 0.05
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
UPSTREAM_SCRIPT = "echo_stdio.py"
PACKAGE = Path(__file__).parent.parent  # where `python -m bench.echo_http` finds itself


class Cpu(NamedTuple):
    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(self.user_s - before.user_s, self.system_s - before.system_s)


@dataclass(frozen=True)
class Seats:
    """Which CPU the measured process gets, and which one its callers and its upstream share."""

    measured: int | None
    others: int | None

    @classmethod
    def of_this_machine(cls) -> "Seats":
        cpus = sorted(os.sched_getaffinity(0))
        return cls(cpus[0], cpus[1]) if len(cpus) > 1 else cls(None, None)

    def sit(self) -> None:
        """Moves this process, which makes the load, to its seat."""
        if self.others is not None:
            os.sched_setaffinity(0, {self.others})

    @property
    def upstream_arguments(self) -> list[str]:
        return [] if self.others is None else ["--cpu", str(self.others)]


# ---- one process -----------------------------------------------------------------------------------------


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may itself contain blanks: state is field 0."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _born(pid: int) -> str | None:
    """When a process was started; with its pid this names it for good. None if it has gone or is a zombie."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _is_upstream(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(os.path.basename(word) == UPSTREAM_SCRIPT.encode() for word in words[:2])


def _carries(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def cpu_of(pids: Sequence[int]) -> Cpu:
    user = system = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _stat(pid)
            user, system = user + int(fields[11]), system + int(fields[12])
    return Cpu(user / TICKS_PER_S, system / TICKS_PER_S)


def rss_mb(pids: Sequence[int]) -> float:
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def machine_cpu() -> Cpu:
    """Busy time of all CPUs, stolen time included, whoever used it."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return Cpu((user + nice) / TICKS_PER_S, (system + irq + softirq + steal) / TICKS_PER_S)


# ---- a run -----------------------------------------------------------------------------------------------


class Started:
    """A started process and everything that came of it."""

    def __init__(self, process: "subprocess.Popen[bytes]", mark: str, log: Path) -> None:
        self.process, self.mark, self.log = process, mark, log

    @property
    def pid(self) -> int:
        return self.process.pid

    def members(self) -> list[int]:
        """Itself, its descendants, and whatever carries its mark although its parent has gone."""
        alive = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        parents: dict[int, int] = {}
        for pid in alive:
            with contextlib.suppress(OSError):
                fields = _stat(pid)
                if fields[0] != "Z":
                    parents[pid] = int(fields[1])
        found = {pid for pid in parents if pid == self.pid or _carries(pid, self.mark)}
        while children := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= children
        return sorted(found)

    def own(self) -> list[int]:
        return [pid for pid in self.members() if not _is_upstream(pid)]

    def upstreams(self) -> list[int]:
        return [pid for pid in self.members() if _is_upstream(pid)]

    def stop(self) -> list[int]:
        """Ends it politely; gives what was left when it had gone, and ends that too."""
        names = {pid: _born(pid) for pid in self.members()}
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_GRACE_S)
        until = time.monotonic() + STOP_GRACE_S
        while (left := self._alive(names)) and self.process.poll() is not None and time.monotonic() < until:
            time.sleep(POLL_S)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return left

    def _alive(self, names: dict[int, str | None]) -> list[int]:
        known = {pid for pid, born in names.items() if born is not None and _born(pid) == born}
        return sorted(known | set(self.members()))

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextlib.contextmanager
def started(command: Sequence[str], *, cpu: int | None, log: Path) -> Iterator[Started]:
    """Runs a command on one CPU; its output goes to `log`."""
    mark = secrets.token_hex(8)
    seat = os.sched_getaffinity(0)
    with log.open("wb") as output:
        try:
            # A child inherits the CPUs of its parent: simpler, and safer with threads, than code after fork.
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: mark},
                cwd=PACKAGE,
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends its processes
            )
        finally:
            os.sched_setaffinity(0, seat)
    run = Started(process, mark, log)
    try:
        yield run
    finally:
        run.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---- what it ran on --------------------------------------------------------------------------------------

LIBRARIES = (
    "axios-mcp-gateway",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
    "starlette",
    "fastapi",
    "pydantic",
)


def describe() -> dict[str, str]:
    """The machine and the versions, without a name or a path of this machine."""
    found = {"cpu": _cpu_model(), "cores": str(os.cpu_count()), "python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
