"""A server killed with -9 under load: 10,000 calls over REST, 200 in flight, the kill in the middle.

Owns the proof that every call gets one typed answer, that only those in flight at the kill may fail, that the
rest succeed once the server is back, and that nothing stays behind: files, threads, processes, running calls.
A caller here behaves as ours are told to: it asks again, after the time it was given, where the answer says
`retryable`, and never otherwise. Fails with what was wrong.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench import ways
from bench.load import ANSWER_TIMEOUT_S, Answer, BadAnswer, Connection, Target, message_of
from bench.machine import Seats, Started, describe, open_files, rss_mb, threads

CONCURRENCY = (
    100  # of the server: with 200 in flight, half are in its hands at the kill and half in the queue
)
SLEEP_MS = 20  # long enough that the kill always finds calls in the server's hands
ASK_AGAIN_S = 0.1  # where an answer is retryable but names no time
ASK_AGAIN_MAX_S = 2.0
ASK_AGAIN_MAX = 100
SETTLE_TIMEOUT_S = 15.0  # for connections to be reaped and the server to be ready: not a measurement
POLL_S = 0.1

# Kind -> HTTP status, as the product promises them.
STATUS = {
    "invalid": (400, 413, 415),
    "unauthenticated": (401,),
    "refused": (403,),
    "unknown": (404,),
    "busy": (429,),
    "unavailable": (503,),
    "timed_out": (504,),
    "lost": (502,),
    "input_required": (409,),
    "internal": (500,),
}

POOL_THREADS = 2  # the gateway's pool for looking through /proc makes its threads when they are first needed


@dataclass
class Storm:
    """What became of every call."""

    calls: int
    target: Target
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    pending: set[int] = field(default_factory=set)
    outcomes: dict[int, str] = field(default_factory=dict)
    asked_again: Counter[str] = field(default_factory=Counter)
    in_flight_at_kill: frozenset[int] = frozenset()
    killed_s: float = 0.0
    back_s: float = 0.0  # when the first call that was sent after the kill succeeded

    @property
    def failed(self) -> dict[int, str]:
        return {number: outcome for number, outcome in self.outcomes.items() if outcome != "ok"}


async def caller(storm: Storm, kill: Callable[[], None]) -> None:
    connection = Connection()
    await connection.open(storm.target)
    while (number := next(storm.numbers)) < storm.calls:
        storm.pending.add(number)
        sent_s = time.monotonic()
        outcome, connection = await one_call(storm, number, connection)
        storm.pending.discard(number)
        storm.outcomes[number] = outcome
        if outcome == "ok" and storm.killed_s and sent_s > storm.killed_s and not storm.back_s:
            storm.back_s = time.monotonic()
        if len(storm.outcomes) == storm.calls // 2:
            storm.in_flight_at_kill = frozenset(storm.pending)
            kill()
            storm.killed_s = time.monotonic()
    connection.close()


async def one_call(storm: Storm, number: int, connection: Connection) -> tuple[str, Connection]:
    """The terminal outcome of one call, and the connection to use for the next."""
    body = json.dumps({"ms": SLEEP_MS, "text": f"storm-{number}."}).encode()
    for _ in range(ASK_AGAIN_MAX):
        try:
            answer = await connection.exchange(storm.target.request(body))
        except (ConnectionError, TimeoutError) as error:
            connection.close()
            connection = Connection()
            await connection.open(storm.target)
            return f"no answer ({type(error).__name__})", connection
        if answer[0] == 200:
            return (
                "ok" if f"storm-{number}.".encode() in answer[2] else "an answer to another call"
            ), connection
        kind, again_s = read_problem(answer)
        if again_s is None:
            return kind, connection
        storm.asked_again[kind] += 1
        await asyncio.sleep(again_s)
    return "gave up asking again", connection


def read_problem(answer: Answer) -> tuple[str, float | None]:
    """The kind of a problem document, and after how long to ask again, if ever."""
    try:
        problem = message_of(answer)
        kind, is_retryable = problem["code"], problem["retryable"]
        told_s = problem.get("retryAfter")
        is_whole = all(problem[key] for key in ("type", "title", "detail", "callId"))
    except (BadAnswer, KeyError, TypeError, AttributeError):
        return f"{answer[0]} without a whole problem document", None
    if not is_whole or problem.get("status") != answer[0] or answer[0] not in STATUS.get(kind, ()):
        return f"{answer[0]} with a problem that does not fit: {kind}", None
    if not is_retryable:
        return str(kind), None
    return str(kind), min(ASK_AGAIN_MAX_S, ASK_AGAIN_S if told_s is None else float(told_s))


# ---- looking at the gateway ------------------------------------------------------------------------------


async def get(base: str, path: str) -> Any:
    connection = Connection()
    target = Target("rest", base + path)
    try:
        await connection.open(target)
        answer = await connection.exchange(target.request(b"", method="GET"), ANSWER_TIMEOUT_S)
    finally:
        connection.close()
    if answer[0] != 200:
        raise BadAnswer(f"GET {path} was answered {answer[0]} {answer[2][:200]!r}")
    return message_of(answer)


async def recorded(base: str) -> Counter[str]:
    """The outcomes in the activity record of the calls of the storm."""
    counts: Counter[str] = Counter()
    path = "/api/calls?server=echo&tool=sleep&limit=500"
    cursor: str | None = ""
    while cursor is not None:
        page = await get(base, f"{path}&cursor={cursor}" if cursor else path)
        counts.update(row["outcome"] for row in page["calls"])
        cursor = page["cursor"]
    return counts


@dataclass(frozen=True)
class Holdings:
    """What the gateway process holds of the system."""

    files: int
    threads: int
    processes: int

    @classmethod
    def of(cls, run: Started) -> "Holdings":
        return cls(open_files(run.pid), threads(run.pid), len(run.members()))

    def exceeds(self, other: "Holdings") -> bool:
        return (
            self.files > other.files
            or self.threads > other.threads + POOL_THREADS
            or self.processes > other.processes
        )

    def __str__(self) -> str:
        return f"{self.files} files, {self.threads} threads, {self.processes} processes"


def settled(run: Started, is_settled: Callable[[Holdings], bool]) -> Holdings:
    """What is held when that is as expected, or at the end of the time for it."""
    until_s = time.monotonic() + SETTLE_TIMEOUT_S
    while not is_settled(held := Holdings.of(run)) and time.monotonic() < until_s:
        time.sleep(POLL_S)
    return held


async def touch(target: Target, in_flight: int) -> None:
    """One call on each of as many connections as the storm will have: pools and buffers have grown then."""
    connections = [Connection() for _ in range(in_flight)]
    for connection in connections:
        await connection.open(target)
    request = target.request(b'{"text":"before"}')
    await asyncio.gather(*(connection.exchange(request) for connection in connections))
    for connection in connections:
        connection.close()


# ---- the proof -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    what: str
    is_met: bool
    seen: str


async def rage(storm: Storm, in_flight: int, kill: Callable[[], None]) -> float:
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller(storm, kill))
    return time.monotonic() - began_s


def prove(way: ways.Way, calls: int, in_flight: int) -> list[Check]:
    base, run = way.target.url.partition("/api/")[0], way.run
    fresh = Holdings.of(run)
    uvloop.run(touch(way.target, in_flight))
    before, before_mb = settled(run, lambda held: not held.exceeds(fresh)), rss_mb(run.own())
    old_pid: int = uvloop.run(get(base, "/api/servers/echo"))["pid"]

    def kill() -> None:
        # A pid that somebody told us is killed only if it is of our own making.
        if old_pid not in run.upstreams():
            raise RuntimeError("the server's pid is not one of this run")
        os.kill(old_pid, signal.SIGKILL)

    storm = Storm(calls, Target("rest", f"{base}/api/tools/echo/sleep"))
    took_s = uvloop.run(rage(storm, in_flight, kill))
    after = settled(run, lambda held: not held.exceeds(before))
    held = f"{before} before, {after} after; {before_mb:.0f} MB before, {rss_mb(run.own()):.0f} MB after"
    server = uvloop.run(get(base, "/api/servers/echo"))
    counted = uvloop.run(recorded(base))
    answered = Counter(storm.outcomes.values()) + storm.asked_again
    is_idle = server["calls"]["running"] == 0 and server["calls"]["queued"] == 0
    return [
        *checks_of_answers(storm, took_s),
        check_of_return(storm, server, old_pid),
        Check("one record for every answer, with its outcome", counted == answered, words(counted)),
        Check("no call is left running or queued", is_idle, json.dumps(server["calls"])),
        Check("nothing more is held than before", not after.exceeds(before), held),
    ]


def check_of_return(storm: Storm, server: dict[str, Any], old_pid: int) -> Check:
    is_back = server["state"] == "ready" and server["pid"] != old_pid and storm.back_s > 0
    seen = f"{server['state']}, {'another' if server['pid'] != old_pid else 'the same'} process"
    if storm.back_s:
        seen += f", first answer to a new call {1000 * (storm.back_s - storm.killed_s):.0f} ms after the kill"
    return Check("the server is back", is_back, seen)


def checks_of_answers(storm: Storm, took_s: float) -> list[Check]:
    counts = Counter(storm.outcomes.values())
    again = f"; asked again after {words(storm.asked_again)}" if storm.asked_again else ""
    all_answered = len(storm.outcomes) == storm.calls and not any(" " in outcome for outcome in counts)
    caught, failed = storm.in_flight_at_kill, storm.failed
    stray = {number: outcome for number, outcome in failed.items() if number not in caught}
    typed = bool(failed) and set(failed.values()) == {"lost"}
    return [
        Check("every call got one typed answer", all_answered, f"{words(counts)} in {took_s:.1f} s{again}"),
        Check(
            "calls in the server's hands are `lost`",
            typed,
            f"{len(failed)} of {len(caught)} in flight at the kill",
        ),
        Check("all others succeeded", not stray, f"{counts['ok']} ok, {len(stray)} stray failures"),
    ]


def words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results", help="folder to write to"
    )
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that what was started is ended on the way out
    seats = Seats.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, contextlib.ExitStack() as stack:
        rest, *_ = stack.enter_context(ways.gateway(Path(directory), seats, concurrency=CONCURRENCY))
        seats.sit()
        checks = prove(rest, arguments.calls, arguments.in_flight)
        left = rest.run.stop()
    checks.append(Check("nothing outlives the gateway", not left, f"{len(left)} processes left"))
    text = markdown(checks, arguments.calls, arguments.in_flight)
    results: Path = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    (results / "kill.md").write_text(text)
    print(text)
    sys.exit(0 if all(check.is_met for check in checks) else 1)


def markdown(checks: list[Check], calls: int, in_flight: int) -> str:
    machine = describe()
    where = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    how = f"over REST, each call {SLEEP_MS} ms in the server, {CONCURRENCY} at a time"
    lines = [
        f"# {calls:,} calls, {in_flight} in flight, the server killed with -9 in the middle",
        f"\n{where}; {how}.\n",
        "| what | | seen |\n| --- | --- | --- |",
        *[f"| {check.what} | {'yes' if check.is_met else '**NO**'} | {check.seen} |" for check in checks],
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
