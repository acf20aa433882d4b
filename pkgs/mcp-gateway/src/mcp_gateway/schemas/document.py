"""A schema and what is in it by reference: pointers, anchors, identifiers. Nothing is fetched. Pure."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin

REFERENCE_CHARS_MAX: Final = 1_000
RESOURCES_MAX: Final = 500  # with an address; joining one is dear
NOWHERE: Final = "\x00"
INDEXED_MAX: Final = 20_000  # schemas that are looked at for identifiers and anchors

ONE: Final = (
    "items",
    "additionalItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
)
LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
NAMED: Final = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
OLD: Final = ("draft-03", "draft-04", "draft-06", "draft-07")


@dataclass(frozen=True, slots=True)
class Resource:
    """The part of a document that references inside of it are relative to."""

    root: Any
    uri: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a reference leads to, the resource it stands in, and the last word of the way there."""

    schema: Any
    resource: Resource
    label: str


class Document:
    """One schema of a tool, which references lead into and never out of."""

    def __init__(self, root: Any) -> None:
        said = root.get("$schema") if isinstance(root, dict) else None
        draft = said if isinstance(said, str) and len(said) < 100 else ""
        self.is_old = any(name in draft for name in OLD)  # `$ref` has no siblings there
        self._within: dict[int, Resource] = {}
        self._id = "id" if "draft-03" in draft or "draft-04" in draft else "$id"
        self.top = self.resource_of(root, Resource(root, ""))
        self._named: dict[tuple[int, str], Found] | None = None
        self._resources: dict[str, Resource] = {}
        self._dynamic: dict[str, Found] = {}

    def resource_of(self, schema: Any, around: Resource) -> Resource:
        """The resource that a schema's own words are in: a new one where it has an identifier."""
        name = schema.get(self._id) if isinstance(schema, dict) else None
        if not isinstance(name, str) or name.startswith("#") or len(name) > REFERENCE_CHARS_MAX:
            return around
        if id(schema) not in self._within:
            is_too_many = len(self._within) >= RESOURCES_MAX
            uri = NOWHERE if is_too_many else _joined(around.uri, name)[0]
            self._within[id(schema)] = Resource(schema, uri)
        return self._within[id(schema)]

    def find(self, reference: str, resource: Resource) -> Found | None:
        """What a reference leads to inside this document; None where it leads out of it or nowhere."""
        if len(reference) > REFERENCE_CHARS_MAX:
            return None
        if reference.startswith("#"):
            fragment = unquote(reference[1:])
        else:
            uri, fragment = _joined(resource.uri, reference)
            if uri == NOWHERE or resource.uri == NOWHERE:
                return None
            self._index()
            if uri == self.top.uri:
                resource = self.top
            elif uri in self._resources:
                resource = self._resources[uri]
            else:
                return None
        if not fragment:
            return Found(resource.root, resource, "")
        if fragment.startswith("/"):
            return self._pointed(fragment, resource)
        self._index()
        return (self._named or {}).get((id(resource.root), fragment))

    def _pointed(self, pointer: str, resource: Resource) -> Found | None:
        place = resource.root
        name = ""
        for part in pointer[1:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(place, dict) and name in place:
                place = place[name]
            elif isinstance(place, list) and name.isdecimal() and len(name) < 7 and int(name) < len(place):
                place = place[int(name)]
            else:
                return None
            resource = self.resource_of(place, resource)
        return Found(place, resource, name)

    def _index(self) -> None:
        """Notes identifiers and anchors, once, where a reference first asks for one."""
        if self._named is not None:
            return
        self._named = {}
        dynamic: dict[str, list[Found]] = {}
        todo: list[tuple[Any, Resource]] = [(self.top.root, Resource(self.top.root, ""))]
        for _ in range(INDEXED_MAX):
            if not todo:
                break
            schema, resource = todo.pop()
            if not isinstance(schema, dict):
                continue
            inner = self.resource_of(schema, resource)
            if inner is not resource:
                self._resources.setdefault(inner.uri, inner)
            for keyword in ("$anchor", "$dynamicAnchor", self._id):
                name = schema.get(keyword)
                if not isinstance(name, str) or (keyword == self._id and not name.startswith("#")):
                    continue
                found = Found(schema, inner, name.lstrip("#"))
                self._named.setdefault((id(inner.root), found.label), found)
                if keyword == "$dynamicAnchor":
                    dynamic.setdefault(name, []).append(found)
            todo.extend((one, inner) for one in _below(schema))
        self._dynamic = {name: found[0] for name, found in dynamic.items() if len(found) == 1}

    def find_dynamic(self, reference: object, resource: Resource) -> Found | None:
        """What `$dynamicRef` leads to, where only one place in the document can be meant."""
        if not isinstance(reference, str):
            return None
        found = self.find(reference, resource)
        if found is None or not isinstance(found.schema, dict):
            return found
        if found.schema.get("$dynamicAnchor") == reference.lstrip("#"):
            return self._dynamic.get(reference.lstrip("#"))
        return found


def _below(schema: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for keyword, value in schema.items():
        if keyword in ONE and isinstance(value, dict):
            found.append(value)
        elif (keyword in LISTS or keyword == "items") and isinstance(value, list):
            found.extend(value)
        elif (keyword in NAMED or keyword == "dependencies") and isinstance(value, dict):
            found.extend(value.values())
    return found


def _joined(base: str, reference: str) -> tuple[str, str]:
    """A reference against a base, as address and decoded fragment; what cannot be read leads nowhere."""
    try:
        uri, fragment = urldefrag(urljoin(base, reference))
    except ValueError:
        return NOWHERE, ""
    return uri, unquote(fragment)
