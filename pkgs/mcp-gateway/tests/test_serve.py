"""`mcp-gateway serve` before it serves: what it refuses, with which exit code and which sentence.

Exit codes: 0 stopped as asked, 1 cannot start, 2 the configuration or the command line is wrong. A start
that is refused has touched no state and spawned nothing.
"""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Gateway, hostile, until

LIMIT_S = 20
SERVE = (sys.executable, "-m", "mcp_gateway", "serve")


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
    return kept | {"HOME": str(home)} | more


def refuse(tmp_path: Path, *arguments: str, **env: str) -> tuple[int, str]:
    """Runs `serve` that ends by itself; its exit code and what it said."""
    state = tmp_path / "state"
    done = subprocess.run(
        [*SERVE, "--state-dir", str(state), *arguments],
        env=environment(tmp_path, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert not done.stdout, done
    assert "Traceback" not in done.stderr, done
    assert not state.exists(), "a start that was refused has made its state directory"
    return done.returncode, done.stderr


def write(path: Path, config: Any) -> Path:
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "127.0.0.2", "localhost.evil.test"]
)
def test_a_bind_beyond_loopback_is_refused_with_a_way_out(tmp_path: Path, host: str) -> None:
    code, said = refuse(tmp_path, "--port", "0", "--host", host)
    assert code == 2
    assert host in said
    assert "loopback" in said
    assert "127.0.0.1" in said


def test_a_bind_beyond_loopback_is_refused_wherever_it_is_written(tmp_path: Path) -> None:
    code, said = refuse(tmp_path, "--port", "0", MCP_GATEWAY_HOST="0.0.0.0")
    assert (code, "loopback" in said) == (2, True)
    config = write(tmp_path / "config.json", {"mcpServers": {}, "gateway": {"host": "0.0.0.0"}})
    code, said = refuse(tmp_path, "--port", "0", "--config", str(config))
    assert (code, "loopback" in said) == (2, True)


def test_a_public_address_that_is_none_is_refused(tmp_path: Path) -> None:
    for url in ("gw.example.com", "https://gw.example.com/mcp", "https://a:b@gw.example.com"):
        code, said = refuse(tmp_path, "--port", "0", MCP_GATEWAY_PUBLIC_URL=url)
        assert (code, "gateway.publicUrl" in said) == (2, True), said
    config = write(tmp_path / "config.json", {"gateway": {"trustedProxy": {"userHeader": "X-User"}}})
    code, said = refuse(tmp_path, "--port", "0", "--config", str(config))
    assert (code, "needs a proof" in said) == (2, True), said


def test_identity_of_a_tailnet_is_refused_where_others_reach_the_port(tmp_path: Path) -> None:
    config = write(
        tmp_path / "config.json", {"gateway": {"tailscale": {"identity": True, "uid": os.getuid() + 1}}}
    )
    code, said = refuse(tmp_path, "--port", "0", "--host", "0.0.0.0", "--config", str(config))
    assert (code, "tailscale.identity" in said) == (2, True), said


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    assert refuse(tmp_path, "--port", port)[0] == 2
    code, said = refuse(tmp_path, MCP_GATEWAY_PORT=port)
    assert (code, "MCP_GATEWAY_PORT" in said) == (2, True)


def test_a_configuration_with_mistakes_is_refused_with_every_place(tmp_path: Path) -> None:
    text = '{"mcpServers": {\n "a": {"comand": "x"},\n "b": {"command": 7}\n}}'
    config = write(tmp_path / "config.json", text)
    code, said = refuse(tmp_path, "--port", "0", "--config", str(config))
    assert code == 2
    assert f"{config}:2: mcpServers.a.comand" in said
    assert "did you mean `command`?" in said
    assert f"{config}:3: mcpServers.b.command" in said


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    code, said = refuse(tmp_path, "--port", "0", "--config", str(tmp_path / "nowhere.json"))
    assert code == 2
    assert "nowhere.json" in said


def test_a_configuration_that_others_may_write_is_refused(tmp_path: Path) -> None:
    config = write(tmp_path / "config.json", {"mcpServers": {}})
    config.chmod(0o666)
    code, said = refuse(tmp_path, "--port", "0", "--config", str(config))
    assert code == 2
    assert "config.json" in said


def test_a_port_in_use_is_said_before_anything_is_touched(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    servers = {"good": hostile("good", "--marks", str(marks))}
    config = write(tmp_path / "config.json", {"mcpServers": servers})
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        code, said = refuse(tmp_path, "--port", str(port), "--config", str(config))
    assert code == 1
    assert f"127.0.0.1 port {port}" in said
    assert not marks.exists()


def test_a_second_gateway_on_the_same_state_directory_does_not_start(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as first:
        first.wait_for_state("good", "ready")
        code_before = (first.state_dir / "one-time-code").read_text()
        done = subprocess.run(
            [*SERVE, "--port", "0", "--state-dir", str(first.state_dir)],
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 1
        assert str(first.state_dir) in done.stderr
        assert "Traceback" not in done.stderr
        assert not done.stdout
        # The first one goes on, and what it wrote for people is still its own.
        assert first.call("good", "echo", text="x").text == "x"
        assert (first.state_dir / "one-time-code").read_text() == code_before
        assert (first.state_dir / "port").read_text().strip() == str(first.port)


def test_a_state_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = subprocess.run(
        [*SERVE, "--port", "0", "--state-dir", str(tmp_path / "file" / "state")],
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def served(tmp_path: Path, *arguments: str, **env: str) -> Iterator[list[str]]:
    """A gateway that runs and is asked to stop afterwards; the two lines it said when it was open."""
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*SERVE, *arguments],
            env=environment(tmp_path, **env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            said = [process.stdout.readline().rstrip("\n") for _ in range(2)]
            port = int(said[0].rpartition(":")[2])
            assert Gateway({}, tmp_path, port=port).get("/health").status == 200
            yield said
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0
        finally:
            process.kill()


def test_without_a_configuration_it_starts_and_says_how_to_add_a_server(tmp_path: Path) -> None:
    with served(tmp_path, "--port", "0") as said:
        assert said[0].startswith("Open http://127.0.0.1:")
    told = (tmp_path / "stderr").read_text()
    assert "No configuration file" in told
    assert "mcpServers" in told
    assert str(tmp_path / ".config" / "mcp" / "mcp_servers.json") in told


def test_the_console_says_what_to_open_and_the_code_which_only_its_owner_may_read(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with served(tmp_path, "--port", "0", MCP_GATEWAY_STATE_DIR=str(state)) as said:
        port = (state / "port").read_text().strip()
        assert said[0] == f"Open http://127.0.0.1:{port}"
        code = (state / "one-time-code").read_text().strip()
        assert len(code) >= 8
        assert said[1].startswith(f"One-time code for administration: {code} ")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir() if path.is_file()}
        assert modes["one-time-code"] == 0o600
        assert not [name for name, mode in modes.items() if mode & 0o022]
        assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_the_configuration_is_found_where_it_is_usual(tmp_path: Path) -> None:
    usual = tmp_path / "xdg" / "mcp" / "mcp_servers.json"
    usual.parent.mkdir(parents=True)
    write(
        usual,
        {"mcpServers": {"Some Server": {"command": "/nowhere", "enabled": False}}, "gateway": {"port": 0}},
    )
    env = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "XDG_STATE_HOME": str(tmp_path / "var")}
    with served(tmp_path, **env) as said:
        port = int((tmp_path / "var" / "mcp-gateway" / "port").read_text())
        assert said[0].endswith(f":{port}")
        client = Gateway({}, tmp_path, port=port)
        assert [server["id"] for server in client.get("/api/servers").json()["servers"]] == ["some-server"]


def test_a_call_that_comes_before_its_server_waits_for_it(tmp_path: Path) -> None:
    """The port is open before anything is spawned; who knocks early is not told that the server is off."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    servers = {"good": hostile("good")}
    config = write(tmp_path / "config.json", {"mcpServers": servers})
    arguments = ("--port", str(port), "--config", str(config), "--state-dir", str(tmp_path / "state"))
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*SERVE, *arguments],
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    with process:
        try:
            client = Gateway(servers, tmp_path, port=port)

            def connected() -> bool:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S).close()
                except ConnectionRefusedError:
                    assert process.poll() is None, (tmp_path / "stderr").read_text()
                    return False
                return True

            until(connected, LIMIT_S, "the port is open")
            assert client.call("good", "echo", text="early").text == "early"
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0
        finally:
            process.kill()
