"""`gateway.socket`: the gateway on a unix socket beside its port; who may connect, whose file is replaced."""

import http.client
import json
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Gateway, hostile
from tests.strangers import LIMIT_S, SOMEBODY, open_directory, stranger
from tests.test_serve import environment, write


class OverSocket(http.client.HTTPConnection):
    """HTTP to the path of a socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(str(self._path))


def get(path: Path, what: str) -> tuple[int, bytes]:
    connection = OverSocket(path)
    try:
        connection.request("GET", what)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def path() -> Iterator[Path]:
    with open_directory() as directory:
        yield directory / "gateway.sock"


def refused(tmp_path: Path, path: Path) -> str:
    """What a start that is refused says."""
    config = write(tmp_path / "refused.json", {"mcpServers": {}, "gateway": {"port": 0, "socket": str(path)}})
    done = subprocess.run(
        [sys.executable, "-m", "mcp_gateway", "serve", "--config", str(config)],
        env=environment(tmp_path, MCP_GATEWAY_STATE_DIR=str(tmp_path / "unused")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False), done
    assert not (tmp_path / "unused").exists()
    assert str(path) in done.stderr
    return done.stderr


def test_it_serves_on_the_socket_and_the_port_and_takes_the_file_away(tmp_path: Path, path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path, {"socket": str(path)}) as gateway:
        gateway.wait_for_state("good", "ready")
        assert f"Listening on the socket {path} as well" in gateway.log.read_text()
        facts = path.stat()
        assert (stat.S_ISSOCK(facts.st_mode), stat.S_IMODE(facts.st_mode)) == (True, 0o660)
        assert get(path, "/health")[0] == gateway.get("/health").status == 200
        connection = OverSocket(path)
        kept = []
        for text in ("one", "two"):
            connection.request(
                "POST",
                "/api/tools/good/echo",
                json.dumps({"text": text}),
                {"Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            kept.append((answer.status, json.loads(answer.read())["content"][0]["text"]))
        assert kept == [(200, "one"), (200, "two")]
        connection.close()
        gateway.gateway = {"socket": f"{path}.other"}
        sentence = "`gateway.socket` changed in the configuration; it holds after a restart of the gateway"
        assert gateway.reload()["warnings"] == [sentence]
    assert not path.exists()


def test_another_user_does_not_come_in(tmp_path: Path, path: Path) -> None:
    with Gateway({}, tmp_path, {"socket": str(path)}), pytest.raises(AssertionError, match="ended with 1"):
        stranger(SOMEBODY, str(path)).__enter__()


def test_what_a_killed_gateway_left_is_replaced(tmp_path: Path, path: Path) -> None:
    with Gateway({}, tmp_path, {"socket": str(path)}) as gateway:
        gateway.kill()
        assert stat.S_ISSOCK(path.stat().st_mode)
        gateway.start()
        assert get(path, "/health")[0] == 200
    assert not path.exists()


def test_a_gateway_that_runs_keeps_its_socket(tmp_path: Path, path: Path) -> None:
    with Gateway({}, tmp_path, {"socket": str(path)}):
        assert "another program answers there" in refused(tmp_path, path)
        assert get(path, "/health")[0] == 200


def test_one_that_is_too_busy_to_answer_keeps_its_socket_too(tmp_path: Path, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        assert "another program answers there" in refused(tmp_path, path)


def test_a_socket_that_was_replaced_meanwhile_is_left_alone(tmp_path: Path, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        with Gateway({}, tmp_path, {"socket": str(path)}):
            path.unlink()
            theirs.bind(str(path))
        assert path.exists()


def test_anything_but_a_socket_is_left_alone(tmp_path: Path, path: Path) -> None:
    path.write_text("precious")
    assert "something that is no socket" in refused(tmp_path, path)
    assert path.read_text() == "precious"
    link = path.with_name("link")
    link.symlink_to(path)
    assert "something that is no socket" in refused(tmp_path, link)
    assert link.is_symlink()
    datagrams = path.with_name("datagrams")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(datagrams))
        refused(tmp_path, datagrams)
        assert datagrams.exists()


def test_a_directory_that_is_not_there_is_said(tmp_path: Path, path: Path) -> None:
    assert f"{path.parent / 'nowhere'} is no directory" in refused(
        tmp_path, path.parent / "nowhere" / "socket"
    )
