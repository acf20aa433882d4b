"""Administration of the gateway of a state directory: who may read that directory may administer.

No gateway runs on it: the store is opened for the moment and the gateway's own code does the work, so that
the first key can exist before the port opens. One runs on it: over REST at the port it wrote down, with the
one-time code beside that. Which of the two is a fact and no guess: the store has a lock.
"""

import asyncio
import fcntl
import os
import pwd
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

from mcp_gateway.cli.client import Client, run
from mcp_gateway.cli.failures import Failure, Unreachable, failure_of, unreachable, unusable
from mcp_gateway.cli.options import HOST_NAME, PORT_NAME, Asked
from mcp_gateway.clock import now_s
from mcp_gateway.config.model import KEEP_DAYS_MAX, KEEP_ROWS_MAX
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.store import FILE_NAME, Store, StoreError, StoreInUse, is_in_use

CODE_NAME: Final = "one-time-code"
# The lock may be held by another such command, or by a gateway that has no port yet; both pass.
PATIENCE_S: Final = 10.0
# After a code was used its successor is written before the answer goes out.
NEXT_CODE_S: Final = 2.0
LOOK_S: Final = 0.05
_CODE: Final = re.compile("[0-9A-Za-z-]{1,64}")
_FILE_BYTES_MAX: Final = 128

_T = TypeVar("_T")


def administer(
    asked: Asked,
    state_dir: Path,
    offline: Callable[[], Callable[[Store], Awaitable[_T]]],
    online: Callable[[Client], Awaitable[_T]],
    *,
    makes: bool,
) -> tuple[_T, bool]:
    """Does the work on the disk or with the gateway that runs there; the answer, and whether one does.

    `offline` prepares that before the store is opened: no gateway can start meanwhile. `makes`: what is not
    there yet is made.

    Raises: Failure.
    """
    _require_own(state_dir)
    deadline = now_s() + PATIENCE_S
    while True:
        try:
            if not is_in_use(state_dir):
                return asyncio.run(_on_disk(state_dir, offline(), makes=makes)), False
        except StoreInUse:
            pass  # since then
        except StoreError as problem:
            raise unusable(f"{problem}") from None
        except OSError as problem:
            raise _unusable(state_dir, problem) from None
        try:
            return over_rest(asked, state_dir, online), True
        except Unreachable as failure:
            if now_s() >= deadline:
                raise unreachable(
                    f"A gateway has {state_dir} open and cannot be asked: {failure.document['detail']}. "
                    "If it is starting or stopping, try again when it is done"
                ) from None
        time.sleep(LOOK_S)


def _require_own(state_dir: Path) -> None:
    """Files that another user makes there, root included, would lock the gateway out of its own state."""
    try:
        owner = state_dir.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as problem:
        raise _unusable(state_dir, problem) from None
    if owner != os.geteuid():
        raise unusable(
            f"The state directory {state_dir} belongs to {_name_of(owner)}: run this as that user, or "
            "name the gateway with --url and give a key that may administer"
        )


def _unusable(state_dir: Path, problem: OSError) -> Failure:
    return unusable(f"The state directory {state_dir} cannot be used: {problem.strerror}")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


async def _on_disk(state_dir: Path, work: Callable[[Store], Awaitable[_T]], *, makes: bool) -> _T:
    """Raises: StoreError, Failure."""
    if not makes and not (state_dir / FILE_NAME).exists():
        with tempfile.TemporaryDirectory() as empty:  # to ask what is there is no reason to make it
            return await _on_disk(Path(empty), work, makes=True)
    # Nothing is forgotten here: how much is kept is for the gateway and its configuration to say.
    store = Store.open(state_dir, keep_days=KEEP_DAYS_MAX, max_rows=KEEP_ROWS_MAX)
    try:
        return await work(store)
    except GatewayError as problem:
        raise failure_of(problem.facts()) from None
    finally:
        await store.close()


def over_rest(asked: Asked, state_dir: Path, work: Callable[[Client], Awaitable[_T]]) -> _T:
    """The work with the gateway that runs on a state directory, by the one-time code that stands there.

    Raises: Failure; `Unreachable` when nothing was done and it may be otherwise in a moment."""
    with _in_turn(state_dir / PORT_NAME) as port:
        code = _code(state_dir / CODE_NAME)
        local = replace(asked, url=f"http://{_host(state_dir / HOST_NAME)}:{port}", key=None)
        try:
            return run(replace(local, code=code), work)
        except Failure as failure:
            # It works once: somebody at the page may have used it since it was read.
            next_code = _next(state_dir / CODE_NAME, code) if _is_used(failure) else None
            if next_code is None:
                raise
        return run(replace(local, code=next_code), work)


@contextmanager
def _in_turn(path: Path) -> Iterator[int]:
    """The port in the file. Its lock keeps two commands from using one code: the gateway would have to take
    the second one for a guess."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            deadline = now_s() + PATIENCE_S
            while not _is_locked(file.fileno()):
                if now_s() >= deadline:
                    raise unreachable(f"Another command has {path} locked")
                time.sleep(LOOK_S)
            text = file.read(_FILE_BYTES_MAX).strip()
        except OSError as problem:
            raise unreachable(f"{path} cannot be read: {problem.strerror}") from None
        if not (text.isdigit() and 0 < int(text) < 1 << 16):
            raise unreachable(f"{path} holds no port yet")
        yield int(text)


def _is_locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _host(path: Path) -> str:
    """An address of this machine, because a gateway is bound to it: the lock was held when this was asked."""
    try:
        address = ip_address(path.read_text(encoding="ascii", errors="replace").strip())
    except (OSError, ValueError):
        raise unreachable(f"{path} holds no address") from None
    if address.version == 6:
        return "[::1]" if address.is_unspecified else f"[{address}]"
    return "127.0.0.1" if address.is_unspecified else f"{address}"


def _code(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as problem:
        raise unreachable(f"{path} cannot be read: {problem.strerror}") from None
    if _CODE.fullmatch(text) is None:
        raise unreachable(f"{path} holds no one-time code")
    return text


def _is_used(failure: Failure) -> bool:
    return failure.document.get("code") == Kind.UNAUTHENTICATED


def _next(path: Path, used: str) -> str | None:
    """The code after one that was used up; None when there is none, so that it was wrong otherwise."""
    deadline = now_s() + NEXT_CODE_S
    while (code := _code(path)) == used:
        if now_s() >= deadline:
            return None
        time.sleep(LOOK_S)
    return code
