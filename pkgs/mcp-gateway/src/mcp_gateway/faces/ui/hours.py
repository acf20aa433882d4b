"""The last hour of each server, as it was last counted.

Counting a full store takes longer than a page may; a page that cannot have the numbers at once shows those
that were there before, and its live updates bring the others.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.ui.spark import Spark, spark
from mcp_gateway.gateway import Gateway, StatsQuery

BUCKETS: Final = 30
WAIT_S: Final = 0.1
MAX_KNOWN: Final = 100  # readers, each with some hundred bytes for a server


class Hours:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known: OrderedDict[Caller, dict[str, Spark]] = OrderedDict()

    async def of(self, caller: Caller) -> dict[str, Spark]:
        """By server; servers of which nothing is known yet are missing. Within `WAIT_S`."""
        asked = self._gateway.stats(caller, StatsQuery(by="server", buckets=BUCKETS))
        try:
            found = await asyncio.wait_for(asked, WAIT_S)  # the counting goes on, for who asks next
        except TimeoutError:
            return self._known.get(caller, {})
        except GatewayError as problem:
            if problem.kind is not Kind.BUSY:
                raise
            return self._known.get(caller, {})
        self._known[caller] = sparks = {server: spark(of) for server, of in found["servers"].items()}
        self._known.move_to_end(caller)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return sparks
