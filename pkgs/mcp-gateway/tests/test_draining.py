"""A stop with calls under way: they finish or are told, nobody new is let in, nobody absent is waited for.

Everything runs the real command. A server that is held (SIGSTOP) keeps its calls under way for as long as
a test needs, and answers them when it is let go. The time for calls is shortened inside the command for
some tests, by the one name that holds it; the long tier waits the real 20 s.
"""

import http.client
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faces.knocking import (
    Mcp,
    check_log,
    check_problem,
    check_problem_document,
    check_rpc_error,
    frames,
)
from tests.harness import COMMAND, STOP_TIMEOUT_S, Answer, Gateway, hostile, until

ACCEPT = {"Accept": "text/event-stream"}
ASYNC = {"Prefer": "respond-async"}
FEEDS = 50
LARGE_BYTES = 9 << 20  # more than any socket holds, less than becomes an artifact
LIMIT_S = 30.0


def within(**constants: float) -> tuple[str, ...]:
    """The command with other times than its own."""
    changes = "; ".join(f"app.{name} = {value}" for name, value in constants.items())
    start = "from mcp_gateway.cli import main; main()"
    return (sys.executable, "-c", f"from mcp_gateway import app; {changes}; {start}")


@contextmanager
def held(gateway: Gateway, server: str) -> Iterator[Callable[[], None]]:
    """A server that answers nothing until it is let go."""
    process = psutil.Process(gateway.server(server)["pid"])
    process.suspend()
    try:
        yield process.resume
    finally:
        if process.is_running():
            process.resume()


def wait_for_calls(gateway: Gateway, server: str, running: int, queued: int = 0) -> None:
    def are_there(shown: dict[str, Any]) -> bool:
        return (shown["calls"]["running"], shown["calls"]["queued"]) == (running, queued)

    gateway.wait_for(server, are_there, 20, f"{running} calls under way, {queued} waiting")


def ask_to_stop(gateway: Gateway, number: signal.Signals = signal.SIGTERM) -> None:
    """Sends the first signal and waits until it is heard."""
    os.kill(gateway.pid, number)
    until(lambda: gateway.get("/ready").status == 503, 10, "the gateway is stopping", gateway.log_tail)


def wait_for_end(gateway: Gateway, limit_s: float = STOP_TIMEOUT_S) -> int:
    """The exit code; and nothing that the gateway started is left."""
    assert gateway.process is not None
    code = gateway.process.wait(limit_s)
    left = gateway.sweep()
    assert not left, f"left behind: {left}"
    check_log(gateway)
    return code


def test_calls_finish_and_streams_end_while_nobody_new_is_let_in(tmp_path: Path) -> None:
    """F094: 20 calls and 50 streams at SIGTERM; the port stays open until the last call has its answer."""
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway({"good": hostile("good")}, tmp_path))
        gateway.wait_for_state("good", "ready")
        pool = stack.enter_context(ThreadPoolExecutor(32))
        let_go = stack.enter_context(held(gateway, "good"))
        session = Mcp(gateway)
        idle = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=LIMIT_S)
        stack.callback(idle.close)
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        paths = ["/api/events", "/api/servers/good/logs"] * (FEEDS // 2 - 1) + ["/mcp", "/api/events"]
        feeds = [
            stack.enter_context(
                gateway.open("GET", path, None, session.headers | ACCEPT if path == "/mcp" else ACCEPT)
            )
            for path in paths
        ]
        plain = [pool.submit(gateway.call, "good", "echo", LIMIT_S, text=f"{n}") for n in range(7)]
        streamed = [pool.submit(gateway.stream, "good", "echo", text=f"{n}") for n in range(6)]
        relayed: list[Future[Any]] = []
        for number in range(6):
            gateway.count("good")
            message = Mcp.message(
                "tools/call", {"name": "good__echo", "arguments": {"text": f"{number}"}}, number + 1
            )
            relayed.append(pool.submit(session.post, message))
        gateway.count("good")
        path = "/api/tools/good/echo"
        accepted = gateway.request("POST", path, {"text": "later"}, ASYNC)
        where = accepted.headers["location"]
        wait_for_calls(gateway, "good", 20)
        followed = stack.enter_context(gateway.open("GET", where, None, ACCEPT))

        ask_to_stop(gateway)
        ready = gateway.get("/ready").json()
        assert ready == {"status": "stopping", "servers": {"ready": 1}, "finishing": 20}
        assert gateway.get("/health").status == 200
        assert gateway.get(where).json()["outcome"] == "running"
        for feed in feeds:
            feed.read()  # raises when it was cut off instead of ended
        # Refused in words, and recorded, like every other call.
        refused = gateway.call("good", "echo", text="new")
        check_problem(refused, 503, "unavailable", "stopping")
        assert int(refused.headers["retry-after"]) >= 1
        gateway.count("good")
        error = session.call("good__echo", {"text": "new"}, 99)
        assert check_rpc_error(error, -32000, "unavailable", "stopping")["data"]["retryAfter"] >= 1
        asked = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        fresh = session.post(Mcp.message("initialize", asked, 5))
        assert fresh.status == 503
        check_rpc_error(fresh.json(), -32000, "unavailable", "stopping")
        calls: list[Future[Any]] = [*plain, *streamed, *relayed]
        assert not any(call.done() for call in calls)

        let_go()
        assert [call.result().text for call in plain] == [f"{n}" for n in range(7)]
        assert [call.result()[-1][0] for call in streamed] == ["result"] * 6
        told = [call.result().json()["result"]["content"][0]["text"] for call in relayed]
        assert told == [f"{n}" for n in range(6)]
        assert json.loads(frames(followed.read())[-1][1])["content"][0]["text"] == "later"
        assert wait_for_end(gateway) == 0
        assert idle.sock.recv(1) == b""  # an idle connection holds nobody up and is closed
        log = gateway.log.read_text()
        assert "stopping: 20 calls are finishing, for 20 s at most; a second signal to stop now" in log
        assert "unfinished" not in log

        gateway.start()
        gateway.check_records("good")
        outcomes = [row["outcome"] for row in gateway.records("good")]
        assert (outcomes.count("ok"), outcomes.count("unavailable")) == (20, 2)


@pytest.mark.parametrize(
    "command", [within(DRAIN_S=0.5), pytest.param(COMMAND, marks=pytest.mark.long)], ids=["soon", "20 s"]
)
def test_calls_that_do_not_finish_are_told(tmp_path: Path, command: tuple[str, ...]) -> None:
    servers = {"good": hostile("good"), "narrow": hostile("good", concurrency=1)}
    arguments = {"ms": 600_000}
    call = Mcp.message("tools/call", {"name": "good__sleep", "arguments": arguments}, 7)
    with Gateway(servers, tmp_path, command=command) as gateway, ThreadPoolExecutor(8) as pool:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        session = Mcp(gateway)
        path = "/api/tools/good/sleep"
        asks: tuple[Callable[[], Answer], ...] = (
            lambda: gateway.request("POST", path, arguments),
            lambda: gateway.request("POST", path, arguments, ACCEPT),
            lambda: session.post(call),
            lambda: gateway.request("POST", "/api/tools/narrow/sleep", arguments),
        )
        running = [pool.submit(ask) for ask in asks]
        where = gateway.request("POST", path, arguments, ASYNC).headers["location"]
        wait_for_calls(gateway, "good", 4)
        wait_for_calls(gateway, "narrow", 1)
        waiting = pool.submit(gateway.request, "POST", "/api/tools/narrow/sleep", arguments)
        wait_for_calls(gateway, "narrow", 1, 1)
        with gateway.open("GET", where, None, ACCEPT, 2 * LIMIT_S) as followed:
            os.kill(gateway.pid, signal.SIGTERM)
            assert wait_for_end(gateway, LIMIT_S) == 0
            events = followed.read()
        plain, stream, mcp, narrow = (answer.result() for answer in running)
    for answer in (plain, narrow):
        check_problem(answer, 502, "lost", "the gateway was stopped")
    # What was never sent has not run, and may be tried again.
    check_problem(waiting.result(), 503, "unavailable", "stopping", "not been sent")
    for body in (stream.body, events):
        name, data = frames(body)[-1]
        problem = json.loads(data)
        check_problem_document(problem)
        assert (name, problem["code"]) == ("error", "lost")
    # A call that took long enough for a sign of life is answered at the end of a stream.
    is_stream = mcp.headers["content-type"].startswith("text/event-stream")
    error = json.loads(frames(mcp.body)[-1][1]) if is_stream else mcp.json()
    assert error["id"] == 7
    check_rpc_error(error, -32000, "lost", "the gateway was stopped")
    assert "calls that were ended unfinished: 6" in gateway.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_waits_for_nobody_and_says_so_by_its_exit_code(
    tmp_path: Path, number: signal.Signals
) -> None:
    servers = {"good": hostile("good"), "deaf": hostile("ignore-term"), "daemon": hostile("daemon")}
    with Gateway(servers, tmp_path) as gateway, ThreadPoolExecutor(2) as pool:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        assert gateway.call("daemon", "act").code == "ok"
        call = pool.submit(gateway.request, "POST", "/api/tools/good/sleep", {"ms": 600_000})
        wait_for_calls(gateway, "good", 1)
        ask_to_stop(gateway, signal.SIGINT)
        os.kill(gateway.pid, number)
        assert wait_for_end(gateway) == 128 + number
        check_problem(call.result(), 502, "lost", "the gateway was stopped")
    log = gateway.log.read_text()
    assert "1 call is finishing, for 20 s at most; Ctrl-C again to stop now" in log
    assert "SIGKILL" not in log  # what we killed did not fail


def test_an_answer_that_is_being_read_is_read_to_its_end(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as gateway:
        gateway.wait_for_state("good", "ready")
        with gateway.open("POST", "/api/tools/good/blob", {"bytes": LARGE_BYTES}) as response:
            response.read(1)
            ask_to_stop(gateway)
            assert gateway.get("/ready").json()["finishing"] == 0
            assert len(response.read()) > LARGE_BYTES
        assert wait_for_end(gateway) == 0


def test_who_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path, command=within(ANSWERS_S=0.5)) as gateway:
        gateway.wait_for_state("good", "ready")
        with gateway.open("POST", "/api/tools/good/blob", {"bytes": LARGE_BYTES}) as response:
            response.read(1)
            gateway.stop()
            with pytest.raises((http.client.HTTPException, OSError)):
                response.read()
    check_log(gateway)
