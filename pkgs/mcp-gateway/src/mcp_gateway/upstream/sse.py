"""The link to a remote server over HTTP+SSE, the transport of revision 2024-11-05.

One event stream from the server for everything it says; its first event names the address that takes
what it is told. The stream is the connection: when it ends, the link is lost.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from yarl import URL

from mcp_gateway.catalog import Tool
from mcp_gateway.clock import now_s
from mcp_gateway.errors import Kind
from mcp_gateway.upstream.breaker import Breaker
from mcp_gateway.upstream.framing import Collector, TooLong
from mcp_gateway.upstream.lifecycle import Ended, State
from mcp_gateway.upstream.link import Failure, Peer, deliver
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.process import SpawnError
from mcp_gateway.upstream.remote import Remote, address, excerpt, is_compressed, is_same_origin, refusal
from mcp_gateway.upstream.trouble import Trouble
from mcp_gateway.wire.envelope import Params, notification, request_line
from mcp_gateway.wire.sse import EventReader

ENDPOINT_S: Final = 10.0  # from the stream's beginning to its first event
TAKE_S: Final = 30.0  # a message is taken at once; its answer comes on the stream
MAX_UNTAKEN: Final = 64  # messages of ours that have no answer and are still on their way
ENDPOINT_MAX_BYTES: Final = 8_192
STREAM_TYPE: Final = "text/event-stream"

logger = logging.getLogger(__name__)


class SseLink:
    """See `link.Link`."""

    pid: int | None = None
    exit: None = None

    def __init__(self, remote: Remote, peer: Peer, logs: LogRing, spool_dir: Path, cap_bytes: int) -> None:
        self._remote = remote
        self._peer = peer
        self._logs = logs
        self._spool_dir = spool_dir
        self._cap_bytes = cap_bytes
        self._breaker = Breaker()
        self._endpoint: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        self._stream: asyncio.Task[None] | None = None
        self._posts: dict[int, asyncio.Task[None]] = {}
        self._notes: asyncio.Task[None] | None = None
        self._untaken = 0
        self._lost: Ended | None = None
        self._closing = False
        self.has_spoken = False

    @property
    def lost_because(self) -> Ended | None:
        return self._lost

    async def open(self) -> None:
        await self._remote.open()
        self._stream = asyncio.create_task(self._listen())
        await asyncio.wait((self._stream, self._endpoint), timeout=ENDPOINT_S, return_when="FIRST_COMPLETED")
        if self._endpoint.done():
            return
        if self._lost is None:
            self._lost = Ended(f"its event stream named no address within {ENDPOINT_S:g} s")
        raise SpawnError(self._lost.reason, permanent=self._lost.into is State.FAILED)

    async def close(self) -> None:
        self._closing = True
        tasks = [task for task in (self._stream, self._notes, *self._posts.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._remote.close()

    # What `requests.py` says

    def agree(self, revision: str) -> None: ...

    def learn(self, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        return tools

    def request(
        self, number: int, method: str, params: Params, forwarded: Mapping[str, str] | None = None
    ) -> None:
        if self._lost is None and not self._closing:
            body = request_line(number, method, params)[:-1]
            self._posts[number] = asyncio.create_task(self._ask(number, body, forwarded))

    def cancel(self, number: int, reason: str) -> None:
        self.notify("notifications/cancelled", {"requestId": number, "reason": reason})

    def settle(self, number: int) -> None:
        # Its POST may still be under way: the answer can overtake the 202. It ends by itself.
        task = self._posts.get(number)
        if task is not None and task.done():
            del self._posts[number]

    def notify(self, method: str, params: Params | None = None) -> None:
        self._tell(notification(method, params))

    def answer(self, response: bytes) -> None:
        # A server that asks faster than it takes answers has to do without some.
        if self._untaken < MAX_UNTAKEN:
            self._tell(response)

    def check(self, now: float) -> None: ...

    def _tell(self, body: bytes) -> None:
        """What has no answer goes out in its order, and before any later request."""
        before = self._notes

        async def tell() -> None:
            try:
                if before is not None:
                    await asyncio.wait((before,))
                with contextlib.suppress(Trouble):
                    await self._post(body)
            finally:
                self._untaken -= 1

        if self._lost is None and not self._closing:
            self._untaken += 1
            self._notes = asyncio.create_task(tell())

    # Sending

    async def _ask(self, number: int, body: bytes, forwarded: Mapping[str, str] | None) -> None:
        began = now_s()
        try:
            if self._notes is not None and not self._notes.done():
                await asyncio.wait((self._notes,))
            await self._post(body, forwarded)
            self._breaker.count(now_s(), began, failed=False)
        except Trouble as trouble:
            self._peer.failed(number, trouble.failure)
            self._count(trouble, began)
        except Exception:  # a bug of ours must not leave a caller waiting
            logger.exception("a request to a remote server")
            self._peer.failed(number, Failure(Kind.INTERNAL, "the gateway made a mistake"))
        finally:
            self._posts.pop(number, None)

    async def _post(self, body: bytes, forwarded: Mapping[str, str] | None = None) -> None:
        headers = {**(forwarded or {}), "Content-Type": "application/json"}
        url = self._endpoint.result()
        try:
            async with asyncio.timeout(TAKE_S), self._remote.exchange("POST", headers, body, url) as response:
                said = await excerpt(response)
                if not 200 <= response.status < 300:
                    self._log(response.status, said)
                    raise refusal(response, is_personal=forwarded is not None)
        except TimeoutError:
            raise Trouble(f"it did not take a message within {TAKE_S:g} s") from None

    def _count(self, trouble: Trouble, began: float) -> None:
        now = now_s()
        if trouble.ends is not None:
            self._lose(trouble.ends)
        elif trouble.counts:
            self._breaker.count(now, began, failed=True)
            if self._breaker.is_open(now):
                self._lose(Ended(trouble.failure.reason, wait_s=trouble.failure.retry_after_s or 0.0))

    def _log(self, status: int, said: bytes) -> None:
        if said.strip():
            self._logs.add("http", b"HTTP %d: %b" % (status, b" ".join(said.split())))

    # Receiving

    async def _listen(self) -> None:
        try:
            await self._read()
            ended = Ended("its event stream ended")
        except Trouble as trouble:
            wait_s = trouble.failure.retry_after_s or 0.0
            ended = trouble.ends or Ended(trouble.failure.reason, wait_s=wait_s)
        except TooLong as problem:
            ended = Ended(f"it sent {problem}")
        except OSError as problem:
            ended = Ended(f"its large answer could not be put on disk: {problem.strerror}")
        except Exception:
            logger.exception("the event stream of a remote server")
            ended = Ended("the gateway made a mistake")
        self._lose(ended)

    async def _read(self) -> None:
        async with self._remote.exchange("GET", {"Accept": STREAM_TYPE}) as response:
            if response.status != 200:
                self._log(response.status, await excerpt(response))
                raise refusal(response)
            if response.content_type != STREAM_TYPE or is_compressed(response):
                shown = self._logs.redact(response.content_type[:80])
                raise Trouble(f"it answered with {shown}, not with an event stream", counts=False)
            self.has_spoken = True
            reader = EventReader(lambda: Collector(self._spool_dir, self._cap_bytes), self._event)
            async for part in response:
                reader.feed(part)

    def _event(self, name: str, body: Any) -> None:
        if name == "endpoint":
            self._take_endpoint(body[:ENDPOINT_MAX_BYTES] if isinstance(body, bytes) else b"")
        elif name == "message" and body != b"":
            deliver(self._peer, body)

    def _take_endpoint(self, said: bytes) -> None:
        """Where messages go: a path of the same origin, for what we send may hold secrets."""
        if self._endpoint.done():
            return  # one that changes under way would be another server
        try:
            endpoint = self._remote.url.join(address(said.decode().strip()))
            is_ours = is_same_origin(endpoint, self._remote.url)
        except ValueError:
            is_ours = False
        if not is_ours:
            ended = Ended("it wants its messages sent to another origin than its own", State.FAILED)
            raise Trouble(ended.reason, ends=ended)
        self._endpoint.set_result(endpoint)

    def _lose(self, ended: Ended) -> None:
        if self._lost is None and not self._closing:
            self._lost = ended
            self._peer.lost(ended)
