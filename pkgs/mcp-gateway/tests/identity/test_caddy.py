"""Through a real proxy: Caddy, run by another user, as a stand-in for `tailscale serve`, Funnel and others.

What the client wrote in the proxy's name does not survive, Host and Origin arrive, event streams come
event by event, and pages, REST and MCP are open to whom the proxy names and to nobody else. (tailscaled
itself needs a tailnet to be tried on.)
"""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faces.knocking import BOTH_KINDS, Line, Mcp
from tests.harness import Answer, parse_events
from tests.identity.recorded import ALICE, BOSS, NODE, URL, user
from tests.identity.through_caddy import SECRET, Stage, behind_caddy
from tests.identity.visits import caller
from tests.strangers import LIMIT_S

FORGED = (
    *user(BOSS.encode()),
    b"Tailscale-App-Capabilities: {}",
    b"Remote-User: boss",
    b"Mcp-Gateway-Proxy-Secret: " + SECRET.encode(),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with behind_caddy(tmp_path_factory.mktemp("caddy")) as stage:
        yield stage


def test_serve_names_its_user_and_nobody_else(stage: Stage) -> None:
    for site in ("SERVE", "SERVE_UNIX"):
        me = stage.ask(site).json()
        assert (me["caller"], me["name"], me["rights"]) == (
            f"tailscale:{ALICE}",
            "Ferris Büller",
            ["read", "call"],
        )
        assert caller(stage.ask(site, *FORGED)) == f"tailscale:{ALICE}"
        assert stage.echo(site, "through").text == "through"


def test_a_tagged_node_and_the_internet_are_nobody(stage: Stage) -> None:
    for site in ("TAGGED", "FUNNEL"):
        for forged in ((), FORGED[:-2], (b"Tailscale-Funnel-Request: ?0",)):
            assert caller(stage.ask(site, *forged)) == "unauthenticated"
        assert stage.echo(site, "through").code == "unauthenticated"
        assert stage.ask(site, path="/health").status == 200


def test_the_proxy_that_signs_in_names_its_user_and_nobody_else(stage: Stage) -> None:
    assert caller(stage.ask("SIGNED_IN")) == "proxy:alice"
    assert caller(stage.ask("SIGNED_IN", *FORGED)) == "proxy:alice"


@pytest.mark.parametrize(
    "lines",
    [
        # A proxy takes away what is named here, before or after it writes its own words.
        (b"Connection: close, Tailscale-Funnel-Request",),
        (b"Connection: close, Tailscale-User-Login, Tailscale-User-Name, Remote-User",),
        (
            b"Connection: Tailscale-Headers-Info, X-Forwarded-Host, Host",
            b"Tailscale-User-Login: boss@example.com",
        ),
        (b"Tailscale_User_Login: boss@example.com", b"Remote_User: boss"),
        (b"tailscale-user-login: boss@example.com", b"TAILSCALE-USER-LOGIN: boss@example.com"),
        (b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: rebind.test", b"Forwarded: for=127.0.0.1"),
        (b"X-Tailscale-User-Login: boss@example.com", b"X-Forwarded-User: boss"),
    ],
    ids=lambda lines: lines[0][:40].decode(),
)
def test_no_way_of_writing_it_gets_a_name_past_the_proxy(stage: Stage, lines: tuple[bytes, ...]) -> None:
    assert caller(stage.ask("SERVE", *lines)) == f"tailscale:{ALICE}"
    assert caller(stage.ask("SERVE_UNIX", *lines)) == f"tailscale:{ALICE}"
    assert caller(stage.ask("SIGNED_IN", *lines)) == "proxy:alice"
    for site in ("TAGGED", "FUNNEL"):
        assert caller(stage.ask(site, *lines)) == "unauthenticated"


def test_host_and_origin_arrive(stage: Stage) -> None:
    for site in ("SERVE", "SERVE_UNIX", "SIGNED_IN"):
        own = (b"Origin: " + URL.encode(), b"Sec-Fetch-Site: same-origin")
        assert stage.ask(site, *own).status == 200
        for foreign in (b"Origin: https://other.taile0fb4.ts.net:8448", b"Sec-Fetch-Site: same-site"):
            assert caller(stage.ask(site, foreign)) == "refused"
        with Line(stage.ports[site]) as line:
            line.send(b"GET /api/me HTTP/1.1", b"Host: rebind.test:8448")
            assert caller(line.read()) == "refused"


@contextmanager
def stream(stage: Stage, site: str, path: str) -> Iterator[http.client.HTTPResponse]:
    """An event stream through the proxy, open."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.ports[site], timeout=LIMIT_S)
    try:
        connection.request("GET", path, headers={"Host": NODE.decode(), "Accept": "text/event-stream"})
        feed = connection.getresponse()
        assert feed.status == 200
        yield feed
    finally:
        connection.close()


@pytest.mark.parametrize("site", ["SERVE", "SERVE_UNIX"])
def test_events_come_one_by_one(stage: Stage, site: str) -> None:
    """Each is caused only when the one before has been read: who gathers them would wait for ever."""
    with stream(stage, site, "/api/events") as feed:
        events = parse_events(feed)
        for number in range(3):
            called = stage.echo(site, f"{number}")
            ended = next(data for name, data in events if name == "call" and data.get("outcome") == "ok")
            assert ended["id"] == called.call_id


# -- MCP and the pages ------------------------------------------------------------------------------

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def say(
    stage: Stage, site: str, method: str, params: Any = None, *headers: bytes, path: str = "/mcp"
) -> Answer:
    accept = b"Accept: " + BOTH_KINDS.encode()
    body = Mcp.message(method, params, 1)
    return stage.ask(site, accept, *headers, method="POST", path=path, body=body)


@pytest.mark.parametrize("site", ["SERVE", "SERVE_UNIX"])
def test_mcp_works_and_is_done_by_whom_the_proxy_names(stage: Stage, site: str) -> None:
    begun = say(stage, site, "initialize", HELLO, *FORGED)
    session = (
        b"Mcp-Session-Id: " + begun.headers["mcp-session-id"].encode(),
        b"MCP-Protocol-Version: 2025-11-25",
        *FORGED,
    )
    listed = say(stage, site, "tools/list", None, *session).json()["result"]["tools"]
    assert "good__echo" in {tool["name"] for tool in listed}
    call = {"name": "good__echo", "arguments": {"text": f"mcp by {site}"}}
    result = say(stage, site, "tools/call", call, *session).json()["result"]
    assert result["content"][0]["text"] == f"mcp by {site}"
    [row] = stage.ask(site, path="/api/calls?tool=echo&limit=1").json()["calls"]
    assert (row["face"], row["caller"], row["outcome"]) == ("mcp", f"tailscale:{ALICE}", "ok")


@pytest.mark.parametrize("site", ["SERVE", "SERVE_UNIX"])
def test_answers_of_mcp_over_an_open_stream_come_one_by_one(stage: Stage, site: str) -> None:
    """HTTP+SSE, whose answers come over the stream: each is asked for when the one before has been read."""
    with stream(stage, site, "/mcp/sse") as feed:
        assert feed.readline() == b"event: endpoint\n"
        path = feed.readline().removeprefix(b"data: ").decode().strip()
        assert feed.readline() == b"\n"
        answers = parse_events(feed)
        for method, params in (("initialize", HELLO), ("ping", None), ("tools/list", None)):
            assert say(stage, site, method, params, path=path).status == 202
            assert next(answers)[1]["result"] is not None


def test_the_page_says_whom_the_proxy_names(stage: Stage) -> None:
    for site in ("SERVE", "SERVE_UNIX"):
        page = stage.ask(site, b"Accept: text/html", *FORGED, path="/")
        assert page.status == 200
        assert f"tailscale:{ALICE}" in page.body.decode()
        assert BOSS not in page.body.decode()


def test_no_face_is_open_to_a_tagged_node_or_the_internet(stage: Stage) -> None:
    for site in ("TAGGED", "FUNNEL"):
        for forged in ((), FORGED[:-2]):
            assert say(stage, site, "initialize", HELLO, *forged).code == "unauthenticated"
            for path in ("/mcp/sse", "/api/events", "/tools/openapi.json", "/servers/good/mcp"):
                assert stage.ask(site, *forged, path=path).code == "unauthenticated", path
            page = stage.ask(site, b"Accept: text/html", *forged, path="/")
            assert page.status == 401
            assert "Sign in" in page.body.decode()
            assert BOSS not in page.body.decode()
