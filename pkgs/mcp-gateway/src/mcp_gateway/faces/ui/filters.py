"""Which calls somebody wants to see: the query of the Activity page, read once and written into its links.

The words are those of `GET /api/calls`, so an address of one is soon one of the other. Times may be ISO 8601
too, as fields for them send it, and `last` is a span until now. Knows no route.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from mcp_gateway import clock
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway import CallQuery

PATH: Final = "/ui/activity"
SPANS: Final = {
    "15m": ("15 min", 900.0),
    "1h": ("Hour", 3_600.0),
    "1d": ("Day", 86_400.0),
    "7d": ("7 days", 604_800.0),
}
KINDS: Final = {"calls": "Calls", "actions": "What people did"}
# A field that was left empty is sent all the same.
_WORDS: Final = ("server", "tool", "caller", "face", "outcome", "action", "method")
_ORDER: Final = ("kind", *_WORDS, "last", "since", "until", "cursor")
_MAX_CHARS: Final = 1_024  # of a value; the longest name of a tool


@dataclass(frozen=True, slots=True)
class Asked:
    """`words` are what is filled in, by name, as it was sent and without empty ones."""

    words: Mapping[str, str]
    query: CallQuery

    def __getitem__(self, name: str) -> str:
        """What a field holds."""
        return self.words.get(name, "")

    @property
    def folded(self) -> int:
        """How many of the filters that a small screen folds away are in force."""
        return sum(name in self.words for name in (*_WORDS, "since", "until"))

    @property
    def is_first_page(self) -> bool:
        return "cursor" not in self.words

    def link(self, path: str = PATH, **changes: str | None) -> str:
        """An address with the same filters but for `changes` (None: without it), of the newest page."""
        words = {**self.words, "cursor": None, **changes}
        chosen = [(name, value) for name in _ORDER if (value := words.get(name))]
        return f"{path}?{urlencode(chosen)}" if chosen else path

    def api_link(self, path: str, **more: str) -> str:
        """An address of the API for the same calls."""
        query = self.query
        values = {name: getattr(query, name) for name in (*_WORDS, "kind", "since", "until")}
        chosen = {name: value for name, value in values.items() if value is not None} | more
        return f"{path}?{urlencode(chosen)}" if chosen else path

    def now(self) -> "Asked":
        """The same, where it is a span until now."""
        if "last" not in self.words:
            return self
        since = clock.wall_s() - SPANS[self.words["last"]][1]
        return replace(self, query=replace(self.query, since=since))


def read(sent: Mapping[str, str]) -> Asked:
    """What a query asks for; words that it does not know are left alone.

    Raises:
        GatewayError: `invalid`.
    """
    words = {name: value for name in _ORDER if (value := sent.get(name, "").strip())}
    for name, value in words.items():
        if len(value) > _MAX_CHARS:
            raise GatewayError(Kind.INVALID, f"`{name}` is too long")
    for name, known in (("last", SPANS), ("kind", KINDS)):
        if words.get(name, next(iter(known))) not in known:
            raise GatewayError(Kind.INVALID, f"`{name}` is one of {', '.join(known)}")
    if "last" in words:  # chosen by a click; what the fields for times still hold is older
        words.pop("since", None)
        words.pop("until", None)
    asked: dict[str, Any] = {name: words[name] for name in (*_WORDS, "cursor") if name in words}
    kind = words.get("kind")
    query = CallQuery(
        since=_time(words, "since"),
        until=_time(words, "until"),
        kind="calls" if kind == "calls" else "actions" if kind == "actions" else None,
    )
    return Asked(words, replace(query, **asked)).now()


def _time(words: Mapping[str, str], name: str) -> float | None:
    """Seconds since 1970, or ISO 8601; without a zone it is UTC."""
    text = words.get(name)
    if text is None:
        return None
    try:
        try:
            moment = datetime.fromtimestamp(float(text), UTC)
        except ValueError:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        raise GatewayError(Kind.INVALID, f"`{name}` is a time such as 2026-01-31T09:30") from None
