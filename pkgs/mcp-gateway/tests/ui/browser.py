"""One Chromium for all tests of the pages, and windows that notice whatever a page does wrong.

Chromium is the machine's own (`make tests-chromium`); Playwright only drives it. `Windows` opens pages as one
person would on one computer and one phone, and `check` says what must never happen in any of them: an error
on the console, an exception, a dialog, a window nobody asked for, a request to another host, something that
the Content-Security-Policy had to stop, a secret on the screen. Used by tests and by what takes pictures.
"""

import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
)

from tests import leaks
from tests.real import NPM

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")  # as the Makefile looks for them
AXE: Final = NPM / "node_modules" / "axe-core" / "axe.min.js"
PHONE: Final = 390  # CSS pixels; a page of this width or less is on a phone
DESKTOP: Final = 1280
HEIGHTS: Final = {PHONE: 844, DESKTOP: 800}
PATIENCE_MS: Final = 10_000.0  # for one step of a test; nothing here is worth Playwright's 30 s
# Pages of a gateway on loopback and nothing else: neither a GPU nor the network is needed, and nobody is to
# be called. (Playwright leaves the sandbox out unless it is told otherwise, and root has to.)
FLAGS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_LOADED: Final = re.compile(r"https?|wss?")  # schemes that reach a host; the rest is the page's own
# Runs in each document before anything of its own, by the debugger, which no policy binds.
_LISTEN: Final = """
(() => {
  const tell = (what) => { globalThis.tellTest?.(what); };
  document.addEventListener("securitypolicyviolation", (event) => {
    tell(`the policy stopped ${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`);
  });
  globalThis.layoutShifts = [];
  new PerformanceObserver((list) => {
    for (const shift of list.getEntries()) {
      const what = shift.sources.map(({ node }) => node?.nodeType === 1 ? node.outerHTML.slice(0, 200) : "?");
      globalThis.layoutShifts.push({ value: shift.value, expected: shift.hadRecentInput, what });
    }
  }).observe({ type: "layout-shift", buffered: true });
})();
"""
_AXE_RUN: Final = """
axe.run(document, { resultTypes: ["violations"], preload: false }).then(({ violations }) => violations.map(
  ({ id, impact, help, nodes }) =>
    ({ id, impact, help, nodes: nodes.map(({ target, failureSummary }) => ({ target, failureSummary })) })))
"""


def find_chromium() -> str | None:
    """The machine's own Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def need_chromium() -> str:
    """The same; without it a visible skip, or a failure where nothing may be skipped."""
    if found := find_chromium():
        return found
    missing = "Chromium is not here (make test installs it where it can)"
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


async def launch(chromium: BrowserType, *flags: str) -> Browser:
    """A Chromium of its own, with a profile that is new and forgotten afterwards."""
    return await chromium.launch(executable_path=need_chromium(), args=[*FLAGS, *flags])


@asynccontextmanager
async def installable(chromium: BrowserType, profile: Path, *flags: str) -> AsyncIterator[BrowserContext]:
    """A Chromium whose windows are no incognito ones, since apps cannot be installed from those."""
    context = await chromium.launch_persistent_context(
        profile, executable_path=need_chromium(), args=[*FLAGS, *flags]
    )
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context
    finally:
        await context.close()


class Windows:
    """The windows of one test, and what went wrong in any of them.

    Those of a phone's width are on another device than the others: they share no cookies, and are touched
    instead of clicked.
    """

    def __init__(
        self, browser: Browser, base_url: str = "", *, scripts: bool = True, scale: float = 1
    ) -> None:
        """Without `scripts` they are as where those are switched off; `scale` is pixels per CSS pixel."""
        self.base_url = base_url  # where a path of `open` leads: the gateway of the test
        self.requests: list[tuple[str, str]] = []  # method and URL, in order
        self.pages: list[Page] = []
        self._browser = browser
        self._scripts = scripts
        self._scale = scale
        self._devices: dict[bool, BrowserContext] = {}
        self._hosts: set[str] = set()
        self._troubles: list[str] = []
        self._allowed: list[re.Pattern[str]] = []
        self._agreed: list[str] = []

    async def open(self, url: str, *, width: int = DESKTOP, dark: bool = False, motion: bool = False) -> Page:
        """A new window at `url`, or at a path of `base_url`, once it is loaded; otherwise as `window`."""
        page = await self.window(width=width, dark=dark, motion=motion)
        await self.go(page, url)
        return page

    async def window(self, *, width: int = DESKTOP, dark: bool = False, motion: bool = False) -> Page:
        """An empty window; without `motion` as for people who ask for less of it, so nobody waits for it."""
        page = await (await self._device(width <= PHONE)).new_page()
        self.pages.append(page)
        await page.set_viewport_size({"width": width, "height": HEIGHTS.get(width, HEIGHTS[DESKTOP])})
        await page.emulate_media(
            color_scheme="dark" if dark else "light", reduced_motion="no-preference" if motion else "reduce"
        )
        return page

    async def go(self, page: Page, url: str) -> None:
        url = url if _LOADED.match(url) else self.base_url + url
        self._hosts.add(urlsplit(url).netloc)
        await page.goto(url)

    def allow(self, trouble: str) -> None:
        """From now on, troubles in which this regular expression is found are what the test wants."""
        self._allowed.append(re.compile(trouble))

    def agree(self, words: str) -> None:
        """From now on, a question of the page that begins with these words is answered by yes."""
        self._agreed.append(words)

    async def check(self) -> None:
        """Says all that went wrong so far.

        Raises: AssertionError.
        """
        for page in self.pages:
            if not page.is_closed():
                # Also a round trip: what the page had told before it has arrived after it.
                leaks.hear((await page.content()).encode(), f"the page {urlsplit(page.url).path}")
        wrong = [one for one in self._troubles if not any(allowed.search(one) for allowed in self._allowed)]
        assert not wrong, "\n".join(wrong)

    async def close(self) -> None:
        for context in self._devices.values():
            await context.close()
        self._devices.clear()

    async def _device(self, is_phone: bool) -> BrowserContext:
        if is_phone not in self._devices:
            context = await self._browser.new_context(
                is_mobile=is_phone,
                has_touch=is_phone,
                device_scale_factor=self._scale,
                java_script_enabled=self._scripts,
                locale="en-GB",
                timezone_id="UTC",
            )
            context.set_default_timeout(PATIENCE_MS)
            await context.expose_binding("tellTest", lambda source, what: self._tell(what, source["page"]))
            await context.add_init_script(_LISTEN)
            context.on("console", self._on_console)
            context.on("weberror", lambda error: self._tell(f"an exception: {error.error}", error.page))
            context.on("dialog", self._on_dialog)
            context.on("request", self._on_request)
            context.on("page", self._on_page)
            self._devices[is_phone] = context
        return self._devices[is_phone]

    def _tell(self, what: str, page: Page | None) -> None:
        self._troubles.append(f"{what} (at {page.url if page else 'no page'})")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self._tell(f"the console: {message.text} {message.location.get('url', '')}", message.page)

    async def _on_dialog(self, dialog: Dialog) -> None:
        if dialog.type == "confirm" and dialog.message.startswith(tuple(self._agreed)):
            await dialog.accept()
            return
        self._tell(f"a dialog: {dialog.type} {dialog.message}", dialog.page)
        await dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        self.requests.append((request.method, request.url))
        if _LOADED.fullmatch(parts.scheme) and parts.netloc not in self._hosts:
            self._troubles.append(f"a request to another host: {request.method} {request.url}")

    async def _on_page(self, page: Page) -> None:
        if await page.opener() is not None:
            self.pages.append(page)
            self._tell("a window that a page opened", page)


async def layout_shift(page: Page) -> float:
    """How much of the page has jumped since it was opened (CLS, unweighted by session windows).

    What moves within half a second after a person's own click or key is not counted, as Chromium counts it.
    """
    shifts: list[dict[str, Any]] = await page.evaluate("() => globalThis.layoutShifts")
    return float(sum(shift["value"] for shift in shifts if not shift["expected"]))


async def axe(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds wrong with the page for people who cannot see it, or use a mouse."""
    session = await page.context.new_cdp_session(page)
    try:
        # By the debugger: the page's own policy would refuse a script that is not the gateway's.
        await session.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        answer = await session.send(
            "Runtime.evaluate", {"expression": _AXE_RUN, "awaitPromise": True, "returnByValue": True}
        )
    finally:
        await session.detach()
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    found: list[dict[str, Any]] = answer["result"]["value"]
    return found


async def check_accessible(page: Page) -> None:
    """axe-core finds nothing serious or critical.

    Raises: AssertionError, with rule, place and what would help.
    """
    wrong = [one for one in await axe(page) if one["impact"] in ("serious", "critical")]
    assert not wrong, f"{page.url}: {json.dumps(wrong, indent=1)}"


async def overflow(page: Page) -> list[str]:
    """What makes the page wider than its window, outermost first; nobody likes to scroll a phone sideways."""
    found: list[str] = await page.evaluate(
        """() => {
          const root = document.documentElement;
          if (root.scrollWidth <= root.clientWidth) return [];
          return [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > root.clientWidth + 0.5)
            .map((one) => one.outerHTML.slice(0, 200));
        }"""
    )
    return found
