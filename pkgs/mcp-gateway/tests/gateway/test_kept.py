"""Results of asynchronous calls are kept for an hour; what was sent with them is not."""

from pathlib import Path

from tests.harness import Gateway, hostile, until

CALLS = 60
ARGUMENT_BYTES = 3 << 20
SLACK_BYTES = 64 << 20  # allocators keep what they once had; the arguments of all calls are 180 MiB


def test_a_kept_call_lets_go_of_its_arguments(tmp_path: Path) -> None:
    arguments = {"ms": 1, "text": "x" * ARGUMENT_BYTES}
    with Gateway({"good": hostile("good")}, tmp_path / "gateway") as gateway:
        gateway.wait_for_state("good", "ready")
        before = gateway.holdings().rss_bytes
        for _ in range(CALLS):
            path = "/api/tools/good/sleep"
            accepted = gateway.request("POST", path, arguments, {"Prefer": "respond-async"})
            assert accepted.status == 202, accepted
        kept = gateway.get(accepted.headers["location"])
        assert kept.status == 200, kept
        # The writer holds them until it has drawn their shape, which takes it a moment on a busy machine.
        until(lambda: gateway.holdings().rss_bytes - before < SLACK_BYTES, 10, "it lets go of them")
