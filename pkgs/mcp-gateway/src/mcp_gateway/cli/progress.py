"""What a call says while it runs: a bar on a terminal, log messages as lines. All on stderr.

A server may report any number of anything; what cannot be drawn is left out.
"""

import json
import math
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mcp_gateway.cli.screen import first_line, say
from mcp_gateway.visible import safe

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """Made for one call; the bar appears with the first progress."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def take(self, name: str, data: bytes) -> None:
        """One `progress` or `log` event."""
        try:
            facts = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(facts, dict):
            return
        if name == "progress" and sys.stderr.isatty():
            self._draw(facts)
        elif name == "log":
            self._tell(facts)

    def _draw(self, facts: dict[str, Any]) -> None:
        done, total = _number(facts.get("progress")), _number(facts.get("total"))
        if done is None:
            return
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=None, words="")
            self._bar.start()
        assert self._task is not None  # made together
        counted = f"{done:g} of {total:g}" if total else f"{done:g}"
        words = "  ".join(filter(None, (counted, first_line(facts.get("message")))))
        self._bar.update(self._task, completed=done, total=total or None, words=words)

    def _tell(self, facts: dict[str, Any]) -> None:
        told = facts.get("data")
        text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
        line = f"{first_line(facts.get('level')) or 'log'}: {safe(text)}"
        if self._bar is None:
            say(line, err=True)
        else:
            from rich.text import Text

            self._bar.console.print(Text(line))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _bar() -> "Bar":
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from mcp_gateway.cli.screen import console

    return Bar(
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
