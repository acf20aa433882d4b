"""All that a face may ask for, and nothing of how it travels: the facade over servers and calls.

    servers   wanted state -> running upstreams, and the catalog of their tools
    calls     the one path of a call
    events    bounded fan-out of what changes

Every face goes through `Gateway`, so what one can do, each can do, by the same rules.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require
from mcp_gateway.catalog import Catalog, Entry
from mcp_gateway.config.model import Config, ServerConfig
from mcp_gateway.config.secrets import Resolved, SecretError, resolve
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.calls import Call, Calls, Request, facts_of, unknown_server, unknown_tool
from mcp_gateway.gateway.events import Events, Feed
from mcp_gateway.gateway.servers import Servers
from mcp_gateway.store import Store
from mcp_gateway.store.calls import CallQuery, call_id_text, parse_call_id
from mcp_gateway.upstream.exchange import Mailbox
from mcp_gateway.upstream.logring import LogRing
from mcp_gateway.upstream.process import Nursery
from mcp_gateway.upstream.upstream import Surroundings, Unresolvable, Upstream
from mcp_gateway.version import CLIENT_INFO

__all__ = ["Call", "CallQuery", "Gateway", "Mailbox", "Request", "call_id_text", "facts_of"]


class Gateway:
    """One per process. Made by `app.py`, started once the port is bound."""

    def __init__(
        self, config: Config, store: Store, nursery: Nursery, environment: Mapping[str, str]
    ) -> None:
        self._environment = environment
        self._store = store
        self._nursery = nursery
        self.config = config
        self.events = Events()
        self.servers = Servers(config.servers.values(), store, self.events)
        self.calls = Calls(self.servers, store, self.events)

    async def start(self, spool_dir: Path) -> None:
        """Brings up the guardian, then every enabled server in parallel; returns before they are ready."""
        self.servers.prepare(
            Surroundings(
                self._nursery, self._resolve, self._store, spool_dir, CLIENT_INFO, self.servers.changed
            )
        )
        await self._nursery.start()
        self.servers.start()

    async def stop(self) -> None:
        """Ends feeds and servers; calls still running get `unavailable` or `lost`."""
        self.events.end()
        await self.servers.stop()
        self._nursery.close()

    async def _resolve(self, server: ServerConfig) -> Resolved:
        try:
            return await resolve(server, self._environment)
        except SecretError as problem:
            raise Unresolvable(str(problem)) from None

    # Servers

    def list_servers(self, caller: Caller) -> list[dict[str, Any]]:
        require(caller, Right.READ)
        return [self.servers.view(upstream) for upstream in self.servers.all()]

    def show_server(self, caller: Caller, server: str) -> dict[str, Any]:
        require(caller, Right.READ)
        return self.servers.view(self._upstream(server))

    def states(self) -> dict[str, int]:
        """How many servers are in which state."""
        counts: dict[str, int] = {}
        for upstream in self.servers.all():
            counts[upstream.life.state.value] = counts.get(upstream.life.state.value, 0) + 1
        return counts

    async def switch_server(self, caller: Caller, server: str, enabled: bool | None) -> dict[str, Any]:
        require(caller, Right.OPERATE)
        upstream = self._upstream(server)
        await self.servers.switch(upstream, enabled)
        return self.servers.view(upstream)

    def restart_server(self, caller: Caller, server: str) -> dict[str, Any]:
        require(caller, Right.OPERATE)
        upstream = self._upstream(server)
        self.servers.restart(upstream)
        return self.servers.view(upstream)

    def logs(self, caller: Caller, server: str) -> LogRing:
        require(caller, Right.READ)
        return self._upstream(server).logs

    def _upstream(self, server: str) -> Upstream:
        upstream = self.servers.get(server)
        if upstream is None:
            raise unknown_server(server)
        return upstream

    # Tools

    def catalog(self, caller: Caller) -> Catalog:
        require(caller, Right.READ)
        return self.servers.catalog

    def show_tool(self, caller: Caller, server: str, tool: str) -> Entry:
        require(caller, Right.READ)
        self._upstream(server)
        entry = self.servers.catalog.by_server.get(server, {}).get(tool)
        if entry is None:
            raise unknown_tool(server, tool)
        return entry

    async def switch_tool(self, caller: Caller, server: str, tool: str, enabled: bool) -> Entry:
        require(caller, Right.OPERATE)
        self.show_tool(caller, server, tool)
        await self.servers.switch_tool(server, tool, enabled)
        return self.show_tool(caller, server, tool)

    # Calls

    async def list_calls(self, caller: Caller, query: CallQuery) -> dict[str, Any]:
        require(caller, Right.READ)
        page = await self._store.calls(query)
        return {"calls": page.rows, "cursor": page.cursor}

    def open_call(self, request: Request) -> Call:
        """See `Calls.open`."""
        return self.calls.open(request)

    def find_call(self, caller: Caller, text: str) -> Call | None:
        """The caller's own running or kept call, or None."""
        call_id = parse_call_id(text)
        return None if call_id is None else self.calls.find(caller, call_id)

    async def show_call(self, caller: Caller, text: str) -> dict[str, Any]:
        """The record of a call.

        Raises:
            GatewayError: `unknown`.
        """
        require(caller, Right.READ)
        call_id = parse_call_id(text)
        if call_id is not None:
            running = self.calls.running.get(call_id)
            if running is not None:
                return facts_of(running.record)
            row = await self._store.call(call_id)
            if row is not None:
                return row
        raise GatewayError(Kind.UNKNOWN, "There is no such call")

    async def cancel_call(self, caller: Caller, text: str) -> dict[str, Any]:
        """Cancels a running call of the caller, or anybody's with the right to operate."""
        call_id = parse_call_id(text)
        call = None if call_id is None else self.calls.running.get(call_id)
        if call is not None and (call.caller.id == caller.id or Right.OPERATE in caller.rights):
            call.cancel("cancelled by request")
            return facts_of(call.record)
        return await self.show_call(caller, text)

    def open_feed(self, caller: Caller, kinds: frozenset[str] | None = None) -> Feed:
        require(caller, Right.READ)
        feed = self.events.open_feed(kinds)
        if feed is None:
            raise GatewayError(Kind.BUSY, "Too many live feeds are open", retry_after_s=5.0)
        return feed
