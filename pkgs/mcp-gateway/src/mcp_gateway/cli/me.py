"""`me`: who is asking, in the gateway's eyes."""

import json
from typing import Any

import click

from mcp_gateway.cli.client import run
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import facts, say_json


@click.command()
@common
def me(asked: Asked) -> None:
    """Show who you are to a gateway, and what you may do there."""
    answer = run(asked, lambda client: client.get("/api/me"))
    if asked.json:
        say_json(answer)
        return
    shown: dict[str, Any] = json.loads(answer)
    facts(
        (
            ("caller", shown["caller"]),
            ("name", shown.get("name")),
            ("rights", ", ".join(shown["rights"])),
            ("over", "\n".join(map(_over, shown["scopes"]))),
        )
    )


def _over(scope: dict[str, Any]) -> str:
    """One grant; several may differ in what they are about."""
    parts = [f"{name} {', '.join(scope[name])}" for name in ("servers", "tools") if name in scope]
    if scope.get("readOnly"):
        parts.append("tools that read only")
    return f"{', '.join(scope['rights'])}: {'; '.join(parts) or 'everything'}"
