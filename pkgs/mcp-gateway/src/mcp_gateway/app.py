"""The composition: what one run of the gateway is made of, in which order it starts and ends.

    config -> store, nursery -> gateway -> faces -> web server, over a port that is bound already

Nothing is spawned before the port answers. On the way out: feeds end, answers under way finish,
servers stop, records are written.
"""

import asyncio
import contextlib
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import uvicorn

from mcp_gateway.clock import now_s
from mcp_gateway.config.model import Config
from mcp_gateway.faces.asgi import Application
from mcp_gateway.faces.connection import Connection
from mcp_gateway.gateway import Gateway
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery

# Answers under way may finish; open streams have been told to end before.
GRACE_S: Final = 5
END_CALLS_S: Final = 4.5  # calls that are still running then are ended with an answer, while one can be sent
KEEP_ALIVE_S: Final = 75  # longer than the pools of common clients keep a connection, so they close it
CHECK_EVERY_S: Final = 1.0  # connections that do not move


async def run(
    settings: Config,
    store: Store,
    bound: socket.socket,
    state_dir: Path,
    environment: Mapping[str, str],
    announce: Callable[[], None],
) -> None:
    """Serves until SIGINT or SIGTERM; a second signal does not wait for anybody.

    `announce` is called when the port answers.
    """
    nursery = Nursery(_instance(state_dir), environment)
    gateway = Gateway(settings, store, nursery, environment)
    server = _Server(gateway, nursery, state_dir, announce)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.asked_to_stop)
    try:
        await server.serve(sockets=[bound])
    finally:
        try:
            await gateway.stop()
        finally:
            await store.close()


class _Server(uvicorn.Server):
    """uvicorn, with the gateway started behind the open port and everything ended in our order."""

    def __init__(
        self, gateway: Gateway, nursery: Nursery, state_dir: Path, announce: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                Application(gateway),
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # a forwarded header never changes who is asking
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=GRACE_S,
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self._gateway = gateway
        self._nursery = nursery
        self._state_dir = state_dir
        self._announce = announce
        self._checked_at = now_s()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()
        await self._gateway.start(self._state_dir / "spool", self._state_dir / "artifacts")

    async def on_tick(self, counter: int) -> bool:
        self._check_connections()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.end_feeds()
        ending = asyncio.get_running_loop().call_later(END_CALLS_S, self._gateway.end_calls)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    def _check_connections(self) -> None:
        now = now_s()
        if now - self._checked_at >= CHECK_EVERY_S:
            self._checked_at = now
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `run`'s, to the end of the shutdown; a stop that was asked for is a success."""
        yield

    def asked_to_stop(self) -> None:
        """The first time politely; the second time connections and servers are cut off."""
        if self.should_exit:
            self.force_exit = True
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.abort()
            self._nursery.kill_all()
        self.should_exit = True


def _instance(state_dir: Path) -> str:
    """The name of this state directory in the environment of everything that is started from it."""
    path = state_dir / "instance"
    with contextlib.suppress(FileNotFoundError):
        name = path.read_text().strip()
        if name.isalnum():
            return name
    name = secrets.token_hex(8)
    path.write_text(name + "\n")
    return name
