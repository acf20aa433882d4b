"""Questions of a server during a call, for a client of the modern era: gathered, and told as a result.

The client is told what is asked and gets a state; it sends the same request again with that state and the
answers, and the call goes on where it was (`gateway/parking.py`).
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_gateway.errors import INVALID_PARAMS, GatewayError, Kind, UpstreamAnswered
from mcp_gateway.faces.mcp.asks import opens_pages, why_not
from mcp_gateway.faces.mcp.sessions import Asker
from mcp_gateway.gateway import ASKED_BY, ELICIT, Ask, Gateway, Note, Parked
from mcp_gateway.wire.bridge import ANSWERS, INPUT_REQUIRED, STATE
from mcp_gateway.wire.envelope import Message, encode, read_members
from mcp_gateway.wire.revisions import MISSING_CAPABILITY

GATHER_S: Final = 0.03  # what a server asks at once comes within this time
URL_NEEDED: Final = -32042  # 2025-11-25: the client is to send its person to a page, and then to ask again


class Gathering:
    """The questions of one call that its client has still to be told of; `asked` were told or named so far.

    No name comes twice in a call, so that a late answer is never taken for that to another question.
    """

    __slots__ = ("_asker", "asked", "open")

    def __init__(self, asker: Asker, parked: Parked | None) -> None:
        self._asker = asker
        self.asked = 0 if parked is None else parked.asked
        self.open = {} if parked is None else dict(parked.asks)

    @property
    def is_waiting(self) -> bool:
        return bool(self.open)

    async def take(self, note: Note) -> None:
        """A question, or that one is taken back."""
        ask = note.ask
        assert ask is not None, "these notes are about a question"
        if note.kind == "withdrawn":
            self.open = {name: one for name, one in self.open.items() if one is not ask}
        elif not ask.is_open:
            pass  # it has been withdrawn, or the call has ended
        elif (why := why_not(ask, self._asker.client.capabilities)) is not None:
            ask.decline(why)
        else:
            self.asked += 1
            self.open[f"{ASKED_BY[ask.method]}-{self.asked}"] = ask

    def settle(self) -> None:
        """Lets go of those that have been answered or taken back."""
        self.open = {name: one for name, one in self.open.items() if one.is_open}

    def check(self) -> None:
        """Whoever leaves cancels the call."""

    async def end(self) -> None:
        """The call is over, and its questions with it."""

    def forget(self) -> None:
        """Nothing is kept here."""

    def result(self, state: str) -> bytes:
        """What the client is told."""
        return encode(
            {
                "resultType": INPUT_REQUIRED,
                "inputRequests": {name: _request(one) for name, one in self.open.items()},
                STATE: state,
            }
        )


def _request(ask: Ask) -> dict[str, Any]:
    return {"method": ask.method, **({"params": ask.params} if ask.params else {})}


def bound_to(asker: Asker, message: Message, asked: str) -> bytes:
    """What a state is bound to: who asks, where, and for what, with which arguments.

    `asked` is the name or URI as the client writes it.
    """
    arguments = msgspec.json.decode(message.params.get("arguments", b"null"))
    parts = [asker.caller.id, asker.endpoint, message.method, asked, arguments]
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).digest()


def come_back(gateway: Gateway, asker: Asker, message: Message, asked: str) -> Parked | None:
    """The call that this request goes on with; None where it is a new one.

    Then nothing of an earlier one is left in it, unless that is for the server to judge.

    Raises:
        GatewayError: `invalid`; the call goes on waiting.
    """
    raw = message.params.get(STATE)
    if raw is None:
        return None
    try:
        state = msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        raise GatewayError(
            Kind.INVALID, f"`params.{STATE}` must be a string", rpc_code=INVALID_PARAMS
        ) from None
    if not gateway.parking.is_ours(state):
        return None
    parked = gateway.parking.find(state, bound_to(asker, message, asked))
    answers = read_members(message.params.get(ANSWERS, b"{}"))
    if parked is None:
        if answers and not any(_is_accepted(answer) for answer in answers.values()):
            detail = "The server wants a page to be visited before it goes on, and nobody did"
            raise GatewayError(Kind.INPUT_REQUIRED, detail)
        message.params.pop(STATE)
        message.params.pop(ANSWERS, None)
        return None
    for name, answer in answers.items():
        if name in parked.asks and bytes(memoryview(answer)[:1]) != b"{":
            detail = f"`params.{ANSWERS}.{name}` must be an object"
            raise GatewayError(Kind.INVALID, detail, rpc_code=INVALID_PARAMS)
    gateway.parking.take(parked)
    for name, ask in parked.asks.items():
        if name in answers:
            ask.answer(bytes(answers[name]))
        elif (why := why_not(ask, asker.client.capabilities)) is not None:
            ask.decline(why)
    parked.asks = {name: ask for name, ask in parked.asks.items() if ask.is_open}
    return parked


class _Answer(msgspec.Struct):
    action: str = ""


def _is_accepted(answer: Raw) -> bool:
    try:
        return msgspec.json.decode(answer, type=_Answer).action == "accept"
    except (msgspec.MsgspecError, RecursionError):
        return False


class _Pages(msgspec.Struct):
    elicitations: list[dict[str, Raw]] = []


def as_input(error: GatewayError, asker: Asker, state: Callable[[], str]) -> bytes | None:
    """The result that says what an error of the handshake era does: visit a page, and ask again.

    None: it says something else, and no state is made.

    Raises:
        GatewayError: this client cannot send anybody to a page.
    """
    if not isinstance(error, UpstreamAnswered) or error.rpc_code != URL_NEEDED:
        return None
    try:
        pages = msgspec.json.decode(read_members(error.error).get("data", b"{}"), type=_Pages).elicitations
    except (msgspec.MsgspecError, RecursionError):
        return None
    if not pages:
        return None
    if not opens_pages(asker.client.capabilities):
        raise CapabilityMissing(error)
    requests = {
        f"elicitation-{number}": {
            "method": ELICIT,
            "params": {name: value for name, value in page.items() if name != "elicitationId"},
        }
        for number, page in enumerate(pages, 1)
    }
    return encode({"resultType": INPUT_REQUIRED, "inputRequests": requests, STATE: state()})


class CapabilityMissing(UpstreamAnswered):
    """The server wants its client to send a person to a page, and the client cannot."""

    def __init__(self, error: UpstreamAnswered) -> None:
        told = {
            **read_members(error.error),
            "code": MISSING_CAPABILITY,
            "data": {"requiredCapabilities": {"elicitation": {"url": {}}}},
        }
        super().__init__(error.server or "", MISSING_CAPABILITY, "elicitation by page", encode(told))
        self.call_id = error.call_id
