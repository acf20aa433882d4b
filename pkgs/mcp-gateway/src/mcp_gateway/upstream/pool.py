"""HTTP/1.1 to one origin, over connections that are kept: the hop to a remote server, and no more than it.

    Pool        the connections to one origin: opens them, keeps them for a while, drops them
    Response    one request and its answer
    Connection  an asyncio protocol around the parser of `httptools`; carries one exchange at a time

Only a connection whose last answer was whole is used again. What is not valid HTTP costs the connection and
is told; no leniency of the parser is switched on. Follows no redirect, decompresses nothing, sends nothing
twice, asks for no upgrade and never by HEAD. Has no deadline but that for connecting: whoever waits may be
cancelled at any time. Knows nothing of MCP.
"""

import asyncio
import base64
import contextlib
import functools
import select
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self, cast

import httptools
from yarl import URL

from mcp_gateway.upstream.dialing import Dialer, words
from mcp_gateway.upstream.trouble import Trouble

# Below what common servers allow an idle connection (5 s): a request must not meet a connection that is
# just being closed, because then nobody can say whether it was read.
KEEP_ALIVE_S: Final = 4.0
CLOSE_S: Final = 2.0
# For a status line with its headers, and for whatever else is no body: trailers, extensions of chunks.
BARE_MAX_BYTES: Final = 64 * 1024
HEADERS_MAX: Final = 256  # far more than any server sends; to join thousands of one name takes long
INFORMATIONAL_MAX: Final = 20  # answers of status 1xx before the real one
UNREAD_MAX_BYTES: Final = 1 << 20  # of a body that is read slowly; the server has to wait then
PIECE_BYTES: Final = 64 * 1024  # a longer body is handed over as the server reads it

_Problem = Callable[[], Trouble]
"""Makes the exception where it is raised: one that is kept would hold the frames that hold it."""

_CLOSED: Final[_Problem] = functools.partial(Trouble, "the connection to it was closed", counts=False)
_UNANSWERED: Final[_Problem] = functools.partial(
    Trouble, "it closed the connection without an answer", is_cut=True
)
_CUT_OFF: Final[_Problem] = functools.partial(Trouble, "its answer was cut off")
_NOT_HTTP: Final[_Problem] = functools.partial(Trouble, "its answer is not valid HTTP")


class _NotHttp(Exception):
    """The answer breaks a rule that the parser leaves to us."""


class Response:
    """One request and its answer: `async with` sends the one and waits for the head of the other.

    Inside the block the body comes in parts by `async for`, or whole by `read`. A block that is left
    before the end of the body costs the connection. Whatever is awaited raises `Trouble`.
    """

    def __init__(self, pool: "Pool", head: bytes, body: bytes) -> None:
        self._pool = pool
        self.head = head
        self.body = body
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0  # until the head is there
        self.headers: dict[str, str] = {}  # names in lower case; those of one name joined by commas
        # Kept by the connection, which is here as long as it carries this exchange.
        self.connection: Connection | None = None
        self.parts: deque[bytes] = deque()
        self.unread_bytes = 0
        self.is_complete = False
        self.problem: _Problem | None = None

    @property
    def content_type(self) -> str:
        kind = self.headers.get("content-type", "application/octet-stream")
        return kind.partition(";")[0].strip().lower()

    @property
    def content_length(self) -> int | None:
        length = self.headers.get("content-length")
        return None if length is None else int(length)

    async def __aenter__(self) -> Self:
        connection = self._pool.kept() or await self._pool.connect()
        try:
            if len(self.body) <= PIECE_BYTES:
                connection.begin(self, self.head + self.body)
            else:
                connection.begin(self, self.head)
                await self._send(connection, memoryview(self.body))
            while not self.status:
                await self._wait()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _send(self, connection: "Connection", rest: memoryview) -> None:
        connection.is_sending = True
        while rest and not self.status:
            if connection.is_full or self.problem is not None:
                await self._wait()
            else:
                connection.write(rest[:PIECE_BYTES])
                rest = rest[PIECE_BYTES:]
        connection.is_sending = bool(rest)  # answered before it was read: never to be used again

    async def _wait(self) -> None:
        """Until the connection has something to tell."""
        if self.problem is not None:
            raise self.problem()
        self._waiter = self._pool.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self.parts:
            if self.is_complete and self.problem is None:
                raise StopAsyncIteration
            await self._wait()
        part = self.parts.popleft()
        self.unread_bytes -= len(part)
        if self.connection is not None and self.unread_bytes <= UNREAD_MAX_BYTES // 2:
            self.connection.resume()
        return part

    async def read(self) -> bytes:
        """The whole body: for an answer whose `content_length` is known and small enough."""
        if self.is_complete and self.problem is None and len(self.parts) == 1:
            return self.parts.popleft()  # it came in one piece, as nearly all do
        return b"".join([part async for part in self])

    def close(self) -> None:
        """Wants no more of it."""
        if self.connection is not None:
            self.connection.fail(_CLOSED)


class Connection(asyncio.Protocol):
    """Whatever comes between two exchanges ends it: it could only answer the wrong request."""

    _transport: asyncio.Transport
    _arrivals: select.poll

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._headers: dict[str, str] = {}
        self._header_count = 0
        self._bare_bytes = 0  # that were no body, since the last ones that were
        self._informational = 0
        self._is_keepable = False
        self._is_reading = True
        self.is_full = False  # with what the server does not read
        self.is_sending = False
        self.idle_since = 0.0

    # What a response and the pool want of it

    def begin(self, response: Response, data: bytes) -> None:
        self._response = response
        response.connection = self
        self._bare_bytes = self._informational = 0
        self._transport.write(data)

    def write(self, piece: memoryview) -> None:
        self._transport.write(piece)

    def resume(self) -> None:
        if not self._is_reading and not self._transport.is_closing():
            self._is_reading = True
            self._transport.resume_reading()

    def is_quiet(self) -> bool:
        """Neither closed nor told anything. Asks the kernel, of which the loop hears only later."""
        return not self._transport.is_closing() and not self._arrivals.poll(0)

    def fail(self, problem: _Problem) -> None:
        """Ends at once."""
        response, self._response = self._response, None
        if response is not None:
            response.connection = None
            response.problem = problem
            response.wake()
        self._transport.abort()

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._arrivals = select.poll()
        self._arrivals.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._pool.connections.add(self)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self._transport.abort()
            return
        try:
            self._feed(response, data)
        except httptools.HttpParserCallbackError as problem:
            if not isinstance(problem.__context__, _NotHttp):
                raise  # a mistake of ours
            self.fail(_NOT_HTTP)
        except (httptools.HttpParserError, _NotHttp):
            self.fail(_NOT_HTTP)
        else:
            if response.is_complete:
                self._release(response)
            elif response.unread_bytes > UNREAD_MAX_BYTES and self._is_reading:
                self._is_reading = False
                self._transport.pause_reading()

    def _feed(self, response: Response, data: bytes) -> None:
        while data:
            if self._bare_bytes >= BARE_MAX_BYTES:
                raise _NotHttp
            part = data if response.status else data[: BARE_MAX_BYTES - self._bare_bytes]
            data = data[len(part) :]
            self._bare_bytes += len(part)
            self._parser.feed_data(part)

    def _release(self, response: Response) -> None:
        self._response = response.connection = None
        if self._is_keepable and not self.is_sending and not self._transport.is_closing():
            self.resume()
            self._pool.keep(self)
        else:
            self._transport.abort()

    def eof_received(self) -> None:
        response = self._response
        if response is None or not response.status:
            return
        if "content-length" not in response.headers and "transfer-encoding" not in response.headers:
            response.is_complete = True  # the end of the connection is the end of such a body
            response.wake()
            self._release(response)

    def connection_lost(self, problem: Exception | None) -> None:
        if self._response is not None and self._response.status:
            self.fail(_CUT_OFF)
        elif problem is None:
            self.fail(_UNANSWERED)
        else:
            self.fail(functools.partial(Trouble, f"the connection broke: {words(problem)}", is_cut=True))
        self._pool.forget(self)
        del self._parser  # which holds us

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._response is not None:
            self._response.wake()

    # What the parser says, while `_feed` runs

    def on_message_begin(self) -> None:
        self._headers = {}
        self._header_count = 0
        if self._response is None or self._response.is_complete:
            raise _NotHttp

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is None or self._response.status:
            return  # a trailer
        self._header_count += 1
        if self._header_count > HEADERS_MAX:
            raise _NotHttp
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0") or status < 100 or status == 101:
            raise _NotHttp
        if status < 200:
            self._informational += 1
            if self._informational > INFORMATIONAL_MAX:
                raise _NotHttp
            return
        if self._headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise _NotHttp  # nothing else was offered, and it would hide where the body ends
        assert self._response is not None, "`on_message_begin` has looked"
        self._is_keepable = version == "1.1" and self._parser.should_keep_alive()
        self._bare_bytes = 0
        self._response.status = status
        self._response.headers = self._headers
        self._response.wake()

    def on_body(self, part: bytes) -> None:
        response = self._response
        if response is None or not response.status:
            raise _NotHttp  # what is informational has no body
        self._bare_bytes = 0
        response.parts.append(part)
        response.unread_bytes += len(part)
        response.wake()

    def on_message_complete(self) -> None:
        response = self._response
        if response is not None and response.status:
            response.is_complete = True
            response.wake()


class Pool:
    """Every exchange with one origin; made where its loop runs.

    Raises:
        ValueError: the headers are such that HTTP cannot carry them.
    """

    def __init__(self, url: URL, headers: Mapping[str, str]) -> None:
        self.loop = asyncio.get_running_loop()  # asked once: the question costs a system call on 3.11
        self.connections: set[Connection] = set()
        self._dialer = Dialer(url)
        self._idle: list[Connection] = []  # the one that rests longest comes first
        self._sweeper: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None  # set while it closes
        fields = {"host": ("Host", url.host_port_subcomponent or "")}
        if url.user is not None:
            login = f"{url.user}:{url.password or ''}".encode()
            fields["authorization"] = ("Authorization", f"Basic {base64.b64encode(login).decode()}")
        fields |= {name.lower(): (name, value) for name, value in headers.items()}
        self._fields = {key: f"{name}: {value}\r\n" for key, (name, value) in fields.items()}
        self._all_fields = "".join(self._fields.values())
        _head(self._all_fields, len(self._fields))

    def exchange(self, method: str, headers: Mapping[str, str], body: bytes | None, url: URL) -> Response:
        """A request to the path of `url`; its own headers win over those of the pool.

        Raises:
            Trouble: HTTP cannot carry its headers.
        """
        fields = self._all_fields
        count = len(self._fields)
        ours = [name.lower() for name in headers]
        if not self._fields.keys().isdisjoint(ours):
            kept = [field for key, field in self._fields.items() if key not in ours]
            fields, count = "".join(kept), len(kept)
        own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        text = f"{method} {url.raw_path_qs} HTTP/1.1\r\n{fields}{own}{length}\r\n"
        try:
            head = _head(text, count + len(headers) + (2 if body is None else 3))
        except ValueError as problem:
            raise Trouble(f"a request to it {problem}", counts=False) from None
        return Response(self, head, body or b"")

    @property
    def kept_count(self) -> int:
        return len(self._idle)

    def kept(self) -> Connection | None:
        """The connection that was used last, if it is still good."""
        fresh_since = self.loop.time() - KEEP_ALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > fresh_since and connection.is_quiet():
                return connection
            connection.fail(_CLOSED)
        return None

    def keep(self, connection: Connection) -> None:
        connection.idle_since = self.loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(KEEP_ALIVE_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.loop.time()
        while self._idle and self._idle[0].idle_since + KEEP_ALIVE_S <= now:
            self._idle.pop(0).fail(_CLOSED)
        if self._idle:
            self._sweeper = self.loop.call_at(self._idle[0].idle_since + KEEP_ALIVE_S, self._sweep)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._gone is not None and not self.connections and not self._gone.done():
            self._gone.set_result(None)

    async def connect(self) -> Connection:
        """Raises:
        Trouble: there is no way to it.
        """
        connection = await self._dialer.dial(lambda: Connection(self))
        if self._gone is not None:
            connection.fail(_CLOSED)
            raise _CLOSED()
        return connection

    async def close(self) -> None:
        """Ends every exchange and connection."""
        self._gone = self.loop.create_future()
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._dialer.close()
        for connection in self.connections:
            connection.fail(_CLOSED)
        if self.connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._gone


def _head(text: str, lines: int) -> bytes:
    """The text as bytes, if it has so many lines and nothing that would be read as more.

    Raises:
        ValueError: with the reason.
    """
    try:
        head = text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("has a header with characters that HTTP cannot carry") from None
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise ValueError("has a header with a line break or a NUL")
    return head
