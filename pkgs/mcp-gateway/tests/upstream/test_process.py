"""Real children that misbehave: how they start, how they end, and that nothing of them is left.

The graces of a stop are shortened where a child uses them up; their sum is held against the promise in
a test of its own. What only a killed gateway shows runs in a process that is killed.
"""

import asyncio
import contextlib
import errno
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from mcp_gateway.upstream import process
from mcp_gateway.upstream.process import (
    INHERITED,
    MARKER,
    NOT_EXECUTABLE,
    NOT_FOUND,
    Child,
    Exit,
    Nursery,
    SpawnError,
)
from tests.harness import has_ended
from tests.upstream.parts import DYING_S, ENVIRONMENT, gone, started_by, until

STOP_S = 5.5  # product.md: a stop takes no longer, whatever the child does
GATEWAY_DEATH_S = 3.0  # a killed gateway's servers are gone by then


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.closed: list[str] = []
        self.exits: list[Exit] = []

    def stdout(self, data: bytes) -> None:
        self.out += data

    def stderr(self, data: bytes) -> None:
        self.err += data

    def pipe_closed(self, name: str) -> None:
        self.closed.append(name)

    def exited(self, how: Exit) -> None:
        self.exits.append(how)

    async def line(self, number: int = 1) -> str:
        await until(lambda: self.out.count(b"\n") >= number, f"line {number}; {self.err.decode()[-300:]}")
        return self.out.split(b"\n")[number - 1].decode()


class Ward:
    """Children of one nursery; all are stopped in the end."""

    def __init__(self, nursery: Nursery) -> None:
        self.nursery = nursery
        self.children: list[Child] = []

    async def spawn(
        self,
        command: str,
        *args: str,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        name: str = "s",
    ) -> tuple[Child, Heard]:
        heard = Heard()
        child = self.nursery.spawn(name, command, args, env or {}, cwd, heard)
        self.children.append(child)
        await child.connect()
        return child, heard

    async def shell(self, script: str, **env: str) -> tuple[Child, Heard]:
        return await self.spawn("sh", "-c", script, env=env)

    async def python(self, script: str) -> tuple[Child, Heard]:
        return await self.spawn(sys.executable, "-I", "-S", "-u", "-c", textwrap.dedent(script))


@pytest_asyncio.fixture
async def ward(nursery: Nursery) -> AsyncIterator[Ward]:
    ward = Ward(nursery)
    yield ward
    for child in ward.children:
        await child.stop(gently=False)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STDIN_GRACE_S", 0.25)
    monkeypatch.setattr(process, "TERM_GRACE_S", 0.25)


async def ended(child: Child) -> Exit:
    return await until(lambda: child.exit, "the child ends")


# -- what a child is given ------------------------------------------------------------------------------


async def test_a_child_gets_the_named_variables_its_own_and_a_mark_and_nothing_else(
    ward: Ward, instance: str
) -> None:
    _, heard = await ward.spawn(
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import os, json; print(json.dumps(dict(os.environ)))",
        env={"TOKEN": "t", "HOME": "/its/own"},
        name="git",
    )
    env = json.loads(await heard.line())
    assert env.pop("LC_CTYPE", None) in (None, "C.UTF-8")  # the interpreter's own doing
    assert env == {
        "PATH": ENVIRONMENT["PATH"],
        "HOME": "/its/own",
        "TOKEN": "t",
        MARKER: f"{instance}/git/1",
    }
    assert "SECRET_OF_OURS" not in INHERITED


async def test_a_child_leads_a_session_of_its_own_with_three_pipes_in_the_asked_directory(
    ward: Ward, tmp_path: Path
) -> None:
    script = """
        import json, os
        files = sorted(int(name) for name in os.listdir("/proc/self/fd"))
        print(json.dumps([os.getsid(0), os.getpgid(0), os.getpid(), files[:3], len(files), os.getcwd()]))
        input()
    """
    child, heard = await ward.spawn(
        sys.executable, "-I", "-S", "-u", "-c", textwrap.dedent(script), cwd=str(tmp_path)
    )
    session, group, pid, files, count, cwd = json.loads(await heard.line())
    assert session == group == pid == child.pid
    assert (files, count) == ([0, 1, 2], 4)  # and the directory that is being listed
    assert cwd == str(tmp_path)


async def test_a_command_is_looked_for_on_the_path_it_is_given(ward: Ward, tmp_path: Path) -> None:
    command = tmp_path / "only-here"
    command.write_text("#!/bin/sh\necho found\n")
    command.chmod(0o755)
    _, heard = await ward.spawn("only-here", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert await heard.line() == "found"
    with pytest.raises(SpawnError):
        await ward.spawn("only-here")


async def test_our_own_path_is_not_searched_for_a_child_that_was_given_none(
    instance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the nursery was made with decides; the environment of this process is not asked again."""
    command = tmp_path / "ours"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    nursery = Nursery(instance, {})
    try:
        with pytest.raises(SpawnError, match="not on PATH"):
            await nursery.spawn("s", "ours", (), {}, None, Heard()).stop(gently=False)
    finally:
        nursery.close()


async def test_a_command_with_a_slash_is_relative_to_the_working_directory(
    ward: Ward, tmp_path: Path
) -> None:
    command = tmp_path / "bin" / "run"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho found\n")
    command.chmod(0o755)
    _, heard = await ward.spawn("bin/run", cwd=str(tmp_path))
    assert await heard.line() == "found"


@pytest.mark.parametrize(
    ("command", "cwd", "reason"),
    [
        ("no-such-command", None, "command not found: `no-such-command` is not on PATH"),
        ("/no/such/command", None, "command not found: `/no/such/command`"),
        ("./missing", "{tmp}", "command not found: `./missing`"),
        ("./plain", "{tmp}", "not executable: `./plain`"),
        ("./folder", "{tmp}", "not executable: `./folder`"),
        ("sh", "{tmp}/nowhere", "the working directory `{tmp}/nowhere` does not exist"),
        ("sh", "{tmp}/plain", "the working directory `{tmp}/plain` does not exist"),
    ],
)
async def test_a_command_that_cannot_be_started_says_why_for_good(
    ward: Ward, tmp_path: Path, command: str, cwd: str | None, reason: str
) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpawnError) as caught:
        await ward.spawn(command, cwd=cwd and cwd.format(tmp=tmp_path))
    assert caught.value.reason == reason.format(tmp=tmp_path)
    assert caught.value.permanent
    assert ward.children == []


@pytest.mark.parametrize(
    ("interpreter", "code"), [("/no/such/interpreter", NOT_FOUND), ("{tmp}/plain", NOT_EXECUTABLE)]
)
async def test_a_program_the_system_refuses_ends_with_a_shells_code(
    ward: Ward, tmp_path: Path, interpreter: str, code: int
) -> None:
    (tmp_path / "plain").write_text("words")
    program = tmp_path / "program"
    program.write_text(f"#!{interpreter.format(tmp=tmp_path)}\n")
    program.chmod(0o755)
    child, _ = await ward.spawn(str(program))
    assert await ended(child) == Exit(code, None)


async def test_a_system_without_room_for_another_process_is_no_reason_to_give_up(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(SpawnError) as caught:
        await ward.spawn("sh")
    assert caught.value.reason == "cannot start `sh`: Resource temporarily unavailable"
    assert not caught.value.permanent


# -- how a child ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returncode", "how", "reason"),
    [
        (0, Exit(0, None), "exited with code 0"),
        (3, Exit(3, None), "exited with code 3"),
        (-11, Exit(None, "SIGSEGV"), "was ended by SIGSEGV"),
        (-9, Exit(None, "SIGKILL"), "was ended by SIGKILL, perhaps by the system for want of memory"),
        (-99, Exit(None, "signal 99"), "was ended by signal 99"),
    ],
)
def test_an_exit_is_told_in_words(returncode: int, how: Exit, reason: str) -> None:
    assert Exit.of(returncode) == how
    assert how.reason == reason


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 0", Exit(0, None)),
        ("exit 7", Exit(7, None)),
        ("kill -SEGV $$", Exit(None, "SIGSEGV")),
        ("kill -KILL $$", Exit(None, "SIGKILL")),
    ],
)
async def test_the_way_a_child_ends_by_itself_is_heard_once(ward: Ward, script: str, how: Exit) -> None:
    child, heard = await ward.shell(script)
    assert await ended(child) == how
    await until(lambda: {"stdout", "stderr"} <= set(heard.closed), "its pipes are closed")
    assert heard.exits == [how]
    assert not psutil.pid_exists(child.pid), "and it was waited for"


async def test_an_exit_is_heard_although_a_grandchild_holds_the_pipes(ward: Ward) -> None:
    child, heard = await ward.shell("sleep 60 & echo $!; exit 4")
    helper = int(await heard.line())
    assert await ended(child) == Exit(4, None)
    assert heard.closed.count("stdout") == 0
    await child.stop()
    await gone(helper)


# -- a stop ---------------------------------------------------------------------------------------------


def test_the_graces_of_a_stop_add_up_to_less_than_was_promised() -> None:
    assert process.STDIN_GRACE_S + process.TERM_GRACE_S + process.KILL_GRACE_S < STOP_S


async def test_a_child_that_leaves_when_its_stdin_ends_is_sent_no_signal(ward: Ward, tmp_path: Path) -> None:
    told = tmp_path / "told"
    child, heard = await ward.shell(
        f"trap 'echo TERM > {told}' TERM; echo up; while read -r line; do :; done; exit 3"
    )
    await heard.line()
    async with asyncio.timeout(process.STDIN_GRACE_S):
        await child.stop()
    assert child.exit == Exit(3, None)
    assert not told.exists()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exec 0<&-; echo up; exec sleep 60", Exit(None, "SIGTERM")),
        ("trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done", Exit(9, None)),
        ("trap '' TERM INT HUP; echo up; while :; do sleep 0.05; done", Exit(None, "SIGKILL")),
        ("echo up; kill -STOP $$", Exit(None, "SIGKILL")),
    ],
    ids=["ignores the end of its stdin", "cleans up on SIGTERM", "ignores SIGTERM", "is suspended"],
)
async def test_a_child_that_does_not_leave_is_told_and_then_made_to(
    ward: Ward, script: str, how: Exit
) -> None:
    child, heard = await ward.shell(script)
    await heard.line()
    async with asyncio.timeout(STOP_S):
        await child.stop()
    assert child.exit == how
    assert heard.exits == [how]


async def test_a_child_that_is_not_to_be_asked_is_ended_at_once(ward: Ward) -> None:
    child, heard = await ward.shell("trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    await heard.line()
    async with asyncio.timeout(process.STDIN_GRACE_S):
        await child.stop(gently=False)
    assert child.exit == Exit(None, "SIGKILL")


async def test_a_second_stop_does_nothing(ward: Ward) -> None:
    child, _ = await ward.shell("read -r line")
    await child.stop()
    async with asyncio.timeout(process.STDIN_GRACE_S):
        await child.stop()
    assert child.exit == Exit(1, None)


# Where a helper of the child hides, as one line of shell that leaves its id in $!. Each is deaf to
# polite signals and holds the child's pipes.
DEAF = "trap '' TERM INT HUP; while :; do sleep 1; done"
HIDDEN = {
    "in the group": f'sh -c "{DEAF}" &',
    "in the group without its environment": f'env -i {shutil.which("sh")} -c "{DEAF}" &',
    "in a session of its own": f'setsid sh -c "{DEAF}" &',
    "in a session of its own without its environment": f'env -i setsid {shutil.which("sh")} -c "{DEAF}" &',
    "in a group of its own": f"{sys.executable} -ISc 'import os, signal, time; os.setpgid(0, 0); "
    "signal.signal(15, signal.SIG_IGN); time.sleep(60)' &",
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
async def test_a_stop_ends_a_helper_wherever_it_hides(ward: Ward, hidden: str) -> None:
    child, heard = await ward.shell(f"{hidden} echo $!; read -r line; wait")
    helper = int(await heard.line())
    # Only once it has left its group or dropped its environment does the test say what it means to.
    await until(lambda: b"sleep" in Path(f"/proc/{helper}/cmdline").read_bytes(), "the helper is itself")
    try:
        async with asyncio.timeout(STOP_S):
            await child.stop()
        await gone(helper, DYING_S)
    finally:
        if not has_ended(helper):
            os.kill(helper, signal.SIGKILL)


DAEMON = """
    import os, signal, sys, time
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid())
        os.closerange(0, 3)
        time.sleep(60)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("then", ["sys.stdin.read()", "os._exit(3)"], ids=["while it runs", "after its end"])
async def test_a_stop_ends_a_daemon_that_nobody_is_the_parent_of(ward: Ward, then: str) -> None:
    child, heard = await ward.python(textwrap.dedent(DAEMON) + then)
    daemon = int(await heard.line())
    if "exit" in then:
        await ended(child)
    await until(lambda: psutil.Process(daemon).ppid() != child.pid, "the daemon is on its own")
    assert not has_ended(daemon)
    await child.stop()
    await gone(daemon, DYING_S)


async def test_a_stop_ends_a_tree_that_grows_meanwhile(ward: Ward, instance: str) -> None:
    child, heard = await ward.python(
        """
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(5):
            if os.fork() == 0:
                os.setsid()
                for _ in range(5):
                    if os.fork() == 0:
                        os.setsid()
                    time.sleep(0.01)
                time.sleep(60)
                os._exit(0)
        print("up")
        sys.stdin.read()
        """
    )
    await heard.line()
    await child.stop()
    await until(lambda: started_by(instance) == {}, "nobody carries the mark", DYING_S)


async def test_a_stop_ends_nobody_elses_processes(ward: Ward) -> None:
    """The eleventh spawn's mark begins with the first one's."""
    script = "setsid sleep 60 & echo $!; read -r line"
    children = [await ward.shell(script) for _ in range(11)]
    helpers = [int(await heard.line()) for _, heard in children]
    await children[0][0].stop()
    await gone(helpers[0], DYING_S)
    assert not any(has_ended(helper) for helper in helpers[1:])
    assert all(child.exit is None for child, _ in children[1:])
    await asyncio.gather(*(child.stop() for child, _ in children[1:]))
    await until(lambda: all(map(has_ended, helpers)), "the others end, too", DYING_S)


async def test_many_lives_leave_no_files_and_no_zombies(ward: Ward) -> None:
    own = psutil.Process()

    async def one(script: str) -> None:
        child, heard = await ward.shell(script)
        await heard.line()
        await child.stop()

    await one("echo up; read -r line")
    files, threads = own.num_fds(), own.num_threads()
    for _ in range(3):
        await asyncio.gather(*(one("echo up; read -r line") for _ in range(6)), one("echo up; exit 1"))
    await until(lambda: own.num_fds() <= files, "the files are closed")
    assert own.num_threads() <= threads + 8  # the pool that looks into /proc
    assert not [one for one in own.children() if one.status() == psutil.STATUS_ZOMBIE]


async def test_no_descriptor_is_closed_twice(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop closes the file object it was given after libuv has closed its descriptor; whatever another
    thread (the database's, say) has opened under that number meanwhile would be closed instead."""
    closed_again = []

    class Pipe(io.FileIO):
        def close(self) -> None:
            if not self.closed:
                try:
                    os.fstat(self.fileno())
                except OSError:
                    closed_again.append(self.mode)
                super().close()

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            for name, mode in (("stdin", "wb"), ("stdout", "rb"), ("stderr", "rb")):
                pipe = getattr(self, name)
                if pipe is not None:
                    setattr(self, name, Pipe(os.dup(pipe.fileno()), mode))
                    pipe.close()

    monkeypatch.setattr(subprocess, "Popen", Popen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        child, heard = await ward.shell("echo up; read -r line")
        await heard.line()
        await child.stop()
        await asyncio.sleep(0)
        assert closed_again == []


@pytest.mark.usefixtures("hasty")
async def test_a_stop_ends_the_child_although_nobody_can_be_looked_up(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing /proc takes a descriptor; without a free one the group is still killed."""

    def exhausted(_path: object = None) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    child, heard = await ward.shell("trap '' TERM; echo up; sleep 60 & echo $!; while :; do sleep 1; done")
    helper = int(await heard.line(2))
    with monkeypatch.context() as without:
        without.setattr(os, "listdir", exhausted)
        await child.stop()
    assert child.exit == Exit(None, "SIGKILL")
    await gone(helper, DYING_S)


# -- the guardian ---------------------------------------------------------------------------------------


def guardians(of: int | None = None) -> list[psutil.Process]:
    """The living guardians among a process's children."""
    found = []
    for one in psutil.Process(of).children():
        with contextlib.suppress(psutil.Error):  # it ends while we look
            if any("guardian.py" in word for word in one.cmdline()):
                found.append(one)
    return found


@pytest.mark.usefixtures("nursery")
async def test_the_guardian_stands_apart_and_is_deaf_to_a_terminal() -> None:
    (guardian,) = guardians()
    assert os.getsid(guardian.pid) == guardian.pid
    assert guardian.environ() == {}
    polite = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    await until(lambda: all(_ignores(guardian.pid, number) for number in polite), "it has started")
    for number in polite:
        guardian.send_signal(number)
    assert guardians() == [guardian]


def _ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    return bool(ignored >> (number - 1) & 1)


@pytest.mark.usefixtures("nursery")
async def test_a_guardian_that_is_killed_is_replaced() -> None:
    seen = guardians()

    def another() -> list[psutil.Process]:
        return [one for one in guardians() if one not in seen]

    for _ in range(2):
        seen[-1].kill()
        seen += await until(another, "another stands in")
    assert len(seen) == 3


async def test_a_nursery_that_closes_ends_its_guardian_and_no_other_follows(instance: str) -> None:
    nursery = Nursery(instance, ENVIRONMENT)
    await nursery.start()
    (guardian,) = guardians()
    nursery.close()
    assert has_ended(guardian.pid)
    await asyncio.sleep(0)
    assert guardians() == []
    nursery.close()


async def test_a_new_gateway_ends_what_an_earlier_one_of_its_directory_left(instance: str) -> None:
    def leave(mark: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"], env={"PATH": ENVIRONMENT["PATH"], MARKER: mark})

    own, others = leave(f"{instance}/git/7"), [leave(f"{instance}0/git/7"), leave(f"0{instance}/git/7")]
    nursery = Nursery(instance, ENVIRONMENT)
    try:
        await nursery.start()
        assert own.wait(1) == -signal.SIGKILL
        assert all(other.poll() is None for other in others)
    finally:
        nursery.close()
        for left in (own, *others):
            left.kill()
            left.wait()


# A gateway's worth of nursery, with a family of every kind; prints their ids and waits to be killed.
GATEWAY = """
    import asyncio, json, shutil, sys
    import uvloop
    from mcp_gateway.upstream.process import Nursery

    class Heard:
        def __init__(self):
            self.out = b""
        def stdout(self, data):
            self.out += data
        def stderr(self, data):
            sys.stderr.buffer.write(data)
        def pipe_closed(self, name): ...
        def exited(self, how): ...

    DEAF = "trap '' TERM INT HUP; while :; do sleep 1; done"
    FAMILY = (
        f'sh -c "{DEAF}" & echo $!; env -i ' + shutil.which("sh") + f' -c "{DEAF}" & echo $!;'
        f'setsid sh -c "{DEAF}" & echo $!; (setsid sleep 60 & echo $!); trap "" TERM;'
        'echo up; while :; do sleep 1; done'
    )

    async def main(instance, path):
        nursery = Nursery(instance, {"PATH": path})
        await nursery.start()
        heard = Heard()
        child = nursery.spawn("s", "sh", ("-c", FAMILY), {}, None, heard)
        await child.connect()
        while b"up" not in heard.out:
            await asyncio.sleep(0.01)
        print(json.dumps([child.pid, *map(int, heard.out.split()[:4])]), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("again", flush=True)
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def gateway(instance: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(GATEWAY), instance, ENVIRONMENT["PATH"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    for pid in started_by(instance):
        os.kill(pid, signal.SIGKILL)


def read_line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 10)[0], "it says something within 10 s"
    return process.stdout.readline()


async def test_a_gateway_that_is_killed_takes_its_servers_and_all_they_started_along(
    gateway: "subprocess.Popen[bytes]", instance: str
) -> None:
    family = json.loads(read_line(gateway))
    assert len(set(family)) == 5
    assert not any(has_ended(pid) for pid in family)
    gateway.kill()
    gateway.wait()
    await until(lambda: all(map(has_ended, family)), "the family is gone", GATEWAY_DEATH_S)
    await until(lambda: started_by(instance) == {}, "nobody carries the mark", GATEWAY_DEATH_S)


async def test_a_second_guardian_knows_what_the_first_was_told(
    gateway: "subprocess.Popen[bytes]", instance: str
) -> None:
    family = json.loads(read_line(gateway))
    (first,) = guardians(gateway.pid)
    first.kill()
    await until(lambda: [g for g in guardians(gateway.pid) if g != first], "another stands in")
    gateway.kill()
    gateway.wait()
    await until(lambda: all(map(has_ended, family)), "the family is gone", GATEWAY_DEATH_S)
    await until(lambda: started_by(instance) == {}, "nobody carries the mark", GATEWAY_DEATH_S)
