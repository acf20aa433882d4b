"""Many servers: how long fifty of them take to be ready, and what each costs in memory.

Owns the comparison with the same fifty processes started bare, in parallel, each asked for its tools, in
the same run. Also the time of a list of all their tools, which must come from memory.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.machine import describe, free_port, rss_mb, started
from bench.ways import BENCH

TOOLS_EACH = 50
READY_TIMEOUT_S = 120.0
POLL_S = 0.02
LISTS = 21  # the first one encodes; the others are what callers get
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}
_LIST = [
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
]


@dataclass(frozen=True)
class Start:
    """One start of the gateway; seconds from the start of its process."""

    port_s: float
    ready_s: float
    memory_mb: float
    first_list_ms: float
    list_ms: float


def command() -> list[str]:
    return [sys.executable, str(BENCH / "echo_stdio.py"), "--tools", str(TOOLS_EACH - 3)]


def bare_s(servers: int) -> float:
    """Seconds until so many processes, started at once, have all listed their tools."""
    began_s = time.perf_counter()
    running = [
        subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(servers)
    ]
    try:
        for messages in ([_INITIALIZE], _LIST):
            for process in running:
                assert process.stdin is not None
                process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
                process.stdin.flush()
            for process in running:
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise RuntimeError("a server ended")
        return time.perf_counter() - began_s
    finally:
        for process in running:
            process.kill()
            process.wait()


def gateway(servers: int, directory: Path) -> Start:
    """Starts the gateway with so many servers and waits until all are ready."""
    first, *arguments = command()
    names = [f"s{number:02}" for number in range(servers)]
    config = directory / "scale.json"
    config.write_text(
        json.dumps({"mcpServers": {name: {"command": first, "args": arguments} for name in names}})
    )
    config.chmod(0o600)
    port = free_port()
    serve = [sys.executable, "-m", "mcp_gateway", "serve", "--config", str(config)]
    serve += ["--port", str(port), "--state-dir", str(directory / f"state-{servers}")]
    began_s = time.perf_counter()
    with started(serve, cpu=None, log=directory / "scale.log") as run:
        port_s = ready_s = 0.0
        while not ready_s:
            if run.process.poll() is not None or time.perf_counter() - began_s > READY_TIMEOUT_S:
                raise RuntimeError(f"not ready within {READY_TIMEOUT_S:g} s\n{run.tail()}")
            try:
                states = json.loads(get(port, "/ready"))["servers"]
            except OSError:
                time.sleep(POLL_S)
                continue
            port_s = port_s or time.perf_counter() - began_s
            if states.get("ready", 0) == servers:
                ready_s = time.perf_counter() - began_s
            else:
                time.sleep(POLL_S)
        lists_ms = [time_list(port, servers * TOOLS_EACH) for _ in range(LISTS)]
        return Start(port_s, ready_s, rss_mb(run.own()), lists_ms[0], median(lists_ms[1:]))


def time_list(port: int, tools: int) -> float:
    began_s = time.perf_counter()
    body = get(port, "/api/tools")
    took_ms = (time.perf_counter() - began_s) * 1000
    if body.count(b'"exposedName"') != tools:
        raise RuntimeError(f"{body.count(b'exposedName')} tools are listed, not {tools}")
    return took_ms


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    servers: int = arguments.servers
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        directory = Path(name)
        one = gateway(1, directory)
        gateway(servers, directory)  # learns which era the servers speak, once for all later starts
        ratios, starts = [], []
        for _ in range(arguments.rounds):
            bare = bare_s(servers)
            start = gateway(servers, directory)
            ratios.append(start.ready_s / bare)
            starts.append(start)
            told = f"bare {bare:.2f} s, gateway {start.ready_s:.2f} s: {ratios[-1]:.2f}x"
            print(told, file=sys.stderr, flush=True)
    memory_mb = (median(start.memory_mb for start in starts) - one.memory_mb) / (servers - 1)
    list_ms = median(start.list_ms for start in starts)
    rows = [
        ("the port answers", f"{median(start.port_s for start in starts):.2f} s", "1 s"),
        ("all ready, of the same processes started bare", f"{median(ratios):.2f} x", "1.3 x"),
        ("memory of the gateway for each server", f"{memory_mb:.2f} MB", "1.0 MB"),
        (
            f"`GET /api/tools`, {servers * TOOLS_EACH} tools",
            f"{list_ms:.2f} ms",
            "5 ms",
        ),
        ("the same, the first time", f"{median(start.first_list_ms for start in starts):.1f} ms", ""),
    ]
    print(f"{servers} servers x {TOOLS_EACH} tools, {describe()['cpu']}, {os.cpu_count()} CPUs\n")
    print("| what | measured | bar |\n| --- | ---: | ---: |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
