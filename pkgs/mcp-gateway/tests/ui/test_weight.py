"""What pages weigh and how often they are made: fifty servers with fifty tools each, and no clock.

How long pages take is measured by `bench/pages.py`; here is what must hold on any machine.
"""

import asyncio
import gzip
import http.client
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from bench.weight import File, elements, first_visit
from markupsafe import Markup

from mcp_gateway.faces.ui import live, render
from mcp_gateway.faces.ui.kept import Kept
from tests.harness import ANSWER_TIMEOUT_S, Gateway, until

SERVERS = 50
TOOLS = 50
MAX_BYTES = 250_000  # of a page with all that it loads, packed
# What no page of this size needs more of; each server takes at most three dozen elements, and no tool any.
MAX_ELEMENTS = SERVERS * 36 + 200
PAGES = (
    *("/", "/ui/tools", "/ui/tools/s07/tool-7", "/ui/resources", "/ui/prompts", "/ui/activity"),
    *("/ui/servers/s07", "/ui/connect", "/ui/add", "/ui/access"),
)
LISTED = [
    {
        "name": f"tool-{number}",
        "description": f"Number {number}. " + "It does what nobody else would want to do by hand. " * 4,
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
    }
    for number in range(TOOLS)
]


class Shelf(BaseHTTPRequestHandler):
    """An MCP server with these tools, for all that is asked of it here."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        results = {
            "initialize": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "shelf", "version": "1"},
            },
            "tools/list": {"tools": LISTED},
            "ping": {},
        }
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": message.get("id")}
        if message["method"] in results:
            answer["result"] = results[message["method"]]
        else:
            answer["error"] = {"code": -32601, "message": "no such method"}
        if "id" in message:
            self._respond(200, json.dumps(answer).encode())
        else:
            self._respond(202, b"")

    def do_GET(self) -> None:
        self._respond(405, b"")

    do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    shelf = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    shelf.daemon_threads = True
    Thread(target=shelf.serve_forever, daemon=True).start()
    entry = {"type": "http", "url": f"http://127.0.0.1:{shelf.server_address[1]}/mcp"}
    servers = {f"s{number:02}": dict(entry) for number in range(SERVERS)}
    with Gateway(servers, tmp_path_factory.mktemp("fifty")) as gateway:
        until(
            lambda: gateway.get("/ready").json()["servers"].get("ready") == SERVERS,
            20,
            "all servers are ready",
        )
        yield gateway
    shelf.shutdown()
    shelf.server_close()


def fetch(gateway: Gateway, path: str) -> File:
    headers = {"Accept": "text/html", "Accept-Encoding": "gzip"}
    answer = gateway.request("GET", path, headers=headers)
    assert answer.status == 200, (path, answer)
    is_packed = answer.headers.get("content-encoding") == "gzip"
    plain = gzip.decompress(answer.body) if is_packed else answer.body
    return File(len(answer.body), plain.decode("utf-8", "ignore"))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_and_all_that_it_loads_is_small(gateway: Gateway, path: str) -> None:
    found = first_visit(path, lambda address: fetch(gateway, address))
    assert any(address.endswith("/app.css") for address in found)
    assert any(address.endswith("/js/pwa.js") for address in found)  # which only another script names
    assert sum(found.values()) < MAX_BYTES, found
    assert elements(fetch(gateway, path).text) < MAX_ELEMENTS


def test_many_tools_are_not_on_the_page_before_somebody_wants_them(gateway: Gateway) -> None:
    text = fetch(gateway, "/ui/tools").text
    assert text.count('class="group"') == SERVERS
    assert 'class="tool"' not in text
    assert fetch(gateway, "/ui/tools?server=s07").text.count('class="tool"') == TOOLS


def test_a_change_of_one_server_is_told_of_that_one(gateway: Gateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=ANSWER_TIMEOUT_S)
    connection.request("GET", "/ui/live/servers", headers={"Accept": "text/event-stream"})
    stream = connection.getresponse()

    def targets() -> list[str]:
        """Of the next event that replaces something."""
        while True:
            event = b"".join(iter(stream.readline, b"\n"))
            if found := re.findall(rb'<hx-partial hx-target="([^"]+)"', event):
                return [target.decode() for target in found]

    try:
        assert targets() == ["#servers"]  # all of them, in case one has changed since the page was made
        gateway.request("PATCH", "/api/servers/s07", {"enabled": False})
        assert targets() == ["#server-s07"]
    finally:
        connection.close()
        gateway.request("PATCH", "/api/servers/s07", {"enabled": True})


def test_what_many_show_is_rendered_once() -> None:
    kept = Kept(2)
    made: list[tuple[str, object]] = []

    def of(slot: str, facts: object) -> str:
        def make() -> Markup:
            made.append((slot, facts))
            return Markup("{}").format(f"{slot} {facts}")

        return str(kept.of(slot, facts, make))

    assert {of("git", {"state": "ready"}) for _ in range(100)} == {"git {&#39;state&#39;: &#39;ready&#39;}"}
    assert len(made) == 1
    of("git", {"state": "off"})
    assert len(made) == 2
    for slot, facts in (("time", 1), ("git", {"state": "off"}), ("wide", 1)):
        of(slot, facts)
    made.clear()
    of("git", {"state": "off"})
    assert made == []  # what was wanted last stays
    of("time", 1)
    assert made == [("time", 1)]


def test_templates_are_read_and_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = render.environment()
    names = [path.name for path in (Path(render.__file__).parent / "templates").glob("*.html")]
    first = {name: made.get_template(name) for name in names}
    monkeypatch.setattr(made, "compile", None)
    monkeypatch.setattr(Path, "read_text", None)
    assert all(made.get_template(name) is first[name] for name in names)


def test_many_who_watch_take_turns_and_are_told_less_often() -> None:
    async def watch() -> None:
        crowd, rounds = live.Crowd(), 0
        order: list[tuple[int, int]] = []

        async def count() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await asyncio.sleep(0)

        async def one(number: int) -> None:
            await crowd.turn()
            order.append((number, rounds))

        counting = asyncio.create_task(count())
        await asyncio.gather(*(one(number) for number in range(20)))
        counting.cancel()
        assert [number for number, _ in order] == list(range(20))
        assert len({at for _, at in order}) == 20  # each in a round of its own
        for watching, gather_s in ((1, live.GATHER_S), (100, 1.0), (2_000, live.GATHER_MAX_S)):
            for _ in range(watching):
                crowd.enter()
            assert crowd.gather_s == gather_s
            for _ in range(watching):
                crowd.leave()

    asyncio.run(watch())
