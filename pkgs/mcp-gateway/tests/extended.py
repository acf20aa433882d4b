"""A server of the official SDK over stdio with an extension of its own, a view (MCP Apps) and logs."""

import warnings
from typing import Any

from mcp.server.apps import Apps, client_supports_apps
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import RequestParams

warnings.simplefilter("ignore")  # logging is deprecated, and spoken all the same
VIEW = "ui://clock/view.html"


class AddParams(RequestParams):
    numbers: list[int]


class Adding(Extension):
    identifier = "x.test/adding"

    def settings(self) -> dict[str, Any]:
        return {"most": 3}

    def methods(self) -> list[MethodBinding]:
        return [MethodBinding("x.test/add", AddParams, self._add)]

    async def _add(self, _ctx: Any, params: Any) -> dict[str, Any]:
        return {"sum": sum(params.numbers)}


apps = Apps()


@apps.tool(resource_uri=VIEW)
def clock(ctx: Context[Any]) -> str:
    return "a view" if client_supports_apps(ctx) else "no view"


apps.add_html_resource(VIEW, "<p>12:00</p>")
server = MCPServer("extended", version="1.2.3", website_url="https://x.test", extensions=[apps, Adding()])


@server.tool()
async def talk(ctx: Context[Any]) -> str:
    for level in ("debug", "info", "error"):
        await ctx.log(level, f"about {level}")
    return "said"


if __name__ == "__main__":
    server.run("stdio")
