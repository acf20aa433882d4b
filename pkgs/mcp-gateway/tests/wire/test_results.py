"""URIs in results are exchanged where they stand, and nothing else is touched."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_gateway.wire.results import as_modern, own_uri, with_uris

ODD = '"n":12345678901234567890.10, "x":null,"a":[1,{ "uri":"u://1"}]'


def seen(uri: str) -> str:
    return uri.replace("u://", "u://a.mcp-gateway/")


def changed(method: str, result: str) -> str:
    return bytes(with_uris(method, Raw(result.encode()), seen)).decode()


LINK = f'{{"type":"resource_link","uri":"u://1","name":"n",{ODD}}}'
RESOURCE = f'{{"type":"resource","resource":{{"uri":"u://1","text":"u://1",{ODD}}},{ODD}}}'
TEXT = '{"type":"text","text":"u://1","uri":"u://1" }'


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("tools/call", f'{{"content":[{LINK},{RESOURCE}],"structuredContent":{{"uri":"u://1"}},{ODD}}}'),
        ("resources/read", f'{{"contents":[{{"uri":"u://1","text":"u://1",{ODD}}}],{ODD}}}'),
        ("prompts/get", f'{{"messages":[{{"role":"user","content":{LINK}}}],{ODD}}}'),
        ("prompts/get", f'{{"messages":[{{"role":"user","content":[{RESOURCE}]}}],{ODD}}}'),
    ],
)
def test_uris_are_exchanged_where_mcp_puts_them(method: str, result: str) -> None:
    new = changed(method, result)
    assert new.count("u://a.mcp-gateway/1") == (2 if method == "tools/call" else 1)
    assert new.replace("u://a.mcp-gateway/1", "u://1").replace(" ", "") == result.replace(" ", "")


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("tools/call", f'{{ "content" : [{TEXT}], "uri":"u://1" }}'),
        ("tools/call", '{"content":{"uri":"u://1","type":"resource_link"}}'),
        ("tools/call", '{"contents":[{"uri":"u://1"}]}'),
        (
            "tools/call",
            '{"content":[null,"uri",7,{"type":7,"uri":"u://1"},{"type":"resource_link","uri":7}]}',
        ),
        ("tools/call", '{"content":[{"type":"resource","resource":"u://1","uri":"u://1"}]}'),
        ("resources/read", '{"contents":[{"uri":"v://1"}]}'),
        ("prompts/get", '{"messages":[{"content":"uri"}]}'),
        ("completion/complete", '{"completion":{"values":["u://1"],"uri":"u://1"}}'),
    ],
)
def test_everything_else_is_the_same_object(method: str, result: str) -> None:
    raw = Raw(result.encode())
    assert with_uris(method, raw, seen) is raw


def test_half_a_character_beside_a_uri_survives() -> None:
    result = r'{"contents":[{"uri":"u://1","text":"\ud83d"}]}'
    assert changed("resources/read", result) == result.replace("u://1", "u://a.mcp-gateway/1")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(("uri", "type", "resource", "content", "contents", "x")), inner)
        ),
    )
)
def test_no_result_is_broken(value: Any) -> None:
    for method, member in (
        ("tools/call", "content"),
        ("resources/read", "contents"),
        ("prompts/get", "messages"),
    ):
        before = {member: value}
        after = json.loads(changed(method, json.dumps(before)))
        assert after.keys() == before.keys()


def test_a_definition_keeps_all_but_its_uri() -> None:
    assert own_uri(b'{"name":"n","uri":"u","size":1.0}', "v") == b'{"name":"n","uri":"v","size":1.0}'


# -- the modern era -------------------------------------------------------------------------------------

KEPT = b'"ttlMs":0,"cacheScope":"private"'


def modern(result: bytes, *, may_be_kept: bool = False) -> bytes:
    return b"".join(as_modern(Raw(result), may_be_kept=may_be_kept))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (b"{}", b'{"resultType":"complete"}'),
        (b"{ \n\t}", b'{"resultType":"complete" \n\t}'),
        (b'{"content":[]}', b'{"resultType":"complete","content":[]}'),
        (b'{ "content":[1.0]}', b'{"resultType":"complete", "content":[1.0]}'),
        (b'{"resultType":"complete","z":1}', b'{"resultType":"complete","z":1}'),
        (b'{"z":1,"resultType":"complete"}', b'{"z":1,"resultType":"complete"}'),
        (b'{"resultType" : "complete","z":1}', b'{"resultType" : "complete","z":1}'),
        (b'{"a":{"resultType":"complete"}}', b'{"resultType":"complete","a":{"resultType":"complete"}}'),
        (
            b'{"a":[{"resultType":"complete"} ]}',
            b'{"resultType":"complete","a":[{"resultType":"complete"} ]}',
        ),
        (b'{"z":1,"resultType":"task"}', b'{"z":1,"resultType":"task"}'),
        (b'{"x":{"resultType":"inner"}}', b'{"resultType":"complete","x":{"resultType":"inner"}}'),
        (b'{"t":"\\ud83d \\"resultType\\""}', b'{"resultType":"complete","t":"\\ud83d \\"resultType\\""}'),
    ],
)
def test_a_result_has_its_type_and_else_is_as_it_came(result: bytes, expected: bytes) -> None:
    assert modern(result) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (b'{"contents":[]}', b'{"resultType":"complete",' + KEPT + b',"contents":[]}'),
        (
            b'{"contents":[],"ttlMs":5}',
            b'{"resultType":"complete","cacheScope":"private","contents":[],"ttlMs":5}',
        ),
        (b'{"resultType":"complete","a":1}', b"{" + KEPT + b',"resultType":"complete","a":1}'),
        (b'{"resultType":"input_required"}', b'{"resultType":"input_required"}'),
        (
            b'{"cacheScope":"public","ttlMs":9,"resultType":"complete"}',
            b'{"cacheScope":"public","ttlMs":9,"resultType":"complete"}',
        ),
        (b"{}", b'{"resultType":"complete",' + KEPT + b"}"),
    ],
)
def test_what_may_be_kept_says_for_how_long_if_it_is_complete(result: bytes, expected: bytes) -> None:
    assert modern(result, may_be_kept=True) == expected


def test_a_large_result_is_not_copied_for_its_type() -> None:
    opening, rest = as_modern(Raw(b'{"content":"' + b"x" * 100_000 + b'"}'), may_be_kept=False)
    assert opening == b'{"resultType":"complete",'
    assert memoryview(rest).nbytes == 100_000 + len('"content":""}')
