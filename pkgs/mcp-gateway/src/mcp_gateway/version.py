"""What this gateway calls itself."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("axios-mcp-gateway")

# The `Implementation` of MCP that servers and clients see.
CLIENT_INFO: Final[dict[str, str]] = {"name": "mcp-gateway", "title": "MCP Gateway", "version": VERSION}
