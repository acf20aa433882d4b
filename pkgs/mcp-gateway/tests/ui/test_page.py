"""The page at `/` in a real browser: every kind of state, on a computer and a phone, light and dark."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.harness import Gateway
from tests.ui import stage
from tests.ui.browser import DESKTOP, PHONE, Windows, check_accessible, overflow


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("page")
    servers = {**stage.starter(directory / "starter"), **stage.cast()}
    with stage.opened(Gateway(servers, directory / "gateway"), "time", "git", "good") as gateway:
        yield gateway


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
async def test_the_page_is_whole_at_every_width_and_in_both_lights(
    windows: Windows, gateway: Gateway, width: int, dark: bool
) -> None:
    page = await windows.open(stage.url(gateway), width=width, dark=dark)
    await expect(page).to_have_title("Servers · MCP Gateway")
    for server in gateway.servers:
        await expect(page.get_by_text(server, exact=True).first).to_be_visible()
    assert await overflow(page) == []
    await check_accessible(page)


async def test_it_can_be_read_without_scripts(chromium: Browser, gateway: Gateway) -> None:
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    page = await windows.open("/")
    await expect(page.get_by_text("good", exact=True).first).to_be_visible()
    await windows.close()
