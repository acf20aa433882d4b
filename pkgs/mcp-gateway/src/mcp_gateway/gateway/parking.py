"""Calls that wait for their client: of the modern era, at a server that asks in the middle of a call.

The client gets what is asked as a result and a state, and comes back with both. The state is sealed and says
which call it is; it is worth something to that caller, for that very request, once, for a while. The call
goes on meanwhile, on a link of its own (`links.py`). Nothing of it outlives the process. Knows no transport.
"""

import base64
import hashlib
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from mcp_gateway.clock import now_s
from mcp_gateway.errors import INVALID_PARAMS, GatewayError, Kind
from mcp_gateway.gateway.calls import Call
from mcp_gateway.upstream.asks import Ask

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PARKED_S: Final = 300.0  # a person reads a form; whoever has not come back by then has gone
MAX_PARKED: Final = 1_000
MAX_OF_ONE: Final = 100  # of one caller
_NONCE_BYTES: Final = 12
_AGAIN: Final = 0  # no call waits: the request is to be made anew
# Number of the parked call, and until when; a byte more makes it a text in which no bit goes unused.
_PAYLOAD: Final = struct.Struct(">Qdx")


@dataclass(slots=True)
class Parked:
    """`asks` by the names under which the client was told of them, `asked` how many it was told of so far;
    `wish` is the face's own.
    """

    call: Call
    asks: dict[str, Ask]
    wish: Any
    asked: int = 0


class Parking:
    """`instance` names this gateway in states, now and after a restart: those of another behind it pass.

    `now_s` is the time, in monotonic seconds.
    """

    def __init__(self, instance: str, now_s: Callable[[], float] = now_s) -> None:
        self._prefix = f"gw1.{hashlib.sha256(instance.encode()).hexdigest()[:16]}."
        self._now_s = now_s
        self._parked: dict[int, tuple[Parked, float]] = {}  # the oldest first
        self._number = 0

    def is_ours(self, state: str) -> bool:
        return state.startswith(self._prefix)

    @property
    def waiting(self) -> int:
        """How many calls wait; with nobody on a connection who could be answered."""
        return sum(not one.call.ended for one, _ in self._parked.values())

    def park(self, parked: Parked, bound_to: bytes) -> str:
        """Keeps a call until its client comes back; answers the state, worth nothing for another `bound_to`.

        Raises:
            GatewayError: `busy` when there are too many.
        """
        self.sweep()
        caller_id = parked.call.caller.id
        if not self._has_room(caller_id):
            self._parked = {number: one for number, one in self._parked.items() if not one[0].call.ended}
        if not self._has_room(caller_id):
            detail = "Too many calls wait for answers of their clients"
            raise GatewayError(Kind.BUSY, detail, server=parked.call.record.server, retry_after_s=10.0)
        self._number += 1
        until = self._now_s() + PARKED_S
        self._parked[self._number] = parked, until
        return self._sealed(self._number, until, bound_to)

    def again(self, bound_to: bytes) -> str:
        """A state for a request that is only to be made once more."""
        return self._sealed(_AGAIN, self._now_s() + PARKED_S, bound_to)

    def _has_room(self, caller_id: str) -> bool:
        theirs = sum(one.call.caller.id == caller_id for one, _ in self._parked.values())
        return len(self._parked) < MAX_PARKED and theirs < MAX_OF_ONE

    def find(self, state: str, bound_to: bytes) -> Parked | None:
        """The call that waits; None where the request is to be made once more.

        Raises:
            GatewayError: `invalid`, for every state that is not good for this, in the same words.
        """
        number, until = self._opened(state, bound_to)
        if until < self._now_s():
            raise not_valid()
        if number == _AGAIN:
            return None
        found = self._parked.get(number)
        if found is None:
            raise not_valid()
        return found[0]

    def take(self, parked: Parked) -> None:
        """Its client has come back; the state is used up."""
        for number in [number for number, (one, _) in self._parked.items() if one is parked]:
            del self._parked[number]

    def sweep(self) -> None:
        """Ends calls whose clients did not come back."""
        now = self._now_s()
        for number, (parked, until) in list(self._parked.items()):
            if until >= now:
                break
            del self._parked[number]
            parked.call.cancel(f"its client did not come back with an answer within {PARKED_S:g} s")

    def end_of(self, caller_id: str) -> None:
        """A caller may not go on; their calls are ended elsewhere."""
        for number in [
            one for one, (parked, _) in self._parked.items() if parked.call.caller.id == caller_id
        ]:
            del self._parked[number]

    @cached_property
    def _seal(self) -> "AESGCM":
        # Imported here: most gateways never need it, and it costs every start.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(AESGCM.generate_key(256))

    def _sealed(self, number: int, until: float, bound_to: bytes) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._seal.encrypt(nonce, _PAYLOAD.pack(number, until), bound_to)
        return self._prefix + base64.urlsafe_b64encode(nonce + sealed).decode("ascii")

    def _opened(self, state: str, bound_to: bytes) -> tuple[int, float]:
        from cryptography.exceptions import InvalidTag

        try:
            sealed = base64.b64decode(state[len(self._prefix) :], altchars=b"-_", validate=True)
            number, until = _PAYLOAD.unpack(
                self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
            )
        except (ValueError, InvalidTag, struct.error):
            raise not_valid() from None
        return number, until


def not_valid() -> GatewayError:
    """Of a state: made up, another's, of another request, used, too old, or of a gateway before this one."""
    detail = "This `requestState` is not valid for this request (any more): ask again without it"
    return GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS)
