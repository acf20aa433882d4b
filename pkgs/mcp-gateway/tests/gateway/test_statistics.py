"""Questions about activity: each is counted once for all who ask it at the same time, one after the other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway import clock
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway import statistics as statistics_module
from mcp_gateway.gateway.statistics import MAX_WAITING, SPAN_S, Statistics
from mcp_gateway.store import StatsQuery, Store, StoreError
from tests.store.records import a_finished_record


class Held(Store):
    """A store whose answers wait until the test lets them go; `asked` in order."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[StatsQuery] = []
        self.free = asyncio.Event()

    async def stats(self, query: StatsQuery) -> dict[str, Any]:
        self.asked.append(query)
        await self.free.wait()
        return await super().stats(query)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Held]:
    store = Held.open(tmp_path / "state")
    assert isinstance(store, Held)
    yield store
    await store.close()


async def turns() -> None:
    """Lets everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_the_same_gets_the_same_answer(store: Held) -> None:
    statistics = Statistics(store)
    asking = [asyncio.create_task(statistics.of(StatsQuery())) for _ in range(50)]
    await turns()
    store.end(a_finished_record())  # before it is counted
    store.free.set()
    first, *others = [await task for task in asking]
    assert first["totals"]["calls"] == 1
    assert all(answer is first for answer in (*others, await statistics.of(StatsQuery())))
    assert len(store.asked) == 1


async def test_what_was_said_a_while_ago_is_counted_again(
    store: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_module, "KEPT_S", 0.0)
    monkeypatch.setattr(statistics_module, "KEPT_PER_COST", 0)
    store.free.set()
    statistics = Statistics(store)
    await statistics.of(StatsQuery())
    store.end(a_finished_record(started=clock.wall_s() - 1))
    await turns()
    assert (await statistics.of(StatsQuery()))["totals"]["calls"] == 1
    assert len(store.asked) == 2


async def test_other_questions_wait_for_their_turn_and_too_many_are_turned_away(store: Held) -> None:
    statistics = Statistics(store)
    asking = [
        asyncio.create_task(statistics.of(StatsQuery(tool=f"t{number}"))) for number in range(MAX_WAITING)
    ]
    await turns()
    assert len(store.asked) == 1
    with pytest.raises(GatewayError, match="Too many") as refused:
        await statistics.of(StatsQuery(tool="one too many"))
    assert refused.value.kind is Kind.BUSY
    same = asyncio.create_task(statistics.of(StatsQuery(tool="t5")))  # is no question more
    store.free.set()
    answers = [await task for task in asking]
    assert await same is answers[5]
    assert len(store.asked) == MAX_WAITING
    await statistics.of(StatsQuery(tool="one too many"))


async def test_who_leaves_takes_the_answer_from_nobody(store: Held) -> None:
    statistics = Statistics(store)
    leaving, staying = (asyncio.create_task(statistics.of(StatsQuery())) for _ in range(2))
    await turns()
    leaving.cancel()
    await turns()
    store.free.set()
    assert (await staying)["totals"]["calls"] == 0


async def test_a_store_that_fails_is_asked_again(store: Held) -> None:
    store.free.set()
    statistics = Statistics(store)
    await store.close()
    for _ in range(2):
        with pytest.raises(StoreError):
            await statistics.of(StatsQuery())
        await turns()  # the failed one is forgotten in the next turn of the loop
    assert len(store.asked) == 2


async def test_without_times_it_is_the_last_hour(store: Held) -> None:
    store.free.set()
    statistics = Statistics(store)
    document = await statistics.of(StatsQuery())
    assert document["until"] - document["since"] == pytest.approx(SPAN_S)
    assert document["bucketSeconds"] == pytest.approx(60)
    document = await statistics.of(StatsQuery(until=10_000.0))
    assert (document["since"], document["until"]) == (10_000.0 - SPAN_S, 10_000.0)


@pytest.mark.parametrize(
    "times",
    [
        {"since": 10.0, "until": 10.0},
        {"since": 11.0, "until": 10.0},
        {"since": 1e12},
        {"since": -1.7e308, "until": 1.7e308},
        {"until": 1.7e308},
        {"until": -1.7e308},
    ],
)
async def test_a_time_that_is_none_is_refused(store: Held, times: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refused:
        await Statistics(store).of(StatsQuery(**times))
    assert refused.value.kind is Kind.INVALID
    assert store.asked == []
