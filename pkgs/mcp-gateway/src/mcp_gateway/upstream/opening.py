"""From a fresh process to a link that answers: which era, which revision.

A server is asked `server/discover` first, so that one that only knows the modern era works; a server
that knows both is opened in the handshake era, which every caller of today can use. What was learned
is remembered by the caller. Straight-line protocol over a `Door`; opens and closes nothing itself.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from mcp_gateway.clock import now_s
from mcp_gateway.errors import GatewayError, Kind, UpstreamAnswered
from mcp_gateway.upstream.stance import SHARED_STANCE, Stance
from mcp_gateway.wire.envelope import Params, read_members
from mcp_gateway.wire.revisions import (
    META_PREFIX,
    MODERN,
    SHARED_CAPABILITIES,
    UNSUPPORTED_VERSION,
    Era,
    is_handshake,
    modern_meta,
    request_meta,
)

# Some servers never answer a method they do not know. After so long `initialize` follows on the same
# process, and whichever is answered decides; a slow start therefore costs nothing.
SILENT_PROBE_S: Final = 10.0
INSTRUCTIONS_MAX_CHARS: Final = 64 * 1024

Eras = frozenset[Era]
_SERVER_INFO: Final = META_PREFIX + "serverInfo"


class NotUnderstood(Exception):
    """The server answers, but nothing that makes sense of MCP; trying again will not change that."""


@dataclass(frozen=True, slots=True)
class Opened:
    """How a link was opened. `server_info` and `capabilities` are as the server sent them.

    `modern` is what it said that it can in the modern era, as far as it was asked in that, too.
    """

    era: Era
    revision: str
    capabilities: dict[str, Raw]
    server_info: Raw
    instructions: str
    eras: Eras
    modern: dict[str, Raw] | None = None


class Door(Protocol):
    """What opening may do to the one server it is about."""

    async def fresh(self) -> None:
        """Ends the present process, if there is one, and starts another."""

    async def ask(self, method: str, params: Params) -> Raw:
        """One request, limited by the whole opening's deadline.

        Raises:
            GatewayError: `UpstreamAnswered` for an error of the server, `lost` when the link broke.
        """

    def agree(self, revision: str) -> None:
        """The revision that both sides speak from now on."""

    def tell(self, method: str) -> None:
        """One notification."""


class _InitializeResult(msgspec.Struct):
    protocolVersion: str
    capabilities: dict[str, Raw] = {}
    serverInfo: Raw = Raw(b"null")
    instructions: str | None = None


class _DiscoverResult(msgspec.Struct):
    supportedVersions: list[str]
    capabilities: dict[str, Raw] = {}
    serverInfo: Raw = Raw(b"")
    instructions: str | None = None
    meta: Raw = msgspec.field(name="_meta", default=Raw(b"{}"))

    def __post_init__(self) -> None:
        # `_meta` is its place in this era; drafts had it beside the capabilities.
        self.serverInfo = self.serverInfo or read_members(self.meta).get(_SERVER_INFO, Raw(b"null"))


class _Supported(msgspec.Struct):
    supported: list[str] = []


class _UnsupportedVersion(msgspec.Struct):
    data: _Supported


async def open_server(
    door: Door, known: Eras | None, client_info: dict[str, str], stance: Stance = SHARED_STANCE
) -> Opened:
    """Opens a fresh process in the best era it speaks, or in that of the stance.

    Raises:
        GatewayError: the server answered with an error or was lost.
        NotUnderstood: its answer is not one of MCP.
    """
    began = now_s()
    await door.fresh()
    if stance.era is Era.MODERN:
        return await _discover(door, known or frozenset({Era.MODERN}), client_info)
    if known is not None:
        if Era.HANDSHAKE in known:
            return await _initialize(door, known, client_info, stance)
        return await _discover(door, known, client_info)
    try:
        answered = await _first_answer(door, client_info, stance)
    except GatewayError as problem:
        if (problem.kind is not Kind.LOST and not _is_other_modern(problem)) or _is_refusal(problem):
            raise
        # Some servers leave when their first message is not `initialize`; one that answered in the modern
        # era, but in none of its revisions that we know, may know the handshake as well.
        await door.fresh()
        try:
            return await _initialize(door, frozenset({Era.HANDSHAKE}), client_info, stance)
        except UpstreamAnswered as second:
            if _is_other_modern(problem):
                raise NotUnderstood(f"it speaks no revision we know: {problem.detail}") from second
            raise
    if answered.era is Era.HANDSHAKE:
        return answered
    # It speaks the modern era. The era of a process is settled by its first request, so whether it
    # knows `initialize` as well takes another process.
    took_s = now_s() - began
    await door.fresh()
    try:
        async with asyncio.timeout(max(SILENT_PROBE_S, 2 * took_s)):
            opened = await _initialize(door, frozenset(Era), client_info, stance, to_modern=True)
            return replace(opened, modern=answered.capabilities)
    except (GatewayError, NotUnderstood, TimeoutError):
        await door.fresh()
        return await _discover(door, frozenset({Era.MODERN}), client_info)


async def _first_answer(door: Door, client_info: dict[str, str], stance: Stance) -> Opened:
    """`server/discover`, then `initialize` on the same process when that was refused or not heard."""
    discover = asyncio.ensure_future(_discover(door, frozenset({Era.MODERN}), client_info))
    initialize: asyncio.Task[Opened] | None = None
    try:
        await asyncio.wait({discover}, timeout=SILENT_PROBE_S)
        if discover.done() and not _refused(discover):
            return discover.result()
        if discover.done() and _is_other_modern(discover.exception()):
            return discover.result()
        initialize = asyncio.ensure_future(_initialize(door, frozenset({Era.HANDSHAKE}), client_info, stance))
        await asyncio.wait({initialize, discover}, return_when=asyncio.FIRST_COMPLETED)
        if discover.done() and not _refused(discover):
            return discover.result()
        if initialize.done() and _refused(initialize) and not discover.done():
            await asyncio.wait({discover})
            if not _refused(discover):
                return discover.result()
        return await initialize
    finally:
        for task in (discover, initialize):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def _refused(task: "asyncio.Task[Opened]") -> bool:
    """Whether the server said no; any other failure is not an answer."""
    problem = task.exception()
    return isinstance(problem, UpstreamAnswered | NotUnderstood)


def _is_refusal(problem: GatewayError) -> bool:
    return isinstance(problem, UpstreamAnswered) and not _is_other_modern(problem)


def _is_other_modern(problem: BaseException | None) -> bool:
    return isinstance(problem, UpstreamAnswered) and problem.rpc_code == UNSUPPORTED_VERSION


def _supported(error: bytes) -> list[str]:
    """The revisions that a refusal of ours names."""
    try:
        return msgspec.json.decode(error, type=_UnsupportedVersion).data.supported
    except (msgspec.MsgspecError, RecursionError):
        return []


async def _initialize(
    door: Door, eras: Eras, client_info: dict[str, str], stance: Stance, *, to_modern: bool = False
) -> Opened:
    """`to_modern`: the server is known to speak the modern era, whose rules it may have for every request."""
    params: Params = {
        "protocolVersion": stance.revision,
        "capabilities": Raw(stance.capabilities) if stance.may_be_asked else SHARED_CAPABILITIES,
        "clientInfo": client_info,
    }
    if to_modern:
        params["_meta"] = request_meta(stance.revision, client_info)
    answer = _read(await door.ask("initialize", params), _InitializeResult, "initialize")
    if not is_handshake(answer.protocolVersion):
        raise NotUnderstood(
            f"it answered `initialize` with the revision {answer.protocolVersion[:40]!r}, none we know"
        )
    door.agree(answer.protocolVersion)
    door.tell("notifications/initialized")
    return Opened(
        Era.HANDSHAKE,
        answer.protocolVersion,
        answer.capabilities,
        answer.serverInfo,
        (answer.instructions or "")[:INSTRUCTIONS_MAX_CHARS],
        eras,
    )


async def _discover(door: Door, eras: Eras, client_info: dict[str, str]) -> Opened:
    params: Params = {"_meta": modern_meta(client_info)}
    try:
        raw = await door.ask("server/discover", params)
    except UpstreamAnswered as problem:
        # It refuses the revision and names the same one as supported: taken at its word, once.
        if not _is_other_modern(problem) or MODERN not in _supported(problem.error):
            raise
        raw = await door.ask("server/discover", params)
    answer = _read(raw, _DiscoverResult, "server/discover")
    if MODERN not in answer.supportedVersions:
        raise NotUnderstood(f"it speaks no revision we know: {', '.join(answer.supportedVersions)[:200]}")
    door.agree(MODERN)
    return Opened(
        Era.MODERN,
        MODERN,
        answer.capabilities,
        answer.serverInfo,
        (answer.instructions or "")[:INSTRUCTIONS_MAX_CHARS],
        eras,
        answer.capabilities,
    )


def _read(raw: Raw, shape: type[Any], method: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise NotUnderstood(f"its answer to `{method}` is not valid: {problem}") from None
