"""Finds the configuration file, reads it whole, and says everything that is wrong with it at once.

The only reader of the process environment in the package: `environment()` takes one snapshot, and
all else gets it as an argument. Called by the command line and by a reload; knows nothing of what
runs. Text of the file never enters a message, except the names of keys.
"""

import difflib
import json
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mcp_gateway.config import foreign, forwarding, variables
from mcp_gateway.config import positions as json_positions
from mcp_gateway.config.added import SECTION
from mcp_gateway.config.model import (
    KEY_CHARS_MIN,
    PROXY_PLACE,
    SIGN_IN_PLACE,
    TITLE_CHARS_MAX,
    Activity,
    Auth,
    Config,
    ConfigError,
    Declared,
    DeclaredKey,
    GatewayConfig,
    Keep,
    Limits,
    Mcp,
    Password,
    Problem,
    Scopes,
    SecretRef,
    ServerConfig,
    Tailscale,
    ToolRules,
    TrustedProxy,
    key_place,
    keys_of,
    slug,
)
from mcp_gateway.config.secrets import SecretError, read_file

_Model = TypeVar("_Model", bound=BaseModel)

FILE_BYTES_MAX = 4 << 20  # the largest hand-written configurations are some hundred kilobytes
_FOREIGN_WRITERS = stat.S_IWGRP | stat.S_IWOTH
# Claude Desktop and .mcp.json; VS Code; what the gateway itself writes when it is asked to (`added`).
SECTIONS = ("mcpServers", "servers", SECTION)
_TOP_KEYS = (*SECTIONS, "gateway")
# The model behind the second part of a place; the first part of a longer one names it uniquely.
_INNER: Mapping[str, type[BaseModel]] = {
    "tools": ToolRules,
    "env": SecretRef,
    "headers": SecretRef,
    "mcp": Mcp,
    "limits": Limits,
    "activity": Activity,
    "auth": Auth,
    "tailscale": Tailscale,
    "trustedProxy": TrustedProxy,
}
# pydantic's words where they are not the words of somebody who writes JSON.
_SENTENCES = {
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_unicode": "must be valid Unicode",
}


@dataclass(frozen=True)
class Report:
    """What was found in a file: the configuration if it can be used, and what to say about it."""

    config: Config | None
    problems: tuple[Problem, ...] = ()
    unset: tuple[Problem, ...] = ()  # variables without a value: a warning to `serve`, a problem to `check`
    warnings: tuple[Problem, ...] = ()


def environment() -> Mapping[str, str]:
    """One read-only snapshot of the process environment."""
    return MappingProxyType(dict(os.environ))


def find_config(explicit: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file to read: what was asked for, even if it is missing, or the usual one if it is there."""
    if explicit is not None:
        return explicit.absolute()
    if named := env.get("MCP_GATEWAY_CONFIG"):
        return Path(named).absolute()
    usual = usual_config(env)
    return usual if usual and usual.exists() else None


def usual_config(env: Mapping[str, str]) -> Path | None:
    """Where a configuration is looked for when nobody names one; None without a home directory."""
    base = _xdg(env, "XDG_CONFIG_HOME", ".config")
    return base / "mcp" / "mcp_servers.json" if base else None


def state_dir(explicit: Path | None, env: Mapping[str, str]) -> Path:
    """Where state is kept; nothing is created here.

    Raises: ConfigError when there is neither a setting nor a home directory.
    """
    if explicit is not None:
        return explicit.absolute()
    if named := env.get("MCP_GATEWAY_STATE_DIR"):
        return Path(named).absolute()
    if given := env.get("STATE_DIRECTORY"):
        main, _, _ = given.partition(":")  # systemd lists several with colons
        return Path(main).absolute()
    base = _xdg(env, "XDG_STATE_HOME", ".local/state")
    if base is None:
        raise ConfigError(
            (Problem("", None, "no home directory to keep state in; pass --state-dir", None, "state"),)
        )
    return base / "mcp-gateway"


def empty(env: Mapping[str, str] = MappingProxyType({})) -> Config:
    """The configuration of a gateway that nobody configured: no servers, all defaults.

    Raises: ConfigError when a variable that stands for a setting cannot be used.
    """
    return parse(b"{}", source="environment", env=env)


def load(path: Path, env: Mapping[str, str]) -> Config:
    """The configuration in a file, for the gateway that this process is.

    Raises: ConfigError with every problem of the file.
    """
    config = _usable(check(path, env))
    if own := tuple(_proves_nothing(config, str(path))):
        raise ConfigError(own)
    return config


def parse(text: bytes, *, source: str, env: Mapping[str, str]) -> Config:
    """The configuration in a text; `source` names it in messages.

    Raises: ConfigError with every problem of the text.
    """
    return _usable(examine(text, source=source, env=env))


def check(path: Path, env: Mapping[str, str]) -> Report:
    """Everything there is to say about a file; never raises for what is in it."""
    try:
        text = read_text(path)
    except ConfigError as error:
        return Report(None, error.problems)
    report = examine(text, source=str(path), env=env)
    return replace(report, config=replace(report.config, path=path)) if report.config else report


def examine(text: bytes, *, source: str, env: Mapping[str, str]) -> Report:
    """Everything there is to say about a text; never raises for what is in it."""
    try:
        document, positions = _decode(text, source)
    except ConfigError as error:
        return Report(None, error.problems)
    reader = _Reader(source, positions, env)
    config = reader.read(document)
    problems, unset, warnings = (
        tuple(sorted(some, key=lambda one: one.line or 0))
        for some in (reader.problems, reader.unset, reader.warnings)
    )
    return Report(None if problems else config, problems, unset, warnings)


def as_text(document: Mapping[str, Any]) -> bytes:
    """A document as a file would hold it."""
    return json.dumps(document).encode()


def _usable(report: Report) -> Config:
    if report.config is None:
        raise ConfigError(report.problems)
    return replace(report.config, warnings=tuple(map(str, (*report.warnings, *report.unset))))


def _proves_nothing(config: Config, source: str) -> Iterator[Problem]:
    """A proxy of our own user: whoever checks a file for another user cannot know, so only `load` does."""
    tailscale, proxy = config.gateway.tailscale, config.gateway.trusted_proxy
    named = {
        "gateway.tailscale.uid": tailscale.uid if tailscale.identity else None,
        "gateway.trustedProxy.uid": proxy.uid if proxy and proxy.secret is None else None,
    }
    for place, uid in named.items():
        if uid == os.geteuid():
            sentence = (
                f"{uid} is the user that the gateway runs as, and so does every server it starts, which "
            )
            sentence += "could pass for the proxy; run the gateway as a user of its own"
            yield Problem(place, None, sentence, None, source)


def _xdg(env: Mapping[str, str], name: str, under_home: str) -> Path | None:
    given = Path(env.get(name, ""))
    if given.is_absolute():  # the XDG specification asks to ignore anything else
        return given
    home = env.get("HOME")
    if not home:
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return None
    return Path(home) / under_home


def read_text(path: Path) -> bytes:
    """The bytes of a file that nobody else could have written.

    The file decides what runs as this user, so whoever can write it is this user.

    Raises: ConfigError.
    """

    def refuse(sentence: str) -> ConfigError:
        return ConfigError((Problem("", None, sentence, None, str(path)),))

    try:
        # Not blocking: a FIFO without a writer would hold the start up for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            facts = os.fstat(file.fileno())  # of the open file, so that nothing can be swapped in between
            if not stat.S_ISREG(facts.st_mode):
                raise refuse("is not a file")
            if facts.st_uid not in (os.geteuid(), 0):
                raise refuse(
                    "belongs to another user, who could change what runs here; make it yours with chown"
                )
            if facts.st_mode & _FOREIGN_WRITERS:
                raise refuse("can be written by others, who could change what runs here; chmod go-w it")
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise refuse(f"cannot be read: {os.strerror(error.errno or 0)}") from None
    if len(text) > FILE_BYTES_MAX:
        raise refuse(f"is larger than {FILE_BYTES_MAX >> 20} MiB")
    return text


def _decode(text: bytes, source: str) -> tuple[Any, json_positions.Positions]:
    """The document and where things stand in it; duplicate keys are left to the reader."""

    def refuse(line: int | None, sentence: str) -> ConfigError:
        return ConfigError((Problem("", line, sentence, None, source),))

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        decoded = text.decode("utf-8-sig")  # editors on Windows write a byte order mark
        return json.loads(decoded, parse_constant=no_constant), json_positions.positions(decoded)
    except UnicodeDecodeError as error:
        raise refuse(text.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        at = decoded.split("\n")[error.lineno - 1].lstrip() if error.pos < len(decoded) else ""
        hint = "; JSON has no comments" if at.startswith(("//", "/*", "#")) else ""
        raise refuse(error.lineno, f"is not JSON: {error.msg} (column {error.colno}){hint}") from None
    except RecursionError:
        raise refuse(None, "is nested too deeply") from None
    except ValueError as error:
        raise refuse(None, f"is not JSON: {error}") from None


@dataclass
class _Reader:
    """One pass over one document, gathering problems instead of stopping at the first."""

    source: str
    positions: json_positions.Positions
    env: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    unset: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    declared: dict[str, Declared] = field(default_factory=dict)

    def read(self, document: Any) -> Config:
        for path, line in self.positions.repeated:
            first = self.positions.line(path)
            self.problems.append(
                Problem(
                    _place(path), line, f"stands here a second time; first on line {first}", None, self.source
                )
            )
        if not self._is_object(document, ()):
            return Config()
        for key in document:
            if key in (*_TOP_KEYS, "$schema"):
                continue
            if key in foreign.IGNORED_AT_TOP:
                self._ignored((key,), foreign.IGNORED_AT_TOP[key])
            elif isinstance(document[key], dict) and document[key].keys() & {"command", "url"}:
                self._problem((key,), "is a server outside `mcpServers`; move it in there")
            else:
                self._unknown((key,), _TOP_KEYS)
        servers, gateway = self._servers(document), self._gateway(document.get("gateway", {}))
        self._keep_to_itself(gateway, servers)
        return Config(servers, gateway, texts=self._texts_for(gateway), declared=self.declared)

    def _servers(self, document: dict[str, Any]) -> dict[str, ServerConfig]:
        servers: dict[str, ServerConfig] = {}
        names: dict[str, tuple[str, str]] = {}
        for section in SECTIONS:
            entries = document.get(section, {})
            if not self._is_object(entries, (section,)):
                continue
            for name, raw in entries.items():
                path = (section, name)
                server_id = slug(name)
                if not server_id:
                    self._problem(
                        path, "needs a letter a-z or a digit to make an id from; `title` may hold any text"
                    )
                elif server_id in names:
                    other = _place(names[server_id])
                    self._problem(path, f"has the same id `{server_id}` as {other}; rename one")
                names.setdefault(server_id, path)
                if self._is_object(raw, path) and (server := self._server(path, server_id or "x", raw)):
                    servers[server_id] = server
                    self.declared[server_id] = Declared(section, name, self.positions.line(path))
        return servers

    def _keep_to_itself(self, gateway: GatewayConfig, servers: Mapping[str, ServerConfig]) -> None:
        """The header in which the proxy says who is asking proves that to the gateway alone."""
        if gateway.trusted_proxy is None:
            return
        header = forwarding.plain(gateway.trusted_proxy.user_header)
        for server in servers.values():
            if header in map(forwarding.plain, server.forward_headers):
                self._problem(
                    ("gateway", "trustedProxy", "userHeader"),
                    f"is passed on to `{server.id}` by its `forwardHeaders`, and callers may have written it;"
                    " take it out there",
                )

    def _server(self, path: tuple[str, str], server_id: str, raw: dict[str, Any]) -> ServerConfig | None:
        told = foreign.translate(raw)
        for key, sentence in told.problems:
            self._problem((*path, key), sentence)
        for key, reason in told.ignored:
            self._ignored((*path, key), reason)
        if "id" in told.entry:
            self._problem((*path, "id"), "is made from the name of the server and cannot be set")
        entry = {"title": path[1].strip()[:TITLE_CHARS_MAX] or server_id, **told.entry, "id": server_id}
        server = self._validate(ServerConfig, entry, path, told.origin)
        for place, text in _texts(told.entry):
            at = (*path, told.origin.get(str(place[0]), place[0]), *place[1:])
            for asked in variables.prompts(text):
                self._problem(
                    at, f"`{asked}` would have to ask a person; use `${{VAR}}`, a file or a command"
                )
            if server and server.enabled:  # a server that is off needs nothing
                for name in variables.missing(text, self.env):
                    self._find(self.unset, at, f"variable {name} is not set")
        return server

    def _gateway(self, raw: Any) -> GatewayConfig:
        if not self._is_object(raw, ("gateway",)):
            return GatewayConfig()
        return self._validate(GatewayConfig, {**raw, **_of_environment(self.env)}, ("gateway",), {}) or (
            GatewayConfig()
        )

    def _texts_for(self, gateway: GatewayConfig) -> dict[str, str]:
        """The files that say who may come in. One that cannot be read lets nobody in, which is a warning."""
        named: dict[str, tuple[json_positions.Path, str | None]] = {
            key_place(key): (("auth", "keys", at, "file"), key.file)
            for at, key in enumerate(gateway.auth.keys)
        }
        if gateway.auth.password is not None:
            named[SIGN_IN_PLACE] = (("auth", "password", "file"), gateway.auth.password.file)
        if gateway.trusted_proxy is not None:
            named[PROXY_PLACE] = (("trustedProxy", "secret"), gateway.trusted_proxy.secret)
        texts: dict[str, str] = {}
        for place, (path, file) in named.items():
            if file is None:
                continue
            try:
                text = read_file("", file, self.env)
            except SecretError as problem:
                sentence = f"{str(problem).removeprefix(': ')}; nobody gets in by it"
                self._find(self.unset, ("gateway", *path), sentence)
                continue
            if place != SIGN_IN_PLACE and len(text) < KEY_CHARS_MIN:
                self._problem(
                    ("gateway", *path), f"holds fewer than {KEY_CHARS_MIN} characters: it could be guessed"
                )
            texts[place] = text
        return texts

    def _validate(
        self, model: type[_Model], entry: dict[str, Any], path: json_positions.Path, origin: Mapping[str, str]
    ) -> _Model | None:
        try:
            return model.model_validate(entry, by_alias=True, by_name=False)
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False, include_input=False):
                inner = _in_document(entry, error["loc"])
                at = (*path, *(origin.get(str(part), part) for part in inner[:1]), *inner[1:])
                if error["type"] == "extra_forbidden":
                    known = _model_at(model, inner)
                    self._unknown(at, keys_of(known), foreign.TRANSLATED if known is ServerConfig else ())
                else:
                    self._problem(at, _sentence(error["type"], error["msg"]))
            return None

    def _is_object(self, value: Any, path: json_positions.Path) -> bool:
        if not isinstance(value, dict):
            self._problem(path, "must be an object")
        return isinstance(value, dict)

    def _unknown(self, path: json_positions.Path, known: tuple[str, ...], also: Iterable[str] = ()) -> None:
        """`also` are words of other clients, which are meant only where none of our own is."""
        nearest = _nearest(str(path[-1]), known) or _nearest(str(path[-1]), also)
        rest = "" if nearest else "; known here: " + ", ".join(known)
        self._find(self.problems, path, "unknown key" + rest, nearest)

    def _ignored(self, path: json_positions.Path, reason: str) -> None:
        self._find(self.warnings, path, f"ignored: {reason}")

    def _problem(self, path: json_positions.Path, sentence: str) -> None:
        self._find(self.problems, path, sentence)

    def _find(
        self, into: list[Problem], path: json_positions.Path, sentence: str, nearest: str | None = None
    ) -> None:
        into.append(Problem(_place(path), self.positions.line(path), sentence, nearest, self.source))


def _of_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """Settings that the environment makes, which outranks the file at a reload, too."""
    public_url = env.get("MCP_GATEWAY_PUBLIC_URL", "").split()
    return {"publicUrl": public_url} if public_url else {}


def _place(path: json_positions.Path) -> str:
    """`mcpServers.git.args[2]`; a key that is no plain word is quoted: nothing odd reaches a terminal."""
    place = ""
    for part in path:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += "." * bool(place) + (
                part if re.fullmatch(r"[\w$-]+", part, re.ASCII) else json.dumps(part)
            )
    return place


def _in_document(entry: Any, loc: tuple[int | str, ...]) -> json_positions.Path:
    """The parts of a pydantic location that stand in the document, without the tags of its unions."""
    path: list[str | int] = []
    for part in loc:
        if part in entry if isinstance(entry, dict) else isinstance(entry, list) and isinstance(part, int):
            entry = entry[part]
            path.append(part)
    return tuple(path)


def _model_at(model: type[BaseModel], inner: json_positions.Path) -> type[BaseModel]:
    """The model whose keys may stand at a place below `model`."""
    if inner[:2] == ("activity", "keep") and len(inner) > 2:
        return Keep
    if inner[:2] == ("auth", "password") and len(inner) > 2:
        return Password
    if inner[:2] == ("auth", "keys") and len(inner) > 3:
        return Scopes if inner[3] == "scopes" and len(inner) > 4 else DeclaredKey
    return _INNER[str(inner[0])] if len(inner) > 1 else model


def _sentence(kind: str, message: str) -> str:
    said = _SENTENCES.get(kind, message.replace("Input should be", "must be").replace("should", "must"))
    return said[:1].lower() + said[1:]


def _nearest(key: str, known: Iterable[str]) -> str | None:
    """The known key that was probably meant; case, `-` and `_` do not count."""
    plain = {name.lower(): name for name in known}
    close = difflib.get_close_matches(re.sub(r"[-_\s]", "", key.lower()), plain, n=1)
    return plain[close[0]] if close else None


def _texts(entry: Mapping[str, Any]) -> Iterator[tuple[json_positions.Path, str]]:
    """Every text of a server in which variables are expanded, as far as the entry has the right shape."""
    for key in ("command", "cwd", "url"):
        if isinstance(entry.get(key), str):
            yield (key,), entry[key]
    if isinstance(args := entry.get("args"), list):
        yield from ((("args", index), text) for index, text in enumerate(args) if isinstance(text, str))
    for key in ("env", "headers"):
        if isinstance(values := entry.get(key), dict):
            for name, value in values.items():
                if isinstance(value, str):
                    yield (key, name), value
                elif isinstance(value, dict) and isinstance(value.get("file"), str):
                    yield (key, name, "file"), value["file"]
