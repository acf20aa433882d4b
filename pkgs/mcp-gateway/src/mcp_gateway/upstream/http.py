"""The link to a remote server over Streamable HTTP, of every revision from 2025-03-26 on.

One POST per request, on a pool of connections; answers come as JSON or as an event stream. In the
handshake era there is a session, kept and begun anew when the server has forgotten it, and a stream
of the server's own; in the modern era each request stands alone and carries its headers. Nothing is
sent twice, unless the server said that it did not take it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_gateway.catalog import Tool
from mcp_gateway.clock import now_s
from mcp_gateway.errors import Kind
from mcp_gateway.upstream.breaker import Breaker
from mcp_gateway.upstream.framing import SPOOL_ABOVE_BYTES, Collector, Spooled, TooLong
from mcp_gateway.upstream.lifecycle import Ended
from mcp_gateway.upstream.link import Failure, Peer, deliver
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.pool import Response
from mcp_gateway.upstream.remote import Remote, excerpt, is_compressed, refusal
from mcp_gateway.upstream.trouble import Trouble
from mcp_gateway.wire import headers as wire_headers
from mcp_gateway.wire.envelope import (
    Head,
    NotAMessage,
    Params,
    notification,
    read_error,
    read_head,
    request_line,
)
from mcp_gateway.wire.headers import HEADER_MISMATCH, Mirrors, NotMirrorable, mirrors_of, param_headers
from mcp_gateway.wire.revisions import MODERN, is_handshake
from mcp_gateway.wire.sse import EventReader

ANSWER_TYPES: Final = "application/json, text/event-stream"
STREAM_TYPE: Final = "text/event-stream"
SESSION: Final = "Mcp-Session-Id"
REVISION: Final = "MCP-Protocol-Version"
LAST_EVENT: Final = "Last-Event-ID"

# A stream goes on after the answer only until its end; a server that leaves it open loses the connection.
DRAIN_S: Final = 1.0
# The server's own stream is opened again after so long; a server that says less, or ends it at once again
# and again, does not make the gateway knock without a pause.
RECONNECT_S: Final = 1.0
RECONNECT_MAX_S: Final = 60.0
RESUME_MIN_S: Final = 0.1  # somebody waits for an answer, so its server may have us back for it sooner
LASTED_S: Final = 30.0
FRUITLESS_MAX: Final = 3  # resumptions of one answer that bring nothing new
MAX_UNTAKEN: Final = 64  # messages of ours that have no answer and are still on their way
SESSION_ID_MAX_CHARS: Final = 1_024
# Statuses by which a server of the first revision, or no MCP server at all, refuses the first POST.
NOT_STREAMABLE: Final = frozenset({400, 404, 405})
# What may be asked twice: a server that closes an idle connection may do so just as it is used again.
HARMLESS: Final = frozenset(
    {"server/discover", "tools/list", "resources/list", "resources/templates/list", "prompts/list", "ping"}
)
# Stays open until it is cut, which may happen to any quiet stream and says nothing of the server.
STANDING: Final = "subscriptions/listen"
GOODBYE_S: Final = 2.0
_RENEWAL_ID: Final = 0  # no request of `requests.py` has it
_LISTS_CHANGED: Final = tuple(
    Head(method=f"notifications/{kind}/list_changed") for kind in ("tools", "resources", "prompts")
)

logger = logging.getLogger(__name__)

Relist = Callable[[], Awaitable[None]]


class HttpLink:
    """See `link.Link`."""

    pid: int | None = None
    exit: None = None

    def __init__(
        self, remote: Remote, peer: Peer, logs: LogRing, spool_dir: Path, cap_bytes: int, relist: Relist
    ) -> None:
        self._remote = remote
        self._peer = peer
        self._logs = logs
        self._spool_dir = spool_dir
        self._cap_bytes = cap_bytes
        self._relist = relist
        self._breaker = Breaker()
        self._loop = asyncio.get_running_loop()  # asked once: the question costs a system call on 3.11
        self._revision: str | None = None
        self._session: str | None = None
        self._greeting: Params | None = None  # what `initialize` said, to say it again
        self._renewing: asyncio.Task[None] | None = None
        self._said_initialized: asyncio.Task[None] | None = None
        self._posts: dict[int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._mirrors: dict[str, Mirrors] = {}
        self._held_until = 0.0
        self._held: Failure | None = None
        self._lost: Ended | None = None
        self._closing = False
        self.has_spoken = False
        self.greeting_refused: int | None = None  # the HTTP status, when `initialize` got no MCP answer

    @property
    def lost_because(self) -> Ended | None:
        return self._lost

    async def open(self) -> None:
        await self._remote.open()

    async def close(self) -> None:
        self._closing = True
        tasks = [*self._posts.values(), *self._others]
        tasks += [task for task in (self._listening, self._renewing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            with contextlib.suppress(Trouble, TimeoutError):
                async with asyncio.timeout(GOODBYE_S), self._remote.exchange("DELETE", self._headers()):
                    pass
        await self._remote.close()

    # What `requests.py` says

    def agree(self, revision: str) -> None:
        self._revision = revision

    @property
    def _is_modern(self) -> bool:
        return self._revision is not None and not is_handshake(self._revision)

    def learn(self, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        """Modern servers compare arguments with headers; what asks for that wrongly is left out."""
        if not self._is_modern:
            return tools
        good, mirrors = [], {}
        for tool in tools:
            try:
                wanted = mirrors_of(tool.definition)
            except NotMirrorable as problem:
                name = self._logs.redact(tool.name)
                self._logs.add("gateway", f"the tool `{name}` is left out: {problem}".encode())
                continue
            if wanted:
                mirrors[tool.name] = wanted
            good.append(tool)
        self._mirrors = mirrors
        return tuple(good)

    def request(
        self, number: int, method: str, params: Params, forwarded: Mapping[str, str] | None = None
    ) -> None:
        if self._lost is not None or self._closing:
            return
        if method == "initialize":
            self._greeting = dict(params)
        self._posts[number] = self._loop.create_task(self._ask(number, method, params, forwarded))

    def cancel(self, number: int, reason: str) -> None:
        # The modern era ends a request by ending its connection; in the handshake era that says nothing.
        if self._revision is not None and not self._is_modern:
            self.notify("notifications/cancelled", {"requestId": number, "reason": reason})
        task = self._posts.pop(number, None)
        if task is not None:
            task.cancel()

    def settle(self, number: int) -> None:
        task = self._posts.pop(number, None)
        if task is None or task.done():
            return
        is_asking = task is asyncio.current_task(self._loop)
        if is_asking:
            self._keep(task)  # it reads on to the end, so that the connection can be used again
        else:
            task.cancel()

    def notify(self, method: str, params: Params | None = None) -> None:
        task = self._tell(notification(method, params), method)
        if method == "notifications/initialized":
            self._said_initialized = task
            self._listening = asyncio.create_task(self._listen(task))

    def answer(self, response: bytes) -> None:
        # A server that asks faster than it takes answers has to do without some.
        if len(self._others) < MAX_UNTAKEN:
            self._tell(response, None)

    def check(self, now: float) -> None: ...

    def _tell(self, body: bytes, method: str | None) -> asyncio.Task[None]:
        """Something that has no answer; what goes wrong with it shows with the next request."""

        async def tell() -> None:
            with contextlib.suppress(Trouble):
                if self._said_initialized not in (None, asyncio.current_task()):
                    await self._initialized()
                headers = self._headers() if method is None else self._headers(method, {})
                async with self._remote.exchange("POST", headers, body):
                    self.has_spoken = True

        task = asyncio.create_task(tell())
        self._keep(task)
        return task

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    # One request

    async def _ask(
        self, number: int, method: str, params: Params, forwarded: Mapping[str, str] | None
    ) -> None:
        """Ends with the answer or with `failed`, unless nobody waits any more."""
        began = now_s()
        try:
            self._refuse_while_held()
            await self._initialized()
            try:
                await self._post(number, method, params, forwarded)
            except Trouble as trouble:
                if not (trouble.is_cut and method in HARMLESS):
                    raise
                await self._post(number, method, params, forwarded)
            self._breaker.count(now_s(), began, failed=False)
        except Trouble as trouble:
            is_alone = len(self._posts) <= 1
            if number in self._posts:
                self._peer.failed(number, trouble.failure)
            if method != STANDING or trouble.is_down or trouble.ends is not None:
                self._count(trouble, began, is_alone)
        except TooLong as problem:
            self._peer.failed(number, Failure(Kind.LOST, f"it sent {problem}"))
        except OSError as problem:  # of the file that a large answer goes to
            told = f"its large answer could not be put on disk: {problem.strerror}"
            self._peer.failed(number, Failure(Kind.LOST, told))
        except Exception:  # a bug of ours must not leave a caller waiting
            logger.exception("a request to a remote server")
            self._peer.failed(number, Failure(Kind.INTERNAL, "the gateway made a mistake"))

    def _refuse_while_held(self) -> None:
        left_s = self._held_until - now_s()
        if left_s > 0 and self._held is not None:
            raise Trouble(self._held.reason, self._held.kind, retry_after_s=left_s, counts=False)

    async def _initialized(self) -> None:
        """A server may refuse what overtakes `notifications/initialized`."""
        if self._said_initialized is not None and not self._said_initialized.done():
            await asyncio.wait((self._said_initialized,))

    def _count(self, trouble: Trouble, began: float, is_alone: bool) -> None:
        """What a failure means for the link as a whole."""
        now = now_s()
        failure = trouble.failure
        if trouble.is_personal:
            return
        if failure.retry_after_s:
            self._held, self._held_until = failure, now + failure.retry_after_s
        if trouble.ends is not None:
            self._lose(trouble.ends)
        elif trouble.counts:
            self._breaker.count(now, began, failed=True)
            if (trouble.is_down and is_alone) or self._breaker.is_open(now):
                self._lose(Ended(failure.reason, wait_s=failure.retry_after_s or 0.0))

    def _lose(self, ended: Ended) -> None:
        if self._lost is None and not self._closing:
            self._lost = ended
            self._peer.lost(ended)

    async def _post(
        self, number: int, method: str, params: Params, forwarded: Mapping[str, str] | None
    ) -> None:
        body = request_line(number, method, params)[:-1]
        for is_last in (False, True):
            session = self._session
            headers = self._headers(method, params)
            if forwarded:
                headers = {**forwarded, **headers}
            async with self._remote.exchange("POST", headers, body) as response:
                self.has_spoken = True
                if response.status == 200:
                    if method == "initialize":
                        self._take_session(response)
                    await self._take(number, response, forwarded)
                    return
                said = await excerpt(response)
            error = _json_rpc_error(said)
            # Both were refused before they were taken, so sending them again does nothing twice.
            if not is_last and response.status == 404 and session is not None and method != "initialize":
                await self._renew(session)
            elif not is_last and method == "tools/call" and _code(error) == HEADER_MISMATCH:
                await self._relist()  # the tool has changed which arguments it wants repeated
            else:
                self._refused(number, method, response, said, error, is_personal=forwarded is not None)
                return

    def _refused(
        self,
        number: int,
        method: str,
        response: Response,
        said: bytes,
        error: Raw | None,
        *,
        is_personal: bool,
    ) -> None:
        status = response.status
        if error is not None and status not in (401, 403):
            self._peer.message(Head(id=number, error=error), number)
            return
        if said.strip():
            self._logs.add("http", b"HTTP %d: %b" % (status, b" ".join(said.split())))
        if method == "initialize":
            self.greeting_refused = status
        raise refusal(response, is_personal=is_personal)

    def _headers(self, method: str | None = None, params: Params | None = None) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": ANSWER_TYPES}
        if method == "server/discover":
            return headers | {REVISION: MODERN} | wire_headers.routing_headers(method, {})
        if method == "initialize":
            # To a server that is known to speak the modern era, which may want these of every request. One
            # that knows only the handshake might not want to hear of a revision before it agreed to one.
            if params is not None and "_meta" in params:
                headers[REVISION] = str(params["protocolVersion"])
                headers |= wire_headers.routing_headers(method, {})
            return headers
        if self._session is not None:
            headers[SESSION] = self._session
        if self._revision is not None:
            headers[REVISION] = self._revision
        if method is not None and params is not None and self._is_modern:
            headers |= wire_headers.routing_headers(method, params)
            mirrors = self._mirrors.get(_text(params.get("name"))) if self._mirrors else None
            if mirrors:
                headers |= param_headers(mirrors, params)
        return headers

    def _take_session(self, response: Response) -> None:
        session = response.headers.get(SESSION.lower())
        if session is None:
            return
        if not (0 < len(session) <= SESSION_ID_MAX_CHARS and session.isascii() and session.isprintable()):
            raise Trouble("it gave a session id that no header can carry", counts=False)
        self._session = session

    # Answers

    async def _take(self, number: int, response: Response, forwarded: Mapping[str, str] | None) -> None:
        if is_compressed(response):
            raise Trouble("it compressed an answer that was to be plain", counts=False)
        kind = response.content_type
        if kind == "application/json":
            problem = self._message(await self._body(response), number)
            if number in self._posts:
                reason = problem or "its answer is to another request"
                raise Trouble(reason, counts=False)
        elif kind == STREAM_TYPE:
            await self._follow(number, response, forwarded)
        else:
            said = await excerpt(response)
            self._logs.add("http", b"HTTP 200: " + b" ".join(said.split()))
            shown = self._logs.redact(kind[:80])
            raise Trouble(f"it answered with {shown}, not with MCP", counts=False)

    async def _body(self, response: Response) -> bytes | Spooled:
        length = response.content_length
        if length is not None and length <= min(SPOOL_ABOVE_BYTES, self._cap_bytes):
            return await response.read()
        collector = Collector(self._spool_dir, self._cap_bytes)
        try:
            async for part in response:
                collector.feed(part)
            return collector.finish()
        finally:
            collector.close()

    def _message(self, body: bytes | Spooled, number: int | None) -> str | None:
        """One message of the server; answers what is wrong with it."""
        if isinstance(body, bytes) and not body:
            return "its answer is empty"
        problem = deliver(self._peer, body, number)
        return None if problem is None else f"its answer is not valid: {problem}"

    async def _follow(self, number: int, response: Response, forwarded: Mapping[str, str] | None) -> None:
        """Reads the stream of one request until its answer, then to its end; resumes one that was cut.

        Who comes back for an answer is still its caller, so what was passed on with the request is again.
        A server may let its client poll for as long as a call may take (2025-11-25, transports), so a
        server that asks for that by `retry` is limited by the call's own deadlines.
        """
        reader = self._reader(number)
        fruitless = 0
        try:
            await self._read_stream(number, reader, response)
        except Trouble:
            if not self._can_resume(number, reader):
                raise
        while number in self._posts:
            if not self._can_resume(number, reader):
                raise Trouble("its event stream ended without an answer")
            if fruitless == FRUITLESS_MAX and reader.retry_ms is None:
                raise Trouble("its event stream ended again and again without an answer")
            seen = reader.last_id
            await asyncio.sleep(_pause_s(reader.retry_ms, RESUME_MIN_S))
            reader = self._follower(number, reader)
            headers = {**(forwarded or {}), **self._headers(), "Accept": STREAM_TYPE}
            headers[LAST_EVENT] = _as_header(reader.last_id or "")
            async with self._remote.exchange("GET", headers) as again:
                if again.status != 200 or again.content_type != STREAM_TYPE:
                    raise Trouble("its event stream was cut, and it does not go on with it")
                with contextlib.suppress(Trouble):  # cut again
                    await self._read_stream(number, reader, again)
            fruitless = fruitless + 1 if reader.last_id == seen else 0

    def _can_resume(self, number: int, reader: EventReader) -> bool:
        return number in self._posts and not self._is_modern and bool(reader.last_id)

    def _reader(self, number: int | None) -> EventReader:
        def emit(name: str, body: Any) -> None:
            if name == "message" and body != b"":  # an empty event only carries an id
                self._message(body, number)

        return EventReader(lambda: Collector(self._spool_dir, self._cap_bytes), emit)

    def _follower(self, number: int | None, before: EventReader) -> EventReader:
        """A reader for the stream that goes on where another ended."""
        reader = self._reader(number)
        reader.last_id, reader.retry_ms = before.last_id, before.retry_ms
        return reader

    async def _read_stream(self, number: int, reader: EventReader, response: Response) -> None:
        """Raises:
        Trouble: it was cut.
        """
        try:
            async for part in response:
                reader.feed(part)
                if number not in self._posts:
                    break
            else:
                return
            async with asyncio.timeout(DRAIN_S):
                async for part in response:
                    reader.feed(part)
        except (Trouble, TimeoutError):
            if number in self._posts:
                raise

    # The session, and the server's own stream

    async def _renew(self, dead: str) -> None:
        """Begins a new session in place of the dead one; whoever comes meanwhile waits for the same."""
        if self._session != dead:
            return
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._begin_again())
        await asyncio.shield(self._renewing)

    async def _begin_again(self) -> None:
        self._session = None
        assert self._greeting is not None, "there is no session without a greeting"
        headers = self._headers("initialize", self._greeting)
        body = request_line(_RENEWAL_ID, "initialize", self._greeting)[:-1]
        try:
            async with self._remote.exchange("POST", headers, body) as response:
                if response.status != 200:
                    raise refusal(response)
                self._take_session(response)
                await excerpt(response)
            told = notification("notifications/initialized")
            async with self._remote.exchange("POST", self._headers(), told):
                pass
        except Trouble as trouble:
            reason = f"its session ended, and it began no new one: {trouble.failure.reason}"
            self._lose(trouble.ends or Ended(reason))
            raise
        for changed in _LISTS_CHANGED:  # whoever forgot the session may offer something else now
            self._peer.message(changed)
        self._peer.renewed()

    async def _listen(self, after: asyncio.Task[None]) -> None:
        """Keeps the server's own stream open, if it has one."""
        await asyncio.wait((after,))
        reader = self._reader(None)
        pause_s = RECONNECT_S
        while True:
            began = now_s()
            try:
                if not await self._listen_once(reader):
                    return
            except (Trouble, TooLong, OSError):
                pass  # requests tell what is wrong with the server; this only tries again
            lasted = now_s() - began >= LASTED_S
            pause_s = RECONNECT_S if lasted else min(2 * pause_s, RECONNECT_MAX_S)
            if reader.retry_ms is not None:
                pause_s = _pause_s(reader.retry_ms)
            await asyncio.sleep(pause_s)
            reader = self._follower(None, reader)

    async def _listen_once(self, reader: EventReader) -> bool:
        """Reads the stream to its end; False when the server has none."""
        headers = self._headers() | {"Accept": STREAM_TYPE}
        del headers["Content-Type"]
        if reader.last_id:
            headers[LAST_EVENT] = _as_header(reader.last_id)
        session = self._session
        async with self._remote.exchange("GET", headers) as response:
            if response.status == 200 and response.content_type == STREAM_TYPE:
                async for part in response:
                    reader.feed(part)
                return True
            is_dead = response.status == 404 and session is not None
        if is_dead and session is not None:
            await self._renew(session)
            return True
        return response.status in (429, 503)


def _as_header(event_id: str) -> str:
    """The id with the bytes it came with, which are UTF-8 (HTML, section 9.2); headers are Latin-1."""
    return event_id.encode().decode("latin-1")


def _pause_s(retry_ms: int | None, least_s: float = RECONNECT_S) -> float:
    """How long until a stream is opened again: as the server says, within reason."""
    wanted_s = RECONNECT_S if retry_ms is None else retry_ms / 1000
    return min(max(wanted_s, least_s), RECONNECT_MAX_S)


def _text(value: Any) -> str:
    """A tool's name as `params` hold it: ours, or a slice of the caller's."""
    if isinstance(value, Raw):
        with contextlib.suppress(msgspec.MsgspecError):
            value = msgspec.json.decode(value)
    return value if isinstance(value, str) else ""


def _code(error: Raw | None) -> int | None:
    problem = None if error is None else read_error(error)
    return None if problem is None else problem.code


def _json_rpc_error(body: bytes) -> Raw | None:
    """The `error` of a body that is a JSON-RPC error response."""
    with contextlib.suppress(NotAMessage):
        return read_head(body).error or None
    return None
