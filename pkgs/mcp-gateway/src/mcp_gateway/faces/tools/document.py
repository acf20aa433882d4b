"""The OpenAPI 3.1 documents of the tool API: one operation for each tool, of all servers or of one.

A document is made of one snapshot of the catalog as a caller sees it, at its first request, and is bytes from
then on. A tool whose schema cannot be shown as it is stands in it all the same, with less of it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.catalog import Catalog, Entry
from mcp_gateway.faces.shapes import PROBLEM
from mcp_gateway.version import VERSION
from mcp_gateway.wire.envelope import encode, read_members

Dialect = Literal["inlined", "exact"]

SLICE_S: Final = 0.005  # of the event loop at a time, while a document is made
# Of a description for models: what the strictest of their APIs takes.
DESCRIPTION_CHARS: Final = 1_024
_ELLIPSIS: Final = "…"
_BASE: Final = "/tools"
_DIALECTS: Final = {
    "inlined": "Schemas are written out and simplified, as language models and Open WebUI take them; "
    "`?dialect=exact` has them as the servers wrote them.",
    "exact": "Schemas are those of the servers; `?dialect=inlined` has them simplified for language models.",
}
_SCHEMES: Final = {"key": {"type": "http", "scheme": "bearer", "description": "An API key of the gateway"}}
_TOOL_PROBLEM: Final = {
    "description": "The tool reports failure; `detail` is what it says",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM: Final = _TOOL_PROBLEM | {"description": "The call did not come about; `detail` says why"}
# The one of `shapes.py` refers to more than these documents have.
_PROBLEM_SHAPE: Final = PROBLEM | {
    "properties": {name: shape for name, shape in PROBLEM["properties"].items() if name != "problems"}
}


@dataclass(frozen=True, slots=True)
class Document:
    """`tag` is a strong entity tag (RFC 9110, section 8.8.3)."""

    body: bytes
    tag: str


async def document(catalog: Catalog, server: str | None, dialect: Dialect, *, is_guarded: bool) -> Document:
    """The document of what a caller sees (`catalog`), kept with that snapshot.

    However many ask for one that is not there yet, it is made once, and a little at a time.
    """
    key = ("openapi", server, dialect, is_guarded)
    making = catalog.made.get(key)
    if making is None:
        making = asyncio.ensure_future(_make(catalog, server, dialect, is_guarded=is_guarded))
        catalog.made[key] = making
        making.add_done_callback(lambda done: _forget_failed(catalog, key, done))
    made: Document = await asyncio.shield(making)
    return made


def _forget_failed(catalog: Catalog, key: Any, done: "asyncio.Future[Document]") -> None:
    if done.cancelled() or done.exception() is not None:
        catalog.made.pop(key, None)


async def _make(catalog: Catalog, server: str | None, dialect: Dialect, *, is_guarded: bool) -> Document:
    # Put together by hand, and summed up as it grows: of 50,000 tools it is 80 MB, and nobody waits for that
    # to be gone through at once.
    parts: list[bytes] = []
    summed = hashlib.sha256()

    def add(part: bytes) -> None:
        parts.append(part)
        summed.update(part)

    add(encode(_head(server, dialect, is_guarded=is_guarded))[:-1] + b',"paths":{')
    comma = b""
    components: list[bytes] = []
    async for entry in _unhurried(catalog, server):
        path = f"/{quote(entry.tool, safe='')}"
        if server is None:
            path = f"/{entry.server}{path}"
        add(comma + encode({path: {"post": _operation(entry, dialect)}})[1:-1])
        comma = b","
        if dialect == "exact" and (more := bytes(entry.exact.components)[1:-1]):
            components.append(b"," + more)
    add(b'},"components":{"schemas":{' + encode({"Problem": _PROBLEM_SHAPE})[1:-1])
    for part in components:
        add(part)
    add(b"}" + (b',"securitySchemes":' + encode(_SCHEMES) if is_guarded else b"") + b"}}")
    return Document(b"".join(parts), f'"{summed.hexdigest()[:32]}"')


def _head(server: str | None, dialect: Dialect, *, is_guarded: bool) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"MCP Gateway: tools of {'all servers' if server is None else server}",
            "version": VERSION,
            "description": _DIALECTS[dialect],
        },
        "servers": [{"url": _BASE if server is None else f"{_BASE}/{server}"}],
        "security": [{"key": []}] if is_guarded else [],
    }


async def _unhurried(catalog: Catalog, server: str | None) -> AsyncIterator[Entry]:
    """Tools that are on; others get their turn while schemas are read for the first time."""
    began = clock.now_s()
    for id, entries in catalog.by_server.items():
        if server not in (None, id):
            continue
        for entry in entries.values():
            if entry.enabled:
                yield entry
            if clock.now_s() - began >= SLICE_S:
                await asyncio.sleep(0)
                began = clock.now_s()


def _operation(entry: Entry, dialect: Dialect) -> dict[str, Any]:
    members = read_members(entry.definition)
    description = _words(members.get("description"))
    if dialect == "inlined":
        arguments, why = entry.inlined_tool.arguments, entry.inlined_tool.why
        answer: dict[str, Any] = {}
        if len(description) > DESCRIPTION_CHARS:
            description = description[: DESCRIPTION_CHARS - 1] + _ELLIPSIS
    else:
        arguments, why = entry.exact.arguments, entry.exact.why
        answer = _answer(entry.exact.result)
    operation: dict[str, Any] = {
        "operationId": entry.exposed,
        "summary": _words(members.get("title")) or f"{entry.server}: {entry.tool}",
        "tags": [entry.server],
        "requestBody": {
            "required": _requires(entry.inlined_tool.arguments),
            "content": {"application/json": {"schema": arguments}},
        },
        "responses": {
            "200": {
                "description": "What the tool answers",
                "content": {"application/json": {"schema": answer}},
            },
            "422": _TOOL_PROBLEM,
            "default": _PROBLEM,
        },
    }
    if description:
        operation["description"] = description
    if dialect == "exact":
        if "annotations" in members:
            operation["x-mcp-annotations"] = members["annotations"]
        operation["x-mcp-tool"] = {"server": entry.server, "name": entry.tool}
    if why is not None:
        operation["x-mcp-schema-note"] = why
    return operation


def _requires(arguments: Raw) -> bool:
    return bytes(read_members(arguments).get("required", b"[]")) != b"[]"


def _answer(result: Raw | None) -> dict[str, Any]:
    """The schema of an answer: structured content alone, or first in a list of what else there is."""
    if result is None:
        return {}
    more = {"type": "array", "items": {}, "description": "The same, and then what else the tool answers"}
    return {"anyOf": [result, more]}


def _words(raw: Raw | None) -> str:
    try:
        return "" if raw is None else msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return ""
