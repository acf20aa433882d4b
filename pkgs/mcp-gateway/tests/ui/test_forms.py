"""What the form library gets of a stranger's schema: our members, no markup, and values as they are."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.faces.ui import forms
from mcp_gateway.faces.ui.forms import Form, form_of, plain
from mcp_gateway.faces.ui.render import environment
from mcp_gateway.visible import safe
from tests.ui.test_schema import JSON, SCHEMAS

MEMBERS = frozenset(
    {
        "type",
        "title",
        "description",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "anyOf",
    }
    | {"default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength"}
    | {"maxLength", "minItems", "maxItems", "uniqueItems", "x-format", "x-free", "x-box", "x-switcherTitle"}
)
EVIL = "<img src=x onerror=alert(1)>"


def parts(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield made
    for child in (*made.get("properties", {}).values(), *made.get("anyOf", ())):
        yield from parts(child)
    if "items" in made:
        yield from parts(made["items"])


def schema_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def fields(form: Form) -> dict[str, dict[str, Any]]:
    """The fields of a form by the names that the tool knows."""
    assert form.schema is not None
    return {form.names[int(key[1:])]: made for key, made in form.schema["properties"].items()}


def field(schema: Any) -> dict[str, Any]:
    return fields(form_of(schema_of(it=schema)))["it"]


def unnamed(form: Form, value: Any) -> Any:
    """A value of the form as the tool has it, as `js/form.js` does it."""
    if isinstance(value, dict):
        return {
            key[1:] if key.startswith("x") else form.names[int(key[1:])]: unnamed(form, one)
            for key, one in value.items()
        }
    return [unnamed(form, one) for one in value] if isinstance(value, list) else value


@given(
    SCHEMAS | JSON | st.dictionaries(st.text(max_size=8), SCHEMAS, max_size=4).map(lambda p: schema_of(**p))
)
def test_nothing_of_a_stranger_is_a_member_a_name_or_markup(anything: Any) -> None:
    form = form_of(anything)
    if form.schema is None:
        assert form.why
        return
    found = list(parts(form.schema))
    assert len(found) <= forms.NODES_MAX
    assert form.schema["type"] == "object"
    for part in found:
        assert part.keys() <= MEMBERS
        assert ("type" in part) != ("anyOf" in part)
        assert part.get("x-format", "checkbox") == "checkbox"
        assert all(re.fullmatch(r"p\d+", key) for key in part.get("properties", ()))
        assert set(part.get("required", ())) <= set(part.get("properties", ()))
        for text in (part.get("title", ""), part.get("description", "")):
            assert not re.search(r"[<>\"'{]|&(?!(amp|lt|gt|quot|#x27|#123);)", text)
    json.dumps(form.schema, allow_nan=False)


@given(st.text(max_size=200))
def test_a_text_is_shown_as_it_is_whichever_way_it_is_written(text: str) -> None:
    assert html.unescape(plain(text)) == safe(text)
    assert "{" not in plain(text)
    assert "<" not in plain(text)


@given(st.lists(JSON.filter(lambda value: not isinstance(value, list | dict)), min_size=1, max_size=6))
def test_what_may_be_chosen_is_what_was_listed(choices: list[Any]) -> None:
    made = field({"enum": choices})
    listed = [choice for part in parts(made) for choice in part.get("enum", ())]
    assert set(map(json.dumps, listed)) == set(map(json.dumps, choices))


def test_choices_with_markup_stay_what_they_are() -> None:
    made = field({"enum": ["<b>", "a&b"], "default": "a&b", "x-enumTitles": [EVIL]})
    assert made == {"title": "it", "type": "string", "enum": ["<b>", "a&b"], "default": "a&b"}


def test_names_of_properties_are_labels_and_come_back_as_they_were() -> None:
    names = [EVIL, "a/b", "__proto__", "constructor", "p1", "x-format", "", "{{ value }}", "a b"]
    form = form_of(
        schema_of(**{name: {"type": "string"} for name in names}) | {"default": dict.fromkeys(names, "v")}
    )
    assert list(fields(form)) == names
    assert form.schema is not None
    assert unnamed(form, form.schema["default"]) == dict.fromkeys(names, "v")
    assert fields(form)[EVIL]["title"] == "&lt;img src=x onerror=alert(1)&gt;"
    assert fields(form)["{{ value }}"]["title"] == "&#123;&#123; value }}"


def test_names_in_values_that_no_property_has_come_back_too() -> None:
    wanted = {"a": {"b": 1, "p0": [{"a": 2}]}}
    form = form_of(schema_of(a={}, c={"type": "object", "default": wanted}))
    assert unnamed(form, fields(form)["c"]["default"]) == wanted


def test_no_pattern_and_no_option_of_the_library_gets_through() -> None:
    made = field(
        {
            "type": "string",
            "pattern": "^(a+)+$",
            "x-format": "quill",
            "x-info": {"content": EVIL},
            "x-buttons": [],
            "x-options": {"purifyHtml": False},
            "minLength": 2,
            "format": "date",
        }
    )
    assert made == {"title": "it", "type": "string", "minLength": 2, "x-box": True}


def test_what_is_optional_is_left_out_instead_of_being_null() -> None:
    form = form_of(
        {
            "type": "object",
            "properties": {
                "a": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
                "b": {"type": ["string", "null"]},
                "c": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            },
            "required": ["c"],
        }
    )
    assert fields(form)["a"] == {"title": "a", "type": "integer", "minimum": 1}
    assert fields(form)["b"] == {"title": "b", "type": "string", "x-box": True}
    assert [part["x-switcherTitle"] for part in fields(form)["c"]["anyOf"]] == [
        "Whole number",
        "Nothing (null)",
    ]


def test_all_of_several_is_one_and_one_of_several_is_a_choice() -> None:
    document = {
        **schema_of(
            both={
                "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"type": "number"}}, "required": ["y"]}]
            },
            one={"oneOf": [{"$ref": "#/$defs/a"}, {"title": "Or <this>", "type": "boolean"}]},
        ),
        "$defs": {"a": {"type": "object", "properties": {"x": {"type": "null"}}, "required": ["x"]}},
    }
    made = fields(form_of(document))
    assert [part["title"] for part in made["both"]["properties"].values()] == ["x", "y"]
    assert len(made["both"]["required"]) == 2
    assert [part["x-switcherTitle"] for part in made["one"]["anyOf"]] == ["Object", "Or <this>"]


@pytest.mark.parametrize(
    "schema",
    [
        *({}, True, {"type": "object"}, {"type": "array"}, {"$ref": "https://a.b/s"}, {"enum": [[1]]}),
        *({"type": "unheard-of"}, {"properties": 3}, {"allOf": [False]}, {"const": {"a": 1}}),
    ],
)
def test_what_cannot_be_drawn_is_a_field_of_json(schema: Any) -> None:
    assert field(schema)["x-free"] is True


def test_a_circle_ends_in_a_field_of_json() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}, "name": {"type": "string"}}}
    inner = fields(form_of(tree))["child"]
    assert inner["properties"]["p0"]["x-free"] is True
    assert inner["properties"]["p1"]["type"] == "string"


def test_what_is_too_large_for_a_form_is_edited_as_json() -> None:
    many = schema_of(**{f"n{number}": {"type": "string"} for number in range(1_000)})
    assert form_of(many) == Form(why=forms.TOO_MUCH)
    bomb: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 9} for n in range(7)}
    bomb["d7"] = {"type": "string"}
    assert form_of(schema_of(a={"$ref": "#/$defs/d0"}) | {"$defs": bomb}).why == forms.TOO_MUCH
    long = {"type": "string", "enum": ["x" * 50_000]}
    assert form_of(schema_of(a=long, b=long, c=long, d=long, e=long)).why == forms.TOO_MUCH


def test_no_list_begins_with_a_million_items() -> None:
    assert "minItems" not in field({"type": "array", "items": {"type": "null"}, "minItems": 10**9})


def test_a_tool_without_arguments_has_an_empty_form_and_an_unclear_one_has_none() -> None:
    for nothing in ({"type": "object"}, {"type": "object", "properties": {}, "additionalProperties": False}):
        form = form_of(nothing)
        assert form.schema is not None
        assert form.schema["properties"] == {}
    unclear: Any
    for unclear in ({}, None, [], {"type": "string"}, {"type": "object", "patternProperties": {"a": {}}}):
        assert form_of(unclear) == Form(why=forms.NO_OBJECT)


@given(st.text())
def test_no_text_ends_the_block_of_data_that_it_stands_in(text: str) -> None:
    block = environment().from_string("{{ facts|tojson }}").render(facts={"b": text, "a": 1})
    assert not set("<>&\u2028\u2029") & set(block)
    assert json.loads(block) == {"b": text, "a": 1}
    assert block.startswith('{"b"')  # in their order
