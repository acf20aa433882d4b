"""S09, S21, S28: a key that is revoked, narrowed or expired ends at once, with all that its holder has open.

Streams end, calls under way are taken back, sessions and kept results are gone; and a request that was let in
before and is still sending its body does nothing any more.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.faces.knocking import Line, Mcp, Modern, check_log, check_problem, exact
from tests.harness import Gateway, until
from tests.security.cast import Guarded, arrived, hash_of, journalled, settled, wait_ready

USUAL = {"rights": ["read", "call"]}
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("revocation") / "journal"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, journal: Path) -> Iterator[Guarded]:
    keys = {"changing": USUAL, "other": USUAL, "operator": {"rights": ["operate"]}}
    servers = {"good": journalled(journal), "exact": exact()}
    settings = {"limits": {"rate": 100_000}}
    with Guarded(servers, tmp_path_factory.mktemp("gateway"), settings, keys=keys) as gateway:
        wait_ready(gateway, *servers)
        yield gateway
        check_log(gateway)


def seen(gateway: Guarded) -> dict[str, int]:
    found: dict[str, int] = json.loads(gateway.call("good", "stats").text)
    return found


class Open:
    """Everything a caller can have open at a time, and whether it has ended."""

    def __init__(self, caller: Guarded, journal: Path, rights: tuple[str, ...] = ("read", "call")) -> None:
        self.caller = caller
        self.session = Mcp(caller)
        self.stack = ExitStack()
        self.streams: dict[str, HTTPResponse] = {}
        self.ended: dict[str, bytes] = {}
        self.threads: list[threading.Thread] = []
        before = len(arrived(journal))
        sleep = {"ms": 60_000}
        steps = {"steps": 100_000, "ms": 20}
        self.open("events", "GET", "/api/events", None, {})
        self.open("mcp", "GET", "/mcp", None, self.session.headers | STREAM)
        self.open("rest call", "POST", "/api/tools/good/progress", steps, STREAM)
        params = {"name": "good__progress", "arguments": steps, "_meta": {"progressToken": "t"}}
        body = Mcp.message("tools/call", params, "a")
        self.open("mcp call", "POST", "/mcp", body, self.session.headers)
        modern = Modern(caller)
        body = modern.message("tools/call", params, "a", progressToken="t")
        self.open("modern call", "POST", "/mcp", body, modern.headers("tools/call", params))
        answer = caller.request("POST", "/api/tools/good/sleep", sleep, {"Prefer": "respond-async"})
        self.kept = str(answer.json()["id"])
        self.open("kept call", "GET", f"/api/calls/{self.kept}", None, STREAM)
        if "operate" in rights:
            self.open("logs", "GET", "/api/servers/good/logs", None, STREAM)
        self.ask("plain call", lambda: caller.request("POST", "/api/tools/good/sleep", sleep))
        settled(journal, before + 5)

    def open(self, name: str, method: str, path: str, body: object, headers: dict[str, str]) -> None:
        response = self.stack.enter_context(self.caller.open(method, path, body, headers))
        assert response.status == 200, (name, response.read())
        self.streams[name] = response

    def ask(self, name: str, act: Callable[[], object]) -> None:
        def work() -> None:
            self.ended[name] = repr(act()).encode()

        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def check_over(self) -> None:
        """All of it ends; a read has its own deadline."""
        for name, response in self.streams.items():
            self.ended[name] = response.read()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive(), "a call of the revoked key still waits"
        for name in ("rest call", "mcp call", "modern call", "kept call", "plain call"):
            assert b"not valid any more" in self.ended[name] or b"session was closed" in self.ended[name], (
                name
            )
        self.stack.close()


def test_S09_a_revoked_key_takes_everything_along(gateway: Guarded, journal: Path) -> None:
    before = seen(gateway)
    key_id, caller = gateway.make_key("leaving", rights=["read", "call", "operate"])
    _, staying = gateway.make_key("staying", **USUAL)
    others = Mcp(staying)
    everything = Open(caller, journal, ("read", "call", "operate"))
    gateway.revoke(key_id)
    for method, path in (("GET", "/api/me"), ("POST", "/mcp"), ("GET", f"/api/calls/{everything.kept}")):
        check_problem(caller.request(method, path, {}), 401, "unauthenticated")
    everything.check_over()
    until(lambda: seen(gateway)["cancelled"] == before["cancelled"] + 5, 10, "its calls are taken back")
    until(lambda: seen(gateway)["running"] == 0, 10, "none of its calls runs")
    assert others.call("good__echo", {"text": "x"})["result"]


def test_S21_a_key_that_a_reload_narrows_starts_anew(gateway: Guarded, journal: Path) -> None:
    caller, other = gateway.as_("changing"), gateway.as_("other")
    others = Mcp(other)
    everything = Open(caller, journal)
    large = caller.call("good", "blob", bytes=11 * 1024 * 1024).json()["_meta"]["mcp-gateway/artifact"]["url"]
    assert caller.request("HEAD", large).status == 200
    gateway.keys["changing"] = {"rights": ["read", "call"], "servers": ["exact"]}
    try:
        gateway.reload()
        everything.check_over()
        stale = everything.session.post(Mcp.message("tools/list", None, 1))
        assert stale.status == 404
        assert caller.request("POST", "/api/tools/good/echo", {}).status == 404
        assert caller.get(f"/api/calls/{everything.kept}").json().get("result") is None
        assert caller.request("HEAD", large).status == 404
        fresh = Mcp(caller)
        assert all(name.startswith("exact__") for name in fresh.tools())
        assert "error" in fresh.call("good__echo")
        assert caller.call("exact", "nulls").status == 200
        assert others.call("good__echo", {"text": "x"})["result"]  # nobody else notices
    finally:
        gateway.keys["changing"] = USUAL
        gateway.reload()
    assert caller.request("POST", "/api/tools/good/echo", {}).status == 200


def test_S21_a_key_with_another_secret_is_another_holder(gateway: Guarded, journal: Path) -> None:
    before = gateway.texts["changing"]
    caller = gateway.as_("changing", before)
    everything = Open(caller, journal)
    gateway.texts["changing"] = before + "x"
    try:
        gateway.reload()
        everything.check_over()
        assert caller.get("/api/me").status == 401
        assert gateway.as_("changing").get("/api/me").status == 200
    finally:
        gateway.texts["changing"] = before
        gateway.reload()


def test_S21_a_key_that_leaves_the_file_is_gone(gateway: Guarded, journal: Path) -> None:
    caller = gateway.as_("changing")
    everything = Open(caller, journal)
    scopes = gateway.keys.pop("changing")
    try:
        gateway.reload()
        everything.check_over()
        assert caller.get("/api/me").status == 401
    finally:
        gateway.keys["changing"] = scopes
        gateway.reload()


def test_S21_what_the_operator_denies_in_mid_session_is_gone_from_list_and_call(gateway: Guarded) -> None:
    caller = gateway.as_("other")
    whole, one = Mcp(caller), Mcp(caller, "/servers/good/mcp")
    assert "good__env" in whole.tools()
    declared = gateway.servers["good"]
    gateway.servers["good"] = declared | {"tools": {"deny": ["env"]}}
    try:
        gateway.reload()
        for session, name in ((whole, "good__env"), (one, "env")):
            assert name not in session.tools()
            assert "error" in session.call(name)
        check_problem(caller.request("POST", "/api/tools/good/env", {}), 404, "unknown")
    finally:
        gateway.servers["good"] = declared
        gateway.reload()
    assert "good__env" in whole.tools()


def test_S09_an_expired_key_takes_everything_along(gateway: Guarded) -> None:
    # No clock is asked here: the stream ends when the gateway's says so, or the test fails by its deadline.
    soon = gateway.request("POST", "/api/keys", {"name": "soon", "scopes": USUAL, "expires": time.time() + 2})
    caller = gateway.as_("soon", soon.json()["key"])
    with caller.open("GET", "/api/events") as events:
        assert events.status == 200
        events.read()  # ends by itself
    check_problem(caller.get("/api/me"), 401, "unauthenticated")


def test_S04_who_was_let_in_for_being_here_is_not_once_everybody_is_asked(tmp_path: Path) -> None:
    with Gateway({}, tmp_path) as gateway, gateway.open("GET", "/api/events") as events:
        assert events.status == 200
        session = Mcp(gateway)
        gateway.gateway["publicUrl"] = "http://gw.example.test"
        key = {"name": "x", "hash": hash_of("x" * 40), "scopes": {"rights": ["operate"]}}
        gateway.gateway["auth"] = {"keys": [key]}
        gateway.reload()
        check_problem(gateway.get("/api/servers"), 401, "unauthenticated")
        assert session.post(Mcp.message("tools/list", None, 1)).status == 401
        events.read()  # ends by itself


def test_S05_who_a_proxy_brought_goes_with_the_trust_in_it(gateway: Guarded, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 40)
    secret.chmod(0o600)
    gateway.gateway["trustedProxy"] = {"userHeader": "X-Signed-In", "secret": str(secret)}
    headers = {"X-Signed-In": "ann", "Mcp-Gateway-Proxy-Secret": "s" * 40}
    try:
        gateway.reload()
        with gateway.nobody.open("GET", "/api/events", None, headers) as events:
            assert events.status == 200
            del gateway.gateway["trustedProxy"]
            gateway.reload()
            events.read()  # ends by itself
    finally:
        gateway.gateway.pop("trustedProxy", None)
        gateway.reload()
    check_problem(gateway.nobody.request("GET", "/api/me", headers=headers), 401, "unauthenticated")


# -- let in, and not done yet -----------------------------------------------------------------------------


def begun(caller: Guarded, method: str, path: str, length: int, **more: str) -> Line:
    """A request whose head is sent and whose body is not."""
    line = Line(caller.port)
    line.send(
        f"{method} {path} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Content-Type: application/json",
        b"Content-Length: %d" % length,
        *(f"{name}: {value}".encode() for name, value in (caller.identity | more).items()),
    )
    line.socket.sendall(b" ")
    return line


def heard(gateway: Guarded) -> None:
    """What was sent before this has been read: connections are served in turn."""
    for _ in range(3):
        assert gateway.get("/health").status == 200


def test_S09_a_request_that_was_begun_with_a_key_is_not_finished_without_it(
    gateway: Guarded, journal: Path
) -> None:
    key_id, caller = gateway.make_key("slow", rights=["read", "call", "operate", "admin"])
    session = Mcp(caller)
    keep = {"name": "kept-for-later", "scopes": {"rights": ["admin"]}}
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}}
    bodies = {
        ("POST", "/api/tools/good/echo"): b'{"text":"after"}',
        ("POST", "/api/keys"): json.dumps(keep).encode(),
        ("PATCH", "/api/servers/exact"): b'{"enabled":false}',
        ("PATCH", "/api/tools/good/pid"): b'{"enabled":false}',
        ("POST", "/mcp"): Mcp.message("tools/call", {"name": "good__echo", "arguments": {}}, 1),
        ("POST", "/servers/good/mcp"): Mcp.message("initialize", opening, 1),
    }
    lines = {
        what: begun(caller, *what, len(body) + 1, **(session.headers if what[1] == "/mcp" else {}))
        for what, body in bodies.items()
    }
    heard(gateway)
    before = arrived(journal)
    gateway.revoke(key_id)
    for what, body in bodies.items():
        with lines[what] as line:
            line.socket.sendall(body)
            answer = line.read(what[0])
            assert answer.status in (401, 404), (what, answer)
    assert arrived(journal) == before
    assert [key for key in gateway.get("/api/keys").json()["keys"] if key["name"] == "kept-for-later"] == []
    assert gateway.server("exact")["enabled"]
    assert gateway.get("/api/tools/good/pid").json()["enabled"]


def test_S01_an_operator_alone_may_follow_a_log(gateway: Guarded) -> None:
    with gateway.as_("operator").open("GET", "/api/servers/good/logs", None, STREAM) as response:
        assert response.status == 200, response.read()
