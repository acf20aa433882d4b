"""How much: the queue in front of a server.

Callers share a contended server fairly: each has its own line, and the lines are served in turn, so
one caller's thousand calls delay another's next call by one. Pure; knows no time and no server.
"""

from collections import OrderedDict, deque
from typing import Generic, Protocol, TypeVar


class _Owned(Protocol):
    @property
    def caller(self) -> str: ...


T = TypeVar("T", bound=_Owned)


class FairQueue(Generic[T]):
    """Bounded; round robin over callers, first in first out within one caller."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def is_full(self) -> bool:
        return self._size >= self.limit

    def put(self, item: T) -> None:
        assert not self.is_full, "the caller of put asks is_full first"
        self._lines.setdefault(item.caller, deque()).append(item)
        self._size += 1

    def take(self) -> T | None:
        """The next one, from the line that has waited longest for its turn."""
        if not self._lines:
            return None
        caller, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[caller] = line
        self._size -= 1
        return item

    def remove(self, item: T) -> bool:
        line = self._lines.get(item.caller)
        if line is None or item not in line:
            return False
        line.remove(item)
        if not line:
            del self._lines[item.caller]
        self._size -= 1
        return True

    def items(self) -> list[T]:
        return [item for line in self._lines.values() for item in line]
