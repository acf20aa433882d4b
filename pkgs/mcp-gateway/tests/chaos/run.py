"""The phases of a run, top to bottom: start, calm, chaos, settling, verdict.

`run` is synchronous and owns the gateway; everything between its start and its stop happens in one
event loop, which also carries the whole load.
"""

import asyncio
import random
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.chaos.callers import Client
from tests.chaos.cast import Entry, Kind, cast
from tests.chaos.faults import Director, can_reload, starts_of
from tests.chaos.schedule import CALM_SHARE, CLIENTS, Action, Call, schedule
from tests.chaos.stage import Bounds, Stage, Violation
from tests.chaos.watch import Watch, percentile
from tests.harness import HOSTILE, Gateway, Holdings

STRICT: Final = Bounds(late_s=1.0, health_s=1.0)
SLOPES_FROM_S: Final = 150.0  # in a shorter run everything still warms up
READY_S: Final = 30.0  # eight servers start at once on a busy machine
AT_REST_S: Final = 15.0
LOOK_S: Final = 0.2
STARTS_FREE: Final = 12  # attempts of a server that always fails: the doubling windows up to a minute
STARTS_PER_S: Final = 0.1  # and after that at least every ten seconds would be a storm
MIB: Final = 1 << 20


@dataclass
class Report:
    seed: int
    seconds: float
    reloads: bool
    stage: Stage
    watch: Watch
    at_rest: Holdings | None = None
    afterwards: Holdings | None = None
    recovery: dict[str, float] = field(default_factory=dict)
    slopes: dict[str, float] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    calm_s: list[float] = field(default_factory=list)
    chaos_s: list[float] = field(default_factory=list)

    @property
    def violations(self) -> list[Violation]:
        return self.stage.violations

    def __str__(self) -> str:
        stage, watch = self.stage, self.watch
        outcomes: dict[str, int] = {}
        for (_, outcome), number in stage.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + number
        total = sum(outcomes.values())
        health = [seconds for _, seconds in watch.health]
        rss = [holdings.rss_bytes for _, holdings in watch.samples] or [0]
        slowest = max(self.recovery.items(), key=lambda item: item[1], default=("", 0.0))
        before, after = self.at_rest, self.afterwards
        lines = [
            f"chaos: seed {self.seed}, {self.seconds:g} s, reloads {'on' if self.reloads else 'not offered'}",
            f"calls       {total}: " + told(outcomes),
            "disturbed   " + told(dict(stage.done)),
            f"starts      {sum(self.starts.values())} processes of {len(self.starts)} servers",
            f"neighbours  {spread(self.calm_s)} in the calm; {spread(self.chaos_s)} in the chaos",
            f"/health     {spread(health)};"
            f" this process itself was late by {ms([lag for _, lag in watch.lag], 1)} at worst",
            f"recovery    all servers within {slowest[1]:.1f} s (last: {slowest[0]})",
            f"memory      {max(rss) // MIB} MiB at most; tenth by tenth: {tenths(rss)} MiB",
            f"at rest     before {held(before)}; afterwards {held(after)}",
            "slopes      per minute, second half: "
            + ", ".join(
                f"{name} {value / MIB:+.2f} MiB" if name == "rss_bytes" else f"{name} {value:+.1f}"
                for name, value in self.slopes.items()
            ),
            f"verdict     {len(self.violations) + stage.suppressed} violations",
            *(f"\n{number}. {violation}" for number, violation in enumerate(self.violations, 1)),
        ]
        if self.violations:
            lines.append(f"\nagain: python -m tests.chaos --seconds {self.seconds:g} --seed {self.seed}")
        return "\n".join(lines)


def told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items(), key=lambda item: -item[1]))


def tenths(rss: list[int]) -> str:
    """Where a slope comes from: one late step, or a steady climb."""
    return " ".join(str(rss[len(rss) * part // 10] // MIB) for part in range(10))


def ms(values: list[float], share: float) -> str:
    return f"{1000 * percentile(values, share):.1f} ms"


def spread(values: list[float]) -> str:
    worst = f"p50 {ms(values, 0.5)}, p99 {ms(values, 0.99)}, worst {ms(values, 1)}"
    return f"{worst} ({len(values)} times)"


def held(holdings: Holdings | None) -> str:
    if holdings is None:
        return "unknown"
    counts = f"{holdings.files} files, {holdings.threads} threads, {holdings.children} children"
    return f"{holdings.rss_bytes // MIB} MiB, {counts}"


def run(seed: int, seconds: float, bounds: Bounds, directory: Path) -> Report:
    """One run against a gateway of its own in `directory`.

    Raises:
        AssertionError: the gateway did not start, or did not stop and leave nothing behind.
    """
    kinds = cast(seed)
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        entries = {
            kind.name: marked(stack.enter_context(kind.make(directory)), kind, directory) for kind in kinds
        }
        gateway = stack.enter_context(Gateway(entries, directory / "gateway"))
        stage = Stage(gateway, {kind.name: kind for kind in kinds}, bounds)
        report = asyncio.run(_Run(seed, seconds, kinds, entries, stage, directory).play())
        log = gateway.log.read_text(errors="replace")
    if "Traceback" in log:
        at = log.index("Traceback")
        stage.violate(
            "I6 no mistakes", f"a traceback in the gateway's log: {log[max(0, at - 300) : at + 3000]}"
        )
    return report


def marked(entry: Entry, kind: Kind, directory: Path) -> Entry:
    """Hostile servers note each start; those that are there for the chaos only begin switched off."""
    if str(HOSTILE) in entry.get("args", ()):
        entry["args"] = [*entry["args"], "--marks", str(directory / f"{kind.name}.marks")]
    return entry if kind.resident else entry | {"enabled": False}


class _Run:
    def __init__(
        self,
        seed: int,
        seconds: float,
        kinds: list[Kind],
        entries: dict[str, Entry],
        stage: Stage,
        directory: Path,
    ) -> None:
        self.seconds, self.seed = seconds, seed
        self.kinds, self.entries, self.stage, self.directory = kinds, entries, stage, directory
        self.watch = Watch(stage)
        self.pids: dict[str, int] = {}

    async def play(self) -> Report:
        stage = self.stage
        async with AsyncExitStack() as stack:
            self.clients = [
                await stack.enter_async_context(Client(stage, number)) for number in range(CLIENTS)
            ]
            self.web = await stack.enter_async_context(
                aiohttp.ClientSession(
                    f"http://127.0.0.1:{stage.gateway.port}", timeout=aiohttp.ClientTimeout(total=30)
                )
            )
            reloads = await can_reload(self.web)
            self.director = Director(stage, self.entries, self.clients, self.web, reloads)
            self.report = Report(self.seed, self.seconds, reloads, stage, self.watch)
            await self.wait_until_ready()
            self.report.at_rest = stage.gateway.holdings()
            watching = [
                asyncio.create_task(self.watch.ask_health(self.web)),
                asyncio.create_task(self.watch.sample()),
                asyncio.create_task(self.watch.check_records(self.web)),
            ]
            try:
                await self.make_chaos(schedule(self.seed, self.kinds, self.seconds, reloads=reloads))
                await self.settle()
            finally:
                for task in watching:
                    task.cancel()
                results = await asyncio.gather(*watching, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result
            await stage.check_all(self.web)
        await self.compare_holdings()
        self.judge()
        return self.report

    # -- before -----------------------------------------------------------------------------------------

    async def wait_until_ready(self) -> None:
        residents = [kind.name for kind in self.kinds if kind.resident]
        deadline = time.monotonic() + READY_S
        while True:
            shown = await self.states()
            if all(shown[name]["state"] == "ready" for name in residents):
                break
            assert time.monotonic() < deadline, f"not ready: {shown}; {self.stage.gateway.log_tail()}"
            await asyncio.sleep(LOOK_S)
        # What serves the modern era beside the other stays, once it was called.
        for kind in self.kinds:
            if kind.resident:
                tool, arguments = kind.draw(random.Random(0), 0)
                number = -len(self.stage.told) - 1
                await self.clients[0].perform(
                    Call(0.0, number, "modern", kind.name, tool, arguments, 0, "/mcp", 0.0)
                )
        self.pids = {kind.name: shown[kind.name]["pid"] for kind in self.kinds if kind.calm}

    async def states(self) -> dict[str, dict[str, Any]]:
        async with self.web.get("/api/servers") as answer:
            return {entry["id"]: entry for entry in (await answer.json())["servers"]}

    # -- during -----------------------------------------------------------------------------------------

    async def make_chaos(self, actions: list[Action]) -> None:
        stage = self.stage
        stage.zero = time.monotonic() + self.seconds * CALM_SHARE
        begun = False
        running: set[asyncio.Task[None]] = set()
        for action in actions:
            if action.at >= 0 and not begun:
                begun = True
                await self.begin()
            await asyncio.sleep(max(0.0, action.at - stage.now))
            stage.recent.append(action)
            work = (
                self.clients[action.client].perform(action)
                if isinstance(action, Call)
                else self.director.perform(action)
            )
            task = asyncio.create_task(work)
            running.add(task)
            task.add_done_callback(running.discard)
        while running:
            done, _ = await asyncio.wait(running)
            for task in done:
                task.result()

    async def begin(self) -> None:
        """The servers that are there for the chaos come on; what the calm was like is known."""
        for kind in self.kinds:
            if not kind.resident:
                self.stage.unsettle(kind.name, 20.0)
                await self.director.turn(kind.name, True)

    # -- after ------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Left in peace, everything that can serve serves again; then what only chaos needs goes off."""
        stage, over = self.stage, time.monotonic()
        await self.director.undo()
        waiting = {kind.name: kind for kind in self.kinds if kind.serves}
        while waiting and time.monotonic() - over < stage.bounds.recovery_s:
            for name in list(waiting):
                if waiting[name].twin is not None:
                    await self.director.mend(name)
                if await self.works(waiting[name]):
                    self.report.recovery[name] = time.monotonic() - over
                    del waiting[name]
            await asyncio.sleep(LOOK_S)
        shown = await self.states()
        for name in waiting:
            stage.violate("I8 recovers alone", f"{name} is not back: {shown[name]}", name)
        for name, pid in self.pids.items():
            if shown[name]["pid"] != pid:
                stage.violate("I2 neighbours", f"{name} was restarted although nobody attacked it", name)
        guests = [kind.name for kind in self.kinds if not kind.resident]
        for name in guests:
            await self.director.turn(name, False)
        deadline = time.monotonic() + stage.bounds.stop_s
        while True:
            shown = await self.states()
            late = [name for name in guests if shown[name]["state"] != "off"]
            if not late or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_S)
        for name in late:
            stage.violate("I4 everything stops", f"{name} does not stop: {shown[name]}", name)

    async def works(self, kind: Kind) -> bool:
        """One plain call; a refusal in a typed way is no mistake, it is not back yet."""
        tool, arguments = ("echo", {"text": "back?"})
        if kind.name == "time":
            tool, arguments = "get_current_time", {"timezone": "UTC"}
        number = 1_000_000 + len(self.stage.told)
        call = Call(self.stage.now, number, "rest", kind.name, tool, arguments, 1, "/mcp", 0.0)
        before = self.stage.outcomes["rest", "ok"]
        await self.clients[1].perform(call)
        return self.stage.outcomes["rest", "ok"] > before

    async def compare_holdings(self) -> None:
        """Our own connections are closed by now; what the gateway holds goes back to what it held."""
        stage, before = self.stage, self.report.at_rest
        assert before is not None, "taken before the chaos"
        for session in stage.gateway.get("/api/sessions").json()["sessions"]:  # their processes go with them
            stage.gateway.request("DELETE", f"/api/sessions/{session['id']}")
        deadline = time.monotonic() + AT_REST_S
        while True:
            now = stage.gateway.holdings()
            left = self.strays()
            calm = (
                now.files <= before.files + stage.bounds.files_slack
                and now.threads <= before.threads + stage.bounds.threads_slack
                and now.children <= before.children
                and now.zombies == 0
                and not left
            )
            if calm or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_S)
        self.report.afterwards = now
        if not calm:
            stage.violate("I4 nothing is left", f"before {before}, now {now}, strays {left}")

    def strays(self) -> dict[int, str]:
        """Processes with our token that no running server accounts for."""
        gateway = self.stage.gateway
        found = gateway.survivors()
        servers = gateway.get("/api/servers").json()["servers"]
        known = {one["pid"] for entry in servers for one in (entry, *entry["links"])}
        return {pid: command for pid, command in found.items() if pid not in known}

    def judge(self) -> None:
        """What can only be said of the whole run."""
        stage, report, bounds = self.stage, self.report, self.stage.bounds
        calm_kinds = [kind.name for kind in self.kinds if kind.calm]
        taken = [
            (at, seconds)
            for client in self.clients
            for name in calm_kinds
            for at, seconds in client.latencies.get(name, ())
        ]
        report.calm_s = [seconds for at, seconds in taken if at < 0]
        report.chaos_s = [seconds for at, seconds in taken if at >= 0]
        before, during = percentile(report.calm_s, 0.99), percentile(report.chaos_s, 0.99)
        if during > max(bounds.p99_s, bounds.p99_factor * before):
            stage.violate("I2 neighbours", f"p99 went from {before:.3f} s to {during:.3f} s")
        end = self.seconds * (1 - CALM_SHARE)
        report.slopes = self.watch.slopes_per_min(end / 2, end)
        if self.seconds >= SLOPES_FROM_S:
            limits = {
                "rss_bytes": bounds.rss_slope_bytes_per_min,
                "files": bounds.files_slope_per_min,
                "threads": bounds.threads_slope_per_min,
                "children": bounds.children_slope_per_min,
            }
            for name, limit in limits.items():
                if report.slopes[name] > limit:
                    stage.violate("I4 slopes", f"{name} grow by {report.slopes[name]:.1f} a minute")
        report.starts = starts_of(self.directory)
        acts = {
            name: sum(
                isinstance(action, Call) and action.server == name and action.tool == "act"
                for action in stage.recent
            )
            for name in report.starts
        }
        for name, number in report.starts.items():
            # Each attempt may need a second process, to learn the era a server speaks.
            caused = stage.touched[name] + acts[name] + stage.beside[name]
            limit = 2 * (STARTS_FREE + STARTS_PER_S * self.seconds + caused)
            if number > limit:
                stage.violate(
                    "I10 no storm", f"{name} was started {number} times, more than {limit:.0f}", name
                )
