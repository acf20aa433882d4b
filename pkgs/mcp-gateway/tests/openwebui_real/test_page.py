"""Open WebUI's own page calls the gateway: the browser does, for who added it to their own settings."""

import pytest
from playwright.async_api import async_playwright, expect

from tests.openwebui_real.model import Call, Model, words
from tests.openwebui_real.ways import OPENAPI, connection
from tests.openwebui_real.webui import WebUI
from tests.security.cast import Guarded
from tests.ui.browser import launch

PATIENCE_MS = 60_000.0  # the first visit takes Open WebUI a while
SETTINGS = "/api/v1/users/user/settings/update"
pytestmark = pytest.mark.timeout(400)


async def test_the_browser_of_a_person_executes_a_tool_across_origins(
    webui: WebUI, model: Model, gateway: Guarded
) -> None:
    sentence = "What time is it, says the browser?"
    model.teach(
        sentence, Call("time__get_current_time", {"timezone": "Europe/Zurich"}), says="The browser knows."
    )
    own = connection(gateway, OPENAPI)
    # The version is the one whose news they have read.
    webui.ask("POST", SETTINGS, {"ui": {"version": "0.12.4", "toolServers": [own]}})
    heard: list[tuple[str, str, int]] = []
    try:
        async with async_playwright() as playwright:
            browser = await launch(playwright.chromium)
            page = await browser.new_page(locale="en-GB", reduced_motion="reduce")
            page.set_default_timeout(PATIENCE_MS)
            expect.set_options(timeout=PATIENCE_MS)
            page.on(
                "response", lambda answer: heard.append((answer.request.method, answer.url, answer.status))
            )
            await page.goto(f"{webui.url}/")
            await expect(page.locator("#chat-input")).to_be_visible()
            await page.get_by_role("button", name="Integrations").click()
            await page.get_by_role("menuitem", name="Tools").click()
            await page.get_by_role("menuitemcheckbox", name="MCP Gateway: tools of all servers").click()
            await page.keyboard.press("Escape")
            await page.locator("#chat-input").click()
            await page.keyboard.type(sentence)
            await page.keyboard.press("Enter")
            await expect(page.get_by_text("The browser knows.").first).to_be_visible()
            await browser.close()
    finally:
        webui.ask("POST", SETTINGS, {"ui": {"version": "0.12.4"}})
    base = f"http://127.0.0.1:{gateway.port}/tools"
    assert ("GET", f"{base}/openapi.json", 200) in heard
    assert ("POST", f"{base}/time/get_current_time", 200) in heard
    (message,) = (one for one in model.asked(sentence)[-1]["messages"] if one["role"] == "tool")
    assert "Europe/Zurich" in words(message)
