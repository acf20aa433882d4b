"""Sessions of the handshake era, time as an argument: whose they are, when they end, how many there are."""

from typing import Any, cast

import msgspec
import pytest

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller, Grant, Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.mcp import sessions as sessions_module
from mcp_gateway.faces.mcp.sessions import (
    CLIENT_CHARS,
    IDLE_S,
    LIFE_S,
    ClientInfo,
    Session,
    Sessions,
    client_info,
)
from mcp_gateway.gateway import Call

STRANGER = Caller("stranger", LOCAL_OPERATOR.grants)


class RecordedCall:
    """Stands for a call in flight; knows only that it was taken back."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def cancel(self, reason: str) -> None:
        self.reasons.append(reason)


def opened(sessions: Sessions, now: float = 0.0, endpoint: str = "") -> Session:
    return sessions.open(LOCAL_OPERATOR, endpoint, "2025-11-25", now)


def is_there(sessions: Sessions, session: Session, now: float) -> bool:
    return sessions.find(session.id, session.caller, session.endpoint, now) is session


def test_a_session_is_there_for_its_caller_and_its_endpoint_only() -> None:
    sessions = Sessions()
    session = opened(sessions, endpoint="git")
    assert is_there(sessions, session, 1.0)
    assert sessions.find(session.id, STRANGER, "git", 1.0) is None
    assert sessions.find(session.id, LOCAL_OPERATOR, "", 1.0) is None
    assert sessions.find(session.id, LOCAL_OPERATOR, "time", 1.0) is None
    assert is_there(sessions, session, 1.0)  # a stranger's attempt has not ended it


def test_an_idle_session_ends_and_one_that_is_used_does_not() -> None:
    sessions = Sessions()
    idle, used = opened(sessions), opened(sessions)
    for quarter in range(1, 9):
        assert is_there(sessions, used, quarter * IDLE_S / 2)
    assert not is_there(sessions, idle, 4 * IDLE_S)
    assert len(sessions) == 1


def test_a_session_with_a_call_under_way_is_not_idle() -> None:
    sessions = Sessions()
    session = opened(sessions)
    session.calls[int, 1] = cast(Call, RecordedCall())
    assert is_there(sessions, session, 3 * IDLE_S)
    session.calls.clear()
    assert not is_there(sessions, session, 5 * IDLE_S)


def test_what_is_idle_is_cleared_when_somebody_new_comes() -> None:
    sessions = Sessions()
    busy = opened(sessions)
    busy.calls[int, 1] = cast(Call, RecordedCall())
    for _ in range(5):
        opened(sessions)
    fresh = opened(sessions, now=2 * IDLE_S)
    assert len(sessions) == 2
    assert is_there(sessions, busy, 2 * IDLE_S)
    assert is_there(sessions, fresh, 2 * IDLE_S)


def test_closing_a_session_takes_its_calls_back() -> None:
    sessions = Sessions()
    session = opened(sessions)
    calls = [RecordedCall(), RecordedCall()]
    for number, call in enumerate(calls):
        session.calls[int, number] = cast(Call, call)
    sessions.close(session)
    assert [len(call.reasons) for call in calls] == [1, 1]
    assert not is_there(sessions, session, 0.0)
    sessions.close(session)  # again: nothing new to end
    assert len(sessions) == 0


def test_there_are_only_so_many_sessions_and_room_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 3)
    sessions = Sessions()
    some: list[Any] = [opened(sessions) for _ in range(3)]
    with pytest.raises(GatewayError) as refused:
        opened(sessions)
    assert refused.value.kind in (Kind.BUSY, Kind.UNAVAILABLE)
    assert refused.value.retryable
    assert refused.value.retry_after_s
    sessions.close(some[0])
    assert is_there(sessions, opened(sessions), 0.0)


def test_a_session_that_is_used_all_the_time_ends_all_the_same() -> None:
    sessions = Sessions()
    session = opened(sessions)
    running = RecordedCall()
    session.calls[int, 1] = cast(Call, running)
    for minute in range(0, int(LIFE_S), 600):
        assert is_there(sessions, session, minute)
    assert not is_there(sessions, session, LIFE_S + 1)
    assert running.reasons
    assert len(sessions) == 0


def test_one_that_nobody_asks_for_ends_when_others_are_looked_at() -> None:
    sessions = Sessions()
    old = opened(sessions)
    old.calls[int, 1] = cast(Call, RecordedCall())  # so it is not idle
    young = opened(sessions, now=LIFE_S - 1)
    assert sessions.shown_to(LOCAL_OPERATOR, LIFE_S) == [old, young]
    assert sessions.shown_to(LOCAL_OPERATOR, LIFE_S + 1) == [young]


def test_a_session_is_shown_to_its_caller_and_to_operators_by_a_handle_that_opens_nothing() -> None:
    sessions = Sessions()
    user = Caller("user", (Grant(frozenset({Right.READ, Right.CALL})),))
    some = Caller("some", (Grant(frozenset(Right), servers=("git",)),))  # operates one server, not everything
    session = sessions.open(user, "git", "2025-11-25", 0.0, ClientInfo("editor", "1.2"))
    (view,) = (one.view() for one in sessions.shown_to(user, 5.0))
    assert view["id"] == session.handle
    assert session.id not in str(view)
    assert sessions.find(session.handle, user, "git", 0.0) is None
    assert (view["client"], view["clientVersion"], view["endpoint"]) == ("editor", "1.2", "/servers/git/mcp")
    assert sessions.shown_to(LOCAL_OPERATOR, 5.0) == [session]
    assert sessions.by_handle(LOCAL_OPERATOR, session.handle) is session
    for stranger in (some, Caller("other", user.grants)):
        assert sessions.shown_to(stranger, 5.0) == []
        told = set()
        for handle in (session.handle, "0" * 16, session.id, ""):
            with pytest.raises(GatewayError) as refused:
                sessions.by_handle(stranger, handle)
            assert refused.value.kind is Kind.UNKNOWN
            told.add(refused.value.detail)
        assert len(told) == 1
    sessions.close(session)
    assert sessions.shown_to(LOCAL_OPERATOR, 5.0) == []


@pytest.mark.parametrize(
    ("said", "name", "version"),
    [
        (b'{"name":"editor","version":"1.0","title":"Editor"}', "editor", "1.0"),
        ('{"name":"Größe 😀"}'.encode(), "Größe 😀", ""),
        (rb'{"name":"a\u001b[31mb\u202ec\nd","version":"\u200b"}', "a\\x1b[31mb\\u202ec\\nd", "\\u200b"),
        (rb'{"name":"\ud800"}', "", ""),  # half a character
        (b'{"name":7,"version":null}', "", ""),
        (b"[]", "", ""),
        (b"", "", ""),
        (b"[" * 5_000 + b"]" * 5_000, "", ""),
    ],
)
def test_what_a_client_calls_itself_is_fit_to_be_shown(said: bytes, name: str, version: str) -> None:
    assert client_info(said) == ClientInfo(name, version)


def test_a_client_does_not_talk_of_itself_for_long() -> None:
    for letter in ("x", "\u202e"):
        told = client_info(msgspec.json.encode({"name": letter * 10_000, "version": letter * 10_000}))
        assert len(told.name) == len(told.version) == CLIENT_CHARS
