"""Schemas made to be more than they look: work and outcome have bounds, and the document stays valid."""

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import pytest

from mcp_gateway.schemas import Exact, accepted, exact, fit, inlined
from tests.schemas.test_exact import valid

# Calls of functions, which are the same on every machine; a plain tool takes some hundred.
CALLS_MAX: Final = 1_200_000
BYTES_MAX: Final = 400 * 1024


def _chain(word: str, depth: int, end: Any = True) -> Any:
    """One word in itself, so many times."""
    schema: Any = end
    for _ in range(depth):
        inner: Any = {"a": schema} if word in ("properties", "$defs") else schema
        schema = {word: [inner, {"type": "integer"}] if word in ("anyOf", "allOf", "oneOf") else inner}
    return schema


def _levels(of: Callable[[dict[str, str]], dict[str, Any]], count: int = 60) -> dict[str, Any]:
    """Definitions of which each one uses the next."""
    named = {f"l{level}": of({"$ref": f"#/$defs/l{level + 1}"}) for level in range(count)}
    return {"$ref": "#/$defs/l0", "$defs": {**named, f"l{count}": {"type": "object"}}}


def _many(count: int, of: Callable[[int], Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{number}": of(number) for number in range(count)}}


BOMBS: Final[dict[str, Any]] = {
    **{
        f"3,000 {word}": _chain(word, 3_000)
        for word in ("properties", "items", "anyOf", "allOf", "oneOf", "not")
    },
    "3,000 $defs": _chain("$defs", 3_000),
    "a value of depth 3,000": _many(
        1, lambda _: {"default": _chain("items", 3_000), "x-y": _chain("items", 3_000)}
    ),
    "allOf doubles": _levels(lambda next_: {"allOf": [next_, next_]}),
    "anyOf doubles": _levels(lambda next_: {"anyOf": [next_, next_]}),
    "properties double": _levels(lambda next_: {"properties": {"a": next_, "b": next_}}),
    "items and all of them": _levels(
        lambda next_: {"items": next_, "anyOf": [next_, {"not": next_}], "if": next_}
    ),
    "choices multiply": {
        "allOf": [{"anyOf": [{"required": [f"{one}{other}"]} for other in range(10)]} for one in range(30)]
    },
    "10,000 properties": _many(10_000, lambda _: {"type": "string", "description": "d"}),
    "10,000 required": {"required": [f"p{number}" for number in range(10_000)]},
    "the same large one 3,000 times": {
        **_many(3_000, lambda _: {"$ref": "#/$defs/l"}),
        "$defs": {"l": {**_many(3_000, lambda _: {}), "required": [f"p{number}" for number in range(3_000)]}},
    },
    "everybody knows everybody": {
        "$ref": "#/$defs/p0",
        "$defs": {f"p{one}": _many(25, lambda other: {"$ref": f"#/$defs/p{other}"}) for one in range(25)},
    },
    "a list of a megabyte": _many(
        2, lambda number: {"enum": ["v" * 100 + str(one) for one in range(10_000)]}
    ),
    "a value of a megabyte": _many(2, lambda _: {"const": "v" * 1_000_000}),
    "long texts": _many(300, lambda _: {"description": "d" * 50_000, "title": "t" * 50_000}),
    "a key of 10 kB": {"properties": {"k" * 10_000: {"type": "string"}}, "additionalProperties": False},
    "half characters": {"properties": {"\ud800": {"title": "\udfff"}}, "required": ["\ud800"], "\ud800": 1},
    "numbers": _many(1, lambda _: {"minimum": 10**5_000, "const": float("nan"), "default": [10**5_000]}),
    "patterns": _many(500, lambda _: {"pattern": "^(a+)+$" * 140, "default": "a" * 500}),
    "long ways": {**_many(500, lambda _: {"$ref": "#" + "/items" * 160}), "items": _chain("items", 200)},
    "many addresses": {
        "$defs": {
            str(one): {"$id": f"http://x/{one}", "items": {"$ref": f"/{one + 1}"}} for one in range(2_000)
        },
        "properties": {"a": {"$ref": "http://x/0"}},
    },
    "circles": {
        "properties": {name: {"$ref": f"#/$defs/{name}"} for name in "abcdef"},
        "$defs": {
            "a": {"$ref": "#/$defs/b"},
            "b": {"$ref": "#/$defs/a"},
            "c": {"anyOf": [{"$ref": "#/$defs/c"}, {"$ref": "#/$defs/d"}]},
            "d": {"allOf": [{"$ref": "#/$defs/d"}, {"$ref": "#"}]},
            "e": {"items": {"$ref": "#/$defs/e"}, "additionalProperties": {"$ref": "#"}},
            "f": {"$ref": "#/properties/f"},
        },
    },
}


def _counted(of: Callable[[], Any]) -> Any:
    """What it returns, and that it did not call more than it may."""
    calls = 0

    def count(_: FrameType, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        found = of()
    finally:
        sys.setprofile(None)
    assert calls < CALLS_MAX
    return found


@pytest.mark.parametrize("name", BOMBS)
def test_work_and_outcome_have_bounds(name: str) -> None:
    schema = BOMBS[name]
    small = _counted(lambda: inlined(schema))
    whole = _counted(lambda: exact(schema, "s__t"))
    fit({"p1": "1", "a": None, "b": "[" * 5_000}, accepted(schema))
    assert len(json.dumps(small.schema)) < BYTES_MAX
    assert len(json.dumps([whole.schema, whole.components])) < BYTES_MAX
    assert small.schema["type"] == "object"
    if len(whole.components) < 20 and len(json.dumps(whole.components)) < 20_000:
        valid(whole)
    if len(json.dumps(small.schema)) < 20_000:
        valid(Exact(small.schema, {}, None))


@pytest.mark.parametrize("name", ["3,000 properties", "10,000 properties", "a list of a megabyte", "numbers"])
def test_what_is_cut_says_why(name: str) -> None:
    assert inlined(BOMBS[name]).why is not None
    assert exact(BOMBS[name], "s__t").why is not None


def test_a_large_part_takes_nothing_from_its_neighbours() -> None:
    schema = BOMBS["the same large one 3,000 times"]
    huge = {
        "properties": {"first": schema, "last": {"type": "string", "enum": ["kept"]}},
        "$defs": schema["$defs"],
    }
    assert inlined(huge).schema["properties"]["last"] == {"type": "string", "enum": ["kept"]}


def test_ten_properties_at_each_of_six_levels_are_all_there() -> None:
    """A schema of ordinary size is read in full, however deep the first of its parts is."""
    schema: Any = {"type": "string", "enum": ["end"]}
    for _ in range(20):
        schema = {
            "type": "object",
            "properties": {"first": schema, **{f"p{one}": {"type": "integer"} for one in range(10)}},
        }
    made = inlined(schema)
    assert made.why is None
    assert '"end"' in json.dumps(made.schema)
    assert exact(schema, "s__t").why is None
