"""URI templates (RFC 6570) as servers use them: could a URI be what a template stands for?

Only yes or no, to find out which server a URI is for; the server itself reads the values out of it. No
regular expression: a template comes from a server, a URI from a caller, and together they must not be able
to take more than some microseconds. Pure.

    {a} {a,b}      one character or more, none of `/?#`; with `*` also `/`
    {+a}           one character or more
    {#a}           nothing, or `#` and whatever
    {.a} {/a} {;a} nothing, or the sign and characters that are none of `/?#`; with `*` also `/`
    {?a,b} {&a}    nothing, or the sign and whatever comes before a `#`
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_EXPRESSIONS: Final = 32  # of one template; servers write two or three
MAX_URI_CHARS: Final = 2_048  # longer ones are no resource that was made from a template

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_EXPRESSION: Final = re.compile(r"\{([+#./;?&]?)([A-Za-z0-9_.,:*%]+)\}")
_STOPS: Final = {"": "/?#", "+": "", "#": "", ".": "/?#", "/": "/?#", ";": "/?#", "?": "#", "&": "#"}


@dataclass(frozen=True, slots=True)
class _Gap:
    """One character or more, none of `stops`. With a `sign`: nothing, or the sign and any number of them."""

    stops: str
    sign: str


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts and gaps. `weight` counts the literal characters: the more, the surer is a match."""

    parts: tuple[str | _Gap, ...]
    weight: int

    def matches(self, uri: str) -> bool:
        """Whether the URI may have been made from the template."""
        if len(uri) > MAX_URI_CHARS:
            return False
        reached = 1  # bit n: the parts so far can end before character n
        for part in self.parts:
            if isinstance(part, str):
                reached = _after_literal(reached, uri, part)
            elif not part.sign:
                reached = _after_gap(reached, uri, part.stops)
            else:
                signed = _after_literal(reached, uri, part.sign)
                reached |= signed | _after_gap(signed, uri, part.stops)
            if not reached:
                return False
        return bool(reached >> len(uri) & 1)


def read_template(text: str) -> Template | None:
    """The template, or None when it is none that could say which URIs are meant.

    One that does not begin with a scheme would stand for anything.
    """
    if _SCHEME.match(text) is None:
        return None
    parts: list[str | _Gap] = []
    at = weight = 0
    for found in _EXPRESSION.finditer(text):
        if literal := text[at : found.start()]:
            parts.append(literal)
            weight += len(literal)
        operator, names = found.groups()
        stops = _STOPS[operator]
        parts.append(_Gap(stops.replace("/", "") if "*" in names else stops, operator.replace("+", "")))
        at = found.end()
    if rest := text[at:]:
        parts.append(rest)
        weight += len(rest)
    literals = (part for part in parts if isinstance(part, str))
    if any("{" in literal or "}" in literal for literal in literals) or len(parts) > 2 * MAX_EXPRESSIONS:
        return None
    return Template(tuple(parts), weight)


def _after_literal(reached: int, uri: str, literal: str) -> int:
    places, at = 0, uri.find(literal)
    while at >= 0:
        places |= 1 << at
        at = uri.find(literal, at + 1)
    return (reached & places) << len(literal)


def _after_gap(reached: int, uri: str, stops: str) -> int:
    """From every place, over one or more of the characters that may stand in the gap."""
    passable = 0
    for at, character in enumerate(uri):
        if character not in stops:
            passable |= 1 << at
    first = (reached & passable) << 1
    # Adding carries a bit to the end of its run of passable characters: all places of the run at once.
    return (((first & passable) + passable) ^ passable) | first
