"""Links beside the shared ones: who needs one, which is theirs, and when it goes.

A server on a shared link does not say for whose call it asks something, and keeps one state for everybody.
So a client that can be asked gets a link of its session while its call runs (a lease), and `isolation` gives
each session, or each caller, one of its own. A client of the modern era gets a link of that era where the
shared one is not. All of them are bounded, go when nobody has called for a while, and at once with
their session. Whoever has left never meets another behind it: no lease passes from session to session.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from mcp_gateway.access.caller import Caller
from mcp_gateway.catalog import Tool
from mcp_gateway.clock import now_s
from mcp_gateway.config.model import ServerConfig
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.primitives import COMPLETE
from mcp_gateway.listed import MAX_ENTRIES
from mcp_gateway.upstream.client import NO_ASKS, Client
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.upstream.lifecycle import State
from mcp_gateway.upstream.stance import Scope, Stance
from mcp_gateway.upstream.upstream import Upstream
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.revisions import LATEST_HANDSHAKE, Era

# A process takes 30 to 100 MB; beyond this a call is told that the server is busy.
MAX_OF_SERVER: Final = 32
MAX_IN_ALL: Final = 128
MAX_OF_CALLER: Final = 64  # in all, and half of a server's: others find room
LEASES_OF_SESSION: Final = 4  # at one server: calls of one client that run at a time; more of them wait
MAX_WIDER: Final = MAX_ENTRIES  # tools of a server that were listed to clients that can be asked
LEASE_IDLE_S: Final = 120.0  # the pause between two calls of a model; a start costs up to a second
MODERN_IDLE_S: Final = 600.0
ISOLATED_IDLE_S: Final = 1_800.0  # as long as an idle session: a browser stays open while its person reads
_CALLER: Final = "caller:"  # of whom a lease is that belongs to no session
_GOING: Final = frozenset({State.WAITING, State.IDLE, State.OFF, State.FAILED, State.NEEDS_LOGIN})

Make = Callable[[Upstream, Scope, Stance, float], Upstream]
"""Makes and starts a link beside the shared one of its server; the number is its idle time in seconds."""


class Links:
    """`see_off` ends a link, and says why and whether its calls may finish; `moved` is told of a call that
    goes over another link than the one it waited for.
    """

    def __init__(
        self,
        make: Make,
        see_off: Callable[[Upstream, str, bool], None],
        moved: Callable[[Exchange, Upstream], None],
    ) -> None:
        self._make = make
        self._see_off = see_off
        self._moved = moved
        self._links: dict[str, dict[Scope, Upstream]] = {}
        self._looked: set[str] = set()
        self._wider: dict[str, dict[str, Tool]] = {}
        self._leases = 0  # given so far; each has a number of its own
        self._owners: dict[Upstream, str] = {}  # callers by the links that were opened for them
        self._past: Counter[str] = Counter()  # calls over links that have gone, by server

    def of(self, server: str) -> list[Upstream]:
        return list(self._links.get(server, {}).values())

    def total(self, server: str) -> int:
        """How many calls went over links beside the shared one."""
        return self._past[server] + sum(link.requests.total for link in self.of(server))

    def wider(self, server: str) -> dict[str, Tool]:
        """Tools by name that the server has listed to clients that can be asked."""
        return self._wider.get(server, {})

    # Which link

    def for_call(self, shared: Upstream, caller: Caller, client: Client, method: str) -> Upstream:
        """The link that a call goes over; it may still be starting.

        Raises:
            GatewayError: `busy` when there are too many, `unavailable` when the server is not coming.
        """
        isolation = shared.config.isolation
        if isolation == "shared":
            return self._for_shared(shared, caller, client, method)
        if isolation == "session" and client.session:
            scope = Scope("session", client.session)
        else:  # whoever has no session goes on as the same caller
            scope = Scope("caller", caller.id)
        found = self._links.get(shared.id, {}).get(scope)
        if found is not None:  # it has a life of its own, whatever became of the shared one
            return found
        shared.check_coming()
        knows = None if shared.opened is None else shared.opened.eras
        is_modern = client.era is Era.MODERN and knows is not None and Era.MODERN in knows
        stance = Stance(Era.MODERN) if is_modern else _stance(client)
        return self._new(shared, scope, stance, shared.config.idle_stop_s or ISOLATED_IDLE_S, caller.id)

    def _for_shared(self, shared: Upstream, caller: Caller, client: Client, method: str) -> Upstream:
        opened = shared.opened
        if client.era is Era.MODERN and opened is not None and Era.MODERN in opened.eras:
            if opened.era is Era.MODERN:
                return shared
            shared.check_coming()
            scope = Scope("modern")
            found = self._links.get(shared.id, {}).get(scope)
            return found or self._new(shared, scope, Stance(Era.MODERN), MODERN_IDLE_S)
        if client.capabilities == NO_ASKS or method == COMPLETE:
            return shared
        if opened is not None and Era.HANDSHAKE not in opened.eras:
            return shared  # it does not ask in the middle of a call
        shared.check_coming()
        return self._lease(shared, caller, client)

    def _lease(self, shared: Upstream, caller: Caller, client: Client) -> Upstream:
        # Who has no session shares leases with others of the same caller that declare the same.
        of, stance = client.session or f"{_CALLER}{caller.id}", _stance(client)
        pool = [
            link
            for scope, link in self._links.get(shared.id, {}).items()
            if scope.kind == "lease" and scope.of == of and link.stance == stance and not _is_for_once(link)
        ]
        # The one that was used last: what the server remembers of the client, it finds again there.
        free = max((one for one in pool if _is_free(one)), key=lambda one: one.requests.used_at, default=None)
        if free is not None:
            return free
        if len(pool) < (LEASES_OF_SESSION if client.session else MAX_OF_SERVER):
            self._leases += 1
            try:
                return self._new(shared, Scope("lease", of, self._leases), stance, LEASE_IDLE_S, caller.id)
            except GatewayError:
                if not pool:
                    raise
        return min(pool, key=lambda one: one.requests.queued)

    def look(self, shared: Upstream, client: Client) -> None:
        """Sees once what the server lists for a client that can be asked; in the background, it may fail."""
        opened = shared.opened
        if client.capabilities == NO_ASKS or shared.id in self._looked:
            return
        is_ready = shared.life.state is State.READY
        if is_ready and opened is not None and Era.HANDSHAKE in opened.eras and self._has_room(shared.id):
            self._looked.add(shared.id)
            self._new(shared, Scope("look"), _stance(client), LEASE_IDLE_S)

    # Room

    def _new(
        self, shared: Upstream, scope: Scope, stance: Stance, idle_s: float, owner: str = ""
    ) -> Upstream:
        # The one of the modern era is everybody's, so nobody's links may keep it from being opened.
        has_share = not owner or self._has_share(shared.id, owner) or self._make_room(shared.id, owner)
        has_room = scope.kind == "modern" or self._has_room(shared.id) or self._make_room(shared.id)
        if not (has_share and has_room):
            detail = (
                f"The server `{shared.id}` would have to be started once more for this session or caller, and"
                " as many run already as may"
            )
            raise GatewayError(Kind.BUSY, detail, server=shared.id, retry_after_s=5.0)
        link = self._make(shared, scope, stance, idle_s)
        self._links.setdefault(shared.id, {})[scope] = link
        if owner:
            self._owners[link] = owner
        return link

    def _has_room(self, server: str) -> bool:
        in_all = sum(map(len, self._links.values()))
        return in_all < MAX_IN_ALL and len(self._links.get(server, {})) < MAX_OF_SERVER

    def _has_share(self, server: str, owner: str) -> bool:
        in_all = sum(caller_id == owner for caller_id in self._owners.values())
        return in_all < MAX_OF_CALLER and self._share(server, owner) < MAX_OF_SERVER // 2

    def _share(self, server: str, owner: str) -> int:
        return sum(link.id == server and caller_id == owner for link, caller_id in self._owners.items())

    def _make_room(self, server: str, owner: str | None = None) -> bool:
        """Ends the lease that was not used for longest, of this caller or of anybody.

        One that keeps a state is nobody's to take.
        """
        if owner is None:
            is_full = len(self._links.get(server, {})) >= MAX_OF_SERVER
        else:
            is_full = self._share(server, owner) >= MAX_OF_SERVER // 2
        free = [
            one
            for one in (self.of(server) if is_full else self._all())
            if one.scope.kind in ("lease", "look")
            and _is_free(one)
            and owner in (None, self._owners.get(one))
        ]
        if not free:
            return False
        self._drop(min(free, key=lambda one: one.requests.used_at), "another session needs the room")
        return True

    def _all(self) -> Iterator[Upstream]:
        for links in self._links.values():
            yield from links.values()

    # News

    def changed(self, link: Upstream) -> bool:
        """Heard whenever the state or the tools of one of these have changed.

        Answers whether more tools of its server are known now.
        """
        if self._links.get(link.id, {}).get(link.scope) is not link:
            return False
        is_wider = False
        if link.life.state is State.READY and link.stance.may_be_asked:
            self._looked.add(link.id)
            before = self.wider(link.id)
            after = before | {tool.name: tool for tool in link.tools}
            if len(after) > MAX_WIDER:  # of one that renames them for each client, the newest
                after = dict(list(after.items())[-MAX_WIDER:])
            if is_wider := after != before:
                self._wider[link.id] = after
            if link.scope.kind == "look":
                self._drop(link, "it was only looked at")
        elif link.life.state in _GOING and _is_free(link):
            self._drop(link, link.life.reason or "it is not needed any more")
        return is_wider

    def freed(self, link: Upstream) -> None:
        """A call over it has ended; one that waits for another lease of the session can go over this one."""
        is_ours = self._links.get(link.id, {}).get(link.scope) is link
        if link.scope.kind != "lease" or not (is_ours and _is_free(link)):
            return
        if _is_for_once(link):
            self._drop(link, "its call is over")
            return
        if not link.requests.can_send:
            return  # one that is leaving or was lost is no help to those that wait
        others = (
            one
            for one in self.of(link.id)
            if one.scope.of == link.scope.of and one.stance == link.stance and one is not link
        )
        fullest = max(others, key=lambda one: one.requests.queued, default=None)
        if fullest is not None and (exchange := fullest.requests.take_waiting()) is not None:
            self._moved(exchange, link)
            try:
                link.submit(exchange)
            except GatewayError as problem:
                exchange.end(None, problem)

    def tell(self, session: str, method: str, params: Params, server: str | None) -> None:
        """A notification of a client, for all that was opened for its session, or of one server only.

        A server that has a link for the session alone hears everything; a lease, of changed roots.
        """
        for link in list(self._all()):
            is_meant = link.scope.kind == "session" or (
                link.scope.kind == "lease" and method == "notifications/roots/list_changed"
            )
            if is_meant and link.scope.of == session and server in (None, link.id):
                link.requests.announce(method, params)

    # The end

    def end_of(self, session: str) -> None:
        """The session is over, and with it all that was opened for it."""
        for link in list(self._all()):
            if link.scope.of == session and link.scope.kind in ("lease", "session"):
                self._drop(link, "its session has ended")

    def end_of_caller(self, caller_id: str) -> None:
        """A caller may not go on."""
        for link in [link for link, owner in self._owners.items() if owner == caller_id]:
            self._drop(link, "its caller may not go on")

    def end_all(self, server: str, why: str, *, may_finish: bool) -> None:
        """The server is switched off, restarted, removed, or configured as another one."""
        for link in self.of(server):
            self._drop(link, why, may_finish=may_finish)
        self._looked.discard(server)
        self._wider.pop(server, None)

    def reconfigure(self, config: ServerConfig) -> None:
        """A configuration of the same processes and connections."""
        for link in self.of(config.id):
            if link.scope.kind in ("session", "caller") and link.config.isolation != config.isolation:
                self._drop(link, "its configuration was changed")
            else:
                link.reconfigure(config)

    def _drop(self, link: Upstream, why: str, *, may_finish: bool = True) -> None:
        links = self._links[link.id]
        del links[link.scope]
        if not links:
            del self._links[link.id]
        self._owners.pop(link, None)
        self._past[link.id] += link.requests.total
        self._see_off(link, why, may_finish)

    # Views

    def view(self, server: str) -> list[dict[str, Any]]:
        """What runs beside the shared link, for its operators. Times are seconds."""
        now = now_s()
        return [
            {
                "for": link.scope.kind,
                "of": link.scope.of or None,
                "state": link.life.state.value,
                "reason": link.reason or None,
                "protocolRevision": None if link.opened is None else link.opened.revision,
                "pid": link.pid,
                "calls": link.requests.in_flight + link.requests.queued,
                "idle": round(max(0.0, now - max(link.requests.used_at, link.life.since)), 3)
                if _is_free(link)
                else None,
            }
            for link in self.of(server)
        ]


def _is_free(link: Upstream) -> bool:
    return not link.requests.in_flight and not link.requests.queued


def _is_for_once(link: Upstream) -> bool:
    """Whether its next call could be another client's, and the server keeps the roots of the one before."""
    return link.scope.of.startswith(_CALLER) and b'"roots"' in link.stance.capabilities


def _stance(client: Client) -> Stance:
    revision = LATEST_HANDSHAKE if client.era is Era.MODERN else client.revision
    return Stance(None, revision, client.capabilities)
