"""Who is at the other end of a connection: the uid of the process that opened it, as the kernel tells it.

Owns the proof behind identity headers (security.md S06): every program on this machine, a server that we
started included, can reach a loopback port and write any header; only the kernel knows who they are. What
is proven is who *opened* the connection: a program that passes on the bytes of others vouches for them.
Knows no header and no right; `None` always means "not proven", never "nobody special".
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

PEER: Final = "mcp_gateway.peer"  # the key in the ASGI scope

_TABLES: Final = Path("/proc/self/net")
# The kernel writes a table page by page; a row may be passed over while others come and go, hardly twice.
_READINGS: Final = 2
_ESTABLISHED: Final = 1
_CREDENTIALS: Final = struct.Struct("=iII")  # pid, uid, gid
_NO_UID: Final = 0xFFFF_FFFF
_USUAL_OVERFLOW_UID: Final = 65_534
_ALL_UIDS: Final = ["0", "0", str(0xFFFF_FFFF)]

_MAPPED: Final = bytes(10) + b"\xff\xff"

_Address = IPv4Address | IPv6Address


class Peer:
    """The other end of one connection. Nothing is found out before somebody asks, and then once."""

    __slots__ = ("_asked", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._asked: asyncio.Future[int | None] | None = None

    async def uid(self) -> int | None:
        """The uid of the process that opened this connection; None when that cannot be proven."""
        if self._asked is None:
            self._asked = asyncio.ensure_future(uid_of(self._transport))
        # A request that is given up must not take the answer away from the next one.
        return await asyncio.shield(self._asked)


async def uid_of(transport: asyncio.Transport) -> int | None:
    """The uid of the process that opened a connection to us, over a unix socket or TCP on loopback."""
    if sys.platform != "linux" or transport.is_closing():
        return None
    ours = transport.get_extra_info("socket")
    if ours.family == socket.AF_UNIX:
        return _credentials(ours)
    client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    if not client or not server:
        return None  # left while we were about to look
    uid = await asyncio.to_thread(owner_of, client, server)
    # Looked at last: as long as our end has not even heard of a farewell, its port cannot have been taken
    # by somebody else, so what was read is about this connection and not about the next one.
    if transport.is_closing() or not _is_established(ours):
        return None
    return uid


def _credentials(ours: Any) -> int | None:
    """Of a unix socket, noted by the kernel when the client connected."""
    try:
        _, uid, _ = _CREDENTIALS.unpack(
            ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
    except OSError:
        return None
    return None if uid == _NO_UID else _named(uid)


def _is_established(ours: Any) -> bool:
    try:
        state: bytes = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return False
    return state[0] == _ESTABLISHED


def owner_of(client: tuple[Any, ...], server: tuple[Any, ...]) -> int | None:
    """The uid of the socket from which `client` speaks to `server`; reads the kernel's tables.

    Addresses are (host, port, ...), as `getpeername` and `getsockname` answer them.
    """
    here, there = _plain(client[0]), _plain(server[0])
    if not (here.is_loopback and there.is_loopback):
        return None
    for _ in range(_READINGS):
        for table, row in _rows(here, client[1], there, server[1]):
            uid = _in_table(_TABLES / table, row)
            if uid is not None:
                return _named(uid)
    return None


def _plain(host: str) -> _Address:
    """An IPv4 address is one however it is written: `::ffff:127.0.0.1` is how IPv6 sockets see it."""
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def _rows(here: _Address, port: int, there: _Address, its_port: int) -> Iterator[tuple[str, bytes]]:
    """In which tables a socket may be shown, and what its row would hold."""
    ends = ((here, port), (there, its_port))
    if here.version == 4:
        yield "tcp", _row(b"", *ends)
    # A socket of IPv6 may speak IPv4.
    yield "tcp6", _row(_MAPPED if here.version == 4 else b"", *ends)


def _row(prefix: bytes, *ends: tuple[_Address, int]) -> bytes:
    """Both ends and the state, as the kernel prints them: addresses in words of 32 bit, in its own order."""
    shown = []
    for address, port in ends:
        words = struct.iter_unpack("=I", prefix + address.packed)
        shown.append("".join(f"{word:08X}" for (word,) in words) + f":{port:04X}")
    return f" {' '.join(shown)} {_ESTABLISHED:02X} ".encode()


def _in_table(table: Path, row: bytes) -> int | None:
    try:
        with table.open("rb") as lines:
            for line in lines:
                if row in line:
                    fields = line.split()
                    # A socket that no process holds any more has no inode, and 0 stands where its uid was:
                    # that is nobody, and never root.
                    return int(fields[7]) if fields[9] != b"0" else None
    except OSError:
        pass  # no such table: IPv6 is off, or /proc is not for us to see
    return None


def _named(uid: int) -> int | None:
    return None if uid == _nameless() else uid


@cache
def _nameless() -> int | None:
    """The uid that stands for all users without one in our user namespace; None when there are none such."""
    try:
        if Path("/proc/self/uid_map").read_text().split() == _ALL_UIDS:
            return None
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except FileNotFoundError:
        return None  # a kernel without user namespaces
    except (OSError, ValueError):
        return _USUAL_OVERFLOW_UID
