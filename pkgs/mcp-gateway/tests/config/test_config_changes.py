"""What moved between two configurations, as tables."""

from typing import Any

import pytest

from mcp_gateway.config import load
from mcp_gateway.config.changes import (
    GATEWAY_IN_PLACE,
    IN_PLACE,
    after_restart,
    compare,
    has_same_link,
    is_same,
    with_link_of,
)
from mcp_gateway.config.model import Config, ServerConfig

LOCAL: dict[str, Any] = {"command": "one"}
REMOTE: dict[str, Any] = {"url": "https://h/mcp"}


def config(gateway: dict[str, Any] | None = None, **servers: dict[str, Any]) -> Config:
    entries = {
        name: ServerConfig.model_validate({"id": name, "title": name} | entry, by_alias=True)
        for name, entry in servers.items()
    }
    made = load.empty().gateway.model_validate(gateway or {}, by_alias=True)
    return Config(entries, made)


def server(**entry: Any) -> ServerConfig:
    return config(a=entry).servers["a"]


@pytest.mark.parametrize(
    ("before", "after", "keys", "replaced"),
    [
        (LOCAL, {"command": "two"}, ("command",), True),
        (LOCAL, LOCAL | {"args": ["x"]}, ("args",), True),
        (LOCAL, LOCAL | {"env": {"A": "1"}}, ("env",), True),
        (LOCAL | {"env": {"A": "1"}}, LOCAL | {"env": {"A": {"file": "/a"}}}, ("env",), True),
        (LOCAL, LOCAL | {"cwd": "/"}, ("cwd",), True),
        (LOCAL, LOCAL | {"type": "stdio"}, ("type",), True),
        (LOCAL, LOCAL | {"maxResult": "1MiB"}, ("maxResult",), True),
        (LOCAL, REMOTE, ("command", "url"), True),
        (REMOTE, REMOTE | {"headers": {"X": "1"}}, ("headers",), True),
        (REMOTE, REMOTE | {"type": "sse"}, ("type",), True),
        (LOCAL, LOCAL | {"title": "T"}, ("title",), False),
        (LOCAL, LOCAL | {"enabled": False}, ("enabled",), False),
        (LOCAL, LOCAL | {"timeout": 1, "maxTimeout": 2}, ("timeout", "maxTimeout"), False),
        (LOCAL, LOCAL | {"concurrency": 1, "queue": 0}, ("concurrency", "queue"), False),
        (LOCAL, LOCAL | {"payloads": "off"}, ("payloads",), False),
        (LOCAL, LOCAL | {"idleStop": "5m"}, ("idleStop",), False),
        (LOCAL, LOCAL | {"tools": {"deny": ["x"]}}, ("tools",), False),
        (LOCAL | {"tools": {"deny": ["x"]}}, LOCAL | {"tools": {"allow": ["x"]}}, ("tools",), False),
        (LOCAL, {"command": "two", "title": "T"}, ("title", "command"), True),
        # A package runner has 300 s unless 60 were said in so many words.
        (LOCAL, LOCAL | {"startTimeout": 60}, ("startTimeout",), False),
    ],
)
def test_a_changed_server_names_its_keys_and_whether_it_needs_another_process(
    before: dict[str, Any], after: dict[str, Any], keys: tuple[str, ...], replaced: bool
) -> None:
    moved = compare(config(a=before, b=LOCAL), config(a=after, b=LOCAL))
    (change,) = moved.changed
    assert (change.server, change.keys, change.replaced) == ("a", keys, replaced)
    assert (moved.added, moved.removed, moved.gateway) == ((), (), ())
    assert has_same_link(server(**before), server(**after)) is not replaced
    assert not is_same(server(**before), server(**after))


@pytest.mark.parametrize(
    "after",
    [
        LOCAL,
        LOCAL | {"args": [], "env": {}},
        LOCAL | {"type": None, "maxResult": "256MiB"},
    ],
)
def test_another_way_to_say_the_same_moves_nothing(after: dict[str, Any]) -> None:
    moved = compare(config(a=LOCAL), config(a=after))
    assert not moved
    assert str(moved) == "nothing moved"


def test_servers_that_came_and_went_are_named_in_the_order_of_their_file() -> None:
    moved = compare(config(a=LOCAL, b=LOCAL, c=LOCAL), config(z=LOCAL, b=LOCAL, d=LOCAL))
    assert (moved.added, moved.removed, moved.changed) == (("z", "d"), ("a", "c"), ())
    assert moved.facts() == {"added": ["z", "d"], "removed": ["a", "c"], "changed": [], "gateway": []}
    assert str(moved) == "added z, d; removed a, c"


def test_order_alone_moves_nothing() -> None:
    assert not compare(config(a=LOCAL, b=REMOTE), config(b=REMOTE, a=LOCAL))


def test_what_moved_is_one_line() -> None:
    moved = compare(
        config(a=LOCAL, b=LOCAL),
        config({"activity": {"keep": 1}}, a=REMOTE, b={"command": "one", "queue": 1}),
    )
    assert str(moved) == "changed a (command, url; replaced), b (queue); gateway activity.keep.days"


@pytest.mark.parametrize(
    ("gateway", "now", "later"),
    [
        ({}, (), ()),
        ({"limits": {"body": "1MiB"}}, ("limits.body",), ()),
        ({"activity": {"keep": 3}}, ("activity.keep.days",), ()),
        ({"host": "::1", "port": 1}, (), ("host", "port")),
        ({"mcp": {"enabled": False}}, (), ("mcp.enabled",)),
        ({"logFormat": "json", "limits": {"body": "1MiB"}}, ("limits.body",), ("logFormat",)),
    ],
)
def test_settings_of_the_gateway_hold_now_or_after_a_restart(
    gateway: dict[str, Any], now: tuple[str, ...], later: tuple[str, ...]
) -> None:
    old, new = config(), config(gateway)
    assert compare(old, new).gateway == now
    assert after_restart(old.gateway, new.gateway) == later
    assert after_restart(new.gateway, new.gateway) == ()


def test_a_server_that_is_being_replaced_takes_over_what_needs_no_process() -> None:
    running = server(command="one", args=["x"], title="Old", timeout=5)
    wanted = server(command="two", title="New", startTimeout=60, tools={"deny": ["x"]})
    held = with_link_of(wanted, running)
    assert (held.command, held.args) == ("one", ("x",))
    assert (held.title, held.timeout_s, held.tools.deny) == ("New", 60.0, ("x",))
    assert has_same_link(held, running)
    assert "start_timeout_s" in held.model_fields_set


def test_the_lists_name_keys_that_exist() -> None:
    assert set(ServerConfig.model_fields) >= IN_PLACE
    everything = {
        "limits": {"body": 1 << 20, "rate": 1, "concurrency": 1},
        "activity": {"keep": {"days": 1, "rows": 5_000}, "payloads": "off"},
        "publicUrl": "https://gw.example.com",
        "corsOrigins": ["https://chat.example.com"],
        "auth": {"keys": [{"name": "a", "file": "/key"}], "password": {"file": "/password"}},
        "tailscale": {"identity": True, "operators": ["a@b"], "capability": "e.com/c", "uid": 1},
        "trustedProxy": {"userHeader": "X-User", "uid": 33},
    }
    assert set(compare(config(), config(everything)).gateway) == GATEWAY_IN_PLACE
