"""When a remote server counts as down: pure bookkeeping of what its requests came to.

Only the transport is judged: a tool that reports an error has answered. A broken link goes the way of
every lost link (`lifecycle.py`): it backs off, and the next opening is the one probe.
"""

from collections import deque
from typing import Final

IN_A_ROW: Final = 5
WINDOW_S: Final = 30.0
WINDOW_COUNT: Final = 20  # fewer say nothing about a rate
BAD_SHARE: Final = 0.5


class Breaker:
    """Counts outcomes; `is_open` once there were too many failures."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._failed_at = float("-inf")
        self._recent: deque[tuple[float, bool]] = deque(maxlen=WINDOW_COUNT)

    def count(self, now: float, began: float, *, failed: bool) -> None:
        """One request is over; both times in monotonic seconds."""
        if failed and began < self._failed_at:
            return  # with the one before: a proxy that restarts cuts every call at once, for one reason
        self._failed_at = now if failed else self._failed_at
        self._in_a_row = self._in_a_row + 1 if failed else 0
        self._recent.append((now, failed))

    def is_open(self, now: float) -> bool:
        if self._in_a_row >= IN_A_ROW:
            return True
        recent = [failed for at, failed in self._recent if now - at <= WINDOW_S]
        return len(recent) == WINDOW_COUNT and sum(recent) >= BAD_SHARE * WINDOW_COUNT
