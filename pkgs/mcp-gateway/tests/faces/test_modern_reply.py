"""The answer to one request of the modern era while time goes by; the clock is set by hand."""

import asyncio
import json
from typing import Any

import pytest

from mcp_gateway import clock
from mcp_gateway.access.caller import LOCAL_OPERATOR
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.mcp.modern import Reply
from mcp_gateway.wire.envelope import read_message

MESSAGE = read_message(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}')
BOTH = b"application/json, text/event-stream"


class Stage:
    """A client that takes what it gets, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.sent: list[Any] = []
        self.gone = asyncio.Event()
        monkeypatch.setattr(clock, "now_s", lambda: self.now)

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def reply(self, accept: bytes = BOTH) -> Reply:
        visit = Visit("POST", b"/mcp", b"", {b"accept": accept}, LOCAL_OPERATOR)
        return Reply(MESSAGE, visit, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


async def test_silence_makes_it_a_stream_and_keeps_that_alive(stage: Stage) -> None:
    reply = stage.reply()
    for seconds, sent in ((14.9, 0), (0.1, 1), (14.9, 1), (0.1, 2), (15.0, 3)):
        stage.now += seconds
        await reply.still()
        assert stage.body.count(b": keep-alive\n\n") == sent
    await reply.answer(b'{"x":1}')
    reply.close()
    assert stage.body.endswith(b'event: message\ndata: {"x":1}\n\n')
    assert b"id:" not in stage.body
    assert dict(stage.sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert stage.sent[-1].get("more_body", False) is False


async def test_what_is_said_puts_off_the_sign_of_life(stage: Stage) -> None:
    reply = stage.reply()
    stage.now += 10
    await reply.tell(b'{"method":"x"}')
    stage.now += 10
    await reply.still()
    assert stage.body == b'event: message\ndata: {"method":"x"}\n\n'
    reply.close()


async def test_who_takes_no_stream_waits_in_silence(stage: Stage) -> None:
    reply = stage.reply(b"application/json")
    stage.now += 100
    await reply.still()
    await reply.tell(b'{"method":"x"}')
    assert stage.sent == []
    await reply.fail(b"1", GatewayError(Kind.UNKNOWN, "no", rpc_code=-32601))
    assert stage.status == 404
    reply.close()


async def test_an_error_keeps_its_status_until_something_was_said(stage: Stage) -> None:
    reply = stage.reply()
    stage.now += 15
    await reply.still()
    await reply.fail(b"1", GatewayError(Kind.INVALID, "no"))
    assert stage.status == 200
    assert json.loads(stage.body.rpartition(b"data: ")[2])["error"]["code"] == -32602
    reply.close()


async def test_a_quick_answer_costs_no_watcher(stage: Stage) -> None:
    reply = stage.reply()
    before = asyncio.all_tasks()
    await reply.answer(b"{}")
    assert asyncio.all_tasks() == before
    await stage.reply().still()
    (watcher,) = asyncio.all_tasks() - before
    watcher.cancel()
