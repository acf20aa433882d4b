"""The event loop of production, and a nursery per test that must leave nobody behind."""

import logging
import os
import random
import signal
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from secrets import token_hex

import pytest
import pytest_asyncio
import uvloop

from mcp_gateway.upstream.process import Nursery
from tests.upstream.parts import DYING_S, ENVIRONMENT, FakeServer, Stage, soon, started_by


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], AbstractEventLoop]]:
    """`serve` runs on uvloop, and pipes and exits are heard in another order on asyncio's own loop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def no_mistake_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An owner survives a bug of ours and logs it; a test that did not mean to see one fails of it."""
    yield
    mistakes = [
        record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR
    ]
    assert not mistakes


@pytest.fixture
def instance() -> str:
    return token_hex(8)


@pytest_asyncio.fixture
async def nursery(instance: str, request: pytest.FixtureRequest) -> AsyncIterator[Nursery]:
    nursery = Nursery(instance, ENVIRONMENT)
    if "server" in request.fixturenames:  # in this process: nothing is spawned, nobody need guard it
        nursery.started.set()
        yield nursery
        nursery.close()
        return
    await nursery.start()
    yield nursery
    # Before the guardian ends, who would hide what we forgot; what was killed may take a moment to die.
    await soon(lambda: not started_by(instance), DYING_S)
    left = started_by(instance)
    nursery.close()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"left behind: {left}"


@pytest.fixture
def spool_dir(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


@pytest_asyncio.fixture
async def stage(nursery: Nursery, spool_dir: Path) -> AsyncIterator[Stage]:
    stage = Stage(nursery, spool_dir)
    yield stage
    await stage.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """A server in this process: every upstream of the test opens its links to it."""
    server = FakeServer()
    monkeypatch.setattr("mcp_gateway.upstream.upstream.StdioLink", server.link)
    return server


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every retry comes at the near end of its window: at once."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


@pytest.fixture
def quick_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines are looked at a hundred times a second."""
    monkeypatch.setattr("mcp_gateway.upstream.requests.TICK_S", 0.01)
