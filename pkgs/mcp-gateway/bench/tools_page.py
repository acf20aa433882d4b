"""What the Tools page costs the gateway: `python -m bench.tools_page`.

In this process, without a network: a gateway whose servers are off, with a catalog of so many tools that read
like real ones. Cold is the first page after a change, warm is any other; a live update is what one page gets
when one tool was switched.
"""

import asyncio
import gzip
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from mcp_gateway import catalog
from mcp_gateway.access.caller import LOCAL_OPERATOR
from mcp_gateway.config import load
from mcp_gateway.config.model import ToolRules
from mcp_gateway.faces import rest
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.gateway import Gateway
from mcp_gateway.listed import Tool
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery

SIZES: Final = ((50, 50), (50, 40), (1, 2_000))
ROUNDS: Final = 15
WORDS: Final = tuple(
    word
    for line in (
        "search issue pull request repository branch commit file directory read write list create update",
        "delete message channel thread user database query table row page browser click navigate screenshot",
        "element returns the of a with for by given optional identifier result matching current workspace",
    )
    for word in line.split()
)


def tool(chance: random.Random, number: int) -> Tool:
    name = f"{chance.choice(WORDS)}_{chance.choice(WORDS)}_{number}"
    schema = {"type": "object", "properties": {chance.choice(WORDS): {"type": "string"} for _ in range(4)}}
    definition = {
        "name": name,
        "title": name.replace("_", " ").title(),
        "description": " ".join(chance.choices(WORDS, k=chance.randint(8, 60))),
        "inputSchema": schema,
        "annotations": {"readOnlyHint": chance.random() < 0.5, "openWorldHint": chance.random() < 0.5},
    }
    return Tool(name, json.dumps(definition).encode())


def offers(servers: int, each: int, seed: int) -> list[catalog.Offer]:
    chance = random.Random(seed)
    return [
        catalog.Offer(f"server-{at}", tuple(tool(chance, number) for number in range(each)), ToolRules())
        for at in range(servers)
    ]


class House:
    """The application with so many tools; `get` is one request."""

    def __init__(self, directory: Path, servers: int, each: int) -> None:
        text = json.dumps(
            {"mcpServers": {f"server-{at}": {"command": "true", "enabled": False} for at in range(servers)}}
        )
        (directory / "config.json").write_text(text)
        self.store = Store.open(directory / "state")
        config = load.load(directory / "config.json", {})
        self.gateway = Gateway(config, self.store, Nursery("bench", {}), {}, directory)
        self.app = rest.build(self.gateway, Sessions())
        self.seeds = count()
        self.servers, self.each = servers, each
        self.offers: list[catalog.Offer] = []

    def change_all(self) -> None:
        """Every server has other tools."""
        self.offers = offers(self.servers, self.each, next(self.seeds))
        self.fill()

    def fill(self) -> None:
        servers = self.gateway.servers
        servers.catalog = catalog.build(servers.catalog.version + 1, self.offers, servers.catalog)

    def switch_one(self) -> None:
        first = self.offers[0]
        off = frozenset() if first.off else frozenset({first.tools[0].name})
        self.offers[0] = catalog.Offer(first.server, first.tools, first.rules, off)
        self.fill()

    async def get(self, path: str, query: str = "") -> bytes:
        headers = {b"host": b"localhost", b"accept": b"text/html"}
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": list(headers.items()),
            "mcp_gateway.visit": Visit("GET", path.encode(), query.encode(), headers, LOCAL_OPERATOR),
        }
        body = bytearray()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200, message
            body.extend(message.get("body", b""))

        await self.app(scope, receive, send)
        return bytes(body)


async def timed(
    work: Callable[[], Awaitable[bytes]], before: Callable[[], object] | None = None
) -> tuple[float, int, int]:
    """Milliseconds at the median, bytes, and bytes as they are sent."""
    took = []
    body = b""
    for _ in range(ROUNDS):
        if before is not None:
            before()
        start = time.perf_counter()
        body = await work()
        took.append((time.perf_counter() - start) * 1_000)
    return statistics.median(took), len(body), len(gzip.compress(body, 4))


async def measure(servers: int, each: int) -> None:
    print(f"\n{servers} servers x {each} tools")
    with tempfile.TemporaryDirectory() as scratch:
        house = House(Path(scratch), servers, each)
        every = "&".join(f"server=server-{at}" for at in range(servers))

        async def say(
            what: str, path: str, query: str = "", before: Callable[[], object] | None = None
        ) -> None:
            took, size, sent = await timed(lambda: house.get(path, query), before)
            print(f"  {what:<44} {took:8.1f} ms {size / 1e3:9.1f} kB {sent / 1e3:8.1f} kB compressed")

        await house.gateway.start(Path(scratch) / "spool", Path(scratch) / "artifacts")
        house.change_all()
        try:
            await say("page, after all lists changed", "/ui/tools", before=house.change_all)
            await say("page", "/ui/tools")
            await say("page, after one tool was switched", "/ui/tools", before=house.switch_one)
            await say(
                "page of a search, after all lists changed", "/ui/tools", "search=issue", house.change_all
            )
            await say("search", "/ui/tools", "search=issue")
            await say("page of one server", "/ui/tools", "server=server-0")
            await say("all rows, after all lists changed", "/ui/tools/rows", every, house.change_all)
            await say("all rows", "/ui/tools/rows", every)
            await say("rows of one server", "/ui/tools/rows", "server=server-0", house.switch_one)
        finally:
            await house.gateway.stop()
            await house.store.close()


async def main() -> None:
    print(f"msgspec {msgspec.__version__}, median of {ROUNDS}")
    for servers, each in SIZES:
        await measure(servers, each)


if __name__ == "__main__":
    asyncio.run(main())
