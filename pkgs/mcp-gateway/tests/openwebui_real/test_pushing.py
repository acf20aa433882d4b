"""The gateway puts its connection into a real Open WebUI, and tells what a real one keeps to itself."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.openwebui_real.webui import WebUI
from tests.security.cast import Guarded

pytestmark = pytest.mark.timeout(300)
PLACES = "/api/v1/configs/tool_servers"


@pytest.fixture(autouse=True)
def kept(webui: WebUI) -> Iterator[dict[str, Any]]:
    """The connections that were there, which come back afterwards."""
    before: dict[str, Any] = webui.ask("GET", PLACES)
    yield before
    webui.ask("POST", PLACES, before)


def wanted(gateway: Guarded, webui: WebUI, **more: Any) -> dict[str, Any]:
    asked = {"url": webui.url, "key": webui.admin, "gatewayUrl": f"http://127.0.0.1:{gateway.port}"}
    return asked | {"gatewayKey": gateway.texts["caller"], "forAllUsers": True} | more


@pytest.mark.parametrize("way", ["openapi", "mcp"])
def test_it_is_connected_beside_the_others_and_again_in_its_own_place(
    gateway: Guarded, webui: WebUI, kept: dict[str, Any], way: str
) -> None:
    others = kept["TOOL_SERVER_CONNECTIONS"]
    tools = len(gateway.get("/api/tools?server=time").json()["tools"])
    for is_there in (False, True):
        asked = wanted(gateway, webui, way=way, server="time")
        told = gateway.request("POST", "/api/openwebui/connections", asked).json()
        assert [one["tone"] for one in told.pop("findings")] == ["good", "good"]
        assert told == {
            "ok": True,
            "connected": True,
            "tools": tools,
            "others": len(others),
            "replaces": is_there,
        }
        *before, ours = webui.ask("GET", PLACES)["TOOL_SERVER_CONNECTIONS"]
        assert (before, ours["info"]["id"]) == (others, "time")
    assert ("server:mcp:time" if way == "mcp" else "server:time") in webui.tools()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gatewayUrl": "http://localhost:1"}, "in a container the container itself"),
        ({"gatewayUrl": "http://nobody.invalid"}, "does not reach http://nobody.invalid"),
        ({"gatewayKey": "mgk_wrong"}, "does not know the key"),
        ({"gatewayKey": ""}, "wants a key, and there is none"),
        ({"gatewayKey": "mgk_wrong", "way": "mcp"}, "does not know the key"),
        ({"key": "sk-wrong"}, "does not accept the key"),
    ],
)
def test_why_it_does_not_work_is_found_out(
    gateway: Guarded, webui: WebUI, kept: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    asked = wanted(gateway, webui, **change)
    told = gateway.request("POST", "/api/openwebui/check", asked).json()
    assert not told["ok"]
    assert words in " ".join(one["says"] for one in told["findings"])
    assert webui.ask("GET", PLACES) == kept
