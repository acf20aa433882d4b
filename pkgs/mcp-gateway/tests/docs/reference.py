"""Pages of the reference, written from what the code says of itself, so that none can say anything else.

`python -m tests.docs.reference` (`make reference`) writes `docs/reference/options.md` from the schema of the
configuration, `rest.md` from the OpenAPI document and the table of hot routes, `errors.md` from the table of
errors; `test_reference.py` holds the files against it. Only what to do about an error, and the words around
the tables, stand here.
"""

import asyncio
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mcp_gateway.config import load
from mcp_gateway.config.model import schema
from mcp_gateway.errors import TABLE, TOOL_ERROR, Kind
from mcp_gateway.faces import rest
from mcp_gateway.faces.asgi import HOT
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.gateway import Gateway
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery

FOLDER: Final = Path(__file__).resolve().parents[4] / "docs" / "reference"
NOTE: Final = "<!-- Written by `make reference` from what the code says of itself; do not edit. -->\n"
Json = dict[str, Any]


# --- the options of the configuration file

_ORDER: Final = (
    ("ServerConfig", "A server", "`mcpServers.<name>`; the same in `servers` and `addedServers`"),
    ("ToolRules", "Its tools", "`mcpServers.<name>.tools`"),
    (
        "SecretRef",
        "A secret",
        "a value of `env` or `headers`, in the place of a text; exactly one of the three",
    ),
    ("GatewayConfig", "The gateway", "`gateway`"),
    ("Auth", "Ways to sign in", "`gateway.auth`"),
    ("DeclaredKey", "A declared key", "an entry of `gateway.auth.keys`; exactly one of `file` and `hash`"),
    ("Scopes", "What a key may", "`scopes` of a declared key; in the grants of a capability, too"),
    ("Password", "The password", "`gateway.auth.password`; exactly one of the two"),
    ("Tailscale", "Tailscale", "`gateway.tailscale`"),
    ("TrustedProxy", "A proxy that signs people in", "`gateway.trustedProxy`"),
    ("Limits", "Limits of a caller", "`gateway.limits`"),
    ("Activity", "The record of calls", "`gateway.activity`"),
    ("Keep", "How much is kept", "`gateway.activity.keep`, where it is an object"),
    ("Mcp", "Over MCP", "`gateway.mcp`"),
)
_OPTIONS_WORDS: Final = """# Every option

One JSON file, looked for at `--config`, `$MCP_GATEWAY_CONFIG` and `~/.config/mcp/mcp_servers.json`
(`$XDG_CONFIG_HOME` is respected). `mcp-gateway check` names every problem with its line, `mcp-gateway
schema` prints the JSON Schema from which this page is made; an editor takes it, and `"$schema"` may stand
in the file. The file must belong to you or to root, and nobody else may write it.

```json
{
  "mcpServers": {
    "git": { "command": "mcp-server-git", "args": ["--repository", "${HOME}/src/project"] },
    "issues": {
      "command": "npx",
      "args": ["-y", "some-issue-server@1.2.3"],
      "env": { "TOKEN": { "command": ["pass", "show", "issues/token"] } },
      "timeout": "2m",
      "tools": { "deny": ["delete_*"] }
    },
    "docs": { "url": "https://mcp.example.org/mcp" }
  },
  "gateway": { "port": 8085, "logFormat": "text" }
}
```

- A **duration** is a number of seconds, or a text such as `"90s"`, `"2m"`, `"1h"`. A **size** is a number
  of bytes, or a text such as `"64KiB"`, `"10MiB"`.
- `${VAR}` and `${VAR:-default}` in `command`, `args`, `url`, `env` and `headers` are filled in from the
  gateway's environment when the server starts.
- The name of a server becomes its id: small letters, digits and hyphens. Two names with one id are an
  error.
- Any key that is not on this page is an error that names the nearest one that is.
- Where the file is read again while the gateway runs, and what then moves: [reload](../reload.md).
"""
_ENVIRONMENT: Final = (
    ("--config", "MCP_GATEWAY_CONFIG", "the configuration file"),
    ("--host", "MCP_GATEWAY_HOST", "`gateway.host`, over the file"),
    ("--port", "MCP_GATEWAY_PORT", "`gateway.port`, over the file"),
    (
        "--state-dir",
        "MCP_GATEWAY_STATE_DIR",
        "the state; else `$STATE_DIRECTORY`, else `~/.local/state/mcp-gateway`",
    ),
    ("", "MCP_GATEWAY_PUBLIC_URL", "`gateway.publicUrl`, over the file; several with blanks between"),
    ("--url", "MCP_GATEWAY_URL", "which gateway the commands of a client speak to"),
    ("--key-file", "MCP_GATEWAY_KEY", "who is asking: the file with a key; the key itself in the variable"),
)


def options() -> str:
    made = schema()
    parts = [NOTE, _OPTIONS_WORDS]
    definitions: Json = made["$defs"]
    assert {name for name, _, _ in _ORDER} == definitions.keys(), "a part of the schema has no section"
    at_top = made["properties"]
    parts.append(_table(("at the top", "what it holds"), _members_at_top(at_top)))
    for name, heading, where in _ORDER:
        definition = definitions[name]
        parts.append(f"## {heading}\n\n{definition['description']} Stands at: {where}.\n")
        ours = {key: value for key, value in definition["properties"].items() if not value.get("deprecated")}
        rows = [_option(key, value, definition) for key, value in ours.items()]
        parts.append(_table(("key", "value", "default", "what it is"), rows))
    parts.append("## On the command line and in the environment\n")
    parts.append(_table(("option", "variable", "what it is"), [_environment(*row) for row in _ENVIRONMENT]))
    parts.append(
        "## Keys of other clients\n\nUnderstood or ignored with a warning, so that a file can be shared.\n"
    )
    foreign = {
        key: value
        for key, value in definitions["ServerConfig"]["properties"].items()
        if value.get("deprecated")
    }
    foreign |= {
        key: value for key, value in at_top.items() if value.get("description", "").startswith("Ignored")
    }
    parts.append(_table(("key", "what becomes of it"), _foreign(foreign)))
    return "\n".join(parts)


def _members_at_top(members: Mapping[str, Json]) -> Iterator[tuple[str, ...]]:
    for key, value in members.items():
        if value.get("description", "").startswith("Ignored"):
            continue
        words = value.get("description") or {"gateway": "The gateway itself.", "$schema": "For editors."}[key]
        yield f"`{key}`", words


def _option(key: str, value: Json, definition: Json) -> tuple[str, ...]:
    required = key in definition.get("required", ())
    default = "required" if required else _default(value)
    return f"`{key}`", _value(value), default, _words(key, value)


def _words(key: str, value: Json) -> str:
    if words := value.get("description"):
        return str(words)
    if section := next((heading for name, heading, _ in _ORDER if name in _refers(value)), None):
        return f"See [{section}](#{section.lower().replace(' ', '-')})."
    raise AssertionError(f"`{key}` has no description in the schema")


def _refers(value: Json) -> set[str]:
    nested = [value, *value.get("anyOf", ()), value.get("items", {})]
    return {one["$ref"].rpartition("/")[2] for one in nested if "$ref" in one}


def _default(value: Json) -> str:
    default = value.get("default")
    if default in (None, [], {}):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{one}`" for one in default)
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"{default:g} {'days' if 'days' in value.get('description', '') else 's'}"
    if isinstance(default, int) and default >= 1 << 20 and default % (1 << 20) == 0:
        return f"{default >> 20} MiB"
    return f"`{default}`"


def _value(value: Json) -> str:
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"] if one is not None)
    if kinds := value.get("anyOf"):
        found = dict.fromkeys(_value(kind) for kind in kinds if kind != {"type": "null"})
        # Of these two it is said once, at the top, that a number does as well.
        units = {"duration", "size"} & found.keys()
        return " or ".join(word for word in found if not (units and word.startswith("number")))
    if "$ref" in value:
        return "object"
    if "pattern" in value and value.get("type") == "string" and "smhd" in value["pattern"]:
        return "duration"
    if "pattern" in value and value.get("type") == "string" and "KiB" in value["pattern"]:
        return "size"
    if value.get("format") == "uri":
        return "URL"
    if value.get("format") == "date-time":
        return "a day or a time"
    if value.get("type") == "array":
        kind = _value(value["items"]) if "items" in value else "anything"
        most = f", at most {value['maxItems']}" if "maxItems" in value else ""
        return f"list of {kind}{most}"
    if value.get("type") == "object":
        return "object" if "patternProperties" not in value else "object of texts or [secrets](#a-secret)"
    if value.get("type") in ("integer", "number"):
        return _number(value)
    return "text" if value["type"] == "string" else "`true`, `false`"


def _number(value: Json) -> str:
    least = value.get("minimum", value.get("exclusiveMinimum"))
    most = value.get("maximum", value.get("exclusiveMaximum"))
    if most is None:
        return "number"
    span = f"{least:,} to {most:,.0f}" if "minimum" in value else f"above {least:,} to {most:,.0f}"
    return f"number, {span}"


def _environment(option: str, variable: str, words: str) -> tuple[str, ...]:
    return f"`{option}`" if option else "", f"`{variable}`", words


def _foreign(members: Mapping[str, Json]) -> Iterator[tuple[str, ...]]:
    by_words: dict[str, list[str]] = {}
    for key, value in members.items():
        by_words.setdefault(value["description"], []).append(f"`{key}`")
    for words, keys in sorted(by_words.items()):
        yield ", ".join(sorted(keys)), words


# --- the routes

_REST_WORDS: Final = """# Every route

What `/openapi.json` of a running gateway says, as a table. `{tool}` and `{prompt}` are native names,
percent-encoded once. Bodies are JSON. A right is asked for where the gateway is [guarded](../callers.md);
what a caller may not see is unknown, in the same words as what does not exist. Errors are [problem
documents](errors.md).

Fields of bodies and answers are in `/openapi.json`; `curl -s http://127.0.0.1:8085/openapi.json`.
"""
_MCP_WORDS: Final = """## mcp

MCP itself, which OpenAPI does not describe; see [over MCP](../mcp.md).
"""


def document() -> Json:
    """The OpenAPI document of a gateway that was made and never started."""

    async def made() -> Json:
        with tempfile.TemporaryDirectory() as folder:
            store = Store.open(Path(folder) / "state")
            try:
                gateway = Gateway(load.empty(), store, Nursery("reference", {}), {}, Path(folder))
                return rest.build(gateway, Sessions()).openapi()
            finally:
                await store.close()

    return asyncio.run(made())


def routes() -> str:
    described = document()
    by_tag: dict[str, list[tuple[str, ...]]] = {tag["name"]: [] for tag in described["tags"]}
    parameters: dict[str, str] = {}
    for path, item in described["paths"].items():
        for method, operation in item.items():
            for parameter in operation["parameters"]:
                if parameter["in"] != "path":
                    parameters[_name(parameter)] = parameter["description"]
            by_tag[operation["tags"][0]].append(_route(path, method, operation))
    parts = [NOTE, _REST_WORDS]
    for tag in described["tags"]:
        parts.append(f"## {tag['name']}\n\n{tag['description']}\n")
        parts.append(_table(("route", "does", "takes", "right"), by_tag[tag["name"]]))
    parts.append(_MCP_WORDS)
    rights = {
        place: held for place, held in HOT.items() if "/mcp" in place[1] or place[1].startswith("/servers/")
    }
    rows = [
        (f"`{method} {path}`", " or ".join(f"`{right}`" for right in held))
        for (method, path), held in rights.items()
    ]
    parts.append(_table(("route", "right"), rows))
    parts.append("## Queries and headers\n")
    parts.append(
        _table(("name", "means"), sorted((f"`{name}`", words) for name, words in parameters.items()))
    )
    return "\n".join(parts)


def _name(parameter: Json) -> str:
    return f"{parameter['name']}=" if parameter["in"] == "query" else f"{parameter['name']}:"


def _route(path: str, method: str, operation: Json) -> tuple[str, ...]:
    takes = [f"`{_name(one)}`" for one in operation["parameters"] if one["in"] != "path"]
    if "requestBody" in operation:
        takes.insert(0, "body")
    _, needs, right = operation.get("description", "").rpartition("Needs the right ")
    rights = right.rstrip(".") if needs else ""
    if not rights and ("{ticket}" in path or "`token=`" in takes):
        rights = "whoever has the link" if "{ticket}" in path else "whoever has a link, or a key"
    elif not rights:
        rights = "anybody" if operation["security"] == [] else "whoever it is"
    return f"`{method.upper()} {path}`", operation["summary"], " ".join(takes), rights


# --- the errors

_ERRORS_WORDS: Final = """# Every error

Every failure has one of ten kinds. Over REST it is a problem document (RFC 9457,
`application/problem+json`), over MCP the same facts are in `error.data`, and the record of the call in the
activity has the kind as its `outcome`.

```json
{
  "type": "urn:mcp-gateway:problem:unknown",
  "title": "There is no such thing",
  "status": 404,
  "code": "unknown",
  "detail": "The server `git` has no tool `git_push`",
  "retryable": false,
  "server": "git",
  "callId": "1a1fd804f7d00000"
}
```

`retryable` is about safety: it is only said where the call cannot have run. `retryAfter` (and the header
`Retry-After`) are seconds. `callId` finds the call in the activity, `GET /api/calls/{id}`. A tool that
reports failure itself (`isError: true`) is a result and no error, but on the tool API (`/tools/...`), where
it is 422 with the code [`tool_error`](#tool_error).
"""
# For each kind: when it comes, and what whoever gets it does about it.
ADVICE: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.INVALID: (
        "The request cannot be read as what it must be: no JSON, a member twice, arguments that are"
        " no object, too large, the wrong content type; or the server calls its "
        "parameters invalid. `detail` names the place.",
        "Mend the request. 405: another method; `Allow` has which. 406: `Accept` asks for what there is"
        " not. 409: it collides with what is there, such as a name that is taken. 413: send less, or"
        " raise `gateway.limits.body`. 415: say `Content-Type: application/json`. Of a reload: `problems` has"
        " each mistake of the file with its line; `mcp-gateway check` has them, too.",
    ),
    Kind.UNAUTHENTICATED: (
        "The gateway is guarded, and the request shows nothing that says who is asking, or "
        "something that is wrong or over.",
        "Send `Authorization: Bearer KEY`; `mcp-gateway keys create NAME` makes one. `GET /api/me` "
        "says whom a key is. On a page: sign in. Behind Tailscale or another proxy: its proof did "
        "not hold ([proxies](../proxies.md)).",
    ),
    Kind.REFUSED: (
        "It is known who is asking, and that is not enough; or the request came in a way that is "
        "not let in: a `Host` nobody configured, another page, a proxy's mark in open mode.",
        "`detail` says which. A right: another key, or the one-time code for administration. A host"
        " or origin: put the address that people use into `gateway.publicUrl`; pages of other "
        "origins into `corsOrigins`. 508: a server of the gateway's leads back to it; take it out.",
    ),
    Kind.UNKNOWN: (
        "There is no such server, tool, call, route or resource, or none that this caller may see, "
        "which is told in the same words.",
        "`GET /api/tools` lists what there is for you; names are exact and case counts. A session "
        "or artifact is gone after a restart. A tool may be switched off: `mcp-gateway tools`.",
    ),
    Kind.INPUT_REQUIRED: (
        "The tool asks something back, over a way in that cannot carry the question (REST, the tool"
        " API, an MCP client that declares no such capability). `inputRequests` is what it asks. "
        "The call has ended.",
        "Call it over MCP with a client that can be asked, or with arguments that answer beforehand.",
    ),
    Kind.BUSY: (
        "Too many at once: calls that wait for this server (`queue`), calls of this caller "
        "(`limits.concurrency`), requests a second (`limits.rate`), wrong passwords. Nothing ran.",
        "Try again after `retryAfter` seconds. If it stays: raise the limit that `detail` names, or"
        " give the server more `concurrency`. 503: too many MCP sessions are open.",
    ),
    Kind.UNAVAILABLE: (
        "The server is off, starting, waiting for its next attempt, failed or wants a login; or the"
        " gateway is stopping. Nothing was sent, so trying again is safe.",
        "`mcp-gateway servers show ID` has the reason and the end of its stderr. `failed` and "
        "`needs login` stay until somebody acts: mend the command or the header, then `mcp-gateway "
        "servers restart ID`.",
    ),
    Kind.TIMED_OUT: (
        "The server said nothing for `timeout`, or did not finish within `maxTimeout`. The call was"
        " taken back from it, and may have run all the same.",
        "Look whether it did before trying again. For slow tools raise `timeout`, for this one call"
        " `?timeout=`; or let it run: `Prefer: respond-async`.",
    ),
    Kind.LOST: (
        "The server died, its connection broke, or what it answered is no answer, in the middle of "
        "the call, which may have run; or a server's own error that none of the other kinds is.",
        "Look before trying again. `detail` has the exit code or the server's words, `mcp-gateway "
        "logs ID` what it wrote. A result above `maxResult`: ask for less, or raise it. 409: somebody"
        " cancelled the call.",
    ),
    Kind.INTERNAL: (
        "A mistake of the gateway.",
        "The log has it under the call's id. Please report it with that part of the log.",
    ),
}
# Where HTTP has a word of its own for what went wrong.
MORE_STATUSES: Final[Mapping[Kind, Sequence[int]]] = {
    Kind.INVALID: (405, 406, 409, 413, 415, 416),
    Kind.REFUSED: (508,),
    Kind.BUSY: (503,),
    Kind.LOST: (409,),
}
_TOOL_ERROR_WORDS: Final = f"""## {TOOL_ERROR}

None of the ten kinds, and on the tool API alone: the tool ran and says itself that it failed. `detail` has
its words, `content` what else it said. Everywhere else the same is a result with `isError: true`.

**What to do.** Read `detail`, which is the tool's own: other arguments, or whatever it lacks. It is not tried
again by itself, since the tool may have done a part.
"""


def errors() -> str:
    assert ADVICE.keys() == TABLE.keys(), "an error has no advice"
    rows = [
        (
            f"[`{kind}`](#{kind})",
            ", ".join(str(status) for status in (row.status, *MORE_STATUSES.get(kind, ()))),
            str(row.rpc_code),
            "yes" if row.retryable else "no",
            row.title,
        )
        for kind, row in ((kind, TABLE[kind]) for kind in ADVICE)
    ]
    parts = [NOTE, _ERRORS_WORDS, _table(("code", "HTTP", "JSON-RPC", "`retryable`", "title"), rows)]
    for kind, (when, then) in ADVICE.items():
        parts.append(f"## {kind}\n\n{when}\n\n**What to do.** {then}\n")
    parts.append(_TOOL_ERROR_WORDS)
    parts.append(
        "Where the specification of MCP has a code of its own, that one is used; "
        "[over MCP](../mcp.md) has those of 2026-07-28. "
        "The exit codes of the command line are in [its page](../cli.md#exit-codes).\n"
    )
    return "\n".join(parts)


# --- tables


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(heads), _row(["---"] * len(heads)), *(_row(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"


PAGES: Final = {"options.md": options, "rest.md": routes, "errors.md": errors}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write())


if __name__ == "__main__":
    main()
