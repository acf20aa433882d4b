"""Makes the starter: a configuration with real servers that need no key, and something for them to work on.

Run by `make run` with the environment's interpreter; prints the path of the configuration and nothing
else on standard output, so that a script can take it. Everything written goes into the state
directory, never into the clone. Knows nothing of the gateway but its file format, and needs the
standard library alone, so that it says something sensible even where the installation is half done.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

STARTER: Final = Path(__file__).resolve().parent
# Not resolved: in a virtual environment this is a link, and the servers' commands are beside the link.
COMMANDS: Final = Path(sys.executable).parent
NODE_COMMANDS: Final = STARTER / "node_modules" / ".bin"

GIT_TIMEOUT_S: Final = 30  # a local commit takes milliseconds; a hang must not look like a slow start

WELCOME: Final = """This folder is what the starter's filesystem server may read and write.

Put a file here and ask a tool to read it. Nothing outside this folder is visible to that server.
"""
NOTES: Final = """# Demo

A small repository for the starter's git server. Break it as you like: delete the folder and the next
`make run` makes a new one.
"""


def main() -> int:
    """Makes what is missing, leaves what is there, prints where the configuration is."""
    try:
        home = state_dir(os.environ) / "starter"
        for folder in (home.parent, home):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = demo_folder(home / "files")
        repository = demo_repository(home / "repository")
        configuration = home / "mcp_servers.json"
        write_configuration(configuration, servers(files, repository))
    except OSError as problem:
        say(f"cannot make the starter: {problem}")
        return 1
    except subprocess.SubprocessError as problem:
        said = getattr(problem, "stderr", None)
        say(f"cannot make the demo repository: {problem}" + (f"\n{said.strip()}" if said else ""))
        return 1
    print(configuration)
    return 0


def state_dir(env: Mapping[str, str]) -> Path:
    """Where the gateway keeps its state; the gateway's own order, which a test compares with this one."""
    if explicit := env.get("MCP_GATEWAY_STATE_DIR"):
        return Path(explicit).absolute()
    if given := env.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd lists all of a unit's directories
    base = env.get("XDG_STATE_HOME", "")
    # The base directory specification: a relative path there is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state"
    return root / "mcp-gateway"


def demo_folder(folder: Path) -> Path:
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
        (folder / "welcome.txt").write_text(WELCOME, encoding="utf-8")
    return folder


def demo_repository(folder: Path) -> Path:
    """A repository with one commit; made aside and moved, so that an interrupted start leaves no half."""
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".repository-") as scratch:
        fresh = Path(scratch) / "repository"
        fresh.mkdir(mode=0o700)
        (fresh / "notes.md").write_text(NOTES, encoding="utf-8")
        git(fresh, "init", "--quiet", "--template=", "--initial-branch=main")
        # In the repository itself, so that the git server's own commit tool works without anybody's
        # identity and never waits for a passphrase.
        git(fresh, "config", "user.name", "MCP Gateway demo")
        git(fresh, "config", "user.email", "demo@localhost")
        git(fresh, "config", "commit.gpgsign", "false")
        git(fresh, "add", "notes.md")
        git(fresh, "commit", "--quiet", "--message", "Begin the demo repository")
        fresh.rename(folder)
    return folder


def git(repository: Path, *args: str) -> None:
    """Runs git on that repository and no other, whatever the caller's environment and settings say."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    subprocess.run(
        ("git", *args),
        cwd=repository,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_TIMEOUT_S,
    )


def servers(files: Path, repository: Path) -> dict[str, Any]:
    """The servers this machine can run, in the words of the configuration file."""
    found: dict[str, Any] = {
        "time": {"command": str(COMMANDS / "mcp-server-time")},
        "git": {"command": str(COMMANDS / "mcp-server-git"), "args": ["--repository", str(repository)]},
    }
    if shutil.which("node") is None:
        say("Node is not here: the starter goes without filesystem and everything.")
        return found
    node_servers = {
        "filesystem": ("mcp-server-filesystem", [str(files)]),
        "everything": ("mcp-server-everything", ["stdio"]),
    }
    if not all((NODE_COMMANDS / command).exists() for command, _ in node_servers.values()):
        say("The npm packages are not installed: the starter goes without filesystem and everything.")
        return found
    for name, (command, args) in node_servers.items():
        found[name] = {"command": str(NODE_COMMANDS / command), "args": args}
    return found


def write_configuration(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the file anew as long as it is ours to write.

    The hash of what was last written lies beside it. A file with another hash has been edited by a
    person and is theirs from then on, stale paths included; deleting it brings the starter's back.
    """
    receipt = path.with_name(".written-sha256")
    wanted = (json.dumps({"mcpServers": content}, indent=2) + "\n").encode()
    try:
        present = path.read_bytes()
    except FileNotFoundError:
        present = None
    if present is not None and present != wanted:
        ours = receipt.read_text(encoding="ascii").strip() if receipt.exists() else ""
        if hashlib.sha256(present).hexdigest() != ours:
            say(f"Keeping your edits in {path}; delete the file to get the starter's own back.")
            return
    if present != wanted:
        replace(path, wanted)
    replace(receipt, hashlib.sha256(wanted).hexdigest().encode() + b"\n")


def replace(path: Path, content: bytes) -> None:
    """Swaps a file whole, readable by its owner alone: the gateway refuses a file others may write."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).replace(path)


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
