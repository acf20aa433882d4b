"""What a grant is about, and what a caller may hand on. Tables; the faces are tried in tests/security."""

import itertools

import pytest

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller, Grant, Right, unlimited
from mcp_gateway.access.policy import (
    may_hand_on,
    require,
    require_everywhere,
    require_on_server,
    require_on_tool,
    sees_server,
    sees_tool,
)
from mcp_gateway.errors import GatewayError, Kind

READ_CALL = frozenset({Right.READ, Right.CALL})


def caller(*grants: Grant) -> Caller:
    return Caller("x", grants)


def with_tools(*tools: str, servers: tuple[str, ...] | None = None, read_only: bool = False) -> Caller:
    return caller(Grant(READ_CALL, servers, tools or None, read_only))


@pytest.mark.parametrize(
    ("who", "server", "tool", "seen"),
    [
        (with_tools("read_*"), "git", "read_file", True),
        (with_tools("read_*"), "git", "write_file", False),
        (with_tools("read_*"), "git", "READ_FILE", False),
        (with_tools("git/read_*"), "git", "read_file", True),
        (with_tools("git/read_*"), "time", "read_file", False),
        (with_tools("*/read_*"), "time", "read_file", True),
        (with_tools("git/*"), "git-lab", "x", False),
        (with_tools("git*/x"), "git-lab", "x", True),
        (with_tools("x", servers=("git",)), "git", "x", True),
        (with_tools("x", servers=("git",)), "time", "x", False),
        (with_tools("time/x", servers=("git",)), "time", "x", False),
        (with_tools("time/x", servers=("git",)), "git", "x", False),
        (with_tools(servers=("g*",)), "git", "anything/at all", True),
        # A tool named like a server and its tool is neither.
        (with_tools("git/status"), "evil", "git/status", False),
        (with_tools("git/status"), "evil", "status", False),
        (with_tools("evil/git/status"), "evil", "git/status", True),
        # A name that holds the characters of a pattern is itself.
        (with_tools("a[b]"), "git", "a[b]", True),
        (with_tools("a[b]"), "git", "ab", True),
        (with_tools("a[b]"), "git", "a", False),
        (with_tools(""), "git", "", True),
        (caller(), "git", "x", False),
        (unlimited("x", Right.READ), "git", "x", True),
        (LOCAL_OPERATOR, "git", "x", True),
    ],
)
def test_a_tool_is_seen_by_who_was_granted_it_and_by_nobody_else(
    who: Caller, server: str, tool: str, seen: bool
) -> None:
    assert sees_tool(who, server, tool, is_read_only=False) is seen


def test_a_server_is_seen_when_any_of_its_tools_could_be() -> None:
    who = with_tools("git/status", "time/*")
    assert [name for name in ("git", "time", "gi", "git-lab", "") if sees_server(who, name)] == [
        "git",
        "time",
    ]
    assert sees_server(with_tools("status"), "whichever")
    assert not sees_server(with_tools("status", servers=("git",)), "time")
    assert not sees_server(caller(), "git")


def test_read_only_believes_the_server_and_nothing_less_than_its_word() -> None:
    """S53: an annotation narrows what a key may do; it never widens it."""
    who = with_tools(read_only=True)
    assert sees_tool(who, "git", "status", is_read_only=True)
    assert not sees_tool(who, "git", "commit", is_read_only=False)
    assert who.everywhere == frozenset()


def test_grants_add_up_and_never_mix() -> None:
    """Reading here and calling there is not calling here."""
    who = caller(Grant(frozenset({Right.READ}), ("git",)), Grant(frozenset({Right.CALL}), ("time",)))
    assert who.rights == READ_CALL
    require_on_tool(who, Right.CALL, "time", "x", is_read_only=False)
    with pytest.raises(GatewayError, match="`call` for the tool `x` of `git`") as caught:
        require_on_tool(who, Right.CALL, "git", "x", is_read_only=False)
    assert caught.value.kind is Kind.REFUSED
    with pytest.raises(GatewayError):
        require_on_server(who, Right.CALL, "git")
    require_on_server(who, Right.READ, "git")


def test_what_concerns_all_servers_needs_a_right_over_all_of_them() -> None:
    require_everywhere(LOCAL_OPERATOR, Right.OPERATE)
    some = caller(Grant(frozenset({Right.OPERATE}), ("git",)))
    require(some, Right.OPERATE)
    with pytest.raises(GatewayError, match="all servers"):
        require_everywhere(some, Right.OPERATE)
    with pytest.raises(GatewayError, match="`operate`"):
        require_everywhere(caller(), Right.OPERATE)


def test_one_of_several_rights_is_enough_and_the_console_is_named_where_it_helps() -> None:
    require(unlimited("x", Right.CALL), Right.READ, Right.CALL)
    with pytest.raises(GatewayError, match=r"`read` or `call`$"):
        require(unlimited("x", Right.OPERATE), Right.READ, Right.CALL)
    for right in (Right.ADMIN, Right.EXEC):
        with pytest.raises(GatewayError, match="one-time code"):
            require(LOCAL_OPERATOR, right)


NARROWINGS: tuple[tuple[tuple[str, ...] | None, tuple[str, ...] | None, bool], ...] = tuple(
    itertools.product((None, ("git",), ("git", "time")), (None, ("read_*",)), (False, True))
)


@pytest.mark.parametrize("own", NARROWINGS)
@pytest.mark.parametrize("given", NARROWINGS)
def test_nobody_hands_on_more_than_they_have(
    own: tuple[tuple[str, ...] | None, tuple[str, ...] | None, bool],
    given: tuple[tuple[str, ...] | None, tuple[str, ...] | None, bool],
) -> None:
    """Whatever the one given sees, who gave it sees, too: asked of every tool of a small world."""
    world = list(itertools.product(("git", "time", "other"), ("read_x", "write_x"), (False, True)))
    giver, grant = caller(Grant(READ_CALL, *own)), Grant(READ_CALL, *given)
    if may_hand_on(giver, grant):
        assert all(sees_tool(giver, *one) for one in world if sees_tool(caller(grant), *one))
    elif own == given:
        raise AssertionError("what one has can be handed on")


def test_rights_are_handed_on_no_further_than_they_reach_and_exec_never() -> None:
    admin = unlimited("x", *Right)
    assert may_hand_on(admin, Grant(frozenset({Right.ADMIN, Right.CALL})))
    assert not may_hand_on(admin, Grant(frozenset({Right.EXEC})))
    assert not may_hand_on(unlimited("x", Right.ADMIN), Grant(READ_CALL))
    # Two grants that together would do are not one that does.
    parts = caller(Grant(frozenset({Right.READ}), ("git",)), Grant(frozenset({Right.CALL}), ("git",)))
    assert not may_hand_on(parts, Grant(READ_CALL, ("git",)))
