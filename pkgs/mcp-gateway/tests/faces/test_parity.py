"""One call through every face, all of them compared: what the server hears, what its caller gets, the record.

`FACES` is the table of the ways in and of what each of them puts around a result. Nothing else may differ:
the server hears the same bytes, its caller gets those of the server, and each call leaves the same record.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from click.testing import CliRunner

from mcp_gateway.cli import main
from tests.faces.knocking import Mcp, check_log, exact, frames, tool_path
from tests.faces.test_legacy_sse import connected
from tests.golden.exact import CASES, ERROR
from tests.harness import Answer, Gateway, until

ARGUMENTS: Final = rb'{"z":1.50,"n":12345678901234567890,"e":"\u00e9","list":[null,{"b":1,"a":2}]}'
SHAPE: Final = {"z": "number", "n": "integer", "e": "string(1)", "list": ["null", 2]}
STREAM: Final = {"Accept": "text/event-stream"}
# What a record says that is the same for every face, and what is each call's own.
SAME: Final = ("caller", "right", "action", "server", "tool", "method", "target", "outcome", "detail")
OWN: Final = ("id", "started", "durationMs", "face", "requestBytes")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"exact": exact()}, tmp_path_factory.mktemp("parity")) as gateway:
        gateway.wait_for_state("exact", "ready")
        yield gateway
        check_log(gateway)


# -- the ways in: each sends one call and hands back what came, without the framing of HTTP and events ------


def said(answer: Answer) -> bytes:
    """The one thing that an answer says, as a document or as the one event of a stream."""
    if answer.headers["content-type"].partition(";")[0] != "text/event-stream":
        return answer.body
    ((_, only),) = frames(answer.body)
    return only


def rest(gateway: Gateway, tool: str, arguments: bytes) -> bytes:
    return said(gateway.request("POST", tool_path("exact", tool), arguments))


def rest_stream(gateway: Gateway, tool: str, arguments: bytes) -> bytes:
    return said(gateway.request("POST", tool_path("exact", tool), arguments, STREAM))


def rest_later(gateway: Gateway, tool: str, arguments: bytes) -> bytes:
    """Asks for it later, waits on the call's own stream for its end, and looks for it in what is kept."""
    later = gateway.request("POST", tool_path("exact", tool), arguments, {"Prefer": "respond-async"})
    if later.status != 202:
        return later.body
    ended = said(gateway.request("GET", later.headers["location"], headers=STREAM))
    assert ended in gateway.get(later.headers["location"]).body
    return ended


def command_line(gateway: Gateway, tool: str, arguments: bytes) -> bytes:
    address = f"http://127.0.0.1:{gateway.port}"
    done = CliRunner().invoke(main, ["call", "--json", "--url", address, f"exact/{tool}", arguments.decode()])
    return done.stdout_bytes or done.stderr_bytes


def call(name: str, arguments: bytes) -> bytes:
    params = b'{"name":"%b","arguments":%b}' % (name.encode(), arguments)
    return b'{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":%b}' % params


@dataclass(frozen=True)
class Streamable:
    """A revision of the handshake era over Streamable HTTP."""

    endpoint: str
    revision: str
    batch: bool = False

    def __call__(self, gateway: Gateway, tool: str, arguments: bytes) -> bytes:
        body = call(f"exact__{tool}" if self.endpoint == "/mcp" else tool, arguments)
        session = Mcp(gateway, self.endpoint, self.revision)
        answer = session.post(b"[%b]" % body if self.batch else body)
        session.end()
        assert answer.status == 200, answer
        # A large answer comes as an event, also where it is one of a batch.
        return said(answer) if answer.body.startswith(b"[") or not self.batch else b"[%b]" % said(answer)


@dataclass(frozen=True)
class HttpSse:
    """HTTP+SSE of 2024-11-05."""

    path: str

    def __call__(self, gateway: Gateway, tool: str, arguments: bytes) -> bytes:
        body = call(f"exact__{tool}" if self.path == "/mcp/sse" else tool, arguments)
        with connected(gateway, self.path) as session:
            session.introduce()
            assert session.post(body).status == 202
            return next(session.stream)[1].encode()


BARE: Final = (b"", b"")
LINE: Final = (b"", b"\n")
ENVELOPE: Final = (b'{"jsonrpc":"2.0","id":"mine","result":', b"}")
ARRAY: Final = (b"[" + ENVELOPE[0], ENVELOPE[1] + b"]")

Face = Callable[[Gateway, str, bytes], bytes]
# Way in -> how, the word in the record, and what stands before and after the result.
FACES: Final[dict[str, tuple[Face, str, tuple[bytes, bytes]]]] = {
    "REST": (rest, "rest", BARE),
    "REST as a stream": (rest_stream, "rest", BARE),
    "REST, later": (rest_later, "rest", BARE),
    "command line": (command_line, "rest", LINE),
    **{
        f"{revision} at {endpoint}": (Streamable(endpoint, revision), "mcp", ENVELOPE)
        for endpoint in ("/mcp", "/servers/exact/mcp")
        for revision in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
    },
    **{
        f"2025-03-26 at {endpoint} in a batch": (Streamable(endpoint, "2025-03-26", batch=True), "mcp", ARRAY)
        for endpoint in ("/mcp", "/servers/exact/mcp")
    },
    **{
        f"2024-11-05 at {path}": (HttpSse(path), "mcp", ENVELOPE)
        for path in ("/mcp/sse", "/servers/exact/sse")
    },
}


def ended_records(gateway: Gateway, tool: str, number: int, since: float) -> list[dict[str, Any]]:
    """The records of the last calls of a tool, oldest first, once there are so many and all have ended."""
    rows: list[dict[str, Any]] = []

    def ended() -> bool:
        rows[:] = gateway.get(f"/api/calls?server=exact&tool={tool}&since={since}").json()["calls"]
        return len(rows) >= number and all(row["outcome"] != "running" for row in rows)

    until(ended, 10, f"{number} calls have ended", lambda: str(rows))
    return rows[::-1]


def newest(gateway: Gateway) -> float:
    """Just after the newest call."""
    rows = gateway.get("/api/calls?limit=1").json()["calls"]
    return float(rows[0]["started"]) + 1e-6 if rows else 0.0


@pytest.mark.parametrize("case", CASES)
def test_a_call_gets_the_same_through_every_face_and_leaves_the_same_record(
    gateway: Gateway, case: str
) -> None:
    since = newest(gateway)
    for name, (face, _, (before, after)) in FACES.items():
        answer = face(gateway, case, ARGUMENTS)
        assert answer == before + CASES[case] + after, name
    rows = ended_records(gateway, case, len(FACES), since)
    assert len(rows) == len(FACES)  # one each
    outcome = "tool_error" if case == "failure" else "ok"
    for row, (name, (face, word, _)) in zip(rows, FACES.items(), strict=True):
        assert row["face"] == word, name
        assert {member: row[member] for member in SAME} == {member: rows[0][member] for member in SAME}, name
        assert (row["server"], row["tool"], row["outcome"]) == ("exact", case, outcome), name
        assert (row["arguments"], row["responseBytes"]) == (SHAPE, len(CASES[case])), name
        assert row.keys() == {*SAME, *OWN, "arguments", "responseBytes"}, name
        # REST's body is the arguments; on MCP the message is what arrived.
        sent = ARGUMENTS if word == "rest" else call(wire_name(face, case), ARGUMENTS)
        assert row["requestBytes"] == len(sent), name


def wire_name(face: Face, tool: str) -> str:
    where = getattr(face, "endpoint", None) or getattr(face, "path", "")
    return f"exact__{tool}" if where in ("/mcp", "/mcp/sse") else tool


def test_the_server_hears_the_same_whoever_calls(gateway: Gateway) -> None:
    heard = {}
    for name, (face, _, (before, after)) in FACES.items():
        answer = face(gateway, "raw-line", ARGUMENTS)
        line = json.loads(answer[len(before) : len(answer) - len(after)])["content"][0]["text"]
        # The id of the request to the server, which is its progress token, too.
        number = json.loads(line)["id"]
        assert json.loads(line)["params"]["_meta"] == {"progressToken": number}
        heard[name] = re.sub(rf'"(id|progressToken)":{number}(?=[,}}])', r'"\1":0', line)
    assert set(heard.values()) == {heard["REST"]}, heard
    assert f'"params":{{"name":"raw-line","arguments":{ARGUMENTS.decode()},' in heard["REST"]


def test_an_error_of_the_server_is_the_same_error_through_every_face(gateway: Gateway) -> None:
    since = newest(gateway)
    for name, (face, word, (before, after)) in FACES.items():
        answer = face(gateway, "refuse", ARGUMENTS)
        if word == "mcp":
            assert answer == before.replace(b'"result":', b'"error":') + ERROR + after, name
        else:
            problem = json.loads(answer)
            assert (problem["code"], problem["rpcError"]) == ("lost", json.loads(ERROR)), name
    rows = ended_records(gateway, "refuse", len(FACES), since)
    assert len(rows) == len(FACES)
    assert len({tuple(row[member] for member in SAME) for row in rows}) == 1
    assert {(row["outcome"], row["responseBytes"]) for row in rows} == {("lost", 0)}


def test_what_nobody_has_is_unknown_through_every_face_and_is_recorded(gateway: Gateway) -> None:
    since = newest(gateway)
    for name, (face, word, _) in FACES.items():
        answer = face(gateway, "nothing", ARGUMENTS)
        document = json.loads(answer)
        if word == "mcp":
            (document,) = document if isinstance(document, list) else [document]
            assert document["error"]["code"] == -32602, name
            document = document["error"]["data"]
        assert document["code"] == "unknown", name
    until(
        lambda: len(gateway.get(f"/api/calls?outcome=unknown&since={since}").json()["calls"]) == len(FACES),
        10,
        "each has its record",
        lambda: str(gateway.get(f"/api/calls?since={since}").json()["calls"]),
    )
