"""Schemas of strangers as trees to read: all that is said is there, and nothing makes a page without end."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.faces.ui import schema
from mcp_gateway.faces.ui.schema import Node, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
WORDS = st.sampled_from(
    (
        *("type", "properties", "items", "required", "enum", "const", "default", "anyOf", "oneOf", "allOf"),
        *("$ref", "$defs", "title", "description", "additionalProperties", "prefixItems", "not", "if"),
        *("minimum", "minItems", "format", "pattern", "x-format", "x-enumSource", "examples"),
    )
)
TEXTS = st.sampled_from(
    (
        *(
            "string",
            "object",
            "array",
            "integer",
            "null",
            "#",
            "#/$defs/a",
            "#/properties/a",
            "https://a.b/s",
        ),
        *("<img src=x onerror=alert(1)>", "{{ value }}", "{{ value || '<b>' }}", "\u202egnp", "a&amp;b"),
        "__proto__",
    )
)
NAMES = TEXTS | st.text(max_size=8) | st.sampled_from(["a", "b", "a/b", "constructor", "p0", "x-y"])
SCHEMAS = st.recursive(
    st.booleans() | st.none() | TEXTS | st.integers() | st.floats(allow_nan=False),
    lambda inner: (
        st.dictionaries(WORDS, inner, max_size=6)
        | st.dictionaries(NAMES, inner, max_size=4)
        | st.lists(inner, max_size=4)
    ),
    max_leaves=40,
)


def nodes(node: Node, depth: int = 0) -> Iterator[tuple[int, Node]]:
    yield depth, node
    for child in node.children:
        yield from nodes(child, depth + 1)


def named(node: Node, *names: str) -> Node:
    for name in names:
        node = next(child for child in node.children if name in (child.name, child.role))
    return node


@given(SCHEMAS | JSON)
def test_whatever_a_server_calls_a_schema_becomes_a_bounded_tree(anything: Any) -> None:
    found = list(nodes(read(anything)))
    assert len(found) <= schema.NODES_MAX
    assert max(depth for depth, _ in found) <= schema.DEPTH_MAX


def test_of_each_property_all_is_there_that_its_schema_says() -> None:
    tree = read(
        {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {
                    "type": ["integer", "null"],
                    "title": "How much",
                    "description": "Of it",
                    "minimum": 0,
                    "default": True,
                    "enum": [1, "a", None],
                    "readOnly": True,
                    "deprecated": False,
                },
                "to_whom": {"type": "string", "title": "To Whom", "pattern": "^(a+)+$"},
            },
            "additionalProperties": False,
        }
    )
    size = named(tree, "size")
    assert size.is_required
    assert (size.types, size.title, size.about) == (("integer", "null"), "How much", "Of it")
    assert size.choices == ("1", "a", "null")
    assert size.facts == [("at least", "0"), ("read only", ""), ("default", "true")]
    whom = named(tree, "to_whom")
    assert (whom.is_required, whom.title, whom.facts) == (False, "", [("pattern", "^(a+)+$")])
    assert tree.facts == [("no other properties", "")]


def test_alternatives_stand_beside_each_other() -> None:
    tree = read({"anyOf": [{"type": "string"}, {"type": "null"}], "not": {"const": ""}})
    assert [(child.role, child.types) for child in tree.children] == [
        ("any of", ("string",)),
        ("any of", ("null",)),
        ("not", ()),
    ]


def test_a_reference_is_followed_once_and_a_circle_is_said() -> None:
    tree = read(
        {
            "properties": {"a": {"$ref": "#/$defs/node", "description": "here"}},
            "$defs": {
                "node": {
                    "type": "object",
                    "description": "there",
                    "properties": {"next": {"$ref": "#/$defs/node"}},
                }
            },
        }
    )
    a = named(tree, "a")
    assert (a.types, a.about) == (("object",), "here")
    assert named(a, "next").note == "recursive: the same as #/$defs/node"
    assert named(a, "next").children == []


@pytest.mark.parametrize(
    "reference",
    ["https://evil.example/s", "file:///etc/passwd", "#name", "#/nowhere", "other.json#/a", "#/a/-1"],
)
def test_no_reference_leads_out_of_the_document(reference: str) -> None:
    tree = read({"properties": {"a": {"$ref": reference}}, "a": [1]})
    assert named(tree, "a").note == f"refers to {reference}, which is not followed"


def test_a_pointer_is_read_with_its_escapes() -> None:
    document = {"$defs": {"a/b": {"~": [{"type": "null"}]}}}
    assert schema.local(document, "#/$defs/a~1b/~0/0") == {"type": "null"}
    assert schema.local(document, "#/%24defs/a~1b/~0/9") is None


@pytest.mark.parametrize("length", [100, 100_000])
def test_depth_has_an_end(length: int) -> None:
    deep: dict[str, Any] = {"type": "null"}
    for _ in range(length):
        deep = {"type": "array", "items": deep}
    deepest = max(nodes(read(deep)), key=lambda found: found[0])
    assert (deepest[0], deepest[1].note) == (schema.DEPTH_MAX, "and more")
    assert schema.raw_text(deep)


def test_breadth_and_repetition_have_an_end() -> None:
    wide: dict[str, Any] = {"properties": {f"p{number}": {} for number in range(5_000)}}
    assert read(wide).note == "and more"
    assert len(list(nodes(read(wide)))) == schema.NODES_MAX
    bomb: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(30)}
    bomb["d30"] = {"description": "x" * 100_000, "default": ["y" * 100_000]}
    found = [node for _, node in nodes(read({"$ref": "#/$defs/d0", "$defs": bomb}))]
    assert len(found) <= schema.NODES_MAX
    texts = sum(len(node.about) + sum(len(value) for _, value in node.facts) for node in found)
    assert texts <= schema.ALL_CHARS + 2 * len(found)


def test_a_definition_that_cannot_be_read_is_empty() -> None:
    for definition in (b"", b"[]", b"{", b"[" * 100_000, b"9" * 5_000, b'{"a":' + b"9" * 5_000 + b"}"):
        assert schema.decoded(definition) == {}
