"""What the servers offer, as one immutable snapshot.

Reads tool lists (checking heads only, carrying definitions as bytes), applies the operator's rules
and switches, gives every tool its exposed name, and encodes each list once. Pure: `gateway/` swaps a
new snapshot in when a server's list or a switch changes.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_gateway.access.caller import Caller, Grant
from mcp_gateway.access.policy import offers, sees_server, sees_tool
from mcp_gateway.config.model import ToolRules
from mcp_gateway.names import exposed_names
from mcp_gateway.wire import halves
from mcp_gateway.wire.envelope import encode, read_members

MAX_NAME_CHARS: Final = 1_024
# Callers with the same grants share a view; each holds lists of its own, but none of the definitions.
MAX_VIEWS: Final = 64
# Decoding happens on the event loop: a page beyond these would hold up everybody.
MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
MAX_PAGE_TOOLS: Final = 2_001  # one more than a whole list may have, so that the cut is told with the list
# What can just be read here must also be readable where more of the stack is in use: there, a definition
# that cannot would stand in the lists of all servers without its schema.
_HEADROOM: Final = 300
_OPEN, _CLOSE = b"[" * _HEADROOM, b"]" * _HEADROOM


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its server defines it; `definition` is the server's own JSON."""

    name: str
    definition: bytes


class _Page(msgspec.Struct):
    tools: list[Raw]
    nextCursor: str | None = None


class _ToolHead(msgspec.Struct):
    name: str
    inputSchema: dict[str, Raw]


def read_page(result: Raw) -> tuple[list[Tool], str | None, list[str]]:
    """One page of `tools/list`: its tools, the next cursor, and a sentence for each tool left out.

    Raises:
        ValueError: the page as a whole is not readable.
    """
    if memoryview(result).nbytes > MAX_PAGE_BYTES:
        raise ValueError(f"a page of its tool list is larger than {MAX_PAGE_BYTES} bytes")
    mask = None
    try:
        page = msgspec.json.decode(result, type=_Page)
    except (msgspec.MsgspecError, RecursionError) as problem:
        mask = halves.mask_for(bytes(result))
        if mask is None:
            raise ValueError(f"its answer to `tools/list` is not valid: {problem}") from None
        page = _masked_page(mask)
    tools, left_out = [], []
    if len(page.tools) > MAX_PAGE_TOOLS:
        left_out.append(f"of a page of {len(page.tools)} tools the first {MAX_PAGE_TOOLS} are read")
    for number, raw in enumerate(page.tools[:MAX_PAGE_TOOLS], 1):
        try:
            head = msgspec.json.decode(raw, type=_ToolHead)
            msgspec.json.decode(b"".join((_OPEN, raw, _CLOSE)), type=list[Raw])
        except RecursionError:
            left_out.append(f"tool {number} of the list is left out: it is nested too deep")
            continue
        except msgspec.MsgspecError as problem:
            left_out.append(f"tool {number} of the list is left out: {problem}")
            continue
        if not 0 < len(head.name) <= MAX_NAME_CHARS:
            left_out.append(f"tool {number} of the list is left out: a name of {len(head.name)} characters")
            continue
        tools.append(Tool(head.name, bytes(raw if mask is None else mask.lift(raw))))
    return tools, page.nextCursor, left_out


def _masked_page(mask: halves.Mask) -> _Page:
    try:
        return msgspec.json.decode(mask.text, type=_Page)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError(f"its answer to `tools/list` is not valid: {problem}") from None


@dataclass(frozen=True, slots=True)
class Offer:
    """One server's part of the catalog; `off` are the native names switched off at run time."""

    server: str
    tools: tuple[Tool, ...]
    rules: ToolRules
    off: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Entry:
    """One tool in the catalog. Denied tools have no entry; switched-off ones have `enabled` False."""

    server: str
    tool: str
    exposed: str
    enabled: bool
    definition: bytes

    @cached_property
    def is_read_only(self) -> bool:
        """What the server says of the tool (`annotations.readOnlyHint`); nobody checks whether it is so."""
        members = read_members(self.definition)
        try:
            return msgspec.json.decode(members.get("annotations", b"{}"), type=_Annotations).readOnlyHint
        except (msgspec.MsgspecError, RecursionError):
            return False

    @cached_property
    def for_mcp(self) -> bytes:
        """The definition under the exposed name."""
        return _renamed(self.definition, self.exposed)

    @cached_property
    def for_api(self) -> bytes:
        """The tool as `/api/tools` shows it: the server's members, plus where it belongs."""
        own = {"server": self.server, "name": self.tool, "exposedName": self.exposed, "enabled": self.enabled}
        return encode({**own, **{k: v for k, v in read_members(self.definition).items() if k not in own}})

    @cached_property
    def search_text(self) -> str:
        members = read_members(self.definition)
        shown = {key: members[key] for key in ("title", "description") if key in members}
        mask = halves.mask_for(encode(shown))
        head = msgspec.json.decode(encode(shown) if mask is None else mask.text, type=_SearchHead)
        return "\n".join(
            (self.server, self.tool, self.exposed, head.title or "", head.description or "")
        ).lower()


class _Annotations(msgspec.Struct):
    readOnlyHint: bool = False


class _SearchHead(msgspec.Struct):
    # Any: a server that sends a number as its description is still searchable by name.
    title: Any = None
    description: Any = None

    def __post_init__(self) -> None:
        self.title = self.title if isinstance(self.title, str) else None
        self.description = self.description if isinstance(self.description, str) else None


@dataclass(frozen=True)
class Catalog:
    """The snapshot, or what one caller sees of it.

    Look-ups are exact; lists are encoded at first use and kept.
    """

    version: int = 0
    by_server: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)  # what `by_server` was made of
    _views: "OrderedDict[tuple[Grant, ...], Catalog]" = field(
        default_factory=OrderedDict, repr=False, compare=False
    )

    def seen_by(self, caller: Caller) -> "Catalog":
        """The same entries, without those outside of what the caller was granted; made once per snapshot."""
        if caller.sees_everything:
            return self
        view = self._views.get(caller.grants)
        if view is None:
            self._views[caller.grants] = view = Catalog(self.version, _seen(self.by_server, caller))
            if len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
        return view

    @cached_property
    def by_exposed(self) -> Mapping[str, Entry]:
        return {entry.exposed: entry for tools in self.by_server.values() for entry in tools.values()}

    @cached_property
    def exposed_list(self) -> bytes:
        """The result of `tools/list` over all servers, with exposed names."""
        return _list_result(entry.for_mcp for entry in self.by_exposed.values() if entry.enabled)

    @cached_property
    def native_lists(self) -> Mapping[str, bytes]:
        """The result of `tools/list` per server, with native names: the server's own definitions."""
        return {
            server: _list_result(entry.definition for entry in tools.values() if entry.enabled)
            for server, tools in self.by_server.items()
        }

    @cached_property
    def api_list(self) -> bytes:
        return api_list(self.by_exposed.values())

    def search(self, server: str | None, words: str | None) -> list[Entry]:
        """Entries of one server or all whose name, title or description hold every word."""
        wanted = (words or "").lower().split()
        return [
            entry
            for entry in self.by_exposed.values()
            if (server is None or entry.server == server)
            and all(word in entry.search_text for word in wanted)
        ]


def _seen(by_server: Mapping[str, Mapping[str, Entry]], caller: Caller) -> dict[str, Mapping[str, Entry]]:
    return {
        server: {
            name: entry
            for name, entry in tools.items()
            if sees_tool(caller, server, name, entry.is_read_only)
        }
        for server, tools in by_server.items()
        if sees_server(caller, server)
    }


def api_list(entries: Iterable[Entry]) -> bytes:
    return b'{"tools":[' + b",".join(entry.for_api for entry in entries) + b"]}"


def build(version: int, offers_of: Iterable[Offer], before: Catalog | None = None) -> Catalog:
    """A snapshot of what these servers offer, in their order; what has not moved since `before` is kept."""
    made = {} if before is None else before.offers
    by_server: dict[str, Mapping[str, Entry]] = {}
    kept: dict[str, Offer] = {}
    for offer in offers_of:
        kept[offer.server] = offer
        if before is not None and made.get(offer.server) == offer:
            by_server[offer.server] = before.by_server[offer.server]
        else:
            by_server[offer.server] = _entries(offer)
    return Catalog(version, by_server, kept)


def _entries(offer: Offer) -> Mapping[str, Entry]:
    allowed = {tool.name: tool for tool in reversed(offer.tools) if offers(offer.rules, tool.name)}
    shown: dict[str, str] = {}
    taken = set(allowed)
    for native in sorted(allowed):
        name = offer.rules.rename.get(native, native)
        # A rename that meets another tool's name must hide neither: it is not applied.
        shown[native] = name if name not in taken else native
        taken.add(name)
    exposed = exposed_names(offer.server, shown.values())
    return {
        tool.name: Entry(
            offer.server,
            tool.name,
            exposed[shown[tool.name]],
            tool.name not in offer.off,
            _described(tool, offer.rules),
        )
        for tool in offer.tools
        if allowed.get(tool.name) is tool
    }


def _list_result(definitions: Iterable[bytes]) -> bytes:
    return b'{"tools":[' + b",".join(definitions) + b"]}"


def _renamed(definition: bytes, name: str) -> bytes:
    members = read_members(definition)
    members["name"] = name
    return encode(members)


def _described(tool: Tool, rules: ToolRules) -> bytes:
    description = rules.describe.get(tool.name)
    if description is None:
        return tool.definition
    members = read_members(tool.definition)
    members["description"] = description
    return encode(members)
