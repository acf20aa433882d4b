"""What holds for every schema: nothing lost in one dialect, nothing tighter in the other, nothing changed."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from mcp_gateway.schemas import Exact, accepted, exact, fit, inlined
from mcp_gateway.schemas.inlining import FORBIDDEN, anything
from tests.schemas import drawn
from tests.schemas.test_exact import valid

some = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
few = settings(some, max_examples=25)


def _is_right(schema: Any, value: Any) -> bool | None:
    """What a validator says; None for a schema that has no meaning, because it leads only to itself."""
    is_old = isinstance(schema, dict) and "$schema" in schema
    try:
        return bool((Draft7Validator if is_old else Draft202012Validator)(schema).is_valid(value))
    except RecursionError:
        return None


def _around(made: Exact) -> dict[str, Any]:
    return {**made.schema, "components": {"schemas": made.components}}


def _has_null(value: Any) -> bool:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(_has_null, members))


def _generous(schema: Any) -> Any:
    """With what may be anything said as that: the words for models leave out lists of anything but text."""
    if isinstance(schema, list):
        return [_generous(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("anyOf") == anything()["anyOf"]:
        return {}
    return {word: one if word in ("enum", "default") else _generous(one) for word, one in schema.items()}


@some
@given(drawn.tools_with_values(drawn.tools | drawn.old_tools))
def test_what_is_right_for_the_tool_is_right_for_the_exact_dialect_and_the_other_way_round(
    drawn_one: tuple[dict[str, Any], list[Any]],
) -> None:
    schema, values = drawn_one
    made = exact(schema, "s__t")
    for value in values:
        expected = _is_right(schema, value)
        if expected is not None and (expected or made.why is None):
            assert _is_right(_around(made), value) is expected


@some
@given(drawn.tools_with_values(drawn.tools | drawn.old_tools))
def test_what_is_right_for_the_tool_and_has_no_null_is_right_for_the_inlined_dialect(
    drawn_one: tuple[dict[str, Any], list[Any]],
) -> None:
    schema, values = drawn_one
    said = _generous(inlined(schema).schema)
    form = accepted(schema).form
    for name, place in form.properties.items() if form is not None else ():
        if place.is_loose:
            said["properties"][name] = {}
    for value in values:
        if not _has_null(value) and _is_right(schema, value):
            assert _is_right(said, value)


@some
@given(drawn.tools_with_values(drawn.tools | drawn.old_tools), st.data())
def test_what_is_right_for_the_tool_or_the_inlined_dialect_is_never_changed(
    drawn_one: tuple[dict[str, Any], list[Any]], data: st.DataObject
) -> None:
    schema, values = drawn_one
    said, form = inlined(schema).schema, accepted(schema)
    for value in [*values, drawn.likely(said, said, data.draw)]:
        if not isinstance(value, dict):
            continue
        before = json.dumps(value)
        made, changes = fit(value, form)
        assert json.dumps(value) == before
        if _is_right(schema, value) or _is_right(said, value):
            assert made is value
            assert changes == []
        else:
            assert (made is value) == (changes == [])
            # Once is enough.
            assert fit(made, form) == (made, [])


def _words(schema: dict[str, Any]) -> set[str]:
    found = set(schema)
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    below += [
        schema[word] for word in ("items", "additionalProperties") if isinstance(schema.get(word), dict)
    ]
    return found.union(*map(_words, below))


def _digested(schema: dict[str, Any]) -> dict[str, Any]:
    """What Open WebUI makes of a place: only what it keeps, with the types that it invents."""
    if "$ref" in schema or "oneOf" in schema or "allOf" in schema:
        return {"type": "string"}
    made = dict(schema)
    if "anyOf" in made:
        branches = [one for one in made["anyOf"] if one.get("type") != "null"]
        made["anyOf"] = list(map(_digested, branches))
        if len(branches) == 1:
            made = {**made.pop("anyOf")[0], **made}
    elif "type" not in made:
        made["type"] = "string"
    if "properties" in made:
        made["properties"] = {name: _digested(one) for name, one in made["properties"].items()}
    if "items" in made:
        made["items"] = _digested(made["items"])
    return made


@some
@given(drawn.tools | drawn.old_tools | drawn.anything)
def test_the_inlined_dialect_has_only_what_clients_digest(schema: Any) -> None:
    made = inlined(schema).schema
    assert made["type"] == "object"
    assert not _words(made) & FORBIDDEN
    assert "null" not in _types(made)
    assert _digested(made) == made


def _types(schema: dict[str, Any]) -> list[Any]:
    found = [schema.get("type")]
    assert ("type" in schema) != ("anyOf" in schema)
    assert not isinstance(schema.get("type"), list)
    assert schema.get("type") != "array" or "items" in schema
    for one in [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]:
        found += _types(one)
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            found += _types(schema[word])
    return found


@few
@given(drawn.tools | drawn.old_tools | drawn.anything)
def test_documents_around_any_schema_are_valid(schema: Any) -> None:
    valid(exact(schema, "s__t"))
    valid(Exact(inlined(schema).schema, {}, None))
    accepted(schema)
