"""`servers`: what runs, what does not and why; switching and restarting; adding and removing.

To add and to remove takes the one-time code: that of the state directory of this machine, or one that a
person types or has in a file. It is never said on the command line, where others could read it and be faster.
"""

import json
import shlex
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from mcp_gateway.cli.client import Client, run, segment
from mcp_gateway.cli.completing import complete_server
from mcp_gateway.cli.failures import unusable
from mcp_gateway.cli.grouping import ListByDefault
from mcp_gateway.cli.options import KEY_FILE, Asked, common, key_in
from mcp_gateway.cli.screen import Table, clock_time, facts, say, say_json, size
from mcp_gateway.visible import safe

TEXT_BYTES_MAX: Final = 1 << 20


@click.group(cls=ListByDefault)
def servers() -> None:
    """List servers, show one, switch it on or off, restart it, add and remove one."""


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


_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="That of a gateway of yours on this machine; else the usual one.",
)
_code = click.option(
    "code",
    "--code-file",
    type=KEY_FILE,
    metavar="FILE",
    help="A file with the one-time code, for a gateway that --url names; else it is asked for.",
    callback=key_in,
)


@servers.command(context_settings={"allow_interspersed_args": False})
@click.option("--name", help="What it is called; else the name in the text, or one that fits it.")
@click.option("--check", "only_check", is_flag=True, help="Show what would run, and save nothing.")
@_code
@_state_dir
@common
@click.argument("text", nargs=-1, required=True, type=click.UNPROCESSED)
def add(
    asked: Asked,
    text: tuple[str, ...],
    name: str | None,
    only_check: bool,
    code: str | None,
    state_dir: Path | None,
) -> None:
    """Add a server: a command, a URL, or the JSON of another client (`-` reads it from standard input).

    mcp-gateway servers add --name git uvx mcp-server-git
    """
    body = json.dumps({"text": _text(text), "name": name}).encode()
    if only_check:
        _show_check(asked, run(asked, lambda client: client.send("POST", "/api/servers/check", body)))
        return
    answer = _with_code(asked, code, state_dir, lambda client: client.send("POST", "/api/servers", body))
    if asked.json:
        say_json(answer)
        return
    told = json.loads(answer)
    for warning in told.get("warnings", ()):
        say(f"warning: {safe(warning, lines=False)}", err=True)
    for server in told["servers"]:
        say(f"{safe(server['id'], lines=False)} is added, and {safe(server['state'], lines=False)}")


@servers.command()
@click.argument("server", metavar="ID", shell_complete=complete_server)
@_code
@_state_dir
@common
def remove(asked: Asked, server: str, code: str | None, state_dir: Path | None) -> None:
    """Remove a server that was added; one that stands elsewhere in the file is yours to take out."""
    path = f"/api/servers/{segment(server)}"
    _with_code(asked, code, state_dir, lambda client: client.send("DELETE", path))
    if asked.json:
        say(json.dumps({"id": server, "removed": True}))
    else:
        say(f"{safe(server, lines=False)} is removed")


@servers.command()
@click.argument("server", metavar="ID", shell_complete=complete_server)
@common
def config(asked: Asked, server: str) -> None:
    """The configuration that holds for a server, in JSON; of a secret only that it is set."""
    answer = run(asked, lambda client: client.get(f"/api/servers/{segment(server)}/config"))
    say_json(answer if asked.json else json.dumps(json.loads(answer), indent=2).encode())


def _text(words: tuple[str, ...]) -> str:
    if words == ("-",):
        read = sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
        if len(read) > TEXT_BYTES_MAX:
            raise unusable(f"Standard input holds more than {TEXT_BYTES_MAX >> 20} MiB")
        return read.decode("utf-8", "replace")
    return words[0] if len(words) == 1 else shlex.join(words)


def _with_code(
    asked: Asked, code: str | None, state_dir: Path | None, work: Callable[[Client], Awaitable[bytes]]
) -> bytes:
    if asked.url and state_dir is not None:
        raise click.UsageError("--url and --state-dir may name two gateways; say one of them")
    if not asked.url:
        # Imported here: to ask a gateway that is named needs none of this.
        from mcp_gateway.cli.state import over_rest
        from mcp_gateway.config import load
        from mcp_gateway.config.model import ConfigError

        try:
            where = load.state_dir(state_dir, load.environment())
        except ConfigError as error:
            raise unusable(f"{error}") from None
        return over_rest(asked, where, work)
    if code is None:
        if not sys.stdin.isatty():
            raise unusable(
                "This needs the one-time code that the gateway's console printed: name a file with it "
                "(--code-file), or run this where it can be typed"
            )
        code = str(click.prompt("One-time code", hide_input=True, err=True))
    return run(replace(asked, code=code.strip()), work)


def _show_check(asked: Asked, answer: bytes) -> None:
    if asked.json:
        say_json(answer)
        return
    told = json.loads(answer)
    for entry in told["entries"]:
        program = entry["program"] or {}
        sources = {key: ", ".join(map(_source, entry[key])) for key in ("env", "headers")}
        facts(
            (
                ("id", entry["id"] + (" (there is one already)" if entry["taken"] else "")),
                ("runs", shlex.join(entry["argv"]) if entry["argv"] else None),
                ("found", program.get("path") or program.get("reason")),
                ("url", entry["url"]),
                ("env", sources["env"] or None),
                ("headers", sources["headers"] or None),
                ("wrong", "\n".join(_problem(one) for one in entry["problems"]) or None),
                ("warnings", "\n".join(entry["warnings"]) or None),
            )
        )
    if not told["file"]["writable"]:
        say(f"warning: it cannot be saved: {safe(str(told['file']['reason']), lines=False)}", err=True)


def _source(one: dict[str, Any]) -> str:
    return f"{one['name']} ({one['value']}{', ' + one['of'] if one['of'] else ''})"


def _problem(one: dict[str, Any]) -> str:
    return ": ".join(filter(None, (one["place"], one["message"])))


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
