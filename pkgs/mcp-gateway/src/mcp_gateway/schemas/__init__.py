"""Schemas of tools as OpenAPI has them, in two dialects. For now both are what the server wrote. Pure."""

from dataclasses import dataclass
from typing import Any, Final, Literal

_ANY: Final[dict[str, Any]] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Inlined:
    """`why` there is less in it than the server wrote."""

    schema: dict[str, Any]
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Exact:
    """`components` belong into `components/schemas` of the document."""

    schema: dict[str, Any]
    components: dict[str, Any]
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which arguments fit."""


def inlined(schema: object) -> Inlined:
    return Inlined(schema if isinstance(schema, dict) else _ANY)


def exact(schema: object, name: str, side: Literal["input", "output"] = "input") -> Exact:
    return Exact(schema if isinstance(schema, dict) else _ANY, {})


def accepted(schema: object) -> Accepted:
    return Accepted()


def fit(arguments: dict[str, Any], accepted: Accepted) -> tuple[dict[str, Any], list[str]]:
    return arguments, []
