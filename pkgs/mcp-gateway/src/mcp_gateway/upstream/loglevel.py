"""The level of a server's log messages, kept at what is wanted; for `upstream.py`.

Servers of the handshake era are told, one request at a time. It goes out before the call that it is for, and
no call waits for its answer. One that was never told keeps its own level; one that was told gets the default
back when nobody wants more.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from mcp_gateway.errors import GatewayError
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.levels import DEFAULT_LEVEL

METHOD: Final = "logging/setLevel"
LIMIT_S: Final = 10.0


class LogLevel:
    """`wanted` is asked when it may have changed: a level, or None where nobody cares."""

    def __init__(
        self, wanted: Callable[[], str | None], ask: Callable[[str, Params, float], Awaitable[object]]
    ) -> None:
        self._wanted = wanted
        self._ask = ask
        self._told: str | None = None
        self._is_telling = False

    def reset(self) -> None:
        """Another process or connection: it knows of nothing."""
        self._told, self._is_telling = None, False

    @property
    def _due(self) -> str | None:
        return self._wanted() or (DEFAULT_LEVEL if self._told is not None else None)

    @property
    def is_due(self) -> bool:
        return not self._is_telling and self._due != self._told

    def tell(self) -> Coroutine[Any, Any, None]:
        """Tells the server now; to be awaited until what it was told is what is wanted.

        One that refuses is not asked again.
        """
        self._is_telling = True
        return self._tell(self._told_now())

    def _told_now(self) -> Awaitable[object] | None:
        level = self._due
        if level is None or level == self._told:
            return None
        self._told = level
        try:
            return self._ask(METHOD, {"level": level}, LIMIT_S)
        except GatewayError:
            return None  # it is gone: then it is told when it is back

    async def _tell(self, answer: Awaitable[object] | None) -> None:
        try:
            while answer is not None:
                await answer
                answer = self._told_now()
        except GatewayError:
            pass  # it has no levels after all
        finally:
            self._is_telling = False
