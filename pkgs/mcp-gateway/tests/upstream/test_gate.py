"""The gate before the starts, by itself."""

import asyncio

import pytest

from mcp_gateway.upstream import gate
from mcp_gateway.upstream.gate import Gate


async def test_a_place_is_given_in_the_order_of_asking() -> None:
    doors = Gate(1)
    order: list[int] = []

    async def pass_through(number: int) -> None:
        async with doors.place():
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(*(pass_through(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]


async def test_one_that_takes_long_lets_the_others_go_and_gives_its_place_back_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "HOLD_S", 0.01)
    doors = Gate(1)
    async with asyncio.timeout(5):
        async with doors.place(), doors.place():
            pass
        inside = 0
        most = 0

        async def pass_through() -> None:
            nonlocal inside, most
            async with doors.place():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        monkeypatch.setattr(gate, "HOLD_S", 60.0)
        await asyncio.gather(*(pass_through() for _ in range(5)))
    assert most == 1


async def test_a_start_that_fails_or_is_taken_back_leaves_its_place() -> None:
    doors = Gate(1)
    with pytest.raises(ZeroDivisionError):
        async with doors.place():
            raise ZeroDivisionError
    waiting = asyncio.create_task(doors.place().__aenter__())
    async with asyncio.timeout(5):
        await waiting
