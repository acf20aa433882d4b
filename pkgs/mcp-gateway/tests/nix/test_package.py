"""The package: what a nixpkgs that does not suit is told, and that its phases make what browsers load.

The phases are run by hand, on the source as Nix took it, with the node modules that `make` installed in the
place of those of Nix; npm itself fails there, as it would in a build without a network.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.nix.evaluating import Evaluated, Nix, copy_sources, evaluate, least_versions, need_program
from tests.real import PROJECT, need

MODULES = PROJECT / "ui" / "node_modules"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fastapi": "0.100.1"}, "mcp-gateway needs fastapi 0.165 (here 0.100.1) or later"),
        ({"msgspec": None}, "mcp-gateway needs msgspec, which this nixpkgs does not have"),
    ],
)
def test_a_nixpkgs_that_does_not_suit_is_told_why(
    nix: Nix, tmp_path: Path, change: Mapping[str, str | None], words: str
) -> None:
    copy_sources(tmp_path)  # which is quicker than to hash all of the project
    versions = {name: version for name, version in {**least_versions(), **change}.items() if version}
    with pytest.raises(ValueError, match=r"mcp-gateway needs") as raised:
        evaluate(nix, tmp_path, versions=versions)
    assert words in str(raised.value)


def test_who_wants_it_may_try_older_ones(evaluated: Evaluated) -> None:
    assert evaluated.all["lenient"] == evaluated.all["package"]["dependencies"]


def test_what_make_leaves_in_a_clone_is_not_in_the_source(evaluated: Evaluated) -> None:
    source = Path(evaluated.all["package"]["src"])
    names = {path.name for path in source.rglob("*")}
    assert names.isdisjoint({"node_modules", "static", "__pycache__", ".mypy_cache", ".venv"})
    wanted = ("pyproject.toml", "hatch_build.py", "README.md", "ui/build.py", "src/mcp_gateway/app.py")
    assert [name for name in wanted if not (source / name).is_file()] == []


def _run(folder: Path, lines: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", f"runHook() {{ :; }}\n{lines}"],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_phases_make_what_browsers_load(evaluated: Evaluated, tmp_path: Path) -> None:
    need(MODULES / ".stamp", Path(need_program("node")))
    package = evaluated.all["package"]
    programs, built, taken = tmp_path / "bin", tmp_path / "ui", tmp_path / "wheel"
    programs.mkdir()
    (programs / "npm").write_text("#!/bin/sh\necho there is no network >&2; exit 1\n")
    (programs / "npm").chmod(0o755)
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python3").chmod(0o755)
    (programs / "node").symlink_to(need_program("node"))
    environment = {"PATH": f"{programs}:/bin:/usr/bin", "HOME": str(tmp_path), "src": package["src"]}

    # As the hook of nixpkgs leaves the folder: the modules are there, and the two files are its own.
    shutil.copytree(package["src"], built)
    subprocess.run(["chmod", "-R", "u+w", str(built)], check=True)
    (built / "ui" / "node_modules").mkdir()
    for module in MODULES.iterdir():
        if module.name != ".stamp":
            (built / "ui" / "node_modules" / module.name).symlink_to(module)
    (built / "ui" / "package.json").write_text("{}")
    (built / "ui" / "package-lock.json").write_text(json.dumps(package["ui"]["lock"]))
    out = Path(package["ui"]["path"])
    _run(built, package["ui"]["buildPhase"], environment)
    _run(built, package["ui"]["installPhase"], environment | {"out": str(out)})
    assert {"app.css", "icons.svg", "build.json", "js", "vendor"} <= {path.name for path in out.iterdir()}

    # The wheel finds that built of its own sources: it wants neither Node nor anything of PyPI.
    shutil.copytree(package["src"], taken)
    subprocess.run(["chmod", "-R", "u+w", str(taken)], check=True)
    _run(taken, package["preBuild"], environment)
    asked = "import build; assert build.is_current() and not build.build()"
    _run(taken / "ui", f"python3 -c '{asked}'", {"PATH": f"{programs}:/bin"})
