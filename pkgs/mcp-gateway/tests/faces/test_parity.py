"""One call through every face, all of them compared: what the server hears, what its caller gets, the record.

`FACES` is the table of the ways in and of what each of them puts around a result. Nothing else may differ:
the server hears the same bytes, its caller gets those of the server, and each call leaves the same record.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import pytest
from click.testing import CliRunner

from mcp_gateway.cli import main
from tests.faces.knocking import BOTH_KINDS, Mcp, check_log, exact, frames, tool_path
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


@dataclass(frozen=True)
class OverMcp:
    """MCP at one of its URLs; `more` are members of the parameters behind the arguments."""

    endpoint: str
    more: ClassVar[bytes] = b""

    def name(self, tool: str) -> str:
        return f"exact__{tool}" if self.endpoint.startswith("/mcp") else tool

    def message(self, tool: str, arguments: bytes) -> bytes:
        params = b'{"name":"%b","arguments":%b%b}' % (self.name(tool).encode(), arguments, self.more)
        return b'{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":%b}' % params


@dataclass(frozen=True)
class Streamable(OverMcp):
    """A revision of the handshake era over Streamable HTTP."""

    revision: str

    def __call__(self, gateway: Gateway, tool: str, arguments: bytes) -> bytes:
        session = Mcp(gateway, self.endpoint, self.revision)
        answer = session.post(self.sent(tool, arguments))
        session.end()
        assert answer.status == 200, answer
        return said(answer)

    def sent(self, tool: str, arguments: bytes) -> bytes:
        return self.message(tool, arguments)


@dataclass(frozen=True)
class Batched(Streamable):
    """The only message of a batch."""

    def sent(self, tool: str, arguments: bytes) -> bytes:
        return b"[%b]" % self.message(tool, arguments)

    def __call__(self, gateway: Gateway, tool: str, arguments: bytes) -> bytes:
        answer = super().__call__(gateway, tool, arguments)
        return answer if answer.startswith(b"[") else b"[%b]" % answer  # a large one comes as an event


@dataclass(frozen=True)
class Modern(OverMcp):
    """The revision without sessions, which says with each request what it is."""

    more: ClassVar[bytes] = (
        b',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
        b'"io.modelcontextprotocol/clientCapabilities":{}}'
    )

    def __call__(self, gateway: Gateway, tool: str, arguments: bytes) -> bytes:
        headers = {
            "Accept": BOTH_KINDS,
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": self.name(tool),
        }
        return said(gateway.request("POST", self.endpoint, self.message(tool, arguments), headers))


@dataclass(frozen=True)
class HttpSse(OverMcp):
    """HTTP+SSE of 2024-11-05."""

    def __call__(self, gateway: Gateway, tool: str, arguments: bytes) -> bytes:
        with connected(gateway, self.endpoint) as session:
            session.introduce()
            assert session.post(self.message(tool, arguments)).status == 202
            return next(session.stream)[1].encode()


# -- what each puts around a result or an error ------------------------------------------------------------


def as_it_is(member: str, value: bytes) -> bytes:
    return value


def as_a_line(member: str, value: bytes) -> bytes:
    return value + b"\n"


def in_an_envelope(member: str, value: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":"mine","%b":%b}' % (member.encode(), value)


def in_an_array(member: str, value: bytes) -> bytes:
    return b"[%b]" % in_an_envelope(member, value)


def with_its_type(member: str, value: bytes) -> bytes:
    """A server of the handshake era does not say of a result that it is complete."""
    if member == "result":
        value = b'{"resultType":"complete"%b' % (value[1:] if value == b"{}" else b"," + value[1:])
    return in_an_envelope(member, value)


Face = Callable[[Gateway, str, bytes], bytes]
# Way in -> how, the word in the record, and what is put around what the server said.
FACES: Final[dict[str, tuple[Face, str, Callable[[str, bytes], bytes]]]] = {
    "REST": (rest, "rest", as_it_is),
    "REST as a stream": (rest_stream, "rest", as_it_is),
    "REST, later": (rest_later, "rest", as_it_is),
    "command line": (command_line, "rest", as_a_line),
    **{
        f"{revision} at {endpoint}": (Streamable(endpoint, revision), "mcp", in_an_envelope)
        for endpoint in ("/mcp", "/servers/exact/mcp")
        for revision in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
    },
    **{
        f"2025-03-26 at {endpoint} in a batch": (Batched(endpoint, "2025-03-26"), "mcp", in_an_array)
        for endpoint in ("/mcp", "/servers/exact/mcp")
    },
    **{
        f"2026-07-28 at {endpoint}": (Modern(endpoint), "mcp", with_its_type)
        for endpoint in ("/mcp", "/servers/exact/mcp")
    },
    **{
        f"2024-11-05 at {endpoint}": (HttpSse(endpoint), "mcp", in_an_envelope)
        for endpoint in ("/mcp/sse", "/servers/exact/sse")
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
    for name, (face, _, around) in FACES.items():
        assert face(gateway, case, ARGUMENTS) == around("result", CASES[case]), name
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
        sent = face.message(case, ARGUMENTS) if isinstance(face, OverMcp) else ARGUMENTS
        assert row["requestBytes"] == len(sent), name


def test_the_server_hears_the_same_whoever_calls(gateway: Gateway) -> None:
    heard = {}
    for name, (face, _, _) in FACES.items():
        document = json.loads(face(gateway, "raw-line", ARGUMENTS))
        (document,) = document if isinstance(document, list) else [document]
        line = document.get("result", document)["content"][0]["text"]
        # The id of the request to the server, which is its progress token, too.
        number = json.loads(line)["id"]
        assert json.loads(line)["params"]["_meta"] == {"progressToken": number}
        heard[name] = re.sub(rf'"(id|progressToken)":{number}(?=[,}}])', r'"\1":0', line)
    assert set(heard.values()) == {heard["REST"]}, heard
    assert f'"params":{{"name":"raw-line","arguments":{ARGUMENTS.decode()},' in heard["REST"]


def test_an_error_of_the_server_is_the_same_error_through_every_face(gateway: Gateway) -> None:
    since = newest(gateway)
    for name, (face, word, around) in FACES.items():
        answer = face(gateway, "refuse", ARGUMENTS)
        if word == "mcp":
            assert answer == around("error", ERROR), name
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
