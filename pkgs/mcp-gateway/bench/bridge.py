"""What it costs that client and server speak different eras of MCP: one client, at a server of each.

Owns these measures and their bars; `run.py` puts them into the result, `python -m bench.bridge` prints them
alone. Two ways are measured in turn, in short bursts, and told as the median of the ratios of neighbours, so
that whoever else uses the machine slows both.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench import ways
from bench.load import Sample, Target
from bench.load import measure as load
from bench.machine import Cpu, Seats, cpu_of, describe
from bench.report import Bar, bar_table

BURST_S = 0.4
LEAST_SHARE = 75.0  # of the calls/s in one era
ASKED = ("elicitation",)


@dataclass(frozen=True)
class How:
    """`in_flight` calls, in as many bursts of each kind as there are `pairs`."""

    in_flight: int
    pairs: int
    warm_up_s: float
    bar: float | None


MANY = How(64, 30, 0.1, LEAST_SHARE)
# Where each call has a process of the server to itself; those of sessions start anew with each burst.
LEASED = How(8, 8, 2.0, None)


@dataclass(frozen=True)
class Pair:
    """`what` is done in `way`, and told as a share of what is done in `plain`."""

    what: str
    way: Target
    plain: Target
    how: How = MANY


def pairs(url: str) -> list[Pair]:
    """`url` is an endpoint with a server of each era alone, as `ways.gateway` has it."""
    handshake, modern = Target("mcp", url, "echo__echo"), Target("modern", url, "modern__echo")
    to_modern, to_handshake = replace(handshake, tool="modern__echo"), replace(modern, tool="echo__echo")
    return [
        Pair("a modern client, a handshake server", to_handshake, modern),
        Pair("a handshake client, a modern server", to_modern, handshake),
        Pair("the same, and the client can be asked", replace(to_modern, declares=ASKED), handshake),
        # What processes of their own cost, across eras and within the one that has to pay for them.
        Pair(
            "a modern client that can be asked, a process for each call",
            *(replace(to_handshake, declares=ASKED), modern, LEASED),
        ),
        Pair(
            "a handshake client that can be asked, a process for each call",
            *(replace(handshake, declares=ASKED), handshake, LEASED),
        ),
    ]


def measure(directory: Path, seats: Seats) -> list[Bar]:
    """All of it; some three minutes."""
    found = []
    with ways.gateway(directory, seats) as (_, mcp, _):
        seats.sit()
        own = mcp.run.own()
        for pair in pairs(mcp.target.url):
            for bar in _bars(pair, lambda: cpu_of(own)):
                print(f"{bar.what}: {bar.text(bar.measured)}", file=sys.stderr, flush=True)
                found.append(bar)
    return found


def _bars(pair: Pair, meter: Callable[[], Cpu]) -> list[Bar]:
    _burst(pair.way, pair, meter)  # processes of the server start, and it is seen how it is done
    bursts = []
    for number in range(pair.how.pairs):
        # Each goes first in turn: a machine that gets slower, or faster, is to be nobody's fault.
        if number % 2:
            plain, way = _burst(pair.plain, pair, meter), _burst(pair.way, pair, meter)
        else:
            way, plain = _burst(pair.way, pair, meter), _burst(pair.plain, pair, meter)
        bursts.append((way, plain))
    share = 100 * median(way.calls_per_s / plain.calls_per_s for way, plain in bursts)
    more_ms = median(way.cpu_ms_per_call("own") - plain.cpu_ms_per_call("own") for way, plain in bursts)
    how = pair.how
    return [
        Bar(f"{pair.what}: calls/s, of one era, {how.in_flight} in flight", share, how.bar, None, "%"),
        Bar(f"{pair.what}: CPU added per call", more_ms, None, None, "ms"),
    ]


def _burst(target: Target, pair: Pair, meter: Callable[[], Cpu]) -> Sample:
    how, meters = pair.how, {"own": meter}
    sample = load(target, in_flight=how.in_flight, duration_s=BURST_S, warm_up_s=how.warm_up_s, meters=meters)
    if sample.errors:
        raise RuntimeError(f"{pair.what}: wrong answers: {sample.errors}")
    return sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    seats = Seats.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), seats)
    print(f"The bridge between eras, {describe()['cpu']}, {describe()['cores']} cores\n")
    print(bar_table(found))


if __name__ == "__main__":
    main()
