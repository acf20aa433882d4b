"""The headers that repeat parts of a modern request, so that what stands between can route without reading.

Rules of revision 2026-07-28, basic/transports, "Custom Headers": which values may be mirrored, how a
value that a header cannot carry is wrapped, which annotations of a schema are valid. Pure.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from mcp_gateway.wire.envelope import Params, encode

METHOD: Final = "Mcp-Method"
NAME: Final = "Mcp-Name"
PARAM_PREFIX: Final = "Mcp-Param-"
ANNOTATION: Final = "x-mcp-header"
HEADER_MISMATCH: Final = -32020

# Which member of the parameters the name of a request is.
_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_WRAPPED: Final = re.compile(r"=\?base64\?.*\?=", re.DOTALL)
_PLAIN: Final = re.compile(r"[\x20-\x7e]*")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MIRRORED_TYPES: Final = ("string", "integer", "boolean")
# Keywords of JSON Schema 2020-12 whose values are schemas that describe no one argument.
_ONE: Final = frozenset(
    {"items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames"}
    | {"unevaluatedProperties", "not", "if", "then", "else", "contentSchema"}
)
_LIST: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAP: Final = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})

Place = tuple[str, ...]
Mirrors = Mapping[Place, str]
"""Where in the arguments a value stands, and the header that repeats it."""


class NotMirrorable(ValueError):
    """A schema asks for headers in a way that the revision does not allow; the tool must not be used."""


def header_value(text: str) -> str:
    """The text as a header carries it: wrapped in base64 where it would not arrive as it is."""
    if _PLAIN.fullmatch(text) and text == text.strip() and not _WRAPPED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'surrogatepass')).decode('ascii')}?="


def routing_headers(method: str, params: Params) -> dict[str, str]:
    """`Mcp-Method`, and `Mcp-Name` where the method has one."""
    headers = {METHOD: method}
    member = _NAMED_BY.get(method)
    if member is not None and member in params:
        name = _decoded(params[member])
        if isinstance(name, str):
            headers[NAME] = header_value(name)
    return headers


def mirrors_of(definition: bytes) -> Mirrors:
    """What a tool's definition wants mirrored; empty for nearly all tools.

    Raises:
        NotMirrorable: with the reason.
    """
    if ANNOTATION.encode() not in definition:
        return {}
    schema = msgspec.json.decode(definition).get("inputSchema")
    mirrors: dict[Place, str] = {}
    seen: dict[str, Place] = {}
    for place, part in _schemas(schema):
        if ANNOTATION not in part:
            continue
        if not place:
            raise NotMirrorable(f"`{ANNOTATION}` stands where no single argument is meant")
        where, header = ".".join(place), part[ANNOTATION]
        if not isinstance(header, str) or not _TOKEN.fullmatch(header):
            raise NotMirrorable(f"`{ANNOTATION}` of `{where}` is not a name that a header can have")
        if part.get("type") not in _MIRRORED_TYPES:
            raise NotMirrorable(f"`{where}` has `{ANNOTATION}`, but is no string, integer or boolean")
        if header.lower() in seen:
            raise NotMirrorable(f"`{where}` and `{'.'.join(seen[header.lower()])}` have one header")
        seen[header.lower()] = place
        mirrors[place] = PARAM_PREFIX + header
    return mirrors


def param_headers(mirrors: Mirrors, params: Params) -> dict[str, str]:
    """The headers for one call: those of the values that are there."""
    arguments = _decoded(params.get("arguments", {}))
    headers = {}
    for place, header in mirrors.items():
        value: Any = arguments
        for step in place:
            value = value.get(step) if isinstance(value, dict) else None
        text = _rendered(value)
        if text is not None:
            headers[header] = header_value(text)
    return headers


def _rendered(value: Any) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
    return None


def _decoded(value: Any) -> Any:
    """A member of the parameters, which may be a slice of what a caller sent."""
    try:
        return msgspec.json.decode(encode(value))
    except (msgspec.MsgspecError, RecursionError):  # half a character: no header could repeat it
        return None


def _schemas(root: Any) -> Iterator[tuple[Place | None, dict[str, Any]]]:
    """Every schema within a schema, with the argument it describes: () for all of them, None for no one."""
    waiting: list[tuple[Place | None, Any]] = [((), root)]
    while waiting:
        place, part = waiting.pop()
        if not isinstance(part, dict):
            continue
        yield place, part
        for keyword, value in part.items():
            if keyword == "properties" and isinstance(value, dict):
                waiting += [
                    (None if place is None else (*place, name), inner) for name, inner in value.items()
                ]
            elif keyword in _ONE:
                waiting.append((None, value))
            elif keyword in _LIST and isinstance(value, list):
                waiting += [(None, inner) for inner in value]
            elif keyword in _MAP and isinstance(value, dict):
                waiting += [(None, inner) for inner in value.values()]
