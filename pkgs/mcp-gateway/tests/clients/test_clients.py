"""Every client there is makes the same visit, and all are asked things at once: what they take, others will.

The servers here are scripted, so that what must arrive is known; real ones are in `test_real_servers.py`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import real
from tests.clients.visiting import KINDS, MODERN, Refused, Visitor, visitor
from tests.faces.knocking import check_log, shelf
from tests.harness import Gateway, hostile, until

WAIT_S = 150.0  # a dozen interpreters start at once, perhaps on a busy machine
pytestmark = pytest.mark.timeout(200)
NOTE = "note://first"
SHELF = {
    "capabilities": {"tools": {}, "resources": {"subscribe": True}, "prompts": {}},
    "tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("show", "touch")],
    "resources": [{"uri": NOTE, "name": "first"}],
    "templates": [{"uriTemplate": "note://{number}", "name": "numbered"}],
    "prompts": [{"name": "begin", "arguments": [{"name": "with"}]}],
}

# A server of both eras, which asks in the way of the era in which it was opened.
ASKER = {
    "command": sys.executable,
    "args": ["-S", "-m", "tests.conformance.fixture"],
    "cwd": str(real.PROJECT),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("clients")
    servers = {"good": hostile("good"), "desk": shelf(directory, "desk", SHELF), "asker": ASKER}
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def url(gateway: Gateway, endpoint: str = "/mcp") -> str:
    return f"http://127.0.0.1:{gateway.port}{endpoint}"


def sessions(gateway: Gateway) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = gateway.get("/api/sessions").json()["sessions"]
    return shown


def names(listed: Any, of: str, member: str = "name") -> set[str]:
    return {one[member] for one in listed[of]}


def text_of(result: Any) -> str:
    (block,) = result["content"]
    assert block["type"] == "text"
    assert not result.get("isError")
    return str(block["text"])


async def look_around_the_desk(visiting: Visitor, prefix: str) -> None:
    """Lists, a call, a resource, a prompt, and errors, under the names of the endpoint."""
    assert f"{prefix}show" in names(await visiting.ask("tools"), "tools")
    assert NOTE in names(await visiting.ask("resources"), "resources", "uri")
    templates = await visiting.ask("templates")
    assert "note://{number}" in names(templates, "resourceTemplates", "uriTemplate")
    assert f"{prefix}begin" in names(await visiting.ask("prompts"), "prompts")

    shown = await visiting.call(f"{prefix}show", uri="note://é😀", n=1.5)
    assert shown["structuredContent"] == {"uri": "note://é😀", "n": 1.5}
    assert [block["type"] for block in shown["content"]] == ["resource_link", "resource", "text"]
    (content,) = (await visiting.ask("read", uri="note://7"))["contents"][:1]
    assert (content["uri"], content["text"]) == ("note://7", "desk read note://7")
    got = await visiting.ask("prompt", name=f"{prefix}begin", arguments={"with": "a word"})
    said = json.loads(got["messages"][0]["content"]["text"])
    assert said == {"name": "begin", "arguments": {"with": "a word"}}

    with pytest.raises(Refused) as unknown:
        await visiting.call(f"{prefix}nothing")
    # One server says itself what it does not have.
    assert unknown.value.code == -32602
    assert f"{prefix}nothing" in str(unknown.value.message)
    with pytest.raises(Refused) as missing:
        await visiting.ask("read", uri="note://missing/missing")
    # The modern code also where a client translates it.
    assert missing.value.code in {-32602} | ({-32002} if visiting.speaks != MODERN else set())
    with pytest.raises(Refused) as nobody:
        await visiting.ask("prompt", name=f"{prefix}nobody", arguments={})
    assert nobody.value.code == -32602


async def use_the_other_server(visiting: Visitor) -> None:
    """What takes a server that does something: a tool's own failure, a server's error, progress."""
    assert (await visiting.call("good__fail"))["isError"] is True
    with pytest.raises(Refused, match="not today") as refused:
        await visiting.call("good__refuse", code=-32099, message="not today")
    assert (refused.value.code, refused.value.data) == (-32099, {"hint": "hostile"})
    assert text_of(await visiting.call("good__progress", steps=3, ms=5)) == "3 steps"
    steps = [params for what, params in visiting.heard if what == "progress"]
    assert [(step["progress"], step["total"]) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    if visiting.speaks != MODERN:  # there a client says with each call whether it wants to hear
        await visiting.ask("level", level="info")
        await visiting.call("asker__test_tool_with_logging")
        logged = [str(params["data"]) for what, params in visiting.heard if what == "log"]
        assert ["begins" in logged[0], "goes on" in logged[1], "is done" in logged[2]] == [True, True, True]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_uses_all_servers_and_one(gateway: Gateway, kind: str, tmp_path: Path) -> None:
    real.need(*KINDS[kind].needs)

    async def all_servers() -> None:
        async with visitor(kind, url(gateway), tmp_path / "all") as visiting:
            assert visiting.speaks == KINDS[kind].speaks
            await look_around_the_desk(visiting, "desk__")
            await use_the_other_server(visiting)

    async def one_server() -> None:
        async with visitor(kind, url(gateway, "/servers/desk/mcp"), tmp_path / "one") as visiting:
            assert visiting.speaks == KINDS[kind].speaks
            await look_around_the_desk(visiting, "")

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as both:
        both.create_task(all_servers())
        both.create_task(one_server())
    if KINDS[kind].says_goodbye:
        until(lambda: not sessions(gateway), 5, "sessions are over", lambda: str(sessions(gateway)))
    for left in sessions(gateway):
        gateway.request("DELETE", f"/api/sessions/{left['id']}")


async def test_all_clients_are_asked_and_told_at_once(gateway: Gateway, tmp_path: Path) -> None:
    real.need(*(path for facts in KINDS.values() for path in facts.needs))
    watching = asyncio.Barrier(1 + sum(facts.watches for facts in KINDS.values()))

    async def be_asked(kind: str, visiting: Visitor) -> None:
        sampled = await visiting.call("asker__test_sampling", prompt=f"for {kind}")
        assert text_of(sampled) == f"LLM response: sampled by {kind}"
        elicited = await visiting.call("asker__test_elicitation", message=f"to {kind}")
        assert f'content={{"name": "{kind}"}}' in text_of(elicited)
        roots = await visiting.call("asker__test_input_required_result_list_roots")
        assert f"file:///of/{kind}" in text_of(roots)
        asked = [str(params) for what, params in visiting.heard if what in ("sampling", "elicitation")]
        assert [f"for {kind}" in asked[0], f"to {kind}" in asked[1]] == [True, True]

    async def be_told(visiting: Visitor) -> None:
        await visiting.ask("watch", uri=NOTE)
        await watching.wait()
        await visiting.hears("change", NOTE)
        await visiting.hears("change", "tools")

    async def visit(kind: str) -> None:
        async with visitor(kind, url(gateway), tmp_path / kind, kind) as visiting:
            await be_asked(kind, visiting)
            if KINDS[kind].watches:
                await be_told(visiting)

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as all_at_once:
        for kind in KINDS:
            all_at_once.create_task(visit(kind))
        await watching.wait()
        await asyncio.to_thread(gateway.call, "desk", "touch", uri=NOTE)
        await asyncio.to_thread(gateway.request, "PATCH", "/api/tools/good/blob", {"enabled": False})


# -- the Inspector, which is one process for one question -------------------------------------------------

NOT_THERE = 5  # its status for a tool that is unknown or has failed


async def inspect(gateway: Gateway, home: Path, endpoint: str, *words: str) -> tuple[int | None, Any]:
    """Its status, and what it printed as JSON."""
    inspector = await asyncio.create_subprocess_exec(
        *(
            str(real.INSPECTOR),
            "--cli",
            "--server-url",
            url(gateway, endpoint),
            "--transport",
            "http",
            *words,
        ),
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WAIT_S):
            out, _ = await inspector.communicate()
    finally:
        if inspector.returncode is None:
            inspector.kill()
    return inspector.returncode, json.loads(out or b"null")


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_gets_everything_it_asks_for(gateway: Gateway, era: str, tmp_path: Path) -> None:
    real.need(real.INSPECTOR)

    async def ask(endpoint: str, method: str, *words: str) -> tuple[int | None, Any]:
        return await inspect(gateway, tmp_path, endpoint, "--protocol-era", era, "--method", method, *words)

    listed, read, got, failed, unknown = await asyncio.gather(
        ask("/mcp", "tools/list"),
        ask("/servers/desk/mcp", "resources/read", "--uri", "note://7"),
        ask("/servers/desk/mcp", "prompts/get", "--prompt-name", "begin", "--prompt-args", "with=x"),
        ask("/servers/good/mcp", "tools/call", "--tool-name", "fail"),
        ask("/servers/good/mcp", "tools/call", "--tool-name", "nothing"),
    )
    assert {"good__echo", "desk__show"} <= names(listed[1], "tools")
    assert read[1]["contents"][0]["text"] == "desk read note://7"
    assert json.loads(got[1]["messages"][0]["content"]["text"])["arguments"] == {"with": "x"}
    assert [status for status, _ in (listed, read, got)] == [0, 0, 0]
    assert (failed[0], failed[1]["isError"], unknown[0]) == (NOT_THERE, True, NOT_THERE), (failed, unknown)


@pytest.mark.parametrize("era", ["legacy", "auto", "modern"])
async def test_the_inspector_calls_in_each_era(gateway: Gateway, era: str, tmp_path: Path) -> None:
    real.need(real.INSPECTOR)
    call = ("--method", "tools/call", "--tool-name", "good__echo", "--tool-arg", "text=from far away")
    status, called = await inspect(gateway, tmp_path, "/mcp", "--protocol-era", era, *call)
    assert (status, text_of(called)) == (0, "from far away")
