"""Many calls over one link: ids, tokens, the queue, deadlines, and answers of every kind.

The server is in this process and says exactly what the test lets it say.
"""

import asyncio
import json
import random
from typing import Any

import pytest

from mcp_gateway.errors import CallCancelled, GatewayError, Kind, UpstreamAnswered
from mcp_gateway.upstream.exchange import MAX_NOTES, Exchange, Note
from mcp_gateway.upstream.lifecycle import Restart, Start, State
from mcp_gateway.upstream.stance import Scope, Stance
from mcp_gateway.upstream.upstream import Upstream
from tests.upstream.parts import ALL_ASKS, FakeServer, Stage, exchange_of, failure_of, result_of, until

RESULT: dict[str, Any] = {"content": [], "isError": False}


def answer(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": False}


async def sent(server: FakeServer, count: int) -> None:
    await until(lambda: len(server.calls) >= count, f"{count} calls reach the server")


async def one_call(stage: Stage, server: FakeServer, **config: Any) -> tuple[Upstream, Exchange, int]:
    """An upstream with one call that its server has and has not answered."""
    fake = await stage.fake(**config)
    exchange = stage.call(fake, "echo")
    await sent(server, 1)
    return fake, exchange, server.calls[0][1]


# -- ids ------------------------------------------------------------------------------------------------


async def test_answers_in_any_order_reach_the_calls_they_belong_to(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake(concurrency=500)
    calls = [stage.call(fake, "echo", {"same": True}) for _ in range(500)]
    await sent(server, 500)
    numbers = [number for _, number, _ in server.calls]
    assert len(set(numbers)) == 500
    order = list(range(500))
    random.Random(7).shuffle(order)
    for position in order:
        server.now.reply(numbers[position], answer(str(position)))
    for position, call in enumerate(calls):
        assert await result_of(call) == answer(str(position))
    assert (fake.requests.in_flight, fake.requests.total, dict(fake.requests.counts)) == (0, 500, {})


async def test_an_id_may_come_back_as_text(stage: Stage, server: FakeServer) -> None:
    _, call, number = await one_call(stage, server)
    server.now.say({"id": str(number), "result": RESULT})
    assert await result_of(call) == RESULT


@pytest.mark.parametrize(
    "stranger",
    [
        "999999999",
        "-1",
        '"stranger"',
        '"0x%d"',
        '"%d.0"',
        '" %d"',
        '"arabic"',
        '"%019d"',
        "null",
        "1" * 30,
        f'"{10**40}"',
    ],
)
async def test_an_answer_to_nobody_is_counted_and_changes_nothing(
    stage: Stage, server: FakeServer, stranger: str
) -> None:
    fake, call, number = await one_call(stage, server)
    identity = stranger % number if "%" in stranger else stranger
    if stranger == '"arabic"':
        identity = f'"{"".join(chr(0x660 + int(digit)) for digit in str(number))}"'
    server.now.say(b'{"jsonrpc":"2.0","id":%b,"result":{"content":[]}}' % identity.encode())
    assert fake.requests.counts["unknown answers"] == 1
    assert not call.ended
    server.now.reply(number, RESULT)
    assert await result_of(call) == RESULT


async def test_the_first_answer_counts(stage: Stage, server: FakeServer) -> None:
    fake, call, number = await one_call(stage, server)
    server.now.reply(number, answer("right"))
    server.now.reply(number, answer("WRONG"))
    server.now.refuse(number, -32000, "WRONG")
    assert await result_of(call) == answer("right")
    assert fake.requests.counts["unknown answers"] == 2


@pytest.mark.usefixtures("at_once")
async def test_an_id_is_never_used_twice_not_even_by_the_next_process(
    stage: Stage, server: FakeServer
) -> None:
    fake, call, _ = await one_call(stage, server)
    fake.tell(Restart())
    await failure_of(call, Kind.LOST)
    await until(lambda: len(server.links) == 2, "another link")
    await stage.reaches(fake, State.READY)
    stage.call(fake, "echo")
    await sent(server, 2)
    used = [message["id"] for link in server.links for message in link.sent if "id" in message]
    assert len(used) == len(set(used))


# -- what an answer may be ------------------------------------------------------------------------------


async def test_a_result_is_the_bytes_it_was(stage: Stage, server: FakeServer) -> None:
    _, call, number = await one_call(stage, server)
    result = b'{ "n":12345678901234567890, "later":[1.0,null] ,"isError" : false}'
    server.now.say(b'{"result":%b,"id":%d,"jsonrpc":"2.0"}' % (result, number))
    assert bytes(await call.answer()) == result


async def test_an_error_of_the_server_travels_on_in_its_own_bytes(stage: Stage, server: FakeServer) -> None:
    _, call, number = await one_call(stage, server)
    error = b'{"code":-32602, "message":"no \\u001b[31msuch", "data":{"n":1.0}}'
    server.now.say(b'{"jsonrpc":"2.0","id":%d,"error":%b}' % (number, error))
    problem = await failure_of(call, Kind.INVALID)
    assert isinstance(problem, UpstreamAnswered)
    assert (problem.error, problem.rpc_code) == (error, -32602)
    assert "\x1b" not in problem.detail


@pytest.mark.parametrize(
    "error",
    [b'"it broke"', b'{"code":"E1","message":"no"}', b"7", b"[]", b'{"message":"no"}', b'{"code":1.5}'],
)
async def test_an_error_that_is_none_becomes_one_that_clients_can_read(
    stage: Stage, server: FakeServer, error: bytes
) -> None:
    """MCP callers are handed `error` as it is: they must get a code and a message (JSON-RPC 2.0, 5.1)."""
    _, call, number = await one_call(stage, server)
    server.now.say(b'{"jsonrpc":"2.0","id":%d,"error":%b}' % (number, error))
    problem = await failure_of(call, Kind.LOST)
    if isinstance(problem, UpstreamAnswered):
        document = json.loads(problem.error)
        assert isinstance(document, dict), document
        assert type(document["code"]) is int
        assert type(document["message"]) is str


async def test_an_error_that_is_null_beside_a_result_is_no_error(stage: Stage, server: FakeServer) -> None:
    """JSON-RPC 1.0 wrote both members, and libraries that serialise empty fields still do."""
    _, call, number = await one_call(stage, server)
    server.now.say({"id": number, "error": None, "result": RESULT})
    assert await result_of(call) == RESULT


@pytest.mark.parametrize(
    "member", [b"", b',"result":null', b',"result":"right"', b',"result":[]', b',"result":1']
)
async def test_an_answer_without_an_object_never_becomes_a_success(
    stage: Stage, server: FakeServer, member: bytes
) -> None:
    _, call, number = await one_call(stage, server)
    server.now.say(b'{"jsonrpc":"2.0","id":%d%b}' % (number, member))
    assert "no result" in (await failure_of(call, Kind.LOST)).detail


async def test_a_result_longer_than_its_server_may_give_is_refused(stage: Stage, server: FakeServer) -> None:
    _, call, number = await one_call(stage, server, max_result_bytes=1024)
    server.now.reply(number, answer("x" * 2000))
    assert "1024 bytes" in (await failure_of(call, Kind.LOST)).detail


def garbage(server: FakeServer, line: bytes) -> None:
    server.now.peer.garbage(line, "it is broken")


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":%d,"result":{"n":NaN}}',
        b'{"jsonrpc":"2.0","id" : %d, "result":{"text":"\xff"}}',
        b'{"result":{"n":NaN},"jsonrpc":"2.0","id":%d}',
        b'{"jsonrpc":"2.0","id":%d,"result":' + b"[" * 600,
        b'{"result":{"long":"' + b"x" * 2000 + b'","n":NaN},"jsonrpc":"2.0","id":%d}',
    ],
    ids=["NaN", "not UTF-8", "the id behind", "nested", "the id far behind"],
)
async def test_an_answer_that_is_broken_fails_its_call_at_once(
    stage: Stage, server: FakeServer, line: bytes
) -> None:
    fake, call, number = await one_call(stage, server)
    other = stage.call(fake, "echo")
    await sent(server, 2)
    garbage(server, line % number)
    assert "it is broken" in (await failure_of(call, Kind.LOST)).detail
    assert not other.ended
    assert fake.requests.counts["garbage lines"] == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":{"id":%d,"load":NaN}}}',
        b'{"method":"notifications/x","params":{"id":%d,"v":NaN},"jsonrpc":"2.0"}',
        b'{"result":{"rows":[{"id":%d,"v":NaN}]},"jsonrpc":"2.0","id":999999}',
        b'{"jsonrpc":"2.0","id":999999,"result":{"rows":[{"v":NaN,"id":%d}]}}',
        b'{"jsonrpc":"2.0","result":{"n":NaN,"id":%d}}',
    ],
    ids=[
        "a log message",
        "a notification",
        "another's answer",
        "another's answer, its id first",
        "nobody's answer",
    ],
)
async def test_a_broken_line_that_only_mentions_a_call_does_not_end_it(
    stage: Stage, server: FakeServer, line: bytes
) -> None:
    """An `id` within params or a result is data; it happens to be small, and so are ours."""
    fake, call, number = await one_call(stage, server)
    garbage(server, line % number)
    assert not call.ended
    assert fake.requests.counts["garbage lines"] == 1
    server.now.reply(number, RESULT)
    assert await result_of(call) == RESULT


@pytest.mark.parametrize("line", [b"", b"  ", b"\r"])
async def test_a_blank_line_is_not_even_garbage(stage: Stage, server: FakeServer, line: bytes) -> None:
    fake = await stage.fake()
    garbage(server, line)
    assert dict(fake.requests.counts) == {}


async def test_garbage_is_kept_for_the_log(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    garbage(server, b"\x1b[32mready id 1 " + b"x" * 5000)
    (line,) = [line for line in fake.logs.tail(10) if line.source == "stdout"]
    assert line.text.startswith("\\x1b[32mready")
    assert len(line.text) < 600


# -- progress and notes ---------------------------------------------------------------------------------


async def test_progress_reaches_the_call_whose_token_it_names_and_no_other(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake()
    calls = [stage.call(fake, "echo", {"same": 1}) for _ in range(20)]
    mailboxes = [call.listen() for call in calls]
    await sent(server, 20)
    tokens = [params["_meta"]["progressToken"] for _, _, params in server.calls]
    assert len(set(tokens)) == 20
    for step in (1, 2):
        for position in reversed(range(20)):
            # Some servers hand the token back as text.
            token = tokens[position] if step == 1 else str(tokens[position])
            server.now.mention(
                "notifications/progress", progressToken=token, progress=step, message=str(position)
            )
    for position, mailbox in enumerate(mailboxes):
        notes = [note for note in mailbox.take() if note.kind == "progress"]
        assert [json.loads(note.data)["progress"] for note in notes] == [1, 2]
        assert {json.loads(note.data)["message"] for note in notes} == {str(position)}


async def test_progress_that_belongs_to_nobody_is_counted(stage: Stage, server: FakeServer) -> None:
    fake, call, number = await one_call(stage, server)
    mailbox = call.listen()
    server.now.mention("notifications/progress", progressToken=number, progress=5)
    strays: list[dict[str, Any]] = [
        {"progressToken": 424242, "progress": 6},
        {"progressToken": "stranger", "progress": 6},
        {"progressToken": None, "progress": 6},
        {"progressToken": [number], "progress": 6},
        {"progress": 6},
        {"progressToken": number, "progress": "much"},
        {"progressToken": number, "progress": 3},
    ]
    for stray in strays:
        server.now.mention("notifications/progress", **stray)
    server.now.reply(number, RESULT)
    server.now.mention("notifications/progress", progressToken=number, progress=9)
    assert [json.loads(note.data)["progress"] for note in mailbox.take()] == [5]
    assert fake.requests.counts["stray progress"] == len(strays) + 1


async def test_a_callers_own_meta_travels_along_with_our_token_in_it(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake()
    exchange = stage.call(fake, "echo", meta=b'{"progressToken":"theirs","x.y/z":{"n":1.0},"pct":"100%d"}')
    await sent(server, 1)
    _, number, params = server.calls[0]
    assert params["_meta"] == {"progressToken": number, "x.y/z": {"n": 1.0}, "pct": "100%d"}
    assert exchange.id == number


async def test_a_log_message_is_told_only_to_a_call_that_is_alone(stage: Stage, server: FakeServer) -> None:
    fake, call, _ = await one_call(stage, server)
    mailbox = call.listen()
    server.now.mention("notifications/message", level="info", data="for one")
    other = stage.call(fake, "echo").listen()
    await sent(server, 2)
    server.now.mention("notifications/message", level="info", data="whose?")
    assert [(note.kind, json.loads(note.data)["data"]) for note in mailbox.take()] == [("log", "for one")]
    assert other.take() == ()


async def test_a_question_of_our_own_takes_no_log_message_from_a_call(
    stage: Stage, server: FakeServer
) -> None:
    fake, call, _ = await one_call(stage, server)
    mailbox = call.listen()
    server.answers["logging/setLevel"] = lambda *_: None
    setting = asyncio.create_task(fake.requests.ask("logging/setLevel", {}, 60.0))
    await until(lambda: server.now.said("logging/setLevel"), "it is asked")
    server.now.mention("notifications/message", level="info", data="meanwhile")
    assert [json.loads(note.data)["data"] for note in mailbox.take()] == ["meanwhile"]
    setting.cancel()
    await asyncio.gather(setting, return_exceptions=True)


@pytest.mark.usefixtures("quick_tick")
async def test_a_call_that_goes_on_says_so_now_and_then(stage: Stage, server: FakeServer) -> None:
    _, call, number = await one_call(stage, server)
    mailbox = call.listen()
    for _ in range(3):
        async with asyncio.timeout(5):
            await mailbox.wait()
        assert Note("still") in mailbox.take()
    server.now.reply(number, RESULT)
    await result_of(call)
    assert mailbox.take() == ()


async def test_a_reader_that_sleeps_loses_the_oldest_notes_and_never_the_end(
    stage: Stage, server: FakeServer
) -> None:
    _, call, number = await one_call(stage, server)
    mailbox = call.listen()
    for step in range(MAX_NOTES + 50):
        server.now.mention("notifications/progress", progressToken=number, progress=step)
    server.now.reply(number, RESULT)
    async with asyncio.timeout(5):
        await mailbox.wait()
    notes = [json.loads(note.data)["progress"] for note in mailbox.take() if note.kind == "progress"]
    assert notes == list(range(50, MAX_NOTES + 50))
    assert call.ended


# -- room -----------------------------------------------------------------------------------------------


async def test_calls_beyond_the_room_wait_and_those_beyond_the_queue_are_refused(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake(concurrency=2, queue=3)
    calls = [stage.call(fake, "echo") for _ in range(5)]
    await sent(server, 2)
    assert (fake.requests.in_flight, fake.requests.queued) == (2, 3)
    refused = exchange_of("echo")
    with pytest.raises(GatewayError) as caught:
        fake.submit(refused)
    assert caught.value.kind is Kind.BUSY
    assert caught.value.retry_after_s
    assert caught.value.server == fake.id
    assert "2 calls running and 3 waiting" in caught.value.detail
    assert fake.requests.total == 6
    for position in range(5):
        await sent(server, position + 1)
        assert fake.requests.in_flight <= 2
        server.now.reply(server.calls[position][1], answer(str(position)))
    assert [(await result_of(call)) for call in calls] == [answer(str(position)) for position in range(5)]


async def test_callers_share_the_room_in_turns(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake(concurrency=1)
    for number in range(5):
        stage.call(fake, f"loud-{number}", caller="loud")
    for number in range(2):
        stage.call(fake, f"quiet-{number}", caller="quiet")
    for position in range(7):
        await sent(server, position + 1)
        server.now.reply(server.calls[position][1], RESULT)
    names = [params["name"] for _, _, params in server.calls]
    assert names == ["loud-0", "loud-1", "quiet-0", "loud-2", "quiet-1", "loud-3", "loud-4"]


async def test_what_the_gateway_asks_itself_needs_no_room(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake(concurrency=1)
    stage.call(fake, "echo")
    await sent(server, 1)
    await fake.requests.ask("ping", {}, 5.0)
    assert fake.requests.in_flight == 1


@pytest.mark.parametrize("end", ["result", "error", "cancel", "timeout", "garbage"])
@pytest.mark.usefixtures("quick_tick")
async def test_a_call_gives_its_room_back_however_it_ends(stage: Stage, server: FakeServer, end: str) -> None:
    fake = await stage.fake(concurrency=1)
    first = stage.call(fake, "first", idle_s=0.05 if end == "timeout" else 5.0)
    second = stage.call(fake, "second")
    await sent(server, 1)
    number = server.calls[0][1]
    match end:
        case "result":
            server.now.reply(number, RESULT)
        case "error":
            server.now.refuse(number, -32000)
        case "cancel":
            stage.take_back(fake, first, "enough")
        case "garbage":
            garbage(server, b'{"id":%d,"result":NaN}' % number)
    await sent(server, 2)
    assert server.calls[1][2]["name"] == "second"
    server.now.reply(server.calls[1][1], RESULT)
    await result_of(second)
    assert (fake.requests.in_flight, fake.requests.queued) == (0, 0)


# -- taking back ----------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_cancelled_at_its_server(stage: Stage, server: FakeServer) -> None:
    fake, call, number = await one_call(stage, server)
    stage.take_back(fake, call, "the client is gone")
    with pytest.raises(CallCancelled, match="the client is gone"):
        await call.answer()
    (told,) = server.now.said("notifications/cancelled")
    assert told["params"] == {"requestId": number, "reason": "the client is gone"}
    assert "id" not in told
    server.now.reply(number, RESULT)
    assert fake.requests.counts["unknown answers"] == 1
    stage.take_back(fake, call, "again")
    assert len(server.now.said("notifications/cancelled")) == 1


async def test_a_call_that_has_ended_cannot_be_taken_back(stage: Stage, server: FakeServer) -> None:
    fake, call, number = await one_call(stage, server)
    server.now.reply(number, RESULT)
    stage.take_back(fake, call, "too late")
    assert await result_of(call) == RESULT
    assert server.now.said("notifications/cancelled") == []


async def test_a_call_taken_back_from_the_queue_never_reaches_its_server(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake(concurrency=1)
    stage.call(fake, "first")
    second, third = stage.call(fake, "second"), stage.call(fake, "third")
    stage.take_back(fake, second, "enough")
    with pytest.raises(CallCancelled):
        await second.answer()
    await sent(server, 1)
    server.now.reply(server.calls[0][1], RESULT)
    await sent(server, 2)
    server.now.reply(server.calls[1][1], RESULT)
    await result_of(third)
    assert [params["name"] for _, _, params in server.calls] == ["first", "third"]
    assert server.now.said("notifications/cancelled") == []


async def test_a_question_of_ours_that_is_dropped_is_taken_back(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    server.answers["ping"] = lambda *_: None
    task = asyncio.create_task(fake.requests.ask("ping", {}, 60.0))
    await until(lambda: server.now.said("ping"), "it is asked")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (told,) = server.now.said("notifications/cancelled")
    assert told["params"]["requestId"] == server.now.said("ping")[0]["id"]


# -- deadlines ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_tick")
async def test_a_call_without_a_word_times_out_and_is_cancelled_at_its_server(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake()
    call = stage.call(fake, "echo", idle_s=0.05)
    problem = await failure_of(call, Kind.TIMED_OUT)
    assert "neither an answer nor progress for 0.05 s" in problem.detail
    assert problem.server == fake.id
    assert [told["params"]["requestId"] for told in server.now.said("notifications/cancelled")] == [call.id]
    assert fake.requests.in_flight == 0


@pytest.mark.usefixtures("quick_tick")
async def test_progress_keeps_a_call_alive_and_only_its_own(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    lively, still = stage.call(fake, "echo", idle_s=0.2), stage.call(fake, "echo", idle_s=0.2)
    await sent(server, 2)
    token = server.calls[0][2]["_meta"]["progressToken"]
    for step in range(12):
        server.now.mention("notifications/progress", progressToken=token, progress=step)
        await asyncio.sleep(0.05)
    assert still.ended
    await failure_of(still, Kind.TIMED_OUT)
    assert not lively.ended
    server.now.reply(server.calls[0][1], RESULT)
    await result_of(lively)


@pytest.mark.usefixtures("quick_tick")
async def test_progress_does_not_move_the_end_of_all_time(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    call = stage.call(fake, "echo", idle_s=0.1, hard_s=0.3)
    await sent(server, 1)
    token = server.calls[0][2]["_meta"]["progressToken"]
    step = 0
    while not call.ended and step < 100:
        step += 1
        server.now.mention("notifications/progress", progressToken=token, progress=step)
        await asyncio.sleep(0.02)
    assert "when its time was up" in (await failure_of(call, Kind.TIMED_OUT)).detail


@pytest.mark.usefixtures("quick_tick")
async def test_a_call_that_never_left_the_queue_may_be_tried_again(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake(concurrency=1)
    stage.call(fake, "first")
    problem = await failure_of(stage.call(fake, "second", idle_s=0.05), Kind.BUSY)
    assert problem.retryable
    assert [params["name"] for _, _, params in server.calls] == ["first"]
    assert server.now.said("notifications/cancelled") == []


@pytest.mark.usefixtures("quick_tick")
async def test_the_time_of_a_call_begins_when_it_is_sent(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake(concurrency=1)
    stage.call(fake, "first")
    second = stage.call(fake, "second", idle_s=0.3)
    await asyncio.sleep(0.2)
    server.now.reply(server.calls[0][1], RESULT)
    await sent(server, 2)
    await asyncio.sleep(0.2)
    assert not second.ended


# -- what a server asks ---------------------------------------------------------------------------------


async def test_a_ping_is_answered_and_any_other_question_declined(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    server.now.say({"id": "p-1", "method": "ping"})
    server.now.say({"id": 7, "method": "elicitation/create", "params": {"message": "Who?"}})
    server.now.say({"id": "s", "method": "sampling/createMessage", "params": {}})
    answers = [message for message in server.now.sent if "method" not in message]
    assert answers[0] == {"jsonrpc": "2.0", "id": "p-1", "result": {}}
    assert [(message["id"], message["error"]["code"]) for message in answers[1:]] == [
        (7, -32601),
        ("s", -32601),
    ]
    assert fake.requests.counts["declined requests"] == 2


async def test_a_question_with_the_id_of_a_call_does_not_end_the_call(
    stage: Stage, server: FakeServer
) -> None:
    _, call, number = await one_call(stage, server)
    server.now.say({"id": number, "method": "ping"})
    server.now.say({"id": None, "method": "ping"})
    assert not call.ended
    server.now.reply(number, RESULT)
    await result_of(call)


async def test_other_notifications_are_counted(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    server.now.mention("notifications/resources/updated", uri="x:y")
    server.now.mention("notifications/tools/list_changed")
    assert fake.requests.counts["other notifications"] == 1


# -- on a link that may be asked ------------------------------------------------------------------------

LEASE = Scope("lease", "session")
ASKABLE = Stance(capabilities=b'{"elicitation":{},"roots":{}}')


def asked_of(call: Exchange) -> list[Any]:
    return [ask.id for ask in call.asks]


async def test_a_question_before_any_call_waits_for_the_next_unless_it_is_taken_back(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake(stance=ASKABLE, scope=LEASE)
    for name in ("stays", "goes"):
        server.now.say({"id": name, "method": "roots/list"})
    server.now.mention("notifications/cancelled", requestId="goes")
    call = exchange_of("echo", capabilities=ALL_ASKS)
    call.listen()
    fake.submit(call)
    assert asked_of(call) == ["stays"]


async def test_a_question_to_a_call_that_waits_goes_with_the_link_that_asked(
    stage: Stage, server: FakeServer
) -> None:
    server.answers["tools/list"] = lambda _link, _id, _params: None
    fake = stage.make("fake", stance=ASKABLE, scope=LEASE)
    fake.tell(Start())
    await until(lambda: bool(server.links and server.now.said("tools/list")), "it is being opened")
    call = exchange_of("echo", capabilities=ALL_ASKS)
    mailbox = call.listen()
    fake.submit(call)
    server.now.say({"id": 1, "method": "roots/list"})
    assert asked_of(call) == [1]
    server.now.break_down("it exited")
    assert asked_of(call) == []
    assert [note.kind for note in mailbox.take()] == ["ask", "withdrawn"]


async def test_on_a_link_of_several_sessions_no_question_waits_for_the_next_call(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake(stance=ASKABLE, scope=Scope("caller", "team"))
    first = exchange_of("echo", capabilities=ALL_ASKS)
    first.listen()
    fake.submit(first)
    await sent(server, 1)
    server.now.say({"id": 1, "method": "roots/list"})
    assert asked_of(first) == [1]
    server.now.reply(server.calls[0][1], RESULT)
    server.now.say({"id": 2, "method": "elicitation/create", "params": {}})
    second = exchange_of("echo", capabilities=ALL_ASKS)
    second.listen()
    fake.submit(second)
    assert asked_of(second) == []
    answers = {message["id"]: message for message in server.now.sent if "method" not in message}
    assert answers[1]["error"]["code"] == -32603
    assert answers[2]["result"] == {"action": "cancel"}


async def test_an_update_that_nobody_subscribed_to_is_told_to_nobody(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake(stance=ASKABLE, scope=LEASE)
    call = exchange_of("echo", capabilities=ALL_ASKS)
    mailbox = call.listen()
    fake.submit(call)
    server.now.mention("notifications/resources/updated", uri="x:y")
    server.now.mention("notifications/elicitation/complete", elicitationId="e")
    (note,) = mailbox.take()
    assert (note.kind, b"elicitation/complete" in note.data) == ("notice", True)


@pytest.mark.usefixtures("at_once")
async def test_what_a_process_asked_that_is_gone_is_not_asked_again(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake(stance=ASKABLE, scope=LEASE)
    first, second = (exchange_of("echo", capabilities=ALL_ASKS) for _ in range(2))
    first.listen()
    second.listen()
    fake.submit(first)
    server.now.say({"id": 1, "method": "roots/list"})
    assert asked_of(first) == [1]
    server.now.break_down("it exited")
    await failure_of(first, Kind.LOST)
    await until(lambda: len(server.links) == 2, "another link")
    await stage.reaches(fake, State.READY)
    fake.submit(second)
    assert second.sent
    assert asked_of(second) == []
