"""What the revisions of MCP require, in one table.

Era words: the handshake era opens with `initialize`; the modern era (2026-07-28 and later) has no
handshake, and every request carries its own version, client and capabilities in `_meta`.
"""

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Era(StrEnum):
    HANDSHAKE = "handshake"
    MODERN = "modern"


@dataclass(frozen=True, slots=True)
class Revision:
    """One dated revision: its era, and what sets it apart on the wire.

    `batches`: an array of messages may be sent. `primes`: an event stream begins with an event that has an id
    and no data, so that it can be resumed from its begin; clients of earlier ones choke on it. `asks`: which
    capabilities of a client let a server ask it something.
    """

    date: str
    era: Era
    batches: bool = False
    primes: bool = False
    asks: frozenset[str] = frozenset()


_FIRST_ASKS: Final = frozenset({"roots", "sampling"})
_ASKS: Final = _FIRST_ASKS | {"elicitation"}


REVISIONS: Final = {
    revision.date: revision
    for revision in (
        Revision("2024-11-05", Era.HANDSHAKE, batches=True, asks=_FIRST_ASKS),
        Revision("2025-03-26", Era.HANDSHAKE, batches=True, asks=_FIRST_ASKS),
        Revision("2025-06-18", Era.HANDSHAKE, asks=_ASKS),
        Revision("2025-11-25", Era.HANDSHAKE, primes=True, asks=_ASKS),
        Revision("2026-07-28", Era.MODERN),
    )
}

LATEST_HANDSHAKE: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
# What can be chosen at an endpoint that speaks both eras, the best first.
ALL: Final = tuple(reversed(REVISIONS))

# Error codes of 2026-07-28 that tell "I speak the modern era, but not this".
UNSUPPORTED_VERSION: Final = -32022
MISSING_CAPABILITY: Final = -32021  # of the client, without which the server cannot do it

META_PREFIX: Final = "io.modelcontextprotocol/"
META_REVISION: Final = META_PREFIX + "protocolVersion"
META_CLIENT: Final = META_PREFIX + "clientInfo"
META_CAPABILITIES: Final = META_PREFIX + "clientCapabilities"
META_LOG_LEVEL: Final = META_PREFIX + "logLevel"
META_SERVER: Final = META_PREFIX + "serverInfo"

# MCP Apps: servers list tools with views only to clients that say they can show HTML. Whether one of ours
# can, a shared link does not know; what has no view shows the result's text. It lets a server ask nothing.
APPS: Final = META_PREFIX + "ui"
TASKS_EXTENSION: Final = META_PREFIX + "tasks"
SHARED_CAPABILITIES: Final = {"extensions": {APPS: {"mimeTypes": ["text/html;profile=mcp-app"]}}}
"""What a link that all callers share declares of its client."""


def modern_meta(client_info: dict[str, str]) -> dict[str, Any]:
    """The `_meta` members that every request of the modern era must carry (basic/versioning)."""
    return request_meta(MODERN, client_info)


def request_meta(revision: str, client_info: dict[str, str]) -> dict[str, Any]:
    """As `modern_meta`, for a request that names another revision."""
    return {
        META_REVISION: revision,
        META_CLIENT: client_info,
        META_CAPABILITIES: SHARED_CAPABILITIES,
    }


def may_be_asked(date: str, declared: Container[str]) -> bool:
    """Whether a client of this revision that declares these capabilities lets a server ask it something."""
    return any(name in declared for name in REVISIONS[date].asks)


def is_handshake(date: str) -> bool:
    revision = REVISIONS.get(date)
    return revision is not None and revision.era is Era.HANDSHAKE
