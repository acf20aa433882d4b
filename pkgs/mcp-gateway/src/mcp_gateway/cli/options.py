"""What every command that asks a gateway understands: `--url` and `--json`, and which gateway is meant.

Light: imported with the command line itself.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from mcp_gateway.cli.failures import Failure

URL_VARIABLE: Final = "MCP_GATEWAY_URL"
INTERRUPTED: Final = 130  # the exit code of Ctrl-C, as a shell counts it
DEFAULT_URL: Final = "http://127.0.0.1:8085"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was said before or after the command's name; the later word counts."""

    url: str | None = None
    json: bool = False

    def base(self) -> tuple[str, str]:
        """The gateway's URL, and where that came from in words."""
        if self.url:
            return self.url, "as you named it"
        if (path := port_file()) is not None and (port := _port_in(path)):
            return f"http://127.0.0.1:{port}", f"its port is the one in {path}"
        return DEFAULT_URL, "the default address"


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command `--url` and `--json`; they reach it as its first argument."""

    @click.option("--url", metavar="URL", help=f"The gateway; else ${URL_VARIABLE}, else the local one.")
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @functools.wraps(command)
    def with_options(url: str | None, as_json: bool, **rest: Any) -> None:
        before = click.get_current_context().find_object(Asked) or Asked()
        asked = Asked(url or before.url, as_json or before.json)
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
        return load.state_dir(None, load.environment()) / "port"
    except ConfigError:
        return None


def _port_in(path: Path) -> int | None:
    try:
        port = int(path.read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 1 << 16 else None
