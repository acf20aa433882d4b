"""Evaluates the flake, the modules and the package with Debian's Nix, into a store in a folder of the test.

No daemon, no /nix and no network: nothing is built. What evaluation writes (configuration, scripts) lies in
the store and can be read and run. `Evaluated` is the whole outcome; decision 36 says what it stands for.
"""

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from tests.real import PROJECT, REPOSITORY, need

HERE: Final = Path(__file__).parent
# All that the modules, the package and the flake are made of; a copy of it is a copy of the project to Nix.
SOURCES: Final = (
    *("flake.nix", "modules", "home"),
    *(f"pkgs/mcp-gateway/{name}" for name in ("default.nix", "pyproject.toml", "ui/package.json")),
    "pkgs/mcp-gateway/ui/package-lock.json",
)
TIMEOUT_S: Final = 60.0


def need_program(name: str) -> str:
    """Where a program of the system is; a visible skip where it is not, or a failure."""
    found = shutil.which(name)
    need(Path(found or name))
    assert found is not None
    return found


@dataclass(frozen=True)
class Nix:
    """A store and what speaks to it."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def run(self, *words: str, program: str = "nix-instantiate") -> subprocess.CompletedProcess[str]:
        (self.folder / "nix.conf").write_text("build-users-group =\nsubstituters =\n")
        places = {
            "NIX_STORE_DIR": self.store,
            "NIX_STATE_DIR": self.folder / "var",
            "NIX_LOG_DIR": self.folder / "log",
            "NIX_CONF_DIR": self.folder,
            "HOME": self.folder,
        }
        return subprocess.run(
            [need_program(program), *words],
            env={"PATH": os.environ["PATH"], **{name: str(path) for name, path in places.items()}},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def parse(self, path: Path) -> str:
        """What the parser complains of; empty when it does not."""
        done = self.run("--parse", str(path))
        return done.stderr if done.returncode else ""

    def flake(self, repository: Path, nixpkgs: Path) -> Any:
        """What the command `nix` finds in the flake, with a folder in the place of nixpkgs."""
        done = self.run(
            *("--extra-experimental-features", "nix-command flakes"),
            *("flake", "show", "--json", "--no-write-lock-file", f"path:{repository}"),
            *("--override-input", "nixpkgs", f"path:{nixpkgs}"),
            program="nix",
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def value(self, repository: Path, **arguments: Any) -> subprocess.CompletedProcess[str]:
        texts = {name: x if isinstance(x, str) else json.dumps(x) for name, x in arguments.items()}
        given = [word for name, text in texts.items() for word in ("--argstr", name, text)]
        return self.run(
            *("--eval", "--strict", "--json", "--read-write-mode"),
            *("--argstr", "repository", str(repository), *given, str(HERE / "evaluate.nix")),
        )


@dataclass(frozen=True)
class Evaluated:
    """What became of all cases; `all` is what evaluate.nix makes."""

    nix: Nix
    repository: Path
    all: Mapping[str, Any]

    @property
    def cases(self) -> Mapping[str, Any]:
        cases: Mapping[str, Any] = self.all["cases"]
        return cases

    @property
    def served(self) -> Mapping[str, Any]:
        """The cases that run a gateway."""
        return {name: case for name, case in self.cases.items() if "mcp-gateway" in case["units"]}

    @cached_property
    def errors(self) -> Mapping[str, str]:
        """What the evaluation of each broken case says; empty where it says nothing."""
        return {name: self._error(name) for name in self.all["broken"]}

    def _error(self, broken: str) -> str:
        done = self.nix.value(self.repository, broken=broken)
        return done.stderr if done.returncode else ""


def evaluate(
    nix: Nix,
    repository: Path = REPOSITORY,
    documents: Mapping[str, Mapping[str, Any]] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Evaluated:
    """`documents`: files with modules, `{path, isHome}` by name; `versions`: of the packages of Python.

    Raises: ValueError with what Nix says, when something is wrong that no case expects.
    """
    there = least_versions() if versions is None else dict(versions)
    done = nix.value(repository, versions=there, documents=documents or {})
    if done.returncode:
        raise ValueError(done.stderr)
    return Evaluated(nix, repository, json.loads(done.stdout))


def least_versions() -> dict[str, str]:
    """The dependencies of the gateway, each in the oldest version that will do."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    pairs = (line.partition(">=") for line in project["dependencies"])
    return {name: bounds.partition(",")[0] for name, _, bounds in pairs}


def copy_sources(into: Path) -> None:
    for name in SOURCES:
        source, target = REPOSITORY / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
