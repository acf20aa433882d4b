"""Questions where somebody misbehaves or leaves: odd answers, servers that die, or never start again.

Real processes throughout: `tests/asking.py` asks over stdio, `tests/hostile_http.py` over HTTP.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import Raw

from mcp_gateway.access.caller import NOBODY
from mcp_gateway.faces.mcp.asks import Asking
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.upstream.asks import Ask, OverLink
from mcp_gateway.upstream.exchange import Note
from mcp_gateway.upstream.link import Link
from tests.faces.knocking import Line, Mcp, Modern, check_log, check_rpc_error, json_bytes
from tests.faces.test_asks import (
    ASKING,
    FORM,
    WAIT_S,
    asking,
    calling,
    links,
    told,
    until,
)
from tests.faces.test_legacy_sse import connected
from tests.faces.test_listening import EVERYTHING, SUBSCRIPTION, listening
from tests.harness import Gateway, hostile, remote
from tests.security.cast import Guarded
from tests.test_draining import LIMIT_S, ask_to_stop, wait_for_end, within

ASK: dict[str, Any] = {"method": "elicitation/create", "params": FORM}
CAN: dict[str, Any] = {"elicitation": {}}
# What a server would take for a call of its own, if the line that holds it were one.
CALL = {"name": "remember", "arguments": {"text": "smuggled"}}
SMUGGLED = json_bytes({"jsonrpc": "2.0", "id": 99, "method": "tools/call", "params": CALL})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("asks")
    # The first start is the shared one's; any other says nothing.
    shy = f"mkdir {directory}/shy && exec {sys.executable} -I -S {ASKING}; exec sleep 600"
    servers = {
        "asking": asking(),
        "own": asking(isolation="session"),
        "shy": {"command": "sh", "args": ["-c", shy], "startTimeout": 1, "timeout": 6},
        "flood": hostile("ask-flood"),
    }
    with Gateway(servers, directory) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(autouse=True)
def _no_session_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "gateway" in request.fixturenames:
        gateway: Gateway = request.getfixturevalue("gateway")
        for session in gateway.get("/api/sessions").json()["sessions"]:
            gateway.request("DELETE", f"/api/sessions/{session['id']}")


def leases(gateway: Gateway) -> list[dict[str, Any]]:
    """Without the link that is opened to see what the server lists."""
    return [link for link in links(gateway) if link["for"] == "lease"]


# -- clients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_answer_in_several_lines_is_one_message_to_the_server(gateway: Gateway, line_end: bytes) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities=CAN)
    with calling(session, "ask", **ASK) as call:
        number = call.next()["id"]
        content = line_end.join((b'{"x":[', SMUGGLED, b"]}"))
        body = b'{"jsonrpc":"2.0","id":%d,"result":{"action":"accept","content":%b}}' % (number, content)
        assert session.post(body).status == 202
        assert call.result() == [{"action": "accept", "content": {"x": [json.loads(SMUGGLED)]}}]
    assert told(session.call("state")["result"])["said"] == [], "nothing was called by an answer"


def test_a_notification_in_several_lines_is_one_message_to_the_server(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/own/mcp")
    session.call("state")
    body = b'{"jsonrpc":"2.0","method":"notifications/x","params":{"x":[\n%b\n]}}' % SMUGGLED
    assert session.post(body).status == 202
    state = told(session.call("state")["result"])
    assert (state["said"], state["notifications"][-1]) == ([], "notifications/x")


ACCEPTED = {"action": "accept", "content": {"a": 1}}
REFUSAL = {"code": -1, "message": "no"}
ODD_ANSWERS: dict[str, tuple[dict[str, Any], Any]] = {
    "null error beside a result": ({"result": ACCEPTED, "error": None}, ACCEPTED),
    "result and error": ({"result": ACCEPTED, "error": REFUSAL}, REFUSAL),
    "null error alone": ({"error": None}, {"action": "cancel"}),
    "null": ({"result": None}, None),
    "a number": ({"result": 7}, 7),
    "text as error": ({"error": "no"}, "no"),
    "large": ({"result": {"x": "y" * 3_000_000}}, {"x": "y" * 3_000_000}),
}


@pytest.mark.parametrize("case", ODD_ANSWERS)
def test_an_odd_answer_ends_the_question(gateway: Gateway, case: str) -> None:
    said, heard = ODD_ANSWERS[case]
    session = Mcp(gateway, "/servers/asking/mcp", capabilities=CAN)
    with calling(session, "ask", **ASK) as call:
        call.answer(call.next()["id"], **said)
        assert call.result() == [heard]
    assert told(session.call("state")["result"])["revision"], "and the link goes on"


def test_an_answer_may_be_part_of_a_batch(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", "2025-03-26", {"sampling": {}})
    with calling(session, "ask", method="sampling/createMessage", params={"messages": []}) as call:
        answer = {"jsonrpc": "2.0", "id": call.next()["id"], "result": {"model": "m"}}
        ping = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
        answered = session.post(json_bytes([answer, ping, answer]))
        assert answered.json() == [{"jsonrpc": "2.0", "id": "p", "result": {}}]
        assert call.result() == [{"model": "m"}]


def test_a_request_that_arrives_after_its_session_has_ended_opens_nothing(gateway: Gateway) -> None:
    with ExitStack() as stack, Line(gateway.port) as line:
        session = stack.enter_context(connected(gateway, "/servers/own/sse"))
        session.introduce()
        body = Mcp.message("tools/call", {"name": "state", "arguments": {}}, 1)
        before = gateway.server("own")["calls"]["total"]
        line.send(
            b"POST %b HTTP/1.1" % session.url.encode(),
            b"Host: 127.0.0.1",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            body=body[:10],
        )
        assert session.ask("ping", request_id="heard")["result"] == {}, "the head is read by now"
        stack.close()
        until("the session has ended", lambda: gateway.get("/api/sessions").json()["sessions"] == [])
        line.socket.sendall(body[10:])
        line.read()
        assert gateway.server("own")["calls"]["total"] == before
        assert links(gateway, "own") == []


async def test_of_questions_that_were_answered_nothing_is_kept() -> None:
    class Heard:
        is_heard = True

        async def tell(self, message: bytes) -> None: ...

        async def ask(self, message: bytes) -> None: ...

    class Deaf:
        def answer(self, response: bytes) -> None: ...

    session = Sessions().open(NOBODY, "", "2025-11-25", 0.0, capabilities=b'{"sampling":{}}')
    asking = Asking(session, Heard())
    for number in range(100):
        ask = Ask(number, "sampling/createMessage", Raw(b"{}"), OverLink(cast(Link, Deaf()), lambda: None))
        await asking.take(Note("ask", ask=ask))
        session.asked.popitem()[1].answer(b"{}")
    gc.collect()
    assert sum(isinstance(one, Ask) for one in gc.get_objects()) <= 2


# -- servers -------------------------------------------------------------------------------------------


def test_F054_of_ten_thousand_questions_of_a_call_sixteen_are_asked(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/flood/mcp", capabilities=CAN)
    asked = set()
    with calling(session, "act") as call:
        while "result" not in (message := call.next()):
            if message["method"] == "elicitation/create":
                asked.add(message["id"])
        assert told(message["result"]) >= 10_000 - 16, "all others were declined at once"
    assert len(asked) == 16
    assert gateway.server("flood")["state"] == "ready"


def test_a_server_that_dies_with_a_question_open_loses_the_call_and_takes_the_question_back(
    gateway: Gateway,
) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities=CAN)
    with calling(session, "ask", **ASK) as call:
        number = call.next()["id"]
        (link,) = leases(gateway)
        os.kill(link["pid"], signal.SIGKILL)
        assert call.next()["params"] == {"requestId": number}
        check_rpc_error(call.next(), -32000, "lost")
        call.answer(number, result={"action": "accept"})  # is nobody's
    assert told(session.call("state")["result"])["pid"] != link["pid"]
    assert gateway.server("asking")["state"] == "ready", "the shared one has no part in it"


def test_a_server_that_does_not_start_again_for_a_lease_is_unavailable(gateway: Gateway) -> None:
    assert told(Mcp(gateway, "/servers/shy/mcp").call("state")["result"])["pid"]
    session = Mcp(gateway, "/servers/shy/mcp", capabilities=CAN)
    # Either it is told why at once, or the pauses between two attempts were short until its time was up.
    check_rpc_error(session.call("state"), -32000, "unavailable", "ready")
    until("nothing is left of the attempt", lambda: links(gateway, "shy") == [])


def test_a_lease_that_is_leaving_takes_over_no_call_that_waits(tmp_path: Path) -> None:
    with Gateway({"asking": asking()}, tmp_path) as gateway, ExitStack() as stack:
        gateway.wait_for_state("asking", "ready")
        session = Mcp(gateway, "/servers/asking/mcp", capabilities=CAN)
        leaving = stack.enter_context(calling(session, "ask", 1, **ASK))
        number = leaving.next()["id"]
        (old,) = leases(gateway)
        gateway.servers["asking"] = asking(env={"CHANGED": "1"})
        gateway.reload()
        until("the other configuration is in place", lambda: links(gateway) == [])
        gateway.wait_for_state("asking", "ready")
        standing = [stack.enter_context(calling(session, "ask", 2 + n, **ASK)) for n in range(4)]
        numbers = [call.next()["id"] for call in standing]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(session.call, "state", {}, 9)
            until("it waits", lambda: gateway.server("asking")["calls"]["queued"] == 1)
            leaving.answer(number, result={"action": "accept"})
            assert leaving.result() == [{"action": "accept"}], "it may finish"
            standing[0].answer(numbers[0], result={"action": "decline"})
            assert told(waiting.result(WAIT_S)["result"])["pid"] != old["pid"]
        session.end()
        check_log(gateway)


def test_a_link_of_ones_own_serves_on_while_the_shared_one_is_down(tmp_path: Path) -> None:
    serve = f"exec {sys.executable} -I -S {ASKING}"
    script = tmp_path / "run"
    script.write_text(f"test -e {tmp_path}/gone && exit 1\n{serve}\n")
    entry = {"command": "sh", "args": [str(script)], "isolation": "session"}
    with Gateway({"own": entry}, tmp_path / "g") as gateway:
        gateway.wait_for_state("own", "ready")
        session = Mcp(gateway, "/servers/own/mcp")
        assert told(session.call("remember", {"text": "a"})["result"])["said"] == ["a"]
        (tmp_path / "gone").touch()
        os.kill(gateway.server("own")["pid"], signal.SIGKILL)
        gateway.wait_for(
            "own", lambda shown: shown["state"] == "waiting" and shown["attempt"] >= 4, 60, "it is down"
        )
        assert told(session.call("remember", {"text": "b"})["result"])["said"] == ["a", "b"]
        session.end()


def bounded(change: str) -> tuple[str, ...]:
    """The command with another bound of links than its own."""
    start = "from mcp_gateway.cli import main; main()"
    return (sys.executable, "-c", f"from mcp_gateway.gateway import links; links.{change}; {start}")


def test_leases_leave_room_for_the_link_of_the_modern_era(tmp_path: Path) -> None:
    servers = {"dual": hostile("good", "--era", "dual")}
    with (
        Gateway(servers, tmp_path, command=bounded("MAX_IN_ALL = 1")) as gateway,
        ThreadPoolExecutor(1) as pool,
    ):
        gateway.wait_for_state("dual", "ready")
        session = Mcp(gateway, "/servers/dual/mcp", capabilities=CAN)
        running = pool.submit(session.call, "sleep", {"ms": 600_000})
        until("the lease is taken", lambda: [link["calls"] for link in links(gateway, "dual")] == [1])
        other = Mcp(gateway, "/servers/dual/mcp", capabilities=CAN)
        check_rpc_error(other.call("pid"), -32000, "busy")
        pid = Modern(gateway, "/servers/dual/mcp").call("pid")["content"][0]["text"]
        assert int(pid) != gateway.server("dual")["pid"]
        session.end()
        assert running.result(WAIT_S)
        check_log(gateway)


def test_the_leases_of_a_caller_at_other_servers_make_room_for_another(tmp_path: Path) -> None:
    servers = {name: asking() for name in "abc"}
    with Gateway(servers, tmp_path, command=bounded("MAX_OF_CALLER = 2")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        session = Mcp(gateway, capabilities=CAN)
        for server in servers:
            assert told(session.call(f"{server}__state")["result"])["capabilities"]["elicitation"] == {}
        until("the first made room", lambda: [len(links(gateway, name)) for name in "abc"] == [0, 1, 1])
        session.end()
        check_log(gateway)


# -- remote servers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["ask", "ask-on-get"])
@pytest.mark.parametrize("transport", ["http", "sse"])
def test_questions_of_a_remote_server_reach_the_client_on_either_stream(
    tmp_path: Path, mode: str, transport: str
) -> None:
    options = ("--transport", "sse") if transport == "sse" else ()
    with remote(mode, *options) as far, Gateway({"far": far.entry}, tmp_path) as gateway:
        gateway.wait_for_state("far", "ready")
        session = Mcp(gateway, "/servers/far/mcp", capabilities={"elicitation": {}, "sampling": {}})
        if transport == "http":
            session.call("echo", {"text": "the lease is open"})
            until("so are both streams", lambda: far.stats()["openGetStreams"] == 2)
        with calling(session, "act") as call:
            while "result" not in (message := call.next()):
                call.answer(message["id"], result={"answers": message["method"]})
        answers = told(message["result"])
        assert answers == {
            "ping": {},
            "nonsense/ask": -32601,
            "elicitation/create": {"answers": "elicitation/create"},
            "sampling/createMessage": {"answers": "sampling/createMessage"},
        }
        session.end()
        until("the lease ends with its session", lambda: links(gateway, "far") == [])
        check_log(gateway)


def test_F054_of_a_flood_of_a_remote_server_sixteen_are_asked(tmp_path: Path) -> None:
    with (
        remote("ask-flood", "--count", "500") as far,
        Gateway({"far": far.entry}, tmp_path) as gateway,
    ):
        gateway.wait_for_state("far", "ready")
        session = Mcp(gateway, "/servers/far/mcp", capabilities=CAN)
        asked = set()
        with calling(session, "act") as call:
            while "result" not in (message := call.next()):
                if message["method"] == "elicitation/create":
                    asked.add(message["id"])
        assert len(asked) == 16
        assert told(Mcp(gateway, "/servers/far/mcp").call("stats")["result"]), "it goes on"
        check_log(gateway)


@pytest.mark.parametrize("kind", ["stdio", "http"])
def test_F053_over_the_modern_era_nobody_is_asked(tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        entry = hostile("ask", "--era", "modern")
        if kind == "http":
            entry = stack.enter_context(remote("ask", "--era", "modern")).entry
        gateway = stack.enter_context(Gateway({"new": entry}, tmp_path))
        gateway.wait_for_state("new", "ready")
        session = Mcp(gateway, "/servers/new/mcp", capabilities={"elicitation": {}, "sampling": {}})
        with calling(session, "act") as call:
            answers = told(call.next()["result"])
        declined = {method: answer for method, answer in answers.items() if method != "ping"}
        assert set(declined.values()) <= {-32601}
        assert links(gateway, "new") == []
        session.end()
        check_log(gateway)


# -- ends ----------------------------------------------------------------------------------------------


def test_a_revoked_key_takes_its_questions_links_and_streams_along(tmp_path: Path) -> None:
    own = asking(isolation="session")
    servers = {"asking": asking(), "theirs": asking(isolation="caller"), "own": own}
    with Guarded(servers, tmp_path) as gateway, ExitStack() as stack:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        key_id, caller = gateway.make_key("guest", rights=["read", "call"])
        session = Mcp(caller, "/mcp", capabilities=CAN)
        session.call("theirs__state")
        caller.request("POST", "/api/tools/own/state", {}, {"X-Session-Id": "named"})
        call = stack.enter_context(calling(session, "asking__ask", **ASK))
        call.next()
        stream = stack.enter_context(listening(caller, EVERYTHING))
        assert links(gateway)
        assert links(gateway, "theirs")
        assert links(gateway, "own")
        gateway.revoke(key_id)
        until("the lease has gone", lambda: links(gateway) == [])
        until("so has the process of the caller", lambda: links(gateway, "theirs") == [])
        until("and that of a session it named", lambda: links(gateway, "own") == [])
        for _ in stream.events:
            pass
        for _ in call.events:
            pass
        row = gateway.get("/api/calls?server=asking&tool=ask").json()["calls"][0]
        assert row["outcome"] == "cancelled"
        check_log(gateway)


def test_a_stop_with_questions_and_streams_open_ends_in_time_and_tells_all(tmp_path: Path) -> None:
    with (
        Gateway({"asking": asking()}, tmp_path, command=within(DRAIN_S=1.0)) as gateway,
        ExitStack() as stack,
    ):
        gateway.wait_for_state("asking", "ready")
        session = Mcp(gateway, "/servers/asking/mcp", capabilities=CAN)
        answered = stack.enter_context(calling(session, "ask", 1, **ASK))
        first = answered.next()["id"]
        unanswered = stack.enter_context(calling(session, "ask", 2, **ASK))
        second = unanswered.next()["id"]
        streams = [stack.enter_context(listening(gateway, EVERYTHING, request_id=n)) for n in range(3)]
        ask_to_stop(gateway)
        answered.answer(first, result={"action": "accept"})
        assert answered.result() == [{"action": "accept"}], "whoever is asked may still answer"
        for number, stream in enumerate(streams):
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION: number}}
            assert next(stream.events)[1] == {"jsonrpc": "2.0", "id": number, "result": result}
        assert unanswered.next()["params"] == {"requestId": second}, "the question goes"
        check_rpc_error(unanswered.next(), -32000, "lost", "stopped")
        assert wait_for_end(gateway, LIMIT_S) == 0


def test_a_stop_with_a_question_open_over_http_and_sse_ends_in_time(tmp_path: Path) -> None:
    with (
        Gateway({"asking": asking()}, tmp_path, command=within(DRAIN_S=1.0)) as gateway,
        ExitStack() as stack,
    ):
        gateway.wait_for_state("asking", "ready")
        session = stack.enter_context(connected(gateway, "/servers/asking/sse"))
        params = {"protocolVersion": "2025-11-25", "capabilities": CAN, "clientInfo": {}}
        session.ask("initialize", params)
        session.call("ask", 1, **ASK)
        question = next(message for _ in range(2) if "id" in (message := session.next()))
        ask_to_stop(gateway)
        assert session.next()["params"] == {"requestId": question["id"]}
        check_rpc_error(session.next(), -32000, "lost", "stopped")
        assert list(session.stream) == []
        assert wait_for_end(gateway, LIMIT_S) == 0
