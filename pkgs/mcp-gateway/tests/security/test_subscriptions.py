"""S12, S20: nobody hears of a resource that they may not see, nor of what another caller is subscribed to."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, check_log, check_rpc_error, shelf
from tests.faces.test_listening import listening
from tests.faces.test_subscribing import ERAS, spec, subscribe, told, touch, wanted
from tests.harness import until
from tests.security.cast import Guarded, wait_ready

USUAL = ["read", "call"]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Guarded]:
    keys: dict[str, dict[str, Any]] = {
        "ann": {"rights": USUAL},
        "bob": {"rights": USUAL},
        "old-only": {"rights": USUAL, "servers": ["old"]},
        "tool-only": {"rights": USUAL, "tools": ["old/touch"]},
        "reader": {"rights": ["read"]},
    }
    servers = {
        "old": shelf(tmp_path, "old", spec("handshake", "old")),
        "new": shelf(tmp_path, "new", spec("modern", "new")),
    }
    with Guarded(servers, tmp_path / "gateway", {"limits": {"rate": 100_000}}, keys=keys) as gateway:
        wait_ready(gateway, *servers)
        yield gateway
        check_log(gateway)


def test_what_may_not_be_seen_is_unknown_in_the_words_of_what_is_not_there(gateway: Guarded) -> None:
    for key, uris in (("old-only", ("new://a",)), ("tool-only", ("old://a", "new://a"))):
        session = Mcp(gateway.as_(key))
        nothing = session.ask("resources/subscribe", {"uri": "x://never"})["error"]
        for uri in uris:
            hidden = session.ask("resources/subscribe", {"uri": uri})["error"]
            assert repr(hidden).replace(uri, "x://never") == repr(nothing)
            assert session.ask("resources/unsubscribe", {"uri": uri})["result"] == {}
        with listening(gateway.as_(key), {"resourceSubscriptions": [*uris, "x://never"]}) as stream:
            assert stream.honoured == {}
    reader = Mcp(gateway.as_("reader")).ask("resources/subscribe", {"uri": "old://a"})
    check_rpc_error(reader, reader["error"]["code"], "refused")
    assert wanted(gateway, "old") == wanted(gateway, "new") == set()


@pytest.mark.parametrize("server", ERAS)
def test_what_one_caller_hears_is_nothing_to_another(gateway: Guarded, server: str) -> None:
    ann, bob = Mcp(gateway.as_("ann")), Mcp(gateway.as_("bob"))
    with ann.stream() as anns, bob.stream() as bobs, listening(gateway.as_("bob"), {}) as quiet:
        subscribe(ann, f"{server}://a")
        subscribe(bob, f"{server}://b")
        # Another's subscription cannot be taken back.
        assert bob.ask("resources/unsubscribe", {"uri": f"{server}://a"})["result"] == {}
        touch(gateway, f"{server}://a")
        touch(gateway, f"{server}://b")
        assert told(anns) == f"{server}://a"
        assert told(bobs) == f"{server}://b"
        assert quiet.honoured == {}


def test_a_revoked_key_takes_its_subscriptions_along(gateway: Guarded) -> None:
    key_id, eve = gateway.make_key("eve", rights=USUAL)
    other = Mcp(gateway.as_("ann"))
    session = Mcp(eve)
    with session.stream() as events, listening(eve, {"resourceSubscriptions": ["new://a"]}) as stream:
        subscribe(session, "old://a")
        subscribe(other, "old://b")
        until(lambda: "new://a" in wanted(gateway, "new"), 10, "it is subscribed")
        gateway.revoke(key_id)
        assert list(events) == []
        list(stream.events)
        until(lambda: wanted(gateway, "old") == {"old://b"}, 10, "the server is told")
        until(lambda: wanted(gateway, "new") == set(), 10, "the server is told")
        touch(gateway, "old://a")
    with other.stream() as events:
        touch(gateway, "old://b")
        assert told(events) == "old://b"


def test_a_list_that_changes_is_nothing_to_who_does_not_see_the_server(gateway: Guarded) -> None:
    everything = {"toolsListChanged": True, "resourcesListChanged": True}
    with (
        listening(gateway.as_("old-only"), everything) as some,
        listening(gateway.as_("ann"), everything) as all_,
    ):
        for tool, server in (("seen", "new"), ("seen", "old")):
            path = f"/api/tools/{server}/{tool}"
            assert gateway.request("PATCH", path, {"enabled": False}).status == 200
            assert all_.next("notifications/tools/list_changed") == {}
        assert some.next("notifications/tools/list_changed") == {}
        assert "old__seen" not in Mcp(gateway.as_("old-only")).tools()


@pytest.mark.parametrize(("isolation", "is_of_caller"), [("session", False), ("caller", True)])
def test_what_a_process_of_ones_own_says_is_for_nobody_else(
    tmp_path: Path, isolation: str, is_of_caller: bool
) -> None:
    """A server that keeps a state for each session or caller has changed for that one alone."""
    keys = {name: {"rights": USUAL} for name in ("ann", "bob")}
    entry = shelf(tmp_path, "own", spec("handshake", "own")) | {"isolation": isolation}
    with Guarded({"own": entry}, tmp_path / "gateway", keys=keys) as gateway:
        wait_ready(gateway, "own")
        sessions = [Mcp(gateway.as_(key)) for key in ("ann", "ann", "bob")]
        with ExitStack() as stack:
            streams = [stack.enter_context(session.stream()) for session in sessions]
            for session in sessions:
                subscribe(session, "own://a", "own://b")
            sessions[0].call("own__touch", {"uri": "own://a"})
            sessions[1].call("own__touch", {"uri": "own://b"})
            sessions[2].call("own__touch", {"uri": "own://b"})
            assert told(streams[0]) == "own://a"
            if is_of_caller:
                assert (told(streams[0]), told(streams[1])) == ("own://b", "own://a")
            assert (told(streams[1]), told(streams[2])) == ("own://b", "own://b")
        check_log(gateway)
