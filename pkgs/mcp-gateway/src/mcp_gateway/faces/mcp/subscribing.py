"""Subscribing to what changes: `resources/subscribe` in the handshake era, else `subscriptions/listen`.

A session hears of its resources on its own stream (`telling.py`). In the modern era the answer to one request
is the stream: first what is honoured of what was asked for, then every change with the request's id, in the
end, if it is the gateway that ends it, the result. Nothing of it is kept: who loses it asks anew.
"""

import asyncio
from typing import Any, Final

import msgspec

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    GatewayError,
    Kind,
    UpstreamAnswered,
)
from mcp_gateway.faces.calls import until_gone
from mcp_gateway.faces.http import Receive, Send, send_part
from mcp_gateway.faces.mcp.sessions import Asker, Session
from mcp_gateway.faces.mcp.streams import KEEP_ALIVE_S
from mcp_gateway.faces.mcp.telling import listener_of, seen_uri
from mcp_gateway.gateway import LISTS, Gateway, unknown_resource
from mcp_gateway.gateway.subscriptions import Changed, Listener
from mcp_gateway.shelves import PROMPTS
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import Message, encode
from mcp_gateway.wire.revisions import META_PREFIX

LISTEN: Final = "subscriptions/listen"
ACK_S: Final = 10.0  # before the first word on a stream; what no server has accepted by then is not honoured
MAX_URIS: Final = 1_000  # of one stream
_FILTER_OF: Final = {kind: f"{kind}ListChanged" for kind in sorted(LISTS)}
_METHOD_OF: Final = {kind: f"notifications/{kind}/list_changed".encode() for kind in sorted(LISTS)}
_NOTHING: Final = b"{}"


# The handshake era


async def subscribe(gateway: Gateway, session: Asker, message: Message) -> bytes:
    """The result of `resources/subscribe`, once the server has accepted.

    Raises:
        GatewayError: see `Subscriptions.subscribe`.
    """
    assert isinstance(session, Session), "the modern era has no such method"
    uri = _uri(message)
    try:
        server, native = _native(gateway, session.caller, session.endpoint or None, uri)
        await gateway.subscribe(listener_of(gateway, session), server, native, uri)
    except GatewayError as error:
        is_ours = error.kind is Kind.UNKNOWN and not isinstance(error, UpstreamAnswered)
        if is_ours and error.rpc_code != METHOD_NOT_FOUND:
            error.rpc_code = RESOURCE_NOT_FOUND
        raise
    return _NOTHING


def unsubscribe(gateway: Gateway, session: Asker, message: Message) -> bytes:
    """The result of `resources/unsubscribe`, also of what was not subscribed to."""
    assert isinstance(session, Session), "the modern era has no such method"
    uri = _uri(message)
    if session.listener is not None:
        for (server, native), said in list(session.listener.uris.items()):
            if said == uri:
                gateway.unsubscribe(session.listener, server, native)
    return _NOTHING


def _uri(message: Message) -> str:
    try:
        return msgspec.json.decode(message.params.get("uri", b"null"), type=str)
    except msgspec.MsgspecError:
        raise GatewayError(Kind.INVALID, "`params.uri` must be a string") from None


def _native(gateway: Gateway, caller: Caller, server: str | None, uri: str) -> tuple[str, str]:
    if server is not None:
        return server, uri
    found = gateway.catalog(caller).uris.find(uri)
    if found is None:
        raise unknown_resource(uri)
    return found


# The modern era


class _Filter(msgspec.Struct):
    toolsListChanged: bool | None = None
    resourcesListChanged: bool | None = None
    promptsListChanged: bool | None = None
    resourceSubscriptions: list[str] | None = None


async def listen(
    gateway: Gateway, caller: Caller, server: str | None, message: Message, receive: Receive, send: Send
) -> None:
    """Answers `subscriptions/listen` with a stream that lasts until its client leaves or the gateway stops.

    Raises:
        GatewayError: `invalid`, `busy`; nothing was sent yet.
    """
    wish = _wish(message)
    listener = gateway.open_listener(caller, server, is_stream=True)
    left = asyncio.create_task(until_gone(receive))
    left.add_done_callback(lambda _: listener.end())
    try:
        honoured = await _honoured(gateway, listener, wish)
        frames = _Frames(message.id_raw)
        await send({"type": "http.response.start", "status": 200, "headers": sse.HEADERS})
        await send_part(send, frames.acknowledged(honoured))
        while not listener.is_over:
            if not await listener.news(KEEP_ALIVE_S):
                await send_part(send, sse.KEEP_ALIVE)
                continue
            for changed in listener.take():
                await send_part(send, frames.told(gateway, listener, changed))
        if not left.done():
            await send_part(send, frames.complete())
            await send({"type": "http.response.body", "body": b""})
    finally:
        left.cancel()
        listener.close()


def _wish(message: Message) -> _Filter:
    try:
        wish = msgspec.json.decode(message.params.get("notifications", b"null"), type=_Filter)
    except (msgspec.MsgspecError, RecursionError) as problem:
        detail = f"`params.notifications` is not valid: {problem}"
        raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS) from None
    if len(wish.resourceSubscriptions or ()) > MAX_URIS:
        detail = f"One stream may name {MAX_URIS} resources"
        raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS)
    return wish


async def _honoured(gateway: Gateway, listener: Listener, wish: _Filter) -> dict[str, Any]:
    """What of the wish will be told; what is not there, or not for this caller, is left out silently."""
    kinds = {kind for kind, name in _FILTER_OF.items() if getattr(wish, name)}
    if not gateway.catalog(listener.caller).may_have(PROMPTS, listener.server):
        kinds.discard(PROMPTS)
    listener.kinds = frozenset(kinds)
    honoured: dict[str, Any] = {_FILTER_OF[kind]: True for kind in sorted(kinds)}
    uris = list(dict.fromkeys(wish.resourceSubscriptions or ()))
    if uris:
        accepted = await asyncio.gather(*(_subscribed(gateway, listener, uri) for uri in uris))
        if any(accepted):
            honoured["resourceSubscriptions"] = [
                uri for uri, is_accepted in zip(uris, accepted, strict=True) if is_accepted
            ]
    return honoured


async def _subscribed(gateway: Gateway, listener: Listener, uri: str) -> bool:
    try:
        server, native = _native(gateway, listener.caller, listener.server, uri)
        await gateway.subscribe(listener, server, native, uri, ACK_S)
    except GatewayError:
        return False
    return True


class _Frames:
    """The events of one stream: each bears the id of its request, as that was written."""

    def __init__(self, id_raw: bytes) -> None:
        self._id = id_raw
        self._meta = b'"_meta":{"%bsubscriptionId":%b}' % (META_PREFIX.encode(), id_raw)

    def acknowledged(self, honoured: dict[str, Any]) -> bytes:
        return self._event(
            b"notifications/subscriptions/acknowledged", b'"notifications":%b,' % encode(honoured)
        )

    def told(self, gateway: Gateway, listener: Listener, changed: Changed) -> bytes:
        if changed.kind:
            return self._event(_METHOD_OF[changed.kind], b"")
        uri = encode(seen_uri(gateway, listener, changed))
        return self._event(b"notifications/resources/updated", b'"uri":%b,' % uri)

    def complete(self) -> bytes:
        said = b'{"jsonrpc":"2.0","id":%b,"result":{"resultType":"complete",%b}}' % (self._id, self._meta)
        return sse.event(said, "message")

    def _event(self, method: bytes, members: bytes) -> bytes:
        said = b'{"jsonrpc":"2.0","method":"%b","params":{%b%b}}' % (method, members, self._meta)
        return sse.event(said, "message")
