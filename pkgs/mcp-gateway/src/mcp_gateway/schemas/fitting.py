"""Arguments as small models write them, made what a tool demands; what is right is never touched. Pure.

Only the kind of a value decides, never its content: where the kind that stands there is allowed, nothing is
changed, whatever else the schema says. Called by the tool API before a call, and by nobody else.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from mcp_gateway.schemas.inlining import object_of
from mcp_gateway.schemas.reading import Form, Place, read
from mcp_gateway.schemas.values import BOOLEAN, FRACTION, INTEGER, NULL, kind_of, kinds_said
from mcp_gateway.visible import safe

CHANGES_MAX: Final = 20  # that are told one by one
TEXT_CHARS_MAX: Final = 1024 * 1024  # of a text that is read as JSON
_NUMBER_CHARS_MAX: Final = 40
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_KEY_CHARS_MAX: Final = 40
_PATH_CHARS_MAX: Final = 160
_WALKED_MAX: Final = 20_000  # values of one call that are looked at


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the tool takes, as far as arguments are fitted to it; None where nothing is known of it."""

    form: Form | None


def accepted(schema: object) -> Accepted:
    """What `fit` needs of a tool's schema; made from the same reading as `inlined`. Never raises."""
    return Accepted(object_of(read(schema).top))


def fit(arguments: dict[str, Any], accepted: Accepted) -> tuple[dict[str, Any], list[str]]:
    """The arguments as the tool may take them, and in short sentences without values what was changed.

    The arguments are left as they are; where nothing is changed, they are what is returned.
    """
    if accepted.form is None:
        return arguments, []
    fitting = _Fitting()
    form = accepted.form
    known = arguments
    if form.is_closed and any(name not in form.properties for name in arguments):
        known = {name: value for name, value in arguments.items() if name in form.properties}
        for name in arguments:
            if name not in form.properties:
                fitting.say(_key(name), "the tool does not take it; left out")
    fitted = fitting.members(known, form, "")
    return fitted, fitting.told()


class _Fitting:
    def __init__(self) -> None:
        self._changes: list[str] = []
        self._count = 0
        self._left = _WALKED_MAX

    def say(self, path: str, what: str) -> None:
        self._count += 1
        if self._count <= CHANGES_MAX:
            self._changes.append(f"{path[-_PATH_CHARS_MAX:]}: {what}")

    def told(self) -> list[str]:
        """The changes, and how many more there are."""
        more = self._count - len(self._changes)
        return [*self._changes, f"{more} more like these"] if more else self._changes

    def members(self, value: dict[str, Any], form: Form, path: str) -> dict[str, Any]:
        """An object with its members fitted; the same one if none of them changed."""
        changed: dict[str, Any] | None = None
        for name, one in value.items():
            place = form.properties.get(name, form.rest)
            if place is None:
                continue
            where = f"{path}.{_key(name)}" if path else _key(name)
            if (
                one is None
                and name in form.properties
                and name not in form.required
                and not _takes(place, NULL)
            ):
                self.say(where, "null, which the tool does not take; left out")
                changed = dict(value) if changed is None else changed
                del changed[name]
                continue
            fitted = self.value(one, place, where)
            if fitted is not one:
                changed = dict(value) if changed is None else changed
                changed[name] = fitted
        return value if changed is None else changed

    def value(self, value: Any, place: Place, path: str) -> Any:
        """A value as the place takes it; the same one if it is taken as it is, or nothing would help."""
        self._left -= 1
        if self._left < 0 or place.is_loose or not (place.forms or place.is_only_null):
            return value
        if not _takes(place, kind_of(value)):
            if not isinstance(value, str):
                return value
            read = self._read(value, place, path)
            if read is _NOTHING:
                return value
            value = read
        kind = kind_of(value)
        if kind not in ("object", "array"):
            return value
        forms = [form for form in place.forms if form.type == kind]
        if len(forms) != 1:
            return value  # which of them is meant is not for us to say
        if isinstance(value, dict):
            return self.members(value, forms[0], path)
        items = forms[0].items
        if items is None:
            return value
        fitted = [self.value(one, items, f"{path}[{number}]") for number, one in enumerate(value)]
        return fitted if any(one is not other for one, other in zip(fitted, value, strict=True)) else value

    def _read(self, text: str, place: Place, path: str) -> Any:
        found = _NOTHING
        if text in ("true", "false") and _takes(place, BOOLEAN):
            found = text == "true"
        elif len(text) <= _NUMBER_CHARS_MAX and (number := _NUMBER.fullmatch(text)):
            if not number["fraction"]:
                if _takes(place, INTEGER) and -(2**63) <= int(text) < 2**63:
                    found = int(text)
            elif _takes(place, FRACTION) and math.isfinite(float(text)):
                found = float(text)
        elif text[:1] in ("{", "[") or text.lstrip(" \t\r\n")[:1] in ("{", "["):
            found = _decoded(text)
            if found is not _NOTHING and not _takes(place, kind_of(found)):
                found = _NOTHING
        if found is not _NOTHING:
            self.say(
                path, f"text that holds {_WORDS[kind_of(found)]}, which the tool demands; passed as that"
            )
        return found


_NOTHING: Final = object()
_WORDS: Final = {
    "integer": "a number",
    "fraction": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
}


def _takes(place: Place, kind: str) -> bool:
    if kind == NULL:
        return place.is_nullable or place.is_loose
    return (
        place.is_loose
        or any(kind in (kinds_said(form.type) or ()) for form in place.forms)
        or not (place.forms or place.is_only_null)
    )


def _decoded(text: str) -> Any:
    """The object or list that a text holds, as strictly as JSON is."""
    if len(text) > TEXT_CHARS_MAX:
        return _NOTHING
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError):
        return _NOTHING


def _refused(word: str) -> object:
    raise ValueError(word)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _key(name: str) -> str:
    return safe(name[:_KEY_CHARS_MAX], lines=False) + ("…" if len(name) > _KEY_CHARS_MAX else "")
