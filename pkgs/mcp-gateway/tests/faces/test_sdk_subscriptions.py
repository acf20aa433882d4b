"""Subscriptions between the official SDK's client and server, in both eras, with the gateway in between."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ToolsListChanged

from tests.faces.knocking import check_log, shelf
from tests.faces.test_subscribing import spec
from tests.harness import Gateway

SERVER = Path(__file__).parents[1] / "sdk_server.py"
WAIT_S = 30


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("sdk")
    servers: dict[str, dict[str, Any]] = {
        "sdk": {"command": sys.executable, "args": [str(SERVER)]},
        "old": shelf(directory, "old", spec("handshake", "old")),
        "new": shelf(directory, "new", spec("modern", "new")),
    }
    with Gateway(servers, directory / "gateway") as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def url(gateway: Gateway, endpoint: str = "/mcp") -> str:
    return f"http://127.0.0.1:{gateway.port}{endpoint}"


@pytest.mark.parametrize("server", ["sdk", "old", "new"])
async def test_a_client_of_the_handshake_era_hears_of_what_it_subscribed_to(
    gateway: Gateway, server: str
) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def on_message(message: Any) -> None:
        await heard.put(message)

    async with (
        asyncio.timeout(WAIT_S),
        Client(url(gateway), mode="legacy", message_handler=on_message) as client,
    ):
        for name in "ab":
            with pytest.warns(MCPDeprecationWarning):
                await client.subscribe_resource(f"{server}://{name}")
        with pytest.warns(MCPDeprecationWarning):
            await client.unsubscribe_resource(f"{server}://b")
        for name in "ba":
            await client.call_tool(f"{server}__touch", {"uri": f"{server}://{name}"})
        told = await heard.get()
        assert (told.method, told.params.uri) == ("notifications/resources/updated", f"{server}://a")


@pytest.mark.parametrize("mode", ["auto", "2026-07-28"])
@pytest.mark.parametrize("server", ["sdk", "old", "new"])
async def test_a_client_of_the_modern_era_listens(gateway: Gateway, server: str, mode: str) -> None:
    """The SDK's server speaks both: a call of this era goes to another process of it than the shared one."""
    async with asyncio.timeout(WAIT_S), Client(url(gateway), mode=mode) as client:
        uri = f"{server}://a"
        async with client.listen(resource_subscriptions=[uri, "x://nothing"]) as stream:
            assert stream.honored.resource_subscriptions == [uri]
            await client.call_tool(f"{server}__touch", {"uri": f"{server}://b"})
            await client.call_tool(f"{server}__touch", {"uri": uri})
            assert await anext(aiter(stream)) == ResourceUpdated(uri=uri)


@pytest.mark.parametrize("mode", ["auto", "2026-07-28"])
async def test_a_client_of_the_modern_era_hears_of_lists(gateway: Gateway, mode: str) -> None:
    async with (
        asyncio.timeout(WAIT_S),
        Client(url(gateway, "/servers/new/mcp"), mode=mode) as client,
        client.listen(resources_list_changed=True) as stream,
    ):
        await client.call_tool("announce", {"kind": "resources"})
        assert await anext(aiter(stream)) == ResourcesListChanged()
    async with (
        asyncio.timeout(WAIT_S),
        Client(url(gateway), mode=mode) as client,
        client.listen(tools_list_changed=True) as stream,
    ):
        await client.call_tool("sdk__grow", {})
        assert await anext(aiter(stream)) == ToolsListChanged()
