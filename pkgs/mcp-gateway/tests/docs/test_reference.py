"""The pages of the reference say what the code says of itself today."""

import ast
from pathlib import Path
from typing import Final

import pytest

from mcp_gateway.config.model import schema
from mcp_gateway.errors import TABLE, Kind
from tests.docs import reference
from tests.real import PROJECT

SOURCES: Final = PROJECT / "src"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_of_the_reference_is_current(name: str) -> None:
    written = (reference.FOLDER / name).read_text()
    assert written == reference.PAGES[name](), "run `make reference`"


def test_every_option_of_the_schema_is_on_the_page() -> None:
    text = (reference.FOLDER / "options.md").read_text()
    for definition in schema()["$defs"].values():
        for key in definition["properties"]:
            assert f"`{key}`" in text


def test_every_operation_of_the_document_is_on_the_page() -> None:
    text = (reference.FOLDER / "rest.md").read_text()
    for path, item in reference.document()["paths"].items():
        for method in item:
            assert f"`{method.upper()} {path}`" in text


def test_there_is_advice_for_every_kind_of_error_and_no_other() -> None:
    assert reference.ADVICE.keys() == TABLE.keys()
    assert all(when and then for when, then in reference.ADVICE.values())


def test_every_status_that_an_error_is_raised_with_is_on_the_page() -> None:
    raised = {
        (Kind[call.args[0].attr], keyword.value.value)
        for path in SOURCES.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "GatewayError"
        if call.args and isinstance(call.args[0], ast.Attribute)
        for keyword in call.keywords
        if keyword.arg == "status" and isinstance(keyword.value, ast.Constant)
    }
    shown = {(kind, status) for kind, of in reference.MORE_STATUSES.items() for status in of}
    assert len(raised) > 5
    assert raised - shown == set()


def test_the_reference_is_all_that_is_in_its_folder() -> None:
    assert {path.name for path in Path(reference.FOLDER).iterdir()} == {*reference.PAGES}
