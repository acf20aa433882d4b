"""The commands that ask a gateway: the real command against a real gateway, and what a script sees of it."""

import csv
import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.store import Store
from tests import leaks
from tests.harness import Gateway, hostile, until
from tests.store.records import a_finished_record

LIMIT_S = 60
COMMAND = (sys.executable, "-W", "error", "-m", "mcp_gateway")


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
    return kept | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | more


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {
        "good": hostile("good"),
        "broken": {"command": "/nonexistent/server"},
        "loud": hostile("stderr-secret", env={"CANARY": "canary-in-the-mine"}),
    }
    with Gateway(servers, tmp_path_factory.mktemp("gateway")) as running:
        running.wait_for_state("good", "ready")
        running.wait_for_state("loud", "ready")
        running.wait_for_state("broken", "failed")
        yield running


def env_of(gateway: Gateway) -> dict[str, str]:
    return environment(gateway.directory, MCP_GATEWAY_URL=f"http://127.0.0.1:{gateway.port}")


def run(
    gateway: Gateway, *words: str, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *words],
        env=dict(env or env_of(gateway)),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    leaks.hear((done.stdout + done.stderr).encode(), f"output of {' '.join(words[:2])}")
    return done


@contextmanager
def running(gateway: Gateway, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *words],
        env=env_of(gateway),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def test_servers_are_listed_with_their_states_and_reasons(gateway: Gateway) -> None:
    done = run(gateway, "servers")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "TOOLS", "SPEAKS", "WHY"]
    assert rows[0].split() == ["good", "ready", "11", "2025-11-25"]
    assert rows[1].split(maxsplit=3) == ["broken", "failed", "0", "command not found: `/nonexistent/server`"]
    assert "\x1b" not in done.stdout
    assert run(gateway, "servers", "list").stdout == done.stdout


@pytest.mark.parametrize(
    "words", [("--json", "servers"), ("servers", "--json"), ("servers", "list", "--json")]
)
def test_json_may_be_asked_for_before_and_after_the_command(gateway: Gateway, words: tuple[str, ...]) -> None:
    shown = json.loads(run(gateway, *words).stdout)
    assert [server["id"] for server in shown["servers"]] == ["good", "broken", "loud"]


def test_one_server_is_shown_with_why_it_failed(gateway: Gateway) -> None:
    done = run(gateway, "servers", "show", "broken")
    assert done.returncode == 0
    assert "why         command not found: `/nonexistent/server`" in done.stdout.splitlines()


def test_one_server_is_shown_with_what_it_takes(gateway: Gateway) -> None:
    gateway.wait_for("good", lambda shown: shown["usage"] is not None, 10, "has been looked at")
    shown = dict(
        line.split(maxsplit=1) for line in run(gateway, "servers", "show", "good").stdout.splitlines()
    )
    assert re.fullmatch(r"[0-9.]+ MB(, [0-9.]+% of a core)?, in 1 process", shown["takes"])
    assert re.fullmatch(r"11, about [0-9]+ tokens of a model's context", shown["tools"])
    assert "takes " not in run(gateway, "servers", "show", "broken").stdout


def test_a_server_is_switched_off_and_on_and_restarted(gateway: Gateway) -> None:
    assert run(gateway, "servers", "off", "good").stdout == "good is switched off\n"
    gateway.wait_for_state("good", "off")
    done = run(gateway, "call", "good/echo", "--text", "x")
    assert done.returncode == 5
    assert "servers show good" in done.stderr
    assert "off, at run time; the configuration says on" in run(gateway, "servers", "show", "good").stdout
    assert run(gateway, "servers", "on", "good").stdout == "good is switched on\n"
    before = gateway.wait_for_state("good", "ready")["pid"]
    assert run(gateway, "servers", "restart", "good").stdout == "good restarts\n"
    gateway.wait_for("good", lambda shown: shown["pid"] not in (None, before), 10, "has another process")
    gateway.wait_for_state("good", "ready")


def test_tools_are_listed_found_and_shown(gateway: Gateway) -> None:
    assert "good/echo" in run(gateway, "tools").stdout
    found = run(gateway, "tools", "--server", "good", "--search", "says back").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in found[1:]] == [["good/echo", "Says it back"]]
    shown = run(gateway, "tools", "show", "good/progress").stdout
    assert "over MCP  good__progress" in shown
    assert "  --steps INTEGER" in shown.splitlines()
    assert (
        json.loads(run(gateway, "tools", "show", "good/echo", "--json").stdout)["exposedName"] == "good__echo"
    )


def test_a_tool_is_called_with_flags_or_with_json(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "arguments.json").write_text('{"text": "from a file"}')
    assert run(gateway, "call", "good/echo", "--text", "-5 [bold]").stdout == "-5 [bold]\n"
    assert run(gateway, "call", "good/echo", '{"text": "in JSON"}').stdout == "in JSON\n"
    assert run(gateway, "call", "good/echo", f"@{tmp_path}/arguments.json").stdout == "from a file\n"
    assert run(gateway, "call", "good/echo", "-", stdin='{"text": "piped"}').stdout == "piped\n"
    assert run(gateway, "call", "good/progress", "--steps", "3").stdout == "3 steps\n"


def test_json_output_is_the_result_as_the_server_sent_it(gateway: Gateway) -> None:
    wanted = '{"content":[{"type":"text","text":"x"}],"isError":false}\n'
    for words in (("--text", "x", "--json"), ("--json", '{"text":"x"}'), ('{"text":"x"}', "--json")):
        assert run(gateway, "call", "good/echo", *words).stdout == wanted
    assert run(gateway, "call", "--json", "good/echo", "--text", "x").stdout == wanted


def test_a_large_result_is_kept_whole_and_shown_in_part(gateway: Gateway, tmp_path: Path) -> None:
    size = 11 << 20
    kept = run(gateway, "call", "-o", str(tmp_path / "out"), "good/blob", "--bytes", str(size))
    assert kept.returncode == 0, kept.stderr
    assert (tmp_path / "out").read_text() == "b" * size + "\n"
    told = run(gateway, "call", "--json", "good/blob", "--bytes", str(size))
    assert json.loads(told.stdout)["content"][0]["text"] == "b" * size
    shown = run(gateway, "call", "good/blob", "--bytes", str(size)).stdout
    assert "mcp-gateway://artifacts/" in shown
    assert len(shown) < 64 * 1024


def test_the_help_of_a_tool_shows_its_flags(gateway: Gateway) -> None:
    done = run(gateway, "call", "good/sleep", "--help")
    assert done.returncode == 0
    assert "--ms INTEGER" in done.stdout
    assert "Answers after some milliseconds" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("call", "good/fail"), 1, "The tool reports failure."),
        (("call", "good/sleep", "--ms", "soon"), 2, "'soon' is not a whole number"),
        (("call", "good/sleep", "--long", "1"), 2, "No such option"),
        (("call", "good"), 2, "SERVER/TOOL"),
        (("call", "good/echo", "@/nonexistent"), 2, "No such file"),
        (("servers", "--url", "localhost:1"), 2, "http://"),
        (("servers", "--url", "http://127.0.0.1:99999"), 2, "http://"),
        (("servers", "--url", "http://[::1"), 2, "http://"),
        (("servers", "--url", "http://127.0.0.1:1"), 3, "mcp-gateway serve"),
        (("servers", "show", "nobody"), 4, "There is no server `nobody`"),
        (("call", "good/nothing"), 4, "has no tool `nothing`"),
        (("call", "good/.."), 4, "has no tool `..`"),
        (("call", "good/echo", "{no"), 4, "not valid JSON"),
        (("call", "broken/x"), 5, "command not found"),
        (("call", "good/die"), 6, "It may have run"),
        (("call", "--timeout", "0.2", "good/sleep", "--ms", "20000"), 6, "It may have run"),
    ],
)
def test_the_exit_code_says_what_happened(
    gateway: Gateway, words: tuple[str, ...], code: int, said: str
) -> None:
    gateway.wait_for_state("good", "ready")
    done = run(gateway, *words)
    assert (done.returncode, said in done.stderr) == (code, True), done
    told = run(gateway, "--json", *words) if code > 2 and words[1] != "--url" else None
    if told is not None:
        assert json.loads(told.stderr)["code"], told.stderr
    gateway.wait_for_state("good", "ready")


def test_ctrl_c_cancels_the_call_at_the_server(gateway: Gateway) -> None:
    def stats() -> dict[str, Any]:
        shown = json.loads(gateway.call("good", "stats").text)
        assert isinstance(shown, dict)
        return shown

    before = stats()["cancelled"]
    with running(gateway, "call", "good/sleep", "--ms", "50000") as process:
        until(lambda: stats()["running"] == 1, 10, "the call has reached the server")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, out, err) == (130, "", "Interrupted.\n")
    until(lambda: stats()["cancelled"] == before + 1, 10, "the server hears of it")
    newest = run(gateway, "activity", "--tool", "sleep", "--limit", "1", "--json").stdout
    assert json.loads(newest)["calls"][0]["outcome"] == "cancelled"


def test_a_gateway_that_dies_during_a_call_is_told_as_lost(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as mortal:
        mortal.wait_for_state("good", "ready")
        with running(mortal, "call", "good/sleep", "--ms", "50000") as process:
            until(lambda: mortal.server("good")["calls"]["running"] == 1, 10, "the call runs")
            mortal.kill()
            _, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 6, err
        assert "It may have run" in err
        until(lambda: not mortal.survivors(), 10, "the guardian has ended its servers")


def test_a_reader_who_leaves_a_pipe_is_no_mistake(gateway: Gateway) -> None:
    gateway.call("good", "echo", text="w")
    with running(gateway, "activity", "-f") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        gateway.call("good", "echo", text="x")
        gateway.call("good", "echo", text="y")
        process.wait(LIMIT_S)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_activity_shows_the_newest_calls_and_filters_them(gateway: Gateway) -> None:
    run(gateway, "call", "good/fail")
    run(gateway, "call", "good/echo", "--text", "x")
    rows = run(gateway, "activity", "--limit", "2").stdout.splitlines()[1:]
    assert ["good/echo" in rows[0], "good/fail" in rows[1]] == [True, True]
    shown = json.loads(run(gateway, "activity", "--outcome", "tool_error", "--since", "1h", "--json").stdout)
    assert {call["outcome"] for call in shown["calls"]} == {"tool_error"}
    assert run(gateway, "activity", "--since", "yesterday").returncode == 2


def test_activity_follows_calls_as_they_end(gateway: Gateway) -> None:
    with running(gateway, "activity", "-f", "--limit", "1", "--tool", "pid", "--json") as process:
        assert process.stdout is not None
        gateway.call("good", "pid")
        first = json.loads(process.stdout.readline())
        while gateway.call("good", "echo", text="y").status != 200:
            continue
        gateway.call("good", "pid")
        second = json.loads(process.stdout.readline())
        assert (first["tool"], second["tool"]) == ("pid", "pid")
        assert first["id"] != second["id"]
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130


def test_activity_follows_calls_that_were_refused_too(gateway: Gateway) -> None:
    with running(gateway, "activity", "-f", "--limit", "1", "--tool", "pid") as process:
        assert process.stdout is not None
        gateway.call("good", "pid")
        assert "good/pid  ok" in process.stdout.readline()
        gateway.call("nobody", "pid")
        assert "nobody/pid  unknown" in process.stdout.readline()
        gateway.request("POST", "/api/tools/good/pid", b"{no")
        assert "good/pid  invalid" in process.stdout.readline()
        gateway.call("broken", "pid")
        assert "broken/pid  unavailable" in process.stdout.readline()


def test_activity_is_exported_to_a_pipe_and_to_a_file(gateway: Gateway, tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        gateway.call("good", "echo", text=text)
    lines = run(gateway, "activity", "--export", "jsonl", "--tool", "echo").stdout.splitlines()
    shown = json.loads(run(gateway, "activity", "--tool", "echo", "--limit", "10000", "--json").stdout)
    assert [json.loads(line) for line in lines] == shown["calls"]
    assert len(run(gateway, "activity", "--export", "csv", "--limit", "2").stdout.splitlines()) == 3
    target = tmp_path / "calls.csv"
    done = run(gateway, "activity", "--export", "csv", "--tool", "echo", "-o", str(target))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"Wrote {target}\n")
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [call["id"] for call in shown["calls"]]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-o", "x"), 2),
        (("-f", "--export", "csv"), 2),
        (("-f", "--until", "1h"), 2),
        (("--export", "xml"), 2),
        (("--export", "csv", "-o", "/nonexistent/x"), 2),
        (("--export", "csv", "--url", "http://127.0.0.1:1"), 3),
        (("--export", "csv", "-o", "{tmp}/x", "--url", "http://127.0.0.1:1"), 3),
    ],
)
def test_an_export_that_cannot_be_leaves_no_file(
    gateway: Gateway, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    done = run(gateway, "activity", *(word.replace("{tmp}", str(tmp_path)) for word in words))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_an_export_that_is_not_whole_is_a_failure_and_a_reader_who_leaves_is_none(
    tmp_path: Path,
) -> None:
    mortal = Gateway({}, tmp_path)
    store = Store.open(mortal.state_dir)
    for _ in range(20_000):  # far more than the pipes between them hold
        store.end(a_finished_record())
    await store.close()
    with mortal:
        with running(mortal, "activity", "--export", "csv") as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            process.wait(LIMIT_S)
            assert process.stderr is not None
            assert process.stderr.read() == ""
        with running(mortal, "activity", "--export", "jsonl") as process:
            assert process.stdout is not None
            process.stdout.readline()
            mortal.kill()
            _, err = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, "cannot be reached" in err) == (3, True), err


def test_logs_are_shown_and_followed_with_terminal_escapes_visible(gateway: Gateway) -> None:
    gateway.call("loud", "act")
    done = run(gateway, "logs", "loud")
    assert done.returncode == 0
    assert done.stdout
    assert "\x1b" not in done.stdout
    assert "canary-in-the-mine" not in done.stdout
    with running(gateway, "logs", "loud", "-f", "--tail", "1", "--json") as process:
        assert process.stdout is not None
        last = json.loads(process.stdout.readline())
        gateway.call("loud", "act")
        assert json.loads(process.stdout.readline())["number"] == last["number"] + 1
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130


def test_the_port_file_of_the_state_directory_names_the_gateway(gateway: Gateway, tmp_path: Path) -> None:
    env = environment(tmp_path, MCP_GATEWAY_STATE_DIR=str(gateway.state_dir))
    assert run(gateway, "servers", env=env).returncode == 0
    (tmp_path / "port").write_text("1\n")
    done = run(gateway, "servers", env=env | {"MCP_GATEWAY_STATE_DIR": str(tmp_path)})
    assert done.returncode == 3
    assert f"its port is the one in {tmp_path}/port" in done.stderr


def test_a_terminal_gets_colour_and_a_bar_and_no_escape_of_a_server(gateway: Gateway) -> None:
    def on_terminal(*words: str) -> str:
        ours, theirs = pty.openpty()
        env = env_of(gateway) | {"TERM": "xterm-256color", "COLUMNS": "120"}
        process = subprocess.Popen([*COMMAND, *words], env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
            shown += chunk
        os.close(ours)
        process.wait(LIMIT_S)
        return shown.decode()

    assert "\x1b[32mready" in on_terminal("servers")
    assert "3 of 3" in on_terminal("call", "good/progress", "--steps", "3", "--ms", "300")
    echoed = on_terminal("call", "good/echo", json.dumps({"text": "a\x1b[2J\u202e[red]b\x9b31m"}))
    assert echoed.strip() == r"a\x1b[2J\u202e[red]b\x9b31m"
    as_json = on_terminal("call", "--json", "good/echo", json.dumps({"text": "\u202e\x9b31m"}))
    assert json.loads(as_json)["content"][0]["text"] == "\u202e\x9b31m"
    assert "\x9b" not in as_json


def test_names_are_completed_from_the_gateway(gateway: Gateway) -> None:
    def completed(words: str, count: int) -> list[str]:
        env = env_of(gateway) | {"_MCP_GATEWAY_COMPLETE": "bash_complete"}
        env |= {"COMP_WORDS": words, "COMP_CWORD": str(count)}
        source = "from mcp_gateway.cli import main; main(prog_name='mcp-gateway')"
        done = subprocess.run(
            [sys.executable, "-c", source],
            env=env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("mcp-gateway ser", 1) == ["serve", "servers"]
    assert completed("mcp-gateway servers show g", 3) == ["good"]
    assert completed("mcp-gateway call good/e", 2) == ["good/echo", "good/env"]
