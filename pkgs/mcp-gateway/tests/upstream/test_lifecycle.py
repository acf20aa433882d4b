"""The whole table: every state and every event, with what house.md says of a server's life on top."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.upstream import lifecycle
from mcp_gateway.upstream.lifecycle import (
    AT_REST,
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    STABLE_AFTER_S,
    Closed,
    Effect,
    Ended,
    Event,
    Failed,
    ImpossibleEvent,
    Life,
    Opened,
    Restart,
    RetryDue,
    Stable,
    Start,
    State,
    Stop,
    advance,
    backoff_s,
)

NOW = 1000.0
CHANCE = 0.5
OPEN = (Effect.OPEN,)
CLOSE = (Effect.CLOSE,)

EVENTS: tuple[Event, ...] = (
    Start(),
    Stop(),
    Stop(State.IDLE, "idle"),
    Restart(),
    Opened(),
    Failed("no"),
    Failed("no", State.FAILED),
    Failed("no", State.NEEDS_LOGIN),
    Ended("died"),
    Closed(),
    RetryDue(),
    Stable(),
)
AFTERS = (State.OFF, State.IDLE, State.STARTING, State.WAITING, State.FAILED, State.NEEDS_LOGIN)


def lives() -> Iterator[Life]:
    """Every state as it can be met, three failures in."""
    for state in State:
        life = Life(state, 900.0, "before", 3)
        match state:
            case State.STOPPING:
                yield from (replace(life, after=after) for after in AFTERS)
            case State.WAITING:
                yield replace(life, retry_at=1010.0)
            case State.READY:
                yield replace(life, stable_at=1020.0)
            case State.OFF:
                yield replace(life, attempt=0)
            case _:
                yield life


LIVES = tuple(lives())


def name(value: object) -> str:
    if isinstance(value, Life):
        return value.state if value.after is None else f"{value.state} then {value.after}"
    return f"{type(value).__name__} {getattr(value, 'into', '')}".strip()


def life(state: State, attempt: int = 0, after: State | None = None) -> Life:
    return next(replace(one, attempt=attempt) for one in LIVES if one.state is state and one.after is after)


# From, event -> to, effects. What is not here cannot happen.
TABLE: dict[tuple[State, type[Event]], tuple[State | str, tuple[Effect, ...]]] = {
    **{(state, Start): (State.STARTING, OPEN) for state in AT_REST},
    **{(state, Restart): (State.STARTING, OPEN) for state in AT_REST},
    **{(state, Stop): ("into", ()) for state in AT_REST - {State.OFF}},
    (State.OFF, Stop): (State.OFF, ()),
    (State.WAITING, RetryDue): (State.STARTING, OPEN),
    (State.STARTING, Start): (State.STARTING, ()),
    (State.STARTING, Opened): (State.READY, ()),
    (State.STARTING, Failed): (State.STOPPING, CLOSE),
    (State.STARTING, Stop): (State.STOPPING, CLOSE),
    (State.STARTING, Restart): (State.STOPPING, CLOSE),
    (State.READY, Start): (State.READY, ()),
    (State.READY, Stable): (State.READY, ()),
    (State.READY, Ended): (State.STOPPING, CLOSE),
    (State.READY, Stop): (State.STOPPING, CLOSE),
    (State.READY, Restart): (State.STOPPING, CLOSE),
    (State.STOPPING, Start): (State.STOPPING, ()),
    (State.STOPPING, Stop): (State.STOPPING, ()),
    (State.STOPPING, Restart): (State.STOPPING, ()),
    (State.STOPPING, Closed): ("after", ()),
}


@pytest.mark.parametrize("event", EVENTS, ids=name)
@pytest.mark.parametrize("before", LIVES, ids=name)
def test_every_event_in_every_state_is_in_the_table_or_changes_nothing(before: Life, event: Event) -> None:
    kept = replace(before)
    rule = TABLE.get((before.state, type(event)))
    if rule is None:
        with pytest.raises(ImpossibleEvent, match=type(event).__name__):
            advance(before, event, NOW, CHANCE)
        assert before == kept
        return
    wanted, effects = rule
    if wanted == "into":
        wanted = event.into if isinstance(event, Stop) else State.OFF
    elif wanted == "after":
        assert before.after is not None
        wanted = before.after
        effects = OPEN if wanted is State.STARTING else ()
    after, done = advance(before, event, NOW, CHANCE)
    assert (after.state, done) == (wanted, effects)
    assert before == kept


def test_the_table_in_the_source_has_these_rows_and_no_others() -> None:
    assert set(lifecycle._TABLE) == set(TABLE)


def test_a_wish_is_possible_in_every_state() -> None:
    """Wishes come from people at any moment; none may be a bug of the owner."""
    wishes: tuple[Event, ...] = (Start(), Stop(), Stop(State.IDLE, "idle"), Restart())
    for before, wish in itertools.product(LIVES, wishes):
        advance(before, wish, NOW, CHANCE)


def test_a_link_is_opened_only_from_rest_or_after_a_close_and_closed_only_on_the_way_to_stopping() -> None:
    for before, event in itertools.product(LIVES, EVENTS):
        try:
            after, effects = advance(before, event, NOW, CHANCE)
        except ImpossibleEvent:
            continue
        if Effect.OPEN in effects:
            assert after.state is State.STARTING
            assert before.state in AT_REST or (before.state is State.STOPPING and isinstance(event, Closed))
        if Effect.CLOSE in effects:
            assert before.state in (State.STARTING, State.READY)
            assert after.state is State.STOPPING
        had_link = before.state in (State.STARTING, State.READY)
        if had_link and after.state not in (State.STARTING, State.READY):
            assert effects == CLOSE, "every close passes through stopping"
        assert len(effects) <= 1


# -- where `stopping` leads -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "after", "attempt", "reason"),
    [
        (Stop(), State.OFF, 3, "switched off"),
        (Stop(State.IDLE, "idle"), State.IDLE, 3, "idle"),
        (Restart("because"), State.STARTING, 0, "because"),
        (Failed("no"), State.WAITING, 4, "no"),
        (Failed("gone", State.FAILED), State.FAILED, 4, "gone"),
        (Failed("401", State.NEEDS_LOGIN), State.NEEDS_LOGIN, 4, "401"),
    ],
    ids=name,
)
def test_a_start_that_ends_knows_what_follows(event: Event, after: State, attempt: int, reason: str) -> None:
    stopping, _ = advance(life(State.STARTING, 3), event, NOW, CHANCE)
    assert stopping == Life(State.STOPPING, NOW, reason, attempt, after=after)
    closed, _ = advance(stopping, Closed(), NOW + 1, CHANCE)
    assert (closed.state, closed.since, closed.reason) == (after, NOW + 1, reason)


def test_a_link_that_breaks_counts_as_a_failure_and_waits() -> None:
    stopping, _ = advance(life(State.READY, 2), Ended("died"), NOW, CHANCE)
    assert stopping == Life(State.STOPPING, NOW, "died", 3, after=State.WAITING)
    waiting, effects = advance(stopping, Closed(), NOW + 5, CHANCE)
    assert waiting == Life(State.WAITING, NOW + 5, "died", 3, retry_at=NOW + 5 + backoff_s(3, CHANCE))
    assert effects == ()
    assert waiting.wakes_at == waiting.retry_at


@pytest.mark.parametrize("before", [one for one in LIVES if one.state is not State.OFF], ids=name)
def test_a_stop_beats_a_retry_from_anywhere(before: Life) -> None:
    stopped, _ = advance(before, Stop(), NOW, CHANCE)
    if stopped.state is State.STOPPING:
        stopped, effects = advance(stopped, Closed(), NOW + 1, CHANCE)
        assert effects == ()
    assert stopped.state is State.OFF
    assert stopped == Life(State.OFF, stopped.since, "switched off")
    with pytest.raises(ImpossibleEvent):
        advance(stopped, RetryDue(), NOW + 99, CHANCE)


@pytest.mark.parametrize("before", [one for one in LIVES if one.after], ids=name)
def test_while_stopping_the_last_wish_wins(before: Life) -> None:
    cases: list[tuple[tuple[Event, ...], State]] = [
        ((Stop(),), State.OFF),
        ((Restart(),), State.STARTING),
        ((Restart(), Stop()), State.OFF),
        ((Stop(), Restart()), State.STARTING),
        ((Stop(), Start()), State.STARTING),
        ((Stop(State.IDLE, "idle"), Start()), State.STARTING),
        ((Start(), Stop(State.IDLE, "idle")), State.IDLE),
    ]
    for wishes, end in cases:
        now = before
        for wish in wishes:
            now, effects = advance(now, wish, NOW, CHANCE)
            assert (now.state, effects) == (State.STOPPING, ())
        assert advance(now, Closed(), NOW, CHANCE)[0].state is end


@pytest.mark.parametrize("after", [State.FAILED, State.NEEDS_LOGIN])
def test_a_start_asked_for_while_a_hopeless_start_is_cleared_away_is_not_lost(after: State) -> None:
    """`failed` and `needs login` do not come back by themselves; the person who asks must be heard."""
    wished, _ = advance(life(State.STOPPING, 1, after), Start(), NOW, CHANCE)
    assert advance(wished, Closed(), NOW, CHANCE)[0].state is State.STARTING


def test_a_start_asked_for_while_a_retry_is_on_its_way_changes_nothing() -> None:
    before = life(State.STOPPING, 2, State.WAITING)
    assert advance(before, Start(), NOW, CHANCE) == (before, ())


# -- attempts and back-off ------------------------------------------------------------------------------


def test_attempts_are_forgotten_only_after_ready_has_lasted() -> None:
    ready, _ = advance(life(State.STARTING, 4), Opened(), NOW, CHANCE)
    assert (ready.attempt, ready.stable_at, ready.reason) == (4, NOW + STABLE_AFTER_S, "")
    assert ready.wakes_at == ready.stable_at
    stable, effects = advance(ready, Stable(), NOW + STABLE_AFTER_S, CHANCE)
    assert (stable.state, stable.attempt, stable.wakes_at, effects) == (State.READY, 0, None, ())
    assert stable.since == ready.since


# Without the wishes of people, who may begin anew: nothing a server does makes us forget its failures.
NEWS = st.sampled_from([event for event in EVENTS if not isinstance(event, Stop | Restart)])


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(EVENTS), max_size=40), st.floats(0, 1, exclude_max=True))
def test_the_count_of_failures_falls_only_by_lasting_or_by_a_persons_wish(
    events: list[Event], chance: float
) -> None:
    now, current, opened = NOW, Life(), 0
    wished = False
    for event in events:
        now += 1
        before = current
        try:
            current, effects = advance(before, event, now, chance)
        except ImpossibleEvent:
            continue
        opened += effects.count(Effect.OPEN) - effects.count(Effect.CLOSE)
        wished = isinstance(event, Stop | Restart) or (wished and before.state is State.STOPPING)
        if current.attempt < before.attempt:
            assert wished or isinstance(event, Stable)
        if isinstance(event, Failed | Ended):
            assert current.attempt == before.attempt + 1
        # One link at a time, and the fields belong to their states.
        assert opened in (0, 1)
        assert (current.state in AT_REST) == (opened == 0) or current.state is State.STOPPING
        assert (current.retry_at is not None) == (current.state is State.WAITING)
        assert (current.after is not None) == (current.state is State.STOPPING)
        assert current.stable_at is None or current.state is State.READY
        assert current.since <= now


@settings(deadline=None)
@given(st.lists(NEWS, max_size=60), st.floats(0, 1, exclude_max=True))
def test_a_server_left_alone_never_loses_its_place_in_the_back_off(
    events: list[Event], chance: float
) -> None:
    current, failures = advance(Life(), Start(), NOW, chance)[0], 0
    for event in events:
        if isinstance(event, Stable):
            continue
        try:
            current, _ = advance(current, event, NOW, chance)
        except ImpossibleEvent:
            continue
        failures += isinstance(event, Failed | Ended)
        assert current.attempt == failures


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_lies_within_a_window_that_doubles_up_to_its_limit(attempt: int, chance: float) -> None:
    window = BACKOFF_FIRST_S
    for _ in range(attempt - 1):
        window = min(BACKOFF_MAX_S, window * 2)
    assert 0 <= backoff_s(attempt, chance) <= window
    assert backoff_s(attempt, 0.0) == 0
    assert backoff_s(attempt, 0.5) == window / 2


def test_the_windows_are_those_of_the_documentation() -> None:
    assert [backoff_s(attempt, 1.0) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_chance_spreads_servers_that_died_together_over_the_whole_window() -> None:
    stopping = life(State.STOPPING, 4, State.WAITING)
    times = [advance(stopping, Closed(), NOW, chance / 10)[0].retry_at for chance in range(10)]
    assert times == [pytest.approx(NOW + 8 * chance / 10) for chance in range(10)]


def test_nothing_but_waiting_and_an_unproven_ready_asks_to_be_woken() -> None:
    for one in LIVES:
        assert (one.wakes_at is not None) == (one.state in (State.WAITING, State.READY))
