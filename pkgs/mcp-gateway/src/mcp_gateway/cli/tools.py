"""`tools`: what the servers offer; switching one."""

import json
from typing import Any

import click

from mcp_gateway.cli.client import run, tool_path
from mcp_gateway.cli.completing import complete_server, complete_tool
from mcp_gateway.cli.failures import unusable
from mcp_gateway.cli.flags import flags_of
from mcp_gateway.cli.grouping import ListByDefault
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import Table, facts, first_line, say, say_json
from mcp_gateway.visible import safe

_HINTS = {
    "readOnlyHint": "reads only",
    "destructiveHint": "may destroy",
    "idempotentHint": "may be repeated",
    "openWorldHint": "reaches the world outside",
}


@click.group(cls=ListByDefault)
def tools() -> None:
    """List tools, show one with its schema, switch it on or off."""


@tools.command("list")
@click.option("--server", metavar="ID", help="Only this server's.", shell_complete=complete_server)
@click.option("--search", metavar="WORDS", help="Only those whose name or description hold these words.")
@common
def list_(asked: Asked, server: str | None, search: str | None) -> None:
    """All tools, or those of a server or with some words."""
    answer = run(asked, lambda client: client.get("/api/tools", {"server": server, "search": search}))
    if asked.json:
        say_json(answer)
        return
    table = Table(("tool", "description"))
    for tool in json.loads(answer)["tools"]:
        mark = "" if tool.get("enabled", True) else "(off) "
        about = first_line(tool.get("description")) or first_line(tool.get("title"))
        table.rows.append((f"{tool['server']}/{tool['name']}", mark + about))
    if table.rows:
        table.show()
    else:
        say("No tools; `mcp-gateway servers` shows which servers are ready.", err=True)


@tools.command()
@click.argument("tool", metavar="SERVER/TOOL", shell_complete=complete_tool)
@common
def show(asked: Asked, tool: str) -> None:
    """One tool: what it does, its parameters, its schemas."""
    path = tool_path(tool)
    answer = run(asked, lambda client: client.get(path))
    if asked.json:
        say_json(answer)
        return
    shown: dict[str, Any] = json.loads(answer)
    facts(
        (
            ("tool", f"{shown['server']}/{shown['name']}"),
            ("over MCP", shown.get("exposedName")),
            ("title", shown.get("title")),
            ("switch", None if shown.get("enabled", True) else "off"),
            ("says of itself", _hints(shown.get("annotations"))),
        )
    )
    if isinstance(shown.get("description"), str):
        say("\n" + safe(shown["description"]))
    flags = flags_of(shown.get("inputSchema"))
    if flags:
        say("\nParameters:")
        table = Table(("flag", "what"), with_head=False)
        table.rows += [(f"  {flag.spelled}", flag.help) for flag in flags]
        table.show()
    for name, member in (("Input", "inputSchema"), ("Output", "outputSchema")):
        if member in shown:
            say(f"\n{name} schema:\n{safe(json.dumps(shown[member], indent=2, ensure_ascii=False))}")


@tools.command()
@click.argument("tool", metavar="SERVER/TOOL", nargs=-1, required=True, shell_complete=complete_tool)
@common
def on(asked: Asked, tool: tuple[str, ...]) -> None:
    """Switch a tool on again."""
    _switch(asked, tool, enabled=True)


@tools.command()
@click.argument("tool", metavar="SERVER/TOOL", nargs=-1, required=True, shell_complete=complete_tool)
@common
def off(asked: Asked, tool: tuple[str, ...]) -> None:
    """Switch a tool off; it stays so after a restart of the gateway."""
    _switch(asked, tool, enabled=False)


def _switch(asked: Asked, words: tuple[str, ...], *, enabled: bool) -> None:
    """SERVER/TOOL may also be said in two words."""
    if len(words) > 2:
        raise unusable("One tool at a time: SERVER/TOOL, such as `time/get_current_time`")
    path = tool_path("/".join(words))
    body = json.dumps({"enabled": enabled}).encode()
    answer = run(asked, lambda client: client.send("PATCH", path, body))
    if asked.json:
        say_json(answer)
        return
    shown = json.loads(answer)
    name = safe(f"{shown['server']}/{shown['name']}", lines=False)
    say(f"{name} is switched {'on' if enabled else 'off'}")


def _hints(annotations: Any) -> str:
    """The server's own words, which nobody has checked."""
    if not isinstance(annotations, dict):
        return ""
    said = ((annotations.get(key), words) for key, words in _HINTS.items())
    return ", ".join(words if hint else f"not: {words}" for hint, words in said if isinstance(hint, bool))
