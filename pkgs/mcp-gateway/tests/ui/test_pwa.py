"""The pages as an app: Chromium would install it, and has something to show when the gateway is away."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserType, Page, expect

from mcp_gateway.faces.ui import pwa
from tests.harness import Gateway, hostile
from tests.ui import stage
from tests.ui.browser import PHONE, Windows, check_accessible, installable, overflow

# What browsers fetch or open here that is no page of ours.
ELSEWHERE = (
    *("/api/servers", "/api/tools", "/api/calls", "/api/me", "/openapi.json", "/health", "/metrics"),
    *("/mcp", "/servers/good/mcp", "/tools", "/manifest.webmanifest", "/sw.js"),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("pwa"))
    with stage.opened(gateway, "good"):
        yield gateway


async def worked(page: Page) -> None:
    """Waits until the worker that the page has registered is there and every window is its own."""
    await page.evaluate(
        """async () => {
          await navigator.serviceWorker.ready;
          if (navigator.serviceWorker.controller === null) {
            await new Promise((done) => { navigator.serviceWorker.oncontrollerchange = done; });
          }
        }"""
    )


async def test_chromium_would_install_it(driver: BrowserType, gateway: Gateway, tmp_path: Path) -> None:
    async with installable(driver, tmp_path / "profile") as context:
        page = await context.new_page()
        await page.goto(stage.url(gateway))
        session = await context.new_cdp_session(page)
        manifest = await session.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert manifest["url"] == f"{stage.url(gateway)}/manifest.webmanifest"
        assert json.loads(manifest["data"])["name"] == "Axios MCP Gateway"
        app = await session.send("Page.getAppId")
        assert app["appId"] == f"{stage.url(gateway)}/"
        assert (await session.send("Page.getInstallabilityErrors"))["installabilityErrors"] == []


async def test_every_picture_of_the_manifest_is_as_it_says(windows: Windows, gateway: Gateway) -> None:
    answer = gateway.get(pwa.MANIFEST)
    assert answer.headers["content-type"] == "application/manifest+json"
    manifest = answer.json()
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    assert {shot["form_factor"] for shot in manifest["screenshots"]} == {"wide", "narrow"}
    page = await windows.open(stage.url(gateway))
    for picture in (*manifest["icons"], *manifest["screenshots"]):
        answer = gateway.get(picture["src"])
        assert (answer.status, answer.headers["content-type"]) == (200, picture["type"])
        assert "max-age" in answer.headers["cache-control"]
        assert len(answer.body) < 150_000
        sizes = await page.evaluate(
            """async (source) => {
              const image = new Image();
              image.src = source;
              await image.decode();
              return `${image.naturalWidth}x${image.naturalHeight}`;
            }""",
            picture["src"],
        )
        assert sizes == picture["sizes"]


async def test_when_the_gateway_is_away_the_app_says_so_and_tries_again(
    windows: Windows, gateway: Gateway
) -> None:
    page = await windows.open(stage.url(gateway), width=PHONE)
    await worked(page)
    gateway.wanted_port = gateway.port
    gateway.stop()
    try:
        windows.allow("net::ERR_|status of 503|Failed to fetch|network error")  # of what the page hears live
        await page.reload()
        await expect(page.get_by_role("heading", name="The gateway cannot be reached")).to_be_visible()
        assert await overflow(page) == []
        await check_accessible(page)
        assert page.url == f"{stage.url(gateway)}/"
    finally:
        gateway.start()
    await page.get_by_role("link", name="Try again").click()
    await expect(page.get_by_role("heading", name="Servers", exact=True)).to_be_visible()


async def test_the_worker_looks_at_pages_of_ours_and_at_nothing_else(
    windows: Windows, gateway: Gateway
) -> None:
    page = await windows.open(stage.url(gateway))
    await worked(page)
    by_worker: dict[str, bool] = {}
    page.on(
        "response", lambda answer: by_worker.update({urlsplit(answer.url).path: answer.from_service_worker})
    )
    windows.allow("Failed to load resource")  # some of them answer to other methods only
    for path in ("/", "/ui/offline", "/ui/nothing"):
        await windows.go(page, stage.url(gateway) + path)
        assert by_worker[path], f"{path} came without the worker"
    for path in ELSEWHERE:
        await windows.go(page, stage.url(gateway) + path)
        assert not by_worker.pop(path), f"{path} was opened through the worker"
    session = await page.context.new_cdp_session(page)
    await session.send("Page.setBypassCSP", {"enabled": True})  # whatever a page may fetch, now or later
    await windows.go(page, stage.url(gateway))
    for path in (*ELSEWHERE, "/", "/ui/offline"):
        await page.evaluate("async (path) => { await (await fetch(path)).text() }", path)
        assert not by_worker[path], f"{path} was fetched through the worker"


async def test_the_worker_keeps_one_page(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(stage.url(gateway))
    await worked(page)
    kept = await page.evaluate(
        """async () => {
          const kept = {};
          for (const name of await caches.keys()) {
            kept[name] = (await (await caches.open(name)).keys()).map(({ url }) => new URL(url).pathname);
          }
          return kept;
        }"""
    )
    assert list(kept.values()) == [["/ui/offline"]]


async def test_a_new_worker_takes_over_at_once_and_forgets_the_old_page(
    windows: Windows, gateway: Gateway
) -> None:
    page = await windows.open(stage.url(gateway) + pwa.OFFLINE)  # which registers no worker
    await page.evaluate(
        """async () => {
          await caches.open("mcp-gateway-offline-000000000000");
          await caches.open("of-somebody-else");
        }"""
    )
    await windows.go(page, stage.url(gateway))
    await worked(page)
    names: list[Any] = await page.evaluate("() => caches.keys()")
    assert len(names) == 2
    assert "of-somebody-else" in names
    assert "mcp-gateway-offline-000000000000" not in names


def test_another_offline_page_is_another_worker() -> None:
    one, other = pwa.worker("one"), pwa.worker("other")
    assert one != other
    assert "VERSION" not in one
    assert pwa.worker("one") == one


def test_what_must_not_be_kept_by_caches_is_not(gateway: Gateway) -> None:
    for path in (pwa.MANIFEST, pwa.WORKER, pwa.OFFLINE):
        assert gateway.get(path).headers["cache-control"] == "no-cache"


def test_the_worker_may_load_nothing_but_what_is_ours(gateway: Gateway) -> None:
    answer = gateway.get(pwa.WORKER)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'; connect-src 'self'"
