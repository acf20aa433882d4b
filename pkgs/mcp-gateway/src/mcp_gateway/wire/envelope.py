"""Heads of JSON-RPC messages: read what must be known or rewritten, carry the rest as it came.

A request of a caller gets one bounded scan (`scan`): well-formed UTF-8 JSON, no duplicate key at any
level, no NaN, nesting within the parser's 200 levels, integers of at most 4,300 digits. What could be
read in two ways is refused, never repaired. Its parts are then cut out as raw slices.
A message of a server is trusted less but read less: only its head is decoded.
"""

from typing import Any, Final

import jiter
import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_gateway.errors import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, GatewayError, Kind
from mcp_gateway.wire import halves

Params = dict[str, Any]
"""Members of a `params` object in their order; values are `Raw` slices, or plain values that we wrote."""

RequestId = int | str

_ENVELOPE_KEYS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
# Members that some room decides on. A case variant of one of these could be read by a lenient server
# in place of the one that was authorised (GHSA-4gph-2hhr-5mwg), so it is refused.
_ROUTED_KEYS: Final = frozenset({"name", "arguments", "_meta", "uri", "ref", "cursor"})
_TRIMMED: Final = "\ufeff \t\r\n\v\f"


class Head(msgspec.Struct, gc=False):
    """What is read of a message that came from a server; `Raw` members are empty when absent."""

    id: int | str | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw = Raw(b"")
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")


class RpcError(msgspec.Struct):
    """The `error` member of a response (JSON-RPC 2.0 section 5.1)."""

    code: int
    message: str = ""


class _Slices(msgspec.Struct, gc=False):
    id: Raw = Raw(b"")
    params: Raw = Raw(b"")
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")


class Message(msgspec.Struct, gc=False):
    """A message of a caller after its scan: a request, a notification or a response.

    `id_raw` is the id as it was written, for the answer; `id` is its value, for correlation. `params` are
    slices; `name` and `meta` are the values of `params.name` (of any type) and `params._meta`. Of a response
    there is a slice in `result` or in `error`.
    """

    id: RequestId | None
    id_raw: bytes
    method: str | None
    params: Params
    name: Any
    meta: dict[str, Any]
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")


_read_head = msgspec.json.Decoder(Head).decode
_read_slices = msgspec.json.Decoder(_Slices).decode
_read_array = msgspec.json.Decoder(list[Raw]).decode
_read_members = msgspec.json.Decoder(dict[str, Raw]).decode
_read_error = msgspec.json.Decoder(RpcError).decode
encode = msgspec.json.Encoder().encode


class NotAMessage(ValueError):
    """A line of a server that is no JSON-RPC message."""


def scan(body: bytes) -> Any:
    """The one scan of what a caller sent; answers the decoded value.

    Raises:
        GatewayError: `invalid`, with the place in the text.
    """
    try:
        return jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as problem:
        raise GatewayError(
            Kind.INVALID, f"The body is not valid JSON: {problem}", rpc_code=PARSE_ERROR
        ) from None


def scan_object(body: bytes) -> dict[str, Any]:
    """`scan` for a body that must be a JSON object.

    Raises:
        GatewayError: `invalid`.
    """
    value = scan(body)
    if not isinstance(value, dict):
        raise GatewayError(Kind.INVALID, "The body must be a JSON object", rpc_code=INVALID_REQUEST)
    return value


def read_message(body: bytes) -> Message:
    """Reads one JSON-RPC message of a caller.

    Raises:
        GatewayError: `invalid`, with the JSON-RPC code -32700 or -32600; -32602 of a request that is one.
    """
    value = scan_object(body)
    if value.get("jsonrpc") != "2.0":
        raise _bad_request('`jsonrpc` must be "2.0"')
    _refuse_case_variants(value, _ENVELOPE_KEYS)
    method = value.get("method")
    if "method" in value and not isinstance(method, str):
        raise _bad_request("`method` must be a string")
    if method is None and "result" not in value and "error" not in value:
        raise _bad_request("neither a request nor a response: `method` is missing")
    request_id = value.get("id")
    if "id" in value and (isinstance(request_id, bool) or not isinstance(request_id, int | str)):
        raise _bad_request("`id` must be a string or an integer")
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise _bad_request("`params` must be an object")
    _refuse_case_variants(params, _ROUTED_KEYS)
    meta = params.get("_meta", {})
    if not isinstance(meta, dict):
        raise GatewayError(Kind.INVALID, "`_meta` must be an object", rpc_code=INVALID_PARAMS)
    slices = _read_slices(body)
    members = _read_members(slices.params) if params else {}
    name = params.get("name")
    return Message(request_id, bytes(slices.id), method, members, name, meta, slices.result, slices.error)


def read_id(body: bytes) -> bytes:
    """The id of a message that `read_message` refused with -32602, as it was written."""
    return bytes(_read_slices(body).id)


def read_batch(body: bytes, most: int) -> list[tuple[Message, int]]:
    """Reads an array of messages of a caller, each by the rules of `read_message`, with its size in bytes.

    All or nothing: one that cannot be read, or an id that comes twice, refuses all of them.

    Raises:
        GatewayError: `invalid`, with the JSON-RPC code -32700 or -32600.
    """
    try:
        slices = _read_array(body)
    except (msgspec.MsgspecError, RecursionError) as problem:
        detail = f"The body is not valid JSON: {problem}"
        raise GatewayError(Kind.INVALID, detail, rpc_code=PARSE_ERROR) from None
    if not 1 <= len(slices) <= most:
        raise _bad_request(f"a batch holds 1 to {most} messages, and this one {len(slices)}")
    messages: list[tuple[Message, int]] = []
    ids: set[tuple[type, RequestId]] = set()
    for number, part in enumerate(map(bytes, slices), 1):
        try:
            message = read_message(part)
        except GatewayError as problem:
            problem.detail = f"Message {number} of the batch: {problem.detail}"
            raise
        if message.id is not None and message.method is not None:
            key = (type(message.id), message.id)
            if key in ids:
                raise _bad_request(
                    f"two requests of the batch have the id {message.id_raw[:80].decode('utf-8', 'replace')}"
                )
            ids.add(key)
        messages.append((message, len(part)))
    return messages


def _refuse_case_variants(members: dict[str, Any], known: frozenset[str]) -> None:
    if members.keys() <= known:
        return  # nearly always
    for key in members:
        # casefold, not lower: lenient parsers also take letters such as U+017F for an s. Those that keep
        # strings as C does end a key at a NUL, and some trim it.
        if key not in known and (meant := key.partition("\0")[0].strip(_TRIMMED).casefold()) in known:
            raise _bad_request(f"`{key[:40]}` differs only by case or blanks from `{meant}`")


def _bad_request(detail: str) -> GatewayError:
    return GatewayError(Kind.INVALID, detail, rpc_code=INVALID_REQUEST)


def read_head(line: bytes | memoryview) -> Head:
    """Reads the head of one message of a server.

    Raises:
        NotAMessage: it is not JSON, not an object, or neither request, notification nor response.
    """
    try:
        head = _read_head(line)
    except RecursionError:
        raise NotAMessage("it is nested too deep") from None
    except msgspec.MsgspecError as problem:
        mask = halves.mask_for(line)
        if mask is None:
            raise NotAMessage(str(problem)) from None
        head = _read_masked_head(mask)
    if head.method is UNSET and head.id is UNSET:
        raise NotAMessage("neither a method nor an id")
    return head


def _read_masked_head(mask: halves.Mask) -> Head:
    try:
        head = _read_head(mask.text)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise NotAMessage(str(problem)) from None
    head.params, head.result, head.error = map(mask.lift, (head.params, head.result, head.error))
    return head


def read_members(raw: Raw | bytes) -> Params:
    """The members of an object as raw slices, in their order; empty when it is no object."""
    try:
        return _read_members(raw)
    except (msgspec.MsgspecError, RecursionError):
        mask = halves.mask_for(bytes(raw))
    try:
        return {} if mask is None else {k: mask.lift(v) for k, v in _read_members(mask.text).items()}
    except (msgspec.MsgspecError, RecursionError):
        return {}


def read_error(raw: Raw | bytes) -> RpcError | None:
    """Reads an `error` member; None when it is not one."""
    try:
        return _read_error(raw)
    except (msgspec.MsgspecError, RecursionError):
        mask = halves.mask_for(bytes(raw))
    try:
        return None if mask is None else _read_error(mask.text)
    except (msgspec.MsgspecError, RecursionError):
        return None


def request_line(request_id: int, method: str, params: Params) -> bytes:
    """One request as a line for a stdio server.

    JSON allows raw line breaks only as white space between tokens, where a blank does as well;
    on this wire a line break would end the message.
    """
    head = b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":' % (request_id, encode(method))
    line = b"%b%b}\n" % (head, encode(params))
    if line.find(b"\n") != len(line) - 1 or b"\r" in line:
        line = line.replace(b"\n", b" ").replace(b"\r", b" ")[:-1] + b"\n"
    return line


def as_line(message: bytes) -> bytes:
    """A message that is no request as a line for a stdio server; see `request_line`.

    What a client wrote over several lines would be as many messages there, none of them looked at.
    """
    if b"\n" in message or b"\r" in message:
        message = message.replace(b"\n", b" ").replace(b"\r", b" ")
    return message + b"\n"


def notification(method: str, params: Params | None = None) -> bytes:
    """One notification; slices in its params are carried as they came."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (encode(method), encode(params or {}))


def response(id_raw: bytes, result: bytes | Raw) -> bytes:
    """A response whose result is carried as it came."""
    return b"".join((b'{"jsonrpc":"2.0","id":', id_raw, b',"result":', result, b"}"))


def error_response(id_raw: bytes, error: bytes) -> bytes:
    """An error response; `id_raw` is empty where the id could not be read (JSON-RPC 2.0 section 5)."""
    return b"".join((b'{"jsonrpc":"2.0","id":', id_raw or b"null", b',"error":', error, b"}"))
