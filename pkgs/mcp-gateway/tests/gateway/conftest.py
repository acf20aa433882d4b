"""The servers of a gateway over servers in this process, as the tests of one upstream have them."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest_asyncio

from mcp_gateway.config.model import ServerConfig
from mcp_gateway.errors import CallCancelled
from mcp_gateway.gateway.events import Events
from mcp_gateway.gateway.servers import Servers
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.upstream.gate import Gate
from mcp_gateway.upstream.lifecycle import State
from mcp_gateway.upstream.process import Nursery
from mcp_gateway.upstream.upstream import Surroundings, Upstream
from tests.upstream.conftest import (
    at_once,
    instance,
    no_mistake_of_ours,
    nursery,
    pytest_asyncio_loop_factories,
    server,
    spool_dir,
)
from tests.upstream.parts import CLIENT, WITHIN_S, Command, FakeServer, Memory, exchange_of, until

__all__ = [
    "Set",
    "at_once",
    "instance",
    "no_mistake_of_ours",
    "nursery",
    "pytest_asyncio_loop_factories",
    "server",
    "servers",
    "spool_dir",
]


class Switches:
    """Run-time switches in memory."""

    def __init__(self) -> None:
        self.set: dict[tuple[str, str | None], bool] = {}

    def overrides(self) -> Mapping[tuple[str, str | None], bool]:
        return dict(self.set)

    async def set_override(self, server: str, tool: str | None, enabled: bool | None) -> None:
        await self.set_overrides(((server, tool),), enabled)

    async def set_overrides(self, keys: Collection[tuple[str, str | None]], enabled: bool | None) -> None:
        await asyncio.sleep(0)  # the real one waits for the disk
        for key in keys:
            if enabled is None:
                self.set.pop(key, None)
            else:
                self.set[key] = enabled


class Set:
    """The set of servers of one gateway; `fake` is the one program behind all of them."""

    def __init__(self, nursery: Nursery, spool_dir: Path, fake: FakeServer) -> None:
        self.fake = fake
        self.switches = Switches()
        self.events = Events()
        self.servers = Servers((), self.switches, self.events)
        self.servers.prepare(
            Surroundings(
                nursery,
                _resolve,
                Memory(),
                spool_dir,
                CLIENT,
                self.servers.changed,
                Gate(),
                "this-gateway",
            )
        )
        self.servers.start()
        self.takers: dict[Exchange, Upstream] = {}
        self.servers.moved = self.takers.__setitem__

    def apply(self, **commands: str | dict[str, Any]) -> None:
        """Makes these the servers: id to a command, or to more of its configuration."""
        self.servers.apply(
            ServerConfig(
                **{"id": name, "title": name} | (entry if isinstance(entry, dict) else {"command": entry})
            )
            for name, entry in commands.items()
        )

    def __getitem__(self, name: str) -> Upstream:
        upstream = self.servers.get(name)
        assert upstream is not None, f"there is no server {name}"
        return upstream

    def call(self, name: str, **more: Any) -> Exchange:
        exchange = exchange_of("echo", **more)
        self.takers[exchange] = self[name]
        self[name].submit(exchange)
        return exchange

    def take_back(self, exchange: Exchange) -> None:
        """Cancels a call where it is, as its caller does."""
        self.takers[exchange].requests.abandon(exchange, CallCancelled("enough"), "enough")

    async def calls(self, count: int) -> None:
        await until(lambda: len(self.fake.calls) >= count, f"{count} calls reach the server")

    async def ready(self, name: str) -> Upstream:
        await until(lambda: self[name].life.state is State.READY, f"{name} is ready")
        return self[name]

    def open_links(self) -> int:
        return sum(not link.closed for link in self.fake.links)


async def _resolve(config: ServerConfig) -> Command:
    return Command(config.command or "", config.args, {}, config.cwd)


@pytest_asyncio.fixture
async def servers(nursery: Nursery, spool_dir: Path, server: FakeServer) -> AsyncIterator[Set]:
    made = Set(nursery, spool_dir, server)
    yield made
    async with asyncio.timeout(WITHIN_S):
        await made.servers.stop()
    assert made.open_links() == 0
