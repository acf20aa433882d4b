"""A file of mcpo, as `docs/migrate-from-mcpo.md` shows it, at a real gateway; and the page itself, typed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests import real
from tests.docs.running import Block, Folder, blocks, to_run
from tests.faces.knocking import check_log
from tests.harness import Gateway, Remote, remote

PAGE: Final = real.REPOSITORY / "docs" / "migrate-from-mcpo.md"
HEADERS: Final = {"Authorization": "Bearer token", "X-Custom-Header": "value"}


@pytest.fixture(scope="module")
def streamable() -> Iterator[Remote]:
    with remote("good") as server:
        yield server


@pytest.fixture(scope="module")
def events() -> Iterator[Remote]:
    with remote("good", "--transport", "sse") as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    streamable: Remote, events: Remote, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """With the servers of the page, and one more; only what another machine would have differs."""
    [file] = [block for block in blocks(PAGE) if block.title == "config.json"]
    servers: dict[str, dict[str, Any]] = json.loads(file.text)["mcpServers"]
    assert list(servers) == ["time", "mcp_remote"]
    servers["time"]["command"] = str(real.TIME)
    servers["mcp_remote"]["url"] = streamable.url
    servers["mcp_sse"] = {"type": "sse", "url": events.url, "headers": HEADERS, "disabled_tools": ["echo"]}
    with Gateway(servers, tmp_path_factory.mktemp("mcpo")) as gateway:
        for server in ("time", "mcp-remote", "mcp-sse"):
            gateway.wait_for_state(server, "ready", timeout_s=30)
        yield gateway
        check_log(gateway)


def paths(gateway: Gateway, document: str) -> set[str]:
    answer = gateway.get(document)
    assert answer.status == 200, answer
    return set(answer.json()["paths"])


def test_one_document_has_the_tools_of_all_servers_but_those_disabled(gateway: Gateway) -> None:
    found = paths(gateway, "/tools/openapi.json")
    assert {"/time/get_current_time", "/mcp-remote/echo", "/mcp-remote/headers", "/mcp-sse/headers"} <= found
    assert not found & {"/time/convert_time", "/mcp-sse/echo"}
    assert paths(gateway, "/tools/time/openapi.json") == {"/get_current_time"}
    assert "/echo" not in paths(gateway, "/tools/mcp-sse/openapi.json")


def test_a_tool_is_called_and_a_disabled_one_is_not_there(gateway: Gateway) -> None:
    answer = gateway.request("POST", "/tools/time/get_current_time", {"timezone": "Europe/Zurich"})
    assert (answer.status, answer.json()["timezone"]) == (200, "Europe/Zurich")
    times = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Europe/Zurich"}
    refused = gateway.request("POST", "/tools/time/convert_time", times)
    assert (refused.status, refused.json()["code"]) == (404, "unknown")


def test_a_remote_server_gets_the_headers_of_its_entry(
    gateway: Gateway, streamable: Remote, events: Remote
) -> None:
    for server, twin in (("mcp-remote", streamable), ("mcp-sse", events)):
        answer = gateway.request("POST", f"/tools/{server}/sleep", {"ms": 1})
        assert answer.status == 200, answer
        # Asked of the server itself: an answer through the gateway would hold the secrets of its headers.
        sent = twin.stats()["headers"]["tools/call sleep"]
        assert {name: sent.get(name.lower()) for name in HEADERS} == HEADERS


@pytest.fixture(scope="module")
def folder(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    environment = {
        "PATH": f"{real.TIME.parent}{os.pathsep}{os.environ['PATH']}",
        "MCP_GATEWAY_STATE_DIR": str(gateway.state_dir),
    }
    return Folder(tmp_path_factory.mktemp("page"), f"http://127.0.0.1:{gateway.port}", environment)


@pytest.mark.parametrize("block", to_run(PAGE), ids=str)
def test_the_page_is_right(folder: Folder, block: Block) -> None:
    folder.take(block)


def test_the_configuration_of_the_page_is_good(tmp_path: Path, gateway: Gateway) -> None:
    [settings] = [block for block in blocks(PAGE) if block.language == "json" and block.title is None]
    here = Folder(tmp_path, f"http://127.0.0.1:{gateway.port}", {})
    here.take(Block(PAGE.name, settings.line, "json", "config.json", settings.text))
    here.take(Block(PAGE.name, settings.line, "sh", None, "mcp-gateway check --config config.json"))
