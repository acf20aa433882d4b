"""Event streams as a reader of the WHATWG grammar sees them: whatever we send is one whole event."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.wire import sse


def parse(stream: bytes) -> list[dict[str, str]]:
    """HTML, 9.2.6: lines end with CRLF, LF or CR; a blank line dispatches."""
    events: list[dict[str, str]] = []
    fields: dict[str, list[str]] = {}
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line:
            if fields:
                events.append({name: "\n".join(values) for name, values in fields.items()})
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
    assert not fields, "the stream ends with a blank line"
    return events


def test_an_event_has_a_name_an_id_and_its_data() -> None:
    assert parse(sse.event(b'{"a":1}', "result", "7-3")) == [
        {"event": "result", "id": "7-3", "data": '{"a":1}'}
    ]
    assert parse(sse.event(b"{}")) == [{"data": "{}"}]


def test_a_keep_alive_is_no_event() -> None:
    assert parse(sse.KEEP_ALIVE + sse.event(b"{}") + sse.KEEP_ALIVE) == [{"data": "{}"}]


@settings(deadline=None, max_examples=200)
@given(st.recursive(st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=8))
def test_json_arrives_whole_however_it_was_laid_out(value: Any) -> None:
    for end in ("\n", "\r\n", "\r"):
        text = json.dumps(value, indent=2, ensure_ascii=False).replace("\n", end)
        (event,) = parse(sse.event(text.encode(), "message"))
        assert json.loads(event["data"]) == value
