"""Clients that others wrote, as processes of their own that a test tells what to do.

`KINDS` is the table of them. `Visitor` is one that runs: it takes orders and hands back what its client made
of the gateway's answer, in the words of the wire. Knows how each is started, and of the gateway only URLs.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import real

PROGRAMS: Final = Path(__file__).with_name("programs")
LINE_LIMIT: Final = 1 << 24
LEAVE_S: Final = 15.0  # an SDK that waits for its streams before it goes
NEWEST_WITH_SESSIONS: Final = "2025-11-25"
MODERN: Final = "2026-07-28"


@dataclass(frozen=True)
class Kind:
    """One client in one mode. `command` is what starts it for a URL; the name it answers with may follow."""

    command: Callable[[str], list[str]]
    speaks: str  # the revision it and the gateway settle on
    needs: tuple[Path, ...] = ()
    says_goodbye: bool = True  # it ends its session when it leaves
    watches: bool = True  # it can be told of a resource that has changed


def python(interpreter: Path | str, program: str, *mode: str) -> Callable[[str], list[str]]:
    return lambda url: [str(interpreter), str(PROGRAMS / program), url, *mode]


def node(program: str, *mode: str) -> Callable[[str], list[str]]:
    return lambda url: ["node", str(real.NPM / program), url, *mode]


def through_mcp_remote(url: str) -> list[str]:
    bridge = json.dumps([str(real.MCP_REMOTE), url, "--transport", "http-only", "--silent"])
    return python(sys.executable, "python_sdk2.py", "legacy")(bridge)


KINDS: Final = {
    "python-sdk2-legacy": Kind(python(sys.executable, "python_sdk2.py", "legacy"), NEWEST_WITH_SESSIONS),
    "python-sdk2-auto": Kind(python(sys.executable, "python_sdk2.py", "auto"), MODERN),
    "python-sdk2-modern": Kind(python(sys.executable, "python_sdk2.py", MODERN), MODERN),
    "python-sdk1": Kind(
        python(real.PYTHON_SDK1, "python_sdk1.py"), NEWEST_WITH_SESSIONS, (real.PYTHON_SDK1,)
    ),
    "fastmcp-legacy": Kind(
        python(real.FASTMCP, "python_fastmcp.py", "legacy"),
        NEWEST_WITH_SESSIONS,
        (real.FASTMCP,),
        watches=False,
    ),
    "fastmcp-auto": Kind(
        python(real.FASTMCP, "python_fastmcp.py", "auto"), MODERN, (real.FASTMCP,), watches=False
    ),
    "typescript-sdk1": Kind(node("typescript-sdk1.mjs"), NEWEST_WITH_SESSIONS, (real.TYPESCRIPT_SDK1,)),
    "typescript-sdk2-legacy": Kind(
        node("typescript-sdk2.mjs", "legacy"), NEWEST_WITH_SESSIONS, (real.TYPESCRIPT_SDK2,)
    ),
    "typescript-sdk2-auto": Kind(node("typescript-sdk2.mjs", "auto"), MODERN, (real.TYPESCRIPT_SDK2,)),
    "typescript-sdk2-modern": Kind(node("typescript-sdk2.mjs", MODERN), MODERN, (real.TYPESCRIPT_SDK2,)),
    "mcp-remote": Kind(through_mcp_remote, NEWEST_WITH_SESSIONS, (real.MCP_REMOTE,), says_goodbye=False),
}


class Refused(Exception):
    """The client got an error instead of a result."""

    def __init__(self, code: int | None, message: str | None, data: Any, told: str) -> None:
        super().__init__(told)
        self.code = code
        self.message = message
        self.data = data


class Visitor:
    """One client that is connected."""

    def __init__(self, process: asyncio.subprocess.Process, hello: dict[str, Any]) -> None:
        self.process = process
        self.speaks: str = hello["speaks"]
        self.instructions: str | None = hello["instructions"]
        self.heard: list[tuple[str, Any]] = []  # what the server said by itself
        self.news = asyncio.Event()  # set whenever there is more of it
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ids = 0

    async def ask(self, verb: str, **order: Any) -> Any:
        """The result of one request as it is on the wire. Raises: Refused."""
        assert self.process.stdin is not None
        self._ids += 1
        answered = self._waiting[self._ids] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps({"id": self._ids, "do": verb, **order}).encode() + b"\n")
        return await answered

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        return await self.ask("call", name=tool, arguments=arguments)

    async def hears(self, what: str, params: Any) -> None:
        """Returns once the server has said this by itself; the caller bounds the wait."""
        while (what, params) not in self.heard:
            self.news.clear()
            await self.news.wait()

    async def listen(self) -> None:
        """Takes down what the program says until it has said all."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            if "heard" in message:
                self.heard.append((message["heard"], message["params"]))
                self.news.set()
                continue
            answered = self._waiting.pop(message["id"])
            if answered.done():
                continue  # whoever asked has given up
            if "refused" in message:
                said = message["refused"]
                answered.set_exception(
                    Refused(said.get("code"), said.get("message"), said.get("data"), said["as"])
                )
            else:
                answered.set_result(message["result"])
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(AssertionError("the client has ended and left this unanswered"))


@asynccontextmanager
async def visitor(kind: str, url: str, home: Path, *name: str) -> AsyncIterator[Visitor]:
    """The client, connected; leaving the block lets it take its leave and proves that it does."""
    home.mkdir(exist_ok=True)
    complaints = home / "stderr"
    with complaints.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *KINDS[kind].command(url),
            *name,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "MCP_REMOTE_CONFIG_DIR": str(home),
                "FASTMCP_CHECK_FOR_UPDATES": "off",
                "NO_PROXY": "127.0.0.1",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=LINE_LIMIT,
        )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        hello = await process.stdout.readline()
        assert hello, f"{kind} did not connect: {complaints.read_text(errors='replace')[-3000:]}"
        visiting = Visitor(process, json.loads(hello))
        listening = asyncio.create_task(visiting.listen())
        try:
            yield visiting
        finally:
            process.stdin.close()
            async with asyncio.timeout(LEAVE_S):
                await listening
                status = await process.wait()
        assert status == 0, f"{kind} ended with {status}: {complaints.read_text(errors='replace')[-3000:]}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
