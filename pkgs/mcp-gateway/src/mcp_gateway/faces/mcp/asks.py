"""Questions of a server, put to the client of a handshake session under ids of our own, and their answers.

A question comes during a call and is asked on that call's stream. Whoever answers it must hold the session;
an answer to anything else is nobody's and is dropped. What is asked and answered passes as it came.
"""

from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from mcp_gateway.faces.mcp.sessions import Session
from mcp_gateway.gateway import ASKED_BY, ELICIT, Ask, Note
from mcp_gateway.wire.envelope import Message, encode, notification, read_members

_NULL: Final = Raw(b"null")


class Outlet(Protocol):
    """The part of `messages.Outlet` that is needed here."""

    @property
    def is_heard(self) -> bool: ...

    async def tell(self, message: bytes) -> None: ...

    async def ask(self, message: bytes) -> None: ...


class Asking:
    """The questions of one call."""

    __slots__ = ("_open", "_outlet", "_session")

    def __init__(self, session: Session, outlet: Outlet) -> None:
        self._session = session
        self._outlet = outlet
        self._open: dict[int, Ask] = {}

    @property
    def is_waiting(self) -> bool:
        """Never: the answers come meanwhile, and the call goes on."""
        return False

    async def take(self, note: Note) -> None:
        """A question, or that one is taken back."""
        ask = note.ask
        assert ask is not None, "these notes are about a question"
        if note.kind == "withdrawn":
            for number in [number for number, one in self._open.items() if one is ask]:
                await self._take_back(number)
        elif not ask.is_open:
            pass  # it has been withdrawn, or the call has ended
        elif (why := why_not(ask, self._session.client.capabilities)) is not None:
            ask.decline(why)
        elif not self._outlet.is_heard:
            ask.decline("the client has no stream open on which it could be asked")
        else:
            self._session.questions += 1
            number = self._session.questions
            self._open = {number: one for number, one in self._open.items() if one.is_open}
            self._session.asked[number] = self._open[number] = ask
            await self._outlet.ask(_question(number, ask))

    def check(self) -> None:
        """Now and then while the call goes on: whoever was asked may have gone."""
        if self._open and not self._outlet.is_heard:
            for ask in self._open.values():
                ask.decline("the client has gone")
            self.forget()

    async def end(self) -> None:
        """The call is over; a question that still stands on somebody's screen goes."""
        for number in [number for number in self._open if number in self._session.asked]:
            await self._take_back(number)

    def forget(self) -> None:
        """No answer to any of them is taken any more."""
        for number in self._open:
            self._session.asked.pop(number, None)
        self._open.clear()

    async def _take_back(self, number: int) -> None:
        self._session.asked.pop(number, None)
        self._open.pop(number, None)
        await self._outlet.tell(notification("notifications/cancelled", {"requestId": number}))


def why_not(ask: Ask, capabilities: bytes) -> str | None:
    """Why a client with these capabilities is not to be asked this; None where it is.

    An address that a person is sent to is one of the web: others run things (security S42).
    """
    name = ASKED_BY[ask.method]
    declared = read_members(capabilities)
    if name not in declared:
        return f"this client does not declare `{name}`"
    url = read_members(ask.params).get("url") if ask.method == ELICIT and ask.params else None
    if url is None:
        return None
    if not opens_pages(capabilities):
        return "this client opens no pages"
    try:
        is_of_the_web = urlsplit(msgspec.json.decode(url, type=str)).scheme in ("http", "https")
    except (msgspec.MsgspecError, ValueError):
        is_of_the_web = False
    return None if is_of_the_web else "its address is neither http nor https"


def opens_pages(capabilities: bytes) -> bool:
    """Whether a client with these capabilities sends its person to a page."""
    declared = read_members(capabilities).get("elicitation", b"{}")
    return "url" in read_members(declared)


def _question(number: int, ask: Ask) -> bytes:
    params = b',"params":' + bytes(ask.params) if ask.params else b""
    return b'{"jsonrpc":"2.0","id":%d,"method":%b%b}' % (number, encode(ask.method), params)


def take_answer(session: Session, message: Message) -> None:
    """A response of the client; one to a question that does not stand any more is dropped."""
    number = message.id
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 16:
        number = int(number)  # ours are decimal numbers, so that is unambiguous
    ask = session.asked.pop(number, None) if isinstance(number, int) else None
    if ask is None:
        return
    # Older libraries write both members, the other one null; what holds neither must not stay open.
    if message.error and message.error != _NULL:
        ask.refuse(bytes(message.error))
    elif message.result:
        ask.answer(bytes(message.result))
    else:
        ask.decline("the client's answer holds neither a result nor an error")


def take_progress(session: Session, message: Message) -> None:
    """The client says how far it is with an answer; the server's own token tells with which."""
    try:
        token = msgspec.json.decode(message.params.get("progressToken", b"null"), type=int | str)
    except msgspec.MsgspecError:
        return
    for ask in session.asked.values():
        if ask.progress_token == token:
            ask.tell("notifications/progress", message.params)
            return
