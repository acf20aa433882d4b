"""Reading pages of a server's lists: heads are checked, definitions are carried as bytes.

What is none is left out one by one, with a sentence; a page that cannot be read at all is an error. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import Raw

from mcp_gateway.shelves import Prompt, Resource, Template
from mcp_gateway.wire import halves

MAX_NAME_CHARS: Final = 1_024
MAX_URI_CHARS: Final = 8_192
# Decoding happens on the event loop: a page beyond these would hold up everybody.
MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
# One more than a whole list may have, so that the cut is told with the list.
MAX_ENTRIES: Final = 2_000
MAX_PAGE_ENTRIES: Final = MAX_ENTRIES + 1
# What can just be read here must also be readable where more of the stack is in use: there, a definition
# that cannot would stand in the lists of all servers without its schema.
_HEADROOM: Final = 300
_OPEN, _CLOSE = b"[" * _HEADROOM, b"]" * _HEADROOM


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its server defines it; `definition` is the server's own JSON."""

    name: str
    definition: bytes


class _ToolHead(msgspec.Struct):
    name: str
    inputSchema: dict[str, Raw]

    @property
    def key(self) -> str:
        return self.name


class _ResourceHead(msgspec.Struct):
    uri: str
    name: str

    @property
    def key(self) -> str:
        return self.uri


class _TemplateHead(msgspec.Struct):
    uriTemplate: str
    name: str

    @property
    def key(self) -> str:
        return self.uriTemplate


class _ArgumentHead(msgspec.Struct):
    name: str


class _PromptHead(msgspec.Struct):
    name: str
    arguments: list[_ArgumentHead] | None = None

    @property
    def key(self) -> str:
        return self.name


class Defined(Protocol):
    """What every entry has."""

    @property
    def definition(self) -> bytes: ...


Entry = TypeVar("Entry", bound=Defined)


@dataclass(frozen=True)
class List(Generic[Entry]):
    """One kind of list: how it is asked for, the member that holds it, what one of its entries is called."""

    method: str
    member: str
    noun: str
    head: Any
    make: Callable[[str, bytes], Entry]
    key: str = "name"
    max_entries: int = MAX_ENTRIES

    @property
    def max_key_chars(self) -> int:
        return MAX_NAME_CHARS if self.key == "name" else MAX_URI_CHARS

    @property
    def nouns(self) -> str:
        return f"{self.noun}s"


TOOL_LIST: Final = List("tools/list", "tools", "tool", _ToolHead, Tool)
RESOURCE_LIST: Final = List("resources/list", "resources", "resource", _ResourceHead, Resource, key="URI")
# All of them are looked through for a URI that is in no list.
TEMPLATE_LIST: Final = List(
    "resources/templates/list",
    "resourceTemplates",
    "resource template",
    _TemplateHead,
    Template,
    key="URI",
    max_entries=200,
)
PROMPT_LIST: Final = List("prompts/list", "prompts", "prompt", _PromptHead, Prompt)


def read_entries(result: Raw, of: List[Entry]) -> tuple[list[tuple[str, Entry, int]], str | None, list[str]]:
    """One page: its entries with their keys and lengths in bytes, the next cursor, and a sentence for each
    entry left out.

    Raises:
        ValueError: the page as a whole is not readable.
    """
    if memoryview(result).nbytes > MAX_PAGE_BYTES:
        raise ValueError(f"a page of its {of.noun} list is larger than {MAX_PAGE_BYTES} bytes")
    mask = None
    try:
        found, cursor = _page(result, of)
    except (msgspec.MsgspecError, RecursionError) as problem:
        mask = halves.mask_for(bytes(result))
        if mask is None:
            raise ValueError(f"its answer to `{of.method}` is not valid: {problem}") from None
        found, cursor = _masked_page(mask, of)
    entries, left_out = [], []
    if len(found) > MAX_PAGE_ENTRIES:
        left_out.append(f"of a page of {len(found)} {of.nouns} the first {MAX_PAGE_ENTRIES} are read")
    for number, raw in enumerate(found[:MAX_PAGE_ENTRIES], 1):
        left = f"{of.noun} {number} of the list is left out"
        try:
            key = msgspec.json.decode(raw, type=of.head).key
            msgspec.json.decode(b"".join((_OPEN, raw, _CLOSE)), type=list[Raw])
        except RecursionError:
            left_out.append(f"{left}: it is nested too deep")
            continue
        except msgspec.MsgspecError as problem:
            left_out.append(f"{left}: {problem}")
            continue
        if not 0 < len(key) <= of.max_key_chars:
            left_out.append(f"{left}: a {of.key} of {len(key)} characters")
            continue
        definition = bytes(raw if mask is None else mask.lift(raw))
        entries.append((key, of.make(key, definition), len(definition)))
    return entries, cursor, left_out


class _Cursor(msgspec.Struct):
    nextCursor: str | None = None


def _page(text: Raw | bytes, of: List[Any]) -> tuple[list[Raw], str | None]:
    members = msgspec.json.decode(text, type=dict[str, Raw])
    if of.member not in members:
        raise msgspec.ValidationError(f"Object missing required field `{of.member}`")
    cursor = msgspec.json.decode(text, type=_Cursor).nextCursor
    return msgspec.json.decode(members[of.member], type=list[Raw]), cursor


def _masked_page(mask: halves.Mask, of: List[Any]) -> tuple[list[Raw], str | None]:
    try:
        return _page(mask.text, of)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError(f"its answer to `{of.method}` is not valid: {problem}") from None


def read_page(result: Raw) -> tuple[list[Tool], str | None, list[str]]:
    """`read_entries` of a page of `tools/list`."""
    tools, cursor, left_out = read_entries(result, TOOL_LIST)
    return [tool for _, tool, _ in tools], cursor, left_out
