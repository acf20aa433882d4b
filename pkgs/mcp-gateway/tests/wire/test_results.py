"""URIs in results are exchanged where they stand, and nothing else is touched."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcp_gateway.wire.results import own_uri, with_uris

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
