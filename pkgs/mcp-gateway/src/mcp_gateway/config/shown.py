"""What may be shown of a server's configuration: everything but what could be a secret. Pure.

A value of `env` or `headers` is never shown, only that it is set and where it comes from. Arguments and
addresses are, with what looks like a secret in them replaced by `<set>`. That is a guess, made so that it
errs towards hiding: what it replaces is still in the file.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_gateway.config import variables
from mcp_gateway.config.model import SecretRef, ServerConfig, ToolRules

HIDDEN: Final = "<set>"
SECRET_NAME: Final = re.compile(
    r"token|secret|passw|api[_-]?key|apikey|auth|credential|cookie|private|session|bearer|(^|[_-])(key|pat|pwd|dsn)([_-]|$)",
    re.IGNORECASE,
)
_KNOWN: Final = (
    r"sk-[\w-]{16,}|gh[opsu]_\w{20,}|github_pat_\w{20,}"
    r"|xox[abprs]-[\w-]{10,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{16}"
)
SECRET_TEXT: Final = re.compile(
    rf"({_KNOWN}|Bearer\s+[^\s$]{{8,}}|://[^/\s:@$]+:[^/\s@$]+@"
    r"|[?&](?:key|token|api_?key|access_token)=[^&$\s]{6,})",
    re.IGNORECASE,
)
_KNOWN_TEXT: Final = re.compile(_KNOWN)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>]+")
# In one argument: `NAME=VALUE`, `Name: value`, `"name": "value"`, `--name value`.
_NAMED: Final = re.compile(
    r"""(?:(?P<flag>--?)|\b|")(?P<name>[A-Za-z_][\w.-]{0,99}+)"""
    r"""(?(flag)(?:\s{0,9}[=:]\s{0,9}|\s)|"?\s{0,9}[=:]\s{0,9})"""
)
_VALUE: Final = re.compile(
    r""""[^"]*+"?|'[^']*+'?|(?:(?:Bearer|Basic|Token|ApiKey)\s{1,9})?(?:\$\{[^}]*\}|[^\s,;&}\]])+""",
    re.IGNORECASE,
)
_FLAG: Final = re.compile(r"--?([A-Za-z][\w.-]*)")
_SCHEME_WORD: Final = re.compile(r"(Bearer|Basic|Token|ApiKey)\s+", re.IGNORECASE)
# So long that it may be a key, in whatever form.
_CHANCE: Final = re.compile(r"(?<![\w/.@:+=-])[\w+=-]{24,}+(?![/.@:])")
_TURNS: Final = re.compile(r"[0-9](?=[A-Za-z])|[A-Za-z](?=[0-9])")
_CHANCE_IN_PATH: Final = re.compile(r"[\w+=.~%-]{20,}")


def arguments(words: tuple[str, ...]) -> list[str]:
    """The arguments of a program, as written but for secrets."""
    shown, named = [], ""
    for word in words:
        flag = _FLAG.fullmatch(word)
        if named and not flag:
            shown.append(_hide(word))
        else:
            shown.append(text(word))
        named = flag[1] if flag and SECRET_NAME.search(flag[1]) else ""
    return shown


def text(word: str) -> str:
    """One text, as written but for what looks like a secret in it."""
    word = variables.without_defaults(word, HIDDEN)
    word = _URL.sub(lambda found: url(found[0]), word)
    word = _without_pairs(word)
    word = _KNOWN_TEXT.sub(HIDDEN, word)
    return _CHANCE.sub(lambda found: HIDDEN if _is_chance(found[0]) else found[0], word)


def url(address: str) -> str:
    """An address without the secrets that addresses hold: who signs in, what is asked, keys in a path."""
    address = variables.without_defaults(address, HIDDEN)
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    path = "/".join(_step(step) for step in parts.path.split("/"))
    query = "&".join(map(_asked, parts.query.split("&"))) if parts.query else ""
    return "".join(
        (
            f"{parts.scheme}://" if parts.scheme else "",
            (user if _is_variable(user) else HIDDEN) + at if at else "",
            host,
            path,
            f"?{query}" if query else "",
            f"#{HIDDEN}" if parts.fragment else "",
        )
    )


def _asked(part: str) -> str:
    name, equals, value = part.partition("=")
    if not equals:  # a word alone may be the key itself
        return HIDDEN if len(name) > 20 else name
    return f"{name}={value if _is_variable(value) or not value else HIDDEN}"


def _step(step: str) -> str:
    return HIDDEN if _CHANCE_IN_PATH.fullmatch(step) and _is_chance(step) else step


def _is_chance(word: str) -> bool:
    """Whether a long word is none that somebody made up: such as a key in hexadecimal or base64."""
    kinds = (str.isdigit, str.isupper, str.islower)
    return len(_TURNS.findall(word)) >= 3 or all(any(map(kind, word)) for kind in kinds)


def _without_pairs(word: str) -> str:
    parts, at = [], 0
    for found in _NAMED.finditer(word):
        if found.start() < at or not SECRET_NAME.search(found["name"]):
            continue
        if value := _VALUE.match(word, found.end()):
            parts += [word[at : found.end()], _hide(value[0])]
            at = value.end()
    return "".join((*parts, word[at:]))


def _hide(value: str) -> str:
    """`<set>`, unless nothing stands here but variables, and a word for the kind of proof that follows."""
    value = variables.without_defaults(value, HIDDEN)
    scheme = found[0] if (found := _SCHEME_WORD.match(value.lstrip("\"'"))) else ""
    rest = value.strip("\"'").removeprefix(scheme)
    return value if _is_variable(rest) or rest in ("", HIDDEN) else scheme + HIDDEN


def _is_variable(value: str) -> bool:
    return bool(value) and not variables.without_any(value).replace(":", "").strip()


# -- a whole server ---------------------------------------------------------------------------------------


def values(named: Mapping[str, str | SecretRef], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Environment variables or headers: `name`, `value` (`set` or `unset`), and where it comes `from`.

    `of` says which variables, file, credential or program that is.
    """
    return [{"name": name, **_source(value, env)} for name, value in named.items()]


def _source(value: str | SecretRef, env: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(value, str):
        asked = variables.names(value)
        if not asked:
            return {"value": "set", "from": "literal", "of": None}
        state = "unset" if variables.missing(value, env) else "set"
        return {"value": state, "from": "variable", "of": ", ".join(asked)}
    if value.file is not None:
        state = "unset" if variables.missing(value.file, env) else "set"
        return {"value": state, "from": "file", "of": variables.without_defaults(value.file, HIDDEN)}
    if value.credential is not None:
        return {"value": "set", "from": "credential", "of": value.credential}
    assert value.command, "the model lets no other reference through"
    return {"value": "set", "from": "command", "of": text(value.command[0])}


def server(config: ServerConfig, env: Mapping[str, str]) -> dict[str, Any]:
    """Every key of a server by its name in the file, defaults filled in, times in seconds, sizes in bytes."""
    shown: dict[str, Any] = {}
    for name, info in ServerConfig.model_fields.items():
        if name != "id":
            shown[str(info.validation_alias or name)] = _plain(getattr(config, name))
    shown |= {
        "command": None if config.command is None else text(config.command),
        "args": arguments(config.args),
        "cwd": None if config.cwd is None else text(config.cwd),
        "url": None if config.url is None else url(config.url),
        "env": values(config.env, env),
        "headers": values(config.headers, env),
    }
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, ToolRules):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value
