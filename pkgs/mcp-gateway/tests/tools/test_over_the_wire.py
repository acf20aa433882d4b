"""For schemas of any kind, on a real server behind the real command: what is right for a tool reaches it.

What holds for the dialects by themselves is in `tests/schemas/test_properties.py`. Here both are read from
the documents that are served, and every value goes the whole way through `POST /tools`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from mcp_gateway.schemas import inlined
from tests.harness import Gateway
from tests.schemas import drawn
from tests.tools.conftest import saying
from tests.tools.test_document import document

TOOLS: Final = 150  # on one server
ENOUGH: Final = 100  # values of either kind: fewer, and what is drawn is no test


@dataclass(frozen=True)
class Tried:
    """A tool's schema, and arguments that may be right for it, or for what a model is shown of it."""

    schema: dict[str, Any]
    values: list[dict[str, Any]]


@st.composite
def _tried(draw: st.DrawFn) -> Tried:
    schema, values = draw(drawn.tools_with_values(drawn.tools | drawn.old_tools))
    schema = schema | {"type": "object"}  # as MCP has it
    said = inlined(schema).schema
    of_models = [drawn.likely(said, said, draw) for _ in range(3)]
    return Tried(schema, [*values, *(value for value in of_models if isinstance(value, dict))])


def _collected() -> list[Tried]:
    found: list[Tried] = []

    @settings(
        max_examples=TOOLS,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(_tried())
    def take(one: Tried) -> None:
        found.append(one)

    take()
    return found


@pytest.fixture(scope="module")
def tried() -> list[Tried]:
    return _collected()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, tried: list[Tried]) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("wire")
    tools = [{"name": f"t{number}", "inputSchema": one.schema} for number, one in enumerate(tried)]
    with Gateway({"any": saying(directory / "any", tools)}, directory) as gateway:
        gateway.wait_for_state("any", "ready")
        yield gateway


def _schemas(gateway: Gateway, dialect: str) -> dict[str, dict[str, Any]]:
    """By tool, with the components that they refer to."""
    whole = document(gateway, "any", dialect)
    more = {"components": whole["components"]} if dialect == "exact" else {}
    return {
        path[1:]: item["post"]["requestBody"]["content"]["application/json"]["schema"] | more
        for path, item in whole["paths"].items()
    }


def _is_right(schema: dict[str, Any], value: Any) -> bool:
    try:
        validator = Draft7Validator if "$schema" in schema else Draft202012Validator
        return bool(validator(schema).is_valid(value))
    except RecursionError:
        return False  # it leads only to itself, so nothing is right


def test_what_is_right_for_a_tool_or_for_what_models_see_of_it_reaches_it_unchanged(
    gateway: Gateway, tried: list[Tried]
) -> None:
    exact, simple = _schemas(gateway, "exact"), _schemas(gateway, "inlined")
    assert len(exact) == len(simple) == len(tried) == TOOLS
    for_tools = for_models = 0
    for number, one in enumerate(tried):
        tool = f"t{number}"
        for value in one.values:
            is_right = _is_right(one.schema, value)
            if is_right:
                assert _is_right(exact[tool], value), (one.schema, value)
            is_simple = _is_right(simple[tool], value)
            if not (is_right or is_simple):
                continue
            written = json.dumps(value)
            answer = gateway.request("POST", f"/tools/any/{tool}", written.encode())
            assert (answer.status, answer.json()) == (200, f"got {written}"), (one.schema, value)
            for_tools += is_right
            for_models += is_simple
    assert for_tools >= ENOUGH
    assert for_models >= ENOUGH
