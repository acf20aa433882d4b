"""Which headers of a caller go to a server with its call, and that nothing remembers them (S22, S26)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.upstream.forwarded import FORWARDED_MAX_BYTES, NO_HEADERS, picked, secrets_of
from mcp_gateway.upstream.lifecycle import Start, State
from mcp_gateway.upstream.link import Peer
from mcp_gateway.upstream.logring import REDACTED, LogRing
from mcp_gateway.upstream.upstream import Upstream
from tests.harness import Remote, remote
from tests.upstream.parts import FakeLink, FakeServer, Stage, failure_of, result_of, until

RESULT: dict[str, Any] = {"content": [], "isError": False}
CANARY = b"c4nary-9f2e-of-the-caller"
# Whatever a caller may send; the edge refuses much of it, and the call path does not rely on that.
EVERYTHING = {
    name.encode(): CANARY
    for name in (
        *("authorization", "cookie", "proxy-authorization", "x-api-key", "x-custom", "traceparent", "host"),
        *("tailscale-user-login", "x-forwarded-for", "x-forwarded-host", "forwarded", "via", "x-real-ip"),
        *("origin", "referer", "sec-fetch-site", "content-type", "accept-language", "user-agent"),
        *("mcp-session-id", "mcp-protocol-version", "mcp-param-region", "last-event-id", "mcp-gateway-code"),
    )
}


@pytest.fixture
def far(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """The server in this process, reached where a remote one is."""

    class Link(FakeLink):
        def __init__(self, _remote: object, peer: Peer, logs: LogRing, _dir: Path, cap: int, _list: object):
            super().__init__(server, peer, logs, cap)

    monkeypatch.setattr("mcp_gateway.upstream.upstream.HttpLink", Link)
    return server


async def opened(stage: Stage, url: str = "http://h/mcp", **config: Any) -> Upstream:
    upstream = stage.make(None, url=url, **config)
    upstream.tell(Start())
    await stage.reaches(upstream, State.READY)
    return upstream


def test_what_is_named_is_taken_as_it_is_written_and_nothing_else() -> None:
    headers = {b"x-api-key": b"k", b"x-tenant": b"caf\xe9\tx", b"x-empty": b"", b"x-other": b"o"}
    names = ("X-API-Key", "x-tenant", "X-Empty", "X-Absent")
    assert picked("s", names, headers) == {"X-API-Key": "k", "x-tenant": "caf\xe9\tx", "X-Empty": ""}
    assert picked("s", names, NO_HEADERS) == {}


@pytest.mark.parametrize("value", [b"a\r\nX-Evil: 1", b"a\n", b"\r", b"a\0b", b"\x1b[2J", b"\x7f"])
def test_a_value_that_would_be_read_as_more_is_refused(value: bytes) -> None:
    with pytest.raises(GatewayError, match="`X-Key` holds characters") as caught:
        picked("s", ("X-Key",), {b"x-key": value})
    assert caught.value.kind is Kind.INVALID
    assert value.decode() not in caught.value.detail


def test_all_together_may_be_so_long_and_no_longer() -> None:
    names = ("X-A", "X-B")
    half = FORWARDED_MAX_BYTES // 2
    headers = {b"x-a": b"a" * (half - 3), b"x-b": b"b" * (half - 3), b"x-c": b"c" * half}
    assert len(picked("s", names, headers)) == 2
    with pytest.raises(GatewayError, match="4097 bytes long") as caught:
        picked("s", names, headers | {b"x-b": b"b" * (half - 2)})
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-key": b"mgk_ab12_secret"},
        {b"x-key": b"Bearer mgk_ab12_secret"},
        {b"x-key": b"declared-by-hand", b"authorization": b"Bearer declared-by-hand"},
        {b"x-key": b"Token declared-by-hand", b"authorization": b"bearer  declared-by-hand"},
    ],
)
def test_what_the_caller_shows_to_us_is_not_passed_on_under_another_name(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(GatewayError, match="a credential of this gateway") as caught:
        picked("s", ("X-Key",), headers)
    assert caught.value.kind is Kind.INVALID
    assert "declared" not in caught.value.detail
    assert "mgk_" not in caught.value.detail


def test_a_key_of_the_server_beside_one_of_ours_is_passed_on() -> None:
    headers = {b"x-key": b"Bearer theirs", b"authorization": b"Bearer ours"}
    assert picked("s", ("X-Key",), headers) == {"X-Key": "Bearer theirs"}


def test_what_is_hidden_is_bounded_however_many_words_a_value_has() -> None:
    value = " ".join(f"word{number:04}" for number in range(400))
    assert len(set(secrets_of({"X-Key": value}))) == 5
    assert set(secrets_of({"X-Key": "Bearer caf\xc3\xa9-key"})) >= {"caf\xe9-key", "caf\xc3\xa9-key"}


async def test_a_server_that_is_configured_to_get_none_gets_none(stage: Stage, far: FakeServer) -> None:
    upstream = await opened(stage)
    call = stage.call(upstream, "echo", headers=EVERYTHING)
    await until(lambda: far.calls, "the call arrives")
    assert call.forwarded is None
    assert set(far.now.forwarded.values()) == {None}
    far.now.reply(far.calls[0][1], RESULT)
    await result_of(call)


async def test_only_the_call_brings_them_and_when_it_ends_they_are_gone(
    stage: Stage, far: FakeServer
) -> None:
    upstream = await opened(stage, forward_headers=("X-Api-Key",))
    call = stage.call(upstream, "echo", headers=EVERYTHING)
    await until(lambda: far.calls, "the call arrives")
    brought = {number: what for number, what in far.now.forwarded.items() if what is not None}
    assert brought == {far.calls[0][1]: {"X-Api-Key": CANARY.decode()}}
    far.now.reply(far.calls[0][1], RESULT)
    await result_of(call)
    assert call.forwarded is None
    assert call.headers is NO_HEADERS


async def test_what_cannot_be_passed_on_is_refused_before_anything_is_sent(
    stage: Stage, far: FakeServer
) -> None:
    upstream = await opened(stage, forward_headers=("X-Api-Key",))
    sent = len(far.now.sent)
    with pytest.raises(GatewayError, match="4096 is the most"):
        stage.call(upstream, "echo", headers={b"x-api-key": b"k" * 5_000})
    assert len(far.now.sent) == sent
    assert (upstream.requests.in_flight, upstream.requests.queued) == (0, 0)


async def test_another_list_holds_for_the_next_call(stage: Stage, far: FakeServer) -> None:
    upstream = await opened(stage, forward_headers=("X-Api-Key",))
    for names in ((), ("X-Custom", "X-Api-Key"), ("X-Custom",)):
        upstream.reconfigure(upstream.config.model_copy(update={"forward_headers": names}))
        call = stage.call(upstream, "echo", headers=EVERYTHING)
        assert set(call.forwarded or ()) == set(names)
        await until(lambda: far.calls, "the call arrives")
        far.now.reply(far.calls.pop()[1], RESULT)
        await result_of(call)
    assert len(far.links) == 1


@pytest.mark.parametrize("names", [(), ("X-Custom",)])
async def test_a_call_that_waited_brings_what_is_named_where_it_ends_up(
    stage: Stage, far: FakeServer, names: tuple[str, ...]
) -> None:
    """A header that was named for one address does not go to another that does not name it."""
    before = await opened(stage, forward_headers=("X-Api-Key",), concurrency=1)
    first, waits = (stage.call(before, "echo", headers=EVERYTHING) for _ in range(2))
    assert set(waits.forwarded or ()) == {"X-Api-Key"}
    after = await opened(stage, "http://other/mcp", forward_headers=names)
    assert before.requests.take_waiting() is waits
    after.submit(waits)
    await until(lambda: len(far.calls) == 2, "both arrive")
    (old, number, _), (new, moved, _) = far.calls
    assert old is not new
    assert set(new.forwarded[moved] or ()) == set(names)
    for link, asked, call in ((old, number, first), (new, moved, waits)):
        link.reply(asked, RESULT)
        await result_of(call)


async def test_what_the_server_repeats_is_in_no_record_and_no_log(stage: Stage, far: FakeServer) -> None:
    upstream = await opened(stage, forward_headers=("X-Api-Key",))
    key = CANARY.decode()
    calls = [stage.call(upstream, "echo", headers=EVERYTHING) for _ in range(2)]
    await until(lambda: len(far.calls) == 2, "the calls arrive")
    far.now.refuse(far.calls[0][1], -32000, f"no such key: {key}")
    problem = await failure_of(calls[0], Kind.LOST)
    assert problem.detail == f"The server answered with error -32000: no such key: {REDACTED}"
    upstream.logs.add("http", b"seen " + CANARY)
    assert stage.log_of(upstream)[-1] == f"seen {REDACTED}", "the other call still brings it"
    far.now.reply(far.calls[1][1], RESULT)
    await result_of(calls[1])
    upstream.logs.add("http", b"seen " + CANARY)
    assert stage.log_of(upstream)[-1] == f"seen {key}", (
        "nobody brings it any more: it is not kept to be hidden"
    )


@pytest.mark.parametrize("options", [(), ("--transport", "sse"), ("--era", "modern")])
@pytest.mark.parametrize("names", [(), ("X-Api-Key", "traceparent")])
async def test_of_everything_a_caller_sends_the_server_sees_what_is_named(
    stage: Stage, options: tuple[str, ...], names: tuple[str, ...]
) -> None:
    """Over a real connection, without the edge, which refuses half of these."""
    with remote("good", *options) as twin:
        upstream = await opened(stage, twin.url, forward_headers=names)
        result = await result_of(stage.call(upstream, "headers", headers=EVERYTHING))
        seen = twin.stats()["headers"]
    assert arrived(result) == {name.lower() for name in names}
    assert arrived(seen.pop("tools/call headers")) == {name.lower() for name in names}
    assert len(seen) > 1, "other requests were made"
    assert arrived(seen) == set()


def arrived(what: Any) -> set[str]:
    """The headers that hold the caller's value, wherever they are written down."""
    if isinstance(what, Mapping):
        mine = {name for name, value in what.items() if CANARY.decode() == value}
        return mine.union(*map(arrived, what.values()))
    if isinstance(what, list):
        return set().union(*map(arrived, what))
    if isinstance(what, str) and CANARY.decode() in what and what.startswith("{"):
        return arrived(json.loads(what))
    return set()


async def test_who_comes_back_for_an_answer_brings_them_again_and_a_listener_does_not(stage: Stage) -> None:
    with remote("good") as twin:
        upstream = await opened(stage, twin.url, forward_headers=("X-Api-Key",))
        call = stage.call(upstream, "act", {"mode": "poll"}, headers=EVERYTHING)
        await result_of(call)
        seen = twin.stats()["headers"]
    assert seen["tools/call act"]["x-api-key"] == CANARY.decode()
    assert seen["GET resumed"]["x-api-key"] == CANARY.decode()
    assert "x-api-key" not in seen["GET"]


def sessions(twin: Remote) -> int:
    return int(twin.stats()["sessionsOpened"])


async def test_a_session_begun_anew_for_a_call_is_not_begun_with_its_headers(stage: Stage) -> None:
    with remote("session-lost", "--on", "act", "--times", "1") as twin:
        upstream = await opened(stage, twin.url, forward_headers=("X-Api-Key",))
        before = sessions(twin)
        await result_of(stage.call(upstream, "act", headers=EVERYTHING))
        seen = twin.stats()["headers"]
        assert sessions(twin) == before + 1
    assert seen["tools/call act"]["x-api-key"] == CANARY.decode()
    assert "x-api-key" not in seen["initialize"]
