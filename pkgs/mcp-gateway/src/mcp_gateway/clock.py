"""Time, in one place: which clock is for what, and the ids of calls.

`now_s` is monotonic and decides deadlines, ages and durations; `wall_s` is for people. Both are plain
functions of the system: asking the event loop costs a system call on Python 3.11.
"""

import time
from typing import Final

now_s = time.monotonic
wall_s = time.time

_COUNTER_BITS: Final = 20  # a million ids per millisecond before an id runs ahead of the clock


class CallIds:
    """Makes ids of calls; one instance per process.

    An id is a 63-bit integer: milliseconds since 1970 in the upper bits, a counter in the lower 20.
    Ids never repeat and never go back, also when the wall clock does; `last` is the highest that an
    earlier process is known to have made.
    """

    def __init__(self, last: int = 0) -> None:
        self._last = last

    def next(self, wall_s: float) -> int:
        self._last = max(self._last + 1, int(wall_s * 1000) << _COUNTER_BITS)
        return self._last
