"""The forms in which the value of a secret comes back: in JSON, in a URL, in base64, in HTML, as hex.

Pure. A server that tells its environment seldom tells it plainly: a tool answers JSON inside of JSON text,
a header holds base64. What is not here (encrypted, cut in pieces, reversed) is not recognised, so payloads go
to the disk for those alone who ask for it (docs/decisions/0018-payloads.md).
"""

import base64
import html
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

MIN_CHARS = 6  # a shorter form is found in innocent text


def disguises(secret: str) -> set[str]:
    """The value and its other forms, as far as they are long enough to be told from chance."""
    return {form for form in _forms(secret) if len(form) >= MIN_CHARS}


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogateescape")
    yield secret
    for as_ascii in (True, False):
        in_json = json.dumps(secret, ensure_ascii=as_ascii)[1:-1]
        yield in_json
        yield json.dumps(in_json, ensure_ascii=as_ascii)[1:-1]  # JSON that is a text of JSON
    yield quote(raw, safe="")
    yield quote_plus(raw)
    yield html.escape(secret)
    yield raw.hex()
    yield raw.hex().upper()
    yield from _in_base64(raw)


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
