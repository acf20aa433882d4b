"""What is wrong with the gateway itself is told at `/ready`, while calls go on."""

import resource
from pathlib import Path

from tests.harness import Gateway, hostile, until


def test_a_disk_that_takes_nothing_is_told_and_calls_go_on(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as gateway:
        gateway.wait_for_state("good", "ready")
        assert "warnings" not in gateway.get("/ready").json()
        limit = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        try:
            assert gateway.call("good", "echo", text="one").status == 200
            (warning,) = until(lambda: gateway.get("/ready").json().get("warnings"), 10, "a warning")
            assert warning.startswith("Activity cannot be written")
            assert gateway.call("good", "echo", text="two").status == 200
        finally:
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, limit)
        until(lambda: "warnings" not in gateway.get("/ready").json(), 10, "the disk takes records again")
