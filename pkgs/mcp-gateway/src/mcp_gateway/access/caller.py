"""Who is asking. Made by the edge (`faces/http.py`) from proof, never from a name in a request."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Right(StrEnum):
    READ = "read"
    CALL = "call"
    OPERATE = "operate"
    EXEC = "exec"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is what activity records and limits go by; `rights` what `policy` decides on."""

    id: str
    rights: frozenset[Right]


# product.md: a direct request on loopback may read, call and operate; exec and admin ask for the code.
LOCAL_OPERATOR: Final = Caller("local", frozenset({Right.READ, Right.CALL, Right.OPERATE}))
