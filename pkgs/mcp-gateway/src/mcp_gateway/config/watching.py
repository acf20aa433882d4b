"""Says when the configuration file may have changed. Reads nothing of it and knows nobody who does.

The directory is watched, not the file: editors write another file and rename it over, so the one that
was watched would be gone. So is the directory of every link on the way, because a NixOS activation or a
Kubernetes mount changes a link and not the file. What the system does not tell (a directory that was
itself replaced, a file on a network) a look every two seconds finds.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from mcp_gateway.clock import now_s
from mcp_gateway.config.aside import aside

QUIET_S: Final = 0.2  # an editor's last step follows within this; half a file is seldom older
PATIENCE_S: Final = 1.6  # somebody who writes all the time is heard all the same
LOOK_EVERY_S: Final = 2.0
LOOK_LIMIT_S: Final = 10.0  # one that waits for a file system that is gone never ends
MAX_LINKS: Final = 40  # as many as Linux follows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """How a path is found: the names on the way that may change, the directories they are in, its end.

    `file` is which one, how large and from when, in numbers; None when there is none.
    """

    names: frozenset[Path]
    directories: frozenset[Path]
    file: tuple[int, ...] | None


def look(path: Path) -> Way:
    """The way to an absolute path as it is now, through its links."""
    names: set[Path] = set()
    here, parts, links = Path("/"), list(path.parts[1:]), 0
    while parts and links <= MAX_LINKS:
        name = parts.pop(0)
        if name == "..":
            here = here.parent
            continue
        try:
            target = Path(os.readlink(here / name))
        except OSError:  # no link, or nothing at all
            here /= name
            continue
        names.add(here / name)
        links += 1
        here = Path("/") if target.is_absolute() else here
        parts[:0] = target.parts[1:] if target.is_absolute() else target.parts
    names.add(here)
    directories = frozenset(_nearest(name.parent) for name in names)
    try:
        found = os.stat(path)
    except OSError:
        return Way(frozenset(names), directories, None)
    # `ctime` as well: an editor may set the other one back, and it alone tells of rights.
    file = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return Way(frozenset(names), directories, file)


def _nearest(directory: Path) -> Path:
    """The directory, or what is left above it."""
    while not directory.is_dir() and directory != directory.parent:
        directory = directory.parent
    return directory


async def maybe_changed(path: Path) -> AsyncGenerator[None, None]:
    """One item whenever the file at an absolute path may have changed; the first one at once.

    Changes that follow each other closely are one item. Goes on until it is closed.
    """
    known: Way | None = None
    is_told = False
    while True:
        way = await _look(path)
        if way != known:
            known = way
            yield None
        try:
            async with aclosing(_signs(way)) as signs:
                async for is_sign in signs:
                    now = await (_settled(path) if is_sign else _look(path))
                    # Two changes within one tick of the clock look alike: a sign counts without a look.
                    if is_sign or now != known:
                        known = now
                        yield None
                    if (now.names, now.directories) != (way.names, way.directories):
                        break
        except (OSError, RuntimeError) as problem:  # no watches left, or a directory that just went away
            if not is_told:
                is_told = True
                logger.warning("changes of the configuration file are noticed late: %s", problem)
            await asyncio.sleep(LOOK_EVERY_S)


async def _signs(way: Way) -> AsyncGenerator[bool, None]:
    """True when the system tells of a change on the way, False after a while without."""

    def concerns(_change: Change, changed: str) -> bool:
        return Path(changed) in way.names

    signs = awatch(
        *way.directories,
        watch_filter=concerns,
        step=_ms(QUIET_S),
        rust_timeout=_ms(LOOK_EVERY_S),
        yield_on_timeout=True,
        recursive=False,
    )
    async with aclosing(signs):
        async for changes in signs:
            yield bool(changes)


async def _settled(path: Path) -> Way:
    """The way once it has been the same for a moment, or when patience ends."""
    ends_at = now_s() + PATIENCE_S
    way = await _look(path)
    while now_s() < ends_at:
        await asyncio.sleep(QUIET_S)
        before, way = way, await _look(path)
        if way == before:
            break
    return way


async def _look(path: Path) -> Way:
    """Raises: TimeoutError, which is an OSError."""
    return await aside(partial(look, path), LOOK_LIMIT_S)


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
