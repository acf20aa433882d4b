"""A tool's input schema as click options. Pure: a schema in, options and arguments out.

A flag is the parameter's own name, and the same in small letters with hyphens. Text, whole numbers,
numbers, switches and choices are what they are; a list of those is a flag that may be repeated; all
else is given as JSON. Nothing is sent that was not said. The schema is a server's, so it may hold
anything: what cannot be a flag is left to the arguments as JSON.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from mcp_gateway.cli.screen import first_line
from mcp_gateway.visible import safe

MAX_FLAGS: Final = 500  # more is no form a person fills in
MAX_CHOICES: Final = 50
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:$-]{0,99}")
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})


@dataclass(frozen=True)
class Flag:
    """One parameter. `types` are the JSON types it may have; empty means any."""

    name: str
    types: frozenset[str]
    items: frozenset[str]  # of a list's members, when each is one scalar
    choices: tuple[str, ...]
    required: bool
    help: str
    spellings: tuple[str, ...]

    @property
    def is_switch(self) -> bool:
        return self.types == {"boolean"}

    @property
    def is_list(self) -> bool:
        return self.types == {"array"} and bool(self.items)

    @property
    def spelled(self) -> str:
        if self.is_switch:
            return f"{self.spellings[0]} / --no-{self.spellings[0][2:]}"
        return f"{self.spellings[0]} {self.metavar}"

    @property
    def metavar(self) -> str:
        if self.choices:
            return "[" + "|".join(safe(choice, lines=False) for choice in self.choices) + "]"
        types = self.items if self.is_list else self.types
        words = {"string": "TEXT", "integer": "INTEGER", "number": "NUMBER", "boolean": "TRUE|FALSE"}
        word = words.get(next(iter(types)), "JSON") if len(types) == 1 else "JSON"
        return f"{word} ..." if self.is_list else word


def flags_of(schema: Any) -> list[Flag]:
    """The parameters that can be flags, in the schema's order."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return []
    required = schema.get("required")
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    names = [name for name in properties if _NAME.fullmatch(name)][:MAX_FLAGS]
    taken = {f"--{name}" for name in names}
    flags = []
    for name in names:
        spellings = [f"--{name}"]
        if (plain := f"--{_hyphened(name)}") not in taken:
            taken.add(plain)
            spellings.append(plain)
        flags.append(_flag(schema, name, properties[name], name in needed, tuple(spellings)))
    return flags


def command_of(tool: str, description: str, flags: Sequence[Flag], rest: str) -> click.Command:
    """A command that understands the flags; its callback's parameters are `Flag.name`'s place, `p0`..."""
    options: list[click.Parameter] = [_option(number, flag, flags) for number, flag in enumerate(flags)]
    return click.Command(
        tool,
        params=options,
        help="\b\n" + safe(description).replace("\n\n", "\n\n\b\n") if description else None,
        epilog=rest,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def arguments_of(flags: Sequence[Flag], values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments object of what was said on the command line."""
    said = ((flag.name, values.get(f"p{number}")) for number, flag in enumerate(flags))
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in said if _is_said(value)
    }


def _is_said(value: Any) -> bool:
    return value is not None and value != ()


def _option(number: int, flag: Flag, flags: Sequence[Flag]) -> click.Option:
    spellings = flag.spellings
    if flag.is_switch:
        others = {spelling for other in flags for spelling in other.spellings}
        noes = (f"--no-{spelling[2:]}" for spelling in spellings)
        spellings = tuple(
            yes if no in others else f"{yes}/{no}" for yes, no in zip(spellings, noes, strict=True)
        )
        # To click a default of None is a default: a switch that must be said has none.
        unsaid: dict[str, Any] = {} if flag.required else {"default": None}
        return click.Option(
            [f"p{number}", *spellings], help=flag.help, required=flag.required, is_flag=True, **unsaid
        )
    return click.Option(
        [f"p{number}", *spellings],
        type=_Value(flag),
        multiple=flag.is_list,
        required=flag.required,
        help=flag.help,
        metavar=flag.metavar.removesuffix(" ..."),
    )


class _Value(click.ParamType[Any]):
    """Text of the command line as a value of one of the flag's types."""

    name = "value"

    def __init__(self, flag: Flag) -> None:
        self._flag = flag
        self._types = flag.items if flag.is_list else flag.types

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        choices = self._flag.choices
        if choices and value not in choices:
            self.fail(f"{value!r} is none of {', '.join(map(repr, choices))}.", param, ctx)
        if choices or self._types == {"string"}:
            return value
        try:
            decoded = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            decoded = value
            if "string" not in self._types:
                self.fail(f"{value!r} is not {_wanted(self._types)}.", param, ctx)
        if self._types and not _kinds(decoded) & self._types:
            if "string" in self._types:
                return value
            self.fail(f"{value!r} is not {_wanted(self._types)}.", param, ctx)
        return decoded


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _kinds(value: Any) -> set[str]:
    """The JSON types a value has."""
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return (
            ({"integer", "number"} if value.is_integer() else {"number"}) if math.isfinite(value) else set()
        )
    names: dict[type, str] = {str: "string", list: "array", dict: "object", type(None): "null"}
    return {names[type(value)]}


def _wanted(types: frozenset[str]) -> str:
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "null"}
    words |= {"array": "a JSON list", "object": "a JSON object"}
    return " or ".join(words.get(name, name) for name in sorted(types)) or "JSON"


def _flag(schema: Any, name: str, raw: Any, required: bool, spellings: tuple[str, ...]) -> Flag:
    rule = _resolved(schema, raw)
    types = frozenset(_types(schema, rule)) - {"null"}
    items = (
        frozenset(_types(schema, _resolved(schema, rule.get("items")))) if types == {"array"} else frozenset()
    )
    if not (len(items) == 1 and items <= _SCALARS):
        items = frozenset()
    choices = _choices(_resolved(schema, rule.get("items")) if items else _without_null(schema, rule))
    about = first_line(rule.get("description")) or first_line(rule.get("title"))
    if "default" in rule:
        shown = safe(json.dumps(rule["default"], ensure_ascii=False), lines=False)
        about = f"{about}  [the server's default: {shown[:60]}]".strip()
    return Flag(name, types, items, choices, required, about, spellings)


def _resolved(schema: Any, rule: Any) -> dict[str, Any]:
    """The rule itself, or what its local `$ref` names; one step is enough for a form."""
    if not isinstance(rule, dict):
        return {}
    reference = rule.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found: Any = schema
        for part in reference[2:].split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return {**found, **{key: value for key, value in rule.items() if key != "$ref"}}
    return rule


def _types(schema: Any, rule: dict[str, Any], depth: int = 3) -> Iterable[str]:
    """The JSON types a rule allows, as far as it says; `$ref` may go in circles."""
    said = rule.get("type")
    if isinstance(said, str):
        return [said]
    if isinstance(said, list):
        return [name for name in said if isinstance(name, str)]
    for word in ("anyOf", "oneOf"):
        if isinstance(rule.get(word), list):
            parts = [_resolved(schema, part) for part in rule[word][:MAX_CHOICES]] if depth else []
            each = [list(_types(schema, part, depth - 1)) for part in parts]
            return [name for names in each for name in names] if all(each) else []
    values = rule.get("enum")
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return ["string"]
    return []


def _without_null(schema: Any, rule: dict[str, Any]) -> dict[str, Any]:
    """Of `X or null` the X; else the rule."""
    parts = rule.get("anyOf") or rule.get("oneOf")
    if isinstance(parts, list):
        real = [part for part in (_resolved(schema, one) for one in parts) if part.get("type") != "null"]
        if len(real) == 1:
            return real[0]
    return rule


def _choices(rule: dict[str, Any]) -> tuple[str, ...]:
    values = rule.get("enum")
    if not isinstance(values, list) or not 0 < len(values) <= MAX_CHOICES:
        return ()
    texts = tuple(value for value in values if isinstance(value, str))
    return texts if len(texts) == len(values) else ()


def _hyphened(name: str) -> str:
    """`maxResults` and `max_results` as `max-results`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", name).lower().strip("-") or name
