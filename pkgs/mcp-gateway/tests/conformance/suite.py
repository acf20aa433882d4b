"""The official conformance suite of MCP: which of it must pass, how it is run, and what it found.

The tables name the scenarios that must pass, each without a single failed check; there is no list of failures
that are expected. Two versions of the suite are run, because the older is the one that people get who install
it, and the younger is the only one that knows 2026-07-28 (decision 26). Knows nothing of gateways.
"""

import json
import os
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
    | {"server-stateless"}  # six of its checks call tools
    | {"json-schema-2020-12"}  # looks for one tool in the list
    | {"server-sse-polling"}  # calls the tool that lets go of its client
) - {"input-required-result-unsupported-methods"}  # asks only what no server answers so


# -- running --------------------------------------------------------------------------------------------


def node() -> Path | None:
    """The Node that came with the suite, for there is no other that is sure to run it."""
    return next(iter(sorted(MODULES.glob("node-linux-*/bin/node"))), None)


def run(package: str, *arguments: str, out: Path, env: dict[str, str] | None = None) -> Found:
    """Runs one command of the suite in our package's directory; answers what it found, by scenario.

    Raises:
    AssertionError: it found nothing at all.
    """
    found_node = node()
    assert found_node is not None, "Node came with the suite"
    done = subprocess.run(
        [str(found_node), str(MODULES / package / "dist" / "index.js"), *arguments, "-o", str(out)],
        cwd=PROJECT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    found = read(out)
    assert found, done.stdout.decode(errors="replace")[-3000:]
    return found


def run_server(leg: str, url: str, out: Path) -> Found:
    """Runs all of a leg against the MCP server at `url`."""
    return run(LEGS[leg].package, "server", "--url", url, *LEGS[leg].arguments, out=out)


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


def failures(found: Found, wanted: Iterable[str]) -> dict[str, list[str]]:
    """What is wrong with the scenarios that are wanted, and in which words; empty when they all pass."""
    wrong: dict[str, list[str]] = {}
    for scenario in sorted(wanted):
        checks = found.get(scenario, [])
        failed = [
            f"{check['id']}: {check.get('errorMessage')}" for check in checks if check["status"] == "FAILURE"
        ]
        if not any(check["status"] == "SUCCESS" for check in checks):
            failed.append("nothing was checked")
        if failed:
            wrong[scenario] = failed
    return wrong
