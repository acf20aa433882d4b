"""The official suite against the real gateway, and against the fixture alone, which proves the fixture."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import suite
from tests.harness import STOP_TIMEOUT_S, Gateway, hostile

pytestmark = pytest.mark.usefixtures("whole_suite")

FIXTURE = ("-S", "-m", "tests.conformance.fixture")
# The order of names is that of lists, and the first tool that is listed gets called without arguments.
STDIO, REMOTE, OTHER = "a", "b", "other"
# Alone, a server that speaks one era only is asked in that one: the other is another protocol.
ONE_ERA = [("legacy", leg) for leg in suite.LEGS if leg != "2026-07-28"] + [("modern", "2026-07-28")]


@contextmanager
def over_http(*options: str) -> Iterator[str]:
    """The fixture over HTTP; its address."""
    with subprocess.Popen(
        [sys.executable, *FIXTURE, "--http", "0", *options],
        cwd=suite.PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        finally:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def over_stdio(*options: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": [*FIXTURE, *options], "cwd": str(suite.PROJECT)}


def legs(*short: str) -> list[Any]:
    """All legs; those that are not named belong to the long tier."""
    return [pytest.param(leg, marks=() if leg in short else pytest.mark.long) for leg in suite.LEGS]


@pytest.mark.parametrize("leg", suite.LEGS)
def test_the_fixture_passes_alone(leg: str, tmp_path: Path) -> None:
    with over_http() as url:
        assert suite.failures(suite.run_server(leg, url, tmp_path), suite.wanted(leg)) == {}


@pytest.mark.long
@pytest.mark.parametrize(("era", "leg"), ONE_ERA)
def test_the_fixture_passes_alone_with_one_era(era: str, leg: str, tmp_path: Path) -> None:
    with over_http("--era", era) as url:
        assert suite.failures(suite.run_server(leg, url, tmp_path), suite.wanted(leg)) == {}


# Each server that speaks one era only, for clients of both; in the short tier, the bridge in each direction.
SHORT = {("legacy", "2026-07-28"), ("modern", "2025-11-25")}
BRIDGED = [
    pytest.param(server, leg, marks=() if (server, leg) in SHORT else pytest.mark.long)
    for server in ("legacy", "modern", f"legacy-{REMOTE}", f"modern-{REMOTE}")
    for leg in suite.LEGS
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with the fixture in every form; each has an endpoint of its own."""
    with ExitStack() as stack:
        servers: dict[str, Any] = {STDIO: over_stdio(), REMOTE: {"url": stack.enter_context(over_http())}}
        for era in ("legacy", "modern"):
            servers[era] = over_stdio("--era", era)
            servers[f"{era}-{REMOTE}"] = {"url": stack.enter_context(over_http("--era", era))}
        yield stack.enter_context(Gateway(servers, tmp_path_factory.mktemp("alone")))


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose fixture is not alone."""
    servers = {STDIO: over_stdio(), OTHER: hostile("good", "--era", "dual")}
    with Gateway(servers, tmp_path_factory.mktemp("company")) as gateway:
        yield gateway


def url_of(gateway: Gateway, endpoint: str) -> str:
    for server in gateway.servers:
        gateway.wait_for_state(server, "ready")
    return f"http://127.0.0.1:{gateway.port}{endpoint}"


@pytest.mark.parametrize("leg", legs(*suite.LEGS))
def test_a_local_server_is_all_that_it_is_alone(gateway: Gateway, leg: str, tmp_path: Path) -> None:
    found = suite.run_server(leg, url_of(gateway, f"/servers/{STDIO}/mcp"), tmp_path)
    assert suite.failures(found, suite.wanted(leg)) == {}


@pytest.mark.parametrize("leg", legs("2025-11-25", "2026-07-28"))
def test_a_remote_server_is_all_that_it_is_alone(gateway: Gateway, leg: str, tmp_path: Path) -> None:
    found = suite.run_server(leg, url_of(gateway, f"/servers/{REMOTE}/mcp"), tmp_path)
    assert suite.failures(found, suite.wanted(leg)) == {}


@pytest.mark.parametrize(("server", "leg"), BRIDGED)
def test_a_server_of_one_era_is_all_of_both(gateway: Gateway, server: str, leg: str, tmp_path: Path) -> None:
    found = suite.run_server(leg, url_of(gateway, f"/servers/{server}/mcp"), tmp_path)
    is_impossible = leg == "2026-07-28" and server.startswith("legacy")
    assert suite.failures(found, suite.wanted(leg)) == (suite.IMPOSSIBLE if is_impossible else {})


@pytest.mark.parametrize("leg", legs("2025-11-25", "2026-07-28"))
def test_where_servers_meet_nothing_is_lost_but_names(company: Gateway, leg: str, tmp_path: Path) -> None:
    found = suite.run_server(leg, url_of(company, "/mcp"), tmp_path)
    wanted = suite.wanted(leg) - suite.BY_NAME
    assert suite.failures(found, wanted, ignored=suite.CHECKS_BY_NAME) == {}
