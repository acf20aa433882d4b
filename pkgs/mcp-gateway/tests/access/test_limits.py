"""How much a caller may ask for, and the queue in front of a server, where nobody is forgotten."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mcp_gateway.access.caller import LOCAL_OPERATOR, Right, unlimited
from mcp_gateway.access.limits import (
    DEFAULT_CONCURRENCY,
    DEFAULT_RATE,
    MAX_BUCKETS,
    Buckets,
    FairQueue,
    concurrency_of,
    rate_of,
)
from mcp_gateway.config.model import Limits


@dataclass(eq=False)
class Waiting:
    """As an exchange is: two with equal contents are two."""

    caller: str
    number: int = 0


def test_it_takes_turns_between_callers_and_keeps_the_order_within_one() -> None:
    queue: FairQueue[Waiting] = FairQueue(10)
    for number in range(3):
        queue.put(Waiting("loud", number))
    queue.put(Waiting("quiet", 0))
    queue.put(Waiting("other", 0))
    taken = [(item.caller, item.number) for item in iter(queue.take, None)]
    assert taken == [("loud", 0), ("quiet", 0), ("other", 0), ("loud", 1), ("loud", 2)]
    assert len(queue) == 0


def test_a_thousand_calls_of_one_delay_the_next_of_another_by_one() -> None:
    queue: FairQueue[Waiting] = FairQueue(2000)
    for number in range(1000):
        queue.put(Waiting("loud", number))
    assert queue.take() is not None
    quiet = Waiting("quiet")
    queue.put(quiet)
    assert queue.take() is not quiet
    assert queue.take() is quiet


def test_a_caller_that_comes_again_goes_to_the_end() -> None:
    queue: FairQueue[Waiting] = FairQueue(10)
    for caller in "abab":
        queue.put(Waiting(caller))
    first = queue.take()
    assert first is not None
    queue.put(Waiting("c"))
    queue.put(Waiting("a", 9))
    assert [item.caller for item in iter(queue.take, None)] == ["b", "a", "c", "b", "a"]


def test_one_too_many_is_the_callers_mistake() -> None:
    queue: FairQueue[Waiting] = FairQueue(1)
    queue.put(Waiting("a"))
    assert queue.is_full
    with pytest.raises(AssertionError):
        queue.put(Waiting("b"))
    assert len(queue) == 1
    assert FairQueue[Waiting](0).is_full


def test_removing_takes_that_one_and_tells_whether_it_was_there() -> None:
    queue: FairQueue[Waiting] = FairQueue(10)
    first, twin, other = Waiting("a"), Waiting("a"), Waiting("b")
    for item in (first, twin, other):
        queue.put(item)
    assert queue.remove(twin)
    assert not queue.remove(twin)
    assert not queue.remove(Waiting("a"))
    assert not queue.remove(Waiting("stranger"))
    assert queue.remove(other)
    assert queue.items() == [first]
    assert len(queue) == 1
    assert queue.take() is first
    assert queue.take() is None


class Fairness(RuleBasedStateMachine):
    """Any sequence of puts, takes and removals against the plainest model: a list and a turn per caller."""

    LIMIT = 8
    waiting: Bundle[Waiting] = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[Waiting] = FairQueue(self.LIMIT)
        self.model: list[Waiting] = []
        self.passed: Counter[Waiting] = Counter()  # how often another caller's item was taken instead
        self.number = 0

    @rule(target=waiting, caller=st.sampled_from("abcd"))
    def put(self, caller: str) -> Waiting:
        self.number += 1
        item = Waiting(caller, self.number)
        if not self.queue.is_full:
            self.queue.put(item)
            self.model.append(item)
        return item

    @rule()
    def take(self) -> None:
        item = self.queue.take()
        if item is None:
            assert not self.model
            return
        own = [other for other in self.model if other.caller == item.caller]
        assert own[0] is item, "first in, first out within a caller"
        self.model.remove(item)
        heads = {other.caller: other for other in reversed(self.model) if other.caller != item.caller}
        for head in heads.values():
            self.passed[head] += 1
            # Between two turns of one caller, each of the other three has at most one turn.
            assert self.passed[head] <= 3

    @rule(item=consumes(waiting))
    def remove(self, item: Waiting) -> None:
        was_there = item in self.model
        assert self.queue.remove(item) is was_there
        if was_there:
            self.model.remove(item)
            # The next of that caller stands where it stood, as long as its turn is concerned.
            self.passed.clear()

    @invariant()
    def agrees(self) -> None:
        assert len(self.queue) == len(self.model) <= self.LIMIT
        assert self.queue.is_full is (len(self.model) == self.LIMIT)
        assert sorted(item.number for item in self.queue.items()) == [item.number for item in self.model]


TestFairness = Fairness.TestCase
TestFairness.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_everything_that_was_put_is_taken_once(callers: list[str]) -> None:
    queue: FairQueue[Waiting] = FairQueue(30)
    put = [Waiting(caller, number) for number, caller in enumerate(callers)]
    for item in put:
        queue.put(item)
    taken = list(iter(queue.take, None))
    assert sorted(item.number for item in taken) == list(range(len(put)))
    # Round by round: the nth call of a caller never comes before everybody's earlier ones.
    rounds = Counter[str]()
    order = []
    for item in taken:
        order.append(rounds[item.caller])
        rounds[item.caller] += 1
    assert order == sorted(order)


def test_a_bucket_gives_what_flowed_in_and_says_when_there_is_more() -> None:
    buckets = Buckets()
    assert [buckets.take("a", 2.0, 3.0, now=10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 2.0, 3.0, now=10.0) == 0  # another's is another's
    assert buckets.take("a", 2.0, 3.0, now=10.25) == 0.25
    assert buckets.take("a", 2.0, 3.0, now=10.5) == 0
    assert [buckets.take("a", 2.0, 3.0, now=1_000.0) for _ in range(4)] == [
        0,
        0,
        0,
        0.5,
    ]  # never above its size


def test_a_bucket_gives_several_at_once_and_a_full_one_to_who_wants_more() -> None:
    buckets = Buckets()
    assert buckets.take("a", 2.0, 10.0, now=0.0, count=8) == 0
    assert buckets.take("a", 2.0, 10.0, now=0.0, count=4) == 1.0
    assert buckets.take("a", 2.0, 10.0, now=1.0, count=4) == 0
    assert buckets.take("a", 2.0, 10.0, now=1.0, count=50) == 5.0
    assert buckets.take("a", 2.0, 10.0, now=6.0, count=50) == 0


def test_buckets_are_bounded_and_forget_who_was_not_seen_for_longest() -> None:
    buckets = Buckets()
    assert buckets.take("first", 1.0, 1.0, now=0.0) == 0
    for number in range(MAX_BUCKETS - 1):
        buckets.take(str(number), 1.0, 1.0, now=0.0)
    assert buckets.take("first", 1.0, 1.0, now=0.0) == 1
    buckets.take("one more", 1.0, 1.0, now=0.0)
    assert buckets.take("first", 1.0, 1.0, now=0.0) == 1
    assert buckets.take("0", 1.0, 1.0, now=0.0) == 0


def test_who_sits_at_the_machine_has_no_limit_unless_one_is_set() -> None:
    key = unlimited("key:a", Right.CALL)
    silent, spoken = Limits(), Limits(rate=7, concurrency=3)
    assert (rate_of(silent, LOCAL_OPERATOR), concurrency_of(silent, LOCAL_OPERATOR)) == (None, None)
    assert (rate_of(silent, key), concurrency_of(silent, key)) == (DEFAULT_RATE, DEFAULT_CONCURRENCY)
    for caller in (LOCAL_OPERATOR, key):
        assert (rate_of(spoken, caller), concurrency_of(spoken, caller)) == (7, 3)
