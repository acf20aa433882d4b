"""A tool's page in a real browser: its form, the call and what comes of it, with real and hostile tools."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, expect

from mcp_gateway.visible import safe
from tests.harness import Gateway
from tests.ui import stage
from tests.ui.browser import DESKTOP, PHONE, Windows, check_accessible, overflow

HERE: Final = Path(__file__).parent
EVIL: Final = "<img src=x onerror=alert(1)>"
ODD: Final = "walk/all <here>"
TOOLS: Final[list[dict[str, Any]]] = [
    {
        "name": ODD,
        "title": f"Walk {EVIL}",
        "description": "Tells what it finds \u202egnp\n<script>alert(2)</script>",
        "annotations": {"destructiveHint": True},
        "inputSchema": {
            "type": "object",
            "required": ["mode", EVIL, "a/b", "filter"],
            "properties": {
                "mode": {"enum": ["<b>", "a&b"], "title": EVIL, "description": f"{EVIL} {{{{ value }}}}"},
                EVIL: {"type": "string", "default": EVIL, "x-info": {"variant": "modal", "content": EVIL}},
                "a/b": {"type": "integer", "minimum": 3, "default": 3},
                "filter": {
                    "type": "object",
                    "properties": {
                        "size": {"anyOf": [{"type": "integer"}, {"type": "string", "title": EVIL}]}
                    },
                },
                "tags": {"type": "array", "items": {"type": "string"}},
                "free": {},
                "note": {"type": "string"},
            },
        },
        "outputSchema": {"type": "object", "properties": {EVIL: {"$ref": "#"}}},
    },
    {"name": "give", "inputSchema": {"type": "object", "properties": {"result": {"type": "object"}}}},
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("tool")
    tools = directory / "tools.json"
    tools.write_text(json.dumps(TOOLS))
    starter = stage.starter(directory / "starter")
    wanted = ("time", "git", "everything")
    servers: dict[str, dict[str, Any]] = {name: starter[name] for name in wanted if name in starter}
    servers["mirror"] = {"command": sys.executable, "args": [str(HERE / "mirror.py"), str(tools)]}
    with stage.opened(Gateway(servers, directory / "gateway"), *servers) as gateway:
        yield gateway


def at(gateway: Gateway, server: str, tool: str) -> str:
    return f"{stage.url(gateway)}/ui/tools/{server}/{quote(tool, safe='')}"


async def run(page: Page) -> None:
    """Runs the tool, and waits for the outcome."""
    await page.get_by_role("button", name="Run", exact=True).click()
    await page.locator(".ended").wait_for()
    await expect(page.get_by_role("button", name="Run", exact=True)).to_have_css("opacity", "1")


async def write(page: Page, arguments: Any) -> None:
    """Writes the arguments as JSON."""
    await page.get_by_role("button", name="JSON", exact=True).click()
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    await page.get_by_label("Arguments, a JSON object").fill(text)


async def written(page: Page) -> Any:
    """The arguments that the form has, as JSON."""
    await page.get_by_role("button", name="JSON", exact=True).click()
    return json.loads(await page.get_by_label("Arguments, a JSON object").input_value())


async def load(page: Page, gateway: Gateway, module: str) -> str:
    """The address of one of our modules, for `import` in the page."""
    address = await page.locator("script[src*='/js/tool.js']").get_attribute("src")
    assert address is not None
    return stage.url(gateway) + address.replace("tool.js", module)


# Real tools


async def test_a_tool_is_run_through_its_form_and_the_activity_says_by_which_face(
    windows: Windows, gateway: Gateway
) -> None:
    page = await windows.open(at(gateway, "time", "convert_time"))
    for label, value in {"source_timezone": "UTC", "time": "12:30", "target_timezone": "Asia/Tokyo"}.items():
        await page.get_by_label(label, exact=True).fill(value)
    await run(page)
    await expect(page.locator("#outcome")).to_contain_text("Done")
    await expect(page.locator("#outcome")).to_contain_text("Asia/Tokyo")
    await check_accessible(page)
    calls = gateway.get("/api/calls?face=ui&tool=convert_time").json()["calls"]
    assert [call["outcome"] for call in calls] == ["ok"]


async def test_a_tool_is_run_on_a_phone(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "git", "git_log"), width=PHONE, dark=True)
    await page.get_by_role("button", name="Add max_count").click()
    await expect(page.get_by_label("max_count", exact=True)).to_have_value("10")
    await expect(page.get_by_label("max_count", exact=True)).to_be_focused()
    repository = gateway.servers["git"]["args"][-1]
    await page.get_by_label("repo_path", exact=True).fill(repository)
    await run(page)
    await expect(page.locator("#outcome")).to_contain_text("Commit history")
    await check_accessible(page)
    assert await overflow(page) == []


async def test_progress_is_shown_and_a_call_can_be_taken_back(windows: Windows, gateway: Gateway) -> None:
    if "everything" not in gateway.servers:
        pytest.skip("without Node there is no slow tool")
    page = await windows.open(at(gateway, "everything", "trigger-long-running-operation"))
    await page.get_by_role("button", name="Add duration").click()
    await page.get_by_label("duration", exact=True).fill("3")
    await page.get_by_role("button", name="Run", exact=True).click()
    await page.locator("progress[value]").wait_for()
    assert await page.locator("progress").evaluate("(bar) => bar.max") == 5
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator(".ended")).to_contain_text("Cancelled")
    await expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    newest = gateway.get("/api/calls?tool=trigger-long-running-operation").json()["calls"][0]
    assert newest["outcome"] == "cancelled"


async def test_a_picture_is_drawn(windows: Windows, gateway: Gateway) -> None:
    if "everything" not in gateway.servers:
        pytest.skip("without Node there is no tool that draws")
    page = await windows.open(at(gateway, "everything", "get-tiny-image"))
    await run(page)
    picture = page.get_by_role("img", name="Picture from the server")
    await expect(picture).to_have_js_property("complete", True)
    assert await picture.evaluate("(image) => image.naturalWidth") > 0


# Hostile ones


async def test_a_hostile_schema_is_a_form_whose_values_arrive_as_they_are(
    windows: Windows, gateway: Gateway
) -> None:
    page = await windows.open(at(gateway, "mirror", ODD))
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Walk {EVIL}")
    await page.get_by_label("mode", exact=True).select_option("a&b")
    await page.get_by_role("button", name="Add size").click()
    await page.get_by_label("Kind of value: size").select_option(EVIL)
    for name in ("tags", "free", "note"):
        await page.get_by_role("button", name=f"Add {name}").click()
    await page.get_by_role("button", name="Add an item").click()
    await page.get_by_label("free", exact=True).fill('{"p0": [1, {"mode": null}]}')
    await page.get_by_role("button", name="Leave out note").click()
    wanted = {
        "mode": "a&b",
        EVIL: EVIL,
        "a/b": 3,
        "filter": {"size": ""},
        "tags": [""],
        "free": {"p0": [1, {"mode": None}]},
    }
    assert await written(page) == wanted
    await page.get_by_role("button", name="Form", exact=True).click()
    await check_accessible(page)
    await page.get_by_role("button", name="Run", exact=True).click()
    await page.get_by_role("button", name="Run it, it may destroy something").click()
    await page.locator(".ended").wait_for()
    await page.get_by_text("As text").click()
    assert json.loads(await page.locator("#outcome pre").first.inner_text()) == wanted
    assert await page.locator("main img, main script[src]").count() == 0


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
async def test_a_hostile_result_is_text(windows: Windows, gateway: Gateway, width: int) -> None:
    script = f"<script>alert(1)</script>{EVIL} \u202egnp"
    blob = {"uri": "javascript:alert(1)", "mimeType": "image/svg+xml", "blob": "PHN2Zy8+"}
    result = {
        "content": [
            {"type": "text", "text": script},
            {"type": "text", "text": json.dumps({EVIL: [script] * 120})},
            {"type": "image", "mimeType": "image/svg+xml", "data": "PHN2Zy8+"},
            {"type": "image", "mimeType": "image/png", "data": "bm8gcGljdHVyZQ=="},
            {"type": "audio", "mimeType": "text/html", "data": "PGI+"},
            {"type": "resource_link", "uri": "javascript:alert(1)", "name": script, "description": script},
            {"type": "resource_link", "uri": "http://evil.example/", "name": "plain"},
            {"type": "resource_link", "uri": "https://good.example/x?a=<b>", "name": "fine", "size": 1500},
            {"type": "resource", "resource": blob},
            {"type": "resource", "resource": {"uri": script, "text": script}},
            {"type": script, "what": script},
            3,
            None,
        ],
        "structuredContent": {EVIL: script},
        "isError": True,
        "_meta": {"mcp-gateway/artifact": {"url": "https://evil.example/api/artifacts/x"}},
    }
    page = await windows.open(at(gateway, "mirror", "give"), width=width)
    await write(page, {"result": result})
    await run(page)
    outcome = page.locator("#outcome")
    await expect(outcome).to_contain_text("The tool reports failure.")
    await expect(outcome).to_contain_text(safe(script))
    await expect(outcome.get_by_text("This is no picture.")).to_be_visible()
    links = await outcome.locator("a").evaluate_all("(all) => all.map((one) => [one.href, one.rel])")
    assert [link for link in links if "/ui/activity/" not in link[0]] == [
        ["https://good.example/x?a=%3Cb%3E", "noopener noreferrer"]
    ]
    assert await outcome.locator("img, audio, script, iframe, object, embed").count() == 0
    assert await overflow(page) == []
    await page.get_by_text("Raw JSON").click()
    pre = page.locator("#outcome details.as pre")
    await expect(pre).to_contain_text('"content"')
    assert json.loads(await pre.text_content() or "")["content"] == result["content"]
    await check_accessible(page)


async def test_what_is_invisible_is_shown_as_the_server_side_shows_it(
    windows: Windows, gateway: Gateway
) -> None:
    page = await windows.open(at(gateway, "mirror", "give"))
    module = await load(page, gateway, "visible.js")
    texts = [chr(code) for code in range(0x3200) if not 0xD800 <= code < 0xE000]
    texts += [
        chr(code) for code in (0xFEFF, 0xFFA0, 0xFFF0, 0xFFFD, 0xE0000, 0xE0041, 0xE0FFF, 0xE1000, 0x1F600)
    ]
    texts += ["a\r\nb\rc\nd", "\ud800", "a\udc00b", ""]
    shown = await page.evaluate(
        """async ([module, texts]) => {
          const { safe } = await import(module);
          return texts.flatMap((one) => [safe(JSON.parse(one)), safe(JSON.parse(one), false)]);
        }""",
        [module, [json.dumps(text) for text in texts]],
    )
    assert shown == [one for text in texts for one in (safe(text), safe(text, lines=False))]


# The arguments as JSON, and to take elsewhere


async def test_the_form_and_the_json_carry_values_to_each_other(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "git", "git_log"))
    await write(page, {"repo_path": "it's\nhere", "max_count": 3})
    await page.get_by_role("button", name="Form", exact=True).click()
    await expect(page.get_by_label("repo_path", exact=True)).to_have_value("it's\nhere")
    await expect(page.get_by_label("max_count", exact=True)).to_have_value("3")
    await write(page, {"repo_path": "x", "unheard-of": 1})
    await page.get_by_role("button", name="Form", exact=True).click()
    await expect(page.get_by_text("The form cannot hold all of this; it stays JSON.")).to_be_visible()
    await write(page, '{\n  "repo_path": oops\n}')
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator("#raw-problem")).to_have_text("This is no JSON from line 2, column 16 on.")
    await expect(page.get_by_label("Arguments, a JSON object")).to_be_focused()
    await write(page, "[1]")
    await page.get_by_role("button", name="Format").click()
    await expect(page.locator("#raw-problem")).to_have_text("The arguments must be a JSON object: { … }")


async def test_the_first_mistake_in_json_is_found(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "mirror", "give"))
    module = await load(page, gateway, "mistakes.js")
    texts = ['{"a": [1, -2.5e3, "x\\n", true, null, {}, []]}', " 1 ", '"\\u00e9"']
    wrong = {"": 0, "{": 1, "[1,]": 3, '{"a" 1}': 5, '{"a":1,}': 7, "[1}": 2, "1 2": 2, "01": 1, "'a'": 0}
    wrong |= {'"a': 0, '["a\nb"]': 1, "{a: 1}": 1, "nul": 0, "[,1]": 1, "]": 0, ",": 0, '{"a":}': 5}
    found = await page.evaluate(
        "async ([module, texts]) => { const { mistake } = await import(module); return texts.map(mistake); }",
        [module, [*texts, *wrong]],
    )
    assert found == [*[-1] * len(texts), *wrong.values()]
    for text in texts:
        json.loads(text)


async def test_what_is_not_as_it_has_to_be_is_said_where_it_is(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "mirror", ODD))
    await page.get_by_label("a/b", exact=True).fill("1")
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.get_by_label("a/b", exact=True)).to_be_focused()
    await expect(page.get_by_label("a/b", exact=True)).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("a/b", exact=True)).to_have_accessible_description("Must be at least 3.")


HOSTILE_WORDS: Final = (
    *(
        "it's",
        "$(touch x)",
        "`id`",
        "a\nb",
        "!!",
        "a b",
        "",
        "\\",
        '"',
        "-n",
        "*",
        "~",
        "#",
        "'; rm -rf /; '",
    ),
    *("%s", "\\'", "a\tb", "\u202e", "=", "a=b"),
)


async def test_a_call_can_be_taken_to_a_shell_whatever_is_in_it(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "mirror", "give"))
    module = await load(page, gateway, "quoting.js")
    facts = {"server": "mirror", "tool": "it's <odd>/$(x)", "exposed": "mirror__odd", "isGuarded": True}
    body = json.dumps({"words": HOSTILE_WORDS}, ensure_ascii=False, indent=2)
    base = stage.url(gateway)
    quoted, curl, command, request = await page.evaluate(
        """async ([module, words, facts, body, base]) => {
          const { quoted, asCurl, asCommand, asRequest } = await import(module);
          return [words.map(quoted), asCurl(facts, body, base), asCommand(facts, body, base),
            asRequest(facts, body)];
        }""",
        [module, HOSTILE_WORDS, facts, body, base],
    )
    script = "printf '%s\\0' " + " ".join(quoted)
    said = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == list(HOSTILE_WORDS)
    path = f"{base}/api/tools/mirror/it%27s%20%3Codd%3E%2F%24%28x%29"
    words = shlex.split(curl)
    assert words[2].replace("'", "%27").replace("(", "%28").replace(")", "%29") == path
    assert words[3:5] == ["-H", "Authorization: Bearer $MCP_GATEWAY_KEY"]
    # What hides in the arguments is written as JSON can.
    assert (words[-2], json.loads(words[-1])) == ("--data-raw", json.loads(body))
    *call, arguments = shlex.split(command)
    assert call == ["mcp-gateway", "call", "--url", base, f"mirror/{facts['tool']}"]
    assert json.loads(arguments) == json.loads(body)
    assert json.loads(request)["params"] == {"name": "mirror__odd", "arguments": json.loads(body)}


async def test_the_page_tells_the_call_as_curl_would_make_it(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "mirror", ODD))
    await page.get_by_text("Copy this call as …").click()
    await page.get_by_label("mode", exact=True).select_option("a&b")
    command = await page.locator("#as-curl").text_content() or ""
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=True, timeout=20)
    text = json.loads(done.stdout)["content"][0]["text"]
    assert json.loads(text) == {"mode": "a&b", EVIL: EVIL, "a/b": 3, "filter": {}}
    assert "Authorization" not in command


# What else may come


async def test_a_stream_that_ends_without_an_answer_is_told(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "mirror", "give"))
    await page.route(
        "**/api/tools/**",
        lambda route: route.fulfill(
            content_type="text/event-stream",
            body='event: log\ndata: {"level": "warning", "data": "<b>so far"}\n\n: gone\n\n',
        ),
    )
    await run(page)
    await expect(page.locator("#outcome")).to_contain_text("The connection ended before the answer came.")
    await expect(page.locator("#progress")).to_contain_text("<b>so far")


async def test_a_problem_says_what_when_again_and_what_was_asked_for(
    windows: Windows, gateway: Gateway
) -> None:
    problem = {"detail": f"The tool asks {EVIL}", "code": "input_required", "retryAfter": 9}
    problem["inputRequests"] = {"a": {"method": "elicitation/create", "params": {"message": EVIL}}}
    page = await windows.open(at(gateway, "mirror", "give"))
    windows.allow("409")
    await page.route(
        "**/api/tools/**",
        lambda route: route.fulfill(
            status=409, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    await run(page)
    outcome = page.locator("#outcome")
    for words in (f"The tool asks {EVIL}", "input_required", "Try again in", "What it asks for"):
        await expect(outcome).to_contain_text(words)


async def test_what_changes_is_seen_and_what_is_gone_is_said(windows: Windows, gateway: Gateway) -> None:
    page = await windows.open(at(gateway, "mirror", "give"))
    switch = page.get_by_role("switch", name="Offered to clients")
    await expect(switch).to_be_checked()
    other = await windows.open(at(gateway, "mirror", "give"))
    await other.get_by_role("switch", name="Offered to clients").click()
    await expect(page.get_by_text("switched off")).to_be_visible()
    await switch.click()
    await expect(other.get_by_text("switched off")).to_be_hidden()
    gateway.switch("mirror", False)
    await expect(page.get_by_text("Its server does not offer this tool any more")).to_be_visible()
    gateway.switch("mirror", True)
    await expect(page.locator("#tool .state")).to_have_text("ready")


async def test_a_tool_can_be_read_about_without_scripts(chromium: Browser, gateway: Gateway) -> None:
    windows = Windows(chromium, stage.url(gateway), scripts=False)
    page = await windows.open(f"/ui/tools/mirror/{quote(ODD, safe='')}")
    await expect(page.get_by_text("needs JavaScript")).to_be_visible()
    await expect(page.locator(".schema .name").first).to_have_text("mode")
    await page.get_by_role("switch", name="Offered to clients").click()
    await expect(page.get_by_text("switched off")).to_be_visible()
    await page.get_by_role("switch", name="Offered to clients").click()
    await windows.close()


# Without a browser


def test_names_of_tools_are_percent_encoded_once(gateway: Gateway) -> None:
    assert gateway.get(f"/ui/tools/mirror/{quote(ODD, safe='')}").status == 200
    for path in (
        "mirror/walk/all%20%3Chere%3E",
        f"mirror/{quote(quote(ODD, safe=''))}",
        "mirror/none",
        "no/x",
    ):
        assert gateway.get(f"/ui/tools/{path}").status == 404


def test_the_face_is_a_label_that_only_our_page_sets(gateway: Gateway) -> None:
    for said in ("ui", "UI", "mcp", "admin"):
        headers = {"Mcp-Gateway-Face": said}
        answer = gateway.request("POST", "/api/tools/mirror/give", {"said": said}, headers)
        call = gateway.get(f"/api/calls/{answer.headers['mcp-gateway-call']}").json()
        assert call["face"] == ("ui" if said == "ui" else "rest")
