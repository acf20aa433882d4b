"""The gateway runs with the command, the environment and the configuration that the unit gives it.

What systemd does is done by hand: its directories are folders of the test, credentials are files in one, and
the port is a free one. Nothing else is changed.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.harness import HOSTILE, MARKER, START_TIMEOUT_S, STOP_TIMEOUT_S, free_port, until
from tests.nix.evaluating import Evaluated
from tests.nix.units import Unit, units_of
from tests.real import PROJECT

NAME = "edge.taile0fb4.ts.net:8448"
KEY = "k" * 40


@pytest.fixture(scope="module")
def unit(evaluated: Evaluated) -> Unit:
    return units_of(evaluated.cases["server-running"])["mcp-gateway"]


@pytest.fixture(scope="module")
def port(unit: Unit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of the gateway, which runs as long as the tests of this module."""
    folder, port = tmp_path_factory.mktemp("unit"), free_port()
    command = shlex.split(unit.one("ExecStart") or "")
    environment = unit.environment | {
        "HOME": str(folder),
        "MCP_GATEWAY_PORT": str(port),
        "MCP_GATEWAY_STATE_DIR": str(folder),
        "CREDENTIALS_DIRECTORY": str(folder / "credentials"),
        "HOSTILE": str(HOSTILE),  # what the file for the environment would say
    }
    programs = {
        command[0]: f'PYTHONPATH={PROJECT / "src"} exec {sys.executable} -m mcp_gateway "$@"',
        _on_path(unit, "python3"): f'exec {sys.executable} "$@"',
    }
    for place, line in programs.items():
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).unlink(missing_ok=True)
        Path(place).write_text(f"#!/bin/sh\n{line}\n")
        Path(place).chmod(0o755)
    (folder / "credentials").mkdir()
    for name in unit.credentials:
        (folder / "credentials" / name).write_text(KEY if name == "phone-key" else f"secret of {name}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: _is_up(process, port, folder), START_TIMEOUT_S, "the gateway serves")
        yield port
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(STOP_TIMEOUT_S) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


def _on_path(unit: Unit, program: str) -> str:
    folder = next(path for path in unit.environment["PATH"].split(":") if f"-{program}/" in path)
    return f"{folder}/{program}"


def _is_up(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / "log").read_text()
    try:
        return ask(port, "GET", "/ready")[0] == 200
    except OSError:
        return False


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def test_the_gateway_answers_to_its_name_in_the_tailnet(port: int) -> None:
    assert ask(port, "GET", "/api/servers", Host=NAME)[1]["code"] == "unauthenticated"
    assert ask(port, "GET", "/api/servers", Host="other.taile0fb4.ts.net:8448")[1]["code"] == "refused"
    assert ask(port, "GET", "/api/servers", Host=NAME, Origin=f"https://{NAME}")[0] == 401
    assert ask(port, "GET", "/api/servers", Host=NAME, Origin="https://edge.taile0fb4.ts.net:8443")[0] == 403


def test_its_key_and_what_its_server_gets_come_from_credentials(port: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content_Type": "application/json"}

    def is_ready() -> bool:
        [server] = ask(port, "GET", "/api/servers", **headers)[1]["servers"]
        assert server["state"] != "failed", server
        return bool(server["state"] == "ready")

    until(is_ready, START_TIMEOUT_S, "the server runs")
    status, result = ask(port, "POST", "/api/tools/good/env", "{}", **headers)
    assert status == 200, result
    names = set(json.loads(result["content"][0]["text"])["names"])
    assert {
        "TOKEN",
        "UV_CACHE_DIR",
        "UV_PYTHON",
        "npm_config_cache",
        "XDG_CACHE_HOME",
        "HOME",
        "PATH",
    } <= names
    assert {name for name in names if name.startswith("MCP_GATEWAY_")} <= {MARKER}
    assert "CREDENTIALS_DIRECTORY" not in names
