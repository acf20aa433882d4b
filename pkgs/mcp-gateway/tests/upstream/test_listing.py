"""A server's whole tool list: all pages, within bounds, or not at all."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.upstream import listing
from mcp_gateway.upstream.listing import MAX_LIST_BYTES, MAX_PAGES, MAX_REMARKS, MAX_TOOLS, read_tools
from mcp_gateway.upstream.opening import NotUnderstood
from mcp_gateway.wire.envelope import Params


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {}, **more}


class Pages:
    """Answers `tools/list` by cursor."""

    def __init__(self, **pages: Any) -> None:
        self.pages = pages
        self.asked: list[Params] = []

    async def __call__(self, params: Params) -> Raw:
        self.asked.append(params)
        page = self.pages[params.get("cursor", "first")]
        if isinstance(page, Exception):
            raise page
        return Raw(json.dumps(page).encode())


async def names(pages: Pages) -> tuple[list[str], list[str]]:
    tools, remarks = await read_tools(pages)
    return [tool.name for tool in tools], remarks


async def test_pages_are_read_to_their_end() -> None:
    pages = Pages(
        first={"tools": [tool("a")], "nextCursor": "p2"},
        p2={"tools": [], "nextCursor": ""},
        **{"": {"tools": [tool("b"), tool("c")], "nextCursor": None}},
    )
    assert await names(pages) == (["a", "b", "c"], [])
    assert pages.asked == [{}, {"cursor": "p2"}, {"cursor": ""}]


async def test_of_two_tools_with_one_name_the_first_is_kept_and_told() -> None:
    pages = Pages(
        first={"tools": [tool("a", n=1)], "nextCursor": "2"}, **{"2": {"tools": [tool("a", n=2), tool("b")]}}
    )
    tools, remarks = await read_tools(pages)
    assert [json.loads(tool.definition).get("n") for tool in tools] == [1, None]
    assert len(remarks) == 1
    assert "twice" in remarks[0]


async def test_a_page_that_is_refused_or_senseless_fails_the_whole_list() -> None:
    lost = GatewayError(Kind.LOST, "gone")
    with pytest.raises(GatewayError):
        await names(Pages(first={"tools": [tool("a")], "nextCursor": "2"}, **{"2": lost}))
    with pytest.raises(NotUnderstood):
        await names(Pages(first={"tools": [tool("a")], "nextCursor": "2"}, **{"2": {"tools": 7}}))


async def test_a_cursor_that_comes_twice_ends_the_list_and_is_told() -> None:
    pages = Pages(
        first={"tools": [tool("a")], "nextCursor": "x"}, x={"tools": [tool("b")], "nextCursor": "x"}
    )
    found, remarks = await names(pages)
    assert found == ["a", "b"]
    assert len(pages.asked) == 2
    assert "does not end" in remarks[0]


async def test_a_list_without_end_is_cut_and_told() -> None:
    asked = 0

    async def endless(_params: Params) -> Raw:
        nonlocal asked
        asked += 1
        return Raw(json.dumps({"tools": [tool(f"t{asked}")], "nextCursor": str(asked)}).encode())

    tools, remarks = await read_tools(endless)
    assert asked == len(tools) == MAX_PAGES
    assert "does not end" in remarks[0]


async def test_too_many_tools_are_cut_and_the_number_is_told() -> None:
    many = [tool(f"t{number}") for number in range(MAX_TOOLS + 1)]
    assert (await names(Pages(first={"tools": many[:-1]})))[1] == []
    found, remarks = await names(Pages(first={"tools": many}))
    assert len(found) == MAX_TOOLS
    assert str(MAX_TOOLS) in remarks[0]


async def test_too_large_a_list_is_cut_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LIST_BYTES >= 1 << 20
    size = len(json.dumps(tool("a")))
    monkeypatch.setattr(listing, "MAX_LIST_BYTES", 2 * size)
    found, remarks = await names(Pages(first={"tools": [tool("a"), tool("b"), tool("c")]}))
    assert found == ["a", "b"]
    assert "2 tools" in remarks[0]


async def test_remarks_are_bounded() -> None:
    found, remarks = await names(Pages(first={"tools": [None] * 1000 + [tool("a")]}))
    assert found == ["a"]
    assert len(remarks) == MAX_REMARKS
