"""Waiting of which there is much: an event for one waiter, and one clock for the patience of all of them.

`asyncio.Event` with `asyncio.timeout` does the same for ten times the memory, and there are thousands of
quiet streams. Knows nothing of what is waited for.
"""

import asyncio
from typing import Final

from mcp_gateway import clock

LOOK_EVERY_S: Final = 1.0  # how late the end of a long wait may be noticed


class Patience:
    """Ends waits that have lasted long enough: all are looked at once a second, and none has a timer."""

    def __init__(self) -> None:
        self._waits: dict[asyncio.Future[bool], float] = {}
        self._next: asyncio.TimerHandle | None = None

    def begin(self, wait: "asyncio.Future[bool]", patience_s: float) -> None:
        """Tells it False when that time is over."""
        self._waits[wait] = clock.now_s() + patience_s
        if self._next is None:
            self._next = wait.get_loop().call_later(LOOK_EVERY_S, self._look)

    def end(self, wait: "asyncio.Future[bool]") -> None:
        del self._waits[wait]

    def _look(self) -> None:
        now = clock.now_s()
        for wait, until in self._waits.items():
            if until <= now and not wait.done():
                wait.set_result(False)
        again = asyncio.get_running_loop().call_later
        self._next = again(LOOK_EVERY_S, self._look) if self._waits else None


class Bell:
    """An event, and at most one who waits for it."""

    __slots__ = ("_is_rung", "_patience", "_wait")

    def __init__(self, patience: Patience) -> None:
        self._is_rung = False
        self._patience = patience
        self._wait: asyncio.Future[bool] | None = None

    def ring(self) -> None:
        self._is_rung = True
        if self._wait is not None and not self._wait.done():
            self._wait.set_result(True)

    async def wait(self, patience_s: float) -> bool:
        """Whether it was rung since it was last waited for; False when that took longer."""
        if not self._is_rung:
            self._wait = wait = asyncio.get_running_loop().create_future()
            self._patience.begin(wait, patience_s)
            try:
                await wait
            finally:
                self._patience.end(wait)
                self._wait = None
        is_rung, self._is_rung = self._is_rung, False
        return is_rung
