"""What a message of a client means, of both eras and however it is carried.

`streamable.py`, `legacy_sse.py` and `modern.py` carry them. Introductions and lists are answered from the
catalog; a call is relayed with its id, name and progress token exchanged and nothing else touched. Every
method that an era offers stands in one of its two tables: those answered at once, and those that take their
time and may say something before the answer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    CallCancelled,
    GatewayError,
    Kind,
    UpstreamAnswered,
)
from mcp_gateway.faces.calls import cancelled_problem
from mcp_gateway.faces.http import LARGE_BYTES
from mcp_gateway.faces.mcp import asks, gathering, lists, primitives, resources, subscribing
from mcp_gateway.faces.mcp.sessions import ALL_SERVERS, Asker, ClientInfo, Session, client_info
from mcp_gateway.faces.mcp.streams import Large, Said
from mcp_gateway.gateway import NO_ASKS, READ_RESOURCE, Call, Gateway, Note, Parked, stopping
from mcp_gateway.wire import levels
from mcp_gateway.wire.bridge import as_handshake, handshake_error
from mcp_gateway.wire.envelope import (
    Message,
    Params,
    encode,
    error_response,
    notification,
    read_batch,
    read_members,
    read_message,
    response,
)
from mcp_gateway.wire.inbound import DISCOVER
from mcp_gateway.wire.results import NOT_KEPT, as_modern
from mcp_gateway.wire.revisions import (
    ALL,
    LATEST_HANDSHAKE,
    META_LOG_LEVEL,
    META_SERVER,
    REVISIONS,
    Era,
    may_be_asked,
)

OFFERED: Final = frozenset(revision.date for revision in REVISIONS.values() if revision.era is Era.HANDSHAKE)
MAX_BATCH: Final = 50  # messages of one POST; what sends more at once is no person and no model
_NULL: Final = b"null"
_LOG: Final = b'{"jsonrpc":"2.0","method":"notifications/message","params":%b}'


class Outlet(Protocol):
    """Where what belongs to one request goes; what the client cannot take is not said."""

    def about(self, call: Call) -> None:
        """The request is this call; told once, first."""

    @property
    def is_heard(self) -> bool:
        """Whether somebody is there, or may come back, who could answer a question."""

    async def tell(self, message: bytes) -> None:
        """A notification before the answer."""

    async def ask(self, message: bytes) -> None:
        """A question of the server; asked only while `is_heard`."""

    async def still(self) -> None:
        """It takes its time: the connection may need a sign of life."""

    async def answer(self, said: Said | None) -> None:
        """The answer, the last of it; None when the client wants none."""

    async def fail(self, id_raw: bytes, error: GatewayError) -> None:
        """The answer is an error."""


@dataclass(slots=True)
class Asked:
    """One request of a client: `size` is that of its message, `headers` those it came with."""

    asker: Asker
    message: Message
    size: int
    headers: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Introduction:
    """What an `initialize` asked for and is answered."""

    revision: str
    client_info: ClientInfo
    capabilities: bytes  # as `Client` has them
    answer: bytes


class Messages:
    """One instance for all transports. `charge` counts more requests of a caller, or raises `busy`."""

    def __init__(self, gateway: Gateway, charge: Callable[[Caller, int], None]) -> None:
        self._gateway = gateway
        self._charge = charge
        pages: dict[str, Callable[[Asker, Message], bytes]] = dict.fromkeys(lists.METHODS, self._list)
        calls: dict[str, Callable[[Asked, Outlet], Awaitable[None]]] = {
            "tools/call": self._call,
            "resources/read": self._read,
            "prompts/get": self._call,
            "completion/complete": self._call,
        }
        self._at_once: dict[Era, dict[str, Callable[[Asker, Message], bytes]]] = {
            Era.HANDSHAKE: {
                "ping": lambda _asker, _message: b"{}",
                "logging/setLevel": self._set_log_level,
                "resources/unsubscribe": partial(subscribing.unsubscribe, gateway),
                **pages,
            },
            Era.MODERN: {DISCOVER: self._discover, **pages},
        }
        self._in_time: dict[Era, dict[str, Callable[[Asked, Outlet], Awaitable[None]]]] = {
            Era.HANDSHAKE: {"resources/subscribe": self._subscribe, **calls},
            Era.MODERN: calls,
        }

    # Beginnings

    def require_endpoint(self, caller: Caller, endpoint: str) -> None:
        """Raises:
        GatewayError: `unknown`, there is no such server for this caller.
        """
        if endpoint != ALL_SERVERS and not self._gateway.has_server(caller, endpoint):
            raise GatewayError(Kind.UNKNOWN, f"There is no server `{endpoint[:200]}`")

    def introduce(self, caller: Caller, endpoint: str, message: Message) -> Introduction:
        """Answers an `initialize`, for whoever then opens the session.

        Raises:
            GatewayError: `unavailable` when the gateway is stopping; `invalid`.
        """
        if self._gateway.is_stopping:  # a session would be lost before it is of use
            raise stopping("it opens no more sessions")
        try:
            asked = msgspec.json.decode(encode(message.params), type=_Initialize)
        except msgspec.MsgspecError as problem:
            detail = f"`initialize` is not valid: {problem}"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS) from None
        revision = asked.protocolVersion if asked.protocolVersion in OFFERED else LATEST_HANDSHAKE
        told = self._gateway.instructions(caller, endpoint or None)
        result = encode(
            {
                "protocolVersion": revision,
                "capabilities": primitives.capabilities(self._gateway, caller, endpoint or None),
                "serverInfo": primitives.server_info(self._gateway, caller, endpoint or None),
                **({"instructions": told} if told else {}),
            }
        )
        return Introduction(
            revision,
            client_info(asked.clientInfo),
            _asks(asked.capabilities, revision),
            response(message.id_raw, result),
        )

    def _discover(self, asker: Asker, _message: Message) -> bytes:
        """What `initialize` is in the handshake era, and begins nothing."""
        server = asker.endpoint or None
        told = self._gateway.instructions(asker.caller, server)
        said = primitives.capabilities(self._gateway, asker.caller, server, Era.MODERN)
        return encode(
            {
                "supportedVersions": ALL,
                "capabilities": said,
                "serverInfo": primitives.server_info(self._gateway, asker.caller, server),
                **({"instructions": told} if told else {}),
            }
        )

    # Messages

    def read(self, session: Session, body: bytes) -> list[tuple[Message, int]]:
        """One message, or several where the session's revision has batches; each with its size in bytes.

        Raises:
            GatewayError: `invalid`, or `busy` for more than the caller may send; none may be acted on.
        """
        if not (is_array(body) and REVISIONS[session.revision].batches):
            return [(read_message(body), len(body))]
        messages = read_batch(body, MAX_BATCH)
        if any(message.method == "initialize" for message, _ in messages):
            detail = "`initialize` is no part of a batch: nothing may be sent before its answer"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
        self._charge(session.caller, len(messages) - 1)  # the first came with the request
        return messages

    def note(self, session: Session, message: Message) -> None:
        """What wants no answer: notifications, and answers to questions."""
        match message.method:
            case None:
                asks.take_answer(session, message)
            case "notifications/cancelled":
                with contextlib.suppress(msgspec.MsgspecError):
                    request_id = msgspec.json.decode(encode(message.params), type=_Cancelled).requestId
                    call = session.calls.get((type(request_id), request_id))
                    if call is not None:
                        call.cancel("cancelled by the client", answered=False)
            case "notifications/progress":
                asks.take_progress(session, message)
            case "notifications/initialized":
                pass
            case "notifications/roots/list_changed" as method:
                self._gateway.tell_servers(session.client, method, message.params, session.endpoint or None)
            case other if session.endpoint != ALL_SERVERS:
                self._gateway.tell_servers(session.client, other, message.params, session.endpoint)

    async def answer(self, asked: Asked, outlet: Outlet) -> None:
        """Answers a request, whatever it is; its outlet gets the answer exactly once."""
        asker, message = asked.asker, asked.message
        era, method = asker.client.era, message.method or ""
        in_time = self._in_time[era].get(method)
        try:
            if isinstance(asker, Session) and asker.is_over:  # while the request was on its way here
                raise GatewayError(Kind.UNKNOWN, "The session has ended", rpc_code=INVALID_REQUEST)
            if in_time is None and method not in self._at_once[era]:
                is_passed = primitives.passes(era, asker.endpoint or None, method)
                in_time = self._call if is_passed else None
            if in_time is not None:
                await in_time(asked, outlet)
                return
            said = self._said_at_once(asker, message)
        except GatewayError as error:
            await outlet.fail(message.id_raw, error)
        else:
            await outlet.answer(said)

    def _said_at_once(self, asker: Asker, message: Message) -> bytes:
        at_once = self._at_once[asker.client.era].get(message.method or "")
        if at_once is None:
            detail = f"The method `{(message.method or '')[:80]}` is not offered"
            raise GatewayError(Kind.UNKNOWN, detail, rpc_code=METHOD_NOT_FOUND)
        result = at_once(asker, message)
        if asker.client.era is Era.MODERN:
            info = primitives.server_info(self._gateway, asker.caller, asker.endpoint or None)
            opening = b'{%b,"_meta":%b' % (NOT_KEPT, encode({META_SERVER: info}))
            result = b",".join((opening, memoryview(result)[1:]))
        return response(message.id_raw, result)

    def _list(self, asker: Asker, message: Message) -> bytes:
        server = asker.endpoint or None
        return lists.list_page(self._gateway, asker.caller, server, message, asker.client.era)

    def _set_log_level(self, session: Asker, message: Message) -> bytes:
        assert isinstance(session, Session), "a request alone says itself what it wants to hear"
        try:
            level = msgspec.json.decode(message.params.get("level", _NULL), type=str)
        except msgspec.MsgspecError:
            level = ""
        if level not in levels.LEVELS:
            detail = f"`params.level` must be one of {', '.join(levels.LEVELS)}"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS)
        wishes, key = self._gateway.log_levels, session.handle
        if session.log_level is None:
            session.at_end.append(lambda: wishes.forget(key))
        session.log_level = level
        wishes.wish(key, session.caller, session.endpoint or None, level)
        return b"{}"

    async def _read(self, asked: Asked, outlet: Outlet) -> None:
        asker = asked.asker
        server = asker.endpoint or None
        if not resources.is_ours(self._gateway, asker.caller, server, asked.message):
            await self._call(asked, outlet)
            return
        await outlet.answer(
            resources.read_resource(self._gateway, asker.caller, server, asked.message, asker.client.era)
        )

    async def _subscribe(self, asked: Asked, outlet: Outlet) -> None:
        result = await subscribing.subscribe(self._gateway, asked.asker, asked.message)
        await outlet.answer(response(asked.message.id_raw, result))

    # Calls

    async def _call(self, asked: Asked, outlet: Outlet) -> None:
        asker, message = asked.asker, asked.message
        assert message.id is not None, "a call is a request"
        key = (type(message.id), message.id)
        level, server = _wanted_level(asked), asker.endpoint or None
        wish = primitives.Wish(self._gateway, asker.caller, server, message, asker.client, level)
        is_modern = asker.client.era is Era.MODERN
        if key in asker.calls:
            detail = "A request with this id is still running in this session"
            error = GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)
            wish.refuse(asked.size, error)
            raise error
        try:
            parked = gathering.come_back(self._gateway, asker, message, wish.asked) if is_modern else None
        except GatewayError as error:
            wish.refuse(asked.size, error)
            raise
        if parked is None:
            call = wish.open(asked.headers, asked.size)
        else:
            call, wish = parked.call, parked.wish
        asker.calls[key] = call
        outlet.about(call)
        asking: asks.Asking | gathering.Gathering
        if isinstance(asker, Session):
            asking = asks.Asking(asker, outlet)
        else:
            asking = gathering.Gathering(asker, parked)
        is_parked = False
        try:
            # Whether a client that leaves cancels depends on the era; its outlet knows.
            while not is_parked:
                if not asking.is_waiting:
                    await call.mailbox.wait()
                notes = call.mailbox.take()
                if call.ended and not notes:  # what was said before the end is told before it
                    break
                await self._hear(notes, asked, outlet, asking)
                if isinstance(asking, gathering.Gathering) and asking.is_waiting:
                    await asyncio.sleep(gathering.GATHER_S)
                    await self._hear(call.mailbox.take(), asked, outlet, asking)
                    is_parked = await self._park(call, wish, asked, outlet, asking)
            await asking.end()
        finally:
            del asker.calls[key]
            asking.forget()
            if not is_parked:
                call.cancel("the gateway is stopping")  # only when this task itself was ended
        if not is_parked:
            await self._end(call, wish, asked, outlet)

    async def _hear(
        self,
        notes: tuple[Note, ...],
        asked: Asked,
        outlet: Outlet,
        asking: asks.Asking | gathering.Gathering,
    ) -> None:
        """Passes on what comes on the way."""
        message = asked.message
        token = message.meta.get("progressToken")
        for note in notes:
            if note.kind == "progress" and token is not None:
                params: Params = read_members(note.data)
                params["progressToken"] = token
                await outlet.tell(notification("notifications/progress", params))
            elif note.kind == "log" and levels.is_wanted(note.data, _wanted_level(asked)):
                await outlet.tell(_LOG % note.data)
            elif note.kind == "notice":
                if asked.asker.client.era is Era.HANDSHAKE:  # the modern one has none of these
                    await outlet.tell(note.data)
            elif note.kind in ("ask", "withdrawn"):
                await asking.take(note)
            else:
                await outlet.still()
                asking.check()

    async def _park(
        self,
        call: Call,
        wish: primitives.Wish,
        asked: Asked,
        outlet: Outlet,
        asking: gathering.Gathering,
    ) -> bool:
        """Answers with what is asked, and lets the call wait; False where nothing is asked any more."""
        asking.settle()
        if call.ended or not asking.is_waiting:
            return False
        bound_to = gathering.bound_to(asked.asker, asked.message, wish.asked)
        try:
            state = self._gateway.parking.park(Parked(call, asking.open, wish, asking.asked), bound_to)
        except GatewayError as error:
            call.fail(error)
            return False
        await outlet.answer(response(asked.message.id_raw, asking.result(state)))
        return True

    async def _end(self, call: Call, wish: primitives.Wish, asked: Asked, outlet: Outlet) -> None:
        """Says how the call has ended."""
        message = asked.message
        try:
            said = _said(wish.show(call, call.result()), call, asked)
        except GatewayError as error:
            await self._fail(call, wish, asked, outlet, error)
        except CallCancelled as cancelled:
            if cancelled.answered:
                await outlet.fail(message.id_raw, cancelled_problem(call, cancelled))
            else:  # who cancelled wants no answer (utilities/cancellation)
                await outlet.answer(None)
        else:
            await outlet.answer(said)

    async def _fail(
        self, call: Call, wish: primitives.Wish, asked: Asked, outlet: Outlet, error: GatewayError
    ) -> None:
        asker, id_raw = asked.asker, asked.message.id_raw
        if asker.client.era is Era.HANDSHAKE:
            await outlet.fail(id_raw, _as_handshake(error, asked.message.method or ""))
            return

        def state() -> str:
            return self._gateway.parking.again(gathering.bound_to(asker, asked.message, wish.asked))

        try:
            again = gathering.as_input(error, asker, state)
        except GatewayError as missing:
            await outlet.fail(id_raw, missing)
            return
        if again is None:
            await outlet.fail(id_raw, error)
        else:
            await outlet.answer(response(id_raw, again))


def _wanted_level(asked: Asked) -> str | None:
    """From which level on this client hears log messages; None: it hears none."""
    asker = asked.asker
    if isinstance(asker, Session):
        return asker.log_level or levels.DEFAULT_LEVEL
    level = asked.message.meta.get(META_LOG_LEVEL)
    return level if isinstance(level, str) and level in levels.RANK else None


class _Initialize(msgspec.Struct):
    protocolVersion: str
    capabilities: dict[str, Raw] = {}
    clientInfo: Raw = Raw(b"{}")


class _Cancelled(msgspec.Struct):
    requestId: int | str


def _asks(declared: dict[str, Raw], revision: str) -> bytes:
    """What a client declares, as it is passed on where it lets a server ask; else `NO_ASKS`.

    Tasks of a client are left out: a question of that kind would outlive the call that it belongs to. So are
    questions that its revision does not know: a server of another would ask them.
    """
    if not may_be_asked(revision, declared):
        return NO_ASKS
    left_out = (REVISIONS[LATEST_HANDSHAKE].asks - REVISIONS[revision].asks) | {"tasks"}
    return encode({name: declared[name] for name in sorted(declared) if name not in left_out})


def is_array(body: bytes) -> bool:
    return body.lstrip()[:1] == b"["


def _said(result: Raw, call: Call, asked: Asked) -> Said:
    """The response around the result of a call."""
    opening, id_raw = b"", asked.message.id_raw
    if asked.asker.client.era is Era.MODERN:
        opening, result = as_modern(result, may_be_kept=asked.message.method == READ_RESOURCE)
    elif call.upstream.opened is not None and call.upstream.opened.era is Era.MODERN:
        result = as_handshake(result)
    if memoryview(result).nbytes > LARGE_BYTES:
        return Large(b'{"jsonrpc":"2.0","id":%b,"result":%b' % (id_raw, opening), result, b"}")
    return response(id_raw, b"%b%b" % (opening, result) if opening else result)


def _as_handshake(error: GatewayError, method: str) -> GatewayError:
    """An error of a server, in a code that this era has."""
    if isinstance(error, UpstreamAnswered):
        code = handshake_error(error.rpc_code, method, error.error)
        if code != error.rpc_code:
            error.rpc_code, error.error = code, encode({**read_members(error.error), "code": code})
    return error


def error_body(id_raw: bytes, error: GatewayError) -> bytes:
    """A JSON-RPC error with the facts of the table, or as a server wrote it.

    `id_raw` is empty where no id could be read.
    """
    if isinstance(error, UpstreamAnswered):
        return error_response(id_raw, error.error)
    facts = error.facts()
    return error_response(id_raw, encode({"code": error.rpc_code, "message": error.detail, "data": facts}))


def unreadable(error: GatewayError) -> bytes:
    """The answer where no message could be read of what was sent: it has no id (JSON-RPC 2.0 section 5)."""
    if error.rpc_code == INVALID_PARAMS:
        error.rpc_code = INVALID_REQUEST
    return error_body(b"", error)
