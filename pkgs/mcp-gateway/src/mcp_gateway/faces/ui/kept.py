"""Markup that many readers get alike: made once, and again when there is something new to show.

A slot is a thing on a page as some readers see it, such as a server's row; its facts are all that its markup
depends on. What is compared is cheap, what is saved is the rendering: a change that a hundred pages are told
of is rendered once.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from markupsafe import Markup

MAX_SLOTS: Final = 4_000  # of one to three kilobytes


class Kept:
    """The last markup of each slot; of those that nobody asked for longest, none."""

    def __init__(self, most: int = MAX_SLOTS) -> None:
        self._most = most
        self._slots: OrderedDict[Hashable, tuple[object, Markup]] = OrderedDict()

    def of(self, slot: Hashable, facts: object, make: Callable[[], Markup]) -> Markup:
        """What `make` made of these facts; `facts` are kept, and not to be changed."""
        kept = self._slots.get(slot)
        if kept is not None and (kept[0] is facts or kept[0] == facts):
            self._slots.move_to_end(slot)
            return kept[1]
        made = make()
        self._slots[slot] = facts, made
        self._slots.move_to_end(slot)
        if len(self._slots) > self._most:
            self._slots.popitem(last=False)
        return made
