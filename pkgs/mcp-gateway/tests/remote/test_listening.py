"""Listening to a remote server of the modern era: by the book, and where it cuts what should stay open."""

from pathlib import Path

import pytest

from tests.faces.knocking import Mcp, check_log
from tests.harness import Gateway, Remote, until


def test_a_tool_that_a_modern_server_adds_is_told_and_listed(tmp_path: Path) -> None:
    with Remote("new-tool", "--era", "modern") as far, Gateway({"far": far.entry}, tmp_path) as gateway:
        gateway.wait_for_state("far", "ready")
        until(lambda: far.stats()["listening"] == 1, 10, "the gateway listens")
        session = Mcp(gateway)
        with session.stream() as events:
            gateway.call("far", "act")
            assert next(events)[1]["method"] == "notifications/tools/list_changed"
            assert "far__dummy-00000" in session.tools()
        assert gateway.get("/api/servers/far").json()["calls"]["running"] == 0
        check_log(gateway)


@pytest.mark.parametrize("mode", ["listen-ends", "listen-cut"])
def test_a_stream_that_is_cut_is_opened_again_and_calls_go_on(tmp_path: Path, mode: str) -> None:
    with Remote(mode, "--era", "modern") as far, Gateway({"far": far.entry}, tmp_path) as gateway:
        gateway.wait_for_state("far", "ready")
        until(lambda: far.stats()["methods"].get("subscriptions/listen", 0) >= 3, 20, "it tries again")
        # One second, then two: not as fast as it is cut. Calls are not in its way, nor it in theirs.
        assert far.stats()["methods"]["subscriptions/listen"] <= 4
        assert gateway.call("far", "echo", text="on").text == "on"
        shown = gateway.get("/api/servers/far").json()
        assert (shown["state"], shown["attempt"]) == ("ready", 0)
        check_log(gateway)
