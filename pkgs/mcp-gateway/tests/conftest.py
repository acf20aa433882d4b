"""What holds for every test: no secret of a gateway that lived in it is anywhere it must not be."""

from collections.abc import Iterator

import pytest

from tests import leaks

# `make test-openwebui` names it; it takes a program of 1.8 GB, which no other run may ask for.
collect_ignore = ["openwebui_real"]


@pytest.fixture(autouse=True)
def secrets_never_leave() -> Iterator[None]:
    """Set up before everything else, so that it looks when all else of the test is over."""
    yield
    leaks.check()
