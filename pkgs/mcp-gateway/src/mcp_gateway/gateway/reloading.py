"""Reads the configuration file again, when it may have changed or somebody asks, and says what came of it.

Whole or not at all: a file with a problem changes nothing, and is told of in the log, in the feed and
for as long as it stays so. One reading at a time, the last one counts. Knows what a configuration is;
what records and what applies one is handed in.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from mcp_gateway.config import load
from mcp_gateway.config.aside import aside
from mcp_gateway.config.changes import Changes, after_restart, compare
from mcp_gateway.config.model import Config, ConfigError, Problem
from mcp_gateway.config.watching import maybe_changed
from mcp_gateway.errors import GatewayError, Kind, UnusableConfig
from mcp_gateway.gateway.calls import stopping
from mcp_gateway.gateway.events import Events

READ_S: Final = 10.0  # a file of 4 MiB on a slow disk; one on a file system that is gone never comes

logger = logging.getLogger(__name__)


class Reloading:
    """`config` is what holds; `problems` are those of the file as it is now, empty when it holds."""

    def __init__(
        self,
        config: Config,
        environment: Mapping[str, str],
        events: Events,
        record: Callable[[Changes], Awaitable[None]],
        apply: Callable[[Config], None],
    ) -> None:
        self.config = config
        self.problems: tuple[Problem, ...] = ()
        self._started = config.gateway
        self._environment = environment
        self._events = events
        self._record = record
        self._apply = apply
        self._one_at_a_time = asyncio.Lock()
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    def start(self) -> None:
        """Watches the file and listens for `soon`. What was asked before is done now."""
        if self._is_over:
            return
        self._tasks.append(asyncio.create_task(self._answer(), name="reload"))
        if self.config.path is not None:
            self._tasks.append(asyncio.create_task(self._watch(), name="watch"))

    def end(self) -> None:
        """The gateway is stopping: nothing is applied any more."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        self.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def soon(self) -> None:
        """Asks for a reload and does not wait for it; its outcome is in the log."""
        self._asked.set()

    def warnings(self) -> list[str]:
        """What is to be said while it stays so."""
        told = []
        if self.problems:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            told.append(
                "The configuration file was changed but cannot be used: "
                f"{self.problems[0]}{more}; the gateway goes on with the one before"
            )
        if late := after_restart(self._started, self.config.gateway):
            names = ", ".join(f"`gateway.{key}`" for key in late)
            told.append(f"{names} changed in the configuration; it holds after a restart of the gateway")
        return told

    def adopt(self, path: Path) -> None:
        """A file that was made for a gateway that was started without one; from now on it is the file."""
        if self.config.path is None and not self._is_over:
            self.config = replace(self.config, path=path)
            self._tasks.append(asyncio.create_task(self._watch(), name="watch"))

    async def now(self) -> dict[str, Any]:
        """Reads the file and applies it; answers what moved.

        Raises:
            UnusableConfig: nothing has changed.
            GatewayError: `invalid`, there is no file; `unavailable`, the gateway is stopping.
        """
        if self.config.path is None:
            raise GatewayError(
                Kind.INVALID,
                "The gateway was started without a configuration file, so there is none to read again; "
                "name one with --config and start it anew",
            )
        changes = await self._reload(is_asked=True)
        if self.problems:
            detail = "The configuration cannot be used; the gateway goes on with the one before"
            raise UnusableConfig(f"{detail}: {self.problems[0]}", self._problem_facts())
        return self._facts(changes)

    async def _watch(self) -> None:
        assert self.config.path is not None, "without a file nothing is watched"
        async with aclosing(maybe_changed(self.config.path)) as signs:
            async for _ in signs:
                await self._try(is_asked=False)

    async def _answer(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self.config.path is None:
                logger.warning("there is no configuration file to read again")
            else:
                await self._try(is_asked=True)

    async def _try(self, *, is_asked: bool) -> None:
        try:
            await self._reload(is_asked=is_asked)
        except Exception:  # a bug of ours; the next change must be seen all the same
            logger.exception("reloading the configuration")

    async def _reload(self, *, is_asked: bool) -> Changes:
        async with self._one_at_a_time:
            before = self.warnings()
            changes = Changes()
            try:
                config = await self._read()
            except ConfigError as error:
                self._refuse_at_the_end()
                self.problems = error.problems
            else:
                self._refuse_at_the_end()
                self.problems = ()
                changes = compare(self.config, config)
                if changes:
                    await self._record(changes)
                    self._refuse_at_the_end()
                self._take(config, changes)
            if is_asked or changes or self.warnings() != before:
                self._tell(changes)
            return changes

    def _refuse_at_the_end(self) -> None:
        if self._is_over:
            raise stopping("its configuration stays as it is")

    async def _read(self) -> Config:
        path = self.config.path
        assert path is not None, "a gateway without a file reads none"
        try:
            return await aside(partial(load.load, path, self._environment), READ_S)
        except TimeoutError:
            problem = Problem("", None, f"could not be read within {READ_S:g} s", None, str(path))
            raise ConfigError((problem,)) from None

    def _take(self, config: Config, changes: Changes) -> None:
        if changes:
            self._apply(config)
        for warning in config.warnings:
            if warning not in self.config.warnings:
                logger.warning("%s", warning)
        self.config = config

    def _tell(self, changes: Changes) -> None:
        for problem in self.problems:
            logger.error("configuration not reloaded: %s", problem)
        if not self.problems:
            logger.info("configuration reloaded: %s", changes)
            for warning in self.warnings():
                logger.warning("%s", warning)
        facts = self._facts(changes)
        self._events.publish("config", lambda: facts)

    def _facts(self, changes: Changes) -> dict[str, Any]:
        return {
            "ok": not self.problems,
            **changes.facts(),
            "problems": self._problem_facts(),
            "warnings": [] if self.problems else self.warnings(),
        }

    def _problem_facts(self) -> list[dict[str, Any]]:
        return problem_facts(self.problems)


def problem_facts(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Problems of a file as every face shows them."""
    return [
        {
            "file": problem.source,
            "line": problem.line,
            "place": problem.place or None,
            "message": problem.message,
            "nearest": problem.nearest,
        }
        for problem in problems
    ]
