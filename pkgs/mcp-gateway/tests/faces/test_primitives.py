"""Resources, templates, prompts and completion, over MCP and REST, with servers whose URIs meet and others'.

What servers say is written down here and said by `tests/shelf.py`; real servers: `test_real_primitives.py`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import Raw
from msgspec import json as msgspec_json

from tests.faces.knocking import Api, Mcp, check_log, check_problem, check_rpc_error, fold, shelf
from tests.harness import Gateway, hostile, until

ALL: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("link", "announce")]
VIEW = {"ui": {"resourceUri": "ui://clock/view"}}


def resource(uri: str, **more: Any) -> dict[str, Any]:
    return {"uri": uri, "name": uri.rpartition("/")[2], "x-new": 1.0, **more}


# `one` and `two` have a URI and a template in common; `two` speaks the modern era. `own` meets nobody.
SPECS: dict[str, dict[str, Any]] = {
    "one": {
        "capabilities": ALL,
        "tools": [*TOOLS, {"name": "clock", "inputSchema": {"type": "object"}, "_meta": VIEW}],
        "resources": [resource("ui://clock/view"), resource("file:///one/a")],
        "templates": [{"uriTemplate": "db://{table}/{id}", "name": "row"}],
        "prompts": [{"name": "review", "arguments": [{"name": "uri"}]}, {"name": "über uns"}],
    },
    "two": {
        "era": "modern",
        "capabilities": ALL,
        "tools": TOOLS,
        "resources": [resource("ui://clock/view"), resource("file:///two/b")],
        "templates": [{"uriTemplate": "db://{table}/{id}", "name": "row"}],
        "prompts": [{"name": "review"}],
    },
    "own": {
        "capabilities": {"tools": {}, "resources": {}},
        "tools": TOOLS,
        "resources": [resource("own://slow"), resource("own://large", mimeType="text/plain")],
        "templates": [{"uriTemplate": "own://notes/{name}", "name": "note"}],
    },
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelves")


@pytest.fixture(scope="module")
def gateway(directory: Path) -> Iterator[Gateway]:
    servers = {name: shelf(directory, name, spec) for name, spec in SPECS.items()}
    servers["good"] = hostile("good")
    servers["off"] = shelf(directory, "off", SPECS["own"]) | {"enabled": False}
    with Gateway(servers, directory / "gateway") as gateway:
        for server in (*SPECS, "good"):
            gateway.wait_for_state(server, "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def session(gateway: Gateway) -> Mcp:
    return Mcp(gateway)


@pytest.fixture(scope="module")
def api(gateway: Gateway) -> Api:
    return Api(gateway)


def native(gateway: Gateway, server: str) -> Mcp:
    return Mcp(gateway, f"/servers/{server}/mcp")


def newest(gateway: Gateway, query: str) -> dict[str, Any]:
    row: dict[str, Any] = gateway.get(f"/api/calls?limit=1&{query}").json()["calls"][0]
    return row


def listed(session: Mcp, kind: str, member: str, key: str = "uri") -> list[str]:
    return [one[key] for one in session.ask(f"{kind}/list")["result"][member]]


# -- introductions and lists ----------------------------------------------------------------------------


def test_an_endpoint_promises_what_its_servers_have(gateway: Gateway, session: Mcp) -> None:
    changes = {"listChanged": True}
    everything = {"tools": changes, "resources": changes, "prompts": changes, "completions": {}}
    assert session.introduction["capabilities"] == everything | {"logging": {}}
    assert native(gateway, "two").introduction["capabilities"] == everything
    some = {"tools": changes, "resources": changes}
    assert native(gateway, "own").introduction["capabilities"] == some
    assert native(gateway, "good").introduction["capabilities"] == some | {"logging": {}}


def test_resources_of_all_servers_are_listed_and_marked_where_they_meet(
    gateway: Gateway, session: Mcp
) -> None:
    assert listed(session, "resources", "resources") == [
        "ui://one.mcp-gateway/clock/view",
        "file:///one/a",
        "ui://two.mcp-gateway/clock/view",
        "file:///two/b",
        "own://slow",
        "own://large",
    ]
    assert listed(session, "resources/templates", "resourceTemplates", "uriTemplate") == [
        "db://one.mcp-gateway/{table}/{id}",
        "db://two.mcp-gateway/{table}/{id}",
        "own://notes/{name}",
        "mcp-gateway://artifacts/{id}{?offset,length}",
    ]
    assert listed(native(gateway, "two"), "resources", "resources") == ["ui://clock/view", "file:///two/b"]
    assert session.tools()["one__clock"]["_meta"]["ui"]["resourceUri"] == "ui://one.mcp-gateway/clock/view"
    assert native(gateway, "one").tools()["clock"]["_meta"] == VIEW


def test_definitions_are_the_servers_own_bytes(gateway: Gateway, session: Mcp) -> None:
    answer = session.post(Mcp.message("resources/list", None, 1)).body
    written = json.dumps(SPECS["own"]["resources"][1], separators=(",", ":")).encode()
    assert written in answer
    assert written in native(gateway, "own").post(Mcp.message("resources/list", None, 1)).body


def test_prompts_are_listed_under_exposed_and_native_names(gateway: Gateway, session: Mcp) -> None:
    exposed = listed(session, "prompts", "prompts", "name")
    assert exposed[0] == "one__review"
    assert exposed[1].startswith("one___ber_uns_")
    assert exposed[2:] == ["two__review"]
    assert listed(native(gateway, "one"), "prompts", "prompts", "name") == ["review", "über uns"]
    assert listed(native(gateway, "good"), "prompts", "prompts", "name") == []


# -- reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "server", "sent"),
    [
        ("file:///one/a", "one", "file:///one/a"),
        ("file:///two/b", "two", "file:///two/b"),
        ("ui://one.mcp-gateway/clock/view", "one", "ui://clock/view"),
        ("ui://two.mcp-gateway/clock/view", "two", "ui://clock/view"),
        ("db://two.mcp-gateway/users/7", "two", "db://users/7"),
        ("own://notes/mine", "own", "own://notes/mine"),
        ("own://own.mcp-gateway/anything", "own", "own://anything"),
    ],
)
def test_a_resource_is_read_where_it_is_and_answers_to_the_uri_it_was_asked_by(
    gateway: Gateway, session: Mcp, uri: str, server: str, sent: str
) -> None:
    contents = session.ask("resources/read", {"uri": uri})["result"]["contents"]
    assert contents[0] == {"uri": uri, "text": f"{server} read {sent}"}
    assert {one["uri"] for one in contents[1:]} <= set(listed(session, "resources", "resources"))
    record = newest(gateway, f"server={server}")
    assert (record["method"], record["target"], record["tool"]) == ("resources/read", sent, "")
    assert (record["outcome"], record["face"]) == ("ok", "mcp")
    assert record["arguments"] == {"uri": f"string({len(sent)})"}


@pytest.mark.parametrize(
    "uri",
    [
        "file:///nobody/has",
        "ui://clock/view",
        "db://users/7",
        "ui://off.mcp-gateway/x",
        "",
        "{",
        "x" * 10_000,
    ],
)
def test_a_uri_that_is_nobodys_is_unknown_and_recorded(gateway: Gateway, session: Mcp, uri: str) -> None:
    expected = (-32000, "unavailable") if "off." in uri else (-32002, "unknown")
    check_rpc_error(session.ask("resources/read", {"uri": uri}), *expected)
    record = newest(gateway, "method=resources/read")
    assert record["outcome"] == expected[1]


@pytest.mark.parametrize("params", [{}, {"uri": None}, {"uri": 7}, {"uri": ["x"]}])
def test_a_uri_that_is_none_is_invalid(session: Mcp, params: Any) -> None:
    check_rpc_error(session.ask("resources/read", params), -32602, "invalid", "params.uri")


def test_a_servers_own_error_passes_as_it_is(gateway: Gateway, session: Mcp) -> None:
    answer = session.ask("resources/read", {"uri": "own://notes/missing"})
    assert answer["error"] == {
        "code": -32002,
        "message": "Resource not found",
        "data": {"uri": "own://notes/missing"},
    }
    assert newest(gateway, "server=own")["outcome"] == "unknown"


def test_at_a_servers_own_endpoint_uris_pass_as_they_are(gateway: Gateway) -> None:
    one = native(gateway, "one")
    for uri in ("ui://clock/view", "nowhere://listed", "ui://one.mcp-gateway/clock/view"):
        first = one.ask("resources/read", {"uri": uri})["result"]["contents"][0]
        assert first == {"uri": uri, "text": f"one read {uri}"}
    check_rpc_error(
        native(gateway, "good").ask("resources/read", {"uri": "x://y"}), -32002, "unknown", "x://y"
    )


def test_a_secret_in_a_uri_is_not_recorded(gateway: Gateway) -> None:
    native(gateway, "one").ask("resources/read", {"uri": "https://me:word@host/p?token=hidden"})
    assert newest(gateway, "server=one")["target"] == "https://host/p"


def test_reading_tells_its_progress_and_is_taken_back(directory: Path, session: Mcp) -> None:
    params = {"uri": "own://slow", "_meta": {"progressToken": "mine"}}
    session_headers = session.headers
    marker = directory / "own.cancelled"
    with session.gateway.open(
        "POST", "/mcp", Mcp.message("resources/read", params, 77), session_headers
    ) as response:
        assert response.getheader("content-type", "").startswith("text/event-stream")
        line = response.readline()
        while not line.startswith(b"data: {"):  # the stream begins with an event without data
            line = response.readline()
        assert json.loads(line[5:])["params"] == {"progressToken": "mine", "progress": 1}
        session.post(Mcp.message("notifications/cancelled", {"requestId": 77}))
        assert b"77" not in response.read()
    until(marker.exists, 10, "the server hears of it")
    assert newest(session.gateway, "server=own")["outcome"] == "cancelled"


# -- results --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "uri", "seen"),
    [
        ("one", "ui://clock/view", "ui://one.mcp-gateway/clock/view"),
        ("two", "db://t/1", "db://two.mcp-gateway/t/1"),
        ("one", "file:///two/b", "file://one.mcp-gateway//two/b"),
        ("one", "file:///one/a", "file:///one/a"),
        ("one", "new://x", "new://x"),
    ],
)
def test_uris_in_results_are_those_of_the_list(
    gateway: Gateway, session: Mcp, server: str, uri: str, seen: str
) -> None:
    result = session.call(f"{server}__link", {"uri": uri})["result"]
    assert [result["content"][0]["uri"], result["content"][1]["resource"]["uri"]] == [seen, seen]
    assert result["content"][1]["resource"]["text"] == f"about {uri}"
    assert result["structuredContent"] == {"uri": uri}
    prompt = session.ask("prompts/get", {"name": f"{server}__review", "arguments": {"uri": uri}})["result"]
    assert [one["content"].get("uri") for one in prompt["messages"]] == [None, seen, None, None]
    assert prompt["messages"][2]["content"]["resource"]["uri"] == seen
    if seen != "new://x":
        read = session.ask("resources/read", {"uri": seen})["result"]["contents"][0]
        assert read == {"uri": seen, "text": f"{server} read {uri}"}
    same = native(gateway, server).call("link", {"uri": uri})["result"]
    assert same["content"][0]["uri"] == uri
    rest = gateway.request("POST", f"/api/tools/{server}/link", {"uri": uri}).json()
    assert rest["content"][0]["uri"] == uri


def test_where_nothing_meets_a_result_passes_byte_for_byte(gateway: Gateway, session: Mcp) -> None:
    def result(answer: bytes) -> bytes:
        return bytes(msgspec_json.decode(answer, type=dict[str, Raw])["result"])

    for method, exposed, own in (
        ("tools/call", {"name": "own__link", "arguments": {"uri": "ui://clock/view"}}, {"name": "link"}),
        ("resources/read", {"uri": "own://notes/x"}, {}),
    ):
        at_all = session.post(Mcp.message(method, exposed, 1)).body
        at_one = native(gateway, "own").post(Mcp.message(method, exposed | own, 1)).body
        assert result(at_all) == result(at_one)
        assert b'"x-number":1.0' in at_all or method == "resources/read"


def test_a_large_resource_becomes_an_artifact_that_is_listed_and_read(gateway: Gateway, session: Mcp) -> None:
    result = session.ask("resources/read", {"uri": "own://large"})["result"]
    (content,) = result["contents"]
    assert content["uri"] == "own://large"
    assert len(content["text"]) < 20_000
    about = result["_meta"]["mcp-gateway/artifact"]
    assert about["uri"] in listed(session, "resources", "resources")
    assert about["uri"] in listed(native(gateway, "own"), "resources", "resources")
    assert about["uri"] not in listed(native(gateway, "one"), "resources", "resources")
    whole = gateway.get(about["url"]).json()
    assert whole == {"contents": [{"uri": "own://large", "text": "0123456789" * 1_200_000}]} | {
        "contents": [*whole["contents"]]
    }
    assert len(whole["contents"][0]["text"]) == 12_000_000
    for place in (session, native(gateway, "own")):
        part = place.ask("resources/read", {"uri": about["uri"] + "?offset=0&length=10"})["result"]
        assert part["contents"][0]["text"] == '{"contents'


# -- prompts and completion -----------------------------------------------------------------------------


def test_a_prompt_is_asked_for_by_its_own_name_with_its_arguments(gateway: Gateway, session: Mcp) -> None:
    names = listed(session, "prompts", "prompts", "name")
    for server, exposed, name in (("one", names[1], "über uns"), ("two", names[2], "review")):
        result = session.ask("prompts/get", {"name": exposed, "arguments": {"a": "1"}})["result"]
        said = json.loads(result["messages"][0]["content"]["text"])
        assert said == {"name": name, "arguments": {"a": "1"}}
        record = newest(gateway, f"server={server}")
        assert (record["method"], record["target"], record["tool"]) == ("prompts/get", name, "")
        assert record["arguments"] == {"a": "string(1)"}
    assert native(gateway, "one").ask("prompts/get", {"name": "review"})["result"]["description"] == "asked"


@pytest.mark.parametrize(
    ("params", "code", "kind"),
    [
        ({"name": "review"}, -32602, "unknown"),
        ({"name": "own__review"}, -32602, "unknown"),
        ({}, -32602, "invalid"),
        ({"name": "one__review", "arguments": []}, -32602, "invalid"),
    ],
)
def test_a_prompt_that_is_none_is_told(
    gateway: Gateway, session: Mcp, params: dict[str, Any], code: int, kind: str
) -> None:
    check_rpc_error(session.ask("prompts/get", params), code, kind)
    assert newest(gateway, "method=prompts/get")["outcome"] == kind


def test_a_prompt_that_is_not_in_a_servers_list_is_not_sent(gateway: Gateway) -> None:
    for server in ("one", "own", "good"):
        error = native(gateway, server).ask("prompts/get", {"name": "nobody"})
        check_rpc_error(error, -32602, "unknown", "nobody")


@pytest.mark.parametrize(
    ("ref", "sent", "server"),
    [
        ({"type": "ref/prompt", "name": "two__review", "x": 1}, {"name": "review", "x": 1}, "two"),
        (
            {"type": "ref/resource", "uri": "db://one.mcp-gateway/{table}/{id}"},
            {"uri": "db://{table}/{id}"},
            "one",
        ),
        ({"type": "ref/resource", "uri": "file:///one/a"}, {"uri": "file:///one/a"}, "one"),
    ],
)
def test_completion_is_asked_of_whom_it_is_about(
    gateway: Gateway, session: Mcp, ref: dict[str, Any], sent: dict[str, Any], server: str
) -> None:
    params = {"ref": ref, "argument": {"name": "id", "value": "4"}, "context": {"arguments": {"table": "t"}}}
    values = session.ask("completion/complete", params)["result"]["completion"]["values"]
    assert json.loads(values[0]) == params | {"ref": {"type": ref["type"], **sent}}
    record = newest(gateway, f"server={server}")
    assert (record["method"], record["target"]) == ("completion/complete", sent.get("name", sent.get("uri")))
    assert record["arguments"] == {"name": "string(2)", "value": "string(1)"}


@pytest.mark.parametrize(
    ("ref", "code", "kind"),
    [
        ({"type": "ref/prompt", "name": "own__nothing"}, -32602, "unknown"),
        ({"type": "ref/resource", "uri": "db://{table}/{id}"}, -32602, "unknown"),
        ({"type": "ref/resource", "uri": "own://notes/{name}"}, -32601, "unknown"),
        ({"type": "ref/tool", "name": "one__link"}, -32602, "invalid"),
        ({"type": "ref/prompt"}, -32602, "invalid"),
        ("one__review", -32602, "invalid"),
    ],
)
def test_completion_of_what_is_not_there_is_told(session: Mcp, ref: Any, code: int, kind: str) -> None:
    params = {"ref": ref, "argument": {"name": "a", "value": ""}}
    check_rpc_error(session.ask("completion/complete", params), code, kind)


# -- changes --------------------------------------------------------------------------------------------


def test_a_list_that_changes_is_told_of_its_kind_alone(gateway: Gateway, directory: Path) -> None:
    session = Mcp(gateway)
    path = directory / "one.json"
    before = path.read_text()
    changed = json.loads(before)
    changed["resources"].append(resource("file:///one/new"))
    changed["prompts"].pop()
    path.write_text(json.dumps(changed))
    try:
        with session.stream() as events:
            for kind in ("resources", "prompts", "tools"):
                session.call("one__announce", {"kind": kind})
                if kind != "tools":  # their list is what it was: no word of it
                    heard = fold(events, lambda name, data: True)
                    assert heard["method"] == f"notifications/{kind}/list_changed"
        assert "file:///one/new" in listed(session, "resources", "resources")
        assert listed(session, "prompts", "prompts", "name") == ["one__review", "two__review"]
    finally:
        path.write_text(before)
        for kind in ("resources", "prompts"):
            session.call("one__announce", {"kind": kind})
        until(
            lambda: (
                len(listed(session, "prompts", "prompts", "name")) == 3
                and "file:///one/new" not in listed(session, "resources", "resources")
            ),
            20,
            "the lists are what they were",
        )


# -- REST -----------------------------------------------------------------------------------------------


def test_rest_lists_with_native_uris_and_whose_they_are(api: Api) -> None:
    document = api.json("/api/resources")
    of = [(one["server"], one["uri"]) for one in document["resources"]]
    assert of[:3] == [("one", "ui://clock/view"), ("one", "file:///one/a"), ("two", "ui://clock/view")]
    assert document["resources"][0]["x-new"] == 1.0
    templates = [(one["server"], one["uriTemplate"]) for one in document["resourceTemplates"]]
    assert templates == [
        ("one", "db://{table}/{id}"),
        ("two", "db://{table}/{id}"),
        ("own", "own://notes/{name}"),
    ]
    assert [one["uri"] for one in api.json("/api/resources?server=own")["resources"]] == [
        "own://slow",
        "own://large",
    ]
    prompts = api.json("/api/prompts")["prompts"]
    assert [(one["server"], one["name"]) for one in prompts] == [
        ("one", "review"),
        ("one", "über uns"),
        ("two", "review"),
    ]
    assert [one["exposedName"] for one in api.json("/api/prompts?server=two")["prompts"]] == ["two__review"]
    check_problem(api.get("/api/prompts?server=nobody"), 404, "unknown", "nobody")
    shown = api.json("/api/servers/one")
    assert (shown["resources"], shown["resourceTemplates"], shown["prompts"]) == (2, 1, 2)


def test_rest_reads_and_gets_through_the_same_path(gateway: Gateway, api: Api) -> None:
    answer = api.get(f"/api/resources/two?uri={quote('ui://clock/view', safe='')}")
    assert answer.json()["contents"][0] == {"uri": "ui://clock/view", "text": "two read ui://clock/view"}
    record = api.record(answer.headers["mcp-gateway-call"])
    assert (record["method"], record["target"], record["face"]) == (
        "resources/read",
        "ui://clock/view",
        "rest",
    )
    answer = api.request("POST", f"/api/prompts/one/{quote('über uns')}", {"a": "1"})
    assert json.loads(answer.json()["messages"][0]["content"]["text"])["arguments"] == {"a": "1"}
    assert api.record(answer.headers["mcp-gateway-call"])["target"] == "über uns"
    assert gateway.request("POST", "/api/prompts/two/review").status == 200
    with gateway.open(
        "GET", "/api/resources/one?uri=x://y", None, {"Accept": "text/event-stream"}
    ) as response:
        assert b"event: result" in response.read()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/resources/nobody?uri=x", None, 404, "unknown"),
        ("GET", "/api/resources/good?uri=x", None, 404, "unknown"),
        ("GET", "/api/resources/one", None, 400, "invalid"),
        ("GET", "/api/resources/own?uri=own://notes/missing", None, 404, "unknown"),
        ("GET", "/api/resources/off?uri=x://y", None, 503, "unavailable"),
        ("GET", "/api/resources/one?uri=x://y&timeout=no", None, 400, "invalid"),
        ("GET", "/api/resources/own?uri=own://slow&timeout=0.1", None, 504, "timed_out"),
        ("POST", "/api/prompts/one/nobody", {}, 404, "unknown"),
        ("POST", "/api/prompts/nobody/review", {}, 404, "unknown"),
        ("POST", "/api/prompts/one/review", [], 400, "invalid"),
        ("POST", "/api/prompts/one/a/b", {}, 404, "unknown"),
    ],
)
def test_rest_says_what_is_wrong(api: Api, method: str, path: str, body: Any, status: int, code: str) -> None:
    check_problem(api.request(method, path, body), status, code)


# -- who may --------------------------------------------------------------------------------------------


@dataclass
class Guarded(Gateway):
    """A gateway that asks who is there; `key` is shown with every request."""

    key: str = field(default="a" * 43)

    @property
    def identity(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def test_who_was_granted_tools_only_knows_of_no_resource_and_no_prompt(
    directory: Path, tmp_path: Path
) -> None:
    keys = []
    for name, scopes in (
        ("all", {"rights": ["read", "call", "operate"]}),
        ("tools", {"rights": ["read", "call"], "servers": ["one"], "tools": ["*"]}),
        ("readonly", {"rights": ["read", "call"], "readOnly": True}),
        ("one", {"rights": ["read", "call"], "servers": ["one"]}),
        ("looks", {"rights": ["read"], "servers": ["one"]}),
    ):
        path = tmp_path / name
        path.write_text(name * 16)
        path.chmod(0o600)
        keys.append({"name": name, "file": str(path), "scopes": scopes})
    servers = {name: shelf(directory, name, SPECS[name]) for name in ("one", "two")}
    with Guarded(servers, tmp_path / "gateway", {"auth": {"keys": keys}}, key="all" * 16) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        for name in ("tools", "readonly"):
            gateway.key = name * 16
            session, one = Mcp(gateway), native(gateway, "one")
            assert "prompts" not in session.introduction["capabilities"]
            for place, uri, prompt in (
                (session, "file:///one/a", "one__review"),
                (one, "file:///one/a", "review"),
            ):
                assert listed(place, "resources", "resources") == listed(place, "prompts", "prompts") == []
                missing = check_rpc_error(place.ask("resources/read", {"uri": uri}), -32002, "unknown")
                assert missing["message"] == f"There is no resource `{uri}`"
                missing = check_rpc_error(place.ask("prompts/get", {"name": prompt}), -32602, "unknown")
                assert missing["message"] == f"There is no prompt `{prompt}`"
                ref = {"type": "ref/prompt", "name": prompt}
                params = {"ref": ref, "argument": {"name": "a", "value": ""}}
                check_rpc_error(place.ask("completion/complete", params), -32601, "unknown")
            assert gateway.get("/api/resources").json() == {"resources": [], "resourceTemplates": []}
            assert gateway.get("/api/prompts").json() == {"prompts": []}
            check_problem(gateway.get("/api/resources/one?uri=file:///one/a"), 404, "unknown")
            check_problem(gateway.request("POST", "/api/prompts/one/review", {}), 404, "unknown")
        gateway.key = "one" * 16
        session = Mcp(gateway)
        # The other server's resource of the same URI is not to be noticed.
        assert listed(session, "resources", "resources") == ["ui://clock/view", "file:///one/a"]
        assert session.ask("resources/read", {"uri": "ui://clock/view"})["result"]["contents"][0]["text"]
        check_rpc_error(session.ask("resources/read", {"uri": "file:///two/b"}), -32002, "unknown")
        check_rpc_error(
            session.ask("resources/read", {"uri": "ui://two.mcp-gateway/clock/view"}), -32002, "unknown"
        )
        gateway.key = "looks" * 16
        session = Mcp(gateway)
        assert listed(session, "prompts", "prompts", "name")[0] == "one__review"
        check_rpc_error(session.ask("prompts/get", {"name": "one__review"}), -32000, "refused", "call")
        check_problem(gateway.get("/api/resources/one?uri=file:///one/a"), 403, "refused", "call")


# -- a gateway behind a gateway -------------------------------------------------------------------------


def test_what_a_gateway_behind_the_gateway_keeps_is_read_through_both(
    directory: Path, tmp_path: Path
) -> None:
    with Gateway({"own": shelf(directory, "inner", SPECS["own"])}, tmp_path / "inner") as inner:
        inner.wait_for_state("own", "ready")
        servers = {"inner": {"url": f"http://127.0.0.1:{inner.port}/mcp"}}
        with Gateway(servers, tmp_path / "outer") as outer:
            outer.wait_for_state("inner", "ready")
            session = Mcp(outer)
            assert "own://large" in listed(session, "resources", "resources")
            # The inner one keeps it; the outer one sees a link of the other's own scheme, and marks it.
            result = session.call("inner__own__link", {"uri": "mcp-gateway://artifacts/x"})["result"]
            assert result["content"][0]["uri"] == "mcp-gateway://inner.mcp-gateway/artifacts/x"
            session.ask("resources/read", {"uri": "own://large"})
            inner_uri = inner.get("/api/resources").json()["resources"]
            assert [one["uri"] for one in inner_uri] == ["own://slow", "own://large"]
            kept = Mcp(inner).ask("resources/list")["result"]["resources"][-1]["uri"]
            assert kept.startswith("mcp-gateway://artifacts/")
            seen = kept.replace("mcp-gateway://", "mcp-gateway://inner.mcp-gateway/")
            for place, uri in ((session, seen), (native(outer, "inner"), kept)):
                part = place.ask("resources/read", {"uri": f"{uri}?offset=0&length=11"})["result"]
                assert part["contents"][0]["text"] == '{"contents"'
                assert part["contents"][0]["uri"] == f"{uri}?offset=0&length=11"
