"""One server more or less in a person's file, which keeps every other byte as it was."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.config import added, load
from mcp_gateway.config.added import with_server, without_server

ENTRY = {"command": "npx", "args": ["-y", "thing"]}
INDENTED = """{
  "mcpServers": {
    "git": {"command": "uvx"}
  },
  "addedServers": {
    "new": {
      "command": "npx",
      "args": [
        "-y",
        "thing"
      ]
    }
  }
}
"""

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
blanks = st.text(" \t\n\r", max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A JSON text of the value as somebody may have written it: blanks, escapes, line ends of any kind."""

    def gap() -> str:
        return draw(blanks)

    if isinstance(value, dict):
        members = [
            f"{gap()}{draw(written(key))}{gap()}:{gap()}{draw(written(inner))}{gap()}"
            for key, inner in value.items()
        ]
        return "{" + (",".join(members) or gap()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(f"{gap()}{draw(written(inner))}{gap()}" for inner in value) + "]"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A file with at least one member, and what it says; the section with servers in it, or none."""
    document = draw(st.dictionaries(names.filter(lambda name: name != added.SECTION), values, min_size=1))
    if draw(st.booleans()):
        servers = st.dictionaries(names.filter(lambda name: name != "new"), values, min_size=1, max_size=3)
        members = [*document.items(), (added.SECTION, draw(servers))]
        document = dict(draw(st.permutations(members)))
    text = draw(blanks) + draw(written(document)) + draw(blanks)
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return mark + text.encode("utf-8"), document


@settings(max_examples=400, deadline=None)
@given(files(), values.map(lambda value: {"command": "x", "extra": value}))
def test_what_was_added_can_be_removed_and_every_byte_is_as_before(
    file: tuple[bytes, dict[str, Any]], entry: dict[str, Any]
) -> None:
    before, document = file
    after = with_server(before, "new", entry)
    section = document.get(added.SECTION, {})
    assert json.loads(after.decode("utf-8-sig")) == {
        **document,
        added.SECTION: {**section, "new": entry},
    }
    assert without_server(after, "new") == before


@settings(max_examples=200, deadline=None)
@given(files())
def test_all_that_is_written_is_one_piece(file: tuple[bytes, dict[str, Any]]) -> None:
    before, _ = file
    after = with_server(before, "new", ENTRY)
    at = next((at for at, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), None)
    at = len(before) if at is None else at
    # What stands before the first byte that differs and all that stood behind it are still there.
    assert after.startswith(before[:at])
    assert after.endswith(before[at:])


@settings(max_examples=200, deadline=None)
@given(files(), st.data())
def test_any_server_of_the_section_can_go_and_nothing_else_does(
    file: tuple[bytes, dict[str, Any]], data: st.DataObject
) -> None:
    before, document = file
    section = document.get(added.SECTION)
    if section is None:
        with pytest.raises(KeyError):
            without_server(before, "new")
        return
    name = data.draw(st.sampled_from(sorted(section)))
    after = json.loads(without_server(before, name).decode("utf-8-sig"))
    left = {key: value for key, value in section.items() if key != name}
    expected = {key: value for key, value in document.items() if key != added.SECTION}
    assert after == (expected | {added.SECTION: left} if left else expected)


def test_it_is_written_as_the_file_around_it_is() -> None:
    before = '{\n  "mcpServers": {\n    "git": {"command": "uvx"}\n  }\n}\n'
    assert with_server(before.encode(), "new", ENTRY).decode() == INDENTED
    tabs = before.replace("  ", "\t").replace("\n", "\r\n")
    assert with_server(tabs.encode(), "new", ENTRY).decode() == INDENTED.replace("  ", "\t").replace(
        "\n", "\r\n"
    )
    line = b'{"mcpServers": {}, "gateway": {}}'
    assert with_server(line, "new", {"command": "x"}) == (
        b'{"mcpServers": {}, "gateway": {}, "addedServers": {"new": {"command": "x"}}}'
    )
    assert with_server(b'{"a":1}', "new", {}) == b'{"a":1, "addedServers": {"new": {}}}'


def test_a_new_file_is_one_that_a_person_can_read() -> None:
    made = with_server(added.EMPTY, "new", {"command": "x"}).decode()
    assert made == '{\n  "addedServers": {\n    "new": {\n      "command": "x"\n    }\n  }\n}\n'
    assert without_server(made.encode(), "new") == added.EMPTY


def test_two_texts_come_back_in_another_way_and_mean_the_same() -> None:
    for before, after in (
        (b'{"addedServers": { }, "a": 1}', b'{"a": 1}'),
        (b'{"a": 1, "addedServers": {}}', b'{"a": 1}'),
        (b"{ \n }\n", b"{}\n"),
    ):
        assert without_server(with_server(before, "new", ENTRY), "new") == after


def test_what_nobody_could_see_is_written_as_an_escape() -> None:
    for text in ("\u202egnp", "\x7f", "\u2028", "\ud800"):
        made = with_server(b'{"a": 1}', text, {"command": text})
        assert made.isascii()
        assert json.loads(made)["addedServers"] == {text: {"command": text}}
    assert "Zürich" in with_server(b'{"a": 1}', "Zürich", {}).decode()


def test_the_section_is_read_like_the_others_and_says_where_it_is() -> None:
    report = load.examine(INDENTED.encode(), source="f", env={})
    assert report.config is not None
    assert list(report.config.servers) == ["git", "new"]
    told = report.config.declared
    assert (told["git"].section, told["git"].line) == ("mcpServers", 3)
    assert (told["new"].section, told["new"].name, told["new"].line) == ("addedServers", "new", 6)
    twice = INDENTED.replace('"new"', '"GIT"').encode()
    assert "same id `git`" in str(load.examine(twice, source="f", env={}).problems[0])


@pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null"])
def test_what_is_no_object_has_no_place_for_a_server(text: bytes) -> None:
    with pytest.raises(ValueError, match="no object"):
        with_server(text, "new", ENTRY)
