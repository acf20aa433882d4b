"""Time that sorts: the ids of calls.

An id is a 63-bit integer: milliseconds since 1970 in the upper bits, a counter in the lower 20.
Ids of one process never repeat and never go back, also when the wall clock does.
"""

import time
from typing import Final

_COUNTER_BITS: Final = 20  # a million ids per millisecond before an id runs ahead of the clock


class CallIds:
    """Makes ids; one instance per process."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now_s: float) -> int:
        self._last = max(self._last + 1, int(now_s * 1000) << _COUNTER_BITS)
        return self._last


def wall_s() -> float:
    """Seconds since 1970, for people; durations and deadlines use the loop's monotonic clock."""
    return time.time()
