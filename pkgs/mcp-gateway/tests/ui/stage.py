"""Gateways for the tests of the pages: the real command with real servers, and some that misbehave."""

import json
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.harness import Gateway, hostile
from tests.real import PROJECT

PREPARE: Final = PROJECT / "starter" / "prepare.py"
SHELF: Final = PROJECT / "tests" / "shelf.py"


def starter(directory: Path) -> dict[str, dict[str, Any]]:
    """The servers of `make run` that this machine has: time and git, with Node filesystem and everything."""
    prepare = runpy.run_path(str(PREPARE))
    directory.mkdir(parents=True, exist_ok=True)
    files = prepare["demo_folder"](directory / "files")
    found: dict[str, dict[str, Any]] = prepare["servers"](
        files, prepare["demo_repository"](directory / "repository")
    )
    return found


def cast() -> dict[str, dict[str, Any]]:
    """One server for each thing that the pages have to show: working, slow, failing, switched off."""
    return {
        "good": hostile("good"),
        "slow": hostile("never"),
        "failing": hostile("exit", "--code", "3"),
        "off": hostile("good", enabled=False),
    }


@contextmanager
def opened(gateway: Gateway, *ready: str) -> Iterator[Gateway]:
    """A running gateway of which these servers are ready."""
    with gateway:
        for server in ready:
            gateway.wait_for_state(server, "ready", timeout_s=20)
        yield gateway


def url(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}"


def shelf(path: Path, *tools: dict[str, Any]) -> dict[str, Any]:
    """A server with these tools; `path` is where they are written down."""
    path.write_text(json.dumps({"capabilities": {"tools": {}}, "tools": tools}))
    return {"command": sys.executable, "args": ["-I", "-S", str(SHELF), str(path)]}
