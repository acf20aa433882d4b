"""The official suite's servers behind the real gateway: what they see of a client is our upstream face."""

import sys
from pathlib import Path

import pytest

from tests.conformance import suite

pytestmark = pytest.mark.usefixtures("whole_suite")

COMMAND = f"{sys.executable} -m tests.conformance.drive"
# In `make test`, each once. A gateway starts and ends for each, so all others belong to the long tier.
SHORT = {"elicitation-sep1034-client-defaults", "sse-retry", "request-metadata", "http-standard-headers"} | {
    *("http-custom-headers", "http-invalid-tool-headers", "sep-2322-client-request-state"),
}


@pytest.mark.parametrize(
    ("package", "revision", "scenario"),
    [
        pytest.param(
            *(package, revision, scenario),
            marks=() if package == suite.YOUNGER and scenario in SHORT else pytest.mark.long,
            id=f"{scenario}-{revision if package == suite.YOUNGER else package}",
        )
        for (package, revision), scenarios in suite.CLIENT_SCENARIOS.items()
        for scenario in scenarios
    ],
)
def test_the_suite_finds_no_fault_with_what_we_are_to_servers(
    package: str, revision: str, scenario: str, tmp_path: Path
) -> None:
    ran = suite.run_client(package, revision, scenario, COMMAND, tmp_path)
    assert suite.failures(ran.found, {scenario}, bad=suite.OF_CLIENTS) == {}, ran.said
    assert ran.code == 0, ran.said
