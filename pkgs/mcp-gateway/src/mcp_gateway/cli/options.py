"""What every command that asks a gateway understands: `--url`, `--key-file` and `--json`, and which gateway
is meant. A key is never said on a command line: every user of the machine can read those.

Light: imported with the command line itself.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from mcp_gateway.cli.failures import Failure

# What the gateway writes into its state directory when its port answers; the host first.
HOST_NAME: Final = "host"
PORT_NAME: Final = "port"
URL_VARIABLE: Final = "MCP_GATEWAY_URL"
KEY_VARIABLE: Final = "MCP_GATEWAY_KEY"
KEY_FILE_BYTES_MAX: Final = 4_096  # a key has a few dozen; more is a file that was named by mistake
INTERRUPTED: Final = 130  # the exit code of Ctrl-C, as a shell counts it
DEFAULT_URL: Final = "http://127.0.0.1:8085"
KEY_FILE: Final = click.Path(path_type=Path, dir_okay=False)
KEY_HELP: Final = (
    f"A file with your API key; else ${KEY_VARIABLE}. Never the key itself: `ps` shows it to all."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was said before or after the command's name; the later word counts.

    `key` says who is asking; so does `code`, which works once.
    """

    url: str | None = None
    json: bool = False
    key: str | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)

    def base(self) -> tuple[str, str]:
        """The gateway's URL, and where that came from in words."""
        if self.url:
            return self.url, "as you named it"
        if (path := port_file()) is not None and (port := _port_in(path)):
            return f"http://127.0.0.1:{port}", f"its port is the one in {path}"
        return DEFAULT_URL, "the default address"


# Part of no command: a variable is read the way click reads that of `--url`, and `--key TEXT` cannot be said.
_KEY: Final = click.Option(["--key"], envvar=KEY_VARIABLE)


def key_of_environment(ctx: click.Context, option: click.Parameter, path: Path | None) -> str | None:
    """The key in the file that was named, or in the variable."""
    return key_in(ctx, option, path) or _KEY.resolve_envvar_value(ctx)


def key_in(_ctx: click.Context, _option: click.Parameter, path: Path | None) -> str | None:
    """What the file holds but for its line end; it may be a pipe, and is read once."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            text = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as problem:
        raise click.BadParameter(f"{path} cannot be read: {problem.strerror}") from None
    key = text.decode("utf-8", "replace").strip()
    if not key or len(text) > KEY_FILE_BYTES_MAX:
        raise click.BadParameter(f"{path} holds {'more than a key' if key else 'nothing'}")
    return key


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command `--url`, `--key-file` and `--json`; they reach it as its first argument."""

    @click.option("--url", metavar="URL", help=f"The gateway; else ${URL_VARIABLE}, else the local one.")
    @click.option("key", "--key-file", type=KEY_FILE, metavar="FILE", help=KEY_HELP, callback=key_in)
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @functools.wraps(command)
    def with_options(url: str | None, key: str | None, as_json: bool, **rest: Any) -> None:
        before = click.get_current_context().find_object(Asked) or Asked()
        asked = Asked(url or before.url, as_json or before.json, key or before.key)
        try:
            command(asked, **rest)
        except Failure as failure:
            failure.as_json = failure.as_json or asked.json
            raise

    return with_options


def port_file() -> Path | None:
    """Where a gateway of this user writes its port; None when there is no state directory."""
    # Imported here: only this one question needs the configuration's room.
    from mcp_gateway.config import load
    from mcp_gateway.config.model import ConfigError

    try:
        return load.state_dir(None, load.environment()) / PORT_NAME
    except ConfigError:
        return None


def _port_in(path: Path) -> int | None:
    try:
        port = int(path.read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 1 << 16 else None
