"""Links that are their own right: to one thing, for one caller, for a while.

A browser that follows a link in an answer, or another program that is given one, cannot say who it is. Such a
link carries a ticket: what it is for and until when, sealed by this process. It is worth what the caller who
got it may do, and nothing once that caller may not go on. Knows no HTTP.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

from mcp_gateway.access.caller import Caller
from mcp_gateway.clock import wall_s
from mcp_gateway.errors import GatewayError, Kind

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

MAX_CALLERS: Final = 1_000  # who got a ticket last; one caller's many tickets take no room
MAX_CHARS: Final = 16 * 1024  # a URI of some thousand characters, and well within the head of a request


class _Payload(msgspec.Struct, array_like=True):
    purpose: str
    subject: str
    holder: int
    until: float


class Tickets:
    """`wall_s` is the time in seconds since 1970; `require_current` raises for a caller who may not go on."""

    def __init__(
        self, require_current: Callable[[Caller], None], wall_s: Callable[[], float] = wall_s
    ) -> None:
        self._require_current = require_current
        self._wall_s = wall_s
        self._holders: OrderedDict[int, Caller] = OrderedDict()
        self._numbers: dict[Caller, int] = {}
        self._number = 0

    def issue(self, caller: Caller, purpose: str, subject: str, lasts_s: float) -> str:
        """A ticket of letters, digits, `-`, `_` and `=`, of no use where it is longer than `MAX_CHARS`."""
        number = self._numbers.get(caller)
        if number is None:
            self._number += 1
            number = self._numbers[caller] = self._number
            self._holders[number] = caller
            if len(self._holders) > MAX_CALLERS:
                _, last = self._holders.popitem(last=False)
                del self._numbers[last]
        else:
            self._holders.move_to_end(number)
        payload = _Payload(purpose, subject, number, self._wall_s() + lasts_s)
        return self._seal.encrypt(msgspec.json.encode(payload)).decode("ascii")

    def redeem(self, ticket: str, purpose: str) -> tuple[Caller, str]:
        """For whom a ticket is, and its subject. It can be used again until its time is over.

        Raises:
            GatewayError: `unknown`, for every ticket that is not good for this, in the same words;
                `unauthenticated` when its caller may not go on.
        """
        from cryptography.fernet import InvalidToken

        try:
            if len(ticket) > MAX_CHARS:
                raise ValueError
            payload = msgspec.json.decode(self._seal.decrypt(ticket), type=_Payload)
        except (InvalidToken, ValueError):
            raise _not_valid() from None
        caller = self._holders.get(payload.holder)
        if caller is None or payload.purpose != purpose or payload.until <= self._wall_s():
            raise _not_valid()
        self._require_current(caller)
        return caller, payload.subject

    def owners(self) -> set[str]:
        """Whose tickets there are."""
        return {caller.id for caller in self._holders.values()}

    def end_of(self, caller_id: str) -> None:
        """A caller may not go on: their tickets are worth nothing."""
        for number, caller in list(self._holders.items()):
            if caller.id == caller_id:
                del self._holders[number], self._numbers[caller]

    @cached_property
    def _seal(self) -> "Fernet":
        # Imported here: most gateways never need it, and it costs every start.
        from cryptography.fernet import Fernet

        return Fernet(Fernet.generate_key())


def _not_valid() -> GatewayError:
    return GatewayError(Kind.UNKNOWN, "This link leads nowhere (any more): get it anew where it came from")
