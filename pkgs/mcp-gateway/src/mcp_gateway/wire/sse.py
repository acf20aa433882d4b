"""Event streams (WHATWG HTML, section 9.2): encoding of what we send, decoding of what servers send.

What we send to programs is one line of JSON, so an event is one `data:` field; a stray carriage return,
legal between JSON tokens and a line end to an event stream, becomes a blank.
"""

import re
from collections.abc import Callable
from typing import Any, Final, Protocol

KEEP_ALIVE: Final = b": keep-alive\n\n"

HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # no-transform: a compressing proxy would hold events back; X-Accel-Buffering says the same to nginx.
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def event(data: bytes, name: str | None = None, event_id: str | None = None) -> bytes:
    """One event; `data` is a line of JSON."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    head = b"" if name is None else b"event: %b\n" % name.encode()
    if event_id is not None:
        head += b"id: %b\n" % event_id.encode()
    return b"%bdata: %b\n\n" % (head, data)


def text_event(text: str) -> bytes:
    """One event without a name, whose data is a text of any number of lines, such as HTML."""
    return "".join(f"data: {line}\n" for line in re.split("\r\n|\r|\n", text)).encode() + b"\n"


# --- reading

FIELD_BYTES: Final = 64 * 1024  # of a name, an id, a comment; only `data` is ever long
_BOM: Final = b"\xef\xbb\xbf"


class Sink(Protocol):
    """Where the data of one event goes, piece by piece; it bounds them and may keep them on disk."""

    def feed(self, piece: bytes) -> None: ...
    def finish(self) -> Any: ...


class EventReader:
    """Decodes an event stream that arrives in pieces of any size, at linear cost.

    `emit` hears each event as (name, what its sink finished with); `last_id` and `retry_ms` are what the
    stream said last of itself. What a sink raises ends the stream for its reader.
    """

    def __init__(self, sink: Callable[[], Sink], emit: Callable[[str, Any], None]) -> None:
        self._make_sink = sink
        self._emit = emit
        self._start = b""  # until it is clear whether a byte order mark leads
        self._has_begun = False
        self._after_cr = False
        self._line = bytearray()
        self._in_data = False
        self._data_is_new = False
        self._sink: Sink | None = None
        self._name = ""
        self._id: str | None = None
        self.last_id: str | None = None
        self.retry_ms: int | None = None

    def feed(self, data: bytes) -> None:
        if not self._has_begun:
            data = self._start + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._start = data
                return
            self._has_begun = True
            data = data.removeprefix(_BOM)
        at, has_cr = 0, b"\r" in data
        if self._after_cr and data:
            self._after_cr = False
            at = int(data[:1] == b"\n")
        while at < len(data):
            end = data.find(b"\n", at)
            if has_cr and (cr := data.find(b"\r", at, end if end >= 0 else len(data))) >= 0:
                end = cr
            if end < 0:
                self._piece(data[at:])
                return
            self._piece(data[at:end])
            self._end_line()
            at = end + 1
            if data[end] == 0x0D:
                if at == len(data):
                    self._after_cr = True
                elif data[at] == 0x0A:
                    at += 1

    def _piece(self, piece: bytes) -> None:
        if self._in_data:
            self._data(piece)
            return
        if not self._line and piece.startswith(b"data:"):
            self._begin_data()
            self._data(piece[5:])
            return
        taken = piece[: FIELD_BYTES - len(self._line)]
        self._line += taken
        if self._line.startswith(b"data:"):
            rest = bytes(self._line[5:]) + piece[len(taken) :]
            self._line.clear()
            self._begin_data()
            self._data(rest)

    def _begin_data(self) -> None:
        self._in_data = self._data_is_new = True
        if self._sink is None:
            self._sink = self._make_sink()
        else:
            self._sink.feed(b"\n")

    def _data(self, piece: bytes) -> None:
        if piece and self._data_is_new:
            self._data_is_new = False
            piece = piece.removeprefix(b" ")
        if piece and self._sink is not None:
            self._sink.feed(piece)

    def _end_line(self) -> None:
        if self._in_data:
            self._in_data = False
            return
        line = bytes(self._line)
        self._line.clear()
        if not line:
            self._dispatch()
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._begin_data()
                self._in_data = False
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit() and len(value) < 10:
                self.retry_ms = int(value)

    def _dispatch(self) -> None:
        if self._id is not None:
            self.last_id = self._id
        sink, name = self._sink, self._name
        self._sink, self._name = None, ""
        if sink is not None:
            self._emit(name or "message", sink.finish())
