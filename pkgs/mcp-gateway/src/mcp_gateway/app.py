"""The composition: what one run of the gateway is made of, in which order it starts and ends.

    config -> store, nursery -> gateway -> faces -> web server, over a port that is bound already

Nothing is spawned before the port answers. On the way out (decision 19): new calls are refused and
feeds end; calls under way finish behind the open port; what is left is ended with an answer; the port
closes while the servers stop; records are written.
"""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from mcp_gateway.clock import now_s
from mcp_gateway.config.model import Config
from mcp_gateway.faces.asgi import Application
from mcp_gateway.faces.connection import READ_S, Connection
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.exposure import Listening
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery

# With what follows it, at most 8 s for the servers and 2 s for the guardian, a stop takes 30 s.
DRAIN_S: Final = 20.0  # for calls under way and the reading of their answers (faults.md 2.2)
ANSWERS_S: Final = 5.0  # for the last answers, once no call runs; and for a reader that takes nothing
HURRY_S: Final = 0.05  # a stop that shall not wait kills again: a server may have been about to start
# Longer than the pools of common clients and of tailscaled (90 s) keep a connection, so that they close it:
# a POST on one that we are closing is lost.
KEEP_ALIVE_S: Final = 100
GC_THRESHOLDS: Final = (20_000, 20, 20)  # objects of some ten megabytes at most between two looks
CHECK_EVERY_S: Final = 1.0  # connections that do not move

# What is a document says more (`faces/ui/render.py`); each line here costs every call a microsecond.
ON_EVERY_ANSWER: Final = [("x-content-type-options", "nosniff")]

logger = logging.getLogger(__name__)


async def run(
    settings: Config,
    store: Store,
    bound: list[socket.socket],
    state_dir: Path,
    environment: Mapping[str, str],
    announce: Callable[[str], None],
) -> int:
    """Serves what listens until SIGINT or SIGTERM; a second signal does not wait for anybody. SIGHUP reloads.

    `announce` is called with the one-time code when the port answers. Answers the exit code: 0, or 128 and
    the number of the second signal, which is how a shell says that something was cut short.
    """
    nursery = Nursery(_instance(state_dir), environment)
    gateway = Gateway(settings, store, nursery, environment, state_dir, listening=_listening(bound))
    gateway.console.prepare()
    server = _Server(gateway, nursery, state_dir, announce)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, partial(server.asked_to_stop, number))
    _on_hang_up(loop, gateway.reload_soon, partial(server.asked_to_stop, signal.SIGHUP))
    try:
        await server.serve(sockets=bound)
    finally:
        try:
            await gateway.stop()
        finally:
            await store.close()
    return server.exit_code


def _listening(bound: list[socket.socket]) -> Listening:
    """The port comes first, and behind it the unix socket if there is one."""
    address, port = bound[0].getsockname()[:2]
    return Listening(address, port, bound[1].getsockname() if len(bound) > 1 else None)


class _Server(uvicorn.Server):
    """uvicorn, with the gateway started behind the open port and everything ended in our order."""

    def __init__(
        self, gateway: Gateway, nursery: Nursery, state_dir: Path, announce: Callable[[str], None]
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
                headers=ON_EVERY_ANSWER,
                date_header=False,
                # Connections have been cut by then: only for what would hang for another reason.
                timeout_graceful_shutdown=int(ANSWERS_S) + 1,
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self._gateway = gateway
        self._nursery = nursery
        self._state_dir = state_dir
        self._announce = announce
        self._checked_at = now_s()
        self._drained_by: float | None = None  # set by the first signal
        self._hurrying: asyncio.Future[None] | None = None
        self.exit_code = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce(self._gateway.console.code)
        # What was imported stays for good; without this every full collection looks through it, which
        # stops all callers for 40 ms about once a second under load. A call leaves no cycles behind, so
        # looking for some at every 700 objects is work for nothing.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await self._gateway.start(self._state_dir / "spool", self._state_dir / "artifacts")

    async def on_tick(self, counter: int) -> bool:
        self._check_connections()
        if self._drained_by is not None and (now_s() >= self._drained_by or self._is_drained()):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what still runs and closes the port; the last answers go out while the servers stop."""
        self._end_calls()
        cutting = asyncio.get_running_loop().call_later(ANSWERS_S, self._cut_connections)
        try:
            await asyncio.gather(super().shutdown(sockets), self._gateway.servers.stop())
        finally:
            cutting.cancel()
            self._cut_connections()

    def _end_calls(self) -> None:
        unfinished = self._gateway.running_calls
        if unfinished:
            logger.warning("calls that were ended unfinished: %d", unfinished)
        self._gateway.end_calls()

    def _is_drained(self) -> bool:
        """Whether no call runs and no answer is being read; a call is under way until then."""
        return not self._gateway.running_calls and not any(
            isinstance(connection, Connection) and connection.is_answering
            for connection in self.server_state.connections
        )

    def _check_connections(self) -> None:
        now = now_s()
        if now - self._checked_at >= CHECK_EVERY_S:
            self._checked_at = now
            read_s = READ_S if self._drained_by is None else ANSWERS_S
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now, read_s)

    def _cut_connections(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `run`'s, to the end of the shutdown; a stop that was asked for is a success."""
        yield

    def asked_to_stop(self, number: signal.Signals) -> None:
        """The first time politely; the second time nobody is waited for."""
        if self._drained_by is None:
            self._drain(number)
        elif not self.exit_code:
            self.exit_code = 128 + number
            self._end_calls()
            self.should_exit = self.force_exit = True
            # Told first, so that their end is no failure that somebody has to explain.
            self._hurrying = asyncio.ensure_future(self._gateway.servers.stop())
            asyncio.get_running_loop().call_later(HURRY_S, self._kill)

    def _drain(self, number: signal.Signals) -> None:
        """New calls are refused and feeds end; the port stays open for probes and for who comes to ask."""
        self._drained_by = now_s() + DRAIN_S
        self._gateway.end_feeds()
        running = self._gateway.running_calls
        again = "Ctrl-C again" if number is signal.SIGINT else "a second signal"
        if running:
            finishing = "1 call is finishing" if running == 1 else f"{running} calls are finishing"
            logger.info("stopping: %s, for %g s at most; %s to stop now", finishing, DRAIN_S, again)
        else:
            logger.info("stopping")

    def _kill(self) -> None:
        self._nursery.kill_all()
        asyncio.get_running_loop().call_later(HURRY_S, self._kill)


def _on_hang_up(
    loop: asyncio.AbstractEventLoop, reload: Callable[[], None], stop: Callable[[], None]
) -> None:
    """SIGHUP is a request to reload, unless it says what it was made for: that the terminal went away.

    Somebody who closes the window of a running gateway means its end; `nohup` says that it is not.
    """
    had_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()

    stops = False

    def hung_up() -> None:
        nonlocal stops
        if not (had_terminal and not _has_terminal()):
            reload()
        elif not stops:  # a shell and the system may both tell; nobody asks to hurry
            stops = True
            stop()

    loop.add_signal_handler(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


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
