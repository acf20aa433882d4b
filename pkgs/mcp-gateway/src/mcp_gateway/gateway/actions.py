"""What people do to the gateway itself: switching, keys, signing in. One record for each, beside the calls.

Those that decide who may do what are on the disk before they take effect (`commit`); the others, which must
work on a full disk, too, are handed in like calls (`note`). Knows no rule about who may.
"""

import logging
from contextvars import ContextVar
from typing import Any, Final

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.calls import facts_of
from mcp_gateway.gateway.events import Events
from mcp_gateway.store import Store, StoreError
from mcp_gateway.store.calls import MAX_DETAIL_CHARS, CallRecord

logger = logging.getLogger(__name__)

# The way in, set by the face where a request comes in: as an argument it would pass through every method of
# the facade that people use.
WAY_IN: Final[ContextVar[str | None]] = ContextVar("WAY_IN", default=None)


class Actions:
    """`face` is the way in, where neither an action nor `WAY_IN` says another."""

    def __init__(self, store: Store, ids: clock.CallIds, events: Events, face: str = "rest") -> None:
        self._store = store
        self._ids = ids
        self._events = events
        self._face = face

    def record(
        self,
        caller: Caller,
        needed: Right | None,
        action: str,
        *,
        detail: str | None = None,
        outcome: str = "ok",
        face: str | None = None,
    ) -> CallRecord:
        """A record that is not handed in yet. `needed` None: no right was asked for, as for signing in.

        It is of no server, whatever it is about: what is counted by server are calls.
        """
        started = clock.wall_s()
        call_id, way_in = self._ids.next(started), face or WAY_IN.get() or self._face
        record = CallRecord(call_id, started, caller.id, way_in, "", "", None)
        record.needed, record.action = needed.value if needed else "", action
        record.outcome, record.detail = outcome, detail
        return record

    def note(self, caller: Caller, needed: Right | None, action: str, **facts: Any) -> None:
        """Hands in what is being done; see `record` for the facts."""
        record = self.record(caller, needed, action, **facts)
        self._store.end(record)
        self.tell(record)

    async def commit(self, caller: Caller, needed: Right | None, action: str, **facts: Any) -> None:
        """Writes what is about to be done; it is on the disk before this returns.

        Raises:
            GatewayError: `unavailable`, and it must not be done.
        """
        record = self.record(caller, needed, action, **facts)
        try:
            await self._store.commit(record)
        except StoreError as problem:
            raise unwritable(problem) from None
        self.tell(record)

    def tell(self, record: CallRecord) -> None:
        """To live feeds and the log; after it was written."""
        self._events.publish("call", lambda: facts_of(record))
        said = (record.detail or record.outcome)[:MAX_DETAIL_CHARS]
        logger.info("%s by %s: %s", record.action, record.caller, said)


def unwritable(problem: StoreError) -> GatewayError:
    logger.error("what was to be done could not be recorded: %s", problem)
    detail = "The state directory cannot be written, so nothing was done; the gateway's log says more"
    return GatewayError(Kind.UNAVAILABLE, detail, retry_after_s=5.0)
