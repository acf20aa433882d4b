"""A small chart of calls and errors over time, as two paths of SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

WIDTH: Final = 120
HEIGHT: Final = 32


@dataclass(frozen=True, slots=True)
class Spark:
    """Sums, and the outlines of the bars of all calls and of those that failed."""

    calls: int
    errors: int
    calls_path: str
    errors_path: str


NO_SPARK: Final = Spark(0, 0, "", "")


def spark(numbers: Mapping[str, Any]) -> Spark:
    """Of `{"calls", "errors", "buckets": [{"calls", "errors"}, ...]}`."""
    buckets = numbers["buckets"]
    highest = max((bucket["calls"] for bucket in buckets), default=0)
    return Spark(
        numbers["calls"],
        numbers["errors"],
        _bars(tuple(bucket["calls"] for bucket in buckets), highest),
        _bars(tuple(bucket["errors"] for bucket in buckets), highest),
    )


@lru_cache(maxsize=1_000)  # the same again for everybody who looks, while nobody calls
def _bars(counts: Sequence[int], highest: int) -> str:
    if not highest:
        return ""
    step = WIDTH / len(counts)
    return "".join(
        f"M{at * step:.1f} {HEIGHT}v-{max(1.5, count / highest * HEIGHT):.1f}h{step * 0.8:.1f}V{HEIGHT}z"
        for at, count in enumerate(counts)
        if count
    )
