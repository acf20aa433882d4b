"""Reading a server's lists: all pages, within bounds, or not at all."""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Raw

from mcp_gateway.listed import MAX_ENTRIES, TOOL_LIST, Entry, List, Tool, read_entries
from mcp_gateway.upstream.opening import NotUnderstood
from mcp_gateway.wire.envelope import Params

# Bounds for one server; a list beyond them is cut and the cut is told, with the number.
MAX_TOOLS: Final = MAX_ENTRIES
MAX_PAGES: Final = 200
MAX_LIST_BYTES: Final = 8 * 1024 * 1024
MAX_REMARKS: Final = 20

Ask = Callable[[Params], Awaitable[Raw]]


async def read_tools(ask: Ask) -> tuple[tuple[Tool, ...], list[str]]:
    """`read_list` of tools."""
    return await read_list(ask, TOOL_LIST)


async def read_list(ask: Ask, of: List[Entry]) -> tuple[tuple[Entry, ...], list[str]]:
    """All entries, first come first kept, and sentences about what was left out.

    Raises:
        GatewayError: a page was refused or lost.
        NotUnderstood: a page is not readable.
    """
    entries: dict[str, Entry] = {}
    remarks: list[str] = []
    size = twice = 0
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        result = await ask({} if cursor is None else {"cursor": cursor})
        try:
            page, cursor, left_out = read_entries(result, of)
        except ValueError as problem:
            raise NotUnderstood(str(problem)) from None
        remarks += left_out
        for key, entry, entry_bytes in page:
            if key in entries:
                twice += 1
            elif len(entries) < of.max_entries and size + entry_bytes <= MAX_LIST_BYTES:
                entries[key] = entry
                size += entry_bytes
            else:
                remarks.insert(0, f"its list is cut to {len(entries)} {of.nouns}")
                return tuple(entries.values()), remarks[:MAX_REMARKS]
        if twice:
            remarks.append(f"{twice} {of.nouns} are listed twice; the first of each {of.key} is kept")
            twice = 0
        if cursor is None:
            return tuple(entries.values()), remarks[:MAX_REMARKS]
        if cursor in seen:
            break
        seen.add(cursor)
    remarks.insert(0, f"its list of {of.nouns} does not end: a cursor came twice or there are too many pages")
    return tuple(entries.values()), remarks[:MAX_REMARKS]
