"""Which line of a JSON text holds which key, and which keys stand there twice.

Pure. The text has already been accepted by a real JSON parser, so this only walks its pieces; it
never decides whether the text is valid and it never looks at a value. Called by `load` alone.
"""

import json
import re
from dataclasses import dataclass

Path = tuple[str | int, ...]

_PIECE = re.compile(r'\n|"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class Positions:
    """The lines of all keys and list elements, and the keys that were written again."""

    lines: dict[Path, int]
    repeated: tuple[tuple[Path, int], ...]

    def line(self, path: Path) -> int:
        """The line of the place, or of the nearest thing around it that does exist."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def positions(text: str) -> Positions:
    """Map every key and element of a valid JSON text to its line."""
    lines: dict[Path, int] = {(): 1}
    repeated: dict[Path, int] = {}
    path: list[str | int] = []  # the last part is the current key or index of the innermost container
    awaits_key = False
    line = 1
    for piece in _PIECE.findall(text):
        if piece == "\n":
            line += 1
        elif piece in "}]":
            path.pop()
            awaits_key = False
        elif piece == ",":
            if isinstance(path[-1], int):
                path[-1] += 1
            else:
                awaits_key = True
        elif awaits_key:
            path[-1] = json.loads(piece)
            place = tuple(path)
            if place in lines:
                repeated[place] = line
            else:
                lines[place] = line
            awaits_key = False
        else:
            lines.setdefault(tuple(path), line)
            if piece == "{":
                path.append("")
                awaits_key = True
            elif piece == "[":
                path.append(0)
    # What is inside a repeated key repeats with it and says nothing new.
    outer = tuple((place, at) for place, at in repeated.items() if place[:-1] not in repeated)
    return Positions(lines, outer)
