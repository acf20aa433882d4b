"""All clients at once with servers that others wrote: what these do, what they ask back, and nothing crosses.

One call of each server through each face is in `tests/test_whole.py`; their resources and prompts are in
`tests/faces/test_real_primitives.py`.
"""

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import real
from tests.clients.visiting import KINDS, Visitor, visitor
from tests.faces.knocking import check_log
from tests.harness import Gateway, until

READY_S = 60.0  # five interpreters start at once
WAIT_S = 150.0  # and so do all the clients
pytestmark = pytest.mark.timeout(200)
# Each program once; every mode of each is in `test_clients.py`.
WORKING = (
    *("python-sdk1", "python-sdk2-legacy", "python-sdk2-modern", "fastmcp-auto"),
    *("typescript-sdk1", "typescript-sdk2-modern", "mcp-remote"),
)
CALLS_EACH = 20
# It speaks the handshake era alone, and so do those it can ask; all clients are asked in `test_clients.py`.
ASKED = ("python-sdk2-legacy", "typescript-sdk1", "mcp-remote")
ASKING = {"trigger-sampling-request", "trigger-elicitation-request", "get-roots-list"}


def repository(folder: Path) -> Path:
    """A repository with one commit."""
    author = ("-c", "user.name=A", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false")
    for words in (("init", "--quiet"), (*author, "commit", "--quiet", "--allow-empty", "-m", "A first word")):
        folder.mkdir(exist_ok=True)
        subprocess.run(("git", *words), cwd=folder, check=True, stdin=subprocess.DEVNULL, timeout=30)
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    real.need(
        real.EVERYTHING, real.FILESYSTEM, real.MEMORY, *(path for one in KINDS.values() for path in one.needs)
    )
    directory = tmp_path_factory.mktemp("real")
    files = directory / "files"
    files.mkdir()
    servers: dict[str, dict[str, Any]] = {
        "everything": {"command": str(real.EVERYTHING), "args": ["stdio"]},
        "filesystem": {"command": str(real.FILESYSTEM), "args": [str(files)]},
        "memory": {
            "command": str(real.MEMORY),
            "env": {"MEMORY_FILE_PATH": str(directory / "memory.jsonl")},
            "concurrency": 1,  # it reads and writes its whole file at each call, without a lock
        },
        "git": {
            "command": str(real.GIT),
            "args": ["--repository", str(repository(directory / "repository"))],
        },
        "time": {"command": str(real.TIME)},
    }
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready", timeout_s=READY_S)
        yield gateway
        check_log(gateway)


async def at_once(
    gateway: Gateway,
    home: Path,
    kinds: Iterable[str],
    act: Callable[[str, Visitor], Coroutine[Any, Any, None]],
    *,
    can_be_asked: bool,
) -> None:
    """Every client is there before the first of them acts, and all act at once."""
    url = f"http://127.0.0.1:{gateway.port}/mcp"
    async with asyncio.timeout(WAIT_S), AsyncExitStack() as stack:

        async def arrive(kind: str) -> tuple[str, Visitor]:
            name = (kind,) if can_be_asked else ()
            return kind, await stack.enter_async_context(visitor(kind, url, home / kind, *name))

        arrived = await asyncio.gather(*map(arrive, kinds))
        async with asyncio.TaskGroup() as acts:
            for kind, visiting in arrived:
                acts.create_task(act(kind, visiting))


def listed(gateway: Gateway) -> set[str]:
    """What asks is listed for those who can be asked; the gateway sees it once one of them has called."""
    return {tool["name"] for tool in gateway.get("/api/tools?server=everything").json()["tools"]}


def words(result: Any) -> str:
    assert not result.get("isError"), result
    return "\n".join(block["text"] for block in result["content"])


async def test_all_clients_work_with_all_servers_at_once(gateway: Gateway, tmp_path: Path) -> None:
    files, repository = gateway.directory / "files", gateway.directory / "repository"

    async def work(kind: str, visiting: Visitor) -> None:
        tools = {tool["name"] for tool in (await visiting.ask("tools"))["tools"]}
        path, about = str(files / f"{kind}.txt"), f"what {kind} wrote, é😀"
        assert {
            "everything__echo",
            "memory__create_entities",
            "git__git_log",
            "time__get_current_time",
        } <= tools
        await visiting.call("filesystem__write_file", path=path, content=about)
        entity = {"name": kind, "entityType": "client", "observations": [about]}
        await visiting.call("memory__create_entities", entities=[entity])
        told = await asyncio.gather(
            visiting.call("everything__echo", message=about),
            visiting.call("filesystem__read_text_file", path=path),
            visiting.call("memory__open_nodes", names=[kind]),
            visiting.call("git__git_log", repo_path=str(repository)),
            visiting.call("time__get_current_time", timezone="Europe/Zurich"),
            visiting.call("everything__trigger-long-running-operation", duration=0.2, steps=2),
        )
        assert told[2]["structuredContent"] == {"entities": [entity], "relations": []}
        for answer, wanted in zip(
            told, (about, about, about, "A first word", "Europe/Zurich", ""), strict=True
        ):
            assert wanted in words(answer)
        texts = [f"{kind} {number}" for number in range(CALLS_EACH)]
        echoed = await asyncio.gather(*(visiting.call("everything__echo", message=text) for text in texts))
        assert [words(answer) for answer in echoed] == [f"Echo: {text}" for text in texts]
        assert [said["progress"] for what, said in visiting.heard if what == "progress"] == [1, 2]

    await at_once(gateway, tmp_path, WORKING, work, can_be_asked=False)


async def test_what_a_server_asks_reaches_the_client_that_called(gateway: Gateway, tmp_path: Path) -> None:
    async def be_asked(kind: str, visiting: Visitor) -> None:
        assert words(await visiting.call("everything__echo", message=kind)) == f"Echo: {kind}"
        await asyncio.to_thread(until, lambda: listed(gateway) >= ASKING, WAIT_S, "what asks is listed")
        sampled = await visiting.call(
            "everything__trigger-sampling-request", prompt=f"for {kind}", maxTokens=9
        )
        assert f'"text": "sampled by {kind}"' in words(sampled)
        elicited = await visiting.call("everything__trigger-elicitation-request")
        assert f"- Name: {kind}\n" in words(elicited) + "\n"
        roots = await visiting.call("everything__get-roots-list")
        assert f"URI: file:///of/{kind}\n" in words(roots)
        asked = [(what, params) for what, params in visiting.heard if what in ("sampling", "elicitation")]
        assert [what for what, _ in asked] == ["sampling", "elicitation"]
        assert f"for {kind}" in str(asked[0][1])

    await at_once(gateway, tmp_path, ASKED, be_asked, can_be_asked=True)
    left = sum(not KINDS[kind].says_goodbye for kind in ASKED)

    def leases() -> list[dict[str, Any]]:
        return [link for link in gateway.server("everything")["links"] if link["for"] == "lease"]

    until(lambda: len(leases()) <= left, 10, "processes go with their sessions", lambda: str(leases()))
