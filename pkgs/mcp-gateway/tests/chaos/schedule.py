"""Pure: a seed becomes what happens and when. Nothing here looks at a gateway or at a clock.

Times are seconds from the beginning of the chaos; the calm before it has negative ones. Everything
drawn by chance is drawn here, so that one seed is one schedule whatever the machine does.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.cast import GUESTS, ODD_MODES, TURNS, Kind

CALM_SHARE: Final = 0.1  # of the whole run, before anything is disturbed
EBB_SHARE: Final = 0.1  # of the chaos: calls only, so that the end begins without a fresh fault
CALM_CALLS_PER_S: Final = 12.0  # to the servers nobody attacks, all the time
OTHER_CALLS_PER_S: Final = 38.0
DISTURBANCES_PER_S: Final = 2.0
CROWDS_PER_S: Final = 0.1
CROWD: Final = 80  # calls at once: more than a server takes at one time, so some wait or are told busy
CLIENTS: Final = 4
ASKED: Final = 3  # the client that can be asked, which then has links of its own

# How a call is made: (way, weight). The last line's callers do not wait for their answer.
WAYS: Final = (
    *(
        ("rest", 26),
        ("stream", 12),
        ("poll", 9),
        ("follow", 4),
        ("slow", 3),
        ("mcp", 26),
        ("mcp-progress", 8),
        ("modern", 12),
    ),
    *(("bad-json", 1), ("no-tool", 1), ("mcp-no-tool", 1)),
    *(("delete", 4), ("hang-up", 6), ("hang-up-stream", 3), ("mcp-cancel", 5), ("mcp-hang-up", 4)),
    ("modern-hang-up", 3),
)
CALM_WAYS: Final = (("rest", 5), ("stream", 1), ("poll", 1), ("mcp", 5), ("mcp-progress", 1), ("modern", 3))
IMPATIENT: Final = frozenset(
    {"delete", "hang-up", "hang-up-stream", "mcp-cancel", "mcp-hang-up", "modern-hang-up"}
)
# Results of asynchronous calls are kept for an hour, as promised: large ones would look like a leak.
KEPT: Final = frozenset({"poll", "follow", "delete"})
OF_NOTHING: Final = frozenset({"bad-json", "no-tool", "mcp-no-tool"})

DISTURBANCES: Final = (
    *(("kill", 8), ("freeze", 5), ("restart", 4), ("press", 1), ("switch", 5), ("reload", 10)),
    *(("feed", 3), ("deaf-feed", 1), ("stuck", 2), ("drop", 5), ("end", 5), ("listen", 4), ("look", 6)),
    *(("tool", 2), ("junk", 3), ("turn", 10), ("hear", 4)),
)
RELOADS: Final = (("guest", 10), ("change", 3), ("same", 2), ("burst", 2), ("broken", 4))
BROKEN: Final = ("half", "unknown-key", "two-names", "empty", "not-an-object")
# What no HTTP client would send, and how long the connection is then kept.
JUNK: Final = ("\x16\x03\x01\x02\x00", "GET / HTTP/9.9\r\n\r\n", "POST /mcp HTTP/1.1\r\nHost: x", "{}\n", "")
LOOKS: Final = ("/api/servers", "/api/tools", "/api/calls?limit=100", "/ready", "/", "/openapi.json")


@dataclass(frozen=True)
class Call:
    at: float
    number: int
    way: str
    server: str
    tool: str
    arguments: dict[str, Any]
    client: int
    endpoint: str  # of MCP
    patience_s: float  # of a caller that does not wait

    def __str__(self) -> str:
        shown = {name: str(value)[:24] for name, value in self.arguments.items()}
        how = f"{self.way} {self.endpoint}" if self.way.startswith("mcp") else self.way
        return f"{self.at:8.3f} s  call {self.number}: {how} {self.server}/{self.tool} {shown}"


@dataclass(frozen=True)
class Disturbance:
    at: float
    what: str
    target: str  # a server, an endpoint, a path
    lasts_s: float = 0.0
    client: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = "".join(f" {name}={value!r}" for name, value in self.facts.items())
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at:8.3f} s  {self.what} {self.target}{lasts}{facts}"


Action = Call | Disturbance


def schedule(seed: int, kinds: Sequence[Kind], seconds: float, *, reloads: bool) -> list[Action]:
    """Everything that happens in `seconds` (calm and chaos), in order of time."""
    begin, end = -seconds * CALM_SHARE, seconds * (1 - CALM_SHARE)
    ebb = end * (1 - EBB_SHARE)
    numbers = iter(range(1_000_000))
    calm = [kind for kind in kinds if kind.calm]
    others = [kind for kind in kinds if not kind.calm]
    actions: list[Action] = [
        *_calls(random.Random(f"calm {seed}"), calm, CALM_WAYS, numbers, begin, end, CALM_CALLS_PER_S),
        *_calls(random.Random(f"calls {seed}"), others, WAYS, numbers, 0.0, end, OTHER_CALLS_PER_S, ebb),
        *_crowds(random.Random(f"crowds {seed}"), numbers, ebb),
        *_guest_calls(random.Random(f"guests {seed}"), numbers, ebb if reloads else 0.0),
        *_disturbances(random.Random(f"disturbances {seed}"), others, ebb, reloads),
    ]
    return sorted(actions, key=lambda action: action.at)


def _times(rng: random.Random, begin: float, end: float, per_s: float) -> Iterator[float]:
    at = begin
    while (at := at + rng.expovariate(per_s)) < end:
        yield at


def _one(rng: random.Random, weighed: Sequence[tuple[str, float]]) -> str:
    return rng.choices([name for name, _ in weighed], [weight for _, weight in weighed])[0]


def _calls(
    rng: random.Random,
    kinds: Sequence[Kind],
    ways: Sequence[tuple[str, float]],
    numbers: Iterator[int],
    begin: float,
    end: float,
    per_s: float,
    acts_until: float = 0.0,
) -> Iterator[Call]:
    for at in _times(rng, begin, end, per_s):
        kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
        number, way = next(numbers), _one(rng, ways)
        tool, arguments = kind.draw(rng, number)
        if tool == "act" and at > acts_until:
            tool, arguments = "echo", {"text": f"{number}: the storm is over"}
        if way == "slow" and tool != "get_current_time":
            tool, arguments = "blob", {"bytes": 600_000}
        elif way in KEPT and (tool == "blob" or arguments.get("mode") == "huge-line"):
            tool, arguments = "blob", {"bytes": 1_000}
        elif way in KEPT and tool == "echo":
            arguments = {"text": f"{number}: to be kept"}
        elif way in IMPATIENT and tool in ("echo", "pid", "blob"):
            tool, arguments = "sleep", {"ms": rng.choice((10, 300, 1_000))}
        yield _call(rng, at, number, way, kind.name, tool, arguments)


def _crowds(rng: random.Random, numbers: Iterator[int], end: float) -> Iterator[Call]:
    """Very many callers of one server at one moment."""
    for at in _times(rng, 0.0, end, CROWDS_PER_S):
        server = rng.choice(("victim-1", "victim-2", "narrow"))
        way = rng.choice(("rest", "stream", "mcp"))
        for number in itertools.islice(numbers, CROWD):
            yield _call(rng, at, number, way, server, "echo", {"text": f"{number}: one of many"})


def _guest_calls(rng: random.Random, numbers: Iterator[int], end: float) -> Iterator[Call]:
    """Calls to servers that a reload may have brought, changed or taken away."""
    for at in _times(rng, 0.0, end, 2.0):
        number = next(numbers)
        way = rng.choice(("rest", "stream", "mcp"))
        yield _call(rng, at, number, way, rng.choice(GUESTS), "echo", {"text": f"{number}: hello guest"})


def _call(
    rng: random.Random, at: float, number: int, way: str, server: str, tool: str, arguments: dict[str, Any]
) -> Call:
    endpoint = rng.choice(("/mcp", f"/servers/{server}/mcp"))
    patience_s = rng.choice((0.0, 0.01, 0.1, 0.4))
    return Call(at, number, way, server, tool, arguments, rng.randrange(CLIENTS), endpoint, patience_s)


def _disturbances(
    rng: random.Random, kinds: Sequence[Kind], end: float, reloads: bool
) -> Iterator[Disturbance]:
    choices = [(what, weight) for what, weight in DISTURBANCES if reloads or what != "reload"]
    for at in _times(rng, 0.0, end, DISTURBANCES_PER_S):
        what = _one(rng, choices)
        make = _MAKERS.get(what)
        if make is not None:
            yield make(rng, at, end)
            continue
        targets = [kind for kind in kinds if what in kind.attacks or what == "tool"]
        target = rng.choices(targets, [kind.weight for kind in targets])[0].name
        lasts_s = {"freeze": rng.choice((0.2, 1.0, 4.0, 12.0)), "switch": rng.uniform(0.0, 4.0)}.get(
            what, 0.0
        )
        facts = {}
        if what == "tool":
            lasts_s = rng.uniform(0.0, 2.0)
        elif what == "turn":
            lasts_s, facts = rng.uniform(0.1, 4.0), {"mode": rng.choice(TURNS)}
        yield Disturbance(at, what, target, min(lasts_s, max(0.0, end - at)), facts=facts)


def _reload(rng: random.Random, at: float, end: float) -> Disturbance:
    how = _one(rng, RELOADS)
    facts: dict[str, Any] = {}
    target = "config"
    match how:
        case "guest":
            target = rng.choice(GUESTS)
            facts["mode"] = rng.choice(("", "good", *sorted(ODD_MODES)))  # "" takes the guest away
        case "change":
            target = "victim-3"
            facts["timeout"] = rng.choice((3, 3.5, 4))
        case "broken":
            facts["broken"] = rng.choice(BROKEN)
    return Disturbance(at, "reload", target, facts={"how": how, **facts})


def _feed(rng: random.Random, at: float, end: float) -> Disturbance:
    return Disturbance(at, "feed", "/api/events", min(rng.uniform(0.2, 5.0), max(0.1, end - at)))


def _deaf_feed(rng: random.Random, at: float, end: float) -> Disturbance:
    return Disturbance(at, "deaf-feed", "/api/events", min(rng.uniform(2.0, 8.0), max(0.1, end - at)))


def _stuck(rng: random.Random, at: float, end: float) -> Disturbance:
    target = rng.choice(("victim-1", "victim-2"))
    return Disturbance(at, "stuck", target, min(rng.uniform(1.0, 6.0), max(0.1, end - at)))


def _junk(rng: random.Random, at: float, end: float) -> Disturbance:
    lasts_s = min(rng.uniform(0.0, 3.0), max(0.1, end - at))
    return Disturbance(at, "junk", "the port", lasts_s, facts={"bytes": rng.choice(JUNK)})


def _look(rng: random.Random, at: float, end: float) -> Disturbance:
    return Disturbance(at, "look", rng.choice(LOOKS))


def _session(what: str) -> Callable[[random.Random, float, float], Disturbance]:
    def make(rng: random.Random, at: float, end: float) -> Disturbance:
        endpoint = rng.choice(("/mcp", "/mcp", "/servers/victim-1/mcp", "/servers/wild-1/mcp"))
        lasts_s = min(rng.uniform(0.1, 4.0), max(0.1, end - at)) if what in ("listen", "hear") else 0.0
        return Disturbance(at, what, endpoint, lasts_s, rng.randrange(CLIENTS))

    return make


_MAKERS: Final[dict[str, Callable[[random.Random, float, float], Disturbance]]] = {
    "reload": _reload,
    "feed": _feed,
    "deaf-feed": _deaf_feed,
    "stuck": _stuck,
    "look": _look,
    "junk": _junk,
    "drop": _session("drop"),
    "end": _session("end"),
    "listen": _session("listen"),
    "hear": _session("hear"),
}
