"""`reload`, and `tools on` and `off`: what a person sees of what the gateway did."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mcp_gateway.cli import main
from tests.harness import Gateway, hostile


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("gateway")) as running:
        running.wait_for_state("good", "ready")
        yield running


def run(gateway: Gateway, *words: str) -> Result:
    env = {"MCP_GATEWAY_URL": f"http://127.0.0.1:{gateway.port}", "HOME": str(gateway.directory)}
    return CliRunner().invoke(main, words, env=env)


def test_what_moved_is_told_a_line_each(gateway: Gateway) -> None:
    gateway.servers = {
        "good": hostile("good", title="Better", queue=3),
        "another": hostile("good", enabled=False),
    }
    gateway.gateway = {"activity": {"keep": 3}, "port": 1}
    gateway.reconfigure()
    # The gateway may have seen the change by itself; then nothing is left to move.
    done = run(gateway, "reload")
    assert done.exit_code == 0, done.output
    assert done.stdout in (
        "another added\ngood changed: title, queue (in place)\ngateway.activity.keep.days changed\n",
        "Nothing moved\n",
    )
    assert done.stderr == (
        "warning: `gateway.port` changed in the configuration; it holds after a restart of the gateway\n"
    )
    gateway.servers = {"good": hostile("good", title="Better", queue=3)}
    gateway.gateway = {}
    gateway.reconfigure()
    told = json.loads(run(gateway, "reload", "--json").stdout)
    assert (told["ok"], told["warnings"]) == (True, [])
    again = run(gateway, "reload")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "Nothing moved\n", "")


def test_a_bad_file_is_told_as_check_tells_it_and_the_exit_code_is_that_of_a_bad_file(
    gateway: Gateway,
) -> None:
    text = '{"mcpServers": {\n "good": {"comand": "x"},\n "GOOD": {"command": "\\u001b[31m", "url": "x"}}}'
    gateway.reconfigure(text)
    done, checked = (
        run(gateway, "reload"),
        run(gateway, "check", "--config", str(gateway.directory / "config.json")),
    )
    assert (done.exit_code, checked.exit_code) == (2, 2)
    *problems, last = done.stderr.splitlines()
    assert problems == checked.stdout.splitlines()[:-1]
    assert "did you mean `command`?" in problems[0]
    assert last == "Nothing was changed; the gateway goes on as it was."
    as_json = run(gateway, "--json", "reload")
    assert as_json.exit_code == 2
    assert json.loads(as_json.stderr)["problems"][0]["line"] == 2
    gateway.reload()


def test_a_tool_is_switched_off_and_on(gateway: Gateway) -> None:
    assert run(gateway, "tools", "off", "good/echo").stdout == "good/echo is switched off\n"
    assert gateway.call("good", "echo", text="x").code == "unavailable"
    assert "(off)" in run(gateway, "tools").stdout
    assert run(gateway, "tools", "on", "good", "echo").stdout == "good/echo is switched on\n"
    assert gateway.call("good", "echo", text="x").status == 200
    assert json.loads(run(gateway, "tools", "off", "--json", "good/echo").stdout)["enabled"] is False
    assert json.loads(run(gateway, "--json", "tools", "on", "good/echo").stdout)["enabled"] is True


def test_tools_are_switched_by_patterns(gateway: Gateway) -> None:
    def off() -> set[str]:
        return {tool["name"] for tool in gateway.get("/api/tools").json()["tools"] if not tool["enabled"]}

    run(gateway, "tools", "on", "good/*")
    done = run(gateway, "tools", "off", "good/e*", "g*/pid", "good/echo")
    assert off() == {"echo", "env", "exit", "pid"} & {tool["name"] for tool in listed(gateway)}
    assert done.stdout == f"{len(off())} tools are switched off; {len(off())} of them were not before\n"
    told = json.loads(run(gateway, "--json", "tools", "on", "*/*").stdout)
    assert told == {"tools": len(listed(gateway)), "changed": 3}
    assert off() == set()


def listed(gateway: Gateway) -> list[dict[str, object]]:
    found: list[dict[str, object]] = gateway.get("/api/tools").json()["tools"]
    return found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("tools", "off", "good"), 2, "SERVER/TOOL"),
        (("tools", "off", "good", "echo", "sleep"), 2, "SERVER/TOOL"),
        (("tools", "off", "good/e*", "good/nothing*"), 2, "No tool is `good/nothing*`"),
        (("tools", "off", "good/nothing"), 4, "has no tool `nothing`"),
        (("tools", "on", "nobody/echo"), 4, "There is no server `nobody`"),
        (("reload", "--url", "http://127.0.0.1:1"), 3, "mcp-gateway serve"),
    ],
)
def test_what_cannot_be_done_is_said(gateway: Gateway, words: tuple[str, ...], code: int, said: str) -> None:
    done = run(gateway, *words)
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("entry", "is_own"),
    [
        ({"url": "http://127.0.0.1:9000/mcp"}, True),
        ({"type": "http", "url": "http://LOCALHOST:9000/servers/git/mcp"}, True),
        ({"url": "http://[::1]:9000/mcp"}, True),
        ({"command": "npx", "args": ["-y", "mcp-remote", "http://localhost:9000/mcp"]}, True),
        ({"url": "https://box.example/mcp"}, True),
        ({"url": "http://127.0.0.1:8085/mcp"}, False),
        ({"url": "http://elsewhere:9000/mcp"}, False),
        ({"url": "https://127.0.0.1/mcp"}, False),
        ({"command": "curl", "args": ["http://[half:8085"]}, False),
    ],
)
def test_import_skips_the_gateway_itself_with_a_word(tmp_path: Path, entry: object, is_own: bool) -> None:
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    ours.write_text('{"mcpServers": {}, "gateway": {"port": 9000}}')
    ours.chmod(0o600)
    theirs.write_text(json.dumps({"mcpServers": {"gateway": entry, "x": {"command": "x"}}}))
    env = {"HOME": str(tmp_path), "MCP_GATEWAY_URL": "https://box.example", "MCP_GATEWAY_STATE_DIR": ""}
    done = CliRunner().invoke(main, ["import", str(theirs), "--config", str(ours)], env=env)
    assert done.exit_code == 0, done.output
    wanted = {"x"} if is_own else {"gateway", "x"}
    assert set(json.loads(done.stdout)["mcpServers"]) == wanted
    assert ('"gateway": skipped: it is this gateway itself' in done.stderr) is is_own
