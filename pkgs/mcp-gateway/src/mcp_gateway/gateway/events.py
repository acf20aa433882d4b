"""Bounded fan-out of what changes: states of servers, calls, tool lists, the configuration.

A slow reader loses its feed, not the gateway its memory: the feed ends and the reader comes back for
a fresh picture. Costs nothing while nobody listens.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from mcp_gateway.gateway.bells import Bell, Patience
from mcp_gateway.wire.envelope import encode

LISTS: Final = frozenset({"tools", "resources", "prompts"})  # kinds that tell of a list that has changed
MAX_UNREAD: Final = 1_000
MAX_UNREAD_LOSSY: Final = 4_000  # for who reads seldom; changes are shared, so one more costs a pointer
MAX_FEEDS: Final = 4_096  # pages, terminals, and readers of logs
MAX_OF_ONE: Final = 2_048  # of one caller, so that others find room


@dataclass(frozen=True, slots=True)
class Change:
    """`kind` is `server`, `call`, `config` or one of `LISTS`; `data` is a JSON object."""

    kind: str
    data: bytes


Shown = Callable[[str, dict[str, Any]], dict[str, Any] | None]


class Feed:
    """One reader's queue. Iterate it; it ends when it was too slow or the gateway stops.

    `owner` is a caller's id; `shown` makes of a change's kind and facts what its reader may know. One that
    `is_lossy` forgets the oldest instead of ending: for who shows how things are, and not what happened.
    """

    def __init__(
        self,
        kinds: frozenset[str] | None,
        owner: str,
        shown: Shown | None,
        patience: Patience,
        is_lossy: bool = False,
    ) -> None:
        self._is_lossy = is_lossy
        self._most = MAX_UNREAD_LOSSY if is_lossy else MAX_UNREAD
        self.kinds = kinds
        self.owner = owner
        self.shown = shown
        self._unread: deque[Change] = deque()
        self._bell = Bell(patience)
        self._over = False
        self._has_forgotten = False

    def put(self, change: Change) -> None:
        if len(self._unread) >= self._most:
            if self._is_lossy:
                self._unread.popleft()
                self._has_forgotten = True
            else:
                self.end()
        if not self._over:
            self._unread.append(change)
            self._bell.ring()

    @property
    def is_over(self) -> bool:
        return self._over

    def skip(self) -> set[str]:
        """Forgets what is unread, and answers its kinds; for a reader to whom several changes are as one."""
        kinds = {change.kind for change in self._unread}
        self._unread.clear()
        return kinds

    def take(self) -> list[Change]:
        """All that is unread."""
        changes = list(self._unread)
        self._unread.clear()
        return changes

    def has_forgotten(self) -> bool:
        """Whether changes were forgotten since this was last asked; of one that `is_lossy`."""
        has_forgotten, self._has_forgotten = self._has_forgotten, False
        return has_forgotten

    def end(self) -> None:
        self._over = True
        self._bell.ring()

    async def next(self, patience_s: float) -> Change | None:
        """The next change, or None when none came within `patience_s`.

        Raises:
            StopAsyncIteration: the feed is over.
        """
        while not self._unread and not self._over:
            if not await self._bell.wait(patience_s):
                return None
        if self._unread:
            return self._unread.popleft()
        if self._over:
            raise StopAsyncIteration
        return None


class Events:
    def __init__(self) -> None:
        self._feeds: set[Feed] = set()
        self._patience = Patience()
        self.is_over = False

    @property
    def readers(self) -> int:
        return len(self._feeds)

    def publish(self, kind: str, facts: Callable[[], dict[str, Any]]) -> None:
        """Tells every reader; `facts` is asked only when there is one."""
        told: dict[str, Any] | None = None
        change: Change | None = None
        for feed in self._feeds:
            if feed.kinds is not None and kind not in feed.kinds:
                continue
            told = facts() if told is None else told
            if feed.shown is None:
                change = change or Change(kind, encode(told))
                feed.put(change)
            elif (part := feed.shown(kind, told)) is not None:
                feed.put(Change(kind, encode(part)))

    def open_feed(
        self,
        kinds: frozenset[str] | None = None,
        owner: str = "",
        shown: Shown | None = None,
        *,
        is_lossy: bool = False,
    ) -> Feed | None:
        """A new reader's feed of these kinds (None: all), or None when there are too many."""
        if len(self._feeds) >= MAX_FEEDS or sum(feed.owner == owner for feed in self._feeds) >= MAX_OF_ONE:
            return None
        feed = Feed(kinds, owner, shown, self._patience, is_lossy)
        if self.is_over:
            feed.end()
        self._feeds.add(feed)
        return feed

    def owners(self) -> set[str]:
        """Whose feeds are open."""
        return {feed.owner for feed in self._feeds}

    def end_of(self, owner: str) -> None:
        """Ends the feeds of a caller who may not read on."""
        for feed in self._feeds:
            if feed.owner == owner:
                feed.end()

    def close_feed(self, feed: Feed) -> None:
        self._feeds.discard(feed)

    def end(self) -> None:
        """Ends every feed; the gateway is stopping."""
        self.is_over = True
        for feed in self._feeds:
            feed.end()


async def changes(feed: Feed, patience_s: float) -> AsyncIterator[Change | None]:
    """The feed's changes; None whenever nothing came for `patience_s`."""
    while True:
        try:
            change = await feed.next(patience_s)
        except StopAsyncIteration:
            return
        yield change
