"""A scripted MCP server over stdio whose answers are exact bytes, and the table of those bytes.

Run as a program (`python -I -S exact.py [modern]`) it serves until stdin ends; imported by tests it is the
table they compare with. Standard library only. It never formats what it answers and never knows who asks:
whatever arrives at a caller in another shape was changed on the way.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

BIG = 200_000  # times eight bytes: above every limit from which an answer is sent in slices

# Tool -> the bytes of its result.
CASES: dict[str, bytes] = {
    "empty-result": b"{}",
    "unknown-members": (
        b'{"content":[{"type":"text","text":"x","future":{"a":null,"b":[]}}],"isError":false,'
        b'"futureMember":[1,{"c":{}}],"_meta":{"vendor.example/x":null,"n":1.0}}'
    ),
    "unknown-content-type": b'{"content":[{"type":"hologram","voxels":[1,2,3],"text":7},{"type":""}]}',
    "odd-content": b'{"content":"not an array","isError":"no"}',
    "big-integers": (
        b'{"content":[],"structuredContent":{"a":12345678901234567890,"b":-98765432109876543210,'
        b'"c":123456789012345678901234567890123456789012345678901234567890,"d":9007199254740993}}'
    ),
    "numbers": (
        b'{"content":[],"structuredContent":[1,1.0,1.00,1e2,1E+2,1.5e-7,-0,-0.0,0.1,1e400,'
        b"100000000000000000000.0,3.141592653589793238462643383279]}"
    ),
    "nulls": b'{"content":null,"structuredContent":null,"isError":false,"_meta":null,"x":[null,{"y":null}]}',
    "key-order": b'{"zeta":1,"isError":false,"content":[],"alpha":{"b":1,"a":2,"B":3},"Content":[]}',
    "escapes": (
        rb'{"content":[{"type":"text","text":"\u0041\u00e9\/\ud83d\ude00\u2028\u0000\b\f"}],'
        rb'"\u006bey":"\u006b"}'
    ),
    "raw-unicode": '{"content":[{"type":"text","text":"Aé/😀\u2028\u007f"}],"schlüssel":"日本"}'.encode(),
    "deep": b'{"content":[],"structuredContent":' + b'{"a":[' * 80 + b"1" + b"]}" * 80 + b"}",
    "empty-structured": b'{"content":[],"structuredContent":{}}',
    "structured-only": b'{"structuredContent":{"temperature":22.50}}',
    "white-space": b'{ "content" :\t[ ] , "structuredContent":{ "a" : 1 } }',
    "failure": b'{"isError" : true,"content":[{"type":"text","text":"no"}],"why":{"code":1.0}}',
    "looks-like-an-envelope": b'{"jsonrpc":"2.0","id":1,"result":{"content":[]},"error":{"code":1}}',
    "large": b'{"content":[{"type":"text","text":"' + "é😀\\n".encode() * BIG + b'"}],"end":1.0}',
}
# What JavaScript writes for a text that was cut in the middle of a character (well-formed JSON.stringify).
TORN = rb'{"content":[{"type":"text","text":"cut \ud83d"}]}'
ENVELOPES: dict[str, bytes] = {
    "usual": b'{"jsonrpc":"2.0","id":%(id)d,"result":%(result)b}',
    "backwards": b'{"result":%(result)b,"id":%(id)d,"jsonrpc":"2.0"}',
    "spaced": b' { "x" : {"id":7,"result":{},"error":{}} , "id" :\t%(id)d , "result" : %(result)b , "y":0 } ',
}
ERROR = (
    b'{"code":-32042,"message":"\\u006eo \xc3\xa9","data":{"n":12345678901234567890,"f":1.0,"x":null},'
    b'"more":[1,{"z":0,"a":1}]}'
)
PROGRESS = (
    b'"progress":1.0,"total":12345678901234567890,"message":"\\u0041\xc3\xa9","future":{"z":null,"a":1e2}'
)
LOG = b'{"level":"info","data":{"z":1.0,"a":[null,12345678901234567890]},"logger":"\\u0041"}'
DEFINITION = (
    b'"description":"\\u00e9 \xc3\xa9",'
    b'"inputSchema":{"type":"object","default":null,"$defs":{"a":{"maximum":1.0}}},'
    b'"future":{"z":12345678901234567890,"a":null},"annotations":{"readOnlyHint":true},"title":"T"'
)
INSTRUCTIONS = "Say exactly what you were told."

# Native names that a path, a pattern or a lenient decoder could take for something else.
NAMES = (
    "a/b",
    "a//b/",
    "100%",
    "c%2Fd",
    "grüße 日本",
    "😀",
    "what?now#then",
    "..",
    ".",
    "../../etc/passwd",
    "a;b&c=d+e",
    "\"quoted'\\",
    "tab\tname",
    "n" * 300,
)

GROWN: list[str] = []


def write(line: bytes) -> None:
    view = memoryview(line + b"\n")
    while view:
        view = view[os.write(1, view) :]


def reply(request_id: int, result: bytes, envelope: str = "usual") -> None:
    write(ENVELOPES[envelope] % {b"id": request_id, b"result": result})


def text(words: str) -> bytes:
    return json.dumps({"content": [{"type": "text", "text": words}]}).encode()


def definition(name: str) -> bytes:
    return b'{"name":%b,%b}' % (json.dumps(name).encode(), DEFINITION)


def tool_names() -> list[str]:
    return [*CASES, *NAMES, *SPECIAL, *GROWN]


# -- tools that do something ------------------------------------------------------------------------

Act = Callable[[int, bytes, dict[str, Any]], None]
SPECIAL: dict[str, Act] = {}


def special(act: Act) -> Act:
    SPECIAL[act.__name__.replace("_", "-")] = act
    return act


@special
def raw_line(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    """Answers with the line as it arrived."""
    reply(request_id, text(line.decode()))


@special
def refuse(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    write(b'{"jsonrpc":"2.0","id":%d,"error":%b}' % (request_id, ERROR))


@special
def torn(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    reply(request_id, TORN)


@special
def speak(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    """Progress, then a log message, then one of the results."""
    token = json.dumps(params["_meta"]["progressToken"]).encode()
    write(
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%b,%b}}'
        % (token, PROGRESS)
    )
    write(b'{"jsonrpc":"2.0","method":"notifications/message","params":%b}' % LOG)
    reply(request_id, CASES[params["arguments"]["case"]])


@special
def complain(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    """Writes a line to stderr, and answers afterwards."""
    os.write(2, params["arguments"]["text"].encode() + b"\n")
    reply(request_id, text("said"))


@special
def grow(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    """Offers one more tool from now on, and says so."""
    GROWN.append(params["arguments"]["name"])
    write(b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    reply(request_id, text("grown"))


@special
def ask_back(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    """What a server of the modern era answers that needs something of its client first."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    method = (params.get("arguments") or {}).get("method", "elicitation/create")
    asks = {"name": {"method": method, "params": {"message": "Who?", "requestedSchema": schema}}}
    if "inputResponses" in params:
        reply(request_id, text(line.decode()))
        return
    result = {"resultType": "input_required", "inputRequests": asks, "requestState": "state"}
    reply(request_id, json.dumps(result).encode())


HUGE_UNIT = "é😀\\n".encode()  # eight bytes: wherever a slice ends, it may end within a character


def huge_result(units: int, *, failed: bool = False) -> bytes:
    """A result whose bytes differ wherever one looks, so that none can be missing or moved."""
    verdict = b"true" if failed else b"false"
    text = b"".join(b"%07d %b" % (number, HUGE_UNIT * 127) for number in range(units // 128 + 1))
    return b'{"content":[{"type":"text","text":"%b"}],"isError" : %b,"end":1.0}' % (text, verdict)


@special
def huge(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    arguments = params["arguments"]
    reply(request_id, huge_result(arguments["units"], failed=arguments.get("failed", False)), "backwards")


def call(request_id: int, line: bytes, params: dict[str, Any]) -> None:
    name = params["name"]
    if name in CASES:
        envelope = (params.get("arguments") or {}).get("envelope", "usual")
        reply(request_id, CASES[name], envelope)
    elif name in SPECIAL:
        SPECIAL[name](request_id, line, params)
    elif name in tool_names():
        reply(request_id, text(name))
    else:
        write(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32602,"message":"Unknown tool"}}' % request_id)


def take(line: bytes, *, modern: bool) -> None:
    message = json.loads(line)
    method, request_id, params = message.get("method"), message.get("id"), message.get("params") or {}
    if request_id is None:
        return
    info = {"serverInfo": {"name": "exact", "version": "1"}, "instructions": INSTRUCTIONS}
    capabilities = {"tools": {"listChanged": True}, "logging": {}}
    if method == "initialize" and not modern:
        revision = {"protocolVersion": "2025-11-25", "capabilities": capabilities}
        reply(request_id, json.dumps(revision | info).encode())
    elif method == "server/discover" and modern:
        found = {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "resultType": "complete"}
        reply(request_id, json.dumps(found | info | {"ttlMs": 0, "cacheScope": "private"}).encode())
    elif method == "tools/list":
        reply(request_id, b'{"tools":[%b]}' % b",".join(map(definition, tool_names())))
    elif method == "tools/call":
        call(request_id, line, params)
    elif method == "ping":
        reply(request_id, b"{}")
    else:
        write(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32601,"message":"Method not found"}}' % request_id)


def main() -> None:
    for line in sys.stdin.buffer:
        take(line.rstrip(b"\n"), modern="modern" in sys.argv[1:])


if __name__ == "__main__":
    main()
