"""A tool's schema in OpenAPI 3.1: references, older drafts, and what is set aside."""

import json
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.schemas import openapi_v31_schema_validator

from mcp_gateway.schemas import Exact, exact


def document(made: Exact) -> dict[str, Any]:
    """A whole document around one schema."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/t": {
                "post": {
                    "requestBody": {"content": {"application/json": {"schema": made.schema}}},
                    "responses": {"200": {"description": "OK"}},
                }
            }
        },
        "components": {"schemas": made.components},
    }


def valid(made: Exact) -> Exact:
    """The same, after strict readers had a look."""
    text = json.dumps(document(made), allow_nan=False, ensure_ascii=False).encode()
    whole = json.loads(text)
    try:
        errors = list(OpenAPIV31SpecValidator(whole).iter_errors())
    except RecursionError:
        # It looks for properties in what stands together without an end where that leads back to itself.
        assert "allOf" in json.dumps(whole)
        errors = list(openapi_v31_schema_validator.iter_errors(whole))
        for schema in (made.schema, *made.components.values()):
            OAS31Validator.check_schema(schema)
    assert errors == []
    return made


def test_definitions_become_components_with_names_of_the_tool() -> None:
    made = valid(
        exact(
            {
                "type": "object",
                "properties": {
                    "a": {"$ref": "#/$defs/A%20~1", "description": "kept"},
                    "b": {"$ref": "#/definitions/B"},
                },
                "$defs": {"A /": {"type": "string"}, "unused": {"type": "null"}},
                "definitions": {"B": {"properties": {"next": {"$ref": "#/definitions/B"}}}},
                "x-mine": [1],
                "unknown": "kept",
            },
            "server__tool",
            "output",
        )
    )
    base = "#/components/schemas/server__tool.output."
    assert made.schema == {
        "type": "object",
        "properties": {"a": {"$ref": base + "A", "description": "kept"}, "b": {"$ref": base + "B"}},
        "x-mine": [1],
        "unknown": "kept",
    }
    assert made.components == {
        "server__tool.output.A": {"type": "string"},
        "server__tool.output.B": {"properties": {"next": {"$ref": base + "B"}}},
        "server__tool.output.unused": {"type": "null"},
    }
    assert made.why is None


def test_the_whole_may_refer_to_itself() -> None:
    made = valid(exact({"type": "object", "properties": {"child": {"$ref": "#"}}}, "s__t"))
    assert made.schema == {"$ref": "#/components/schemas/s__t.input.schema"}
    assert made.components == {
        "s__t.input.schema": {"type": "object", "properties": {"child": made.schema}},
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        (
            {"items": [{"type": "string"}], "additionalItems": False},
            {"prefixItems": [{"type": "string"}], "items": False},
        ),
        ({"items": [], "additionalItems": {"type": "string"}}, {"items": {"type": "string"}}),
        (
            {"dependencies": {"a": ["b"], "c": {"required": ["d"]}, "e": "f"}},
            {
                "dependentRequired": {"a": ["b"], "e": ["f"]},
                "dependentSchemas": {"c": {"required": ["d"]}},
            },
        ),
        ({"id": "urn:x", "type": "string"}, {"x-mcp-id": "urn:x", "type": "string"}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"], "x-mcp-nullable": True}),
        ({"$schema": "http://x/y", "$comment": "c"}, {"x-mcp-schema": "http://x/y", "$comment": "c"}),
        ({"required": ["a", "a"], "minLength": 1.0}, {"required": ["a"], "minLength": 1}),
        (
            {"allOf": [{"type": "object"}], "required": ["a"]},
            {"allOf": [{"type": "object"}, {"required": ["a"]}]},
        ),
        ({"type": "integer", "default": "x"}, {"type": "integer", "x-mcp-default": "x"}),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        ),
        ({"const": 1, "examples": [1], "not": {"type": "null"}, "if": {}, "then": True, "else": False},) * 2,
        ({"oneOf": [True, {"unevaluatedProperties": False}], "prefixItems": [{}], "contains": {}},) * 2,
    ],
)
def test_everything_is_said_in_the_words_of_today(old: Any, new: Any) -> None:
    made = valid(exact(old, "s__t"))
    assert made.schema == new
    assert made.why is None


@pytest.mark.parametrize(
    ("wrong", "kept"),
    [
        ({"type": "strnig"}, {}),
        ({"properties": []}, {}),
        ({"required": "a"}, {}),
        ({"enum": {}}, {}),
        ({"anyOf": []}, {}),
        ({"minimum": "1"}, {}),
        ({"minimum": float("inf")}, {}),
        ({"minLength": -1}, {}),
        ({"multipleOf": 0}, {}),
        ({"pattern": "("}, {}),
        ({"pattern": 1}, {}),
        ({"title": 5}, {}),
        ({"description": "\ud800"}, {}),
        ({"const": "\ud800"}, {}),
        ({"enum": [{"$ref": "http://127.0.0.1/x"}]}, {}),
        ({"uniqueItems": "yes"}, {}),
        (
            {"patternProperties": {"(": {}, "a": {}}, "additionalProperties": False},
            {"patternProperties": {"a": {}}, "x-mcp-additionalProperties": False},
        ),
    ],
)
def test_what_would_make_the_document_invalid_is_set_aside(wrong: Any, kept: Any) -> None:
    made = valid(exact({"type": "object", "x-a": 1, **wrong}, "s__t"))
    assert made.why is not None
    schema = dict(made.schema)
    assert schema.pop("x-mcp-invalid").keys() == {next(iter(wrong))}
    assert schema == {"x-a": 1, **({} if "type" in wrong else {"type": "object"}), **kept}


def test_references_that_lead_only_to_themselves_are_taken_away() -> None:
    schema = {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a", "title": "B"}},
    }
    made = valid(exact(schema, "s"))
    assert made.schema == {"$ref": "#/components/schemas/s.input.a"}
    assert "x-mcp-ref" in json.dumps(made.components)
    assert made.why is not None


@pytest.mark.parametrize("wrong", [None, 5, "x", []])
def test_what_is_no_schema_takes_anything(wrong: Any) -> None:
    assert valid(exact({"properties": {"a": wrong}}, "s")).schema == {
        "properties": {"a": {"x-mcp-invalid": wrong}}
    }
    assert valid(exact(wrong, "s")).schema == {"x-mcp-invalid": wrong}


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1/a", "file:///etc/passwd", "a.json", "#/nowhere", "#no", 5]
)
def test_a_reference_that_leads_outside_is_nothing_to_follow(reference: Any) -> None:
    made = valid(
        exact({"properties": {"a": {"$ref": reference, "title": "A"}}, "$id": "http://127.0.0.1/b"}, "s")
    )
    assert made.schema["properties"]["a"] == {"x-mcp-ref": reference, "title": "A"}
    assert made.why is not None


def test_what_is_looser_never_stands_where_it_would_make_something_tighter() -> None:
    made = valid(
        exact({"not": {"$ref": "http://x/y"}, "oneOf": [{"type": "string"}, {}], "type": "string"}, "s")
    )
    assert made.schema.keys() == {"x-mcp-not", "anyOf", "type"}


def test_what_stood_beside_a_reference_means_nothing_in_older_drafts() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": "#/definitions/A",
        "maxLength": 1,
        "title": "T",
        "definitions": {"A": {"type": "string"}},
    }
    made = valid(exact(schema, "s"))
    assert "maxLength" not in made.schema
    assert made.schema["x-mcp-ignored"] == {"maxLength": 1}
    assert made.schema["title"] == "T"


def test_a_list_says_that_anything_may_be_in_it_unless_somebody_counts_what_is() -> None:
    assert exact({"properties": {"a": {"type": "array"}}}, "t").schema["properties"]["a"]["items"] == {}
    counted = exact({"allOf": [{"type": "array"}], "unevaluatedItems": False}, "t").schema
    assert counted["allOf"] == [{"type": "array"}]
