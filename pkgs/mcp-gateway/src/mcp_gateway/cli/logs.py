"""`logs`: the last words of a server, and the next ones."""

import json
from typing import Any

import click

from mcp_gateway.cli.client import Client, run, segment
from mcp_gateway.cli.completing import complete_server
from mcp_gateway.cli.failures import unreachable
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import say, say_json
from mcp_gateway.visible import safe


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--tail", type=click.IntRange(0, 1000), default=200, show_default=True, help="So many lines.")
@click.argument("server", metavar="ID", shell_complete=complete_server)
@common
def logs(asked: Asked, server: str, follow: bool, tail: int) -> None:
    """Show what a server wrote to stderr."""
    path, query = f"/api/servers/{segment(server)}/logs", {"tail": tail}
    if follow:
        run(asked, lambda client: _follow(client, path, query, asked.json))
        return
    for line in run(asked, lambda client: client.get(path, query)).decode("utf-8", "replace").splitlines():
        say(json.dumps({"text": line}) if asked.json else safe(line, lines=False))


async def _follow(client: Client, path: str, query: dict[str, Any], as_json: bool) -> None:
    async with client.events("GET", path, query=query) as events:
        async for name, data in events:
            if name != "log":
                continue
            if as_json:
                say_json(data)
            else:
                say(safe(json.loads(data)["text"], lines=False))
    raise unreachable("The gateway ended the log; it is stopping, or was too busy to go on")
