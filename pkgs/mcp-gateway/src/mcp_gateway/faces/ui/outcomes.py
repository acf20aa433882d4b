"""How calls end, in words: the one table for every page that shows a call, and words for what people did.

Knows no page. An outcome is a word of the API (`docs/activity.md`); here it gets a tone, an icon and a
sentence for who does not know the word.
"""

from dataclasses import dataclass
from typing import Final

from mcp_gateway.errors import Kind


@dataclass(frozen=True, slots=True)
class Outcome:
    """`word` is what people read, `says` what it means; tones and icons are those of states of servers."""

    word: str
    tone: str
    icon: str
    says: str
    moves: bool = False


OUTCOMES: Final[dict[str, Outcome]] = {
    "ok": Outcome("ok", "good", "circle-check", "It was answered."),
    "running": Outcome("running", "uneasy", "loader", "It was not answered yet.", moves=True),
    "tool_error": Outcome("tool error", "bad", "circle-x", "The tool itself says that it failed."),
    "cancelled": Outcome(
        "cancelled", "none", "ban", "Whoever called took it back, or somebody cancelled it."
    ),
    "interrupted": Outcome(
        "interrupted", "bad", "power", "The gateway ended meanwhile, and nobody knows how far the call got."
    ),
    Kind.INVALID: Outcome("invalid", "bad", "circle-x", "What was sent made no sense, and nothing ran."),
    Kind.UNAUTHENTICATED: Outcome("unauthenticated", "bad", "lock", "Nobody was signed in."),
    Kind.REFUSED: Outcome("refused", "bad", "ban", "The caller may not do that, and nothing ran."),
    Kind.UNKNOWN: Outcome("unknown", "bad", "circle-help", "There is no such thing, or not for this caller."),
    Kind.BUSY: Outcome("busy", "uneasy", "hourglass", "There was too much to do; trying again is safe."),
    Kind.UNAVAILABLE: Outcome(
        "unavailable", "bad", "octagon-x", "The server could not take calls; trying again is safe."
    ),
    Kind.TIMED_OUT: Outcome(
        "timed out", "bad", "clock", "The server did not answer in time. What was called may have run."
    ),
    Kind.LOST: Outcome(
        "lost", "bad", "circle-alert", "The server was lost during the call. What was called may have run."
    ),
    Kind.INPUT_REQUIRED: Outcome(
        "input required", "uneasy", "message-square-text", "It asks for something before it can go on."
    ),
    Kind.INTERNAL: Outcome("internal", "bad", "triangle-alert", "The gateway made a mistake."),
}

# What people do to the gateway (`gateway/actions.py`); a word that is not here stands for itself.
ACTIONS: Final = {
    "call.cancel": "Cancelled a call",
    "code.use": "Used the one-time code",
    "code.wrong": "Tried a wrong code",
    "config.apply": "Changed the configuration",
    "key.create": "Made a key",
    "key.revoke": "Revoked a key",
    "openwebui.check": "Asked Open WebUI",
    "openwebui.connect": "Connected Open WebUI",
    "reload": "Reloaded the configuration",
    "server.add": "Added a server",
    "server.remove": "Removed a server",
    "server.restart": "Restarted a server",
    "server.switch": "Switched a server",
    "session.close": "Disconnected a client",
    "sign-in": "Signed in",
    "sign-in.end": "Ended a sign-in",
    "sign-in.failed": "Failed to sign in",
    "sign-out": "Signed out",
    "tool.switch": "Switched a tool",
}


def outcome_of(word: str) -> Outcome:
    """How an outcome looks; of one that a later gateway wrote, at least its word."""
    return OUTCOMES.get(word) or Outcome(word, "none", "circle-help", "")
