"""A gateway with a real proxy in front of it: Caddy, run by another user, plays tailscaled and others.

For the tests of what a proxy may say, and for browsers that come through one.
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.faces.knocking import Line, check_log
from tests.harness import Answer, Gateway, hostile, until
from tests.identity.recorded import BOSS, NODE, URL
from tests.identity.visits import TRUSTED
from tests.strangers import LIMIT_S, need_root, open_directory

CADDYFILE = Path(__file__).with_name("Caddyfile")
UNPACKED = Path(__file__).parents[4] / ".caddy" / "usr" / "bin"
SITES = ("SERVE", "SERVE_TLS", "SERVE_UNIX", "TAGGED", "FUNNEL", "SIGNED_IN")
SECRET = "s" * 43
HOST = b"Host: " + NODE


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


@contextmanager
def behind_caddy(home: Path) -> Iterator[Stage]:
    """Both running, the server ready; `home` is for what they write. Needs root and Caddy, or skips."""
    program = need_caddy()
    with ExitStack() as stack:
        directory = stack.enter_context(open_directory())
        secret = home / "secret"
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
        certificate = directory / "certificate.pem"
        certificate.write_bytes(_certificate(NODE.decode().partition(":")[0]))
        certificate.chmod(0o600)
        shutil.chown(certificate, TRUSTED)
        gateway = stack.enter_context(Gateway({"good": hostile("good")}, home / "gateway", settings))
        shutil.chown(path, group=TRUSTED)
        ports = dict(zip(SITES, _free_ports(len(SITES)), strict=True))
        environment = {
            "GATEWAY": gateway.port,
            "SOCKET": path,
            "SECRET": SECRET,
            "CERTIFICATE": certificate,
            **ports,
        }
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


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def _certificate(name: str) -> bytes:
    """A key and a certificate of its own for an hour, which a browser has to be told to believe."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain) + made.public_bytes(
        serialization.Encoding.PEM
    )
