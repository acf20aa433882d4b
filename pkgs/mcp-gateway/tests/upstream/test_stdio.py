"""Framing at linear cost, and one real child with its pipes: what is heard, and in which order.

The splitter is tried over any cut of any stream; the link over children that misbehave by one mode of
`hostile.py` or by a line of shell.
"""

import asyncio
import errno
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from mcp_gateway.upstream import framing
from mcp_gateway.upstream.framing import Collector, LineSplitter, Spooled, TooLong
from mcp_gateway.upstream.lifecycle import Ended
from mcp_gateway.upstream.link import Failure
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.process import Exit, Nursery
from mcp_gateway.upstream.stdio import DRAIN_AFTER_EXIT_S, WRITE_STALL_S, StdioLink
from mcp_gateway.wire.envelope import Head, NotAMessage, encode, request_line
from tests.harness import HOSTILE
from tests.upstream.parts import until

MIB = 1 << 20
LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8)


class Lines:
    """What a splitter emits, and whether it gave up."""

    def __init__(self, spool_dir: Path, cap: int = 1 << 40, spool_above: int = 10) -> None:
        self.spool_dir = spool_dir
        self.got: list[bytes | Spooled] = []
        self.too_long = False
        self.splitter = LineSplitter(self.got.append, spool_dir, cap, spool_above)

    def feed(self, *chunks: bytes) -> "Lines":
        try:
            for chunk in chunks:
                self.splitter.feed(chunk)
        except TooLong:
            self.too_long = True
        return self

    @property
    def whole(self) -> list[bytes]:
        return [text_of(line) for line in self.got]

    def close(self) -> None:
        """Lets go of everything; nothing may be left of it on disk."""
        self.splitter.close()
        self.got.clear()
        assert list(self.spool_dir.iterdir()) == []


def text_of(line: bytes | Spooled) -> bytes:
    if isinstance(line, bytes):
        return line
    assert line.problem is None
    assert line.file is not None
    assert line.file.size == line.size
    return line.file.read(0, line.size)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    """The stream in pieces; a position beyond its end wraps around."""
    edges = sorted({0, len(stream), *(position % (len(stream) + 1) for position in at)})
    return [stream[start:end] for start, end in pairwise(edges)]


ANY_CUT = st.lists(st.integers(0, 300), max_size=12)
IN_ONE_DIRECTORY = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@IN_ONE_DIRECTORY
@given(LINES, st.binary(max_size=20).map(lambda rest: rest.replace(b"\n", b"")), ANY_CUT)
@example([b"", b"a", b""], b"", [])
@example([b"a" * 30, b"b"], b"c", list(range(40)))
def test_any_cut_of_a_stream_gives_the_same_lines(
    tmp_path: Path, lines: list[bytes], rest: bytes, at: list[int]
) -> None:
    stream = b"".join(line + b"\n" for line in lines) + rest
    expected = [line for line in lines if line]
    got = Lines(tmp_path).feed(*cut(stream, at))
    assert got.whole == expected
    got.feed(b"\n")
    assert got.whole == expected + [rest] * bool(rest), "what was left over begins the next line"
    got.close()


@IN_ONE_DIRECTORY
@given(LINES, ANY_CUT)
@example([b"x" * 13], [])
def test_whether_a_line_is_too_long_does_not_depend_on_how_it_was_cut(
    tmp_path: Path, lines: list[bytes], at: list[int]
) -> None:
    cap = 12
    got = Lines(tmp_path, cap=cap).feed(*cut(b"".join(line + b"\n" for line in lines), at))
    assert got.too_long == any(len(line) > cap for line in lines)
    short = [line for line in lines if line]
    first = next((number for number, line in enumerate(short) if len(line) > cap), len(short))
    assert got.whole == short[:first], "what came before is delivered, nothing after"
    got.close()


def test_a_line_lives_in_memory_up_to_the_threshold_and_in_a_file_above(tmp_path: Path) -> None:
    got = Lines(tmp_path, spool_above=100)
    got.feed(b"a" * 60, b"a" * 40, b"\n")
    assert isinstance(got.got[0], bytes)
    assert list(tmp_path.iterdir()) == []
    got.feed(b"b" * 60, b"b" * 40, b"b")
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    got.feed(b"b" * 500, b"\nnext\n")
    got.splitter.close()
    assert got.whole[1:] == [b"b" * 601, b"next"], "it outlives the splitter"
    got.close()


def test_a_file_is_there_as_long_as_somebody_holds_it_or_it_was_moved(tmp_path: Path) -> None:
    spool, kept = tmp_path / "spool", tmp_path / "kept"
    spool.mkdir()
    got = Lines(spool, spool_above=10).feed(b"a" * 9, b"b" * 9, b"\n", b"c" * 9, b"d" * 9, b"\n")
    first = got.got.pop(0)
    assert isinstance(first, Spooled)
    assert first.file is not None
    first.file.move(kept)
    first.close()
    assert len(list(spool.iterdir())) == 1
    got.close()
    assert kept.read_bytes() == b"a" * 9 + b"b" * 9


def test_a_message_without_room_on_disk_is_read_to_its_end_and_says_so(tmp_path: Path) -> None:
    got = Lines(tmp_path / "nowhere", spool_above=100)
    answer = b'{"id":7,"result":{"text":"%b"}}' % (b"x" * 300)
    got.feed(answer[:90], answer[90:200], answer[200:], b"\nnext\n")
    lost, following = got.got
    assert following == b"next"
    assert isinstance(lost, Spooled)
    assert isinstance(lost.problem, FileNotFoundError)
    assert lost.head().id == 7
    assert (lost.size, lost.result_bytes) == (len(answer), len(answer) - len(b'{"id":7,"result":}'))


def test_a_message_that_is_none_shows_its_start_and_its_end(tmp_path: Path) -> None:
    got = Lines(tmp_path, spool_above=100)
    noise = b"start" + b"x" * 10_000 + b"end"
    got.feed(*(noise[at : at + 7] for at in range(0, len(noise), 7)), b"\n")
    (line,) = got.got
    assert isinstance(line, Spooled)
    assert line.glimpse.startswith(b"startxxx")
    assert line.glimpse.endswith(b"xxxend")
    assert len(line.glimpse) < len(noise)
    with pytest.raises(NotAMessage):
        line.head()
    del line
    got.close()


def test_the_disk_is_not_filled_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "SPARE_BYTES", 1 << 60)
    monkeypatch.setattr(framing, "SPARE_PART", 1)
    got = Lines(tmp_path, spool_above=100).feed(b"x" * 200, b"\n")
    (line,) = got.got
    assert isinstance(line, Spooled)
    assert line.problem is not None
    assert line.problem.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_collector_gives_each_message_by_itself(tmp_path: Path) -> None:
    """As one body of HTTP, or one event, whose end the link knows."""
    collector = Collector(tmp_path, cap_bytes=1_000, spool_above_bytes=10)
    for text in (b"", b"short", b"x" * 700, b"again"):
        for at in range(0, len(text), 5):
            collector.feed(text[at : at + 5])
        assert collector.size == len(text)
        assert text_of(collector.finish()) == text
    with pytest.raises(TooLong, match="1000"):
        collector.feed(b"y" * 1_001)
    collector.close()
    assert list(tmp_path.iterdir()) == []


def test_a_long_line_is_kept_in_the_pieces_it_came_in_and_copied_once(tmp_path: Path) -> None:
    """Growing one buffer by every piece would copy a line of 10 MiB some hundred times over."""
    chunks = [bytes([65 + number]) * 1000 for number in range(20)]
    before = [sys.getrefcount(chunk) for chunk in chunks]
    got = Lines(tmp_path, spool_above=1 << 20).feed(*chunks)
    assert [sys.getrefcount(chunk) for chunk in chunks] == [count + 1 for count in before]
    got.feed(b"\n")
    assert [sys.getrefcount(chunk) for chunk in chunks] == before
    assert got.whole == [b"".join(chunks)]


def test_beyond_the_threshold_nothing_stays_in_memory(tmp_path: Path) -> None:
    chunks = [bytes([65 + number]) * 1000 for number in range(20)]
    before = [sys.getrefcount(chunk) for chunk in chunks]
    got = Lines(tmp_path, spool_above=5_500).feed(*chunks)
    assert [sys.getrefcount(chunk) for chunk in chunks] == before
    got.feed(b"\n")
    assert got.whole == [b"".join(chunks)]
    got.close()


def test_the_cap_drops_the_file_at_once(tmp_path: Path) -> None:
    files = len(os.listdir("/proc/self/fd"))
    got = Lines(tmp_path, cap=1000, spool_above=100)
    got.feed(b"x" * 600)
    assert len(os.listdir("/proc/self/fd")) == files + 1
    got.feed(b"x" * 401)
    assert got.too_long
    assert len(os.listdir("/proc/self/fd")) == files
    exact = Lines(tmp_path, cap=1000, spool_above=100).feed(b"x" * 600, b"x" * 400, b"\n")
    assert exact.whole == [b"x" * 1000]
    exact.close()


def test_a_half_line_is_dropped_on_close(tmp_path: Path) -> None:
    files = len(os.listdir("/proc/self/fd"))
    got = Lines(tmp_path).feed(b"half " * 50)
    got.close()
    assert len(os.listdir("/proc/self/fd")) == files
    assert got.feed(b"new\n").whole == [b"new"]


# -- the link -------------------------------------------------------------------------------------------


class Heard:
    """The peer of a link: everything it was told, in order."""

    def __init__(self) -> None:
        self.story: list[tuple[str, object]] = []
        self.results: list[Raw] = []
        self.larges: list[Spooled] = []

    def message(self, head: Head, stream: int | None = None) -> None:
        if head.result:
            self.results.append(head.result)
        self.story.append(("message", head.id if head.method is UNSET else head.method))

    def large(self, head: Head, message: Spooled) -> None:
        self.larges.append(message)
        self.message(head)

    def garbage(self, line: bytes, reason: str) -> None:
        self.story.append(("garbage", reason))

    def failed(self, number: int, failure: Failure) -> None:
        raise AssertionError(f"{number} alone failed: {failure}")

    def renewed(self) -> None:
        raise AssertionError("a process does not begin anew on the same link")

    def lost(self, ended: Ended) -> None:
        self.story.append(("lost", ended.reason))

    @property
    def ids(self) -> list[object]:
        return [what for kind, what in self.story if kind == "message"]

    @property
    def lost_because(self) -> str | None:
        return next((str(what) for kind, what in self.story if kind == "lost"), None)


class Opened:
    """A link with a child behind it."""

    def __init__(self, nursery: Nursery, spool_dir: Path) -> None:
        self._nursery = nursery
        self._spool_dir = spool_dir
        self.heard = Heard()
        self.logs = LogRing()
        self.links: list[StdioLink] = []

    async def run(self, command: str, *args: str, cap: int = 256 * MIB) -> StdioLink:
        spawn = partial(self._nursery.spawn, "s", command, args, {}, None)
        link = StdioLink(spawn, self.heard, self.logs, self._spool_dir, cap)
        self.links.append(link)
        await link.open()
        return link

    async def hostile(self, mode: str, *options: str, cap: int = 256 * MIB) -> StdioLink:
        return await self.run(sys.executable, "-I", "-S", str(HOSTILE), mode, *options, cap=cap)

    async def shell(self, script: str) -> StdioLink:
        return await self.run("sh", "-c", script)

    async def lost(self) -> str:
        return await until(lambda: self.heard.lost_because, "the link is lost")

    async def answers(self, count: int) -> None:
        await until(lambda: len(self.heard.ids) >= count, f"{count} messages; {self.heard.story[-3:]}")


@pytest_asyncio.fixture
async def opened(nursery: Nursery, spool_dir: Path) -> AsyncIterator[Opened]:
    opened = Opened(nursery, spool_dir)
    yield opened
    for link in opened.links:
        await link.close()
    opened.heard.larges.clear()
    assert list(spool_dir.iterdir()) == []


def call(number: int, tool: str, arguments: bytes = b"{}") -> bytes:
    params = {
        "name": Raw(encode(tool)),
        "arguments": Raw(arguments),
        "_meta": Raw(b'{"progressToken":%d}' % number),
    }
    return request_line(number, "tools/call", params)


async def test_what_is_sent_in_one_turn_arrives_in_its_order(opened: Opened) -> None:
    link = await opened.hostile("good")
    for number in range(1, 301):
        link.send(call(number, "echo", b'{"text":"%d"}' % number))
    await opened.answers(300)
    assert opened.heard.ids == list(range(1, 301))
    assert b'"text":"300"' in bytes(opened.heard.results[-1])
    assert link.pid is not None
    assert link.has_spoken


async def test_a_closed_link_has_heard_its_last_word(opened: Opened) -> None:
    link = await opened.hostile("good")
    link.send(call(1, "echo"))
    await opened.answers(1)
    link.send(call(2, "sleep", b'{"ms":60000}'))
    await link.close()
    assert opened.heard.story == [("message", 1)], "the end that we asked for is no loss"
    assert link.exit is not None
    assert link.exit.code == 0
    link.send(call(3, "echo"))  # silently: nobody listens any more
    await asyncio.sleep(0)


# The line that is no message, and why; the proper reply follows it.
NOISE = {
    "garbage": 7,
    "invalid-utf8": 2,
    "bom": 1,
    "utf16": 2,
    "two-on-a-line": 1,
    "deep": 2,
    "huge-int": 1,
    "batch": 1,
    "huge-noise": 1,
}


@pytest.mark.parametrize(("mode", "count"), NOISE.items())
async def test_a_line_that_is_no_message_is_told_and_does_not_hide_the_next(
    opened: Opened, mode: str, count: int
) -> None:
    link = await opened.hostile(mode, "--bytes", str(12 * MIB if mode == "huge-noise" else 5_000_000))
    link.send(call(7, "act"))
    await until(lambda: 7 in opened.heard.ids, "the reply")
    garbage = [reason for kind, reason in opened.heard.story if kind == "garbage"]
    assert len(garbage) == count, garbage
    assert all(garbage)
    assert opened.heard.ids[-1] == 7
    assert link.lost_because is None


async def test_a_reply_may_end_with_carriage_return_and_come_byte_by_byte(opened: Opened) -> None:
    link = await opened.hostile("crlf")
    link.send(call(1, "act"))
    await opened.answers(1)
    drip = await opened.hostile("drip")
    drip.send(call(2, "act"))
    await opened.answers(2)
    assert opened.heard.story == [("message", 1), ("message", 2)]


async def test_ten_thousand_messages_in_one_write_are_heard_in_order(opened: Opened) -> None:
    link = await opened.hostile("burst")
    link.send(call(3, "act"))
    await opened.answers(10_001)
    assert opened.heard.ids == ["notifications/progress"] * 10_000 + [3]


async def test_a_reply_beyond_ten_mebibytes_arrives_whole(opened: Opened) -> None:
    link = await opened.hostile("huge-line", "--bytes", str(17 * MIB))
    link.send(call(1, "act"))
    await opened.answers(1)
    (large,) = opened.heard.larges
    await link.close()
    assert large.read_result(0, 12) == b'{"content":[', "the bytes outlive the link"
    result = json.loads(large.read_result(0, large.size))
    assert result["content"][0]["text"] == "h" * 17 * MIB
    assert json.loads(bytes(large.skeleton)) == result | {"content": []}


async def test_a_reply_beyond_the_cap_ends_the_link_and_says_why(opened: Opened) -> None:
    link = await opened.hostile("stream", "--bytes", str(64 * MIB), cap=16 * MIB)
    link.send(call(1, "act"))
    assert str(16 * MIB) in await opened.lost()
    assert opened.heard.ids == []


async def test_a_reply_that_cannot_be_put_on_disk_is_told_and_the_link_goes_on(
    opened: Opened, spool_dir: Path
) -> None:
    link = await opened.hostile("huge-line", "--bytes", str(17 * MIB))
    spool_dir.rmdir()
    link.send(call(1, "act"))
    await opened.answers(1)
    (large,) = opened.heard.larges
    assert isinstance(large.problem, FileNotFoundError)
    spool_dir.mkdir()
    link.send(call(2, "act"))
    await opened.answers(2)
    assert opened.heard.larges[1].problem is None
    assert link.lost_because is None


# -- how a link is lost ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("die", "it exited with code 3"),
        ("segv", "it was ended by SIGSEGV"),
        ("kill9", "it was ended by SIGKILL"),
        ("orphan-stdout", "it exited with code 0"),
        ("half", "it exited with code 0"),
        ("close-stdout", "it closed its stdout"),
        ("close-stdin", "it closed its stdin"),
    ],
)
async def test_a_child_that_ends_or_goes_deaf_is_lost_with_the_reason(
    opened: Opened, mode: str, reason: str
) -> None:
    link = await opened.hostile(mode)
    link.send(call(1, "act"))
    assert (await opened.lost()).startswith(reason)
    assert link.lost_because == Ended(opened.heard.lost_because or "")
    await asyncio.sleep(0.3)  # a second loss would come with the other pipes, within the drain's time
    assert [kind for kind, _ in opened.heard.story] == ["lost"]


@pytest.mark.parametrize("size", [10, 60_000])
async def test_an_answer_written_just_before_the_exit_is_heard(opened: Opened, size: int) -> None:
    answer = '{"jsonrpc":"2.0","id":1,"result":{"text":"%s"}}' % ("a" * size)
    for round_number in range(1, 21):
        opened.heard.story.clear()
        link = await opened.shell(f"read -r line; printf '%s\\n' {shlex.quote(answer)}; exit 5")
        link.send(call(1, "echo"))
        await opened.lost()
        assert opened.heard.story == [("message", 1), ("lost", "it exited with code 5")], round_number
        await link.close()


async def test_a_last_answer_without_its_line_end_is_no_answer(opened: Opened) -> None:
    link = await opened.shell("""read -r line; printf '{"jsonrpc":"2.0","id":1,"result":{}}'""")
    link.send(call(1, "echo"))
    await opened.lost()
    assert opened.heard.ids == []


async def test_losing_its_stderr_costs_a_child_nothing(opened: Opened) -> None:
    answer = shlex.quote('{"jsonrpc":"2.0","id":1,"result":{}}')
    link = await opened.shell(f"echo words >&2; exec 2>&-; read -r line; echo {answer}; read -r line")
    await until(lambda: opened.logs.count, "its words")
    await asyncio.sleep(2 * DRAIN_AFTER_EXIT_S)  # the other pipes would be given up on after this time
    link.send(call(1, "echo"))
    await opened.answers(1)
    assert link.lost_because is None


async def test_an_exit_that_is_heard_before_the_last_words_waits_for_them(opened: Opened) -> None:
    link = await opened.shell("read -r line")
    link.exited(Exit(5, None))
    link.stdout(b'{"jsonrpc":"2.0","id":1,"result":{}}\n')
    assert opened.heard.story == [("message", 1)]
    await until(lambda: opened.heard.story[1:], "the loss")


async def test_a_child_that_stops_reading_is_lost_after_its_time_and_not_before(opened: Opened) -> None:
    link = await opened.hostile("stop-reading", "--delay-ms", "60000")
    link.send(call(1, "act"))
    await opened.answers(1)
    link.check(100.0)
    link.send(call(2, "echo", b'{"text":"%s"}' % (b"a" * MIB)))
    await asyncio.sleep(0.05)  # the pipe takes what it takes
    link.check(200.0)
    link.check(200.0 + WRITE_STALL_S)
    assert opened.heard.lost_because is None
    link.check(200.1 + WRITE_STALL_S)
    assert link.lost_because == Ended(f"it has not read its stdin for {WRITE_STALL_S:.0f} s")
    link.check(999.0)
    assert opened.heard.story == [("message", 1), ("lost", link.lost_because.reason)]


async def test_a_child_that_reads_on_is_forgiven(opened: Opened) -> None:
    link = await opened.hostile("stop-reading", "--delay-ms", "300")
    link.send(call(1, "act"))
    await opened.answers(1)
    link.send(call(2, "echo", b'{"text":"%s"}' % (b"a" * MIB)))
    await asyncio.sleep(0)
    link.check(100.0)
    await opened.answers(2)
    link.check(100.1 + WRITE_STALL_S)
    link.send(call(3, "act"))
    await opened.answers(3)
    link.send(call(4, "echo", b'{"text":"%s"}' % (b"a" * MIB)))
    await asyncio.sleep(0)
    link.check(200.0)
    assert link.lost_because is None, "an earlier halt does not count"


async def test_a_cut_off_child_is_told_nothing_more(opened: Opened) -> None:
    link = await opened.hostile("die")
    link.send(call(1, "act"))
    await opened.lost()
    link.send(call(2, "echo"))
    link.check(1e9)
    await asyncio.sleep(0)
    assert [kind for kind, _ in opened.heard.story] == ["lost"]


async def test_stderr_goes_to_the_log_and_never_blocks_the_child(opened: Opened) -> None:
    link = await opened.hostile("stderr-flood", "--bytes", str(16 * MIB))
    link.send(call(1, "act"))
    await opened.answers(1)
    await until(lambda: opened.logs.count >= 16 * 1024, "every line of it was heard")
    assert opened.logs.tail(1)[0].text == "e" * 1023
