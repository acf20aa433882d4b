"""The command line itself: what is imported when, and that its list of commands is true."""

import subprocess
import sys

import pytest

from mcp_gateway.cli import COMMANDS, load_command

HEAVY = {"rich", "aiohttp", "pydantic", "uvicorn", "fastapi", "starlette", "asyncio"}


def imported(source: str) -> set[str]:
    program = f"{source}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_but_click() -> None:
    source = "from mcp_gateway.cli import main; main(['--help'], standalone_mode=False)"
    assert imported(source) & HEAVY == set()


def test_serve_imports_no_part_of_the_client() -> None:
    source = "import mcp_gateway.app, mcp_gateway.store; from mcp_gateway.cli import load_command; "
    assert imported(source + "load_command('serve')") & {"rich"} == set()
    assert (
        imported("from mcp_gateway.cli import load_command; load_command('serve')")
        & {
            "rich",
            "aiohttp",
            "uvicorn",
        }
        == set()
    )


def test_the_help_of_a_command_that_asks_needs_nothing_of_the_gateway() -> None:
    loaded = imported(
        "from mcp_gateway.cli import load_command; load_command('keys'); load_command('servers')"
    )
    assert loaded & {"rich", "pydantic", "uvicorn", "fastapi", "argon2", "sqlite3"} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_help_is_what_the_command_says_of_itself(name: str) -> None:
    said = load_command(name).get_short_help_str(200).rstrip(".")
    assert said == COMMANDS[name][1].rstrip(".")
