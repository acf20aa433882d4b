"""The whole: the starter configuration with its real servers, through the real command.

What a newcomer does in the first two minutes, and what must be true afterwards: every server answers over
REST and over MCP, what was switched stays switched, and however the gateway ends, nothing is left of it.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import real
from tests.faces.knocking import Api, Mcp, check_problem
from tests.harness import MARKER, Gateway, has_ended, until

STARTER = Path(__file__).resolve().parents[1] / "starter"
COMMAND = Path(sys.executable).with_name("mcp-gateway")
PYTHON_SERVERS = ("time", "git")
NODE_SERVERS = ("filesystem", "everything")
READY_S = 60.0  # four interpreters start at once on two cores
STOP_S = 15.0
KILLED_S = 3.0  # after kill -9 the guardian has this long


@dataclass
class Run:
    """One run of the command. `client` speaks to it; `state` is its state directory."""

    state: Path
    process: subprocess.Popen[str]
    client: Gateway

    def marked(self) -> dict[int, str]:
        """The living processes that this gateway has started, by the marker they inherit."""
        marker = f"{MARKER}={(self.state / 'instance').read_text().strip()}/".encode()
        found = {}
        for process in psutil.process_iter():
            try:
                environ = Path(f"/proc/{process.pid}/environ").read_bytes()
                if any(item.startswith(marker) for item in environ.split(b"\0")) and not has_ended(
                    process.pid
                ):
                    found[process.pid] = " ".join(process.cmdline())
            except (OSError, psutil.Error):
                continue
        return found

    def family(self) -> list[psutil.Process]:
        """Everything below the gateway in the process tree: servers, their helpers, the guardian."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def check_nothing_left(self, family: list[psutil.Process], timeout_s: float) -> None:
        def left() -> list[psutil.Process]:
            return [process for process in family if process.is_running() and not has_ended(process.pid)]

        until(lambda: not left(), timeout_s, "every child has ended", lambda: str(left()))
        until(lambda: not self.marked(), timeout_s, "no helper is left", lambda: str(self.marked()))


def environment(state: Path, *, with_node: bool = True) -> dict[str, str]:
    needed = {name: shutil.which(name) for name in ("git", "node") if with_node or name != "node"}
    path = os.pathsep.join({str(Path(found).parent) for found in needed.values() if found})
    return {"PATH": path, "HOME": str(state.parent), "MCP_GATEWAY_STATE_DIR": str(state)}


@contextmanager
def run(state: Path, *names: str) -> Iterator[Run]:
    """The command with the starter's servers of these names, as `make run` starts it, all of them ready."""
    env = environment(state)
    prepared = subprocess.run(
        (sys.executable, str(STARTER / "prepare.py")),
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    config = Path(prepared.stdout.strip())
    starter: dict[str, Any] = json.loads(config.read_text())["mcpServers"]
    if set(names) != set(starter):
        config = config.with_name("some.json")
        config.write_text(json.dumps({"mcpServers": {name: starter[name] for name in names}}))
        config.chmod(0o600)
    with (state / "log").open("a") as log:
        process = subprocess.Popen(
            (str(COMMAND), "serve", "--config", str(config), "--port", "0"),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Open http://127.0.0.1:"), (state / "log").read_text()[-3000:]
            client = Gateway({}, state, port=int(line.rpartition(":")[2]))
            running = Run(state, process, client)
            for name in names:
                shown = client.server(name)
                if shown["enabled"]:
                    client.wait_for_state(name, "ready", timeout_s=READY_S)
            yield running
        finally:
            process.kill()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    real.need(real.FILESYSTEM, real.EVERYTHING)
    with run(tmp_path_factory.mktemp("whole") / "state", *PYTHON_SERVERS, *NODE_SERVERS) as running:
        yield running
        family = running.family()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(STOP_S) == 0
        running.check_nothing_left(family, KILLED_S)
        assert "Traceback" not in (running.state / "log").read_text()


def test_every_starter_server_is_ready_with_its_tools(everything: Run) -> None:
    shown = {server["id"]: server for server in everything.client.get("/api/servers").json()["servers"]}
    assert list(shown) == [*PYTHON_SERVERS, *NODE_SERVERS]
    for server in shown.values():
        assert (server["state"], server["lastError"]) == ("ready", None)
        assert server["tools"] >= 2
        assert psutil.pid_exists(server["pid"])
    assert len(everything.marked()) >= 4


REAL_CALLS: tuple[tuple[str, str, Callable[[Run], dict[str, Any]], str], ...] = (
    ("time", "get_current_time", lambda run: {"timezone": "UTC"}, '"timezone"'),
    (
        "git",
        "git_log",
        lambda run: {"repo_path": str(run.state / "starter" / "repository")},
        "Begin the demo repository",
    ),
    (
        "filesystem",
        "read_text_file",
        lambda run: {"path": str(run.state / "starter" / "files" / "welcome.txt")},
        "This folder is what the starter",
    ),
    ("everything", "echo", lambda run: {"message": "Grüße 😀"}, "Grüße 😀"),
)


@pytest.mark.parametrize(
    ("server", "tool", "arguments", "wanted"), REAL_CALLS, ids=[call[0] for call in REAL_CALLS]
)
def test_a_real_tool_of_a_real_server_answers_on_every_way_in_alike(
    everything: Run, server: str, tool: str, arguments: Callable[[Run], dict[str, Any]], wanted: str
) -> None:
    client, sent = everything.client, arguments(everything)
    rest = Api(client).call(server, tool, **sent)
    assert rest.status == 200, rest
    assert wanted in rest.text
    assert not rest.json().get("isError")
    streamed = client.stream(server, tool, **sent)
    assert [name for name, _ in streamed][-1] == "result"
    for endpoint, name in (("/mcp", f"{server}__{tool}"), (f"/servers/{server}/mcp", tool)):
        session = Mcp(client, endpoint)
        answered = session.call(name, sent)["result"]
        assert wanted in answered["content"][0]["text"]
        assert answered.keys() == rest.json().keys()
        assert name in session.tools()
        session.end()
    rows = client.get(f"/api/calls?server={server}&tool={tool}").json()["calls"]
    assert [(row["face"], row["outcome"]) for row in rows[:4]] == [
        ("mcp", "ok"),
        ("mcp", "ok"),
        ("rest", "ok"),
        ("rest", "ok"),
    ]


def test_a_mistake_of_the_caller_is_told_by_the_real_server(everything: Run) -> None:
    outside = everything.client.call("filesystem", "read_text_file", path="/etc/passwd")
    assert outside.json()["isError"] is True
    assert "denied" in outside.text.lower()


def test_progress_of_a_real_server_is_heard(everything: Run) -> None:
    tool = "trigger-long-running-operation"
    told = everything.client.stream("everything", tool, duration=0.4, steps=4)
    assert [name for name, _ in told] == ["progress"] * 4 + ["result"]
    assert [data["progress"] for name, data in told if name == "progress"] == [1, 2, 3, 4]


def test_nobody_needs_to_be_told_apart_to_look_and_the_page_shows_all(everything: Run) -> None:
    page = everything.client.get("/").body.decode()
    assert page.count("</svg>ready</span>") == 4


def test_a_switch_survives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with run(state, *PYTHON_SERVERS) as first:
        first.client.switch("time", False)
        first.client.wait_for_state("time", "off")
        path = "/api/tools/git/git_status"
        assert first.client.request("PATCH", path, {"enabled": False}).status == 200
        made = first.client.call("git", "git_log", repo_path=str(state / "starter" / "repository")).call_id
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(STOP_S) == 0
    with run(state, *PYTHON_SERVERS) as second:
        shown = second.client.server("time")
        assert (shown["state"], shown["declared"], shown["override"]) == ("off", True, False)
        check_problem(
            second.client.call("time", "get_current_time", timezone="UTC"), 503, "unavailable", "off"
        )
        assert second.client.get(path).json()["enabled"] is False
        check_problem(second.client.call("git", "git_status"), 503, "unavailable", "off")
        assert second.client.get(f"/api/calls/{made}").json()["outcome"] == "ok"
        # Back to what the configuration says, while it runs.
        answer = second.client.request("PATCH", "/api/servers/time", {"enabled": None})
        assert answer.json()["override"] is None
        assert second.client.call("time", "get_current_time", timezone="UTC").status == 200
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(STOP_S) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_gateway_and_everything_it_started(tmp_path: Path, number: signal.Signals) -> None:
    real.need(real.FILESYSTEM, real.EVERYTHING)
    with run(tmp_path / "state", "git", "everything") as running, ExitStack() as stack:
        client, accept = running.client, {"Accept": "text/event-stream"}
        session = Mcp(client)
        watching = (("/api/events", accept), ("/mcp", session.headers | accept))
        streams = [stack.enter_context(client.open("GET", path, None, sent)) for path, sent in watching]
        family = running.family()
        assert len(family) >= 3
        assert running.marked()
        running.process.send_signal(number)
        assert running.process.wait(STOP_S) == 0
        running.check_nothing_left(family, 1.0)
        for stream in streams:
            stream.read()  # it ended as a stream does, and was not cut off
    assert "Traceback" not in (tmp_path / "state" / "log").read_text()


def test_a_second_signal_does_not_wait_and_leaves_nothing_either(tmp_path: Path) -> None:
    with run(tmp_path / "state", *PYTHON_SERVERS) as running:
        family = running.family()
        for _ in range(2):
            running.process.send_signal(signal.SIGINT)
        # Two that arrive as one are one; `test_draining.py` proves the second.
        assert running.process.wait(STOP_S) in (0, 128 + signal.SIGINT)
        running.check_nothing_left(family, KILLED_S)


def test_a_gateway_that_is_killed_leaves_nothing_and_comes_back(tmp_path: Path) -> None:
    real.need(real.FILESYSTEM, real.EVERYTHING)
    state = tmp_path / "state"
    with run(state, *PYTHON_SERVERS, *NODE_SERVERS) as killed:
        family = killed.family()
        assert len(killed.marked()) >= 4
        tool = "/api/tools/everything/trigger-long-running-operation"
        with killed.client.open(
            "POST", tool, {"duration": 60, "steps": 6}, {"Prefer": "respond-async"}
        ) as begun:
            where = begun.getheader("Location")
        row = "/api/calls?outcome=running&server=everything"
        until(lambda: killed.client.get(row).json()["calls"], 5, "the running call has its row")
        killed.process.kill()
        killed.process.wait(STOP_S)
        killed.check_nothing_left(family, KILLED_S)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            killed.client.get("/health")
    with run(state, "time") as again:
        assert again.client.call("time", "get_current_time", timezone="UTC").status == 200
        assert again.client.get(str(where)).json()["outcome"] == "interrupted"
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(STOP_S) == 0
