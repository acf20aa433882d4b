"""Pages with commands, typed against the servers that `make run` starts, with nothing configured."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from mcp_gateway.config import load
from tests import real
from tests.docs.running import ADDRESS, Block, Folder, blocks, to_run
from tests.faces.knocking import check_log
from tests.harness import Gateway

DOCS: Final = real.REPOSITORY / "docs"
PAGES: Final = ("tool-api.md", "open-webui.md")
BLOCKS: Final = [block for page in PAGES for block in to_run(DOCS / page)]
# Of every other page scripts and programs are run, each by itself; consoles there are for reading. What
# is elsewhere has tests of its own.
_ELSEWHERE: Final = ("migrate-from-mcpo.md",)
OTHERS: Final = [
    real.REPOSITORY / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if page.name not in (*PAGES, *_ELSEWHERE)),
]
# Its programs, and its files of other clients, are held by tests/clients/test_documented.py.
_OF_CLIENTS: Final = "connecting.md"
SCRIPTS: Final = [
    block
    for page in OTHERS
    for block in blocks(page)
    if block.why_not is None
    and (block.language == "sh" or (block.language == "python" and page.name != _OF_CLIENTS))
]
CONFIGURES: Final = {"mcpServers", "servers", "addedServers", "gateway"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    real.need(real.EVERYTHING)
    directory = tmp_path_factory.mktemp("pages")
    repository = directory / "repository"
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    servers: dict[str, dict[str, Any]] = {
        "time": {"command": str(real.TIME)},
        "git": {"command": str(real.GIT), "args": ["--repository", str(repository)]},
        "everything": {"command": str(real.EVERYTHING)},
    }
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready", timeout_s=30)
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def folder(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """One for all pages: none of them has two files of one name."""
    environment = {
        "PATH": f"{real.TIME.parent}{os.pathsep}{os.environ['PATH']}",
        "MCP_GATEWAY_STATE_DIR": str(gateway.state_dir),
    }
    return Folder(tmp_path_factory.mktemp("folder"), f"http://127.0.0.1:{gateway.port}", environment)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_what_a_page_tells_people_to_type_does_what_it_says(folder: Folder, block: Block) -> None:
    folder.take(block)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_is_typed_says_why_for_each_command_that_is_not(page: str) -> None:
    for block in blocks(DOCS / page):
        assert block.language, f"{block}: a block needs a language"
        assert block.why_not != "", block


def test_the_connection_for_docker_leads_to_the_tools(gateway: Gateway) -> None:
    """As Open WebUI joins them: URL, slash, path; calls go to the URL and a path of the document."""
    [text] = [block.text for block in blocks(DOCS / "open-webui.md") if block.language == "yaml"]
    [connection] = json.loads(text.partition("TOOL_SERVER_CONNECTIONS: '")[2].partition("'")[0])
    base = urlsplit(connection["url"])
    assert (
        f"{base.scheme}://{base.netloc}" in (DOCS / "open-webui.md").read_text().partition('"publicUrl"')[2]
    )
    found = gateway.get(f"{base.path.rstrip('/')}/{connection['path']}").json()
    assert "/time/get_current_time" in found["paths"]
    called = gateway.request("POST", f"{base.path}/time/get_current_time", {"timezone": "UTC"})
    assert (called.status, called.json()["timezone"]) == (200, "UTC")
    assert connection["auth_type"] == "bearer"
    assert connection["config"]["access_grants"]


def test_links_of_the_guides_lead_to_what_is_there() -> None:
    for page in DOCS.glob("*.md"):
        for target in _links(page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            there = (page.parent / path) if path else page
            assert there.exists(), f"{page.name}: {target}"
            if anchor and there.suffix == ".md":
                assert anchor in _anchors(there), f"{page.name}: {target}"


def _links(text: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)):
        if "://" not in target:
            yield target


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.fixture(scope="module")
def typed(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A home as a person has it who has a key and a configuration, beside the gateway that runs."""
    home = tmp_path_factory.mktemp("home")
    (home / ".config" / "mcp").mkdir(parents=True)
    configuration = home / ".config" / "mcp" / "mcp_servers.json"
    configuration.write_text('{"mcpServers": {"docs": {"url": "https://mcp.example.org/mcp"}}}')
    configuration.chmod(0o600)
    environment = {
        "PATH": f"{real.TIME.parent}{os.pathsep}{os.environ['PATH']}",
        "MCP_GATEWAY_STATE_DIR": str(gateway.state_dir),
    }
    made = subprocess.run(
        (sys.executable, "-m", "mcp_gateway", "keys", "create", "page"),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    environment["GATEWAY_KEY"] = made.stdout.strip()
    gateway.canaries.add("page", environment["GATEWAY_KEY"])
    return Folder(home, f"http://127.0.0.1:{gateway.port}", environment)


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_a_script_or_program_of_any_page_does_what_it_is_there_for(typed: Folder, block: Block) -> None:
    if block.language == "python":
        (typed.path / "program.py").write_text(block.text.replace(ADDRESS, typed.address))
        block = replace(block, language="sh", text=f"{sys.executable} program.py\n")
    typed.take(block)


@pytest.mark.parametrize("page", [*OTHERS, *(DOCS / page for page in PAGES)], ids=lambda page: page.name)
def test_every_json_of_a_page_is_json_and_what_configures_is_taken(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language != "json" or block.why_not is not None:
            continue
        read = json.loads(block.text)
        if isinstance(read, dict) and CONFIGURES & read.keys() and page.name != _OF_CLIENTS:
            path = tmp_path / "config.json"
            path.write_text(block.text)
            path.chmod(0o600)
            assert load.check(path, {"HOME": str(tmp_path)}).problems == (), block


def test_nobody_is_told_to_install_somebody_elses_program() -> None:
    """On PyPI `mcp-gateway` is another project's."""
    pages = (*real.REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *(real.REPOSITORY / "packaging").rglob("*"))
    wrong = re.compile(r"(pip|pipx|uv tool|uvx|uv add)( install| run)? [^\n`]*(?<!axios-)\bmcp-gateway\b")
    told = [page for page in pages if page.is_file() and wrong.search(page.read_text(encoding="utf-8"))]
    assert told == []
