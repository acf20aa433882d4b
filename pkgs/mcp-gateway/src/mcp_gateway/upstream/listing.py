"""Reading a server's whole tool list: all pages, within bounds, or not at all."""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Raw

from mcp_gateway.catalog import Tool, read_page
from mcp_gateway.upstream.opening import NotUnderstood
from mcp_gateway.wire.envelope import Params

# Bounds for one server; a list beyond them is cut and the cut is told, with the number.
MAX_TOOLS: Final = 2_000
MAX_PAGES: Final = 200
MAX_LIST_BYTES: Final = 8 * 1024 * 1024
MAX_REMARKS: Final = 20

Ask = Callable[[Params], Awaitable[Raw]]


async def read_tools(ask: Ask) -> tuple[tuple[Tool, ...], list[str]]:
    """All tools, first come first kept, and sentences about what was left out.

    Raises:
        GatewayError: a page was refused or lost.
        NotUnderstood: a page is not readable.
    """
    tools: dict[str, Tool] = {}
    remarks: list[str] = []
    size = twice = 0
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        result = await ask({} if cursor is None else {"cursor": cursor})
        try:
            page, cursor, left_out = read_page(result)
        except ValueError as problem:
            raise NotUnderstood(str(problem)) from None
        remarks += left_out
        for tool in page:
            if tool.name in tools:
                twice += 1
            elif len(tools) < MAX_TOOLS and size + len(tool.definition) <= MAX_LIST_BYTES:
                tools[tool.name] = tool
                size += len(tool.definition)
            else:
                remarks.insert(0, f"its list is cut to {len(tools)} tools")
                return tuple(tools.values()), remarks[:MAX_REMARKS]
        if twice:
            remarks.append(f"{twice} tools are listed twice; the first of each name is kept")
            twice = 0
        if cursor is None:
            return tuple(tools.values()), remarks[:MAX_REMARKS]
        if cursor in seen:
            break
        seen.add(cursor)
    remarks.insert(0, "its list of tools does not end: a cursor came twice or there are too many pages")
    return tuple(tools.values()), remarks[:MAX_REMARKS]
