"""The Resources and Prompts pages in a real browser: found, read, got, and gone with their server."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, expect

from tests.harness import Gateway
from tests.ui import stage
from tests.ui.browser import DESKTOP, PHONE, Windows, check_accessible, overflow

SHELF: Final = Path(__file__).parents[1] / "shelf.py"
EVIL: Final = "<img src=x onerror=alert(1)>"
OFFERED: Final[dict[str, Any]] = {
    "capabilities": {"resources": {}, "prompts": {}},
    "resources": [
        {
            "uri": "file:///a b\u200b",
            "name": "plain",
            "title": f"Plain {EVIL}",
            "mimeType": EVIL,
            "size": 1500,
        },
        {"uri": "javascript:alert(1)", "name": "wicked", "description": EVIL},
    ],
    "templates": [{"uriTemplate": "git://{rev}/{+path}{?q}", "name": "a file"}],
    "prompts": [
        {"name": "review/it", "arguments": [{"name": EVIL, "required": True}, {"name": "__proto__"}]},
        {"name": "alone", "title": "Alone"},
    ],
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("shelves")
    offered = directory / "offered.json"
    offered.write_text(json.dumps(OFFERED))
    servers = {"shelf": {"command": sys.executable, "args": [str(SHELF), str(offered)]}}
    with stage.opened(Gateway(servers, directory / "gateway"), "shelf") as gateway:
        yield gateway


async def test_a_resource_is_found_and_read(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(f"{stage.url(gateway)}/ui/resources")
    await check_accessible(page)
    await page.get_by_label("Search name, address, description").fill("plain")
    await expect(page.get_by_role("button", name="Read wicked")).to_be_hidden()
    await page.get_by_role("button", name="Read Plain").click()
    await expect(page.locator("dialog .ended")).to_contain_text("Done")
    await expect(page.get_by_role("heading", name="file:///a b\\u200b")).to_be_visible()
    await check_accessible(page)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    call = gateway.get("/api/calls?method=resources/read").json()["calls"][0]
    assert (call["face"], call["target"]) == ("ui", "file:///a b\u200b")


async def test_a_template_is_filled_in(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(f"{stage.url(gateway)}/ui/resources", width=PHONE)
    assert await overflow(page) == []
    await page.get_by_role("button", name="Read a file").click()
    await expect(page.get_by_role("textbox", name="rev")).to_be_focused()
    await page.get_by_role("textbox", name="rev").fill("a/b")
    await page.get_by_role("textbox", name="path").fill("src/x")
    await page.get_by_role("textbox", name="q", exact=True).fill("1&2")
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator("dialog .ended").wait_for()
    assert await overflow(page) == []
    call = gateway.get("/api/calls?method=resources/read").json()["calls"][0]
    assert call["target"].startswith("git://a%2Fb/src/x")


async def test_a_prompt_is_got_with_its_arguments(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(f"{stage.url(gateway)}/ui/prompts")
    await check_accessible(page)
    await page.get_by_role("button", name="Get review/it").click()
    await page.get_by_role("textbox", name=EVIL).fill("one")
    await page.get_by_role("textbox", name="__proto__").fill("two")
    await page.get_by_role("button", name="Get", exact=True).click()
    await expect(page.locator("dialog .ended")).to_contain_text("Done")
    await expect(page.locator("dialog .ending")).to_contain_text("From the user")
    for words in (EVIL, "one", "__proto__", "two"):
        await expect(page.locator("dialog .ending")).to_contain_text(words)


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
async def test_what_a_server_offers_goes_and_comes_with_it(
    windows: Windows, gateway: Gateway, width: int
) -> None:
    pages = [
        await windows.open(f"{stage.url(gateway)}/ui/{name}", width=width)
        for name in ("resources", "prompts")
    ]
    for page in pages:
        await expect(page.locator("#things li").first).to_be_visible()
    gateway.switch("shelf", False)
    for page in pages:
        await expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
    gateway.switch("shelf", True)
    for page in pages:
        await expect(page.locator("#things li").first).to_be_visible()


async def test_they_can_be_searched_without_scripts(chromium: Browser, gateway: Gateway) -> None:
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    page = await windows.open("/ui/resources")
    await page.get_by_label("Search name, address, description").fill("WICKED")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("#things h3")).to_have_text(["wicked"])
    await windows.close()
