"""Streams of 2025-11-25 that break and go on: priming, ids, `Last-Event-ID`, and who may come back."""

import asyncio
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from mcp import Client

from tests.faces.knocking import Mcp, check_log, check_rpc_error, exact
from tests.faces.test_mcp_clients import text_of
from tests.harness import Gateway, hostile, until

WAIT_S = 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {"good": hostile("good"), "exact": exact()}
    with Gateway(servers, tmp_path_factory.mktemp("resuming")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture
def session(gateway: Gateway) -> Mcp:
    return Mcp(gateway)


class Event:
    """One event as it was sent; `data` is None where there is none."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.id = fields.get("id")
        self.retry = fields.get("retry")
        self.data: Any = json.loads(fields["data"]) if fields.get("data") else None


def events(response: http.client.HTTPResponse) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for raw in response:
        line = raw.decode().rstrip("\n")
        name, colon, value = line.partition(":")
        if colon and name:
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            yield Event(fields)
            fields = {}


@contextmanager
def calling(session: Mcp, tool: str, request_id: int = 1, **arguments: Any) -> Iterator[Iterator[Event]]:
    """A call whose answer is a stream; leaving it hangs up."""
    params = {"name": f"good__{tool}", "arguments": arguments, "_meta": {"progressToken": "p"}}
    body = Mcp.message("tools/call", params, request_id)
    with session.gateway.open("POST", "/mcp", body, session.headers) as response:
        assert response.getheader("content-type", "").startswith("text/event-stream"), response.read()
        yield events(response)


@contextmanager
def listening(session: Mcp, last: str | None = None) -> Iterator[Iterator[Event]]:
    sent = session.headers | {"Accept": "text/event-stream"}
    sent |= {} if last is None else {"Last-Event-ID": last}
    with session.gateway.open("GET", "/mcp", None, sent) as response:
        assert response.status == 200, response.read()
        yield events(response)


def steps_of(told: list[Event]) -> list[int]:
    return [one.data["params"]["progress"] for one in told if one.data and "method" in one.data]


def switch(gateway: Gateway, enabled: bool) -> None:
    assert gateway.request("PATCH", "/api/tools/exact/nulls", {"enabled": enabled}).status == 200


# -- what a stream begins with --------------------------------------------------------------------------


def test_a_stream_begins_with_an_id_to_come_back_with_and_a_time_to_wait(session: Mcp) -> None:
    with calling(session, "progress", steps=2, ms=1) as stream:
        first, *rest = list(stream)
    assert first.data is None
    assert int(first.retry or 0) > 0
    assert [re.fullmatch(r"(p\d+)-(\d+)", one.id or "") is not None for one in (first, *rest)] == [True] * 4
    names, numbers = zip(*((one.id or "").split("-") for one in (first, *rest)), strict=True)
    assert len(set(names)) == 1
    assert numbers == ("0", "1", "2", "3")
    with calling(session, "progress", steps=1) as another:
        assert (next(another).id or "").split("-")[0] not in names
    with listening(session) as own:
        opened = next(own)
        assert (opened.data, (opened.id or "")[0]) == (None, "g")


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18"])
def test_older_clients_are_spared_events_without_data(gateway: Gateway, revision: str) -> None:
    session = Mcp(gateway, revision=revision)
    with calling(session, "progress", steps=3, ms=1) as stream:
        told = list(stream)
    assert len(told) == 4
    assert all(one.data is not None and one.retry is None for one in told)
    with listening(session, told[1].id) as rest:  # their revision knows resuming, too
        assert steps_of(list(rest)) == [3]


# -- a stream that breaks -------------------------------------------------------------------------------


def test_a_call_goes_on_and_its_rest_is_told_to_who_comes_back(gateway: Gateway, session: Mcp) -> None:
    with calling(session, "progress", steps=40, ms=10) as stream:
        heard = [next(stream) for _ in range(6)]
    assert heard[-1].id is not None
    with listening(session, heard[-1].id) as rest:
        more = list(rest)  # it ends with the answer
    assert steps_of(heard + more) == list(range(1, 41))
    assert more[-1].data["result"]["content"][0]["text"] == "40 steps"
    ids = [one.id for one in heard + more]
    assert len(set(ids)) == len(ids)
    assert gateway.get("/api/calls?limit=1&tool=progress").json()["calls"][0]["outcome"] == "ok"


def test_an_answer_that_came_while_nobody_listened_waits(gateway: Gateway, session: Mcp) -> None:
    with calling(session, "progress", steps=20, ms=10) as stream:
        primed = next(stream)

    def outcome() -> str:
        return str(gateway.get("/api/calls?limit=1&tool=progress").json()["calls"][0]["outcome"])

    until(lambda: outcome() == "ok", 10, "the call ends")
    for _ in range(2):  # and again: nobody knows whether it arrived
        with listening(session, primed.id) as rest:
            more = list(rest)
        assert steps_of(more) == list(range(1, 21))
        assert more[-1].data["result"]


def test_a_call_that_takes_long_can_be_resumed_though_it_says_nothing(gateway: Gateway, session: Mcp) -> None:
    body = Mcp.message("tools/call", {"name": "good__sleep", "arguments": {"ms": 3_000}}, 1)
    with gateway.open("POST", "/mcp", body, session.headers) as response:
        assert response.getheader("content-type", "").startswith("text/event-stream")
        primed = next(events(response))
    with listening(session, primed.id) as rest:
        (answer,) = list(rest)
    assert answer.data["result"]["content"][0]["text"] == "slept"


def test_who_comes_back_while_the_old_connection_seems_alive_takes_it_over(session: Mcp) -> None:
    with calling(session, "progress", steps=1_000_000, ms=10) as older:
        heard = [next(older) for _ in range(3)]
        with listening(session, heard[-1].id) as newer:
            more = [next(newer) for _ in range(3)]
            late = list(older)  # it ends, at once, and what was on its way to it is told again
            assert steps_of(heard[1:] + more) == [1, 2, 3, 4, 5]
            assert not [one for one in late if one.data and "result" in one.data]
            session.post(Mcp.message("notifications/cancelled", {"requestId": 1}))
            list(newer)


def test_what_belongs_to_a_call_is_on_its_own_stream_only(gateway: Gateway, session: Mcp) -> None:
    with listening(session) as own, calling(session, "progress", steps=5, ms=1) as stream:
        next(own)
        assert steps_of(list(stream)) == [1, 2, 3, 4, 5]
        switch(gateway, False)
        switch(gateway, True)
        assert next(own).data["method"] == "notifications/tools/list_changed"


def test_news_that_nobody_heard_is_told_to_who_comes_back(gateway: Gateway, session: Mcp) -> None:
    with listening(session) as own:
        primed = next(own)
    switch(gateway, False)
    switch(gateway, True)
    with listening(session, primed.id) as again:
        told = next(again)
    assert told.data["method"] == "notifications/tools/list_changed"
    assert (told.id or "").split("-")[0] == (primed.id or "").split("-")[0]


def test_who_comes_back_to_an_own_stream_that_is_forgotten_is_told_to_look_again(session: Mcp) -> None:
    with listening(session, "g77-3") as own:
        assert next(own).data is None
        told = {next(own).data["method"] for _ in range(3)}
    assert told == {f"notifications/{kind}/list_changed" for kind in ("tools", "resources", "prompts")}


# -- who may ---------------------------------------------------------------------------------------------


def test_a_stream_belongs_to_its_session(gateway: Gateway, session: Mcp) -> None:
    with calling(session, "progress", steps=2, ms=1) as stream:
        told = list(stream)
    other = Mcp(gateway)
    for whose, last in (
        (other, told[0].id or ""),
        (session, "p77-1"),
        (session, "p1"),
        (session, "x1-1"),
        (session, "p1-1-1"),
        (session, ""),
        (session, "1" * 100),
    ):
        headers = whose.headers | {"Accept": "text/event-stream", "Last-Event-ID": last}
        answer = gateway.request("GET", "/mcp", None, headers)
        assert answer.status == 400, last
        check_rpc_error(answer.json(), -32600, "invalid")
    session.end()
    headers = session.headers | {"Accept": "text/event-stream", "Last-Event-ID": told[0].id or ""}
    assert gateway.request("GET", "/mcp", None, headers).status == 404


# -- the official client --------------------------------------------------------------------------------


class Breaking:
    """A proxy that cuts the first connection on which progress was told, once."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cut = 0
        self.resumed = 0
        self.serving: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def up() -> None:
            while data := await reader.read(65536):
                self.resumed += b"last-event-id: p" in data.lower()
                inner_writer.write(data.replace(b"127.0.0.1:", b"localhost:"))
                await inner_writer.drain()

        async def down() -> None:
            while data := await inner_reader.read(65536):
                writer.write(data)
                await writer.drain()
                if not self.cut and b"notifications/progress" in data:
                    self.cut += 1
                    return

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in (writer, inner_writer):
            end.close()
            with suppress(OSError):
                await end.wait_closed()


async def test_the_sdk_gets_its_answer_over_a_connection_that_breaks(gateway: Gateway) -> None:
    proxy = Breaking(gateway.port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    heard: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with server, asyncio.timeout(WAIT_S), Client(url, mode="legacy") as client:
        arguments = {"steps": 20, "ms": 20}
        done = await client.call_tool("good__progress", arguments, progress_callback=on_progress)
        assert text_of(done) == "20 steps"
    await asyncio.gather(*proxy.serving)
    assert (proxy.cut, proxy.resumed) == (1, 1)
    assert heard == [float(step) for step in range(1, 21)]
