"""Values at the moment a server starts: expanded, fetched, bounded, and never told."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import uvloop

from mcp_gateway.config import secrets
from mcp_gateway.config.model import SecretRef, ServerConfig
from mcp_gateway.config.secrets import Resolved, SecretError, resolve

SECRET = "CANARY-c0de"
ENV = {"HOME": "/home/me", "PATH": os.environ["PATH"], "KEY": SECRET, "EMPTY": ""}


def local(**env: str | SecretRef) -> ServerConfig:
    return ServerConfig(id="x", title="X", command="run", env=env)


def program(source: str) -> SecretRef:
    return SecretRef(command=(sys.executable, "-I", "-c", source))


async def value(reference: str | SecretRef, env: dict[str, str] = ENV) -> str:
    return (await resolve(local(V=reference), env)).env["V"]


async def refusal(reference: str | SecretRef, env: dict[str, str] = ENV) -> str:
    with pytest.raises(SecretError) as raised:
        await value(reference, env)
    told = str(raised.value) + repr(raised.value) + repr(raised.value.__cause__)
    assert SECRET not in told
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value)


# -- variables


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain $KEY ${#KEY} ${KEY:=x} $(KEY)", "plain $KEY ${#KEY} ${KEY:=x} $(KEY)"),
        ("a ${KEY} b ${env:KEY}", f"a {SECRET} b {SECRET}"),
        ("${NONE:-fall back}", "fall back"),
        ("${EMPTY:-default}|${EMPTY}", "default|"),
        ("${KEY:-unused}", SECRET),
        ("${NONE:-}", ""),
    ],
)
async def test_variables_expand_as_in_other_clients(text: str, expanded: str) -> None:
    assert await value(text) == expanded


async def test_a_value_is_not_expanded_a_second_time() -> None:
    assert await value("${A}", {"A": "${B}", "B": "no"}) == "${B}"


async def test_every_part_of_a_local_server_is_filled_in() -> None:
    server = ServerConfig(
        id="x", title="X", command="${CMD:-run}", args=("-k", "${KEY}"), cwd="~/work", env={"A": "b"}
    )
    assert await resolve(server, ENV) == Resolved(
        "run", ("-k", SECRET), {"A": "b"}, "/home/me/work", None, {}
    )


async def test_every_part_of_a_remote_server_is_filled_in() -> None:
    server = ServerConfig(
        id="x", title="X", url="https://h/${KEY}", headers={"Authorization": "Bearer ${KEY}"}
    )
    made = await resolve(server, ENV)
    assert made == Resolved("", (), {}, None, f"https://h/{SECRET}", {"Authorization": f"Bearer {SECRET}"})


async def test_a_missing_variable_is_named_with_its_place() -> None:
    assert await refusal("${KEY} ${NONE}") == "env.V: variable NONE is not set"
    with pytest.raises(SecretError, match=r"args\[1\]: variable NONE is not set"):
        await resolve(ServerConfig(id="x", title="X", command="run", args=("a", "${NONE}")), ENV)
    with pytest.raises(SecretError, match="command: is empty"):
        await resolve(ServerConfig(id="x", title="X", command="${NONE:-}"), ENV)


# -- files and credentials


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        (b"s\n", "s"),
        (b"s", "s"),
        (b"s\n\n", "s\n"),
        (b"s\r\n", "s"),
        (b" s \n", " s "),
        ("sÿ".encode(), "sÿ"),
    ],
)
async def test_a_file_gives_its_text_without_the_last_line_end(
    tmp_path: Path, written: bytes, secret: str
) -> None:
    (tmp_path / "s").write_bytes(written)
    assert await value(SecretRef(file=str(tmp_path / "s"))) == secret
    assert await value(SecretRef(file="~/s"), {"HOME": str(tmp_path)}) == secret
    assert await value(SecretRef(file="${DIR}/s"), {"DIR": str(tmp_path)}) == secret
    assert await value(SecretRef(credential="s"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == secret


async def test_a_file_that_gives_no_secret_is_named_and_nothing_of_it_is_told(tmp_path: Path) -> None:
    bad = {
        "big": (SECRET.encode() * 8_000, "holds more than 64 KiB"),
        "empty": (b"\n", "holds nothing"),
        "binary": (SECRET.encode() + b"\xff", "is not UTF-8 text"),
        "nul": (SECRET.encode() + b"\0", "holds a NUL character"),
    }
    for name, (content, told) in bad.items():
        (tmp_path / name).write_bytes(content)
        assert await refusal(SecretRef(file=f"{tmp_path}/{name}")) == f"env.V: file {tmp_path}/{name} {told}"
    os.mkfifo(tmp_path / "fifo")
    assert (await refusal(SecretRef(file=f"{tmp_path}/fifo"))).endswith("is not a file")
    assert (await refusal(SecretRef(file=f"{tmp_path}/gone"))).endswith(
        "cannot be read: No such file or directory"
    )


async def test_a_missing_credential_is_named(tmp_path: Path) -> None:
    reference = SecretRef(credential="tok")
    assert "systemd passed no credentials" in await refusal(reference)
    assert await refusal(reference, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == (
        "env.V: credential tok cannot be read: No such file or directory"
    )


async def test_a_line_break_never_reaches_a_header(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(f"{SECRET}\r\nX-Injected: 1\n")
    server = ServerConfig(
        id="x", title="X", url="https://h", headers={"A": SecretRef(file=str(tmp_path / "s"))}
    )
    with pytest.raises(SecretError) as raised:
        await resolve(server, ENV)
    assert str(raised.value) == "headers.A: has a line break, which no header can carry"


# -- programs


@pytest.fixture
def spawned() -> Iterator[list[psutil.Process]]:
    """Every process the test starts, to be filled by it; all are gone at the end, or the test fails."""
    known: list[psutil.Process] = []
    yield known
    _, alive = psutil.wait_procs(known, timeout=5)
    for process in alive:
        process.kill()
    assert not alive


async def test_a_program_gives_what_it_prints(spawned: list[psutil.Process]) -> None:
    source = (
        "import os, sys; print(os.environ['KEY']); sys.stderr.write('n'); sys.exit(len(sys.stdin.read()))"
    )
    assert await value(program(source)) == SECRET


async def test_arguments_reach_the_program_without_a_shell() -> None:
    assert await value(SecretRef(command=("printf", "%s", "$KEY; ${KEY} `id`"))) == "$KEY; ${KEY} `id`"


def test_a_program_gives_what_it_prints_on_uvloop_too() -> None:
    assert uvloop.run(value(program("print('u')"))) == "u"
    assert "holds more than 64 KiB" in uvloop.run(refusal(SecretRef(command=("yes", SECRET))))


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        (
            SecretRef(command=("no-such-program-here", SECRET)),
            "no-such-program-here cannot be run: No such file",
        ),
        (
            SecretRef(command=("sh", "-c", f"echo {SECRET}; echo {SECRET} >&2; exit 3")),
            "sh failed with exit code 3",
        ),
        (SecretRef(command=("sh", "-c", f": {SECRET}; kill -9 $$")), "sh failed with exit code -9"),
        (SecretRef(command=("true", SECRET)), "true holds nothing"),
        (SecretRef(command=("yes", SECRET)), "yes holds more than 64 KiB"),
    ],
)
async def test_a_program_that_gives_no_secret_is_named_without_its_words(
    reference: SecretRef, told: str
) -> None:
    assert (await refusal(reference)).startswith(f"env.V: command {told}")


@contextmanager
def fifo(path: Path) -> Iterator[int]:
    """A named pipe that a program can write its process ids to, open for reading without waiting."""
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


async def pids(fd: int) -> list[psutil.Process]:
    """The processes whose ids a program writes down, once it has."""
    written = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, written.set)
    try:
        async with asyncio.timeout(10):
            await written.wait()
    finally:
        loop.remove_reader(fd)
    return [psutil.Process(int(pid)) for pid in os.read(fd, 1_000).split()]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_program_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawned: list[psutil.Process], loop: str
) -> None:
    monkeypatch.setattr(secrets, "COMMAND_TIMEOUT_S", 1.0)
    script = f"trap '' TERM; sleep 600 & echo $! $$ > {tmp_path}/pids; wait"

    async def main(fd: int) -> str:
        task = asyncio.create_task(refusal(SecretRef(command=("sh", "-c", script))))
        spawned.extend(await pids(fd))
        return await task

    with fifo(tmp_path / "pids") as fd:
        told = asyncio.run(main(fd)) if loop == "asyncio" else uvloop.run(main(fd))
    assert told == "env.V: command sh was still running after 1 s"


async def test_a_cancelled_start_ends_the_program(tmp_path: Path, spawned: list[psutil.Process]) -> None:
    script = f"echo $$ > {tmp_path}/pids; exec sleep 600"
    with fifo(tmp_path / "pids") as fd:
        task = asyncio.create_task(value(SecretRef(command=("sh", "-c", script))))
        spawned.extend(await pids(fd))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_helper_that_keeps_the_pipe_open_neither_delays_nor_survives(
    tmp_path: Path, spawned: list[psutil.Process]
) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pids; echo {SECRET}"
    assert await value(SecretRef(command=("sh", "-c", script))) == SECRET
    [pid] = (tmp_path / "pids").read_text().split()
    if psutil.pid_exists(int(pid)):
        spawned.append(psutil.Process(int(pid)))


async def test_no_repr_of_what_was_resolved_shows_a_value() -> None:
    server = ServerConfig(id="x", title="X", command="run", args=("${KEY}",), env={"A": "${KEY}"})
    assert SECRET not in repr(await resolve(server, ENV))
    remote = ServerConfig(id="x", title="X", url="https://h/${KEY}", headers={"A": "${KEY}"})
    assert SECRET not in repr(await resolve(remote, ENV))
