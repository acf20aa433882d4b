"""Pages that are up to date: an event stream of their parts, rendered by the templates that made the page.

What changes is gathered for a moment and rendered once, so a busy gateway costs a page four updates a second
and no more, and all pages together a hundred. A page that is slow misses what came between and gets what is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from mcp_gateway.clock import now_s
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import EventStream
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.events import Change
from mcp_gateway.wire import sse

GATHER_S: Final = 0.25
UPDATES_PER_S: Final = 100  # of all pages together, so that many who watch wait longer for each
GATHER_MAX_S: Final = 5.0
WHOLE_EVERY: Final = 20  # rounds of gathering, at least, before a page that missed something is made anew
KEEP_ALIVE_S: Final = 15.0


class Live(Protocol):
    """A page, as far as it moves. Each method answers the parts that changed, or nothing at all."""

    kinds: frozenset[str]
    """Of changes (`gateway/events.py`)."""
    every_s: float
    """How often `passed` is asked."""

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
    crowd = _CROWDS.setdefault(gateway, Crowd())
    crowd.enter()

    async def parts() -> AsyncIterator[bytes]:
        yield b": live\n\n"
        yield _event(await page.fresh())
        patience_s = min(page.every_s, KEEP_ALIVE_S)
        whole_at = passed_at = now_s()
        misses_some = False
        while True:
            try:
                first = await feed.next(patience_s)
            except StopAsyncIteration:
                return
            if first is not None:
                await asyncio.sleep(crowd.gather_s)
            await crowd.turn()
            if feed.is_over:  # what is unread then is not for this reader any more
                return
            changes = [] if first is None else [first, *feed.take()]
            misses_some |= feed.has_forgotten()
            if misses_some and (first is None or now_s() - whole_at >= WHOLE_EVERY * crowd.gather_s):
                # Of what was forgotten nobody knows what it was. Not each time: what makes a page slow would
                # make it slower.
                misses_some, whole_at = False, now_s()
                yield _event(await page.fresh())
                continue
            html = await page.changed(changes) if changes else ""
            if now_s() - passed_at >= page.every_s:
                passed_at = now_s()
                html += await page.passed()
            yield _event(html)

    def end() -> None:
        crowd.leave()
        gateway.close_feed(feed)

    return EventStream(parts(), at_end=end)


class Crowd:
    """All who watch pages of one gateway: however many, what they cost is bounded, and holds up no call."""

    def __init__(self) -> None:
        self._watching = 0
        self._turn = asyncio.Lock()

    def enter(self) -> None:
        self._watching += 1

    def leave(self) -> None:
        self._watching -= 1

    @property
    def gather_s(self) -> float:
        """How long changes are gathered before they are shown."""
        return min(GATHER_MAX_S, max(GATHER_S, self._watching / UPDATES_PER_S))

    async def turn(self) -> None:
        """Waits until it is one's turn to make parts.

        All hear of a change at once. One after the other, each in a round of the event loop of its own, they
        leave room for whatever else has come in between.
        """
        async with self._turn:
            await asyncio.sleep(0)


_CROWDS: Final[WeakKeyDictionary[Gateway, Crowd]] = WeakKeyDictionary()


def _event(html: str) -> bytes:
    return sse.text_event(html) if html.strip() else sse.KEEP_ALIVE
