"""Exposed and native names of tools: the only place that knows the separator.

An exposed name is `{server}__{tool}` in `[A-Za-z0-9_-]`, at most 46 characters: clients put a prefix
of their own before it, and models stop at 64. A server id holds no underscore, so names of different
servers cannot meet. What does not fit or would collide carries a hash of the native name: the result
depends on the names alone, never on the order in which they arrive.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

SEPARATOR: Final = "__"
MAX_LENGTH: Final = 46
_HASH_DIGITS: Final = 8
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


def exposed_name(server: str, tool: str, *, max_length: int = MAX_LENGTH) -> str:
    """The name under which callers see a tool, before collisions are looked at."""
    plain = server + SEPARATOR + tool
    if tool and len(plain) <= max_length and _FOREIGN.search(tool) is None:
        return plain
    return _hashed(server, tool, _HASH_DIGITS, max_length)


def exposed_names(server: str, tools: Iterable[str], *, max_length: int = MAX_LENGTH) -> dict[str, str]:
    """Native name -> exposed name for the distinct tools of one server; injective.

    A name that is exposed as written keeps it; whoever collides with it gets a longer hash. Only a
    server that names its tools to provoke that can reach the second round.
    """
    result: dict[str, str] = {}
    taken: set[str] = set()
    changed = []
    for tool in sorted(set(tools)):
        name = exposed_name(server, tool, max_length=max_length)
        if name == server + SEPARATOR + tool:
            result[tool] = name
            taken.add(name)
        else:
            changed.append(tool)
    for tool in changed:
        digits = _HASH_DIGITS
        while (name := _hashed(server, tool, digits, max_length)) in taken:
            digits += 2
        result[tool] = name
        taken.add(name)
    return result


def _hashed(server: str, tool: str, digits: int, max_length: int) -> str:
    digest = hashlib.sha256(f"{server}\0{tool}".encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    readable = server + SEPARATOR + _FOREIGN.sub("_", tool)
    return f"{readable[: max_length - digits - 1]}_{digest}"
