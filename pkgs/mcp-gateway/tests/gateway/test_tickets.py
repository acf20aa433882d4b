"""Links that are their own right: what they open, for how long, and that nothing else does."""

import pytest

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller, Right, unlimited
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.tickets import MAX_CALLERS, Tickets

ANNA = unlimited("key:anna", Right.CALL)


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tickets(time: Time) -> Tickets:
    return Tickets(lambda caller: None, time)


def refused(tickets: Tickets, ticket: str, purpose: str = "file") -> Kind:
    with pytest.raises(GatewayError) as caught:
        tickets.redeem(ticket, purpose)
    return caught.value.kind


def test_a_ticket_opens_what_it_was_made_for_as_often_as_it_is_shown(tickets: Tickets) -> None:
    ticket = tickets.issue(ANNA, "file", "a\u2028b", 60)
    assert [tickets.redeem(ticket, "file") for _ in range(2)] == [(ANNA, "a\u2028b")] * 2


def test_a_ticket_is_good_for_its_purpose_only(tickets: Tickets) -> None:
    ticket = tickets.issue(ANNA, "file", "a", 60)
    assert refused(tickets, ticket, "code") is Kind.UNKNOWN


def test_a_ticket_ends_with_its_time(tickets: Tickets, time: Time) -> None:
    ticket = tickets.issue(ANNA, "file", "a", 60)
    time.now += 59.9
    tickets.redeem(ticket, "file")
    time.now += 0.1
    assert refused(tickets, ticket) is Kind.UNKNOWN


def test_tickets_end_with_their_caller_and_not_with_another(tickets: Tickets) -> None:
    hers, his = tickets.issue(ANNA, "file", "a", 60), tickets.issue(LOCAL_OPERATOR, "file", "a", 60)
    tickets.end_of(ANNA.id)
    assert refused(tickets, hers) is Kind.UNKNOWN
    assert tickets.redeem(his, "file") == (LOCAL_OPERATOR, "a")
    assert tickets.owners() == {LOCAL_OPERATOR.id}


def test_who_comes_with_other_rights_gets_tickets_of_those(tickets: Tickets) -> None:
    less = unlimited(ANNA.id)
    more, narrow = tickets.issue(ANNA, "file", "a", 60), tickets.issue(less, "file", "a", 60)
    assert tickets.redeem(more, "file")[0] == ANNA
    assert tickets.redeem(narrow, "file")[0] == less


def test_a_key_that_was_revoked_is_asked_for_at_each_use(time: Time) -> None:
    revoked: list[Caller] = []

    def require_current(caller: Caller) -> None:
        if caller in revoked:
            raise GatewayError(Kind.UNAUTHENTICATED, "revoked")

    tickets = Tickets(require_current, time)
    ticket = tickets.issue(ANNA, "file", "a", 60)
    revoked.append(ANNA)
    assert refused(tickets, ticket) is Kind.UNAUTHENTICATED


@pytest.mark.parametrize("made_up", ["", "a", "gAAAAA==", "\udc80", "ü" * 9, "A" * 100_000, "{}"])
def test_what_was_made_up_opens_nothing(tickets: Tickets, made_up: str) -> None:
    assert refused(tickets, made_up) is Kind.UNKNOWN


def test_no_bit_of_a_ticket_can_be_changed(tickets: Tickets) -> None:
    ticket = tickets.issue(ANNA, "file", "a", 60)
    for at in range(len(ticket) - 2):
        other = ticket[:at] + ("A" if ticket[at] != "A" else "B") + ticket[at + 1 :]
        assert refused(tickets, other) is Kind.UNKNOWN


def test_another_process_made_nothing_that_is_good_here(tickets: Tickets, time: Time) -> None:
    ticket = Tickets(lambda caller: None, time).issue(ANNA, "file", "a", 60)
    assert refused(tickets, ticket) is Kind.UNKNOWN


def test_of_many_callers_the_last_keep_their_tickets(tickets: Tickets) -> None:
    first = tickets.issue(ANNA, "file", "a", 60)
    last = [tickets.issue(unlimited(f"key:{n}"), "file", "a", 60) for n in range(MAX_CALLERS)][-1]
    assert refused(tickets, first) is Kind.UNKNOWN
    assert tickets.redeem(last, "file")[1] == "a"
    assert tickets.redeem(tickets.issue(ANNA, "file", "a", 60), "file")[0] == ANNA
