"""When the configuration file may have changed: links, renames, and a file that is not there."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from mcp_gateway.config.watching import Way, look, maybe_changed

WITHIN_S = 10.0


def test_every_link_on_the_way_is_a_name_that_may_change(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    store = root / "store" / "1"
    store.mkdir(parents=True)
    (store / "mcp.json").write_text("{}")
    (root / "static").symlink_to("store/1")
    etc = root / "etc" / "mcp"
    etc.mkdir(parents=True)
    (etc / "config.json").symlink_to(f"{root}/etc/../static/mcp.json")
    way = look(etc / "config.json")
    assert way.names == {etc / "config.json", root / "static", store / "mcp.json"}
    assert way.directories == {etc, root, store}
    assert way.file == look(store / "mcp.json").file


def test_a_path_that_leads_nowhere_is_watched_where_it_would_begin(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    way = look(root / "not" / "yet" / "config.json")
    assert way == Way(frozenset({root / "not" / "yet" / "config.json"}), frozenset({root}), None)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert look(tmp_path / "a").file is None


def test_the_same_length_and_time_are_not_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    os.utime(path, ns=(1, 1))
    before = look(path)
    path.write_text("2")
    os.utime(path, ns=(1, 1))
    path.chmod(0o600)
    assert look(path) != before


class Signs:
    """Counts what `maybe_changed` says."""

    def __init__(self) -> None:
        self.count = 0
        self.bell = asyncio.Event()

    async def read(self, path: Path) -> None:
        async with aclosing(maybe_changed(path)) as signs:
            async for _ in signs:
                self.count += 1
                self.bell.set()

    async def next(self, after: Callable[[], object]) -> None:
        """Does something and waits for a sign of it."""
        self.bell.clear()
        after()
        async with asyncio.timeout(WITHIN_S):
            await self.bell.wait()


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[Signs]:
    signs = Signs()
    task = asyncio.create_task(signs.read(path))
    try:
        await signs.next(lambda: None)
        yield signs
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def rename_over(path: Path, text: str) -> None:
    (path.parent / "fresh").write_text(text)
    (path.parent / "fresh").replace(path)


async def test_writes_renames_and_removals_are_told(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("1")
    async with watching(path) as signs:
        await signs.next(lambda: path.write_text("2"))
        await signs.next(lambda: rename_over(path, "3"))
        await signs.next(path.unlink)
        await signs.next(lambda: path.write_text("4"))


async def test_a_link_that_is_swapped_is_told_and_then_its_new_end(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "config.json").write_text(number)
    data, path = tmp_path / "..data", tmp_path / "config.json"  # as Kubernetes mounts a ConfigMap
    data.symlink_to("1")
    path.symlink_to("..data/config.json")

    def swap() -> None:
        (tmp_path / "..fresh").symlink_to("2")
        (tmp_path / "..fresh").replace(data)

    async with watching(path) as signs:
        await signs.next(swap)
        await signs.next(lambda: (tmp_path / "2" / "config.json").write_text("3"))


async def test_a_directory_that_was_replaced_is_found_by_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_gateway.config.watching.LOOK_EVERY_S", 0.2)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("1")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("2")

    def replace() -> None:
        folder.rename(tmp_path / "away")
        other.rename(folder)

    async with watching(folder / "config.json") as signs:
        await signs.next(replace)
        await signs.next(lambda: (folder / "config.json").write_text("3"))


async def test_without_watches_it_is_late_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_watch_left(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mcp_gateway.config.watching.awatch", no_watch_left)
    monkeypatch.setattr("mcp_gateway.config.watching.LOOK_EVERY_S", 0.01)
    path = tmp_path / "config.json"
    async with watching(path) as signs:
        await signs.next(lambda: path.write_text("1"))
        await signs.next(lambda: rename_over(path, "2"))
    assert [record.getMessage() for record in caplog.records] == [
        "changes of the configuration file are noticed late: [Errno 28] No space left on device"
    ]
