"""The headers that repeat parts of a modern request, so that what stands between can route without reading.

Rules of revision 2026-07-28, basic/transports, "Custom Headers": which values may be mirrored, how a
value that a header cannot carry is wrapped, which annotations of a schema are valid. Pure.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from mcp_gateway.wire.envelope import Params, encode

METHOD: Final = "Mcp-Method"
NAME: Final = "Mcp-Name"
PARAM_PREFIX: Final = "Mcp-Param-"
ANNOTATION: Final = "x-mcp-header"
HEADER_MISMATCH: Final = -32020

# What stands between two lines of a header that may be sent once, where both are kept: no value can hold it.
BETWEEN_LINES: Final = b"\n"

# Which member of the parameters the name of a request is.
NAMED_BY: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_REPEATING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
_REPEATING_PREFIX: Final = PARAM_PREFIX.lower().encode()
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


class Mirror(NamedTuple):
    """The header that repeats a value. Integers are compared as numbers: 42 is 42.0."""

    header: str
    is_integer: bool = False


Place = tuple[str, ...]
Mirrors = Mapping[Place, Mirror]
"""Where in the arguments a value stands, and what repeats it."""


class NotMirrorable(ValueError):
    """A schema asks for headers in a way that the revision does not allow; the tool must not be used."""


def header_value(text: str) -> str:
    """The text as a header carries it: wrapped in base64 where it would not arrive as it is."""
    if _PLAIN.fullmatch(text) and text == text.strip() and not _WRAPPED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'surrogatepass')).decode('ascii')}?="


def decoded_value(sent: bytes) -> str | None:
    """The text that a header carries; None where it is wrapped and what is in there is not clear."""
    text = sent.strip(b" \t").decode("latin-1")
    if not _WRAPPED.fullmatch(text):
        return text
    payload = text[len("=?base64?") : -len("?=")]
    try:
        found = base64.b64decode(payload, validate=True)
        # More than one text is read as these bytes, and only one of them is written.
        return found.decode("utf-8") if base64.b64encode(found).decode("ascii") == payload else None
    except (binascii.Error, ValueError):
        return None


def repeats_the_body(name: bytes) -> bool:
    """Whether a header, its name in lower case, says again what a modern request says in its body."""
    return name in _REPEATING or name.startswith(_REPEATING_PREFIX)


def routing_headers(method: str, params: Params) -> dict[str, str]:
    """`Mcp-Method`, and `Mcp-Name` where the method has one."""
    headers = {METHOD: method}
    member = NAMED_BY.get(method)
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
    mirrors: dict[Place, Mirror] = {}
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
        mirrors[place] = Mirror(PARAM_PREFIX + header, part["type"] == "integer")
    return mirrors


def param_headers(mirrors: Mirrors, params: Params) -> dict[str, str]:
    """The headers for one call: those of the values that are there."""
    arguments = _decoded(params.get("arguments", {}))
    headers = {}
    for place, mirror in mirrors.items():
        text = rendered(value_at(place, arguments))
        if text is not None:
            headers[mirror.header] = header_value(text)
    return headers


def value_at(place: Place, arguments: Any) -> Any:
    """The value that stands there, or None."""
    for step in place:
        arguments = arguments.get(step) if isinstance(arguments, dict) else None
    return arguments


def rendered(value: Any) -> str | None:
    """A value as a header repeats it; None where none does."""
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
