"""What a session's own stream tells of itself: lists that have changed, and resources subscribed to."""

from typing import Final

from mcp_gateway import clock
from mcp_gateway.faces.mcp.sessions import Session
from mcp_gateway.faces.mcp.streams import KEPT_S, Stream
from mcp_gateway.gateway import LISTS, Gateway
from mcp_gateway.gateway.subscriptions import Changed, Listener
from mcp_gateway.wire.envelope import notification

LIST_CHANGED: Final = {kind: notification(f"notifications/{kind}/list_changed") for kind in sorted(LISTS)}


def listener_of(gateway: Gateway, session: Session) -> Listener:
    """What the session hears; it keeps what changes for when its stream is read.

    Raises:
        GatewayError: the caller has no right that this is of use for.
    """
    if session.listener is None:
        session.listener = gateway.open_listener(
            session.caller, session.endpoint or None, session=session.handle
        )
    return session.listener


def seen_uri(gateway: Gateway, listener: Listener, changed: Changed) -> str:
    """The URI of a resource as its client wrote it, or would see it where it is a part of what it wrote."""
    said = listener.uris.get((changed.server, changed.uri))
    if said is not None:
        return said
    if listener.server is not None:
        return changed.uri
    return gateway.catalog(listener.caller).uris.exposed(changed.server, changed.uri)


async def tell_changes(gateway: Gateway, session: Session, stream: Stream) -> None:
    """Says on the session's own stream what changes, until it ends or nobody has read it for long."""
    listener = listener_of(gateway, session)
    listener.kinds = LISTS
    try:
        while not listener.is_over:
            has_news = await listener.news(KEPT_S)
            if stream.reader is None and clock.now_s() - stream.left_at >= KEPT_S:
                return
            if has_news:
                await stream.room()
                for changed in listener.take():
                    stream.put(_message(gateway, listener, changed))
    finally:
        if session.own is stream:
            listener.kinds = frozenset()


def _message(gateway: Gateway, listener: Listener, changed: Changed) -> bytes:
    if changed.kind:
        return LIST_CHANGED[changed.kind]
    return notification("notifications/resources/updated", {"uri": seen_uri(gateway, listener, changed)})


def doubt(listener: Listener) -> None:
    """Something may have been said that its client did not hear: all that it asks for may have changed."""
    for kind in sorted(LISTS):
        listener.hear(Changed(kind))
    for server, uri in listener.uris:
        listener.hear(Changed("", server, uri))
