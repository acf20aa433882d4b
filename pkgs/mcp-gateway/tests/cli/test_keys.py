"""Who is asking, from the command line: keys made online and offline, and the commands that send one."""

import fcntl
import json
import os
import pty
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args

import aiohttp
import psutil
import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from mcp_gateway.cli import main
from mcp_gateway.cli.client import Client
from mcp_gateway.cli.keys import RIGHTS
from mcp_gateway.cli.options import Asked
from mcp_gateway.config.model import KeyRight
from tests.harness import Gateway, hostile, until

LIMIT_S = 60
COMMAND = (sys.executable, "-W", "error", "-m", "mcp_gateway")
KEY = re.compile(r"mgk_([0-9a-f]{10})_([A-Za-z0-9_-]{43})\n")
MADE_ELSEWHERE = "elsewhere-0123456789-abcdefghijklmnop"


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
    return kept | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | more


def start(env: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words],
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], stdin: str = "") -> tuple[int, str, str]:
    out, err = process.communicate(stdin, timeout=LIMIT_S)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def run(env: Mapping[str, str], *words: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    return ended(start(env, *words), stdin)


def inside(env: Mapping[str, str], *words: str, stdin: str = "") -> tuple[int, str, str]:
    """As `run`, without a process of its own: for what is told apart before anything else is asked."""
    done = CliRunner().invoke(main, words, input=stdin, env=dict(env))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def here(gateway: Gateway) -> dict[str, str]:
    """Somebody who may read the state directory."""
    return environment(gateway.directory, MCP_GATEWAY_STATE_DIR=str(gateway.state_dir))


def there(gateway: Gateway, **more: str) -> dict[str, str]:
    """Somebody who knows the address."""
    return environment(gateway.directory, MCP_GATEWAY_URL=f"http://127.0.0.1:{gateway.port}", **more)


def status_with(gateway: Gateway, key: str) -> int:
    return gateway.request("GET", "/api/me", headers={"Authorization": f"Bearer {key}"}).status


def everything_in(directory: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def made(answer: tuple[int, str, str]) -> tuple[str, str]:
    """The id and the text of a key, which stands alone on stdout and nowhere else."""
    code, out, err = answer
    found = KEY.fullmatch(out)
    assert code == 0, err
    assert found is not None, out
    assert found[1] in err
    assert found[2] not in err
    return found[1], out.strip()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({}, tmp_path_factory.mktemp("gateway")) as running:
        yield running


def test_the_first_key_is_made_before_the_port_opens_and_works_when_it_does(tmp_path: Path) -> None:
    gateway = Gateway({}, tmp_path)
    env = here(gateway)
    assert run(env, "keys", "--json")[:2] == (0, '{"keys": []}\n')
    assert not gateway.state_dir.exists(), "a question has made a state directory"
    key_id, key = made(run(env, "keys", "create", "first", "--expires", "30d", "--right", "read"))
    gone_id, gone = made(run(env, "keys", "create", "gone"))
    assert run(env, "keys", "revoke", gone_id)[:2] == (0, f"{gone_id} is revoked\n")
    assert stat.S_IMODE(gateway.state_dir.stat().st_mode) == 0o700
    with gateway:
        assert (status_with(gateway, key), status_with(gateway, gone)) == (200, 401)
        rows = [row for row in gateway.get("/api/calls").json()["calls"] if row["action"]]
        told = [(row["action"], row["face"], row["caller"], row["right"]) for row in reversed(rows)][:3]
        made_here = ("key.create", "cli", "console", "admin")
        assert told == [made_here, made_here, ("key.revoke", "cli", "console", "admin")]
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == len(ids)
    kept = everything_in(tmp_path)
    assert key_id.encode() in kept
    assert [text for text in (key, gone) if text.rpartition("_")[2].encode() in kept] == []


def test_declared_keys_are_listed_without_a_gateway_and_revoked_in_the_file_only(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    declared = {"name": "Night Job", "hash": "sha256:" + "0" * 64, "scopes": {"readOnly": True}}
    config.write_text(json.dumps({"gateway": {"auth": {"keys": [declared]}}}))
    config.chmod(0o600)
    env = environment(tmp_path, MCP_GATEWAY_CONFIG=str(config), MCP_GATEWAY_STATE_DIR=str(tmp_path / "state"))
    code, out, _ = inside(env, "keys")
    assert code == 0
    row = re.split(r"\s{2,}", out.splitlines()[1])
    assert row == [
        *("night-job", "Night Job", "read, call", "everything, reading only"),
        *("never", "never", "the configuration"),
    ]
    code, _, err = inside(env, "keys", "revoke", "night-job")
    assert (code, "declared in the configuration" in err) == (4, True), err


def test_a_key_is_made_listed_and_revoked_while_the_gateway_runs(gateway: Gateway) -> None:
    before = (gateway.state_dir / "one-time-code").read_text().strip()
    words = (
        "--right",
        "call",
        "--server",
        "git*",
        "--tool",
        "read_*",
        "--read-only",
        "--expires",
        "2999-12-31",
    )
    answer = run(here(gateway), "keys", "create", "run time", *words)
    assert before not in "".join(answer[1:])
    key_id, key = made(answer)
    assert (gateway.state_dir / "one-time-code").read_text().strip() != before
    assert status_with(gateway, key) == 200
    code, out, _ = run(here(gateway), "keys", "list")
    (row,) = [line for line in out.splitlines() if line.startswith(key_id)]
    assert code == 0
    assert key.rpartition("_")[2] not in out
    shown = re.split(r"\s{2,}", row)
    assert shown[1:4] == ["run time", "call", "git*, read_*, reading only"]
    assert (shown[4].startswith("3000-01-01") or "2999-12-31" in shown[4], shown[6]) == (True, "console")
    assert run(here(gateway), "keys", "revoke", key_id)[0] == 0
    assert status_with(gateway, key) == 401
    code, _, err = run(here(gateway), "keys", "revoke", key_id)
    assert (code, f"There is no key `{key_id}`" in err) == (4, True), err
    _, out, _ = run(here(gateway), "activity")
    assert "key.revoke" in out


def test_commands_at_the_same_time_do_not_take_the_code_from_each_other(gateway: Gateway) -> None:
    port = gateway.state_dir / "port"

    def is_waiting(process: subprocess.Popen[str]) -> bool:
        return str(port) in [file.path for file in psutil.Process(process.pid).open_files()]

    with port.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as one that is being served holds it
        several = [start(here(gateway), "keys", "create", f"at once {number}") for number in range(3)]
        until(lambda: all(map(is_waiting, several)), 30, "all wait for their turn with the code")
        assert [process.poll() for process in several] == [None, None, None]
    texts = [made(ended(process))[1] for process in several]
    assert [status_with(gateway, text) for text in texts] == [200, 200, 200]
    wrong = gateway.get("/api/calls?outcome=unauthenticated").json()["calls"]
    assert [row for row in wrong if row["action"] == "code.wrong"] == []


def test_who_is_elsewhere_administers_with_a_key_that_may(gateway: Gateway) -> None:
    code, _, err = run(there(gateway), "keys", "create", "x")
    assert (code, "right `admin`" in err, "without --url" in err) == (4, True, True), err
    _, admin = made(run(here(gateway), "keys", "create", "admin", "--right", "admin"))
    key_id, key = made(run(there(gateway, MCP_GATEWAY_KEY=admin), "keys", "create", "x", "--right", "admin"))
    assert status_with(gateway, key) == 200
    assert run(there(gateway, MCP_GATEWAY_KEY=admin), "keys", "revoke", key_id)[0] == 0
    code, _, err = run(there(gateway, MCP_GATEWAY_KEY=admin), "keys", "create", "x", "--right", "call")
    assert (code, "rights that you do not have" in err) == (4, True), err


def test_a_gateway_that_listens_elsewhere_only_starts_with_its_first_key_and_is_found(tmp_path: Path) -> None:
    """127.0.0.2 stands for an address that others reach: whoever asks there needs a key."""
    state_dir = tmp_path / "state"
    env = environment(tmp_path, MCP_GATEWAY_STATE_DIR=str(state_dir))
    state_dir.mkdir(mode=0o700)
    key_id, _ = made(run(env, "keys", "create", "first"))
    process = start(env, "serve", "--host", "127.0.0.2", "--port", "0")
    try:
        # Asked while it starts, too: then the command waits for it.
        has_begun = (state_dir / "one-time-code").exists
        until(lambda: has_begun() or process.poll() is not None, 30, "the gateway has begun")
        code, out, err = run(env, "keys", "list", "--json")
        assert (code, [key["id"] for key in json.loads(out)["keys"]]) == (0, [key_id]), err
    finally:
        process.terminate()
        ended(process)


def test_a_start_forgets_where_the_last_gateway_listened(tmp_path: Path) -> None:
    """Else the next one-time code would be sent to whoever listens there by now."""
    port = tmp_path / "port"
    port.write_text("1\n")
    (tmp_path / "instance").mkdir()  # this start does not get as far as a port
    process = start(environment(tmp_path), "serve", "--port", "0", "--state-dir", str(tmp_path))
    process.communicate(timeout=LIMIT_S)
    assert (process.returncode != 0, port.exists()) == (True, False)


@pytest.mark.parametrize(
    "words",
    [
        ("create", ""),
        ("create", "x", "--right", "exec"),
        ("create", "x", "--expires", "soon"),
        ("create", "x", "--server", ""),
        ("list", "--url", "http://127.0.0.1:1", "--state-dir", "."),
        ("create", "x", "--key", "mgk_0"),
    ],
)
def test_what_cannot_be_is_a_wrong_command_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    env = environment(tmp_path, MCP_GATEWAY_STATE_DIR=str(tmp_path / "state"))
    assert inside(env, "keys", *words)[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_the_state_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    theirs = Path("/")
    if os.geteuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, -1)
    code, _, err = inside(environment(tmp_path), "keys", "create", "x", "--state-dir", str(theirs))
    assert (code, "belongs to" in err) == (2, True), err
    assert not (theirs / "lock").exists()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that lets nobody in without a key; it holds a hash that the command line made."""
    directory = tmp_path_factory.mktemp("guarded")
    code, hashed, err = inside(environment(directory), "keys", "hash", stdin=MADE_ELSEWHERE + "\n")
    assert (code, err) == (0, "")
    declared = [{"name": "everyday", "hash": hashed.strip(), "scopes": {"rights": ["read", "call"]}}]
    with Gateway({"good": hostile("good")}, directory, {"auth": {"keys": declared}}) as running:

        def is_ready() -> bool:
            bearer = {"Authorization": f"Bearer {MADE_ELSEWHERE}"}
            shown = running.request("GET", "/api/servers/good", headers=bearer)
            return bool(shown.json().get("state") == "ready")

        until(is_ready, 20, "the server is ready", running.log_tail)
        yield running


def test_every_command_sends_the_key_of_the_environment_or_of_a_file(
    guarded: Gateway, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(MADE_ELSEWHERE + "\n")
    named = ("--key-file", str(file))
    env, with_key = there(guarded), there(guarded, MCP_GATEWAY_KEY=MADE_ELSEWHERE)
    assert "good" in run(with_key, "servers")[1]
    assert "good/echo" in run(env, "tools", *named)[1]
    assert run(env, *named, "call", "good/echo", "--text", "x")[:2] == (0, "x\n")
    assert run(env, "call", *named, "good/echo", "--text", "y")[:2] == (0, "y\n")
    wrong = there(guarded, MCP_GATEWAY_KEY="mgk_wrong")
    assert "good/echo" in run(wrong, "activity", *named)[1], "the file is the nearer word"
    _, out, _ = run(with_key, "me")
    assert out.split("\n")[0].split() == ["caller", "key:everyday"]


def test_what_is_missing_is_said_with_what_to_do(guarded: Gateway, tmp_path: Path) -> None:
    code, out, err = run(there(guarded), "servers")
    assert (code, out) == (4, "")
    assert "$MCP_GATEWAY_KEY" in err
    assert "mcp-gateway keys create" in err
    code, _, err = run(there(guarded, MCP_GATEWAY_KEY="mgk_wrong"), "--json", "servers")
    assert (code, json.loads(err)["code"]) == (4, "unauthenticated")
    assert "mgk_wrong" not in err
    code, _, err = run(there(guarded, MCP_GATEWAY_KEY=MADE_ELSEWHERE), "servers", "off", "good")
    assert (code, "`operate`" in err, "mcp-gateway me" in err) == (4, True, True), err
    code, _, err = inside(there(guarded, MCP_GATEWAY_KEY="two words"), "servers")
    assert (code, "two words" in err) == (2, False), err
    assert inside(there(guarded), "servers", "--key-file", str(tmp_path / "none"))[0] == 2


def test_a_key_shows_in_no_list_of_processes_no_log_and_no_file(guarded: Gateway) -> None:
    with_key = there(guarded, MCP_GATEWAY_KEY=MADE_ELSEWHERE)
    process = start(with_key, "activity", "-f", "--limit", "1")
    try:
        assert process.stdout is not None
        guarded.request(
            "POST", "/api/tools/good/echo", {"text": "z"}, {"Authorization": f"Bearer {MADE_ELSEWHERE}"}
        )
        assert "good/echo" in process.stdout.readline()
        lines = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
        assert [line for line in lines if any(MADE_ELSEWHERE in word for word in line)] == []
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_S)
    assert MADE_ELSEWHERE.encode() not in everything_in(guarded.directory)


def test_names_are_completed_by_the_key(guarded: Gateway) -> None:
    words = {"COMP_WORDS": "mcp-gateway call good/e", "COMP_CWORD": "2"}
    env = there(guarded, MCP_GATEWAY_KEY=MADE_ELSEWHERE) | words | {"_MCP_GATEWAY_COMPLETE": "bash_complete"}
    source = "from mcp_gateway.cli import main; main(prog_name='mcp-gateway')"
    done = subprocess.run(
        [sys.executable, "-c", source], env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert "plain,good/echo" in done.stdout.splitlines(), done


class _Stub(HTTPServer):
    """Answers as it is told, and remembers who asked with what."""

    def __init__(self, *answers: tuple[int, dict[str, Any], dict[str, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.seen: list[tuple[str | None, str | None]] = []
        self.before_answer: Callable[[], object] = lambda: None


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        stub = self.server
        assert isinstance(stub, _Stub)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        stub.seen.append((self.headers.get("Mcp-Gateway-Code"), self.headers.get("Authorization")))
        stub.before_answer()
        status, document, headers = stub.answers.pop(0)
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(stub: _Stub) -> Iterator[_Stub]:
    thread = threading.Thread(target=stub.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        thread.join()
        stub.server_close()


def test_a_code_that_was_used_up_meanwhile_is_read_again(tmp_path: Path) -> None:
    """Somebody signs in at the page at that very moment; a gateway cannot be made to lose this race."""
    code, made_one = tmp_path / "one-time-code", {"id": "0", "name": "x", "scopes": {}, "key": "mgk_0_0"}
    code.write_text("first\n")
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with serving(_Stub((401, {"code": "unauthenticated"}, {}), (201, made_one, {}))) as stub:
            (tmp_path / "host").write_text("127.0.0.1\n")
            (tmp_path / "port").write_text(f"{stub.server_port}\n")
            stub.before_answer = lambda: code.write_text("second\n")
            answer = run(environment(tmp_path), "keys", "create", "x", "--state-dir", str(tmp_path))
    assert answer[:2] == (0, "mgk_0_0\n"), answer
    assert stub.seen == [("first", None), ("second", None)]


def test_a_key_does_not_follow_a_redirect(tmp_path: Path) -> None:
    with serving(_Stub()) as stub:
        url = f"http://127.0.0.1:{stub.server_port}"
        stub.answers = [(307, {}, {"Location": f"{url}/elsewhere"})] * 2
        code, _, err = run(environment(tmp_path, MCP_GATEWAY_KEY="mgk_0", MCP_GATEWAY_URL=url), "servers")
    assert (code, stub.seen) == (3, [(None, "Bearer mgk_0")]), err


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("http://gateway.lan:8085", True),
        ("http://192.168.1.5:8085", True),
        ("http://localhost.evil.test", True),
        ("https://gateway.example.com", False),
        ("http://127.0.0.1:8085", False),
        ("http://localhost:8085", False),
        ("http://[::1]:8085", False),
    ],
)
async def test_a_key_on_a_readable_line_is_warned_of(
    capsys: pytest.CaptureFixture[str], url: str, is_warned: bool
) -> None:
    async with aiohttp.ClientSession() as session:
        Client(session, Asked(url))
        assert capsys.readouterr().err == ""
        Client(session, Asked(url, key="mgk_secret"))
    err = capsys.readouterr().err
    assert ("https hides it" in err) is is_warned
    assert "mgk_secret" not in err + repr(Asked(url, key="mgk_secret"))


def test_a_password_is_hashed_from_a_pipe(tmp_path: Path) -> None:
    code, out, err = run(environment(tmp_path), "keys", "password", stdin="correct horse\n")
    assert (code, err) == (0, "")
    assert out.startswith("$argon2id$")
    assert PasswordHasher().verify(out.strip(), "correct horse")


@pytest.mark.parametrize("text", ["", "short\n", "two\nlines of it\n", "\x00 and more of it"])
def test_a_text_that_is_no_password_is_not_hashed(text: str) -> None:
    assert inside({}, "keys", "password", stdin=text)[:2] == (2, "")


def test_a_password_is_asked_for_twice_on_a_terminal_and_not_shown(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "keys", "password"],
        env=environment(tmp_path),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    for number in (1, 2):
        while shown.count(b": ") < number:
            shown += os.read(ours, 1 << 10)
        os.write(ours, b"correct horse\n")
    out, _ = process.communicate(timeout=LIMIT_S)
    try:
        shown += os.read(ours, 1 << 10)
    except OSError:  # the other side is closed, and all of it was read
        pass
    os.close(ours)
    assert process.returncode == 0, shown
    assert PasswordHasher().verify(out.decode().strip(), "correct horse")
    assert b"correct" not in shown


@pytest.mark.parametrize("text", ["short", "with blanks " * 4, "ümlaut" * 8])
def test_a_text_that_cannot_be_a_key_is_not_hashed(text: str) -> None:
    code, out, err = inside({}, "keys", "hash", stdin=text)
    assert (code, out, text in err) == (2, "", False)


def test_the_rights_that_can_be_said_are_those_a_key_may_hold() -> None:
    assert list(get_args(KeyRight)) == list(RIGHTS)
