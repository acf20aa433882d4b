"""How many servers start at the same time: a machine that starts fifty at once starts each of them late.

A place is held from the start of a process until its server is ready, but not for longer than a normal
start takes: whoever downloads for minutes does not hold up the others.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Final

HOLD_S: Final = 5.0
PER_CPU: Final = 4  # a start waits for the disk and for the other side as much as for a CPU


class Gate:
    """One for all servers; first come, first served."""

    def __init__(self, width: int | None = None) -> None:
        self._places = asyncio.Semaphore(width or PER_CPU * (os.cpu_count() or 1))

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Waits for a place; the block holds it until it ends, or for `HOLD_S`."""
        await self._places.acquire()
        held = True

        def leave() -> None:
            nonlocal held
            if held:
                held = False
                self._places.release()

        timer = asyncio.get_running_loop().call_later(HOLD_S, leave)
        try:
            yield
        finally:
            timer.cancel()
            leave()
