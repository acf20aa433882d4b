"""S20, S28: who is asking comes from the credential alone, and what belongs to another caller is not there.

MCPHub GHSA-wf8q-wvv8-p8jf took the user from the path; ids of sessions, calls and artifacts are handles, no
keys (MCP Security Best Practices, "state handle hijacking"). What is another's is answered byte for byte
as what never was.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faces.knocking import Mcp, check_log, check_problem, check_rpc_error
from tests.harness import Answer, hostile, until
from tests.security.cast import Guarded, bare, wait_ready

LARGE = 11 * 1024 * 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    some = {"rights": ["read", "call"]}
    keys = {"ann": some, "bob": some, "admin": some}
    settings = {"limits": {"rate": 100_000}}
    directory = tmp_path_factory.mktemp("owners")
    with Guarded({"good": hostile("good")}, directory, settings, keys=keys) as gateway:
        wait_ready(gateway, "good")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def ann(gateway: Guarded) -> Guarded:
    return gateway.as_("ann")


@pytest.fixture(scope="module")
def bob(gateway: Guarded) -> Guarded:
    return gateway.as_("bob")


NAMES = ("admin", "key:admin", "bob", "console", "local", "operator")


@pytest.mark.parametrize("name", NAMES)
def test_GHSA_wf8q_wvv8_p8jf_no_name_in_a_request_is_an_identity(
    gateway: Guarded, ann: Guarded, name: str
) -> None:
    named = (
        "X-User",
        "X-Forwarded-User",
        "X-Remote-User",
        "Remote-User",
        "X-Auth-Request-User",
        "X-Caller",
        "X-User-Id",
        "From",
        "X-Authenticated-User",
        "X-Goog-Authenticated-User-Email",
        "Tailscale-User-Login",
        "Tailscale-User-Name",
        "X-Webauth-User",
        "X-Token-User-Name",
        "X-Mcp-User",
        "Mcp-Gateway-Proxy-Secret",
        "X-Forwarded-For",
    )
    headers = dict.fromkeys(named, name)
    for query in ("", f"?user={name}", f"?caller={name}&key={name}&sub={name}"):
        shown = ann.request("GET", f"/api/me{query}", headers=headers).json()
        assert shown["caller"] == "key:ann"
        check_problem(
            gateway.nobody.request("GET", f"/api/me{query}", headers=headers), 401, "unauthenticated"
        )


@pytest.mark.parametrize(
    "path",
    [
        "/u/admin/mcp",
        "/admin/mcp",
        "/users/admin/mcp",
        "/mcp/admin",
        "/mcp/u/admin",
        "/servers/admin@good/mcp",
        "/servers/good/u/admin/mcp",
        "/servers/../mcp",
        "/servers/../../mcp",
        "/servers/good/../../mcp",
        "/servers/%2e%2e/mcp",
        "/servers/good%2f..%2fother/mcp",
        "/servers/good%00/mcp",
        "/servers//mcp",
        "/servers/GOOD/mcp",
        "/servers/good;x/mcp",
        "/servers/./mcp",
        "/mcp-connect/good",
        "/key:admin/mcp",
    ],
)
def test_GHSA_wf8q_wvv8_p8jf_a_path_is_no_identity_and_no_detour(
    gateway: Guarded, ann: Guarded, path: str
) -> None:
    body = Mcp.message("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}}, 1)
    assert gateway.nobody.request("POST", path, body).status == 401
    assert ann.request("POST", path, body).status in (404, 405)
    assert ann.request("GET", path).status in (404, 405)


def test_GHSA_wf8q_wvv8_p8jf_a_query_does_not_change_whose_session_it_is(ann: Guarded, bob: Guarded) -> None:
    session = Mcp(ann)
    session.endpoint = "/mcp?user=bob&session=admin"
    assert session.call("good__echo", {"text": "x"}, 7)["result"]["content"][0]["text"] == "x"
    assert "echo" not in json.dumps(bob.get("/api/calls").json())


# -- sessions -------------------------------------------------------------------------------------------


def with_session(gateway: Guarded, session: Mcp, session_id: str, method: str) -> Answer:
    headers = session.headers | {"Mcp-Session-Id": session_id}
    body = Mcp.message("tools/list", None, 1) if method == "POST" else None
    return gateway.request(method, session.endpoint, body, headers)


def test_S28_a_session_of_another_caller_is_unknown(gateway: Guarded, ann: Guarded, bob: Guarded) -> None:
    session, whole = Mcp(ann), Mcp(ann, "/servers/good/mcp")
    for method in ("POST", "GET", "DELETE"):
        never = with_session(bob, session, "0" * len(session.id), method)
        assert never.status == 404
        for other in (bob, gateway):  # full rights do not make it theirs
            assert bare(with_session(other, session, session.id, method)) == bare(never)
        # Nor is it there at another endpoint, for its own caller.
        assert bare(with_session(ann, session, whole.id, method)) == bare(never)
        for near in (session.id.upper(), session.id + "0", session.id[:-1], "0" + session.id):
            if near != session.id:
                assert bare(with_session(ann, session, near, method)) == bare(never)
    assert gateway.nobody.request("POST", "/mcp", Mcp.message("ping", None, 1), session.headers).status == 401
    assert session.tools()
    assert len(session.id) == 32


def test_S24_a_cancellation_reaches_ones_own_session_only(ann: Guarded, bob: Guarded) -> None:
    theirs, others, again = Mcp(ann), Mcp(bob), Mcp(ann)
    body = Mcp.message(
        "tools/call",
        {"name": "good__progress", "arguments": {"steps": 20, "ms": 10}, "_meta": {"progressToken": 5}},
        5,
    )
    with ann.open("POST", "/mcp", body, theirs.headers) as response:
        response.readline()  # it runs, for it has spoken
        for session in (others, again):
            cancelled = Mcp.message("notifications/cancelled", {"requestId": 5})
            assert session.post(cancelled).status == 202
        assert b"20 steps" in response.read()


# -- calls ----------------------------------------------------------------------------------------------


def begin(caller: Guarded, tool: str, **arguments: Any) -> str:
    answer = caller.request("POST", f"/api/tools/good/{tool}", arguments, {"Prefer": "respond-async"})
    assert answer.status == 202, answer
    return str(answer.json()["id"])


def looks(caller: Guarded, call_id: str) -> list[tuple[int, str, bytes]]:
    """Every way to ask for a call; the order matters, for the last one would cancel it."""
    stream = {"Accept": "text/event-stream"}
    return [
        bare(caller.get(f"/api/calls/{call_id}")),
        bare(caller.request("GET", f"/api/calls/{call_id}", headers=stream)),
        bare(caller.get(f"/api/calls/{call_id}?caller=key:ann")),
        bare(caller.request("DELETE", f"/api/calls/{call_id}")),
    ]


def test_S20_a_call_of_another_caller_is_unknown_while_it_runs_and_after(
    gateway: Guarded, ann: Guarded, bob: Guarded
) -> None:
    running = begin(ann, "sleep", ms=60_000)
    ended = begin(ann, "echo", text="secret of ann")
    until(lambda: ann.get(f"/api/calls/{ended}").json()["outcome"] == "ok", 10, "the call ends")
    never = looks(bob, "0" * len(running))
    assert {status for status, _, _ in never} == {404}
    assert looks(bob, running) == never
    assert looks(bob, ended) == never
    assert ann.get(f"/api/calls/{running}").json()["outcome"] == "running"
    assert ann.get(f"/api/calls/{ended}").json()["result"]["content"][0]["text"] == "secret of ann"
    assert ann.request("DELETE", f"/api/calls/{running}").status == 202


def test_S20_activity_and_its_export_are_ones_own(ann: Guarded, bob: Guarded) -> None:
    assert bob.call("good", "echo", text="b").status == 200
    assert ann.call("good", "echo", text="a").status == 200
    for caller, name in ((ann, "key:ann"), (bob, "key:bob")):
        for query in (
            "",
            "?caller=key:ann",
            "?caller=key:bob",
            "?caller=key:full",
            "?server=good",
            "?face=mcp",
        ):
            rows = caller.get(f"/api/calls{query}").json()["calls"]
            assert {row["caller"] for row in rows} <= {name}, query
            exported = caller.get(f"/api/calls/export{query}").body.decode()
            lines = [json.loads(line) for line in exported.splitlines()]
            assert {row["caller"] for row in lines} <= {name}, query
    other = "key:bob"
    assert ann.get(f"/api/calls?caller={other}").json()["calls"] == []
    # A page's cursor carries no more than the page.
    page = bob.get("/api/calls?limit=1").json()
    if page["cursor"]:
        rows = ann.get(f"/api/calls?cursor={page['cursor']}").json()["calls"]
        assert {row["caller"] for row in rows} <= {"key:ann"}


def test_S20_numbers_are_of_ones_own_calls(gateway: Guarded, ann: Guarded, bob: Guarded) -> None:
    def count(caller: Guarded, query: str = "") -> tuple[int, int]:
        # Of a time that nobody has asked for: an answer is kept for a moment.
        until_s = time.time() + 1
        by_time = caller.get(f"/api/stats?until={until_s!r}{query}").json()["totals"]["calls"]
        by_server = caller.get(f"/api/stats?until={until_s!r}&by=server{query}").json()["servers"]
        return by_time, by_server["good"]["calls"]

    before = {caller.key: count(caller) for caller in (ann, bob, gateway)}
    assert bob.call("good", "echo", text="b").status == 200
    assert count(ann) == before["ann"]
    assert count(bob) == tuple(number + 1 for number in before["bob"])
    assert count(gateway) == tuple(number + 1 for number in before["full"])
    assert count(ann, "&caller=key:bob") == (0, 0)
    assert count(gateway, "&caller=key:bob")[0] == count(bob)[0]
    # An answer that is kept for one is not given to another.
    shown = [caller.get("/api/stats").json()["totals"]["calls"] for caller in (gateway, ann, bob)]
    assert shown == [count(caller)[0] for caller in (gateway, ann, bob)]


def test_S20_the_feed_tells_of_ones_own_calls(gateway: Guarded, ann: Guarded, bob: Guarded) -> None:
    with ann.open("GET", "/api/events") as response:
        assert response.readline() == b": feed\n"
        assert bob.call("good", "echo", text="not for ann").status == 200
        assert gateway.request("PATCH", "/api/tools/good/echo", {"enabled": True}).status == 200
        last = ann.call("good", "echo", text="for ann")
        seen = b""
        while (last.call_id or "").encode() not in seen:
            seen += response.readline()
    assert b'"caller":"key:ann"' in seen
    assert b"key:bob" not in seen
    assert b"key:full" not in seen
    assert b"tool.switch" not in seen


# -- artifacts ------------------------------------------------------------------------------------------


def test_S20_an_artifact_of_another_caller_is_unknown(gateway: Guarded, ann: Guarded, bob: Guarded) -> None:
    result = ann.call("good", "blob", bytes=LARGE).json()
    about = result["_meta"]["mcp-gateway/artifact"]
    never_id = "A" * len(about["id"])
    for other in (bob, gateway):
        for method in ("GET", "HEAD"):
            never = bare(other.request(method, f"/api/artifacts/{never_id}"))
            assert never[0] == 404
            assert bare(other.request(method, f"/api/artifacts/{about['id']}")) == never
        session, one = Mcp(other), Mcp(other, "/servers/good/mcp")
        for mcp in (session, one):
            assert mcp.ask("resources/list")["result"]["resources"] == []
            missing = mcp.ask("resources/read", {"uri": about["uri"].replace(about["id"], never_id)})
            check_rpc_error(missing, -32002, "unknown")
            assert mcp.ask("resources/read", {"uri": about["uri"]}) == missing
            assert mcp.ask("resources/read", {"uri": about["uri"] + "?offset=0&length=9"}) == missing
    assert ann.request("HEAD", f"/api/artifacts/{about['id']}").status == 200


def test_S20_nobody_learns_whether_an_id_is_known(gateway: Guarded, ann: Guarded) -> None:
    known = begin(ann, "echo", text="x")
    for path in (
        f"/api/calls/{known}",
        "/api/calls/0000",
        "/api/artifacts/x",
        "/api/servers/good",
        "/api/servers/x",
    ):
        first = bare(gateway.nobody.get(path))
        assert first == bare(gateway.nobody.get("/nothing")), path
