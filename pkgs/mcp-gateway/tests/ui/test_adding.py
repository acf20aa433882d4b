"""Adding a server in a real browser: what is pasted is looked at, saved with a secret, and there."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.harness import HOSTILE, Gateway, hostile
from tests.ui import stage
from tests.ui.browser import PHONE, Windows, check_accessible, overflow
from tests.ui.signing import PASSWORD, code_of, with_password

GOOD = f"{sys.executable} -I -S {HOSTILE} good"
NOBODY_UID = 65_534
WITHOUT_A_FILE = (
    "import sys; from mcp_gateway.cli import main; at = sys.argv.index('--config'); "
    "del sys.argv[at : at + 2]; main()"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway({"keeper": hostile("good")}, tmp_path_factory.mktemp("adding"))
    with stage.opened(gateway, "keeper"):
        yield gateway


@pytest.fixture
def gateway(whole: Gateway) -> Gateway:
    whole.reload()  # Before the test, not after it: a page that is still open would hear its server go.
    return whole


@pytest.fixture
def at(windows: Windows, gateway: Gateway) -> Windows:
    windows.base_url = stage.url(gateway)
    return windows


async def look(page: Page, text: str, name: str = "") -> None:
    await page.get_by_label("JSON, command line or URL").fill(text)
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="See what it runs").click()


async def save(page: Page, secret: str, label: str = "One-time code") -> None:
    await page.get_by_label(label).fill(secret)
    await page.get_by_role("button", name="Save and start").click()


async def remove(page: Page, server: str) -> None:
    await page.get_by_text("Remove this server").click()
    await page.get_by_role("button", name=f"Remove {server}").click()


async def test_a_server_is_looked_at_saved_seen_elsewhere_and_removed(at: Windows, gateway: Gateway) -> None:
    at.allow("401")
    file = gateway.directory / "config.json"
    before = file.read_bytes()
    tools, page = await at.open("/ui/tools"), await at.open("/ui/add")
    await look(page, GOOD, "newcomer")
    proposal = page.locator("#proposal")
    await expect(proposal.get_by_role("heading", name="newcomer")).to_be_visible()
    await expect(proposal.locator("pre")).to_have_text(GOOD.replace(" ", "\n"))
    await expect(proposal).to_contain_text(f"Found at {sys.executable}")
    await check_accessible(page)
    assert file.read_bytes() == before
    await save(page, "0123456789abcdef")
    await expect(page.locator("#said")).to_contain_text("This is not the one-time code")
    await expect(page.get_by_label("JSON, command line or URL")).to_have_value(GOOD)
    await expect(proposal.get_by_role("heading", name="newcomer")).to_be_visible()
    assert file.read_bytes() == before
    await save(page, code_of(gateway))
    await page.wait_for_url("**/ui/servers/newcomer")
    await expect(page.locator("#server").get_by_text("ready", exact=True)).to_be_visible()
    await expect(tools.get_by_role("heading", name="newcomer")).to_be_visible()
    await expect(tools.locator("#tools-in-newcomer .tool").first).to_be_visible()
    elsewhere = await at.open("/ui/servers/newcomer")
    await remove(page, "newcomer")  # the code is good for ten minutes
    await expect(page.get_by_role("heading", name="Servers")).to_be_visible()
    await expect(page.locator("#server-keeper")).to_be_visible()
    await expect(page.locator("#server-newcomer")).to_have_count(0)
    await expect(elsewhere.locator("#server-how")).to_contain_text("not configured any more")
    await expect(tools.get_by_role("heading", name="newcomer")).to_have_count(0)
    assert json.loads(file.read_bytes())["mcpServers"] == json.loads(before)["mcpServers"]


async def test_a_secret_that_was_pasted_is_not_shown_again(at: Windows, gateway: Gateway) -> None:
    secret = gateway.canaries.value("pasted", for_header=True)
    text = json.dumps(
        {
            "mcpServers": {
                "mail": {"command": sys.executable, "args": ["--api-key", secret], "env": {"TOKEN": secret}},
                "weather": {
                    "url": f"https://weather.example.test/mcp?key={secret}",
                    "headers": {"Authorization": f"Bearer {secret}"},
                },
            }
        }
    )
    page = await at.open("/ui/add", width=PHONE)
    await look(page, text)
    proposal = page.locator("#proposal")
    await expect(proposal.get_by_role("heading", name="weather")).to_be_visible()
    for words in ("TOKEN set", "Authorization set", "https://weather.example.test/mcp?key=<set>"):
        await expect(proposal).to_contain_text(words)
    await expect(proposal.locator("pre")).to_have_text(f"{sys.executable}\n--api-key\n<set>")
    await expect(proposal.get_by_text("holds a secret in the clear")).to_have_count(4)
    assert secret not in await proposal.inner_text()
    assert await overflow(page) == []
    await check_accessible(page)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"mcpServers": ', "cannot be read"),
        ("npx thing | tee log", "needs a shell for a pipe"),
        ('{"mcpServers": {"a": {}}}', "needs exactly one of"),
        ('{"mcpServers": {"keeper": {"command": "npx"}}}', "There is a server with the id keeper already"),
        ("no-such-program --flag", "is not on PATH"),
    ],
)
async def test_what_cannot_be_used_says_why(at: Windows, text: str, words: str) -> None:
    page = await at.open("/ui/add")
    await look(page, text)
    await expect(page.locator("#proposal")).to_contain_text(words)
    if "PATH" not in words:
        await expect(page.get_by_role("button", name="Save and start")).to_have_count(0)


async def test_a_text_that_was_changed_has_to_be_looked_at_again(at: Windows, gateway: Gateway) -> None:
    at.allow("409")
    page = await at.open("/ui/add")
    await look(page, "https://weather.example.test/mcp", "weather")
    await expect(page.get_by_role("button", name="Save and start")).to_be_visible()
    await page.get_by_label("Name").press("End")
    await page.keyboard.type("2")
    await expect(page.get_by_role("button", name="Save and start")).to_have_count(0)
    await look(page, "https://weather.example.test/mcp", "weather")
    await page.get_by_label("One-time code").fill(code_of(gateway))
    # As a script of another extension or a browser that fills in forms would.
    await page.evaluate("() => { document.getElementById('text').value = 'https://other.example.test/mcp'; }")
    await page.get_by_role("button", name="Save and start").click()
    await expect(page.locator("#said")).to_contain_text("look at this one, too")
    await expect(page.locator("#proposal")).to_contain_text("https://other.example.test/mcp")
    assert gateway.get("/api/servers/weather").status == 404


async def test_all_of_it_goes_by_keyboard(at: Windows, gateway: Gateway) -> None:
    page = await at.open("/ui/add")
    await page.get_by_label("JSON, command line or URL").focus()
    await page.keyboard.insert_text(GOOD)
    await page.keyboard.press("Tab")
    await page.keyboard.type("typed")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await expect(page.get_by_label("One-time code")).to_be_visible()
    await expect(page.get_by_role("button", name="See what it runs")).to_be_focused()
    for _ in range(5):
        await page.keyboard.press("Tab")
        if await page.evaluate("() => document.activeElement.id") == "secret":
            break
    await page.keyboard.type(code_of(gateway))
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/ui/servers/typed")


async def test_without_scripts_it_is_saved_by_forms_alone(chromium: Browser, gateway: Gateway) -> None:
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    windows.allow("401")
    page = await windows.open("/ui/add")
    text = json.dumps({"plain": {"url": "https://plain.example.test/mcp", "enabled": False}}, indent=1)
    await look(page, text)
    await expect(page.locator("#proposal")).to_contain_text("https://plain.example.test/mcp")
    await save(page, "wrong")
    await expect(page.locator("#proposal")).to_contain_text("This is not the one-time code")
    await expect(page.get_by_label("JSON, command line or URL")).to_have_value(text)
    await save(page, code_of(gateway))
    await page.wait_for_url("**/ui/servers/plain")
    await page.get_by_text("Remove this server").click()
    await page.get_by_role("button", name="Remove plain").click()
    await expect(page.get_by_role("heading", name="Servers")).to_be_visible()
    await windows.check()
    await windows.close()


async def test_where_the_file_is_declared_elsewhere_there_is_a_look_and_no_button(
    at: Windows, gateway: Gateway
) -> None:
    file = gateway.directory / "config.json"
    if os.geteuid() == 0:  # whom no mode keeps from writing
        os.chown(file, NOBODY_UID, -1)
    file.chmod(0o400)
    try:
        page = await at.open("/ui/add")
        await expect(page.get_by_text("Nothing can be saved here; you can still look.")).to_be_visible()
        await look(page, GOOD, "newcomer")
        await expect(page.locator("#proposal").get_by_role("heading", name="newcomer")).to_be_visible()
        await expect(page.get_by_role("button", name="Save and start")).to_have_count(0)
        await check_accessible(page)
    finally:
        os.chown(file, os.geteuid(), -1)
        file.chmod(0o600)


async def test_a_gateway_that_was_started_without_a_file_makes_the_usual_one(
    windows: Windows, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    gateway = Gateway(
        {},
        tmp_path / "gateway",
        command=(sys.executable, "-c", WITHOUT_A_FILE),
        environment={"XDG_CONFIG_HOME": str(home), "HOME": str(home)},
    )
    with gateway:
        page = await windows.open(f"{stage.url(gateway)}/")
        await expect(page.get_by_role("heading", name="No servers yet")).to_be_visible()
        await page.get_by_role("link", name="Add a server").locator("visible=true").first.click()
        await expect(page.get_by_text(str(home / "mcp" / "mcp_servers.json"))).to_be_visible()
        await look(page, GOOD, "first")
        await save(page, code_of(gateway))
        await page.wait_for_url("**/ui/servers/first")
        await expect(page.locator("#server").get_by_text("ready", exact=True)).to_be_visible()
        await page.close()  # before its gateway goes, which it would hear
    assert set(json.loads((home / "mcp" / "mcp_servers.json").read_text())["addedServers"]) == {"first"}


async def test_where_everybody_signs_in_it_takes_the_password_anew(windows: Windows, tmp_path: Path) -> None:
    windows.allow("401")
    with Gateway({}, tmp_path / "gateway", with_password()) as gateway:
        page = await windows.open(f"{stage.url(gateway)}/ui/add")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").first.click()
        await expect(page.get_by_role("heading", name="Add a server")).to_be_visible()
        # Who has just signed in is not asked again.
        await look(page, "https://weather.example.test/mcp", "weather")
        await expect(page.get_by_label("Password")).to_have_count(0)
        await page.get_by_role("button", name="Save and start").click()
        await page.wait_for_url("**/ui/servers/weather")
        await page.close()
