"""Through a real proxy: Caddy, run by another user, as a stand-in for `tailscale serve`, Funnel and others.

What the client wrote in the proxy's name does not survive, Host and Origin arrive, and event streams come
event by event. (tailscaled itself needs a tailnet to be tried on.)
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faces.knocking import Line, check_log
from tests.harness import Answer, Gateway, hostile, parse_events, until
from tests.identity.recorded import ALICE, BOSS, NODE, URL, user
from tests.identity.visits import TRUSTED, caller
from tests.strangers import LIMIT_S, need_root, open_directory

CADDYFILE = Path(__file__).with_name("Caddyfile")
UNPACKED = Path(__file__).parents[4] / ".caddy" / "usr" / "bin"
SITES = ("SERVE", "SERVE_UNIX", "TAGGED", "FUNNEL", "SIGNED_IN")
SECRET = "s" * 43
HOST = b"Host: " + NODE
FORGED = (
    *user(BOSS.encode()),
    b"Tailscale-App-Capabilities: {}",
    b"Remote-User: boss",
    b"Mcp-Gateway-Proxy-Secret: " + SECRET.encode(),
)


def need_caddy() -> str:
    """The program: the system's, or what `make test` has unpacked."""
    need_root("only root can run Caddy as another user")
    if found := shutil.which("caddy", path=os.pathsep.join((os.environ["PATH"], str(UNPACKED)))):
        return found
    missing = "Caddy is not here (make test unpacks it where it can)"
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass(frozen=True)
class Stage:
    """A gateway, and Caddy in front of it with one port for each site."""

    gateway: Gateway
    ports: dict[str, int]

    def ask(
        self, site: str, *headers: bytes, method: str = "GET", path: str = "/api/me", body: bytes = b""
    ) -> Answer:
        with Line(self.ports[site]) as line:
            sizes = (b"Content-Type: application/json", b"Content-Length: %d" % len(body)) if body else ()
            line.send(f"{method} {path} HTTP/1.1".encode(), HOST, *headers, *sizes, body=body)
            return line.read(method)

    def echo(self, site: str, text: str) -> Answer:
        body = json.dumps({"text": text}).encode()
        return self.ask(site, method="POST", path="/api/tools/good/echo", body=body)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    program = need_caddy()
    with ExitStack() as stack:
        directory = stack.enter_context(open_directory())
        secret = tmp_path_factory.mktemp("secret") / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        path = directory / "gateway.sock"
        settings = {
            "publicUrl": URL,
            "socket": str(path),
            "tailscale": {"identity": True, "uid": TRUSTED, "operators": [BOSS]},
            "trustedProxy": {
                "uid": TRUSTED,
                "secret": str(secret),
                "userHeader": "Remote-User",
                "operators": ["boss"],
            },
        }
        home = tmp_path_factory.mktemp("caddy")
        gateway = stack.enter_context(Gateway({"good": hostile("good")}, home / "gateway", settings))
        shutil.chown(path, group=TRUSTED)
        ports = dict(zip(SITES, _free_ports(len(SITES)), strict=True))
        environment = {"GATEWAY": gateway.port, "SOCKET": path, "SECRET": SECRET, **ports}
        log = stack.enter_context((home / "caddy.log").open("wb"))
        caddy = subprocess.Popen(
            [shutil.copy(program, directory), "run", "--config", "-", "--adapter", "caddyfile"],
            stdin=stack.enter_context(CADDYFILE.open("rb")),
            stdout=log,
            stderr=log,
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/nonexistent",
                **{k: str(v) for k, v in environment.items()},
            },
            cwd="/",
            user=TRUSTED,
            group=TRUSTED,
            extra_groups=[],
        )
        stack.enter_context(caddy)
        stack.callback(caddy.kill)
        stage = Stage(gateway, ports)

        def is_up() -> bool:
            assert caddy.poll() is None, (home / "caddy.log").read_text()
            return all(_answers(port) for port in ports.values())

        until(is_up, LIMIT_S, "Caddy listens", (home / "caddy.log").read_text)
        ready = '"ready"'
        until(
            lambda: ready in stage.ask("SERVE", path="/api/servers").body.decode(),
            LIMIT_S,
            "the server is up",
        )
        yield stage
        check_log(gateway)


def test_serve_names_its_user_and_nobody_else(stage: Stage) -> None:
    for site in ("SERVE", "SERVE_UNIX"):
        me = stage.ask(site).json()
        assert (me["caller"], me["name"], me["rights"]) == (
            f"tailscale:{ALICE}",
            "Ferris Büller",
            ["read", "call"],
        )
        assert caller(stage.ask(site, *FORGED)) == f"tailscale:{ALICE}"
        assert stage.echo(site, "through").text == "through"


def test_a_tagged_node_and_the_internet_are_nobody(stage: Stage) -> None:
    for site in ("TAGGED", "FUNNEL"):
        for forged in ((), FORGED[:-2], (b"Tailscale-Funnel-Request: ?0",)):
            assert caller(stage.ask(site, *forged)) == "unauthenticated"
        assert stage.echo(site, "through").code == "unauthenticated"
        assert stage.ask(site, path="/health").status == 200


def test_the_proxy_that_signs_in_names_its_user_and_nobody_else(stage: Stage) -> None:
    assert caller(stage.ask("SIGNED_IN")) == "proxy:alice"
    assert caller(stage.ask("SIGNED_IN", *FORGED)) == "proxy:alice"


@pytest.mark.parametrize(
    "lines",
    [
        # A proxy takes away what is named here, before or after it writes its own words.
        (b"Connection: close, Tailscale-Funnel-Request",),
        (b"Connection: close, Tailscale-User-Login, Tailscale-User-Name, Remote-User",),
        (
            b"Connection: Tailscale-Headers-Info, X-Forwarded-Host, Host",
            b"Tailscale-User-Login: boss@example.com",
        ),
        (b"Tailscale_User_Login: boss@example.com", b"Remote_User: boss"),
        (b"tailscale-user-login: boss@example.com", b"TAILSCALE-USER-LOGIN: boss@example.com"),
        (b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: rebind.test", b"Forwarded: for=127.0.0.1"),
        (b"X-Tailscale-User-Login: boss@example.com", b"X-Forwarded-User: boss"),
    ],
    ids=lambda lines: lines[0][:40].decode(),
)
def test_no_way_of_writing_it_gets_a_name_past_the_proxy(stage: Stage, lines: tuple[bytes, ...]) -> None:
    assert caller(stage.ask("SERVE", *lines)) == f"tailscale:{ALICE}"
    assert caller(stage.ask("SERVE_UNIX", *lines)) == f"tailscale:{ALICE}"
    assert caller(stage.ask("SIGNED_IN", *lines)) == "proxy:alice"
    for site in ("TAGGED", "FUNNEL"):
        assert caller(stage.ask(site, *lines)) == "unauthenticated"


def test_host_and_origin_arrive(stage: Stage) -> None:
    for site in ("SERVE", "SERVE_UNIX", "SIGNED_IN"):
        own = (b"Origin: " + URL.encode(), b"Sec-Fetch-Site: same-origin")
        assert stage.ask(site, *own).status == 200
        for foreign in (b"Origin: https://other.taile0fb4.ts.net:8448", b"Sec-Fetch-Site: same-site"):
            assert caller(stage.ask(site, foreign)) == "refused"
        with Line(stage.ports[site]) as line:
            line.send(b"GET /api/me HTTP/1.1", b"Host: rebind.test:8448")
            assert caller(line.read()) == "refused"


@pytest.mark.parametrize("site", ["SERVE", "SERVE_UNIX"])
def test_events_come_one_by_one(stage: Stage, site: str) -> None:
    """Each is caused only when the one before has been read: who gathers them would wait for ever."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.ports[site], timeout=LIMIT_S)
    try:
        connection.request(
            "GET", "/api/events", headers={"Host": NODE.decode(), "Accept": "text/event-stream"}
        )
        feed = connection.getresponse()
        assert feed.status == 200
        events = parse_events(feed)
        for number in range(3):
            called = stage.echo(site, f"{number}")
            ended = next(data for name, data in events if name == "call" and data.get("outcome") == "ok")
            assert ended["id"] == called.call_id
    finally:
        connection.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]
