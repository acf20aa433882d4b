"""A stand-in for Open WebUI: its list of tool servers, and its check of one, as far as the gateway asks it.

Answers as version 0.12.4 does, in what it says and in what it keeps to itself, and really goes to the address
that it is given. `names` are names that it knows and this machine does not, as within a container's network.
`fault` makes it misbehave.
"""

import http.client
import http.server
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast
from urllib.parse import urlsplit

PLACES = "/api/v1/configs/tool_servers"
# What its model of a connection adds to one.
DEFAULTS: Mapping[str, Any] = {"type": "openapi", "headers": None, "info": None}
VERIFY_S = 5.0
EVIL = "<script>alert(1)</script>"
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "mcp", "version": "0.1.0"},
}


class Failed(Exception):
    """It could not connect, and does not say why."""


@dataclass
class OpenWebUi:
    """Use it as a context manager. `asked` is what reached it, `bodies` what it was sent."""

    key: str = field(repr=False)
    connections: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    fault: str | None = None
    meanwhile: Callable[["OpenWebUi"], None] | None = None  # after it was written
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.twin = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def writes(self) -> int:
        return self.asked.count(f"POST {PLACES}")

    def reset(self) -> None:
        self.connections, self.names, self.fault, self.meanwhile = [], {}, None, None
        self.asked.clear()
        self.bodies.clear()

    def answer(self, method: str, path: str, key: str, body: bytes) -> tuple[int, Any]:
        if key != f"Bearer {self.key}":
            return 401, {"detail": "401 Unauthorized"}
        match method, path:
            case "GET", "/api/v1/configs/tool_servers":
                return 200, {"TOOL_SERVER_CONNECTIONS": [{**DEFAULTS, **one} for one in self.connections]}
            case "POST", "/api/v1/configs/tool_servers":
                self.connections = json.loads(body)["TOOL_SERVER_CONNECTIONS"]
                if self.meanwhile is not None:
                    self.meanwhile(self)
                return 200, {"TOOL_SERVER_CONNECTIONS": self.connections}
            case "POST", "/api/v1/configs/tool_servers/verify":
                try:
                    return 200, self.verified(json.loads(body))
                except (Failed, OSError, http.client.HTTPException):
                    return 400, {"detail": "Failed to connect to the tool server"}
        return 404, {"detail": "Not Found"}

    def verified(self, connection: dict[str, Any]) -> dict[str, Any]:
        key = connection["key"] if connection["auth_type"] == "bearer" else ""
        if connection["type"] == "mcp":
            return {"status": True, "specs": self._listed(connection["url"], key)}
        url = f"{connection['url'].rstrip('/')}/{connection['path']}"
        document, _ = self._fetched("GET", url, key, None)
        return cast("dict[str, Any]", document)

    def _listed(self, url: str, key: str) -> list[Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
        _, session = self._fetched("POST", url, key, body)
        listed, _ = self._fetched(
            "POST", url, key, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, session
        )
        self._fetched("DELETE", url, key, None, session)
        return cast("list[Any]", listed["result"]["tools"])

    def _fetched(
        self, method: str, url: str, key: str, body: Any, session: str | None = None
    ) -> tuple[Any, str | None]:
        parts = urlsplit(url)
        if parts.scheme != "http":
            raise Failed
        port = self.names.get(parts.netloc)
        host = "127.0.0.1" if port is not None else parts.hostname
        link = http.client.HTTPConnection(host or "", port or parts.port, timeout=VERIFY_S)
        headers = {"Host": parts.netloc, "Content-Type": "application/json"}
        headers["Accept"] = "application/json, text/event-stream" if method == "POST" else "application/json"
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        headers |= {"Mcp-Session-Id": session, "Mcp-Protocol-Version": "2025-11-25"} if session else {}
        data = None if body is None else json.dumps(body)
        try:
            link.request(method, f"{parts.path}?{parts.query}", data, headers)
            response = link.getresponse()
            text = response.read().decode()
        finally:
            link.close()
        if response.status >= 300:
            raise Failed
        if response.headers.get_content_type() == "text/event-stream":
            text = next(line[6:] for line in text.splitlines() if line.startswith("data: {"))
        return json.loads(text or "null"), response.headers.get("Mcp-Session-Id")


class _Server(http.server.ThreadingHTTPServer):
    twin: OpenWebUi
    daemon_threads = True


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        twin = cast("_Server", self.server).twin
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        twin.asked.append(f"{self.command} {self.path}")
        twin.bodies.append(body)
        key = self.headers["Authorization"]
        fault, _, place = (twin.fault or "").partition(" at ")
        is_faulty = fault and place in ("", f"{self.command} {self.path}")
        if is_faulty and fault != "cut off":
            self._misbehave(fault)
            return
        status, answer = twin.answer(self.command, self.path, key, body)
        if is_faulty:
            self.close_connection = True
            return
        self._send(status, json.dumps(answer).encode())

    def _misbehave(self, fault: str) -> None:
        twin = cast("_Server", self.server).twin
        match fault:
            case "slow":
                twin.go_on.wait(60)
                self.close_connection = True
            case "huge":
                self._send(200, b'{"TOOL_SERVER_CONNECTIONS": [' + b" " * (9 << 20) + b"]}")
            case "redirect":
                self._send(307, b"", Location=f"{twin.url}/elsewhere")
            case "document":
                self._send(200, b'{"openapi": "3.1.0", "info": {}, "paths": {}}')
            case "words":
                self._send(200, b'"hello"')
            case "html":
                self._send(200, f"<!doctype html>{EVIL}".encode())
            case "list":
                self._send(200, json.dumps({"TOOL_SERVER_CONNECTIONS": [EVIL, None]}).encode())
            case "deep":
                self._send(200, b'{"TOOL_SERVER_CONNECTIONS": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}")
            case "echo":
                said = f"{EVIL} {self.headers['Authorization']}"
                self._send(403, json.dumps({"detail": said}).encode())
            case "hang up":
                self.close_connection = True
            case status:
                self._send(int(status), json.dumps({"detail": EVIL}).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # whoever asked had enough
            self.close_connection = True
