"""S36: a schema costs a page what is shown of it, however often it refers to whatever is large in it.

Each of these took between 2 and 44 seconds of the gateway's one thread, or ended in a mistake.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcp_gateway.faces.ui import forms, schema
from mcp_gateway.faces.ui.forms import form_of

MANY = 30_000
PLACES = 1_500


class Counted(list[Any]):
    """A list that knows how many of its items were looked at one after the other."""

    looked = 0

    def __iter__(self) -> Iterator[Any]:
        for one in super().__iter__():
            self.looked += 1
            yield one


def everywhere(large: dict[str, Any], places: int = PLACES) -> dict[str, Any]:
    """A schema that refers to another one at so many places."""
    return {
        "type": "object",
        "$defs": {"large": large},
        "properties": {f"p{number}": {"$ref": "#/$defs/large"} for number in range(places)},
    }


@pytest.mark.parametrize("keyword", ["required", "enum"])
def test_S36_a_long_list_is_read_once_from_wherever_it_is_referred_to(keyword: str) -> None:
    long = Counted(f"x{number}" for number in range(MANY))
    found = schema.read(everywhere({keyword: long, "properties": {"x7": {"type": "string"}}}))
    assert len(found.children) > 100
    assert long.looked <= MANY
    if keyword == "required":
        assert found.children[0].children[0].is_required


LARGE: dict[str, Callable[[], dict[str, Any]]] = {
    "words that nobody knows": lambda: {f"k{number}": 1 for number in range(MANY)},
    "a title": lambda: {"title": "x" * 1_000_000},
    "what is required": lambda: {"required": ["x"] * MANY, "properties": {"a": {}}},
    "choices": lambda: {"enum": list(range(MANY))},
    "a default": lambda: {"default": [1] * MANY},
    "a default without an end": lambda: {"default": [*[1] * MANY, float("inf")]},
    "demands": lambda: {"anyOf": [{"required": []}] * MANY, "properties": {"a": {}}},
    "all of several": lambda: {"allOf": [{"required": ["x"] * MANY}] * 300, "properties": {"a": {}}},
    "a reference": lambda: {"$ref": "#/" + "a/" * MANY},
}


@pytest.mark.parametrize("what", LARGE)
def test_S36_what_is_large_may_be_referred_to_from_everywhere(what: str) -> None:
    bomb = everywhere(LARGE[what]())
    assert schema.read(bomb).children
    assert len(schema.raw_text(bomb)) <= schema.RAW_CHARS + 20
    assert form_of(bomb) == forms.Form(why=forms.TOO_MUCH)
    few = form_of(everywhere(LARGE[what](), 3))
    json.dumps(few.schema, allow_nan=False)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "-" + "9" * 400])
def test_numbers_that_no_browser_holds_are_no_limits_and_no_values(number: str) -> None:
    text = '{"type": "object", "properties": {"a": {"type": "integer", "minimum": N, "default": N}}}'
    found = form_of(json.loads(text.replace("N", number)))
    assert found.schema is not None
    assert found.schema["properties"]["p0"] == {"title": "a", "type": "integer"}


@pytest.mark.parametrize("depth", [10, 900])
def test_a_default_of_any_depth_is_none_that_breaks_a_form(depth: int) -> None:
    default: Any = 1
    for _ in range(depth):
        default = {"a": [default]}
    found = form_of({"type": "object", "properties": {"a": {"default": default}}})
    assert found.schema is not None
    assert (found.schema["properties"]["p0"]["default"] is not None) is (depth == 10)


@pytest.mark.parametrize(
    "value", [None, True, 1.5, "a\u2028\"b'", [], {}, [1, [2, {}], []], {"a": {"b": [None]}, "": "é"}]
)
def test_json_that_is_written_here_is_what_others_write(value: Any) -> None:
    for indent in (0, 2):
        same = json.dumps(value, indent=indent or None, ensure_ascii=False)
        assert schema.json_text(value, 1_000, indent) == same
        assert schema.json_text(value, 3, indent) == same[:3]
