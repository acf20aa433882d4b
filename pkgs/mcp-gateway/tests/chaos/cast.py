"""Who is on stage: the servers of a run, what is called on each, and what each may answer.

A kind of server is one entry of `cast()`; a remote one is a process of ours beside the gateway, which
turns bad and good again while it runs. Knows no time and no HTTP; chance comes in as an argument.

Left out of the modes of `hostile.py`: `bomb` (thirty processes of ten seconds each are a machine's
trouble, not a caller's; tests/faults has it) and the gigabytes of `stream` and `stderr-flood`, which
run with two megabytes. Not injected, because it ends the run or the machine: a full disk, no free file
descriptors, kill -9 of the gateway; tests/faults and tests/store have these.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.harness import Remote, hostile, remote

Entry = dict[str, Any]
Arguments = dict[str, Any]

FLOOD: Final = ("--count", "150", "--bytes", str(2 << 20), "--delay-ms", "4000")
WILD_LIMITS: Final = {"timeout": 2, "maxTimeout": 5, "maxResult": 1 << 20}
ODD_LIMITS: Final = {"timeout": 2, "maxTimeout": 5, "startTimeout": 4}
ATTACKS: Final = ("kill", "freeze", "restart", "press", "switch")

# Acts after which the right answer may come, must not come, or is JSON of its own.
RIGHT_ACTS: Final = (
    *("garbage", "garbage-flood", "invalid-utf8", "bom", "crlf", "utf16", "drip", "burst", "two-on-a-line"),
    *("embedded-newline", "batch", "unknown-id", "string-id", "duplicate-reply", "both", "odd-progress"),
    *("result-then-error", "log-flood", "list-storm", "stderr-flood", "stderr-long-line", "stderr-secret"),
    *("stop-reading", "bad-output", "orphans", "huge-noise"),
)
SPOILT_ACTS: Final = ("invalid-utf8-reply", "nan", "neither", "odd-result", "odd-error", "never", "late")
FATAL_ACTS: Final = (
    *("die", "segv", "abort", "kill9", "half", "orphan-stdout", "close-stdout", "close-stdin"),
    *("stream", "huge-line"),  # beyond `maxResult`, so the link is cut
)
JSON_ACTS: Final = ("helpers", "daemon", "ask", "ask-flood")
# A server that dies in every second call is in back-off all the time, and tests only that; the same holds
# for one that is blocked for seconds, and helpers live for a minute.
SELDOM: Final = frozenset({*FATAL_ACTS, "stop-reading", "drip", "orphans", "helpers", "daemon", "ask-flood"})
SELDOM_WEIGHT: Final = 0.15
# These need their full size to mean anything, and a server with room for it.
LARGE_ACTS: Final = ("deep", "deep-reply", "huge-int", "huge-noise", "huge-line")
DOUBLED: Final = "duplicate-keys"  # the last of two members counts: its answer is the wrong one, as it says

SMALL_ACTS: Final = (*RIGHT_ACTS, *SPOILT_ACTS, *FATAL_ACTS, *JSON_ACTS, DOUBLED)

# Modes that act at a start or in a handshake: whether such a server takes calls in the end.
ODD_MODES: Final[Mapping[str, bool]] = {
    "exit0": False,
    "exit": False,
    "slow": True,
    "slow-exit": False,
    "silent": False,
    "ignore-eof": True,
    "ignore-term": True,
    "die-after-handshake": False,
    "banner": True,
    "init-wrong-version": False,
    "init-empty": False,
    "init-not-object": False,
    "init-odd-types": False,
    "init-error": False,
    "init-silent": False,
    "init-huge": True,
    "discover-odd-error": True,
    "discover-empty": True,
    "discover-odd-result": True,
    "discover-exit": True,
    "discover-silent": True,
    "discover-null-id": True,
    "list-many": True,
    "cursor-endless": True,
    "cursor-same": True,
    "list-error": False,
    "list-fails-later": True,
    "list-not-array": False,
    "list-odd-tools": True,
    "page-two-fails": True,
    "list-churn": True,
    "rename": True,
    "schema-cycle": True,
    "schema-bomb": True,
    "schema-elsewhere": True,
    "schema-huge": True,
    "schema-deep": False,
    "schema-pattern": True,
    "others-many": True,
    "others-cursor": True,
    "others-error": True,
    "others-silent": True,
    "others-not-array": True,
    "others-odd": True,
}
# What a remote server turns into for a while. Left out is what ends its process or its port (it is killed
# anyhow), what asks for a log-in, which nobody gives here, and what needs a gigabyte to mean anything.
TURNS: Final = (
    *("blackhole", "reset", "hang-up", "stale-keepalive", "idle-close", "not-http", "slow-headers", "status"),
    *("html", "empty", "empty-json", "accepted", "no-content", "session-lost", "sessions-lost", "wrong-type"),
    *("no-type", "drip", "stall", "short-body", "long-body", "cut-body", "bad-chunk", "bad-json", "not-utf8"),
    *("gzip", "odd-encoding", "huge-headers", "huge-header", "sse-bom", "sse-drip", "cut-event"),
    *("reset-event", "cut-after-progress", "heartbeats", "slow", "listen-cut", "get-ends"),
)
TURN_OPTIONS: Final = {"bytes": 200_000, "count": 50, "pace_ms": 5, "delay_ms": 1_000}
LIFE: Final = ("--life-s", "86400")  # hostile servers end by themselves, but not in the middle of a long run
ODD_SERVERS: Final = 6  # of the modes above at one time; reloads bring others as guests
GUESTS: Final = ("guest-1", "guest-2", "guest-3", "guest-4")
# What is told is looked for after each test, and has tests of its own (tests/test_canaries.py).
LEFT_OUT: Final = frozenset({"bomb", "tell", "tell-refusing"})

BEHAVED_SHARE: Final = 0.4  # of the calls to a server that misbehaves when it is told to

Draw = Callable[[random.Random, int], tuple[str, Arguments]]


@dataclass(frozen=True)
class Kind:
    """One server. `make` opens whatever it needs beside the gateway and gives its configuration.

    `calm`: nobody attacks it and every call must succeed. `serves`: it takes calls once it is left in
    peace. `resident`: it runs before and after the chaos, so what the gateway holds can be compared.
    `weight` is its share of the calls, `hard_s` its `maxTimeout`.
    """

    name: str
    make: Callable[[Path], AbstractContextManager[Entry]]
    draw: Draw
    weight: float = 1.0
    hard_s: float = 8.0
    calm: bool = False
    serves: bool = True
    resident: bool = True
    attacks: tuple[str, ...] = ATTACKS
    may_be: frozenset[str] = frozenset()  # outcomes beyond those that every attacked server may have
    twin: Remote | None = None  # the process of a remote one; opened by `make`


def cast(seed: int) -> list[Kind]:
    """The servers of one run; which odd ones take part is the seed's choice. At most 25 with the guests."""
    rng = random.Random(f"cast {seed}")
    limits = {"timeout": 3, "maxTimeout": 8}
    patient = {"timeout": 5, "maxTimeout": 10}
    kinds = [
        stdio("calm", hostile("good", **patient), behave, hard_s=10, calm=True, attacks=()),
        stdio(
            "calm-modern",
            hostile("good", "--era", "modern", **patient),
            behave,
            hard_s=10,
            calm=True,
            attacks=(),
        ),
        stdio("victim-1", hostile("good", **limits), behave, weight=3),
        stdio("victim-2", hostile("good", "--era", "dual", **limits), behave, weight=3),
        stdio(
            "victim-3", hostile("good", "--era", "modern", "--tools", "40", "--page", "9", **limits), behave
        ),
        stdio("brief", hostile("good", timeout=0.5, maxTimeout=1.5), behave, hard_s=1.5),
        stdio(
            "narrow",
            hostile("good", concurrency=1, queue=2, **limits),
            behave,
            weight=2,
            may_be=frozenset({"busy"}),
        ),
        stdio("time", {"command": sys.executable, "args": ["-m", "mcp_server_time"], **limits}, tell_time),
    ]
    kinds.append(far("far-1", limits))
    kinds.append(far("far-2", limits, "--era", "modern"))
    kinds.append(far("far-3", limits, "--transport", "sse"))
    for name, era, weight in (("wild-1", "handshake", 3), ("wild-2", "dual", 3), ("wild-3", "modern", 3)):
        entry = hostile("good", "--era", era, *FLOOD, **WILD_LIMITS)
        kinds.append(stdio(name, entry, act_of(*SMALL_ACTS), wild=weight))
    large = hostile("good", timeout=4, maxTimeout=8)
    kinds.append(stdio("wild-large", large, act_of(*LARGE_ACTS), wild=0.5, hard_s=8))
    for mode in rng.sample(sorted(ODD_MODES), ODD_SERVERS):
        kinds.append(stdio(f"odd-{mode}", odd_entry(mode), say, weight=0.5, hard_s=5, odd=mode))
    return kinds


def stdio(
    name: str, entry: Entry, draw: Draw, *, wild: float = 0.0, odd: str = "", weight: float = 1.0, **more: Any
) -> Kind:
    """A kind that is one child process; `wild` (its weight) and `odd` ones are there for the chaos only."""
    if wild:
        more = {"hard_s": 5.0, "resident": False, "weight": wild} | more
    elif odd:
        more |= {"weight": weight, "resident": False, "serves": ODD_MODES[odd]}
        more["may_be"] = frozenset({"unknown"})
    else:
        more["weight"] = weight
    if entry["args"][:2] == ["-I", "-S"]:
        entry = entry | {"args": [*entry["args"], *LIFE]}
    return Kind(name, lambda _: nullcontext(dict(entry)), draw, **more)


def far(name: str, limits: Entry, *options: str) -> Kind:
    """A kind that is a remote server. While it has turned, it may be refused or misunderstood."""
    twin = remote("good", *options, *LIFE, **limits)

    @contextmanager
    def make(directory: Path) -> Iterator[Entry]:
        with twin:
            yield twin.entry

    may_be = frozenset({"unknown", "invalid", "busy"})
    return Kind(name, make, behave, attacks=(*ATTACKS, "turn"), may_be=may_be, twin=twin)


def odd_entry(mode: str) -> Entry:
    """The configuration of a server that is odd from its start on."""
    limits = dict(ODD_LIMITS)
    if mode in ("discover-silent", "discover-null-id"):
        limits["startTimeout"] = 20  # it is given ten seconds to answer the modern question
    options = ("--count", "2500", "--bytes", "2000000") if mode in ("list-many", "init-huge") else ()
    return hostile(mode, *options, "--delay-ms", "1000", **limits)


# -- what is called -------------------------------------------------------------------------------------


def say(rng: random.Random, number: int) -> tuple[str, Arguments]:
    """An echo that no other call of the run has."""
    size = rng.choice((0, 10, 100, 1_000, 20_000))
    return "echo", {"text": f"{number}: " + rng.choice("aä\u2028語\\") * size}


def behave(rng: random.Random, number: int) -> tuple[str, Arguments]:
    tool = rng.choices(
        ("echo", "sleep", "progress", "blob", "fail", "refuse", "pid"), (50, 12, 10, 8, 4, 4, 2)
    )[0]
    match tool:
        case "echo":
            return say(rng, number)
        case "sleep":
            return tool, {"ms": rng.choice((1, 20, 100, 400))}
        case "progress":
            return tool, {"steps": rng.choice((1, 3, 10)), "ms": rng.choice((0, 5, 40))}
        case "blob":
            return tool, {"bytes": rng.choice((1, 1_000, 70_000, 300_000))}
        case _:
            return tool, {}


def tell_time(rng: random.Random, number: int) -> tuple[str, Arguments]:
    return "get_current_time", {"timezone": rng.choice(("UTC", "Europe/Berlin", "Asia/Tokyo"))}


def act_of(*modes: str) -> Draw:
    weights = [SELDOM_WEIGHT if mode in SELDOM else 1.0 for mode in modes]

    def draw(rng: random.Random, number: int) -> tuple[str, Arguments]:
        if rng.random() < BEHAVED_SHARE:
            return behave(rng, number)
        return "act", {"mode": rng.choices(modes, weights)[0]}

    return draw


# -- what may be answered -------------------------------------------------------------------------------


def expected_outcome(tool: str) -> str:
    """The outcome of a call that nothing comes in the way of."""
    return {"fail": "tool_error", "refuse": "lost"}.get(tool, "ok")


def complaint(server: str, tool: str, arguments: Mapping[str, Any], text: str) -> str:
    """What is wrong with the text of a result; empty when it is the one for this very call."""
    shown = text[:80]
    match tool:
        case "echo":
            right = text == arguments["text"]
        case "sleep":
            right = text == "slept"
        case "progress":
            right = text == f"{arguments['steps']} steps"
        case "blob":
            right = text == "b" * arguments["bytes"]
        case "fail":
            right = text == "it did not work"
        case "pid":
            right = text.isdecimal()
        case "get_current_time":
            right = arguments["timezone"] in text
        case "act":
            return act_complaint(server, arguments["mode"], text)
        case _:
            right = bool(text)
    return "" if right else f"not the answer to this call: {shown!r}"


def act_complaint(server: str, mode: str, text: str) -> str:
    if mode == "huge-line" and server == "wild-large":
        return "" if text.startswith("hhhh") else f"not the large answer: {text[:80]!r}"
    if mode in SPOILT_ACTS or mode in FATAL_ACTS:
        return f"a success that `{mode}` cannot have: {text[:80]!r}"
    if mode in JSON_ACTS:
        try:
            json.loads(text)
        except ValueError:
            return f"not JSON: {text[:80]!r}"
        return ""
    wanted = "WRONG" if mode == DOUBLED else "right"
    return "" if text == wanted else f"the answer to `{mode}` is {text[:80]!r}"
