"""Switching many tools at once: all or none, one list, one record (`PATCH /api/tools`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import check_log, check_problem
from tests.harness import Answer, Gateway, hostile, parse_events
from tests.security.cast import Guarded, wait_ready

MANY = 2_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys = {
        "reader": {"rights": ["read", "call", "admin"]},
        "operator": {"rights": ["read", "operate"], "tools": ["many/*"]},
        "caller": {"rights": ["read", "call"]},
        "blind": {"rights": ["operate"], "servers": ["nothing"]},
    }
    servers = {"many": hostile("good", "--tools", str(MANY)), "good": hostile("good"), "off": hostile("good")}
    with Guarded(servers, tmp_path_factory.mktemp("many"), keys=keys) as gateway:
        wait_ready(gateway, "many", "good", "off")
        assert gateway.request("PATCH", "/api/servers/off", {"enabled": False}).status == 200
        gateway.wait_for_state("off", "off")
        yield gateway
        check_log(gateway)


@pytest.fixture(autouse=True)
def all_on(gateway: Guarded) -> None:
    tools = [(tool["server"], tool["name"]) for tool in listed(gateway)]
    assert switch(gateway, True, *tools).status == 200


def switch(gateway: Guarded, enabled: Any, *tools: tuple[Any, Any], **more: Any) -> Answer:
    named = [{"server": server, "name": name} for server, name in tools]
    return gateway.request("PATCH", "/api/tools", {"enabled": enabled, "tools": named, **more})


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.get("/api/tools").json()["tools"]
    return found


def off(gateway: Gateway) -> set[tuple[str, str]]:
    return {(tool["server"], tool["name"]) for tool in listed(gateway) if not tool["enabled"]}


def actions(gateway: Gateway) -> list[str]:
    rows = gateway.get("/api/calls?action=tool.switch&limit=500").json()["calls"]
    return [row["detail"] for row in rows]


def test_thousands_of_tools_are_one_change_of_the_list_and_one_record(gateway: Guarded) -> None:
    tools = [("many", tool["name"]) for tool in listed(gateway) if tool["server"] == "many"]
    assert len(tools) >= MANY
    before = actions(gateway)
    with gateway.open("GET", "/api/events") as feed:
        assert feed.readline().startswith(b":")
        answer = switch(gateway, False, *tools, ("good", "echo"), ("many", tools[0][1]))
        assert answer.json() == {"tools": len(tools) + 1, "changed": len(tools) + 1}
        # The end of what is of interest: whatever the switch has caused was said before this.
        switch(gateway, False, ("good", "echo"))  # moves nothing, so no list changes
        changed = 0
        for kind, facts in parse_events(feed):
            if kind == "tools":
                changed += 1
            elif kind == "call" and facts["detail"] == "good/echo off":
                break
    assert changed == 1
    assert off(gateway) == {*tools, ("good", "echo")}
    assert actions(gateway)[: -len(before) or None] == [
        "good/echo off",
        f"{len(tools) + 1} tools of many, good: off",
    ]
    assert switch(gateway, True, *tools).json() == {"tools": len(tools), "changed": len(tools)}
    assert switch(gateway, True, *tools).json() == {"tools": len(tools), "changed": 0}
    assert off(gateway) == {("good", "echo")}


def test_it_is_there_again_after_a_restart(tmp_path: Path) -> None:
    with Guarded({"good": hostile("good")}, tmp_path) as gateway:
        wait_ready(gateway, "good")
        assert switch(gateway, False, ("good", "echo"), ("good", "pid")).status == 200
        gateway.stop()
        gateway.start()
        wait_ready(gateway, "good")
        assert off(gateway) == {("good", "echo"), ("good", "pid")}


@pytest.mark.parametrize(
    ("who", "other", "status", "said"),
    [
        ("full", ("good", "nothing"), 404, "no tool `nothing`"),
        ("full", ("nothing", "echo"), 404, "no server `nothing`"),
        ("full", ("off", "echo"), 404, "no tool `echo`"),
        ("operator", ("good", "echo"), 404, "no server `good`"),
        ("reader", ("many", "pid"), 403, "`operate`"),
        ("caller", ("many", "pid"), 403, "`operate`"),
        ("blind", ("many", "pid"), 404, "no server `many`"),
    ],
)
def test_it_is_all_or_nothing_and_the_first_that_is_not_theirs_is_told(
    gateway: Guarded, who: str, other: tuple[str, str], status: int, said: str
) -> None:
    theirs = [("many", "dummy-00000"), ("many", "dummy-00001")]
    answer = switch(gateway.as_(who), False, *theirs, other, ("never", "was"))
    check_problem(answer, status, "unknown" if status == 404 else "refused", said)
    assert off(gateway) == set()
    if who == "operator":
        assert switch(gateway.as_(who), False, *theirs).json() == {"tools": 2, "changed": 2}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"enabled": False},
        {"enabled": False, "tools": []},
        {"enabled": False, "tools": "good/echo"},
        {"enabled": False, "tools": ["good/echo"]},
        {"enabled": False, "tools": [{"server": "good"}]},
        {"enabled": False, "tools": [{"server": "good", "name": None}]},
        {"enabled": False, "tools": [{"server": "good", "name": "echo", "more": 1}]},
        {"enabled": None, "tools": [{"server": "good", "name": "echo"}]},
        {"enabled": 0, "tools": [{"server": "good", "name": "echo"}]},
        {"enabled": "false", "tools": [{"server": "good", "name": "echo"}]},
        {"enabled": False, "tools": [{"server": "good", "name": "echo"}], "more": 1},
        {"enabled": False, "tools": [{"server": "good", "name": "echo"}] * 5_001},
    ],
    ids=range(14),
)
def test_a_body_of_another_shape_changes_nothing(gateway: Guarded, body: Any) -> None:
    check_problem(gateway.request("PATCH", "/api/tools", body), 400, "invalid")
    assert off(gateway) == set()


def test_a_body_that_is_too_large_or_no_json_changes_nothing(gateway: Guarded) -> None:
    large = switch(gateway, False, ("good", "echo"), ("good", "x" * (4 * 2**20)))
    check_problem(large, 413, "invalid")
    plain = gateway.request("PATCH", "/api/tools", b"{}", {"Content-Type": "text/plain"})
    check_problem(plain, 415, "invalid")
    assert off(gateway) == set()


@pytest.mark.parametrize("name", ["../echo", "echo\x00", "*", "%2e", "\u202eecho", "'; DROP TABLE x; --", ""])
def test_a_name_is_looked_up_and_nothing_else(gateway: Guarded, name: str) -> None:
    check_problem(switch(gateway, False, ("good", name)), 404, "unknown")
    check_problem(switch(gateway, False, (name, "echo")), 404, "unknown")
    assert off(gateway) == set()
