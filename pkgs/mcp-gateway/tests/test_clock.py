"""Ids of calls: sortable by time, never twice, never back."""

from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.clock import CallIds


@given(st.lists(st.floats(0, 4e9), min_size=2, max_size=50))
def test_ids_grow_whatever_the_wall_clock_does(times: list[float]) -> None:
    ids = CallIds()
    made = [ids.next(at) for at in times]
    assert made == sorted(set(made))
    assert made[-1] < 2**63


def test_an_id_tells_its_millisecond_and_a_burst_stays_within_it() -> None:
    ids = CallIds()
    made = [ids.next(1_700_000_000.123) for _ in range(10_000)]
    assert {number >> 20 for number in made} == {1_700_000_000_123}
