"""The server behind `hostile_http.py`: a remote MCP server by the book, with places to go wrong.

It speaks Streamable HTTP of the handshake era, of the modern era, of both at one endpoint, or HTTP+SSE of
2024-11-05. The tools, and everything a server can get wrong in a JSON-RPC message, are those of
`hostile.py`. What goes wrong in HTTP is registered here by the modes, in one of these places: `instead` of
looking at a request at all, on the `way` of a right answer back, or on a stream just opened with GET.
"""

import binascii
import json
import os
import re
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import count as counter
from itertools import pairwise
from typing import Any

from tests import hostile
from tests.bare_http import Headers, Listener, Loop, Request, Response
from tests.hostile import HANDSHAKE_REVISIONS, INVALID_PARAMS, META, METHOD_NOT_FOUND, MODERN_REVISION, Call

INVALID_REQUEST = -32600
PARSE_ERROR = -32700
HEADER_MISMATCH = -32020
# What the modern revision wants as the HTTP status of a JSON-RPC error; 200 for any other.
STATUS_OF = dict.fromkeys(
    (PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, HEADER_MISMATCH, -32021, hostile.UNSUPPORTED_VERSION), 400
) | {METHOD_NOT_FOUND: 404}
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
POLLING_SINCE = "2025-11-25"  # older clients may stumble over an event without data
KEPT_EVENTS = 1000  # per stream, for clients that come back
KEPT_HEADERS = 200  # kinds of requests whose last headers are remembered

CERTIFICATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "remote", "certificates")
JSON_TYPE = ("Content-Type", "application/json")
SSE_HEAD = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
)
PUSHED = re.compile(rb'\{"jsonrpc":"2\.0",("id":("[^"]*"|[^,"]*),)?"method"')
SENTINEL = re.compile(r"=\?base64\?(.*)\?=")
SAFE = re.compile(r"[\x20-\x7e\t]*")
DECIMAL = re.compile(r"-?[0-9]+(\.0+)?")
LIST_CHANGED = hostile.encode({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})


class Options(hostile.Options):
    """As over stdio, and what only HTTP has. Flags are 0 or 1."""

    def __init__(self, argv: list[str]) -> None:
        self.transport = "streamable"  # or sse
        self.port = 0
        self.port_file = ""
        self.answers = "mixed"  # json, sse, or mixed: JSON unless something is said before the answer
        self.get = 1  # the handshake era's stream for messages of the server
        self.sessions = 1
        self.event_ids = 1
        self.retry_ms = 50  # the `retry` of a stream that asks to come back; 0 is none
        self.revision = ""  # what initialize answers; what was asked for, if empty
        self.tls = ""  # serve HTTPS with the certificate of that name: good, expired, elsewhere
        self.token = ""  # the bearer token without which everything is 401
        self.on = ""  # which requests are hit; what the mode finds right, if empty
        self.status = 500  # of mode `status`
        self.retry_after = "1"  # seconds, "date:SECONDS", "none", or anything at all
        self.discover = 400  # how a server of the handshake era refuses the modern question
        self.sse_post = 405  # how a server of HTTP+SSE refuses a POST to its stream's address
        self.endpoint = "relative"  # or absolute, or path: how HTTP+SSE names its POST address
        self.pace_ms = 0  # between two bytes or beats; 0 is what the mode finds right
        super().__init__(argv)


class Seen:
    """What arrived so far, for tests to ask."""

    def __init__(self) -> None:
        self.verbs: dict[str, int] = {}
        self.methods: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.cancelled: list[Any] = []
        self.get_streams: list[str | None] = []  # the Last-Event-ID of each
        self.get_times: list[float] = []
        self.counts = dict.fromkeys(
            (
                "hits",
                "sessionsOpened",
                "sessionsDeleted",
                "sessionsUnknown",
                "sessionsMissing",
                "withoutVersion",
                "otherVersion",
                "hungUp",
                "disconnected",
                "undelivered",
                "afterTheEnd",
                "strayAnswers",
                "answers",
                "unreadable",
                "metadata",
                "refusedTokens",
                "decoyRequests",
                "decoyCredentials",
            ),
            0,
        )

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def get_stream(self, last: str | None) -> None:
        self.get_streams.append(last)
        self.get_times.append(time.monotonic())


class Stream:
    """An event stream: its events, and the response that carries it now, if one does."""

    def __init__(self, twin: "Twin", name: str = "") -> None:
        self.twin = twin
        self.name = name  # empty: without event ids, so nobody can come back to it
        self.number = 0
        self.events: deque[tuple[int, bytes]] = deque(maxlen=KEPT_EVENTS)
        self.response: Response | None = None
        self.finished = False

    def attach(self, response: Response, headers: Headers = (), after: int | None = None) -> None:
        if self.response is not None:
            self.response.end()  # each message goes to one connection only, and the newest is it
        self.response = response
        if not response.begun:
            response.head(200, (*SSE_HEAD, *headers))
        for number, block in self.events:
            if after is not None and number > after:
                response.body(block)
        if self.finished:
            response.end()

    def emit(self, line: bytes) -> None:
        self.put(b"event: message\n", b"data: " + line + b"\n\n")

    def prime(self, retry_ms: int) -> None:
        """An event that carries nothing but its id, and how long to wait before coming back."""
        self.put(b"", (b"retry: %d\n" % retry_ms if retry_ms else b"") + b"data: \n\n")

    def put(self, before: bytes, after: bytes) -> None:
        self.number += 1
        if self.name:
            block = before + b"id: %b-%d\n" % (self.name.encode(), self.number) + after
            self.events.append((self.number, block))
        else:
            block = before + after
        if self.response is None or self.response.lost:
            self.twin.seen.count("undelivered")
        else:
            self.response.body(block)

    def release(self) -> None:
        """Closes the connection and keeps the stream: the client may come back to it."""
        if self.response is not None:
            response, self.response = self.response, None
            response.end()

    def finish(self) -> None:
        self.finished = True
        self.release()

    def leave(self) -> Response | None:
        """Takes the stream off its connection, to be spoilt by the caller; who comes back finds an end."""
        self.finished = True
        response, self.response = self.response, None
        return response


class Session:
    """One session of the handshake era. With HTTP+SSE, all of it goes over its one stream."""

    def __init__(self, twin: "Twin", name: str) -> None:
        self.twin = twin
        self.name = name
        self.revision = ""
        self.running: dict[Any, Call] = {}
        self.waiting_for: dict[Any, Callable[[dict[str, Any]], None]] = {}
        self.names = counter()
        self.streams: dict[str, Stream] = {}
        self.standalone = self.new_stream()

    def new_stream(self) -> Stream:
        stream = Stream(self.twin, f"s{next(self.names)}" if self.twin.options.event_ids else "")
        if stream.name:
            self.streams[stream.name] = stream
        return stream

    def end(self) -> None:
        """Forgets everything; calls under way lose their connections without a word."""
        for call in list(self.running.values()):
            if isinstance(call.server, Exchange):
                call.server.withdraw(cut=True)
        self.running.clear()
        self.standalone.finish()


class Exchange(hostile.Server):
    """One request of a client. To a tool it is the server; where answers go is decided here."""

    options: Options

    def __init__(
        self, twin: "Twin", request: Request, response: Response, session: Session | None, era: str
    ) -> None:
        super().__init__(twin.options)
        self.twin = twin
        self.request = request
        self.response = response
        self.session = session
        self.era = era
        self.methods = twin.seen.methods
        self.cancelled = twin.seen.cancelled
        if session is not None:
            self.running = session.running
            self.waiting_for = session.waiting_for
        self.headers: list[tuple[str, str]] = []
        self.status = 200
        self.stream: Stream | None = None
        self.is_shared = False  # the stream is the session's, and outlives this exchange
        self.sideways = False  # what is not the answer goes over the GET stream
        self.answered = False
        self.ended = False
        self.borrowed = ""  # the mode `act` was asked to borrow
        self.way: Way | None = None
        self.subscription: dict[str, Any] | None = None  # the mark of what is sent to a listener
        response.when_lost = self.lose

    @property
    def mode(self) -> str:
        return self.borrowed or super().mode

    # -- writing ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            if line:
                self.put(line)

    def put(self, line: bytes) -> None:
        is_pushed = PUSHED.match(line) is not None
        if self.ended:
            self.twin.seen.count("afterTheEnd")
        elif is_pushed and self.sideways and self.session is not None:
            self.session.standalone.emit(line)
        elif not is_pushed and self.way is not None:
            way, self.way = self.way, None
            self.answered = True
            way(self, line)
        elif self.stream is None and is_pushed and self.options.answers == "json":
            self.twin.seen.count("undelivered")
        elif self.stream is None and not is_pushed and (self.options.answers != "sse" or self.status != 200):
            self.ended = self.answered = True
            self.twin.plain(self.response, self.status, (JSON_TYPE, *self.headers), line)
        else:
            self.events().emit(line)
            if not is_pushed and not self.answered:
                self.answered = True
                self.twin.loop.soon(self.finish)

    def events(self) -> Stream:
        """The stream of this exchange, opened if need be."""
        if self.stream is None:
            polls = self.session is not None and self.session.revision >= POLLING_SINCE
            self.stream = Stream(self.twin) if self.session is None else self.session.new_stream()
            self.stream.attach(self.response, self.headers)
            if polls and self.stream.name:
                self.stream.prime(self.options.retry_ms)
        return self.stream

    def wire(self) -> Response:
        """The response that carries the stream of this exchange, for bytes that are not events."""
        return self.events().response or self.response

    def leave(self) -> Response:
        """The response that carries the stream, which ends here: whatever becomes of the connection."""
        self.ended = True
        return self.events().leave() or self.response

    def finish(self) -> None:
        self.ended = True
        if self.stream is not None and not self.is_shared:
            self.stream.finish()

    def withdraw(self, cut: bool = False) -> None:
        """Ends without an answer: the call was cancelled, or the session is gone."""
        self.ended = True
        if self.is_shared:
            return
        if cut:
            self.wire_or_response().cut()
        else:
            self.events().finish()

    def wire_or_response(self) -> Response:
        return self.response if self.stream is None or self.stream.response is None else self.stream.response

    def lose(self) -> None:
        """The client closed the connection: with the modern era, and only with it, that is a cancellation."""
        if self.era == "modern":
            if not self.answered and not self.response.is_cut:
                self.twin.seen.count("hungUp")
            self.ended = True
            self.running.clear()
            if self in self.twin.listeners:
                self.twin.listeners.remove(self)
        elif not self.response.is_cut:
            self.twin.seen.count("disconnected")

    def refuse(self, request_id: Any, code: int, message: str, data: Any = None) -> None:
        if self.era == "modern":
            self.status = STATUS_OF.get(code, 200)
        super().refuse(request_id, code, message, data)

    def decoy_port(self) -> int:
        return self.twin.decoy.port

    # -- time ---------------------------------------------------------------------------------------

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        self.twin.loop.after(seconds, then)

    def pace_s(self, default_ms: int) -> float:
        return (self.options.pace_ms or default_ms) / 1000

    # -- reading ------------------------------------------------------------------------------------

    def take_request(self, message: dict[str, Any]) -> None:
        method = message["method"]
        twist = ANSWERS.get((self.mode, method))
        if twist is not None:
            twist(self, message)
        elif method == "tools/call":
            self.take_call(Call(self, message))
        elif (plain := PLAIN.get(method)) is not None and self.era in plain[0]:
            plain[1](self, message)
        else:
            self.refuse(message["id"], METHOD_NOT_FOUND, f"Method not found: {method}")

    def take_call(self, call: Call) -> None:
        calls = self.twin.seen.calls
        calls[str(call.name)] = calls.get(str(call.name), 0) + 1
        self.running[call.id] = call
        tool = TOOLS.get(call.name or "")
        if tool is not None:
            tool[1](self, call)
        elif call.name in hostile.dummy_names(self.options.tools):
            call.reply(f"{call.name} did nothing")
        else:
            self.refuse(call.id, INVALID_PARAMS, f"Unknown tool: {call.name}")


class Twin:
    """The whole server: its ports, its sessions, and what it has seen."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.seen = Seen()
        self.loop = Loop()
        self.sessions: dict[str, Session] = {}
        self.names = counter(1)
        self.listeners: list[Exchange] = []  # open subscriptions of the modern era
        self.region_header = "Region"  # `header-shift` changes it under the client
        self.crowd: list[socket.socket] = []
        backlog = 0 if options.mode == "no-accept" else 128
        certificate = os.path.join(CERTIFICATES, f"{options.tls}.pem") if options.tls else ""
        self.main = Listener(self.loop, self.serve, options.port, backlog, certificate)
        self.decoy = Listener(self.loop, self.serve_decoy)
        self.control = Listener(self.loop, self.serve_control)
        for listener in (self.decoy, self.control):
            listener.accept()
        if options.mode == "no-accept":
            self.fill_the_backlog()
        else:
            self.main.accept()

    @property
    def origin(self) -> str:
        return f"http{'s' if self.options.tls else ''}://127.0.0.1:{self.main.port}"

    @property
    def decoy_origin(self) -> str:
        return f"http://127.0.0.1:{self.decoy.port}"

    def fill_the_backlog(self) -> None:
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", self.main.port))
            self.crowd.append(waiting)

    def announce(self) -> None:
        ports = f"{self.main.port} {self.control.port} {self.decoy.port}\n"
        if not self.options.port_file:
            print(ports, end="", flush=True)
            return
        partial = self.options.port_file + ".partial"
        with open(partial, "w", encoding="ascii") as file:
            file.write(ports)
        os.rename(partial, self.options.port_file)

    # -- the two ports beside the server's own --------------------------------------------------------

    def serve_decoy(self, request: Request, response: Response) -> None:
        """Whoever comes here followed an address he should not have; he is served, to see how far he goes."""
        self.seen.count("decoyRequests")
        if request.header("authorization") or request.header("mcp-session-id"):
            self.seen.count("decoyCredentials")
        if request.verb == "POST":
            self.dispatch(request, response, hit=False)
        else:
            response.whole(404)

    def serve_control(self, request: Request, response: Response) -> None:
        if request.verb == "POST":
            for name, value in json.loads(request.body).items():
                known = getattr(self.options, name.replace("-", "_"))
                setattr(self.options, name.replace("-", "_"), type(known)(value))
        response.whole(200, (JSON_TYPE,), json.dumps(self.stats()).encode())

    def stats(self) -> dict[str, Any]:
        seen = self.seen
        return {
            **seen.counts,
            "pid": os.getpid(),
            "mode": self.options.mode,
            "connections": self.main.connections,
            "openConnections": self.main.open,
            "decoyConnections": self.decoy.connections,
            "verbs": seen.verbs,
            "methods": seen.methods,
            "calls": seen.calls,
            "statuses": seen.statuses,
            "headers": seen.headers,
            "sessions": len(self.sessions),
            "getStreams": seen.get_streams,
            "getGapsMs": [int((later - sooner) * 1000) for sooner, later in pairwise(seen.get_times)],
            "openGetStreams": sum(
                session.standalone.response is not None for session in self.sessions.values()
            ),
            "listening": len(self.listeners),
            "cancelled": len(seen.cancelled),
            "cancelledIds": seen.cancelled[-10:],
            "running": sum(len(session.running) for session in self.sessions.values()),
        }

    # -- requests -------------------------------------------------------------------------------------

    def serve(self, request: Request, response: Response) -> None:
        self.seen.verbs[request.verb] = self.seen.verbs.get(request.verb, 0) + 1
        self.dispatch(request, response, hit=True)

    def say(self, response: Response, status: int, code: int, message: str, data: Any = None) -> None:
        """An error about the request as such, without the id of anything."""
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        body = hostile.encode({"jsonrpc": "2.0", "id": None, "error": error})
        self.plain(response, status, (JSON_TYPE,), body)

    def plain(self, response: Response, status: int, headers: Headers = (), body: bytes = b"") -> None:
        self.seen.statuses[str(status)] = self.seen.statuses.get(str(status), 0) + 1
        response.whole(status, headers, body)

    def dispatch(self, request: Request, response: Response, hit: bool) -> None:
        message: Any = None
        if request.verb == "POST":
            try:
                message = json.loads(request.body)
            except ValueError:
                self.seen.count("unreadable")
        self.remember(request, message)
        mode = self.mode_for(request, message) if hit else ""
        if mode in INSTEAD and INSTEAD[mode](self, request, response, message):
            return
        origin = request.header("origin")
        if origin is not None and re.fullmatch(r"https?://(localhost|127\.0\.0\.1)(:\d+)?", origin) is None:
            self.say(response, 403, INVALID_REQUEST, f"Origin not allowed: {origin}")
        elif self.options.token and request.header("authorization") != f"Bearer {self.options.token}":
            self.seen.count("refusedTokens")
            self.challenge(response)
        elif request.path.startswith("/.well-known/"):
            self.seen.count("metadata")
            self.plain(response, 404)
        elif self.options.transport == "sse":
            self.serve_sse(request, response, message, mode)
        elif request.path not in ("/mcp", "/moved"):
            self.plain(response, 404)
        elif request.verb == "POST":
            self.serve_post(request, response, message, mode)
        elif self.is_modern(request, message) or request.verb not in ("GET", "DELETE"):
            self.plain(response, 405, (("Allow", "POST"),))
        else:
            self.serve_session(request, response, mode)

    def remember(self, request: Request, message: Any) -> None:
        kind = request.verb
        if isinstance(message, dict):
            kind = str(message.get("method", "an answer"))
            if kind == "tools/call":
                kind += f" {tool_called(message)}"
        elif request.header("last-event-id") is not None:
            kind += " resumed"
        if kind in self.seen.headers or len(self.seen.headers) < KEPT_HEADERS:
            self.seen.headers[kind] = dict(request.headers)

    def mode_for(self, request: Request, message: Any) -> str:
        """The mode, if this request is one of those it is for; an empty string for all others."""
        options = self.options
        method = message.get("method") if isinstance(message, dict) else None
        if method == "tools/call" and tool_called(message) == "act":
            borrowed = (message["params"].get("arguments") or {}).get("mode")
            if borrowed is not None:
                return str(borrowed)
            method = "act"
        mode = options.mode
        ons = {options.on} if options.on else HITS.get(mode, set())
        if not ons & {"any", request.verb.lower(), method} or options.times == 0:
            return ""
        has_answer = method is not None and "id" in message
        if not has_answer and mode not in INSTEAD | STREAMS | ENDPOINTS:
            return ""
        options.times -= 1 if options.times > 0 else 0
        self.seen.count("hits")
        return mode

    def challenge(self, response: Response, *headers: tuple[str, str]) -> None:
        metadata = f"{self.origin}/.well-known/oauth-protected-resource/mcp"
        value = f'Bearer realm="hostile", resource_metadata="{metadata}", scope="tools"'
        self.plain(response, 401, headers or (("WWW-Authenticate", value),), b"who are you?")

    def is_modern(self, request: Request, message: Any) -> bool:
        if self.options.era != "dual":
            return self.options.era == "modern"
        revision = request.header("mcp-protocol-version")
        if revision is not None:
            return revision not in HANDSHAKE_REVISIONS
        return META + "protocolVersion" in meta_of(message)

    def exchange(
        self, request: Request, response: Response, session: Session | None, era: str, mode: str
    ) -> Exchange:
        exchange = Exchange(self, request, response, session, era)
        exchange.misbehaves = False
        exchange.borrowed = mode
        exchange.way = WAYS.get(mode)
        return exchange

    def serve_post(self, request: Request, response: Response, message: Any, mode: str) -> None:
        accepted = request.header("accept") or ""
        if "application/json" not in accepted or "text/event-stream" not in accepted:
            self.say(response, 406, INVALID_REQUEST, "Accept both application/json and text/event-stream")
        elif not (request.header("content-type") or "").lower().startswith("application/json"):
            self.say(response, 415, INVALID_REQUEST, "Content-Type must be application/json")
        elif not isinstance(message, dict):
            code = PARSE_ERROR if message is None else INVALID_REQUEST
            self.say(response, 400, code, "The body must be one JSON-RPC message")
        elif self.is_modern(request, message):
            self.serve_modern(request, response, message, mode)
        else:
            self.serve_handshake(request, response, message, mode)

    # -- the handshake era ----------------------------------------------------------------------------

    def new_session(self) -> Session:
        self.seen.count("sessionsOpened")
        session = Session(self, f"session-{next(self.names)}-{os.getpid()}")
        self.sessions[session.name] = session
        return session

    def session_of(self, request: Request, response: Response) -> Session | None:
        """The session a request belongs to; if there is none, the request is answered."""
        revision = request.header("mcp-protocol-version")
        if self.options.sessions:
            name = request.header("mcp-session-id")
            if name is None:
                self.seen.count("sessionsMissing")
                self.say(response, 400, -32000, "Bad Request: Mcp-Session-Id header is required")
                return None
            if name not in self.sessions:
                self.seen.count("sessionsUnknown")
                self.say(response, 404, -32001, "Session not found")
                return None
            session = self.sessions[name]
        else:
            session = self.sessions.setdefault("", Session(self, ""))
        if revision is None:
            self.seen.count("withoutVersion")
        elif revision not in HANDSHAKE_REVISIONS:
            self.say(response, 400, -32000, f"Bad Request: Unsupported protocol version {revision}")
            return None
        elif session.revision not in ("", revision):
            self.seen.count("otherVersion")
        return session

    def serve_handshake(
        self, request: Request, response: Response, message: dict[str, Any], mode: str
    ) -> None:
        method = message.get("method")
        if method is not None:
            self.seen.methods[method] = self.seen.methods.get(method, 0) + 1
        if method == "initialize" and "id" in message:
            session = self.new_session() if self.options.sessions else Session(self, "")
            self.sessions[session.name] = session
            session.revision = revision_for(self.options, message)
            exchange = self.exchange(request, response, session, "handshake", mode)
            if session.name:
                exchange.headers.append(("Mcp-Session-Id", session.name))
            exchange.take_request(message)
        elif method == "server/discover" and (mode, method) in ANSWERS:
            self.exchange(request, response, None, "handshake", mode).take_request(message)
        elif method == "server/discover" and self.options.discover != 400:
            error = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
            body = hostile.encode({"jsonrpc": "2.0", "id": message.get("id"), "error": error})
            self.plain(response, self.options.discover, (JSON_TYPE,), body)
        else:
            known = self.session_of(request, response)
            if known is None:
                return
            if method is not None and "id" in message:
                self.exchange(request, response, known, "handshake", mode).take_request(message)
            else:
                self.take_word(known, message)
                self.plain(response, 202)

    def take_word(self, session: Session, message: dict[str, Any]) -> None:
        """A notification, or the client's answer to something it was asked."""
        if "method" not in message:
            then = session.waiting_for.pop(message.get("id"), None)
            self.seen.count("strayAnswers" if then is None else "answers")
            if then is not None:
                then(message)
        elif message["method"] == "notifications/cancelled":
            request_id = (message.get("params") or {}).get("requestId")
            self.seen.cancelled.append(request_id)
            call = session.running.pop(request_id, None)
            # An act is deaf to its cancellation: it does what the mode says.
            if call is not None and call.name != "act" and isinstance(call.server, Exchange):
                call.server.withdraw()

    def serve_session(self, request: Request, response: Response, mode: str) -> None:
        if request.verb == "GET" and not self.options.get:
            self.plain(response, 405, (("Allow", "POST, DELETE"),))
            return
        session = self.session_of(request, response)
        if session is None:
            return
        if request.verb == "DELETE":
            self.seen.count("sessionsDeleted")
            self.sessions.pop(session.name).end()
            self.plain(response, 200)
        elif "text/event-stream" not in (request.header("accept") or ""):
            self.say(response, 406, INVALID_REQUEST, "Accept text/event-stream")
        else:
            self.open_get_stream(request, response, session, mode)

    def open_get_stream(self, request: Request, response: Response, session: Session, mode: str) -> None:
        last = request.header("last-event-id")
        self.seen.get_stream(last)
        stream, after = session.standalone, None
        if last is not None:
            name, _, number = last.rpartition("-")
            if name not in session.streams or not number.isdigit():
                self.say(response, 400, INVALID_REQUEST, f"Unknown Last-Event-ID: {last}")
                return
            stream, after = session.streams[name], int(number)

        def leave() -> None:
            if stream.response is response:
                stream.response = None

        response.when_lost = leave
        stream.attach(response, after=after)
        if mode in STREAMS:
            STREAMS[mode](self, session, stream)

    # -- the modern era -------------------------------------------------------------------------------

    def serve_modern(self, request: Request, response: Response, message: dict[str, Any], mode: str) -> None:
        method = message.get("method")
        if not isinstance(method, str):
            self.say(response, 400, INVALID_REQUEST, "The body must be one request or notification")
            return
        self.seen.methods[method] = self.seen.methods.get(method, 0) + 1
        if "id" not in message:
            if request.header("mcp-protocol-version") not in (None, MODERN_REVISION):
                self.say(response, 400, hostile.UNSUPPORTED_VERSION, "Unsupported protocol version")
            else:
                self.plain(response, 202)
            return
        exchange = self.exchange(request, response, None, "modern", mode)
        wrong = self.wrong_with(request, message)
        if wrong is None:
            exchange.take_request(message)
        else:
            exchange.way = None
            exchange.refuse(message["id"], *wrong)

    def wrong_with(self, request: Request, message: dict[str, Any]) -> tuple[int, str, Any] | None:
        """The first rule of the modern revision that a request breaks: (code, message, data)."""
        meta = meta_of(message)
        method = message["method"]
        revision = meta.get(META + "protocolVersion")
        if method == "initialize" and revision is None:
            # Old clients know no way forward: the answer tells them, and people, what is spoken here.
            asked = (message.get("params") or {}).get("protocolVersion", "")
            data = {"supported": [MODERN_REVISION], "requested": asked}
            return hostile.UNSUPPORTED_VERSION, "Unsupported protocol version", data
        for name in ("mcp-protocol-version", "mcp-method", "mcp-name"):
            if request.repeats(name):
                return HEADER_MISMATCH, f"{name} is there more than once", None
        if revision is None or META + "clientCapabilities" not in meta:
            return INVALID_PARAMS, "_meta lacks protocolVersion or clientCapabilities", None
        if request.header("mcp-protocol-version") != revision:
            return HEADER_MISMATCH, "MCP-Protocol-Version does not match _meta", None
        if request.header("mcp-method") != method:
            return HEADER_MISMATCH, "Mcp-Method does not match the body", None
        if method in NAMED:
            name = message["params"].get(NAMED[method])
            if name is not None and decoded(request.header("mcp-name")) != name:
                return HEADER_MISMATCH, "Mcp-Name does not match the body", None
        if revision != MODERN_REVISION:
            data = {"supported": [MODERN_REVISION], "requested": revision}
            return hostile.UNSUPPORTED_VERSION, "Unsupported protocol version", data
        if method == "tools/call" and tool_called(message) == "mirrored":
            return self.wrong_with_mirrors(request, message["params"].get("arguments") or {})
        return None

    def wrong_with_mirrors(self, request: Request, arguments: dict[str, Any]) -> tuple[int, str, Any] | None:
        for argument, (header, kind) in self.mirrors().items():
            name = f"mcp-param-{header.lower()}"
            given = request.header(name)
            value = arguments.get(argument)
            if request.repeats(name):
                return HEADER_MISMATCH, f"{name} is there more than once", None
            if (given is None) != (value is None):
                return HEADER_MISMATCH, f"{name} and {argument} must be there together", None
            if value is not None and not agrees(kind, value, decoded(given)):
                return HEADER_MISMATCH, f"{name} does not match {argument}", None
        return None

    def mirrors(self) -> dict[str, tuple[str, str]]:
        """What the tool `mirrored` wants in headers: argument -> (header, type)."""
        return {
            "region": (self.region_header, "string"),
            "limit": ("Limit", "integer"),
            "dry": ("Dry-Run", "boolean"),
        }

    # -- HTTP+SSE -------------------------------------------------------------------------------------

    def serve_sse(self, request: Request, response: Response, message: Any, mode: str) -> None:
        if request.path == "/sse" and request.verb == "GET":
            self.open_sse(response, mode)
        elif request.path == "/sse":
            self.plain(response, self.options.sse_post, (("Allow", "GET"),), b"not here")
        elif request.path != "/messages" or request.verb != "POST":
            self.plain(response, 404)
        elif (session := self.sessions.get(request.query.partition("session_id=")[2])) is None:
            self.seen.count("sessionsUnknown")
            self.plain(response, 404, (), b"Could not find session")
        elif not isinstance(message, dict):
            self.plain(response, 400, (), b"Could not parse message")
        else:
            self.plain(response, 202, (), b"Accepted")
            self.take_sse(request, response, session, message, mode)

    def open_sse(self, response: Response, mode: str) -> None:
        session = self.new_session()
        stream = session.standalone
        stream.name = ""  # nobody comes back to a stream of this transport
        self.seen.get_stream(None)

        def leave() -> None:
            self.seen.count("disconnected")
            stream.response = None
            self.sessions.pop(session.name, None)
            session.running.clear()

        response.when_lost = leave
        stream.attach(response)
        if mode in ENDPOINTS:
            ENDPOINTS[mode](self, session, stream)
        else:
            self.name_endpoint(session, stream)

    def name_endpoint(self, session: Session, stream: Stream, base: str = "") -> None:
        path = f"messages?session_id={session.name}"
        if self.options.endpoint == "absolute":
            base = base or self.origin
        if self.options.endpoint != "path" or base:
            path = f"{base}/{path}"
        stream.put(b"event: endpoint\n", b"data: " + path.encode() + b"\n\n")

    def take_sse(
        self, request: Request, response: Response, session: Session, message: dict[str, Any], mode: str
    ) -> None:
        method = message.get("method")
        if method is not None:
            self.seen.methods[method] = self.seen.methods.get(method, 0) + 1
        if method is None or "id" not in message:
            self.take_word(session, message)
            return
        if method == "initialize":
            session.revision = revision_for(self.options, message)
        exchange = self.exchange(request, response, session, "handshake", mode)
        exchange.stream = session.standalone
        exchange.is_shared = True
        response.when_lost = None
        exchange.take_request(message)


# -- small questions ------------------------------------------------------------------------------------


def meta_of(message: Any) -> dict[str, Any]:
    params = message.get("params") if isinstance(message, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def tool_called(message: dict[str, Any]) -> Any:
    params = message.get("params")
    return params.get("name") if isinstance(params, dict) else None


def revision_for(options: Options, message: dict[str, Any]) -> str:
    asked = (message.get("params") or {}).get("protocolVersion")
    return options.revision or (asked if asked in HANDSHAKE_REVISIONS else HANDSHAKE_REVISIONS[-1])


def decoded(value: str | None) -> str | None:
    """A header's value out of its base64 form; None if it is no header value at all."""
    if value is None or SAFE.fullmatch(value) is None:
        return None
    match = SENTINEL.fullmatch(value)
    if match is None:
        return value
    try:
        plain = binascii.a2b_base64(match[1], strict_mode=True)
        is_canonical = binascii.b2a_base64(plain, newline=False).decode() == match[1]
        return plain.decode() if is_canonical else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def agrees(kind: str, value: Any, given: str | None) -> bool:
    if given is None:
        return False
    if kind == "integer" and isinstance(value, int | float) and not isinstance(value, bool):
        return DECIMAL.fullmatch(given) is not None and int(given.partition(".")[0]) == value
    return given == (str(value).lower() if isinstance(value, bool) else str(value))


# -- the methods of a server that behaves ---------------------------------------------------------------

Plain = hostile.Plain
Act = hostile.Act


def initialize(server: hostile.Server, message: dict[str, Any]) -> None:
    assert isinstance(server, Exchange)
    hostile.initialize(server, message, protocolVersion=revision_for(server.twin.options, message))


def list_tools(server: hostile.Server, message: dict[str, Any]) -> None:
    assert isinstance(server, Exchange)
    tools = [server_schema(server) if name == "mirrored" else known[0] for name, known in TOOLS.items()]
    if server.mode == "bad-output":
        tools = [known | hostile.OUTPUT_SCHEMA if known["name"] == "act" else known for known in tools]
    tools += [
        hostile.described(name, "Does nothing", {}) for name in hostile.dummy_names(server.options.tools)
    ]
    cursor = (message.get("params") or {}).get("cursor")
    start = int(cursor) if cursor else 0
    size = server.options.page or len(tools)
    result: dict[str, Any] = {"tools": tools[start : start + size]}
    if start + size < len(tools):
        result["nextCursor"] = str(start + size)
    if server.era == "modern":
        result |= {"ttlMs": 1000, "cacheScope": "private"}
    server.reply(message["id"], result)


def server_schema(server: Exchange) -> dict[str, Any]:
    """The tool `mirrored`, as it is today."""
    schema = hostile.described("mirrored", TOOLS["mirrored"][0]["description"], {"text": "string"})
    for argument, (header, kind) in server.twin.mirrors().items():
        schema["inputSchema"]["properties"][argument] = {"type": kind, "x-mcp-header": header}
    return schema


def listen(server: hostile.Server, message: dict[str, Any]) -> None:
    """A subscription: acknowledged at once, as far as there is something to tell, and open until left."""
    assert isinstance(server, Exchange)
    wanted = (message.get("params") or {}).get("notifications") or {}
    honoured = {"toolsListChanged": True} if wanted.get("toolsListChanged") is True else {}
    meta = {META + "subscriptionId": message["id"]}
    server.events()
    server.notify("notifications/subscriptions/acknowledged", {"notifications": honoured, "_meta": meta})
    server.subscription = meta if honoured else None
    server.twin.listeners.append(server)


PLAIN: dict[str, tuple[tuple[str, ...], Plain]] = hostile.PLAIN | {
    "initialize": (("handshake",), initialize),
    "subscriptions/listen": (("modern",), listen),
    "tools/list": (hostile.BOTH, list_tools),
}


# -- the tools of a server that behaves -----------------------------------------------------------------

TOOLS: dict[str, tuple[dict[str, Any], Act]] = dict(hostile.TOOLS)


def tool(description: str, **properties: str) -> Callable[[Act], Act]:
    def keep(function: Act) -> Act:
        TOOLS[function.__name__] = (
            hostile.described(function.__name__, description, properties),
            function,
        )
        return function

    return keep


@tool("What this server has seen so far")
def stats(server: hostile.Server, call: Call) -> None:
    assert isinstance(server, Exchange)
    call.reply(json.dumps(server.twin.stats() | {"era": server.era}))


@tool("Misbehaves the way the mode says, or as another mode does", mode="string")
def act(server: hostile.Server, call: Call) -> None:
    ACTS.get(server.mode, hostile.well_behaved)(server, call)


@tool("Says which Mcp-Param headers its call came with")
def mirrored(server: hostile.Server, call: Call) -> None:
    assert isinstance(server, Exchange)
    found = {name: value for name, value in server.request.headers if name.startswith("mcp-param-")}
    call.reply(json.dumps(found))


@tool("Says which headers its call came with", text="string")
def headers(server: hostile.Server, call: Call) -> None:
    assert isinstance(server, Exchange)
    call.reply(json.dumps({"text": call.arguments.get("text"), "headers": dict(server.request.headers)}))


# -- where modes are registered ------------------------------------------------------------------------

# A way takes a right answer, one JSON-RPC message as bytes, and brings it to the client, or fails to.
Way = Callable[[Exchange, bytes], None]
# Instead of looking at a request; False if it is to be looked at all the same.
Instead = Callable[[Twin, Request, Response, Any], bool]
# What happens to a stream that was just opened with GET.
OnStream = Callable[[Twin, Session, Stream], None]

# What only a child process can get wrong, or what HTTP gets wrong in a way of its own below.
ONLY_STDIO = {"die-after-handshake", "garbage", "garbage-flood", "invalid-utf8", "invalid-utf8-reply", "bom"}
ONLY_STDIO |= {"crlf", "utf16", "huge-line", "huge-noise", "stream", "drip", "burst", "half", "two-on-a-line"}
ONLY_STDIO |= {"embedded-newline", "deep", "stderr-flood", "stderr-long-line", "stderr-secret"}
ONLY_STDIO |= {"stop-reading", "helpers", "daemon", "orphan-stdout", "orphans", "bomb", "close-stdout"}
ONLY_STDIO |= {"close-stdin", "discover-exit", "tell-refusing"} | hostile.STARTS.keys()

MODES = {mode: what for mode, what in hostile.MODES.items() if mode not in ONLY_STDIO}
ANSWERS = {key: answer for key, answer in hostile.ANSWERS.items() if key[0] in MODES}
ACTS = {mode: act for mode, act in hostile.ACTS.items() if mode in MODES}
WAYS: dict[str, Way] = {}
INSTEAD: dict[str, Instead] = {}
STREAMS: dict[str, OnStream] = {}
ENDPOINTS: dict[str, OnStream] = {}
# mode -> which requests are hit unless --on says otherwise
HITS: dict[str, set[str]] = {"bad-output": {"act", "tools/list"}}
for known in ACTS:
    HITS.setdefault(known, {"act"})
for known, known_method in ANSWERS:
    HITS.setdefault(known, set()).add(known_method)


def way(mode: str, faults: str, does: str) -> Callable[[Way], Way]:
    def keep(function: Way) -> Way:
        MODES[mode], HITS[mode], WAYS[mode] = (faults, does), {"act"}, function
        return function

    return keep


def instead(mode: str, faults: str, does: str, on: str = "any") -> Callable[[Instead], Instead]:
    def keep(function: Instead) -> Instead:
        MODES[mode], HITS[mode], INSTEAD[mode] = (faults, does), {on}, function
        return function

    return keep


def on_stream(mode: str, faults: str, does: str) -> Callable[[OnStream], OnStream]:
    def keep(function: OnStream) -> OnStream:
        MODES[mode], HITS[mode], STREAMS[mode] = (faults, does), {"get"}, function
        return function

    return keep


def on_endpoint(mode: str, faults: str, does: str) -> Callable[[OnStream], OnStream]:
    def keep(function: OnStream) -> OnStream:
        MODES[mode], HITS[mode], ENDPOINTS[mode] = (faults, does), {"get"}, function
        return function

    return keep


def on_act(mode: str, faults: str, does: str) -> Callable[[Act], Act]:
    def keep(function: Act) -> Act:
        MODES[mode], HITS[mode], ACTS[mode] = (faults, does), {"act"}, function
        return function

    return keep


def on_answer(mode: str, method: str, faults: str, does: str) -> Callable[[Plain], Plain]:
    def keep(function: Plain) -> Plain:
        MODES[mode], HITS[mode], ANSWERS[mode, method] = (faults, does), {method}, function
        return function

    return keep
