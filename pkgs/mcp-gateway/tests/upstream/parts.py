"""What stands around an upstream in its tests: surroundings, a server in this process, bounded waits.

`Stage` runs real upstreams, over the real link or over `FakeServer`, which answers in the same turn of
the event loop or when the test says so: races are arranged, never hoped for.
"""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Raw

from mcp_gateway.catalog import Tool
from mcp_gateway.config.model import ServerConfig
from mcp_gateway.errors import CallCancelled, GatewayError, Kind
from mcp_gateway.upstream.client import NO_ASKS
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.upstream.forwarded import NO_HEADERS
from mcp_gateway.upstream.gate import Gate
from mcp_gateway.upstream.lifecycle import Ended, Start, State
from mcp_gateway.upstream.link import Peer
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.process import MARKER, Exit, Nursery
from mcp_gateway.upstream.stance import SHARED, SHARED_STANCE, Scope, Stance
from mcp_gateway.upstream.stdio import Spawn
from mcp_gateway.upstream.upstream import Surroundings, Upstream
from mcp_gateway.wire.envelope import Params, encode, notification, read_head, request_line
from mcp_gateway.wire.revisions import Era
from tests.harness import HOSTILE, has_ended

# What the gateway itself was started with; far less than the test has.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nowhere", "SECRET_OF_OURS": "hidden"}
CLIENT = {"name": "gateway 100%d", "version": "0"}
WITHIN_S = 10.0  # no wait of a test is longer; what it waits for takes milliseconds
POLL_S = 0.005
DYING_S = 1.0  # SIGKILL has been sent; on a busy machine it takes a turn of the scheduler to die of it
T = TypeVar("T")


async def soon(condition: Callable[[], T | None], within_s: float) -> T | None:
    """Polls until `condition` gives something true or the time is up; what it gave last."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while True:
        value = condition()
        if value or clock() >= deadline:
            return value
        await asyncio.sleep(POLL_S)


async def until(condition: Callable[[], T | None], what: str, within_s: float = WITHIN_S) -> T:
    """As `soon`, but fails by name when it never comes true."""
    value = await soon(condition, within_s)
    assert value, f"not within {within_s:g} s: {what}"
    return value


async def gone(pid: int, within_s: float = WITHIN_S) -> None:
    await until(lambda: has_ended(pid), f"process {pid} ends", within_s)


def started_by(instance: str) -> dict[int, str]:
    """The living processes that carry a nursery's marker, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARKER}={instance}/".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended while we looked, or is not ours to look at
    return found


ALL_ASKS = b'{"elicitation":{},"roots":{},"sampling":{}}'


def exchange_of(
    tool: str,
    arguments: dict[str, Any] | None = None,
    *,
    caller: str = "local",
    idle_s: float = WITHIN_S,
    hard_s: float = 3 * WITHIN_S,
    meta: bytes | None = None,
    on_end: Callable[[Exchange], None] | None = None,
    headers: Mapping[bytes, bytes] = NO_HEADERS,
    era: Era = Era.HANDSHAKE,
    capabilities: bytes = NO_ASKS,
) -> Exchange:
    """One `tools/call`, as `gateway/calls.py` makes it."""
    loop = asyncio.get_running_loop()
    params: dict[str, Any] = {"name": Raw(encode(tool)), "arguments": Raw(encode(arguments or {}))}
    if meta is not None:
        params["_meta"] = Raw(meta)
    return Exchange(
        "tools/call",
        params,
        loop=loop,
        caller=caller,
        now=loop.time(),
        idle_s=idle_s,
        hard_s=hard_s,
        on_end=on_end,
        headers=headers,
        era=era,
        capabilities=capabilities,
    )


async def result_of(exchange: Exchange) -> dict[str, Any]:
    """Waits for the end of a call; raises what it ended with."""
    async with asyncio.timeout(3 * WITHIN_S):
        result = json.loads(bytes(await exchange.answer()))
    assert isinstance(result, dict)
    return result


def text_of(result: dict[str, Any]) -> str:
    text = result["content"][0]["text"]
    assert isinstance(text, str)
    return text


async def failure_of(exchange: Exchange, kind: Kind) -> GatewayError:
    """Waits for the end of a call that must fail, with this kind."""
    try:
        result = await result_of(exchange)
    except GatewayError as caught:
        problem = caught
    else:
        raise AssertionError(f"it succeeded: {result}")
    assert problem.kind is kind, f"{problem.kind}: {problem.detail}"
    return problem


@dataclass
class Memory:
    """The eras that are remembered, and in which order that happened."""

    known: dict[str, frozenset[str]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def eras(self, fingerprint: str) -> frozenset[str] | None:
        return self.known.get(fingerprint)

    async def remember_eras(self, fingerprint: str, eras: frozenset[str]) -> None:
        self.known[fingerprint] = eras
        self.events.append(f"remember {' '.join(sorted(eras))}")

    async def forget_eras(self, fingerprint: str) -> None:
        self.known.pop(fingerprint, None)
        self.events.append("forget")


@dataclass(frozen=True)
class Command:
    command: str
    args: tuple[str, ...]
    env: dict[str, str]
    cwd: str | None
    url: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Stage:
    """Upstreams on their way through life, watched from outside."""

    def __init__(self, nursery: Nursery, spool_dir: Path) -> None:
        self.memory = Memory()
        self.histories: dict[Upstream, list[State]] = {}
        self.changes = 0
        self._tasks: dict[Upstream, asyncio.Task[None]] = {}
        self._bell = asyncio.Event()
        self._numbers = itertools.count(1)
        self.around = Surroundings(
            nursery, self._resolve, self.memory, spool_dir, CLIENT, self._changed, Gate(), "this-gateway"
        )

    async def _resolve(self, config: ServerConfig) -> Command:
        env = {name: str(value) for name, value in config.env.items()}
        headers = {name: str(value) for name, value in config.headers.items()}
        return Command(config.command or "", config.args, env, config.cwd, config.url, headers)

    def _changed(self, upstream: Upstream) -> None:
        self.changes += 1
        history = self.histories[upstream]
        if not history or history[-1] is not upstream.life.state:
            history.append(upstream.life.state)
        self._bell.set()

    def make(
        self,
        command: str | None,
        *args: str,
        stance: Stance = SHARED_STANCE,
        scope: Scope = SHARED,
        **config: Any,
    ) -> Upstream:
        """An upstream with its owner at work; it is off until told otherwise."""
        name = f"s{next(self._numbers)}"
        upstream = Upstream(
            ServerConfig(**{"id": name, "title": name, "command": command, "args": args, **config}),
            self.around,
            scope,
            stance,
        )
        self.histories[upstream] = []
        self._tasks[upstream] = asyncio.create_task(upstream.run(), name=name)
        return upstream

    def hostile(self, mode: str, *options: str, **config: Any) -> Upstream:
        """A real process that misbehaves in one way, started."""
        upstream = self.make(sys.executable, "-I", "-S", str(HOSTILE), mode, *options, **config)
        upstream.tell(Start())
        return upstream

    async def fake(self, **config: Any) -> Upstream:
        """An upstream of the test's `FakeServer`, ready."""
        upstream = self.make("fake", **config)
        upstream.tell(Start())
        await self.reaches(upstream, State.READY)
        return upstream

    async def ready(self, mode: str, *options: str, **config: Any) -> Upstream:
        upstream = self.hostile(mode, *options, **config)
        await self.reaches(upstream, State.READY)
        return upstream

    async def reaches(self, upstream: Upstream, *states: State, within_s: float = WITHIN_S) -> None:
        try:
            async with asyncio.timeout(within_s):
                while upstream.life.state not in states:
                    self._bell.clear()
                    await self._bell.wait()
        except TimeoutError:
            told = f"{upstream.life}; was {self.histories[upstream]}; {self.log_of(upstream)[-5:]}"
            raise AssertionError(f"not within {within_s:g} s: {states}; it is {told}") from None

    @staticmethod
    def log_of(upstream: Upstream) -> list[str]:
        return [line.text for line in upstream.logs.tail(100)]

    @staticmethod
    def call(upstream: Upstream, tool: str, arguments: dict[str, Any] | None = None, **more: Any) -> Exchange:
        exchange = exchange_of(tool, arguments, **more)
        upstream.submit(exchange)
        return exchange

    @staticmethod
    def take_back(upstream: Upstream, exchange: Exchange, reason: str) -> None:
        """Cancels a call, as its caller does."""
        upstream.requests.abandon(exchange, CallCancelled(reason), reason)

    async def stats(self, upstream: Upstream) -> dict[str, Any]:
        """What a hostile server says it has seen so far."""
        seen = json.loads(text_of(await result_of(self.call(upstream, "stats"))))
        assert isinstance(seen, dict)
        return seen

    async def close(self) -> None:
        for upstream in self._tasks:
            upstream.retire()
        if self._tasks:
            done, late = await asyncio.wait(self._tasks.values(), timeout=WITHIN_S)
            for task in late:
                task.cancel()
            assert not late, f"owners that do not end: {late}"
            for task in done:
                task.result()


class FakeLink:
    """One life of a `FakeServer`; stands where `StdioLink` does."""

    def __init__(self, server: "FakeServer", peer: Peer, logs: LogRing, cap_bytes: int) -> None:
        self.server = server
        self.peer = peer
        self.pid: int | None = None
        self.lost_because: Ended | None = None
        self.exit: Exit | None = None
        self.has_spoken = False
        self.closed = False
        self.sent: list[dict[str, Any]] = []
        self.forwarded: dict[int, Mapping[str, str] | None] = {}
        server.links.append(self)

    async def open(self) -> None:
        self.pid = 1_000_000 + len(self.server.links)

    def request(
        self, number: int, method: str, params: Params, forwarded: Mapping[str, str] | None = None
    ) -> None:
        self.forwarded[number] = forwarded
        self.send(request_line(number, method, params))

    def cancel(self, number: int, reason: str) -> None:
        self.notify("notifications/cancelled", {"requestId": number, "reason": reason})

    def notify(self, method: str, params: Params | None = None) -> None:
        self.send(notification(method, params) + b"\n")

    def answer(self, response: bytes) -> None:
        self.send(response + b"\n")

    def settle(self, number: int) -> None: ...

    def agree(self, revision: str) -> None: ...

    def learn(self, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        return tools

    def send(self, line: bytes) -> None:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert not self.closed, "nothing is sent into a link that is closed"
        message = json.loads(line)
        self.sent.append(message)
        asyncio.get_running_loop().call_soon(self._take, message)

    def _take(self, message: dict[str, Any]) -> None:
        if not self.closed and self.lost_because is None and "method" in message and "id" in message:
            self.server.take(self, message["id"], message["method"], message.get("params", {}))

    def say(self, message: bytes | dict[str, Any]) -> None:
        """One message of the server, now; two in a row are two lines of one read."""
        line = message if isinstance(message, bytes) else encode({"jsonrpc": "2.0", **message})
        self.has_spoken = True
        self.peer.message(read_head(line))

    def reply(self, request_id: int, result: dict[str, Any]) -> None:
        self.say({"id": request_id, "result": result})

    def refuse(self, request_id: int, code: int, message: str = "no", **data: Any) -> None:
        self.say({"id": request_id, "error": {"code": code, "message": message, "data": data}})

    def mention(self, method: str, **params: Any) -> None:
        self.say({"method": method, "params": params})

    def break_down(self, reason: str) -> None:
        assert self.lost_because is None
        self.lost_because = Ended(reason)
        self.peer.lost(self.lost_because)

    def check(self, now: float) -> None: ...

    async def close(self) -> None:
        await self.server.closing()
        self.closed = True

    def said(self, method: str) -> list[dict[str, Any]]:
        """What was sent to this life of the server, of one method."""
        return [message for message in self.sent if message.get("method") == method]


Answer = Callable[[FakeLink, int, dict[str, Any]], None]


async def _at_once() -> None: ...


class FakeServer:
    """A server of the handshake era in this process. `answers` replaces what it does for a method;
    calls of tools wait in `calls` until the test answers them."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.calls: list[tuple[FakeLink, int, dict[str, Any]]] = []
        self.tools = ["echo"]
        self.answers: dict[str, Answer] = {}
        self.closing: Callable[[], Awaitable[None]] = _at_once  # what the end of its process takes

    def link(self, _spawn: Spawn, peer: Peer, logs: LogRing, spool_dir: Path, cap_bytes: int) -> FakeLink:
        return FakeLink(self, peer, logs, cap_bytes)

    @property
    def now(self) -> FakeLink:
        return self.links[-1]

    def take(self, link: FakeLink, request_id: int, method: str, params: dict[str, Any]) -> None:
        answer = self.answers.get(method)
        if answer is not None:
            answer(link, request_id, params)
        elif method == "initialize":
            link.reply(request_id, self.greeting())
        elif method == "tools/list":
            link.reply(request_id, self.tool_list())
        elif method == "ping":
            link.reply(request_id, {})
        elif method == "tools/call":
            self.calls.append((link, request_id, params))
        else:
            link.refuse(request_id, -32601, f"no {method}")

    def greeting(self, revision: str = "2025-11-25") -> dict[str, Any]:
        return {
            "protocolVersion": revision,
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "fake", "version": "1"},
        }

    def tool_list(self) -> dict[str, Any]:
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]}
