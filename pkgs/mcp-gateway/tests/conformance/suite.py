"""The official conformance suite of MCP: which of it must pass, how it is run, and what it found.

The tables name the scenarios that must pass, each without a single failed check; one failure is expected, in
one place, and has to happen there (`IMPOSSIBLE`). Two versions of the suite are run, because the older is the
one that people get who install it, and the younger is the only one that knows 2026-07-28 (decision 26). Knows
nothing of gateways.
"""

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parents[2]
MODULES: Final = Path(__file__).with_name("node_modules")
YOUNGER, OLDER = "@modelcontextprotocol/conformance", "conformance-0.1"
RUN_TIMEOUT_S: Final = 100.0  # all scenarios of one leg take some 3 s
CLIENT_TIMEOUT_S: Final = 40.0  # of one client scenario: a gateway starts and ends in it

Check = dict[str, Any]
Found = dict[str, list[Check]]  # scenario -> its checks

# -- scenarios ------------------------------------------------------------------------------------------

_EVERYWHERE: Final = {
    *("completion-complete", "tools-list", "tools-call-simple-text", "tools-call-image", "tools-call-audio"),
    *("tools-call-embedded-resource", "tools-call-mixed-content", "tools-call-error"),
    *("tools-call-with-progress", "resources-list", "resources-read-text", "resources-read-binary"),
    *("resources-templates-read", "prompts-list", "prompts-get-simple", "prompts-get-with-args"),
    *("prompts-get-embedded-resource", "prompts-get-with-image"),
}
_HANDSHAKE: Final = {
    *("server-initialize", "logging-set-level", "ping", "resources-subscribe", "resources-unsubscribe"),
    *("tools-call-with-logging", "tools-call-sampling", "tools-call-elicitation"),
}
_SINCE_2025_11_25: Final = {"server-sse-multiple-streams", "dns-rebinding-protection"}
_ONLY_2025_11_25: Final = {"elicitation-sep1034-defaults", "elicitation-sep1330-enums"}
_MODERN: Final = {"server-stateless", "sep-2164-resource-not-found", "caching"} | {
    f"input-required-result-{what}"
    for what in (
        *("basic-elicitation", "basic-sampling", "basic-list-roots", "request-state", "multi-round"),
        *("multiple-input-requests", "missing-input-response", "non-tool-request", "result-type"),
        *("unsupported-methods", "tampered-state", "capability-check", "ignore-extra-params"),
        "validate-input",
    )
}


@dataclass(frozen=True)
class Leg:
    """One run of the suite: which, what it is told, the scenarios that must pass, and those beyond."""

    package: str
    arguments: tuple[str, ...]
    required: frozenset[str]
    more: frozenset[str] = frozenset()  # that the suite does not score, and we do


LEGS: Final = {
    "2025-06-18": Leg(
        YOUNGER,
        ("--suite", "all", "--spec-version", "2025-06-18"),
        frozenset(_EVERYWHERE | _HANDSHAKE | {"server-session-lifecycle"}),
    ),
    "2025-11-25": Leg(
        YOUNGER,
        ("--requirements", "2025-11-25"),
        frozenset(_EVERYWHERE | _HANDSHAKE | _SINCE_2025_11_25 | _ONLY_2025_11_25),
        frozenset({"server-session-lifecycle", "json-schema-2020-12", "server-sse-polling"}),
    ),
    "2026-07-28": Leg(
        YOUNGER,
        ("--requirements", "2026-07-28"),
        frozenset(_EVERYWHERE | _SINCE_2025_11_25 | _MODERN),
        frozenset({"json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation"}),
    ),
    "0.1.16": Leg(
        OLDER,
        ("--suite", "all"),
        frozenset(
            (_EVERYWHERE | _HANDSHAKE | _SINCE_2025_11_25 | _ONLY_2025_11_25)
            | {"json-schema-2020-12", "server-sse-polling"}
        ),
    ),
}

# Where servers meet, their tools and prompts have other names. These scenarios ask for one by its own.
BY_NAME: Final = (
    {scenario for leg in LEGS.values() for scenario in leg.required if scenario.startswith("tools-call-")}
    | {scenario for leg in LEGS.values() for scenario in leg.required if scenario.startswith("prompts-get-")}
    | _ONLY_2025_11_25  # by the tools that ask
    | {scenario for scenario in _MODERN if scenario.startswith("input-required-result-")}
    | {"completion-complete"}  # of an argument of one prompt
    | {"json-schema-2020-12"}  # looks for one tool in the list
    | {"server-sse-polling"}  # calls the tool that lets go of its client
) - {"input-required-result-unsupported-methods"}  # asks only what no server answers so
# As those, but single checks of a scenario of which all others count.
CHECKS_BY_NAME: Final = frozenset(
    {
        *("sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"),
        *(
            "sep-2575-http-server-no-independent-requests-on-stream",
            "sep-2575-server-no-log-without-loglevel",
        ),
    }
)

# What fails where a client of 2026-07-28 meets a server of the handshake era. The suite looks for the name
# that a server gives its question, `user_name`. In the handshake era questions have none, so the gateway
# makes one up.
IMPOSSIBLE: Final = {
    "input-required-result-basic-elicitation": [
        'sep-2322-elicitation-incomplete: inputRequests missing expected key "user_name"'
    ]
}

# What a client is asked that nobody has to log in for: (package, revision) -> scenarios.
CLIENT_SCENARIOS: Final = {
    (YOUNGER, "2025-06-18"): ("initialize", "tools_call"),
    (YOUNGER, "2025-11-25"): (
        *("initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"),
        "json-schema-2020-12-preservation",
    ),
    (YOUNGER, "2026-07-28"): (
        *("tools_call", "request-metadata", "http-standard-headers", "http-custom-headers"),
        *("http-invalid-tool-headers", "sep-2322-client-request-state", "json-schema-ref-no-deref"),
        "json-schema-2020-12-preservation",
    ),
    (OLDER, "2025-11-25"): ("initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"),
}


# -- running --------------------------------------------------------------------------------------------


def node() -> Path | None:
    """The Node that came with the suite, for there is no other that is sure to run it."""
    return next(iter(sorted(MODULES.glob("node-linux-*/bin/node"))), None)


@dataclass(frozen=True)
class Ran:
    """How one command of the suite ended, what it printed, and what it found."""

    code: int
    said: str
    found: Found


def run(package: str, *arguments: str, out: Path) -> Ran:
    """Runs one command of the suite in our package's directory."""
    found_node = node()
    assert found_node is not None, "Node came with the suite"
    done = subprocess.run(
        [str(found_node), str(MODULES / package / "dist" / "index.js"), *arguments, "-o", str(out)],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(errors="replace"), read(out))


def run_server(leg: str, url: str, out: Path) -> Found:
    """Runs all of a leg against the MCP server at `url`."""
    ran = run(LEGS[leg].package, "server", "--url", url, *LEGS[leg].arguments, out=out)
    assert ran.found, ran.said
    return ran.found


def run_client(package: str, revision: str, scenario: str, command: str, out: Path) -> Ran:
    """Runs a client scenario: its server, and the command with that server's address as one more word."""
    timeout = ("--timeout", str(int(CLIENT_TIMEOUT_S * 1000)))
    arguments = ("--scenario", scenario, "--spec-version", revision, *timeout)
    return run(package, "client", "--command", command, *arguments, out=out)


def wanted(leg: str) -> frozenset[str]:
    """All that must pass of a leg."""
    return LEGS[leg].required | LEGS[leg].more


_DIRECTORY: Final = re.compile(r"(?:server-|client-)?(.+?)-\d{4}-\d\d-\d\dT[\d-]+Z")


def read(out: Path) -> Found:
    found: Found = {}
    for path in out.rglob("checks.json"):
        name = _DIRECTORY.fullmatch(path.parent.relative_to(out).as_posix())
        assert name is not None, path
        found[name[1]] = json.loads(path.read_text(encoding="utf-8"))
    return found


# Of a server a check is skipped for what it does not offer, and our fixture offers everything. Of a client
# it is skipped for what that had no reason to do.
OF_SERVERS: Final = frozenset({"FAILURE", "SKIPPED"})
OF_CLIENTS: Final = frozenset({"FAILURE"})


def failures(
    found: Found,
    wanted: Iterable[str],
    ignored: frozenset[str] = frozenset(),
    bad: frozenset[str] = OF_SERVERS,
) -> dict[str, list[str]]:
    """What is wrong with the scenarios that are wanted, and in which words; empty when they all pass.

    `ignored` are checks that do not count; `bad` are words for how one ends that must not.
    """
    wrong: dict[str, list[str]] = {}
    for scenario in sorted(wanted):
        checks = [check for check in found.get(scenario, []) if check["id"] not in ignored]
        failed = [f"{check['id']}: {check.get('errorMessage')}" for check in checks if check["status"] in bad]
        if not any(check["status"] == "SUCCESS" for check in checks):
            failed.append("nothing was checked")
        if failed:
            wrong[scenario] = failed
    return wrong
