"""The documents: the list of options is current, and what docs/nixos.md shows can be written as it stands."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.nix.evaluating import Evaluated, Nix, copy_sources, evaluate
from tests.nix.reference import REFERENCE, rendered
from tests.real import REPOSITORY

NIXOS = REPOSITORY / "docs" / "nixos.md"
BLOCK = re.compile(r"^```nix\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_list_of_options_is_current(evaluated: Evaluated) -> None:
    assert REFERENCE.read_text() == rendered(evaluated), "an option has changed: make reference"


def test_every_option_says_what_it_is(evaluated: Evaluated) -> None:
    options = [option for of in evaluated.all["options"].values() for option in of]
    assert [option["name"] for option in options if not option["description"].rstrip().endswith(".")] == []


@pytest.fixture(scope="module")
def shown(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Every block of Nix in the document, evaluated as the module that it is, by its number."""
    folder = tmp_path_factory.mktemp("documents")
    files = {}
    for number, block in enumerate(BLOCK.findall(NIXOS.read_text())):
        path = folder / f"{number}.nix"
        path.write_text(block)
        assert nix.parse(path) == ""
        if not block.startswith("# flake.nix\n"):
            files[str(number)] = {"path": str(path), "isHome": block.startswith("# home.nix\n")}
    copy_sources(folder / "project")
    documents: Mapping[str, Any] = evaluate(nix, Path(folder / "project"), files).all["documents"]
    return documents


def test_what_is_shown_is_accepted(shown: Mapping[str, Any]) -> None:
    assert len(shown) >= 6
    for number, case in shown.items():
        assert (number, case["failed"], case["warnings"], case["homeFailed"]) == (number, [], [], [])
        made = ("units", "session", "entries", "mcpServers")
        assert any(case[kind] for kind in made), f"block {number} does nothing"


def test_the_flake_that_is_shown_uses_what_ours_has(evaluated: Evaluated) -> None:
    words = NIXOS.read_text()
    named = set(re.findall(r"(nixosModules|homeModules)\.([a-z-]+)", words))
    flake = evaluated.all["flake"]
    assert named == {(kind, name) for kind in ("nixosModules", "homeModules") for name in flake[kind]}


def test_every_option_that_the_text_names_is_there(evaluated: Evaluated) -> None:
    """Their names have a capital within, which little else in the text has."""
    options = [option["name"] for of in evaluated.all["options"].values() for option in of]
    parts = {part for name in options for part in name.split(".")} | {"hostName"}
    text = BLOCK.sub("", NIXOS.read_text())
    named = {
        part
        for words in re.findall(r"`([a-zA-Z.<>]+)`", text)
        for part in words.split(".")
        if re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", part)
    }
    assert len(named) > 8
    assert named - parts == {"nixosModules", "homeModules", "devShells", "getExe", "enableMcpIntegration"}
