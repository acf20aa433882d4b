"""The configuration file is written whole or not at all, and never over what somebody else wrote."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_gateway.config import writing
from mcp_gateway.config.writing import ChangedMeanwhile, NotWritten, create, replace, why_not

BEFORE, AFTER = b'{"mcpServers": {}}\n', b'{"mcpServers": {}, "addedServers": {}}\n'
NOBODY = 65_534
# As a user who is not root, or all that may not be would be allowed.
PROGRAM = (
    "import os, sys; from pathlib import Path; from mcp_gateway.config.writing import why_not; "
    f"os.geteuid() or os.setgroups([]) or os.setgid({NOBODY}) or os.setuid({NOBODY}); "
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_bytes(BEFORE)
    path.chmod(0o600)
    return path


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user reaches."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def as_somebody(what: str, path: Path) -> str:
    """What another user than root is told."""
    command = [sys.executable, "-c", f"{PROGRAM}print({what})", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout.strip()


def give(path: Path) -> None:
    """To that other user."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_keeps_its_mode_and_nothing_is_left_beside_it(path: Path, mode: int) -> None:
    path.chmod(mode)
    replace(path, BEFORE, AFTER)
    assert path.read_bytes() == AFTER
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert names(path) == ["config.json"]
    assert writing.is_read_by_others(path) is (mode != 0o600)


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "config.json"
    link.symlink_to("../config.json")
    again = tmp_path / "again.json"
    again.symlink_to(link)
    replace(again, BEFORE, AFTER)
    assert link.is_symlink()
    assert again.is_symlink()
    assert path.read_bytes() == AFTER
    assert names(link) == ["config.json"]


@pytest.mark.parametrize("now", [b"{}", BEFORE + b" ", None])
def test_what_somebody_wrote_meanwhile_stays(path: Path, now: bytes | None) -> None:
    if now is None:
        path.unlink()
    else:
        path.write_bytes(now)
    with pytest.raises(NotWritten):
        replace(path, BEFORE, AFTER)
    assert (path.read_bytes() if path.exists() else None) == now
    assert not [name for name in names(path) if name.startswith(".")] if now else True


def test_what_somebody_writes_while_the_new_text_goes_to_the_disk_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def slow(descriptor: int) -> None:
        path.write_bytes(b"{}")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    with pytest.raises(ChangedMeanwhile, match="changed meanwhile"):
        replace(path, BEFORE, AFTER)
    assert path.read_bytes() == b"{}"
    assert names(path) == ["config.json"]


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritten, match="No space left"):
        replace(path, BEFORE, AFTER)
    assert path.read_bytes() == BEFORE
    assert names(path) == ["config.json"]


def test_a_kill_before_the_renaming_leaves_the_file_as_it_was(path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from mcp_gateway.config.writing import replace; "
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        f"replace(Path(sys.argv[1]), {BEFORE!r}, {AFTER!r})"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], timeout=60, check=False)
    assert done.returncode == -9
    assert path.read_bytes() == BEFORE
    (left,) = [path.with_name(name) for name in names(path) if name != "config.json"]
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    replace(path, BEFORE, AFTER)  # and it is in nobody's way
    assert path.read_bytes() == AFTER


def test_a_new_file_is_for_its_owner_alone_and_takes_no_place(tmp_path: Path) -> None:
    path = tmp_path / "made" / "mcp" / "config.json"
    assert why_not(path, is_new=True) is None
    create(path, AFTER)
    assert path.read_bytes() == AFTER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "start it again" in str(why_not(path, is_new=True))
    with pytest.raises(ChangedMeanwhile, match="start it again"):
        create(path, BEFORE)
    assert path.read_bytes() == AFTER
    assert names(path) == ["config.json"]


def test_a_read_only_directory_is_told_of(open_path: Path) -> None:
    path = open_path / "config.json"
    path.write_bytes(BEFORE)
    give(path)
    path.chmod(0o600)
    open_path.chmod(0o555)
    told = as_somebody("why_not(Path(sys.argv[1]))", path)
    assert told.startswith(f"The directory {open_path} cannot be written")
    told = as_somebody("why_not(Path(sys.argv[1]).with_name('other'), is_new=True)", path)
    assert f"the directory {open_path} cannot be written" in told
    open_path.chmod(0o755)


def test_a_read_only_file_is_told_of(open_path: Path) -> None:
    path = open_path / "config.json"
    path.write_bytes(BEFORE)
    for one in (path, open_path):
        give(one)
    assert as_somebody("why_not(Path(sys.argv[1]))", path) == "None"
    path.chmod(0o400)
    assert "is read-only; make it writable" in as_somebody("why_not(Path(sys.argv[1]))", path)


def test_the_file_of_another_user_is_told_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    told = why_not(path)
    assert told is not None
    assert ("belongs to root" if owner == 0 else f"belongs to the user {owner}") in told
    with pytest.raises(NotWritten, match="belongs to"):
        replace(path, BEFORE, AFTER)


def test_a_link_into_the_nix_store_is_told_of(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_STORE", tmp_path / "store")
    (tmp_path / "store").mkdir()
    real = path.rename(tmp_path / "store" / "config.json")
    path.symlink_to(real)
    assert "in the Nix store" in str(why_not(path))
    with pytest.raises(NotWritten, match="in the Nix store"):
        replace(path, BEFORE, AFTER)
    assert real.read_bytes() == BEFORE


def test_a_link_to_itself_and_a_file_that_is_gone_are_told_of(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot be reached" in str(why_not(loop)) or "is gone" in str(why_not(loop))
    assert "is gone" in str(why_not(tmp_path / "nothing"))
