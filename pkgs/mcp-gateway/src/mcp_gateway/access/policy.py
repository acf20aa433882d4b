"""May they? One room for every face; what a caller may not see is unknown to them.

`sees` is about existence: a server or tool outside of every grant is told of in the words of one that is
not there. `require` is about rights over what is seen: it says which one is missing.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from mcp_gateway.access.caller import Caller, Grant, Right
from mcp_gateway.config.model import ToolRules
from mcp_gateway.errors import GatewayError, Kind

_OF_THE_CONSOLE: Final = frozenset({Right.EXEC, Right.ADMIN})


def require(caller: Caller, *rights: Right) -> None:
    """One of the rights, over whatever.

    Raises:
        GatewayError: `refused`, naming the right that is missing.
    """
    if caller.rights.isdisjoint(rights):
        raise _missing(rights)


def require_everywhere(caller: Caller, right: Right) -> None:
    """The right over all there is, for what concerns the gateway as a whole.

    Raises:
        GatewayError: `refused`.
    """
    require(caller, right)
    if right not in caller.everywhere:
        raise GatewayError(
            Kind.REFUSED, f"This concerns all servers, and you have the right `{right}` for some"
        )


def require_on_server(caller: Caller, right: Right, server: str) -> None:
    """The right over a server that the caller sees, and all of its tools.

    Raises:
        GatewayError: `refused`.
    """
    if not has_whole_server(caller, right, server):
        raise _missing((right,), f" for the server `{server}`")


def require_on_tool(caller: Caller, right: Right, server: str, tool: str, is_read_only: bool) -> None:
    """The right over a tool that the caller sees.

    Raises:
        GatewayError: `refused`.
    """
    if right in caller.everywhere:
        return
    if not any(
        right in grant.rights and covers_tool(grant, server, tool, is_read_only) for grant in caller.grants
    ):
        raise _missing((right,), f" for the tool `{tool[:200]}` of `{server}`")


def sees_server(caller: Caller, server: str) -> bool:
    return caller.sees_everything or any(covers_server(grant, server) for grant in caller.grants)


def sees_tool(caller: Caller, server: str, tool: str, is_read_only: bool) -> bool:
    return caller.sees_everything or any(
        covers_tool(grant, server, tool, is_read_only) for grant in caller.grants
    )


def covers_server(grant: Grant, server: str) -> bool:
    """Whether a grant is about a server, be it about one of its tools only."""
    if grant.servers is not None and not _is_named(server, grant.servers):
        return False
    return grant.tools is None or any(_is_of(pattern, server) for pattern in grant.tools)


def has_whole_server(caller: Caller, right: Right, server: str) -> bool:
    """Whether the caller has a right over a server itself: who may use some tools of it does not own it."""
    return right in caller.everywhere or any(
        right in grant.rights
        and covers_server(grant, server)
        and not grant.read_only
        and (
            grant.tools is None or any(_is_of(one, server) and _tool_part(one) == "*" for one in grant.tools)
        )
        for grant in caller.grants
    )


def covers_tool(grant: Grant, server: str, tool: str, is_read_only: bool) -> bool:
    """Whether a grant is about a tool (native name); `is_read_only` is what its server says of it."""
    if grant.read_only and not is_read_only:
        return False
    if grant.servers is not None and not _is_named(server, grant.servers):
        return False
    return grant.tools is None or any(
        _is_of(pattern, server) and _is_named(tool, (_tool_part(pattern),)) for pattern in grant.tools
    )


def may_hand_on(caller: Caller, grant: Grant) -> bool:
    """Whether a caller may give this to somebody else: never more than they have, and never `exec`."""
    if Right.EXEC in grant.rights:
        return False
    return any(own.rights >= grant.rights and _is_within(grant, own) for own in caller.grants)


def _is_within(grant: Grant, own: Grant) -> bool:
    # Patterns are compared as they stand: that one of them matches less is not found out.
    return (
        (own.servers is None or (grant.servers is not None and set(grant.servers) <= set(own.servers)))
        and (own.tools is None or (grant.tools is not None and set(grant.tools) <= set(own.tools)))
        and (grant.read_only or not own.read_only)
    )


def _is_of(pattern: str, server: str) -> bool:
    # Up to the first slash: a tool's own name may hold more, a server id none.
    of, slash, _ = pattern.partition("/")
    return not slash or _is_named(server, (of,))


def _tool_part(pattern: str) -> str:
    of, slash, tool = pattern.partition("/")
    return tool if slash else of


def offers(rules: ToolRules, tool: str) -> bool:
    """Whether the operator's `tools.allow` and `tools.deny` let a tool (native name) be seen and called."""
    if _is_named(tool, rules.deny):
        return False
    return rules.allow is None or _is_named(tool, rules.allow)


def _is_named(name: str, patterns: Iterable[str]) -> bool:
    # Equality first: a name may itself hold the characters of a pattern.
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _missing(rights: Iterable[Right], over: str = "") -> GatewayError:
    rights = tuple(rights)
    how = "; a person shows it with the one-time code of the console" if set(rights) & _OF_THE_CONSOLE else ""
    return GatewayError(
        Kind.REFUSED, f"This needs the right {' or '.join(f'`{r}`' for r in rights)}{over}{how}"
    )
