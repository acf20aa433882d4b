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
    for number, failed in enumerate(outcomes):
        breaker.count(100.5 + number / 100, 100.5 + number / 100, failed=failed)
    assert breaker.is_open(101.0) is is_open


def test_what_was_under_way_together_counts_once() -> None:
    breaker = Breaker()
    for number in range(2 * IN_A_ROW):
        breaker.count(100.0 + number, 99.0, failed=True)
    assert not breaker.is_open(120.0)


def test_what_is_long_ago_does_not_count() -> None:
    breaker = Breaker()
    for number in range(WINDOW_COUNT):
        breaker.count(100.0 + number, 100.0 + number, failed=number % 2 == 0)
    assert breaker.is_open(100.0 + WINDOW_COUNT)
    assert not breaker.is_open(100.5 + WINDOW_S)
