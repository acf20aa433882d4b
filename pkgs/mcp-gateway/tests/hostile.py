"""One scripted MCP server over stdio: it behaves, or misbehaves in exactly one named way.

`python -I -S hostile.py MODE [--option value ...]` serves until stdin ends. `--modes` lists every mode
with the fault of the catalogue it injects. Standard library only and one thread, so that it starts in
some 40 ms and can fork without surprises. It knows nothing of the gateway and never imports it: the
fault table, benchmarks and curious people all speak to it over plain pipes.

A mode acts in one of three places: when the process starts, when it answers one method (`initialize`,
`server/discover`, `tools/list`), or when the tool `act` is called. All other tools always behave, so
the same server shows whether the gateway recovered. `act {"mode": M}` borrows the act of another mode.
Whatever a mode does ends by itself: processes by an alarm, floods by a count.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count as counter
from typing import Any, NoReturn

HANDSHAKE_REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_REVISION = "2026-07-28"
META = "io.modelcontextprotocol/"
UNSUPPORTED_VERSION = -32022
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

READ_CHUNK = 1 << 16
HELPER_LIFE_S = 60  # a helper nobody kills still ends: no test machine is left with strays
BOMB_LIFE_S = 10
BOMB_WIDTH = 5  # 5 children with 5 children each: 30 processes, then the bomb has burnt out
ASK_PATIENCE_S = 3.0  # how long `act` waits for answers to what it asked before it replies anyway


class Options:
    """The command line: one mode and `--name value` pairs, read without argparse for a fast start."""

    def __init__(self, argv: list[str]) -> None:
        self.mode = "good"
        self.era = "handshake"  # which opening is accepted: handshake, modern, or dual
        self.tools = 0  # dummy tools listed after the real ones
        self.page = 0  # tools per page of tools/list; 0 is one page
        self.life_s = 300  # the process ends by itself after this time
        self.marks = ""  # file that gets one line (pid, monotonic seconds) per start
        self.times = -1  # misbehave only in the first so many starts (needs --marks)
        self.journal = ""  # file that gets one line (tool, pid) per tools/call received
        self.delay_ms = 1000  # how slow, how late, how long
        self.count = 0  # how many; 0 is what the mode finds right
        self.bytes = 0  # how much; 0 is what the mode finds right
        self.code = 1  # exit status
        words = iter(argv)
        for word in words:
            if not word.startswith("--"):
                self.mode = word
                continue
            name = word[2:].replace("-", "_")
            known = getattr(self, name)
            value = next(words)
            setattr(self, name, int(value) if isinstance(known, int) else value)


class Call:
    """One `tools/call` that waits for its answer."""

    def __init__(self, server: "Server", message: dict[str, Any]) -> None:
        self.server = server
        self.id = message["id"]
        params = message.get("params") or {}
        self.name = params.get("name")
        self.arguments: dict[str, Any] = params.get("arguments") or {}
        self.meta: dict[str, Any] = params.get("_meta") or {}
        self.token = self.meta.get("progressToken")

    def line(self, text: str, **changes: Any) -> bytes:
        """The reply as it should be, without its newline; `changes` replace envelope members."""
        result = self.server.complete({"content": [{"type": "text", "text": text}], "isError": False})
        return encode({"jsonrpc": "2.0", "id": self.id, "result": result} | changes)

    def reply(self, text: str, *, is_error: bool = False, **more: Any) -> None:
        result = {"content": [{"type": "text", "text": text}], "isError": is_error, **more}
        self.server.reply(self.id, result)

    def progress(self, done: float, total: float, token: Any = None) -> None:
        token = self.token if token is None else token
        if token is not None:
            self.server.notify(
                "notifications/progress",
                {"progressToken": token, "progress": done, "total": total, "message": f"{done} of {total}"},
            )


def encode(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


class Server:
    """The event loop of one process: stdin, timers, and what was seen so far."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.misbehaves = True
        self.era = None if options.era == "dual" else options.era
        self.reads = True  # False: the pipe fills up and nobody looks
        self.outlives_stdin = False
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.order = counter()
        self.running: dict[Any, Call] = {}
        self.waiting_for: dict[Any, Callable[[dict[str, Any]], None]] = {}
        self.methods: dict[str, int] = {}
        self.levels: list[str] = []  # of log messages, as they were set
        self.cancelled: list[Any] = []
        self.stray_answers = 0
        self.unreadable = 0
        self.decoy: Any = None

    # -- writing ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(1, view) :]
            except (BrokenPipeError, OSError):
                return  # nobody listens any more, or a mode closed stdout: not our problem to report

    def send(self, message: dict[str, Any]) -> None:
        self.write(encode(message) + b"\n")

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def complete(self, result: dict[str, Any]) -> dict[str, Any]:
        return {"resultType": "complete", **result} if self.era == "modern" else result

    def reply(self, request_id: Any, result: dict[str, Any]) -> None:
        self.running.pop(request_id, None)
        self.send({"jsonrpc": "2.0", "id": request_id, "result": self.complete(result)})

    def refuse(self, request_id: Any, code: int, message: str, data: Any = None) -> None:
        self.running.pop(request_id, None)
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        self.send({"jsonrpc": "2.0", "id": request_id, "error": error})

    def ask(self, request_id: Any, method: str, then: Callable[[dict[str, Any]], None]) -> None:
        self.waiting_for[request_id] = then
        self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": ask_params(method)})

    def decoy_port(self) -> int:
        """A port of this machine where nobody may come; `stats` tells whether somebody did."""
        if self.decoy is None:
            import socket  # only here: it would cost every start some milliseconds

            self.decoy = socket.create_server(("127.0.0.1", 0))
        return int(self.decoy.getsockname()[1])

    def decoy_visited(self) -> bool:
        return self.decoy is not None and bool(select.select([self.decoy], [], [], 0)[0])

    # -- time ---------------------------------------------------------------------------------------

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        heappush(self.timers, (time.monotonic() + seconds, next(self.order), then))

    def run_timers(self) -> float | None:
        """Runs what is due; the milliseconds until the next timer, if there is one."""
        while self.timers:
            wait_s = self.timers[0][0] - time.monotonic()
            if wait_s > 0:
                return wait_s * 1000 + 1
            heappop(self.timers)[2]()
        return None

    # -- reading ------------------------------------------------------------------------------------

    def serve(self) -> None:
        pending = bytearray()
        while True:
            wait_ms = self.run_timers()
            if not self.reads:
                time.sleep(3600 if wait_ms is None else wait_ms / 1000)
                continue
            poll = select.poll()
            poll.register(0, select.POLLIN)
            if not poll.poll(wait_ms):
                continue
            try:
                chunk = os.read(0, READ_CHUNK)
            except OSError:
                chunk = b""
            if not chunk:
                if not self.outlives_stdin:
                    return
                self.reads = False
                continue
            pending += chunk
            if b"\n" in chunk:
                *lines, rest = bytes(pending).split(b"\n")
                pending = bytearray(rest)
                for line in lines:
                    self.take(line)

    def take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self.unreadable += 1
            return
        if not isinstance(message, dict):
            self.unreadable += 1
        elif "method" not in message:
            self.take_answer(message)
        elif "id" in message:
            self.methods[message["method"]] = self.methods.get(message["method"], 0) + 1
            self.take_request(message)
        else:
            self.methods[message["method"]] = self.methods.get(message["method"], 0) + 1
            self.take_notification(message)

    def take_answer(self, message: dict[str, Any]) -> None:
        then = self.waiting_for.pop(message.get("id"), None)
        if then is None:
            self.stray_answers += 1
        else:
            then(message)

    def take_notification(self, message: dict[str, Any]) -> None:
        if message["method"] == "notifications/cancelled":
            request_id = (message.get("params") or {}).get("requestId")
            self.cancelled.append(request_id)
            self.running.pop(request_id, None)
        elif message["method"] == "notifications/initialized" and self.mode == "die-after-handshake":
            os._exit(4)

    @property
    def mode(self) -> str:
        return self.options.mode if self.misbehaves else "good"

    def take_request(self, message: dict[str, Any]) -> None:
        method = message["method"]
        if self.era is None:
            self.choose_era(message)
        twist = ANSWERS.get((self.mode, method))
        if twist is not None:
            twist(self, message)
            return
        if self.options.era == "modern" and method == "initialize":
            self.refuse_version(message)
        elif self.era == "modern" and not self.check_modern(message):
            return
        elif method == "tools/call":
            self.take_call(Call(self, message))
        elif (plain := PLAIN.get(method)) is not None and self.era in plain[0]:
            plain[1](self, message)
        else:
            self.refuse(message["id"], METHOD_NOT_FOUND, f"Method not found: {method}")

    def choose_era(self, message: dict[str, Any]) -> None:
        """The first request decides for the life of the process, as servers that speak both do it."""
        meta = (message.get("params") or {}).get("_meta") or {}
        method = message["method"]
        has_meta = method != "initialize" and META + "protocolVersion" in meta
        is_modern = method == "server/discover" or has_meta
        self.era = "modern" if is_modern else "handshake"

    def refuse_version(self, message: dict[str, Any]) -> None:
        asked = (message.get("params") or {}).get("protocolVersion", "")
        data = {"supported": [MODERN_REVISION], "requested": asked}
        self.refuse(message["id"], UNSUPPORTED_VERSION, "Unsupported protocol version", data)

    def check_modern(self, message: dict[str, Any]) -> bool:
        meta = (message.get("params") or {}).get("_meta") or {}
        revision = meta.get(META + "protocolVersion")
        if revision is None or META + "clientCapabilities" not in meta:
            self.refuse(message["id"], INVALID_PARAMS, "_meta lacks protocolVersion or clientCapabilities")
        elif revision != MODERN_REVISION:
            data = {"supported": [MODERN_REVISION], "requested": revision}
            self.refuse(message["id"], UNSUPPORTED_VERSION, "Unsupported protocol version", data)
        else:
            return True
        return False

    def take_call(self, call: Call) -> None:
        if self.options.journal:
            append(self.options.journal, f"{call.name} {os.getpid()}")
        self.running[call.id] = call
        tool = TOOLS.get(call.name or "")
        if tool is not None:
            tool[1](self, call)
        elif call.name in dummy_names(self.options.tools):
            call.reply(f"{call.name} did nothing")
        else:
            self.refuse(call.id, INVALID_PARAMS, f"Unknown tool: {call.name}")


def append(path: str, line: str) -> None:
    # One write of one short line to a file opened for appending is not torn by other processes.
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def dummy_names(number: int) -> list[str]:
    return [f"dummy-{index:05d}" for index in range(number)]


def ask_params(method: str) -> dict[str, Any]:
    if method == "elicitation/create":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
        return {"message": "What now?", "requestedSchema": schema}
    if method == "sampling/createMessage":
        return {"messages": [{"role": "user", "content": {"type": "text", "text": "Well?"}}], "maxTokens": 10}
    return {}


# -- the methods of a server that behaves ---------------------------------------------------------------

Plain = Callable[[Server, dict[str, Any]], None]


def initialize(server: Server, message: dict[str, Any], **changes: Any) -> None:
    asked = (message.get("params") or {}).get("protocolVersion")
    result = {
        "protocolVersion": asked if asked in HANDSHAKE_REVISIONS else HANDSHAKE_REVISIONS[-1],
        "capabilities": {"tools": {"listChanged": True}, "logging": {}} | others(server),
        "serverInfo": {"name": "hostile", "version": "1"},
    }
    server.reply(message["id"], result | changes)


def discover(server: Server, message: dict[str, Any]) -> None:
    result = {
        "supportedVersions": [MODERN_REVISION],
        "capabilities": {"tools": {"listChanged": True}} | others(server),
        "serverInfo": {"name": "hostile", "version": "1"},
        "ttlMs": 1000,
        "cacheScope": "private",
        "_meta": {META + "serverInfo": {"name": "hostile", "version": "1"}},
    }
    server.reply(message["id"], result)


def others(server: Server) -> dict[str, Any]:
    """What it says it has beside tools; only the modes with bad lists of it have any."""
    has_others = server.options.mode.startswith("others-")
    return {"resources": {"listChanged": True}, "prompts": {"listChanged": True}} if has_others else {}


OUTPUT_SCHEMA = {
    "outputSchema": {
        "type": "object",
        "properties": {"count": {"type": "integer"}},
        "required": ["count"],
        "additionalProperties": False,
    }
}


def list_tools(server: Server, message: dict[str, Any], extra: int | None = None) -> None:
    cursor = (message.get("params") or {}).get("cursor")
    dummies = dummy_names(server.options.tools if extra is None else extra)
    tools = [tool[0] for tool in TOOLS.values()]
    if server.mode == "bad-output":
        tools = [known | OUTPUT_SCHEMA if known["name"] == "act" else known for known in tools]
    tools += [described(name, "Does nothing", {}) for name in dummies]
    start = int(cursor) if cursor else 0
    size = server.options.page or len(tools)
    result: dict[str, Any] = {"tools": tools[start : start + size]}
    if start + size < len(tools):
        result["nextCursor"] = str(start + size)
    if server.era == "modern":
        result |= {"ttlMs": 1000, "cacheScope": "private"}
    server.reply(message["id"], result)


def empty(server: Server, message: dict[str, Any]) -> None:
    server.reply(message["id"], {})


def set_level(server: Server, message: dict[str, Any]) -> None:
    server.levels.append(message["params"]["level"])
    empty(server, message)


def listen(server: Server, message: dict[str, Any]) -> None:
    """A subscription is acknowledged and then quiet: its request stays open for good."""
    honoured = (message.get("params") or {}).get("notifications") or {}
    meta = {META + "subscriptionId": message["id"]}
    server.notify("notifications/subscriptions/acknowledged", {"notifications": honoured, "_meta": meta})


BOTH = ("handshake", "modern")
PLAIN: dict[str, tuple[tuple[str, ...], Plain]] = {
    "initialize": (("handshake",), initialize),
    "ping": (("handshake",), empty),
    "logging/setLevel": (("handshake",), set_level),
    "server/discover": (("modern",), discover),
    "subscriptions/listen": (("modern",), listen),
    "tools/list": (BOTH, list_tools),
}


# -- the tools of a server that behaves -----------------------------------------------------------------

Act = Callable[[Server, Call], None]
TOOLS: dict[str, tuple[dict[str, Any], Act]] = {}


def described(name: str, description: str, properties: dict[str, str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"name": name, "description": description, "inputSchema": schema}


def tool(description: str, **properties: str) -> Callable[[Act], Act]:
    def keep(function: Act) -> Act:
        name = function.__name__.removesuffix("_tool")
        TOOLS[name] = (described(name, description, properties), function)
        return function

    return keep


@tool("Says it back", text="string")
def echo(server: Server, call: Call) -> None:
    call.reply(str(call.arguments.get("text", "")))


@tool("Answers after some milliseconds, blocking nobody", ms="integer")
def sleep(server: Server, call: Call) -> None:
    def wake() -> None:
        if server.running.get(call.id) is call:  # a cancelled call gets no answer
            call.reply("slept")

    server.after(call.arguments.get("ms", 100) / 1000, wake)


@tool("Answers with so many bytes of text", bytes="integer")
def blob(server: Server, call: Call) -> None:
    call.reply("b" * int(call.arguments.get("bytes", 1024)))


@tool("Reports progress in steps, then answers", steps="integer", ms="integer")
def progress(server: Server, call: Call) -> None:
    steps = int(call.arguments.get("steps", 5))
    pause_s = call.arguments.get("ms", 10) / 1000

    def step(done: int) -> None:
        if server.running.get(call.id) is not call:
            return
        if done > steps:
            call.reply(f"{steps} steps")
            return
        call.progress(done, steps)
        server.after(pause_s, lambda: step(done + 1))

    step(1)


@tool("Ends the process at once, without a word", code="integer")
def die(server: Server, call: Call) -> None:
    os._exit(int(call.arguments.get("code", 3)))


@tool("The process id")
def pid(server: Server, call: Call) -> None:
    call.reply(str(os.getpid()))


@tool("The names, not the values, of the environment; and the working directory")
def env(server: Server, call: Call) -> None:
    call.reply(json.dumps({"names": sorted(os.environ), "cwd": os.getcwd()}))


@tool("Reports failure, as a tool may")
def fail(server: Server, call: Call) -> None:
    call.reply("it did not work", is_error=True)


@tool("Answers with a JSON-RPC error", code="integer", message="string")
def refuse(server: Server, call: Call) -> None:
    message = str(call.arguments.get("message", "refused by the tool"))
    server.refuse(call.id, int(call.arguments.get("code", -32000)), message, {"hint": "hostile"})


@tool("What this process has seen so far")
def stats(server: Server, call: Call) -> None:
    seen = {
        "pid": os.getpid(),
        "era": server.era,
        "methods": server.methods,
        "levels": server.levels,
        "cancelled": len(server.cancelled),
        "cancelledIds": server.cancelled[-10:],
        "running": len(server.running) - 1,
        "strayAnswers": server.stray_answers,
        "unreadable": server.unreadable,
        "decoyVisited": server.decoy_visited(),
    }
    call.reply(json.dumps(seen))


@tool("Misbehaves the way the mode says, or as another mode does", mode="string")
def act(server: Server, call: Call) -> None:
    mode = str(call.arguments.get("mode", server.mode))
    ACTS.get(mode, well_behaved)(server, call)


def well_behaved(server: Server, call: Call) -> None:
    call.reply("right")


# -- modes ----------------------------------------------------------------------------------------------

Start = Callable[[Server], None]
MODES: dict[str, tuple[str, str]] = {"good": ("", "behaves")}  # mode -> (fault ids, what it does)
STARTS: dict[str, Start] = {}
ANSWERS: dict[tuple[str, str], Plain] = {}
ACTS: dict[str, Act] = {}


def on_start(mode: str, faults: str, does: str) -> Callable[[Start], Start]:
    def keep(function: Start) -> Start:
        MODES[mode] = (faults, does)
        STARTS[mode] = function
        return function

    return keep


def on_answer(mode: str, method: str, faults: str, does: str) -> Callable[[Plain], Plain]:
    def keep(function: Plain) -> Plain:
        MODES[mode] = (faults, does)
        ANSWERS[mode, method] = function
        return function

    return keep


def on_act(mode: str, faults: str, does: str) -> Callable[[Act], Act]:
    def keep(function: Act) -> Act:
        MODES[mode] = (faults, does)
        ACTS[mode] = function
        return function

    return keep


def complain(text: str) -> None:
    os.write(2, text.encode() + b"\n")


# A. The life of a process


@on_start("exit0", "F003", "exits 0 before it reads anything")
def exit0(server: Server) -> None:
    complain("hostile: nothing to do, good bye")
    os._exit(0)


@on_start("exit", "F002 F004", "exits with --code before the handshake")
def exit_with(server: Server) -> None:
    complain(f"hostile: fatal: leaving with status {server.options.code}")
    os._exit(server.options.code)


@on_start("slow", "F010 F011", "waits --delay-ms before it serves, complaining on stderr")
def slow(server: Server) -> None:
    complain("hostile: fetching packages")
    time.sleep(server.options.delay_ms / 1000)


@on_start("slow-exit", "F012", "waits --delay-ms, then exits with --code")
def slow_exit(server: Server) -> None:
    complain("hostile: fetching packages")
    time.sleep(server.options.delay_ms / 1000)
    complain("hostile: the registry cannot be reached")
    os._exit(server.options.code)


@on_start("silent", "F010", "runs, reads, and never answers anything")
def silent(server: Server) -> None:
    while os.read(0, READ_CHUNK):
        pass
    os._exit(0)


@on_start("ignore-eof", "F013", "stays when stdin is closed")
def ignore_eof(server: Server) -> None:
    server.outlives_stdin = True


@on_start("ignore-term", "F014", "stays when stdin is closed and ignores SIGTERM, SIGINT and SIGHUP")
def ignore_term(server: Server) -> None:
    server.outlives_stdin = True
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


MODES["die-after-handshake"] = ("F005", "exits 4 as soon as the handshake is complete")


def without_core() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_by(number: int) -> None:
    without_core()
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)


ACTS["die"] = die
MODES["die"] = ("F006 F007", "exits 3 in the middle of a call")


@on_act("segv", "F008", "dies of a segmentation fault")
def segv(server: Server, call: Call) -> None:
    end_by(signal.SIGSEGV)


@on_act("abort", "F008", "aborts")
def abort(server: Server, call: Call) -> None:
    end_by(signal.SIGABRT)


@on_act("kill9", "F009", "is killed without a word, as the kernel does when memory runs out")
def kill9(server: Server, call: Call) -> None:
    end_by(signal.SIGKILL)


def linger(life_s: int, *, deaf: bool) -> NoReturn:
    """The life of a helper: it does nothing, may be deaf to polite signals, and ends by itself."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if deaf else signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(life_s)
    while True:
        time.sleep(3600)


@on_act("helpers", "F015", "forks three deaf helpers in its own group and answers with their ids")
def helpers(server: Server, call: Call) -> None:
    pids = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            linger(HELPER_LIFE_S, deaf=True)
        pids.append(child)
    call.reply(json.dumps(pids))


def spawn_daemon() -> int:
    """Forks twice into a session of its own, without any of our pipes; the daemon's id."""
    readable, writable = os.pipe()
    first = os.fork()
    if first == 0:
        os.setsid()
        second = os.fork()
        if second:
            os._exit(0)
        os.write(writable, str(os.getpid()).encode())
        os.closerange(0, 64)
        linger(HELPER_LIFE_S, deaf=True)
    os.close(writable)
    os.waitpid(first, 0)
    daemon = int(os.read(readable, 32))
    os.close(readable)
    return daemon


@on_act("daemon", "F016", "leaves a deaf daemon in another session and answers with its id")
def daemon(server: Server, call: Call) -> None:
    call.reply(json.dumps([spawn_daemon()]))


@on_act("orphan-stdout", "F017", "exits mid-call, while a grandchild keeps stdout open")
def orphan_stdout(server: Server, call: Call) -> None:
    if os.fork() == 0:
        linger(HELPER_LIFE_S, deaf=False)
    os._exit(0)


@on_act("orphans", "F019", "forks --count grandchildren that end at once and nobody waits for")
def orphans(server: Server, call: Call) -> None:
    for _ in range(server.options.count or 100):
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.waitpid(middle, 0)
    call.reply("right")


@on_act("bomb", "F020", "forks until 30 processes run; each ends by itself in 10 s")
def bomb(server: Server, call: Call) -> None:
    for _ in range(BOMB_WIDTH):
        if os.fork() == 0:
            for _ in range(BOMB_WIDTH):
                if os.fork() == 0:
                    linger(BOMB_LIFE_S, deaf=True)
            linger(BOMB_LIFE_S, deaf=True)
    call.reply("right")


@on_act("close-stdout", "F021", "closes stdout mid-call and keeps running")
def close_stdout(server: Server, call: Call) -> None:
    server.outlives_stdin = True
    os.close(1)


@on_act("close-stdin", "F022", "closes stdin mid-call and keeps running")
def close_stdin(server: Server, call: Call) -> None:
    server.reads = False
    os.close(0)


# B. The wire


@on_start("banner", "F030", "greets on stdout before it serves")
def banner(server: Server) -> None:
    server.write(b"Debugger listening on ws://127.0.0.1:9229\nFor help, see the manual\n")


GARBAGE = (
    b"\x1b[32mready\x1b[0m",
    b"",
    b'{"jsonrpc":"2.0","id":',
    b"Warning: something is old",
    b"42",
    b"null",
    b'"text"',
    b"{}",
    b'{"jsonrpc":"1.0","id":0,"result":{}}',
)


@on_act("garbage", "F030 F031", "writes ANSI, blank, half and scalar lines before its reply")
def garbage(server: Server, call: Call) -> None:
    server.write(b"\n".join(GARBAGE) + b"\n")
    call.reply("right")


@on_act("garbage-flood", "F031", "writes --count lines of noise before its reply")
def garbage_flood(server: Server, call: Call) -> None:
    server.write(b"noise on stdout\n" * (server.options.count or 20_000))
    call.reply("right")


@on_act("invalid-utf8", "F032", "writes a line of bytes that are not UTF-8 before its reply")
def invalid_utf8(server: Server, call: Call) -> None:
    server.write(b"\xff\xfe\x80\n")
    server.write(call.line("WRONG").replace(b"WRONG", b"WR\xffNG", 1).replace(b'"id"', b'"i\xff"') + b"\n")
    call.reply("right")


@on_act("invalid-utf8-reply", "F032", "replies with a byte that is not UTF-8 inside a string")
def invalid_utf8_reply(server: Server, call: Call) -> None:
    server.write(call.line("X").replace(b"X", b"\xff") + b"\n")


@on_act("bom", "F033", "puts a byte order mark before its reply, then replies without")
def bom(server: Server, call: Call) -> None:
    server.write(b"\xef\xbb\xbf" + call.line("right") + b"\n" + call.line("right") + b"\n")


@on_act("crlf", "F033", "ends its reply with CR LF")
def crlf(server: Server, call: Call) -> None:
    server.write(call.line("right") + b"\r\n")


@on_act("utf16", "F033", "replies in UTF-16, then properly")
def utf16(server: Server, call: Call) -> None:
    server.write((call.line("WRONG") + b"\n").decode().encode("utf-16") + b"\n" + call.line("right") + b"\n")


@on_act("huge-line", "F034", "replies with a line of --bytes (17 MiB)")
def huge_line(server: Server, call: Call) -> None:
    call.reply("h" * (server.options.bytes or 17 << 20))


@on_act("huge-noise", "F034", "writes a line of --bytes (17 MiB) that is no message, then replies")
def huge_noise(server: Server, call: Call) -> None:
    server.write(b"n" * (server.options.bytes or 17 << 20) + b"\n")
    call.reply("right")


@on_act("stream", "F035", "writes --bytes (1 GiB) without a newline and never replies")
def stream(server: Server, call: Call) -> None:
    block = b"s" * (1 << 20)
    for _ in range((server.options.bytes or 1 << 30) >> 20):
        server.write(block)


@on_act("drip", "F036", "replies one byte every 10 ms")
def drip(server: Server, call: Call) -> None:
    for byte in call.line("right") + b"\n":
        server.write(bytes((byte,)))
        time.sleep(0.01)


@on_act("burst", "F037", "sends --count (10,000) progress messages and its reply in one write")
def burst(server: Server, call: Call) -> None:
    number = server.options.count or 10_000
    lines = [
        encode(
            {
                "jsonrpc": "2.0",
                "method": "notifications/progress",
                "params": {"progressToken": call.token, "progress": done, "total": number},
            }
        )
        for done in range(1, number + 1)
        if call.token is not None
    ]
    server.write(b"\n".join([*lines, call.line("right"), b""]))


@on_act("half", "F038", "writes half of its reply and exits")
def half(server: Server, call: Call) -> None:
    line = call.line("right")
    server.write(line[: len(line) // 2])
    os._exit(0)


@on_act("two-on-a-line", "F039", "writes two objects on one line, then its reply")
def two_on_a_line(server: Server, call: Call) -> None:
    server.write(call.line("WRONG") + call.line("WRONG") + b"\n")
    call.reply("right")


@on_act("embedded-newline", "F039", "breaks its reply over several lines, then replies properly")
def embedded_newline(server: Server, call: Call) -> None:
    server.write(json.dumps(json.loads(call.line("WRONG")), indent=1).encode() + b"\n")
    call.reply("right")


@on_act("deep", "F040", "writes a line 100,000 arrays deep before its reply")
def deep(server: Server, call: Call) -> None:
    depth = server.options.count or 100_000
    server.write(b"[" * depth + b"]" * depth + b"\n" + b'{"jsonrpc":"2.0","id":' + b"[" * depth + b"\n")
    call.reply("right")


@on_act("deep-reply", "F040", "replies with a result 100,000 arrays deep")
def deep_reply(server: Server, call: Call) -> None:
    depth = server.options.count or 100_000
    nested = b"[" * depth + b"]" * depth
    server.write(call.line("right").replace(b'"isError"', b'"nested":' + nested + b',"isError"') + b"\n")


@on_act("duplicate-keys", "F041", "names `id` and `result` twice in one envelope, then replies")
def duplicate_keys(server: Server, call: Call) -> None:
    line = call.line("WRONG")
    server.write(line[:-1] + b',"id":' + encode(call.id) + b"}\n")
    server.write(line[:-1] + line[line.index(b',"result"') :] + b"\n")
    call.reply("right")


@on_act("nan", "F041", "replies with NaN and Infinity, which are not JSON")
def nan(server: Server, call: Call) -> None:
    server.write(call.line("right").replace(b'"isError"', b'"n":NaN,"i":-Infinity,"isError"') + b"\n")


@on_act("huge-int", "F041", "writes an id of five million digits before its reply")
def huge_int(server: Server, call: Call) -> None:
    digits = b"7" * (server.options.bytes or 5_000_000)
    server.write(b'{"jsonrpc":"2.0","id":' + digits + b',"result":{}}\n')
    call.reply("right")


@on_act("batch", "F042", "wraps its reply into an array, then replies properly")
def batch(server: Server, call: Call) -> None:
    server.write(b"[" + call.line("WRONG") + b"]\n")
    call.reply("right")


@on_act("unknown-id", "F043", "answers ids nobody asked for, then replies")
def unknown_id(server: Server, call: Call) -> None:
    strangers: tuple[Any, ...] = (999_999_999, -1, "stranger", None, 1.5, True, [call.id], {"id": call.id})
    for stranger in strangers:
        server.write(call.line("WRONG", id=stranger) + b"\n")
    call.reply("right")


@on_act("string-id", "F044", "replies with its id as a string")
def string_id(server: Server, call: Call) -> None:
    server.write(call.line("right", id=str(call.id)) + b"\n")


@on_act("duplicate-reply", "F045", "replies twice")
def duplicate_reply(server: Server, call: Call) -> None:
    server.write(call.line("right") + b"\n" + call.line("WRONG") + b"\n")


@on_act("both", "F046", "replies with result and error in one object")
def both(server: Server, call: Call) -> None:
    server.write(call.line("right", error={"code": -32000, "message": "WRONG"}) + b"\n")


@on_act("result-then-error", "F046", "replies with a result, then with an error")
def result_then_error(server: Server, call: Call) -> None:
    call.reply("right")
    server.refuse(call.id, -32000, "WRONG")


@on_act("neither", "F046", "replies with neither result nor error")
def neither(server: Server, call: Call) -> None:
    server.send({"jsonrpc": "2.0", "id": call.id})


@on_act("odd-result", "F046", "replies with a result that is text")
def odd_result(server: Server, call: Call) -> None:
    server.send({"jsonrpc": "2.0", "id": call.id, "result": "right"})


@on_act("odd-error", "F046", "replies with an error that is text")
def odd_error(server: Server, call: Call) -> None:
    server.send({"jsonrpc": "2.0", "id": call.id, "error": "it broke"})


@on_act("never", "F047", "never replies")
def never(server: Server, call: Call) -> None:
    return


@on_act("late", "F048 F049", "replies after --delay-ms, cancelled or not")
def late(server: Server, call: Call) -> None:
    server.after(server.options.delay_ms / 1000, lambda: call.reply("WRONG"))


@on_act("odd-progress", "F050", "reports progress of strangers, backwards, and after the end")
def odd_progress(server: Server, call: Call) -> None:
    for done in (5, 3, 7, 1):
        call.progress(done, 10)
    strangers: tuple[Any, ...] = ("stranger", 424_242, [], None)
    for stranger in strangers:
        server.notify("notifications/progress", {"progressToken": stranger, "progress": 99, "total": 100})
    server.notify("notifications/progress", {"progress": "much"})
    call.reply("right")
    call.progress(10, 10)


@on_act("log-flood", "F051", "sends --count (20,000) log messages before its reply")
def log_flood(server: Server, call: Call) -> None:
    params = {"level": "info", "data": "on and on"}
    line = {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
    server.write((encode(line) + b"\n") * (server.options.count or 20_000))
    call.reply("right")


def speak(server: Server, call: Call) -> None:
    for level in LEVELS:
        said = {"level": level, "logger": "hostile", "data": {"text": f"about {level}", "n": 1.0}}
        server.notify("notifications/message", said)
    call.reply("right")


ACTS["speak"] = speak  # no misbehaviour: it logs once at each level, whatever was set


@on_act("list-storm", "F052", "says --count (2,000) times that its tools changed, then replies")
def list_storm(server: Server, call: Call) -> None:
    line = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    server.write((encode(line) + b"\n") * (server.options.count or 2_000))
    call.reply("right")


@on_act("ask", "F053", "asks the client four things and replies with the answers it got")
def ask(server: Server, call: Call) -> None:
    answers: dict[str, Any] = {}
    methods = ("ping", "nonsense/ask", "elicitation/create", "sampling/createMessage")

    def settle() -> None:
        if server.running.get(call.id) is call:
            call.reply(json.dumps(answers))

    def hear(method: str) -> Callable[[dict[str, Any]], None]:
        def heard(message: dict[str, Any]) -> None:
            error = message.get("error")
            answers[method] = error["code"] if error else message.get("result")
            if len(answers) == len(methods):
                settle()

        return heard

    for method in methods:
        server.ask(f"ask-{call.id}-{method}", method, hear(method))
    server.after(ASK_PATIENCE_S, settle)


@on_act("ask-flood", "F054", "sends --count (10,000) elicitations and replies with how many were answered")
def ask_flood(server: Server, call: Call) -> None:
    number = server.options.count or 10_000
    answers: list[int] = []

    def settle() -> None:
        if server.running.get(call.id) is call:
            call.reply(str(len(answers)))

    def heard(message: dict[str, Any]) -> None:
        answers.append(1)
        if len(answers) == number:
            settle()

    for index in range(number):
        server.ask(f"flood-{call.id}-{index}", "elicitation/create", heard)
    server.after(ASK_PATIENCE_S, settle)


@on_act("stderr-flood", "F056", "writes --bytes (1 GiB) to stderr before its reply")
def stderr_flood(server: Server, call: Call) -> None:
    block = (b"e" * 1023 + b"\n") * 64
    for _ in range((server.options.bytes or 1 << 30) // len(block)):
        view = memoryview(block)
        while view:
            view = view[os.write(2, view) :]
    call.reply("right")


@on_act("stderr-long-line", "F056", "writes --bytes (8 MiB) to stderr without a newline")
def stderr_long_line(server: Server, call: Call) -> None:
    block = b"e" * (1 << 16)
    for _ in range((server.options.bytes or 8 << 20) // len(block)):
        view = memoryview(block)
        while view:
            view = view[os.write(2, view) :]
    call.reply("right")


@on_act("stderr-secret", "F057", "shows $CANARY and terminal escapes on stderr before its reply")
def stderr_secret(server: Server, call: Call) -> None:
    canary = os.environ.get("CANARY", "")
    os.write(2, b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \xff\xfe the secret is " + canary.encode() + b"\n")
    call.reply("right")


def confessions() -> list[str]:
    """The environment in every way in which programs print theirs."""
    import base64  # only here: they would cost every start some milliseconds
    import html
    from urllib.parse import quote, quote_plus

    names = sorted(name for name in os.environ if name.startswith("CANARY"))
    environment = {name: os.environ[name] for name in names}
    values = list(environment.values())
    return [
        *values,
        str(environment),
        ascii(environment),
        json.dumps(environment),
        json.dumps(environment, ensure_ascii=False),
        json.dumps(json.dumps(environment)),
        *(quote(value, safe="") for value in values),
        *(quote_plus(value) for value in values),
        *(html.escape(value) for value in values),
        *(base64.b64encode(before + value.encode()).decode() for value in values for before in (b"", b"me:")),
        *(base64.urlsafe_b64encode(value.encode()).decode() for value in values),
        *(value.encode().hex() for value in values),
        *(value.encode().hex().upper() for value in values),
    ]


def confession() -> str:
    return " | ".join(confessions())


@on_start("tell", "F057", "tells its environment wherever a server can say anything at all")
def tell(server: Server) -> None:
    for told in confessions():
        complain("telling on stderr: " + told)
        server.write(b"telling on stdout: " + told.encode() + b"\n")


def tell_in_greeting(server: Server, message: dict[str, Any]) -> None:
    initialize(server, message, instructions="telling in instructions: " + confession())


def tell_in_list(server: Server, message: dict[str, Any]) -> None:
    tools = [tool[0] for tool in TOOLS.values()]
    secret = os.environ.get("CANARY_FILE", "")
    loose: dict[str, Any] = described("loose", "telling in a description: " + confession(), {})
    loose["inputSchema"]["properties"] = {"token": {"type": "string", "default": secret}}
    server.reply(message["id"], {"tools": [*tools, loose, described(f"named {secret}", "Tells by name", {})]})


ANSWERS["tell", "initialize"] = tell_in_greeting
ANSWERS["tell", "tools/list"] = tell_in_list


def tell_in_call(server: Server, call: Call) -> None:
    how = call.arguments.get("how", "result")
    told = f"telling in {how}: {confession()}"
    server.notify("notifications/message", {"level": "info", "data": told})
    if call.token is not None:
        progress = {"progressToken": call.token, "progress": 1, "message": told}
        server.notify("notifications/progress", progress)
    if how == "error":
        server.refuse(call.id, -32000, told, {"told": told})
    elif how == "garbage":
        server.write(b'{"jsonrpc":"2.0","id":%d,"result":' % call.id + told.encode() + b"}\n")
    elif how == "exit":
        complain(told)
        os._exit(7)
    else:
        call.reply(told, is_error=how == "failure")


ACTS["tell"] = tell_in_call


@on_answer("tell-refusing", "initialize", "F057", "refuses the handshake and tells its environment in that")
def tell_refusing(server: Server, message: dict[str, Any]) -> None:
    server.refuse(message["id"], -32603, confession())


@on_act("stop-reading", "F058", "replies, then reads nothing for --delay-ms")
def stop_reading(server: Server, call: Call) -> None:
    def resume() -> None:
        server.reads = True

    call.reply("right")
    server.reads = False
    server.after(server.options.delay_ms / 1000, resume)


@on_act("bad-output", "F061", "replies with structured content that breaks its own output schema")
def bad_output(server: Server, call: Call) -> None:
    call.reply("right", structuredContent={"count": "many", "unknown": [1, None]})


# The handshake

WRONG_VERSION = "1999-12-31"


@on_answer("init-wrong-version", "initialize", "F059", "speaks a revision nobody knows")
def init_wrong_version(server: Server, message: dict[str, Any]) -> None:
    initialize(server, message, protocolVersion=WRONG_VERSION)


@on_answer("init-empty", "initialize", "F059", "answers initialize with an empty result")
def init_empty(server: Server, message: dict[str, Any]) -> None:
    server.reply(message["id"], {})


@on_answer("init-not-object", "initialize", "F059", "answers initialize with a list")
def init_not_object(server: Server, message: dict[str, Any]) -> None:
    server.send({"jsonrpc": "2.0", "id": message["id"], "result": ["ready"]})


@on_answer("init-odd-types", "initialize", "F059", "answers initialize with members of the wrong type")
def init_odd_types(server: Server, message: dict[str, Any]) -> None:
    initialize(server, message, protocolVersion=20251125, capabilities="all", serverInfo=None)


@on_answer("init-error", "initialize", "F059", "answers initialize with an error")
def init_error(server: Server, message: dict[str, Any]) -> None:
    server.refuse(message["id"], -32603, "no licence found")


@on_answer("init-silent", "initialize", "F059", "never answers initialize")
def init_silent(server: Server, message: dict[str, Any]) -> None:
    return


@on_answer("init-huge", "initialize", "F059", "sends 5 MB of instructions")
def init_huge(server: Server, message: dict[str, Any]) -> None:
    initialize(server, message, instructions="i" * (server.options.bytes or 5_000_000))


@on_answer("discover-odd-error", "server/discover", "F060", "answers server/discover with an unusual error")
def discover_odd_error(server: Server, message: dict[str, Any]) -> None:
    server.refuse(message["id"], 12345, "what is that?")


@on_answer("discover-silent", "server/discover", "F060", "never answers server/discover")
def discover_silent(server: Server, message: dict[str, Any]) -> None:
    return


@on_answer("discover-empty", "server/discover", "F060", "answers server/discover with an empty result")
def discover_empty(server: Server, message: dict[str, Any]) -> None:
    server.send({"jsonrpc": "2.0", "id": message["id"], "result": {}})


@on_answer("discover-odd-result", "server/discover", "F060", "answers server/discover with text")
def discover_odd_result(server: Server, message: dict[str, Any]) -> None:
    server.send({"jsonrpc": "2.0", "id": message["id"], "result": "hello"})


@on_answer("discover-null-id", "server/discover", "F060", "refuses server/discover without an id")
def discover_null_id(server: Server, message: dict[str, Any]) -> None:
    server.refuse(None, -32600, "Invalid request")


@on_answer("discover-exit", "server/discover", "F060", "exits when it is asked to discover")
def discover_exit(server: Server, message: dict[str, Any]) -> None:
    complain("hostile: expected initialize")
    os._exit(2)


# Lists


@on_answer("list-many", "tools/list", "F062", "lists --count (50,000) tools")
def list_many(server: Server, message: dict[str, Any]) -> None:
    list_tools(server, message, extra=server.options.count or 50_000)


@on_answer("cursor-endless", "tools/list", "F063", "always has one more page")
def cursor_endless(server: Server, message: dict[str, Any]) -> None:
    page = int((message.get("params") or {}).get("cursor") or 0)
    name = f"page-{page:05d}"
    tools = [TOOLS["echo"][0]] if page == 0 else [described(name, "Of an endless list", {})]
    server.reply(message["id"], {"tools": tools, "nextCursor": str(page + 1)})


@on_answer("cursor-same", "tools/list", "F063", "always names the same next page")
def cursor_same(server: Server, message: dict[str, Any]) -> None:
    server.reply(message["id"], {"tools": [TOOLS["echo"][0]], "nextCursor": "again"})


@on_answer("list-error", "tools/list", "F064", "refuses to list its tools")
def list_error(server: Server, message: dict[str, Any]) -> None:
    server.refuse(message["id"], -32603, "the list is gone")


@on_answer("list-fails-later", "tools/list", "F064", "lists its tools once and refuses ever after")
def list_fails_later(server: Server, message: dict[str, Any]) -> None:
    if server.methods["tools/list"] > 1:
        server.refuse(message["id"], -32603, "the list is gone")
    else:
        list_tools(server, message)


ACTS["list-fails-later"] = list_storm


@on_answer(
    "page-two-fails", "tools/list", "F064", "lists two pages, and from the next time on only the first"
)
def page_two_fails(server: Server, message: dict[str, Any]) -> None:
    tools = [tool[0] for tool in TOOLS.values()]
    half = len(tools) // 2
    if not (message.get("params") or {}).get("cursor"):
        server.reply(message["id"], {"tools": tools[:half], "nextCursor": "two"})
    elif server.methods["tools/list"] > 2:
        server.refuse(message["id"], -32603, "the second page is gone")
    else:
        server.reply(message["id"], {"tools": tools[half:]})


ACTS["page-two-fails"] = list_storm


@on_act("list-churn", "F065", "says for --delay-ms that its tools changed; each list has another dummy")
def list_churn(server: Server, call: Call) -> None:
    until = time.monotonic() + server.options.delay_ms / 1000

    def step() -> None:
        if server.running.get(call.id) is not call:
            return
        if time.monotonic() >= until:
            call.reply("right")
            return
        server.notify("notifications/tools/list_changed", {})
        server.after(0.02, step)

    step()


def list_another(server: Server, message: dict[str, Any]) -> None:
    name = dummy_names(server.methods["tools/list"])[-1]
    tools = [*(tool[0] for tool in TOOLS.values()), described(name, "Is not there for long", {})]
    server.reply(message["id"], {"tools": tools})


ANSWERS["list-churn", "tools/list"] = list_another


@on_act("rename", "F066", "changes its own name to `dummy-00000`, says so, and replies after --delay-ms")
def rename(server: Server, call: Call) -> None:
    server.notify("notifications/tools/list_changed", {})
    server.after(server.options.delay_ms / 1000, lambda: call.reply("right"))


def list_renamed(server: Server, message: dict[str, Any]) -> None:
    tools = [tool[0] for tool in TOOLS.values()]
    if server.methods["tools/list"] > 1:
        tools = [known | {"name": "dummy-00000"} if known["name"] == "act" else known for known in tools]
    server.reply(message["id"], {"tools": tools})


ANSWERS["rename", "tools/list"] = list_renamed


# Schemas, as bytes: Python's own encoder does not go as deep. PORT is where nobody may ever come.

CYCLE = b'{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/B"},\
"B":{"$ref":"#/$defs/A"}}}'
ELSEWHERE = b'{"$schema":"http://127.0.0.1:PORT/meta","$id":"http://127.0.0.1:PORT/id","type":"object",\
"properties":{"a":{"$ref":"http://127.0.0.1:PORT/a"},"b":{"$ref":"file:///dev/zero"}}}'
PATTERN = b'{"type":"object","properties":{"text":{"type":"string","pattern":"^(a+)+$"}}}'


def unfolding_one() -> bytes:
    unfolding = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    return encode({"type": "object", "allOf": [{"$ref": "#/$defs/d0"}], "$defs": {**unfolding, "d40": {}}})


def long_one() -> bytes:
    choices = [f"choice-{n:06d}" for n in range(65_000)]
    return encode({"type": "object", "properties": {"a": {"enum": choices}}})


def wide_one() -> bytes:
    return encode({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(10_000)}})


def deep_one(depth: int) -> bytes:
    return b'{"properties":{"a":' * depth + b"{}" + b"}}" * depth


# mode -> makes the schemas of its dummies, given --count; made when they are listed, for a fast start.
SCHEMAS: dict[str, Callable[[int], tuple[bytes, ...]]] = {}


def list_schemas(server: Server, message: dict[str, Any]) -> None:
    schemas = SCHEMAS[server.mode](server.options.count or 3_000)
    odd = [{"name": name, "inputSchema": f"SCHEMA {name}"} for name in dummy_names(len(schemas))]
    result = server.complete({"tools": [*(tool[0] for tool in TOOLS.values()), *odd]})
    line = encode({"jsonrpc": "2.0", "id": message["id"], "result": result})
    for name, schema in zip(dummy_names(len(schemas)), schemas, strict=True):
        line = line.replace(b'"SCHEMA %b"' % name.encode(), schema)
    server.write(line.replace(b"PORT", b"%d" % server.decoy_port()) + b"\n")


def odd_schemas(mode: str, faults: str, does: str, make: Callable[[int], tuple[bytes, ...]]) -> None:
    SCHEMAS[mode] = make
    on_answer(mode, "tools/list", faults, does)(list_schemas)


odd_schemas("schema-cycle", "F068", "lists a tool whose schema goes in circles", lambda _: (CYCLE,))
odd_schemas(
    "schema-bomb", "F069", "lists a tool whose schema unfolds to 2^40 schemas", lambda _: (unfolding_one(),)
)
odd_schemas("schema-elsewhere", "F070", "lists a tool whose schema names addresses", lambda _: (ELSEWHERE,))
odd_schemas(
    "schema-huge",
    "F071",
    "lists tools with 65,000 choices and with 10,000 properties",
    lambda _: (long_one(), wide_one()),
)
odd_schemas("schema-deep", "F071", "lists a tool of --count (3,000) schemas deep", lambda n: (deep_one(n),))
odd_schemas("schema-pattern", "F072", "lists a tool with a pattern that never ends", lambda _: (PATTERN,))


@on_answer("list-not-array", "tools/list", "F073", "lists its tools as an object")
def list_not_array(server: Server, message: dict[str, Any]) -> None:
    server.reply(message["id"], {"tools": {"echo": TOOLS["echo"][0]}})


@on_answer("list-odd-tools", "tools/list", "F073 F074", "lists tools that are none between two that are")
def list_odd_tools(server: Server, message: dict[str, Any]) -> None:
    odd: list[Any] = [
        None,
        "echo",
        {},
        {"name": 7},
        {"name": "", "inputSchema": {}},
        {"name": "no-schema"},
        {"name": "odd-schema", "inputSchema": "any"},
        described("../etc/passwd", "A path", {}),
        described("a/b", "A slash", {}),
        described("n" * 10_000, "A long name", {}),
        TOOLS["echo"][0] | {"description": "the same name again"},
    ]
    server.reply(message["id"], {"tools": [TOOLS["echo"][0], *odd, TOOLS["pid"][0]]})


# Lists of resources, templates and prompts. Each has a good entry, where it has any.

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "resources/list": ("resources", {"uri": "x://good", "name": "good"}),
    "resources/templates/list": ("resourceTemplates", {"uriTemplate": "x://{good}", "name": "good"}),
    "prompts/list": ("prompts", {"name": "good"}),
}
Other = Callable[[Server, dict[str, Any], str, dict[str, Any]], None]


def on_others(mode: str, faults: str, does: str) -> Callable[[Other], Other]:
    """For all three; the function is given the member that holds the list, and a good entry."""

    def keep(function: Other) -> Other:
        for method, (member, good) in OTHERS.items():

            def answer(
                server: Server, message: dict[str, Any], member: str = member, good: Any = good
            ) -> None:
                function(server, message, member, good)

            on_answer(mode, method, faults, does)(answer)
        return function

    return keep


@on_others("others-many", "F062", "lists --count (50,000) resources, templates and prompts")
def others_many(server: Server, message: dict[str, Any], member: str, good: dict[str, Any]) -> None:
    key = next(iter(good))
    many = [{**good, key: f"x:{number}"} for number in range(server.options.count or 50_000)]
    server.reply(message["id"], {member: many})


@on_others("others-cursor", "F063", "always names the same next page of resources and prompts")
def others_cursor(server: Server, message: dict[str, Any], member: str, good: dict[str, Any]) -> None:
    server.reply(message["id"], {member: [good], "nextCursor": "again"})


@on_others("others-error", "F064", "refuses to list its resources and prompts")
def others_error(server: Server, message: dict[str, Any], member: str, good: dict[str, Any]) -> None:
    server.refuse(message["id"], -32603, f"the list of {member} is gone")


@on_others("others-silent", "F064", "never answers what resources and prompts it has")
def others_silent(server: Server, message: dict[str, Any], member: str, good: dict[str, Any]) -> None: ...


@on_others("others-not-array", "F073", "lists its resources and prompts as an object")
def others_not_array(server: Server, message: dict[str, Any], member: str, good: dict[str, Any]) -> None:
    server.reply(message["id"], {member: {"good": good}})


@on_others("others-odd", "F073 F074", "lists resources and prompts that are none around one that is, twice")
def others_odd(server: Server, message: dict[str, Any], member: str, good: dict[str, Any]) -> None:
    key = next(iter(good))
    odd: list[Any] = [None, "good", 7, [], {}, {**good, key: 7}, {**good, key: ""}]
    odd += [{**good, key: "u" * 10_000}, {**good, "name": None}, "DEEP"]
    result = server.complete({member: [*odd, good, good]})
    line = encode({"jsonrpc": "2.0", "id": message["id"], "result": result})
    deep = b"[" * 800 + b"]" * 800
    server.write(line.replace(b'"DEEP"', encode({**good, "deep": "x"}).replace(b'"x"', deep)) + b"\n")


# -- the program ----------------------------------------------------------------------------------------


def main(argv: list[str]) -> None:
    if argv == ["--modes"]:
        for mode, (faults, does) in sorted(MODES.items(), key=lambda item: item[1]):
            print(f"{mode:20} {faults:10} {does}")
        return
    options = Options(argv)
    if options.mode not in MODES:
        complain(f"hostile: unknown mode {options.mode}; see --modes")
        os._exit(64)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.alarm(options.life_s)
    server = Server(options)
    if options.marks:
        append(options.marks, f"{os.getpid()} {time.monotonic():.6f}")
        with open(options.marks, "rb") as file:
            starts = len(file.readlines())
        server.misbehaves = options.times < 0 or starts <= options.times
    start = STARTS.get(server.mode)
    if start is not None:
        start(server)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
