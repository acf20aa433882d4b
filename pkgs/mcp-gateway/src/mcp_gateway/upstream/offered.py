"""What a server tells callers of itself, its lists and its instructions, without the secrets it was given.

Pure. A schema generated from a function has its default values in it, a token among them; every caller and
every model would read it. Only what the configuration fetches from elsewhere is taken for a secret here: a
text in the clear may be the time zone or the directory that a description has to name. Called by the upstream
when a list has been read, never on the way of a call: results, errors and progress pass as they come.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_gateway.config.model import SecretRef, ServerConfig
from mcp_gateway.listed import TOOL_LIST, Entry, List, Tool
from mcp_gateway.upstream.disguises import disguises
from mcp_gateway.upstream.logring import REDACTED, SECRET_MIN_CHARS
from mcp_gateway.upstream.process import INHERITED
from mcp_gateway.upstream.remote import secrets_of

_REFERENCE: Final = re.compile(r"\$\{(?:env:)?(\w+)(?::-[^}]*)?\}")


def fetched(config: ServerConfig, env: Mapping[str, str], headers: Iterable[str], url: str) -> list[str]:
    """Of the resolved values those that are secrets for certain: headers, keys in an address, and variables
    that consist of one reference, unless every server is given what it refers to."""
    values = [value for name, value in env.items() if _is_fetched(config.env.get(name))]
    # The first word of several is the scheme: `Bearer` is in many a description.
    words = (word for value in headers for word in (value, *value.split()[1:]))
    return [*values, *words, *secrets_of(url)]


def _is_fetched(configured: str | SecretRef | None) -> bool:
    if configured is None or isinstance(configured, SecretRef):
        return configured is not None
    reference = _REFERENCE.fullmatch(configured)
    return reference is not None and reference[1] not in INHERITED


class Offered:
    """Takes these values out of what is offered."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values if len(value) >= SECRET_MIN_CHARS for form in disguises(value)}
        # Longest first, since one may hold another.
        self._forms = sorted(
            (form.encode("utf-8", "surrogateescape") for form in forms), key=len, reverse=True
        )

    def text(self, text: str) -> str:
        return self._replaced(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")

    def value(self, raw: Raw) -> Raw:
        """Any JSON; null where it cannot be said without the secret."""
        text = self._replaced(bytes(raw))
        if text == bytes(raw):
            return raw
        try:
            return msgspec.json.decode(text, type=Raw)
        except msgspec.MsgspecError:  # the secret was no text
            return _NULL

    def tools(self, tools: Iterable[Tool]) -> tuple[tuple[Tool, ...], list[str]]:
        """`entries` of a list of tools."""
        return self.entries(tools, TOOL_LIST)

    def entries(self, entries: Iterable[Entry], of: List[Entry]) -> tuple[tuple[Entry, ...], list[str]]:
        """The entries, and a sentence for each that had a secret in it."""
        kept, remarks = [], []
        for number, entry in enumerate(entries, 1):
            definition = self._replaced(entry.definition)
            if definition == entry.definition:
                kept.append(entry)
            elif (key := _key(definition, of)) is not None and key == _key(entry.definition, of):
                kept.append(of.make(key, definition))
                remarks.append(
                    f"{of.noun} {number} of the list is shown without a secret that its server put there"
                )
            else:  # the secret was its name, or no text
                remarks.append(
                    f"{of.noun} {number} of the list is left out: it is made of a secret of its server"
                )
        return tuple(kept), remarks

    def _replaced(self, text: bytes) -> bytes:
        for form in self._forms:
            text = text.replace(form, _REDACTED)
        return text


_REDACTED: Final = REDACTED.encode()
_NULL: Final = Raw(b"null")


def _key(definition: bytes, of: List[Any]) -> str | None:
    """The name or URI of what is still an entry of such a list."""
    try:
        return str(msgspec.json.decode(definition, type=of.head).key)
    except (msgspec.MsgspecError, RecursionError):
        return None
