"""What `docs/connecting.md` tells people to type, typed: against a gateway that wants a key.

The programs and files are taken from the page as they stand; only the port is another, and a program that
would be downloaded is the one of the lock file.
"""

import asyncio
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import TextContent

from tests import real
from tests.faces.knocking import check_log
from tests.harness import Gateway

PAGE: Final = real.REPOSITORY / "docs" / "connecting.md"
ADDRESS: Final = "http://127.0.0.1:8085"
WAIT_S: Final = 60.0


class Guarded(Gateway):
    """A gateway with one key."""

    @property
    def key(self) -> str:
        return self.canaries.value("key", for_header=True)

    @property
    def identity(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("documented")
    gateway = Guarded({"time": {"command": str(real.TIME)}}, directory)
    gateway.credentials = gateway.identity
    gateway.gateway = {"auth": {"keys": [{"name": "reader", "file": str(gateway.canaries.file("key"))}]}}
    with gateway:
        gateway.wait_for_state("time", "ready", timeout_s=30)
        yield gateway
        check_log(gateway)


def snippets(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"the page has no {language}"
    return found


def here(gateway: Guarded, snippet: str) -> str:
    assert ADDRESS in snippet
    return snippet.replace(ADDRESS, f"http://127.0.0.1:{gateway.port}")


async def run(gateway: Guarded, program: str, *command: str, cwd: Path) -> str:
    """What the program prints that is given to an interpreter on stdin."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(gateway.directory), "GATEWAY_KEY": gateway.key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, complaint = await process.communicate(here(gateway, program).encode())
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, complaint.decode()
    return out.decode()


async def test_the_python_program_runs(gateway: Guarded, tmp_path: Path) -> None:
    (program,) = snippets("python")
    said = await run(gateway, program, sys.executable, "-", cwd=tmp_path)
    assert json.loads(said)["timezone"] == "Europe/Zurich"


async def test_the_typescript_program_runs(gateway: Guarded) -> None:
    real.need(real.TYPESCRIPT_SDK2)
    (program,) = snippets("js")
    said = await run(gateway, program, "node", "--input-type=module", cwd=real.NPM)
    assert json.loads(said)["timezone"] == "Europe/Zurich"


async def test_a_client_that_only_starts_programs_comes_in(gateway: Guarded, tmp_path: Path) -> None:
    real.need(real.MCP_REMOTE)
    (entry,) = [
        json.loads(here(gateway, text))["mcpServers"]["gateway"] for text in snippets("json") if "npx" in text
    ]
    assert entry["command"] == "npx"
    wanted = json.loads((real.NPM / "package.json").read_text())["dependencies"]["mcp-remote"]
    assert entry["args"][:2] == ["-y", f"mcp-remote@{wanted}"]
    assert entry["env"].keys() == {"GATEWAY_AUTH"}
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GATEWAY_AUTH": f"Bearer {gateway.key}"}
    bridge = StdioServerParameters(command=str(real.MCP_REMOTE), args=entry["args"][2:], env=env)
    async with asyncio.timeout(WAIT_S), Client(bridge, mode="legacy") as client:
        (block,) = (await client.call_tool("time__get_current_time", {"timezone": "UTC"})).content
        assert isinstance(block, TextContent)
        assert json.loads(block.text)["timezone"] == "UTC"


def test_every_file_of_the_page_can_be_read_and_names_the_gateway(gateway: Guarded) -> None:
    texts: list[Any] = [json.loads(here(gateway, text)) for text in snippets("json")]
    texts += [tomllib.loads(here(gateway, text)) for text in snippets("toml")]
    for text in texts:
        (servers,) = [text[name] for name in ("mcpServers", "servers", "mcp_servers") if name in text]
        assert list(servers) == ["gateway"]
    (container,) = snippets("yaml")
    (connection,) = json.loads(container.partition("'")[2].strip().rstrip("'"))
    assert connection["type"] == "openapi"
    _, _, base = connection["url"].partition("8085")
    described = gateway.get(f"{base}/{connection['path']}").json()
    assert "/time/get_current_time" in described["paths"]
