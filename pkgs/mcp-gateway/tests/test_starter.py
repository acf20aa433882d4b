"""The starter's promises: real commands, one playground in the state directory, a person's edits kept."""

import json
import os
import runpy
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from mcp_gateway.config import load

PREPARE: Final = Path(__file__).resolve().parents[1] / "starter" / "prepare.py"
RUN_LIMIT_S: Final = 60


@pytest.fixture
def run(tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Runs the real script as `make run` does, on a machine that has git and nothing else."""
    commands = tmp_path / "commands"
    home = tmp_path / "home"
    for folder in (commands, home):
        folder.mkdir()
    git = shutil.which("git")
    assert git is not None
    (commands / "git").symlink_to(git)
    env = {"PATH": str(commands), "HOME": str(home), "MCP_GATEWAY_STATE_DIR": str(tmp_path / "state")}

    def once() -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            (sys.executable, str(PREPARE)),
            env=env,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=True,
        )
        assert list(home.iterdir()) == []
        return done

    return once


def test_the_starter_names_commands_that_exist_and_says_what_is_missing(
    run: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = run()
    path = Path(done.stdout.strip())
    assert path == tmp_path / "state" / "starter" / "mcp_servers.json"
    servers: dict[str, Any] = json.loads(path.read_bytes())["mcpServers"]
    assert list(servers) == ["time", "git"]
    assert all(os.access(server["command"], os.X_OK) for server in servers.values())
    assert done.stderr.splitlines() == [
        "Node is not here: the starter goes without filesystem and everything."
    ]


def test_only_its_owner_may_read_or_write_the_starter(
    run: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    path = Path(run().stdout.strip())
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, tmp_path / "state")]
    assert modes == [0o600, 0o700, 0o700]


def test_the_demo_repository_has_one_commit_and_an_identity_of_its_own(
    run: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run()
    repository = tmp_path / "state" / "starter" / "repository"
    log = subprocess.run(
        ("git", "-C", str(repository), "log", "--format=%an: %s"),
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=True,
    )
    assert log.stdout == "MCP Gateway demo: Begin the demo repository\n"


def test_a_second_run_changes_nothing(
    run: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    def everything() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in (tmp_path / "state" / "starter").rglob("*")
            if path.is_file() and path.name != ".written-sha256"
        }

    first = run()
    before = everything()
    assert run().stdout == first.stdout
    assert everything() == before


def test_a_file_nobody_edited_follows_the_machine(
    run: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    path = Path(run().stdout.strip())
    fresh = path.read_bytes()
    script = runpy.run_path(str(PREPARE))
    script["write_configuration"](path, {"older": {"command": "/nowhere"}})
    assert path.read_bytes() != fresh
    run()
    assert path.read_bytes() == fresh


def test_a_persons_edits_are_kept_and_told(run: Callable[[], subprocess.CompletedProcess[str]]) -> None:
    path = Path(run().stdout.strip())
    path.write_text('{"mcpServers": {}}', encoding="utf-8")
    done = run()
    assert path.read_text(encoding="utf-8") == '{"mcpServers": {}}'
    assert "Keeping your edits" in done.stderr
    path.unlink()
    run()
    assert list(json.loads(path.read_bytes())["mcpServers"]) == ["time", "git"]


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"MCP_GATEWAY_STATE_DIR": "/var/lib/one", "STATE_DIRECTORY": "/var/lib/two"},
        {"STATE_DIRECTORY": "/var/lib/two"},
        {"XDG_STATE_HOME": "/home/somebody/state"},
        {"XDG_STATE_HOME": "not/absolute"},
    ],
    ids=["nothing", "ours", "systemd", "xdg", "relative xdg"],
)
def test_the_starter_and_the_gateway_agree_where_state_lives(env: dict[str, str]) -> None:
    # Whoever reads HOME from the environment and whoever asks the system must find the same one.
    env = {"HOME": str(Path.home()), **env}
    assert runpy.run_path(str(PREPARE))["state_dir"](env) == load.state_dir(None, env)
