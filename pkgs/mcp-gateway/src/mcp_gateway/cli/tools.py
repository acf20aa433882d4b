"""`tools`: what the servers offer; switching some."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import click

from mcp_gateway.cli.client import Client, run, tool_path
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


_PATTERN = re.compile(r"[*?[]")
_WORDS = {True: "on", False: "off"}


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
@click.argument("tool", metavar="SERVER/TOOL...", nargs=-1, required=True, shell_complete=complete_tool)
@common
def on(asked: Asked, tool: tuple[str, ...]) -> None:
    """Switch tools on again, by name or by patterns such as `git/*`."""
    _switch(asked, tool, enabled=True)


@tools.command()
@click.argument("tool", metavar="SERVER/TOOL...", nargs=-1, required=True, shell_complete=complete_tool)
@common
def off(asked: Asked, tool: tuple[str, ...]) -> None:
    """Switch tools off, by name or by patterns such as `git/*`; they stay so after a restart."""
    _switch(asked, tool, enabled=False)


def _switch(asked: Asked, words: tuple[str, ...], *, enabled: bool) -> None:
    """One SERVER/TOOL may also be said in two words."""
    if len(words) == 2 and "/" not in words[0]:
        words = ("/".join(words),)
    paths = [tool_path(word) for word in words]
    if len(words) > 1 or _PATTERN.search(words[0]):
        _switch_many(asked, words, enabled=enabled)
        return
    body = json.dumps({"enabled": enabled}).encode()
    answer = run(asked, lambda client: client.send("PATCH", paths[0], body))
    if asked.json:
        say_json(answer)
        return
    shown = json.loads(answer)
    name = safe(f"{shown['server']}/{shown['name']}", lines=False)
    say(f"{name} is switched {_WORDS[enabled]}")


def _switch_many(asked: Asked, words: tuple[str, ...], *, enabled: bool) -> None:
    async def switch(client: Client) -> bytes:
        listed = [
            (tool["server"], tool["name"]) for tool in json.loads(await client.get("/api/tools"))["tools"]
        ]
        meant = [{"server": server, "name": name} for server, name in _meant(words, listed)]
        return await client.send(
            "PATCH", "/api/tools", json.dumps({"enabled": enabled, "tools": meant}).encode()
        )

    answer = run(asked, switch)
    if asked.json:
        say_json(answer)
        return
    told = json.loads(answer)
    say(f"{told['tools']} tools are switched {_WORDS[enabled]}; {told['changed']} of them were not before")


def _meant(words: tuple[str, ...], listed: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The tools that are named, by their names or by patterns.

    Raises: Failure for words that mean none.
    """
    found: dict[tuple[str, str], None] = {}
    for word in words:
        server, _, name = word.partition("/")
        # A name may itself hold the characters of a pattern; then it means that tool alone.
        exact = [tool for tool in listed if tool == (server, name)]
        tools = exact or [
            tool for tool in listed if fnmatchcase(tool[0], server) and fnmatchcase(tool[1], name)
        ]
        if not tools:
            raise unusable(f"No tool is `{word}`; `mcp-gateway tools` lists those there are")
        found |= dict.fromkeys(tools)
    return list(found)


def _hints(annotations: Any) -> str:
    """The server's own words, which nobody has checked."""
    if not isinstance(annotations, dict):
        return ""
    said = ((annotations.get(key), words) for key, words in _HINTS.items())
    return ", ".join(words if hint else f"not: {words}" for hint, words in said if isinstance(hint, bool))
