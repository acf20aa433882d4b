"""The pages of the reference say what the code says of itself today."""

from pathlib import Path

import pytest

from mcp_gateway.config.model import schema
from mcp_gateway.errors import TABLE
from tests.docs import reference


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


def test_the_reference_is_all_that_is_in_its_folder() -> None:
    assert {path.name for path in Path(reference.FOLDER).iterdir()} == {*reference.PAGES}
