"""From what is wanted to what runs: the set of upstreams, and the catalog made of them.

The only writer of the set. A key is taken before anything is awaited, so two wishes can never start
two processes for one server. Knows no caller and no face.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from mcp_gateway import catalog as catalogs
from mcp_gateway import clock
from mcp_gateway.catalog import Catalog, Offer, Tool
from mcp_gateway.config.model import ServerConfig
from mcp_gateway.gateway.events import Events
from mcp_gateway.upstream.lifecycle import Restart, Start, State, Stop
from mcp_gateway.upstream.upstream import Surroundings, Upstream

logger = logging.getLogger(__name__)

Scope = str
SHARED: Final[Scope] = "shared"  # links per session or caller will have scopes of their own
# A stop takes 5.5 s at most per server, all at once; then whatever hangs is left to the guardian.
STOP_ALL_S: Final = 8.0
STDERR_TAIL_LINES: Final = 20

# A server that is coming back keeps its tools in the lists: a crash of a second must not make every
# client forget them. A call to one meanwhile waits or is told why not.
_COMING: Final = frozenset({State.READY, State.STARTING, State.WAITING, State.IDLE})


class Switches(Protocol):
    """Where run-time switches are kept (`store/overrides.py`): (server, tool or None) -> enabled."""

    def overrides(self) -> Mapping[tuple[str, str | None], bool]: ...
    async def set_override(self, server: str, tool: str | None, enabled: bool | None) -> None: ...


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the owner of a %s ended", task.get_name(), exc_info=task.exception())


class Servers:
    def __init__(self, configs: Iterable[ServerConfig], switches: Switches, events: Events) -> None:
        self._configs = {config.id: config for config in configs}
        self._switches = switches
        self._events = events
        self._upstreams: dict[tuple[str, Scope], Upstream] = {}
        self._tasks: dict[tuple[str, Scope], asyncio.Task[None]] = {}
        self._shown: dict[str, tuple[Tool, ...]] = {}
        self.catalog = Catalog()

    def prepare(self, around: Surroundings) -> None:
        """Makes an upstream for every configured server; starts nothing."""
        for config in self._configs.values():
            self._upstreams[config.id, SHARED] = Upstream(config, around)
        self._rebuild()

    def start(self) -> None:
        """Starts everything that is enabled, all at once; none waits for another."""
        for key, upstream in self._upstreams.items():
            self._tasks[key] = task = asyncio.create_task(upstream.run(), name=f"server {upstream.id}")
            task.add_done_callback(_report_crash)
            if self.is_enabled(upstream.id):
                upstream.tell(Start())

    async def stop(self) -> None:
        for upstream in self._upstreams.values():
            upstream.retire()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=STOP_ALL_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def get(self, server: str) -> Upstream | None:
        return self._upstreams.get((server, SHARED))

    def all(self) -> list[Upstream]:
        return list(self._upstreams.values())

    # Switches

    def is_enabled(self, server: str) -> bool:
        return self._switches.overrides().get((server, None), self._configs[server].enabled)

    async def switch(self, upstream: Upstream, enabled: bool | None) -> None:
        """Switches a server at run time; None goes back to what the configuration declares."""
        await self._switches.set_override(upstream.id, None, enabled)
        upstream.tell(Start() if self.is_enabled(upstream.id) else Stop())

    async def switch_tool(self, server: str, tool: str, enabled: bool) -> None:
        # Tools are on unless switched off, so "on" is the absence of an override.
        await self._switches.set_override(server, tool, None if enabled else False)
        self._rebuild()

    def is_tool_on(self, server: str, tool: str) -> bool:
        return self._switches.overrides().get((server, tool), True)

    def restart(self, upstream: Upstream) -> None:
        upstream.tell(Restart() if self.is_enabled(upstream.id) else Stop())

    # The catalog

    def changed(self, upstream: Upstream) -> None:
        """Heard from an upstream whenever its state or its tools have changed."""
        if self._shown.get(upstream.id) is not self._offered(upstream):
            self._rebuild()
        self._events.publish("server", lambda: self.view(upstream))

    def _offered(self, upstream: Upstream) -> tuple[Tool, ...]:
        life = upstream.life
        coming = life.after if life.state is State.STOPPING else life.state
        return upstream.tools if coming in _COMING else ()

    def _rebuild(self) -> None:
        switched = self._switches.overrides()
        self._shown = {upstream.id: self._offered(upstream) for upstream in self._upstreams.values()}
        self.catalog = catalogs.build(
            self.catalog.version + 1,
            (
                Offer(
                    server,
                    tools,
                    self._configs[server].tools,
                    frozenset(
                        tool for (of, tool), on in switched.items() if of == server and tool and not on
                    ),
                )
                for server, tools in self._shown.items()
            ),
        )
        self._events.publish("tools", lambda: {"version": self.catalog.version})

    # Views

    def view(self, upstream: Upstream) -> dict[str, Any]:
        """A server as every face shows it. Times are seconds since 1970."""
        life, config, requests = upstream.life, upstream.config, upstream.requests
        to_wall = clock.wall_s() - clock.now_s()
        declared, override = config.enabled, self._switches.overrides().get((config.id, None))
        opened, exited = upstream.opened, upstream.last_exit
        return {
            "id": config.id,
            "title": config.title,
            "state": life.state.value,
            "reason": upstream.reason or None,
            "attempt": life.attempt,
            "since": round(life.since + to_wall, 3) if life.since else None,
            "nextRetry": None if life.retry_at is None else round(life.retry_at + to_wall, 3),
            "enabled": declared if override is None else override,
            "declared": declared,
            "override": override,
            "transport": upstream.transport.value,
            "protocolRevision": None if opened is None else opened.revision,
            "instructions": None if opened is None else opened.instructions or None,
            "pid": upstream.pid,
            "tools": len(self.catalog.by_server.get(config.id, ())),
            "calls": {"running": requests.in_flight, "queued": requests.queued, "total": requests.total},
            "lastError": upstream.last_error,
            "exit": None
            if exited is None
            else {"code": exited.code, "signal": exited.signal, "reason": exited.reason},
            "counters": dict(requests.counts),
            "stderr": [line.text for line in upstream.logs.tail(STDERR_TAIL_LINES)],
        }
