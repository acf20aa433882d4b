"""Toolkits at a real gateway: who gets which, the links that Open WebUI follows, and calls through all of it.

The servers of `real_gateway` are those that others wrote; each of their tools is loaded.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mcp_gateway.clock import wall_s
from mcp_gateway.faces.openwebui.functions import argument_names, method_names
from mcp_gateway.faces.openwebui.routes import LINK_LASTS_S
from mcp_gateway.schemas import inlined
from tests import real
from tests.clients.test_real_servers import repository
from tests.faces.knocking import check_log, check_problem
from tests.harness import Gateway, hostile
from tests.openwebui.loading import Toolkit, cleaned, formatted, load
from tests.security.cast import Guarded, wait_ready

PATH = "/api/openwebui/functions"
PUBLIC = "https://gw.example.test"
READY_S = 60.0  # five interpreters start at once


@pytest.fixture(scope="module")
def real_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    real.need(real.EVERYTHING, real.FILESYSTEM, real.MEMORY)
    directory = tmp_path_factory.mktemp("toolkits")
    files = directory / "files"
    files.mkdir()
    servers: dict[str, dict[str, Any]] = {
        "everything": {"command": str(real.EVERYTHING), "args": ["stdio"]},
        "filesystem": {"command": str(real.FILESYSTEM), "args": [str(files)]},
        "memory": {
            "command": str(real.MEMORY),
            "env": {"MEMORY_FILE_PATH": str(directory / "memory.jsonl")},
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


@pytest.fixture(scope="module")
def toolkits(real_gateway: Gateway) -> dict[str, Toolkit]:
    return {one["id"]: load(one["content"]) for one in listed(real_gateway)}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys = {
        "caller": {"rights": ["call"]},
        "reader": {"rights": ["read"], "servers": ["good"]},
        "narrow": {"rights": ["call"], "tools": ["good/echo"]},
        "operator": {"rights": ["operate"]},
    }
    servers = {"good": hostile("good"), "other": hostile("good"), "off": hostile("good", enabled=False)}
    settings = {"publicUrl": ["https://gw.example.test"]}
    with Guarded(servers, tmp_path_factory.mktemp("guarded"), settings, keys=keys) as gateway:
        wait_ready(gateway, "good", "other")
        yield gateway
        check_log(gateway)


def listed(gateway: Gateway, query: str = "") -> list[dict[str, Any]]:
    answer = gateway.get(PATH + query)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.json()
    return found


def methods(source: str) -> set[str]:
    (toolkit,) = (
        one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == "Tools"
    )
    return {node.name for node in toolkit.body if isinstance(node, ast.AsyncFunctionDef)}


def of(gateway: Gateway, query: str = "") -> dict[str, set[str]]:
    """The methods of each toolkit that somebody gets."""
    return {one["id"]: methods(one["content"]) for one in listed(gateway, query)}


# -- servers that others wrote --------------------------------------------------------------------------


def test_every_tool_of_every_server_is_told_to_models_as_it_is(
    real_gateway: Gateway, toolkits: dict[str, Toolkit], tmp_path: Path
) -> None:
    assert toolkits.keys() == {f"gateway_{server}" for server in real_gateway.servers}
    files = [tmp_path / f"{one['id']}.py" for one in listed(real_gateway)]
    for file, one in zip(files, listed(real_gateway), strict=True):
        file.write_text(one["content"])
    formatted(*files)
    tools = real_gateway.get("/api/tools").json()["tools"]
    assert len(tools) > 40
    names = method_names(tool["exposedName"] for tool in tools)
    for tool in tools:
        spec = toolkits[f"gateway_{tool['server']}"].specs[names[tool["exposedName"]]]
        schema = inlined(tool["inputSchema"]).schema
        arguments = argument_names(schema["properties"])
        assert {own: spec.parameters["properties"][name] for own, name in arguments.items()} == {
            own: cleaned(one) for own, one in schema["properties"].items()
        }
        assert set(spec.parameters["required"]) == {arguments[own] for own in schema.get("required", ())}
        assert spec.description == tool["description"]
    assert sum(len(one.specs) for one in toolkits.values()) == len(tools)


async def test_calls_go_through_and_come_back_as_open_webui_takes_them(
    real_gateway: Gateway, toolkits: dict[str, Toolkit]
) -> None:
    everything, files = toolkits["gateway_everything"], toolkits["gateway_filesystem"]
    assert await everything.call("everything__echo", {"message": "é😀"}) == "Echo: é😀"
    place = str(real_gateway.directory / "files" / "a.txt")
    await files.call("filesystem__write_file", {"path": place, "content": "one\ntwo\nthree"})
    told = await files.call("filesystem__read_text_file", {"path": place, "head": 1})
    assert told == {"content": "one"}
    # Left out as the schema's default has it, and given as null.
    assert await files.call("filesystem__read_text_file", {"path": place, "head": None}) == {
        "content": "one\ntwo\nthree"
    }
    times = toolkits["gateway_time"]
    assert (await times.call("time__get_current_time", {"timezone": "Europe/Zurich"}))["timezone"] == (
        "Europe/Zurich"
    )
    log = await toolkits["gateway_git"].call(
        "git__git_log", {"repo_path": str(real_gateway.directory / "repository")}
    )
    assert "A first word" in str(log)


async def test_how_far_a_call_is_can_be_seen_while_it_runs(toolkits: dict[str, Toolkit]) -> None:
    events: list[Any] = []
    told = await toolkits["gateway_everything"].call(
        "everything__trigger_long_running_operation", {"duration": 0.2, "steps": 2}, events
    )
    assert "completed" in str(told)
    shown = [event["data"]["description"].rpartition(": ")[2] for event in events]
    assert shown[1:-1] == ["1 of 2", "2 of 2"]


async def test_an_image_is_a_data_uri_in_its_place(toolkits: dict[str, Toolkit]) -> None:
    told = await toolkits["gateway_everything"].call("everything__get_tiny_image", {})
    assert any(isinstance(one, str) and one.startswith("data:image/png;base64,") for one in told)


async def test_a_tool_that_fails_raises_its_own_words(toolkits: dict[str, Toolkit]) -> None:
    events: list[Any] = []
    with pytest.raises(RuntimeError, match="outside allowed directories"):
        await toolkits["gateway_filesystem"].call(
            "filesystem__read_text_file", {"path": "/nowhere/at/all"}, events
        )
    assert [event["data"]["done"] for event in events] == [False, True]


# -- who gets what --------------------------------------------------------------------------------------


def test_everybody_gets_the_tools_that_are_on_and_that_they_see(guarded: Guarded) -> None:
    everything = of(guarded)
    assert everything.keys() == {"gateway_good", "gateway_other"}
    assert "good__echo" in everything["gateway_good"]
    assert of(guarded.as_("caller")) == everything
    assert of(guarded.as_("reader")) == {"gateway_good": everything["gateway_good"]}
    assert of(guarded.as_("narrow")) == {"gateway_good": {"good__echo"}}
    check_problem(guarded.as_("operator").get(PATH), 403, "refused")
    assert guarded.nobody.get(PATH).status == 401
    guarded.request("PATCH", "/api/tools/other/echo", {"enabled": False})
    try:
        assert of(guarded)["gateway_other"] == everything["gateway_other"] - {"other__echo"}
    finally:
        guarded.request("PATCH", "/api/tools/other/echo", {"enabled": True})


def test_some_can_be_asked_for_and_what_is_unknown_is_said(guarded: Guarded) -> None:
    assert of(guarded, "?server=good&tool=echo&tool=pid") == {"gateway_good": {"good__echo", "good__pid"}}
    assert of(guarded, "?tool=echo") == {"gateway_good": {"good__echo"}, "gateway_other": {"other__echo"}}
    assert of(guarded, "?server=off") == {"gateway_off": set()}
    for who, query in (
        ("full", "?server=nothing"),
        ("full", "?server=good&tool=nothing"),
        ("full", "?tool=nothing"),
        ("full", "?url=https://evil.example"),
        ("reader", "?server=other"),
        ("narrow", "?server=good&tool=pid"),
    ):
        check_problem(guarded.as_(who).get(PATH + query), 404, "unknown")


def test_the_code_calls_the_address_by_which_it_was_fetched_or_another_of_ours(guarded: Guarded) -> None:
    for host, query, base in (
        ("gw.example.test", "", "https://gw.example.test"),
        (f"127.0.0.1:{guarded.port}", "", f"http://127.0.0.1:{guarded.port}"),
        (f"127.0.0.1:{guarded.port}", "?url=https://gw.example.test", "https://gw.example.test"),
    ):
        answer = guarded.request("GET", PATH + query, headers={"Host": host})
        assert f'default="{base}"' in answer.json()[0]["content"]


def test_no_key_is_in_the_code(guarded: Guarded) -> None:
    body = guarded.get(PATH).body.decode()
    assert not any(text in body for text in guarded.texts.values())


# -- links ----------------------------------------------------------------------------------------------


def link(gateway: Guarded, server: str = "good", query: str = "") -> str:
    answer = gateway.request("POST", f"{PATH}/{server}/link{query}")
    assert answer.status == 200, answer
    parts = urlsplit(answer.json()["url"])
    own = f"http://127.0.0.1:{gateway.port}"
    assert f"{parts.scheme}://{parts.netloc}" == (PUBLIC if "url=" in query else own)
    assert parts.path == f"{PATH}/{server}.py"
    return f"{parts.path}?{parts.query}"


def test_a_link_gives_the_code_to_who_cannot_say_who_they_are(guarded: Guarded) -> None:
    path = link(guarded.as_("narrow"))
    answer = guarded.nobody.get(path)
    assert answer.status == 200, answer
    assert answer.headers["content-type"].startswith("text/x-python")
    assert answer.headers["cache-control"] == "no-store"
    assert methods(answer.body.decode()) == {"good__echo"}
    assert answer.body.decode() == listed(guarded.as_("narrow"))[0]["content"]
    # Also to somebody else, who has rights of their own.
    assert guarded.get(path).body == answer.body
    some = guarded.nobody.get(link(guarded, query=f"?tool=pid&url={PUBLIC}")).body.decode()
    assert methods(some) == {"good__pid"}
    assert 'default="https://gw.example.test"' in some


def test_open_webui_calls_what_it_fetched_by_the_id_of_the_toolkit(guarded: Guarded) -> None:
    # It takes what follows the last slash, if that ends like a file of Python, and knows no queries.
    file = link(guarded).rstrip("/").split("/")[-1]
    assert file == "gateway_good.py"


def test_who_says_who_they_are_needs_no_link(guarded: Guarded) -> None:
    path = f"{PATH}/good.py"
    answer = guarded.as_("narrow").get(path)
    assert answer.body.decode() == listed(guarded.as_("narrow"))[0]["content"]
    check_problem(guarded.as_("operator").get(path), 404, "unknown")
    check_problem(guarded.as_("reader").get(f"{PATH}/other.py"), 404, "unknown")
    check_problem(guarded.nobody.get(path), 404, "unknown")


def test_a_link_is_good_for_what_it_was_made_for(guarded: Guarded) -> None:
    token = parse_qs(urlsplit(link(guarded)).query)["token"][0]
    for path in (
        f"{PATH}/other.py?token={token}",
        f"{PATH}/good.py?token={token}x",
        f"{PATH}/good.py?token=",
    ):
        for gateway in (guarded, guarded.nobody):
            check_problem(gateway.get(path), 404, "unknown")
    assert guarded.nobody.get(f"{PATH}/good.py?token={token}").status == 200
    assert guarded.nobody.get(f"/api/files/{token}").status == 404
    for server, who in (("other", "reader"), ("nothing", "full")):
        check_problem(guarded.as_(who).request("POST", f"{PATH}/{server}/link"), 404, "unknown")
    assert guarded.nobody.request("POST", f"{PATH}/good/link").status == 401


def test_a_link_that_would_be_too_long_to_follow_is_none(guarded: Guarded) -> None:
    query = "&".join(["tool=pid"] * 3_000)
    check_problem(guarded.request("POST", f"{PATH}/good/link?{query}"), 400, "invalid", "so many tools")


def test_a_link_says_until_when_it_works(guarded: Guarded) -> None:
    before = wall_s()
    answer = guarded.request("POST", f"{PATH}/good/link").json()
    assert answer.keys() == {"url", "expires"}
    assert before <= answer["expires"] - LINK_LASTS_S <= wall_s()


def test_a_link_ends_with_the_key_of_who_made_it(guarded: Guarded) -> None:
    id, gateway = guarded.make_key("leaving", rights=["call"])
    path = link(gateway)
    assert guarded.nobody.get(path).status == 200
    guarded.revoke(id)
    answer = guarded.nobody.get(path)
    assert answer.status in (401, 404), answer
    assert b"class Tools" not in answer.body
