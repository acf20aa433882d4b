"""Lines of keys, checked against JSON that is laid out one key or element per line."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.config.positions import positions

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in the order of the text."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


@given(documents, st.booleans())
def test_every_key_and_element_has_the_line_it_stands_on(document: Any, is_ascii: bool) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=is_ascii)
    found = positions(text)
    assert list(found.lines) == places(document)
    assert found.repeated == ()
    starts = [number for number, line in enumerate(text.split("\n"), 1) if line.strip(" ,") not in ("}", "]")]
    assert list(found.lines.values()) == starts


@given(documents)
def test_without_line_ends_everything_stands_on_line_one(document: Any) -> None:
    assert set(positions(json.dumps(document)).lines.values()) == {1}


def test_a_place_that_is_missing_gets_the_line_of_what_is_around_it() -> None:
    found = positions('{\n"a": {\n"b": [1]}}')
    assert found.line(("a", "b", 0, "gone", "too")) == 3
    assert found.line(("a", "gone")) == 2
    assert found.line(("gone",)) == 1


def test_repeated_keys_are_told_once_and_without_what_is_inside_them() -> None:
    found = positions(
        '{"a": {"x": 1},\n "b": [{"y": 1}, {"y": 2}],\n "a": {"x": 2},\n "c": {"z": 1, "\\u007a": 2}}'
    )
    assert found.repeated == ((("a",), 3), (("c", "z"), 4))
