"""Writes the configuration file: in one step, never over what somebody else has written meanwhile. Blocks.

Who may is decided elsewhere; here is only whether it can be done, and if not, why, in a sentence for a
person. The text before stays in place until the one after it is on the disk as a whole, under another name.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mcp_gateway.config.load import read_text
from mcp_gateway.config.model import ConfigError

_NEW_MODE: Final = 0o600  # it may hold secrets
_NEW_DIRECTORY_MODE: Final = 0o700
_READ_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
_STORE: Final = Path("/nix/store")


class NotWritten(Exception):
    """The file is as it was; the text is a sentence that says why, and what to do instead."""


class ChangedMeanwhile(NotWritten):
    """It is not the file that was read."""


def why_not(path: Path, *, is_new: bool = False) -> str | None:
    """Why a file cannot be written, or made if it `is_new`; None when it can."""
    try:
        real = path.resolve()
        if is_new and real.exists():
            return _is_there(path)
        if real.is_relative_to(_STORE):
            return (
                f"{real} is in the Nix store: this configuration is declared elsewhere; add the server there"
            )
        if not real.exists() and not is_new:
            return f"{path} is gone; the gateway goes on with what stood in it"
        return _why_not_made(real) if is_new else _why_not_here(real)
    except (OSError, RuntimeError) as problem:  # a link that leads to itself
        return f"{path} cannot be reached: {_reason(problem)}"


def _is_there(path: Path) -> str:
    return f"{path} is there by now, and the gateway was started without it; start it again to use it"


def _why_not_here(real: Path) -> str | None:
    facts = real.stat()
    if facts.st_uid != os.geteuid():
        owner = "root" if facts.st_uid == 0 else f"the user {facts.st_uid}"
        return f"{real} belongs to {owner}, who declares what runs here; add the server there"
    if not os.access(real, os.W_OK):
        return f"{real} is read-only; make it writable (chmod u+w) or add the server there by hand"
    if not os.access(real.parent, os.W_OK | os.X_OK):
        return f"The directory {real.parent} cannot be written, and a new file has to be made beside the old"
    return None


def _why_not_made(real: Path) -> str | None:
    above = real.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{real} cannot be made: the directory {above} cannot be written"
    return None


def is_read_by_others(path: Path) -> bool:
    """Whether users of this machine beside the owner may read the file."""
    try:
        return bool(path.stat().st_mode & _READ_BY_OTHERS)
    except OSError:
        return False


def replace(path: Path, before: bytes, after: bytes) -> None:
    """Puts one text in the place of another; a link stays a link, mode and group stay what they are.

    Raises: NotWritten.
    """
    if (why := why_not(path)) is not None:
        raise NotWritten(why)
    try:
        real = path.resolve(strict=True)
        facts = real.stat()
        with _fresh(real, after, stat.S_IMODE(facts.st_mode), facts.st_gid) as fresh:
            # As late as can be: what is written between this look and the next line is lost.
            if _text(path) != before:
                raise ChangedMeanwhile(f"{path} was changed meanwhile, so nothing was written; try again")
            fresh.replace(real)
        _settle(real.parent)
    except OSError as problem:
        raise NotWritten(f"{path} cannot be written: {_reason(problem)}") from None


def create(path: Path, text: bytes) -> None:
    """Makes a file that only its owner reads, with the directories to it.

    Raises: NotWritten, also when it is there already.
    """
    try:
        real = path.resolve()
        real.parent.mkdir(mode=_NEW_DIRECTORY_MODE, parents=True, exist_ok=True)
        with _fresh(real, text, _NEW_MODE, None) as fresh:
            os.link(fresh, real)  # unlike a renaming it never takes the place of another
        _settle(real.parent)
    except FileExistsError:
        raise ChangedMeanwhile(_is_there(path)) from None
    except (OSError, RuntimeError) as problem:
        raise NotWritten(f"{path} cannot be made: {_reason(problem)}") from None


@contextlib.contextmanager
def _fresh(real: Path, text: bytes, mode: int, group: int | None) -> Iterator[Path]:
    """The text in a file of its own beside the real one, whole on the disk; afterwards it is gone."""
    fresh = real.with_name(f".{real.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _NEW_MODE)
    try:
        with open(descriptor, "wb") as file:
            if group is not None and os.fstat(descriptor).st_gid != group:
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)


def _text(path: Path) -> bytes | None:
    try:
        return read_text(path)
    except ConfigError:
        return None


def _settle(directory: Path) -> None:
    """So that the new name is on the disk as well; the file is whole with or without."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(problem: Exception) -> str:
    return os.strerror(problem.errno or 0) if isinstance(problem, OSError) else "it leads to itself"
