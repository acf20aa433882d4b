"""Names for shell completion, asked of the gateway; without one there are none, and no message.

Only plain names are offered: a name that a server made up is put on a command line as it is, and the
shell would run what stands in it.
"""

import asyncio
import json
import re
from typing import Any, Final

import click

from mcp_gateway.cli.options import Asked

PATIENCE_S: Final = 2.0  # of a person who pressed Tab
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")


def complete_server(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _starting(incomplete, (row.get("id") for row in _rows(ctx, "/api/servers", "servers")))


def complete_tool(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    rows = _rows(ctx, "/api/tools", "tools")
    return _starting(incomplete, (f"{row.get('server')}/{row.get('name')}" for row in rows))


def complete_session(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _starting(incomplete, (row.get("id") for row in _rows(ctx, "/api/sessions", "sessions")))


def _starting(incomplete: str, names: Any) -> list[str]:
    return [name for name in names if _PLAIN.fullmatch(str(name)) and name.startswith(incomplete)]


def _rows(ctx: click.Context, path: str, member: str) -> list[dict[str, Any]]:
    from mcp_gateway.cli.client import Client, run
    from mcp_gateway.cli.failures import Failure

    async def ask(client: Client) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await client.get(path)

    # Nothing is run while completing, so what was said is still where click put it.
    root = ctx.find_root().params
    url, key = (ctx.params.get(name) or root.get(name) for name in ("url", "key"))
    try:
        # In JSON there are no warnings: they would stand in the middle of what is being typed.
        return list(json.loads(run(Asked(url, True, key), ask))[member])
    except (Failure, TimeoutError, ValueError, LookupError, TypeError):
        return []
