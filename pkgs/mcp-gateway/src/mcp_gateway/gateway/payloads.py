"""What was said in the last calls: the heads of their requests and responses, in a ring in memory.

Owns how much is kept, for how many calls, and how it is shown. `keep` stands on the call path: it keeps a
reference or copies a head, and neither parses nor searches, unless headers of the caller went along, whose
values are not kept. Secrets of the server are replaced when a payload is shown or written, by the ring of its
log, which knows them. Knows no route and no SQL: what an operator wants on disk is handed to the store with
the record.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from msgspec import Raw

from mcp_gateway.config.model import PayloadMode
from mcp_gateway.errors import InputRequired, UpstreamAnswered
from mcp_gateway.store.calls import CallRecord
from mcp_gateway.store.payloads import Capture
from mcp_gateway.upstream.disguises import disguises
from mcp_gateway.upstream.forwarded import secrets_of
from mcp_gateway.upstream.logring import REDACTED, SECRET_MIN_CHARS

KEPT_CALLS: Final = 200  # product.md, "Activity"
KEPT_BYTES: Final = 16 * 1024 * 1024  # of all heads together; calls with large ones are forgotten sooner
HEAD_BYTES: Final = 64 * 1024  # of a request or a response; what a person reads of one
# The end of a head that was cut is kept and not shown: a secret across the cut could not be recognised.
HIDDEN_BYTES: Final = 4 * 1024

NOTHING: Final[dict[str, Any]] = {"request": None, "response": None}


class Redactor(Protocol):
    """The log of a server, which knows the values that must not be shown."""

    def redact_payload(self, text: str) -> str: ...


class Payload:
    """What is kept of one call. `size` is the bytes it holds; lengths are those of the whole, in bytes."""

    __slots__ = (
        "call_id",
        "caller",
        "redactor",
        "request",
        "request_bytes",
        "response",
        "response_bytes",
        "server",
        "size",
    )

    def __init__(
        self,
        record: CallRecord,
        redactor: Redactor,
        result: object,
        error: Exception | None,
        forwarded: Mapping[str, str] | None = None,
    ) -> None:
        request = record.arguments
        response: bytes | None = None
        size = length = answered = 0
        if request is not None:
            size = length = len(request)
            if size > HEAD_BYTES:
                request = request[:HEAD_BYTES]
                size = HEAD_BYTES
        if isinstance(result, Raw):
            # A copy, small as it is: a slice of a line would hold on to the whole line, or to a mapped file.
            view = memoryview(result)
            answered = view.nbytes
            response = bytes(view[:HEAD_BYTES])
        elif isinstance(error, UpstreamAnswered | InputRequired):
            theirs = error.error if isinstance(error, UpstreamAnswered) else error.asked
            answered = len(theirs)
            response = theirs[:HEAD_BYTES]
        if response is not None:
            size += len(response)
        if forwarded:
            request, response = _without(forwarded, request), _without(forwarded, response)
        self.call_id = record.id
        self.caller = record.caller
        self.server = record.server
        self.redactor = redactor
        self.request = request
        self.request_bytes = length
        self.response = response
        self.response_bytes = answered
        self.size = size

    def shown(self) -> dict[str, Any]:
        """Both sides as text without secrets; a side that there was not is None. From any thread."""
        return {
            "request": self._side(self.request, self.request_bytes),
            "response": self._side(self.response, self.response_bytes),
        }

    def _side(self, head: bytes | None, length: int) -> dict[str, Any] | None:
        if head is None:
            return None
        text = self.redactor.redact_payload(head.decode("utf-8", "replace"))
        is_cut = length > HEAD_BYTES
        return {"bytes": length, "truncated": is_cut, "text": text[:-HIDDEN_BYTES] if is_cut else text}


def _without(forwarded: Mapping[str, str], head: bytes | None) -> bytes | None:
    """A head without the caller's own secrets, which nobody would know any more when it is shown."""
    if head is None:
        return None
    values = {value for value in secrets_of(forwarded) if len(value) >= SECRET_MIN_CHARS}
    forms = {form.encode("utf-8", "surrogateescape") for value in values for form in disguises(value)}
    for form in sorted(forms, key=len, reverse=True):
        head = head.replace(form, REDACTED.encode())
    return head


class Payloads:
    """The ring. `mode` says for a server, at each call, where its payloads are kept."""

    def __init__(self, mode: Callable[[str], PayloadMode]) -> None:
        self._mode = mode
        self._ring: deque[Payload] = deque()
        self._bytes = 0

    def keep(
        self,
        record: CallRecord,
        redactor: Redactor,
        result: object,
        error: Exception | None,
        forwarded: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps what was said in a call that has ended; before its record is handed to the store.

        `result` is a `Raw` or there is none; of the errors, those count that a server has worded. Values of
        `forwarded`, the headers of the caller that went along, are not kept where the server repeats them.
        """
        mode = self._mode(record.server)
        if mode == "off":
            return
        payload = Payload(record, redactor, result, error, forwarded)
        ring = self._ring
        ring.append(payload)
        self._bytes += payload.size
        while len(ring) > KEPT_CALLS or self._bytes > KEPT_BYTES:
            self._bytes -= ring.popleft().size
        if mode == "disk":
            record.capture = Capture(payload.size, payload.shown)

    def is_off(self, server: str) -> bool:
        """Whether nothing that was said with a server is to be shown, kept before or not."""
        return self._mode(server) == "off"

    def find(self, call_id: int) -> Payload | None:
        return next((payload for payload in reversed(self._ring) if payload.call_id == call_id), None)
