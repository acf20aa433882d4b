"""The tool API: what its OpenAPI documents cost, whoever asks and whoever else waits, and what a call does.

Owns these measures and their bars, and prints them. Two gateways for documents: five hundred tools on ten
servers, and fifty thousand on twenty-five. Calls go to a third, over the tool API, REST and MCP in turn, and
to mcpo if asked.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench import ways
from bench.load import Connection, Sample, Target, measure
from bench.machine import Seats, Started, cpu_of, describe, rss_mb
from bench.pages import WORDS, Reader, wait_for
from bench.report import Bar, bar_table, table

DIALECTS = ("inlined", "exact")
SERVERS, TOOLS_EACH = 10, 50
MANY_SERVERS, MANY_TOOLS_EACH = 25, 2_000  # so many are kept of one server
PROPERTIES = 8  # of each tool, with definitions, lists and choices among them
TIMES = 300  # a document that is there is read
CHANGES = 15  # tools that are switched
LISTS = 3  # that are replaced; a server is asked again after five seconds at the soonest
MANY_TIMES = 10
CACHED_MS, FIRST_MS = 5.0, 500.0
CHANGED_TIMEOUT_S = 30.0
PROBE_EVERY_S = 0.001
IN_FLIGHT = (1, 16, 64)


@dataclass
class Read:
    """Times of one document in milliseconds, sorted; `bytes` is its size."""

    what: str
    ms: list[float]
    bytes: int = 0
    cpu_ms: float | None = None  # of the gateway for one of them, whoever else wanted the machine
    others_ms: float | None = None  # the longest that somebody else waited meanwhile, the median of all times

    def row(self) -> tuple[str, ...]:
        ordered = sorted(self.ms)
        cells = (median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))])
        shown = [self.what, *(f"{cell:.2f}" for cell in cells), f"{self.bytes / 1000:.0f}"]
        return (*shown, *("" if cell is None else f"{cell:.1f}" for cell in (self.cpu_ms, self.others_ms)))


@dataclass
class Found:
    """All that was measured; calls by way, for each number in flight a sample of each round."""

    read: list[Read] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    calls: dict[str, dict[int, list[Sample]]] = field(default_factory=dict)
    memory_mb: tuple[float, float] = (0.0, 0.0)

    def text(self) -> str:
        names = ("`/tools/openapi.json`", "median ms", "p99 ms", "kB", "CPU ms", "others wait ms")
        parts = [bar_table(self.bars), table(names, [one.row() for one in self.read])]
        told = f"{MANY_SERVERS} servers x {MANY_TOOLS_EACH:,} tools take {self.memory_mb[0]:.0f} MB"
        parts.append(f"{told}, and {self.memory_mb[1]:.0f} MB once both documents were made.")
        heads = ("calls", "in flight", "calls/s", "p50 ms", "p99 ms", "CPU ms/call", "calls/s of REST")
        rows = []
        for way, by_number in self.calls.items():
            for number, samples in by_number.items():
                ratio = self.ratio(way, "REST", number)
                cells = [median(s.calls_per_s for s in samples), median(s.p50_ms for s in samples)]
                cells += [
                    median(s.p99_ms for s in samples),
                    median(s.cpu_ms_per_call("own") for s in samples),
                ]
                shown = [f"{cells[0]:,.0f}", *(f"{cell:.3f}" for cell in cells[1:])]
                rows.append([way, str(number), *shown, f"{100 * ratio:.0f} %"])
        return "\n\n".join([*parts, table(heads, rows)])

    def ratio(self, way: str, other: str, number: int) -> float:
        """The median of the ratios of single rounds."""
        pairs = zip(self.calls[way][number], self.calls[other][number], strict=True)
        return median(one.calls_per_s / two.calls_per_s for one, two in pairs)


def measure_all(directory: Path, seats: Seats, *, rounds: int, seconds: float, has_peer: bool) -> Found:
    found = Found()
    with _serving(directory, "few", seats, SERVERS, TOOLS_EACH) as (run, url):
        _few(found, run, url)
    with _serving(directory, "many", seats, MANY_SERVERS, MANY_TOOLS_EACH) as (run, url):
        _many(found, run, url)
    _calls(found, directory, seats, rounds, seconds, has_peer=has_peer)
    return found


@contextlib.contextmanager
def _serving(
    directory: Path, name: str, seats: Seats, servers: int, tools_each: int
) -> Iterator[tuple[Started, str]]:
    command = [*ways.upstream_command(seats), "--tools", str(tools_each - 4), "--grow"]
    command += ["--words", str(WORDS), "--properties", str(PROPERTIES)]
    commands = {f"s{number:02}": command for number in range(servers)}
    with ways.serving(directory, name, seats, commands) as (run, url):
        wait_for(run, url, servers)
        yield run, url


class Documents(Reader):
    """Reads documents over one connection that is kept."""

    def __init__(self, run: Started, url: str) -> None:
        super().__init__(url)
        self._run = run
        self._url = url

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, str, bytes]:
        """Status, entity tag and body."""
        content = None if body is None else json.dumps(body)
        head = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, content, head | {"content-type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.getheader("etag", ""), answer.read()

    def timed(self, path: str, status: int = 200, **headers: str) -> tuple[float, bytes]:
        """Milliseconds to the last byte, and the body."""
        began_s = time.perf_counter()
        got, _, body = self.ask(path, **headers)
        took_ms = (time.perf_counter() - began_s) * 1000
        if got != status:
            raise RuntimeError(f"{path} was answered {got}: {body[:200]!r}")
        return took_ms, body

    def often(self, what: str, path: str, times: int, status: int = 200, **headers: str) -> Read:
        before = cpu_of([self._run.pid])
        pairs = [self.timed(path, status, **headers) for _ in range(times)]
        cpu_ms = cpu_of([self._run.pid]).since(before).total_s * 1000 / times
        return Read(what, [took for took, _ in pairs], len(pairs[-1][1]), cpu_ms)

    def watched(self, path: str) -> tuple[float, int, float]:
        """As `timed`, but while somebody else asks for little: milliseconds, bytes, their longest wait."""
        return uvloop.run(self._watched(path))

    async def _watched(self, path: str) -> tuple[float, int, float]:
        target = Target("rest", f"{self._url}/health")
        pinging = Connection()
        await pinging.open(target)
        ping = target.request(b"", method="GET")
        waits_ms = []
        reading = asyncio.ensure_future(asyncio.to_thread(self.timed, path))
        while not reading.done():
            began_s = time.perf_counter()
            await pinging.exchange(ping)
            waits_ms.append((time.perf_counter() - began_s) * 1000)
            await asyncio.sleep(PROBE_EVERY_S)
        pinging.close()
        took_ms, body = await reading
        return took_ms, len(body), max(waits_ms)


def _path(dialect: str) -> str:
    return f"/tools/openapi.json?dialect={dialect}"


def _of(name: str, made: list[tuple[float, int, float]]) -> Read:
    ms, sizes, others = zip(*made, strict=True)
    return Read(name, list(ms), sizes[-1], None, median(others))


def _few(found: Found, run: Started, url: str) -> None:
    documents = Documents(run, url)
    many = f"{SERVERS * TOOLS_EACH} tools"
    for dialect in DIALECTS:
        path = _path(dialect)
        found.read.append(_of(f"{many}, {dialect}: the first", [documents.watched(path)]))
        cached = documents.often(f"{many}, {dialect}: from cache", path, TIMES)
        tag = documents.ask(path)[1]
        known = documents.often(f"{many}, {dialect}: known (304)", path, TIMES, 304, if_none_match=tag)
        found.read += [cached, known]
        found.bars.append(
            Bar(f"{many}, {dialect}: from cache, median", median(cached.ms), CACHED_MS, None, "ms")
        )
    for dialect in DIALECTS:
        path, made = _path(dialect), []
        for number in range(CHANGES):
            status, _, _ = documents.ask("/api/tools/s00/tool_000", "PATCH", {"enabled": number % 2 == 1})
            if status != 200:
                raise RuntimeError(f"a tool is not switched: {status}")
            made.append(documents.watched(path))
        found.read.append(_of(f"{many}, {dialect}: a tool was switched", made))
        made = []
        for _ in range(LISTS):
            _grow(documents)
            made.append(documents.watched(path))
        found.read.append(_of(f"{many}, {dialect}: a list was replaced", made))
        for after in found.read[-2:]:
            found.bars.append(Bar(after.what + ", median", median(after.ms), FIRST_MS, None, "ms"))
    first = max(one.ms[0] for one in found.read if one.what.endswith("the first"))
    found.bars.append(Bar(f"{many}: the very first, nothing read before", first, FIRST_MS, None, "ms"))


def _grow(documents: Documents) -> None:
    """A server says that it has another tool, and the gateway has read of it; the document is not asked."""
    path = "/api/tools?server=s00"
    before = len(documents.ask(path)[2])
    documents.ask("/api/tools/s00/grow", "POST", {"text": "x"})
    until = time.monotonic() + CHANGED_TIMEOUT_S
    while len(documents.ask(path)[2]) == before:
        if time.monotonic() > until:
            raise RuntimeError("the gateway did not read the list again")
        time.sleep(0.02)


def _many(found: Found, run: Started, url: str) -> None:
    documents = Documents(run, url)
    many = f"{MANY_SERVERS * MANY_TOOLS_EACH:,} tools"
    idle_mb = rss_mb(run.own())
    for dialect in DIALECTS:
        path = _path(dialect)
        first = _of(f"{many}, {dialect}: the first", [documents.watched(path)])
        found.read += [first, documents.often(f"{many}, {dialect}: from cache", path, MANY_TIMES)]
        documents.ask("/api/tools/s00/tool_000", "PATCH", {"enabled": dialect == "exact"})
        changed = _of(f"{many}, {dialect}: a tool was switched", [documents.watched(path)])
        found.read.append(changed)
        assert first.others_ms is not None
        assert changed.others_ms is not None
        held_ms = max(first.others_ms, changed.others_ms)
        found.bars.append(Bar(f"{many}, {dialect}: others wait while it is made", held_ms, None, None, "ms"))
    found.memory_mb = idle_mb, rss_mb(run.own())


def _calls(
    found: Found, directory: Path, seats: Seats, rounds: int, seconds: float, *, has_peer: bool
) -> None:
    with contextlib.ExitStack() as stack:
        rest, mcp, _ = stack.enter_context(ways.gateway(directory, seats))
        tools = Target("rest", rest.target.url.replace("/api/tools/", "/tools/"))
        targets = {
            "tool API": (tools, rest.run),
            "REST": (rest.target, rest.run),
            "MCP": (mcp.target, mcp.run),
        }
        if has_peer:
            (peer,) = stack.enter_context(ways.mcpo(directory, seats))
            targets["mcpo 0.0.20"] = (peer.target, peer.run)
        for _ in range(rounds):
            for number in IN_FLIGHT:
                for way, (target, run) in targets.items():
                    meters = {"own": partial(cpu_of, run.own())}
                    sample = measure(target, in_flight=number, duration_s=seconds, meters=meters)
                    if sample.errors:
                        raise RuntimeError(f"{way}: {sample.errors}")
                    found.calls.setdefault(way, {}).setdefault(number, []).append(sample)
    for other in [name for name in targets if name != "tool API"]:
        for number in IN_FLIGHT:
            ratio = 100 * found.ratio("tool API", other, number)
            found.bars.append(
                Bar(f"calls/s of the tool API, of {other}, {number} in flight", ratio, None, None, "%")
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load (%(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)d)")
    parser.add_argument("--peers", action="store_true", help="install and measure mcpo too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    seats = Seats.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="bench-documents-") as directory:
        seats.sit()
        found = measure_all(
            Path(directory),
            seats,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            has_peer=arguments.peers,
        )
    print(f"# Documents and calls of the tool API\n\n{describe()['cpu']}, {describe()['cores']} cores\n")
    print(found.text())


if __name__ == "__main__":
    main()
