"""The owner of one server: lives its life, opens and closes its one link, keeps its lists.

Others put wishes into its inbox (`tell`) and requests into `requests`; only the owner's task (`run`)
and the one opening or closing that it has started touch the link. Knows nothing of callers' rights,
faces or SQL. `gateway/servers.py` makes one for each server.
"""

import asyncio
import contextlib
import hashlib
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec import Raw

from mcp_gateway.catalog import Tool
from mcp_gateway.clock import now_s
from mcp_gateway.config.model import ServerConfig
from mcp_gateway.errors import METHOD_NOT_FOUND, GatewayError, Kind, UpstreamAnswered
from mcp_gateway.listed import PROMPT_LIST, RESOURCE_LIST, TEMPLATE_LIST, List
from mcp_gateway.listed import Entry as Listed
from mcp_gateway.shelves import LOGGING, PROMPTS, RESOURCES, SUBSCRIPTIONS, TOOLS, Shelf
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.upstream.forwarded import picked
from mcp_gateway.upstream.gate import Gate
from mcp_gateway.upstream.http import NOT_STREAMABLE, HttpLink
from mcp_gateway.upstream.lifecycle import (
    AT_REST,
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
)
from mcp_gateway.upstream.link import Link
from mcp_gateway.upstream.listing import MAX_REMARKS, read_list, read_tools
from mcp_gateway.upstream.loglevel import LogLevel
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.offered import Offered, fetched
from mcp_gateway.upstream.opening import NotUnderstood, open_server
from mcp_gateway.upstream.opening import Opened as Opening
from mcp_gateway.upstream.process import NOT_EXECUTABLE, NOT_FOUND, Exit, Nursery, SpawnError
from mcp_gateway.upstream.remote import Remote, secrets_of
from mcp_gateway.upstream.requests import RequestFailed, Requests
from mcp_gateway.upstream.sse import SseLink
from mcp_gateway.upstream.stance import SHARED, SHARED_STANCE, Scope, Stance
from mcp_gateway.upstream.stdio import StdioLink
from mcp_gateway.upstream.subscribing import Accepted, Subscribing, promise_of
from mcp_gateway.visible import printable
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.revisions import Era, modern_meta

# A call that meets a back-off shorter than this waits for it instead of failing (faults.md F005).
WAIT_FOR_RETRY_S: Final = 2.0
LIST_S: Final = 30.0
# A server is ready without its resources and prompts when these take longer; they follow.
OTHER_LISTS_S: Final = 5.0
# A package runner may have to download first; only a person's own startTimeout shortens that.
INSTALL_TIMEOUT_S: Final = 300.0
PACKAGE_RUNNERS: Final = frozenset(
    {"npx", "npm", "pnpm", "yarn", "bunx", "bun", "uvx", "uv", "pipx", "deno", "docker", "podman", "nix"}
)
QUIET_S: Final = 30.0  # without any word from the server, it is asked for a sign of life
PING_S: Final = 10.0
REFRESH_AFTER_S: Final = 0.5  # list_changed comes in bursts
REFRESH_EVERY_S: Final = 5.0
LISTS_OF: Final = {f"notifications/{kind}/list_changed": kind for kind in (TOOLS, RESOURCES, PROMPTS)}
ERA_WORDS: Final = frozenset(Era)

logger = logging.getLogger(__name__)


class EraMemory(Protocol):
    """What is remembered about a configuration's eras, across restarts."""

    def eras(self, fingerprint: str) -> frozenset[str] | None: ...
    async def remember_eras(self, fingerprint: str, eras: frozenset[str]) -> None: ...
    async def forget_eras(self, fingerprint: str) -> None: ...


class Transport(StrEnum):
    """How a server is reached; the words of the API."""

    STDIO = "stdio"
    HTTP = "http"
    SSE = "sse"


class Resolved(Protocol):
    """A server's command or address with its secrets filled in (`config/secrets.py`)."""

    @property
    def command(self) -> str: ...
    @property
    def args(self) -> tuple[str, ...]: ...
    @property
    def env(self) -> dict[str, str]: ...
    @property
    def cwd(self) -> str | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def headers(self) -> dict[str, str]: ...


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
    gate: Gate
    instance: str  # how this gateway knows itself when it meets itself
    # What a server said: this resource has changed; this list has, and has been read again.
    updated: "Callable[[Upstream, str], None]" = lambda _upstream, _uri: None
    announced: "Callable[[Upstream, str], None]" = lambda _upstream, _kind: None
    log_level: Callable[[str], str | None] = lambda _server: None  # wanted of a server; None: its own


class Upstream:
    """One process or connection of one server; what would need another one is another Upstream.

    One that is not shared (`scope`) writes into the log of the one that is, lists nothing but tools, and
    stops after `idle_s` without a call.
    """

    def __init__(
        self,
        config: ServerConfig,
        around: Surroundings,
        scope: Scope = SHARED,
        stance: Stance = SHARED_STANCE,
        logs: LogRing | None = None,
        idle_s: float | None = None,
    ) -> None:
        self.config = config
        self.id = config.id
        self.scope = scope
        self.stance = stance
        self._idle_s = idle_s
        self.life = Life()
        self.logs = logs or LogRing()
        self._offered = Offered()
        self.requests = Requests(
            config.id,
            1 if stance.may_be_asked else config.concurrency,
            config.queue,
            config.max_result_bytes,
            self.logs,
            self,
            may_be_asked=stance.may_be_asked and scope.kind != "look",
            is_of_one_session=scope.kind in ("lease", "session"),
        )
        self.subscribing = Subscribing(
            config.id,
            self.requests,
            lambda uri: around.updated(self, uri),
            self._lists_may_differ,
            lambda remark: self.logs.add("gateway", remark.encode()),
        )
        self.tools: tuple[Tool, ...] = ()
        self.has_listed = False
        self.shelf = Shelf(capabilities=None)  # its resources and prompts
        self._known: set[str] = set()  # which lists of them were read
        self.opened: Opening | None = None
        self.transport = _first_transport(config, frozenset())
        self.last_error: str | None = None
        self.last_exit: Exit | None = None
        self._around = around
        self._fingerprint = _fingerprint(config)
        # What the opening, the closing or the link reports holds for that one only; wishes hold always.
        self._inbox: deque[tuple[int | None, Event]] = deque()
        self._link_number = 0
        self._bell = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._suspect = False
        self._awaits_turn = False
        self._ping_at = 0.0
        self._refresh_at: dict[str, float] = {}  # by list
        self._refreshed_at: dict[str, float] = {}
        self._announced: set[str] = set()  # of those lists the ones that the server said have changed
        self._retiring = False
        self._log_level = LogLevel(partial(around.log_level, config.id), self.requests.ask_now)

    # For everybody

    @property
    def pid(self) -> int | None:
        return None if self.requests.link is None else self.requests.link.pid

    @property
    def reason(self) -> str:
        """Why it is in its state, in words."""
        link = self.requests.link
        if self._awaits_turn:
            return "waits for others to start"
        if self.life.state is State.STARTING and self._is_package_runner and not (link and link.has_spoken):
            return "installing"
        return self.life.reason

    @property
    def knows_its_tools(self) -> bool:
        """Whether a name that is not in the list is no tool of this server."""
        return self.has_listed and self.life.is_coming

    @property
    def knows_its_prompts(self) -> bool:
        """Likewise."""
        return PROMPTS in self._known and self.life.is_coming

    def tell(self, event: Start | Stop | Restart) -> None:
        """A wish for the owner; it is met in order, and a stop beats a retry."""
        self._post(None, event)

    def reconfigure(self, config: ServerConfig) -> None:
        """Takes over a configuration of the same process or connection (`config/changes.py`)."""
        self.config = config
        self.requests.resize(1 if self.stance.may_be_asked else config.concurrency, config.queue)
        self._bell.set()  # what is due by the clock may be due at another time

    def mind_log_level(self) -> None:
        """Another level of its log messages may be wanted, or it has just opened."""
        opened = self.opened
        if (
            self.life.state is State.READY
            and opened is not None
            and opened.era is Era.HANDSHAKE  # in the modern one each request says what it wants
            and LOGGING in opened.capabilities
            and self._log_level.is_due
        ):
            self._begin_chore(self._log_level.tell())

    def retire(self, reason: str = "the gateway is stopping") -> None:
        """The last wish: stop, and let `run` end."""
        self._retiring = True
        self._post(None, Stop(reason=reason))

    def submit(self, exchange: Exchange) -> None:
        """See `Requests.submit`; an idle server is started.

        Also raises `invalid` when headers that are to be passed on cannot be.
        """
        # Picked here, not by whoever made it: a call that waited may end up at another configuration.
        names = self.config.forward_headers
        exchange.forwarded = picked(self.id, names, exchange.headers) if names else None
        self.requests.submit(exchange)
        self._wake()

    def subscribe(self, uri: str) -> Accepted:
        """See `Subscribing.want`; an idle server is started.

        Raises:
            GatewayError: `unavailable`; the server is not coming.
        """
        self.check_coming()
        accepted = self.subscribing.want(uri)
        self._wake()
        return accepted

    def _wake(self) -> None:
        if State.IDLE in (self.life.state, self.life.after):
            self._post(None, Start())

    # The owner

    def begin(self) -> None:
        """Starts at once, so that calls may wait for it before its owner has had its first turn."""
        self._step(Start())

    async def run(self) -> None:
        """Lives the server's life until it is retired and at rest."""
        try:
            while not (self._retiring and self.life.state in AT_REST and not self._inbox):
                event = await self._next_event()
                if event is not None:
                    self._step(event)
        finally:
            await self._drop_chores()
            if self._work is not None:
                self._work.cancel()
                await asyncio.gather(self._work, return_exceptions=True)

    def _post(self, link_number: int | None, event: Event) -> None:
        self._inbox.append((link_number, event))
        self._bell.set()

    async def _next_event(self) -> Event | None:
        """The next thing that happens: a wish, news of the link, or the clock."""
        if not self._inbox:
            self._bell.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._sleeps_s()):
                    await self._bell.wait()
        if self._inbox:
            link_number, event = self._inbox.popleft()
            return event if link_number in (None, self._link_number) else None
        now = now_s()
        if self.life.wakes_at is not None and now >= self.life.wakes_at:
            return RetryDue() if self.life.state is State.WAITING else Stable()
        if self.life.state is State.READY:
            self._do_chores(now)
        return None

    def _sleeps_s(self) -> float | None:
        """How long nothing is due; None when only news can be."""
        times = [self.life.wakes_at]
        if self.life.state is State.READY:
            times += [self._ping_at, *self._refresh_at.values(), self._idle_at]
        due = min((at for at in times if at is not None), default=None)
        return None if due is None else max(0.0, due - now_s())

    def _step(self, event: Event) -> None:
        before = self.life
        try:
            self.life, effects = advance(self.life, event, now_s(), random.random())
        except ImpossibleEvent:  # a bug of ours; the server must not lose its owner over it
            logger.exception("server %s", self.id)
            return
        if isinstance(event, Failed | Ended):
            self.last_error = event.reason
        self.requests.open = self.life.state is State.READY
        for effect in effects:
            self._link_number += 1
            number = self._link_number
            work = self._open(number) if effect is Effect.OPEN else self._close(number, self._work)
            self._work = asyncio.create_task(work, name=f"{effect} {self.id}")
        if self.life.state is not before.state:
            why = f": {printable(self.life.reason)}" if self.life.reason else ""
            name = self.id if self.scope == SHARED else f"{self.id} ({self.scope.kind})"
            logger.info("server %s: %s -> %s%s", name, before.state, self.life.state, why)
        if self.life == before:
            return
        link = self.requests.link
        if self.life.state is State.READY and link is not None and link.lost_because is not None:
            self._post(self._link_number, link.lost_because)  # it went while it was being opened
        if self.life.state in (State.OFF, State.FAILED, State.NEEDS_LOGIN):
            self.opened = None
        self.mind_log_level()  # first, so that the calls that waited are heard as loud as they asked for
        self.requests.send_queued()
        self._release_queue()
        try:
            self._around.changed(self)
        except Exception:  # a bug of ours; the server must not lose its owner over it
            logger.exception("server %s", self.id)

    # Opening and closing: one task at a time, started by the owner

    async def _open(self, number: int) -> None:
        try:
            async with self._turn(), asyncio.timeout(self._start_limit_s()):
                await self._open_now()
        except TimeoutError:
            await self._forget_eras()
            failure = Failed(f"it did not become ready within {self._start_limit_s():g} s")
        except SpawnError as problem:
            link = self.requests.link
            failure = Failed(problem.reason, State.FAILED if problem.permanent else State.WAITING)
            if link is not None and link.lost_because is not None:
                failure = _as_failure(link.lost_because)
        except Unresolvable as problem:
            failure = Failed(str(problem), State.FAILED)
        except NotUnderstood as problem:
            await self._forget_eras()
            failure = Failed(self.logs.redact(str(problem)), State.FAILED)
        except GatewayError as problem:
            failure = await self._failed_answer(problem)
        except Exception as problem:  # a bug of ours must not leave the server starting for ever
            logger.exception("opening server %s", self.id)
            failure = Failed(f"the gateway made a mistake: {problem!r}")
        else:
            self._post(number, Opened())
            return
        self._post(number, failure)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """The time of a start counts from here: one that waits for others has not begun."""
        if self.config.command is None:
            yield
            return
        self._awaits_turn = True
        try:
            async with self._around.gate.place():
                self._awaits_turn = False
                yield
        finally:
            self._awaits_turn = False

    async def _open_now(self) -> None:
        remembered = self._around.eras.eras(self._fingerprint) or frozenset()
        self.transport = _first_transport(self.config, remembered)
        known = frozenset(Era(word) for word in remembered & ERA_WORDS) or None
        try:
            opened = await self._open_server(known)
        except GatewayError:
            if not self._may_be_sse():
                raise
            self.transport = Transport.SSE
            opened = await self._open_server(None)
        self.opened = replace(
            opened,
            instructions=self._offered.text(opened.instructions),
            server_info=self._offered.value(opened.server_info),
            capabilities=self._shown(opened.capabilities),
            modern=None if opened.modern is None else self._shown(opened.modern),
        )
        if opened.era is Era.MODERN:
            has_logging = LOGGING in opened.capabilities
            self.requests.speak(modern_meta(self._around.client_info), has_logging=has_logging)
        else:
            self.requests.speak({})
        if not remembered and self.scope == SHARED:
            words = {*opened.eras, *({Transport.SSE} & {self.transport})}
            await self._around.eras.remember_eras(self._fingerprint, frozenset(words))
        # Before the lists are read: what changes from then on is told.
        self._begin_chore(self.subscribing.run(opened.era, promise_of(opened.capabilities)))
        self._announced.clear()
        self._refresh_at.clear()  # what it announced so far is covered by the lists that are read now
        await self._read_tools()
        self._refreshed_at[TOOLS] = now_s()
        if self.scope == SHARED:
            await self._read_others()
        await self.subscribing.caught_up()
        self._ping_at = now_s() + QUIET_S
        self._suspect = False

    async def _open_server(self, known: frozenset[Era] | None) -> Opening:
        if self.transport is Transport.SSE:
            known = frozenset({Era.HANDSHAKE})  # the transport is older than any other era
        return await open_server(_Door(self), known, self._around.client_info, self.stance)

    def _shown(self, capabilities: dict[str, Raw]) -> dict[str, Raw]:
        return {name: self._offered.value(said) for name, said in capabilities.items()}

    def _may_be_sse(self) -> bool:
        """Whether a remote server of unknown transport refused Streamable HTTP as an older one does."""
        link = self.requests.link
        return (
            isinstance(link, HttpLink)
            and self.config.type is None
            and link.greeting_refused in NOT_STREAMABLE
        )

    @property
    def _is_package_runner(self) -> bool:
        return (self.config.command or "").rpartition("/")[2] in PACKAGE_RUNNERS

    def _start_limit_s(self) -> float:
        if self._is_package_runner and "start_timeout_s" not in self.config.model_fields_set:
            return INSTALL_TIMEOUT_S
        return self.config.start_timeout_s

    async def _failed_answer(self, problem: GatewayError) -> Failed:
        link = self.requests.link
        await self._forget_eras()
        if link is None or link.lost_because is None:
            reason = problem.reason if isinstance(problem, RequestFailed) else problem.detail
            return Failed(reason, wait_s=problem.retry_after_s or 0.0)
        # A shell's codes for "cannot be run" will be the same next time.
        hopeless = link.exit is not None and link.exit.code in (NOT_FOUND, NOT_EXECUTABLE)
        ended = link.lost_because
        return Failed(ended.reason, State.FAILED) if hopeless else _as_failure(ended)

    async def _forget_eras(self) -> None:
        """The same command may be another version by now: what failed is probed anew next time."""
        if self.scope == SHARED and self._around.eras.eras(self._fingerprint) is not None:
            await self._around.eras.forget_eras(self._fingerprint)

    async def _close(self, number: int, opening: asyncio.Task[None] | None) -> None:
        try:
            if opening is not None and not opening.done():
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
            await self._drop_chores()
            await self._end_link(self.life.reason)
        except Exception:
            logger.exception("closing server %s", self.id)
        finally:
            self._post(number, Closed())

    async def _new_link(self) -> None:
        await self._end_link("the process was replaced")
        await self._around.nursery.started.wait()
        resolved = await self._around.resolve(self.config)
        self.logs.guard(_secrets(resolved))
        headers, url = resolved.headers.values(), resolved.url or ""
        self._offered = Offered(fetched(self.config, resolved.env, headers, url))
        self.requests.link = link = self._make_link(resolved)
        self.requests.speak({})
        self._log_level.reset()
        await link.open()

    def _make_link(self, resolved: Resolved) -> Link:
        spool_dir, cap_bytes = self._around.spool_dir, self.config.max_result_bytes
        if resolved.url is not None:
            remote = Remote(resolved.url, resolved.headers, self._around.instance)
            if self.transport is Transport.SSE:
                return SseLink(remote, self.requests, self.logs, spool_dir, cap_bytes)
            return HttpLink(remote, self.requests, self.logs, spool_dir, cap_bytes, self._refresh)
        spawn = partial(
            self._around.nursery.spawn,
            self.id,
            resolved.command,
            resolved.args,
            resolved.env,
            resolved.cwd,
        )
        return StdioLink(spawn, self.requests, self.logs, spool_dir, cap_bytes)

    async def _end_link(self, reason: str) -> None:
        self.requests.end_pending(reason)
        link = self.requests.link
        if link is not None:
            # Taken out only once it is closed: whoever cancels this close must be able to finish it.
            await link.close()
            self.last_exit = link.exit or self.last_exit
            self.requests.link = None

    # What the requests report

    def check_coming(self) -> None:
        """Raises:
        GatewayError: `unavailable`, unless the server is ready or about to be.
        """
        life = self.life
        match life.state:
            case State.READY | State.STARTING | State.IDLE:
                return
            case State.STOPPING if life.after in (State.STARTING, State.WAITING, State.IDLE):
                return
            case State.WAITING if life.retry_at is not None and life.retry_at - now_s() <= WAIT_FOR_RETRY_S:
                return
            case _:
                raise self._unavailable()

    def heard(self, method: str) -> bool:
        kind = LISTS_OF.get(method)
        if kind is None:
            self.requests.counts["other notifications"] += 1
        else:
            self._announced.add(kind)
            self._lists_may_differ((kind,))
        return kind is not None

    def _lists_may_differ(self, kinds: Iterable[str]) -> None:
        for kind in kinds:
            if kind not in self._refresh_at and self.life.state in (State.STARTING, State.READY):
                earliest = self._refreshed_at.get(kind, 0.0) + REFRESH_EVERY_S
                self._refresh_at[kind] = max(now_s() + REFRESH_AFTER_S, earliest)
                self._bell.set()

    def renewed(self) -> None:
        self.subscribing.renew()

    def call_timed_out(self) -> None:
        self._suspect = True
        self._ping_at = now_s()
        self._bell.set()

    def lost(self, ended: Ended) -> None:
        if self.life.state is State.READY:
            self._post(self._link_number, ended)

    def _release_queue(self) -> None:
        """Ends the calls that wait for a server that is not coming."""
        try:
            self.check_coming()
        except GatewayError:
            self.requests.end_queued(self._unavailable)
            self.subscribing.give_up(self._unavailable)

    def _unavailable(self) -> GatewayError:
        life = self.life
        retry_after_s = None
        match life.state:
            case State.OFF:
                why = "is switched off"
            case State.WAITING:
                retry_after_s = max(0.0, (life.retry_at or 0.0) - now_s())
                why = f"is down: {life.reason}; attempt {life.attempt + 1} follows in {retry_after_s:.0f} s"
            case State.STOPPING:
                why = f"is stopping: {life.reason}"
            case _:
                why = f"{'needs a login' if life.state is State.NEEDS_LOGIN else 'has failed'}: {life.reason}"
        return GatewayError(
            Kind.UNAVAILABLE, f"The server `{self.id}` {why}", server=self.id, retry_after_s=retry_after_s
        )

    async def _read_tools(self) -> None:
        assert self.opened is not None, "tools are read after opening"
        if "tools" in self.opened.capabilities:
            tools, remarks = await read_tools(self._ask_for_tools)
            tools, more = self._offered.tools(tools)
            for remark in (*remarks, *more[:MAX_REMARKS]):
                self.logs.add("gateway", remark.encode())
            self.tools = tools if self.requests.link is None else self.requests.link.learn(tools)
        else:
            self.tools = ()
        self.has_listed = True

    async def _ask_for_tools(self, params: Params) -> Raw:
        return await self.requests.ask("tools/list", params, LIST_S)

    # Resources and prompts

    async def _read_others(self) -> None:
        """Those that it says it has; a server that cannot list them keeps its tools.

        Raises:
            GatewayError: the link was lost meanwhile.
        """
        assert self.opened is not None, "lists are read after opening"
        has = frozenset(self.opened.capabilities)
        if promise_of(self.opened.capabilities).subscribe:
            has |= {SUBSCRIPTIONS}
        before = self.shelf
        self.shelf = Shelf(
            before.resources if RESOURCES in has else (),
            before.templates if RESOURCES in has else (),
            before.prompts if PROMPTS in has else (),
            has,
        )
        self._known -= {RESOURCES, PROMPTS} - has
        reading = [self._begin_chore(self._read_other(kind)) for kind in (RESOURCES, PROMPTS) if kind in has]
        if reading:
            await asyncio.wait(reading, timeout=min(OTHER_LISTS_S, self._start_limit_s() / 2))
        if self.requests.link is not None and self.requests.link.lost_because is not None:
            raise self.requests.lost_error(self.requests.link.lost_because.reason)

    async def _read_other(self, kind: str) -> None:
        """Reads a list whole, or leaves it as it was and says why."""
        try:
            if kind == PROMPTS:
                prompts = await self._read_list(PROMPT_LIST)
                self.shelf = replace(self.shelf, prompts=prompts)
            else:
                resources = await self._read_list(RESOURCE_LIST)
                templates = await self._read_list(TEMPLATE_LIST)
                self.shelf = replace(self.shelf, resources=resources, templates=templates)
            self._known.add(kind)
        except (GatewayError, NotUnderstood) as problem:
            self.last_error = self.logs.redact(f"the list of {kind} could not be read: {problem}")
            self.logs.add("gateway", self.last_error.encode())
        self._refreshed_at[kind] = now_s()
        if self.life.state is State.READY:
            self._around.changed(self)

    async def _read_list(self, of: List[Listed]) -> tuple[Listed, ...]:
        async def ask(params: Params) -> Raw:
            return await self.requests.ask(of.method, params, LIST_S)

        try:
            entries, remarks = await read_list(ask, of)
        except UpstreamAnswered as problem:
            # Many servers have resources and no templates, or the other way round.
            if problem.rpc_code != METHOD_NOT_FOUND:
                raise
            return ()
        entries, more = self._offered.entries(entries, of)
        for remark in (*remarks, *more[:MAX_REMARKS]):
            self.logs.add("gateway", remark.encode())
        return entries

    # Chores of a ready server

    @property
    def _idle_at(self) -> float | None:
        """When it is to be stopped for want of calls; later, as long as there are any."""
        if self.idle_limit_s is None:
            return None
        in_use = self.requests.in_flight or self.requests.queued
        if self.scope == SHARED:
            in_use = in_use or self.subscribing.wanted
        used_at = now_s() if in_use else max(self.requests.used_at, self.life.since)
        return used_at + self.idle_limit_s

    @property
    def idle_limit_s(self) -> float | None:
        """Seconds without a call after which it stops; None: never."""
        return self.config.idle_stop_s if self.scope == SHARED else self._idle_s

    def _do_chores(self, now: float) -> None:
        if self._idle_at is not None and now >= self._idle_at:
            self._post(None, Stop(State.IDLE, f"not called for {self.idle_limit_s:g} s"))
            return
        for kind in [kind for kind, at in self._refresh_at.items() if now >= at]:
            del self._refresh_at[kind]
            self._refreshed_at[kind] = now
            if self.opened is not None and kind in self.opened.capabilities:
                self._begin_chore(self._read_again(kind))
        if now >= self._ping_at:
            self._ping_at = now + QUIET_S
            quiet = now - self.requests.heard_at >= QUIET_S and self.requests.in_flight == 0
            if quiet or self._suspect:
                self._begin_chore(self._prove_alive())

    def _begin_chore(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def _drop_chores(self) -> None:
        chores = [task for task in self._chores if task is not asyncio.current_task()]
        for task in chores:
            task.cancel()
        await asyncio.gather(*chores, return_exceptions=True)

    async def _read_again(self, kind: str) -> None:
        """A change that the server announced is told also where the list is what it was: it knows best."""
        is_announced = kind in self._announced
        self._announced.discard(kind)
        if kind == TOOLS:
            await self._refresh()
        elif self.scope == SHARED:
            await self._read_other(kind)
        if is_announced:
            self._around.announced(self, kind)

    async def _refresh(self) -> None:
        try:
            await self._read_tools()
        except (GatewayError, NotUnderstood) as problem:
            # The old list stays: half a list would take tools away that are there.
            self.last_error = f"the tool list could not be read again: {problem}"
            self.logs.add("gateway", self.last_error.encode())
        self._around.changed(self)

    async def _prove_alive(self) -> None:
        """A ping on the live link. The modern era has none: there, process and pipe are the proof,
        and a remote server is asked who it is."""
        is_modern = self.opened is None or self.opened.era is Era.MODERN
        self._suspect = False
        if is_modern and self.transport is Transport.STDIO:
            return
        asked_at = now_s()
        try:
            await self.requests.ask("server/discover" if is_modern else "ping", {}, PING_S)
        except UpstreamAnswered:
            return  # a refusal is a sign of life
        except GatewayError as problem:
            if self.requests.heard_at < asked_at and self.life.state is State.READY:
                reason = f"it did not answer a ping for {PING_S:.0f} s"
                if isinstance(problem, RequestFailed):
                    reason = problem.reason
                self._post(self._link_number, Ended(reason))


class _Door:
    """What `opening.py` may do to this server."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def fresh(self) -> None:
        await self._upstream._new_link()

    async def ask(self, method: str, params: Params) -> Raw:
        return await self._upstream.requests.ask(method, params, INSTALL_TIMEOUT_S)

    def agree(self, revision: str) -> None:
        if self._upstream.requests.link is not None:
            self._upstream.requests.link.agree(revision)

    def tell(self, method: str) -> None:
        self._upstream.requests.announce(method)


def _as_failure(ended: Ended) -> Failed:
    return Failed(ended.reason, ended.into, ended.wait_s)


def _first_transport(config: ServerConfig, remembered: frozenset[str]) -> Transport:
    """What is tried first; a remote server of no stated type may turn out to be an older one."""
    if config.url is None:
        return Transport.STDIO
    if config.type == "sse" or Transport.SSE in remembered:
        return Transport.SSE
    return Transport.HTTP


def _secrets(resolved: Resolved) -> list[str]:
    """The values that must not be shown: of variables, of headers, and of an address with its keys."""
    headers = [word for value in resolved.headers.values() for word in (value, *value.split())]
    return [*resolved.env.values(), *headers, *secrets_of(resolved.url or "")]


def _fingerprint(config: ServerConfig) -> str:
    """Names a configuration as far as it decides what a server speaks; holds no secret's value."""
    parts = (config.command or "", *config.args, config.cwd or "", *sorted(config.env))
    if config.url is not None:
        parts = (config.url, config.type or "", *sorted(config.headers))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
