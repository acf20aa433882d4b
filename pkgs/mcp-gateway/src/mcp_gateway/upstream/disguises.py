"""The forms in which the value of a secret comes back: in JSON, a URL, base64, HTML, hex, or Python's own.

Pure. A server that tells its environment seldom tells it plainly: a tool answers JSON inside of JSON text,
a header holds base64. What is not here (encrypted, cut in pieces, reversed) is not recognised, so payloads go
to the disk for those alone who ask for it (docs/decisions/0018-payloads.md).
"""

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

MIN_CHARS = 6  # a shorter form is found in innocent text
# A result is JSON, its content is a text of JSON, and that may hold one again.
JSON_LEVELS = 3
_ESCAPE = re.compile("%[0-9A-F]{2}")


def disguises(secret: str) -> set[str]:
    """The value and its other forms, as far as they are long enough to be told from chance."""
    return {form for form in _forms(secret) if len(form) >= MIN_CHARS}


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    # As a crash of a Python program shows its environment, repr and ascii.
    for form in (secret, html.escape(secret), repr(secret)[1:-1], ascii(secret)[1:-1]):
        yield from _in_json(form, JSON_LEVELS)
    for in_url in (quote(raw, safe=""), quote_plus(raw)):
        yield in_url
        yield _ESCAPE.sub(lambda escape: escape[0].lower(), in_url)
    yield raw.hex()
    yield raw.hex().upper()
    yield from _in_base64(raw)


def _in_json(form: str, levels: int) -> Iterator[str]:
    yield form
    if levels:
        for in_json in {json.dumps(form, ensure_ascii=as_ascii)[1:-1] for as_ascii in (True, False)}:
            yield from _in_json(in_json, levels - 1)


def _in_base64(raw: bytes) -> Iterator[str]:
    """The characters of base64 that the value alone decides, for each way it may be aligned.

    A value after a user name (`Authorization: Basic`) begins anywhere in a group of three bytes.
    """
    for before in range(3):
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        text = base64.b64encode(bytes(before) + raw).decode()[first:last]
        yield text
        yield text.replace("+", "-").replace("/", "_")
