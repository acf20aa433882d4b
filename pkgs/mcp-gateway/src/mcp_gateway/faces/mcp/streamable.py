"""MCP over Streamable HTTP with sessions (2025-03-26 to 2025-11-25), plain ASGI: how messages are carried.

`/mcp` offers the tools of all servers under exposed names, `/servers/{id}/mcp` those of one under
their own. What a message means is the business of `messages.py`. An answer is JSON unless something has to
be said before it: only then the reply becomes an event stream, which a client may go on reading elsewhere
(`streams.py`). A call goes on while nobody listens: leaving is no cancellation in this era. What is not of
this era goes to `modern.py`.
"""

import asyncio
import re
from functools import partial
from typing import Any, Final

from mcp_gateway import clock
from mcp_gateway.errors import INVALID_REQUEST, GatewayError, Kind
from mcp_gateway.faces.calls import until_gone
from mcp_gateway.faces.http import (
    JSON_TYPE,
    LARGE_BYTES,
    Receive,
    Send,
    Visit,
    error_headers,
    may_stream,
    read_body,
    require_acceptable,
    require_json,
    respond,
    send_part,
)
from mcp_gateway.faces.mcp.messages import (
    Asked,
    Messages,
    error_body,
    is_array,
    unreadable,
)
from mcp_gateway.faces.mcp.modern import ModernHttp
from mcp_gateway.faces.mcp.sessions import ALL_SERVERS, Session, Sessions, expire
from mcp_gateway.faces.mcp.streams import (
    KEEP_ALIVE_S,
    Flowing,
    Said,
    Stream,
    parts_of,
    send_answer,
    size_of,
)
from mcp_gateway.faces.mcp.telling import doubt, listener_of, tell_changes
from mcp_gateway.gateway import Call, Gateway, call_id_text
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import Message, read_message
from mcp_gateway.wire.inbound import is_modern, speaks_modern
from mcp_gateway.wire.revisions import REVISIONS

# From here on the answer to a client that can come back for it is a stream: one that breaks loses nothing.
RESUMABLE_AFTER_S: Final = 2.0
# Who is asked something and has lost the connection comes back within this time, or has gone.
VANISHED_S: Final = 5.0
_SESSION: Final = b"mcp-session-id"
_OWN, _POST = "g", "p"  # kinds of streams, in the ids of their events
_EVENT_ID: Final = re.compile(rb"(([gp])\d{1,15})-(\d{1,15})")


class StreamableHttp:
    """The endpoint; one instance serves `/mcp` and every `/servers/{id}/mcp`."""

    def __init__(self, gateway: Gateway, sessions: Sessions, messages: Messages) -> None:
        self._gateway = gateway
        self._sessions = sessions
        self._messages = messages
        self._modern = ModernHttp(gateway, messages)

    async def serve(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        """Answers one HTTP request to an endpoint."""
        try:
            self._messages.require_endpoint(visit.caller, endpoint)
            if is_modern(visit.headers):
                await self._modern.serve(endpoint, visit, receive, send)
            elif visit.method == "POST":
                await self._post(endpoint, visit, receive, send)
            elif visit.method == "GET":
                await self._listen(self._session(endpoint, visit), visit, receive, send)
            elif visit.method == "DELETE":
                self._sessions.close(self._session(endpoint, visit))
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})
            else:
                error = GatewayError(Kind.INVALID, "MCP is spoken with POST, GET and DELETE", status=405)
                await respond(send, 405, unreadable(error), JSON_TYPE, (b"allow", b"POST, GET, DELETE"))
        except GatewayError as error:
            await respond(send, error.status, unreadable(error), JSON_TYPE, *error_headers(error))

    async def _post(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        require_json(visit.headers)
        require_acceptable(visit.headers)
        body = await read_body(visit, receive, self._gateway.config.gateway.limits.body_bytes)
        if is_array(body):
            session = self._session(endpoint, visit)
            if REVISIONS[session.revision].batches:
                await self._batch(session, visit, body, receive, send)
                return
        message = read_message(body)
        if message.method == "initialize" and message.id is not None:
            await self._initialize(endpoint, visit, message, send)
            return
        if _SESSION not in visit.headers and speaks_modern(message):
            await self._modern.answer(endpoint, visit, message, len(body), receive, send)
            return
        session = self._session(endpoint, visit)
        if message.id is None or message.method is None:
            self._messages.note(session, message)
            await respond(send, 202, b"", JSON_TYPE)
            return
        reply = _Reply(session, visit, receive, send)
        try:
            await self._messages.answer(Asked(session, message, len(body), visit.headers), reply)
        finally:
            reply.close()

    async def _batch(self, session: Session, visit: Visit, body: bytes, receive: Receive, send: Send) -> None:
        """Several messages (2025-03-26): all are read before any is acted on, then all run at once."""
        messages = self._messages.read(session, body)
        reply = _BatchReply(session, visit, receive, send)
        try:
            async with asyncio.TaskGroup() as running:
                for message, size in messages:
                    if message.id is None or message.method is None:
                        self._messages.note(session, message)
                    else:
                        asked = Asked(session, message, size, visit.headers)
                        running.create_task(self._messages.answer(asked, reply))
            await reply.end()
        finally:
            reply.close()

    # Sessions

    def _session(self, endpoint: str, visit: Visit) -> Session:
        session_id = visit.headers.get(_SESSION)
        if session_id is None:
            raise GatewayError(
                Kind.INVALID,
                "The header Mcp-Session-Id is missing; begin with `initialize`",
                rpc_code=INVALID_REQUEST,
            )
        now = clock.now_s()
        session = self._sessions.find(session_id.decode("latin-1"), visit.caller, endpoint, now)
        if session is None:
            raise GatewayError(
                Kind.UNKNOWN,
                "There is no such session; begin again with `initialize`",
                rpc_code=INVALID_REQUEST,
            )
        return session

    async def _initialize(self, endpoint: str, visit: Visit, message: Message, send: Send) -> None:
        try:
            said = self._messages.introduce(visit.caller, endpoint, message)
        except GatewayError as error:
            status = 200 if error.kind is Kind.INVALID else error.status
            body = error_body(message.id_raw, error)
            await respond(send, status, body, JSON_TYPE, *error_headers(error))
            return
        session = self._sessions.open(
            visit.caller,
            endpoint,
            said.revision,
            clock.now_s(),
            said.client_info,
            capabilities=said.capabilities,
        )
        if endpoint != ALL_SERVERS:
            self._gateway.look_at(visit.caller, endpoint, session.client)
        await respond(send, 200, said.answer, JSON_TYPE, (_SESSION, session.id.encode()))

    # The session's own stream, and those that a client comes back to

    async def _listen(self, session: Session, visit: Visit, receive: Receive, send: Send) -> None:
        """The GET stream: tells that lists have changed, or what is left of a stream that broke."""
        if b"text/event-stream" not in visit.headers.get(b"accept", b"*/*").lower():
            raise GatewayError(Kind.INVALID, "This stream is text/event-stream", status=406)
        first = sse.KEEP_ALIVE
        stream, after = self._broken(session, visit.headers.get(b"last-event-id"))
        if stream is None:
            stream = session.own or self._open_own(session)
            if after is not None:  # of a stream that is forgotten: there may have been news on it
                doubt(listener_of(self._gateway, session))
                after = None
            if REVISIONS[session.revision].primes:
                first = stream.priming()
        reader = stream.attach(after)
        left = asyncio.create_task(until_gone(receive))
        left.add_done_callback(lambda _: reader.drop())
        try:
            await stream.carry(reader, send, [], first, partial(expire, self._sessions))
        finally:
            left.cancel()

    def _broken(self, session: Session, last: bytes | None) -> tuple[Stream | None, int | None]:
        """The stream that an event's id names, and that event's number."""
        if last is None:
            return None, None
        named = _EVENT_ID.fullmatch(last)
        if named is None:
            raise GatewayError(
                Kind.INVALID, "The header Last-Event-ID names no event of ours", rpc_code=INVALID_REQUEST
            )
        stream = session.kept.streams.get(named[1].decode())
        if stream is None and named[2] == _POST.encode():
            detail = "What was said on this stream is not kept any more; ask again"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
        return stream, int(named[3])

    def _open_own(self, session: Session) -> Stream:
        listener_of(self._gateway, session)
        stream = session.own = session.kept.open(_OWN)
        session.keep(asyncio.create_task(self._tell(session, stream), name="changes"))
        return stream

    async def _tell(self, session: Session, stream: Stream) -> None:
        try:
            await tell_changes(self._gateway, session, stream)
        finally:
            if session.own is stream:
                session.own = None
            stream.finish()


class _Reply:
    """The answer to one POST: JSON, or an event stream from the first thing said before it."""

    def __init__(self, session: Session, visit: Visit, receive: Receive, send: Send) -> None:
        self._session = session
        self._receive = receive
        self._send = send
        self._may_stream = may_stream(visit.headers)
        self._primes = REVISIONS[session.revision].primes
        self._asked_at = clock.now_s()
        self._headers: list[tuple[bytes, bytes]] = []
        self._stream: Stream | None = None
        self._carrying: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def about(self, call: Call) -> None:
        self._headers = [(b"mcp-gateway-call", call_id_text(call.id).encode())]

    @property
    def is_heard(self) -> bool:
        stream = self._stream or (None if self._may_stream else self._session.own)
        if stream is None:
            return self._may_stream
        return stream.reader is not None or clock.now_s() - stream.left_at < VANISHED_S

    async def tell(self, message: bytes) -> None:
        if self._may_stream:
            await self._put(self._stream or self._begin(), message)

    async def ask(self, message: bytes) -> None:
        if not self._may_stream and self._session.own is not None:
            self._session.own.put(message)
            return
        await self.tell(message)
        if self._watching is None and self._stream is not None and self._stream.reader is not None:
            # Whether anybody is there matters only now: an answer would wait for who comes back.
            reader = self._stream.reader
            self._watching = asyncio.create_task(until_gone(self._receive))
            self._watching.add_done_callback(lambda _: reader.drop())

    async def still(self) -> None:
        patience_s = RESUMABLE_AFTER_S if self._primes else KEEP_ALIVE_S
        if self._stream is None and self._may_stream and clock.now_s() - self._asked_at >= patience_s:
            self._begin()

    async def answer(self, said: Said | None) -> None:
        if self._stream is None:
            await send_answer(self._send, said, self._headers)
            return
        if said is not None:
            await self._put(self._stream, said)
        await self._finish(self._stream)

    async def fail(self, id_raw: bytes, error: GatewayError) -> None:
        await self.answer(error_body(id_raw, error))

    def close(self) -> None:
        """For the end of its request, however it came: then nothing more is said."""
        if self._watching is not None:
            self._watching.cancel()
        if self._stream is not None and not self._stream.is_over:
            self._stream.finish()

    def _begin(self) -> Stream:
        """From here on it is a stream, which goes on when this connection does not."""
        stream = self._stream = self._session.kept.open(_POST)
        first = stream.priming() if self._primes else sse.KEEP_ALIVE
        reader = stream.attach()
        self._carrying = asyncio.create_task(stream.carry(reader, self._send, self._headers, first))
        return stream

    async def _put(self, stream: Stream, said: Said) -> None:
        await stream.room()
        stream.put(said)

    async def _finish(self, stream: Stream) -> None:
        stream.finish()
        assert self._carrying is not None, "a stream is carried from its begin"
        await self._carrying


class _BatchReply(_Reply):
    """The answers to a batch: an array, or each as an event once something is said before the last."""

    def __init__(self, session: Session, visit: Visit, receive: Receive, send: Send) -> None:
        super().__init__(session, visit, receive, send)
        self._answers: list[Said] = []
        self._size = 0

    def about(self, call: Call) -> None:
        """A batch is no single call."""

    async def answer(self, said: Said | None) -> None:
        if said is None:
            return
        if self._stream is not None:
            await self._put(self._stream, said)
            return
        self._answers.append(said)
        self._size += size_of(said)
        if self._size > LARGE_BYTES and self._may_stream:
            self._begin()  # rather than wait for the last with all of them in memory

    def _begin(self) -> Stream:
        stream = super()._begin()
        answers, self._answers = self._answers, []
        for said in answers:
            stream.put(said)
        return stream

    async def end(self) -> None:
        """Every message of the batch is through."""
        if self._stream is not None:
            await self._finish(self._stream)
        elif self._answers:
            headers: list[Any] = [(b"content-type", JSON_TYPE)]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            for number, said in enumerate(self._answers):
                await send_part(self._send, b"," if number else b"[")
                for part in parts_of(said):
                    await send_part(self._send, part)
            await self._send({"type": "http.response.body", "body": b"]"})
        else:
            await send_answer(self._send, None, [])

    def close(self) -> None:
        super().close()
        for said in self._answers:
            if isinstance(said, Flowing):
                said.close()
