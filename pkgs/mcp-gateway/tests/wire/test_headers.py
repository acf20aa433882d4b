"""The headers of a modern request; the official SDK is the other opinion wherever it has one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    decode_header_value,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)
from msgspec import Raw

from mcp_gateway.wire.headers import (
    NotMirrorable,
    header_value,
    mirrors_of,
    param_headers,
    routing_headers,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def tool(schema: Any) -> bytes:
    return json.dumps({"name": "t", "inputSchema": schema}).encode()


def mirrored(kind: str = "string", header: Any = "Region") -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": header}


@given(TEXT)
def test_a_value_arrives_as_it_was_whatever_it_holds(text: str) -> None:
    wrapped = header_value(text)
    assert wrapped == encode_header_value(text)
    assert decode_header_value(wrapped) == text
    assert wrapped.isascii()
    assert wrapped.isprintable()


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "echo"}, "echo"),
        ("tools/call", {"name": Raw(b'"Gr\\u00fc\\u00dfe"')}, header_value("Grüße")),
        ("tools/call", {"name": Raw(b'"\\ud800"')}, None),
        ("prompts/get", {"name": "p"}, "p"),
        ("resources/read", {"uri": Raw(b'"file:///a b"')}, "file:///a b"),
        ("tools/list", {"name": "no"}, None),
    ],
)
def test_the_routing_headers_repeat_method_and_name(
    method: str, params: dict[str, Any], name: str | None
) -> None:
    headers = routing_headers(method, params)
    assert headers.pop("Mcp-Method") == method
    assert headers == ({} if name is None else {"Mcp-Name": name})


SCHEMAS: list[Any] = [
    {"type": "object", "properties": {"region": mirrored()}},
    {"type": "object", "properties": {"n": mirrored("integer"), "b": mirrored("boolean", "B")}},
    {"properties": {"deep": {"properties": {"er": mirrored()}}}},
    {"properties": {"x-mcp-header": {"type": "string"}}},
    {"properties": {"a": {"default": {"x-mcp-header": "no annotation"}}}},
    {"properties": {"n": mirrored("number")}},
    {"properties": {"n": {"x-mcp-header": "NoType"}}},
    {"properties": {"a": mirrored(header="")}},
    {"properties": {"a": mirrored(header="two words")}},
    {"properties": {"a": mirrored(header=7)}},
    {"properties": {"a": mirrored(header="A\r\nB")}},
    {"properties": {"a": mirrored(), "b": mirrored(header="region")}},
    {"properties": {"list": {"items": mirrored()}}},
    {"$defs": {"d": mirrored()}, "properties": {}},
    {"allOf": [{"properties": {"a": mirrored()}}]},
    {"x-mcp-header": "Root", "type": "string"},
    True,
    None,
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_annotations_are_read_as_the_specification_says(schema: Any) -> None:
    if find_invalid_x_mcp_header(schema) is not None:
        with pytest.raises(NotMirrorable):
            mirrors_of(tool(schema))
        return
    theirs = {place: f"Mcp-Param-{header}" for place, header in x_mcp_header_map(schema).items()}
    assert {place: mirror.header for place, mirror in mirrors_of(tool(schema)).items()} == theirs


@pytest.mark.parametrize(
    "arguments",
    [
        {"region": "eu", "n": 3, "deep": {"b": True}},
        {"region": " edge ", "n": -1, "deep": {"b": False}},
        {"region": None, "deep": {}},
        {"region": "Zürich", "deep": "no object"},
        {"region": ["a list"], "n": 10**30},
        {},
    ],
)
def test_values_are_repeated_where_they_are(arguments: dict[str, Any]) -> None:
    schema = {
        "properties": {
            "region": mirrored(),
            "n": mirrored("integer", "N"),
            "deep": {"properties": {"b": mirrored("boolean", "B")}},
        }
    }
    ours = param_headers(mirrors_of(tool(schema)), {"arguments": Raw(json.dumps(arguments).encode())})
    assert ours == mcp_param_headers(x_mcp_header_map(schema), arguments)


def test_a_tool_that_wants_nothing_repeated_is_not_even_read() -> None:
    assert mirrors_of(b"{not json") == {}
