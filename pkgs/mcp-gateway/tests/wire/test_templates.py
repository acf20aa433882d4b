"""URI templates: whether a URI may have been made from one. The SDK makes URIs for the proof."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from mcp_gateway.wire.templates import MAX_EXPRESSIONS, MAX_URI_CHARS, read_template


def matches(template: str, uri: str) -> bool:
    read = read_template(template)
    assert read is not None
    return read.matches(uri)


@pytest.mark.parametrize(
    ("template", "yes", "no"),
    [
        (
            "demo://text/{id}",
            ["demo://text/1", "demo://text/a%20b"],
            ["demo://text/", "demo://text/1/2", "demo://x"],
        ),
        ("x://{a}.txt", ["x://b.txt", "x://b.txt.txt"], ["x://.txt", "x://b.tx", "x://b/c.txt"]),
        ("x://{a}/{b}/z", ["x://1/2/z"], ["x://1/z", "x://1/2/3/z"]),
        ("x://{+path}", ["x://a/b?c#d"], ["x://"]),
        ("x://{path*}", ["x://a/b"], ["x://", "x://a?b"]),
        ("x://a{/more*}", ["x://a", "x://a/b/c"], ["x://ab"]),
        ("x://a{/one}", ["x://a", "x://a/b"], ["x://a/b/c"]),
        ("x://a{?q,r}", ["x://a", "x://a?q=1&r=2"], ["x://a#q", "x://a/b"]),
        ("x://a{#f}", ["x://a", "x://a#b/c?d"], ["x://ab"]),
        ("x://a{.ext}", ["x://a.md"], ["x://a.md/b"]),
        ("x://plain", ["x://plain"], ["x://plain/"]),
    ],
)
def test_templates_as_servers_use_them(template: str, yes: list[str], no: list[str]) -> None:
    assert [uri for uri in yes if not matches(template, uri)] == []
    assert [uri for uri in no if matches(template, uri)] == []


@pytest.mark.parametrize(
    "text", ["", "{+any}", "{scheme}://x", "x://{", "x://}", "x://{{a}}", "x://{!a}", "x://{}", "/a/{b}"]
)
def test_what_could_be_anything_is_none(text: str) -> None:
    assert read_template(text) is None


names = st.text(alphabet="ab", min_size=1, max_size=2)
values = st.text(alphabet="xy/ é%?", min_size=1, max_size=5)
literals = st.text(alphabet="lm./-", max_size=4)
expressions = st.builds("{{{}{}}}".format, st.sampled_from(("", "+", "/", "?", "#", ".")), names)


@given(st.lists(st.one_of(literals, expressions), max_size=5), st.dictionaries(names, values))
def test_what_the_sdk_makes_of_a_template_matches_it(parts: list[str], variables: dict[str, str]) -> None:
    text = "x://" + "".join(parts)
    try:
        template = UriTemplate.parse(text)
        uri = template.expand(variables)
    except (InvalidUriTemplate, ValueError):
        return
    empty = any(name not in variables for name in template.variable_names)
    read = read_template(text)
    assert read is not None
    if not empty:
        assert read.matches(uri)


def test_a_template_made_to_be_slow_is_not() -> None:
    """As a regular expression it would not come to an end within the life of this test."""
    slow = read_template("x://" + "{a}" * MAX_EXPRESSIONS + "!")
    assert slow is not None
    assert not slow.matches("x://" + "a" * (MAX_URI_CHARS - 4))
    assert not slow.matches("x://" + "a" * MAX_URI_CHARS + "!")
    assert read_template("x://" + "{a}/" * 2 * MAX_EXPRESSIONS) is None
