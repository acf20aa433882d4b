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


# -- reading --------------------------------------------------------------------------------------------


class Parts:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        self.parts.append(piece)

    def finish(self) -> bytes:
        return b"".join(self.parts)


Heard = tuple[list[tuple[str, bytes]], str | None, int | None]


def read(*pieces: bytes) -> Heard:
    events: list[tuple[str, bytes]] = []
    reader = sse.EventReader(Parts, lambda name, data: events.append((name, data)))
    for piece in pieces:
        reader.feed(piece)
    return events, reader.last_id, reader.retry_ms


def test_a_stream_is_read_as_the_standard_says() -> None:
    stream = (
        b"\xef\xbb\xbf: a comment\r\n"
        b"retry: 250\n"
        b"id: 1\r\ndata: one\r\n\r\n"
        b"event: named\rdata:no space\rdata:  two spaces\rdata\r\r"
        b"data: {\ndata: }\nid: 2\n\n"
        b"event: lost without data\n\n"
        b"id: with\0nul\nretry: soon\nunknown: field\ndata: last\n\n"
        b"data: never ended"
    )
    assert read(stream) == (
        [
            ("message", b"one"),
            ("named", b"no space\n two spaces\n"),
            ("message", b"{\n}"),
            ("message", b"last"),
        ],
        "2",
        250,
    )


def test_an_event_may_be_empty_and_only_carry_its_id() -> None:
    assert read(b"id: 7\ndata:\n\n") == ([("message", b"")], "7", None)


def test_an_id_counts_once_its_event_has_come_whole() -> None:
    assert read(b"id: 1\ndata: a\n\nid: 2\ndata: b")[1] == "1"


LINES = st.sampled_from(
    [
        b"data: x",
        b"data:",
        b"data",
        b"data: \xc3\xa9",
        b"event: e",
        b"id: 1",
        b"id:",
        b": c",
        b"",
        b"",
        b"retry: 3",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.booleans(), st.data())
def test_where_a_stream_is_cut_changes_nothing(
    lines: list[tuple[bytes, bytes]], has_mark: bool, data: st.DataObject
) -> None:
    stream = (b"\xef\xbb\xbf" if has_mark else b"") + b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == read(stream)
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == read(stream)


def test_a_long_event_goes_to_its_sink_in_the_pieces_it_came_in() -> None:
    piece = b"x" * 100_000
    events, _, _ = read(b"data: ", piece, piece, b"\n\n")
    assert events == [("message", piece + piece)]
    assert read(b"da", b"ta: " + piece, b"\n\n")[0] == [("message", piece)]


def test_a_line_without_an_end_that_is_no_data_takes_no_room() -> None:
    reader = sse.EventReader(Parts, lambda *_: None)
    for _ in range(100):
        reader.feed(b": noise" * 10_000)
    assert len(reader._line) <= sse.FIELD_BYTES
