"""One client connection: uvicorn's, with the limits that HTTP itself leaves open.

A request head has a size, a request a time to arrive, an answer a time to be read. Checked by one
look at all connections each second, so that a request pays for two assignments, not for timers.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcp_gateway.clock import now_s
from mcp_gateway.faces.peers import PEER, Peer

HEAD_BYTES: Final = 64 * 1024  # request line and headers; what common servers allow, doubled
ARRIVE_S: Final = 30.0  # from the first byte of a request to the last of its body
READ_S: Final = 30.0  # an answer of which the client takes nothing for so long is not wanted


class _Trailers(list[tuple[bytes, bytes]]):
    """Fields after a body, which nobody reads: they are no headers (RFC 9110, section 6.5.1).

    uvicorn would put them among the headers of the request, past whatever a proxy takes out of those.
    """

    def append(self, _field: tuple[bytes, bytes]) -> None:
        return


class Connection(HttpToolsProtocol):
    """Closes itself beyond its limits; `check` is called now and then with the time."""

    _arriving_since: float | None = None
    _stuck_since: float | None = None
    _head_bytes: int | None = None  # of a head that is still arriving, or of fields after a body
    _another_ended = False  # in the bytes that came last; or a chunk began
    _peer: Peer

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = Peer(transport)

    def on_message_begin(self) -> None:
        self._arriving_since = now_s()
        self._head_bytes = 0
        super().on_message_begin()
        scope: Any = self.scope
        # Not the connection itself, which holds the scope: a circle would outlive the request.
        scope[PEER] = self._peer

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()
        self.headers = _Trailers()

    def on_chunk_header(self) -> None:
        self._head_bytes = 0  # it may be the last chunk, and what follows be fields
        self._another_ended = True

    def on_body(self, body: bytes) -> None:
        self._head_bytes = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._arriving_since = None
        self._another_ended = True
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._another_ended = False
        super().data_received(data)
        # Where another request ended in these bytes, they are mostly its own.
        if self._head_bytes is not None and not self._another_ended:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.abort()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        if self.cycle is not None:  # of a request before, in the same bytes: nobody hears its answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def pause_writing(self) -> None:
        self._stuck_since = now_s()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    @property
    def is_answering(self) -> bool:
        """Whether an answer has begun and is not over: it is being read, or is a stream."""
        cycle = self.cycle
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def check(self, now: float, read_s: float = READ_S) -> None:
        arriving, stuck = self._arriving_since, self._stuck_since
        if (arriving is not None and now - arriving > ARRIVE_S) or (
            stuck is not None and now - stuck > read_s
        ):
            self.abort()

    def abort(self) -> None:
        """Ends the connection without waiting for what was not read."""
        transport: asyncio.Transport | None = self.transport
        if transport is not None:
            transport.abort()
