"""The twin of `hostile.py` over HTTP: a remote MCP server that behaves, or misbehaves in one named way.

`python -I -S hostile_http.py MODE [--option value ...]` serves on 127.0.0.1 until it is ended or its life
is over; `--port-file` gets "PORT CONTROL DECOY" as soon as it listens. `--modes` lists every mode with the
fault of the catalogue it injects; what they have in common is in `twin.py`, the options are in its
`Options`. `--on` says which requests are hit: `any`, an HTTP verb, a JSON-RPC method, or `act`, a call of
the tool of that name; `--times` how often; everything else is served well.

Two more ports: the control port answers GET with what was seen and takes POST of new options, so that a
server can turn bad and recover; nothing must ever arrive at the decoy, to which redirects and addresses
that no client should follow point.
"""

import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import count as counter
from typing import Any

# Started by path and isolated, a script finds its neighbours only if it says where.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests import hostile
from tests.bare_http import Request, Response
from tests.hostile import Call
from tests.twin import (
    JSON_TYPE,
    LIST_CHANGED,
    MODES,
    SSE_HEAD,
    TOOLS,
    Act,
    Exchange,
    Instead,
    Options,
    Plain,
    Session,
    Stream,
    Twin,
    Way,
    initialize,
    instead,
    listen,
    meta_of,
    on_act,
    on_answer,
    on_endpoint,
    on_stream,
    server_schema,
    way,
)

__all__ = ["MODES"]  # whole only when this module is imported, which fills it

# Connections

MODES["no-accept"] = ("F077", "lets connections wait for ever: the queue of its port is full")
MODES["die"] = ("F006 F082", "the process ends in the middle of a call")


@instead("blackhole", "F077", "reads the request and never answers")
def blackhole(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    return True


@instead("reset", "F082", "closes with a reset instead of an answer", "act")
def reset(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    response.reset()
    return True


@instead("hang-up", "F082", "closes the connection instead of an answer", "act")
def hang_up(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    response.cut()
    return True


@instead("stale-keepalive", "F082", "closes a kept connection when its next request arrives")
def stale_keepalive(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    if response.connection.served:
        response.reset()
        return True
    return False


@instead("idle-close", "", "closes each kept connection a moment after its answer, as servers do")
def idle_close(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    response.connection.keeps = False
    return False


@instead("not-http", "F081", "answers in the language of another protocol")
def not_http(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    response.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    response.cut()
    return True


def drip_out(twin: Twin, response: Response, data: bytes, pace_s: float, then: Callable[[], None]) -> None:
    """Writes byte by byte, as long as somebody is there to read them."""

    def step(at: int) -> None:
        if response.lost:
            return
        if at == len(data):
            then()
            return
        response.raw(data[at : at + 1])
        twin.loop.after(pace_s, lambda: step(at + 1))

    step(0)


@instead("slow-headers", "F077", "sends its head byte by byte, --pace-ms (1000) apart, and then nothing")
def slow_headers(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    pace_s = (twin.options.pace_ms or 1000) / 1000
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Padding: " + b"." * 1000
    drip_out(twin, response, head, pace_s, lambda: None)
    return True


# Refusals


@instead("unauthorized", "F078", "401 with a challenge that names its metadata")
def unauthorized(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    if request.path.startswith("/.well-known/"):
        return False
    twin.challenge(response)
    return True


@instead("unauthorized-bare", "F078", "401 without a word on how to log in")
def unauthorized_bare(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    twin.plain(response, 401)
    return True


@instead("unauthorized-hostile", "F078", "401 whose challenge names addresses nobody should open")
def unauthorized_hostile(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    places = (f"{twin.decoy_origin}/metadata", "javascript:alert(1)", "file:///etc/passwd", "--flag")
    values = [f'Bearer resource_metadata="{place}", authorization_uri="{place}"' for place in places]
    twin.challenge(response, *(("WWW-Authenticate", value) for value in values))
    return True


@instead("unauthorized-loop", "F078", "401 whose metadata say that this server logs people in, for ever")
def unauthorized_loop(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    if not request.path.startswith("/.well-known/"):
        twin.challenge(response)
        return True
    twin.seen.count("metadata")
    twin.plain(
        response,
        200,
        (JSON_TYPE,),
        hostile.encode({"resource": f"{twin.origin}/mcp", "authorization_servers": [f"{twin.origin}/mcp"]}),
    )
    return True


@instead("key-refused", "F078", "401 to a call, and a page that repeats the headers it came with", "act")
def key_refused(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    told = "\n".join(f"{name}: {value}" for name, value in request.headers)
    twin.plain(response, 401, (("Content-Type", "text/plain"),), b"no such key in\n" + told.encode())
    return True


@instead("forbidden", "F078", "403: the token is not enough")
def forbidden(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    challenge = ("WWW-Authenticate", 'Bearer error="insufficient_scope", scope="tools admin"')
    twin.plain(response, 403, (challenge,), b"not you")
    return True


def redirect(status: int, foreign: bool) -> Instead:
    def answer(twin: Twin, request: Request, response: Response, message: Any) -> bool:
        if request.path == "/moved":
            return False
        target = f"{twin.decoy_origin}{request.path}" if foreign else "/moved"
        twin.plain(response, status, (("Location", target),))
        return True

    return answer


for code in (302, 307, 308):
    instead(f"redirect-{code}", "F079", f"{code} to another port of this machine")(redirect(code, True))
instead("redirect-same", "F079", "307 to another path of its own, which works")(redirect(307, False))


def retry_after(options: Options) -> list[tuple[str, str]]:
    asked = options.retry_after
    if asked == "none":
        return []
    kind, _, seconds = asked.partition(":")
    if kind == "date":
        moment = time.gmtime(time.time() + int(seconds))
        asked = time.strftime("%a, %d %b %Y %H:%M:%S GMT", moment)
    return [("Retry-After", asked)]


def busy(status: int) -> Instead:
    def answer(twin: Twin, request: Request, response: Response, message: Any) -> bool:
        twin.plain(response, status, retry_after(twin.options), b"not now")
        return True

    return answer


instead("busy", "F080", "429 with --retry-after")(busy(429))
instead("unavailable", "F080", "503 with --retry-after")(busy(503))


@instead("tell", "F057", "500 and the headers that it was sent", "act")
def tell(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    told = str(dict(request.headers)).encode()
    header = ("X-Told", " ".join(value for name, value in request.headers if name.startswith("x-")))
    twin.plain(response, 500, (("Content-Type", "text/plain"), header), b"Traceback: KeyError in " + told)
    return True


@instead("status", "F080", "--status (500) and a few words")
def status(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    twin.plain(response, twin.options.status, (("Content-Type", "text/plain"),), b"Traceback: it broke\n")
    return True


PAGE = (
    b"<!doctype html><html><title>Log in</title><body><h1>Welcome to the hotel's network</h1></body></html>"
)


@instead("html", "F081", "200 and a page to log in on")
def html(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    twin.plain(response, 200, (("Content-Type", "text/html; charset=utf-8"),), PAGE)
    return True


@instead("empty", "F081", "200 and nothing")
def empty(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    twin.plain(response, 200)
    return True


@instead("empty-json", "F081", "200, JSON, and nothing")
def empty_json(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    twin.plain(response, 200, (JSON_TYPE,))
    return True


@instead("accepted", "F081", "202 to everything, answers included")
def accepted(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    twin.plain(response, 202)
    return True


@instead("no-content", "F081", "204 to everything")
def no_content(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    response.head(204, (), 0)
    response.end()
    return True


# Sessions


@instead("session-lost", "F083", "404: the session is unknown, and so is every later use of it", "act")
def session_lost(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    session = twin.sessions.pop(request.header("mcp-session-id") or "", None)
    if session is not None:
        session.end()
    return False


@instead(
    "sessions-lost", "F083", "forgets all sessions at once, as a restart does; other calls are cut", "act"
)
def sessions_lost(twin: Twin, request: Request, response: Response, message: Any) -> bool:
    for session in list(twin.sessions.values()):
        session.end()
    twin.sessions.clear()
    return False


def odd_session(name: str) -> Plain:
    def answer(server: hostile.Server, message: dict[str, Any]) -> None:
        assert isinstance(server, Exchange)
        assert server.session is not None
        server.twin.sessions[name.strip()] = server.session
        server.headers = [("Mcp-Session-Id", name)]
        initialize(server, message)

    return answer


on_answer("session-not-ascii", "initialize", "F083", "gives a session id that is not ASCII")(
    odd_session("sitzung-\xe4\xff")
)
on_answer("session-with-spaces", "initialize", "F083", "gives a session id with spaces and a tab inside")(
    odd_session("a session \t id")
)
on_answer("session-empty", "initialize", "F083", "gives an empty session id")(odd_session(""))
on_answer("session-huge", "initialize", "F083", "gives a session id of 100,000 characters")(
    odd_session("s" * 100_000)
)


# Bodies of JSON


def as_json(
    exchange: Exchange, line: bytes, *headers: tuple[str, str], length: int | None = None
) -> Response:
    """The head of a JSON answer; over HTTP+SSE there is no such thing, and a good event takes its place."""
    exchange.ended = True
    exchange.response.head(200, (*headers, *exchange.headers), length)
    return exchange.response


def json_way(mode: str, faults: str, does: str) -> Callable[[Way], Way]:
    def keep(function: Way) -> Way:
        def careful(exchange: Exchange, line: bytes) -> None:
            if exchange.stream is None:
                function(exchange, line)
            else:
                exchange.stream.emit(line)
                exchange.finish()

        way(mode, faults, does)(careful)
        return function

    return keep


@json_way("json-charset", "", "names its JSON `Application/JSON; Charset=UTF-8`, which is right")
def json_charset(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, ("Content-Type", "Application/JSON; Charset=UTF-8"), length=len(line))
    response.body(line)
    response.end()


@json_way("informational", "", "sends 103 before its answer, which is right")
def informational(exchange: Exchange, line: bytes) -> None:
    exchange.response.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
    json_charset(exchange, line)


@json_way("wrong-type", "F081", "names its JSON text/plain")
def wrong_type(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, ("Content-Type", "text/plain"), length=len(line))
    response.body(line)
    response.end()


@json_way("no-type", "F081", "does not say what its answer is")
def no_type(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, length=len(line))
    response.body(line)
    response.end()


@json_way("drip", "F036", "sends its answer byte by byte, --pace-ms (10) apart")
def drip(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, JSON_TYPE, length=len(line))
    drip_out(exchange.twin, response, line, exchange.pace_s(10), response.end)


@json_way("stall", "F077", "sends half of its answer and then nothing")
def stall(exchange: Exchange, line: bytes) -> None:
    as_json(exchange, line, JSON_TYPE, length=len(line)).body(line[: len(line) // 2])


@json_way("short-body", "F082", "closes before as much was sent as its head promised")
def short_body(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, JSON_TYPE, length=len(line) + 100)
    response.body(line)
    response.cut()


@json_way("long-body", "F082", "sends more than its head promised")
def long_body(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, JSON_TYPE, length=len(line))
    response.body(line + b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"WRONG"}]}}')
    response.end()


@json_way("cut-body", "F082", "closes in the middle of a chunked answer")
def cut_body(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, JSON_TYPE)
    response.body(line[: len(line) // 2])
    response.cut()


@json_way("bad-chunk", "F082", "breaks the framing of its chunks, in one piece with its head")
def bad_chunk(exchange: Exchange, line: bytes) -> None:
    exchange.ended = True
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    exchange.response.raw(head + b"zz\r\n" + line + b"\r\n0\r\n\r\n")
    exchange.response.cut()


@json_way("bad-chunk-later", "F082", "breaks the framing of its chunks once its head has been read")
def bad_chunk_later(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, JSON_TYPE)
    response.body(line[:1])

    def go_on() -> None:
        response.raw(b"zz\r\n" + line[1:] + b"\r\n0\r\n\r\n")
        response.cut()

    # A client that reads has long read what it got; one that does not meets the other mode.
    exchange.after(exchange.pace_s(50), go_on)


@json_way("bad-json", "F041", "answers with half a JSON document, whole by its head")
def bad_json(exchange: Exchange, line: bytes) -> None:
    half = line[: len(line) // 2]
    response = as_json(exchange, line, JSON_TYPE, length=len(half))
    response.body(half)
    response.end()


@json_way("not-utf8", "F032", "answers with a byte that is not UTF-8 inside a string")
def not_utf8(exchange: Exchange, line: bytes) -> None:
    spoilt = line.replace(b"right", b"r\xffght")
    response = as_json(exchange, line, JSON_TYPE, length=len(spoilt))
    response.body(spoilt)
    response.end()


@json_way("gzip", "F081", "compresses its answer though nobody asked")
def gzip(exchange: Exchange, line: bytes) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(line) + packer.flush()
    response = as_json(exchange, line, JSON_TYPE, ("Content-Encoding", "gzip"), length=len(packed))
    response.body(packed)
    response.end()


@json_way("gzip-bomb", "F081", "--bytes (1 GiB) of text in a thousandth of that, compressed unasked")
def gzip_bomb(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, JSON_TYPE, ("Content-Encoding", "gzip"))
    before, after = line.split(b"right")
    response.lazily(bomb(before, after, exchange.options.bytes or 1 << 30))
    response.end()


def bomb(before: bytes, after: bytes, size: int) -> Iterator[bytes]:
    """A gzip file; a block is packed once and repeated, for packing a gigabyte takes seconds."""
    block = b"b" * (1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = zlib.crc32(before)
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + head
    for _ in range(size >> 20):
        checksum = zlib.crc32(block, checksum)
        yield packed
    checksum = zlib.crc32(after, checksum)
    length = len(before) + (size >> 20 << 20) + len(after)
    yield packer.compress(after) + packer.flush(zlib.Z_FINISH)
    yield checksum.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little")


@json_way("odd-encoding", "F081", "claims an encoding that is not there")
def odd_encoding(exchange: Exchange, line: bytes) -> None:
    response = as_json(exchange, line, JSON_TYPE, ("Content-Encoding", "br"), length=len(line))
    response.body(line)
    response.end()


def swollen(before: bytes, after: bytes, size: int) -> Iterator[bytes]:
    block = b"b" * (1 << 20)
    yield before
    for _ in range(size >> 20):
        yield block
    yield block[: size & 0xFFFFF] + after


@json_way("huge-body", "F034 F081", "answers with --bytes (50 MB) of text as JSON")
def huge_body(exchange: Exchange, line: bytes) -> None:
    before, after = line.split(b"right")
    response = as_json(exchange, line, JSON_TYPE)
    response.lazily(swollen(before, after, exchange.options.bytes or 50_000_000))
    response.end()


@json_way("endless-body", "F035", "answers with --bytes (1 GiB) of text that never becomes an answer")
def endless_body(exchange: Exchange, line: bytes) -> None:
    before, _ = line.split(b"right")
    as_json(exchange, line, JSON_TYPE).lazily(swollen(before, b"", exchange.options.bytes or 1 << 30))


@json_way("huge-headers", "F081", "answers with --count (1,000) header lines of 1 KiB")
def huge_headers(exchange: Exchange, line: bytes) -> None:
    padding = [(f"X-Padding-{index}", "p" * 1024) for index in range(exchange.options.count or 1000)]
    response = as_json(exchange, line, JSON_TYPE, *padding, length=len(line))
    response.body(line)
    response.end()


@json_way("huge-header", "F081", "answers with one header line of --bytes (1 MiB)")
def huge_header(exchange: Exchange, line: bytes) -> None:
    padding = ("X-Padding", "p" * (exchange.options.bytes or 1 << 20))
    response = as_json(exchange, line, JSON_TYPE, padding, length=len(line))
    response.body(line)
    response.end()


# Event streams


def sse_way(mode: str, faults: str, does: str, spoil: Callable[[bytes], bytes]) -> None:
    """A mode that answers with other bytes than the one event it should be."""

    def take(exchange: Exchange, line: bytes) -> None:
        response = exchange.wire()
        response.body(spoil(line))
        exchange.finish()

    way(mode, faults, does)(take)


def event(line: bytes) -> bytes:
    return b"event: message\ndata: " + line + b"\n\n"


def spread(line: bytes) -> bytes:
    """One message over several data lines, broken where JSON allows space."""
    return b"data: " + line.replace(b',"', b',\ndata: "') + b"\n\n"


WRONG = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"WRONG"}]}}'
sse_way("sse-crlf", "F033", "ends its lines with CR LF", lambda line: event(line).replace(b"\n", b"\r\n"))
sse_way("sse-cr", "F033", "ends its lines with CR", lambda line: event(line).replace(b"\n", b"\r"))
sse_way(
    "sse-mixed",
    "F033",
    "ends each line in another way",
    lambda line: b"event: message\r\ndata: " + line + b"\r\n\n",
)
sse_way("sse-lines", "F033", "spreads its answer over several data lines", spread)
sse_way("sse-no-space", "F033", "puts no space after its colons", lambda line: b"data:" + line + b"\n\n")
sse_way(
    "sse-comments",
    "F033",
    "puts comments before, inside and after its answer",
    lambda line: b": hello\n\n:\nevent: message\n: inside\ndata: " + line + b"\n: more\n\n: bye\n\n",
)
sse_way(
    "sse-fields",
    "F033",
    "adds fields nobody knows, and known ones without a colon",
    lambda line: b"color: red\nid\nretry\nevent: message\nData: WRONG\n data: WRONG\ndata: " + line + b"\n\n",
)
sse_way(
    "sse-odd-id",
    "F033",
    "gives an id with a NUL and a retry that is no number",
    lambda line: b"id: a\0b\nretry: soon\nretry: 1e9\nretry: -5\n" + event(line),
)
sse_way(
    "sse-other-event",
    "F033",
    "sends events of other names, with JSON inside, before its answer",
    lambda line: b"event: ping\ndata: " + WRONG + b"\n\nevent: end\ndata: {}\n\n" + event(line),
)
sse_way(
    "sse-garbage",
    "F031 F041",
    "sends events that are no JSON, and empty ones, before its answer",
    lambda line: (
        b"data: WRONG\n\ndata: [\n\ndata\n\nevent: message\n\ndata: null\n\ndata: 42\n\n" + event(line)
    ),
)
sse_way(
    "sse-bad-json",
    "F041",
    "answers with an event of half a JSON document",
    lambda line: event(line[: len(line) // 2]),
)
sse_way(
    "sse-no-blank",
    "F082",
    "ends without the blank line that would end its answer",
    lambda line: event(line)[:-1],
)
sse_way("sse-no-result", "F082", "ends its stream, properly, without an answer", lambda line: b": done\n\n")
sse_way(
    "sse-two-answers",
    "F045",
    "answers twice",
    lambda line: event(line) + event(line.replace(b"right", b"WRONG")),
)


@way("sse-bom", "F033", "begins its stream with a byte order mark")
def sse_bom(exchange: Exchange, line: bytes) -> None:
    if exchange.stream is None:  # the mark may only be where the stream begins
        exchange.response.head(200, (*SSE_HEAD, *exchange.headers))
        exchange.response.body(b"\xef\xbb\xbf")
    exchange.events().emit(line)
    exchange.finish()


@way("sse-charset", "", "names its stream `Text/Event-Stream;charset=UTF-8`, which is right")
def sse_charset(exchange: Exchange, line: bytes) -> None:
    if exchange.stream is None:
        exchange.response.head(200, (("Content-Type", "Text/Event-Stream;charset=UTF-8"), *exchange.headers))
    exchange.events().emit(line)
    exchange.finish()


@way("sse-drip", "F036", "sends its event byte by byte, --pace-ms (10) apart")
def sse_drip(exchange: Exchange, line: bytes) -> None:
    response = exchange.wire()
    data = event(line).replace(b"\n", b"\r\n")

    def step(at: int) -> None:
        if response.lost:
            return
        if at == len(data):
            exchange.finish()
            return
        response.body(data[at : at + 1])
        exchange.after(exchange.pace_s(10), lambda: step(at + 1))

    step(0)


@way("sse-huge", "F034 F081", "answers with --bytes (50 MB) of text as one event")
def sse_huge(exchange: Exchange, line: bytes) -> None:
    response = exchange.wire()
    before, after = event(line).split(b"right")
    response.lazily(swollen(before, after, exchange.options.bytes or 50_000_000))
    exchange.finish()


@way("sse-endless", "F035", "sends --bytes (1 GiB) of one event that never ends")
def sse_endless(exchange: Exchange, line: bytes) -> None:
    before, _ = event(line).split(b"right")
    exchange.wire().lazily(swollen(before, b"", exchange.options.bytes or 1 << 30))


@way("cut-event", "F082", "closes in the middle of the event that is its answer")
def cut_event(exchange: Exchange, line: bytes) -> None:
    response = exchange.leave()
    response.body(event(line)[:-20])
    response.cut()


@way("reset-event", "F082", "resets the connection in the middle of the event that is its answer")
def reset_event(exchange: Exchange, line: bytes) -> None:
    response = exchange.leave()
    response.body(event(line)[:-20])
    response.reset()


def report_progress(exchange: Exchange, done: int) -> None:
    params = {"progressToken": progress_token(exchange), "progress": done, "total": 10}
    message = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
    if params["progressToken"] is not None:
        exchange.events().emit(hostile.encode(message))


def progress_token(exchange: Exchange) -> Any:
    return meta_of(json.loads(exchange.request.body)).get("progressToken")


@way("cut-after-progress", "F082", "reports progress, then closes before its answer")
def cut_after_progress(exchange: Exchange, line: bytes) -> None:
    report_progress(exchange, 1)
    response = exchange.leave()
    response.body(b": working\n\n")
    response.cut()


@way("cut-and-resume", "F082", "closes after progress; its answer waits on the stream for who comes back")
def cut_and_resume(exchange: Exchange, line: bytes) -> None:
    stream = exchange.events()
    report_progress(exchange, 1)
    response, stream.response = exchange.wire(), None
    response.cut()
    later(exchange, stream, line)


@way("poll", "", "closes its stream politely at once, and answers who comes back (2025-11-25)")
def poll(exchange: Exchange, line: bytes) -> None:
    stream = exchange.events()
    if not exchange.is_shared:
        stream.release()
    later(exchange, stream, line)


def later(exchange: Exchange, stream: Stream, line: bytes) -> None:
    def answer() -> None:
        stream.emit(line)
        exchange.finish()

    exchange.after(exchange.pace_s(20), answer)


@way("heartbeats", "F084", "sends comments, --pace-ms (100) apart, for ever")
def heartbeats(exchange: Exchange, line: bytes) -> None:
    response = exchange.wire()

    def beat() -> None:
        if not response.lost:
            response.body(b": still here\n\n")
            exchange.after(exchange.pace_s(100), beat)

    beat()


@way("progress-forever", "F084", "reports progress, --pace-ms (100) apart, for ever")
def progress_forever(exchange: Exchange, line: bytes) -> None:
    response = exchange.wire()
    steps = counter(1)

    def step() -> None:
        if not response.lost:
            report_progress(exchange, next(steps))
            exchange.after(exchange.pace_s(100), step)

    step()


# Messages of the server


@on_act("slow", "F010 F047", "answers after --delay-ms (1000)")
def slow(server: hostile.Server, call: Call) -> None:
    server.after(server.options.delay_ms / 1000, lambda: call.reply("right"))


@on_answer("slow-open", "initialize", "F010", "answers initialize after --delay-ms (1000)")
def slow_open(server: hostile.Server, message: dict[str, Any]) -> None:
    server.after(server.options.delay_ms / 1000, lambda: initialize(server, message))


def on_get(mode: str) -> Act:
    def take(server: hostile.Server, call: Call) -> None:
        assert isinstance(server, Exchange)
        server.sideways = True
        hostile.ACTS[mode](server, call)

    return take


on_act("ask-on-get", "F053", "asks the client four things on the GET stream and replies with its answers")(
    on_get("ask")
)
on_act("ask-flood-on-get", "F054", "sends --count (10,000) elicitations on the GET stream")(
    on_get("ask-flood")
)
on_act("log-flood-on-get", "F051", "sends --count (20,000) log messages on the GET stream")(
    on_get("log-flood")
)
on_act("list-storm-on-get", "F052", "says --count (2,000) times on the GET stream that its tools changed")(
    on_get("list-storm")
)


@on_act("answer-on-get", "F082", "answers on the GET stream, where no answer belongs; never on its own")
def answer_on_get(server: hostile.Server, call: Call) -> None:
    assert isinstance(server, Exchange)
    if server.session is not None:
        server.session.standalone.emit(call.line("WRONG"))


@on_act("new-tool", "", "adds a tool and says so, on the GET stream or to who listens")
def new_tool(server: hostile.Server, call: Call) -> None:
    assert isinstance(server, Exchange)
    server.options.tools += 1
    if server.session is not None:
        server.session.standalone.emit(LIST_CHANGED)
    for listener in server.twin.listeners:
        if listener.subscription is not None:
            listener.notify("notifications/tools/list_changed", {"_meta": listener.subscription})
    call.reply("right")


@on_act("header-shift", "F075", "wants another header for an argument of `mirrored` from now on")
def header_shift(server: hostile.Server, call: Call) -> None:
    assert isinstance(server, Exchange)
    server.twin.region_header = "Zone" if server.twin.region_header == "Region" else "Region"
    call.reply("right")


def annotated(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": "Wants what no header can be", "inputSchema": properties}


def bad_headers() -> list[dict[str, Any]]:
    """One tool for each rule of `x-mcp-header`, each breaking just that one."""

    def of(**properties: Any) -> dict[str, Any]:
        return {"type": "object", "properties": properties}

    text = {"type": "string"}
    marked = text | {"x-mcp-header": "Mark"}
    return [
        annotated("empty-header", of(a=text | {"x-mcp-header": ""})),
        annotated("spaced-header", of(a=text | {"x-mcp-header": "My Header"})),
        annotated("injecting-header", of(a=text | {"x-mcp-header": "A\r\nX-Evil: 1"})),
        annotated("header-of-a-number", of(a={"type": "number", "x-mcp-header": "A"})),
        annotated("header-of-an-object", of(a={"type": "object", "x-mcp-header": "A"})),
        annotated("header-of-two-types", of(a={"type": ["string", "null"], "x-mcp-header": "A"})),
        annotated("header-twice", of(a=marked, b=text | {"x-mcp-header": "mARK"})),
        annotated("header-in-items", of(a={"type": "array", "items": marked})),
        annotated("header-in-any-of", {"type": "object", "anyOf": [of(a=marked)]}),
        annotated("header-at-the-root", of(a=text) | {"x-mcp-header": "Root"}),
        annotated("header-not-text", of(a=text | {"x-mcp-header": 7})),
    ]


@on_answer("header-invalid", "tools/list", "F075", "lists tools with invalid `x-mcp-header` among good ones")
def header_invalid(server: hostile.Server, message: dict[str, Any]) -> None:
    assert isinstance(server, Exchange)
    nested = {"type": "object", "properties": {"place": {"type": "string", "x-mcp-header": "Place"}}}
    good = annotated("header-nested", {"type": "object", "properties": {"where": nested}})
    tools = [TOOLS["echo"][0], *bad_headers(), server_schema(server), good]
    server.reply(message["id"], {"tools": tools, "ttlMs": 0, "cacheScope": "private"})


# Streams that stay open


@on_answer("listen-ends", "subscriptions/listen", "F082", "ends each subscription at once, politely")
def listen_ends(server: hostile.Server, message: dict[str, Any]) -> None:
    assert isinstance(server, Exchange)
    listen(server, message)
    server.twin.listeners.remove(server)
    server.reply(message["id"], {"_meta": {hostile.META + "subscriptionId": message["id"]}})


@on_answer("listen-cut", "subscriptions/listen", "F082", "cuts each subscription at once")
def listen_cut(server: hostile.Server, message: dict[str, Any]) -> None:
    assert isinstance(server, Exchange)
    listen(server, message)
    server.wire().cut()


@on_stream("get-ends", "F082", "ends the GET stream at once, each time")
def get_ends(twin: Twin, session: Session, stream: Stream) -> None:
    stream.release()


@on_stream("get-cut", "F082", "cuts the GET stream at once, each time")
def get_cut(twin: Twin, session: Session, stream: Stream) -> None:
    if stream.response is not None:
        response, stream.response = stream.response, None
        response.cut()


@on_stream("get-garbage", "F031", "opens the GET stream with events that are nothing")
def get_garbage(twin: Twin, session: Session, stream: Stream) -> None:
    if stream.response is not None:
        stream.response.body(b"data: WRONG\n\nevent: what\ndata: {}\n\ndata: [1]\n\nid: \0\ndata: {}\n\n")


# The address of HTTP+SSE


@on_endpoint("endpoint-foreign", "F079", "names a POST address of another origin")
def endpoint_foreign(twin: Twin, session: Session, stream: Stream) -> None:
    twin.name_endpoint(session, stream, twin.decoy_origin)


@on_endpoint("endpoint-scheme", "F079", "names a POST address that is none of HTTP")
def endpoint_scheme(twin: Twin, session: Session, stream: Stream) -> None:
    stream.put(b"event: endpoint\n", b"data: file:///etc/passwd\n\n")


@on_endpoint("endpoint-protocol-relative", "F079", "names a POST address that only looks relative")
def endpoint_protocol_relative(twin: Twin, session: Session, stream: Stream) -> None:
    twin.name_endpoint(session, stream, twin.decoy_origin.removeprefix("http:"))


@on_endpoint("endpoint-none", "F077", "never names its POST address")
def endpoint_none(twin: Twin, session: Session, stream: Stream) -> None:
    if stream.response is not None:
        stream.response.body(b": hello\n\n")


@on_endpoint("endpoint-empty", "F079", "names an empty POST address")
def endpoint_empty(twin: Twin, session: Session, stream: Stream) -> None:
    stream.put(b"event: endpoint\n", b"data: \n\n")


@on_endpoint("endpoint-twice", "F079", "names a good POST address, then one of another origin")
def endpoint_twice(twin: Twin, session: Session, stream: Stream) -> None:
    twin.name_endpoint(session, stream)
    twin.name_endpoint(session, stream, twin.decoy_origin)


# -- the program ----------------------------------------------------------------------------------------


def main(argv: list[str]) -> None:
    if argv == ["--modes"]:
        for mode, (faults, does) in sorted(MODES.items(), key=lambda item: item[1]):
            print(f"{mode:26} {faults:10} {does}")
        return
    options = Options(argv)
    if options.mode not in MODES:
        hostile.complain(f"hostile_http: unknown mode {options.mode}; see --modes")
        os._exit(64)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.alarm(options.life_s)
    twin = Twin(options)
    twin.announce()
    twin.loop.run()


if __name__ == "__main__":
    main(sys.argv[1:])
