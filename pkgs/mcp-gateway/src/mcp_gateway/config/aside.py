"""Work that may hang, such as a read on a file system that is gone: on a thread of its own.

Nobody else's thread is held up by it, and a process that ends waits for none. Knows no configuration.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar, cast

_T = TypeVar("_T")


async def aside(work: Callable[[], _T], limit_s: float) -> _T:
    """What `work` answers or raises, without holding up the event loop.

    Raises: TimeoutError after `limit_s`; the work itself cannot be ended and is left alone.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, problem: Exception | None) -> None:
        if answer.done():
            return
        if problem is not None:
            answer.set_exception(problem)
        else:
            answer.set_result(cast(_T, value))

    def run() -> None:
        value, problem = None, None
        try:
            value = work()
        except Exception as error:  # told to whoever waits
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop has ended first
            loop.call_soon_threadsafe(settle, value, problem)

    threading.Thread(target=run, daemon=True, name="aside").start()
    async with asyncio.timeout(limit_s):
        return await answer
