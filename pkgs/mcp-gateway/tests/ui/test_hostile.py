"""S30, S32: whatever a server, a client or a paste says is text, on every page and while the pages change.

`evil.py` has a payload wherever a page could show one. In no window there may be a dialog, a request that no
page of ours makes, an exception, a word on the console, a report of the policy, or anything in the document
that is not ours (`inspecting.py`).
"""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.harness import Gateway
from tests.ui import evil, stage
from tests.ui.browser import Windows
from tests.ui.inspecting import Inspector
from tests.ui.test_activity import connect

TITLE = "'\"><img src=x onerror=alert(1)><div hx-get=/ui/canary-title hx-trigger=load>\u202e{{7*7}}</title>"
# No word of a command line holds a null byte.
# No word of a command line holds a null byte.
HIDING = [name for name in evil.PAYLOADS if not name.isprintable() and "\x00" not in name]
SCRIPT = str(Path(evil.__file__))
# All that pages of ours ask for.
PLACES = (
    r"(static|icons|live|nothing)/.+|(servers|tools|activity|access)(/.+)?|add(/.+)?"
    r"|resources|prompts|connect|offline"
)
TWINS = r"api/(tools|resources|prompts|calls|stats)\b.*"
ASKED = re.compile(rf"/|/(ui/({PLACES})|manifest\.webmanifest|sw\.js|{TWINS})")
OPEN_ALL = """
() => {
  for (let round = 0; round < 12; round += 1) {
    for (const details of document.querySelectorAll(":is(#outcome, .schema) details:not([open])")) {
      details.open = true;
    }
    for (const button of document.querySelectorAll("#outcome .tree > details > button")) {
      button.click();
    }
  }
}
"""


def served(way: str, **config: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", "-S", SCRIPT, way], "title": TITLE, **config}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {way: served(way) for way in ("offer", "ask", "refuse", "leave")}
    settings = {"activity": {"payloads": "memory"}}
    gateway = Gateway(servers, tmp_path_factory.mktemp("hostile"), settings)
    with stage.opened(gateway, "offer", "ask"):
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def at(windows: Windows, gateway: Gateway) -> AsyncIterator[Windows]:
    """Windows in which nothing may be asked for but what our own pages ask for, and no policy broken."""
    windows.base_url = stage.url(gateway)
    yield windows
    for method, url in windows.requests:
        path = urlsplit(url).path
        assert url.startswith(("data:", "blob:")) or ASKED.fullmatch(path), f"{method} {url}"
        assert "canary" not in path.partition("%3C")[0], f"{method} {url}"
    assert "a browser reports" not in gateway.log.read_text()


inspector = Inspector()


def tool(name: str, server: str = "offer") -> str:
    return f"/ui/tools/{server}/{quote(name, safe='')}"


async def run(page: Page) -> None:
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator("#outcome .ended")).to_be_visible()
    await page.evaluate(OPEN_ALL)
    await inspector.check(page)


async def test_S32_servers_are_shown_and_change_as_text(at: Windows, gateway: Gateway) -> None:
    servers, offer = await at.open("/"), await at.open("/ui/servers/offer")
    await expect(servers.get_by_role("link", name="<img src=x onerror=alert(1)>").first).to_be_visible()
    for path in ("/ui/servers/refuse", "/ui/servers/leave", "/ui/access", "/ui/nothing/%3Cb%3E\u202e"):
        at.allow("404")
        await inspector.check(await at.open(path))
    gateway.call("offer", "tells")
    gateway.call("offer", "changes")
    await expect(offer.locator("#offers")).to_contain_text("new-1")
    await expect(offer.locator("#log")).to_contain_text("one\\x0d\\x0ddata:")
    gateway.call("offer", "ends")
    await servers.locator("#server-offer").get_by_role("button", name=re.compile("Restart|Retry")).click()
    await expect(servers.locator("#server-offer .state")).to_have_text("ready")
    for page in (servers, offer):
        await inspector.check(page)
    switch = servers.locator("#server-leave").get_by_role("switch")
    await switch.click()
    await expect(switch).to_have_attribute("aria-checked", "false")
    await expect(servers.locator("#server-leave .state")).to_have_text("off")
    await inspector.check(servers)


async def test_S30_a_list_of_tools_is_names_and_words(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/tools")
    await expect(page.locator("#tools-in-offer .tool")).to_have_count(len(gateway_tools(gateway)))
    await inspector.check(page)
    name = evil.PAYLOADS[0]
    await page.get_by_role("searchbox").fill(name)
    row = page.locator("#tools-in-offer .tool", has=page.get_by_role("link", name=name, exact=True))
    await expect(row).to_be_visible()
    for word in ("false", "true"):
        await row.get_by_role("switch").click()
        await expect(row.get_by_role("switch")).to_have_attribute("aria-checked", word)
    gateway.call("offer", "changes")
    await page.get_by_role("searchbox").fill("")
    await expect(page.get_by_role("link", name="new-1")).to_be_visible()
    await inspector.check(page)
    await row.get_by_role("link").click()
    await expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    await inspector.check(page)


def gateway_tools(gateway: Gateway) -> list[Any]:
    found: list[Any] = gateway.get("/api/tools?server=offer").json()["tools"]
    return found


async def test_S30_a_form_is_made_of_text(at: Windows) -> None:
    page = await at.open(tool("schema"))
    await expect(page.locator("#form .fields").first).to_be_visible()
    await inspector.check(page)
    chips = page.locator("#form > * .more").last.get_by_role("button")
    for _ in range(6):
        await chips.first.click()
    await inspector.check(page)
    await page.locator("#as summary").click()
    await run(page)
    await page.get_by_role("button", name="JSON", exact=True).click()
    value = json.loads(await page.locator("#raw-text").input_value())
    for name in {*evil.PAYLOADS}.intersection(evil.schema()["required"]):
        assert value[name] == name
    await page.get_by_role("button", name="Form", exact=True).click()
    await inspector.check(page)


def shell_words(command: str) -> list[str]:
    """What a shell makes of a command line, which holds nothing that a terminal would obey."""
    assert all(piece.isprintable() for piece in command.split("\n"))
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    return told.stdout.decode().split("\0")[:-1]


async def test_what_is_chosen_arrives_byte_for_byte(at: Windows) -> None:
    page = await at.open(tool("echo"))
    boxes = page.locator("#form select")
    await expect(boxes).to_have_count(len(evil.CHOICES))
    for number in range(len(evil.CHOICES)):
        await boxes.nth(number).select_option(index=number)
    free = "<b>&amp;\n\"'{{ 7*7 }} é\u202e"
    await page.locator("#form textarea").fill(free)
    await page.locator("#as summary").click()
    await run(page)
    for how in ("curl", "cli"):
        words = shell_words(await page.locator(f"#as-{how}").text_content() or "")
        body = words[-1]
        assert body.isprintable()
        assert json.loads(body) == {one: one for one in evil.CHOICES} | {"free": free}
    await page.locator("#outcome").get_by_role("button", name="As text").click()
    shown = json.loads(await page.locator("#outcome .textual pre").inner_text())
    assert shown == {one: one for one in evil.CHOICES} | {"free": free}


async def test_S30_results_are_drawn_as_text(at: Windows) -> None:
    at.allow(r"status of (409|502|503)")
    page = await at.open(tool("results"))
    await run(page)
    await expect(page.locator("#outcome img")).to_have_count(1)
    for name in HIDING:
        await at.go(page, tool(name))
        await page.locator("#as summary").click()
        # Opened, it is drawn with the next frame; what is there to copy is there at once.
        await expect(page.locator("#as-cli")).not_to_be_empty()
        command = await page.locator("#as-cli").text_content() or ""
        assert shell_words(command)[-2:] == [f"offer/{name}", "{}"]
    for name in ("tells", "fails", "refuses", "ends"):
        await at.go(page, tool(name))
        await run(page)
    await at.go(page, tool("asks", "ask"))
    await run(page)
    await expect(page.locator("#outcome")).to_contain_text("What it asks for")


@pytest.mark.parametrize("name", ["half", "deep", "wide", "circles", "numbers"])
async def test_S36_a_schema_that_is_hard_to_draw_has_a_page(at: Windows, name: str) -> None:
    page = await at.open(tool(name))
    await expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()
    await page.evaluate(OPEN_ALL)
    await inspector.check(page)


async def test_S30_what_is_read_and_got_is_drawn_as_text(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/resources")
    await inspector.check(page)
    things = page.locator("#things li")
    for uri in ("javascript:alert(1)", "x://half", "{javascript:alert(1)}"):
        await things.filter(has_text=uri).first.get_by_role("button").click()
        if "{" in uri:
            await page.locator("#reader-form textarea").first.fill("<b>/../x")
            await page.locator("#reader-form button").click()
        await expect(page.locator("#reader-outcome .ended")).to_be_visible()
        await inspector.check(page)
        await page.get_by_role("button", name="Close").click()
    gateway.call("offer", "changes")
    await at.go(page, "/ui/prompts")
    await inspector.check(page)
    await things.filter(has_text="asks").last.get_by_role("button").click()
    await inspector.check(page)
    fields = page.locator("#reader-form textarea")
    for number in range(await fields.count() - 1):  # half a character is no argument
        await fields.nth(number).fill(evil.PAYLOADS[number].replace("\x00", ""))
    await page.locator("#reader-form button").click()
    await expect(page.locator("#reader-outcome .ended")).to_be_visible()
    await inspector.check(page)


async def test_S30_activity_is_text(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/activity")
    for payload in evil.PAYLOADS[:3]:
        connect(gateway, payload)
    ids = []
    for name in ("results", "refuses", evil.PAYLOADS[22], "nobody <img src=x onerror=alert(1)>"):
        answer = gateway.call("offer", quote(name, safe=""), **{evil.PAYLOADS[0]: evil.ALL})
        ids.append(answer.call_id)
        await expect(page.locator(f"#call-{answer.call_id}")).to_be_visible()
    await inspector.check(page)
    for call_id in ids:
        await at.go(page, f"/ui/activity/{call_id}")
        await inspector.check(page)
    asked = f"?server=offer&tool={quote(evil.ALL[:900])}&caller={quote(TITLE)}"
    await inspector.check(await at.open(f"/ui/activity{asked}"))


async def test_S30_what_is_pasted_and_connected_is_text(at: Windows) -> None:
    page = await at.open("/ui/connect")
    await inspector.check(page)
    await page.get_by_label("Servers").select_option("offer")
    await expect(page.locator("dl.panel")).to_contain_text("/servers/offer/mcp")
    await inspector.check(page)
    await at.go(page, "/ui/add")
    servers = {one: {"command": one, "args": [one], "env": {one: one}, one: one} for one in evil.PAYLOADS}
    urls = {f"u{number}": {"url": one, "headers": {one: one}} for number, one in enumerate(evil.PAYLOADS)}
    commands = (*evil.PAYLOADS[:3], "</textarea><img src=x onerror=alert(1)>", "javascript:alert(1)")
    for text in (json.dumps({"mcpServers": servers | urls, evil.ALL: 1}), *commands, "{" + TITLE):
        await page.locator("#text").fill(text)
        await page.locator("#name").fill(TITLE.replace("\u202e", ""))
        async with page.expect_response("**/ui/add/check"):
            await page.get_by_role("button", name="See what it runs").click()
        await expect(page.locator("#proposal > *, #said > *").first).to_be_attached()
        await inspector.check(page)
