"""One request to a server and everything that comes back for it.

The upstream fills it; whoever opened it reads it through a mailbox. It ends exactly once, with a
result or with an error, and tells `on_end` at that moment, whether or not anybody still listens.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from msgspec import Raw

from mcp_gateway.upstream.asks import MAX_OPEN, Ask
from mcp_gateway.upstream.client import NO_ASKS
from mcp_gateway.upstream.forwarded import NO_HEADERS
from mcp_gateway.upstream.framing import Spooled
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.revisions import Era

# Unread notes of one listener; a slow reader loses the oldest, never the end.
MAX_NOTES: Final = 256
MAX_NOTES_BYTES: Final = 4 * 1024 * 1024


class Note(NamedTuple):
    """Something on the way: `progress` and `log` carry the notification's params as bytes, `notice` a whole
    notification of another kind; `ask` is a question, and `withdrawn` one that the server takes back; `still`
    carries nothing: the call goes on, look after your connection."""

    kind: Literal["progress", "log", "notice", "ask", "withdrawn", "still"]
    data: bytes = b""
    ask: Ask | None = None


class Mailbox:
    """One reader of an exchange."""

    __slots__ = ("_bytes", "_exchange", "_notes", "_waiter")

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._notes: deque[Note] | None = None  # most calls have none
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Returns when there are notes to take or the exchange has ended."""
        if self._notes or self._exchange.ended:
            return
        self._waiter = self._exchange.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take(self) -> tuple[Note, ...]:
        if not self._notes:
            return ()
        notes = tuple(self._notes)
        self._notes.clear()
        self._bytes = 0
        return notes

    def put(self, note: Note) -> None:
        if note.kind == "still" and self._notes:
            return  # there is more to tell; and what waits unread for long must not push that out
        if self._notes is None:
            self._notes = deque()
        self._notes.append(note)
        self._bytes += len(note.data)
        while len(self._notes) > MAX_NOTES or self._bytes > MAX_NOTES_BYTES:
            dropped = self._notes.popleft()
            self._bytes -= len(dropped.data)
            if dropped.kind == "ask" and dropped.ask is not None:
                dropped.ask.decline("the client does not read")
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Exchange:
    """`id` is ours, on the wire to the server; `era` is the one that whoever asked speaks.

    `headers` are those of the caller's own request; `forwarded` what of them goes to the server, None where
    the server is configured to get none.
    `result` is the server's bytes, or where they are when it is large; `error` any exception.
    `capabilities`: what whoever reads it has declared that it can be asked, see `client.Client`; `log_level`:
    from which level on they hear log messages; `rounds`: how often the server has answered that it needs
    input. Deadlines are monotonic seconds.
    """

    __slots__ = (
        "_asks",
        "caller",
        "capabilities",
        "ended",
        "era",
        "error",
        "forwarded",
        "hard_at",
        "headers",
        "id",
        "idle_at",
        "idle_s",
        "log_level",
        "loop",
        "mailboxes",
        "method",
        "on_end",
        "owner",
        "params",
        "progress",
        "result",
        "rounds",
        "sent",
        "wants_progress",
    )

    def __init__(
        self,
        method: str,
        params: Params,
        *,
        loop: asyncio.AbstractEventLoop,
        caller: str,
        now: float,
        idle_s: float,
        hard_s: float,
        wants_progress: bool = True,
        on_end: "Callable[[Exchange], None] | None" = None,
        headers: Mapping[bytes, bytes] = NO_HEADERS,
        era: Era = Era.HANDSHAKE,
        capabilities: bytes = NO_ASKS,
        log_level: str | None = None,
    ) -> None:
        self.era = era
        self.id = 0
        self.method = method
        self.params = params
        self.loop = loop
        self.caller = caller
        self.idle_s = idle_s
        self.idle_at = now + idle_s
        self.hard_at = now + hard_s
        self.wants_progress = wants_progress
        self.on_end = on_end
        self.headers = headers
        self.capabilities = capabilities
        self.log_level = log_level
        self.rounds = 0
        self.forwarded: Mapping[str, str] | None = None
        self.owner: object = None  # whoever opened it; for `on_end`
        self.mailboxes: list[Mailbox] = []
        self._asks: tuple[Ask, ...] = ()  # those that were open when it was last looked
        self.sent = False
        self.progress = float("-inf")
        self.ended = False
        self.result: Raw | Spooled | None = None
        self.error: Exception | None = None

    def listen(self) -> Mailbox:
        mailbox = Mailbox(self)
        self.mailboxes.append(mailbox)
        return mailbox

    def unlisten(self, mailbox: Mailbox) -> None:
        if mailbox in self.mailboxes:
            self.mailboxes.remove(mailbox)

    @property
    def may_have_run(self) -> bool:
        """Whether something was done of it at the server."""
        return self.sent or self.rounds > 0

    @property
    def can_answer(self) -> bool:
        """Whether who reads it takes questions."""
        return self.capabilities != NO_ASKS

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The questions of the server that wait for an answer."""
        if self._asks:
            self._asks = tuple(ask for ask in self._asks if ask.is_open)
        return self._asks

    def ask(self, ask: Ask) -> None:
        """A question that belongs to this request: whoever reads it is to answer."""
        if not self.mailboxes or not self.can_answer:
            ask.decline("whoever called cannot be asked")
        elif len(self.asks) >= MAX_OPEN:
            ask.decline(f"{MAX_OPEN} questions of this call are open already")
        else:
            self._asks = (*self._asks, ask)
            self.note(Note("ask", ask=ask))

    def take_back(self, method: str) -> list[Ask]:
        """Questions of this kind that are not about this request: they go on without it."""
        taken = [ask for ask in self.asks if ask.method == method]
        self._asks = tuple(ask for ask in self._asks if ask.method != method)
        return taken

    def note(self, note: Note) -> None:
        for mailbox in self.mailboxes:
            mailbox.put(note)

    def end(self, result: Raw | Spooled | None, error: Exception | None) -> None:
        """Ends it. The upstream calls this once; a second end is a bug of the upstream."""
        assert not self.ended, "an exchange ends once: it left the table of pending ones before"
        self.ended = True
        self.result = result
        self.error = error
        for ask in self.asks:
            ask.decline("the call that it belongs to is over")
        if self.on_end is not None:
            self.on_end(self)
        for mailbox in self.mailboxes:
            mailbox.wake()
        # Calls come by the thousand; without cycles they go the moment they are answered.
        self.mailboxes = []
        self.params = {}  # a call may be kept for its result; its arguments are done with
        self.headers, self.forwarded = NO_HEADERS, None
        self.on_end = self.owner = None

    async def over(self) -> None:
        """Waits for the end, whatever it is."""
        mailbox = self.listen()
        try:
            while not self.ended:
                await mailbox.wait()
                mailbox.take()
        finally:
            self.unlisten(mailbox)

    async def answer(self) -> Raw:
        """Waits for the end and answers the result; for the gateway's own requests.

        Raises:
            GatewayError: however it ended instead.
        """
        await self.over()
        if self.error is not None:
            raise self.error
        assert isinstance(self.result, Raw), "only what was sent for a caller may end with a file"
        return self.result
