"""The schema of a tool in OpenAPI 3.1, with all that it says: for generators of code, strict readers. Pure.

References lead to components of the same document; forms of older drafts are said in the words of 2020-12.
What would make the document invalid, or a reader fetch something, is set aside under members of our own
(`x-mcp-…`). The complete list is in docs/decisions/0033.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from mcp_gateway.schemas.document import Document, Found, Resource
from mcp_gateway.schemas.inlining import sentence
from mcp_gateway.schemas.proof import holds
from mcp_gateway.schemas.values import (
    TEXT_CHARS_MAX,
    is_count,
    is_number,
    is_portable,
    is_text,
    kinds_said,
    weight,
)

DEPTH_MAX: Final = 64  # of schemas in schemas, through references as well
NESTING_MAX: Final = 12  # in one component: what is deeper gets one of its own, since readers recurse
SCHEMAS_MAX: Final = 5_000
UNITS_MAX: Final = 240_000  # about bytes of JSON
UNFOLDED_MAX: Final = 2_000  # schemas that are asked of one value, written out
_SCHEMA_UNITS: Final = 16
_ADDRESS_UNITS: Final = 200  # of a reference that has to be joined with others
_LABEL_CHARS: Final = 60
_ASIDE_CHARS: Final = 2_000  # of one value that is set aside
_UNFIT: Final = re.compile("[^A-Za-z0-9_-]+")

PREFIX: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Exact:
    """A schema, and those that it refers to, by name; `why` says what of the tool's own could not be kept."""

    schema: dict[str, Any]
    components: dict[str, dict[str, Any]]
    why: str | None


def exact(schema: object, name: str, side: Literal["input", "output"] = "input") -> Exact:
    """A tool's schema without loss, its components named `{name}.{side}.…`. Never raises, whatever it is.

    `name` is the exposed name of the tool: unique in the document, and without dots.
    """
    prefix = f"{_UNFIT.sub('_', name)}.{side}"
    made = _Maker(schema, prefix, is_loose=False)
    found = made.all()
    if made.is_looser:
        # Looser inside of `not` is tighter outside: what is no longer exact may not stand in its like.
        made = _Maker(schema, prefix, is_loose=True)
        found = made.all()
    return found


def _is_words(value: Any) -> bool:
    return is_text(value) and len(value) <= TEXT_CHARS_MAX


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 10_000 and all(map(_is_words, value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_step(value: Any) -> bool:
    return is_number(value) and value > 0


def _is_type(value: Any) -> bool:
    return kinds_said(value) is not None


# What the words of JSON Schema and OpenAPI 3.1 may be followed by, if no schema.
_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "type": _is_type,
    "enum": lambda value: isinstance(value, list),
    "multipleOf": _is_step,
    "pattern": is_portable,
    "required": _is_names,
    "examples": lambda value: isinstance(value, list),
    "dependentRequired": lambda value: (
        isinstance(value, dict) and all(map(_is_words, value)) and all(map(_is_names, value.values()))
    ),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), is_count),
    **dict.fromkeys(("minProperties", "maxProperties", "minContains", "maxContains"), is_count),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _is_flag),
    **dict.fromkeys(
        ("title", "description", "format", "contentEncoding", "contentMediaType", "$comment"), _is_words
    ),
}
_TEXTS: Final = frozenset({"title", "description", "$comment"})
_ONE: Final = frozenset(
    {"items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"}
    | {"unevaluatedProperties", "unevaluatedItems", "contentSchema"}
)
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
# Of a document of its own, or with another meaning in OpenAPI: kept under a name that nobody acts on.
_RENAMED: Final = {
    **{f"${word}": f"x-mcp-{word}" for word in ("id", "anchor", "dynamicAnchor", "recursiveAnchor")},
    **{f"${word}": f"x-mcp-{word}" for word in ("schema", "vocabulary")},
    **{word: f"x-mcp-{word}" for word in ("discriminator", "xml", "externalDocs", "id", "nullable")},
}
# Where a schema that is looser makes the one around it tighter, or neither.
_NOT_MONOTONE: Final = frozenset({"not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems"})
_ASSERTIONS: Final = frozenset({*_CHECKS, *_ONE, *_LISTS, *_NAMED, "const", "dependencies"}) - frozenset(
    {"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)


# Where a schema in a schema is about the same value.
_IN_PLACE: Final = ("not", "if", "then", "else")
_IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")


class _Maker:
    def __init__(self, schema: object, prefix: str, is_loose: bool) -> None:
        self._document = Document(schema)
        self._schema = schema
        self._prefix = prefix
        self._is_loose = is_loose
        self.is_looser = False
        self._why: list[str] = []
        self._components: dict[str, dict[str, Any]] = {}
        self._names: dict[tuple[int, int], str] = {}  # by schema and the resource it is read in
        self._labels: dict[str, int] = {}
        self._queue: deque[tuple[str, Any, Resource, int]] = deque()
        self._made: list[Any] = []
        self._schemas = SCHEMAS_MAX
        self._units = UNITS_MAX
        self._defaults: list[dict[str, Any]] = []
        self._arrays: list[dict[str, Any]] = []
        self._counts_items = False

    def all(self) -> Exact:
        """The schema and all its components."""
        top = self._document.top
        whole = schema = self._object(self._make(self._schema, Resource(top.root, ""), 0, 0))
        while self._queue:
            name, one, resource, depth = self._queue.popleft()
            if one is self._schema and resource.root is top.root:
                self._components[name] = whole
                schema = {"$ref": PREFIX + name}
            else:
                self._components[name] = self._object(self._make(one, resource, depth, 0))
        self._break_loops(schema)
        if (
            not self._counts_items
        ):  # then this says nothing more, and generators of code leave out what lacks it
            for array in self._arrays:
                array["items"] = {}
        self._keep_right_defaults()
        return Exact(schema, self._components, sentence(self._why))

    def _say(self, why: str) -> None:
        if why not in self._why:
            self._why.append(why)

    def _too_large(self) -> None:
        self._say("it is too deep or too large")
        self.is_looser = True

    @staticmethod
    def _object(schema: Any) -> dict[str, Any]:
        if isinstance(schema, dict):
            return schema
        return {} if schema is True else {"not": {}}

    def _refer(self, found: Found, depth: int) -> dict[str, Any]:
        key = (id(found.schema), id(found.resource.root))
        if not isinstance(found.schema, dict):
            return self._object(self._make(found.schema, found.resource, depth, 0))
        name = self._names.get(key)
        if name is None:
            label = _UNFIT.sub("_", found.label[:_LABEL_CHARS]).strip("_") or "schema"
            number = self._labels[label] = self._labels.get(label, 0) + 1
            name = f"{self._prefix}.{label}" + (f".{number}" if number > 1 else "")
            self._names[key] = name
            self._queue.append((name, found.schema, found.resource, depth))
        self._units -= len(name) + len(PREFIX)
        return {"$ref": PREFIX + name}

    def _cut(self, schema: Any) -> dict[str, Any]:
        """The types that a schema names itself, which takes what it took and more."""
        self._too_large()
        type_ = schema.get("type") if isinstance(schema, dict) else None
        if isinstance(schema, dict) and schema.get("nullable") is not True and _is_type(type_):
            return {
                "type": type_ if isinstance(type_, str) else list(dict.fromkeys(type_ or ())),
                "x-mcp-cut": True,
            }
        return {"x-mcp-cut": True}

    def _make(self, schema: Any, resource: Resource, depth: int, nesting: int) -> Any:
        if isinstance(schema, bool):
            return schema
        self._schemas -= 1
        self._units -= _SCHEMA_UNITS
        if not isinstance(schema, dict):
            self._say("there is a part that is no schema")
            self.is_looser = True
            return {"x-mcp-invalid": self._aside(schema)}
        if depth >= DEPTH_MAX or self._schemas < 0 or self._units < 0:
            return self._cut(schema)
        resource = self._document.resource_of(schema, resource)
        if nesting >= NESTING_MAX:
            self._made.append(schema)
            return self._refer(Found(schema, resource, "deep"), depth)
        return self._words(schema, resource, depth + 1, nesting + 1)

    def _words(self, schema: dict[str, Any], resource: Resource, depth: int, nesting: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        aside: dict[str, Any] = {}
        words = _of_today(schema, aside)
        if self._document.is_old and isinstance(words.get("$ref"), str):
            ignored = {key: words.pop(key) for key in list(words) if key in _ASSERTIONS}
            if ignored:
                made["x-mcp-ignored"] = self._aside(ignored)
        for keyword, value in words.items():
            if not is_text(keyword) or len(keyword) > TEXT_CHARS_MAX:
                self._say("there is a word that no document can have")
                continue
            self._units -= len(keyword) + 4
            if keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
                self._reference(keyword, value, resource, depth, made)
            elif keyword in ("$defs", "definitions"):
                if isinstance(value, dict):
                    for name, one in value.items():
                        if self._schemas > 0 and self._units > 0 and isinstance(one, dict):
                            inner = self._document.resource_of(one, resource)
                            self._refer(Found(one, inner, name if is_text(name) else ""), depth)
                else:
                    aside[keyword] = value
            elif self._is_loose and keyword in _NOT_MONOTONE:
                made[f"x-mcp-{keyword}"] = self._aside(value)
            elif keyword in _ONE or keyword in _LISTS or keyword in _NAMED:
                self._below(keyword, value, resource, depth, nesting, made, aside)
            elif keyword in _RENAMED and (keyword not in ("id", "nullable") or not isinstance(value, dict)):
                made[_RENAMED[keyword]] = self._aside(value)
            else:
                self._plain(keyword, value, made, aside)
        if "additionalProperties" in made and any(
            isinstance(words.get(keyword), dict) and len(made.get(keyword, ())) < len(words[keyword])
            for keyword in ("properties", "patternProperties")
        ):
            # Those that are not named any more would be others.
            made["x-mcp-additionalProperties"] = self._aside(words["additionalProperties"])
            del made["additionalProperties"]
        if aside:
            if any(keyword in _ASSERTIONS for keyword in aside):
                self.is_looser = True
            self._say(f"what follows {_listed(aside)} is not valid there")
            made["x-mcp-invalid"] = {
                key: self._aside(value) for key, value in list(aside.items())[:50] if is_text(key)
            }
        self._finish(made)
        return made

    def _plain(self, keyword: str, value: Any, made: dict[str, Any], aside: dict[str, Any]) -> None:
        if keyword in _TEXTS and isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
            self._say("there is a text that is too long")
            value = value[: TEXT_CHARS_MAX - 1] + "…"
        elif keyword == "pattern" and isinstance(value, str) and len(value) > self._units:
            self._too_large()
            return
        check = _CHECKS.get(keyword)
        if check is not None and not check(value):
            aside[keyword] = value
            return
        size = weight(value)
        if size is None:
            aside[keyword] = value
            return
        if size > self._units:
            self._too_large()
            return
        self._units -= size
        if keyword in ("required", "type") and isinstance(value, list):
            value = list(dict.fromkeys(value))
        elif keyword == "dependentRequired":
            value = {name: list(dict.fromkeys(names)) for name, names in value.items()}
        elif check is is_count:
            value = int(value)
        made[keyword] = value

    def _below(
        self,
        keyword: str,
        value: Any,
        resource: Resource,
        depth: int,
        nesting: int,
        made: dict[str, Any],
        aside: dict[str, Any],
    ) -> None:
        if keyword in _ONE:
            made[keyword] = self._make(value, resource, depth, nesting)
            return
        if keyword in _LISTS:
            if not isinstance(value, list) or not value:
                aside[keyword] = value
                return
            if len(value) * _SCHEMA_UNITS > self._units:
                self._too_large()
                return
            name = "anyOf" if self._is_loose and keyword == "oneOf" and "anyOf" not in made else keyword
            if self._is_loose and keyword == "oneOf" and name == "oneOf":
                made["x-mcp-oneOf"] = self._aside(value)
                return
            parts = [self._make(one, resource, depth, nesting) for one in value]
            if name in ("allOf", "anyOf"):  # where the same once more says nothing
                refs = {json.dumps(part): part for part in parts if _is_only_ref(part)}
                parts = [part for part in parts if not _is_only_ref(part)] + list(refs.values())
            made[name] = parts
            return
        if not isinstance(value, dict):
            aside[keyword] = value
            return
        members: dict[str, Any] = {}
        for name, one in value.items():
            is_kept = is_portable(name) if keyword == "patternProperties" else is_text(name)
            if not is_kept:
                aside.setdefault(keyword, {})[name] = one
                continue
            if self._units < len(name):
                self._too_large()
                break
            self._units -= len(name) + 4
            members[name] = self._make(one, resource, depth, nesting)
        made[keyword] = members

    def _reference(
        self, keyword: str, value: Any, resource: Resource, depth: int, made: dict[str, Any]
    ) -> None:
        found = None
        if isinstance(value, str):
            self._units -= 4 * len(value) + (0 if value.startswith("#") else _ADDRESS_UNITS)
            dynamic = keyword == "$dynamicRef"
            find = self._document.find_dynamic if dynamic else self._document.find
            found = find(value, resource)
        if found is None:
            self._say("it refers to what is not in it")
            self.is_looser = True
            made[f"x-mcp-{keyword[1:].replace('Ref', '-ref')}"] = self._aside(value)
            return
        target = self._refer(found, depth)
        if "$ref" in made or "$ref" not in target:
            made.setdefault("allOf", []).append(target)
        else:
            made["$ref"] = target["$ref"]

    def _finish(self, made: dict[str, Any]) -> None:
        if "default" in made:
            self._defaults.append(made)
        kinds = made.get("type", ())
        if "array" in ([kinds] if isinstance(kinds, str) else kinds) and "items" not in made:
            self._arrays.append(made)
        self._counts_items |= "unevaluatedItems" in made
        needed, parts = made.get("required"), made.get("allOf")
        if needed and parts and not all(name in made.get("properties", {}) for name in needed):
            # The same, said where readers do not look for the properties beside it.
            made["allOf"] = [*parts, {"required": made.pop("required")}]

    def _aside(self, value: Any) -> Any:
        """A value as it may stand where nobody acts on it: as it is, else its JSON as a text, else a note."""
        size = weight(value, min(_ASIDE_CHARS, max(0, self._units)))
        if size is not None:
            self._units -= size
            return value
        text = "(cannot be shown)"
        if self._units > _ASIDE_CHARS and _is_small(value):
            text = json.dumps(value)[:_ASIDE_CHARS]
        self._units -= len(text)
        return text

    def _break_loops(self, top: dict[str, Any]) -> None:
        """Takes away references by which a schema is itself before anything is asked of a value, or is very
        many others: readers do not come back from those.
        """
        ways: dict[str, list[dict[str, Any]]] = {}
        unfolded: dict[str, int] = {}  # how many schemas of one value a reader comes by
        for start in ("", *self._components):
            path: list[tuple[str, Iterator[dict[str, Any]]]] = []
            target = start
            while True:
                if target not in unfolded:
                    ways[target] = _in_place(self._components[target] if target else top)
                    path.append((target, iter(ways[target])))
                    unfolded[target] = 0
                if not path:
                    break
                name, holders = path[-1]
                holder = next(holders, None)
                if holder is None:
                    unfolded[name] = self._unfolded(ways[name], unfolded)
                    path.pop()
                    continue
                target = _target(holder)
                if target in self._components and any(target == one for one, _ in path):
                    self._let_go(holder, "it refers to itself and says nothing by that")
                elif target not in self._components:
                    unfolded.setdefault(target, 1)

    def _unfolded(self, holders: list[dict[str, Any]], unfolded: dict[str, int]) -> int:
        size = 1 + sum(unfolded[_target(holder)] for holder in holders if "$ref" in holder)
        if size <= UNFOLDED_MAX:
            return size
        for holder in holders:
            if "$ref" in holder:
                self._let_go(holder, "what it refers to multiplies")
        return 1

    def _let_go(self, holder: dict[str, Any], why: str) -> None:
        holder["x-mcp-ref"] = self._aside(holder.pop("$ref"))
        self._say(why)
        self.is_looser = True

    def _keep_right_defaults(self) -> None:
        for schema in self._defaults:
            rest = {key: value for key, value in schema.items() if key != "default"}
            if not holds(schema["default"], rest, self._components):
                schema["x-mcp-default"] = schema.pop("default")


def _is_only_ref(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.keys() == {"$ref"}


def _target(holder: dict[str, Any]) -> str:
    target: str = holder["$ref"]
    return target.removeprefix(PREFIX)


def _in_place(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Those with a reference among a schema and what it holds of the same value."""
    found, todo = [], [schema]
    while todo:
        one = todo.pop()
        if isinstance(one.get("$ref"), str):
            found.append(one)
        parts = [one[word] for word in _IN_PLACE if word in one]
        parts += [part for word in _IN_PLACE_LISTS for part in one.get(word, ())]
        parts += one.get("dependentSchemas", {}).values()
        todo += [part for part in parts if isinstance(part, dict)]
    return found


def _is_small(value: Any) -> bool:
    """Few and flat enough that writing it as JSON is cheap and cannot fail for its depth."""
    todo, count = [(value, 0)], 0
    while todo:
        one, depth = todo.pop()
        count += 1
        if count > 500 or depth > 30:
            return False
        if isinstance(one, int) and one.bit_length() > 1_000:
            return False
        if isinstance(one, dict):
            todo.extend((member, depth + 1) for member in list(one.values())[:501])
        elif isinstance(one, list):
            todo.extend((member, depth + 1) for member in one[:501])
    return True


def _listed(aside: dict[str, Any]) -> str:
    known = sorted(
        key for key in aside if key in _ASSERTIONS or key in _CHECKS or key in ("$defs", "definitions")
    )
    return ", ".join(f"`{key}`" for key in known[:5]) or "an unknown word"


def _of_today(schema: dict[str, Any], aside: dict[str, Any]) -> dict[str, Any]:
    """The same in the words of 2020-12; what cannot be said so goes aside."""
    words = dict(schema)
    for keyword, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        flag = words.get(strict)
        if isinstance(flag, bool):
            del words[strict]
            if flag and keyword in words:
                words[strict] = words.pop(keyword)
    items = words.get("items")
    if isinstance(items, list):
        if "prefixItems" in words:
            aside["items"] = words.pop("items")
        else:
            del words["items"]
            if items:
                words["prefixItems"] = items
            if "additionalItems" in words:
                words["items"] = words.pop("additionalItems")
    depending = words.get("dependencies")
    if isinstance(depending, dict):
        del words["dependencies"]
        for name, needs in depending.items():
            if isinstance(needs, str):
                needs = [needs]
            word = "dependentRequired" if isinstance(needs, list) else "dependentSchemas"
            before = words.get(word, {})
            if isinstance(before, dict) and name not in before:
                words[word] = {**before, name: needs}
            else:
                aside.setdefault("dependencies", {})[name] = needs
    said = words.get("type")
    if words.get("nullable") is True and isinstance(said, str | list) and kinds_said(said) is not None:
        names = [said] if isinstance(said, str) else said
        words["type"] = list(dict.fromkeys([*names, "null"]))
    return words
