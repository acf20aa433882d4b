"""`subscriptions/listen` of the modern era: what is honoured, what is told and to whom, and how it ends."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.wire.revisions import MODERN, modern_meta
from tests.faces.knocking import BOTH_KINDS, Mcp, check_log, check_rpc_error, json_bytes
from tests.faces.test_subscribing import ERAS, directory, gateway, resources, spec, touch, wanted
from tests.harness import Answer, Gateway, hostile, parse_events, until

__all__ = ["directory", "gateway"]  # fixtures

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
EVERYTHING = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
HEADERS = {"Accept": BOTH_KINDS, "MCP-Protocol-Version": MODERN, "Mcp-Method": "subscriptions/listen"}


def request(notifications: Any, request_id: Any = 1) -> bytes:
    params = {"_meta": modern_meta({"name": "t", "version": "1"}), "notifications": notifications}
    if notifications is None:
        del params["notifications"]
    message = {"jsonrpc": "2.0", "id": request_id, "method": "subscriptions/listen", "params": params}
    return json_bytes(message)


class Stream:
    """What comes of one request; each frame must bear its id."""

    def __init__(self, events: Iterator[tuple[str, Any]], request_id: Any) -> None:
        self.events = events
        self.id = request_id
        self.honoured = self.next("notifications/subscriptions/acknowledged")["notifications"]

    def next(self, method: str) -> dict[str, Any]:
        """The params of the next message, which is of this method, without the mark."""
        message = next(self.events)[1]
        assert message.keys() == {"jsonrpc", "method", "params"}, message
        assert message["method"] == method, message
        params: dict[str, Any] = message["params"]
        mark = params.pop("_meta")
        assert mark == {SUBSCRIPTION: self.id}
        assert type(mark[SUBSCRIPTION]) is type(self.id)
        return params

    def updated(self) -> str:
        params = self.next("notifications/resources/updated")
        assert params.keys() == {"uri"}
        return str(params["uri"])


@contextlib.contextmanager
def listening(
    gateway: Gateway, notifications: Any, endpoint: str = "/mcp", request_id: Any = "listen-1"
) -> Iterator[Stream]:
    with gateway.open("POST", endpoint, request(notifications, request_id), HEADERS) as response:
        assert response.status == 200, response.read()
        assert response.getheader("content-type", "").startswith("text/event-stream")
        assert "no-transform" in response.getheader("cache-control", "")
        assert response.getheader("x-accel-buffering") == "no"
        yield Stream(parse_events(response), request_id)


def refused(gateway: Gateway, notifications: Any, **headers: str) -> Answer:
    return gateway.request("POST", "/mcp", request(notifications), HEADERS | headers)


def switch(gateway: Gateway, tool: str, enabled: bool) -> None:
    path = f"/api/tools/good/{tool}"
    assert gateway.request("PATCH", path, {"enabled": enabled}).status == 200


@pytest.mark.parametrize("request_id", [0, 7, "7", "ü"])
def test_what_is_honoured_comes_first_and_every_frame_bears_the_id(gateway: Gateway, request_id: Any) -> None:
    with listening(gateway, EVERYTHING | {"x-new": True}, request_id=request_id) as stream:
        # No server here has prompts.
        assert stream.honoured == {"toolsListChanged": True, "resourcesListChanged": True}
        switch(gateway, "echo", False)
        assert stream.next("notifications/tools/list_changed") == {}
        switch(gateway, "echo", True)
        assert stream.next("notifications/tools/list_changed") == {}


def test_only_what_was_asked_for_is_told(gateway: Gateway) -> None:
    wish = {"resourcesListChanged": True, "toolsListChanged": False, "resourceSubscriptions": ["old://b"]}
    with listening(gateway, wish) as stream, listening(gateway, {}) as quiet:
        assert stream.honoured == {"resourcesListChanged": True, "resourceSubscriptions": ["old://b"]}
        assert quiet.honoured == {}
        switch(gateway, "echo", False)
        switch(gateway, "echo", True)
        touch(gateway, "old://a")
        touch(gateway, "old://b")
        assert stream.updated() == "old://b"


@pytest.mark.parametrize("server", ERAS)
def test_streams_and_sessions_share_what_the_server_is_asked_for(gateway: Gateway, server: str) -> None:
    uri = f"{server}://a"
    session = Mcp(gateway)
    with session.stream() as events, ExitStack() as stack:
        assert session.ask("resources/subscribe", {"uri": uri})["result"] == {}
        streams = [
            stack.enter_context(listening(gateway, {"resourceSubscriptions": [uri]}, request_id=number))
            for number in range(5)
        ]
        touch(gateway, uri)
        assert [stream.updated() for stream in streams] == [uri] * 5
        assert next(events)[1]["params"] == {"uri": uri}
    session.end()
    # Whoever hangs up takes nothing more.
    until(lambda: uri not in wanted(gateway, server), 10, "the server is told that nobody listens")


def test_what_is_not_there_is_left_out(gateway: Gateway) -> None:
    uris = ["old://missing", "new://missing", "old://a", "dumb://a", "nobody://a", "old://a", "new://a"]
    with listening(gateway, {"resourceSubscriptions": uris}) as stream:
        assert stream.honoured == {"resourceSubscriptions": ["old://a", "new://a"]}
    with listening(gateway, {"resourceSubscriptions": uris}, "/servers/new/mcp") as stream:
        assert stream.honoured["resourceSubscriptions"][-1] == "new://a"
        touch(gateway, "new://a")
        assert stream.updated() == "new://a"
    with listening(gateway, {"resourceSubscriptions": ["nobody://a"]}) as stream:
        assert stream.honoured == {}


def test_a_uri_is_told_as_it_was_asked_for(gateway: Gateway) -> None:
    marked = "ui://old.mcp-gateway/shared/view"
    with listening(gateway, {"resourceSubscriptions": [marked]}) as stream:
        assert gateway.call("old", "touch", uri="ui://shared/view").status == 200
        assert stream.updated() == marked


@pytest.mark.parametrize(
    "notifications",
    [
        None,
        7,
        [],
        {"toolsListChanged": "yes"},
        {"resourceSubscriptions": "x"},
        {"resourceSubscriptions": [1]},
        {"resourceSubscriptions": [f"x://{number}" for number in range(1_001)]},
    ],
)
def test_what_is_no_wish_is_refused(gateway: Gateway, notifications: Any) -> None:
    answer = refused(gateway, notifications)
    assert answer.status == 400
    check_rpc_error(answer.json(), -32602, "invalid")


def test_who_takes_no_stream_is_told_so(gateway: Gateway) -> None:
    answer = refused(gateway, {}, Accept="application/json")
    assert answer.status == 400
    check_rpc_error(answer.json(), -32600, "invalid", "event-stream")


def test_a_listener_of_the_other_era_is_told_that_there_is_no_such_method(gateway: Gateway) -> None:
    check_rpc_error(Mcp(gateway).ask("subscriptions/listen", {"notifications": {}}), -32601, "unknown")


def test_a_list_of_a_modern_server_that_changes_is_told_to_both_eras(
    directory: Path, gateway: Gateway
) -> None:
    path = directory / "new.json"
    before = path.read_text()
    session = Mcp(gateway)
    with session.stream() as events, listening(gateway, EVERYTHING) as stream:
        changed = spec("modern", "new")
        changed["resources"] += resources("new://another")
        path.write_text(json.dumps(changed))
        gateway.call("new", "announce", kind="resources")
        assert stream.next("notifications/resources/list_changed") == {}
        assert next(events)[1]["method"] == "notifications/resources/list_changed"
    path.write_text(before)
    gateway.call("new", "announce", kind="resources")
    session.end()


def test_a_stop_answers_the_request_and_ends_the_stream(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as gateway:
        gateway.wait_for_state("good", "ready")
        with listening(gateway, EVERYTHING, request_id="last") as stream:
            assert gateway.process is not None
            gateway.process.terminate()
            assert next(stream.events)[1] == {
                "jsonrpc": "2.0",
                "id": "last",
                "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: "last"}},
            }
            assert list(stream.events) == []
        gateway.process.wait(10)
        check_log(gateway)
