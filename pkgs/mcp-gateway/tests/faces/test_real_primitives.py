"""Resources, prompts and completion of real servers, as the official client sees them.

Two processes of `server-everything` behind one door have every URI in common, which is as bad as it gets; the
git server says that it has resources and prompts, and has none.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import (
    EmbeddedResource,
    PromptReference,
    ResourceLink,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from tests import real
from tests.faces.knocking import check_log
from tests.faces.test_mcp_clients import MODES, WAIT_S, url
from tests.harness import Gateway

PAGE = "resource/static/document/architecture.md"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    real.need(real.EVERYTHING)
    everything = {"command": str(real.EVERYTHING), "args": ["stdio"]}
    git = {"command": str(real.GIT)}
    servers: dict[str, dict[str, Any]] = {"first": everything, "second": everything, "git": git}
    with Gateway(servers, tmp_path_factory.mktemp("real")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready", timeout_s=60)
        yield gateway
        check_log(gateway)


@pytest.mark.parametrize("mode", MODES)
async def test_resources_of_one_server_are_listed_and_read_under_its_own_uris(
    gateway: Gateway, mode: str
) -> None:
    async with asyncio.timeout(WAIT_S), Client(url(gateway, "/servers/first/mcp"), mode=mode) as client:
        uris = [one.uri for one in (await client.list_resources()).resources]
        assert f"demo://{PAGE}" in uris
        templates = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
        assert "demo://resource/dynamic/text/{resourceId}" in templates
        for uri in (f"demo://{PAGE}", "demo://resource/dynamic/text/7"):
            (content,) = (await client.read_resource(uri)).contents
            assert isinstance(content, TextResourceContents)
            assert content.uri == uri
            assert content.text
        with pytest.raises(MCPError):
            await client.read_resource("demo://nothing/here")


@pytest.mark.parametrize("mode", MODES)
async def test_resources_of_two_of_a_kind_are_told_apart(gateway: Gateway, mode: str) -> None:
    async with asyncio.timeout(WAIT_S), Client(url(gateway), mode=mode) as client:
        uris = [one.uri for one in (await client.list_resources()).resources]
        assert len(uris) == len(set(uris))
        texts = []
        for server in ("first", "second"):
            uri = f"demo://{server}.mcp-gateway/{PAGE}"
            assert uri in uris
            (content,) = (await client.read_resource(uri)).contents
            assert isinstance(content, TextResourceContents)
            assert content.uri == uri
            texts.append(content.text)
            (content,) = (
                await client.read_resource(f"demo://{server}.mcp-gateway/resource/dynamic/text/7")
            ).contents
            assert content.uri.startswith(f"demo://{server}.mcp-gateway/")
        assert texts[0] == texts[1]
        with pytest.raises(MCPError) as unknown:
            await client.read_resource(f"demo://{PAGE}")
        assert unknown.value.code == (-32002 if mode == "legacy" else -32602)


async def test_a_link_in_a_result_leads_to_the_server_that_gave_it(gateway: Gateway) -> None:
    async with asyncio.timeout(WAIT_S), Client(url(gateway), mode="legacy") as client:
        result = await client.call_tool("second__get-resource-links", {"count": 2})
        links = [block for block in result.content if isinstance(block, ResourceLink)]
        assert len(links) == 2
        for link in links:
            assert link.uri.startswith("demo://second.mcp-gateway/resource/dynamic/")
            (content,) = (await client.read_resource(link.uri)).contents
            assert content.uri == link.uri
        arguments = {"resourceType": "Text", "resourceId": 1}
        result = await client.call_tool("first__get-resource-reference", arguments)
        (embedded,) = [block for block in result.content if isinstance(block, EmbeddedResource)]
        assert embedded.resource.uri == "demo://first.mcp-gateway/resource/dynamic/text/1"


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/second/mcp"])
async def test_prompts_are_listed_got_and_completed(gateway: Gateway, endpoint: str) -> None:
    prefix, mark = ("second__", "second.mcp-gateway/") if endpoint == "/mcp" else ("", "")
    async with asyncio.timeout(WAIT_S), Client(url(gateway, endpoint), mode="legacy") as client:
        prompts = {one.name: one for one in (await client.list_prompts()).prompts}
        assert [one.name for one in prompts[f"{prefix}args-prompt"].arguments or ()] == ["city", "state"]
        got = await client.get_prompt(f"{prefix}args-prompt", {"city": "Ulm"})
        assert isinstance(got.messages[0].content, TextContent)
        assert "Ulm" in got.messages[0].content.text
        got = await client.get_prompt(f"{prefix}resource-prompt", {"resourceType": "Text", "resourceId": "1"})
        (embedded,) = [one.content for one in got.messages if isinstance(one.content, EmbeddedResource)]
        assert embedded.resource.uri == f"demo://{mark}resource/dynamic/text/1"
        ref = PromptReference(type="ref/prompt", name=f"{prefix}completable-prompt")
        completed = await client.complete(ref, {"name": "department", "value": "E"})
        assert completed.completion.values == ["Engineering"]
        completed = await client.complete(
            ref, {"name": "name", "value": ""}, context_arguments={"department": "Engineering"}
        )
        assert "Alice" in completed.completion.values
        uri = f"demo://{mark}resource/dynamic/text/{{resourceId}}"
        template = ResourceTemplateReference(type="ref/resource", uri=uri)
        completed = await client.complete(template, {"name": "resourceId", "value": "3"})
        assert completed.completion.values == ["3"]
        with pytest.raises(MCPError):
            await client.get_prompt(f"{prefix}nobody")


async def test_a_server_that_says_it_has_some_and_has_none_is_one_without(gateway: Gateway) -> None:
    shown = gateway.server("git")
    assert (shown["resources"], shown["prompts"], shown["lastError"]) == (0, 0, None)
    async with asyncio.timeout(WAIT_S), Client(url(gateway, "/servers/git/mcp"), mode="legacy") as client:
        assert (await client.list_resources()).resources == []
        assert (await client.list_prompts()).prompts == []
        with pytest.raises(MCPError):
            await client.read_resource("file:///etc/hostname")
