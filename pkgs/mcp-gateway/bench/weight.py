"""What a browser that comes for the first time has to load for a page: the document and every file it names.

Owns the reading of documents and modules for what they name. An upper bound: it counts the icon of a phone's
home screen and the worker, too, which a browser fetches at its leisure or not at all. Knows nothing of how a
file is fetched; `pages.py` and the tests of the pages bring that.
"""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from posixpath import dirname, join, normpath
from typing import NamedTuple

# What `js/pwa.js` makes the browser fetch, which no document names.
WORKER = ("/sw.js", "/ui/offline")
_IMPORTED = re.compile(r"""(?:\bimport|\bfrom)\s*\(?\s*["'](\.{1,2}/[^"']+)["']""")


class File(NamedTuple):
    packed: int  # bytes as they went over the line, to a browser that takes gzip
    text: str  # what they are, unpacked; empty for pictures


class _Named(HTMLParser):
    """Addresses that a document makes a browser load, and how many elements it has."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.elements = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements += 1
        given = dict(attrs)
        name = "href" if tag in ("link", "use", "image") else "src"
        address = (given.get(name) or "").partition("#")[0]
        if address.startswith("/"):
            self.addresses.add(address)


def elements(document: str) -> int:
    """The number of elements in a document."""
    named = _Named()
    named.feed(document)
    return named.elements


def first_visit(path: str, fetch: Callable[[str], File]) -> dict[str, int]:
    """Packed bytes of the document at `path` and of all that it loads, by address.

    Raises: what `fetch` raises for an address that leads nowhere.
    """
    document = fetch(path)
    found = {path: document.packed}
    named = _Named()
    named.feed(document.text)
    missing = sorted(named.addresses | set(WORKER))
    while missing:
        address = missing.pop()
        if address in found:
            continue
        file = fetch(address)
        found[address] = file.packed
        if address.endswith(".js"):
            missing += [normpath(join(dirname(address), name)) for name in _IMPORTED.findall(file.text)]
    return found
