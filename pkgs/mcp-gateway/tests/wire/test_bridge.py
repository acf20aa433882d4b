"""What one era says, in the way of the other; anything that is not for that stays as it came."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_gateway.wire.bridge import as_handshake, handshake_error, read_round, with_answers
from mcp_gateway.wire.envelope import encode

ODD = b'"n":12345678901234567890.10,"x":null,"a":[1,{ "resultType":"input_required"}]'
HERE = b'{"code":-32602,"message":"no","data":{"uri":"x://a"}}'
NOWHERE = b'{"code":-32602,"message":"no"}'


def test_a_round_is_read_with_its_parts_as_they_came() -> None:
    params = b'{"message":"m", "n":1.0}'
    asked = read_round(
        Raw(
            b'{"inputRequests":{"a":{"method":"elicitation/create","params":%b},"b":{"method":"roots/list"}},'
            b'"requestState":"\\u0061 ","resultType":"input_required",%b}' % (params, ODD)
        )
    )
    assert asked is not None
    assert {name: one.method for name, one in asked.inputRequests.items()} == {
        "a": "elicitation/create",
        "b": "roots/list",
    }
    assert bytes(asked.inputRequests["a"].params) == params
    assert bytes(asked.inputRequests["b"].params) == b""
    assert bytes(asked.requestState) == b'"\\u0061 "'


@pytest.mark.parametrize(
    "result",
    [
        b"{}",
        b'{"content":[]}',
        b'{"resultType":"complete"}',
        b'{"resultType":"complete","text":"input_required"}',
        b'{"resultType":["input_required"]}',
        b'{"x":{"resultType":"input_required"}}',
    ],
)
def test_what_asks_for_nothing_is_no_round(result: bytes) -> None:
    assert read_round(Raw(result)) is None


@pytest.mark.parametrize("inputs", [b"7", b"[]", b'{"a":7}', b'{"a":{}}', b'{"a":{"method":7}}'])
def test_a_round_that_makes_no_sense_is_told(inputs: bytes) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        read_round(Raw(b'{"resultType":"input_required","inputRequests":%b}' % inputs))


def test_a_round_may_ask_for_nothing_and_keep_no_state() -> None:
    asked = read_round(Raw(b'{"resultType":"input_required"}'))
    assert asked is not None
    params: dict[str, Any] = {"name": "t", "requestState": Raw(b'"old"'), "inputResponses": Raw(b"{}")}
    assert with_answers(params, asked, {}) == {"name": "t"}


def test_the_request_goes_again_with_the_answers_and_the_state_as_they_came() -> None:
    asked = read_round(Raw(b'{"resultType":"input_required","requestState":"new\\u00e4"}'))
    assert asked is not None
    params: dict[str, Any] = {
        "name": Raw(b'"t"'),
        "requestState": Raw(b'"old"'),
        "arguments": Raw(b'{"n":1.0}'),
    }
    again = with_answers(params, asked, {"a": b'{"n":1.0 }'})
    assert (
        encode(again)
        == b'{"name":"t","arguments":{"n":1.0},"inputResponses":{"a":{"n":1.0 }},"requestState":"new\\u00e4"}'
    )
    assert bytes(params["requestState"]) == b'"old"', "what was sent before is left alone"


@pytest.mark.parametrize(
    ("code", "method", "error", "known"),
    [
        (-32020, "tools/call", NOWHERE, -32600),
        (-32021, "tools/call", NOWHERE, -32603),
        (-32022, "tools/call", NOWHERE, -32600),
        (-32602, "resources/read", HERE, -32002),
        (-32602, "resources/read", NOWHERE, -32602),
        (-32602, "tools/call", HERE, -32602),
        (-32601, "tools/call", NOWHERE, -32601),
        (7, "resources/read", HERE, 7),
    ],
)
def test_a_code_that_only_the_modern_era_has_becomes_one_of_the_other(
    code: int, method: str, error: bytes, known: int
) -> None:
    assert handshake_error(code, method, error) == known


def test_a_result_loses_what_only_the_modern_era_has_and_nothing_else() -> None:
    modern = b'{"resultType":"complete","ttlMs":1,"content":[],"cacheScope":"private",%b}' % ODD
    assert bytes(as_handshake(Raw(modern))) == b'{"content":[],%b}' % ODD
    for same in (b'{ "content":[] ,%b}' % ODD, b'{"structuredContent":{"ttlMs":1} }'):
        result = Raw(same)
        assert as_handshake(result) is result


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


names = st.text(max_size=5) | st.sampled_from(["resultType", "ttlMs", "cacheScope"])


@given(st.dictionaries(names, json_values | st.dictionaries(names, json_values), max_size=5))
def test_nothing_is_lost_on_the_way(result: dict[str, Any]) -> None:
    kept = json.loads(bytes(as_handshake(Raw(json.dumps(result).encode()))))
    assert kept == {k: v for k, v in result.items() if k not in ("resultType", "ttlMs", "cacheScope")}


SAME = [
    b'{"content":[]}',
    b"{}",
    b'{"content":[{"type":"text","text":"\\"resultType\\":\\"complete\\" and ttlMs"}]}',
    b'{"structuredContent":{"a":1,"resultType":"complete"}}',
    b'{"_meta":{"cacheScope":"public","ttlMs":1}}',
    b'{ "content" : [ ] }',
]
CHANGED = [
    (b'{"resultType":"complete","content":[]}', b'{"content":[]}'),
    (b'{"content":[],"resultType":"complete"}', b'{"content":[]}'),
    (b'{"resultType":"complete"}', b"{}"),
    (b'{ "resultType": "complete", "content": [ ] }', b'{"content":[ ]}'),
    (b'{"contents":[],"ttlMs":5,"resultType":"complete","cacheScope":"public"}', b'{"contents":[]}'),
    (b'{"resultType":"complete","contents":[],"ttlMs":5,"cacheScope":"public"}', b'{"contents":[]}'),
    (b'{"ttlMs":5,"contents":[],"resultType":"complete"}', b'{"contents":[]}'),
    (
        b'{"resultType":"complete","structuredContent":{"resultType":"complete","n":1.0}}',
        b'{"structuredContent":{"resultType":"complete","n":1.0}}',
    ),
    (b'{"resultType":"complete","x":1,"resultType":"complete"}', b'{"x":1}'),
]


@pytest.mark.parametrize("result", SAME)
def test_what_has_nothing_new_is_left_alone(result: bytes) -> None:
    assert bytes(as_handshake(Raw(result))) == result


@pytest.mark.parametrize(("result", "expected"), CHANGED)
def test_what_is_new_is_left_out_and_nothing_else(result: bytes, expected: bytes) -> None:
    assert bytes(as_handshake(Raw(result))) == expected
