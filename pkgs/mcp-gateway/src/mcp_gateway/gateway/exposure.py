"""What the gateway is exposed to: where it listens."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from mcp_gateway.config.model import is_loopback


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the port is: the address as it is bound, and the path of a unix socket beside it."""

    address: str = "127.0.0.1"
    port: int = 0
    socket: str | None = None

    @property
    def is_exposed(self) -> bool:
        """Whether other machines reach it."""
        return not is_loopback(self.address)

    @property
    def is_everywhere(self) -> bool:
        """Whether it is every address of this machine."""
        return ip_address(self.address).is_unspecified

    @property
    def url(self) -> str:
        """What a program on this machine opens."""
        address = self.address
        if self.is_everywhere:
            address = "::1" if ":" in address else "127.0.0.1"
        return f"http://[{address}]:{self.port}" if ":" in address else f"http://{address}:{self.port}"


HERE: Final = Listening()


class Exposure:
    """`is_mcp_open`: there are MCP URLs, which only a restart changes."""

    def __init__(self, listening: Listening, *, is_mcp_open: bool) -> None:
        self.listening = listening
        self.is_mcp_open = is_mcp_open
