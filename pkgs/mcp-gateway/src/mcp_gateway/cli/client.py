"""The REST client: one request at a time to one gateway, answers as bytes, failures as `Failure`.

Knows routes only as text. Leaving an event stream closes its connection, and that is what cancels a
call upstream.
"""

import asyncio
import functools
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from yarl import URL

from mcp_gateway.cli.failures import Failure, failure_of, lost, unreachable, unusable
from mcp_gateway.cli.options import KEY_VARIABLE, Asked
from mcp_gateway.cli.screen import say
from mcp_gateway.visible import safe

CONNECT_S: Final = 5.0
ANSWER_S: Final = 30.0  # of a request that reads or switches something
QUIET_S: Final = 60.0  # of a stream; the gateway gives a sign of life every 15 s
_KEY: Final = re.compile("[!-~]{1,1024}")

_T = TypeVar("_T")


def run(asked: Asked, work: "Callable[[Client], Awaitable[_T]]") -> _T:
    """Does the work with a client of the gateway that is meant; Ctrl-C ends it, closing its connection."""

    async def whole() -> _T:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session:
            return await work(Client(session, asked))

    try:
        return asyncio.run(whole())
    except Failure as failure:
        failure.as_json = asked.json
        raise


def segment(name: str) -> str:
    """A name as one segment of a path; a dot alone would be a step."""
    return quote(name, safe="").replace(".", "%2E") if set(name) == {"."} else quote(name, safe="")


def tool_path(tool: str) -> str:
    """The path of `SERVER/TOOL`; what follows the first slash is the tool's name, slashes included."""
    server, slash, name = tool.partition("/")
    if not (server and slash and name):
        raise unusable(f"`{tool}` is not of the form SERVER/TOOL, such as `time/get_current_time`")
    return f"/api/tools/{segment(server)}/{segment(name)}"


class Client:
    def __init__(self, session: aiohttp.ClientSession, asked: Asked) -> None:
        base, self._origin = asked.base()
        try:
            parts = urlsplit(base)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of a port that is none, or half an IPv6 address
            is_good = False
        if not is_good:
            raise unusable(f"`{base}` is not the URL of a gateway; it begins with http:// or https://")
        self.base = base.rstrip("/")
        self._session = session
        self._identity = _identity(asked)
        if "Authorization" in self._identity and not asked.json:
            _warn_of_plain_http(parts.scheme, str(parts.hostname))

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> bytes:
        return await self.send("GET", path, query=query)

    async def send(
        self, method: str, path: str, body: bytes | None = None, query: Mapping[str, Any] | None = None
    ) -> bytes:
        """One whole answer.

        Raises: Failure.
        """
        try:
            async with asyncio.timeout(ANSWER_S), self._request(method, path, body, query, {}) as answer:
                return await answer.read()
        except TimeoutError:
            raise unreachable(f"The gateway at {self.base} did not answer within {ANSWER_S:g} s") from None

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, Any] | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """One answer of any length, in pieces as they come.

        Raises: Failure, when it ends before it is whole, too.
        """
        async with self._request("GET", path, None, query, {}) as answer:
            yield answer.content.iter_any()

    @asynccontextmanager
    async def events(
        self, method: str, path: str, body: bytes | None = None, query: Mapping[str, Any] | None = None
    ) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        """The events of a stream that is open, (name, data), until its end.

        Raises: Failure.
        """
        accept = {"Accept": "text/event-stream"}
        async with self._request(method, path, body, query, accept) as answer:
            yield _events(answer.content.iter_any())

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        told = {name: value for name, value in (query or {}).items() if value is not None}
        url = URL(self.base + path + (f"?{urlencode(told)}" if told else ""), encoded=True)
        # Never along to another address: redirects are not followed.
        sent = {**self._identity, **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=sent,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=QUIET_S),
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise await self._problem(answer)
                yield answer
        except aiohttp.ClientConnectorError as problem:
            raise unreachable(
                f"No gateway answers at {self.base} ({self._origin}): {_why(problem.os_error)}. "
                "Start one with `mcp-gateway serve`, or name another with --url"
            ) from None
        except (aiohttp.ClientError, TimeoutError) as problem:
            if method == "POST":  # it was connected, so the call may have been sent
                raise lost("The connection to the gateway broke before the answer was whole") from None
            why = str(problem) or type(problem).__name__
            raise unreachable(f"The gateway at {self.base} cannot be reached: {why}") from None

    async def _problem(self, answer: aiohttp.ClientResponse) -> Failure:
        """What an answer that is no success says."""
        try:
            document = json.loads(await answer.content.read(1 << 20))
        except ValueError:
            document = None
        if isinstance(document, dict) and isinstance(document.get("code"), str):
            return failure_of(document)
        return unreachable(
            f"{self.base} answers with status {answer.status} and not as a gateway does; is the URL right"
        )


def _identity(asked: Asked) -> dict[str, str]:
    """The header that says who is asking.

    Raises: Failure for what no header can carry; it does not quote it.
    """
    if asked.code is not None:
        return {"Mcp-Gateway-Code": asked.code}
    if asked.key is None:
        return {}
    if _KEY.fullmatch(asked.key) is None:
        raise unusable(
            f"What ${KEY_VARIABLE} or the key's file holds is no key: it is one word of plain characters"
        )
    return {"Authorization": f"Bearer {asked.key}"}


@functools.cache  # once, however many requests a command makes
def _warn_of_plain_http(scheme: str, host: str) -> None:
    """A warning and no refusal: a gateway in the own network or behind a tunnel has no certificate, and who
    was refused would put the key into a program that says nothing."""
    if scheme == "http" and not is_here(host):
        shown = safe(host, lines=False)
        say(f"warning: the key travels to {shown} readable by everybody on the way; https hides it", err=True)


def is_here(host: str) -> bool:
    """Whether a name or address is surely this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(problem: OSError) -> str:
    return os.strerror(problem.errno) if problem.errno and problem.errno > 0 else str(problem)


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """Event streams as the gateway writes them; a line may be as large as a result."""
    name, data = "message", b""
    async for line in _lines(chunks):
        if line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
        elif line.startswith(b"data:"):
            data += line[5:].lstrip(b" ")
        elif not line:
            if data:
                yield name, data
            name, data = "message", b""


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines without their ends; linear in the length of a line, however many chunks it came in."""
    parts: list[bytes] = []
    async for chunk in chunks:
        first, *more = chunk.split(b"\n")
        parts.append(first)
        for rest in more:
            yield b"".join(parts).rstrip(b"\r")
            parts = [rest]
