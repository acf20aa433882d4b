"""Text of servers as it may be shown: nothing in it acts on a terminal, reorders a line or hides.

Pure. Used where text leaves for people: logs, the command line, pages. What programs get is unchanged.
"""

import re
from typing import Final

# C0 and C1 controls except tab, and the marks that reorder text on a screen (Trojan Source).
_UNSAFE: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0))},
    **{
        code: f"\\u{code:04x}"
        for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}
# Beyond what a log line may not hold: line and paragraph marks, half characters, invisible letters.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2028\u2029\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def printable(text: str) -> str:
    """The text with everything visible that would act on a terminal or reorder a line."""
    return text.translate(_UNSAFE)


def safe(text: str, *, lines: bool = True) -> str:
    """The text with everything visible; its line breaks stay where `lines` may."""
    if text.isascii() and text.isprintable():  # almost all there is, and ten times as fast
        return text
    if lines:
        return "\n".join(safe(line, lines=False) for line in text.replace("\r\n", "\n").split("\n"))
    return _INVISIBLE.sub(_escaped, printable(text))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
