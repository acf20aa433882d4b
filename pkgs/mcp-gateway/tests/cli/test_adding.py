"""Adding, removing and showing servers from the command line, with the one-time code of the machine."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import HOSTILE, Gateway, hostile

LIMIT_S = 60
COMMAND = (sys.executable, "-W", "error", "-m", "mcp_gateway")
GOOD = (sys.executable, "-I", "-S", str(HOSTILE), "good")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"keeper": hostile("good")}, tmp_path_factory.mktemp("adding")) as gateway:
        yield gateway


def environment(gateway: Gateway, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
    return kept | {"HOME": str(gateway.directory), "MCP_GATEWAY_STATE_DIR": str(gateway.state_dir)} | more


def run(gateway: Gateway, *words: str, stdin: str = "", **more: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    done = subprocess.run(
        [*COMMAND, "servers", *words],
        env=environment(gateway, **more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def config(gateway: Gateway) -> Path:
    return gateway.directory / "config.json"


def test_a_command_is_added_and_removed_on_its_own_machine(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    status, out, err = run(gateway, "add", "--name", "Fresh one", "A_KEY=sEcRet0fAPerson", *GOOD)
    assert (status, out.split()[:3]) == (0, ["fresh-one", "is", "added,"])
    assert err == "warning: fresh-one: env.A_KEY: holds a secret in the clear; it is kept as it is; " + (
        '{"file": PATH} or {"command": [...]} keeps it out of the file\n'
    )
    gateway.wait_for_state("fresh-one", "ready")
    status, out, _ = run(gateway, "config", "fresh-one")
    assert status == 0
    assert json.loads(out)["config"]["env"] == [
        {"name": "A_KEY", "value": "set", "from": "literal", "of": None}
    ]
    assert run(gateway, "remove", "fresh-one")[:2] == (0, "fresh-one is removed\n")
    assert config(gateway).read_bytes() == before


def test_a_look_saves_nothing(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    text = json.dumps({"mcpServers": {"a": {"command": "no-such-program", "env": {"K": "${GONE}"}}}})
    status, out, _ = run(gateway, "add", "--check", "-", stdin=text)
    assert status == 0
    told = dict(line.split("  ", 1) for line in out.splitlines())
    assert {name.strip(): value.strip() for name, value in told.items()} == {
        "id": "a",
        "runs": "no-such-program",
        "found": "command not found: `no-such-program` is not on PATH",
        "env": "K (unset, GONE)",
        "warnings": "addedServers.a.env.K: variable GONE is not set",
    }
    status, out, _ = run(gateway, "add", "--check", "--json", "npx -y thing")
    assert json.loads(out)["entries"][0]["argv"] == ["npx", "-y", "thing"]
    assert config(gateway).read_bytes() == before


def test_what_cannot_be_is_refused_with_the_reason(gateway: Gateway) -> None:
    status, _, err = run(gateway, "add", "npx a | tee b")
    assert (status, "a pipe" in err) == (4, True)
    status, _, err = run(gateway, "remove", "keeper")
    assert (status, "declared in" in err) == (4, True)
    status, _, err = run(gateway, "remove", "nobody")
    assert (status, "no server `nobody`" in err) == (4, True)


def test_a_gateway_that_is_named_is_shown_the_code_of_a_file(gateway: Gateway) -> None:
    url = {"MCP_GATEWAY_URL": f"http://127.0.0.1:{gateway.port}"}
    status, _, err = run(gateway, "add", "--name", "far", *GOOD, **url)
    assert (status, "--code-file" in err) == (2, True)
    code = str(gateway.state_dir / "one-time-code")
    status, out, _ = run(gateway, "add", "--json", "--code-file", code, "--name", "far", *GOOD, **url)
    assert (status, json.loads(out)["servers"][0]["id"]) == (0, "far")
    assert run(gateway, "remove", "--json", "far", "--code-file", code, **url)[0] == 0
    assert run(gateway, "remove", "far", "--state-dir", str(gateway.state_dir), **url)[0] == 2


def test_a_gateway_that_is_named_is_shown_the_code_that_is_typed(gateway: Gateway) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "servers", "remove", "nobody", "--url", f"http://127.0.0.1:{gateway.port}"]
    asking = subprocess.Popen(
        command,
        env=environment(gateway),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while b"One-time code: " not in shown:
        shown += os.read(ours, 1 << 10)
    os.write(ours, (gateway.state_dir / "one-time-code").read_bytes())
    assert asking.wait(LIMIT_S) == 4
    while b"no server `nobody`" not in shown:
        shown += os.read(ours, 1 << 10)
    os.close(ours)
