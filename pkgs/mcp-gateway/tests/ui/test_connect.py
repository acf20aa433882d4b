"""Connect in a real browser: what to paste where, for the address by which the page was reached."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from playwright.async_api import Browser, expect

from tests.harness import Gateway, hostile
from tests.ui import stage
from tests.ui.browser import PHONE, Windows, check_accessible, overflow

PUBLIC = "https://gw.example.test"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"good": hostile("good"), "other": hostile("good", title="The other one", enabled=False)}
    with stage.opened(Gateway(servers, tmp_path_factory.mktemp("connect")), "good") as gateway:
        yield gateway


@pytest.fixture
def at(windows: Windows, gateway: Gateway) -> Windows:
    windows.base_url = stage.url(gateway)
    return windows


async def test_one_server_and_one_client_are_chosen_and_stay_chosen(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/connect")
    address = page.locator("dl code").first
    await expect(address).to_have_text(f"{stage.url(gateway)}/mcp")
    await page.get_by_role("heading", name="Cursor").click()
    await expect(page.locator("#client-claude-code .snippet").first).to_be_hidden()
    await expect(page.locator("#client-cursor .snippet").first).to_be_visible()
    assert page.url.endswith("?client=cursor")
    await page.get_by_label("Servers").select_option("Only The other one")
    await expect(address).to_have_text(f"{stage.url(gateway)}/servers/other/mcp")
    await expect(page.locator("#client-cursor .snippet").first).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Servers")).to_have_value("other")
    await expect(page.locator("#client-cursor .snippet").first).to_contain_text("/servers/other/mcp")
    await check_accessible(page)


async def test_what_is_shown_is_what_is_copied(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/connect?client=curl")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for button in (
        page.get_by_role("button", name="Copy the address: MCP, every revision"),
        page.locator("#client-curl .snippet button").first,
    ):
        await button.click()
        await expect(page.locator("#said")).to_contain_text("Copied")
        shown = button.locator("xpath=ancestor::*[@data-copied]").locator("pre, code").first
        assert await page.evaluate("() => navigator.clipboard.readText()") == await shown.inner_text()
        await page.evaluate("() => document.getElementById('said').replaceChildren()")


async def test_links_open_the_client_with_this_very_address(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/connect")
    told = {one["id"]: one for one in gateway.get("/api/connect").json()["clients"]}
    links = {
        client: await page.locator(f"#client-{client} a.btn").get_attribute("href")
        for client, facts in told.items()
        if facts.get("link")
    }
    assert links == {client: told[client]["link"] for client in links}
    assert set(links) >= {"vscode", "cursor"}
    url = f"{stage.url(gateway)}/mcp"
    assert json.loads(unquote(str(links["vscode"]).partition("?")[2]))["url"] == url
    config = parse_qs(urlsplit(str(links["cursor"])).query)["config"][0]
    assert json.loads(base64.b64decode(config))["url"] == url


async def test_an_address_of_many_is_chosen_and_a_key_is_named_where_one_is_needed(
    windows: Windows, other_address: Gateway
) -> None:
    key = "mgk_reader_0123456789abcdefghijklmnop"
    page = await windows.window()
    await page.set_extra_http_headers({"Authorization": f"Bearer {key}"})
    await windows.go(page, f"{stage.url(other_address)}/ui/connect?client=claude-code")
    await page.get_by_label("Address", exact=True).select_option(PUBLIC)
    await expect(page.locator("dl code").first).to_have_text(f"{PUBLIC}/mcp")
    snippet = page.locator("#client-claude-code .snippet").first
    await expect(snippet).to_contain_text(PUBLIC)
    await expect(snippet).to_contain_text("Authorization")
    assert key not in await page.content()


@pytest.fixture(scope="module")
def other_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("public")
    (directory / "key").write_text("mgk_reader_0123456789abcdefghijklmnop\n")
    (directory / "key").chmod(0o600)
    settings = {"publicUrl": PUBLIC, "auth": {"keys": [{"name": "reader", "file": str(directory / "key")}]}}
    credentials = {"Authorization": "Bearer mgk_reader_0123456789abcdefghijklmnop"}

    class Known(Gateway):
        identity = credentials

    with Known({}, directory / "gateway", settings, credentials=credentials) as gateway:
        yield gateway


async def test_it_is_read_on_a_phone_and_without_scripts(chromium: Browser, gateway: Gateway) -> None:
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    page = await windows.open("/ui/connect?client=vscode", width=PHONE)
    await expect(page.locator("#client-vscode .snippet").first).to_be_visible()
    await page.get_by_label("Servers").select_option("good")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator("#client-vscode .snippet").first).to_contain_text("/servers/good/mcp")
    assert await overflow(page) == []
    await windows.check()
    await windows.close()


async def test_an_address_that_is_nobody_of_ours_is_refused(at: Windows) -> None:
    at.allow("404")
    page = await at.open("/ui/connect?url=https://evil.example.test")
    await expect(page.get_by_role("heading", name="Not here")).to_be_visible()
