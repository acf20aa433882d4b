"""The text of a configuration with one server more or less in its member `addedServers`. Pure.

Nothing else of the text is touched, byte for byte: order, indentation, line ends, a byte order mark, what
stands behind the last bracket. What was put in can be taken out again, and then the text is what it was
before. Two texts come back otherwise, because nothing in the one between says how they were: a whole file
that was an empty object loses the blanks in it, and an `addedServers` that was empty is gone.
"""

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SECTION: Final = "addedServers"
EMPTY: Final = b"{}\n"  # a file that is about to be made
_INDENT: Final = "  "
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a member of an object stands in the text, from its key to the end of its value."""

    begin: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class _Object:
    """`begin` is behind the opening bracket, `end` at the closing one."""

    begin: int
    end: int
    members: dict[str, _Member]


@dataclass(frozen=True, slots=True)
class _Style:
    """How the members of an object are written: what stands before each key, and how deep the next level is.

    `before` begins with a line end where each has a line of its own; where all is on one, `indent` is None.
    """

    before: str
    indent: str | None

    def inner(self) -> "_Style":
        return self if self.indent is None else _Style(self.before + self.indent, self.indent)

    def write(self, value: Any) -> str:
        told = json.dumps(value, ensure_ascii=False)
        # What a person could not see (marks that turn the direction of text, halves of characters).
        is_plain = told.isprintable()
        if self.indent is None:
            return told if is_plain else json.dumps(value)
        return json.dumps(value, indent=self.indent, ensure_ascii=not is_plain).replace("\n", self.before)


def with_server(text: bytes, name: str, entry: Mapping[str, Any]) -> bytes:
    """The text with one server more; it must be a configuration that can be used, without this name.

    Raises: ValueError when it is no JSON object.
    """
    mark, whole = _decode(text)
    root = _object(whole, _BLANK.match(whole, 0))
    style = _style(whole, root)
    member = root.members.get(SECTION)
    if member is None:
        return _encode(mark, _insert(whole, root, style, SECTION, {name: entry}))
    section = _object(whole, _BLANK.match(whole, member.value))
    if not section.members:  # as if it were not there, but in its place
        value = style.write({name: entry})
        return _encode(mark, whole[: member.value] + value + whole[member.end :])
    inner = _style(whole, section, style)
    return _encode(mark, _insert(whole, section, inner, name, entry))


def without_server(text: bytes, name: str) -> bytes:
    """The text with one server less; the member goes with its last one.

    Raises: ValueError when it is no JSON object; KeyError when the server is not in this member.
    """
    mark, whole = _decode(text)
    root = _object(whole, _BLANK.match(whole, 0))
    member = root.members[SECTION]
    section = _object(whole, _BLANK.match(whole, member.value))
    if name not in section.members:
        raise KeyError(name)
    if len(section.members) == 1:
        return _encode(mark, _remove(whole, root, SECTION))
    return _encode(mark, _remove(whole, section, name))


def _insert(whole: str, into: _Object, style: _Style, name: str, value: Any) -> str:
    told = f"{_key(name)}: {style.write(value)}"
    if into.members:
        at = max(member.end for member in into.members.values())
        return f"{whole[:at]},{style.before or ' '}{told}{whole[at:]}"
    # The closing bracket keeps the indentation of the opening one, which is that of the root: none.
    after = "" if style.indent is None else style.before.removesuffix(style.indent)
    return f"{whole[: into.begin]}{style.before}{told}{after}{whole[into.end :]}"


def _remove(whole: str, out_of: _Object, name: str) -> str:
    names = list(out_of.members)
    at, member = names.index(name), out_of.members[name]
    if len(names) == 1:
        return whole[: out_of.begin] + whole[out_of.end :]
    if at + 1 < len(names):
        return whole[: member.begin] + whole[out_of.members[names[at + 1]].begin :]
    return whole[: out_of.members[names[at - 1]].end] + whole[member.end :]


def _style(whole: str, of: _Object, outer: _Style | None = None) -> _Style:
    """As the last member of an object is written, or as a person would write the first."""
    if not of.members:
        line_end = "\r\n" if "\r\n" in whole else "\n"
        return _Style(line_end + _INDENT, _INDENT)
    last = list(of.members.values())[-1]
    before = whole[: last.begin]
    blanks = before[len(before.rstrip(" \t\r\n")) :]
    at = blanks.rfind("\n")
    if at < 0:
        return _Style(blanks, None)
    own = blanks[at + 1 :]
    begin = at - 1 if blanks[:at].endswith("\r") else at
    return _Style(blanks[begin:], outer.indent if outer and outer.indent else own or _INDENT)


def _object(whole: str, blanks: "re.Match[str] | None") -> _Object:
    assert blanks is not None, "no blanks are blanks, too"
    at = blanks.end()
    if whole[at : at + 1] != "{":
        raise ValueError("is no object")
    begin = at + 1
    members: dict[str, _Member] = {}
    at = _after_blanks(whole, begin)
    while whole[at] != "}":
        if whole[at] == ",":
            at = _after_blanks(whole, at + 1)
        key, end = _DECODER.raw_decode(whole, at)
        value = _after_blanks(whole, _after_blanks(whole, end) + 1)  # behind the colon
        _, end = _DECODER.raw_decode(whole, value)
        members[key] = _Member(at, value, end)
        at = _after_blanks(whole, end)
    return _Object(begin, at, members)


def _after_blanks(whole: str, at: int) -> int:
    found = _BLANK.match(whole, at)
    assert found is not None, "no blanks are blanks, too"
    return found.end()


def _key(name: str) -> str:
    told = json.dumps(name, ensure_ascii=False)
    return told if told.isprintable() else json.dumps(name)


def _decode(text: bytes) -> tuple[bytes, str]:
    mark = codecs.BOM_UTF8 if text.startswith(codecs.BOM_UTF8) else b""
    return mark, text[len(mark) :].decode()


def _encode(mark: bytes, whole: str) -> bytes:
    return mark + whole.encode()
