"""Log messages over MCP: at the level that a session asked for, of its own calls, and of nobody else's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, check_log, check_rpc_error, frames
from tests.harness import Gateway, hostile, until
from tests.security.cast import Guarded, wait_ready

LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
# One that never saw a level says everything; `shared` is never asked for anything by its own endpoint.
SERVERS = ("chatty", "shared", "quiet")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {name: hostile("good") for name in SERVERS}
    with Gateway(servers, tmp_path_factory.mktemp("logging")) as gateway:
        for server in SERVERS:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def at(gateway: Gateway, server: str) -> Mcp:
    return Mcp(gateway, f"/servers/{server}/mcp")


def heard(session: Mcp, tool: str = "act") -> list[dict[str, Any]]:
    """The log messages of one call that logs once at each level."""
    answer = session.post(Mcp.message("tools/call", {"name": tool, "arguments": {"mode": "speak"}}, 1))
    if answer.headers["content-type"] == "application/json":
        assert "content" in answer.json()["result"], answer
        return []
    *before, (_, last) = frames(answer.body)
    assert "content" in json.loads(last)["result"]
    messages = [json.loads(data) for _, data in before]
    assert {message["method"] for message in messages} == {"notifications/message"}
    return [message["params"] for message in messages]


def levels(session: Mcp, tool: str = "act") -> list[str]:
    return [said["level"] for said in heard(session, tool)]


def told(gateway: Gateway, server: str) -> list[str]:
    """The levels that a server was told, in order."""
    result = gateway.request("POST", f"/api/tools/{server}/stats", {}).json()
    found: list[str] = json.loads(result["content"][0]["text"])["levels"]
    return found


def wait_told(gateway: Gateway, server: str, expected: list[str]) -> None:
    until(lambda: told(gateway, server) == expected, 10, f"{server} is told {expected}")


def set_level(session: Mcp, level: Any) -> Any:
    return session.ask("logging/setLevel", {"level": level})


def test_who_has_asked_for_nothing_hears_info_and_above(gateway: Gateway) -> None:
    session = at(gateway, "quiet")
    said = heard(session)
    assert [one["level"] for one in said] == LEVELS[1:]
    assert said[0] == {"level": "info", "logger": "hostile", "data": {"text": "about info", "n": 1.0}}
    assert levels(Mcp(gateway), "quiet__act") == LEVELS[1:]


@pytest.mark.parametrize("level", LEVELS)
def test_a_session_hears_what_is_at_or_above_its_level(gateway: Gateway, level: str) -> None:
    session = at(gateway, "shared")
    assert set_level(session, level)["result"] == {}
    assert levels(session) == LEVELS[LEVELS.index(level) :]
    session.end()


@pytest.mark.parametrize("level", ["verbose", "INFO", "", None, 7, ["info"]])
def test_what_is_no_level_is_refused(gateway: Gateway, level: Any) -> None:
    session = at(gateway, "shared")
    check_rpc_error(set_level(session, level), -32602, "invalid", "debug, info")
    check_rpc_error(session.ask("logging/setLevel"), -32602, "invalid")
    assert levels(session) == LEVELS[1:]


def test_a_server_is_told_the_most_verbose_level_that_is_wanted_and_the_default_again(
    gateway: Gateway,
) -> None:
    assert told(gateway, "chatty") == [] or told(gateway, "chatty")[-1] == "info"
    before = told(gateway, "chatty")
    one, other, third = at(gateway, "chatty"), Mcp(gateway), Mcp(gateway)
    set_level(one, "error")  # others, who asked for nothing, are to hear of more
    wait_told(gateway, "chatty", expected := [*before, *(["info"] if not before else [])])
    set_level(other, "debug")
    wait_told(gateway, "chatty", expected := [*expected, "debug"])
    assert levels(one) == ["error", "critical", "alert", "emergency"]
    assert levels(other, "chatty__act") == LEVELS
    assert levels(third, "chatty__act") == LEVELS[1:]
    set_level(third, "debug")
    other.end()
    set_level(one, "warning")
    assert told(gateway, "chatty") == expected, "somebody wants it still"
    third.end()
    wait_told(gateway, "chatty", [*expected, "info"])


def test_a_server_that_comes_back_is_told_again(gateway: Gateway) -> None:
    session = at(gateway, "shared")
    set_level(session, "debug")
    until(lambda: told(gateway, "shared")[-1:] == ["debug"], 10, "it is told")
    gateway.request("POST", "/api/servers/shared/restart", {})
    gateway.wait_for_state("shared", "ready")
    wait_told(gateway, "shared", ["debug"])
    session.end()


def test_one_that_takes_json_only_gets_the_answer_alone(gateway: Gateway) -> None:
    session = at(gateway, "shared")
    answer = session.post(
        Mcp.message("tools/call", {"name": "act", "arguments": {"mode": "speak"}}, 1),
        Accept="application/json",
    )
    assert "content" in answer.json()["result"]


def test_log_messages_stay_with_the_caller_of_the_call(tmp_path: Path) -> None:
    keys = {"one": {"rights": ["read", "call"]}, "two": {"rights": ["read", "call"]}}
    keys["stranger"] = {"rights": ["read", "call"], "servers": ["other"]}
    servers = {"said": hostile("good"), "other": hostile("good")}
    with Guarded(servers, tmp_path, keys=keys) as gateway:
        wait_ready(gateway, *servers)
        one, two = Mcp(gateway.as_("one")), Mcp(gateway.as_("two"))
        # Neither hears what is said while both have a call running: whose it is, nobody knows.
        body = Mcp.message("tools/call", {"name": "said__sleep", "arguments": {"ms": 60_000}}, 5)
        with two.gateway.open("POST", "/mcp", body, two.headers) as response:
            running = "/api/calls?server=said&limit=10"
            until(lambda: "sleep" in gateway.get(running).body.decode(), 10, "it runs")
            assert heard(one, "said__act") == []
            two.post(Mcp.message("notifications/cancelled", {"requestId": 5}))
            assert b"about" not in response.read()
        # Nor can a caller who does not see a server make it say more.
        set_level(Mcp(gateway.as_("stranger")), "debug")
        wait_told(gateway, "other", ["debug"])
        assert told(gateway, "said") == []
