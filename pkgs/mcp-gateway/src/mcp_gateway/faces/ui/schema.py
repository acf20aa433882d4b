"""A JSON Schema of a server as something to read: a tree of what may stand where, within bounds. Pure.

Schemas are hostile text. Only references inside of the document are followed, each once on its way; nothing
is fetched (S36), and neither depth, nor breadth, nor the length of texts can make a page without end.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

DEPTH_MAX: Final = 64
NODES_MAX: Final = 1_000  # a reference on the way to one counts as another
TEXT_CHARS: Final = 4_000  # of one description or value
ALL_CHARS: Final = 400_000  # of all of them: a reference may repeat a long one at every place
CHOICES_MAX: Final = 50
RAW_CHARS: Final = 200_000
REFERENCE_CHARS: Final = 1_000
NAME_CHARS: Final = 200  # a longer one is no word for the same in other letters
_STEPS_MAX: Final = 64  # of references that lead to references

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
_PLAIN: Final = ("$ref", "type", "title", "description", "enum", "required", "properties")
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
_FLAGS: Final = frozenset({"uniqueItems", "readOnly", "writeOnly", "deprecated"})
_KNOWN: Final = (*_PLAIN, *_FACTS, *_ONE, *_LISTS, *_NAMED)


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
    text = json_text(value, RAW_CHARS + 1, indent=2)
    return text if len(text) <= RAW_CHARS else text[:RAW_CHARS] + "\n… and more"


def json_text(value: object, limit: int, indent: int = 0) -> str:
    """So many characters of the JSON of a value, of any depth, at the cost of what is written."""
    text: list[str] = []
    left = limit
    # What is begun and not at its end: a call for each level would be one too many somewhere.
    begun = [_pieces(value, limit, indent, 1)]
    while begun and left > 0:
        piece = next(begun[-1], None)
        if piece is None:
            begun.pop()
        elif isinstance(piece, str):
            text.append(piece)
            left -= len(piece)
        else:
            begun.append(piece)
    return "".join(text)[:limit]


_Pieces = Iterator["str | _Pieces"]


def _pieces(value: object, limit: int, indent: int, depth: int) -> _Pieces:
    if isinstance(value, str):
        yield json.dumps(value[:limit], ensure_ascii=False)
    elif not isinstance(value, dict | list) or not value:
        yield json.dumps(value)
    else:
        gap = "\n" + " " * min(limit, indent * depth) if indent else ""
        between = "," + (gap or " ")
        yield ("{" if isinstance(value, dict) else "[") + gap
        for number, one in enumerate(value):
            yield between if number else ""
            if isinstance(value, dict):
                yield json.dumps(one[:limit], ensure_ascii=False) + ": "
                one = value[one]
            yield _pieces(one, limit, indent, depth + 1)
        yield gap[: len(gap) - indent] + ("}" if isinstance(value, dict) else "]")


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
    schema = known(schema)
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
        schema = known(found) | {key: value for key, value in schema.items() if key != "$ref"}
    raise Unfollowed("refers to itself")


def known(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Of all keywords those that say something here."""
    return {keyword: schema[keyword] for keyword in _KNOWN if keyword in schema}


def says_same(title: str, name: str) -> bool:
    """Whether a title is the name in other letters, as some libraries make them."""
    if max(len(title), len(name)) > NAME_CHARS:
        return title == name
    return _letters(title) == _letters(name)


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
        self._needed: dict[int, Collection[str]] = {}  # of each list `required` of the document

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
            before = len(refs)
            try:
                whole, refs = followed(self._root, schema, refs)
                self._nodes -= len(refs) - before
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
        for child, where in self._below(schema):
            if depth >= DEPTH_MAX or self._nodes <= 0 or self._chars <= 0:
                node.note = node.note or "and more"
                return
            node.children.append(self.read(child, depth + 1, refs, **where))

    def _value(self, value: object) -> str:
        return self._cut(value if isinstance(value, str) and value else json_text(value, TEXT_CHARS + 1))

    def _cut(self, text: str) -> str:
        length = max(0, min(TEXT_CHARS, self._chars))
        self._chars -= min(len(text), length)
        return text if len(text) <= length else text[:length] + "…"

    def _below(self, schema: Mapping[str, Any]) -> Iterator[tuple[object, dict[str, Any]]]:
        """The schemas directly in this one, and what each is of it."""
        properties, needed = schema.get("properties"), self._needed_of(schema.get("required"))
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
            elif keyword == "items" and isinstance(
                child, list
            ):  # before 2020-12: what is `prefixItems` today
                for number, one in enumerate(child, 1):
                    yield one, {"role": f"item {number}"}

    def _needed_of(self, required: object) -> Collection[str]:
        """As a set, made once: a reference may lead to the same list from every place."""
        if not isinstance(required, list):
            return ()
        if id(required) not in self._needed:
            self._needed[id(required)] = frozenset(one for one in required if isinstance(one, str))
        return self._needed[id(required)]
