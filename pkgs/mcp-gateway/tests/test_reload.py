"""The configuration of a gateway that runs, changed in every way a file can change; real processes.

One gateway for most tests. Its server `keeper` is never touched, and after every test it must still be
the process it was, with a neighbour that called it all the time and never noticed.
"""

import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Gateway, Neighbour, has_ended, hostile, until

SEEN_S = 15.0  # a change is noticed within a second; this is for a busy machine


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"keeper": hostile("good"), "other": hostile("good")}
    with Gateway(servers, tmp_path_factory.mktemp("gateway")) as gateway:
        gateway.wait_for_state("keeper", "ready")
        yield gateway


@pytest.fixture
def gateway(whole: Gateway) -> Iterator[Gateway]:
    """The gateway as it began; afterwards its bystander has noticed nothing."""
    whole.servers = {"keeper": hostile("good"), "other": hostile("good")}
    whole.gateway = {}
    whole.reload()
    assert whole.request("PATCH", "/api/servers/other", {"enabled": None}).status == 200
    pid = whole.wait_for_state("keeper", "ready")["pid"]
    # Not only ready: what the test before left in its place may be ready as well, until it is replaced.
    whole.wait_for(
        "other", lambda one: one["state"] == "ready" and not one["successor"], 15, "is as it began"
    )
    with Neighbour(whole, "keeper") as neighbour:
        yield whole
    assert neighbour.failures == []
    assert whole.server("keeper")["pid"] == pid
    assert list(whole.survivors("keeper")) == [pid]


def warnings(gateway: Gateway) -> list[str]:
    told = gateway.get("/ready").json().get("warnings", [])
    assert isinstance(told, list)
    return told


def refused(gateway: Gateway) -> dict[str, Any]:
    """What a reload answers that changes nothing."""
    answer = gateway.request("POST", "/api/reload")
    assert (answer.status, answer.code) == (400, "invalid"), answer
    document = answer.json()
    assert isinstance(document, dict)
    return document


class Feed:
    """The events of one kind on the live feed, from the moment it is opened."""

    def __init__(self, gateway: Gateway, kind: str) -> None:
        self.kind = kind
        self.opened = gateway.open("GET", "/api/events")

    def __enter__(self) -> "Feed":
        self.response: http.client.HTTPResponse = self.opened.__enter__()
        assert self.response.readline() == b": feed\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.__exit__(None, None, None)

    def next(self) -> dict[str, Any]:
        kind = ""
        while line := self.response.readline():
            if line.startswith(b"event:"):
                kind = line[6:].strip().decode()
            elif line.startswith(b"data:") and kind == self.kind:
                facts = json.loads(line[5:])
                assert isinstance(facts, dict)
                return facts
        raise AssertionError("the feed ended")


# -- F100: a bad file changes nothing -------------------------------------------------------------------


def pids(gateway: Gateway) -> dict[str, int]:
    return {one["id"]: one["pid"] for one in gateway.get("/api/servers").json()["servers"]}


BAD: dict[str, tuple[str, int | None, str]] = {
    "syntax": ('{\n "mcpServers": {\n  "a": {"command": "x"},\n }\n}', 4, "is not JSON"),
    "half": ('{\n "mcpServers": {\n  "keeper": {"comm', 3, "is not JSON"),
    "empty": ("", 1, "is not JSON"),
    "names": ('{"mcpServers": {\n "a b": {"command": "x"},\n "A-B": {"command": "y"}}}', 3, "same id `a-b`"),
    "twice": ('{"mcpServers": {\n "a": {"command": "x"},\n "a": {"command": "y"}}}', 3, "a second time"),
    "unknown": ('{"mcpServers": {\n "a": {\n  "comand": "x"}}}', 3, "did you mean `command`?"),
    "half a password": ('{\n"gateway": {"auth": {"password": {}}}}', 2, "needs exactly one"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_changes_nothing_and_says_where(gateway: Gateway, name: str) -> None:
    text, line, said = BAD[name]
    path, before = gateway.directory / "config.json", pids(gateway)
    with Feed(gateway, "config") as feed:
        gateway.reconfigure(text)
        document = refused(gateway)
        told = feed.next()
    assert (told["ok"], told["added"], told["removed"], told["changed"]) == (False, [], [], [])
    assert told["problems"] == document["problems"]
    assert [problem["line"] for problem in told["problems"]][-1] == line
    (warning,) = warnings(gateway)
    place = f"{path}:{told['problems'][0]['line']}: "
    assert warning.startswith(f"The configuration file was changed but cannot be used: {place}")
    assert warning.endswith("; the gateway goes on with the one before")
    assert said in warning
    assert f"configuration not reloaded: {place}" in gateway.log.read_text()
    assert pids(gateway) == before
    with Feed(gateway, "config") as feed:
        nothing: dict[str, list[Any]] = {"added": [], "removed": [], "changed": [], "gateway": []}
        assert gateway.reload() == {"ok": True, **nothing, "problems": [], "warnings": []}
        assert feed.next()["ok"] is True
    assert warnings(gateway) == []


def test_the_page_shows_it_and_text_of_the_file_is_no_markup(gateway: Gateway) -> None:
    gateway.reconfigure('{"mcpServers": {"<script>": {"command": 1, "<b>": 2}}}')
    until(lambda: warnings(gateway), SEEN_S, "it is noticed")
    page = gateway.get("/").body.decode()
    alert = page.partition('role="alert">')[2].partition("</div>")[0]
    assert "<div>The configuration file was changed but cannot be used" in alert
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "<b>" not in page


def put_fifo(path: Path) -> None:
    """In the file's place; whoever opens it to read waits for a writer."""
    os.mkfifo(path.with_suffix(".fifo"), 0o600)
    path.with_suffix(".fifo").replace(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "cannot be read: No such file or directory"),
        (lambda path: path.chmod(0o666), "can be written by others"),
        (put_fifo, "is not a file"),
    ],
    ids=["gone", "writable", "fifo"],
)
def test_a_file_that_cannot_be_read_changes_nothing(
    gateway: Gateway, spoil: Callable[[Path], object], said: str
) -> None:
    path = gateway.directory / "config.json"
    spoil(path)
    (warning,) = until(lambda: warnings(gateway), SEEN_S, "it is noticed")
    assert f"{path}: {said}" in warning
    gateway.reconfigure()
    until(lambda: not warnings(gateway), SEEN_S, "it is mended")


# -- F101: a file that changes all the time -------------------------------------------------------------


def title_of(gateway: Gateway, server: str = "other") -> str:
    return str(gateway.server(server)["title"])


def test_of_many_changes_the_last_that_is_good_counts_and_nobody_is_restarted(gateway: Gateway) -> None:
    path, pid = gateway.directory / "config.json", gateway.server("other")["pid"]
    began = gateway.log.read_text().count("configuration reloaded")
    for number in range(21):
        gateway.servers["other"]["title"] = f"title {number}"
        text = gateway.config_text()
        if number % 3 == 0:
            gateway.reconfigure()  # as an editor: another file, renamed over
        elif number % 3 == 1:
            path.write_text(text[: len(text) // 2])  # and never finished
        else:
            path.write_text(text)
        time.sleep(0.1)  # ten times a second is the fault itself
    until(lambda: title_of(gateway) == "title 20", SEEN_S, "the last one holds")
    assert warnings(gateway) == []
    assert gateway.server("other")["pid"] == pid
    reloads = gateway.log.read_text().count("configuration reloaded") - began
    assert reloads <= 4, "several changes are one reload"


def test_half_a_file_is_told_and_then_the_whole_one_holds(gateway: Gateway) -> None:
    gateway.servers["other"]["title"] = "whole"
    text = gateway.config_text()
    with (gateway.directory / "config.json").open("w") as file:
        file.write(text[:100])
        file.flush()
        until(lambda: warnings(gateway), SEEN_S, "half a file is noticed")
        assert title_of(gateway) == "other"
        file.write(text[100:])
    until(lambda: title_of(gateway) == "whole", SEEN_S, "the whole one holds")
    assert warnings(gateway) == []


def test_links_that_are_swapped_are_followed(gateway: Gateway) -> None:
    """As Kubernetes mounts a ConfigMap, and as NixOS changes a generation."""
    directory, pid = gateway.directory, gateway.server("other")["pid"]
    path = directory / "config.json"

    def generation(name: str) -> None:
        gateway.servers["other"]["title"] = name
        (directory / name).mkdir()
        (directory / name / "config.json").write_text(gateway.config_text())
        (directory / name / "config.json").chmod(0o600)
        (directory / "..fresh").symlink_to(name)
        (directory / "..fresh").replace(directory / "..data")

    generation("one")
    path.unlink()
    path.symlink_to("..data/config.json")
    until(lambda: title_of(gateway) == "one", SEEN_S, "the link is followed")
    generation("two")
    until(lambda: title_of(gateway) == "two", SEEN_S, "another generation")
    (directory / "..fresh").symlink_to("one/config.json")
    (directory / "..fresh").replace(path)
    until(lambda: title_of(gateway) == "one", SEEN_S, "another file")
    assert gateway.server("other")["pid"] == pid


# -- what holds in place --------------------------------------------------------------------------------


def test_what_needs_no_process_holds_at_once_in_the_same_process(gateway: Gateway) -> None:
    pid = gateway.server("other")["pid"]
    assert gateway.call("other", "echo", text="x").status == 200
    gateway.servers["other"] |= {"title": "Another", "tools": {"deny": ["ec*"]}, "timeout": 0.3}
    moved = gateway.reload()
    assert moved["changed"] == [{"server": "other", "keys": ["title", "timeout", "tools"], "replaced": False}]
    assert gateway.call("other", "echo", text="x").code == "unknown"
    assert gateway.get("/api/tools/other/echo").status == 404
    assert gateway.call("other", "sleep", ms=20_000).code == "timed_out"
    assert (title_of(gateway), gateway.server("other")["pid"]) == ("Another", pid)
    gateway.servers["other"] = hostile("good")
    gateway.reload()
    assert gateway.call("other", "echo", text="back").text == "back"
    assert gateway.server("other")["pid"] == pid


def test_a_switch_of_the_declaration_is_met_and_one_of_a_person_stays(gateway: Gateway) -> None:
    gateway.servers["other"]["enabled"] = False
    gateway.reload()
    gateway.wait_for_state("other", "off")
    gateway.switch("other", True)
    shown = gateway.wait_for_state("other", "ready")
    assert (shown["declared"], shown["override"], shown["enabled"]) == (False, True, True)
    gateway.switch("other", False)
    gateway.servers["other"] = hostile("good", "--life-s", "200", enabled=True, title="Changed")
    gateway.reload()
    shown = gateway.wait_for_state("other", "off")
    assert (shown["declared"], shown["override"], shown["title"]) == (True, False, "Changed")
    until(lambda: not gateway.survivors("other"), 10, "no process is left")
    del gateway.servers["other"]
    gateway.reload()
    gateway.servers["other"] = hostile("good")
    gateway.reload()
    assert gateway.server("other")["state"] == "off", "it was kept while the server was gone"
    assert gateway.request("PATCH", "/api/servers/other", {"enabled": None}).status == 200
    gateway.wait_for_state("other", "ready")


def test_settings_of_the_gateway_hold_now_or_are_named(gateway: Gateway) -> None:
    gateway.gateway = {"limits": {"body": "1KiB"}, "port": 1, "activity": {"keep": 3}}
    moved = gateway.reload()
    sentence = "`gateway.port` changed in the configuration; it holds after a restart of the gateway"
    assert (moved["gateway"], moved["warnings"]) == (["limits.body", "activity.keep.days"], [sentence])
    assert warnings(gateway) == [sentence]
    assert gateway.call("other", "echo", text="x" * 2_000).status == 413
    gateway.gateway = {}
    gateway.reload()
    assert warnings(gateway) == []
    assert gateway.call("other", "echo", text="x" * 2_000).status == 200


# -- what needs another process -------------------------------------------------------------------------


def test_a_changed_server_serves_without_a_gap_while_the_new_one_is_slow(gateway: Gateway) -> None:
    old = gateway.server("other")["pid"]
    gateway.servers["other"] = hostile("slow", "--delay-ms", "700")
    with ThreadPoolExecutor() as pool, Neighbour(gateway, "other", pause_s=0.0) as caller:
        long = pool.submit(gateway.call, "other", "sleep", ms=2_500)
        until(lambda: gateway.server("other")["calls"]["running"], 10, "a call is at the old process")
        (change,) = gateway.reload()["changed"]
        assert change == {"server": "other", "keys": ["args"], "replaced": True}
        shown = gateway.wait_for("other", lambda one: (one["successor"] or {}).get("pid"), 10, "starts anew")
        assert (shown["state"], shown["pid"]) == ("ready", old)
        new = gateway.wait_for("other", lambda one: one["pid"] != old, 20, "is replaced")
        assert (new["state"], new["successor"]) == ("ready", None)
        assert new["pid"] == shown["successor"]["pid"]
        assert gateway.call("other", "pid").text == str(new["pid"])
        assert not has_ended(old), "it has a call to finish"
        answered = caller.answered
        assert long.result(30).text == "slept"
        until(lambda: has_ended(old), 10, "it goes when it is done")
        until(lambda: caller.answered > answered, 10, "calls go on")
    assert caller.failures == []
    until(lambda: list(gateway.survivors("other")) == [new["pid"]], 10, "one process is left")


def test_a_call_that_waits_is_done_by_the_new_process_and_can_be_taken_back_there(gateway: Gateway) -> None:
    gateway.servers["other"]["concurrency"] = 1
    gateway.reload()
    later = {"Prefer": "respond-async"}
    busy = gateway.request("POST", "/api/tools/other/sleep", {"ms": 60_000}, later)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(gateway.call, "other", "pid")
        until(lambda: gateway.server("other")["calls"]["queued"] == 1, 10, "it waits for room")
        last = gateway.request("POST", "/api/tools/other/sleep", {"ms": 60_000}, later)
        old = gateway.server("other")["pid"]
        gateway.servers["other"] = hostile("good", "--life-s", "200", concurrency=1)
        gateway.reload()
        new = gateway.wait_for("other", lambda one: one["pid"] != old, 10, "is replaced")["pid"]
        assert waiting.result(30).text == str(new)
    assert not has_ended(old)
    until(lambda: gateway.server("other")["calls"]["running"] == 1, 10, "the last one runs, too")
    paths = [call.headers["location"] for call in (last, busy)]
    assert [gateway.request("DELETE", path).status for path in paths] == [202, 202]
    ended = {"cancelled"}
    until(lambda: {gateway.get(path).json()["outcome"] for path in paths} == ended, 10, "both end")
    until(lambda: has_ended(old), 10, "nothing keeps it any more")


def test_what_a_server_says_in_private_stays_so_when_it_is_removed(gateway: Gateway) -> None:
    gateway.servers["other"]["payloads"] = "off"
    gateway.reload()
    call = gateway.request("POST", "/api/tools/other/sleep", {"ms": 700}, {"Prefer": "respond-async"})
    del gateway.servers["other"]
    gateway.reload()
    path = call.headers["location"]
    until(lambda: gateway.get(path).json()["outcome"] == "ok", 10, "it is answered")
    shown = gateway.get(path).json()
    assert (shown["request"], shown["response"]) == (None, None)


def test_a_change_to_a_command_that_cannot_run_is_what_was_asked_for(gateway: Gateway) -> None:
    old = gateway.server("other")["pid"]
    gateway.servers["other"] = {"command": "/nonexistent/server"}
    gateway.reload()
    shown = gateway.wait_for_state("other", "failed")
    assert "/nonexistent/server" in shown["reason"]
    until(lambda: has_ended(old), 10, "the process of before is gone")
    assert gateway.call("other", "echo", text="x").code == "unavailable"
    gateway.servers["other"] = hostile("good")
    gateway.reload()
    gateway.wait_for_state("other", "ready")


LOCKED = """
import fcntl, runpy, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_servers_that_cannot_be_there_twice_change_places(gateway: Gateway) -> None:
    good = hostile("good")
    *flags, script, mode = good["args"]
    (gateway.directory / "locked.py").write_text(LOCKED)

    def locked(*options: str) -> dict[str, Any]:
        lock = str(gateway.directory / "lock")
        return good | {"args": [*flags, str(gateway.directory / "locked.py"), lock, script, mode, *options]}

    gateway.servers["other"] = locked()
    gateway.reload()
    old = gateway.wait_for(
        "other",
        lambda one: one["state"] == "ready" and not one["successor"] and one["exit"] is None,
        15,
        "runs",
    )["pid"]
    until(lambda: list(gateway.survivors("other")) == [old], 10, "the plain one is gone")
    gateway.servers["other"] = locked("--life-s", "200")
    gateway.reload()
    new = gateway.wait_for(
        "other", lambda one: one["state"] == "ready" and one["pid"] != old, 15, "has changed places"
    )
    assert has_ended(old)
    assert gateway.call("other", "pid").text == str(new["pid"])


def test_a_removed_server_is_unknown_and_its_call_is_answered(gateway: Gateway) -> None:
    pid = gateway.server("other")["pid"]
    with ThreadPoolExecutor() as pool:
        long = pool.submit(gateway.call, "other", "sleep", ms=700)
        until(lambda: gateway.server("other")["calls"]["running"], 10, "a call is at the process")
        del gateway.servers["other"]
        assert gateway.reload()["removed"] == ["other"]
        assert gateway.get("/api/servers/other").status == 404
        assert gateway.call("other", "echo", text="x").code == "unknown"
        assert {tool["server"] for tool in gateway.get("/api/tools").json()["tools"]} == {"keeper"}
        assert long.result(30).text == "slept"
    until(lambda: has_ended(pid), 10, "the process is gone")
    gateway.servers = {"fresh": hostile("good"), **gateway.servers}
    assert gateway.reload()["added"] == ["fresh"]
    gateway.wait_for_state("fresh", "ready")
    assert [one["id"] for one in gateway.get("/api/servers").json()["servers"]] == ["fresh", "keeper"]


# -- who may ask, and how -------------------------------------------------------------------------------


def test_a_signal_is_a_request_to_reload(gateway: Gateway) -> None:
    with Feed(gateway, "config") as feed:
        os.kill(gateway.pid, signal.SIGHUP)
        assert feed.next()["ok"] is True, "the outcome is told, although nothing moved"
        gateway.servers["other"]["title"] = "by signal"
        gateway.reconfigure()
        os.kill(gateway.pid, signal.SIGHUP)
        assert feed.next()["changed"] == [{"server": "other", "keys": ["title"], "replaced": False}]


def test_many_who_ask_at_once_are_answered_one_after_the_other(gateway: Gateway) -> None:
    def change(number: int) -> int:
        gateway.servers["other"]["title"] = f"by {number}"
        return gateway.request("POST", "/api/reload").status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(change, range(40))) == {200}
    gateway.servers["other"]["title"] = "last"
    gateway.reload()
    assert title_of(gateway) == "last"


def test_a_foreign_page_may_not_ask(gateway: Gateway) -> None:
    answer = gateway.request("POST", "/api/reload", None, {"Origin": "http://evil.example"})
    assert answer.code == "refused"


def serve(directory: Path, **more: Any) -> subprocess.Popen[str]:
    """A gateway without the harness: without a file, or with a terminal."""
    environment = {name: value for name, value in os.environ.items() if "MCP_GATEWAY" not in name}
    environment |= {"HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    command = (
        sys.executable,
        "-m",
        "mcp_gateway",
        "serve",
        "--port",
        "0",
        "--state-dir",
        str(directory / "state"),
    )
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def port_of(directory: Path) -> int:
    path = directory / "state" / "port"
    return int(until(lambda: path.exists() and path.read_text(), 20, "it has a port"))


def test_without_a_file_there_is_nothing_to_reload_and_it_says_so(tmp_path: Path) -> None:
    process = serve(tmp_path, stdin=subprocess.DEVNULL)
    try:
        client = Gateway({}, tmp_path, port=port_of(tmp_path))
        until(client.is_serving, 20, "it serves")
        answer = client.request("POST", "/api/reload")
        assert (answer.status, answer.code) == (400, "invalid")
        assert "without a configuration file" in answer.json()["detail"]
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert any("there is no configuration file to read again" in line for line in process.stderr)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.mark.parametrize("is_nohup", [False, True])
def test_a_window_that_is_closed_ends_the_gateway_unless_it_was_meant_to_stay(
    tmp_path: Path, is_nohup: bool
) -> None:
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        if is_nohup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = serve(tmp_path, stdin=theirs, start_new_session=True, preexec_fn=take_terminal)
    os.close(theirs)
    try:
        client = Gateway({}, tmp_path, port=port_of(tmp_path))
        until(client.is_serving, 20, "it serves")
        os.close(ours)
        if is_nohup:
            assert process.stderr is not None
            assert any("there is no configuration file to read again" in line for line in process.stderr)
            process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate(timeout=20)
