"""Processes of another user, for what only the kernel can show: whose connection is it.

A child takes another uid, opens a connection and keeps it. It sends what it is told to, or hands the open
socket to the test, which then holds a socket that somebody else opened. Needs root: without it a test that
asks for another user is skipped aloud, and fails where nothing may be skipped.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

LIMIT_S: Final = 20
NOBODY: Final = 65_534
SOMEBODY: Final = 12_345  # no account anywhere
Address = str | tuple[Any, ...]

# argv: uid, where to connect (JSON), from where (JSON or null), the way back. Then one order a line.
_CHILD: Final = """
import json, os, socket, sys
uid, address, source = (json.loads(text) for text in sys.argv[1:4])
if uid != os.getuid():
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
tcp = not isinstance(address, str)
ours = socket.socket((socket.AF_INET6 if ":" in address[0] else socket.AF_INET) if tcp else socket.AF_UNIX)
if source:
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ours.bind(tuple(source))
ours.connect(tuple(address) if tcp else address)
keeper = socket.socket(fileno=int(sys.argv[4]))
print(json.dumps(ours.getsockname()), flush=True)
for line in sys.stdin:
    word, _, rest = line.rstrip("\\n").partition(" ")
    if word == "send":
        ours.sendall(bytes.fromhex(rest))
    elif word == "read":
        data = b""
        while not data.endswith(bytes.fromhex(rest)):
            data += ours.recv(65536) or sys.exit("closed after %r" % data)
        print(data.hex(), flush=True)
    elif word == "hand-over":
        socket.send_fds(keeper, [b"."], [ours.fileno()])
    elif word == "close":
        ours.close()
        print(flush=True)
"""


def need_root(why: str = "only root can start a process of another user") -> None:
    """For what needs another uid: a visible skip, or a failure where nothing may be skipped."""
    if os.getuid() == 0:
        return
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(why)
    pytest.skip(why)


class Stranger:
    """One process with one open connection."""

    def __init__(self, process: subprocess.Popen[str], handed: socket.socket) -> None:
        self._process = process
        self._handed = handed
        self.address: Address = _address(json.loads(self._read()))

    def send(self, data: bytes) -> None:
        self._tell("send", data)

    def read_until(self, end: bytes) -> bytes:
        self._tell("read", end)
        return bytes.fromhex(self._read())

    def close(self) -> None:
        self._tell("close")
        self._read()

    def hand_over(self) -> socket.socket:
        """The connection itself, for this process to use."""
        self._tell("hand-over")
        _, [number], _, _ = socket.recv_fds(self._handed, 1, 1)
        return socket.socket(fileno=number)

    def _tell(self, word: str, data: bytes = b"") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word} {data.hex()}\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the other process ended with {self._process.wait(LIMIT_S)}"
        return line.strip()


@contextmanager
def stranger(uid: int, address: Address, source: Address | None = None) -> Iterator[Stranger]:
    """A process of this user that has connected; it ends with the block."""
    if uid != os.getuid():
        need_root()
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT_S)
    arguments = [json.dumps(uid), json.dumps(address), json.dumps(source), str(theirs.fileno())]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    with process, ours:
        try:
            yield Stranger(process, ours)
        finally:
            process.kill()


@contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that other users can enter, with a path short enough for a socket; pytest's are neither."""
    with tempfile.TemporaryDirectory(prefix="gateway-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _address(name: Any) -> Address:
    return name if isinstance(name, str) else tuple(name)
