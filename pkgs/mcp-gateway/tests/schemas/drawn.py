"""Schemas and values that hypothesis draws: with references and cycles, of older drafts, of any malice."""

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

NAMES: Final = ("a", "b", "c", "$ref", "x-1", "ü", "properties", "type")
TEXTS: Final = ("", "a", "5", "2.5", "true", '{"a": 1}', "[1]", "null", "x-1", "long enough")
DEFINED: Final = ("A", "B", "C")

names = st.sampled_from(NAMES)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.sampled_from((0.5, 2.0, 1e3)), st.sampled_from(TEXTS)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
_TYPES: Final = ("string", "integer", "number", "boolean", "object", "array", "null")


def _some(**words: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these words together, few at a time."""
    return st.lists(st.sampled_from(sorted(words)), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({word: words[word] for word in chosen})
    )


_plain = _some(
    type=st.sampled_from(_TYPES) | st.lists(st.sampled_from(_TYPES), min_size=1, max_size=3, unique=True),
    enum=st.lists(scalars, min_size=1, max_size=3),
    const=scalars,
    minimum=st.integers(-2, 5),
    exclusiveMaximum=st.integers(0, 9),
    multipleOf=st.sampled_from((1, 2, 0.5)),
    minLength=st.integers(0, 3),
    maxLength=st.integers(1, 9),
    pattern=st.sampled_from(("^a", "[0-9]+", "x-")),
    minItems=st.integers(0, 2),
    maxItems=st.integers(0, 3),
    uniqueItems=st.booleans(),
    minProperties=st.integers(0, 2),
    maxProperties=st.integers(0, 3),
    required=st.lists(names, max_size=2, unique=True),
    dependentRequired=st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=1),
    default=values,
    title=st.sampled_from(TEXTS),
    description=st.sampled_from(TEXTS),
    deprecated=st.booleans(),
    format=st.sampled_from(("uri", "date", "ipv4", "int32", "no such")),
)
_references = st.sampled_from([*(f"#/$defs/{name}" for name in DEFINED), "#", "#B", "#/properties/a"])


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(names, inner, max_size=3)
    words = _some(
        properties=named,
        additionalProperties=inner,
        patternProperties=st.dictionaries(st.sampled_from(("^x-", "b", "^[a-c]$")), inner, max_size=2),
        items=inner,
        prefixItems=some,
        anyOf=some,
        oneOf=some,
        allOf=some,
        contains=inner,
        propertyNames=inner,
        unevaluatedProperties=inner,
        dependentSchemas=st.dictionaries(names, inner, max_size=1),
        **{"not": inner, "if": inner, "then": inner, "else": inner, "$ref": _references},
    )
    return st.builds(lambda one, other: {**one, **other}, _plain, words)


_schemas = st.recursive(_plain | st.booleans(), _nested, max_leaves=8)
_objects = st.builds(
    lambda one, named: {"type": "object", "properties": named, **one},
    _nested(_schemas),
    st.dictionaries(names, _schemas, max_size=3),
)


def _closed(root: dict[str, Any], defined: list[Any]) -> dict[str, Any]:
    """With all that its references lead to."""
    root = dict(root)
    root["$defs"] = dict(zip(DEFINED, defined, strict=True))
    if isinstance(defined[1], dict):
        root["$defs"]["B"] = {**defined[1], "$anchor": "B"}
    else:
        root["$defs"]["anchored"] = {"$anchor": "B"}
    root["properties"] = {"a": {}, **root.get("properties", {})}
    return root


tools = st.builds(_closed, _objects | _nested(_schemas), st.lists(_schemas, min_size=3, max_size=3))


def _of_draft_7(root: Any) -> Any:
    """The same shape with words that draft 7 has instead."""
    if isinstance(root, list):
        return [_of_draft_7(one) for one in root]
    if not isinstance(root, dict):
        return root
    made: dict[str, Any] = {}
    for word, value in root.items():
        if word == "prefixItems":
            made["items"] = _of_draft_7(value)
            if "items" in root:
                made["additionalItems"] = _of_draft_7(root["items"])
        elif word == "items" and "prefixItems" in root:
            continue
        elif word in ("dependentRequired", "dependentSchemas") and isinstance(value, dict):
            made["dependencies"] = {**made.get("dependencies", {}), **_of_draft_7(value)}
        elif word == "$defs":
            made["definitions"] = {name: _of_draft_7(one) for name, one in value.items()}
        elif word == "$ref" and isinstance(value, str):
            made[word] = value.replace("$defs", "definitions").replace("#B", "#/definitions/B")
        elif word == "$anchor":
            continue
        elif word.startswith("unevaluated") or word in ("enum", "const", "default"):
            if not word.startswith("u"):
                made[word] = value
        else:
            made[word] = _of_draft_7(value)
    return made


old_tools = tools.map(
    lambda root: {**_of_draft_7(root), "$schema": "http://json-schema.org/draft-07/schema#"}
)

_WORDS: Final = (
    *("type", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if"),
    *("$ref", "$id", "id", "$anchor", "$defs", "definitions", "$schema", "$dynamicRef", "$dynamicAnchor"),
    *("additionalProperties", "patternProperties", "dependencies", "dependentSchemas", "dependentRequired"),
    *("minimum", "exclusiveMinimum", "minLength", "multipleOf", "pattern", "format", "default", "examples"),
    *("nullable", "discriminator", "xml", "externalDocs", "prefixItems", "additionalItems", "title"),
    *("description", "readOnly", "uniqueItems", "contains", "minContains", "x-mcp-ref", "components", "a/b~"),
)
_texts = st.sampled_from(
    (
        "string",
        "object",
        "strnig",
        "#",
        "#/a",
        "#/$defs/a",
        "#a",
        "http://127.0.0.1:9/x",
        "file:///x",
        "//[",
        "(",
        "�",
        "^(a+)+$",
        "\\p{L}",
        "http://json-schema.org/draft-04/schema#",
        "a" * 300,
        "\x00",
        "[",
    )
)
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-1, 3),
        _texts,
        st.just(10**40),
        st.just(float("inf")),
        st.floats(),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=5)
        | st.dictionaries(_texts, inner, max_size=2)
    ),
    max_leaves=30,
)


def likely(
    schema: Any, root: dict[str, Any], draw: Callable[[st.SearchStrategy[Any]], Any], depth: int = 0
) -> Any:
    """A value that has some chance of being right."""
    if depth > 5 or not isinstance(schema, dict) or draw(st.integers(0, 9)) == 0:
        return draw(values)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        word = reference.rpartition("/")[2].strip("#")
        defined = root.get("$defs") or root.get("definitions") or {}
        target = defined.get(word, root) if word != "a" else root["properties"]["a"]
        return likely(target, root, draw, depth + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word) and (word != "allOf" or "properties" not in schema):
            return likely(draw(st.sampled_from(schema[word])), root, draw, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return draw(st.sampled_from(schema["enum"]))
    type_ = schema.get("type")
    type_ = draw(st.sampled_from(type_)) if isinstance(type_, list) else type_
    if type_ == "array" or (type_ is None and ("items" in schema or "prefixItems" in schema)):
        first = [likely(one, root, draw, depth + 1) for one in schema.get("prefixItems", [])]
        more = [
            likely(schema.get("items", {}), root, draw, depth + 1) for _ in range(draw(st.integers(0, 2)))
        ]
        return first + more
    if type_ == "object" or (type_ is None and "properties" in schema):
        named = schema.get("properties", {})
        chosen = [name for name in named if name in schema.get("required", ()) or draw(st.booleans())]
        chosen += [name for name in schema.get("required", ()) if name not in named]
        made = {name: likely(named.get(name, {}), root, draw, depth + 1) for name in chosen}
        if draw(st.integers(0, 3)) == 0:
            made[draw(names)] = likely(schema.get("additionalProperties", {}), root, draw, depth + 1)
        return made
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        "string": st.sampled_from(TEXTS),
        "integer": st.integers(-3, 12),
        "number": st.integers(-3, 12) | st.just(0.5),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return draw(kinds.get(type_, values))


@st.composite
def tools_with_values(
    draw: st.DrawFn, of: st.SearchStrategy[dict[str, Any]]
) -> tuple[dict[str, Any], list[Any]]:
    """A schema of a tool, and objects that may be right for it."""
    root = draw(of)
    found = [likely(root, root, draw) for _ in range(4)]
    return root, [value for value in found if isinstance(value, dict)]
