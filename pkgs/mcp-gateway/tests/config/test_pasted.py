"""What people paste to add a server: every client's form, command lines without a shell, URLs."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gateway.config import load, pasted, shown
from mcp_gateway.config.clients import NotRead
from mcp_gateway.config.pasted import read

EVERYTHING = {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-everything"]}
GIT = {"command": "uvx", "args": ["mcp-server-git"]}
PLAYWRIGHT = {"command": "npx", "args": ["@playwright/mcp"]}
BEARER = {"Authorization": "Bearer abc"}
TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    # JSON of clients
    json.dumps({"mcpServers": {"git": GIT}}): ("git", GIT),
    json.dumps({"servers": {"git": GIT}, "inputs": []}): ("git", GIT),
    json.dumps({"mcp": {"servers": {"git": GIT}}}): ("git", GIT),
    json.dumps({"addedServers": {"git": GIT}}): ("git", GIT),
    json.dumps({"projects": {"/p": {"mcpServers": {"git": GIT}}}}): ("git", GIT),
    json.dumps({"context_servers": {"git": {"source": "custom", **GIT}}}): ("git", GIT),
    json.dumps({"context_servers": {"git": {"command": {"path": "uvx", "args": ["mcp-server-git"]}}}}): (
        "git",
        GIT,
    ),
    json.dumps({"mcpServers": {"git": {"command": ["uvx", "mcp-server-git"]}}}): ("git", GIT),
    json.dumps({"Git tools": GIT}): ("Git tools", GIT),
    json.dumps(GIT): ("git", GIT),
    json.dumps({"name": "mine", **GIT}): ("mine", GIT),
    json.dumps({"url": "https://mcp.linear.app/mcp"}): ("linear", {"url": "https://mcp.linear.app/mcp"}),
    '"git": {"command": "uvx", "args": ["mcp-server-git"]},': ("git", GIT),
    '// mine\n{"git": {"command": "uvx", /* what */ "args": ["mcp-server-git",],},}': ("git", GIT),
    '```json\n{"git": {"command": "uvx", "args": ["mcp-server-git"]}}\n```': ("git", GIT),
    '\ufeff{"git": {"command": "uvx", "args": ["mcp-server-git"]}}\r\n': ("git", GIT),
    # TOML of Codex
    '[mcp_servers.git]\ncommand = "uvx"\nargs = ["mcp-server-git"]\n': ("git", GIT),
    '# mine\nmodel = "x"\n[mcp_servers."git"]\ncommand = "uvx"\nargs = ["mcp-server-git"]\n': ("git", GIT),
    # command lines
    "npx -y @modelcontextprotocol/server-everything": ("everything", EVERYTHING),
    "$ npx -y \\\n  @modelcontextprotocol/server-everything  # try it": ("everything", EVERYTHING),
    "FOO=bar uvx mcp-server-git --repository /x": (
        "git",
        {"command": "uvx", "args": ["mcp-server-git", "--repository", "/x"], "env": {"FOO": "bar"}},
    ),
    "env A='b c' uvx mcp-server-git": ("git", {**GIT, "env": {"A": "b c"}}),
    "npx thing \"$HOME/x\" ~/y ${TOKEN} $A '$plain;|&'": (
        "thing",
        {"command": "npx", "args": ["thing", "${HOME}/x", "${HOME}/y", "${TOKEN}", "${A}", "$plain;|&"]},
    ),
    "npx thing 'a b' \"c;d\" e\\ f": ("thing", {"command": "npx", "args": ["thing", "a b", "c;d", "e f"]}),
    "docker run -i --rm -e TOKEN ghcr.io/github/github-mcp-server:v1": (
        "github",
        {
            "command": "docker",
            "args": ["run", "-i", "--rm", "-e", "TOKEN", "ghcr.io/github/github-mcp-server:v1"],
        },
    ),
    "python3 -m mcp_server_time": ("time", {"command": "python3", "args": ["-m", "mcp_server_time"]}),
    "node /opt/weather-mcp/build/index.js": (
        "weather",
        {"command": "node", "args": ["/opt/weather-mcp/build/index.js"]},
    ),
    "/opt/my-mcp-server": ("my", {"command": "/opt/my-mcp-server"}),
    "npx @playwright/mcp@latest": ("playwright", {"command": "npx", "args": ["@playwright/mcp@latest"]}),
    # what other programs would add
    "claude mcp add git -- uvx mcp-server-git": ("git", GIT),
    "claude mcp add git uvx mcp-server-git": ("git", GIT),
    "claude mcp add -s user -e A=1 B=2 git -- uvx mcp-server-git": (
        "git",
        {**GIT, "env": {"A": "1", "B": "2"}},
    ),
    "claude mcp add git --env A=1 -- uvx mcp-server-git": ("git", {**GIT, "env": {"A": "1"}}),
    'claude mcp add --transport http notion https://mcp.notion.com/mcp -H "Authorization: Bearer abc"': (
        "notion",
        {"url": "https://mcp.notion.com/mcp", "type": "http", "headers": BEARER},
    ),
    "claude mcp add --transport=sse old https://old.example/sse": (
        "old",
        {"url": "https://old.example/sse", "type": "sse"},
    ),
    "claude mcp add-json git '" + json.dumps(GIT) + "'": ("git", GIT),
    "codex mcp add git --env A=1 -- uvx mcp-server-git": ("git", {**GIT, "env": {"A": "1"}}),
    "codex mcp add far --url https://far.example/mcp --bearer-token-env-var FAR": (
        "far",
        {"url": "https://far.example/mcp", "headers": {"Authorization": "Bearer ${FAR}"}},
    ),
    "gemini mcp add -t http --trust far https://far.example/mcp": (
        "far",
        {"url": "https://far.example/mcp", "type": "http"},
    ),
    "code --add-mcp '" + json.dumps({"name": "pw", **PLAYWRIGHT}) + "'": ("pw", PLAYWRIGHT),
    # URLs
    "https://mcp.linear.app/mcp": ("linear", {"url": "https://mcp.linear.app/mcp"}),
    " http://localhost:3000/mcp?a=1&b=2 \n": (
        "localhost",
        {"url": "http://localhost:3000/mcp?a=1&b=2"},
    ),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_the_server_it_means_and_could_be_saved(text: str) -> None:
    (proposed,) = read(text)
    assert (proposed.name, proposed.entry) == TEXTS[text]
    document = load.as_text({"addedServers": {proposed.name: proposed.entry}})
    assert load.examine(document, source="", env={}).problems == ()


def test_a_name_of_the_persons_own_counts_and_one_in_the_text_is_no_guess() -> None:
    assert read("npx -y thing")[0].is_guessed
    assert not read("npx -y thing", "Mine")[0].is_guessed
    assert read("npx -y thing", "Mine")[0].id == "mine"
    assert not read('{"a": {"command": "b"}}')[0].is_guessed
    with pytest.raises(NotRead, match="2 servers"):
        read('{"a": {"command": "b"}, "c": {"command": "d"}}', "e")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("npx a | tee b", "a pipe"),
        ("npx a; rm -rf b", "several commands"),
        ("npx a && npx b", "several commands"),
        ("npx a &", "the background"),
        ("npx a\nnpx b", "several lines"),
        ("npx a\r\nnpx b", "several lines"),
        ("npx $(touch x)", r"`\$\(`"),
        ('npx "$(touch x)"', r"`\$\(`"),
        ("npx ${A:-$(touch x)}", r"`\$\{`"),
        ("npx ${A:=b}", r"`\$\{`"),
        ("npx $((1+1))", r"`\$\(`"),
        ("npx `touch x`", "backticks"),
        ('npx "`touch x`"', "backticks"),
        ("npx a > b", "a redirection"),
        ("npx a 2>&1", "a redirection"),
        ("npx <(touch x)", "a redirection"),
        ("(npx a)", "brackets"),
        ("npx $1", r"`\$1`"),
        ("npx $'a'", "shell"),
        ("npx '${HOME}'", "single quotes"),
        ("npx \\${HOME}", "backslash"),
        ("npx 'a", "no closing quotation"),
        ("A=b", "no command"),
        ("env", "no command"),
        ("", "is empty"),
        ("# nothing", "no command"),
        ("{", "cannot be read"),
        ('{"mcpServers": {}}', "no MCP servers"),
        ('{"a": 1}', "no MCP servers"),
        ('{"a":' * 50_000, "cannot be read"),
        ("[mcp_servers.x\ncommand=", "cannot be read"),
        ("https://a.example https://b.example", "more than a URL"),
        ("claude mcp add", "no name"),
        ("claude mcp add -- npx a", "no name"),
        ("claude mcp add x", "neither a command nor a URL"),
        ("claude mcp add -e", "nothing after `-e`"),
        ("claude mcp add -e A x -- y", "of the form"),
        ("claude mcp add --frobnicate x -- y", "an option that is not known"),
        ("claude mcp add -t carrier-pigeon x https://y", "a transport"),
        ("claude mcp add -t http x https://y -H nothing", "a header"),
        ("claude mcp add-json x", "no JSON"),
        ("x" * (pasted.TEXT_CHARS_MAX + 1), "longer than"),
        (json.dumps({f"s{n}": {"command": "x"} for n in range(pasted.SERVERS_MAX + 1)}), "more than"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_server_or_needs_a_shell_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(NotRead, match=why):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ' + "/*" * 100_000,
        '{"a": "' + '\\"' * 100_000,
        "{" + "," * 200_000,
        "{" + ",/**/" * 40_000,
        "{" + " " * 200_000,
        '"' * 200_000,
        "a " * 100_000,
        "$A" * 100_000,
        "a-" * 100_000,
        "claude mcp add " + "-e A=b " * 30_000,
        "npx " + "a=" * 100_000,
        "npx " + "--token=a" * 20_000,
        "[mcp_servers.a]\n" + "b = 1\n" * 100,
        "Bearer" + " " * 200_000,
    ],
    ids=lambda text: text[:30],
)
@pytest.mark.timeout(60)  # to go over all of it for each of its characters takes hours
def test_a_text_made_to_be_slow_is_walked_through_once(text: str) -> None:
    try:
        told = [shown.arguments(tuple(one.entry.get("args", ()))) for one in read(text)]
    except NotRead:
        return
    assert told


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab $'\"\\{}()`|;&<>~#=:-/\n[],.") | st.characters(), max_size=60))
def test_whatever_is_pasted_is_a_server_or_a_sentence(text: str) -> None:
    try:
        proposed = read(text)
    except NotRead:
        return
    for one in proposed:
        load.examine(load.as_text({"addedServers": {one.name: one.entry}}), source="", env={})
        shown.arguments(tuple(one.entry.get("args", ())))
