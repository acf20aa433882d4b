"""What is kept of calls in memory: how much, how it is shown, and to whom."""

import base64
import html
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from msgspec import Raw

import mcp_gateway.store as store_module
from mcp_gateway.access.caller import Right, unlimited
from mcp_gateway.config import load
from mcp_gateway.config.model import Config, PayloadMode
from mcp_gateway.errors import GatewayError, UpstreamAnswered
from mcp_gateway.gateway import Gateway, call_id_text
from mcp_gateway.gateway.payloads import HEAD_BYTES, KEPT_BYTES, KEPT_CALLS, NOTHING, Payloads
from mcp_gateway.store import Capture, Store
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.process import Nursery
from tests.store.records import a_finished_record

SECRET = 'k3y"/+ä value'
BEN = unlimited("ben", Right.READ)


def ring(mode: PayloadMode = "memory") -> Payloads:
    return Payloads(lambda _server: mode)


def result(text: str) -> Raw:
    return Raw(json.dumps({"text": text}, ensure_ascii=False).encode())


def test_the_last_calls_are_kept_and_earlier_ones_forgotten() -> None:
    payloads = ring()
    records = [a_finished_record() for _ in range(KEPT_CALLS + 5)]
    for number, record in enumerate(records):
        payloads.keep(record, LogRing(), result(str(number)), None)
    kept = [payloads.find(record.id) for record in records]
    assert [payload is None for payload in kept] == [True] * 5 + [False] * KEPT_CALLS
    assert kept[-1] is not None
    assert kept[-1].shown() == {
        "request": {"bytes": 25, "truncated": False, "text": '{"repo_path":"/srv/demo"}'},
        "response": {"bytes": 15, "truncated": False, "text": '{"text": "204"}'},
    }


def test_large_ones_are_cut_and_together_stay_within_their_bound() -> None:
    payloads = ring()
    records = [a_finished_record(arguments=b'"' + b"q" * 100_000 + b'"') for _ in range(KEPT_CALLS)]
    for record in records:
        payloads.keep(record, LogRing(), result("r" * 200_000), None)
    kept = [payload for record in records if (payload := payloads.find(record.id)) is not None]
    assert len(kept) == KEPT_BYTES // (2 * HEAD_BYTES)
    assert all(len(payload.request or b"") == len(payload.response or b"") == HEAD_BYTES for payload in kept)
    shown = kept[0].shown()
    assert (shown["request"]["bytes"], shown["request"]["truncated"]) == (100_002, True)
    assert (shown["response"]["bytes"], shown["response"]["truncated"]) == (200_012, True)
    assert set(shown["response"]["text"]) <= set('{"text": r')


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_the_line_a_result_came_in_is_not_held(size: int) -> None:
    class Answer(msgspec.Struct):
        result: Raw

    line = b'{"result":"%b","junk":"%b"}' % (b"r" * size, b"j" * 100_000)
    before = sys.getrefcount(line)
    answer = msgspec.json.decode(line, type=Answer)
    payloads = ring()
    record = a_finished_record(arguments=b"{}")
    payloads.keep(record, LogRing(), answer.result, None)
    assert sys.getrefcount(line) > before
    del answer
    assert sys.getrefcount(line) == before
    payload = payloads.find(record.id)
    assert payload is not None
    assert payload.response_bytes == size + 2


def test_an_error_of_the_server_is_its_response_and_one_of_ours_is_none() -> None:
    payloads = ring()
    theirs, ours = a_finished_record(), a_finished_record()
    payloads.keep(theirs, LogRing(), None, UpstreamAnswered("git", -1, "no", b'{"code":-1,"message":"no"}'))
    payloads.keep(ours, LogRing(), None, RuntimeError("ours"))
    kept = [payload.shown()["response"] for r in (theirs, ours) if (payload := payloads.find(r.id))]
    assert kept == [{"bytes": 26, "truncated": False, "text": '{"code":-1,"message":"no"}'}, None]


def test_off_keeps_nothing_and_only_disk_hands_a_capture_to_the_store() -> None:
    modes: dict[PayloadMode, tuple[bool, bool]] = {
        "off": (False, False),
        "memory": (True, False),
        "disk": (True, True),
    }
    for mode, (is_kept, is_captured) in modes.items():
        record = a_finished_record()
        payloads = ring(mode)
        payloads.keep(record, LogRing(), result("x"), None)
        assert (payloads.find(record.id) is not None, record.capture is not None) == (is_kept, is_captured)


def in_basic(secret: str) -> str:
    return base64.b64encode(f"user:{secret}".encode()).decode()


FORMS = {
    "plain": SECRET,
    "JSON": json.dumps(SECRET),
    "JSON, not only ASCII": json.dumps(SECRET, ensure_ascii=False),
    "JSON in JSON": json.dumps(json.dumps(SECRET)),
    "URL": quote(SECRET, safe=""),
    "form": quote(SECRET, safe="").replace("%20", "+"),
    "HTML": html.escape(SECRET),
    "hex": SECRET.encode().hex(),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "Basic": in_basic(SECRET),
    "Basic, aligned otherwise": base64.b64encode(f"ab{SECRET}".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_not_shown_in_any_of_its_usual_forms(form: str) -> None:
    log = LogRing()
    log.guard([SECRET, "short"])
    payloads = ring()
    record = a_finished_record(arguments=f"before {form} after".encode())
    payloads.keep(record, log, Raw(f"before {form} after".encode()), None)
    payload = payloads.find(record.id)
    assert payload is not None
    for side in payload.shown().values():
        assert "•••" in side["text"]
        # Four characters beside it may be of its neighbours, as base64 has it.
        assert all(form[at : at + 8] not in side["text"] for at in range(2, len(form) - 10))
        assert side["text"].startswith("before ")
        assert side["text"].endswith(" after")


@pytest.mark.parametrize("shown_chars", range(1, len("s3cret-value"), 3))
def test_half_a_secret_at_the_cut_is_not_shown_either(shown_chars: int) -> None:
    log = LogRing()
    log.guard(["s3cret-value"])
    payloads = ring()
    record = a_finished_record()
    head = "x" * (HEAD_BYTES - shown_chars)
    payloads.keep(record, log, Raw(f"{head}s3cret-value and more".encode()), None)
    payload = payloads.find(record.id)
    assert payload is not None
    side = payload.shown()["response"]
    assert side["truncated"]
    assert set(side["text"]) == {"x"}


def test_what_would_act_on_a_screen_is_visible_and_lines_stay_lines() -> None:
    payloads = ring()
    record = a_finished_record()
    payloads.keep(record, LogRing(), Raw('{\n "a": "\u202e\x9b"}'.encode()), None)
    payload = payloads.find(record.id)
    assert payload is not None
    assert payload.shown()["response"]["text"] == '{\n "a": "\\u202e\\x9b"}'


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path / "state")
    yield store
    await store.close()


def gateway(store: Store, config: Config) -> Gateway:
    return Gateway(config, store, Nursery("test", {}), {}, Path("nowhere"))


@pytest.mark.parametrize("where", ["memory", "disk"])
async def test_a_call_of_somebody_else_is_shown_to_who_may_operate_and_to_nobody_else(
    store: Store, where: str
) -> None:
    house = gateway(store, load.empty())
    record = a_finished_record(caller="anna")
    if where == "memory":
        house.payloads.keep(record, LogRing(), result("x"), None)
        known = {"request": 25, "response": 13}
    else:
        side = {"bytes": 2, "truncated": False, "text": "{}"}
        record.capture = Capture(2, lambda: {"request": side, "response": side})
        store.end(record)
        known = {"request": 2, "response": 2}
    text = call_id_text(record.id)
    anna, operator = unlimited("anna", Right.READ), unlimited("eve", Right.READ, Right.OPERATE)
    for caller in (anna, operator):
        shown = await house.show_payloads(caller, text)
        assert {name: side["bytes"] for name, side in shown.items()} == known
    assert await house.show_payloads(BEN, text) == NOTHING
    assert await house.show_payloads(operator, "nothing") == NOTHING
    assert await house.show_payloads(operator, call_id_text(record.id + 1)) == NOTHING
    with pytest.raises(GatewayError, match="`read`"):
        await house.show_payloads(unlimited("anna"), text)


async def test_where_it_is_switched_off_later_nothing_is_shown_any_more(store: Store) -> None:
    modes: list[PayloadMode] = ["memory"]
    house = gateway(store, load.empty())
    house.payloads = Payloads(lambda _server: modes[-1])
    record = a_finished_record()
    house.payloads.keep(record, LogRing(), result("x"), None)
    operator = unlimited("local", *Right)
    assert await house.show_payloads(operator, call_id_text(record.id)) != NOTHING
    modes.append("off")
    assert await house.show_payloads(operator, call_id_text(record.id)) == NOTHING


async def test_what_was_not_captured_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    house = gateway(store, load.empty())
    assert house.warnings() == []
    monkeypatch.setattr(store_module, "MAX_PENDING_BYTES", 0)
    store.end(a_finished_record(capture=Capture(1, dict)))
    assert house.warnings() == ["1 requests and responses were not captured on disk"]
