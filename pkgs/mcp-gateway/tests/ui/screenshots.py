"""Pictures of every page, wide and narrow, light and dark, of a gateway with something to see.

`make screenshots`. `--to FOLDER` puts them elsewhere, `--only WORD` takes those pages alone whose name has
the word in it. `--manifest` takes the two that the manifest shows to people who are about to install the app,
and `--guides` those that pages of `docs/` show; they are committed.
"""

import argparse
import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, async_playwright

from mcp_gateway.faces.ui import pwa
from tests.harness import Gateway, hostile
from tests.real import EVERYTHING, PROJECT, REPOSITORY
from tests.ui import stage
from tests.ui.browser import DESKTOP, HEIGHTS, PHONE, Windows, launch
from tests.ui.drawing import ICONS

FOLDER: Final = PROJECT / "screenshots"
# Name and path; `{call}` is the id of a call that has ended. What does not exist yet is named and left out.
PAGES: Final = (
    ("start", "/"),
    ("servers", "/ui/servers"),
    ("server", "/ui/servers/git"),
    ("server-failed", "/ui/servers/calendar"),
    ("tools", "/ui/tools"),
    ("tool", "/ui/tools/git/git_log"),
    ("tool-form", "/ui/tools/time/convert_time"),
    ("resources", "/ui/resources"),
    ("prompts", "/ui/prompts"),
    ("activity", "/ui/activity"),
    ("call", "/ui/activity/{call}"),
    ("connect", "/ui/connect"),
    ("connect-open-webui", "/ui/connect?client=open-webui-openapi"),
    ("add", "/ui/add"),
    ("access", "/ui/access"),
    ("offline", "/ui/offline"),
)
# Of guides: the file, the page and the part of it.
GUIDES: Final = (
    ("open-webui/gateway-connect.png", "/ui/connect?client=open-webui-openapi", "#client-open-webui-openapi"),
)
USUAL_PORT: Final = 8085  # which people will see on theirs
GUIDE_WIDTH: Final = 1_100
VARIANTS: Final = tuple(itertools.product((DESKTOP, PHONE), (False, True)))  # width, and whether it is dark
SCALES: Final = {DESKTOP: 1, PHONE: 2}
READY_S: Final = 30.0


class Demo(Gateway):
    """A gateway whose configuration is one that a person would write."""

    def secret_env(self, server: str) -> dict[str, Any]:
        return {}


@contextmanager
def demo(directory: Path, port: int = 0) -> Iterator[Demo]:
    """A gateway that has been in use for a while: servers in all states, calls of all outcomes."""
    servers = {
        **stage.starter(directory / "starter"),
        "calendar": hostile("exit", "--code", "3"),
        "mail": hostile("init-error"),
        "search": hostile("never"),
        "backup": hostile("good", enabled=False),
    }
    gateway = Demo(servers, directory / "gateway", wanted_port=port)
    with stage.opened(gateway, "time", "git", "search"):
        gateway.wait_for(
            "calendar", lambda shown: shown["reason"] is not None, READY_S, "says why it does not start"
        )
        if EVERYTHING.exists():
            gateway.wait_for_state("everything", "ready", timeout_s=READY_S)
            gateway.call("everything", "echo", message="Hello")
            gateway.call("everything", "get-sum", a=19, b=23)
        repository = str(directory / "starter" / "repository")
        gateway.call("git", "git_log", repo_path=repository)
        gateway.call("git", "git_status", repo_path=repository)
        gateway.call("git", "git_show", repo_path=repository, revision="nothing")  # the tool refuses
        for zone in ("Europe/Berlin", "Asia/Tokyo", "America/New_York"):
            gateway.call("time", "get_current_time", timezone=zone)
        gateway.call("time", "convert_time", source_timezone="UTC")  # arguments are missing
        gateway.call("calendar", "list_events")  # nobody is there
        # One that runs for as long as the pictures take, for somebody who does not wait for it.
        running = gateway.request(
            "POST", "/api/tools/search/act", {"query": "gateway"}, {"Prefer": "respond-async"}
        )
        assert running.status == 202, running
        yield gateway
        gateway.request("DELETE", f"/api/calls/{running.json()['id']}")


async def take(browser: Browser, gateway: Gateway, folder: Path, only: str) -> list[str]:
    """All pictures into a folder; what went wrong in the pages."""
    call = gateway.records("git")[0]["id"]
    troubles: list[str] = []
    pages = []
    for name, path in ((name, path.format(call=call)) for name, path in PAGES if only in name):
        if gateway.request("GET", path, headers={"Accept": "text/html"}).status == 404:
            print(f"not there: {path}")
        else:
            pages.append((name, path))
    for width, is_dark in VARIANTS:
        windows = Windows(browser, stage.url(gateway), scale=SCALES[width])
        for name, path in pages:
            page = await windows.open(path, width=width, dark=is_dark)
            await page.evaluate("() => document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
            picture = folder / f"{name}-{width}-{'dark' if is_dark else 'light'}.png"
            await page.screenshot(path=picture, full_page=True)
            print(picture)
            await page.close()
        try:
            await windows.check()
        except AssertionError as wrong:
            troubles.append(f"{width} pixels, {'dark' if is_dark else 'light'}: {wrong}")
        await windows.close()
    return troubles


async def take_for_manifest(browser: Browser, gateway: Gateway) -> None:
    """The pictures that `pwa.SCREENSHOTS` names, each as large as it says."""
    for shot in pwa.SCREENSHOTS:
        width = DESKTOP if shot.is_wide else PHONE
        windows = Windows(browser, stage.url(gateway), scale=shot.width / width)
        page = await windows.open("/", width=width)
        await page.screenshot(path=ICONS / shot.file)
        assert shot.height == HEIGHTS[width] * shot.width / width, shot
        print(ICONS / shot.file)
        await windows.close()


async def take_for_guides(browser: Browser, gateway: Gateway) -> None:
    for file, path, part in GUIDES:
        windows = Windows(browser, stage.url(gateway))
        page = await windows.open(path, width=GUIDE_WIDTH)
        picture = REPOSITORY / "docs" / "images" / file
        picture.parent.mkdir(parents=True, exist_ok=True)
        await page.locator(part).screenshot(path=picture)
        print(picture)
        await windows.close()


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--to", type=Path, default=FOLDER)
    parser.add_argument("--only", default="")
    parser.add_argument("--manifest", action="store_true")
    parser.add_argument("--guides", action="store_true")
    wanted = parser.parse_args()
    wanted.to.mkdir(parents=True, exist_ok=True)
    troubles: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="mcp-gateway-screenshots-") as directory,
        demo(Path(directory), USUAL_PORT if wanted.guides else 0) as gateway,
    ):
        async with async_playwright() as playwright:
            browser = await launch(playwright.chromium)
            if wanted.manifest:
                await take_for_manifest(browser, gateway)
            elif wanted.guides:
                await take_for_guides(browser, gateway)
            else:
                troubles = await take(browser, gateway, wanted.to, wanted.only)
            await browser.close()
    for trouble in troubles:
        print(f"WRONG: {trouble}")
    return 1 if troubles else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
