"""May they: the operator's rules on tools, and rights by name."""

import pytest

from mcp_gateway.access.caller import LOCAL_OPERATOR, Caller, Right
from mcp_gateway.access.policy import offers, require
from mcp_gateway.config.model import ToolRules
from mcp_gateway.errors import GatewayError, Kind


@pytest.mark.parametrize(
    ("allow", "deny", "tool", "seen"),
    [
        (None, (), "anything", True),
        ((), (), "anything", False),
        (("read",), (), "read", True),
        (("read",), (), "read_file", False),
        (("read*",), (), "read_file", True),
        (("read*",), (), "READ_FILE", False),
        (("read_?",), (), "read_a", True),
        (("read_?",), (), "read_ab", False),
        (("*",), ("delete*",), "delete_all", False),
        (("delete_all",), ("delete*",), "delete_all", False),
        (None, ("delete*",), "undelete", True),
        (None, ("Delete",), "delete", True),
        (None, ("[a-c]*",), "beta", False),
        (None, ("*",), "", False),
        (("a",), (), "a\n", False),
        (("*",), (), "two\nlines", True),
    ],
)
def test_deny_beats_allow_and_names_match_whole_and_by_case(
    allow: tuple[str, ...] | None, deny: tuple[str, ...], tool: str, seen: bool
) -> None:
    assert offers(ToolRules(allow=allow, deny=deny), tool) is seen


@pytest.mark.parametrize("name", ["run[sql]", "[x]", "a[!b]c", "what?", "all*", "[", "run[1"])
def test_an_exact_name_is_that_tools_name_whatever_characters_it_has(name: str) -> None:
    """Rules are exact names or patterns; a tool cannot escape a rule that spells its name."""
    assert not offers(ToolRules(deny=(name,)), name)
    assert offers(ToolRules(allow=(name,)), name)


def test_a_missing_right_is_refused_by_name() -> None:
    require(LOCAL_OPERATOR, Right.CALL)
    with pytest.raises(GatewayError) as caught:
        require(LOCAL_OPERATOR, Right.ADMIN)
    assert caught.value.kind is Kind.REFUSED
    assert "`admin`" in caught.value.detail


def test_the_local_operator_may_read_call_and_operate_and_no_more() -> None:
    assert LOCAL_OPERATOR.rights == {Right.READ, Right.CALL, Right.OPERATE}
    nobody = Caller("nobody", ())
    for right in Right:
        with pytest.raises(GatewayError):
            require(nobody, right)
