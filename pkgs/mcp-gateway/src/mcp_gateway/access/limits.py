"""How much: requests a second, calls under way, and the queue in front of a server.

Callers share a contended server fairly: each has its own line, and the lines are served in turn, so
one caller's thousand calls delay another's next call by one. Pure; knows no time and no server.
"""

from collections import OrderedDict, deque
from typing import Final, Generic, Protocol, TypeVar

from mcp_gateway.access.caller import CONSOLE_ID, LOCAL_OPERATOR, Caller
from mcp_gateway.config.model import Limits


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


# What one caller may ask for where the operator says nothing; the person at this machine has no limit then.
DEFAULT_RATE: Final = 100  # requests a second
BURST_S: Final = 10  # so many seconds' worth at once
DEFAULT_CONCURRENCY: Final = 256  # calls under way
MAX_BUCKETS: Final = 10_000
_AT_THIS_MACHINE: Final = frozenset({LOCAL_OPERATOR.id, CONSOLE_ID})


def rate_of(limits: Limits, caller: Caller) -> int | None:
    """Requests a second; None is no limit."""
    return limits.rate or (None if caller.id in _AT_THIS_MACHINE else DEFAULT_RATE)


def concurrency_of(limits: Limits, caller: Caller) -> int | None:
    """Calls under way; None is no limit."""
    return limits.concurrency or (None if caller.id in _AT_THIS_MACHINE else DEFAULT_CONCURRENCY)


class Buckets:
    """A token bucket for each name; the ones not seen for longest are forgotten, which fills them."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at which time

    def take(self, name: str, per_s: float, burst: float, now: float, count: int = 1) -> float:
        """Takes so many; 0, or in how many seconds there are as many. Never more than a full bucket's."""
        wanted = min(count, burst)
        tokens, at = self._left.get(name, (burst, now))
        tokens = min(burst, tokens + (now - at) * per_s)
        wait_s = 0.0 if tokens >= wanted else (wanted - tokens) / per_s
        self._left[name] = (tokens if wait_s else tokens - wanted, now)
        self._left.move_to_end(name)
        if len(self._left) > MAX_BUCKETS:
            self._left.popitem(last=False)
        return wait_s

    def give_back(self, name: str) -> None:
        """Puts back what was taken for something that shall not count."""
        if name in self._left:
            tokens, at = self._left[name]
            self._left[name] = (tokens + 1, at)
