"""MCP of 2026-07-28 in bytes: what each request must say, what it is answered, and how it ends.

One gateway for all, with servers of both eras. What a rule is in detail is in `wire/test_inbound.py`; the
official client is in `test_mcp_clients.py`, the bytes of results are in `golden/`.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mcp_types.methods import validate_server_result

from tests.faces.knocking import (
    BOTH_KINDS,
    Line,
    Mcp,
    Modern,
    check_log,
    check_rpc_error,
    exact,
    frames,
    header_value,
    json_bytes,
    shelf,
)
from tests.harness import Answer, Gateway, hostile, remote, until

LONG_MS = 60_000
WAIT_S = 20
PREFIX = Modern.PREFIX
MIRRORED = {
    "type": "object",
    "properties": {
        "uri": {"type": "string", "x-mcp-header": "Where"},
        "n": {"type": "integer", "x-mcp-header": "N"},
    },
}
BADLY_MIRRORED = {"type": "object", "properties": {"uri": {"x-mcp-header": "No Header", "type": "string"}}}
SHELF: dict[str, Any] = {
    "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
    "tools": [
        {"name": "mirrored", "inputSchema": MIRRORED},
        {"name": "badly", "inputSchema": BADLY_MIRRORED},
    ],
    "resources": [{"uri": "own://a", "name": "a"}, {"uri": "own://\u00fc b", "name": "b"}],
    "templates": [{"uriTemplate": "own://t/{name}", "name": "t"}],
    "prompts": [{"name": "review"}],
}
MODERN_SHELF = {
    **SHELF,
    "era": "modern",
    "resources": [{"uri": "new://a", "name": "a"}],
    "templates": [{"uriTemplate": "new://t/{name}", "name": "t"}],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelves")


@pytest.fixture(scope="module")
def gateway(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with remote("good", "--era", "modern") as far:
        servers = {
            "good": hostile("good"),
            "modern": hostile("good", "--era", "modern"),
            "exact": exact(),
            "new": exact("modern"),
            "shelf": shelf(directory, "shelf", SHELF),
            "newer": shelf(directory, "newer", MODERN_SHELF),
            "far": far.entry,
        }
        with Gateway(servers, tmp_path_factory.mktemp("modern")) as gateway:
            for server in servers:
                gateway.wait_for_state(server, "ready")
            yield gateway
            check_log(gateway)


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Modern:
    return Modern(gateway)


def of(client: Modern, server: str) -> Modern:
    return Modern(client.gateway, f"/servers/{server}/mcp")


def newest(gateway: Gateway, query: str) -> dict[str, Any]:
    row: dict[str, Any] = gateway.get(f"/api/calls?limit=1&{query}").json()["calls"][0]
    return row


def error_of(answer: Answer, status: int, code: int) -> dict[str, Any]:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json", answer
    document = answer.json()
    assert document.keys() == {"jsonrpc", "id", "error"}, document
    assert document["error"]["code"] == code, document
    error: dict[str, Any] = document["error"]
    return error


# -- introductions and lists ----------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/exact/mcp"])
def test_discover_says_what_is_spoken_and_offered(gateway: Gateway, endpoint: str) -> None:
    client = Modern(gateway, endpoint)
    said = client.ask("server/discover")
    validate_server_result("server/discover", "2026-07-28", said)
    assert said["supportedVersions"][0] == "2026-07-28"
    assert "2025-11-25" in said["supportedVersions"]
    assert said.keys() >= {"capabilities", "instructions"}
    assert (said["resultType"], said["ttlMs"], said["cacheScope"]) == ("complete", 0, "private")
    assert said["_meta"][f"{PREFIX}serverInfo"].keys() >= {"name", "version"}
    assert said["instructions"] == Mcp(gateway, endpoint).introduction["instructions"]
    assert said["capabilities"].keys() == Mcp(gateway, endpoint).introduction["capabilities"].keys()


@pytest.mark.parametrize(
    "method", ["tools/list", "resources/list", "resources/templates/list", "prompts/list"]
)
@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/shelf/mcp", "/servers/newer/mcp"])
def test_lists_are_those_of_every_era_and_always_the_same(
    gateway: Gateway, endpoint: str, method: str
) -> None:
    client = Modern(gateway, endpoint)
    said = client.ask(method)
    validate_server_result(method, "2026-07-28", said)
    known = Mcp(gateway, endpoint).ask(method)["result"]
    own = {name: said.pop(name) for name in ("resultType", "ttlMs", "cacheScope", "_meta")}
    assert said == known
    assert (own["resultType"], own["ttlMs"], own["cacheScope"]) == ("complete", 0, "private")
    assert client.post(method).body == client.post(method).body


def test_an_empty_list_is_a_whole_result(client: Modern) -> None:
    said = of(client, "good").ask("prompts/list")
    assert said["prompts"] == []
    assert said["resultType"] == "complete"


# -- what a request must say ----------------------------------------------------------------------------


class Row(NamedTuple):
    """A request that is as it should be but for one thing, and what it is told.

    `body` replaces the whole body; of `meta` and `headers`, None takes one away.
    """

    status: int
    code: int
    id: Any = 7
    method: str = "tools/call"
    params: Mapping[str, Any] = {"name": "good__echo", "arguments": {"text": "x"}}
    meta: Mapping[str, Any] = {}
    headers: Mapping[str, str | None] = {}
    body: bytes | None = None


REVISION, METHOD, NAME = "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"
OTHER: dict[str, Any] = {
    "headers": {REVISION: "2099-01-01"},
    "meta": {f"{PREFIX}protocolVersion": "2099-01-01"},
}
READ: dict[str, Any] = {"method": "resources/read", "params": {"uri": "own://a"}}
PROMPT: dict[str, Any] = {"method": "prompts/get", "params": {"name": "shelf__review"}}
NOTE = b'{"jsonrpc":"2.0","method":"notifications/%b"}'

BAD: dict[str, Row] = {
    # 1. one object, and one that asks something
    "no JSON": Row(400, -32700, None, body=b"{"),
    "an empty body": Row(400, -32700, None, body=b""),
    "NaN": Row(400, -32700, None, body=b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"x":NaN}}'),
    "a member twice": Row(400, -32700, None, body=b'{"jsonrpc":"2.0","id":7,"id":7,"method":"tools/list"}'),
    "a batch": Row(400, -32600, None, body=b'[{"jsonrpc":"2.0","id":7,"method":"tools/list"}]'),
    "an empty batch": Row(400, -32600, None, body=b"[]"),
    "a number": Row(400, -32600, None, body=b"7"),
    "a response": Row(400, -32600, None, body=b'{"jsonrpc":"2.0","id":7,"result":{}}'),
    "an error response": Row(
        400, -32600, None, body=b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}'
    ),
    "no method": Row(400, -32600, None, body=b'{"jsonrpc":"2.0","id":7}'),
    "an id that is null": Row(400, -32600, None, body=b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}'),
    "params in order": Row(
        400, -32600, None, body=b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":[]}'
    ),
    "a case variant": Row(400, -32600, None, body=b'{"jsonrpc":"2.0","id":7,"Id":8,"method":"tools/list"}'),
    # 3. `_meta`
    "no params": Row(400, -32602, body=b'{"jsonrpc":"2.0","id":7,"method":"tools/call"}'),
    "no _meta": Row(400, -32602, body=b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}'),
    "_meta null": Row(400, -32602, body=b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"_meta":null}}'),
    "_meta a list": Row(400, -32602, body=b'{"jsonrpc":"2.0","id":7,"method":"x","params":{"_meta":[]}}'),
    "no revision in _meta": Row(400, -32602, meta={f"{PREFIX}protocolVersion": None}),
    "no capabilities in _meta": Row(400, -32602, meta={f"{PREFIX}clientCapabilities": None}),
    # 4. headers say the same
    "no revision in the headers": Row(400, -32020, headers={REVISION: None}),
    "another revision in the headers": Row(400, -32020, headers={REVISION: "2099-01-01"}),
    "a handshake revision in the headers": Row(400, -32020, headers={REVISION: "2025-11-25"}),
    "another revision in _meta": Row(400, -32020, meta={f"{PREFIX}protocolVersion": "2099-01-01"}),
    "a revision that is a number": Row(400, -32020, meta={f"{PREFIX}protocolVersion": 2026}),
    "no method in the headers": Row(400, -32020, headers={METHOD: None}),
    "another method in the headers": Row(400, -32020, headers={METHOD: "tools/list"}),
    "a method in other letters": Row(400, -32020, headers={METHOD: "Tools/Call"}),
    "a method in base64": Row(400, -32020, headers={METHOD: "=?base64?dG9vbHMvY2FsbA==?="}),
    "no name in the headers": Row(400, -32020, headers={NAME: None}),
    "another name in the headers": Row(400, -32020, headers={NAME: "good__sleep"}),
    "the native name in the headers": Row(400, -32020, headers={NAME: "echo"}),
    "a name in other letters": Row(400, -32020, headers={NAME: "good__Echo"}),
    "a name in base64 without its end": Row(400, -32020, headers={NAME: "=?base64?Z29vZF9fZWNobw?="}),
    "a name in base64 spelt otherwise": Row(400, -32020, headers={NAME: "=?base64?Z29vZF9fZWNobx==?="}),
    "a name in base64 that is none": Row(400, -32020, headers={NAME: "=?base64?good__echo?="}),
    "a name that is a number": Row(400, -32020, params={"name": 7}, headers={NAME: "7"}),
    "another URI in the headers": Row(400, -32020, headers={NAME: "own://b"}, **READ),
    "no URI in the headers": Row(400, -32020, headers={NAME: None}, **READ),
    "another prompt in the headers": Row(400, -32020, headers={NAME: "shelf__other"}, **PROMPT),
    # 5. a revision that is spoken
    "another revision": Row(400, -32022, **OTHER),
    "another revision and no such method": Row(400, -32022, method="no/such", **OTHER),
    # 6. methods that are not of this revision
    "initialize": Row(404, -32601, method="initialize", params={"protocolVersion": "2025-11-25"}),
    "ping": Row(404, -32601, method="ping", params={}),
    "logging/setLevel": Row(404, -32601, method="logging/setLevel", params={"level": "debug"}),
    "resources/subscribe": Row(404, -32601, method="resources/subscribe", params={"uri": "own://a"}),
    "resources/unsubscribe": Row(404, -32601, method="resources/unsubscribe", params={"uri": "own://a"}),
    "no such method": Row(404, -32601, method="no/such", params={}),
    "a method with no name": Row(404, -32601, method="", params={}),
    "an id that is text": Row(404, -32601, "a\u00e9", method="ping", params={}),
    # what the method itself wants
    "no such tool": Row(400, -32602, params={"name": "good__nothing"}),
    "a call without a name": Row(400, -32602, params={}),
    "arguments that are none": Row(400, -32602, params={"name": "good__echo", "arguments": []}),
    "no such prompt": Row(400, -32602, method="prompts/get", params={"name": "shelf__nothing"}),
    "a cursor that is none": Row(400, -32602, method="tools/list", params={"cursor": "no such"}),
}


def without(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


@pytest.mark.parametrize("row", BAD.values(), ids=BAD)
def test_what_is_not_right_is_refused_in_the_words_of_the_revision(client: Modern, row: Row) -> None:
    body = row.body
    if body is None:
        params = {**row.params, "_meta": without({**client.meta(), **row.meta})}
        body = Mcp.message(row.method, params, row.id)
    known = client.headers(
        row.method, {key: value for key, value in row.params.items() if isinstance(value, str)}
    )
    answer = client.send(body, without({**known, **row.headers}))
    error_of(answer, row.status, row.code)
    assert answer.json()["id"] == row.id
    check_rpc_error(
        answer.json(), row.code, "unknown" if row.code == -32601 else answer.json()["error"]["data"]["code"]
    )
    if row.code == -32022:
        data = answer.json()["error"]["data"]
        assert data["requested"] == "2099-01-01"
        assert data["supported"] == client.ask("server/discover")["supportedVersions"]


@pytest.mark.parametrize("name", [REVISION, METHOD, NAME])
@pytest.mark.parametrize("same", [True, False], ids=["the same", "another"])
def test_a_header_that_comes_twice_says_nothing(
    gateway: Gateway, client: Modern, name: str, same: bool
) -> None:
    params = {"name": "good__echo"}
    body = client.message("tools/call", params, 7)
    lines = [f"{key}: {value}".encode() for key, value in client.headers("tools/call", params).items()]
    value = client.headers("tools/call", params)[name] if same else "2025-11-25"
    with Line(gateway.port) as line:
        line.send(
            b"POST /mcp HTTP/1.1",
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            *lines,
            f"{name.lower()}: {value}".encode(),
            body=body,
        )
        answer = line.read()
    error = error_of(answer, 400, -32020)
    assert "more than once" in error["message"]
    assert answer.json()["id"] == 7


def test_blanks_around_a_header_are_no_part_of_it(gateway: Gateway, client: Modern) -> None:
    params = {"name": "good__echo", "arguments": {"text": "x"}}
    body = client.message("tools/call", params, 7)
    with Line(gateway.port) as line:
        line.send(
            b"POST /mcp HTTP/1.1",
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            *(
                f"{name}: \t{value} \t".encode()
                for name, value in client.headers("tools/call", params).items()
            ),
            body=body,
        )
        assert line.read().json()["result"]["content"][0]["text"] == "x"


def test_who_says_nothing_of_itself_is_served(client: Modern) -> None:
    assert f"{PREFIX}clientInfo" not in client.meta()
    assert client.call("good__echo", {"text": "x"})["content"][0]["text"] == "x"


@pytest.mark.parametrize("revision", ["2026-07-28", "2099-01-01"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_there_is_nothing_to_get_and_nothing_to_end(gateway: Gateway, method: str, revision: str) -> None:
    for endpoint in ("/mcp", "/servers/good/mcp"):
        answer = gateway.request(method, endpoint, None, {"Accept": BOTH_KINDS, REVISION: revision})
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_notification_is_taken_and_means_nothing(client: Modern) -> None:
    for name in (b"cancelled", b"initialized", b"no/such"):
        answer = client.send(NOTE % name, {"Accept": BOTH_KINDS, REVISION: "2026-07-28"})
        assert (answer.status, answer.body) == (202, b"")
    error = error_of(client.send(NOTE % b"x", {"Accept": BOTH_KINDS, REVISION: "2099-01-01"}), 400, -32022)
    assert error["data"]["requested"] == "2099-01-01"


@pytest.mark.parametrize("session", ["", "x", "0" * 32])
def test_a_session_id_means_nothing(client: Modern, session: str) -> None:
    headers = client.headers("tools/list") | {"Mcp-Session-Id": session}
    assert client.send(client.message("tools/list"), headers).status == 200


def test_the_body_tells_the_era_where_the_headers_do_not(gateway: Gateway, client: Modern) -> None:
    plain = {"Accept": BOTH_KINDS}
    error_of(client.send(Mcp.message("server/discover", None, 1), plain), 400, -32602)
    error_of(client.send(client.message("server/discover"), plain), 400, -32020)
    error_of(client.send(client.message("tools/list"), {**plain, REVISION: "2025-11-25"}), 400, -32020)
    # A client of the handshake era may say what it likes in `_meta`.
    session = Mcp(gateway)
    assert "tools" in session.ask("tools/list", {"_meta": client.meta()})["result"]
    error_of(client.send(Mcp.message("tools/list", None, 1), plain), 400, -32600)


@pytest.mark.parametrize(("accept", "status"), [("text/html", 406), ("application/json", 200), ("*/*", 200)])
def test_an_answer_that_the_client_does_not_take_is_refused(client: Modern, accept: str, status: int) -> None:
    headers = client.headers("tools/list") | {"Accept": accept}
    assert client.send(client.message("tools/list"), headers).status == status


def test_a_server_that_is_not_there_is_unknown(gateway: Gateway) -> None:
    assert Modern(gateway, "/servers/nobody/mcp").post("tools/list").status == 404


# -- arguments that headers repeat ----------------------------------------------------------------------

ARGUMENTS = {"uri": "own://\u00e9", "n": 42}
RIGHT = {"Mcp-Param-Where": header_value("own://\u00e9"), "Mcp-Param-N": "42"}


def call_mirrored(client: Modern, endpoint: str, arguments: Any, headers: Mapping[str, Any]) -> Answer:
    there = Modern(client.gateway, endpoint)
    params = {"name": "shelf__mirrored" if endpoint == "/mcp" else "mirrored", "arguments": arguments}
    known = there.headers("tools/call", params)
    return there.send(there.message("tools/call", params), without({**known, **headers}))


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/shelf/mcp"])
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        (ARGUMENTS, RIGHT),
        (ARGUMENTS, {**RIGHT, "Mcp-Param-N": "42.0"}),
        ({**ARGUMENTS, "n": 42.0}, RIGHT),
        ({**ARGUMENTS, "n": 2**63 + 1}, {**RIGHT, "Mcp-Param-N": str(2**63 + 1)}),
        ({**ARGUMENTS, "n": None}, {**RIGHT, "Mcp-Param-N": None}),
        ({"uri": "own://a"}, {"Mcp-Param-Where": "own://a"}),
        ({"uri": "own://a"}, {"Mcp-Param-Where": "own://a", "Mcp-Param-Other": "x"}),
    ],
)
def test_headers_that_repeat_the_arguments_let_a_call_pass(
    client: Modern, endpoint: str, arguments: dict[str, Any], headers: Mapping[str, Any]
) -> None:
    answer = call_mirrored(client, endpoint, arguments, headers)
    assert answer.status == 200, answer
    assert answer.json()["result"]["structuredContent"] == arguments


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/shelf/mcp"])
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        (ARGUMENTS, {}),
        (ARGUMENTS, {**RIGHT, "Mcp-Param-N": None}),
        (ARGUMENTS, {**RIGHT, "Mcp-Param-N": "43"}),
        (ARGUMENTS, {**RIGHT, "Mcp-Param-N": "4.2e1"}),
        (ARGUMENTS, {**RIGHT, "Mcp-Param-Where": "own://a"}),
        (ARGUMENTS, {**RIGHT, "Mcp-Param-Where": "=?base64?bad?="}),
        ({"uri": "own://\u00e9"}, RIGHT),
        ({**ARGUMENTS, "n": None}, RIGHT),
        ({}, {"Mcp-Param-Where": ""}),
    ],
)
def test_headers_that_say_something_else_than_the_arguments_refuse_a_call(
    gateway: Gateway, client: Modern, endpoint: str, arguments: Any, headers: Mapping[str, Any]
) -> None:
    answer = call_mirrored(client, endpoint, arguments, headers)
    error = error_of(answer, 400, -32020)
    row = newest(gateway, "face=mcp")
    assert (row["id"], row["outcome"], row["method"]) == (error["data"]["callId"], "invalid", "tools/call")


def test_a_repeated_argument_that_comes_twice_refuses_a_call(gateway: Gateway, client: Modern) -> None:
    params = {"name": "shelf__mirrored", "arguments": {"uri": "a"}}
    body = client.message("tools/call", params, 7)
    known = client.headers("tools/call", params)
    with Line(gateway.port) as line:
        line.send(
            b"POST /mcp HTTP/1.1",
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            *(f"{name}: {value}".encode() for name, value in known.items()),
            b"Mcp-Param-Where: a",
            b"mcp-param-where: a",
            body=body,
        )
        error_of(line.read(), 400, -32020)


def test_a_tool_that_asks_for_headers_in_a_wrong_way_gets_none(client: Modern) -> None:
    assert client.call("shelf__badly", {"uri": "x"})["structuredContent"] == {"uri": "x"}


def test_a_remote_server_of_the_same_era_gets_its_headers(client: Modern) -> None:
    arguments = {"region": "eu", "limit": 3, "dry": True, "text": "x"}
    right = {"Mcp-Param-Region": "eu", "Mcp-Param-Limit": "3.0", "Mcp-Param-Dry-Run": "true"}
    params = {"name": "far__mirrored", "arguments": arguments}
    headers = client.headers("tools/call", params)
    answer = client.send(client.message("tools/call", params), headers | right)
    assert answer.status == 200, answer
    assert "isError" not in answer.json()["result"] or not answer.json()["result"]["isError"], answer
    error_of(client.send(client.message("tools/call", params), headers), 400, -32020)


# -- answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["good", "modern", "far"])
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32601, 404),
        (-32602, 400),
        (-32600, 400),
        (-32700, 400),
        (-32603, 200),
        (-32000, 200),
        (-32042, 200),
        (7, 200),
        (-32021, 400),
    ],
)
def test_an_error_of_the_server_has_the_status_of_its_code(
    client: Modern, server: str, code: int, status: int
) -> None:
    params = {"name": f"{server}__refuse", "arguments": {"code": code, "message": "no"}}
    error = error_of(client.post("tools/call", params), status, code)
    assert error == {"code": code, "message": "no", "data": {"hint": "hostile"}}


def test_a_server_that_is_lost_is_not_the_fault_of_the_client(gateway: Gateway, client: Modern) -> None:
    error = error_of(client.post("tools/call", {"name": "good__die"}), 200, -32000)
    assert error["data"]["code"] == "lost"
    gateway.wait_for_state("good", "ready")


MISSING = ("own://nowhere/at/all", "nobody://x", "mcp-gateway://artifacts/none", "a\u00fc b")


@pytest.mark.parametrize("uri", MISSING)
def test_a_resource_that_nobody_has_is_told_with_its_address(client: Modern, uri: str) -> None:
    answer = client.post("resources/read", {"uri": uri})
    error = error_of(answer, 400, -32602)
    assert error["data"]["uri"] == uri
    assert error["data"]["code"] == "unknown"


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/shelf/mcp", "/servers/newer/mcp"])
def test_a_resource_that_its_server_misses_is_told_likewise(gateway: Gateway, endpoint: str) -> None:
    uri = "new://t/missing" if "newer" in endpoint else "own://t/missing"
    there = Modern(gateway, endpoint)
    error = error_of(there.post("resources/read", {"uri": uri}), 400, -32602)
    assert error == {"code": -32602, "message": "Resource not found", "data": {"uri": uri}}


@pytest.mark.parametrize(("server", "uri"), [("shelf", "own://a"), ("newer", "new://a")])
def test_what_was_read_says_that_nobody_is_to_keep_it(client: Modern, server: str, uri: str) -> None:
    for there in (client, of(client, server)):
        said = there.ask("resources/read", {"uri": uri})
        validate_server_result("resources/read", "2026-07-28", said)
        assert said["contents"][0]["text"] == f"{server} read {uri}"
        assert (said["resultType"], said["ttlMs"], said["cacheScope"]) == ("complete", 0, "private")


def test_prompts_and_completions_are_complete_results(client: Modern) -> None:
    for server in ("shelf", "newer"):
        got = client.ask("prompts/get", {"name": f"{server}__review", "arguments": {}})
        assert (got["resultType"], got["description"]) == ("complete", "asked")
        assert "ttlMs" not in got
        ref = {"type": "ref/prompt", "name": f"{server}__review"}
        filled = client.ask("completion/complete", {"ref": ref, "argument": {"name": "x", "value": "y"}})
        assert json.loads(filled["completion"]["values"][0])["ref"]["name"] == "review"
        assert filled["resultType"] == "complete"


def test_a_large_result_is_read_as_an_artifact(client: Modern) -> None:
    called = client.post("tools/call", {"name": "good__blob", "arguments": {"bytes": 11 * 1024 * 1024}})
    result = called.json()["result"]
    assert result["resultType"] == "complete"
    (uri,) = [block["uri"] for block in result["content"] if block["type"] == "resource_link"]
    said = client.ask("resources/read", {"uri": f"{uri}?length=100"})
    assert (said["resultType"], said["ttlMs"], said["cacheScope"]) == ("complete", 0, "private")
    assert len(said["contents"][0]["text"]) == 100


def test_requests_with_one_id_run_side_by_side_and_never_cross(client: Modern) -> None:
    def one(number: int) -> str:
        text = f"text-{number}"
        name = "good__echo" if number % 2 else "modern__echo"
        said: str = client.call(name, {"text": text}, 1)["content"][0]["text"]
        assert said == text
        return said

    with ThreadPoolExecutor(16) as pool:
        slow = [pool.submit(client.call, "good__sleep", {"ms": 300}, 1) for _ in range(4)]
        assert len(set(pool.map(one, range(200)))) == 200
        assert [done.result()["content"][0]["text"] for done in slow] == ["slept"] * 4


# -- what is said before the answer ---------------------------------------------------------------------


def stream_of(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer
    assert answer.headers["content-type"].startswith("text/event-stream"), answer
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert not [line for line in answer.body.splitlines() if line.startswith((b"id:", b"retry:"))], answer
    return [json.loads(data) for _, data in frames(answer.body)]


@pytest.mark.parametrize("token", ["mine", 7])
def test_progress_is_told_under_the_clients_own_token(client: Modern, token: Any) -> None:
    params = {"name": "modern__progress", "arguments": {"steps": 2, "ms": 5}}
    *told, answer = stream_of(client.post("tools/call", params, "x", progressToken=token))
    assert [(one["method"], one["params"]["progressToken"], one["params"]["progress"]) for one in told] == [
        ("notifications/progress", token, 1),
        ("notifications/progress", token, 2),
    ]
    assert (answer["id"], answer["result"]["resultType"]) == ("x", "complete")


def test_who_takes_no_stream_gets_the_answer_alone(client: Modern) -> None:
    params = {"name": "good__progress", "arguments": {"steps": 2, "ms": 5}}
    headers = client.headers("tools/call", params) | {"Accept": "application/json"}
    answer = client.send(client.message("tools/call", params, progressToken=1), headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["content"][0]["text"] == "2 steps"


@pytest.mark.parametrize("server", ["exact", "new"])
@pytest.mark.parametrize(
    ("level", "is_told"),
    [
        (None, False),
        ("debug", True),
        ("info", True),
        ("notice", False),
        ("emergency", False),
        ("loud", False),
    ],
)
def test_log_messages_are_told_as_loud_as_was_asked_for(
    client: Modern, server: str, level: str | None, is_told: bool
) -> None:
    asked = {} if level is None else {"logLevel": level}
    answer = of(client, server).post("tools/call", {"name": "speak", "arguments": {"case": "nulls"}}, **asked)
    said = stream_of(answer) if is_told else [answer.json()]
    assert [one.get("method") for one in said] == ["notifications/message", None][not is_told :]
    if is_told:
        assert said[0]["params"]["level"] == "info"


def test_an_error_after_something_was_said_is_the_last_event(gateway: Gateway, client: Modern) -> None:
    params = {"name": "modern__progress", "arguments": {"steps": 1000, "ms": 50}}
    body, headers = (
        client.message("tools/call", params, 9, progressToken="t"),
        client.headers("tools/call", params),
    )
    with gateway.open("POST", "/mcp", body, headers) as response:
        assert response.status == 200
        assert b"event: message" in response.readline()
        error_of(client.post("tools/call", {"name": "modern__die"}), 200, -32000)
        *_, (_, last) = frames(b"event: message\n" + response.read())
    check_rpc_error(json.loads(last), -32000, "lost")
    assert json.loads(last)["id"] == 9
    gateway.wait_for_state("modern", "ready")


# -- who needs something of the user --------------------------------------------------------------------


def test_a_question_in_a_result_passes_and_so_does_its_answer(gateway: Gateway, client: Modern) -> None:
    for there, name in ((client, "new__ask-back"), (of(client, "new"), "ask-back")):
        asked = there.call(name)
        assert (asked["resultType"], asked["requestState"]) == ("input_required", "state")
        assert asked["inputRequests"]["name"]["method"] == "elicitation/create"
        assert newest(gateway, "server=new")["outcome"] == "input_required"
        answers = {"name": {"action": "accept", "content": {"name": "x", "n": 1.0}}}
        more = {"inputResponses": answers, "requestState": "st\u00e4te"}
        line = there.call(name, **more)["content"][0]["text"]
        sent = json.loads(line)["params"]
        assert (sent["inputResponses"], sent["requestState"], sent["name"]) == (
            answers,
            "st\u00e4te",
            "ask-back",
        )
        assert '"n":1.0' in line


def test_a_server_of_the_same_era_hears_the_client_itself(client: Modern) -> None:
    own = {
        "clientCapabilities": {"elicitation": {"form": {}}, "x": 1.0},
        "clientInfo": {"name": "t", "version": "1"},
        "logLevel": "emergency",
        "progressToken": "mine",
        "traceparent": "00-1",
        "vendor.example/x": None,
    }
    meta = client.meta(**own)
    for name, heard in (("new__raw-line", meta), ("exact__raw-line", None)):
        answer = client.post("tools/call", {"name": name}, **own)
        sent = json.loads(answer.json()["result"]["content"][0]["text"])
        token = sent["params"]["_meta"].pop("progressToken")
        assert token == sent["id"]
        rest = {key: value for key, value in meta.items() if not key.startswith(PREFIX)}
        expected = rest if heard is None else heard
        assert sent["params"]["_meta"] == {
            key: value for key, value in expected.items() if key != "progressToken"
        }


# -- leaving --------------------------------------------------------------------------------------------


def cancelled_at(client: Modern, server: str) -> int:
    said = client.call(f"{server}__stats")["content"][0]["text"]
    return int(json.loads(said)["cancelled"])


@pytest.mark.parametrize("server", ["good", "modern"])
@pytest.mark.parametrize(
    ("tool", "accept"), [("sleep", "application/json"), ("sleep", BOTH_KINDS), ("progress", BOTH_KINDS)]
)
def test_who_leaves_cancels(gateway: Gateway, client: Modern, server: str, tool: str, accept: str) -> None:
    before = cancelled_at(client, server)
    arguments = {"ms": LONG_MS} if tool == "sleep" else {"steps": 1000, "ms": 100}
    params = {"name": f"{server}__{tool}", "arguments": arguments}
    body = client.message("tools/call", params, 1, progressToken="t")
    head = [f"{name}: {value}".encode() for name, value in client.headers("tools/call", params).items()]
    head = [line for line in head if not line.startswith(b"Accept")]
    with Line(gateway.port) as line:
        line.send(
            b"POST /mcp HTTP/1.1",
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            b"Accept: " + accept.encode(),
            *head,
            body=body,
        )
        if tool == "progress":
            assert b"text/event-stream" in line.socket.recv(65536)
        else:
            until(
                lambda: newest(gateway, f"tool={tool}&server={server}")["outcome"] == "running",
                WAIT_S,
                "it runs",
            )
        line.socket.shutdown(socket.SHUT_RDWR)
    until(lambda: cancelled_at(client, server) == before + 1, WAIT_S, "the server hears of it")
    until(
        lambda: newest(gateway, f"tool={tool}&server={server}")["outcome"] == "cancelled",
        WAIT_S,
        "the record says so",
    )
    row = newest(gateway, f"tool={tool}&server={server}")
    assert row["detail"] == "the client went away"


def test_a_cancellation_that_is_posted_cancels_nothing(gateway: Gateway, client: Modern) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.call, "good__sleep", {"ms": 700}, 5)
        until(lambda: newest(gateway, "tool=sleep&server=good")["outcome"] == "running", WAIT_S, "it runs")
        note = json_bytes({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
        assert client.send(note, {"Accept": BOTH_KINDS, REVISION: "2026-07-28"}).status == 202
        assert running.result()["content"][0]["text"] == "slept"
