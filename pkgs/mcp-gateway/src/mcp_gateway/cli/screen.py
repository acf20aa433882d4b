"""What reaches the terminal: text made safe, plain lines, tables.

Text of a server is hostile: whatever would act on the terminal, reorder a line or cannot be written
is shown as an escape, and no markup is read from it. Colour only on a terminal (rich looks, NO_COLOR
counts). rich is imported when a table is drawn.
"""

import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from mcp_gateway.visible import safe

if TYPE_CHECKING:
    from rich.console import Console

# Inside the strings of a JSON text; the rest of what is unsafe cannot stand there unescaped.
_ACTING: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_WIDE: Final = 100_000  # a pipe has no width; nothing is cut or folded for one
STATE_STYLES: Final[Mapping[str, str]] = {
    "ready": "green",
    "ok": "green",
    "failed": "red",
    "needs login": "red",
    "waiting": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "running": "yellow",
    "off": "dim",
    "idle": "dim",
}


def first_line(value: object) -> str:
    """What fits into a cell: the first line of a text, safe; empty when it is no text."""
    text = value.strip() if isinstance(value, str) else ""
    return safe(text.split("\n", 1)[0].strip(), lines=False)


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


@dataclass
class Table:
    """Rows under headings; the cells are made safe here. The last column takes the room that is left."""

    headings: Sequence[str]
    right: frozenset[str] = frozenset()
    styled: str | None = None  # the column whose words have a colour
    with_head: bool = True
    rows: list[Sequence[object]] = field(default_factory=list)

    def show(self) -> None:
        from rich.console import Console
        from rich.table import Table as Drawn
        from rich.text import Text

        screen = console()
        drawn = Drawn(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=self.with_head)
        for heading in self.headings:
            last = heading == self.headings[-1]
            drawn.add_column(
                heading.upper(),
                justify="right" if heading in self.right else "left",
                no_wrap=not last,
                overflow="fold",
            )
        for row in self.rows:
            cells = [Text(safe("" if cell is None else str(cell), lines=False)) for cell in row]
            for heading, cell in zip(self.headings, cells, strict=True):
                if heading == self.styled:
                    cell.stylize(STATE_STYLES.get(cell.plain, "red"))
            drawn.add_row(*cells)
        if screen.is_terminal:
            screen.print(drawn)
            return
        text = io.StringIO()
        Console(file=text, width=_WIDE, color_system=None, markup=False, highlight=False).print(drawn)
        say("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def say(text: str = "", *, err: bool = False) -> None:
    """One line, or several, of what is safe already."""
    click.echo(text, err=err)


def say_json(raw: bytes) -> None:
    """JSON as it came; on a terminal with escapes for what would act there, which means the same."""
    if sys.stdout.isatty():
        text = raw.replace(b"\r", b" ").decode("utf-8", "replace")
        click.echo(_ACTING.sub(lambda match: f"\\u{ord(match[0]):04x}", text))
    else:
        click.echo(raw)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; what has no value is left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        rest = safe(value).replace("\n", "\n" + " " * (width + 2))
        say(f"{name:<{width}}  {rest}")


def clock_time(at: object, *, day: bool = True) -> str:
    """Seconds since 1970 as local time; empty for anything else."""
    if isinstance(at, bool) or not isinstance(at, int | float):
        return ""
    try:
        moment = datetime.fromtimestamp(at).astimezone()
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")


def size(count: int) -> str:
    """A number of bytes as people read it."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} B"


def duration(milliseconds: Any) -> str:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return ""
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"
