"""A list in pages: nothing lost, nothing twice, and cursors that lead nowhere but on."""

import json
from typing import Any

import pytest

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.wire.pages import PAGE_BYTES, PAGE_ENTRIES, Pages


def entries(count: int, size: int = 0) -> list[bytes]:
    return [b'{"n":%d,"x":"%b"}' % (number, b"x" * size) for number in range(count)]


def walked(pages: Pages, more: bytes = b"") -> list[list[int]]:
    """The numbers on each page, from the first to the last."""
    found: list[list[int]] = []
    cursor: str | None = None
    while cursor is not None or not found:
        page: dict[str, Any] = json.loads(pages.page(cursor, more))
        found.append([entry["n"] for entry in page["tools"]])
        cursor = page.get("nextCursor")
        assert page.keys() == {"tools", *(["nextCursor"] if cursor else [])}
    return found


def cursors(pages: Pages) -> list[str]:
    found: list[str] = []
    while (cursor := json.loads(pages.page(found[-1] if found else None)).get("nextCursor")) is not None:
        found.append(cursor)
    return found


@pytest.mark.parametrize("count", [0, 1, 2_500, PAGE_ENTRIES])
def test_what_fits_comes_whole_and_as_it_is(count: int) -> None:
    definitions = entries(count)
    assert Pages("tools", definitions).page() == b'{"tools":[%b]}' % b",".join(definitions)


@pytest.mark.parametrize("count", [PAGE_ENTRIES + 1, 2 * PAGE_ENTRIES, 2 * PAGE_ENTRIES + 1])
def test_a_longer_list_is_paged_without_loss(count: int) -> None:
    pages = walked(Pages("tools", entries(count)))
    assert [number for page in pages for number in page] == list(range(count))
    assert len(pages) == -(-count // PAGE_ENTRIES)
    assert all(len(page) == PAGE_ENTRIES for page in pages[:-1])


def test_a_larger_list_is_paged_by_its_bytes_and_an_entry_of_any_size_has_a_page() -> None:
    definitions = [*entries(3, PAGE_BYTES // 2), *entries(1, 2 * PAGE_BYTES), *entries(2)]
    pages = Pages("tools", definitions)
    assert walked(pages) == [[0], [1], [2], [0], [0, 1]]
    assert all(len(pages.page(cursor)) < PAGE_BYTES + 1024 for cursor in (None, *cursors(pages)[:2]))


@pytest.mark.parametrize("count", [0, 2, PAGE_ENTRIES + 1])
def test_what_follows_stands_on_the_last_page_alone(count: int) -> None:
    pages = walked(Pages("tools", entries(count)), b'{"n":-1},{"n":-2}')
    assert [number for page in pages for number in page] == [*range(count), -1, -2]


@pytest.mark.parametrize("cursor", ["", "0", "1", "made-up", "A" * 20, "x" * 100_000, "\ud800"])
@pytest.mark.parametrize("count", [1, PAGE_ENTRIES + 1])
def test_a_cursor_that_is_not_ours_leads_nowhere(count: int, cursor: str) -> None:
    with pytest.raises(GatewayError) as caught:
        Pages("tools", entries(count)).page(cursor)
    assert (caught.value.kind, caught.value.rpc_code) == (Kind.INVALID, -32602)
    assert "begin again" in caught.value.detail


def test_a_cursor_leads_nowhere_in_another_list() -> None:
    many = entries(2 * PAGE_ENTRIES)
    pages = Pages("tools", many)
    (cursor,) = cursors(pages)
    for other in (
        Pages("tools", many[:-1]),
        Pages("tools", [*many, *entries(1)]),
        Pages("tools", many[::-1]),
    ):
        with pytest.raises(GatewayError):
            other.page(cursor)
    assert Pages("tools", many).page(cursor) == pages.page(cursor), (
        "the same list goes on, whenever it was made"
    )


def test_each_page_has_a_cursor_of_its_own() -> None:
    same = [b'{"n":0}'] * (4 * PAGE_ENTRIES)
    found = cursors(Pages("tools", same))
    assert len(set(found)) == 3
    assert all(cursor.isascii() and len(cursor) == 20 for cursor in found)
