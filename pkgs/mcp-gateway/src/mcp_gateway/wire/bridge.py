"""Between the eras: what one says in a way of its own, in the way of the other. Pure.

In the handshake era a server asks its client in the middle of a call; in the modern one it answers that it
needs input, and the client sends the same request again with what was asked for (2026-07-28, basic/patterns).
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from mcp_gateway.errors import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, RESOURCE_NOT_FOUND
from mcp_gateway.wire.envelope import Params, encode, read_members
from mcp_gateway.wire.headers import HEADER_MISMATCH
from mcp_gateway.wire.revisions import MISSING_CAPABILITY, UNSUPPORTED_VERSION

INPUT_REQUIRED: Final = "input_required"
ANSWERS: Final = "inputResponses"
STATE: Final = "requestState"
# What only the modern era has in a result; a client of the other would not know what to make of it.
_MODERN_MEMBERS: Final = (b"resultType", b"ttlMs", b"cacheScope")
_TYPE_FIRST: Final = b'{"resultType":"complete",'
_TYPE_LAST: Final = b',"resultType":"complete"}'  # within a text its quotes would be escaped


class Input(msgspec.Struct):
    """One thing that is asked for: a request as it would be in the handshake era, without an id."""

    method: str
    params: Raw = Raw(b"")


class Round(msgspec.Struct):
    """A result that asks for input; `requestState` is the server's own, to be sent back as it came."""

    resultType: str = "complete"
    inputRequests: dict[str, Input] = {}
    requestState: Raw = Raw(b"")


def read_round(result: Raw) -> Round | None:
    """What a result asks for; None when it asks for nothing.

    Raises:
        ValueError: it asks, but not in a way that makes sense.
    """
    text = bytes(result)
    if INPUT_REQUIRED.encode() not in text:
        return None
    if bytes(read_members(result).get("resultType", b"")) != encode(INPUT_REQUIRED):
        return None
    try:
        return msgspec.json.decode(text, type=Round)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError(f"it asks for input in a way that makes no sense: {problem}") from None


def with_answers(params: Params, asked: Round, answers: Mapping[str, bytes]) -> Params:
    """The parameters of the same request, sent again with what was asked for."""
    again = {name: value for name, value in params.items() if name not in (ANSWERS, STATE)}
    if answers:
        again[ANSWERS] = {name: Raw(answer) for name, answer in answers.items()}
    if asked.requestState:
        again[STATE] = asked.requestState
    return again


# What only the modern era has among codes of errors, by what the other has instead.
_HANDSHAKE_CODES: Final = {
    HEADER_MISMATCH: INVALID_REQUEST,
    MISSING_CAPABILITY: INTERNAL_ERROR,
    UNSUPPORTED_VERSION: INVALID_REQUEST,
}
_READ: Final = "resources/read"


def handshake_error(code: int, method: str, error: bytes) -> int:
    """The code of a modern server's error as a client of the handshake era knows it."""
    is_about_uri = method == _READ and "uri" in read_members(read_members(error).get("data", b"{}"))
    if code == INVALID_PARAMS and is_about_uri:
        return RESOURCE_NOT_FOUND
    return _HANDSHAKE_CODES.get(code, code)


def as_handshake(result: Raw) -> Raw:
    """A result of the modern era without what the handshake era does not know; else as it came."""
    text = bytes(result)
    # As most are written: then nothing of it has to be read.
    if text.startswith(_TYPE_FIRST):
        text = b"{" + text[len(_TYPE_FIRST) :]
    elif text.endswith(_TYPE_LAST):
        text = text[: -len(_TYPE_LAST)] + b"}"
    type_name, lifetime, scope = _MODERN_MEMBERS
    if type_name not in text and lifetime not in text and scope not in text:
        return result if len(text) == memoryview(result).nbytes else Raw(text)
    members = read_members(result)
    kept = {name: value for name, value in members.items() if name.encode() not in _MODERN_MEMBERS}
    return result if len(kept) == len(members) else Raw(encode(kept))
