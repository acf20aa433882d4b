"""Between the eras: servers that ask in the middle of a call, clients that are asked in results, and back.

The servers are real processes: `asking.py` of the handshake era, `needing.py` of the modern one. What the
official client makes of it is in `test_mcp_clients.py`; states in a caller's hands are in `security`.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mcp.types as types
import psutil
import pytest
from mcp import Client
from pydantic import FileUrl

from tests.faces.knocking import Line, Mcp, Modern, check_log, check_rpc_error, frames, json_bytes
from tests.faces.test_asks import FORM, Asked, asking, calling, told
from tests.faces.test_legacy_sse import connected
from tests.harness import Answer, Gateway, hostile, parse_events, until

NEEDING = Path(__file__).parents[1] / "needing.py"
WAIT_S = 30
ASKED: dict[str, Any] = {"method": "elicitation/create", "params": FORM}
MODEL = {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 9}
EVERY: list[dict[str, Any]] = [
    ASKED,
    {"method": "sampling/createMessage", "params": MODEL},
    {"method": "roots/list"},
]
ALL: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
FORMS: dict[str, Any] = {"elicitation": {"form": {}}}
YES: dict[str, Any] = {"action": "accept", "content": {"n": 1.0}, "x-unknown": None}
ROUNDS: list[dict[str, Any]] = [
    {"who": ASKED, "model": EVERY[1]},
    {"where": EVERY[2]},
]
FIRST: list[dict[str, Any]] = [{"who": ASKED}]
INVALID_STATE = "is not valid for this request"


def needing(**config: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", "-S", str(NEEDING)], **config}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {
        "asking": asking(),
        "needing": needing(),
        "brief": asking(timeout=2, maxTimeout=2),
        "small": asking(queue=5, timeout=5),
        "hasty": needing(timeout=2, maxTimeout=2),
        "loud": needing(),  # where no call is taken back: what a server logs is nobody's for certain then
        "good": hostile("good"),
    }
    with Gateway(servers, tmp_path_factory.mktemp("bridge")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


def modern(gateway: Gateway, server: str = "asking", capabilities: Any = None) -> Modern:
    return Modern(gateway, f"/servers/{server}/mcp", FORMS if capabilities is None else capabilities)


def session(gateway: Gateway, server: str = "needing", capabilities: Any = None) -> Mcp:
    return Mcp(gateway, f"/servers/{server}/mcp", capabilities=ALL if capabilities is None else capabilities)


def again(asked: dict[str, Any], *answers: Any) -> dict[str, Any]:
    """What the client adds when it comes back: its answers, in the order of what was asked."""
    named = dict(zip(asked["inputRequests"], answers, strict=False))
    return {"requestState": asked["requestState"], "inputResponses": named}


def is_asked(result: dict[str, Any]) -> bool:
    return bool(result["resultType"] == "input_required")


def links(gateway: Gateway, server: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = gateway.server(server)["links"]
    return shown


def newest(gateway: Gateway, server: str, tool: str) -> dict[str, Any]:
    row: dict[str, Any] = gateway.get(f"/api/calls?server={server}&tool={tool}&limit=1").json()["calls"][0]
    return row


def refused(answer: Answer) -> dict[str, Any]:
    """A state that is good for nothing here: told in one way, whatever is wrong with it."""
    assert answer.status == 400, answer
    error = check_rpc_error(answer.json(), -32602, "invalid", INVALID_STATE)
    return {name: value for name, value in error["data"].items() if name not in ("callId", "server")}


# -- a client of the modern era, a server of the handshake era ---------------------------------------------


def test_what_is_asked_at_once_is_one_result_and_the_call_goes_on(gateway: Gateway) -> None:
    client = modern(gateway, capabilities={"elicitation": {}, "sampling": {}})
    asks = {"asks": EVERY[:2]}
    asked = client.call("several", asks)
    assert list(asked["inputRequests"].values()) == EVERY[:2]
    sampled = {"role": "assistant", "content": {"type": "text", "text": "m"}, "model": "m"}
    result = client.call("several", asks, **again(asked, YES, sampled))
    assert told(result) == [YES, sampled]
    assert result["resultType"] == "complete"


def test_roots_are_known_before_the_call(gateway: Gateway) -> None:
    """A server may ask as soon as it is open; a modern client can answer with another request only."""
    client = modern(gateway, capabilities={"roots": {}})
    before = {link["pid"] for link in links(gateway, "asking")}
    asked = client.call("state")
    assert list(asked["inputRequests"].values()) == [{"method": "roots/list"}]
    mine = {"roots": [{"uri": "file:///home/ada"}]}
    assert told(client.call("state", **again(asked, mine)))["roots"] == mine["roots"]
    until(
        lambda: {link["pid"] for link in links(gateway, "asking")} == before,
        WAIT_S,
        "no other client meets these roots",
    )


def test_round_after_round_is_one_call_with_one_record(gateway: Gateway) -> None:
    client = modern(gateway)
    before = len(gateway.records("asking"))
    arguments = {"count": 3}
    result = client.call("rounds", arguments)
    answers: list[Any] = []
    for number in range(3):
        (request,) = result["inputRequests"].values()
        assert json.loads(request["params"]["message"]) == answers
        assert newest(gateway, "asking", "rounds")["outcome"] == "running"
        answers.append({"action": "accept", "content": {"number": number}})
        result = client.call("rounds", arguments, **again(result, answers[-1]))
    assert told(result) == answers
    assert len(gateway.records("asking")) == before + 1
    assert newest(gateway, "asking", "rounds")["outcome"] == "ok"


def test_progress_is_told_with_whichever_request_is_there(gateway: Gateway) -> None:
    client = modern(gateway)
    params: dict[str, Any] = {"name": "rounds", "arguments": {"count": 1}}
    first = [
        json.loads(data) for _, data in frames(client.post("tools/call", params, 1, progressToken="a").body)
    ]
    assert [one["params"]["progressToken"] for one in first[:-1]] == ["a"]
    params |= again(first[-1]["result"], YES)
    second = [
        json.loads(data) for _, data in frames(client.post("tools/call", params, 2, progressToken="b").body)
    ]
    assert [one["params"] for one in second[:-1]] == [{"progressToken": "b", "progress": 2}]
    assert told(second[-1]["result"]) == [YES]


def test_what_is_not_answered_is_asked_again(gateway: Gateway) -> None:
    client = modern(gateway, capabilities={"elicitation": {}, "sampling": {}})
    asks = {"asks": EVERY[:2]}
    asked = client.call("several", asks)
    names = list(asked["inputRequests"])
    rest = client.call("several", asks, **again(asked, YES))
    assert rest["inputRequests"] == {names[1]: EVERY[1]}
    assert rest["requestState"] != asked["requestState"]
    nothing = client.call("several", asks, requestState=rest["requestState"])
    assert nothing["inputRequests"] == rest["inputRequests"]
    wrong = {"requestState": nothing["requestState"], "inputResponses": {names[1]: "model"}}
    answer = client.post("tools/call", {"name": "several", "arguments": asks, **wrong})
    check_rpc_error(answer.json(), -32602, "invalid", names[1], "object")
    unknown = {"requestState": nothing["requestState"], "inputResponses": {"made-up": YES}}
    still = client.call("several", asks, **unknown)
    assert told(client.call("several", asks, **again(still, {"model": "m"}))) == [YES, {"model": "m"}]


def test_new_questions_stand_beside_those_that_were_not_answered(gateway: Gateway) -> None:
    client = modern(gateway)
    result = client.call("chain")
    seen: dict[str, str] = {}
    answers: dict[str, Any] = {}
    while is_asked(result):
        for name, request in result["inputRequests"].items():
            message = request["params"]["message"]
            assert seen.setdefault(name, message) == message, "no name comes twice for another question"
            # At first one of them only; those from before are sent again, as a careless client does.
            if not answers or len(answers) > 1 or len(seen) > 2:
                answers[name] = {"action": "accept", "content": {"number": message}}
        result = client.call("chain", requestState=result["requestState"], inputResponses=answers)
    assert told(result) == [{"action": "accept", "content": {"number": number}} for number in "1234"]


def test_what_a_client_cannot_answer_is_declined_at_once(gateway: Gateway) -> None:
    client = modern(gateway)
    said = told(client.call("ask", {"method": "sampling/createMessage", "params": MODEL}))
    assert said[0]["code"] < 0
    asks = {"asks": EVERY[:2]}
    asked = client.call("several", asks)
    assert list(asked["inputRequests"].values()) == EVERY[:1]
    assert told(client.call("several", asks, **again(asked, YES)))[0] == YES
    nobody = modern(gateway, capabilities={"x": {}})
    assert told(nobody.call("ask", ASKED))[0]["code"] == -32601, "it shares a process that may ask nobody"


def test_who_can_be_asked_no_more_is_not_asked_again(gateway: Gateway) -> None:
    asked = modern(gateway).call("ask", ASKED)
    other = modern(gateway, capabilities={"sampling": {}})
    assert told(other.call("ask", ASKED, requestState=asked["requestState"])) == [{"action": "cancel"}]


PAGE = {"mode": "url", "url": "https://x.test/", "elicitationId": "e1", "message": "Sign in"}


@pytest.mark.parametrize("capability", [{}, {"form": {}}, 7, None])
def test_who_opens_no_pages_is_sent_to_none(gateway: Gateway, capability: Any) -> None:
    """Neither by a server of one era nor by one of the other."""
    capabilities = {"elicitation": capability}
    asked = {"method": "elicitation/create", "params": PAGE}
    answers = [told(modern(gateway, capabilities=capabilities).call("ask", asked))[0]]
    for server in ("asking", "needing"):
        client = session(gateway, server, capabilities)
        if server == "asking":
            answers.append(told(client.call("ask", asked)["result"])[0])
        else:
            answers.append(told(client.call("need", {"rounds": [{"q": asked}]})["result"])[0]["q"])
    assert answers == [{"action": "cancel"}] * 3


def test_a_page_is_asked_for_and_nothing_else_of_the_other_era_is_told(gateway: Gateway) -> None:
    client = modern(gateway, capabilities={"elicitation": {"url": {}}})
    asked = client.call("page", PAGE)
    assert told(client.call("page", PAGE, **again(asked, {"action": "accept"}))) == {"action": "accept"}


@pytest.mark.parametrize("page", ["javascript:alert(1)", "file:///etc/passwd"])
def test_S42_no_result_sends_anybody_to_an_address_that_is_not_of_the_web(
    gateway: Gateway, page: str
) -> None:
    client = modern(gateway, capabilities={"elicitation": {"url": {}}})
    params = {"mode": "url", "url": page, "elicitationId": "e", "message": "m"}
    assert told(client.call("ask", {"method": "elicitation/create", "params": params})) == [
        {"action": "cancel"}
    ]


def test_who_visits_no_page_is_not_sent_there_again(gateway: Gateway) -> None:
    """The request is made anew for who has been there; its state is no call's, and may come twice."""
    client = modern(gateway, capabilities={"elicitation": {"url": {}}})
    arguments = {"url": "https://bridge.test/"}
    asked = client.call("visit", arguments)
    (request,) = asked["inputRequests"].values()
    assert request["params"] == {"mode": "url", "url": "https://bridge.test/", "message": "Go there"}
    for action in ("decline", "cancel"):
        params = {"name": "visit", "arguments": arguments, **again(asked, {"action": action})}
        check_rpc_error(client.post("tools/call", params).json(), -32000, "input_required", "nobody did")
    other = {"name": "visit", "arguments": {}, **again(asked, {"action": "accept"})}
    refused(client.post("tools/call", other))
    for _ in range(2):
        assert told(client.call("visit", arguments, **again(asked, {"action": "accept"}))) == "welcome back"


def test_two_clients_asked_at_once_hear_their_own_question_and_give_their_own_answer(
    gateway: Gateway,
) -> None:
    def once(who: int) -> None:
        client = modern(gateway)
        for turn in range(4):
            arguments = {**ASKED, "params": {**FORM, "message": f"{who}.{turn}"}}
            asked = client.call("ask", arguments)
            (request,) = asked["inputRequests"].values()
            assert request["params"]["message"] == f"{who}.{turn}"
            mine = {"action": "accept", "content": {"who": who, "turn": turn}}
            assert told(client.call("ask", arguments, **again(asked, mine))) == [mine]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, range(4)))


# -- states in the hands of clients ------------------------------------------------------------------------


def test_a_state_is_good_for_its_request_once_and_nothing_else(gateway: Gateway) -> None:
    client = modern(gateway)
    asked = client.call("ask", ASKED)
    state = asked["requestState"]
    head, _, sealed = state.rpartition(".")
    flipped = sealed[:-1] + ("A" if sealed[-1] != "A" else "B")
    middle = sealed[:20] + ("A" if sealed[20] != "A" else "B") + sealed[21:]
    made_up = [
        *(f"{head}.{flipped}", f"{head}.{middle}", f"{head}.", head, f"{head}.{sealed}x", f"{head}.\u00fc"),
        *("", "x", "gw1.0000000000000000.AAAA", state.swapcase()),
    ]
    params: dict[str, Any] = {"name": "ask", "arguments": ASKED}
    same = [
        refused(client.post("tools/call", params | {"requestState": one, "inputResponses": {}}))
        for one in made_up
    ]
    with_state = {"requestState": state, "inputResponses": again(asked, YES)["inputResponses"]}
    others: list[tuple[Modern, dict[str, Any]]] = [
        (client, {"name": "ask", "arguments": {**ASKED, "times": 1}}),
        (client, {"name": "several", "arguments": ASKED}),
        (client, {"name": "ask"}),
        (Modern(gateway, "/mcp", FORMS), {"name": "asking__ask", "arguments": ASKED}),
        (modern(gateway, "small"), params),
    ]
    same += [refused(other.post("tools/call", {**made, **with_state})) for other, made in others]
    assert all(one == same[0] for one in same)
    assert newest(gateway, "asking", "ask")["outcome"] == "invalid", "each refusal is on record"
    rows = [row for row in gateway.records("asking") if row["tool"] == "ask"]
    assert [row["outcome"] for row in rows].count("running") == 1, "the call goes on waiting"
    # In another order, with other blanks, it is the same request.
    reordered = {"params": dict(reversed(FORM.items())), "method": "elicitation/create"}
    assert told(client.call("ask", reordered, **with_state)) == [YES]
    refused(client.post("tools/call", {**params, **with_state}))
    answer = client.post("tools/call", {**params, "requestState": 7})
    check_rpc_error(answer.json(), -32602, "invalid", "string")


def test_of_two_that_come_back_at_once_one_goes_on(gateway: Gateway) -> None:
    client = modern(gateway)
    asked = client.call("ask", ASKED)
    params = {"name": "ask", "arguments": ASKED, **again(asked, YES)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: client.post("tools/call", params, number), range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 7
    for answer in answers:
        if answer.status == 400:
            refused(answer)
        else:
            assert told(answer.json()["result"]) == [YES]


def test_a_gateway_that_was_restarted_says_so_and_leaves_nothing_hanging(tmp_path: Path) -> None:
    with Gateway({"asking": asking()}, tmp_path) as gateway:
        gateway.wait_for_state("asking", "ready")
        client = modern(gateway)
        asked = client.call("ask", ASKED)
        process = gateway.process
        assert process is not None
        process.terminate()
        # Nobody is on a connection who could be answered, so a stop does not wait for those that wait.
        process.wait(10)
        assert "calls that were ended unfinished: 1" not in gateway.log_tail()
        gateway.start()
        params = {"name": "ask", "arguments": ASKED, **again(asked, YES)}
        refused(client.post("tools/call", params))
        rows = [row["outcome"] for row in gateway.records("asking") if row["tool"] == "ask"]
        assert rows[0] == "invalid"
        assert set(rows[1:]) <= {"lost", "interrupted", "unavailable"}


# -- how it ends -------------------------------------------------------------------------------------------


def hang_up(gateway: Gateway, client: Modern, tool: str) -> None:
    params = {"name": tool, "arguments": {}}
    body = client.message("tools/call", params, 1)
    head = [f"{name}: {value}".encode() for name, value in client.headers("tools/call", params).items()]
    with Line(gateway.port) as line:
        line.send(
            f"POST {client.endpoint} HTTP/1.1".encode(),
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            *head,
            body=body,
        )
        server = client.endpoint.split("/")[2]
        until(lambda: newest(gateway, server, tool)["outcome"] == "running", WAIT_S, "it runs")
        line.socket.shutdown(socket.SHUT_RDWR)


def test_who_leaves_before_the_question_takes_the_call_along(gateway: Gateway) -> None:
    hang_up(gateway, modern(gateway), "hang")
    until(lambda: newest(gateway, "asking", "hang")["outcome"] == "cancelled", WAIT_S, "it is taken back")
    heard = told(modern(gateway).call("state"))["notifications"]
    assert "notifications/cancelled" in heard, "on the process that this caller's calls go over"


def test_a_call_that_waits_is_cancelled_and_its_client_told(gateway: Gateway) -> None:
    client = modern(gateway)
    asked = client.call("ask", ASKED)
    call_id = newest(gateway, "asking", "ask")["id"]
    assert gateway.request("DELETE", f"/api/calls/{call_id}").status == 202
    assert newest(gateway, "asking", "ask")["outcome"] == "cancelled"
    answer = client.post("tools/call", {"name": "ask", "arguments": ASKED, **again(asked, YES)})
    assert "cancelled" in answer.json()["error"]["message"]


def test_a_person_may_take_as_long_as_the_longest_call(gateway: Gateway) -> None:
    client = modern(gateway, "brief")
    asked = client.call("ask", ASKED)
    until(lambda: newest(gateway, "brief", "ask")["outcome"] == "timed_out", WAIT_S, "its time is up")
    answer = client.post("tools/call", {"name": "ask", "arguments": ASKED, **again(asked, YES)})
    check_rpc_error(answer.json(), -32000, "timed_out")
    assert told(client.call("ask", {**ASKED, "times": 0})) == []


def test_a_call_that_waits_for_answers_has_its_time_in_the_other_direction_too(gateway: Gateway) -> None:
    with calling(session(gateway, "hasty"), "need", rounds=FIRST) as call:
        question = call.next()
        assert call.next()["params"] == {"requestId": question["id"]}
        check_rpc_error(call.next(), -32000, "timed_out")


def test_a_server_that_goes_takes_the_call_along_and_its_client_is_told(tmp_path: Path) -> None:
    servers = {"crash": asking(), "off": asking(), "changed": asking(), "gone": asking()}
    with Gateway(servers, tmp_path) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        asked = {server: modern(gateway, server).call("ask", ASKED) for server in servers}
        (link,) = links(gateway, "crash")
        psutil.Process(link["pid"]).kill()
        gateway.switch("off", False)
        del gateway.servers["gone"]
        gateway.servers["changed"]["args"] = [*gateway.servers["changed"]["args"], "other"]
        gateway.reload()
        until(lambda: newest(gateway, "crash", "ask")["outcome"] == "lost", WAIT_S, "it is lost")
        until(lambda: newest(gateway, "off", "ask")["outcome"] != "running", WAIT_S, "it is off")
        for server, kind in (("crash", "lost"), ("off", "lost")):
            params = {"name": "ask", "arguments": ASKED, **again(asked[server], YES)}
            check_rpc_error(modern(gateway, server).post("tools/call", params).json(), -32000, kind)
        # What was configured anew lets calls finish, for a while.
        assert told(modern(gateway, "changed").call("ask", ASKED, **again(asked["changed"], YES))) == [YES]
        params = {"name": "ask", "arguments": ASKED, **again(asked["gone"], YES)}
        assert modern(gateway, "gone").post("tools/call", params).status == 404
        check_log(gateway)


async def test_a_thousand_clients_with_one_id_share_a_bounded_number_of_processes(gateway: Gateway) -> None:
    """Who has an answer has their own; for whom there is no room, it is said."""

    async def post(number: int, capabilities: Any) -> dict[str, Any]:
        client = modern(gateway, "small", capabilities)
        params = {"name": "ask", "arguments": {**ASKED, "params": {**FORM, "message": f"{number}"}}}
        body = client.message("tools/call", params, 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = client.headers("tools/call", params) | {
            "Content-Type": "application/json",
            "Host": "localhost",
        }
        lines = [f"{name}: {value}" for name, value in head.items()]
        first = f"POST {client.endpoint} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        try:
            writer.write(first.encode() + "\r\n".join([*lines, "", ""]).encode() + body)
            answer = await reader.read()
        finally:
            writer.close()
        said: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return said

    async with asyncio.timeout(WAIT_S):
        few = asyncio.gather(*(post(number, FORMS) for number in range(200)))
        plain = await asyncio.gather(*(post(number, {"x": {}}) for number in range(800)))
        for said in plain:
            if "error" in said:
                check_rpc_error(said, -32000, "busy")
            else:
                assert told(said["result"])[0]["code"] == -32601
        assert any("result" in said for said in plain)
        assert len(links(gateway, "small")) <= 16, "as many run as one caller may have"
        asked = [said for said in await few if "result" in said]
        assert 1 <= len(asked) <= 16
        assert len({said["result"]["requestState"] for said in asked}) == len(asked)
        for said in await few:
            assert "result" in said or said["error"]["data"]["code"] in ("busy", "unavailable"), said


# -- a client of the handshake era, a server of the modern one ---------------------------------------------


def test_what_a_server_needs_is_asked_for_all_at_once_and_round_after_round(gateway: Gateway) -> None:
    client = session(gateway)
    before = len(gateway.records("needing"))
    with calling(client, "need", rounds=ROUNDS) as call:
        asked = [call.next(), call.next()]
        assert [{"method": one["method"], "params": one["params"]} for one in asked] == EVERY[:2]
        call.answer(asked[1]["id"], result={"model": "m", "n": 1.0})
        call.answer(asked[0]["id"], result=YES)
        third = call.next()
        assert third["method"] == "roots/list"
        call.answer(third["id"], result={"roots": []})
        answer = call.next()
    assert told(answer["result"]) == [
        {"who": YES, "model": {"model": "m", "n": 1.0}},
        {"where": {"roots": []}},
    ]
    assert answer["result"].keys() == {"content"}, "of the other era nothing is left in it"
    assert len(gateway.records("needing")) == before + 1
    assert newest(gateway, "needing", "need")["outcome"] == "ok"
    states = told(client.call("seen")["result"])["states"]
    assert states[-2:] == ["[]", json.dumps(told(answer["result"])[:1])], "they go back as they came"


async def test_an_sdk_client_of_the_handshake_era_answers_a_modern_server(gateway: Gateway) -> None:
    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": params.message})

    async def sample(context: Any, params: Any) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="m")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///home/ada"))])

    async with (
        asyncio.timeout(WAIT_S),
        Client(
            f"http://127.0.0.1:{gateway.port}/servers/needing/mcp",
            mode="legacy",
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
        ) as client,
    ):
        first, second = told(await client.call_tool("need", {"rounds": ROUNDS}))
    assert first["who"] == {"action": "accept", "content": {"name": "Who?"}}
    assert first["model"]["content"] == {"type": "text", "text": "m"}
    assert second["where"]["roots"] == [{"uri": "file:///home/ada"}]


def test_over_http_and_sse_what_a_modern_server_needs_comes_on_the_one_stream(gateway: Gateway) -> None:
    with connected(gateway, "/servers/needing/sse") as client:
        params = {"protocolVersion": "2024-11-05", "capabilities": {"sampling": {}}, "clientInfo": {}}
        client.ask("initialize", params)
        client.send("notifications/initialized")
        client.call("need", rounds=[{"q": EVERY[1]}])
        question = client.next()
        assert question["params"] == MODEL
        client.post(json_bytes({"jsonrpc": "2.0", "id": question["id"], "result": {"model": "m"}}))
        assert told(client.next()["result"]) == [{"q": {"model": "m"}}]


def test_two_sessions_asked_at_once_on_one_process_never_cross(gateway: Gateway) -> None:
    def once(who: int) -> None:
        client = session(gateway)
        for turn in range(5):
            params = {**FORM, "message": f"{who}.{turn}"}
            with calling(client, "need", rounds=[{"q": {**ASKED, "params": params}}]) as call:
                question = call.next()
                assert question["params"]["message"] == f"{who}.{turn}"
                call.answer(
                    question["id"], result={"action": "accept", "content": {"who": who, "turn": turn}}
                )
                (said,) = call.result()
                assert said["q"]["content"] == {"who": who, "turn": turn}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, range(4)))
    assert links(gateway, "needing") == [], "one process for all of them"


def test_progress_of_each_round_is_told_under_the_clients_own_token(gateway: Gateway) -> None:
    client = session(gateway)
    params = {"name": "need", "arguments": {"rounds": FIRST}, "_meta": {"progressToken": "mine"}}
    body = client.message("tools/call", params, 1)
    with gateway.open("POST", client.endpoint, body, client.headers) as response:
        call = Asked(client, parse_events(response))
        first = call.next()
        assert first["params"] == {"progressToken": "mine", "progress": 1}
        call.answer(call.next()["id"], result=YES)
        assert call.next()["params"] == {"progressToken": "mine", "progress": 2}
        assert call.result() == [{"who": YES}]


@pytest.mark.parametrize("capabilities", [{"x": {}}, {"sampling": {}}])
def test_who_cannot_answer_hears_that_input_is_needed_and_nothing_of_the_other_era(
    gateway: Gateway, capabilities: dict[str, Any]
) -> None:
    answer = session(gateway, capabilities=capabilities).call("need", {"rounds": FIRST})
    if "sampling" in capabilities:  # a form that nobody can show is as good as cancelled
        assert told(answer["result"]) == [{"who": {"action": "cancel"}}]
    else:
        check_rpc_error(answer, -32000, "input_required")
        assert "resultType" not in json.dumps(answer)
    asked = [{"q": EVERY[1]}]
    answer = session(gateway, capabilities={"elicitation": {}}).call("need", {"rounds": asked})
    check_rpc_error(answer, -32000, "input_required", "sampling/createMessage")


def test_a_client_that_refuses_ends_the_call(gateway: Gateway) -> None:
    client = session(gateway)
    with calling(client, "need", rounds=[{"one": EVERY[1], "other": ASKED}]) as call:
        question, other = call.next(), call.next()
        call.answer(question["id"], error={"code": -1, "message": "no"})
        assert call.next() == {
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": other["id"]},
        }
        check_rpc_error(call.next(), -32000, "input_required", "sampling/createMessage")


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("circle", {}, "16 times"),
        ("need", {"rounds": [{"q": {"method": "tools/list"}}]}, "tools/list"),
        ("need", {"rounds": [{f"q{n}": ASKED for n in range(17)}]}, "17 things"),
        ("need", {"rounds": [7]}, "makes no sense"),
    ],
)
def test_a_server_that_asks_in_a_strange_way_ends_its_call(
    gateway: Gateway, tool: str, arguments: dict[str, Any], words: str
) -> None:
    error = session(gateway).call(tool, arguments)["error"]
    assert error["code"] == -32000
    assert words in error["message"]


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_a_call_whose_question_stands_is_taken_back(gateway: Gateway, how: str) -> None:
    client = session(gateway)
    with calling(client, "need", rounds=FIRST) as call:
        question = call.next()
        if how == "delete":
            assert client.end().status == 204
        else:
            note = client.message("notifications/cancelled", {"requestId": 1})
            assert client.post(note).status == 202
            assert call.next()["params"] == {"requestId": question["id"]}, "and so is the question"
        until(lambda: newest(gateway, "needing", "need")["outcome"] == "cancelled", WAIT_S, "it is over")


def test_who_cancels_cancels_at_the_server(gateway: Gateway) -> None:
    client = session(gateway)
    before = told(client.call("seen")["result"])["cancelled"]
    with calling(client, "hang"):
        assert client.post(client.message("notifications/cancelled", {"requestId": 1})).status == 202
        until(
            lambda: told(client.call("seen", {}, 2)["result"])["cancelled"] == before + 1,
            WAIT_S,
            "it hears of it",
        )


def test_a_server_that_goes_between_two_rounds_is_asked_when_it_is_back(tmp_path: Path) -> None:
    with Gateway({"needing": needing(), "off": needing()}, tmp_path) as gateway:
        for server in ("needing", "off"):
            gateway.wait_for_state(server, "ready")
        with calling(session(gateway), "need", rounds=FIRST) as call:
            question = call.next()
            pid = gateway.server("needing")["pid"]
            psutil.Process(pid).kill()
            until(lambda: gateway.server("needing")["pid"] not in (None, pid), WAIT_S, "another is started")
            call.answer(question["id"], result=YES)
            assert call.result() == [{"who": YES}], "nothing of the call was in the process"
        with calling(session(gateway, "off"), "need", rounds=FIRST) as call:
            question = call.next()
            gateway.switch("off", False)
            call.answer(question["id"], result=YES)
            check_rpc_error(call.next(), -32000, "unavailable", "switched off")
        check_log(gateway)


# -- how loud ----------------------------------------------------------------------------------------------


def said_levels(messages: list[Any]) -> list[str]:
    return [one["params"]["level"] for one in messages if one.get("method") == "notifications/message"]


def test_a_level_of_one_request_is_set_for_its_time(gateway: Gateway) -> None:
    """The server is told before the call that is to be heard, and gets the default back."""
    client = modern(gateway, capabilities={"x": {}})
    params = {"name": "speak", "arguments": {}}
    answer = client.post("tools/call", params, 1, logLevel="debug")
    *messages, last = [json.loads(data) for _, data in frames(answer.body)]
    assert said_levels(messages)[:2] == ["debug", "info"]
    assert told(last["result"])[-1] == "debug"
    until(lambda: told(client.call("speak"))[-1] == "info", WAIT_S, "nobody wants more any more")
    quiet = client.post("tools/call", params, 1)
    assert quiet.headers["content-type"] == "application/json", "who says no level hears nothing"
    # A process that is opened for the call is told before it, too.
    asked = modern(gateway, capabilities={"sampling": {"x": 1}})
    answer = asked.post("tools/call", params, 1, logLevel="debug")
    *messages, last = [json.loads(data) for _, data in frames(answer.body)]
    assert said_levels(messages)[0] == "debug"


@pytest.mark.parametrize("level", [None, "debug", "error"])
def test_a_modern_server_hears_the_level_of_the_session_with_each_request(
    gateway: Gateway, level: str | None
) -> None:
    client = session(gateway, "loud", {"x": {}})
    assert "logging" in client.introduction["capabilities"]
    if level is not None:
        assert client.ask("logging/setLevel", {"level": level})["result"] == {}
    answer = client.post(client.message("tools/call", {"name": "speak", "arguments": {}}, 1))
    *messages, last = [json.loads(data) for _, data in frames(answer.body) if data]
    assert told(last["result"]) == (level or "info")
    assert said_levels(messages)[0] == (level or "info")


# -- what is offered, and plain HTTP -----------------------------------------------------------------------


def test_over_rest_nothing_hangs_whoever_asks(gateway: Gateway) -> None:
    answer = gateway.call("needing", "need", rounds=FIRST)
    assert (answer.status, answer.code) == (409, "input_required")
    assert answer.json()["inputRequests"] == {"who": ASKED}
    assert told(gateway.call("asking", "ask", **ASKED).json())[0]["code"] == -32601, "nobody can be asked"


def test_a_modern_server_hears_what_the_session_declared(gateway: Gateway) -> None:
    client = session(gateway, capabilities=FORMS)
    client.call("need", {"rounds": []})
    meta = told(client.call("seen")["result"])["meta"]
    assert meta[f"{Modern.PREFIX}clientCapabilities"] == FORMS
    assert meta[f"{Modern.PREFIX}protocolVersion"] == Modern.REVISION


# -- a gateway behind a gateway ----------------------------------------------------------------------------


def test_the_state_of_a_gateway_behind_passes_as_it_is(gateway: Gateway, tmp_path: Path) -> None:
    """Its server is asked by the inner one; the outer one keeps nothing of it, and has a state of its own."""
    inner = {"url": f"http://127.0.0.1:{gateway.port}/servers/asking/mcp"}
    with Gateway({"inner": inner, "asking": asking()}, tmp_path) as outer:
        for server in ("inner", "asking"):
            outer.wait_for_state(server, "ready")
        through, own = modern(outer, "inner"), modern(outer)
        there, here = through.call("ask", ASKED), own.call("ask", ASKED)
        heads = {one["requestState"].rpartition(".")[0] for one in (there, here)}
        assert len(heads) == 2
        refused(own.post("tools/call", {"name": "ask", "arguments": ASKED, **again(there, YES)}))
        answer = through.post("tools/call", {"name": "ask", "arguments": ASKED, **again(here, YES)})
        assert answer.json()["error"]["code"] == -32602
        assert told(through.call("ask", ASKED, **again(there, YES))) == [YES]
        assert told(own.call("ask", ASKED, **again(here, YES))) == [YES]
        for client in (session(outer, "inner"), Mcp(outer, "/mcp", capabilities=ALL)):
            name = "ask" if client.endpoint != "/mcp" else "inner__ask"
            with calling(client, name, **ASKED) as call:
                while (question := call.next())["method"] == "roots/list":
                    call.answer(question["id"], result={"roots": []})
                call.answer(question["id"], result=YES)
                assert call.result() == [YES]
        check_log(outer)


def test_a_modern_server_behind_two_gateways_asks_a_session(gateway: Gateway, tmp_path: Path) -> None:
    inner = {"url": f"http://127.0.0.1:{gateway.port}/servers/needing/mcp"}
    with Gateway({"inner": inner}, tmp_path) as outer:
        outer.wait_for_state("inner", "ready")
        with calling(session(outer, "inner"), "need", rounds=FIRST) as call:
            call.answer(call.next()["id"], result=YES)
            assert call.result() == [{"who": YES}]
        client = modern(outer, "inner")
        asked = client.call("need", {"rounds": FIRST})
        assert asked["requestState"] == "[]", "the server's own, through both"
        assert told(client.call("need", {"rounds": FIRST}, **again(asked, YES))) == [{"who": YES}]
