"""A JSON Schema of a server as something to read: a tree of what may stand where, within bounds. Pure.

Schemas are hostile text. Only references inside of the document are followed, each once on its way; nothing
is fetched (S36), and neither depth, nor breadth, nor the length of texts can make a page without end.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

DEPTH_MAX: Final = 64
NODES_MAX: Final = 2_000
TEXT_CHARS: Final = 4_000  # of one description or value
ALL_CHARS: Final = 400_000  # of all of them: a reference may repeat a long one at every place
CHOICES_MAX: Final = 50
RAW_CHARS: Final = 200_000
REFERENCE_CHARS: Final = 1_000
_STEPS_MAX: Final = 64  # of references that lead to references
_NAME_CHARS: Final = 200  # of a name or title that are compared

# Where one schema stands directly in another, and how that is said.
_ONE: Final = {
    "items": "each item",
    "additionalItems": "each further item",
    "contains": "at least one item",
    "additionalProperties": "other properties",
    "unevaluatedProperties": "other properties",
    "unevaluatedItems": "each further item",
    "propertyNames": "names of properties",
    "not": "not",
    "if": "if",
    "then": "then",
    "else": "else",
}
_LISTS: Final = {"anyOf": "any of", "oneOf": "one of", "allOf": "all of", "prefixItems": "item"}
_NAMED: Final = {"patternProperties": "properties that match", "dependentSchemas": "with"}
# Said in a line of facts: keyword, and the words before its value.
_FACTS: Final = {
    "format": "format",
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
    "minLength": "characters, at least",
    "maxLength": "characters, at most",
    "pattern": "pattern",
    "minItems": "items, at least",
    "maxItems": "items, at most",
    "uniqueItems": "all different",
    "minContains": "of them at least",
    "maxContains": "of them at most",
    "minProperties": "properties, at least",
    "maxProperties": "properties, at most",
    "contentEncoding": "encoding",
    "contentMediaType": "media type",
    "readOnly": "read only",
    "writeOnly": "write only",
    "deprecated": "deprecated",
    "default": "default",
    "const": "always",
}
_KNOWN: Final = (
    *("$ref", "type", "title", "description", "enum", "properties", "required"),
    *(*_ONE, *_LISTS, *_NAMED, *_FACTS),
)
_FLAGS: Final = frozenset({"uniqueItems", "readOnly", "writeOnly", "deprecated"})


@dataclass(slots=True)
class Node:
    """One schema: the `name` of the property, or its `role` in words; `note` says why there is no more."""

    name: str = ""
    role: str = ""
    is_required: bool = False
    types: tuple[str, ...] = ()
    title: str = ""
    about: str = ""
    choices: tuple[str, ...] = ()
    more_choices: int = 0
    facts: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""
    children: list["Node"] = field(default_factory=list)


def decoded(definition: bytes) -> dict[str, Any]:
    """A server's definition of a tool, resource or prompt; empty where it cannot be read."""
    try:
        found = json.loads(definition)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text_of(value: object) -> str:
    """A text of a server where one is expected; anything else is none."""
    return value if isinstance(value, str) else ""


def raw_text(value: object) -> str:
    """The schema as JSON with indents, cut where it is too long for a page."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "This is nested too deeply to be shown."
    return text if len(text) <= RAW_CHARS else text[:RAW_CHARS] + "\n… and more"


def read(schema: object) -> Node:
    """The tree of a schema, of which every part is bounded."""
    return _Reader(schema).read(schema, 0, ())


def local(root: object, reference: str) -> object | None:
    """What a reference into the same document (`#`, `#/$defs/…`) leads to; None for every other one."""
    if reference == "#":
        return root
    if not reference.startswith("#/") or len(reference) > REFERENCE_CHARS:
        return None
    place: object = root
    for part in unquote(reference[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and name in place:
            place = place[name]
        elif isinstance(place, Sequence) and not isinstance(place, str) and name.isdecimal():
            if len(name) > 6 or int(name) >= len(place):
                return None
            place = place[int(name)]
        else:
            return None
    return place


class Unfollowed(Exception):
    """A reference that is not followed; the text says why."""


def followed(
    root: object, schema: Mapping[str, Any], before: tuple[str, ...]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The schema with what it refers to, its own words first, and the references on the way to it.

    Only of the members that are known here: of others there may be any number, at every place.

    Raises:
        Unfollowed: it leads outside, nowhere, or to where it came from.
    """
    schema = _known(schema)
    for _ in range(_STEPS_MAX):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema, before
        if reference in before:
            raise Unfollowed(f"recursive: the same as {reference}")
        found = local(root, reference)
        if found is True or found == {}:
            found = {}
        elif not isinstance(found, Mapping):
            raise Unfollowed(f"refers to {reference}, which is not followed")
        before = (*before, reference)
        schema = _known(found) | {key: value for key, value in schema.items() if key != "$ref"}
    raise Unfollowed("refers to itself")


def _known(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in _KNOWN if key in schema}


def says_same(title: str, name: str) -> bool:
    """Whether a title is the name in other letters, as some libraries make them."""
    return _letters(title[:_NAME_CHARS]) == _letters(name[:_NAME_CHARS])


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()


def types_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """What it says of its type."""
    said = schema.get("type")
    names = said if isinstance(said, list) else [said]
    return tuple(name for name in names[:16] if isinstance(name, str))


class _Reader:
    def __init__(self, root: object) -> None:
        self._root = root
        self._nodes = NODES_MAX
        self._chars = ALL_CHARS
        self._written: dict[int, str] = {}  # a large value may stand behind every reference

    def read(
        self,
        schema: object,
        depth: int,
        refs: tuple[str, ...],
        name: str = "",
        role: str = "",
        is_required: bool = False,
    ) -> Node:
        self._nodes -= 1
        node = Node(self._cut(name), role, is_required)
        if schema is True or schema == {}:
            node.types = ("anything",)
        elif schema is False:
            node.types = ("nothing",)
        elif not isinstance(schema, Mapping):
            node.note = "no schema"
        else:
            try:
                whole, refs = followed(self._root, schema, refs)
            except Unfollowed as why:
                node.note = self._cut(str(why))
                whole = {key: value for key, value in schema.items() if key in ("title", "description")}
            self._fill(node, whole, depth, refs)
        return node

    def _fill(self, node: Node, schema: Mapping[str, Any], depth: int, refs: tuple[str, ...]) -> None:
        node.types = tuple(self._cut(one) for one in types_of(schema))
        title = text_of(schema.get("title"))
        node.title = "" if depth == 0 or says_same(title, node.name) else self._cut(title)
        node.about = self._cut(text_of(schema.get("description")))
        choices = schema.get("enum")
        if isinstance(choices, list):
            node.choices = tuple(self._value(choice) for choice in choices[:CHOICES_MAX])
            node.more_choices = max(0, len(choices) - CHOICES_MAX)
        for keyword, words in _FACTS.items():
            if keyword in schema and not (keyword in _FLAGS and schema[keyword] is False):
                value = schema[keyword]
                node.facts.append((words, "" if keyword in _FLAGS and value is True else self._value(value)))
        if schema.get("additionalProperties") is False:
            node.facts.append(("no other properties", ""))
        for child, where in _below(schema):
            if depth >= DEPTH_MAX or self._nodes <= 0 or self._chars <= 0:
                node.note = node.note or "and more"
                return
            node.children.append(self.read(child, depth + 1, refs, **where))

    def _value(self, value: object) -> str:
        if isinstance(value, str) and value:
            return self._cut(value)
        if id(value) not in self._written:
            try:
                text = json.dumps(value, ensure_ascii=False)
            except (ValueError, RecursionError):
                text = "…"
            self._written[id(value)] = text[: TEXT_CHARS + 1]
        return self._cut(self._written[id(value)])

    def _cut(self, text: str) -> str:
        length = max(0, min(TEXT_CHARS, self._chars))
        self._chars -= min(len(text), length)
        return text if len(text) <= length else text[:length] + "…"


def _below(schema: Mapping[str, Any]) -> Iterator[tuple[object, dict[str, Any]]]:
    """The schemas directly in this one, and what each is of it."""
    properties, required = schema.get("properties"), schema.get("required")
    listed = required[:NODES_MAX] if isinstance(required, list) else ()
    needed = frozenset(one for one in listed if isinstance(one, str))
    if isinstance(properties, Mapping):
        for name, child in properties.items():
            yield child, {"name": name, "is_required": name in needed}
    for keyword, words in _LISTS.items():
        children = schema.get(keyword)
        if isinstance(children, list):
            for number, child in enumerate(children, 1):
                yield child, {"role": f"{words} {number}" if keyword == "prefixItems" else words}
    for keyword, words in _NAMED.items():
        named = schema.get(keyword)
        if isinstance(named, Mapping):
            for name, child in named.items():
                yield child, {"role": words, "name": name}
    for keyword, words in _ONE.items():
        child = schema.get(keyword)
        if isinstance(child, Mapping) or (child is True and keyword == "items"):
            yield child, {"role": words}
        elif keyword == "items" and isinstance(child, list):  # before 2020-12: what is `prefixItems` today
            for number, one in enumerate(child, 1):
                yield one, {"role": f"item {number}"}
