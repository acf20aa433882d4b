"""Keeps one server told which changes its link is to hear of.

In the handshake era a server tells by itself that its lists have changed, and is asked for each resource,
once; in the modern era one request that stays open names the lists and all resources, and takes the place of
the one before when that set changes. Both are said again after the link was opened anew, and as changes may
have been missed by then, every resource counts as changed. Knows URIs, and nothing of who wants to hear.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

from mcp_gateway.clock import now_s
from mcp_gateway.errors import METHOD_NOT_FOUND, CallCancelled, GatewayError, Kind, UpstreamAnswered
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.upstream.requests import Requests
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.revisions import META_PREFIX, Era

ACCEPT_S: Final = 10.0  # a server only notes a subscription down; one that takes longer will not answer
# A link that was opened for a call hears of what that call changes, if it is accepted within this time.
CAUGHT_UP_S: Final = 1.0
MAX_AT_ONCE: Final = 16  # subscriptions on their way to one server; a restart may have thousands to say again
# A stream that ends is opened again after so long, as the one of a remote server's own in the handshake era.
RELISTEN_S: Final = 1.0
RELISTEN_MAX_S: Final = 60.0
LASTED_S: Final = 30.0
LISTEN: Final = "subscriptions/listen"
SUBSCRIPTION: Final = META_PREFIX + "subscriptionId"
_FILTER_OF: Final = {
    "tools": "toolsListChanged",
    "resources": "resourcesListChanged",
    "prompts": "promptsListChanged",
}

Accepted = asyncio.Future[GatewayError | None]
"""Done with None once the server has accepted a subscription, else with why it has not."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a server said it tells of: these lists, and changes of single resources."""

    lists: frozenset[str] = frozenset()
    subscribe: bool = False


class _Said(msgspec.Struct):
    listChanged: bool | None = None
    subscribe: bool | None = None


def promise_of(capabilities: Mapping[str, Raw]) -> Promise:
    """Of capabilities as a server sent them; what cannot be read promises nothing."""
    said = {}
    for kind in _FILTER_OF.keys() & capabilities.keys():
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            said[kind] = msgspec.json.decode(capabilities[kind], type=_Said)
    lists = frozenset(kind for kind, one in said.items() if one.listChanged)
    return Promise(lists, "resources" in said and bool(said["resources"].subscribe))


class _Updated(msgspec.Struct):
    uri: str


class _Honoured(msgspec.Struct):
    resourceSubscriptions: list[str] | None = None


class _Meta(msgspec.Struct):
    subscription: int | str | None = msgspec.field(name=SUBSCRIPTION, default=None)


class _Acknowledged(msgspec.Struct):
    notifications: _Honoured = msgspec.field(default_factory=_Honoured)
    meta: _Meta = msgspec.field(name="_meta", default_factory=_Meta)


class _Cancelled(msgspec.Struct):
    requestId: int | str


class _Stream:
    """One request that stays open. `honoured` is None until the server has acknowledged it."""

    def __init__(self, exchange: Exchange, uris: frozenset[str]) -> None:
        self.exchange = exchange
        self.uris = uris
        self.honoured: frozenset[str] | None = None
        self.opened_at = now_s()

    def is_meant(self, request_id: int | str | None) -> bool:
        return not self.exchange.ended and request_id in (self.exchange.id, str(self.exchange.id))


class Subscribing:
    """Of one server. `updated` is told the URI of a resource that has changed, `stale` which lists may."""

    def __init__(
        self,
        server: str,
        requests: Requests,
        updated: Callable[[str], None],
        stale: Callable[[frozenset[str]], None],
        remark: Callable[[str], None],
    ) -> None:
        self._server = server
        self._requests = requests
        self._updated = updated
        self._stale = stale
        self._remark = remark
        self._wanted: dict[str, Accepted] = {}
        self._told: set[str] = set()  # what the server was told over this link
        self._moved: set[str] = set()  # what is yet to be looked at
        self._is_running = False
        self._telling: set[str] = set()
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._streams: list[_Stream] = []  # the one that is heard, and the one that is to take its place
        self._bell = asyncio.Event()
        requests.hears["notifications/resources/updated"] = self._hear_update
        requests.hears["notifications/subscriptions/acknowledged"] = self._hear_acknowledgement
        requests.hears["notifications/cancelled"] = self._hear_end

    # What is wanted

    @property
    def wanted(self) -> int:
        """How many resources somebody wants to hear of."""
        return len(self._wanted)

    def want(self, uri: str) -> Accepted:
        """Somebody wants to hear of this resource; nothing is sent when it is one already."""
        accepted = self._wanted.get(uri)
        if accepted is None:
            accepted = self._wanted[uri] = self._requests.loop.create_future()
            self._look_at(uri)
        return accepted

    def unwant(self, uri: str) -> None:
        """Nobody wants to any more; the server is told in its time."""
        accepted = self._wanted.pop(uri, None)
        if accepted is not None:
            _settle(accepted, GatewayError(Kind.LOST, "The subscription was taken back", server=self._server))
            self._look_at(uri)

    def take_over(self, before: "Subscribing") -> None:
        """What was wanted of a link whose place this one takes."""
        for uri, accepted in before._wanted.items():
            self._wanted.setdefault(uri, accepted)
            self._look_at(uri)
        before._wanted = {}

    async def caught_up(self) -> None:
        """Waits until the server has accepted what is wanted, but not for long: calls wait for this."""
        waiting = [accepted for accepted in self._wanted.values() if not accepted.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=CAUGHT_UP_S)

    def give_up(self, why: Callable[[], GatewayError]) -> None:
        """The server is not coming: who waits for it is told. What was accepted before stays wanted."""
        for uri, accepted in list(self._wanted.items()):
            if not accepted.done():
                self._refuse(uri, why())

    def _look_at(self, uri: str) -> None:
        if self._is_running:
            self._moved.add(uri)
            self._bell.set()

    def _refuse(self, uri: str, problem: GatewayError) -> None:
        """Who asked for it first is told why not. One that was accepted before may be again some day."""
        accepted = self._wanted.get(uri)
        if accepted is None:
            return
        if accepted.done():
            self._remark(f"a subscription was not accepted again: {problem.detail}")
        else:
            del self._wanted[uri]
            _settle(accepted, problem)

    def _accept(self, uri: str, is_again: bool = False) -> None:
        accepted = self._wanted.get(uri)
        if accepted is not None and not accepted.done():
            _settle(accepted, None)
        elif accepted is not None and is_again:
            self._updated(uri)

    # One link

    async def run(self, era: Era, promise: Promise) -> None:
        """Keeps the server told over the link of the moment, until it is cancelled."""
        self._told.clear()
        self._telling.clear()
        self._streams.clear()
        self._moved = set(self._wanted)
        self._is_running = True
        try:
            if era is Era.MODERN:
                await self._listen(promise)
            else:
                await self._tell_each(promise)
        finally:
            self._is_running = False

    def renew(self) -> None:
        """The server has forgotten what it was told over this link."""
        self._told.clear()
        for uri in self._wanted:
            self._look_at(uri)

    def _refuse_all(self) -> None:
        """The server has never said that it tells of resources."""
        for uri in list(self._moved):
            detail = f"The server `{self._server}` does not tell of changes of its resources"
            self._refuse(uri, GatewayError(Kind.UNKNOWN, detail, rpc_code=METHOD_NOT_FOUND))
        self._moved.clear()

    @property
    def _is_lost(self) -> bool:
        return self._requests.link is None or self._requests.link.lost_because is not None

    # The handshake era

    async def _tell_each(self, promise: Promise) -> None:
        async with asyncio.TaskGroup() as telling:
            while True:
                self._bell.clear()
                if not promise.subscribe:
                    self._refuse_all()
                for uri in self._moved - self._telling:
                    self._telling.add(uri)
                    telling.create_task(self._align(uri))
                self._moved -= self._telling
                await self._bell.wait()

    async def _align(self, uri: str) -> None:
        """One at a time for each resource, so that the server hears in order what is wanted of it."""
        try:
            while not self._is_lost and (uri in self._wanted) is not (uri in self._told):
                async with self._places:
                    if uri in self._wanted:
                        await self._subscribe(uri)
                    else:
                        await self._unsubscribe(uri)
        finally:
            self._telling.discard(uri)

    async def _subscribe(self, uri: str) -> None:
        accepted = self._wanted.get(uri)
        if accepted is None:
            return
        self._told.add(uri)
        is_again = accepted.done()
        try:
            await self._requests.ask("resources/subscribe", {"uri": uri}, ACCEPT_S)
        except GatewayError as problem:
            if not self._is_lost:  # else it is said again over the next link
                self._refuse(uri, problem)
                if uri not in self._wanted:
                    self._told.discard(uri)
        else:
            self._accept(uri, is_again)

    async def _unsubscribe(self, uri: str) -> None:
        self._told.discard(uri)
        with contextlib.suppress(GatewayError):  # what it tells all the same is for nobody
            await self._requests.ask("resources/unsubscribe", {"uri": uri}, ACCEPT_S)

    # The modern era

    async def _listen(self, promise: Promise) -> None:
        """Keeps one stream open that names what is wanted; a new one takes its place before it is ended."""
        live: _Stream | None = None
        fresh: _Stream | None = None
        lists, pause_s, again_at, was_cut = promise.lists, RELISTEN_S, 0.0, False
        while not self._is_lost:
            self._bell.clear()
            now = now_s()
            if not promise.subscribe:
                self._refuse_all()
            self._moved.clear()
            if fresh is not None and (problem := self._failure(fresh, now)) is not None:
                fresh, again_at, pause_s = None, now + pause_s, min(2 * pause_s, RELISTEN_MAX_S)
                if isinstance(problem, UpstreamAnswered) and problem.rpc_code == METHOD_NOT_FOUND:
                    again_at, lists = float("inf"), frozenset()
                    self._remark("it promised to tell of changes, and knows no `subscriptions/listen`")
            elif fresh is not None and fresh.honoured is not None:
                self._end(live)
                live, fresh = fresh, None
                self._streams = [live]
                self._honour(live)
                if was_cut:
                    self._stale(lists)
                was_cut = False
            if live is not None and live.exchange.ended:
                if now - live.opened_at >= LASTED_S:
                    pause_s = RELISTEN_S
                live, again_at, pause_s = None, now + pause_s, min(2 * pause_s, RELISTEN_MAX_S)
                was_cut = True
                self._told.clear()
            uris = frozenset(self._wanted) if promise.subscribe else frozenset()
            is_told = live is not None and live.uris == uris
            if not (uris or lists):
                self._end(live)
                live = None
            elif fresh is None and not is_told and (now >= again_at or self._has_new(uris)):
                fresh = self._open(lists, uris)
            if fresh is not None:
                due = fresh.opened_at + ACCEPT_S
            else:
                due = again_at if (uris or lists) and not is_told else float("inf")
            await self._rung(due - now)

    def _has_new(self, uris: frozenset[str]) -> bool:
        """Whether somebody waits for one of them: that is worth an attempt at once."""
        return any(not self._wanted[uri].done() for uri in uris)

    def _open(self, lists: frozenset[str], uris: frozenset[str]) -> _Stream | None:
        wish: Params = {_FILTER_OF[kind]: True for kind in sorted(lists)}
        if uris:
            wish["resourceSubscriptions"] = sorted(uris)
        try:
            exchange = self._requests.stand(LISTEN, {"notifications": wish}, lambda _: self._bell.set())
        except GatewayError:
            return None  # the link is gone
        stream = _Stream(exchange, uris)
        self._streams.append(stream)
        return stream

    def _failure(self, fresh: _Stream, now: float) -> GatewayError | None:
        """Why a new stream comes to nothing; who waits for what it named is told."""
        if fresh.exchange.ended:
            error = fresh.exchange.error
            said = f"The server `{self._server}` ended the subscription at once"
            problem = error if isinstance(error, GatewayError) else GatewayError(Kind.LOST, said)
        elif fresh.honoured is None and now >= fresh.opened_at + ACCEPT_S:
            said = f"The server `{self._server}` did not accept the subscription within {ACCEPT_S:g} s"
            problem = GatewayError(Kind.TIMED_OUT, said, server=self._server)
            self._end(fresh)
        else:
            return None
        self._streams = [stream for stream in self._streams if stream is not fresh]
        for uri in fresh.uris:
            if uri in self._wanted and not self._wanted[uri].done() and not self._is_lost:
                self._refuse(uri, problem)
        return problem

    def _honour(self, live: _Stream) -> None:
        for uri in live.uris:
            if uri in (live.honoured or ()):
                self._accept(uri, is_again=uri not in self._told)
                self._told.add(uri)
            else:
                said = f"The server `{self._server}` does not tell of changes of this resource"
                self._refuse(uri, GatewayError(Kind.UNKNOWN, said, server=self._server))

    def _end(self, stream: _Stream | None) -> None:
        if stream is not None:
            why = CallCancelled("another has taken its place")
            self._requests.abandon(stream.exchange, why, "no longer needed")

    async def _rung(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if within_s == float("inf") else max(0.0, within_s)):
                await self._bell.wait()

    # What the server says

    def _hear_update(self, params: Raw) -> bool:
        if not self._wanted:
            return False  # a storm nobody asked for costs as little as can be
        try:
            uri = msgspec.json.decode(params, type=_Updated).uri
        except (msgspec.MsgspecError, RecursionError):
            return False
        self._updated(uri)
        return True

    def _hear_acknowledgement(self, params: Raw) -> bool:
        try:
            said = msgspec.json.decode(params, type=_Acknowledged)
        except (msgspec.MsgspecError, RecursionError):
            return False
        for stream in self._streams:
            if stream.is_meant(said.meta.subscription):
                if stream.honoured is None:
                    stream.honoured = frozenset(said.notifications.resourceSubscriptions or ())
                    self._bell.set()
                return True
        return False

    def _hear_end(self, params: Raw) -> bool:
        """Over stdio a server that ends a subscription may say so in place of an answer."""
        if not self._streams:
            return False
        try:
            request_id = msgspec.json.decode(params, type=_Cancelled).requestId
        except (msgspec.MsgspecError, RecursionError):
            return False
        for stream in self._streams:
            if stream.is_meant(request_id):
                self._requests.abandon(stream.exchange, CallCancelled("the server ended it"), "as you said")
                return True
        return False


def _settle(accepted: Accepted, outcome: GatewayError | None) -> None:
    if not accepted.done():
        accepted.set_result(outcome)
