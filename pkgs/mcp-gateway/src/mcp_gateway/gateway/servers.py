"""From what is wanted to what runs: the set of upstreams, and the catalog made of them.

The only writer of the set. A key is taken before anything is awaited, so two wishes can never start
two processes for one server. A changed configuration is met without a gap: the server that it asks for
starts beside the one in place, takes its place when its first attempt to open has ended, and the one
before goes when its calls are done. Knows no caller and no face.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Protocol

from msgspec import Raw

from mcp_gateway import catalog as catalogs
from mcp_gateway import clock
from mcp_gateway.catalog import Catalog, Offer, Tool
from mcp_gateway.config.changes import has_same_link, is_same, with_link_of
from mcp_gateway.config.model import ServerConfig
from mcp_gateway.errors import GatewayError
from mcp_gateway.gateway.events import Events
from mcp_gateway.gateway.links import Links
from mcp_gateway.shelves import NO_SHELF, Shelf
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.upstream.lifecycle import AT_REST, Restart, Start, State, Stop
from mcp_gateway.upstream.stance import SHARED, Scope, Stance
from mcp_gateway.upstream.upstream import Surroundings, Upstream
from mcp_gateway.upstream.usage import Usages

logger = logging.getLogger(__name__)

# A stop takes 5.5 s at most per server, all at once; then whatever hangs is left to the guardian.
STOP_ALL_S: Final = 8.0
STDERR_TAIL_LINES: Final = 20
# A server that was replaced or removed may finish its calls. One that says nothing for so long would
# meet the default `timeout` anyway, and old secrets must not live on beside new ones.
DRAIN_S: Final = 60.0

# Of a successor: not yet told to start counts, too.
_ON_ITS_WAY: Final = frozenset({State.OFF, State.STARTING, State.STOPPING})


class Switches(Protocol):
    """Where run-time switches are kept (`store/overrides.py`): (server, tool or None) -> enabled."""

    def overrides(self) -> Mapping[tuple[str, str | None], bool]: ...
    async def set_override(self, server: str, tool: str | None, enabled: bool | None) -> None: ...
    async def set_overrides(self, keys: Collection[tuple[str, str | None]], enabled: bool | None) -> None: ...


_Tools = tuple[Tool, ...]
_Offered = tuple[_Tools, Shelf]
_NOTHING: Final[_Offered] = ((), NO_SHELF)


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("the task of %s ended", task.get_name(), exc_info=task.exception())


class Servers:
    def __init__(self, configs: Iterable[ServerConfig], switches: Switches, events: Events) -> None:
        self._configs = {config.id: config for config in configs}
        self._switches = switches
        self._events = events
        self._upstreams: dict[tuple[str, Scope], Upstream] = {}
        self._successors: dict[tuple[str, Scope], Upstream] = {}  # starting beside the one in place
        self._owners: dict[Upstream, asyncio.Task[None]] = {}  # of all that live, the leaving ones too
        self._leaving: set[asyncio.Task[None]] = set()
        self._shown: dict[str, _Offered] = {}
        self._joint: dict[str, tuple[_Tools, _Tools]] = {}
        # A call that waited goes to another upstream; whoever opened it hears of that here.
        self.moved: Callable[[Exchange, Upstream], None] = lambda _exchange, _upstream: None
        # Whoever keeps what callers subscribed to hears of changed lists here, and whose part of each that
        # is; and of servers that are no more.
        self.lists_changed: Callable[[Mapping[str, frozenset[str]]], None] = lambda _changed: None
        self.removed: Callable[[str], None] = lambda _server: None
        self.made: Callable[[Upstream], None] = lambda _link: None  # a link beside the shared one
        self.links = Links(
            self._make_link, self._see_off_link, lambda exchange, link: self.moved(exchange, link)
        )
        self.modern: dict[str, dict[str, Raw]] = {}  # capabilities, as they were said in that era; by server
        self.catalog = Catalog()
        self.usages = Usages(self._children)

    def prepare(self, around: Surroundings) -> None:
        """Makes an upstream for every configured server; starts nothing."""
        self._around = around
        for config in self._configs.values():
            self._upstreams[config.id, SHARED] = Upstream(config, around)
        self._rebuild()

    def start(self) -> None:
        """Starts everything that is enabled, all at once; none waits for another."""
        for upstream in self._upstreams.values():
            self._begin(upstream)

    def _begin(self, upstream: Upstream) -> None:
        self._own(upstream)
        if self.is_enabled(upstream.id):
            upstream.tell(Start())

    def _own(self, upstream: Upstream) -> None:
        self._owners[upstream] = task = asyncio.create_task(upstream.run(), name=f"server {upstream.id}")
        task.add_done_callback(_report_crash)
        task.add_done_callback(lambda _: self._owners.pop(upstream, None))

    def _make_link(self, shared: Upstream, scope: Scope, stance: Stance, idle_s: float) -> Upstream:
        link = Upstream(shared.config, self._around, scope, stance, shared.logs, idle_s)
        self._own(link)
        link.begin()
        self.made(link)
        return link

    def _see_off_link(self, link: Upstream, why: str, may_finish: bool) -> None:
        self._leave(link, why, may_finish=may_finish)

    async def stop(self) -> None:
        for leaving in self._leaving:
            leaving.cancel()
        for upstream in self._owners:
            upstream.retire()
        if self._owners:
            _, late = await asyncio.wait(tuple(self._owners.values()), timeout=STOP_ALL_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def get(self, server: str) -> Upstream | None:
        return self._upstreams.get((server, SHARED))

    def has_link(self, upstream: Upstream) -> bool:
        """Whether calls still go over it."""
        return upstream is self.get(upstream.id) or upstream in self.links.of(upstream.id)

    def all(self) -> list[Upstream]:
        return list(self._upstreams.values())

    def mind_log_levels(self) -> None:
        """Of some server another level of log messages may be wanted."""
        for upstream in self._owners:
            upstream.mind_log_level()

    # Another configuration

    def apply(self, configs: Iterable[ServerConfig]) -> None:
        """Makes these the servers. What did not move keeps its process; returns before any is ready."""
        was_on = {server: self.is_enabled(server) for server in self._configs}
        had_rules = [(server, config.tools) for server, config in self._configs.items()]
        self._configs = {config.id: config for config in configs}
        for key in [key for key in self._upstreams if key[0] not in self._configs]:
            self._remove(key)
        in_order: dict[tuple[str, Scope], Upstream] = {}
        for server, config in self._configs.items():
            key = server, SHARED
            if key not in self._upstreams:
                self._upstreams[key] = Upstream(config, self._around)
                self._begin(self._upstreams[key])
            else:
                self._change(key, config, was_on[server])
            in_order[key] = self._upstreams[key]
        self._upstreams = in_order
        if had_rules != [(server, config.tools) for server, config in self._configs.items()]:
            self._rebuild()

    def _remove(self, key: tuple[str, Scope]) -> None:
        why = "it was removed from the configuration"
        self._drop_successor(key)
        self.links.end_all(key[0], why, may_finish=True)
        self.modern.pop(key[0], None)
        self._leave(self._upstreams.pop(key), why, may_finish=True)
        self.removed(key[0])

    def _change(self, key: tuple[str, Scope], config: ServerConfig, was_on: bool) -> None:
        current, successor, is_on = self._upstreams[key], self._successors.get(key), self.is_enabled(key[0])
        if is_same(current.config, config) and successor is None:
            return
        if has_same_link(current.config, config):
            self._drop_successor(key)
            current.reconfigure(config)
            self.links.reconfigure(config)
            if is_on is not was_on:
                current.tell(Start() if is_on else Stop())
                self.links.end_all(config.id, "the server was switched", may_finish=False)
            self._publish(current)
            return
        # What needs no other process holds at once, and for the one that goes on serving, too.
        current.reconfigure(with_link_of(config, current.config))
        self.links.reconfigure(current.config)
        if successor is not None and has_same_link(successor.config, config):
            successor.reconfigure(config)
        else:
            self._drop_successor(key)
            self._successors[key] = successor = Upstream(config, self._around)
            self._begin(successor)
        if not is_on:
            current.tell(Stop())
            successor.tell(Stop())
        self._settle(key)

    def _drop_successor(self, key: tuple[str, Scope]) -> None:
        """One that another configuration has overtaken."""
        successor = self._successors.pop(key, None)
        if successor is not None:
            self._leave(successor, "its configuration was changed again", may_finish=False)

    def _settle(self, key: tuple[str, Scope]) -> None:
        """Tells how it stands, and lets the successor, if there is one, take the place once that is due."""
        current, successor = self._upstreams[key], self._successors.get(key)
        if successor is None:
            is_due = False
        elif self.is_enabled(key[0]):  # ready, or as far as it comes beside the other; or the other is down
            is_due = successor.life.state not in _ON_ITS_WAY or current.life.state is not State.READY
        else:
            is_due = current.life.state in AT_REST
        if is_due:
            self._promote(key)
        else:
            self._publish(current)

    def _promote(self, key: tuple[str, Scope]) -> None:
        """The successor takes the place now; nothing happens when there is none."""
        successor = self._successors.pop(key, None)
        if successor is None:
            return
        before, self._upstreams[key] = self._upstreams[key], successor
        if not successor.has_listed:
            successor.tools, successor.shelf = before.tools, before.shelf  # shown as long as it is coming
        successor.logs.take_over(before.logs)
        successor.subscribing.take_over(before.subscribing)
        while (exchange := before.requests.take_waiting()) is not None:
            self.moved(exchange, successor)
            try:
                successor.submit(exchange)
            except GatewayError as problem:
                exchange.end(None, problem)
        self._leave(before, "its configuration was changed", may_finish=True)
        self.links.end_all(key[0], "its configuration was changed", may_finish=True)
        self._rebuild()
        self._publish(successor)

    def _leave(self, upstream: Upstream, why: str, *, may_finish: bool) -> None:
        task = asyncio.create_task(self._see_off(upstream, why, may_finish), name=f"leaving {upstream.id}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        task.add_done_callback(_report_crash)

    async def _see_off(self, upstream: Upstream, why: str, may_finish: bool) -> None:
        if may_finish and upstream.life.state is State.READY:
            await upstream.requests.drain(DRAIN_S)
            if upstream.requests.in_flight:
                why += f", and calls were still running {DRAIN_S:g} s later"
        upstream.retire(why)
        if upstream in self._owners:
            await asyncio.wait((self._owners[upstream],))
        current = self.get(upstream.id)
        if current is not None and current.life.state is State.WAITING:
            current.tell(Start())  # it may have wanted what the one before held: a port, a lock

    # Switches

    def is_enabled(self, server: str) -> bool:
        return self._switches.overrides().get((server, None), self._configs[server].enabled)

    async def switch(self, upstream: Upstream, enabled: bool | None) -> None:
        """Switches a server at run time; None goes back to what the configuration declares."""
        await self._switches.set_override(upstream.id, None, enabled)
        current = self.get(upstream.id)
        if current is None:
            return  # removed meanwhile
        key = upstream.id, SHARED
        is_on = self.is_enabled(upstream.id)
        if is_on and current.life.state is not State.READY:
            self._promote(key)
        for one in (self._upstreams[key], self._successors.get(key)):
            if one is not None:
                one.tell(Start() if is_on else Stop())
        if not is_on:
            self.links.end_all(upstream.id, "the server was switched off", may_finish=False)

    async def switch_tools(self, tools: Collection[tuple[str, str]], enabled: bool) -> None:
        """Switches tools, (server, native name), all or none of them; the catalog is made anew once."""
        # Tools are on unless switched off, so "on" is the absence of an override.
        await self._switches.set_overrides(tools, None if enabled else False)
        self._rebuild()

    def is_tool_on(self, server: str, tool: str) -> bool:
        return self._switches.overrides().get((server, tool), True)

    def overrides_of(self, server: str) -> tuple[bool | None, list[str]]:
        """What was switched at run time: the server itself, and which of its tools are off."""
        switched = self._switches.overrides()
        off = sorted(tool for (of, tool), on in switched.items() if of == server and tool and not on)
        return switched.get((server, None)), off

    def restart(self, upstream: Upstream) -> None:
        key = upstream.id, SHARED
        self.links.end_all(upstream.id, "the server was restarted", may_finish=False)
        if key in self._successors:
            self._promote(key)  # it is a new process already, and the one that is wanted
        else:
            upstream.tell(Restart() if self.is_enabled(upstream.id) else Stop())

    # The catalog

    def changed(self, upstream: Upstream) -> None:
        """Heard from an upstream whenever its state or its tools have changed."""
        key = upstream.id, SHARED
        if upstream.opened is not None and upstream.opened.modern is not None:
            self.modern[upstream.id] = upstream.opened.modern
        if upstream.scope != SHARED:
            is_wider = self.links.changed(upstream)
            if is_wider and self.get(upstream.id) is not None:
                self._rebuild()
            return
        if upstream is self._upstreams.get(key):
            shown, offered = self._shown.get(upstream.id), self._offered(upstream)
            if shown is None or shown[0] is not offered[0] or shown[1] is not offered[1]:
                self._rebuild()
        elif upstream is not self._successors.get(key):
            return  # it is leaving
        self._settle(key)

    def _publish(self, upstream: Upstream) -> None:
        self._events.publish("server", lambda: self.view(upstream))

    def _offered(self, upstream: Upstream) -> _Offered:
        # One that is coming back keeps its tools in the lists: a crash of a second must not make every
        # client forget them. A call to one meanwhile waits or is told why not.
        return (self._tools_of(upstream), upstream.shelf) if upstream.life.is_coming else _NOTHING

    def _tools_of(self, upstream: Upstream) -> _Tools:
        """What it lists, and after that what it lists only for clients that can be asked."""
        wider = self.links.wider(upstream.id)
        if not wider:
            return upstream.tools
        names = {tool.name for tool in upstream.tools}
        more = tuple(tool for name, tool in wider.items() if name not in names)
        if not more:
            return upstream.tools
        before = self._joint.get(upstream.id)
        tools = (*upstream.tools, *more)
        if before is None or before[1] != tools:
            self._joint[upstream.id] = before = upstream.tools, tools
        return before[1]

    def _rebuild(self) -> None:
        switched = self._switches.overrides()
        self._shown = {upstream.id: self._offered(upstream) for upstream in self._upstreams.values()}
        before = self.catalog
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
                    shelf,
                )
                for server, (tools, shelf) in self._shown.items()
            ),
            before,
        )
        changed = catalogs.changed_lists(before, self.catalog)
        for kind in changed:
            self._events.publish(kind, lambda: {"version": self.catalog.version})
        if changed:
            self.lists_changed(changed)

    # Views

    def _children(self) -> dict[int, str]:
        """The server of every child that runs, of successors and of those that are leaving, too."""
        return {one.pid: one.id for one in self._owners if one.pid is not None}

    def view(self, upstream: Upstream) -> dict[str, Any]:
        """A server as every face shows it. Times are seconds since 1970."""
        life, config = upstream.life, upstream.config
        to_wall = clock.wall_s() - clock.now_s()
        declared, override = config.enabled, self._switches.overrides().get((config.id, None))
        opened, exited = upstream.opened, upstream.last_exit
        since = round(life.since + to_wall, 3) if life.since else None
        usage = self.usages.of(config.id, (upstream.pid, *(link.pid for link in self.links.of(config.id))))
        return {
            "id": config.id,
            "title": config.title,
            "state": life.state.value,
            "reason": upstream.reason or None,
            "attempt": life.attempt,
            "since": since,
            "readySince": since if life.state is State.READY else None,
            "nextRetry": None if life.retry_at is None else round(life.retry_at + to_wall, 3),
            "enabled": declared if override is None else override,
            "declared": declared,
            "override": override,
            "transport": upstream.transport.value,
            "protocolRevision": None if opened is None else opened.revision,
            "serverInfo": None if opened is None else opened.server_info,
            "capabilities": None if opened is None else opened.capabilities,
            "instructions": None if opened is None else opened.instructions or None,
            "pid": upstream.pid,
            "successor": self._view_of_successor(config.id),
            "tools": len(self.catalog.by_server.get(config.id, ())),
            "toolTokens": self.catalog.tokens(config.id),
            **self._others_of(config.id),
            "usage": None if usage is None else usage.view(),
            "calls": self._calls_of(upstream),
            "links": self.links.view(config.id),
            "lastError": upstream.last_error,
            "exit": None
            if exited is None
            else {"code": exited.code, "signal": exited.signal, "reason": exited.reason},
            "counters": dict(upstream.requests.counts),
            "stderr": [line.text for line in upstream.logs.tail(STDERR_TAIL_LINES)],
        }

    def _calls_of(self, upstream: Upstream) -> dict[str, int]:
        """Over all its links."""
        all_requests = [one.requests for one in (upstream, *self.links.of(upstream.id))]
        return {
            "running": sum(one.in_flight for one in all_requests),
            "queued": sum(one.queued for one in all_requests),
            "total": upstream.requests.total + self.links.total(upstream.id),
        }

    def _others_of(self, server: str) -> dict[str, int]:
        shelf = self.catalog.shelves.get(server, NO_SHELF)
        return {
            "resources": len(shelf.resources),
            "resourceTemplates": len(shelf.templates),
            "prompts": len(shelf.prompts),
        }

    def _view_of_successor(self, server: str) -> dict[str, Any] | None:
        """What a changed configuration has started beside the one that still serves."""
        successor = self._successors.get((server, SHARED))
        if successor is None:
            return None
        return {"state": successor.life.state.value, "reason": successor.reason or None, "pid": successor.pid}
