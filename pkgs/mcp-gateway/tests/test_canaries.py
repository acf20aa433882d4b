"""The search for secrets (S38) can fail: a leak is found in every place, in every encoding.

Then the real gateway, with a server that tells all it knows wherever it can say anything.
"""

import http.server
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests import canary, leaks
from tests.canary import MARK, Canary
from tests.faces.knocking import Api, Line, Mcp
from tests.harness import Gateway, hostile, until

WAIT_S = 15.0
ENCODINGS = list(canary.encodings("anything"))


@pytest.fixture
def planted(request: pytest.FixtureRequest) -> Canary:
    made = canary.make("a-secret", request.node.name, lines=True)
    leaks.plant(made)
    return made


@pytest.fixture
def state_dir(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Of a gateway under watch that is nothing but its files."""
    directory = tmp_path / "state"
    directory.mkdir()
    leaks.watch(request.node.name, tmp_path / "log", directory)
    yield directory
    leaks.unwatch(request.node.name)


def told(encoding: str, planted: Canary) -> bytes:
    return b"before\n" * 9 + canary.encodings(planted.value)[encoding] + b"\nafter" * 9


def in_the_log(data: bytes, state_dir: Path) -> str:
    with (state_dir.parent / "log").open("ab") as log:
        log.write(data)
    return "log"


def in_a_spool_file(data: bytes, state_dir: Path) -> str:
    (state_dir / "spool").mkdir()
    (state_dir / "spool" / "large").write_bytes(data)
    return "state directory: spool/large"


def in_the_database(data: bytes, state_dir: Path) -> str:
    """Written and closed: in the file itself."""
    with closing(sqlite3.connect(state_dir / "gateway.sqlite3")) as database:
        database.execute("CREATE TABLE calls (detail BLOB)")
        database.execute("INSERT INTO calls VALUES (?)", (data,))
        database.commit()
    return "state directory: gateway.sqlite3"


def in_an_answer(data: bytes, state_dir: Path) -> str:
    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with closing(leaks.Connection("127.0.0.1", server.server_port, timeout=WAIT_S)) as connection:
            connection.request("GET", "/api/servers?q=1")
            assert connection.getresponse().read() == data
        thread.join(WAIT_S)
    return "answer to GET /api/servers"


PLACES: tuple[Callable[[bytes, Path], str], ...] = (
    in_the_log,
    in_a_spool_file,
    in_the_database,
    in_an_answer,
)


@pytest.mark.parametrize("leak", PLACES, ids=lambda leak: leak.__name__)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_leak_is_found_in_every_place_and_encoding(
    leak: Callable[[bytes, Path], str], encoding: str, planted: Canary, state_dir: Path
) -> None:
    leaks.check()
    place = leak(told(encoding, planted), state_dir)
    with pytest.raises(leaks.Leaked) as leaked:
        leaks.check()
    words = str(leaked.value)
    assert f"a-secret in {place} (" in words
    assert "test_a_leak_is_found_in_every_place_and_encoding" in words
    assert MARK not in words
    leaks.check()  # it is told once


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_is_told(encoding: str, planted: Canary) -> None:
    data = canary.encodings(planted.value)[encoding]
    names = {name for found, name in leaks.FINDER.find(data) if found is planted}
    assert names
    assert canary.encodings(planted.value)[names.pop()] == data


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_leak_is_found_however_it_is_cut_in_pieces(size: int, planted: Canary) -> None:
    data = told("base64 after 1", planted)
    ear = leaks.Ear("log")
    for start in range(0, len(data), size):
        ear.hear(data[start : start + size])
    with pytest.raises(leaks.Leaked, match="a-secret in log"):
        leaks.check()


def test_a_leak_in_the_write_ahead_log_is_found(planted: Canary, state_dir: Path) -> None:
    with closing(sqlite3.connect(state_dir / "gateway.sqlite3")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE calls (detail TEXT)")
        database.execute("INSERT INTO calls VALUES (?)", (planted.value,))
        database.commit()
        with pytest.raises(leaks.Leaked, match=r"state directory: gateway\.sqlite3-wal"):
            leaks.check()
    with pytest.raises(leaks.Leaked, match=r"state directory: gateway\.sqlite3 "):
        leaks.check()  # where closing it has put it


def test_a_leak_on_a_bare_connection_is_found(planted: Canary) -> None:
    def answer(server: http.server.HTTPServer) -> None:
        line, _ = server.socket.accept()
        line.sendall(f"HTTP/1.1 200 OK\r\nX: {planted.core}\r\nContent-Length: 0\r\n\r\n".encode())
        line.close()

    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        for read in (Line.read, Line.rest):
            thread = threading.Thread(target=answer, args=(server,))
            thread.start()
            with Line(server.server_port) as line:
                read(line)
            thread.join(WAIT_S)
            with pytest.raises(leaks.Leaked, match="a-secret in an"):
                leaks.check()


def test_a_leak_in_the_arguments_of_a_process_is_found(planted: Canary, state_dir: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()", f"--key={planted.value}"], stdin=subprocess.PIPE
    )
    try:
        until(Path(f"/proc/{process.pid}/cmdline").read_bytes, WAIT_S, "it has its arguments")
        with pytest.raises(leaks.Leaked, match="ps: the arguments of process"):
            leaks.check()
    finally:
        process.communicate(b"\n", WAIT_S)


def test_a_leak_in_a_core_file_is_found(
    planted: Canary, state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "core.17").write_bytes(os.urandom(1 << 20) + planted.value.encode())
    with pytest.raises(leaks.Leaked, match=r"core file core\.17"):
        leaks.check()


def test_a_key_that_a_test_adds_is_found_in_what_was_written_before(state_dir: Path) -> None:
    in_the_log(b"made mgk_ab12_Zm9v-YmFyYmF6cXV4_x", state_dir)
    leaks.check()
    leaks.plant(Canary("key", "somebody", "mgk_ab12_Zm9v-YmFyYmF6cXV4_x"))
    with pytest.raises(leaks.Leaked, match="key in log"):
        leaks.check()
    leaks.FINDER.forget("somebody")


def test_a_value_that_could_be_anything_is_not_taken_for_a_secret() -> None:
    with pytest.raises(ValueError, match="eight letters"):
        canary.core_of("a-b-c-1234567")


# -- the real gateway -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {
        "teller": hostile("tell", payloads="disk"),
        "refuser": hostile("tell-refusing"),
        "good": hostile("good"),
    }
    with Gateway(servers, tmp_path_factory.mktemp("canaries")) as gateway:
        for name in ("teller", "good"):
            gateway.wait_for_state(name, "ready")
        yield gateway


WAYS = ("env-of-teller", "variable", "file", "credential", "command")


def test_what_a_server_says_beside_its_answers_is_shown_without_secrets(gateway: Gateway) -> None:
    """On stderr and stdout, in each encoding; what is found in it, the fixture tells."""

    def lines() -> list[str]:
        return gateway.get("/api/servers/teller/logs?tail=1000").body.decode().splitlines()

    until(lambda: sum("telling on stdout" in line for line in lines()) > 9, WAIT_S, "it has told all")
    assert sum("•••" in line for line in lines()) > 40


def test_tools_and_instructions_are_shown_without_what_was_fetched_for_the_server(gateway: Gateway) -> None:
    tools = {tool["name"]: tool for tool in Api(gateway).json("/api/tools?server=teller")["tools"]}
    assert tools["loose"]["inputSchema"]["properties"]["token"]["default"] == "•••"
    assert not any(name.startswith("named") for name in tools)
    native = Mcp(gateway, "/servers/teller/mcp")
    in_clear = gateway.canaries.value("env-of-teller")
    for text in (native.introduction["instructions"], native.tools()["loose"]["description"]):
        assert text.count("•••") > 20
        assert in_clear in text, "what the configuration says in the clear is no secret here"
    assert gateway.server("teller")["instructions"].count("•••") > 20
    Mcp(gateway).tools()
    logs = gateway.get("/api/servers/teller/logs?tail=1000").body.decode()
    assert "shown without a secret" in logs
    assert "left out: it is made of a secret" in logs


@pytest.mark.parametrize("how", ["result", "failure", "error"])
def test_an_answer_reaches_its_caller_as_it_is_and_is_recorded_without_secrets(
    gateway: Gateway, how: str
) -> None:
    answer = gateway.call("teller", "act", how=how)
    over_mcp = Mcp(gateway, "/servers/teller/mcp").call("act", {"how": how})
    for body in (json.dumps(answer.json()), json.dumps(over_mcp)):
        for way in WAYS:
            assert json.dumps(gateway.canaries.value(way))[1:-1] in body, way
    record = Api(gateway).record(answer.call_id)
    if how != "result":
        assert "•••" in record["detail"] if how == "error" else record["outcome"] == "tool_error"
    assert "•••" in record["response"]["text"]


def test_progress_and_messages_reach_their_caller_as_they_are(gateway: Gateway) -> None:
    events = gateway.stream("teller", "act")
    secret = gateway.canaries.value("file")
    assert [name for name, data in events if json.dumps(secret)[1:-1] in json.dumps(data)] == [
        "log",
        "progress",
        "result",
    ]


@pytest.mark.parametrize("how", ["garbage", "exit"])
def test_how_a_call_is_lost_is_told_without_secrets(gateway: Gateway, how: str) -> None:
    gateway.wait_for_state("teller", "ready", timeout_s=WAIT_S)
    answer = gateway.call("teller", "act", how=how)
    assert answer.code == "lost"
    assert MARK not in answer.body.decode()
    gateway.wait_for_state("teller", "ready", timeout_s=WAIT_S)


def test_why_a_server_does_not_start_is_told_without_secrets(gateway: Gateway) -> None:
    shown = gateway.wait_for("refuser", lambda shown: "•••" in (shown["lastError"] or ""), WAIT_S, "refuses")
    assert "•••" in shown["reason"] or shown["state"] == "starting"


def test_a_server_is_given_its_own_secrets_and_no_others(gateway: Gateway) -> None:
    for name in ("good", "teller"):
        environment = Path(f"/proc/{gateway.server(name)['pid']}/environ").read_bytes()
        found = {canary.name for canary, _ in leaks.FINDER.find(environment)}
        first = {"command"} if name == gateway.first else set()
        assert found == {f"env-of-{name}", "variable", "file", "credential"} | first
