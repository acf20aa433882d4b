"""Reads the units that the modules make, asks systemd about them, and runs their scripts as it would."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.nix.evaluating import HERE, Evaluated, need_program

TIMEOUT_S: Final = 30.0
SERVE: Final = "mcp-gateway-tailscale-serve"


@dataclass(frozen=True)
class Unit:
    """`directives`: of all sections, each with its values in order."""

    text: str
    directives: Mapping[str, Sequence[str]]

    def one(self, key: str) -> str | None:
        """The value of a directive that is there once; None where it is not."""
        values = self.directives.get(key, ())
        assert len(values) <= 1, f"{key} is there {len(values)} times"
        return values[0] if values else None

    @property
    def environment(self) -> dict[str, str]:
        pairs = (json.loads(text).partition("=") for text in self.directives.get("Environment", ()))
        return {name: value for name, _, value in pairs}

    @property
    def credentials(self) -> dict[str, str]:
        """The file of each, by name."""
        return dict(text.split(":", 1) for text in self.directives.get("LoadCredential", ()))

    @property
    def config(self) -> Any:
        return json.loads(Path(self.environment["MCP_GATEWAY_CONFIG"]).read_text())


def unit(text: str) -> Unit:
    directives: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("["):
            key, _, value = line.partition("=")
            directives.setdefault(key, []).append(value)
    return Unit(text, directives)


def units_of(case: Mapping[str, Any]) -> dict[str, Unit]:
    return {name: unit(text) for name, text in case["units"].items()}


def written(evaluated: Evaluated, case: str) -> list[Path]:
    """The units of a case as files, with a program behind every path that they name."""
    folder = evaluated.nix.folder / "units" / case
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in evaluated.cases[case]["units"].items():
        path = folder / f"{name}.service"
        path.write_text(text)
        paths.append(path)
        for command in re.findall(rf"{re.escape(str(evaluated.nix.store))}/[^\s\"]+/bin/[^\s/\":]+", text):
            program = Path(command)
            if not program.exists():
                program.parent.mkdir(parents=True, exist_ok=True)
                program.symlink_to("/bin/true")
    for script in evaluated.nix.store.glob("*-mcp-gateway-tailscale-serve-*"):
        script.chmod(0o555)  # what is made by `toFile` is no program; NixOS' own scripts are
    return paths


def analyzed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need_program("systemd-analyze"), *words],
        env={**os.environ, "SYSTEMD_LOG_TARGET": "console", "SYSTEMD_COLORS": "0"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@dataclass(frozen=True)
class Machine:
    """A machine with a Tailscale that we made up, and whatever systemd starts of the unit."""

    folder: Path
    unit: Unit

    @property
    def state_file(self) -> Path:
        return self.folder / "tailscale.json"

    @property
    def state(self) -> Any:
        return json.loads(self.state_file.read_text())

    @property
    def served(self) -> dict[str, str]:
        """What is served: host and port with path, to the target."""
        web = self.state.get("serve", {}).get("Web", {})
        return {
            f"{at}{path}": handler["Proxy"]
            for at, one in web.items()
            for path, handler in one["Handlers"].items()
        }

    @property
    def changes(self) -> list[list[str]]:
        """The calls that were not questions."""
        return [words for words in self.state["calls"] if "status" not in words]

    def start(self) -> tuple[int, str]:
        """As systemd does: one after the other, and the first that fails ends it."""
        said = ""
        for key in ("ExecStartPre", "ExecStart", "ExecStartPost"):
            status, words = self._run(key)
            said += words
            if status:
                return status, said
        return 0, said

    def stop(self) -> tuple[int, str]:
        return self._run("ExecStop")

    def _run(self, key: str) -> tuple[int, str]:
        script = self.unit.one(key)
        assert script is not None, f"there is no {key}"
        done = subprocess.run(
            ["/bin/sh", script],
            env={"PATH": str(self.folder / "bin"), "FAKE_TAILSCALE": str(self.state_file)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def machine(folder: Path, unit: Unit, **state: Any) -> Machine:
    """Sleeping takes no time there, half a minute is a moment, and what is done often is done three times.

    Files in its folder have what it would be: `slept`, `bound` and `turns`.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (programs / "jq").symlink_to(need_program("jq"))
    for name, line in {
        "tailscale": f'exec {sys.executable} -I -S {HERE / "tailscale.py"} "$@"',
        "seq": f'echo "$1" >>{folder / "turns"}; echo 1 2 3',
        "sleep": f'echo "$1" >>{folder / "slept"}',
        "timeout": f'echo "$1" >>{folder / "bound"}; shift; exec {need_program("timeout")} 3 "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    made = Machine(folder, unit)
    made.state_file.write_text(json.dumps(state))
    return made
