"""A real Chromium on the Tools and Servers pages: long tasks, gaps between frames, and what people wait for.

Owns the steps and what is counted in them; `pages.py` brings the gateways. Without Chromium or Playwright
nothing is measured, and the result says so. The numbers are of a browser without a GPU that shares two CPUs
with the gateway, so they are the worse case.
"""

import asyncio
import importlib.util
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome")  # as the Makefile looks for them
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
WINDOW = {"width": 1280, "height": 800}
PATIENCE_MS = 30_000.0
WORD = "tool_01"  # what is typed; each key narrows what is shown
TOGGLED = 10
WHEEL_PX = 4_000
WHEELS_MAX = 120
TABS = 30
TAB_EVERY_S = 0.2
# In the page, before anything of its own: long tasks, events and how long they took until the next frame,
# gaps between frames, and from a key to the frame that shows what it did.
_COUNT = """
(() => {
  const seen = { tasks: [], events: [], gaps: [], keys: [] };
  globalThis.benchSeen = seen;
  new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({ type: "longtask", buffered: true });
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) {
      if (one.interactionId) seen.events.push(one.duration);
    }
  }).observe({ type: "event", buffered: true, durationThreshold: 16 });
  let last = performance.now();
  const frame = (now) => {
    seen.gaps.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  addEventListener("input", (event) => {
    const began = event.timeStamp;
    requestAnimationFrame(() => setTimeout(() => seen.keys.push(performance.now() - began)));
  }, true);
})();
"""
_TAKE = """() => {
  const seen = { ...globalThis.benchSeen };
  Object.assign(globalThis.benchSeen, { tasks: [], events: [], gaps: [], keys: [] });
  return seen;
}"""


@dataclass(frozen=True)
class Browsed:
    """One step: how many tasks took more than 50 ms, and the worst of everything, in milliseconds.

    `worst_ms` is from a key or a click to the next frame, as INP has it; `key_ms` the median from a key to
    the frame that shows what is found.
    """

    what: str
    long_tasks: int
    longest_ms: float
    gap_ms: float
    worst_ms: float
    key_ms: float | None


def browse(url: str, where: str, tools: int, trace_file: Path | None) -> list[Browsed]:
    """The Tools page: loaded, searched, laid open, scrolled, toggled, selected."""
    return _run(lambda page: _tools(page, url, where, tools), trace_file)


def watch_servers(url: str, what: str, busy: Callable[[], Awaitable[None]]) -> list[Browsed]:
    """The Servers page while `busy` keeps changing it: keys that move from one thing to the next."""
    return _run(lambda page: _servers(page, url, what, busy), None)


def _run(steps: Callable[["Page"], Awaitable[list[Browsed]]], trace_file: Path | None) -> list[Browsed]:
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None or importlib.util.find_spec("playwright") is None:
        return []
    return asyncio.run(_in_chromium(chromium, steps, trace_file))


async def _in_chromium(
    executable: str, steps: Callable[["Page"], Awaitable[list[Browsed]]], trace_file: Path | None
) -> list[Browsed]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            page = await browser.new_page(viewport={"width": WINDOW["width"], "height": WINDOW["height"]})
            page.set_default_timeout(PATIENCE_MS)
            await page.add_init_script(_COUNT)
            if trace_file is not None:
                await browser.start_tracing(page=page, path=trace_file)
            found = await steps(page)
            if trace_file is not None:
                await browser.stop_tracing()
            return found
        finally:
            await browser.close()


async def _tools(page: "Page", url: str, where: str, tools: int) -> list[Browsed]:
    found = []

    async def step(what: str) -> None:
        await page.wait_for_timeout(300)  # entries are told a moment later
        found.append(_browsed(f"{where}, {what}", await page.evaluate(_TAKE)))

    await page.goto(f"{url}/ui/tools")
    await page.locator("#tools[data-own-ready]").wait_for()
    await step("opened")
    heads = page.locator("#tools-groups summary")
    for at in range(min(TOGGLED, await heads.count())):
        await heads.nth(at).click()
        await heads.nth(at).click()
    await step("servers opened and closed")
    search = page.locator("#tools-filter [name=search]")
    await search.focus()
    await page.locator("#tools .tool").nth(tools - 1).wait_for(state="attached")
    await step("all rows fetched")
    for key in WORD:
        await page.keyboard.press(key)
        await page.wait_for_timeout(150)
    await step("a word typed")
    await search.fill("")
    await page.evaluate(
        "() => { for (const one of document.querySelectorAll('.group details')) one.open = true }"
    )
    await step("all laid open")
    await page.mouse.move(600, 400)
    for _ in range(WHEELS_MAX):
        await page.mouse.wheel(0, WHEEL_PX)
        await page.wait_for_timeout(16)
        if await page.evaluate("() => scrollY + innerHeight >= document.documentElement.scrollHeight - 2"):
            break
    await step("scrolled to its end")
    await page.evaluate("() => scrollTo(0, 0)")
    await page.locator('[data-pick="shown"]').click()
    await page.locator("#tools-picked:not([data-empty])").wait_for()
    await step("all selected")
    return found


async def _servers(page: "Page", url: str, what: str, busy: Callable[[], Awaitable[None]]) -> list[Browsed]:
    await page.goto(f"{url}/")
    await page.locator("#servers .server").first.wait_for()
    await page.evaluate(_TAKE)

    async def work() -> None:
        await busy()

    working = asyncio.create_task(work())
    for _ in range(TABS):
        await page.keyboard.press("Tab")
        await asyncio.sleep(TAB_EVERY_S)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await page.wait_for_timeout(300)
    return [_browsed(what, await page.evaluate(_TAKE))]


def _browsed(what: str, seen: dict[str, list[Any]]) -> Browsed:
    return Browsed(
        what,
        len(seen["tasks"]),
        max(seen["tasks"], default=0.0),
        max(seen["gaps"], default=0.0),
        max(seen["events"], default=0.0),
        median(seen["keys"]) if seen["keys"] else None,
    )


def table(browsed: list[Browsed]) -> str:
    if not browsed:
        return "No browser: Chromium or Playwright is not here."
    lines = ["| in Chromium | tasks > 50 ms | longest ms | frame gap ms | interaction ms | key to view ms |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for one in browsed:
        key = "" if one.key_ms is None else f"{one.key_ms:.0f}"
        lines.append(
            f"| {one.what} | {one.long_tasks} | {one.longest_ms:.0f} | {one.gap_ms:.0f} |"
            f" {f'{one.worst_ms:.0f}' if one.worst_ms else ''} | {key} |"
        )
    return "\n".join(lines)
