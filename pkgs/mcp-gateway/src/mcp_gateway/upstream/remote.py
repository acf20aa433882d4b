"""The way to a remote server: one address, its pool of connections, and what can go wrong on the way.

Redirects are not followed, no cookie is kept, no compression asked for, no proxy of the environment
used: what goes where is what the operator wrote. Addresses are shown as host and port only, since a
path or a query may hold a secret. Knows nothing of MCP.
"""

import asyncio
import contextlib
import email.utils
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Final

import aiohttp
from yarl import URL

from mcp_gateway.clock import wall_s
from mcp_gateway.errors import Kind
from mcp_gateway.upstream.lifecycle import Ended, State
from mcp_gateway.upstream.link import Failure
from mcp_gateway.upstream.process import SpawnError

CONNECT_S: Final = 5.0
# Below what common servers allow an idle connection (5 s): a request must not meet a connection that is
# just being closed, because then nobody can say whether it was read.
KEEP_ALIVE_S: Final = 4.0
CLOSE_S: Final = 2.0
READ_BUFFER_BYTES: Final = 256 * 1024
RETRY_AFTER_MAX_S: Final = 60.0
EXCERPT_BYTES: Final = 2_048  # of a refusal, for the log of the server

REASONS: Final = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"} | {
    405: "Method Not Allowed",
    406: "Not Acceptable",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


# Names the gateway that asks, so that one that is its own server notices (security.md S45).
VIA: Final = "Mcp-Gateway-Via"
LOOP_DETECTED: Final = 508  # RFC 5842, section 7.2


class Trouble(Exception):
    """An exchange over HTTP came to nothing; `failure` is told to whoever waits for it.

    `counts`: against the server's transport; `is_down`: there is no way to it, nothing was sent;
    `is_cut`: the connection broke before an answer began; `ends`: the whole link is of no use any more.
    """

    def __init__(
        self,
        reason: str,
        kind: Kind = Kind.LOST,
        *,
        retry_after_s: float | None = None,
        counts: bool = True,
        is_down: bool = False,
        is_cut: bool = False,
        ends: Ended | None = None,
    ) -> None:
        super().__init__(reason)
        self.failure = Failure(kind, reason, retry_after_s)
        self.counts = counts
        self.is_down = is_down
        self.is_cut = is_cut
        self.ends = ends


class Remote:
    """Opened and closed by its link."""

    def __init__(self, url: str, headers: Mapping[str, str], instance: str) -> None:
        self._headers = {**headers, VIA: instance}
        self._client: aiohttp.ClientSession | None = None
        try:
            self.url = URL(url)
            self.shown = f"{self.url.host}:{self.url.port}"
        except ValueError:
            self.url = URL()
            self.shown = "its address"

    async def open(self) -> None:
        """Raises:
        SpawnError: the address is not one.
        """
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise SpawnError("its `url` is not a valid http or https address", permanent=True)
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            trust_env=False,
        )

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await client.close()

    def exchange(
        self, method: str, headers: Mapping[str, str], body: bytes | None = None, url: URL | None = None
    ) -> "Exchange":
        """One request; the block of `async with` reads the answer.

        Raises:
            Trouble: nothing came of it, also from within the block.
        """
        if self._client is None:
            raise Trouble("the connection to it was closed", counts=False)
        request = self._client.request(
            method, url or self.url, data=body, headers=headers, allow_redirects=False
        )
        return Exchange(self, request)

    def trouble(self, problem: Exception) -> Trouble:
        """What a failure of the client library means."""
        match problem:
            case aiohttp.ClientConnectorDNSError():
                return _down(f"the name {self.url.host} cannot be resolved")
            case aiohttp.ClientSSLError():
                return _down(f"no secure connection to {self.shown}: {_tls(problem)}")
            case aiohttp.ClientConnectorError():
                return _down(f"cannot connect to {self.shown}: {_words(problem.os_error)}")
            case aiohttp.ConnectionTimeoutError():
                return _down(f"{self.shown} did not take a connection within {CONNECT_S:g} s")
            case aiohttp.InvalidURL():
                return _down("its `url` is not a valid address")
            case aiohttp.ServerDisconnectedError() | ConnectionResetError() | BrokenPipeError():
                return Trouble("it closed the connection without an answer", is_cut=True)
            case aiohttp.ClientPayloadError():
                return Trouble("its answer was cut off")
            case aiohttp.ClientResponseError():
                return Trouble("its answer is not valid HTTP")
            case OSError():
                return Trouble(f"the connection broke: {_words(problem)}", is_cut=True)
        return Trouble("the connection broke")


class Exchange:
    """One request and its answer, with what can go wrong put into our words."""

    __slots__ = ("_remote", "_request")

    def __init__(self, remote: Remote, request: "aiohttp.client._RequestContextManager") -> None:
        self._remote = remote
        self._request = request

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            return await self._request.__aenter__()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as problem:
            raise self._remote.trouble(problem) from None

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._request.__aexit__(kind, problem, trace)
        if isinstance(problem, aiohttp.ClientError | ConnectionError):
            raise self._remote.trouble(problem) from None


def _down(reason: str) -> Trouble:
    return Trouble(reason, Kind.UNAVAILABLE, is_down=True)


def _words(problem: OSError) -> str:
    return os.strerror(problem.errno) if problem.errno and problem.errno > 0 else type(problem).__name__


def _tls(problem: Exception) -> str:
    cause = getattr(problem, "certificate_error", None) or getattr(problem, "os_error", None) or problem
    text = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or "it was refused"
    return str(text).replace("_", " ").lower()


def refusal(response: aiohttp.ClientResponse) -> Trouble:
    """What a status other than success means, where the body does not say it better."""
    status = response.status
    told = f"it answered HTTP {status} {REASONS.get(status, '')}".rstrip()
    if status == 401:
        ended = Ended("it asks for a login (HTTP 401 Unauthorized)", State.NEEDS_LOGIN)
        return Trouble(ended.reason, Kind.UNAVAILABLE, counts=False, ends=ended)
    if status == LOOP_DETECTED:
        ended = Ended("it is this gateway itself: a server cannot be its own server", State.FAILED)
        return Trouble(ended.reason, Kind.UNAVAILABLE, counts=False, ends=ended)
    if 200 <= status < 300:
        return Trouble(f"{told} to a request, which needs an answer", counts=False)
    if 300 <= status < 400:
        told += f", a redirect to {_host(response)}; it is not followed: write the final address into `url`"
        return Trouble(told, counts=False, ends=Ended(told, State.FAILED) if status in (301, 308) else None)
    if status in (429, 503):
        wait_s = retry_after_s(response.headers.get("retry-after"))
        kind = Kind.BUSY if status == 429 else Kind.UNAVAILABLE
        return Trouble(told, kind, retry_after_s=wait_s, counts=status == 503)
    return Trouble(told, counts=status >= 500)


def _host(response: aiohttp.ClientResponse) -> str:
    try:
        return URL(response.headers.get("location", "")).host or "another path"
    except ValueError:
        return "something that is no address"


def retry_after_s(value: str | None) -> float | None:
    """`Retry-After` in seconds (RFC 9110, section 10.2.3): a number or a date; at most a minute."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), RETRY_AFTER_MAX_S)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return min(max(0.0, at.timestamp() - wall_s()), RETRY_AFTER_MAX_S)


def secrets_of(url: str) -> list[str]:
    """The parts of an address that may be secret: a password, and the values of its query."""
    try:
        parsed = URL(url)
    except ValueError:
        return []
    return [value for value in (parsed.password, *parsed.query.values()) if value]


def is_compressed(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("content-encoding", "identity").lower() not in ("", "identity")


async def excerpt(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a body that nobody needs whole, for a person to read."""
    if is_compressed(response):
        return b""
    taken = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            while len(taken) < EXCERPT_BYTES and (part := await response.content.readany()):
                taken += part
    return bytes(taken[:EXCERPT_BYTES])
