"""Who is asking. Made by the edge (`faces/edge.py`) from proof, never from a name in a request."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Right(StrEnum):
    """`READ` and `CALL` concern servers and tools, `OPERATE` switches them; `EXEC` is to define what runs
    on this machine, `ADMIN` who may do what."""

    READ = "read"
    CALL = "call"
    OPERATE = "operate"
    EXEC = "exec"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """Some rights over some servers and tools; what is None is not narrowed.

    `servers` are patterns of server ids. `tools` are patterns of native names, `name` for any server or
    `server/name`. `read_only`: only tools that their server says change nothing.
    """

    rights: frozenset[Right]
    servers: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    read_only: bool = False

    @property
    def is_everywhere(self) -> bool:
        return self.servers is None and self.tools is None and not self.read_only


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is what activity records, limits and sessions go by; `grants` what `policy` decides on.

    `rights` are held somewhere, `everywhere` are held over all there is.
    """

    id: str
    grants: tuple[Grant, ...]
    name: str = ""
    rights: frozenset[Right] = field(init=False)
    everywhere: frozenset[Right] = field(init=False)

    def __post_init__(self) -> None:
        rights = (grant.rights for grant in self.grants)
        everywhere = (grant.rights for grant in self.grants if grant.is_everywhere)
        object.__setattr__(self, "rights", frozenset[Right]().union(*rights))
        object.__setattr__(self, "everywhere", frozenset[Right]().union(*everywhere))

    @property
    def sees_everything(self) -> bool:
        return bool(self.everywhere)


def unlimited(caller_id: str, *rights: Right, name: str = "") -> Caller:
    return Caller(caller_id, (Grant(frozenset(rights)),), name)


USER: Final = (Right.READ, Right.CALL)
OPERATOR: Final = (*USER, Right.OPERATE)
CONSOLE: Final = (*OPERATOR, Right.EXEC, Right.ADMIN)

# product.md: a direct request on loopback may read, call and operate; exec and admin ask for the code.
LOCAL_OPERATOR: Final = unlimited("local", *OPERATOR)
# Who knows the one-time code can read the state directory, or was shown the console.
CONSOLE_ID: Final = "console"
OPERATOR_ID: Final = "operator"
NOBODY: Final = Caller("nobody", ())
