"""S07, S09, S28, S31: the pages as somebody attacks them over HTTP: from other sites, oddly, for too much.

The edge does most of it (`tests/faces/test_edge.py`); here is that no page of the UI is an exception.
"""

import http.client
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from mcp_gateway.faces.ui import render
from tests.faces.knocking import check_log
from tests.faces.test_sign_in import PASSWORD, Browser, hashed
from tests.harness import ANSWER_TIMEOUT_S, Gateway, hostile, until
from tests.security.cast import Guarded, wait_ready
from tests.ui import evil
from tests.ui.test_base import FORM, HTML, HTMX, check_document

MODULES = sorted(Path(render.__file__).parent.glob("*.py"))
SECRET_WORD = "zzhiddenzz"  # of a server that a narrow reader may not know of
EVIL = str(Path(evil.__file__))


def routes(method: str) -> list[str]:
    """The paths of all routes of pages with that method, with names that are there where they can be."""
    found = ["/"] if method == "get" else []
    for module in MODULES:
        found += re.findall(rf"router\.{method}\(\s*\"([^\"]+)\"", module.read_text(encoding="utf-8"))
    words = {"server": "good", "tool:path": "echo", "path:path": "nothing", "id": "nothing"}
    words |= {"version": "x", "name:path": "x"}
    return [re.sub(r"\{([\w:]+)\}", lambda found: words[found[1]], path) for path in found]


POSTS = [path for path in routes("post") if path not in ("/ui/csp-reports", "/ui/sign-in")]
PAGES = [path for path in routes("get") if not path.startswith(("/ui/live/", "/ui/static/"))]
LIVE = [path for path in routes("get") if path.startswith("/ui/live/")]


def test_there_are_pages_to_attack() -> None:
    assert (len(POSTS) >= 10, len(PAGES) >= 12, len(LIVE) >= 6) == (True, True, True)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("attacks")
    keys = {
        "reader": {"rights": ["read", "call"], "servers": ["good"]},
        "tool": {"rights": ["read", "call"], "tools": ["good/echo"]},
    }
    servers = {
        "good": hostile("good"),
        "private": hostile("good", title=SECRET_WORD),
        "evil": {"command": sys.executable, "args": ["-I", "-S", EVIL, "offer"], "title": SECRET_WORD},
    }
    with Guarded(servers, directory, {"limits": {"rate": 100_000}}, keys=keys) as gateway:
        wait_ready(gateway, *servers)
        for server in ("good", "private"):
            gateway.call(server, "echo", text=SECRET_WORD if server == "private" else "x")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def signed_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose person may do everything."""
    settings = {"auth": {"password": {"hash": hashed(PASSWORD)}}}
    with Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("browser"), settings) as gateway:
        browser = Browser(gateway)
        browser.sign_in()
        until(lambda: browser.get("/api/servers/good").json()["state"] == "ready", 20, "good is ready")
        gateway.credentials = {"Cookie": browser.cookie}
        yield browser


class Stream:
    """A live page as it is read."""

    def __init__(self, gateway: Gateway, path: str, headers: dict[str, str]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=ANSWER_TIMEOUT_S)
        self.connection.request("GET", path, headers={"Accept": "text/event-stream", **headers})
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def first(self) -> str:
        """The parts as they are when one opens the page."""
        lines: list[str] = []
        while line := self.response.readline().decode():
            if line == "\n" and lines:
                break
            lines += [line[6:]] if line.startswith("data: ") else []
        return "".join(lines)


# -- from other sites -----------------------------------------------------------------------------------

ELSEWHERE: dict[str, dict[str, str | None]] = {
    "nothing said": {"Origin": None},
    "another site": {"Origin": "https://evil.invalid"},
    "no origin": {"Origin": "null"},
    "a neighbour": {"Origin": None, "Sec-Fetch-Site": "same-site"},
    "another site's form": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "two origins": {"Origin": "http://127.0.0.1 https://evil.invalid"},
}


@pytest.mark.parametrize("path", POSTS)
def test_S07_no_form_of_another_site_does_anything(signed_in: Browser, path: str) -> None:
    for sent in (sent for sent in ELSEWHERE.values()):
        for form in (FORM, FORM | HTMX, {"Content-Type": "text/plain"}):
            answer = signed_in.request("POST", path, b"enabled=off&tool=good/echo&text=x", {**form, **sent})
            assert answer.status == 403, (path, sent, answer)
    odd = signed_in.request("POST", path, b"enabled=off", {"Content-Type": "text/plain", "Accept": "*/*"})
    assert odd.status in ((415,) if path in ("/ui/add", "/ui/tools/switch") else (303, 400, 403, 404, 415)), (
        odd
    )
    if odd.status == 303:  # forms without fields: to restart, and to leave
        assert path.endswith(("/restart", "/sign-out")), path
        signed_in.sign_in()
    assert signed_in.get("/api/servers/good").json()["override"] is None


# -- headers, methods, addresses ------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_S31_every_page_of_all_says_the_same_of_itself(gateway: Guarded, path: str) -> None:
    for caller in (gateway, gateway.as_("reader"), gateway.nobody):
        answer = caller.request("GET", path, headers=HTML)
        if answer.headers["content-type"].startswith("text/html"):
            check_document(answer)
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        answer = gateway.request(method, path, headers=HTML)
        assert answer.status == 405
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/ui/tools/%2e%2e/..",
            "/ui/tools/%2e%2e%2f%2e%2e/x",
            "//evil.invalid/ui",
            "/ui//servers",
            "/ui/%00",
        ),
        *("/ui/servers/%2e%2e%2ftools", "/ui/servers/good%00", "/ui/tools/good/echo%2f..", "/ui/tools/good/"),
        *("/ui/tools/good/%ff%fe", "/ui/tools/good/" + "x" * 10_000, "/ui/servers/" + "%F0%9F%92%A9" * 800),
        *("/ui/activity/../access", "/ui/activity/%0d%0aSet-Cookie:x", "/UI/"),
        *("/ui/resources;x=1", "/ui/\\..\\api", "/ui/servers/good?" + "a=b&" * 2_000 + "server=%ff"),
        *("/ui/activity?cursor=%00&since=x", "/ui/activity?last=1&last=2", "/ui/tools?search=%ed%a0%80"),
        *("/ui/connect?url=javascript:alert(1)", "/ui/connect?url=//evil.invalid&server=%3Cb%3E"),
        *(
            "/ui/tools/rows?" + "server=good&" * 400,
            "/ui/static/x/..%2f..%2frest.py",
            "/ui/tools/good/one%0Atwo",
        ),
    ],
)
def test_an_odd_address_is_a_page_or_none(gateway: Guarded, path: str) -> None:
    for caller in (gateway, gateway.nobody):
        answer = caller.request("GET", path, headers=HTML)
        assert answer.status in (200, 400, 401, 404, 405), answer
        assert '="javascript:' not in answer.body.decode()
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
        if answer.headers["content-type"].startswith("text/html"):
            check_document(answer)


def test_a_tool_of_any_name_has_a_page_and_a_switch(gateway: Guarded) -> None:
    for name in evil.PAYLOADS:
        path = f"/ui/tools/evil/{quote(name, safe='')}"
        if name == "..":  # which no browser asks for
            continue
        answer = gateway.request("GET", path, headers=HTML)
        assert answer.status == 200, (name, answer)
        check_document(answer)
    for name in (
        "one\n\ndata: <b>two</b>\n\nevent: error\ndata: {}",
        "../../api/servers",
        "<img src=x onerror=alert(1)>",
    ):
        path = quote(name, safe="")
        assert gateway.request("POST", f"/ui/tools/evil/{path}", b"enabled=off", FORM | HTMX).status == 200
        assert gateway.get(f"/api/tools/evil/{path}").json()["enabled"] is False
        assert gateway.request("PATCH", f"/api/tools/evil/{path}", {"enabled": True}).status == 200


def test_a_form_has_bounds(gateway: Guarded) -> None:
    for path in ("/ui/servers/good/switch", "/ui/access/keys", "/ui/tools/good/echo"):
        assert gateway.request("POST", path, b"a=" + b"x" * 70_000, FORM).status == 413
        assert gateway.request("POST", path, b"a=1&" * 10_000, FORM).status == 400
        assert gateway.request("POST", path, b"enabled=%ff%fe&=&&;", FORM).status == 400
    assert gateway.server("good")["override"] is None


# -- who may watch, and for how long --------------------------------------------------------------------


def test_S09_every_live_page_ends_with_its_key(gateway: Guarded) -> None:
    key_id, reader = gateway.make_key("leaving", rights=["read", "call"])
    streams = [Stream(reader, path, reader.identity) for path in LIVE]
    for stream in streams:
        assert stream.status == 200
        stream.first()
    gateway.revoke(key_id)
    for stream in streams:
        assert b"hx-partial" not in stream.response.read()
        stream.connection.close()


def test_S09_a_live_page_ends_with_a_sign_in(signed_in: Browser) -> None:
    streams = [Stream(signed_in.gateway, path, {"Cookie": signed_in.cookie}) for path in LIVE]
    for stream in streams:
        assert (stream.status, stream.first() != "") == (200, True)
    assert signed_in.submit("/ui/sign-out").status == 303
    for stream in streams:
        assert b"hx-partial" not in stream.response.read()
        stream.connection.close()
    signed_in.sign_in()


@pytest.mark.parametrize("key", ["reader", "tool"])
def test_S28_no_page_names_a_server_to_who_may_not_see_it(gateway: Guarded, key: str) -> None:
    narrow = gateway.as_(key)
    hidden = rf"{SECRET_WORD}|pwned|{re.escape(sys.executable)}|<dt>Process|to stderr|configuration in force"
    with ExitStack() as stack:

        def check(path: str) -> None:
            # What one asks for oneself is in the fields that one asked with.
            words = hidden if "=" in path else rf"{hidden}|\bprivate\b|\bevil\b"
            if path.startswith("/ui/live/"):
                stream = Stream(narrow, path, narrow.identity)
                stack.callback(stream.connection.close)
                assert stream.status == 200, path
                shown = stream.first()
            else:
                shown = narrow.request("GET", path, headers=HTML).body.decode()
            assert re.search(words, shown) is None, (path, re.search(words, shown))

        for path in (*PAGES, *LIVE):
            check(path)
        for asked in (
            "tools?server=private",
            "activity?server=private",
            "resources?server=evil",
            "tools/rows?server=evil",
        ):
            check(f"/ui/{asked}")
        for asked in ("activity?server=private", "resources?server=evil", "prompts?server=evil"):
            check(f"/ui/live/{asked}")
    for path in (
        "/ui/servers/private",
        "/ui/tools/private/echo",
        "/ui/live/servers/private",
        "/ui/connect?server=private",
    ):
        told = narrow.request("GET", path, headers=HTML)
        unknown = narrow.request("GET", path.replace("private", "unknown"), headers=HTML)
        assert told.status == unknown.status == 404, path
        assert re.sub(r"private|[\d.]", "", told.body.decode()) == re.sub(
            r"unknown|[\d.]", "", unknown.body.decode()
        )


def test_S30_names_of_keys_and_callers_are_text(gateway: Guarded) -> None:
    made = [gateway.make_key(name, rights=["read"])[0] for name in evil.PAYLOADS[:40]]
    body = gateway.request("GET", "/ui/access", headers=HTML).body.decode()
    for raw in ("<script>p", "<img src=x", "<svg onload", "hx-get='/ui/canary", "<iframe"):
        assert raw not in body
    assert "&lt;script&gt;pwned=1;alert(1)&lt;/script&gt;" in body
    for key_id in made:
        assert f'action="/ui/access/keys/{quote(key_id)}/revoke"' in body
        gateway.revoke(key_id)
