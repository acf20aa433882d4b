"""What MCP asks for beside calls: long lists, idle sessions, and streams that hear of a change.

Owns these measures and their bars; `run.py` puts them into the result, `python -m bench.beside` prints them
alone. Each has a gateway of its own: what was measured before would leave memory that is taken again.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

import uvloop

from bench import ways
from bench.load import Connection, Face, Target, message, message_of, open_session
from bench.machine import Seats, describe, rss_mb
from bench.report import Bar, bar_table

SERVERS = 5  # one may have two thousand tools
TOOLS_EACH = 500
TOOLS = SERVERS * TOOLS_EACH
FACES: tuple[Face, ...] = ("mcp", "modern")
LISTS = 100  # of each face, in turn with as many bytes from the direct server
SESSIONS = 2_000
WARM_SESSIONS = 200  # opened and closed before, so that what is made once is there
STREAMS = 1_000
CHANGES = 3
CHANGE_EVERY_S = 6.0  # the gateway asks a server for its list again after five seconds at the soonest
# The gateway waits on purpose before it asks a server for a list that changed, because changes come in
# bursts. That is no work, and not in what is judged.
WAITED_ON_PURPOSE_MS = 500.0
QUIET_S = 1.5  # until a gateway has done what sessions and streams leave it to do
TOLD_TIMEOUT_S = 30.0
WORD = {"mcp": "handshake", "modern": "modern"}


def measure(directory: Path, seats: Seats) -> list[Bar]:
    """All of it, one after the other; about a minute and a half."""
    found = []
    for part in (lists, sessions, streams):
        for bar in part(directory, seats):
            print(f"{bar.what}: {bar.text(bar.measured)}", file=sys.stderr, flush=True)
            found.append(bar)
    return found


# ---- lists -----------------------------------------------------------------------------------------------


def lists(directory: Path, seats: Seats) -> list[Bar]:
    """The time of a long list that was listed before, less that of as many bytes from the direct server."""
    command = [*ways.upstream_command(seats), "--tools", str(TOOLS_EACH - 3)]
    servers = {f"server{number}": command for number in range(SERVERS)}
    found = []
    with (
        ways.direct(directory, seats) as (direct, *_),
        ways.serving(directory, "lists", seats, servers) as (run, url),
    ):
        for number in range(SERVERS):
            ways.wait_until_ready(run, Target("rest", f"{url}/api/tools/server{number}/echo"))
        for face in FACES:
            size, list_ms, bytes_ms = uvloop.run(_lists(Target(face, f"{url}/mcp"), direct.target))
            what = f"{WORD[face]}: `tools/list` of {TOOLS:,} tools ({size / 1000:.0f} kB)"
            found += [
                Bar(f"{what}, without its transfer", list_ms - bytes_ms, 3.0, None, "ms"),
                Bar(f"{what}, with it", list_ms, None, None, "ms"),
            ]
    return found


async def _lists(target: Target, direct: Target) -> tuple[int, float, float]:
    """Bytes of the list; the medians in milliseconds of it, and of so many bytes that are there already."""
    listing, bare = await _connected(target), await _connected(direct)
    session = await open_session(listing, target) if target.face == "mcp" else ""
    request = target.request(message(target, "tools/list"), session=session, about=("tools/list", ""))
    answer = await listing.exchange(request)
    found = len(message_of(answer)["result"]["tools"])
    if found != TOOLS:
        raise RuntimeError(f"{found} tools are listed, not {TOOLS}")
    as_many = replace(direct, url=f"{direct.url}?bytes={len(answer[2])}").request(b"", method="GET")
    took_ms: dict[bytes, list[float]] = {request: [], as_many: []}
    for _ in range(LISTS):
        for connection, asked in ((listing, request), (bare, as_many)):
            began_s = time.perf_counter()
            await connection.exchange(asked)
            took_ms[asked].append((time.perf_counter() - began_s) * 1000)
    listing.close()
    bare.close()
    return len(answer[2]), median(took_ms[request]), median(took_ms[as_many])


# ---- idle sessions ---------------------------------------------------------------------------------------


def sessions(directory: Path, seats: Seats) -> list[Bar]:
    """What a session of the handshake era takes of the gateway's memory while nothing happens in it."""
    kinds = {
        "alone": ("its connection closed", False, False),
        "kept": ("its connection kept", True, False),
        "stream": ("its GET stream open", True, True),
    }
    found = []
    for name, (how, keeps, listens) in kinds.items():
        command = ways.upstream_command(seats)
        with ways.serving(directory, f"idle-{name}", seats, {"echo": command}) as (run, url):
            target = Target("mcp", f"{url}/mcp")
            # Over REST: two thousand sessions are as many as one caller may have, and this must leave none.
            ways.wait_until_ready(run, Target("rest", f"{url}/api/tools/echo/echo"))

            def memory_kb(pid: int = run.pid) -> float:
                return rss_mb([pid]) * 1000

            each_kb = uvloop.run(_idle(target, memory_kb, keeps, listens))
        found.append(Bar(f"an idle session of {SESSIONS:,}, {how}", each_kb, 12.0, 8.0, "kB"))
    return found


async def _idle(target: Target, memory_kb: Callable[[], float], keeps: bool, listens: bool) -> float:
    await (await _open_sessions(target, WARM_SESSIONS, keeps, listens))()
    before_kb = memory_kb()
    leave = await _open_sessions(target, SESSIONS, keeps, listens)
    each_kb = (memory_kb() - before_kb) / SESSIONS
    await leave()
    return each_kb


async def _open_sessions(
    target: Target, number: int, keeps: bool, listens: bool
) -> Callable[[], Awaitable[None]]:
    """Opens sessions and waits for quiet; what it gives closes them."""
    one = await _connected(target)
    opened: list[tuple[Connection, str]] = []
    for _ in range(number):
        connection = await _connected(target) if keeps else one
        session = await open_session(connection, target)
        if listens:
            connection.send(target.request(b"", method="GET", session=session))
        opened.append((connection, session))
    await asyncio.sleep(QUIET_S)

    async def leave() -> None:
        for connection, session in opened:
            if keeps:
                connection.close()
            await one.exchange(target.request(b"", method="DELETE", session=session))
        one.close()
        await asyncio.sleep(QUIET_S)

    return leave


# ---- streams ---------------------------------------------------------------------------------------------


class Listener(asyncio.Protocol):
    """One stream: when it was last told of a change. It reads no HTTP, it looks for a word."""

    def __init__(self, request: bytes, heard: "Heard") -> None:
        self._request, self._heard = request, heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if b"HTTP/1.1 200" in data:
            self._heard.opened += 1
        if b"tools/list_changed" in data:
            self._heard.note()

    def close(self) -> None:
        self._transport.abort()


class Heard:
    """What all streams of one measure have heard."""

    def __init__(self) -> None:
        self.opened = 0
        self.at_s: list[float] = []
        self.all = asyncio.Event()

    def note(self) -> None:
        self.at_s.append(time.perf_counter())
        if len(self.at_s) == STREAMS:
            self.all.set()


def streams(directory: Path, seats: Seats) -> list[Bar]:
    """From a server's word that its list changed, until the last of many clients has been told."""
    found = []
    for face in FACES:
        kind = {"mcp": "GET streams", "modern": "`subscriptions/listen` streams"}[face]
        command = [*ways.upstream_command(seats), "--grow"]
        with ways.serving(directory, f"streams-{face}", seats, {"echo": command}) as (run, url):
            target = Target(face, f"{url}/mcp")
            ways.wait_until_ready(run, target)
            told = uvloop.run(_told(target))
        last_ms = median(last for _, last in told)
        spread_ms = median(last - first for first, last in told)
        what = f"{STREAMS:,} {kind}, one list change: the last is told"
        found += [
            Bar(f"{what}, less 0.5 s waited on purpose", last_ms - WAITED_ON_PURPOSE_MS, 200.0, None, "ms"),
            Bar(f"{what}, after the first", spread_ms, None, None, "ms"),
        ]
    return found


async def _told(target: Target) -> list[tuple[float, float]]:
    """For each change, milliseconds until the first and until the last stream was told of it."""
    caller = await _connected(target)
    session = await open_session(caller, target) if target.face == "mcp" else ""
    heard, listeners = Heard(), []
    loop = asyncio.get_running_loop()
    host, port = target.address
    for _ in range(STREAMS):
        if target.face == "mcp":
            request = target.request(b"", method="GET", session=await open_session(caller, target))
        else:
            wanted = {"notifications": {"toolsListChanged": True}}
            asked = message(target, "subscriptions/listen", wanted)
            request = target.request(asked, about=("subscriptions/listen", ""))
        _, listener = await loop.create_connection(partial(Listener, request, heard), host, port)
        listeners.append(listener)
    await asyncio.sleep(QUIET_S)
    if heard.opened != STREAMS:
        raise RuntimeError(f"{heard.opened} of {STREAMS} streams were opened")
    told = []
    for number in range(CHANGES + 1):  # the first is for what is made once
        await asyncio.sleep(CHANGE_EVERY_S)
        heard.at_s, heard.all = [], asyncio.Event()
        began_s = time.perf_counter()
        grow = {"name": "echo__grow", "arguments": {"text": f"{number}"}}
        call = target.request(
            message(target, "tools/call", grow), session=session, about=("tools/call", "echo__grow")
        )
        answer = await caller.exchange(call)
        if b'"isError":false' not in answer[2]:
            raise RuntimeError(f"the list did not change: {answer[2][:200]!r}")
        async with asyncio.timeout(TOLD_TIMEOUT_S):
            await heard.all.wait()
        told.append(((heard.at_s[0] - began_s) * 1000, (heard.at_s[-1] - began_s) * 1000))
    for listener in listeners:
        listener.close()
    caller.close()
    return told[1:]


async def _connected(target: Target) -> Connection:
    connection = Connection()
    await connection.open(target)
    return connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    seats = Seats.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="bench-beside-") as directory:
        seats.sit()
        found = measure(Path(directory), seats)
    print(f"MCP beside calls, {describe()['cpu']}, {describe()['cores']} cores\n")
    print(bar_table(found))


if __name__ == "__main__":
    main()
