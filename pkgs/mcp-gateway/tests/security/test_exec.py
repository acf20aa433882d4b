"""S14-S18: nothing that the API or MCP understands runs a command for who may not define what runs here.

The shapes are those that were exploited elsewhere: LiteLLM CVE-2026-42271 and CVE-2026-30623 (`/mcp-rest`),
Flowise CVE-2026-40933 (`npx -c` at import), MCPJam CVE-2026-23744 (`/api/mcp/connect`), Inspector
CVE-2025-49596 (`/stdio?command=`). Each is sent with every right that a key can have, and by the console;
the command would leave a file. Nothing runs, nothing is changed, nothing answers 2xx.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from tests.faces.knocking import Mcp, check_log, check_problem
from tests.harness import COMMAND, hostile
from tests.security.cast import ALL, RIGHTS, Guarded, wait_ready

METHODS = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What exists once anything of this has run."""
    return tmp_path_factory.mktemp("trap") / "ran"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys: dict[str, dict[str, Any]] = {right: {"rights": [right]} for right in RIGHTS} | {
        "soon": ALL,
        "some": {"rights": ["admin", "read"], "servers": ["good"]},
        "reader-admin": {"rights": ["admin", "read"]},
        "tool-operator": {"rights": ["read", "operate"], "tools": ["good/echo"]},
        "readonly-operator": {"rights": ["read", "operate"], "readOnly": True},
        "server-operator": {"rights": ["read", "operate"], "servers": ["good"]},
    }
    settings = {"limits": {"rate": 100_000}}
    directory = tmp_path_factory.mktemp("exec")
    with Guarded({"good": hostile("good")}, directory, settings, keys=keys) as gateway:
        wait_ready(gateway, "good")
        yield gateway
        check_log(gateway)


@pytest.fixture(autouse=True)
def nothing_runs(gateway: Guarded, trap: Path) -> Iterator[None]:
    before = family(gateway), gateway.server("good")["pid"], gateway.config_text()
    yield
    assert not trap.exists()
    assert (family(gateway), gateway.server("good")["pid"], gateway.config_text()) == before
    assert [server["id"] for server in gateway.get("/api/servers").json()["servers"]] == ["good"]
    assert (gateway.directory / "config.json").read_text() == gateway.config_text()


def family(gateway: Guarded) -> set[int]:
    """Every process that descends from the gateway or was started by it."""
    children = psutil.Process(gateway.pid).children(recursive=True)
    return {child.pid for child in children} | set(gateway.survivors())


def shapes(trap: Path) -> list[dict[str, Any]]:
    run = f"touch {trap}"
    entry = {"command": "/bin/sh", "args": ["-c", run]}
    return [
        entry,
        {"type": "stdio", **entry, "env": {}},
        {"transport": "stdio", "transport_type": "stdio", **entry, "server_name": "x", "server_id": "x"},
        {"name": "x", "enabled": True, **entry},
        {"enabled": True, "command": "/bin/sh", "args": ["-c", run]},
        {"mcpServers": {"good": entry, "x": entry}},
        {"servers": {"x": entry}},
        {"serverConfig": entry, "serverId": "x"},
        {"config": entry, "action": "listActions"},
        {"mcpServerConfig": '{"command":"npx","args":["-c","' + run + '"]}'},
        {"command": "npx", "args": ["-c", run]},
        {"command": "npx", "args": ["--yes", "x"], "env": {"NODE_OPTIONS": f"--require {trap}"}},
        {"command": sys.executable, "args": ["-c", f"open({str(trap)!r},'w')"]},
        {"env": {"LD_PRELOAD": str(trap)}, "enabled": True},
        {"url": "http://127.0.0.1:1/", "type": "http"},
        {"credentials": {"command": ["/bin/sh", "-c", run]}, "enabled": True},
        {"headers": {"Authorization": {"command": ["/bin/sh", "-c", run]}}, "url": "http://127.0.0.1:1/"},
        {"path": f"{trap}.json", "file": f"{trap}.json", "config": f"{trap}.json"},
    ]


PATHS = (
    "/api/servers",
    "/api/servers/check",
    "/api/servers/x",
    "/api/servers/good",
    "/api/servers/good/command",
    "/api/servers/good/config",
    "/api/servers/test",
    "/api/servers/preview",
    "/api/servers/import",
    "/api/servers/good/test",
    "/api/config",
    "/api/import",
    "/api/mcp/connect",
    "/api/mcp/servers",
    "/api/mcp-servers",
    "/api/restore",
    "/mcp-rest/test/connection",
    "/mcp-rest/test/tools/list",
    "/v1/mcp/server",
    "/api/v1/node-load-method/customMCP",
    "/stdio",
    "/sse",
    "/servers",
    "/servers/x",
    "/servers/good",
    "/config",
)


@pytest.mark.parametrize("who", ["full", *RIGHTS, None])
def test_CVE_2026_42271_no_route_takes_a_command(gateway: Guarded, trap: Path, who: str | None) -> None:
    caller = gateway.as_(who)
    for path in PATHS:
        for method in METHODS:
            for shape in shapes(trap)[:: 1 if (who, method) == ("full", "POST") else 6]:
                answer = caller.request(method, path, shape)
                assert answer.status >= 400, (method, path, shape, answer)
                assert answer.status != 500, (method, path, shape, answer)


def test_CVE_2025_49596_no_address_takes_a_command(gateway: Guarded, trap: Path) -> None:
    run = quote(f"/bin/sh -c 'touch {trap}'")
    for path in (
        "/stdio",
        "/sse",
        "/mcp",
        "/mcp/sse",
        "/servers/good/mcp",
        "/api/events",
        "/api/servers/good/logs",
    ):
        asked = f"{path}?transportType=stdio&command={run}&args={run}&url={run}"
        with gateway.open("GET", asked) as response:
            assert response.status in (200, 400, 404), asked
            if response.status == 200:
                assert path in ("/mcp/sse", "/api/events", "/api/servers/good/logs")
    with gateway.open("POST", f"/mcp?command={run}", Mcp.message("ping", None, 1)) as response:
        assert response.status == 400


def test_CVE_2026_42271_nor_with_the_one_time_code(gateway: Guarded, trap: Path) -> None:
    for path in ("/api/servers", "/api/servers/good", "/mcp-rest/test/connection", "/api/config"):
        code = (gateway.state_dir / "one-time-code").read_text().strip()
        answer = gateway.nobody.request("POST", path, shapes(trap)[0], {"Mcp-Gateway-Code": code})
        assert answer.status in (400, 404, 405), answer


def test_S14_no_right_of_a_key_saves_what_is_pasted(gateway: Guarded, trap: Path) -> None:
    for who in ("full", *RIGHTS, "server-operator"):
        for shape in shapes(trap):
            body = {"text": json.dumps(shape)}
            check_problem(gateway.as_(who).request("POST", "/api/servers", body), 403, "refused")
    check_problem(gateway.request("DELETE", "/api/servers/good"), 403, "refused")


def test_S14_to_look_at_what_is_pasted_runs_none_of_it(gateway: Guarded, trap: Path) -> None:
    texts = [json.dumps(shape) for shape in shapes(trap)]
    texts += [f"/bin/sh -c 'touch {trap}'", f"$(touch {trap})", f"npx `touch {trap}`", f"x; touch {trap}"]
    texts += [f"env X=1 sh -c 'touch {trap}'", f"x > {trap}", f"x\ntouch {trap}", f"file://{trap}"]
    for text in texts:
        answer = gateway.as_("operate").request("POST", "/api/servers/check", {"text": text})
        assert answer.status in (200, 400), (text, answer)
    for who in ("read", "call", "admin", "server-operator"):
        answer = gateway.as_(who).request("POST", "/api/servers/check", {"text": texts[0]})
        check_problem(answer, 403, "refused")


def test_S14_a_reload_reads_the_file_and_nothing_that_was_sent(gateway: Guarded, trap: Path) -> None:
    evil = trap.with_suffix(".json")
    evil.write_text('{"mcpServers":{"x":{"command":"touch","args":["' + str(trap) + '"]}}}')
    for shape in shapes(trap):
        answer = gateway.as_("operate").request("POST", f"/api/reload?config={evil}&path={evil}", shape)
        if answer.status == 200:
            told = answer.json()
            assert (told["added"], told["changed"], told["removed"]) == ([], [], [])


def test_S14_a_switch_switches_and_takes_nothing_else(gateway: Guarded, trap: Path) -> None:
    for shape in shapes(trap):
        for path in ("/api/servers/good", "/api/tools/good/echo"):
            check_problem(gateway.request("PATCH", path, {"enabled": True} | shape), 400, "invalid")


# -- keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scopes",
    [
        {"rights": ["exec"]},
        {"rights": ["read", "exec"]},
        {"rights": ["admin", "exec"]},
        {"rights": ["EXEC"]},
        {"rights": ["*"]},
        {"rights": ["all"]},
        {"rights": "exec"},
        {"rights": {"exec": True}},
        {"rights": []},
        {"rights": None},
        {"rights": ["read", None]},
        {"rights": ["exec\u0000"]},
        {"rights": ["read"], "exec": True},
        {"rights": ["read"], "grants": [{"rights": ["exec"]}]},
    ],
    ids=str,
)
def test_S14_no_key_holds_exec(gateway: Guarded, tmp_path: Path, scopes: dict[str, Any]) -> None:
    before = gateway.get("/api/keys").json()
    check_problem(gateway.request("POST", "/api/keys", {"name": "x", "scopes": scopes}), 400, "invalid")
    code = (gateway.state_dir / "one-time-code").read_text().strip()
    answer = gateway.nobody.request(
        "POST", "/api/keys", {"name": "x", "scopes": scopes}, {"Mcp-Gateway-Code": code}
    )
    check_problem(answer, 400, "invalid")
    after = gateway.get("/api/keys").json()
    assert [key["id"] for key in after["keys"]] == [key["id"] for key in before["keys"]]


def test_S14_no_configuration_gives_exec_to_a_key(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    forms = (["exec"], ["read", "exec"], "exec", ["Exec"])
    keys = [
        {"name": f"x{number}", "hash": "sha256:" + "0" * 64, "scopes": {"rights": rights}}
        for number, rights in enumerate(forms)
    ]
    path.write_text(json.dumps({"mcpServers": {}, "gateway": {"auth": {"keys": keys}}}))
    path.chmod(0o600)
    for verb in (["check"], ["serve", "--port", "0", "--state-dir", str(tmp_path / "state")]):
        command = [*COMMAND, *verb, "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2, done
        for number in range(len(forms)):
            assert f"auth.keys[{number}].scopes.rights" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("who", "scopes"),
    [
        ("admin", {"rights": ["read"]}),
        ("admin", {"rights": ["call"]}),
        ("admin", {"rights": ["admin", "operate"]}),
        ("admin", {}),
        ("reader-admin", {"rights": ["read", "call"]}),
        ("reader-admin", {"rights": ["call"], "servers": ["good"]}),
        ("some", {"rights": ["read"]}),
        ("some", {"rights": ["read"], "servers": ["good"]}),
        ("operate", {"rights": ["operate"]}),
        ("call", {"rights": ["call"]}),
        (None, {"rights": ["read"]}),
    ],
    ids=str,
)
def test_S14_an_admin_hands_on_no_more_than_they_have(
    gateway: Guarded, who: str | None, scopes: dict[str, Any]
) -> None:
    answer = gateway.as_(who).request("POST", "/api/keys", {"name": "more", "scopes": scopes})
    check_problem(answer, 401 if who is None else 403, "unauthenticated" if who is None else "refused")
    assert "more" not in [key["name"] for key in gateway.get("/api/keys").json()["keys"]]


def test_S14_what_an_admin_made_hands_on_no_more_either(gateway: Guarded) -> None:
    key_id, made = gateway.as_("reader-admin").make_key("second", rights=["admin"])
    check_problem(
        made.request("POST", "/api/keys", {"name": "x", "scopes": {"rights": ["read"]}}), 403, "refused"
    )
    third_id, third = made.make_key("third", rights=["admin"])
    assert third.get("/api/me").json()["rights"] == ["admin"]
    for one in (third_id, key_id):
        gateway.revoke(one)


def test_S14_a_key_outlives_none_that_made_it(gateway: Guarded) -> None:
    soon = gateway.request("POST", "/api/keys", {"name": "soon", "scopes": ALL, "expires": "2099-01-01"})
    maker = gateway.as_("soon", soon.json()["key"])
    for expires in ({}, {"expires": "2099-01-03"}, {"expires": None}):
        check_problem(
            maker.request("POST", "/api/keys", {"name": "x", "scopes": ALL} | expires), 403, "refused"
        )
    kept = maker.request("POST", "/api/keys", {"name": "x", "scopes": ALL, "expires": "2098-01-01"})
    assert kept.status == 201
    for made in (kept, soon):
        gateway.revoke(made.json()["id"])


# -- operating ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["tool-operator", "readonly-operator"])
def test_S21_who_operates_some_tools_does_not_operate_their_server(gateway: Guarded, who: str) -> None:
    caller = gateway.as_(who)
    for method, path, body in (
        ("PATCH", "/api/servers/good", {"enabled": True}),
        ("POST", "/api/servers/good/restart", None),
        ("GET", "/api/servers/good/logs", None),
        ("POST", "/api/reload", None),
    ):
        check_problem(caller.request(method, path, body), 403, "refused")
    shown = caller.get("/api/servers/good").json()
    assert not shown.keys() & {"stderr", "pid", "exit", "successor", "links", "usage"}


def test_S21_who_operates_a_server_operates_nothing_else(gateway: Guarded) -> None:
    caller = gateway.as_("server-operator")
    assert caller.get("/api/servers/good/logs").status == 200
    assert caller.get("/api/servers/good").json().keys() >= {"stderr", "pid", "usage"}
    assert caller.request("PATCH", "/api/tools/good/echo", {"enabled": True}).status == 200
    check_problem(caller.request("POST", "/api/reload"), 403, "refused")
    assert {row["caller"] for row in caller.get("/api/calls").json()["calls"]} <= {"key:server-operator"}


# -- MCP ----------------------------------------------------------------------------------------------------

VERBS = (
    "servers/add",
    "servers/create",
    "servers/list",
    "servers/restart",
    "server/start",
    "gateway/config",
    "config/set",
    "config/get",
    "admin/keys",
    "keys/create",
    "keys/list",
    "tools/add",
    "tools/enable",
    "tools/register",
    "mcp/add",
    "mcp/exec",
    "completion/complete",
    "roots/list",
    "sampling/createMessage",
    "elicitation/create",
    "server/discover",
    "resources/write",
    "rpc.discover",
    "system.listMethods",
    "shutdown",
    "exit",
    "exec",
    "eval",
    "notifications/tools/list_changed",
)
TOOLS = (
    "add_server",
    "create_server",
    "remove_server",
    "restart_server",
    "list_servers",
    "mcp-add",
    "mcp-exec",
    "mcp-config-set",
    "mcp-find",
    "code-mode",
    "call_tool",
    "search_tools",
    "retrieve_tools",
    "upstream_servers",
    "gateway__reload",
    "gateway__restart",
    "good__restart",
    "admin",
    "admin__keys",
    "create_key",
    "mcp_gateway__keys",
    "../api/keys",
)


@pytest.mark.parametrize("endpoint", ["/mcp", "/servers/good/mcp"])
def test_S18_mcp_administers_nothing(gateway: Guarded, trap: Path, endpoint: str) -> None:
    session = Mcp(gateway, endpoint)
    offered = {"echo", "sleep", "blob", "progress", "die", "pid", "env", "fail", "refuse", "stats", "act"}
    prefix = "good__" if endpoint == "/mcp" else ""
    assert set(session.tools()) == {prefix + tool for tool in offered}
    assert session.introduction["capabilities"].keys() <= {"tools", "resources", "logging"}
    assert session.ask("prompts/list")["result"] == {"prompts": []}
    for shape in shapes(trap)[:4]:
        for verb in VERBS:
            answer = session.ask(verb, shape)["error"]  # ours, or at its own endpoint the server's
            assert (answer["code"], prefix and answer["data"]["code"]) == (-32601, prefix and "unknown"), verb
        for tool in TOOLS:
            assert "error" in session.call(tool, shape), tool
    for resource in ("file:///etc/passwd", "mcp-gateway://config", "mcp-gateway://keys/x", str(trap)):
        assert session.ask("resources/read", {"uri": resource})["error"]["data"]["code"] == "unknown"


def test_S15_arguments_of_a_call_are_data(gateway: Guarded, trap: Path) -> None:
    for text in (
        f"$(touch {trap})",
        f"`touch {trap}`",
        f";touch {trap}\n",
        f"\0|touch {trap}",
        "--upload-pack=x",
    ):
        assert gateway.call("good", "echo", text=text).text == text


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_S17_a_file_that_others_may_write_decides_nothing(
    gateway: Guarded, tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"mcpServers":{}}')
    path.chmod(mode)
    done = subprocess.run(
        [*COMMAND, "serve", "--port", "0", "--state-dir", str(tmp_path / "state"), "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done
