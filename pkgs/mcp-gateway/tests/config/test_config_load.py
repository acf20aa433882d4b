"""Whole files: what is understood, what is refused with place and line, and which file is read at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mcp_gateway.config import load as loading
from mcp_gateway.config.load import empty, environment, examine, find_config, load, parse, state_dir
from mcp_gateway.config.model import Config, ConfigError, Keep, SecretRef, ServerConfig, ToolRules, schema

SECRET = "CANARY-77aa"
ENV: Mapping[str, str] = {"HOME": "/home/me", "KEY": SECRET}


def read(document: object, env: Mapping[str, str] = ENV) -> Config:
    return parse(json.dumps(document, indent=1).encode(), source="f.json", env=env)


def one(**keys: object) -> ServerConfig:
    return read({"mcpServers": {"one": keys}}).servers["one"]


def refusals(text: str | bytes) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as raised:
        parse(raw, source="f", env=ENV)
    return [str(problem) for problem in raised.value.problems]


# -- what is understood


def test_a_whole_file_is_read_as_written_and_in_its_order() -> None:
    config = read(
        {
            "$schema": "x",
            "mcpServers": {
                "Zeta Server": {
                    "command": "uvx",
                    "args": ["a", "${KEY}"],
                    "env": {
                        "A": "x",
                        "B": {"file": "~/b"},
                        "C": {"credential": "c"},
                        "D": {"command": ["pass", "d"]},
                    },
                    "cwd": "/tmp",
                    "timeout": "5m",
                    "payloads": "disk",
                    "tools": {
                        "allow": ["read_*"],
                        "deny": ["rm"],
                        "rename": {"a": "b"},
                        "describe": {"a": "A tool"},
                    },
                },
                "alpha": {
                    "title": "Alpha!",
                    "type": "http",
                    "url": "https://h/mcp",
                    "headers": {"X": "${KEY:-none}"},
                },
            },
            "gateway": {
                "port": 0,
                "socket": "/run/gateway/socket",
                "limits": {"body": "1MiB"},
                "activity": {"keep": "36h", "payloads": "off"},
                "logFormat": "json",
            },
        }
    )
    assert list(config.servers) == ["zeta-server", "alpha"]
    zeta, alpha = config.servers.values()
    assert (zeta.title, zeta.command, zeta.args, zeta.cwd) == ("Zeta Server", "uvx", ("a", "${KEY}"), "/tmp")
    assert zeta.env["B"] == SecretRef(file="~/b")
    assert zeta.env["D"] == SecretRef(command=("pass", "d"))
    assert (zeta.timeout_s, zeta.tools.allow, zeta.tools.deny) == (300.0, ("read_*",), ("rm",))
    assert (alpha.title, alpha.url, alpha.headers) == ("Alpha!", "https://h/mcp", {"X": "${KEY:-none}"})
    assert (config.gateway.port, config.gateway.limits.body_bytes) == (0, 1 << 20)
    assert config.gateway.socket == "/run/gateway/socket"
    activity = config.gateway.activity
    assert (activity.keep, activity.payloads, zeta.payloads) == (Keep(days=1.5), "off", "disk")
    assert config.gateway.log_format == "json"
    assert config.warnings == ()


def test_the_words_of_vs_code_and_a_byte_order_mark_are_read() -> None:
    config = parse(
        b'\xef\xbb\xbf{"servers": {"a": {"command": "x"}}, "mcpServers": {"b": {"command": "y"}}}',
        source="f",
        env=ENV,
    )
    assert list(config.servers) == ["b", "a"]


@pytest.mark.parametrize("text", [b"{}", b'{"mcpServers": {}}', b'{"gateway": {}}'])
def test_a_file_that_says_nothing_is_the_empty_configuration(text: bytes) -> None:
    assert parse(text, source="f", env=ENV) == empty()


FOREIGN: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    (
        "Claude Code",
        {"type": "http", "url": "https://h/mcp", "headers": {"A": "b"}, "alwaysLoad": True, "oauth": {}},
        {"type": "http", "enabled": True},
        ["alwaysLoad", "oauth"],
    ),
    (
        "Cline",
        {"command": "x", "disabled": True, "autoApprove": ["t"], "timeout": 60, "transportType": "stdio"},
        {"enabled": False, "type": "stdio", "timeout_s": 60.0},
        ["autoApprove"],
    ),
    (
        "Roo",
        {
            "type": "streamable-http",
            "url": "https://h",
            "alwaysAllow": [],
            "disabled": False,
            "disabledTools": ["a"],
            "watchPaths": [],
        },
        {"enabled": True, "type": "streamable-http"},
        ["alwaysAllow", "watchPaths"],
    ),
    ("VS Code", {"command": "x", "envFile": "/.env", "dev": {}}, {"command": "x"}, ["envFile", "dev"]),
    (
        "Cursor",
        {"url": "https://h", "headers": {"A": "${env:KEY}"}, "auth": {}},
        {"headers": {"A": "${env:KEY}"}},
        ["auth"],
    ),
    (
        "Gemini CLI",
        {"httpUrl": "https://h", "trust": True, "description": "d", "timeout": 600},
        {"url": "https://h"},
        ["trust", "description"],
    ),
    ("Windsurf", {"serverUrl": "https://h"}, {"url": "https://h"}, []),
    ("FastMCP", {"url": "https://h", "transport": "streamable_http"}, {"type": "streamable-http"}, []),
    (
        "Cherry Studio",
        {
            "baseUrl": "https://h",
            "type": "streamableHttp",
            "isActive": False,
            "name": "n",
            "args": [],
            "env": {},
        },
        {"url": "https://h", "type": "streamable-http", "enabled": False},
        ["name"],
    ),
    (
        "mcpo",
        {
            "type": "streamablehttp",
            "url": "https://h/mcp",
            "headers": {"Authorization": "Bearer b"},
            "disabled_tools": ["a"],
            "client_header_forwarding": {"enabled": True, "whitelist": ["X-User-*"]},
            "oauth": {"server_url": "https://h"},
        },
        {
            "type": "streamable-http",
            "headers": {"Authorization": "Bearer b"},
            "tools": ToolRules(deny=("a",)),
        },
        ["client_header_forwarding", "oauth"],
    ),
    ("Copilot", {"type": "local", "command": "x", "tools": ["a", "b*"]}, {"type": "stdio"}, []),
]


@pytest.mark.parametrize(("client", "entry", "meant", "ignored"), FOREIGN, ids=[row[0] for row in FOREIGN])
def test_what_other_clients_write_is_understood_or_ignored_with_a_warning(
    client: str, entry: dict[str, Any], meant: dict[str, Any], ignored: list[str]
) -> None:
    document = {"mcpServers": {"one": entry}}
    config = read(document)
    assert {key: getattr(config.servers["one"], key) for key in meant} == meant
    assert [warning.split(": ")[1] for warning in config.warnings] == [
        f"mcpServers.one.{key}" for key in ignored
    ]
    jsonschema.Draft202012Validator(schema()).validate(document)


def test_tool_lists_of_other_clients_join_our_rules() -> None:
    rules = one(
        command="x", tools={"deny": ["a"]}, disabledTools=["b"], excludeTools=["c"], includeTools=["d"]
    ).tools
    assert (rules.deny, rules.allow) == (("a", "b", "c"), ("d",))
    assert one(command="x", tools=["a", "b*"]).tools.allow == ("a", "b*")


def test_two_words_for_one_thing_must_agree() -> None:
    assert one(command="x", disabled=False, enabled=True).enabled
    assert refusals('{"mcpServers": {"a": {"command": "x", "enabled": true, "disabled": true}}}') == [
        "f:1: mcpServers.a.disabled: says something else than `enabled`; keep one"
    ]


def test_inputs_of_vs_code_are_ignored_but_a_value_that_needs_one_is_refused() -> None:
    config = read({"inputs": [{"id": "k"}], "servers": {"a": {"command": "x"}}})
    assert [warning.split(": ")[1] for warning in config.warnings] == ["inputs"]
    [problem] = refusals('{"servers": {"a": {"command": "x", "env": {"K": "${input:k}"}}}}')
    assert problem.startswith("f:1: servers.a.env.K: `${input:k}` would have to ask a person")


# -- variables


def test_a_variable_without_a_value_is_a_warning_to_serve_and_reported_apart_to_check() -> None:
    text = b"""{"mcpServers": {"a": {"command": "x", "args": ["${KEY}", "${NONE:-d}", "$NONE ${#x}"],
        "cwd": "${DIR}/x",
        "env": {"A": "${NONE}", "B": {"file": "${DIR}/b"}}},
        "off": {"command": "${NONE}", "enabled": false}}}"""
    report = examine(text, source="f", env=ENV)
    expected = [
        "f:2: mcpServers.a.cwd: variable DIR is not set",
        "f:3: mcpServers.a.env.A: variable NONE is not set",
        "f:3: mcpServers.a.env.B.file: variable DIR is not set",
    ]
    assert [str(problem) for problem in report.unset] == expected
    assert report.problems == ()
    config = parse(text, source="f", env=ENV)
    assert list(config.warnings) == expected
    assert config.servers["a"].args == ("${KEY}", "${NONE:-d}", "$NONE ${#x}")


# -- what is refused

BAD: list[tuple[str, list[str]]] = [
    ("[]", ["f:1: must be an object"]),
    ('{"mcpServers": []}', ["f:1: mcpServers: must be an object"]),
    ('{"mcpServers": {"a": 1}}', ["f:1: mcpServers.a: must be an object"]),
    ('{"gateway": 1}', ["f:1: gateway: must be an object"]),
    ('{"mcpserver": {}}', ["f:1: mcpserver: unknown key (did you mean `mcpServers`?)"]),
    ('{"git": {"command": "x"}}', ["f:1: git: is a server outside `mcpServers`; move it in there"]),
    ('{"zzz": 1}', ["f:1: zzz: unknown key; known here: mcpServers, servers, addedServers, gateway"]),
    (
        '{"mcpServers": {"a": {"comand": "x"}}}',
        ["f:1: mcpServers.a.comand: unknown key (did you mean `command`?)"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "start_timeout_s": 3}}}',
        ["f:1: mcpServers.a.start_timeout_s: unknown key (did you mean `startTimeout`?)"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "tools": {"alow": []}}}}',
        ["f:1: mcpServers.a.tools.alow: unknown key (did you mean `allow`?)"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "env": {"A": {"fil": "/x"}}}}}',
        ["f:1: mcpServers.a.env.A.fil: unknown key (did you mean `file`?)"],
    ),
    (
        '{"gateway": {"logformat": "json"}}',
        ["f:1: gateway.logformat: unknown key (did you mean `logFormat`?)"],
    ),
    (
        '{"gateway": {"mcp": {"enable": 1}}}',
        ["f:1: gateway.mcp.enable: unknown key (did you mean `enabled`?)"],
    ),
    (
        '{"gateway": {"limits": {"bodi": 1}}}',
        ["f:1: gateway.limits.bodi: unknown key (did you mean `body`?)"],
    ),
    ('{"mcpServers": {"a": {}}}', ["f:1: mcpServers.a: needs exactly one of `command` and `url`"]),
    (
        '{"mcpServers": {"a": {"command": "x", "url": "http://h"}}}',
        ["f:1: mcpServers.a: needs exactly one of `command` and `url`"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "headers": {"A": "b"}}}}',
        ["f:1: mcpServers.a: `headers`: only for a server with a `url`"],
    ),
    (
        '{"mcpServers": {"a": {"url": "http://h", "args": ["b"], "cwd": "/"}}}',
        ["f:1: mcpServers.a: `args`, `cwd`: only for a server with a `command`"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "type": "sse"}}}',
        ["f:1: mcpServers.a: `type` sse does not go with `command`"],
    ),
    (
        '{"mcpServers": {"a": {"url": "file:///x"}}}',
        ["f:1: mcpServers.a.url: must begin with http:// or https://"],
    ),
    (
        '{"mcpServers": {"a": {"httpUrl": "x"}}}',
        ["f:1: mcpServers.a.httpUrl: must begin with http:// or https://"],
    ),
    (
        '{"mcpServers": {"a": {"command": ""}}}',
        ["f:1: mcpServers.a.command: string must have at least 1 character"],
    ),
    ('{"mcpServers": {"a": {"command": ["x"]}}}', ["f:1: mcpServers.a.command: must be text in quotes"]),
    ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', ["f:1: mcpServers.a.args: must be a list"]),
    (
        '{"mcpServers": {"a": {"command": "x",\n"args": ["y",\n3]}}}',
        ["f:3: mcpServers.a.args[1]: must be text in quotes"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "cwd": "rel"}}}',
        ["f:1: mcpServers.a.cwd: must be an absolute path, or begin with `~/` or a variable"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "enabled": "yes"}}}',
        ["f:1: mcpServers.a.enabled: must be true or false"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "disabled": 1}}}',
        ["f:1: mcpServers.a.disabled: must be true or false"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "disabledTools": "t"}}}',
        ["f:1: mcpServers.a.disabledTools: must be a list of tool names"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "concurrency": true}}}',
        ["f:1: mcpServers.a.concurrency: must be a whole number"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "concurrency": 0}}}',
        ["f:1: mcpServers.a.concurrency: must be greater than or equal to 1"],
    ),
    ('{"mcpServers": {"a": {"command": "x", "env": null}}}', ["f:1: mcpServers.a.env: must be an object"]),
    (
        '{"mcpServers": {"a": {"command": "x", "env": {"A=B": "c"}}}}',
        ['f:1: mcpServers.a.env."A=B": no variable can have this name'],
    ),
    (
        '{"mcpServers": {"a": {"url": "http://h", "headers": {"a b": "c"}}}}',
        ['f:1: mcpServers.a.headers."a b": no header can have this name'],
    ),
    (
        '{"mcpServers": {"a": {"command": "x\\u0000y"}}}',
        ["f:1: mcpServers.a.command: must not contain a NUL character"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "id": "b"}}}',
        ["f:1: mcpServers.a.id: is made from the name of the server and cannot be set"],
    ),
    (
        '{"mcpServers": {"日本": {"command": "x"}}}',
        [
            'f:1: mcpServers."\\u65e5\\u672c": needs a letter a-z or a digit to make an id from;'
            " `title` may hold any text"
        ],
    ),
    (
        '{"mcpServers": {"My Git": {"command": "x"},\n"my.git": {"command": "y"}}}',
        ['f:2: mcpServers."my.git": has the same id `my-git` as mcpServers."My Git"; rename one'],
    ),
    (
        '{"mcpServers": {"a": {"command": "x"}}, "servers": {"A": {"command": "y"}}}',
        ["f:1: servers.A: has the same id `a` as mcpServers.a; rename one"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x",\n"command": "y"}}}',
        ["f:2: mcpServers.a.command: stands here a second time; first on line 1"],
    ),
    ('{"gateway": {"port": 65536}}', ["f:1: gateway.port: must be less than or equal to 65535"]),
    ('{"gateway": {"port": "8085"}}', ["f:1: gateway.port: must be a whole number"]),
    (
        '{"gateway": {"socket": "~/gateway.sock"}}',
        ["f:1: gateway.socket: must be an absolute path; nothing in it is expanded"],
    ),
    (
        '{"gateway": {"socket": "/%s"}}' % ("x" * 107),
        ["f:1: gateway.socket: must be at most 107 bytes long, the most for the path of a socket"],
    ),
    (
        '{"gateway": {"activity": {"keep": {"row": 1}}}}',
        ["f:1: gateway.activity.keep.row: unknown key (did you mean `rows`?)"],
    ),
    (
        '{"gateway": {"activity": {"payload": "off"}}}',
        ["f:1: gateway.activity.payload: unknown key (did you mean `payloads`?)"],
    ),
    (
        '{"gateway": {"activity": {"keep": {"rows": 999}}}}',
        ["f:1: gateway.activity.keep.rows: must be greater than or equal to 1000"],
    ),
    (
        '{"gateway": {"activity": {"keep": "for ever"}}}',
        ['f:1: gateway.activity.keep: must be a number of days, or text like "30d" or "12h"'],
    ),
    (
        '{"gateway": {"activity": {"payloads": true}}}',
        ["f:1: gateway.activity.payloads: must be 'memory', 'off' or 'disk'"],
    ),
    (
        '{"mcpServers": {"a": {"command": "x", "payloads": "file"}}}',
        ["f:1: mcpServers.a.payloads: must be 'memory', 'off' or 'disk'"],
    ),
    ('{"gateway": {"logFormat": "xml"}}', ["f:1: gateway.logFormat: must be 'text' or 'json'"]),
    ('{"a": 1 "b": 2}', ["f:1: is not JSON: Expecting ',' delimiter (column 9)"]),
    (
        "[\n// c\n1]",
        ["f:2: is not JSON: Expecting value (column 1); JSON has no comments"],
    ),
    ("", ["f:1: is not JSON: Expecting value (column 1)"]),
    ('{"gateway": NaN}', ["f: is not JSON: NaN is not JSON"]),
    ("[" * 100_000, ["f: is nested too deeply"]),
]


@pytest.mark.parametrize(("text", "told"), BAD)
def test_a_bad_file_is_refused_with_its_place_and_line(text: str, told: list[str]) -> None:
    assert refusals(text) == told


def test_text_that_is_not_utf_8_is_refused_with_its_line() -> None:
    assert refusals(b'{\n"a\xff": 1}') == ["f:2: is not UTF-8 text"]


@pytest.mark.parametrize("word", ["shared", "session", "caller"])
def test_who_shares_a_link_is_said_in_one_word(word: str) -> None:
    assert one(command="x", isolation=word).isolation == word
    assert one(url="http://x.test/", isolation=word).isolation == word


def test_milliseconds_are_recognised_for_what_they_are() -> None:
    [problem] = refusals('{"mcpServers": {"a": {"command": "x", "timeout": 30000}}}')
    assert problem.endswith("both count seconds, where some clients write milliseconds")
    assert one(command="x", timeout=3600, maxTimeout="1h").timeout_s == 3600.0


def test_a_server_stays_up_unless_it_is_told_when_to_rest() -> None:
    assert one(command="x").idle_stop_s is None
    assert one(command="x", idleStop="5m").idle_stop_s == 300.0


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """{
      "mcpServers": {
        "a": {"comand": "x", "args": [1]},
        "b": {"command": "x", "env": {"K": 1}, "isolation": "user"},
        "c": {"command": "x", "autoApprove": []}
      },
      "gateway": {"port": -1, "auth": {"password": {}}}
    }"""
    report = examine(text.encode(), source="f", env=ENV)
    assert report.config is None
    assert sorted(problem.place for problem in report.problems) == [
        "gateway.auth.password",
        "gateway.port",
        "mcpServers.a.args[0]",
        "mcpServers.a.comand",
        "mcpServers.b.env.K",
        "mcpServers.b.isolation",
    ]
    lines = [problem.line for problem in report.problems if problem.line]
    assert lines == sorted(lines) == [3, 3, 4, 4, 7, 7]
    assert [(warning.place, warning.line) for warning in report.warnings] == [("mcpServers.c.autoApprove", 5)]


def test_no_message_shows_a_value_of_the_file_or_of_the_environment() -> None:
    s = SECRET
    documents: list[object] = [
        {
            "mcpServers": {
                "a": {"command": [s], "args": s, "env": {"A": [s], "B": {"file": s}}, "cwd": s, "type": s}
            }
        },
        {
            "mcpServers": {
                "a": {"url": s, "headers": {"A": 1, "B": f"{s}\0"}, "autoApprove": [s], "timeout": s}
            }
        },
        {
            "mcpServers": {
                "a": {"command": "x", "env": {"K": "${KEY} ${GONE}"}, "isolation": s, "maxResult": s}
            }
        },
        {"gateway": {"auth": s, "host": [s], "logFormat": s}, "zzz": s},
    ]
    for document in documents:
        report = examine(json.dumps(document).encode(), source="f", env=ENV)
        assert report.problems
        assert s not in repr(report)
        assert s not in repr(ConfigError(report.problems)) + str(ConfigError(report.problems))


# -- which file, and whose


def write(path: Path, text: str = '{"mcpServers": {"a": {"command": "x"}}}', mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444])
def test_a_file_only_we_can_write_is_loaded_and_named(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "c.json", mode=mode)
    config = load(path, ENV)
    assert list(config.servers) == ["a"]
    assert config.path == path


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "c.json", mode=mode)
    with pytest.raises(ConfigError) as raised:
        load(path, ENV)
    assert str(raised.value) == (
        f"{path}: can be written by others, who could change what runs here; chmod go-w it"
    )


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "c.json")
    if os.geteuid() == 0:
        os.chown(path, 12_345, -1)
    else:  # nobody but root can give a file away: become somebody else in the eyes of the check
        monkeypatch.setattr("os.geteuid", lambda: 12_345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load(path, ENV)


def test_the_rules_hold_for_the_file_behind_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(write(tmp_path / "c.json"))
    assert list(load(link, ENV).servers) == ["a"]
    (tmp_path / "c.json").chmod(0o666)
    with pytest.raises(ConfigError, match="written by others"):
        load(link, ENV)


def test_what_is_no_readable_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name, told in (("fifo", "is not a file"), (".", "Is a directory"), ("gone", "No such file")):
        with pytest.raises(ConfigError, match=told):
            load(tmp_path / name, ENV)


def test_a_file_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        load(write(tmp_path / "c.json", " " * (loading.FILE_BYTES_MAX + 1)), ENV)


def test_the_file_is_looked_for_in_order(tmp_path: Path) -> None:
    usual = tmp_path / "mcp" / "mcp_servers.json"
    env = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"}
    assert find_config(None, env) is None
    usual.parent.mkdir()
    write(usual)
    assert find_config(None, env) == usual
    assert find_config(None, {**env, "MCP_GATEWAY_CONFIG": ""}) == usual
    assert find_config(None, {**env, "MCP_GATEWAY_CONFIG": "/gone.json"}) == Path("/gone.json")
    assert find_config(Path("/asked.json"), {**env, "MCP_GATEWAY_CONFIG": "/gone.json"}) == Path(
        "/asked.json"
    )
    (tmp_path / ".config").symlink_to(tmp_path)
    assert find_config(None, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "relative"}) == (
        tmp_path / ".config" / "mcp" / "mcp_servers.json"
    )


def test_state_is_kept_where_it_was_asked_for() -> None:
    env = {"HOME": "/home/me"}
    assert state_dir(None, env) == Path("/home/me/.local/state/mcp-gateway")
    env["XDG_STATE_HOME"] = "/xdg"
    assert state_dir(None, env) == Path("/xdg/mcp-gateway")
    env["STATE_DIRECTORY"] = "/var/lib/mcp-gateway:/var/lib/other"
    assert state_dir(None, env) == Path("/var/lib/mcp-gateway")
    env["MCP_GATEWAY_STATE_DIR"] = "/named"
    assert state_dir(None, env) == Path("/named")
    assert state_dir(Path("here"), env) == Path.cwd() / "here"


def test_the_environment_is_a_snapshot_nobody_can_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_GATEWAY_CONFIG", "/a")
    taken = environment()
    monkeypatch.setenv("MCP_GATEWAY_CONFIG", "/b")
    assert taken["MCP_GATEWAY_CONFIG"] == "/a"
    assert not hasattr(taken, "__setitem__")
