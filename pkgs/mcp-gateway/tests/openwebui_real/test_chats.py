"""Chats in a real Open WebUI that use tools of real servers through the gateway, in each way there is."""

import json
import os
import re
import signal

import psutil
import pytest

from tests.harness import has_ended, until
from tests.openwebui_real.model import Call, Model, images, words
from tests.openwebui_real.ways import MCP, WAYS, Way
from tests.openwebui_real.webui import Told, WebUI
from tests.security.cast import Guarded

READY_S = 30.0
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(params=WAYS, ids=lambda way: way.id)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


class Talk:
    """Chats by one way, each with a sentence of its own."""

    def __init__(self, webui: WebUI, model: Model, way: Way) -> None:
        self.webui = webui
        self.model = model
        self.way = way
        self.sentence = ""
        self._said = 0

    def use(self, server: str, tool: str, /, **arguments: object) -> Told:
        """A chat in which the model calls a tool; what became of it."""
        self._said += 1
        self.sentence = f"Use {tool} of {server} by {self.way.id}, please; {self._said}."
        self.model.teach(self.sentence, Call(self.way.name(server, tool), dict(arguments)))
        return self.webui.chat(self.sentence, *self.way.tool_ids)

    @property
    def heard(self) -> str:
        """What the model was told of the result in the last chat."""
        (message,) = (one for one in self.last if one["role"] == "tool")
        return words(message)

    @property
    def last(self) -> list[dict[str, object]]:
        """The messages that the model got at last."""
        messages: list[dict[str, object]] = self.model.asked(self.sentence)[-1]["messages"]
        return messages


@pytest.fixture
def talk(webui: WebUI, model: Model, way: Way) -> Talk:
    return Talk(webui, model, way)


def test_a_chat_executes_a_tool_and_the_answer_reaches_the_model(talk: Talk, gateway: Guarded) -> None:
    before = len(gateway.records("git"))
    told = talk.use("git", "git_log", repo_path=str(gateway.directory / "repository"))
    assert "A first word" in talk.heard
    assert "A first word" in told.text
    assert [call["status"] for call in told.calls] == ["completed"]
    assert [result["status"] for result in told.results] == ["completed"]
    (record, *_) = rows = gateway.records("git")
    assert len(rows) == before + 1
    assert (record["tool"], record["outcome"]) == ("git_log", "ok")


def test_text_beyond_ascii_reaches_the_model_as_it_is(talk: Talk, gateway: Guarded) -> None:
    talk.use("filesystem", "read_text_file", path=str(gateway.directory / "files" / "note.txt"))
    assert "what is in the note, é😀" in talk.heard


def test_an_image_reaches_the_model_as_an_image(talk: Talk) -> None:
    told = talk.use("everything", "get-tiny-image")
    (shown,) = (url for message in talk.last for url in images(message))
    assert shown.startswith("data:image/png;base64,iVBOR")
    assert "Here's the image you requested" in talk.heard
    assert "iVBOR" not in talk.heard, "the image is in the text, too"
    assert [result["status"] for result in told.results] == ["completed"]


def test_nested_arguments_reach_the_tool_as_they_are(talk: Talk) -> None:
    entity = {"name": talk.way.id, "entityType": "way", "observations": ['it says "é😀"', "1", ""]}
    talk.use("memory", "create_entities", entities=[entity])
    talk.use("memory", "open_nodes", names=[talk.way.id])
    assert json.loads(talk.heard) == {"entities": [entity], "relations": []}


def test_a_link_to_a_file_is_one_that_anybody_can_follow(talk: Talk, gateway: Guarded) -> None:
    told = talk.use("everything", "get-resource-links", count=2)
    assert [result["status"] for result in told.results] == ["completed"]
    if talk.way is MCP:
        return  # Open WebUI shows the model no links of MCP
    links = re.findall(rf"http://127\.0\.0\.1:{gateway.port}(/api/files/[^\s\"]+)", talk.heard)
    assert len(links) == 2
    for link in links:
        assert gateway.nobody.get(link).status == 200


def test_a_failing_tool_arrives_as_failed_with_its_own_sentence(talk: Talk, gateway: Guarded) -> None:
    outside = "/nowhere/at/all"
    sentence = gateway.call("filesystem", "read_text_file", path=outside).text
    assert "Access denied" in sentence
    told = talk.use("filesystem", "read_text_file", path=outside)
    assert sentence in talk.heard
    assert [call["status"] for call in told.calls] == ["failed"]
    assert [result["status"] for result in told.results] == ["failed"]


def test_a_killed_server_recovers_without_touching_open_webui(talk: Talk, gateway: Guarded) -> None:
    assert talk.use("time", "get_current_time", timezone="Europe/Zurich").results[0]["status"] == "completed"
    killed = gateway.survivors("time")
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(map(has_ended, killed)), READY_S, "the server is dead")
    at_once = talk.use("time", "get_current_time", timezone="Europe/Zurich").results[0]["status"]
    record, *_ = gateway.records("time")
    assert (at_once, record["outcome"]) in {
        ("completed", "ok"),
        ("failed", "unavailable"),
        ("failed", "lost"),
    }
    gateway.wait_for_state("time", "ready", timeout_s=READY_S)
    told = talk.use("time", "get_current_time", timezone="Europe/Zurich")
    assert [result["status"] for result in told.results] == ["completed"]
    assert '"timezone": "Europe/Zurich"' in talk.heard
    assert not set(gateway.survivors("time")) & set(killed)
    assert psutil.pid_exists(talk.webui.process.pid if talk.webui.process else 0)


def test_numbers_that_come_as_strings_reach_the_tool_as_numbers(talk: Talk, gateway: Guarded) -> None:
    told = talk.use("everything", "get-sum", a="19", b=23)
    record, *_ = gateway.records("everything")
    if talk.way is MCP:  # arguments are the client's and the server's affair there
        assert told.results[0]["status"] == "failed"
        assert "expected number" in talk.heard
        assert record["detail"] is None
    else:
        assert "The sum of 19 and 23 is 42." in talk.heard
        assert record["detail"], "the record does not tell that an argument was changed"
