"""The Activity page: read as it comes, and used in a real browser while calls come in."""

import html
import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, expect

from mcp_gateway.faces.ui.activity import ROWS
from tests.faces.knocking import BOTH_KINDS, Mcp, check_log
from tests.harness import Answer, Gateway, hostile, until
from tests.security.cast import Guarded, wait_ready
from tests.ui import stage
from tests.ui.browser import DESKTOP, PHONE, Windows, check_accessible, layout_shift, overflow

NASTY = '<img src=x onerror=alert(1)>"\' hx-get="/x" {{7*7}} &amp; \u202eabc'
BATCH = 50
PLAIN = {"Accept": "text/html"}
COUNT_SWAPS = """
() => {
  globalThis.swaps = 0;
  document.addEventListener("htmx:after:swap", () => { globalThis.swaps += 1; });
}
"""
_ROW = re.compile(r'<tr id="call-([0-9a-f]+)".*?</tr>', re.DOTALL)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"good": hostile("good"), "other": hostile("good", payloads="off")}
    with stage.opened(Gateway(servers, tmp_path_factory.mktemp("activity")), "good", "other") as gateway:
        yield gateway
        check_log(gateway)


def shown(gateway: Gateway, query: str = "") -> str:
    answer = gateway.request("GET", f"/ui/activity{query}", headers=PLAIN)
    assert answer.status == 200, answer
    return answer.body.decode()


def ids(page: str) -> list[str]:
    return _ROW.findall(page)


def row(page: str, call_id: str | None) -> str:
    """The text of a row's cells, without markup, as it stands in the source."""
    found = next(match[0] for match in _ROW.finditer(page) if match[1] == call_id)
    return re.sub(r"<[^>]*>", "", found)


def start(gateway: Gateway, server: str, tool: str, **arguments: Any) -> str:
    answer = gateway.request("POST", f"/api/tools/{server}/{tool}", arguments, {"Prefer": "respond-async"})
    return str(answer.json()["id"])


def connect(gateway: Gateway, name: str) -> None:
    asked = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": name, "version": "1"},
    }
    answer = gateway.request("POST", "/mcp", Mcp.message("initialize", asked, 0), {"Accept": BOTH_KINDS})
    assert answer.status == 200, answer


def flood(gateway: Gateway, calls: int) -> None:
    """As many calls as fast as one client can make them, in batches."""
    session = Mcp(gateway, revision="2025-03-26")
    params = {"name": "good__echo", "arguments": {"text": "x"}}
    for first in range(0, calls, BATCH):
        batch = [Mcp.message("tools/call", params, first + number) for number in range(BATCH)]
        answer = session.post(b"[" + b",".join(batch) + b"]")
        assert answer.body.count(b'"result"') == BATCH, answer


# -- as it comes ----------------------------------------------------------------------------------------


def test_each_filter_shows_what_the_api_shows_for_it(gateway: Gateway) -> None:
    gateway.call("good", "echo", text="x")
    gateway.call("good", "fail")
    gateway.call("other", "echo", text="x")
    gateway.call("good", quote(NASTY, safe=""))
    gateway.request("POST", "/api/reload")
    queries = (
        *("", "?server=good", "?tool=echo", "?caller=local", "?caller=nobody", "?face=mcp"),
        *("?outcome=tool_error", "?kind=calls", "?kind=actions", "?action=reload", "?method=tools/call"),
        f"?tool={quote(NASTY)}&outcome=unknown",
    )
    for query in queries:
        page = shown(gateway, query)
        listed = gateway.get(f"/api/calls{query}").json()["calls"]
        assert ids(page) == [call["id"] for call in listed], query
        assert html.escape(f"/api/calls/export{query or '?'}".split("?")[0]) in page
    assert ids(shown(gateway, "?last=15m")) == ids(shown(gateway))
    assert ids(shown(gateway, "?until=2020-01-01T00:00")) == []


def test_an_export_is_of_what_is_filtered(gateway: Gateway) -> None:
    gateway.call("good", "fail")
    page = shown(gateway, "?outcome=tool_error&server=good")
    link = re.search(r'href="(/api/calls/export[^"]*format=jsonl[^"]*)"', page)
    assert link is not None
    exported = gateway.get(html.unescape(link[1])).body.splitlines()
    assert [json.loads(line)["id"] for line in exported] == ids(page)


def test_pages_lead_to_older_ones_without_repeating_or_skipping(gateway: Gateway) -> None:
    for number in range(ROWS * 2 + 5):
        gateway.call("other", "echo", text=str(number))
    everything = [call["id"] for call in gateway.get("/api/calls?server=other&limit=500").json()["calls"]]
    found: list[str] = []
    query = "?server=other"
    while True:
        page = shown(gateway, query)
        found += ids(page)
        older = re.search(r'href="/ui/activity(\?[^"]*cursor=[^"]*)"', page)
        if older is None:
            break
        assert len(ids(page)) == ROWS
        gateway.call("other", "echo", text="in between")
        query = html.unescape(older[1])
        assert "server=other" in query
    assert found == everything
    assert "data-live" not in page  # older ones stand still


def test_what_strangers_wrote_is_text_in_every_column(tmp_path: Path) -> None:
    gateway = Gateway({"good": hostile("good")}, tmp_path)
    with gateway:
        gateway.wait_for_state("good", "ready")
        call_id = gateway.call("good", quote(NASTY, safe="")).call_id
        gateway.get("/api/calls?limit=1")
        gateway.stop()
        with closing(sqlite3.connect(gateway.state_dir / "gateway.sqlite3")) as database, database:
            database.execute(
                "UPDATE calls SET caller = :it, face = :it, server = :it, outcome = :it, detail = :it, "
                "target = :it, needed = :it",
                {"it": NASTY},
            )
        gateway.start()
        for path in ("/ui/activity", f"/ui/activity/{call_id}", f"/ui/activity?caller={quote(NASTY)}"):
            answer = gateway.request("GET", path, headers=PLAIN)
            body = answer.body.decode()
            assert answer.status == 200, answer
            assert html.escape("<img src=x onerror=alert(1)>").replace("&#x27;", "&#39;") in body
            for raw in ("<img src=x", "\u202e", 'hx-get="/x"'):
                assert raw not in body, (path, raw)
            assert "{{7*7}}" in body


def test_a_call_shows_what_was_said_or_why_not(gateway: Gateway) -> None:
    said = gateway.call("good", "echo", text="<b>hello</b>").call_id
    page = shown(gateway, f"/{said}")
    assert html.escape('"text": "<b>hello</b>"', quote=True).replace("&quot;", "&#34;") in page
    assert 'href="/ui/tools/good/echo"' in page
    silent = shown(gateway, f"/{gateway.call('other', 'echo', text='hush-5121').call_id}")
    assert "`payloads` are `off`" in silent
    assert "hush-5121" not in silent
    assert "shape of the arguments" in silent
    large = shown(gateway, f"/{gateway.call('good', 'blob', bytes=200_000).call_id}")
    assert "of which this is the beginning" in large
    refused = shown(gateway, f"/{gateway.call('good', 'nothing').call_id}")
    assert "there is nothing" in refused


@pytest.mark.parametrize("query", ["?last=ever", "?kind=x", "?since=soon", "?cursor=1"])
def test_what_makes_no_sense_is_said_on_a_page(gateway: Gateway, query: str) -> None:
    answer = gateway.request("GET", f"/ui/activity{query}", headers=PLAIN)
    assert answer.status == 400, answer
    assert b"<h1>" in answer.body


def test_readers_see_and_cancel_their_own_and_operators_all(tmp_path: Path) -> None:
    keys = {
        "ann": {"rights": ["read", "call"]},
        "bob": {"rights": ["read", "call"]},
        "olga": {"rights": ["read", "call", "operate"]},
    }
    with Guarded({"good": hostile("good")}, tmp_path, keys=keys) as gateway:
        wait_ready(gateway, "good")
        ann, bob, olga = gateway.as_("ann"), gateway.as_("bob"), gateway.as_("olga")
        done = ann.call("good", "echo", text="x").call_id
        running = start(ann, "good", "sleep", ms=60_000)
        connect(ann, "her client")
        assert {done, running} <= set(ids(shown(ann)))
        assert {done, running} <= set(ids(shown(olga)))
        of_bob = shown(bob)
        assert ids(of_bob) == []
        assert "her client" not in of_bob
        assert running not in of_bob
        session = ann.get("/api/sessions").json()["sessions"][0]["id"]
        assert session in shown(olga)

        def post(who: Guarded, path: str) -> Answer:
            headers = {"Content-Type": "application/x-www-form-urlencoded", **PLAIN}
            return who.request("POST", path, headers=headers)

        for path in (f"/ui/activity/{running}/cancel", f"/ui/activity/sessions/{session}/close"):
            assert post(bob, path).status == 404, path
        assert bob.request("GET", f"/ui/activity/{done}", headers=PLAIN).status == 404
        assert f"run-{running}" in shown(ann)
        for path in (f"/ui/activity/{running}/cancel", f"/ui/activity/sessions/{session}/close"):
            assert post(olga, path).status == 303, path
        until(lambda: "cancelled" in row(shown(ann), running), 10, "the call is cancelled")
        assert ann.get("/api/sessions").json()["sessions"] == []
        did = [call["action"] for call in olga.get("/api/calls?kind=actions").json()["calls"]]
        assert {"call.cancel", "session.close"} <= set(did)


def test_after_a_crash_a_call_that_ran_is_interrupted(tmp_path: Path) -> None:
    gateway = Gateway({"good": hostile("good")}, tmp_path)
    with gateway:
        gateway.wait_for_state("good", "ready")
        running = start(gateway, "good", "sleep", ms=60_000)
        until(lambda: "running" in row(shown(gateway), running), 10, "it runs")
        gateway.kill()
        gateway.start()
        assert "interrupted" in row(shown(gateway), running)
        assert "nobody knows" in shown(gateway, f"/{running}")


# -- in a browser ---------------------------------------------------------------------------------------


async def rows_of(page: Page) -> int:
    return await page.locator("#calls tr").count()


async def opened(windows: Windows, gateway: Gateway, query: str = "", **how: Any) -> Page:
    windows.base_url = stage.url(gateway)
    return await windows.open(f"/ui/activity{query}", **how)


async def test_new_calls_come_at_the_top_of_the_pages_that_want_them(
    windows: Windows, gateway: Gateway
) -> None:
    gateway.call("good", "echo", text="first")
    everything = await opened(windows, gateway)
    failures = await opened(windows, gateway, "?outcome=tool_error&server=good")
    phone = await opened(windows, gateway, "?server=good", width=PHONE)
    for page in (everything, failures, phone):
        await expect(page.locator("body[data-lost]")).to_have_count(0)
    failed = gateway.call("good", "fail").call_id
    fine = gateway.call("good", "echo", text="x").call_id
    await expect(everything.locator(f"#calls tr:first-child#call-{fine}")).to_be_visible()
    await expect(everything.locator(f"#calls tr:nth-child(2)#call-{failed}")).to_be_visible()
    await expect(phone.locator(f"#calls tr:first-child#call-{fine}")).to_be_visible()
    await expect(failures.locator(f"#calls tr:first-child#call-{failed}")).to_be_visible()
    await expect(failures.locator(f"#call-{fine}")).to_have_count(0)
    for page in (everything, failures, phone):
        assert await rows_of(page) <= ROWS
        assert await overflow(page) == []
        assert await layout_shift(page) < 0.1
    await check_accessible(everything)
    await check_accessible(phone)


async def test_who_reads_further_down_is_told_and_not_disturbed(windows: Windows, gateway: Gateway) -> None:
    for number in range(ROWS):
        gateway.call("good", "echo", text=str(number))
    page = await opened(windows, gateway, "?server=good")
    await page.mouse.move(700, 700)
    await page.mouse.wheel(0, 900)
    await page.wait_for_function("scrollY > 500")
    before = await page.locator("#calls tr").evaluate_all("rows => rows.map(({ id }) => id)")
    last = [gateway.call("good", "echo", text="new").call_id for _ in range(3)][-1]
    told = page.get_by_text("3 new calls")
    await expect(told).to_be_visible()
    assert await page.locator("#calls tr").evaluate_all("rows => rows.map(({ id }) => id)") == before
    await told.click()
    await expect(page.locator(f"#calls tr:first-child#call-{last}")).to_be_visible()
    await expect(told).to_be_hidden()
    after = gateway.call("good", "echo", text="after").call_id
    await expect(page.locator(f"#calls tr:first-child#call-{after}")).to_be_visible()
    assert await rows_of(page) == ROWS


async def test_a_running_call_has_a_clock_and_is_cancelled_by_a_click(
    windows: Windows, gateway: Gateway
) -> None:
    page = await opened(windows, gateway)
    running = start(gateway, "good", "sleep", ms=60_000)
    item = page.locator(f"#run-{running}")
    await expect(item).to_be_visible()
    await expect(item.locator("[data-since]")).to_have_text(re.compile(r"[1-9]\d* s"))
    await item.get_by_role("button").click()
    await expect(item).to_have_count(0)
    await expect(page.locator(f"#call-{running}")).to_contain_text("cancelled")


async def test_the_page_of_a_running_call_tells_its_end(windows: Windows, gateway: Gateway) -> None:
    windows.base_url = stage.url(gateway)
    running = start(gateway, "good", "sleep", ms=60_000)
    page = await windows.open(f"/ui/activity/{running}")
    await expect(page.locator(".outcome")).to_have_text("running")
    gateway.request("DELETE", f"/api/calls/{running}")
    await expect(page.locator(".outcome")).to_have_text("cancelled")
    await expect(page.locator("#call")).not_to_have_attribute("hx-trigger", re.compile("."))
    await check_accessible(page)


async def test_what_was_answered_is_drawn_by_its_kind_and_acts_on_nobody(
    windows: Windows, gateway: Gateway
) -> None:
    windows.base_url = stage.url(gateway)
    page = await windows.open(f"/ui/activity/{gateway.call('good', 'echo', text=NASTY).call_id}")
    await expect(page.locator(".answer")).to_contain_text("<img src=x onerror=alert(1)>")
    await expect(page.locator("[aria-labelledby=Request] pre")).to_contain_text("{{7*7}}")
    assert await page.locator("img[src=x]").count() == 0
    await check_accessible(page)


async def test_a_client_is_disconnected_by_a_click(windows: Windows, gateway: Gateway) -> None:
    page = await opened(windows, gateway)
    connect(gateway, "<b>a client</b>")
    item = page.locator("#sessions li", has_text="<b>a client</b>")
    await expect(item).to_be_visible()
    await item.get_by_role("button").click()
    await expect(item).to_have_count(0)
    assert gateway.get("/api/sessions").json()["sessions"] == []


async def test_filters_are_chosen_with_the_form_and_survive_back_and_reload(
    windows: Windows, gateway: Gateway
) -> None:
    gateway.call("good", "fail")
    page = await opened(windows, gateway)
    await page.get_by_label("Outcome").select_option("tool_error")
    await page.get_by_role("combobox", name="Tool").fill("fail")
    await page.get_by_role("button", name="Show").click()
    await page.wait_for_url("**/ui/activity?tool=fail&outcome=tool_error")
    await page.get_by_role("link", name="Hour").click()
    await page.wait_for_url("**last=1h")
    await expect(page.get_by_role("combobox", name="Tool")).to_have_value("fail")
    await page.reload()
    await expect(page.get_by_label("Outcome")).to_have_value("tool_error")
    await page.go_back()
    await page.go_back()
    await expect(page).to_have_url(f"{stage.url(gateway)}/ui/activity")


async def test_the_chart_is_drawn_and_says_the_same_in_words(windows: Windows, gateway: Gateway) -> None:
    gateway.call("good", "echo", text="x")
    page = await opened(windows, gateway, "?server=good", dark=True)
    await expect(page.locator(".plot canvas")).to_be_visible()
    calls = gateway.get("/api/stats?server=good").json()["totals"]["calls"]
    await expect(page.locator("[data-totals] b").first).to_have_text(f"{calls:,}")
    await page.get_by_text("The same as a table").click()
    await expect(page.locator(".numbers tbody tr").first).to_be_visible()
    assert await overflow(page) == []


async def test_five_thousand_calls_leave_the_page_alive_and_no_longer(
    windows: Windows, gateway: Gateway
) -> None:
    page = await opened(windows, gateway, "?server=good")
    await expect(page.locator("#calls")).to_be_attached()
    await page.evaluate(COUNT_SWAPS)
    began = await page.evaluate("performance.now()")
    most = 0

    with ThreadPoolExecutor(1) as threads:
        flooded = threads.submit(flood, gateway, 5_000)
        while not flooded.done():
            most = max(most, await rows_of(page))
        flooded.result()
    last = gateway.call("good", "fail").call_id
    await expect(page.locator(f"#call-{last}")).to_be_visible()
    lasted_s = (await page.evaluate("performance.now()") - began) / 1000
    assert await page.evaluate("globalThis.swaps") <= 4.5 * lasted_s + 2
    assert max(most, await rows_of(page)) <= ROWS


async def test_it_is_all_there_without_scripts(chromium: Browser, gateway: Gateway) -> None:
    call_id = gateway.call("good", "echo", text="without scripts").call_id
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    page = await windows.open("/ui/activity?server=good", width=DESKTOP)
    await expect(page.locator(f"#call-{call_id}")).to_contain_text("ok")
    await page.locator(f"#call-{call_id} a").click()
    await expect(page.locator("pre").first).to_contain_text("without scripts")
    await windows.close()
