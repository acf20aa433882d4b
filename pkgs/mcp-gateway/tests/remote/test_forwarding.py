"""Headers of callers at a real gateway: none reach a server by default, and those named reach it exactly.

Over REST and MCP, Streamable HTTP and HTTP+SSE; what arrived is asked of the server (security.md S22, S26).
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faces.knocking import Mcp, check_log, check_problem
from tests.harness import Answer, Gateway, Remote, remote, until

CANARY = "c4nary-9f2e-of-the-caller"
SENT = (
    *("Authorization", "Cookie", "Proxy-Authorization", "Tailscale-User-Login", "X-Forwarded-For", "Via"),
    *("X-Custom", "X-Api-Key", "X-Tenant", "Traceparent", "User-Agent", "Accept-Language", "Referer"),
    *("Mcp-Param-Region", "Last-Event-ID", "Mcp-Gateway-Code", "X-Forwarded-User", "Mcp-Gateway-Via"),
)
LET_IN = {name: f"{name} {CANARY}" for name in ("Cookie", "X-Custom", "X-Api-Key", "X-Tenant", "Traceparent")}
NAMED = {"forwardHeaders": ["X-Api-Key", "x-tenant", "TRACEPARENT"], "payloads": "disk"}
NAMES = {"x-api-key", "x-tenant", "traceparent"}
OPTIONS = {"http": (), "sse": ("--transport", "sse"), "modern": ("--era", "modern")}
CALLERS = 16
CALLS = 20


@pytest.fixture(scope="module")
def twins() -> Iterator[dict[str, Remote]]:
    with ExitStack() as stack:
        made = {f"none-{name}": remote("good", *options) for name, options in OPTIONS.items()}
        made |= {f"some-{name}": remote("good", *options, **NAMED) for name, options in OPTIONS.items()}
        yield {name: stack.enter_context(twin) for name, twin in made.items()}


@pytest.fixture(scope="module")
def gateway(twins: dict[str, Remote], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {name: twin.entry for name, twin in twins.items()}
    with Gateway(servers, tmp_path_factory.mktemp("forwarding")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def by_rest(gateway: Gateway, server: str, headers: dict[str, str], **arguments: Any) -> Answer:
    return gateway.request("POST", f"/api/tools/{server}/headers", arguments, headers)


def by_mcp(gateway: Gateway, server: str, headers: dict[str, str], **arguments: Any) -> Answer:
    session = Mcp(gateway, f"/servers/{server}/mcp")
    body = session.message("tools/call", {"name": "headers", "arguments": arguments}, 1)
    return gateway.request("POST", session.endpoint, body, session.headers | headers)


def by_mcp_for_all(gateway: Gateway, server: str, headers: dict[str, str], **arguments: Any) -> Answer:
    session = Mcp(gateway)
    body = session.message("tools/call", {"name": f"{server}__headers", "arguments": arguments}, 1)
    return gateway.request("POST", session.endpoint, body, session.headers | headers)


FACES = (by_rest, by_mcp, by_mcp_for_all)


def came_with(answer: Answer) -> dict[str, str]:
    """What the server says its call came with."""
    assert answer.status == 200, answer
    result = answer.json().get("result", answer.json())
    headers = json.loads(result["content"][0]["text"])["headers"]
    assert isinstance(headers, dict)
    return headers


def holding(headers: dict[str, str], word: str = CANARY) -> set[str]:
    return {name for name, value in headers.items() if word in value}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("server", [f"none-{name}" for name in OPTIONS])
def test_by_default_nothing_of_a_caller_arrives(
    gateway: Gateway, twins: dict[str, Remote], server: str, face: Any
) -> None:
    served = 0
    for name in SENT:
        answer = face(gateway, server, {name: CANARY})
        # The edge may refuse what only a proxy or a stranger sends; it must not get further then.
        if answer.status == 200:
            served += 1
            assert holding(came_with(answer)) == set(), name
        else:
            assert answer.status in (400, 401, 403), (name, answer)
    assert served >= len(LET_IN)
    assert CANARY not in json.dumps(twins[server].stats()["headers"])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("server", [f"some-{name}" for name in OPTIONS])
def test_what_is_named_arrives_with_the_call_and_with_nothing_else(
    gateway: Gateway, twins: dict[str, Remote], server: str, face: Any
) -> None:
    headers = came_with(face(gateway, server, LET_IN))
    assert holding(headers) == NAMES
    assert headers["x-api-key"] == LET_IN["X-Api-Key"]
    others = twins[server].stats()["headers"]
    assert holding(others.pop("tools/call headers")) == NAMES
    assert len(others) > 1
    assert CANARY not in json.dumps(others)
    assert came_with(face(gateway, server, {})).keys().isdisjoint(NAMES), (
        "they stay with the call they came with"
    )


@pytest.mark.parametrize("server", [f"some-{name}" for name in OPTIONS])
def test_values_of_callers_at_the_same_time_never_cross(gateway: Gateway, server: str) -> None:
    def work(caller: int) -> list[str]:
        wrong = []
        for number in range(CALLS):
            text = f"{caller}-{number}"
            sent = {"X-Api-Key": f"key-{caller}-{number}", "X-Tenant": f"tenant-{caller}"}
            if number % 4 == 3:
                sent = {}  # one that brings nothing gets nothing of those around it
            answer = by_rest(gateway, server, sent, text=text)
            seen = json.loads(answer.text)
            got = {name: seen["headers"][name] for name in NAMES if name in seen["headers"]}
            if seen["text"] != text or got != {name.lower(): value for name, value in sent.items()}:
                wrong.append(f"{text}: {got}")
        return wrong

    with ThreadPoolExecutor(CALLERS) as pool:
        assert [problem for problems in pool.map(work, range(CALLERS)) for problem in problems] == []


def test_another_list_holds_at_once_and_the_connection_stays(
    gateway: Gateway, twins: dict[str, Remote]
) -> None:
    server, before = "none-http", twins["none-http"].stats()["sessionsOpened"]
    for names in (["X-Custom"], ["X-Tenant", "X-Custom"], []):
        gateway.servers[server] = twins[server].entry | {"forwardHeaders": names}
        moved = gateway.reload()["changed"]
        assert moved == [{"server": server, "keys": ["forwardHeaders"], "replaced": False}]
        assert holding(came_with(by_rest(gateway, server, LET_IN))) == {name.lower() for name in names}
    assert twins[server].stats()["sessionsOpened"] == before


def test_what_cannot_be_passed_on_is_refused_before_it_is_sent(
    gateway: Gateway, twins: dict[str, Remote]
) -> None:
    before = twins["some-http"].stats()["calls"].get("headers", 0)
    for sent, words in (
        ({"X-Api-Key": "k" * 5_000}, ("4096",)),
        ({"X-Api-Key": "k" * 2_500, "X-Tenant": "t" * 2_500}, ("4096",)),
        ({"X-Api-Key": "mgk_ab12_secret-of-ours"}, ("`X-Api-Key`", "credential of this gateway")),
    ):
        problem = check_problem(
            by_rest(gateway, "some-http", sent), 400, "invalid", *words, server="some-http"
        )
        assert "secret-of-ours" not in problem["detail"]
        assert gateway.get(f"/api/calls/{problem['callId']}").json()["outcome"] == "invalid"
        error = by_mcp(gateway, "some-http", sent).json()["error"]
        assert (error["code"], error["data"]["code"]) == (-32602, "invalid")
    assert twins["some-http"].stats()["calls"].get("headers", 0) == before


@pytest.mark.parametrize("server", ["some-http", "some-sse"])
def test_nothing_remembers_a_value_even_when_the_server_repeats_it(gateway: Gateway, server: str) -> None:
    secret = f"s3cret/{server}=="
    answer = by_rest(gateway, server, {"X-Api-Key": f"Bearer {secret}"})
    assert secret in answer.text, "the caller itself gets what the server says"
    call = f"/api/calls/{answer.call_id}"
    refused = gateway.request(
        "POST", f"/api/tools/{server}/act", {"mode": "key-refused"}, {"X-Api-Key": f"Bearer {secret}"}
    )
    assert refused.code == "refused"
    assert gateway.server(server)["state"] == "ready"
    until(lambda: gateway.get(call).json()["outcome"] == "ok", 5, "the record is written")
    shown = gateway.get(call).json()["response"]["text"]
    assert "x-api-key" in shown
    assert "•••" in shown
    for path in (
        call,
        "/api/calls",
        f"/api/servers/{server}/logs",
        "/api/servers",
        f"/api/calls/{refused.call_id}",
    ):
        body = gateway.get(path).body
        assert secret.encode() not in body, path
    assert b"no such key" in gateway.get(f"/api/servers/{server}/logs").body
    on_disk = [gateway.log.read_bytes()]
    on_disk += [path.read_bytes() for path in gateway.state_dir.rglob("*") if path.is_file()]
    assert any(b"x-api-key" in data for data in on_disk), "the answer itself was captured"
    assert not any(secret.encode() in data for data in on_disk)
