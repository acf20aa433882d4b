"""Access in a real browser: the rules in words, keys from their making to their end, and who is signed in."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.harness import Answer, Gateway, hostile
from tests.ui import stage
from tests.ui.browser import PHONE, Windows, check_accessible, overflow
from tests.ui.signing import PASSWORD, code_of, with_password


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with stage.opened(Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("open")), "good") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("guarded"), with_password()) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def other(chromium: Browser) -> AsyncIterator[Windows]:
    """The browser of somebody else."""
    windows = Windows(chromium)
    windows.allow("401")
    yield windows
    await windows.check()
    await windows.close()


async def sign_in(windows: Windows, gateway: Gateway, path: str = "/ui/access") -> Page:
    page = await windows.open(stage.url(gateway) + path)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").first.click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return page


async def confirm(page: Page, gateway: Gateway) -> None:
    await page.get_by_label("One-time code").fill(code_of(gateway))
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("heading", name="API keys")).to_be_visible()


async def make_key(page: Page, name: str) -> str:
    """Opens the form where that is closed, and makes a key of it as it is."""
    if not await page.get_by_label("Name").is_visible():
        await page.get_by_text("Make a key").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.locator("#made")).to_contain_text(f"The key “{name}”, shown this once")
    return await page.locator("#made code").inner_text()


def ask(
    gateway: Gateway, key: str, method: str = "GET", path: str = "/api/servers", body: object = None
) -> Answer:
    return gateway.request(method, path, body, {"Authorization": f"Bearer {key}"})


async def test_the_rule_that_is_in_force_is_said_in_plain_words(
    windows: Windows, other: Windows, gateway: Gateway, guarded: Gateway
) -> None:
    page = await windows.open(f"{stage.url(gateway)}/ui/access")
    rules = page.locator("#rules")
    await expect(rules.get_by_text("open to this machine")).to_be_visible()
    await expect(rules).to_contain_text("is its operator without signing in")
    await expect(page.get_by_role("heading", name="API keys")).to_have_count(0)
    other.allow("401")
    page = await sign_in(other, guarded)
    rules = page.locator("#rules")
    await expect(rules.get_by_text("guarded", exact=True)).to_be_visible()
    await expect(rules).to_contain_text("everybody has to say who they are, because of auth.password")
    await check_accessible(page)


async def test_a_key_is_made_shown_once_used_and_revoked(windows: Windows, gateway: Gateway) -> None:
    windows.allow("400")
    page = await windows.open(f"{stage.url(gateway)}/ui/access")
    await confirm(page, gateway)
    await page.get_by_text("Make a key").click()
    await page.get_by_label("Name").fill("laptop")
    for right in ("read see", "call call"):
        await page.get_by_role("checkbox", name=right).uncheck()
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.locator("#said")).to_contain_text("A key without a right is of no use")
    await page.get_by_role("checkbox", name="read see").check()
    yesterday = datetime.now(UTC) - timedelta(days=2)
    await page.get_by_label("Expires").fill(yesterday.strftime("%Y-%m-%d"))
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.locator("#said")).to_contain_text("is in the past")
    await expect(page.get_by_label("Name")).to_have_value("laptop")
    await page.get_by_label("Expires").fill("2999-12-31")
    await page.get_by_role("textbox", name="Servers").fill("good, spare-*")
    await page.get_by_role("textbox", name="Tools").fill("good/echo")
    key = await make_key(page, "laptop")
    gateway.canaries.add("key", key)  # from here on nobody may say it
    row = page.locator(".holders li", has_text="laptop")
    for words in ("read", "good", "spare-*", "good/echo", "Never used", "Expires 1 Jan 3000"):
        await expect(row).to_contain_text(words)
    await expect(page.locator("#rules")).to_contain_text("1 API key")
    await expect(page.get_by_label("Name")).to_be_hidden()  # as it was before, and empty
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy the key").click()
    await expect(page.locator("#said")).to_contain_text("Copied")
    assert await page.evaluate("() => navigator.clipboard.readText()") == key
    assert [one["id"] for one in ask(gateway, key).json()["servers"]] == ["good"]
    assert ask(gateway, key, "POST", "/api/tools/good/echo", {"text": "x"}).status == 403
    await page.reload()
    await expect(row).to_contain_text("Used last")
    await expect(page.locator("#made")).to_be_empty()
    assert key not in await page.content()
    assert await overflow(page) == []
    await check_accessible(page)
    windows.agree("Revoke this key?")
    await page.get_by_role("button", name="Revoke laptop").click()
    await expect(row).to_have_count(0)
    assert ask(gateway, key).status == 401


async def test_a_key_is_made_on_a_phone_without_scripts(chromium: Browser, gateway: Gateway) -> None:
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    page = await windows.open("/ui/access", width=PHONE)
    await confirm(page, gateway)
    key = await make_key(page, "phone")
    assert ask(gateway, key).status == 200
    assert await overflow(page) == []
    await (
        page.get_by_role("link", name="Access")
        .locator("visible=true")
        .first.or_(page.get_by_label("Menu"))
        .first.click()
    )
    await page.goto(f"{stage.url(gateway)}/ui/access")
    await expect(page.locator("#made")).to_be_empty()
    await page.get_by_role("button", name="Revoke phone").click()
    await expect(page.locator(".holders li", has_text="phone")).to_have_count(0)
    await windows.close()


async def test_who_is_signed_in_elsewhere_can_be_sent_away(
    windows: Windows, other: Windows, guarded: Gateway
) -> None:
    windows.allow("401")
    theirs = await sign_in(other, guarded, "/ui/servers/good")
    page = await sign_in(windows, guarded)
    rows = page.locator("#sign-ins li")
    mine = rows.filter(has_text="you, here")
    await expect(mine).to_have_count(1)
    await expect(theirs.locator("#server-how")).to_contain_text("ready")
    await rows.filter(has_not_text="you, here").first.get_by_role("button").click()
    await expect(theirs.locator("#lost")).to_contain_text("not signed in any more")
    await theirs.reload()
    await expect(theirs.get_by_role("heading", name="Sign in")).to_be_visible()
    # Who ends what they are here by, is out themselves.
    await mine.get_by_role("button").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_who_may_not_administer_any_more_is_told_what_to_do(windows: Windows, gateway: Gateway) -> None:
    windows.allow("40[13]")
    page = await windows.open(f"{stage.url(gateway)}/ui/access")
    await confirm(page, gateway)
    # In another window of the same browser, so this page still looks as if one might.
    elsewhere = await windows.open(f"{stage.url(gateway)}/ui/connect")
    await elsewhere.get_by_role("button", name="Sign out").click()
    await page.get_by_text("Make a key").click()
    await page.get_by_label("Name").fill("late")
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.locator("#said")).to_contain_text("a person shows it with the one-time code")
    await expect(page.get_by_label("Name")).to_have_value("late")


async def test_a_page_whose_stream_never_began_says_so_and_tries_again(
    windows: Windows, gateway: Gateway
) -> None:
    windows.allow("503|500")
    page = await windows.window()
    turned_away: list[str] = []

    async def busy(route: Route) -> None:
        if turned_away:
            await route.continue_()
        else:
            turned_away.append(route.request.url)
            await route.fulfill(status=503, content_type="text/html", body="")

    await page.route("**/ui/live/servers", busy)
    await windows.go(page, f"{stage.url(gateway)}/")
    await expect(page.locator("#lost")).to_contain_text("It is tried again")
    await expect(page.locator("#lost")).to_be_empty()
    assert turned_away
