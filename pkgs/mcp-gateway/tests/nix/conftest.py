"""One store and one evaluation for all tests of a module."""

import pytest

from tests.nix.evaluating import Evaluated, Nix, evaluate


@pytest.fixture(scope="package")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    return Nix(tmp_path_factory.mktemp("nix"))


@pytest.fixture(scope="package")
def evaluated(nix: Nix) -> Evaluated:
    return evaluate(nix)
