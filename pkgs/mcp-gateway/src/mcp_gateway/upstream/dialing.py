"""From an address to an open connection: the name, the first of its machines that answers, TLS.

Each step that fails has its own sentence. Knows nothing of HTTP.
"""

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

from aiohappyeyeballs import AddrInfoType, start_connection
from yarl import URL

from mcp_gateway.errors import Kind
from mcp_gateway.upstream.trouble import Trouble

CONNECT_S: Final = 5.0  # for the name, the connection and TLS together
NEXT_ADDRESS_S: Final = 0.25  # each address of a name has this head start (RFC 8305, section 5)
NAME_S: Final = 10.0  # the addresses of a name are used again so long

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Dialer:
    """Opens connections to one origin; made where its loop runs."""

    def __init__(self, url: URL) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = (url.raw_host or "").rstrip(".")
        self._port = url.port
        self._is_secure = url.scheme == "https"
        self._shown = f"{url.host}:{url.port}"
        self.lookup: asyncio.Task[list[AddrInfoType]] | None = None
        self._looked_up_at = 0.0

    async def dial(self, protocol: Callable[[], P]) -> P:
        """Raises:
        Trouble: there is no way to it.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await self._addresses()
                opened = await start_connection(
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, loop=self._loop
                )
                return await self._connected(opened, protocol)
        except TimeoutError:
            raise _down(f"{self._shown} did not take a connection within {CONNECT_S:g} s") from None
        except ssl.SSLError as problem:
            raise _down(f"no secure connection to {self._shown}: {words(problem)}") from None
        except OSError as problem:
            raise _down(f"cannot connect to {self._shown}: {words(problem)}") from None

    async def _connected(self, opened: socket.socket, protocol: Callable[[], P]) -> P:
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context, name = (trust(), self._host) if self._is_secure else (None, None)
            _, made = await self._loop.create_connection(
                protocol, sock=opened, ssl=context, server_hostname=name
            )
        except BaseException:
            opened.close()
            raise
        return made

    async def _addresses(self) -> list[AddrInfoType]:
        """Where the name leads: asked once for all who wait, and again after a while.

        Raises:
            Trouble: nowhere.
        """
        lookup = self.lookup
        is_stale = self._loop.time() - self._looked_up_at > NAME_S
        if lookup is None or (lookup.done() and (is_stale or not lookup.result())):
            lookup = self.lookup = self._loop.create_task(self._look_up())
        await asyncio.wait((lookup,))  # it goes on for others when this one is cancelled
        if lookup.cancelled() or not (found := lookup.result()):
            raise _down(f"the name {self._host} cannot be resolved")
        return found

    async def _look_up(self) -> list[AddrInfoType]:
        found: list[AddrInfoType] = []
        try:
            found += await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # the latter of what is no name: `a..b`, or too long
            return []
        self._looked_up_at = self._loop.time()
        return found

    async def close(self) -> None:
        if self.lookup is not None:
            self.lookup.cancel()
            await asyncio.wait((self.lookup,))


@functools.cache
def trust() -> ssl.SSLContext:
    """Whom this machine trusts; read once, and not before there is a server that needs it."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _down(reason: str) -> Trouble:
    return Trouble(reason, Kind.UNAVAILABLE, is_down=True)


def words(problem: Exception) -> str:
    """What happened, as the operating system or the TLS library calls it."""
    match problem:
        case ssl.SSLError():
            text = getattr(problem, "verify_message", None) or problem.reason or "it was refused"
            return text.replace("_", " ").lower()
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError():
            return "none of its addresses takes a connection"
    return type(problem).__name__
