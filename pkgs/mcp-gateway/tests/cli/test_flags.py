"""Flags from schemas, hostile ones included, and what is sent for what was said."""

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.cli.flags import arguments_of, command_of, flags_of


def parsed(properties: dict[str, Any], *words: str, **schema: Any) -> dict[str, Any]:
    flags = flags_of({"type": "object", "properties": properties, **schema})
    command = command_of("server/tool", "", flags, "")
    return arguments_of(flags, command.make_context("tool", list(words)).params)


@pytest.mark.parametrize(
    ("rule", "words", "wanted"),
    [
        ({"type": "string"}, ["--x", "5"], "5"),
        ({"type": "string"}, ["--x", ""], ""),
        ({"type": "integer"}, ["--x", "-12345678901234567890"], -12345678901234567890),
        ({"type": "number"}, ["--x", "0.1"], 0.1),
        ({"type": "boolean"}, ["--x"], True),
        ({"type": "boolean", "default": True}, ["--no-x"], False),
        ({"type": "array", "items": {"type": "string"}}, ["--x", "a", "--x", "2"], ["a", "2"]),
        ({"type": "array", "items": {"type": "integer"}}, ["--x", "1", "--x", "2"], [1, 2]),
        ({"type": "array", "items": {"type": "object"}}, ["--x", '[{"a": 1}]'], [{"a": 1}]),
        ({"type": "object"}, ["--x", '{"a": [1]}'], {"a": [1]}),
        ({"enum": ["red", "blue"]}, ["--x", "red"], "red"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, ["--x", "3"], 3),
        ({"type": ["string", "integer"]}, ["--x", "3"], 3),
        ({"type": ["string", "integer"]}, ["--x", "three"], "three"),
        ({"anyOf": [{"enum": ["a"]}, {"type": "null"}]}, ["--x", "a"], "a"),
        ({}, ["--x", '{"any": null}'], {"any": None}),
        (True, ["--x", "[1]"], [1]),
    ],
)
def test_a_flag_is_sent_as_what_the_schema_says_it_is(rule: Any, words: list[str], wanted: Any) -> None:
    assert parsed({"x": rule}, *words) == {"x": wanted}


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ({"type": "integer"}, "1.5"),
        ({"type": "integer"}, "true"),
        ({"type": "number"}, "NaN"),
        ({"type": "object"}, "[1]"),
        ({"enum": ["red"]}, "green"),
        ({"type": "array", "items": {"type": "integer"}}, "x"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused_here(rule: Any, word: str) -> None:
    with pytest.raises(click.UsageError):
        parsed({"x": rule}, "--x", word)


def test_nothing_is_sent_that_was_not_said_and_what_is_required_is_asked_for() -> None:
    properties = {
        "a": {"type": "boolean"},
        "b": {"type": "array", "items": {"type": "string"}},
        "c": {"default": 3},
    }
    assert parsed(properties) == {}
    for name in properties:
        with pytest.raises(click.MissingParameter):
            parsed(properties, required=[name])


def test_a_parameter_has_its_own_name_and_the_usual_spelling() -> None:
    rule = {"type": "integer"}
    assert parsed({"maxResults": rule}, "--max-results", "1") == {"maxResults": 1}
    assert parsed({"max_results": rule}, "--max_results", "1") == {"max_results": 1}
    both = {"max_results": rule, "max-results": rule}
    assert parsed(both, "--max-results", "1", "--max_results", "2") == {"max-results": 1, "max_results": 2}


def test_a_switch_does_not_take_the_name_of_another_parameter() -> None:
    properties = {"cache": {"type": "boolean"}, "no-cache": {"type": "string"}, "help": {"type": "string"}}
    assert parsed(properties, "--no-cache", "x", "--help", "y") == {"no-cache": "x", "help": "y"}


def test_a_schema_that_goes_in_circles_is_read() -> None:
    schema = {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}, "required": 5}
    assert parsed({"x": {"$ref": "#/$defs/a"}}, "--x", "1", **schema) == {"x": 1}


def test_what_cannot_be_a_flag_is_left_out() -> None:
    assert flags_of({"properties": {"a b": {}, "--x": {}, "\x1b[2J": {}, "": {}, "a\n": {}}}) == []


def test_hostile_descriptions_are_shown_with_nothing_that_acts() -> None:
    rule = {"type": "string", "description": "\x1b]0;x\x07 [red]", "enum": ["a", "\x9b2J"]}
    flags = flags_of({"properties": {"x": rule}})
    command = command_of("t", "\x1b[2J\b\n\fhidden", flags, "")
    shown = command.get_help(click.Context(command, info_name="t"))
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert "hidden" in shown


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["type", "enum", "anyOf", "items", "x"]), inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text() | st.sampled_from(["a", "b-c", "bC"]), json_values), json_values)
def test_no_schema_makes_the_command_fail(properties: dict[str, Any], required: Any) -> None:
    flags = flags_of({"properties": properties, "required": required})
    command = command_of("t", "about", flags, "")
    assert "about" in command.get_help(click.Context(command, info_name="t"))
