"""Every action of the pages has its twin in REST: each is walked once as a form and once as a request.

What both leave behind is compared: servers, tools, keys, who is signed in, sessions, the call, the file, and
the record in Activity. What a page shows is found in REST, too: `FACTS` names where.
"""

import itertools
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from mcp_gateway.config import load
from mcp_gateway.faces import rest, routing
from mcp_gateway.faces.asgi import HOT
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.gateway import Gateway as Inside
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery
from tests.faces.test_sign_in import FORM, HTML, Browser
from tests.harness import HOSTILE, Answer, Gateway, hostile, until
from tests.open_webui import OpenWebUi
from tests.ui import stage
from tests.ui.signing import code_of

NEWCOMER = {"newcomer": {"command": sys.executable, "args": ["-I", "-S", str(HOSTILE), "good"]}}
NEW_TEXT = json.dumps(NEWCOMER)
MCP = {"Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "twin", "version": "1"},
    },
}
Fields = Sequence[tuple[str, str]]


@dataclass
class Stage:
    """A gateway, and the browser of a person who has just said who they are."""

    gateway: Gateway
    browser: Browser
    open_webui: OpenWebUi

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        answer = self.browser.request(method, path, body)
        assert answer.status < 400, (method, path, answer)
        return answer

    def facts(self) -> dict[str, Any]:
        """All that an action can change, without what is another each time."""
        shown = self.ask("GET", "/api/servers").json()["servers"]
        keys, signed_in = self.ask("GET", "/api/keys").json()["keys"], self.ask("GET", "/api/sign-ins").json()
        calls = self.ask("GET", "/api/calls?outcome=running").json()["calls"]
        return {
            "servers": {one["id"]: (one["enabled"], one["declared"], one["override"]) for one in shown},
            "tools": {
                (one["server"], one["name"]): one["enabled"]
                for one in self.ask("GET", "/api/tools").json()["tools"]
            },
            "keys": [(one["name"], one["scopes"], one["expires"]) for one in keys],
            "signed in": sorted((one["way"], one["yours"]) for one in signed_in["signIns"]),
            "sessions": len(self.ask("GET", "/api/sessions").json()["sessions"]),
            "running": [(one["server"], one["tool"]) for one in calls],
            "connected": list(self.open_webui.connections),
            "file": (self.gateway.directory / "config.json").read_text(),
        }

    def actions(self) -> list[dict[str, Any]]:
        """What was done, newest first."""
        rows = self.ask("GET", "/api/calls?limit=30").json()["calls"]
        return [row for row in rows if row["action"] is not None]

    # What actions are done to; each answers the parameters of the path

    def server(self) -> dict[str, str]:
        return {"server": "good"}

    def tool(self) -> dict[str, str]:
        return {"server": "good", "tool:path": "echo"}

    def call(self) -> dict[str, str]:
        answer = self.browser.request(
            "POST", "/api/tools/slow/act", {}, {"Prefer": "respond-async", "Content-Type": "application/json"}
        )
        assert answer.status == 202, answer
        return {"id": answer.json()["id"]}

    def session(self) -> dict[str, str]:
        answer = self.browser.request("POST", "/mcp", INITIALIZE, MCP)
        assert answer.status == 200, answer
        (found,) = self.ask("GET", "/api/sessions").json()["sessions"]
        return {"id": found["id"]}

    def key(self) -> dict[str, str]:
        made = self.ask("POST", "/api/keys", {"name": "twin", "scopes": {"rights": ["read"]}})
        return {"id": made.json()["id"]}

    def other(self) -> dict[str, str]:
        """The sign-in of another browser."""
        Browser(self.gateway).sign_in(code=code_of(self.gateway))
        shown = self.ask("GET", "/api/sign-ins").json()["signIns"]
        return {"id": next(one["id"] for one in shown if not one["yours"])}

    def newcomer(self) -> dict[str, str]:
        self.ask("POST", "/api/servers", {"text": NEW_TEXT})
        self.gateway.wait_for_state("newcomer", "ready")
        return {"server": "newcomer"}

    def nothing(self) -> dict[str, str]:
        return {}

    def open_webui_body(self) -> dict[str, Any]:
        url, key = self.open_webui.url, self.open_webui.key
        return {"url": url, "key": key, "gatewayUrl": stage.url(self.gateway), "forAllUsers": True}

    def open_webui_form(self) -> Fields:
        asked = self.open_webui_body()
        return [(name, asked[name]) for name in ("url", "key", "gatewayUrl")] + [
            *(("way", "openapi"), ("users", "all"), ("server", "")),
        ]

    def seen(self) -> str:
        """What the page of a text that was looked at sends back with it."""
        fields = [("text", NEW_TEXT), ("name", "")]
        answer = submit(self.browser, "/ui/add/check", fields)
        return next(value for name, value in inputs(answer.body.decode()) if name == "seen")

    def clear(self) -> None:
        """As it was before."""
        self.open_webui.reset()
        for key in self.ask("GET", "/api/keys").json()["keys"]:
            self.ask("DELETE", f"/api/keys/{key['id']}")
        for one in self.ask("GET", "/api/sign-ins").json()["signIns"]:
            if not one["yours"]:
                self.ask("DELETE", f"/api/sign-ins/{one['id']}")
        for one in self.ask("GET", "/api/sessions").json()["sessions"]:
            self.ask("DELETE", f"/api/sessions/{one['id']}")
        for one in self.ask("GET", "/api/calls?outcome=running").json()["calls"]:
            self.ask("DELETE", f"/api/calls/{one['id']}")
        self.ask("PATCH", "/api/servers/good", {"enabled": None})
        self.gateway.reload()
        self.gateway.wait_for_state("good", "ready")
        tools = [{"server": "good", "name": name} for name in ("echo", "sleep")]
        self.ask("PATCH", "/api/tools", {"enabled": True, "tools": tools})


class _Inputs(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("name"):
            self.found.append((given["name"] or "", given.get("value") or ""))


def inputs(page: str) -> list[tuple[str, str]]:
    parser = _Inputs()
    parser.feed(page)
    return parser.found


def submit(browser: Browser, path: str, fields: Fields) -> Answer:
    return browser.request("POST", path, urlencode(fields).encode(), FORM | HTML)


@dataclass(frozen=True)
class Twin:
    """A form of the pages and a route of REST that do the same to what `at` names; `action` is on record."""

    page: str
    method: str
    path: str
    at: Callable[[Stage], dict[str, str]]
    fields: Fields | Callable[[Stage], Fields] = ()
    body: Any = None  # or what makes it
    action: str | None = None
    changes: tuple[str, ...] = ()


TWINS = (
    Twin(
        *("/ui/servers/{server}/switch", "PATCH", "/api/servers/{server}", Stage.server),
        *([("enabled", "off")], {"enabled": False}, "server.switch", ("servers", "tools")),
    ),
    Twin(
        *("/ui/servers/{server}/restart", "POST", "/api/servers/{server}/restart", Stage.server),
        *((), None, "server.restart", ()),
    ),
    Twin(
        *("/ui/servers/{server}/remove", "DELETE", "/api/servers/{server}", Stage.newcomer),
        *((), None, "server.remove", ("servers", "tools", "file")),
    ),
    Twin(
        *("/ui/tools/switch", "PATCH", "/api/tools", Stage.nothing),
        [("tool", "good/echo"), ("tool", "good/sleep"), ("enabled", "off")],
        {"enabled": False, "tools": [{"server": "good", "name": name} for name in ("echo", "sleep")]},
        *("tool.switch", ("tools",)),
    ),
    Twin(
        *("/ui/tools/{server}/{tool:path}", "PATCH", "/api/tools/{server}/{tool:path}", Stage.tool),
        *([("enabled", "off")], {"enabled": False}, "tool.switch", ("tools",)),
    ),
    Twin(
        *("/ui/activity/{id}/cancel", "DELETE", "/api/calls/{id}", Stage.call),
        *((), None, None, ("running",)),
    ),
    Twin(
        *("/ui/activity/sessions/{id}/close", "DELETE", "/api/sessions/{id}", Stage.session),
        *((), None, None, ("sessions",)),
    ),
    Twin(
        *("/ui/add/check", "POST", "/api/servers/check", Stage.nothing),
        *([("text", NEW_TEXT)], {"text": NEW_TEXT}, None, ()),
    ),
    Twin(
        *("/ui/add", "POST", "/api/servers", Stage.nothing),
        lambda stage: [("text", NEW_TEXT), ("name", ""), ("seen", stage.seen())],
        *({"text": NEW_TEXT}, "server.add", ("servers", "tools", "file")),
    ),
    Twin(
        *("/ui/connect/open-webui/check", "POST", "/api/openwebui/check", Stage.nothing),
        *(Stage.open_webui_form, Stage.open_webui_body, "openwebui.check", ()),
    ),
    Twin(
        *("/ui/connect/open-webui", "POST", "/api/openwebui/connections", Stage.nothing),
        *(Stage.open_webui_form, Stage.open_webui_body, "openwebui.connect", ("connected",)),
    ),
    Twin(
        *("/ui/access/keys", "POST", "/api/keys", Stage.nothing),
        [("name", "twin"), ("rights", "read"), ("servers", "good"), ("expires", "2999-01-31")],
        {"name": "twin", "scopes": {"rights": ["read"], "servers": ["good"]}, "expires": "2999-01-31"},
        *("key.create", ("keys",)),
    ),
    Twin(
        *("/ui/access/keys/{id}/revoke", "DELETE", "/api/keys/{id}", Stage.key),
        *((), None, "key.revoke", ("keys",)),
    ),
    Twin(
        *("/ui/access/sign-ins/{id}/end", "DELETE", "/api/sign-ins/{id}", Stage.other),
        *((), None, "sign-in.end", ("signed in",)),
    ),
)
# With a test of their own: what they change is the browser itself.
SIGNING = {
    ("POST", "/ui/sign-in"): ("POST", "/api/sign-in"),
    ("POST", "/ui/sign-out"): ("POST", "/api/sign-out"),
}
# Nobody does it: the browser tells what it kept a page from.
NO_ACTION = {("POST", "/ui/csp-reports")}
# Scripts of the pages send these as they are, with the answer as it comes.
DIRECT = {
    ("POST", "/api/tools/{server}/{tool:path}"): "js/running.js",
    ("POST", "/api/prompts/{server}/{prompt:path}"): "js/shelves.js",
}
# Not on the pages, and why.
NOT_ON_PAGES = {
    (
        "POST",
        "/api/reload",
    ): "the gateway reads the file when it changes; this is for who writes it by a program",
    (
        "POST",
        "/api/openwebui/functions/{server}/link",
    ): "Open WebUI follows the link, as it cannot say who it is; a person has the code itself",
}
# Where the facts of each page are in REST.
FACTS = {
    "/": ("/api/servers", "/api/stats"),
    "/ui/servers": ("/api/servers", "/api/stats"),
    "/ui/servers/{server}": (
        "/api/servers/{server}",
        "/api/servers/{server}/logs",
        "/api/servers/{server}/config",
    ),
    "/ui/tools": ("/api/tools", "/api/servers"),
    "/ui/tools/rows": ("/api/tools",),
    "/ui/tools/{server}/{tool:path}": ("/api/tools/{server}/{tool:path}",),
    "/ui/resources": ("/api/resources", "/api/resources/{server}"),
    "/ui/prompts": ("/api/prompts",),
    "/ui/activity": ("/api/calls", "/api/stats", "/api/sessions", "/api/calls/export"),
    "/ui/activity/{id}": ("/api/calls/{id}",),
    "/docs": ("/openapi.json", "/tools/openapi.json", "/tools/{server}/openapi.json"),
    "/ui/connect": ("/api/connect", "/api/openwebui/connection"),
    "/ui/add": ("/api/servers/check",),
    "/ui/access": ("/api/access", "/api/keys", "/api/sign-ins", "/api/me"),
}
LIVE = "/ui/live/"  # the same as the page; in REST `/api/events`, and `logs` as a stream
FILES = ("/ui/static/", "/ui/icons/", "/manifest.webmanifest", "/sw.js", "/ui/offline", "/ui/{path:path}")


# -- the tables -----------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def routes(tmp_path: Path) -> AsyncIterator[set[tuple[str, str]]]:
    store = Store.open(tmp_path / "state")
    try:
        gateway = Inside(load.empty(), store, Nursery("test", {}), {}, tmp_path)
        yield set(routing.policies(rest.build(gateway, Sessions()))) | set(HOT)
    finally:
        await store.close()


def is_of_page(path: str) -> bool:
    return path.startswith("/ui/") or path in ("/", "/docs", "/manifest.webmanifest", "/sw.js")


async def test_every_action_of_a_page_has_its_twin(routes: set[tuple[str, str]]) -> None:
    on_pages = {route for route in routes if is_of_page(route[1]) and route[0] not in ("GET", "HEAD")}
    assert on_pages == {("POST", twin.page) for twin in TWINS} | set(SIGNING) | NO_ACTION
    for twin in TWINS:
        assert (twin.method, twin.path) in routes


async def test_every_action_of_rest_is_on_a_page_or_has_a_reason_not_to_be(
    routes: set[tuple[str, str]],
) -> None:
    changing = {
        # The hot route of calls is known by the name of the one that shows a tool.
        (method, "/api/tools/{server}/{tool:path}" if path == "/api/tools/{server}/{tool}" else path)
        for method, path in routes
        if path.startswith("/api/") and method not in ("GET", "HEAD")
    }
    on_pages = {(twin.method, twin.path) for twin in TWINS} | set(SIGNING.values()) | set(DIRECT)
    assert changing == on_pages | set(NOT_ON_PAGES)
    sources = Path(__file__).parents[2] / "ui"
    for (_, path), script in DIRECT.items():
        begin = path.partition("{")[0]
        texts = [(sources / script).read_text(), (sources / "js" / "quoting.js").read_text()]
        assert any(begin in text for text in texts), (path, script)


async def test_what_a_page_shows_is_read_in_rest(routes: set[tuple[str, str]]) -> None:
    pages = {path for method, path in routes if method == "GET" and is_of_page(path)}
    assert {path for path in pages if not path.startswith((LIVE, *FILES))} == set(FACTS)
    for path in itertools.chain.from_iterable(FACTS.values()):
        method = "POST" if path.endswith("/check") else "GET"
        assert (method, path) in routes, path


# -- the walk -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    servers = {"good": hostile("good"), "slow": hostile("never")}
    with (
        stage.opened(Gateway(servers, tmp_path_factory.mktemp("twins")), *servers) as gateway,
        OpenWebUi("sk-of-an-administrator") as open_webui,
    ):
        browser = Browser(gateway)
        browser.sign_in(code=code_of(gateway))
        yield Stage(gateway, browser, open_webui)


def filled(path: str, parameters: Mapping[str, str]) -> str:
    for name, value in parameters.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path
    return path


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.page)
def test_a_form_and_a_request_leave_the_same_behind(whole: Stage, twin: Twin) -> None:
    left = []
    for is_form in (True, False):
        whole.clear()
        left.append(walked(whole, twin, is_form=is_form))
    whole.clear()
    assert left[0] == left[1]


def walked(whole: Stage, twin: Twin, *, is_form: bool) -> tuple[dict[str, Any], list[Any]]:
    """What the action changed, and what is on record of it."""
    at = twin.at(whole)
    pid, known = whole.gateway.server("good").get("pid"), {row["id"] for row in whole.actions()}
    before, told, records = whole.facts(), dict[str, Any](), list[dict[str, Any]]()
    if is_form:
        fields = twin.fields(whole) if callable(twin.fields) else twin.fields
        answer = submit(whole.browser, filled(twin.page, at), fields)
        assert answer.status in (200, 303), answer
    else:
        body = twin.body(whole) if callable(twin.body) else twin.body
        whole.ask(twin.method, filled(twin.path, at), body)

    def has_changed() -> bool:
        told.clear()
        told.update(changed(before, whole.facts()))
        return set(told) == set(twin.changes)

    def is_recorded() -> bool:
        records[:] = [row for row in whole.actions() if row["id"] not in known]
        return twin.action is None or any(row["action"] == twin.action for row in records)

    until(has_changed, 10, f"{twin.page} changes {twin.changes}", lambda: f"{sorted(told)}")
    if twin.action == "server.restart":
        whole.gateway.wait_for("good", lambda shown: shown.get("pid") not in (None, pid), 10, "restarts")
    until(is_recorded, 5, f"{twin.action} is on record", lambda: f"{records}")
    return told, [
        (row["action"], row["caller"], row["outcome"], without_ids(row["detail"]))
        for row in records
        if row["action"] == twin.action
    ]


def without_ids(detail: str | None) -> str:
    return re.sub(r"\b[0-9a-f]{8,}\b", "ID", detail or "")


def test_signing_in_and_out_is_the_same_by_form_and_by_request(whole: Stage) -> None:
    left = []
    for is_form in (True, False):
        browser, code = Browser(whole.gateway), code_of(whole.gateway)
        if is_form:
            assert submit(browser, "/ui/sign-in", [("code", code), ("next", "/")]).status == 303
        else:
            assert browser.request("POST", "/api/sign-in", {"code": code}).status == 200
        inside = browser.me
        assert browser.cookie
        if is_form:
            assert submit(browser, "/ui/sign-out", ()).status == 303
        else:
            assert browser.request("POST", "/api/sign-out").status == 204
        assert not browser.cookie
        left.append([(me["caller"], me["rights"], bool(me["signedInUntil"])) for me in (inside, browser.me)])
    assert left[0] == left[1]
    assert left[0][0] != left[0][1]
