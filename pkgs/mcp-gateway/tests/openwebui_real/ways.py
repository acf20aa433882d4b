"""The ways from Open WebUI to the gateway: how each is set up, switched on in a chat, called by a model."""

from dataclasses import dataclass
from typing import Any, Final

from tests.security.cast import Guarded

SERVERS: Final = ("everything", "filesystem", "memory", "git", "time")


@dataclass(frozen=True)
class Way:
    id: str
    tool_ids: tuple[str, ...]  # what is switched on in a chat
    names: str = ""  # before the names of tools
    is_code: bool = False

    def name(self, server: str, tool: str) -> str:
        """The name under which the model knows a tool."""
        exposed = f"{server}__{tool}"
        return exposed.replace("-", "_") if self.is_code else self.names + exposed


OPENAPI: Final = Way("openapi", ("server:rest",))
MCP: Final = Way("mcp", ("server:mcp:native",), "native_")
CODE: Final = Way("code", tuple(f"gateway_{server}" for server in SERVERS), is_code=True)
WAYS: Final = (OPENAPI, MCP, CODE)


def connection(gateway: Guarded, way: Way, *grants: dict[str, str], suffix: str = "") -> dict[str, Any]:
    """The connection of one way, as the import on the page takes it; without grants for administrators."""
    base = f"http://127.0.0.1:{gateway.port}"
    url, path = ("mcp", "") if way is MCP else ("tools", "openapi.json")
    (tool_id,) = way.tool_ids
    return {
        "url": f"{base}/{url}",
        "path": path,
        "type": way.id,
        "auth_type": "bearer",
        "key": gateway.texts["caller"],
        "headers": None,
        "spec_type": "url",
        "spec": "",
        "config": {"enable": True, "function_name_filter_list": "", "access_grants": list(grants)},
        "info": {"id": tool_id.rpartition(":")[2] + suffix, "name": "Gateway", "description": ""},
    }


def toolkits(gateway: Guarded) -> list[dict[str, Any]]:
    """The generated code of all servers, as the import on the page takes it."""
    answer = gateway.as_("caller").get("/api/openwebui/functions")
    assert answer.status == 200, answer
    items: list[dict[str, Any]] = answer.json()
    assert {item["id"] for item in items} == set(CODE.tool_ids)
    return items
