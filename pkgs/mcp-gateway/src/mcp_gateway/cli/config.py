"""The commands about the configuration file, `check` and `schema`; they need no running gateway."""

import json
import sys
from pathlib import Path

import click

from mcp_gateway.config import load
from mcp_gateway.config.model import schema as config_schema

UNUSABLE = 2  # exit status; also click's own for a wrong option


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path), help="The file; else $MCP_GATEWAY_CONFIG or the usual one."
)
def check(config: Path | None) -> None:
    """Validate the configuration and print every problem with its place."""
    env = load.environment()
    path = load.find_config(config, env)
    if path is None:
        click.echo("There is no configuration file; the gateway would start without servers.")
        return
    report = load.check(path, env)
    for warning in report.warnings:
        click.echo(f"warning: {warning}")
    problems = (*report.problems, *report.unset)
    for problem in problems:
        click.echo(problem)
    if report.config and not problems:
        click.echo(f"{path}: good, {_counted(len(report.config.servers), 'server')}")
    else:
        click.echo(f"{path}: {_counted(len(problems), 'problem')}")
        sys.exit(UNUSABLE)


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(config_schema(), indent=2))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
