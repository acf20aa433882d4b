"""The windows of the tests see what goes wrong in a page: without that, all other tests here say nothing.

The pages are made up and come from a small web server of this process; a second one is the other host.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.ui.browser import PHONE, Windows, axe, check_accessible, layout_shift, overflow

STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'"
FINE = '<!doctype html><html lang="en"><title>fine</title><main><h1>fine</h1></main>'


@dataclass
class Site:
    """Pages by path, all with the same policy; anything else is 404."""

    pages: dict[str, str]
    port: int = 0
    policy: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        body = self.pages.get(path, "").encode()
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        policy = f"Content-Security-Policy: {self.policy}\r\n" if self.policy else ""
        status = "200 OK" if path in self.pages else "404 Not Found"
        start = f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{start}{policy}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def site() -> AsyncIterator[Site]:
    """Before `windows`, so that it is there for as long as they are open."""
    site = Site({"/favicon.ico": ""})
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site


async def found(windows: Windows) -> str:
    """What `check` says, once something has gone wrong; it is then what the test wanted."""
    with pytest.raises(AssertionError) as said:
        await windows.check()
    windows.allow("")
    return str(said.value)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("<script>console.error('oh no')</script>", "the console: oh no"),
        ("<script>setTimeout(() => { throw Error('thrown') })</script>", "an exception: thrown"),
        ("<script>Promise.reject(Error('rejected'))</script>", "an exception: rejected"),
        ("<script>alert('boo')</script>", "a dialog: alert boo"),
        ("<img src='/missing.png'>", "404"),
        ("<img src='http://localhost:9/x.png'>", "a request to another host: GET http://localhost:9/x.png"),
        ("<script>open('/favicon.ico')</script>", "a window that a page opened"),
    ],
    ids=lambda text: text[:40],
)
async def test_what_a_page_does_wrong_is_seen(windows: Windows, site: Site, body: str, word: str) -> None:
    site.pages["/"] = FINE + body
    page = await windows.window()
    if "open(" in body:
        async with page.expect_popup():
            await windows.go(page, site.url)
    else:
        await windows.go(page, site.url)
    assert word in await found(windows)


@pytest.mark.parametrize(
    ("body", "directive"),
    [
        ("<script>1</script>", "script-src-elem"),
        ("<p onclick='1'>x", "script-src-attr"),
        ("<p style='color: red'>x", "style-src-attr"),
        ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>", "img-src"),
    ],
)
async def test_what_the_policy_stops_is_seen(windows: Windows, site: Site, body: str, directive: str) -> None:
    site.policy, site.pages["/"] = STRICT, FINE + body
    await windows.open(site.url)
    assert f"the policy stopped {directive}" in await found(windows)


async def test_a_page_without_fault_is_fine_and_only_that_is_asked_for(windows: Windows, site: Site) -> None:
    site.policy, site.pages["/"] = STRICT, FINE
    page = await windows.open(site.url)
    await check_accessible(page)  # the policy keeps neither this out
    assert await layout_shift(page) == 0  # nor that
    assert [url for _, url in windows.requests if "favicon" not in url] == [f"{site.url}/"]


async def test_what_people_who_see_nothing_cannot_use_is_found(windows: Windows, site: Site) -> None:
    site.pages["/"] = FINE + "<button></button><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
    page = await windows.open(site.url)
    assert {"button-name", "image-alt"} <= {one["id"] for one in await axe(page)}
    with pytest.raises(AssertionError, match="button-name"):
        await check_accessible(page)


async def test_a_jump_of_the_page_is_measured(windows: Windows, site: Site) -> None:
    site.pages["/"] = FINE + "<p>one<p>two"
    page = await windows.open(site.url)
    assert await layout_shift(page) == 0
    await page.evaluate(
        """() => new Promise((done) => {
          document.querySelector("h1").style.height = "300px";
          new PerformanceObserver(done).observe({ type: "layout-shift", buffered: true });
        })"""
    )
    assert await layout_shift(page) > 0.01


async def test_what_is_too_wide_for_a_phone_is_named(windows: Windows, site: Site) -> None:
    site.pages["/"] = (
        '<!doctype html><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<div id="wide" style="width: 500px">x</div>'
    )
    phone = await windows.open(site.url, width=PHONE)
    assert [one[:14] for one in await overflow(phone)] == ['<div id="wide"']
    desktop = await windows.open(site.url)
    assert await overflow(desktop) == []


async def test_a_phone_and_a_computer_share_no_cookies(windows: Windows, site: Site) -> None:
    site.pages["/"] = FINE
    seen: Mapping[int, list[str]] = {1280: ["first=1"], 800: ["first=1"], PHONE: [""]}
    first = await windows.open(site.url)
    await first.evaluate("() => { document.cookie = 'first=1' }")
    for width, cookies in seen.items():
        page = await windows.open(site.url, width=width)
        assert [await page.evaluate("() => document.cookie")] == cookies


@pytest.mark.parametrize("dark", [False, True])
async def test_light_and_dark_are_as_asked_for(windows: Windows, site: Site, dark: bool) -> None:
    site.pages["/"] = FINE
    page = await windows.open(site.url, dark=dark)
    assert await page.evaluate("() => matchMedia('(prefers-color-scheme: dark)').matches") is dark
