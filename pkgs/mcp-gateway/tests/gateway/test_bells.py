"""Bells: one waiter each, woken by a ring or by the end of its patience."""

import asyncio

import pytest

from mcp_gateway.gateway import bells
from mcp_gateway.gateway.bells import Bell, Patience

FOR_EVER = 3_600.0
BOUND_S = 5.0


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bells, "LOOK_EVERY_S", 0.001)


async def waiting(bell: Bell, patience_s: float) -> "asyncio.Task[bool]":
    task = asyncio.create_task(bell.wait(patience_s))
    await asyncio.sleep(0)
    return task


async def test_a_ring_wakes_who_waits_and_is_heard_once() -> None:
    bell = Bell(Patience())
    task = await waiting(bell, FOR_EVER)
    assert not task.done()
    bell.ring()
    bell.ring()
    assert await asyncio.wait_for(task, BOUND_S) is True
    assert not (await waiting(bell, FOR_EVER)).done()


async def test_a_ring_before_the_wait_is_not_lost() -> None:
    bell = Bell(Patience())
    bell.ring()
    assert await bell.wait(FOR_EVER) is True


async def test_patience_ends_for_those_who_have_waited_long_enough_and_for_no_other() -> None:
    patience = Patience()
    patient = await waiting(Bell(patience), FOR_EVER)
    hasty = [await waiting(Bell(patience), 0.0) for _ in range(3)]
    assert await asyncio.wait_for(asyncio.gather(*hasty), BOUND_S) == [False] * 3
    assert not patient.done()
    again = await waiting(Bell(patience), 0.0)
    assert await asyncio.wait_for(again, BOUND_S) is False


async def test_a_wait_that_is_given_up_leaves_the_bell_to_the_next() -> None:
    bell = Bell(Patience())
    first = await waiting(bell, FOR_EVER)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = await waiting(bell, FOR_EVER)
    bell.ring()
    assert await asyncio.wait_for(second, BOUND_S) is True
