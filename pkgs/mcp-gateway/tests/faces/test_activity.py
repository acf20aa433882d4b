"""What was said in calls, and activity as a file: over REST, against the real command."""

import asyncio
import csv
import io
import json
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.config import load
from mcp_gateway.faces.asgi import Application
from mcp_gateway.gateway import EXPORT_ROWS
from mcp_gateway.gateway import Gateway as Facade
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery
from tests.faces.knocking import Api, check_log, check_problem, exact
from tests.faces.test_openapi import scope_of
from tests.harness import Gateway, hostile, until
from tests.store.records import a_finished_record

SECRET = 'c4nary"secret/+value'
WORD = "canary-in-a-payload-71c5"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    servers = {
        "good": hostile("good", env={"SECRET": SECRET}),
        "silent": hostile("good", payloads="off"),
        "asking": exact("modern"),
    }
    with Gateway(servers, tmp_path_factory.mktemp("activity")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield Api(gateway)
        check_log(gateway)


def said(api: Api, call_id: str | None) -> tuple[Any, Any]:
    shown = api.json(f"/api/calls/{call_id}")
    return shown["request"], shown["response"]


def test_what_was_said_in_a_call_is_shown_with_it(api: Api) -> None:
    answer = api.call("good", "echo", text="hello")
    request, response = said(api, answer.call_id)
    assert request == {"bytes": 17, "truncated": False, "text": '{"text": "hello"}'}
    assert response == {"bytes": len(answer.body), "truncated": False, "text": answer.body.decode()}


def test_an_error_of_the_server_is_the_response(api: Api) -> None:
    answer = api.call("good", "refuse", code=-32000, message="no such thing")
    _, response = said(api, answer.call_id)
    assert json.loads(response["text"]) == answer.json()["rpcError"]


def test_a_tool_that_asks_something_back_has_said_so(api: Api) -> None:
    answer = api.call("asking", "ask-back")
    _, response = said(api, answer.call_id)
    assert json.loads(response["text"]) == answer.json()["inputRequests"]


def test_a_call_that_still_runs_shows_what_was_asked(api: Api) -> None:
    started = api.request("POST", "/api/tools/good/sleep", {"ms": 60_000}, {"Prefer": "respond-async"})
    call_id = started.json()["id"]
    request, response = said(api, call_id)
    assert (json.loads(request["text"]), response) == ({"ms": 60_000}, None)
    api.request("DELETE", f"/api/calls/{call_id}")
    until(lambda: api.json(f"/api/calls/{call_id}")["outcome"] == "cancelled", 10, "the call is cancelled")
    request, response = said(api, call_id)
    assert (json.loads(request["text"]), response) == ({"ms": 60_000}, None)


def test_a_call_that_was_refused_was_not_said_to_anybody(api: Api) -> None:
    assert said(api, api.call("good", "nothing", text=WORD).call_id) == (None, None)


def test_a_large_result_is_shown_as_its_beginning(api: Api) -> None:
    answer = api.call("good", "blob", bytes=200_000)
    _, response = said(api, answer.call_id)
    assert (response["bytes"], response["truncated"]) == (len(answer.body), True)
    assert answer.body.decode().startswith(response["text"])
    assert 50_000 < len(response["text"]) < 65_536


def test_no_secret_of_the_server_is_shown(api: Api) -> None:
    answer = api.call("good", "echo", text=f"it is {SECRET}!")
    for side in said(api, answer.call_id):
        assert "it is •••!" in side["text"]


def test_where_it_is_off_nothing_is_shown(api: Api) -> None:
    assert said(api, api.call("silent", "echo", text="x").call_id) == (None, None)


def canaries(directory: Path) -> dict[str, bool]:
    """Every file of a directory, and whether it holds the word."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): WORD.encode() in path.read_bytes() for path in files}


def test_what_was_said_is_on_disk_only_where_that_was_asked_for(tmp_path: Path) -> None:
    servers = {
        "plain": hostile("good"),
        "silent": hostile("good", payloads="off"),
        "taped": hostile("good", payloads="disk", env={"SECRET": SECRET}),
    }
    gateway = Gateway(servers, tmp_path)
    with gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        for server in ("plain", "silent"):
            for tool in ("echo", "nothing"):
                gateway.call(server, tool, text=WORD)
        gateway.get("/api/calls?limit=1")  # behind it, everything is written
        found = canaries(gateway.state_dir)
        assert found["gateway.sqlite3-wal"] is False
        assert not any(found.values()), found
        plain = gateway.call("plain", "echo", text=WORD).call_id
        taped = gateway.call("taped", "echo", text=f"{WORD} {SECRET}").call_id
        shown = Api(gateway).json(f"/api/calls/{taped}")
        gateway.stop()
        assert {name for name, is_there in canaries(gateway.state_dir).items() if is_there} == {
            "gateway.sqlite3"
        }
        assert SECRET[-8:].encode() not in (gateway.state_dir / "gateway.sqlite3").read_bytes()
        assert WORD not in gateway.log.read_text()

        gateway.start()
        again = Api(gateway).json(f"/api/calls/{taped}")
        assert again == shown
        assert f"{WORD} •••" in again["request"]["text"]
        assert f"{WORD} •••" in again["response"]["text"]
        forgotten = gateway.get(f"/api/calls/{plain}").json()
        assert (forgotten["outcome"], forgotten["request"], forgotten["response"]) == ("ok", None, None)


def test_the_whole_gateway_may_be_taped_but_for_one_server(tmp_path: Path) -> None:
    servers = {"good": hostile("good"), "silent": hostile("good", payloads="memory")}
    gateway = Gateway(servers, tmp_path, gateway={"activity": {"payloads": "disk"}})
    with gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        gateway.call("silent", "echo", text=WORD)
        gateway.get("/api/calls?limit=1")
        assert not any(canaries(gateway.state_dir).values())
        gateway.call("good", "echo", text=WORD)
        gateway.get("/api/calls?limit=1")
        assert any(canaries(gateway.state_dir).values())


# -- activity as a file ---------------------------------------------------------------------------------


def test_every_call_is_exported_once_in_the_order_of_the_pages(api: Api) -> None:
    for number in range(450):  # three stretches
        api.gateway.call("good", "echo", text=str(number))
    answer = api.request("GET", "/api/calls/export?server=good")
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["content-disposition"] == 'attachment; filename="activity.jsonl"'
    lines = answer.body.splitlines()
    assert len(lines) >= 450
    assert [json.loads(line) for line in lines] == api.gateway.records("good")


def test_a_spreadsheet_gets_the_same_calls_and_no_formula(api: Api) -> None:
    began = time.time()
    names = ["=1+1", "+1", "-1", "@SUM(A1)", '"quoted", and a comma', "two\nlines", "＝1"]
    assert {api.call("good", name).status for name in names} == {404}
    answer = api.request("GET", f"/api/calls/export?format=csv&since={began}")
    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    text = answer.body.decode()
    assert text.count("\r\n") == len(names) + 1
    head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert head[:7] == ["id", "started", "caller", "face", "server", "tool", "outcome"]
    tools = [row[5] for row in reversed(rows)]
    assert tools == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", '"quoted", and a comma', "two\nlines", "'＝1"]
    assert {len(row) for row in rows} == {len(head)}
    assert all(row[1].endswith("+00:00") for row in rows)


def test_an_export_is_filtered_as_a_page_is_and_may_be_short(api: Api) -> None:
    api.gateway.call("good", "fail")
    rows = [row for row in api.gateway.records("good") if row["outcome"] == "tool_error"]
    exported = api.request("GET", "/api/calls/export?outcome=tool_error&server=good")
    assert [json.loads(line) for line in exported.body.splitlines()] == rows
    assert len(api.request("GET", "/api/calls/export?limit=201").body.splitlines()) == 201
    assert api.request("GET", "/api/calls/export?server=nobody").body == b""
    until_then = api.request("GET", f"/api/calls/export?server=good&until={rows[0]['started']}")
    assert rows[0]["id"] not in {json.loads(line)["id"] for line in until_then.body.splitlines()}


@pytest.mark.parametrize("query", ["format=xml", "limit=0", "cursor=1~a", "since=nan", "until=soon"])
def test_an_export_that_makes_no_sense_is_a_problem_and_no_file(api: Api, query: str) -> None:
    check_problem(api.request("GET", f"/api/calls/export?{query}"), 400, "invalid", query.partition("=")[0])


# -- who leaves an export ends it -----------------------------------------------------------------------


async def test_an_export_ends_when_its_reader_leaves_and_writes_go_on_meanwhile(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "state")
    rows = 20 * EXPORT_ROWS
    for _ in range(rows):
        store.end(a_finished_record())
    gateway = Facade(load.empty(), store, Nursery("test", {}), {}, tmp_path)
    application = Application(gateway)
    lines = 0
    has_enough = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        await has_enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal lines
        lines += message.get("body", b"").count(b"\n")
        record = a_finished_record()
        store.end(record)
        assert await store.call(record.id) is not None  # behind every batch, in front of the next stretch
        if lines >= 2 * EXPORT_ROWS:
            has_enough.set()

    scope = scope_of("GET", "/api/calls/export")
    async with asyncio.timeout(30):
        await application(scope, receive, send)
    await store.close()
    assert 2 * EXPORT_ROWS <= lines <= 5 * EXPORT_ROWS


# -- numbers --------------------------------------------------------------------------------------------


def test_calls_are_counted_over_time(api: Api) -> None:
    since = time.time()
    for text in ("a", "b"):
        assert api.call("silent", "echo", text=text).status == 200
    assert api.call("silent", "fail", text="x").code == "tool_error"
    assert api.call("silent", "no-such-tool").code == "unknown"
    shown = api.json(f"/api/stats?server=silent&since={since!r}&until={since + 60!r}&buckets=3")
    assert (shown["since"], shown["until"], shown["bucketSeconds"]) == (since, since + 60, 20)
    assert shown["truncated"] is False
    assert len(shown["buckets"]) == 3
    totals = shown["totals"]
    assert (totals["calls"], totals["errors"]) == (4, 2)
    assert 0 < totals["p50Ms"] <= totals["p95Ms"]
    assert sum(bucket["calls"] for bucket in shown["buckets"]) == 4
    by_server = api.json(f"/api/stats?by=server&since={since!r}&until={since + 60!r}&buckets=3")
    assert "totals" not in by_server
    assert by_server["servers"].keys() == {"good", "silent", "asking"}
    silent = by_server["servers"]["silent"]
    assert (silent["calls"], silent["errors"], len(silent["buckets"])) == (4, 2, 3)


def test_without_a_word_it_is_the_last_hour_by_the_minute(api: Api) -> None:
    shown = api.json("/api/stats")
    assert len(shown["buckets"]) == 60
    assert shown["bucketSeconds"] == pytest.approx(60)
    assert shown["until"] == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    "query",
    [
        "buckets=0",
        "buckets=241",
        "buckets=1.5",
        "buckets=",
        "by=tool",
        "by=",
        "since=nan",
        "until=inf",
        "since=2&until=2",
        "since=3&until=2",
        "since=9999999999999",
        "since=-1.7e308&until=1.7e308",
        "action=key.create",
        "limit=5",
        "cursor=x",
        "only=key:x",
        "servers=good",
    ],
)
def test_what_cannot_be_counted_is_refused(api: Api, query: str) -> None:
    check_problem(api.get(f"/api/stats?{query}"), 400, "invalid")


@pytest.mark.parametrize("buckets", [1, 240])
def test_the_bounds_themselves_are_taken(api: Api, buckets: int) -> None:
    assert len(api.json(f"/api/stats?buckets={buckets}&since=0&until=1")["buckets"]) == buckets
