"""What `docs/open-webui.md` says of a real Open WebUI: what connections it takes, and who it says asks."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import real
from tests.harness import Remote, remote
from tests.openwebui_real.model import Call, Model
from tests.openwebui_real.webui import EVERYBODY, FORWARD_SECRET, WebUI
from tests.security.cast import Guarded

pytestmark = pytest.mark.timeout(300)
NAMED = ["X-OpenWebUI-User-Jwt", "X-OpenWebUI-User-Email", "X-User"]


@pytest.fixture(scope="module")
def tickets() -> Iterator[Remote]:
    """A remote server that wants to know who is asking."""
    with remote("good", forwardHeaders=NAMED) as server:
        yield server


@pytest.fixture(scope="module")
def here(tickets: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A gateway of these tests alone."""
    servers: dict[str, dict[str, Any]] = {"tickets": tickets.entry, "time": {"command": str(real.TIME)}}
    directory = tmp_path_factory.mktemp("guide")
    with Guarded(servers, directory, keys={"caller": {"rights": ["read", "call"]}}) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready", timeout_s=60)
        yield gateway


@pytest.fixture
def alone(webui: WebUI) -> Iterator[WebUI]:
    """Open WebUI, which gets the connections of the other tests back."""
    before = webui.connections()
    yield webui
    webui.connect(*before)


def entry(gateway: Guarded, at: str = "/tools", key: str | None = None, **more: Any) -> dict[str, Any]:
    key = gateway.texts["caller"] if key is None else key
    return {
        "url": f"http://127.0.0.1:{gateway.port}{at}",
        "path": "openapi.json",
        "type": "openapi",
        "auth_type": "bearer" if key else "none",
        "key": key,
        "headers": None,
        "spec_type": "url",
        "spec": "",
        "config": {"enable": True, "function_name_filter_list": "", "access_grants": [EVERYBODY]},
        "info": {"id": "guide", "name": "Gateway", "description": ""},
    } | more


def names(webui: WebUI, model: Model, sentence: str) -> set[str]:
    """What a model is given in a chat with the connection switched on."""
    model.teach(sentence, says="This and that.")
    webui.chat(sentence, "server:guide")
    return {tool["function"]["name"] for tool in model.asked(sentence)[-1].get("tools") or []}


def test_an_address_is_taken_or_open_webui_says_always_the_same(webui: WebUI, here: Guarded) -> None:
    for good in (entry(here), entry(here, "/tools/time"), entry(here, "/tools/")):
        assert webui.verify(good).status == 200, good["url"]
    nowhere = f"http://localhost.localdomain:{here.port}/tools"  # this gateway, by a name that is not its own
    for bad in (
        entry(here, key=""),
        entry(here, key="mgk_made-up"),
        entry(here, "/mcp"),
        entry(here, "/tools/nobody"),
        entry(here, url=nowhere),
        entry(here, url="http://127.0.0.1:9/tools"),
    ):
        answer = webui.verify(bad)
        assert (answer.status, answer.json()) == (400, {"detail": "Failed to connect to the tool server"})


def test_the_root_is_the_api_of_the_gateway_itself(alone: WebUI, here: Guarded, model: Model) -> None:
    assert alone.verify(entry(here, "")).status == 200
    alone.connect(entry(here, ""))
    found = names(alone, model, "What is at the root?")
    assert {"show_access", "list_calls"} <= found
    assert "time__get_current_time" not in found


def test_a_key_in_a_header_is_verified_and_forgotten_in_chats(
    alone: WebUI, here: Guarded, model: Model
) -> None:
    by_header = entry(here, key="", headers={"Authorization": f"Bearer {here.texts['caller']}"})
    assert alone.verify(by_header).status == 200
    alone.connect(by_header)
    assert names(alone, model, "What is there by a header?") == set()


def test_a_remote_server_gets_a_proof_of_who_asks_and_what_the_connection_says(
    alone: WebUI, here: Guarded, tickets: Remote, model: Model
) -> None:
    alone.connect(entry(here, headers={"X-User": "{{USER_EMAIL}}"}))
    model.teach("Who is asking?", Call("tickets__sleep", {"ms": 1}))
    told = alone.chat("Who is asking?", "server:guide")
    assert [result["status"] for result in told.results] == ["completed"]
    sent = tickets.stats()["headers"]["tools/call sleep"]
    assert sent["x-user"] == "admin@localhost"
    assert "x-openwebui-user-email" not in sent, "in place of the headers in clear text"
    head, claims, seal = sent["x-openwebui-user-jwt"].split(".")
    expected = hmac.digest(FORWARD_SECRET.encode(), f"{head}.{claims}".encode(), hashlib.sha256)
    assert _decoded(seal) == expected
    said = json.loads(_decoded(claims))
    assert (said["email"], said["iss"]) == ("admin@localhost", "open-webui")
    assert said["exp"] - said["iat"] == 300


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
