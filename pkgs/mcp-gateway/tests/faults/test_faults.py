"""The fault catalogue, over REST, against the real command: one row per fault, one gateway for all.

Each row has a server of its own that misbehaves in one way. The row switches it on, drives it, and
switches it off again; whatever the fault, these hold afterwards:
one typed answer and exactly one record per call (I1, I5, I6); a neighbour that calls a server that
behaves, all the time, never notices (I2), and `/health` answers at once (I3); nothing the server started
is left (I4); the server recovers by itself (I8) without a storm of starts (I10).
Rows that need a gateway to die have their own at the end. `hostile.py --modes` explains the modes.
"""

import http.client
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tests.faces.knocking import Mcp, check_rpc_error
from tests.harness import (
    HOSTILE,
    MARKER,
    Answer,
    Gateway,
    Holdings,
    Neighbour,
    Pulse,
    has_ended,
    hostile,
    until,
)
from tests.hostile import SCHEMAS

READY_S = 15.0  # a start on a busy machine, after a short back-off
RECOVERY_S = 20.0  # the first back-off windows are 1, 2 and 4 s
# The order of a stop: 2 s for the end of stdin, 2 s for SIGTERM, 1 s for SIGKILL, and a slow machine.
STOP_S = 8.0
PROMPT_S = 6.0  # what must not wait for a call's own timeout of 60 s
KILLED_S = 2.0
# The loop itself is never held for as much as 100 ms (bench, chaos); this is for a busy machine.
HEALTH_S = 1.0
SHORT_TIMEOUT = {"timeout": 0.6}
DOWN = ("waiting", "failed")
# What a call may be told while its server dies or comes back; never `internal`, never a hang.
TRANSIENT = ("lost", "unavailable")
INHERITED = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"}
CANARY = "canary-5e1f0c9d"
RSS_SLACK_BYTES = 64 << 20  # allocators keep what they once had; a gigabyte they do not
MIB = 1 << 20


class Case:
    """One row at work: its server, and what it knows of it besides the gateway's word."""

    def __init__(self, gateway: Gateway, server: str, directory: Path) -> None:
        self.gateway = gateway
        self.server = server
        self.directory = directory

    def shown(self) -> dict[str, Any]:
        return self.gateway.server(self.server)

    def starts(self) -> int:
        """How many processes ran the hostile server so far."""
        marks = self.directory / "marks"
        return len(marks.read_text().splitlines()) if marks.exists() else 0

    def received(self, tool: str) -> int:
        """How many calls of a tool arrived at the server, over all its processes."""
        journal = self.directory / "journal"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return sum(line.split()[0] == tool for line in lines)

    def wait(self, *states: str, timeout_s: float = READY_S) -> dict[str, Any]:
        return self.gateway.wait_for_state(self.server, *states, timeout_s=timeout_s)

    def wait_for(self, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        return self.gateway.wait_for(self.server, condition, READY_S, what)

    def call(self, tool: str, **arguments: Any) -> Answer:
        return self.gateway.call(self.server, tool, **arguments)

    def act(self) -> Answer:
        return self.call("act")

    def ask(self, tool: str) -> Any:
        """The JSON that a tool answers as text."""
        answer = self.call(tool)
        assert answer.code == "ok", answer
        return json.loads(answer.text)

    def begin(self, pool: ThreadPoolExecutor, tool: str, **arguments: Any) -> "Future[Answer]":
        """Starts a call and waits until the server has it."""
        before = self.received(tool)
        future = pool.submit(self.call, tool, **arguments)
        until(lambda: self.received(tool) > before, PROMPT_S, f"{tool} arrives at {self.server}")
        return future

    def refuses(self, *codes: str) -> None:
        """A call is told in a typed way that the server cannot take it, without waiting its full minute.

        It waits as long as the server might be back within two seconds: for a few short attempts.
        """
        answer = self.gateway.call(self.server, "echo", READY_S, text="anybody there?")
        assert answer.code in codes, answer
        problem = answer.json()
        assert problem["server"] == self.server
        assert problem["status"] == answer.status
        assert problem["detail"]
        assert problem["retryable"] is (problem["code"] in ("busy", "unavailable"))
        assert problem["callId"]

    def works(self) -> None:
        answer = self.call("echo", text="still here")
        assert answer.status == 200, answer
        assert answer.text == "still here"

    def recovers(self) -> dict[str, Any]:
        """Without any help the server takes calls again; meanwhile every answer is typed."""

        def answered() -> bool:
            answer = self.call("echo", text="back")
            assert answer.code in ("ok", *TRANSIENT), answer
            return answer.status == 200 and answer.text == "back"

        until(answered, RECOVERY_S, f"{self.server} recovers", lambda: str(self.shown()))
        return self.shown()

    def is_the_only_one(self) -> None:
        """One process serves it, and no other is left of those before."""
        until(
            lambda: set(self.gateway.survivors(self.server)) == {self.shown()["pid"]},
            STOP_S,
            "one process is left",
        )


Drive = Callable[[Case], None]


@dataclass(frozen=True)
class Fault:
    """One row. `entry` builds the server's configuration where a hostile mode alone is not the fault."""

    id: str
    name: str
    mode: str
    drive: Drive
    options: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    entry: Callable[[Path], dict[str, Any]] | None = None
    early: bool = False  # on from the beginning: what it waits for passes while other rows work

    @property
    def server(self) -> str:
        return f"{self.id}-{self.name}".lower()

    def configured(self, directory: Path) -> dict[str, Any]:
        directory.mkdir()
        if self.entry is not None:
            entry = self.entry(directory)
        else:
            files = ("--marks", str(directory / "marks"), "--journal", str(directory / "journal"))
            entry = hostile(self.mode, *self.options, *files)
        return entry | self.config | {"enabled": self.early}


# -- what the rows expect -------------------------------------------------------------------------------


def fails_at_once(*words: str) -> Drive:
    def drive(case: Case) -> None:
        shown = case.wait("failed")
        assert all(word in shown["reason"] for word in words), shown
        assert shown["nextRetry"] is None
        case.refuses("unavailable")
        again = case.shown()
        assert (again["state"], again["attempt"]) == ("failed", shown["attempt"])

    return drive


def backs_off(code: int, word: str) -> Drive:
    def drive(case: Case) -> None:
        case.refuses("unavailable")
        shown = case.wait_for(
            lambda shown: shown["state"] == "waiting" and shown["attempt"] >= 2, "waits the second time"
        )
        window_s = 2 ** (shown["attempt"] - 1)
        assert shown["nextRetry"] - time.time() <= window_s, shown
        assert (shown["exit"]["code"], shown["exit"]["signal"]) == (code, None), shown
        assert word in json.dumps(shown["stderr"])
        assert shown["reason"]
        # Each attempt may need a second process, to learn the era a server speaks.
        assert case.starts() <= 2 * (case.shown()["attempt"] + 1)

    return drive


def comes_back_by_itself(case: Case) -> None:
    shown = case.wait("ready", timeout_s=RECOVERY_S)
    assert not shown["reason"]
    case.works()
    assert case.starts() == 6  # five that failed, and the one that lives


def never_ready(*words: str) -> Drive:
    def drive(case: Case) -> None:
        shown = case.wait(*DOWN)
        assert shown["reason"]
        assert any(word in shown["reason"] for word in words), shown["reason"]
        case.refuses("unavailable", "timed_out")

    return drive


def ready_and_works(case: Case) -> None:
    case.wait("ready", timeout_s=RECOVERY_S)
    case.works()
    assert case.call("fail").code == "tool_error"
    answer = case.call("refuse", code=-32000, message="not today")
    assert answer.code == "lost"
    assert "not today" in answer.json()["detail"]


def waits_for_a_slow_start(case: Case) -> None:
    case.wait("starting")
    case.works()
    assert case.starts() == 1


def installs(case: Case) -> None:
    shown = case.wait_for(lambda shown: "fetching" in json.dumps(shown["stderr"]), "shows its stderr")
    assert shown["state"] == "starting"
    assert "install" in (shown["reason"] or ""), shown
    case.works()


def install_fails(case: Case) -> None:
    shown = case.wait("waiting")
    assert "registry cannot be reached" in json.dumps(shown["stderr"]), shown


def restarts_after_a_kill(case: Case) -> None:
    pid = case.wait("ready")["pid"]
    os.kill(pid, signal.SIGKILL)
    shown = case.recovers()
    assert shown["pid"] != pid
    assert case.starts() <= 4


def flaps(case: Case) -> None:
    shown = case.wait_for(lambda shown: shown["attempt"] >= 3, "has failed three times")
    assert case.starts() <= 2 * (shown["attempt"] + 1)


def dies(*words: str, code: int | None = None, signal_name: str | None = None) -> Drive:
    def drive(case: Case) -> None:
        pid = case.wait("ready")["pid"]
        starts = case.starts()
        answer = case.act()
        assert answer.status == 502, answer
        assert answer.code == "lost", answer
        problem = answer.json()
        assert problem["retryable"] is False
        assert all(word in problem["detail"] for word in words), problem
        shown = case.recovers()
        assert (shown["exit"]["code"], shown["exit"]["signal"]) == (code, signal_name)
        assert shown["pid"] != pid
        assert case.received("act") == 1, "a call that may have run is not tried again"
        assert case.starts() == starts + 1

    return drive


def loses_fifty_calls(case: Case) -> None:
    case.wait("ready")
    starts = case.starts()
    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(case.call, "sleep", ms=60_000) for _ in range(50)]
        until(lambda: case.received("sleep") == 50, READY_S, "fifty calls run")
        assert case.shown()["calls"]["running"] == 50
        assert case.act().code == "lost"
        assert [call.result().code for call in calls] == ["lost"] * 50
    shown = case.recovers()
    assert shown["calls"]["running"] == shown["calls"]["queued"] == 0
    assert case.starts() == starts + 1


def stops(case: Case) -> None:
    """Nothing to do here: that every row stops in time and leaves nothing is checked after each."""
    case.wait("ready")
    case.works()


def leaves_nothing(count: int) -> Drive:
    def drive(case: Case) -> None:
        case.wait("ready")
        answer = case.act()
        assert answer.code == "ok"
        strays = until(
            lambda: [pid for pid in case.gateway.survivors(case.server) if pid != case.shown()["pid"]],
            PROMPT_S,
            "strays run",
        )
        until(lambda: len(case.gateway.survivors(case.server)) == count + 1, PROMPT_S, f"{count} strays run")
        assert strays

    return drive


def a_crash_takes_the_daemon_along(case: Case) -> None:
    case.wait("ready")
    [daemon] = case.ask("act")
    assert not has_ended(daemon)
    assert case.call("die").code == "lost"
    case.recovers()
    until(lambda: has_ended(daemon), PROMPT_S, "the daemon of the dead server is gone")


def does_not_wait_for_a_grandchild(case: Case) -> None:
    case.wait("ready")
    assert case.gateway.call(case.server, "act", PROMPT_S).code == "lost"
    shown = case.recovers()
    until(
        lambda: set(case.gateway.survivors(case.server)) == {shown["pid"]},
        PROMPT_S,
        "the grandchild that held stdout is gone",
    )


def times_out_while_stopped(case: Case) -> None:
    pid = case.wait("ready")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        case.refuses("timed_out")
    finally:
        os.kill(pid, signal.SIGCONT)
    case.recovers()


def is_stopped_while_stopped(case: Case) -> None:
    os.kill(case.wait("ready")["pid"], signal.SIGSTOP)


def leaves_no_zombies(case: Case) -> None:
    case.wait("ready")
    assert case.act().text == "right"
    until(lambda: case.gateway.holdings().zombies == 0, PROMPT_S, "no zombie is left")
    case.works()


def is_replaced(case: Case) -> None:
    """A server without one of its pipes is as good as dead: it is ended and started again."""
    pid = case.wait("ready")["pid"]
    assert case.gateway.call(case.server, "act", PROMPT_S).code == "lost"
    shown = case.recovers()
    assert shown["pid"] != pid
    assert has_ended(pid)


def is_replaced_once_written_to(case: Case) -> None:
    """Nobody notices a closed stdin before writing to it; then every call on the link is told."""
    pid = case.wait("ready")["pid"]
    with ThreadPoolExecutor(1) as pool:
        call = case.begin(pool, "act")
        second = case.call("echo", text="anybody there?")
        assert second.code in ("ok", *TRANSIENT), second
        assert call.result(PROMPT_S).code == "lost"
    shown = case.recovers()
    assert shown["pid"] != pid
    assert has_ended(pid)


def is_switched_off_during_its_start(case: Case) -> None:
    case.wait("starting")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(case.call, "echo", text="too late")
        case.wait_for(lambda shown: shown["calls"]["queued"] == 1, "a call waits for the start")
        case.gateway.switch(case.server, False)
        assert call.result(PROMPT_S).code == "unavailable"
    case.wait("off", timeout_s=STOP_S)
    case.refuses("unavailable")


def is_switched_off_during_a_call(case: Case) -> None:
    case.wait("ready")
    with ThreadPoolExecutor(1) as pool:
        call = case.begin(pool, "sleep", ms=60_000)
        case.gateway.switch(case.server, False)
        assert call.result(STOP_S).code in TRANSIENT
    case.wait("off", timeout_s=STOP_S)


def is_pressed_in_every_way_at_once(case: Case) -> None:
    """On, off and restart from four sides, with calls between: each wish and each call is answered."""
    case.wait("ready")
    path = f"/api/servers/{case.server}"

    def press(number: int) -> None:
        if number % 4 == 0:
            case.gateway.switch(case.server, False)
        elif number % 4 == 1:
            case.gateway.switch(case.server, True)
        elif number % 4 == 2:
            assert case.gateway.request("POST", f"{path}/restart").status // 100 == 2
        else:
            answer = case.call("echo", text="here?")
            assert answer.code in ("ok", *TRANSIENT), answer

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(press, number) for number in range(48)]:
            done.result()
    case.gateway.switch(case.server, True)
    shown = case.recovers()
    case.is_the_only_one()
    assert shown["calls"]["running"] == shown["calls"]["queued"] == 0


def is_restarted_twenty_times_at_once(case: Case) -> None:
    case.wait("ready")
    with ThreadPoolExecutor(10) as pool:
        path = f"/api/servers/{case.server}/restart"
        answers = list(pool.map(lambda _: case.gateway.request("POST", path), range(20)))
    assert {answer.status // 100 for answer in answers} == {2}
    shown = case.recovers()
    case.is_the_only_one()
    assert shown["attempt"] == 0


def right(*, garbage: bool = False) -> Drive:
    """Whatever came before it, the right answer reaches the caller and the process lives on."""

    def drive(case: Case) -> None:
        pid = case.wait("ready")["pid"]
        answer = case.act()
        assert answer.status == 200, answer
        assert answer.text == "right"
        if garbage:
            assert case.shown()["counters"]["garbage lines"] > 0
        case.works()
        assert case.shown()["pid"] == pid

    return drive


def never_wrong(*codes: str, same_process: bool = True) -> Drive:
    """The fault spoils this one answer: it is right, or typed as one of `codes`, and prompt either way."""

    def drive(case: Case) -> None:
        pid = case.wait("ready")["pid"]
        answer = case.gateway.call(case.server, "act", PROMPT_S)
        assert answer.code in codes, answer
        if answer.status == 200:
            assert answer.text == "right"
        else:
            assert answer.json()["server"] == case.server
        shown = case.recovers()
        if same_process:
            assert shown["pid"] == pid

    return drive


def is_read_one_way(case: Case) -> None:
    """Members written twice: the last counts, the caller gets one answer in an envelope of ours."""
    pid = case.wait("ready")["pid"]
    answer = case.gateway.call(case.server, "act", PROMPT_S)
    assert answer.status == 200, answer
    assert answer.text == "WRONG"
    case.works()
    assert case.recovers()["pid"] == pid


def hands_over_a_large_result(case: Case) -> None:
    case.wait("ready")
    before = case.gateway.holdings().rss_bytes
    answer = case.act()
    assert answer.code == "ok", answer.body[:300]
    artifact = answer.json()["_meta"]["mcp-gateway/artifact"]
    assert len(answer.body) < MIB
    assert len(case.gateway.get(artifact["url"]).text) == 17 * MIB
    assert case.gateway.holdings().rss_bytes - before < RSS_SLACK_BYTES
    case.works()


def ends_at_the_cap(case: Case) -> None:
    case.wait("ready")
    before = case.gateway.holdings().rss_bytes
    answer = case.gateway.call(case.server, "act", PROMPT_S)
    assert answer.code == "lost", answer.body[:300]
    case.recovers()
    assert case.gateway.holdings().rss_bytes - before < RSS_SLACK_BYTES


def streams_progress_in_order(at_most: float) -> Drive:
    def drive(case: Case) -> None:
        case.wait("ready")
        events = case.gateway.stream(case.server, "act")
        kind, last = events[-1]
        assert kind == "result", events[-3:]
        assert last["content"][0]["text"] == "right"
        assert {event for event, _ in events[:-1]} <= {"progress", "log"}
        steps = [data["progress"] for event, data in events if event == "progress"]
        assert steps == sorted(steps), "progress never goes back"
        assert all(step <= at_most for step in steps), "another call's progress was delivered"
        case.works()

    return drive


def keeps_the_right_answer_once(case: Case) -> None:
    case.wait("ready")
    for _ in range(3):
        assert case.act().text == "right"
        case.works()


def times_out_and_cancels(case: Case) -> None:
    case.wait("ready")
    answer = case.act()
    assert (answer.status, answer.code) == (504, "timed_out")
    assert answer.json()["retryable"] is False
    assert case.ask("stats")["cancelled"] == 1
    case.works()


def drops_a_late_answer(case: Case) -> None:
    case.wait("ready")
    assert case.act().code == "timed_out"
    # The late answer is on its way while others are asked for, each of which must get its own.
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert case.call("sleep", ms=100).text == "slept"
    case.works()


def cancels_when_its_caller_leaves(case: Case) -> None:
    case.wait("ready")
    case.gateway.count(case.server)
    path = f"/api/tools/{case.server}/act"
    with ThreadPoolExecutor(1) as pool:
        left = pool.submit(hang_up_once, case, path)
        left.result(READY_S)
    until(lambda: case.ask("stats")["cancelled"] == 1, PROMPT_S, "the server is told of the cancellation")
    outcomes = [row["outcome"] for row in case.gateway.records(case.server) if row["tool"] == "act"]
    assert outcomes == ["cancelled"]
    # The answer that comes all the same belongs to nobody.
    assert case.call("sleep", ms=1200).text == "slept"


def hang_up_once(case: Case, path: str) -> None:
    """Sends a call and leaves without reading the answer, once the server has it."""
    connection = http.client.HTTPConnection("127.0.0.1", case.gateway.port, timeout=READY_S)
    connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
    until(lambda: case.received("act") == 1, PROMPT_S, "the call arrives")
    connection.close()


def reads_the_list_again_once(case: Case) -> None:
    case.wait("ready")
    for _ in range(3):
        assert case.act().text == "right"
    assert case.ask("stats")["methods"]["tools/list"] <= 2


def declines_what_it_is_asked(case: Case) -> None:
    case.wait("ready")
    answers = case.ask("act")
    assert answers["ping"] == {}
    assert answers["nonsense/ask"] == -32601
    assert isinstance(answers["elicitation/create"], int), answers
    assert isinstance(answers["sampling/createMessage"], int), answers
    case.works()


def declines_ten_thousand_times(case: Case) -> None:
    case.wait("ready")
    answer = case.act()
    assert answer.code == "ok"
    assert int(answer.text) == 10_000
    case.works()


def keeps_a_bounded_tail(case: Case) -> None:
    case.wait("ready")
    before = case.gateway.holdings().rss_bytes
    assert case.act().text == "right"
    case.works()
    assert len(json.dumps(case.shown()["stderr"])) < MIB
    assert case.gateway.holdings().rss_bytes - before < RSS_SLACK_BYTES


def shows_no_secret(case: Case) -> None:
    case.wait("ready")
    assert case.act().text == "right"
    shown = case.wait_for(lambda shown: "the secret is" in json.dumps(shown["stderr"]), "shows its stderr")
    assert "\x1b" not in json.dumps(shown["stderr"], ensure_ascii=False)
    assert "\\u001b" not in json.dumps(shown["stderr"])
    for path in ("/api/servers", f"/api/servers/{case.server}", f"/api/servers/{case.server}/logs"):
        assert CANARY.encode() not in case.gateway.get(path).body, path
    assert CANARY not in case.gateway.log.read_text()


def tells_only_its_caller(case: Case) -> None:
    """All it can say is looked at after each test (tests/canary.py); here it is seen that it was said."""
    case.wait("ready")
    assert "telling in result" in case.act().text
    shown = case.wait_for(lambda shown: "•••" in json.dumps(shown["stderr"], ensure_ascii=False), "has told")
    assert "•••" in shown["instructions"]
    for how, code in (("failure", "tool_error"), ("error", "lost"), ("garbage", "lost"), ("exit", "lost")):
        assert case.call("act", how=how).code == code
    case.recovers()


def survives_a_full_pipe(case: Case) -> None:
    case.wait("ready")
    assert case.act().text == "right"  # from here on the server reads nothing for three seconds
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(case.call, "echo", text="x" * MIB) for _ in range(4)]
        assert {call.result().code for call in calls} <= {"timed_out", "lost"}
    until(lambda: case.call("echo", text="back").status == 200, RECOVERY_S, "it reads again")


def is_bounded(most: int) -> Drive:
    def drive(case: Case) -> None:
        shown = case.wait("ready", timeout_s=RECOVERY_S)
        assert 1 <= shown["tools"] <= most
        case.works()

    return drive


def keeps_the_old_list(case: Case) -> None:
    tools = case.wait("ready")["tools"]
    assert case.act().text == "right"
    case.wait_for(lambda shown: shown["lastError"], "the refresh has failed")
    assert case.shown()["tools"] == tools
    case.works()


def follows_a_changing_list(case: Case) -> None:
    """Each list has another dummy. It is read again once for many changes, and what is gone is unknown."""
    case.wait("ready")
    assert dummies(case) == {"dummy-00000"}
    assert case.act().text == "right"
    until(lambda: dummies(case) == {"dummy-00001"}, RECOVERY_S, "the list was read again")
    assert case.call("dummy-00000").code == "unknown"
    assert case.call("dummy-00001").code == "ok"
    assert case.ask("stats")["methods"]["tools/list"] == 2
    assert case.shown()["state"] == "ready"


def dummies(case: Case) -> set[str]:
    tools = case.gateway.get(f"/api/tools?server={case.server}").json()["tools"]
    return {tool["name"] for tool in tools if tool["name"].startswith("dummy")}


def finishes_under_its_old_name(case: Case) -> None:
    case.wait("ready")
    assert case.act().text == "right"
    until(lambda: dummies(case), RECOVERY_S, "the tool has its new name")
    assert case.call("act").code == "unknown"
    assert case.call("dummy-00000").code == "ok"
    assert case.received("act") == 1


def lists_schemas_as_they_are(case: Case) -> None:
    """Nothing reads a schema on the way: it is shown as it came, and arguments are the server's to judge."""
    case.wait("ready")
    mode = case.server.partition("-")[2]
    each = case.gateway.get(f"/api/tools?server={case.server}").body
    session = Mcp(case.gateway, f"/servers/{case.server}/mcp")
    listed = session.post(Mcp.message("tools/list", None, 1)).body
    exposed = Mcp(case.gateway).post(Mcp.message("tools/list", None, 1)).body
    for number, schema in enumerate(SCHEMAS[mode](0)):
        known = schema.partition(b"PORT")[0]
        assert known in each
        assert known in listed
        assert known in exposed
        name = f"dummy-{number:05d}"
        assert known in case.gateway.get(f"/api/tools/{case.server}/{name}").body
        assert case.call(name, text="a" * 60 + "!", a=None).code == "ok"
    found = case.gateway.get("/api/tools?search=dummy-00000%20" + case.server).json()["tools"]
    assert [tool["server"] for tool in found] == [case.server]
    assert case.ask("stats").get("decoyVisited", False) is False


def leaves_the_deep_tool_out(case: Case) -> None:
    tools = case.wait("ready")["tools"]
    assert tools >= 10
    assert not dummies(case)
    assert b"nested too deep" in case.gateway.get(f"/api/servers/{case.server}/logs").body
    # Without its schema it would spoil the list of all servers, for every client.
    assert all("inputSchema" in tool for tool in Mcp(case.gateway).tools().values())
    case.works()


def lists_what_can_be_listed(case: Case) -> None:
    case.wait("ready")
    names = [tool["name"] for tool in case.gateway.get(f"/api/tools?server={case.server}").json()["tools"]]
    assert {"echo", "pid"} <= set(names)
    assert len(names) == len(set(names))
    case.works()


def caps_its_instructions(case: Case) -> None:
    case.wait("ready")
    assert len(case.gateway.get("/api/servers").body) < 2 * MIB
    case.works()


def passes_a_result_that_breaks_its_schema(case: Case) -> None:
    case.wait("ready")
    answer = case.act()
    assert answer.code == "ok"
    assert answer.json()["structuredContent"] == {"count": "many", "unknown": [1, None]}


def speaks(revision: str) -> Drive:
    def drive(case: Case) -> None:
        shown = case.wait("ready", timeout_s=RECOVERY_S)
        assert shown["protocolRevision"] == revision
        assert case.act().text == "right"
        assert case.call("progress", steps=3, ms=1).text == "3 steps"
        case.works()

    return drive


def says_busy_when_its_queue_is_full(case: Case) -> None:
    case.wait("ready")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(case.call, "sleep", ms=1000) for _ in range(4)]
        full = {"running": 2, "queued": 2}
        case.wait_for(
            lambda shown: {name: shown["calls"][name] for name in full} == full, "two run and two wait"
        )
        answer = case.call("echo", text="me too")
        assert (answer.status, answer.code) == (429, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert [call.result().text for call in calls] == ["slept"] * 4
    case.works()


# -- entries that are not just a mode -------------------------------------------------------------------


def command_missing(directory: Path) -> dict[str, Any]:
    return {"command": str(directory / "no-such-command"), "args": ["--verbose"]}


def not_executable(directory: Path) -> dict[str, Any]:
    script = directory / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return {"command": str(script)}


def wrong_interpreter(directory: Path) -> dict[str, Any]:
    script = directory / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(stat.S_IRWXU)
    return {"command": str(script)}


def package_runner(*hostile_arguments: str) -> Callable[[Path], dict[str, Any]]:
    """A command called `npx`, which is how a gateway knows that a download may come first."""

    def entry(directory: Path) -> dict[str, Any]:
        script = directory / "npx"
        words = " ".join([sys.executable, "-I", "-S", str(HOSTILE), *hostile_arguments])
        script.write_text(f"#!/bin/sh\nexec {words}\n")
        script.chmod(stat.S_IRWXU)
        return {"command": str(script), "args": ["-y", "some-package"]}

    return entry


def with_a_secret(directory: Path) -> dict[str, Any]:
    secret = directory / "secret"
    secret.write_text(CANARY + "\n")
    secret.chmod(stat.S_IRUSR)
    return hostile("stderr-secret", env={"CANARY": {"file": str(secret)}})


SPOILT = ("ok", "lost", "timed_out")
CAPPED = {"maxResult": MIB}


def levels_readable() -> int:
    """How many arrays within each other this interpreter reads; the versions of Python differ."""
    least, most = 100, 1_000_000
    while most - least > 1:
        middle = (least + most) // 2
        try:
            msgspec.json.decode(b"[" * middle + b"]" * middle, type=list[msgspec.Raw])
            least = middle
        except RecursionError:
            most = middle
    return least


READABLE = levels_readable()
# A level of such a schema is two of JSON. The gateway reads with another depth of calls than we do.
DEEP = ("--count", str((READABLE - 150) // 2))
TOO_DEEP = ("--count", str(READABLE))
ODD_SCHEMAS = (
    *(("F068", "schema-cycle"), ("F069", "schema-bomb"), ("F070", "schema-elsewhere")),
    *(("F071", "schema-huge"), ("F072", "schema-pattern")),
)
FAULTS = (
    # A. The life of a process
    Fault("F001", "missing", "", fails_at_once("no-such-command"), entry=command_missing),
    Fault("F002", "not-executable", "", fails_at_once("script"), entry=not_executable),
    Fault("F002", "wrong-interpreter", "", fails_at_once(), entry=wrong_interpreter),
    Fault("F002", "exit-126", "exit", fails_at_once("126"), ("--code", "126")),
    Fault("F002", "exit-127", "exit", fails_at_once("127"), ("--code", "127")),
    Fault("F003", "exit-0", "exit0", backs_off(0, "good bye")),
    Fault("F004", "exit-1", "exit", backs_off(1, "leaving with status 1")),
    Fault("F004", "exit-1-then-well", "exit", comes_back_by_itself, ("--times", "5")),
    Fault("F005", "killed-while-idle", "good", restarts_after_a_kill),
    Fault("F005", "dies-after-handshake", "die-after-handshake", flaps),
    Fault("F006", "dies-mid-call", "die", dies("3", code=3)),
    Fault("F007", "dies-with-fifty-calls", "die", loses_fifty_calls),
    Fault("F008", "segfault", "segv", dies("SIGSEGV", signal_name="SIGSEGV")),
    Fault("F008", "abort", "abort", dies("SIGABRT", signal_name="SIGABRT")),
    Fault("F009", "out-of-memory", "kill9", dies("SIGKILL", "memory", signal_name="SIGKILL")),
    Fault("F010", "slow-start", "slow", waits_for_a_slow_start, ("--delay-ms", "1500")),
    Fault("F010", "never-starts", "silent", never_ready("1 s"), config={"startTimeout": 1, "timeout": 2}),
    Fault("F011", "installing", "", installs, entry=package_runner("slow", "--delay-ms", "2000")),
    Fault("F012", "install-fails", "", install_fails, entry=package_runner("slow-exit", "--delay-ms", "500")),
    Fault("F013", "ignores-eof", "ignore-eof", stops),
    Fault("F014", "ignores-sigterm", "ignore-term", stops),
    Fault("F015", "helpers-in-group", "helpers", leaves_nothing(3)),
    Fault("F016", "daemon-stopped", "daemon", leaves_nothing(1)),
    Fault("F016", "daemon-crashed", "daemon", a_crash_takes_the_daemon_along),
    Fault("F017", "grandchild-holds-stdout", "orphan-stdout", does_not_wait_for_a_grandchild),
    Fault("F018", "frozen", "good", times_out_while_stopped, config=SHORT_TIMEOUT),
    Fault("F018", "frozen-at-stop", "good", is_stopped_while_stopped),
    Fault("F019", "zombies", "orphans", leaves_no_zombies, ("--count", "1000")),
    Fault("F020", "fork-bomb", "bomb", leaves_nothing(30)),
    Fault("F021", "closes-stdout", "close-stdout", is_replaced),
    Fault("F022", "closes-stdin", "close-stdin", is_replaced_once_written_to),
    Fault("F023", "off-during-start", "slow", is_switched_off_during_its_start, ("--delay-ms", "5000")),
    Fault("F023", "off-during-call", "good", is_switched_off_during_a_call),
    Fault("F023", "pressed-in-every-way", "good", is_pressed_in_every_way_at_once),
    Fault("F024", "restart-pressed-often", "good", is_restarted_twenty_times_at_once),
    # B. The wire
    Fault("F030", "banner", "banner", right(garbage=True)),
    Fault("F031", "garbage", "garbage", right(garbage=True)),
    Fault("F031", "garbage-flood", "garbage-flood", right(garbage=True)),
    Fault("F032", "invalid-utf8", "invalid-utf8", right(garbage=True)),
    Fault(
        "F032",
        "invalid-utf8-reply",
        "invalid-utf8-reply",
        never_wrong("lost", "timed_out"),
        (),
        SHORT_TIMEOUT,
    ),
    Fault("F033", "byte-order-mark", "bom", right()),
    Fault("F033", "crlf", "crlf", right()),
    Fault("F033", "utf16", "utf16", right(garbage=True)),
    Fault("F034", "result-of-17-mib", "huge-line", hands_over_a_large_result),
    Fault("F034", "result-above-cap", "huge-line", ends_at_the_cap, ("--bytes", str(3 * MIB)), CAPPED),
    Fault("F034", "noise-of-17-mib", "huge-noise", right(garbage=True)),
    Fault("F035", "endless-line", "stream", ends_at_the_cap, ("--bytes", str(64 * MIB)), CAPPED),
    Fault("F036", "drip", "drip", right()),
    Fault("F037", "burst", "burst", streams_progress_in_order(10_000)),
    Fault("F038", "half-line-then-exit", "half", dies("0", code=0)),
    Fault("F039", "two-on-a-line", "two-on-a-line", never_wrong("ok", "lost")),
    Fault("F039", "embedded-newline", "embedded-newline", never_wrong("ok", "lost")),
    Fault("F040", "deep-line", "deep", right(garbage=True)),
    Fault("F040", "deep-result", "deep-reply", never_wrong(*SPOILT), config=SHORT_TIMEOUT),
    Fault("F041", "duplicate-keys", "duplicate-keys", is_read_one_way),
    Fault("F041", "not-a-number", "nan", never_wrong("lost", "timed_out"), config=SHORT_TIMEOUT),
    Fault("F041", "huge-integer", "huge-int", right(garbage=True)),
    Fault("F042", "batch", "batch", never_wrong("ok", "lost")),
    Fault("F043", "unknown-id", "unknown-id", keeps_the_right_answer_once),
    Fault("F044", "id-as-text", "string-id", never_wrong("ok", "timed_out"), config=SHORT_TIMEOUT),
    Fault("F045", "two-answers", "duplicate-reply", keeps_the_right_answer_once),
    Fault("F046", "result-and-error", "both", never_wrong(*SPOILT), config=SHORT_TIMEOUT),
    Fault("F046", "result-then-error", "result-then-error", keeps_the_right_answer_once),
    Fault("F046", "neither", "neither", never_wrong("lost", "timed_out"), config=SHORT_TIMEOUT),
    Fault("F046", "odd-result", "odd-result", never_wrong("lost", "timed_out"), config=SHORT_TIMEOUT),
    Fault("F046", "odd-error", "odd-error", never_wrong("lost", "timed_out"), config=SHORT_TIMEOUT),
    Fault("F047", "never-answers", "never", times_out_and_cancels, config=SHORT_TIMEOUT),
    Fault("F048", "answers-late", "late", drops_a_late_answer, config=SHORT_TIMEOUT),
    Fault("F049", "caller-leaves", "late", cancels_when_its_caller_leaves),
    Fault("F050", "odd-progress", "odd-progress", streams_progress_in_order(10)),
    Fault("F051", "log-flood", "log-flood", right()),
    Fault("F052", "list-changed-storm", "list-storm", reads_the_list_again_once),
    Fault("F053", "asks-the-client", "ask", declines_what_it_is_asked),
    Fault("F054", "asks-ten-thousand-times", "ask-flood", declines_ten_thousand_times),
    Fault("F056", "stderr-flood", "stderr-flood", keeps_a_bounded_tail, ("--bytes", str(64 * MIB))),
    Fault("F056", "stderr-without-newline", "stderr-long-line", keeps_a_bounded_tail),
    Fault("F057", "secret-on-stderr", "stderr-secret", shows_no_secret, entry=with_a_secret),
    Fault("F057", "teller", "tell", tells_only_its_caller),
    Fault("F057", "refusing-teller", "tell-refusing", never_ready("•••")),
    Fault(
        "F058", "reads-nothing", "stop-reading", survives_a_full_pipe, ("--delay-ms", "3000"), SHORT_TIMEOUT
    ),
    # The handshake
    Fault("F059", "wrong-version", "init-wrong-version", never_ready("1999-12-31")),
    Fault("F059", "empty-result", "init-empty", never_ready("initialize")),
    Fault("F059", "result-is-a-list", "init-not-object", never_ready("initialize", "result")),
    Fault("F059", "odd-types", "init-odd-types", never_ready("initialize")),
    Fault("F059", "error", "init-error", never_ready("no licence found")),
    Fault("F059", "silence", "init-silent", never_ready("1 s"), config={"startTimeout": 1, "timeout": 2}),
    Fault("F059", "long-instructions", "init-huge", caps_its_instructions),
    Fault("F060", "discover-odd-error", "discover-odd-error", ready_and_works),
    Fault("F060", "discover-silence", "discover-silent", ready_and_works, early=True),
    Fault("F060", "discover-empty", "discover-empty", ready_and_works),
    Fault("F060", "discover-text", "discover-odd-result", ready_and_works),
    Fault("F060", "discover-null-id", "discover-null-id", ready_and_works, early=True),
    Fault("F060", "discover-exit", "discover-exit", ready_and_works),
    Fault("F060", "modern-only", "good", speaks("2026-07-28"), ("--era", "modern")),
    Fault("F060", "both-eras", "good", speaks("2025-11-25"), ("--era", "dual")),
    Fault("F061", "breaks-output-schema", "bad-output", passes_a_result_that_breaks_its_schema),
    # Lists and queues, as far as the link decides them
    Fault("F062", "fifty-thousand-tools", "list-many", is_bounded(2_000)),
    Fault("F063", "endless-cursor", "cursor-endless", is_bounded(2_000)),
    Fault("F063", "same-cursor", "cursor-same", is_bounded(1)),
    Fault("F064", "list-refused", "list-error", never_ready("the list is gone")),
    Fault("F064", "list-refused-later", "list-fails-later", keeps_the_old_list, early=True),
    Fault("F064", "page-two-refused", "page-two-fails", keeps_the_old_list, early=True),
    Fault("F065", "changing", "list-churn", follows_a_changing_list, ("--tools", "2"), early=True),
    Fault("F066", "renamed", "rename", finishes_under_its_old_name, ("--tools", "1"), early=True),
    *(Fault(id, mode, mode, lists_schemas_as_they_are, ("--tools", "2")) for id, mode in ODD_SCHEMAS),
    Fault("F071", "deep", "schema-deep", leaves_the_deep_tool_out, DEEP),
    Fault("F071", "too-deep", "schema-deep", never_ready("nested too deep"), TOO_DEEP, early=True),
    Fault("F073", "list-is-no-array", "list-not-array", never_ready("tools")),
    Fault("F074", "odd-tools", "list-odd-tools", lists_what_can_be_listed),
    Fault("F090", "queue-full", "good", says_busy_when_its_queue_is_full, (), {"concurrency": 2, "queue": 2}),
)


# -- the gateway all rows share -------------------------------------------------------------------------


@dataclass
class House:
    gateway: Gateway
    neighbour: Neighbour
    pulse: Pulse
    directories: dict[str, Path]
    at_rest: Holdings  # what the gateway held before the first fault
    good_pid: int


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("faults")
    directories = {fault.server: root / fault.server for fault in FAULTS}
    servers = {fault.server: fault.configured(directories[fault.server]) for fault in FAULTS}
    assert len(servers) == len(FAULTS), "two rows share a name"
    gateway = Gateway({"good": hostile("good")} | servers, root / "gateway")
    with gateway:
        shown = gateway.wait_for_state("good", "ready")
        assert gateway.call("good", "echo", text="first").text == "first"
        at_rest = gateway.holdings()
        with Neighbour(gateway, "good") as neighbour, Pulse(gateway) as pulse:
            yield House(gateway, neighbour, pulse, directories, at_rest, shown["pid"])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.id}-{fault.name}")
def test_a_fault_ends_typed_and_leaves_neighbours_and_machine_alone(house: House, fault: Fault) -> None:
    gateway, neighbour, pulse = house.gateway, house.neighbour, house.pulse
    case = Case(gateway, fault.server, house.directories[fault.server])
    answered = neighbour.answered
    neighbour.worst_s = pulse.worst_s = 0.0
    gateway.switch(fault.server, True)
    try:
        fault.drive(case)
    finally:
        gateway.switch(fault.server, False)
        gateway.wait_for_state(fault.server, "off", timeout_s=STOP_S)
    # A killed process takes a moment to be gone; a living one would still be there.
    until(lambda: not gateway.survivors(fault.server), KILLED_S, "nothing of the server is left")
    gateway.check_records(fault.server)
    until(lambda: neighbour.answered > answered, PROMPT_S, "the neighbour is answered")
    # Told, not judged, for whoever reads along (pytest -rP): I2's p99 is measured where the load is known.
    print(f"slowest: the neighbour {neighbour.worst_s * 1000:.0f} ms, /health {pulse.worst_s * 1000:.0f} ms")
    assert neighbour.failures == []
    assert neighbour.worst_s < PROMPT_S, "the neighbour had to wait"
    assert pulse.failures == []
    assert pulse.worst_s < HEALTH_S, "the event loop was held"


# One of each kind that a caller can be told.
OVER_MCP = {
    "F001-missing": "unavailable",
    "F006-dies-mid-call": "lost",
    "F034-result-of-17-mib": "ok",
    "F038-half-line-then-exit": "lost",
    "F046-odd-result": "lost",
    "F047-never-answers": "timed_out",
    "F061-breaks-output-schema": "ok",
}


@pytest.mark.parametrize(("row", "kind"), OVER_MCP.items(), ids=list(OVER_MCP))
def test_a_client_over_mcp_is_told_the_same(house: House, row: str, kind: str) -> None:
    tells_over_mcp(house.gateway, row.lower(), kind)


def tells_over_mcp(gateway: Gateway, server: str, kind: str) -> None:
    """One call of `act` over MCP ends as it does over REST, with the same facts and the same record."""
    gateway.switch(server, True)
    try:
        gateway.wait_for_state(server, "ready", *DOWN, timeout_s=READY_S)
        gateway.count(server)
        document = Mcp(gateway, f"/servers/{server}/mcp").call("act", {}, 7)
        if kind == "ok":
            assert "result" in document, document
        else:
            assert check_rpc_error(document, -32000, kind)["data"]["server"] == server
    finally:
        gateway.switch(server, False)
        gateway.wait_for_state(server, "off", timeout_s=STOP_S)
    gateway.check_records(server)
    assert gateway.records(server)[0]["outcome"] == kind


def test_servers_are_started_by_the_main_thread(house: House) -> None:
    """F026: a server is ended with the thread that started it, and only the main thread lasts."""
    gateway = house.gateway
    by_main = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    assert str(gateway.server("good")["pid"]) in by_main
    assert len(by_main) == gateway.holdings().children


def test_after_all_faults_the_gateway_holds_what_it_held_before(house: House) -> None:
    gateway = house.gateway
    others = [entry for entry in gateway.get("/api/servers").json()["servers"] if entry["id"] != "good"]
    for entry in others:
        gateway.switch(entry["id"], False)
        gateway.wait_for_state(entry["id"], "off", timeout_s=STOP_S)

    def is_at_rest() -> bool:
        now = gateway.holdings()
        # The neighbour's connection comes and goes; a loop's thread pool fills up once.
        return now.files <= house.at_rest.files + 4 and now.children <= house.at_rest.children

    until(is_at_rest, 10, "files and children are back", lambda: f"{house.at_rest} {gateway.holdings()}")
    now = gateway.holdings()
    assert now.zombies == 0
    assert now.threads <= house.at_rest.threads + 32
    assert now.rss_bytes - house.at_rest.rss_bytes < 2 * RSS_SLACK_BYTES
    assert set(gateway.survivors()) == {gateway.server("good")["pid"]}


def test_the_neighbour_is_still_the_process_it_was(house: House) -> None:
    """F026: nothing that happened to others, threads that ended included, took the good server along."""
    assert house.gateway.server("good")["pid"] == house.good_pid
    assert house.neighbour.failures == []
    house.gateway.check_told("good")


def test_readiness_counts_the_servers_by_the_state_they_show(house: House) -> None:
    gateway = house.gateway

    def agrees() -> bool:
        counted = gateway.get("/ready").json()
        states = [entry["state"] for entry in gateway.get("/api/servers").json()["servers"]]
        shown = {state: states.count(state) for state in set(states)}
        return bool(counted["status"] == "serving" and counted["servers"] == shown)

    until(agrees, PROMPT_S, "/ready and /api/servers tell the same")


def test_a_server_is_given_the_environment_of_its_configuration_and_little_else(house: House) -> None:
    shown = json.loads(house.gateway.call("good", "env").text)
    configured = {"HARNESS_TOKEN", "HARNESS_SERVER", *house.gateway.secret_env("good")}
    # LC_CTYPE is the interpreter's own doing, on a machine without a locale.
    assert set(shown["names"]) - {"LC_CTYPE"} <= INHERITED | configured | {MARKER}
    assert configured | {MARKER} <= set(shown["names"])


def test_a_server_is_given_no_open_file_but_its_three_pipes(house: House) -> None:
    """F021, F022: a second copy of a pipe would hide that the server closed it; others' files leak."""
    pid = house.gateway.server("good")["pid"]
    held = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    assert set(held) == {"0", "1", "2"}, held


def test_no_fault_made_the_gateway_stumble(house: House) -> None:
    assert "Traceback" not in house.gateway.log.read_text(errors="replace")


# -- the gateway itself dies ----------------------------------------------------------------------------


def test_a_killed_gateway_takes_everything_along_and_starts_again(tmp_path: Path) -> None:
    """F025: kill -9 while a call runs and helpers, daemons and a deaf server are about."""
    journal = tmp_path / "journal"
    servers = {
        "good": hostile("good", "--journal", str(journal)),
        "deaf": hostile("ignore-term"),
        "helpers": hostile("helpers"),
        "daemon": hostile("daemon"),
    }
    gateway = Gateway(servers, tmp_path / "gateway")
    gateway.start()
    try:
        for name in servers:
            gateway.wait_for_state(name, "ready")
        assert gateway.call("helpers", "act").code == "ok"
        assert gateway.call("daemon", "act").code == "ok"
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(gateway.call, "good", "sleep", ms=60_000)
            until(journal.exists, PROMPT_S, "the call runs")
            # Its started row is written within 100 ms, and a record is read on the thread that writes it.
            until(
                lambda: [row for row in gateway.records("good") if row["outcome"] == "running"],
                PROMPT_S,
                "the running call has its row",
            )
            family = psutil.Process(gateway.pid).children(recursive=True)
            assert len(gateway.survivors()) == 8  # four servers, three helpers, one daemon
            gateway.kill()
            assert isinstance(call.exception(PROMPT_S), OSError | http.client.HTTPException)
        until(
            lambda: not gateway.survivors(),
            3,
            "all that it started is gone",
            lambda: str(gateway.survivors()),
        )
        until(lambda: all(has_ended(process.pid) for process in family), 3, "its own helpers are gone")

        gateway.start()
        gateway.wait_for_state("good", "ready")
        assert gateway.call("good", "echo", text="again").text == "again"
        interrupted = [row for row in gateway.records("good") if row["tool"] == "sleep"]
        assert [row["outcome"] for row in interrupted] == ["interrupted"]
    finally:
        gateway.stop()


def test_a_gateway_that_is_told_to_stop_ends_its_servers_whatever_they_do(tmp_path: Path) -> None:
    servers = {
        mode: hostile(mode) for mode in ("good", "ignore-term", "helpers", "daemon", "stop-reading", "slow")
    }
    with Gateway(servers, tmp_path / "gateway") as gateway:
        for name in ("good", "ignore-term", "helpers", "daemon", "stop-reading"):
            gateway.wait_for_state(name, "ready")
        for name in ("helpers", "daemon", "stop-reading"):
            assert gateway.call(name, "act").code == "ok"
    # Leaving the block has stopped it and found nothing left.
    assert gateway.process is not None
    assert gateway.process.returncode == 0
