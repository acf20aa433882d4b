"""`sessions`: which MCP clients are connected, and closing what should not be."""

import json

import click

from mcp_gateway.cli.client import run, segment
from mcp_gateway.cli.completing import complete_session
from mcp_gateway.cli.grouping import ListByDefault
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import Table, clock_time, say, say_json
from mcp_gateway.visible import safe


@click.group(cls=ListByDefault)
def sessions() -> None:
    """List connected MCP clients, close a session."""


@sessions.command("list")
@common
def list_(asked: Asked) -> None:
    """Sessions of MCP clients: yours, or everybody's for operators."""
    answer = run(asked, lambda client: client.get("/api/sessions"))
    if asked.json:
        say_json(answer)
        return
    right = frozenset({"streams", "calls"})
    table = Table(
        ("id", "caller", "speaks", "at", "begun", "seen", "streams", "calls", "client"), right=right
    )
    for session in json.loads(answer)["sessions"]:
        client = f"{session.get('client', '')} {session.get('clientVersion', '')}".strip()
        begun, seen = clock_time(session.get("begun")), clock_time(session.get("seen"), day=False)
        columns = ("id", "caller", "revision", "endpoint"), ("streams", "calls")
        first, last = ([session.get(name) for name in names] for names in columns)
        table.rows.append((*first, begun, seen, *last, client))
    if table.rows:
        table.show()
    else:
        say("No MCP client has a session; those of 2026-07-28 and later never do.", err=True)


@sessions.command()
@click.argument("session", metavar="ID", shell_complete=complete_session)
@common
def close(asked: Asked, session: str) -> None:
    """End a session: its calls are cancelled. Its client may begin another."""
    run(asked, lambda client: client.send("DELETE", f"/api/sessions/{segment(session)}"))
    if not asked.json:
        say(f"{safe(session, lines=False)} is closed")
