"""Whether a value is right for a schema beyond doubt, without looking at patterns. Pure.

Defaults that are wrong for their own schema make strict readers refuse a whole document. What cannot be
proven here, because a pattern or a format would have to be evaluated, counts as wrong.
"""

from collections.abc import Mapping
from typing import Any, Final

from mcp_gateway.schemas.values import identity, kind_of, kinds_said

_DEPTH_MAX: Final = 24
_STEPS_MAX: Final = 400  # of one default

# Words that say nothing of which values are right. Formats are here that nobody checks by the text alone.
_SILENT: Final = frozenset(
    {"title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "example"}
    | {"$comment", "contentEncoding", "contentMediaType", "contentSchema", "nullable", "minContains"}
    | {"maxContains", "then", "else"}
)
_UNCHECKED_FORMATS: Final = frozenset(
    {"password", "url", "path", "file-path", "directory-path", "textarea", "markdown", "html", "color"}
)


def holds(value: Any, schema: Any, components: Mapping[str, Any] | None = None) -> bool:
    """Whether the value is surely right; references lead to the components, by their place in OpenAPI."""
    return _Proof(components or {}).holds(value, schema, 0)


class _Proof:
    def __init__(self, components: Mapping[str, Any]) -> None:
        self._components = components
        self._left = _STEPS_MAX

    def holds(self, value: Any, schema: Any, depth: int) -> bool:
        self._left -= 1
        if depth > _DEPTH_MAX or self._left < 0:
            return False
        if not isinstance(schema, dict):
            return schema is True
        return all(self._word(value, keyword, schema, depth + 1) for keyword in schema)

    def _word(self, value: Any, keyword: str, schema: dict[str, Any], depth: int) -> bool:
        said, kind = schema[keyword], kind_of(value)
        if keyword in _SILENT or keyword.startswith("x-"):
            return True
        if keyword == "type":
            return kind in (kinds_said(said) or ())
        if keyword in ("enum", "const"):
            choices = said if keyword == "enum" else [said]
            self._left -= len(choices) // 10
            return identity(value) is not None and identity(value) in map(identity, choices)
        if keyword == "anyOf":
            return any(self.holds(value, one, depth) for one in said)
        if keyword == "allOf":
            return all(self.holds(value, one, depth) for one in said)
        if keyword == "$ref":
            name = said.rpartition("/")[2]
            return name in self._components and self.holds(value, self._components[name], depth)
        if kind in ("integer", "fraction"):
            return self._number(value, keyword, said)
        if kind == "string":
            return self._string(value, keyword, said)
        if kind == "array":
            return self._array(value, keyword, said, schema, depth)
        if kind == "object":
            return self._object(value, keyword, said, schema, depth)
        return keyword in _OF_OTHERS

    def _number(self, value: float, keyword: str, said: Any) -> bool:
        if keyword == "minimum":
            return bool(value >= said)
        if keyword == "maximum":
            return bool(value <= said)
        if keyword == "exclusiveMinimum":
            return bool(value > said)
        if keyword == "exclusiveMaximum":
            return bool(value < said)
        if keyword == "multipleOf":
            return isinstance(value, int) and isinstance(said, int) and value % said == 0
        if keyword == "format":
            return said in ("double", "float") or (said in ("int32", "int64") and abs(value) < 2**31)
        return keyword in _OF_STRINGS or keyword in _OF_ARRAYS or keyword in _OF_OBJECTS

    def _string(self, value: str, keyword: str, said: Any) -> bool:
        if keyword == "minLength":
            return bool(len(value) >= said)
        if keyword == "maxLength":
            return bool(len(value) <= said)
        if keyword == "format":
            return said in _UNCHECKED_FORMATS
        return keyword in _OF_NUMBERS or keyword in _OF_ARRAYS or keyword in _OF_OBJECTS

    def _array(self, value: list[Any], keyword: str, said: Any, schema: dict[str, Any], depth: int) -> bool:
        if keyword == "minItems":
            return bool(len(value) >= said)
        if keyword == "maxItems":
            return bool(len(value) <= said)
        if keyword == "uniqueItems":
            return said is False or len(value) < 2
        if keyword == "items":
            first = len(schema.get("prefixItems", ()))
            return all(self.holds(one, said, depth) for one in value[first:])
        if keyword == "prefixItems":
            return all(self.holds(one, of_it, depth) for one, of_it in zip(value, said, strict=False))
        return keyword in _OF_NUMBERS or keyword in _OF_STRINGS or keyword in _OF_OBJECTS

    def _object(
        self, value: dict[str, Any], keyword: str, said: Any, schema: dict[str, Any], depth: int
    ) -> bool:
        if keyword == "minProperties":
            return bool(len(value) >= said)
        if keyword == "maxProperties":
            return bool(len(value) <= said)
        if keyword == "required":
            return all(name in value for name in said)
        if keyword == "properties":
            return all(self.holds(one, said[name], depth) for name, one in value.items() if name in said)
        if keyword == "additionalProperties":
            known = schema.get("properties", {})
            return all(self.holds(one, said, depth) for name, one in value.items() if name not in known)
        if keyword in ("patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"):
            return not value or said == {}
        return keyword in _OF_NUMBERS or keyword in _OF_STRINGS or keyword in _OF_ARRAYS


_OF_NUMBERS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_OF_STRINGS: Final = frozenset({"minLength", "maxLength", "pattern"})
_OF_ARRAYS: Final = frozenset({"minItems", "maxItems", "uniqueItems", "items", "prefixItems", "contains"})
_OF_OBJECTS: Final = frozenset(
    {"minProperties", "maxProperties", "required", "properties", "additionalProperties"}
    | {"patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"}
)
_OF_OTHERS: Final = _OF_NUMBERS | _OF_STRINGS | _OF_ARRAYS | _OF_OBJECTS
