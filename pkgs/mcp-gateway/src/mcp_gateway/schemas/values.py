"""What of a schema may stand in a document of ours as it is: values of any kind, texts, patterns. Pure.

A value that no JSON text can say, or that a reader of the document could take for a reference and fetch,
would spoil the document for every other tool in it.
"""

import re
from collections.abc import Collection
from typing import Any, Final

VALUE_DEPTH_MAX: Final = 32  # of an enum's member or a default: readers recurse
VALUE_CHARS_MAX: Final = 64 * 1024
INT_BITS_MAX: Final = 64  # beyond it encoders differ
PATTERN_CHARS_MAX: Final = 1_000
TEXT_CHARS_MAX: Final = 8_000  # of a title or description

# The kinds of values. A number is one of two, because `integer` is a part of `number`.
STRING, INTEGER, FRACTION, BOOLEAN, OBJECT, ARRAY, NULL = (
    "string",
    "integer",
    "fraction",
    "boolean",
    "object",
    "array",
    "null",
)
ALL_KINDS: Final = frozenset({STRING, INTEGER, FRACTION, BOOLEAN, OBJECT, ARRAY, NULL})
TYPES: Final = {
    "string": frozenset({STRING}),
    "integer": frozenset({INTEGER}),
    "number": frozenset({INTEGER, FRACTION}),
    "boolean": frozenset({BOOLEAN}),
    "object": frozenset({OBJECT}),
    "array": frozenset({ARRAY}),
    "null": frozenset({NULL}),
}


def kind_of(value: object) -> str:
    """The kind of a decoded JSON value; `1.0` is an integer, as JSON Schema has it."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, str):
        return STRING
    if isinstance(value, int):
        return INTEGER
    if isinstance(value, float):
        return INTEGER if value.is_integer() else FRACTION
    if value is None:
        return NULL
    return OBJECT if isinstance(value, dict) else ARRAY


def is_number(value: object) -> bool:
    """A number that every JSON reader reads the same."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value.bit_length() < INT_BITS_MAX
    return isinstance(value, float) and value - value == 0  # neither infinite nor not a number


def is_count(value: object) -> bool:
    """A number of things: 3, and 3.0 as well."""
    return is_number(value) and isinstance(value, int | float) and value >= 0 and value == int(value)


def is_text(value: object) -> bool:
    """A string without half characters, which no UTF-8 has."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def weight(value: object, limit: int = VALUE_CHARS_MAX) -> int | None:
    """About how many bytes of JSON a value is; None where it cannot stand in a document of ours.

    That is: larger than `limit`, too deep, no JSON (NaN, half characters), a number of more than 64 bits, or
    with a member `$ref` in it, which careless readers follow wherever it stands.
    """
    size = 0
    todo: list[tuple[object, int]] = [(value, 0)]
    while todo:
        one, depth = todo.pop()
        size += 2
        if isinstance(one, str):
            if len(one) > limit or not is_text(one):
                return None
            size += len(one) if one.isascii() else len(one.encode())
        elif isinstance(one, dict | list):
            if depth >= VALUE_DEPTH_MAX or len(one) > limit:
                return None
            if isinstance(one, dict):
                if isinstance(one.get("$ref"), str):
                    return None
                todo.extend((name, depth + 1) for name in one)
                todo.extend((member, depth + 1) for member in one.values())
            else:
                todo.extend((member, depth + 1) for member in one)
        elif isinstance(one, bool) or one is None:
            size += 3
        elif is_number(one):
            size += 8
        else:
            return None
        if size > limit:
            return None
    return size


def identity(value: object) -> tuple[str, object] | None:
    """Equal for equal plain values of one kind; None for lists and objects."""
    kind = kind_of(value)
    if kind in (OBJECT, ARRAY):
        return None
    return ("number" if kind in (INTEGER, FRACTION) else kind, value)


# What a pattern may consist of, so that ECMAScript, Python, Go, Java and .NET all take it for one: literals,
# classes, groups without names, quantifiers. Read token by token; a pattern is never compiled here, since
# compiling alone can take minutes in some engines.
_ESCAPE: Final = r"\\(?:[dDwWsSnrtfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\^$\\.*+?()\[\]{}|/\-])"
_CLASS_ITEM: Final = re.compile(rf"{_ESCAPE}|[^\\\[\]&~|\-]")
_TOKEN: Final = re.compile(
    rf"(?P<atom>{_ESCAPE}|[^\\\[\]{{}}()*+?|^$])"
    r"|(?P<edge>\\[bB]|[\^$])"
    r"|(?P<open>\((?:\?:|\?=|\?!)?(?!\?))"
    r"|(?P<close>\))"
    r"|(?P<either>\|)"
    r"|(?P<times>(?:[*+?]|\{(?P<least>\d{1,4})(?P<comma>,(?P<most>\d{0,4}))?\})\??)"
    r"|(?P<class>\[\^?)"
)


def is_portable(pattern: object) -> bool:
    """Whether a pattern is short and one in every engine that may read the document. Linear in its length."""
    if not is_text(pattern) or not isinstance(pattern, str) or len(pattern) > PATTERN_CHARS_MAX:
        return False
    at, groups, is_quantifiable = 0, [], False
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            return False
        at, kind = token.end(), token.lastgroup
        if token["times"]:
            most = token["most"]
            if not is_quantifiable or (most and int(most) < int(token["least"])):
                return False
            is_quantifiable = False
        elif token["class"]:
            end = _class_end(pattern, at)
            if end is None:
                return False
            at, is_quantifiable = end, True
        elif token["open"]:
            groups.append(token["open"] in ("(", "(?:"))
            is_quantifiable = False
            if len(groups) > 20:
                return False
        elif token["close"]:
            if not groups:
                return False
            is_quantifiable = groups.pop()
        else:
            is_quantifiable = kind == "atom"
    return not groups


def _class_end(pattern: str, at: int) -> int | None:
    """Where the class that is open at `at` has ended; None where it never does, or says a range backwards."""
    first, before = at, ""
    while at < len(pattern):
        if pattern[at] == "]":
            return at + 1 if at > first else None
        if pattern[at] == "-":
            is_edge = at == first or pattern[at + 1 : at + 2] == "]"
            if is_edge:
                before, at = "", at + 1
                continue
            item = _CLASS_ITEM.match(pattern, at + 1)
            if item is None or not _is_range(before, item[0]):
                return None
            before, at = "", item.end()
            continue
        item = _CLASS_ITEM.match(pattern, at)
        if item is None:
            return None
        before, at = item[0], item.end()
    return None


def _is_range(low: str, high: str) -> bool:
    ends = [_code(low), _code(high)]
    return ends[0] is not None and ends[1] is not None and ends[0] <= ends[1]


def _code(item: str) -> int | None:
    if len(item) == 1:
        return ord(item)
    if item[:2] in ("\\x", "\\u"):
        return int(item[2:], 16)
    if item[1:2] in tuple("nrtfv"):
        return ord({"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}[item[1]])
    return ord(item[1]) if len(item) == 2 and not item[1].isalpha() else None


def kinds_said(type_: object) -> frozenset[str] | None:
    """The kinds that a `type` allows; None where it is not one or a list of the seven types."""
    names: Collection[Any] = type_ if isinstance(type_, list) else (type_,)
    if not names or len(names) > 100:
        return None
    said: set[str] = set()
    for name in names:
        if not isinstance(name, str) or name not in TYPES:
            return None
        said |= TYPES[name]
    return frozenset(said)
