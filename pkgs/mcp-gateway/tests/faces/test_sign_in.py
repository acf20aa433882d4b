"""Signing in on the page and as JSON, at the real gateway (security.md S09, S10, S11, S31).

What a browser gets by it, how long that holds, and what a page of somebody else cannot make it do.
"""

import http.client
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from argon2 import PasswordHasher
from starlette.requests import Request

from mcp_gateway.access.caller import LOCAL_OPERATOR, NOBODY, OPERATOR, Caller, Grant, Right, unlimited
from mcp_gateway.access.keys import hash_text
from mcp_gateway.config import load
from mcp_gateway.config.model import Config
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import Policy
from mcp_gateway.faces.ui.assets import Assets
from mcp_gateway.faces.ui.render import Renderer
from mcp_gateway.faces.ui.signing import Desk, desk, sign_in_page
from mcp_gateway.gateway import Gateway as Inside
from mcp_gateway.gateway.sign_ins import SignIn, Way
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery
from tests.faces.knocking import check_log, check_problem
from tests.harness import ANSWER_TIMEOUT_S, Answer, Gateway, free_port, hostile, parse_events, until
from tests.strangers import open_directory
from tests.test_unix_socket import OverSocket

PASSWORD = "correct horse battery staple"
KEY = "mgk_reader_0123456789abcdefghijklmnop"
PROXY_SECRET = "a-secret-of-the-proxy-0123456789"
USUAL = ["read", "call", "operate"]
ELEVATED = [*USUAL, "exec", "admin"]
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HTTPS = "gw.test:8443"
PLAIN = "gw.test:8080"


def hashed(password: str) -> str:
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


class Browser:
    """A browser at one address of a gateway: it keeps its cookie and says where its requests come from."""

    def __init__(self, gateway: Gateway, host: str | None = None, headers: Mapping[str, str] | None = None):
        self.gateway = gateway
        self.host = host or f"127.0.0.1:{gateway.port}"
        self.origin = ("https://" if host == HTTPS else "http://") + self.host
        self.headers = dict(headers or {})
        self.cookie = ""

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """One request; a header that is None is left out."""
        sent: dict[str, str | None] = {"Host": self.host, **self.headers}
        if self.cookie:
            sent["Cookie"] = self.cookie
        if method not in ("GET", "HEAD"):
            sent["Origin"] = self.origin
        sent |= headers or {}
        answer = self.gateway.request(
            method, path, body, {name: value for name, value in sent.items() if value is not None}
        )
        set_cookie = answer.headers.get("set-cookie")
        if set_cookie is not None:
            self.cookie = "" if "Max-Age=0" in set_cookie else set_cookie.partition(";")[0]
        return answer

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def sign_in(self, **secret: str) -> dict[str, Any]:
        answer = self.request("POST", "/api/sign-in", secret or {"password": PASSWORD})
        assert answer.status == 200, answer
        assert answer.headers["cache-control"] == "no-store"
        facts: dict[str, Any] = answer.json()
        return facts

    def submit(self, path: str = "/ui/sign-in", /, **fields: str) -> Answer:
        return self.request("POST", path, urlencode(fields).encode(), FORM | HTML)

    @property
    def me(self) -> dict[str, Any]:
        answer = self.get("/api/me")
        assert answer.status == 200, answer
        facts: dict[str, Any] = answer.json()
        return facts

    def is_known(self) -> bool:
        answer = self.get("/api/servers")
        assert answer.status in (200, 401), answer
        return answer.status == 200


def code_of(gateway: Gateway) -> str:
    return (gateway.state_dir / "one-time-code").read_text().strip()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("guarded")
    secret = directory / "proxy-secret"
    secret.write_text(PROXY_SECRET)
    secret.chmod(0o600)
    with open_directory() as place:
        yield from serve_guarded(directory, secret, place / "gateway.sock")


def serve_guarded(directory: Path, secret: Path, path: Path) -> Iterator[Gateway]:
    settings = {
        "socket": str(path),
        "publicUrl": [f"https://{HTTPS}", f"http://{PLAIN}"],
        "auth": {
            "password": {"hash": hashed(PASSWORD)},
            "keys": [{"name": "reader", "hash": hash_text(KEY), "scopes": {"rights": ["read"]}}],
        },
        "trustedProxy": {"userHeader": "Remote-User", "operators": ["ann"], "secret": str(secret)},
    }
    with Gateway({"good": hostile("good")}, directory, settings) as gateway:
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in open mode."""
    with Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("opened")) as gateway:
        gateway.wait_for_state("good", "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture
def browser(guarded: Gateway) -> Browser:
    return Browser(guarded)


# -- as JSON --------------------------------------------------------------------------------------------


def test_the_password_signs_the_operator_in(browser: Browser) -> None:
    assert not browser.is_known()
    facts = browser.sign_in()
    assert (facts["caller"], facts["rights"]) == ("operator", ELEVATED)
    assert facts["elevatedUntil"] < facts["signedInUntil"]
    seen = browser.me
    assert seen.keys() == facts.keys()
    assert (seen["caller"], seen["rights"]) == ("operator", ELEVATED)
    assert browser.get("/api/keys").status == 200


def test_who_has_no_cookie_has_no_times(browser: Browser) -> None:
    answer = browser.request("GET", "/api/me", headers={"Authorization": f"Bearer {KEY}"}).json()
    assert (answer["signedInUntil"], answer["elevatedUntil"]) == (None, None)


@pytest.mark.parametrize(
    ("host", "name", "secure"),
    [
        (HTTPS, "__Host-mcp-gateway-8443", True),
        (PLAIN, "mcp-gateway-8080", False),
        ("localhost", "mcp-gateway-80", False),
        ("[::1]:9", "mcp-gateway-9", False),
    ],
)
def test_the_cookie_is_for_this_gateway_and_no_script(
    guarded: Gateway, host: str, name: str, secure: bool
) -> None:
    browser = Browser(guarded, host)
    answer = browser.request("POST", "/api/sign-in", {"password": PASSWORD})
    pair, *attributes = answer.headers["set-cookie"].split("; ")
    cookie, _, text = pair.partition("=")
    assert cookie == name
    assert len(text) == 43  # 256 bit
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"} | (
        {"Secure"} if secure else set()
    )
    assert browser.is_known()
    # At another port it is another gateway's cookie.
    elsewhere = Browser(guarded, "localhost:7")
    elsewhere.cookie = browser.cookie
    assert not elsewhere.is_known()


def test_behind_a_socket_the_address_is_what_the_proxy_says(guarded: Gateway) -> None:
    """`tailscale serve` calls a unix socket localhost, and says in X-Forwarded-Host what the browser sees."""

    def sign_in(origin: str) -> Answer:
        connection = OverSocket(Path(guarded.gateway["socket"]))
        try:
            headers = {"X-Forwarded-Host": HTTPS, "Origin": origin, "Content-Type": "application/json"}
            connection.request("POST", "/api/sign-in", json.dumps({"password": PASSWORD}), headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    answer = sign_in(f"https://{HTTPS}")
    assert answer.status == 200, answer
    assert answer.headers["set-cookie"].startswith("__Host-mcp-gateway-8443=")
    check_problem(sign_in("http://localhost"), 403, "refused", "another origin")


def test_a_wrong_password_is_told_in_the_words_of_none_at_all(browser: Browser, opened: Gateway) -> None:
    wrong = browser.request("POST", "/api/sign-in", {"password": "wrong"})
    check_problem(wrong, 401, "unauthenticated", "not the password")
    assert "set-cookie" not in wrong.headers
    none = opened.request("POST", "/api/sign-in", {"password": "wrong"})
    assert (none.status, none.body) == (wrong.status, wrong.body)


@pytest.mark.parametrize(
    "body", [{}, {"password": "a", "code": "b"}, {"password": 1}, {"password": "a", "user": "b"}, []]
)
def test_what_is_no_attempt_is_told(browser: Browser, body: Any) -> None:
    check_problem(browser.request("POST", "/api/sign-in", body), 400, "invalid")


def test_another_body_than_json_is_no_attempt(browser: Browser) -> None:
    body = json.dumps({"password": PASSWORD}).encode()
    for kind in ("text/plain", FORM["Content-Type"]):
        answer = browser.request("POST", "/api/sign-in", body, {"Content-Type": kind})
        check_problem(answer, 415, "invalid")


def test_the_one_time_code_makes_the_console_once(guarded: Gateway, browser: Browser) -> None:
    code = code_of(guarded)
    assert browser.sign_in(code=code)["caller"] == "console"
    assert browser.me["rights"] == ELEVATED
    assert code_of(guarded) != code
    again = Browser(guarded).request("POST", "/api/sign-in", {"code": code})
    check_problem(again, 401, "unauthenticated", "one-time code")


def test_in_open_mode_the_code_adds_administration_to_who_is_there(opened: Gateway) -> None:
    browser = Browser(opened)
    assert browser.me["caller"] == "local"
    check_problem(browser.get("/api/keys"), 403, "refused", "`admin`")
    assert browser.sign_in(code=code_of(opened))["caller"] == "local"
    assert browser.me["rights"] == ELEVATED
    assert browser.get("/api/keys").status == 200
    assert browser.request("POST", "/api/sign-out").status == 204
    assert (browser.me["caller"], browser.me["rights"]) == ("local", USUAL)
    browser.cookie = "mcp-gateway-1=x; other=y"
    assert browser.me["caller"] == "local"  # an old cookie shuts nobody out of their own machine


# -- what holds, and what does not ----------------------------------------------------------------------


def test_a_cookie_of_ones_choice_is_not_taken_up(guarded: Gateway, browser: Browser) -> None:
    """Fixation: who can plant a cookie must not come in by it afterwards."""
    planted = f"mcp-gateway-{guarded.port}=" + "A" * 43
    browser.cookie = planted
    assert not browser.is_known()
    browser.sign_in()
    assert browser.cookie != planted
    intruder = Browser(guarded)
    intruder.cookie = planted
    assert not intruder.is_known()


def test_signing_in_again_gives_a_fresh_cookie_and_ends_the_one_before(
    guarded: Gateway, browser: Browser
) -> None:
    browser.sign_in()
    before = Browser(guarded)
    before.cookie = browser.cookie
    browser.sign_in()
    assert browser.cookie != before.cookie
    assert (browser.is_known(), before.is_known()) == (True, False)


def test_a_cookie_is_worth_nothing_after_signing_out(guarded: Gateway, browser: Browser) -> None:
    browser.sign_in()
    replayed = Browser(guarded)
    replayed.cookie = browser.cookie
    with feed(replayed) as events:
        answer = browser.request("POST", "/api/sign-out")
        assert (answer.status, answer.body) == (204, b"")
        assert browser.cookie == ""
        for _ in events:
            pass  # it ends, too; if it did not, reading would fail
    assert not replayed.is_known()
    assert not browser.is_known()


@contextmanager
def feed(browser: Browser) -> Iterator[Iterator[tuple[str, Any]]]:
    """A live feed that was opened with the browser's cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", browser.gateway.port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", "/api/events", headers={"Host": browser.host, "Cookie": browser.cookie})
        response = connection.getresponse()
        assert response.status == 200
        yield parse_events(response)
    finally:
        connection.close()


def test_two_cookies_of_our_name_are_refused(browser: Browser) -> None:
    browser.sign_in()
    ours = browser.cookie
    name = ours.partition("=")[0]
    for cookie in (f"{ours}; {ours}", f"{name}=; {ours}", f"{ours};{name}=x; a=b"):
        browser.cookie = cookie
        check_problem(browser.get("/api/servers"), 400, "invalid", "twice")
    for cookie in (f"a=b; {ours}", f"{ours}; {name.upper()}=x", f"x{ours}; {ours}; ;="):
        browser.cookie = cookie
        assert browser.is_known()


def test_a_key_in_the_request_says_who_it_is_whatever_the_cookie(browser: Browser) -> None:
    browser.sign_in()
    key = {"Authorization": f"Bearer {KEY}"}
    shown = browser.request("GET", "/api/me", headers=key).json()
    assert (shown["caller"], shown["rights"]) == ("key:reader", ["read"])
    wrong = browser.request("GET", "/api/me", headers={"Authorization": "Bearer mgk_no_such"})
    check_problem(wrong, 401, "unauthenticated")
    both = browser.request("POST", "/api/sign-in", {"password": PASSWORD}, key)
    check_problem(both, 403, "refused", "header")


def proxied(gateway: Gateway, user: str) -> Browser:
    headers = {"Remote-User": user, "Mcp-Gateway-Proxy-Secret": PROXY_SECRET}
    return Browser(gateway, HTTPS, headers)


def test_who_a_proxy_has_signed_in_stays_who_they_are(guarded: Gateway) -> None:
    ann = proxied(guarded, "ann")
    assert (ann.me["caller"], ann.me["rights"]) == ("proxy:ann", USUAL)
    facts = ann.sign_in()
    assert (facts["caller"], facts["name"]) == ("proxy:ann", "ann")
    assert ann.me["rights"] == ELEVATED
    # The cookie is worth nothing to anybody else, nor to nobody.
    bob, stranger = proxied(guarded, "bob"), Browser(guarded, HTTPS)
    bob.cookie = stranger.cookie = ann.cookie
    assert (bob.me["caller"], bob.me["rights"]) == ("proxy:bob", ["read", "call"])
    assert not stranger.is_known()


def test_who_may_not_operate_cannot_rise(guarded: Gateway) -> None:
    bob = proxied(guarded, "bob")
    answer = bob.request("POST", "/api/sign-in", {"password": PASSWORD})
    check_problem(answer, 403, "refused", "`operate`")
    assert shown(bob.request("GET", "/", headers=HTML)).fields == {}
    # Nor by the form, whose answer has none to try again with.
    answer = bob.submit(password=PASSWORD)
    assert (answer.status, "set-cookie" in answer.headers) == (403, False)
    found = shown(answer)
    assert found.fields == {}
    assert "`operate`" in found.text


# -- what a page of somebody else cannot do -------------------------------------------------------------


@pytest.fixture
def nothing_moved(guarded: Gateway) -> Iterator[Browser]:
    """A signed-in browser; afterwards nothing has been switched, restarted, called or made."""
    browser = Browser(guarded)
    browser.sign_in()
    until(lambda: browser.get("/api/servers/good").json()["state"] == "ready", 10, "good is ready")

    def state() -> Any:
        server = browser.get("/api/servers/good").json()
        tools = browser.get("/api/tools").json()["tools"]
        facts = [server[name] for name in ("enabled", "override", "pid", "calls")]
        return facts, [(tool["name"], tool["enabled"]) for tool in tools], browser.get("/api/keys").json()

    before = state()
    yield browser
    assert state() == before


UNSAFE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PATCH", "/api/servers/good", {"enabled": False}),
    ("POST", "/api/servers/good/restart", {}),
    ("PATCH", "/api/tools/good/echo", {"enabled": False}),
    ("POST", "/api/tools/good/echo", {"text": "x"}),
    ("POST", "/api/reload", {}),
    ("POST", "/api/keys", {"name": "x", "scopes": {"rights": ["admin"]}}),
    ("POST", "/api/sign-out", {}),
    ("POST", "/ui/sign-out", {}),
    ("POST", "/ui/sign-in", {"password": PASSWORD}),
    ("POST", "/ui/servers/good/switch", {"enabled": "off"}),
    ("POST", "/ui/servers/good/restart", {}),
    ("POST", "/api/sign-in", {"password": PASSWORD}),
)
SENT_BY_OTHERS: Mapping[str, Mapping[str, str | None]] = {
    "a form of another site": {
        "Origin": "https://evil.test",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        **FORM,
    },
    "JSON that needs no preflight": {
        "Origin": "https://evil.test",
        "Sec-Fetch-Site": "cross-site",
        "Content-Type": "text/plain",
    },
    # *.ts.net is on the Public Suffix List; the ports of one name are of one site, and cookies cross them.
    "a sibling port": {"Origin": "https://gw.test:9000", "Sec-Fetch-Site": "same-site"},
    "a sibling port, by navigation": {
        "Origin": None,
        "Sec-Fetch-Site": "same-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    },
    "a sandboxed frame": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "an old browser": {"Origin": "http://127.0.0.1:1"},
    "no browser at all": {"Origin": None},
}


@pytest.mark.parametrize("headers", SENT_BY_OTHERS.values(), ids=SENT_BY_OTHERS)
def test_no_page_of_others_can_make_a_browser_change_anything(
    nothing_moved: Browser, headers: Mapping[str, str | None]
) -> None:
    for method, path, body in UNSAFE:
        answer = nothing_moved.request(method, path, body, headers)
        check_problem(answer, 403, "refused")


def test_our_own_origin_does_not_make_a_form_of_json(nothing_moved: Browser) -> None:
    for method, path, body in UNSAFE:
        if body and not path.endswith("sign-in") and not path.startswith("/ui/"):
            for kind in ("text/plain", FORM["Content-Type"]):
                answer = nothing_moved.request(method, path, body, {"Content-Type": kind})
                check_problem(answer, 415, "invalid")


def test_our_own_origin_does_not_make_json_or_text_of_a_form(nothing_moved: Browser) -> None:
    for path in ("/ui/sign-in", "/ui/servers/good/switch"):
        for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", ""):
            headers = {"Content-Type": kind, **HTML}
            answer = nothing_moved.request("POST", path, b"enabled=off&password=x", headers)
            assert answer.status == 415, answer
            assert "must be sent as" in shown(answer).text


def test_a_browser_that_says_only_where_from_is_believed(browser: Browser) -> None:
    browser.sign_in()
    said = {"Origin": None, "Sec-Fetch-Site": "same-origin"}
    assert browser.request("POST", "/api/tools/good/echo", {"text": "x"}, said).status == 200


def test_getting_changes_nothing(nothing_moved: Browser) -> None:
    """SameSite=Lax sends the cookie along when somebody follows a link from anywhere."""
    document = nothing_moved.get("/openapi.json").json()
    paths = [path for path, operations in document["paths"].items() if "get" in operations]
    assert len(paths) > 10
    pages = ("/ui/servers", "/ui/servers/good/switch", "/ui/servers/good/restart", "/ui/csp-reports")
    for path in ["/", *pages, "/ui/sign-in", "/ui/sign-out", "/api/sign-in", "/api/sign-out", *paths]:
        if path == "/api/events":
            continue  # it lasts
        filled = path.format(server="good", tool="echo", id="x", ticket="x")
        for query in ("", "?enabled=false&_method=POST"):
            answer = nothing_moved.request("GET", filled + query, headers=HTML)
            assert answer.status in (200, 400, 404, 405), answer
    assert nothing_moved.is_known()


# -- the page -------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What matters of a page: its forms with their fields, labels, alerts, scripts, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self.labels: set[str] = set()
        self.fields: dict[str, dict[str, str | None]] = {}
        self.alerts = 0
        self.referrer: str | None = None
        self.scripts: list[str | None] = []
        self.code = ""
        self.next: set[str | None] = set()
        self.text = ""
        self._is_code = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "form":
            self.forms.append(facts)
        elif tag == "label":
            self.labels.add(str(facts["for"]))
        elif tag == "input" and facts.get("type") == "hidden":
            if facts["name"] == "next":
                self.next.add(facts["value"])
        elif tag == "input" and "hidden" not in facts:
            self.fields[str(facts["name"])] = facts
        elif tag == "meta" and facts.get("name") == "referrer":
            self.referrer = facts["content"]
        elif tag == "script":
            self.scripts.append(facts.get("src"))
        self._is_code = tag in ("script", "style")
        self.alerts += facts.get("role") == "alert"

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False

    def handle_data(self, data: str) -> None:
        if self._is_code:
            self.code += data
        else:
            self.text += data


def shown(answer: Answer) -> Page:
    """The page, held to what is true of each: files of ours, nothing but forms to ourselves, nothing kept."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8", answer
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "script-src 'self';" in policy
    found = Page(answer.body.decode())
    assert found.code == ""
    assert all(str(script).startswith("/ui/static/") for script in found.scripts)
    # With no-referrer, which its header says, browsers send `Origin: null` with a form; that is refused.
    assert found.referrer == "same-origin"
    assert all(form["method"] == "post" and str(form["action"]).startswith("/ui/") for form in found.forms)
    assert found.labels >= found.fields.keys()
    return found


def look(browser: Browser) -> Page:
    answer = browser.request("GET", "/", headers=HTML)
    assert answer.status == 200, answer
    return shown(answer)


def test_who_is_nobody_sees_the_form_and_no_server(browser: Browser) -> None:
    answer = browser.request("GET", "/", headers=HTML)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    found = shown(answer)
    assert found.fields.keys() == {"password", "code"}
    assert found.fields["password"]["type"] == "password"
    assert found.fields["password"]["autocomplete"] == "current-password"
    assert "autofocus" in found.fields["password"]
    assert "one-time-code" in found.text
    assert "API key" in found.text
    assert "good" not in found.text
    assert b"good" not in answer.body


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("/", "/"),
        ("/ui/servers", "/ui/servers"),
        ("/ui/activity?server=git&limit=5", "/ui/activity?server=git&limit=5"),
        ("/ui/no/such", "/ui/no/such"),
        ("/?x=1", "/"),
        ("/ui/sign-in", "/"),
        ("/ui/sign-out", "/"),
        ("/ui/servers?" + "x" * 9_000, "/ui/servers"),
        ("/ui/" + "x" * 9_000, "/"),
        ("/ui/x?\\\\evil.test", "/ui/x"),
    ],
)
def test_who_has_signed_in_gets_the_page_that_was_asked_for(
    browser: Browser, asked: str, wanted: str
) -> None:
    answer = browser.request("GET", asked, headers=HTML)
    assert answer.status == 401
    found = shown(answer)
    assert found.next == {wanted}
    answer = browser.submit(password=PASSWORD, next=wanted)
    assert (answer.status, answer.headers["location"]) == (303, wanted)


def test_signing_in_leads_nowhere_else(browser: Browser) -> None:
    foreign = (
        "//evil.test",
        "https://evil.test/",
        "/\\evil.test",
        "/ui/\r\nX: y",
        "javascript:x",
        "",
        "/api/me",
    )
    for next_ in (*foreign, "/ui/" + "x" * 3_000, "/ui/\u00e9", "/uix", "/ui\\..\\evil.test"):
        answer = browser.submit(password=PASSWORD, next=next_)
        assert (answer.status, answer.headers["location"]) == (303, "/"), next_
    wrong = browser.submit(password="wrong", next="//evil.test/")
    assert shown(wrong).next == {"/"}
    assert shown(browser.submit(password="wrong", next="/ui/servers")).next == {"/ui/servers"}


def test_a_program_that_is_nobody_gets_a_problem(browser: Browser) -> None:
    for path in ("/", "/ui/servers", "/ui/live/servers", "/ui/no/such", "/ui/", "/ui/sign-in"):
        for accept in ("*/*", "application/json", "text/event-stream", ""):
            answer = browser.request("GET", path, headers={"Accept": accept})
            check_problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_who_is_nobody_changes_nothing_by_a_form_and_is_asked_who_it_is(
    nothing_moved: Browser, browser: Browser
) -> None:
    for path in ("/ui/servers/good/switch", "/ui/servers/good/restart"):
        body = urlencode({"enabled": "off"}).encode()
        answer = browser.request("POST", path, body, FORM | HTML)
        assert answer.status == 401
        found = shown(answer)
        assert found.fields.keys() == {"password", "code"}
        assert found.next == {"/"}
        check_problem(browser.request("POST", path, body, FORM), 401, "unauthenticated")
        said = browser.request("POST", path, body, FORM | {"HX-Request": "true", "Accept": "text/html"})
        assert said.status == 401
        assert said.body.decode().lstrip().startswith('<hx-partial hx-target="#said"')
        assert "<form" not in said.body.decode()
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        for path in ("/ui/servers", "/ui/servers/good/switch", "/ui/no/such", "/ui/sign-in"):
            assert browser.request(method, path, headers=HTML).status == 401


def test_the_address_of_a_page_is_exact(browser: Browser) -> None:
    """Nothing that only looks like a page's path passes the edge as one, or leads out of the pages."""
    for path in ("//ui/servers", "/%2Fui/servers", "/%75i/servers", "/ui%2Fservers", "/UI/servers", "/ui"):
        check_problem(browser.request("GET", path, headers=HTML), 401, "unauthenticated")
    outside = (
        "/ui/../api/servers",
        "/ui/%2e%2e/api/servers",
        "/ui//api/servers",
        "/ui/servers/",
        "/ui/./servers",
    )
    for path in outside:
        answer = browser.request("GET", path, headers=HTML)
        assert answer.status == 401
        assert shown(answer).fields.keys() == {"password", "code"}
        assert b"good" not in answer.body
    browser.sign_in()
    for path in outside:
        answer = browser.request("GET", path, headers=HTML)
        assert answer.status == 404
        assert "Not here" in shown(answer).text


def test_only_where_others_can_read_along_the_page_warns(guarded: Gateway) -> None:
    def warns(host: str) -> bool:
        answer = Browser(guarded, host).request("GET", "/", headers=HTML)
        return "plain HTTP" in shown(answer).text

    assert [warns(host) for host in (PLAIN, HTTPS, "localhost", f"127.0.0.1:{guarded.port}")] == [
        True,
        False,
        False,
        False,
    ]


def test_the_form_signs_in_and_out(guarded: Gateway, browser: Browser) -> None:
    answer = browser.submit(username="operator", password=PASSWORD)
    assert (answer.status, answer.headers["location"], answer.body) == (303, "/", b"")
    found = look(browser)
    assert "You are operator" in found.text
    assert "good" in found.text
    assert "/ui/sign-out" in [form["action"] for form in found.forms]
    assert browser.me["elevatedUntil"] is not None
    answer = browser.submit("/ui/sign-out")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert browser.cookie == ""
    # Whoever is out already, by time or by a restart, is shown the form and no error.
    assert browser.submit("/ui/sign-out").status == 303


def test_the_form_says_what_was_wrong(browser: Browser) -> None:
    for field in ("password", "code"):
        answer = browser.submit(**{field: "<b>wrong</b>"})
        assert answer.status == 401
        assert b"<b>" not in answer.body
        found = shown(answer)
        assert found.alerts == 1
        assert "This is not the" in found.text
        assert [name for name, facts in found.fields.items() if "autofocus" in facts] == [field]


def test_what_is_not_the_form_is_told_on_the_page(browser: Browser) -> None:
    as_text = browser.request("POST", "/ui/sign-in", b"password=x", {"Content-Type": "text/plain"})
    assert as_text.status == 415
    for body in (b"", b"a=b", b"password=x&code=y", b"password=%ff", b"\xff=x", b"&".join([b"a=b"] * 9)):
        answer = browser.request("POST", "/ui/sign-in", body, FORM)
        assert answer.status == 400, body
        assert shown(answer).alerts == 1
    large = browser.request("POST", "/ui/sign-in", b"password=" + b"x" * 8_192, FORM)
    assert large.status == 413
    assert "larger than" in shown(large).text


def test_in_open_mode_the_form_asks_for_the_code_and_adds_to_who_is_there(opened: Gateway) -> None:
    browser = Browser(opened)
    found = look(browser)
    assert found.fields.keys() == set()
    assert "You are" not in found.text
    wrong = browser.submit(code="wrong")
    assert wrong.status == 401
    found = shown(wrong)
    assert found.fields.keys() == {"code"}
    assert "autofocus" in found.fields["code"]
    assert browser.submit(code=code_of(opened)).status == 303
    found = look(browser)
    assert "You are local" in found.text
    assert "/ui/sign-out" in [form["action"] for form in found.forms]
    assert browser.me["elevatedUntil"] is not None


@pytest.fixture
async def with_password(tmp_path: Path) -> AsyncIterator[Inside]:
    """A gateway with a password that was made and never started."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"gateway": {"auth": {"password": {"hash": hashed(PASSWORD)}}}}))
    async with made(load.load(path, {}), tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def without_password(tmp_path: Path) -> AsyncIterator[Inside]:
    async with made(load.empty(), tmp_path / "bare") as gateway:
        yield gateway


@asynccontextmanager
async def made(config: Config, directory: Path) -> AsyncIterator[Inside]:
    store = Store.open(directory / "state")
    try:
        yield Inside(config, store, Nursery("test", {}), {}, directory)
    finally:
        await store.close()


STRANGER = Visit("GET", b"/ui/access", b"", {b"host": b"gw.test:8080"}, NOBODY)


def signed_in(way: Way, *, adds: bool, known: Caller = NOBODY, rights: tuple[Right, ...] = OPERATOR) -> Visit:
    """Somebody whose ten minutes may be over, at a page."""
    one = SignIn(b"", "operator", adds=adds, way=way, began=0, used=0)
    return replace(STRANGER, caller=unlimited("operator", *rights), sign_in=one, known=known)


def ways(offered: Desk | None) -> tuple[str, ...]:
    return () if offered is None else tuple(offered.ways)


async def test_the_form_offers_only_what_works(with_password: Inside, without_password: Inside) -> None:
    assert ways(desk(with_password, STRANGER)) == ("password", "code")
    assert ways(desk(without_password, STRANGER)) == ("code",)
    renderer = Renderer(without_password, Assets())
    found = Page(bytes(sign_in_page(renderer, STRANGER).body).decode())
    assert found.fields.keys() == {"code"}
    assert "autofocus" in found.fields["code"]


async def test_whose_ten_minutes_are_over_is_asked_in_the_same_way(with_password: Inside) -> None:
    """Another way than last time would make another caller of who is nobody by other proof."""
    assert ways(desk(with_password, signed_in("password", adds=False))) == ("password",)
    assert ways(desk(with_password, signed_in("code", adds=False))) == ("code",)
    # Who is somebody by other proof stays who they are, whichever secret they know.
    assert ways(desk(with_password, signed_in("code", adds=True, known=LOCAL_OPERATOR))) == (
        "password",
        "code",
    )


async def test_the_form_is_for_who_has_something_to_gain_by_it(with_password: Inside) -> None:
    def offered(caller: Caller) -> Desk | None:
        return desk(with_password, replace(STRANGER, caller=caller))

    assert ways(offered(LOCAL_OPERATOR)) == ("password", "code")
    for rights in ((), (Right.READ,), (Right.READ, Right.CALL), (Right.ADMIN,)):
        assert offered(unlimited("proxy:bob", *rights)) is None
    narrow = Caller("key:some", (Grant(frozenset({Right.OPERATE}), servers=("good",)),))
    assert offered(narrow) is None


async def test_the_form_says_what_it_was_asked_with(with_password: Inside) -> None:
    wrong = GatewayError(Kind.UNAUTHENTICATED, "This is not the password")
    offered = desk(with_password, STRANGER, wrong, "code", "/ui/tools")
    assert offered == Desk(
        ("password", "code"), "/ui/tools", "This is not the password", "code", is_readable=True
    )
    assert desk(with_password, STRANGER) == Desk(("password", "code"), "/ui/access", is_readable=True)
    for visit in (replace(STRANGER, is_secure=True), replace(STRANGER, headers={b"host": b"localhost:8085"})):
        found = desk(with_password, visit)
        assert found is not None
        assert not found.is_readable


async def test_whose_ten_minutes_are_over_is_told_to_sign_in_again() -> None:
    operator = unlimited("operator", *OPERATOR)
    signed_in = SignIn(b"", "operator", adds=False, way="password", began=0, used=0)
    visit = Visit("GET", b"/api/keys", b"", {}, operator, sign_in=signed_in)
    with pytest.raises(GatewayError) as caught:
        await Policy((Right.ADMIN,))(Request({"type": "http", "mcp_gateway.visit": visit}))
    assert (caught.value.kind, "sign in again" in caught.value.detail) == (Kind.REFUSED, True)


async def test_a_name_is_text(with_password: Inside) -> None:
    person = replace(unlimited("proxy:<i>", Right.READ), name="<b onclick=x>\u202e")
    renderer = Renderer(with_password, Assets())
    for made in (
        renderer.page(replace(STRANGER, caller=person), "servers.html", title="Servers", rows=[]),
        renderer.failed(replace(STRANGER, caller=person), GatewayError(Kind.UNKNOWN, "no <i>\u202e")),
    ):
        html = bytes(made.body).decode()
        assert "&lt;b onclick=x&gt;\\u202e" in html
        assert "proxy:&lt;i&gt;" in html
        assert "<i>" not in html
        assert "<b" not in html.replace("<body", "").replace("<button", "")
        assert "\u202e" not in html


# -- records, reloads, restarts -------------------------------------------------------------------------


def test_who_signed_in_and_out_and_who_did_not_is_in_the_activity(browser: Browser) -> None:
    browser.submit(password="wrong")
    browser.sign_in()
    browser.request("POST", "/api/sign-out")
    browser.sign_in()
    rows = browser.get("/api/calls?limit=4").json()["calls"]
    assert [(row["action"], row["caller"], row["outcome"], row["face"]) for row in rows] == [
        ("sign-in", "operator", "ok", "rest"),
        ("sign-out", "operator", "ok", "rest"),
        ("sign-in", "operator", "ok", "rest"),
        ("sign-in.failed", "nobody", "unauthenticated", "ui"),
    ]
    assert "127.0.0.1" in rows[0]["detail"]
    assert PASSWORD not in json.dumps(rows)


def test_another_password_and_a_restart_end_every_sign_in(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "auth": {
            "password": {"hash": hashed(PASSWORD)},
            "keys": [{"name": "reader", "hash": hash_text(KEY), "scopes": {"rights": ["read"]}}],
        }
    }
    with Gateway({}, tmp_path, settings, wanted_port=free_port()) as gateway:
        browser = Browser(gateway)
        browser.sign_in()

        # A file that cannot be used changes nothing, and is told to who may operate.
        gateway.reconfigure("{")
        assert browser.request("POST", "/api/reload").status == 400
        assert "cannot be used" in look(browser).text
        reader = Browser(gateway, headers={"Authorization": f"Bearer {KEY}"})
        assert "cannot be used" not in look(reader).text

        settings["auth"]["password"] = {"hash": hashed("another")}
        gateway.reconfigure()
        assert browser.request("POST", "/api/reload").status in (
            200,
            401,
        )  # the gateway may have seen it first
        assert not browser.is_known()
        answer = browser.request("POST", "/api/sign-in", {"password": PASSWORD})
        check_problem(answer, 401, "unauthenticated")
        browser.sign_in(password="another")

        gateway.stop()
        gateway.start()
        assert not browser.is_known()
        browser.sign_in(password="another")
        assert browser.is_known()


def test_wrong_passwords_are_slowed_down(tmp_path: Path) -> None:
    with Gateway({}, tmp_path, {"auth": {"password": {"hash": hashed(PASSWORD)}}}) as gateway:
        browser = Browser(gateway)
        browser.sign_in()
        inside, browser.cookie = browser.cookie, ""

        statuses: list[int] = []
        while len(statuses) < 40 and 429 not in statuses:
            # A forwarded address is never believed: who can write one would have as many as they like.
            forged = {"X-Forwarded-For": f"192.0.2.{len(statuses)}", "Forwarded": "for=192.0.2.9"}
            answer = browser.request("POST", "/ui/sign-in", b"password=wrong", FORM | forged)
            statuses.append(answer.status)
        assert statuses == [401] * (len(statuses) - 1) + [429]
        assert len(statuses) > 10
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert shown(answer).alerts == 1
        # Who is in stays in, and the code has attempts of its own.
        browser.cookie = inside
        assert browser.is_known()
        browser.cookie = ""
        assert browser.sign_in(code=code_of(gateway))["caller"] == "console"
