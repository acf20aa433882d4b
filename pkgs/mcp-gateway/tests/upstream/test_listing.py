"""A server's whole tool list: all pages, within bounds, or not at all."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.listed import PROMPT_LIST, RESOURCE_LIST, TEMPLATE_LIST, List
from mcp_gateway.upstream import listing
from mcp_gateway.upstream.listing import (
    MAX_LIST_BYTES,
    MAX_PAGES,
    MAX_REMARKS,
    MAX_TOOLS,
    read_list,
    read_tools,
)
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


# -- the other lists ------------------------------------------------------------------------------------

GOOD: dict[Any, dict[str, Any]] = {
    RESOURCE_LIST: {"uri": "x://good", "name": "good"},
    TEMPLATE_LIST: {"uriTemplate": "x://{good}", "name": "good"},
    PROMPT_LIST: {"name": "good", "arguments": [{"name": "a"}]},
}
BAD: dict[Any, list[Any]] = {
    RESOURCE_LIST: [{"uri": 7, "name": "n"}, {"uri": "x://y"}, {"uri": "", "name": "n"}, {"name": "n"}],
    TEMPLATE_LIST: [{"uri": "x://y", "name": "n"}, {"uriTemplate": None, "name": "n"}],
    PROMPT_LIST: [{"name": ""}, {"name": "n", "arguments": {}}, {"name": "n", "arguments": [{"title": "t"}]}],
}
KINDS = [pytest.param(kind, id=kind.noun) for kind in GOOD]


@pytest.mark.parametrize("kind", KINDS)
async def test_of_every_list_what_is_none_is_left_out_and_the_rest_is_kept_as_it_came(
    kind: List[Any],
) -> None:
    good = GOOD[kind]
    odd = [None, "x", [], {}, *BAD[kind], {**good, kind_key(kind): "u" * 10_000}]
    pages = Pages(first={kind.member: [good, *odd, good]})
    entries, remarks = await read_list(pages, kind)
    assert [json.loads(entry.definition) for entry in entries] == [good]
    assert len(remarks) == len(odd) + 1
    assert all(sentence.startswith(kind.noun) for sentence in remarks[:-1])
    assert "twice" in remarks[-1]


def kind_key(kind: List[Any]) -> str:
    return next(iter(GOOD[kind]))


@pytest.mark.parametrize("kind", KINDS)
async def test_every_list_has_an_end(kind: List[Any]) -> None:
    page = {kind.member: [GOOD[kind]], "nextCursor": "again"}
    entries, remarks = await read_list(Pages(first=page, again=page), kind)
    assert len(entries) == 1
    assert any("does not end" in sentence for sentence in remarks)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_list_is_bounded(kind: List[Any]) -> None:
    good = GOOD[kind]
    many = [{**good, kind_key(kind): f"x:{number}"} for number in range(kind.max_entries + 1)]
    entries, remarks = await read_list(Pages(first={kind.member: many}), kind)
    assert len(entries) == kind.max_entries
    assert f"{kind.max_entries} {kind.nouns}" in remarks[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("page", [{}, {"other": []}, None, "MEMBER"])
async def test_a_page_of_another_shape_fails_the_whole_list(kind: List[Any], page: Any) -> None:
    with pytest.raises(NotUnderstood, match=kind.method):
        await read_list(Pages(first={kind.member: {}} if page == "MEMBER" else page), kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_definition_nested_without_end_is_left_out_alone(kind: List[Any]) -> None:
    good = json.dumps(GOOD[kind])
    deep = good[:-1] + ',"deep":' + "[" * 900 + "]" * 900 + "}"

    async def ask(_params: Params) -> Raw:
        return Raw(f'{{"{kind.member}":[{deep},{good}]}}'.encode())

    entries, remarks = await read_list(ask, kind)
    assert [json.loads(entry.definition) for entry in entries] == [GOOD[kind]]
    assert "nested too deep" in remarks[0]
