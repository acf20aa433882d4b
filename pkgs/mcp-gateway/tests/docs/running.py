"""Runs what stands in the code blocks of a page, in the order of the page, in one folder.

    ```sh                    run as a script; every command has to succeed, and `curl` to be answered 2xx
    ```console               lines after `$ ` are run, one by one; what they print is what stands below
                             them, where `...` stands for anything
    ```json title="c.json"   a file that the commands after it find
    <!-- not run: why -->    on the line before a block: not run, for that reason

Blocks of other languages are there to be read. The page has the usual address of the gateway in it, and in
what commands print the real one is put back for it. Knows a page, a folder and an address, and no gateway.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ADDRESS: Final = "http://127.0.0.1:8085"  # as pages write it
LIMIT_S: Final = 60.0
_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)$")
_TITLE: Final = re.compile(r'title="([^"]+)"')
_NOT_RUN: Final = re.compile(r"^ *<!-- not run: (\S.*?) *-->$")
_LANGUAGES: Final = ("sh", "console")
# Our command is that of the source under test; `-q` keeps settings of whoever runs the tests out of curl.
_PRELUDE: Final = f"""
set -euo pipefail
mcp-gateway() {{ {sys.executable} -m mcp_gateway "$@"; }}
"""
_CURL: Final = 'curl() { command curl -q --max-time 30 "$@"; }\n'
_STRICT_CURL: Final = 'curl() { command curl -q --max-time 30 --fail-with-body "$@"; }\n'


@dataclass(frozen=True)
class Block:
    """One fenced block: where its first line stands, its language, the file that it is, its text."""

    page: str
    line: int
    language: str
    title: str | None
    text: str
    why_not: str | None = None  # it is not run

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page; fails for one that is not closed."""
    return list(_blocks(page.name, page.read_text(encoding="utf-8").split("\n")))


def to_run(page: Path) -> list[Block]:
    """Those with something to do: files and commands."""
    return [
        block
        for block in blocks(page)
        if block.why_not is None and (block.title or block.language in _LANGUAGES)
    ]


def _blocks(name: str, lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        first = at + 1
        closing = f"{opened['indent']}```"
        at = first
        while at < len(lines) and lines[at].rstrip() != closing:
            at += 1
        assert at < len(lines), f"{name}:{first}: a block that is not closed"
        info = opened["info"].strip()
        title = _TITLE.search(info)
        why_not = _NOT_RUN.match(lines[first - 2]) if first > 1 else None
        text = "".join(f"{line.removeprefix(opened['indent'])}\n" for line in lines[first:at])
        yield Block(
            name,
            first + 1,
            info.split()[0] if info else "",
            title[1] if title else None,
            text,
            why_not[1] if why_not else None,
        )
        at += 1


class Folder:
    """Where a page's files are and its commands run."""

    def __init__(self, path: Path, address: str, environment: Mapping[str, str]) -> None:
        self.path = path
        self.address = address
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        self._environment = kept | {"HOME": str(path)} | dict(environment)

    def take(self, block: Block) -> None:
        """Does what a block says; fails where it fails or prints something else."""
        if block.title is not None:
            file = self.path / block.title
            file.write_text(self._here(block.text), encoding="utf-8")
            file.chmod(0o600)
        elif block.language == "sh":
            said, status = self._run(_STRICT_CURL, block.text)
            assert status == 0, f"{block}: exit code {status}: {said}"
        else:
            for command, expected in commands(block.text):
                said, _ = self._run(_CURL, command)
                told = said.replace(self.address, ADDRESS)
                assert _matches(told, expected), f"{block}: {command}\nprinted {told!r}\nand not {expected!r}"

    def _run(self, curl: str, script: str) -> tuple[str, int]:
        done = subprocess.run(
            ["bash", "-c", f"{_PRELUDE}{curl}{self._here(script)}"],
            cwd=self.path,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
        return done.stdout, done.returncode

    def _here(self, text: str) -> str:
        return text.replace(ADDRESS, self.address)


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console, each with what it prints; a line that ends with a backslash goes on."""
    found: list[tuple[str, str]] = []
    is_open = False
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        elif is_open:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            assert found, f"a console begins with `$ `: {line}"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
            continue
        is_open = line.endswith("\\")
    return found


def _matches(told: str, expected: str) -> bool:
    parts = (re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(".*?".join(parts), told.strip().replace("\r\n", "\n"), re.DOTALL) is not None
