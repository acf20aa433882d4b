"""A question of a server during a call (elicitation, sampling, roots), on its way to who can answer it.

It is answered exactly once: by the client that was asked, or declined by the gateway when nobody is left who
could. Of its content nothing is read.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from mcp_gateway.errors import INTERNAL_ERROR
from mcp_gateway.upstream.link import Link
from mcp_gateway.wire.envelope import Params, RequestId, encode, error_response, read_members, response

ELICIT: Final = "elicitation/create"
LIST_ROOTS: Final = "roots/list"
ASKED_BY: Final = {ELICIT: "elicitation", "sampling/createMessage": "sampling", LIST_ROOTS: "roots"}
"""Methods that a server may use, and the capability by which a client says that it understands them."""

MAX_OPEN: Final = 16  # of one call; a server that asks more at once asks no person

_CANCELLED: Final = b'{"action":"cancel"}'


class Asker(Protocol):
    """Who hears the answer."""

    def answered(self, ask: "Ask", result: bytes) -> None: ...
    def refused(self, ask: "Ask", error: bytes) -> None: ...
    def told(self, method: str, params: Params) -> None: ...


class OverLink:
    """A server that asked with a request of its own; `then` is called when it has its answer."""

    def __init__(self, link: Link, then: Callable[[], None]) -> None:
        self._link = link
        self._then = then

    def answered(self, ask: "Ask", result: bytes) -> None:
        self._link.answer(response(encode(ask.id), result))
        self._then()

    def refused(self, ask: "Ask", error: bytes) -> None:
        self._link.answer(error_response(encode(ask.id), error))
        self._then()

    def told(self, method: str, params: Params) -> None:
        self._link.notify(method, params)


class Ask:
    """`id` is the server's for it; `params` its own, empty when it sent none."""

    __slots__ = ("_asker", "id", "is_open", "method", "params")

    def __init__(self, ask_id: RequestId, method: str, params: Raw, asker: Asker) -> None:
        self.id = ask_id
        self.method = method
        self.params = params
        self.is_open = True
        self._asker = asker

    def answer(self, result: bytes) -> None:
        """The client's result, as it came; nothing happens when it has been answered."""
        if self.is_open:
            self.is_open = False
            self._asker.answered(self, result)

    def refuse(self, error: bytes) -> None:
        """The client's error, as it came."""
        if self.is_open:
            self.is_open = False
            self._asker.refused(self, error)

    def decline(self, why: str) -> None:
        """Nobody answers it. For a form or a page that is a word of the protocol: its person has gone."""
        if self.method == ELICIT:
            self.answer(_CANCELLED)
        else:
            self.refuse(encode({"code": INTERNAL_ERROR, "message": f"Nobody answers: {why}"}))

    def withdraw(self) -> None:
        """The server does not want to know any more."""
        self.is_open = False

    def tell(self, method: str, params: Params) -> None:
        """A notification of the client about it."""
        if self.is_open:
            self._asker.told(method, params)

    @property
    def progress_token(self) -> int | str | None:
        """What the server wants to hear of on the way to the answer."""
        meta = read_members(read_members(self.params).get("_meta", b"{}")) if self.params else {}
        try:
            return msgspec.json.decode(meta.get("progressToken", b"null"), type=int | str | None)
        except msgspec.MsgspecError:
            return None
