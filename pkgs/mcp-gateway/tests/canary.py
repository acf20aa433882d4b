"""Secrets that sing: values planted where a gateway gets its secrets, and the search for them anywhere else.

Pure: makes canaries, writes them in every encoding in which a value comes back, and finds them in bytes.
Knows no gateway, no file and no process; `leaks.py` knows where to look.

A value is found by its core, the longest run of letters and digits in it, whatever became of the rest:
JSON, URLs, HTML and `repr` leave such a run alone, and base64, hex and UTF-16 of it are one search each. All
canaries made here begin their core with the same mark, so that any number of them costs one search.
"""

import base64
import html
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

MARK = f"canary{secrets.token_hex(4)}"  # of this run: another run beside it has its own
CORE_MIN = 8  # a shorter run of letters and digits is found by chance
# What encodings differ in. No `$`, which begins a variable, and no white space, which ends a word.
ODD = "q\"u'o<t>e&+/%20=\\"
BEYOND_ASCII = "-é"  # no header can carry it
LONGEST = 512  # bytes of a core in any encoding; what is read in pieces overlaps by so much


@dataclass(frozen=True)
class Canary:
    """One planted value. `name` says where it was planted, `owner` in which gateway."""

    name: str
    owner: str
    value: str = field(repr=False)

    @property
    def core(self) -> str:
        return core_of(self.value)


def core_of(value: str) -> str:
    """The longest run of letters and digits.

    Raises: ValueError when that is too short to be told from chance.
    """
    core = max(re.findall("[A-Za-z0-9]+", value), key=len, default="")
    if len(core) < CORE_MIN:
        raise ValueError("a secret needs eight letters or digits in a row to be found again")
    return core


def make(name: str, owner: str, *, for_header: bool = False, lines: bool = False) -> Canary:
    """A fresh secret; `lines`: of several lines, as a private key is."""
    value = ODD + MARK + secrets.token_hex(6) + ("" if for_header else BEYOND_ASCII)
    return Canary(name, owner, f"-----BEGIN\n{value}\nEND-----" if lines else value)


def encodings(value: str) -> Mapping[str, bytes]:
    """The whole value in each encoding, by the encoding's name."""
    raw = value.encode()
    forms = {
        "raw": raw,
        "JSON": json.dumps(value, ensure_ascii=False)[1:-1].encode(),
        "JSON in ASCII": json.dumps(value)[1:-1].encode(),
        "URL": quote(value, safe="").encode(),
        "URL in lower case": re.sub("%..", lambda hit: hit[0].lower(), quote(value, safe="")).encode(),
        "form": quote_plus(value).encode(),
        "HTML": html.escape(value).encode(),
        "repr": repr(value)[1:-1].encode(),
        "backslashes": ascii(value)[1:-1].encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "UTF-16-LE": value.encode("utf-16-le"),
        "UTF-16-BE": value.encode("utf-16-be"),
    }
    for before in range(3):  # as after a user name in `Authorization: Basic`
        text = base64.b64encode(b"u:x"[:before] + raw)
        forms[f"base64 after {before}"] = text
        forms[f"base64url after {before}"] = text.replace(b"+", b"-").replace(b"/", b"_")
    return forms


def _needles(core: str) -> Iterator[tuple[str, bytes]]:
    raw = core.encode()
    yield "plain", raw
    for before in range(3):
        # The characters that the core alone decides. Of letters and digits none is one of +/ or -_.
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        yield "base64", base64.b64encode(bytes(before) + raw)[first:last]
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    # Of the first byte only what both byte orders have, and so for the last.
    yield "UTF-16", core.encode("utf-16-le")[:-1]


class Finder:
    """What is looked for: every canary that was made or added, and is not forgotten."""

    def __init__(self) -> None:
        self._canaries: tuple[Canary, ...] = ()
        self._needles: tuple[bytes, ...] = ()

    def add(self, *canaries: Canary) -> None:
        self._set(tuple(dict.fromkeys((*self._canaries, *canaries))))

    def forget(self, owner: str) -> None:
        """What was not made here costs searches of its own: it is forgotten with its gateway."""
        self._set(tuple(one for one in self._canaries if one.owner != owner or MARK in one.core))

    def _set(self, canaries: tuple[Canary, ...]) -> None:
        self._canaries = canaries
        cores = {MARK if MARK in canary.core else canary.core for canary in canaries}
        self._needles = tuple(dict.fromkeys(needle for core in cores for _, needle in _needles(core)))

    def has(self, data: bytes) -> bool:
        """Whether a closer look is worth it; costs a few searches at the speed of memory."""
        return any(map(data.__contains__, self._needles))

    def find(self, data: bytes) -> list[tuple[Canary, str]]:
        """Which canaries are in the data, each with the encoding."""
        return [
            (canary, encoding)
            for canary in self._canaries
            if (encoding := _encoding_of(canary, data)) is not None
        ]


def _encoding_of(canary: Canary, data: bytes) -> str | None:
    found = next((name for name, needle in _needles(canary.core) if needle in data), None)
    if found is None:
        return None
    whole = (name for name, form in encodings(canary.value).items() if form in data)
    return next(whole, f"{found}, a part")
