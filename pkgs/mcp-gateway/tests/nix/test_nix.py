"""The modules, the package and the flake are what they should be; `checking.py` has what that is."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.nix.checking import CHECKS, Check
from tests.nix.evaluating import HERE, Evaluated, Nix, need_program
from tests.nix.units import units_of
from tests.real import PROJECT, REPOSITORY


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_all_is_as_it_should_be(evaluated: Evaluated, check: Check) -> None:
    assert list(check(evaluated)) == []


def _nix_files() -> list[Path]:
    folders = (REPOSITORY / "modules", REPOSITORY / "home", HERE)
    found = [path for folder in folders for path in sorted(folder.rglob("*.nix"))]
    return [REPOSITORY / "flake.nix", PROJECT / "default.nix", *found]


def test_every_nix_file_can_be_parsed(nix: Nix) -> None:
    assert len(_nix_files()) > 10
    assert {path: nix.parse(path) for path in _nix_files() if nix.parse(path)} == {}


def test_a_nix_file_that_cannot_be_parsed_is_found(nix: Nix, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nix"
    broken.write_text((REPOSITORY / "modules" / "ai" / "default.nix").read_text().replace(";", "", 1))
    assert "syntax error" in nix.parse(broken)


def test_the_command_check_accepts_what_the_modules_write(evaluated: Evaluated) -> None:
    said: Mapping[str, str] = {
        name: subprocess.run(
            [sys.executable, "-m", "mcp_gateway", "check"],
            env={
                "PYTHONPATH": str(PROJECT / "src"),
                **units_of(evaluated.cases[name])["mcp-gateway"].environment,
            },
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        for name in ("server", "server-values")
    }
    assert said["server"].endswith("good, 4 servers\n")
    assert said["server-values"].endswith("good, 3 servers\n")


def test_the_desktop_entry_is_valid(evaluated: Evaluated, tmp_path: Path) -> None:
    said: dict[str, list[str]] = {}
    for name, case in evaluated.cases.items():
        for entry, text in case["entries"].items():
            file = tmp_path / f"{entry}.desktop"
            file.write_text(text)
            done = subprocess.run(
                [need_program("desktop-file-validate"), str(file)],
                capture_output=True,
                text=True,
                check=False,
            )
            wrong = [line for line in done.stdout.splitlines() if ": hint: " not in line]
            if done.returncode or wrong:
                said[name] = wrong
    assert said == {}
