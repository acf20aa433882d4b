"""`servers`: what runs, what does not and why; switching and restarting."""

import json
import time
from typing import Any

import click

from mcp_gateway.cli.client import run, segment
from mcp_gateway.cli.completing import complete_server
from mcp_gateway.cli.grouping import ListByDefault
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import Table, clock_time, facts, say, say_json, size
from mcp_gateway.visible import safe


@click.group(cls=ListByDefault)
def servers() -> None:
    """List servers, show one, switch it on or off, restart it."""


@servers.command("list")
@common
def list_(asked: Asked) -> None:
    """All servers with their states."""
    answer = run(asked, lambda client: client.get("/api/servers"))
    if asked.json:
        say_json(answer)
        return
    table = Table(("id", "state", "tools", "speaks", "why"), right=frozenset({"tools"}), styled="state")
    for server in json.loads(answer)["servers"]:
        speaks, tools = server.get("protocolRevision"), server.get("tools")
        table.rows.append((server["id"], server["state"], tools, speaks, _why(server)))
    if table.rows:
        table.show()
    else:
        say("No servers are configured; `mcp-gateway import FILE` reads those of another client.", err=True)


@servers.command()
@click.argument("server", metavar="ID", shell_complete=complete_server)
@common
def show(asked: Asked, server: str) -> None:
    """One server: its state and reason, its counts, its last words."""
    answer = run(asked, lambda client: client.get(f"/api/servers/{segment(server)}"))
    if asked.json:
        say_json(answer)
        return
    shown: dict[str, Any] = json.loads(answer)
    calls, exited = shown.get("calls") or {}, shown.get("exit") or {}
    override, declared = shown.get("override"), _on(shown.get("declared"))
    facts(
        (
            ("id", shown["id"]),
            ("title", shown.get("title")),
            ("state", shown["state"]),
            ("why", _why(shown)),
            ("since", clock_time(shown.get("since"))),
            (
                "switch",
                None
                if override is None
                else f"{_on(override)}, at run time; the configuration says {declared}",
            ),
            ("speaks", shown.get("protocolRevision")),
            ("pid", shown.get("pid")),
            ("takes", _takes(shown.get("usage"))),
            ("tools", _tools(shown)),
            ("calls", ", ".join(f"{count} {name}" for name, count in calls.items())),
            ("last exit", exited.get("reason")),
            ("last error", shown.get("lastError")),
            ("counts", ", ".join(f"{count} {name}" for name, count in shown.get("counters", {}).items())),
            ("about", shown.get("instructions")),
            ("stderr", "\n".join(shown.get("stderr", ()))),
        )
    )


def _switch(asked: Asked, server: str, enabled: bool) -> None:
    body = json.dumps({"enabled": enabled}).encode()
    answer = run(asked, lambda client: client.send("PATCH", f"/api/servers/{segment(server)}", body))
    _told(asked, answer, f"is switched {_on(enabled)}")


@servers.command()
@click.argument("server", metavar="ID", shell_complete=complete_server)
@common
def on(asked: Asked, server: str) -> None:
    """Switch a server on; it stays so after a restart of the gateway."""
    _switch(asked, server, True)


@servers.command()
@click.argument("server", metavar="ID", shell_complete=complete_server)
@common
def off(asked: Asked, server: str) -> None:
    """Switch a server off; it stays so after a restart of the gateway."""
    _switch(asked, server, False)


@servers.command()
@click.argument("server", metavar="ID", shell_complete=complete_server)
@common
def restart(asked: Asked, server: str) -> None:
    """Stop a server and start it again; one that failed is tried anew."""

    path = f"/api/servers/{segment(server)}/restart"
    _told(asked, run(asked, lambda client: client.send("POST", path)), "restarts")


def _told(asked: Asked, answer: bytes, what: str) -> None:
    if asked.json:
        say_json(answer)
    else:
        say(f"{safe(json.loads(answer)['id'], lines=False)} {what}")


def _tools(server: dict[str, Any]) -> str:
    tokens = server.get("toolTokens")
    about = f", about {tokens} tokens of a model's context" if tokens else ""
    return f"{server.get('tools')}{about}"


def _takes(usage: dict[str, Any] | None) -> str | None:
    """What its processes take, where they are here and one may know."""
    if usage is None:
        return None
    count = usage["processes"]
    percent = "" if usage["cpuPercent"] is None else f", {usage['cpuPercent']:g}% of a core"
    return f"{size(usage['memoryBytes'])}{percent}, in {count} process{'es' if count != 1 else ''}"


def _on(switch: object) -> str:
    return "on" if switch else "off"


def _why(server: dict[str, Any]) -> str:
    """The reason of a state, and when the next attempt is."""
    why = server.get("reason") or ""
    if isinstance(server.get("nextRetry"), int | float):
        in_s = max(0, round(server["nextRetry"] - time.time()))
        why += f"; attempt {server.get('attempt', 0) + 1} in {in_s} s"
    return str(why)
