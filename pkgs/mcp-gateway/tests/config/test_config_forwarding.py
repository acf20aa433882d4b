"""Which headers of a caller a configuration may name at all (security.md S26)."""

import json
from typing import Any

import pytest

from mcp_gateway.config import load
from mcp_gateway.config.changes import compare, with_link_of
from mcp_gateway.config.forwarding import FORWARD_MAX, why_never
from mcp_gateway.config.model import Config, ServerConfig
from mcp_gateway.faces import edge

NEVER = (
    *("Authorization", "Proxy-Authorization", "Proxy-Connection", "Cookie", "Set-Cookie", "WWW-Authenticate"),
    *("Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
    *("Content-Type", "Content-Length", "Content-Encoding", "Accept", "Accept-Language", "Accept-Encoding"),
    *(
        "Mcp-Session-Id",
        "MCP-Protocol-Version",
        "Mcp-Method",
        "Mcp-Name",
        "Mcp-Param-Region",
        "Last-Event-ID",
    ),
    *("X-Forwarded-For", "X-Forwarded-User", "Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP"),
    *("Tailscale-User-Login", "Tailscale-App-Capabilities", "Remote-User", "X-Auth-Request-Email"),
    *("Mcp-Gateway-Code", "Mcp-Gateway-Via", "Origin", "Referer", "Sec-Fetch-Site", "X-Original-URL"),
)
MAY = ("X-Api-Key", "X-Tenant", "Traceparent", "Tracestate", "Baggage", "Idempotency-Key", "Api-Token")


def server(**more: Any) -> dict[str, Any]:
    return {"url": "https://h/mcp", **more}


def read(entry: dict[str, Any]) -> tuple[Config | None, list[str]]:
    text = json.dumps({"mcpServers": {"a": entry}}).encode()
    report = load.examine(text, source="f", env={})
    return report.config, [problem.message for problem in report.problems]


@pytest.mark.parametrize("name", NEVER)
def test_what_must_never_be_passed_on_cannot_be_named(name: str) -> None:
    for written in (name, name.lower(), name.upper(), name.replace("-", "_")):
        config, problems = read(server(forwardHeaders=["X-Api-Key", written]))
        assert config is None
        assert len(problems) == 1
        assert problems[0].startswith("cannot be passed on: it "), problems


def test_every_mark_by_which_the_edge_knows_a_proxy_is_among_them() -> None:
    marks = [mark.decode() for mark in (*edge._PROXY_MARKS, edge._PROXY_FAMILY)]
    assert [mark for mark in marks if why_never(mark) is None] == []


def test_what_servers_ask_of_a_caller_can_be_named() -> None:
    config, problems = read(server(forwardHeaders=list(MAY)))
    assert problems == []
    assert config is not None
    assert config.servers["a"].forward_headers == MAY


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (server(forwardHeaders=[f"X-{number}" for number in range(FORWARD_MAX + 1)]), "more than 16"),
        (server(forwardHeaders=["X-Key", "x-KEY"]), "one header twice"),
        (server(forwardHeaders=["X-Key", "X_Key"]), "one header twice"),
        (server(forwardHeaders=["X-Key"], headers={"x-key": "ours"}), "`X-Key`: in `headers` and in"),
        (server(forwardHeaders=["X_Key"], headers={"X-Key": "ours"}), "`X_Key`: in `headers` and in"),
        (server(forwardHeaders=["X Key"]), "no header can have this name"),
        (server(forwardHeaders=["X-Key: a"]), "no header can have this name"),
        (server(forwardHeaders=["X-*y\r\n"]), "no header can have this name"),
        (server(forwardHeaders=[""]), "no header can have this name"),
        (server(forwardHeaders="X-Key"), "must be a list"),
        ({"command": "x", "forwardHeaders": ["X-Key"]}, "`forwardHeaders`: only for a server with a `url`"),
    ],
)
def test_a_list_that_cannot_be_met_is_refused_with_a_sentence(entry: dict[str, Any], word: str) -> None:
    config, problems = read(entry)
    assert config is None
    assert len(problems) == 1
    assert word in problems[0]


@pytest.mark.parametrize(("user", "is_fine"), [("X-User", False), ("x_user", False), ("X-Login", True)])
def test_the_header_of_a_trusted_proxy_stays_here(user: str, is_fine: bool) -> None:
    proxy = {"userHeader": user, "addresses": ["10.0.0.7"]}
    document = {
        "mcpServers": {"a": server(forwardHeaders=["X-Key", "X-User"])},
        "gateway": {"publicUrl": "https://gateway.example", "trustedProxy": proxy},
    }
    report = load.examine(json.dumps(document).encode(), source="f", env={})
    told = [(problem.place, problem.message) for problem in report.problems]
    if is_fine:
        assert told == []
    else:
        ((place, message),) = told
        assert place == "gateway.trustedProxy.userHeader"
        assert "`a`" in message


def made(**more: Any) -> ServerConfig:
    return ServerConfig.model_validate({"id": "a", "title": "a", **server(**more)}, by_alias=True)


def test_another_list_holds_without_another_connection() -> None:
    one, two = made(), made(forwardHeaders=["X-Key"])
    (change,) = compare(Config({"a": one}), Config({"a": two})).changed
    assert (change.keys, change.replaced) == (("forwardHeaders",), False)


def test_a_header_named_together_with_another_address_does_not_go_to_the_one_before() -> None:
    running = made(forwardHeaders=["X-Old", "X-Both"], headers={"X-New": "ours"})
    wanted = made(url="https://other/mcp", forwardHeaders=["X-Both", "X-New"])
    held = with_link_of(wanted, running)
    assert held.url == running.url
    assert held.forward_headers == ("X-Both",)
