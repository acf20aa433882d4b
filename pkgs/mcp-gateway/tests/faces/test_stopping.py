"""What somebody hears who is connected while the gateway stops: an end or a typed error, no broken line."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, check_log, check_problem, check_problem_document, exact, frames
from tests.harness import Answer, Gateway, hostile, until

ACCEPT = {"Accept": "text/event-stream"}
GONE = ("unavailable", "lost")


@pytest.mark.parametrize("path", ["/api/events", "/api/servers/exact/logs", "/mcp"])
def test_a_stream_that_is_open_ends_and_holds_nobody_up(tmp_path: Path, path: str) -> None:
    with Gateway({"exact": exact()}, tmp_path) as gateway:
        gateway.wait_for_state("exact", "ready")
        headers = ACCEPT | ({"Mcp-Session-Id": Mcp(gateway).id} if path == "/mcp" else {})
        with gateway.open("GET", path, None, headers) as response:
            assert response.status == 200
            gateway.stop()
            response.read()
    check_log(gateway)
    assert "timeout graceful shutdown exceeded" not in gateway.log.read_text()


def test_a_call_under_way_finishes_when_it_is_short(tmp_path: Path) -> None:
    journal = tmp_path / "calls"
    with Gateway({"good": hostile("good", "--journal", str(journal))}, tmp_path) as gateway:
        with ThreadPoolExecutor() as pool:
            running = pool.submit(gateway.call, "good", "sleep", ms=600)
            until(
                lambda: journal.exists() and "sleep" in journal.read_text(), 10, "the call is at the server"
            )
            gateway.stop()
        assert running.result().text == "slept"
    check_log(gateway)


def test_a_call_that_is_too_long_is_told_that_the_gateway_stops(tmp_path: Path) -> None:
    journal = tmp_path / "calls"
    with Gateway({"good": hostile("good", "--journal", str(journal))}, tmp_path) as gateway:
        gateway.wait_for_state("good", "ready")
        session = Mcp(gateway)
        path, arguments = "/api/tools/good/sleep", {"ms": 60_000}
        call = Mcp.message("tools/call", {"name": "good__sleep", "arguments": arguments}, 7)
        asked: tuple[Callable[[], Answer], ...] = (
            lambda: gateway.request("POST", path, arguments),
            lambda: gateway.request("POST", path, arguments, ACCEPT),
            lambda: session.post(call),
        )
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(ask) for ask in asked]
            until(
                lambda: journal.exists() and journal.read_text().count("sleep") == 3,
                10,
                "the calls are at the server",
            )
            gateway.stop()
            plain, stream, mcp = (answer.result() for answer in running)
    document: Any = plain.json()
    check_problem(plain, document["status"], document["code"])
    assert document["code"] in GONE
    name, data = frames(stream.body)[-1]
    problem = json.loads(data)
    check_problem_document(problem)
    assert (name, problem["code"] in GONE) == ("error", True)
    error = mcp.json()
    assert error["id"] == 7
    assert error["error"]["data"]["code"] in GONE
    check_log(gateway)
