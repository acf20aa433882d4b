"""May they? One function for every face; what a caller may not see is unknown to them."""

from fnmatch import fnmatchcase

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.config.model import ToolRules
from mcp_gateway.errors import GatewayError, Kind


def require(caller: Caller, right: Right) -> None:
    """Raises:
    GatewayError: `refused`, naming the right that is missing.
    """
    if right not in caller.rights:
        raise GatewayError(Kind.REFUSED, f"This needs the right `{right}`")


def offers(rules: ToolRules, tool: str) -> bool:
    """Whether the operator's `tools.allow` and `tools.deny` let a tool (native name) be seen and called."""
    if _is_named(tool, rules.deny):
        return False
    return rules.allow is None or _is_named(tool, rules.allow)


def _is_named(tool: str, patterns: tuple[str, ...]) -> bool:
    # Equality first: a name may itself hold the characters of a pattern.
    return any(tool == pattern or fnmatchcase(tool, pattern) for pattern in patterns)
