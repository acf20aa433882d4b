"""Who is told what, how often, and within which bounds; with the servers of one upstream's tests."""

import asyncio
from collections.abc import Callable

import pytest
import pytest_asyncio

from mcp_gateway.access.caller import USER, Caller, Grant, unlimited
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway import subscriptions as module
from mcp_gateway.gateway.subscriptions import Changed, Listener, Subscriptions
from tests.gateway.conftest import Set
from tests.upstream.parts import WITHIN_S, FakeServer, until

ANN, BOB = unlimited("ann", *USER), unlimited("bob", *USER)
ONE_ONLY = Caller("one", (Grant(frozenset(USER), servers=("one",)),))
ONE_TOOL = Caller("tool", (Grant(frozenset(USER), tools=("one/echo",)),))
TOOLS = Changed("tools")


@pytest_asyncio.fixture
async def subscriptions(servers: Set, server: FakeServer) -> Subscriptions:
    """Over the servers `one` and `two`, which tell of resources."""
    greeting = server.greeting()
    greeting["capabilities"]["resources"] = {"subscribe": True}
    server.answers["initialize"] = lambda link, number, _: link.reply(number, greeting)
    for method in ("resources/subscribe", "resources/unsubscribe"):
        server.answers[method] = lambda link, number, _: link.reply(number, {})
    servers.apply(one="a", two="b")
    for name in ("one", "two"):
        await servers.ready(name)
    return Subscriptions(servers.servers.get, servers.servers.links.of)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.2)
    monkeypatch.setattr(module, "TICK_S", 0.02)


async def taken(listener: Listener) -> list[Changed]:
    assert await listener.news(WITHIN_S), "it is told nothing"
    return listener.take()


def refusal(kind: Kind, make: Callable[[], object]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        make()
    assert caught.value.kind is kind
    return caught.value


async def refused(kind: Kind, subscriptions: Subscriptions, listener: Listener, uri: str = "x:a") -> str:
    with pytest.raises(GatewayError) as caught:
        await subscriptions.subscribe(listener, "one", uri, uri)
    assert caught.value.kind is kind
    return caught.value.detail


def listener(
    subscriptions: Subscriptions, caller: Caller = ANN, server: str | None = None, *kinds: str
) -> Listener:
    made = subscriptions.open(caller, server, is_stream=False)
    made.kinds = frozenset(kinds)
    return made


@pytest.mark.usefixtures("quick")
async def test_the_first_is_told_at_once_and_a_storm_once_a_second(subscriptions: Subscriptions) -> None:
    one = listener(subscriptions, ANN, None, "tools")
    at = asyncio.get_running_loop().time
    began = at()
    subscriptions.lists_changed({"tools": frozenset({"one"})})
    assert one.take() == [TOOLS]
    for _ in range(2_000):
        subscriptions.lists_changed({"tools": frozenset({"one"}), "prompts": frozenset({"one"})})
    assert one.take() == []
    assert await taken(one) == [TOOLS]
    assert at() - began >= 0.2
    # Then it is quiet, and nothing is remembered.
    assert not await one.news(0.3)
    assert (one._told, one._late, subscriptions._paced, subscriptions._ticking) == ({}, {}, {}, None)


@pytest.mark.usefixtures("quick")
async def test_a_storm_of_one_resource_is_passed_on_once_a_tick(
    subscriptions: Subscriptions, servers: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = listener(subscriptions)
    await subscriptions.subscribe(one, "one", "x:a", "x:a")
    passed: list[str] = []
    monkeypatch.setattr(Listener, "hear", lambda *_: passed.append("x:a"))
    for _ in range(2_000):
        subscriptions.updated(servers["one"], "x:a")
    assert len(passed) == 1
    await until(lambda: subscriptions._ticking is None, "the clock rests")
    assert len(passed) == 2  # the first, and that there were more


async def test_a_list_is_told_to_who_sees_that_part_of_it(subscriptions: Subscriptions) -> None:
    everybody = [
        listener(subscriptions, caller, server, "tools", "resources")
        for caller, server in (
            (ANN, None),
            (ANN, "one"),
            (ANN, "two"),
            (ONE_ONLY, None),
            (ONE_TOOL, None),
        )
    ]
    subscriptions.lists_changed({"resources": frozenset({"one"})})
    assert [len(one.take()) for one in everybody] == [1, 1, 0, 1, 0]
    subscriptions.lists_changed({"tools": frozenset({"two"})})
    assert [len(one.take()) for one in everybody] == [1, 0, 1, 0, 0]
    subscriptions.lists_changed({"tools": frozenset({"one"})})
    assert [len(one.take()) for one in everybody][4] == 1


async def test_who_may_not_read_a_server_may_not_subscribe_in_the_same_words(
    subscriptions: Subscriptions, servers: Set
) -> None:
    stranger, user = listener(subscriptions, ONE_TOOL), listener(subscriptions)
    assert await refused(Kind.UNKNOWN, subscriptions, stranger) == "There is no resource `x:a`"
    await subscriptions.subscribe(user, "one", "x:a", "x:a")
    assert await refused(Kind.UNKNOWN, subscriptions, stranger) == "There is no resource `x:a`"
    subscriptions.updated(servers["one"], "x:a")
    assert (stranger.take(), user.take()) == ([], [Changed("", "one", "x:a")])
    # Whose rights were taken meanwhile hears nothing more.
    user.caller = ONE_TOOL
    subscriptions.updated(servers["one"], "x:a/part")
    assert user.take() == []


async def test_each_bound_is_told(
    subscriptions: Subscriptions, servers: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OF_ONE", 2)
    monkeypatch.setattr(module, "MAX_SUBSCRIPTIONS", 3)
    ann, another, bob = listener(subscriptions), listener(subscriptions), listener(subscriptions, BOB)
    await subscriptions.subscribe(ann, "one", "x:a", "x:a")
    await subscriptions.subscribe(another, "one", "x:a", "x:a")
    await subscriptions.subscribe(ann, "one", "x:a", "x:a")  # the same again is no other
    await refused(Kind.BUSY, subscriptions, ann, "x:b")
    await subscriptions.subscribe(bob, "two", "x:a", "x:a")
    await refused(Kind.BUSY, subscriptions, bob, "x:b")
    another.close()
    await subscriptions.subscribe(bob, "one", "x:b", "x:b")
    assert subscriptions.total == 3
    subscriptions.end_of("bob")
    subscriptions.removed("one")
    assert (subscriptions.total, subscriptions._by_uri, subscriptions._of) == (0, {}, {})
    assert (bob.is_over, ann.is_over, ann.uris) == (True, False, {})

    monkeypatch.setattr(module, "MAX_STREAMS_OF_ONE", 2)
    monkeypatch.setattr(module, "MAX_STREAMS", 3)
    streams = [subscriptions.open(ANN, None, is_stream=True) for _ in range(2)]
    refusal(Kind.BUSY, lambda: subscriptions.open(ANN, None, is_stream=True))
    subscriptions.open(BOB, None, is_stream=True)
    refusal(Kind.BUSY, lambda: subscriptions.open(BOB, None, is_stream=True))
    streams[0].close()
    streams[0].close()
    subscriptions.open(BOB, None, is_stream=True)
    assert subscriptions.streams == 3


async def test_of_more_parts_than_are_kept_the_whole_is_told(
    subscriptions: Subscriptions, servers: Set
) -> None:
    one = listener(subscriptions)
    await subscriptions.subscribe(one, "one", "x://dir", "x://dir")
    for number in range(3_000):
        subscriptions.updated(servers["one"], f"x://dir/{number}")
    told = one.take()
    assert len(told) == module.MAX_DUE + 1
    assert told[-1] == Changed("", "one", "x://dir")


@pytest.mark.parametrize(
    "uri", ["x://dir/" + "/" * 8_000, "x://" + "a/" * 4_000, "x://dir/" + "a" * 1_000_000, ""]
)
async def test_a_uri_without_an_end_costs_little(
    subscriptions: Subscriptions, servers: Set, uri: str
) -> None:
    one = listener(subscriptions)
    await subscriptions.subscribe(one, "one", "x://dir", "x://dir")
    subscriptions.updated(servers["one"], uri)
    assert one.take() == []


async def test_what_comes_after_the_end_is_over_at_once(subscriptions: Subscriptions) -> None:
    before = listener(subscriptions)
    subscriptions.end()
    assert before.is_over
    assert await before.news(WITHIN_S)
    assert listener(subscriptions).is_over
