"""An MCP result as clients expect it that know HTTP and no MCP.

    text                 the JSON object or array that it holds, else the text itself
    image, audio         a `data:` URI (RFC 2397)
    embedded resource    its text; an image or audio as above; any other file a link
    resource link        a link
    several of these     a list of them
    structured content   instead of texts that say the same; with what else there is, first in the list
    nothing              `{"ok": true}`
    failure              an error, in the tool's own words

Texts, numbers and whatever is structured stay the bytes that the server wrote. Knows no transport.
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.gateway.artifacts import URI_PREFIX
from mcp_gateway.wire.envelope import encode, read_members
from mcp_gateway.wire.results import entries

LINKS_MAX: Final = 1_000  # in one answer; those behind them are named without being links
LINK_CHARS_MAX: Final = 16_384  # of a URI: a link to a longer one would be no URL that servers take
SLICE_S: Final = 0.005  # of the event loop at a time, while one result is gone through
NOTHING: Final = Raw(b'{"ok":true}')
UNTYPED: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][\w.+-]{0,63}/[A-Za-z0-9][\w.+-]{0,63}(?:; ?[\w-]{1,40}=[\w.+-]{1,80}){0,4}",
    re.ASCII,  # it stands in a header
)
_SHOWN: Final = ("image/", "audio/")  # what models and pages take in place
_ABOUT: Final = ("name", "title", "description", "mimeType", "size")  # of a link, as its server says
_EMPTY: Final = frozenset({"_meta", "isError", "structuredContent", "resultType"})  # what says nothing alone
_NO_WORDS: Final = "The tool reports failure and does not say why"


class Files(Protocol):
    """Makes links for one caller; each answers an absolute URL."""

    def to_resource(self, server_uri: str) -> str | None:
        """None where the URI is too long for a link."""
        ...

    def to_artifact(self, artifact_id: str) -> str: ...
    async def keep(self, data: Raw, media_type: str) -> tuple[str, int] | None:
        """Of base64, as a JSON string: a link to what it holds and its size in bytes; None if it is none."""
        ...


@dataclass(frozen=True, slots=True)
class Media:
    """Bytes of a type, as base64 in a JSON string."""

    type: str
    data: Raw

    @property
    def uri(self) -> Raw:
        """As a JSON string; the base64 is not looked at."""
        return Raw(b'"data:%b;base64,%b' % (self.type.replace(" ", "").encode(), bytes(self.data)[1:]))


@dataclass(frozen=True, slots=True)
class Text:
    """`raw` is the JSON string as it was written; `text` None where that is not valid Unicode."""

    raw: Raw
    text: str | None


Piece = Media | Text | Raw


@dataclass(frozen=True, slots=True)
class Told:
    """`value` is JSON; `alone` the one piece it was made of, for clients that want that as it is.

    `failure` is what a tool said that reports failure; `value` is then what it said besides, if anything.
    """

    value: Raw | None
    alone: Piece | None = None
    failure: str | None = None


async def told(result: Raw, files: Files) -> Told:
    """What to answer with."""
    members = read_members(result)
    structured = members.get("structuredContent")
    if structured is not None and bytes(structured) == b"null":
        structured = None
    has_failed = _value(members.get("isError")) is True
    if "content" not in members and structured is None and not has_failed and members.keys() - _EMPTY:
        # Not what tools answer with: a task that was begun, or what a revision after these has.
        return Told(result)
    blocks = entries(members["content"]) if "content" in members else []
    pieces: list[Piece] = []
    async for at, block in _unhurried(blocks):
        pieces.append(await _piece(block, files if at < LINKS_MAX else None))
    said = frozenset() if structured is None else await _said(structured)
    pieces = [piece async for _, piece in _unhurried(pieces) if has_failed or not _says_nothing(piece, said)]
    if has_failed:
        return await _failed(pieces, structured, said)
    if structured is not None:
        return Told(structured if not pieces else await _list([structured, *pieces]))
    match pieces:
        case []:
            return Told(NOTHING)
        case [piece]:
            return Told(_json(piece), piece)
    return Told(await _list(pieces))


_T = TypeVar("_T")


async def _unhurried(many: Iterable[_T]) -> AsyncIterator[tuple[int, _T]]:
    """Each with its number; others get their turn where they are very many."""
    began = clock.now_s()
    for at, one in enumerate(many):
        yield at, one
        if clock.now_s() - began >= SLICE_S:
            await asyncio.sleep(0)
            began = clock.now_s()


async def _failed(pieces: list[Piece], structured: Raw | None, said: frozenset[bytes]) -> Told:
    texts = [piece for piece in pieces if isinstance(piece, Text)]
    others: list[Piece] = [piece for piece in pieces if not isinstance(piece, Text)]
    words = "\n".join(piece.text or bytes(piece.raw).decode() for piece in texts)
    if structured is not None and not any(_says_nothing(piece, said) for piece in texts):
        others.insert(0, structured)
    return Told(await _list(others) if others else None, failure=words or _NO_WORDS)


async def _piece(block: Raw, files: Files | None) -> Piece:
    members = read_members(block)
    match _value(members.get("type")):
        case "text" if (raw := _string(members.get("text"))) is not None:
            return Text(raw, text_of(raw))
        case "image" | "audio" as kind if (data := _string(members.get("data"))) is not None:
            # Whatever it calls itself: as anything else it would not be shown, and must not be run.
            media_type = media_type_of(members.get("mimeType"))
            return Media(media_type if media_type.startswith(_SHOWN) else f"{kind}/x-unknown", data)
        case "resource" if "resource" in members:
            return await _resource(members["resource"], files)
        case "resource_link" if (uri := _value(members.get("uri"))) and isinstance(uri, str):
            link: dict[str, Any] = {"uri": uri} | {name: members[name] for name in _ABOUT if name in members}
            return Raw(encode(link | _link(uri, files)))
    return block  # of a kind that is not known here


async def _resource(raw: Raw, files: Files | None) -> Piece:
    members = read_members(raw)
    if (text := _string(members.get("text"))) is not None:
        return Text(text, text_of(text))
    data = _string(members.get("blob"))
    if data is None:
        return raw
    media_type = media_type_of(members.get("mimeType"))
    if media_type.startswith(_SHOWN):
        return Media(media_type, data)
    about: dict[str, Any] = {name: members[name] for name in ("uri", "mimeType") if name in members}
    kept = None if files is None else await files.keep(data, media_type)
    if kept is None:
        return raw
    url, size = kept
    return Raw(encode(about | {"size": size, "url": url}))


def _link(uri: str, files: Files | None) -> dict[str, str]:
    if uri.lower().startswith(("https://", "http://")):
        return {"url": uri}  # MCP: the client fetches such a one itself
    if files is None or len(uri) > LINK_CHARS_MAX:
        return {}
    if uri.startswith(URI_PREFIX):
        return {"url": files.to_artifact(uri.removeprefix(URI_PREFIX))}
    url = files.to_resource(uri)
    return {} if url is None else {"url": url}


async def _said(structured: Raw) -> frozenset[bytes]:
    """What texts may repeat of it: all of it, or what it wraps because a schema has to be an object's.

    As `_canonical`: there may be as many texts as parts, and each of those is looked for among all of these.
    """
    value = _value(structured)
    found = [value]
    if isinstance(value, dict) and len(value) == 1:
        wrapped = next(iter(value.values()))
        found += [wrapped, *wrapped] if isinstance(wrapped, list) else [wrapped]
    return frozenset([_canonical(one) async for _, one in _unhurried(found)])


def _canonical(value: Any) -> bytes:
    """The same bytes for the same JSON."""
    try:
        return msgspec.json.encode(value, order="deterministic")
    except (msgspec.MsgspecError, OverflowError):  # a number of more than 64 bits
        return repr(value).encode()


def _says_nothing(piece: Piece, said: frozenset[bytes]) -> bool:
    """A text that is empty or repeats what is said anyway."""
    if not isinstance(piece, Text) or piece.text is None:
        return False
    if not piece.text:
        return True
    if not said:
        return False
    try:
        value = msgspec.json.decode(piece.text)
    except (msgspec.MsgspecError, RecursionError):
        value = piece.text
    return _canonical(value) in said or _canonical(piece.text) in said


def _json(piece: Piece) -> Raw:
    if isinstance(piece, Media):
        return piece.uri
    if isinstance(piece, Raw):
        return piece
    text = (piece.text or "").strip()
    if text[:1] not in ("{", "["):
        return piece.raw
    try:
        return Raw(encode(msgspec.json.decode(text, type=Raw)))
    except (msgspec.MsgspecError, RecursionError):
        return piece.raw


async def _list(pieces: list[Piece]) -> Raw:
    return Raw(encode([_json(piece) async for _, piece in _unhurried(pieces)]))


def _value(raw: Raw | None) -> Any:
    """Decoded; None where it cannot be."""
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _string(raw: Raw | None) -> Raw | None:
    return raw if raw is not None and bytes(memoryview(raw)[:1]) == b'"' else None


def decoded(data: Raw) -> bytes | None:
    """What base64 in a JSON string holds."""
    try:
        return base64.b64decode(msgspec.json.decode(data, type=str), validate=True)
    except (ValueError, msgspec.MsgspecError):
        return None


def text_of(raw: Raw | None) -> str | None:
    """A string, unless half of a character is missing in it."""
    text = _value(raw)
    return text if isinstance(text, str) else None


def media_type_of(raw: Raw | None) -> str:
    """A media type as a server wrote it, if that is one."""
    text = _value(raw)
    return text if isinstance(text, str) and _MEDIA_TYPE.fullmatch(text) else UNTYPED
