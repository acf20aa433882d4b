"""HTTP/1.1 by the byte, for a server that has to be able to get it wrong.

One thread, one selector, non-blocking sockets. A `Response` writes exactly what it is told: a right head
and body, half of one, two, a chunk that never ends, or a reset. Knows nothing of MCP. Standard library
only and no asyncio, whose import alone takes longer than everything else here.
"""

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count as counter

READ_CHUNK = 1 << 16
WRITE_SHARE = 1 << 20  # written to one client before others have their turn
MOST_HEAD_BYTES = 1 << 20
TLS_HELLO = b"\x16"  # how a client begins that took this for HTTPS
REASONS = {200: "OK", 202: "Accepted", 204: "No Content", 302: "Found", 307: "Temporary Redirect"} | {
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
Headers = Sequence[tuple[str, str]]


def would_block(problem: OSError) -> bool:
    """Whether a socket, or the TLS over it, only asks for patience."""
    return isinstance(problem, BlockingIOError) or type(problem).__name__.startswith("SSLWant")


class Loop:
    """Sockets and timers, in the order they become due."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.order = counter()

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        heappush(self.timers, (time.monotonic() + seconds, next(self.order), then))

    def soon(self, then: Callable[[], None]) -> None:
        """Runs `then` when everything that runs now is through."""
        self.after(0, then)

    def run(self) -> None:
        while True:
            wait_s = None
            while self.timers:
                wait_s = self.timers[0][0] - time.monotonic()
                if wait_s > 0:
                    break
                heappop(self.timers)[2]()
                wait_s = None
            for key, events in self.selector.select(wait_s):
                key.data(events)


class Request:
    """One request, read to its end."""

    def __init__(self, verb: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.verb = verb
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.headers = headers  # names in lower case, values without the space around them
        self.body = body

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known == name), None)

    def repeats(self, name: str) -> bool:
        return sum(known == name for known, _ in self.headers) > 1


class Listener:
    """Accepts connections on a loopback port and hands each of their requests to `serve`."""

    def __init__(
        self,
        loop: Loop,
        serve: Callable[[Request, "Response"], None],
        port: int = 0,
        backlog: int = 128,
        certificate: str = "",
    ) -> None:
        self.loop = loop
        self.serve = serve
        self.connections = 0
        self.open = 0
        self.wrap: Callable[[socket.socket], socket.socket] | None = None
        if certificate:
            import ssl  # slow to import, and rarely wanted

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is done by the first read, as everything else without blocking.
            self.wrap = partial(context.wrap_socket, server_side=True, do_handshake_on_connect=False)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(backlog)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]

    def accept(self) -> None:
        """Begins to accept; until then the kernel does, up to the backlog."""
        self.loop.selector.register(self.socket, selectors.EVENT_READ, self.take)

    def take(self, events: int) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            peer.setblocking(False)
            Connection(self, peer if self.wrap is None else self.wrap(peer))


class Connection:
    """One client: its bytes in, its requests one at a time, its bytes out."""

    def __init__(self, listener: Listener, peer: socket.socket) -> None:
        self.listener = listener
        self.loop = listener.loop
        self.socket = peer
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming = bytearray()
        self.outgoing: deque[memoryview | Iterator[bytes] | Callable[[], None]] = deque()
        self.response: Response | None = None  # the one under way
        self.served = 0
        self.keeps = True  # False: closed after the response under way
        self.closed = False
        self.listening_to = selectors.EVENT_READ
        listener.open += 1
        self.loop.selector.register(peer, self.listening_to, self.turn)

    def turn(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            self.read()
        if events & selectors.EVENT_WRITE and not self.closed:
            self.flush()

    def read(self) -> None:
        while not self.closed:
            try:
                chunk = self.socket.recv(READ_CHUNK)
            except OSError as problem:
                if would_block(problem):
                    return
                chunk = b""
            if not chunk:
                self.close()
                return
            self.incoming += chunk
            self.parse()

    def parse(self) -> None:
        """Serves the next request, if it is there and the one before it is through."""
        if self.response is not None or self.closed:
            return
        end = self.incoming.find(b"\r\n\r\n")
        if end < 0:
            if self.incoming[:1] == TLS_HELLO:
                self.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                self.write(self.close)
            elif len(self.incoming) > MOST_HEAD_BYTES:
                self.close()
            return
        first, *lines = self.incoming[:end].decode("latin-1").split("\r\n")
        headers = [
            (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
        ]
        known = dict(headers)
        if known.get("transfer-encoding", "").lower() == "chunked":
            taken = self.chunked(end + 4)
        else:
            length = int(known.get("content-length", "0"))
            after = end + 4 + length
            taken = (bytes(self.incoming[end + 4 : after]), after) if len(self.incoming) >= after else None
        if taken is None:
            return
        body, after = taken
        del self.incoming[:after]
        verb, target, version = first.split(" ", 2)
        if known.get("connection", "").lower() == "close" or version == "HTTP/1.0":
            self.keeps = False
        self.response = Response(self)
        self.listener.serve(Request(verb, target, headers, body), self.response)

    def chunked(self, at: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while (line_end := self.incoming.find(b"\r\n", at)) >= 0:
            size = int(self.incoming[at:line_end].partition(b";")[0], 16)
            start, end = line_end + 2, line_end + 2 + size
            if len(self.incoming) < end + 2:
                return None
            if size == 0:
                return bytes(body), end + 2
            body += self.incoming[start:end]
            at = end + 2
        return None

    def write(self, item: bytes | Iterator[bytes] | Callable[[], None]) -> None:
        """Queues bytes, bytes still to be made, or something to do once all before it is written."""
        if not self.closed:
            self.outgoing.append(memoryview(item) if isinstance(item, bytes) else item)
            self.flush()

    def flush(self) -> None:
        share = WRITE_SHARE
        while self.outgoing and share > 0 and not self.closed:
            item = self.outgoing[0]
            if isinstance(item, memoryview):
                try:
                    sent = self.socket.send(item)
                except OSError as problem:
                    if would_block(problem):
                        break
                    self.close()
                    return
                share -= sent
                if sent == len(item):
                    self.outgoing.popleft()
                else:
                    self.outgoing[0] = item[sent:]
            elif isinstance(item, Iterator):
                chunk = next(item, None)
                if chunk is None:
                    self.outgoing.popleft()
                else:
                    self.outgoing.appendleft(memoryview(chunk))
            else:
                self.outgoing.popleft()
                item()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outgoing else 0)
        if not self.closed and wanted != self.listening_to:
            self.listening_to = wanted
            self.loop.selector.modify(self.socket, wanted, self.turn)

    def next(self) -> None:
        """The response under way is written: the connection is free, or at its end."""
        self.response = None
        self.served += 1
        if self.keeps:
            self.loop.soon(self.parse)
        else:
            self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.listener.open -= 1
        self.outgoing.clear()
        self.loop.selector.unregister(self.socket)
        self.socket.close()
        response, self.response = self.response, None
        if response is not None and not response.ended:
            response.lose()

    def reset(self) -> None:
        """Closes with a reset: what the client has not read yet may be lost to it."""
        if not self.closed:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()


class Response:
    """What is written for one request. Nothing is checked: every wrong order is somebody's test."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.begun = False
        self.ended = False
        self.lost = False  # the client left, or we cut it off, before the end
        self.is_cut = False  # it was us
        self.is_chunked = False
        self.when_lost: Callable[[], None] | None = None

    def lose(self) -> None:
        self.lost = True
        if self.when_lost is not None:
            self.when_lost()

    def raw(self, data: bytes) -> None:
        self.begun = True
        self.connection.write(data)

    def head(self, status: int, headers: Headers = (), length: int | None = None, body: bytes = b"") -> None:
        """A head; without a length the body comes in chunks. With `body`, both are written as one."""
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.is_chunked = length is None
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def body(self, data: bytes) -> None:
        if data:
            self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data)

    def lazily(self, parts: Iterator[bytes]) -> None:
        """A body that is made while the client reads it."""
        if self.is_chunked:
            self.connection.write(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        else:
            self.connection.write(parts)

    def end(self) -> None:
        if self.ended or self.lost:
            return
        if self.is_chunked:
            self.raw(b"0\r\n\r\n")
        self.ended = True
        self.connection.write(self.connection.next)

    def whole(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        self.head(status, headers, len(body), body)
        self.end()

    def cut(self) -> None:
        """Closes after what was written so far, as if that had been all."""
        self.is_cut = True
        self.connection.write(self.connection.close)

    def reset(self) -> None:
        """Closes with a reset once what was written is with the kernel."""
        self.is_cut = True
        self.connection.write(self.connection.reset)
