"""Pages with commands, typed against the servers that `make run` starts, with nothing configured."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests import real
from tests.docs.running import Block, Folder, blocks, to_run
from tests.faces.knocking import check_log
from tests.harness import Gateway

DOCS: Final = real.REPOSITORY / "docs"
PAGES: Final = ("tool-api.md",)
BLOCKS: Final = [block for page in PAGES for block in to_run(DOCS / page)]


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
