"""Requests to one server: ids and progress tokens of our own, the queue, deadlines, answers.

All callers' calls share one link and are told apart here. Nothing in this file waits: `submit` and
the link's callbacks return at once, deadlines are looked at by one timer. Knows no state machine; the
owner in `upstream.py` says when calls may be sent (`open`) and what to say when they may not.
"""

import asyncio
import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeGuard

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_gateway.access.limits import FairQueue
from mcp_gateway.clock import now_s
from mcp_gateway.errors import METHOD_NOT_FOUND, CallCancelled, GatewayError, Kind, UpstreamAnswered
from mcp_gateway.upstream.asks import ASKED_BY, LIST_ROOTS, MAX_OPEN, Ask, OverLink
from mcp_gateway.upstream.exchange import Exchange, Note
from mcp_gateway.upstream.forwarded import secrets_of
from mcp_gateway.upstream.framing import Spooled
from mcp_gateway.upstream.lifecycle import Ended, State
from mcp_gateway.upstream.link import Failure, Link
from mcp_gateway.upstream.logring import OVERLAP_BYTES, LogRing
from mcp_gateway.upstream.rounds import MAX_ROUNDS, Collecting
from mcp_gateway.wire.bridge import ANSWERS, STATE, read_round
from mcp_gateway.wire.envelope import (
    Head,
    Params,
    RequestId,
    encode,
    error_response,
    notification,
    read_error,
    read_members,
    response,
)
from mcp_gateway.wire.revisions import META_CAPABILITIES, META_LOG_LEVEL, META_PREFIX, Era

# Deadlines are looked at this often: no timer per call. Also how soon a face hears `still`.
TICK_S: Final = 0.25
QUEUE_RETRY_S: Final = 1.0
GARBAGE_BYTES: Final = 512  # of a line that is no message: what is shown, and where its id is looked for
MAX_ABANDONED: Final = 4_096
MAX_MESSAGE_CHARS: Final = 500  # of a server's error message, where we repeat it in a sentence of ours

# The id of an answer that cannot be read: a member of the envelope, first or last, as SDKs write it.
_ID_FIRST: Final = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,15})\s*,')
_ID_LAST: Final = re.compile(rb',\s*"id"\s*:\s*(\d{1,15})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_STILL: Final = Note("still")
_NULL: Final = Raw(b"null")
_PLAIN_META: Final = b'{"progressToken":%d}'
_TASK: Final = "task"  # of the handshake era; tasks of the two have nothing in common


class Owner(Protocol):
    """Who is told what the answers do not tell."""

    def check_coming(self) -> None:
        """Raises `unavailable` unless calls may wait for the server."""

    def heard(self, method: str) -> bool:
        """A notification that belongs to no request; answers whether it meant anything."""

    def renewed(self) -> None:
        """The server has forgotten what it was told over this link."""

    def call_timed_out(self) -> None:
        """A call that was sent has met its deadline."""

    def lost(self, ended: Ended) -> None:
        """The link broke; every request on it has ended."""


class _Progress(msgspec.Struct):
    progressToken: int | str
    progress: float = 0.0


def _is_id(value: int | str | UnsetType | None) -> TypeGuard[RequestId]:
    return isinstance(value, int | str)


class _Cancelled(msgspec.Struct):
    requestId: int | str


_FAILED_HOW: Final = {
    Kind.LOST: "was lost during the call",
    Kind.BUSY: "has too much to do",
    Kind.UNAVAILABLE: "cannot take calls now",
}


class RequestFailed(GatewayError):
    """A request got no answer; `reason` is the link's own word for it."""

    def __init__(self, server: str, failure: Failure) -> None:
        how = _FAILED_HOW.get(failure.kind, "could not be asked")
        super().__init__(
            failure.kind,
            f"The server `{server}` {how}: {failure.reason}",
            server=server,
            retry_after_s=failure.retry_after_s,
        )
        self.reason = failure.reason


class Requests:
    """The requests of one server; `link` is the one of the moment, put in and taken out by the owner."""

    def __init__(
        self,
        server: str,
        concurrency: int,
        queue: int,
        max_result_bytes: int,
        logs: LogRing,
        owner: Owner,
        *,
        may_be_asked: bool = False,
        is_of_one_session: bool = False,
    ) -> None:
        self._server = server
        self._may_be_asked = may_be_asked
        self._is_of_one_session = is_of_one_session
        self._concurrency = concurrency
        self._logs = logs
        self._owner = owner
        self.loop = asyncio.get_running_loop()
        self.link: Link | None = None
        self.open = False
        self.heard_at = 0.0
        self.used_at = 0.0  # when a caller's call was last sent or ended
        self.total = 0
        self.in_flight = 0
        self.counts: Counter[str] = Counter()
        self._max_result_bytes = max_result_bytes
        self._ids = itertools.count(1)
        self._pending: dict[int, Exchange] = {}
        self._standing: dict[int, Exchange] = {}  # requests of our own that stay open: see `stand`
        # Who is told of a notification before anybody else; answers whether it was meant for them.
        self.hears: dict[str, Callable[[Raw], bool]] = {}
        self._queue: FairQueue[Exchange] = FairQueue(queue)
        self._ticking: asyncio.TimerHandle | None = None
        self._abandoned: set[int] = set()  # of requests about which answers or log messages may still come
        self._meta = _PLAIN_META
        self._era_meta: dict[str, Any] = {}
        self._has_logging = False
        self._aside: set[Exchange] = set()  # calls that wait for answers of their client
        self._early: list[Ask] = []  # questions that came while there was no call

    @property
    def queued(self) -> int:
        return len(self._queue)

    def speak(self, era_meta: dict[str, Any], *, has_logging: bool = False) -> None:
        """From now on every request carries these members of `_meta`; the modern era asks for that.

        `has_logging`: there a request says how much its caller wants to hear.
        """
        self._era_meta = era_meta
        self._has_logging = has_logging
        if era_meta:
            rest = encode(era_meta)[1:].replace(b"%", b"%%")
            self._meta = b'{"progressToken":%d,' + rest
        else:
            self._meta = _PLAIN_META

    # Calls

    def submit(self, exchange: Exchange) -> None:
        """Sends a call now, or queues it until the server is ready and has room.

        Raises:
            GatewayError: `unavailable` or `busy`; nothing was sent.
        """
        self.total += 1
        self._submit(exchange)

    def _submit(self, exchange: Exchange) -> None:
        if self.can_send and self.in_flight < self._concurrency:
            self._send(exchange)
            return
        self._owner.check_coming()
        if self._queue.is_full:
            raise self._busy(f"{self.in_flight} calls running and {len(self._queue)} waiting")
        self._queue.put(exchange)
        self._keep_ticking()

    def abandon(self, exchange: Exchange, error: Exception, reason: str) -> None:
        """Ends a request with `error` and tells the server why; does nothing once it has ended."""
        if exchange.ended:
            return
        if exchange.id in self._pending:
            # The specification forbids to cancel `initialize`.
            if self.link is not None and exchange.method != "initialize":
                self.link.cancel(exchange.id, reason)
            self._note_abandoned(exchange.id)
            self._finish(exchange, None, error)
        elif exchange in self._aside:
            self._end_aside(exchange, error)
        elif exchange.id in self._standing:
            if self.link is not None:
                self.link.cancel(exchange.id, reason)
            self._finish(exchange, None, error)
        elif self._queue.remove(exchange):
            exchange.end(None, error)

    def goes_on(self, exchange: Exchange) -> None:
        """It was answered, and the server works on for it: what it logs may be about that."""
        self._note_abandoned(exchange.id)

    def send_queued(self) -> None:
        """Sends what waits, as far as there is room."""
        while self.can_send and self.in_flight < self._concurrency and not self._is_held:
            exchange = self._queue.take()
            if exchange is None:
                return
            self._send(exchange)

    @property
    def _is_held(self) -> bool:
        """Whether the server wants to know something before the next call.

        A client of the modern era answers with another request, long after the call would have been sent; one
        with a session answers meanwhile, if it answers at all.
        """
        waiting = self._queue.items() if self._may_be_asked and len(self._queue) else ()
        return any(exchange.asks and exchange.era is Era.MODERN for exchange in waiting)

    def end_queued(self, error: Callable[[], GatewayError]) -> None:
        """Ends what waits for a server that is not coming."""
        while (exchange := self._queue.take()) is not None:
            exchange.end(None, error())

    def end_pending(self, reason: str) -> None:
        """Ends what was sent over a link that is gone."""
        self._end_pending(Failure(Kind.LOST, reason))

    def _end_pending(self, failure: Failure) -> None:
        self._abandoned.clear()
        for exchange in self._queue.items():  # it goes on without what was asked before it was sent
            for ask in exchange.asks:
                self._take_back(exchange, ask)
        for exchange in (*self._pending.values(), *self._standing.values()):
            self._finish(exchange, None, RequestFailed(self._server, failure))
        self._early.clear()  # theirs included: another process asks again

    # Another configuration

    def resize(self, concurrency: int, queue: int) -> None:
        """Other limits, from now on; what waits already is not turned away."""
        self._concurrency = concurrency
        self._queue.limit = queue
        self.send_queued()

    def take_waiting(self) -> Exchange | None:
        """A call that was not sent, for another server to do; None when no more wait."""
        return self._queue.take()

    async def drain(self, limit_s: float) -> None:
        """Waits until every call that was taken on has ended, `limit_s` at most; ends none."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                for exchange in (*self._pending.values(), *self._aside, *self._queue.items()):
                    if exchange.wants_progress:  # a call, and no request of our own
                        await exchange.over()

    @property
    def can_send(self) -> bool:
        """A lost link stays until the owner closes it; nothing more may be sent into it."""
        return self.open and self.link is not None and self.link.lost_because is None

    def _send(self, exchange: Exchange) -> None:
        exchange.sent = True
        self.used_at = now_s()
        exchange.idle_at = self.used_at + exchange.idle_s
        self.in_flight += 1
        self._put_on_wire(exchange, self._pending)
        if self._early:
            early, self._early = self._early, []
            for ask in early:
                exchange.ask(ask)

    def _put_on_wire(self, exchange: Exchange, among: dict[int, Exchange]) -> None:
        assert self.link is not None, "requests are made only while there is a link"
        exchange.id = number = next(self._ids)
        params = exchange.params
        if exchange.wants_progress:
            params["_meta"] = self._with_token(params.get("_meta"), number, exchange.era)
            self._speak_for(exchange, params)
        elif self._era_meta:
            params.setdefault("_meta", self._era_meta)
        among[number] = exchange
        if exchange.forwarded and not exchange.rounds:  # hidden until it ends
            self._logs.hide(secrets_of(exchange.forwarded))
        self.link.request(number, exchange.method, params, exchange.forwarded)
        self._keep_ticking()

    def _with_token(self, meta: Raw | None, token: int, era: Era) -> Raw:
        """`_meta` as the server is to see it: who speaks the modern era speaks for itself to one that does.

        Where the eras of the two differ, the members of the protocol are ours or nobody's.
        """
        if meta is None:
            return Raw(self._meta % token)
        # Nearly all `_meta` of the modern era come without a token: then nothing of it has to be read.
        is_passed_on = (era is Era.MODERN) == bool(self._era_meta)
        text = bytes(meta)
        if is_passed_on and text[:2] == b'{"' and b"progressToken" not in text and b"\\" not in text:
            return Raw(b'{"progressToken":%d,%b' % (token, text[1:]))
        members = read_members(meta) | {"progressToken": token}
        if is_passed_on:
            return Raw(encode(members))
        own = {name: value for name, value in members.items() if not name.startswith(META_PREFIX)}
        return Raw(encode(own | self._era_meta))

    def _speak_for(self, exchange: Exchange, params: Params) -> None:
        """What a client of one era said, or says, in the way of the other, to a server of that.

        In the handshake era it says once what it can be asked and how loud it wants to hear of its calls; to
        a server of the modern one each request says it.
        """
        is_modern = bool(self._era_meta)
        if (exchange.era is Era.MODERN) == is_modern:
            return
        params.pop(_TASK, None)
        if not is_modern:
            params.pop(ANSWERS, None)
            params.pop(STATE, None)
            return
        said: Params = {}
        if exchange.can_answer:
            said[META_CAPABILITIES] = Raw(exchange.capabilities)
        if exchange.log_level is not None and self._has_logging:
            said[META_LOG_LEVEL] = exchange.log_level
        if said:
            params["_meta"] = Raw(encode(read_members(params["_meta"]) | said))

    def _finish(self, exchange: Exchange, result: Raw | Spooled | None, error: Exception | None) -> None:
        """The one way a request that was sent ends; its place goes to the next in the queue."""
        if self._pending.pop(exchange.id, None) is None:
            self._standing.pop(exchange.id, None)
        if self.link is not None:
            self.link.settle(exchange.id)
        if exchange.forwarded:
            self._logs.unhide(secrets_of(exchange.forwarded))
        if exchange.sent:
            self.in_flight -= 1
            self.used_at = now_s()
        # Roots are no matter of one call: the next brings somebody who knows them as well.
        if self._is_of_one_session and exchange.asks:
            self._early += exchange.take_back(LIST_ROOTS)
        exchange.end(result, error)
        if len(self._queue):
            self.send_queued()

    def _note_abandoned(self, number: int) -> None:
        self._abandoned.add(number)
        if len(self._abandoned) > MAX_ABANDONED:
            self._abandoned.discard(min(self._abandoned))

    def lost_error(self, reason: str) -> GatewayError:
        return RequestFailed(self._server, Failure(Kind.LOST, reason))

    def _busy(self, how: str) -> GatewayError:
        detail = f"The server `{self._server}` has {how}"
        return GatewayError(Kind.BUSY, detail, server=self._server, retry_after_s=QUEUE_RETRY_S)

    # Requests of our own

    async def ask(self, method: str, params: Params, limit_s: float) -> Raw:
        """One request of the gateway itself, outside the queue.

        Raises:
            GatewayError: however it failed.
        """
        return await self.ask_now(method, params, limit_s)

    def ask_now(self, method: str, params: Params, limit_s: float) -> Coroutine[Any, Any, Raw]:
        """As `ask`; it is sent when this returns, and what is returned waits for the answer."""
        exchange = self._own(method, params, limit_s)
        self._put_on_wire(exchange, self._pending)
        return self._answer_to(exchange)

    async def _answer_to(self, exchange: Exchange) -> Raw:
        try:
            return await exchange.answer()
        finally:
            self.abandon(exchange, CallCancelled("no longer needed"), "no longer needed")

    def stand(self, method: str, params: Params, on_end: Callable[[Exchange], None]) -> Exchange:
        """A request of the gateway itself that stays open: it has no deadline, and is in nobody's way.

        Raises:
            GatewayError: there is no link to send it over.
        """
        exchange = self._own(method, params, float("inf"))
        exchange.on_end = on_end
        self._put_on_wire(exchange, self._standing)
        return exchange

    def _own(self, method: str, params: Params, limit_s: float) -> Exchange:
        if self.link is None or self.link.lost_because is not None:
            raise self.lost_error("it is not running")
        return Exchange(
            method,
            params,
            loop=self.loop,
            caller="",
            now=now_s(),
            idle_s=limit_s,
            hard_s=limit_s,
            wants_progress=False,
        )

    def announce(self, method: str, params: Params | None = None) -> None:
        if self.link is not None:
            self.link.notify(method, params)

    # The clock

    def _keep_ticking(self) -> None:
        if self._ticking is None:
            self._ticking = self.loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = now_s()
        if self.link is not None:
            self.link.check(now)
        for exchange in (*self._pending.values(), *self._aside, *self._queue.items()):
            if exchange.ended:
                continue  # by what a neighbour's end set off
            if exchange.asks:  # a person takes their time; the server waits for them, not the other way round
                exchange.idle_at = now + exchange.idle_s
            if now >= exchange.idle_at or now >= exchange.hard_at:
                self._time_out(exchange, now)
            else:
                exchange.note(_STILL)
        self.send_queued()
        if self._pending or self._aside or len(self._queue):
            self._keep_ticking()

    def _time_out(self, exchange: Exchange, now: float) -> None:
        if exchange.id in self._pending or exchange in self._aside:
            what = "had not finished when its time was up"
            if now < exchange.hard_at:
                what = f"sent neither an answer nor progress for {exchange.idle_s:g} s"
            error = GatewayError(Kind.TIMED_OUT, f"The server `{self._server}` {what}", server=self._server)
            self.abandon(exchange, error, "timed out")
            self._owner.call_timed_out()
        elif self.open:
            self.abandon(exchange, self._busy(f"had no room for the call for {exchange.idle_s:g} s"), "")
        else:
            detail = f"The server `{self._server}` was not ready for the call within {exchange.idle_s:g} s"
            self.abandon(exchange, GatewayError(Kind.UNAVAILABLE, detail, server=self._server), "")

    # What the link says

    def message(self, head: Head, stream: int | None = None) -> None:
        self.heard_at = now_s()
        if head.method is not UNSET:
            if head.id is UNSET:
                hear = self.hears.get(head.method)
                if hear is None or not hear(head.params):
                    self._notification(head.method, head.params, stream)
            else:
                self._asked(head, stream)
            return
        exchange = self._by_id(head.id)
        if exchange is None:
            self.counts["unknown answers"] += 1  # late after a cancel or a timeout, or made up
            self._abandoned.discard(head.id if isinstance(head.id, int) else -1)
        elif head.error and head.error != _NULL:
            self._finish(exchange, None, self._answered_error(head.error))
        elif not head.result or memoryview(head.result)[0] != 0x7B:  # {
            # An empty or absent result must never become an empty success.
            self._finish(exchange, None, self.lost_error("its answer holds no result"))
        elif memoryview(head.result).nbytes > self._max_result_bytes:
            too_long = f"its answer is longer than {self._max_result_bytes} bytes"
            self._finish(exchange, None, self.lost_error(too_long))
        else:
            self._take_result(exchange, head.result)

    def _take_result(self, exchange: Exchange, result: Raw) -> None:
        if not (exchange.can_answer and exchange.era is Era.HANDSHAKE and self._era_meta):
            self._finish(exchange, result, None)
            return
        try:
            asked = read_round(result)
        except ValueError as problem:
            self._finish(exchange, None, self.lost_error(str(problem)))
            return
        if asked is None:
            self._finish(exchange, result, None)
        elif exchange.rounds >= MAX_ROUNDS:
            self._finish(exchange, None, self.lost_error(f"it asked for input {MAX_ROUNDS} times"))
        else:
            self._put_aside(exchange)
            Collecting(exchange, asked, self._send_again, self._end_aside).begin()

    def _put_aside(self, exchange: Exchange) -> None:
        """The server has answered, and the call goes on without it: its place is for others meanwhile."""
        self._pending.pop(exchange.id, None)
        if self.link is not None:
            self.link.settle(exchange.id)
        exchange.rounds += 1
        exchange.sent = False
        self.in_flight -= 1
        self.used_at = now_s()
        self._aside.add(exchange)
        self.send_queued()

    def _send_again(self, exchange: Exchange) -> None:
        self._aside.discard(exchange)
        try:
            self._submit(exchange)
        except GatewayError as problem:
            self._finish(exchange, None, problem)

    def _end_aside(self, exchange: Exchange, error: Exception) -> None:
        self._aside.discard(exchange)
        self._finish(exchange, None, error)

    def large(self, head: Head, message: Spooled) -> None:
        """Only the result of a call may be this large: it ends the call; anything else is not kept."""
        exchange = self._by_id(head.id) if head.method is UNSET else None
        if exchange is None:
            message.close()
            if head.method is UNSET or head.id is UNSET:
                self.message(head)
            else:
                self._decline(head)
            return
        self.heard_at = now_s()
        flaw = self._flaw(exchange, head, message)
        if flaw is None:
            self._finish(exchange, message, None)
        else:
            message.close()
            self._finish(exchange, None, self.lost_error(flaw))

    def _flaw(self, exchange: Exchange, head: Head, message: Spooled) -> str | None:
        """Why an answer in a file cannot be handed over."""
        if head.error and head.error != _NULL:
            return f"its error is {message.size} bytes long"
        if not head.result or memoryview(head.result)[0] != 0x7B:  # {
            return "its answer holds no result"
        if message.result_bytes > self._max_result_bytes:
            return f"its answer is longer than {self._max_result_bytes} bytes"
        if message.problem is not None:
            return f"its answer of {message.size} bytes could not be put on disk: {message.problem.strerror}"
        if not exchange.sent:
            return f"its answer to `{exchange.method}` is {message.size} bytes long"
        return None

    def _answered_error(self, raw: Raw) -> GatewayError:
        problem = read_error(raw)
        if problem is None:
            return self.lost_error("its answer holds neither a result nor a readable error")
        message = self._logs.redact(problem.message[: MAX_MESSAGE_CHARS + OVERLAP_BYTES])[:MAX_MESSAGE_CHARS]
        return UpstreamAnswered(self._server, problem.code, message, bytes(raw))

    def garbage(self, line: bytes, reason: str) -> None:
        """A line that is no message. If it was to be the answer to a call, that call must not hang."""
        start = bytes(line[: GARBAGE_BYTES + OVERLAP_BYTES])
        if not start.strip():
            return
        self.counts["garbage lines"] += 1
        self._logs.add("stdout", start, GARBAGE_BYTES)
        answered = _ID_FIRST.match(start) or _ID_LAST.search(bytes(line[-128:]))
        exchange = None if answered is None else self._pending.get(int(answered[1]))
        if exchange is not None and b'"method"' not in start:
            self._finish(exchange, None, self.lost_error(f"its answer is not valid: {reason}"))

    def failed(self, number: int, failure: Failure) -> None:
        exchange = self._by_id(number)
        if exchange is not None:
            self._finish(exchange, None, RequestFailed(self._server, failure))

    def renewed(self) -> None:
        self._owner.renewed()

    def lost(self, ended: Ended) -> None:
        self._logs.add("gateway", f"lost: {ended.reason}".encode())
        # A server that refuses everybody has not begun with what was sent.
        kind = Kind.LOST if ended.into is State.WAITING else Kind.UNAVAILABLE
        self._end_pending(Failure(kind, ended.reason))
        self._owner.lost(ended)

    def _by_id(self, answered: Any) -> Exchange | None:
        """Some servers answer with the id as a string; ours are decimal numbers, so that is unambiguous."""
        if isinstance(answered, str) and answered.isascii() and answered.isdigit() and len(answered) < 16:
            answered = int(answered)
        if not isinstance(answered, int):
            return None
        return self._pending.get(answered) or self._standing.get(answered)

    def _asked(self, head: Head, stream: int | None) -> None:
        """A question goes to the one call there is on a link that may be asked.

        On any other it has no owner: it is declined, never guessed at.
        """
        # In the modern era a server puts its questions into its results.
        can_ask = self._may_be_asked and not self._era_meta and len(self._early) < MAX_OPEN
        if not can_ask or self.link is None or head.method not in ASKED_BY or not _is_id(head.id):
            self._decline(head)
            return
        self.counts["asks"] += 1
        ask = Ask(head.id, head.method, head.params, OverLink(self.link, self.send_queued))
        exchange = self._alone(stream)
        if exchange is not None:
            exchange.ask(ask)
        elif self._is_of_one_session:
            self._early.append(ask)  # such as new roots between two calls: the next one brings who knows them
        else:  # the next call may be another person's
            ask.decline("no call is under way")

    def _alone(self, stream: int | None) -> Exchange | None:
        """The call that this link is there for. A server may ask before it is sent, as soon as it is open."""
        if stream is not None and (found := self._pending.get(stream)) is not None and found.wants_progress:
            return found
        calls = [one for one in self._pending.values() if one.wants_progress] or self._queue.items()
        return calls[0] if calls else None

    def _withdrawn(self, params: Raw) -> None:
        """The server does not want an answer to one of its questions any more."""
        try:
            request_id = msgspec.json.decode(params, type=_Cancelled).requestId
        except (msgspec.MsgspecError, RecursionError):
            return
        self._early = [ask for ask in self._early if ask.id != request_id]
        for exchange in (*self._pending.values(), *self._queue.items()):
            for ask in exchange.asks:
                if ask.id == request_id:
                    self._take_back(exchange, ask)
        self.send_queued()

    @staticmethod
    def _take_back(exchange: Exchange, ask: Ask) -> None:
        ask.withdraw()
        exchange.note(Note("withdrawn", ask=ask))

    def _decline(self, head: Head) -> None:
        if self.link is None or head.id is None:
            return
        raw_id = encode(head.id)
        if head.method == "ping":
            self.link.answer(response(raw_id, b"{}"))
            return
        self.counts["declined requests"] += 1
        error = encode({"code": METHOD_NOT_FOUND, "message": "This client offers no such method"})
        self.link.answer(error_response(raw_id, error))

    def _notification(self, method: str, params: Raw, stream: int | None) -> None:
        match method:
            case "notifications/progress":
                self._progress(params)
            case "notifications/message":
                exchange = self._spoken_for(stream)
                if exchange is not None and params:  # empty when they were too long to be kept
                    exchange.note(Note("log", bytes(params)))
            case "notifications/cancelled":
                self._withdrawn(params)
            case _ if method in self.hears:  # and was not for anybody
                self._owner.heard(method)
            case _ if not self._owner.heard(method) and self._may_be_asked:
                # A page that a person was sent to has done its work, a task goes on: it is for who called.
                if (exchange := self._alone(stream)) is not None:
                    exchange.note(Note("notice", notification(method, read_members(params))))

    def _spoken_for(self, stream: int | None) -> Exchange | None:
        """The call that a message without a request id belongs to, where that is certain.

        It came on the call's own stream; or it is the only call on the link, and nothing abandoned before
        it can still be talking. Requests of our own are nobody's.
        """
        if stream is not None:
            return self._pending.get(stream)
        calls = [one for one in self._pending.values() if one.wants_progress]
        return calls[0] if len(calls) == 1 and not self._abandoned else None

    def _progress(self, params: Raw) -> None:
        try:
            progress = msgspec.json.decode(params, type=_Progress)
        except (msgspec.MsgspecError, RecursionError):
            exchange = None
        else:
            exchange = self._by_id(progress.progressToken)
        # The value must grow (2025-11-25, utilities/progress); one that falls is noise or a trick.
        if exchange is None or not exchange.sent or progress.progress < exchange.progress:
            self.counts["stray progress"] += 1
            return
        exchange.progress = progress.progress
        exchange.idle_at = now_s() + exchange.idle_s
        exchange.note(Note("progress", bytes(params)))
