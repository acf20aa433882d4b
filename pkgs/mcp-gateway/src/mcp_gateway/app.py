"""The composition: what one run of the gateway is made of, in which order it starts and ends.

    config -> store, nursery -> gateway -> faces -> web server, over a port that is bound already

Nothing is spawned before the port answers. On the way out: feeds end, answers under way finish,
servers stop, records are written.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import uvicorn

from mcp_gateway.config.model import Config
from mcp_gateway.faces.asgi import Application
from mcp_gateway.gateway import Gateway
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery

# Answers under way may finish; open streams have been told to end before.
GRACE_S: Final = 5
KEEP_ALIVE_S: Final = 75  # longer than the pools of common clients keep a connection, so they close it

logger = logging.getLogger(__name__)


async def run(
    settings: Config, store: Store, bound: socket.socket, state_dir: Path, environment: Mapping[str, str]
) -> None:
    """Serves until SIGINT or SIGTERM; a second signal does not wait for anybody."""
    nursery = Nursery(_instance(state_dir), environment)
    gateway = Gateway(settings, store, nursery, environment)
    spool_dir = state_dir / "spool"
    spool_dir.mkdir(mode=0o700, exist_ok=True)
    server = _Server(
        uvicorn.Config(
            Application(gateway),
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a forwarded header never changes who is asking
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=KEEP_ALIVE_S,
        ),
        gateway,
        spool_dir,
    )
    try:
        await server.serve(sockets=[bound])
    finally:
        await gateway.stop()
        await store.close()


class _Server(uvicorn.Server):
    """uvicorn, with the gateway started behind the open port and streams ended before it waits."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, spool_dir: Path) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._spool_dir = spool_dir

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._gateway.start(self._spool_dir)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.events.end()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own, does not raise the signal again: a stop that was asked for is a success."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop)
        yield
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    def _asked_to_stop(self) -> None:
        if self.should_exit:
            self.force_exit = True
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
