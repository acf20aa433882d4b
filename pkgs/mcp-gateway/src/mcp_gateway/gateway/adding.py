"""Servers that are added and removed at run time: what a pasted text would mean, and the file it goes to.

Knows one member of the configuration file, `addedServers`, and never writes another. To look starts nothing,
fetches nothing and reads no secret. To save is to define what runs on this machine: recorded on the disk
first, then written, then read again by `Reloading` as any other change of the file.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require_everywhere, sees_server
from mcp_gateway.config import added, load, pasted, shown, variables, writing
from mcp_gateway.config.added import SECTION
from mcp_gateway.config.aside import aside
from mcp_gateway.config.clients import NotRead, address, speaks_to
from mcp_gateway.config.load import Report
from mcp_gateway.config.model import Config, ConfigError, Problem, ServerConfig
from mcp_gateway.config.pasted import Proposed
from mcp_gateway.config.secrets import at_home
from mcp_gateway.errors import GatewayError, Kind, UnusableConfig
from mcp_gateway.gateway.actions import Actions
from mcp_gateway.gateway.calls import stopping, unknown_server
from mcp_gateway.gateway.reloading import Reloading, problem_facts
from mcp_gateway.upstream.process import SpawnError, locate

FILE_S: Final = 10.0  # as for reading it; a file system that is gone never answers
_BETTER: Final = 'it is kept as it is; {"file": PATH} or {"command": [...]} keeps it out of the file'

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Where servers are added; `reason` is a sentence that says why that cannot be, and what to do."""

    path: Path | None
    reason: str | None

    def facts(self) -> dict[str, Any]:
        path = None if self.path is None else str(self.path)
        return {"path": path, "writable": self.reason is None, "reason": self.reason}


class Adding:
    """`is_stopping` is asked before anything is written."""

    def __init__(
        self,
        reloading: Reloading,
        actions: Actions,
        environment: Mapping[str, str],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._reloading = reloading
        self._actions = actions
        self._environment = environment
        self._is_stopping = is_stopping
        self._one_at_a_time = asyncio.Lock()

    @property
    def _config(self) -> Config:
        return self._reloading.config

    @property
    def _path(self) -> Path | None:
        """The file that is read, or the usual one, which a gateway without a file would have read."""
        return self._config.path or load.usual_config(self._environment)

    async def file(self, caller: Caller) -> ConfigFile:
        """Where servers would be added, and whether they can be.

        Raises:
            GatewayError: `refused`.
        """
        require_everywhere(caller, Right.OPERATE)
        return await self._file()

    async def _file(self) -> ConfigFile:
        path = self._path
        if path is None:
            return ConfigFile(
                None, "There is no home directory to keep a configuration in; name a file with --config"
            )
        is_new = self._config.path is None
        try:
            return ConfigFile(path, await _aside(partial(writing.why_not, path, is_new=is_new)))
        except GatewayError as problem:
            return ConfigFile(path, problem.detail)

    # Looking

    async def check(self, caller: Caller, text: str, name: str | None) -> dict[str, Any]:
        """What a text would add, and all there is to say about it: `entries` and `file`.

        For who operates everything, and not only for who may save: a person looks before they prove that they
        may. It tells them whether a program is there and a variable is set, which the warnings of servers
        tell them as well.

        Raises:
            GatewayError: `refused`; `invalid` for a text that proposes nothing.
        """
        require_everywhere(caller, Right.OPERATE)
        proposed = _read(text, name)
        entries = await _aside(lambda: [self._entry(one) for one in proposed])
        ids = [one.id for one in proposed]
        for entry in entries:
            entry["taken"] = entry["id"] in self._config.servers or ids.count(entry["id"]) > 1
        return {"entries": entries, "file": (await self._file()).facts()}

    def _entry(self, one: Proposed) -> dict[str, Any]:
        """All about one server but `taken`; never a value of its environment or headers."""
        report = self._examine(one)
        config = None if report.config is None else report.config.servers.get(one.id)
        problems = [_problem(problem) for problem in report.problems]
        if speaks_to(one.entry, self._own_addresses()):
            problems.append({"place": None, "message": "is this gateway itself", "nearest": None})
        facts = {
            "id": one.id,
            "name": one.name,
            "guessed": one.is_guessed,
            "title": config.title if config else one.name,
            "transport": _transport(one.entry, config),
            "argv": None,
            "url": None,
            "cwd": None,
            "env": [],
            "headers": [],
            "program": None,
            "problems": problems,
            "warnings": self._warnings(one, report),
        }
        return facts if config is None else facts | self._what_runs(config)

    def _what_runs(self, config: ServerConfig) -> dict[str, Any]:
        told = shown.server(config, self._environment)
        argv = None if config.command is None else [told["command"], *told["args"]]
        program = None if config.command is None else self._program(config, config.command)
        return {key: told[key] for key in ("url", "cwd", "env", "headers")} | {
            "argv": argv,
            "program": program,
        }

    def _program(self, config: ServerConfig, command: str) -> dict[str, Any]:
        """Where the command is found, as a start would find it."""
        path = config.env.get("PATH", self._environment.get("PATH"))
        try:
            command = variables.expand(command, self._environment)
            cwd = config.cwd and at_home(variables.expand(config.cwd, self._environment), self._environment)
            path = variables.expand(path, self._environment) if isinstance(path, str) else None
            return {"path": locate(command, path, cwd), "reason": None}
        except SpawnError as problem:
            return {"path": None, "reason": shown.text(problem.reason)}
        except KeyError as missing:
            return {"path": None, "reason": f"variable {missing.args[0]} is not set"}

    def _examine(self, one: Proposed) -> Report:
        text = load.as_text({SECTION: {one.name: one.entry}})
        return load.examine(text, source="", env=self._environment)

    def _warnings(self, one: Proposed, report: Report) -> list[str]:
        told = [shown.text(note) for note in one.found.notes]
        told += [f"{problem.place}: {problem.message}" for problem in (*report.warnings, *report.unset)]
        told += [f"{place}: holds a secret in the clear; {_BETTER}" for place in one.found.secrets]
        return told

    def _own_addresses(self) -> frozenset[tuple[str, int] | None]:
        gateway = self._config.gateway
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        urls = (f"http://{host}:{gateway.port}", *gateway.public_url)
        return frozenset(map(address, urls)) - {None}

    # Saving

    async def add(self, caller: Caller, text: str, name: str | None) -> tuple[list[str], list[str]]:
        """Writes the servers of a text to the file and lets them come up: their ids, and what to warn of.

        All of them or none.

        Raises:
            GatewayError: `refused`, also where the file cannot be written; `invalid`, with status 409 for an
                id that is taken or a file that changed meanwhile; `unavailable` without a record of it.
            UnusableConfig: the file could not be used with them.
        """
        require_everywhere(caller, Right.EXEC)
        proposed = _read(text, name)
        entries = await _aside(lambda: [self._entry(one) for one in proposed])
        async with self._one_at_a_time:
            for one, entry in zip(proposed, entries, strict=True):
                self._require_good(one, entry)
            before = await self._before()
            after = before or added.EMPTY
            for one in proposed:
                after = added.with_server(after, one.name, one.entry)
            await self._require_usable(after)
            told = "; ".join(f"{entry['id']}: {_what(entry)}" for entry in entries)
            await self._write(caller, "server.add", told, before, after)
            ids = [one.id for one in proposed]
            if missing := [server for server in ids if server not in self._config.servers]:
                detail = f"{', '.join(missing)}: written to the file, which was changed again meanwhile"
                raise GatewayError(Kind.INVALID, detail, status=409)
        return ids, await self._told_after(proposed, entries)

    def _require_good(self, one: Proposed, entry: Mapping[str, Any]) -> None:
        if entry["problems"]:
            facts = [{"file": "", "line": None, **problem} for problem in entry["problems"]]
            raise UnusableConfig(f"{one.name[:200]}: {entry['problems'][0]['message']}", facts)
        if one.id in self._config.servers:
            raise GatewayError(
                Kind.INVALID, f"There is a server `{one.id}` already; give it another name", status=409
            )

    async def remove(self, caller: Caller, server: str) -> None:
        """Takes a server out of the file again, if it was added here.

        Raises:
            GatewayError: `unknown`; `refused`, naming its place, for one that a person declared; as `add`.
        """
        require_everywhere(caller, Right.EXEC)
        async with self._one_at_a_time:
            declared = self._config.declared.get(server)
            if declared is None or not sees_server(caller, server):
                raise unknown_server(server)
            if declared.section != SECTION:
                raise GatewayError(
                    Kind.REFUSED,
                    f"`{server}` is declared in {self._config.path}, line {declared.line}, under "
                    f"`{declared.section}`: take it out there, or switch it off here",
                    server=server,
                )
            before = await self._before()
            assert before is not None, "a server that is declared has a file"
            try:
                after = added.without_server(before, declared.name)
            except KeyError:
                raise _changed(self._path) from None
            await self._require_usable(after)
            await self._write(caller, "server.remove", server, before, after)

    async def _before(self) -> bytes | None:
        """The file as it is, which must be one that can be used; None where there is none yet.

        Raises:
            GatewayError: `refused`; `unavailable` when the gateway is stopping.
            UnusableConfig: somebody has to mend it first.
        """
        if self._is_stopping():
            raise stopping("its configuration stays as it is")
        file = await self._file()
        if file.path is None or file.reason is not None:
            raise GatewayError(Kind.REFUSED, file.reason or "")
        if self._config.path is None:
            return None
        try:
            text = await _aside(partial(load.read_text, file.path))
        except ConfigError as error:
            raise _unusable(error.problems) from None
        await self._require_usable(text)
        return text

    async def _require_usable(self, text: bytes) -> None:
        # It reads the files that say who may come in.
        look = partial(load.examine, text, source=str(self._path), env=self._environment)
        report = await _aside(look)
        if report.config is None:
            raise _unusable(report.problems)

    async def _write(
        self, caller: Caller, action: str, detail: str, before: bytes | None, after: bytes
    ) -> None:
        path = self._path
        assert path is not None, "`_before` refuses without one"
        await self._actions.commit(caller, Right.EXEC, action, detail=detail)
        try:
            if before is None:
                await _aside(partial(writing.create, path, after))
                self._reloading.adopt(path)
            else:
                await _aside(partial(writing.replace, path, before, after))
        except writing.NotWritten as problem:
            is_race = isinstance(problem, writing.ChangedMeanwhile)
            error = GatewayError(
                Kind.INVALID if is_race else Kind.REFUSED, f"{problem}", status=409 if is_race else None
            )
            self._actions.note(caller, Right.EXEC, action, detail=detail, outcome=error.kind.value)
            raise error from None
        await self._reloading.now()

    async def _told_after(self, proposed: list[Proposed], entries: list[dict[str, Any]]) -> list[str]:
        told = [f"{entry['id']}: {warning}" for entry in entries for warning in entry["warnings"]]
        path = self._path
        assert path is not None, "it was written"
        holds = any(one.entry.get("env") or one.entry.get("headers") or one.found.secrets for one in proposed)
        if holds and await _aside(partial(writing.is_read_by_others, path)):
            told.append(f"{path} can be read by other users of this machine (chmod 600 changes that)")
        return told


def _read(text: str, name: str | None) -> list[Proposed]:
    try:
        return pasted.read(text, name)
    except NotRead as problem:
        raise GatewayError(Kind.INVALID, f"The text {problem}") from None


def _problem(problem: Problem) -> dict[str, Any]:
    return {"place": problem.place or None, "message": problem.message, "nearest": problem.nearest}


def _transport(entry: Mapping[str, Any], config: ServerConfig | None) -> str:
    """In the words of a server's view."""
    if config is None:
        return "http" if "url" in entry else "stdio"
    if config.command is not None:
        return "stdio"
    return "sse" if config.type == "sse" else "http"


def _what(entry: Mapping[str, Any]) -> str:
    """What runs or is spoken to, for the record; arguments may say more than anybody wants to keep."""
    return str(entry["argv"][0] if entry["argv"] else entry["url"])


def _unusable(problems: tuple[Problem, ...]) -> UnusableConfig:
    detail = "Nothing was written, because the configuration could not be used"
    return UnusableConfig(f"{detail}: {problems[0]}", problem_facts(problems))


def _changed(path: Path | None) -> GatewayError:
    detail = f"{path} was changed meanwhile, so nothing was written; try again"
    return GatewayError(Kind.INVALID, detail, status=409)


async def _aside(work: Callable[[], _T]) -> _T:
    """What looks at files, on a thread of its own.

    Raises:
        GatewayError: `unavailable`.
    """
    try:
        return await aside(work, FILE_S)
    except TimeoutError:
        detail = f"The file system did not answer within {FILE_S:g} s; nothing is known to be written"
        raise GatewayError(Kind.UNAVAILABLE, detail, retry_after_s=FILE_S) from None
