"""The pages of the web UI: the time that the gateway takes for each, their weight, and the cost of watching.

Owns these measures and their bars; `run.py` puts them into the result, `python -m bench.pages` prints them
alone. Three gateways: fifty servers with fifty tools each and 100,000 calls on record, one server with two
thousand tools, and the fifty again, watched while calls go on and one server restarts every second. What a
browser makes of the pages is measured by `trace.py`.
"""

import argparse
import asyncio
import contextlib
import gzip
import http.client
import json
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench import trace, ways
from bench.load import Connection, Target, quantile_ms
from bench.machine import Cpu, Seats, Started, cpu_of, describe
from bench.report import Bar, bar_table
from bench.weight import File, first_visit

SERVERS = 50
TOOLS_EACH = 50
TALL = 2_000  # tools of one server
RECORDS = 100_000
WORDS = 40  # of a tool's description, all different: what compresses well would flatter
WIDE, TALL_NAME = f"{SERVERS} servers x {TOOLS_EACH} tools", f"{TALL:,} tools on one server"
INP_MS = 200.0  # the worst interaction that people still call good
TIMES = 20  # each page is asked for, in turn packed and not
READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
PAGES = ("/", "/ui/tools", "/ui/tools/s00/tool_000", "/ui/activity", "/ui/servers/s00", "/ui/connect")
TALL_PAGES = ("/ui/tools", "/ui/tools?server=s00", "/ui/tools?search=tool_19", "/ui/tools/rows?server=s00")
PAGE_MS, PAGE_KB, HELD_UP_MS = 300.0, 250.0, 20.0
PROBE_EVERY_S = 0.001

CALLS_PER_S = 500
LANES = 20  # connections that take turns
WATCH_S = 4.0
SETTLE_S = 1.5
FLAP_EVERY_S = 1.0
WATCHED = ("servers", "tools", "activity")
WATCHERS = (10, 100)


@dataclass(frozen=True)
class Page:
    """One page: the median of `TIMES` but for `first_ms`. kB are packed; `whole_kb` is with its files."""

    path: str
    packed_ms: float
    plain_ms: float
    first_ms: float
    cpu_ms: float  # of the gateway, whoever else wanted the machine
    held_up_ms: float
    document_kb: float
    whole_kb: float | None  # None: no page, a part of one


@dataclass(frozen=True)
class Watched:
    """What the gateway did while `number` watched `page`; all but latencies for each second."""

    page: str
    number: int
    cpu_s: float
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    sent_kb: float  # to each of them


@dataclass(frozen=True)
class Found:
    """All that was measured."""

    wide: list[Page]
    tall: list[Page]
    watched: list[Watched]  # the first: by nobody
    browsed: list[trace.Browsed]

    def bars(self) -> list[Bar]:
        nobody, many = self.watched[0], [one for one in self.watched if one.number == max(WATCHERS)]
        slowest = max(page.packed_ms for page in self.wide)
        calls = min(one.calls_per_s for one in many) / nobody.calls_per_s * 100
        found = [
            Bar(f"{WIDE}: the slowest page, median", slowest, PAGE_MS, None, "ms"),
            Bar(f"{WIDE}: the same, the first time", max(p.first_ms for p in self.wide), None, None, "ms"),
            Bar(f"{WIDE}: the heaviest page", max(p.whole_kb or 0.0 for p in self.wide), PAGE_KB, None, "kB"),
            Bar(f"{WIDE}: others are held up", max(p.held_up_ms for p in self.wide), HELD_UP_MS, None, "ms"),
            Bar(f"{TALL_NAME}: the same", max(p.held_up_ms for p in self.tall), HELD_UP_MS, None, "ms"),
            Bar(f"{max(WATCHERS)} watch: calls/s, of nobody watching", calls, 98, None, "%"),
        ]
        for one in self.browsed:
            if one.worst_ms:
                found.append(Bar(f"browser, {one.what}: worst interaction", one.worst_ms, INP_MS, None, "ms"))
        return found

    def tables(self) -> str:
        pages = [
            "| page | packed ms | plain ms | first ms | CPU ms | others wait ms | document kB | with all kB |"
        ]
        pages.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for where, measured in ((WIDE, self.wide), (TALL_NAME, self.tall)):
            for one in measured:
                cells = [one.packed_ms, one.plain_ms, one.first_ms, one.cpu_ms, one.held_up_ms]
                cells += [one.document_kb, *([] if one.whole_kb is None else [one.whole_kb])]
                pages.append(
                    f"| {where}: `{one.path}` | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |"
                )
        watched = ["| who watches | CPU % | CPU each, ms/s | calls/s | p50 ms | p99 ms | kB/s to each |"]
        watched.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        nobody = self.watched[0]
        for seen in self.watched:
            who = f"{seen.number} on `/ui/live/{seen.page}`" if seen.number else "nobody"
            each_ms = (seen.cpu_s - nobody.cpu_s) * 1000 / max(1, seen.number)
            watched.append(
                f"| {who} | {100 * seen.cpu_s:.0f} | {each_ms:.2f} | {seen.calls_per_s:.0f} |"
                f" {seen.p50_ms:.2f} | {seen.p99_ms:.2f} | {seen.sent_kb:.1f} |"
            )
        told = f"{CALLS_PER_S} calls/s are asked for, and one server restarts each second:"
        return "\n\n".join(["\n".join(pages), told, "\n".join(watched), trace.table(self.browsed)])


def measure(directory: Path, seats: Seats, trace_file: Path | None = None) -> Found:
    """All of it, one after the other; about a minute and a half."""
    with serving(directory, "wide", seats, SERVERS, TOOLS_EACH, records=RECORDS) as (run, url):
        wide = _pages(run, url, PAGES)
        watched = _watched(run, url)
        browsed = trace.browse(url, WIDE, SERVERS * TOOLS_EACH, trace_file)
        browsed += trace.watch_servers(
            url, f"{SERVERS} servers, one restarts each second", partial(_flap, url)
        )
    with serving(directory, "tall", seats, 1, TALL) as (run, url):
        tall = _pages(run, url, TALL_PAGES)
        browsed += trace.browse(url, TALL_NAME, TALL, None)
    return Found(wide, tall, watched, browsed)


@contextlib.contextmanager
def serving(
    directory: Path, name: str, seats: Seats, servers: int, tools_each: int, *, records: int = 0
) -> Iterator[tuple[Started, str]]:
    """A gateway whose servers are all ready, with so many calls of the last hour on record; and its URL."""
    command = [*ways.upstream_command(seats), "--tools", str(tools_each - 3), "--words", str(WORDS)]
    commands = {f"s{number:02}": command for number in range(servers)}
    if records:
        with ways.serving(directory, name, seats, {}) as (run, url):  # makes the tables
            wait_for(run, url, 0)
        _fill(directory / f"{name}-state", sorted(commands), records)
    with ways.serving(directory, name, seats, commands) as (run, url):
        wait_for(run, url, servers)
        yield run, url


def wait_for(run: Started, url: str, servers: int) -> None:
    """Until so many servers are ready.

    Raises: RuntimeError with the end of the log when they never are.
    """
    until = time.monotonic() + READY_TIMEOUT_S
    while run.process.poll() is None and time.monotonic() < until:
        try:
            ready = json.loads(Reader(url).fetch("/ready").text)["servers"].get("ready", 0)
        except OSError:
            ready = -1
        if ready == servers:
            return
        time.sleep(0.05)
    raise RuntimeError(f"the servers are not ready\n{run.tail()}")


def _fill(state: Path, servers: list[str], records: int) -> None:
    """Calls as they are after an hour of work: of all servers, a few of them wrong."""
    (file,) = state.rglob("gateway.sqlite3")
    now = time.time()
    rows = (
        (
            now - 3_500 * (1 - number / records),
            servers[number * 7 % len(servers)],
            f"tool_{number % 47:03}",
            "ok" if number % 29 else "tool_error",
            0.001 + number % 97 / 1000,
        )
        for number in range(records)
    )
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany(
            "INSERT INTO calls (started, caller, face, server, tool, outcome, duration_s, request_bytes,"
            " response_bytes) VALUES (?, 'local', 'rest', ?, ?, ?, ?, 40, 400)",
            rows,
        )


# ---- pages -----------------------------------------------------------------------------------------------


class Reader:
    """Reads pages as a browser does, over one connection that is kept."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=ANSWER_TIMEOUT_S
        )

    def get(self, path: str, encoding: str = "gzip") -> tuple[bytes, str]:
        """A body as it came, and how it is encoded.

        Raises: RuntimeError for anything but 200.
        """
        self._connection.request("GET", path, headers={"accept": "text/html", "accept-encoding": encoding})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}: {body[:200]!r}")
        return body, answer.getheader("content-encoding", "")

    def fetch(self, path: str) -> File:
        body, encoding = self.get(path)
        plain = gzip.decompress(body) if encoding == "gzip" else body
        return File(len(body), plain.decode("utf-8", "ignore"))

    def time_ms(self, path: str, encoding: str) -> float:
        """To the last byte."""
        began_s = time.perf_counter()
        self.get(path, encoding)
        return (time.perf_counter() - began_s) * 1000


def _pages(run: Started, url: str, paths: tuple[str, ...]) -> list[Page]:
    reader, found = Reader(url), []
    for path in paths:
        first_ms = reader.time_ms(path, "gzip")
        taken_ms: dict[str, list[float]] = {"gzip": [], "identity": []}
        before = cpu_of([run.pid])
        for _ in range(TIMES):
            for encoding, taken in taken_ms.items():
                taken.append(reader.time_ms(path, encoding))
        spent = cpu_of([run.pid]).since(before)
        page = Page(
            path,
            median(taken_ms["gzip"]),
            median(taken_ms["identity"]),
            first_ms,
            spent.total_s * 1000 / TIMES / len(taken_ms),
            uvloop.run(_held_up(url, path)),
            reader.fetch(path).packed / 1000,
            None if "/rows" in path else sum(first_visit(path, reader.fetch).values()) / 1000,
        )
        print(page, file=sys.stderr, flush=True)
        found.append(page)
    return found


async def _held_up(url: str, path: str) -> float:
    """The longest wait of a small request while the page is made; the median over `TIMES` pages."""
    target = Target("rest", url)
    pinging, paging = Connection(), Paging()
    await pinging.open(target)
    await paging.open(target)
    host = urlsplit(url).netloc
    ping = f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    page = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n\r\n".encode()
    )
    longest_ms = []
    for _ in range(TIMES):
        waits_ms = []
        made = asyncio.ensure_future(paging.exchange(page))
        while not made.done():
            began_s = time.perf_counter()
            await pinging.exchange(ping)
            waits_ms.append((time.perf_counter() - began_s) * 1000)
            await asyncio.sleep(PROBE_EVERY_S)
        if (await made)[0] != 200:
            raise RuntimeError(f"{path} was answered {made.result()[0]}")
        longest_ms.append(max(waits_ms))
    pinging.close()
    paging.close()
    return median(longest_ms)


class Paging(Connection):
    """A connection for answers that may be large."""


# ---- watchers --------------------------------------------------------------------------------------------


class Watcher(asyncio.Protocol):
    """Somebody with a page open; counts what it is sent and looks at none of it."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.received = 0
        self.let_in = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 200"):
            self.let_in.set()
        self.received += len(data)

    def close(self) -> None:
        self._transport.abort()


def _watched(run: Started, url: str) -> list[Watched]:
    found = [uvloop.run(_watch(run, url, "servers", 0))]
    for number in WATCHERS:
        for page in WATCHED:
            found.append(uvloop.run(_watch(run, url, page, number)))
            print(found[-1], file=sys.stderr, flush=True)
    again = uvloop.run(_watch(run, url, "servers", 0))
    numbers = {
        name: (getattr(found[0], name) + getattr(again, name)) / 2
        for name in ("cpu_s", "calls_per_s", "p50_ms", "p99_ms")
    }
    found[0] = replace(found[0], **numbers)
    return found


async def _watch(run: Started, url: str, page: str, number: int) -> Watched:
    target = Target("rest", f"{url}/api/tools/s00/echo")
    loop = asyncio.get_running_loop()
    host, port = target.address
    request = (
        f"GET /ui/live/{page} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    watchers = []
    for _ in range(number):
        _, watcher = await loop.create_connection(partial(Watcher, request), host, port)
        watchers.append(watcher)
    latencies_ns: list[int] = []
    lanes = [asyncio.create_task(_lane(target, at, latencies_ns)) for at in range(LANES)]
    flapping = asyncio.create_task(_flap(url))
    async with asyncio.timeout(READY_TIMEOUT_S):
        for watcher in watchers:
            await watcher.let_in.wait()
    await asyncio.sleep(SETTLE_S)
    own = [run.pid]
    received = sum(watcher.received for watcher in watchers)
    first, began_s, before = len(latencies_ns), time.perf_counter(), cpu_of(own)
    await asyncio.sleep(WATCH_S)
    spent: Cpu = cpu_of(own).since(before)
    window_s = time.perf_counter() - began_s
    counted = sorted(latencies_ns[first:])
    sent = sum(watcher.received for watcher in watchers) - received
    for task in (*lanes, flapping):
        if task.done():
            await task  # it ended, so it failed
        task.cancel()
    await asyncio.gather(*lanes, flapping, return_exceptions=True)
    for watcher in watchers:
        watcher.close()
    await asyncio.sleep(SETTLE_S / 3)
    return Watched(
        page,
        number,
        spent.total_s / window_s,
        len(counted) / window_s,
        quantile_ms(counted, 0.5),
        quantile_ms(counted, 0.99),
        sent / 1000 / window_s / max(1, number),
    )


async def _lane(target: Target, at: int, latencies_ns: list[int]) -> None:
    """Its share of the calls, each at its time; one that had to wait for the one before is late by that."""
    connection = Connection()
    await connection.open(target)
    request = target.request(b'{"text":"watched"}')
    every_ns = LANES * 1_000_000_000 // CALLS_PER_S
    due_ns = time.perf_counter_ns() + at * every_ns // LANES
    try:
        while True:
            wait_ns = due_ns - time.perf_counter_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
                from_ns = time.perf_counter_ns()  # a timer that is late is this process's fault
            else:
                from_ns = due_ns
            status, _, body = await connection.exchange(request)
            if status != 200 or b"watched" not in body:
                raise RuntimeError(f"a call was answered {status}: {body[:200]!r}")
            latencies_ns.append(time.perf_counter_ns() - from_ns)
            due_ns += every_ns
    finally:
        connection.close()


async def _flap(url: str) -> None:
    last = f"s{SERVERS - 1:02}"
    target = Target("rest", f"{url}/api/servers/{last}/restart")
    connection = Connection()
    await connection.open(target)
    try:
        while True:
            status, _, body = await connection.exchange(target.request(b""))
            if status >= 300:
                raise RuntimeError(f"a restart was answered {status}: {body[:200]!r}")
            await asyncio.sleep(FLAP_EVERY_S)
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="keep what Chromium traced, for its devtools"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, too
    seats = Seats.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="bench-pages-") as directory:
        seats.sit()
        found = measure(Path(directory), seats, arguments.trace)
    print(f"Pages, {describe()['cpu']}, {describe()['cores']} cores\n")
    print(f"{bar_table(found.bars())}\n\n{found.tables()}")


if __name__ == "__main__":
    main()
