"""The edge: who is let in. Until callers have keys, a direct request on loopback and nothing else.

Each row is sent as bytes to every surface, since the check stands before routing and must know none. A
refusal is for that request only: the next one on the same connection is served.
"""

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from tests.faces.knocking import Line, check_log, check_problem, exact, json_bytes
from tests.harness import Answer, Gateway, hostile

SURFACES = (
    (b"GET", b"/"),
    (b"GET", b"/health"),
    (b"GET", b"/ready"),
    (b"GET", b"/openapi.json"),
    (b"GET", b"/api/servers"),
    (b"GET", b"/api/events"),
    (b"GET", b"/api/calls"),
    (b"PATCH", b"/api/servers/good"),
    (b"POST", b"/api/servers/good/restart"),
    (b"POST", b"/api/tools/good/echo"),
    (b"POST", b"/mcp"),
    (b"GET", b"/mcp"),
    (b"DELETE", b"/servers/good/mcp"),
    (b"GET", b"/nothing/here"),
    (b"OPTIONS", b"/api/servers"),
)
BODY = b'{"enabled":false}'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"good": hostile("good"), "exact": exact()}, tmp_path_factory.mktemp("edge")) as gateway:
        gateway.wait_for_state("good", "ready")
        gateway.wait_for_state("exact", "ready")
        before = gateway.server("good")
        yield gateway
        after = gateway.server("good")
        # No refused request has switched, restarted or called anything.
        assert (after["pid"], after["override"]) == (before["pid"], None)
        assert after["calls"]["total"] == 0
        check_log(gateway)


@pytest.fixture(scope="module")
def line(gateway: Gateway) -> Iterator[Line]:
    with Line(gateway.port) as line:
        yield line


def send(line: Line, method: bytes, path: bytes, *headers: bytes) -> Answer:
    """A request that would do something, were it let in."""
    more = (b"Content-Type: application/json", b"Content-Length: %d" % len(BODY)) if method != b"GET" else ()
    line.send(b"%b %b HTTP/1.1" % (method, path), *headers, *more, body=BODY if more else b"")
    return line.read(method.decode())


def is_let_in(line: Line, *headers: bytes) -> bool:
    answer = send(line, b"GET", b"/api/servers", *headers)
    if answer.status == 200:
        return True
    assert answer.status in (400, 403), answer
    return False


def refused_everywhere(line: Line, *headers: bytes, status: int = 403, word: str = "refused") -> None:
    code = "refused" if status == 403 else "invalid"
    for method, path in SURFACES:
        check_problem(send(line, method, path, *headers), status, code, word)
        # CORS would hand the answer to the page that asked.
        assert is_let_in(line, b"Host: localhost")


# -- Host -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"localhost:8085",
        b"LocalHost:80",
        b"127.0.0.1",
        b"127.0.0.1:65535",
        b"[::1]",
        b"[::1]:8085",
    ],
)
def test_a_loopback_host_is_let_in(line: Line, host: bytes) -> None:
    assert is_let_in(line, b"Host: " + host)


def test_a_blank_around_a_value_is_no_part_of_it(line: Line) -> None:
    # RFC 9112, section 5.1: optional white space stands around a field's value, not in it.
    assert is_let_in(line, b"Host:   localhost:8085  \t")
    assert is_let_in(line, b"Host: localhost", b"Origin: http://localhost ", b"Sec-Fetch-Site: none ")


BAD_HOSTS = (
    # CVE-2026-48710: what a framework makes a URL of must not open another route.
    b"x/health?",
    b"x/health?x=",
    b"x/static/#",
    b"localhost/health?",
    b"localhost:8085/health?x=",
    b"localhost/../health",
    b"localhost#/health",
    b"localhost?/health",
    b"localhost\\health",
    # Rebinding: a name of theirs that leads here.
    b"rebind.test",
    b"rebind.test:8085",
    b"localhost.evil.test",
    b"127.0.0.1.nip.io",
    b"notlocalhost",
    b"localhost.",
    b"sub.localhost",
    b"gw.tailnet.ts.net",
    # Other ways to write an address, which a resolver would follow.
    b"0.0.0.0",
    b"127.0.0.2",
    b"127.1",
    b"2130706433",
    b"0x7f.0.0.1",
    b"0177.0.0.1",
    b"127.0.0.01",
    b"[::]",
    b"[::ffff:127.0.0.1]",
    b"[0:0:0:0:0:0:0:1]",
    b"[::1%25lo]",
    b"::1",
    b"[::1",
    # What a lenient parser could read in two ways.
    b"evil.test@localhost",
    b"localhost@evil.test",
    b"user:pass@localhost",
    b"localhost,evil.test",
    b"localhost evil.test",
    b"localhost:80:80",
    b"localhost:",
    b"localhost:-1",
    b"localhost:80x",
    b"localhost:123456",
    b":8085",
    b"http://localhost",
    b"//localhost",
    b'"localhost"',
    b"%6cocalhost",
    b"l\xf6calhost",
    "ⓛocalhost".encode(),
    "１２７.0.0.1".encode(),
    b"x" * 5_000,
    b"",
)


@pytest.mark.parametrize("host", BAD_HOSTS, ids=range(len(BAD_HOSTS)))
def test_a_foreign_host_is_refused_on_every_surface(line: Line, host: bytes) -> None:
    refused_everywhere(line, b"Host: " + host, word="Host")


def test_no_host_at_all_is_refused(gateway: Gateway) -> None:
    for start in (b"GET /api/servers HTTP/1.0", b"GET /api/servers HTTP/1.1"):
        with Line(gateway.port) as line:
            line.send(start)
            assert line.read().status in (400, 403)


def test_a_target_with_an_authority_does_not_replace_the_host(gateway: Gateway) -> None:
    for target in (
        b"http://localhost/api/servers",
        b"http://evil.test/api/servers",
        b"//localhost/api/servers",
    ):
        with Line(gateway.port) as line:
            line.send(b"GET %b HTTP/1.1" % target, b"Host: evil.test")
            assert line.read().status in (400, 403)


# -- Origin ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"localhost:8085", b"http://localhost:8085"),
        (b"127.0.0.1:8085", b"http://127.0.0.1:8085"),
        (b"[::1]:8085", b"http://[::1]:8085"),
        (b"localhost", b"http://localhost"),
    ],
)
def test_a_page_of_our_own_is_let_in(line: Line, host: bytes, origin: bytes) -> None:
    assert is_let_in(line, b"Host: " + host, b"Origin: " + origin)
    assert is_let_in(line, b"Host: " + host, b"Origin: " + origin, b"Sec-Fetch-Site: same-origin")


BAD_ORIGINS = (
    b"null",
    b"",
    b"http://evil.test",
    b"http://localhost:3000",  # another server of the same person
    b"http://localhost",
    b"http://127.0.0.1:8085",  # another name is another origin
    b"http://[::1]:8085",
    b"http://user@localhost:8085",
    b"http://localhost:8085@evil.test",
    b"http://evil.test@localhost:8085",
    b"http://localhost:8085.evil.test",
    b"http://localhost:8085/",
    b"http://localhost:8085/path",
    b"http://localhost:8085?x",
    b"http://localhost:8085#x",
    b"http://localhost:8085 http://evil.test",
    b"http://localhost:8085, http://evil.test",
    b"localhost:8085",
    b"//localhost:8085",
    b"ws://localhost:8085",
    b"file://",
    b"chrome-extension://abcdefgh",
    b"http:localhost:8085",
    b"http://sub.localhost:8085",
    b"http://localhost.:8085",
    b"http://localhost:08085",
)


@pytest.mark.parametrize("origin", BAD_ORIGINS, ids=range(len(BAD_ORIGINS)))
def test_a_page_of_another_origin_is_refused_on_every_surface(line: Line, origin: bytes) -> None:
    refused_everywhere(line, b"Host: localhost:8085", b"Origin: " + origin, word="origin")


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"CROSS-SITE", b"anything", b""])
def test_a_page_of_another_site_is_refused_on_every_surface(line: Line, site: bytes) -> None:
    refused_everywhere(line, b"Host: localhost:8085", b"Sec-Fetch-Site: " + site, word="site")


def test_an_address_that_was_typed_is_let_in(line: Line) -> None:
    assert is_let_in(line, b"Host: localhost:8085", b"Sec-Fetch-Site: none", b"Sec-Fetch-Mode: navigate")


def test_no_answer_is_shared_with_another_origin(gateway: Gateway) -> None:
    for headers in ({}, {"Origin": f"http://127.0.0.1:{gateway.port}"}, {"Origin": "http://evil.test"}):
        for path in ("/", "/api/servers", "/openapi.json", "/health"):
            answer = gateway.request("GET", path, headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_preflight_is_refused(line: Line) -> None:
    asked = (b"Host: localhost:8085", b"Origin: http://evil.test", b"Access-Control-Request-Method: POST")
    answer = send(line, b"OPTIONS", b"/api/tools/good/echo", *asked)
    check_problem(answer, 403, "refused")


# -- proxies --------------------------------------------------------------------------------------------

MARKS = (
    "Forwarded: for=127.0.0.1",
    "Via: 1.1 proxy",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Host: localhost",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Server: a",
    "X-Forwarded-Prefix: /x",
    "X-Forwarded-User: admin",
    "X-Forwarded-Email: a@b.test",
    "X-Real-IP: 127.0.0.1",
    "X-Client-IP: 127.0.0.1",
    "X-Cluster-Client-IP: 127.0.0.1",
    "X-Original-Host: localhost",
    "X-Original-URL: /health",
    "X-Rewrite-URL: /health",
    "True-Client-IP: 127.0.0.1",
    "CF-Connecting-IP: 127.0.0.1",
    "CF-Ray: 1",
    "Fly-Client-IP: 127.0.0.1",
    "X-Envoy-External-Address: 127.0.0.1",
    "X-Azure-ClientIP: 127.0.0.1",
    "X-Amzn-Trace-Id: Root=1",
    "Tailscale-User-Login: admin@example.com",
    "Tailscale-User-Name: Admin",
    "Tailscale-User-Profile-Pic: https://example.com/a.png",
    "Tailscale-Funnel-Request: ?1",
    "Tailscale-Headers-Info: https://tailscale.com/s/serve-headers",
    "Remote-User: admin",
    "X-Remote-User: admin",
    "X-Forwarded-For:",
    "X-Forwarded-Whatever-Comes-Next: 1",
    "x-FORWARDED-for: ::1",
)


@pytest.mark.parametrize("mark", MARKS)
def test_any_sign_of_a_proxy_is_refused_on_every_surface(line: Line, mark: str) -> None:
    name = mark.partition(":")[0].lower()
    # One family, whatever its members are called next.
    word = "x-forwarded" if name.startswith("x-forwarded") else name
    refused_everywhere(line, b"Host: localhost:8085", mark.encode(), word=word)


def test_a_forwarded_address_never_becomes_the_caller(gateway: Gateway, line: Line) -> None:
    send(line, b"POST", b"/api/tools/good/echo", b"Host: localhost", b"X-Forwarded-For: 6.6.6.6")
    assert "6.6.6.6" not in gateway.get("/api/calls").body.decode()
    assert gateway.get("/api/calls?server=good").json()["calls"] == []


# -- headers that come twice ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"Host: localhost", b"Host: localhost"),
        (b"Host: localhost", b"Host: evil.test"),
        (b"Host: evil.test", b"Host: localhost"),
        (b"Host: localhost", b"hOST: localhost:1"),
        (b"Origin: http://localhost", b"Origin: http://localhost"),
        (b"Origin: http://evil.test", b"Origin: http://localhost"),
        (b"Origin: http://localhost", b"Origin: http://evil.test"),
        (b"Origin: null", b"Origin: http://localhost"),
        (b"Sec-Fetch-Site: cross-site", b"Sec-Fetch-Site: none"),
        (b"Content-Type: text/plain", b"Content-Type: application/json"),
        (b"Authorization: Bearer a", b"Authorization: Bearer b"),
        (b"Mcp-Session-Id: a", b"Mcp-Session-Id: b"),
        (b"Last-Event-ID: 1", b"Last-Event-ID: 2"),
    ],
    ids=str,
)
def test_a_header_that_may_come_once_is_refused_twice(line: Line, first: bytes, second: bytes) -> None:
    host = () if first.startswith(b"Host") else (b"Host: localhost",)
    for method, path in SURFACES:
        answer = send(line, method, path, *host, first, second)
        assert answer.status in (400, 403), (method, path, answer)
        check_problem(answer, answer.status, "invalid" if answer.status == 400 else "refused")
        assert is_let_in(line, b"Host: localhost")


def test_headers_that_are_lists_may_come_twice(line: Line) -> None:
    # RFC 9110, section 5.3: one list, on two lines.
    twice = (b"Accept: application/json", b"Accept: text/event-stream", b"Accept-Language: de")
    assert is_let_in(line, b"Host: localhost", *twice, b"Accept-Language: en", b"Cookie: a=1", b"Cookie: b=2")


def test_an_mcp_client_may_name_its_two_types_on_two_lines(gateway: Gateway) -> None:
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    body = json_bytes({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked})
    with Line(gateway.port) as line:
        line.send(
            b"POST /mcp HTTP/1.1",
            b"Host: localhost",
            b"Accept: application/json",
            b"Accept: text/event-stream",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            body=body,
        )
        assert line.read().status == 200


# -- bytes that are hardly HTTP -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody tries TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /api/servers\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/tools/good/\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /servers/\xff/mcp HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: evil.test\n\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        b"GET " + b"/x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=lambda data: repr(data[:50]),
)
def test_odd_bytes_are_answered_or_hung_up_on_and_hurt_nobody(gateway: Gateway, request_bytes: bytes) -> None:
    with Line(gateway.port) as line:
        answer = b""
        with contextlib.suppress(OSError):  # it may hang up before it has read everything
            line.socket.sendall(request_bytes)
            line.socket.shutdown(socket.SHUT_WR)  # nothing more comes: it must not wait for that
            answer = line.rest()
    assert b"101 Switching" not in answer
    assert b"500 Internal" not in answer
    assert not (b"evil.test" in request_bytes and b"200 OK" in answer)
    assert gateway.get("/health").status == 200


def test_requests_on_one_connection_are_judged_one_by_one(gateway: Gateway) -> None:
    good = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    bad = b"GET /health HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    with Line(gateway.port) as line:
        line.socket.sendall(
            good + bad + good + bad + good.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        answers = line.rest()
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"403", b"200", b"403", b"200"]


def test_a_refusal_shows_what_was_wrong_and_hides_control_characters(gateway: Gateway) -> None:
    answer = gateway.request("GET", "/", headers={"Origin": "http://\u00e9\u0080.test"})
    problem = check_problem(answer, 403, "refused", "origin")
    assert all(" " <= char <= "~" for char in problem["detail"]), problem
    assert json.loads(answer.body) == problem


def test_a_header_of_the_caller_never_reaches_a_server_or_a_record(gateway: Gateway) -> None:
    canary = "canary-0c9d5e1f"
    refused = gateway.request("POST", "/api/tools/exact/raw-line", {}, {"Authorization": f"Bearer {canary}"})
    assert (refused.status, canary.encode() in refused.body) == (401, False)
    headers = {"Cookie": canary, "X-Canary": canary}
    answer = gateway.request("POST", "/api/tools/exact/raw-line", {}, headers)
    assert answer.status == 200
    assert canary.encode() not in answer.body
    for path in ("/api/calls", "/api/servers", "/api/servers/exact/logs"):
        assert canary.encode() not in gateway.get(path).body
    assert canary not in gateway.log.read_text()
