"""Subscriptions of sessions: who hears of which resource, in whose words, how often, and until when.

What servers say is written down here and said by `tests/shelf.py`, one in each era.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, Modern, check_log, check_rpc_error, fold, shelf
from tests.harness import Gateway, hostile, until

UPDATED = "notifications/resources/updated"
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("touch", "seen", "announce", "die")]
TELLS = {"tools": {"listChanged": True}, "resources": {"subscribe": True, "listChanged": True}}
ERAS = ("old", "new")  # servers of the handshake era and of the modern one


def resources(*uris: str) -> list[dict[str, Any]]:
    return [{"uri": uri, "name": uri} for uri in uris]


def spec(era: str, scheme: str, **more: Any) -> dict[str, Any]:
    uris = [f"{scheme}://{name}" for name in ("a", "b", "dir", "missing", "unheard")]
    shared = resources(*uris, "ui://shared/view")
    return {"era": era, "capabilities": TELLS, "tools": TOOLS, "resources": shared, **more}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("subscribing")


@pytest.fixture(scope="module")
def gateway(directory: Path) -> Iterator[Gateway]:
    servers = {
        "old": shelf(directory, "old", spec("handshake", "old", unheard=["old://unheard"])),
        "new": shelf(directory, "new", spec("modern", "new")),
        "dumb": shelf(
            directory,
            "dumb",
            {"capabilities": {"resources": {}, "tools": {}}, "resources": resources("dumb://a")},
        ),
        "good": hostile("good"),
    }
    with Gateway(servers, directory / "gateway") as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def seen(gateway: Gateway, server: str) -> list[str]:
    found = json.loads(gateway.call(server, "seen").text)
    assert isinstance(found, list)
    return found


def touch(gateway: Gateway, uri: str, **more: Any) -> None:
    assert gateway.call(uri.partition(":")[0], "touch", uri=uri, **more).status == 200


def subscribe(session: Mcp, *uris: str) -> None:
    for uri in uris:
        assert session.ask("resources/subscribe", {"uri": uri})["result"] == {}


def told(events: Iterator[tuple[str, Any]]) -> str:
    """The URI of the next message, which is of an update."""
    message = next(events)[1]
    assert message == {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": message["params"]["uri"]}}
    return str(message["params"]["uri"])


# -- what is promised -----------------------------------------------------------------------------------


def test_an_endpoint_promises_subscriptions_where_a_server_has_them(gateway: Gateway) -> None:
    for endpoint, has in (("/mcp", True), ("/servers/old/mcp", True), ("/servers/new/mcp", True)):
        found = Mcp(gateway, endpoint).introduction["capabilities"]["resources"]
        assert found == {"listChanged": True, "subscribe": has}
        assert Modern(gateway, endpoint).ask("server/discover")["capabilities"]["resources"] == found
    for server in ("dumb", "good"):
        found = Mcp(gateway, f"/servers/{server}/mcp").introduction["capabilities"]["resources"]
        assert found == {"listChanged": True}


@pytest.mark.parametrize("server", ERAS)
def test_a_change_is_told_once_on_the_sessions_stream(gateway: Gateway, server: str) -> None:
    session = Mcp(gateway)
    with session.stream() as events:
        subscribe(session, f"{server}://a")
        touch(gateway, f"{server}://b")  # nobody asked for it
        touch(gateway, f"{server}://a")
        assert told(events) == f"{server}://a"
        subscribe(session, f"{server}://b", f"{server}://b")
        touch(gateway, f"{server}://b")
        assert told(events) == f"{server}://b"  # and not `a` a second time
    session.end()


@pytest.mark.parametrize("server", ERAS)
def test_what_changes_before_the_stream_is_open_is_told_on_it_once(gateway: Gateway, server: str) -> None:
    session = Mcp(gateway)
    subscribe(session, f"{server}://a", f"{server}://b")
    for _ in range(3):
        touch(gateway, f"{server}://a")
    touch(gateway, f"{server}://b")
    with session.stream() as events:
        assert {told(events), told(events)} == {f"{server}://a", f"{server}://b"}
        touch(gateway, f"{server}://dir")
        subscribe(session, f"{server}://dir")
        touch(gateway, f"{server}://dir")
        assert told(events) == f"{server}://dir"
    session.end()


@pytest.mark.parametrize("server", ERAS)
def test_each_session_hears_and_the_end_of_one_leaves_the_other(gateway: Gateway, server: str) -> None:
    uri = f"{server}://a"
    one, two = Mcp(gateway), Mcp(gateway, f"/servers/{server}/mcp")
    before = len(seen(gateway, server))
    with two.stream() as heard_by_two:
        with one.stream() as heard_by_one:
            subscribe(one, uri)
            subscribe(two, uri)
            touch(gateway, uri)
            assert (told(heard_by_one), told(heard_by_two)) == (uri, uri)
            assert one.ask("resources/unsubscribe", {"uri": uri})["result"] == {}
            subscribe(one, f"{server}://b")
            touch(gateway, uri)
            assert told(heard_by_two) == uri
            touch(gateway, f"{server}://b")
            assert told(heard_by_one) == f"{server}://b"
        one.end()
        until(lambda: f"{server}://b" not in wanted(gateway, server), 10, "`b` is given up")
        assert uri in wanted(gateway, server)
    two.end()
    until(lambda: uri not in wanted(gateway, server), 10, "the server is told that nobody listens")
    if server == "old":  # the server hears of each resource once
        said = seen(gateway, server)[before:]
        assert sorted(said) == sorted(
            f"{way} old://{name}" for way in ("subscribe", "unsubscribe") for name in "ab"
        )


def wanted(gateway: Gateway, server: str) -> set[str]:
    """What the server is subscribed to now, by its own word."""
    found: set[str] = set()
    for word, *uris in (line.split(" ") for line in seen(gateway, server)):
        if word == "subscribe":
            found.update(uris)
        elif word == "unsubscribe":
            found.difference_update(uris)
        elif word == "listen":  # takes the place of the one before
            found = {uri for uri in uris if "://" in uri}
    return found


def test_a_uri_is_told_as_the_session_wrote_it(gateway: Gateway) -> None:
    """At `/mcp` two servers have this URI, so each is marked; at a server's own endpoint it is as it is."""
    everywhere, alone = Mcp(gateway), Mcp(gateway, "/servers/old/mcp")
    with everywhere.stream() as all_events, alone.stream() as own_events:
        subscribe(everywhere, "ui://old.mcp-gateway/shared/view", "ui://new.mcp-gateway/shared/view")
        subscribe(alone, "ui://shared/view")
        for server in ERAS:
            assert gateway.call(server, "touch", uri="ui://shared/view").status == 200
            assert told(all_events) == f"ui://{server}.mcp-gateway/shared/view"
        assert told(own_events) == "ui://shared/view"
        error = everywhere.ask("resources/subscribe", {"uri": "ui://shared/view"})
        check_rpc_error(error, -32002, "unknown", "ui://shared/view")
        # A part of what was subscribed to comes in the words of the endpoint, too.
        gateway.call("old", "touch", **{"uri": "ui://shared/view", "as": "ui://shared/view/part"})
        assert told(own_events) == "ui://shared/view/part"
        assert told(all_events) == "ui://shared/view/part"
    for session in (everywhere, alone):
        session.end()


def test_a_part_of_a_resource_is_told_to_who_has_the_whole(gateway: Gateway) -> None:
    session = Mcp(gateway)
    with session.stream() as events:
        subscribe(session, "old://dir")
        for part in ("old://dir/x", "old://dir/x/y?z#f"):
            touch(gateway, "old://dir", **{"as": part})
            assert told(events) == part
        for other in ("old://directory", "old://", "old://di", "new://dir/x"):
            touch(gateway, "old://dir", **{"as": other})
        touch(gateway, "old://dir")
        assert told(events) == "old://dir"
    session.end()


# -- what is refused ------------------------------------------------------------------------------------


def test_what_a_server_answers_comes_as_it_is(gateway: Gateway) -> None:
    answer = Mcp(gateway).ask("resources/subscribe", {"uri": "old://missing"})
    assert answer["error"] == {
        "code": -32002,
        "message": "Resource not found",
        "data": {"uri": "old://missing"},
    }


def test_a_modern_server_that_leaves_a_resource_out_does_not_tell_of_it(gateway: Gateway) -> None:
    answer = Mcp(gateway).ask("resources/subscribe", {"uri": "new://missing"})
    check_rpc_error(answer, -32002, "unknown", "new")


@pytest.mark.parametrize(
    ("endpoint", "uri", "code", "kind"),
    [
        ("/mcp", "nobody://has/this", -32002, "unknown"),
        ("/mcp", "dumb://a", -32601, "unknown"),
        ("/servers/good/mcp", "x://a", -32002, "unknown"),
        ("/mcp", 7, -32602, "invalid"),
        ("/mcp", None, -32602, "invalid"),
        ("/servers/old/mcp", "", -32602, "invalid"),
        ("/servers/old/mcp", "old://" + "a" * 8_192, -32602, "invalid"),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(
    gateway: Gateway, endpoint: str, uri: Any, code: int, kind: str
) -> None:
    check_rpc_error(Mcp(gateway, endpoint).ask("resources/subscribe", {"uri": uri}), code, kind)


def test_taking_back_what_was_never_there_is_no_error(gateway: Gateway) -> None:
    session = Mcp(gateway)
    for uri in ("old://a", "nobody://has/this"):
        assert session.ask("resources/unsubscribe", {"uri": uri})["result"] == {}


def test_a_server_that_does_not_answer_keeps_nobody_and_nothing_else_waiting(gateway: Gateway) -> None:
    session = Mcp(gateway)
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(session.ask("resources/subscribe", {"uri": "old://unheard"}))
    )
    waiting.start()
    until(lambda: "subscribe old://unheard" in seen(gateway, "old"), 10, "the server is asked")
    subscribe(session, "old://a")
    assert not answers
    waiting.join(30)
    check_rpc_error(answers[0], -32000, "timed_out", "old")
    session.end()


# -- links that come and go -----------------------------------------------------------------------------


@pytest.mark.parametrize("server", ERAS)
def test_a_server_that_starts_again_is_told_again(gateway: Gateway, server: str) -> None:
    session = Mcp(gateway)
    with session.stream() as events:
        subscribe(session, f"{server}://a")
        until(lambda: f"{server}://a" in wanted(gateway, server), 10, "it is subscribed")
        gateway.call(server, "die")
        gateway.wait_for_state(server, "ready")
        # Nobody knows what happened meanwhile, so the resource counts as changed.
        assert fold(events, lambda name, data: data["method"] == UPDATED)["params"] == {
            "uri": f"{server}://a"
        }
        assert f"{server}://a" in wanted(gateway, server)
        touch(gateway, f"{server}://a")
        assert fold(events, lambda name, data: data["method"] == UPDATED)["params"] == {
            "uri": f"{server}://a"
        }
    session.end()


def test_a_subscription_goes_over_to_a_changed_server_and_ends_with_a_removed_one(
    tmp_path: Path,
) -> None:
    entry = shelf(tmp_path, "old", spec("handshake", "old"))
    with Gateway({"old": entry, "good": hostile("good")}, tmp_path / "gateway") as gateway:
        gateway.wait_for_state("old", "ready")
        session = Mcp(gateway)
        with session.stream() as events:
            subscribe(session, "old://a")
            gateway.servers["old"] = {**entry, "env": {"ANOTHER": "1"}}
            gateway.reload()
            until(lambda: "old://a" in wanted(gateway, "old"), 10, "the other process is told")
            changed = fold(events, lambda name, data: data["method"] == UPDATED)
            assert changed["params"] == {"uri": "old://a"}
            del gateway.servers["old"]
            gateway.reload()
            assert fold(events, lambda name, data: "list_changed" in data["method"])
            error = session.ask("resources/subscribe", {"uri": "old://a"})
            check_rpc_error(error, -32002, "unknown")
        check_log(gateway)


# -- storms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ERAS)
def test_F052_a_storm_of_changes_is_a_message_a_second(gateway: Gateway, server: str) -> None:
    sessions = [Mcp(gateway) for _ in range(5)]
    with ExitStack() as stack:
        streams = [stack.enter_context(session.stream()) for session in sessions]
        for session in sessions:
            subscribe(session, f"{server}://a", f"{server}://b")
        touch(gateway, f"{server}://a", times=2_000)
        for session in sessions:
            assert session.ask("ping")["result"] == {}
        touch(gateway, f"{server}://b")
        for events in streams:
            heard: list[str] = []
            while f"{server}://b" not in heard:
                heard.append(told(events))
            assert heard.count(f"{server}://a") <= 3, heard
    for session in sessions:
        session.end()


def test_F052_a_storm_of_list_changes_is_a_message_a_second(gateway: Gateway) -> None:
    session, other = Mcp(gateway), Mcp(gateway, "/servers/good/mcp")
    with session.stream() as events, other.stream() as elsewhere:
        for kind in ("tools", "resources"):
            gateway.call("new", "announce", kind=kind, times=2_000)
        subscribe(session, "old://a")
        heard = {next(events)[1]["method"], next(events)[1]["method"]}
        assert heard == {f"notifications/{kind}/list_changed" for kind in ("tools", "resources")}
        touch(gateway, "old://a")
        assert told(events) == "old://a"
        # Who is at another server hears nothing of it, only of what happens there.
        assert gateway.request("PATCH", "/api/tools/good/echo", {"enabled": False}).status == 200
        assert next(elsewhere)[1]["method"] == "notifications/tools/list_changed"
        assert gateway.request("PATCH", "/api/tools/good/echo", {"enabled": True}).status == 200
    session.end()
