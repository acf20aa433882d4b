"""`GET /api/artifacts/{id}`: a large result from its file, in slices at the client's pace.

Ranges as RFC 9110, section 14: one range is answered as such, of several the whole is sent, as the
RFC allows. The bytes never change, so the id is a strong entity tag.
"""

import re
from typing import Final

from starlette.responses import Response

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.http import (
    JSON_TYPE,
    PROBLEM_TYPE,
    SEND_SLICE_BYTES,
    Headers,
    Receive,
    Scope,
    Send,
    problem_document,
    send_part,
)
from mcp_gateway.gateway import Reading

_RANGE: Final = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*")


_ENDINGS: Final = {JSON_TYPE.decode(): ".json"}


def attachment(name: str) -> list[tuple[bytes, bytes]]:
    """Headers of a file that a server wrote: to be saved, and if it is shown all the same, then without
    scripts and without our origin. `name` is of characters that need no quoting.
    """
    return [
        (b"content-disposition", b'attachment; filename="%b"' % name.encode("ascii", "replace")),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
    ]


class ArtifactResponse(Response):
    """An artifact, or the range of it that is asked for, as an answer of FastAPI. Closes the reading."""

    def __init__(self, reading: Reading, headers: Headers, *, is_head: bool = False) -> None:
        super().__init__()
        self._reading = reading
        self._asked = headers
        self._is_head = is_head

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await self._send(send)
        finally:
            self._reading.close()

    async def _send(self, send: Send) -> None:
        artifact = self._reading.artifact
        tag = b'"%b"' % artifact.id.encode()
        wanted = self._asked.get(b"range")
        if wanted is not None and self._asked.get(b"if-range", tag) != tag:
            wanted = None
        try:
            span = None if wanted is None else range_of(wanted, artifact.size)
        except GatewayError as error:
            body = problem_document(error)
            size = (b"content-range", b"bytes */%d" % artifact.size)
            await _start(send, error.status, len(body), PROBLEM_TYPE, size)
            await send({"type": "http.response.body", "body": b"" if self._is_head else body})
            return
        start, end = span or (0, artifact.size)
        headers = [
            (b"accept-ranges", b"bytes"),
            (b"etag", tag),
            (b"cache-control", b"private, no-store"),
            *attachment(f"{artifact.id}{_ENDINGS.get(artifact.mime_type, '')}"),
        ]
        if span is not None:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, artifact.size)))
        kind = artifact.mime_type.encode("latin-1", "replace")
        await _start(send, 200 if span is None else 206, end - start, kind, *headers)
        if not self._is_head:
            for at in range(start, end, SEND_SLICE_BYTES):
                await send_part(send, self._reading.read(at, min(SEND_SLICE_BYTES, end - at)))
        await send({"type": "http.response.body", "body": b""})


async def _start(
    send: Send, status: int, length: int, content_type: bytes, *more: tuple[bytes, bytes]
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % length), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


def range_of(wanted: bytes, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last; None for what is to be ignored: several ranges,
    another unit, nonsense.

    Raises:
        GatewayError: `invalid`, status 416: there are no such bytes.
    """
    found = _RANGE.fullmatch(wanted)
    if found is None or found[1] == found[2] == b"":
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= end:
        raise GatewayError(Kind.INVALID, f"The range is outside of the {size} bytes there are", status=416)
    return start, end
