"""What a caller may send, what is read of it, and that the rest travels on as the bytes it was.

Corpora of good and bad requests, then properties over random JSON. The official SDK's message types
stand on the other side where they say the same thing: what we write, they must read.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mcp_types.jsonrpc import (
    INVALID_REQUEST,
    PARSE_ERROR,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from msgspec import UNSET, Raw

from mcp_gateway.errors import INVALID_PARAMS, GatewayError, Kind
from mcp_gateway.wire.envelope import (
    NotAMessage,
    encode,
    error_response,
    notification,
    read_error,
    read_head,
    read_id,
    read_members,
    read_message,
    request_line,
    response,
    scan,
    scan_object,
)

# What a parser may be given: finite numbers, text of whole characters, nothing nested too deep.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=6)


def request(params: bytes = b"{}", request_id: bytes = b"1", method: bytes = b'"tools/call"') -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (request_id, method, params)


def refusal(body: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read_message(body)
    assert caught.value.kind is Kind.INVALID
    return caught.value


def written(value: Any, pretty: bool) -> bytes:
    """JSON as some client might write it: compact, or over several lines with escapes."""
    if pretty:
        return json.dumps(value, indent=1).replace("\n", "\r\n").encode()
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# -- what is refused: one text, two readings ------------------------------------------------------------

NOT_JSON = {
    "nothing": b"",
    "blank": b" \n",
    "half": b'{"jsonrpc":"2.0","id":1,"method":"m"',
    "more after the end": request() + b"{}",
    "a null byte after the end": request() + b"\0",
    "byte order mark": b"\xef\xbb\xbf" + request(),
    "UTF-16 with a mark": request().decode().encode("utf-16"),
    "UTF-16 without a mark": request().decode().encode("utf-16-le"),
    "UTF-32": request().decode().encode("utf-32-be"),
    "a byte that is not UTF-8": request(b'{"a":"\xff"}'),
    "a byte that is not UTF-8, in a key": request(b'{"\xff":1}'),
    "an overlong encoding": request(b'{"a":"\xc0\xaf"}'),
    "a surrogate in UTF-8": request(b'{"a":"\xed\xa0\x80"}'),
    "a lone high surrogate": request(b'{"a":"\\ud83d"}'),
    "a lone low surrogate": request(b'{"a":"\\ude00 "}'),
    "surrogates in the wrong order": request(b'{"a":"\\ude00\\ud83d"}'),
    "a lone surrogate in a key": request(b'{"\\ud800":1}'),
    "NaN": request(b'{"a":NaN}'),
    "Infinity": request(b'{"a":Infinity}'),
    "-Infinity": request(b'{"a":[-Infinity]}'),
    "a leading zero": request(b'{"a":01}'),
    "a bare point": request(b'{"a":1.}'),
    "hexadecimal": request(b'{"a":0x10}'),
    "a comma too many": request(b'{"a":1,}'),
    "a comment": request(b'{"a":/* 1 */1}'),
    "single quotes": request(b"{'a':1}"),
    "a bare line break in a string": request(b'{"a":"x\ny"}'),
    "a control character in a string": request(b'{"a":"\x1b[0m"}'),
    "a number of five million digits": request(b'{"a":' + b"7" * 5_000_000 + b"}"),
    "an id of five million digits": request(request_id=b"7" * 5_000_000),
    "201 arrays": request(b'{"a":' + b"[" * 201 + b"]" * 201 + b"}"),
    "a hundred thousand arrays": b"[" * 100_000,
    "a hundred thousand objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_plainly_json_is_a_parse_error(body: bytes) -> None:
    problem = refusal(body)
    assert problem.rpc_code == PARSE_ERROR
    assert len(problem.detail) < 300, "the refusal of a huge body is not huge itself"


DUPLICATES = {
    "in the envelope": b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{}}',
    "in the envelope, the same value": b'{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}',
    "in params": request(b'{"name":"safe","arguments":{},"name":"other"}'),
    "in arguments": request(b'{"name":"t","arguments":{"path":"a","path":"b"}}'),
    "in an array of objects": request(b'{"arguments":{"list":[{"x":1},{"x":1,"y":2,"x":3}]}}'),
    "spelled with an escape": request(b'{"name":"safe","n\\u0061me":"other"}'),
    "both spelled with escapes": request(b'{"a":{"\\u0062":1,"\\u0062":2}}'),
    "escaped in the envelope": b'{"jsonrpc":"2.0","id":1,"\\u0069d":2,"method":"ping"}',
    "empty keys": request(b'{"a":{"":1,"":2}}'),
    "after a lot else": request(b'{"a":{%b"k0":1}}' % b"".join(b'"k%d":0,' % n for n in range(1000))),
}


@pytest.mark.parametrize("body", DUPLICATES.values(), ids=DUPLICATES)
def test_a_key_given_twice_is_refused_at_every_level(body: bytes) -> None:
    problem = refusal(body)
    assert problem.rpc_code == PARSE_ERROR
    assert "uplicate" in problem.detail


CASE_VARIANTS = {
    "Method": b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}',
    "ID": b'{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}',
    "Jsonrpc alone": b'{"Jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}',
    "PARAMS alone": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","PARAMS":{"name":"t"}}',
    "Result": b'{"jsonrpc":"2.0","id":1,"result":{},"Result":{}}',
    "eRROR": b'{"jsonrpc":"2.0","id":1,"eRROR":{}}',
    "Name": request(b'{"name":"safe","Name":"other"}'),
    "Name alone": request(b'{"Name":"other"}'),
    "Name with an escape": request(b'{"name":"safe","\\u004eame":"other"}'),
    "Arguments": request(b'{"name":"t","arguments":{},"Arguments":{}}'),
    "_Meta": request(b'{"name":"t","_Meta":{}}'),
    "URI": request(b'{"uri":"a:b","URI":"c:d"}'),
    "Ref": request(b'{"Ref":{}}'),
    "Cursor": request(b'{"Cursor":"x"}'),
}


@pytest.mark.parametrize("body", CASE_VARIANTS.values(), ids=CASE_VARIANTS)
def test_a_member_that_differs_by_case_from_one_we_read_is_refused(body: bytes) -> None:
    assert refusal(body).rpc_code == INVALID_REQUEST


@pytest.mark.parametrize(
    "body",
    [
        request('{"name":"t","arguments":{},"argument\u017f":{}}'.encode()),
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{"name":"t"}}'.encode(),
        '{"jsonrpc":"2.0","id":1,"result":{},"re\u017fult":{}}'.encode(),
    ],
    ids=["arguments", "params", "result"],
)
def test_a_letter_that_folds_to_one_of_ours_is_a_case_variant(body: bytes) -> None:
    """Go's encoding/json takes U+017F for an s, so such a server would read the member we overlooked."""
    assert refusal(body).rpc_code == INVALID_REQUEST


def test_a_tools_own_arguments_and_meta_may_be_spelled_as_they_like() -> None:
    params = b'{"name":"t","arguments":{"Name":1,"name":2,"ARGUMENTS":3},"_meta":{"Name":1,"URI":2}}'
    assert list(read_message(request(params)).params) == ["name", "arguments", "_meta"]


NO_MESSAGE = {
    "an array": b"[%b]" % request(),
    "an empty array": b"[]",
    "a number": b"1",
    "null": b"null",
    "text": b'"ping"',
    "an empty object": b"{}",
    "no version": b'{"id":1,"method":"ping"}',
    "another version": b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    "a version that is a number": b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
    "id null": request(request_id=b"null"),
    "id true": request(request_id=b"true"),
    "id a fraction": request(request_id=b"1.5"),
    "id a whole float": request(request_id=b"1.0"),
    "id an exponent": request(request_id=b"1e2"),
    "id an array": request(request_id=b"[1]"),
    "id an object": request(request_id=b"{}"),
    "method a number": request(method=b"1"),
    "method an array": request(method=b'["ping"]'),
    "params an array": request(b"[]"),
    "params null": request(b"null"),
    "params text": request(b'"x"'),
}


@pytest.mark.parametrize("body", NO_MESSAGE.values(), ids=NO_MESSAGE)
def test_json_that_is_no_message_is_an_invalid_request(body: bytes) -> None:
    assert refusal(body).rpc_code == INVALID_REQUEST


@pytest.mark.parametrize("meta", [b"null", b"[]", b'"x"', b"1"])
def test_a_request_whose_meta_is_no_object_is_told_so_under_its_id(meta: bytes) -> None:
    body = request(b'{"_meta":%b}' % meta, request_id=b'"\\u0061"')
    assert refusal(body).rpc_code == INVALID_PARAMS
    assert read_id(body) == b'"\\u0061"'


def test_a_request_whose_method_is_null_is_not_taken_for_a_response() -> None:
    assert refusal(request(method=b"null")).rpc_code == INVALID_REQUEST


# -- what is accepted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written_id", "value"),
    [
        (b"1", 1),
        (b"0", 0),
        (b"-7", -7),
        (b"12345678901234567890123", 12345678901234567890123),
        (b'"1"', "1"),
        (b'""', ""),
        (b'"\\u0061"', "a"),
        ('"\u00fc\U0001f600"'.encode(), "\u00fc\U0001f600"),
    ],
)
def test_an_id_is_known_by_its_value_and_answered_as_it_was_written(
    written_id: bytes, value: int | str
) -> None:
    message = read_message(request(request_id=b"  %b " % written_id))
    assert message.id == value
    assert type(message.id) is type(value)
    assert message.id_raw == written_id
    assert response(message.id_raw, b"{}") == b'{"jsonrpc":"2.0","id":%b,"result":{}}' % written_id


def test_a_head_is_read_in_any_order_with_any_white_space_and_escapes() -> None:
    body = (
        b' \t{\r\n "p\\u0061rams" : { "arguments" : { "a" : 1 } , "n\\u0061me" : "t" } ,\n'
        b' "extra" : [ 1 ] , "meth\\u006fd" : "tools\\/call" , "id" : 5 , "jsonrpc" : "2.0" } \n'
    )
    message = read_message(body)
    assert (message.id, message.method) == (5, "tools/call")
    assert {key: bytes(value) for key, value in message.params.items()} == {
        "arguments": b'{ "a" : 1 }',
        "name": b'"t"',
    }


def test_a_notification_has_no_id_and_a_response_no_method() -> None:
    note = read_message(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    assert (note.id, note.id_raw, note.method, note.params, note.meta) == (
        None,
        b"",
        "notifications/initialized",
        {},
        {},
    )
    answer = read_message(b'{"jsonrpc":"2.0","id":9,"result":{"x":1}}')
    assert (answer.id, answer.method) == (9, None)


def test_the_meta_of_a_request_is_decoded_and_carried() -> None:
    message = read_message(request(b'{"name":"t","_meta":{"progressToken":7,"x":{"y":[null]}}}'))
    assert message.meta == {"progressToken": 7, "x": {"y": [None]}}
    assert bytes(message.params["_meta"]) == b'{"progressToken":7,"x":{"y":[null]}}'


def test_values_at_the_limits_are_accepted() -> None:
    deep = b"[" * 190 + b"]" * 190
    digits = b"7" * 4_300
    message = read_message(request(b'{"deep":%b,"digits":%b,"nul":"\\u0000"}' % (deep, digits)))
    assert bytes(message.params["deep"]) == deep
    assert bytes(message.params["digits"]) == digits


def test_a_body_for_rest_must_be_an_object() -> None:
    assert scan_object(b' {"a":[1,2.5,null]} ') == {"a": [1, 2.5, None]}
    for body in (b"[]", b"null", b'"{}"', b"3"):
        with pytest.raises(GatewayError) as caught:
            scan_object(body)
        assert caught.value.kind is Kind.INVALID
    with pytest.raises(GatewayError):
        scan(b'{"a":1,"a":2}')


# -- bytes travel on ------------------------------------------------------------------------------------

FAITHFUL = {
    "twenty digits": b'{"n":12345678901234567890}',
    "numbers as written": b'{"a":1.0,"b":1e2,"c":-0,"d":1.10,"e":1E-7,"f":0.1000000000000000055}',
    "nulls": b'{"a":null,"b":[null,{"c":null}]}',
    "order": b'{"z":1,"a":2,"_":3,"m":4,"B":5}',
    "unknown members": b'{"name":"t","arguments":{},"task":{"ttl":5},"x-new":[{}]}',
    "escapes": b'{"a":"\\u00fc\\/\\n\\ud83d\\ude00","b":"\xc3\xbc/\xf0\x9f\x98\x80","\\u0063":1}',
    "empty": b'{"":"","a":{},"b":[],"c":""}',
    "separators of other worlds": '{"a":"\u2028\u2029\u0085"}'.encode(),
}


@pytest.mark.parametrize("params", FAITHFUL.values(), ids=FAITHFUL)
def test_params_reach_the_server_as_the_bytes_they_came_in(params: bytes) -> None:
    line = request_line(3, "tools/call", read_message(request(params)).params)
    # A key is a name, not a value: it may be spelled anew, what stands behind it may not.
    expected = params.replace(b'"\\u0063"', b'"c"')
    assert line == b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":%b}\n' % expected


def test_pretty_printed_arguments_lose_their_line_breaks_and_nothing_else() -> None:
    arguments = b'{\r\n\t"text": "a\\nb\\r  c",\n\n  "list": [\n1,\n2 ]\r}'
    params = read_message(request(b'{"name":"t","arguments":%b}' % arguments)).params
    line = request_line(1, "tools/call", params)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert b"\r" not in line
    carried = bytes(read_members(read_head(line).params)["arguments"])
    assert carried == arguments.replace(b"\n", b" ").replace(b"\r", b" ")
    assert json.loads(carried) == {"text": "a\nb\r  c", "list": [1, 2]}


def test_a_lone_carriage_return_ends_no_line_either() -> None:
    line = request_line(1, "m", {"a": Raw(b"[1,\r2]")})
    assert line == b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":[1, 2]}}\n'


def test_a_method_is_encoded_not_pasted() -> None:
    assert json.loads(request_line(1, 'a"b\\\n', {}))["method"] == 'a"b\\\n'
    assert json.loads(notification('a"b'))["method"] == 'a"b'


def test_an_error_without_a_readable_id_answers_null() -> None:
    assert json.loads(error_response(b"", b'{"code":-32700,"message":"x"}'))["id"] is None
    assert json.loads(error_response(b'"7"', b'{"code":-32700,"message":"x"}'))["id"] == "7"


# -- heads of a server's messages -----------------------------------------------------------------------


def test_the_head_of_an_answer_is_read_in_any_order_and_its_result_left_alone() -> None:
    result = b'{ "content" : [ { "type":"x-new", "n": 12345678901234567890 } ], "isError":null }'
    for line in (
        b'{"jsonrpc":"2.0","id":4,"result":%b}' % result,
        b'{"result":%b,"jsonrpc":"2.0","id":4}' % result,
        b' { "extra":{"id":9,"result":1}, "result" : %b , "id":4, "jsonrpc":"2.0" } \r' % result,
    ):
        for form in (line, memoryview(line)):
            head = read_head(form)
            assert head.id == 4
            assert head.method is UNSET
            assert bytes(head.result) == result
            assert not head.error


@pytest.mark.parametrize(
    ("line", "head_id"),
    [
        (b'{"id":"4","result":{}}', "4"),
        (b'{"id":null,"error":{}}', None),
        (b'{"id":-1,"result":{}}', -1),
        (b'{"id":1,"method":"ping"}', 1),
    ],
)
def test_the_id_of_a_head_keeps_its_type(line: bytes, head_id: int | str | None) -> None:
    head = read_head(line)
    assert head.id == head_id
    assert type(head.id) is type(head_id)


NO_HEAD = {
    "text": b"Server is ready",
    "a number": b"42",
    "null": b"null",
    "an array": b'[{"jsonrpc":"2.0","id":1,"result":{}}]',
    "no id and no method": b'{"jsonrpc":"2.0"}',
    "only a result": b'{"result":{}}',
    "id true": b'{"id":true,"result":{}}',
    "id a fraction": b'{"id":1.5,"result":{}}',
    "id an array": b'{"id":[1],"result":{}}',
    "id of five million digits": b'{"id":' + b"7" * 5_000_000 + b',"result":{}}',
    "method a number": b'{"method":7}',
    "two on a line": b'{"id":1,"result":{}}{"id":2,"result":{}}',
    "NaN in the result": b'{"id":1,"result":{"n":NaN}}',
    "half": b'{"id":1,"result":{',
    "a hundred thousand arrays": b'{"id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a bare control character": b'{"id":1,"result":{"a":"\x1b"}}',
}


@pytest.mark.parametrize("line", NO_HEAD.values(), ids=NO_HEAD)
def test_a_line_that_is_no_message_is_told_apart(line: bytes) -> None:
    with pytest.raises(NotAMessage):
        read_head(line)


@pytest.mark.parametrize(
    ("raw", "code", "message"),
    [
        (b'{"code":-32601,"message":"no","data":{"x":1}}', -32601, "no"),
        (b'{"code":1}', 1, ""),
    ],
)
def test_an_error_member_is_read(raw: bytes, code: int, message: str) -> None:
    problem = read_error(raw)
    assert problem is not None
    assert (problem.code, problem.message) == (code, message)


@pytest.mark.parametrize(
    "raw",
    [b'"it broke"', b'{"code":"E1","message":"no"}', b'{"message":"no"}', b"null", b"[]", b'{"code":1.5}'],
)
def test_an_error_member_that_is_none_is_told_apart(raw: bytes) -> None:
    assert read_error(raw) is None


def test_the_members_of_what_is_no_object_are_none() -> None:
    for raw in (b"[]", b"null", b"7", b'"x"', b"{", b'{"a":' * 100_000):
        assert read_members(raw) == {}


# JavaScript cuts text between the halves of a character and writes the half as an escape.
LONE = {
    "high": rb'"a\ud83d"',
    "low": rb'"\ude00a"',
    "two high": rb'"\ud83d\ud83d"',
    "low before high": rb'"\ude00\ud83d"',
    "behind a whole character": rb'"\ud83d\ude00\ud83d"',
    "behind a backslash": rb'"\\\ud83d"',
    "behind two backslashes": rb'"\\\\\ud83d\\"',
    "upper case": rb'"\uD83D\uDE00\uDBFF"',
    "beside text that looks alike": rb'"\\ud83d\ud83d\\ude00"',
    "in a key": rb'{"\ud83d":1}',
}


@pytest.mark.parametrize("value", LONE.values(), ids=LONE)
def test_half_a_character_in_an_answer_is_carried_as_it_came(value: bytes) -> None:
    result = b'{"content":[%b],"n":1.0}' % value
    for line in (
        b'{"jsonrpc":"2.0","id":4,"result":%b}' % result,
        b'{"extra":%b,"result":%b,"id":4}' % (value, result),
    ):
        head = read_head(line)
        assert head.id == 4
        assert bytes(head.result) == result


def test_half_a_character_elsewhere_does_not_change_what_is_carried() -> None:
    line = rb'{"x":{"a":"\ud800"},"id":4,"result":{"a":"\ud801"}}'
    assert bytes(read_head(line).result) == rb'{"a":"\ud801"}'
    line = rb'{"x":{"a":"xxxxxx"},"id":4,"result":{"a":"\ud801"}}'
    assert bytes(read_head(line).result) == rb'{"a":"\ud801"}'


@settings(deadline=None, max_examples=300)
@given(
    st.recursive(
        st.text(st.sampled_from('a\\"\ud83d\ude00\U0001f600u'), max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    ),
    st.integers(1, 99),
)
def test_any_text_of_a_javascript_server_is_carried_as_it_came(value: Any, number: int) -> None:
    result = json.dumps({"value": value}).encode()
    line = b'{"other":%b,"jsonrpc":"2.0","id":%d,"result":%b}' % (json.dumps(value).encode(), number, result)
    head = read_head(line)
    assert (head.id, bytes(head.result)) == (number, result)


def test_half_a_character_below_a_member_of_the_same_name_is_not_taken_for_it() -> None:
    line = rb'{"id":4,"result":{"a":"\ud801"},"x":{"result":{"a":"\ud800"}}}'
    assert bytes(read_head(line).result) == rb'{"a":"\ud801"}'


def test_half_a_character_behind_a_member_spelled_with_an_escape_breaks_nothing() -> None:
    result = rb'{"a":"\ud800"}'
    try:
        head = read_head(rb'{"id":4,"r\u0065sult":%b}' % result)
    except NotAMessage:
        return
    assert bytes(head.result) == result


def test_half_a_character_in_what_is_rewritten_loses_nothing() -> None:
    """Progress is rewritten on its way to the caller, and an error is read for its code."""
    members = read_members(rb'{"progress":1,"message":"cut \ud83d"}')
    assert {key: bytes(value) for key, value in members.items()} == {
        "progress": b"1",
        "message": rb'"cut \ud83d"',
    }
    problem = read_error(rb'{"code":-32602,"message":"cut \ud83d"}')
    assert problem is not None
    assert problem.code == -32602


# -- properties -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=300)
@given(params=OBJECTS, request_id=st.integers() | TEXT, method=TEXT, pretty=st.booleans())
def test_slices_mean_what_the_whole_meant(
    params: dict[str, Any], request_id: int | str, method: str, pretty: bool
) -> None:
    assume(
        not any(key.casefold() in {"name", "arguments", "_meta", "uri", "ref", "cursor"} for key in params)
    )
    whole = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    message = read_message(written(whole, pretty))
    assert (message.id, message.method) == (request_id, method)
    assert json.loads(message.id_raw) == request_id
    assert list(message.params) == list(params), "the order of members is kept"
    assert {key: json.loads(bytes(value)) for key, value in message.params.items()} == params


@settings(deadline=None, max_examples=300)
@given(params=OBJECTS, number=st.integers(1, 2**53), method=TEXT, pretty=st.booleans())
def test_a_request_is_one_line_that_the_sdk_reads_as_what_was_asked(
    params: dict[str, Any], number: int, method: str, pretty: bool
) -> None:
    slices = read_members(written(params, pretty))
    line = request_line(number, method, slices)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert b"\r" not in line
    assert line.splitlines(keepends=True) == [line]
    # Python's own parser compares values (the SDK's makes floats of some integers beyond 64 bits).
    assert json.loads(line) == {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    read = jsonrpc_message_adapter.validate_json(line, strict=True)
    assert isinstance(read, JSONRPCRequest)
    assert (read.id, read.method) == (number, method)
    assert list(read.params or {}) == list(params)


@settings(deadline=None, max_examples=100)
@given(request_id=st.integers(-(2**63), 2**63) | TEXT, params=OBJECTS)
def test_what_the_sdk_writes_is_read(request_id: int | str, params: dict[str, Any]) -> None:
    assume(
        not any(key.casefold() in {"name", "arguments", "_meta", "uri", "ref", "cursor"} for key in params)
    )
    asked = JSONRPCRequest(jsonrpc="2.0", id=request_id, method="tools/call", params=params)
    message = read_message(asked.model_dump_json().encode())
    assert (message.id, message.method, list(message.params)) == (request_id, "tools/call", list(params))
    note = JSONRPCNotification(jsonrpc="2.0", method="notifications/x", params=params)
    head = read_head(note.model_dump_json().encode())
    assert (head.id, head.method) == (UNSET, "notifications/x")


@settings(deadline=None, max_examples=100)
@given(request_id=st.integers() | TEXT, result=OBJECTS, pretty=st.booleans())
def test_what_we_answer_the_sdk_reads(request_id: int | str, result: dict[str, Any], pretty: bool) -> None:
    body = response(encode_id(request_id), written(result, pretty))
    assert json.loads(body) == {"jsonrpc": "2.0", "id": request_id, "result": result}
    if isinstance(request_id, str) or abs(request_id) < 2**63:
        assert isinstance(jsonrpc_message_adapter.validate_json(body), JSONRPCResponse)
    error = error_response(encode_id(request_id), b'{"code":-32000,"message":"x","data":{"code":"busy"}}')
    assert isinstance(jsonrpc_message_adapter.validate_json(error), JSONRPCError)


def encode_id(request_id: int | str) -> bytes:
    return json.dumps(request_id).encode()


@settings(deadline=None, max_examples=300)
@given(value=VALUES, data=st.data())
def test_a_broken_body_is_refused_and_nothing_else_escapes(value: Any, data: st.DataObject) -> None:
    """Whatever bytes arrive, the answer is a message or `invalid`: no parser's own exception."""
    body = bytearray(request(written({"a": value}, pretty=False)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        assume(body)
    try:
        message = read_message(bytes(body))
    except GatewayError as caught:
        problem = caught
    else:
        json.loads(bytes(body))  # what we take, a plain parser takes, too
        assert request_line(1, message.method or "", message.params).count(b"\n") == 1
        return
    assert problem.kind is Kind.INVALID
    assert problem.rpc_code in (PARSE_ERROR, INVALID_REQUEST)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60) | VALUES.map(lambda value: written(value, pretty=False)))
def test_any_line_is_a_head_or_not_a_message(line: bytes) -> None:
    try:
        head = read_head(line)
    except NotAMessage:
        return
    decoded = json.loads(line)
    assert isinstance(decoded, dict)
    assert {"id", "method"} & decoded.keys()
    assert head.id is UNSET or head.id == decoded["id"]


@settings(deadline=None, max_examples=200)
@given(members=OBJECTS, pretty=st.booleans())
def test_members_re_encode_to_the_same_values_in_the_same_order(
    members: dict[str, Any], pretty: bool
) -> None:
    raw = read_members(written(members, pretty))
    again = msgspec.json.encode(raw)
    assert json.loads(again) == members
    assert list(json.loads(again)) == list(members)
    assert encode(raw) == again
