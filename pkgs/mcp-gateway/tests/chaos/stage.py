"""What is known of one run: who is on stage, who was told what, and what broke an invariant.

Decides for each answer whether its caller may get it, and at the end whether the records say the same.
Sends nothing by itself but the questions about records; `callers.py` and `faults.py` do the rest.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.chaos.answers import Told
from tests.chaos.cast import Kind, complaint, expected_outcome
from tests.chaos.schedule import ASKED, OF_NOTHING, Action, Call
from tests.harness import TERMINAL, Gateway

# What a call may be told while its server dies, hangs or comes back; never `internal`.
TRANSIENT: Final = frozenset({"lost", "unavailable", "timed_out"})
SETTLES_S: Final = 12.0  # after a switch or a reload a server may be unknown this long: it stops and starts
RECENT_S: Final = 10.0
RECENT_SHOWN: Final = 15  # disturbances, and as many calls of the server in question
KEPT_ACTIONS: Final = 2_000
MAX_VIOLATIONS: Final = 25  # more than that tells nothing new
LOG_TAIL_CHARS: Final = 2_500
PAGE_ROWS: Final = 500
CANCELLING: Final = frozenset({"delete", "hang-up", "hang-up-stream", "mcp-cancel", "modern-hang-up"})


@dataclass(frozen=True)
class Bounds:
    """How much time and memory is too much. All but `late_s` and `health_s` are for one run as a whole."""

    late_s: float  # after its deadline an answer is late
    health_s: float  # /health answers within
    hang_s: float = 10.0  # after its deadline nobody waits any longer
    recovery_s: float = 60.0
    stop_s: float = 12.0
    p99_s: float = 2.0  # of the calm servers, or
    p99_factor: float = 50.0  # so many times what it was in the calm
    rss_bytes: int = 600 << 20
    rss_slope_bytes_per_min: float = 5 << 20
    # Leases of two minutes fill up to their bound meanwhile, with four files each; see what is left at rest.
    files_slope_per_min: float = 90.0
    children_slope_per_min: float = 25.0
    threads_slope_per_min: float = 5.0
    files_slack: int = 12  # connections of our own that the gateway has not seen closed yet
    threads_slack: int = 34  # a loop's thread pool fills up once, to 32 at most


@dataclass(frozen=True)
class Violation:
    at: float
    invariant: str
    what: str
    recent: tuple[str, ...]
    log: str

    def __str__(self) -> str:
        lines = [f"at {self.at:.3f} s: {self.invariant}: {self.what}", "  before it:"]
        lines += [f"    {action}" for action in self.recent]
        lines += ["  the gateway's log:", *(f"    {line}" for line in self.log.splitlines())]
        return "\n".join(lines)


@dataclass
class Stage:
    gateway: Gateway
    kinds: Mapping[str, Kind]
    bounds: Bounds
    zero: float = 0.0  # monotonic time of the schedule's 0
    told: dict[str, tuple[str, float]] = field(default_factory=dict)  # call id -> outcome, when
    certain: int = 0  # calls that must have a record
    maybe: int = 0  # calls whose caller hung up before it could know
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (way, outcome)
    done: Counter[str] = field(default_factory=Counter)  # disturbances by what
    touched: Counter[str] = field(default_factory=Counter)  # server -> times its process was disturbed
    beside: Counter[str] = field(default_factory=Counter)  # server -> calls that may open a link of their own
    violations: list[Violation] = field(default_factory=list)
    suppressed: int = 0
    recent: deque[Action] = field(default_factory=lambda: deque(maxlen=KEPT_ACTIONS))
    unsettled: dict[str, float] = field(default_factory=dict)  # server -> until when it may be unknown
    own_lag: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=2_000))

    @property
    def now(self) -> float:
        return time.monotonic() - self.zero

    def unsettle(self, server: str, lasts_s: float = 0.0) -> None:
        self.unsettled[server] = max(self.unsettled.get(server, 0.0), self.now + lasts_s + SETTLES_S)

    def is_unsettled(self, server: str) -> bool:
        return self.now < self.unsettled.get(server, float("-inf"))

    def own_lag_s(self, since: float) -> float:
        """How late this very process was at worst: that much is not the gateway's fault."""
        return max((lag for at, lag in self.own_lag if at >= since), default=0.0)

    def violate(self, invariant: str, what: str, server: str = "") -> None:
        if len(self.violations) >= MAX_VIOLATIONS:
            self.suppressed += 1
            return
        now = self.now
        near = [action for action in self.recent if now - action.at < RECENT_S]
        deeds: list[Action] = [action for action in near if not isinstance(action, Call)]
        calls: list[Action] = [
            action for action in near if isinstance(action, Call) and action.server == server
        ]
        shown = sorted(deeds[-RECENT_SHOWN:] + calls[-RECENT_SHOWN:], key=lambda action: action.at)
        log = self.gateway.log_tail()[-LOG_TAIL_CHARS:]
        self.violations.append(Violation(now, invariant, what, tuple(map(str, shown)), log))

    # -- what callers were told -------------------------------------------------------------------------

    def hard_s(self, server: str) -> float:
        kind = self.kinds.get(server)
        return 5.0 if kind is None else kind.hard_s

    def keep(self, told: Told) -> None:
        """Remembers what must be in the records."""
        if told.call_id is None:
            return
        self.certain += 1
        if told.call_id in self.told:
            self.violate("I1 one answer", f"two calls have the id {told.call_id}")
        self.told[told.call_id] = (told.outcome, self.now)

    def judge(self, call: Call, told: Told, *, was_cancelled: bool = False) -> None:
        """Whether this caller may be told this.

        `was_cancelled`: somebody took the call back or closed its session, so that may be the answer.
        """
        self.outcomes[call.way, told.outcome] += 1
        self.keep(told)
        if call.way in OF_NOTHING:
            # Where the list of a server is not known at the moment, the server itself refuses: `invalid`.
            wanted = {"invalid"} if call.way == "bad-json" else {"invalid", "unknown", *TRANSIENT}
            if told.outcome not in wanted | self.kind_may_be(call):
                self.violate("I6 typed errors", f"{call}: told {told}", call.server)
            return
        if told.outcome not in self._allowed(call, was_cancelled):
            self.violate("I6 typed errors", f"{call}: told {told.outcome}: {told.text[:300]}", call.server)
        elif told.outcome in ("ok", "tool_error"):
            wrong = complaint(call.server, call.tool, call.arguments, told.text)
            if not wrong and told.outcome != expected_outcome(call.tool):
                wrong = f"{told.outcome} instead of {expected_outcome(call.tool)}"
            if wrong:
                self.violate("I1 the answer to this call", f"{call}: {wrong}", call.server)
        elif self._is_calm(call) and call.tool == "refuse" and "refused by the tool" not in told.text:
            self.violate("I2 neighbours", f"{call}: {told.outcome}: {told.text[:300]}", call.server)

    def kind_may_be(self, call: Call) -> frozenset[str]:
        kind = self.kinds.get(call.server)
        return frozenset() if kind is None else kind.may_be

    def is_asked(self, call: Call) -> bool:
        """Whether it is made by a client that can be asked. Calm servers are not started once more."""
        return call.client == ASKED and call.way.startswith("mcp") and not self._is_calm(call)

    def _is_calm(self, call: Call) -> bool:
        kind = self.kinds.get(call.server)
        return kind is not None and kind.calm

    def _allowed(self, call: Call, was_cancelled: bool) -> frozenset[str]:
        allowed = {expected_outcome(call.tool)}
        kind = self.kinds.get(call.server)
        if kind is None or not kind.serves:
            allowed |= TRANSIENT | {"unknown"}
        elif not kind.calm:
            allowed |= TRANSIENT | self.kind_may_be(call)
            if self.is_unsettled(call.server):
                allowed |= {"unknown"}
            if self.is_asked(call):
                allowed |= {"busy"}  # all processes that its caller may have do something
        if call.way in CANCELLING or was_cancelled:
            allowed |= {"cancelled"}
        if was_cancelled and call.way.startswith("mcp"):
            allowed |= {"unknown"}  # its session was closed before it arrived
        return frozenset(allowed)

    # -- what the records say ---------------------------------------------------------------------------

    async def check_recent(self, web: aiohttp.ClientSession) -> None:
        """The newest page of records says what was told a moment ago."""
        rows = await self._page(web, "")
        oldest = min((row["id"] for row in rows["calls"]), default="", key=lambda text: (len(text), text))
        now = self.now
        known = {row["id"]: row["outcome"] for row in rows["calls"]}
        due = [
            (call_id, outcome)
            for call_id, (outcome, at) in self.told.items()
            if 2.0 < now - at < 5.0 and (len(call_id), call_id) > (len(oldest), oldest)
        ]
        self.compare(due, known)

    async def check_all(self, web: aiohttp.ClientSession) -> None:
        """Every call has exactly one record, terminal, with the outcome that its caller was told."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self._page(web, cursor)
            rows += page["calls"]
            if not page.get("cursor"):
                break
            cursor = f"&cursor={page['cursor']}"
        known = {row["id"]: row["outcome"] for row in rows}
        if len(known) != len(rows):
            self.violate("I5 one record", f"{len(rows) - len(known)} ids have more than one record")
        if not self.certain <= len(rows) <= self.certain + self.maybe:
            calls = f"{self.certain} calls and {self.maybe} whose callers hung up"
            self.violate("I5 one record", f"{calls} left {len(rows)} records")
        self.compare([(call_id, outcome) for call_id, (outcome, _) in self.told.items()], known)
        open_rows = [row for row in rows if row["outcome"] not in TERMINAL or row["outcome"] == "internal"]
        for row in open_rows[:5]:
            self.violate("I5 one record", f"a call ended as {row['outcome']}: {row}", str(row["server"]))

    def compare(self, told: Iterable[tuple[str, str]], known: Mapping[str, str]) -> None:
        wrong = [(call_id, said, known.get(call_id)) for call_id, said in told if known.get(call_id) != said]
        for call_id, said, record in wrong[:5]:
            self.violate("I5 one record", f"call {call_id} was told {said}, its record says {record}")

    async def _page(self, web: aiohttp.ClientSession, cursor: str) -> Any:
        async with web.get(f"/api/calls?limit={PAGE_ROWS}{cursor}") as answer:
            page = await answer.json()
            assert answer.status == 200, page
            page["calls"] = [row for row in page["calls"] if row["action"] is None]  # not what we did to it
            return page
