"""Half characters: text that was cut within a UTF-16 pair and escaped all the same, as Node does it.

JSON's grammar allows the escape of one surrogate without the other (RFC 8259, section 8.2); the fast
decoder does not. To read such a message it is masked: each half becomes an escape of the same length
that the text does not use otherwise, and every slice is lifted back to what was written.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Final

from msgspec import Raw

# Escapes one after the other: a whole pair, half of one, anything else.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD])([89a-fA-F][0-9a-fA-F]{2})|.)"
)
_MASKS: Final = (b"eE", b"fF")  # stand in for the `d` of a surrogate, lower and upper case


@dataclass(frozen=True, slots=True)
class Mask:
    """A masked text, and the way back."""

    text: bytes
    letters: bytes

    def lift(self, masked: Raw) -> Raw:
        if not masked:
            return masked
        lower, upper = self.letters[:1], self.letters[1:]
        pattern = rb"\\(?:u([%b])([89a-fA-F][0-9a-fA-F]{2})|.)" % self.letters
        letter = {lower: b"d", upper: b"D"}

        def back(escape: re.Match[bytes]) -> bytes:
            return escape[0] if escape[1] is None else b"\\u%b%b" % (letter[escape[1]], escape[2])

        return Raw(re.sub(pattern, back, bytes(masked)))


def mask_for(text: bytes | memoryview) -> Mask | None:
    """The masked text, or None when there is no half in it, or no letter left to mask it with."""
    if not isinstance(text, bytes) or b"\\ud" not in text.lower():
        return None
    for letters in _MASKS:
        if re.search(rb"\\u[%b][89a-fA-F]" % letters, text) is None:
            masked = _ESCAPE.sub(partial(_masked, letters), text)
            return None if masked == text else Mask(masked, letters)
    return None


def _masked(letters: bytes, escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        return escape[0]
    return b"\\u%b%b" % (letters[:1] if escape[1] == b"d" else letters[1:], escape[2])
