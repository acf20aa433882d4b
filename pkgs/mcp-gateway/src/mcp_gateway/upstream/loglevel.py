"""The level of a server's log messages, kept at what is wanted; for `upstream.py`.

Servers of the handshake era are told, one request at a time, and never on the way of a call. One that was
never told keeps its own level; one that was told gets the default back when nobody wants more.
"""

from collections.abc import Awaitable, Callable
from typing import Final

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

    async def tell(self) -> None:
        """Tells the server until what it was told is what is wanted; one that refuses is not asked again."""
        self._is_telling = True
        try:
            while (level := self._due) is not None and level != self._told:
                self._told = level
                await self._ask(METHOD, {"level": level}, LIMIT_S)
        except GatewayError:
            pass  # it has no levels after all, or is gone: then it is told when it is back
        finally:
            self._is_telling = False
