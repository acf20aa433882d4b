"""The HTTP half of the fault catalogue: one row per fault of a remote server, one gateway for all.

Built like `test_faults.py`, whose invariants hold here, too; a remote server leaves no process behind but
connections, so those must be gone once it is switched off (I4). Whatever a server says, nothing of ours
ever arrives at the decoy it points to. `hostile_http.py --modes` explains the modes.
"""

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_faults import (
    CANARY,
    CAPPED,
    DEEP,
    HEALTH_S,
    MIB,
    ODD_SCHEMAS,
    PROMPT_S,
    READY_S,
    RECOVERY_S,
    RSS_SLACK_BYTES,
    SHORT_TIMEOUT,
    STOP_S,
    TOO_DEEP,
    TRANSIENT,
    Case,
    caps_its_instructions,
    declines_what_it_is_asked,
    finishes_under_its_old_name,
    follows_a_changing_list,
    is_bounded,
    is_pressed_in_every_way_at_once,
    is_read_one_way,
    is_restarted_twenty_times_at_once,
    is_switched_off_during_a_call,
    is_switched_off_during_its_start,
    keeps_the_old_list,
    keeps_the_right_answer_once,
    leaves_the_deep_tool_out,
    lists_schemas_as_they_are,
    lists_what_can_be_listed,
    never_ready,
    never_wrong,
    passes_a_result_that_breaks_its_schema,
    reads_the_list_again_once,
    ready_and_works,
    right,
    says_busy_when_its_queue_is_full,
    speaks,
    streams_progress_in_order,
    tells_over_mcp,
    waits_for_a_slow_start,
)
from tests.harness import CERTIFICATES, Gateway, Holdings, Neighbour, Pulse, Remote, hostile, remote, until
from tests.hostile_http import MODES

MODERN = ("--era", "modern")
OLD = ("--transport", "sse")
ON_ACT = ("--on", "act")
ONCE = (*ON_ACT, "--times", "1")
WITHOUT_IDS = ("--event-ids", "0")
PER_CALLER = {"forwardHeaders": ["X-Api-Key"]}
START_SOON = {"startTimeout": 1, "timeout": 2}
RECONNECT_MIN_MS = 400  # between two openings of a stream that ends at once; 1 s less what jitter may take


class RemoteCase(Case):
    """A row at work. What arrived at the server is asked of the server, by a way no mode touches."""

    def __init__(self, gateway: Gateway, server: str, directory: Path, twin: Remote) -> None:
        super().__init__(gateway, server, directory)
        self.twin = twin

    def stats(self) -> dict[str, Any]:
        return self.twin.stats()

    def starts(self) -> int:
        """How many openings reached the server."""
        return int(self.stats()["methods"].get("initialize", 0))

    def received(self, tool: str) -> int:
        return int(self.stats()["calls"].get(tool, 0))

    def is_the_only_one(self) -> None:
        """One link to the server is open. A session whose opening was cut is known to the server alone."""
        until(lambda: self.stats()["openGetStreams"] == 1, STOP_S, "one link is open")


Drive = Callable[[RemoteCase], None]


@dataclass(frozen=True)
class RemoteFault:
    """One row. `url` builds another address than the server's, where the address is the fault."""

    id: str
    name: str
    mode: str
    drive: Drive | Callable[[Case], None]
    options: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    url: Callable[[Remote], str] | None = None
    early: bool = False  # on from the beginning: what it waits for passes while other rows work

    @property
    def server(self) -> str:
        return f"{self.id}-{self.name}".lower()

    def configured(self, twin: Remote) -> dict[str, Any]:
        url = twin.url if self.url is None else self.url(twin)
        return twin.entry | {"url": url, "enabled": self.early} | self.config


# -- what the rows expect -------------------------------------------------------------------------------


def never_reached(*words: str) -> Drive:
    """Trying again may help, so it is tried again; the reason says what is wrong, one of `words` at least."""

    def drive(case: RemoteCase) -> None:
        shown = case.wait("waiting")
        assert any(word in shown["reason"].lower() for word in words), shown["reason"]
        assert shown["nextRetry"] is not None
        case.refuses("unavailable")

    return drive


def is_tried_again(case: RemoteCase) -> None:
    never_reached("refused")(case)
    shown = case.wait_for(lambda shown: shown["attempt"] >= 2, "is tried again")
    assert shown["state"] in ("waiting", "starting", "stopping")


def fails(*words: str) -> Drive:
    """Trying again cannot help."""

    def drive(case: RemoteCase) -> None:
        shown = case.wait("failed")
        assert any(word in shown["reason"] for word in words), shown["reason"]
        assert shown["nextRetry"] is None
        case.refuses("unavailable")

    return drive


def needs_a_login(case: RemoteCase) -> None:
    shown = case.wait("needs login")
    assert "login" in shown["reason"]
    assert shown["nextRetry"] is None
    case.refuses("unavailable")
    before = case.stats()["statuses"]["401"]
    case.refuses("unavailable")
    assert case.stats()["statuses"]["401"] == before, "it is asked again though nobody logged in"
    assert case.shown()["state"] == "needs login"


def loses_its_login_during_a_call(case: RemoteCase) -> None:
    case.wait("ready")
    answer = case.act()
    assert answer.code == "unavailable", answer
    case.wait("needs login")
    assert case.stats()["hits"] == 1


def refuses_one_caller(case: RemoteCase) -> None:
    """A key that a caller brought along is refused: the server goes on for all others, and no log has it."""
    case.wait("ready")
    case.gateway.count(case.server)
    answer = case.gateway.request(
        "POST", f"/api/tools/{case.server}/act", {"text": "x"}, {"X-Api-Key": f"key {CANARY}"}
    )
    assert answer.code == "refused", answer
    assert "401" in answer.json()["detail"]
    assert case.act().code == "refused", "who brings none is refused, too"
    case.works()
    assert case.starts() == 1, "the link is not opened again"
    log = case.gateway.get(f"/api/servers/{case.server}/logs").body
    assert b"no such key" in log
    assert CANARY.encode() not in log


def is_busy_for_one_caller(case: RemoteCase) -> None:
    """Where callers bring keys of their own, a limit is that of one key: nobody else has to wait."""
    case.wait("ready")
    answer = case.act()
    assert (answer.code, answer.headers["retry-after"]) == ("busy", "5"), answer
    case.works()


def uses_its_token(case: RemoteCase) -> None:
    ready_and_works(case)
    assert case.stats()["refusedTokens"] == 0
    for path in ("/api/servers", f"/api/servers/{case.server}", f"/api/servers/{case.server}/logs"):
        assert CANARY.encode() not in case.gateway.get(path).body, path
    assert CANARY not in case.gateway.log.read_text()


def tells_nobody_else(case: RemoteCase) -> None:
    """What was found where, is told by the check after each test (tests/leaks.py)."""
    case.wait("ready")
    assert case.gateway.call(case.server, "act", PROMPT_S).code == "lost"
    log = case.gateway.get(f"/api/servers/{case.server}/logs").body.decode()
    assert "HTTP 500" in log
    assert log.count("•••") >= 2


def lost(*codes: str) -> Drive:
    """The answer to one call is lost: said so at once, never asked for again, and the next one is well."""

    def drive(case: RemoteCase) -> None:
        case.wait("ready")
        answer = case.gateway.call(case.server, "act", PROMPT_S)
        assert answer.code in (codes or ("lost",)), answer
        problem = answer.json()
        assert problem["server"] == case.server
        assert problem["retryable"] is (answer.code in ("busy", "unavailable"))
        assert problem["detail"]
        assert case.stats()["hits"] == 1, "a call that may have run is not tried again"
        case.recovers()

    return drive


def lost_or_right(case: RemoteCase) -> None:
    """What can be read is handed over, what cannot is lost; nothing in between."""
    case.wait("ready")
    answer = case.gateway.call(case.server, "act", PROMPT_S)
    assert answer.code in ("ok", "lost"), answer
    if answer.code == "ok":
        assert answer.text == "right"
    assert case.stats()["hits"] == 1
    case.recovers()


def lost_without_resuming(case: RemoteCase) -> None:
    """The streams of the modern era are not resumed: a broken one is a lost answer."""
    lost()(case)
    assert case.stats()["getStreams"] == []


def times_out(what: str) -> Drive:
    """The call ends by its deadline, and the server is told: by a message, or by hanging up."""

    def drive(case: RemoteCase) -> None:
        case.wait("ready")
        answer = case.act()
        assert (answer.status, answer.code) == (504, "timed_out")
        assert answer.json()["retryable"] is False
        until(lambda: case.stats()[what] == 1, PROMPT_S, "the server is told", lambda: str(case.stats()))
        case.works()
        assert case.stats()["hits"] == 1

    return drive


def cancels_when_its_caller_leaves(what: str) -> Drive:
    def drive(case: RemoteCase) -> None:
        case.wait("ready")
        case.gateway.count(case.server)
        path = f"/api/tools/{case.server}/sleep"
        connection = http.client.HTTPConnection("127.0.0.1", case.gateway.port, timeout=READY_S)
        connection.request("POST", path, b'{"ms":60000}', {"Content-Type": "application/json"})
        until(lambda: case.received("sleep") == 1, PROMPT_S, "the call arrives")
        connection.close()
        until(lambda: case.stats()[what] == 1, PROMPT_S, "the server is told of the cancellation")
        case.works()

    return drive


def says_when_to_come_back(code: str, most_s: int) -> Drive:
    """One call is refused with the server's own word on when to try again; then all is well."""

    def drive(case: RemoteCase) -> None:
        case.wait("ready")
        answer = case.act()
        assert answer.code == code, answer
        assert answer.json()["retryable"] is True
        assert 1 <= int(answer.headers["retry-after"]) <= most_s
        assert case.stats()["hits"] == 1
        # Until then the server is left alone, and callers are told the same without asking it.
        until(lambda: case.act().code == "ok", RECOVERY_S, "the time is over")
        assert case.received("act") == 1

    return drive


def waits_as_told(least_s: float, most_s: float) -> Drive:
    """An opening is refused until later: the next attempt waits as long as the server wishes."""

    def drive(case: RemoteCase) -> None:
        shown = case.wait("waiting")
        left_s = shown["nextRetry"] - time.time()
        assert left_s <= most_s, shown
        # It was read some time after it was set; a busy machine may take its time for that.
        assert left_s > least_s - PROMPT_S, shown
        case.refuses("unavailable")
        assert case.stats()["hits"] <= 4  # one attempt, each of its questions once

    return drive


def comes_back(case: RemoteCase) -> None:
    case.wait("ready", timeout_s=RECOVERY_S)
    case.works()


def is_given_a_rest(case: RemoteCase) -> None:
    """Five failures in a row take the server out; an opening that succeeds brings it back."""
    case.wait("ready")
    for _ in range(5):
        assert case.act().code in TRANSIENT
    case.wait_for(lambda shown: shown["state"] == "waiting" or shown["attempt"] > 0, "is given a rest")
    case.recovers()


def works_whatever_is_closed(case: RemoteCase) -> None:
    """Connections that close between calls are nobody's fault, and nobody notices."""
    case.wait("ready")
    for number in range(10):
        answer = case.call("echo", text=str(number))
        assert answer.code == "ok", answer
        assert answer.text == str(number)


def never_runs_twice(case: RemoteCase) -> None:
    """A connection that dies with a request on it: the call is lost or done, and done once at most."""
    case.wait("ready", timeout_s=RECOVERY_S)
    asked = 10
    codes = [case.call("echo", text="once").code for _ in range(asked)]
    assert set(codes) <= {"ok", *TRANSIENT}, codes
    assert codes.count("ok") <= case.received("echo") <= asked


def loses_fifty_calls(case: RemoteCase) -> None:
    case.wait("ready")
    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(case.call, "sleep", ms=60_000) for _ in range(50)]
        until(lambda: case.received("sleep") == 50, READY_S, "fifty calls run")
        case.twin.stop()
        assert [call.result().code for call in calls] == ["lost"] * 50
    case.twin.start()
    shown = case.recovers()
    assert shown["calls"]["running"] == shown["calls"]["queued"] == 0
    assert case.received("sleep") == 0, "nothing was asked of the new one"


def times_out_while_stopped(case: RemoteCase) -> None:
    """The whole remote process stands still: its connections are open, and nobody answers."""
    case.wait("ready")
    assert case.twin.process is not None
    case.twin.process.send_signal(signal.SIGSTOP)
    try:
        case.refuses("timed_out")
    finally:
        case.twin.process.send_signal(signal.SIGCONT)
    case.recovers()


def drops_a_late_answer(case: RemoteCase) -> None:
    case.wait("ready")
    assert case.act().code == "timed_out"
    for _ in range(12):
        assert case.call("sleep", ms=100).text == "slept"
    assert case.stats()["hits"] == 1


def survives_a_restart_of_the_server(case: RemoteCase) -> None:
    case.wait("ready")
    case.twin.stop()
    answer = case.call("echo", text="anybody there?")
    assert answer.code in TRANSIENT, answer
    case.wait("waiting")
    case.twin.start()
    case.recovers()


def dies_in_a_call(case: RemoteCase) -> None:
    case.wait("ready")
    assert case.call("die").code == "lost"
    case.twin.stop()
    case.twin.start()
    case.recovers()


def does_not_storm(case: RemoteCase) -> None:
    """A stream that ends at once is opened again, later and later; calls do not mind."""
    case.wait("ready")
    until(lambda: len(case.stats()["getStreams"]) >= 3, READY_S, "the stream is opened again")
    case.works()
    assert min(case.stats()["getGapsMs"]) >= RECONNECT_MIN_MS
    assert case.shown()["state"] == "ready"


def renews_its_session(case: RemoteCase) -> None:
    """404 says that the call was not taken: a new session begins, and the call is made in it."""
    case.wait("ready")
    opened = case.stats()["sessionsOpened"]
    assert case.act().text == "right"
    seen = case.stats()
    assert seen["sessionsOpened"] == opened + 1
    assert seen["calls"]["act"] == 1
    case.works()


def renews_its_session_once_for_all(case: RemoteCase) -> None:
    case.wait("ready")
    opened = case.stats()["sessionsOpened"]
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(case.call, "sleep", ms=60_000) for _ in range(3)]
        until(lambda: case.received("sleep") == 3, PROMPT_S, "three calls run")
        assert case.act().text == "right"
        # Their connections were cut while they ran: nobody knows what became of them.
        assert [call.result(PROMPT_S).code for call in calls] == ["lost"] * 3
    seen = case.stats()
    assert seen["sessionsOpened"] == opened + 1
    assert seen["calls"]["sleep"] == 3
    case.works()


def gives_up_on_sessions_that_never_last(case: RemoteCase) -> None:
    case.wait("ready")
    opened = case.stats()["sessionsOpened"]
    answer = case.gateway.call(case.server, "act", PROMPT_S)
    assert answer.code in TRANSIENT, answer
    assert case.received("act") == 0
    assert case.stats()["sessionsOpened"] <= opened + 2
    case.recovers()


def settles(case: RemoteCase) -> None:
    """Usable or not, it is known which, and why."""
    shown = case.wait("ready", "waiting", "failed")
    if shown["state"] == "ready":
        case.works()
    else:
        assert shown["reason"]


def hands_over_fifty_megabytes(case: RemoteCase) -> None:
    case.wait("ready")
    before = case.gateway.holdings().rss_bytes
    answer = case.act()
    assert answer.code == "ok", answer.body[:300]
    artifact = answer.json()["_meta"]["mcp-gateway/artifact"]
    assert len(answer.body) < MIB
    assert case.gateway.get(artifact["url"]).body.count(b"b") >= 50_000_000
    assert case.gateway.holdings().rss_bytes - before < 2 * RSS_SLACK_BYTES
    case.works()


def ends_at_the_cap(case: RemoteCase) -> None:
    case.wait("ready")
    before = case.gateway.holdings().rss_bytes
    answer = case.gateway.call(case.server, "act", PROMPT_S)
    assert answer.code == "lost", answer.body[:300]
    case.recovers()
    assert case.gateway.holdings().rss_bytes - before < RSS_SLACK_BYTES


def sees_a_new_tool(case: RemoteCase) -> None:
    case.wait("ready")
    # The change is announced on the stream of the server, which opens a moment after it is ready.
    until(lambda: case.stats()["openGetStreams"] == 1, PROMPT_S, "the server's stream is open")
    before = case.shown()["tools"]
    assert case.act().text == "right"
    case.wait_for(lambda shown: shown["tools"] == before + 1, "has one tool more")


def answers_on_the_right_stream_only(case: RemoteCase) -> None:
    """An answer out of the blue, on a stream where none belongs, is not the answer to a call."""
    case.wait("ready")
    until(lambda: case.stats()["openGetStreams"] == 1, PROMPT_S, "the server's stream is open")
    answer = case.act()
    assert answer.code in ("timed_out", "ok")
    if answer.code == "ok":
        assert answer.text == "WRONG"  # it named the right id; a gateway may believe that
    case.works()


def declines_what_it_can(case: RemoteCase) -> None:
    """More is asked than can be told apart from an attack; what is declined is declined, and all goes on."""
    case.wait("ready")
    assert case.act().code in ("ok", "timed_out")
    case.works()


def lists_only_tools_with_valid_headers(case: RemoteCase) -> None:
    case.wait("ready")
    names = {tool["name"] for tool in case.gateway.get(f"/api/tools?server={case.server}").json()["tools"]}
    assert names == {"echo", "mirrored", "header-nested"}
    case.works()


def repeats_arguments_in_headers(case: RemoteCase) -> None:
    case.wait("ready")
    arguments = {"region": "süd ", "limit": 7, "dry": True, "text": "x"}
    shown = json.loads(case.call("mirrored", **arguments).text)
    assert shown == {
        "mcp-param-region": "=?base64?c8O8ZCA=?=",
        "mcp-param-limit": "7",
        "mcp-param-dry-run": "true",
    }
    assert json.loads(case.call("mirrored", text="none of them").text) == {}
    assert case.act().text == "right"  # from here on another header is wanted
    shown = json.loads(case.call("mirrored", **arguments).text)
    assert shown.keys() == {"mcp-param-zone", "mcp-param-limit", "mcp-param-dry-run"}
    assert case.stats()["calls"]["mirrored"] == 3, "what was refused by its headers was not run"


def forwards_nothing_of_its_caller(case: RemoteCase) -> None:
    case.wait("ready")
    headers = {"Cookie": CANARY, "X-Api-Key": CANARY, "Traceparent": CANARY, "Last-Event-ID": CANARY}
    headers |= {"Mcp-Session-Id": CANARY, "Mcp-Param-Region": CANARY}
    case.gateway.count(case.server)
    answer = case.gateway.request(
        "POST", f"/api/tools/{case.server}/echo", {"text": "x"}, {"User-Agent": CANARY, **headers}
    )
    assert answer.status == 200
    assert CANARY not in json.dumps(case.stats()["headers"])


def speaks_properly(case: RemoteCase) -> None:
    """What the revisions ask of a client, as seen by the server."""
    case.wait("ready")
    case.works()
    case.gateway.switch(case.server, False)
    case.wait("off", timeout_s=STOP_S)
    seen = case.stats()
    assert seen["sessionsOpened"] == seen["sessionsDeleted"] > 0
    assert seen["withoutVersion"] == seen["otherVersion"] == seen["sessionsUnknown"] == 0
    call = seen["headers"]["tools/call echo"]
    assert {part.strip() for part in call["accept"].split(",")} >= {"application/json", "text/event-stream"}
    assert call["content-type"] == "application/json"
    assert "accept-encoding" not in call or call["accept-encoding"] == "identity"
    assert seen["methods"]["notifications/initialized"] == 1


# -- addresses that are the fault -----------------------------------------------------------------------


def refused(twin: Remote) -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/mcp"


def unknown_name(twin: Remote) -> str:
    return "http://no-such-host.invalid/mcp"


def no_name(twin: Remote) -> str:
    return "http://a..b/mcp"


def tls_to_plain(twin: Remote) -> str:
    return twin.url.replace("http:", "https:")


def plain_to_tls(twin: Remote) -> str:
    return twin.url.replace("https:", "http:")


def not_found(twin: Remote) -> str:
    return twin.url.replace("/mcp", "/elsewhere")


EXPIRED, ELSEWHERE, TRUSTED = (("--tls", name) for name in ("expired", "elsewhere", "good"))
TOKEN = ("--token", CANARY)
BEARER = {"headers": {"Authorization": f"Bearer {CANARY}"}}
RIGHT_STREAMS = (
    *("sse-crlf", "sse-cr", "sse-mixed", "sse-lines", "sse-no-space", "sse-comments", "sse-fields"),
    *("sse-odd-id", "sse-other-event", "sse-bom", "sse-charset", "sse-drip", "sse-two-answers", "poll"),
    *("cut-and-resume", "json-charset", "informational", "drip"),
)
CUT = (
    *("cut-event", "reset-event", "cut-after-progress", "sse-no-result", "sse-no-blank", "cut-body"),
    *("short-body", "bad-chunk", "bad-chunk-later", "reset", "hang-up"),
)
NONSENSE = (
    *("html", "empty", "empty-json", "accepted", "no-content", "not-http", "bad-json", "not-utf8"),
    *("odd-encoding", "huge-headers", "huge-header", "batch", "neither", "nan", "unknown-id"),
)

SLOW = ("--delay-ms", "5000")


def id_of(mode: str, otherwise: str) -> str:
    """The fault that a mode injects."""
    return MODES[mode][0].partition(" ")[0] or otherwise


FAULTS = (
    # Good servers of every kind
    RemoteFault("F000", "handshake", "good", speaks("2025-11-25"), ("--answers", "sse")),
    RemoteFault("F000", "handshake-json", "good", ready_and_works, ("--answers", "json")),
    RemoteFault("F000", "old-revision", "good", speaks("2025-03-26"), ("--revision", "2025-03-26")),
    RemoteFault("F000", "modern", "good", speaks("2026-07-28"), MODERN),
    RemoteFault("F000", "modern-sse", "good", ready_and_works, (*MODERN, "--answers", "sse")),
    RemoteFault("F000", "both-eras", "good", speaks("2025-11-25"), ("--era", "dual")),
    RemoteFault("F000", "no-session", "good", ready_and_works, ("--sessions", "0", "--get", "0")),
    RemoteFault("F000", "old-transport", "good", ready_and_works, OLD),
    RemoteFault("F000", "old-transport-named", "good", ready_and_works, OLD, {"type": "sse"}),
    RemoteFault("F000", "old-transport-404", "good", ready_and_works, (*OLD, "--sse-post", "404")),
    RemoteFault("F000", "old-transport-400", "good", ready_and_works, (*OLD, "--sse-post", "400")),
    RemoteFault("F000", "old-transport-absolute", "good", ready_and_works, (*OLD, "--endpoint", "absolute")),
    RemoteFault("F000", "old-transport-path", "good", ready_and_works, (*OLD, "--endpoint", "path")),
    RemoteFault("F000", "manners", "good", speaks_properly),
    RemoteFault("F000", "tls", "good", ready_and_works, TRUSTED),
    RemoteFault("F000", "token", "good", uses_its_token, TOKEN, BEARER),
    RemoteFault("F000", "caller-headers", "good", forwards_nothing_of_its_caller),
    # What child processes have in common with remote ones
    RemoteFault("F007", "dies-with-fifty-calls", "good", loses_fifty_calls),
    RemoteFault("F010", "slow-start", "slow-open", waits_for_a_slow_start, ("--delay-ms", "1500")),
    RemoteFault("F018", "frozen", "good", times_out_while_stopped, (), SHORT_TIMEOUT),
    RemoteFault("F023", "off-during-start", "slow-open", is_switched_off_during_its_start, SLOW),
    RemoteFault("F023", "off-during-call", "good", is_switched_off_during_a_call),
    RemoteFault("F023", "pressed-in-every-way", "good", is_pressed_in_every_way_at_once),
    RemoteFault("F024", "restart-pressed-often", "good", is_restarted_twenty_times_at_once),
    # Streams and messages
    RemoteFault("F057", "teller", "tell", tells_nobody_else),
    *(RemoteFault(id_of(mode, "F033"), mode, mode, right(), ("--pace-ms", "1")) for mode in RIGHT_STREAMS),
    RemoteFault("F031", "sse-garbage", "sse-garbage", right(garbage=True)),
    RemoteFault("F031", "get-garbage", "get-garbage", ready_and_works),
    RemoteFault("F040", "deep-result", "deep-reply", never_wrong("lost", "timed_out")),
    RemoteFault("F041", "duplicate-keys", "duplicate-keys", is_read_one_way),
    RemoteFault("F041", "huge-int", "huge-int", never_wrong("ok", "lost")),
    RemoteFault("F041", "half-a-document-on-sse", "sse-bad-json", lost(), ON_ACT),
    RemoteFault("F042", "batch-on-sse", "batch", never_wrong("ok", "lost"), ("--answers", "sse")),
    RemoteFault("F043", "strangers-on-sse", "unknown-id", right(), ("--answers", "sse")),
    RemoteFault("F044", "id-as-text", "string-id", never_wrong("ok", "lost", "timed_out"), (), SHORT_TIMEOUT),
    RemoteFault("F045", "two-answers", "duplicate-reply", lost_or_right),
    RemoteFault(
        "F045", "two-answers-sse", "duplicate-reply", keeps_the_right_answer_once, ("--answers", "sse")
    ),
    RemoteFault("F046", "result-and-error", "both", never_wrong("ok", "lost")),
    RemoteFault("F046", "result-then-error", "result-then-error", lost_or_right),
    RemoteFault("F046", "odd-result", "odd-result", never_wrong("lost")),
    RemoteFault("F046", "odd-error", "odd-error", never_wrong("lost")),
    RemoteFault("F047", "never-answers", "never", times_out("cancelled"), (), SHORT_TIMEOUT),
    RemoteFault("F047", "answers-in-time", "slow", right(), ("--delay-ms", "200"), SHORT_TIMEOUT),
    RemoteFault("F047", "never-answers-modern", "never", times_out("hungUp"), MODERN, SHORT_TIMEOUT),
    RemoteFault("F047", "never-answers-old", "never", times_out("cancelled"), OLD, SHORT_TIMEOUT),
    RemoteFault("F048", "answers-late", "late", drops_a_late_answer, (), SHORT_TIMEOUT),
    RemoteFault("F049", "caller-leaves", "good", cancels_when_its_caller_leaves("cancelled")),
    RemoteFault("F049", "caller-leaves-modern", "good", cancels_when_its_caller_leaves("hungUp"), MODERN),
    RemoteFault("F050", "odd-progress", "odd-progress", streams_progress_in_order(10)),
    RemoteFault("F051", "log-flood", "log-flood", right()),
    RemoteFault("F051", "log-flood-on-get", "log-flood-on-get", right()),
    RemoteFault("F052", "list-storm", "list-storm", reads_the_list_again_once),
    RemoteFault("F052", "list-storm-on-get", "list-storm-on-get", reads_the_list_again_once),
    RemoteFault("F052", "new-tool", "new-tool", sees_a_new_tool, early=True),
    RemoteFault("F053", "asks-the-client", "ask", declines_what_it_is_asked),
    RemoteFault("F053", "asks-on-get", "ask-on-get", declines_what_it_is_asked),
    RemoteFault("F053", "asks-old", "ask", declines_what_it_is_asked, OLD),
    RemoteFault("F054", "asks-a-thousand-times", "ask-flood", declines_what_it_can, ("--count", "1000")),
    RemoteFault("F054", "asks-often-on-get", "ask-flood-on-get", declines_what_it_can, ("--count", "1000")),
    # The handshake and lists
    RemoteFault("F059", "wrong-version", "init-wrong-version", never_ready("1999-12-31"), early=True),
    RemoteFault("F059", "error", "init-error", never_ready("no licence found"), early=True),
    RemoteFault("F059", "silence", "init-silent", never_ready("1 s"), config=START_SOON, early=True),
    RemoteFault("F059", "empty-result", "init-empty", never_ready("initialize"), early=True),
    RemoteFault(
        "F059", "result-is-a-list", "init-not-object", never_ready("initialize", "result"), early=True
    ),
    RemoteFault("F059", "odd-types", "init-odd-types", never_ready("initialize"), early=True),
    RemoteFault("F059", "long-instructions", "init-huge", caps_its_instructions),
    *(
        RemoteFault("F060", mode, mode, ready_and_works, early=True)
        for mode in ("discover-empty", "discover-odd-error", "discover-odd-result", "discover-null-id")
    ),
    *(
        RemoteFault("F060", f"discover-{status}", "good", ready_and_works, ("--discover", str(status)))
        for status in (200, 404, 405, 500)
    ),
    RemoteFault("F060", "discover-silence", "discover-silent", ready_and_works, early=True),
    RemoteFault("F061", "breaks-output-schema", "bad-output", passes_a_result_that_breaks_its_schema),
    RemoteFault("F062", "fifty-thousand-tools", "list-many", is_bounded(2_000)),
    RemoteFault("F063", "endless-cursor", "cursor-endless", is_bounded(2_000)),
    RemoteFault("F063", "same-cursor", "cursor-same", is_bounded(1)),
    RemoteFault("F064", "list-refused", "list-error", never_ready("the list is gone"), early=True),
    RemoteFault("F064", "list-refused-later", "list-fails-later", keeps_the_old_list, early=True),
    RemoteFault("F064", "page-two-refused", "page-two-fails", keeps_the_old_list, early=True),
    RemoteFault("F065", "changing", "list-churn", follows_a_changing_list, ("--tools", "2"), early=True),
    RemoteFault("F066", "renamed", "rename", finishes_under_its_old_name, ("--tools", "1"), early=True),
    *(RemoteFault(id, mode, mode, lists_schemas_as_they_are, ("--tools", "2")) for id, mode in ODD_SCHEMAS),
    RemoteFault("F071", "deep", "schema-deep", leaves_the_deep_tool_out, DEEP),
    RemoteFault("F071", "too-deep", "schema-deep", never_ready("nested too deep"), TOO_DEEP, early=True),
    RemoteFault("F073", "list-is-no-array", "list-not-array", never_ready("tools"), early=True),
    RemoteFault("F074", "odd-tools", "list-odd-tools", lists_what_can_be_listed),
    RemoteFault("F075", "invalid-headers", "header-invalid", lists_only_tools_with_valid_headers, MODERN),
    RemoteFault("F075", "changing-headers", "header-shift", repeats_arguments_in_headers, MODERN),
    # D. The remote server
    RemoteFault("F076", "refused", "good", is_tried_again, url=refused, early=True),
    RemoteFault(
        "F076", "unknown-name", "good", never_reached("no-such-host.invalid"), url=unknown_name, early=True
    ),
    RemoteFault("F076", "no-name", "good", never_reached("a..b"), url=no_name, early=True),
    RemoteFault("F076", "expired", "good", never_reached("expired"), EXPIRED, early=True),
    RemoteFault(
        "F076", "wrong-host", "good", never_reached("mismatch", "not valid for"), ELSEWHERE, early=True
    ),
    RemoteFault("F076", "tls-to-plain", "good", never_reached("secure"), url=tls_to_plain, early=True),
    RemoteFault(
        "F076",
        "plain-to-tls",
        "good",
        never_reached("closed", "broke", "http"),
        TRUSTED,
        url=plain_to_tls,
        early=True,
    ),
    RemoteFault("F076", "not-found", "good", never_ready("404"), url=not_found, early=True),
    RemoteFault("F077", "no-accept", "no-accept", never_reached("connection"), early=True),
    RemoteFault("F077", "blackhole", "blackhole", never_ready("1 s"), config=START_SOON, early=True),
    *(
        RemoteFault("F077", f"{mode}-in-a-call", mode, times_out("cancelled"), ON_ACT, SHORT_TIMEOUT)
        for mode in ("blackhole", "slow-headers", "stall")
    ),
    RemoteFault("F077", "no-address", "endpoint-none", never_ready("1 s"), OLD, START_SOON, early=True),
    *(
        RemoteFault("F078", mode, mode, needs_a_login)
        for mode in ("unauthorized", "unauthorized-bare", "unauthorized-hostile", "unauthorized-loop")
    ),
    RemoteFault("F078", "unauthorized-old", "unauthorized", needs_a_login, OLD, {"type": "sse"}),
    RemoteFault("F078", "wrong-token", "good", needs_a_login, ("--token", "another"), BEARER),
    RemoteFault("F078", "login-ends", "unauthorized", loses_its_login_during_a_call, ON_ACT),
    RemoteFault("F078", "key-refused", "key-refused", refuses_one_caller, (), PER_CALLER),
    RemoteFault("F078", "key-refused-old", "key-refused", refuses_one_caller, OLD, PER_CALLER),
    RemoteFault("F078", "forbidden", "forbidden", never_ready("403"), early=True),
    RemoteFault("F078", "forbidden-in-a-call", "forbidden", lost("lost", "unavailable"), ON_ACT),
    *(
        RemoteFault("F079", f"redirect-{code}", f"redirect-{code}", never_ready(str(code)), early=True)
        for code in (302, 307)
    ),
    RemoteFault("F079", "redirect-308", "redirect-308", fails("308")),
    RemoteFault("F079", "redirect-to-itself", "redirect-same", never_ready("307"), early=True),
    *(
        RemoteFault("F079", f"redirect-{code}-in-a-call", f"redirect-{code}", lost(), ON_ACT)
        for code in (302, 307)
    ),
    *(
        RemoteFault("F079", mode, mode, fails("origin"), OLD)
        for mode in ("endpoint-foreign", "endpoint-scheme", "endpoint-protocol-relative")
    ),
    RemoteFault("F079", "endpoint-twice", "endpoint-twice", ready_and_works, OLD),
    RemoteFault("F079", "endpoint-empty", "endpoint-empty", settles, OLD, early=True),
    RemoteFault("F080", "busy-in-a-call", "busy", says_when_to_come_back("busy", 1), ONCE),
    RemoteFault(
        "F080",
        "busy-for-one-caller",
        "busy",
        is_busy_for_one_caller,
        (*ON_ACT, "--retry-after", "5"),
        PER_CALLER,
    ),
    RemoteFault(
        "F080",
        "unavailable-in-a-call",
        "unavailable",
        says_when_to_come_back("unavailable", 2),
        (*ONCE, "--retry-after", "date:2"),
    ),
    RemoteFault("F080", "unavailable", "unavailable", waits_as_told(30, 31), ("--retry-after", "30")),
    RemoteFault(
        "F080",
        "unavailable-till",
        "unavailable",
        waits_as_told(30, 31),
        ("--retry-after", "date:30"),
    ),
    RemoteFault("F080", "busy-for-a-day", "busy", waits_as_told(60, 61), ("--retry-after", "86400")),
    RemoteFault("F080", "busy-for-odd", "busy", never_ready("429"), ("--retry-after", "soon"), early=True),
    RemoteFault("F080", "busy-at-first", "busy", comes_back, ("--times", "2")),
    RemoteFault("F080", "error-at-first", "status", comes_back, ("--times", "3")),
    RemoteFault("F080", "error-in-a-call", "status", lost(), ONCE),
    RemoteFault("F080", "errors", "status", is_given_a_rest, ON_ACT),
    *(RemoteFault(id_of(mode, "F081"), f"{mode}-in-a-call", mode, lost(), ON_ACT) for mode in NONSENSE),
    *(
        RemoteFault(id_of(mode, "F081"), mode, mode, lost_or_right)
        for mode in ("wrong-type", "no-type", "gzip", "long-body")
    ),
    RemoteFault("F081", "html", "html", never_ready("text/html", "not with MCP"), early=True),
    RemoteFault("F081", "not-http", "not-http", never_reached("http"), early=True),
    RemoteFault("F081", "gzip-bomb", "gzip-bomb", ends_at_the_cap),
    RemoteFault("F034", "fifty-megabytes", "huge-body", hands_over_fifty_megabytes),
    RemoteFault("F034", "fifty-megabytes-sse", "sse-huge", hands_over_fifty_megabytes),
    RemoteFault("F034", "above-the-cap", "huge-body", ends_at_the_cap, ("--bytes", str(3 * MIB)), CAPPED),
    RemoteFault("F035", "endless", "endless-body", ends_at_the_cap, ("--bytes", str(64 * MIB)), CAPPED),
    RemoteFault("F035", "endless-sse", "sse-endless", ends_at_the_cap, ("--bytes", str(64 * MIB)), CAPPED),
    *(RemoteFault("F082", mode, mode, lost(), (*ON_ACT, *WITHOUT_IDS)) for mode in CUT),
    *(RemoteFault("F082", f"{mode}-modern", mode, lost_without_resuming, (*MODERN, *ON_ACT)) for mode in CUT),
    RemoteFault("F082", "cut-event-old", "cut-event", lost(), OLD),
    RemoteFault(
        "F082", "answer-on-get", "answer-on-get", answers_on_the_right_stream_only, (), SHORT_TIMEOUT
    ),
    RemoteFault("F082", "idle-close", "idle-close", works_whatever_is_closed),
    RemoteFault("F082", "stale-keepalive", "stale-keepalive", never_runs_twice),
    RemoteFault("F082", "restart", "good", survives_a_restart_of_the_server),
    RemoteFault("F006", "dies", "good", dies_in_a_call),
    RemoteFault("F082", "get-ends", "get-ends", does_not_storm, early=True),
    RemoteFault("F082", "get-cut", "get-cut", does_not_storm, early=True),
    RemoteFault("F082", "listen-ends", "listen-ends", ready_and_works, MODERN),
    RemoteFault("F082", "listen-cut", "listen-cut", ready_and_works, MODERN),
    RemoteFault("F083", "session-lost", "session-lost", renews_its_session, ONCE),
    RemoteFault("F083", "all-sessions-lost", "sessions-lost", renews_its_session_once_for_all, ONCE),
    RemoteFault("F083", "sessions-never-last", "session-lost", gives_up_on_sessions_that_never_last),
    *(
        RemoteFault("F083", mode, mode, settles, early=True)
        for mode in ("session-not-ascii", "session-with-spaces", "session-empty", "session-huge")
    ),
    RemoteFault("F084", "heartbeats", "heartbeats", times_out("cancelled"), (), SHORT_TIMEOUT),
    RemoteFault(
        "F084", "progress", "progress-forever", times_out("cancelled"), (), {"timeout": 1, "maxTimeout": 1}
    ),
    RemoteFault(
        "F090", "queue-full", "good", says_busy_when_its_queue_is_full, (), {"concurrency": 2, "queue": 2}
    ),
)


# -- the gateway all rows share -------------------------------------------------------------------------


@dataclass
class House:
    gateway: Gateway
    neighbour: Neighbour
    pulse: Pulse
    twins: dict[str, Remote]
    directory: Path
    at_rest: Holdings  # what the gateway held before the first fault
    reasons: dict[str, str]  # of the rows that say why they are down


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("remote-faults")
    twins = {fault.server: remote(fault.mode, *fault.options) for fault in FAULTS}
    assert len(twins) == len(FAULTS), "two rows share a name"
    good = remote("good")
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Remote.start, [good, *twins.values()]))
        servers = {fault.server: fault.configured(twins[fault.server]) for fault in FAULTS}
        trust = {"SSL_CERT_FILE": str(CERTIFICATES / "ca.pem")}
        gateway = Gateway(
            {"good": good.entry, "child": hostile("good")} | servers, root / "gateway", environment=trust
        )
        with gateway:
            gateway.wait_for_state("good", "ready")
            assert gateway.call("good", "echo", text="first").text == "first"
            at_rest = gateway.holdings()
            with Neighbour(gateway, "good") as neighbour, Pulse(gateway) as pulse:
                yield House(gateway, neighbour, pulse, twins, root, at_rest, {})
    finally:
        for twin in (good, *twins.values()):
            twin.stop()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.id}-{fault.name}")
def test_a_remote_fault_ends_typed_and_leaves_neighbours_alone(house: House, fault: RemoteFault) -> None:
    gateway, neighbour, pulse, twin = house.gateway, house.neighbour, house.pulse, house.twins[fault.server]
    case = RemoteCase(gateway, fault.server, house.directory, twin)
    answered = neighbour.answered
    neighbour.worst_s = pulse.worst_s = 0.0
    gateway.switch(fault.server, True)
    try:
        fault.drive(case)
        house.reasons[fault.server] = case.shown()["reason"] or ""
    finally:
        gateway.switch(fault.server, False)
        gateway.wait_for_state(fault.server, "off", timeout_s=STOP_S)
    until(lambda: twin.stats()["openConnections"] == 0, PROMPT_S, "no connection to the server is left")
    assert twin.stats()["decoyConnections"] == 0, "something went where the server pointed"
    gateway.check_records(fault.server)
    until(lambda: neighbour.answered > answered, PROMPT_S, "the neighbour is answered")
    print(f"slowest: the neighbour {neighbour.worst_s * 1000:.0f} ms, /health {pulse.worst_s * 1000:.0f} ms")
    assert neighbour.failures == []
    assert neighbour.worst_s < PROMPT_S, "the neighbour had to wait"
    assert pulse.failures == []
    assert pulse.worst_s < HEALTH_S, "the event loop was held"


# One of each kind that a caller can be told, and of each kind of server.
OVER_MCP = {
    "F000-modern": "ok",
    "F000-old-transport": "ok",
    "F047-never-answers": "timed_out",
    "F076-refused": "unavailable",
    "F081-html-in-a-call": "lost",
    "F082-cut-event": "lost",
    "F082-cut-event-modern": "lost",
    "F082-cut-event-old": "lost",
}


@pytest.mark.parametrize(("row", "kind"), OVER_MCP.items(), ids=list(OVER_MCP))
def test_a_client_over_mcp_is_told_the_same(house: House, row: str, kind: str) -> None:
    tells_over_mcp(house.gateway, row.lower(), kind)


def test_each_cause_of_being_out_of_reach_has_a_sentence_of_its_own(house: House) -> None:
    """F076: a person reads the reason and knows what to mend."""
    causes = [fault.server for fault in FAULTS if fault.id == "F076" and fault.server in house.reasons]
    sentences = {server: re.sub(r"[0-9]+", "N", house.reasons[server]) for server in causes}
    assert len(set(sentences.values())) == len(sentences), sentences


def test_after_all_remote_faults_the_gateway_holds_what_it_held_before(house: House) -> None:
    gateway = house.gateway

    def is_at_rest() -> bool:
        now = gateway.holdings()
        # The neighbour's connections come and go, the gateway's own to its server included.
        return now.files <= house.at_rest.files + 6 and now.children <= house.at_rest.children

    until(is_at_rest, 10, "files and children are back", lambda: f"{house.at_rest} {gateway.holdings()}")
    now = gateway.holdings()
    assert now.threads <= house.at_rest.threads + 32
    assert now.rss_bytes - house.at_rest.rss_bytes < 2 * RSS_SLACK_BYTES
    gateway.check_told("good")


def test_no_remote_fault_made_the_gateway_stumble(house: House) -> None:
    log = house.gateway.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert "never retrieved" not in log
    assert "Unclosed" not in log
