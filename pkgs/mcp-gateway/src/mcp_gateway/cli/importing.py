"""`import`: the servers of other MCP clients' files, added to ours.

Reads files and writes one; `clients` says what stands in them. The merged configuration is printed, and
written only with --write: whole or not at all, with the file before it kept beside it.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from mcp_gateway.cli.failures import Exit, unusable
from mcp_gateway.cli.options import DEFAULT_URL, Asked, common
from mcp_gateway.cli.screen import say, say_json
from mcp_gateway.config import load
from mcp_gateway.config.clients import Found, NotRead, address, read_servers, speaks_to
from mcp_gateway.config.model import slug
from mcp_gateway.visible import safe

FILE_BYTES_MAX: Final = 64 << 20  # Claude Code keeps its history beside its servers


@dataclass
class _Merge:
    """Our document as it grows."""

    document: dict[str, Any]
    env: Mapping[str, str]
    own: frozenset[tuple[str, int] | None]  # where this gateway answers
    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, found: Found, source: Path) -> None:
        """Takes one server in, or says why not."""
        where = f"{source}: {json.dumps(found.name)}"
        if speaks_to(found.entry, self.own):
            self.notes.append(f"{where}: skipped: it is this gateway itself")
            return
        self.notes += [f"{where}: {note}" for note in found.notes]
        entry, problems = found.entry, self._problems(found)
        server_id = slug(found.name)
        there = next((raw for name, raw in self._servers() if slug(name) == server_id), None)
        if problems:
            self.left_out += [f"{where}: left out: {problem}" for problem in problems]
        elif there is None:
            self.document.setdefault("mcpServers", {})[found.name] = entry
            self.added.append(found.name)
            self.notes += [
                f"{where}: {place} holds a secret in the clear; {_BETTER}" for place in found.secrets
            ]
        elif there == entry:
            self.known.append(found.name)
        else:
            self.left_out.append(f"{where}: left out: `{server_id}` is there already and differs; rename one")

    def _servers(self) -> Iterable[tuple[str, Any]]:
        for section in load.SECTIONS:
            yield from self.document.get(section, {}).items()

    def _problems(self, found: Found) -> list[str]:
        if not slug(found.name):
            return ["its name has no letter a-z and no digit"]
        text = json.dumps({"mcpServers": {found.name: found.entry}}).encode()
        report = load.examine(text, source="", env=self.env)
        return [f"{problem.place}: {problem.message}" for problem in report.problems]


_BETTER: Final = 'it is kept as it is; {"file": PATH} or {"command": [...]} keeps it out of this file'


@click.command("import")
@click.option("--write", is_flag=True, help="Write the configuration; what was there is kept beside it.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Ours; else $MCP_GATEWAY_CONFIG or the usual one."
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path)
)
@common
def import_(asked: Asked, files: tuple[Path, ...], write: bool, config: Path | None) -> None:
    """Read the servers of other MCP clients into the configuration.

    Understands the files of Claude Desktop, Claude Code, VS Code, Cursor, Codex (TOML) and Gemini CLI.
    Prints the whole configuration; nothing is changed without --write.
    """
    env = load.environment()
    target = load.find_config(config, env) or load.usual_config(env)
    if target is None:
        raise unusable("There is no home directory to keep a configuration in; name a file with --config")
    ours = _ours(target, env)
    merge = _Merge(ours, env, _own_addresses(asked, ours))
    for source in files:
        for found in _read(source):
            merge.add(found, source)
    for note in (*merge.notes, *merge.left_out):
        say(f"warning: {safe(note, lines=False)}", err=True)
    text = json.dumps(merge.document, indent=2, ensure_ascii=False) + "\n"
    if not write:
        say_json(text.rstrip("\n").encode("utf-8", "surrogatepass"))
    else:
        _report(asked, merge, target, _write(target, text) if merge.added else None)
    if merge.left_out:
        raise click.exceptions.Exit(Exit.USAGE)


def _own_addresses(asked: Asked, ours: Mapping[str, Any]) -> frozenset[tuple[str, int] | None]:
    """Where the gateway that this configuration is for answers: as one that runs, and by its file."""
    settings = ours.get("gateway", {})
    host, port = settings.get("host", "localhost"), settings.get("port")
    configured = DEFAULT_URL if port is None else f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return frozenset((address(asked.base()[0]), address(configured))) - {None}


def _report(asked: Asked, merge: _Merge, target: Path, backup: Path | None) -> None:
    if asked.json:
        facts = {"config": str(target), "backup": backup and str(backup), "added": merge.added}
        say(json.dumps({**facts, "known": merge.known, "leftOut": merge.left_out}))
        return
    if merge.added:
        say(f"Added to {target}: {', '.join(safe(name, lines=False) for name in merge.added)}")
    else:
        say(f"Nothing new for {target}")
    if backup:
        say(f"What was there is kept in {backup}")


def _ours(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """Our own document, which must be good before anything is added to it."""
    if not path.exists():
        return {"mcpServers": {}}
    report = load.check(path, env)
    if report.config is None:
        raise unusable("\n".join(map(str, report.problems)) + "\nMend the configuration first")
    document = json.loads(path.read_text(encoding="utf-8-sig"))
    assert isinstance(document, dict)  # it was read as a configuration just now
    return document


def _read(path: Path) -> list[Found]:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise NotRead(f"is larger than {FILE_BYTES_MAX >> 20} MiB")
        return read_servers(text, is_toml=path.suffix == ".toml")
    except OSError as problem:
        raise unusable(f"{path} cannot be read: {problem.strerror}") from None
    except NotRead as problem:
        raise unusable(f"{path} {problem}") from None


def _write(path: Path, text: str) -> Path | None:
    """Puts the text in place of the file, in one step; answers where the file before it is kept."""
    real = path.resolve()  # a link stays a link
    fresh = real.with_name(f".{real.name}.{secrets.token_hex(4)}")
    try:
        real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = real.stat().st_mode & 0o777 if real.exists() else 0o600  # it may hold secrets
        backup = _keep(real, mode) if real.exists() else None
        try:
            _write_new(fresh, text.encode(), mode)
            fresh.replace(real)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as problem:
        raise unusable(f"{real} cannot be written: {problem.strerror}") from None
    return backup


def _keep(path: Path, mode: int) -> Path:
    """A copy beside the file, under a name that was not there."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        backup = path.with_name(f"{path.name}.{stamp}{f'-{number}' if number else ''}.bak")
        try:
            _write_new(backup, path.read_bytes(), mode)
        except FileExistsError:
            number += 1
        else:
            return backup


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
