"""Programs of others that tests run: where `make test` puts them, and what happens where it could not.

Knows paths and nothing else. Tests of what a program does stand where that matters.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
PROJECT: Final = TESTS.parent
REPOSITORY: Final = PROJECT.parents[1]

# Servers of the starter, one that writes where it is told to, and two beside our own interpreter.
NODE_SERVERS: Final = PROJECT / "starter" / "node_modules" / ".bin"
EVERYTHING: Final = NODE_SERVERS / "mcp-server-everything"
FILESYSTEM: Final = NODE_SERVERS / "mcp-server-filesystem"
NPM: Final = TESTS / "npm"
MEMORY: Final = NPM / "node_modules" / ".bin" / "mcp-server-memory"
GIT: Final = Path(sys.executable).with_name("mcp-server-git")
TIME: Final = Path(sys.executable).with_name("mcp-server-time")

# Clients.
INSPECTOR: Final = NPM / "node_modules" / ".bin" / "mcp-inspector"
MCP_REMOTE: Final = NPM / "node_modules" / ".bin" / "mcp-remote"
TYPESCRIPT_SDK1: Final = NPM / "node_modules" / "@modelcontextprotocol" / "sdk"
TYPESCRIPT_SDK2: Final = NPM / "node_modules" / "@modelcontextprotocol" / "client"
PYTHON_SDK1: Final = REPOSITORY / ".venv-clients-sdk1" / "bin" / "python"
FASTMCP: Final = REPOSITORY / ".venv-clients-fastmcp" / "bin" / "python"
# A generator of clients, the interpreter for what it writes, and a server with dependencies of its own.
OPENAPI: Final = REPOSITORY / ".venv-clients-openapi" / "bin"
OPENAPI_GENERATOR: Final = OPENAPI / "openapi-python-client"
OPENAPI_PYTHON: Final = OPENAPI / "python"
FETCH: Final = OPENAPI / "mcp-server-fetch"


def need(*programs: Path) -> None:
    """All of them are here, or this is a visible skip; where nothing may be skipped, a failure."""
    missing = [program.name for program in programs if not program.exists()]
    if any("node_modules" in program.parts for program in programs) and shutil.which("node") is None:
        missing.append("Node")
    if not missing:
        return
    words = f"not here, which make test sets up: {', '.join(missing)}"
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(words)
    pytest.skip(words)
