"""The one-time code: what the console printed, or the 0600 file in the state directory holds.

Who knows it may administer. It works once; then another one is in the file. Wrong ones are told to wait after
a few, and noted, so that somebody who tries can be seen.
"""

import asyncio
import logging
import os
import secrets
from hmac import compare_digest
from pathlib import Path
from typing import Final

from mcp_gateway import clock
from mcp_gateway.access.caller import CONSOLE, CONSOLE_ID, NOBODY, Caller, unlimited
from mcp_gateway.access.limits import Buckets
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.actions import Actions

FILE_NAME: Final = "one-time-code"
# 64 bit, typed by a person now and then. The right one is taken however many wrong ones others send, or they
# could lock its owner out; so it must outlast guessing at full speed (10,000 a second: 30 million years).
_CODE_BYTES: Final = 8
MAX_WRONG: Final = 10
WRONG_PER_S: Final = MAX_WRONG / 60

CALLER: Final = unlimited(CONSOLE_ID, *CONSOLE)

logger = logging.getLogger(__name__)


class Console:
    """`code` is the one that works now; the first is on disk once `prepare` has returned."""

    def __init__(self, state_dir: Path, actions: Actions) -> None:
        self._path = state_dir / FILE_NAME
        self._actions = actions
        self._wrong = Buckets()
        self.code = secrets.token_hex(_CODE_BYTES)
        self.is_written = False  # the one that works, to its file

    def prepare(self) -> None:
        """Writes the code to its file. Raises: OSError."""
        write_private(self._path, self.code)
        self.is_written = True

    async def redeem(self, text: str, what_for: str) -> Caller:
        """Uses the code up, and puts the next one into the file.

        Raises:
            GatewayError: `unauthenticated`, `busy` after too many wrong ones, `unavailable`.
        """
        if not compare_digest(text.strip().encode("utf-8", "replace"), self.code.encode()):
            await self._refuse()
        self.code = secrets.token_hex(_CODE_BYTES)  # before anything is awaited: it works once
        await asyncio.to_thread(self._write_next)
        await self._actions.commit(CALLER, None, "code.use", detail=what_for)
        return CALLER

    async def _refuse(self) -> None:
        wait_s = self._wrong.take("code", WRONG_PER_S, MAX_WRONG, clock.now_s())
        if wait_s:
            raise GatewayError(
                Kind.BUSY, "There were too many wrong one-time codes; wait a little", retry_after_s=wait_s
            )
        self._actions.note(NOBODY, None, "code.wrong", outcome="unauthenticated")
        raise GatewayError(
            Kind.UNAUTHENTICATED,
            f"This is not the one-time code; it works once, and the one that does is in {self._path.name} "
            "in the state directory",
        )

    def _write_next(self) -> None:
        try:
            write_private(self._path, self.code)
            self.is_written = True
        except OSError as problem:  # the next one is had by a restart
            self.is_written = False
            logger.error("the next one-time code could not be written: %s", problem)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user reads, in one step.

    Raises: OSError.
    """
    fresh = path.with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    fresh.replace(path)
