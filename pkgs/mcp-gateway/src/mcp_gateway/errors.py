"""The one error table: what can go wrong, whose fault it is, and how each face says it.

Raised anywhere below the faces with the facts as fields; turned into words for a client only by
`faces/` (RFC 9457 problems on REST, `error.data` on MCP). Knows no HTTP library and no transport.

    GatewayError            one of the ten kinds of product.md, with its facts
      InputRequired         the tool asks back; what it asked travels on
      UnusableConfig        the configuration file cannot be used; every problem with its place travels on
      UpstreamAnswered      the server itself answered with a JSON-RPC error; its bytes travel on
    CallCancelled           the caller (or the operator) took the call back; nobody waits for an answer
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The `code` of every error document; the words are part of the public contract."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    INPUT_REQUIRED = "input_required"
    INTERNAL = "internal"


# The `code` of a problem that stands for a tool's own report of failure, where only an error can tell it: the
# tool API, whose clients know HTTP and no MCP. No kind: nothing went wrong on the way.
TOOL_ERROR = "tool_error"
TOOL_ERROR_STATUS = 422  # 5xx would be tried again by clients, and what was done be done twice
TOOL_ERROR_TITLE = "The tool reports failure"


@dataclass(frozen=True, slots=True)
class Row:
    """How one kind is told: HTTP status, JSON-RPC code, whether trying again is safe, a title."""

    status: int
    rpc_code: int
    retryable: bool
    title: str


# `retryable` is about safety, not hope: a call that may have run is never marked so.
TABLE: Mapping[Kind, Row] = {
    Kind.INVALID: Row(400, -32602, False, "The request is not valid"),
    Kind.UNAUTHENTICATED: Row(401, -32000, False, "Nobody is signed in"),
    Kind.REFUSED: Row(403, -32000, False, "The request is refused"),
    Kind.UNKNOWN: Row(404, -32602, False, "There is no such thing"),
    Kind.BUSY: Row(429, -32000, True, "The server has too much to do"),
    Kind.UNAVAILABLE: Row(503, -32000, True, "The server cannot take calls now"),
    Kind.TIMED_OUT: Row(504, -32000, False, "The server did not answer in time"),
    Kind.LOST: Row(502, -32000, False, "The server was lost during the call"),
    Kind.INPUT_REQUIRED: Row(
        409, -32000, False, "The tool asks for something this way of calling cannot carry"
    ),
    Kind.INTERNAL: Row(500, -32603, False, "The gateway made a mistake"),
}

# JSON-RPC 2.0 section 5.1.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# MCP 2025-11-25, server/resources, error handling.
RESOURCE_NOT_FOUND = -32002


class GatewayError(Exception):
    """A failure with a kind and the facts a caller needs to act on it.

    `detail` is a sentence for a person; text of a server in it has been made printable and its secrets
    replaced by whoever raised the error;
    `status` and `rpc_code` refine the table's row (413 and 415 are `invalid`, too).
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        server: str | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
        rpc_code: int | None = None,
    ) -> None:
        super().__init__(detail)
        row = TABLE[kind]
        self.kind = kind
        self.detail = detail
        self.server = server
        self.retry_after_s = retry_after_s
        self.status = row.status if status is None else status
        self.rpc_code = row.rpc_code if rpc_code is None else rpc_code
        self.call_id: str | None = None

    @property
    def retryable(self) -> bool:
        return TABLE[self.kind].retryable

    def facts(self) -> dict[str, Any]:
        """The fields shared by a problem document and `error.data`; absent facts are left out."""
        facts: dict[str, Any] = {"code": self.kind.value, "detail": self.detail, "retryable": self.retryable}
        if self.server is not None:
            facts["server"] = self.server
        if self.call_id is not None:
            facts["callId"] = self.call_id
        if self.retry_after_s is not None:
            facts["retryAfter"] = max(1, math.ceil(self.retry_after_s))
        return facts


# What the JSON-RPC errors of a server mean to somebody who knows only the table above.
_KIND_OF_RPC_CODE = {
    PARSE_ERROR: Kind.INVALID,
    INVALID_REQUEST: Kind.INVALID,
    INVALID_PARAMS: Kind.INVALID,
    METHOD_NOT_FOUND: Kind.UNKNOWN,
    RESOURCE_NOT_FOUND: Kind.UNKNOWN,
}


class UpstreamAnswered(GatewayError):
    """The server refused the call with an error of its own; MCP callers get `error` unchanged."""

    def __init__(self, server: str, code: int, message: str, error: bytes) -> None:
        kind = _KIND_OF_RPC_CODE.get(code, Kind.LOST)
        super().__init__(
            kind, f"The server answered with error {code}: {message}", server=server, rpc_code=code
        )
        self.error = error


class InputRequired(GatewayError):
    """The tool asks for something before it can go on; `asked` is its `inputRequests`, unchanged."""

    def __init__(self, server: str, asked: bytes) -> None:
        detail = "The tool asks for something before it can go on"
        super().__init__(Kind.INPUT_REQUIRED, detail, server=server)
        self.asked = asked


class UnusableConfig(GatewayError):
    """A reload that left everything as it was; `problems` as JSON objects."""

    def __init__(self, detail: str, problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(Kind.INVALID, detail)
        self.problems = problems

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"problems": list(self.problems)}


class CallCancelled(Exception):
    """The call was taken back; the reason says by whom."""

    def __init__(self, reason: str, *, answered: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answered = answered  # False: who took it back wants no answer (MCP, utilities/cancellation)
