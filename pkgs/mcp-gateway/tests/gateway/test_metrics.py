"""What is counted of a server goes with the server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_gateway.config.model import ServerConfig
from mcp_gateway.gateway.events import Events
from mcp_gateway.gateway.metrics import Metrics
from mcp_gateway.gateway.servers import Servers
from mcp_gateway.store import Store
from mcp_gateway.store.calls import CallRecord
from mcp_gateway.upstream.gate import Gate
from mcp_gateway.upstream.process import Nursery
from mcp_gateway.upstream.upstream import Surroundings, Upstream
from tests.upstream.parts import Command, Memory


class Configured(Servers):
    """Servers of which one can be taken out, as a changed configuration would."""

    gone: str = ""

    def get(self, server: str) -> Upstream | None:
        return None if server == self.gone else super().get(server)

    def all(self) -> list[Upstream]:
        return [upstream for upstream in super().all() if upstream.id != self.gone]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Configured]:
    async def resolve(_config: ServerConfig) -> Command:
        raise AssertionError("nothing is started here")

    store = Store.open(tmp_path / "state")
    nursery = Nursery("metrics", {})
    configs = [ServerConfig(id=name, title=name, command="/nowhere") for name in ("stays", "goes")]
    made = Configured(configs, store, Events())
    made.prepare(Surroundings(nursery, resolve, Memory(), tmp_path, {}, made.changed, Gate(), ""))
    yield made
    nursery.close()
    await store.close()


def ended(call_id: int, server: str) -> CallRecord:
    return CallRecord(call_id, 0.0, "local", "rest", server, "tool", None, 5, 7, "ok", 0.01)


async def test_a_server_that_is_no_longer_configured_leaves_no_line(servers: Configured) -> None:
    metrics = Metrics(servers, lambda: 0, lambda: 0)
    for number, server in enumerate(("stays", "goes", "made-up")):
        metrics.count(ended(number, server))
    text, _ = await metrics.write("")
    assert text.count(b'"goes"') > 20
    assert b"made-up" not in text

    servers.gone = "goes"
    metrics.count(ended(3, "goes"))  # its last call ends after it is gone
    text, _ = await metrics.write("")
    assert b'"goes"' not in text
    assert b'mcp_gateway_calls_total{face="rest",outcome="ok",server="stays"} 1.0' in text

    servers.gone = ""  # and with the name comes a new count, not the old one
    metrics.count(ended(4, "goes"))
    text, _ = await metrics.write("")
    assert b'mcp_gateway_calls_total{face="rest",outcome="ok",server="goes"} 1.0' in text
