"""The Tools page over HTTP: what it shows to whom, what its forms do, and that it needs no scripts."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest

from tests.faces.knocking import check_log
from tests.harness import Answer, Gateway, hostile
from tests.security.cast import Guarded, wait_ready
from tests.ui.stage import shelf

MANY: Final = 2_000
WORD: Final = "canarybird"
HOSTILE: Final = (
    "<img src=x onerror=alert(1)>",
    "a/b",
    "../../etc",
    "'\"><script>alert(1)</script>",
    "\u202egnp.exe",
    "{{ 7*7 }}",
    "x" * 1_000,
    "?a=b&c#d",
    "hx-get=/ui/sign-out",
)
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


def evil(name: str) -> dict[str, Any]:
    text = f"{name} {WORD} <hx-partial hx-target='body'><b>x</b></hx-partial> " + "y" * 10_000
    return {"name": name, "title": name, "description": text, "inputSchema": {"type": "object"}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("tools")
    keys = {
        "reader": {"rights": ["read"]},
        "narrow": {"rights": ["read"], "tools": ["good/echo", "evil/a/b"]},
        "some": {"rights": ["read", "operate"], "tools": ["good/echo"]},
        "caller": {"rights": ["call"]},
    }
    servers = {
        "good": hostile("good"),
        "evil": shelf(directory / "evil.json", *map(evil, HOSTILE)),
        "away": hostile("good", enabled=False),
    }
    with Guarded(servers, directory / "gateway", keys=keys) as gateway:
        wait_ready(gateway, "good", "evil")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"many": hostile("good", "--tools", str(MANY - 50)), "good": hostile("good")}
    with Gateway(servers, tmp_path_factory.mktemp("large")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready", timeout_s=20)
        yield gateway


class Page(HTMLParser):
    """What a browser without scripts makes of a page: elements, each with its attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [found for name, found in self.elements if name == tag and wanted.items() <= found.items()]

    @property
    def tools(self) -> list[str]:
        """By server and name as in their addresses."""
        addresses = [one["href"] for one in self.all("a") if "href" in one]
        return [one[10:] for one in addresses if re.fullmatch("/ui/tools/[^/?]+/[^/?]+", one)]


def look(gateway: Gateway, path: str = "/ui/tools", **query: str) -> Page:
    answer = gateway.get(f"{path}?{urlencode(query)}" if query else path)
    assert answer.status == 200, answer
    return Page(answer.body.decode())


def post(gateway: Gateway, *fields: tuple[str, str], **headers: str) -> Answer:
    sent = FORM | {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.request("POST", "/ui/tools/switch", urlencode(fields).encode(), sent)


def off(gateway: Gateway) -> set[str]:
    tools = gateway.get("/api/tools").json()["tools"]
    return {f"{tool['server']}/{tool['name']}" for tool in tools if not tool["enabled"]}


# -- what is shown ----------------------------------------------------------------------------------------


def test_every_tool_is_on_the_page_below_its_server(gateway: Guarded) -> None:
    page = look(gateway)
    assert [one["data-server"] for one in page.all("section")] == ["good", "evil", "away"]
    every = gateway.get("/api/tools").json()["tools"]
    assert page.tools == [f"{tool['server']}/{quote(tool['name'], safe='')}" for tool in every]
    assert len(page.all("button", role="switch")) == len(page.all("input", name="tool")) == len(every)


def test_the_total_is_that_of_the_servers(gateway: Guarded) -> None:
    servers = gateway.get("/api/servers").json()["servers"]
    count, tokens = (sum(one[name] for one in servers) for name in ("tools", "toolTokens"))
    said = f"{count} of {count} tools on, ≈ {tokens:,} tokens in a model's context (an estimate)"
    assert said in "".join(look(gateway).text)


def test_hostile_names_and_descriptions_are_text(gateway: Guarded) -> None:
    page = look(gateway, server="evil")
    assert page.tools == [f"evil/{quote(name, safe='')}" for name in HOSTILE]
    assert {one["src"][:4] for one in page.all("img")} <= {"/ui/"}
    assert not page.all("b", **{"hx-target": "body"})
    assert not page.all("hx-partial")
    assert {one["src"].rpartition("/")[2] for one in page.all("script")} == {
        "htmx.js", "hx-sse.js", "app.js", "tools.js"
    }  # fmt: skip
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert "style" not in attributes
    shown = "".join(page.text)
    assert HOSTILE[0] in shown
    assert "{{ 7*7 }}" in shown
    assert "\u202e" not in shown
    assert "\\u202egnp.exe" in shown


def test_a_description_of_10_kB_does_not_make_the_page_large(gateway: Guarded) -> None:
    row = max(look(gateway, server="evil").all("li"), key=lambda one: len(one.get("data-more", "")))
    assert len(row["data-more"]) <= 4_000


# -- search and filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"search": WORD}, len(HOSTILE)),
        ({"search": f"{WORD.upper()} a/b"}, 1),
        ({"search": WORD, "server": "good"}, 0),
        ({"search": "\u202egnp"}, 0),  # it is shown, and found, as what it is
        ({"search": "\\u202egnp"}, 1),
        ({"search": "<img"}, 1),
        ({"server": "evil"}, len(HOSTILE)),
        ({"server": "evil", "says": "read-only"}, 0),
        ({"server": "evil", "says": "destructive", "enabled": "on"}, len(HOSTILE)),
        ({"server": "evil", "enabled": "off"}, 0),
        ({"server": "nothing"}, 0),
    ],
)
def test_a_filter_in_the_address_needs_no_scripts(
    gateway: Guarded, query: dict[str, str], count: int
) -> None:
    page = look(gateway, **query)
    assert len(page.tools) == count
    assert f" of {len(look(gateway).tools)} tools match" in "".join(page.text)
    assert ("hidden" in page.all("p", id="tools-none")[0]) is (count > 0)


def test_a_filter_is_in_its_form_again(gateway: Guarded) -> None:
    page = look(gateway, search='"><b>', server="good", says="additive", enabled="off")
    assert page.all("input", name="search")[0]["value"] == '"><b>'
    chosen = [one["value"] for one in page.all("option") if "selected" in one]
    assert chosen == ["good", "additive", "off"]


def test_many_tools_are_servers_at_first_and_each_leads_to_its_tools(large: Gateway) -> None:
    page = look(large)
    assert page.tools == []
    links = [one["href"] for one in page.all("a") if one.get("href", "").startswith("/ui/tools?")]
    assert links == ["/ui/tools?server=many", "/ui/tools?server=good"]
    assert len(look(large, server="many").tools) > 300
    found = look(large, search="echo", enabled="on")
    assert found.tools
    wide = look(large, search="t", says="destructive")
    assert wide.tools == []
    assert "/ui/tools?search=t&says=destructive&server=many" in [one.get("href") for one in wide.all("a")]


def test_rows_come_for_the_servers_that_are_asked_for(large: Gateway) -> None:
    page = look(large, "/ui/tools/rows?server=good&server=nothing")
    assert {one.partition("/")[0] for one in page.tools} == {"good"}
    assert [one["hx-target"] for one in page.all("hx-partial")] == ["#tools-head-good", "#tools-of-good"]


# -- rights -----------------------------------------------------------------------------------------------


def test_who_may_only_read_sees_no_switches(gateway: Guarded) -> None:
    page = look(gateway.as_("reader"))
    assert page.tools == look(gateway).tools
    assert not page.all("button", role="switch")
    assert not page.all("input", type="checkbox")
    assert post(gateway.as_("reader"), ("enabled", "off"), ("tool", "good/echo")).status == 403
    assert off(gateway) == set()


def test_who_sees_some_tools_sees_those(gateway: Guarded) -> None:
    for path in ("/ui/tools", "/ui/tools?search=o", "/ui/tools/rows?server=good&server=evil&server=away"):
        page = Page(gateway.as_("narrow").get(path).body.decode())
        assert set(page.tools) <= {"good/echo", "evil/a%2Fb"}
    page = look(gateway.as_("narrow"))
    assert len(page.tools) == 2
    assert "2 of 2 tools on" in "".join(page.text)
    assert [one["data-server"] for one in page.all("section")] == ["good", "evil"]


def test_who_operates_some_tools_switches_those(gateway: Guarded) -> None:
    some = gateway.as_("some")
    assert [one["value"] for one in look(some).all("button", role="switch")] == ["off good/echo"]
    answer = post(some, ("enabled", "off"), ("tool", "good/echo"), ("tool", "good/add"))
    assert answer.status in (403, 404)
    assert off(gateway) == set()


def test_who_may_only_call_or_is_nobody_sees_nothing(gateway: Guarded) -> None:
    for path in ("/ui/tools", "/ui/tools/rows?server=good", "/ui/live/tools"):
        assert gateway.as_("caller").get(path).status == 403
        answer = gateway.nobody.get(path)
        assert answer.status in (401, 403)
        assert Page(answer.body.decode()).tools == []


# -- switching --------------------------------------------------------------------------------------------


def test_a_form_without_scripts_switches_what_is_selected_and_leads_back(gateway: Guarded) -> None:
    keys = ["good/echo", f"evil/{quote(HOSTILE[0], safe='')}", "evil/a%2Fb"]
    here = f"http://127.0.0.1:{gateway.port}/ui/tools?server=evil&search=a+b"
    answer = post(gateway, *(("tool", key) for key in keys), ("enabled", "off"), Referer=here)
    assert (answer.status, answer.headers["location"]) == (303, "/ui/tools?server=evil&search=a+b")
    assert off(gateway) == {"good/echo", f"evil/{HOSTILE[0]}", "evil/a/b"}
    assert len(look(gateway, enabled="off").tools) == 3
    assert post(gateway, *(("tool", key) for key in keys), ("enabled", "on")).status == 303
    assert off(gateway) == set()


def test_the_switch_of_one_tool_is_about_that_one_whatever_is_selected(gateway: Guarded) -> None:
    button = look(gateway).all("button", role="switch")[0]
    assert post(gateway, ("tool", "evil/a%2Fb"), ("only", button["value"])).status == 303
    key = button["value"].removeprefix("off ")
    assert off(gateway) == {key}
    button = look(gateway).all("button", role="switch")[0]
    assert (button["value"], button["aria-checked"]) == (f"on {key}", "false")
    assert post(gateway, ("only", button["value"])).status == 303
    assert off(gateway) == set()


def test_a_click_gets_the_rows_that_changed_and_no_others(gateway: Guarded) -> None:
    answer = post(gateway, ("enabled", "off"), ("tool", "good/echo"), HX_Request="true")
    page = Page(answer.body.decode())
    assert [one["hx-target"] for one in page.all("hx-partial")] == [
        "#tools-head-good", "#tools-of-good", "#tools-total"
    ]  # fmt: skip
    assert page.all("button", value="on good/echo")[0]["aria-checked"] == "false"
    post(gateway, ("enabled", "on"), ("tool", "good/echo"))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("enabled", "off")],
        [("enabled", "maybe"), ("tool", "good/echo")],
        [("tool", "good/echo")],
        [("enabled", "off"), ("tool", "good")],
        [("enabled", "off"), ("tool", "good/")],
        [("enabled", "off"), ("tool", "/echo")],
        [("enabled", "off"), ("tool", "good/a/b")],
        [("enabled", "off"), ("tool", "good/%ff")],
        [("only", "off")],
        [("only", "good/echo")],
        [("only", "")],
    ],
)
def test_a_form_that_makes_no_sense_switches_nothing(gateway: Guarded, fields: list[tuple[str, str]]) -> None:
    assert post(gateway, *fields).status == 400
    assert off(gateway) == set()


def test_enter_without_scripts_switches_nothing(gateway: Guarded) -> None:
    first = look(gateway).all("button")
    assert next(one for one in first if one.get("name") in ("nothing", "only"))["name"] == "nothing"
    assert post(gateway, ("tool", "good/echo"), ("nothing", "")).status == 303
    assert off(gateway) == set()


def test_one_tool_that_is_not_there_and_nothing_is_switched(gateway: Guarded) -> None:
    answer = post(gateway, ("enabled", "off"), ("tool", "good/echo"), ("tool", "good/nothing"))
    assert answer.status == 404
    assert off(gateway) == set()


def test_thousands_are_switched_by_one_form(large: Gateway) -> None:
    keys = [("tool", key) for key in look(large, server="many").tools]
    assert len(keys) >= MANY - 50
    answer = post(large, *keys, ("enabled", "off"), HX_Request="true")
    assert answer.status == 200, answer
    assert f"{len(keys):,} tools are off" in answer.body.decode()
    assert len(off(large)) == len(keys)
    post(large, *keys, ("enabled", "on"))
    assert off(large) == set()


# -- live -------------------------------------------------------------------------------------------------


def test_the_live_stream_tells_of_what_changed_and_sends_no_rows(gateway: Guarded) -> None:
    with gateway.open("GET", "/ui/live/tools", headers={"Accept": "text/event-stream"}) as stream:

        def event() -> Page:
            lines: list[str] = []
            while (line := stream.readline().decode()).strip() or not lines:
                if line.startswith("data:"):
                    lines.append(line[5:])
            return Page("".join(lines))

        first = event()
        assert [one["hx-target"] for one in first.all("hx-partial")] == [
            "#tools-head-good", "#tools-head-evil", "#tools-head-away", "#tools-total", "#tools-servers"
        ]  # fmt: skip
        post(gateway, ("enabled", "off"), ("tool", "good/echo"))
        after = event()
        assert [one["hx-target"] for one in after.all("hx-partial")] == ["#tools-head-good", "#tools-total"]
        assert after.tools == []
        digests = [
            next(one["data-digest"] for one in page.all("div") if one.get("id") == "tools-head-good")
            for page in (first, after)
        ]
        assert digests[0] != digests[1]
    post(gateway, ("enabled", "on"), ("tool", "good/echo"))
