"""Exposed names: what clients and models accept, one name for one tool, today as tomorrow."""

import re
from hashlib import sha256

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from mcp.shared.tool_name_validation import validate_tool_name

from mcp_gateway.names import MAX_LENGTH, exposed_name, exposed_names

SERVERS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
# Long, foreign, nearly equal, empty: what a server may call its tools; also halves of characters.
TOOLS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
    st.text(min_size=1, max_size=60),
    st.text(st.sampled_from("a_.-é/"), min_size=1, max_size=4),
    st.text(st.sampled_from("ab"), min_size=30, max_size=60),
    st.just("x\ud800"),
)
ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,46}")


def digest(server: str, tool: str, digits: int) -> str:
    return sha256(f"{server}\0{tool}".encode()).hexdigest()[:digits]


@pytest.mark.parametrize(
    ("server", "tool", "name"),
    [
        ("git", "log", "git__log"),
        ("git", "git_log", "git__git_log"),
        ("git", "__init__", "git____init__"),
        ("a-b", "C_d-9", "a-b__C_d-9"),
        ("git", "x" * 41, "git__" + "x" * 41),  # 46 characters: the last that fits
        ("git", "x" * 42, "git__" + "x" * 32 + "_" + digest("git", "x" * 42, 8)),
        ("git", "a.b", "git__a_b_" + digest("git", "a.b", 8)),
        ("git", "a/b", "git__a_b_" + digest("git", "a/b", 8)),
        ("git", "löschen", "git__l_schen_" + digest("git", "löschen", 8)),
        ("s" * 32, "t" * 12, "s" * 32 + "__" + "t" * 12),
        ("s" * 32, "t" * 13, "s" * 32 + "__ttt_" + digest("s" * 32, "t" * 13, 8)),
        ("git", "", "git___" + digest("git", "", 8)),
        ("git", "log\n", "git__log__" + digest("git", "log\n", 8)),
    ],
)
def test_a_name_is_as_written_where_it_can_be_and_hashed_where_not(server: str, tool: str, name: str) -> None:
    """A change of this table renames tools in people's configurations and models' memories."""
    assert exposed_name(server, tool) == name
    assert exposed_names(server, [tool]) == {tool: name}


@settings(deadline=None, max_examples=300)
@given(SERVERS, st.lists(TOOLS, max_size=20))
@example("git", ["a.b", "a/b", "a_b", "A_b", "a-b"])
def test_names_are_injective_legal_and_free_of_order(server: str, tools: list[str]) -> None:
    names = exposed_names(server, tools)
    assert names.keys() == set(tools)
    assert len(set(names.values())) == len(names)
    for tool, name in names.items():
        assert ALLOWED.fullmatch(name)
        assert validate_tool_name(name).is_valid
        assert name.startswith(f"{server}__")
        plain = f"{server}__{tool}"
        if ALLOWED.fullmatch(plain):
            assert name == plain, "what can be shown as written is"
    shuffled = sorted(tools, key=lambda tool: sha256(tool.encode("utf-8", "surrogatepass")).digest())
    assert exposed_names(server, [*shuffled, *tools]) == names


@settings(deadline=None, max_examples=300)
@given(SERVERS, st.sets(TOOLS, min_size=1, max_size=12), st.sets(TOOLS, max_size=12))
def test_a_tool_keeps_its_name_whatever_else_its_server_offers(
    server: str, tools: set[str], more: set[str]
) -> None:
    alone = exposed_names(server, tools)
    assume(not set(alone.values()) & {f"{server}__{tool}" for tool in more})  # crafted: see below
    together = exposed_names(server, tools | more)
    assert {tool: together[tool] for tool in tools} == alone
    assert all(exposed_name(server, tool) == name for tool, name in alone.items())


@settings(deadline=None, max_examples=200)
@given(SERVERS, SERVERS, st.sets(TOOLS, max_size=10), st.sets(TOOLS, max_size=10))
def test_names_of_two_servers_never_meet(one: str, other: str, tools: set[str], others: set[str]) -> None:
    assume(one != other)
    first, second = exposed_names(one, tools), exposed_names(other, others)
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize("server", ["a", "git", "github", "s" * 32])
def test_a_server_that_names_its_tools_after_hashes_hides_nothing(server: str) -> None:
    """It can compute the hash of a name of its own and claim the result as another tool's name."""
    tools = ["a.b"]
    for _ in range(12):
        claimed = exposed_names(server, tools)["a.b"]
        native = claimed.removeprefix(f"{server}__")
        if len(claimed) > MAX_LENGTH or native == claimed or native in tools:
            break
        tools.append(native)
        names = exposed_names(server, tools)
        assert names[native] == f"{server}__{native}", "a tool that needs no hash keeps its name"
        assert len(set(names.values())) == len(tools)
        assert all(ALLOWED.fullmatch(name) for name in names.values())
        assert names == exposed_names(server, reversed(tools))
    assert len(tools) > 3


def test_another_limit_is_kept_too() -> None:
    for limit in (64, 46, 43):
        names = exposed_names("s" * 32, ["t" * 80, "t" * 81, "t.t", "t"], max_length=limit)
        assert len(set(names.values())) == 4
        assert max(map(len, names.values())) <= limit
