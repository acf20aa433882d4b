"""The source of a toolkit of Open WebUI: one class, a method for each tool of a server.

Open WebUI runs this text in its own process. So whatever a server wrote stands in it as a literal of a string
and nowhere else; the words around are those of the template and names made here of a few plain letters. What
Open WebUI reads out of the code, and where it changes it, is in `docs/decisions/0034`.
"""

import asyncio
import hashlib
import json
import keyword
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from mcp_gateway import clock
from mcp_gateway.catalog import Entry
from mcp_gateway.version import VERSION
from mcp_gateway.visible import safe
from mcp_gateway.wire.envelope import read_members

TRIED_WITH: Final = "0.12.4"  # the oldest version of Open WebUI that such code was run in
MAX_DEPTH: Final = 60  # of the schema of an argument; Open WebUI reads it with functions that call themselves
MAX_NAME_CHARS: Final = 64  # of an argument: no model takes longer ones
SLICE_S: Final = 0.005  # of the event loop at a time, while code is written
_LINE_CHARS: Final = 100
_PIECE_CHARS: Final = 80  # of a literal that takes several lines

Json = dict[str, Any]


# --- names


def toolkit_id(server: str) -> str:
    """An identifier, and another one for each server: a server's id holds no underscore."""
    return f"gateway_{server.replace('-', '_')}"


def method_names(exposed: Iterable[str]) -> dict[str, str]:
    """Exposed name -> name of the method; injective, and the same in whatever order they come.

    They keep what makes them differ from tools of other servers. One that is an identifier stays as it is.
    """
    names = sorted(set(exposed))
    found = {name: name for name in names if name.isidentifier()}
    taken = set(found)
    for name in names:
        if name in found:
            continue
        plain = re.sub("^(?=[0-9])", "t", name.replace("-", "_"))
        method, digits = plain, 8
        while method in taken:
            method = f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:digits]}"
            digits += 2
        found[name] = method
        taken.add(method)
    return found


_PLAIN: Final = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME_CHARS - 1}}}")
# What pydantic keeps for itself: of a model, which Open WebUI makes of the arguments.
_OF_MODELS: Final = re.compile(
    "model_(computed_fields|config|construct|copy|dump|extra|fields|json_schema|parametrized_name|post_init"
    "|rebuild|validate)"
)


def argument_names(properties: Iterable[str]) -> dict[str, str]:
    """Name of a property -> name of the argument; what can stay as it is stays."""
    names = list(properties)
    found = {name: name for name in names if _is_argument(name)}
    taken = set(found)
    for name in names:
        if name in found:
            continue
        plain = re.sub("[^A-Za-z0-9]+", "_", name).strip("_") or "argument"
        plain = plain[: MAX_NAME_CHARS - 20]
        argument = next(one for one in (plain, f"{plain}_", f"argument_{plain}") if _is_argument(one))
        if argument in taken:
            plain, number = argument.rstrip("_"), 2
            while (argument := f"{plain}_{number}") in taken:
                number += 1
        found[name] = argument
        taken.add(argument)
    return {name: found[name] for name in names}


def _is_argument(name: str) -> bool:
    """Whether Python, pydantic and Open WebUI all take it for the name of an argument."""
    return (
        _PLAIN.fullmatch(name) is not None
        and not keyword.iskeyword(name)
        and name != "self"
        and _OF_MODELS.match(name) is None
    )


# --- literals

_TRAPS: Final = re.compile("from (?=utils|apps|main|config)")  # Open WebUI takes these for imports of its own
_CHAR: Final = r"(?>\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)|[^\\])"
_PIECES: Final = re.compile(
    rf"{_CHAR}{{1,{_PIECE_CHARS}}}\Z|{_CHAR}{{1,{_PIECE_CHARS}}}(?<=[ ,])|{_CHAR}{{1,{_PIECE_CHARS}}}"
)
_NOT_PLAIN: Final = re.compile(r"[^ !#-&(-\[\]-~]")  # all but printable ASCII without quotes and backslash


def literal(text: str) -> str:
    """A string as Python's formatters write it on one line; half a character becomes U+FFFD."""
    return _quoted(_escaped(text))


def literal_lines(text: str, indent: int, room: int) -> str:
    """The same as the only argument of a call: on its line if `room` allows, else on lines of its own."""
    whole = literal(text)
    if len(whole) <= room:
        return whole
    blanks = "\n" + " " * (indent + 4)
    if indent + 4 + len(whole) <= _LINE_CHARS:
        pieces = [whole]
    else:
        pieces = [
            _quoted(piece)
            for line in text.splitlines(keepends=True)
            for piece in _PIECES.findall(_escaped(line))
        ]
    return "".join(blanks + piece for piece in pieces) + "\n" + " " * indent


def _escaped(text: str) -> str:
    """All but the quotes."""
    return _TRAPS.sub(r"from\\x20", _NOT_PLAIN.sub(_escape, text))


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in "\"'":
        return char
    if char in "\\\n\r\t":
        return {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    if "\ud800" <= char <= "\udfff":
        return "�"  # no text on its way to a model can hold it
    if char.isprintable() and safe(char) == char:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _quoted(escaped: str) -> str:
    """In the quotes of which it holds fewer."""
    mark = "'" if escaped.count('"') > escaped.count("'") else '"'
    return mark + escaped.replace(mark, "\\" + mark) + mark


# --- tools


@dataclass(frozen=True, slots=True)
class Argument:
    """What the template knows of an argument: names, and the texts of literals."""

    name: str
    key: str
    hint: str
    schema: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class Method:
    """What the template knows of a tool."""

    method: str
    label: str
    description: str
    path: str
    arguments: Sequence[Argument]
    nullable: Sequence[str]


async def source(server: str, entries: Sequence[Entry], base: str) -> str:
    """The code for these tools of a server, formatted. It calls the gateway at `base` by default."""
    pace = _Pace()
    methods = []
    for method in _methods(server, entries):
        methods.append(method)
        await pace.keep()
    parts = _template().generate(
        title=f"{server}, through the gateway",
        description=describe(server),
        version=VERSION,
        since=TRIED_WITH,
        base=literal(base),
        tools=methods,
    )
    written = []
    for part in parts:
        written.append(part)
        await pace.keep()
    return "".join(written)


class _Pace:
    """Gives others their turn from time to time: thousands of tools must not hold up everybody else."""

    def __init__(self) -> None:
        self._began = clock.now_s()

    async def keep(self) -> None:
        if clock.now_s() - self._began >= SLICE_S:
            await asyncio.sleep(0)
            self._began = clock.now_s()


def describe(server: str) -> str:
    return f"The tools of the server {server}, called through MCP Gateway"


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(),  # of HTML, which this is not
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("toolkit.py.j2")


def _methods(server: str, entries: Sequence[Entry]) -> Iterator[Method]:
    names = method_names(entry.exposed for entry in entries)
    for number, entry in enumerate(entries, 1):
        definition = read_members(entry.definition)
        given = _read(definition.get("inputSchema", b"{}"))
        arguments = list(_arguments(number, entry.inlined.schema))
        yield Method(
            names[entry.exposed],
            entry.exposed,
            literal_lines(_description(entry, definition), 4, _LINE_CHARS - len("    @_described()")),
            literal(f"/tools/{quote(server, safe='')}/{quote(entry.tool, safe='', errors='replace')}"),
            arguments,
            [literal(name) for name in _nullable(given)],
        )


def _description(entry: Entry, definition: Mapping[str, Any]) -> str:
    """Never empty: Open WebUI would tell the model the name once more."""
    for member in ("description", "title"):
        text = _read_value(definition.get(member, b"null"))
        if isinstance(text, str) and text.strip():
            break
    else:
        text = f"The tool {entry.tool} of the server {entry.server}"
    return _SIGNS.sub(r": \1", text)


# Where Open WebUI ends a description.
_SIGNS: Final = re.compile(":(param|return)")


def _arguments(number: int, schema: Json) -> Iterator[Argument]:
    properties: Json = schema.get("properties", {})
    required = set(schema.get("required", ()))
    names = argument_names(properties)
    # Those that must be given first, as Python wants it.
    for at, (name, argument) in enumerate(sorted(names.items(), key=lambda one: one[0] not in required)):
        told = _told(properties[name], name if argument != name else None)
        hint = f"_a{number}_{at}"
        room = _LINE_CHARS - len(f"{hint} = _schema()")
        written = json.dumps(told, ensure_ascii=False, allow_nan=False)
        yield Argument(
            argument, literal(name), hint, literal_lines(written, 0, room), is_required=name in required
        )


def _told(schema: Any, name: str | None) -> Json:
    """The schema of one argument; `name` is what the tool calls it, where that could not stay."""
    told: Json = schema if isinstance(schema, dict) and _is_readable(schema) else {"type": "object"}
    if name is None:
        return told
    words = f"Named {json.dumps(name[:200], ensure_ascii=False)} by the tool."
    description = told.get("description")
    return told | {"description": f"{words} {description}" if description else words}


def _is_readable(schema: Json) -> bool:
    """Whether Open WebUI gets through it: not too deep, with no reference, and JSON."""
    left: list[tuple[Any, int]] = [(schema, 1)]
    while left:
        value, depth = left.pop()
        if isinstance(value, dict):
            if "$ref" in value or depth > MAX_DEPTH:
                return False
            left += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            if depth > MAX_DEPTH:
                return False
            left += [(one, depth + 1) for one in value]
        elif isinstance(value, float) and not math.isfinite(value):
            return False
    return True


def _nullable(schema: Json) -> list[str]:
    """The arguments that may be null, where that says something else than leaving them out."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return []
    return [name for name, one in properties.items() if _may_be_null(one)]


def _may_be_null(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    kinds = schema.get("type")
    values = schema.get("enum")
    branches = [schema.get("anyOf"), schema.get("oneOf")]
    return (
        kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or (isinstance(values, list) and None in values)
        or any(_may_be_null(one) for branch in branches if isinstance(branch, list) for one in branch)
    )


def _read(raw: Any) -> Json:
    found = _read_value(raw)
    return found if isinstance(found, dict) else {}


def _read_value(raw: Any) -> Any:
    """What a server wrote; None where nobody can read it."""
    try:
        return json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return None
