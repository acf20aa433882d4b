"""Sessions of the handshake era, and their calls in flight.

A session belongs to one caller and one endpoint; to anybody else it does not exist. Bounded in
number; idle ones expire. Lost with the process: a client that comes back gets the specification's
404 and initialises anew.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway import Call
from mcp_gateway.gateway.events import Feed
from mcp_gateway.wire.envelope import RequestId

MAX_SESSIONS: Final = 10_000
MAX_OF_ONE: Final = 2_000  # of one caller, so that others find room; a team's Open WebUI is one caller
IDLE_S: Final = 30 * 60.0
_ID_BYTES: Final = 16  # 128 bit of chance (security.md S28)


@dataclass(slots=True)
class Session:
    """`calls` are keyed by the client's id and its type: 1 and "1" are two requests."""

    id: str
    caller: Caller
    endpoint: str
    revision: str
    seen_at: float
    calls: dict[tuple[type, RequestId], Call] = field(default_factory=dict)
    stream: Feed | None = None


class Sessions:
    """All sessions, least recently seen first. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._of: dict[str, int] = {}  # how many, by caller

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, caller: Caller, endpoint: str, revision: str, now: float) -> Session:
        """Raises:
        GatewayError: `busy` when there are too many live sessions.
        """
        self._expire(now)
        if len(self._sessions) >= MAX_SESSIONS:
            raise GatewayError(Kind.BUSY, "Too many sessions are open", status=503, retry_after_s=60.0)
        if self._of.get(caller.id, 0) >= MAX_OF_ONE:
            detail = f"You have {MAX_OF_ONE} sessions open, which is as many as one caller may have"
            raise GatewayError(Kind.BUSY, detail, retry_after_s=60.0)
        session = Session(secrets.token_hex(_ID_BYTES), caller, endpoint, revision, now)
        self._sessions[session.id] = session
        self._of[caller.id] = self._of.get(caller.id, 0) + 1
        return session

    def find(self, session_id: str, caller: Caller, endpoint: str, now: float) -> Session | None:
        session = self._sessions.get(session_id)
        if session is None or session.caller.id != caller.id or session.endpoint != endpoint:
            return None
        if self._is_idle(session, now):
            self.close(session)
            return None
        session.seen_at = now
        session.caller = caller  # the same one; what they may do can have changed
        self._sessions.move_to_end(session_id)
        return session

    def close(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is not None:
            self._of[session.caller.id] -= 1
            if not self._of[session.caller.id]:
                del self._of[session.caller.id]
        for call in list(session.calls.values()):
            call.cancel("the session was closed")
        if session.stream is not None:
            session.stream.end()

    def end_of(self, caller_id: str) -> None:
        """Closes the sessions of a caller who may not go on."""
        for session in [one for one in self._sessions.values() if one.caller.id == caller_id]:
            self.close(session)

    def _is_idle(self, session: Session, now: float) -> bool:
        return now - session.seen_at > IDLE_S and not session.calls and session.stream is None

    def _expire(self, now: float) -> None:
        """Closes what has been idle too long; the ones least recently seen come first."""
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if now - oldest.seen_at <= IDLE_S:
                return
            if self._is_idle(oldest, now):
                self.close(oldest)
            else:  # a call or a stream is open: that is being seen, too
                oldest.seen_at = now
                self._sessions.move_to_end(oldest.id)
