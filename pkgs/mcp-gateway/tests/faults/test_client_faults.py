"""Faults of clients (F087 to F093): who does not read, does not finish, asks too much, takes back nonsense.

Other ways in which a client can be wrong stand with the faces: `tests/faces/test_bad_input.py` (what is no
request), `test_edge.py` (who may knock), `test_mcp.py` and `test_rest.py` (ids, cancelling, hanging up).
"""

import http.client
import json
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest

from tests.faces.knocking import BOTH_KINDS, Line, Mcp, check_log, json_bytes
from tests.faces.test_listening import EVERYTHING, HEADERS, request
from tests.harness import STOP_TIMEOUT_S, Gateway, Neighbour, hostile, until

PROMPT_S = 10.0
MIB = 1 << 20
STREAMS = 1_000
STREAM_BYTES = 100 * 1024  # each idle stream may take so much of the gateway's memory
CALLS = 10_000
TOLD_EVERY_S = 1.0
RUNNING, WAITING = 64, 1_024  # what one server takes by default (product.md, `concurrency` and `queue`)


def changed(statements: str) -> tuple[str, ...]:
    """The command, with something changed before it begins."""
    return (sys.executable, "-c", f"{statements}\nfrom mcp_gateway.cli import main\nmain()")


IMPATIENT = changed(
    "from mcp_gateway import app\nfrom mcp_gateway.faces import connection\n"
    "app.READ_S = connection.ARRIVE_S = 1.0"
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One whose clients have a second instead of thirty, to send a request and to read an answer."""
    servers = {"good": hostile("good"), "other": hostile("good")}
    with Gateway(servers, tmp_path_factory.mktemp("clients"), command=IMPATIENT) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def head(method: bytes, path: bytes, body: bytes, *more: bytes) -> list[bytes]:
    lines = [b"%b %b HTTP/1.1" % (method, path), b"Host: localhost", b"Content-Type: application/json", *more]
    return [*lines, b"Content-Length: %d" % len(body)]


# -- who does not read ----------------------------------------------------------------------------------


def test_who_reads_nothing_is_cut_off_and_costs_nobody_else(gateway: Gateway) -> None:
    """F088: answers of 9 MiB for nine who take none of it, in the three forms an answer has."""
    session = Mcp(gateway)
    arguments = json_bytes({"bytes": 9 * MIB})
    call = Mcp.message("tools/call", {"name": "good__blob", "arguments": {"bytes": 9 * MIB}}, 1)
    mcp = [f"{name}: {value}".encode() for name, value in session.headers.items()]
    asked = (
        (head(b"POST", b"/api/tools/good/blob", arguments), arguments),
        (head(b"POST", b"/api/tools/good/blob", arguments, b"Accept: text/event-stream"), arguments),
        (head(b"POST", b"/mcp", call, *mcp), call),
    )
    before = gateway.holdings()
    with ExitStack() as stack:
        neighbour = stack.enter_context(Neighbour(gateway, "good"))
        lines = [stack.enter_context(Line(gateway.port)) for _ in range(9)]
        for number, line in enumerate(lines):
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            lines_of_head, body = asked[number % 3]
            line.send(*lines_of_head, body=body)

        def are_cut() -> bool:
            return gateway.holdings().files <= before.files + 2  # the neighbour's connection comes and goes

        until(lambda: gateway.server("good")["calls"]["total"] >= 9, PROMPT_S, "all calls are made")
        until(are_cut, PROMPT_S, "the connections are closed")
        # No buffer on the way holds a whole answer, so a connection that is gone was cut.
        assert gateway.holdings().rss_bytes - before.rss_bytes < 9 * 2 * 9 * MIB
        assert neighbour.failures == []
        assert neighbour.answered > 5


# -- who does not finish --------------------------------------------------------------------------------


def test_a_request_that_does_not_arrive_is_not_waited_for(gateway: Gateway) -> None:
    """F092: half a head, half a body, and a byte now and then: no more time than others have."""
    body = b"\r\n".join((*head(b"POST", b"/api/tools/good/echo", b"x" * 1_000), b"", b"{"))
    parts = (b"POST /api/tools/good/echo HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", body)
    over = Event()

    def drip(part: bytes) -> bytes:
        """What is told to who sends no more than this and a blank ten times a second."""
        with Line(gateway.port) as line, ThreadPoolExecutor(1) as pool:
            line.socket.sendall(part)
            told = pool.submit(line.rest)
            try:
                while not over.wait(0.1) and not told.done():
                    line.socket.sendall(b" ")
            except OSError:
                pass
            try:
                return told.result(PROMPT_S)
            except ConnectionResetError:
                return b""

    with ThreadPoolExecutor(len(parts)) as pool:
        dripping = [pool.submit(drip, part) for part in parts]
        try:
            for told in dripping:
                assert not told.result(PROMPT_S).startswith(b"HTTP/1.1 200")
        finally:
            over.set()
    assert gateway.call("other", "echo", text="x").text == "x"


def test_a_head_without_end_is_not_read_on(gateway: Gateway) -> None:
    with Line(gateway.port) as line:
        line.socket.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            line.socket.sendall(b"x" * (64 * MIB))
    assert gateway.get("/health").status == 200


# -- who asks too much ----------------------------------------------------------------------------------


def test_ten_thousand_calls_at_once_are_taken_or_told_to_come_back(tmp_path: Path) -> None:
    """F090: written at once on one connection, to a server that stands still.

    What it can run and keep waiting is accepted, everything else is refused with a time to come back; the
    others are served all the while, and afterwards every call has its one record.
    """
    body = b'{"text":"x"}'
    lines = head(b"POST", b"/api/tools/good/echo", body, b"Prefer: respond-async")
    request = b"\r\n".join((*lines, b"", body))
    with Gateway({"good": hostile("good"), "other": hostile("good")}, tmp_path) as gateway:
        for server in gateway.servers:
            gateway.wait_for_state(server, "ready")
        before = gateway.holdings()
        frozen = psutil.Process(gateway.server("good")["pid"])
        frozen.suspend()
        try:
            with (
                Neighbour(gateway, "other") as neighbour,
                Line(gateway.port) as line,
                ThreadPoolExecutor(1) as pool,
            ):
                sending = pool.submit(line.socket.sendall, request * CALLS)
                statuses = read_statuses(line, CALLS)
                sending.result(PROMPT_S)
                assert neighbour.failures == []
            assert statuses == {202: RUNNING + WAITING, 429: CALLS - RUNNING - WAITING}
            calls = gateway.server("good")["calls"]
            assert (calls["running"], calls["queued"]) == (RUNNING, WAITING)
            refused = gateway.call("good", "echo", text="me, too")
            assert (refused.status, refused.code) == (429, "busy")
            assert int(refused.headers["retry-after"]) >= 1
            assert gateway.holdings().rss_bytes - before.rss_bytes < 128 * MIB
        finally:
            frozen.resume()
        gateway.calls["good"] += CALLS
        gateway.wait_for(
            "good", lambda shown: shown["calls"]["running"] + shown["calls"]["queued"] == 0, 20, "all are run"
        )
        gateway.check_records("good")
        outcomes = Counter(row["outcome"] for row in gateway.records("good"))
        assert outcomes == {"ok": RUNNING + WAITING, "busy": CALLS - RUNNING - WAITING + 1}
        assert gateway.call("good", "echo", text="at last").text == "at last"


def read_statuses(line: Line, count: int) -> Counter[int]:
    """The statuses of the next answers, whose bodies are not looked at."""
    statuses: Counter[int] = Counter()
    rest = b""
    while statuses.total() < count:
        data = line.socket.recv(MIB)
        assert data, statuses
        *whole, rest = (rest + data).split(b"HTTP/1.1 ")
        statuses.update(int(answer[:3]) for answer in whole if answer)
        if statuses.total() == count - 1 and rest.count(b"}") and rest.rstrip().endswith(b"}"):
            statuses[int(rest[:3])] += 1
    return statuses


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for a thousand connections in this process and the gateway it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * STREAMS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_streams_cost_little_and_end_with_the_gateway(tmp_path: Path) -> None:
    """F089: live feeds, streams of MCP sessions, and listening requests of the modern era."""
    with ExitStack() as stack, Gateway({"good": hostile("good")}, tmp_path) as gateway:
        gateway.wait_for_state("good", "ready")
        accept = b"Accept: text/event-stream"
        sessions = open_sessions(gateway, STREAMS // 2)
        listen = request(EVERYTHING)
        headers = [f"{name}: {value}".encode() for name, value in HEADERS.items()]
        headers += [b"Content-Type: application/json", b"Content-Length: %d" % len(listen)]
        before = gateway.holdings()
        lines = [stack.enter_context(Line(gateway.port)) for _ in range(STREAMS)]
        for number, line in enumerate(lines):
            if number % 4 == 0:
                line.send(b"POST /mcp HTTP/1.1", b"Host: localhost", *headers, body=listen)
            elif number < STREAMS // 2:
                line.send(b"GET /api/events HTTP/1.1", b"Host: localhost", accept)
            else:
                session = sessions[number - STREAMS // 2]
                line.send(b"GET /mcp HTTP/1.1", b"Host: localhost", accept, b"Mcp-Session-Id: " + session)
        for line in lines:
            assert line.socket.recv(MIB).startswith(b"HTTP/1.1 200")
        after = gateway.holdings()
        # The connection that opened the sessions may still have been there when it was first counted.
        assert after.files >= before.files + STREAMS - 1
        assert after.rss_bytes - before.rss_bytes < STREAMS * STREAM_BYTES
        assert gateway.call("good", "echo", text="x").text == "x"
        os.kill(gateway.pid, signal.SIGTERM)
        for line in lines:
            assert line.rest().endswith(b"0\r\n\r\n"), "a stream was cut instead of ended"
        assert gateway.process is not None
        assert gateway.process.wait(STOP_TIMEOUT_S) == 0


def open_sessions(gateway: Gateway, count: int) -> list[bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PROMPT_S)
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    found = []
    for _ in range(count):
        headers = {"Content-Type": "application/json", "Accept": BOTH_KINDS}
        connection.request("POST", "/mcp", Mcp.message("initialize", asked, 0), headers)
        answer = connection.getresponse()
        answer.read()
        found.append(answer.headers["Mcp-Session-Id"].encode())
    connection.close()
    return found


# -- who takes back what is not there -------------------------------------------------------------------


def test_taking_back_what_is_not_there_changes_nothing(gateway: Gateway) -> None:
    """F093: unknown, finished, no id at all; somebody else's is in `test_mcp.py`."""
    session = Mcp(gateway)
    assert session.call("good__echo", {"text": "done"}, 7)["result"]
    before = cancelled(session)
    odd: tuple[Any, ...] = (7, 12_345, "7", None, [], {}, 7.5, True)
    for params in (*({"requestId": request_id} for request_id in odd), {}, None):
        answer = session.post(Mcp.message("notifications/cancelled", params))
        assert (answer.status, answer.body) == (202, b""), params
    assert session.call("good__echo", {"text": "on"}, 7)["result"]["content"][0]["text"] == "on"
    assert cancelled(session) == before
    for call_id in ("0", "f" * 16, "x", "%00"):
        assert gateway.request("DELETE", f"/api/calls/{call_id}").status == 404
    told = gateway.call("good", "echo", text="over").headers["mcp-gateway-call"]
    assert gateway.request("DELETE", f"/api/calls/{told}").json()["outcome"] == "ok"


def cancelled(session: Mcp) -> int:
    return int(json.loads(session.call("good__stats", {}, 1)["result"]["content"][0]["text"])["cancelled"])


# -- who hears too much ---------------------------------------------------------------------------------


def test_a_client_is_told_of_many_changes_at_once(gateway: Gateway) -> None:
    """F052: however often lists change, a client is told once a second at most."""
    session = Mcp(gateway)
    with session.stream() as events:
        began = time.monotonic()
        for number in range(200):
            body = {"enabled": number % 2 == 1}
            assert gateway.request("PATCH", "/api/tools/other/pid", body).status == 200
        first = next(events)
        session.end()
        told_s = time.monotonic() - began
        told = [first, *events]
    assert {data["method"] for _, data in told} == {"notifications/tools/list_changed"}
    assert len(told) <= 1 + told_s / TOLD_EVERY_S
