"""Servers, in a real browser: switched, killed, restarted, read; and another page that sees it happen."""

import html
import itertools
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.harness import Gateway, hostile
from tests.ui import stage
from tests.ui.browser import PHONE, Windows, check_accessible, layout_shift, overflow

BOLD = "<b onmouseover=alert(1)>bold</b>"
# Does not come up while a file is there, so that it can be watched trying.
FLAPPING = """
import pathlib, runpy, sys
directory = pathlib.Path(sys.argv[1])
count = directory / "starts"
starts = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(starts))
print(f"start number {starts}", file=sys.stderr, flush=True)
if (directory / "down").exists():
    sys.exit("no database at db.example.test")
sys.argv = [sys.argv[2], "good"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("servers")
    good = hostile("good")
    script = next(word for word in good["args"] if word.endswith("hostile.py"))
    flapping = {"command": sys.executable, "args": ["-c", FLAPPING, str(directory), script]}
    servers = {
        **{name: entry for name, entry in stage.starter(directory / "starter").items() if name == "git"},
        "good": good,
        "flapping": flapping,
        "bold": hostile("exit", "--code", "3", title=BOLD),
    }
    with stage.opened(Gateway(servers, directory / "gateway"), "git", "good", "flapping") as gateway:
        yield gateway


@pytest.fixture
def at(windows: Windows, gateway: Gateway) -> Windows:
    windows.base_url = stage.url(gateway)
    return windows


async def test_a_switch_is_seen_on_every_page_that_is_open(at: Windows, gateway: Gateway) -> None:
    servers, phone = await at.open("/"), await at.open("/ui/servers/git", width=PHONE)
    await expect(phone.locator("#offers")).to_contain_text("git_status")
    await servers.get_by_role("switch", name="git", exact=True).click()
    row = servers.locator("#server-git")
    await expect(row.get_by_text("off", exact=True)).to_be_visible()
    await expect(row).to_contain_text("switched off here; declared on")
    await expect(phone.locator("#server").get_by_text("off", exact=True)).to_be_visible()
    await expect(phone.locator("#offers")).not_to_contain_text("git_status")
    assert await overflow(phone) == []
    await row.get_by_role("button", name="Back to declared: git").click()
    await expect(row.get_by_text("ready", exact=True)).to_be_visible()
    await expect(row).not_to_contain_text("here; declared")
    await expect(phone.locator("#offers")).to_contain_text("git_status")
    assert gateway.server("git")["override"] is None
    assert await layout_shift(servers) < 0.1


async def test_a_killed_server_is_watched_trying_and_coming_back(at: Windows, gateway: Gateway) -> None:
    down = Path(gateway.servers["flapping"]["args"][2]) / "down"
    down.touch()
    page = await at.open("/")
    row = page.locator("#server-flapping")
    await expect(row.get_by_text("ready", exact=True)).to_be_visible()
    os.kill(gateway.server("flapping")["pid"], signal.SIGKILL)
    # The waits grow from attempt to attempt.
    await expect(row).to_contain_text("it exited with code 1")
    await expect(row).to_contain_text(re.compile(r"waiting.*Attempt \d+ in \d+ s", re.DOTALL))
    await expect(row.locator("[data-until]")).to_have_text(re.compile(r"[1-9]\d* s"))
    down.unlink()
    await row.get_by_role("button", name="Retry now flapping").click()
    await expect(row.get_by_text("ready", exact=True)).to_be_visible()
    await expect(row).not_to_contain_text("Attempt")
    assert await layout_shift(page) < 0.1


async def test_what_a_server_says_is_read_as_it_says_it(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/servers/flapping")
    log = page.locator("#log")
    await expect(log).to_contain_text("start number 1")
    before = await log.locator(".line").count()
    await page.get_by_role("button", name="Restart flapping").click()
    await expect(log.locator(".line")).not_to_have_count(before)
    await expect(page.locator("#server").get_by_text("ready", exact=True)).to_be_visible()
    await expect(page.locator("#facts")).to_contain_text(str(gateway.server("flapping")["pid"]))
    await check_accessible(page)


async def test_a_name_that_is_markup_is_a_name(at: Windows) -> None:
    page = await at.open("/")
    await expect(page.get_by_role("link", name=BOLD)).to_be_visible()
    assert await page.locator("b").count() == 0


async def test_without_scripts_a_switch_is_a_form(chromium: Browser, gateway: Gateway) -> None:
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    page = await windows.open("/")
    await page.get_by_role("switch", name="good", exact=True).click()
    await expect(page.locator("#server-good")).to_contain_text("switched off here")
    await page.get_by_role("button", name="Back to declared: good").click()
    await expect(page.locator("#server-good")).not_to_contain_text("here; declared")
    await windows.check()
    await windows.close()


async def test_an_unknown_server_has_a_page_that_says_so(at: Windows) -> None:
    at.allow("404")
    page: Page = await at.open("/ui/servers/nobody")
    await expect(page.get_by_role("heading", name="Not here")).to_be_visible()


async def test_the_focus_stays_while_the_row_it_is_in_changes(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/")
    row = page.locator("#server-good")
    switch = row.get_by_role("switch")
    await switch.focus()
    for enabled in (False, True):
        gateway.switch("good", enabled)
        await expect(switch).to_have_attribute("aria-checked", str(enabled).lower())
        await expect(switch).to_be_focused()
    await expect(row.get_by_text("ready", exact=True)).to_be_visible()
    await page.keyboard.press("Space")
    await expect(row.get_by_text("off", exact=True)).to_be_visible()
    await expect(switch).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(row.get_by_text("ready", exact=True)).to_be_visible()
    await expect(switch).to_be_focused()
    gateway.request("PATCH", "/api/servers/good", {"enabled": None})


async def test_the_menu_of_a_phone_goes_by_keyboard_and_escape_closes_it(at: Windows) -> None:
    page = await at.open("/", width=PHONE)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    menu = page.get_by_label("Menu")
    await expect(menu).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Activity").locator("visible=true")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Servers").locator("visible=true")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("link", name="Activity").locator("visible=true")).to_have_count(0)
    await expect(menu).to_be_focused()


def is_no_data(line: str) -> bool:
    return not line.startswith("data:")


def test_what_was_written_before_somebody_watches_is_told_as_they_begin_to(gateway: Gateway) -> None:
    lines = gateway.get("/api/servers/flapping/logs").body.decode().splitlines()
    assert lines
    with gateway.open("GET", "/ui/live/servers/flapping", headers={"HX-Request": "true"}) as stream:
        parts = (line.decode() for line in stream)
        first = "".join(itertools.takewhile(str.strip, itertools.dropwhile(is_no_data, parts)))
    shown = re.findall(r"<span>(.*?)</span></div>", first.partition('hx-target="#log"')[2])
    assert [html.unescape(line) for line in shown] == lines


async def test_what_is_switched_shows_in_the_configuration(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/servers/flapping")
    config = page.locator("#config")
    gateway.switch("flapping", False)
    await expect(config).to_contain_text("Switched here, over what is declared: the server off")
    gateway.request("PATCH", "/api/servers/flapping", {"enabled": None})
    await expect(config).not_to_contain_text("Switched here")
