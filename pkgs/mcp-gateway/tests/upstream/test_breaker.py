"""When a remote server counts as down: a table of outcomes."""

import pytest

from mcp_gateway.upstream.breaker import IN_A_ROW, WINDOW_COUNT, WINDOW_S, Breaker

GOOD, BAD = False, True


@pytest.mark.parametrize(
    ("outcomes", "is_open"),
    [
        ([], False),
        ([BAD] * (IN_A_ROW - 1), False),
        ([BAD] * IN_A_ROW, True),
        ([BAD] * (IN_A_ROW - 1) + [GOOD] + [BAD] * (IN_A_ROW - 1), False),
        ([BAD, GOOD] * (WINDOW_COUNT // 2), True),
        ([BAD, GOOD] * (WINDOW_COUNT // 2 - 1), False),
        ([GOOD, GOOD, BAD] * WINDOW_COUNT, False),
    ],
)
def test_it_opens_on_a_row_of_failures_or_on_half_of_many(outcomes: list[bool], is_open: bool) -> None:
    breaker = Breaker()
    for failed in outcomes:
        breaker.count(100.0, failed=failed)
    assert breaker.is_open(100.0) is is_open


def test_what_is_long_ago_does_not_count() -> None:
    breaker = Breaker()
    for number in range(WINDOW_COUNT):
        breaker.count(100.0, failed=number % 2 == 0)
    assert breaker.is_open(100.0 + WINDOW_S)
    assert not breaker.is_open(100.1 + WINDOW_S)
