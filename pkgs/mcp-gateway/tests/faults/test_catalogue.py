"""The catalogue is whole and true to the tests: no fault is forgotten, no test is named that is not there."""

import ast
import functools

import pytest

from tests import hostile, hostile_http
from tests.faults import test_faults, test_remote_faults
from tests.faults.catalogue import DOCUMENT, GROUPS, PACKAGE, Entry, render

ENTRIES = [entry for entries in GROUPS.values() for entry in entries]
# The numbers of the catalogue; those between were never given.
IDS = [*range(1, 27), *range(30, 105)]
GOOD = "F000"
# A stop during a start needs a slow start, which is another fault by itself.
BORROWED = {"F023"}
# Modes that no row drives: the fault is in another row, or shows only in the server's own tests.
WITHOUT_ROW = {
    "stdio": {"slow-exit"},  # behind a package runner, in F012
    "HTTP": {
        "die",
        "abort",
        "segv",
        "kill9",
    },  # `die` is called as a tool in F006; the wire shows no difference
}


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((PACKAGE / "tests" / file).read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_the_document_is_what_the_catalogue_says() -> None:
    assert DOCUMENT.read_text() == render(), "write it again: python -m tests.faults.catalogue"


def test_no_fault_is_forgotten_or_told_twice() -> None:
    assert [entry.id for entry in ENTRIES if entry.id != "S45"] == [f"F{number:03d}" for number in IDS]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_fault_is_proved_or_says_what_it_waits_for(entry: Entry) -> None:
    local = [row for row in test_faults.FAULTS if row.id == entry.id]
    far = [row for row in test_remote_faults.FAULTS if row.id == entry.id]
    proved = bool(local or far or entry.tests or entry.http_tests)
    assert proved or entry.later
    assert bool(entry.result) is proved or entry.later
    assert not (far and entry.http), "it has rows over HTTP, so there is nothing to explain"
    for test in (*entry.tests, *entry.http_tests):
        file, _, name = test.partition("::")
        assert name in functions(file), test


@pytest.mark.parametrize("letter", ["A", "B", "C", "D"])
def test_every_fault_of_servers_is_tried_over_http_or_says_why_not(letter: str) -> None:
    far = {row.id for row in test_remote_faults.FAULTS}
    (entries,) = [entries for title, entries in GROUPS.items() if title.startswith(letter)]
    silent = [e.id for e in entries if e.id not in far and not (e.http or e.http_tests or e.later)]
    assert silent == []


def test_every_row_bears_the_id_of_a_fault_that_its_mode_injects() -> None:
    known = {entry.id for entry in ENTRIES} | {GOOD}
    for table, modes in (
        (test_faults.FAULTS, hostile.MODES),
        (test_remote_faults.FAULTS, hostile_http.MODES),
    ):
        for row in table:
            assert row.id in known, row.name
            claimed = modes[row.mode][0].split() if row.mode else []
            assert not claimed or row.id in claimed or row.id in BORROWED, (row.id, row.name, claimed)


@pytest.mark.parametrize(
    ("over", "driven", "modes"),
    [
        ("stdio", {row.mode for row in test_faults.FAULTS}, hostile.MODES),
        ("HTTP", {row.mode for row in test_remote_faults.FAULTS}, hostile_http.MODES),
    ],
    ids=["stdio", "HTTP"],
)
def test_every_way_to_misbehave_is_driven_by_a_row(
    over: str, driven: set[str], modes: dict[str, tuple[str, str]]
) -> None:
    assert modes.keys() - driven == WITHOUT_ROW[over]
