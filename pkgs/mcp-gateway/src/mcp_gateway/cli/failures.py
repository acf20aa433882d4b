"""How a command ends: exit codes, and a failure as one sentence of what happened and one of what to do.

The codes are part of the public contract (docs/cli.md). Text of a problem document may quote a server,
so it is made safe to show.
"""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import IO, Any, Final

import click

from mcp_gateway.errors import Kind
from mcp_gateway.visible import safe


class Exit(IntEnum):
    OK = 0
    TOOL_ERROR = 1  # the tool ran and reports failure
    USAGE = 2  # the command line or the configuration is wrong
    UNREACHABLE = 3
    REFUSED = 4  # refused, unknown, invalid: the same again will fail again
    BUSY = 5  # nothing ran; trying again is safe
    LOST = 6  # it may have run


_ADVICE: Final[Mapping[str, str]] = {
    Kind.UNAUTHENTICATED: "Put an API key that holds into $MCP_GATEWAY_KEY, or name the file it is in with "
    "--key-file; `mcp-gateway keys create NAME` makes one on the gateway's machine.",
    Kind.REFUSED: "`mcp-gateway me` shows who you are to this gateway and what you may do.",
    Kind.UNKNOWN: "`mcp-gateway servers`, `tools` and `keys` list what there is.",
    Kind.INPUT_REQUIRED: "Call it through an MCP client that can answer.",
    Kind.BUSY: "Nothing was done; try again{after}.",
    Kind.TIMED_OUT: "It may have run: look before you try again, or allow more with --timeout.",
    Kind.LOST: "It may have run: look before you try again.",
    Kind.INTERNAL: "The gateway's log says more.",
}


class Failure(click.ClickException):
    """A command that could not do what it was asked; `document` is a problem as the API tells them."""

    exit_code = Exit.REFUSED

    def __init__(self, document: Mapping[str, Any], advice: str | None = None) -> None:
        """`advice` says what to do where the words for its kind do not."""
        super().__init__(_sentences(document, advice))
        self.document = document
        self.as_json = False

    def show(self, file: IO[Any] | None = None) -> None:
        text = json.dumps(self.document) if self.as_json else self.message
        click.echo(text, file=file, err=file is None)


class Unusable(Failure):
    """The command line asks for something that cannot be, or a file cannot be used."""

    exit_code = Exit.USAGE


class Unreachable(Failure):
    exit_code = Exit.UNREACHABLE


class Busy(Failure):
    exit_code = Exit.BUSY


class Lost(Failure):
    exit_code = Exit.LOST


# Kinds that are not here are refusals: the same request will fail again.
_CLASSES: Final[Mapping[str, type[Failure]]] = {
    Kind.BUSY: Busy,
    Kind.UNAVAILABLE: Busy,
    Kind.TIMED_OUT: Lost,
    Kind.LOST: Lost,
    Kind.INTERNAL: Lost,
}


def failure_of(document: Mapping[str, Any]) -> Failure:
    """The failure that a problem document tells."""
    return _CLASSES.get(str(document.get("code")), Failure)(document)


def unreachable(detail: str) -> Failure:
    return Unreachable({"code": "unreachable", "detail": detail, "retryable": True})


def lost(detail: str) -> Failure:
    return Lost({"code": Kind.LOST.value, "detail": detail, "retryable": False})


def unusable(detail: str) -> Failure:
    return Unusable({"code": Kind.INVALID.value, "detail": detail, "retryable": False})


def _sentences(document: Mapping[str, Any], advice: str | None = None) -> str:
    detail = safe(str(document.get("detail") or document.get("title") or "It did not work"), lines=False)
    code, server = str(document.get("code")), document.get("server")
    about = f"{safe(str(server), lines=False)}: " if server and f"`{server}`" not in detail else ""
    advice = _ADVICE.get(code, "") if advice is None else advice
    if code == Kind.UNAVAILABLE and server:
        advice = f"`mcp-gateway servers show {safe(str(server), lines=False)}` says why{{after}}."
    wait = document.get("retryAfter")
    after = f" in {wait} s" if isinstance(wait, int) and code == Kind.BUSY else ""
    after = f"; try again in {wait} s" if isinstance(wait, int) and code == Kind.UNAVAILABLE else after
    call = f" (call {safe(str(document['callId']), lines=False)})" if "callId" in document else ""
    return f"{about}{detail.rstrip('.')}{call}. {advice.replace('{after}', after)}".rstrip()
