"""Statistics of activity, one question at a time and the same question once.

Counting holds up whoever reads activity, in stretches between which records are written. So questions stand
in a line, and an answer is kept for a moment: a page that many look at asks the same again and again.
"""

import asyncio
from dataclasses import replace
from typing import Any, Final

from mcp_gateway import clock
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.store import Store
from mcp_gateway.store.stats import StatsQuery

SPAN_S: Final = 3_600.0  # of who does not say since when
KEPT_S: Final = 2.0
KEPT_PER_COST: Final = (
    10  # an answer that took long is kept so many times as long: a tenth of the store's time
)
MAX_WAITING: Final = 32
MAX_KEPT: Final = 100
_END_OF_TIME: Final = 253_402_300_800.0  # the year 10000; far enough, and no sum of two overflows


class Statistics:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._answers: dict[StatsQuery, asyncio.Task[dict[str, Any]]] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def of(self, query: StatsQuery) -> dict[str, Any]:
        """The answer, which others may have got a moment ago; not to be changed.

        Raises:
            GatewayError: `invalid`, there is no such time; `busy`, too many wait.
        """
        answer = self._answers.get(query)
        if answer is None:
            timed = _timed(query)
            if self._waiting >= MAX_WAITING:
                raise GatewayError(Kind.BUSY, "Too many ask for statistics", retry_after_s=KEPT_S)
            answer = asyncio.create_task(self._count(query, timed), name="statistics")
            answer.add_done_callback(lambda task: task.cancelled() or task.exception())  # all may have left
            self._answers[query] = answer
        return await asyncio.shield(answer)

    async def _count(self, query: StatsQuery, timed: StatsQuery) -> dict[str, Any]:
        self._waiting += 1
        keep_s = 0.0
        try:
            async with self._turn:
                began_at = clock.now_s()
                document = await self._store.stats(timed)
                if len(self._answers) <= MAX_KEPT:
                    keep_s = max(KEPT_S, KEPT_PER_COST * (clock.now_s() - began_at))
            return document
        finally:
            self._waiting -= 1
            asyncio.get_running_loop().call_later(keep_s, self._answers.pop, query, None)


def _timed(query: StatsQuery) -> StatsQuery:
    """With the times that are meant where none are given."""
    until = clock.wall_s() if query.until is None else query.until
    since = until - SPAN_S if query.since is None else query.since
    if not -_END_OF_TIME < since < until < _END_OF_TIME:
        raise GatewayError(Kind.INVALID, "`until` (now, if it is not given) must be later than `since`")
    return replace(query, since=since, until=until)
