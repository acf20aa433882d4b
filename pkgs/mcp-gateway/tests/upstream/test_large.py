"""Messages in files, as a link tells them: only the result of a call may be one; whatever else is that
large ends what waits for it, by a sentence, and leaves nothing on disk."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.upstream.framing import Collector, Spooled
from mcp_gateway.upstream.lifecycle import State
from mcp_gateway.upstream.link import deliver
from tests.upstream.parts import FakeServer, Stage, failure_of, result_of, until

LONG = "x" * 5_000
RESULT: dict[str, Any] = {"content": [{"type": "text", "text": LONG}], "isError": False}


def say(server: FakeServer, spool_dir: Path, message: bytes | dict[str, Any]) -> int:
    """One message of the server, too large for memory; answers its size."""
    line = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
    collector = Collector(spool_dir, cap_bytes=1 << 30, spool_above_bytes=100)
    for at in range(0, len(line), 64):
        collector.feed(line[at : at + 64])
    whole = collector.finish()
    assert isinstance(whole, Spooled)
    deliver(server.now.peer, whole)
    return len(line)


async def waiting(stage: Stage, server: FakeServer, **config: Any) -> tuple[Exchange, int]:
    fake = await stage.fake(**config)
    call = stage.call(fake, "echo")
    await until(lambda: server.calls, "the call is at the server")
    return call, server.calls[0][1]


@pytest.mark.parametrize("as_text", [False, True])
async def test_a_call_ends_with_the_file_of_its_result(
    stage: Stage, server: FakeServer, spool_dir: Path, as_text: bool
) -> None:
    call, number = await waiting(stage, server)
    say(server, spool_dir, {"result": RESULT, "id": str(number) if as_text else number})
    assert call.ended
    assert isinstance(call.result, Spooled)
    assert json.loads(call.result.read_result(0, call.result.result_bytes)) == RESULT
    assert json.loads(bytes(call.result.skeleton)) == {"content": [], "isError": False}
    call.result.close()
    assert list(spool_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"error": {"code": 1, "message": LONG}}, "its error is {size} bytes long"),
        ({"result": [LONG]}, "its answer holds no result"),
        ({"result": LONG}, "its answer holds no result"),
        ({"more": LONG}, "its answer holds no result"),
        ({"result": {"content": LONG * 3}}, "its answer is longer than 10000 bytes"),
    ],
)
async def test_an_answer_that_is_no_result_loses_its_call(
    stage: Stage, server: FakeServer, spool_dir: Path, message: dict[str, Any], words: str
) -> None:
    call, number = await waiting(stage, server, max_result_bytes=10_000)
    size = say(server, spool_dir, {"id": number, **message})
    assert words.format(size=size) in (await failure_of(call, Kind.LOST)).detail
    assert list(spool_dir.iterdir()) == []


async def test_an_answer_that_is_not_on_disk_loses_its_call_alone(
    stage: Stage, server: FakeServer, spool_dir: Path
) -> None:
    call, number = await waiting(stage, server)
    size = say(server, spool_dir / "nowhere", {"id": number, "result": RESULT})
    detail = (await failure_of(call, Kind.LOST)).detail
    assert f"{size} bytes could not be put on disk: No such file" in detail


@pytest.mark.parametrize("id_first", [True, False])
async def test_a_broken_answer_loses_its_call_at_once(
    stage: Stage, server: FakeServer, spool_dir: Path, id_first: bool
) -> None:
    call, number = await waiting(stage, server)
    result = b'"result":{"a":[}' + LONG.encode() + b'"}'
    members = [b'"id":%d' % number, result]
    say(server, spool_dir, b'{"jsonrpc":"2.0",' + b",".join(members if id_first else members[::-1]) + b"}")
    assert "its answer is not valid" in (await failure_of(call, Kind.LOST)).detail
    assert list(spool_dir.iterdir()) == []


async def test_what_nobody_waits_for_is_dropped(stage: Stage, server: FakeServer, spool_dir: Path) -> None:
    call, number = await waiting(stage, server)
    say(server, spool_dir, {"id": number + 99, "result": RESULT})
    say(server, spool_dir, {"method": "notifications/message", "params": {"data": LONG}})
    say(
        server,
        spool_dir,
        {"method": "notifications/progress", "params": {"progressToken": number, "x": LONG}},
    )
    say(server, spool_dir, {"id": "ask", "method": "sampling/createMessage", "params": {"x": LONG}})
    assert list(spool_dir.iterdir()) == []
    assert not call.ended
    server.now.reply(number, {"content": []})
    assert await result_of(call) == {"content": []}
    assert [said["id"] for said in server.now.sent if "error" in said] == ["ask"]


async def test_the_gateways_own_question_is_lost(stage: Stage, server: FakeServer, spool_dir: Path) -> None:
    fake = await stage.fake()
    assert fake.life.state is State.READY
    asked: list[int] = []
    server.answers["tools/list"] = lambda _link, number, _params: asked.append(number)
    question = asyncio.ensure_future(fake.requests.ask("tools/list", {}, 10.0))
    await until(lambda: asked, "the question is at the server")
    size = say(server, spool_dir, {"id": asked[-1], "result": {"tools": [LONG]}})
    with pytest.raises(GatewayError, match=f"its answer to `tools/list` is {size} bytes long"):
        await question
    assert list(spool_dir.iterdir()) == []
