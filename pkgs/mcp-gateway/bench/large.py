"""A large result while others call: how long it takes, what it costs in memory, what the others notice.

Owns the comparison of other callers' latency with and without 50 MB results going through, in one run.
The large calls are made by a process of its own and go to a server of their own. On two cores the processes
that make and read 50 MB disturb every caller, so a direct call that meets no gateway is measured as well.
"""

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import ways
from bench.load import measure
from bench.machine import Seats, describe

BYTES = 50_000_000
IN_FLIGHT = 4  # others, who call all the time
TIMEOUT_S = 60.0


def peak_mb(pid: int) -> float:
    """The most memory a process has held so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1000


def call_large(port: int) -> float:
    """Seconds for one large call and the reading of all of its result."""
    began_s = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        body = json.dumps({"bytes": BYTES})
        connection.request("POST", "/api/tools/other/blob", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        artifact = answer["_meta"]["mcp-gateway/artifact"]
        connection.request("GET", artifact["url"])
        size = len(connection.getresponse().read())
        if size != artifact["size"] or size <= BYTES:
            raise RuntimeError(f"{size} bytes came of a result of {artifact['size']}")
        return time.perf_counter() - began_s
    finally:
        connection.close()


def call_for_ever(port: int) -> None:
    while True:
        print(f"{call_large(port):.3f}", flush=True)


@contextlib.contextmanager
def large_calls(port: int, log: Path) -> Iterator[None]:
    """Large calls, one after the other, from another process; each one's seconds go to the log."""
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "bench.large", "--call", str(port)], stdout=out)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--call", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.call is not None:
        call_for_ever(arguments.call)
    seats = Seats.of_this_machine()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-large-")))
        rest, *_ = stack.enter_context(ways.gateway(directory, seats))
        direct, *_ = stack.enter_context(ways.direct(directory, seats))
        seats.sit()
        port = rest.target.address[1]
        before_mb = peak_mb(rest.run.process.pid)
        calls_s = [call_large(port) for _ in range(arguments.rounds)]
        rise_mb = peak_mb(rest.run.process.pid) - before_mb
        ratios: dict[str, list[float]] = {rest.label: [], direct.label: []}
        for _ in range(arguments.rounds):
            for way in (direct, rest):
                quiet = measure(way.target, in_flight=IN_FLIGHT, duration_s=arguments.seconds, meters={})
                with large_calls(port, directory / "calls"):
                    busy = measure(way.target, in_flight=IN_FLIGHT, duration_s=arguments.seconds, meters={})
                ratios[way.label].append(busy.p99_ms / quiet.p99_ms)
                told = f"{way.label}: p99 {quiet.p99_ms:.2f} ms, meanwhile {busy.p99_ms:.2f} ms"
                print(told, file=sys.stderr, flush=True)
    rows = [
        ("50 MB over stdio, and read whole", f"{median(calls_s):.2f} s", "1 s"),
        ("memory of the gateway, at its peak", f"+{rise_mb:.0f} MB", "+40 MB"),
        (f"p99 of {IN_FLIGHT} other callers, of that without", f"{median(ratios[rest.label]):.1f} x", "2 x"),
        ("the same of direct calls, past the gateway", f"{median(ratios[direct.label]):.1f} x", ""),
    ]
    print(f"Large results, {describe()['cpu']}, {describe()['cores']} cores\n")
    print("| what | measured | bar |\n| --- | ---: | ---: |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
