"""S02 for a gateway that asks who is there: Host and Origin stand before any key.

The tables of open mode are in `tests/faces/test_edge.py`; here are the names that the operator declared, and
the pages that may call. Docker's gateway CVE-2025-64443, the SDKs' CVE-2025-66414 and -66416, Inspector
CVE-2025-49596 (a page that posts to localhost). Every row carries a good key: it must not help.
"""

from collections.abc import Iterator

import pytest

from tests.faces.knocking import check_log, check_problem
from tests.harness import Answer, hostile
from tests.security.cast import Guarded, wait_ready

URLS = ["https://gw.example.test", "http://lan.example.test:8085", "https://other.example.test:8443"]
PAGE = "https://page.example.test"
SECOND_PAGE = "http://localhost:3000"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    settings = {"publicUrl": URLS, "corsOrigins": [PAGE, SECOND_PAGE], "limits": {"rate": 100_000}}
    directory = tmp_path_factory.mktemp("rebinding")
    # What strangers ask for is at `good`, which must hear of none of it.
    with Guarded({"good": hostile("good"), "chat": hostile("good")}, directory, settings) as gateway:
        wait_ready(gateway, "good", "chat")
        yield gateway
        shown = gateway.server("good")
        assert (shown["calls"]["total"], shown["override"]) == (0, None)
        check_log(gateway)


SURFACES = (
    b"GET /health",
    b"GET /",
    b"GET /api/servers",
    b"GET /api/events",
    b"PATCH /api/servers/good",
    b"POST /api/tools/good/echo",
    b"POST /api/keys",
    b"POST /mcp",
    b"GET /servers/good/mcp",
    b"GET /nothing",
    b"OPTIONS /api/servers",
)
BODY = b'{"enabled":false}'


def send(gateway: Guarded, what: bytes, *headers: bytes) -> Answer:
    """A request that would do something, were it let in."""
    more = (b"Content-Type: application/json", b"Content-Length: %d" % len(BODY))
    is_get = what.startswith(b"GET")
    return gateway.knock(
        what + b" HTTP/1.1", *headers, *(() if is_get else more), body=b"" if is_get else BODY
    )


def is_let_in(gateway: Guarded, *headers: bytes) -> bool:
    answer = send(gateway, b"GET /api/servers", *headers)
    assert answer.status in (200, 400, 401, 403), answer
    return answer.status == 200


def refused_everywhere(gateway: Guarded, *headers: bytes) -> None:
    for what in SURFACES:
        answer = send(gateway, what, *headers)
        assert answer.status in (400, 403), (what, headers, answer)
        check_problem(answer, answer.status, "refused" if answer.status == 403 else "invalid")
        assert not shared(answer), answer


def shared(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


# -- Host -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        b"gw.example.test",
        b"gw.example.test:443",
        b"GW.Example.TEST",
        b"lan.example.test:8085",
        b"LAN.example.test:8085",
        b"other.example.test:8443",
        b"localhost",
        b"127.0.0.1:8085",
        b"[::1]:1",
    ],
)
def test_S02_declared_names_are_ours(gateway: Guarded, host: bytes) -> None:
    assert is_let_in(gateway, b"Host: " + host)


BAD_HOSTS = (
    b"gw.example.test:80",
    b"gw.example.test:8085",
    b"gw.example.test:0443",
    b"gw.example.test:443:443",
    b"gw.example.test:",
    b"gw.example.test.",
    b"gw.example.test.:443",
    b"lan.example.test",
    b"lan.example.test:80",
    b"lan.example.test:8443",
    b"other.example.test",
    b"other.example.test:443",
    b"sub.gw.example.test",
    b".gw.example.test",
    b"xgw.example.test",
    b"example.test",
    b"test",
    b"*.example.test",
    b"gw.example.test.evil.test",
    b"gw.example.test@evil.test",
    b"evil.test@gw.example.test",
    b"user:pass@gw.example.test",
    b"gw.example.test, evil.test",
    b"gw.example.test evil.test",
    b"evil.test gw.example.test",
    b"gw.example.test/",
    b"gw.example.test/health",
    b"gw.example.test?",
    b"gw.example.test#",
    b"https://gw.example.test",
    b"//gw.example.test",
    b"gw%2eexample%2etest",
    b"gw.example.test%00",
    b"gw_example_test",
    b"gw-example-test",
    "gw.exámple.test".encode(),
    "ɡw.example.test".encode(),
    "gw。example。test".encode(),
    b"xn--gw-example.test",
    b"rebind.test",
    b"10.0.0.1",
    b"0.0.0.0",
    b"100.64.0.1:8085",
    b"",
)


@pytest.mark.parametrize("host", BAD_HOSTS, ids=range(len(BAD_HOSTS)))
def test_S02_no_other_name_is_ours(gateway: Guarded, host: bytes) -> None:
    refused_everywhere(gateway, b"Host: " + host)


@pytest.mark.parametrize(
    "headers",
    [
        (b"Host: gw.example.test", b"Host: gw.example.test"),
        (b"Host: gw.example.test", b"Host: evil.test"),
        (b"Host: evil.test", b"Host: gw.example.test"),
        (b"Host: evil.test", b"X-Forwarded-Host: gw.example.test"),
        (b"Host: evil.test", b"Forwarded: host=gw.example.test"),
        (b"Host: evil.test", b"X-Original-Host: localhost"),
        (),
    ],
)
def test_S02_one_host_and_no_other_header_says_it(gateway: Guarded, headers: tuple[bytes, ...]) -> None:
    refused_everywhere(gateway, *headers)


def test_S02_what_a_proxy_says_is_not_heard(gateway: Guarded) -> None:
    told = (b"X-Forwarded-Host: evil.test", b"X-Forwarded-Proto: http", b"X-Forwarded-For: 6.6.6.6")
    assert is_let_in(gateway, b"Host: gw.example.test", *told)
    answer = gateway.nobody.knock(
        b"GET /api/servers HTTP/1.1", b"Host: localhost", b"X-Forwarded-For: 127.0.0.1"
    )
    check_problem(answer, 401, "unauthenticated")


# -- Origin ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"gw.example.test", b"https://gw.example.test"),
        (b"gw.example.test:443", b"https://gw.example.test"),
        (b"lan.example.test:8085", b"http://lan.example.test:8085"),
        (b"localhost:8085", b"http://localhost:8085"),
        (b"127.0.0.1:8085", b"http://127.0.0.1:8085"),
    ],
)
def test_S02_a_page_of_our_own_is_let_in(gateway: Guarded, host: bytes, origin: bytes) -> None:
    for site in ((), (b"Sec-Fetch-Site: same-origin",)):
        assert is_let_in(gateway, b"Host: " + host, b"Origin: " + origin, *site)


BAD_ORIGINS = (
    b"null",
    b"NULL",
    b"",
    b"http://gw.example.test",  # what anybody on the way can make
    b"http://gw.example.test:443",
    b"https://gw.example.test:443",  # a browser never writes the usual port
    b"https://gw.example.test:8443",  # the same site, and another program
    b"https://gw.example.test/",
    b"https://gw.example.test/x",
    b"https://gw.example.test?x",
    b"https://gw.example.test#x",
    b"https://user@gw.example.test",
    b"https://gw.example.test@evil.test",
    b"https://gw.example.test.evil.test",
    b"https://sub.gw.example.test",
    b"https://example.test",
    b"https://gw.example.test.",
    b"HTTPS://GW.EXAMPLE.TEST",
    b"https://gw.example.test https://evil.test",
    b"https://gw.example.test, https://evil.test",
    b"https://other.example.test",  # without its port
    b"https://lan.example.test:8085",  # declared as http
    b"http://localhost",
    b"https://localhost:3000",
    b"http://localhost:3000/",
    b"http://localhost:30000",
    b"https://page.example.test:8443",
    b"http://page.example.test",
    b"https://sub.page.example.test",
    b"https://page.example.test.evil.test",
    b"*",
    b"ws://gw.example.test",
    b"file://",
    b"chrome-extension://abcdefgh",
    b"gw.example.test",
)


@pytest.mark.parametrize("origin", BAD_ORIGINS, ids=range(len(BAD_ORIGINS)))
def test_S02_a_page_of_another_origin_is_refused_whatever_key_it_has(gateway: Guarded, origin: bytes) -> None:
    refused_everywhere(gateway, b"Host: gw.example.test", b"Origin: " + origin)


@pytest.mark.parametrize(
    "headers",
    [
        (b"Origin: https://gw.example.test", b"Origin: https://gw.example.test"),
        (b"Origin: https://evil.test", b"Origin: https://gw.example.test"),
        (b"Origin: https://gw.example.test", b"Origin: https://evil.test"),
        (b"Origin: null", b"Origin: https://gw.example.test"),
        (b"Origin: https://gw.example.test", b"Sec-Fetch-Site: cross-site"),
        (b"Origin: https://gw.example.test", b"Sec-Fetch-Site: same-site"),
        (b"Sec-Fetch-Site: same-site",),
        (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: no-cors", b"Sec-Fetch-Dest: image"),
        (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: iframe"),
        (b"Sec-Fetch-Site: none", b"Sec-Fetch-Site: cross-site"),
    ],
    ids=range(10),
)
def test_S11_what_the_browser_says_of_the_page_counts(gateway: Guarded, headers: tuple[bytes, ...]) -> None:
    refused_everywhere(gateway, b"Host: gw.example.test", *headers)


def test_S11_following_a_link_is_let_in_and_posting_a_form_is_not(gateway: Guarded) -> None:
    link = (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document")
    assert is_let_in(gateway, b"Host: gw.example.test", *link)
    for what in SURFACES:
        if not what.startswith(b"GET"):
            answer = send(gateway, what, b"Host: gw.example.test", *link)
            check_problem(answer, 403, "refused")


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b""]
)
def test_S11_what_a_form_can_send_is_not_read(gateway: Guarded, kind: bytes) -> None:
    for what in (
        b"POST /api/tools/good/echo",
        b"PATCH /api/servers/good",
        b"POST /api/keys",
        b"POST /mcp",
        b"PATCH /api/tools/good/echo",
    ):
        length = b"Content-Length: %d" % len(BODY)
        lines = (what + b" HTTP/1.1", b"Host: localhost", b"Content-Type: " + kind, length)
        assert gateway.knock(*lines, body=BODY).status == 415


# -- CORS -----------------------------------------------------------------------------------------------


def preflight(gateway: Guarded, origin: str, method: str = "POST", headers: str = "authorization") -> Answer:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return gateway.nobody.request("OPTIONS", "/api/tools/good/echo", headers=asked)


@pytest.mark.parametrize("origin", [PAGE, SECOND_PAGE])
def test_S02_a_named_page_is_told_that_it_may_ask(gateway: Guarded, origin: str) -> None:
    told = preflight(gateway, origin, headers="authorization, content-type, mcp-session-id")
    assert told.status in (200, 204), told
    assert told.headers["access-control-allow-origin"] == origin
    assert "origin" in told.headers["vary"].lower()
    assert "access-control-allow-credentials" not in told.headers
    assert "*" not in "".join(shared(told).values())


def test_S02_a_named_page_may_repeat_arguments_in_headers_that_no_list_knows(gateway: Guarded) -> None:
    told = preflight(gateway, PAGE, headers="mcp-method,Mcp-Param-Region, mcp-param-x.y")
    assert told.status in (200, 204), told
    allowed = told.headers["access-control-allow-headers"].lower().split(", ")
    assert {"mcp-param-region", "mcp-param-x.y", "mcp-name", "authorization"} <= set(allowed)
    plain = preflight(gateway, PAGE).headers["access-control-allow-headers"]
    assert "mcp-param" not in plain  # what one page asked for is not told another
    for header in (
        "mcp-param-",
        "mcp-param-a b",
        "x-mcp-param-a",
        "mcp-param-a, x-anything",
        "mcp-param-\u00e9",
    ):
        assert preflight(gateway, PAGE, headers=header).status == 400, header
    check_problem(preflight(gateway, "https://evil.test", headers="mcp-param-a"), 403, "refused")


def test_S02_a_named_page_may_not_send_a_code_or_play_a_proxy(gateway: Guarded) -> None:
    for header in ("mcp-gateway-code", "mcp-gateway-proxy-secret", "tailscale-user-login", "x-anything"):
        assert header not in preflight(gateway, PAGE, headers=header).headers.get(
            "access-control-allow-headers", ""
        )
        assert preflight(gateway, PAGE, headers=header).status == 400
    assert preflight(gateway, PAGE, method="TRACE").status == 400


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "https://sub.page.example.test", "*"])
def test_S02_another_page_is_told_nothing(gateway: Guarded, origin: str) -> None:
    told = preflight(gateway, origin)
    check_problem(told, 403, "refused")
    assert not shared(told)


def test_S02_a_preflight_under_a_foreign_name_is_refused(gateway: Guarded) -> None:
    asked = (b"Origin: " + PAGE.encode(), b"Access-Control-Request-Method: POST")
    for host in (b"evil.test", b"x/health?", b"gw.example.test."):
        answer = gateway.nobody.knock(b"OPTIONS /mcp HTTP/1.1", b"Host: " + host, *asked)
        assert answer.status in (400, 403), answer
    doubled = gateway.nobody.knock(
        b"OPTIONS /mcp HTTP/1.1", b"Host: localhost", b"Origin: https://evil.test", *asked
    )
    assert doubled.status == 400


def test_S02_a_named_page_needs_a_key_and_is_never_the_person_before_it(gateway: Guarded) -> None:
    for path in ("/api/servers", "/health", "/", "/mcp", "/nothing"):
        answer = gateway.nobody.request("GET", path, headers={"Origin": PAGE})
        check_problem(answer, 401, "unauthenticated")
        assert answer.headers["access-control-allow-origin"] == PAGE  # so that the page can say why
    code = (gateway.state_dir / "one-time-code").read_text().strip()
    for more in ({"Cookie": "session=x"}, {"Mcp-Gateway-Code": code}):
        answer = gateway.nobody.request("GET", "/api/servers", headers={"Origin": PAGE} | more)
        check_problem(answer, 401, "unauthenticated")
    assert (gateway.state_dir / "one-time-code").read_text().strip() == code  # it was not used up


def test_S02_a_named_page_with_a_key_may_read_the_answer(gateway: Guarded) -> None:
    answer = gateway.request("GET", "/api/servers", headers={"Origin": PAGE, "Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers


# -- a chat whose pages call tools themselves (Open WebUI, tool servers of users) -------------------------

DOCUMENTS = ("/tools/openapi.json", "/tools/chat/openapi.json")
OF_A_CHAT = "authorization, content-type, x-session-id"


def asks(gateway: Guarded, method: str, path: str, origin: str, **more: str) -> Answer:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": OF_A_CHAT,
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "cors",
        "Sec-Fetch-Dest": "empty",
    }
    return gateway.nobody.request("OPTIONS", path, headers=asked | more)


@pytest.mark.parametrize(
    ("method", "path"), [*(("GET", path) for path in DOCUMENTS), ("POST", "/tools/chat/echo")]
)
def test_S02_a_named_chat_may_read_documents_and_call_tools(gateway: Guarded, method: str, path: str) -> None:
    told = asks(gateway, method, path, PAGE)
    assert told.status in (200, 204), told
    assert told.headers["access-control-allow-origin"] == PAGE
    assert method in told.headers["access-control-allow-methods"]
    allowed = told.headers["access-control-allow-headers"].lower().split(", ")
    assert set(OF_A_CHAT.split(", ")) <= set(allowed)
    assert "access-control-allow-private-network" not in told.headers  # nobody asked
    private = asks(gateway, method, path, PAGE, **{"Access-Control-Request-Private-Network": "true"})
    assert private.headers["access-control-allow-private-network"] == "true"
    for other in ("https://evil.test", "null"):
        refused = asks(gateway, method, path, other, **{"Access-Control-Request-Private-Network": "true"})
        check_problem(refused, 403, "refused")
        assert not shared(refused)


def test_S02_what_a_named_chat_is_answered_can_be_read_there_whatever_it_is(gateway: Guarded) -> None:
    sent = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site", "X-Session-Id": "chat"}
    answers = [gateway.request("GET", path, headers=sent) for path in DOCUMENTS]
    assert [answer.status for answer in answers] == [200, 200]
    calls = [("echo", {"text": "x"}, 200), ("fail", {}, 422), ("nothing", {}, 404), ("echo", [], 400)]
    for tool, arguments, status in calls:
        answer = gateway.request("POST", f"/tools/chat/{tool}", arguments, sent)
        assert answer.status == status, answer
        answers.append(answer)
    later = gateway.request("POST", "/tools/chat/echo", {"text": "x"}, sent | {"Prefer": "respond-async"})
    assert later.status == 202
    for answer in (*answers, later):
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "origin" in answer.headers["vary"].lower()
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"content-disposition", "location", "mcp-gateway-call", "retry-after"} <= set(exposed)
    for path in DOCUMENTS:
        for other in ("https://evil.test", "null"):
            answer = gateway.request("GET", path, headers=sent | {"Origin": other})
            check_problem(answer, 403, "refused")
            assert not shared(answer)


def test_S02_without_an_origin_nothing_is_shared(gateway: Guarded) -> None:
    for path in ("/", "/api/servers", "/health"):
        for origin in (None, f"http://127.0.0.1:{gateway.port}"):
            answer = gateway.request("GET", path, headers={} if origin is None else {"Origin": origin})
            assert answer.status == 200
            assert not shared(answer)
