"""S23: what was authorised is what arrives, however a request is written.

A key for one tool, a server that writes down what reaches it, and everything that two readers of JSON or of
HTTP have ever read in two ways (Envoy AI Gateway GHSA-4gph-2hhr-5mwg: a member `Name` beside `name`). A
variant may be refused or taken for what it says; it may never reach another tool.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Line, Mcp, check_log, exact
from tests.harness import Answer
from tests.security.cast import Guarded, arrived, journalled, wait_ready

MINE, OTHER = "echo", "pid"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smuggling") / "journal"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, journal: Path) -> Iterator[Guarded]:
    keys = {
        "one": {"rights": ["read", "call"], "tools": [f"good/{MINE}"]},
        "raw": {"rights": ["read", "call"], "tools": ["exact/raw-line"]},
    }
    servers = {"good": journalled(journal), "exact": exact()}
    settings = {"limits": {"rate": 100_000}}
    with Guarded(servers, tmp_path_factory.mktemp("gateway"), settings, keys=keys) as gateway:
        wait_ready(gateway, "good", "exact")
        yield gateway
        check_log(gateway)


@pytest.fixture(autouse=True)
def nothing_else_arrives(journal: Path) -> Iterator[None]:
    before = len(arrived(journal))
    yield
    assert set(arrived(journal)[before:]) <= {MINE}


@pytest.fixture(scope="module")
def one(gateway: Guarded) -> Guarded:
    return gateway.as_("one")


@pytest.fixture(scope="module")
def all_servers(one: Guarded) -> Mcp:
    return Mcp(one)


@pytest.fixture(scope="module")
def one_server(one: Guarded) -> Mcp:
    return Mcp(one, "/servers/good/mcp")


# Written for any tool of ours (@) and any other (%).
PARAMS = (
    '{"name":"@","name":"%"}',
    '{"name":"%","name":"@"}',
    '{"name":"@","Name":"%"}',
    '{"Name":"%","name":"@"}',
    '{"name":"@","NAME":"%","arguments":{}}',
    '{"Name":"%"}',
    '{"name":"@","na\\u006de":"%"}',
    '{"na\\u006de":"%","name":"@"}',
    '{"\\u006eame":"%"}',
    '{"name":"@","name\\u0000":"%"}',
    '{"name\\u0000x":"%","name":"@"}',
    '{"name":"@"," name":"%"}',
    '{"name":"@","name ":"%"}',
    '{"name":"@","\\tname":"%"}',
    '{"name":"@","\\ufeffname":"%"}',
    '{"name":"@","params":{"name":"%"}}',
    '{"name":"@","arguments":{"name":"%"},"Arguments":{"name":"%"}}',
    '{"name":"@","arguments":{},"arguments":{"name":"%"}}',
    '{"name":"@","argument\u017f":{"name":"%"}}',
    '{"name":"@","arguments":{"a":1,"a":2}}',
    '{"name":"@","_meta":{},"_Meta":{"name":"%"}}',
    '{"name":"@","_meta":{"progressToken":1,"progressToken":2}}',
    '{"name":["@","%"]}',
    '{"name":{"@":"%"}}',
    '{"name":"@\\u0000%"}',
    '{"name":"@\\u0000"}',
    '{"name":"%\\u0000"}',
    '{"name":"@\\n%"}',
    '{"name":"@ "}',
    '{"name":" %"}',
    '{"name":"@%"}',
    '{"name":"@/%"}',
    '{"name":"@,%"}',
    '{"name":"../%"}',
    '{"name":"@/../%"}',
    '{"name":"%#@"}',
    '{"name":"*"}',
    '{"name":"[ep]*"}',
    '{"name":null,"tool":"%"}',
    '{"name":"@","tool":"%","toolName":"%","tool_name":"%"}',
    '{"name":"@","arguments":{"x":NaN}}',
    '{"name":"@","arguments":{"x":-Infinity}}',
    '{"name":"@","arguments":{"x":1e999}}',
    '{"name":"@","arguments":{"x":' + "9" * 5_000 + "}}",
    '{"name":"@","arguments":{"x":01}}',
    '{"name":"@","arguments":{"x":"\\ud800"}}',
    '{"name":"@","arguments":{"x":' + "[" * 500 + "]" * 500 + "}}",
    '{"name":"@",}',
    '{"name":"@"/*,*/}',
    "{'name':'%'}",
    '["%"]',
    '"%"',
    'null,"name":"%"',
    '{"name":"@"},"params":{"name":"%"}',
    '{"name":"@"},"Params":{"name":"%"}',
    '{"name":"@"},"PARAMS":{"name":"%"}',
    '{"name":"@"},"p\\u0061rams":{"name":"%"}',
    '{"name":"@"},"params\\u0000":{"name":"%"}',
    '{"name":"@"},"method":"tools/call","params":{"name":"%"}',
    '{"name":"@"},"result":{"name":"%"}',
)
# Whole messages around `"params":{...}` of a good call.
ENVELOPES: tuple[tuple[str, bytes], ...] = tuple(
    (name, text)
    for name, text in {
        "method twice": b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":%}',
        "Method beside": b'{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","params":%}',
        "Method instead": b'{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":%}',
        "escaped method": b'{"jsonrpc":"2.0","id":1,"m\\u0065thod":"tools/call","params":%}',
        "method of a NUL": b'{"jsonrpc":"2.0","id":1,"method\\u0000":"tools/call","params":%}',
        "method with a NUL": b'{"jsonrpc":"2.0","id":1,"method":"tools/call\\u0000","params":%}',
        "Method's value": b'{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":%}',
        "id twice": b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":%}',
        "id of an object": b'{"jsonrpc":"2.0","id":{"a":1},"method":"tools/call","params":%}',
        "id of a list": b'{"jsonrpc":"2.0","id":[1],"method":"tools/call","params":%}',
        "id null": b'{"jsonrpc":"2.0","id":null,"method":"tools/call","params":%}',
        "id huge": b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"tools/call","params":%}',
        "id fraction": b'{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":%}',
        "no id": b'{"jsonrpc":"2.0","method":"tools/call","params":%}',
        "a batch": b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%}]',
        "a batch of two": b'[{"jsonrpc":"2.0","id":1,"method":"ping"},'
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":%}]',
        "two documents": b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":%}',
        "two lines": b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":%}\n',
        "more after it": b'{"jsonrpc":"2.0","id":1,"method":"ping"}\x00{"method":"tools/call","params":%}',
        "a mark before it": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%}',
        "a guard before it": b')]}\',\n{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%}',
        "a NUL before it": b'\x00{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%}',
        "in a string": b'"{\\"jsonrpc\\":\\"2.0\\",\\"id\\":1,\\"method\\":\\"tools/call\\"}"',
        "another version": b'{"jsonrpc":"1.0","id":1,"method":"tools/call","params":%}',
        "version twice": b'{"jsonrpc":"1.0","jsonrpc":"2.0","id":1,"method":"tools/call","params":%}',
        "broken UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","x":"\xff\xc0\xaf","params":%}',
        "overlong UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%,"\xc1\xae":1}',
    }.items()
)
SERVER_SIDE = {"jsonrpc", "id", "method", "params"}


def call_with(params: str) -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode()


def outcome(answer: Answer) -> str:
    """ "result", or "error": every variant is one of the two, and none is a mistake of ours."""
    assert answer.status in (200, 202, 400, 404), answer
    if answer.status == 202:
        return "error"
    document = answer.json()
    assert "result" in document or document["error"]["code"] != -32603, document
    return "result" if "result" in document else "error"


@pytest.mark.parametrize("params", PARAMS, ids=lambda params: params[:60])
def test_S23_no_way_to_write_the_parameters_reaches_another_tool(
    all_servers: Mcp, one_server: Mcp, params: str
) -> None:
    for session, prefix in ((all_servers, "good__"), (one_server, "")):
        for mine, other in ((MINE, OTHER), (OTHER, MINE)):
            text = params.replace("@", prefix + mine).replace("%", prefix + other)
            outcome(session.post(call_with(text)))


@pytest.mark.parametrize(("name", "envelope"), ENVELOPES, ids=lambda value: str(value)[:30])
def test_S23_no_way_to_write_the_envelope_reaches_another_tool(
    all_servers: Mcp, one_server: Mcp, name: str, envelope: bytes
) -> None:
    for session, prefix in ((all_servers, b"good__"), (one_server, b"")):
        for tool in (MINE, OTHER):
            body = envelope.replace(b"%", b'{"name":"%b%b"}' % (prefix, tool.encode()))
            for encoded in (body, body.decode("latin-1").encode("utf-16"), body.replace(b'"', b"\x00")):
                outcome(session.post(encoded))


def pairs(line: str) -> list[tuple[str, Any]]:
    """The members of an object in their order, those that came twice too."""
    found: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
    return found


def lenient(members: list[tuple[str, Any]]) -> list[str]:
    """Names as the most lenient reader takes them: C strings, trimmed, in any case."""
    return [name.partition("\0")[0].strip("\ufeff \t\r\n").casefold() for name, _ in members]


@pytest.mark.parametrize("params", PARAMS, ids=lambda params: params[:60])
def test_GHSA_4gph_2hhr_5mwg_the_most_lenient_server_reads_what_was_authorised(
    gateway: Guarded, params: str
) -> None:
    raw = gateway.as_("raw")
    for endpoint, prefix in (("/mcp", "exact__"), ("/servers/exact/mcp", "")):
        text = params.replace("@", prefix + "raw-line").replace("%", prefix + "grow")
        answer = Mcp(raw, endpoint).post(call_with(text))
        if outcome(answer) == "error":
            continue
        line = answer.json()["result"]["content"][0]["text"]
        message = pairs(line)
        assert lenient(message) == [name for name, _ in message]
        assert {name for name, _ in message} == SERVER_SIDE
        told = dict(message)
        assert told["method"] == "tools/call"
        assert len(set(lenient(told["params"]))) == len(told["params"]), line
        assert dict(told["params"])["name"] == "raw-line"


@pytest.mark.parametrize(
    "headers",
    [
        {"Mcp_Name": OTHER},
        {"Mcp_Method": "ping"},
        {"Mcp_Method": "tools/call", "Mcp_Name": f"good__{OTHER}"},
        {"Mcp_Name": "=?base64?cGlk?="},
        {"Mcp_Param_Name": OTHER},
        {"X_Tool": OTHER},
    ],
    ids=str,
)
def test_S23_a_header_does_not_name_the_tool(
    all_servers: Mcp, one_server: Mcp, headers: dict[str, str]
) -> None:
    for session, prefix in ((all_servers, "good__"), (one_server, "")):
        for tool, expected in ((MINE, "result"), (OTHER, "error")):
            answer = session.post(call_with(f'{{"name":"{prefix}{tool}"}}'), **headers)
            assert outcome(answer) in (expected, "error")


def test_S23_over_rest_the_path_alone_names_the_tool(one: Guarded) -> None:
    named = {"name": OTHER, "tool": OTHER, "server": "good", "arguments": {}, "_meta": {}, "method": "x"}
    assert one.call("good", MINE, text="x", **named).status == 200
    for body in (b'{"text":"a","text":"b"}', b"[]", b'{"a":1}{"b":2}', b'{"a":NaN}', b"\xef\xbb\xbf{}"):
        answer = one.request("POST", f"/api/tools/good/{MINE}", body)
        assert answer.status == 400, answer
    for query in (
        f"?tool={OTHER}",
        f"?name={OTHER}",
        "?server=exact",
        f"#/{OTHER}",
        f";/{OTHER}",
        f"/../{OTHER}",
    ):
        answer = one.request("POST", f"/api/tools/good/{MINE}{query}", {})
        assert answer.status in (200, 404), answer


# -- HTTP -----------------------------------------------------------------------------------------------


def embedded(gateway: Guarded, tool: str = OTHER) -> bytes:
    """A whole request of somebody who may: if it is ever read as one, the journal shows it."""
    return (
        f"POST /api/tools/good/{tool} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {gateway.texts['full']}\r\nContent-Length: 2\r\n\r\n{{}}"
    ).encode()


FRAMINGS = (
    # Two lengths: a proxy that takes one and a gateway that takes the other see two requests.
    b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"Content-Length: 0\r\nContent-Length: 900\r\n\r\n",
    b"Content-Length: 900\r\nContent-Length: 0\r\n\r\n",
    b"Content-Length: 0, 900\r\n\r\n",
    b"Content-Length: 0\r\ncontent-length: 0\r\n\r\n",
    # Lengths that are numbers to some.
    b"Content-Length: +0\r\n\r\n",
    b"Content-Length: -0\r\n\r\n",
    b"Content-Length: 0x0\r\n\r\n",
    b"Content-Length: 0_0\r\n\r\n",
    b"Content-Length: 0e0\r\n\r\n",
    b"Content-Length: 0.0\r\n\r\n",
    b"Content-Length: 0;\r\n\r\n",
    b"Content-Length: \xd9\xa0\r\n\r\n",
    b"Content-Length: 18446744073709551616\r\n\r\n",
    b"Content-Length : 0\r\n\r\n",
    b"Content-Length\t: 0\r\n\r\n",
    b"Content-Length:\x0b0\r\n\r\n",
    b"Content-Length: 0\x00\r\n\r\n",
    b"Content-Length:\r\n 0\r\n\r\n",
    # Encodings that are `chunked` to some.
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked x\r\n\r\n0\r\n\r\n",
    b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"X: y\r\n\tTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    # Chunks.
    b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n 0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\n\n",
    b"Transfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0;a=\nb\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}X\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
)


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: repr(framing)[2:60])
def test_S23_a_body_with_two_ends_has_none(gateway: Guarded, framing: bytes) -> None:
    head = (
        f"POST /api/tools/good/{MINE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {gateway.texts['one']}\r\n"
    ).encode()
    with Line(gateway.port) as line:
        received = b""
        with contextlib.suppress(OSError):  # it may hang up before it has read everything
            line.socket.sendall(head + framing + embedded(gateway))
            line.socket.shutdown(socket.SHUT_WR)
            received = line.rest()
    assert b" 500 " not in received
    assert received.count(b"HTTP/1.1 ") <= 1, received


def test_S23_what_is_within_a_body_is_no_request(gateway: Guarded) -> None:
    inner = embedded(gateway)
    heads = (
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(inner), inner),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(inner), inner),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n0\r\n"
        b"Authorization: x\r\n\r\n" % (len(inner), inner),
        b"DELETE /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(inner), inner),
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(inner), inner),
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n%b"
        % (len(inner), inner),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(inner), inner),
    )
    for head in heads:
        with Line(gateway.port) as line:
            line.socket.sendall(head)
            line.socket.shutdown(socket.SHUT_WR)
            answers = line.rest().replace(b"HTTP/1.1 100 Continue", b"").count(b"HTTP/1.1 ")
        assert answers <= 1, head


CHUNKED = (
    b"POST /api/tools/good/pid HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n2\r\n{}\r\n0\r\n"
)


def test_S23_a_trailer_is_no_header(gateway: Guarded) -> None:
    # RFC 9110, section 6.5.1: a proxy that takes headers out lets trailers pass, identities in them too.
    with Line(gateway.port) as line:
        line.socket.sendall(CHUNKED + b"Authorization: Bearer %b\r\n\r\n" % gateway.texts["full"].encode())
        assert line.read("POST").status == 401
        line.send(b"GET /health HTTP/1.1", b"Host: localhost")
        assert line.read().status == 200


@pytest.mark.parametrize("field", [b"X: y\r\n", b"x"], ids=["many", "one"])
def test_S12_trailers_without_an_end_are_not_kept(gateway: Guarded, field: bytes) -> None:
    before = gateway.holdings().rss_bytes
    flood = field * (100 * 1024 * 1024 // len(field))
    with Line(gateway.port) as line:
        line.socket.sendall(CHUNKED)
        with pytest.raises(ConnectionError):
            line.socket.sendall(flood)
    assert gateway.holdings().rss_bytes < before + 30 * 1024 * 1024


def test_S23_a_body_in_chunks_is_read_as_one(gateway: Guarded) -> None:
    text = "é" * 400_000
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    for size in (1_000, 100_000, 700_000):
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        with Line(gateway.port) as line:
            line.socket.sendall(
                f"POST /api/tools/good/{MINE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                f"Content-Type: application/json\r\nAuthorization: Bearer {gateway.texts['one']}\r\n"
                "\r\n".encode()
            )
            for chunk in chunks:
                line.socket.sendall(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk))
            line.socket.sendall(b"0\r\nX: y\r\n\r\n")
            answer = line.read("POST")
        assert answer.text == text


def test_S23_each_request_of_a_connection_shows_its_own_key(gateway: Guarded) -> None:
    with Line(gateway.port) as line:
        mine = f"Authorization: Bearer {gateway.texts['full']}".encode()
        for credentials, status in (((mine,), 200), ((), 401), ((mine,), 200), ((b"Authorization: x",), 401)):
            line.send(b"GET /api/servers HTTP/1.1", b"Host: localhost", *credentials)
            assert line.read().status == status
