"""What is done to servers, processes, sessions, feeds and the configuration while calls go on.

`Director.perform` does one disturbance of the schedule; `undo` takes back what still lasts when the
chaos is over. Only processes that carry the gateway's own token are ever signalled.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from tests.chaos import answers
from tests.chaos.answers import Wrong
from tests.chaos.callers import JSON, Client
from tests.chaos.cast import TURN_OPTIONS, Entry, odd_entry
from tests.chaos.schedule import Disturbance
from tests.chaos.stage import Stage
from tests.harness import TOKEN, Remote, hostile

STATES: Final = frozenset(
    {"off", "starting", "ready", "waiting", "needs login", "stopping", "failed", "idle"}
)
PRESSES: Final = 10  # restarts at once
STUCK_BYTES: Final = 8 << 20  # more than any socket's buffer takes
BURST: Final = 5  # configurations written one after the other
ANSWER_S: Final = 10.0
TWIN_S: Final = 2.0
GRACE_S: Final = 5.0  # of a disturbance beyond the time it lasts


@dataclass
class Director:
    """`entries` is the configuration that should be in force; `clients` own the MCP sessions."""

    stage: Stage
    entries: dict[str, Entry]
    clients: list[Client]
    web: aiohttp.ClientSession
    reloads: bool
    frozen: list[psutil.Process] = field(default_factory=list)
    turns: int = 0  # how often a process was chosen among those of its server
    guests: dict[str, Entry] = field(default_factory=dict)
    bouncing: dict[int, asyncio.Lock] = field(default_factory=dict)  # by the port of a remote server

    async def perform(self, deed: Disturbance) -> None:
        self.stage.done[deed.what] += 1
        try:
            async with asyncio.timeout(deed.lasts_s + ANSWER_S + GRACE_S):
                await DEEDS[deed.what](self, deed)
        except TimeoutError:
            self.stage.violate("I1 one answer", f"{deed}: no answer", deed.target)
        except (Wrong, LookupError, TypeError, AttributeError) as problem:
            self.stage.violate("I6 typed errors", f"{deed}: {problem!r}", deed.target)
        except (aiohttp.ClientError, OSError) as problem:
            self.stage.violate("I1 one answer", f"{deed}: the connection failed: {problem!r}", deed.target)

    async def undo(self) -> None:
        """Nothing is frozen, switched or configured otherwise than at the beginning."""
        for process in self.frozen:
            with contextlib.suppress(psutil.Error):
                process.resume()
        for kind in self.stage.kinds.values():
            if kind.twin is not None:
                await self.become(kind.twin, "good")
        if self.reloads:
            self.guests.clear()
            self.write(self.document())
            await self.reload(broken=False)

    # -- processes --------------------------------------------------------------------------------------

    async def process_of(self, server: str) -> psutil.Process | None:
        """One of the processes of a server in turn, if it runs any; never somebody else's."""
        twin = self.twin(server)
        if twin is not None:
            return None if twin.process is None else psutil.Process(twin.process.pid)
        shown = await self.show(server)
        pids = [] if shown is None else [one["pid"] for one in (shown, *shown["links"]) if one["pid"]]
        if not pids:
            return None
        self.turns += 1
        try:
            process = psutil.Process(pids[self.turns % len(pids)])
            is_ours = process.environ().get(TOKEN) == self.stage.gateway.token
        except psutil.Error:
            return None  # it has ended since
        return process if is_ours else None

    async def show(self, server: str) -> dict[str, Any] | None:
        async with self.web.get(f"/api/servers/{server}") as answer:
            shown = answers.parsed(await answer.read())
        if answer.status == 404 and self.stage.is_unsettled(server):
            return None
        if answer.status != 200 or shown["state"] not in STATES:
            raise Wrong(f"{answer.status} for a server: {shown}")
        return dict(shown)

    def twin(self, server: str) -> Remote | None:
        kind = self.stage.kinds.get(server)
        return None if kind is None else kind.twin

    async def kill(self, deed: Disturbance) -> None:
        twin = self.twin(deed.target)
        if twin is not None:
            await self.bounce(twin)
            return
        process = await self.process_of(deed.target)
        if process is not None:
            self.stage.touched[deed.target] += 1
            with contextlib.suppress(psutil.Error):
                process.kill()

    async def freeze(self, deed: Disturbance) -> None:
        process = await self.process_of(deed.target)
        if process is None:
            return
        self.stage.touched[deed.target] += 1
        self.frozen.append(process)
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(deed.lasts_s)
        with contextlib.suppress(psutil.Error):
            process.resume()
        self.frozen.remove(process)

    async def bounce(self, twin: Remote) -> None:
        """Somebody else restarts a remote server, on the port it had; the two must not overlap."""
        async with self.bouncing.setdefault(twin.port, asyncio.Lock()):
            await asyncio.to_thread(twin.stop)
            await asyncio.to_thread(twin.start)

    async def turn_bad(self, deed: Disturbance) -> None:
        twin = self.twin(deed.target)
        assert twin is not None, "only remote servers turn"
        await self.become(twin, deed.facts["mode"], **TURN_OPTIONS)
        await asyncio.sleep(deed.lasts_s)
        await self.become(twin, "good")

    async def become(self, twin: Remote, mode: str, **options: Any) -> None:
        """It may be frozen or gone at the moment; then it stays what it is, or is good when it is back."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            async with self.bouncing.setdefault(twin.port, asyncio.Lock()):
                await asyncio.to_thread(tell_twin, twin.control, mode, options)

    async def mend(self, server: str) -> None:
        """What a person does after repairing a remote server that the gateway has given up on."""
        shown = await self.show(server)
        if shown is not None and shown["state"] in ("failed", "needs login"):
            await self.send("POST", f"/api/servers/{server}/restart")

    # -- switches ---------------------------------------------------------------------------------------

    async def restart(self, deed: Disturbance) -> None:
        await self.press(deed, 1)

    async def press(self, deed: Disturbance, times: int = PRESSES) -> None:
        self.stage.touched[deed.target] += times
        path = f"/api/servers/{deed.target}/restart"
        for status in await asyncio.gather(*(self.send("POST", path) for _ in range(times))):
            self.expect(status, 202, deed.target)

    async def switch(self, deed: Disturbance) -> None:
        self.stage.unsettle(deed.target, deed.lasts_s)
        self.stage.touched[deed.target] += 1
        await self.turn(deed.target, False)
        await asyncio.sleep(deed.lasts_s)
        self.stage.unsettle(deed.target)
        await self.turn(deed.target, True)

    async def turn(self, server: str, enabled: bool | None) -> None:
        status = await self.send("PATCH", f"/api/servers/{server}", {"enabled": enabled})
        self.expect(status, 200, server)

    async def tool(self, deed: Disturbance) -> None:
        """Switches a tool nobody calls: the lists change under everybody's feet."""
        path = f"/api/tools/{deed.target}/stats"
        if await self.send("PATCH", path, {"enabled": False}) == 200:
            await asyncio.sleep(deed.lasts_s)
            await self.send("PATCH", path, {"enabled": True})

    def expect(self, status: int, wanted: int, server: str) -> None:
        if status != wanted and not (status == 404 and self.stage.is_unsettled(server)):
            raise Wrong(f"{status} instead of {wanted}")

    async def send(self, method: str, path: str, body: Any = None) -> int:
        data = None if body is None else json.dumps(body).encode()
        async with self.web.request(method, path, data=data, headers=JSON) as answer:
            said = await answer.read()
            if answer.status >= 400:
                answers.of_problem(answers.parsed(said), None)
            if answer.status >= 500:
                raise Wrong(f"{answer.status}: {said[:300]!r}")
            return answer.status

    # -- the configuration ------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        gateway = self.stage.gateway
        entries = (self.entries | self.guests).items()
        servers = {name: gateway.configured(name, entry) for name, entry in entries}
        return {"mcpServers": servers, "gateway": gateway.gateway}

    def write(self, document: Any, cut: int | None = None) -> None:
        """By rename, as editors do it; `cut` leaves only the first so many characters."""
        path = self.stage.gateway.directory / "config.json"
        fresh = path.with_suffix(".new")
        text = document if isinstance(document, str) else json.dumps(document, indent=1)
        fresh.write_text(text[:cut])
        fresh.chmod(0o600)
        os.replace(fresh, path)

    async def change(self, deed: Disturbance) -> None:
        how = deed.facts["how"]
        if how == "broken":
            await self.break_config(deed.facts["broken"])
            return
        self.stage.unsettle(deed.target)
        if how == "change":
            self.stage.touched[deed.target] += 1
            self.entries[deed.target] = self.entries[deed.target] | {"timeout": deed.facts["timeout"]}
        elif how == "guest":
            mode = deed.facts["mode"]
            self.guests.pop(deed.target, None)
            if mode:
                self.guests[deed.target] = hostile("good") if mode == "good" else odd_entry(mode)
        for _ in range(BURST if how == "burst" else 1):
            self.write(self.document())
        await self.reload(broken=False)
        self.stage.unsettle(deed.target)

    async def break_config(self, broken: str) -> None:
        """A file that cannot be used changes nothing; the next reload brings a whole one."""
        document = self.document()
        match broken:
            case "half":
                self.write(document, cut=len(json.dumps(document)) // 2)
            case "unknown-key":
                self.write(document | {"mcpServer": {}})
            case "two-names":
                twice = {"calm": hostile("good"), "Calm": hostile("good")}
                self.write(document | {"mcpServers": document["mcpServers"] | twice})
            case "empty":
                self.write("")
            case _:
                self.write("[]")
        await self.reload(broken=True)
        self.write(self.document())
        await self.reload(broken=False)

    async def reload(self, *, broken: bool) -> None:
        async with self.web.post("/api/reload") as answer:
            said = await answer.read()
        if broken:
            if not 400 <= answer.status < 500:
                raise Wrong(f"{answer.status} for a broken configuration: {said[:300]!r}")
            document = answers.parsed(said)
            document.pop("problems", None)  # with their places; more than other errors have
            answers.of_problem(document, None)
        elif not 200 <= answer.status < 300:
            raise Wrong(f"{answer.status} for a reload: {said[:300]!r}")

    # -- whoever listens and looks ----------------------------------------------------------------------

    async def feed(self, deed: Disturbance) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deed.lasts_s), self.web.get(deed.target) as answer:
                async for _, data in answers.events(answer.content.iter_any()):
                    answers.parsed(data)

    async def deaf_feed(self, deed: Disturbance) -> None:
        async with self.web.get(deed.target):
            await asyncio.sleep(deed.lasts_s)

    async def stuck(self, deed: Disturbance) -> None:
        """Asks for a large answer, reads its head and nothing more, and hangs up in the end."""
        self.stage.maybe += 1
        data = json.dumps({"bytes": STUCK_BYTES}).encode()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deed.lasts_s):
                async with self.web.post(f"/api/tools/{deed.target}/blob", data=data, headers=JSON):
                    await asyncio.sleep(deed.lasts_s)

    async def look(self, deed: Disturbance) -> None:
        async with self.web.get(deed.target) as answer:
            said = await answer.read()
            if answer.status != 200 or not said:
                raise Wrong(f"{answer.status} for {deed.target}: {said[:200]!r}")

    async def junk(self, deed: Disturbance) -> None:
        """Bytes that are no request, and silence after them; whatever the gateway says is fine."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.stage.gateway.port)
        try:
            writer.write(deed.facts["bytes"].encode("latin-1"))
            await asyncio.sleep(deed.lasts_s)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def drop(self, deed: Disturbance) -> None:
        self.clients[deed.client].drop(deed.target)

    async def end(self, deed: Disturbance) -> None:
        await self.clients[deed.client].end(deed.target)

    async def listen(self, deed: Disturbance) -> None:
        await self.clients[deed.client].listen(deed.target, deed.lasts_s)

    async def hear(self, deed: Disturbance) -> None:
        await self.clients[deed.client].hear(deed.target, deed.lasts_s)


async def can_reload(web: aiohttp.ClientSession) -> bool:
    """Whether this gateway has a hot reload; the file is whole, so asking changes nothing."""
    async with web.post("/api/reload") as answer:
        await answer.read()
        return answer.status not in (404, 405)


def tell_twin(port: int, mode: str, options: dict[str, Any]) -> None:
    """As `Remote.become`, but with little patience: a frozen server is not to hold up the run."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TWIN_S)
    try:
        connection.request("POST", "/", json.dumps({"on": "", "times": -1, **options, "mode": mode}))
        connection.getresponse().read()
    finally:
        connection.close()


def starts_of(directory: Path) -> dict[str, int]:
    """How many processes each hostile server was started as, by the files they mark."""
    return {path.stem: len(path.read_bytes().splitlines()) for path in directory.glob("*.marks")}


DEEDS: Final[dict[str, Callable[[Director, Disturbance], Awaitable[None]]]] = {
    "kill": Director.kill,
    "freeze": Director.freeze,
    "turn": Director.turn_bad,
    "restart": Director.restart,
    "press": Director.press,
    "switch": Director.switch,
    "tool": Director.tool,
    "reload": Director.change,
    "feed": Director.feed,
    "deaf-feed": Director.deaf_feed,
    "stuck": Director.stuck,
    "look": Director.look,
    "junk": Director.junk,
    "drop": Director.drop,
    "end": Director.end,
    "listen": Director.listen,
    "hear": Director.hear,
}
