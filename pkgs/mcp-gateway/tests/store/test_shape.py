"""Shapes: never a value, never large, whatever comes in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.store.shape import MAX_TEXT_BYTES, shape_text


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (b"{}", {}),
        (b'{"text":"h\\u00e9llo","n":1,"x":1.5,"b":true,"z":null}',
         {"text": "string(5)", "n": "integer", "x": "number", "b": "boolean", "z": "null"}),
        (b'{"list":["abc",1,2,3,4],"none":[]}', {"list": ["string(3)", 5], "none": []}),
        (b'{"a":{"b":{"c":{"d":{"e":1},"l":[1]}}}}',
         {"a": {"b": {"c": {"d": "object(1)", "l": "array(1)"}}}}),
        (b"[[1,2],3]", [["integer", 2], 2]),
        (b"7", "integer"),
        (b"", "not JSON"),
        (b'{"a":', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[" * 4_000_000, "array(4000000 bytes)"),
    ],
    ids=range(11),
)  # fmt: skip
def test_the_shape_of(arguments: bytes, shape: Any) -> None:
    assert json.loads(shape_text(arguments)) == shape


def test_more_keys_than_anyone_reads_are_counted() -> None:
    shape = json.loads(shape_text(json.dumps({f"k{n}": n for n in range(40)}).encode()))
    assert len(shape) == 33
    assert shape["…"] == "8 more keys"


def test_a_shape_that_would_be_too_long_loses_depth_first_and_then_its_names() -> None:
    deep = {f"{n}{'k' * 20}": {"inner" * 5: [n], "more" * 5: [n]} for n in range(30)}
    assert json.loads(shape_text(json.dumps(deep).encode()))["0" + "k" * 20] == "object(2)"
    long_names = {f"{n}{'é' * 62}": 1 for n in range(32)}
    assert json.loads(shape_text(json.dumps(long_names).encode())) == {"…": "32 keys"}


def test_of_a_large_object_the_top_level_is_still_told() -> None:
    arguments = json.dumps(
        {"path": "/x", "content": "y" * 3_000_000, "list": [1] * 9000, "small": {"a": [1]}}
    )
    assert json.loads(shape_text(arguments.encode())) == {
        "path": "string(2)",
        "content": "string(3000002 bytes)",
        "list": "array(27000 bytes)",
        "small": {"a": ["integer", 1]},
    }


def test_a_large_object_of_tiny_keys_is_told_by_its_size() -> None:
    arguments = json.dumps({str(n): n for n in range(30_000)}).encode()
    assert json.loads(shape_text(arguments)) == f"object({len(arguments)} bytes)"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), _json))
def test_any_object_has_a_small_shape_of_valid_json(arguments: dict[str, Any]) -> None:
    text = shape_text(json.dumps(arguments).encode())
    json.loads(text)
    assert len(text.encode()) <= MAX_TEXT_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_have_a_shape(arguments: bytes) -> None:
    json.loads(shape_text(arguments))
