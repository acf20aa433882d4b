"""How much a log message matters (RFC 5424, as MCP has it), and who wants to hear of it. Pure."""

from typing import Any, Final

import msgspec

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
# Of a session that has said nothing: what people read while they wait; below is for who looks for a fault.
DEFAULT_LEVEL: Final = "info"
RANK: Final[dict[str, int]] = {level: rank for rank, level in enumerate(LEVELS)}


class _Message(msgspec.Struct):
    level: str


def is_wanted(params: bytes, wanted: Any) -> bool:
    """Whether a message with these params matters as much as a client asked for; `wanted` may be anything."""
    least = RANK.get(wanted) if isinstance(wanted, str) else None
    if least is None:
        return False
    try:
        level = msgspec.json.decode(params, type=_Message).level
    except (msgspec.MsgspecError, RecursionError):
        return False
    return RANK.get(level, -1) >= least
