"""The last words of a server: bounded, safe to show, without its secrets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.upstream.logring import (
    GUARDED_MAX,
    LINE_BYTES,
    REDACTED,
    RING_BYTES,
    LogLine,
    LogRing,
)
from mcp_gateway.visible import printable
from tests import canary


def texts(ring: LogRing) -> list[str]:
    return [line.text for line in ring.tail(10_000)]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(st.sampled_from("ab \n"), max_size=6), max_size=12))
def test_lines_are_the_same_however_they_arrive(pieces: list[str]) -> None:
    ring = LogRing()
    for piece in pieces:
        ring.feed(piece.encode())
    ring.feed(b"\n")
    assert texts(ring) == [line for line in "".join(pieces).split("\n") if line.strip()]


def test_what_acts_on_a_terminal_or_turns_a_line_around_is_made_visible() -> None:
    ring = LogRing()
    ring.feed("\x1b[31mred\x1b]0;title\x07\x9b \u202eevil\u2066 \t tab \x7f\r\n".encode())
    assert texts(ring) == [r"\x1b[31mred\x1b]0;title\x07\x9b \u202eevil\u2066 " + "\t tab " + r"\x7f"]
    assert printable("a\nb\0") == r"a\x0ab\x00"


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    ring = LogRing()
    ring.feed(b"a\xff\xfeb\n")
    assert texts(ring) == ["a��b"]


def test_known_secrets_are_not_shown_the_longest_first() -> None:
    ring = LogRing()
    ring.guard(["hunter2", "hunter2-and-more", "true"])
    ring.feed(b"it is hunter2-and-more, or hunter2; true\n")
    ring.add("stdout", b"hunter2")
    assert texts(ring) == [f"it is {REDACTED}, or {REDACTED}; true", REDACTED]


def test_a_secret_is_replaced_in_every_encoding_in_which_programs_print_it() -> None:
    ring = LogRing()
    secret = canary.make("a secret", "nobody")
    ring.guard([secret.value])
    for name, form in canary.encodings(secret.value).items():
        if not name.startswith("UTF-16"):  # no program prints that
            ring.feed(b"it is " + form + b", and so on\n")
    assert len(texts(ring)) > 15
    assert all(REDACTED in text for text in texts(ring))
    finder = canary.Finder()
    finder.add(secret)
    assert not finder.find("\n".join(texts(ring)).encode())


def test_a_secret_of_several_lines_is_not_shown_line_by_line_either() -> None:
    ring = LogRing()
    ring.guard(["-----BEGIN\nhunter2hunter2\nEND-----"])
    ring.feed(b"key: -----BEGIN\nhunter2hunter2\nEND-----\n")
    assert texts(ring) == [f"key: {REDACTED}", REDACTED, REDACTED]


def test_a_secret_that_was_exchanged_is_still_not_shown() -> None:
    ring = LogRing()
    for number in range(3):
        ring.guard([f"hunter-{number}"])
    ring.feed(b"hunter-0 hunter-1 hunter-2\n")
    assert texts(ring) == [" ".join([REDACTED] * 3)]
    ring.guard(f"another-{number:03}" for number in range(GUARDED_MAX))
    ring.feed(b"hunter-2\n")
    assert texts(ring)[-1] == "hunter-2", "not more of them than a line is worth"


def test_what_a_call_brought_along_is_not_shown_after_the_call_either() -> None:
    ring = LogRing()
    ring.hide(["hunter2hunter2"])
    ring.feed(b"got hunter2hunter2 as aHVudGVyMmh1bnRlcjI=\n")
    ring.unhide(["hunter2hunter2"])
    assert texts(ring) == [f"got {REDACTED} as {REDACTED}I="]


def test_a_secret_at_the_cut_of_a_long_line_does_not_show_its_beginning() -> None:
    ring = LogRing()
    ring.guard(["hunter2-and-more"])
    ring.feed(b"x" * (LINE_BYTES - 8) + b"hunter2-and-more\n")
    assert "hunter2" not in "".join(texts(ring))


@pytest.mark.parametrize("chunk", [1_000, 50_000, 1_000_000])
def test_a_long_line_is_cut_and_says_by_how_much(chunk: int) -> None:
    ring = LogRing()
    line = b"e" * 999_999 + b"\n"
    for start in range(0, len(line), chunk):
        ring.feed(line[start : start + chunk])
    ring.feed(b"next\n")
    assert texts(ring) == ["e" * LINE_BYTES, f"({999_999 - LINE_BYTES} more bytes of that line)", "next"]


def test_the_ring_is_bounded_in_bytes_and_keeps_the_last() -> None:
    ring = LogRing()
    for number in range(10_000):
        ring.feed(b"%05d" % number + b"x" * 95 + b"\n")
    kept = texts(ring)
    assert RING_BYTES // 10 < sum(map(len, kept)) <= RING_BYTES
    assert kept[-1].startswith("09999")
    assert ring.count == 10_000
    assert [line.number for line in ring.tail(2)] == [9_999, 10_000]
    assert ring.tail(0) == []


def test_a_listener_hears_new_lines_until_it_leaves() -> None:
    ring = LogRing()
    heard: list[LogLine] = []
    ring.feed(b"before\n")
    leave = ring.listen(heard.append)
    ring.feed(b"a\n")
    ring.add("gateway", b"b")
    leave()
    leave()
    ring.feed(b"after\n")
    assert [(line.source, line.text) for line in heard] == [("stderr", "a"), ("gateway", "b")]


def test_a_ring_that_takes_over_goes_on_for_its_readers_without_the_others_secrets() -> None:
    before, after = LogRing(), LogRing()
    heard: list[LogLine] = []
    leave = before.listen(heard.append)
    before.guard(["old-secret"])
    after.guard(["new-secret"])
    before.feed(b"one\nhalf of old-")
    after.feed(b"new-secret\n")
    after.take_over(before)
    before.feed(b"secret\n")
    after.feed(b"two\n")
    wanted = ["one", REDACTED, f"half of {REDACTED}", "two"]
    assert texts(after) == [line.text for line in heard] == wanted
    assert [line.number for line in after.tail(10)] == [1, 2, 3, 4]
    leave()
    after.feed(b"three\n")
    assert len(heard) == 4
    assert texts(after)[-1] == "three"
