"""All that a face may ask for, and nothing of how it travels: the facade over servers and calls.

    servers    wanted state -> running upstreams, and the catalog of their tools
    calls      the one path of a call
    actions    what people do to the gateway itself, recorded
    keys       API keys; who a key belongs to
    console    the one-time code
    sign_ins   who has signed in on the page
    exposure   where it listens, and what that means
    artifacts  results too large to hand over whole
    events     bounded fan-out of what changes
    loglevels  how much of a server's log messages is wanted
    parking    calls that wait for what their client is to answer
    openwebui  telling an Open WebUI of this gateway
    tickets    links that are their own right
    bells      waiting of which there is much
    metrics    numbers for Prometheus, counted from calls and servers
    payloads   what was said in the last calls
    statistics numbers of activity, for charts
    subscriptions  who is told what changes, within bounds
    reloading  the configuration file, read again
    adding     servers that are written to that file at run time

Every face goes through `Gateway`, so what one can do, each can do, by the same rules.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from mcp_gateway import clock
from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller, Right
from mcp_gateway.access.policy import (
    has_whole_server,
    require,
    require_everywhere,
    require_on_server,
    require_on_tool,
    sees_server,
)
from mcp_gateway.catalog import Catalog, Entry
from mcp_gateway.config import shown
from mcp_gateway.config.changes import Changes
from mcp_gateway.config.model import Config, PayloadMode, ServerConfig
from mcp_gateway.config.secrets import Resolved, SecretError, resolve
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.actions import Actions
from mcp_gateway.gateway.adding import Adding, ConfigFile
from mcp_gateway.gateway.artifacts import Artifact, Artifacts, Reading
from mcp_gateway.gateway.calls import Call, Calls, Request, facts_of, stopping, unknown_server, unknown_tool
from mcp_gateway.gateway.console import Console
from mcp_gateway.gateway.events import LISTS, Events, Feed, Shown
from mcp_gateway.gateway.exposure import HERE, Exposure, Listening
from mcp_gateway.gateway.keys import FLUSH_S, LOOK_S, Keys
from mcp_gateway.gateway.loglevels import LogLevels
from mcp_gateway.gateway.metrics import CountedJournal, Metrics
from mcp_gateway.gateway.openwebui import OpenWebUi
from mcp_gateway.gateway.parking import Parked, Parking, not_valid
from mcp_gateway.gateway.payloads import NOTHING, Payload, Payloads
from mcp_gateway.gateway.primitives import (
    CALL_TOOL,
    COMPLETE,
    GET_PROMPT,
    METHODS,
    READ_RESOURCE,
    unknown_prompt,
    unknown_resource,
)
from mcp_gateway.gateway.reloading import Reloading
from mcp_gateway.gateway.servers import Servers
from mcp_gateway.gateway.sign_ins import SignIns
from mcp_gateway.gateway.statistics import Statistics
from mcp_gateway.gateway.subscriptions import ACCEPT_S, Listener, Subscriptions
from mcp_gateway.gateway.tickets import Tickets
from mcp_gateway.store import Store, StoreError
from mcp_gateway.store.calls import CallQuery, CursorError, call_id_text, parse_call_id
from mcp_gateway.store.stats import StatsQuery
from mcp_gateway.upstream.asks import ASKED_BY, ELICIT, Ask
from mcp_gateway.upstream.client import NO_ASKS, NO_CLIENT, Client
from mcp_gateway.upstream.exchange import Mailbox, Note
from mcp_gateway.upstream.gate import Gate
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.opening import Opened
from mcp_gateway.upstream.process import Nursery
from mcp_gateway.upstream.stance import SHARED
from mcp_gateway.upstream.upstream import Surroundings, Unresolvable, Upstream
from mcp_gateway.version import CLIENT_INFO
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.revisions import Era

__all__ = [
    "ASKED_BY",
    "CALL_TOOL",
    "COMPLETE",
    "ELICIT",
    "GET_PROMPT",
    "LISTS",
    "METHODS",
    "NO_ASKS",
    "NO_CLIENT",
    "READ_RESOURCE",
    "Artifact",
    "Ask",
    "Call",
    "CallQuery",
    "Client",
    "Gateway",
    "Mailbox",
    "Note",
    "Parked",
    "Reading",
    "Request",
    "StatsQuery",
    "call_id_text",
    "facts_of",
    "not_valid",
    "stopping",
    "unknown_prompt",
    "unknown_resource",
]

RECORD_S: Final = 5.0  # a disk that hangs must not keep a configuration from being applied
FILE: Final = Caller("file", ())  # who may write the configuration decides everything
MAX_REMOVED: Final = 1_000  # servers that a reload has removed and of which calls may be remembered
# Read at a time: 3 ms of the writer, which goes on with its batches between, and 1 ms of the event loop.
EXPORT_ROWS: Final = 200

logger = logging.getLogger(__name__)
_Query = TypeVar("_Query", CallQuery, StatsQuery)


class Gateway:
    """One per process. Made by `app.py`, started once the port is bound."""

    def __init__(
        self,
        config: Config,
        store: Store,
        nursery: Nursery,
        environment: Mapping[str, str],
        state_dir: Path,
        *,
        listening: Listening = HERE,
    ) -> None:
        self._environment = environment
        self._store = store
        self._nursery = nursery
        self._removed: dict[str, ServerConfig] = {}  # their last calls are kept as they asked for
        self.is_stopping = False
        self.instance = secrets.token_hex(8)
        self.events = Events()
        self.reloading = Reloading(config, environment, self.events, self._record_changes, self._apply)
        self.servers = Servers(config.servers.values(), store, self.events)
        self.subscriptions = Subscriptions(self.servers.get, self.servers.links.of)
        self.servers.lists_changed = self.subscriptions.lists_changed
        self.servers.removed, self.servers.made = self.subscriptions.removed, self.subscriptions.made
        self.metrics = Metrics(
            self.servers,
            lambda: self.events.readers + self.subscriptions.listeners,
            lambda: store.lost_records,
        )
        self.payloads = Payloads(self._payload_mode)
        self._statistics = Statistics(store)
        journal = CountedJournal(store, self.metrics)
        self.artifacts = Artifacts()
        ids = clock.CallIds(store.last_call_id)
        self.log_levels = LogLevels(self.servers.mind_log_levels)
        self.calls = Calls(
            self.servers,
            journal,
            ids,
            self.events,
            self.payloads,
            self.artifacts,
            lambda: self.config.gateway.limits,
            self.log_levels,
        )
        self.parking = Parking(nursery.instance)
        self.actions = Actions(store, ids, self.events)
        self.adding = Adding(self.reloading, self.actions, environment, lambda: self.is_stopping)
        self.keys = Keys(config, store, self.actions)
        self.keys.gone = self.end_of
        self.tickets = Tickets(self.require_current)
        self.console = Console(state_dir, self.actions)
        self.sign_ins = SignIns(config, self.actions, self.console)
        self.exposure = Exposure(listening, lambda: self.config, self.keys, self.sign_ins, self.console)
        self.open_webui = OpenWebUi(self.actions, self.keys, lambda: self.is_guarded)
        self.sign_ins.gone, self.sign_ins.left = self.end_of, self._left
        self.at_end_of: list[Callable[[str], None]] = []  # what faces do when a caller may not go on
        self._minding_keys: asyncio.Task[None] | None = None

    async def start(self, spool_dir: Path, artifacts_dir: Path) -> None:
        """Brings up the guardian and, behind it, every enabled server in parallel; does not wait for them."""
        self.artifacts.open(artifacts_dir, spool_dir)
        eras = _Eras(self._store)
        self.servers.prepare(
            Surroundings(
                self._nursery,
                self._resolve,
                eras,
                spool_dir,
                CLIENT_INFO,
                self._changed,
                Gate(),
                self.instance,
                self.subscriptions.updated,
                self.subscriptions.announced,
                self.log_levels.wanted,
            )
        )
        self.servers.start()
        await self._nursery.start()
        self.reloading.start()
        self._minding_keys = asyncio.create_task(self._mind_keys(), name="keys")

    async def _mind_keys(self) -> None:
        written_at = clock.now_s()
        while True:
            await asyncio.sleep(LOOK_S)
            self.keys.end_expired()
            self.parking.sweep()
            if clock.now_s() - written_at >= FLUSH_S:
                written_at = clock.now_s()
                self.sign_ins.sweep()
                await self.keys.write_uses()

    def _changed(self, upstream: Upstream) -> None:
        if upstream.scope == SHARED:
            self.metrics.changed(upstream)
        self.servers.changed(upstream)

    def end_feeds(self) -> None:
        """The gateway is stopping: no new calls, and live feeds end."""
        self.is_stopping = True
        self.calls.stopping = True
        self.reloading.end()
        self.events.end()
        self.subscriptions.end()

    def end_calls(self) -> None:
        """Ends the calls that are still running, while their callers can still be answered."""
        self.calls.end_running()

    async def stop(self) -> None:
        """Ends calls and servers; returns within seconds, whatever the servers do."""
        self.end_feeds()
        self.end_calls()
        await self.reloading.stop()
        if self._minding_keys is not None:
            self._minding_keys.cancel()
        await self.keys.write_uses()
        await self.servers.stop()
        self.artifacts.close()
        self._nursery.close()

    async def _resolve(self, server: ServerConfig) -> Resolved:
        try:
            return await resolve(server, self._environment)
        except SecretError as problem:
            raise Unresolvable(str(problem)) from None

    # The configuration

    @property
    def config(self) -> Config:
        """What holds now; another one after a reload."""
        return self.reloading.config

    @property
    def is_guarded(self) -> bool:
        """See `Exposure.is_guarded`."""
        return self.exposure.is_guarded

    async def reload(self, caller: Caller) -> dict[str, Any]:
        """See `Reloading.now`."""
        require_everywhere(caller, Right.OPERATE)
        self.actions.note(caller, Right.OPERATE, "reload")
        return await self.reloading.now()

    async def config_file(self, caller: Caller) -> ConfigFile:
        """See `Adding.file`."""
        return await self.adding.file(caller)

    async def check_servers(self, caller: Caller, text: str, name: str | None) -> dict[str, Any]:
        """See `Adding.check`."""
        return await self.adding.check(caller, text, name)

    async def add_servers(self, caller: Caller, text: str, name: str | None) -> dict[str, Any]:
        """See `Adding.add`; `servers` as they are shown, and `warnings`."""
        ids, warnings = await self.adding.add(caller, text, name)
        views = [self._view(caller, up) for server in ids if (up := self.servers.get(server)) is not None]
        return {"servers": views, "warnings": warnings}

    async def remove_server(self, caller: Caller, server: str) -> None:
        """See `Adding.remove`."""
        await self.adding.remove(caller, server)

    def show_config(self, caller: Caller, server: str) -> dict[str, Any]:
        """The configuration that holds for a server, without a secret: for who operates it."""
        upstream = self._operable(caller, server)
        declared = self.config.declared.get(server)
        switched, tools_off = self.servers.overrides_of(server)
        return {
            "id": server,
            "declaredIn": declared and declared.section,
            "name": declared and declared.name,
            "file": self.config.path and str(self.config.path),
            "line": declared and declared.line,
            "config": shown.server(self.config.servers.get(server, upstream.config), self._environment),
            "overrides": {"enabled": switched, "toolsOff": tools_off},
        }

    def reload_soon(self) -> None:
        """The operator asked with a signal; the outcome is in the log, the feed and the warnings."""
        self.reloading.soon()

    async def _record_changes(self, changes: Changes) -> None:
        """Before another file decides what runs here and who may do what, that is on the disk.

        On a disk that fails it is applied all the same: who takes a key out of the file must not be kept
        from it, and who writes the file needs no record to do harm.
        """
        needed = Right.EXEC if changes.defines_what_runs else Right.ADMIN
        try:
            async with asyncio.timeout(RECORD_S):
                await self.actions.commit(FILE, needed, "config.apply", detail=str(changes), face="file")
        except (GatewayError, TimeoutError):
            logger.error("a change of the configuration could not be recorded: %s", changes)

    def _apply(self, config: Config) -> None:
        gone = {name: old for name, old in self.config.servers.items() if name not in config.servers}
        self._removed = dict([*self._removed.items(), *gone.items()][-MAX_REMOVED:])
        keep = config.gateway.activity.keep
        self._store.keep_days, self._store.max_rows = keep.days, keep.rows
        self.servers.apply(config.servers.values())
        self.keys.configure(config)
        self.sign_ins.configure(config)
        self._end_unproven(config)

    def _end_unproven(self, config: Config) -> None:
        """Ends what is open for callers whom another configuration would not let in as it did.

        Keys and sign-ins look after their own. Here it is not known who would still be let in, and with what
        rights: who is, connects again.
        """
        before, after = self.config.gateway, config.gateway
        gone = [
            prefix
            for prefix, has_moved in (
                (LOCAL_OPERATOR.id, after.is_guarded and not before.is_guarded),
                ("tailscale:", after.tailscale != before.tailscale),
                ("proxy:", after.trusted_proxy != before.trusted_proxy or config.texts != self.config.texts),
            )
            if has_moved
        ]
        open_for = (self.calls.callers(), self.events.owners(), self.subscriptions.owners())
        for caller_id in self.tickets.owners().union(*open_for):
            if caller_id.startswith(tuple(gone)):
                self.end_of(caller_id)

    def require_current(self, caller: Caller) -> None:
        """That who was let in before may go on; asked when a request has waited for its body.

        Raises:
            GatewayError: `unauthenticated`.
        """
        self.keys.require_current(caller)

    def end_of(self, caller_id: str) -> None:
        """A caller may not go on: their calls, kept results, feeds and sessions end."""
        self.calls.end_of(caller_id, "what its caller came in with is not valid any more")
        self.artifacts.end_of(caller_id)
        self.parking.end_of(caller_id)
        self.tickets.end_of(caller_id)
        self.servers.links.end_of_caller(caller_id)
        self._left(caller_id)

    def _left(self, caller_id: str) -> None:
        """A caller has signed out somewhere: what is open for them ends, and what they asked for goes on.

        Whoever is signed in as the same caller elsewhere connects again.
        """
        self.events.end_of(caller_id)
        self.subscriptions.end_of(caller_id)
        for end in self.at_end_of:
            end(caller_id)

    # Servers

    def list_servers(self, caller: Caller) -> list[dict[str, Any]]:
        require(caller, Right.READ)
        return [self._view(caller, up) for up in self.servers.all() if sees_server(caller, up.id)]

    def _view(self, caller: Caller, upstream: Upstream) -> dict[str, Any]:
        return _trimmed(caller, self.servers.view(upstream), self.servers.catalog.seen_by(caller))

    async def refresh_usage(self, caller: Caller) -> None:
        """Looks at the processes of all servers, for who may see that, unless it was just done.

        What `view`s of servers say of it is of that look from then on.
        """
        if Right.OPERATE in caller.rights:
            await self.servers.usages.refresh()

    def has_server(self, caller: Caller, server: str) -> bool:
        require(caller, Right.READ, Right.CALL)
        return self.servers.get(server) is not None and sees_server(caller, server)

    def instructions(self, caller: Caller, server: str | None) -> str:
        """What a server, or each of them under a heading, tells models about itself."""
        require(caller, Right.READ, Right.CALL)
        told = [
            (up.config.title, up.opened.instructions)
            for up in self.servers.all()
            if up.opened and up.opened.instructions and server in (None, up.id) and sees_server(caller, up.id)
        ]
        if server is not None:
            return told[0][1] if told else ""
        return "\n\n".join(f"# {title}\n\n{instructions}" for title, instructions in told)

    def introductions(self, caller: Caller, server: str | None, era: Era) -> list[Opened | None]:
        """How the servers, or this one, said what they are and can; None for one that is yet to say it.

        In this era, where they were heard in it; else in the other.
        """
        require(caller, Right.READ, Right.CALL)
        return [
            self._introduction(up, era)
            for up in self.servers.all()
            if (up.opened or up.life.is_coming) and server in (None, up.id) and sees_server(caller, up.id)
        ]

    def _introduction(self, upstream: Upstream, era: Era) -> Opened | None:
        modern = self.servers.modern.get(upstream.id)
        if upstream.opened is None or era is Era.HANDSHAKE or modern is None:
            return upstream.opened
        return replace(upstream.opened, era=Era.MODERN, capabilities=modern)

    def show_server(self, caller: Caller, server: str) -> dict[str, Any]:
        require(caller, Right.READ)
        return self._view(caller, self._upstream(caller, server))

    def states(self) -> dict[str, int]:
        """How many servers are in which state."""
        counts: dict[str, int] = {}
        for upstream in self.servers.all():
            counts[upstream.life.state.value] = counts.get(upstream.life.state.value, 0) + 1
        return counts

    @property
    def running_calls(self) -> int:
        """Without those that wait for a client to come back: of them nobody is there to be answered."""
        return len(self.calls.running) - self.parking.waiting

    def warnings(self) -> list[str]:
        """What is wrong with the gateway itself, while calls go on; empty when all is well."""
        told = [self._store.fault and f"Activity cannot be written: {self._store.fault}", self._store.notice]
        if self._store.lost_records:
            told.append(f"{self._store.lost_records} activity records were lost")
        if self._store.lost_captures:
            told.append(f"{self._store.lost_captures} requests and responses were not captured on disk")
        told += self.reloading.warnings()
        return [sentence for sentence in told if sentence]

    async def write_metrics(self, caller: Caller, accept: str) -> tuple[bytes, str]:
        """See `Metrics.write`. The numbers are of all servers and callers."""
        require_everywhere(caller, Right.READ)
        return await self.metrics.write(accept)

    async def switch_server(self, caller: Caller, server: str, enabled: bool | None) -> dict[str, Any]:
        upstream = self._operable(caller, server)
        await self.servers.switch(upstream, enabled)
        word = {True: "on", False: "off", None: "as declared"}[enabled]
        self.actions.note(caller, Right.OPERATE, "server.switch", detail=f"{server} {word}")
        return self._view(caller, upstream)

    def restart_server(self, caller: Caller, server: str) -> dict[str, Any]:
        upstream = self._operable(caller, server)
        self.actions.note(caller, Right.OPERATE, "server.restart", detail=server)
        self.servers.restart(upstream)
        return self._view(caller, upstream)

    def logs(self, caller: Caller, server: str) -> LogRing:
        """For operators: a server may write of anybody's calls to its stderr."""
        return self._operable(caller, server).logs

    def _operable(self, caller: Caller, server: str) -> Upstream:
        require(caller, Right.OPERATE)
        upstream = self._upstream(caller, server)
        require_on_server(caller, Right.OPERATE, server)
        return upstream

    def _upstream(self, caller: Caller, server: str) -> Upstream:
        upstream = self.servers.get(server)
        if upstream is None or not sees_server(caller, server):
            raise unknown_server(server)
        return upstream

    # Tools

    def catalog(self, caller: Caller) -> Catalog:
        """What the caller sees of it."""
        require(caller, Right.READ, Right.CALL)
        return self.servers.catalog.seen_by(caller)

    def entry(self, caller: Caller, server: str, tool: str) -> Entry | None:
        """A tool that the caller sees, for what is decided before a call; the call says what is wrong."""
        return self.servers.catalog.seen_by(caller).by_server.get(server, {}).get(tool)

    def show_tool(self, caller: Caller, server: str, tool: str) -> Entry:
        require(caller, Right.READ)
        return self._entry(caller, server, tool)

    def _entry(self, caller: Caller, server: str, tool: str) -> Entry:
        self._upstream(caller, server)
        entry = self.servers.catalog.seen_by(caller).by_server.get(server, {}).get(tool)
        if entry is None:
            raise unknown_tool(server, tool)
        return entry

    def _operable_tool(self, caller: Caller, server: str, tool: str) -> Entry:
        entry = self._entry(caller, server, tool)
        require_on_tool(caller, Right.OPERATE, server, tool, entry.is_read_only)
        return entry

    async def switch_tool(self, caller: Caller, server: str, tool: str, enabled: bool) -> Entry:
        await self.switch_tools(caller, [(server, tool)], enabled)
        return self._entry(caller, server, tool)

    async def switch_tools(
        self, caller: Caller, tools: Iterable[tuple[str, str]], enabled: bool
    ) -> dict[str, Any]:
        """Switches tools, (server, native name), all or none of them; how many they are, and how many moved.

        Raises:
            GatewayError: `unknown` or `refused`, naming the first that is.
        """
        require(caller, Right.OPERATE)
        entries = [self._operable_tool(caller, server, tool) for server, tool in dict.fromkeys(tools)]
        changed = sum(entry.enabled is not enabled for entry in entries)
        await self.servers.switch_tools([(entry.server, entry.tool) for entry in entries], enabled)
        word = "on" if enabled else "off"
        self.actions.note(caller, Right.OPERATE, "tool.switch", detail=f"{_told(entries)} {word}")
        return {"tools": len(entries), "changed": changed}

    # Calls

    async def list_calls(self, caller: Caller, query: CallQuery) -> dict[str, Any]:
        """Those of all callers for who operates, else the caller's own."""
        require(caller, Right.READ)
        try:
            page = await self._store.calls(_narrowed(caller, query))
        except CursorError as problem:
            raise GatewayError(Kind.INVALID, str(problem)) from None
        return {"calls": page.rows, "cursor": page.cursor}

    async def export_calls(
        self, caller: Caller, query: CallQuery, limit: int | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """All that match, or the newest `limit` of them, newest first, some at a time.

        What begins meanwhile is not in it. Leaving the iterator ends the reading.
        """
        require(caller, Right.READ)
        query = _narrowed(caller, query)
        left = limit
        while left is None or left > 0:
            count = EXPORT_ROWS if left is None else min(left, EXPORT_ROWS)
            page = await self._store.calls(replace(query, limit=count))
            yield page.rows
            if page.cursor is None:
                return
            query = replace(query, cursor=page.cursor)
            left = None if left is None else left - len(page.rows)

    async def stats(self, caller: Caller, query: StatsQuery) -> dict[str, Any]:
        """Numbers of calls over time: of all callers for who operates, else of the caller's own.

        By server, they are of the servers that the caller sees. See `Statistics.of`.
        """
        require(caller, Right.READ)
        query = _narrowed(caller, query)
        if query.by is not None:
            seen = tuple(up.id for up in self.servers.all() if sees_server(caller, up.id))
            query = replace(query, servers=seen)
        return await self._statistics.of(query)

    def open_call(self, request: Request) -> Call:
        """See `Calls.open`."""
        return self.calls.open(request)

    def server_of_task(self, caller: Caller, task_id: str) -> str:
        """See `Tasks.server_of`; of all servers."""
        return self.calls.tasks.server_of(caller.id, (up.id for up in self.servers.all()), task_id)

    def refuse_call(
        self,
        caller: Caller,
        face: str,
        server: str,
        tool: str,
        request_bytes: int,
        problem: GatewayError,
        **asked: str,
    ) -> None:
        """See `Calls.refuse`; `asked` are `method` and `target` of what is no call of a tool."""
        self.calls.refuse(caller, face, server, tool, request_bytes, problem, **asked)

    def keep_call(self, call: Call) -> None:
        """See `Calls.keep`."""
        self.calls.keep(call)

    def find_call(self, caller: Caller, text: str) -> Call | None:
        """The caller's own running or kept call, or None."""
        call_id = parse_call_id(text)
        return None if call_id is None else self.calls.find(caller, call_id)

    def list_running(self, caller: Caller, limit: int) -> dict[str, Any]:
        """Calls under way, the longest first: everybody's for who operates, else the caller's own.

        `{"calls": at most `limit` of them, "count": how many there are}`.
        """
        require(caller, Right.READ, Right.CALL)
        running = list(self.calls.running.values())
        if not _operates(caller):
            running = [call for call in running if call.caller.id == caller.id]
        return {"calls": [facts_of(call.record) for call in running[:limit]], "count": len(running)}

    async def show_call(self, caller: Caller, text: str) -> dict[str, Any]:
        """The record of a call.

        Raises:
            GatewayError: `unknown`.
        """
        require(caller, Right.READ, Right.CALL)
        call_id = parse_call_id(text)
        if call_id is not None:
            running = self.calls.running.get(call_id)
            row = await self._store.call(call_id) if running is None else facts_of(running.record)
            if row is not None and (_operates(caller) or row["caller"] == caller.id):
                return row
        raise GatewayError(Kind.UNKNOWN, "There is no such call")

    async def show_payloads(self, caller: Caller, text: str) -> dict[str, Any]:
        """What was said in a call, as far as it is kept and this caller may read it.

        `request` and `response`, each `{"bytes", "truncated", "text"}` or None.
        """
        require(caller, Right.READ, Right.CALL)
        call_id = parse_call_id(text)
        if call_id is None:
            return NOTHING
        running = self.calls.running.get(call_id)
        kept = self.payloads.find(call_id)
        if kept is None and running is not None:
            forwarded = running.exchange.forwarded
            kept = Payload(running.record, running.upstream.logs, None, None, forwarded)
        if kept is not None:
            owner, server, shown = kept.caller, kept.server, kept.shown
        else:
            captured = await self._store.captured(call_id)
            if captured is None:
                return NOTHING
            owner, server, shown = captured.caller, captured.server, lambda: captured.document
        is_theirs = owner == caller.id or _operates(caller)
        return shown() if is_theirs and not self.payloads.is_off(server) else NOTHING

    def _payload_mode(self, server: str) -> PayloadMode:
        """Asked at every call, since the configuration may change meanwhile."""
        declared = self.config.servers.get(server) or self._removed.get(server)
        return (declared and declared.payloads) or self.config.gateway.activity.payloads

    async def cancel_call(self, caller: Caller, text: str) -> dict[str, Any]:
        """Cancels a running call of the caller, or anybody's with the right to operate."""
        call_id = parse_call_id(text)
        call = None if call_id is None else self.calls.running.get(call_id)
        if call is not None and (call.caller.id == caller.id or _operates(caller)):
            if call.caller.id != caller.id:
                self.actions.note(caller, Right.OPERATE, "call.cancel", detail=text)
            call.cancel("cancelled by request")
            return facts_of(call.record)
        return await self.show_call(caller, text)

    def speaks(self, server: str, era: Era) -> bool:
        """Whether a server is known to speak an era, or has not said yet."""
        upstream = self.servers.get(server)
        return upstream is None or upstream.opened is None or era in upstream.opened.eras

    # Sessions of faces

    def look_at(self, caller: Caller, server: str, client: Client) -> None:
        """A client that can be asked has come for this one server; see `Links.look`."""
        if not self.is_stopping:
            self.servers.links.look(self._upstream(caller, server), client)

    def tell_servers(self, client: Client, method: str, params: Params, server: str | None) -> None:
        """Passes a notification of a client on; see `Links.tell`."""
        self.servers.links.tell(client.session, method, params, server)

    def end_session(self, session: str) -> None:
        """What was opened for a session goes with it."""
        self.servers.links.end_of(session)

    # Artifacts

    def list_artifacts(self, caller: Caller) -> list[Artifact]:
        """The caller's own, oldest first."""
        require(caller, Right.CALL)
        return self.artifacts.of(caller.id)

    def read_artifact(self, caller: Caller, artifact_id: str, server: str | None = None) -> Reading:
        """Opens the caller's own artifact, of one server or of any; to be closed by who asked.

        Raises:
            GatewayError: `unknown`, in the same words whether it was never there, is gone or is another's.
        """
        require(caller, Right.CALL)
        reading = self.artifacts.read(caller.id, artifact_id, server)
        if reading is None:
            detail = (
                "There is no such artifact: large results are kept for an hour at most, each for its caller"
            )
            raise GatewayError(Kind.UNKNOWN, detail)
        return reading

    # Feeds and the end

    def open_feed(
        self, caller: Caller, kinds: frozenset[str] | None = None, *, is_lossy: bool = False
    ) -> Feed:
        """What changes, as far as the caller may know; see `Feed`.

        Raises:
            GatewayError: `busy` when there are too many.
        """
        require(caller, Right.READ, Right.CALL, Right.OPERATE)
        shown = None if _operates(caller) else self._shown_to(caller)
        feed = self.events.open_feed(kinds, caller.id, shown, is_lossy=is_lossy)
        if feed is None:
            raise GatewayError(Kind.BUSY, "Too many live feeds are open", retry_after_s=5.0)
        return feed

    def open_listener(
        self, caller: Caller, server: str | None, *, session: str = "", is_stream: bool = False
    ) -> Listener:
        """Somebody who is told what changes at one server, or at all that the caller sees; to be closed.

        `session` is what the client of its calls has as such.

        Raises:
            GatewayError: `busy` when there are too many.
        """
        require(caller, Right.READ, Right.CALL, Right.OPERATE)
        return self.subscriptions.open(caller, server, session=session, is_stream=is_stream)

    async def subscribe(
        self, listener: Listener, server: str, uri: str, said: str, limit_s: float = ACCEPT_S
    ) -> None:
        """See `Subscriptions.subscribe`."""
        if self.is_stopping:
            raise stopping("it takes no more subscriptions")
        await self.subscriptions.subscribe(listener, server, uri, said, limit_s)

    def unsubscribe(self, listener: Listener, server: str, uri: str) -> None:
        """See `Subscriptions.unsubscribe`."""
        self.subscriptions.unsubscribe(listener, server, uri)

    def _shown_to(self, caller: Caller) -> Shown:
        """What of a change is for a caller who does not operate everything."""

        def shown(kind: str, facts: dict[str, Any]) -> dict[str, Any] | None:
            if kind == "server" and sees_server(caller, facts["id"]):
                return _trimmed(caller, facts, self.catalog(caller))
            is_theirs = kind == "call" and facts["caller"] == caller.id
            return facts if is_theirs or kind in LISTS else None

        return shown

    def close_feed(self, feed: Feed) -> None:
        self.events.close_feed(feed)


def _operates(caller: Caller) -> bool:
    """Whether the calls of everybody are the caller's business."""
    return Right.OPERATE in caller.everywhere


def _narrowed(caller: Caller, query: _Query) -> _Query:
    return query if _operates(caller) else replace(query, only=caller.id)


def _told(entries: Sequence[Entry]) -> str:
    """Which tools, in a line of the activity: the one, or how many of which servers."""
    if len(entries) == 1:
        return f"{entries[0].server}/{entries[0].tool}"
    servers = ", ".join(dict.fromkeys(entry.server for entry in entries))
    return f"{len(entries)} tools of {servers}:"


# What a server writes to stderr may be about anybody's calls; the process is its operator's business.
_FOR_OPERATORS: Final = frozenset({"stderr", "pid", "exit", "successor", "links", "usage"})


def _trimmed(caller: Caller, view: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    """A server as a caller may see it; `catalog` is what they see of the tools."""
    if _operates(caller):
        return view
    server = view["id"]
    theirs = {"tools": len(catalog.by_server.get(server, ())), "toolTokens": catalog.tokens(server)}
    if has_whole_server(caller, Right.OPERATE, server):
        return view | theirs
    return {key: value for key, value in view.items() if key not in _FOR_OPERATORS} | theirs


class _Eras:
    """The memory of eras without its troubles: a full disk must not keep a server from starting."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def eras(self, fingerprint: str) -> frozenset[str] | None:
        return self._store.eras(fingerprint)

    async def remember_eras(self, fingerprint: str, eras: frozenset[str]) -> None:
        try:
            await self._store.remember_eras(fingerprint, eras)
        except StoreError as problem:
            logger.warning("what a server speaks could not be remembered: %s", problem)

    async def forget_eras(self, fingerprint: str) -> None:
        try:
            await self._store.forget_eras(fingerprint)
        except StoreError as problem:
            logger.warning("what a server speaks could not be forgotten: %s", problem)
