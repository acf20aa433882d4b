"""Pages that are up to date: an event stream of their parts, rendered by the templates that made the page.

What changes is gathered for a moment and rendered once, so a busy gateway costs a page four updates a second
and no more. A page that is slow misses what came between and gets what is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import EventStream
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.events import Change
from mcp_gateway.wire import sse

GATHER_S: Final = 0.25
KEEP_ALIVE_S: Final = 15.0


class Live(Protocol):
    """A page, as far as it moves. Each method answers the parts that changed, or nothing at all."""

    kinds: frozenset[str]
    """Of changes (`gateway/events.py`)."""
    every_s: float
    """How often `passed` is asked while nothing else happens."""

    async def fresh(self) -> str:
        """All that moves, as it is now: between the page and the stream something may have changed."""
        ...

    async def changed(self, changes: Sequence[Change]) -> str: ...

    async def passed(self) -> str:
        """What moves by itself."""
        ...


def stream(gateway: Gateway, visit: Visit, page: Live) -> EventStream:
    """The page's parts, until the reader leaves, may not read on, or the gateway stops.

    Raises:
        GatewayError: `busy` when too many are watching.
    """
    feed = gateway.open_feed(visit.caller, page.kinds, is_lossy=True)

    async def parts() -> AsyncIterator[bytes]:
        yield b": live\n\n"
        yield _event(await page.fresh())
        patience_s = min(page.every_s, KEEP_ALIVE_S)
        # What is unread when the feed ends is not for this reader any more.
        while not feed.is_over:
            try:
                first = await feed.next(patience_s)
            except StopAsyncIteration:
                return
            if first is None:
                yield _event(await page.passed())
                continue
            await asyncio.sleep(GATHER_S)
            if not feed.is_over:
                yield _event(await page.changed([first, *feed.take()]))

    return EventStream(parts(), at_end=lambda: gateway.close_feed(feed))


def _event(html: str) -> bytes:
    return sse.text_event(html) if html.strip() else sse.KEEP_ALIVE
