"""Servers that are added, removed and shown at the real gateway, and the person's file meanwhile."""

import json
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import check_log, check_problem
from tests.faces.test_sign_in import Browser, code_of
from tests.harness import HOSTILE, Answer, Gateway, hostile, until
from tests.test_reload import Feed

SECRET = "sEcRet0fAPersonWhoPastes1t"
GOOD = f"{sys.executable} -I -S {HOSTILE} good"
SEEN_S = 15.0

WITHOUT_A_FILE = (
    "import sys; from mcp_gateway.cli import main; at = sys.argv.index('--config'); "
    "del sys.argv[at : at + 2]; main()"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"keeper": hostile("good")}, tmp_path_factory.mktemp("adding")) as gateway:
        gateway.wait_for_state("keeper", "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture
def gateway(whole: Gateway) -> Iterator[Gateway]:
    """The gateway with nothing added; its server that nobody adds has noticed nothing of it."""
    whole.reload()
    pid = whole.server("keeper")["pid"]
    yield whole
    assert whole.server("keeper")["pid"] == pid
    whole.reload()


def config(gateway: Gateway) -> Path:
    return gateway.directory / "config.json"


def check(gateway: Gateway, text: str, **more: Any) -> dict[str, Any]:
    answer = gateway.request("POST", "/api/servers/check", {"text": text, **more})
    assert answer.status == 200, answer
    assert SECRET.encode() not in answer.body
    told: dict[str, Any] = answer.json()
    return told


def as_console(gateway: Gateway, method: str, path: str, body: Any = None) -> Answer:
    """With the one-time code, which is another one afterwards."""
    code = (gateway.state_dir / "one-time-code").read_text().strip()
    answer = gateway.request(method, path, body, {"Mcp-Gateway-Code": code})
    assert SECRET.encode() not in answer.body
    return answer


def add(gateway: Gateway, text: str, **more: Any) -> Answer:
    return as_console(gateway, "POST", "/api/servers", {"text": text, **more})


def remove(gateway: Gateway, server: str) -> Answer:
    return as_console(gateway, "DELETE", f"/api/servers/{server}")


# -- looking ----------------------------------------------------------------------------------------------


def test_a_look_says_what_would_run_and_keeps_secrets_to_itself(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    entry = {
        "command": sys.executable,
        "args": ["-m", "thing", "--token", SECRET, "--safe", "${HARNESS_CANARY}"],
        "env": {"A_KEY": SECRET, "B": "${HARNESS_CANARY}", "C": "${NOT_THERE}"},
        "autoApprove": ["x"],
    }
    told = check(gateway, json.dumps({"mcpServers": {"My thing": entry, "keeper": {"url": "https://x/y"}}}))
    mine, other = told["entries"]
    assert told["file"] == {"path": str(config(gateway)), "writable": True, "reason": None}
    assert (mine["id"], mine["name"], mine["guessed"]) == ("my-thing", "My thing", False)
    assert mine["argv"] == [
        sys.executable,
        *("-m", "thing", "--token", "<set>", "--safe", "${HARNESS_CANARY}"),
    ]
    assert mine["program"] == {"path": sys.executable, "reason": None}
    assert [(one["name"], one["value"], one["of"]) for one in mine["env"]] == [
        ("A_KEY", "set", None),
        ("B", "set", "HARNESS_CANARY"),
        ("C", "unset", "NOT_THERE"),
    ]
    assert mine["problems"] == []
    said = " ".join(mine["warnings"])
    assert "autoApprove: ignored" in said
    assert "variable NOT_THERE is not set" in said
    assert "env.A_KEY: holds a secret" in said
    assert "args[3]: holds a secret" in said
    assert (other["taken"], mine["taken"]) == (True, False)
    assert (other["transport"], other["argv"], other["url"]) == ("http", None, "https://x/y")
    assert config(gateway).read_bytes() == before


def test_a_look_says_what_is_wrong_in_the_words_of_check(gateway: Gateway) -> None:
    (entry,) = check(gateway, '{"a": {"command": "no-such-program", "url": "https://x"}}')["entries"]
    assert entry["problems"] == [
        {
            "place": "addedServers.a",
            "message": "needs exactly one of `command` and `url`",
            "nearest": None,
        }
    ]
    (entry,) = check(gateway, "no-such-program --x")["entries"]
    assert entry["program"] == {"path": None, "reason": "command not found: `no-such-program` is not on PATH"}
    (entry,) = check(gateway, "https://h/mcp?key=" + SECRET)["entries"]
    assert entry["url"] == "https://h/mcp?key=<set>"
    (entry,) = check(gateway, "http://127.0.0.1:8085/mcp", name="myself")["entries"]
    assert [problem["message"] for problem in entry["problems"]] == ["is this gateway itself"]
    (entry,) = check(gateway, "npx thing", name="日本")["entries"]
    assert entry["id"] == ""
    assert "needs a letter a-z or a digit" in entry["problems"][0]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": "npx a | tee b"}, "The text needs a shell for a pipe"),
        ({"text": ""}, "text"),
        ({"text": "npx a", "name": "a\nb"}, "name"),
        ({"text": "npx a", "more": 1}, "more"),
        ({"text": 1}, "text"),
        ({}, "text"),
        ({"text": "{" * 100_000}, "cannot be read"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_text_that_proposes_nothing_is_refused(gateway: Gateway, body: dict[str, Any], words: str) -> None:
    before = config(gateway).read_bytes()
    check_problem(gateway.request("POST", "/api/servers/check", body), 400, "invalid", words)
    check_problem(as_console(gateway, "POST", "/api/servers", body), 400, "invalid", words)
    assert config(gateway).read_bytes() == before


# -- saving -----------------------------------------------------------------------------------------------


def test_who_sits_at_the_machine_shows_the_code_first(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    check_problem(gateway.request("POST", "/api/servers", {"text": GOOD}), 403, "refused", "exec", "code")
    check_problem(gateway.request("DELETE", "/api/servers/keeper"), 403, "refused", "exec")
    answer = gateway.request("POST", "/api/servers", {"text": GOOD}, {"Mcp-Gateway-Code": "0" * 16})
    check_problem(answer, 401, "unauthenticated")
    assert config(gateway).read_bytes() == before


def test_a_server_is_added_runs_and_goes_and_the_file_is_as_before(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    answer = add(gateway, f"A_KEY={SECRET} {GOOD}", name="Fresh one")
    assert answer.status == 201, answer
    told = answer.json()
    assert [server["id"] for server in told["servers"]] == ["fresh-one"]
    assert told["servers"][0]["title"] == "Fresh one"
    assert any("A_KEY: holds a secret" in warning for warning in told["warnings"])
    after = config(gateway).read_bytes()
    assert after.startswith(before.rstrip().removesuffix(b"}").rstrip())
    entry = json.loads(after)["addedServers"]["Fresh one"]
    assert entry["env"] == {"A_KEY": SECRET}
    assert stat.S_IMODE(config(gateway).stat().st_mode) == 0o600
    gateway.wait_for_state("fresh-one", "ready")
    check_problem(add(gateway, GOOD, name="FRESH ONE"), 409, "invalid", "fresh-one")
    assert config(gateway).read_bytes() == after
    assert remove(gateway, "fresh-one").status == 204
    assert config(gateway).read_bytes() == before
    check_problem(gateway.get("/api/servers/fresh-one"), 404, "unknown")
    until(lambda: not gateway.survivors("fresh-one"), SEEN_S, "its process has gone")


def test_it_is_on_record_before_it_holds_and_no_secret_is(gateway: Gateway) -> None:
    assert add(gateway, f"A_KEY={SECRET} {GOOD} --token {SECRET}", name="noted").status == 201
    assert remove(gateway, "noted").status == 204
    listed = gateway.get("/api/calls?limit=20").json()["calls"]
    told = [
        (one["action"], one["caller"], one["detail"])
        for one in listed
        if one.get("action") in ("server.add", "server.remove", "config.apply")
    ][:4]
    assert told == [
        ("config.apply", "file", "removed noted"),
        ("server.remove", "console", "noted"),
        ("config.apply", "file", "added noted"),
        ("server.add", "console", f"noted: {sys.executable}"),
    ]
    assert SECRET not in gateway.log.read_text()


def test_several_come_all_or_none(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    servers = {name: {"command": sys.executable} for name in ("one", "two")}
    bad = {**servers, "three": {"command": "x", "timeout": "soon"}}
    problem = check_problem(add(gateway, json.dumps(bad)), 400, "invalid", "three")
    assert problem["problems"][0]["place"] == "addedServers.three.timeout"
    for taken in ({**servers, "keeper": {"command": "x"}}, {**servers, "Two": {"command": "x"}}):
        assert add(gateway, json.dumps(taken)).status in (400, 409)
    assert config(gateway).read_bytes() == before
    both = {name: {**entry, "enabled": False} for name, entry in servers.items()}
    assert [one["id"] for one in add(gateway, json.dumps(both)).json()["servers"]] == ["one", "two"]
    assert remove(gateway, "one").status == 204
    assert json.loads(config(gateway).read_bytes())["addedServers"].keys() == {"two"}
    assert remove(gateway, "two").status == 204
    assert config(gateway).read_bytes() == before


def test_who_has_signed_in_just_now_adds_many_at_once_and_none_is_lost(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    browser = Browser(gateway)
    browser.sign_in(code=code_of(gateway))
    text = json.dumps({"command": sys.executable, "enabled": False})

    def ask(method: str, path: str, body: Any = None) -> int:
        return browser.request(method, path, body).status

    names = [f"many-{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        asked = [pool.submit(ask, "POST", "/api/servers", {"text": text, "name": name}) for name in names]
        assert [one.result() for one in asked] == [201] * len(names)
        assert json.loads(config(gateway).read_bytes())["addedServers"].keys() == set(names)
        asked = [pool.submit(ask, "DELETE", f"/api/servers/{name}") for name in names]
        assert [one.result() for one in asked] == [204] * len(names)
    assert config(gateway).read_bytes() == before
    for forged in ({"Origin": "http://evil.example"}, {"Origin": None}):
        answer = browser.request("POST", "/api/servers", {"text": text, "name": "forged"}, forged)
        check_problem(answer, 403, "refused")
    assert config(gateway).read_bytes() == before


def test_what_a_person_wrote_is_theirs_to_take_out(gateway: Gateway) -> None:
    before = config(gateway).read_bytes()
    check_problem(remove(gateway, "keeper"), 403, "refused", str(config(gateway)), "line 3", "`mcpServers`")
    check_problem(remove(gateway, "nobody"), 404, "unknown")
    assert config(gateway).read_bytes() == before


def test_a_file_that_cannot_be_used_is_left_to_its_owner(gateway: Gateway) -> None:
    for text in ("{", '{"mcpServers": {"keeper": {}}}', "[]"):
        gateway.reconfigure(text)
        problem = check_problem(add(gateway, GOOD, name="late"), 400, "invalid", "nothing was written")
        assert problem["problems"]
        assert config(gateway).read_text() == text
    gateway.reload()


def test_the_link_to_a_file_stays_one(gateway: Gateway) -> None:
    path, real = config(gateway), gateway.directory / "real.json"
    path.rename(real)
    path.symlink_to(real)
    try:
        assert add(gateway, GOOD, name="linked").status == 201
        assert path.is_symlink()
        assert "linked" in json.loads(real.read_bytes())["addedServers"]
        assert remove(gateway, "linked").status == 204
    finally:
        path.unlink()
        real.rename(path)


def test_a_file_that_others_read_is_warned_of(gateway: Gateway) -> None:
    config(gateway).chmod(0o644)
    told = add(gateway, f"A_KEY=x {GOOD}", name="seen").json()
    assert any("can be read by other users" in warning for warning in told["warnings"])
    assert stat.S_IMODE(config(gateway).stat().st_mode) == 0o644
    assert remove(gateway, "seen").status == 204
    config(gateway).chmod(0o600)


def test_a_change_is_applied_once_though_it_is_seen_twice(gateway: Gateway) -> None:
    with Feed(gateway, "config") as feed:
        assert add(gateway, GOOD, name="once").status == 201
        assert feed.next()["added"] == ["once"]
        pid = gateway.wait_for_state("once", "ready")["pid"]
        # Whatever the watch of the file makes of the change comes before it sees the next one.
        text = config(gateway).read_text()
        gateway.reconfigure(text.replace('"gateway": {}', '"gateway": {"limits": {"rate": 9999}}'))
        assert (told := feed.next())["gateway"] == ["limits.rate"]
        assert told["added"] == told["changed"] == []
        assert gateway.server("once")["pid"] == pid
        assert remove(gateway, "once").status == 204
        assert feed.next()["removed"] == ["once"]


def test_a_gateway_without_a_file_makes_the_usual_one_and_watches_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = home / "mcp" / "mcp_servers.json"
    with Gateway(
        {},
        tmp_path / "gateway",
        command=(sys.executable, "-c", WITHOUT_A_FILE),
        environment={"XDG_CONFIG_HOME": str(home)},
    ) as gateway:
        assert check(gateway, GOOD)["file"] == {"path": str(path), "writable": True, "reason": None}
        assert not path.exists()
        assert add(gateway, GOOD, name="first").status == 201
        gateway.wait_for_state("first", "ready")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_text()
        path.write_text(text.replace('"first"', '"second"'))
        until(lambda: gateway.get("/api/servers/second").status == 200, SEEN_S, "the change is seen")
        gateway.wait_for_state("second", "ready")
        assert remove(gateway, "second").status == 204
        assert path.read_bytes() == b"{}\n"
        check_log(gateway)


# -- the configuration that holds ---------------------------------------------------------------------


def test_the_configuration_of_a_server_is_shown_without_its_secrets(gateway: Gateway) -> None:
    told = gateway.get("/api/servers/keeper/config").json()
    assert (told["declaredIn"], told["name"], told["file"]) == ("mcpServers", "keeper", str(config(gateway)))
    assert told["line"] == 3
    assert told["config"]["command"] == sys.executable
    assert told["config"]["args"] == ["-I", "-S", str(HOSTILE), "good"]
    assert told["config"]["timeout"] == 60.0
    env = {one["name"]: (one["value"], one["from"]) for one in told["config"]["env"]}
    assert env["CANARY_LITERAL"] == ("set", "literal")
    assert env["CANARY_VARIABLE"] == ("set", "variable")
    assert env["CANARY_FILE"] == ("set", "file")
    assert env["CANARY_CREDENTIAL"] == ("set", "credential")
    assert env["CANARY_COMMAND"] == ("set", "command")
    assert told["overrides"] == {"enabled": None, "toolsOff": []}
    check_problem(gateway.get("/api/servers/nobody/config"), 404, "unknown")


def test_what_was_switched_is_told_beside_what_is_declared(gateway: Gateway) -> None:
    assert add(gateway, GOOD, name="switched").status == 201
    gateway.wait_for_state("switched", "ready")
    for path in ("tools/switched/echo", "servers/switched"):
        assert gateway.request("PATCH", f"/api/{path}", {"enabled": False}).status == 200
    told = gateway.get("/api/servers/switched/config").json()
    assert told["declaredIn"] == "addedServers"
    assert told["config"]["enabled"] is True
    assert told["overrides"] == {"enabled": False, "toolsOff": ["echo"]}
    assert gateway.request("PATCH", "/api/servers/switched", {"enabled": None}).status == 200
    assert remove(gateway, "switched").status == 204
