"""The gateway's description of itself is valid, complete, and true; and its own mistakes are told as such.

That the answers of REST conform to it is held by `Api` in every test of `test_rest.py`.
"""

import re
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from openapi_spec_validator import OpenAPIV31SpecValidator

from mcp_gateway.config import load
from mcp_gateway.faces import rest
from mcp_gateway.faces.asgi import Application
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.gateway import Gateway
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery
from tests.faces.knocking import check_problem
from tests.harness import Answer

# product.md, "HTTP", as far as it is built.
PROMISED = {
    ("GET", "/api/servers"),
    ("GET", "/api/servers/{server}"),
    ("PATCH", "/api/servers/{server}"),
    ("POST", "/api/servers"),
    ("POST", "/api/servers/check"),
    ("DELETE", "/api/servers/{server}"),
    ("GET", "/api/servers/{server}/config"),
    ("POST", "/api/servers/{server}/restart"),
    ("GET", "/api/servers/{server}/logs"),
    ("GET", "/api/tools"),
    ("PATCH", "/api/tools"),
    ("GET", "/api/tools/{server}/{tool}"),
    ("PATCH", "/api/tools/{server}/{tool}"),
    ("POST", "/api/tools/{server}/{tool}"),
    ("POST", "/tools/{server}/{tool}"),
    ("GET", "/tools/openapi.json"),
    ("GET", "/tools/{server}/openapi.json"),
    ("GET", "/api/files/{ticket}"),
    ("GET", "/api/resources"),
    ("GET", "/api/resources/{server}"),
    ("GET", "/api/prompts"),
    ("POST", "/api/prompts/{server}/{prompt}"),
    ("GET", "/api/calls"),
    ("GET", "/api/calls/export"),
    ("GET", "/api/calls/{id}"),
    ("GET", "/api/stats"),
    ("DELETE", "/api/calls/{id}"),
    ("GET", "/api/artifacts/{id}"),
    ("HEAD", "/api/artifacts/{id}"),
    ("GET", "/api/events"),
    ("POST", "/api/reload"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/sessions"),
    ("DELETE", "/api/sessions/{id}"),
    ("GET", "/api/me"),
    ("POST", "/api/sign-in"),
    ("POST", "/api/sign-out"),
    ("GET", "/api/keys"),
    ("POST", "/api/keys"),
    ("DELETE", "/api/keys/{id}"),
    ("GET", "/metrics"),
    ("GET", "/api/connect"),
    ("GET", "/api/openwebui/connection"),
    ("POST", "/api/openwebui/check"),
    ("POST", "/api/openwebui/connections"),
    ("GET", "/api/openwebui/functions"),
    ("GET", "/api/openwebui/functions/{server}.py"),
    ("POST", "/api/openwebui/functions/{server}/link"),
    ("GET", "/api/access"),
    ("GET", "/api/sign-ins"),
    ("DELETE", "/api/sign-ins/{id}"),
}
PUBLIC = {
    *(("GET", "/health"), ("GET", "/ready"), ("POST", "/api/sign-in")),
    *(("GET", "/api/files/{ticket}"), ("GET", "/api/openwebui/functions/{server}.py")),
}
FOR_BROWSERS = {"/", "/docs", "/manifest.webmanifest", "/sw.js"}  # and what is below /ui/
# What only some operations can answer: of a server, of a list of keys, of a disk.
OF_A_SERVER = {"/api/tools", "/api/resources", "/api/prompts", "/api/connect"} | {
    f"/api/openwebui/{name}" for name in ("connection", "check", "connections", "functions")
}
MORE = {
    "read_resource": {"409", "502", "503", "504"},
    "get_prompt": {"409", "502", "503", "504"},
    "call_tool": {"409", "502", "503", "504"},
    "call_tool_over_http": {"409", "422", "502", "503", "504"},
    "read_file": {"401", "409", "416", "429", "502", "503", "504"},
    "check_servers": {"503"},
    "add_servers": {"409", "503"},
    "remove_server": {"409", "503"},
    "create_key": {"409", "503"},
    "revoke_key": {"409", "503"},
    "connect_open_webui": {"409", "502", "503", "504"},
    "sign_in": {"401", "429", "503"},
    "get_functions": {"401", "429"},
}
# Where a word of our own stands in the place of an id, and these methods take it for one.
OF_AN_ID = {"/api/calls/export": {"DELETE"}, "/api/servers/check": {"GET", "PATCH", "DELETE"}}
OF_AN_ID |= {"/tools/{server}/openapi.json": {"POST"}}
RIGHTS = {"read", "call", "operate", "exec", "admin"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that was made and never started."""
    store = Store.open(tmp_path / "state")
    try:
        yield Gateway(load.empty(), store, Nursery("test", {}), {}, tmp_path)
    finally:
        await store.close()


def scope_of(method: str, path: str) -> dict[str, Any]:
    """A request of the local operator, as the web server tells it."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
    }


async def ask(application: Application, method: str, path: str) -> Answer:
    """One request without a socket, and what a client would get to read."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if sent and message["type"] == "http.response.start":
            raise RuntimeError("an answer has begun already")  # what the web server says, too
        sent.append(message)

    await application(scope_of(method, path), receive, send)
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert all(part["type"] == "http.response.body" for part in parts)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(part.get("body", b"") for part in parts))


async def described(gateway: Gateway) -> dict[str, Any]:
    answer = await ask(Application(gateway), "GET", "/openapi.json")
    assert answer.status == 200
    document: dict[str, Any] = answer.json()
    return document


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


async def test_the_description_is_valid(gateway: Gateway) -> None:
    document = await described(gateway)
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


async def test_everything_promised_is_described_and_nothing_else(gateway: Gateway) -> None:
    assert set(operations(await described(gateway))) == PROMISED


async def test_every_route_there_is_is_described(gateway: Gateway) -> None:
    known = set(operations(await described(gateway)))
    routes = [
        route
        for route in rest.build(gateway, Sessions()).routes
        if getattr(route, "path", "") != "/openapi.json"
    ]
    for route in routes:
        assert isinstance(route, APIRoute), f"a route that no description knows: {route}"
        for method in route.methods or ():
            if route.path not in FOR_BROWSERS and not route.path.startswith("/ui/"):
                assert (method, re.sub(r"\{(\w+):path\}", r"{\1}", route.path)) in known


async def test_every_operation_tells_its_answers_and_what_can_go_wrong(gateway: Gateway) -> None:
    document = await described(gateway)
    for (method, path), operation in operations(document).items():
        answers = operation["responses"]
        assert [status for status in answers if status.startswith("2")]
        if path != "/tools/{server}/{tool}":
            assert "422" not in answers  # the framework's own error, which is never answered
        expected = {"400", "403", "500"}
        expected |= set() if (method, path) in PUBLIC else {"401", "429"}
        expected |= {"404"} if "{" in path or path in OF_A_SERVER else set()
        expected |= {"413", "415"} if "requestBody" in operation else set()
        expected |= {"416"} if path.startswith("/api/artifacts/") else set()
        expected |= MORE.get(operation["operationId"], set())
        if path == "/ready":  # stopping is no problem, and told in the same shape
            assert answers["503"]["content"] == answers["200"]["content"]
            expected.add("503")
        assert {status for status in answers if status >= "400"} == expected, path
        for status in expected - ({"503"} if path == "/ready" else set()):
            assert answers[status]["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_every_operation_asks_for_a_credential_but_the_public_ones(gateway: Gateway) -> None:
    document = await described(gateway)
    schemes = {"key", "signIn", "console"}
    assert document["components"]["securitySchemes"].keys() == schemes
    for place, operation in operations(document).items():
        asked = operation["security"]
        if place in PUBLIC:
            assert asked == [], place
            continue
        # Any one of them, with one of the rights; or nothing, where the gateway asks nobody.
        assert asked[-1] == {}, place
        # Which no key holds.
        taken = schemes - ({"key"} if "`exec`" in operation.get("description", "") else set())
        assert {name for credential in asked for name in credential} == taken, place
        roles = {right for credential in asked for rights in credential.values() for right in rights}
        assert roles <= RIGHTS, place
        assert all(f"`{right}`" in operation["description"] for right in roles), place
        # Whoever is somebody may ask who that is, and be it no more.
        assert roles or place in {("GET", "/api/me"), ("POST", "/api/sign-out")}


async def test_everything_described_has_words_for_a_reader(gateway: Gateway) -> None:
    document = await described(gateway)
    told = operations(document)
    ids = [operation["operationId"] for operation in told.values()]
    assert len(ids) == len(set(ids))
    assert document["info"]["description"]
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for place, operation in told.items():
        assert operation["summary"], place
        assert re.fullmatch(r"[a-z_]+", operation["operationId"]), place
        assert set(operation["tags"]) <= tags, place
        for parameter in operation["parameters"]:
            assert parameter["description"], (place, parameter)
            assert "anyOf" not in parameter["schema"], (place, parameter)  # nothing in an address is null
    assert tags == {tag for operation in told.values() for tag in operation["tags"]}


async def test_the_hot_route_is_described_with_its_three_ways(gateway: Gateway) -> None:
    call = operations(await described(gateway))["POST", "/api/tools/{server}/{tool}"]
    assert call["requestBody"]["content"].keys() == {"application/json"}
    assert call["responses"]["200"]["content"].keys() == {"application/json", "text/event-stream"}
    assert "Location" in call["responses"]["202"]["headers"]
    names = {parameter["name"] for parameter in call["parameters"]}
    assert names == {"server", "tool", "timeout", "Prefer", "X-Session-Id"}


async def test_a_method_that_a_path_does_not_take_is_answered_with_those_it_takes(gateway: Gateway) -> None:
    application = Application(gateway)
    for path, item in (await described(gateway))["paths"].items():
        taken = {method.upper() for method in item}
        others = {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} - taken
        for method in others - OF_AN_ID.get(path, set()):
            answer = await ask(application, method, path.replace("{", "").replace("}", ""))
            check_problem(answer, 405, "invalid", *taken)
            assert set(answer.headers["allow"].split(", ")) == taken, path


@pytest.mark.parametrize(
    ("method", "path", "broken"),
    [
        ("GET", "/api/servers", "list_servers"),
        ("GET", "/", "list_servers"),
        ("GET", "/ready", "states"),
        ("POST", "/api/tools/a/b", "open_call"),
        ("POST", "/servers/a/mcp", "has_server"),
    ],
)
async def test_a_mistake_of_ours_is_one_internal_problem_that_tells_no_secret(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, method: str, path: str, broken: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("canary-2b7e")

    monkeypatch.setattr(gateway, broken, fail)
    answer = await ask(Application(gateway), method, path)
    check_problem(answer, 500, "internal", "mistake")
    assert b"canary" not in answer.body
