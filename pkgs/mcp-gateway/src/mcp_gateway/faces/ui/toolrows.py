"""What the Tools page shows of each tool, and which of them a reader is looking for.

A row is read off a tool's definition once and kept, with its markup, as long as the catalog holds that tool;
a page of 2,500 tools is then put together from text that is there. What annotations say is the server's own
claim, and what they leave out has the meaning that the specification gives it.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2s
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require_on_tool
from mcp_gateway.catalog import Entry
from mcp_gateway.errors import GatewayError
from mcp_gateway.visible import safe
from mcp_gateway.wire.envelope import read_members

SHOWN_CHARS: Final = 400  # of a description; the tool's own page has all of it
SEARCHED_CHARS: Final = 4_000  # the rest is still found by `/api/tools?search=`
MAX_SEARCH_CHARS: Final = 200
READ_AT_ONCE: Final = 100  # before somebody else's turn
MAX_KEPT_ROWS: Final = 20_000  # of all views together, some kilobytes each
EFFECTS: Final = ("read-only", "destructive", "additive")


@dataclass(frozen=True, slots=True)
class Row:
    """A tool. `key` is its server and its name as in its address; `more` goes on where `text` ends."""

    id: str
    key: str
    name: str
    title: str
    text: str
    more: str
    tokens: int
    enabled: bool
    may_switch: bool
    effect: str  # one of `EFFECTS`
    is_told: bool  # whether the server says so, or the specification does in its place
    is_idempotent: bool
    is_open: bool | None  # to a world beyond the server; None: not told
    search: str


def read_row(entry: Entry, may_switch: bool) -> Row:
    members = read_members(entry.definition)
    annotations = _read(members, "annotations")
    told: Mapping[str, Any] = annotations if isinstance(annotations, dict) else {}
    description = " ".join(_words(_read(members, "description"), SEARCHED_CHARS).split())
    title = _words(_read(members, "title"), SHOWN_CHARS) or _words(told.get("title"), SHOWN_CHARS)
    if entry.is_read_only:
        effect = "read-only"
    else:
        effect = "additive" if told.get("destructiveHint") is False else "destructive"
    cut = len(description) if len(description) <= SHOWN_CHARS else _cut(description)
    key = f"{entry.server}/{quote(entry.tool, safe='')}"
    return Row(
        id="t" + blake2s(key.encode(), digest_size=5).hexdigest(),
        key=key,
        name=entry.tool,
        title="" if title == entry.tool else title,
        text=description[:cut] + (" …" if cut < len(description) else ""),
        more=description[cut:],
        tokens=entry.tokens,
        enabled=entry.enabled,
        may_switch=may_switch,
        effect=effect,
        is_told=entry.is_read_only or isinstance(told.get("destructiveHint"), bool),
        is_idempotent=not entry.is_read_only and told.get("idempotentHint") is True,
        is_open=hint if isinstance(hint := told.get("openWorldHint"), bool) else None,
        # As the page shows it, so that scripts find the same.
        search=safe(f"{entry.tool}\n{title}\n{description}").lower(),
    )


def _read(members: Mapping[str, Any], name: str) -> object:
    try:
        # Takes half characters too; the page makes them visible.
        return json.loads(bytes(members.get(name, b"null")))
    except (ValueError, RecursionError):
        return None


def _words(value: object, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""


def _cut(text: str) -> int:
    """Between two words, where there are some."""
    space = text.rfind(" ", SHOWN_CHARS - 60, SHOWN_CHARS)
    return SHOWN_CHARS if space < 0 else space


@dataclass(frozen=True, slots=True)
class Filter:
    """What a reader is looking for; empty is anything. `says`: one of `EFFECTS`; `enabled`: `on`, `off`."""

    search: str = ""
    server: str = ""
    says: str = ""
    enabled: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Filter":
        """From the address of a page; what makes no sense there asks for nothing."""
        says, enabled = query.get("says", ""), query.get("enabled", "")
        return cls(
            query.get("search", "")[:MAX_SEARCH_CHARS].strip(),
            query.get("server", ""),
            says if says in EFFECTS else "",
            enabled if enabled in ("on", "off") else "",
        )

    @property
    def is_narrow(self) -> bool:
        return bool(self.search or self.server or self.says or self.enabled)

    def takes(self, rows: Iterable[Row]) -> list[Row]:
        """Those that are looked for, of a server that is."""
        words = self.search.lower().split()
        return [
            row
            for row in rows
            if (not self.says or row.effect == self.says)
            and (not self.enabled or row.enabled is (self.enabled == "on"))
            and all(word in row.search for word in words)
        ]


class Group:
    """A server's tools as some callers see them. `digest` is another one when anything in it is."""

    def __init__(
        self, entries: tuple[Entry, ...], may: Callable[[Entry], bool], before: "Group | None" = None
    ) -> None:
        self.entries = entries
        self.on = sum(entry.enabled for entry in entries)
        self.tokens = sum(entry.tokens for entry in entries if entry.enabled)
        self._may = may
        self._digest: str | None = None
        self.rows: list[Row] = []
        """Filled by `read`."""
        self.markup: dict[str, Markup] = {}
        """Of rows that were rendered, by their id."""
        # Whoever switches one tool of a thousand makes anew what is shown of one.
        self._known = {} if before is None else dict(before.read_so_far())
        self._rendered = {} if before is None else before.markup

    def read_so_far(self) -> Iterable[tuple[Entry, Row]]:
        return zip(self.entries, self.rows, strict=False)

    async def read(self) -> list[Row]:
        """All rows; in turns, since there may be thousands to read."""
        while len(self.rows) < len(self.entries):
            for entry in self.entries[len(self.rows) : len(self.rows) + READ_AT_ONCE]:
                row = self._known.get(entry)
                if row is None:
                    row = read_row(entry, self._may(entry))
                elif row.id in self._rendered:
                    self.markup[row.id] = self._rendered[row.id]
                self.rows.append(row)
            await asyncio.sleep(0)
        self._known, self._rendered = {}, {}
        return self.rows

    @property
    def digest(self) -> str:
        if self._digest is None:
            found = blake2s(digest_size=6)
            for entry in self.entries:
                found.update(b"%d %d " % (entry.enabled, len(entry.definition)))
                found.update(entry.definition)
                found.update(entry.exposed.encode())
            self._digest = found.hexdigest()
        return self._digest


class Groups:
    """Keeps the groups of those who see the same, until the catalog has others."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, str], Group] = OrderedDict()
        self._rows = 0

    def of(self, caller: Caller, server: str, tools: Mapping[str, Entry]) -> Group:
        """The group of the tools that this caller sees of a server."""
        # Who sees everything and switches all or nothing shares it, the others do with those of their grants.
        may_all, may_some = Right.OPERATE in caller.everywhere, Right.OPERATE in caller.rights
        is_usual = caller.sees_everything and may_all is may_some
        key = (may_all if is_usual else caller.grants, server)
        entries = tuple(tools.values())
        kept = self._kept.get(key)
        if kept is not None:
            if len(kept.entries) == len(entries) and all(map(_is, kept.entries, entries)):
                self._kept.move_to_end(key)
                return kept
            self._drop(key)
        self._kept[key] = group = Group(entries, lambda entry: may_switch(caller, entry), kept)
        self._rows += len(entries) + 1
        while self._rows > MAX_KEPT_ROWS and len(self._kept) > 1:
            self._drop(next(islice(self._kept, 1)))
        return group

    def _drop(self, key: tuple[object, str]) -> None:
        self._rows -= len(self._kept.pop(key).entries) + 1


def _is(one: object, other: object) -> bool:
    return one is other


def may_switch(caller: Caller, entry: Entry) -> bool:
    if Right.OPERATE in caller.everywhere or Right.OPERATE not in caller.rights:
        return Right.OPERATE in caller.everywhere
    try:
        require_on_tool(caller, Right.OPERATE, entry.server, entry.tool, entry.is_read_only)
    except GatewayError:
        return False
    return True
