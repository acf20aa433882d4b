"""The owner of one server: its life as it is lived, over a server in this process that obeys the test.

What would be a race over a pipe is one order of two lines here. Time that a server would take is a
constant that the test shortens.
"""

import asyncio
from typing import Any

import pytest

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.upstream import lifecycle, process, upstream
from mcp_gateway.upstream.gate import Gate
from mcp_gateway.upstream.lifecycle import Life, Restart, Start, State, Stop
from mcp_gateway.upstream.upstream import INSTALL_TIMEOUT_S, Unresolvable, Upstream
from mcp_gateway.wire.revisions import SHARED_CAPABILITIES, Era
from tests.upstream.parts import (
    CLIENT,
    DYING_S,
    WITHIN_S,
    Answer,
    FakeLink,
    FakeServer,
    Stage,
    exchange_of,
    failure_of,
    gone,
    result_of,
    until,
)

OFF, STARTING, READY, WAITING, STOPPING, FAILED, IDLE = (
    State.OFF,
    State.STARTING,
    State.READY,
    State.WAITING,
    State.STOPPING,
    State.FAILED,
    State.IDLE,
)
RESULT: dict[str, Any] = {"content": [], "isError": False}


def silent(_link: FakeLink, _request_id: int, _params: dict[str, Any]) -> None:
    """Never answers."""


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every retry comes at the far end of its window."""
    monkeypatch.setattr("random.random", lambda: 0.999)


async def links(server: FakeServer, count: int) -> None:
    await until(lambda: len(server.links) == count, f"link {count}")


async def tools(fake: Upstream, count: int) -> None:
    await until(lambda: len(fake.tools) == count, f"{count} tools")


# -- a life ---------------------------------------------------------------------------------------------


async def test_a_server_starts_serves_and_stops_in_that_order(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    assert [tool.name for tool in fake.tools] == ["echo"]
    assert fake.opened is not None
    assert (fake.opened.revision, fake.pid) == ("2025-11-25", server.now.pid)
    assert fake.knows_its_tools
    fake.tell(Stop())
    await stage.reaches(fake, OFF)
    assert stage.histories[fake] == [STARTING, READY, STOPPING, OFF]
    assert [link.closed for link in server.links] == [True]
    assert (fake.pid, fake.life.reason, fake.knows_its_tools) == (None, "switched off", False)


async def test_a_server_is_asked_in_the_order_of_the_specification(stage: Stage, server: FakeServer) -> None:
    await stage.fake()
    assert [message["method"] for message in server.now.sent] == [
        "server/discover",
        "initialize",
        "notifications/initialized",
        "tools/list",
    ]
    assert all(message["jsonrpc"] == "2.0" for message in server.now.sent)
    assert "id" not in server.now.sent[2]


async def test_a_server_without_tools_is_not_asked_for_them(stage: Stage, server: FakeServer) -> None:
    server.answers["initialize"] = lambda link, number, _: link.reply(
        number, server.greeting() | {"capabilities": {"prompts": {}}}
    )
    fake = await stage.fake()
    assert (fake.tools, fake.has_listed) == ((), True)
    assert server.now.said("tools/list") == []


@pytest.mark.usefixtures("at_once")
async def test_a_link_that_breaks_is_closed_and_opened_anew(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    server.now.break_down("it exited with code 3")
    await links(server, 2)
    await stage.reaches(fake, READY)
    assert stage.histories[fake] == [STARTING, READY, STOPPING, WAITING, STARTING, READY]
    assert server.links[0].closed
    assert (fake.last_error, fake.life.attempt) == ("it exited with code 3", 1)


@pytest.mark.usefixtures("at_once")
async def test_failures_are_forgotten_when_ready_has_lasted_and_not_before(
    stage: Stage, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = await stage.fake()
    for failures in (1, 2):
        server.now.break_down("it exited with code 3")
        await links(server, failures + 1)
        await stage.reaches(fake, READY)
        assert fake.life.attempt == failures
    monkeypatch.setattr(lifecycle, "STABLE_AFTER_S", 0.05)
    server.now.break_down("it exited with code 3")
    await links(server, 4)
    await stage.reaches(fake, READY)
    assert fake.life.attempt == 3
    await until(lambda: fake.life.attempt == 0, "it has lasted")
    assert fake.life.state is READY


@pytest.mark.usefixtures("late")
async def test_a_stop_beats_a_retry(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    server.now.break_down("it exited with code 3")
    await stage.reaches(fake, WAITING)
    assert fake.life.retry_at is not None
    fake.tell(Stop())
    await stage.reaches(fake, OFF)
    assert fake.life.wakes_at is None
    assert len(server.links) == 1


@pytest.mark.usefixtures("late")
async def test_a_start_asked_for_does_not_wait_for_the_retry(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    server.now.break_down("it exited with code 3")
    await stage.reaches(fake, WAITING)
    fake.tell(Start())
    await stage.reaches(fake, READY)
    assert len(server.links) == 2


async def test_wishes_in_a_row_are_met_in_order_with_one_link_at_a_time(
    stage: Stage, server: FakeServer
) -> None:
    fake = stage.make("fake")
    for wish in (Start(), Stop(), Start(), Restart(), Restart(), Stop(), Start()):
        fake.tell(wish)
    await stage.reaches(fake, READY)
    assert [link.closed for link in server.links[:-1]] == [True] * (len(server.links) - 1)
    assert not server.now.closed
    fake.tell(Restart("because"))
    await until(lambda: STOPPING in stage.histories[fake][-3:], "it restarts")
    await stage.reaches(fake, READY)
    assert server.links[-2].closed


async def test_a_retired_server_ends_its_owner_from_any_state(stage: Stage, server: FakeServer) -> None:
    ready, never = await stage.fake(), stage.make("fake")
    server.answers["initialize"] = silent
    starting = stage.make("fake")
    starting.tell(Start())
    await until(lambda: server.now.said("initialize"), "it starts")
    await stage.close()
    assert {ready.life.state, never.life.state, starting.life.state} == {OFF}
    assert all(link.closed for link in server.links)


# -- openings that fail ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("late")
async def test_a_server_that_refuses_the_handshake_is_tried_again_later(
    stage: Stage, server: FakeServer
) -> None:
    server.answers["initialize"] = lambda link, number, _: link.refuse(number, -32603, "no licence\x1b[31m")
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, WAITING)
    assert stage.histories[fake] == [STARTING, STOPPING, WAITING]
    assert "no licence" in fake.life.reason
    assert "\x1b" not in fake.life.reason
    assert server.now.closed


async def test_a_server_that_makes_no_sense_has_failed(stage: Stage, server: FakeServer) -> None:
    server.answers["tools/list"] = lambda link, number, _: link.reply(number, {"tools": {}})
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, FAILED)
    assert "tools/list" in fake.life.reason
    assert server.now.closed
    del server.answers["tools/list"]
    fake.tell(Start())
    await stage.reaches(fake, READY)


@pytest.mark.usefixtures("late")
async def test_a_server_that_is_too_slow_is_closed_and_tried_again_later(
    stage: Stage, server: FakeServer
) -> None:
    server.answers["initialize"] = silent
    fake = stage.make("fake", start_timeout_s=0.1)
    fake.tell(Start())
    await stage.reaches(fake, WAITING)
    assert "did not become ready" in fake.life.reason
    assert server.now.closed


@pytest.mark.usefixtures("late")
async def test_a_server_that_dies_while_it_starts_says_how(stage: Stage, server: FakeServer) -> None:
    server.answers["initialize"] = lambda link, *_: link.break_down("it exited with code 2")
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, WAITING)
    assert fake.life.reason == fake.last_error == "it exited with code 2"


@pytest.mark.parametrize("code", [126, 127])
async def test_a_command_that_cannot_be_run_is_not_tried_again(stage: Stage, code: int) -> None:
    fake = stage.make("sh", "-c", f"exit {code}")
    fake.tell(Start())
    await stage.reaches(fake, FAILED)
    assert fake.life.reason == f"it exited with code {code}"
    assert fake.last_exit is not None
    assert fake.last_exit.code == code


async def test_a_missing_command_is_not_tried_again(stage: Stage) -> None:
    fake = stage.make("no-such-command")
    fake.tell(Start())
    await stage.reaches(fake, FAILED)
    assert fake.life.reason == "command not found: `no-such-command` is not on PATH"


async def test_a_secret_that_is_not_there_is_named_and_not_tried_again(
    stage: Stage, server: FakeServer
) -> None:
    async def resolve(_config: object) -> Any:
        raise Unresolvable("the variable TOKEN is not set")

    object.__setattr__(stage.around, "resolve", resolve)
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, FAILED)
    assert fake.life.reason == "the variable TOKEN is not set"
    assert server.links == []


async def test_an_address_that_is_none_is_told_and_not_tried_again(stage: Stage) -> None:
    remote = stage.make(None, url="http://:1/mcp")
    remote.tell(Start())
    await stage.reaches(remote, FAILED)
    assert "not a valid http or https address" in remote.life.reason


async def test_a_server_nobody_calls_rests_and_the_next_call_starts_it(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake(idle_stop_s=0.05)
    await stage.reaches(fake, State.IDLE)
    assert fake.life.reason == "not called for 0.05 s"
    assert [tool.name for tool in fake.tools] == ["echo"]
    call = stage.call(fake, "echo")
    _, number, _ = await until(lambda: server.calls[-1] if server.calls else None, "the call arrives")
    server.now.reply(number, RESULT)
    await result_of(call)
    assert len(server.links) == 2


async def test_a_call_that_lasts_longer_than_the_rest_is_not_cut(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake(idle_stop_s=0.05)
    call = stage.call(fake, "echo")
    await until(lambda: server.calls, "the call arrives")
    await asyncio.sleep(0.15)
    assert fake.life.state is READY
    server.now.reply(server.calls[0][1], RESULT)
    await result_of(call)
    await stage.reaches(fake, State.IDLE)


async def test_a_call_that_meets_a_server_going_to_rest_starts_it_again(
    stage: Stage, server: FakeServer
) -> None:
    closing = asyncio.Event()
    let_go = asyncio.Event()

    async def slowly() -> None:
        closing.set()
        await let_go.wait()

    server.closing = slowly
    fake = await stage.fake(idle_stop_s=0.05)
    async with asyncio.timeout(WITHIN_S):
        await closing.wait()
    assert fake.life.state is STOPPING
    assert fake.knows_its_tools
    call = stage.call(fake, "echo")
    let_go.set()
    await until(lambda: server.calls, "the call arrives")
    server.now.reply(server.calls[0][1], RESULT)
    await result_of(call)


async def test_starts_wait_for_their_turn_and_say_so(stage: Stage, server: FakeServer) -> None:
    object.__setattr__(stage.around, "gate", Gate(1))
    server.answers["initialize"] = lambda link, number, _: None  # it never gets ready
    first, second = stage.make("one"), stage.make("two")
    first.tell(Start())
    await until(lambda: server.links, "the first is started")
    second.tell(Start())
    await until(lambda: second.reason == "waits for others to start", "the second waits")
    assert len(server.links) == 1
    first.tell(Stop())
    await until(lambda: len(server.links) == 2, "the second follows")
    assert second.reason == ""


@pytest.mark.parametrize(
    ("command", "config", "limit_s"),
    [
        ("npx", {}, INSTALL_TIMEOUT_S),
        ("/usr/bin/uvx", {}, INSTALL_TIMEOUT_S),
        ("npx", {"start_timeout_s": 5.0}, 5.0),
        ("python3", {}, 60.0),
        ("my-npx", {}, 60.0),
    ],
)
async def test_a_package_runner_may_take_its_time_to_install(
    stage: Stage, command: str, config: dict[str, Any], limit_s: float
) -> None:
    assert stage.make(command, **config)._start_limit_s() == limit_s


# -- news that comes at the wrong moment ----------------------------------------------------------------


async def test_a_stop_in_the_turn_of_the_last_answer_is_obeyed(stage: Stage, server: FakeServer) -> None:
    """The opening is done when the stop is met, but nobody has been told yet."""
    fake = stage.make("fake")

    def stop_and_answer(link: FakeLink, number: int, _params: dict[str, Any]) -> None:
        fake.tell(Stop())
        link.reply(number, server.tool_list())

    server.answers["tools/list"] = stop_and_answer
    fake.tell(Start())
    await stage.reaches(fake, OFF)
    assert READY not in stage.histories[fake]
    del server.answers["tools/list"]
    fake.tell(Start())
    await stage.reaches(fake, READY)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("turns", range(4))
async def test_a_server_that_dies_right_after_its_last_answer_is_not_taken_for_ready(
    stage: Stage, server: FakeServer, turns: int
) -> None:
    """However the loss and the end of the opening fall together, calls do not wait for a dead link."""

    def answer_and_die(link: FakeLink, number: int, _params: dict[str, Any]) -> None:
        del server.answers["tools/list"]
        link.reply(number, server.tool_list())
        later(turns, lambda: link.break_down("it exited with code 1"))

    def later(count: int, then: Any) -> None:
        if count:
            asyncio.get_running_loop().call_soon(later, count - 1, then)
        else:
            then()

    server.answers["tools/list"] = answer_and_die
    fake = stage.make("fake")
    fake.tell(Start())
    await until(lambda: len(server.links) == 2, f"it is started again; {fake.life}", within_s=2)
    await stage.reaches(fake, READY)
    assert server.links[0].closed


async def test_old_news_of_a_link_do_not_touch_the_next_one(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    fake.tell(Restart("because"))
    server.now.break_down("it exited with code 1")
    await links(server, 2)
    await stage.reaches(fake, READY)
    assert stage.histories[fake] == [STARTING, READY, STOPPING, STARTING, READY]
    assert fake.last_error is None


async def test_a_change_announced_with_the_list_is_read(
    stage: Stage, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is being read when it changes: what was read may be old already."""
    monkeypatch.setattr(upstream, "REFRESH_AFTER_S", 0.01)
    monkeypatch.setattr(upstream, "REFRESH_EVERY_S", 0.01)

    def answer_and_change(link: FakeLink, number: int, _params: dict[str, Any]) -> None:
        del server.answers["tools/list"]
        link.reply(number, server.tool_list())
        server.tools.append("late")
        link.mention("notifications/tools/list_changed")

    server.answers["tools/list"] = answer_and_change
    fake = await stage.fake()
    await until(lambda: [tool.name for tool in fake.tools] == ["echo", "late"], "the new list", within_s=2)


async def test_a_stop_while_one_process_gives_way_to_another_leaves_neither(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of both eras is probed on two processes; the end of the first takes its graces."""
    monkeypatch.setattr(process, "STDIN_GRACE_S", 0.5)
    monkeypatch.setattr(process, "TERM_GRACE_S", 0.2)
    ending = asyncio.Event()
    stop = process.Child.stop

    async def begin_to_stop(child: process.Child, *, gently: bool = True) -> None:
        ending.set()
        await stop(child, gently=gently)

    monkeypatch.setattr(process.Child, "stop", begin_to_stop)
    stubborn = stage.hostile("ignore-eof", "--era", "dual")
    first = await until(lambda: stubborn.pid, "the first process")
    async with asyncio.timeout(WITHIN_S):
        await ending.wait()
    await asyncio.sleep(0.1)  # into the first grace
    stubborn.tell(Stop())
    await stage.reaches(stubborn, OFF)
    await gone(first, DYING_S)


# -- eras -----------------------------------------------------------------------------------------------


async def test_what_was_learned_is_remembered_and_spares_the_probe(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    assert stage.memory.events == ["remember handshake"]
    fake.tell(Restart())
    await links(server, 2)
    await stage.reaches(fake, READY)
    assert server.now.said("server/discover") == []
    assert stage.memory.events == ["remember handshake"]


async def test_servers_are_remembered_by_what_decides_what_they_speak(stage: Stage) -> None:
    one, same = stage.make("a", "b"), stage.make("a", "b", timeout_s=5)
    others = [stage.make("a", "b", env={"X": "1"}), stage.make("a", "c"), stage.make("ab"), stage.make("a")]
    others += [stage.make("a", "b", cwd="/srv"), stage.make("a b")]
    assert one._fingerprint == same._fingerprint
    assert len({other._fingerprint for other in others} | {one._fingerprint}) == len(others) + 1
    secret = [stage.make("a", env={"X": value})._fingerprint for value in ("secret", "other")]
    assert secret[0] == secret[1], "a value that may be a secret leaves no trace"


async def known(stage: Stage, eras: str, **config: Any) -> Upstream:
    """An upstream that has met its server before."""
    fake = stage.make("fake", **config)
    stage.memory.known[fake._fingerprint] = frozenset({eras})
    fake.tell(Start())
    return fake


FORGETTABLE: dict[str, tuple[str, Any]] = {
    "refuses": ("initialize", lambda link, number, _: link.refuse(number, -32022)),
    "makes no sense": ("initialize", lambda link, number, _: link.reply(number, {})),
    "is silent": ("initialize", silent),
    "dies": ("initialize", lambda link, *_: link.break_down("it exited with code 1")),
}


@pytest.mark.parametrize(("method", "answer"), FORGETTABLE.values(), ids=FORGETTABLE)
async def test_a_server_that_no_longer_opens_as_remembered_is_probed_anew(
    stage: Stage, server: FakeServer, method: str, answer: Any
) -> None:
    """The command is the same, the program may be another version: a memory must not lock it out."""
    server.answers[method] = answer
    fake = await known(stage, "handshake", start_timeout_s=0.1)
    await stage.reaches(fake, WAITING, FAILED)
    assert server.now.said("server/discover") == []
    del server.answers[method]
    fake.tell(Restart())
    await stage.reaches(fake, READY)
    assert server.now.said("server/discover") != []


# -- the tool list --------------------------------------------------------------------------------------


@pytest.fixture
def quick_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "REFRESH_AFTER_S", 0.02)
    monkeypatch.setattr(upstream, "REFRESH_EVERY_S", 0.3)


@pytest.mark.usefixtures("quick_refresh")
async def test_a_storm_of_changes_is_one_refresh_and_the_next_waits_its_turn(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake()
    read_at = asyncio.get_running_loop().time()
    for burst in (2, 3):
        server.tools.append(f"tool-{burst}")
        for _ in range(1000):
            server.now.mention("notifications/tools/list_changed")
        await tools(fake, burst)
        assert len(server.now.said("tools/list")) == burst
        assert asyncio.get_running_loop().time() >= read_at + 0.3 * (burst - 1), "not more often than allowed"


@pytest.mark.usefixtures("quick_refresh")
async def test_a_list_that_cannot_be_read_again_leaves_the_old_one(stage: Stage, server: FakeServer) -> None:
    server.answers["tools/list"] = lambda link, number, params: (
        link.reply(number, server.tool_list() | {"nextCursor": "2"})
        if "cursor" not in params
        else link.refuse(number, -32603, "the list is gone")
    )
    server.tools.append("half")
    first = server.answers.pop("tools/list")
    fake = await stage.fake()
    server.answers["tools/list"] = first
    server.tools[:] = ["other"]
    server.now.mention("notifications/tools/list_changed")
    await until(lambda: fake.last_error, "the failure is told")
    assert [tool.name for tool in fake.tools] == ["echo", "half"]
    assert "the list is gone" in (fake.last_error or "")
    assert fake.life.state is READY


@pytest.mark.usefixtures("quick_refresh")
async def test_a_refresh_under_way_does_not_outlive_its_link(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    server.answers["tools/list"] = silent
    server.now.mention("notifications/tools/list_changed")
    await until(lambda: len(server.now.said("tools/list")) == 2, "it asks again")
    fake.tell(Stop())
    await stage.reaches(fake, OFF)
    assert [tool.name for tool in fake.tools] == ["echo"]


# -- resources and prompts ------------------------------------------------------------------------------

LISTS = ("resources/list", "resources/templates/list", "prompts/list")


def answering(result: dict[str, Any]) -> Answer:
    return lambda link, number, _params: link.reply(number, result)


def with_others(server: FakeServer, **lists: list[dict[str, Any]]) -> None:
    """Gives the server resources and prompts."""
    has: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
    server.answers["initialize"] = answering(server.greeting() | {"capabilities": has})
    for method, member in zip(LISTS, ("resources", "resourceTemplates", "prompts"), strict=True):
        server.answers[method] = answering({member: lists.get(member, [])})


async def test_what_a_server_does_not_say_it_has_is_not_asked_for(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    assert [method for method in LISTS if server.now.said(method)] == []
    assert fake.shelf.capabilities == frozenset({"tools"})
    assert not fake.knows_its_prompts


async def test_resources_templates_and_prompts_are_read_before_it_is_ready(
    stage: Stage, server: FakeServer
) -> None:
    with_others(
        server,
        resources=[{"uri": "x://1", "name": "one"}],
        resourceTemplates=[{"uriTemplate": "x://{n}", "name": "any"}],
        prompts=[{"name": "ask"}],
    )
    fake = await stage.fake()
    assert [one.uri for one in fake.shelf.resources] == ["x://1"]
    assert [one.uri for one in fake.shelf.templates] == ["x://{n}"]
    assert [one.name for one in fake.shelf.prompts] == ["ask"]
    assert fake.shelf.capabilities == frozenset({"tools", "resources", "prompts", "completions"})
    assert fake.knows_its_prompts
    assert fake.last_error is None


async def test_a_server_that_cannot_list_its_resources_keeps_its_tools_and_says_why(
    stage: Stage, server: FakeServer
) -> None:
    with_others(server, prompts=[{"name": "ask"}])
    server.answers["resources/list"] = lambda link, number, _: link.refuse(number, -32603, "no disk")
    fake = await stage.fake()
    assert [tool.name for tool in fake.tools] == ["echo"]
    assert [one.name for one in fake.shelf.prompts] == ["ask"]
    assert (
        fake.last_error
        == "the list of resources could not be read: The server answered with error -32603: no disk"
    )
    assert fake.last_error in stage.log_of(fake)


async def test_a_server_without_templates_has_resources_all_the_same(
    stage: Stage, server: FakeServer
) -> None:
    with_others(server, resources=[{"uri": "x://1", "name": "one"}])
    server.answers["resources/templates/list"] = lambda link, number, _: link.refuse(number, -32601)
    fake = await stage.fake()
    assert [one.uri for one in fake.shelf.resources] == ["x://1"]
    assert fake.last_error is None


async def test_a_list_that_takes_its_time_does_not_keep_the_tools_waiting(
    stage: Stage, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "OTHER_LISTS_S", 0.05)
    with_others(server, resources=[{"uri": "x://1", "name": "one"}])
    asked: list[int] = []
    server.answers["prompts/list"] = lambda _link, number, _params: asked.append(number)
    fake = await stage.fake()
    assert (len(fake.shelf.resources), fake.shelf.prompts) == (1, ())
    assert not fake.knows_its_prompts, "who asks for one meanwhile is not told that there is none"
    changes = stage.changes
    server.now.reply(asked[0], {"prompts": [{"name": "late"}]})
    await until(lambda: [one.name for one in fake.shelf.prompts] == ["late"], "the list that was late")
    await until(lambda: stage.changes > changes, "and the word of it")


@pytest.mark.usefixtures("quick_refresh")
@pytest.mark.parametrize(("kind", "other"), [("resources", "prompts"), ("prompts", "resources")])
async def test_each_list_is_read_again_when_it_changed_and_only_that_one(
    stage: Stage, server: FakeServer, kind: str, other: str
) -> None:
    with_others(server)
    fake = await stage.fake()
    with_others(server, resources=[{"uri": "x://1", "name": "n"}], prompts=[{"name": "n"}])
    for _ in range(100):
        server.now.mention(f"notifications/{kind}/list_changed")
    await until(lambda: len(getattr(fake.shelf, kind)) == 1, f"the new {kind}")
    assert len(server.now.said(f"{kind}/list")) == 2
    assert len(server.now.said(f"{other}/list")) == len(server.now.said("tools/list")) == 1
    server.answers[f"{kind}/list"] = lambda link, number, _: link.refuse(number, -32603, "gone")
    server.now.mention(f"notifications/{kind}/list_changed")
    await until(lambda: fake.last_error, "the failure is told")
    assert len(getattr(fake.shelf, kind)) == 1, "the old list stays"
    assert fake.life.state is READY


async def test_a_link_that_breaks_while_lists_are_read_is_no_ready_server(
    stage: Stage, server: FakeServer
) -> None:
    with_others(server)

    def break_once(link: FakeLink, _number: int, _params: dict[str, Any]) -> None:
        with_others(server)
        link.break_down("it exited with code 3")

    server.answers["prompts/list"] = break_once
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, WAITING)
    assert stage.histories[fake] == [STARTING, STOPPING, WAITING]


# -- signs of life --------------------------------------------------------------------------------------


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "QUIET_S", 0.05)
    monkeypatch.setattr(upstream, "PING_S", 0.1)


@pytest.mark.usefixtures("quiet", "quick_tick")
@pytest.mark.parametrize("refuses", [False, True])
async def test_a_quiet_server_is_asked_for_a_sign_of_life_and_any_answer_is_one(
    stage: Stage, server: FakeServer, refuses: bool
) -> None:
    if refuses:
        server.answers["ping"] = lambda link, number, _: link.refuse(number, -32601)
    fake = await stage.fake()
    await until(lambda: len(server.now.said("ping")) >= 3, "three pings")
    assert (fake.life.state, len(server.links)) == (READY, 1)


@pytest.mark.usefixtures("quiet", "quick_tick", "at_once")
async def test_a_server_that_gives_no_sign_of_life_is_replaced(stage: Stage, server: FakeServer) -> None:
    server.answers["ping"] = silent
    fake = await stage.fake()
    await links(server, 2)
    assert server.links[0].closed
    assert "ping" in (fake.last_error or "")


@pytest.mark.usefixtures("quiet", "quick_tick")
async def test_a_server_that_answers_calls_need_not_answer_pings(stage: Stage, server: FakeServer) -> None:
    server.answers["ping"] = silent
    server.answers["tools/call"] = lambda link, number, params: (
        link.reply(number, RESULT) if params["name"] == "echo" else None
    )
    fake = await stage.fake()
    await failure_of(stage.call(fake, "never", idle_s=0.05), Kind.TIMED_OUT)
    await until(lambda: server.now.said("ping"), "it is suspect and asked")
    for _ in range(30):
        await result_of(stage.call(fake, "echo"))
        await asyncio.sleep(0.01)
    assert (fake.life.state, len(server.links)) == (READY, 1)


@pytest.mark.usefixtures("quick_tick", "at_once")
async def test_a_call_that_times_out_makes_a_server_suspect_at_once(
    stage: Stage, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "PING_S", 0.1)
    fake = await stage.fake()
    await failure_of(stage.call(fake, "echo", idle_s=0.05), Kind.TIMED_OUT)
    await until(lambda: server.now.said("ping"), "it is asked for a sign of life")
    await asyncio.sleep(0.15)
    assert (fake.life.state, len(server.links)) == (READY, 1), "it gave one"
    server.answers["ping"] = silent
    await failure_of(stage.call(fake, "echo", idle_s=0.05), Kind.TIMED_OUT)
    await links(server, 2)


@pytest.mark.usefixtures("quiet", "quick_tick")
async def test_a_modern_server_is_not_asked_what_its_era_does_not_know(
    stage: Stage, server: FakeServer
) -> None:
    modern(server)
    fake = await stage.fake()
    await asyncio.sleep(0.15)
    assert server.now.said("ping") == []
    assert fake.life.state is READY


def modern(server: FakeServer) -> None:
    server.answers["server/discover"] = lambda link, number, _: link.reply(
        number, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    )
    server.answers["initialize"] = lambda link, number, _: link.refuse(number, -32022)


async def test_every_request_to_a_modern_server_carries_its_meta(stage: Stage, server: FakeServer) -> None:
    modern(server)
    fake = await stage.fake()
    stage.call(fake, "echo")
    stage.call(
        fake,
        "echo",
        meta=b'{"progressToken":"mine","trace":"x%d","io.modelcontextprotocol/protocolVersion":"1",'
        b'"io.modelcontextprotocol/logLevel":"debug"}',
    )
    await until(lambda: len(server.calls) == 2, "two calls")
    era = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": SHARED_CAPABILITIES,
    }
    assert server.now.said("tools/list")[0]["params"]["_meta"] == era
    (_, one, first), (_, two, second) = server.calls
    assert first["_meta"] == era | {"progressToken": one}
    assert second["_meta"] == era | {"progressToken": two, "trace": "x%d"}


OWN_META = (
    b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"mine",'
    b'"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"vendor.example/x":[1.0]}'
)


async def test_a_client_of_the_modern_era_speaks_for_itself(stage: Stage, server: FakeServer) -> None:
    modern(server)
    fake = await stage.fake()
    stage.call(fake, "echo", meta=OWN_META, era=Era.MODERN)
    await until(lambda: len(server.calls) == 1, "a call")
    _, number, params = server.calls[0]
    assert list(params["_meta"].items()) == [
        ("io.modelcontextprotocol/protocolVersion", "2026-07-28"),
        ("progressToken", number),
        ("io.modelcontextprotocol/clientCapabilities", {"sampling": {}}),
        ("vendor.example/x", [1.0]),
    ]


async def test_a_server_of_the_handshake_era_hears_nothing_of_the_modern_one(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake()
    stage.call(fake, "echo", meta=OWN_META, era=Era.MODERN)
    await until(lambda: len(server.calls) == 1, "a call")
    _, number, params = server.calls[0]
    assert params["_meta"] == {"progressToken": number, "vendor.example/x": [1.0]}


# -- calls and the state of their server ----------------------------------------------------------------


async def test_a_call_waits_for_a_server_that_is_starting(stage: Stage, server: FakeServer) -> None:
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, STARTING)
    call = stage.call(fake, "echo")
    assert fake.requests.queued == 1
    await until(lambda: server.calls, "it is sent")
    link, number, params = server.calls[0]
    assert params["name"] == "echo"
    link.reply(number, RESULT)
    assert await result_of(call) == RESULT


async def refused(fake: Upstream) -> GatewayError:
    exchange = exchange_of("echo")
    with pytest.raises(GatewayError) as caught:
        fake.submit(exchange)
    assert not exchange.ended
    assert caught.value.server == fake.id
    return caught.value


async def test_a_call_to_a_server_that_is_off_is_refused_at_once(stage: Stage) -> None:
    problem = await refused(stage.make("fake"))
    assert (problem.kind, problem.retry_after_s) == (Kind.UNAVAILABLE, None)
    assert "switched off" in problem.detail


async def test_a_call_to_a_server_that_has_failed_says_why(stage: Stage) -> None:
    fake = stage.make("no-such-command")
    fake.tell(Start())
    await stage.reaches(fake, FAILED)
    problem = await refused(fake)
    assert problem.kind is Kind.UNAVAILABLE
    assert "command not found" in problem.detail


async def test_a_call_to_a_server_that_is_down_for_long_says_until_when(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake()
    fake.life = Life(READY, attempt=5)
    server.now.break_down("it exited with code 3")
    await stage.reaches(fake, WAITING)
    assert fake.life.retry_at is not None
    fake.life = Life(WAITING, 0, "it exited with code 3", 6, retry_at=fake.life.retry_at + 30)
    problem = await refused(fake)
    assert problem.kind is Kind.UNAVAILABLE
    assert problem.retry_after_s is not None
    assert problem.retry_after_s >= 30
    assert "it exited with code 3" in problem.detail


@pytest.mark.usefixtures("at_once")
async def test_a_call_to_a_server_that_is_back_in_a_moment_waits_for_it(
    stage: Stage, server: FakeServer
) -> None:
    fake = await stage.fake()
    server.now.break_down("it exited with code 3")
    await stage.reaches(fake, STOPPING)
    call = stage.call(fake, "echo")
    await until(lambda: server.calls, "it is sent to the next life")
    link, number, _ = server.calls[0]
    assert link is server.links[1]
    link.reply(number, RESULT)
    await result_of(call)


async def test_calls_that_wait_for_a_server_that_is_not_coming_are_released(
    stage: Stage, server: FakeServer
) -> None:
    server.answers["initialize"] = silent
    fake = stage.make("fake")
    fake.tell(Start())
    await stage.reaches(fake, STARTING)
    calls = [stage.call(fake, "echo", caller=str(number)) for number in range(3)]
    fake.tell(Stop())
    for call in calls:
        assert "switched off" in (await failure_of(call, Kind.UNAVAILABLE)).detail
    assert fake.requests.queued == 0


async def test_calls_under_way_are_lost_with_their_link(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    calls = [stage.call(fake, "echo") for _ in range(3)]
    await until(lambda: len(server.calls) == 3, "they are sent")
    server.now.break_down("it exited with code 3")
    for call in calls:
        assert "it exited with code 3" in (await failure_of(call, Kind.LOST)).detail
    assert fake.requests.in_flight == 0


async def test_a_stop_ends_the_calls_under_way(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    call = stage.call(fake, "echo")
    fake.tell(Stop())
    await failure_of(call, Kind.LOST)
    await stage.reaches(fake, OFF)


async def test_an_idle_server_is_started_by_a_call(stage: Stage, server: FakeServer) -> None:
    fake = await stage.fake()
    fake.tell(Stop(IDLE))
    await stage.reaches(fake, IDLE)
    assert fake.knows_its_tools
    call = stage.call(fake, "echo")
    await until(lambda: server.calls, "it is sent")
    link, number, _ = server.calls[0]
    link.reply(number, RESULT)
    await result_of(call)
    assert stage.histories[fake] == [STARTING, READY, STOPPING, IDLE, STARTING, READY]


async def test_an_owner_survives_a_mistake_of_ours_in_an_opening(
    stage: Stage, server: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def mistaken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(upstream, "open_server", mistaken)
        fake = stage.make("fake")
        fake.tell(Start())
        await stage.reaches(fake, WAITING)
    assert "ZeroDivisionError" in fake.life.reason
    assert caplog.records
    caplog.clear()
    fake.tell(Start())
    await stage.reaches(fake, READY)


async def test_secrets_of_a_server_are_not_shown_in_its_log(stage: Stage) -> None:
    script = "echo the token is $TOKEN >&2; exit 127"
    fake = stage.make("sh", "-c", script, env={"TOKEN": "s3cr3t-value"})
    fake.tell(Start())
    await stage.reaches(fake, FAILED)
    log = stage.log_of(fake)
    assert not any("s3cr3t" in line for line in log)
    assert any("the token is" in line for line in log)
