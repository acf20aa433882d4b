"""`check` and `schema` as a person runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcp_gateway.cli.config import check, schema


def run(command: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    source = f"from mcp_gateway.cli.config import {command}; {command}()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_check_prints_every_problem_and_exits_2(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.json",
        '{"mcpServers": {\n"a": {"comand": "x"},\n'
        '"b": {"command": "x", "env": {"K": "${GONE}"}, "gallery": true}}}',
    )
    done = run("check", "--config", str(path))
    assert done.returncode == 2
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"warning: {path}:3: mcpServers.b.gallery: ignored: it is a label of another client",
        f"{path}:2: mcpServers.a.comand: unknown key (did you mean `command`?)",
        f"{path}:3: mcpServers.b.env.K: variable GONE is not set",
        f"{path}: 2 problems",
    ]


def test_check_takes_an_unset_variable_for_a_problem_and_a_set_one_for_good(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", '{"mcpServers": {"b": {"command": "x", "env": {"K": "${GONE}"}}}}')
    assert run("check", env={"MCP_GATEWAY_CONFIG": str(path)}).returncode == 2
    done = run("check", env={"MCP_GATEWAY_CONFIG": str(path), "GONE": "CANARY"})
    assert (done.returncode, done.stdout) == (0, f"{path}: good, 1 server\n")


@pytest.mark.parametrize(("mode", "told"), [(0o666, "can be written by others"), (None, "No such file")])
def test_check_refuses_a_file_it_would_not_run_from(tmp_path: Path, mode: int | None, told: str) -> None:
    path = tmp_path / "c.json"
    if mode is not None:
        write(path, "{}").chmod(mode)
    result = CliRunner().invoke(check, ["--config", str(path)])
    assert result.exit_code == 2
    assert told in result.output


def test_check_without_any_file_says_so(tmp_path: Path) -> None:
    done = run("check", env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (
        0,
        "There is no configuration file; the gateway would start without servers.\n",
    )


def test_schema_prints_the_schema() -> None:
    result = CliRunner().invoke(schema)
    assert result.exit_code == 0
    assert json.loads(result.output)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
