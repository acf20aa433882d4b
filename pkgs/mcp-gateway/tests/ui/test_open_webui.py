"""Open WebUI on the Connect page, in a real browser: the file, the try, and putting the connection there."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests import canary, leaks
from tests.harness import Gateway, free_port, hostile
from tests.open_webui import EVIL, PLACES, OpenWebUi
from tests.ui import stage
from tests.ui.browser import PHONE, Windows, check_accessible, overflow
from tests.ui.signing import PASSWORD, code_of, with_password

HERE = "/ui/connect?client=open-webui-openapi"
NAME = "gateway.internal:8085"


@pytest.fixture(scope="module")
def nowhere() -> str:
    """An address of the gateway, as its configuration says, where nobody is."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, nowhere: str) -> Iterator[Gateway]:
    port = free_port()
    settings = {"publicUrl": [f"http://{NAME}", f"http://localhost:{port}", nowhere], **with_password()}
    made = Gateway(
        {"good": hostile("good")}, tmp_path_factory.mktemp("open-webui"), settings, wanted_port=port
    )
    with made as gateway:
        yield gateway


@pytest.fixture(scope="module")
def open_webui(gateway: Gateway) -> Iterator[OpenWebUi]:
    planted = canary.make("key-of-open-webui", gateway.token, for_header=True)
    leaks.plant(planted)
    with OpenWebUi(planted.value) as twin:
        yield twin


@pytest_asyncio.fixture(loop_scope="session")
async def at(windows: Windows, gateway: Gateway, open_webui: OpenWebUi) -> AsyncIterator[Windows]:
    """The windows of somebody who has signed in just now, and may administer."""
    open_webui.reset()
    open_webui.names = {NAME: gateway.port}
    windows.base_url = stage.url(gateway)
    windows.allow("401")
    page = await windows.open("/")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").first.click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    await page.close()
    yield windows


async def filled(page: Page, open_webui: OpenWebUi, key: str | None = None) -> None:
    await page.get_by_label("Address of Open WebUI").fill(open_webui.url)
    await page.get_by_label("Key of one of its administrators").fill(key or open_webui.key)


async def test_the_connection_is_downloaded_for_whom_it_is_meant(at: Windows, tmp_path: Path) -> None:
    page = await at.open(HERE)
    client = page.locator("#client-open-webui-openapi")
    for users, grants in (("all users", 1), ("administrators only", 0)):
        await client.get_by_role("link", name=users).click()
        await expect(client.get_by_role("link", name=users)).to_have_attribute("aria-current", "true")
        async with page.expect_download() as started:
            await client.get_by_role("link", name="Download").click()
        download = await started.value
        assert download.suggested_filename == "gateway.json"
        await download.save_as(tmp_path / users)
        found = json.loads((tmp_path / users).read_text())
        assert found == json.loads(await client.locator("pre").first.inner_text())
        assert len(found["config"]["access_grants"]) == grants
    await client.get_by_role("link", name="Write the texts below for it").click()
    await expect(client.locator("pre").first).to_contain_text(f'"url": "http://{NAME}/tools"')
    await page.get_by_label("Servers").select_option("good")
    await expect(client.get_by_role("link", name="administrators only")).to_have_attribute(
        "aria-current", "true"
    )
    await expect(client.locator("pre").first).to_contain_text("/tools/good")


async def test_the_browser_tries_the_address_and_says_what_is_in_its_way(
    at: Windows, gateway: Gateway, nowhere: str
) -> None:
    page = await at.open(HERE)
    found = page.locator("#self-test")
    tools = [one for one in page_tools(gateway) if one["enabled"]]
    await page.get_by_role("button", name="Try it from this browser").click()
    await expect(found).to_contain_text(f"reads {len(tools)} tools")
    await expect(found).to_have_attribute("data-tone", "good")
    at.allow(f"localhost:{gateway.port}")
    at.allow("CORS|ERR_FAILED|another host")
    await page.get_by_label("Address", exact=True).select_option(f"http://localhost:{gateway.port}")
    await expect(page.locator("dl code").first).to_contain_text("localhost")
    await page.get_by_role("button", name="Try it from this browser").click()
    await expect(found).to_contain_text("may not read it (CORS)")
    await expect(found).to_have_attribute("data-tone", "uneasy")
    at.allow("ERR_CONNECTION_REFUSED")
    await page.get_by_label("Address", exact=True).select_option(nowhere)
    await expect(page.locator("dl code").first).to_contain_text(nowhere)
    await page.get_by_role("button", name="Try it from this browser").click()
    await expect(found).to_contain_text("gets no answer")
    await expect(found).to_have_attribute("data-tone", "bad")


def page_tools(gateway: Gateway) -> list[dict[str, object]]:
    code = {"Mcp-Gateway-Code": code_of(gateway)}
    listed: list[dict[str, object]] = gateway.request("GET", "/api/tools", headers=code).json()["tools"]
    return listed


async def test_a_wrong_key_is_told_and_with_the_right_one_it_is_connected(
    at: Windows, gateway: Gateway, open_webui: OpenWebUi
) -> None:
    page = await at.open(HERE)
    await filled(page, open_webui, "sk-wrong")
    answer = page.locator("#pushed")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(answer).to_contain_text("does not accept the key")
    assert open_webui.connections == []
    await filled(page, open_webui)
    await page.get_by_role("button", name="Only check").click()
    await expect(answer).to_contain_text("none with this id yet")
    await expect(answer).to_contain_text("Open WebUI reaches the gateway")
    assert open_webui.connections == []
    await page.get_by_label("For", exact=True).select_option("its administrators only")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(answer).to_contain_text("Open WebUI has the connection")
    (ours,) = open_webui.connections
    gateway.canaries.add("key-that-was-made", ours["key"])
    assert (ours["url"], ours["config"]["access_grants"]) == (f"http://{NAME}/tools", [])
    assert open_webui.key not in await page.content()
    await check_accessible(page)
    await page.goto(f"{stage.url(gateway)}/ui/activity")
    await expect(page.get_by_text("Connected Open WebUI").first).to_be_visible()


async def test_what_open_webui_answers_is_never_on_the_page(at: Windows, open_webui: OpenWebUi) -> None:
    page = await at.open(HERE)
    await filled(page, open_webui)
    open_webui.connections = [{"url": EVIL, "info": {"id": EVIL, "name": EVIL}}]
    answer = page.locator("#pushed")
    for fault, words in (
        ("echo", "refuses the key"),
        ("html", "no Open WebUI"),
        (f"500 at POST {PLACES}/verify", "mistake of its own"),
        (None, "1 other connection"),
    ):
        open_webui.fault = fault
        await page.get_by_role("button", name="Only check").click()
        await expect(answer).to_contain_text(words)
        assert "script" not in await answer.inner_html()


async def test_it_is_put_there_from_a_phone_and_without_scripts(
    chromium: Browser, gateway: Gateway, open_webui: OpenWebUi
) -> None:
    open_webui.reset()
    open_webui.names = {NAME: gateway.port}
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    windows.allow("401")
    windows.allow("400")
    page = await windows.open(HERE, width=PHONE)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").first.click()
    await expect(page.get_by_role("button", name="Try it from this browser")).to_be_hidden()
    assert await overflow(page) == []
    await filled(page, open_webui, "sk-wrong")
    await page.get_by_role("button", name="Only check").click()
    await expect(page.locator("#pushed")).to_contain_text("does not accept the key")
    await expect(page.get_by_label("Address of Open WebUI")).to_have_value(open_webui.url)
    await expect(page.get_by_label("Key of one of its administrators")).to_have_value("")
    await filled(page, open_webui)
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.locator("#pushed")).to_contain_text("Open WebUI has the connection")
    assert len(open_webui.connections) == 1
    assert await overflow(page) == []
    await windows.check()
    await windows.close()


async def test_who_may_not_administer_is_told_how_or_sees_no_form(
    windows: Windows, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Gateway({}, tmp_path_factory.mktemp("open")) as gateway:
        page = await windows.open(f"{stage.url(gateway)}{HERE}")
        await expect(page.get_by_label("Address of Open WebUI")).to_have_count(0)
        await page.get_by_label("One-time code").fill(code_of(gateway))
        await page.get_by_role("button", name="Confirm").click()
        await expect(page.get_by_label("Address of Open WebUI")).to_be_visible()
        await expect(page.get_by_label("Key of the gateway for it")).to_have_count(0)  # it asks nobody
