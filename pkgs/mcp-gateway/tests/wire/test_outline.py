"""The outline of a message finds, over any cut of its bytes, what a parser finds in the whole of it."""

import json
import random
import re
import sys
import tracemalloc
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from mcp_gateway.wire import halves
from mcp_gateway.wire import outline as outline_module
from mcp_gateway.wire.envelope import Head, NotAMessage, encode, read_head
from mcp_gateway.wire.outline import FOLD_BYTES, MAX_SKELETON_BYTES, MAX_STRING_BYTES, Outline


def drawn(message: bytes, at: list[int] | None = None) -> Outline:
    """The outline of a message that came in pieces."""
    edges = sorted({0, len(message), *(position % (len(message) + 1) for position in at or ())})
    outline = Outline()
    for start, end in pairwise(edges):
        outline.feed(message[start:end])
    outline.finish()
    return outline


def head_of(outline: Outline) -> Head | None:
    try:
        return outline.head()
    except NotAMessage:
        return None


def whole_head(message: bytes) -> Head | None:
    """What is read of a message that is looked at whole."""
    try:
        message.decode()
        return read_head(message)
    except (UnicodeDecodeError, NotAMessage):
        return None


class Verdict(msgspec.Struct, frozen=True):
    isError: bool = False
    resultType: str = "complete"


def verdict(result: Raw) -> Verdict:
    """What a result says of itself, however its names are written."""
    for text in (bytes(result), getattr(halves.mask_for(bytes(result)), "text", b"{}")):
        try:
            return msgspec.json.decode(text, type=Verdict)
        except msgspec.ValidationError:
            break
        except msgspec.DecodeError:
            continue
    return Verdict()


def check(message: bytes, at: list[int] | None = None) -> None:
    """Same head, same range, same verdict; nothing that is read whole is refused in pieces."""
    whole = whole_head(message)
    if whole is None:
        return
    outline = drawn(message, at)
    head = outline.head()
    assert (head.id, head.method) == (whole.id, whole.method)
    assert bool(head.error) == bool(whole.error)
    assert (bytes(head.error) == b"null") == (bytes(whole.error) == b"null")
    assert bytes(head.result)[:1] == bytes(whole.result)[:1]
    if bytes(whole.result).startswith(b"{"):
        assert outline.result is not None
        start, end = outline.result
        assert message[start:end] == bytes(whole.result)
        assert verdict(head.result) == verdict(whole.result)


# -- any message, any cut -------------------------------------------------------------------------------

NAMES = st.sampled_from(
    (
        *("id", "result", "method", "error", "params", "jsonrpc", "isError", "resultType", "content", "x"),
        *('"', "\\", 'a"b', "re\\", "é", "😀", "\u2028", "[", "}", ""),
    )
)
TEXTS = NAMES | st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXTS
HALVES = ("\\ud83d", "\\uDe00", "\\ud83d\\ude00", "\\\\ud83d", "\\u0041", "\\/", "\\n", '\\"', "\\\\")


@st.composite
def strings(draw: st.DrawFn) -> str:
    """A string as somebody may write it: escaped or not, whole characters or halves."""
    text = draw(TEXTS)
    ways = draw(st.integers(0, 3))
    if ways == 0:
        return json.dumps(text, ensure_ascii=False)
    if ways == 1:
        return json.dumps(text)
    if ways == 2:
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text if ord(letter) < 0xD800) + '"'
    return '"' + "".join(draw(st.lists(st.sampled_from(HALVES), max_size=4))) + '"'


BLANKS = st.sampled_from(["", "", "", " ", "\t", "  \r"])


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> str:
    kind = draw(st.integers(0, 5 if depth else 3))
    before, after = draw(BLANKS), draw(BLANKS)
    if kind < 2:
        return before + draw(strings()) + after
    if kind < 4:
        return before + json.dumps(draw(SCALARS)) + after
    if kind == 4:
        items = draw(st.lists(values(depth - 1), max_size=4))
        return f"{before}[{','.join(items) or draw(BLANKS)}]{after}"
    return before + draw(objects(depth - 1)) + after


@st.composite
def objects(draw: st.DrawFn, depth: int) -> str:
    members = draw(st.lists(st.tuples(strings(), values(depth)), max_size=5))
    return "{" + ",".join(f"{draw(BLANKS)}{name}{draw(BLANKS)}:{value}" for name, value in members) + "}"


VERDICTS = st.sampled_from(
    (
        *('"isError":true', '"isError":false', '"isError":"no"', '"\\u0069sError" : true'),
        *('"resultType":"input_required"', '"isError":null', '"resultType":[]'),
    )
)


@st.composite
def results(draw: st.DrawFn) -> str:
    members = draw(st.lists(st.tuples(strings(), values()).map(":".join), max_size=4))
    members += draw(st.lists(VERDICTS, max_size=2))
    return "{" + ",".join(draw(st.permutations(members))) + "}"


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """An envelope in any order, with members that nobody expects and some that are there twice."""
    members = draw(st.lists(st.tuples(strings(), values()).map(":".join), max_size=2))
    members += draw(st.lists(results().map('"result":'.__add__), min_size=1, max_size=2))
    members += draw(
        st.lists(st.sampled_from(['"id":7', '"id": "7"', '"\\u0069d":8']), min_size=1, max_size=2)
    )
    members += draw(
        st.lists(st.sampled_from(['"error":null', '"error":{"code":1}', '"method":"m"']), max_size=1)
    )
    separator = draw(BLANKS) + "," + draw(BLANKS)
    text = draw(BLANKS) + "{" + separator.join(draw(st.permutations(members))) + "}" + draw(BLANKS)
    return text.encode("utf-8", "replace")


CUTS = st.lists(st.integers(0, 500), max_size=15) | st.just(list(range(2_000)))


@settings(deadline=None, max_examples=120)
@given(messages(), CUTS)
@example(b'{"result":{"content":[{"type":"text","id":7,"result":{}}]},"id":1}', [])
@example(b'{"id":1,"result":{"a":"\\\\"},"x":"\\\\\\""}', list(range(60)))
@example(b'{"result":{"a":1},"result":{"isError":true,"isError":false},"id":1,"id":2}', [])
@example(b'{"id":1,"result":{"isError":true},"result":3}', [])
@example(b'{"id":1,"\\u0072esult":{"isError":true,"a":"\\ud83d"}}', [30, 40])
@example('{"id":1,"result":{"é😀":"\\"é😀\\\\"}}'.encode(), list(range(60)))
def test_any_message_in_any_pieces_reads_as_the_whole(message: bytes, at: list[int]) -> None:
    check(message, at)


@settings(deadline=None, max_examples=120)
@given(messages(), st.data())
def test_what_a_parser_takes_after_any_damage_is_taken_too(message: bytes, data: st.DataObject) -> None:
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place : place + 1] = data.draw(
            st.sampled_from([b"", b'"', b"\\", b"{", b"]", b",", b" ", b"\xff", b"1"])
        )
    check(bytes(damaged), data.draw(CUTS))


@pytest.mark.parametrize("seed", range(20))
def test_a_long_message_in_any_pieces_reads_as_the_whole(seed: int) -> None:
    """Long enough for passes over what is deep, for halving, and for folding."""
    chance = random.Random(seed)

    def value(depth: int) -> Any:
        kind = chance.randrange(6 if depth else 4)
        if kind == 0:
            return chance.choice(["", "x" * chance.randrange(300), 'a"\\b', "é😀" * 9, "{[", "]}"])
        if kind < 4:
            return chance.choice([None, True, 1, -2.5, 10**18])
        if kind == 4:
            return [value(depth - 1) for _ in range(chance.randrange(8))]
        return {f"k{number}": value(depth - 1) for number in range(chance.randrange(8))}

    result = {chance.choice(["", "n" * 20, "\\"]) + str(number): value(3) for number in range(600)}
    result["isError"] = chance.random() < 0.5
    result |= {f"later {number}": value(2) for number in range(600)}
    indent = 1 if chance.random() < 0.5 else None
    ascii_only = chance.random() < 0.5
    members = [("result", result), ("id", 7), ("more", value(5)), ("jsonrpc", "2.0")]
    chance.shuffle(members)
    message = json.dumps(dict(members), ensure_ascii=ascii_only, indent=indent).encode()
    assert len(message) > 2 * FOLD_BYTES
    for pieces in (0, 3, 200):
        check(message, [chance.randrange(len(message)) for _ in range(pieces)])


# -- what it refuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"\xff", "UTF-8"),
        (b"\xf0\x9f", "UTF-8"),
        (b"\x00", "control"),
        (b'","b":x,"c":"', "stray"),
        (b'","b":\\n,"c":"', "stray"),
        (b'"],"c":"', "match"),
        (b'"]},"c":[{"a":"', "match"),
        (b'"}],"c":"', "match"),
        (b'","c":' + b"[" * 5_000 + b"]" * 5_000 + b',"d":"', "deep"),
        (b'","c":' + b"[" * 5_000 + b'"', "deep|match"),
    ],
)
@pytest.mark.parametrize("cut", [[], list(range(30, 300, 7))])
def test_a_flaw_of_structure_is_found_in_the_depths(damage: bytes, reason: str, cut: list[int]) -> None:
    blob = b"x" * 2_000
    message = b'{"id":1,"result":{"content":[{"a":{"b":"' + blob + damage + blob + b'"}}]}}'
    outline = drawn(message, cut)
    assert re.search(reason, outline.problem or "")
    with pytest.raises(NotAMessage, match=reason):
        outline.head()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"[]",
        b"nonsense" * 20_000,
        b'[{"id":1,"result":{}}]',
        b'{"id":1,"result":{}}{"id":2,"result":{}}',
        b'{"id":1,"result":{}} x',
        b'{"id":1,,"result":{}}',
        b'{"id":1 "result":{}}',
        b'{"id":1.5,"result":{}}',
        b'{"id":1,"result":{"a":[}}',
        b'{"id":1,"result":{"a":[]}',
        b'{"id":1,"result":{"a":"}}',
        b'{"id":1,"result":{"a" 1}}',
        b'{"id":1,"result":{"a":"b\\',
        b'{"result":{}}',
        b'\xef\xbb\xbf{"id":1,"result":{}}',
        b'{"id":1,"result":{"a":"' + b"\xc3",
    ],
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    for cut in ([], list(range(len(message)))[:500]):
        assert head_of(drawn(message, cut)) is None


def test_once_broken_it_stays_broken_and_looks_no_further() -> None:
    outline = Outline()
    outline.feed(b"}")
    first = outline.problem
    outline.feed(b'{"id":1,"result":{}}\xff')
    outline.finish()
    assert first == outline.problem is not None


# -- what it costs --------------------------------------------------------------------------------------


def test_the_skeleton_shows_two_levels_and_no_more() -> None:
    message = (
        b'{"id":1,"result":{"content":[{"type":"text","text":"' + b"x" * 9_000 + b'"}],"a":{"b":1}, "c":2}}'
    )
    assert bytes(drawn(message).head().result) == b'{"content":[],"a":{}, "c":2}'


def test_a_long_string_leaves_nothing_of_itself() -> None:
    long, fits = b"m" * (MAX_STRING_BYTES + 1), b"m" * MAX_STRING_BYTES
    for cut in ([], [20, 700, 1030]):
        outline = drawn(b'{"id":1,"method":"%b","result":{"x":"%b","isError":true}}' % (fits, long), cut)
        assert outline.head().method == fits.decode()
        assert bytes(outline.head().result) == b'{"x":"","isError":true}'
        assert drawn(b'{"method":"%b"}' % long, cut).head().method == ""


@pytest.mark.parametrize(
    "member", [b'"k":1,', b'"k":[{}],', b' "k" : "v" ,\r', b'"kk":{"a":"' + b"y" * 99 + b'"},']
)
def test_a_million_members_of_a_result_are_folded_and_the_verdict_is_found(member: bytes) -> None:
    many = member * (4 * MAX_SKELETON_BYTES // len(member))
    message = b'{"id":1,"result":{%b"isError":true,%b"resultType":"t","x":1}}' % (many, many)
    for size in (65_536, 1_000):
        outline = drawn(message, list(range(0, len(message), size)))
        head = outline.head()
        assert verdict(head.result) == Verdict(True, "t")
        assert len(bytes(head.result)) < MAX_SKELETON_BYTES
        assert outline.result == (len(b'{"id":1,"result":'), len(message) - 1)


@pytest.mark.parametrize(
    "message",
    [
        b'{"id":1,' + b'"k":1,' * MAX_SKELETON_BYTES + b'"result":{}}',
        b'{"id":' + b"1" * MAX_SKELETON_BYTES + b',"result":{}}',
        b'{"id":1,"result":{"a":' + b"1" * MAX_SKELETON_BYTES + b"}}",
    ],
)
def test_an_envelope_without_end_is_refused_and_not_kept(message: bytes) -> None:
    outline = drawn(message, list(range(0, len(message), 9_000)))
    assert str(MAX_SKELETON_BYTES) in (outline.problem or "")


def test_white_space_without_end_is_not_kept() -> None:
    blank = b" \t\r" * MAX_SKELETON_BYTES
    message = b'%b{%b"id"%b:1,%b"result":{%b}%b}%b' % ((blank,) * 7)
    outline = drawn(message, list(range(0, len(message), 9_000)))
    assert outline.head().id == 1


def test_it_takes_no_memory_of_its_own_for_what_goes_by() -> None:
    piece = b'{"a":[1,2,"' + b"x" * 60_000 + b'"]},'
    outline = Outline()
    outline.feed(b'{"id":1,"result":{"content":[')
    tracemalloc.start()
    try:
        for _ in range(300):
            outline.feed(piece)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    outline.feed(b"1]}}")
    outline.finish()
    assert outline.head().id == 1
    assert peak < 20 * len(piece) < 300 * len(piece)
    assert kept < len(piece)


def test_the_passes_over_a_piece_do_not_grow_with_its_nesting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep nesting, which C would cancel level by level, is counted off once."""
    counted: list[int] = []
    count_off = outline_module._counted_off

    def counting(brackets: bytes) -> bytes:
        counted.append(len(brackets))
        return count_off(brackets)

    monkeypatch.setattr(outline_module, "_counted_off", counting)
    nest = b"[" * 900 + b"]" * 900
    message = b'{"id":1,"result":{"content":[' + b",".join([nest] * 50) + b"]}}"
    outline = drawn(message, list(range(0, len(message), 20_000)))
    assert outline.head().id == 1
    assert 0 < sum(counted) < 3 * len(message)


def test_names_and_texts_are_those_of_head() -> None:
    """A notification has no result; a request of the server keeps its id as it is."""
    note = drawn(b'{"method":"notifications/x","params":{"a":[1,2]}}').head()
    assert (note.id, note.method, bytes(note.params)) == (UNSET, "notifications/x", b"{}")
    asked = drawn(b'{"id":"abc","method":"ping","params":{"a":{}}}').head()
    assert encode(asked.id) == b'"abc"'
    assert sys.getsizeof(bytes(asked.params)) < 100
