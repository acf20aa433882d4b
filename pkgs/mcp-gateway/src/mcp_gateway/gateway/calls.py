"""THE call path: record, find, policy, limits, upstream. Every call of every face goes through `open`.

Straight-line and without a wait: what can be refused is refused before anything is sent. Each call,
refused ones included, leaves exactly one record with one outcome, written when its exchange ends, no
matter whether the face that opened it is still there. Knows no HTTP and no SQL.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.limits import concurrency_of
from mcp_gateway.access.policy import offers, require, require_on_tool, sees_server, sees_tool
from mcp_gateway.config.model import Limits
from mcp_gateway.errors import CallCancelled, GatewayError, InputRequired, Kind
from mcp_gateway.gateway import tasks
from mcp_gateway.gateway.artifacts import Artifacts, Form, document
from mcp_gateway.gateway.events import Events
from mcp_gateway.gateway.loglevels import LogLevels
from mcp_gateway.gateway.payloads import Payloads
from mcp_gateway.gateway.primitives import (
    CALL_TOOL,
    GET_PROMPT,
    METHODS,
    READ_RESOURCE,
    may_ask,
    may_pass,
    not_offered,
    require_same_era,
)
from mcp_gateway.gateway.servers import Servers
from mcp_gateway.store.calls import CallRecord, call_id_text
from mcp_gateway.upstream.client import NO_CLIENT, Client
from mcp_gateway.upstream.exchange import Exchange, Mailbox
from mcp_gateway.upstream.framing import Spooled
from mcp_gateway.upstream.stance import SHARED
from mcp_gateway.upstream.upstream import Upstream
from mcp_gateway.uris import recordable
from mcp_gateway.wire import halves
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.revisions import Era

# Results of asynchronous calls wait for their caller this long, and no more of them than this.
KEEP_S: Final = 3600.0
KEEP_COUNT: Final = 1_000
KEEP_BYTES: Final = 256 * 1024 * 1024
RESTART_S: Final = 5.0  # when a gateway that is stopping may be back; told to who is refused
MAX_RECORDED_CHARS: Final = 1_024  # the longest name a tool may have (`catalog.py`); the store cuts further
MAX_NAME_CHARS: Final = 200  # of a name nobody knows, in an error and in its record


class Journal(Protocol):
    """Where records go; both methods are cheap and never wait."""

    def begin(self, record: CallRecord) -> None: ...
    def end(self, record: CallRecord) -> None: ...


@dataclass(slots=True)  # made for every call, and a frozen one takes a microsecond more
class Request:
    """What a face asks for. `tool` is the native name; `arguments` the bytes for the record's shape.

    `params` are the members of the request as they go to the server, the native name included. Of `headers`,
    names in lower case, go those that the server's configuration names.
    Where `method` is not `tools/call` there is no tool: `target` is the resource's URI or the prompt's name,
    both native; of a completion, what is being filled in, a prompt if `is_prompt`. `task` is the id of the
    task that it is about; `log_level` from which level on the caller hears what the server logs meanwhile.
    `note` is for the record: what its face changed in the arguments.
    """

    caller: Caller
    face: str
    server: str
    tool: str
    params: Params
    arguments: bytes
    request_bytes: int
    timeout_s: float | None = None
    headers: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    method: str = CALL_TOOL
    target: str = ""
    is_prompt: bool = False
    client: Client = NO_CLIENT
    task: str = ""
    log_level: str | None = None
    note: str | None = None


class Call:
    """One call on its way. Wait on `mailbox`, then ask for `result`."""

    __slots__ = (
        "caller",
        "client",
        "exchange",
        "id",
        "kept_until",
        "mailbox",
        "opened_at",
        "record",
        "target",
        "upstream",
        "wishes_log",
    )

    def __init__(
        self,
        record: CallRecord,
        caller: Caller,
        exchange: Exchange,
        upstream: Upstream,
        opened_at: float,
        target: str = "",
        client: Client = NO_CLIENT,
    ) -> None:
        self.id = record.id
        self.client = client
        self.target = target  # as it was asked for; the record's is without what may be a secret
        self.record = record
        self.caller = caller
        self.exchange = exchange
        self.upstream = upstream
        self.mailbox: Mailbox = exchange.listen()
        self.opened_at = opened_at
        self.kept_until: float | None = None
        self.wishes_log = False

    @property
    def ended(self) -> bool:
        return self.exchange.ended

    @property
    def held_bytes(self) -> int:
        """What its result takes of the memory."""
        result = self.exchange.result
        return memoryview(result).nbytes if isinstance(result, Raw) else 0

    def result(self) -> Raw:
        """The server's result, as it came; of a large one, the document that tells where it is.

        Raises:
            GatewayError: with the call's id.
            CallCancelled: it was taken back.
        """
        error = self.exchange.error
        if error is not None:
            if isinstance(error, GatewayError):
                error.call_id = call_id_text(self.id)
            raise error
        assert isinstance(self.exchange.result, Raw), "result() is asked after the end"
        return self.exchange.result

    def cancel(self, reason: str, *, answered: bool = True) -> None:
        """Takes the call back, upstream too; nothing happens when it has ended.

        `answered` False: who took it back wants to hear nothing more of it.
        """
        if not self.exchange.ended:
            cancelled = CallCancelled(reason, answered=answered)
            self.upstream.requests.abandon(self.exchange, cancelled, reason)

    def fail(self, error: GatewayError) -> None:
        """As `cancel`, where its caller is to hear of an error."""
        self.upstream.requests.abandon(self.exchange, error, error.detail)

    def listen(self) -> Mailbox:
        return self.exchange.listen()

    def unlisten(self, mailbox: Mailbox) -> None:
        self.exchange.unlisten(mailbox)


class Calls:
    """`limits` are those of the configuration, asked at every call."""

    def __init__(
        self,
        servers: Servers,
        journal: Journal,
        ids: clock.CallIds,
        events: Events,
        payloads: Payloads,
        artifacts: Artifacts,
        limits: Callable[[], Limits],
        log_levels: LogLevels,
    ) -> None:
        self._servers = servers
        self._journal = journal
        self._events = events
        self._payloads = payloads
        self._artifacts = artifacts
        self._ids = ids
        self._limits = limits
        self._log_levels = log_levels
        self._under_way: dict[str, int] = {}  # calls, by caller
        self.running: dict[int, Call] = {}
        self.stopping = False
        self._kept: OrderedDict[int, Call] = OrderedDict()
        self._kept_bytes = 0
        self.tasks = tasks.Tasks(servers.has_link)
        servers.moved = self._moved

    def open(self, request: Request) -> Call:
        """Starts a call.

        Raises:
            GatewayError: unknown, refused, unavailable or busy; nothing was sent, the record is written.
        """
        opened_at = clock.now_s()
        record = self._begin(
            request.caller,
            request.face,
            request.server,
            request.tool,
            request.arguments,
            request.request_bytes,
            request.method,
            request.target,
        )
        record.detail = request.note
        try:
            shared = self._find(request)
            under_way = self._count(request.caller)
            upstream = self._link_for(request, shared)
            config = upstream.config
            idle_s = config.timeout_s if request.timeout_s is None else request.timeout_s
            exchange = Exchange(
                request.method,
                request.params,
                loop=upstream.requests.loop,
                caller=request.caller.id,
                now=opened_at,
                idle_s=min(idle_s, config.max_timeout_s),
                hard_s=config.max_timeout_s,
                on_end=self._ended,
                headers=request.headers,
                era=request.client.era,
                capabilities=request.client.capabilities,
                log_level=request.log_level,
            )
            call = Call(record, request.caller, exchange, upstream, opened_at, request.target, request.client)
            exchange.owner = call
            if request.log_level is not None and request.client.era is Era.MODERN:
                self._wish_log(call, request.log_level)
            upstream.submit(exchange)
        except GatewayError as problem:
            self._log_levels.forget(_log_key(record))
            problem.call_id = call_id_text(record.id)
            self._close(record, problem.kind.value, problem.detail, 0)
            raise
        self.running[record.id] = call
        self._under_way[request.caller.id] = under_way
        return call

    def _wish_log(self, call: Call, level: str) -> None:
        """A server of the handshake era is told for all calls together how loud it is to be."""
        upstream, opened = call.upstream, call.upstream.opened
        if upstream.stance.era is not Era.MODERN and (opened is None or opened.era is Era.HANDSHAKE):
            call.wishes_log = True
            self._log_levels.wish(_log_key(call.record), call.caller, upstream.id, level)

    def _link_for(self, request: Request, shared: Upstream) -> Upstream:
        """The link of that server which a request goes over."""
        if request.method not in tasks.OF_ONE:
            return self._servers.links.for_call(shared, request.caller, request.client, request.method)
        link = self.tasks.link_of(request.caller.id, request.server, request.task)
        if link.opened is not None and link.opened.era is not request.client.era:
            raise not_offered(request.method)
        return link

    def refuse(
        self,
        caller: Caller,
        face: str,
        server: str,
        tool: str,
        request_bytes: int,
        problem: GatewayError,
        method: str = CALL_TOOL,
        target: str = "",
    ) -> None:
        """Records a call that its face could not read, or could name no tool for."""
        record = self._begin(caller, face, server, tool, None, request_bytes, method, target)
        problem.call_id = call_id_text(record.id)
        self._close(record, problem.kind.value, problem.detail, 0)

    def _begin(
        self,
        caller: Caller,
        face: str,
        server: str,
        tool: str,
        arguments: bytes | None,
        request_bytes: int,
        method: str,
        target: str,
    ) -> CallRecord:
        """The record of a call that begins now; names of what nobody knows are cut."""
        started = clock.wall_s()
        record = CallRecord(
            self._ids.next(started),
            started,
            caller.id,
            face,
            server[:MAX_RECORDED_CHARS],
            tool[:MAX_RECORDED_CHARS],
            arguments,
            request_bytes,
            method=method,
            target=recordable(target[:MAX_RECORDED_CHARS]) if target else None,
        )
        self._journal.begin(record)
        return record

    def end_running(self) -> None:
        """Ends every call with an answer; the gateway is stopping."""
        # Those that wait come first: the end of one that was sent would send them.
        for call in sorted(self.running.values(), key=lambda call: call.exchange.may_have_run):
            server = call.record.server
            if call.exchange.may_have_run:
                error = GatewayError(Kind.LOST, "The gateway was stopped during the call", server=server)
            else:
                error = stopping("the call had not been sent", server)
            call.upstream.requests.abandon(call.exchange, error, "the gateway is stopping")

    def _count(self, caller: Caller) -> int:
        """How many calls the caller has under way, with this one.

        Raises:
            GatewayError: `busy` when that is too many.
        """
        under_way = self._under_way.get(caller.id, 0) + 1
        limit = concurrency_of(self._limits(), caller)
        if limit is not None and under_way > limit:
            detail = f"You have {limit} calls under way, and that is as many as one caller may have"
            raise GatewayError(Kind.BUSY, detail, retry_after_s=1.0)
        return under_way

    def _find(self, request: Request) -> Upstream:
        """The server that may be asked; what may not be seen is unknown, in the same words."""
        caller = request.caller
        require(caller, Right.CALL)
        if self.stopping:
            raise stopping("it takes no more calls")
        upstream = self._servers.get(request.server)
        if upstream is None or not sees_server(caller, request.server):
            raise unknown_server(request.server)
        if request.method == CALL_TOOL:
            self._may_call(caller, request, upstream)
        elif request.method in METHODS:
            may_ask(caller, request, upstream)
        elif request.method in tasks.OF_ONE or request.method == tasks.LIST:  # who began one may ask about it
            require_same_era(request, upstream)
        else:
            may_pass(caller, request, upstream)
        return upstream

    def _may_call(self, caller: Caller, request: Request, upstream: Upstream) -> None:
        entries = self._servers.catalog.by_server.get(request.server)
        entry = None if entries is None else entries.get(request.tool)
        if Right.CALL not in caller.everywhere:
            is_read_only = entry is not None and entry.is_read_only
            if not sees_tool(caller, request.server, request.tool, is_read_only):
                raise unknown_tool(request.server, request.tool)
            require_on_tool(caller, Right.CALL, request.server, request.tool, is_read_only)
        if entry is None and (upstream.knows_its_tools or not offers(upstream.config.tools, request.tool)):
            raise unknown_tool(request.server, request.tool)
        # One that was never listed, or is not there: `submit` waits for it or says what is wrong with it.
        enabled = self._servers.is_tool_on(request.server, request.tool) if entry is None else entry.enabled
        if not enabled:
            detail = f"The tool `{request.tool[:MAX_NAME_CHARS]}` is switched off"
            raise GatewayError(Kind.UNAVAILABLE, detail, server=request.server)

    def _moved(self, exchange: Exchange, upstream: Upstream) -> None:
        """It waited for a server that another has replaced: that one answers, and is told to cancel."""
        call = exchange.owner
        assert isinstance(call, Call), "every exchange of a call is owned by it"
        call.upstream = upstream

    def _ended(self, exchange: Exchange) -> None:
        call = exchange.owner
        assert isinstance(call, Call), "every exchange of a call is owned by it"
        record = call.record
        record.duration_s = clock.now_s() - call.opened_at
        if call.wishes_log:
            self._log_levels.forget(_log_key(record))
        if isinstance(exchange.result, Spooled):
            self._ended_large(call, exchange.result)
        elif exchange.result is not None:
            if record.method == tasks.LIST:
                exchange.result = self.tasks.only_own(record.caller, record.server, exchange.result)
            elif record.method == CALL_TOOL and (call.client.era is Era.MODERN or "task" in exchange.params):
                self._learn_task(call, exchange.result)
            size = memoryview(exchange.result).nbytes
            said = verdict(exchange.result)
            if said.resultType != "input_required":
                self._close(record, _outcome(record, said), None, size)
            elif call.client.era is Era.MODERN:  # it is a result there, and the client comes back with more
                self._close(record, Kind.INPUT_REQUIRED.value, None, size)
            else:
                # No other face can carry a question back: typed, never an empty success.
                asks = InputRequired(record.server, bytes(said.inputRequests))
                exchange.result, exchange.error = None, asks
                self._close(record, asks.kind.value, asks.detail, size)
        elif isinstance(exchange.error, GatewayError):
            self._close(record, exchange.error.kind.value, exchange.error.detail, 0)
        else:
            outcome = "cancelled" if isinstance(exchange.error, CallCancelled) else "internal"
            self._close(record, outcome, str(exchange.error), 0)
        if self.running.pop(record.id, None) is not None:
            self._forget_one_of(record.caller)
        if call.upstream.scope is not SHARED:
            self._servers.links.freed(call.upstream)
        if call.kept_until is not None:
            self._count_kept(call)

    def _learn_task(self, call: Call, result: Raw) -> None:
        if self.tasks.learn(call.caller.id, call.upstream, result):
            call.upstream.requests.goes_on(call.exchange)

    def _forget_one_of(self, caller_id: str) -> None:
        left = self._under_way.get(caller_id, 0) - 1
        if left > 0:
            self._under_way[caller_id] = left
        else:
            self._under_way.pop(caller_id, None)

    def callers(self) -> set[str]:
        """Whose calls run or are kept."""
        return {call.caller.id for call in (*self.running.values(), *self._kept.values())}

    def end_of(self, caller_id: str, reason: str) -> None:
        """Cancels the calls of a caller who may not go on, and forgets what was kept for them."""
        self.tasks.end_of(caller_id)
        for call in [call for call in self.running.values() if call.caller.id == caller_id]:
            call.cancel(reason)
        for call_id in [call.id for call in self._kept.values() if call.caller.id == caller_id]:
            self._forget_kept(call_id)

    def _ended_large(self, call: Call, large: Spooled) -> None:
        """A result in a file becomes an artifact; a small document answers instead."""
        record, exchange, size = call.record, call.exchange, large.result_bytes
        said = verdict(large.skeleton)
        error: GatewayError | None = None
        if said.resultType == "input_required":
            error = InputRequired(record.server, b"")  # what it asks cannot be this long
        elif record.method not in _FORMS:
            detail = f"The answer of `{record.server}` to `{record.method}` is {size} bytes long"
            error = GatewayError(Kind.LOST, detail, server=record.server)
        else:
            try:
                what = record.target or record.tool
                artifact = self._artifacts.keep(call.caller.id, record.server, what, large)
                form = _FORMS[record.method]
                exchange.result = Raw(
                    document(artifact, large, is_error=said.isError, form=form, uri=call.target)
                )
            except OSError as problem:
                detail = (
                    f"The answer of `{record.server}`, {size} bytes, could not be kept: {problem.strerror}"
                )
                error = GatewayError(Kind.LOST, detail, server=record.server)
        large.close()
        if error is None:
            self._close(record, _outcome(record, said), None, size)
        else:
            exchange.result, exchange.error = None, error
            self._close(record, error.kind.value, error.detail, size)

    def _close(self, record: CallRecord, outcome: str, detail: str | None, response_bytes: int) -> None:
        record.outcome = outcome
        record.detail = "; ".join(filter(None, (record.detail, detail))) or None
        record.response_bytes = response_bytes
        if (call := self.running.get(record.id)) is not None:
            exchange = call.exchange
            self._payloads.keep(
                record, call.upstream.logs, exchange.result, exchange.error, exchange.forwarded
            )
        self._journal.end(record)
        self._events.publish("call", lambda: facts_of(record))

    # Asynchronous calls: kept for their caller after the end

    def keep(self, call: Call) -> None:
        call.kept_until = clock.now_s() + KEEP_S
        call.unlisten(call.mailbox)  # nobody reads it; a later reader brings one of its own
        self._kept[call.id] = call
        if call.ended:
            self._count_kept(call)
        self._evict()

    def _count_kept(self, call: Call) -> None:
        # The store lets go of the arguments once it has their shape; an hour of keeping must not hold them.
        call.record = replace(call.record, arguments=None, capture=None)
        self._kept_bytes += call.held_bytes
        self._evict()

    def _evict(self) -> None:
        now = clock.now_s()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            over = len(self._kept) > KEEP_COUNT or (self._kept_bytes > KEEP_BYTES and len(self._kept) > 1)
            expired = oldest.kept_until is not None and oldest.kept_until <= now
            if not (over or expired):
                return
            self._forget_kept(oldest.id if expired else self._least_fair())

    def _least_fair(self) -> int:
        """The oldest of the caller who holds the most: nobody's results make way for another's many."""
        newest = next(reversed(self._kept.values()))
        held: Counter[str] = Counter()
        for call in self._kept.values():
            held[call.caller.id] += 1 if len(self._kept) > KEEP_COUNT else call.held_bytes
        older = [call for call in self._kept.values() if call is not newest]
        return max(older, key=lambda call: held[call.caller.id]).id  # the first of equals is the oldest

    def _forget_kept(self, call_id: int) -> None:
        call = self._kept.pop(call_id)
        if call.ended:
            self._kept_bytes -= call.held_bytes
        call.kept_until = None

    def find(self, caller: Caller, call_id: int) -> Call | None:
        """A running or kept call of this caller; somebody else's is not there."""
        self._evict()
        call = self.running.get(call_id) or self._kept.get(call_id)
        return call if call is not None and call.caller.id == caller.id else None


# What of the answers may be so large that a document stands for it.
_FORMS: Final = {
    CALL_TOOL: Form.TOOL,
    tasks.RESULT: Form.TOOL,
    READ_RESOURCE: Form.RESOURCE,
    GET_PROMPT: Form.PROMPT,
}


def _log_key(record: CallRecord) -> str:
    return f"call {record.id}"


class _Verdict(msgspec.Struct):
    isError: bool = False
    resultType: str = "complete"
    inputRequests: Raw = Raw(b"")


_SUCCESS: Final = _Verdict()


def _outcome(record: CallRecord, said: _Verdict) -> str:
    return "tool_error" if said.isError and record.method == CALL_TOOL else "ok"


def verdict(result: Raw) -> _Verdict:
    """What a tool result says of itself; looks closer only where one of the words occurs at all."""
    text = bytes(result)
    if b'"isError"' not in text and b'"input_required"' not in text:
        return _SUCCESS
    try:
        return msgspec.json.decode(text, type=_Verdict)
    except (msgspec.MsgspecError, RecursionError):
        mask = halves.mask_for(text)
    try:
        return _SUCCESS if mask is None else msgspec.json.decode(mask.text, type=_Verdict)
    except (msgspec.MsgspecError, RecursionError):
        return _SUCCESS


def facts_of(record: CallRecord) -> dict[str, Any]:
    """A record as the live feed shows it."""
    return {
        "id": call_id_text(record.id),
        "started": record.started,
        "caller": record.caller,
        "right": record.needed,
        "action": record.action,
        "face": record.face,
        "server": record.server,
        "tool": record.tool,
        "method": record.method if record.action is None else None,
        "target": record.target,
        "outcome": record.outcome,
        "durationMs": round(record.duration_s * 1000, 3),
        "requestBytes": record.request_bytes,
        "responseBytes": record.response_bytes,
        "detail": record.detail,
    }


def stopping(so: str, server: str | None = None) -> GatewayError:
    """Why a call is not sent any more; nothing of it ran."""
    detail = f"The gateway is stopping: {so}"
    return GatewayError(Kind.UNAVAILABLE, detail, server=server, retry_after_s=RESTART_S)


def unknown_server(server: str) -> GatewayError:
    return GatewayError(Kind.UNKNOWN, f"There is no server `{server[:MAX_NAME_CHARS]}`")


def unknown_tool(server: str, tool: str) -> GatewayError:
    return GatewayError(
        Kind.UNKNOWN, f"The server `{server}` has no tool `{tool[:MAX_NAME_CHARS]}`", server=server
    )
