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
    paths: dict[str, Raw] = {}
    components: dict[str, Any] = {"Problem": _PROBLEM_SHAPE}
    async for entry in _unhurried(catalog, server):
        path = f"/{quote(entry.tool, safe='')}"
        if server is None:
            path = f"/{entry.server}{path}"
        paths[path] = Raw(encode({"post": _operation(entry, dialect)}))
        if dialect == "exact":
            components |= entry.exact.components
    what = "all servers" if server is None else server
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"MCP Gateway: tools of {what}",
            "version": VERSION,
            "description": _DIALECTS[dialect],
        },
        "servers": [{"url": _BASE if server is None else f"{_BASE}/{server}"}],
        "security": [{"key": []}] if is_guarded else [],
        "paths": paths,
        "components": {"schemas": components},
    }
    if is_guarded:
        whole["components"]["securitySchemes"] = _SCHEMES
    body = encode(whole)
    return Document(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


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
    arguments: Any
    if dialect == "inlined":
        arguments, why = entry.inlined.schema, entry.inlined.why
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
            "required": bool(entry.inlined.schema.get("required")),
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


def _answer(result: dict[str, Any] | None) -> dict[str, Any]:
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
