"""Files of people who come from mcpo: they hold as they are, or `check` says what to write instead.

The corpus is what mcpo 0.0.20 takes by its documentation and its source, and what people have written of it:
every key of a server, every spelling of a type, servers as they are usually run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from mcp_gateway.config.load import Report, examine
from mcp_gateway.config.model import ServerConfig, ToolRules

ENV: Final[Mapping[str, str]] = {"HOME": "/home/me", "GITHUB_TOKEN": "t"}
TIME: Final = {"command": "uvx", "args": ["mcp-server-time", "--local-timezone=America/New_York"]}
REMOTE: Final = {"url": "http://127.0.0.1:8002/mcp"}

# Whole files as people have them: none needs a change, and nothing is said of them.
FILES: Final[Mapping[str, dict[str, Any]]] = {
    "one of each kind": {
        "memory": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-memory"]},
        "time": TIME | {"disabledTools": ["convert_time"]},
        "events": {
            "type": "sse",
            "url": "http://127.0.0.1:8001/sse",
            "headers": {"Authorization": "Bearer token", "X-Custom-Header": "value"},
        },
        "stream": {"type": "streamable-http", **REMOTE},
    },
    "beside Open WebUI in Docker": {
        "fetch": {"command": "uvx", "args": ["mcp-server-fetch", "--ignore-robots-txt"]},
        "filesystem": {
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-filesystem", "/data"],
            "env": {},
        },
        "sequential-thinking": {
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-sequential-thinking"],
        },
        "playwright": {"type": "sse", "url": "http://playwright:8931/sse"},
        "searxng": {
            "command": "npx",
            "args": ["-y", "mcp-searxng"],
            "env": {"SEARXNG_URL": "http://searxng:8080"},
        },
        "n8n": {
            "type": "streamable_http",
            "url": "https://n8n.example.com/mcp/tools",
            "headers": {"Authorization": "Bearer x"},
        },
        "github": {
            "command": "docker",
            "args": [
                "run",
                "-i",
                "--rm",
                "-e",
                "GITHUB_PERSONAL_ACCESS_TOKEN",
                "ghcr.io/github/github-mcp-server",
            ],
            "env": {"GITHUB_TOKEN": "${GITHUB_TOKEN}"},
        },
        "Home Assistant": {
            "type": "sse",
            "url": "http://homeassistant.local:8123/mcp_server/sse",
            "headers": {"Authorization": "Bearer x"},
        },
    },
    "every spelling": {
        "a": {"type": "streamable-http", **REMOTE},
        "b": {"type": "streamable_http", **REMOTE},
        "c": {"type": "streamablehttp", **REMOTE},
        "d": {"type": "sse", "url": "http://127.0.0.1:8001/sse"},
        "e": {"url": "http://127.0.0.1:8001/sse"},
        "f": {"type": "stdio", **TIME},
        "g": TIME | {"disabledTools": None},
        "h": TIME | {"disabled_tools": []},
    },
}
TYPES: Final = {"a": "streamable-http", "b": "streamable-http", "c": "streamable-http", "d": "sse", "e": None}

# What holds no meaning here is said, with what to write in its place; the server is there all the same.
IGNORED: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "headers passed on": (
        REMOTE | {"client_header_forwarding": {"enabled": True, "whitelist": ["X-User-*"], "blacklist": []}},
        "headers of callers reach a server where `forwardHeaders` names each of them",
    ),
    "OAuth": (
        {"type": "streamable-http", **REMOTE, "oauth": {"server_url": "http://127.0.0.1:8002"}},
        "signing in to a remote server is not built yet; a fixed header works",
    ),
}

# What nobody can mean, and what mcpo passes over in silence.
REFUSED: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "neither": ({"time": {}}, "time: needs exactly one of `command` and `url`"),
    "both": ({"time": TIME | REMOTE}, "time: needs exactly one of `command` and `url`"),
    "a type that does not fit": (
        {"time": {"type": "sse", **TIME}},
        "time: `type` sse does not go with `command`",
    ),
    "a type without a url": ({"far": {"type": "sse"}}, "far: needs exactly one of `command` and `url`"),
    "headers of a program": (
        {"time": TIME | {"headers": {"A": "b"}}},
        "time: `headers`: only for a server with a `url`",
    ),
    "tools that are no list": (
        {"time": TIME | {"disabledTools": "convert_time"}},
        "time.disabledTools: must be a list of tool names",
    ),
    "a number in the environment": (
        {"time": TIME | {"env": {"PORT": 1}}},
        "time.env.PORT: must be text in quotes, or an object with `file`, `credential` or `command`",
    ),
    "a typing error": (
        {"time": TIME | {"disabledTool": ["a"]}},
        "time.disabledTool: unknown key (did you mean `disabledTools`?)",
    ),
    "two names with one id": (
        {"my_time": TIME, "my-time": TIME},
        "my-time: has the same id `my-time` as mcpServers.my_time; rename one",
    ),
}


def look(servers: Mapping[str, Any]) -> Report:
    return examine(json.dumps({"mcpServers": servers}).encode(), source="config.json", env=ENV)


def server(entry: dict[str, Any]) -> ServerConfig:
    report = look({"one": entry})
    assert report.config is not None, report.problems
    return report.config.servers["one"]


@pytest.mark.parametrize("servers", FILES.values(), ids=FILES)
def test_a_file_of_mcpo_is_good_as_it_is(servers: dict[str, Any]) -> None:
    report = look(servers)
    assert (report.problems, report.warnings, report.unset) == ((), (), ())
    assert report.config is not None
    assert [one.title for one in report.config.servers.values()] == list(servers)


def test_every_spelling_of_a_type_means_what_it_means_to_mcpo() -> None:
    config = look(FILES["every spelling"]).config
    assert config is not None
    assert {name: config.servers[name].type for name in TYPES} == TYPES


@pytest.mark.parametrize("key", ["disabledTools", "disabled_tools"])
def test_tools_that_are_disabled_there_are_denied_here(key: str) -> None:
    assert server(TIME | {key: ["convert_time"]}).tools == ToolRules(deny=("convert_time",))


def test_headers_of_a_server_are_kept() -> None:
    headers = {"Authorization": "Bearer token", "X-Custom-Header": "value"}
    assert server({"type": "streamable_http", **REMOTE, "headers": headers}).headers == headers


def test_names_become_ids_that_urls_take() -> None:
    config = look({"mcp_sse": TIME, "Home Assistant": TIME}).config
    assert config is not None
    assert list(config.servers) == ["mcp-sse", "home-assistant"]


@pytest.mark.parametrize(("entry", "why"), IGNORED.values(), ids=IGNORED)
def test_what_is_ignored_is_said_with_what_to_write(entry: dict[str, Any], why: str) -> None:
    report = look({"one": entry})
    assert report.problems == ()
    assert [one.message for one in report.warnings] == [f"ignored: {why}"]


@pytest.mark.parametrize(("servers", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_hold_is_refused_with_a_sentence(servers: dict[str, Any], told: str) -> None:
    [problem] = look(servers).problems
    assert str(problem).partition("mcpServers.")[2] == told


def test_check_says_of_a_whole_file_that_it_is_good(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"mcpServers": FILES["one of each kind"]}, indent=2))
    path.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "mcp_gateway", "check", "--config", str(path)],
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: good, 4 servers\n", "")
