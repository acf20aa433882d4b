"""Log messages of servers: how much of each server's is wanted.

A server that many share has one level: the most verbose that anybody wants of it. What of it a caller hears,
their face decides, by the level that they asked for. Knows neither sessions nor links: who wishes is a key.
"""

from collections import Counter
from collections.abc import Callable

from mcp_gateway.access.caller import Caller
from mcp_gateway.access.policy import sees_server
from mcp_gateway.wire.levels import DEFAULT_LEVEL, RANK

# Who, of which server (None: of all that they see), from which level.
_Wish = tuple[Caller, str | None, str]


class LogLevels:
    """Who wants what; `changed` is called when that may mean another level for a server."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._wishes: dict[str, _Wish] = {}
        self._counts: Counter[_Wish] = Counter()

    def wish(self, key: str, caller: Caller, server: str | None, level: str) -> None:
        """In place of what was wished under this key before."""
        before, wish = self._wishes.get(key), (caller, server, level)
        if before == wish:
            return
        self._wishes[key] = wish
        self._counts[wish] += 1
        is_new = self._counts[wish] == 1
        if (before is not None and self._drop(before)) or is_new:
            self._changed()

    def forget(self, key: str) -> None:
        """Nothing happens when nothing was wished."""
        wish = self._wishes.pop(key, None)
        if wish is not None and self._drop(wish):
            self._changed()

    def _drop(self, wish: _Wish) -> bool:
        self._counts[wish] -= 1
        if self._counts[wish]:
            return False
        del self._counts[wish]
        return True

    def wanted(self, server: str) -> str | None:
        """The level that a server is to have; None: nobody has asked, and it keeps its own.

        Never less than the default, which is for all those who asked for nothing.
        """
        found = None
        for caller, of, level in self._counts:
            if of in (None, server) and sees_server(caller, server):
                found = min(found or DEFAULT_LEVEL, level, key=RANK.__getitem__)
        return found
