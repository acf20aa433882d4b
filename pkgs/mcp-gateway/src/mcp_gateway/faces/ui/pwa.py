"""What makes the pages an app to install: manifest, icons, worker, and a page for when the gateway is away.

All of it is public and the same for everybody, so browsers fetch it without credentials, and nothing of it
names a server or a person. The worker keeps one page and looks at one kind of request: a page of ours that a
person opens. Calls, event streams, MCP and downloads never pass through it. See decision 32.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from mcp_gateway.faces.routing import PUBLIC
from mcp_gateway.wire.envelope import encode

NAME: Final = "Axios MCP Gateway"
SHORT_NAME: Final = "MCP Gateway"
MANIFEST: Final = "/manifest.webmanifest"
WORKER: Final = "/sw.js"
OFFLINE: Final = "/ui/offline"
ICONS: Final = "/ui/icons/"
BRAND: Final = "#00747a"  # the icon's ground
GROUND: Final = "#f9fafb"  # of the pages, and of the window while the first of them loads

_FOLDER: Final = Path(__file__).parent / "icons"
_TYPES: Final = {".png": "image/png", ".svg": "image/svg+xml", ".webp": "image/webp"}
# Their names stay when they change, so no browser keeps them for good.
_A_WEEK: Final = "public, max-age=604800"
_ASK_EACH_TIME: Final = "no-cache"


@dataclass(frozen=True, slots=True)
class Screenshot:
    """What a store or an install sheet shows of the app; `make screenshots` takes it."""

    file: str
    width: int
    height: int
    is_wide: bool
    label: str


SCREENSHOTS: Final = (
    Screenshot("wide.png", 1280, 800, True, "The servers, what works and why something does not"),
    Screenshot("narrow.png", 780, 1688, False, "The servers on a phone"),
)
# What `ICONS` serves.
FILES: Final = (
    *(
        "icon.svg",
        "icon-192.png",
        "icon-512.png",
        "maskable-512.png",
        "apple-touch-180.png",
        "favicon-32.png",
    ),
    *(shot.file for shot in SCREENSHOTS),
)


def manifest() -> dict[str, Any]:
    """The manifest. Its `id` is what an installed app is known by: it never changes."""
    return {
        "id": "/",
        "name": NAME,
        "short_name": SHORT_NAME,
        "description": "One door for all your MCP servers: what runs, what it offers, and who called what.",
        "lang": "en",
        "dir": "ltr",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "theme_color": BRAND,
        "background_color": GROUND,
        "categories": ["developer", "productivity", "utilities"],
        "icons": [
            _icon("icon-192.png", 192, "any"),
            _icon("icon-512.png", 512, "any"),
            _icon("maskable-512.png", 512, "maskable"),
        ],
        "screenshots": [
            {
                "src": ICONS + shot.file,
                "sizes": f"{shot.width}x{shot.height}",
                "type": _TYPES[Path(shot.file).suffix],
                "form_factor": "wide" if shot.is_wide else "narrow",
                "label": shot.label,
            }
            for shot in SCREENSHOTS
        ],
    }


def _icon(file: str, side: int, purpose: str) -> dict[str, str]:
    return {"src": ICONS + file, "sizes": f"{side}x{side}", "type": "image/png", "purpose": purpose}


_OFFLINE_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
html { background: light-dark(#f9fafb, #0c1116); color: light-dark(#171717, #fafafa) }
body { display: grid; place-items: center; min-height: 100vh; min-height: 100dvh; margin: 0 }
main { max-width: 26rem; padding: 2rem 1rem; text-align: center }
img { display: block; margin: 0 auto 1.5rem }
h1 { font-size: 1.375rem; line-height: 1.3; margin: 0 0 .5rem }
h1, p { text-wrap: balance }
p { color: light-dark(#525252, #a3a3a3); margin: 0 0 1.5rem }
a { display: inline-block; padding: .625rem 1.25rem; border-radius: .5rem; font-weight: 600 }
a { background: #00747a; color: #ffffff; text-decoration: none }
a:focus-visible { outline: .1875rem solid light-dark(#00747a, #5fd6d6); outline-offset: .1875rem }
""".strip()


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def offline_page(icon: bytes) -> str:
    """The page for when the gateway is away; `icon` is the SVG. All in one, since nothing else will answer.

    It is shown under the address that was asked for, so an empty link leads there again.
    """
    source = f"data:image/svg+xml;base64,{base64.b64encode(icon).decode()}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Not reachable – {SHORT_NAME}</title><style>{_OFFLINE_STYLE}</style></head>"
        f'<body><main><img src="{source}" width="72" height="72" alt="">'
        "<h1>The gateway cannot be reached</h1>"
        "<p>It is not running, or this device has no connection to it.</p>"
        '<a href="">Try again</a></main></body></html>'
    )


_OFFLINE_HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_sha256(_OFFLINE_STYLE)}'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": _ASK_EACH_TIME,
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

# A worker has a policy of its own: it loads nothing but pages of ours.
_WORKER_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; connect-src 'self'",
    "cache-control": _ASK_EACH_TIME,
    "cross-origin-resource-policy": "same-origin",
}
# Pages are asked for while the worker still starts (navigation preload), so that it slows none of them down.
_WORKER: Final = """
"use strict";
const PREFIX = "mcp-gateway-offline-";
const CACHE = PREFIX + "VERSION";
const OFFLINE = "OFFLINE_PATH";

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    await cache.add(new Request(OFFLINE, { cache: "reload", credentials: "omit" }));
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
    }
    await self.registration.navigationPreload?.enable();
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.mode !== "navigate" || request.method !== "GET") return;
  const { pathname } = new URL(request.url);
  if (pathname !== "/" && !pathname.startsWith("/ui/")) return;
  event.respondWith((async () => {
    try {
      return (await event.preloadResponse) ?? (await fetch(request));
    } catch {
      return (await caches.match(OFFLINE, { cacheName: CACHE })) ?? Response.error();
    }
  })());
});
""".lstrip()


def worker(page: str) -> str:
    """The service worker. Another offline page is another worker, so browsers fetch that page anew."""
    version = hashlib.sha256(f"{page}\n{_WORKER}".encode()).hexdigest()[:12]
    return _WORKER.replace("VERSION", version).replace("OFFLINE_PATH", OFFLINE)


def add(router: APIRouter) -> None:
    """The routes.

    Raises:
        OSError: an icon is missing, so the installation is not whole.
    """
    icons: Mapping[str, bytes] = {name: (_FOLDER / name).read_bytes() for name in FILES}
    page = offline_page(icons["icon.svg"])
    fresh = {"cache-control": _ASK_EACH_TIME}
    _serve(router, MANIFEST, encode(manifest()), "application/manifest+json", fresh)
    _serve(router, WORKER, worker(page).encode(), "text/javascript; charset=utf-8", _WORKER_HEADERS)
    _serve(router, OFFLINE, page.encode(), "text/html; charset=utf-8", _OFFLINE_HEADERS)
    for name, content in icons.items():
        # An SVG that is opened as a page is one, and may do nothing.
        headers = {"cache-control": _A_WEEK, "content-security-policy": "default-src 'none'"}
        _serve(router, ICONS + name, content, _TYPES[Path(name).suffix], headers)


def _serve(router: APIRouter, path: str, content: bytes, media_type: str, headers: Mapping[str, str]) -> None:
    @router.get(path, dependencies=[PUBLIC])
    async def answer() -> Response:
        return Response(content, media_type=media_type, headers=headers)
