"""A server of the official SDK with views, logs and a method of its own, through the official client."""

import asyncio
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client
from mcp.types import LoggingMessageNotificationParams, TextContent

from tests.faces.knocking import Mcp, Modern, check_log
from tests.harness import Gateway

SERVER = Path(__file__).parents[1] / "extended.py"
VIEW = "ui://clock/view.html"
UI, ADDING = "io.modelcontextprotocol/ui", "x.test/adding"
ENDPOINTS = {"/mcp": "sdk__", "/servers/sdk/mcp": ""}
WAIT_S = 60  # the SDK takes its time to start on a busy machine, and the modern era starts it once more


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"sdk": {"command": sys.executable, "args": [str(SERVER)]}}
    with Gateway(servers, tmp_path_factory.mktemp("extended")) as gateway:
        gateway.wait_for_state("sdk", "ready", timeout_s=60)
        yield gateway
        check_log(gateway)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_view_and_log_messages_arrive(gateway: Gateway, endpoint: str, mode: str) -> None:
    heard: list[str] = []

    async def on_log(params: LoggingMessageNotificationParams) -> None:
        heard.append(params.data)

    prefix = ENDPOINTS[endpoint]
    url = f"http://127.0.0.1:{gateway.port}{endpoint}"
    client = Client(url, mode=mode, logging_callback=on_log, log_level="info")
    async with asyncio.timeout(WAIT_S), client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        meta = tools[f"{prefix}clock"].meta
        assert meta is not None
        assert meta["ui"]["resourceUri"] == VIEW
        (page,) = (await client.read_resource(VIEW)).contents
        assert json.loads(page.model_dump_json())["text"] == "<p>12:00</p>"
        (shown,) = (await client.call_tool(f"{prefix}clock", {})).content
        assert isinstance(shown, TextContent)
        # In the modern era a client speaks for itself, and this one shows no views.
        assert shown.text == ("a view" if mode == "legacy" else "no view")
        await client.call_tool(f"{prefix}talk", {})
        assert heard == ["about info", "about error"]
        if mode == "legacy":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                await client.set_logging_level("error")
            await client.call_tool(f"{prefix}talk", {})
            assert heard[2:] == ["about error"]


def test_the_server_presents_itself_and_its_method_is_reached_in_either_era(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/sdk/mcp")
    info = session.introduction["serverInfo"]
    assert (info["name"], info["version"], info["websiteUrl"]) == ("extended", "1.2.3", "https://x.test")
    assert session.ask("x.test/add", {"numbers": [1, 2]})["result"]["sum"] == 3
    modern = Modern(gateway, "/servers/sdk/mcp")
    said = modern.ask("server/discover")["capabilities"]["extensions"]
    assert (said[ADDING], said.keys()) == ({"most": 3}, {UI, ADDING})
    assert modern.ask("x.test/add", {"numbers": [3, 4]})["sum"] == 7
