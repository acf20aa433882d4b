"""What `tailscale serve` and Funnel put on a request, header line by header line, as its serve.go writes it.

The five cases of security.md S07. Of all that is here only tailscaled writes a word of its own: it deletes
these names from what the client sent and then sets what holds. Values are ASCII, or RFC 2047 where a name is
not. A target on TCP keeps the client's Host, a unix target says localhost.
"""

from typing import Final

NODE: Final = b"edge.taile0fb4.ts.net:8448"
URL: Final = f"https://{NODE.decode()}"
ADDRESS: Final = b"100.101.102.103"
CAPABILITY: Final = "example.com/cap/mcp-gateway"

ALICE: Final = "alice@example.com"
BOSS: Final = "boss@example.com"
JURGEN: Final = "jürgen@example.com"

Head = tuple[bytes, ...]

OVER_TCP: Final[Head] = (
    b"Host: " + NODE,
    b"X-Forwarded-For: " + ADDRESS,
    b"X-Forwarded-Host: " + NODE,
    b"X-Forwarded-Proto: https",
)
OVER_UNIX: Final[Head] = (b"Host: localhost", *OVER_TCP[1:])
_INFO: Final[Head] = (
    b"Tailscale-Headers-Info: https://tailscale.com/s/serve-headers",
    b"Tailscale-User-Profile-Pic: https://example.com/photo.jpg",
)


def user(login: bytes = ALICE.encode(), name: bytes = b"Alice Architect") -> Head:
    return (*_INFO, b"Tailscale-User-Login: " + login, b"Tailscale-User-Name: " + name)


ENCODED: Final = user(b"=?utf-8?q?j=C3=BCrgen@example.com?=", b"=?utf-8?q?Ferris_B=C3=BCller?=")
# A name of more than 75 bytes comes as several words.
LONG_NAME: Final = user(name=b"=?utf-8?q?" + b"=C3=BC" * 10 + b"?= =?utf-8?q?" + b"=C3=BC" * 10 + b"?=")
TAGGED: Final[Head] = ()  # a tagged node is nobody's: no name at all
FUNNEL: Final[Head] = (b"Tailscale-Funnel-Request: ?1",)


def granted(capabilities: bytes) -> Head:
    """`--accept-app-caps`: what the policy of the tailnet grants to the client's address."""
    return (b"Tailscale-App-Capabilities: " + capabilities,)
