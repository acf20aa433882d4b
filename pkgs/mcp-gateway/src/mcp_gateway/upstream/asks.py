"""A question of a server during a call (elicitation, sampling, roots), on its way to who can answer it.

It is answered exactly once: by the client that was asked, or declined by the gateway when nobody is left who
could. Of its content nothing is read.
"""

from typing import Final

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


class Ask:
    """`id` is the server's for it; `params` its own, empty when it sent none."""

    __slots__ = ("_link", "id", "is_open", "method", "params")

    def __init__(self, ask_id: RequestId, method: str, params: Raw, link: Link) -> None:
        self.id = ask_id
        self.method = method
        self.params = params
        self.is_open = True
        self._link = link

    def answer(self, result: bytes) -> None:
        """The client's result, as it came; nothing happens when it has been answered."""
        self._close(response(encode(self.id), result))

    def refuse(self, error: bytes) -> None:
        """The client's error, as it came."""
        self._close(error_response(encode(self.id), error))

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
            self._link.notify(method, params)

    @property
    def progress_token(self) -> int | str | None:
        """What the server wants to hear of on the way to the answer."""
        meta = read_members(read_members(self.params).get("_meta", b"{}")) if self.params else {}
        try:
            return msgspec.json.decode(meta.get("progressToken", b"null"), type=int | str | None)
        except msgspec.MsgspecError:
            return None

    def _close(self, response: bytes) -> None:
        if self.is_open:
            self.is_open = False
            self._link.answer(response)
