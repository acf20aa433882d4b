"""Questions of servers (elicitation, sampling, roots) to handshake clients: who hears them, and who answers.

The servers are real processes that ask (`tests/asking.py`), the clients the official SDK and bytes by hand.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mcp.types as types
import pytest
from mcp import Client
from pydantic import FileUrl

from tests.faces.knocking import Mcp, check_log, json_bytes
from tests.faces.test_legacy_sse import connected
from tests.harness import Gateway, hostile, parse_events
from tests.harness import until as wait_until

ASKING = Path(__file__).parents[1] / "asking.py"
WAIT_S = 30
ALL = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {"listChanged": True}}
FORM = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}, "x-unknown": [1.0, None]}


def asking(**config: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", "-S", str(ASKING)], **config}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {
        "asking": asking(),
        "hurried": asking(timeout=1),
        "own": asking(isolation="session"),
        "theirs": asking(isolation="caller"),
        "good": hostile("good"),
        "flood": hostile("ask-flood", "--count", "200"),
    }
    with Gateway(servers, tmp_path_factory.mktemp("asks")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(autouse=True)
def _no_session_is_left(gateway: Gateway) -> Iterator[None]:
    """What one test leaves behind is not the next one's."""
    yield
    for session in gateway.get("/api/sessions").json()["sessions"]:
        gateway.request("DELETE", f"/api/sessions/{session['id']}")


def until(what: str, condition: Callable[[], bool]) -> None:
    wait_until(condition, WAIT_S, what)


def links(gateway: Gateway, server: str = "asking") -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = gateway.server(server)["links"]
    return shown


def url(gateway: Gateway, endpoint: str) -> str:
    return f"http://127.0.0.1:{gateway.port}{endpoint}"


def told(result: Any) -> Any:
    """What a tool of the asking server says, of an SDK's result or of bytes by hand."""
    text = result["content"][0]["text"] if isinstance(result, dict) else result.content[0].text
    return json.loads(text)


class Asked:
    """One call by hand: what comes on its stream, and answers sent meanwhile."""

    def __init__(self, session: Mcp, events: Iterator[tuple[str, Any]]) -> None:
        self.session = session
        self.events = events

    def next(self) -> Any:
        return next(self.events)[1]

    def answer(self, request_id: Any, **said: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": request_id, **said}).encode()
        assert self.session.post(body).status == 202

    def result(self) -> Any:
        return told(self.next()["result"])


@contextmanager
def calling(session: Mcp, tool: str, /, request_id: int = 1, **arguments: Any) -> Iterator[Asked]:
    body = session.message("tools/call", {"name": tool, "arguments": arguments}, request_id)
    with session.gateway.open("POST", session.endpoint, body, session.headers) as response:
        assert response.status == 200, response.read()
        if response.getheader("content-type") == "application/json":  # there was nothing to say before it
            yield Asked(session, iter([("message", json.loads(response.read()))]))
        else:
            yield Asked(session, parse_events(response))


# -- the ordinary way ----------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/asking/mcp"])
async def test_an_sdk_client_answers_all_three_kinds_of_questions(gateway: Gateway, endpoint: str) -> None:
    prefix = "asking__" if endpoint == "/mcp" else ""

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        assert params.message == "Who?"
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(context: Any, params: Any) -> types.CreateMessageResult:
        text = params.messages[0].content.text
        content = types.TextContent(type="text", text=f"model of {text}")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///home/ada"))])

    async with (
        asyncio.timeout(WAIT_S),
        Client(
            url(gateway, endpoint),
            mode="legacy",
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
        ) as client,
    ):
        asks = {"method": "elicitation/create", "params": FORM}
        said = told(await client.call_tool(f"{prefix}ask", asks))
        assert said == [{"action": "accept", "content": {"name": "Ada"}}]
        message = {"role": "user", "content": {"type": "text", "text": "hi"}}
        asks = {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 9}}
        (sampled,) = told(await client.call_tool(f"{prefix}ask", asks))
        assert sampled["content"] == {"type": "text", "text": "model of hi"}
        state = told(await client.call_tool(f"{prefix}state", {}))
        assert state["roots"] == [{"uri": "file:///home/ada"}], "asked for before the first call was sent"
        assert state["capabilities"].keys() >= {"elicitation", "sampling", "roots"}


def test_a_question_and_its_answer_pass_as_they_came_under_an_id_of_ours(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with calling(session, "ask", method="elicitation/create", params=FORM) as call:
        question = call.next()
        assert question == {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": FORM}
        call.answer("1", result={"action": "accept", "content": {"n": 1.0}, "x-unknown": None})
        assert call.result() == [{"action": "accept", "content": {"n": 1.0}, "x-unknown": None}]
    with calling(session, "ask", method="elicitation/create", params=FORM) as call:
        call.answer(call.next()["id"], error={"code": -1, "message": "no", "data": {"x": 1}})
        assert call.result() == [{"code": -1, "message": "no", "data": {"x": 1}}]


def test_a_server_is_told_what_the_client_declares_and_what_is_behind_its_revision(gateway: Gateway) -> None:
    declared = {"sampling": {"x": 1}, "roots": {}, "tasks": {"list": {}}, "experimental": {"y": None}}
    session = Mcp(gateway, "/servers/asking/mcp", "2025-06-18", declared)
    state = told(session.call("state")["result"])
    assert state["capabilities"] == {"sampling": {"x": 1}, "roots": {}, "experimental": {"y": None}}
    assert state["revision"] == "2025-06-18"
    session.end()
    older = Mcp(gateway, "/servers/asking/mcp", "2025-03-26", {"elicitation": {}})
    declared = told(older.call("state")["result"])["capabilities"]
    assert declared.keys() == {"extensions"}, "this revision knows no elicitation; views are for everybody"
    assert links(gateway) == []


def test_over_http_and_sse_the_question_comes_on_the_one_stream(gateway: Gateway) -> None:
    with connected(gateway, "/servers/asking/sse") as session:
        params = {"protocolVersion": "2024-11-05", "capabilities": {"sampling": {}}, "clientInfo": {}}
        session.ask("initialize", params)
        session.send("notifications/initialized")
        session.call("ask", method="sampling/createMessage", params={"messages": []})
        question = session.next()
        assert question["method"] == "sampling/createMessage"
        session.post(json_bytes({"jsonrpc": "2.0", "id": question["id"], "result": {"model": "m"}}))
        assert told(session.next()["result"]) == [{"model": "m"}]
    until("the lease ends with the stream, which is the session", lambda: links(gateway) == [])


# -- whom ----------------------------------------------------------------------------------------------


def test_who_declares_nothing_shares_a_process_that_asks_nobody(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp")
    state = told(session.call("state")["result"])
    assert (state["capabilities"].keys(), state["pid"]) == ({"extensions"}, gateway.server("asking")["pid"])
    asks = {"method": "elicitation/create", "params": FORM}
    (refused,) = told(session.call("ask", asks)["result"])
    assert refused["code"] == -32601
    (refused,) = told(gateway.call("asking", "ask", **asks).json())
    assert refused["code"] == -32601


def test_two_clients_asked_at_the_same_time_each_hear_their_own_question(gateway: Gateway) -> None:
    sessions = [Mcp(gateway, "/mcp", capabilities={"elicitation": {}}) for _ in range(4)]

    def once(number: int) -> None:
        session = sessions[number]
        for turn in range(5):
            params = {**FORM, "message": f"{number}.{turn}"}
            with calling(session, "asking__ask", method="elicitation/create", params=params) as call:
                question = call.next()
                assert question["params"]["message"] == f"{number}.{turn}"
                call.answer(question["id"], result={"action": "accept", "content": {"who": number}})
                assert call.result() == [{"action": "accept", "content": {"who": number}}]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, range(4)))
    owners = {link["of"] for link in links(gateway)}
    assert len(owners) == 4, "each session has a process of its own"
    for session in sessions:
        session.end()
    until("the processes end with their sessions", lambda: links(gateway) == [])


def test_an_answer_from_another_session_is_nobodys(gateway: Gateway) -> None:
    asked = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    other = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with calling(asked, "ask", method="elicitation/create", params=FORM) as call:
        question = call.next()
        theirs = Asked(other, iter(()))
        theirs.answer(question["id"], result={"action": "accept", "content": {"stolen": True}})
        call.answer(question["id"] + 1, result={"action": "accept", "content": {"made": "up"}})
        call.answer(question["id"], result={"action": "decline"})
        assert call.result() == [{"action": "decline"}]
        call.answer(question["id"], result={"action": "accept"})  # a second answer changes nothing


def test_calls_of_one_session_wait_for_a_link_when_all_are_asking(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with ThreadPoolExecutor(8) as pool:
        answered = pool.map(lambda number: told(session.call("state", request_id=number)["result"]), range(8))
        assert len({state["pid"] for state in answered}) <= 4
    with calling(session, "ask", 11, method="elicitation/create", params=FORM) as call:
        question = call.next()
        with ThreadPoolExecutor(6) as pool:
            done = [pool.submit(session.call, "state", {}, 20 + number) for number in range(6)]
            assert all(one.result(WAIT_S)["result"] for one in done), "others go over other links"
        call.answer(question["id"], result={"action": "cancel"})
        assert call.result() == [{"action": "cancel"}]


def test_what_a_server_lists_only_to_who_can_be_asked_is_learned_and_announced(gateway: Gateway) -> None:
    hidden = "only-for-the-asked"
    assert {tool["name"] for tool in gateway.get("/api/tools?server=own").json()["tools"]} >= {"ask"}
    plain = Mcp(gateway, "/servers/own/mcp")
    assert hidden not in plain.tools()
    with plain.stream() as events:
        session = Mcp(gateway, "/servers/own/mcp", capabilities={"sampling": {}})
        assert next(events)[1]["method"] == "notifications/tools/list_changed"
        assert hidden in session.tools()
    assert hidden in plain.tools()
    until("it was only looked at", lambda: links(gateway, "own") == [])


# -- how it ends ---------------------------------------------------------------------------------------


def test_a_person_may_take_longer_than_a_silent_server(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/hurried/mcp", capabilities={"elicitation": {}})
    with calling(session, "ask", method="elicitation/create", params=FORM) as call:
        question = call.next()
        assert gateway.call("hurried", "hang").status == 504, "a second without a word is too long"
        call.answer(question["id"], result={"action": "accept"})
        assert call.result() == [{"action": "accept"}]


def test_a_question_is_taken_back_by_the_server(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with calling(session, "withdraw", method="elicitation/create", params=FORM) as call:
        asked, taken_back = [], []
        while "result" not in (message := call.next()):
            if message["method"] == "notifications/cancelled":
                taken_back.append(message["params"]["requestId"])
            else:  # an answer to the first is nobody's any more
                asked.append(message["id"])
                call.answer(message["id"], result={"action": "accept", "content": {"n": len(asked)}})
        assert told(message["result"]) == {"action": "accept", "content": {"n": len(asked)}}
        assert taken_back in ([], asked[:-1]), "unless it was answered, or not asked yet"


def test_a_call_that_ends_takes_its_questions_along_on_both_sides(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with calling(session, "leave", method="elicitation/create", params=FORM) as call:
        messages = [call.next()]
        while "result" not in messages[-1]:
            messages.append(call.next())
        assert told(messages[-1]["result"]) == "left"
        asked = [message["id"] for message in messages if message.get("method") == "elicitation/create"]
        taken_back = [
            message["params"]["requestId"]
            for message in messages
            if message.get("method") == "notifications/cancelled"
        ]
        assert taken_back == asked
    assert told(session.call("late")["result"]) == [{"action": "cancel"}]


@pytest.mark.parametrize("how", ["delete", "cancel"])
def test_F055_a_client_that_goes_leaves_no_server_waiting(gateway: Gateway, how: str) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with calling(session, "ask", method="elicitation/create", params=FORM) as call:
        call.next()
        if how == "delete":
            assert session.end().status == 204
        else:
            assert session.post(session.message("notifications/cancelled", {"requestId": 1})).status == 202
        until("the call is over", lambda: links(gateway) == [] or links(gateway)[0]["calls"] == 0)
    if how == "cancel":
        session.end()
    until("nothing is left of the session", lambda: links(gateway) == [])


def test_F055_a_client_that_lost_the_stream_and_does_not_come_back_is_not_waited_for(
    gateway: Gateway,
) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with calling(session, "ask", method="elicitation/create", params=FORM) as call:
        call.next()
    row = {"server": "asking", "tool": "ask", "outcome": "ok"}

    def answered() -> bool:
        newest = gateway.get("/api/calls?server=asking&tool=ask").json()["calls"][0]
        return bool(newest.items() >= row.items())

    until("the server hears that nobody answers, and ends the call", answered)


def test_F054_of_a_flood_of_questions_sixteen_are_asked(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    with calling(session, "ask", method="elicitation/create", params=FORM, times=100) as call:
        standing = [call.next()["id"] for _ in range(16)]
        while True:  # the rest was declined meanwhile, except what the server sent after the first answers
            for number in standing:
                call.answer(number, result={"action": "accept"})
            message = call.next()
            if "result" in message:
                break
            standing = [message["id"]]
        said = told(message["result"])
    assert len(said) == 100
    assert said.count({"action": "accept"}) >= 16
    assert said.count({"action": "accept"}) + said.count({"action": "cancel"}) == 100
    assert {"action": "cancel"} in said


def test_a_client_that_takes_no_stream_is_asked_on_its_own_one_or_not_at_all(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {}})
    session.headers["Accept"] = "application/json"
    said = session.call("ask", {"method": "elicitation/create", "params": FORM})
    assert told(said["result"]) == [{"action": "cancel"}]
    with session.stream() as events, ThreadPoolExecutor(1) as pool:
        calling = pool.submit(session.call, "ask", {"method": "elicitation/create", "params": FORM})
        question = next(event for _, event in events if event["method"] == "elicitation/create")
        Asked(session, iter(())).answer(question["id"], result={"action": "decline"})
        assert told(calling.result(WAIT_S)["result"]) == [{"action": "decline"}]


def test_a_page_that_has_done_its_work_is_announced_to_who_was_sent_there(gateway: Gateway) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {"url": {}}})
    page = {"mode": "url", "url": "https://x.test/", "elicitationId": "e1", "message": "Sign in"}
    with calling(session, "page", 1, **page) as call:
        question = call.next()
        assert question["params"] == page
        call.answer(question["id"], result={"action": "accept"})
        notice = call.next()
        assert notice["method"] == "notifications/elicitation/complete"
        assert notice["params"] == {"elicitationId": "e1"}
        assert call.result() == {"action": "accept"}


BAD_PAGES = [
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:text/html,x",
    "--flag",
    "$(x)",
    "//x.test",
    "http",
    7,
]


@pytest.mark.parametrize("page", BAD_PAGES)
def test_S42_nobody_is_sent_to_an_address_that_is_not_of_the_web(gateway: Gateway, page: Any) -> None:
    session = Mcp(gateway, "/servers/asking/mcp", capabilities={"elicitation": {"url": {}}})
    params = {"mode": "url", "url": page, "elicitationId": "e", "message": "m"}
    said = session.call("ask", {"method": "elicitation/create", "params": params})
    assert told(said["result"]) == [{"action": "cancel"}]


def knows_roots(session: Mcp, uri: str) -> bool:
    """Answers what the server asks, and says whether it has heard; a call brings what came before it."""
    with calling(session, "state") as call:
        while "result" not in (message := call.next()):
            if "id" in message:
                assert message["method"] == "roots/list"
                call.answer(message["id"], result={"roots": [{"uri": uri}]})
        return bool(told(message["result"])["roots"] == [{"uri": uri}])


def test_changed_roots_are_told_to_the_sessions_own_servers_only(gateway: Gateway) -> None:
    roots = {"roots": {"listChanged": True}}
    one, other = (Mcp(gateway, "/servers/asking/mcp", capabilities=roots) for _ in range(2))
    until("the first is asked", lambda: knows_roots(one, "file:///1"))
    until("the second is asked", lambda: knows_roots(other, "file:///2"))
    assert one.post(one.message("notifications/roots/list_changed")).status == 202
    until("it is asked anew", lambda: knows_roots(one, "file:///new"))
    state = told(other.call("state")["result"])
    assert state["roots"] == [{"uri": "file:///2"}], "the other session's roots are its own"
    assert "notifications/roots/list_changed" not in state["notifications"]


# -- isolation -----------------------------------------------------------------------------------------


def test_with_isolation_by_session_each_session_has_a_process_and_keeps_its_state(gateway: Gateway) -> None:
    one, other = (Mcp(gateway, "/mcp") for _ in range(2))
    assert told(one.call("own__remember", {"text": "a"})["result"])["said"] == ["a"]
    assert told(other.call("own__remember", {"text": "b"})["result"])["said"] == ["b"]
    assert told(one.call("own__remember", {"text": "c"})["result"])["said"] == ["a", "c"]
    assert one.post(one.message("notifications/x-of-its-own")).status == 202
    kept = Mcp(gateway, "/servers/own/mcp")
    assert kept.post(kept.message("notifications/x-early")).status == 202, "nobody is there to hear it"
    assert told(kept.call("state")["result"])["said"] == []
    assert kept.post(kept.message("notifications/x-late")).status == 202
    assert "notifications/x-late" in told(kept.call("state")["result"])["notifications"]
    shown = links(gateway, "own")
    assert {link["for"] for link in shown} == {"session"}
    assert len({link["of"] for link in shown}) == 3
    for session in (one, other, kept):
        session.end()
    until("the processes end with their sessions", lambda: links(gateway, "own") == [])


def test_without_a_session_isolation_is_by_caller(gateway: Gateway) -> None:
    for server in ("own", "theirs"):
        said = told(gateway.call(server, "remember", text="a").json())["said"]
        again = told(gateway.call(server, "remember", text="b").json())["said"]
        assert (said, again) == (["a"], ["a", "b"])
        (link,) = links(gateway, server)
        assert (link["for"], link["state"]) == ("caller", "ready")
    first, second = Mcp(gateway), Mcp(gateway)
    for number, session in enumerate((first, second)):
        state = told(session.call("theirs__remember", {"text": str(number)})["result"])
    assert state["said"] == ["a", "b", "0", "1"], "sessions of one caller share"
    assert links(gateway, "theirs"), "it is the caller's, not the session's"


def test_over_rest_a_session_can_be_named(gateway: Gateway) -> None:
    def remember(session: str, text: str) -> Any:
        answer = gateway.request("POST", "/api/tools/own/remember", {"text": text}, {"X-Session-Id": session})
        return told(answer.json())["said"]

    assert remember("one", "a") == ["a"]
    assert remember("other", "b") == ["b"]
    assert remember("one", "c") == ["a", "c"]
    assert [link["for"] for link in links(gateway, "own")].count("session") == 2
    gateway.request("POST", "/api/servers/own/restart")
    until("they end with their server", lambda: links(gateway, "own") == [])


def test_switching_a_server_off_ends_all_its_links(gateway: Gateway) -> None:
    session = Mcp(gateway, "/mcp")
    assert told(session.call("own__remember", {"text": "a"})["result"])["said"]
    pids = [link["pid"] for link in links(gateway, "own")]
    assert pids
    gateway.switch("own", False)
    gateway.wait_for_state("own", "off")
    assert links(gateway, "own") == []
    refused = session.call("own__state")
    assert refused["error"]["data"]["code"] in ("unavailable", "unknown")
    gateway.switch("own", True)
    gateway.wait_for_state("own", "ready")
    assert told(session.call("own__state")["result"])["said"] == []
