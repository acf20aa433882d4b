"""What a person pastes to add a server, in our words: the file of any client, a command, a URL. Pure.

A command line is taken apart as a shell would, and nothing of it is ever given to one: what only a shell
could do (a pipe, a second command, the output of a third) is refused by name. `claude mcp add` and its like
are read for what they would add.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_gateway.config.clients import Found, NotRead, decode, servers_in, translated
from mcp_gateway.config.model import slug

TEXT_CHARS_MAX: Final = 256 << 10
SERVERS_MAX: Final = 100  # in one text; more is another file that was pasted by mistake

_FENCE: Final = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_TOML: Final = re.compile(r"^[ \t]*\[[ \t]*\"?mcp_servers\"?[ \t]*[.\]]", re.MULTILINE)
_URL: Final = re.compile(r"https?://\S+", re.IGNORECASE)
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)", re.DOTALL)
_ENTRY_KEYS: Final = frozenset({"command", "url", "httpUrl", "serverUrl", "baseUrl"})
_TRANSPORTS: Final = ("stdio", "http", "sse", "streamable-http")


@dataclass(frozen=True, slots=True)
class Proposed:
    """One server as it would stand in the configuration; `is_guessed`: nobody gave it this name."""

    found: Found
    is_guessed: bool

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def id(self) -> str:
        """Empty when nothing can be made of the name."""
        return slug(self.found.name)

    @property
    def entry(self) -> dict[str, Any]:
        return self.found.entry


def read(text: str, name: str | None = None) -> list[Proposed]:
    """The servers that a text proposes; `name` is for a text with one.

    Raises: NotRead, with a sentence that can follow "The text".
    """
    if len(text) > TEXT_CHARS_MAX:
        raise NotRead(f"is longer than {TEXT_CHARS_MAX >> 10} KiB; paste the part with the server alone")
    text = text.removeprefix("\ufeff").strip()
    if text.startswith("```") and (fenced := _FENCE.match(text)):
        text = fenced[1].strip()
    if not text:
        raise NotRead("is empty")
    proposed = _read(text)
    if not proposed:
        raise NotRead("has no MCP servers")
    if len(proposed) > SERVERS_MAX:
        raise NotRead(f"has more than {SERVERS_MAX} servers; paste fewer at a time")
    if name is None:
        return proposed
    if len(proposed) > 1:
        raise NotRead(f"has {len(proposed)} servers, which have names; one name can be given to one server")
    proposed[0].found.name = name
    return [Proposed(proposed[0].found, is_guessed=False)]


def _read(text: str) -> list[Proposed]:
    if text.startswith(("{", "//", "/*", '"')):
        return _of_json(text)
    if _TOML.search(text):
        return _named(servers_in(decode(text.encode("utf-8", "replace"), is_toml=True)))
    if _URL.fullmatch(text):
        return [_of_url(text)]
    return _of_command(_words(text))


def _named(found: list[Found]) -> list[Proposed]:
    return [Proposed(one, is_guessed=False) for one in found]


def _guessed(entry: Mapping[str, Any]) -> Proposed:
    found = translated("", entry)
    found.name = _name_of(found.entry)
    return Proposed(found, is_guessed=True)


# -- a client's file -------------------------------------------------------------------------------------


def _of_json(text: str) -> list[Proposed]:
    if text.startswith('"'):  # a piece out of a file, without the brackets around it
        text = "{" + text.rstrip().rstrip(",") + "}"
    document = decode(text.encode("utf-8", "replace"), is_toml=False)
    if _is_entry(document):
        name = document.get("name")
        entry = {key: value for key, value in document.items() if key != "name"}
        if isinstance(name, str) and name:  # as `code --add-mcp` takes it
            return _named([translated(name, entry)])
        return [_guessed(entry)]
    if document and all(isinstance(one, dict) and _is_entry(one) for one in document.values()):
        return _named([translated(name, raw) for name, raw in document.items()])
    return _named(servers_in(document))


def _is_entry(document: Mapping[str, Any]) -> bool:
    """Whether this is one server, and not servers by name: those are objects all of them."""
    return any(key in document and not isinstance(document[key], dict) for key in _ENTRY_KEYS) or (
        isinstance(command := document.get("command"), dict) and isinstance(command.get("path"), str)
    )


def _of_url(url: str) -> Proposed:
    return _guessed({"url": url})


# -- a command line --------------------------------------------------------------------------------------

_AND_MORE: Final = {
    "|": "a pipe (`|`)",
    ";": "several commands (`;`)",
    "&": "several commands or the background (`&`)",
    "<": "a redirection (`<`)",
    ">": "a redirection (`>`)",
    "(": "brackets that a shell reads (`(`)",
    ")": "brackets that a shell reads (`)`)",
    "\n": "several lines",
    "`": "the output of another command (backticks)",
}
_PLAIN_VARIABLE: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_BRACED: Final = re.compile(r"\$\{(?:env:)?[A-Za-z_][A-Za-z0-9_]*(?::-[^}\"'`$]*)?\}")


def _needs_a_shell(what: str) -> NotRead:
    return NotRead(f"needs a shell for {what}, and no shell is ever asked; paste the plain command")


def _words(text: str) -> list[str]:
    """The words of one command, as a shell would split it.

    Raises: NotRead for what only a shell could do.
    """
    text = re.sub(r"\\\r?\n[ \t]*", " ", text.replace("\0", "\ufffd"))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    text = "\n".join(lines).strip()
    text = re.sub(r"^[$%] +", "", text)  # a prompt that was copied along
    try:
        return shlex.split("".join(_for_us(text)))
    except ValueError as problem:
        raise NotRead(f"is no command: {str(problem).lower()}") from None


def _for_us(text: str) -> Iterator[str]:
    """The text with the variables of a shell as ours."""
    quote, at = "", 0
    while at < len(text):
        sign = text[at]
        taken = 1
        if quote == "'":
            if text.startswith("${", at):
                raise NotRead("has `${` in single quotes, which would be filled in here")
            quote = "" if sign == "'" else quote
        elif sign == "\\":
            taken = 2
            if text.startswith("${", at + 1):
                raise NotRead("has `${` after a backslash, which would be filled in here")
        elif sign == "`" or (not quote and sign in _AND_MORE):
            raise _needs_a_shell(_AND_MORE[sign])
        elif sign == "$":
            variable = _BRACED.match(text, at) or _PLAIN_VARIABLE.match(text, at)
            if variable is None and text[at + 1 : at + 2] not in ("", " ", '"', "\n"):
                raise _needs_a_shell(f"`{text[at : at + 2]}`")
            if variable is not None:
                braced = variable[0].startswith("${")
                # In quotes for the splitting: what a variable stands for is never split.
                yield _kept(variable[0] if braced else f"${{{variable[1]}}}", quote)
                at = variable.end()
                continue
        elif sign == '"' or (sign == "'" and not quote):
            quote = "" if quote == sign else sign
        elif sign == "~" and not quote and _is_home(text, at):
            yield "'${HOME}'"
            at += 1
            continue
        elif sign == "#" and not quote and (at == 0 or text[at - 1].isspace()):
            return  # a comment
        yield text[at : at + taken]
        at += taken


def _is_home(text: str, at: int) -> bool:
    """Whether a tilde stands where it means the home directory."""
    return (at == 0 or text[at - 1].isspace()) and text[at + 1 : at + 2] in ("/", "", " ", "\t")


def _kept(variable: str, quote: str) -> str:
    return variable if quote else f"'{variable}'"


def _of_command(words: list[str]) -> list[Proposed]:
    env: dict[str, str] = {}
    rest = list(words)
    if rest[:1] == ["env"]:
        rest.pop(0)
    while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        env[found[1]] = found[2]
        rest.pop(0)
    if not rest:
        raise NotRead("has no command")
    program = PurePosixPath(rest[0]).name
    if rest[1:3] in (["mcp", "add"], ["mcp", "add-json"]):
        return _of_a_client(program, rest[2], rest[3:])
    if program in ("code", "code-insiders", "cursor") and rest[1:2] == ["--add-mcp"] and len(rest) > 2:
        return _of_json(rest[2])
    if _URL.fullmatch(rest[0]):
        if len(rest) > 1:
            raise NotRead("has more than a URL; headers can be given in JSON")
        return [_of_url(rest[0])]
    return [_guessed(_local(rest, env))]


def _local(words: list[str], env: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"command": words[0]}
    if words[1:]:
        entry["args"] = words[1:]
    if env:
        entry["env"] = dict(env)
    return entry


# -- `claude mcp add` and its like -----------------------------------------------------------------------

# The options of Claude Code, Codex and Gemini CLI, with what is made of their value; None: nothing.
_OPTIONS: Final[Mapping[str, str | None]] = {
    "-t": "transport",
    "--transport": "transport",
    "-e": "env",
    "--env": "env",
    "-H": "header",
    "--header": "header",
    "--url": "url",
    "--bearer-token-env-var": "bearer",
    "--description": None,
    "-s": None,
    "--scope": None,
    "--timeout": None,
    "--include-tools": "includeTools",
    "--exclude-tools": "excludeTools",
}
_SWITCHES: Final = frozenset({"--trust"})


def _of_a_client(program: str, verb: str, words: list[str]) -> list[Proposed]:
    told = f"{program} mcp {verb}"
    asked = _asked(told, words)
    if not asked.plain:
        raise NotRead(f"has no name after `{told}`")
    name, *rest = (*asked.plain, *asked.after)
    if verb == "add-json":
        if not rest:
            raise NotRead(f"has no JSON after `{told} {name}`")
        inner = _of_json(rest[0])
        if len(inner) != 1:
            raise NotRead(f"has not one server after `{told} {name}`")
        inner[0].found.name = name
        return _named([inner[0].found])
    target = asked.values.get("url") or rest
    if not target:
        raise NotRead(f"has neither a command nor a URL after `{told} {name}`")
    transport = asked.values.get("transport", [""])[-1]
    if transport and transport not in _TRANSPORTS:
        raise NotRead(f"names a transport that is none of {', '.join(_TRANSPORTS)}")
    is_remote = bool(asked.values.get("url")) or transport not in ("", "stdio") or _is_url_alone(rest)
    entry = _remote(target[0], transport, asked.values) if is_remote else _local(rest, asked.env)
    for key in ("includeTools", "excludeTools"):
        if listed := asked.values.get(key):
            entry[key] = [one for part in listed for one in part.split(",") if one]
    return _named([translated(name, entry)])


def _is_url_alone(words: list[str]) -> bool:
    return len(words) == 1 and _URL.fullmatch(words[0]) is not None


def _remote(url: str, transport: str, values: Mapping[str, list[str]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"url": url}
    if transport not in ("", "stdio"):
        entry["type"] = transport
    headers: dict[str, str] = {}
    for line in values.get("header", ()):
        if (found := _HEADER.fullmatch(line)) is None:
            raise NotRead("has a header that is not of the form `Name: value`")
        headers[found[1]] = found[2]
    for variable in values.get("bearer", ()):
        headers["Authorization"] = f"Bearer ${{{variable}}}"
    if headers:
        entry["headers"] = headers
    return entry


@dataclass(slots=True)
class _Asked:
    """`plain` are the words that belong to no option; what follows where a command begins is `after`."""

    plain: list[str]
    after: list[str]
    env: dict[str, str]
    values: dict[str, list[str]]


def _asked(told: str, words: list[str]) -> _Asked:
    asked = _Asked([], [], {}, {})
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if word == "--":
            asked.after = rest
            break
        if option in _OPTIONS:
            if not equals and not rest:
                raise NotRead(f"has nothing after `{option}`")
            _take(asked, _OPTIONS[option], value if equals else rest.pop(0), rest)
        elif word in _SWITCHES:
            continue
        elif word.startswith("-") and len(asked.plain) < 2:
            raise NotRead(f"has an option that is not known of `{told}`; paste the command itself")
        else:
            asked.plain.append(word)
            if len(asked.plain) == 2 and not _URL.fullmatch(word):  # all that follows is the command's
                asked.after = rest
                break
    return asked


def _take(asked: _Asked, meaning: str | None, value: str, rest: list[str]) -> None:
    if meaning == "env":
        if (found := _ASSIGNMENT.fullmatch(value)) is None:
            raise NotRead("has a variable that is not of the form `NAME=value`")
        asked.env[found[1]] = found[2]
        while rest and (more := _ASSIGNMENT.fullmatch(rest[0])):  # one `-e` may have several
            asked.env[more[1]] = more[2]
            rest.pop(0)
    elif meaning is not None:
        asked.values.setdefault(meaning, []).append(value)


# -- a name ----------------------------------------------------------------------------------------------

# Programs that run another one, their words for that, and the options of theirs that have a value.
_RUNNERS: Final = frozenset(
    {"npx", "bunx", "pnpm", "yarn", "npm", "bun", "uvx", "uv", "pipx", "docker", "podman", "nix", "deno"}
    | {"node", "python", "python3", "sh", "bash", "cmd", "tsx", "poetry", "dotnet", "java", "wsl", "sudo"}
)
_RUN_WORDS: Final = _RUNNERS | {"run", "exec", "dlx", "x", "tool", "start", "/c"}
_WITH_VALUE: Final = frozenset(
    {"-e", "--env", "-v", "--volume", "--mount", "--name", "--network", "-p", "--publish", "--env-file", "-u"}
    | {"--user", "--directory", "--with", "--from", "--python", "--project", "-w", "--workdir", "--platform"}
    | {"--prefix", "--cwd", "--entrypoint", "--add-host"}
)
_SAYS_NOTHING: Final = frozenset(
    {"", "mcp", "server", "mcp-server", "index", "main", "build", "dist", "src", "bin", "lib", "app", "out"}
    | {"latest", "www", "api", "cli", "run", "start", "__main__", "sse", "stdio", "http"}
)


def _name_of(entry: Mapping[str, Any]) -> str:
    """A name for a server that came without one; `server` when nothing else is to be found."""
    url = entry.get("url")
    if isinstance(url, str):
        words: Iterator[str] = _of_host(url)
    else:
        args = entry.get("args")
        program = entry.get("command")
        words = _of_program(
            program if isinstance(program, str) else "",
            [word for word in args if isinstance(word, str)] if isinstance(args, list) else [],
        )
    for word in words:
        if (name := slug(_plain(word))) and name not in _SAYS_NOTHING:
            return name
    return "server"


def _plain(word: str) -> str:
    """`mcp-server-git` and `git-mcp` are about git."""
    word = word.lower().replace("_", "-")
    before = None
    while before != word:
        before = word
        for end in ("-mcp", "-server", "-mcp-server"):
            word = word.removesuffix(end)
        for start in ("mcp-", "server-"):
            word = word.removeprefix(start)
    return word


def _of_host(url: str) -> Iterator[str]:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return
    if re.fullmatch(r"[0-9.]+|.*:.*", host) or "." not in host:
        yield host
        return
    labels = [label for label in host.split(".")[:-1] if label not in ("mcp", "www", "api")]
    yield from reversed(labels)
    yield host


def _of_program(command: str, args: list[str]) -> Iterator[str]:
    program = PurePosixPath(command.replace("\\", "/")).name.removesuffix(".exe").removesuffix(".cmd")
    if program in _RUNNERS:
        rest = iter(args)
        for word in rest:
            if word in _WITH_VALUE:
                next(rest, None)
            elif word not in _RUN_WORDS and not word.startswith("-"):
                yield from _of_package(word)
                break
    else:
        yield from _of_package(command)
    yield program


def _of_package(word: str) -> Iterator[str]:
    """`@scope/server-x@1`, `ghcr.io/x/x-mcp-server:v1`, `/path/x/build/index.js`, `git+https://host/x`."""
    word = (
        re.sub(r"(?<=.)[@#].*", "", word.replace("\\", "/"), count=1)
        if not word.startswith("@")
        else ("@" + re.sub(r"@.*", "", word[1:]))
    )
    for part in reversed(word.removesuffix("/").split("/")):
        yield re.sub(r"(\.(js|mjs|cjs|ts|py|git|exe|jar|sh)|:[\w.-]*|==.*|\[.*)$", "", part.removeprefix("@"))
