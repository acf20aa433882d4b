"""Pictures of the pages of Open WebUI that a person goes through, for `docs/open-webui.md`.

`make openwebui-pictures`. They are of a real Open WebUI and of a gateway at its usual port, which has to be
free, and are committed. `--to FOLDER` puts them elsewhere.
"""

import argparse
import asyncio
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Locator, Page, async_playwright, expect

from tests.openwebui_real.model import Call, Model
from tests.openwebui_real.webui import WebUI
from tests.real import REPOSITORY
from tests.security.cast import Guarded
from tests.ui import stage
from tests.ui.browser import launch

FOLDER: Final = REPOSITORY / "docs" / "images" / "open-webui"
PORT: Final = 8085
SIZE: Final = {"width": 1000, "height": 720}
BYTES_MAX: Final = 120_000
PATIENCE_MS: Final = 60_000.0  # the first visit of each page takes Open WebUI a while
READY_S: Final = 60.0
QUESTION: Final = "What time is it in Zurich?"
NAME: Final = "Gateway"  # of the connection


class Shown(Guarded):
    """A guarded gateway whose configuration is one that a person would write."""

    def secret_env(self, server: str) -> dict[str, Any]:
        return {}


def tell_time(results: list[str]) -> str:
    when = datetime.fromisoformat(json.loads(results[0])["datetime"])
    return f"In Zurich it is {when:%H:%M} on {when:%A}."


class Camera:
    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self._folder = folder

    async def take(self, name: str, *there: Locator) -> None:
        """A picture once all these are there and nothing moves any more."""
        for one in there:
            await expect(one.first).to_be_visible()
        await self.page.evaluate(
            "() => Promise.allSettled(document.getAnimations()"
            ".filter((one) => one.effect?.getComputedTiming().endTime < Infinity).map((one) => one.finished))"
        )
        path = self._folder / f"{name}.png"
        await self.page.screenshot(path=path)
        assert path.stat().st_size < BYTES_MAX, f"{path} has {path.stat().st_size} bytes"
        print(path)


async def upload(page: Page, button: Locator, file: Path) -> None:
    async with page.expect_file_chooser() as chosen:
        await button.click()
    await (await chosen.value).set_files(file)


async def quiet(page: Page) -> None:
    """What Open WebUI said in the corner has gone by itself."""
    await expect(page.get_by_role("button", name="Close toast")).to_have_count(0)


async def connect(camera: Camera, webui: WebUI, gateway: Guarded, directory: Path) -> None:
    """Settings: the connection as the gateway gives it, imported, verified and saved."""
    page = camera.page
    file = directory / "connection.json"
    file.write_bytes(gateway.get("/api/openwebui/connection?way=openapi").body)
    await page.goto(f"{webui.url}/admin/settings/integrations")
    await expect(page.get_by_text("External Tool Servers", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Add Connection").first.click()
    await upload(page, page.get_by_role("button", name="Import"), file)
    dialog = page.get_by_role("dialog").last
    await dialog.get_by_role("textbox", name="API Key").fill(gateway.texts["caller"])
    await dialog.get_by_role("button", name="Verify Connection").click()
    await camera.take("connection", page.get_by_text("Connection successful"))
    await dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("dialog", name="Settings").get_by_text(NAME)
    await expect(row.first).to_be_visible()
    await quiet(page)
    await camera.take("integrations", row)


async def chat(camera: Camera, webui: WebUI) -> None:
    """A chat in which the connection is switched on, and a tool of it runs."""
    page = camera.page
    await page.goto(f"{webui.url}/")
    await expect(page.locator("#chat-input")).to_be_visible()
    await page.get_by_role("button", name="Integrations").click()
    await page.get_by_role("menuitem", name="Tools").click()
    await page.get_by_role("menuitemcheckbox", name=NAME).click()
    await camera.take("chat-tools", page.get_by_role("button", name="Available Tools"))
    await page.keyboard.press("Escape")
    await page.locator("#chat-input").click()
    await page.keyboard.type(QUESTION)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("In Zurich it is").first).to_be_visible()
    await page.get_by_role("button", name="View Result from").click()
    await camera.take("chat", page.get_by_text("is_dst"))


async def code(camera: Camera, webui: WebUI, gateway: Guarded, directory: Path) -> None:
    """The workspace: the tools as code, imported, with their valves."""
    page = camera.page
    file = directory / "tools.json"
    file.write_bytes(gateway.get("/api/openwebui/functions").body)
    await page.goto(f"{webui.url}/workspace/tools")
    await page.get_by_role("button", name="Open create menu").click()
    choice = page.get_by_role("button", name="Import JSON")
    await camera.take("code-import", choice)
    await upload(page, choice, file)
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_text("time (gateway)").first).to_be_visible()
    await quiet(page)
    await page.get_by_role("button", name="Valves").first.click()
    dialog = page.get_by_role("dialog").last
    await dialog.get_by_role("button", name="Default").nth(1).click()
    await dialog.get_by_role("textbox").last.fill(gateway.texts["caller"])
    await camera.take("code-valves", dialog.get_by_role("button", name="Custom"))


async def take(webui: WebUI, gateway: Guarded, directory: Path, folder: Path) -> None:
    # Nobody has to read first what is new in this version.
    webui.ask("POST", "/api/v1/users/user/settings/update", {"ui": {"version": "0.12.4"}})
    async with async_playwright() as playwright:
        browser = await launch(playwright.chromium)
        context = await browser.new_context(
            viewport={"width": SIZE["width"], "height": SIZE["height"]},
            locale="en-GB",
            timezone_id="UTC",
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        camera = Camera(await context.new_page(), folder)
        try:
            await connect(camera, webui, gateway, directory)
            await chat(camera, webui)
            await code(camera, webui, gateway, directory)
        except BaseException:
            await camera.page.screenshot(path=directory.parent / "openwebui-pictures-failed.png")
            raise
        finally:
            await browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make openwebui-pictures", description=__doc__)
    parser.add_argument("--to", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().to
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mcp-gateway-pictures-") as name:
        directory = Path(name)
        gateway = Shown(
            stage.starter(directory / "starter"),
            directory / "gateway",
            wanted_port=PORT,
            keys={"caller": {"rights": ["read", "call"]}},
        )
        with stage.opened(gateway, "time", "git"), Model() as model:
            model.teach(
                QUESTION, Call("time__get_current_time", {"timezone": "Europe/Zurich"}), says=tell_time
            )
            with WebUI(directory / "webui", model.url) as webui:
                asyncio.run(take(webui, gateway, directory, folder))


if __name__ == "__main__":
    main()
