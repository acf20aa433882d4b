"""The cookie of a sign-in: its name, how it is read and how it is set. Knows nothing of what it means.

Browsers send cookies to all ports of a host, so the name holds the port; two gateways of one host would
else sign each other's people out. Over https `__Host-` keeps pages of other names from setting it.
"""

import re
from collections.abc import Mapping
from typing import Final

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.sign_ins import ABSOLUTE_S

_PORT: Final = re.compile(rb":(\d{1,5})\Z")
_COMMON: Final = "Path=/; HttpOnly; SameSite=Lax"


def name_of(headers: Mapping[bytes, bytes], is_secure: bool) -> str:
    """The cookie's name at the address that the browser sees."""
    found = _PORT.search(headers.get(b"host", b""))
    usual = 443 if is_secure else 80
    port = usual if found is None else int(found[1])
    return f"__Host-mcp-gateway-{port}" if is_secure else f"mcp-gateway-{port}"


def read(headers: Mapping[bytes, bytes], is_secure: bool) -> str | None:
    """What the cookie holds, or None when it was not sent.

    Raises:
        GatewayError: `invalid` for two of them, since another port of the host may have set one.
    """
    sent = headers.get(b"cookie")
    if sent is None:
        return None
    name = name_of(headers, is_secure).encode()
    pairs = (pair.strip(b" \t").partition(b"=") for pair in sent.split(b";"))
    values = [value for key, _, value in pairs if key == name]
    if len(values) > 1:
        detail = f"The cookie `{name.decode()}` was sent twice; delete the cookies of this host and sign in"
        raise GatewayError(Kind.INVALID, detail)
    return values[0].decode("latin-1") if values else None


def to_set(headers: Mapping[bytes, bytes], is_secure: bool, text: str) -> str:
    """The value of a Set-Cookie header."""
    return _written(headers, is_secure, text, round(ABSOLUTE_S))


def to_delete(headers: Mapping[bytes, bytes], is_secure: bool) -> str:
    return _written(headers, is_secure, "", 0)


def _written(headers: Mapping[bytes, bytes], is_secure: bool, text: str, max_age_s: int) -> str:
    secure = "; Secure" if is_secure else ""
    return f"{name_of(headers, is_secure)}={text}; {_COMMON}; Max-Age={max_age_s}{secure}"
