"""What real children take: memory and processor time of all they started, and how often that is looked at."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import psutil
import pytest
import pytest_asyncio

from mcp_gateway.upstream import usage
from mcp_gateway.upstream.process import Child, Nursery
from mcp_gateway.upstream.usage import FRESH_S, Load, Loads, Usages, loads_of
from tests.harness import has_ended
from tests.upstream.parts import until
from tests.upstream.test_process import Ward

MIB = 2**20
HELD = 48 * MIB
BURNT_S = 0.3
# A grandchild takes memory, and time of the processor until it has had so much of it; then it says so.
HUNGRY = f"""
import os, sys, time
held = b"x" * {HELD}
while sum(os.times()[:2]) < {BURNT_S}:
    pass
print("fed", flush=True)
sys.stdin.read()
"""


@pytest_asyncio.fixture
async def ward(nursery: Nursery) -> AsyncIterator[Ward]:
    ward = Ward(nursery)
    yield ward
    for child in ward.children:
        await child.stop(gently=False)


async def parent_of(ward: Ward, script: str, **how: Any) -> Child:
    """A child that starts another with this script, and the other has said that it is as it shall be."""
    child, heard = await ward.python(
        f"""
        import subprocess, sys
        one = subprocess.Popen([sys.executable, "-I", "-S", "-c", {script!r}], **{how!r})
        one.wait()
        print("ended", flush=True)
        sys.stdin.read()
        """
    )
    await heard.line()
    return child


async def test_a_child_is_all_that_it_started(ward: Ward) -> None:
    child = await parent_of(ward, HUNGRY)
    alone, _ = await ward.shell("read line")
    loads = loads_of({child.pid, alone.pid})
    assert loads[child.pid].processes == 2
    assert loads[child.pid].memory_bytes > HELD
    assert loads[child.pid].cpu_s >= BURNT_S
    assert loads[alone.pid].processes == 1
    assert 0 < loads[alone.pid].memory_bytes < HELD
    assert loads[alone.pid].cpu_s < BURNT_S


async def test_who_has_begun_a_session_of_its_own_still_belongs_to_its_parent(ward: Ward) -> None:
    # As browsers are started: neither the session nor the group is the child's.
    child = await parent_of(ward, HUNGRY, start_new_session=True)
    load = loads_of({child.pid})[child.pid]
    assert load.processes == 2
    assert load.memory_bytes > HELD


async def test_who_lost_its_parent_belongs_to_the_session(ward: Ward) -> None:
    # A shell takes stdin from what it starts in the background, so that comes by another number.
    child, heard = await ward.shell(f"exec 3<&0; ( {sys.executable} -I -S -c '{HUNGRY}' <&3 & ) ; read line")
    await heard.line()
    load = loads_of({child.pid})[child.pid]
    assert load.processes == 2
    assert load.cpu_s >= BURNT_S


async def test_what_has_ended_has_still_been_used(ward: Ward) -> None:
    child = await parent_of(ward, HUNGRY.replace("sys.stdin.read()", ""))
    await until(lambda: loads_of({child.pid})[child.pid].processes == 1, "the grandchild has ended")
    assert loads_of({child.pid})[child.pid].cpu_s >= BURNT_S


async def test_a_child_that_is_gone_is_not_in_the_answer() -> None:
    process = subprocess.Popen(["true"], start_new_session=True)
    await until(lambda: has_ended(process.pid), "it ends")
    assert loads_of({process.pid}) == {}  # a zombie still has its number
    process.wait()
    assert loads_of({process.pid}) == {}


def test_nobody_else_is_counted() -> None:
    assert loads_of(set()) == {}
    own = psutil.Process().pid
    assert own not in loads_of({2**22 + 1})


# -- how often ------------------------------------------------------------------------------------------


class Machine:
    """A clock and processes as the test says; `gate` is where a look waits, if the test wants that."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.children: dict[int, str] = {}
        self.loads: dict[int, Load] = {}
        self.looks: list[set[int]] = []
        self.gate: threading.Event | None = None
        self.usages = Usages(lambda: self.children, self.measure, lambda: self.now)

    def measure(self, children: Collection[int]) -> Loads:
        self.looks.append(set(children))
        if self.gate is not None:
            assert self.gate.wait(10)
        return {pid: self.loads[pid] for pid in children if pid in self.loads}

    def run(
        self, pid: int, server: str, cpu_s: float = 0.0, memory_bytes: int = 10, processes: int = 1
    ) -> None:
        self.children[pid] = server
        self.loads[pid] = Load(memory_bytes, cpu_s, processes)

    def end(self, pid: int) -> None:
        del self.children[pid], self.loads[pid]

    async def after(self, seconds: float) -> None:
        self.now += seconds
        await self.usages.refresh()

    def percent(self, server: str, *pids: int) -> float | None:
        shown = self.usages.of(server, pids)
        assert shown is not None
        return shown.cpu_percent


async def test_the_links_of_a_server_count_together() -> None:
    machine = Machine()
    machine.run(1, "git", 5.0, 100, 2)
    machine.run(2, "git", 7.0, 10)
    machine.run(3, "time", 1.0, 1)
    await machine.after(0)
    assert machine.looks == [{1, 2, 3}]
    shown = machine.usages.of("git", (1, 2))
    assert shown is not None
    assert (shown.memory_bytes, shown.processes, shown.cpu_percent) == (110, 3, None)
    assert shown.view().keys() == {"memoryBytes", "cpuPercent", "processes", "at"}


async def test_the_processor_is_told_between_two_looks_and_of_one_core() -> None:
    machine = Machine()
    machine.run(1, "git", 5.0)
    machine.run(3, "time", 1.0)
    await machine.after(0)
    machine.run(1, "git", 6.0)
    machine.run(2, "git", 8.0)  # which was not there before
    await machine.after(4)
    assert machine.percent("git", 1, 2) == 225.0
    assert machine.percent("time", 3) == 0.0


async def test_a_restart_begins_anew_and_a_link_that_ended_takes_nothing_back() -> None:
    machine = Machine()
    machine.run(1, "git", 500.0)
    machine.run(2, "git", 100.0)
    machine.run(3, "time", 9.0)
    await machine.after(0)
    machine.end(2)
    machine.end(3)
    machine.run(4, "time", 1.0)
    await machine.after(4)
    assert machine.percent("git", 1) == 0.0
    assert machine.percent("time", 4) is None
    machine.run(4, "time", 0.5)  # of one that counts backwards
    await machine.after(4)
    assert machine.percent("time", 4) == 0.0


async def test_who_asks_within_two_seconds_gets_the_same_look() -> None:
    machine = Machine()
    machine.run(1, "git")
    await asyncio.gather(*(machine.usages.refresh() for _ in range(50)))
    await machine.after(FRESH_S / 2)
    assert len(machine.looks) == 1
    await machine.after(FRESH_S)
    assert len(machine.looks) == 2


async def test_who_leaves_while_it_is_looked_takes_it_from_nobody() -> None:
    machine = Machine()
    machine.gate = threading.Event()
    machine.run(1, "git")
    leaving, staying = (asyncio.create_task(machine.usages.refresh()) for _ in range(2))
    await until(lambda: machine.looks, "somebody looks")
    leaving.cancel()
    machine.gate.set()
    await staying
    assert machine.usages.of("git", (1,)) is not None
    assert len(machine.looks) == 1


async def test_nobody_waits_for_a_machine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "PATIENCE_S", 0.0)
    machine = Machine()
    machine.gate = threading.Event()
    machine.run(1, "git")
    for _ in range(3):
        await machine.after(FRESH_S)
    assert machine.usages.of("git", (1,)) is None
    machine.gate.set()
    await until(lambda: machine.usages.of("git", (1,)), "the look ends")
    assert len(machine.looks) == 1


async def test_of_other_processes_than_it_has_a_server_is_told_nothing() -> None:
    machine = Machine()
    machine.run(1, "git")
    await machine.after(0)
    assert machine.usages.of("git", (None, 7)) is None
    assert machine.usages.of("time", (1,)) is None


async def test_without_processes_nobody_looks() -> None:
    machine = Machine()
    await machine.after(0)
    await machine.after(FRESH_S)
    assert machine.looks == []


async def test_a_look_that_fails_costs_the_numbers_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    machine.run(1, "git")

    def fail(_children: Collection[int]) -> Mapping[int, Load]:
        raise RuntimeError("no such thing")

    usages = Usages(lambda: machine.children, fail, lambda: machine.now)
    await usages.refresh()
    assert usages.of("git", (1,)) is None
    assert "could not be measured" in caplog.text
    caplog.clear()


def test_the_library_is_not_loaded_before_somebody_looks() -> None:
    said = textwrap.dedent(
        """
        import sys
        import mcp_gateway.app, mcp_gateway.upstream.usage
        assert "psutil" not in sys.modules
        """
    )
    subprocess.run([sys.executable, "-c", said], check=True)
