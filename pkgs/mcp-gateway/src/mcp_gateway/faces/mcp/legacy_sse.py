"""MCP over HTTP+SSE (2024-11-05), plain ASGI: one event stream that is the session, and a URL for messages.

`GET /mcp/sse` begins a session and tells where its messages go, a URL with the session's key; it is worth
nothing to another caller. Messages are posted there and answered 202; what is said comes on the stream, and
when that ends so does the session, with its calls. What messages mean is the business of `messages.py`.
"""

import asyncio
import logging
from functools import partial
from typing import Final
from urllib.parse import parse_qs

from mcp_gateway import clock
from mcp_gateway.errors import INVALID_REQUEST, GatewayError, Kind
from mcp_gateway.faces.calls import until_gone
from mcp_gateway.faces.http import (
    JSON_TYPE,
    MISTAKE,
    Receive,
    Send,
    Visit,
    error_headers,
    read_body,
    require_json,
    respond,
)
from mcp_gateway.faces.mcp.messages import Asked, Messages, error_body, unreadable
from mcp_gateway.faces.mcp.sessions import ALL_SERVERS, LEGACY_SSE, Session, Sessions, expire
from mcp_gateway.faces.mcp.streams import Said, Stream
from mcp_gateway.faces.mcp.telling import listener_of, tell_changes
from mcp_gateway.gateway import Call, Gateway, stopping
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import Message

OLDEST: Final = "2024-11-05"  # until `initialize` says more
MAX_UNDER_WAY: Final = 256  # requests of one session: a POST is answered at once, so only this holds them up
_KEY: Final = "sessionId"

logger = logging.getLogger(__name__)


class LegacySse:
    """One instance for `/mcp/sse` and every `/servers/{id}/sse`, and the URLs of their messages."""

    def __init__(self, gateway: Gateway, sessions: Sessions, messages: Messages) -> None:
        self._gateway = gateway
        self._sessions = sessions
        self._messages = messages

    async def serve_stream(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        """Answers one HTTP request to the URL of the stream."""
        try:
            self._messages.require_endpoint(visit.caller, endpoint)
            if visit.method == "GET":
                await self._stream(endpoint, visit, receive, send)
            else:  # a client that tries Streamable HTTP first sees by this that it is none
                error = GatewayError(Kind.INVALID, "This is a stream of MCP over HTTP+SSE", status=405)
                await respond(send, 405, unreadable(error), JSON_TYPE, (b"allow", b"GET"))
        except GatewayError as error:
            await respond(send, error.status, unreadable(error), JSON_TYPE, *error_headers(error))

    async def serve_message(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        """Answers one HTTP request to the URL of messages."""
        try:
            self._messages.require_endpoint(visit.caller, endpoint)
            if visit.method == "POST":
                await self._post(endpoint, visit, receive, send)
            else:
                error = GatewayError(Kind.INVALID, "Messages are sent here with POST", status=405)
                await respond(send, 405, unreadable(error), JSON_TYPE, (b"allow", b"POST"))
        except GatewayError as error:
            await respond(send, error.status, unreadable(error), JSON_TYPE, *error_headers(error))

    async def _stream(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        if self._gateway.is_stopping:
            raise stopping("it opens no more sessions")
        session = self._sessions.open(visit.caller, endpoint, OLDEST, clock.now_s(), transport=LEGACY_SSE)
        listener_of(self._gateway, session)
        stream = session.own = Stream("", None, self._sessions.patience)
        session.keep(asyncio.create_task(self._tell(session, stream), name="changes"))
        reader = stream.attach()
        left = asyncio.create_task(until_gone(receive))
        left.add_done_callback(lambda _: reader.drop())
        path = "/mcp/message" if endpoint == ALL_SERVERS else f"/servers/{endpoint}/message"
        first = sse.event(f"{path}?{_KEY}={session.id}".encode(), "endpoint")
        try:
            await stream.carry(reader, send, [], first, partial(expire, self._sessions))
        finally:
            left.cancel()
            self._sessions.close(session)

    async def _tell(self, session: Session, stream: Stream) -> None:
        """Tells what changes; when the gateway is stopping, the stream still carries the last answers."""
        try:
            await tell_changes(self._gateway, session, stream)
            while answering := session.tasks - {asyncio.current_task()}:
                await asyncio.wait(answering)
        finally:
            stream.finish()

    async def _post(self, endpoint: str, visit: Visit, receive: Receive, send: Send) -> None:
        require_json(visit.headers)
        session = self._session(endpoint, visit)
        body = await read_body(visit, receive, self._gateway.config.gateway.limits.body_bytes)
        messages = self._messages.read(session, body)
        if len(session.tasks) + len(messages) > MAX_UNDER_WAY:
            detail = f"{MAX_UNDER_WAY} requests of this session are under way, and that is as many as may be"
            raise GatewayError(Kind.BUSY, detail, retry_after_s=1.0)
        await respond(send, 202, b"Accepted", b"text/plain")  # before any answer, as clients expect
        for message, size in messages:
            if message.id is None or message.method is None:
                self._messages.note(session, message)
            else:
                asked = Asked(session, message, size, visit.headers)
                session.keep(asyncio.create_task(self._answer(session, asked), name="answer over SSE"))

    def _session(self, endpoint: str, visit: Visit) -> Session:
        keys = parse_qs(visit.query.decode("ascii", "replace")).get(_KEY, ())
        if len(keys) != 1:
            detail = "The URL has no session; begin with GET of the stream, which tells the URL"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
        session = self._sessions.find(keys[0], visit.caller, endpoint, clock.now_s(), LEGACY_SSE)
        if session is None:
            detail = "There is no such session: it ended with its stream; begin again with GET of that"
            raise GatewayError(Kind.UNKNOWN, detail, rpc_code=INVALID_REQUEST)
        return session

    async def _answer(self, session: Session, asked: Asked) -> None:
        message = asked.message
        assert session.own is not None, "a session of this transport has its stream from the begin"
        outlet = _Outlet(session.own)
        try:
            if message.method == "initialize":
                await outlet.answer(self._introduced(session, message))
            else:
                await self._messages.answer(asked, outlet)
        except Exception:  # the POST was answered long ago: who waits hears of it here or never
            logger.exception("a request over HTTP+SSE failed")
            await outlet.answer(error_body(message.id_raw, GatewayError(Kind.INTERNAL, MISTAKE)))

    def _introduced(self, session: Session, message: Message) -> bytes:
        try:
            said = self._messages.introduce(session.caller, session.endpoint, message)
        except GatewayError as error:
            return error_body(message.id_raw, error)
        session.introduce(said.revision, said.client_info, said.capabilities)
        return said.answer


class _Outlet:
    """Everything goes on the session's one stream, which keeps itself alive."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    is_heard = True  # when the stream ends, so does the session

    def about(self, call: Call) -> None:
        """The stream is nobody's in particular."""

    async def tell(self, message: bytes) -> None:
        await self.answer(message)

    ask = tell

    async def still(self) -> None:
        """Nothing: see above."""

    async def answer(self, said: Said | None) -> None:
        if said is not None:
            await self._stream.room()
            self._stream.put(said)

    async def fail(self, id_raw: bytes, error: GatewayError) -> None:
        await self.answer(error_body(id_raw, error))
