"""Arguments that small models write, and what the tool API makes of them."""

from typing import Any

import pytest

from mcp_gateway.schemas import accepted, fit

OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "-0", 0),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "2.5", 2.5),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": ["number", "null"]}, "2.5", 2.5),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "false", False),
        (OBJECT, '{"n": "5"}', {"n": 5}),
        (OBJECT, {"n": "5", "m": "5"}, {"n": 5, "m": "5"}),
        (OBJECT, {"n": None}, {}),
        ({"type": "array", "items": {"type": "integer"}}, ' ["1", 2]', [1, 2]),
        ({"type": "array", "items": OBJECT}, [{"n": "1"}, {}], [{"n": 1}, {}]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "1"}, {"a": 1}),
        ({"anyOf": [{"type": "integer"}, OBJECT]}, '{"n": "1"}', {"n": 1}),
        ({"$ref": "#/$defs/N"}, "5", 5),
    ],
)
def test_a_text_becomes_what_the_schema_demands(place: Any, value: Any, expected: Any) -> None:
    schema = {"type": "object", "properties": {"a": place}, "$defs": {"N": {"type": "integer"}}}
    given = {"a": value}
    made, changes = fit(given, accepted(schema))
    assert made == {"a": expected}
    assert type(made["a"]) is type(expected)
    assert changes
    assert given == {"a": value}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ({"type": "string"}, "5"),
        ({"type": ["string", "integer"]}, "5"),
        ({}, "5"),
        ({"description": "anything"}, '{"a": 1}'),
        ({"enum": ["5", 5]}, "5"),
        ({"type": "integer"}, "5.0"),
        ({"type": "integer"}, "05"),
        ({"type": "integer"}, " 5"),
        ({"type": "integer"}, "٥"),
        ({"type": "integer"}, "9" * 30),
        ({"type": "integer"}, "5\n"),
        ({"type": "number"}, "NaN"),
        ({"type": "number"}, "1e999"),
        ({"type": "number"}, "0x10"),
        ({"type": "boolean"}, "True"),
        ({"type": "boolean"}, 1),
        ({"type": "string"}, 5),
        ({"type": "object"}, "[1]"),
        ({"type": "object"}, '{"a": NaN}'),
        ({"type": "object"}, '{"a": 1e999}'),
        ({"type": "object"}, "{"),
        ({"type": "object"}, "{" + '"a":{' * 5_000),
        ({"type": ["string", "null"]}, None),
        ({"type": "string", "nullable": True}, None),
        ({"anyOf": [OBJECT, {"type": "object", "properties": {"n": {"type": "string"}}}]}, {"n": "5"}),
        ({"type": "null"}, "null"),
        ({"type": "integer", "minimum": 9}, 5),
    ],
)
def test_everything_else_stays_as_it_is(place: Any, value: Any) -> None:
    given = {"a": value}
    made, changes = fit(given, accepted({"type": "object", "properties": {"a": place}}))
    assert made is given
    assert changes == []


def test_null_for_what_must_be_there_stays() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert fit({"a": None}, accepted(schema)) == ({"a": None}, [])


def test_an_argument_that_the_tool_forbids_is_left_out() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    made, changes = fit({"a": "x", "wait_for_previous": True}, accepted(schema))
    assert made == {"a": "x"}
    assert changes == ["wait_for_previous: the tool does not take it; left out"]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"additionalProperties": True},
        {"additionalProperties": {}},
        {"additionalProperties": False, "patternProperties": {"^w": {}}},
        {"anyOf": [{"additionalProperties": False}, {"properties": {"a": {}}}]},
    ],
)
def test_an_argument_that_the_tool_may_take_stays(more: Any) -> None:
    given = {"a": "x", "wait_for_previous": True}
    assert fit(given, accepted({"type": "object", "properties": {"a": {}}, **more})) == (given, [])


def test_members_of_members_are_left_out_by_nobody() -> None:
    schema = {"properties": {"a": {"type": "object", "additionalProperties": False}}}
    assert fit({"a": {"b": 1}}, accepted(schema)) == ({"a": {"b": 1}}, [])


def test_the_changes_say_where_and_what_and_never_the_value() -> None:
    schema = {
        "properties": {"a": {"type": "array", "items": OBJECT}, "k\x1b" + "x" * 9_000: {"type": "integer"}}
    }
    given = {"a": [{"n": "123456"}], "k\x1b" + "x" * 9_000: "7654321"}
    _, changes = fit(given, accepted(schema))
    assert changes[0] == "a[0].n: text that holds a number, which the tool demands; passed as that"
    assert all(change.isprintable() and len(change) < 300 for change in changes)
    assert not any("123456" in change or "7654321" in change for change in changes)


def test_many_changes_are_counted() -> None:
    schema = {"additionalProperties": {"type": "integer"}, "type": "object"}
    made, changes = fit({f"a{number}": "1" for number in range(50)}, accepted(schema))
    assert set(made.values()) == {1}
    assert len(changes) == 21
    assert changes[-1] == "30 more like these"
