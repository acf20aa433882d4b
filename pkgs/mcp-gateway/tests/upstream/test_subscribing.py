"""What one server is asked to tell of: once for each resource, again when it has forgotten, within bounds."""

import asyncio
from dataclasses import replace

import pytest
from msgspec import Raw

from mcp_gateway.errors import GatewayError, Kind, UpstreamAnswered
from mcp_gateway.upstream import subscribing
from mcp_gateway.upstream.lifecycle import Start, State, Stop
from mcp_gateway.upstream.subscribing import Promise, promise_of
from mcp_gateway.upstream.upstream import Upstream
from tests.upstream.parts import WITHIN_S, FakeLink, FakeServer, Stage, until


@pytest.fixture
def telling(server: FakeServer) -> FakeServer:
    """A server that tells of resources, and accepts every subscription."""
    greeting = server.greeting()
    greeting["capabilities"]["resources"] = {"subscribe": True}
    server.answers["initialize"] = lambda link, number, _: link.reply(number, greeting)
    for method in ("resources/subscribe", "resources/unsubscribe"):
        server.answers[method] = lambda link, number, _: link.reply(number, {})
    return server


def said(link: FakeLink, what: str) -> list[str]:
    return [str(message["params"]["uri"]) for message in link.said(f"resources/{what}")]


async def outcome(upstream: Upstream, uri: str) -> GatewayError | None:
    async with asyncio.timeout(WITHIN_S):
        return await upstream.subscribe(uri)


async def test_a_server_is_asked_once_and_told_when_nobody_listens(stage: Stage, telling: FakeServer) -> None:
    fake = await stage.fake()
    outcomes = await asyncio.gather(*(outcome(fake, uri) for uri in ("x:a", "x:a", "x:b")))
    assert set(outcomes) == {None}
    assert await outcome(fake, "x:a") is None
    assert sorted(said(telling.now, "subscribe")) == ["x:a", "x:b"]
    fake.subscribing.unwant("x:a")
    fake.subscribing.unwant("x:a")
    fake.subscribing.unwant("x:never")
    await until(lambda: said(telling.now, "unsubscribe"), "it is told")
    assert said(telling.now, "unsubscribe") == ["x:a"]
    assert fake.subscribing.wanted == 1


async def test_who_changes_their_mind_is_met_in_order(stage: Stage, telling: FakeServer) -> None:
    waiting: list[tuple[FakeLink, int]] = []
    telling.answers["resources/subscribe"] = lambda link, number, _: waiting.append((link, number))
    fake = await stage.fake()
    first = fake.subscribe("x:a")
    await until(lambda: waiting, "it is asked")
    fake.subscribing.unwant("x:a")
    problem = await first
    assert problem is not None
    second = fake.subscribe("x:a")
    link, number = waiting.pop()
    link.reply(number, {})
    assert await second is None  # what was asked for first holds for it as well
    assert (len(link.said("resources/subscribe")), said(link, "unsubscribe")) == (1, [])


async def test_a_refusal_is_the_servers_own_and_nothing_is_kept(stage: Stage, telling: FakeServer) -> None:
    telling.answers["resources/subscribe"] = lambda link, number, _: link.refuse(number, -32002, "no such")
    fake = await stage.fake()
    for _ in range(2):
        problem = await outcome(fake, "x:a")
        assert isinstance(problem, UpstreamAnswered)
        assert problem.rpc_code == -32002
    assert fake.subscribing.wanted == 0
    assert len(telling.now.said("resources/subscribe")) == 2


async def test_a_server_that_promised_nothing_is_not_asked(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    problem = await outcome(fake, "x:a")
    assert problem is not None
    assert (problem.kind, problem.rpc_code) == (Kind.UNKNOWN, -32601)
    assert server.now.said("resources/subscribe") == []


async def test_another_process_is_told_all_and_everything_counts_as_changed(
    stage: Stage, telling: FakeServer
) -> None:
    told: list[str] = []
    stage.around = replace(stage.around, updated=lambda _, uri: told.append(uri))
    fake = await stage.fake()
    uris = [f"x:{number}" for number in range(100)]
    assert set(await asyncio.gather(*(outcome(fake, uri) for uri in uris))) == {None}
    fake.tell(Stop())
    await stage.reaches(fake, State.OFF)
    with pytest.raises(GatewayError) as refused:
        fake.subscribe("x:late")
    assert refused.value.kind is Kind.UNAVAILABLE
    assert told == []
    fake.tell(Start())
    await stage.reaches(fake, State.READY)
    await until(lambda: len(told) == 100, "all are told again")
    assert sorted(told) == sorted(said(telling.now, "subscribe")) == sorted(uris)
    # A server that forgets its session over the same link.
    fake.requests.renewed()
    await until(lambda: len(told) == 200, "all are told again")
    telling.now.mention("notifications/resources/updated", uri="x:7")
    telling.now.mention("notifications/resources/updated", uri=7)
    assert told[200:] == ["x:7"]


async def test_a_server_that_does_not_answer_has_until_the_limit(
    stage: Stage, telling: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "ACCEPT_S", 0.3)
    telling.answers["resources/subscribe"] = lambda link, number, _: None
    fake = await stage.fake()
    problem = await outcome(fake, "x:a")
    assert problem is not None
    assert problem.kind is Kind.TIMED_OUT


async def test_who_waits_for_a_server_that_does_not_come_is_told(stage: Stage, telling: FakeServer) -> None:
    telling.answers["initialize"] = lambda link, number, _: None
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, State.STARTING)
    accepted = fake.subscribe("x:a")
    fake.tell(Stop())
    async with asyncio.timeout(WITHIN_S):
        problem = await accepted
    assert problem is not None
    assert problem.kind is Kind.UNAVAILABLE


async def test_an_idle_server_is_started_and_stays_while_somebody_listens(
    stage: Stage, telling: FakeServer
) -> None:
    fake = await stage.fake(idle_stop_s=0.2)
    await stage.reaches(fake, State.IDLE)
    assert await outcome(fake, "x:a") is None
    due_at = fake._idle_at or 0.0
    await until(lambda: (fake._idle_at or 0.0) > due_at + 0.4, "its end moves away, twice as far as it was")
    assert fake.life.state is State.READY
    fake.subscribing.unwant("x:a")
    await stage.reaches(fake, State.IDLE)


def test_what_is_promised_is_read_as_far_as_it_can_be() -> None:
    said = {
        "tools": Raw(b'{"listChanged":true}'),
        "resources": Raw(b'{"subscribe":true,"listChanged":null,"x":1}'),
        "prompts": Raw(b'{"listChanged":"yes"}'),
        "logging": Raw(b"{}"),
    }
    assert promise_of(said) == Promise(frozenset({"tools"}), subscribe=True)
    assert promise_of({"resources": Raw(b"[]")}) == promise_of({}) == Promise()
