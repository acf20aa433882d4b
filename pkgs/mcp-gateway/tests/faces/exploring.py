"""Lets schemathesis ask a gateway everything its `/openapi.json` allows, and much that it does not.

Owns the configuration of the tool, the run and what was found; knows nothing of what the answers should be
beyond the document and the shape of an error. Uses the tool's engine, which its command line drives, too:
its decorators for a document that comes from a fixture need members that pytest 9.2 no longer has.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import schemathesis
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema

from tests.faces.knocking import check_problem
from tests.harness import ANSWER_TIMEOUT_S, Answer, Gateway

STREAM: Final = "text/event-stream"
PAUSE_S: Final = 0.05  # between two calls of the bustle: how long a reader of a live stream waits
CALL: Final = "POST /api/tools/{server}/{tool}"
CALL_TOOL_API: Final = "POST /tools/{server}/{tool}"
TRIM: Final = "PATCH /api/tools/{server}/{tool}"
TRIM_MANY: Final = "PATCH /api/tools"
SWITCH: Final = "PATCH /api/servers/{server}"
RESTART: Final = "POST /api/servers/{server}/restart"
MAKE: Final = "POST /api/keys"
END: Final = "DELETE /api/sign-ins/{id}"
LOOK: Final = "POST /api/servers/check"
CLOSE: Final = "DELETE /api/sessions/{id}"
REVOKE: Final = "DELETE /api/keys/{id}"
READ: Final = "GET /api/resources/{server}"
GET: Final = "POST /api/prompts/{server}/{prompt}"
LINK: Final = "GET /api/openwebui/functions/{server}.py"
FILE: Final = "GET /api/files/{ticket}"
SIGN_IN: Final = "POST /api/sign-in"
ASK_OPEN_WEBUI: Final = "POST /api/openwebui/check"
CONNECT_OPEN_WEBUI: Final = "POST /api/openwebui/connections"
ARTIFACTS: Final = ("GET /api/artifacts/{id}", "HEAD /api/artifacts/{id}")


@dataclass(frozen=True)
class Known:
    """What exists, so that not every request ends at an id that does not. Each is drawn at `share`."""

    servers: tuple[str, ...]
    switched: tuple[str, ...]  # the only servers that are switched and restarted,
    trimmed: tuple[str, ...]  # and the only ones whose tools are: those of a server that is off are unknown
    tools: tuple[str, ...]
    calls: tuple[str, ...]
    artifacts: tuple[str, ...]
    keys: tuple[str, ...]
    shelves: tuple[str, ...]  # servers with resources and prompts
    uris: tuple[str, ...]
    prompts: tuple[str, ...]
    sessions: tuple[str, ...]
    sign_ins: tuple[str, ...] = ()
    share: float = 0.7


@dataclass
class Found:
    """What a run met, by operation as `GET /api/servers`."""

    failures: list[str] = field(default_factory=list)
    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    # of what was asked of the same paths by other methods
    others: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    kinds: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def asked(self) -> set[str]:
        return set(self.statuses)

    def answered(self, label: str, *statuses: int) -> bool:
        return all(self.statuses[label][status] for status in statuses)

    def succeeded(self) -> set[str]:
        return {label for label, seen in self.statuses.items() if any(status < 300 for status in seen)}


def config(
    known: Known,
    examples: int,
    headers: Mapping[str, str],
    *only: str,
    credentials: bool = False,
    unchecked: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The tool's configuration, as in its own file; for all operations, or for these `only`.

    Nothing is left to chance, kept on disk or learnt. With `credentials` it makes up some.
    """
    names: tuple[str, ...] = ("servers", "switched", "trimmed", "tools", "calls", "artifacts", "keys")
    names += ("sessions", "shelves", "uris", "prompts", "sign_ins")

    def drawn(name: str) -> dict[str, Any]:
        return {"dictionary": name, "probability": known.share}

    def drawing(name: str, *labels: str, parameter: str = "path.server") -> dict[str, Any]:
        return {"include-name": list(labels), "parameters": {parameter: drawn(name)}}

    def expecting(check: str, label: str, *more: str) -> dict[str, Any]:
        return {"include-name": label, "checks": {check: {"expected-statuses": ["2xx", "4xx", *more]}}}

    unlearned = {"extra-data-sources": {"responses": False}}  # or it would switch every server it hears of
    return {
        "continue-on-failure": True,
        "request-timeout": ANSWER_TIMEOUT_S,
        # Live streams never end; the bustle sees to it that something comes on each.
        "max-stream-events": 1,
        "headers": dict(headers),
        "checks": {name: {"enabled": False} for name in unchecked},
        "cache": {"enabled": False},
        "auth": {"auto-signup": False},
        "generation": {
            "deterministic": True,
            "database": "none",
            "max-examples": examples,
            "with-security-parameters": credentials,
        },
        "phases": {
            "examples": unlearned,
            "coverage": unlearned | {"generate-duplicate-query-parameters": True},
            "fuzzing": unlearned | {"error-feedback": {"enabled": False}},
            "stateful": {"enabled": False},
        },
        "dictionaries": {name: {"values": list(getattr(known, name)) or ["none"]} for name in names},
        "parameters": {
            "path.server": drawn("servers"),
            "path.tool": drawn("tools"),
            "path.id": drawn("calls"),
        },
        "operations": [
            *([{"exclude-name": list(only), "enabled": False}] if only else []),
            drawing("switched", SWITCH, RESTART),
            drawing("trimmed", TRIM),
            {
                "include-name": [READ],
                "parameters": {"path.server": drawn("shelves"), "query.uri": drawn("uris")},
            },
            {
                "include-name": [GET],
                "parameters": {"path.server": drawn("shelves"), "path.prompt": drawn("prompts")},
            },
            drawing("artifacts", *ARTIFACTS, parameter="path.id"),
            drawing("keys", REVOKE, parameter="path.id"),
            drawing("sessions", CLOSE, parameter="path.id"),
            drawing("sign_ins", END, parameter="path.id"),
            # A cursor is whatever an earlier page gave; no schema says what that is.
            expecting("positive_data_acceptance", "GET /api/calls"),
            # The end of a time comes after its beginning, and now may be neither.
            expecting("positive_data_acceptance", "GET /api/stats"),
            # Which name, pattern or day makes sense is more than a schema can say.
            expecting("positive_data_acceptance", MAKE),
            # Nor which text is a server.
            expecting("positive_data_acceptance", LOOK),
            # Nor which is the address of an Open WebUI; and none is there.
            expecting("positive_data_acceptance", ASK_OPEN_WEBUI),
            {
                "include-name": CONNECT_OPEN_WEBUI,
                "checks": {
                    "positive_data_acceptance": {"expected-statuses": ["2xx", "4xx", "503"]},
                    "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "502", "503", "504"]},
                },
            },
            # Some servers are down, and time may be up; that is no fault of the gateway.
            *(
                expecting("not_a_server_error", label, "502", "503", "504")
                for label in (CALL, CALL_TOOL_API, READ, GET)
            ),
        ],
    }


def explore(
    gateway: Gateway,
    settings: Mapping[str, Any],
    headers: Mapping[str, str],
    document: str = "/openapi.json",
) -> Found:
    """Asks what the settings say; `headers` are those that get the document itself."""
    schema = schemathesis.openapi.from_url(
        f"http://127.0.0.1:{gateway.port}{document}",
        config=schemathesis.Config.from_dict(dict(settings)),
        headers=dict(headers),
    )
    found = Found()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _take(found, event)
        elif isinstance(event, events.NonFatalError):
            found.failures.append(f"{event.label}: {event.info.title}: {event.info.message}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return found


def _take(found: Found, scenario: events.ScenarioFinished) -> None:
    recorder = scenario.recorder
    for case_id, asked in recorder.interactions.items():
        label, answer = recorder.cases[case_id].value.operation.label, asked.response
        assert answer is not None, f"{label}: {asked.request.method} {asked.request.uri} got no answer"
        is_its_own = asked.request.method == label.partition(" ")[0]
        (found.statuses if is_its_own else found.others)[label][answer.status_code] += 1
        if is_its_own:
            found.kinds[label].add(answer.headers.get("content-type", [""])[0].partition(";")[0])
        try:
            _check_error(asked.request.method, answer)
        except AssertionError as problem:
            found.failures.append(f"{label}: {asked.request.method} {asked.request.uri}: {problem}")
        for check in recorder.checks.get(case_id, ()):
            if check.failure_info is not None:
                failure = check.failure_info.failure
                again = check.failure_info.code_sample
                found.failures.append(
                    f"{label}: {failure.title}\n{failure.message}\n{again}\n{answer.text[:500]}"
                )


def _check_error(method: str, answer: Response) -> None:
    """Every error is a problem of the table, says how to go on, and is no page of a framework."""
    headers = {name: values[0] for name, values in answer.headers.items()}
    status = answer.status_code
    if status == 405:
        assert method not in headers.get("allow", method).split(", "), headers
    if status == 401:
        assert headers.get("www-authenticate"), headers
    if status >= 400 and method != "HEAD":
        whole = Answer(status, headers, answer.content)
        check_problem(whole, status, str(whole.json()["code"]))


@contextmanager
def bustle(gateway: Gateway, server: str, headers: Mapping[str, str]) -> Iterator[None]:
    """Somebody calls all the time, the server complains each time on stderr, and a tool comes and goes: every
    live stream moves, whoever reads it."""
    over = threading.Event()

    def work() -> None:
        for turn in count():
            if over.wait(PAUSE_S):
                return
            for method, tool, body in (
                ("POST", "act", {"mode": "stderr-secret"}),
                ("PATCH", "stats", {"enabled": turn % 2 == 1}),
            ):
                answer = gateway.request(method, f"/api/tools/{server}/{tool}", body, headers)
                assert answer.status == 200, answer

    worker = threading.Thread(target=work, name="bustle", daemon=True)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join(ANSWER_TIMEOUT_S)
