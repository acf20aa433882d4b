"""How the tests of the faces knock: bytes that no HTTP client would send, and answers held to the contract.

`Api` compares every answer of REST with the gateway's own `/openapi.json`; `check_problem` is the one place
that knows the shape of an error. Both state the contract of product.md again, on purpose: a table that is
imported from the gateway would agree with it whatever it says.
"""

import base64
import io
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema

from tests import leaks
from tests.harness import ANSWER_TIMEOUT_S, Answer, Gateway, parse_events, until

SHELF = Path(__file__).parents[1] / "shelf.py"
EXACT = Path(__file__).parents[1] / "golden" / "exact.py"

# product.md, "Errors": kind -> (statuses, retryable). 405, 406, 408, 409 and 416 are HTTP's own words for
# `invalid`; 409 of `lost` is a call that was cancelled while somebody waited for it.
KINDS: Mapping[str, tuple[frozenset[int], bool]] = {
    "invalid": (frozenset({400, 405, 406, 408, 409, 413, 415, 416}), False),
    "unauthenticated": (frozenset({401}), False),
    "refused": (frozenset({403}), False),
    "unknown": (frozenset({404}), False),
    "busy": (frozenset({429}), True),
    "unavailable": (frozenset({503}), True),
    "timed_out": (frozenset({504}), False),
    "lost": (frozenset({502, 409}), False),
    "input_required": (frozenset({409}), False),
    "internal": (frozenset({500}), False),
    "tool_error": (frozenset({422}), False),  # no kind, but a tool's own failure where only an error tells it
}
MEMBERS: Mapping[str, type] = {
    "type": str,
    "title": str,
    "status": int,
    "detail": str,
    "code": str,
    "retryable": bool,
    "server": str,
    "callId": str,
    "retryAfter": int,
    "rpcError": dict,
    "inputRequests": dict,
    "problems": list,
    "content": list,
}
ALWAYS = frozenset({"type", "title", "status", "detail", "code", "retryable"})


def exact(*options: str, **config: Any) -> dict[str, Any]:
    """The configuration of a server that answers exact bytes."""
    return {"command": sys.executable, "args": ["-I", "-S", str(EXACT), *options], **config}


def check_problem_document(document: Any) -> None:
    """RFC 9457 members of the right types, nothing beside them, and a kind that fits its status."""
    assert isinstance(document, dict), document
    assert document.keys() >= ALWAYS, document
    for name, value in document.items():
        assert type(value) is MEMBERS[name], f"{name}: {document}"
    statuses, retryable = KINDS[document["code"]]
    assert document["status"] in statuses, document
    assert document["retryable"] is retryable, document
    assert document["type"] == f"urn:mcp-gateway:problem:{document['code']}"
    assert document["title"]
    assert " " in document["detail"], f"no sentence: {document}"
    assert document.get("retryAfter", 1) >= 1


def check_problem(
    answer: Answer, status: int, code: str, *words: str, server: str | None = None
) -> dict[str, Any]:
    """The answer is that problem, well-formed, and its detail holds these words."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json", answer
    document: dict[str, Any] = answer.json()
    check_problem_document(document)
    assert (document["status"], document["code"]) == (status, code), document
    for word in words:
        assert word.lower() in document["detail"].lower(), document
    if server is not None:
        assert document["server"] == server, document
    assert answer.headers.get("retry-after") == (
        str(document["retryAfter"]) if "retryAfter" in document else None
    )
    return document


def check_log(gateway: Gateway) -> None:
    """Nothing went wrong inside that the answers did not show."""
    log = gateway.log.read_text(errors="replace")
    at = log.find("Traceback")
    if at >= 0:
        lines = log[at:].splitlines()
        raised = next(line for line in lines if line[:1].isalpha() and not line.startswith("Traceback"))
        raise AssertionError(f"a traceback in the gateway's log, which ends with: {raised}")


def shelf(directory: Path, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a server with these resources and prompts; see `tests/shelf.py`."""
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"name": name, **spec}))
    return {"command": sys.executable, "args": ["-I", "-S", str(SHELF), str(path)]}


def tool_path(server: str, tool: str) -> str:
    return f"/api/tools/{server}/{quote(tool, safe='')}"


class Api:
    """A gateway whose every answer under REST is held against its own description."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    @cached_property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = self.gateway.get("/openapi.json").json()
        return document

    @cached_property
    def _templates(self) -> list[tuple[re.Pattern[str], str]]:
        return [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", template)), template)
            for template in self.document["paths"]
        ]

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Answer:
        answer = self.gateway.request(method, path, body, headers, timeout_s)
        self.check(method, path, answer)
        return answer

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def json(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status == 200, answer
        return answer.json()

    def call(self, server: str, tool: str, /, **arguments: Any) -> Answer:
        return self.request("POST", tool_path(server, tool), arguments)

    def record(self, call_id: str | None) -> dict[str, Any]:
        """The record of an ended call."""
        row: dict[str, Any] = {}

        def ended() -> bool:
            row.update(self.json(f"/api/calls/{call_id}"))
            return bool(row["outcome"] != "running")

        until(ended, 10, f"call {call_id} ends", lambda: str(row))
        return row

    @contextmanager
    def events(
        self, path: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[tuple[str, Any]]]:
        """An event stream, open: what happens from now on arrives on it."""
        sent = {"Accept": "text/event-stream"} | dict(headers or {})
        with self.gateway.open(method, path, body, sent) as response:
            assert response.status == 200, response.read()
            assert response.getheader("content-type", "").startswith("text/event-stream")
            assert response.getheader("cache-control") == "no-cache, no-transform"
            assert response.getheader("x-accel-buffering") == "no"
            yield parse_events(response)

    def check(self, method: str, path: str, answer: Answer) -> None:
        """No redirect, ever; an error is a problem; everything else is what the description says."""
        assert not 300 <= answer.status < 400, answer
        assert "location" not in answer.headers or answer.status == 202, answer
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if answer.status >= 400:
            assert kind == "application/problem+json", answer
            check_problem_document(answer.json())
            assert answer.json()["status"] == answer.status
        plain = path.partition("?")[0]
        template = next((of for pattern, of in self._templates if pattern.fullmatch(plain)), None)
        operation = self.document["paths"].get(template, {}).get(method.lower())
        if operation is None:
            return  # the description says nothing of it: a page, or nothing at all
        described = operation["responses"].get(str(answer.status))
        assert described is not None, f"{method} {template} does not describe {answer.status}"
        assert kind in described["content"], f"{method} {template} does not describe {kind}"
        if kind.endswith("json"):
            schema = described["content"][kind]["schema"]
            whole = schema | {"components": self.document["components"]}
            jsonschema.Draft202012Validator(whole).validate(answer.json())


def fold(events: Iterator[tuple[str, Any]], wanted: Callable[[str, Any], bool]) -> Any:
    """The data of the first event that is wanted; the stream's own deadline bounds the wait."""
    for name, data in events:
        if wanted(name, data):
            return data
    raise AssertionError("the stream ended before the event came")


# -- bytes on a socket ------------------------------------------------------------------------------


class Line:
    """One TCP connection to the gateway, for what HTTP clients refuse to send."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *lines: bytes, body: bytes = b"") -> None:
        self.socket.sendall(b"\r\n".join((*lines, b"", b"")) + body)

    def read(self, method: str = "GET") -> Answer:
        """The next answer on the connection."""
        response = leaks.Response(self.socket, method=method)
        with response:
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())

    def rest(self) -> bytes:
        """What arrives until the gateway hangs up."""
        received = io.BytesIO()
        while data := self.socket.recv(65536):
            received.write(data)
        leaks.hear(received.getvalue(), "answer on a bare connection")
        return received.getvalue()


def knock(port: int, *lines: bytes, body: bytes = b"", method: str = "GET") -> Answer:
    """One request as these bytes, on a connection of its own."""
    with Line(port) as line:
        line.send(*lines, body=body)
        return line.read(method)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def frames(stream: bytes) -> list[tuple[str, bytes]]:
    """The events of a whole stream as they were sent: name and data bytes."""
    assert stream.endswith(b"\n\n"), stream[-100:]
    found = []
    for block in stream[:-2].split(b"\n\n"):
        fields = [line.partition(b": ") for line in block.split(b"\n")]
        data = [value for name, _, value in fields if name == b"data"]
        names = [value.decode() for name, _, value in fields if name == b"event"]
        assert len(data) <= 1, block
        assert len(names) <= 1, block
        if data and data[0]:  # without data it only gives an id to come back with
            found.append((names[0] if names else "message", data[0]))
    return found


# -- MCP by hand ------------------------------------------------------------------------------------

BOTH_KINDS = "application/json, text/event-stream"


class Mcp:
    """One session of the handshake era, in bytes."""

    def __init__(
        self,
        gateway: Gateway,
        endpoint: str = "/mcp",
        revision: str = "2025-11-25",
        capabilities: Any = None,
    ) -> None:
        self.gateway = gateway
        self.endpoint = endpoint
        self.headers = {"Accept": BOTH_KINDS, "MCP-Protocol-Version": revision}
        asked = {
            "protocolVersion": revision,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        answer = self.post(self.message("initialize", asked, 0))
        assert answer.status == 200, answer
        self.introduction: dict[str, Any] = answer.json()["result"]
        self.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        noted = self.post(self.message("notifications/initialized"))
        assert (noted.status, noted.body) == (202, b"")

    @property
    def id(self) -> str:
        return self.headers["Mcp-Session-Id"]

    @staticmethod
    def message(method: str, params: Any = None, request_id: Any = None) -> bytes:
        message = {"jsonrpc": "2.0", "method": method}
        more = {"params": params, "id": request_id}
        return json_bytes(message | {name: value for name, value in more.items() if value is not None})

    def post(self, body: bytes, **headers: str) -> Answer:
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.gateway.request("POST", self.endpoint, body, self.headers | changed)

    def ask(self, method: str, params: Any = None, request_id: Any = 1) -> Any:
        """The JSON answer to a request."""
        answer = self.post(self.message(method, params, request_id))
        assert answer.status == 200, answer
        if answer.headers["content-type"] == "application/json":
            document = answer.json()
        else:  # it took so long that it can be resumed
            document = json.loads(frames(answer.body)[-1][1])
        assert document["jsonrpc"] == "2.0"
        assert document["id"] == request_id
        return document

    def call(self, tool: str, arguments: Any = None, request_id: Any = 1, **more: Any) -> Any:
        return self.ask("tools/call", {"name": tool, "arguments": arguments or {}, **more}, request_id)

    def tools(self) -> dict[str, Any]:
        return {tool["name"]: tool for tool in self.ask("tools/list")["result"]["tools"]}

    @contextmanager
    def stream(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Iterator[Iterator[tuple[str, Any]]]:
        """The session's own stream, open; reading fails when nothing comes for that long."""
        sent = self.headers | {"Accept": "text/event-stream"}
        with self.gateway.open("GET", self.endpoint, None, sent, timeout_s) as response:
            assert response.status == 200, response.read()
            assert response.getheader("content-type", "").startswith("text/event-stream")
            yield parse_events(response)

    def end(self) -> Answer:
        return self.gateway.request("DELETE", self.endpoint, None, self.headers)


def header_value(text: str) -> str:
    """A text as a header carries it: as it is, or in base64 where it would not arrive like that."""
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


class Modern:
    """Requests of 2026-07-28, in bytes: each stands alone."""

    REVISION = "2026-07-28"
    PREFIX = "io.modelcontextprotocol/"

    def __init__(self, gateway: Gateway, endpoint: str = "/mcp", capabilities: Any = None) -> None:
        self.gateway = gateway
        self.capabilities = capabilities or {}
        self.endpoint = endpoint

    def meta(self, **more: Any) -> dict[str, Any]:
        """`_meta` as it must be; of `more`, members of the protocol go without their prefix."""
        own = {"protocolVersion": self.REVISION, "clientCapabilities": self.capabilities}
        short = {"logLevel", "clientInfo", *own}
        return {
            f"{self.PREFIX}{key}" if key in short else key: value for key, value in {**own, **more}.items()
        }

    def message(self, method: str, params: Any = None, request_id: Any = 1, **meta: Any) -> bytes:
        return Mcp.message(method, {**(params or {}), "_meta": self.meta(**meta)}, request_id)

    def headers(self, method: str, params: Any = None) -> dict[str, str]:
        """Those that repeat the body."""
        found = {"Accept": BOTH_KINDS, "MCP-Protocol-Version": self.REVISION, "Mcp-Method": method}
        member = {"resources/read": "uri"}.get(method, "taskId" if method.startswith("tasks/") else "name")
        name = (params or {}).get(member)
        return found if name is None else found | {"Mcp-Name": header_value(name)}

    def send(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        answer = self.gateway.request("POST", self.endpoint, body, headers)
        assert "mcp-session-id" not in answer.headers, answer  # there is none, whatever was sent
        return answer

    def post(self, method: str, params: Any = None, request_id: Any = 1, **meta: Any) -> Answer:
        return self.send(self.message(method, params, request_id, **meta), self.headers(method, params))

    def ask(self, method: str, params: Any = None, request_id: Any = 1, **meta: Any) -> Any:
        """The result of a request that succeeds without a word before."""
        answer = self.post(method, params, request_id, **meta)
        assert answer.status == 200, answer
        assert answer.headers["content-type"] == "application/json", answer
        document = answer.json()
        assert document.keys() == {"jsonrpc", "id", "result"}, document
        assert document["id"] == request_id, document
        return document["result"]

    def call(self, tool: str, arguments: Any = None, request_id: Any = 1, **more: Any) -> Any:
        return self.ask("tools/call", {"name": tool, "arguments": arguments or {}, **more}, request_id)


def check_rpc_error(document: Any, code: int, kind: str, *words: str) -> dict[str, Any]:
    """A JSON-RPC error with the facts of the error table as its data."""
    error: dict[str, Any] = document["error"]
    assert document["jsonrpc"] == "2.0"
    assert document.keys() == {"jsonrpc", "id", "error"}
    assert error["code"] == code, document
    data = error["data"]
    assert data["code"] == kind, document
    assert data["retryable"] is KINDS[kind][1], document
    assert data["detail"] == error["message"], document
    for word in words:
        assert word.lower() in error["message"].lower(), document
    return error
