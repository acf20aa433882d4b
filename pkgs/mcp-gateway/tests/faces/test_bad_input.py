"""Bad input, one row each: a clear problem document, and nothing else is affected.

Every row is sent to a gateway at work, by REST or as a message to MCP; after each row a call to a server
that behaves is answered as ever, by the same process, over the same gateway.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.faces.knocking import BOTH_KINDS, Api, Line, Mcp, check_log, check_problem, check_rpc_error, exact
from tests.harness import Answer, Gateway, hostile

MIB = 1 << 20
LIMIT = 4 * MIB  # product.md and security.md S12: the default body limit
JSON = {"Content-Type": "application/json"}
ECHO = "/api/tools/good/echo"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    configured = {"good": hostile("good"), "exact": exact(), "off": hostile("good", enabled=False)}
    with Gateway(configured, tmp_path_factory.mktemp("bad")) as gateway:
        for server in ("good", "exact"):
            gateway.wait_for_state(server, "ready")
        yield Api(gateway)
        check_log(gateway)


@pytest.fixture(scope="module")
def session(api: Api) -> Mcp:
    return Mcp(api.gateway)


@pytest.fixture(autouse=True)
def nothing_else_is_affected(api: Api, session: Mcp) -> Iterator[None]:
    before = api.json("/api/servers")["servers"]
    yield
    assert api.call("good", "echo", text="still here").text == "still here"
    assert session.call("good__echo", {"text": "x"})["result"]["content"][0]["text"] == "x"
    after = api.json("/api/servers")["servers"]
    for now, then in zip(after, before, strict=True):
        assert (now["state"], now["pid"], now["attempt"]) == (then["state"], then["pid"], then["attempt"])
        assert now["counters"] == then["counters"]  # nothing of it reached a server that had to complain
        assert now["calls"]["running"] == now["calls"]["queued"] == 0


# -- REST -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    name: str
    body: bytes
    words: tuple[str, ...] = ()
    status: int = 400
    code: str = "invalid"
    path: str = ECHO
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: JSON)


NOT_JSON = (
    Row("nothing but blanks", b" \n"),
    Row("half an object", b'{"a":'),
    Row("single quotes", b"{'a':1}", ("JSON",)),
    Row("a trailing comma", b'{"a":1,}'),
    Row("two values", b"{}{}"),
    Row("a comment", b'{/* x */"a":1}'),
    Row("a duplicate key", b'{"a":1,"a":2}', ("duplicate", "a")),
    Row("a duplicate key within", b'{"b":[{"x":{"a":1,"c":2,"a":1}}]}', ("duplicate",)),
    Row("a duplicate key by escape", rb'{"a":1,"\u0061":2}', ("duplicate",)),
    Row("NaN", b'{"a":NaN}'),
    Row("Infinity", b'{"a":[Infinity]}'),
    Row("-Infinity", b'{"a":-Infinity}'),
    Row("a number with a leading zero", b'{"a":01}'),
    Row("a plus sign", b'{"a":+1}'),
    Row("a hexadecimal number", b'{"a":0x10}'),
    Row("an integer of 5,000 digits", b'{"a":' + b"9" * 5_000 + b"}"),
    Row("10,000 arrays in each other", b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", ("JSON",)),
    Row("10,000 objects in each other", b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    Row("a million open brackets", b"[" * MIB),
    Row("a byte order mark", b"\xef\xbb\xbf{}"),
    Row("UTF-16", '{"a":1}'.encode("utf-16")),
    Row("Latin-1", '{"a":"é"}'.encode("latin-1")),
    Row("an overlong encoding", b'{"a":"\xc0\xaf"}'),
    Row("an encoded surrogate", b'{"a":"\xed\xa0\x80"}'),
    Row("a raw control character", b'{"a":"x\ny"}'),
    Row("a NUL after it", b"{}\0"),
    Row("an unknown escape", rb'{"a":"\x41"}'),
    Row("a text without end", b'{"a":"' + b"x" * 100_000),
)
NOT_AN_OBJECT = tuple(
    Row(f"{body.decode()} instead of an object", body, ("object",))
    for body in (b"[]", b'[{"a":1}]', b'"{}"', b"1", b"1.5", b"true", b"null")
)
WRONG_TYPE = tuple(
    Row(f"the type {kind!r}", b"{}", ("application/json",), 415, headers={"Content-Type": kind})
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/json-patch+json",
        "text/plain; application/json",
        "application/json/x",
        "json",
        "",
    )
)
TOO_LARGE = (
    Row("20 MiB", b'{"a":"' + b"x" * (20 * MIB) + b'"}', (str(LIMIT),), 413),
    Row("one byte too many", b'{"a":"' + b"x" * (LIMIT - 7) + b'"}', ("larger",), 413),
    # A switch is a few bytes, whatever a call may be.
    Row(
        "a switch of 100 KiB",
        b'{"enabled":' + b" " * 100_000 + b"true}",
        ("larger",),
        413,
        path="/api/servers/good",
        method="PATCH",
    ),
)
UNKNOWN = (
    Row("an unknown server", b"{}", ("nobody",), 404, "unknown", "/api/tools/nobody/echo"),
    Row("an unknown tool", b"{}", ("nothing",), 404, "unknown", "/api/tools/good/nothing"),
    Row("a server in capitals", b"{}", (), 404, "unknown", "/api/tools/GOOD/echo"),
    Row("a tool in capitals", b"{}", (), 404, "unknown", "/api/tools/good/ECHO"),
    Row("a server that is off", b"{}", ("off",), 503, "unavailable", "/api/tools/off/echo"),
    Row("no tool", b"{}", (), 404, "unknown", "/api/tools/good"),
    Row("too many parts", b"{}", (), 404, "unknown", "/api/tools/good/echo/again"),
    Row("a switch of nobody", b'{"enabled":true}', (), 404, "unknown", "/api/servers/nobody", "PATCH"),
    Row("a switch of nothing", b'{"enabled":true}', (), 404, "unknown", "/api/tools/good/nothing", "PATCH"),
    Row("a restart of nobody", b"", (), 404, "unknown", "/api/servers/nobody/restart"),
    Row("logs of nobody", b"", (), 404, "unknown", "/api/servers/nobody/logs", "GET"),
    Row("tools of nobody", b"", (), 404, "unknown", "/api/tools?server=nobody", "GET"),
)
NO_SWITCH = tuple(
    Row(f"a switch {body.decode()!r}", body, ("enabled",), path=path, method="PATCH")
    for path in ("/api/servers/good", "/api/tools/good/echo")
    for body in (
        b"{}",
        b'{"enabled":1}',
        b'{"enabled":"true"}',
        b'{"enabled":[]}',
        b'{"Enabled":false}',
    )
) + tuple(
    Row(f"a switch {body.decode()!r}", body, path=path, method="PATCH")
    for path in ("/api/servers/good", "/api/tools/good/echo")
    for body in (
        b"",
        b"[]",
        b"true",
        b'{"enabled":false,"more":1}',
        b'{"enabled":false,"enabled":true}',
        b'{"enabled":fals',
    )
)
NO_SUCH_SWITCH = (
    Row(
        "a tool's switch to null",
        b'{"enabled":null}',
        ("enabled",),
        path="/api/tools/good/echo",
        method="PATCH",
    ),
    Row(
        "a switch as text",
        b'{"enabled":false}',
        ("application/json",),
        415,
        path="/api/servers/good",
        method="PATCH",
        headers={"Content-Type": "text/plain"},
    ),
)
WRONG_METHOD = tuple(
    Row(f"{method} {path}", b"{}", (), 405, path=path, method=method)
    for method, path in (
        ("DELETE", "/api/servers"),
        ("PUT", "/api/servers/good"),
        ("GET", "/api/servers/good/restart"),
        ("PUT", ECHO),
        ("DELETE", ECHO),
        ("POST", "/api/tools"),
        ("POST", "/api/calls"),
        ("DELETE", "/api/calls"),
        ("POST", "/health"),
        ("POST", "/ready"),
        ("POST", "/"),
        ("POST", "/openapi.json"),
        ("PROPFIND", "/api/servers"),
        ("TRACE", "/health"),
    )
)
ROWS = (
    *NOT_JSON,
    *NOT_AN_OBJECT,
    *WRONG_TYPE,
    *TOO_LARGE,
    *UNKNOWN,
    *NO_SWITCH,
    *NO_SUCH_SWITCH,
    *WRONG_METHOD,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_bad_input_over_rest_is_a_problem(api: Api, row: Row) -> None:
    headers = row.headers if row.method != "GET" else {}
    answer = api.request(row.method, row.path, row.body if row.method != "GET" else None, headers)
    problem = check_problem(answer, row.status, row.code, *row.words)
    assert len(answer.body) < 1_000  # what was sent is not sent back
    assert problem["retryable"] is (row.code == "unavailable")


def test_a_body_of_exactly_the_limit_is_a_call(api: Api) -> None:
    body = b'{"text":"' + b"x" * (LIMIT - 11) + b'"}'
    assert len(body) == LIMIT
    assert api.request("POST", ECHO, body).status == 200


def test_a_body_without_a_type_is_refused(api: Api) -> None:
    with Line(api.gateway.port) as line:
        line.send(b"POST %b HTTP/1.1" % ECHO.encode(), b"Host: localhost", b"Content-Length: 2", body=b"{}")
        check_problem(line.read(), 415, "invalid")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = (f"POST {ECHO} HTTP/1.1".encode(), b"Host: localhost", b"Content-Type: application/json")


def test_a_body_in_chunks_has_the_same_limit(api: Api) -> None:
    with Line(api.gateway.port) as line:
        line.send(*HEAD, b"Transfer-Encoding: chunked")
        line.socket.sendall(chunk(b'{"text":"') + chunk(b"in ") + chunk(b'parts"}') + chunk(b""))
        assert line.read().text == "in parts"
        line.send(*HEAD, b"Transfer-Encoding: chunked")
        block = chunk(b"x" * MIB)
        for _ in range(5):
            line.socket.sendall(block)
        check_problem(line.read(), 413, "invalid")


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(api: Api) -> None:
    with Line(api.gateway.port) as line:
        line.send(*HEAD, b"Content-Length: 99999999999", b"Expect: 100-continue")
        check_problem(line.read(), 413, "invalid")


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: -1",),
        (b"Content-Length: 2", b"Content-Length: 3"),
        (b"Content-Length: 2, 2",),
        (b"Content-Length: +2",),
        (b"Content-Length: 0x2",),
        (b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: xchunked",),
        (b"Content-Type: text/plain", b"Content-Length: 2"),
    ],
    ids=str,
)
def test_a_length_that_could_be_read_in_two_ways_is_refused(api: Api, lines: tuple[bytes, ...]) -> None:
    with Line(api.gateway.port) as line:
        line.send(*HEAD, *lines, body=b"{}")
        assert line.read().status in (400, 415)


@pytest.mark.parametrize("trailer", [(), (b"Trailer-Field: 1",)], ids=["bare", "with-a-trailer"])
def test_a_body_that_comes_after_its_refusal_does_not_disturb_the_next_request(
    api: Api, trailer: tuple[bytes, ...]
) -> None:
    with Line(api.gateway.port) as line:
        untyped = (b"POST /mcp HTTP/1.1", HEAD[1], b"Content-Type: text/plain")
        for _ in range(2):
            line.send(*untyped, b"Content-Length: 4")
            assert line.read().status == 415
            line.socket.sendall(b"{")
            line.socket.sendall(b"}  ")
            line.send(*untyped, b"Transfer-Encoding: chunked")
            assert line.read().status == 415
            line.socket.sendall(chunk(b"{}"))
            line.send(b"0", *trailer)
            line.send(*HEAD, b"Content-Length: 16", body=b'{"text":"after"}')
            assert line.read().text == "after"


def test_a_client_that_leaves_within_its_body_leaves_nothing(api: Api) -> None:
    with Line(api.gateway.port) as line:
        line.send(*HEAD, b"Content-Length: 100", body=b'{"text":')


# -- MCP ------------------------------------------------------------------------------------------------


def wrap(params: bytes, method: bytes = b"tools/call") -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"%b","params":%b}' % (method, params)


@pytest.mark.parametrize("row", [*NOT_JSON], ids=lambda row: row.name)
def test_bad_json_over_mcp_is_a_parse_error_without_an_id(session: Mcp, row: Row) -> None:
    for body in (row.body, wrap(b'{"name":"good__echo","arguments":%b}' % row.body)):
        answer = session.post(body)
        assert answer.status == 400, answer
        error = check_rpc_error(answer.json(), -32700, "invalid", *row.words)
        assert answer.json()["id"] is None
        assert len(error["message"]) < 500


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
        b'"ping"',
        b"1",
        b"null",
        b"{}",
        b'{"id":1,"method":"ping"}',
        b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
        b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"method":7}',
        b'{"jsonrpc":"2.0","id":1,"method":null}',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"ping"}',
        b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":7}}',
        # What a lenient reader could take in place of what was checked (security.md S23).
        b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","PARAMS":{}}',
        b'{"JsonRpc":"2.0","id":1,"method":"ping"}',
        wrap(b'{"name":"good__echo","Name":"good__die"}'),
        wrap(b'{"name":"good__echo","arguments":{},"Arguments":{}}'),
        wrap(b'{"name":"good__echo","_META":{}}'),
        '{"jsonrpc":"2.0","id":1,"method":"ping","paramſ":{}}'.encode(),  # Go folds the long s
        wrap('{"name":"good__echo","argumentſ":{}}'.encode()),
    ],
    ids=lambda body: body.decode(),
)
def test_what_is_no_request_is_an_invalid_request(session: Mcp, body: bytes) -> None:
    answer = session.post(body)
    assert answer.status == 400, answer
    check_rpc_error(answer.json(), -32600, "invalid")


@pytest.mark.parametrize(
    ("params", "code", "kind"),
    [
        (b'{"name":"good__nothing"}', -32602, "unknown"),
        (b'{"name":"nobody__echo"}', -32602, "unknown"),
        (b'{"name":"echo"}', -32602, "unknown"),  # a native name means nothing among all servers
        (b'{"name":"good__ECHO"}', -32602, "unknown"),
        (b'{"name":"off__echo"}', -32602, "unknown"),
        (b'{"name":""}', -32602, "unknown"),
        (b'{"name":"%b"}' % (b"n" * 10_000), -32602, "unknown"),
        (b"{}", -32602, "invalid"),
        (b'{"name":7}', -32602, "invalid"),
        (b'{"name":null}', -32602, "invalid"),
        (b'{"name":["good__echo"]}', -32602, "invalid"),
        (b'{"name":"exact__nulls","arguments":[]}', -32602, "invalid"),
        (b'{"name":"exact__nulls","arguments":""}', -32602, "invalid"),
    ],
    ids=str,
)
def test_a_call_of_nothing_is_an_error_with_its_id(session: Mcp, params: bytes, code: int, kind: str) -> None:
    answer = session.post(wrap(params))
    assert answer.status == 200, answer
    assert answer.json()["id"] == 1
    error = check_rpc_error(answer.json(), code, kind)
    assert len(error["message"]) < 500


@pytest.mark.parametrize(
    "method", ["nothing", "", "tools", "server/discover", "TOOLS/LIST", "rpc.x", "m" * 9_999]
)
def test_an_unknown_method_is_an_error_with_its_id(session: Mcp, method: str) -> None:
    answer = session.post(Mcp.message(method, {}, "x"))
    assert answer.status == 200
    assert answer.json()["id"] == "x"
    check_rpc_error(answer.json(), -32601, "unknown")


@pytest.mark.parametrize(
    "params",
    [
        b"{}",
        b'{"protocolVersion":7}',
        b'{"protocolVersion":null}',
        b'{"protocolVersion":"x","capabilities":[]}',
    ],
)
def test_an_introduction_that_makes_no_sense_opens_no_session(session: Mcp, params: bytes) -> None:
    answer = session.post(wrap(params, b"initialize"))
    check_rpc_error(answer.json(), -32602, "invalid")
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize("row", [*WRONG_TYPE, *TOO_LARGE[:2]], ids=lambda row: row.name)
def test_mcp_takes_json_within_the_limit_only(api: Api, session: Mcp, row: Row) -> None:
    answer = api.gateway.request("POST", "/mcp", row.body, session.headers | row.headers)
    assert answer.status == row.status, answer
    check_rpc_error(answer.json(), -32600, "invalid", *row.words)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "PROPFIND"])
def test_mcp_is_spoken_with_three_methods(api: Api, method: str) -> None:
    answer = api.gateway.request(method, "/mcp", b"{}", {"Accept": BOTH_KINDS})
    assert answer.status == 405
    assert answer.json()["code" if "code" in answer.json() else "error"]


def test_random_bytes_are_answered_and_survived(api: Api, session: Mcp) -> None:
    chance = random.Random(20261121)
    seeds = (b'{"text":"abc","n":[1,2.5,null,true]}', wrap(b'{"name":"good__echo","arguments":{"text":"x"}}'))
    for number in range(300):
        body = bytearray(seeds[number % 2])
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(body))
            body[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        answer: Answer = api.request("POST", ECHO, bytes(body))
        assert answer.status in (200, 400), (body, answer)
        answer = session.post(bytes(body))
        assert answer.status in (200, 202, 400), (body, answer)
        assert not answer.body or json.loads(answer.body)
