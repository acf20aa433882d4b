"""Turns one server's configuration into what its process or connection gets, at the moment it starts.

With `upstream/process.py` the only place that starts a program, here the one that prints a secret.
Values live in `Resolved` and nowhere else: no message, `repr` or log of this file holds one, only the
name of the variable, file, credential or program. Called by the upstream that is about to start.
"""

import asyncio
import os
import signal
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from mcp_gateway.config import variables
from mcp_gateway.config.aside import aside
from mcp_gateway.config.model import SecretRef, ServerConfig

SECRET_BYTES_MAX = 64 << 10  # keys and certificates; more is a file that was named by mistake
COMMAND_TIMEOUT_S = 10.0  # a password manager over the network; one that asks a person never ends
DRAIN_S = 0.5  # the program has ended, what it wrote is in the pipe; something it started may hold the pipe
REAP_S = 1.0  # SIGKILL to exit


class SecretError(Exception):
    """A server cannot start, because a value it needs cannot be had; the message holds no value."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one server gets, with all values in place; `command` is empty for a remote server."""

    command: str
    args: tuple[str, ...] = field(repr=False)
    env: dict[str, str] = field(repr=False)  # the configured ones only
    cwd: str | None
    url: str | None = field(repr=False)
    headers: dict[str, str] = field(repr=False)


async def resolve(server: ServerConfig, env: Mapping[str, str]) -> Resolved:
    """The server's configuration with variables expanded and secrets fetched.

    Raises: SecretError naming what is missing, never a value.
    """
    return Resolved(
        command=_expanded("command", server.command, env) or "",
        args=tuple(_expand(f"args[{index}]", text, env) for index, text in enumerate(server.args)),
        env={name: await _value(f"env.{name}", value, env) for name, value in server.env.items()},
        cwd=at_home(cwd, env) if (cwd := _expanded("cwd", server.cwd, env)) else None,
        url=_expanded("url", server.url, env),
        headers={
            name: _one_line(f"headers.{name}", await _value(f"headers.{name}", value, env))
            for name, value in server.headers.items()
        },
    )


def _expand(place: str, text: str, env: Mapping[str, str]) -> str:
    try:
        return variables.expand(text, env)
    except KeyError as missing:
        raise SecretError(f"{place}: variable {missing.args[0]} is not set") from None


def _expanded(place: str, text: str | None, env: Mapping[str, str]) -> str | None:
    """A text the server cannot do without, if it was configured at all."""
    if text is None:
        return None
    if not (expanded := _expand(place, text, env)):
        raise SecretError(f"{place}: is empty once its variables are filled in")
    return expanded


def at_home(path: str, env: Mapping[str, str]) -> str:
    """The path with the home directory where it begins with `~/`."""
    if path.startswith("~/"):
        path = env.get("HOME", "") + path[1:]
    return path


def _one_line(place: str, value: str) -> str:
    if "\r" in value or "\n" in value:
        raise SecretError(f"{place}: has a line break, which no header can carry")
    return value


async def _value(place: str, value: str | SecretRef, env: Mapping[str, str]) -> str:
    if isinstance(value, str):
        return _expand(place, value, env)
    if value.file is not None:
        path = Path(at_home(_expand(f"{place}.file", value.file, env), env))
        secret = await _read_aside(place, f"file {path}", path)
    elif value.credential is not None:
        if not (folder := env.get("CREDENTIALS_DIRECTORY")):
            raise SecretError(
                f"{place}: credential {value.credential}: systemd passed no credentials to the gateway"
            )
        path = Path(folder, value.credential)
        secret = await _read_aside(place, f"credential {value.credential}", path)
    else:
        assert value.command, "the model lets no other reference through"
        secret = await _run(place, value.command, env)
    return secret


def read_file(place: str, path: str, env: Mapping[str, str]) -> str:
    """The text of a file that the gateway itself needs; blocks.

    Raises: SecretError.
    """
    path = at_home(_expand(place, path, env), env)
    return _read(place, f"file {path}", Path(path))


async def _read_aside(place: str, what: str, path: Path) -> str:
    try:
        return await aside(partial(_read, place, what, path), COMMAND_TIMEOUT_S)
    except TimeoutError:
        raise SecretError(f"{place}: {what} could not be read within {COMMAND_TIMEOUT_S:.0f} s") from None


def _read(place: str, what: str, path: Path) -> str:
    try:
        # Not blocking: a FIFO would hold the start up until somebody writes.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SecretError(f"{place}: {what} is not a file")
            raw = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SecretError(f"{place}: {what} cannot be read: {os.strerror(error.errno or 0)}") from None
    return _text(place, what, raw)


def _text(place: str, what: str, raw: bytes) -> str:
    """The secret in the bytes: all of it but the line end that editors and `echo` put there."""
    if len(raw) > SECRET_BYTES_MAX:
        raise SecretError(f"{place}: {what} holds more than {SECRET_BYTES_MAX >> 10} KiB")
    raw = raw.removesuffix(b"\r\n") if raw.endswith(b"\r\n") else raw.removesuffix(b"\n")
    if not raw:
        raise SecretError(f"{place}: {what} holds nothing")
    try:
        secret = raw.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{place}: {what} is not UTF-8 text") from None  # the cause would quote the bytes
    if "\0" in secret:
        raise SecretError(f"{place}: {what} holds a NUL character")
    return secret


class _Output(asyncio.SubprocessProtocol):
    """Collects what a program prints, and tells its exit apart from the end of its output.

    A helper it leaves behind may hold the pipe open; waiting for both would wait for the helper.
    """

    def __init__(self) -> None:
        self.printed = bytearray()
        self.ended = asyncio.Event()
        self.exited = asyncio.Event()

    @property
    def is_too_much(self) -> bool:
        return len(self.printed) > SECRET_BYTES_MAX

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What subprocess_exec makes; uvloop's has the methods but not the base class.
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.printed += data[: SECRET_BYTES_MAX + 1 - len(self.printed)]
        if self.is_too_much and self._transport.get_returncode() is None:
            self._transport.kill()  # it may never stop by itself

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.ended.set()

    def process_exited(self) -> None:
        self.exited.set()


async def _run(place: str, argv: tuple[str, ...], env: Mapping[str, str]) -> str:
    """What a program prints; it and all it started in its group are gone afterwards."""
    what = f"command {argv[0]}"
    try:
        transport, output = await asyncio.get_running_loop().subprocess_exec(
            _Output,
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it may hold the secret, too
            env=dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise SecretError(f"{place}: {what} cannot be run: {os.strerror(error.errno or 0)}") from None
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await output.exited.wait()
        await _bounded(output.ended, DRAIN_S)
        code = transport.get_returncode()
    except TimeoutError:
        raise SecretError(f"{place}: {what} was still running after {COMMAND_TIMEOUT_S:.0f} s") from None
    finally:
        await _end(transport, output)
    if code and not output.is_too_much:  # too much is told by the text
        raise SecretError(f"{place}: {what} failed with exit code {code}")
    return _text(place, what, bytes(output.printed))


async def _end(transport: asyncio.SubprocessTransport, output: _Output) -> None:
    try:
        os.killpg(transport.get_pid(), signal.SIGKILL)
    except ProcessLookupError:
        pass  # all have gone by themselves
    try:
        await _bounded(output.exited, REAP_S)
    finally:
        transport.close()


async def _bounded(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
