"""What the servers' processes take of the machine: memory and processor time, looked at when somebody asks.

One look is for all servers, in a thread, and holds for `FRESH_S` however many ask. A server is its child
and what that started: whatever is in the child's session, and sessions that were begun from there, as a
browser's is. What began a session of its own and then lost its parent is not found. Knows pids, not links.
"""

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from mcp_gateway import clock

FRESH_S: Final = 2.0
PATIENCE_S: Final = 0.5  # a look takes milliseconds; on a machine that hangs the page matters more
_NO_SESSION: Final = 0  # of kernel threads

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Load:
    """Of one child and what it started.

    Memory is resident: what processes share counts once for each. `cpu_s` is all they have used so far, with
    that of processes that have ended.
    """

    memory_bytes: int
    cpu_s: float
    processes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one server, looked at `at` (seconds since 1970).

    `cpu_percent` is of one core, since the look before; None at the first one.
    """

    memory_bytes: int
    cpu_percent: float | None
    processes: int
    at: float

    def view(self) -> dict[str, Any]:
        return {
            "memoryBytes": self.memory_bytes,
            "cpuPercent": self.cpu_percent,
            "processes": self.processes,
            "at": round(self.at, 3),
        }


Loads = Mapping[int, Load]
"""By the pid of the child."""
_NOBODY: Final = frozenset[int]()


class Usages:
    """The last look. `children` tells which there are now: the server of each pid."""

    def __init__(
        self,
        children: Callable[[], Mapping[int, str]],
        measure: Callable[[Collection[int]], Loads] | None = None,
        now_s: Callable[[], float] = clock.now_s,
    ) -> None:
        self._children = children
        self._measure = measure or loads_of
        self._now_s = now_s
        self._loads: Loads = {}
        self._looked_at: float | None = None
        self._seen: dict[str, tuple[Usage, frozenset[int]]] = {}
        self._look: asyncio.Task[None] | None = None

    def of(self, server: str, pids: Iterable[int | None]) -> Usage | None:
        """As it was at the last look; None if none of these children was there."""
        usage, then = self._seen.get(server, (None, _NOBODY))
        return None if then.isdisjoint(pids) else usage

    async def refresh(self) -> None:
        """Looks again, unless that has just been done; whoever comes meanwhile waits for the same look.

        Returns within `PATIENCE_S`; what takes longer is there for the next who asks.
        """
        if self._look is None:
            if self._looked_at is not None and self._now_s() - self._looked_at < FRESH_S:
                return
            self._look = asyncio.create_task(self._look_again(), name="usage")
        await asyncio.wait((self._look,), timeout=PATIENCE_S)  # who leaves takes it from nobody else

    async def _look_again(self) -> None:
        began_at, children = self._now_s(), dict(self._children())
        try:
            loads = await asyncio.to_thread(self._measure, children.keys()) if children else {}
        except Exception:  # a number for people, who came for the rest of the page
            logger.exception("what the servers' processes take could not be measured")
            loads = {}
        self._seen = _usages(children, self._loads, loads, began_at - (self._looked_at or began_at))
        self._loads, self._looked_at, self._look = loads, began_at, None


def _usages(
    children: Mapping[int, str], before: Loads, loads: Loads, passed_s: float
) -> dict[str, tuple[Usage, frozenset[int]]]:
    """By server, and which children it is of; two looks are `passed_s` apart."""
    at = clock.wall_s()
    by_server: dict[str, list[int]] = defaultdict(list)
    for pid in loads:
        by_server[children[pid]].append(pid)
    seen = {}
    for server, pids in by_server.items():
        cpu_percent = None
        if any(pid in before for pid in pids):
            # A child that was not there before has used all its time since then.
            used_s = sum(max(0.0, loads[pid].cpu_s - _cpu_s(before.get(pid))) for pid in pids)
            cpu_percent = round(100 * used_s / passed_s, 1)
        memory_bytes = sum(loads[pid].memory_bytes for pid in pids)
        processes = sum(loads[pid].processes for pid in pids)
        seen[server] = Usage(memory_bytes, cpu_percent, processes, at), frozenset(pids)
    return seen


def _cpu_s(load: Load | None) -> float:
    return 0.0 if load is None else load.cpu_s


def loads_of(children: Collection[int]) -> dict[int, Load]:
    """Looks at every process once; a child that has ended is not in the answer. Blocks for milliseconds."""
    # Imported here: nobody may ever look, and it costs every start.
    import psutil

    found: dict[int, Load] = {}
    for pid, child in _families(psutil.pids(), children):
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                times, memory_bytes = process.cpu_times(), process.memory_info().rss
        except psutil.Error:
            continue  # it has ended since, or is not ours to look at
        # What has ended is in the times of its parent, so their sum never forgets.
        cpu_s = times.user + times.system + times.children_user + times.children_system
        so_far = found.get(child, Load(0, 0.0, 0))
        found[child] = Load(so_far.memory_bytes + memory_bytes, so_far.cpu_s + cpu_s, so_far.processes + 1)
    return found


def _families(pids: Iterable[int], children: Collection[int]) -> Iterator[tuple[int, int]]:
    """Each process that belongs to a child, with that child. A child leads a session."""
    session_of: dict[int, int] = {}
    for pid in pids:
        with suppress(OSError):  # it has ended since
            session_of[pid] = os.getsid(pid)
    # Most processes are in few sessions, and only the leaders of these are asked for their parents.
    owners: dict[int, int | None] = {_NO_SESSION: None} | {child: child for child in children}
    for session in set(session_of.values()):
        line = []
        while session not in owners:
            owners[session] = None  # until it is known; should numbers be given anew meanwhile, no circle
            line.append(session)
            session = session_of.get(_parent_of(session), _NO_SESSION)
        owners |= dict.fromkeys(line, owners[session])
    for pid, session in session_of.items():
        if (child := owners[session]) is not None:
            yield pid, child


def _parent_of(pid: int) -> int:
    """0, which is nobody, of one that has ended."""
    import psutil

    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return 0
