"""Calls that wait for their client: for how long, how many, and for whom a state is good.

The calls are real ones at a server in this process; the time is an argument.
"""

from collections.abc import Awaitable, Callable

import pytest

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import CallCancelled, GatewayError
from mcp_gateway.gateway.calls import Call
from mcp_gateway.gateway.parking import MAX_OF_ONE, MAX_PARKED, PARKED_S, Parked, Parking
from mcp_gateway.store.calls import CallRecord
from tests.gateway.conftest import Set

Make = Callable[[str], Awaitable[Parked]]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def parking(clock: Clock) -> Parking:
    return Parking("here", clock)


@pytest.fixture
async def make(servers: Set) -> Make:
    servers.apply(one={"command": "one", "concurrency": 2_000, "queue": 0})
    upstream = await servers.ready("one")

    async def parked(caller: str = "ann") -> Parked:
        exchange = servers.call("one", caller=caller)
        record = CallRecord(exchange.id, 0.0, caller, "mcp", "one", "echo", None)
        return Parked(Call(record, Caller(caller, ()), exchange, upstream, 0.0), {}, None)

    return parked


def refusal(parking: Parking, state: str, bound_to: bytes = b"this") -> str:
    with pytest.raises(GatewayError) as caught:
        parking.find(state, bound_to)
    assert caught.value.rpc_code == -32602
    return caught.value.detail


async def test_a_state_finds_its_call_until_it_is_taken(parking: Parking, make: Make) -> None:
    one, other = await make("ann"), await make("ann")
    states = parking.park(one, b"this"), parking.park(other, b"this")
    assert parking.waiting == 2
    assert [parking.find(state, b"this") for state in states] == [one, other]
    parking.take(one)
    words = refusal(parking, states[0])
    assert parking.find(states[1], b"this") is other
    assert refusal(parking, states[1], b"that") == words
    assert not one.call.ended
    again = parking.park(one, b"this")
    assert refusal(parking, states[0]) == words, "the one before stays used up"
    assert parking.find(again, b"this") is one


async def test_two_states_of_one_call_have_nothing_in_common_but_their_gateway(
    parking: Parking, make: Make
) -> None:
    one = await make("ann")
    first = parking.park(one, b"this")
    parking.take(one)
    second = parking.park(one, b"this")
    assert first.rpartition(".")[0] == second.rpartition(".")[0]
    assert first.rpartition(".")[2][:8] != second.rpartition(".")[2][:8]


async def test_no_byte_of_a_state_may_change(parking: Parking, make: Make) -> None:
    state = parking.park(await make("ann"), b"this")
    head, _, sealed = state.rpartition(".")
    others = {
        f"{head}.{sealed[:at]}{letter}{sealed[at + 1 :]}" for at in range(len(sealed)) for letter in "A_"
    }
    words = {refusal(parking, other) for other in others - {state}}
    words |= {refusal(parking, f"{head}.{end}") for end in ("", "A", sealed[:-4], sealed + "AAAA", "\u00e4")}
    assert len(words) == 1


async def test_who_does_not_come_back_in_time_finds_nothing_and_the_call_is_over(
    parking: Parking, make: Make, clock: Clock
) -> None:
    early = await make("ann")
    state = parking.park(early, b"this")
    clock.now += PARKED_S - 1
    late = await make("ann")
    kept = parking.park(late, b"this")
    parking.sweep()
    assert parking.find(state, b"this") is early
    clock.now += 2
    words = refusal(parking, state)
    assert parking.waiting == 2
    parking.sweep()
    assert early.call.ended
    with pytest.raises(CallCancelled, match="did not come back"):
        early.call.result()
    assert refusal(parking, state) == words
    assert parking.find(kept, b"this") is late
    assert parking.waiting == 1


async def test_a_request_to_be_made_anew_has_a_state_of_its_own(parking: Parking, clock: Clock) -> None:
    state = parking.again(b"this")
    assert parking.find(state, b"this") is None
    words = refusal(parking, state, b"that")
    clock.now += PARKED_S + 1
    assert refusal(parking, state) == words


async def test_one_caller_leaves_room_for_others(parking: Parking, make: Make) -> None:
    theirs = [await make("ann") for _ in range(MAX_OF_ONE)]
    states = [parking.park(one, b"this") for one in theirs]
    with pytest.raises(GatewayError, match="Too many") as caught:
        parking.park(await make("ann"), b"this")
    assert (caught.value.kind.value, caught.value.server) == ("busy", "one")
    parking.park(await make("bob"), b"this")
    theirs[0].call.cancel("enough")
    assert parking.find(states[0], b"this") is theirs[0], "its client is yet to be told"
    parking.park(await make("ann"), b"this")
    refusal(parking, states[0])
    parking.end_of("ann")
    refusal(parking, states[1])
    assert parking.waiting == 1


async def test_all_together_are_bounded_too(parking: Parking, make: Make) -> None:
    for number in range(MAX_PARKED):
        parking.park(await make(f"caller {number // MAX_OF_ONE}"), b"this")
    with pytest.raises(GatewayError, match="Too many"):
        parking.park(await make("somebody"), b"this")


async def test_states_are_known_by_where_they_were_made_also_after_a_restart(
    make: Make, clock: Clock
) -> None:
    before, after, elsewhere = Parking("here", clock), Parking("here", clock), Parking("there", clock)
    state = before.park(await make("ann"), b"this")
    assert after.is_ours(state)
    refusal(after, state)
    assert not elsewhere.is_ours(state), "it is for the one behind, or in front"
    assert "here" not in state
