"""The last words of a server: its stderr, and stdout lines that were no messages.

Bounded in bytes, safe to show: control characters and terminal sequences are made visible, known
secrets of the server are replaced in the forms of `disguises.py`, lines are cut. Never on the call path.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from mcp_gateway import clock
from mcp_gateway.upstream.disguises import disguises
from mcp_gateway.visible import printable

RING_BYTES: Final = 256 * 1024
LINE_BYTES: Final = 8 * 1024  # a longer line is cut; what was cut is counted in the line itself
OVERLAP_BYTES: Final = 4 * 1024  # read beyond the cut, so that a secret across it is still recognised
OVERHEAD_BYTES: Final = 200  # of one entry in memory; a flood of short lines counts as what it holds
# Shorter values are words that happen to be configured ("true", "8080"), not secrets.
SECRET_MIN_CHARS: Final = 6
REDACTED: Final = "•••"
# Values that are looked for, those of now and of before: each line costs a search for each of their forms.
GUARDED_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class LogLine:
    """`at` is seconds since 1970; `source` is stderr, stdout or gateway."""

    number: int
    at: float
    source: str
    text: str


class _Kept:
    """A line as it came, and once somebody has looked at it, as it is shown."""

    __slots__ = ("at", "limit", "line", "number", "source", "text")

    def __init__(self, number: int, at: float, source: str, text: str, limit: int) -> None:
        self.number = number
        self.at = at
        self.source = source
        self.text = text
        self.limit = limit
        self.line: LogLine | None = None


class LogRing:
    """Lines are made safe when they are looked at: of a flood, nearly all are gone before that."""

    def __init__(self) -> None:
        self._lines: deque[_Kept] = deque()
        self._bytes = 0
        self._partial = b""
        self._skipping = 0
        self._guarded: tuple[str, ...] = ()
        self._forms: tuple[str, ...] = ()
        self._passing: Counter[str] = Counter()
        self._listeners: set[Callable[[LogLine], None]] = set()
        self.count = 0

    def guard(self, secrets: Iterable[str]) -> None:
        """From now on these values are not shown, whole or line by line, and the ones before not either.

        A token that was exchanged may still be good, and stand in what was said before.
        """
        values = {line for s in secrets for line in (s, *s.splitlines()) if len(line) >= SECRET_MIN_CHARS}
        self._guarded = tuple(dict.fromkeys((*values, *self._guarded)))[: max(len(values), GUARDED_MAX)]
        # Longest first, since one may hold another.
        forms = {form for value in self._guarded for form in disguises(value)}
        self._forms = tuple(sorted(forms, key=len, reverse=True))

    def hide(self, secrets: Iterable[str]) -> None:
        """Nor are these shown, until `unhide` is told the same: what a call brings along, while it runs."""
        self._passing.update(secret for secret in secrets if len(secret) >= SECRET_MIN_CHARS)

    def unhide(self, secrets: Iterable[str]) -> None:
        self._passing.subtract(secret for secret in secrets if len(secret) >= SECRET_MIN_CHARS)
        self._passing = +self._passing  # without those that no call brings any more

    def feed(self, data: bytes) -> None:
        """Takes a chunk of stderr; cost is linear in the chunk however long the line."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._take(line)
            if self._skipping:
                self.add("gateway", b"(%d more bytes of that line)" % self._skipping)
            elif self._partial:
                self._show(self._partial)
            self._partial, self._skipping = b"", 0
        self._take(rest)

    def _take(self, piece: bytes) -> None:
        """Adds to the line that is being read; shows it once it is longer than what is shown of one."""
        if self._skipping:
            self._skipping += len(piece)
            return
        self._partial += piece
        if len(self._partial) > LINE_BYTES + OVERLAP_BYTES:
            self._skipping = len(self._partial) - LINE_BYTES
            self.add("stderr", self._partial)
            self._partial = b""

    def _show(self, line: bytes) -> None:
        self.add("stderr", line)
        if len(line) > LINE_BYTES:
            self.add("gateway", b"(%d more bytes of that line)" % (len(line) - LINE_BYTES))

    def redact(self, text: str) -> str:
        """A text of the server, safe to show: printable, its secrets replaced in all their forms."""
        return printable(self._replaced(self._without_passing(text)))

    def redact_payload(self, text: str) -> str:
        """A request or response, safe to show: as `redact`, with its lines. May be called from any thread."""
        return "\n".join(map(printable, self._replaced(text).split("\n")))

    def _without_passing(self, text: str) -> str:
        for secret in sorted(self._passing, key=len, reverse=True):
            for form in sorted(disguises(secret), key=len, reverse=True):
                text = text.replace(form, REDACTED)
        return text

    def _replaced(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, REDACTED)
        return text

    def add(self, source: str, line: bytes, limit: int = LINE_BYTES) -> None:
        """Keeps one line, of which `limit` bytes are shown.

        Callers pass up to `OVERLAP_BYTES` more, so that a secret across the cut is recognised.
        """
        if not line.strip():
            return
        whole = line[: limit + OVERLAP_BYTES].rstrip(b"\r").decode("utf-8", "replace")
        # When somebody looks at the line, the call that brought these along may be over.
        whole = self._without_passing(whole)
        self._keep(_Kept(self.count + 1, clock.wall_s(), source, whole, limit))

    def _keep(self, kept: _Kept) -> None:
        self.count = kept.number
        self._lines.append(kept)
        self._bytes += len(kept.text) + OVERHEAD_BYTES
        while self._bytes > RING_BYTES:
            self._bytes -= len(self._lines.popleft().text) + OVERHEAD_BYTES
        for listener in tuple(self._listeners):
            listener(self._shown(kept))

    def _shown(self, kept: _Kept) -> LogLine:
        if kept.line is None:
            text = self.redact(kept.text)[: kept.limit]
            kept.line = LogLine(kept.number, kept.at, kept.source, text)
        return kept.line

    def tail(self, limit: int) -> list[LogLine]:
        """The last lines, oldest first."""
        return [self._shown(kept) for kept in islice(reversed(self._lines), limit)][::-1]

    def listen(self, listener: Callable[[LogLine], None]) -> Callable[[], None]:
        """Calls `listener` with every new line until the answered function is called."""
        listeners = self._listeners
        listeners.add(listener)
        return lambda: listeners.discard(listener)

    def take_over(self, before: "LogRing") -> None:
        """Goes on where another ring was: its lines, its readers, and what is still said there.

        Each ring keeps to its own process, whose half lines and secrets the other does not know.
        """
        own = self.tail(len(self._lines))
        for kept in before._lines:
            before._shown(kept)
        self._lines, self._bytes = before._lines, before._bytes
        self.count = before.count
        self._listeners = before._listeners
        before._lines, before._bytes, before._listeners = deque(), 0, {self._adopt}
        for line in own:
            self._adopt(line)

    def _adopt(self, line: LogLine) -> None:
        """Keeps a line that is safe to show."""
        kept = _Kept(self.count + 1, line.at, line.source, line.text, len(line.text))
        kept.line = replace(line, number=kept.number)
        self._keep(kept)
