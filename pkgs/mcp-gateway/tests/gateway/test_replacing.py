"""Another configuration for running servers: who serves when, and whose call is whose.

The server is in this process and becomes ready when the test says so: races are arranged, never hoped for.
"""

import asyncio
import random
from typing import Any

import pytest

from mcp_gateway.errors import CallCancelled, Kind
from mcp_gateway.upstream.lifecycle import State
from tests.gateway.conftest import Set
from tests.upstream.parts import WITHIN_S, FakeLink, FakeServer, failure_of, result_of, until

RESULT: dict[str, Any] = {"content": [], "isError": False}


class SlowStart:
    """From now on a fresh link waits with its greeting until it is let."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.waiting: list[tuple[FakeLink, int]] = []
        fake.answers["initialize"] = lambda link, number, _params: self.waiting.append((link, number))

    async def reaches(self, count: int) -> None:
        await until(lambda: len(self.waiting) >= count, f"{count} servers are starting")

    def let(self, position: int = -1) -> None:
        link, number = self.waiting[position]
        link.reply(number, self.fake.greeting())

    def answer_some(self, chance: random.Random) -> None:
        """Lets some of those that wait, and refuses a few of them."""
        for waiting in list(self.waiting):
            if waiting[0].closed:
                self.waiting.remove(waiting)
            elif chance.random() < 0.5:
                (self.refuse if chance.random() < 0.2 else self.let)(self.waiting.index(waiting))
                self.waiting.remove(waiting)

    def refuse(self, position: int = -1) -> None:
        link, number = self.waiting[position]
        link.refuse(number, -32000, "not now")


async def replaced(servers: Set) -> tuple[SlowStart, FakeLink]:
    """A ready server whose changed configuration is starting beside it; the link that serves."""
    servers.apply(a="one")
    await servers.ready("a")
    start, old = SlowStart(servers.fake), servers.fake.now
    servers.apply(a="two")
    await start.reaches(1)
    return start, old


async def test_the_one_before_serves_until_the_new_one_is_ready_and_then_finishes(servers: Set) -> None:
    start, old = await replaced(servers)
    before = servers["a"]
    first = servers.call("a")
    await servers.calls(1)
    assert servers.fake.calls[0][0] is old
    assert servers.servers.view(before)["successor"] == {
        "state": "starting",
        "reason": None,
        "pid": servers.fake.now.pid,
    }
    start.let()
    await until(lambda: servers["a"] is not before, "the new one takes its place")
    assert servers["a"].life.state is State.READY
    assert servers.servers.view(servers["a"])["successor"] is None
    second = servers.call("a")
    await servers.calls(2)
    assert servers.fake.calls[1][0] is servers.fake.now
    assert not old.closed
    old.reply(servers.fake.calls[0][1], RESULT)
    assert await result_of(first) == RESULT
    await until(lambda: old.closed, "the one before has nothing left to do")
    servers.fake.now.reply(servers.fake.calls[1][1], RESULT)
    assert await result_of(second) == RESULT


async def test_calls_of_the_one_before_are_given_so_much_time_and_no_more(
    servers: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.gateway.servers.DRAIN_S", 0.01)
    start, old = await replaced(servers)
    call = servers.call("a")
    await servers.calls(1)
    start.let()
    problem = await failure_of(call, Kind.LOST)
    assert "its configuration was changed, and calls were still running 0.01 s later" in problem.detail
    await until(lambda: old.closed, "it is gone")


async def test_a_new_one_that_cannot_start_beside_it_takes_the_place_all_the_same(
    servers: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.upstream.lifecycle.BACKOFF_FIRST_S", 60.0)
    monkeypatch.setattr(random, "random", lambda: 0.99)  # the wait is as long as it may be
    start, old = await replaced(servers)
    before = servers["a"]
    start.refuse()
    await until(lambda: servers["a"] is not before, "the first attempt has ended")
    assert servers["a"].life.state in (State.WAITING, State.STARTING)
    assert "a__echo" in servers.servers.catalog.by_exposed, "what is coming keeps its tools in the lists"
    await until(lambda: old.closed, "the one before is gone")
    await start.reaches(2)  # at once, not after the wait it had been given: what it lacked may be free now
    start.let()
    await servers.ready("a")


async def test_what_waits_in_the_queue_goes_to_the_new_one_and_can_be_taken_back_there(servers: Set) -> None:
    servers.apply(a={"command": "one", "concurrency": 1})
    await servers.ready("a")
    start, old = SlowStart(servers.fake), servers.fake.now
    running, waiting, another = servers.call("a"), servers.call("a"), servers.call("a")
    await servers.calls(1)
    servers.apply(a={"command": "two", "concurrency": 1})
    await start.reaches(1)
    start.let()
    await servers.calls(2)
    link, number, _ = servers.fake.calls[1]
    assert link is servers.fake.now
    for exchange in (another, waiting):
        servers.take_back(exchange)
        with pytest.raises(CallCancelled):
            await result_of(exchange)
    assert old.said("notifications/cancelled") == []
    (told,) = link.said("notifications/cancelled")
    assert told["params"]["requestId"] == number
    old.reply(servers.fake.calls[0][1], RESULT)
    assert await result_of(running) == RESULT


async def test_what_waits_for_one_that_cannot_come_is_told_so(servers: Set) -> None:
    servers.apply(a={"command": "one", "concurrency": 1})
    await servers.ready("a")
    start, old = SlowStart(servers.fake), servers.fake.now
    running, waiting = servers.call("a"), servers.call("a")
    await servers.calls(1)
    servers.apply(a={"command": "two", "concurrency": 1})
    await start.reaches(1)
    link, number = start.waiting[0]
    link.reply(number, {"protocolVersion": 7})
    await failure_of(waiting, Kind.UNAVAILABLE)
    old.reply(servers.fake.calls[0][1], RESULT)
    assert await result_of(running) == RESULT


async def test_a_newer_configuration_overtakes_one_that_is_still_starting(servers: Set) -> None:
    start, old = await replaced(servers)
    before = servers["a"]
    overtaken = servers.fake.now
    servers.apply(a="three")
    await start.reaches(2)
    await until(lambda: overtaken.closed, "nobody wants it any more")
    assert servers["a"] is before
    start.let()
    await until(lambda: servers["a"] is not before, "the newest takes the place")
    assert servers["a"].config.command == "three"
    await until(lambda: old.closed, "the first is gone")
    assert servers.open_links() == 1


async def test_taking_the_change_back_keeps_the_process(servers: Set) -> None:
    _start, old = await replaced(servers)
    before, beside = servers["a"], servers.fake.now
    servers.apply(a="one")
    await until(lambda: beside.closed, "the change is forgotten")
    assert servers["a"] is before
    assert not old.closed
    assert servers.servers.view(before)["successor"] is None


async def test_a_server_that_dies_meanwhile_leaves_its_place_and_its_queue(servers: Set) -> None:
    start, old = await replaced(servers)
    before = servers["a"]
    old.break_down("it crashed")
    await until(lambda: servers["a"] is not before, "the new one takes its place")
    call = servers.call("a")
    start.let()
    await servers.calls(1)
    servers.fake.now.reply(servers.fake.calls[0][1], RESULT)
    assert await result_of(call) == RESULT
    assert servers.open_links() == 1


async def test_an_idle_time_that_is_shortened_counts_at_once(servers: Set) -> None:
    servers.apply(a={"command": "one", "idle_stop_s": 1_000.0})
    await servers.ready("a")
    servers.apply(a={"command": "one", "idle_stop_s": 0.01})
    await until(lambda: servers["a"].life.state is State.IDLE, "it rests")
    servers.apply(a={"command": "one"})
    assert servers["a"].life.state is State.IDLE
    call = servers.call("a")
    await servers.calls(1)
    servers.fake.now.reply(servers.fake.calls[0][1], RESULT)
    assert await result_of(call) == RESULT


@pytest.mark.parametrize("declared", [False, True])
async def test_switched_off_meanwhile_neither_goes_on(servers: Set, declared: bool) -> None:
    await replaced(servers)
    gone = asyncio.Event()

    async def takes_its_time() -> None:
        await gone.wait()

    servers.fake.closing = takes_its_time
    call = servers.call("a")
    await servers.calls(1)
    if declared:
        servers.apply(a={"command": "two", "enabled": False})
    else:
        await servers.servers.switch(servers["a"], False)
    problem = await failure_of(call, Kind.LOST)
    assert "switched off" in problem.detail
    shown = servers["a"]
    assert (shown.config.command, shown.life.state) == ("one", State.STOPPING), "shown while it is there"
    gone.set()
    await until(lambda: servers["a"].life.state is State.OFF, "it is off")
    assert servers["a"].config.command == "two"
    await until(lambda: servers.open_links() == 0, "no process is left")


async def test_a_restart_asked_for_meanwhile_does_not_wait_for_the_new_one(servers: Set) -> None:
    start, old = await replaced(servers)
    before = servers["a"]
    servers.servers.restart(before)
    assert servers["a"] is not before
    await until(lambda: old.closed, "the one before is gone")
    start.let()
    await servers.ready("a")
    assert len(servers.fake.links) == 2


async def test_a_removed_server_is_gone_at_once_and_finishes_its_calls(servers: Set) -> None:
    servers.apply(a={"command": "one", "concurrency": 1}, b="b")
    await servers.ready("a")
    old = servers.fake.links[0]
    calls = [servers.call("a"), servers.call("a")]
    await servers.calls(1)
    servers.apply(b="b")
    assert servers.servers.get("a") is None
    assert "a" not in servers.servers.catalog.by_server
    for position, call in enumerate(calls):
        await servers.calls(position + 1)
        old.reply(servers.fake.calls[position][1], RESULT)
        assert await result_of(call) == RESULT
    await until(lambda: old.closed, "it is gone")


async def test_a_server_that_comes_back_is_not_the_one_that_is_leaving(servers: Set) -> None:
    servers.apply(a="one")
    await servers.ready("a")
    old = servers.fake.now
    call = servers.call("a")
    await servers.calls(1)
    servers.apply()
    servers.apply(a="one")
    await servers.ready("a")
    assert servers.fake.now is not old
    old.reply(servers.fake.calls[0][1], RESULT)
    assert await result_of(call) == RESULT
    await until(lambda: old.closed, "the one before is gone")
    assert servers["a"].life.state is State.READY


async def test_more_room_is_used_at_once_and_less_turns_nobody_away(servers: Set) -> None:
    servers.apply(a={"command": "one", "concurrency": 1})
    await servers.ready("a")
    link = servers.fake.now
    calls = [servers.call("a") for _ in range(3)]
    await servers.calls(1)
    servers.apply(a={"command": "one", "concurrency": 3})
    await servers.calls(3)
    servers.apply(a={"command": "one", "concurrency": 1, "queue": 0})
    for position, call in enumerate(calls):
        link.reply(servers.fake.calls[position][1], RESULT)
        assert await result_of(call) == RESULT
    last = servers.call("a")
    await servers.calls(4)
    link.reply(servers.fake.calls[3][1], RESULT)
    assert await result_of(last) == RESULT
    assert servers.fake.links == [link]


async def test_what_needs_no_process_holds_at_once_also_for_one_that_is_being_replaced(servers: Set) -> None:
    servers.apply(a="one")
    await servers.ready("a")
    SlowStart(servers.fake)
    before = servers["a"]
    servers.apply(a={"command": "two", "title": "Second", "tools": {"deny": ("echo",)}})
    assert servers["a"] is before
    assert before.config.title == "Second"
    assert before.config.command == "one"
    assert servers.servers.catalog.by_server["a"] == {}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("seed", range(10))
async def test_whatever_came_before_the_last_configuration_is_what_runs(servers: Set, seed: int) -> None:
    chance = random.Random(seed)
    start = SlowStart(servers.fake)

    def some_config() -> dict[str, str | dict[str, Any]]:
        names = [name for name in "abc" if chance.random() < 0.7]
        return {
            name: {
                "command": chance.choice(("one", "two")),
                "concurrency": chance.choice((1, 2)),
                "enabled": chance.random() < 0.8,
            }
            for name in names
        }

    wanted: dict[str, Any] = {}
    for _ in range(30):
        wanted = some_config()
        servers.apply(**wanted)
        for _turn in range(chance.randrange(20)):
            await servers.switches.set_override("z", None, True)  # a turn of the event loop
        start.answer_some(chance)

    def is_as_wanted() -> bool:
        shown = {
            upstream.id: (upstream.config.command, upstream.life.state) for upstream in servers.servers.all()
        }
        on, off = State.READY, State.OFF
        return shown == {
            name: (entry["command"], on if entry["enabled"] else off) for name, entry in wanted.items()
        }

    async with asyncio.timeout(WITHIN_S):
        while not is_as_wanted():
            start.answer_some(chance)
            await asyncio.sleep(0)
    count = sum(entry["enabled"] for entry in wanted.values())
    await until(lambda: servers.open_links() == count, "one process for each, and no more")
