"""What a session's own stream tells of itself: that lists have changed."""

import asyncio
from typing import Final

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller
from mcp_gateway.faces.mcp.streams import KEPT_S, Stream
from mcp_gateway.gateway import LISTS, Gateway
from mcp_gateway.gateway.events import Feed, changes
from mcp_gateway.wire.envelope import notification

LIST_CHANGED: Final = {kind: notification(f"notifications/{kind}/list_changed") for kind in sorted(LISTS)}
LIST_CHANGED_AFTER_S: Final = 0.5  # servers come up and go down in bursts


def open_feed(gateway: Gateway, caller: Caller) -> Feed:
    """Raises:
    GatewayError: `busy` when there are too many.
    """
    return gateway.open_feed(caller, LISTS)


async def tell_changes(stream: Stream, feed: Feed) -> None:
    """Says on a stream what changes, until the feed ends or nobody has read the stream for long."""
    async for change in changes(feed, KEPT_S):
        if stream.reader is None and clock.now_s() - stream.left_at >= KEPT_S:
            return
        if change is not None:
            await asyncio.sleep(LIST_CHANGED_AFTER_S)
            for kind in sorted({change.kind, *feed.skip()}):
                await stream.room()
                stream.put(LIST_CHANGED[kind])
