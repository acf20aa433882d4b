"""A server is told the wanted level of its log messages, the last one wins, and refusals end nothing."""

import asyncio
from typing import Any

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.upstream.loglevel import LogLevel


class Told:
    """What a server was told; it answers when `gate` is open."""

    def __init__(self) -> None:
        self.wanted: str | None = None
        self.levels: list[str] = []
        self.gate = asyncio.Event()
        self.error: GatewayError | None = None
        self.asked = asyncio.Event()
        self.gate.set()

    def level(self) -> LogLevel:
        return LogLevel(lambda: self.wanted, self._ask)

    async def _ask(self, method: str, params: dict[str, Any], limit_s: float) -> None:
        assert method == "logging/setLevel"
        self.levels.append(params["level"])
        self.asked.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def test_nothing_is_told_until_somebody_asks_and_then_what_is_wanted() -> None:
    told = Told()
    level = told.level()
    assert not level.is_due
    for told.wanted in ("debug", "info", None):
        if told.wanted is not None:
            assert level.is_due
        await level.tell()
        assert not level.is_due
    assert told.levels == ["debug", "info"], "that nobody asks any more is the default, which it has"


async def test_a_server_gets_the_default_back() -> None:
    told = Told()
    level = told.level()
    told.wanted = "debug"
    await level.tell()
    told.wanted = None
    assert level.is_due
    await level.tell()
    assert told.levels == ["debug", "info"]
    level.reset()
    assert not level.is_due, "another process was never told"


async def test_what_changes_meanwhile_is_told_after_it_and_once() -> None:
    told = Told()
    told.gate.clear()
    level = told.level()
    told.wanted = "debug"
    telling = asyncio.create_task(level.tell())
    await asyncio.wait_for(told.asked.wait(), 10)
    told.wanted = "info"
    assert not level.is_due, "somebody tells it"
    told.gate.set()
    await telling
    assert told.levels == ["debug", "info"]


async def test_one_that_refuses_is_not_asked_again_for_the_same() -> None:
    told = Told()
    told.error = GatewayError(Kind.UNKNOWN, "no such method")
    level = told.level()
    told.wanted = "debug"
    await level.tell()
    assert not level.is_due
    assert told.levels == ["debug"]
