"""What a server says reaches the caller byte for byte, and what the caller says reaches the server likewise.

The relay is only faithful if no member, number, escape or order is touched on the way. Everything here is
compared as bytes; `exact.py` is the server and the table.
"""

import json
from collections.abc import Iterator

import pytest

from tests.faces.knocking import Mcp, Modern, check_problem, exact, frames
from tests.golden.exact import (
    CASES,
    DEFINITION,
    ENVELOPES,
    ERROR,
    INSTRUCTIONS,
    LOG,
    NAMES,
    PROGRESS,
    TORN,
    definition,
)
from tests.harness import Gateway

STREAM = {"Accept": "text/event-stream"}
# What a line break between JSON tokens becomes on a wire whose messages are lines, and nothing else does.
ARGUMENTS = (
    b"{}",
    b'{"z":1,"a":2,"M":{"b":null,"a":[]}}',
    b'{"n":12345678901234567890,"m":-98765432109876543210,"f":1.0,"e":1E+2,"z":-0.0,"p":1.10}',
    rb'{"\u006bey":"\u00e9\/\ud83d\ude00\u0000","plain":"k"}',
    '{"schlüssel":"日本 😀 \u2028"}'.encode(),
    b'{ "a" :\t1 , "b":[ ] }',
    b'{"deep":' + b"[" * 150 + b"]" * 150 + b"}",
    b'{"_meta":{"progressToken":"mine"},"name":"x","arguments":{},"id":1,"method":"tools/list"}',
    b'{"null":null,"empty":"","long":"' + b"x" * 300_000 + b'"}',
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"exact": exact(), "new": exact("modern")}
    with Gateway(servers, tmp_path_factory.mktemp("golden")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway


@pytest.fixture(scope="module")
def all_servers(gateway: Gateway) -> Mcp:
    return Mcp(gateway)


@pytest.fixture(scope="module")
def one_server(gateway: Gateway) -> Mcp:
    return Mcp(gateway, "/servers/exact/mcp")


def inside(request_id: bytes, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + request_id + b',"result":' + result + b"}"


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("case", CASES)
def test_a_result_arrives_over_rest_as_the_server_wrote_it(
    gateway: Gateway, case: str, envelope: str
) -> None:
    answer = gateway.request("POST", f"/api/tools/exact/{case}", {"envelope": envelope})
    assert answer.body == CASES[case]
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("case", CASES)
def test_a_result_arrives_in_the_last_event_of_a_stream_as_the_server_wrote_it(
    gateway: Gateway, case: str
) -> None:
    answer = gateway.request("POST", f"/api/tools/exact/{case}", {}, STREAM)
    assert frames(answer.body)[-1] == ("result", CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_kept_result_is_what_the_server_wrote(gateway: Gateway, case: str) -> None:
    answer = gateway.request("POST", f"/api/tools/exact/{case}", {}, {"Prefer": "respond-async"})
    where = answer.headers["location"]
    # The stream of a call ends when the call ends; afterwards the result is kept.
    assert frames(gateway.request("GET", where, headers=STREAM).body)[-1] == ("result", CASES[case])
    assert b'"result":' + CASES[case] in gateway.get(where).body


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("case", CASES)
def test_a_result_arrives_over_mcp_inside_our_envelope(
    all_servers: Mcp, one_server: Mcp, case: str, envelope: str
) -> None:
    for session, name in ((all_servers, f"exact__{case}"), (one_server, case)):
        call = {"name": name, "arguments": {"envelope": envelope}}
        answer = session.post(Mcp.message("tools/call", call, "golden"))
        assert answer.body == inside(b'"golden"', CASES[case])
        assert answer.headers["content-type"] == "application/json"


def complete(result: bytes) -> bytes:
    """A result of a server that says nothing of its type, as a client of the modern era is to see it."""
    rest = result[1:]
    return b'{"resultType":"complete"' + (b"" if rest == b"}" else b",") + rest


@pytest.mark.parametrize("server", ["exact", "new"])
@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("case", CASES)
def test_a_result_arrives_in_the_modern_era_with_its_type_before_it(
    gateway: Gateway, case: str, envelope: str, server: str
) -> None:
    for endpoint, name in (("/mcp", f"{server}__{case}"), (f"/servers/{server}/mcp", case)):
        call = {"name": name, "arguments": {"envelope": envelope}}
        answer = Modern(gateway, endpoint).post("tools/call", call, "golden")
        assert answer.body == inside(b'"golden"', complete(CASES[case]))
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("server", ["exact", "new"])
@pytest.mark.parametrize("case", CASES)
def test_a_result_that_follows_progress_arrives_in_the_modern_era_likewise(
    gateway: Gateway, case: str, server: str
) -> None:
    call = {"name": "speak", "arguments": {"case": case}}
    client = Modern(gateway, f"/servers/{server}/mcp")
    answer = client.post("tools/call", call, 7, progressToken="tok\u00e9n", logLevel="debug")
    progress, log, result = frames(answer.body)
    assert PROGRESS in progress[1]
    assert json.loads(progress[1])["params"]["progressToken"] == "tok\u00e9n"
    assert log == ("message", b'{"jsonrpc":"2.0","method":"notifications/message","params":' + LOG + b"}")
    assert result == ("message", inside(b"7", complete(CASES[case])))


@pytest.mark.parametrize("case", CASES)
def test_a_result_that_follows_progress_arrives_in_the_stream_as_the_server_wrote_it(
    one_server: Mcp, case: str
) -> None:
    call = {"name": "speak", "arguments": {"case": case}, "_meta": {"progressToken": "tok\u00e9n"}}
    answer = one_server.post(Mcp.message("tools/call", call, 7))
    assert answer.headers["content-type"].startswith("text/event-stream")
    progress, log, result = frames(answer.body)
    assert log == ("message", b'{"jsonrpc":"2.0","method":"notifications/message","params":%b}' % LOG)
    assert result == ("message", inside(b"7", CASES[case]))
    assert PROGRESS in progress[1]
    assert json.loads(progress[1])["params"]["progressToken"] == "tok\u00e9n"


def test_progress_and_log_arrive_over_rest_as_the_server_wrote_them(gateway: Gateway) -> None:
    answer = gateway.request("POST", "/api/tools/exact/speak", {"case": "nulls"}, STREAM)
    assert frames(answer.body) == [
        ("progress", b"{" + PROGRESS + b"}"),
        ("log", LOG),
        ("result", CASES["nulls"]),
    ]


def test_an_error_of_the_server_arrives_as_the_server_wrote_it(
    gateway: Gateway, all_servers: Mcp, one_server: Mcp
) -> None:
    for session, name in ((all_servers, "exact__refuse"), (one_server, "refuse")):
        answer = session.post(Mcp.message("tools/call", {"name": name}, 3))
        assert answer.body == b'{"jsonrpc":"2.0","id":3,"error":' + ERROR + b"}"
    for server in ("exact", "new"):
        answer = Modern(gateway).post("tools/call", {"name": f"{server}__refuse"}, 3)
        assert answer.body == b'{"jsonrpc":"2.0","id":3,"error":' + ERROR + b"}"
    answer = gateway.request("POST", "/api/tools/exact/refuse", {})
    check_problem(answer, 502, "lost", "-32042", server="exact")
    assert b'"rpcError":' + ERROR in answer.body


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_arguments_reach_the_server_as_the_caller_wrote_them(
    gateway: Gateway, all_servers: Mcp, one_server: Mcp, arguments: bytes
) -> None:
    seen = [gateway.request("POST", "/api/tools/exact/raw-line", arguments)]
    for session, name in ((all_servers, b"exact__raw-line"), (one_server, b"raw-line")):
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%b","arguments":%b}}'
        seen.append(session.post(body % (name, arguments)))
    for server in ("exact", "new"):
        client = Modern(gateway)
        call = {"name": f"{server}__raw-line", "arguments": {"here": 1}}
        body = client.message("tools/call", call).replace(b'{"here":1}', arguments)
        seen.append(client.send(body, client.headers("tools/call", call)))
    for answer in seen:
        assert answer.status == 200, answer
        document = answer.json()
        line = document.get("result", document)["content"][0]["text"].encode()
        assert b'"name":"raw-line"' in line
        assert line.count(b'"arguments":' + arguments) == 1, line[:1000]


def test_a_line_break_between_tokens_never_ends_the_message_early(gateway: Gateway, one_server: Mcp) -> None:
    arguments = b'{\r\n  "a": "x\\ny",\n  "b": 1.0\n}'
    flat = arguments.replace(b"\r", b" ").replace(b"\n", b" ")
    rest = gateway.request("POST", "/api/tools/exact/raw-line", arguments)
    body = (
        b'{"jsonrpc":"2.0","id":1,\n"method":"tools/call",\r\n"params":{"name":"raw-line","arguments":%b}}\n'
    )
    mcp = one_server.post(body % arguments)
    for line in (rest.text, mcp.json()["result"]["content"][0]["text"]):
        assert '"arguments":' + flat.decode() in line


def test_a_text_that_was_cut_within_a_character_is_still_an_answer(gateway: Gateway, one_server: Mcp) -> None:
    assert gateway.request("POST", "/api/tools/exact/torn", {}).body == TORN
    assert one_server.post(Mcp.message("tools/call", {"name": "torn"}, 1)).body == inside(b"1", TORN)


def test_other_members_of_a_call_reach_the_server_and_only_the_token_is_ours(one_server: Mcp) -> None:
    body = (
        b'{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"future":{"z":1.0,"a":null},'
        b'"name":"raw-line","_meta":{"vendor.example/trace":12345678901234567890,"progressToken":"mine",'
        b'"traceparent":"00-\\u0061"},"arguments":{"a":1}}}'
    )
    line = one_server.post(body).json()["result"]["content"][0]["text"]
    seen = json.loads(line)
    assert '"future":{"z":1.0,"a":null}' in line
    assert '"vendor.example/trace":12345678901234567890' in line
    assert '"traceparent":"00-\\u0061"' in line
    assert seen["params"]["_meta"]["progressToken"] == seen["id"] != 99
    assert "mine" not in line


def test_definitions_reach_every_list_as_the_server_wrote_them(
    gateway: Gateway, all_servers: Mcp, one_server: Mcp
) -> None:
    native = one_server.post(Mcp.message("tools/list", None, 1)).body
    exposed = all_servers.post(Mcp.message("tools/list", None, 1)).body
    listed = gateway.get("/api/tools?server=exact").body
    for name in (*CASES, *NAMES):
        assert definition(name) in native
    modern = Modern(gateway, "/servers/exact/mcp").post("tools/list").body
    assert modern.count(DEFINITION) == native.count(DEFINITION) == listed.count(DEFINITION)
    assert exposed.count(DEFINITION) == 2 * native.count(DEFINITION)  # of both servers
    assert exposed.startswith(b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"exact__')
    assert DEFINITION in gateway.get("/api/tools/exact/nulls").body


def test_instructions_reach_the_client(all_servers: Mcp, one_server: Mcp) -> None:
    assert one_server.introduction["instructions"] == INSTRUCTIONS
    assert all_servers.introduction["instructions"].startswith(f"# exact\n\n{INSTRUCTIONS}\n\n# new\n\n")
