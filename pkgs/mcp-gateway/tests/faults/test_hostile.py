"""The hostile server itself, over plain pipes: what it promises is what the fault table relies on.

No gateway takes part. A mode that would only show itself inside a gateway (stopping, sweeping, back-off)
is tried in `test_faults.py`; here it is enough that each one starts, speaks and ends as it says.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import HOSTILE, has_ended, until

ANSWER_TIMEOUT_S = 10.0
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
# These acts let the right answer follow whatever else they write.
ENDS_RIGHT = (
    *("garbage", "garbage-flood", "invalid-utf8", "bom", "crlf", "utf16", "drip", "burst", "two-on-a-line"),
    *("embedded-newline", "deep", "duplicate-keys", "huge-int", "batch", "unknown-id", "duplicate-reply"),
    *("result-then-error", "odd-progress", "log-flood", "list-storm", "stderr-secret", "bad-output"),
    *("huge-noise", "orphans", "good", "both", "stop-reading", "stderr-long-line"),
)
NEVER_ENDS_RIGHT = ["never", "neither", "odd-result", "odd-error", "nan", "string-id", "half", "stream"]


class Pipes:
    """One hostile process and its three pipes, read with a deadline."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HOSTILE), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin"} | (env or {}),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.buffer = b""
        self.complaints = b""
        self.ids = 0

    def send(self, message: dict[str, Any]) -> None:
        os.write(self.stdin.fileno(), json.dumps(message).encode() + b"\n")

    def lines(self) -> Iterator[bytes]:
        """Every line until stdout ends; what comes after the last newline counts as one, too."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        poll = select.poll()
        for stream in (self.stdout, self.stderr):
            poll.register(stream.fileno(), select.POLLIN | select.POLLHUP)
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                yield line
            wait_s = deadline - time.monotonic()
            assert wait_s > 0, f"no answer; stderr: {self.complaints[-500:]!r}"
            for descriptor, _ in poll.poll(wait_s * 1000):
                chunk = os.read(descriptor, 1 << 20)
                if descriptor == self.stderr.fileno():
                    self.complaints = (self.complaints + chunk)[-10_000:]
                    if not chunk:
                        poll.unregister(descriptor)
                elif chunk:
                    self.buffer += chunk
                else:
                    if self.buffer:
                        yield self.buffer
                    self.buffer = b""
                    return

    def replies(self) -> Iterator[dict[str, Any]]:
        """Every line that is a JSON-RPC reply to the request sent last."""
        for line in self.lines():
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict) and "method" not in message and message.get("id") is not True:
                yield message

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.ids += 1
        self.send({"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params or {}})
        for reply in self.replies():
            if reply.get("id") == self.ids and not (text_of(reply) or "").startswith("WR"):
                return reply
        pytest.fail(f"stdout ended without an answer to {method}; stderr: {self.complaints!r}")

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.request(
            "tools/call", {"name": tool, "arguments": arguments, "_meta": {"progressToken": 7}}
        )

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(timeout=ANSWER_TIMEOUT_S)
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()


def text_of(reply: dict[str, Any]) -> str | None:
    try:
        text = reply["result"]["content"][0]["text"]
    except (LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None


Open = Callable[..., Pipes]


@pytest.fixture
def hostile() -> Iterator[Open]:
    opened: list[Pipes] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Pipes:
        opened.append(Pipes(*arguments, env=env))
        return opened[-1]

    yield start
    for pipes in opened:
        pipes.close()


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_the_handshake_echoes_every_revision_it_knows(hostile: Open, revision: str) -> None:
    pipes = hostile("good")
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    assert pipes.request("initialize", params)["result"]["protocolVersion"] == revision
    assert pipes.request("ping")["result"] == {}
    assert pipes.request("server/discover")["error"]["code"] == -32601


def test_a_modern_server_takes_only_requests_with_their_meta(hostile: Open) -> None:
    pipes = hostile("good", "--era", "modern")
    refused = pipes.request("initialize", {"protocolVersion": "2025-11-25"})["error"]
    assert refused["code"] == -32022
    assert refused["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
    found = pipes.request("server/discover", {"_meta": MODERN_META})["result"]
    assert found["supportedVersions"] == ["2026-07-28"]
    assert found["resultType"] == "complete"
    assert pipes.request("tools/list")["error"]["code"] == -32602
    listed = pipes.request("tools/list", {"_meta": MODERN_META})["result"]
    assert {"ttlMs", "cacheScope", "resultType", "tools"} <= set(listed)
    answer = pipes.request("tools/call", {"name": "echo", "arguments": {"text": "hi"}, "_meta": MODERN_META})
    assert text_of(answer) == "hi"
    assert pipes.request("ping", {"_meta": MODERN_META})["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("opening", "other"), [("initialize", "server/discover"), ("server/discover", "ping")]
)
def test_a_dual_server_keeps_the_era_of_its_first_request(hostile: Open, opening: str, other: str) -> None:
    pipes = hostile("good", "--era", "dual")
    assert "result" in pipes.request(opening, {"_meta": MODERN_META, "protocolVersion": "2025-11-25"})
    assert "error" in pipes.request(other, {"_meta": MODERN_META})


def test_the_list_has_every_tool_and_as_many_dummies_as_asked_for_page_by_page(hostile: Open) -> None:
    pipes = hostile("good", "--tools", "30", "--page", "7")
    names: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = pipes.request("tools/list", cursor)["result"]
        names += [tool["name"] for tool in page["tools"]]
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    expected = {"echo", "sleep", "blob", "progress", "die", "pid", "env", "fail", "refuse", "stats", "act"}
    assert expected < set(names)
    assert len(names) == len(set(names)) == len(expected) + 30
    assert text_of(pipes.call("dummy-00029")) == "dummy-00029 did nothing"
    assert pipes.call("dummy-00030")["error"]["code"] == -32602


def test_a_sleeping_call_blocks_nobody_and_stays_silent_once_cancelled(hostile: Open) -> None:
    pipes = hostile("good")
    for number, ms in ((101, 300), (102, 100), (103, 50)):
        params = {"name": "sleep", "arguments": {"ms": ms}}
        pipes.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
    pipes.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 102}})
    answered = [next(replies)["id"] for replies in [pipes.replies()] for _ in range(2)]
    assert answered == [103, 101]
    seen = json.loads(text_of(pipes.call("stats")) or "")
    assert (seen["cancelled"], seen["cancelledIds"], seen["running"]) == (1, [102], 0)


def test_the_tools_do_what_their_descriptions_say(hostile: Open, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    pipes = hostile("good", "--journal", str(journal), env={"SECRET": "s3cret"})
    assert text_of(pipes.call("echo", text="ä\u2028 ok")) == "ä\u2028 ok"
    assert len(text_of(pipes.call("blob", bytes=300_000)) or "") == 300_000
    assert text_of(pipes.call("progress", steps=3, ms=1)) == "3 steps"
    assert text_of(pipes.call("pid")) == str(pipes.process.pid)
    shown = text_of(pipes.call("env")) or ""
    assert "SECRET" in json.loads(shown)["names"]
    assert "s3cret" not in shown
    assert pipes.call("fail")["result"]["isError"] is True
    assert pipes.call("refuse", code=-32002, message="no")["error"]["code"] == -32002
    assert [line.split()[0] for line in journal.read_text().splitlines()] == (
        ["echo", "blob", "progress", "pid", "env", "fail", "refuse"]
    )


@pytest.mark.parametrize("mode", ENDS_RIGHT)
def test_an_act_ends_with_the_right_answer(hostile: Open, mode: str) -> None:
    pipes = hostile(mode, "--delay-ms", "50")
    assert text_of(pipes.call("act")) == "right"
    assert text_of(pipes.call("echo", text="and on")) == "and on"


@pytest.mark.parametrize("mode", NEVER_ENDS_RIGHT)
def test_an_act_never_gives_a_right_answer(hostile: Open, mode: str) -> None:
    pipes = hostile(mode, "--bytes", "2097152")
    act = {"name": "act", "arguments": {}}
    echo = {"name": "echo", "arguments": {"text": "end"}}
    pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": act})
    if mode != "half":
        pipes.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": echo})
    before = []
    for line in pipes.lines():
        if b'"id":2,' in line:
            break
        before.append(line)
    right = [line for line in before if line.endswith(b"}") and strictly(line) == ("right", 1)]
    assert right == []
    if mode == "half":
        assert before == [before[0]]
        assert pipes.process.wait(ANSWER_TIMEOUT_S) == 0


def strictly(line: bytes) -> tuple[str | None, Any]:
    """The text and the id of a line that is JSON by the book."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        message = json.loads(line, parse_constant=refuse)
    except ValueError:
        return None, None
    return text_of(message), message.get("id")


@pytest.mark.parametrize(
    ("mode", "status"),
    [
        ("die", 3),
        ("segv", -signal.SIGSEGV),
        ("abort", -signal.SIGABRT),
        ("kill9", -signal.SIGKILL),
        ("half", 0),
    ],
)
def test_an_act_ends_the_process_the_way_it_says(hostile: Open, mode: str, status: int) -> None:
    pipes = hostile(mode)
    pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "act"}})
    assert pipes.process.wait(ANSWER_TIMEOUT_S) == status


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["exit0"], 0),
        (["exit", "--code", "126"], 126),
        (["slow-exit", "--delay-ms", "10", "--code", "7"], 7),
        (["no-such-mode"], 64),
    ],
)
def test_a_start_mode_exits_with_a_complaint(hostile: Open, arguments: list[str], status: int) -> None:
    pipes = hostile(*arguments)
    assert pipes.process.wait(ANSWER_TIMEOUT_S) == status
    assert list(pipes.lines()) == []
    assert pipes.stderr.read().startswith(b"hostile: ")


def test_a_server_that_misbehaves_so_many_times_behaves_afterwards(hostile: Open, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    for _ in range(2):
        process = hostile("exit", "--code", "9", "--marks", str(marks), "--times", "2").process
        assert process.wait(ANSWER_TIMEOUT_S) == 9
    assert text_of(hostile("exit", "--marks", str(marks), "--times", "2").call("echo", text="ok")) == "ok"
    assert len(marks.read_text().splitlines()) == 3


@pytest.mark.parametrize("mode", ["good", "ignore-eof", "ignore-term"])
def test_only_a_server_that_is_told_to_outlives_its_stdin_or_a_signal(hostile: Open, mode: str) -> None:
    pipes = hostile(mode)
    assert text_of(pipes.call("pid")) == str(pipes.process.pid)
    pipes.stdin.close()
    if mode == "good":
        assert pipes.process.wait(ANSWER_TIMEOUT_S) == 0
        return
    process = psutil.Process(pipes.process.pid)
    until(lambda: process.status() == psutil.STATUS_SLEEPING, 5, "the process sleeps")
    pipes.process.terminate()
    if mode == "ignore-eof":
        assert pipes.process.wait(ANSWER_TIMEOUT_S) == -signal.SIGTERM
    else:
        # Nothing announces that a signal was ignored: the next one that is not must be the one that kills.
        pipes.process.kill()
        assert pipes.process.wait(ANSWER_TIMEOUT_S) == -signal.SIGKILL


@pytest.mark.parametrize(("mode", "in_group"), [("helpers", True), ("daemon", False)])
def test_helpers_share_the_group_and_a_daemon_does_not(hostile: Open, mode: str, in_group: bool) -> None:
    pipes = hostile(mode)
    pids = json.loads(text_of(pipes.call("act")) or "")
    try:
        groups = {os.getpgid(pid) for pid in pids}
        assert (groups == {pipes.process.pid}) is in_group
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    if not in_group:
        until(lambda: all(has_ended(pid) for pid in pids), 5, "the daemon ends")


def test_the_bomb_is_made_of_thirty_processes_in_the_group_and_no_more(hostile: Open) -> None:
    pipes = hostile("bomb")
    assert text_of(pipes.call("act")) == "right"
    root = psutil.Process(pipes.process.pid)
    until(lambda: len(root.children(recursive=True)) == 30, 5, "thirty processes run")
    # Killed with their group when the pipes close; each would end by itself in ten seconds.


def test_a_grandchild_keeps_stdout_open_after_its_parent_is_gone(hostile: Open) -> None:
    pipes = hostile("orphan-stdout")
    pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "act"}})
    assert pipes.process.wait(ANSWER_TIMEOUT_S) == 0
    poll = select.poll()
    poll.register(pipes.stdout.fileno(), select.POLLIN)
    assert poll.poll(0) == []  # no end of file: somebody still holds the pipe


@pytest.mark.parametrize("stream", ["stdout", "stdin"])
def test_a_server_closes_one_pipe_and_keeps_running(hostile: Open, stream: str) -> None:
    pipes = hostile(f"close-{stream}")
    pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "act"}})
    if stream == "stdout":
        assert list(pipes.lines()) == []
    else:
        poll = select.poll()
        poll.register(pipes.stdin.fileno(), 0)
        assert poll.poll(ANSWER_TIMEOUT_S * 1000)[0][1] & select.POLLERR
    assert pipes.process.poll() is None


def test_a_server_that_asks_replies_with_the_answers_it_got(hostile: Open) -> None:
    pipes = hostile("ask")
    pipes.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "act"}})
    for line in pipes.lines():
        message = json.loads(line)
        if message.get("method") == "ping":
            pipes.send({"jsonrpc": "2.0", "id": message["id"], "result": {}})
        elif "method" in message:
            pipes.send({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}})
        else:
            answers = json.loads(text_of(message) or "")
            break
    assert answers == {
        "ping": {},
        "nonsense/ask": -32601,
        "elicitation/create": -32601,
        "sampling/createMessage": -32601,
    }


@pytest.mark.parametrize(
    ("mode", "check"),
    [
        ("init-wrong-version", lambda reply: reply["result"]["protocolVersion"] == "1999-12-31"),
        ("init-empty", lambda reply: reply["result"] == {}),
        ("init-not-object", lambda reply: isinstance(reply["result"], list)),
        ("init-odd-types", lambda reply: isinstance(reply["result"]["protocolVersion"], int)),
        ("init-error", lambda reply: reply["error"]["message"] == "no licence found"),
        ("init-huge", lambda reply: len(reply["result"]["instructions"]) == 5_000_000),
    ],
)
def test_initialize_is_answered_the_way_the_mode_says(
    hostile: Open, mode: str, check: Callable[[dict[str, Any]], bool]
) -> None:
    assert check(hostile(mode).request("initialize", {"protocolVersion": "2025-11-25"}))


def test_every_mode_is_listed_with_its_fault(hostile: Open) -> None:
    lines = [line.decode().split(maxsplit=1) for line in hostile("--modes").lines()]
    assert len(lines) == len({mode for mode, _ in lines})
    assert all(rest.startswith("F0") for mode, rest in lines if mode != "good")
