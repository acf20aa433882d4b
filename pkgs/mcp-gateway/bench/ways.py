"""The ways of a call that are measured: direct, through this gateway, through its peers.

Owns how each is installed, configured and started, and when it is ready: as soon as one call comes back
right. Knows nothing of how they are measured. Every gateway gets its own `echo_stdio.py`, on the CPU of the
load, and runs as it comes: with its default settings, this one with activity on.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from bench.load import BadAnswer, Target, first_call
from bench.machine import Seats, Started, free_port, started

BENCH = Path(__file__).parent
READY_TIMEOUT_S = 60.0  # the slowest peer needs a few seconds; a cold disk may add many
POLL_S = 0.02
INSTALL_TIMEOUT_S = 600.0

# Pinned to the releases that the bars were set against. mcpo breaks with any newer mcp or fastapi.
PEERS = {
    "mcpo": ("mcpo==0.0.20", "mcp==1.30.0", "fastapi==0.136.3"),
    "mcp-proxy": ("mcp-proxy==0.13.0", "mcp==1.30.0"),
}


@dataclass(frozen=True)
class Way:
    """One way of a call. Two ways may share a process, as REST and MCP of one gateway do."""

    name: str
    label: str
    target: Target
    run: Started
    ready_s: float


def upstream_command(seats: Seats) -> list[str]:
    return [sys.executable, str(BENCH / "echo_stdio.py"), *seats.upstream_arguments]


def wait_until_ready(run: Started, target: Target) -> float:
    """Seconds until a first call came back right.

    Raises: RuntimeError with the end of its log when the process ends or never gets there.
    """
    began_s = time.monotonic()
    reason = "it never answered"
    while run.process.poll() is None and time.monotonic() - began_s < READY_TIMEOUT_S:
        try:
            # Without an event loop first: nearly all attempts end here, and must not disturb the start.
            with socket.create_connection(target.address, timeout=READY_TIMEOUT_S):
                pass
            uvloop.run(first_call(target))
        except (BadAnswer, OSError) as error:
            reason = str(error)
            time.sleep(POLL_S)
        else:
            return time.monotonic() - began_s
    raise RuntimeError(f"{run.process.args!r} is not ready: {reason}\n{run.tail()}")


@contextlib.contextmanager
def direct(directory: Path, seats: Seats) -> Iterator[list[Way]]:
    """A call by each era of MCP, which differ in what a request says."""
    port = free_port()
    command = [sys.executable, "-m", "bench.echo_http", "--port", str(port)]
    with started(command, cpu=seats.measured, log=directory / "direct.log") as run:
        target = Target("mcp", f"http://127.0.0.1:{port}/mcp")
        ready_s = wait_until_ready(run, target)
        yield [
            Way("direct", "direct HTTP", target, run, ready_s),
            Way("direct-modern", "direct, modern", Target("modern", target.url), run, ready_s),
        ]


@contextlib.contextmanager
def gateway(directory: Path, seats: Seats, **server_options: Any) -> Iterator[list[Way]]:
    """This gateway, its `echo` server for the load and two others; `server_options` are keys of theirs.

    The one called `modern` speaks 2026-07-28 alone, so that a call in that era meets no other on its way.
    """
    command = upstream_command(seats)
    servers = {"echo": command, "other": command, "modern": [*command, "--modern"]}
    with serving(directory, "gateway", seats, servers, **server_options) as (run, url):
        rest = Target("rest", f"{url}/api/tools/echo/echo")
        mcp = Target("mcp", f"{url}/mcp", "echo__echo")
        modern = Target("modern", f"{url}/mcp", "modern__echo")
        ready_s = wait_until_ready(run, rest)
        for target in (mcp, modern):
            wait_until_ready(run, target)
        yield [
            Way("rest", "gateway REST", rest, run, ready_s),
            Way("mcp", "gateway MCP", mcp, run, ready_s),
            Way("modern", "gateway, modern", modern, run, ready_s),
        ]


@contextlib.contextmanager
def serving(
    directory: Path, name: str, seats: Seats, servers: dict[str, list[str]], **server_options: Any
) -> Iterator[tuple[Started, str]]:
    """This gateway in front of servers over stdio, which have not all started yet; and its URL."""
    port = free_port()
    config = directory / f"{name}.json"
    entries = {
        id: {"command": command[0], "args": command[1:], **server_options} for id, command in servers.items()
    }
    config.write_text(json.dumps({"mcpServers": entries}))
    config.chmod(0o600)  # the gateway refuses a configuration that others may write, whatever our umask
    command = [sys.executable, "-m", "mcp_gateway", "serve", "--config", str(config)]
    command += ["--port", str(port), "--state-dir", str(directory / f"{name}-state")]
    with started(command, cpu=seats.measured, log=directory / f"{name}.log") as run:
        yield run, f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def gateway_http(directory: Path, seats: Seats) -> Iterator[list[Way]]:
    """This gateway in front of the server that a direct call reaches."""
    upstream_port, port = free_port(), free_port()
    upstream = [sys.executable, "-m", "bench.echo_http", "--port", str(upstream_port)]
    config = directory / "gateway-http.json"
    server = {"url": f"http://127.0.0.1:{upstream_port}/mcp", "type": "http"}
    config.write_text(json.dumps({"mcpServers": {"echo": server}}))
    config.chmod(0o600)
    command = [sys.executable, "-m", "mcp_gateway", "serve", "--config", str(config)]
    command += ["--port", str(port), "--state-dir", str(directory / "gateway-http-state")]
    with (
        started(upstream, cpu=seats.others, log=directory / "upstream-http.log") as echo,
        started(command, cpu=seats.measured, log=directory / "gateway-http.log") as run,
    ):
        wait_until_ready(echo, Target("mcp", f"http://127.0.0.1:{upstream_port}/mcp"))
        rest = Target("rest", f"http://127.0.0.1:{port}/api/tools/echo/echo")
        mcp = Target("mcp", f"http://127.0.0.1:{port}/mcp")
        ready_s = wait_until_ready(run, rest)
        wait_until_ready(run, mcp)
        yield [
            Way("rest-http", "REST to HTTP", rest, run, ready_s),
            Way("mcp-http", "MCP to HTTP", mcp, run, ready_s),
        ]


@contextlib.contextmanager
def mcpo(directory: Path, seats: Seats) -> Iterator[list[Way]]:
    port = free_port()
    command = [str(installed("mcpo") / "bin" / "mcpo"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--", *upstream_command(seats)]
    with started(command, cpu=seats.measured, log=directory / "mcpo.log") as run:
        target = Target("rest", f"http://127.0.0.1:{port}/echo")
        yield [Way("mcpo", "mcpo 0.0.20", target, run, wait_until_ready(run, target))]


@contextlib.contextmanager
def mcp_proxy(directory: Path, seats: Seats) -> Iterator[list[Way]]:
    port = free_port()
    command = [str(installed("mcp-proxy") / "bin" / "mcp-proxy"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--", *upstream_command(seats)]
    with started(command, cpu=seats.measured, log=directory / "mcp-proxy.log") as run:
        # With the slash: it answers the path without one by a redirect.
        target = Target("mcp", f"http://127.0.0.1:{port}/mcp/")
        yield [Way("mcp-proxy", "mcp-proxy 0.13.0", target, run, wait_until_ready(run, target))]


# ---- peers -----------------------------------------------------------------------------------------------


def _home(peer: str) -> Path:
    """Its virtual environment; other pins or another Python make another one."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    key = hashlib.sha256(repr((PEERS[peer], platform.python_version())).encode()).hexdigest()[:12]
    return Path(cache) / "mcp-gateway-bench" / f"{peer}-{key}"


def installed(peer: str) -> Path:
    """The virtual environment of a peer, installed on first use.

    Raises: subprocess.CalledProcessError, subprocess.TimeoutExpired.
    """
    home = _home(peer)
    done = home / "installed"
    if not done.exists():
        print(f"installing {' '.join(PEERS[peer])} (once)", file=sys.stderr, flush=True)
        subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(home)], check=True, timeout=INSTALL_TIMEOUT_S
        )
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEERS[peer]], check=True, timeout=INSTALL_TIMEOUT_S)
        done.touch()
    return home


def versions_of(peer: str) -> dict[str, str]:
    """What its environment holds of the packages that decide its speed."""
    libraries = (_home(peer) / "lib").glob("python*/site-packages")
    wanted = {peer, "mcp", "fastapi", "starlette", "uvicorn", "pydantic", "uvloop", "httptools"}
    found = importlib.metadata.distributions(path=[str(library) for library in libraries])
    versions = {name: one.version for one in found if (name := one.metadata["Name"].lower()) in wanted}
    return dict(sorted(versions.items()))
