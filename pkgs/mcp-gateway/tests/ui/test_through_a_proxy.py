"""On a phone, through what stands in for `tailscale serve`: https, and a name that comes from the proxy."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import BrowserType, expect

from tests.identity.recorded import ALICE, NODE, URL
from tests.identity.through_caddy import Stage, behind_caddy
from tests.ui.browser import PHONE, Windows, check_accessible, launch, overflow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with behind_caddy(tmp_path_factory.mktemp("proxy")) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session")
async def phone(driver: BrowserType, stage: Stage) -> AsyncIterator[Windows]:
    """Windows in a Chromium that finds the node's name here, and believes its certificate."""
    place = f"--host-resolver-rules=MAP {NODE.decode()} 127.0.0.1:{stage.ports['SERVE_TLS']}"
    browser = await launch(driver, place, "--ignore-certificate-errors")
    windows = Windows(browser, URL)
    yield windows
    try:
        await windows.check()
    finally:
        await windows.close()
        await browser.close()


async def test_the_page_knows_who_the_proxy_says_it_is(phone: Windows) -> None:
    page = await phone.open("/", width=PHONE)
    await page.get_by_label("Menu").click()
    await expect(page.get_by_text("Ferris Büller").locator("visible=true")).to_be_visible()
    await expect(page.get_by_text(f"tailscale:{ALICE}").locator("visible=true")).to_be_visible()
    assert await overflow(page) == []
    await check_accessible(page)


async def test_it_is_as_good_as_https_for_an_app(phone: Windows) -> None:
    page = await phone.open("/", width=PHONE)
    assert await page.evaluate("() => isSecureContext")
    assert await page.evaluate("async () => (await navigator.serviceWorker.ready).scope") == f"{URL}/"
