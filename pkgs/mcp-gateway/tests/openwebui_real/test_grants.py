"""Who sees the gateway's tools in a real Open WebUI: everybody by the access grant, else administrators."""

import pytest

from tests.openwebui_real.model import Call, Model
from tests.openwebui_real.ways import CODE, MCP, OPENAPI, Way
from tests.openwebui_real.webui import EVERYBODY, WebUI

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def ann(webui: WebUI) -> str:
    """The token of somebody who is no administrator."""
    return webui.user("ann")


@pytest.mark.parametrize("way", [OPENAPI, MCP], ids=["openapi", "mcp"])
def test_a_person_sees_what_the_access_grant_gives_and_nothing_else(
    webui: WebUI, model: Model, ann: str, way: Way
) -> None:
    (granted,) = way.tool_ids
    kept = f"{granted}admins"
    assert {granted, kept} <= set(webui.tools())
    assert {granted, kept} & set(webui.tools(ann)) == {granted}
    sentence = f"What time is it for {{}} by {way.id}?"
    call = Call(way.name("time", "get_current_time"), {"timezone": "Europe/Zurich"})
    for who, tool_id, has_it in (("me", granted, True), ("them", kept, False)):
        asked = sentence.format(who)
        model.teach(asked, *([call] if has_it else []), says=None if has_it else "I have no tools.")
        told = webui.chat(asked, tool_id, token=ann)
        assert [result["status"] for result in told.results] == ["completed"] * has_it
        assert bool(model.asked(asked)[0].get("tools")) is has_it


def test_code_is_an_administrators_until_it_is_granted(webui: WebUI, model: Model, ann: str) -> None:
    tool_id, sentence = "gateway_time", "What time is it for me by code?"
    assert tool_id in webui.tools()
    assert tool_id not in webui.tools(ann)
    path = f"/api/v1/tools/id/{tool_id}/access/update"
    webui.ask("POST", path, {"access_grants": [EVERYBODY]})
    try:
        assert tool_id in webui.tools(ann)
        model.teach(sentence, Call(CODE.name("time", "get_current_time"), {"timezone": "Europe/Zurich"}))
        told = webui.chat(sentence, tool_id, token=ann)
        assert [result["status"] for result in told.results] == ["completed"]
    finally:
        webui.ask("POST", path, {"access_grants": []})
