"""Statistics of activity: calls, errors and durations by time, or calls and errors by server and time.

Counted by SQLite, a stretch of the table at a time, and answered as one text each: it lets go of the
interpreter once for a stretch and not once for a row. Durations come in bins of two digits, which can be
added up. All but the query runs on the writer thread, in jobs of `Store`.
"""

import math
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from mcp_gateway.store.calls import Position

MAX_BUCKETS: Final = 240
WINDOW_ROWS: Final = 20_000  # about 25 ms, with batches between them
MAX_ROWS: Final = 1_200_000  # what is kept if nothing else is configured, and what comes before it is pruned


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """Which calls, as in `CallQuery`, and into how many buckets of time they go.

    `since` and `until` are None while nobody has said what that means. With `by`, only calls of `servers`
    count.
    """

    server: str | None = None
    tool: str | None = None
    caller: str | None = None
    face: str | None = None
    outcome: str | None = None
    method: str | None = None
    since: float | None = None
    until: float | None = None
    buckets: int = 60
    by: Literal["server"] | None = None
    servers: tuple[str, ...] = ()
    only: str | None = None


# The bins of durations: the hundreds are the power of ten, below them are its first two digits. 0: none.
_BIN: Final = """
    CASE WHEN duration_s IS NULL OR duration_s <= 0 THEN 0
         WHEN duration_s < 1e-4 THEN max(1, min(99, CAST(duration_s * 1e6 AS INTEGER)))
         WHEN duration_s < 1e-3 THEN 100 + min(99, CAST(duration_s * 1e5 AS INTEGER))
         WHEN duration_s < 1e-2 THEN 200 + min(99, CAST(duration_s * 1e4 AS INTEGER))
         WHEN duration_s < 1e-1 THEN 300 + min(99, CAST(duration_s * 1e3 AS INTEGER))
         WHEN duration_s < 1e0 THEN 400 + min(99, CAST(duration_s * 1e2 AS INTEGER))
         WHEN duration_s < 1e1 THEN 500 + min(99, CAST(duration_s * 1e1 AS INTEGER))
         WHEN duration_s < 1e2 THEN 600 + min(99, CAST(duration_s AS INTEGER))
         WHEN duration_s < 1e3 THEN 700 + min(99, CAST(duration_s / 1e1 AS INTEGER))
         WHEN duration_s < 1e4 THEN 800 + min(99, CAST(duration_s / 1e2 AS INTEGER))
         ELSE 899 END
"""
_BINS: Final = 1000  # a power of ten above the highest, for keys of bucket and bin
_FIRST_UNIT_S: Final = 1e-6
# A tool's own failure is an error for who called it. What asks for input goes on, and who cancels means it.
_COUNT: Final = """
    SELECT json_group_array(json_array({places}, calls, errors)) FROM (
        SELECT {expressions}, count(*) AS calls,
               sum(outcome NOT IN ('ok', 'running', 'cancelled', 'input_required')) AS errors
        FROM calls
        WHERE (started, id) < (:started, :id) AND (started, id) >= (:floor_started, :floor_id)
          AND action IS NULL
          AND (:server IS NULL OR server = :server) AND (:tool IS NULL OR tool = :tool)
          AND (:caller IS NULL OR caller = :caller) AND (:only IS NULL OR caller = :only)
          AND (:face IS NULL OR face = :face) AND (:outcome IS NULL OR outcome = :outcome)
          AND (:method IS NULL OR method = :method)
          {more}
        GROUP BY {places})
"""
_BUCKET: Final = "min(:buckets - 1, CAST((started - :since) / :width AS INTEGER))"
_BY_TIME: Final = _COUNT.format(places="place", expressions=f"{_BINS} * {_BUCKET} + {_BIN} AS place", more="")
_BY_SERVER: Final = _COUNT.format(
    places="server, bucket",
    expressions=f"server, {_BUCKET} AS bucket",
    more="AND server IN (SELECT value FROM json_each(:servers))",
)
_FLOOR: Final = """
    SELECT started, id FROM calls WHERE (started, id) < (?, ?) AND started >= ?
    ORDER BY started DESC, id DESC LIMIT 1 OFFSET ?
"""

_by_time = msgspec.json.Decoder(list[tuple[int, int, int]]).decode
_by_server = msgspec.json.Decoder(list[tuple[str, int, int, int]]).decode


class Tally:
    """What was counted of one question so far. `query` has its times."""

    def __init__(self, query: StatsQuery) -> None:
        assert query.since is not None, "who asks says of which time"
        assert query.until is not None, "who asks says of which time"
        self._query = query
        self._since, self._until = query.since, query.until
        self._width_s = (query.until - query.since) / query.buckets
        self._rows = 0
        # By bucket; of servers by server before that.
        self._bins: list[Counter[int]] = [Counter() for _ in range(query.buckets)]
        self._errors: Counter[int] = Counter()
        self._calls_of: Counter[tuple[str, int]] = Counter()
        self._errors_of: Counter[tuple[str, int]] = Counter()
        self.before: Position | None = (query.until, 0)  # what is newer was counted; None: and all the rest

    @property
    def is_over(self) -> bool:
        """All is counted, or as much as may be."""
        return self.before is None or self._rows >= MAX_ROWS

    def count_window(self, connection: sqlite3.Connection) -> None:
        """Goes on with the next stretch."""
        assert self.before is not None, "there is more to count"
        query, before = self._query, self.before
        floor: Position | None = connection.execute(
            _FLOOR, (*before, self._since, WINDOW_ROWS - 1)
        ).fetchone()
        floor_started, floor_id = floor or (self._since, 0)
        values = {
            "started": before[0],
            "id": before[1],
            "floor_started": floor_started,
            "floor_id": floor_id,
            "since": self._since,
            "width": self._width_s,
            "buckets": query.buckets,
            "server": query.server,
            "tool": query.tool,
            "caller": query.caller,
            "only": query.only,
            "face": query.face,
            "outcome": query.outcome,
            "method": query.method,
            "servers": msgspec.json.encode(query.servers).decode(),
        }
        (text,) = connection.execute(_BY_TIME if query.by is None else _BY_SERVER, values).fetchone()
        if query.by is None:
            for place, calls, errors in _by_time(text):
                bucket, bin_ = divmod(place, _BINS)
                self._bins[bucket][bin_] += calls
                self._errors[bucket] += errors
        else:
            for server, bucket, calls, errors in _by_server(text):
                self._calls_of[server, bucket] += calls
                self._errors_of[server, bucket] += errors
        self.before = floor
        self._rows += WINDOW_ROWS

    def document(self) -> dict[str, Any]:
        """The answer, in the words of the API."""
        query = self._query
        facts: dict[str, Any] = {
            "since": self._since,
            "until": self._until,
            "bucketSeconds": self._width_s,
            "truncated": self.before is not None,
            "countedSince": self._since if self.before is None else self.before[0],
        }
        if query.by is not None:
            return facts | {"servers": {server: self._of_server(server) for server in query.servers}}
        buckets = [
            {"at": round(self._since + number * self._width_s, 3), **_facts(bins, self._errors[number])}
            for number, bins in enumerate(self._bins)
        ]
        totals = _facts(sum(self._bins, Counter()), self._errors.total())
        return facts | {"buckets": buckets, "totals": totals}

    def _of_server(self, server: str) -> dict[str, Any]:
        places = [(server, number) for number in range(self._query.buckets)]
        buckets = [{"calls": self._calls_of[place], "errors": self._errors_of[place]} for place in places]
        return {
            "calls": sum(bucket["calls"] for bucket in buckets),
            "errors": sum(bucket["errors"] for bucket in buckets),
            "buckets": buckets,
        }


def _facts(bins: Counter[int], errors: int) -> dict[str, Any]:
    return {
        "calls": bins.total(),
        "errors": errors,
        "p50Ms": _percentile_ms(bins, 0.5),
        "p95Ms": _percentile_ms(bins, 0.95),
    }


def _percentile_ms(bins: Counter[int], share: float) -> float | None:
    """The middle of the bin in which that share of the durations ends; None without any."""
    count = bins.total() - bins[0]
    left = math.ceil(share * count)
    for bin_ in sorted(bins):
        if bin_ == 0:
            continue
        left -= bins[bin_]
        if left <= 0:
            power, digits = divmod(bin_, 100)
            return round((digits + 0.5) * _FIRST_UNIT_S * 10.0**power * 1000, 4)
    return None
