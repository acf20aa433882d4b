"""The headers of one caller that go to a remote server with one call, where its configuration names any.

Picked when the call is handed to the server, by the configuration of that server at that moment. What
cannot be sent is refused here, before anything is. Which names a configuration may hold at all is
`config/forwarding.py`; this only knows values.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mcp_gateway.access.keys import PREFIX
from mcp_gateway.errors import GatewayError, Kind

# Names and values together: half of what common servers take as a whole head, which has to hold ours too.
FORWARDED_MAX_BYTES: Final = 4_096
NO_HEADERS: Final[Mapping[bytes, bytes]] = MappingProxyType({})
# What a value may hold (RFC 9110, section 5.5); no other control character means anything in one.
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_KEY_OF_OURS: Final = PREFIX.encode()
# Words of one value that are looked for by themselves, as the token after `Bearer`; more would take time.
SECRET_WORDS: Final = 4
_WORD: Final = re.compile(rb"[^\s,;]+")


def picked(server: str, names: Sequence[str], headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Those of `headers`, names in lower case, that the configuration names; written as it writes them.

    Raises:
        GatewayError: `invalid`; a value cannot be sent, is a credential of this gateway, or all are too long.
    """
    taken: dict[str, str] = {}
    size = 0
    for name in names:
        value = headers.get(name.lower().encode())
        if value is None:
            continue
        if _VALUE.fullmatch(value) is None:
            raise _refused(server, f"`{name}` holds characters that no header can carry")
        if _is_ours(value, headers):
            raise _refused(server, f"`{name}` holds a credential of this gateway, not one of that server")
        size += len(name) + len(value)
        taken[name] = value.decode("latin-1")
    if size > FORWARDED_MAX_BYTES:
        told = f"together they are {size} bytes long, and {FORWARDED_MAX_BYTES} is the most"
        raise _refused(server, told)
    return taken


def _refused(server: str, why: str) -> GatewayError:
    detail = f"The headers that go to the server `{server}` with a call cannot be passed on: {why}"
    return GatewayError(Kind.INVALID, detail, server=server)


def _is_ours(value: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Whether the caller has put what it shows to us into a header that goes on.

    A key declared in the configuration may be any text, so what this very request shows is looked for.
    """
    if _KEY_OF_OURS in value:
        return True
    shown = _WORD.findall(headers.get(b"authorization", b""))[1:]  # without the scheme
    return not set(shown).isdisjoint(_WORD.findall(value))


def secrets_of(forwarded: Mapping[str, str]) -> Iterator[str]:
    """The values as a log or a result of the server might repeat them: whole, and their longest words."""
    for value in forwarded.values():
        raw = value.encode("latin-1")
        words = sorted(_WORD.findall(raw), key=len)[-SECRET_WORDS:]
        for part in {raw, *words}:
            # As Latin-1 or as UTF-8, whichever the server took it for.
            yield from {part.decode("latin-1"), part.decode("utf-8", "replace")}
