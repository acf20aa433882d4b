"""Every revision of a client with every revision of a server, in bytes: who works with whom, and how.

One gateway, five servers that speak one revision each and refuse what is not of it
(`tests/conformance/fixture.py`). What must be seen is in `compatibility.py`, from which the document is made.
"""

import ast
import functools
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faces import compatibility
from tests.faces.compatibility import MODERN, PACKAGE, QUESTIONS, REVISIONS, Cell, cell
from tests.faces.knocking import Mcp, Modern, check_log, check_rpc_error, exact, frames, json_bytes
from tests.faces.test_asks import asking
from tests.faces.test_legacy_sse import Sse, connected
from tests.faces.test_listening import listening
from tests.harness import Gateway, parse_events

FIRST = "2024-11-05"
HANDSHAKE = REVISIONS[:-1]
# Everything, whatever the revision knows: the gateway does.
DECLARED: dict[str, Any] = {"sampling": {}, "roots": {}, "elicitation": {}}
ANSWERS: dict[str, Any] = {
    "sampling/createMessage": {
        "role": "assistant",
        "content": {"type": "text", "text": "Paris, of course"},
        "model": "m",
    },
    "roots/list": {"roots": [{"uri": "file:///home/ada"}]},
    "elicitation/create": {"action": "accept", "content": {"name": "Ada", "color": "blue"}},
}
CAPABILITIES = {
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
    "elicitation/create": "elicitation",
}
# Capability -> the tool that asks for it, and a word of its result that only the answer can have put there.
TOOLS = {
    "sampling": ("test_input_required_result_sampling", "Paris"),
    "roots": ("test_input_required_result_list_roots", "file:///home/ada"),
    "elicitation": ("test_input_required_result_elicitation", "Hello, Ada!"),
}
# Members of the modern era that no client of the other must see, wherever they stand.
MODERN_WORDS = {"resultType", "ttlMs", "cacheScope", "inputRequests", "inputResponses", "requestState"} | {
    f"{Modern.PREFIX}{name}" for name in ("subscriptionId", "protocolVersion", "clientCapabilities")
}
SERVER_INFO = f"{Modern.PREFIX}serverInfo"
CHANGED = "notifications/tools/list_changed"
Hear = Callable[[], tuple[str, Any]]
"""Waits for the next message that belongs to no call: where it came, and what it is."""


def fixture(revision: str) -> dict[str, Any]:
    arguments = ["-S", "-m", "tests.conformance.fixture", "--revision", revision]
    return {"command": sys.executable, "args": arguments, "cwd": str(PACKAGE)}


def server_of(revision: str) -> str:
    return f"of-{revision}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    servers = {server_of(revision): fixture(revision) for revision in REVISIONS}
    servers |= {"rude": asking(), "rude-modern": exact("modern")}  # they ask whoever calls
    with Gateway(servers, tmp_path_factory.mktemp("matrix")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


# -- clients --------------------------------------------------------------------------------------------


@dataclass
class Said:
    """What came of one call: the answer, what was said before it, what was asked and where."""

    answer: dict[str, Any] = field(default_factory=dict)
    heard: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    where: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        return str(self.answer["result"]["content"][0]["text"])


class Client(ABC):
    """A client of one revision at one server's endpoint; it answers whatever it is asked."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.count = 0

    def next_id(self) -> int:
        self.count += 1
        return self.count

    @abstractmethod
    def request(self, method: str, params: Any) -> Said: ...

    @abstractmethod
    def hearing(self) -> AbstractContextManager[Hear]:
        """While it lasts, messages that belong to no call are heard."""

    def call(self, tool: str, arguments: Any = None, token: Any = None) -> Said:
        meta = {} if token is None else {"_meta": {"progressToken": token}}
        return self.request("tools/call", {"name": tool, "arguments": arguments or {}, **meta})

    def tools(self) -> set[str]:
        listed = self.request("tools/list", {}).answer["result"]
        self.check_result(listed, {"tools"}, is_kept=True)
        return {tool["name"] for tool in listed["tools"]}

    def check_result(self, result: dict[str, Any], members: set[str], *, is_kept: bool = False) -> None:
        """A result has these members, and of the protocol's own those that its revision knows."""
        if self.revision == MODERN:
            members = members | {"resultType"} | ({"ttlMs", "cacheScope"} if is_kept else set())
            assert result["resultType"] == "complete"
        assert result.keys() - {"_meta"} == members, result
        assert result.get("_meta", {}).keys() <= {SERVER_INFO}, result


def members(value: Any) -> Iterator[str]:
    """The names of members, however deep."""
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from members(one)
    if isinstance(value, dict):
        yield from value


def is_of_handshake(message: dict[str, Any]) -> dict[str, Any]:
    """The message, in which nothing of the modern era is left."""
    assert not MODERN_WORDS & set(members(message)), message
    assert message["jsonrpc"] == "2.0"
    return message


class WithSession(Client):
    """What clients of the handshake era have in common: messages come one by one, and some ask."""

    where = ""
    introduction: dict[str, Any]

    @abstractmethod
    def post(self, body: bytes) -> None: ...

    def follow(self, request_id: int, messages: Iterator[dict[str, Any]]) -> Said:
        """Hears the messages up to the answer, and answers what is asked."""
        said = Said()
        for message in messages:
            is_of_handshake(message)
            if "method" not in message:
                assert message["id"] == request_id
                said.answer = message
                return said
            if "id" not in message:
                said.heard.append(message)
                continue
            said.asked.append(CAPABILITIES[message["method"]])
            said.where.add(self.where)
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS[message["method"]]}
            self.post(json_bytes(answer))
        raise AssertionError(f"no answer came, but {said}")


class OverStreamable(WithSession):
    where = "a request on the stream of the call"

    def __init__(self, gateway: Gateway, server: str, revision: str, declared: Any) -> None:
        super().__init__(revision)
        self.session = Mcp(gateway, f"/servers/{server}/mcp", revision, declared)
        self.introduction = self.session.introduction
        is_of_handshake({"jsonrpc": "2.0", "result": self.introduction})

    def post(self, body: bytes) -> None:
        assert self.session.post(body).status == 202

    def request(self, method: str, params: Any) -> Said:
        session, request_id = self.session, self.next_id()
        body = session.message(method, params, request_id)
        with session.gateway.open("POST", session.endpoint, body, session.headers) as response:
            assert response.status == 200, response.read()
            if response.getheader("content-type") == "application/json":
                return self.follow(request_id, iter([json.loads(response.read())]))
            return self.follow(request_id, (message for _, message in parse_events(response)))

    @contextmanager
    def hearing(self) -> Iterator[Hear]:
        with self.session.stream() as events:
            yield lambda: ("the session's own stream (GET)", is_of_handshake(next(events)[1]))


class OverSse(WithSession):
    where = "a request on the one stream"

    def __init__(self, session: Sse, revision: str, declared: Any) -> None:
        super().__init__(revision)
        self.session = session
        client = {"name": "old", "version": "0"}
        asked = {"protocolVersion": revision, "capabilities": declared, "clientInfo": client}
        self.introduction = session.ask("initialize", asked, 0)["result"]
        is_of_handshake({"jsonrpc": "2.0", "result": self.introduction})
        session.send("notifications/initialized")

    def post(self, body: bytes) -> None:
        assert self.session.post(body).status == 202

    def request(self, method: str, params: Any) -> Said:
        request_id = self.next_id()
        self.session.send(method, params, request_id)
        return self.follow(request_id, iter(self.session.next, None))

    @contextmanager
    def hearing(self) -> Iterator[Hear]:
        yield lambda: ("the one stream", is_of_handshake(self.session.next()))


class WithoutSession(Client):
    """2026-07-28: each request stands alone, and is sent again with what was asked for."""

    def __init__(self, gateway: Gateway, server: str, declared: Any) -> None:
        super().__init__(MODERN)
        self.modern = Modern(gateway, f"/servers/{server}/mcp", declared)

    def request(self, method: str, params: Any) -> Said:
        said = Said()
        meta = params.get("_meta", {})
        while True:
            request_id = self.next_id()
            answer = self.modern.post(method, params, request_id, **meta)
            is_json = answer.headers["content-type"] == "application/json"
            messages = [answer.json()] if is_json else [json.loads(data) for _, data in frames(answer.body)]
            assert not [one for one in messages[:-1] if "id" in one], "nothing is asked on the way"
            said.heard += messages[:-1]
            said.answer = messages[-1]
            assert said.answer["id"] == request_id
            assert answer.status == (200 if "result" in said.answer else 400), answer
            result = said.answer.get("result", {})
            if result.get("resultType") != "input_required":
                return said
            assert result.keys() - {"_meta"} <= {"resultType", "inputRequests", "requestState"}, result
            asked = result["inputRequests"]
            said.asked += [CAPABILITIES[one["method"]] for one in asked.values()]
            said.where.add("the result `input_required`")
            assert len(said.asked) < 10, "it turns in circles"
            params = {**params, "inputResponses": {name: ANSWERS[asked[name]["method"]] for name in asked}}
            params |= {"requestState": result["requestState"]} if "requestState" in result else {}

    @contextmanager
    def hearing(self) -> Iterator[Hear]:
        wish = {"toolsListChanged": True}
        with listening(self.modern.gateway, wish, self.modern.endpoint) as stream:
            assert stream.honoured == wish

            def told() -> tuple[str, Any]:
                return "`subscriptions/listen`", {"method": CHANGED, "params": stream.next(CHANGED)}

            yield told


@contextmanager
def client_of(revision: str, gateway: Gateway, server: str, declared: Any = None) -> Iterator[Client]:
    declared = {} if declared is None else declared
    with ExitStack() as stack:
        if revision == MODERN:
            yield WithoutSession(gateway, server, declared)
        elif revision == FIRST:
            session = stack.enter_context(connected(gateway, f"/servers/{server}/sse"))
            yield OverSse(session, revision, declared)
        else:
            client = OverStreamable(gateway, server, revision, declared)
            stack.callback(client.session.end)
            yield client


# -- the cells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server_revision", REVISIONS)
@pytest.mark.parametrize("client_revision", REVISIONS)
def test_a_call_a_question_its_progress_and_a_change(
    gateway: Gateway, client_revision: str, server_revision: str
) -> None:
    server = server_of(server_revision)
    spoken = gateway.server(server)["protocolRevision"]
    assert spoken == server_revision
    with client_of(client_revision, gateway, server, DECLARED) as client:
        check_introduction(client)
        called = client.call("test_simple_text")
        client.check_result(called.answer["result"], {"content", "isError"})
        assert (called.text, called.heard, called.asked) == ("A line of text, as simple as it gets.", [], [])
        passed, where = ask_everything(client)
        for token in ("mine", 7):
            check_progress(client, token)
    with client_of(client_revision, gateway, server) as client:
        told = change(gateway, server, client)
    seen = Cell((client_revision == MODERN) != (spoken == MODERN), passed, where, told)
    assert seen == cell(client_revision, server_revision)


def check_introduction(client: Client) -> None:
    """The endpoint says in the words of the client who its server is and what it can."""
    if isinstance(client, WithSession):
        said = client.introduction
        assert said["protocolVersion"] == client.revision
    else:
        said = client.request("server/discover", {}).answer["result"]
        assert client.revision in said["supportedVersions"]
    assert said["serverInfo"]["name"] == "conformance-fixture"
    changes = {"listChanged": True}
    assert said["capabilities"].items() >= {"tools": changes, "prompts": changes, "completions": {}}.items()
    assert said["capabilities"]["resources"] == {"listChanged": True, "subscribe": True}


def ask_everything(client: Client) -> tuple[tuple[str, ...], str]:
    """Which questions reach the client and are answered, and how they reach it."""
    passed: list[str] = []
    where: set[str] = set()
    for capability, (tool, word) in TOOLS.items():
        said = client.call(tool)
        if not said.asked:
            continue
        assert said.asked == [capability]
        client.check_result(said.answer["result"], {"content", "isError"})
        assert word in said.text
        passed.append(capability)
        where |= said.where
    (found,) = where
    return tuple(passed), found


def check_progress(client: Client, token: Any) -> None:
    said = client.call("test_tool_with_progress", token=token)
    assert said.text == "All of it is done."
    assert [one["method"] for one in said.heard] == ["notifications/progress"] * 3
    for message, done in zip(said.heard, (0, 50, 100), strict=True):
        params = message["params"]
        assert (params["progressToken"], params["progress"], params["total"]) == (token, done, 100)
        assert type(params["progressToken"]) is type(token)


def change(gateway: Gateway, server: str, client: Client) -> str:
    """The server changes its list of tools; where the client hears of it."""
    had = "test_grown" in client.tools()
    with client.hearing() as hear:
        assert gateway.call(server, "test_trigger_tool_change").status == 200
        where, message = hear()
        assert message["method"] == CHANGED
    assert ("test_grown" in client.tools()) is not had
    return where


# -- what changes on the way ----------------------------------------------------------------------------


@pytest.mark.parametrize("server_revision", [one for one in REVISIONS if "elicitation" in QUESTIONS[one]])
@pytest.mark.parametrize("client_revision", [one for one in REVISIONS if "elicitation" in QUESTIONS[one]])
def test_questions_come_together_and_one_after_the_other(
    gateway: Gateway, client_revision: str, server_revision: str
) -> None:
    with client_of(client_revision, gateway, server_of(server_revision), DECLARED) as client:
        said = client.call("test_input_required_result_multiple_inputs")
        assert (sorted(said.asked), said.text) == (sorted(DECLARED), "Hello, Ada: that was all.")
        said = client.call("test_input_required_result_multi_round")
        assert (said.asked, said.text) == (["elicitation"] * 2, "Ada likes blue.")


@pytest.mark.parametrize("server_revision", [one for one in REVISIONS if "elicitation" in QUESTIONS[one]])
@pytest.mark.parametrize("client_revision", [one for one in REVISIONS if "elicitation" not in QUESTIONS[one]])
def test_what_a_revision_does_not_know_its_clients_are_not_asked(
    gateway: Gateway, client_revision: str, server_revision: str
) -> None:
    """Even if they declare it."""
    with client_of(client_revision, gateway, server_of(server_revision), DECLARED) as client:
        said = client.call("test_elicitation", {"message": "Who?"})
        assert (said.asked, said.heard) == ([], [])
        why = "The client did not declare `elicitation`"
        if server_revision == MODERN:
            assert (said.answer["error"]["code"], said.answer["error"]["message"]) == (-32603, why)
        else:
            assert (said.answer["result"]["isError"], said.text) == (True, why)


@pytest.mark.parametrize("client_revision", [one for one in REVISIONS if "elicitation" not in QUESTIONS[one]])
def test_a_server_that_asks_nevertheless_hears_that_nobody_answers(
    gateway: Gateway, client_revision: str
) -> None:
    with client_of(client_revision, gateway, "rude", DECLARED) as client:
        said = client.call("ask", {"method": "elicitation/create", "params": {"message": "Who?"}})
        assert "elicitation" not in said.asked  # but roots it may ask for
        assert json.loads(said.text) == [{"action": "cancel"}]
    with client_of(client_revision, gateway, "rude-modern", DECLARED) as client:
        said = client.call("ask-back")
        assert (said.asked, said.answer["result"].keys()) == ([], {"content"})
        assert '"inputResponses":{"name":{"action":"cancel"}}' in said.text
    wishes: tuple[tuple[Any, str], ...] = (({}, "elicitation/create"), ({"sampling": {}}, "roots/list"))
    for declared, method in wishes:
        with client_of(client_revision, gateway, "rude-modern", declared) as client:
            said = client.call("ask-back", {"method": method})
            assert said.asked == []
            check_rpc_error(said.answer, -32000, "input_required")


@pytest.mark.parametrize("server_revision", HANDSHAKE)
def test_what_a_modern_client_does_not_declare_it_is_not_asked(
    gateway: Gateway, server_revision: str
) -> None:
    for known in ((), ("sampling",)):
        declared = {name: DECLARED[name] for name in known}
        with client_of(MODERN, gateway, server_of(server_revision), declared) as client:
            said = client.call("test_elicitation", {"message": "Who?"})
            assert (said.asked, said.text) == ([], "The client did not declare `elicitation`")
    with client_of(MODERN, gateway, "rude", {"sampling": {}}) as client:
        said = client.call("ask", {"method": "elicitation/create", "params": {"message": "Who?"}})
        assert said.asked == []
        assert json.loads(said.text) == [{"action": "cancel"}]


@pytest.mark.parametrize("server_revision", REVISIONS)
@pytest.mark.parametrize("client_revision", REVISIONS)
def test_a_resource_that_is_not_there_is_told_in_the_code_of_the_client(
    gateway: Gateway, client_revision: str, server_revision: str
) -> None:
    with client_of(client_revision, gateway, server_of(server_revision)) as client:
        error = client.request("resources/read", {"uri": "test://missing"}).answer["error"]
        code = -32602 if client_revision == MODERN else -32002
        assert (error["code"], error["message"]) == (code, "Resource not found")
        assert error["data"] == {"uri": "test://missing"}


def test_a_page_to_visit_is_told_in_the_way_of_the_client(gateway: Gateway) -> None:
    with client_of(MODERN, gateway, "rude", {"elicitation": {"url": {}}}) as client:
        said = client.call("visit", {"url": "https://one.test/"})
        assert (said.asked, json.loads(said.text)) == (["elicitation"], "welcome back")
    with client_of(MODERN, gateway, "rude", DECLARED) as client:
        assert client.call("visit", {"url": "https://other.test/"}).answer["error"]["code"] == -32021
    for revision in HANDSHAKE:
        with client_of(revision, gateway, "rude") as client:
            error = client.call("visit", {"url": f"https://{revision}.test/"}).answer["error"]
            assert (error["code"], error["data"]["elicitations"][0]["elicitationId"]) == (-32042, "1")


@pytest.mark.parametrize("server_revision", [HANDSHAKE[-1], MODERN])
@pytest.mark.parametrize("client_revision", HANDSHAKE)
def test_requests_that_only_sessions_have_are_answered_here(
    gateway: Gateway, client_revision: str, server_revision: str
) -> None:
    watched = {"uri": "test://watched-resource"}
    with client_of(client_revision, gateway, server_of(server_revision)) as client:
        for method, params in (
            ("ping", None),
            ("logging/setLevel", {"level": "debug"}),
            ("resources/subscribe", watched),
            ("resources/unsubscribe", watched),
        ):
            assert client.request(method, params).answer["result"] == {}


@pytest.mark.parametrize("server_revision", REVISIONS)
def test_a_modern_client_hears_the_log_messages_that_it_asks_for(
    gateway: Gateway, server_revision: str
) -> None:
    with client_of(MODERN, gateway, server_of(server_revision)) as client:
        for wish, count in (({"logLevel": "info"}, 3), ({"logLevel": "error"}, 0), ({}, 0)):
            said = client.request("tools/call", {"name": "test_tool_with_logging", "_meta": wish})
            assert [one["method"] for one in said.heard] == ["notifications/message"] * count


# -- the document ---------------------------------------------------------------------------------------


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((PACKAGE / "tests" / file).read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_the_document_is_what_the_table_says() -> None:
    written = compatibility.DOCUMENT.read_text()
    assert written == compatibility.render(), "write it again: python -m tests.faces.compatibility"


def test_every_change_is_proved_by_tests_that_there_are() -> None:
    for change in (*compatibility.ALWAYS, *compatibility.UP, *compatibility.DOWN):
        assert change.tests, change.what
        for test in change.tests:
            file, _, name = test.partition("::")
            assert name in functions(file), test
