"""The command line: `serve`, the commands about the configuration, and a client of the REST API.

Only click is imported here. A command is imported when it is run, so `--help` and completion stay
fast, and `serve` carries neither the client's HTTP library nor its tables.

    serve, config, importing    on this machine, without a running gateway
    servers, tools, call, logs, activity, sessions, reload, me    over REST, from any machine
    keys, state                 over REST, or on the state directory of this machine
    options, client, failures   what these share: --url, --key-file, --json, the connection, the exit codes
    screen, result, flags       pure: text of servers made safe to show; flags from a schema
"""

import io
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from mcp_gateway.cli.options import (
    INTERRUPTED,
    KEY_FILE,
    KEY_HELP,
    URL_VARIABLE,
    Asked,
    key_of_environment,
)
from mcp_gateway.version import VERSION

# Name -> module and the line in `--help`; a test holds the line to what the command says of itself.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("serve", "Run the gateway."),
    "check": ("config", "Validate the configuration and print every problem with its place."),
    "schema": ("config", "Print the JSON Schema of the configuration file."),
    "import": ("importing", "Read the servers of other MCP clients into the configuration."),
    "servers": ("servers", "List servers, show one, switch it on or off, restart it, add and remove one."),
    "tools": ("tools", "List tools, show one with its schema, switch it on or off."),
    "call": ("call", "Call a tool; its parameters are flags."),
    "logs": ("logs", "Show what a server wrote to stderr."),
    "reload": ("reload", "Let the gateway read its configuration again."),
    "sessions": ("sessions", "List connected MCP clients, close a session."),
    "keys": ("keys", "Make API keys, list and revoke them; hash a password or a key."),
    "me": ("me", "Show who you are to a gateway, and what you may do there."),
    "activity": ("activity", "Show calls: who, what, how long, with which outcome."),
}


class _Main(click.Group):
    """Lists commands without importing them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        return click.Command(name, short_help=COMMANDS[name][1]) if name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, None if found is None or name is None else load_command(name), rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


def load_command(name: str) -> click.Command:
    """The real command, with all that it needs."""
    attribute = {"import": "import_"}.get(name, name)
    command = getattr(import_module(f"mcp_gateway.cli.{COMMANDS[name][0]}"), attribute)
    assert isinstance(command, click.Command)
    return command


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar=URL_VARIABLE, help="The gateway to ask, for the commands that ask one.")
@click.option("key", "--key-file", type=KEY_FILE, metavar="FILE", help=KEY_HELP, callback=key_of_environment)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.version_option(VERSION, prog_name="mcp-gateway")
@click.pass_context
def main(ctx: click.Context, url: str | None, key: str | None, as_json: bool) -> None:
    """One door for every MCP server: REST and MCP over HTTP in front of the servers you have."""
    ctx.obj = Asked(url or None, as_json, key)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal's encoding lacks is shown as an escape
            stream.reconfigure(errors="backslashreplace")
