"""The schema of a tool as models and simple clients digest it: all in one place, few words, one type each.

The rules and what they drop are in docs/decisions/0033. Pure; called for documents and generated code.
"""

from dataclasses import dataclass
from typing import Any, Final

from mcp_gateway.schemas.proof import holds
from mcp_gateway.schemas.reading import Form, Place, Reading, read

FORBIDDEN: Final = frozenset(
    {"$ref", "$defs", "definitions", "$schema", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "oneOf"}
    | {"allOf", "not", "if", "then", "else", "const", "prefixItems", "additionalItems", "discriminator"}
    | {"examples", "example", "nullable", "patternProperties", "dependencies", "dependentSchemas", "contains"}
    | {"propertyNames", "unevaluatedProperties", "unevaluatedItems", "contentSchema"}
)


@dataclass(frozen=True, slots=True)
class Inlined:
    """A schema of `type: object` without references; `why` says what made it looser than the tool's own."""

    schema: dict[str, Any]
    why: str | None


def anything() -> dict[str, Any]:
    """What may be anything, in words a model can follow: without a type it would be taken for a string."""
    return {
        "anyOf": [
            {"type": "string"},
            {"type": "number"},
            {"type": "boolean"},
            {"type": "object"},
            {"type": "array", "items": {"type": "string"}},
        ]
    }


def inlined(schema: object) -> Inlined:
    """The normalised form of a tool's schema. Never raises, whatever the schema is."""
    return rendered(read(schema))


def rendered(reading: Reading) -> Inlined:
    """The schema that says what was read, always of an object."""
    why = list(reading.why)
    form = object_of(reading.top)
    if form is None:
        form = Form("object")
        why.append("its top level is no object")
    schema = _form(form)
    schema.setdefault("properties", {})
    about = form.about | reading.top.about
    about.pop("default", None)
    return Inlined(schema | about, sentence(why))


def sentence(why: list[str]) -> str | None:
    """All reasons as one sentence; None where there are none."""
    return f"The schema of this tool was simplified: {'; '.join(why)}." if why else None


def object_of(top: Place) -> Form | None:
    """The one form of an object that takes what any form of an object at the top takes."""
    if not top.forms and not top.is_only_null:
        return Form("object")
    forms = [form for form in top.forms if form.type == "object"]
    if len(forms) < 2:
        return forms[0] if forms else None
    whole = Form("object", about=dict(forms[0].about) if len(forms) == 1 else {})
    for form in forms:
        for name, place in form.properties.items():
            before = whole.properties.get(name)
            whole.properties[name] = place if before is None else _either(before, place)
    for name, place in whole.properties.items():
        # Where one of the forms has no word for it, that one takes anything under this name.
        if any(name not in form.properties and not form.is_closed for form in forms) and not place.is_loose:
            whole.properties[name] = Place(
                place.forms, place.is_nullable, place.is_only_null, is_loose=True, about=place.about
            )
    whole.required = [name for name in forms[0].required if all(name in form.required for form in forms)]
    whole.is_closed = all(form.is_closed for form in forms)
    return whole


def _either(one: Place, other: Place) -> Place:
    if not one.forms and not one.is_only_null:
        return one
    if not other.forms and not other.is_only_null:
        return other
    forms = list(one.forms)
    known = [_form(form) for form in forms]
    for form in other.forms:
        if len(forms) < 20 and _form(form) not in known:
            forms.append(form)
        elif len(forms) >= 20:
            return Place(about=one.about)
    return Place(
        forms,
        one.is_nullable or other.is_nullable,
        one.is_only_null and other.is_only_null,
        one.is_loose or other.is_loose,
        {key: value for key, value in one.about.items() if key != "default"},
    )


def _place(place: Place) -> dict[str, Any]:
    forms = place.forms
    if not forms:
        schema = anything()
        about = place.about
    elif len(forms) == 1:
        schema = _form(forms[0])
        about = forms[0].about | place.about
    else:
        schema = {"anyOf": [_form(form) | form.about for form in forms]}
        for one in schema["anyOf"]:
            one.pop("default", None)
        about = place.about
    if "default" in about and not holds(about["default"], schema):
        about = {key: value for key, value in about.items() if key != "default"}
    return schema | about


def _form(form: Form) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": form.type, **form.facts}
    if form.type == "array":
        schema["items"] = _place(form.items) if form.items is not None else anything()
    elif form.type == "object":
        if form.properties:
            properties = {
                # What can be null only is left out, unless it has to be there.
                name: _place(place)
                for name, place in form.properties.items()
                if not place.is_only_null or name in form.required
            }
            schema["properties"] = properties
        if form.required:
            schema["required"] = form.required
        if form.is_closed:
            schema["additionalProperties"] = False
        elif form.rest is not None:
            schema["additionalProperties"] = _place(form.rest)
    return schema
