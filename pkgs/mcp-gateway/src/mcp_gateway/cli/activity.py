"""`activity`: the record of calls, the calls as they end, and all of it as a file."""

import codecs
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from mcp_gateway.cli.client import Client, run
from mcp_gateway.cli.completing import complete_server
from mcp_gateway.cli.failures import unreachable, unusable
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import Table, clock_time, duration, say, size
from mcp_gateway.visible import safe

PAGE: Final = 500  # the most that one request answers
NEWEST: Final = 50  # a screen
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEADINGS: Final = ("when", "call", "who", "face", "tool", "outcome", "took", "sent", "got", "detail")


def _moment(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """`90s`, `5m`, `2h`, `3d` ago; or a date with a time."""
    if text is None:
        return None
    if match := re.fullmatch(r"([0-9]{1,6})([smhd])", text):
        return time.time() - int(match[1]) * _UNIT_S[match[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter("give 30s, 5m, 2h or 3d, or a time such as 2026-11-21T10:00") from None


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with calls as they end, until Ctrl-C.")
@click.option("--server", metavar="ID", shell_complete=complete_server)
@click.option("--tool", metavar="NAME", help="The server's own name of it.")
@click.option("--caller", metavar="NAME")
@click.option("--face", metavar="NAME", help="The way in: rest, mcp, ...")
@click.option("--outcome", metavar="WORD", help="ok, tool_error, cancelled, busy, lost, ...")
@click.option("--since", metavar="WHEN", callback=_moment, help="30s, 5m, 2h, 3d ago, or a time.")
@click.option("--until", metavar="WHEN", callback=_moment, help="Likewise; what began before.")
@click.option("--limit", type=click.IntRange(0, 100_000), help="The newest so many: 50, or all of an export.")
@click.option("--export", "form", type=click.Choice(["jsonl", "csv"]), help="All that match, as a file.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the export goes; else to stdout.",
)
@common
def activity(
    asked: Asked, follow: bool, limit: int | None, form: str | None, output: Path | None, **filters: Any
) -> None:
    """Show calls: who, what, how long, with which outcome."""
    if follow and (form or filters["until"] is not None):
        raise click.UsageError("--follow goes on; --export and --until end")
    if output and not form:
        raise click.UsageError("--output is for --export")
    if form:
        _export(asked, {**filters, "format": form, "limit": limit}, output)
        return
    limit = NEWEST if limit is None else limit
    if follow:
        run(asked, lambda client: _follow(client, filters, limit, asked.json))
        return
    calls = run(asked, lambda client: _past(client, filters, limit))
    if asked.json:
        say(json.dumps({"calls": calls}))
    elif calls:
        table = Table(_HEADINGS, right=frozenset({"took", "sent", "got"}), styled="outcome")
        table.rows += [_row(call) for call in calls]
        table.show()
    else:
        say("No calls.", err=True)


def _export(asked: Asked, query: Mapping[str, Any], output: Path | None) -> None:
    """Copies what the gateway sends, piece by piece."""
    with _into(output) as write:

        async def copy(client: Client) -> None:
            async with client.stream("/api/calls/export", query) as pieces:
                async for piece in pieces:
                    write(piece)

        if query["limit"] != 0:
            run(asked, copy)
    if output:
        say(f"Wrote {output}", err=True)


@contextmanager
def _into(output: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Where the pieces go. A file is there when it is whole, and only its owner may read it."""
    if output is None:
        if sys.stdout.isatty():
            decode = codecs.getincrementaldecoder("utf-8")("replace").decode
            yield lambda piece: click.echo(safe(decode(piece)), nl=False)
        else:
            yield sys.stdout.buffer.write
            sys.stdout.buffer.flush()
        return
    part = None
    try:
        number, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        part = Path(name)
        with open(number, "wb") as file:
            yield file.write
        part.replace(output)
    except OSError as problem:
        raise unusable(f"{output} cannot be written: {problem.strerror}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


async def _past(client: Client, filters: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """The newest calls, newest first, over as many pages as it takes."""
    calls: list[dict[str, Any]] = []
    cursor = None
    while len(calls) < limit:
        query = {**filters, "limit": min(limit - len(calls), PAGE), "cursor": cursor}
        page = json.loads(await client.get("/api/calls", query))
        calls += page["calls"]
        cursor = page.get("cursor")
        if cursor is None:
            break
    return calls


async def _follow(client: Client, filters: Mapping[str, Any], limit: int, as_json: bool) -> None:
    """The past, oldest first, then each call as it ends. The feed is open before the past is read."""
    shown: set[str] = set()
    async with client.events("GET", "/api/events") as feed:
        for call in reversed(await _past(client, filters, limit)):
            if call["outcome"] != "running":
                shown.add(call["id"])
            _tell(call, as_json)
        async for name, data in feed:
            call = json.loads(data) if name == "call" else None
            if call is None or call["outcome"] == "running" or not _matches(call, filters):
                continue
            if call["id"] not in shown:
                _tell(call, as_json)
            shown.discard(call["id"])
    raise unreachable("The gateway ended the feed; it is stopping, or this reader was too slow")


def _matches(call: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    wanted = (
        name for name in ("server", "tool", "caller", "face", "outcome") if filters.get(name) is not None
    )
    return all(call.get(name) == filters[name] for name in wanted)


def _tell(call: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(json.dumps(call))
        return
    when, _, who, face, tool, outcome, took, _, got, detail = _row(call)
    line = "  ".join(filter(None, (when, tool, outcome, took, got, f"{who} over {face}", detail)))
    say(safe(line, lines=False))


def _what(call: Mapping[str, Any]) -> str:
    """The tool that was called, what else was asked of a server, or what was done to the gateway itself."""
    if call.get("action") is not None:
        return str(call["action"])
    if call.get("target") is None:
        return f"{call.get('server')}/{call.get('tool')}"
    return f"{call.get('server')} {call.get('method')} {call['target']}"


def _row(call: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        clock_time(call.get("started")),
        str(call["id"]),
        str(call.get("caller")),
        str(call.get("face")),
        _what(call),
        str(call["outcome"]),
        duration(call.get("durationMs")),
        size(int(call.get("requestBytes") or 0)),
        size(int(call.get("responseBytes") or 0)),
        str(call.get("detail") or ""),
    )
