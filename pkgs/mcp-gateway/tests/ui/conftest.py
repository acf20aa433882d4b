"""What every test of the pages gets: Chromium, and windows that are looked through when the test is over.

All of these tests run on one event loop: a browser lives on the loop that started it, and to start one for
each test would cost more than the test.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserType, async_playwright, expect

from tests.ui.browser import PATIENCE_MS, Windows, launch, need_chromium

HERE = Path(__file__).parent

expect.set_options(timeout=PATIENCE_MS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def driver() -> AsyncIterator[BrowserType]:
    """Starts Chromiums."""
    need_chromium()
    async with async_playwright() as playwright:
        yield playwright.chromium


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(driver: BrowserType) -> AsyncIterator[Browser]:
    """The one Chromium of all tests; `windows` keep them apart."""
    browser = await launch(driver)
    yield browser
    await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def windows(chromium: Browser) -> AsyncIterator[Windows]:
    """Windows of this test, in which nothing may go wrong."""
    windows = Windows(chromium)
    yield windows
    try:
        await windows.check()
    finally:
        await windows.close()
