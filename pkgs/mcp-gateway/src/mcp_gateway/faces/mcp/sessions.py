"""Sessions of the handshake era, and their calls in flight.

A session belongs to one caller and one endpoint; to anybody else it does not exist. Bounded in
number; idle ones expire, and all of them some day. Lost with the process: a client that comes back gets the
specification's 404 and initialises anew.

Whoever knows a session's id is halfway into it, so people are shown its `handle` instead, which tells
nothing of the id.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.mcp.streams import EventStore, Kept, Stream
from mcp_gateway.gateway import NO_ASKS, Ask, Call, Client, Gateway
from mcp_gateway.gateway.bells import Patience
from mcp_gateway.gateway.subscriptions import Listener
from mcp_gateway.wire.envelope import RequestId
from mcp_gateway.wire.revisions import Era

MAX_SESSIONS: Final = 10_000
MAX_OF_ONE: Final = 2_000  # of one caller, so that others find room; a team's Open WebUI is one caller
STREAMABLE: Final = "streamable-http"
LEGACY_SSE: Final = "sse"
ALL_SERVERS: Final = ""  # the endpoint of `/mcp`; any other endpoint is a server id
IDLE_S: Final = 30 * 60.0  # security.md S28, and so is the next
LIFE_S: Final = 12 * 3600.0  # whoever took an id has it for so long at most
CLIENT_CHARS: Final = 100  # of the name and of the version that a client gives itself
_ID_BYTES: Final = 16  # 128 bit of chance
_HANDLE_CHARS: Final = 16  # hexadecimal: 64 bit, so no two of ten thousand are the same


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """What a client calls itself; nothing is believed of it, and it is fit to be shown."""

    name: str = ""
    version: str = ""


def client_info(said: Any) -> ClientInfo:
    """Of `clientInfo` as JSON, whatever it holds."""
    try:
        members = msgspec.json.decode(said, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return ClientInfo()
    return ClientInfo(_shown(members.get("name")), _shown(members.get("version")))


def _shown(text: Any) -> str:
    if not isinstance(text, str):
        return ""
    cut = text[:CLIENT_CHARS]
    seen = (char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return "".join(seen)[:CLIENT_CHARS]


class Asker(Protocol):
    """Who sends a request, as far as what becomes of it depends on it: a session, or the request alone.

    The members are those of `Session`.
    """

    caller: Caller
    endpoint: str
    client: Client
    calls: dict[tuple[type, RequestId], Call]


@dataclass(slots=True)
class Session:
    """`calls` are keyed by the client's id and its type: 1 and "1" are two requests.

    `asked` are the questions that wait for an answer of the client, by our id; `questions` counts them.
    `client_info` is for people to read, `client` for the call path.
    `begun_at` and `seen_at` are monotonic seconds, `begun` seconds since 1970. `own` is the stream that
    belongs to no request; it tells what `listener` hears. `kept` is what may be asked for again. `tasks` run
    for it. `log_level` is what it asked for. `at_end` is done when it is over.
    """

    id: str
    handle: str
    caller: Caller
    endpoint: str
    transport: str
    revision: str
    client_info: ClientInfo
    begun_at: float
    seen_at: float
    begun: float
    kept: Kept
    client: Client
    calls: dict[tuple[type, RequestId], Call] = field(default_factory=dict)
    asked: dict[int, Ask] = field(default_factory=dict)
    questions: int = 0
    own: Stream | None = None
    listener: Listener | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    log_level: str | None = None
    is_over: bool = False
    at_end: list[Callable[[], None]] = field(default_factory=list)

    def introduce(self, revision: str, client_info: ClientInfo, capabilities: bytes) -> None:
        """For a transport whose sessions begin before `initialize`."""
        self.revision, self.client_info = revision, client_info
        self.client = Client(Era.HANDSHAKE, revision, capabilities, self.handle)

    @property
    def streams(self) -> int:
        """How many of its event streams are read at this moment."""
        streams = set(self.kept.streams.values()) | ({self.own} if self.own is not None else set())
        return sum(stream.reader is not None for stream in streams)

    def _path(self) -> str:
        is_legacy = self.transport == LEGACY_SSE
        if self.endpoint == ALL_SERVERS:
            return "/mcp/sse" if is_legacy else "/mcp"
        return f"/servers/{self.endpoint}/{'sse' if is_legacy else 'mcp'}"

    def keep(self, task: asyncio.Task[None]) -> None:
        """Holds a task that works for the session until it ends."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def view(self) -> dict[str, Any]:
        """What people are shown of it."""
        return {
            "id": self.handle,
            "client": self.client_info.name,
            "clientVersion": self.client_info.version,
            "revision": self.revision,
            "transport": self.transport,
            "endpoint": self._path(),
            "caller": self.caller.id,
            "begun": self.begun,
            "seen": self.begun + self.seen_at - self.begun_at,
            "streams": self.streams,
            "calls": len(self.calls),
        }


class Sessions:
    """All sessions, least recently seen first. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._by_handle: dict[str, Session] = {}  # the oldest first
        self._of: dict[str, int] = {}  # how many, by caller
        self._events = EventStore()
        self.at_end: Callable[[str], None] = lambda _handle: None  # told of every session that has ended

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def patience(self) -> Patience:
        """Of those who wait for something to be said on a stream."""
        return self._events.patience

    def open(
        self,
        caller: Caller,
        endpoint: str,
        revision: str,
        now: float,
        client_info: ClientInfo | None = None,
        transport: str = STREAMABLE,
        capabilities: bytes = NO_ASKS,
    ) -> Session:
        """Raises:
        GatewayError: `busy` when there are too many live sessions.
        """
        self.expire(now)
        if len(self._sessions) >= MAX_SESSIONS:
            raise GatewayError(Kind.BUSY, "Too many sessions are open", status=503, retry_after_s=60.0)
        if self._of.get(caller.id, 0) >= MAX_OF_ONE:
            detail = f"You have {MAX_OF_ONE} sessions open, which is as many as one caller may have"
            raise GatewayError(Kind.BUSY, detail, retry_after_s=60.0)
        session_id = secrets.token_hex(_ID_BYTES)
        handle = hashlib.sha256(session_id.encode()).hexdigest()[:_HANDLE_CHARS]
        session = Session(
            session_id,
            handle,
            caller,
            endpoint,
            transport,
            revision,
            client_info or ClientInfo(),
            begun_at=now,
            seen_at=now,
            begun=clock.wall_s(),
            kept=Kept(self._events),
            client=Client(Era.HANDSHAKE, revision, capabilities, handle),
        )
        self._sessions[session.id] = session
        self._by_handle[handle] = session
        self._of[caller.id] = self._of.get(caller.id, 0) + 1
        return session

    def find(
        self, session_id: str, caller: Caller, endpoint: str, now: float, transport: str = STREAMABLE
    ) -> Session | None:
        session = self._sessions.get(session_id)
        if session is None or session.caller.id != caller.id:
            return None
        if session.endpoint != endpoint or session.transport != transport:
            return None
        if self._is_idle(session, now) or now - session.begun_at > LIFE_S:
            self.close(session)
            return None
        session.seen_at = now
        session.caller = caller  # the same one; what they may do can have changed
        if session.listener is not None:
            session.listener.caller = caller
        self._sessions.move_to_end(session_id)
        return session

    def shown_to(self, caller: Caller, now: float) -> list[Session]:
        """Those a caller may see and close, the oldest first: their own, or all for an operator."""
        self.expire(now)
        return [session for session in self._by_handle.values() if _is_shown(session, caller)]

    def by_handle(self, caller: Caller, handle: str) -> Session:
        """Raises:
        GatewayError: `unknown`, in the same words for one that is another's.
        """
        session = self._by_handle.get(handle)
        if session is None or not _is_shown(session, caller):
            raise GatewayError(Kind.UNKNOWN, "There is no such session")
        return session

    def disconnect(self, gateway: Gateway, caller: Caller, handle: str) -> None:
        """Closes a session because somebody wants that; who ends another's is recorded.

        Raises:
            GatewayError: as `by_handle`.
        """
        session = self.by_handle(caller, handle)
        if session.caller.id != caller.id:
            detail = f"{handle} of {session.caller.id}"
            gateway.actions.note(caller, Right.OPERATE, "session.close", detail=detail)
        self.close(session)

    def close(self, session: Session) -> None:
        """Ends it and everything that belongs to it; nothing happens when it has ended."""
        session.is_over = True
        if self._sessions.pop(session.id, None) is not None:
            del self._by_handle[session.handle]
            self._of[session.caller.id] -= 1
            if not self._of[session.caller.id]:
                del self._of[session.caller.id]
        for call in list(session.calls.values()):
            call.cancel("the session was closed")
        while session.at_end:
            session.at_end.pop()()
        if session.listener is not None:
            session.listener.close()
        if session.own is not None:
            session.own.finish()
        self._events.close(session.kept)
        self.at_end(session.handle)

    def end_of(self, caller_id: str) -> None:
        """Closes the sessions of a caller who may not go on."""
        for session in [one for one in self._sessions.values() if one.caller.id == caller_id]:
            self.close(session)

    def _is_idle(self, session: Session, now: float) -> bool:
        return now - session.seen_at > IDLE_S and not session.calls and not session.streams

    def expire(self, now: float) -> None:
        """Closes what is too old, and what has been idle too long: each stands first in its order."""
        self._events.expire(now)
        while self._by_handle:
            oldest = next(iter(self._by_handle.values()))
            if now - oldest.begun_at <= LIFE_S:
                break
            self.close(oldest)
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if now - oldest.seen_at <= IDLE_S:
                return
            if self._is_idle(oldest, now):
                self.close(oldest)
            else:  # a call or a stream is open: that is being seen, too
                oldest.seen_at = now
                self._sessions.move_to_end(oldest.id)


def expire(sessions: Sessions) -> None:
    """For streams that are quiet: where one is open, it is asked for often enough."""
    sessions.expire(clock.now_s())


def _is_shown(session: Session, caller: Caller) -> bool:
    return Right.OPERATE in caller.everywhere or session.caller.id == caller.id
