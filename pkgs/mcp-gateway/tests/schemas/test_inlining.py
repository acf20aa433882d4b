"""What models get to see of a tool's schema: each rule, and what hostile schemas become."""

import json
from typing import Any

import pytest

from mcp_gateway.schemas import inlined
from mcp_gateway.schemas.inlining import FORBIDDEN, anything

LISTS = {"type": "array", "items": {"type": "string"}}


def _of(place: Any, **more: Any) -> Any:
    """What becomes of one property."""
    return inlined({"type": "object", "properties": {"a": place}, **more}).schema["properties"].get("a")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({"type": "string"}, {"type": "string"}),
        ({}, anything()),
        (True, anything()),
        ({"description": "what you like"}, anything() | {"description": "what you like"}),
        ({"type": ["string", "null"]}, {"type": "string"}),
        (
            {"type": ["string", "integer", "null"]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "A"},
            {"type": "integer", "title": "A"},
        ),
        ({"anyOf": [{"type": "string", "description": "inner"}]}, {"type": "string", "description": "inner"}),
        (
            {"description": "outer", "anyOf": [{"type": "string", "description": "inner"}, {"type": "null"}]},
            {"type": "string", "description": "outer"},
        ),
        ({"oneOf": [{"type": "string"}, LISTS]}, {"anyOf": [{"type": "string"}, LISTS]}),
        ({"const": "x"}, {"type": "string", "enum": ["x"]}),
        ({"const": None}, None),
        (
            {"enum": ["x", 1, None]},
            {"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "integer", "enum": [1]}]},
        ),
        ({"type": "string", "enum": ["x", 1]}, {"type": "string", "enum": ["x"]}),
        ({"anyOf": [{"const": "x"}, {"const": "y"}]}, {"type": "string", "enum": ["x", "y"]}),
        ({"type": "integer", "default": None}, {"type": "integer"}),
        ({"type": "integer", "default": 3}, {"type": "integer", "default": 3}),
        ({"type": "integer", "default": "three"}, {"type": "integer"}),
        ({"type": "array"}, {"type": "array", "items": anything()}),
        (
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "maxItems": 2},
            {"type": "array", "maxItems": 2, "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        ),
        (
            {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
            {"type": "array", "maxItems": 1, "items": {"type": "string"}},
        ),
        (
            {"allOf": [{"type": "integer", "minimum": 1}, {"minimum": 3, "maximum": 9}], "maximum": 5},
            {"type": "integer", "minimum": 3, "maximum": 5},
        ),
        (
            {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
            {"type": "integer", "exclusiveMinimum": 1},
        ),
        ({"type": "string", "nullable": True}, {"type": "string"}),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
                    {"properties": {"y": {"type": "integer"}}, "required": ["y"]},
                ]
            },
            {
                "type": "object",
                "properties": {"x": {"type": "string"}, "y": {"type": "integer"}},
                "required": ["x", "y"],
            },
        ),
        (
            {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
            {"type": "object", "additionalProperties": {"type": "integer"}},
        ),
        (
            {
                "type": "object",
                "patternProperties": {"^x-": {"type": "string"}},
                "additionalProperties": False,
            },
            {"type": "object", "additionalProperties": {"type": "string"}},
        ),
        (
            {
                "type": "string",
                "format": "uri",
                "pattern": "^h",
                "minLength": 1,
                "deprecated": True,
                "x-a": 1,
            },
            {"type": "string", "pattern": "^h", "minLength": 1, "format": "uri", "deprecated": True},
        ),
        ({"type": "string", "not": {"const": "x"}, "examples": ["y"], "if": {}}, {"type": "string"}),
    ],
)
def test_a_place_is_said_in_few_words(place: Any, expected: Any) -> None:
    found = _of(place)
    assert found == expected
    assert inlined({"properties": {"a": place}}).why is None


@pytest.mark.parametrize(
    "reference", ["#/$defs/a~1b%20c", "#b", "urn:b", "#/properties/list/items", "#/$defs/through"]
)
def test_a_reference_is_followed_wherever_it_leads(reference: str) -> None:
    point = {"$anchor": "b", "$id": "urn:b", "type": "integer", "description": "theirs"}
    made = _of(
        {"$ref": reference, "description": "ours", "default": 7},
        **{
            "$defs": {
                "a/b c": {"type": "integer"},
                "p": point,
                "q": {"type": "integer", "$anchor": "b"},
                "through": {"$ref": "#/$defs/q"},
            },
        },
    )
    if reference == "#/properties/list/items":
        assert made == anything() | {"description": "ours", "default": 7}
    else:
        assert made == {"type": "integer", "description": "ours", "default": 7}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            {"type": "object", "properties": {"next": {"$ref": "#/$defs/T"}}},
            {"type": "object", "properties": {"next": {"type": "object", "description": "recursive: T"}}},
        ),
        (
            {"type": "array", "items": {"$ref": "#/$defs/T"}},
            {"type": "array", "items": {"type": "array", "items": anything(), "description": "recursive: T"}},
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/T"}}]},
            {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "anyOf": [
                                {"type": "string", "description": "recursive: T"},
                                {"type": "array", "items": anything(), "description": "recursive: T"},
                            ],
                        },
                    },
                ]
            },
        ),
        ({"$ref": "#/$defs/T"}, anything()),
        ({"anyOf": [{"$ref": "#/$defs/T"}, {"type": "string"}]}, {"type": "string"}),
        ({"allOf": [{"$ref": "#/$defs/T"}, {"type": "string"}]}, {"type": "string"}),
    ],
)
def test_a_cycle_is_cut_to_the_types_that_may_stand_there(target: Any, expected: Any) -> None:
    assert _of({"$ref": "#/$defs/T"}, **{"$defs": {"T": target}}) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        ({"properties": {"a": LISTS}}, {"type": "object", "properties": {"a": LISTS}}),
        (
            {
                "type": "object",
                "anyOf": [
                    {"properties": {"a": LISTS}, "required": ["a", "c"], "additionalProperties": False},
                    {
                        "properties": {"b": LISTS, "c": LISTS},
                        "required": ["c"],
                        "additionalProperties": False,
                    },
                ],
            },
            {
                "type": "object",
                "properties": {
                    "a": LISTS,
                    "c": anything(),
                    "b": LISTS,
                },
                "required": ["c"],
                "additionalProperties": False,
            },
        ),
        (
            {
                "$ref": "#/definitions/In",
                "definitions": {"In": {"type": "object", "properties": {"a": LISTS}}},
            },
            {"type": "object", "properties": {"a": LISTS}},
        ),
        (
            {"type": "object", "required": ["a"], "description": "all of it"},
            {
                "type": "object",
                "properties": {"a": anything()},
                "required": ["a"],
                "description": "all of it",
            },
        ),
    ],
)
def test_the_top_is_always_an_object_with_properties(schema: Any, expected: Any) -> None:
    assert inlined(schema).schema == expected


@pytest.mark.parametrize("schema", [None, 5, "object", [], False, {"type": "array"}, {"type": "null"}])
def test_what_is_no_schema_of_an_object_takes_any_object_and_says_why(schema: Any) -> None:
    made = inlined(schema)
    assert made.schema == {"type": "object", "properties": {}}
    assert made.why is not None


def _all_words(value: Any) -> set[str]:
    """Every word of a schema in normal form."""
    found: set[str] = set()
    todo = [value]
    while todo:
        schema = todo.pop()
        found |= set(schema)
        todo += [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
        todo += [
            schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)
        ]
    return found


def test_references_out_of_the_schema_are_followed_nowhere_and_take_anything() -> None:
    for reference in (
        "http://127.0.0.1/a.json",
        "file:///etc/passwd",
        "other.json#/a",
        "#/nowhere",
        "//x/y",
        5,
    ):
        made = inlined({"properties": {"a": {"$ref": reference}}})
        assert made.schema["properties"]["a"] == anything()
        assert made.why is not None
        assert "127.0.0.1" not in json.dumps(made.schema)


def test_none_of_the_words_that_clients_stumble_over_is_left() -> None:
    place = {word: [{"type": "string"}] for word in FORBIDDEN}
    assert not _all_words(inlined({"properties": {"a": place}}).schema) & FORBIDDEN
