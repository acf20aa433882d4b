"""Watches the gateway from outside: does it answer at once, what does it hold, and does that grow.

Health is asked on a connection of its own ten times a second; the same loop learns how late this
process itself is, so that a busy machine is not taken for a busy gateway.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import psutil

from tests.chaos.stage import Stage
from tests.harness import Holdings

HEALTH_EVERY_S: Final = 0.1
HOLDINGS_EVERY_S: Final = 1.0
RECORDS_EVERY_S: Final = 5.0
GIVE_UP_S: Final = 15.0


@dataclass
class Watch:
    stage: Stage
    health: list[tuple[float, float]] = field(default_factory=list)  # (at, seconds to answer)
    samples: list[tuple[float, Holdings]] = field(default_factory=list)
    lag: list[tuple[float, float]] = field(default_factory=list)  # our own

    async def ask_health(self, web: aiohttp.ClientSession) -> None:
        stage = self.stage
        while True:
            asked_at, asked = stage.now, time.monotonic()
            try:
                async with asyncio.timeout(GIVE_UP_S), web.get("/health") as answer:
                    await answer.read()
                    status = answer.status
            except (TimeoutError, aiohttp.ClientError, OSError) as problem:
                stage.violate("I3 the loop is free", f"/health: {problem!r}")
                status = 0
            took_s = time.monotonic() - asked
            self.health.append((asked_at, took_s))
            if status not in (0, 200):
                stage.violate("I7 health", f"/health answers {status}")
            elif took_s > stage.bounds.health_s + stage.own_lag_s(asked_at - HEALTH_EVERY_S):
                stage.violate("I3 the loop is free", f"/health took {took_s:.2f} s")
            slept = time.monotonic()
            await asyncio.sleep(HEALTH_EVERY_S)
            late = (stage.now, time.monotonic() - slept - HEALTH_EVERY_S)
            self.lag.append(late)
            stage.own_lag.append(late)

    async def sample(self) -> None:
        while True:
            try:
                holdings = await asyncio.to_thread(self.stage.gateway.holdings)
            except psutil.NoSuchProcess:
                self.stage.violate("I8 the gateway lives", "the gateway's process is gone")
                return
            self.samples.append((self.stage.now, holdings))
            if holdings.rss_bytes > self.stage.bounds.rss_bytes:
                self.stage.violate("I4 memory", f"the gateway holds {holdings.rss_bytes >> 20} MiB")
            await asyncio.sleep(HOLDINGS_EVERY_S)

    async def check_records(self, web: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(RECORDS_EVERY_S)
            await self.stage.check_recent(web)

    def slopes_per_min(self, begin: float, end: float) -> dict[str, float]:
        """How fast each kind of holding grows between two times."""
        window = [(at, holdings) for at, holdings in self.samples if begin <= at <= end]
        return {
            name: 60 * slope([(at, getattr(holdings, name)) for at, holdings in window])
            for name in ("rss_bytes", "files", "threads", "children")
        }


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of points (Theil-Sen): a burst does not bend it."""
    slopes = [
        (later - earlier) / (then - at)
        for index, (at, earlier) in enumerate(points)
        for then, later in points[index + 1 :]
        if then > at
    ]
    return statistics.median(slopes) if slopes else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
