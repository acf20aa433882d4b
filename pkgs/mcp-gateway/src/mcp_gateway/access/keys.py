"""API keys: made, read and compared; pure.

A key is `mgk_<id>_<secret>` with 256 bit of chance, so its SHA-256 is all that is kept (security.md S09): it
cannot be guessed from that, and looking it up by the digest tells nothing by its timing.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from mcp_gateway.access.caller import Caller, Grant

PREFIX: Final = "mgk_"
CALLER_PREFIX: Final = "key:"  # of the ids of callers
MAX_CHARS: Final = 1_024  # of what is looked at; more is no key
HASH_PREFIX: Final = "sha256:"
_ID_BYTES: Final = 5
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Key:
    """`digest` is the SHA-256 of the whole text; times are seconds since 1970.

    A declared one has no `created`.
    """

    id: str
    name: str
    digest: bytes
    grant: Grant
    created: float | None = None
    created_by: str | None = None
    expires: float | None = None

    @property
    def is_declared(self) -> bool:
        return self.created is None

    def caller(self) -> Caller:
        return Caller(CALLER_PREFIX + self.id, (self.grant,), self.name)

    def is_expired(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now


def make() -> tuple[str, str]:
    """A new key: its id and its text, which is shown once."""
    key_id = secrets.token_hex(_ID_BYTES)
    return key_id, f"{PREFIX}{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def hash_text(text: str) -> str:
    """As a configuration declares a key without holding it."""
    return HASH_PREFIX + digest(text).hex()
