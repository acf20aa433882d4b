"""`serve`: the start-up order, top to bottom: read the configuration, bind the port, take the state
directory, then let the servers come up behind the open port. Exit codes: 0 stopped as asked, 1 could
not start, 2 the configuration or the command line is wrong, 128 and a number: cut short by a second signal.
"""

import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import click

from mcp_gateway.cli.options import HOST_NAME, PORT_NAME
from mcp_gateway.cli.unix_socket import CannotListen, listening_at
from mcp_gateway.config import load
from mcp_gateway.config.model import Config, ConfigError, is_loopback

CANNOT_START: Final = 1
UNUSABLE: Final = 2  # also click's own for a wrong option
_BACKLOG: Final = 2_048


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
@click.option("--host", help="Address to bind; beyond loopback everybody needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to bind; 0 takes a free one.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where switches and activity are kept.")
def serve(config: Path | None, host: str | None, port: int | None, state_dir: Path | None) -> None:
    """Run the gateway."""
    env = load.environment()
    settings = _settings(config, env)
    _log_to_stderr(settings.gateway.log_format)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    if settings.path is None:
        click.echo(
            "No configuration file: starting without servers. Add servers under `mcpServers` in "
            f"{load.usual_config(env) or 'a JSON file'}, or name a file with --config, and start again.",
            err=True,
        )
    where, state = _host(host, env, settings), load.state_dir(state_dir, env)
    if not is_loopback(where):
        _require_a_way_in(where, settings, state)
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(_bind(where, _port(port, env, settings)))]
        if settings.gateway.socket is not None:
            try:
                bound.append(stack.enter_context(listening_at(Path(settings.gateway.socket))))
            except CannotListen as problem:
                _stop(CANNOT_START, f"{problem}")
        sys.exit(_serve(settings, bound, state, env))


def _settings(explicit: Path | None, env: Mapping[str, str]) -> Config:
    path = load.find_config(explicit, env)
    try:
        return load.empty(env) if path is None else load.load(path, env)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(UNUSABLE)


def _host(explicit: str | None, env: Mapping[str, str], settings: Config) -> str:
    host = explicit or env.get("MCP_GATEWAY_HOST") or settings.gateway.host
    if settings.gateway.tailscale.identity and not is_loopback(host):
        _stop(
            UNUSABLE,
            f"{host} is not a loopback address, so `tailscale.identity` proves nothing: "
            "bind 127.0.0.1 and let `tailscale serve` stand in front.",
        )
    return "127.0.0.1" if host == "localhost" else host


def _port(explicit: int | None, env: Mapping[str, str], settings: Config) -> int:
    if explicit is not None:
        return explicit
    text = env.get("MCP_GATEWAY_PORT")
    if not text:
        return settings.gateway.port
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        _stop(UNUSABLE, f"MCP_GATEWAY_PORT: {text!r} is not a port.")
    return int(text)


def _bind(host: str, port: int) -> socket.socket:
    """The listening socket; taken before anything is spawned and before any state is touched."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as problem:
        bound.close()
        _stop(CANNOT_START, f"Cannot listen on {host} port {port}: {problem.strerror}.")
    return bound


def _serve(settings: Config, bound: list[socket.socket], state_dir: Path, env: Mapping[str, str]) -> int:
    # Imported here: `check` and `--help` need no web server.
    import uvloop

    from mcp_gateway.app import run
    from mcp_gateway.gateway.console import FILE_NAME as CODE_NAME
    from mcp_gateway.gateway.console import write_private
    from mcp_gateway.store import Store, StoreError

    try:
        keep = settings.gateway.activity.keep
        store = Store.open(state_dir, keep_days=keep.days, max_rows=keep.rows)
    except StoreError as problem:
        _stop(CANNOT_START, f"{problem}")
    if store.notice:
        click.echo(f"warning: {store.notice}", err=True)
    # That of an earlier life: who reads a port here sends the one-time code to whatever answers at it.
    (state_dir / PORT_NAME).unlink(missing_ok=True)

    def announce(code: str) -> None:
        host, port = bound[0].getsockname()[:2]
        write_private(state_dir / HOST_NAME, host)
        write_private(state_dir / PORT_NAME, str(port))
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"Open http://{shown}:{port}")
        click.echo(f"One-time code for administration: {code} (also in {state_dir / CODE_NAME})")
        if settings.gateway.socket is not None:
            click.echo(f"Listening on the socket {settings.gateway.socket} as well")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(settings, store, bound, state_dir, env, announce))


def _require_a_way_in(host: str, settings: Config, state_dir: Path) -> None:
    """Beyond loopback somebody must be able to say who they are: else nobody gets in, or everybody does."""
    from mcp_gateway.gateway.keys import declared
    from mcp_gateway.store import StoreError, has_keys

    auth = settings.gateway.auth
    if declared(settings) or auth.password or settings.gateway.trusted_proxy:
        return
    try:
        if has_keys(state_dir):
            return
    except StoreError as problem:
        _stop(CANNOT_START, f"{problem}")
    _stop(
        UNUSABLE,
        f"{host} is not a loopback address, and there is no way to tell who is asking. Make an API key first "
        "(mcp-gateway keys create NAME), declare one or a password under `gateway.auth`, or bind 127.0.0.1.",
    )


def _log_to_stderr(log_format: str) -> None:
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for library in ("uvicorn", "watchfiles"):  # what they do is told in our words
        logging.getLogger(library).setLevel(logging.WARNING)


class _JsonLines(logging.Formatter):
    """One JSON object a line: `at` (seconds since 1970), `level`, `name`, `text`."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        facts = {"at": record.created, "level": record.levelname, "name": record.name, "text": text}
        return json.dumps(facts)


def _stop(code: int, sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(code)
