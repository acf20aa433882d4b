"""Draws the icon: every PNG of `PICTURES`, from its SVG, by Chromium. `make icons`.

The pictures are committed, since a machine that builds the gateway needs no browser; `test_icons.py` holds
them against what their SVG looks like today.
"""

import asyncio
import base64
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, async_playwright

from tests.real import PROJECT, REPOSITORY
from tests.ui.browser import launch

SOURCES: Final = PROJECT / "ui" / "icon"
ICONS: Final = PROJECT / "src" / "mcp_gateway" / "faces" / "ui" / "icons"
HOME: Final = REPOSITORY / "home" / "resources" / "pwa-icons"  # home-manager installs these


@dataclass(frozen=True, slots=True)
class Picture:
    source: Path
    pixels: int


_PLAIN, _FULL = SOURCES / "icon.svg", SOURCES / "icon-maskable.svg"
PICTURES: Final[Mapping[Path, Picture]] = {
    ICONS / "icon-192.png": Picture(_PLAIN, 192),
    ICONS / "icon-512.png": Picture(_PLAIN, 512),
    ICONS / "maskable-512.png": Picture(_FULL, 512),
    # iOS cuts the corners itself, and shows what is transparent as black.
    ICONS / "apple-touch-180.png": Picture(_FULL, 180),
    ICONS / "favicon-32.png": Picture(_PLAIN, 32),
    HOME / "axios-mcp-gateway.png": Picture(_PLAIN, 128),
    HOME / "axios-mcp-gateway-256.png": Picture(_PLAIN, 256),
    HOME / "axios-mcp-gateway-512.png": Picture(_PLAIN, 512),
}


def data_uri(path: Path) -> str:
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


async def draw(browser: Browser, picture: Picture) -> bytes:
    """The picture as a PNG."""
    side = picture.pixels
    page = await browser.new_page(viewport={"width": side, "height": side})
    try:
        await page.set_content(
            f'<body style="margin: 0"><img width="{side}" height="{side}" src="{data_uri(picture.source)}">'
        )
        await page.locator("img").evaluate("(img) => img.decode()")
        return await page.screenshot(omit_background=True)
    finally:
        await page.close()


async def main() -> None:
    async with async_playwright() as playwright:
        browser = await launch(playwright.chromium)
        for path, picture in PICTURES.items():
            drawn = await draw(browser, picture)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as fresh:
                fresh.write(drawn)
            Path(fresh.name).chmod(0o644)
            Path(fresh.name).replace(path)
            print(f"{path.relative_to(REPOSITORY)}: {len(drawn)} bytes")
        await browser.close()
    # The favicon of browsers that draw it themselves.
    (ICONS / "icon.svg").write_bytes(_PLAIN.read_bytes())


if __name__ == "__main__":
    asyncio.run(main())
