"""Artifacts: whose they are, how long they stay, and what makes room for what; and the words that answer."""

import asyncio
import errno
import io
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.gateway import artifacts as artifacts_module
from mcp_gateway.gateway.artifacts import FIRST_BYTES, KEEP_S, Artifact, Artifacts, document, first_part
from mcp_gateway.upstream.framing import Collector, Spooled
from tests.upstream.parts import until

RESULT = b'{"content":[{"type":"text","text":"%b"}]}'


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Room:
    """The directories of a run, and results to keep."""

    def __init__(self, path: Path) -> None:
        self.kept, self.spool = path / "artifacts", path / "spool"
        self.clock = Clock()

    def open(self, **limits: int) -> Artifacts:
        artifacts = Artifacts(self.clock, **({"free_bytes": 0} | limits))
        artifacts.open(self.kept, self.spool)
        return artifacts

    def spooled(self, text: bytes = b"x" * 100) -> Spooled:
        collector = Collector(self.spool, cap_bytes=1 << 30, spool_above_bytes=10)
        collector.feed(b'{"id":1,"result":' + RESULT % text + b',"jsonrpc":"2.0"}')
        message = collector.finish()
        assert isinstance(message, Spooled)
        message.head()
        return message

    def keep(self, artifacts: Artifacts, text: bytes = b"x" * 100, caller: str = "me") -> Artifact:
        large = self.spooled(text)
        artifact = artifacts.keep(caller, "git", "log", large)
        large.close()
        return artifact

    def files(self) -> set[str]:
        return {path.name for path in (*self.kept.iterdir(), *self.spool.iterdir())}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def read_all(artifacts: Artifacts, caller: str, artifact: Artifact) -> bytes:
    reading = artifacts.read(caller, artifact.id)
    assert reading is not None
    try:
        return b"".join(reading.read(at, 7) for at in range(0, artifact.size, 7))
    finally:
        reading.close()


async def test_its_caller_reads_exactly_the_result(room: Room) -> None:
    artifacts = room.open()
    artifact = room.keep(artifacts, "é😀".encode() * 50)
    assert read_all(artifacts, "me", artifact) == RESULT % ("é😀".encode() * 50)
    assert artifacts.of("me") == [artifact]
    assert room.files() == {artifact.id}
    assert (room.kept / artifact.id).stat().st_mode & 0o777 == 0o600
    assert room.kept.stat().st_mode & 0o777 == 0o700
    artifacts.close()
    assert room.files() == set()


async def test_to_anybody_else_and_on_any_other_server_it_is_not_there(room: Room) -> None:
    artifacts = room.open()
    artifact = room.keep(artifacts)
    for caller, id, server in (
        ("you", artifact.id, None),
        ("me", artifact.id[:-1], None),
        ("me", "", None),
        ("me", "../artifacts/" + artifact.id, None),
        ("me", artifact.id, "other"),
    ):
        assert artifacts.read(caller, id, server) is None
    assert artifacts.of("you") == []
    reading = artifacts.read("me", artifact.id, "git")
    assert reading is not None
    reading.close()
    artifacts.close()


async def test_ids_cannot_be_guessed(room: Room) -> None:
    artifacts = room.open()
    ids = {room.keep(artifacts).id for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", id) for id in ids)
    artifacts.close()


async def test_it_goes_after_its_hour_and_who_reads_it_reads_on(room: Room) -> None:
    artifacts = room.open()
    first = room.keep(artifacts)
    room.clock.now_s += 60
    second = room.keep(artifacts)
    room.clock.now_s += KEEP_S - 61
    reading = artifacts.read("me", first.id)
    assert reading is not None
    room.clock.now_s += 1
    assert artifacts.find("me", first.id) is None, "expired, though no timer has run"
    assert artifacts.of("me") == [second]
    artifacts.expire()
    await until(lambda: room.files() == {second.id}, "the file is deleted")
    assert reading.read(0, 10) == b'{"content"'
    reading.close()
    room.clock.now_s += 60
    artifacts.expire()
    await until(lambda: room.files() == set(), "the file is deleted")
    artifacts.close()


async def test_a_timer_deletes_what_nobody_asks_for(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts_module, "KEEP_S", 0.05)
    artifacts = Artifacts(free_bytes=0)
    artifacts.open(room.kept, room.spool)
    room.keep(artifacts)
    await until(lambda: room.files() == set(), "the file is deleted")
    artifacts.close()


async def test_the_oldest_make_room_in_number_and_in_bytes(room: Room) -> None:
    artifacts = room.open(max_count=3, max_bytes=10_000)
    few = [room.keep(artifacts) for _ in range(5)]
    assert artifacts.of("me") == few[2:]
    large = room.keep(artifacts, b"x" * 9_750)
    assert artifacts.of("me") == [few[4], large]
    larger = room.keep(artifacts, b"x" * 20_000)
    assert artifacts.of("me") == [larger], "the newest stays, whatever it takes"
    await until(lambda: room.files() == {larger.id}, "the files are deleted")
    artifacts.close()


async def test_a_disk_without_room_takes_the_older_ones(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = room.open(free_bytes=1_000)
    older = [room.keep(artifacts) for _ in range(3)]
    monkeypatch.setattr(artifacts_module, "room_bytes", lambda _: 1_000 - older[0].file_bytes - 1)
    newest = room.keep(artifacts)
    assert artifacts.of("me") == [older[2], newest], "as many as it takes"
    artifacts.close()


async def test_nothing_of_an_earlier_run_is_left_or_reachable(room: Room) -> None:
    before = room.open()
    artifact = room.keep(before)
    half = room.spooled()
    assert half.file is not None
    assert len(room.files()) == 2
    after = room.open()  # as after a crash: nobody closed the first
    assert after.read("me", artifact.id) is None
    await until(lambda: room.files() == set(), "the files are deleted")
    assert before.read("me", artifact.id) is None, "a file that somebody took away is not there"
    before.close()
    after.close()


async def test_a_file_that_cannot_be_written_whole_leaves_nothing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(number: int, _mode: str) -> Full:
        os.close(number)
        return Full()

    artifacts = room.open()
    monkeypatch.setattr(artifacts_module, "open", full, raising=False)
    with pytest.raises(OSError, match="No space"):
        await artifacts.keep_file("me", "git", "file", b"%PDF", "application/pdf")
    assert room.files() == set()
    assert artifacts.of("me") == []
    artifacts.close()


async def test_what_cannot_be_moved_is_an_error_and_leaves_nothing(room: Room) -> None:
    artifacts = room.open()
    large = room.spooled()
    room.kept.rmdir()
    with pytest.raises(OSError, match=re.escape(f"[Errno {errno.ENOENT}]")):
        artifacts.keep("me", "git", "log", large)
    large.close()
    room.kept.mkdir()
    assert artifacts.of("me") == []
    assert room.files() == set()
    await asyncio.sleep(0)
    artifacts.close()


# -- what answers instead -------------------------------------------------------------------------------


async def test_the_document_tells_the_beginning_the_size_and_where_the_rest_is(room: Room) -> None:
    artifacts = room.open()
    large = room.spooled(b"first words " * 5_000)
    artifact = artifacts.keep("me", "git", "log", large)
    text, link = (told := json.loads(document(artifact, large, is_error=True)))["content"]
    first, _, sentence = text["text"].rpartition("\n\n")
    assert text["type"] == "text"
    assert ("first words " * 5_000).startswith(first)
    assert FIRST_BYTES - 100 < len(first) <= FIRST_BYTES
    assert f"{artifact.size:,} bytes" in sentence
    assert artifact.url in sentence
    assert artifact.uri in sentence
    assert link.items() >= {"type": "resource_link", "uri": artifact.uri, "size": artifact.size}.items()
    assert link.items() >= {"name": "git/log", "mimeType": "application/json"}.items()
    assert told["isError"] is True
    assert told["_meta"]["mcp-gateway/artifact"] == {
        "id": artifact.id,
        "uri": f"mcp-gateway://artifacts/{artifact.id}",
        "url": f"/api/artifacts/{artifact.id}",
        "size": artifact.size,
        "expires": artifact.expires,
    }
    large.close()
    artifacts.close()


@pytest.mark.parametrize(
    ("result", "what", "text"),
    [
        (b'{"content":[{"type":"text","text":"a\\n\\u00e9\\"b"},{"type"', "text", 'a\né"b'),
        (b' { "content" : [ { "text" : "a" } ', "text", "a"),
        (b'{"content":[{"type":"text","text":"cut \\ud83d', "text", "cut "),
        (b'{"content":[{"type":"text","text":"half \\ud83d here', "text", "half � here"),
        (b'{"content":[{"type":"text","text":"cut \\u00', "text", "cut "),
        (b'{"content":[{"type":"text","text":"cut \\', "text", "cut "),
        (b'{"content":[{"type":"text","text":"cut \xf0\x9f\x98', "text", "cut "),
        (b'{"content":[{"type":"text","text":"', "text", ""),
        (b'{"content":[{"type":"image","data":"abc', "JSON", '{"content":[{"type":"image","data":"abc'),
        (b'{"structuredContent":{"a":"\xc3', "JSON", '{"structuredContent":{"a":"'),
    ],
)
def test_the_first_part_is_text_where_there_is_text(result: bytes, what: str, text: str) -> None:
    assert first_part(result) == (what, text)


@settings(deadline=None, max_examples=200)
@given(st.text(), st.booleans(), st.integers(0, 300))
def test_the_first_part_is_a_prefix_wherever_it_is_cut(text: str, ascii_only: bool, cut: int) -> None:
    escaped = json.dumps(text, ensure_ascii=ascii_only).encode("utf-8", "replace")[1:-1]
    whole = json.loads(b'"' + escaped + b'"')
    what, first = first_part((RESULT % escaped)[: len(RESULT) + cut])
    assert what == "text"
    assert whole.startswith(first)
