"""What the servers offer, as one immutable snapshot.

Takes lists as they were read (`listed.py`, `shelves.py`), applies the operator's rules and switches, gives
every tool and prompt its exposed name, tells apart resources that have one URI (`uris.py`), and encodes each
list once. Pure: `gateway/` swaps a new snapshot in when a server's list or a switch changes.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_gateway.access.caller import Caller, Grant
from mcp_gateway.access.policy import offers, sees_server, sees_tool, sees_whole_server
from mcp_gateway.config.model import ToolRules
from mcp_gateway.listed import MAX_NAME_CHARS, Tool, read_page
from mcp_gateway.names import exposed_names
from mcp_gateway.schemas import Accepted, Inlined, accepted, exact, inlined
from mcp_gateway.shelves import (
    NO_SHELF,
    PROMPTS,
    RESOURCES,
    TOOLS,
    PromptEntry,
    Shelf,
    for_api,
    prompt_entries,
)
from mcp_gateway.uris import UriTable
from mcp_gateway.wire import halves
from mcp_gateway.wire.envelope import encode, read_members
from mcp_gateway.wire.headers import Mirrors, NotMirrorable, mirrors_of
from mcp_gateway.wire.pages import Pages
from mcp_gateway.wire.results import own_uri
from mcp_gateway.wire.revisions import Era

__all__ = ["MAX_NAME_CHARS", "Catalog", "Entry", "Offer", "Tool", "api_list", "build", "read_page"]

# Callers with the same grants share a view; each holds lists of its own, but none of the definitions.
MAX_VIEWS: Final = 64
# A rule of thumb for English and JSON, whatever the model; other languages take fewer characters a token, and
# more bytes a character.
BYTES_PER_TOKEN: Final = 4
# Clients keep the rest for themselves: titles, icons, annotations, schemas of results.
_FOR_MODELS: Final = ("description", "inputSchema")


@dataclass(frozen=True, slots=True)
class Offer:
    """One server's part of the catalog; `off` are the native names switched off at run time."""

    server: str
    tools: tuple[Tool, ...]
    rules: ToolRules
    off: frozenset[str] = frozenset()
    shelf: Shelf = NO_SHELF


# What is kept of schemas is JSON: of 50,000 tools the objects would be millions, for which everybody waits
# each time that the interpreter looks through them for garbage.
@dataclass(frozen=True, slots=True)
class InlinedTool:
    """What a tool takes, as models digest it (`schemas.inlined`)."""

    arguments: Raw
    why: str | None


@dataclass(frozen=True, slots=True)
class ExactTool:
    """What a tool takes and answers, as OpenAPI 3.1 has it (`schemas.exact`); `components` are of both."""

    arguments: Raw
    result: Raw | None
    components: Raw
    why: str | None


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
    def mirrors(self) -> Mirrors:
        """Which headers repeat its arguments; none where it asks for them in a way that is not allowed."""
        try:
            return mirrors_of(self.definition)
        except NotMirrorable:
            return {}

    @cached_property
    def for_mcp(self) -> bytes:
        """The definition under the exposed name."""
        return _renamed(self.definition, self.exposed)

    @cached_property
    def views(self) -> tuple[str, ...]:
        """URIs of the resources that show what the tool does (MCP Apps); they need not be in a list."""
        return _views(self.definition)

    @cached_property
    def for_api(self) -> bytes:
        """The tool as `/api/tools` shows it: the server's members, plus where it belongs."""
        own = {"server": self.server, "name": self.tool, "exposedName": self.exposed, "enabled": self.enabled}
        return encode({**own, **{k: v for k, v in read_members(self.definition).items() if k not in own}})

    @cached_property
    def tokens(self) -> int:
        """An estimate of what it takes of a model's context: what clients hand on, at `BYTES_PER_TOKEN`."""
        members = read_members(self.definition)
        size = sum(len(members[name]) for name in _FOR_MODELS if name in members)
        return -(-(len(self.exposed) + size) // BYTES_PER_TOKEN)

    @property
    def inlined(self) -> Inlined:
        """The schema of its arguments for language models and for who reads schemas as they do."""
        return Inlined(msgspec.json.decode(self.inlined_tool.arguments), self.inlined_tool.why)

    @cached_property
    def inlined_tool(self) -> InlinedTool:
        made = inlined(_schema(self.definition, "inputSchema"))
        return InlinedTool(Raw(encode(made.schema)), made.why)

    @cached_property
    def accepted(self) -> Accepted:
        """Which arguments go to the server as they are, on a face that sets right what is not."""
        return accepted(_schema(self.definition, "inputSchema"))

    @cached_property
    def exact(self) -> ExactTool:
        arguments = exact(_schema(self.definition, "inputSchema"), self.exposed)
        output = _schema(self.definition, "outputSchema")
        if output is None:
            components, why, result = arguments.components, arguments.why, None
        else:
            answer = exact(output, self.exposed, "output")
            components = arguments.components | answer.components
            why = "; ".join(filter(None, (arguments.why, answer.why))) or None
            result = Raw(encode(answer.schema))
        return ExactTool(Raw(encode(arguments.schema)), result, Raw(encode(components)), why)

    @cached_property
    def search_text(self) -> str:
        members = read_members(self.definition)
        shown = {key: members[key] for key in ("title", "description") if key in members}
        mask = halves.mask_for(encode(shown))
        head = msgspec.json.decode(encode(shown) if mask is None else mask.text, type=_SearchHead)
        return "\n".join(
            (self.server, self.tool, self.exposed, head.title or "", head.description or "")
        ).lower()


def _schema(definition: bytes, member: str) -> Any:
    """A schema of a definition, decoded; None where there is none."""
    raw = read_members(definition).get(member)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        mask = halves.mask_for(bytes(raw))
    try:
        return None if mask is None else msgspec.json.decode(mask.text)
    except (msgspec.MsgspecError, RecursionError):
        return None


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
    shelves: Mapping[str, Shelf] = field(default_factory=dict)
    prompts: Mapping[str, Mapping[str, PromptEntry]] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)  # what `by_server` was made of
    made: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    """What faces have made of this snapshot, for its time; a bounded number of things for each server."""
    _pages: dict[tuple[str, str | None, bool], Pages] = field(default_factory=dict, repr=False, compare=False)
    _views: "OrderedDict[tuple[Grant, ...], Catalog]" = field(
        default_factory=OrderedDict, repr=False, compare=False
    )

    def seen_by(self, caller: Caller) -> "Catalog":
        """The same entries, without those outside of what the caller was granted; made once per snapshot."""
        if caller.sees_everything:
            return self
        view = self._views.get(caller.grants)
        if view is None:
            whole = frozenset(server for server in self.shelves if sees_whole_server(caller, server))
            self._views[caller.grants] = view = Catalog(
                self.version,
                _seen(self.by_server, caller),
                {server: shelf for server, shelf in self.shelves.items() if server in whole},
                {server: prompts for server, prompts in self.prompts.items() if server in whole},
            )
            if len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
        return view

    @cached_property
    def by_exposed(self) -> Mapping[str, Entry]:
        return {entry.exposed: entry for tools in self.by_server.values() for entry in tools.values()}

    def page(
        self,
        kind: str,
        server: str | None = None,
        cursor: str | None = None,
        more: bytes = b"",
        era: Era = Era.HANDSHAKE,
    ) -> bytes:
        """The result of a list of MCP, or of a page of it; `kind` is the member that holds it (`shelves.py`).

        Of all servers as they are exposed, or of one with its own names and URIs. `more`: see `Pages.page`.

        Raises:
            GatewayError: `invalid`, the cursor leads nowhere.
        """
        shows_execution = kind != TOOLS or era is Era.HANDSHAKE or not self._may_have_execution
        pages = self._pages.get((kind, server, shows_execution))
        if pages is None:
            if server is not None and server not in self.by_server:
                server = ""  # there is none, and none must be remembered for every name that is asked for
            definitions = self._definitions(kind, server)
            if not shows_execution:
                definitions = map(_without_execution, definitions)
            self._pages[kind, server, shows_execution] = pages = Pages(kind, definitions)
        return pages.page(cursor, more)

    @cached_property
    def _may_have_execution(self) -> bool:
        """Whether a tool says how it runs as a task; that is for clients of the handshake era only."""
        return any(
            _EXECUTION_WORD in entry.definition
            for tools in self.by_server.values()
            for entry in tools.values()
        )

    def _definitions(self, kind: str, server: str | None) -> Iterator[bytes]:
        ids = self.by_server if server is None else (server,)
        is_native = server is not None
        for id in ids:
            shelf = self.shelves.get(id, NO_SHELF)
            if kind == TOOLS:
                for entry in self.by_server.get(id, {}).values():
                    if entry.enabled:
                        yield entry.definition if is_native else self._exposed(entry)
            elif kind == PROMPTS:
                for prompt in self.prompts.get(id, {}).values():
                    yield prompt.definition if is_native else prompt.for_mcp
            else:
                member = "uri" if kind == RESOURCES else "uriTemplate"
                for one in shelf.resources if kind == RESOURCES else shelf.templates:
                    if is_native:
                        yield one.definition
                    else:
                        yield self._exposed_resource(id, one.uri, one.definition, member)

    def _exposed(self, entry: Entry) -> bytes:
        if entry.server not in self.uris.movers or not entry.views:
            return entry.for_mcp
        return _with_views(entry.for_mcp, {uri: self.uris.exposed(entry.server, uri) for uri in entry.views})

    def tokens(self, server: str) -> int:
        """An estimate of what the tools of a server that are on take of a model's context."""
        return sum(entry.tokens for entry in self.by_server.get(server, {}).values() if entry.enabled)

    @cached_property
    def api_list(self) -> bytes:
        return api_list(self.by_exposed.values())

    # Resources and prompts: for who sees a server as a whole.

    @cached_property
    def uris(self) -> UriTable:
        """Which URI is whose, as seen over all servers."""
        return UriTable(
            {
                server: (
                    *(resource.uri for resource in shelf.resources),
                    *(uri for entry in self.by_server.get(server, {}).values() for uri in entry.views),
                )
                for server, shelf in self.shelves.items()
            },
            {
                server: tuple(template.uri for template in shelf.templates)
                for server, shelf in self.shelves.items()
            },
        )

    def may_have(self, capability: str, server: str | None) -> bool:
        """Whether one of the servers, or this one, has said that it can, or has not said yet."""
        return any(shelf.may_have(capability) for id, shelf in self.shelves.items() if server in (None, id))

    @cached_property
    def prompts_by_exposed(self) -> Mapping[str, PromptEntry]:
        return {entry.exposed: entry for prompts in self.prompts.values() for entry in prompts.values()}

    def _exposed_resource(self, server: str, uri: str, definition: bytes, member: str) -> bytes:
        if (server, uri) not in self.uris.moved:
            return definition
        return own_uri(definition, self.uris.exposed(server, uri), member)

    def api_resources(self, server: str | None = None) -> bytes:
        """What `GET /api/resources` answers: native URIs, and whose they are."""
        shelves = [(id, shelf) for id, shelf in self.shelves.items() if server in (None, id)]
        resources = (for_api(id, one.definition) for id, shelf in shelves for one in shelf.resources)
        templates = (for_api(id, one.definition) for id, shelf in shelves for one in shelf.templates)
        return b'{"resources":[%b],"resourceTemplates":[%b]}' % (b",".join(resources), b",".join(templates))

    def api_prompts(self, server: str | None = None) -> bytes:
        """What `GET /api/prompts` answers."""
        entries = self.prompts_by_exposed.values()
        return _joined("prompts", (entry.for_api for entry in entries if server in (None, entry.server)))

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
    shelves: dict[str, Shelf] = {}
    prompts: dict[str, Mapping[str, PromptEntry]] = {}
    kept: dict[str, Offer] = {}
    for offer in offers_of:
        server = offer.server
        kept[server] = offer
        shelves[server] = offer.shelf
        old = made.get(server)
        if before is not None and old is not None and has_same_tools(old, offer):
            by_server[server] = before.by_server[server]
        else:
            by_server[server] = _entries(offer, {} if before is None else before.by_server.get(server, {}))
        if before is not None and old is not None and old.shelf.prompts == offer.shelf.prompts:
            prompts[server] = before.prompts[server]
        else:
            prompts[server] = prompt_entries(server, offer.shelf)
    return Catalog(version, by_server, shelves, prompts, kept)


_NO_OFFER: Final = Offer("", (), ToolRules())


def has_same_tools(one: Offer, other: Offer) -> bool:
    return (one.tools, one.rules, one.off) == (other.tools, other.rules, other.off)


def changed_lists(before: Catalog, after: Catalog) -> dict[str, frozenset[str]]:
    """Which of `tools`, `resources`, `prompts`, in this order, are not what they were, and in whose part."""
    pairs = {
        server: (before.offers.get(server), after.offers.get(server))
        for server in dict.fromkeys((*before.offers, *after.offers))
    }

    def moved(part: Callable[[Offer], object]) -> frozenset[str]:
        return frozenset(
            server
            for server, (one, other) in pairs.items()
            if (
                part(one) != part(other)
                if one and other
                else part(one or other or _NO_OFFER) != part(_NO_OFFER)
            )
        )

    of_other_uris = frozenset(server for server, _ in before.uris.moved ^ after.uris.moved)
    found = {
        "tools": of_other_uris | moved(lambda offer: (offer.tools, offer.rules, offer.off)),
        "resources": of_other_uris | moved(lambda offer: (offer.shelf.resources, offer.shelf.templates)),
        "prompts": moved(lambda offer: offer.shelf.prompts),
    }
    return {kind: servers for kind, servers in found.items() if servers}


def _entries(offer: Offer, before: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """By native name. One that is what it was `before` is that one, with all that was made of it."""
    allowed = {tool.name: tool for tool in reversed(offer.tools) if offers(offer.rules, tool.name)}
    shown: dict[str, str] = {}
    taken = set(allowed)
    for native in sorted(allowed):
        name = offer.rules.rename.get(native, native)
        # A rename that meets another tool's name must hide neither: it is not applied.
        shown[native] = name if name not in taken else native
        taken.add(name)
    exposed = exposed_names(offer.server, shown.values())
    made = (
        Entry(
            offer.server,
            tool.name,
            exposed[shown[tool.name]],
            tool.name not in offer.off,
            _described(tool, offer.rules),
        )
        for tool in offer.tools
        if allowed.get(tool.name) is tool
    )
    return {entry.tool: old if (old := before.get(entry.tool)) == entry else entry for entry in made}


def _joined(member: str, definitions: Iterable[bytes]) -> bytes:
    return b'{"%b":[' % member.encode() + b",".join(definitions) + b"]}"


def _renamed(definition: bytes, name: str) -> bytes:
    members = read_members(definition)
    members["name"] = name
    return encode(members)


_EXECUTION: Final = "execution"
_EXECUTION_WORD: Final = b'"execution"'


def _without_execution(definition: bytes) -> bytes:
    if _EXECUTION_WORD not in definition:
        return definition
    return encode({name: value for name, value in read_members(definition).items() if name != _EXECUTION})


# MCP Apps: `_meta.ui.resourceUri`, in its first draft `_meta["ui/resourceUri"]`.
_VIEW_FLAT: Final = "ui/resourceUri"


def _views(definition: bytes) -> tuple[str, ...]:
    if b"resourceUri" not in definition:
        return ()
    meta = read_members(read_members(definition).get("_meta", b"{}"))
    found = (meta.get(_VIEW_FLAT), read_members(meta.get("ui", b"{}")).get("resourceUri"))
    return tuple(dict.fromkeys(uri for raw in found if raw is not None and (uri := _text(raw)) is not None))


def _with_views(definition: bytes, seen_as: Mapping[str, str]) -> bytes:
    members = read_members(definition)
    meta = read_members(members["_meta"])
    if (uri := _text(meta.get(_VIEW_FLAT, b"0"))) is not None:
        meta[_VIEW_FLAT] = seen_as[uri]
    ui = read_members(meta.get("ui", b"{}"))
    if (uri := _text(ui.get("resourceUri", b"0"))) is not None:
        meta["ui"] = {**ui, "resourceUri": seen_as[uri]}
    return encode({**members, "_meta": meta})


def _text(raw: bytes) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return None


def _described(tool: Tool, rules: ToolRules) -> bytes:
    description = rules.describe.get(tool.name)
    if description is None:
        return tool.definition
    members = read_members(tool.definition)
    members["description"] = description
    return encode(members)
