"""What to type or paste into each client so that it uses this gateway, and what that client can do.

Pure: an `Endpoint` in, texts out. Each client is one small function behind `@_client`, in the order in which
pages show them; whatever is known of a client stands there and nowhere else. No key is ever in a text: a
placeholder stands for it, and where the gateway asks nobody who they are there is none. What the gateway
cannot do yet is said as the reason why a client does not work (`why`), never shown as if it did.
"""

import json
import shlex
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

KEY_VARIABLE: Final = "GATEWAY_KEY"  # of the environment, where a client can read one
PLACEHOLDER: Final = "YOUR_KEY"
NAME: Final = "gateway"  # what clients call all servers together
MCP_REMOTE: Final = "mcp-remote@0.15.1"  # the version that is tried

_WITHOUT_MCP: Final = ("curl", "open-webui-openapi", "open-webui-code")

Reach = Literal["machine", "network", "tailnet", "internet"]
_HOME_NAMES: Final = (".local", ".lan", ".home", ".internal", ".home.arpa", ".localdomain")


@dataclass(frozen=True, slots=True)
class Snippet:
    """`file`: where the text belongs, unless it is something to run. `download`: a path of the gateway that
    gives it as a file.
    """

    title: str
    language: Literal["json", "toml", "yaml", "sh"]
    text: str
    file: str | None = None
    download: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What one client is told. `why` it does not work; None where it does. `link` opens the client itself.
    `choose` says when to take this of several ways.
    """

    snippets: tuple[Snippet, ...] = ()
    link: str | None = None
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    why: str | None = None
    sends_key: bool = True
    choose: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is to be connected: all servers, or one by its id, at an origin such as `https://mcp.example.com`.

    `needs_key`: the gateway asks who is there. `is_mcp_open`: it has MCP URLs at all. `for_all_users`: of a
    client with users of its own, all may use what is connected, and not its administrators alone.
    """

    base: str
    server: str | None = None
    needs_key: bool = True
    is_mcp_open: bool = True
    knows_tailnet: bool = False
    for_all_users: bool = True
    reach: Reach = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reach", reach_of(self.base))

    @property
    def url(self) -> str:
        return f"{self.base}/mcp" if self.server is None else f"{self.base}/servers/{self.server}/mcp"

    @property
    def tools_url(self) -> str:
        """For clients that read OpenAPI; their document is `openapi.json` below it."""
        return f"{self.base}/tools" if self.server is None else f"{self.base}/tools/{self.server}"

    @property
    def sse_url(self) -> str:
        """For clients that know nothing newer than HTTP+SSE."""
        return f"{self.base}/mcp/sse" if self.server is None else f"{self.base}/servers/{self.server}/sse"

    @property
    def name(self) -> str:
        """What clients call it; apart from an entry that somebody has for the server itself."""
        return NAME if self.server is None else f"{NAME}-{self.server}"

    @property
    def short_name(self) -> str:
        """For clients that put it before the name of every tool."""
        return "gw" if self.server is None else self.server

    def headers(self, key: str) -> dict[str, Any]:
        """The member `headers` of a client's file, with `key` as that client writes one; or nothing."""
        return {"headers": {"Authorization": f"Bearer {key}"}} if self.needs_key else {}


def reach_of(base: str) -> Reach:
    """From where an address can be reached, as far as the address tells."""
    host = urlsplit(base).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        if host == "localhost":
            return "machine"
        if host.endswith(".ts.net"):
            return "tailnet"
        return "network" if "." not in host or host.endswith(_HOME_NAMES) else "internet"
    if address.is_loopback:
        return "machine"
    return "internet" if address.is_global else "network"


# --- the clients

_Make = Callable[[Endpoint], Told]
_CLIENTS: Final[dict[str, tuple[str, _Make]]] = {}


def _client(client: str, name: str) -> Callable[[_Make], _Make]:
    def add(make: _Make) -> _Make:
        _CLIENTS[client] = name, make
        return make

    return add


def clients(at: Endpoint) -> list[dict[str, Any]]:
    """Every client with what it is told, as the API and the page show it."""
    return [_view(client, name, make(at), at) for client, (name, make) in _CLIENTS.items()]


def notes(at: Endpoint) -> list[str]:
    """What is to be said of the address itself, whatever the client."""
    return list(_notes(at))


def _view(client: str, name: str, told: Told, at: Endpoint) -> dict[str, Any]:
    why = told.why
    if not at.is_mcp_open and client not in _WITHOUT_MCP:
        told, why = Told(sends_key=told.sends_key), "The configuration closes every MCP URL (`mcp.enabled`)"
    view = {
        "id": client,
        "name": name,
        "works": why is None,
        "sendsKey": told.sends_key,
        "snippets": [_without_none(asdict(snippet)) for snippet in told.snippets],
        "link": told.link,
        "choose": told.choose,
        "notes": list(told.notes),
        "limits": list(told.limits),
        "why": why,
    }
    return _without_none(view)


def _notes(at: Endpoint) -> Iterator[str]:
    if at.reach == "machine":
        yield "Only programs on the gateway's own machine reach this address; a container is another machine."
    if at.needs_key:
        yield (
            f"Make a key for each client, narrowed to what it needs: `mcp-gateway keys create NAME`. "
            f"Where a text says `{KEY_VARIABLE}`, the key is expected in the environment variable of that "
            f"name; put it in place of `{PLACEHOLDER}` by hand."
        )
        if urlsplit(at.base).scheme == "http" and at.reach != "machine":
            yield "Everybody on the way can read the key: this address is http and not https."
    if at.knows_tailnet:
        yield (
            "Who comes through `tailscale serve` is known by their log-in and needs no key; "
            "then leave out what holds it."
        )


Way = Literal["openapi", "mcp"]
_ALL_USERS: Final = {"principal_type": "user", "principal_id": "*", "permission": "read"}
_INTEGRATIONS: Final = "As an administrator: Settings > Integrations, import"
_OF_THE_GRANT: Final = "Who may use the tools is in `access_grants`; when it is empty, administrators alone."
_OF_CONTAINERS: Final = (
    "Within its container `localhost` is the container: the gateway has to listen on an address that "
    "it reaches (`host`), and the name it uses there belongs into `publicUrl`."
)


def connection(at: Endpoint, way: Way, *, key: str, for_all_users: bool) -> dict[str, Any]:
    """What Open WebUI keeps of a tool server, and takes as a file. An empty key is none."""
    return {
        "type": way,
        "url": at.tools_url if way == "openapi" else at.url,
        **({"spec_type": "url", "spec": ""} if way == "openapi" else {}),
        "path": "openapi.json" if way == "openapi" else "",
        "auth_type": "bearer" if key else "none",
        "key": key,
        "config": {
            "enable": True,
            "function_name_filter_list": "",
            "access_grants": [_ALL_USERS] if for_all_users else [],
        },
        "info": {
            "id": at.short_name,
            "name": "Gateway" if at.server is None else f"Gateway, {at.server}",
            "description": "",
        },
    }


def _of_open_webui(at: Endpoint, way: Way, *notes: str, choose: str, limits: tuple[str, ...]) -> Told:
    key = PLACEHOLDER if at.needs_key else ""
    made = connection(at, way, key=key, for_all_users=at.for_all_users)
    in_one_line = json.dumps([made], separators=(",", ":"))
    where = urlencode(
        {"way": way, "url": at.base}
        | ({} if at.server is None else {"server": at.server})
        | ({} if at.for_all_users else {"users": "administrators"})
    )
    return Told(
        snippets=(
            Snippet(
                _INTEGRATIONS,
                "json",
                _pretty(made),
                f"{at.name}.json",
                download=f"/api/openwebui/connection?{where}",
            ),
            Snippet(
                "Or from the environment, at the first start of its container",
                "yaml",
                f"TOOL_SERVER_CONNECTIONS: '{in_one_line}'",
                "compose.yaml",
            ),
        ),
        notes=(*notes, _OF_THE_GRANT, _OF_CONTAINERS),
        limits=limits,
        choose=choose,
    )


@_client("open-webui-openapi", "Open WebUI, over OpenAPI")
def _open_webui_over_openapi(at: Endpoint) -> Told:
    return _of_open_webui(
        at,
        "openapi",
        f"By hand it is a new connection of the type OpenAPI: the URL `{at.tools_url}`, the path "
        "`openapi.json`, Bearer, the key.",
        "To tell servers who is asking, add a member such as "
        '`"headers": {"X-User": "{{USER_EMAIL}}"}` and name the header in `forwardHeaders` of the server. '
        "There are `{{USER_ID}}`, `{{USER_NAME}}`, `{{USER_ROLE}}`, `{{CHAT_ID}}` and more.",
        choose="The usual choice: images and files arrive, names of tools stay as they are, one address has "
        "all servers, and nothing is lost when either side restarts.",
        limits=(
            "Connecting has 10 s, a call 300 s.",
            "It calls the tools of a turn one after another, and shows no progress.",
        ),
    )


@_client("open-webui-mcp", "Open WebUI, over MCP")
def _open_webui_over_mcp(at: Endpoint) -> Told:
    return _of_open_webui(
        at,
        "mcp",
        "By hand it is a new connection of the type MCP (Streamable HTTP): the URL, Bearer, the key.",
        choose="For what only MCP has: instructions of servers, and questions back to the user. Links in "
        "results are lost, and each chat message costs a new connection.",
        limits=(
            "Connecting and the list of tools have 10 s each, a call 300 s.",
            "Names are put behind the connection's id and shortened beyond 64 characters: keep the id short, "
            "without `:` and `|`.",
            "Resources, prompts and progress are not used; links to resources in results are lost.",
        ),
    )


@_client("open-webui-code", "Open WebUI, as generated code")
def _open_webui_as_code(at: Endpoint) -> Told:
    path = "/api/openwebui/functions"
    query = urlencode({"url": at.base} | ({} if at.server is None else {"server": at.server}))
    key = f'-H "Authorization: Bearer ${KEY_VARIABLE}" ' if at.needs_key else ""
    file = "open-webui-tools.json" if at.server is None else f"open-webui-{at.server}.json"
    snippets = [
        Snippet(
            "Workspace > Tools > Import, of this file",
            "sh",
            f"curl {key}-o {file} {shlex.quote(f'{at.base}{path}?{query}')}",
            download=f"{path}?{query}",
        )
    ]
    if at.server is not None:
        link = f"{at.base}{path}/{at.server}/link?{urlencode({'url': at.base})}"
        snippets.append(
            Snippet(
                "Or Import from URL, of a link that works for 15 minutes",
                "sh",
                f"curl -X POST {key}{shlex.quote(link)}",
            )
        )
    return Told(
        snippets=tuple(snippets),
        notes=(
            "Each server becomes one tool of Open WebUI, in Python; whoever imports it sets address and key "
            "in its valves.",
            "What a server offers is in the code: fetch it again when that has changed.",
            *(
                ("For one server, chosen above, there is a link to import, too.",)
                if at.server is None
                else ()
            ),
        ),
        limits=(
            "Open WebUI runs such code as itself, and may forbid it (`ENABLE_TOOLS`).",
            "Names of tools become names of Python.",
        ),
        choose="Where connections are not allowed, or people are to see how far a call is.",
    )


@_client("claude-code", "Claude Code")
def _claude_code(at: Endpoint) -> Told:
    header = f" --header 'Authorization: Bearer ${{{KEY_VARIABLE}}}'" if at.needs_key else ""
    command = f"claude mcp add --scope user --transport http {at.name} {shlex.quote(at.url)}{header}"
    entry = {"type": "http", "url": at.url, **at.headers(f"${{{KEY_VARIABLE}}}")}
    return Told(
        snippets=(
            Snippet("For you, in all projects", "sh", command),
            Snippet("For one project", "json", _servers(at, entry), ".mcp.json"),
        ),
        notes=("The single quotes matter: Claude Code fills in the variable itself, each time.",)
        if at.needs_key
        else (),
        limits=(
            "Of each description, and of the instructions, the first 2 KB reach the model.",
            "A result of more than 10,000 tokens is warned of, one of more than 25,000 is cut "
            "(`MAX_MCP_OUTPUT_TOKENS`).",
        ),
    )


@_client("claude-desktop", "Claude Desktop")
def _claude_desktop(at: Endpoint) -> Told:
    plain = ["--allow-http"] if at.base.startswith("http:") and at.reach != "machine" else []
    key = ["--header", "Authorization:${GATEWAY_AUTH}"] if at.needs_key else []
    entry: dict[str, Any] = {
        "command": "npx",
        "args": ["-y", MCP_REMOTE, at.url, "--transport", "http-only", *plain, *key],
    }
    if at.needs_key:
        entry["env"] = {"GATEWAY_AUTH": f"Bearer {PLACEHOLDER}"}
    return Told(
        snippets=(
            Snippet(
                "Settings > Developer > Edit Config",
                "json",
                _servers(at, entry),
                "claude_desktop_config.json",
            ),
        ),
        notes=(
            "Its file takes programs, not URLs: `mcp-remote` is a program that passes everything on, and "
            "needs Node. It suits every client that only starts programs.",
            "The connectors of its settings come from the Internet, as those of Claude.ai do.",
        ),
        limits=(
            "A result has 150,000 characters at most, a call 300 s.",
            "Names of tools have 64 characters at most.",
        ),
    )


@_client("claude-ai", "Claude.ai")
def _claude_ai(at: Endpoint) -> Told:
    return Told(
        why=_not_from_the_internet(at, "Claude.ai"),
        notes=("Claude Code and Claude Desktop, on a computer of yours, work now.",),
        limits=(
            "It comes from the Internet: https on port 443, a certificate that everybody accepts, IPv4.",
            "A result has 150,000 characters at most, a call 300 s.",
        ),
        sends_key=False,
    )


@_client("chatgpt", "ChatGPT")
def _chatgpt(at: Endpoint) -> Told:
    return Told(
        why=_not_from_the_internet(at, "ChatGPT"),
        notes=("Codex, on a computer of yours, works now.",),
        limits=(
            "It comes from the Internet: https with a certificate that everybody accepts.",
            "It takes 128 tools, remembers their list until it is refreshed by hand, and reads the first 512 "
            "characters of the instructions.",
        ),
        sends_key=False,
    )


@_client("vscode", "VS Code")
def _vscode(at: Endpoint) -> Told:
    entry = {"type": "http", "url": at.url, **at.headers("${input:gateway-key}")}
    asked = {
        "type": "promptString",
        "id": "gateway-key",
        "description": "Key of the MCP gateway",
        "password": True,
    }
    inputs = {"inputs": [asked]} if at.needs_key else {}
    config = {"name": at.name, **inputs, **entry}
    return Told(
        snippets=(
            Snippet(
                "For one project",
                "json",
                _pretty({**inputs, "servers": {at.name: entry}}),
                ".vscode/mcp.json",
            ),
        ),
        link=f"vscode:mcp/install?{_encoded(config)}",
        notes=("It asks for the key once and keeps it.",) if at.needs_key else (),
        limits=(
            "A request takes 128 tools at most: narrow the key, or connect single servers.",
            "It remembers the tools it was told of; the command MCP: Reset Cached Tools makes it ask again.",
        ),
    )


@_client("cursor", "Cursor")
def _cursor(at: Endpoint) -> Told:
    entry = {"url": at.url, **at.headers(f"${{env:{KEY_VARIABLE}}}")}
    return Told(
        snippets=(
            Snippet("For you, in all projects", "json", _servers(at, entry), "~/.cursor/mcp.json"),
            Snippet("For one project", "json", _servers(at, entry), ".cursor/mcp.json"),
        ),
        link=f"cursor://anysphere.cursor-deeplink/mcp/install?name={at.name}&config={_packed(entry)}",
        limits=(
            "The name of the entry and that of a tool have 60 characters together.",
            "About 40 tools are what it uses well; it remembers their list.",
        ),
    )


@_client("codex", "Codex")
def _codex(at: Endpoint) -> Told:
    flag = f" --bearer-token-env-var {KEY_VARIABLE}" if at.needs_key else ""
    lines = [f"[mcp_servers.{at.name}]", f"url = {json.dumps(at.url)}"]
    if at.needs_key:
        lines.append(f'bearer_token_env_var = "{KEY_VARIABLE}"')
    return Told(
        snippets=(
            Snippet(
                "On the command line", "sh", f"codex mcp add {at.name} --url {shlex.quote(at.url)}{flag}"
            ),
            Snippet("Which writes this", "toml", "\n".join(lines), "~/.codex/config.toml"),
        ),
        limits=("It waits 60 s for a call; `tool_timeout_sec` in the same place makes that longer.",),
    )


@_client("gemini-cli", "Gemini CLI")
def _gemini_cli(at: Endpoint) -> Told:
    entry = {"httpUrl": at.url, **at.headers(f"${KEY_VARIABLE}")}
    return Told(
        snippets=(
            Snippet("For you, in all projects", "json", _servers(at, entry), "~/.gemini/settings.json"),
        ),
        notes=("It connects in folders that it was told to trust, and in no other.",),
        limits=(
            "A call has 600 s; names of more than 63 characters lose their middle.",
            "It sends an argument of its own, `wait_for_previous`, which strict servers refuse.",
        ),
    )


@_client("lm-studio", "LM Studio")
def _lm_studio(at: Endpoint) -> Told:
    entry = {"url": at.url, **at.headers(PLACEHOLDER)}
    return Told(
        snippets=(Snippet("Program > Install > Edit mcp.json", "json", _servers(at, entry), "mcp.json"),),
        link=f"lmstudio://add_mcp?name={at.name}&config={_packed(entry)}",
        notes=(f"Its file holds the key itself: put it in place of `{PLACEHOLDER}`, after the link, too.",)
        if at.needs_key
        else (),
    )


@_client("curl", "curl")
def _curl(at: Endpoint) -> Told:
    key = f'-H "Authorization: Bearer ${KEY_VARIABLE}" ' if at.needs_key else ""
    body = "-H 'Content-Type: application/json' -d"
    tools = f"{at.base}/api/tools" + ("" if at.server is None else f"?server={at.server}")
    tool = f"{at.base}/api/tools/{at.server or 'SERVER'}/TOOL"
    snippets = [
        Snippet("The tools", "sh", f"curl {key}{shlex.quote(tools)}"),
        Snippet("Call one; the body is its arguments", "sh", f"curl {key}{body} '{{}}' {shlex.quote(tool)}"),
    ]
    if at.is_mcp_open:
        hello = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "curl", "version": "1"},
            },
        }
        accept = "-H 'Accept: application/json, text/event-stream' "
        snippets.append(
            Snippet(
                "Whether MCP answers",
                "sh",
                f"curl {key}{accept}{body} {shlex.quote(json.dumps(hello))} {shlex.quote(at.url)}",
            )
        )
    return Told(snippets=tuple(snippets), notes=("What REST can do is in `/openapi.json`.",))


def _not_from_the_internet(at: Endpoint, client: str) -> str:
    """Why a client that lives on the Internet does not come in."""
    parts = urlsplit(at.base)
    if at.reach == "tailnet":
        first = (
            f"{client} comes from the Internet and does not reach a tailnet (`tailscale funnel` opens one)"
        )
    elif at.reach != "internet":
        first = f"{client} comes from the Internet and does not reach {at.base}"
    elif parts.scheme != "https" or parts.port not in (None, 443):
        first = f"{client} comes from the Internet and wants https on the usual port"
    else:
        first = f"{client} comes from the Internet"
    return f"{first}, and signs in with OAuth, which this gateway does not offer yet; it can send no key."


# --- how texts are written


def _servers(at: Endpoint, entry: dict[str, Any]) -> str:
    return _pretty({"mcpServers": {at.name: entry}})


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2)


def _encoded(value: Any) -> str:
    return quote(json.dumps(value, separators=(",", ":")), safe="")


def _packed(value: Any) -> str:
    """Base64 of JSON, as links of Cursor and LM Studio have it."""
    return quote(b64encode(json.dumps(value, separators=(",", ":")).encode()).decode(), safe="")


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if one is not None}
