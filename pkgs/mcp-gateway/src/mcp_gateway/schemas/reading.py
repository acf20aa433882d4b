"""A schema read as what may stand where: at every place forms, one for each type, with its members. Pure.

Both the schema that models get and the one that arguments are fitted to are made of this one reading, so
that what one of them allows the other cannot change. References are followed, `allOf` is merged, `anyOf` and
`oneOf` become alternatives. Where exactness would need more than forms, or more than the bounds allow, a
place becomes looser and never tighter.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_gateway.schemas.document import Document, Resource
from mcp_gateway.schemas.values import (
    ALL_KINDS,
    ARRAY,
    BOOLEAN,
    FRACTION,
    INTEGER,
    NULL,
    OBJECT,
    PATTERN_CHARS_MAX,
    STRING,
    TEXT_CHARS_MAX,
    identity,
    is_count,
    is_number,
    is_portable,
    is_text,
    kind_of,
    kinds_said,
    weight,
)

DEPTH_MAX: Final = 24  # of places in places; readers of the document recurse, some with fifteen calls a level
UNITS_MAX: Final = 240_000  # about bytes of JSON that all places together may become
PLACE_UNITS: Final = 36  # of one place at the least, so that there are not more than some 6,000
ANYTHING_UNITS: Final = 120  # of one that anything may stand at: models want that spelled out
STEPS_MAX: Final = 36_000  # schemas, members and values that are looked at; a reference makes it again
PLACE_STEPS: Final = 6  # of one place at the least
ALTERNATIVES_MAX: Final = 64  # that come of several `anyOf` together
BRANCHES_MAX: Final = 1_000  # of one `anyOf`
_NESTED_MAX: Final = 12  # alternatives in alternatives of one place

ABOUT: Final = ("title", "description", "default", "deprecated", "readOnly", "writeOnly")


@dataclass(slots=True)
class Form:
    """What may stand at a place if it is of one type."""

    type: str
    facts: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, "Place"] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    rest: "Place | None" = None  # what properties without a name here are; None where nothing is said
    is_closed: bool = False  # there may be none of those
    items: "Place | None" = None

    @property
    def is_plain(self) -> bool:
        """Nothing is said beside the type."""
        return not (
            self.facts or self.properties or self.required or self.rest or self.is_closed or self.items
        )


@dataclass(slots=True)
class Place:
    """What may stand somewhere: null where it is nullable, and one of the forms; without forms anything."""

    forms: list[Form] = field(default_factory=list)
    is_nullable: bool = True
    is_only_null: bool = False
    is_loose: bool = False  # more than the forms may stand here
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """The whole of a schema, and what had to be made looser than it says."""

    top: Place
    why: list[str]


class _Spent(Exception):
    """There is no more to spend: for one place, or for the whole schema."""


# A schema, and the resource it stands in.
_Standing = tuple[Any, Resource]


def read(schema: object) -> Reading:
    """What may stand where, in bounds of depth, size and work whatever the schema is."""
    try:
        return _Reader(schema, is_shared=False).whole()
    except _Spent:
        # Again, with as much for each part as for its neighbours: so the large one loses, not the last one.
        # Half of it all, since most of the time for it is gone.
        return _Reader(schema, is_shared=True).whole()


class _Reader:
    def __init__(self, schema: object, is_shared: bool) -> None:
        self._schema = schema
        self._is_shared = is_shared
        self.document = Document(schema)
        self.why: list[str] = []
        self._units = UNITS_MAX // 2 if is_shared else UNITS_MAX
        self._steps = STEPS_MAX // 2 if is_shared else STEPS_MAX
        self._floor = 0  # of the steps, for the place that is being read
        self._path: set[int] = set()  # schemas that the place being read stands in
        self._made: list[object] = []  # schemas of ours stay alive: they are told apart by identity

    def whole(self) -> Reading:
        """What may stand where in the whole schema.

        Raises:
            _Spent: it is too much, and nothing was to be shared.
        """
        return Reading(self.place(((self._schema, self.document.top),), 0, 0, 0), self.why)

    def place(self, schemas: tuple[_Standing, ...], depth: int, units_floor: int, steps_floor: int) -> Place:
        """What may stand where all of the schemas hold; what is left above the floors may be spent on it."""
        outer, self._floor = self._floor, steps_floor
        self._units -= PLACE_UNITS
        entered: set[int] = set()
        try:
            self._step(PLACE_STEPS)
            return self._read(schemas, depth, units_floor, entered)
        except _Spent:
            if not self._is_shared:
                raise
            self._say("it is too much to read all of it")
            return self._anything({})
        finally:
            self._path -= entered
            self._floor = outer

    def _say(self, why: str) -> None:
        if why not in self.why:
            self.why.append(why)

    def _step(self, count: int = 1) -> None:
        self._steps -= count
        if self._steps < self._floor:
            raise _Spent

    def _shares(self, floors: tuple[int, int], among: int) -> tuple[int, int]:
        """The floors for one of so many that have the same right to what is left above the common ones."""
        if not self._is_shared:
            return floors
        return (
            self._units - max(0, self._units - floors[0]) // among,
            self._steps - max(0, self._steps - floors[1]) // among,
        )

    def _read(self, schemas: tuple[_Standing, ...], depth: int, units_floor: int, entered: set[int]) -> Place:
        if self._units < 0 and not self._is_shared:
            raise _Spent
        if len(schemas) == 1 and self._units >= units_floor and _is_leaf(schemas[0][0]):
            # Most places of most schemas, at a third of the cost.
            said = list(schemas)
            self._step()
            form = Form(said[0][0]["type"], self._facts(said, said[0][0]["type"], units_floor))
            return Place([form], is_nullable=False, about=self._about(said, units_floor))
        whole = _Whole()
        alternatives = self._alternatives(schemas, whole, frozenset(), 0)
        if not alternatives:
            self._say("there is a part that nothing can be right for")
            return self._anything(self._about(whole.said, units_floor))
        again = [self._again(said, whole) for said in alternatives]
        is_cut = depth >= DEPTH_MAX or self._units < units_floor
        if is_cut and not all(again):
            self._say("it is too deep or too large")
        # Those beside it as well: types that refer to each other would be written out in every order.
        fresh = {id(one) for said in alternatives for one, _ in said} - self._path
        entered |= fresh
        self._path |= fresh
        forms: list[Form] = []
        is_nullable = False
        for number, said in enumerate(alternatives):
            floors = self._shares((units_floor, self._floor), len(alternatives) - number)
            kinds = self._kinds(said)
            is_nullable |= NULL in kinds
            about = self._about(said[len(whole.said) :], floors[0]) if len(alternatives) > 1 else {}
            if again[number] and len(alternatives) > 1:
                about.setdefault("description", f"recursive: {again[number]}")
            forms.extend(self._forms(said, kinds, about, depth, floors, is_cut or bool(again[number])))
        place = Place(_united(forms), is_nullable, is_only_null=is_nullable and not forms)
        if len(alternatives) == 1:
            place.about = self._about(alternatives[0], units_floor)
        else:
            place.about = self._about(whole.said, units_floor)
        if not forms and not is_nullable:
            self._say("there is a part that nothing can be right for")
            is_nullable = True
        if again[0] and len(alternatives) == 1:
            place.about.setdefault("description", f"recursive: {again[0]}")
        if is_nullable and (not forms or _is_anything(place.forms)) and not place.is_only_null:
            return self._anything(place.about)
        return place

    def _again(self, said: list[_Standing], whole: "_Whole") -> str | None:
        """The name of what stands here again, inside of itself or what was beside it; None for nothing."""
        for schema, _ in said:
            if id(schema) in self._path and id(schema) in whole.labels:
                return whole.labels[id(schema)]
        return None

    def _anything(self, about: dict[str, Any]) -> Place:
        self._units -= ANYTHING_UNITS
        return Place(about=about)

    # What stands together, and what stands for choice.

    def _alternatives(
        self, schemas: Iterable[_Standing], whole: "_Whole", here: frozenset[int], nested: int
    ) -> list[list[_Standing]]:
        """Of schemas that all must hold lists of plain ones, one of which must hold; empty if none can."""
        said = self._together(schemas, whole, here)
        if nested == 0:
            whole.said = said or []
        if said is None:
            return []
        if nested > _NESTED_MAX:
            self._say("it has too many choices in choices")
            return [said]
        found = [said]
        here |= {id(one) for one, _ in said}
        for schema, resource in said:
            for keyword in ("anyOf", "oneOf"):
                branches = schema.get(keyword)
                if not isinstance(branches, list) or not branches:
                    continue
                if len(branches) > BRANCHES_MAX:
                    self._say("it has too many choices")
                    continue
                chosen: list[list[_Standing]] = []
                for branch in branches:
                    of_branch = self._alternatives(((branch, resource),), whole, here, nested + 1)
                    chosen += of_branch
                if not chosen and whole.is_circular:
                    continue
                if len(found) * len(chosen) > (BRANCHES_MAX if len(found) == 1 else ALTERNATIVES_MAX):
                    self._say("it has too many choices that go together")
                    continue
                self._step(len(found) * len(chosen))
                found = [[*one, *other] for one in found for other in chosen]
                if not found:
                    return []
        return found

    def _together(
        self, schemas: Iterable[_Standing], whole: "_Whole", here: frozenset[int]
    ) -> list[_Standing] | None:
        """The schemas that hold where all of these do, references and `allOf` followed; None if none can."""
        found: list[_Standing] = []
        seen: set[int] = set()
        todo = list(schemas)[::-1]
        while todo:
            schema, resource = todo.pop()
            self._step()
            if schema is False:
                return None
            if not isinstance(schema, dict):
                if schema is not True:
                    self._say("there is a part that is no schema")
                continue
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            resource = self.document.resource_of(schema, resource)
            more: list[_Standing] = []
            for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
                if keyword not in schema:
                    continue
                reference = schema[keyword]
                target = None
                self._step(len(reference) // 8 if isinstance(reference, str) else 0)
                if keyword == "$dynamicRef":
                    target = self.document.find_dynamic(reference, resource)
                elif isinstance(reference, str):
                    target = self.document.find(reference, resource)
                if target is None:
                    self._say("it refers to what is not in it")
                    continue
                if id(target.schema) in here and isinstance(target.schema, dict):
                    whole.is_circular = True  # a choice that leads back to itself is none
                    return None
                if id(target.schema) in self._path:
                    label = target.label if is_text(target.label) else ""
                    whole.labels[id(target.schema)] = label[:60] or "the same as above"
                more.append((target.schema, target.resource))
                if keyword == "$ref" and self.document.is_old:
                    schema = {name: schema[name] for name in ABOUT if name in schema}
                    self._made.append(schema)
            found.append((schema, resource))
            parts = schema.get("allOf")
            if isinstance(parts, list):
                self._step(len(parts))
                more.extend((part, resource) for part in parts)
            todo.extend(reversed(more))
        return found

    def _kinds(self, said: list[_Standing]) -> frozenset[str]:
        kinds = ALL_KINDS
        for schema, _ in said:
            more = frozenset({NULL}) if schema.get("nullable") is True else frozenset()
            if "type" in schema:
                of_type = kinds_said(schema["type"])
                if of_type is None:
                    self._say("there is a type that is none")
                else:
                    kinds &= of_type | more
            choices = _choices(schema)
            if choices is not None:
                self._step(len(choices))
                kinds &= frozenset(map(kind_of, choices)) | more
        return kinds

    # One form.

    def _forms(
        self,
        said: list[_Standing],
        kinds: frozenset[str],
        about: dict[str, Any],
        depth: int,
        floors: tuple[int, int],
        is_cut: bool,
    ) -> Iterator[Form]:
        types = [STRING] if STRING in kinds else []
        if FRACTION in kinds:
            types.append("number")
        elif INTEGER in kinds:
            types.append("integer")
        types += [kind for kind in (BOOLEAN, OBJECT, ARRAY) if kind in kinds]
        for number, type_ in enumerate(types):
            form = Form(type_, about=dict(about))
            if not is_cut:
                form.facts = self._facts(said, type_, floors[0])
                if form.facts.get("enum") == []:
                    continue
                share = self._shares(floors, len(types) - number)
                if type_ == OBJECT:
                    self._fill_object(form, said, depth, share)
                elif type_ == ARRAY:
                    self._fill_array(form, said, depth, share)
            yield form

    def _facts(self, said: list[_Standing], type_: str, floor: int) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for schema, _ in said:
            self._step(len(schema) if len(schema) < 30 else 30)
            if type_ == STRING and isinstance(schema.get("pattern"), str):
                self._step(min(len(schema["pattern"]), PATTERN_CHARS_MAX) // 4)
            for keyword, value in _limits(schema, type_):
                if keyword not in facts:
                    facts[keyword] = value
                elif keyword in _HIGHEST:
                    facts[keyword] = max(facts[keyword], value)
                elif keyword in _LOWEST:
                    facts[keyword] = min(facts[keyword], value)
            choices = _choices(schema)
            if choices is None:
                continue
            self._step(len(choices))
            wanted = {INTEGER, FRACTION} if type_ == "number" else {type_}
            choices = [one for one in choices if kind_of(one) in wanted]
            facts["enum"] = choices if "enum" not in facts else _common(facts["enum"], choices)
        if "enum" in facts:
            size = weight(facts["enum"], max(0, self._units - floor))
            if size is None:
                self._say("there is a list of values that is too long, or that no document can have")
                del facts["enum"]
            else:
                self._units -= size
        self._units -= 24 * len(facts) + len(facts.get("pattern", ""))
        return facts

    def _about(self, said: list[_Standing], floor: int) -> dict[str, Any]:
        about: dict[str, Any] = {}
        for schema, _ in said:
            for keyword in ABOUT:
                if keyword not in schema or keyword in about:
                    continue
                value = schema[keyword]
                if keyword in ("title", "description"):
                    if not isinstance(value, str):
                        continue
                    room = min(TEXT_CHARS_MAX, max(0, self._units - floor) // 4)
                    if len(value) > room:
                        self._say("there is a text that is too long")
                        value = value[: max(0, room - 1)] + "…"
                    if not is_text(value):
                        value = value.encode(errors="replace").decode()
                    self._units -= len(value)
                elif keyword == "default":
                    size = weight(value, max(0, self._units - floor))
                    if value is None or size is None:
                        continue
                    self._units -= size
                elif not isinstance(value, bool):
                    continue
                about[keyword] = value
        return about

    def _fill_object(self, form: Form, said: list[_Standing], depth: int, floors: tuple[int, int]) -> None:
        named: dict[str, list[_Standing]] = {}
        rest: list[_Standing] = []
        is_open = False
        for schema, resource in said:
            properties = schema.get("properties")
            if isinstance(properties, dict):
                self._step(len(properties))
                for name, one in properties.items():
                    named.setdefault(name, []).append((one, resource))
            elif properties is not None:
                self._say("there are properties that are none")
            others = self._others(schema)
            if others is False:
                form.is_closed = True
            elif others is not True:
                rest.append((others, resource))
        required: dict[str, None] = {}
        for schema, _ in said:
            names = schema.get("required")
            if isinstance(names, list):
                self._step(len(names))
                required.update((name, None) for name in names if isinstance(name, str))
        for name in required:
            named.setdefault(name, rest)
        among = len(named) + bool(rest)
        for number, (name, schemas) in enumerate(named.items()):
            if any(one is False for one, _ in schemas):
                continue
            if self._units - len(name) - 6 < floors[0] and not self._is_shared:
                raise _Spent
            if not is_text(name) or self._units - len(name) - 6 < floors[0]:
                self._say("there is a property too much, or with a name that no document can have")
                is_open = True
                continue
            self._units -= len(name) + 6 + (len(name) if name in required else 0)
            share = self._shares(floors, among - number)
            form.properties[name] = self.place(tuple(schemas), depth + 1, *share)
        form.required = [name for name in required if name in form.properties]
        if is_open:
            form.is_closed = False
        elif rest and not form.is_closed:
            place = self.place(tuple(rest), depth + 1, *floors)
            form.rest = place if place.forms else None

    def _others(self, schema: dict[str, Any]) -> Any:
        """The schema of properties that have no name of their own in this one."""
        others = schema.get("additionalProperties", True)
        if not isinstance(others, bool | dict):
            others = True
        patterns = schema.get("patternProperties")
        if not isinstance(patterns, dict) or not patterns or others is True or others == {}:
            return others
        self._step(len(patterns))
        made = {"anyOf": [*patterns.values(), others]}
        self._made.append(made)
        return made

    def _fill_array(self, form: Form, said: list[_Standing], depth: int, floors: tuple[int, int]) -> None:
        items: list[_Standing] = []
        for schema, resource in said:
            of_all, most = self._items(schema)
            if most is not None:
                form.facts["maxItems"] = min(most, form.facts.get("maxItems", most))
            if of_all is not None:
                items.append((of_all, resource))
        if items:
            place = self.place(tuple(items), depth + 1, *floors)
            form.items = place if place.forms or place.is_only_null else None

    def _items(self, schema: dict[str, Any]) -> tuple[Any, int | None]:
        """The schema of any item, and how many there may be because of a tuple that ends."""
        first, further = schema.get("prefixItems"), schema.get("items")
        if not isinstance(first, list) and isinstance(further, list):
            first, further = further, schema.get("additionalItems")
        if further is not None and not isinstance(further, bool | dict):
            further = None
        if not isinstance(first, list):
            return (None, 0) if further is False else (further, None)
        self._step(len(first))
        if further is False:
            made = {"anyOf": list(first)}
            self._made.append(made)
            return (made if first else None), len(first)
        most = schema.get("maxItems")
        if is_count(most) and isinstance(most, int | float) and most <= len(first):
            made = {"anyOf": list(first)}
        elif further is None or further is True:
            return None, None
        else:
            made = {"anyOf": [*first, further]}
        self._made.append(made)
        return made, None


@dataclass(slots=True)
class _Whole:
    """What is found out about one place on the way through its references."""

    said: list[_Standing] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)  # of schemas that it stands in itself
    is_circular: bool = False


_LEAVES: Final = frozenset({"string", "integer", "number", "boolean"})
_MORE: Final = frozenset(
    {"$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "enum", "const", "nullable"}
)
_HIGHEST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_LOWEST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COUNTS: Final = {
    STRING: ("minLength", "maxLength"),
    ARRAY: ("minItems", "maxItems"),
    OBJECT: ("minProperties", "maxProperties"),
}


def _limits(schema: dict[str, Any], type_: str) -> Iterator[tuple[str, Any]]:
    """Of a schema's words those that say something of values of this type."""
    for keyword in _COUNTS.get(type_, ()):
        if is_count(schema.get(keyword)):
            yield keyword, int(schema[keyword])
    if type_ in ("integer", "number"):
        for keyword, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if is_number(schema.get(keyword)):
                # Until draft 4 a flag said which of both it is.
                yield (strict if schema.get(strict) is True else keyword), schema[keyword]
            if is_number(schema.get(strict)):
                yield strict, schema[strict]
        if is_number(schema.get("multipleOf")) and schema["multipleOf"] > 0:
            yield "multipleOf", schema["multipleOf"]
    elif type_ == STRING:
        if is_portable(schema.get("pattern")):
            yield "pattern", schema["pattern"]
        for keyword in ("contentEncoding", "contentMediaType"):
            if is_text(schema.get(keyword)) and len(schema[keyword]) < 200:
                yield keyword, schema[keyword]
    elif type_ == ARRAY and schema.get("uniqueItems") is True:
        yield "uniqueItems", True
    if (
        type_ in (STRING, "integer", "number")
        and is_text(schema.get("format"))
        and len(schema["format"]) < 200
    ):
        yield "format", schema["format"]


def _is_leaf(schema: Any) -> bool:
    """Whether it is of one plain type, and what stands there is all that is said of it."""
    return (
        isinstance(schema, dict)
        and isinstance(schema.get("type"), str)
        and schema["type"] in _LEAVES
        and _MORE.isdisjoint(schema)
    )


def _choices(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    choices = schema.get("enum")
    return choices if isinstance(choices, list) else None


def _common(one: list[Any], other: list[Any]) -> list[Any]:
    """What is in both; where lists and objects would have to be compared, the first."""
    known = {identity(value) for value in other}
    if None in known or any(identity(value) is None for value in one):
        return one
    return [value for value in one if identity(value) in known]


def _united(forms: list[Form]) -> list[Form]:
    """Without repetitions; what only lists values of one type becomes one list."""
    found: list[Form] = []
    lists: dict[str, Form] = {}
    plain: set[str] = set()
    for form in forms:
        if form.is_plain and not form.about:
            if form.type in plain:
                continue
            plain.add(form.type)
        if set(form.facts) == {"enum"} and form.type not in (OBJECT, ARRAY) and not form.about:
            if form.type in lists:
                lists[form.type].facts["enum"] = lists[form.type].facts["enum"] + form.facts["enum"]
                continue
            lists[form.type] = form
        found.append(form)
    return found


def _is_anything(forms: list[Form]) -> bool:
    return all(form.is_plain and not form.about for form in forms) and {form.type for form in forms} >= {
        STRING,
        "number",
        BOOLEAN,
        OBJECT,
        ARRAY,
    }
