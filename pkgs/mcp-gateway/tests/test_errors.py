"""The error table against product.md, and the facts an error carries to whoever must act on it."""

import pytest

from mcp_gateway.errors import TABLE, CallCancelled, GatewayError, Kind, UpstreamAnswered

# product.md, "Errors": kind -> HTTP status, JSON-RPC code, retryable.
PROMISED = {
    "invalid": (400, -32602, False),
    "unauthenticated": (401, -32000, False),
    "refused": (403, -32000, False),
    "unknown": (404, -32602, False),
    "busy": (429, -32000, True),
    "unavailable": (503, -32000, True),
    "timed_out": (504, -32000, False),
    "lost": (502, -32000, False),
    "input_required": (409, -32000, False),
    "internal": (500, -32603, False),
}


def test_the_table_is_the_one_that_was_promised() -> None:
    assert {kind.value: (row.status, row.rpc_code, row.retryable) for kind, row in TABLE.items()} == PROMISED
    assert set(TABLE) == set(Kind)


def test_what_may_have_run_is_never_called_retryable() -> None:
    for kind in (Kind.LOST, Kind.TIMED_OUT, Kind.INTERNAL):
        assert not GatewayError(kind, "x").retryable


def test_an_error_knows_its_row_and_may_refine_it() -> None:
    plain = GatewayError(Kind.INVALID, "no")
    assert (plain.status, plain.rpc_code, str(plain)) == (400, -32602, "no")
    fine = GatewayError(Kind.INVALID, "no", status=413, rpc_code=-32600)
    assert (fine.status, fine.rpc_code, fine.kind) == (413, -32600, Kind.INVALID)


def test_facts_hold_what_is_known_and_nothing_else() -> None:
    error = GatewayError(Kind.LOST, "it died")
    assert error.facts() == {"code": "lost", "detail": "it died", "retryable": False}
    error = GatewayError(Kind.BUSY, "full", server="git", retry_after_s=7.0)
    error.call_id = "abc"
    assert error.facts() == {
        "code": "busy",
        "detail": "full",
        "retryable": True,
        "server": "git",
        "callId": "abc",
        "retryAfter": 7,
    }


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0, 1), (0.2, 1), (1.0, 1), (2.4, 3), (59.0, 59), (59.1, 60)]
)
def test_a_retry_time_is_whole_seconds_and_never_too_early(seconds: float, told: int) -> None:
    facts = GatewayError(Kind.UNAVAILABLE, "x", retry_after_s=seconds).facts()
    assert facts["retryAfter"] == told
    assert type(facts["retryAfter"]) is int


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-32700, Kind.INVALID),
        (-32600, Kind.INVALID),
        (-32602, Kind.INVALID),
        (-32601, Kind.UNKNOWN),
        (-32603, Kind.LOST),
        (-32000, Kind.LOST),
        (12345, Kind.LOST),
    ],
)
def test_a_servers_own_error_has_a_kind_and_keeps_its_code_and_bytes(code: int, kind: Kind) -> None:
    raw = b'{"code":%d,"message":"m","data":{"x":[1,2]}}' % code
    error = UpstreamAnswered("git", code, "m", raw)
    assert (error.kind, error.rpc_code, error.error, error.server) == (kind, code, raw, "git")
    assert "m" in error.detail


def test_a_cancelled_call_says_by_whom() -> None:
    assert CallCancelled("cancelled by the client").reason == "cancelled by the client"
