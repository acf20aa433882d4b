"""What every kind of link offers to `requests.py`, and what it tells in return.

A link carries numbered requests to one server and messages back. It opens and closes nothing by
itself: the owner in `upstream.py` does that. Nothing here waits except `open` and `close`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec import UNSET

from mcp_gateway.catalog import Tool
from mcp_gateway.errors import Kind
from mcp_gateway.upstream.framing import Spooled, is_utf8
from mcp_gateway.upstream.lifecycle import Ended
from mcp_gateway.upstream.process import Exit
from mcp_gateway.wire.envelope import Head, NotAMessage, Params, read_head


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one request got no answer; `reason` goes on after "the server", as in "it answered HTTP 500"."""

    kind: Kind
    reason: str
    retry_after_s: float | None = None


class Peer(Protocol):
    """Who hears a link."""

    def message(self, head: Head, stream: int | None = None) -> None:
        """One message of the server; `stream` is the request on whose own stream it came, if it has one."""

    def large(self, head: Head, message: Spooled) -> None:
        """One message that lives in a file; `head` is as `Spooled.head` says."""

    def garbage(self, line: bytes, reason: str) -> None:
        """Something of the server that is no message; of a long one its start and its end."""

    def failed(self, number: int, failure: Failure) -> None:
        """One request will get no answer, while the link goes on."""

    def renewed(self) -> None:
        """The link goes on with a server that has forgotten what it was told over it."""

    def lost(self, ended: Ended) -> None:
        """The link is of no use any more; nothing further is heard of it."""


def deliver(peer: Peer, message: bytes | Spooled, stream: int | None = None) -> str | None:
    """Tells the peer what has come in, however it was kept meanwhile; answers why it is no message."""
    try:
        if isinstance(message, Spooled):
            peer.large(_claimed(message.head(), stream), message)
        elif is_utf8(message):
            peer.message(_claimed(read_head(message), stream), stream)
        else:
            raise NotAMessage("not UTF-8")
    except NotAMessage as problem:
        peer.garbage(message.glimpse if isinstance(message, Spooled) else message, str(problem))
        return str(problem)
    return None


def _claimed(head: Head, stream: int | None) -> Head:
    """An error without an id, on a stream that has one: the server could not tell what it refused."""
    if stream is not None and head.id is None and head.method is UNSET and head.error:
        head.id = stream
    return head


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

    def agree(self, revision: str) -> None:
        """The revision that is spoken from now on."""

    def learn(self, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        """The server's tools; answers those that can be called over this link."""

    def request(
        self, number: int, method: str, params: Params, forwarded: Mapping[str, str] | None = None
    ) -> None:
        """Sends a request; its answer comes as a message or as `failed`.

        `forwarded` are headers of the caller that go with this request and no other; None where the
        server is configured to get none, which is not the same as a caller that sent none.
        """

    def cancel(self, number: int, reason: str) -> None:
        """Nobody wants the answer any more; the server is told."""

    def settle(self, number: int) -> None:
        """The request has ended for its caller; what the link holds for it may go."""

    def notify(self, method: str, params: Params | None = None) -> None: ...

    def answer(self, response: bytes) -> None:
        """Answers a request of the server."""

    def check(self, now: float) -> None:
        """Called now and then while requests wait; `now` in monotonic seconds."""
