"""S21: one function says who may see and call what; no list, no face and no spelling knows better.

Obot (v0.21.0: the list was filtered, the call was not), gh-aw (the client filtered), agentgateway ("denied is
unknown"). Principals x faces x ways to name a tool: what is listed is what can be called, and what is not
listed is answered byte for byte as what does not exist.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.faces.knocking import Mcp, Modern, check_log, check_problem, exact
from tests.security.cast import Guarded, arrived, bare, journalled, wait_ready

USUAL = ["read", "call"]
SCOPES: dict[str, dict[str, Any]] = {
    "everything": {"rights": USUAL},
    "server": {"rights": USUAL, "servers": ["good"]},
    "pattern-server": {"rights": USUAL, "servers": ["e*"]},
    "tool": {"rights": USUAL, "tools": ["good/echo"]},
    "tools": {"rights": USUAL, "tools": ["good/[ep]*", "exact/a/b"]},
    "any-server": {"rights": USUAL, "tools": ["nulls"]},
    "both": {"rights": USUAL, "servers": ["exact"], "tools": ["echo", "failure"]},
    "readonly": {"rights": USUAL, "readOnly": True},
    "readonly-good": {"rights": USUAL, "readOnly": True, "servers": ["good"]},
    "read": {"rights": ["read"]},
    "read-server": {"rights": ["read"], "servers": ["good"]},
    "call": {"rights": ["call"]},
    "call-tool": {"rights": ["call"], "tools": ["good/echo"]},
    "none": {"rights": USUAL, "servers": ["nothing-like-it"]},
}
# Written down again: what each of them may see, of the tools that are offered.
GOOD = {("good", name) for name in ("echo", "pid", "stats", "fail")}
EXACT = {("exact", name) for name in ("nulls", "failure", "raw-line", "a/b", "100%", "..")}
HIDDEN = {("hidden", "echo"), ("hidden", "pid")}
SEES = {
    "everything": GOOD | EXACT | HIDDEN,
    "server": GOOD,
    "pattern-server": EXACT,
    "tool": {("good", "echo")},
    "tools": {("good", "echo"), ("good", "pid"), ("exact", "a/b")},
    "any-server": {("exact", "nulls")},
    "both": {("exact", "failure")},
    "readonly": EXACT,
    "readonly-good": set(),
    "read": GOOD | EXACT | HIDDEN,
    "read-server": GOOD,
    "call": GOOD | EXACT | HIDDEN,
    "call-tool": {("good", "echo")},
    "none": set(),
}
OFF = ("good", "fail")  # switched off; seen, not listed to MCP clients
DENIED = ("good", "env")
RENAMED = ("good", "pid")
EXPOSED_RENAMED, EXPOSED_BEFORE = "good__number", "good__pid"
NEVER = "never-was"


@dataclass(frozen=True)
class Stage:
    gateway: Guarded
    journals: dict[str, Path]
    exposed: dict[tuple[str, str], str]

    def arrived(self) -> int:
        return sum(len(arrived(path)) for path in self.journals.values())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("matrix")
    journals = {name: directory / name for name in ("good", "hidden")}
    names = [tool for _, tool in GOOD] + ["env"]
    servers = {
        "good": journalled(
            journals["good"], tools={"allow": names, "deny": ["env"], "rename": {"pid": "number"}}
        ),
        "exact": exact(tools={"allow": [tool for _, tool in EXACT]}),
        "hidden": journalled(journals["hidden"], tools={"allow": ["echo", "pid"]}),
    }
    settings = {"limits": {"rate": 100_000}}
    with Guarded(
        servers, directory, settings, keys=dict(SCOPES) | {"expired": {}}, expired=frozenset({"expired"})
    ) as gateway:
        wait_ready(gateway, *servers)
        assert gateway.request("PATCH", "/api/tools/good/fail", {"enabled": False}).status == 200
        listed = gateway.get("/api/tools").json()["tools"]
        exposed = {(tool["server"], tool["name"]): tool["exposedName"] for tool in listed}
        assert exposed.keys() == GOOD | EXACT | HIDDEN
        assert exposed[RENAMED] == EXPOSED_RENAMED
        yield Stage(gateway, journals, exposed)
        check_log(gateway)


def path_of(server: str, tool: str) -> str:
    return f"/api/tools/{quote(server, safe='')}/{quote(tool, safe='')}"


def has(principal: str, right: str) -> bool:
    return right in SCOPES[principal]["rights"]


@pytest.mark.parametrize("principal", SCOPES)
def test_S21_every_list_shows_what_may_be_seen(stage: Stage, principal: str) -> None:
    caller, sees = stage.gateway.as_(principal), SEES[principal]
    listed = {stage.exposed[one] for one in sees - {OFF}}
    assert Mcp(caller).tools().keys() == listed
    assert {tool["name"] for tool in Modern(caller).ask("tools/list")["tools"]} == listed
    for server in ("good", "exact", "hidden"):
        native = {tool for of, tool in sees - {OFF} if of == server}
        if native:
            assert Mcp(caller, f"/servers/{server}/mcp").tools().keys() == native
    if not has(principal, "read"):
        check_problem(caller.get("/api/tools"), 403, "refused")
        return
    tools = caller.get("/api/tools").json()["tools"]
    assert {(tool["server"], tool["name"]) for tool in tools} == sees
    found = caller.get("/api/tools?search=e").json()["tools"]
    assert {(tool["server"], tool["name"]) for tool in found} <= sees
    counted = caller.get("/api/stats?by=server").json()["servers"]
    assert [*counted] == [server["id"] for server in caller.get("/api/servers").json()["servers"]]
    for server in caller.get("/api/servers").json()["servers"]:
        assert server["tools"] == sum(of == server["id"] for of, _ in sees)
        assert not server.keys() & {"stderr", "pid", "usage"}
        assert (server["toolTokens"] > 0) is (server["tools"] > 0)


@pytest.mark.parametrize("principal", SCOPES)
def test_S21_what_is_listed_can_be_called_and_nothing_else(stage: Stage, principal: str) -> None:
    caller, sees = stage.gateway.as_(principal), SEES[principal]
    servers = {
        server
        for server in ("good", "exact", "hidden")
        if caller.request("GET", f"/servers/{server}/mcp").status != 404
    }
    assert servers >= {server for server, _ in sees}
    whole, modern = Mcp(caller), Modern(caller)
    for server, tool in (*stage.exposed, DENIED):
        before = stage.arrived()
        answer = caller.request("POST", path_of(server, tool), {})
        shown = caller.get(path_of(server, tool))
        name = stage.exposed.get((server, tool), "good__env")
        over_mcp = whole.post(Mcp.message("tools/call", {"name": name, "arguments": {}}, 1))
        alone = modern.post("tools/call", {"name": name, "arguments": {}})
        if (server, tool) in sees and has(principal, "call"):
            expected = 503 if (server, tool) == OFF else 200
            assert answer.status == expected, (server, tool, answer)
            assert ("result" in over_mcp.json()) is ("result" in alone.json()) is (expected == 200)
            continue
        assert stage.arrived() == before, (principal, server, tool)
        assert "error" in over_mcp.json()
        assert alone.json()["error"]["code"] == over_mcp.json()["error"]["code"]
        if not has(principal, "call"):
            check_problem(answer, 403, "refused")
            assert shown.status == (200 if (server, tool) in sees else 404)
            continue
        # Not there, as what never was.
        ghost = (server if server in servers else NEVER, NEVER)
        never = caller.request("POST", path_of(*ghost), {})
        assert bare(answer, server, tool) == bare(never, *ghost), (principal, server, tool)
        assert answer.status == 404
        missing = whole.post(Mcp.message("tools/call", {"name": NEVER, "arguments": {}}, 1))
        assert bare(over_mcp, name) == bare(missing, NEVER)
        assert bare(alone, name) == bare(modern.post("tools/call", {"name": NEVER, "arguments": {}}), NEVER)
        if has(principal, "read"):
            assert bare(shown, server, tool) == bare(caller.get(path_of(*ghost)), *ghost)
        if server in servers:
            mcp = Mcp(caller, f"/servers/{server}/mcp")
            theirs = mcp.post(Mcp.message("tools/call", {"name": tool, "arguments": {}}, 1))
            ghostly = mcp.post(Mcp.message("tools/call", {"name": NEVER, "arguments": {}}, 1))
            assert bare(theirs, tool) == bare(ghostly, NEVER)


@pytest.mark.parametrize("principal", ["everything", "server", "tools", "any-server", "call"])
def test_S25_no_other_spelling_is_a_tool(stage: Stage, principal: str) -> None:
    caller = stage.gateway.as_(principal)
    whole = Mcp(caller)
    before = stage.arrived()
    for server, tool in SEES[principal] & {("good", "echo"), ("exact", "a/b"), ("exact", "nulls")}:
        other_case = tool.swapcase() if tool.swapcase() != tool else f"{tool}x"
        spellings = [other_case, f" {tool}", f"{tool} ", f"{tool}\0", f"{tool}/", f"./{tool}"]
        spellings += [
            stage.exposed[server, tool],
            quote(tool, safe="") + "%20",
            f"{server}/{tool}",
            f"{tool};x",
        ]
        spellings += [f"{tool}?x", f"{tool}#x", f"*{tool}", f"{tool[:1]}*", "*", "ｅcho", tool + "é"]
        never = bare(caller.request("POST", path_of(server, NEVER), {}), NEVER)
        assert never[0] == 404
        mcp = Mcp(caller, f"/servers/{server}/mcp")
        for spelling in spellings:
            answer = caller.request("POST", path_of(server, spelling), {})
            assert bare(answer, spelling) == never, spelling
            twice = caller.request(
                "POST", f"/api/tools/{server}/{quote(quote(tool + '!', safe=''), safe='')}", {}
            )
            assert twice.status == 404
            over_mcp = mcp.post(Mcp.message("tools/call", {"name": spelling, "arguments": {}}, 1))
            assert "error" in over_mcp.json(), spelling
        for name in (tool, f"{server}/{tool}", f"{server}.{tool}", stage.exposed[server, tool].upper()):
            assert "error" in whole.call(name), name
    assert stage.arrived() == before


def test_S25_a_name_is_decoded_once(stage: Stage) -> None:
    caller = stage.gateway.as_("everything")
    for tool in ("a/b", "100%", ".."):
        once = quote(tool, safe="").replace(".", "%2e")
        assert caller.request("POST", f"/api/tools/exact/{once}", {}).text == tool
        assert caller.request("POST", f"/api/tools/exact/{quote(once, safe='')}", {}).status == 404
    for path in ("a/b", "a//b", "..%2f..%2fgood/echo", "../good/echo", "%00", "x" * 10_000, "%ff", "%c0%ae"):
        assert caller.request("POST", f"/api/tools/exact/{path}", {}).status in (400, 404), path


@pytest.mark.parametrize("principal", ["everything", "server", "tools", "call"])
def test_S21_a_renamed_tool_is_gone_from_its_old_name(stage: Stage, principal: str) -> None:
    whole = Mcp(stage.gateway.as_(principal))
    missing = whole.post(Mcp.message("tools/call", {"name": NEVER, "arguments": {}}, 1))
    before = whole.post(Mcp.message("tools/call", {"name": EXPOSED_BEFORE, "arguments": {}}, 1))
    assert bare(before, EXPOSED_BEFORE) == bare(missing, NEVER)
    assert "result" in whole.call(EXPOSED_RENAMED)


def test_S21_a_switched_off_tool_is_off_for_who_sees_it_and_unknown_to_others(stage: Stage) -> None:
    server, tool = OFF
    for principal in ("everything", "server"):
        check_problem(
            stage.gateway.as_(principal).request("POST", path_of(server, tool), {}), 503, "unavailable"
        )
    for principal in ("tool", "tools", "readonly-good", "call-tool"):
        check_problem(stage.gateway.as_(principal).request("POST", path_of(server, tool), {}), 404, "unknown")


@pytest.mark.parametrize("principal", ["tool", "server", "pattern-server", "any-server", "none", "call-tool"])
def test_S21_a_server_that_is_not_seen_does_not_exist(stage: Stage, principal: str) -> None:
    caller = stage.gateway.as_(principal)
    seen = {server for server, _ in SEES[principal]}
    body = Mcp.message("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}}, 1)
    for server in {"good", "exact", "hidden"} - seen:
        for method, path, sent in (
            ("GET", "/api/servers/{}", None),
            ("GET", "/api/servers/{}/logs", None),
            ("GET", "/api/tools?server={}", None),
            ("PATCH", "/api/servers/{}", {"enabled": False}),
            ("POST", "/api/servers/{}/restart", None),
            ("GET", "/api/tools/{}/echo", None),
            ("PATCH", "/api/tools/{}/echo", {"enabled": False}),
            ("POST", "/api/tools/{}/echo", {}),
            ("POST", "/servers/{}/mcp", body),
            ("GET", "/servers/{}/mcp", None),
            ("DELETE", "/servers/{}/mcp", None),
        ):
            if principal == "any-server" and server in ("good", "hidden"):
                continue  # its pattern is about any server: the server is seen, its tools are not
            one = caller.request(method, path.format(server), sent)
            assert bare(one, server) == bare(caller.request(method, path.format(NEVER), sent), NEVER), path
            assert one.status in (403, 404)


# The server that must not be named is called like a word of HTML.
WORDS_OF_HTML = re.compile(rb'class="[^"]*"|type="hidden"|aria-hidden="true"| hidden(?=[ >])')


@pytest.mark.parametrize(
    "path", ["/", "/openapi.json", "/ready", "/api/me", "/api/servers", "/api/tools", "/metrics"]
)
def test_S21_no_document_names_what_is_not_seen(stage: Stage, path: str) -> None:
    for principal in ("tool", "server", "pattern-server", "both", "none", "call-tool"):
        answer = stage.gateway.as_(principal).get(path)
        assert answer.status in (200, 403), answer
        assert b"hidden" not in WORDS_OF_HTML.sub(b"", answer.body)
        if principal in ("tool", "call-tool"):
            # The tool; a route of ours has the same name.
            assert b"stats" not in answer.body.replace(b"/api/stats", b"")


def test_S21_instructions_of_servers_that_are_not_seen_are_not_told(stage: Stage) -> None:
    told = Mcp(stage.gateway.as_("server")).introduction.get("instructions", "")
    assert "exact" not in told
    assert Mcp(stage.gateway.as_("pattern-server")).introduction["instructions"].startswith("# exact")


def test_S21_an_expired_key_and_a_revoked_one_are_no_keys(stage: Stage) -> None:
    key_id, revoked = stage.gateway.make_key("gone", rights=["read", "call"])
    assert revoked.get("/api/tools").status == 200
    stage.gateway.revoke(key_id)
    unknown = stage.gateway.as_("made up", "mgk_0000000000_" + "A" * 43)
    for method, path in (
        ("GET", "/api/tools"),
        ("POST", "/mcp"),
        ("POST", "/api/tools/good/echo"),
        ("GET", "/nothing"),
    ):
        never = bare(unknown.request(method, path, {}))
        assert never[0] == 401
        for caller in (revoked, stage.gateway.as_("expired")):
            assert bare(caller.request(method, path, {})) == never
    assert stage.gateway.request("DELETE", f"/api/keys/{key_id}").status == 404
