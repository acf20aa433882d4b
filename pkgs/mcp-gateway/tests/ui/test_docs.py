"""The page of the API in a real browser: documents are drawn, a tool is tried, nothing is fetched."""

import json
from collections.abc import Iterator

import pytest
from playwright.async_api import expect

from tests.harness import Gateway, hostile
from tests.tools.conftest import saying
from tests.ui import stage
from tests.ui.browser import Windows

SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script>"
EVIL = {
    "name": "evil",
    "title": SCRIPT,
    "description": f"{SCRIPT} ![a picture](https://evil.example.test/x.png)",
    "inputSchema": {"type": "object", "properties": {SCRIPT: {"type": "string", "description": SCRIPT}}},
}

# Swagger UI makes an example of a schema, and this one would be as long as it says.
BOMB = {
    "name": "bomb",
    "inputSchema": {
        "type": "object",
        "properties": {
            "long": {"type": "string", "minLength": 10**9},
            "wide": {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
            "pattern": {"type": "string", "pattern": "^(a{50000}){50000}$"},
        },
        "required": ["long", "wide", "pattern"],
    },
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("docs")
    servers = {"good": hostile("good"), "saying": saying(directory / "saying", [EVIL, BOMB])}
    with stage.opened(Gateway(servers, directory), *servers) as opened:
        yield opened


@pytest.fixture
def at(windows: Windows, gateway: Gateway) -> Windows:
    windows.base_url = stage.url(gateway)
    return windows


async def test_a_tool_is_tried_on_the_page(at: Windows) -> None:
    page = await at.open("/docs")
    await expect(page.get_by_role("heading", name="MCP Gateway")).to_be_visible()
    await page.get_by_label("Document").select_option("good")
    await page.wait_for_url("**/docs?of=good")
    await page.locator("#operations-good-good__echo").get_by_role("button").first.click()
    await page.get_by_role("button", name="Try it out").click()
    await page.locator("textarea.body-param__text").fill('{"text": "hello"}')
    await page.get_by_role("button", name="Execute").click()
    await expect(page.locator(".live-responses-table .response .response-col_status").first).to_contain_text(
        "200"
    )
    await expect(page.locator(".live-responses-table")).to_contain_text("hello")


async def test_S36_no_example_is_made_of_what_a_server_says_of_lengths(at: Windows) -> None:
    page = await at.open("/docs?of=saying")
    await page.locator("#operations-saying-saying__bomb").get_by_role("button").first.click()
    await page.get_by_role("button", name="Try it out").click()
    field = page.locator("textarea.body-param__text")
    await expect(field).to_be_visible()
    assert json.loads(await field.input_value()) == {"long": "", "wide": [], "pattern": ""}


async def test_what_a_server_says_of_itself_is_drawn_and_does_nothing(at: Windows) -> None:
    page = await at.open("/docs?of=saying")
    await page.locator("#operations-saying-saying__evil").get_by_role("button").first.click()
    await expect(page.locator(".opblock-body")).to_be_visible()
    assert await page.locator("#api script, #api [onerror]").count() == 0
