"""The owner of one server: runs its life, holds its one link, answers requests over it.

All callers' requests share the link, told apart by ids and progress tokens of our own. Everything
happens on the event loop: `submit` and the link's callbacks never wait; only the owner's task (`run`)
and the one opening or closing it has started do. Knows nothing of callers' rights, faces or SQL.
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from msgspec import UNSET, Raw

from mcp_gateway.access.limits import FairQueue
from mcp_gateway.catalog import MAX_LIST_BYTES, MAX_PAGES, MAX_TOOLS, Tool, read_page
from mcp_gateway.config.model import ServerConfig
from mcp_gateway.errors import METHOD_NOT_FOUND, CallCancelled, GatewayError, Kind, UpstreamAnswered
from mcp_gateway.upstream.exchange import Exchange, Note
from mcp_gateway.upstream.lifecycle import (
    AT_REST,
    Closed,
    Effect,
    Ended,
    Event,
    Failed,
    Life,
    Opened,
    Restart,
    RetryDue,
    Stable,
    Start,
    State,
    Stop,
    advance,
)
from mcp_gateway.upstream.logring import LogRing, printable
from mcp_gateway.upstream.opening import NotUnderstood, open_server
from mcp_gateway.upstream.opening import Opened as Opening
from mcp_gateway.upstream.process import NOT_EXECUTABLE, NOT_FOUND, Exit, Nursery, SpawnError
from mcp_gateway.upstream.stdio import StdioLink
from mcp_gateway.wire.envelope import (
    Head,
    Params,
    encode,
    error_response,
    notification,
    read_error,
    read_members,
    request_line,
    response,
)
from mcp_gateway.wire.revisions import Era, modern_meta

# Deadlines are looked at this often: no timer per call. Also how soon a face hears `still`.
TICK_S: Final = 0.25
# A call that meets a back-off shorter than this waits for it instead of failing (faults.md F005).
WAIT_FOR_RETRY_S: Final = 2.0
LIST_S: Final = 30.0
# A package runner may have to download first; only a person's own startTimeout shortens that.
INSTALL_TIMEOUT_S: Final = 300.0
PACKAGE_RUNNERS: Final = frozenset(
    {"npx", "npm", "pnpm", "yarn", "bunx", "bun", "uvx", "uv", "pipx", "deno", "docker", "podman", "nix"}
)
QUIET_S: Final = 30.0  # without any word from the server, it is asked for a sign of life
PING_S: Final = 10.0
REFRESH_AFTER_S: Final = 0.5  # list_changed comes in bursts
REFRESH_EVERY_S: Final = 5.0
QUEUE_RETRY_S: Final = 1.0

MAX_MESSAGE_CHARS: Final = 500

_STILL: Final = Note("still")

logger = logging.getLogger(__name__)


class EraMemory(Protocol):
    """What is remembered about a configuration's eras, across restarts."""

    def eras(self, fingerprint: str) -> frozenset[str] | None: ...
    async def remember_eras(self, fingerprint: str, eras: frozenset[str]) -> None: ...
    async def forget_eras(self, fingerprint: str) -> None: ...


class Resolved(Protocol):
    """A server's command with its secrets filled in (`config/secrets.py`)."""

    @property
    def command(self) -> str: ...
    @property
    def args(self) -> tuple[str, ...]: ...
    @property
    def env(self) -> dict[str, str]: ...
    @property
    def cwd(self) -> str | None: ...


class Unresolvable(Exception):
    """A secret or a variable that the configuration names is not there."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every upstream is given by the composition."""

    nursery: Nursery
    resolve: Callable[[ServerConfig], Awaitable[Resolved]]
    eras: EraMemory
    spool_dir: Path
    client_info: dict[str, str]
    changed: "Callable[[Upstream], None]"


class _ProgressToken(msgspec.Struct):
    progressToken: int | str


class Upstream:
    """One server. `config` never changes; a changed configuration is another Upstream."""

    def __init__(self, config: ServerConfig, around: Surroundings) -> None:
        self.config = config
        self.id = config.id
        self.life = Life()
        self.logs = LogRing()
        self.tools: tuple[Tool, ...] = ()
        self.has_listed = False
        self.opened: Opening | None = None
        self.last_error: str | None = None
        self.last_exit: Exit | None = None
        self.calls_total = 0
        self.counts: Counter[str] = Counter()
        self._around = around
        self._fingerprint = _fingerprint(config)
        self._link: StdioLink | None = None
        self._ids = itertools.count(1)
        self._pending: dict[int, Exchange] = {}
        self._in_flight = 0
        self._queue: FairQueue[Exchange] = FairQueue(config.queue)
        self._ticking: asyncio.TimerHandle | None = None
        # What the opening, the closing or the link reports holds for that one only; wishes hold always.
        self._inbox: deque[tuple[int | None, Event]] = deque()
        self._link_number = 0
        self._bell = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._meta = b'{"progressToken":%d}'
        self._modern_meta: dict[str, Any] = {}
        self._heard_at = 0.0
        self._suspect = False
        self._ping_at = 0.0
        self._refresh_at: float | None = None
        self._refreshed_at = 0.0
        self._retiring = False

    # For everybody

    @property
    def pid(self) -> int | None:
        return None if self._link is None else self._link.pid

    @property
    def running(self) -> int:
        return self._in_flight

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def knows_its_tools(self) -> bool:
        """Whether a name that is not in the list is no tool of this server."""
        return self.has_listed and self.life.state in (State.READY, State.STARTING, State.WAITING, State.IDLE)

    def tell(self, event: Start | Stop | Restart) -> None:
        """A wish for the owner; it is met in order, and a stop beats a retry."""
        self._post(event, None)

    def retire(self) -> None:
        """The last wish: stop, and let `run` end."""
        self._retiring = True
        self._post(Stop(), None)

    def submit(self, exchange: Exchange) -> None:
        """Sends a call now, or queues it until the server is ready and has room.

        Raises:
            GatewayError: `unavailable` or `busy`; nothing was sent.
        """
        self.calls_total += 1
        if self._can_send and self._in_flight < self.config.concurrency:
            self._send(exchange)
            return
        self._refuse_unless_coming()
        if self._queue.is_full:
            raise GatewayError(
                Kind.BUSY,
                f"The server `{self.id}` has {self._in_flight} calls running and {len(self._queue)} waiting",
                server=self.id,
                retry_after_s=QUEUE_RETRY_S,
            )
        self._queue.put(exchange)
        self._keep_ticking()
        if self.life.state is State.IDLE:
            self._post(Start(), None)

    def cancel(self, exchange: Exchange, reason: str) -> None:
        """Takes a call back and tells the server; does nothing once it has ended."""
        if not exchange.ended:
            self._abandon(exchange, CallCancelled(reason), reason)

    def release_queue(self) -> None:
        """Ends the calls that wait for a server that is not coming."""
        try:
            self._refuse_unless_coming()
        except GatewayError:
            while (exchange := self._queue.take()) is not None:
                exchange.end(None, self._unavailable())

    # The owner

    async def run(self) -> None:
        """Lives the server's life until it is retired and at rest."""
        try:
            while not (self._retiring and self.life.state in AT_REST and not self._inbox):
                event = await self._next_event()
                if event is not None:
                    self._step(event)
        finally:
            await self._drop_chores()
            if self._work is not None and not self._work.done():
                await asyncio.gather(self._work, return_exceptions=True)

    def _post(self, event: Event, link_number: int | None) -> None:
        self._inbox.append((link_number, event))
        self._bell.set()

    def _report(self, event: Event) -> None:
        self._post(event, self._link_number)

    async def _next_event(self) -> Event | None:
        """The next thing that happens: a wish, news of the link, or the clock."""
        if not self._inbox:
            self._bell.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._wakes_at()):
                    await self._bell.wait()
        if self._inbox:
            link_number, event = self._inbox.popleft()
            return event if link_number in (None, self._link_number) else None
        now = _now()
        if self.life.wakes_at is not None and now >= self.life.wakes_at:
            return RetryDue() if self.life.state is State.WAITING else Stable()
        if self.life.state is State.READY:
            self._do_chores(now)
        return None

    def _wakes_at(self) -> float | None:
        times = [self.life.wakes_at]
        if self.life.state is State.READY:
            times += [self._ping_at, self._refresh_at]
        return min((at for at in times if at is not None), default=None)

    def _step(self, event: Event) -> None:
        before = self.life
        self.life, effects = advance(self.life, event, _now(), random.random())
        if isinstance(event, Failed | Ended):
            self.last_error = event.reason
        for effect in effects:
            self._link_number += 1
            work = self._open() if effect is Effect.OPEN else self._close(self._work)
            self._work = asyncio.create_task(work, name=f"{effect} {self.id}")
        if self.life != before:
            if self.life.state is State.READY:
                self._send_queued()
            else:
                self.release_queue()
            self._around.changed(self)

    # Opening and closing: one task at a time, started by the owner

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._start_limit_s()):
                await self._open_now()
        except TimeoutError:
            failure = Failed(f"it did not become ready within {self._start_limit_s():.0f} s")
        except SpawnError as problem:
            failure = Failed(problem.reason, State.FAILED if problem.permanent else State.WAITING)
        except (NotUnderstood, Unresolvable) as problem:
            failure = Failed(str(problem), State.FAILED)
        except GatewayError as problem:
            if isinstance(problem, UpstreamAnswered) and self._around.eras.eras(self._fingerprint):
                await self._around.eras.forget_eras(self._fingerprint)  # it may have been upgraded
            lost_because = self._link.lost_because if self._link is not None else None
            failure = Failed(lost_because or problem.detail, self._after_failed_start())
        except Exception as problem:  # a bug of ours must not leave the server starting for ever
            logger.exception("opening server %s", self.id)
            failure = Failed(f"the gateway made a mistake: {problem!r}")
        else:
            self._report(Opened())
            return
        self._report(failure)

    async def _open_now(self) -> None:
        if self.config.command is None:
            raise NotUnderstood("remote servers (`url`) are not supported by this version yet")
        remembered = self._around.eras.eras(self._fingerprint)
        known = frozenset(Era(era) for era in remembered) if remembered else None
        self.opened = opened = await open_server(_Door(self), known, self._around.client_info)
        self._modern_meta = modern_meta(self._around.client_info) if opened.era is Era.MODERN else {}
        own = encode({"progressToken": 0, **self._modern_meta}).replace(b"%", b"%%")
        self._meta = own.replace(b'"progressToken":0', b'"progressToken":%d', 1)
        if known is None:
            await self._around.eras.remember_eras(self._fingerprint, frozenset(opened.eras))
        self._refresh_at = None  # what it announced so far is covered by the list that is read now
        await self._read_tools()
        self._heard_at = self._refreshed_at = _now()
        self._ping_at = self._heard_at + QUIET_S
        self._suspect = False

    def _start_limit_s(self) -> float:
        runner = (self.config.command or "").rpartition("/")[2]
        if runner in PACKAGE_RUNNERS and "start_timeout_s" not in self.config.model_fields_set:
            return INSTALL_TIMEOUT_S
        return self.config.start_timeout_s

    def _after_failed_start(self) -> State:
        """An exit code that says "cannot be run" will say so again."""
        exited = self._link.exit if self._link is not None else None
        if exited is not None and exited.code in (NOT_FOUND, NOT_EXECUTABLE):
            return State.FAILED
        return State.WAITING

    async def _close(self, opening: asyncio.Task[None] | None) -> None:
        try:
            if opening is not None and not opening.done():
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
            await self._drop_chores()
            await self._end_link(self.life.reason)
        except Exception:
            logger.exception("closing server %s", self.id)
        finally:
            self._report(Closed())

    async def _new_link(self) -> None:
        await self._end_link("the process was replaced")
        resolved = await self._around.resolve(self.config)
        self.logs.guard(resolved.env.values())
        link = StdioLink(self, self.logs, self._around.spool_dir, self.config.max_result_bytes)
        self._link = link
        await link.open(
            self._around.nursery, self.id, resolved.command, resolved.args, resolved.env, resolved.cwd
        )

    async def _end_link(self, reason: str) -> None:
        link, self._link = self._link, None
        self._fail_pending(reason)
        if link is not None:
            await link.close()
            self.last_exit = link.exit or self.last_exit

    # Calls

    @property
    def _can_send(self) -> bool:
        """A lost link stays until the owner closes it; nothing more may be sent into it."""
        return self.life.state is State.READY and self._link is not None and self._link.lost_because is None

    def _send(self, exchange: Exchange) -> None:
        assert self._link is not None, "ready means that there is a link"
        exchange.sent = True
        exchange.idle_at = _now() + exchange.idle_s
        self._in_flight += 1
        self._put_on_wire(exchange)
        self._keep_ticking()

    def _put_on_wire(self, exchange: Exchange) -> None:
        assert self._link is not None, "requests are made only while there is a link"
        exchange.id = number = next(self._ids)
        params = exchange.params
        if exchange.wants_progress:
            params["_meta"] = self._with_token(params.get("_meta"), number)
        elif self._modern_meta:
            params.setdefault("_meta", self._modern_meta)
        self._pending[number] = exchange
        self._link.send(request_line(number, exchange.method, params))

    def _with_token(self, meta: Raw | None, token: int) -> Raw:
        if meta is None:
            return Raw(self._meta % token)
        return Raw(encode(read_members(meta) | {"progressToken": token} | self._modern_meta))

    def _send_queued(self) -> None:
        while self._in_flight < self.config.concurrency and (exchange := self._queue.take()) is not None:
            self._send(exchange)

    def _finish(self, exchange: Exchange, result: Raw | None, error: Exception | None) -> None:
        """The one way a request that was sent ends; its slot goes to the next in the queue."""
        self._pending.pop(exchange.id, None)
        if exchange.sent:
            self._in_flight -= 1
        exchange.end(result, error)
        if len(self._queue) and self._can_send:
            self._send_queued()

    def _abandon(self, exchange: Exchange, error: Exception, reason: str) -> None:
        if exchange.id in self._pending:
            if self._link is not None:
                params: Params = {"requestId": exchange.id, "reason": reason}
                self._link.send(notification("notifications/cancelled", params) + b"\n")
            self._finish(exchange, None, error)
        elif self._queue.remove(exchange):
            exchange.end(None, error)

    def _fail_pending(self, reason: str) -> None:
        for exchange in list(self._pending.values()):
            self._finish(exchange, None, self._lost_error(reason))

    def _lost_error(self, reason: str) -> GatewayError:
        return GatewayError(
            Kind.LOST, f"The server `{self.id}` was lost during the call: {reason}", server=self.id
        )

    def _refuse_unless_coming(self) -> None:
        """Raises `unavailable` unless the server is ready or about to be."""
        life = self.life
        match life.state:
            case State.READY | State.STARTING | State.IDLE:
                return
            case State.STOPPING if life.after in (State.STARTING, State.WAITING, State.IDLE):
                return
            case State.WAITING if life.retry_at is not None and life.retry_at - _now() <= WAIT_FOR_RETRY_S:
                return
            case _:
                raise self._unavailable()

    def _unavailable(self) -> GatewayError:
        life = self.life
        retry_after_s = None
        match life.state:
            case State.OFF:
                why = "is switched off"
            case State.WAITING:
                retry_after_s = max(0.0, (life.retry_at or 0.0) - _now())
                why = f"is down: {life.reason}; attempt {life.attempt + 1} follows in {retry_after_s:.0f} s"
            case State.STOPPING:
                why = f"is stopping: {life.reason}"
            case _:
                why = f"{'needs a login' if life.state is State.NEEDS_LOGIN else 'has failed'}: {life.reason}"
        return GatewayError(
            Kind.UNAVAILABLE, f"The server `{self.id}` {why}", server=self.id, retry_after_s=retry_after_s
        )

    # The clock of the calls

    def _keep_ticking(self) -> None:
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = _now()
        if self._link is not None:
            self._link.check(now)
        for exchange in (*self._pending.values(), *self._queue.items()):
            if now >= exchange.idle_at or now >= exchange.hard_at:
                self._time_out(exchange, now)
            else:
                exchange.note(_STILL)
        if self._pending or len(self._queue):
            self._keep_ticking()

    def _time_out(self, exchange: Exchange, now: float) -> None:
        if now >= exchange.hard_at:
            what = "had not finished when its time was up"
        elif exchange.sent:
            what = f"sent neither an answer nor progress for {exchange.idle_s:g} s"
            self._suspect = True
            self._ping_at = now
            self._bell.set()
        else:
            what = f"was not ready for the call within {exchange.idle_s:g} s"
        error = GatewayError(Kind.TIMED_OUT, f"The server `{self.id}` {what}", server=self.id)
        self._abandon(exchange, error, "timed out")

    # What the link says

    def message(self, head: Head) -> None:
        if head.method is not UNSET:
            self._heard_at = _now()
            if head.id is UNSET:
                self._notification(head.method, head.params)
            else:
                self._request(head)
            return
        exchange = self._pending.get(head.id) if isinstance(head.id, int) else self._by_text(head.id)
        if exchange is None:
            self.counts["unknown answers"] += 1  # late after a cancel or a timeout, or made up
            return
        if head.error:
            problem = read_error(head.error)
            message = printable(problem.message[:MAX_MESSAGE_CHARS])
            self._finish(exchange, None, UpstreamAnswered(self.id, problem.code, message, bytes(head.error)))
        elif head.result and memoryview(head.result)[0] == 0x7B:  # {
            self._finish(exchange, head.result, None)
        else:
            # An empty or absent result must never become an empty success.
            self._finish(exchange, None, self._lost_error("its answer holds no result"))

    def _by_text(self, answered: Any) -> Exchange | None:
        """Some servers answer with the id as a string; ours are decimal numbers, so that is unambiguous."""
        if isinstance(answered, str) and answered.isascii() and answered.isdigit() and len(answered) < 16:
            return self._pending.get(int(answered))
        return None

    def garbage(self, line: bytes | memoryview, reason: str) -> None:
        """A line that is no message. If it was to be the answer to a call, that call must not hang."""
        start = bytes(line[:512])
        if not start.strip():
            return
        self.counts["garbage lines"] += 1
        self.logs.add("stdout", start)
        number = _id_in(start) or _id_in(bytes(line[-128:]))
        exchange = None if number is None else self._pending.get(number)
        if exchange is not None and start.lstrip().startswith(b"{"):
            self._finish(exchange, None, self._lost_error(f"its answer is not valid: {reason}"))

    def lost(self, reason: str) -> None:
        self.logs.add("gateway", f"lost: {reason}".encode())
        self._fail_pending(reason)
        if self.life.state is State.READY:
            self._report(Ended(reason))

    def _request(self, head: Head) -> None:
        """On a shared link a question has no owner: it is declined, never guessed at."""
        if self._link is None or head.id is None:
            return
        raw_id = encode(head.id)
        if head.method == "ping":
            self._link.send(response(raw_id, b"{}") + b"\n")
            return
        self.counts["declined requests"] += 1
        error = encode({"code": METHOD_NOT_FOUND, "message": "This client offers no such method"})
        self._link.send(error_response(raw_id, error) + b"\n")

    def _notification(self, method: str, params: Raw) -> None:
        match method:
            case "notifications/progress":
                self._progress(params)
            case "notifications/tools/list_changed":
                if self._refresh_at is None and self.life.state is State.READY:
                    self._refresh_at = max(_now() + REFRESH_AFTER_S, self._refreshed_at + REFRESH_EVERY_S)
                    self._bell.set()
            case "notifications/message":
                # It carries no request id. Only while one call is alone on the link is it that call's.
                if len(self._pending) == 1:
                    next(iter(self._pending.values())).note(Note("log", bytes(params)))
            case _:
                self.counts["other notifications"] += 1

    def _progress(self, params: Raw) -> None:
        try:
            token = msgspec.json.decode(params, type=_ProgressToken).progressToken
        except (msgspec.MsgspecError, RecursionError):
            self.counts["stray progress"] += 1
            return
        exchange = self._pending.get(token) if isinstance(token, int) else self._by_text(token)
        if exchange is None or not exchange.sent:
            self.counts["stray progress"] += 1
            return
        exchange.idle_at = _now() + exchange.idle_s
        exchange.note(Note("progress", bytes(params)))

    # Requests of our own

    async def ask(self, method: str, params: Params, limit_s: float) -> Raw:
        """One request of the gateway itself, outside the queue.

        Raises:
            GatewayError: however it failed.
        """
        if self._link is None or self._link.lost_because is not None:
            raise self._lost_error("it is not running")
        exchange = Exchange(
            method, params, caller="", now=_now(), idle_s=limit_s, hard_s=limit_s, wants_progress=False
        )
        self._put_on_wire(exchange)
        self._keep_ticking()
        try:
            return await exchange.answer()
        finally:
            self.cancel(exchange, "no longer needed")

    def announce(self, method: str) -> None:
        if self._link is not None:
            self._link.send(notification(method) + b"\n")

    async def _read_tools(self) -> None:
        """Reads all pages; the list changes only when every page was readable."""
        assert self.opened is not None, "tools are read after opening"
        if "tools" not in self.opened.capabilities:
            self.tools, self.has_listed = (), True
            return
        tools: dict[str, Tool] = {}
        told: list[str] = []
        size = 0
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            result = await self.ask("tools/list", {} if cursor is None else {"cursor": cursor}, LIST_S)
            try:
                page, cursor, left_out = read_page(result)
            except ValueError as problem:
                raise NotUnderstood(str(problem)) from None
            told += left_out
            for tool in page:
                size += len(tool.definition)
                tools.setdefault(tool.name, tool)
            if cursor is None or cursor in seen or len(tools) > MAX_TOOLS or size > MAX_LIST_BYTES:
                break
            seen.add(cursor)
        kept = tuple(tools.values())
        if len(kept) > MAX_TOOLS or size > MAX_LIST_BYTES:
            kept = kept[: min(MAX_TOOLS, max(1, len(kept) * MAX_LIST_BYTES // max(size, 1)))]
            told.append(f"its list of {len(tools)} tools is cut to {len(kept)}")
        if cursor is not None and cursor in seen:
            told.append("its list of tools does not end: a cursor came twice")
        for sentence in told[:20]:
            self.logs.add("gateway", sentence.encode())
        self.tools, self.has_listed = kept, True

    # Chores of a ready server

    def _do_chores(self, now: float) -> None:
        if self._refresh_at is not None and now >= self._refresh_at:
            self._refresh_at, self._refreshed_at = None, now
            self._begin_chore(self._refresh())
        if now >= self._ping_at:
            self._ping_at = now + QUIET_S
            quiet = now - self._heard_at >= QUIET_S and self._in_flight == 0
            if quiet or self._suspect:
                self._begin_chore(self._prove_alive())

    def _begin_chore(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _drop_chores(self) -> None:
        chores = [task for task in self._chores if task is not asyncio.current_task()]
        for task in chores:
            task.cancel()
        await asyncio.gather(*chores, return_exceptions=True)

    async def _refresh(self) -> None:
        try:
            await self._read_tools()
        except (GatewayError, NotUnderstood) as problem:
            # The old list stays: half a list would take tools away that are there.
            self.last_error = f"the tool list could not be read again: {problem}"
            self.logs.add("gateway", self.last_error.encode())
        self._around.changed(self)

    async def _prove_alive(self) -> None:
        """A ping on the live link. The modern era has none: there, process and pipe are the proof."""
        if self.opened is None or self.opened.era is Era.MODERN:
            return
        asked_at = _now()
        self._suspect = False
        try:
            await self.ask("ping", {}, PING_S)
        except UpstreamAnswered:
            pass  # a refusal is a sign of life
        except GatewayError:
            if self._heard_at < asked_at and self.life.state is State.READY:
                self._report(Ended(f"it did not answer a ping for {PING_S:.0f} s"))
            return
        self._heard_at = _now()


class _Door:
    """What `opening.py` may do to this server."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def fresh(self) -> None:
        await self._upstream._new_link()

    async def ask(self, method: str, params: Params) -> Raw:
        return await self._upstream.ask(method, params, INSTALL_TIMEOUT_S)

    def tell(self, method: str) -> None:
        self._upstream.announce(method)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _id_in(text: bytes) -> int | None:
    """The id in a broken answer, if it can be made out."""
    _, found, rest = text.partition(b'"id"')
    digits = rest.lstrip(b" \t:")[:16] if found else b""
    number = digits[: len(digits) - len(digits.lstrip(b"0123456789"))]
    return int(number) if number else None


def _fingerprint(config: ServerConfig) -> str:
    """Names a configuration as far as it decides what a server speaks; holds no secret's value."""
    parts = (config.command or "", *config.args, config.cwd or "", *sorted(config.env))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
