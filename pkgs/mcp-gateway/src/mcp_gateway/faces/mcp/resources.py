"""Resources of MCP: those of the servers are listed with the caller's artifacts, which are read here.

The bare URI of an artifact answers all of it as one text, however long: it is what was asked for, and the
gateway sends it in slices. `?offset=&length=` (bytes) answers a part; its `_meta` names the next. A
part never ends within a character, so the parts joined are the result.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.errors import RESOURCE_NOT_FOUND, GatewayError, Kind
from mcp_gateway.faces.http import SEND_SLICE_BYTES
from mcp_gateway.faces.mcp.streams import Flowing
from mcp_gateway.gateway import Gateway, Reading
from mcp_gateway.gateway.artifacts import META, MIME_TYPE, URI_PREFIX
from mcp_gateway.shelves import RESOURCES
from mcp_gateway.wire.envelope import Message, encode
from mcp_gateway.wire.results import NOT_KEPT
from mcp_gateway.wire.revisions import Era

LONGEST_CHARACTER_BYTES: Final = 4
PART_TYPE: Final = "text/plain"  # a part of JSON is none

_URI: Final = re.compile(re.escape(URI_PREFIX) + r"([A-Za-z0-9_-]{1,64})(?:\?(.*))?")
_FIELD: Final = re.compile(r"(offset|length)=(\d{1,18})")
ARTIFACT_TEMPLATE: Final = encode(
    {
        "uriTemplate": URI_PREFIX + "{id}{?offset,length}",
        "name": "artifact",
        "title": "Part of a large result",
        "description": "Bytes of a result that was too long to be handed over whole; "
        "`_meta` of the answer names the next part.",
        "mimeType": PART_TYPE,
    }
)


def artifacts(gateway: Gateway, caller: Caller, server: str | None) -> bytes:
    """What follows the servers' resources in a list: the caller's artifacts, with commas between."""
    # They are of calls; who may only read has none, and sees the lists all the same.
    mine = gateway.list_artifacts(caller) if Right.CALL in caller.rights else []
    return b",".join(encode(one.link()) for one in mine if server in (None, one.server))


def is_ours(gateway: Gateway, caller: Caller, server: str | None, message: Message) -> bool:
    """Whether what is to be read is an artifact of ours: a server of this endpoint may be a gateway, too."""
    try:
        uri = msgspec.json.decode(message.params.get("uri", b""), type=str)
    except msgspec.MsgspecError:
        return False
    if not uri.startswith(URI_PREFIX):
        return False
    if server is None or not gateway.catalog(caller).may_have(RESOURCES, server):
        return True
    return any(uri.partition("?")[0] == one.uri for one in gateway.list_artifacts(caller))


def read_resource(
    gateway: Gateway, caller: Caller, server: str | None, message: Message, era: Era
) -> Flowing:
    """The response to `resources/read`, read while it is sent.

    Raises:
        GatewayError: `unknown` or `invalid`.
    """
    uri, artifact_id, offset, length = _asked(message.params.get("uri"))
    reading = _opened(gateway, caller, server, artifact_id)
    try:
        start, end = _span(reading, offset, length)
    except BaseException:
        reading.close()
        raise
    size = reading.artifact.size
    is_part = (start, end) != (0, size)
    about: dict[str, Any] = {"size": size, "offset": start, "length": end - start}
    if end < size:
        asked_for = "" if length is None else f"&length={length}"
        about["next"] = f"{reading.artifact.uri}?offset={end}{asked_for}"
    content = encode({"uri": uri, "mimeType": PART_TYPE if is_part else MIME_TYPE})[:-1]
    opening = NOT_KEPT + b"," if era is Era.MODERN else b""
    head = b'{"jsonrpc":"2.0","id":%b,"result":{%b"_meta":%b,"contents":[%b,"text":"' % (
        message.id_raw,
        opening,
        encode({META: about}),
        content,
    )
    return Flowing(_response(reading, head, start, end), reading.close)


def _response(reading: Reading, head: bytes, start: int, end: int) -> Iterator[bytes]:
    yield head
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for at in range(start, end, SEND_SLICE_BYTES):
        text = decode(reading.read(at, min(SEND_SLICE_BYTES, end - at)))
        yield encode(text)[1:-1]
    yield b'"}]}}'


def _asked(raw: Any) -> tuple[str, str, int, int | None]:
    """The URI, and what it says: the artifact's id, offset and length."""
    try:
        uri = msgspec.json.decode(raw or b"null", type=str)
    except msgspec.MsgspecError:
        raise GatewayError(Kind.INVALID, "`params.uri` must be a string") from None
    found = _URI.fullmatch(uri)
    if found is None:
        raise GatewayError(Kind.UNKNOWN, f"There is no resource `{uri[:200]}`", rpc_code=RESOURCE_NOT_FOUND)
    fields: dict[str, int] = {}
    for field in [] if found[2] is None else found[2].split("&"):
        part = _FIELD.fullmatch(field)
        if part is None or part[1] in fields:
            raise GatewayError(Kind.INVALID, "A part is asked for with `?offset=` and `&length=`, in bytes")
        fields[part[1]] = int(part[2])
    return uri, found[1], fields.get("offset", 0), fields.get("length")


def _opened(gateway: Gateway, caller: Caller, server: str | None, artifact_id: str) -> Reading:
    try:
        reading = gateway.read_artifact(caller, artifact_id, server)
    except GatewayError as error:
        if error.kind is Kind.UNKNOWN:
            error.rpc_code = RESOURCE_NOT_FOUND
        raise
    return reading


def _span(reading: Reading, offset: int, length: int | None) -> tuple[int, int]:
    """The first byte of the part and the one after its last; neither is within a character."""
    size = reading.artifact.size
    if length is not None and length < LONGEST_CHARACTER_BYTES:
        raise GatewayError(Kind.INVALID, f"`length` must be at least {LONGEST_CHARACTER_BYTES}")
    if offset > size or _is_within_character(reading, offset):
        raise GatewayError(Kind.INVALID, f"`offset` must be where a character of the {size} bytes begins")
    end = size if length is None else min(size, offset + length)
    while _is_within_character(reading, end):
        end -= 1
    return offset, end


def _is_within_character(reading: Reading, at: int) -> bool:
    byte = reading.read(at, 1)
    return byte != b"" and byte[0] & 0xC0 == 0x80  # UTF-8, all bytes of a character but the first
