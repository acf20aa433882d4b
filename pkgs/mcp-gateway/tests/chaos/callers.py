"""Calls as clients make them: over REST and MCP, patient, impatient, slow, gone.

One `Client` is one program with its own connections and MCP sessions. Each call ends in a `Told`, or in
None when its caller did not stay to hear. What may be told is the stage's to judge.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.chaos import answers
from tests.chaos.answers import Told, Wrong
from tests.chaos.schedule import ASKED, Call
from tests.chaos.stage import Stage
from tests.faces.knocking import BOTH_KINDS, Modern

POLL_S: Final = 0.1
SLOW_BYTES: Final = 64 << 10
SLOW_PAUSE_S: Final = 0.1
# More than the deadline of the call itself: reading slowly, polling, a session that is opened first.
EXTRA_S: Final = {"slow": 2.0, "poll": 0.5, "follow": 0.5, "delete": 0.5}
IDLE_S: Final = 2.0  # below the gateway's: a request must not meet a connection that is being closed
JSON: Final = {"Content-Type": "application/json"}
CALL_ID: Final = "mcp-gateway-call"
REVISION: Final = "2025-11-25"
CAN: Final[dict[str, Any]] = {"elicitation": {}, "sampling": {}}
SILENT_EVERY: Final = 4  # of the questions put to a client one in so many is not answered
LIST_CHANGED: Final = {f"notifications/{kind}/list_changed" for kind in ("tools", "resources", "prompts")}
LISTEN: Final = "subscriptions/listen"


@dataclass
class Session:
    """One MCP session. `closed` is set before anything is sent that may close it."""

    endpoint: str
    id: str = ""
    closed: bool = False
    ids: int = 0

    @property
    def headers(self) -> dict[str, str]:
        headers = JSON | {"Accept": BOTH_KINDS, "MCP-Protocol-Version": REVISION}
        return headers | ({"Mcp-Session-Id": self.id} if self.id else {})

    def next_id(self) -> int:
        """Every session counts from 1, so that equal ids are under way all the time."""
        self.ids += 1
        return self.ids


@dataclass
class Client:
    stage: Stage
    number: int
    sessions: dict[str, Session] = field(default_factory=dict)
    latencies: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # server -> (at, seconds)

    async def __aenter__(self) -> "Client":
        # One of them never uses a connection twice.
        connector = (
            aiohttp.TCPConnector(limit=0, force_close=True)
            if self.number == 0
            else aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S)
        )
        self.web = aiohttp.ClientSession(
            f"http://127.0.0.1:{self.stage.gateway.port}",
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.web.close()

    async def perform(self, call: Call) -> None:
        """Makes the call and has the stage judge what came of it."""
        stage = self.stage
        due_s = stage.hard_s(call.server) + EXTRA_S.get(call.way, 0.0)
        began, began_at = time.monotonic(), stage.now
        try:
            async with asyncio.timeout(due_s + stage.bounds.hang_s):
                await WAYS[call.way](self, call)
        except TimeoutError:
            stage.maybe += 1
            stage.violate(
                "I1 one answer", f"{call}: no answer in {due_s + stage.bounds.hang_s:g} s", call.server
            )
        except Wrong as problem:
            stage.maybe += 1
            stage.violate("I6 typed errors", f"{call}: {problem}", call.server)
        except (LookupError, TypeError, AttributeError) as problem:
            stage.maybe += 1
            stage.violate("I6 typed errors", f"{call}: not an answer of this shape: {problem!r}", call.server)
        except (aiohttp.ClientError, OSError) as problem:
            stage.maybe += 1
            stage.violate("I1 one answer", f"{call}: the connection failed: {problem!r}", call.server)
        else:
            self.check_time(call, began_at, time.monotonic() - began, due_s)

    def check_time(self, call: Call, began_at: float, took_s: float, due_s: float) -> None:
        stage = self.stage
        late_s = took_s - due_s - stage.own_lag_s(began_at)
        if late_s > stage.bounds.late_s:
            stage.violate("I1 in time", f"{call}: answered {late_s:.1f} s after its deadline", call.server)
        if call.tool == "echo":  # the other tools take the time they are told to take
            self.latencies.setdefault(call.server, []).append((began_at, took_s))

    # -- REST -------------------------------------------------------------------------------------------

    def post(self, call: Call, **headers: str) -> Any:
        path = f"/api/tools/{call.server}/{call.tool}"
        return self.web.post(path, data=json.dumps(call.arguments).encode(), headers=JSON | headers)

    async def rest(self, call: Call) -> None:
        async with self.post(call) as answer:
            self.stage.judge(call, of_rest(answer, await answer.read()))

    async def bad_json(self, call: Call) -> None:
        path = f"/api/tools/{call.server}/{call.tool}"
        async with self.web.post(path, data=b'{"text": "half', headers=JSON) as answer:
            self.stage.judge(call, of_rest(answer, await answer.read()))

    async def no_tool(self, call: Call) -> None:
        async with self.web.post(
            f"/api/tools/{call.server}/no-such-tool", data=b"{}", headers=JSON
        ) as answer:
            self.stage.judge(call, of_rest(answer, await answer.read()))

    async def slow(self, call: Call) -> None:
        async with self.post(call) as answer:
            parts = []
            while part := await answer.content.read(SLOW_BYTES):
                parts.append(part)
                await asyncio.sleep(SLOW_PAUSE_S)
            self.stage.judge(call, of_rest(answer, b"".join(parts)))

    async def stream(self, call: Call) -> None:
        async with self.post(call, Accept="text/event-stream") as answer:
            self.stage.judge(call, await self.read_stream(call, answer))

    async def read_stream(self, call: Call, answer: aiohttp.ClientResponse) -> Told:
        if answer.status != 200:
            return of_rest(answer, await answer.read())
        call_id = answer.headers[CALL_ID]
        told: Told | None = None
        done = float("-inf")
        async for event, data in answers.events(answer.content.iter_any()):
            if told is not None:
                raise Wrong(f"{event} after the end of the stream: {data[:200]}")
            if event == "result":
                told = answers.of_result(answers.parsed(data), call_id)
            elif event == "error":
                told = answers.of_problem(answers.parsed(data), call_id)
            elif event == "progress":
                done = self.check_progress(call, answers.parsed(data), done)
            elif event != "log":
                raise Wrong(f"an event named {event}: {data[:200]}")
        if told is None:
            raise Wrong("the stream ended without an answer")
        return told

    def check_progress(self, call: Call, params: dict[str, Any], done: float) -> float:
        """The progress of this very call, in order; how far it is."""
        progress: float = params["progress"]
        if progress < done:
            raise Wrong(f"progress went back from {done} to {progress}")
        if call.tool == "progress" and params.get("total") != call.arguments["steps"]:
            raise Wrong(f"somebody else's progress: {params}")
        return progress

    async def start(self, call: Call) -> str | None:
        """Starts an asynchronous call; its id, or None when it was refused."""
        async with self.post(call, Prefer="respond-async") as answer:
            body = await answer.read()
            if answer.status != 202:
                self.stage.judge(call, of_rest(answer, body))
                return None
            call_id: str = answers.parsed(body)["id"]
            if answer.headers["location"] != f"/api/calls/{call_id}":
                raise Wrong(f"call {call_id} is said to be at {answer.headers['location']}")
            return call_id

    async def wait_for(self, call_id: str) -> Told:
        while True:
            async with self.web.get(f"/api/calls/{call_id}") as answer:
                state = answers.parsed(await answer.read())
            if answer.status != 200:
                raise Wrong(f"{answer.status} for a call that was accepted: {state}")
            if state["outcome"] != "running":
                break
            await asyncio.sleep(POLL_S)
        if "result" in state:
            told = answers.of_result(state["result"], call_id)
        else:
            told = answers.of_problem(state["problem"], call_id)
        if told.outcome != state["outcome"]:
            raise Wrong(f"told {told.outcome} beside the outcome {state['outcome']}")
        return told

    async def poll(self, call: Call) -> None:
        call_id = await self.start(call)
        if call_id is not None:
            self.stage.judge(call, await self.wait_for(call_id))

    async def follow(self, call: Call) -> None:
        call_id = await self.start(call)
        if call_id is not None:
            sent = {"Accept": "text/event-stream"}
            async with self.web.get(f"/api/calls/{call_id}", headers=sent) as answer:
                self.stage.judge(call, await self.read_stream(call, answer))

    async def delete(self, call: Call) -> None:
        call_id = await self.start(call)
        if call_id is None:
            return
        await asyncio.sleep(call.patience_s)
        async with self.web.delete(f"/api/calls/{call_id}") as answer:
            body = await answer.read()
            if answer.status != 202 and answer.status != 409:
                raise Wrong(f"{answer.status} for taking back a call: {body[:200]!r}")
        self.stage.judge(call, await self.wait_for(call_id))

    async def hang_up(self, call: Call) -> None:
        await self.leave(call, self.rest(call))

    async def hang_up_stream(self, call: Call) -> None:
        await self.leave(call, self.stream(call))

    async def leave(self, call: Call, waiting: Awaitable[None]) -> None:
        """Waits as long as the caller's patience lasts, then closes the connection."""
        try:
            async with asyncio.timeout(call.patience_s):
                await waiting
        except TimeoutError:
            self.stage.maybe += 1
            self.stage.outcomes[call.way, "(gone)"] += 1

    # -- MCP of the handshake era -----------------------------------------------------------------------

    async def session(self, endpoint: str, *, is_plain: bool = False) -> Session | Told:
        """A live session of this client at an endpoint, or what was said instead of opening one.

        `is_plain`: one that cannot be asked, also of the client that can.
        """
        key = f"{endpoint} plain" if is_plain else endpoint
        known = self.sessions.get(key)
        if known is not None and not known.closed:
            return known
        session = Session(endpoint)
        can = CAN if self.number == ASKED and not is_plain else {}
        asked = {
            "protocolVersion": REVISION,
            "capabilities": can,
            "clientInfo": {"name": "c", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": "open", "method": "initialize", "params": asked}
        async with self.web.post(endpoint, json=message, headers=session.headers) as answer:
            body = answers.parsed(await answer.read())
            if answer.status != 200:
                return answers.of_rpc(body, None, None)
            if body.get("id") != "open" or body["result"]["protocolVersion"] != REVISION:
                raise Wrong(f"not an answer to initialize: {body}")
            session.id = answer.headers["mcp-session-id"]
        self.sessions[key] = session
        await self.notify(session, "notifications/initialized")
        return session

    async def notify(self, session: Session, method: str, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})
        async with self.web.post(session.endpoint, json=message, headers=session.headers) as answer:
            body = await answer.read()
        if (answer.status, body) != (202, b"") and not self.may_be_gone(session):
            raise Wrong(f"{answer.status} for {method}: {body[:200]!r}")

    def may_be_gone(self, session: Session) -> bool:
        """Whether the session was closed, or the server it belongs to may have been taken away."""
        server = session.endpoint.removeprefix("/servers/").removesuffix("/mcp")
        return session.closed or self.stage.is_unsettled(server)

    async def call_over_mcp(
        self,
        call: Call,
        *,
        token: bool = False,
        tool: str = "",
        started: Callable[[Session, int], None] | None = None,
    ) -> None:
        is_asked = self.stage.is_asked(call)
        session = await self.session(call.endpoint, is_plain=self.number == ASKED and not is_asked)
        if isinstance(session, Told):
            self.stage.judge(call, session)
            return
        self.stage.beside[call.server] += is_asked
        name = tool or (f"{call.server}__{call.tool}" if call.endpoint == "/mcp" else call.tool)
        number = session.next_id()
        params: dict[str, Any] = {"name": name, "arguments": call.arguments}
        if token:
            params["_meta"] = {"progressToken": f"p{number}"}
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        if started is not None:
            started(session, number)
        async with self.web.post(session.endpoint, json=message, headers=session.headers) as answer:
            told = await self.read_mcp(call, answer, number, session)
        if told.outcome == "unknown" and told.call_id is None and not session.closed:
            session.closed = True  # the server behind its endpoint is gone, and it with that
        self.stage.judge(call, told, was_cancelled=session.closed)

    async def read_mcp(
        self, call: Call, answer: aiohttp.ClientResponse, number: int, session: Session
    ) -> Told:
        call_id = answer.headers.get(CALL_ID)
        if answer.status == 404:  # no such session, or no such server any more
            return answers.of_rpc(answers.parsed(await answer.read()), None, None)
        if not answer.content_type.startswith("text/event-stream"):
            body = await answer.read()
            if answer.status == 202 and not body and (call.way == "mcp-cancel" or session.closed):
                return Told("cancelled", call_id, "")
            if answer.status != 200:
                raise Wrong(f"{answer.status} for a call: {body[:200]!r}")
            return answers.of_rpc(answers.parsed(body), number, call_id)
        told: Told | None = None
        done = float("-inf")
        async for _, data in answers.events(answer.content.iter_any()):
            message = answers.parsed(data)
            if told is not None:
                raise Wrong(f"a message after the answer: {data[:200]}")
            if message.get("method") == "notifications/progress":
                if message["params"].get("progressToken") != f"p{number}":
                    raise Wrong(f"somebody else's progress: {data[:200]}")
                done = self.check_progress(call, message["params"], done)
            elif "method" in message:
                await self.hear_message(call, session, message)
            else:
                told = answers.of_rpc(message, number, call_id)
        if told is None and call.way == "mcp-cancel":
            return Told("cancelled", call_id, "")
        if told is None:
            raise Wrong("the stream ended without an answer")
        return told

    async def hear_message(self, call: Call, session: Session, message: dict[str, Any]) -> None:
        """A log message; or a question of the server, or that it is taken back, for who can be asked."""
        if message["method"] == "notifications/message":
            return
        if not self.stage.is_asked(call):
            raise Wrong(f"a client that cannot be asked is told {message}")
        if "id" not in message or message["id"] % SILENT_EVERY == 0:
            return
        said = {"jsonrpc": "2.0", "id": message["id"], "result": {"action": "decline"}}
        async with self.web.post(session.endpoint, json=said, headers=session.headers) as answer:
            body = await answer.read()
        if (answer.status, body) != (202, b"") and not self.may_be_gone(session):
            raise Wrong(f"{answer.status} for an answer: {body[:200]!r}")

    # -- MCP of the modern era --------------------------------------------------------------------------

    async def modern(self, call: Call) -> None:
        asker = Modern(self.stage.gateway, call.endpoint)
        name = f"{call.server}__{call.tool}" if call.endpoint == "/mcp" else call.tool
        params = {"name": name, "arguments": call.arguments}
        body = asker.message("tools/call", params, call.number, progressToken="m")
        headers = JSON | asker.headers("tools/call", params)
        self.stage.beside[call.server] += 1
        async with self.web.post(call.endpoint, data=body, headers=headers) as answer:
            self.stage.judge(call, await self.read_modern(call, answer))

    async def read_modern(self, call: Call, answer: aiohttp.ClientResponse) -> Told:
        call_id = answer.headers.get(CALL_ID)
        if not answer.content_type.startswith("text/event-stream"):
            message = answers.parsed(await answer.read())
            if answer.status not in (200, 400, 404):
                raise Wrong(f"{answer.status} in the modern era: {str(message)[:200]}")
            is_of_call = answer.status != 404 or "id" in message
            return answers.of_rpc(message, call.number if is_of_call else None, call_id)
        told: Told | None = None
        async for _, data in answers.events(answer.content.iter_any()):
            message = answers.parsed(data)
            if told is not None:
                raise Wrong(f"a message after the answer: {data[:200]}")
            if "method" not in message:
                told = answers.of_rpc(message, call.number, call_id)
            elif "id" in message:
                raise Wrong(f"a question in the modern era: {data[:200]}")
        if told is None:
            raise Wrong("the stream ended without an answer")
        return told

    async def modern_hang_up(self, call: Call) -> None:
        await self.leave(call, self.modern(call))

    async def hear(self, endpoint: str, lasts_s: float) -> None:
        """A stream that tells what changes, open for a while."""
        asker = Modern(self.stage.gateway, endpoint)
        body = asker.message(LISTEN, {"notifications": {"toolsListChanged": True}}, "hear")
        headers = JSON | asker.headers(LISTEN)
        server = endpoint.removeprefix("/servers/").removesuffix("/mcp")
        wanted = "notifications/subscriptions/acknowledged"
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(lasts_s),
                self.web.post(endpoint, data=body, headers=headers) as answer,
            ):
                if answer.status != 200:
                    if not self.stage.is_unsettled(server):
                        raise Wrong(f"{answer.status} for a stream that tells what changes")
                    return
                async for _, data in answers.events(answer.content.iter_any()):
                    if answers.parsed(data).get("method") != wanted:
                        raise Wrong(f"on a stream that tells what changes: {data[:200]}")
                    wanted = "notifications/tools/list_changed"

    # -- what MCP clients do beside that ----------------------------------------------------------------

    async def mcp(self, call: Call) -> None:
        await self.call_over_mcp(call)

    async def mcp_progress(self, call: Call) -> None:
        await self.call_over_mcp(call, token=True)

    async def mcp_no_tool(self, call: Call) -> None:
        await self.call_over_mcp(call, tool="no-such-tool")

    async def mcp_hang_up(self, call: Call) -> None:
        await self.leave(call, self.call_over_mcp(call))

    async def mcp_cancel(self, call: Call) -> None:
        """Takes the call back on another connection while it runs; its own connection stays."""
        cancelling: list[asyncio.Task[None]] = []

        def started(session: Session, number: int) -> None:
            cancelling.append(asyncio.create_task(self.cancel_later(session, number, call.patience_s)))

        try:
            await self.call_over_mcp(call, token=call.number % 2 == 0, started=started)
        finally:
            for task in cancelling:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await task

    async def cancel_later(self, session: Session, number: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.notify(session, "notifications/cancelled", requestId=number, reason="changed my mind")

    # -- what is done to sessions -----------------------------------------------------------------------

    def drop(self, endpoint: str) -> None:
        """Forgets a session without a word, as a client that crashed does."""
        self.sessions.pop(endpoint, None)

    async def end(self, endpoint: str) -> None:
        session = self.sessions.pop(endpoint, None)
        if session is None:
            return
        was_gone = self.may_be_gone(session)
        session.closed = True
        async with self.web.delete(endpoint, headers=session.headers) as answer:
            if answer.status not in ((204, 404) if was_gone else (204,)):
                raise Wrong(f"{answer.status} for the end of a session")

    async def listen(self, endpoint: str, lasts_s: float) -> None:
        """The session's own stream, open for a while."""
        session = await self.session(endpoint)
        if isinstance(session, Told):
            return
        headers = session.headers | {"Accept": "text/event-stream"}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lasts_s), self.web.get(endpoint, headers=headers) as answer:
                if answer.status != 200:
                    if not self.may_be_gone(session):
                        raise Wrong(f"{answer.status} for a session's own stream")
                    return
                async for _, data in answers.events(answer.content.iter_any()):
                    if answers.parsed(data).get("method") not in LIST_CHANGED:
                        raise Wrong(f"on a session's own stream: {data[:200]}")


def of_rest(answer: aiohttp.ClientResponse, body: bytes) -> Told:
    return answers.of_rest(
        answer.status, answer.headers.get("content-type", ""), body, answer.headers.get(CALL_ID)
    )


WAYS: Final[dict[str, Callable[[Client, Call], Awaitable[None]]]] = {
    "rest": Client.rest,
    "stream": Client.stream,
    "poll": Client.poll,
    "follow": Client.follow,
    "slow": Client.slow,
    "mcp": Client.mcp,
    "mcp-progress": Client.mcp_progress,
    "bad-json": Client.bad_json,
    "no-tool": Client.no_tool,
    "mcp-no-tool": Client.mcp_no_tool,
    "delete": Client.delete,
    "hang-up": Client.hang_up,
    "hang-up-stream": Client.hang_up_stream,
    "mcp-cancel": Client.mcp_cancel,
    "mcp-hang-up": Client.mcp_hang_up,
    "modern": Client.modern,
    "modern-hang-up": Client.modern_hang_up,
}
