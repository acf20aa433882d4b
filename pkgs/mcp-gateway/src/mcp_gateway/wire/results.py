"""What is changed in results: URIs, where those of servers collide, and what the modern era adds to each.

Everything else stays the bytes it was. Knows where MCP puts the URI of a resource: `contents[].uri` of what
was read, a `resource_link` or an embedded `resource` in the content of a tool's result and of a prompt's
messages. Looks at the members on the way there and at nothing beside it. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw

from mcp_gateway.wire import halves
from mcp_gateway.wire.envelope import encode, read_members

Exchange = Callable[[str], str]
"""A URI as its server writes it -> as the caller is to see it."""

_URI: Final = b'"uri"'
_RESULT_TYPE: Final = "resultType"
_COMPLETE: Final = {_RESULT_TYPE: b'"complete"'}
# Where a server of the handshake era says nothing of it, nobody is to keep what it answered.
_NOT_KEPT: Final = {**_COMPLETE, "ttlMs": b"0", "cacheScope": b'"private"'}


def with_uris(method: str, result: Raw, exchange: Exchange) -> Raw:
    """The result of such a request with its URIs exchanged; the same object where none is another one."""
    text = bytes(result)
    if _URI not in text and b"\\u" not in text:  # the name may be written with escapes
        return result
    match method:
        case "tools/call" | "tasks/result":
            changed = _in_member(result, "content", lambda raw: _in_list(raw, _block, exchange))
        case "resources/read":
            changed = _in_member(result, "contents", lambda raw: _in_list(raw, _own_uri, exchange))
        case "prompts/get":
            changed = _in_member(result, "messages", lambda raw: _in_list(raw, _message, exchange))
        case "tasks/get":  # in the modern era the result stands in the task, once it is there
            changed = _in_member(
                result,
                "result",
                lambda raw: _in_member(raw, "content", lambda content: _in_list(content, _block, exchange)),
            )
        case _:
            changed = None
    return result if changed is None else changed


def _written(members: Mapping[str, bytes]) -> bytes:
    return b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items())


# The members with which a result of the gateway itself begins. Nobody is to keep one: what is offered changes
# as servers come and go, differs by caller, and costs next to nothing to ask for again.
NOT_KEPT: Final = _written(_NOT_KEPT)


_TYPED: Final = b"{%b," % _written(_COMPLETE)
_TYPE_FIRST: Final = _TYPED[:-1]
_TYPE_LAST: Final = b'"resultType":"complete"}'  # within a text its quotes would be escaped


def as_modern(result: Raw, *, may_be_kept: bool) -> tuple[bytes, Raw]:
    """A result as every one of the modern era is: with its type, and where clients may keep it, for how long.

    In two parts, to be written one after the other. What the server says itself is left as it is.
    """
    text = bytes(result)
    if may_be_kept:
        opening = _lacking(_NOT_KEPT, text, result)
    elif _RESULT_TYPE.encode() not in text:
        opening = _TYPED
    elif text.startswith(_TYPE_FIRST) or text.endswith(_TYPE_LAST):
        return b"", result
    else:
        opening = _lacking(_COMPLETE, text, result)
    if not opening:
        return b"", result
    if text[1:2] in b"} \t\r\n" and text[1:].lstrip() == b"}":
        opening = opening[:-1]
    return opening, Raw(memoryview(result)[1:])


def _lacking(members: Mapping[str, bytes], text: bytes, result: Raw) -> bytes:
    """How the result begins with those of the members that it does not have; empty if it has them all."""
    if any(name.encode() in text for name in members):
        there = read_members(result)
        if bytes(there.get(_RESULT_TYPE, b'"complete"')) != b'"complete"':
            return b""
        members = {name: value for name, value in members.items() if name not in there}
    return b"{%b," % _written(members) if members else b""


def own_uri(definition: bytes, uri: str, member: str = "uri") -> bytes:
    """A resource as its server defines it, under another URI; or a template."""
    return encode({**read_members(definition), member: uri})


# Each answers None where nothing is to be changed.


def _in_member(raw: Raw, name: str, change: Callable[[Raw], Raw | None]) -> Raw | None:
    members = read_members(raw)
    changed = change(members[name]) if name in members else None
    return None if changed is None else Raw(encode({**members, name: changed}))


def _in_list(raw: Raw, change: Callable[[Raw, Exchange], Raw | None], exchange: Exchange) -> Raw | None:
    found = entries(raw)
    changed = [change(entry, exchange) for entry in found]
    if not any(changed):
        return None
    return Raw(encode([new or old for new, old in zip(changed, found, strict=True)]))


def _message(raw: Raw, exchange: Exchange) -> Raw | None:
    def in_content(content: Raw) -> Raw | None:
        is_list = bytes(memoryview(content)[:1]) == b"["
        return _in_list(content, _block, exchange) if is_list else _block(content, exchange)

    return _in_member(raw, "content", in_content)


def _block(raw: Raw, exchange: Exchange) -> Raw | None:
    members = read_members(raw)
    match _text(members.get("type")):
        case "resource_link":
            return _own_uri(raw, exchange)
        case "resource":
            return _in_member(raw, "resource", lambda resource: _own_uri(resource, exchange))
    return None


def _own_uri(raw: Raw, exchange: Exchange) -> Raw | None:
    uri = _text(read_members(raw).get("uri"))
    seen = None if uri is None else exchange(uri)
    return None if seen is None or seen == uri else Raw(own_uri(bytes(raw), seen))


def _text(raw: Raw | None) -> str | None:
    try:
        return None if raw is None else msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return None


def entries(raw: Raw) -> list[Raw]:
    """The elements of an array as raw slices; empty when it is no array."""
    try:
        return msgspec.json.decode(raw, type=list[Raw])
    except (msgspec.MsgspecError, RecursionError):
        mask = halves.mask_for(bytes(raw))
    try:
        return (
            [] if mask is None else [mask.lift(one) for one in msgspec.json.decode(mask.text, type=list[Raw])]
        )
    except (msgspec.MsgspecError, RecursionError):
        return []
