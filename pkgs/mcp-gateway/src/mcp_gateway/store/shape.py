"""The shape of a call's arguments: names, types and lengths, never a value.

Pure. Called by the writer thread for every record; bounded in work and in size whatever the caller sent,
because it holds the interpreter while the event loop wants it.
"""

from itertools import islice
from typing import Any

import msgspec

MAX_TEXT_BYTES = 2048  # one row of activity stays small enough for a million of them
MAX_DEPTH = 4
MAX_KEYS = 32
MAX_NAME_CHARS = 64
# Decoded whole up to here: about half a millisecond at worst. Of a larger object only the top level is split,
# and its parts together cost no more than that again.
MAX_DECODED_BYTES = 64 * 1024
MAX_PART_BYTES = MAX_DECODED_BYTES // MAX_KEYS
# A text of 4 MiB splits in a millisecond, 4 MiB of tiny keys in a hundred: commas tell one from the other.
MAX_COMMAS = 20_000
MORE = "…"

_decode = msgspec.json.Decoder().decode
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def shape_text(arguments: bytes) -> str:
    """The shape as JSON text of at most 2 KiB, e.g. `{"text":"string(12)","list":["string(3)",5]}`."""
    try:
        value = _look_at(arguments)
        for depth in range(MAX_DEPTH, 0, -1):
            text = _encode(_shape(value, depth))
            if len(text) <= MAX_TEXT_BYTES:
                return text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return '"not JSON"'
    return _encode({MORE: f"{len(value)} keys"}).decode()


def _look_at(arguments: bytes) -> Any:
    if len(arguments) <= MAX_DECODED_BYTES:
        return _decode(arguments)
    if arguments.lstrip()[:1] == b"{" and arguments.count(b",") <= MAX_COMMAS:
        return _split(arguments)
    return msgspec.Raw(arguments)


def _shape(value: Any, depth: int) -> Any:
    match value:
        case str():
            return f"string({len(value)})"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case None:
            return "null"
        case list():
            return _shape_of_list(value, depth)
        case dict():
            return _shape_of_object(value, depth)
        case msgspec.Raw():
            return _shape_of_part(memoryview(value), depth)
    raise AssertionError(f"JSON has no {type(value)}")


def _shape_of_list(value: list[Any], depth: int) -> Any:
    if depth == 0:
        return f"array({len(value)})"
    return [_shape(value[0], depth - 1), len(value)] if value else []


def _shape_of_object(value: dict[str, Any], depth: int) -> Any:
    if depth == 0:
        return f"object({len(value)})"
    shape = {name[:MAX_NAME_CHARS]: _shape(part, depth - 1) for name, part in islice(value.items(), MAX_KEYS)}
    if len(value) > MAX_KEYS:
        shape[MORE] = f"{len(value) - MAX_KEYS} more keys"
    return shape


def _shape_of_part(part: memoryview, depth: int) -> Any:
    if len(part) <= MAX_PART_BYTES:
        return _shape(_decode(part), depth)
    kind = {ord("{"): "object", ord("["): "array", ord('"'): "string"}.get(part[0], "value")
    return f"{kind}({len(part)} bytes)"
