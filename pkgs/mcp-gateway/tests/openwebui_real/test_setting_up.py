"""What sets a real Open WebUI up: the gateway's own push, its links for an import, and pages that call it."""

from collections.abc import Iterator

import pytest

from tests.openwebui_real.model import Call, Model, words
from tests.openwebui_real.ways import MCP, OPENAPI, Way, toolkits
from tests.openwebui_real.webui import WebUI
from tests.security.cast import Guarded

PAGE = "http://chat.example.test"  # the fixture `gateway` names it
ZURICH = {"timezone": "Europe/Zurich"}
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def key(webui: WebUI) -> Iterator[str]:
    """An administrator's API key of Open WebUI; the connections are afterwards what they were."""
    before = webui.connections()
    yield webui.ask("POST", "/api/v1/auths/api_key")["api_key"]
    webui.connect(*before)


@pytest.mark.parametrize("way", [OPENAPI, MCP], ids=lambda way: way.id)
def test_the_gateway_connects_itself_and_leaves_the_other_connections(
    webui: WebUI, model: Model, gateway: Guarded, key: str, way: Way
) -> None:
    """With a key of each that was made for it; what it says where that fails is in `test_pushing.py`."""
    before = webui.connections()
    wanted = {
        "url": webui.url,
        "key": key,
        "way": way.id,
        "gatewayUrl": f"http://127.0.0.1:{gateway.port}",
        "makeKey": True,
        "forAllUsers": True,
    }
    checked = gateway.request("POST", "/api/openwebui/check", wanted).json()
    assert (checked["ok"], checked["connected"]) == (True, False), checked
    assert webui.connections() == before

    told = gateway.request("POST", "/api/openwebui/connections", wanted).json()
    assert (told["ok"], told["connected"], told["replaces"]) == (True, True, False), told
    assert told["others"] == len(before)
    *others, made = webui.connections()
    assert others == before
    assert webui.verify(made).status == 200

    connection_id = made["info"]["id"]
    tool_id = way.tool_ids[0].rpartition(":")[0] + f":{connection_id}"
    prefix = f"{connection_id}_" if way is MCP else ""
    sentence = f"What time is it by what was pushed over {way.id}?"
    model.teach(sentence, Call(f"{prefix}time__get_current_time", ZURICH))
    assert [one["status"] for one in webui.chat(sentence, tool_id).results] == ["completed"]

    again = gateway.request("POST", "/api/openwebui/connections", wanted).json()
    assert (again["ok"], again["replaces"], again["others"]) == (True, True, len(before))
    assert webui.connections()[:-1] == before


def test_a_link_to_code_is_one_that_open_webui_imports(webui: WebUI, model: Model, gateway: Guarded) -> None:
    link = gateway.as_("caller").request("POST", "/api/openwebui/functions/time/link").json()["url"]
    brought = webui.ask("POST", "/api/v1/tools/load/url", {"url": link})
    (item,) = (one for one in toolkits(gateway) if one["id"] == "gateway_time")
    assert brought == {"name": "gateway_time", "content": item["content"]}
    # It stands beside the one that was imported as a file.
    linked = {**item, "id": "linked_time", "content": brought["content"]}
    tool_id = webui.add_tool(linked, {"api_key": gateway.texts["caller"]})
    try:
        sentence = "What time is it by the code from a link?"
        model.teach(sentence, Call("time__get_current_time", ZURICH))
        webui.chat(sentence, tool_id)
        (message,) = (one for one in model.asked(sentence)[-1]["messages"] if one["role"] == "tool")
        assert '"Europe/Zurich"' in words(message)
    finally:
        webui.ask("DELETE", f"/api/v1/tools/id/{tool_id}/delete")


def test_the_page_of_a_named_origin_may_call_and_no_other(gateway: Guarded) -> None:
    """As Open WebUI's page asks, where a person has added the gateway to their own settings."""
    sent = "authorization,content-type,x-session-id"
    call = "/tools/time/get_current_time"
    for method, path in (("GET", "/tools/openapi.json"), ("POST", call)):
        preflight = {
            "Origin": PAGE,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": sent,
            "Access-Control-Request-Private-Network": "true",
        }
        answer = gateway.nobody.request("OPTIONS", path, headers=preflight)
        assert answer.status in (200, 204), answer
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-allow-private-network"] == "true"
        assert method in answer.headers["access-control-allow-methods"]
        allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
        assert allowed >= set(sent.split(","))
        strange = gateway.nobody.request("OPTIONS", path, headers=preflight | {"Origin": "http://evil.test"})
        assert "access-control-allow-origin" not in strange.headers
    answer = gateway.as_("caller").request(
        "POST", call, ZURICH, {"Origin": PAGE, "X-Session-Id": "of-a-page"}
    )
    assert answer.status == 200, answer
    assert answer.json()["timezone"] == "Europe/Zurich"
    assert answer.headers["access-control-allow-origin"] == PAGE
    readable = answer.headers["access-control-expose-headers"].lower()
    assert "content-disposition" in readable
    assert "location" in readable
    # Where it looks for a system prompt of the server's own.
    assert gateway.as_("caller").request("GET", "/tools/api/config", headers={"Origin": PAGE}).status >= 400
