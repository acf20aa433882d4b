"""What somebody hears who is connected while the gateway stops: an end, no broken line.

Calls that finish, or do not finish, while the gateway stops: `tests/test_draining.py`.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faces.knocking import Mcp, check_log, exact
from tests.harness import Gateway, hostile, until

ACCEPT = {"Accept": "text/event-stream"}


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
