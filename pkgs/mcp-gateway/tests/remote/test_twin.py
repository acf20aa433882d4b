"""The remote hostile server against independent clients: what it promises is what the fault table relies on.

The official SDK's client judges everything that must be right; bytes on a socket show what is wrong where
a mode says so. No gateway takes part.
"""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS, classify_inbound_request, validate_mcp_param_headers
from mcp.shared.subscriptions import ToolsListChanged

from tests.harness import CERTIFICATES, HOSTILE_HTTP, Remote, remote, until

TIMEOUT_S = 10.0  # no wait of a test may hang the suite
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
CLIENTS = (
    ("handshake", "legacy"),
    ("handshake", "auto"),
    ("modern", "auto"),
    ("modern", MODERN),
    ("dual", "auto"),
    ("dual", "legacy"),
)


@asynccontextmanager
async def connected(server: Remote, mode: str = "auto", **more: Any) -> AsyncIterator[Client]:
    async with asyncio.timeout(TIMEOUT_S), Client(server.url, mode=mode, **more) as client:
        yield client


def text_of(result: Any) -> str:
    return str(result.content[0].text)


async def eventually(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(until, condition, TIMEOUT_S, what)


# -- what must be right, judged by the SDK's client -----------------------------------------------------


@pytest.mark.parametrize("answers", ["json", "sse", "mixed"])
@pytest.mark.parametrize(("era", "mode"), CLIENTS)
async def test_a_client_of_each_era_is_served_by_the_book(answers: str, era: str, mode: str) -> None:
    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    with remote("good", "--era", era, "--answers", answers) as server:
        async with connected(server, mode) as client:
            assert text_of(await client.call_tool("echo", {"text": "grüß dich, 世界"})) == "grüß dich, 世界"
            result = await client.call_tool("progress", {"steps": 3, "ms": 1}, progress_callback=heard)
            assert text_of(result) == "3 steps"
            assert (await client.call_tool("fail", {})).is_error
            with pytest.raises(MCPError) as refusal:
                await client.call_tool("refuse", {"code": -32050, "message": "not today"})
            assert refusal.value.error.code == -32050
            with pytest.raises(MCPError):
                await client.call_tool("no-such-tool", {})
            assert len(text_of(await client.call_tool("blob", {"bytes": 300_000}))) == 300_000
            assert {"echo", "act", "mirrored"} <= {tool.name for tool in (await client.list_tools()).tools}
        seen = server.stats()
    assert steps == ([] if answers == "json" else [1, 2, 3])
    is_handshake = "initialize" in seen["methods"]
    # The unknown tool of the modern era, or the modern question to a server of the other; nothing else.
    refused = {status: count for status, count in seen["statuses"].items() if status not in ("200", "202")}
    assert refused == ({} if mode == "legacy" else {"400": 1})
    assert is_handshake is (era == "handshake" or mode == "legacy")
    assert seen["sessionsOpened"] == seen["sessionsDeleted"] == is_handshake
    assert seen["sessions"] == seen["running"] == seen["withoutVersion"] == seen["otherVersion"] == 0
    assert ("GET" in seen["verbs"]) is is_handshake


@pytest.mark.parametrize("answers", ["json", "sse"])
async def test_a_server_without_sessions_and_get_is_one_too(answers: str) -> None:
    with remote("good", "--sessions", "0", "--get", "0", "--answers", answers) as server:
        async with connected(server, "legacy") as client:
            assert text_of(await client.call_tool("echo", {"text": "here"})) == "here"
        seen = server.stats()
    assert seen["sessionsOpened"] == 0
    assert "mcp-session-id" not in seen["headers"]["tools/call echo"]


async def test_lists_come_in_pages() -> None:
    with remote("good", "--tools", "7", "--page", "5") as server:
        async with connected(server, "legacy") as client:
            first = await client.list_tools()
            assert len(first.tools) == 5
            names = [tool.name for tool in first.tools]
            cursor = first.next_cursor
            while cursor:
                page = await client.list_tools(cursor=cursor)
                names += [tool.name for tool in page.tools]
                cursor = page.next_cursor
    assert len(names) == len(set(names)) == 13 + 7


@pytest.mark.parametrize("endpoint", ["relative", "absolute", "path"])
async def test_the_old_transport_is_served_by_the_book(endpoint: str) -> None:
    with remote("good", "--transport", "sse", "--endpoint", endpoint) as server:
        async with asyncio.timeout(TIMEOUT_S):
            async with Client(sse_client(server.url), mode="legacy") as client:
                assert text_of(await client.call_tool("echo", {"text": "old"})) == "old"
                assert text_of(await client.call_tool("progress", {"steps": 3, "ms": 1})) == "3 steps"
                many = [client.call_tool("echo", {"text": str(number)}) for number in range(10)]
                assert [text_of(one) for one in await asyncio.gather(*many)] == [str(n) for n in range(10)]
                assert len((await client.list_tools()).tools) == 13
        await eventually(lambda: server.stats()["sessions"] == 0, "the session ends with its stream")


@pytest.mark.parametrize("mode", ["endpoint-foreign", "endpoint-scheme", "endpoint-protocol-relative"])
async def test_an_old_server_names_an_address_that_a_careful_client_refuses(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def connect_in_vain(url: str) -> None:
        async with Client(sse_client(url), mode="legacy"):
            raise AssertionError("the address was accepted")

    with remote(mode, "--transport", "sse") as server:
        attempt = asyncio.create_task(connect_in_vain(server.url))
        # Having refused, this client says so in its log only, and waits for ever.
        await eventually(lambda: "does not match connection origin" in caplog.text, "the client refuses")
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert server.stats()["decoyConnections"] == 0


@pytest.mark.parametrize("mode", ["poll", "cut-and-resume"])
async def test_a_stream_that_closes_early_goes_on_over_get(mode: str) -> None:
    with remote(mode) as server:
        async with connected(server, "legacy") as client:
            calls = [client.call_tool("act", {}) for _ in range(3)]
            assert [text_of(result) for result in await asyncio.gather(*calls)] == ["right"] * 3
        streams = server.stats()["getStreams"]
    resumed = [last for last in streams if last is not None]
    assert len(set(resumed)) == len(resumed) == 3
    assert server.process is None


async def test_changes_of_the_list_arrive_on_the_get_stream() -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    with remote("new-tool") as server:
        async with connected(server, "legacy", message_handler=heard.put) as client:
            await eventually(lambda: server.stats()["openGetStreams"], "the stream is open")
            assert text_of(await client.call_tool("act", {})) == "right"
            assert (await heard.get()).method == "notifications/tools/list_changed"
            assert "dummy-00000" in {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("mode", ["get-ends", "get-cut"])
async def test_a_get_stream_ends_again_and_again(mode: str) -> None:
    with remote(mode) as server:
        async with connected(server, "legacy") as client:
            await eventually(lambda: len(server.stats()["getStreams"]) >= 2, "it is opened again")
            assert text_of(await client.call_tool("echo", {"text": "all the same"})) == "all the same"


async def test_changes_of_the_list_arrive_at_who_listens() -> None:
    with remote("new-tool", "--era", "modern") as server:
        async with connected(server) as client:
            async with client.listen(tools_list_changed=True) as subscription:
                assert server.stats()["listening"] == 1
                assert text_of(await client.call_tool("act", {})) == "right"
                assert await anext(aiter(subscription)) == ToolsListChanged()
            await eventually(lambda: server.stats()["listening"] == 0, "leaving ends the subscription")


@pytest.mark.parametrize(("era", "what"), [("modern", "hungUp"), ("handshake", "cancelled")])
async def test_hanging_up_cancels_in_the_modern_era_and_a_message_does_in_the_other(
    era: str, what: str
) -> None:
    with remote("good", "--era", era) as server:
        async with connected(server) as client:
            call = asyncio.create_task(client.call_tool("sleep", {"ms": 60_000}))
            await eventually(lambda: server.stats()["calls"].get("sleep"), "the call runs")
            call.cancel()
            await eventually(lambda: server.stats()[what] == 1, "it is cancelled")
            assert text_of(await client.call_tool("echo", {"text": "next"})) == "next"
        seen = server.stats()
    assert seen["hungUp"] + seen["cancelled"] == 1
    assert seen["running"] == 0


@pytest.mark.parametrize("mode", ["listen-ends", "listen-cut"])
async def test_a_subscription_ends_at_once(mode: str) -> None:
    with remote(mode, "--era", "modern") as server:
        async with connected(server) as client:
            for _ in range(2):
                async with client.listen(tools_list_changed=True) as subscription:
                    if mode == "listen-ends":
                        assert [event async for event in subscription] == []
                    else:
                        with pytest.raises(SubscriptionLost):
                            await anext(aiter(subscription))
        assert server.stats()["listening"] == 0


@pytest.mark.parametrize("answers", ["json", "mixed"])
async def test_arguments_are_mirrored_into_headers_and_a_new_schema_is_read(answers: str) -> None:
    arguments = {"region": "süd ", "limit": 7, "dry": True, "text": "x"}
    with remote("header-shift", "--era", "modern", "--answers", answers) as server:
        async with connected(server) as client:
            await client.list_tools()
            headers = json.loads(text_of(await client.call_tool("mirrored", arguments)))
            assert headers == {
                "mcp-param-region": "=?base64?c8O8ZCA=?=",
                "mcp-param-limit": "7",
                "mcp-param-dry-run": "true",
            }
            assert text_of(await client.call_tool("act", {})) == "right"
            # The header's name has changed: the call is refused, the list read again, the call repeated.
            headers = json.loads(text_of(await client.call_tool("mirrored", arguments)))
            assert headers.keys() == {"mcp-param-zone", "mcp-param-limit", "mcp-param-dry-run"}
        seen = server.stats()
    assert seen["statuses"]["400"] == 1
    assert seen["methods"]["tools/list"] == 2


async def test_only_the_tools_with_invalid_headers_are_dropped_by_a_client() -> None:
    with remote("header-invalid", "--era", "modern") as server:
        async with connected(server) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
    assert names == {"echo", "mirrored", "header-nested"}


@pytest.mark.parametrize("mode", ["ask", "ask-on-get"])
async def test_what_it_asks_is_answered_by_a_client(mode: str) -> None:
    with remote(mode) as server:
        async with connected(server, "legacy") as client:
            await eventually(lambda: server.stats()["openGetStreams"], "the stream is open")
            answers = json.loads(text_of(await client.call_tool("act", {})))
        seen = server.stats()
    assert answers.pop("ping") == {}
    assert len(answers) == 3
    assert all(isinstance(code, int) for code in answers.values())
    assert (seen["answers"], seen["strayAnswers"]) == (4, 0)


# What the client's own reader accepts of an event stream must be what the standard says it is.
RIGHT_ALL_THE_SAME = (
    *("sse-crlf", "sse-cr", "sse-lines", "sse-no-space", "sse-comments", "sse-fields", "sse-odd-id"),
    *("sse-charset", "sse-drip", "sse-bom", "json-charset", "informational", "gzip", "drip", "slow"),
    *("idle-close", "redirect-same", "log-flood", "sse-two-answers", "sse-mixed"),
)


@pytest.mark.parametrize("mode", RIGHT_ALL_THE_SAME)
async def test_a_careful_client_gets_the_right_answer(mode: str) -> None:
    with remote(mode, "--pace-ms", "1", "--delay-ms", "20", "--count", "100") as server:
        async with connected(server, "legacy") as client:
            for _ in range(2):
                assert text_of(await client.call_tool("act", {})) == "right"


@pytest.mark.parametrize("mode", ["unavailable", "busy", "status", "session-lost"])
async def test_a_fault_ends_after_so_many_times(mode: str) -> None:
    with remote(mode, "--on", "act", "--times", "1") as server:
        async with connected(server, "legacy") as client:
            with pytest.raises(MCPError):
                await client.call_tool("act", {})
            if mode != "session-lost":
                assert text_of(await client.call_tool("act", {})) == "right"
        assert server.stats()["hits"] == 1


# -- what must be refused, judged by the SDK's own rules for servers --------------------------------------


def modern(method: str, params: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    known = {META + "protocolVersion": MODERN, META + "clientCapabilities": {}} | meta
    params = (params or {}) | {"_meta": {name: value for name, value in known.items() if value is not None}}
    return {"jsonrpc": "2.0", "id": 5, "method": method, "params": params}


CALL = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
MIRRORED = modern("tools/call", {"name": "mirrored", "arguments": {"region": "eu", "limit": 42}})
ODD_NAME = modern("tools/call", {"name": "naïve", "arguments": {}})
RIGHT = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
MARKED = RIGHT | {"Mcp-Name": "mirrored", "Mcp-Param-Region": "eu", "Mcp-Param-Limit": "42"}
LADDER: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
    (CALL, RIGHT),
    (CALL, RIGHT | {"Mcp-Name": "=?base64?ZWNobw==?="}),
    (CALL, RIGHT | {"Mcp-Name": "=?base64?ZWNobw?="}),
    (CALL, RIGHT | {"Mcp-Name": "=?base64?ZWNobx==?="}),
    (CALL, RIGHT | {"Mcp-Name": "other"}),
    (CALL, RIGHT | {"Mcp-Method": "tools/list"}),
    (CALL, RIGHT | {"Mcp-Method": "Tools/Call"}),
    (CALL, RIGHT | {"MCP-Protocol-Version": "2027-01-01"}),
    (CALL, {name: value for name, value in RIGHT.items() if name != "Mcp-Name"}),
    (CALL, {name: value for name, value in RIGHT.items() if name != "Mcp-Method"}),
    (modern("tools/call", {"name": "echo"}, **{META + "protocolVersion": "2027-01-01"}), RIGHT),
    (
        modern("tools/call", {"name": "echo"}, **{META + "protocolVersion": "2027-01-01"}),
        RIGHT | {"MCP-Protocol-Version": "2027-01-01"},
    ),
    (modern("tools/call", {"name": "echo"}, **{META + "clientCapabilities": None}), RIGHT),
    (modern("tools/call", {"name": "echo"}, **{META + "protocolVersion": None}), RIGHT),
    (ODD_NAME, RIGHT | {"Mcp-Name": "=?base64?bmHDr3Zl?="}),
    (MIRRORED, MARKED),
    (MIRRORED, MARKED | {"Mcp-Param-Limit": "42.0"}),
    (MIRRORED, MARKED | {"Mcp-Param-Limit": "43"}),
    (MIRRORED, MARKED | {"Mcp-Param-Limit": "4.2e1"}),
    (MIRRORED, MARKED | {"Mcp-Param-Region": "=?base64?ZXU=?="}),
    (MIRRORED, MARKED | {"Mcp-Param-Region": "us"}),
    (MIRRORED, MARKED | {"Mcp-Param-Dry-Run": "true"}),
    (MIRRORED, {name: value for name, value in MARKED.items() if name != "Mcp-Param-Region"}),
)
MIRRORED_SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "region": {"type": "string", "x-mcp-header": "Region"},
        "limit": {"type": "integer", "x-mcp-header": "Limit"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
    },
}


def expected(body: dict[str, Any], headers: dict[str, str]) -> int | None:
    """The JSON-RPC error the SDK would refuse this request with, if any."""
    folded = {name.lower(): value for name, value in headers.items()}
    verdict = classify_inbound_request(body, headers=folded)
    if isinstance(code := getattr(verdict, "code", None), int):
        return code
    if body["params"]["name"] == "mirrored":
        rejection = validate_mcp_param_headers(MIRRORED_SCHEMA, body["params"]["arguments"], folded)
        return None if rejection is None else rejection.code
    return -32602 if body["params"]["name"] != "echo" else None


@pytest.fixture(scope="module")
def modern_server() -> Iterator[Remote]:
    with remote("good", "--era", "modern") as server:
        yield server


@pytest.mark.parametrize(("body", "headers"), LADDER)
def test_the_modern_era_refuses_what_the_sdk_refuses(
    modern_server: Remote, body: dict[str, Any], headers: dict[str, str]
) -> None:
    code = expected(body, headers)
    reply = post(modern_server, body, headers)
    assert reply.json().get("error", {}).get("code") == code
    assert reply.status == (200 if code is None else ERROR_CODE_HTTP_STATUS[code])
    assert reply.json()["id"] == 5


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("ping", 404, -32601),
        ("initialize", 404, -32601),
        ("logging/setLevel", 404, -32601),
        ("no/such", 404, -32601),
        ("server/discover", 200, None),
    ],
)
def test_the_modern_era_lacks_the_methods_of_the_other(
    modern_server: Remote, method: str, status: int, code: int | None
) -> None:
    reply = post(modern_server, modern(method), RIGHT | {"Mcp-Method": method})
    assert (reply.status, reply.json().get("error", {}).get("code")) == (status, code)


def test_the_modern_era_tells_an_old_client_what_it_speaks(modern_server: Remote) -> None:
    reply = post(modern_server, initialize())
    assert reply.status == 400
    assert reply.json()["error"]["code"] == mcp_types.UNSUPPORTED_PROTOCOL_VERSION
    assert reply.json()["error"]["data"] == {"supported": [MODERN], "requested": "2025-11-25"}
    for verb in ("GET", "DELETE"):
        assert send(modern_server, verb, headers={"Accept": "text/event-stream"}).status == 405
    double = post(modern_server, CALL, [*RIGHT.items(), ("Mcp-Name", "echo")])
    assert (double.status, double.json()["error"]["code"]) == (400, -32020)
    word = {"jsonrpc": "2.0", "method": "notifications/whatever"}
    assert post(modern_server, word, {"MCP-Protocol-Version": MODERN}).status == 202
    assert post(modern_server, word, {"MCP-Protocol-Version": "2027-01-01"}).status == 400
    assert post(modern_server, [CALL], RIGHT).status == 400


# -- bytes ------------------------------------------------------------------------------------------------


class Reply:
    """What came over a socket until it was closed."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        head, _, self.rest = data.partition(b"\r\n\r\n")
        self.first, *lines = head.decode("latin-1").split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (at.partition(":") for at in lines)}

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def is_whole(self) -> bool:
        """Whether the body is all that its head promised."""
        if self.headers.get("transfer-encoding") == "chunked":
            return self.rest.endswith(b"0\r\n\r\n")
        return len(self.rest) == int(self.headers["content-length"])

    @property
    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rest
        body, at = bytearray(), 0
        while (end := self.rest.find(b"\r\n", at)) > 0:
            size = int(self.rest[at:end], 16)
            body += self.rest[end + 2 : end + 2 + size]
            at = end + 4 + size
        return bytes(body)

    def json(self) -> Any:
        return json.loads(self.body)


Sent = dict[str, str] | list[tuple[str, str]]


def request_bytes(verb: str, body: bytes, headers: Sent, path: str = "/mcp") -> bytes:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    lines = [f"{verb} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(server: Remote) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)


def send(server: Remote, verb: str, body: bytes = b"", headers: Sent | None = None) -> Reply:
    """One request on a connection of its own, and all that comes back until it is closed."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    with connect(server) as line:
        line.sendall(request_bytes(verb, body, [*pairs, ("Connection", "close")]))
        chunks = list(iter(lambda: line.recv(1 << 20), b""))
    return Reply(b"".join(chunks))


BASIC = (("Accept", "application/json, text/event-stream"), ("Content-Type", "application/json"))


def post(server: Remote, message: Any, headers: Sent | None = None) -> Reply:
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    return send(server, "POST", json.dumps(message).encode(), [*BASIC, *pairs])


def initialize(revision: str = "2025-11-25") -> dict[str, Any]:
    params = {
        "protocolVersion": revision,
        "capabilities": {},
        "clientInfo": {"name": "bytes", "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


def act(mode: str | None = None) -> dict[str, Any]:
    arguments = {} if mode is None else {"mode": mode}
    params = {"name": "act", "arguments": arguments, "_meta": {"progressToken": 7}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def open_session(server: Remote, revision: str = "2025-11-25") -> dict[str, str]:
    """Opens a session; the headers of its requests."""
    reply = post(server, initialize(revision))
    assert reply.json()["result"]["protocolVersion"] == revision
    return {"Mcp-Session-Id": reply.headers["mcp-session-id"], "MCP-Protocol-Version": revision}


@pytest.fixture(scope="module")
def good() -> Iterator[Remote]:
    with remote("good") as server:
        yield server


def test_the_handshake_era_refuses_what_its_revisions_refuse(good: Remote) -> None:
    session = open_session(good)
    assert all(0x21 <= ord(character) <= 0x7E for character in session["Mcp-Session-Id"])
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    assert post(good, listing, session).status == 200
    assert post(good, listing).status == 400
    assert post(good, listing, session | {"Mcp-Session-Id": "other"}).status == 404
    assert post(good, listing, session | {"MCP-Protocol-Version": "1999-12-31"}).status == 400
    assert post(good, listing, {"Mcp-Session-Id": session["Mcp-Session-Id"]}).status == 200
    assert post(good, listing, session | {"Origin": "https://evil.example"}).status == 403
    assert post(good, listing, session | {"Origin": "http://localhost:8080"}).status == 200
    assert post(good, {"jsonrpc": "2.0", "method": "notifications/initialized"}, session).status == 202
    assert post(good, {"jsonrpc": "2.0", "id": 9, "result": {}}, session).status == 202
    assert good.stats()["strayAnswers"] == 1
    assert (
        post(good, {"jsonrpc": "2.0", "id": 3, "method": "no/such"}, session).json()["error"]["code"]
        == -32601
    )
    assert send(good, "POST", b"{", [*BASIC, *session.items()]).status == 400
    one_type = [("Accept", "application/json"), BASIC[1], *session.items()]
    assert send(good, "POST", json.dumps(listing).encode(), one_type).status == 406
    plain = [BASIC[0], ("Content-Type", "text/plain"), *session.items()]
    assert send(good, "POST", json.dumps(listing).encode(), plain).status == 415
    assert send(good, "PUT", b"", session).status == 405
    assert send(good, "GET", b"", session).status == 406
    unknown = {"Accept": "text/event-stream", "Last-Event-ID": "s99-1"}
    assert send(good, "GET", b"", session | unknown).status == 400
    assert send(good, "DELETE", b"", session).status == 200
    assert post(good, listing, session).status == 404


def test_a_call_goes_on_when_a_client_of_the_handshake_era_is_gone(good: Remote) -> None:
    session = open_session(good)
    message = {"name": "progress", "arguments": {"steps": 3, "ms": 20}, "_meta": {"progressToken": 7}}
    body = json.dumps({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": message}).encode()
    with connect(good) as line:
        line.sendall(request_bytes("POST", body, [*BASIC, *session.items()]))
        data = b""
        while b'"progress":1' not in data:
            data += line.recv(1 << 16)
    first_id = data.split(b"id: ")[1].split(b"\n")[0].decode()
    assert good.stats()["cancelled"] == 0
    resumed = session | {"Accept": "text/event-stream", "Last-Event-ID": first_id, "Connection": "close"}
    reply = send(good, "GET", b"", resumed)
    # All that came after the priming event, the answer last, and then the stream is over.
    events = [json.loads(line[6:]) for line in reply.body.decode().splitlines() if line.startswith("data: {")]
    assert [event.get("params", {}).get("progress") for event in events] == [1, 2, 3, None]
    assert events[-1]["id"] == 4
    assert reply.is_whole


def test_a_priming_event_is_for_clients_that_know_it(good: Remote) -> None:
    for revision, primed in (("2025-06-18", False), ("2025-11-25", True)):
        session = open_session(good, revision)
        body = post(good, act("sse-no-result"), session).body
        assert body.startswith(b"id: s1-1\nretry: 50\ndata: \n\n") is primed


SPOILT: dict[str, Callable[[Reply], object]] = {
    "hang-up": lambda reply: reply.data == b"",
    "html": lambda reply: reply.status == 200 and reply.headers["content-type"].startswith("text/html"),
    "empty": lambda reply: reply.status == 200 and reply.body == b"",
    "empty-json": lambda reply: reply.headers["content-type"] == "application/json" and reply.body == b"",
    "accepted": lambda reply: reply.status == 202,
    "no-content": lambda reply: reply.status == 204,
    "not-http": lambda reply: reply.data.startswith(b"SSH-2.0-"),
    "unauthorized": lambda reply: reply.status == 401 and "resource_metadata" in reply.data.decode(),
    "unauthorized-bare": lambda reply: reply.status == 401 and "www-authenticate" not in reply.headers,
    "unauthorized-hostile": lambda reply: reply.data.count(b"WWW-Authenticate") == 4,
    "forbidden": lambda reply: reply.status == 403 and "insufficient_scope" in reply.data.decode(),
    "redirect-302": lambda reply: reply.status == 302 and reply.headers["location"].endswith("/mcp"),
    "redirect-307": lambda reply: reply.status == 307,
    "redirect-308": lambda reply: reply.status == 308,
    "busy": lambda reply: (reply.status, reply.headers["retry-after"]) == (429, "1"),
    "unavailable": lambda reply: (reply.status, reply.headers["retry-after"]) == (503, "1"),
    "status": lambda reply: reply.status == 500,
    "wrong-type": lambda reply: reply.headers["content-type"] == "text/plain" and reply.json()["result"],
    "no-type": lambda reply: "content-type" not in reply.headers and reply.json()["result"],
    "short-body": lambda reply: not reply.is_whole,
    "long-body": lambda reply: reply.rest.count(b"jsonrpc") == 2 and not reply.is_whole,
    "cut-body": lambda reply: reply.rest.count(b"\r\n") == 2 and not reply.is_whole,
    "bad-chunk": lambda reply: reply.rest.startswith(b"zz\r\n"),
    "bad-chunk-later": lambda reply: reply.rest.startswith(b"1\r\n{\r\nzz\r\n"),
    "bad-json": lambda reply: reply.is_whole and reply.body.startswith(b'{"jsonrpc"'),
    "not-utf8": lambda reply: b"r\xffght" in reply.body,
    "odd-encoding": lambda reply: reply.headers["content-encoding"] == "br" and reply.json()["result"],
    "huge-headers": lambda reply: len(reply.headers) > 1000 and reply.json()["result"],
    "huge-header": lambda reply: len(reply.headers["x-padding"]) == 1 << 20,
    "sse-bad-json": lambda reply: reply.is_whole and b"data: {" in reply.body,
    "sse-no-blank": lambda reply: reply.is_whole and reply.body.endswith(b"}\n") and b"right" in reply.body,
    "sse-no-result": lambda reply: reply.is_whole and b"right" not in reply.body,
    "sse-two-answers": lambda reply: reply.body.count(b'"result"') == 2,
    "sse-garbage": lambda reply: b"data: [\n" in reply.body and b"right" in reply.body,
    "sse-other-event": lambda reply: b"event: ping\n" in reply.body and b"right" in reply.body,
    "sse-bom": lambda reply: reply.body.startswith(b"\xef\xbb\xbf"),
    "sse-odd-id": lambda reply: b"id: a\0b\n" in reply.body,
    "cut-event": lambda reply: not reply.is_whole and reply.rest.endswith(b'"right"}]\r\n'),
    "cut-after-progress": lambda reply: not reply.is_whole and b"notifications/progress" in reply.rest,
    "batch": lambda reply: isinstance(reply.json(), list),
    "string-id": lambda reply: reply.json()["id"] == "1",
    "unknown-id": lambda reply: reply.json()["id"] == 999_999_999,
    "neither": lambda reply: reply.json() == {"jsonrpc": "2.0", "id": 1},
    "both": lambda reply: {"result", "error"} <= reply.json().keys(),
    "nan": lambda reply: b"NaN" in reply.body,
}


@pytest.mark.parametrize("mode", SPOILT)
def test_a_mode_spoils_its_answer_in_the_way_it_says(good: Remote, mode: str) -> None:
    reply = post(good, act(mode), open_session(good))
    assert SPOILT[mode](reply), reply.data[:3000]
    assert post(good, act(), open_session(good)).json()["result"]["content"][0]["text"] == "right"


def test_a_reset_is_one(good: Remote) -> None:
    session = open_session(good)
    with pytest.raises(ConnectionResetError):
        post(good, act("reset"), session)


@pytest.mark.parametrize(("mode", "size"), [("huge-body", 50_000_000), ("sse-huge", 50_000_000)])
def test_a_huge_answer_is_a_right_one(good: Remote, mode: str, size: int) -> None:
    reply = post(good, act(mode), open_session(good))
    assert reply.is_whole
    assert reply.rest.count(b"b") >= size


def test_a_bomb_is_a_thousand_times_larger_than_it_looks(good: Remote) -> None:
    good.become("good", bytes=64 << 20)
    reply = post(good, act("gzip-bomb"), open_session(good))
    good.become("good", bytes=0)
    packed = reply.body
    assert len(packed) < 100_000
    result = json.loads(zlib.decompress(packed, wbits=31))
    assert len(result["result"]["content"][0]["text"]) == 64 << 20


def test_a_kept_connection_dies_when_it_is_used_again() -> None:
    with remote("stale-keepalive") as server, connect(server) as line:
        first = json.dumps(initialize()).encode()
        line.sendall(request_bytes("POST", first, list(BASIC)))
        data = b""
        while not data.partition(b"\r\n\r\n")[2].endswith(b"}}"):
            data += line.recv(1 << 16)
        assert Reply(data).status == 200
        assert Reply(data).is_whole
        assert "connection" not in Reply(data).headers
        line.sendall(request_bytes("POST", first, list(BASIC)))
        with pytest.raises(ConnectionResetError):
            line.recv(1 << 16)
        assert server.stats()["methods"]["initialize"] == 1


@pytest.mark.parametrize("mode", ["blackhole", "slow-headers", "stall", "heartbeats", "sse-endless", "never"])
def test_a_mode_that_never_ends_does_not(good: Remote, mode: str) -> None:
    session = open_session(good)
    with connect(good) as line:
        body = json.dumps(act(mode)).encode()
        line.sendall(request_bytes("POST", body, [*BASIC, *session.items()]))
        # Nothing announces that nothing more comes: it is enough that the answer has not come by now.
        line.settimeout(0.25)
        data = b""
        try:
            while data.count(b"still here") < 2 and len(data) < 3 << 20:
                data += line.recv(1 << 20)
        except TimeoutError:
            assert mode not in ("heartbeats", "sse-endless")
        assert b'"isError"' not in data
    assert post(good, act(), session).json()["result"]["content"][0]["text"] == "right"


def test_a_full_queue_accepts_nobody() -> None:
    with remote("no-accept") as server:
        with pytest.raises(TimeoutError), socket.create_connection(("127.0.0.1", server.port), timeout=0.3):
            raise AssertionError("it was accepted")
        assert server.stats()["connections"] == 0


def test_a_token_is_asked_for_and_taken() -> None:
    with remote("good", "--token", "s3cret") as server:
        assert post(server, initialize()).status == 401
        assert post(server, initialize(), {"Authorization": "Bearer wrong"}).status == 401
        assert post(server, initialize(), {"Authorization": "Bearer s3cret"}).status == 200
        assert server.stats()["refusedTokens"] == 2
        assert send(server, "GET").status == 401


def test_the_decoy_counts_who_should_not_have_come() -> None:
    with remote("redirect-307") as server:
        reply = post(server, initialize())
        target = f"http://127.0.0.1:{server.decoy}/mcp"
        assert reply.headers["location"] == target
        assert server.stats()["decoyConnections"] == 0
        with socket.create_connection(("127.0.0.1", server.decoy), timeout=TIMEOUT_S) as line:
            body = json.dumps(initialize()).encode()
            line.sendall(request_bytes("POST", body, [*BASIC, ("Authorization", "Bearer leaked")]))
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
        seen = server.stats()
        assert (seen["decoyConnections"], seen["decoyRequests"], seen["decoyCredentials"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("certificate", "complaint"),
    [("good", ""), ("expired", "certificate has expired"), ("elsewhere", "IP address mismatch")],
)
def test_a_certificate_is_what_it_is_called(certificate: str, complaint: str) -> None:
    trusting = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    with remote("good", "--tls", certificate) as server:
        assert server.url.startswith("https://")
        with connect(server) as plain:
            if complaint:
                with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
                    trusting.wrap_socket(plain, server_hostname="127.0.0.1")
                return
            with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as line:
                body = json.dumps(initialize()).encode() + b" " * 100_000  # more than one TLS record
                line.sendall(request_bytes("POST", body, [*BASIC, ("Connection", "close")]))
                reply = Reply(b"".join(iter(lambda: line.recv(1 << 16), b"")))
                assert reply.json()["result"]["serverInfo"]["name"] == "hostile"
        with (
            connect(server) as nobody,
            pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"),
        ):
            ssl.create_default_context().wrap_socket(nobody, server_hostname="127.0.0.1")


def test_retry_after_comes_in_every_form() -> None:
    with remote("unavailable", "--retry-after", "date:30") as server:
        assert post(server, initialize()).headers["retry-after"].endswith(" GMT")
        for value in ("120", "soon", "-1"):
            server.become("busy", retry_after=value)
            reply = post(server, initialize())
            assert (reply.status, reply.headers["retry-after"]) == (429, value)
        server.become("unavailable", retry_after="none")
        assert "retry-after" not in post(server, initialize()).headers


@pytest.mark.parametrize(
    ("mode", "session"),
    [
        ("session-not-ascii", "sitzung-äÿ"),
        ("session-with-spaces", "a session \t id"),
        ("session-empty", ""),
        ("session-huge", "s" * 100_000),
    ],
)
def test_a_session_id_is_odd(mode: str, session: str) -> None:
    with remote(mode) as server:
        assert post(server, initialize()).headers["mcp-session-id"] == session


def test_all_sessions_are_lost_in_the_middle_of_calls() -> None:
    with remote("sessions-lost") as server:
        session = open_session(server)
        params = {"name": "sleep", "arguments": {"ms": 60_000}}
        body = json.dumps({"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": params}).encode()
        with connect(server) as line:
            line.sendall(request_bytes("POST", body, [*BASIC, *session.items()]))
            until(lambda: server.stats()["calls"].get("sleep"), TIMEOUT_S, "a call runs")
            assert post(server, act(), session).status == 404
            assert line.recv(1 << 16) == b""
        assert post(server, act(), session).status == 404
        assert server.stats()["sessions"] == 0


@pytest.mark.parametrize("status", [405, 404, 400])
def test_an_old_server_refuses_what_it_does_not_know(status: int) -> None:
    old = remote("good", "--transport", "sse", "--sse-post", str(status))
    with old as server, connect(server) as line:
        line.sendall(request_bytes("POST", json.dumps(initialize()).encode(), list(BASIC), "/sse"))
        assert line.recv(1 << 16).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_server_turns_bad_and_recovers_and_comes_back_on_its_port() -> None:
    with remote("good") as server:
        session = open_session(server)
        server.become("html", on="act")
        assert post(server, act(), session).body.startswith(b"<!doctype html>")
        server.become("good")
        assert post(server, act(), session).json()["result"]["isError"] is False
        port = server.port
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        server.start()
        assert server.port == port
        assert post(server, act(), session).status == 404


# -- the program ------------------------------------------------------------------------------------------


def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-I", "-S", str(HOSTILE_HTTP), *arguments]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)


def test_every_mode_is_listed_with_its_fault() -> None:
    lines = run("--modes").stdout.decode().splitlines()
    modes = [line.split()[0] for line in lines]
    assert len(modes) == len(set(modes)) > 120
    assert SPOILT.keys() | set(RIGHT_ALL_THE_SAME) <= set(modes)


def test_an_unknown_mode_is_a_complaint() -> None:
    ended = run("no-such-mode")
    assert ended.returncode == 64
    assert ended.stderr.startswith(b"hostile_http: ")


def test_a_server_ends_by_itself(tmp_path: Any) -> None:
    ended = run("good", "--life-s", "1", "--port-file", str(tmp_path / "ports"))
    assert ended.returncode == -14
    assert len((tmp_path / "ports").read_text().split()) == 3
