"""The official Python SDK against the real gateway, in its modes and within this process.

What it accepts and refuses is the proof that the bytes of `test_mcp.py` mean what we think they mean.
What every client must be able to do is in `tests/clients/`.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.types import ElicitResult, PromptReference, TextContent, ToolListChangedNotification

from tests.faces.knocking import check_log, exact, shelf
from tests.golden.exact import INSTRUCTIONS
from tests.harness import Gateway, hostile

# How the client opens, and the revision that it then speaks.
REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}
MODES = tuple(REVISIONS)
WAIT_S = 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"good": hostile("good"), "exact": exact(), "modern": hostile("good", "--era", "modern")}
    with Gateway(servers, tmp_path_factory.mktemp("clients")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def url(gateway: Gateway, endpoint: str = "/mcp") -> str:
    return f"http://127.0.0.1:{gateway.port}{endpoint}"


def text_of(result: Any) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


# -- the Python SDK -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_the_sdk_introduces_itself_lists_and_calls(gateway: Gateway, mode: str) -> None:
    async with asyncio.timeout(WAIT_S), Client(url(gateway), mode=mode) as client:
        assert client.protocol_version == REVISIONS[mode]
        if mode != "2026-07-28":  # a client that is told what to speak does not ask
            assert client.instructions == f"# exact\n\n{INSTRUCTIONS}"
        if mode == "legacy":
            with pytest.warns(MCPDeprecationWarning):
                await client.send_ping()
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"good__echo", "exact__nulls", "modern__echo"} <= names
        for server in ("good", "modern"):
            assert (
                text_of(await client.call_tool(f"{server}__echo", {"text": f"to {server}"})) == f"to {server}"
            )
        failed = await client.call_tool("good__fail", {})
        assert failed.is_error


@pytest.mark.parametrize("mode", MODES)
async def test_the_sdk_uses_one_server_under_its_own_names(gateway: Gateway, mode: str) -> None:
    async with asyncio.timeout(WAIT_S), Client(url(gateway, "/servers/good/mcp"), mode=mode) as client:
        assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
        assert text_of(await client.call_tool("echo", {"text": "x"})) == "x"


@pytest.mark.parametrize("mode", MODES)
async def test_the_sdk_hears_progress_while_it_waits(gateway: Gateway, mode: str) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with asyncio.timeout(WAIT_S), Client(url(gateway), mode=mode) as client:
        done = await client.call_tool("good__progress", {"steps": 3, "ms": 5}, progress_callback=on_progress)
        assert text_of(done) == "3 steps"
    assert heard == [(step, 3, f"{step} of 3") for step in (1, 2, 3)]


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_that_the_sdk_takes_back_is_taken_back_from_the_server(
    gateway: Gateway, mode: str
) -> None:
    async with asyncio.timeout(WAIT_S), Client(url(gateway), mode=mode) as client:

        async def stats() -> dict[str, Any]:
            seen: dict[str, Any] = json.loads(text_of(await client.call_tool("good__stats", {})))
            return seen

        before = (await stats())["cancelled"]
        call = asyncio.create_task(client.call_tool("good__sleep", {"ms": 60_000}))
        while (await stats())["running"] == 0:
            assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        while (await stats())["cancelled"] == before:
            pass
        assert (await stats())["running"] == 0


async def test_the_sdk_hears_that_a_list_has_changed(gateway: Gateway) -> None:
    changed = asyncio.Event()

    async def on_message(message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            changed.set()

    def switch(enabled: bool) -> None:
        answer = gateway.request("PATCH", "/api/tools/exact/nulls", {"enabled": enabled})
        assert answer.status == 200

    async with (
        asyncio.timeout(WAIT_S),
        Client(url(gateway), mode="legacy", message_handler=on_message) as client,
    ):
        assert "exact__nulls" in {tool.name for tool in (await client.list_tools()).tools}
        # The client opens its stream in the background: switch until it hears of it.
        enabled = True
        while not changed.is_set():
            enabled = not enabled
            await asyncio.to_thread(switch, enabled)
            try:
                async with asyncio.timeout(2):
                    await changed.wait()
            except TimeoutError:
                continue
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert ("exact__nulls" in names) is enabled
        await asyncio.to_thread(switch, True)


@pytest.mark.parametrize("mode", MODES)
async def test_the_sdk_gets_errors_as_errors(gateway: Gateway, mode: str) -> None:
    async with asyncio.timeout(WAIT_S), Client(url(gateway), mode=mode) as client:
        with pytest.raises(MCPError, match="good__nothing") as unknown:
            await client.call_tool("good__nothing", {})
        assert unknown.value.code == -32602
        assert unknown.value.data["code"] == "unknown"
        with pytest.raises(MCPError, match="not today") as refused:
            await client.call_tool("good__refuse", {"code": -32042, "message": "not today"})
        assert (refused.value.code, refused.value.data) == (-32042, {"hint": "hostile"})
        with pytest.raises(MCPError) as lost:
            await client.call_tool("modern__die", {})
        assert lost.value.data["code"] == "lost"
        await asyncio.to_thread(gateway.wait_for_state, "modern", "ready", timeout_s=WAIT_S)
        assert text_of(await client.call_tool("modern__echo", {"text": "again"})) == "again"


async def test_sdk_clients_side_by_side_get_their_own_answers(gateway: Gateway) -> None:
    async def one(number: int) -> None:
        async with Client(url(gateway), mode=MODES[number % 3]) as client:
            texts = [f"{number}-{index}" for index in range(10)]
            calls = (client.call_tool("good__echo", {"text": text}) for text in texts)
            assert [text_of(result) for result in await asyncio.gather(*calls)] == texts

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(one(number) for number in range(6)))


# -- what 2026-07-28 has of its own ----------------------------------------------------------------------

MODERN_MODES = ("auto", "2026-07-28")
SHELF: dict[str, Any] = {
    "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
    "resources": [{"uri": "own://a", "name": "a"}],
    "templates": [{"uriTemplate": "own://t/{name}", "name": "t"}],
    "prompts": [{"name": "review"}],
}


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("shelves")
    servers = {
        "old": shelf(directory, "old", SHELF),
        "new": shelf(directory, "new", {**SHELF, "era": "modern"}),
    }
    servers["exact"] = exact("modern")
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.mark.parametrize("mode", MODERN_MODES)
@pytest.mark.parametrize("server", ["old", "new"])
async def test_the_sdk_reads_resources_and_gets_prompts_of_both_eras(
    shelves: Gateway, server: str, mode: str
) -> None:
    endpoint = url(shelves, f"/servers/{server}/mcp")
    async with asyncio.timeout(WAIT_S), Client(endpoint, mode=mode) as client:
        assert [str(one.uri) for one in (await client.list_resources()).resources] == ["own://a"]
        templates = (await client.list_resource_templates()).resource_templates
        assert "own://t/{name}" in {one.uri_template for one in templates}
        assert [one.name for one in (await client.list_prompts()).prompts] == ["review"]
        (content, *_) = (await client.read_resource("own://a")).contents
        assert content.uri == "own://a"
        with pytest.raises(MCPError) as missing:
            await client.read_resource("own://t/missing")
        assert (missing.value.code, missing.value.data) == (-32602, {"uri": "own://t/missing"})
        assert (await client.get_prompt("review", {"uri": "own://a"})).description == "asked"
        ref = PromptReference(type="ref/prompt", name="review")
        filled = await client.complete(ref, argument={"name": "uri", "value": "o"})
        assert json.loads(filled.completion.values[0])["argument"] == {"name": "uri", "value": "o"}


@pytest.mark.parametrize("mode", MODERN_MODES)
@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/exact/mcp"])
async def test_the_sdk_answers_what_a_server_asks_in_its_result(
    shelves: Gateway, endpoint: str, mode: str
) -> None:
    asked: list[str] = []

    async def answer(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"name": "me"})

    tool = "ask-back" if endpoint != "/mcp" else "exact__ask-back"
    there = url(shelves, endpoint)
    async with asyncio.timeout(WAIT_S), Client(there, mode=mode, elicitation_callback=answer) as client:
        said = json.loads(text_of(await client.call_tool(tool, {})))["params"]
    assert asked == ["Who?"]
    assert said["requestState"] == "state"
    assert said["inputResponses"]["name"]["content"] == {"name": "me"}
    assert "elicitation" in said["_meta"]["io.modelcontextprotocol/clientCapabilities"]
