"""A server of the modern era that needs input, and a client of the handshake era: asked during the call.

What it wants is put to the client as any question of a server is (`asks.py`); when the last is answered, the
same request goes to the server again. Knows no link and no queue.
"""

from collections.abc import Callable
from typing import Final

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.upstream.asks import ASKED_BY, MAX_OPEN, Ask
from mcp_gateway.upstream.exchange import Exchange
from mcp_gateway.wire.bridge import Round, with_answers
from mcp_gateway.wire.envelope import Params

MAX_ROUNDS: Final = 16  # of one call; a server that needs more turns in circles


class Collecting:
    """One round of one call; `again` is called with its exchange when it is to be sent again, `over` with an
    error when it cannot be.
    """

    def __init__(
        self,
        exchange: Exchange,
        asked: Round,
        again: Callable[[Exchange], None],
        over: Callable[[Exchange, Exception], None],
    ) -> None:
        self._exchange = exchange
        self._asked = asked
        self._again = again
        self._over = over
        self._answers: dict[str, bytes] = {}

    def begin(self) -> None:
        """Asks for everything at once; where nothing is asked for, the request goes again as it is."""
        inputs = self._asked.inputRequests
        strange = [one.method for one in inputs.values() if one.method not in ASKED_BY]
        if strange or len(inputs) > MAX_OPEN:
            what = f"`{strange[0][:80]}`" if strange else f"{len(inputs)} things at once"
            self._over(self._exchange, self._error(f"it asks for {what}"))
        elif not inputs:
            self._go_on()
        else:
            for name, one in inputs.items():
                self._exchange.ask(Ask(name, one.method, one.params, self))

    def answered(self, ask: Ask, result: bytes) -> None:
        self._answers[str(ask.id)] = result
        if len(self._answers) == len(self._asked.inputRequests):
            self._go_on()

    def refused(self, ask: Ask, error: bytes) -> None:
        """This era has no word for a client that refuses: the call cannot go on."""
        if not self._exchange.ended:
            refusal = self._error(f"its question `{ask.method}` was answered with an error")
            self._over(self._exchange, refusal)

    def told(self, method: str, params: Params) -> None:
        """Nobody waits for progress: there is no connection to the server meanwhile."""

    def _go_on(self) -> None:
        if not self._exchange.ended:
            self._exchange.params = with_answers(self._exchange.params, self._asked, self._answers)
            self._again(self._exchange)

    def _error(self, why: str) -> GatewayError:
        return GatewayError(Kind.INPUT_REQUIRED, f"The tool needs input to go on: {why}")
