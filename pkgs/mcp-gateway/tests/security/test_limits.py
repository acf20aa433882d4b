"""S12: what one caller may ask for, and that nobody else notices; all of it while the gateway is guarded."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from mcp_gateway.gateway.events import Events
from tests.faces.knocking import Line, Mcp, check_log, check_problem, check_rpc_error
from tests.harness import Answer, hostile, until
from tests.security.cast import Guarded, wait_ready

RATE, BURST, CONCURRENCY, BODY = 5, 50, 3, 64 * 1024
USUAL = {"rights": ["read", "call"]}
CALLERS = ("greedy", "patient", "busy", "other", "prober")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    limits = {"rate": RATE, "concurrency": CONCURRENCY, "body": "64KiB"}
    directory = tmp_path_factory.mktemp("limits")
    keys = dict.fromkeys(CALLERS, USUAL)
    with Guarded({"good": hostile("good")}, directory, {"limits": limits}, keys=keys) as gateway:
        wait_ready(gateway.as_("prober"), "good")
        yield gateway
        check_log(gateway)


def knocks(gateway: Guarded, path: str, count: int, **more: str) -> list[Answer]:
    """So many requests on one connection."""
    headers = [f"{name}: {value}".encode() for name, value in (gateway.identity | more).items()]
    answers = []
    with Line(gateway.port) as line:
        for _ in range(count):
            line.send(f"GET {path} HTTP/1.1".encode(), b"Host: localhost", *headers)
            answers.append(line.read())
    return answers


def test_S12_one_callers_rate_is_their_own(gateway: Guarded) -> None:
    greedy, patient = gateway.as_("greedy"), gateway.as_("patient")
    answers = knocks(greedy, "/api/me", 4 * BURST)
    assert {answer.status for answer in answers[:BURST]} == {200}
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) > BURST
    for answer in refused:
        problem = check_problem(answer, 429, "busy", "requests a second")
        assert problem["retryable"]
        assert 1 <= int(answer.headers["retry-after"]) <= 2
    assert patient.get("/api/me").status == 200
    # Neither another route nor another face nor a forwarded address is another bucket.
    for path, headers in (("/mcp", {}), ("/health", {}), ("/api/me", {"X-Forwarded-For": "6.6.6.6"})):
        assert {answer.status for answer in knocks(greedy, path, BURST, **headers)} >= {429}
    assert gateway.nobody.get("/health").status == 200


def test_S12_strangers_use_up_nothing(gateway: Guarded) -> None:
    """Probes must not fail, and nobody be kept from signing in, because somebody else knocks."""
    for path, status in (("/health", 200), ("/ready", 200), ("/", 401)):
        assert {answer.status for answer in knocks(gateway.nobody, path, 3 * BURST)} == {status}
    wrong = {"Authorization": "Bearer mgk_patient_" + "A" * 43}
    assert {answer.status for answer in knocks(gateway.nobody, "/api/me", 3 * BURST, **wrong)} == {401}
    assert gateway.as_("patient").get("/api/me").status == 200


def test_S12_one_callers_calls_under_way_are_bounded_over_all_faces(gateway: Guarded) -> None:
    busy, other = gateway.as_("busy"), gateway.as_("other")
    session = Mcp(busy)
    begun = []
    for _ in range(CONCURRENCY):
        answer = busy.request("POST", "/api/tools/good/sleep", {"ms": 60_000}, {"Prefer": "respond-async"})
        begun.append(answer.json()["id"])
    refused = busy.request("POST", "/api/tools/good/echo", {})
    problem = check_problem(refused, 429, "busy", f"{CONCURRENCY} calls under way")
    assert refused.headers["retry-after"]
    over_mcp = session.call("good__echo")
    check_rpc_error(over_mcp, -32000, "busy")
    for call_id in (problem["callId"], over_mcp["error"]["data"]["callId"]):
        assert busy.get(f"/api/calls/{call_id}").json()["outcome"] == "busy"
    assert other.call("good", "echo", text="x").text == "x"
    assert busy.request("DELETE", f"/api/calls/{begun[0]}").status == 202
    until(
        lambda: busy.request("POST", "/api/tools/good/echo", {"text": "y"}).status == 200, 10, "there is room"
    )
    for call_id in begun[1:]:
        assert busy.request("DELETE", f"/api/calls/{call_id}").status == 202


def test_S12_bodies_are_bounded_for_everybody(gateway: Guarded) -> None:
    full = gateway
    large = json.dumps({"text": "x" * BODY}).encode()
    for caller, path, expected in (
        (full, "/api/tools/good/echo", 413),
        (full, "/mcp", 413),
        (full, "/servers/good/mcp", 413),
        (full, "/api/keys", 413),
        (gateway.nobody, "/api/tools/good/echo", 401),
        (gateway.nobody, "/api/keys", 401),
    ):
        assert caller.request("POST", path, large).status == expected, path
        chunked = f"POST {path} HTTP/1.1".encode(), b"Host: localhost", b"Content-Type: application/json"
        parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (large[:BODY], large[BODY:]))
        answer = caller.knock(*chunked, b"Transfer-Encoding: chunked", body=parts + b"0\r\n\r\n")
        assert answer.status == expected, path


def test_S12_heads_are_bounded_before_anybody_is_asked_for(gateway: Guarded) -> None:
    for header in (b"X: " + b"x" * 200_000, b"Authorization: Bearer " + b"x" * 200_000):
        with Line(gateway.port) as line:
            received = b""
            with contextlib.suppress(ConnectionError):
                line.send(b"GET /health HTTP/1.1", b"Host: localhost", header)
                received = line.rest()
            assert b"200 OK" not in received
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    assert gateway.request("POST", "/api/tools/good/echo", deep).status == 400


def test_S12_strangers_cost_no_memory(gateway: Guarded) -> None:
    def attack() -> None:
        for number in range(150):
            key = {"Authorization": f"Bearer mgk_{number:010}_" + "A" * 900}
            assert gateway.nobody.request("POST", "/api/tools/good/echo", b"x" * 200_000, key).status == 401
            assert gateway.nobody.request("POST", f"/{number}" + "x" * 20_000, b"").status == 401

    attack()  # what the allocator takes once
    before = gateway.holdings()
    attack()
    after = gateway.holdings()
    assert after.rss_bytes < before.rss_bytes + 10 * 1024 * 1024
    assert after.files <= before.files + 10


def initialize(line: Line, caller: Guarded) -> Answer:
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}}
    body = Mcp.message("initialize", asked, 1)
    identity = f"Authorization: {caller.identity['Authorization']}".encode()
    kind = b"Content-Type: application/json"
    line.send(
        b"POST /mcp HTTP/1.1",
        b"Host: localhost",
        identity,
        kind,
        b"Content-Length: %d" % len(body),
        body=body,
    )
    return line.read("POST")


def test_S12_one_callers_feeds_leave_room_for_others() -> None:
    events = Events()
    opened = 0
    while events.open_feed(owner="key:many") is not None:
        opened += 1
    assert opened == 2_048
    feed = events.open_feed(owner="key:one")
    assert feed is not None
    events.close_feed(feed)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    settings = {"limits": {"rate": 100_000}}
    keys = dict.fromkeys(("many", "one"), USUAL)
    directory = tmp_path_factory.mktemp("roomy")
    with Guarded({"good": hostile("good")}, directory, settings, keys=keys) as gateway:
        wait_ready(gateway, "good")
        yield gateway
        check_log(gateway)


@pytest.mark.long
def test_S12_one_callers_sessions_leave_room_for_others(roomy: Guarded) -> None:
    many, one = roomy.as_("many"), roomy.as_("one")
    with Line(roomy.port) as line:
        opened = 0
        while (answer := initialize(line, many)).status == 200:
            opened += 1
        assert opened == 2_000
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["data"]["code"] == "busy"
        assert initialize(line, one).status == 200


@pytest.mark.long
def test_S12_one_callers_results_leave_room_for_others(roomy: Guarded) -> None:
    many, one = roomy.as_("many"), roomy.as_("one")

    def begin(line: Line, caller: Guarded) -> str:
        identity = f"Authorization: {caller.identity['Authorization']}".encode()
        start = b"POST /api/tools/good/echo HTTP/1.1"
        line.send(start, b"Host: localhost", identity, b"Prefer: respond-async", b"Content-Length: 0")
        answer = line.read("POST")
        return str(answer.json()["id"]) if answer.status == 202 else ""

    with Line(roomy.port) as line:
        theirs = begin(line, one)
        until(lambda: "result" in one.get(f"/api/calls/{theirs}").json(), 10, "the call ends")
        first = begin(line, many)
        until(lambda: "result" in many.get(f"/api/calls/{first}").json(), 10, "the call ends")
        begun = 0
        while begun < 1_050:
            begun += begin(line, many) != ""  # now and then as many run as may
    assert "result" in one.get(f"/api/calls/{theirs}").json()
    assert "result" not in many.get(f"/api/calls/{first}").json()
