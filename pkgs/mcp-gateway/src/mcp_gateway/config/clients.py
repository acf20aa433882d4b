"""Other MCP clients' files in our words: where their servers stand, and what their keys mean here. Pure.

    Claude Desktop, Cursor, Gemini CLI     mcpServers
    Claude Code                            mcpServers, and those of each project in ~/.claude.json
    VS Code                                servers, or mcp.servers in settings.json; comments are allowed
    Zed                                    context_servers, in settings.json; comments are allowed
    Codex                                  [mcp_servers.NAME], TOML

Keys that the loader understands or ignores for other clients are its business (`config/foreign`); here is
what only an import can do: units, prompts, bearer variables, comments.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_gateway.config import foreign
from mcp_gateway.config.model import ServerConfig, keys_of
from mcp_gateway.config.shown import SECRET_NAME, SECRET_TEXT

_OURS: Final = frozenset(keys_of(ServerConfig))
_PROMPT: Final = re.compile(r"\$\{input:([^}]*)\}")
_PLACES: Final = {"${userHome}": "${HOME}", "${env:HOME}": "${HOME}"}
_EDITORS_WORD: Final = re.compile(r"\$\{(?:workspaceFolder|workspaceRoot|file|cwd)[^}]*\}")
# A number of seconds above the longest a call may take by default is one of milliseconds.
_SURELY_MS: Final = 900
_MAX_TIMEOUT_S: Final = 900.0
_TOO_MANY_MS: Final = 1e12  # what no float holds, or no number, too
_SECRET_ARG: Final = re.compile(r"^--?([A-Za-z][\w-]*)(?:=(.+))?$", re.DOTALL)


class NotRead(Exception):
    """The file holds nothing that could be imported; the text says why, after its name."""


@dataclass
class Found:
    """One server in our words; `notes` say what became of the rest, `secrets` where one stands open."""

    name: str
    entry: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def secrets(self) -> list[str]:
        return list(dict.fromkeys(_secrets(self.entry)))


def read_servers(text: bytes, *, is_toml: bool) -> list[Found]:
    """The servers of a client's file.

    Raises: NotRead.
    """
    return servers_in(decode(text, is_toml=is_toml))


def decode(text: bytes, *, is_toml: bool) -> dict[str, Any]:
    """What stands in a client's file.

    Raises: NotRead.
    """
    try:
        decoded = text.decode("utf-8-sig")
        document = tomllib.loads(decoded) if is_toml else lenient_json(decoded)
    except (ValueError, RecursionError) as problem:
        raise NotRead(f"cannot be read: {problem}") from None
    if not isinstance(document, dict):
        raise NotRead("is not a file of MCP servers")
    return document


def servers_in(document: Mapping[str, Any]) -> list[Found]:
    """The servers of what `decode` answered, in our words.

    Raises: NotRead.
    """
    sections = list(_sections(document))
    if not sections:
        raise NotRead("has no MCP servers: none of mcpServers, servers, mcp.servers and mcp_servers")
    is_codex = "mcp_servers" in document
    return [
        translated(name, raw, is_codex=is_codex)
        for section in sections
        for name, raw in section.items()
        if isinstance(raw, dict)
    ]


def address(url: str) -> tuple[str, int] | None:
    """Whom a URL speaks to; all names of this machine are one. None when it is no URL of HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    host = (parts.hostname or "").rstrip(".")
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    return ("localhost" if is_here else host), port


def speaks_to(entry: Mapping[str, Any], addresses: Collection[tuple[str, int] | None]) -> bool:
    """Whether a server is at one of these addresses, or a bridge to it such as `mcp-remote URL`."""
    args = entry.get("args")
    texts = [entry.get("url"), *(args if isinstance(args, list) else ())]
    found = {address(text) for text in texts if isinstance(text, str)} - {None}
    return not found.isdisjoint(addresses)


_NAMES_OF_SECTIONS: Final = ("mcpServers", "servers", "addedServers", "mcp_servers", "context_servers")


def _sections(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    inner, projects = document.get("mcp"), document.get("projects")
    candidates = [document.get(key) for key in _NAMES_OF_SECTIONS]
    candidates.append(inner.get("servers") if isinstance(inner, dict) else None)
    if isinstance(projects, dict):
        candidates += [one.get("mcpServers") for one in projects.values() if isinstance(one, dict)]
    yield from (section for section in candidates if isinstance(section, dict))


# Strings, comments, blanks, commas, all else. Each also matches where its end is missing, so that a text
# which opens many is walked through once.
_JSONC: Final = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?|\s++|,|[^\s,"/]++|/', re.DOTALL
)


def lenient_json(text: str) -> Any:
    """JSON with comments and commas before a closing bracket, as VS Code's files may hold them.

    Raises: ValueError, RecursionError.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return json.loads(_strict_json(text))


def _strict_json(text: str) -> str:
    pieces: list[str] = []
    comma: int | None = None  # one that nothing has followed yet
    for match in _JSONC.finditer(text):
        piece = match[0]
        if piece.startswith(("//", "/*")):
            # A comment becomes blanks of its own shape, so that an error still names the right line.
            piece = re.sub(r"[^\n]", " ", piece)
        elif piece == ",":
            comma = len(pieces)
        elif not piece.isspace():
            if comma is not None and piece[0] in "]}":
                pieces[comma] = " "
            comma = None
        pieces.append(piece)
    return "".join(pieces)


def translated(name: str, raw: Mapping[str, Any], *, is_codex: bool = False) -> Found:
    """One server, in our words."""
    found = Found(name, {})
    told = foreign.translate(_from_codex(raw) if is_codex else _with_words(raw))
    found.notes += [f"{key}: ignored: {reason}" for key, reason in told.ignored]
    found.notes += [f"{key}: left out: {reason}" for key, reason in told.problems]
    for key, value in told.entry.items():
        if key not in _OURS:
            found.notes.append(f"{key}: left out: it means nothing here")
        elif value is not None:
            found.entry[key] = _texts(value, found.notes)
    _in_seconds(found)
    return found


def _with_words(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The program and its arguments apart, where a client keeps them in one place: opencode, older Zed."""
    command = raw.get("command")
    if isinstance(command, list) and command:
        return {**raw, "command": command[0], "args": [*command[1:], *_list(raw.get("args"))]}
    if isinstance(command, dict) and "path" in command:
        inner = {key: value for key, value in command.items() if key != "path"}
        return {**raw, **inner, "command": command["path"]}
    return raw


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_CODEX: Final = {
    "startup_timeout_sec": "startTimeout",
    "tool_timeout_sec": "timeout",
    "http_headers": "headers",
    "enabled_tools": "includeTools",
    "disabled_tools": "excludeTools",
}


def _from_codex(raw: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    variables: dict[str, str] = {}
    headers: dict[str, str] = {}
    for key, value in raw.items():
        if key == "bearer_token_env_var" and isinstance(value, str):
            headers["Authorization"] = f"Bearer ${{{value}}}"
        elif key == "env_http_headers" and isinstance(value, dict):
            headers |= {name: f"${{{variable}}}" for name, variable in value.items()}
        elif key == "env_vars" and isinstance(value, list):
            variables |= {variable: f"${{{variable}}}" for variable in value if isinstance(variable, str)}
        elif key == "startup_timeout_ms" and isinstance(value, int) and 0 < value < _TOO_MANY_MS:
            entry["startTimeout"] = value / 1000
        else:
            entry[_CODEX.get(key, key)] = value
    for ours, given in (("env", variables), ("headers", headers)):
        if given:
            entry[ours] = {**given, **entry.get(ours, {})}
    return entry


def _in_seconds(found: Found) -> None:
    """Timeouts are milliseconds in most clients; ours are seconds, and at most `maxTimeout`."""
    value = found.entry.get("timeout")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _TOO_MANY_MS:
        return  # the loader says what is wrong with it
    if value > _SURELY_MS:
        value = value / 1000
        found.notes.append(f"timeout: taken for milliseconds, {value:g} s")
    found.entry["timeout"] = int(value) if value == int(value) else value
    if value > _MAX_TIMEOUT_S:
        found.entry.setdefault("maxTimeout", found.entry["timeout"])


def _texts(value: Any, notes: list[str]) -> Any:
    """The value with other clients' variables as ours, wherever text stands in it."""
    if isinstance(value, dict):
        return {key: _texts(one, notes) for key, one in value.items()}
    if isinstance(value, list):
        return [_texts(one, notes) for one in value]
    if not isinstance(value, str):
        return value
    for theirs, ours in _PLACES.items():
        value = value.replace(theirs, ours)
    for word in _EDITORS_WORD.findall(value):
        notes.append(f"{word}: an editor fills this in, and nobody does here; put a path in its place")
    return _PROMPT.sub(lambda match: _variable(match[1], notes), value)


def _variable(prompt: str, notes: list[str]) -> str:
    name = re.sub(r"[^A-Z0-9_]+", "_", prompt.upper()).strip("_") or "VALUE"
    name = f"_{name}" if name[0].isdigit() else name
    notes.append(f"${{input:{prompt}}}: nobody can be asked here; set the variable {name} before `serve`")
    return f"${{{name}}}"


def _secrets(entry: Mapping[str, Any]) -> Iterator[str]:
    """The places whose text looks like a secret that stands open."""
    for section in ("env", "headers"):
        values = entry.get(section)
        for name, value in values.items() if isinstance(values, dict) else ():
            is_open = isinstance(value, str) and value and "${" not in value
            if is_open and (SECRET_NAME.search(name) or SECRET_TEXT.search(value)):
                yield f"{section}.{name}"
    if isinstance(url := entry.get("url"), str) and SECRET_TEXT.search(url):
        yield "url"
    named = ""
    args = entry.get("args")
    for number, word in enumerate(args if isinstance(args, list) else ()):
        if not isinstance(word, str):
            continue
        flag = _SECRET_ARG.match(word)
        value = (flag[2] if flag else word) or ""
        name = flag[1] if flag and flag[2] else named
        if value and "${" not in value and ((name and SECRET_NAME.search(name)) or SECRET_TEXT.search(value)):
            yield f"args[{number}]"
        named = flag[1] if flag and not flag[2] else ""
