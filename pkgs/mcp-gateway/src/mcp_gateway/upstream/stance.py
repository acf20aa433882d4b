"""How a link to a server presents itself, and whom it is for.

Most calls of most callers share one link that gives a server no reason to ask anybody anything. What needs
another era, or somebody who can be asked, or a state of its own, has a link of its own scope.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from mcp_gateway.upstream.client import NO_ASKS
from mcp_gateway.wire.revisions import LATEST_HANDSHAKE, Era


@dataclass(frozen=True, slots=True)
class Stance:
    """`era` is the one in which the link is opened; None: the handshake era, where the server knows both.

    `revision` is offered in the handshake; `capabilities` is the JSON of those that are declared in it.
    """

    era: Era | None = None
    revision: str = LATEST_HANDSHAKE
    capabilities: bytes = NO_ASKS

    @property
    def may_be_asked(self) -> bool:
        """Whether the server may ask back. It does not say for which call, so there is one at a time."""
        return self.capabilities != NO_ASKS


class Scope(NamedTuple):
    """Whom a link is for; `of` names the session or the caller.

    `shared`: everybody. `modern`: everybody of the modern era, where the shared one is not of it. `lease`:
    the calls of one session, one at a time. `session`, `caller`: as the server's `isolation` says. `look`:
    nobody; it is opened to see what the server lists for a client that can be asked.
    """

    kind: Literal["shared", "modern", "lease", "session", "caller", "look"]
    of: str = ""
    number: int = 0


SHARED: Final = Scope("shared")
SHARED_STANCE: Final = Stance()
