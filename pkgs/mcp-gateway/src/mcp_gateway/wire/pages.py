"""One list as results of MCP, each encoded once; in pages where it is too long for one.

A cursor is made of the whole list's bytes and the page it leads to, and is looked up, never read: it leads
nowhere once the list is another one, in no other list, and for no caller who sees another. Pure.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Final

from mcp_gateway.errors import INVALID_PARAMS, GatewayError, Kind

# Hardly anybody has so many: clients that know no pages see all there is, and a team's 2,500 tools, of 3 kB
# each, stay on one. Beyond, one answer would hold up everybody else's, and clients give up on it.
PAGE_ENTRIES: Final = 3_000
# As much as is read of a server in one page (`listed.py`), so that a gateway may stand behind another.
PAGE_BYTES: Final = 8 * 1024 * 1024 - 1024
_CURSOR_BYTES: Final = 15  # of chance, as good as; base64 needs no padding


class Pages:
    """`definitions` are the entries of the member that holds the list."""

    __slots__ = ("_by_cursor", "_first", "_last")

    def __init__(self, member: str, definitions: Iterable[bytes]) -> None:
        pages = _split(definitions)
        cursors = _cursors(pages)
        nexts = [b',"nextCursor":"%b"' % cursor.encode() for cursor in cursors] + [b""]
        head = b'{"%b":[' % member.encode()
        results = [head + page + b"]" + next_ + b"}" for page, next_ in zip(pages, nexts, strict=True)]
        self._first, self._last = results[0], results[-1]
        self._by_cursor = dict(zip(cursors, results[1:], strict=True))

    def page(self, cursor: str | None = None, more: bytes = b"") -> bytes:
        """The result; on the last page `more` follows, entries with commas between.

        Raises:
            GatewayError: `invalid`, the cursor leads nowhere.
        """
        page = self._first if cursor is None else self._by_cursor.get(cursor)
        if page is None:
            detail = "This cursor leads nowhere, or the list has changed since: begin again without one"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS)
        if not more or page is not self._last:
            return page
        comma = b"" if page.endswith(b":[]}") else b","
        return b"%b%b%b]}" % (page[:-2], comma, more)


def _split(definitions: Iterable[bytes]) -> list[bytes]:
    """The entries of each page, with commas between; at least one page, and no other without an entry."""
    pages: list[bytes] = []
    page: list[bytes] = []
    size = 0
    for definition in definitions:
        if page and (len(page) == PAGE_ENTRIES or size + len(definition) >= PAGE_BYTES):
            pages.append(b",".join(page))
            page, size = [], 0
        page.append(definition)
        size += len(definition) + 1
    return [*pages, b",".join(page)]


def _cursors(pages: list[bytes]) -> list[str]:
    """One for each page but the first."""
    if len(pages) == 1:
        return []
    whole = hashlib.blake2b()
    for page in pages:
        whole.update(b"%d:%b" % (len(page), page))
    marks = (
        hashlib.blake2b(b"%d" % number, key=whole.digest(), digest_size=_CURSOR_BYTES).digest()
        for number in range(1, len(pages))
    )
    return [base64.urlsafe_b64encode(mark).decode() for mark in marks]
