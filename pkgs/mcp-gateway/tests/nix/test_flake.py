"""The flake as the command `nix` reads it, which is stricter than an evaluation: no network, no nixpkgs."""

import json
import shutil
from typing import Any

import pytest

from tests.nix.evaluating import HERE, Nix, copy_sources, least_versions

NIXPKGS = """{
  outputs = _:
    let
      lib = import ./lib.nix;
      versions = builtins.fromJSON (builtins.readFile ./versions.json);
      pkgs = import ./packages.nix { inherit lib versions; };
    in
    { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: pkgs); };
}
"""


@pytest.fixture(scope="module")
def shown(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Any:
    project, nixpkgs = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("nixpkgs")
    copy_sources(project)
    for name in ("lib.nix", "packages.nix"):
        shutil.copy(HERE / name, nixpkgs)
    (nixpkgs / "versions.json").write_text(json.dumps(least_versions()))
    (nixpkgs / "flake.nix").write_text(NIXPKGS)
    assert not (project / "flake.lock").exists()
    return nix.flake(project, nixpkgs)


def test_the_command_nix_finds_the_modules_and_the_overlay(shown: Any) -> None:
    assert {name: one["type"] for name, one in shown["nixosModules"].items()} == dict.fromkeys(
        ("ai", "default", "mcp-gateway"), "nixos-module"
    )
    assert shown["overlays"]["default"]["type"] == "nixpkgs-overlay"
    assert "homeModules" in shown


@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-linux"])
def test_the_command_nix_finds_the_package_on_every_system(shown: Any, system: str) -> None:
    named = {"name": "axios-mcp-gateway", "type": "derivation"}
    for name in ("default", "mcp-gateway"):
        assert named.items() <= shown["packages"][system][name].items()
    assert named.items() <= shown["checks"][system]["package"].items()
    assert shown["devShells"][system]["default"]["name"] == "shell"
