"""How verbose a server is to be, with several who wish something else of it."""

from mcp_gateway.access.caller import Caller, Grant, Right, unlimited
from mcp_gateway.gateway.loglevels import LogLevels

ME = unlimited("me", Right.CALL)
NARROW = Caller("narrow", (Grant(frozenset({Right.CALL}), servers=("git",)),))


def test_the_most_verbose_wish_counts_and_never_less_than_the_default() -> None:
    changes: list[int] = []
    levels = LogLevels(lambda: changes.append(1))
    assert levels.wanted("git") is None
    levels.wish("a", ME, None, "error")
    assert levels.wanted("git") == levels.wanted("time") == "info"
    levels.wish("b", ME, "git", "debug")
    assert (levels.wanted("git"), levels.wanted("time")) == ("debug", "info")
    levels.wish("c", ME, "git", "debug")
    assert len(changes) == 2, "one more who wishes the same changes nothing"
    levels.wish("b", ME, "git", "warning")
    assert levels.wanted("git") == "debug"
    levels.forget("c")
    assert levels.wanted("git") == "info"
    for key in ("a", "b", "b", "never"):
        levels.forget(key)
    assert levels.wanted("git") is None


def test_a_caller_decides_nothing_of_a_server_that_it_does_not_see() -> None:
    levels = LogLevels(lambda: None)
    levels.wish("a", NARROW, None, "debug")
    levels.wish("b", NARROW, "time", "debug")
    assert (levels.wanted("git"), levels.wanted("time")) == ("debug", None)
