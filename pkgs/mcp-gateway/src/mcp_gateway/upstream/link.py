"""What every kind of link offers to `requests.py`, and what it tells in return.

A link carries numbered requests to one server and messages back. It opens and closes nothing by
itself: the owner in `upstream.py` does that. Nothing here waits except `open` and `close`.
"""

from typing import Protocol

from mcp_gateway.errors import GatewayError
from mcp_gateway.upstream.framing import Spooled, is_utf8
from mcp_gateway.upstream.lifecycle import Ended
from mcp_gateway.upstream.process import Exit
from mcp_gateway.wire.envelope import Head, NotAMessage, Params, read_head


class Peer(Protocol):
    """Who hears a link."""

    def message(self, head: Head) -> None:
        """One message of the server."""

    def large(self, head: Head, message: Spooled) -> None:
        """One message that lives in a file; `head` is as `Spooled.head` says."""

    def garbage(self, line: bytes, reason: str) -> None:
        """Something of the server that is no message; of a long one its start and its end."""

    def failed(self, number: int, error: GatewayError) -> None:
        """One request will get no answer, while the link goes on."""

    def lost(self, ended: Ended) -> None:
        """The link is of no use any more; nothing further is heard of it."""


def deliver(peer: Peer, message: bytes | Spooled) -> None:
    """Tells the peer what has come in, however it was kept meanwhile."""
    try:
        if isinstance(message, Spooled):
            peer.large(message.head(), message)
        elif is_utf8(message):
            peer.message(read_head(message))
        else:
            peer.garbage(message, "not UTF-8")
    except NotAMessage as problem:
        peer.garbage(message.glimpse if isinstance(message, Spooled) else message, str(problem))


class Link(Protocol):
    """One live connection to one server; a lost one takes everything silently."""

    @property
    def pid(self) -> int | None: ...
    @property
    def exit(self) -> Exit | None: ...
    @property
    def has_spoken(self) -> bool: ...
    @property
    def lost_because(self) -> Ended | None: ...

    async def open(self) -> None:
        """Raises:
        SpawnError: there is no server to speak to.
        """

    async def close(self) -> None:
        """Ends everything that belongs to the link; `lost` is not called any more."""

    def request(self, number: int, method: str, params: Params) -> None:
        """Sends a request; its answer comes as a message or as `failed`."""

    def cancel(self, number: int, reason: str) -> None:
        """Nobody wants the answer any more; the server is told."""

    def settle(self, number: int) -> None:
        """The request has ended for its caller; what the link holds for it may go."""

    def notify(self, method: str, params: Params | None = None) -> None: ...

    def answer(self, response: bytes) -> None:
        """Answers a request of the server."""

    def check(self, now: float) -> None:
        """Called now and then while requests wait; `now` in monotonic seconds."""
