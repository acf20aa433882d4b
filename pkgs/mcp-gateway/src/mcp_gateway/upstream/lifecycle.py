"""A server's life: every state, event and transition is in this file and nowhere else.

`advance` is one pure function over one immutable value. It answers the next value and what the owner
must do; an event that a state does not expect raises and changes nothing. Time and chance are
arguments. The words are those of the API, the screen and the docs.

    off ──Start──> starting ──Opened──> ready ──Ended──┐
     ^                │ Failed                         │
     │                v                                v
     └──Closed── stopping <──Stop / Restart── (starting, ready)
                   │ Closed: whatever `after` says
                   ├──> waiting ──RetryDue / Start──> starting
                   ├──> failed, needs login, idle ──Start──> starting
                   └──> starting (restart)

Every close passes through `stopping`; a stop beats a retry; the attempts are forgotten only after
`ready` has lasted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

# Full jitter: servers that died together must not come back together. Doubles from 1 s to 60 s.
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0
# Shorter than this, `ready` proves nothing: a server that dies on its first request must keep backing off.
STABLE_AFTER_S: Final = 60.0


class State(StrEnum):
    OFF = "off"
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    NEEDS_LOGIN = "needs login"
    STOPPING = "stopping"
    FAILED = "failed"
    IDLE = "idle"


_COMING: Final = frozenset({State.READY, State.STARTING, State.WAITING, State.IDLE})
# States in which no link exists.
AT_REST: Final = frozenset({State.OFF, State.WAITING, State.NEEDS_LOGIN, State.FAILED, State.IDLE})


@dataclass(frozen=True, slots=True)
class Start:
    """It is wanted: switched on, called while idle, or "retry now"."""


@dataclass(frozen=True, slots=True)
class Stop:
    """It is not wanted; `into` is `off`, or `idle` when the next call may start it."""

    into: State = State.OFF
    reason: str = "switched off"


@dataclass(frozen=True, slots=True)
class Restart:
    reason: str = "restart requested"


@dataclass(frozen=True, slots=True)
class Opened:
    """The link answers and its tools are known."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Opening did not succeed; `into` is where it ends: waiting, failed or needs login.

    `wait_s` is what the server asked for before the next attempt.
    """

    reason: str
    into: State = State.WAITING
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The open link broke; the rest is as with `Failed`."""

    reason: str
    into: State = State.WAITING
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing of the link is left."""


@dataclass(frozen=True, slots=True)
class RetryDue:
    pass


@dataclass(frozen=True, slots=True)
class Stable:
    """It has been ready for `STABLE_AFTER_S`."""


Event = Start | Stop | Restart | Opened | Failed | Ended | Closed | RetryDue | Stable


class Effect(StrEnum):
    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Life:
    """Where a server stands. `since`, `retry_at` and `stable_at` are monotonic seconds.

    `attempt` counts failures in a row; `after` is what follows `stopping`, `wait_s` the least that `waiting`
    will take.
    """

    state: State = State.OFF
    since: float = 0.0
    reason: str = ""
    attempt: int = 0
    retry_at: float | None = None
    stable_at: float | None = None
    after: State | None = None
    wait_s: float = 0.0

    @property
    def is_coming(self) -> bool:
        """It is ready, or will be without anybody's doing or with the next call: its tools are still its."""
        return (self.after if self.state is State.STOPPING else self.state) in _COMING

    @property
    def wakes_at(self) -> float | None:
        """When the owner must bring `RetryDue` or `Stable`."""
        return self.retry_at if self.state is State.WAITING else self.stable_at


class ImpossibleEvent(Exception):
    """The owner brought an event that this state cannot meet: a bug of the owner."""


Step = tuple[Life, tuple[Effect, ...]]


def advance(life: Life, event: Event, now: float, chance: float) -> Step:
    """The whole table. `chance` in [0, 1) places a retry within its window.

    Raises:
        ImpossibleEvent: nothing has changed.
    """
    rule = _TABLE.get((life.state, type(event)))
    if rule is None:
        raise ImpossibleEvent(f"{type(event).__name__} in {life.state}")
    return rule(life, event, now, chance)


def backoff_s(attempt: int, chance: float) -> float:
    """The wait after the `attempt`-th failure in a row (1, 2, ...)."""
    window_s: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(attempt - 1, 16))
    return window_s * chance


def _stay(life: Life, _event: Event, _now: float, _chance: float) -> Step:
    return life, ()


def _open(life: Life, _event: Event, now: float, _chance: float) -> Step:
    return Life(State.STARTING, now, life.reason, life.attempt), (Effect.OPEN,)


def _ready(life: Life, _event: Event, now: float, _chance: float) -> Step:
    return Life(State.READY, now, "", life.attempt, stable_at=now + STABLE_AFTER_S), ()


def _forget_attempts(life: Life, _event: Event, _now: float, _chance: float) -> Step:
    return replace(life, attempt=0, stable_at=None), ()


def _close(life: Life, event: Event, now: float, _chance: float) -> Step:
    """Leaves `starting` or `ready`; where to is decided here and waits in `after`."""
    reason, attempt, wait_s = life.reason, life.attempt, 0.0
    match event:
        case Stop(into, why):
            reason, after = why, into
        case Restart(why):
            reason, after, attempt = why, State.STARTING, 0
        case Failed(why, into, least_s) | Ended(why, into, least_s):
            reason, after, attempt, wait_s = why, into, attempt + 1, least_s
        case _:
            raise ImpossibleEvent(type(event).__name__)
    return Life(State.STOPPING, now, reason, attempt, after=after, wait_s=wait_s), (Effect.CLOSE,)


def _change_after(life: Life, event: Event, _now: float, _chance: float) -> Step:
    """While stopping, the last wish wins; the link is already going away."""
    match event:
        case Stop(into, why):
            return replace(life, after=into, reason=why), ()
        case Restart(why):
            return replace(life, after=State.STARTING, reason=why, attempt=0), ()
        case _:  # Start: wanted after all; one that backs off comes back anyway, in its own time
            after = State.WAITING if life.after is State.WAITING else State.STARTING
            return replace(life, after=after), ()


def _closed(life: Life, _event: Event, now: float, chance: float) -> Step:
    after = life.after or State.OFF
    if after is State.STARTING:
        return Life(State.STARTING, now, life.reason, life.attempt), (Effect.OPEN,)
    if after is State.WAITING:
        retry_at = now + max(backoff_s(life.attempt, chance), life.wait_s)
        return Life(State.WAITING, now, life.reason, life.attempt, retry_at=retry_at), ()
    return Life(after, now, life.reason, 0 if after is State.OFF else life.attempt), ()


def _rest(_life: Life, event: Event, now: float, _chance: float) -> Step:
    """A stop where no link exists."""
    assert isinstance(event, Stop), "the table brings nothing else here"
    return Life(event.into, now, event.reason), ()


_Rule = Callable[[Life, Event, float, float], Step]
_TABLE: Final[dict[tuple[State, type[Event]], _Rule]] = {
    (State.OFF, Start): _open,
    (State.OFF, Stop): _stay,
    (State.OFF, Restart): _open,
    (State.IDLE, Start): _open,
    (State.IDLE, Stop): _rest,
    (State.IDLE, Restart): _open,
    (State.WAITING, Start): _open,
    (State.WAITING, RetryDue): _open,
    (State.WAITING, Restart): _open,
    (State.WAITING, Stop): _rest,
    (State.FAILED, Start): _open,
    (State.FAILED, Restart): _open,
    (State.FAILED, Stop): _rest,
    (State.NEEDS_LOGIN, Start): _open,
    (State.NEEDS_LOGIN, Restart): _open,
    (State.NEEDS_LOGIN, Stop): _rest,
    (State.STARTING, Start): _stay,
    (State.STARTING, Opened): _ready,
    (State.STARTING, Failed): _close,
    (State.STARTING, Stop): _close,
    (State.STARTING, Restart): _close,
    (State.READY, Start): _stay,
    (State.READY, Stable): _forget_attempts,
    (State.READY, Ended): _close,
    (State.READY, Stop): _close,
    (State.READY, Restart): _close,
    (State.STOPPING, Start): _change_after,
    (State.STOPPING, Stop): _change_after,
    (State.STOPPING, Restart): _change_after,
    (State.STOPPING, Closed): _closed,
}
