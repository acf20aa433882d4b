"""What `openspec/` says is where, is there; and the tasks of the two changes are all accounted for."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.site import REPOSITORY

OPENSPEC: Final = REPOSITORY / "openspec"
ARCHIVE: Final = OPENSPEC / "changes" / "archive"
STATES: Final = {"done", "done otherwise", "not verified", "open"}
# The plans' own count of things to do.
TASKS: Final = {"mcp-gateway": 89, "mcp-gateway-http-transport": 39}
_PATH: Final = re.compile(r"`([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)`")
_ROOTS: Final = ("pkgs/", "docs/", "openspec/", "modules/", "home/", "packaging/")
_TASK: Final = re.compile(r"^\| (\d\.\d .+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def named(text: str) -> set[str]:
    """The files of the repository that a text names: with a root of it, or of its top."""
    found = set(_PATH.findall(text))
    return {name for name in found if name.startswith(_ROOTS) or name.endswith((".md", ".nix"))}


@pytest.mark.parametrize("path", sorted(OPENSPEC.rglob("*.md")), ids=lambda path: path.parent.name)
def test_every_file_that_is_named_is_there(path: Path) -> None:
    # What a task was called may name what was never made; what is said of it may not.
    text = _TASK.sub(r"\3", path.read_text())
    missing = [name for name in sorted(named(text)) if not (REPOSITORY / name).exists()]
    assert missing == []


@pytest.mark.parametrize("change", TASKS)
def test_every_task_has_a_state_and_a_place_or_a_reason(change: str) -> None:
    tasks = _TASK.findall((ARCHIVE / change / "tasks.md").read_text())
    assert len(tasks) == TASKS[change]
    for task, state, where in tasks:
        assert state in STATES, task
        assert where.strip(), task


def test_every_requirement_has_a_scenario() -> None:
    for path in OPENSPEC.glob("specs/**/spec.md"):
        _, *requirements = path.read_text().split("\n### Requirement: ")
        assert requirements
        for requirement in requirements:
            assert "\n#### Scenario: " in requirement, requirement.splitlines()[0]
            assert "SHALL" in requirement, requirement.splitlines()[0]
