"""What every page stands on: templates that can only escape, files, headers, forms, streams (S30-S32, S35).

The pages themselves have modules of their own; here is what holds whichever page it is.
"""

import ast
import asyncio
import gzip
import http.client
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from jinja2.environment import Environment
from starlette.requests import Request

from mcp_gateway.access.caller import LOCAL_OPERATOR
from mcp_gateway.errors import GatewayError
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.ui import live, render
from mcp_gateway.faces.ui.assets import Assets
from mcp_gateway.faces.ui.render import (
    PLACES,
    amount,
    environment,
    own_path,
    segment,
    size,
    span,
    stamp,
    took,
)
from mcp_gateway.faces.ui.routing import FORM_BYTES, back, read_form
from mcp_gateway.faces.ui.servers import LOOKS
from mcp_gateway.gateway import Gateway as Inside
from mcp_gateway.gateway.bells import Patience
from mcp_gateway.gateway.events import MAX_UNREAD_LOSSY, Change, Feed
from mcp_gateway.wire import sse
from tests.faces.knocking import Line, check_log, check_problem
from tests.harness import ANSWER_TIMEOUT_S, Answer, Gateway, hostile, until
from tests.security.cast import Guarded, status_of, wait_ready

UI = Path(render.__file__).parent
SOURCES = Path(__file__).parents[2] / "ui"
TEMPLATES = sorted((UI / "templates").rglob("*.html"))
MODULES = sorted(UI.glob("*.py"))
SCRIPTS = sorted((SOURCES / "js").rglob("*.js"))
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HTMX = {"HX-Request": "true", "Accept": "text/html"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("base")) as gateway:
        gateway.wait_for_state("good", "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    servers = {"good": hostile("good")}
    settings = {"limits": {"rate": 100_000}}
    with Guarded(servers, tmp_path_factory.mktemp("guarded"), settings) as gateway:
        wait_ready(gateway, "good")
        yield gateway
        check_log(gateway)


def texts(paths: Sequence[Path]) -> list[Any]:
    return [pytest.param(path, id=path.name) for path in paths]


# -- templates (S30, S32) -------------------------------------------------------------------------------

# What would let text of a server become more than text, and what the policy of the page forbids anyhow.
NEVER = {
    "a way around escaping": r"\|\s*(safe|urlize|xmlattr|escape|e|forceescape|striptags)\b|autoescape|Markup",
    "a style of one element": r"\sstyle\s*=|<style",
    "code in the page": r"<script(?![^>]*\ssrc=\"\{\{ asset\('[\w/.-]+'\) \}\}\")|<script[^>]*>(?!</script>)",
    "a handler": r"[\s\"']on\w+\s*=|hx-on|hx-vals\s*=\s*[\"']js|js:|javascript:",
    "an attribute without quotes": r"\s[\w:-]+=\s*\{\{",
    "something foreign to load": r"(src|srcset|poster|data|action|formaction|hx-\w+)=\"(https?:)?//",
    "a form that says nothing of where to": r"<form(?![^>]*\smethod=\"(post|get|dialog)\")",
    "a frame or an object": r"<(iframe|object|embed|base|frame)\b",
}

# What scripts read is no code: `tojson` leaves no character in it that could end the element.
DATA = re.compile(r'<script type="application/json" id="[\w-]+">\{\{ \w+\|tojson \}\}</script>')
# Made by us from the first letter on: of files, of places, of the page itself, of its own filters. The last
# one opens a program of the reader's machine; `connecting.py` makes it, the scheme included.
OURS = (
    r"\{\{ (asset\('[\w/.-]+'\)|place\.path|at|link\(part\.id\)|client\.link|snippet\.download|document"
    r"|asked\.(?:api_)?link\(.*\)) \}\}"
)


@pytest.mark.parametrize("path", texts(TEMPLATES))
def test_S30_a_template_can_only_escape(path: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL)
    text = DATA.sub("", text)
    for what, pattern in NEVER.items():
        found = re.search(pattern, text)
        assert found is None, f"{what}: {found and text[found.start() : found.end() + 60]!r}"
    for link in re.findall(r"<a\b[^>]*>", text):
        if "target=" in link:
            assert 'rel="noopener noreferrer"' in link, link
    # An address begins with words of ours, so that nothing can make another scheme of it.
    for address in re.findall(
        r"\b(?:href|src|action|hx-(?:get|post|put|patch|delete))=\"(\{\{.*?\}\})", text
    ):
        assert re.fullmatch(OURS, address), address


@pytest.mark.parametrize("path", texts(MODULES))
def test_S30_no_page_makes_markup_by_itself(path: Path) -> None:
    """Of constants only; what is joined to them is escaped, or was made by a template."""
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert not (names | imported) & {"HTMLResponse", "from_string", "Template"}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Markup":
            assert isinstance(call.args[0], ast.Constant), ast.unparse(call)


@pytest.mark.parametrize("path", texts(SCRIPTS))
def test_S30_scripts_write_text_and_no_markup(path: Path) -> None:
    text = path.read_text()
    never = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setHTMLUnsafe"
    )
    if path.name == "form.js":
        # jedison gives titles as HTML, of which `forms.py` has made plain text with everything escaped.
        text = re.sub(r"innerHTML = (config\.content|this\.getTitle\(\));", "", text)
    assert re.search(never, text) is None
    assert re.search(r"https?://(?!www\.w3\.org/)", text) is None


def written(value: Any) -> str:
    return environment().from_string('<p title="{{ value }}">{{ value }}</p>').render(value=value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u202e", "\\u202e"),
        ("\u200b", "\\u200b"),
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\\x0db"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ('"><script>', "&#34;&gt;&lt;script&gt;"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
        ("' onx=1", "&#39; onx=1"),
        ("Grüße, 世界", "Grüße, 世界"),
    ],
)
def test_S30_every_value_is_escaped_and_what_hides_in_it_visible(text: str, shown: str) -> None:
    assert written(text) == f'<p title="{shown}">{shown}</p>'


def test_what_is_no_text_is_written_as_it_is_and_nothing_as_nothing() -> None:
    assert written(7) == '<p title="7">7</p>'
    assert written(None) == '<p title=""></p>'


@given(st.text())
def test_S30_no_text_can_end_where_it_stands(text: str) -> None:
    class Heard(HTMLParser):
        tags = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags += 1
            assert (tag, [name for name, _ in attrs]) == ("p", ["title"])

    heard = Heard()
    heard.feed(written(text))
    heard.close()
    assert heard.tags == 1


def test_a_name_that_is_not_there_is_a_mistake() -> None:
    for template in ("{{ nothing }}", "{{ row.nothing }}", "{% if nothing %}x{% endif %}"):
        with pytest.raises(UndefinedError):
            environment().from_string(template).render(row={"a": 1})


# -- files ----------------------------------------------------------------------------------------------


def icons_of(text: str) -> set[str]:
    """Names in calls of `icon`, also where a condition chooses between two."""
    calls = (re.sub(r"==\s*'[^']*'", "", call) for call in re.findall(r"icon\(([^)]*)\)", text))
    return {name for call in calls for name in re.findall(r"'([\w-]+)'", call)}


def icons_in_use() -> set[str]:
    named = set().union(*(icons_of(path.read_text()) for path in TEMPLATES))
    return named | {place.icon for place in PLACES} | {icon for _, icon, _ in LOOKS.values()}


def test_every_icon_that_is_shown_is_one_of_the_set() -> None:
    assert len(icons_in_use()) > 10
    assert icons_in_use() <= set((SOURCES / "icons.txt").read_text().split())


def test_every_file_that_is_named_is_built() -> None:
    static = UI / "static"
    assert (static / "build.json").is_file(), "`make ui` builds them"
    assert icons_in_use() <= set(re.findall(r'<symbol id="([\w-]+)"', (static / "icons.svg").read_text()))
    named = {name for path in TEMPLATES for name in re.findall(r"asset\('([^']+)'\)", path.read_text())}
    assert named >= {"app.css", "js/app.js", "vendor/htmx.js"}
    for name in named:
        assert (static / name).is_file(), name
    for path in static.rglob("*.gz"):
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()
    # Nothing of them comes from elsewhere, nor leads to what is not there.
    for path in (*static.rglob("*.js"), *static.rglob("*.css")):
        text = path.read_text()
        assert "sourceMappingURL" not in text, path
        assert not re.search(r"url\(['\"]?(https?:)?//|@import|\bimport\(['\"]https?:", text), path


def built(directory: Path) -> Path:
    folder = directory / "static"
    (folder / "js").mkdir(parents=True)
    (folder / "app.css").write_bytes(b"p{}")
    (folder / "app.css.gz").write_bytes(gzip.compress(b"p{}"))
    (folder / "js" / "app.js").write_bytes(b"1;")
    (folder / "build.json").write_text(json.dumps({"version": "abc123"}))
    (folder / "secret.key").write_text("no")
    (directory / "outside.css").write_text("no")
    return folder


def test_files_are_kept_for_good_under_the_version_they_have(tmp_path: Path) -> None:
    assets = Assets(built(tmp_path))
    assert assets.address("app.css") == "/ui/static/abc123/app.css"
    plain, packs = Visit("GET", b"/", b"", {}, LOCAL_OPERATOR), {b"accept-encoding": b"br, gzip"}
    found = assets.answer(plain, "abc123", "app.css")
    assert found is not None
    assert (bytes(found.body), found.headers["content-type"]) == (b"p{}", "text/css; charset=utf-8")
    assert "immutable" in found.headers["cache-control"]
    assert "content-encoding" not in found.headers
    other = assets.answer(plain, "abc124", "app.css")
    assert other is not None
    assert other.headers["cache-control"] == "no-store"
    packed = assets.answer(Visit("GET", b"/", b"", packs, LOCAL_OPERATOR), "abc123", "app.css")
    assert packed is not None
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(bytes(packed.body)) == b"p{}"
    assert "accept-encoding" in packed.headers["vary"]
    script = assets.answer(Visit("GET", b"/", b"", packs, LOCAL_OPERATOR), "abc123", "js/app.js")
    assert script is not None
    assert bytes(script.body) == b"1;"  # of which there is no smaller one
    for name in ("", "x", "build.json", "secret.key", "app.css.gz", "js", "../outside.css", "js/../app.css"):
        assert assets.answer(plain, "abc123", name) is None, name


def test_without_files_there_are_still_pages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assets = Assets(tmp_path / "nothing")
    assert assets.address("app.css") == "/ui/static/none/app.css"
    assert assets.answer(Visit("GET", b"/", b"", {}, LOCAL_OPERATOR), "none", "app.css") is None
    assert "make ui" in caplog.text


def test_no_path_leads_out_of_the_files(gateway: Gateway) -> None:
    for path in (
        *("../servers", "x/../build.json", "x/..%2f..%2frender.py", "x/%2e%2e/routes.py", "x/..%5croutes.py"),
        *(
            "x/",
            "",
            "x",
            "x//etc/passwd",
            "x/%00",
            "x/build.json",
            "%2e%2e/static/x/app.css",
            "x/app.css%00.js",
        ),
    ):
        check_problem(gateway.get(f"/ui/static/{path}"), 404, "unknown")


# -- headers (S31) --------------------------------------------------------------------------------------


def check_document(answer: Answer) -> None:
    """What every document says of itself, whatever is on it."""
    headers = answer.headers
    assert headers["content-type"] == "text/html; charset=utf-8", answer
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "media-src": "data:",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "worker-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "report-uri": "/ui/csp-reports",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert {"accept-encoding", "hx-request"} <= set(headers["vary"].split(", "))
    page = answer.body.decode()
    if "<html" in page:
        assert '<meta name="referrer" content="same-origin">' in page
        config = re.search(r"name=\"htmx-config\" content='([^']+)'", page)
        assert config is not None
        settings = json.loads(config[1])
        assert (settings["history"], settings["mode"], settings["extensions"]) == (
            False,
            "same-origin",
            "sse",
        )


def test_S31_every_page_has_the_same_strict_headers(gateway: Gateway, guarded: Guarded) -> None:
    for path in (*(place.path for place in PLACES), "/ui/servers", "/ui/servers/good", "/ui/no/such"):
        answer = gateway.request("GET", path, headers=HTML)
        assert answer.status in (200, 404), answer
        check_document(answer)
        refused = guarded.nobody.request("GET", path, headers=HTML)
        assert refused.status == 401
        check_document(refused)
        assert refused.headers["www-authenticate"].startswith("Bearer")
    said = gateway.request("POST", "/ui/servers/nothing/restart", b"", FORM | HTMX)
    assert said.status == 404
    check_document(said)


def test_a_page_shows_keys_of_every_scope(guarded: Guarded) -> None:
    """What a key is not narrowed to is not among its facts."""
    narrow, _ = guarded.make_key("narrow", rights=["call"], servers=["good"], tools=["ec*"], readOnly=True)
    wide, _ = guarded.make_key("wide", rights=["read"])
    answer = guarded.request("GET", "/ui/access", headers=HTML)
    assert answer.status == 200
    check_document(answer)
    for words in ("narrow", "wide", "ec*"):
        assert words in answer.body.decode()
    for key_id in (narrow, wide):
        guarded.revoke(key_id)


def test_pages_are_compressed_for_who_takes_that(gateway: Gateway) -> None:
    plain = gateway.request("GET", "/ui/no/such", headers=HTML)
    packed = gateway.request("GET", "/ui/no/such", headers=HTML | {"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert re.sub(rb"\d", b"", gzip.decompress(packed.body)) == re.sub(rb"\d", b"", plain.body)  # but times
    assert len(packed.body) < len(plain.body) / 2


def test_S32_a_part_of_a_page_is_for_clicks_and_a_problem_for_programs(gateway: Gateway) -> None:
    path = "/ui/servers/nothing/restart"
    said = gateway.request("POST", path, b"", FORM | HTMX)
    assert said.body.lstrip().startswith(b'<hx-partial hx-target="#said"')
    assert b"<html" not in said.body
    page = gateway.request("POST", path, b"", FORM | HTML)
    assert (page.status, b"<html" in page.body) == (404, True)
    check_problem(gateway.request("POST", path, b"", FORM), 404, "unknown")
    switched = gateway.request("POST", "/ui/servers/good/switch", b"enabled=on", FORM | HTMX)
    assert switched.status == 200
    assert switched.body.lstrip().startswith(b'<li class="server" id="server-good"')
    back_to = {**FORM, **HTML, "Referer": f"http://127.0.0.1:{gateway.port}/ui/servers"}
    followed = gateway.request("POST", "/ui/servers/good/switch", b"enabled=declared", back_to)
    assert (followed.status, followed.headers["location"]) == (303, "/ui/servers")


def test_a_page_takes_no_other_method(gateway: Gateway) -> None:
    for method in ("HEAD", "POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/ui/servers", "/ui/live/servers", "/ui/no/such"):
            answer = gateway.request(method, path)
            assert (answer.status, answer.headers["allow"]) == (405, "GET")


# -- what browsers report (S35) -------------------------------------------------------------------------


def reports(gateway: Gateway) -> list[str]:
    lines = gateway.log.read_text(errors="replace").splitlines()
    return [line for line in lines if "a browser reports what" in line]


def test_S35_what_browsers_report_is_one_line_each_of_bounded_length_and_number(
    tmp_path: Path,
) -> None:
    with Gateway({}, tmp_path) as gateway:
        began = time.monotonic()
        forged = b"x\r\n2026-01-01 INFO mcp_gateway: all is well\x1b[2J\xe2\x80\xae\xff"
        assert gateway.request("POST", "/ui/csp-reports", forged).status == 204
        assert gateway.request("POST", "/ui/csp-reports", b"y" * 8_192 + b"z" * 200_000).status == 204
        for _ in range(60):
            assert gateway.request("POST", "/ui/csp-reports", b"w").status == 204
        most = 12 + time.monotonic() - began
        until(lambda: len(reports(gateway)) >= 10, 10, "they are in the log")
        told = reports(gateway)
        assert len(told) <= most
        assert r"x\x0d\x0a2026-01-01 INFO mcp_gateway: all is well\x1b[2J\u202e" in told[0]
        assert "\x1b" not in gateway.log.read_text(errors="replace")
        assert told[1].endswith("y" * 8_192)


# -- ways back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/ui/servers", "/ui/tools/a/b%2Fc?x=1&y=%20", "/ui/", "/ui/a b"])
def test_a_path_of_ours_is_one(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "//evil",
            "/\\evil",
            "/ui/\r\nSet-Cookie: a=b",
            "/ui/\x00",
            "https://evil.test/ui/",
            "ui/",
            "/uix",
        ),
        *(
            "javascript:alert(1)",
            "/api/me",
            "/ui/\\..\\..",
            "/ui/\u202e",
            "/ui/é",
            " /ui/",
            "/?x",
            "/ui",
            "\t/ui/",
        ),
        "/ui/" + "x" * 2_000,
    ],
)
def test_what_is_no_path_of_ours_is_none(text: str) -> None:
    assert own_path(text) is None


@given(st.one_of(st.text(), st.text("/\\.:?#@%uieviltest \r\n\t").map("/ui/".__add__)))
def test_no_way_back_leads_off_the_site(text: str) -> None:
    for found in (own_path(text), location({b"referer": text.encode("utf-8", "surrogatepass")})):
        if found is not None:
            parts = urlsplit(urljoin("https://gw.test/ui/sign-in", found))
            assert (parts.scheme, parts.netloc) == ("https", "gw.test")
            assert "\r" not in found
            assert "\n" not in found


def visited(headers: dict[bytes, bytes], body: Sequence[bytes] = (b"",), leaves: bool = False) -> Request:
    """A form that was sent in these parts."""
    parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    last = (
        {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b"", "more_body": False}
    )
    messages = iter([*parts, last])

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    visit = Visit("POST", b"/ui/x", b"", {b"host": b"gw.test"} | headers, LOCAL_OPERATOR)
    return Request({"type": "http", "method": "POST", "headers": [], "mcp_gateway.visit": visit}, receive)


def location(headers: dict[bytes, bytes]) -> str:
    return back(visited(headers), "/ui/fallback").headers["location"]


@pytest.mark.parametrize(
    ("referrer", "wanted"),
    [
        ("https://gw.test/ui/servers", "/ui/servers"),
        ("http://gw.test/ui/tools?q=a&page=2", "/ui/tools?q=a&page=2"),
        ("https://gw.test/", "/"),
        ("https://gw.test//evil.test/", "/ui/fallback"),
        ("https://gw.test.evil.test/ui/servers", "/ui/fallback"),
        ("https://gw.test@evil.test/ui/servers", "/ui/fallback"),
        ("https://gw.test:1/ui/servers", "/ui/fallback"),
        ("https://gw.test/api/servers", "/ui/fallback"),
        ("http://[", "/ui/fallback"),
        ("", "/ui/fallback"),
    ],
)
def test_a_form_without_scripts_leads_back_to_its_page(referrer: str, wanted: str) -> None:
    assert location({b"referer": referrer.encode()}) == wanted


# -- forms ----------------------------------------------------------------------------------------------


def read(*body: bytes, kind: bytes = b"application/x-www-form-urlencoded", leaves: bool = False) -> Any:
    return asyncio.run(read_form(visited({b"content-type": kind}, body, leaves)))


def test_a_form_is_its_fields_in_order() -> None:
    assert read(b"a=1&b=", b"&a=%C3%A9+%0A") == [("a", "1"), ("b", ""), ("a", "é \n")]
    assert read(b"a=1", kind=b"Application/X-WWW-Form-URLencoded; charset=utf-8") == [("a", "1")]
    assert read(b"") == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"a=%ff", 400),
        (b"\xff=1", 400),
        (b"&".join([b"a=1"] * 5_101), 400),
        (b"a=" + b"x" * FORM_BYTES, 413),
    ],
    ids=["not UTF-8", "not ASCII", "too many fields", "too large"],
)
def test_what_is_no_form_is_told(body: bytes, status: int) -> None:
    with pytest.raises(GatewayError) as caught:
        read(*(body[at : at + 1_000] for at in range(0, len(body), 1_000)))
    assert caught.value.status == status


def test_another_type_is_no_form() -> None:
    for kind in (b"", b"text/plain", b"application/json", b"multipart/form-data; boundary=x"):
        with pytest.raises(GatewayError) as caught:
            read(b"a=1", kind=kind)
        assert caught.value.status == 415


def test_who_leaves_while_sending_a_form_is_no_mistake_of_ours(gateway: Gateway) -> None:
    with pytest.raises(GatewayError):
        read(b"a=1", leaves=True)
    for path in (b"/ui/servers/good/switch", b"/api/reload", b"/ui/csp-reports"):
        with Line(gateway.port) as line:
            head = (b"POST %b HTTP/1.1" % path, b"Host: localhost", b"Content-Length: 100")
            line.send(*head, b"Content-Type: application/x-www-form-urlencoded", body=b"enabled=off")
            line.socket.shutdown(socket.SHUT_WR)
            line.rest()
    assert gateway.server("good")["override"] is None
    check_log(gateway)


# -- live parts -----------------------------------------------------------------------------------------


class Watching:
    """Somebody who watches a page, over HTTP."""

    def __init__(self, gateway: Gateway, headers: dict[str, str] | None = None) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=ANSWER_TIMEOUT_S)
        self.connection.request(
            "GET", "/ui/live/servers", headers={"Accept": "text/event-stream", **(headers or {})}
        )
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        assert self.response.getheader("content-type", "").startswith("text/event-stream")

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def part(self) -> str:
        """The next part; reading fails when none comes."""
        lines: list[str] = []
        while line := self.response.readline().decode():
            if line.startswith("data: "):
                lines.append(line[6:])
            elif lines:
                return "".join(lines)
        raise AssertionError("the stream ended before a part came")

    def wait_for(self, text: str) -> str:
        while text not in (part := self.part()):
            pass
        return part

    def rest(self) -> bytes:
        """All that comes until the stream ends; reading fails when it does not."""
        return self.response.read()


def test_a_page_is_told_what_changes(gateway: Gateway) -> None:
    with Watching(gateway) as watching:
        first = watching.part()
        assert first.startswith('<hx-partial hx-target="#servers" hx-swap="outerMorph">')
        assert 'id="server-good"' in first
        gateway.request("POST", "/api/servers/good/restart")
        part = watching.wait_for("ready</span>")
        assert '<hx-partial hx-target="#server-good" hx-swap="outerMorph">' in part
        assert "<ul" not in part


def test_a_page_is_not_told_what_its_reader_may_not_see_any_more(guarded: Guarded) -> None:
    key_id, reader = guarded.make_key("reader", rights=["read"])
    with Watching(reader, reader.identity) as watching:
        assert 'id="server-good"' in watching.part()
        guarded.revoke(key_id)
        assert b"hx-partial" not in watching.rest()
    assert status_of(reader, "GET", "/ui/live/servers") == 401


def test_watching_pages_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as gateway:
        gateway.wait_for_state("good", "ready")
        pages = [Watching(gateway) for _ in range(20)]
        for page in pages:
            page.part()
        gateway.stop()  # fails when it takes longer than a stop may
        for page in pages:
            page.rest()
            page.connection.close()


class Counter:
    """A page of which each picture is counted."""

    kinds = frozenset({"server"})
    every_s = 0.01

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def fresh(self) -> str:
        self.seen.append("fresh")
        return "<p>1</p>"

    async def changed(self, changes: Sequence[Change]) -> str:
        self.seen.append(f"changed {len(changes)}")
        return "<p>\n2\r3</p>"

    async def passed(self) -> str:
        self.seen.append("passed")
        return ""


class Stage:
    """As much of a gateway as a stream needs."""

    def __init__(self) -> None:
        self.feed = Feed(None, "local", None, Patience(), is_lossy=True)
        self.closed = 0

    def open_feed(self, *_: object, **__: object) -> Feed:
        return self.feed

    def close_feed(self, feed: Feed) -> None:
        assert feed is self.feed
        self.closed += 1

    def stream(self, page: live.Live) -> Any:
        return live.stream(cast(Inside, self), Visit("GET", b"/", b"", {}, LOCAL_OPERATOR), page)


def parts_of(stage: Stage, page: Counter) -> AsyncIterator[bytes]:
    found: AsyncIterator[bytes] = stage.stream(page).body_iterator
    return found


def test_changes_are_gathered_and_lines_kept_apart() -> None:
    async def watch() -> None:
        stage, page = Stage(), Counter()
        parts = parts_of(stage, page)
        assert await anext(parts) == b": live\n\n"
        assert await anext(parts) == b"data: <p>1</p>\n\n"
        assert await anext(parts) == sse.KEEP_ALIVE  # nothing passed
        for _ in range(5_000):
            stage.feed.put(Change("server", b"{}"))
        assert await anext(parts) == b"data: <p>\ndata: 2\ndata: 3</p>\n\n"
        # The oldest are forgotten, the reader is not, who gets all there is once there is time for it.
        assert page.seen[2:] == [f"changed {MAX_UNREAD_LOSSY}", "passed"]
        assert await anext(parts) == b"data: <p>1</p>\n\n"
        assert page.seen.pop() == "fresh"
        page.seen[2:] = ["fresh"]
        for _ in range(3):
            stage.feed.put(Change("server", b"{}"))
        assert await anext(parts) == b"data: <p>\ndata: 2\ndata: 3</p>\n\n"
        assert page.seen[3:] == ["changed 3", "passed"]  # what moves by itself waits for no pause
        stage.feed.put(Change("server", b"{}"))
        stage.feed.end()
        assert [part async for part in parts] == []

    asyncio.run(watch())


def test_what_changes_while_a_reader_is_shut_out_is_not_shown() -> None:
    async def watch() -> None:
        stage, page = Stage(), Counter()
        parts = parts_of(stage, page)
        await anext(parts)
        await anext(parts)
        stage.feed.put(Change("server", b"{}"))
        coming = asyncio.ensure_future(anext(parts))
        await asyncio.sleep(0)
        stage.feed.end()
        with pytest.raises(StopAsyncIteration):
            await coming
        assert not [seen for seen in page.seen if seen.startswith("changed")]

    asyncio.run(watch())


def test_a_reader_who_is_gone_before_the_first_part_leaves_no_feed_behind() -> None:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: MutableMapping[str, Any]) -> None:
        await asyncio.sleep(0)

    stage = Stage()
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET", "headers": []}
    asyncio.run(stage.stream(Counter())(scope, receive, send))
    assert stage.closed == 1


# -- filters --------------------------------------------------------------------------------------------


AMOUNTS = {0: "0", 1_234: "1,234", 99_999: "99,999", 123_456: "123k", 9_999_999: "10,000k", 45_600_000: "46M"}
SIZES = {0: "0 B", 999: "999 B", 1_000: "1.0 kB", 45_972: "46.0 kB", 123_456: "123 kB", 1_500_000: "1.5 MB"}
SIZES |= {2_500_000_000: "2.5 GB", 7_200_000_000_000: "7200.0 GB"}
SPANS = {-1: "0 s", 0.4: "0 s", 59: "59 s", 60: "1 min", 61: "1 min 1 s", 3_600: "1 h", 3_661: "1 h 1 min"}
SPANS |= {273_600: "3 d 4 h", 86_460: "1 d", 59.6: "1 min"}
TOOK = {
    None: "",
    0.04: "0.0 ms",
    9.94: "9.9 ms",
    10: "10 ms",
    999: "999 ms",
    1_500: "1.5 s",
    59_900: "59.9 s",
}
TOOK |= {61_000: "1 min 1 s"}
SEGMENTS = {"a/b c?#%": "a%2Fb%20c%3F%23%25", "é": "%C3%A9", "a-b_c.d~": "a-b_c.d~"}


@pytest.mark.parametrize(
    ("filtered", "table"),
    [(amount, AMOUNTS), (size, SIZES), (span, SPANS), (took, TOOK), (segment, SEGMENTS)],
    ids=["amount", "size", "span", "took", "segment"],
)
def test_numbers_and_times_read_as_people_say_them(filtered: Any, table: dict[Any, str]) -> None:
    assert {given: filtered(given) for given in table} == table


def test_a_moment_is_told_to_scripts_and_to_who_has_none() -> None:
    shown = '<time datetime="1970-01-01T00:00:01Z" data-at="1.250">00:00:01 UTC</time>'
    assert str(stamp(1.25)) == shown


def test_templates_know_the_filters() -> None:
    known: Environment = environment()
    assert known.autoescape is True
    asked = "{{ 1500|took }} {{ 1000|size }} {{ 60|span }} {{ 1000|amount }} {{ 'a/b'|segment }}"
    assert known.from_string(asked).render() == "1.5 s 1.0 kB 1 min 1,000 a%2Fb"
