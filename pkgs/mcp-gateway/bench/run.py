"""A direct call against the gateway over REST and MCP, and its peers if asked, all in one run.

Owns the order of the run: start every way, measure the cells of a round one after the other, repeat, write
the result. What is measured sits alone on one CPU, this process (the load) and the upstream on another.
Everything it starts ends with it. `ways.py` starts, `load.py` measures, `report.py` judges.
"""

import argparse
import contextlib
import datetime
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import beside, bridge, pages, ways
from bench.load import measure
from bench.machine import Cpu, Seats, cpu_of, describe, machine_cpu, rss_mb
from bench.report import Cell, Cells, Result, markdown, plot

IN_FLIGHT = (1, 16, 64)
SETTLE_S = 1.0  # after the last start, so that no start-up work falls into a measurement
OPENERS = {
    "direct": ways.direct,
    "gateway": ways.gateway,
    "gateway-http": ways.gateway_http,
    "mcpo": ways.mcpo,
    "mcp-proxy": ways.mcp_proxy,
}


def run(chosen: list[str], *, seconds: float, rounds: int, directory: Path, has_mcp: bool) -> Result:
    seats = Seats.of_this_machine()
    with contextlib.ExitStack() as stack:
        measured = [way for name in chosen for way in stack.enter_context(OPENERS[name](directory, seats))]
        seats.sit()
        time.sleep(SETTLE_S)
        idle_mb = {way.name: rss_mb(way.run.own()) for way in measured}
        cells: Cells = {}
        for round_number in range(1, rounds + 1):
            for in_flight in IN_FLIGHT:
                for way in measured:
                    cell = cells.setdefault((way.name, in_flight), Cell(way.name, way.label, in_flight))
                    measure_one(way, cell, seconds)
                    show(cell, f"round {round_number} of {rounds}")
        loaded_mb = {way.name: rss_mb(way.run.own()) for way in measured}
    mcp = [*bridge.measure(directory, seats), *beside.measure(directory, seats)] if has_mcp else []
    shown = pages.measure(directory, seats) if has_mcp else None
    return Result(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=describe(),
        peers={name: ways.versions_of(name) for name in chosen if name in ways.PEERS},
        seats=_seats_text(seats),
        seconds=seconds,
        rounds=rounds,
        noise=_noise(cells),
        idle_mb=idle_mb,
        loaded_mb=loaded_mb,
        ready_s={way.name: way.ready_s for way in measured},
        cells=cells,
        mcp=mcp,
        pages=shown.bars() if shown else [],
        page_tables=shown.tables() if shown else "",
    )


def measure_one(way: ways.Way, cell: Cell, seconds: float) -> None:
    own, upstreams = way.run.own(), way.run.upstreams()
    meters = {
        "measured": lambda: cpu_of(own),
        "upstream": lambda: cpu_of(upstreams),
        "load": lambda: Cpu(*os.times()[:2]),
        "machine": machine_cpu,
    }
    cell.samples.append(measure(way.target, in_flight=cell.in_flight, duration_s=seconds, meters=meters))


def show(cell: Cell, when: str) -> None:
    sample = cell.samples[-1]
    line = f"{when}  {cell.label:<16} {cell.in_flight:>3} in flight  {sample.calls_per_s:>8,.0f} calls/s"
    line += f"  p50 {sample.p50_ms:>7.3f} ms  p99 {sample.p99_ms:>7.3f} ms"
    line += f"  CPU {sample.cpu_ms_per_call('measured'):.4f} ms/call"
    for reason, count in sample.errors.items():
        line += f"\n    {count} errors: {reason}"
    print(line, file=sys.stderr, flush=True)


def _noise(cells: Cells) -> float:
    """The share of all CPUs that went to processes outside the run, over all windows."""
    samples = [sample for cell in cells.values() for sample in cell.samples]
    ours_s = sum(sample.cpu[name].total_s for sample in samples for name in ("measured", "upstream", "load"))
    all_s = sum(sample.cpu["machine"].total_s for sample in samples)
    window_s = sum(sample.window_s for sample in samples)
    return max(0.0, all_s - ours_s) / (window_s * (os.cpu_count() or 1))


def _seats_text(seats: Seats) -> str:
    if seats.measured is None:
        return "**One CPU for everything: nothing is pinned, and the ratios say little.**"
    return "The measured process is pinned to one CPU, load and upstream to another."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each cell (%(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)d)")
    parser.add_argument("--peers", action="store_true", help="install and measure mcpo and mcp-proxy too")
    parser.add_argument("--only", nargs="+", choices=OPENERS, help="measure calls these ways alone")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results", help="folder to write to"
    )
    parser.add_argument("--strict", action="store_true", help="fail when a bar is missed")
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that what was started is ended on the way out
    chosen = arguments.only or [name for name in OPENERS if arguments.peers or name not in ways.PEERS]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        result = run(
            chosen,
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            directory=Path(directory),
            has_mcp=not arguments.only,
        )
    results: Path = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{result.date}.json").write_text(json.dumps(result.as_json(), indent=1) + "\n")
    has_plot = plot(result, results / "latest.svg")
    text = markdown(result, has_plot=has_plot)
    (results / "latest.md").write_text(text)
    print(text)
    if not has_plot:
        print("no plot: matplotlib is not installed (uv sync --group bench)", file=sys.stderr)
    has_errors = any(cell.errors for cell in result.cells.values())
    is_missed = any(bar.verdict == "MISSED" for bar in result.judged())
    sys.exit(1 if has_errors or (arguments.strict and is_missed) else 0)


if __name__ == "__main__":
    main()
