"""What is known of the program that a call comes from, as far as it decides over which link the call goes."""

from dataclasses import dataclass
from typing import Final

from mcp_gateway.wire.revisions import LATEST_HANDSHAKE, Era

NO_ASKS: Final = b"{}"


@dataclass(frozen=True, slots=True)
class Client:
    """One for all calls of a session, or of a face whose callers have none.

    `capabilities` is the JSON of what it declared, if that lets a server ask something back (elicitation,
    sampling, roots), else `NO_ASKS`. `session` names what goes on from one call to the next; empty: nothing.
    A client of the modern era declares with every request anew: that travels with the request.
    """

    era: Era = Era.HANDSHAKE
    revision: str = LATEST_HANDSHAKE
    capabilities: bytes = NO_ASKS
    session: str = ""


NO_CLIENT: Final = Client()  # plain HTTP: nobody who could be asked, nothing that goes on
