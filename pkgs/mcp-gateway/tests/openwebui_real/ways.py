"""The ways from Open WebUI to the gateway: how each is set up, switched on in a chat, called by a model."""

from dataclasses import dataclass
from typing import Any, Final

from tests.security.cast import Guarded


@dataclass(frozen=True)
class Way:
    id: str
    kind: str  # the connection's `type`
    prefix: str  # of what is switched on in a chat
    names: str = ""  # before the names of tools

    @property
    def tool_id(self) -> str:
        return self.prefix + self.id

    def name(self, server: str, tool: str) -> str:
        """The name under which the model knows a tool."""
        return f"{self.names}{server}__{tool}"


OPENAPI: Final = Way("rest", "openapi", "server:")
MCP: Final = Way("gw", "mcp", "server:mcp:", "gw_")


def connection(gateway: Guarded, way: Way, *grants: dict[str, str], id: str | None = None) -> dict[str, Any]:
    """The connection of one way, as the import on the page takes it; without grants for administrators."""
    base = f"http://127.0.0.1:{gateway.port}"
    url, path = ("mcp", "") if way is MCP else ("tools", "openapi.json")
    return {
        "url": f"{base}/{url}",
        "path": path,
        "type": way.kind,
        "auth_type": "bearer",
        "key": gateway.texts["caller"],
        "headers": None,
        "spec_type": "url",
        "spec": "",
        "config": {"enable": True, "function_name_filter_list": "", "access_grants": list(grants)},
        "info": {"id": id or way.id, "name": "Gateway", "description": ""},
    }
