"""`import`: six clients' files in our words, and a person's own file that is never lost."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mcp_gateway.cli import main
from mcp_gateway.config import load
from mcp_gateway.config.clients import read_servers

FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "claude_desktop_config.json": (
        '{"globalShortcut": "", "mcpServers":'
        ' {"fs": {"command": "npx", "args": ["-y", "fs"], "disabled": true}}}',
        {"fs": {"command": "npx", "args": ["-y", "fs"], "enabled": False}},
    ),
    ".claude.json": (
        '{"numStartups": 5, "mcpServers": {"a": {"type": "stdio", "command": "a", "env": {}}},'
        ' "projects": {"/p": {"mcpServers": {"b": {"type": "http", "url": "https://b/mcp"}}}}}',
        {"a": {"type": "stdio", "command": "a", "env": {}}, "b": {"type": "http", "url": "https://b/mcp"}},
    ),
    "mcp.json": (
        '{ // VS Code\n"inputs": [{"id": "gw-key", "type": "promptString"}],\n"servers": {"gw":'
        ' {"type": "http", "url": "https://h/mcp", /* who */ "headers":'
        ' {"Authorization": "Bearer ${input:gw-key}",},},},}',
        {"gw": {"type": "http", "url": "https://h/mcp", "headers": {"Authorization": "Bearer ${GW_KEY}"}}},
    ),
    "cursor.json": (
        '{"mcpServers": {"c": {"url": "https://c/mcp", "headers": {"Authorization": "Bearer ${env:KEY}"}}}}',
        {"c": {"url": "https://c/mcp", "headers": {"Authorization": "Bearer ${env:KEY}"}}},
    ),
    "config.toml": (
        'model = "x"\n[mcp_servers.d]\nurl = "https://d/mcp"\nbearer_token_env_var = "D_KEY"\n'
        'tool_timeout_sec = 60\nenabled_tools = ["one"]\n'
        '[mcp_servers.e]\ncommand = "e"\nenv_vars = ["HOME"]\nstartup_timeout_sec = 10.0\n',
        {
            "d": {
                "url": "https://d/mcp",
                "headers": {"Authorization": "Bearer ${D_KEY}"},
                "timeout": 60,
                "tools": {"allow": ["one"]},
            },
            "e": {"command": "e", "env": {"HOME": "${HOME}"}, "startTimeout": 10.0},
        },
    ),
    "settings.json": (
        '{"theme": "x", "mcpServers": {"g": {"httpUrl": "https://g/mcp", "timeout": 600000, "trust": true,'
        ' "excludeTools": ["rm"]}}}',
        {"g": {"url": "https://g/mcp", "timeout": 600, "tools": {"deny": ["rm"]}}},
    ),
}


def run(home: Path, *words: str) -> Result:
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "MCP_GATEWAY_CONFIG": ""}
    return CliRunner().invoke(main, ["import", *words], env=env)


@pytest.mark.parametrize("name", FILES)
def test_a_clients_file_is_read_into_our_words_and_would_run(tmp_path: Path, name: str) -> None:
    text, wanted = FILES[name]
    (tmp_path / name).write_text(text)
    done = run(tmp_path, str(tmp_path / name))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"mcpServers": wanted}
    assert load.examine(done.stdout.encode(), source="", env={}).config is not None
    assert list(tmp_path.iterdir()) == [tmp_path / name], "printed, not written"


def test_the_file_before_is_kept_and_a_link_stays_a_link(tmp_path: Path) -> None:
    theirs, real, link = tmp_path / "theirs.json", tmp_path / "real.json", tmp_path / "link.json"
    theirs.write_text('{"mcpServers": {"new": {"command": "new"}, "Git": {"command": "git-server"}}}')
    before = '{"mcpServers": {"git": {"command": "git-server"}}, "gateway": {"port": 9000}}'
    real.write_text(before)
    real.chmod(0o640)
    link.symlink_to(real)
    done = run(tmp_path, str(theirs), "--config", str(link), "--write", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["added"], told["known"]) == (["new"], ["Git"])
    assert link.is_symlink()
    assert json.loads(real.read_text()) == {
        "mcpServers": {"git": {"command": "git-server"}, "new": {"command": "new"}},
        "gateway": {"port": 9000},
    }
    assert Path(told["backup"]).read_text() == before
    assert stat.S_IMODE(real.stat().st_mode) == stat.S_IMODE(Path(told["backup"]).stat().st_mode) == 0o640
    again = run(tmp_path, str(theirs), "--config", str(link), "--write")
    assert (again.exit_code, "Nothing new" in again.stdout) == (0, True)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_new_file_is_private(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"mcpServers": {"a": {"command": "a"}}}')
    assert run(tmp_path, str(tmp_path / "t.json"), "--write").exit_code == 0
    written = tmp_path / "config" / "mcp" / "mcp_servers.json"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_a_secret_is_kept_and_its_key_named_but_not_its_value(tmp_path: Path) -> None:
    entry = {
        "command": "x",
        "env": {"GITHUB_TOKEN": "canary-1", "LANG": "C", "OTHER_KEY": "${FROM}"},
        "args": ["--api-key", "canary-2", "--token=canary-3", "--verbose"],
    }
    remote = {"url": "https://h/mcp?token=canary-4", "headers": {"X-Api-Key": "canary-5"}}
    (tmp_path / "t.json").write_text(json.dumps({"mcpServers": {"x": entry, "y": remote}}))
    done = run(tmp_path, str(tmp_path / "t.json"))
    assert json.loads(done.stdout) == {"mcpServers": {"x": entry, "y": remote}}
    assert "canary" not in done.stderr
    places = [line.split(" holds a secret")[0].rsplit(" ", 1)[1] for line in done.stderr.splitlines()]
    assert places == ["env.GITHUB_TOKEN", "args[1]", "args[2]", "headers.X-Api-Key", "url"]


def test_what_cannot_be_taken_is_named_and_the_rest_is(tmp_path: Path) -> None:
    ours = tmp_path / "ours.json"
    ours.write_text('{"mcpServers": {"git": {"command": "mine"}}}')
    ours.chmod(0o600)
    servers = {
        "git": {"command": "other"},
        "odd": {"type": "sdk", "command": "x"},
        "é": {"command": "ok", "hue": 3},
    }
    (tmp_path / "t.json").write_text(json.dumps({"mcpServers": servers}))
    done = run(tmp_path, str(tmp_path / "t.json"), "--config", str(ours))
    assert done.exit_code == 2
    assert json.loads(done.stdout)["mcpServers"] == {"git": {"command": "mine"}, "é": {"command": "ok"}}
    assert '"git": left out' in done.stderr
    assert '"odd": left out' in done.stderr
    assert "hue: left out" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "cannot be read"), ("[]", "not a file of MCP servers"), ('{"a": 1}', "has no MCP servers")],
)
def test_a_file_that_is_none_is_refused_before_anything_is_written(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "t.json").write_text(text)
    done = run(tmp_path, str(tmp_path / "t.json"), "--write")
    assert (done.exit_code, said in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == [tmp_path / "t.json"]


def test_a_configuration_of_ours_that_is_broken_is_not_touched(tmp_path: Path) -> None:
    ours = tmp_path / "ours.json"
    ours.write_text('{"mcpServers": {"a": {"comand": "x"}}}')
    ours.chmod(0o600)
    (tmp_path / "t.json").write_text('{"mcpServers": {"b": {"command": "b"}}}')
    done = run(tmp_path, str(tmp_path / "t.json"), "--config", str(ours), "--write")
    assert (done.exit_code, "did you mean `command`" in done.stderr) == (2, True)
    assert ours.read_text() == '{"mcpServers": {"a": {"comand": "x"}}}'


def test_comments_within_text_are_text() -> None:
    (found,) = read_servers(b'{"servers": {"a": {"url": "https://h//x/*y*/,}",},}, } // end', is_toml=False)
    assert found.entry == {"url": "https://h//x/*y*/,}"}
