"""`call`: one tool call from the command line, streamed, so that Ctrl-C takes it back from the server.

What stands after SERVER/TOOL is the tool's: a flag of the tool wins over one of ours of the same name,
which can always be said before it.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from mcp_gateway.cli.client import Client, run, segment, tool_path
from mcp_gateway.cli.completing import complete_tool
from mcp_gateway.cli.failures import Busy, Exit, Failure, failure_of, lost, unusable
from mcp_gateway.cli.flags import arguments_of, command_of, flags_of
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.progress import Progress
from mcp_gateway.cli.result import read_result, save, show
from mcp_gateway.cli.screen import say, say_json
from mcp_gateway.visible import safe
from mcp_gateway.wire.envelope import read_members

_ARTIFACT: Final = re.compile("/api/artifacts/[A-Za-z0-9_-]+")
AFTER: Final = (
    "Instead of flags, the arguments may be one JSON object: '{...}', @FILE, or - for standard input."
)


@dataclass(frozen=True)
class _Wish:
    """A call with our own options."""

    asked: Asked
    tool: str
    output: Path | None = None
    timeout: float | None = None


@click.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    epilog=f"{AFTER} `mcp-gateway call SERVER/TOOL --help` lists the flags of a tool.",
    options_metavar="[OPTIONS]",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Keep the content here."
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds without progress.")
@click.argument("tool", metavar="SERVER/TOOL", shell_complete=complete_tool)
@click.argument("words", metavar="[--FLAG VALUE ... | ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
@common
def call(asked: Asked, tool: str, words: tuple[str, ...], output: Path | None, timeout: float | None) -> None:
    """Call a tool; its parameters are flags."""
    tool_path(tool)  # a name of the wrong form is said before anything is asked
    wish = _Wish(asked, tool, output, timeout)
    wish, text = _after_tool(wish, words)
    if text is not None:
        body = _json_text(text)
    else:
        wish, body = _from_flags(wish, words)
    result = run(wish.asked, lambda client: _call(client, wish, body))
    _show(wish, result)


def _after_tool(wish: _Wish, words: Sequence[str]) -> tuple[_Wish, str | None]:
    """The arguments as JSON, if that is how they are given; `--json` may stand beside them."""
    rest = [word for word in words if word != "--json"]
    if len(rest) == 1 and (rest[0] == "-" or rest[0].startswith(("{", "@"))):
        asked = replace(wish.asked, json=wish.asked.json or len(rest) < len(words))
        return replace(wish, asked=asked), rest[0]
    return wish, None


def _json_text(word: str) -> bytes:
    """The arguments as they were written; whether they are an object is the gateway's to say."""
    if word == "-":
        return sys.stdin.buffer.read()
    if not word.startswith("@"):
        return word.encode("utf-8", "surrogateescape")
    try:
        return Path(word[1:]).read_bytes()
    except OSError as problem:
        raise unusable(f"{word[1:]} cannot be read: {problem.strerror}") from None


def _from_flags(wish: _Wish, words: Sequence[str]) -> tuple[_Wish, bytes]:
    """The arguments that the tool's flags say."""
    try:
        definition = run(wish.asked, lambda client: _definition(client, wish.tool))
    except Failure as failure:
        if words or not isinstance(failure, Busy):
            raise
        return wish, b"{}"  # a call may wait for its server; flags cannot
    flags = flags_of(definition.get("inputSchema"))
    about = definition.get("description")
    command = command_of(wish.tool, about if isinstance(about, str) else "", flags, AFTER)
    taken = {spelling for flag in flags for spelling in flag.spellings}
    command.params += [
        option for option in _ours() if taken.isdisjoint((*option.opts, *option.secondary_opts))
    ]
    parent = click.get_current_context()
    values = command.make_context(f"{parent.command_path} {safe(wish.tool, lines=False)}", list(words)).params
    return _with_ours(wish, values), json.dumps(arguments_of(flags, values)).encode()


def _ours() -> list[click.Option]:
    """Our own options, for those who say them after the tool."""
    return [
        click.Option(["our_json", "--json"], is_flag=True, help="Answer in JSON."),
        click.Option(["our_url", "--url"], help="The gateway."),
        click.Option(
            ["our_output", "-o", "--output"],
            type=click.Path(dir_okay=False, path_type=Path),
            help="Keep the content here.",
        ),
        click.Option(
            ["our_timeout", "--timeout"],
            type=click.FloatRange(min=0, min_open=True),
            help="Seconds without progress.",
        ),
    ]


def _with_ours(wish: _Wish, values: dict[str, Any]) -> _Wish:
    said = wish.asked
    asked = Asked(
        values.get("our_url") or said.url,
        bool(values.get("our_json")) or said.json,
        said.key,
    )
    output, timeout = values.get("our_output"), values.get("our_timeout")
    return replace(wish, asked=asked, output=output or wish.output, timeout=timeout or wish.timeout)


async def _definition(client: Client, tool: str) -> dict[str, Any]:
    """The tool as its server describes it; a server that is not up yet has not described any."""
    try:
        return dict(json.loads(await client.get(tool_path(tool))))
    except Failure as failure:
        server = tool.partition("/")[0]
        if failure.document.get("server") != server:
            raise
        state = json.loads(await client.get(f"/api/servers/{segment(server)}"))
        if state.get("state") == "ready" or state.get("tools"):
            raise
        document = {"code": "unavailable", "server": server, "retryable": True}
        raise failure_of(
            document | {"detail": f"The server `{server}` is {state.get('state')}; its tools are not known"}
        ) from None


async def _call(client: Client, wish: _Wish, body: bytes) -> bytes:
    """The result's bytes.

    Raises: Failure.
    """
    query = {"timeout": wish.timeout}
    async with client.events("POST", tool_path(wish.tool), body, query) as events:
        with Progress() as progress:
            async for name, data in events:
                if name == "result":
                    return await _whole(client, data) if wish.output or wish.asked.json else data
                if name == "error":
                    raise failure_of(json.loads(data))
                progress.take(name, data)
    raise lost("The gateway ended before it answered")


async def _whole(client: Client, raw: bytes) -> bytes:
    """All of a result of which the gateway sent the first part; a person at a terminal gets that part."""
    about = read_members(read_members(raw).get("_meta", b"")).get("mcp-gateway/artifact", b"")
    path = bytes(read_members(about).get("url", b"")).strip(b'"').decode("utf-8", "replace")
    return await client.get(path) if _ARTIFACT.fullmatch(path) else raw


def _show(wish: _Wish, raw: bytes) -> None:
    result = read_result(raw)
    paths = save(result, wish.output) if wish.output else []
    if wish.asked.json:
        say_json(raw)
    elif not paths or result.binaries:
        show(result, saved=bool(paths))
    for path in paths:
        say(f"Wrote {path}", err=True)
    if result.is_error:
        if not wish.asked.json:
            say("The tool reports failure.", err=True)
        raise click.exceptions.Exit(Exit.TOOL_ERROR)
