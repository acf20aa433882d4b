"""The way to a remote server: one address, its pool of connections, and what its refusals mean.

Redirects are not followed, no cookie is kept, no compression asked for, no proxy of the environment
used: what goes where is what the operator wrote. Addresses are shown as host and port only, since a
path or a query may hold a secret. Knows nothing of MCP.
"""

import asyncio
import contextlib
import email.utils
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from yarl import URL

from mcp_gateway.clock import wall_s
from mcp_gateway.errors import Kind
from mcp_gateway.upstream.lifecycle import Ended, State
from mcp_gateway.upstream.pool import Pool, Response
from mcp_gateway.upstream.process import SpawnError
from mcp_gateway.upstream.trouble import Trouble

RETRY_AFTER_MAX_S: Final = 60.0
EXCERPT_BYTES: Final = 2_048  # of a refusal, for the log of the server
EXCERPT_S: Final = 2.0
# Says where a message begins and ends, and who may use the connection: never for a configuration to say.
FRAMING: Final = frozenset(
    {"content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
)
# The characters of a URI (RFC 3986, section 2); anything else has to be escaped before it is sent.
_WRITTEN: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

# Names the gateway that asks, so that one that is its own server notices (security.md S45).
VIA: Final = "Mcp-Gateway-Via"
LOOP_DETECTED: Final = 508  # RFC 5842, section 7.2


class Remote:
    """Opened and closed by its link."""

    def __init__(self, url: str, headers: Mapping[str, str], instance: str) -> None:
        self._headers = {**headers, VIA: instance}
        self._pool: Pool | None = None
        try:
            self.url = address(url)
        except ValueError:
            self.url = URL()

    async def open(self) -> None:
        """Raises:
        SpawnError: the address is not one, or the headers are none that can be sent.
        """
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise SpawnError("its `url` is not a valid http or https address", permanent=True)
        framing = [name for name in self._headers if name.lower() in FRAMING]
        if framing:
            raise SpawnError(f"`{framing[0]}` in its `headers` is for the gateway to write", permanent=True)
        try:
            self._pool = Pool(self.url, self._headers)
        except ValueError as problem:
            raise SpawnError(f"its `headers` cannot be sent: one {problem}", permanent=True) from None

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    def exchange(
        self, method: str, headers: Mapping[str, str], body: bytes | None = None, url: URL | None = None
    ) -> Response:
        """One request; the block of `async with` reads the answer.

        Raises:
            Trouble: nothing came of it, also from within the block.
        """
        if self._pool is None:
            raise Trouble("the connection to it was closed", counts=False)
        return self._pool.exchange(method, headers, body, url or self.url)


def address(text: str) -> URL:
    """An address with its escapes as they are written, where that is valid; `yarl` would write some anew.

    Raises:
        ValueError: it is none.
    """
    return URL(text, encoded=_WRITTEN.fullmatch(text) is not None)


def is_same_origin(one: URL, other: URL) -> bool:
    return _origin(one) == _origin(other)


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, (url.raw_host or "").lower(), url.port


def refusal(response: Response, *, is_personal: bool = False) -> Trouble:
    """What a status other than success means, where the body does not say it better.

    `is_personal`: headers of one caller came along, or were missing; whoever is refused is that caller.
    """
    status = response.status
    told = f"it answered HTTP {status} {_phrase(status)}".rstrip()
    if is_personal and status in (401, 403):
        told = f"{told} to the headers that are passed on for this caller"
        return Trouble(told, Kind.REFUSED, counts=False, is_personal=True)
    if is_personal and status == 429:
        wait_s = retry_after_s(response.headers.get("retry-after"))
        return Trouble(told, Kind.BUSY, retry_after_s=wait_s, counts=False, is_personal=True)
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


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _host(response: Response) -> str:
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


def is_compressed(response: Response) -> bool:
    return response.headers.get("content-encoding", "identity").lower() not in ("", "identity")


async def excerpt(response: Response) -> bytes:
    """The beginning of a body that nobody needs whole, for a person to read."""
    if is_compressed(response):
        return b""
    taken = bytearray()
    with contextlib.suppress(Trouble, TimeoutError):
        async with asyncio.timeout(EXCERPT_S):
            async for part in response:
                taken += part
                if len(taken) >= EXCERPT_BYTES:
                    break
    return bytes(taken[:EXCERPT_BYTES])
