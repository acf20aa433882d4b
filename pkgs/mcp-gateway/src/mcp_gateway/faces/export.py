"""Activity as a file: one JSON object a line, or a table for a spreadsheet.

Pure but for the pages it is given, of which it holds one at a time. Knows the columns, RFC 4180 and what a
spreadsheet would run. Called by `rest.py`.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from mcp_gateway.wire.envelope import encode

Rows = Sequence[Mapping[str, Any]]

COLUMNS: Final = (
    "id",
    "started",
    "caller",
    "face",
    "server",
    "tool",
    "outcome",
    "durationMs",
    "requestBytes",
    "responseBytes",
    "detail",
    "arguments",
)
# A cell that begins with one of these is a formula to some spreadsheet (OWASP, "CSV Injection"), and names of
# tools and words of servers are written by strangers. The apostrophe makes it a text.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")
_TYPES: Final = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8; header=present"}
_lines: Final = msgspec.json.Encoder().encode_lines


def headers(form: str) -> dict[str, str]:
    return {
        "Content-Type": _TYPES[form],
        "Content-Disposition": f'attachment; filename="activity.{form}"',
        "Cache-Control": "no-store",
    }


async def parts(form: str, first: Rows, pages: AsyncIterator[Rows]) -> AsyncIterator[bytes]:
    """The file, page by page."""
    encode_rows: Callable[[Rows], bytes] = _lines if form == "jsonl" else csv_rows
    if form == "csv":
        yield csv_head()
    yield encode_rows(first)
    async for rows in pages:
        yield encode_rows(rows)


def csv_head() -> bytes:
    return _table([COLUMNS])


def csv_rows(rows: Rows) -> bytes:
    """Lines of RFC 4180 in UTF-8; times are ISO 8601 in UTC, no cell is a formula."""
    return _table([_cell(name, row[name]) for name in COLUMNS] for row in rows)


def _table(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)  # its own dialect is RFC 4180: CRLF, quotes doubled
    return text.getvalue().encode()


def _cell(name: str, value: Any) -> object:
    if value is None:
        return ""
    if name == "started":
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
    if name == "arguments":
        value = encode(value).decode()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
