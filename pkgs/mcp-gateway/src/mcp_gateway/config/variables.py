"""`${VAR}` and `${VAR:-default}` in configured text: which are missing, and what they expand to.

Pure; the environment is an argument. The model keeps text as written, `load` reports what is
missing, and `secrets` expands when a server is started. `${env:VAR}`, as Cursor, Cline and VS Code
write it, means the same; all else with a dollar sign is left alone, since it belongs to the server.
"""

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
# VS Code asks a person for these; a gateway has nobody to ask.
_PROMPT = re.compile(r"\$\{(?:input|command):[^}]*\}")


def missing(text: str, env: Mapping[str, str]) -> list[str]:
    """The variables the text needs and does not get, each once."""
    found = (match[1] for match in _VARIABLE.finditer(text) if match[2] is None and match[1] not in env)
    return list(dict.fromkeys(found))


def prompts(text: str) -> list[str]:
    """The places where another client would ask its user for a value."""
    return _PROMPT.findall(text)


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with its variables filled in, once: a value is never expanded again.

    As in a shell, a default also stands in for a variable that is set but empty.

    Raises: KeyError with the name of a variable that is missing.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        return env[name] if default is None else env.get(name) or default

    return _VARIABLE.sub(value, text)


def names(text: str) -> list[str]:
    """The variables that stand in the text, each once."""
    return list(dict.fromkeys(match[1] for match in _VARIABLE.finditer(text)))


def without_defaults(text: str, hidden: str) -> str:
    """The text with its variables as written, but `hidden` in place of what stands in for a missing one."""

    def shown(match: re.Match[str]) -> str:
        return match[0] if not match[2] else f"{match[0].partition(':-')[0]}:-{hidden}}}"

    return _VARIABLE.sub(shown, text)


def without_any(text: str) -> str:
    """What is left of the text when its variables are taken out."""
    return _VARIABLE.sub("", text)
