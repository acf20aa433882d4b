"""Turns the cells of a run into bars, a table and a plot.

Owns the numbers we hold ourselves to and every word of the result. Measures nothing, starts nothing; `run.py`
calls it. A ratio is the median of the ratios of single rounds, whose cells ran within seconds of each other,
so that a slow minute of the machine does not count for one side only.
"""

import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import Sample

MOST_IN_FLIGHT = 64
WITHOUT_NOISE = 0.05  # share of the machine that others may use before a run is called noisy
# Told apart by the colour-blind too, and in print.
COLOURS = ("#999999", "#cccccc", "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#f0e442")


@dataclass
class Cell:
    """One way at one number of calls in flight: a sample from each round."""

    way: str
    label: str
    in_flight: int
    samples: list[Sample] = field(default_factory=list)

    def median(self, of: Callable[[Sample], float]) -> float:
        return median([of(sample) for sample in self.samples])

    def cpu_ms(self, meter: str) -> float:
        return self.median(lambda sample: sample.cpu_ms_per_call(meter))

    def cpu_share(self, meter: str) -> float:
        return self.median(lambda sample: sample.cpu[meter].total_s / sample.window_s)

    @property
    def errors(self) -> Counter[str]:
        return sum((Counter(sample.errors) for sample in self.samples), Counter())


Cells = dict[tuple[str, int], Cell]


@dataclass(frozen=True)
class Bar:
    """A number we hold ourselves to, or only tell. Of "%" and "x" more is better, of all other units less."""

    what: str
    measured: float
    bar: float | None
    stretch: float | None
    unit: str

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        if self.stretch is not None and self._reaches(self.stretch):
            return "met, stretch too"
        return "met" if self._reaches(self.bar) else "MISSED"

    def _reaches(self, level: float) -> bool:
        return self.measured >= level if self.unit in ("%", "x") else self.measured <= level

    def text(self, value: float | None) -> str:
        if value is None:
            return ""
        digits = {"ms": 3 if abs(value) < 10 else 1, "x": 1, "kB": 1}.get(self.unit, 0)
        return f"{value:.{digits}f} {self.unit}"


def bars(cells: Cells, idle_mb: dict[str, float]) -> list[Bar]:
    """The bars that this run can judge; what needs a way that was not measured is left out."""
    found = [
        *_bars_of("REST", "rest", "mcpo", 6, 10, cells),
        *_bars_of("MCP", "mcp", "mcp-proxy", 10, None, cells),
        *_bars_of("MCP, modern", "modern", "mcp-proxy", None, None, cells, direct="direct-modern"),
    ]
    direct_top = cells.get(("direct", MOST_IN_FLIGHT))
    for face, way in (("REST", "rest-http"), ("MCP", "mcp-http")):
        top = cells.get((way, MOST_IN_FLIGHT))
        if top and direct_top:
            share = 100 * _of_rounds(top, direct_top, lambda a, b: a.calls_per_s / b.calls_per_s)
            what = f"{face} to HTTP: calls/s, of a direct call, {MOST_IN_FLIGHT} in flight"
            found.append(Bar(what, share, 20, 30, "%"))
    if "rest" in idle_mb:
        found.append(Bar("memory of the gateway, idle", idle_mb["rest"], 95, 75, "MB"))
    return found


def _bars_of(
    face: str,
    way: str,
    peer: str,
    bar: float | None,
    stretch: float | None,
    cells: Cells,
    direct: str = "direct",
) -> list[Bar]:
    top, one = cells.get((way, MOST_IN_FLIGHT)), cells.get((way, 1))
    direct_top, direct_one = cells.get((direct, MOST_IN_FLIGHT)), cells.get((direct, 1))
    peer_top = cells.get((peer, MOST_IN_FLIGHT))
    found = []
    if top and direct_top:
        share = 100 * _of_rounds(top, direct_top, lambda a, b: a.calls_per_s / b.calls_per_s)
        found.append(
            Bar(f"{face}: calls/s, of a direct call, {MOST_IN_FLIGHT} in flight", share, 35, 60, "%")
        )
    if top and peer_top:
        times = _of_rounds(top, peer_top, lambda a, b: a.calls_per_s / b.calls_per_s)
        found.append(Bar(f"{face}: calls/s, of {peer}, {MOST_IN_FLIGHT} in flight", times, bar, stretch, "x"))
    if one and direct_one:
        p50_ms = _of_rounds(one, direct_one, lambda a, b: a.p50_ms - b.p50_ms)
        p99_ms = _of_rounds(one, direct_one, lambda a, b: a.p99_ms - b.p99_ms)
        found.append(Bar(f"{face}: added to a direct call, p50, one at a time", p50_ms, 0.25, 0.12, "ms"))
        found.append(Bar(f"{face}: added to a direct call, p99, one at a time", p99_ms, 1.0, 0.5, "ms"))
    if top:
        cpu_ms = top.cpu_ms("measured")
        found.append(Bar(f"{face}: CPU per call, {MOST_IN_FLIGHT} in flight", cpu_ms, 0.08, 0.045, "ms"))
    return found


def _of_rounds(ours: Cell, other: Cell, compare: Callable[[Sample, Sample], float]) -> float:
    return median([compare(a, b) for a, b in zip(ours.samples, other.samples, strict=True)])


# ---- shapes of the result --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One run, whole."""

    date: str
    machine: dict[str, str]
    peers: dict[str, dict[str, str]]
    seats: str
    seconds: float
    rounds: int
    noise: float  # share of all CPUs that went to processes outside the run
    idle_mb: dict[str, float]
    loaded_mb: dict[str, float]
    ready_s: dict[str, float]
    cells: Cells
    mcp: list[Bar]  # what MCP asks for beside calls
    pages: list[Bar]  # of the web UI
    page_tables: str

    def judged(self) -> list[Bar]:
        return [*bars(self.cells, self.idle_mb), *self.mcp, *self.pages]

    def as_json(self) -> dict[str, Any]:
        aside = ("cells", "mcp", "pages", "page_tables")
        head = {key: _rounded(value) for key, value in vars(self).items() if key not in aside}
        judged = [
            {**asdict(bar), "measured": _rounded(bar.measured), "verdict": bar.verdict}
            for bar in self.judged()
        ]
        return {**head, "cells": [_cell_as_json(cell) for cell in self.cells.values()], "bars": judged}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _cell_as_json(cell: Cell) -> dict[str, Any]:
    return {
        "way": cell.way,
        "in_flight": cell.in_flight,
        "calls_per_s": round(cell.median(lambda sample: sample.calls_per_s)),
        "calls_per_s_of_rounds": [round(sample.calls_per_s) for sample in cell.samples],
        "p50_ms": round(cell.median(lambda sample: sample.p50_ms), 4),
        "p99_ms": round(cell.median(lambda sample: sample.p99_ms), 4),
        "cpu_ms_per_call": {
            meter: round(cell.cpu_ms(meter), 5) for meter in ("measured", "upstream", "load")
        },
        "measured_user_ms_per_call": round(cell.median(user_ms), 5),
        "cpu_share": {meter: round(cell.cpu_share(meter), 3) for meter in ("measured", "upstream", "load")},
        "errors": dict(cell.errors),
    }


def user_ms(sample: Sample) -> float:
    return sample.cpu["measured"].user_s * 1000 / max(1, sample.calls)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(result: Result, *, has_plot: bool) -> str:
    parts = [f"# Benchmark of {result.date}", _setting(result)]
    if judged := bars(result.cells, result.idle_mb):
        parts += ["## Bars", bar_table(judged)]
    if result.mcp:
        parts += ["## MCP", bar_table(result.mcp)]
    if result.pages:
        parts += ["## Pages", bar_table(result.pages), result.page_tables]
    parts += ["## Every way of a call", _call_table(result)]
    parts += [f"## Where the time goes, {MOST_IN_FLIGHT} in flight", _time_table(result)]
    if has_plot:
        parts.append("![Calls per second and median latency of every way](latest.svg)")
    return "\n\n".join(parts) + "\n"


def _setting(result: Result) -> str:
    machine = dict(result.machine)
    cpu, cores, python = machine.pop("cpu"), machine.pop("cores"), machine.pop("python")
    libraries = [", ".join(f"{name} {version}" for name, version in machine.items())]
    for peer, versions in result.peers.items():
        libraries.append(
            f"{peer} with " + ", ".join(f"{name} {version}" for name, version in versions.items())
        )
    noisy = (
        ""
        if result.noise <= WITHOUT_NOISE
        else " **A noisy run: trust CPU per call and ratios, not calls/s.**"
    )
    how = (
        "One stdio server behind every gateway, all on loopback; every answer must carry its request's text."
    )
    rounds = f"Median of {result.rounds} interleaved rounds with {result.seconds:g} s for each cell."
    return (
        f"{cpu}, {cores} cores, Python {python}; {'; '.join(libraries)}.\n\n{result.seats} {how} {rounds} "
        f"Other programs used {100 * result.noise:.1f}% of the machine.{noisy}"
    )


def bar_table(judged: Sequence[Bar]) -> str:
    header = ("what", "measured", "bar", "stretch", "")
    rows = [(b.what, b.text(b.measured), b.text(b.bar), b.text(b.stretch), b.verdict) for b in judged]
    return table(header, rows)


def _levels(cells: Cells) -> list[int]:
    return sorted({in_flight for _, in_flight in cells})


def _labels(cells: Cells) -> dict[str, str]:
    return {cell.way: cell.label for cell in cells.values()}


def _call_table(result: Result) -> str:
    levels = _levels(result.cells)
    header = ["way", *[f"calls/s, {n}" for n in levels], *[f"p50 ms, {n}" for n in levels]]
    header += [*[f"p99 ms, {n}" for n in levels], "idle MB", "after MB", "ready s", "errors"]
    rows = []
    for way, label in _labels(result.cells).items():
        cells = [result.cells[way, n] for n in levels]
        row = [label, *[f"{cell.median(lambda s: s.calls_per_s):,.0f}" for cell in cells]]
        row += [f"{cell.median(lambda s: s.p50_ms):.2f}" for cell in cells]
        row += [f"{cell.median(lambda s: s.p99_ms):.2f}" for cell in cells]
        row += [f"{result.idle_mb[way]:.0f}", f"{result.loaded_mb[way]:.0f}", f"{result.ready_s[way]:.2f}"]
        rows.append([*row, str(sum(cell.errors.total() for cell in cells))])
    return table(header, rows)


def _time_table(result: Result) -> str:
    header = ["way", "CPU ms/call", "of it user", "of it kernel", "upstream ms/call", "load ms/call"]
    header += ["busy: measured", "busy: upstream + load"]
    rows = []
    for way, label in _labels(result.cells).items():
        cell = result.cells.get((way, MOST_IN_FLIGHT))
        if cell is None:
            continue
        cpu_ms, user = cell.cpu_ms("measured"), cell.median(user_ms)
        row = [label, *[f"{ms:.4f}" for ms in (cpu_ms, user, cpu_ms - user)]]
        row += [
            f"{cell.cpu_ms('upstream'):.4f}",
            f"{cell.cpu_ms('load'):.4f}",
            f"{cell.cpu_share('measured'):.0%}",
        ]
        rows.append([*row, f"{cell.cpu_share('upstream') + cell.cpu_share('load'):.0%}"])
    return table(header, rows)


def plot(result: Result, file: Path) -> bool:
    """Draws calls per second and median latency; False when matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    # By name: the plot is optional, and so are the types of what draws it.
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "font.size": 9})  # the same data give the same file
    figure, (speed, wait) = importlib.import_module("matplotlib.pyplot").subplots(1, 2, figsize=(9, 3.8))
    levels, labels = _levels(result.cells), _labels(result.cells)
    width = 0.8 / len(labels)
    for index, (way, label) in enumerate(labels.items()):
        cells, colour = [result.cells[way, n] for n in levels], COLOURS[index % len(COLOURS)]
        at = [position + width * (index - (len(labels) - 1) / 2) for position in range(len(levels))]
        per_s = [cell.median(lambda s: s.calls_per_s) for cell in cells]
        marks = speed.bar(at, per_s, width, label=label, color=colour)
        speed.bar_label(marks, [f"{value / 1000:.1f}" for value in per_s], fontsize=7)
        p50_ms = [cell.median(lambda s: s.p50_ms) for cell in cells]
        wait.plot(range(len(levels)), p50_ms, marker="o", color=colour)
    speed.set_title("thousand calls per second")
    speed.set_yticks([])  # the bars carry their numbers
    wait.set_title("median latency, ms (logarithmic)")
    wait.set_yscale("log")
    wait.yaxis.set_major_formatter("{x:g}")
    for panel in (speed, wait):
        panel.set_xticks(range(len(levels)), [f"{n} in flight" for n in levels])
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="lower center", ncols=len(labels), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(file, metadata={"Date": None})
    return True
