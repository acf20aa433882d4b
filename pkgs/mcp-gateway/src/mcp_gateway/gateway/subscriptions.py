"""Who is told what changes: lists, and single resources that somebody has subscribed to.

A listener is a session of the handshake era or one stream of the modern one. What it hears is a hint to look
again, so the same is kept for it once, however often it is said, and told at most once a second: a server
that announces without an end costs a client one message a second, and a slow reader costs a set of names.
A server is asked for a resource by the first who wants it, and told when nobody does. Who may read a resource
may subscribe to it. Knows no face: what is told goes out by whoever waits for the listener.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require, sees_server, sees_whole_server
from mcp_gateway.clock import now_s
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.bells import Bell, Patience
from mcp_gateway.gateway.primitives import READ_RESOURCE, may_ask
from mcp_gateway.listed import MAX_URI_CHARS
from mcp_gateway.shelves import TOOLS
from mcp_gateway.upstream.client import NO_CLIENT, Client
from mcp_gateway.upstream.stance import SHARED, Scope
from mcp_gateway.upstream.upstream import Upstream

EVERY_S: Final = 1.0  # to a client, of one kind or one resource; looking again faster helps nobody
TICK_S: Final = 0.1  # how late what had to wait may come, and how often one update is passed on to all
MAX_PASSED: Final = 10_000  # updates of different resources that a tick remembers
ACCEPT_S: Final = 30.0  # for a server that is starting, and then notes the subscription down
MAX_STREAMS: Final = 4_096  # listeners that are no session; sessions have bounds of their own
MAX_STREAMS_OF_ONE: Final = 2_048  # of one caller, so that others find room; a team's web page is one caller
MAX_SUBSCRIPTIONS: Final = 20_000  # each is some hundred bytes here, and something at its server
MAX_OF_ONE: Final = 4_000
MAX_DUE: Final = (
    1_000  # things to tell one listener; of more parts of a resource, the whole is said to differ
)


MAX_WHOLES: Final = 64  # of how many resources one that has changed can be a part; no path is as deep


class Changed(NamedTuple):
    """What is told: a list, or a resource by its server and native URI."""

    kind: str
    server: str = ""
    uri: str = ""


Find = Callable[[str], Upstream | None]
Links = Callable[[str], list[Upstream]]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What subscribing asks for, as far as rights are concerned."""

    server: str
    target: str
    method: str = READ_RESOURCE
    is_prompt: bool = False
    client: Client = NO_CLIENT


class Listener:
    """Somebody who is told what changes. `kinds` are the lists of interest; `server` None: those of all.

    `uris` is what it has subscribed to, by server and native URI, each as its client wrote it. `session` is
    the handle of the session that listens; empty for a stream.
    """

    __slots__ = (
        "_due",
        "_late",
        "_owner",
        "_told",
        "bell",
        "caller",
        "is_over",
        "is_stream",
        "kinds",
        "server",
        "session",
        "uris",
    )

    def __init__(
        self, owner: "Subscriptions", caller: Caller, server: str | None, session: str, is_stream: bool
    ) -> None:
        self.caller = caller
        self.server = server
        self.session = session
        self.is_stream = is_stream
        self.kinds: frozenset[str] = frozenset()
        self.uris: dict[tuple[str, str], str] = {}
        self.is_over = False
        self.bell = Bell(owner.patience)
        self._owner = owner
        self._due: dict[Changed, None] = {}
        self._late: dict[Changed, None] = {}  # as `_due`, but told less than a second ago
        self._told: dict[Changed, float] = {}  # when, within the last second

    async def news(self, patience_s: float) -> bool:
        """Waits until there is something to take or it is over; False when that took longer."""
        while not self._due and not self.is_over:
            if not await self.bell.wait(patience_s):
                return False
        return True

    def take(self) -> list[Changed]:
        """What is to be told now; for who tells it at once."""
        due, now = list(self._due), now_s()
        self._due.clear()
        for changed in due:
            self._told[changed] = now
        if due:
            self._owner.pace(self)
        return due

    def hear(self, changed: Changed, whole: Changed | None = None) -> None:
        """`whole` is said instead when there is too much to tell."""
        if whole is not None and len(self._due) + len(self._late) + len(self._told) >= MAX_DUE:
            changed = whole
        if changed in self._told:
            self._late[changed] = None
        elif changed not in self._due:
            self._due[changed] = None
            self.bell.ring()

    def mature(self, now: float) -> bool:
        """Lets what was told long enough ago be told again; answers whether there is more of it."""
        for changed in [changed for changed, at in self._told.items() if now - at >= EVERY_S]:
            del self._told[changed]
            if changed in self._late:
                del self._late[changed]
                self.hear(changed)
        return bool(self._told)

    def end(self) -> None:
        """Nothing more is told: who waits for it hears of that."""
        self.is_over = True
        self.bell.ring()

    def close(self) -> None:
        """Ends it and takes back all that it had subscribed to; nothing happens when that was done."""
        self.end()
        self._owner.forget(self)


class Subscriptions:
    """`find` gives the shared link of a server, `links` those beside it.

    The shared one decides what is accepted; the others are asked as well, since a call over one of them may
    change what no other process of the server knows of. One that is for a session or a caller alone, because
    the server keeps a state for each (`isolation`), is asked for what they want, and heard by nobody else.
    """

    def __init__(self, find: Find, links: Links) -> None:
        self._find = find
        self._links = links
        self.patience = Patience()  # of listeners
        self._listeners: dict[Listener, None] = {}
        self._streams: dict[str, int] = {}  # listeners that are streams, by caller
        self._of: dict[str, int] = {}  # subscriptions, by caller
        self._total = 0
        self._by_uri: dict[str, dict[str, dict[Listener, None]]] = {}  # by server and native URI
        self._paced: dict[Listener, None] = {}
        # What was passed on since the last tick: of which link, and whether it was said again.
        self._passed: dict[tuple[str, str, Scope], bool] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._is_over = False

    @property
    def total(self) -> int:
        """How many subscriptions to resources there are."""
        return self._total

    @property
    def listeners(self) -> int:
        """How many are told of anything."""
        return len(self._listeners)

    @property
    def streams(self) -> int:
        """How many listeners are streams of the modern era."""
        return sum(self._streams.values())

    def open(
        self, caller: Caller, server: str | None, *, session: str = "", is_stream: bool = False
    ) -> Listener:
        """A listener that hears nothing yet; to be closed.

        Raises:
            GatewayError: `busy`.
        """
        listener = Listener(self, caller, server, session, is_stream)
        if is_stream:
            of_one = self._streams.get(caller.id, 0)
            if of_one >= MAX_STREAMS_OF_ONE or self.streams >= MAX_STREAMS:
                raise GatewayError(Kind.BUSY, "Too many subscriptions are open", retry_after_s=5.0)
            self._streams[caller.id] = of_one + 1
        self._listeners[listener] = None
        if self._is_over:
            listener.end()
        return listener

    def forget(self, listener: Listener) -> None:
        """See `Listener.close`."""
        if listener not in self._listeners:
            return
        del self._listeners[listener]
        self._paced.pop(listener, None)
        if listener.is_stream:
            _take_one(self._streams, listener.caller.id)
        for server, uri in list(listener.uris):
            self.unsubscribe(listener, server, uri)

    def owners(self) -> set[str]:
        """Callers who are listening."""
        return {listener.caller.id for listener in self._listeners}

    def end_of(self, caller_id: str) -> None:
        """Ends what a caller hears who may not hear more."""
        for listener in [one for one in self._listeners if one.caller.id == caller_id]:
            listener.close()

    def end(self) -> None:
        """The gateway is stopping: whoever listens is told so, in their own way."""
        self._is_over = True
        for listener in self._listeners:
            listener.end()

    # Resources

    async def subscribe(
        self, listener: Listener, server: str, uri: str, said: str, limit_s: float = ACCEPT_S
    ) -> None:
        """Returns once the server has accepted the subscription, at once where it has before.

        `uri` is native, `said` as the client wrote it.

        Raises:
            GatewayError: `unknown`, `refused`, `invalid`, `busy`; what the server answered; `timed_out`.
        """
        upstream = self._may(listener.caller, server, uri)
        if (server, uri) not in listener.uris:
            self._count(listener.caller)
            self._by_uri.setdefault(server, {}).setdefault(uri, {})[listener] = None
        listener.uris[server, uri] = said
        try:
            accepted = upstream.subscribe(uri)
            await asyncio.wait((accepted,), timeout=limit_s)
            problem = accepted.result() if accepted.done() else _too_slow(server, limit_s)
            if problem is not None:
                raise problem
            for link in self._links(server):
                if _hears(listener, link.scope) and (server, uri) in listener.uris:  # it may be over by now
                    link.subscribing.want(uri)
        except BaseException:
            self.unsubscribe(listener, server, uri)
            raise

    def _may(self, caller: Caller, server: str, uri: str) -> Upstream:
        require(caller, Right.CALL)
        upstream = self._find(server)
        if upstream is None or not sees_server(caller, server):
            raise GatewayError(Kind.UNKNOWN, f"There is no server `{server[:200]}`")
        if not 0 < len(uri) <= MAX_URI_CHARS:
            detail = f"A URI to subscribe to has 1 to {MAX_URI_CHARS} characters"
            raise GatewayError(Kind.INVALID, detail)
        may_ask(caller, _Reading(server, uri), upstream)
        return upstream

    def _count(self, caller: Caller) -> None:
        of_one = self._of.get(caller.id, 0)
        if of_one >= MAX_OF_ONE or self._total >= MAX_SUBSCRIPTIONS:
            detail = f"You have subscribed to {of_one} resources, and there is no room for more"
            raise GatewayError(Kind.BUSY, detail, retry_after_s=60.0)
        self._of[caller.id] = of_one + 1
        self._total += 1

    def unsubscribe(self, listener: Listener, server: str, uri: str) -> None:
        """Takes it back; nothing happens when there is no such subscription."""
        if listener.uris.pop((server, uri), None) is None:
            return
        _take_one(self._of, listener.caller.id)
        self._total -= 1
        listeners = self._by_uri[server][uri]
        del listeners[listener]
        if not listeners:
            del self._by_uri[server][uri]
            if not self._by_uri[server]:
                del self._by_uri[server]
            upstream = self._find(server)
            for link in [] if upstream is None else [upstream, *self._links(server)]:
                link.subscribing.unwant(uri)

    def made(self, link: Upstream) -> None:
        """A link beside the shared one of a server has been made."""
        for uri, listeners in self._by_uri.get(link.id, {}).items():
            if any(_hears(listener, link.scope) for listener in listeners):
                link.subscribing.want(uri)

    def removed(self, server: str) -> None:
        """The server is not configured any more: what was subscribed to there is gone."""
        for uri, listeners in list(self._by_uri.get(server, {}).items()):
            for listener in list(listeners):
                self.unsubscribe(listener, server, uri)

    # What changes

    def updated(self, upstream: Upstream, uri: str) -> None:
        """A server says that a resource has changed, which may be a part of one that was subscribed to."""
        if len(uri) > MAX_URI_CHARS:
            return
        said = upstream.id, uri, upstream.scope
        if said in self._passed:
            self._passed[said] = True
        elif not self._pass_on(*said):
            upstream.requests.counts["stray updates"] += 1
        elif len(self._passed) < MAX_PASSED:
            self._passed[said] = False
            self._keep_ticking()

    def _pass_on(self, server: str, uri: str, scope: Scope) -> bool:
        table, heard = self._by_uri.get(server, {}), False
        changed = Changed("", server, uri)
        for whole in (uri, *islice(_wholes(uri), MAX_WHOLES)):
            for listener in table.get(whole, ()):
                heard = True
                if sees_whole_server(listener.caller, server) and _hears(listener, scope):
                    listener.hear(changed, None if whole == uri else Changed("", server, whole))
        return heard

    def announced(self, upstream: Upstream, kind: str) -> None:
        """A server says that one of its lists has changed."""
        self.lists_changed({kind: frozenset({upstream.id})}, upstream.scope)

    def lists_changed(self, changed: Mapping[str, frozenset[str]], scope: Scope = SHARED) -> None:
        """Which lists have, by kind, and whose part of each it was; over which link that was heard."""
        for listener in self._listeners:
            if listener.kinds and not _hears(listener, scope):
                continue
            for kind in listener.kinds & changed.keys():
                if any(_concerns(listener, kind, server) for server in changed[kind]):
                    listener.hear(Changed(kind))

    # The clock: one timer for all

    def pace(self, listener: Listener) -> None:
        """It was told something: the same is not told again for a while."""
        self._paced[listener] = None
        self._keep_ticking()

    def _keep_ticking(self) -> None:
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = now_s()
        self._passed, passed = {}, self._passed
        for said, again in passed.items():
            if again and self._pass_on(*said):
                self._passed[said] = False
        self._paced = {listener: None for listener in self._paced if listener.mature(now)}
        if self._paced or self._passed:
            self._keep_ticking()


def _hears(listener: Listener, scope: Scope) -> bool:
    """Whether what is heard over a link of this scope may be for the listener."""
    if scope.kind == "session":
        return listener.session == scope.of
    return scope.kind != "caller" or listener.caller.id == scope.of


def _concerns(listener: Listener, kind: str, server: str) -> bool:
    if listener.server not in (None, server):
        return False
    sees = sees_server if kind == TOOLS else sees_whole_server
    return sees(listener.caller, server)


def _wholes(uri: str) -> Iterator[str]:
    """URIs of what this one may be a part of: cut at a fragment, a query, and each slash, from the right."""
    end = len(uri)
    start = uri.find("://")
    start = 0 if start < 0 else start + 3
    for mark in ("#", "?"):
        at = uri.find(mark, start, end)
        if at >= 0:
            end = at
            yield uri[:end]
    while (at := uri.rfind("/", start, end)) >= 0:
        if at + 1 < end:
            yield uri[: at + 1]
        end = at
        yield uri[:end]


def _take_one(counts: dict[str, int], of: str) -> None:
    counts[of] -= 1
    if not counts[of]:
        del counts[of]


def _too_slow(server: str, limit_s: float) -> GatewayError:
    detail = f"The server `{server}` did not accept the subscription within {limit_s:g} s"
    return GatewayError(Kind.TIMED_OUT, detail, server=server)
