"""S01: every route of every face asks who is there, and for the rights that its policy names.

The table is what the faces declare (`faces.routing.policies`, `faces.asgi.HOT`); what really answers is asked
of the real command. CVE-2026-48710 (BadHost, the first half of LiteLLM CVE-2026-42271) and nginx-ui
CVE-2026-33032 (one forgotten MCP endpoint) are its regressions.
"""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from mcp_gateway.access.caller import Right
from mcp_gateway.config import load
from mcp_gateway.faces import rest, routing
from mcp_gateway.faces.asgi import HOT
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.gateway import Gateway as Inside
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery
from tests.faces.knocking import Line, check_log, check_problem
from tests.harness import Answer, hostile
from tests.security.cast import PUBLIC_NAME, RIGHTS, Guarded, status_of, wait_ready

Routes = dict[tuple[str, str], tuple[Right, ...]]

# What anybody may ask. Whoever adds a line here opens a door.
PUBLIC = frozenset(
    {(method, path) for method in ("GET", "HEAD") for path in ("/health", "/ready")}
    | {("GET", "/api/openwebui/functions/{server}.py")}  # a ticket is asked for
    | {("POST", "/api/sign-in"), ("POST", "/ui/sign-in"), ("POST", "/ui/sign-out")}
    | {("GET", "/ui/static/{version}/{name:path}"), ("POST", "/ui/csp-reports")}
    | {("GET", "/manifest.webmanifest"), ("GET", "/sw.js"), ("GET", "/ui/offline")}
    | {("GET", f"/ui/icons/{name}") for name in ("icon.svg", "icon-192.png", "icon-512.png", "wide.png")}
    | {("GET", f"/ui/icons/{name}") for name in ("maskable-512.png", "apple-touch-180.png", "favicon-32.png")}
    | {("GET", "/ui/icons/narrow.png")}
    | {("GET", "/api/files/{ticket}")}  # a link that is its own right
)
# About whoever asks, so no right is asked for; but somebody they have to be.
OF_ANYBODY = frozenset({("GET", "/api/me"), ("POST", "/api/sign-out"), ("GET", "/ui/{path:path}")})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# Where gateways of this kind have had doors, or ours may have one some day.
ELSEWHERE = (
    "/redoc",
    "/api",
    "/api/",
    "/admin",
    "/debug",
    "/static/app.js",
    "/ui",
    "/ui/",
    "/ui/servers/",
    "/ui/static/",
    "/ui/static/app.css",
    "/ui//static/x/app.css",
    "//ui/static/x/app.css",
    "/ui/sign-in/",
    "/ui/api/servers",
    "/mcp/",
    "/mcp/sse",
    "/mcp/message",
    "/sse",
    "/messages",
    "/servers",
    "/servers/nothing/sse",
    "/servers/nothing/message",
    "/tools",
    "/api/config",
    "/api/openwebui/functions",
    "/api/sessions",
    "/api/sign-out",
    "/mcp-rest/test/connection",
    "/mcp-connect/nothing",
    "/healthz",
    "/health/",
    "/ready/",
    "/metrics/",
    "/.well-known/mcp",
    "/u/admin/mcp",
    "/register",
    "/oauth/token",
    "/v1/chat/completions",
    "/nothing",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys = {right: {"rights": [right]} for right in RIGHTS}
    directory = tmp_path_factory.mktemp("routes")
    settings = {"publicUrl": f"https://{PUBLIC_NAME}", "limits": {"rate": 100_000}}
    with Guarded({"good": hostile("good")}, directory, settings, keys=keys) as gateway:
        wait_ready(gateway, "good")
        yield gateway
        check_log(gateway)


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    """A gateway that was made and never started: its routes are there."""
    store = Store.open(tmp_path / "state")
    try:
        yield Inside(load.empty(), store, Nursery("test", {}), {}, tmp_path)
    finally:
        await store.close()


@pytest.fixture
def routes(inside: Inside) -> Routes:
    return table(rest.build(inside, Sessions()))


def table(app: FastAPI) -> Routes:
    return routing.policies(app) | {key: tuple(rights) for key, rights in HOT.items()}


def filled(path: str) -> str:
    """A path of the table with names that nobody has."""
    names = ("server", "tool:path", "prompt:path", "tool", "id", "path:path", "version", "name:path")
    for part in (f"{{{name}}}" for name in (*names, "ticket")):
        path = path.replace(part, "nothing")
    assert "{" not in path, f"say here what stands for the parameter in {path}"
    return path


def is_one_of(path: str, template: str) -> bool:
    """Whether a path is one of a template of the table; a word of our own may stand where an id may."""
    pattern = re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\w+:path\}", ".+", template))
    return re.fullmatch(pattern, path) is not None


def test_S01_no_route_is_without_a_policy(inside: Inside, routes: Routes) -> None:
    assert len(routes) > 20
    for key, rights in routes.items():
        assert rights or key in PUBLIC | OF_ANYBODY, f"{key} asks for no right"

    async def forgotten() -> None:
        """A route as somebody might add it in a hurry."""

    ways: list[Any] = [
        lambda app: app.add_api_route("/x", forgotten),
        lambda app: app.add_route("/x", forgotten),
        lambda app: app.add_api_websocket_route("/x", forgotten),
        lambda app: app.mount("/x", FastAPI()),
        lambda app: app.mount("/static", StaticFiles(directory=Path(__file__).parent)),
    ]
    for add in ways:
        app = rest.build(inside, Sessions())
        add(app)
        with pytest.raises(LookupError, match="policy"):
            routing.policies(app)


def test_S01_what_is_not_in_the_table_does_not_answer(gateway: Guarded, routes: Routes) -> None:
    paths = {filled(path) for _, path in routes}
    for path in (*paths, *ELSEWHERE):
        for method in METHODS:
            if any(method == known and is_one_of(path, template) for known, template in routes):
                continue
            status = status_of(gateway, method, path, {})
            assert status in (404, 405), f"{method} {path} answers {status} and is in no table"


def test_S01_what_is_in_the_table_answers(gateway: Guarded, routes: Routes) -> None:
    for method, path in routes:
        with gateway.open(method, filled(path), {}) as response:
            assert response.status != 405, f"{method} {path} does not answer"
            if (
                response.status == 404 and method != "HEAD"
            ):  # of the thing that is asked for, not of the route
                assert response.read() not in (b"", b"Not Found"), path


def test_S01_without_an_identity_everything_is_401_but_the_public_list(
    gateway: Guarded, routes: Routes
) -> None:
    public = {(method, filled(path)) for method, path in PUBLIC}
    for path in {filled(path) for _, path in routes} | set(ELSEWHERE) | {path for _, path in public}:
        for method in METHODS:
            status = status_of(gateway.nobody, method, path, {})
            if (method, path) in public:
                assert status not in (401, 403, 500), f"{method} {path} is public and answers {status}"
            else:
                assert status == 401, f"{method} {path} answers {status} to nobody"


def test_S01_what_is_public_tells_nothing_of_what_is_behind_it(gateway: Guarded) -> None:
    pages = [(path, 401) for path in ("/", "/ui/servers", "/ui/servers/good", "/ui/no-such", "/ui/")]
    for path, status in (*pages, ("/health", 200), ("/ready", 200)):
        answer = gateway.nobody.request("GET", path, headers={"Accept": "text/html"})
        assert answer.status == status, answer
        assert (b"<form" in answer.body) is (status == 401)
        assert b"good" not in answer.body.replace(path.encode(), b"")  # which was asked for
        assert str(gateway.directory).encode() not in answer.body


@pytest.mark.parametrize("right", RIGHTS)
def test_S01_one_right_alone_opens_what_its_policy_says(gateway: Guarded, routes: Routes, right: str) -> None:
    caller = gateway.as_(right)
    for (method, path), rights in routes.items():
        status = status_of(caller, method, filled(path), {})
        if rights and right not in {one.value for one in rights}:
            assert status == 403, f"{method} {path} answers {status} to `{right}`, and asks for {rights}"
        else:
            assert status not in (401, 403, 500), f"{method} {path} answers {status} to `{right}`"


@pytest.mark.parametrize(
    "credential",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer null",
        "Basic YWRtaW46YWRtaW4=",
        "bearer mgk_full_",
        "Bearer mgk_full_ mgk_full_",
        "Token x",
        "Bearer " + "x" * 5_000,
        "",
    ],
    ids=lambda text: text[:20],
)
def test_S01_a_credential_that_is_wrong_is_401_also_where_none_is_needed(
    gateway: Guarded, credential: str
) -> None:
    for path in ("/health", "/api/servers", "/mcp", "/nothing"):
        answer = gateway.nobody.request("GET", path, headers={"Authorization": credential})
        check_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_S20_a_key_is_taken_from_one_header_and_from_nowhere_else(gateway: Guarded) -> None:
    text = gateway.texts["full"]
    for path in (f"/api/servers?key={text}", f"/api/servers?access_token={text}", f"/api/servers/{text}"):
        assert gateway.nobody.get(path).status == 401
    for name in ("X-API-Key", "Api-Key", "X-Auth-Token", "Proxy-Authorization", "Mcp-Session-Id", "Cookie"):
        for value in (text, f"Bearer {text}", f"key={text}"):
            assert gateway.nobody.request("GET", "/api/servers", headers={name: value}).status == 401


# -- BadHost --------------------------------------------------------------------------------------------

BAD_HOSTS = (
    b"x/health?",
    b"x/health#",
    b"x/health?x=",
    b"x/static/#",
    b"localhost/health?",
    b"localhost/health#",
    b"localhost:80/ready?",
    b"gw.example.test/health?",
    b"gw.example.test/?",
    b"gw.example.test/api/sign-in?",
    b"gw.example.test#/health",
    b"gw.example.test\\health",
    b"gw.example.test/health;",
)


def judged(answer: Answer, what: object) -> None:
    assert answer.status in (400, 401, 403, 404), f"{what}: {answer}"
    assert b'"servers"' not in answer.body


@pytest.mark.parametrize("host", BAD_HOSTS, ids=lambda host: host.decode())
def test_CVE_2026_48710_a_host_does_not_choose_the_route(
    gateway: Guarded, routes: Routes, host: bytes
) -> None:
    with Line(gateway.port) as line:
        for method, path in routes:
            if (method, path) in PUBLIC:
                continue
            length = (b"Content-Type: application/json", b"Content-Length: 2") if method != "HEAD" else ()
            start = f"{method} {filled(path)} HTTP/1.1".encode()
            line.send(start, b"Host: " + host, *length, body=b"{}" if length else b"")
            judged(line.read(method), (method, path))


TARGETS = (
    b"//health/../api/servers",
    b"/health/../api/servers",
    b"/health/..%2fapi/servers",
    b"/health/%2e%2e/api/servers",
    b"/%2e%2e/api/servers",
    b"/./api/servers",
    b"//api/servers",
    b"/api//servers",
    b"/api/servers/",
    b"/api/servers;/health",
    b"/api/servers?/health",
    b"/api/servers%3f/health",
    b"/api/servers%23/health",
    b"/%61pi/servers",
    b"/API/servers",
    b"/api/%73ervers",
    b"/api%2fservers",
    b"/health%2f..%2fapi%2fservers",
    b"/health%00/api/servers",
    b"/health;/api/servers",
    b"/health/",
    b"//health",
    b"/%68ealth",
    b"/health%20",
    b"/mcp/..%2fhealth",
    b"/servers/good/mcp",
    b"/servers/good%2fmcp",
    b"/%6dcp",
    b"http://localhost/api/servers",
    b"http://localhost/api/servers?/health",
    b"http://x/health/../api/servers",
    b"http://localhost:80/health/%2e%2e/api/servers",
    b"https://gw.example.test/api/servers",
    b"http:/api/servers",
    b"*",
    b"localhost:80",
)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.decode())
def test_CVE_2026_48710_no_spelling_of_a_path_is_public(gateway: Guarded, target: bytes) -> None:
    for host in (b"localhost", PUBLIC_NAME.encode(), b"x/health?"):
        for method in (b"GET", b"POST"):
            start = b"%b %b HTTP/1.1" % (method, target)
            kind = b"Content-Type: application/json"
            judged(gateway.nobody.knock(start, b"Host: " + host, kind, b"Content-Length: 0"), host)


def test_CVE_2026_48710_the_whole_address_in_a_target_is_read_as_its_path(gateway: Guarded) -> None:
    # A Host that is ours beside a target that names another: the path decides, as for everybody else.
    health = gateway.nobody.get("/health")
    for target in (b"http://x/health", b"http://localhost/health?/api/servers", b"http://x/health#/api"):
        answer = gateway.nobody.knock(b"GET %b HTTP/1.1" % target, b"Host: localhost")
        assert answer.status == 400 or answer.body == health.body, answer


def test_S01_no_header_changes_the_method(gateway: Guarded) -> None:
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        for method in ("PATCH", "DELETE"):
            answer = gateway.as_("read").request("GET", "/api/servers/good", headers={name: method})
            assert answer.status == 200
            assert answer.json()["state"] == "ready"
