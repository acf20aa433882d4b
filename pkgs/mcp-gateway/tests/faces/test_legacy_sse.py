"""HTTP+SSE of 2024-11-05: the stream that is the session, in bytes and with the official client."""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client

from tests.faces.knocking import Mcp, check_log, check_problem, check_rpc_error, exact
from tests.faces.test_artifacts import SMALL_UNITS
from tests.faces.test_mcp_clients import text_of
from tests.harness import Answer, Gateway, hostile, until

WAIT_S = 20
LONG_MS = 60_000


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journal") / "calls"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, journal: Path) -> Iterator[Gateway]:
    servers = {"good": hostile("good", "--journal", str(journal)), "exact": exact()}
    with Gateway(servers, tmp_path_factory.mktemp("legacy")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def events(response: Any) -> Iterator[tuple[str, str]]:
    name, data = "message", None
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line and data is not None:
            yield name, data
            name, data = "message", None
        else:
            assert not line.startswith(("id:", "retry:")), line


class Sse:
    """One session: its stream is open until the end of the block."""

    def __init__(self, gateway: Gateway, stream: Iterator[tuple[str, str]], headers: dict[str, str]) -> None:
        self.gateway = gateway
        self.stream = stream
        self.headers = headers
        name, self.url = next(stream)
        assert name == "endpoint"

    def post(self, body: bytes, **headers: str) -> Answer:
        return self.gateway.request("POST", self.url, body, self.headers | headers)

    def next(self) -> Any:
        name, data = next(self.stream)
        assert name == "message"
        return json.loads(data)

    def send(self, method: str, params: Any = None, request_id: Any = None) -> None:
        answer = self.post(Mcp.message(method, params, request_id))
        assert (answer.status, answer.body) == (202, b"Accepted"), answer

    def ask(self, method: str, params: Any = None, request_id: Any = 1) -> Any:
        self.send(method, params, request_id)
        document = self.next()
        assert document["id"] == request_id, document
        return document

    def introduce(self, revision: str = "2024-11-05") -> Any:
        client = {"name": "old", "version": "0"}
        asked = {"protocolVersion": revision, "capabilities": {}, "clientInfo": client}
        said = self.ask("initialize", asked, 0)["result"]
        self.send("notifications/initialized")
        return said

    def call(self, tool: str, request_id: Any = 1, token: Any = None, **arguments: Any) -> None:
        params = {"name": tool, "arguments": arguments}
        self.send(
            "tools/call", params | ({} if token is None else {"_meta": {"progressToken": token}}), request_id
        )


@contextmanager
def connected(gateway: Gateway, path: str = "/mcp/sse", **headers: str) -> Iterator[Sse]:
    with gateway.open("GET", path, None, headers | {"Accept": "text/event-stream"}) as response:
        assert response.status == 200, response.read()
        assert response.getheader("content-type", "").startswith("text/event-stream")
        assert response.getheader("x-accel-buffering") == "no"
        yield Sse(gateway, events(response), headers)


@pytest.fixture
def session(gateway: Gateway) -> Iterator[Sse]:
    with connected(gateway) as session:
        session.introduce()
        yield session


def running(gateway: Gateway) -> int:
    count: int = gateway.server("good")["calls"]["running"]
    return count


def is_running(gateway: Gateway) -> Callable[[], bool]:
    return lambda: running(gateway) == 1


# -- a conversation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mcp/sse", "/servers/good/sse"])
@pytest.mark.parametrize("revision", ["2024-11-05", "2025-11-25"])
def test_a_client_introduces_itself_lists_and_calls(gateway: Gateway, path: str, revision: str) -> None:
    with connected(gateway, path) as session:
        parts = urlsplit(session.url)
        assert (parts.scheme, parts.netloc) == ("", "")
        assert parts.path == path.removesuffix("sse") + "message"
        assert session.introduce(revision)["protocolVersion"] == revision
        prefix = "good__" if path == "/mcp/sse" else ""
        names = {tool["name"] for tool in session.ask("tools/list")["result"]["tools"]}
        assert f"{prefix}echo" in names
        session.call(f"{prefix}echo", "x", text="over there")
        answer = session.next()
        assert (answer["id"], answer["result"]["content"][0]["text"]) == ("x", "over there")
        assert session.ask("ping")["result"] == {}
        check_rpc_error(session.ask("tools/nobody-knows"), -32601, "unknown")
        session.call(f"{prefix}nothing", 7)
        check_rpc_error(session.next(), -32602, "unknown", "nothing")


def test_progress_and_changes_come_on_the_stream(gateway: Gateway, session: Sse) -> None:
    session.call("good__progress", 5, "p", steps=3, ms=1)
    told = [session.next() for _ in range(4)]
    assert [one["params"]["progress"] for one in told[:3]] == [1, 2, 3]
    assert told[3]["result"]["content"][0]["text"] == "3 steps"
    for enabled in (False, True):
        assert gateway.request("PATCH", "/api/tools/exact/nulls", {"enabled": enabled}).status == 200
        assert session.next()["method"] == "notifications/tools/list_changed"


def test_many_calls_at_once_are_each_answered_once(session: Sse) -> None:
    for number in range(100):
        session.call("good__echo", number, text=str(number))
    answers = [session.next() for _ in range(100)]
    assert {one["id"]: one["result"]["content"][0]["text"] for one in answers} == {
        number: str(number) for number in range(100)
    }


def test_a_batch_is_answered_one_by_one(session: Sse) -> None:
    body = b"[" + b",".join(Mcp.message("ping", None, number) for number in (1, 2)) + b"]"
    assert session.post(body).status == 202
    assert {session.next()["id"], session.next()["id"]} == {1, 2}


def test_a_large_resource_comes_whole(session: Sse) -> None:
    session.call("exact__huge", 1, units=SMALL_UNITS)
    uri = session.next()["result"]["content"][1]["uri"]
    read = session.ask("resources/read", {"uri": uri})["result"]["contents"][0]
    assert len(read["text"].encode()) > 10 * 1024 * 1024


def test_a_call_is_taken_back_with_a_notification(gateway: Gateway, session: Sse) -> None:
    session.call("good__sleep", 11, ms=LONG_MS)
    until(is_running(gateway), 5, "the call is at the server")
    session.send("notifications/cancelled", {"requestId": 11})
    until(lambda: running(gateway) == 0, 5, "it is taken back")
    assert session.ask("ping", None, 12)["result"] == {}  # and nothing came before


def test_what_cannot_be_read_is_told_in_the_answer_to_the_post(session: Sse) -> None:
    for body, code in (
        (b"{", -32700),
        (b"7", -32600),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700),
    ):
        answer = session.post(body)
        assert answer.status == 400
        check_rpc_error(answer.json(), code, "invalid")
    assert session.post(Mcp.message("ping", None, 1), **{"Content-Type": "text/plain"}).status == 415
    assert session.ask("ping", None, 2)["result"] == {}


# -- the session is the stream --------------------------------------------------------------------------


def test_the_end_of_the_stream_ends_the_session_and_its_calls(gateway: Gateway) -> None:
    with connected(gateway) as session:
        session.introduce()
        session.call("good__sleep", 1, ms=LONG_MS)
        until(is_running(gateway), 5, "the call is at the server")
        (row,) = gateway.get("/api/sessions").json()["sessions"]
        assert (row["transport"], row["endpoint"], row["client"]) == ("sse", "/mcp/sse", "old")
        assert (row["revision"], row["streams"], row["calls"]) == ("2024-11-05", 1, 1)
    until(lambda: running(gateway) == 0, 5, "the call is cancelled")
    answer = session.post(Mcp.message("ping", None, 1))
    assert answer.status == 404
    check_rpc_error(answer.json(), -32600, "unknown", "session")
    assert gateway.get("/api/sessions").json()["sessions"] == []
    assert gateway.get("/api/calls?limit=1&tool=sleep").json()["calls"][0]["outcome"] == "cancelled"


def test_closing_the_session_ends_the_stream(gateway: Gateway, session: Sse) -> None:
    session.call("good__sleep", 1, ms=LONG_MS)
    until(is_running(gateway), 5, "the call is at the server")
    (row,) = gateway.get("/api/sessions").json()["sessions"]
    assert gateway.request("DELETE", f"/api/sessions/{row['id']}").status == 204
    assert list(session.stream) == []
    assert running(gateway) == 0
    assert session.post(Mcp.message("ping", None, 1)).status == 404


def test_a_session_is_of_its_transport_and_endpoint(gateway: Gateway, session: Sse) -> None:
    key = session.url.partition("=")[2]
    other = Mcp(gateway)
    ping = Mcp.message("ping", None, 1)
    for path in (
        f"/servers/good/message?sessionId={key}",
        f"/mcp/message?sessionId={other.id}",
        "/mcp/message?sessionId=x",
        f"/mcp/message?sessionId={'0' * 32}",
    ):
        assert gateway.request("POST", path, ping).status == 404, path
    for path in (
        "/mcp/message",
        "/mcp/message?sessionId=",
        f"/mcp/message?sessionId={key}&sessionId={key}",
        f"/mcp/message?session={key}",
    ):
        assert gateway.request("POST", path, ping).status == 400, path
    assert gateway.request("POST", "/mcp", ping, other.headers | {"Mcp-Session-Id": key}).status == 404
    assert session.ask("ping")["result"] == {}
    other.end()


def test_the_key_is_worth_nothing_to_another_caller(tmp_path: Path) -> None:
    keys, sent = [], []
    for name in ("ann", "bob"):
        key = secrets.token_hex(20)
        (tmp_path / name).write_text(key)
        (tmp_path / name).chmod(0o600)
        keys.append({"name": name, "file": str(tmp_path / name), "scopes": {"rights": ["read", "call"]}})
        sent.append({"Authorization": f"Bearer {key}"})
    servers = {"good": hostile("good")}
    with Gateway(servers, tmp_path / "run", {"auth": {"keys": keys}}) as gateway:
        assert gateway.get("/mcp/sse").status == 401
        with connected(gateway, **sent[0]) as session:
            session.introduce()
            ping = Mcp.message("ping", None, 1)
            assert gateway.request("POST", session.url, ping).status == 401
            assert gateway.request("POST", session.url, ping, sent[1]).status == 404
            assert session.ask("ping")["result"] == {}
            gateway.gateway = {"auth": {"keys": keys[1:]}}
            gateway.reconfigure()
            assert not [data for _, data in session.stream if "result" in data]  # it ends, with its key
            assert session.post(ping).status == 401
    check_log(gateway)


def test_one_session_has_so_many_requests_under_way(gateway: Gateway, session: Sse) -> None:
    body = b"[%b]" % b",".join(
        Mcp.message("tools/call", {"name": "good__sleep", "arguments": {"ms": LONG_MS}}, 0).replace(
            b'"id":0', b'"id":%d' % number
        )
        for number in range(50)
    )
    statuses = [
        session.post(body.replace(b'"id":', b'"id":%d' % number)).status for number in (1, 2, 3, 4, 5, 6)
    ]
    assert statuses == [202] * 5 + [429]


# -- what else is knocked at ----------------------------------------------------------------------------


def test_other_methods_are_told_which_one_is_meant(gateway: Gateway) -> None:
    body = Mcp.message("initialize", {"protocolVersion": "2025-11-25"}, 1)
    for parent in ("/mcp", "/servers/good"):
        for method, name, allow in (
            ("POST", "sse", "GET"),
            ("DELETE", "sse", "GET"),
            ("GET", "message", "POST"),
        ):
            answer = gateway.request(method, f"{parent}/{name}", body if method == "POST" else None)
            assert (answer.status, answer.headers["allow"]) == (405, allow)
    for path in ("/servers/nobody/sse", "/servers/GOOD/sse"):
        answer = gateway.get(path)
        assert answer.status == 404
        check_rpc_error(answer.json(), -32600, "unknown")
    for path in ("/mcp/sse/", "/mcp/messages", "/servers/good/mcp/sse", "/servers//sse", "/sse"):
        check_problem(gateway.get(path), 404, "unknown")


def test_a_stop_lets_the_last_answer_out_and_ends_the_stream(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as gateway:
        gateway.wait_for_state("good", "ready")
        with connected(gateway) as session, connected(gateway) as idle:
            session.introduce()
            session.call("good__sleep", 1, ms=1_000)
            until(is_running(gateway), 5, "the call is at the server")
            gateway.stop()
            assert session.next()["result"]["content"][0]["text"] == "slept"
            assert list(session.stream) == []
            assert list(idle.stream) == []
    check_log(gateway)
    assert "timeout graceful shutdown exceeded" not in gateway.log.read_text()


# -- the official client --------------------------------------------------------------------------------


async def test_the_sdk_speaks_it(gateway: Gateway) -> None:
    heard: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    url = f"http://127.0.0.1:{gateway.port}/mcp/sse"
    async with (
        asyncio.timeout(WAIT_S),
        sse_client(url) as (read, write),
        ClientSession(read, write) as client,
    ):
        await client.initialize()
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"good__echo", "exact__nulls"} <= names
        results = await asyncio.gather(
            *(client.call_tool("good__echo", {"text": str(number)}) for number in range(20))
        )
        assert [text_of(result) for result in results] == [str(number) for number in range(20)]
        arguments = {"steps": 3, "ms": 5}
        done = await client.call_tool("good__progress", arguments, progress_callback=on_progress)
        assert text_of(done) == "3 steps"
    assert heard == [1, 2, 3]
