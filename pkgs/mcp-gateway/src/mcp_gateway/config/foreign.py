"""The keys other MCP clients write, put into our words, and our own keys that nothing stands behind yet.

Pure tables and one function. What a foreign key means here is done; what it cannot mean here is
ignored with a reason that `load` shows as a warning. A key of product.md that is not built is refused
rather than parsed: a setting that is read and never enforced would be a lie.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# One meaning, another word: FastMCP, Cline, Gemini CLI, Windsurf, Cherry Studio.
RENAMED: Mapping[str, str] = {
    "transport": "type",
    "transportType": "type",
    "httpUrl": "url",
    "serverUrl": "url",
    "baseUrl": "url",
}
# Which value of the switch means "on": Claude Desktop, Cline, Roo, Kiro; Cherry Studio.
SWITCHES: Mapping[str, bool] = {"disabled": False, "isActive": True}
TOOL_LISTS: Mapping[str, str] = {
    "disabledTools": "deny",
    "disabled_tools": "deny",  # mcpo
    "excludeTools": "deny",
    "includeTools": "allow",
}
TYPE_WORDS: Mapping[str, str] = {
    "local": "stdio",
    "remote": "http",
    "streamable_http": "streamable-http",
    "streamableHttp": "streamable-http",
    "streamablehttp": "streamable-http",
}

_APPROVAL = "which tools run without asking is decided by the client in front of the person"
_LABEL = "it is a label of another client"
_SIGN_IN = "signing in to a remote server is not built yet; a fixed header works"
_EDITOR = "it steers an editor"
_FILE = 'no such file is read; name each variable in `env`, for instance as {"file": "/path"}'

IGNORED: Mapping[str, str] = {
    "autoApprove": _APPROVAL,
    "alwaysAllow": _APPROVAL,
    "trust": _APPROVAL,
    "name": "the key of the server is its name; `title` changes what people see",
    "description": _LABEL,
    "icon": _LABEL,
    "iconUrl": _LABEL,
    "logoUrl": _LABEL,
    "provider": _LABEL,
    "tags": _LABEL,
    "version": _LABEL,
    "gallery": _LABEL,
    "source": _LABEL,
    "dev": _EDITOR,
    "watchPaths": _EDITOR,
    "alwaysLoad": _EDITOR,
    "sandbox": "the server is not sandboxed by it",
    "sandboxEnabled": "the server is not sandboxed by it",
    "auth": _SIGN_IN,
    "oauth": _SIGN_IN,
    "headersHelper": 'no such program is run; a value in `headers` may be {"command": [...]}',
    "authProviderType": _SIGN_IN,
    "envFile": _FILE,
    # mcpo, which means by it to pass on all that is not listed.
    "client_header_forwarding": "headers of callers reach a server where `forwardHeaders` names each of them",
}
IGNORED_AT_TOP: Mapping[str, str] = {
    "inputs": "nobody can be asked when a server starts; use `${VAR}`, a file, a credential or a command",
    "globalShortcut": _LABEL,
    "preferences": _LABEL,
    "sandbox": "no server is sandboxed by it",
}


@dataclass(slots=True)
class Translation:
    """One server in our words, where they came from, and what is to be said about the rest."""

    entry: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict)  # our key -> the key that stands in the file
    problems: list[tuple[str, str]] = field(default_factory=list)  # key in the file, sentence
    ignored: list[tuple[str, str]] = field(default_factory=list)  # likewise

    def put(self, ours: str, value: Any, theirs: str) -> None:
        if self.entry.setdefault(ours, value) != value:
            self.problems.append(
                (theirs, f"says something else than `{self.origin.get(ours, ours)}`; keep one")
            )
        else:
            self.origin.setdefault(ours, theirs)


def translate(raw: Mapping[str, Any]) -> Translation:
    """One server as another client may have written it, in our words."""
    told = Translation({key: value for key, value in raw.items() if key not in KEYS})
    _own_words(told)
    for key, value in raw.items():
        if key in RENAMED:
            ours = RENAMED[key]
            told.put(ours, _type_word(value) if ours == "type" else value, key)
        elif key in SWITCHES and isinstance(value, bool):
            told.put("enabled", value is SWITCHES[key], key)
        elif key in SWITCHES:
            told.problems.append((key, "must be true or false"))
        elif key in TOOL_LISTS:
            _tool_list(told, key, value)
        elif key in IGNORED:
            told.ignored.append((key, IGNORED[key]))
    return told


def _type_word(value: Any) -> Any:
    return TYPE_WORDS.get(value, value) if isinstance(value, str) else value


def _own_words(told: Translation) -> None:
    """Our own keys with values that are not ours."""
    entry = told.entry
    if "type" in entry:
        entry["type"] = _type_word(entry["type"])
    if isinstance(entry.get("tools"), list):  # GitHub Copilot lists the tools to allow
        entry["tools"] = {"allow": entry["tools"]}


def _tool_list(told: Translation, key: str, value: Any) -> None:
    if value is None:  # mcpo takes that for none
        return
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        told.problems.append((key, "must be a list of tool names"))
        return
    rules = told.entry.get("tools", {})
    rule = TOOL_LISTS[key]
    if isinstance(rules, dict) and isinstance(there := rules.get(rule, []), list):
        told.entry["tools"] = {**rules, rule: [*there, *value]}


TRANSLATED = frozenset((*RENAMED, *SWITCHES, *TOOL_LISTS))
KEYS = TRANSLATED | IGNORED.keys()
