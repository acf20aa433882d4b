"""Which era a server speaks, found out over a scripted door: each process of it is one column of answers."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from mcp_gateway.errors import GatewayError, Kind, UpstreamAnswered
from mcp_gateway.upstream import opening
from mcp_gateway.upstream.opening import NotUnderstood, Opened, open_server
from mcp_gateway.wire.envelope import Params
from mcp_gateway.wire.revisions import Era
from tests.upstream.parts import CLIENT, WITHIN_S, until

HANDSHAKE = frozenset({Era.HANDSHAKE})
MODERN = frozenset({Era.MODERN})
BOTH = frozenset(Era)

INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}, "x-new": {"n": 1.0}},
    "serverInfo": {"name": "scripted", "version": "1"},
    "instructions": "Be kind.",
}
DISCOVERED = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "scripted", "version": "2"},
    "resultType": "complete",
}


def refused(code: int = -32601, **data: Any) -> GatewayError:
    error = {"code": code, "message": "no", "data": data}
    return UpstreamAnswered("s", code, "no", json.dumps(error).encode())


def died() -> GatewayError:
    return GatewayError(
        Kind.LOST, "The server `s` was lost during the call: it exited with code 2", server="s"
    )


class After:
    """An answer that comes when another method has been asked on the same process; `never`: not at all."""

    def __init__(self, method: str, answer: Any) -> None:
        self.method = method
        self.answer = answer


NEVER = After("never", None)


class InTurn:
    """Another answer each time."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)


class Script:
    """A door whose processes answer by script: a dict of method -> answer for each process in turn."""

    def __init__(self, *processes: dict[str, Any]) -> None:
        self.processes = processes
        self.story: list[str] = []
        self.params: dict[str, Params] = {}
        self.asked: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.started = 0
        self.agreed: str | None = None

    async def fresh(self) -> None:
        assert self.started < len(self.processes), f"one process too many after {self.story}"
        self.started += 1
        self.asked = {}
        self.story.append("fresh")

    async def ask(self, method: str, params: Params) -> Raw:
        self.story.append(method)
        self.params[method] = params
        self.event(method).set()
        answer = self.processes[self.started - 1].get(method, refused())
        if isinstance(answer, InTurn):
            answer = answer.answers.pop(0)
        try:
            while isinstance(answer, After):
                await self.event(answer.method).wait()
                answer = answer.answer
                for _ in range(10):  # what waits for the other answer has seen it by then
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.append(method)
            raise
        self.event(f"{method} answered").set()
        if isinstance(answer, Exception):
            raise answer
        return Raw(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def event(self, method: str) -> asyncio.Event:
        return self.asked.setdefault(method, asyncio.Event())

    def agree(self, revision: str) -> None:
        self.agreed = revision

    def tell(self, method: str) -> None:
        self.story.append(method)


async def opened(script: Script, known: frozenset[Era] | None = None) -> Opened:
    async with asyncio.timeout(WITHIN_S):
        result = await open_server(script, known, CLIENT)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not tasks, "nothing of the probing is left running"
    return result


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is known after a blink instead of ten seconds."""
    monkeypatch.setattr(opening, "SILENT_PROBE_S", 0.01)


def said(*methods: str) -> list[str]:
    return [
        {"init": "initialize", "disc": "server/discover", "ok": "notifications/initialized"}.get(m, m)
        for m in methods
    ]


# What MCP Apps asks of a client that can show views.
VIEWS = {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}}


# -- one era --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [-32601, -32600, -32602, -32603, -32000, 12345])
async def test_a_server_that_refuses_discover_is_opened_by_handshake_on_the_same_process(code: int) -> None:
    script = Script({"server/discover": refused(code), "initialize": INITIALIZED})
    result = await opened(script)
    assert script.story == said("fresh", "disc", "init", "ok")
    assert (result.era, result.revision, result.eras) == (Era.HANDSHAKE, "2025-06-18", HANDSHAKE)
    assert result.instructions == "Be kind."
    assert json.loads(bytes(result.server_info)) == INITIALIZED["serverInfo"]
    assert bytes(result.capabilities["x-new"]) == b'{"n": 1.0}', "as the server sent it"


async def test_the_handshake_offers_the_latest_revision_and_no_capability_to_ask() -> None:
    script = Script({"initialize": INITIALIZED})
    await opened(script, HANDSHAKE)
    assert json.loads(msgspec.json.encode(script.params["initialize"])) == {
        "protocolVersion": "2025-11-25",
        "capabilities": VIEWS,
        "clientInfo": CLIENT,
    }


async def test_a_probe_carries_the_meta_of_the_modern_era() -> None:
    script = Script({"server/discover": DISCOVERED})
    await opened(script, MODERN)
    assert script.params["server/discover"] == {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": CLIENT,
            "io.modelcontextprotocol/clientCapabilities": VIEWS,
        }
    }


@pytest.mark.parametrize("beside", [True, False])
async def test_a_modern_server_says_who_it_is_in_meta_or_beside(beside: bool) -> None:
    info = {"name": "m", "version": "2", "icons": []}
    meta = {"_meta": {"io.modelcontextprotocol/serverInfo": info}}
    bare = {name: value for name, value in DISCOVERED.items() if name != "serverInfo"}
    result = await opened(
        Script({"server/discover": bare | ({"serverInfo": info} if beside else meta)}), MODERN
    )
    assert json.loads(bytes(result.server_info)) == info


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_revision_of_the_handshake_era_may_be_answered(revision: str) -> None:
    result = await opened(Script({"initialize": INITIALIZED | {"protocolVersion": revision}}))
    assert result.revision == revision


async def test_a_server_of_the_modern_era_alone_is_opened_there() -> None:
    processes = (
        {"server/discover": DISCOVERED, "initialize": refused(-32022)},
        {"server/discover": DISCOVERED, "initialize": refused(-32022, supported=["2026-07-28"])},
        {"server/discover": DISCOVERED},
    )
    script = Script(*processes)
    result = await opened(script)
    assert script.story == said("fresh", "disc", "fresh", "init", "fresh", "disc")
    assert (result.era, result.revision, result.eras) == (Era.MODERN, "2026-07-28", MODERN)
    assert "notifications/initialized" not in script.story


async def test_a_server_of_both_eras_is_opened_by_handshake_on_a_process_of_its_own() -> None:
    script = Script({"server/discover": DISCOVERED}, {"initialize": INITIALIZED})
    result = await opened(script)
    assert script.story == said("fresh", "disc", "fresh", "init", "ok")
    assert (result.era, result.eras) == (Era.HANDSHAKE, BOTH)


async def test_a_handshake_with_a_modern_server_says_what_that_era_wants_of_every_request() -> None:
    script = Script({"server/discover": DISCOVERED}, {"initialize": INITIALIZED})
    await opened(script)
    assert json.loads(msgspec.json.encode(script.params["initialize"]))["_meta"] == {
        "io.modelcontextprotocol/protocolVersion": "2025-11-25",
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": VIEWS,
    }


@pytest.mark.parametrize(
    "answer",
    [
        died(),
        INITIALIZED | {"protocolVersion": "2026-07-28"},
        INITIALIZED | {"protocolVersion": "1999-12-31"},
        {},
        b'"hello"',
    ],
    ids=["dies", "its own revision", "an unknown revision", "nothing", "text"],
)
async def test_whatever_a_modern_server_does_with_initialize_it_stays_usable(answer: Any) -> None:
    script = Script({"server/discover": DISCOVERED}, {"initialize": answer}, {"server/discover": DISCOVERED})
    result = await opened(script)
    assert (result.era, result.eras) == (Era.MODERN, MODERN)


@pytest.mark.usefixtures("impatient")
async def test_a_modern_server_that_never_answers_initialize_is_opened_all_the_same() -> None:
    script = Script({"server/discover": DISCOVERED}, {"initialize": NEVER}, {"server/discover": DISCOVERED})
    result = await opened(script)
    assert (result.era, result.eras) == (Era.MODERN, MODERN)


# -- silence --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_never_answers_discover_is_opened_by_handshake_on_the_same_process() -> None:
    script = Script({"server/discover": NEVER, "initialize": INITIALIZED})
    result = await opened(script)
    assert script.story == said("fresh", "disc", "init", "ok")
    assert result.eras == HANDSHAKE
    assert script.cancelled == ["server/discover"]


@pytest.mark.usefixtures("impatient")
async def test_a_slow_modern_server_that_was_asked_both_is_known_by_what_it_answers() -> None:
    """The probe came late, and settled the era of that process: `initialize` behind it is refused."""
    late: dict[str, Any] = {"server/discover": After("initialize", DISCOVERED), "initialize": NEVER}
    script = Script(late, {"initialize": refused(-32022)}, {"server/discover": DISCOVERED})
    assert (await opened(script)).eras == MODERN
    late = {"server/discover": After("initialize", DISCOVERED), "initialize": refused(-32022)}
    script = Script(late, {"initialize": INITIALIZED})
    assert (await opened(script)).eras == BOTH


@pytest.mark.usefixtures("impatient")
async def test_a_refused_handshake_is_not_the_end_while_the_probe_is_unanswered() -> None:
    late = {"server/discover": After("initialize answered", DISCOVERED), "initialize": refused(-32022)}
    script = Script(late, {"initialize": INITIALIZED})
    assert (await opened(script)).eras == BOTH


@pytest.mark.usefixtures("impatient")
async def test_a_slow_server_that_refuses_both_in_its_time_is_reported_with_its_own_words() -> None:
    script = Script({"server/discover": After("initialize", refused()), "initialize": refused(-32603)})
    with pytest.raises(UpstreamAnswered) as caught:
        await opened(script)
    assert caught.value.rpc_code == -32603


@pytest.mark.usefixtures("impatient")
async def test_a_late_refusal_of_discover_does_not_disturb_the_handshake() -> None:
    gate = After("initialize", refused())
    script = Script({"server/discover": gate, "initialize": INITIALIZED})
    assert (await opened(script)).eras == HANDSHAKE


async def test_a_cancelled_opening_leaves_nothing_running() -> None:
    script = Script({"server/discover": NEVER})
    task = asyncio.create_task(open_server(script, None, CLIENT))
    await until(lambda: "server/discover" in script.story, "the probe")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert script.cancelled == ["server/discover"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- servers that leave, or make no sense ---------------------------------------------------------------


async def test_a_server_that_dies_of_discover_gets_a_fresh_process_and_a_handshake() -> None:
    script = Script({"server/discover": died()}, {"initialize": INITIALIZED})
    result = await opened(script)
    assert script.story == said("fresh", "disc", "fresh", "init", "ok")
    assert result.eras == HANDSHAKE


async def test_a_server_that_dies_of_everything_is_lost() -> None:
    with pytest.raises(GatewayError) as caught:
        await opened(Script({"server/discover": died()}, {"initialize": died()}))
    assert caught.value.kind is Kind.LOST


@pytest.mark.parametrize("answer", [{}, b"[]", {"supportedVersions": "all"}, {"supportedVersions": []}])
async def test_a_senseless_answer_to_discover_is_as_good_as_a_refusal(answer: Any) -> None:
    script = Script({"server/discover": answer, "initialize": INITIALIZED})
    assert (await opened(script)).eras == HANDSHAKE


async def test_a_server_that_discovers_handshake_revisions_only_is_opened_by_handshake() -> None:
    discovered = DISCOVERED | {"supportedVersions": ["2025-11-25", "2025-06-18"]}
    script = Script({"server/discover": discovered, "initialize": INITIALIZED})
    assert (await opened(script)).eras == HANDSHAKE


async def test_a_server_of_another_modern_revision_alone_is_not_understood() -> None:
    refusal = refused(-32022, supported=["2027-01-01"])
    script = Script({"server/discover": refusal}, {"initialize": refused()})
    with pytest.raises(NotUnderstood, match="no revision we know"):
        await opened(script)


async def test_a_server_that_names_a_handshake_revision_as_supported_is_opened_by_it() -> None:
    """-32022 says what would be understood; the SDK's client gives up only where that has nothing of ours."""
    refusal = refused(-32022, supported=["2025-11-25", "2027-01-01"], requested="2026-07-28")
    script = Script({"server/discover": refusal, "initialize": INITIALIZED}, {"initialize": INITIALIZED})
    result = await opened(script)
    assert result.era is Era.HANDSHAKE


async def test_a_server_that_refuses_the_revision_it_names_as_supported_is_asked_once_more() -> None:
    refusal = refused(-32022, supported=["2026-07-28"], requested="2026-07-28")
    first = {"server/discover": InTurn(refusal, DISCOVERED)}
    script = Script(first, {"initialize": refused(-32022)}, {"server/discover": DISCOVERED})
    result = await opened(script)
    assert script.story == said("fresh", "disc", "disc", "fresh", "init", "fresh", "disc")
    assert (result.era, result.eras) == (Era.MODERN, MODERN)


async def test_a_server_that_goes_on_refusing_what_it_supports_is_not_understood() -> None:
    refusal = refused(-32022, supported=["2026-07-28"])
    script = Script({"server/discover": refusal}, {"initialize": refused()})
    with pytest.raises(NotUnderstood, match="no revision we know"):
        await opened(script)
    assert script.story == said("fresh", "disc", "disc", "fresh", "init")


@pytest.mark.parametrize("data", [{}, {"supported": "2026-07-28"}, {"supported": [1]}])
async def test_a_refusal_that_names_nothing_is_not_asked_again(data: dict[str, Any]) -> None:
    script = Script({"server/discover": refused(-32022, **data)}, {"initialize": INITIALIZED})
    assert (await opened(script)).era is Era.HANDSHAKE
    assert script.story == said("fresh", "disc", "fresh", "init", "ok")


SENSELESS: dict[str, tuple[Any, str]] = {
    "an unknown revision": (INITIALIZED | {"protocolVersion": "1999-12-31"}, "1999-12-31"),
    "the modern revision": (INITIALIZED | {"protocolVersion": "2026-07-28"}, "2026-07-28"),
    "a number": (INITIALIZED | {"protocolVersion": 20251125}, "protocolVersion"),
    "nothing": ({}, "protocolVersion"),
    "a list": (b'["ready"]', "initialize"),
    "odd capabilities": (INITIALIZED | {"capabilities": "all"}, "capabilities"),
    "nested": (b'{"protocolVersion":' + b"[" * 100_000, "initialize"),
}


@pytest.mark.parametrize(("answer", "word"), SENSELESS.values(), ids=SENSELESS)
async def test_a_handshake_that_makes_no_sense_is_not_understood(answer: Any, word: str) -> None:
    with pytest.raises(NotUnderstood, match=word) as caught:
        await opened(Script({"initialize": answer}))
    assert len(str(caught.value)) < 300


async def test_instructions_are_capped() -> None:
    result = await opened(Script({"initialize": INITIALIZED | {"instructions": "i" * 5_000_000}}))
    assert result.instructions == "i" * opening.INSTRUCTIONS_MAX_CHARS


@pytest.mark.parametrize("bare", [{"instructions": None}, {"serverInfo": None}])
async def test_a_handshake_may_leave_things_out(bare: dict[str, Any]) -> None:
    result = await opened(Script({"initialize": {"protocolVersion": "2025-06-18"} | bare}))
    assert (result.capabilities, result.instructions, bytes(result.server_info)) == ({}, "", b"null")


# -- what is remembered ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "process", "story", "era"),
    [
        (HANDSHAKE, {"initialize": INITIALIZED}, ("fresh", "init", "ok"), Era.HANDSHAKE),
        (BOTH, {"initialize": INITIALIZED}, ("fresh", "init", "ok"), Era.HANDSHAKE),
        (MODERN, {"server/discover": DISCOVERED}, ("fresh", "disc"), Era.MODERN),
    ],
)
async def test_a_remembered_server_is_asked_once(
    known: frozenset[Era], process: dict[str, Any], story: tuple[str, ...], era: Era
) -> None:
    script = Script(process)
    result = await opened(script, known)
    assert script.story == said(*story)
    assert (result.era, result.eras) == (era, known)


@pytest.mark.parametrize("known", [HANDSHAKE, MODERN])
async def test_a_remembered_server_that_refuses_now_is_an_error_not_another_probe(
    known: frozenset[Era],
) -> None:
    script = Script({})
    with pytest.raises(UpstreamAnswered):
        await opened(script, known)
    assert len(script.story) == 2


async def test_what_a_server_of_both_eras_can_in_the_modern_one_is_kept() -> None:
    modern = {"tools": {}, "extensions": {"x.test/y": {"n": 1.0}}}
    both = await opened(
        Script({"server/discover": DISCOVERED | {"capabilities": modern}}, {"initialize": INITIALIZED})
    )
    assert (both.era, both.eras, "extensions" in both.capabilities) == (Era.HANDSHAKE, BOTH, False)
    assert both.modern is not None
    assert bytes(both.modern["extensions"]) == b'{"x.test/y": {"n": 1.0}}'
    assert (await opened(Script({"initialize": INITIALIZED}), HANDSHAKE)).modern is None
