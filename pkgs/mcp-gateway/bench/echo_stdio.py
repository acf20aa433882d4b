"""A small, fast MCP server over stdio: the upstream that every benchmark calls.

Owns the tools (`echo`, `sleep`, `blob`) and their JSON-RPC answers, which `echo_http.py` serves too; over
stdio there can be `grow` as well, which changes the list of tools and says so.
Knows nothing of gateways. All lines that one read brings are answered with one write, and a `sleep` waits
on a heap, never in the way of another call: what a caller waits for longer than that, the gateway added.
Runs on the standard library alone; msgspec, where it is installed, makes it faster.
"""

import argparse
import heapq
import json
import os
import random
import select
import time
from collections.abc import Callable
from typing import Any

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]

READ_BYTES = 1 << 18  # several full pipes, so that a burst of calls costs one read
BLOB_BYTES_MAX = 512 << 20  # above the gateway's largest result, so that its limit can be reached
SLEEP_MS_MAX = 3_600_000
MODERN = "2026-07-28"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
REVISIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")


def _tool(name: str, does: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": [next(iter(parameters))]}
    return {"name": name, "description": does, "inputSchema": schema}


TOOLS = [
    _tool("echo", "Answer with the text that was sent.", text="string"),
    _tool("sleep", "Answer with the text after that many milliseconds.", ms="integer", text="string"),
    _tool("blob", "Answer with a text of that many bytes.", bytes="integer"),
]
GROW = _tool("grow", "Offer one more tool from now on.", text="string")
WHERE = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "line": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    "required": ["path"],
}
# What servers of today write, in turn.
PROPERTIES: list[dict[str, Any]] = [
    {"type": "string", "description": "What to look for", "minLength": 1},
    {"type": "string", "enum": ["first", "second", "third"], "default": "first"},
    {"$ref": "#/$defs/Where"},
    {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000}, {"type": "null"}], "default": None},
    {"type": "array", "items": {"$ref": "#/$defs/Where"}, "maxItems": 20},
    {"type": "object", "additionalProperties": {"type": "string"}, "title": "Headers"},
    {"type": "boolean", "default": False, "description": "Whether to"},
    {"type": ["number", "null"], "exclusiveMinimum": 0},
]
CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
# What `server/discover` is answered, by a server that speaks no revision before that; else empty.
DISCOVERED: dict[str, Any] = {}


def _described(number: int, words: int) -> str:
    """So many words that no other tool has, for who measures how large a description is."""
    if not words:
        return "Do nothing."
    chance = random.Random(number)
    return " ".join("".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(words))


def _schema(properties: int) -> dict[str, Any]:
    """Of so many properties, for who measures what schemas cost."""
    named = {f"property_{n}": PROPERTIES[n % len(PROPERTIES)] for n in range(properties)}
    return {"type": "object", "properties": named, "required": ["property_0"], "$defs": {"Where": WHERE}}


def fastest_json() -> tuple[Decode, Encode]:
    try:
        import msgspec
    except ImportError:
        return json.loads, lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


decode, encode = fastest_json()


def answer(message: Any) -> tuple[bytes | None, float]:
    """The answer to one message (none for a notification), and after how many seconds it is due."""
    if not isinstance(message, dict) or "id" not in message or "method" not in message:
        return None, 0.0
    call_id, method, params = message["id"], message["method"], message.get("params") or {}
    is_modern = VERSION_KEY in (params.get("_meta") or ())
    if method == "tools/call":
        more = b'"resultType":"complete",' if is_modern else b""
        return _call(call_id, params.get("name"), params.get("arguments") or {}, more)
    if method == "tools/list":
        hints = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"} if is_modern else {}
        return _result(call_id, {"tools": TOOLS, **hints}), 0.0
    if method == "ping":
        return _result(call_id, {}), 0.0
    if method == "server/discover" and DISCOVERED:
        return _result(call_id, DISCOVERED), 0.0
    if method == "initialize" and not DISCOVERED:
        asked = params.get("protocolVersion")
        initialized: dict[str, Any] = {
            "protocolVersion": asked if asked in REVISIONS else REVISIONS[0],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "echo", "version": "1"},
        }
        return _result(call_id, initialized), 0.0
    return _error(call_id, -32601, f"no method {method}"), 0.0


def _call(call_id: Any, tool: Any, arguments: dict[str, Any], more: bytes) -> tuple[bytes, float]:
    text = arguments.get("text", "")
    if tool == "echo":
        return _text(call_id, text, more), 0.0
    if tool == "sleep":
        return _text(call_id, text, more), min(float(arguments.get("ms", 0)), SLEEP_MS_MAX) / 1000
    if tool == "blob":
        return _text(call_id, "b" * min(int(arguments.get("bytes", 0)), BLOB_BYTES_MAX), more), 0.0
    if tool == "grow" and GROW in TOOLS:
        TOOLS.append(_tool(f"grown_{len(TOOLS)}", "Do nothing.", text="string"))
        return _text(call_id, text, more), 0.0
    return _error(call_id, -32602, f"no tool {tool}"), 0.0


def _text(call_id: Any, text: str, more: bytes) -> bytes:
    # Put together by hand: this line is most of the work of an echo.
    answer = b'{"jsonrpc":"2.0","id":%b,"result":{%b"content":[{"type":"text","text":%b}],"isError":false}}'
    return answer % (encode(call_id), more, encode(text))


def _result(call_id: Any, result: dict[str, Any]) -> bytes:
    return encode({"jsonrpc": "2.0", "id": call_id, "result": result})


def _error(call_id: Any, code: int, message: str) -> bytes:
    return encode({"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}})


class Sleepers:
    """Answers that are not due yet, earliest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any, bytes]] = []
        self._count = 0  # keeps answers that are due together in order, and ids out of the comparison

    def add(self, call_id: Any, after_s: float, line: bytes) -> None:
        self._count += 1
        heapq.heappush(self._heap, (time.monotonic() + after_s, self._count, call_id, line))

    def cancel(self, call_id: Any) -> None:
        self._heap = [entry for entry in self._heap if entry[2] != call_id]
        heapq.heapify(self._heap)

    def wait_s(self) -> float | None:
        return max(0.0, self._heap[0][0] - time.monotonic()) if self._heap else None

    def due(self) -> list[bytes]:
        now, lines = time.monotonic(), []
        while self._heap and self._heap[0][0] <= now:
            lines.append(heapq.heappop(self._heap)[3])
        return lines


def serve(stdin: int, stdout: int) -> None:
    """Answers lines until the other side closes."""
    sleepers = Sleepers()
    rest = b""
    while True:
        wait_s = sleepers.wait_s()
        if wait_s is not None and not select.select([stdin], [], [], wait_s)[0]:
            _write(stdout, sleepers.due())
            continue
        chunk = os.read(stdin, READ_BYTES)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        _write(stdout, sleepers.due() + _answers(lines, sleepers))


def _answers(lines: list[bytes], sleepers: Sleepers) -> list[bytes]:
    answers = []
    for line in lines:
        message = decode(line)
        offered = len(TOOLS)
        reply, after_s = answer(message)
        if len(TOOLS) != offered:
            answers.append(CHANGED)
        if after_s > 0 and reply is not None:
            sleepers.add(message["id"], after_s, reply)
        elif reply is not None:
            answers.append(reply)
        elif message.get("method") == "notifications/cancelled":
            sleepers.cancel(message["params"]["requestId"])
    return answers


def _write(stdout: int, lines: list[bytes]) -> None:
    view = memoryview(b"".join([line + b"\n" for line in lines]))
    while view:
        view = view[os.write(stdout, view) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", type=int, help="run on this CPU only, whatever CPU the parent is pinned to")
    parser.add_argument("--tools", type=int, default=0, help="this many more tools, which do nothing")
    parser.add_argument("--words", type=int, default=0, help="words in the descriptions of those")
    parser.add_argument("--properties", type=int, default=0, help="in the schemas of those")
    parser.add_argument("--grow", action="store_true", help="offer the tool `grow`, too")
    parser.add_argument("--modern", action="store_true", help=f"speak {MODERN} and nothing before it")
    arguments = parser.parse_args()
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    if arguments.modern:
        offered = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "resultType": "complete"}
        named = {"serverInfo": {"name": "echo", "version": "1"}}
        DISCOVERED.update({**offered, **named, "ttlMs": 0, "cacheScope": "public"})
    if arguments.grow:
        TOOLS.append(GROW)
    added = [
        _tool(f"tool_{number:03}", _described(number, arguments.words), text="string")
        for number in range(arguments.tools)
    ]
    if arguments.properties:
        added = [tool | {"inputSchema": _schema(arguments.properties)} for tool in added]
    TOOLS.extend(added)
    try:
        serve(0, 1)
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # the parent has gone or wants us to


if __name__ == "__main__":
    main()
