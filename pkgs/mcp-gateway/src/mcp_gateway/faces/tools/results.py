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

import base64
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from mcp_gateway.gateway.artifacts import URI_PREFIX
from mcp_gateway.wire.envelope import encode, read_members
from mcp_gateway.wire.results import entries

LINKS_MAX: Final = 1_000  # in one answer; those behind them are named without being links
NOTHING: Final = Raw(b'{"ok":true}')
UNTYPED: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][\w.+-]{0,63}/[A-Za-z0-9][\w.+-]{0,63}(?:; ?[\w-]{1,40}=[\w.+-]{1,80}){0,4}"
)
_SHOWN: Final = ("image/", "audio/")  # what models and pages take in place
_ABOUT: Final = ("name", "title", "description", "mimeType", "size")  # of a link, as its server says
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
    if "content" not in members and structured is None:
        # Not what tools answer with: a task that was begun, or what a revision after these has.
        return Told(result)
    blocks = entries(members["content"]) if "content" in members else []
    pieces = [await _piece(block, files if at < LINKS_MAX else None) for at, block in enumerate(blocks)]
    if _value(members.get("isError")) is True:
        return _failed(pieces, structured)
    if structured is not None:
        said = _said(structured)
        pieces = [piece for piece in pieces if not (isinstance(piece, Text) and _says(piece, said))]
        return Told(structured if not pieces else _list([structured, *pieces]))
    pieces = [piece for piece in pieces if not (isinstance(piece, Text) and piece.text == "")]
    match pieces:
        case []:
            return Told(NOTHING)
        case [piece]:
            return Told(_json(piece), piece)
    return Told(_list(pieces))


def _failed(pieces: list[Piece], structured: Raw | None) -> Told:
    texts = [piece for piece in pieces if isinstance(piece, Text)]
    others: list[Piece] = [piece for piece in pieces if not isinstance(piece, Text)]
    words = "\n".join(piece.text or bytes(piece.raw).decode() for piece in texts)
    if structured is not None and not any(_says(piece, _said(structured)) for piece in texts):
        others.insert(0, structured)
    return Told(_list(others) if others else None, failure=words or _NO_WORDS)


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
    if files is None:
        return {}
    if uri.startswith(URI_PREFIX):
        return {"url": files.to_artifact(uri.removeprefix(URI_PREFIX))}
    url = files.to_resource(uri)
    return {} if url is None else {"url": url}


def _said(structured: Raw) -> list[Any]:
    """What texts may repeat of it: all of it, or what it wraps because a schema has to be an object's."""
    value = _value(structured)
    found = [value]
    if isinstance(value, dict) and len(value) == 1:
        wrapped = next(iter(value.values()))
        found += [wrapped, *wrapped] if isinstance(wrapped, list) else [wrapped]
    return found


def _says(piece: Text, said: list[Any]) -> bool:
    if not piece.text:
        return True
    try:
        value = msgspec.json.decode(piece.text)
    except (msgspec.MsgspecError, RecursionError):
        value = piece.text
    return value in said or piece.text in said


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


def _list(pieces: list[Piece]) -> Raw:
    return Raw(encode([_json(piece) for piece in pieces]))


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
