"""The Tools page in a real browser: it finds as one types, selects, switches, and follows what others do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.harness import Gateway, hostile
from tests.ui import stage
from tests.ui.browser import DESKTOP, PHONE, Windows, check_accessible, layout_shift, overflow

TOOLS = 60
MANY = 400


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("tools")
    servers = {"good": hostile("good"), "shelf": wide(directory / "shelf.json", TOOLS)}
    with stage.opened(Gateway(servers, directory / "gateway"), *servers) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("large")
    servers = {"good": hostile("good"), "shelf": wide(directory / "shelf.json", MANY)}
    with stage.opened(Gateway(servers, directory / "gateway"), *servers) as gateway:
        yield gateway


def wide(path: Path, count: int) -> dict[str, object]:
    return stage.shelf(
        path,
        *(
            {
                "name": f"tool-{number}",
                "description": f"Number {number} of the shelf. " + "And more to say of it. " * 20 + "needle",
                "inputSchema": {"type": "object"},
                "annotations": {"readOnlyHint": number % 2 == 0},
            }
            for number in range(count)
        ),
    )


@pytest.fixture(autouse=True)
def all_on(gateway: Gateway, large: Gateway) -> None:
    for one in (gateway, large):
        tools = [{name: tool[name] for name in ("server", "name")} for tool in listed(one)]
        assert one.request("PATCH", "/api/tools", {"enabled": True, "tools": tools}).status == 200


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.get("/api/tools").json()["tools"]
    return found


async def tools(windows: Windows, gateway: Gateway, query: str = "", width: int = DESKTOP) -> Page:
    page = await windows.open(f"{stage.url(gateway)}/ui/tools{query}", width=width)
    await expect(page.locator("#tools[data-own-ready]")).to_be_visible()  # scripts are there
    return page


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
async def test_the_page_is_whole_and_can_be_used_by_all(
    windows: Windows, gateway: Gateway, width: int
) -> None:
    page = await tools(windows, gateway, width=width)
    await expect(page.get_by_role("heading", name="shelf")).to_be_visible()
    assert await overflow(page) == []
    await check_accessible(page)
    assert await layout_shift(page) < 0.01


async def test_what_is_typed_is_found_at_once_and_stays_in_the_address(
    windows: Windows, gateway: Gateway
) -> None:
    page = await tools(windows, gateway)
    await page.get_by_role("searchbox").fill("NUMBER 59 needle")
    await expect(page.locator(".tool:visible")).to_have_count(1)
    await expect(page.get_by_role("heading", name="good", exact=True)).to_be_hidden()
    await expect(page.locator("#tools-shown")).to_have_text(f"1 of {TOOLS + 11} tools match")
    assert page.url.endswith("?search=NUMBER+59+needle")
    assert not any("/ui/tools/" in url for _, url in windows.requests)  # nobody was asked
    await page.get_by_role("searchbox").fill("nothing has this")
    await expect(page.get_by_text("No tool matches.")).to_be_visible()
    await page.get_by_role("searchbox").fill("")
    await page.get_by_label("What servers say").select_option("read-only")
    await expect(page.locator("#tools-in-shelf .tool:visible")).to_have_count(TOOLS // 2)
    await page.get_by_label("Server", exact=True).select_option("good")
    await expect(page.locator("#tools-in-shelf")).to_be_hidden()
    await page.go_back()
    await expect(page.locator("#tools-in-shelf .tool:visible")).to_have_count(TOOLS // 2)
    assert page.url.endswith("?says=read-only")


async def test_an_address_finds_the_same_with_scripts_and_without(
    windows: Windows, chromium: Browser, gateway: Gateway
) -> None:
    plain = Windows(chromium, scripts=False)
    for query in ("?search=needle+number+5&says=read-only", "?server=good&enabled=on"):
        found = []
        for each in (windows, plain):
            page = await each.open(f"{stage.url(gateway)}/ui/tools{query}")
            found.append(await page.locator(".tool:visible .what a").all_inner_texts())
        assert found[0] == found[1]
    await plain.check()
    await plain.close()


async def test_selected_tools_are_counted_and_switched_together(windows: Windows, gateway: Gateway) -> None:
    page = await tools(windows, gateway)
    boxes = page.locator('#tools-in-shelf input[name="tool"]')
    await boxes.nth(2).click()
    await expect(page.get_by_text("1 tool selected, ≈")).to_be_visible()
    await boxes.nth(11).click(modifiers=["Shift"])
    await expect(page.get_by_text("10 tools selected, ≈")).to_be_visible()
    await boxes.nth(5).click()
    await expect(page.get_by_text("9 tools selected, ≈")).to_be_visible()
    await page.get_by_role("button", name="Switch off").click()
    await expect(page.get_by_text("9 tools are off")).to_be_visible()
    await expect(page.locator("#tools-in-shelf .tool[data-off]")).to_have_count(9)
    await expect(page.locator("#tools-total")).to_contain_text(f"{TOOLS + 2} of {TOOLS + 11} tools on")
    await expect(page.get_by_text("9 tools selected, ≈")).to_be_visible()  # so that it can be taken back
    await page.get_by_label("Select the tools shown of shelf").click()
    await expect(page.get_by_text(f"{TOOLS} tools selected")).to_be_visible()
    await page.get_by_role("searchbox").fill("number 7")
    await page.get_by_label("Select all shown").click()  # they are, so they are not from now on
    await expect(page.get_by_text(f"{TOOLS - 6} tools selected")).to_be_visible()
    await page.get_by_role("button", name="Select nothing").click()
    await expect(page.locator("#tools-picked")).to_be_hidden()


async def test_a_server_that_is_switched_off_takes_its_tools_out_of_another_open_page(
    windows: Windows, gateway: Gateway
) -> None:
    page = await tools(windows, gateway)
    other = await tools(windows, gateway)
    await other.get_by_role("searchbox").fill("number")
    await other.locator('#tools-in-shelf input[name="tool"]').first.click()
    await page.goto(f"{stage.url(gateway)}/ui/servers")
    await page.locator("#server-good").get_by_role("switch").click()
    await expect(other.locator("#tools-in-good .tool")).to_have_count(0)
    await expect(other.locator("#tools-head-good")).to_contain_text("off")
    await expect(other.locator("#tools-total")).to_contain_text(f"{TOOLS} of {TOOLS} tools on")
    # What the reader was about is as it was.
    await expect(other.get_by_role("searchbox")).to_have_value("number")
    await expect(other.get_by_text("1 tool selected")).to_be_visible()
    await page.locator("#server-good").get_by_role("switch").click()
    await expect(other.locator("#tools-in-good .tool")).to_have_count(11)
    await expect(other.locator("#tools-in-good .tool:visible")).to_have_count(0)


async def test_a_tool_that_is_switched_elsewhere_shows_it_and_nothing_moves(
    windows: Windows, gateway: Gateway
) -> None:
    page = await tools(windows, gateway)
    row = page.locator(".tool", has=page.get_by_role("link", name="tool-40", exact=True))
    await row.scroll_into_view_if_needed()
    await row.get_by_role("switch").focus()
    place = await row.bounding_box()
    gateway.request("PATCH", "/api/tools/shelf/tool-3", {"enabled": False})
    gateway.request("PATCH", "/api/tools/shelf/tool-40", {"enabled": False})
    await expect(row.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    assert await row.bounding_box() == place
    await expect(row.get_by_role("switch")).to_be_focused()
    await page.keyboard.press("Space")
    await expect(row.get_by_role("switch")).to_have_attribute("aria-checked", "true")
    await expect(page.locator("#tools-in-shelf .tool[data-off]")).to_have_count(1)


async def test_many_tools_come_when_they_are_wanted(windows: Windows, large: Gateway) -> None:
    page = await tools(windows, large)
    await expect(page.locator(".tool")).to_have_count(0)
    await page.get_by_role("heading", name="good", exact=True).click()
    await expect(page.locator(".tool:visible")).to_have_count(11)
    await page.get_by_role("searchbox").fill("number 399")
    await expect(page.locator(".tool:visible")).to_have_count(1)
    large.request("PATCH", "/api/tools/shelf/tool-399", {"enabled": False})
    await expect(page.locator(".tool[data-off]:visible")).to_have_count(1)
    await expect(page.locator(".tool:visible")).to_have_count(1)
    await page.get_by_role("searchbox").fill("")
    await expect(page.locator("#tools-in-shelf .tool:visible")).to_have_count(0)  # closed, as it was
    await page.get_by_label("Select all shown").click()
    await expect(page.get_by_text(f"{MANY + 11} tools selected")).to_be_visible()
    await page.get_by_role("button", name="Switch off").click()
    await expect(page.locator("#tools-total")).to_contain_text(f"0 of {MANY + 11} tools on")


async def test_enter_in_the_list_switches_nothing(windows: Windows, gateway: Gateway) -> None:
    page = await tools(windows, gateway)
    await page.locator('#tools-in-good input[name="tool"]').nth(1).focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("searchbox").press("Enter")
    await expect(page.locator(".tool[data-off]")).to_have_count(0)
    assert all(method == "GET" for method, _ in windows.requests)


async def test_a_server_that_has_come_is_there_and_what_the_reader_was_about_stays(
    windows: Windows, large: Gateway
) -> None:
    page = await tools(windows, large)
    await page.get_by_role("heading", name="good", exact=True).click()
    await page.locator('#tools-in-good input[name="tool"]').first.click()
    large.servers["late"] = hostile("good")
    large.reconfigure()
    large.reload()
    await expect(page.locator("#tools-head-late")).to_contain_text("11 of 11 on")
    await expect(page.get_by_label("Server", exact=True).get_by_text("late")).to_be_attached()
    await expect(page.locator("#tools-in-good .tool:visible")).to_have_count(11)
    await expect(page.get_by_text("1 tool selected")).to_be_visible()
    del large.servers["late"]
    large.reconfigure()
    large.reload()
    await expect(page.locator("#tools-head-late")).to_have_count(0)
    await expect(page.get_by_text("1 tool selected")).to_be_visible()
