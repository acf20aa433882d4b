"""Event streams (WHATWG HTML, section 9.2): encoding of what we send.

Data is one line of JSON, so an event is one `data:` field; a stray carriage return, legal between
JSON tokens and a line end to an event stream, becomes a blank.
"""

from typing import Final

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
