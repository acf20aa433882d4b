"""`reload`: the gateway reads its configuration file again; what moved, or every problem with its place."""

import json
from typing import Any

import click

from mcp_gateway.cli.client import run
from mcp_gateway.cli.failures import Failure, Unusable
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import say, say_json
from mcp_gateway.visible import safe


@click.command()
@common
def reload(asked: Asked) -> None:
    """Let the gateway read its configuration again.

    It does so by itself soon after the file has changed; this waits for the outcome and shows it.
    """
    try:
        answer = run(asked, lambda client: client.send("POST", "/api/reload"))
    except Failure as failure:
        problems = failure.document.get("problems")
        if not isinstance(problems, list):
            raise
        if not asked.json:
            for problem in problems:
                say(safe(_sentence(problem), lines=False), err=True)
        raise Unusable(
            {**failure.document, "detail": "Nothing was changed; the gateway goes on as it was"}
        ) from None
    if asked.json:
        say_json(answer)
        return
    moved: dict[str, Any] = json.loads(answer)
    lines = [
        *(f"{server} added" for server in moved["added"]),
        *(f"{server} removed" for server in moved["removed"]),
        *(_changed(change) for change in moved["changed"]),
        *(f"gateway.{key} changed" for key in moved["gateway"]),
    ]
    for line in lines or ["Nothing moved"]:
        say(safe(line, lines=False))
    for warning in moved["warnings"]:
        say(f"warning: {safe(warning, lines=False)}", err=True)


def _changed(change: dict[str, Any]) -> str:
    how = "a new process or connection takes its place" if change["replaced"] else "in place"
    return f"{change['server']} changed: {', '.join(change['keys'])} ({how})"


def _sentence(problem: dict[str, Any]) -> str:
    """As `check` says it."""
    file, line = problem.get("file"), problem.get("line")
    at = f"{file}:{line}" if line is not None else file
    nearest = problem.get("nearest")
    hint = f" (did you mean `{nearest}`?)" if nearest else ""
    return ": ".join(
        str(part) for part in (at, problem.get("place"), f"{problem.get('message')}{hint}") if part
    )
