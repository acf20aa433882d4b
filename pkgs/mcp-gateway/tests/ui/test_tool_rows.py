"""What the Tools page reads off a definition, and what a filter takes: the page's scripts must agree."""

import asyncio
import json
from typing import Any

import pytest

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller, Grant, Right, unlimited
from mcp_gateway.catalog import Catalog, Entry, Offer, build
from mcp_gateway.config.model import ToolRules
from mcp_gateway.faces.ui import toolrows
from mcp_gateway.faces.ui.toolrows import Filter, Groups, Row, read_row
from mcp_gateway.listed import Tool

READER = unlimited("reader", Right.READ)


def tool(name: str, **more: Any) -> Tool:
    members = {"name": name, "inputSchema": {"type": "object"}, **more}
    return Tool(name, json.dumps(members).encode())


def catalog(*tools: Tool, off: frozenset[str] = frozenset(), before: Catalog | None = None) -> Catalog:
    return build(1, [Offer("git", tools, ToolRules(), off)], before)


def entry(name: str, **more: Any) -> Entry:
    return catalog(tool(name, **more)).by_server["git"][name]


def row(name: str = "read", **more: Any) -> Row:
    return read_row(entry(name, **more), may_switch=False)


# -- annotations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "effect", "is_told"),
    [
        ({}, "destructive", False),
        ({"readOnlyHint": False}, "destructive", False),
        ({"destructiveHint": True}, "destructive", True),
        ({"destructiveHint": False}, "additive", True),
        ({"readOnlyHint": True}, "read-only", True),
        ({"readOnlyHint": True, "destructiveHint": True}, "read-only", True),
        ({"readOnlyHint": "true", "destructiveHint": "no"}, "destructive", False),
        ({"readOnlyHint": 1}, "destructive", False),
        ([], "destructive", False),
        (None, "destructive", False),
        ("readOnlyHint", "destructive", False),
    ],
)
def test_what_is_not_said_means_what_the_specification_says(
    annotations: Any, effect: str, is_told: bool
) -> None:
    read = row(annotations=annotations)
    assert (read.effect, read.is_told) == (effect, is_told)


def test_a_tool_that_changes_nothing_is_not_told_to_be_idempotent() -> None:
    assert row(annotations={"idempotentHint": True}).is_idempotent
    assert not row(annotations={"idempotentHint": True, "readOnlyHint": True}).is_idempotent


@pytest.mark.parametrize("told", [True, False, None])
def test_the_world_is_open_or_closed_only_where_that_is_said(told: bool | None) -> None:
    assert row(annotations={} if told is None else {"openWorldHint": told}).is_open is told


# -- text -------------------------------------------------------------------------------------------------


def test_a_title_is_the_tools_own_or_else_that_of_its_annotations() -> None:
    assert row(title="Read", annotations={"title": "Other"}).title == "Read"
    assert row(annotations={"title": "Other"}).title == "Other"
    assert row("same", title="same").title == ""


@pytest.mark.parametrize("junk", [7, None, ["x"], {"text": "x"}, True])
def test_a_description_that_is_none_is_not_shown(junk: Any) -> None:
    assert (row(title=junk, description=junk).title, row(description=junk).text) == ("", "")


def test_a_long_description_is_cut_between_words_and_searched_beyond_the_cut() -> None:
    read = row(description=" ".join(["word"] * 200) + " needle " + "x" * 10_000)
    assert read.text.endswith("word …")
    assert len(read.text) <= toolrows.SHOWN_CHARS + 2
    assert "needle" in read.more
    assert len(read.text) + len(read.more) <= toolrows.SEARCHED_CHARS + 2
    assert Filter(search="NEEDLE").takes([read]) == [read]


def test_half_a_character_is_a_character() -> None:
    half = Tool("read", b'{"name":"read","inputSchema":{},"description":"a\\ud800b","title":"\\udfff"}')
    read = read_row(catalog(half).by_server["git"]["read"], may_switch=False)
    assert "\\ud800" in read.search


def test_every_tool_has_an_address_and_an_id_of_its_own() -> None:
    names = ["a/b", "a%2Fb", "..", ".", "a b", 'a"b', "<b>", "é", "\u202e", "a'b", "?#&+;"]
    rows = [row(name) for name in names]
    assert len({one.key for one in rows}) == len({one.id for one in rows}) == len(names)
    for one in rows:
        assert one.key.count("/") == 1
        assert not set(one.key) & set("\"'<>?# \u202e")
        assert one.id.isalnum()


# -- filters ----------------------------------------------------------------------------------------------


def found(**query: str) -> list[str]:
    tools = [
        tool("read", title="Look", description="Reads a FILE", annotations={"readOnlyHint": True}),
        tool("write", description="Writes a file"),
        tool("append", description="Adds to a file", annotations={"destructiveHint": False}),
        tool("Ünïcode"),
    ]
    entries = catalog(*tools, off=frozenset({"write"})).by_server["git"].values()
    return [one.name for one in Filter.of(query).takes([read_row(each, False) for each in entries])]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["read", "write", "append", "Ünïcode"]),
        ({"search": "file"}, ["read", "write", "append"]),
        ({"search": "  FILE   adds "}, ["append"]),
        ({"search": "look"}, ["read"]),
        ({"search": "ünï"}, ["Ünïcode"]),
        ({"search": "nothing"}, []),
        ({"search": "git"}, []),  # the server has a filter of its own
        ({"says": "read-only"}, ["read"]),
        ({"says": "destructive"}, ["write", "Ünïcode"]),
        ({"says": "additive"}, ["append"]),
        ({"says": "<script>"}, ["read", "write", "append", "Ünïcode"]),
        ({"enabled": "off"}, ["write"]),
        ({"enabled": "on", "search": "file"}, ["read", "append"]),
        ({"enabled": "maybe"}, ["read", "write", "append", "Ünïcode"]),
    ],
)
def test_a_filter_takes_what_all_of_it_asks_for(query: dict[str, str], names: list[str]) -> None:
    assert found(**query) == names


def test_only_a_filter_that_asks_for_something_is_narrow() -> None:
    assert not Filter.of({"search": "  ", "says": "x", "enabled": "x"}).is_narrow
    assert Filter.of({"server": "git"}).is_narrow
    assert len(Filter.of({"search": "x" * 10_000}).search) == toolrows.MAX_SEARCH_CHARS


# -- what is kept -----------------------------------------------------------------------------------------


async def test_rows_are_kept_until_the_catalog_has_others() -> None:
    groups = Groups()
    first = catalog(tool("a"), tool("b"))
    group = groups.of(LOCAL_OPERATOR, "git", first.by_server["git"])
    rows = await group.read()
    assert await group.read() is rows
    same = catalog(tool("a"), tool("b"), before=first)
    assert groups.of(LOCAL_OPERATOR, "git", same.by_server["git"]) is group
    off = catalog(tool("a"), tool("b"), off=frozenset({"a"}), before=first)
    other = groups.of(LOCAL_OPERATOR, "git", off.by_server["git"])
    assert other is not group
    assert (group.on, other.on) == (2, 1)
    assert group.digest != other.digest
    assert other.tokens == group.tokens - rows[0].tokens
    # What has not moved is not read again.
    assert [one is new for one, new in zip(rows, await other.read(), strict=True)] == [False, True]


async def test_who_may_switch_does_not_share_rows_with_who_may_not() -> None:
    groups, tools = Groups(), catalog(tool("a"), tool("b")).by_server["git"]
    some = Caller(
        "some",
        (
            Grant(frozenset({Right.READ})),
            Grant(frozenset({Right.OPERATE}), tools=("git/a",)),
        ),
    )
    for caller, may in ((LOCAL_OPERATOR, [True, True]), (READER, [False, False]), (some, [True, False])):
        assert [one.may_switch for one in await groups.of(caller, "git", tools).read()] == may


async def test_many_who_read_at_once_get_each_tool_once() -> None:
    names = [f"tool-{number}" for number in range(3 * toolrows.READ_AT_ONCE)]
    group = Groups().of(READER, "git", catalog(*map(tool, names)).by_server["git"])
    for rows in await asyncio.gather(*(group.read() for _ in range(3))):
        assert [one.name for one in rows] == names


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolrows, "MAX_KEPT_ROWS", 5)
    groups, tools = Groups(), catalog(tool("a"), tool("b")).by_server["git"]
    first = groups.of(READER, "one", tools)
    groups.of(READER, "two", tools)
    assert groups.of(READER, "two", tools) is not first
    assert groups.of(READER, "one", tools) is not first  # it made way
