"""Starts the real `mcp-gateway serve` for black-box tests and never leaves anything behind.

Owns the gateway's process, its state directory and what a test may ask of it: HTTP calls, waits with a
deadline, counts of what the kernel holds. Knows the public contract only (command line, routes, states)
and imports nothing of the package. Every configured server gets an environment variable unique to its
gateway and its name, by which all its descendants are found again in /proc, whatever they did to hide.
Every gateway also gets secrets in every place where a person may put one, unique to it; `leaks.py` looks for
them after each test, and here before a gateway stops, in everything that it shows.
"""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Self, TypeVar

import psutil

from tests import canary, leaks
from tests.canary import Canary

HOSTILE = Path(__file__).with_name("hostile.py")
COMMAND = (sys.executable, "-m", "mcp_gateway")
CERTIFICATES = Path(__file__).parent / "remote" / "certificates"
HOSTILE_HTTP = Path(__file__).with_name("hostile_http.py")
START_TIMEOUT_S = 20.0  # an empty gateway is up in a second; this is for a busy machine
STOP_TIMEOUT_S = 15.0  # children have two graces of 2 s each, in parallel; calls still under way get 20 s
ANSWER_TIMEOUT_S = 30.0  # no request of a test may hang the suite
POLL_S = 0.02
VISIT_S = 3.0  # for all that a gateway shows, before it stops; one that is slow is seen in part
VISITED_CALLS = 20  # the newest, with what was said in them
MARKER = "MCP_GATEWAY_SPAWN"
TOKEN = "HARNESS_TOKEN"  # in the environment of everything our gateway starts
TERMINAL = frozenset(
    {"ok", "tool_error", "cancelled", "interrupted", "invalid", "unauthenticated", "refused", "unknown"}
    | {"busy", "unavailable", "timed_out", "lost", "input_required", "internal"}
)
# Pages of a gateway, all of which are looked at for secrets before it stops.
PAGES = (
    *("/", "/openapi.json", "/ready", "/metrics", "/api/servers", "/api/tools", "/api/me", "/api/keys"),
    *("/api/access", "/api/sign-ins", "/api/connect", "/api/openwebui/functions", "/tools/openapi.json"),
    *("/api/stats", "/api/stats?by=server"),
    *("/api/artifacts", "/api/calls/export?format=csv&limit=1000", "/api/calls/export?limit=1000"),
)
# Variables of the gateway's own environment. A header cannot carry what the first of them holds.
VARIABLE, HEADER_VARIABLE, UNRELATED = "HARNESS_CANARY", "HARNESS_CANARY_HEADER", "HARNESS_CANARY_UNRELATED"
T = TypeVar("T")


def until(
    condition: Callable[[], T], timeout_s: float, what: str, tell: Callable[[], str] | None = None
) -> T:
    """Polls until `condition` gives something true, and returns that; fails by name when it never does."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}" + (f"; {tell()}" if tell else ""))
        time.sleep(POLL_S)


def has_ended(pid: int) -> bool:
    """Gone, or a zombie that only waits for its parent to look."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def processes_with(variable: str) -> dict[int, str]:
    """The living processes whose environment holds `variable` (NAME=value), with their command lines."""
    needle = variable.encode()
    found: dict[int, str] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environ = Path(entry.path, "environ").read_bytes()
            if needle not in environ.split(b"\0") or has_ended(int(entry.name)):
                continue
            command = Path(entry.path, "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is not ours to look at
        found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def hostile(mode: str, *options: str, **config: Any) -> dict[str, Any]:
    """The configuration of one hostile server; `config` are more keys of the server's entry."""
    return {"command": sys.executable, "args": ["-I", "-S", str(HOSTILE), mode, *options], **config}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"the answer holds {constant}, which is not JSON")

        return json.loads(self.body, parse_constant=refuse)

    @property
    def text(self) -> str:
        """The text of a tool's first content block."""
        content = self.json()["content"]
        assert isinstance(content, list), content
        return str(content[0]["text"])

    @property
    def code(self) -> str:
        """The kind of the problem, or "ok" / "tool_error": the word the call's record must show."""
        document = self.json()
        if self.status == 200:
            return "tool_error" if document.get("isError") else "ok"
        assert self.headers.get("content-type", "").startswith("application/problem+json"), self
        return str(document["code"])

    @property
    def call_id(self) -> str | None:
        """Results carry it as a header, problems in their document."""
        known = self.headers.get("mcp-gateway-call")
        return known if self.status == 200 else known or self.json().get("callId")


@dataclass(frozen=True)
class Holdings:
    """What the kernel holds for the gateway right now."""

    files: int
    threads: int
    children: int
    rss_bytes: int
    zombies: int


class Canaries:
    """The secrets of one gateway: made when they are first asked for, and looked for from then on."""

    def __init__(self, owner: str, directory: Path) -> None:
        self._owner = owner
        self._directory = directory
        self._made: dict[str, Canary] = {}

    def add(self, name: str, value: str) -> None:
        """Looks for a value that was not made here (a key, a password) as long as the gateway lives."""
        self._keep(Canary(name, self._owner, value))

    def value(self, name: str, *, for_header: bool = False, lines: bool = False) -> str:
        """The secret of that name, the same each time."""
        if name not in self._made:
            self._keep(canary.make(name, self._owner, for_header=for_header, lines=lines))
        return self._made[name].value

    def file(self, name: str, *, lines: bool = False) -> Path:
        """A file that holds the secret of that name."""
        path = self._directory / name
        if not path.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            path.write_text(self.value(name, lines=lines) + "\n")
            path.chmod(0o600)
        return path

    def _keep(self, made: Canary) -> None:
        self._made[made.name] = made
        leaks.plant(made)

    def plant_again(self) -> None:
        leaks.plant(*self._made.values())


@dataclass
class Gateway:
    """One gateway process. Use it as a context manager: leaving stops it and proves nothing is left."""

    servers: dict[str, dict[str, Any]]
    directory: Path
    gateway: dict[str, Any] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    command: tuple[str, ...] = COMMAND
    environment: dict[str, str] = field(default_factory=dict)  # more variables of the gateway itself
    wanted_port: int = 0  # for a configuration that names the gateway's own address
    # Without secrets that take a descriptor or a process to fetch, where a test has taken all there are.
    plain: bool = False
    credentials: dict[str, str] = field(default_factory=dict)  # headers by which a guarded gateway is visited

    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    calls: Counter[str] = field(default_factory=Counter)  # calls sent, by server
    # server -> call id -> what its caller was told
    told: dict[str, dict[str, str]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)  # tests call from many threads

    def __post_init__(self) -> None:
        self.canaries = Canaries(self.token, self.directory / "secrets")
        self.first = next(iter(self.servers), None)

    # -- life ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self.stop()

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    @property
    def log(self) -> Path:
        return self.directory / "gateway.log"

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def tag(self, server: str) -> str:
        return f"HARNESS_SERVER={self.token}-{server}"

    def reconfigure(self, text: str | None = None) -> None:
        """Replaces the file of the running gateway in one step, by `servers` and `gateway` or by a text."""
        path = self.directory / "config.json"
        fresh = path.with_suffix(".fresh")
        fresh.write_text(self.config_text() if text is None else text)
        fresh.chmod(0o600)
        fresh.replace(path)

    def reload(self) -> dict[str, Any]:
        """As `reconfigure`, and waits until it holds; what moved."""
        self.reconfigure()
        answer = self.request("POST", "/api/reload")
        assert answer.status == 200, answer
        moved = answer.json()
        assert isinstance(moved, dict)
        return moved

    def config_text(self) -> str:
        servers = {name: self.configured(name, entry) for name, entry in self.servers.items()}
        return json.dumps({"mcpServers": servers, "gateway": self.gateway}, indent=1)

    def configured(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        """A server's entry as it goes into the file: with our marks on it, and secrets of its own."""
        if "url" in entry:  # a remote server has no environment of ours
            return entry | {"headers": self.secret_headers(name) | entry.get("headers", {})}
        variable, value = self.tag(name).split("=")
        own = {TOKEN: self.token, variable: value} | self.secret_env(name)
        return entry | ({"env": own | entry.get("env", {})} if "command" in entry else {})

    def secret_env(self, server: str) -> dict[str, Any]:
        """Variables of one server, a secret in each: one for every way to configure it."""
        secret: dict[str, Any] = {
            "CANARY_LITERAL": self.canaries.value(f"env-of-{server}"),
            "CANARY_VARIABLE": f"${{{VARIABLE}}}",
        }
        if not self.plain:
            secret["CANARY_FILE"] = {"file": str(self.canaries.file("file", lines=True))}
            secret["CANARY_CREDENTIAL"] = {"credential": self.canaries.file("credential").name}
            if server == self.first:  # a process for each start of each server would be felt
                printer = shutil.which("cat")
                secret["CANARY_COMMAND"] = {"command": [printer, str(self.canaries.file("command"))]}
        return secret

    def secret_headers(self, server: str) -> dict[str, Any]:
        literal = self.canaries.value(f"header-of-{server}", for_header=True)
        return {"X-Canary-Literal": literal, "X-Canary-Variable": f"${{{HEADER_VARIABLE}}}"}

    def secret_environment(self) -> dict[str, str]:
        """More variables of the gateway itself."""
        return {
            VARIABLE: self.canaries.value("variable"),
            HEADER_VARIABLE: self.canaries.value("variable-for-headers", for_header=True),
            UNRELATED: self.canaries.value("unrelated-variable"),
            "CREDENTIALS_DIRECTORY": str(self.directory / "secrets"),
        }

    def write_config(self) -> Path:
        path = self.directory / "config.json"
        path.write_text(self.config_text())
        path.chmod(0o600)
        return path

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.write_config()
        port_file = self.state_dir / "port"
        port_file.unlink(missing_ok=True)
        command = [*self.command, "serve", "--port", str(self.wanted_port)]
        command += ["--state-dir", str(self.state_dir), "--config", str(config)]
        environment = {name: value for name, value in os.environ.items() if "MCP_GATEWAY" not in name}
        environment |= self.secret_environment() | self.environment
        self.canaries.plant_again()  # for a gateway that was stopped before
        leaks.watch(self.token, self.log, self.state_dir)
        with self.log.open("ab") as log:
            # In its own session: an interrupt at the terminal reaches the test, which stops the gateway.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            self.port = until(self.read_port, START_TIMEOUT_S, "the gateway writes its port", self.log_tail)
            until(self.is_serving, START_TIMEOUT_S, "the gateway is serving", self.log_tail)
        except BaseException:
            self.kill()
            self.sweep()
            raise

    def read_port(self) -> int:
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"the gateway exited with {status}: {self.log_tail()}"
        try:
            return int((self.state_dir / "port").read_text())
        except (OSError, ValueError):
            return 0

    def is_serving(self) -> bool:
        try:
            return self.get("/ready").status == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """Kills the gateway without a word, as a crash would, and only it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def visit(self) -> None:
        """Looks at all that it shows, as far as it answers; `leaks` listens."""
        deadline = time.monotonic() + VISIT_S
        with closing(leaks.Connection("127.0.0.1", self.port, timeout=VISIT_S)) as connection:

            def get(path: str) -> bytes:
                if time.monotonic() > deadline:
                    raise TimeoutError
                connection.request("GET", path, headers=self.credentials)
                return connection.getresponse().read()

            try:
                for path in PAGES:
                    get(path)
                shown = json.loads(get("/api/servers"))
                for server in shown.get("servers", []):
                    get(f"/api/servers/{server['id']}")
                    get(f"/api/servers/{server['id']}/logs")
                    get(f"/api/servers/{server['id']}/config")
                shown = json.loads(get(f"/api/calls?limit={VISITED_CALLS}"))
                for call in shown.get("calls", []):
                    get(f"/api/calls/{call['id']}")
            except (OSError, http.client.HTTPException, ValueError):
                return  # a test has made it unreachable, or it is on its way out

    def stop(self) -> None:
        """Ends the gateway politely, then asserts that it obeyed and that nothing it started is left.

        Raises: Leaked for a secret in anything that it showed or wrote.
        """
        assert self.process is not None
        if self.process.poll() is None:
            self.visit()
            leaks.look_at_processes(again=True)
        try:
            self._end()
        finally:
            leaks.unwatch(self.token)
        leaks.check()

    def _end(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            left = self.sweep()
            assert not left, f"left behind by a gateway that had ended: {left}"
            return
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = None
            self.kill()
        left = self.sweep()
        _, alive = psutil.wait_procs(family, timeout=2)
        alive = [process for process in alive if not has_ended(process.pid)]
        assert status == 0, f"the gateway ended with {status} on SIGTERM: {self.log_tail()}"
        assert not left, f"left behind: {left}"
        assert not alive, f"left behind: {alive}"

    def sweep(self) -> dict[int, str]:
        """Kills whatever carries our token; returns what was still there."""
        left = self.survivors()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return left

    def survivors(self, server: str | None = None) -> dict[int, str]:
        """The living processes started for one server, or for any."""
        return processes_with(f"{TOKEN}={self.token}" if server is None else self.tag(server))

    def holdings(self) -> Holdings:
        process = psutil.Process(self.pid)
        children = process.children(recursive=True)
        states = []
        for child in children:
            try:
                states.append(child.status())
            except psutil.NoSuchProcess:
                continue
        zombies = states.count(psutil.STATUS_ZOMBIE)
        return Holdings(
            files=process.num_fds(),
            threads=process.num_threads(),
            children=len(states) - zombies,
            rss_bytes=process.memory_info().rss,
            zombies=zombies,
        )

    # -- HTTP ---------------------------------------------------------------------------------------

    @property
    def identity(self) -> dict[str, str]:
        """The headers that say who asks, of every request; none where the gateway is open."""
        return {}

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Iterator[http.client.HTTPResponse]:
        """Sends one request on a connection of its own; leaving before the end hangs up."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        sent |= self.identity
        connection = leaks.Connection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, data, sent | dict(headers or {}))
            response = connection.getresponse()
            try:
                yield response
            finally:
                response.close()
        finally:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Answer:
        with self.open(method, path, body, headers, timeout_s) as response:
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def count(self, server: str) -> None:
        with self.lock:
            self.calls[server] += 1

    def call(
        self, server: str, tool: str, timeout_s: float = ANSWER_TIMEOUT_S, /, **arguments: Any
    ) -> Answer:
        """One tool call over REST; what the caller was told is kept, to be compared with the record."""
        self.count(server)
        answer = self.request("POST", f"/api/tools/{server}/{tool}", arguments, timeout_s=timeout_s)
        if answer.call_id is not None:
            with self.lock:
                told = self.told.setdefault(server, {})
                assert answer.call_id not in told, "one id for two calls"
                told[answer.call_id] = answer.code
        return answer

    def stream(self, server: str, tool: str, /, **arguments: Any) -> list[tuple[str, Any]]:
        """One tool call as an event stream: (event, data) in order, up to the terminal event's end."""
        self.count(server)
        path = f"/api/tools/{server}/{tool}"
        with self.open("POST", path, arguments, {"Accept": "text/event-stream"}) as response:
            assert response.getheader("Content-Type", "").startswith("text/event-stream"), response.read()
            return list(parse_events(response))

    # -- servers ------------------------------------------------------------------------------------

    def server(self, server: str) -> dict[str, Any]:
        answer = self.get(f"/api/servers/{server}")
        assert answer.status == 200, answer
        shown = answer.json()
        assert isinstance(shown, dict)
        return shown

    def wait_for(
        self, server: str, condition: Callable[[dict[str, Any]], object], timeout_s: float, what: str
    ) -> dict[str, Any]:
        """Waits until what the gateway shows of a server satisfies `condition`; returns what it showed."""
        last: dict[str, Any] = {}

        def look() -> bool:
            nonlocal last
            last = self.server(server)
            return bool(condition(last))

        until(
            look, timeout_s, f"{server}: {what}", lambda: f"last seen {last}; log {self.log_tail()[-1000:]}"
        )
        return last

    def wait_for_state(self, server: str, *states: str, timeout_s: float = 10.0) -> dict[str, Any]:
        return self.wait_for(server, lambda shown: shown["state"] in states, timeout_s, f"becomes {states}")

    def switch(self, server: str, enabled: bool) -> None:
        answer = self.request("PATCH", f"/api/servers/{server}", {"enabled": enabled})
        assert 200 <= answer.status < 300, answer

    def records(self, server: str) -> list[dict[str, Any]]:
        """All call records of one server, newest first, over all pages."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(f"/api/calls?server={server}&limit=500{cursor}").json()
            # What was done to a server stands among its calls.
            rows += [row for row in page["calls"] if row["action"] is None]
            if not page.get("cursor"):
                return rows
            cursor = f"&cursor={page['cursor']}"

    def check_records(self, server: str) -> None:
        """Each call has exactly one record, with a terminal outcome that says what its caller was told."""
        rows: list[dict[str, Any]] = []

        def settled() -> bool:
            nonlocal rows
            rows = self.records(server)
            ended = all(row["outcome"] in TERMINAL for row in rows)
            return ended and len(rows) >= self.calls[server]

        until(
            settled, 5, f"every call of {server} has its record", lambda: f"{self.calls[server]}: {rows[:5]}"
        )
        ids = [row["id"] for row in rows]
        assert len(ids) == len(set(ids)) == self.calls[server], f"{self.calls[server]} calls: {rows[:5]}"
        told = self.told.get(server, {})
        assert told.keys() <= set(ids)
        for row in rows:
            assert row["outcome"] == told.get(row["id"], row["outcome"]), row

    def check_told(self, server: str) -> None:
        """As `check_records` for a server that is called all the time: what was told so far is recorded."""
        with self.lock:
            told = dict(self.told[server])
        rows = {row["id"]: row["outcome"] for row in self.records(server)}
        missing = told.items() - rows.items()
        assert not missing, f"{len(missing)} of {len(told)} calls have another record or none"


def parse_events(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """The events of a stream, until its end or its terminal event."""
    event, data = "message", ""
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("event:"):
            event = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line and data:
            yield event, json.loads(data)
            if event in ("result", "error"):
                return
            event, data = "message", ""


class Neighbour:
    """A caller of a server that behaves, at work all the time: what it meets is what a fault leaks."""

    def __init__(self, gateway: Gateway, server: str, pause_s: float = 0.05) -> None:
        self.gateway = gateway
        self.server = server
        self.pause_s = pause_s
        self.answered = 0
        self.worst_s = 0.0
        self.failures: list[str] = []
        self.ended = Event()
        self.thread = Thread(target=self.work, name="neighbour", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join(ANSWER_TIMEOUT_S + 5)
        assert not self.thread.is_alive(), "the neighbour's call hangs"

    def work(self) -> None:
        while not self.ended.wait(self.pause_s):
            text = f"neighbour-{self.answered}"
            began = time.monotonic()
            try:
                answer = self.gateway.call(self.server, "echo", text=text)
                if answer.status != 200 or answer.text != text:
                    self.failures.append(f"{answer.status} {answer.body[:300]!r}")
            except (OSError, http.client.HTTPException, AssertionError, ValueError, LookupError) as problem:
                self.failures.append(repr(problem))
            self.worst_s = max(self.worst_s, time.monotonic() - began)
            self.answered += 1


class Pulse:
    """Asks `/health` all the time on one connection: what that takes is how long the event loop was busy."""

    def __init__(self, gateway: Gateway, pause_s: float = 0.05) -> None:
        self.gateway = gateway
        self.pause_s = pause_s
        self.answered = 0
        self.worst_s = 0.0
        self.failures: list[str] = []
        self.ended = Event()
        self.thread = Thread(target=self.work, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join(ANSWER_TIMEOUT_S + 5)
        assert not self.thread.is_alive(), "/health does not answer"

    def work(self) -> None:
        connection = leaks.Connection("127.0.0.1", self.gateway.port, timeout=ANSWER_TIMEOUT_S)
        while not self.ended.wait(self.pause_s):
            began = time.monotonic()
            try:
                connection.request("GET", "/health")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(str(answer.status))
            except (OSError, http.client.HTTPException) as problem:
                self.failures.append(repr(problem))
                connection.close()
            self.worst_s = max(self.worst_s, time.monotonic() - began)
            self.answered += 1
        connection.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Remote:
    """One hostile server over HTTP. A context manager; it may be stopped and started again on its port."""

    def __init__(self, mode: str, *options: str, **config: Any) -> None:
        self.mode = mode
        self.options = options
        self.config = config  # more keys of the server's entry in a configuration
        self.process: subprocess.Popen[bytes] | None = None
        self.port = self.control = self.decoy = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-I", "-S", str(HOSTILE_HTTP), self.mode, *self.options]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        # It says its ports once it listens on them, and nothing else ever.
        ports = self.process.stdout.readline().split()
        assert len(ports) == 3, f"{self.mode} did not start: {self.process.wait(STOP_TIMEOUT_S)}"
        self.port, self.control, self.decoy = map(int, ports)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    @property
    def url(self) -> str:
        path = "sse" if ("--transport", "sse") in pairwise(self.options) else "mcp"
        scheme = "https" if "--tls" in self.options else "http"
        return f"{scheme}://127.0.0.1:{self.port}/{path}"

    @property
    def entry(self) -> dict[str, Any]:
        """The configuration of this server."""
        return {"url": self.url, **self.config}

    def ask(self, method: str, body: bytes | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.control, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request(method, "/", body)
            seen = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert isinstance(seen, dict)
        return seen

    def stats(self) -> dict[str, Any]:
        """What the server has seen so far, by a way that no mode touches."""
        return self.ask("GET")

    def become(self, mode: str, **options: Any) -> None:
        """Turns the server into another one while it runs; names as on its command line."""
        self.ask("POST", json.dumps({"on": "", "times": -1, **options, "mode": mode}).encode())


def remote(mode: str, *options: str, **config: Any) -> Remote:
    """A remote hostile server, not yet started; `config` are more keys of the server's entry."""
    return Remote(mode, *options, **config)
