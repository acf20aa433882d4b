"""A tool's schema as the form library may see it: one of our own making, with nothing of a stranger's. Pure.

jedison writes titles and descriptions as HTML, takes names of properties for paths, ids and labels, and obeys
`x-*` members. So it never gets a server's schema, but one that is written here, word by word:

- members: those of `_LIMITS`, and what is set below; no `x-*` but ours, no `pattern` (a stranger's regular
  expression can hang the tab), no reference, no condition. What is left out the server still checks.
- texts: escaped for HTML, in which `{{` starts nothing either.
- names of properties: `p0`, `p1`, ... in the order of `Form.names`, also within values; any other name in a
  value is written behind an `x`. The page turns them back (`js/form.js`).

What cannot be shown that way is edited as JSON: a part of it (`x-free`), or all (`Form.schema` is None).
"""

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_gateway.faces.ui.schema import Unfollowed, followed, known, says_same, text_of, types_of
from mcp_gateway.visible import safe

DEPTH_MAX: Final = 8
NODES_MAX: Final = 400  # a form of as many fields is none that anybody fills in
CHOICES_MAX: Final = 500
TEXT_CHARS: Final = 2_000
ALL_CHARS: Final = 200_000  # of texts and values: a reference may repeat long ones at every place
VALUE_DEPTH_MAX: Final = 64  # of a default
ITEMS_MAX: Final = 20  # that are there from the start because at least so many are wanted
TOO_MUCH: Final = "This tool asks for more than a form can hold; its arguments are edited as JSON."
NO_OBJECT: Final = "What this tool takes is not described as an object; its arguments are edited as JSON."

_LIMITS: Final = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems", "uniqueItems"),
}
_WORDS: Final = {
    "string": "Text",
    "integer": "Whole number",
    "number": "Number",
    "boolean": "Yes or no",
    "array": "List",
    "object": "Object",
    "null": "Nothing (null)",
}
_SHAPES: Final = ("string", "integer", "number", "boolean", "array", "object", "null")
# What stands in both of two schemas that hold at once, and how it becomes one.
_MERGED: Final[tuple[tuple[str, type, Callable[[Any, Any], Any]], ...]] = (
    ("properties", Mapping, lambda one, other: {**one, **other}),
    ("required", list, lambda one, other: [*one, *other]),
)
_CHOICE: Final = ("anyOf", "oneOf")


@dataclass(slots=True)
class Form:
    """A schema for the library, or None and why not; and the names that `p0`, ... stand for."""

    schema: dict[str, Any] | None = None
    names: list[str] = field(default_factory=list)
    why: str = ""


class _TooMuch(Exception):
    pass


def form_of(schema: object) -> Form:
    """The form of a tool's `inputSchema`."""
    maker = _Maker(schema)
    try:
        made = maker.field(schema, 0, (), None)
    except (_TooMuch, RecursionError):
        return Form(why=TOO_MUCH)
    if made.get("type") != "object" or "x-free" in made:
        # Without a word about arguments there are none; anything else is not ours to guess.
        if isinstance(schema, Mapping) and "object" in types_of(schema) and not schema.get("properties"):
            takes_none = not {*_CHOICE, "allOf", "$ref", "patternProperties"} & schema.keys()
            if takes_none and schema.get("additionalProperties", True) in (True, False):
                return Form({"type": "object", "title": "Arguments", "properties": {}})
        return Form(why=NO_OBJECT)
    made["title"] = "Arguments"
    made.pop("description", None)
    maker.tell_defaults(made)
    return Form(made, maker.names)


def plain(text: str, limit: int = TEXT_CHARS) -> str:
    """A text that is the same whether it is taken for HTML, for a template of the library, or for neither."""
    shown = safe(text if len(text) <= limit else text[:limit] + "…")
    return html.escape(shown).replace("{", "&#123;")


class _Maker:
    def __init__(self, root: object) -> None:
        self._root = root
        self._nodes = NODES_MAX
        self._chars = ALL_CHARS
        self._keys: dict[str, str] = {}
        self.names: list[str] = []

    def field(self, schema: object, depth: int, refs: tuple[str, ...], name: str | None) -> dict[str, Any]:
        """The schema of one field. Optional ones need no `null` among what they may be."""
        self._nodes -= 1
        if self._nodes < 0:
            raise _TooMuch
        if not isinstance(schema, Mapping):
            return self._free({}, name)
        try:
            whole, refs = followed(self._root, schema, refs)
            whole = self._joined(whole, refs)
        except Unfollowed:
            return self._free(schema, name)
        if depth > DEPTH_MAX:
            return self._free(whole, name)
        return self._of(whole, depth, refs, name)

    def _of(
        self, schema: Mapping[str, Any], depth: int, refs: tuple[str, ...], name: str | None
    ) -> dict[str, Any]:
        choices = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(choices, list) and choices:
            return self._choice(schema, choices, name)
        for keyword in _CHOICE:
            several = schema.get(keyword)
            if not isinstance(several, list) or not several:
                continue
            if len(several) > CHOICES_MAX:
                return self._free(schema, name)
            if not all(map(_only_demands, several)):
                return self._either(schema, several, depth, refs, name)
        types = tuple(dict.fromkeys(types_of(schema)))
        if len(types) > 1:
            alternatives = [{"type": one} for one in types]
            rest = {key: value for key, value in schema.items() if key != "type"}
            return self._either(rest, alternatives, depth, refs, name)
        shape = types[0] if types else _guess(schema)
        if shape == "object" and schema.get("properties"):
            return self._object(schema, depth, refs, name)
        if shape == "array" and isinstance(schema.get("items"), Mapping) and "prefixItems" not in schema:
            made = self._head(schema, "array", name)
            made["items"] = self.field(schema["items"], depth + 1, refs, "")
            return made
        if shape in ("string", "integer", "number", "boolean", "null"):
            return self._head(schema, shape, name)
        return self._free(schema, name)

    def _object(
        self, schema: Mapping[str, Any], depth: int, refs: tuple[str, ...], name: str | None
    ) -> dict[str, Any]:
        properties, required = schema["properties"], schema.get("required")
        if not isinstance(properties, Mapping):
            return self._free(schema, name)
        listed = required if isinstance(required, list) else ()
        if max(len(properties), len(listed)) > NODES_MAX:
            raise _TooMuch
        needed = dict.fromkeys(one for one in listed if isinstance(one, str))
        made = self._head(schema, "object", name)
        made["properties"] = {}
        for own, child in properties.items():
            if child is False:
                continue
            wanted = child if own in needed else self._without_null(child, refs)
            made["properties"][self._key(own)] = self.field(wanted, depth + 1, refs, own)
        made["required"] = [self._key(own) for own in needed if properties.get(own, False) is not False]
        made["additionalProperties"] = False
        return made

    def _choice(self, schema: Mapping[str, Any], choices: list[Any], name: str | None) -> dict[str, Any]:
        shapes = {_shape(choice) for choice in choices[: CHOICES_MAX + 1]}
        if len(choices) > CHOICES_MAX or shapes & {"object", "array"} or not self._has_room(choices):
            return self._free(schema, name)
        if len(shapes) == 1:
            made = self._head(schema, shapes.pop(), name)
            # What is listed needs no limits, and no other way to be written.
            kept = {key: made[key] for key in ("type", "title", "description", "default") if key in made}
            return kept | {"enum": choices}
        parts = [
            {"const": None} if shape == "null" else {"enum": [one for one in choices if _shape(one) == shape]}
            for shape in _SHAPES
            if shape in shapes
        ]
        rest = {key: value for key, value in schema.items() if key not in ("enum", "const", "type")}
        return self._either(rest, parts, 0, (), name)

    def _either(
        self,
        schema: Mapping[str, Any],
        several: list[Any],
        depth: int,
        refs: tuple[str, ...],
        name: str | None,
    ) -> dict[str, Any]:
        if depth >= DEPTH_MAX:
            return self._free(schema, name)
        base = {key: value for key, value in schema.items() if key not in _CHOICE}
        made: list[dict[str, Any]] = []
        for number, alternative in enumerate(several, 1):
            one = self._merged(base, alternative, refs)
            if one is None:
                return self._free(schema, name)
            title = text_of(alternative.get("title")) if isinstance(alternative, Mapping) else ""
            if title:  # it is what the choice says
                one = {key: value for key, value in one.items() if key != "title"}
            part = self.field(one, depth + 1, refs, name)
            words = "JSON" if "x-free" in part else _WORDS.get(text_of(part.get("type")), f"Option {number}")
            part["x-switcherTitle"] = safe(title[:TEXT_CHARS], lines=False) or words
            made.append(part)
        if len(made) == 1:
            made[0].pop("x-switcherTitle")
            return made[0]
        whole = self._texts(schema, name) | {"anyOf": made}
        return self._with_default(whole, schema)

    def _joined(self, schema: Mapping[str, Any], refs: tuple[str, ...]) -> Mapping[str, Any]:
        """Without `allOf`: what all of them say, as far as it can be said at once.

        Raises: Unfollowed.
        """
        for part in (schema.get("allOf") or ()) if isinstance(schema.get("allOf"), list) else ():
            base = {key: value for key, value in schema.items() if key != "allOf"}
            merged = self._merged(base, part, refs)
            if merged is None:
                raise Unfollowed
            schema = merged
        return schema

    def _merged(
        self, base: Mapping[str, Any], part: object, refs: tuple[str, ...]
    ) -> Mapping[str, Any] | None:
        """Both at once; None where they cannot be told apart from a contradiction."""
        self._nodes -= 1
        if self._nodes < 0:
            raise _TooMuch
        if not isinstance(part, Mapping):
            return base if part is True else None
        try:
            part, _ = followed(self._root, part, refs)
        except Unfollowed:
            return None
        part = known(part)
        both = {**base, **{key: value for key, value in part.items() if key not in ("title", "description")}}
        for key in ("title", "description"):
            if key in part and key not in base:
                both[key] = part[key]
        for key, kind, joined in _MERGED:
            if isinstance(base.get(key), kind) and isinstance(part.get(key), kind):
                if len(base[key]) + len(part[key]) > NODES_MAX:
                    raise _TooMuch
                both[key] = joined(base[key], part[key])
        return both

    def _without_null(self, schema: object, refs: tuple[str, ...]) -> object:
        """What is optional is left out instead of being null."""
        if not isinstance(schema, Mapping):
            return schema
        cut = known(schema)
        if isinstance(cut.get("type"), list) and len(cut["type"]) > 1:
            cut["type"] = [one for one in cut["type"] if one != "null"]
        for keyword in _CHOICE:
            several = cut.get(keyword)
            if isinstance(several, list) and 1 < len(several) <= CHOICES_MAX:
                cut[keyword] = [one for one in several if not (isinstance(one, Mapping) and _is_null(one))]
        if cut.get("default", 0) is None:
            del cut["default"]
        return cut

    def _head(self, schema: Mapping[str, Any], shape: str, name: str | None) -> dict[str, Any]:
        made = self._texts(schema, name) | {"type": shape}
        for keyword in _LIMITS.get(shape, ()):
            value = schema.get(keyword)
            if _is_limit(keyword, value):
                made[keyword] = value
        if shape == "boolean":
            made["x-format"] = "checkbox"
        elif shape == "string":
            made["x-box"] = True
        return self._with_default(made, schema)

    def _free(self, schema: Mapping[str, Any], name: str | None) -> dict[str, Any]:
        """A field in which JSON is written; whatever is in it, the library takes it as it is."""
        made = self._texts(schema, name) | {"type": "string", "x-free": True}
        types = types_of(schema)
        shape = types[0] if types else _guess(schema)
        made["default"] = {"object": {}, "array": [], "string": ""}.get(shape or "")
        if "const" in schema:
            return self._with_default(made, {"default": schema["const"]})
        return self._with_default(made, schema)

    def _texts(self, schema: Mapping[str, Any], name: str | None) -> dict[str, Any]:
        title, about = text_of(schema.get("title")), text_of(schema.get("description"))
        # The name is what the tool knows it by; a title that says the same in other letters says nothing.
        shown = name or title or "Item"
        is_news = name and title and not says_same(title, name)
        texts = {"title": plain(shown, 200)}
        words = f"{title}\n{about}" if is_news and about else title if is_news else about
        if words:
            texts["description"] = plain(words)
        self._chars -= sum(map(len, texts.values()))
        if self._chars < 0:
            raise _TooMuch
        return texts

    def _with_default(self, made: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
        if "default" not in schema:
            return made
        default = schema["default"]
        shape, wanted = _shape(default), made.get("type")
        fits = (
            "x-free" in made or wanted is None or shape == wanted or (shape, wanted) == ("integer", "number")
        )
        if fits and self._has_room(default):
            made["default"] = default
        return made

    def _has_room(self, value: object) -> bool:
        """Whether a value of the schema may be repeated in the form; costs what is looked at.

        Raises: _TooMuch.
        """
        level: list[object] = [value]
        for _ in range(VALUE_DEPTH_MAX):
            below: list[object] = []
            for one in level:
                self._chars -= 2 + len(one) if isinstance(one, str | list | dict) else 8
                if self._chars < 0:
                    raise _TooMuch
                if isinstance(one, dict):
                    self._chars -= sum(map(len, one))
                    below += one.values()
                elif isinstance(one, list):
                    below += one
                elif isinstance(one, int | float) and not _is_finite(one):
                    return False
            level = below
            if not level:
                return True
        return False

    def tell_defaults(self, made: dict[str, Any]) -> None:
        """Turns the names in all defaults, once all of them are known."""
        if "default" in made:
            made["default"] = self._told(made["default"])
        for part in (*made.get("properties", {}).values(), *made.get("anyOf", ())):
            self.tell_defaults(part)
        if "items" in made:
            self.tell_defaults(made["items"])

    def _key(self, name: str) -> str:
        if name not in self._keys:
            self._keys[name] = f"p{len(self.names)}"
            self.names.append(name)
        return self._keys[name]

    def _told(self, value: object) -> object:
        """A value with the names of its members as the form has them."""
        if isinstance(value, dict):
            return {self._keys.get(name, f"x{name}"): self._told(one) for name, one in value.items()}
        return [self._told(one) for one in value] if isinstance(value, list) else value


def _only_demands(alternative: object) -> bool:
    """Of a choice between what must be there beside what is described elsewhere, nothing is drawn."""
    return isinstance(alternative, Mapping) and alternative.keys() <= {"required", "not", "$comment"}


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null" or ("const" in schema and schema["const"] is None)


def _guess(schema: Mapping[str, Any]) -> str | None:
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else None


def _shape(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _is_finite(number: float) -> bool:
    """Whether it is one in a browser, too."""
    try:
        return math.isfinite(number)
    except OverflowError:  # of an integer that no float holds
        return False


def _is_limit(keyword: str, value: object) -> bool:
    if keyword == "uniqueItems":
        return value is True
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        return False
    if keyword == "minItems":
        return 0 < value <= ITEMS_MAX
    return value > 0 if keyword == "multipleOf" else True
