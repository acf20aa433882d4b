"""The unix socket of `serve`: made beside the port, for this user and its group, and taken away again.

Replaces what a dead gateway left there and nothing else: a program that answers, a file or a link in its
place is somebody's, and is said instead. Knows nothing of what is served.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BACKLOG: Final = 2_048
# All that 0660 does not give. The umask, because a moment of more would be enough to come in.
_CLOSED_TO: Final = 0o117


class CannotListen(Exception):
    """The socket cannot be made; the text says why and what to do."""


@contextlib.contextmanager
def listening_at(path: Path) -> Iterator[socket.socket]:
    """A socket that listens at `path`, of mode 0660; the path is free again afterwards.

    Raises:
        CannotListen: somebody else is there, or the directory is missing or closed to us.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with made:
        try:
            _make_way(path)
            before = os.umask(_CLOSED_TO)
            try:
                made.bind(str(path))
            finally:
                os.umask(before)
            ours = path.lstat()
            made.listen(BACKLOG)
        except OSError as problem:
            raise CannotListen(_sentence(path, problem)) from None
        try:
            yield made
        finally:
            _remove(path, ours)


def _make_way(path: Path) -> None:
    """Removes the socket of a process that is gone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(
            f"Cannot listen on the socket {path}: something that is no socket is in its place. "
            "Remove it, or name another path in `gateway.socket`."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # one whose queue is full lives, too
        said = probe.connect_ex(str(path))
    if said in (0, errno.EAGAIN, errno.EINPROGRESS):
        raise CannotListen(
            f"Cannot listen on the socket {path}: another program answers there, perhaps a gateway that "
            "still runs. Stop it, or name another path in `gateway.socket`."
        )
    if said != errno.ECONNREFUSED:
        raise OSError(said, os.strerror(said))
    path.unlink(missing_ok=True)


def _remove(path: Path, ours: os.stat_result) -> None:
    """Leaves alone what another gateway has put there while this one was stopping."""
    with contextlib.suppress(OSError):
        there = path.lstat()
        if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            path.unlink()


def _sentence(path: Path, problem: OSError) -> str:
    if problem.errno in (errno.ENOENT, errno.ENOTDIR):
        return (
            f"Cannot listen on the socket {path}: {path.parent} is no directory. Make it first, "
            "open to nobody but who may connect."
        )
    return f"Cannot listen on the socket {path}: {problem.strerror}."
