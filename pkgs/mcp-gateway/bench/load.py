"""The load generator: tool calls over raw keep-alive HTTP/1.1, one request in flight on each connection.

Owns the client side of a call: writing the request, reading the answer (JSON, or the events of a stream), and
judging it. An answer counts only if it carries the text that its own request sent, so a crossed, cut or stale
one is an error. Knows no gateway by name: a `Target` is a URL and the face it speaks.
`run.py` and `kill.py` use it; by hand: `python bench/load.py --mcp http://127.0.0.1:8085/mcp --in-flight 64`.
"""

import argparse
import asyncio
import gc
import itertools
import json
import math
import re
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import uvloop

from bench.machine import Cpu

REVISION = "2025-11-25"
MODERN = "2026-07-28"  # without sessions: every request says all of itself
ANSWER_TIMEOUT_S = 30.0  # longer than any peer needs under load; past it the answer is missing
ANSWER_BYTES_MAX = 1 << 20  # the answers of a load are small; anything else is a server gone wrong
WARM_UP_S = 0.5
FIRST_TEXT = 1_000_000_000  # ten digits from the first call to the last: every request has one length
FIRST_ID = 5_000_000_000  # ids differ from texts, so that finding the one does not prove the other

Face = Literal["rest", "mcp", "modern"]
Answer = tuple[int, bytes, bytes]  # status, head, body
Meter = Callable[[], Cpu]


class BadAnswer(Exception):
    """The other side answered something that a load cannot go on with."""


CLIENT = {"name": "bench", "version": "1"}
META = "io.modelcontextprotocol/"


@dataclass(frozen=True)
class Target:
    """Where calls go: for REST the URL of one tool, for MCP the endpoint and how its tool's name ends.

    "mcp" opens sessions, as all revisions before 2026-07-28 do; "modern" is that revision. `declares` are
    capabilities of the client.
    """

    face: Face
    url: str
    tool: str = "echo"
    declares: tuple[str, ...] = ()

    @property
    def capabilities(self) -> dict[str, Any]:
        return {name: {} for name in self.declares}

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def request(
        self, body: bytes, *, method: str = "POST", session: str = "", about: tuple[str, str] = ("", "")
    ) -> bytes:
        """`about` is the message's method and the name in its parameters; modern requests repeat them."""
        host, port = self.address
        parts = urlsplit(self.url)
        head = [
            f"{method} {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1",
            f"Host: {host}:{port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if self.face == "mcp":
            head += ["Accept: application/json, text/event-stream", f"MCP-Protocol-Version: {REVISION}"]
        elif self.face == "modern":
            head += ["Accept: application/json, text/event-stream", f"MCP-Protocol-Version: {MODERN}"]
            head += [
                f"{name}: {value}"
                for name, value in zip(("Mcp-Method", "Mcp-Name"), about, strict=True)
                if value
            ]
        if session:
            head.append(f"Mcp-Session-Id: {session}")
        return "\r\n".join([*head, "", ""]).encode() + body


# ---- reading an answer -----------------------------------------------------------------------------------


def read_answer(data: bytes) -> Answer | None:
    """The one whole answer in `data`, or None while part of it is still under way.

    Raises: BadAnswer for what is not one HTTP/1.1 answer of bounded size.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end]
    lower = head.lower()
    if not lower.startswith(b"http/1.1 "):
        raise BadAnswer("not HTTP/1.1")
    status, start = int(lower[9:12]), end + 4
    at = lower.find(b"\r\ncontent-length:")
    if at >= 0:
        stop = lower.find(b"\r\n", at + 17)
        total = start + int(lower[at + 17 : stop] if stop >= 0 else lower[at + 17 :])
    elif b"\r\ntransfer-encoding: chunked" in lower:
        body = _chunks(data, start)
        return None if body is None else (status, head, body)
    elif status in (202, 204):
        total = start
    else:
        raise BadAnswer("an answer without a length")
    if len(data) == total:
        return status, head, data[start:]
    if len(data) > total or total > ANSWER_BYTES_MAX:
        raise BadAnswer("not the size of one answer")
    return None


def _chunks(data: bytes, at: int) -> bytes | None:
    body: list[bytes] = []
    while (eol := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:eol].partition(b";")[0], 16)
        end = eol + 2 + size
        if end > ANSWER_BYTES_MAX:
            raise BadAnswer("not the size of one answer")
        if len(data) < end + 2:
            return None
        if size == 0:
            return b"".join(body)
        body.append(data[eol + 2 : end])
        at = end + 2
    return None


def message_of(answer: Answer) -> Any:
    """The JSON in an answer: its body, or the data of the last event that has some."""
    status, head, body = answer
    try:
        if b"\r\ncontent-type: text/event-stream" in head.lower():
            body = [line[5:] for line in body.splitlines() if line[5:].strip() and line.startswith(b"data:")][
                -1
            ]
        return json.loads(body)
    except (ValueError, IndexError) as error:
        raise BadAnswer(f"{status} without JSON: {body[:200]!r}") from error


# ---- one connection --------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One keep-alive connection; hands each whole answer to `on_answer`, and its end to `on_lost`."""

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None

    async def open(self, target: Target) -> None:
        host, port = target.address
        await asyncio.get_running_loop().create_connection(lambda: self, host, port)

    async def exchange(self, request: bytes, timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
        """Raises: ConnectionError (a bad answer included), TimeoutError."""
        self._waiting = asyncio.get_running_loop().create_future()
        self.send(request)
        async with asyncio.timeout(timeout_s):
            return await self._waiting

    def send(self, request: bytes) -> None:
        if self._transport is None:
            self.on_lost("connection lost")
        else:
            self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def on_answer(self, answer: Answer) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def on_lost(self, reason: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError(reason))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's stream transports are not subclasses of asyncio.Transport, though they do all it says.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.on_lost("connection lost")

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
            self._data = b""
        try:
            answer = read_answer(data)
        except (BadAnswer, ValueError) as error:
            self.on_lost(f"bad answer: {error}")
            self.close()
            return
        if answer is None:
            self._data = data
        else:
            self.on_answer(answer)


async def ask(
    connection: Connection,
    target: Target,
    method: str,
    params: Mapping[str, Any] | None = None,
    session: str = "",
) -> Answer:
    """One request by MCP and its answer.

    Raises: BadAnswer for anything but a result; ConnectionError, TimeoutError.
    """
    request = target.request(message(target, method, params), session=session, about=(method, ""))
    answer = await connection.exchange(request)
    if answer[0] != 200 or "result" not in message_of(answer):
        raise BadAnswer(f"{method} was answered {answer[0]} {answer[2][:200]!r}")
    return answer


def message(target: Target, method: str, params: Mapping[str, Any] | None = None, id: int = 1) -> bytes:
    said = dict(params or {})
    if target.face == "modern":
        about = {"protocolVersion": MODERN, "clientInfo": CLIENT, "clientCapabilities": target.capabilities}
        said["_meta"] = {META + name: value for name, value in about.items()}
    body = {"jsonrpc": "2.0", "id": id, "method": method, "params": said}
    return json.dumps(body, separators=(",", ":")).encode()


async def open_session(connection: Connection, target: Target) -> str:
    """Its id; empty where the server has none."""
    asked = {"protocolVersion": REVISION, "capabilities": target.capabilities, "clientInfo": CLIENT}
    _, head, _ = await ask(connection, target, "initialize", asked)
    found = re.search(rb"(?i)\r\nmcp-session-id: *(\S+)", head)
    session = found[1].decode() if found else ""
    notice = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    await connection.exchange(target.request(notice, session=session))
    return session


# ---- a load ----------------------------------------------------------------------------------------------


@dataclass
class Book:
    """What all lanes of one load write into."""

    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    latencies_ns: "array[int]" = field(default_factory=lambda: array("q"))
    errors: Counter[str] = field(default_factory=Counter)
    is_closing: bool = False


class Lane(Connection):
    """A connection under load: each answer sends the next call in the same turn of the loop."""

    def __init__(self, target: Target, book: Book) -> None:
        super().__init__()
        self._target, self._book, self._session = target, book, ""
        self._template = self._text = self._id = b""
        self._sent_ns = 0
        self._over: asyncio.Future[None] | None = None

    async def greet(self, tool: str) -> str:
        """Opens the connection and, where there are such, a session; gives the tool's exposed name."""
        await self.open(self._target)
        if self._target.face == "rest":
            return tool
        if self._target.face == "mcp":
            self._session = await open_session(self, self._target)
        listed = message_of(await ask(self, self._target, "tools/list", session=self._session))
        names = [str(entry["name"]) for entry in listed["result"]["tools"]]
        names = [name for name in names if name.endswith(tool)]
        if not names:
            raise BadAnswer(f"no tool whose name ends in {tool}")
        return min(names, key=len)

    def run(self, tool: str) -> "asyncio.Future[None]":
        """Starts to call; the future is done when the book is closing and the last answer is in."""
        self._over = asyncio.get_running_loop().create_future()
        # Built once, with numbers of full length: a call then costs one formatting.
        arguments = {"text": f"call-{FIRST_TEXT}"}
        if self._target.face == "rest":
            body = json.dumps(arguments, separators=(",", ":")).encode()
        else:
            params = {"name": tool, "arguments": arguments}
            body = message(self._target, "tools/call", params, id=FIRST_ID)
        request = self._target.request(body, session=self._session, about=("tools/call", tool))
        request = request.replace(b"%", b"%%")
        self._template = request.replace(b"%d" % FIRST_ID, b"%b").replace(b"call-%d" % FIRST_TEXT, b"%b")
        self._next()
        return self._over

    def _next(self) -> None:
        number = next(self._book.numbers)
        self._text = b"call-%d" % (FIRST_TEXT + number)
        self._id = b"%d" % (FIRST_ID + number)
        parts = (self._text,) if self._target.face == "rest" else (self._id, self._text)
        request = self._template % parts
        self._sent_ns = time.perf_counter_ns()
        self.send(request)

    def on_answer(self, answer: Answer) -> None:
        if self._over is None:
            super().on_answer(answer)
            return
        took_ns = time.perf_counter_ns() - self._sent_ns
        if self._is_good(answer):
            self._book.latencies_ns.append(took_ns)
        else:
            # Without its numbers, so that alike errors count as one and the book stays small.
            text = re.sub(r"[0-9a-z]*[0-9][0-9a-z]{4,}", "#", answer[2][:200].decode(errors="replace"))
            self._book.errors[f"{answer[0]} {text}"] += 1
        if self._book.is_closing:
            self._end()
        else:
            self._next()

    def _is_good(self, answer: Answer) -> bool:
        status, _, body = answer
        if status != 200 or self._text not in body or b'"isError":true' in body:
            return False
        return self._target.face == "rest" or (self._id in body and b'"result":' in body)

    def on_lost(self, reason: str) -> None:
        if self._over is None:
            super().on_lost(reason)
        elif not self._over.done():
            self._book.errors[reason] += 1
            self._end()

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def leave(self) -> None:
        """Ends the session, so that a gateway does not keep those of one cell through the next."""
        self._over = None
        if self._session:
            await self.exchange(self._target.request(b"", method="DELETE", session=self._session))
        self.close()


@dataclass(frozen=True)
class Sample:
    """One load: what was answered inside the window, and what each meter counted in it."""

    in_flight: int
    calls: int
    window_s: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]
    cpu: dict[str, Cpu]

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.window_s

    def cpu_ms_per_call(self, meter: str) -> float:
        return self.cpu[meter].total_s * 1000 / max(1, self.calls)


async def load(
    target: Target,
    *,
    in_flight: int,
    duration_s: float,
    meters: Mapping[str, Meter],
    warm_up_s: float = WARM_UP_S,
) -> Sample:
    """Keeps `in_flight` calls under way; counts those answered between the warm-up and the end.

    Raises: BadAnswer, ConnectionError, TimeoutError when not even the first answers come.
    """
    book = Book()
    lanes = [Lane(target, book) for _ in range(in_flight)]
    names = [await lane.greet(target.tool) for lane in lanes]
    ends = [lane.run(name) for lane, name in zip(lanes, names, strict=True)]
    await asyncio.sleep(warm_up_s)
    first, opened_s = len(book.latencies_ns), time.perf_counter()
    before = {name: meter() for name, meter in meters.items()}
    await asyncio.sleep(duration_s)
    after = {name: meter() for name, meter in meters.items()}
    last, closed_s = len(book.latencies_ns), time.perf_counter()
    book.is_closing = True
    _, missing = await asyncio.wait(ends, timeout=ANSWER_TIMEOUT_S)
    if missing:
        book.errors["no answer"] += len(missing)
    for lane, end in zip(lanes, ends, strict=True):
        if end in missing:
            lane.close()
        else:
            await lane.leave()
    latencies_ns = sorted(book.latencies_ns[first:last])
    return Sample(
        in_flight=in_flight,
        calls=len(latencies_ns),
        window_s=closed_s - opened_s,
        p50_ms=quantile_ms(latencies_ns, 0.50),
        p99_ms=quantile_ms(latencies_ns, 0.99),
        errors=dict(book.errors.most_common(5)),
        cpu={name: after[name].since(before[name]) for name in meters},
    )


async def first_call(target: Target) -> None:
    """One call on a connection of its own, to see whether a gateway is ready.

    Raises: BadAnswer, ConnectionError, TimeoutError.
    """
    book = Book(is_closing=True)
    lane = Lane(target, book)
    try:
        name = await lane.greet(target.tool)
        await asyncio.wait_for(lane.run(name), ANSWER_TIMEOUT_S)
        await lane.leave()
    finally:
        lane.close()
    if book.errors:
        raise BadAnswer(next(iter(book.errors)))


def quantile_ms(sorted_ns: list[int], share: float) -> float:
    if not sorted_ns:
        return math.nan
    return sorted_ns[min(len(sorted_ns) - 1, int(len(sorted_ns) * share))] / 1_000_000


def measure(target: Target, **how: Any) -> Sample:
    """One `load` in a loop of its own, without pauses of the garbage collector of this process."""
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(load(target, **how))
    finally:
        gc.enable()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    face = parser.add_mutually_exclusive_group(required=True)
    face.add_argument("--rest", metavar="URL", help="the URL of the echo tool")
    face.add_argument(
        "--mcp", metavar="URL", help="the MCP endpoint, spoken to with a session for each connection"
    )
    face.add_argument("--modern", metavar="URL", help="the MCP endpoint, spoken to as 2026-07-28 has it")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    faces: tuple[Face, ...] = ("rest", "mcp", "modern")
    (target,) = (Target(face, url) for face in faces if (url := getattr(arguments, face)))
    sample = measure(target, in_flight=arguments.in_flight, duration_s=arguments.seconds, meters={})
    print(f"{sample.calls_per_s:,.0f} calls/s  p50 {sample.p50_ms:.3f} ms  p99 {sample.p99_ms:.3f} ms")
    for reason, count in sample.errors.items():
        print(f"{count} x {reason}")


if __name__ == "__main__":
    main()
