"""Headers that name a user, from whoever is not the proxy (S06): every user of this machine, ours first.

The bytes are those that count when the proxy sends them (`test_tailscale.py`, `test_proxy.py`); only who
opened the connection differs.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Line, check_log
from tests.harness import Gateway
from tests.identity.recorded import BOSS, NODE, OVER_TCP, OVER_UNIX, URL, user
from tests.identity.visits import TRUSTED, Wire, caller, door, visit, wait_until_ready
from tests.strangers import NOBODY, Address, need_root, open_directory
from tests.test_serve import refuse, write

PROXY_UID = 23_456
FORGER = {"command": sys.executable, "args": ["-I", "-S", str(Path(__file__).with_name("forger.py"))]}
SETTINGS: dict[str, Any] = {
    "publicUrl": URL,
    "tailscale": {"identity": True, "uid": TRUSTED, "operators": [BOSS]},
    "trustedProxy": {"uid": PROXY_UID, "userHeader": "Remote-User", "operators": [BOSS]},
}
BY_TAILSCALE = (*OVER_TCP, *user(BOSS.encode()))
BY_PROXY = (b"Host: " + NODE, b"Remote-User: " + BOSS.encode())
PATHS = (
    "/api/me",
    "/api/servers",
    "/api/tools",
    "/api/calls",
    "/api/events",
    "/metrics",
    "/openapi.json",
    "/mcp",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    need_root()
    with open_directory() as directory:
        settings = SETTINGS | {"socket": str(directory / "gateway.sock")}
        with Gateway({"forger": FORGER}, tmp_path_factory.mktemp("forged"), settings) as gateway:
            # For everybody, as a careless operator may have it: the file is no proof of who came through.
            (directory / "gateway.sock").chmod(0o666)
            yield gateway
            check_log(gateway)


@pytest.fixture(scope="module")
def boss(gateway: Gateway) -> Iterator[Wire]:
    """A connection of tailscaled itself."""
    with visit(TRUSTED, door(gateway)) as wire:
        wait_until_ready(wire, *BY_TAILSCALE, servers=1)
        yield wire


def refused(tmp_path: Path, settings: dict[str, Any]) -> tuple[int, str]:
    config = write(tmp_path / "config.json", {"mcpServers": {}, "gateway": settings})
    return refuse(tmp_path, "--port", "0", "--config", str(config))


def doors(gateway: Gateway) -> list[Address]:
    return [door(gateway), str(gateway.gateway["socket"])]


def test_the_same_bytes_are_a_user_from_the_proxy_and_nobody_from_others(gateway: Gateway) -> None:
    for where in doors(gateway):
        for uid in (0, NOBODY, TRUSTED, PROXY_UID):
            with visit(uid, where) as wire:
                told = [caller(wire.ask(*head)) for head in (BY_TAILSCALE, BY_PROXY)]
            assert told == [
                f"tailscale:{BOSS}" if uid == TRUSTED else "unauthenticated",
                f"proxy:{BOSS}" if uid == PROXY_UID else "unauthenticated",
            ]


def test_no_route_takes_the_header_for_a_proof(gateway: Gateway) -> None:
    with visit(0, door(gateway)) as wire:
        for path in PATHS:
            for head in (BY_TAILSCALE, BY_PROXY):
                assert wire.ask(*head, path=path).status == 401, path
        answer = wire.ask(*BY_TAILSCALE, method="POST", path="/api/tools/forger/knock", body={})
        assert answer.code == "unauthenticated"


def test_a_server_of_ours_cannot_name_a_user(gateway: Gateway, boss: Wire) -> None:
    """The attack of security.md 0.4: what the gateway starts reaches its port and its socket like anybody."""
    for head in (BY_TAILSCALE, (*OVER_UNIX, *user(BOSS.encode())), BY_PROXY):
        lines = (b"GET /api/me HTTP/1.1", *head, b"Connection: close", b"", b"")
        data = b"\r\n".join(lines).decode("latin-1")
        for where in ({"port": gateway.port}, {"path": gateway.gateway["socket"]}):
            knocked = boss.ask(
                *BY_TAILSCALE, method="POST", path="/api/tools/forger/knock", body={"data": data, **where}
            )
            assert knocked.text.startswith("HTTP/1.1 401 "), knocked


def test_what_one_connection_has_proven_is_of_no_use_on_another(gateway: Gateway, boss: Wire) -> None:
    assert caller(boss.ask(*BY_TAILSCALE)) == f"tailscale:{BOSS}"
    with Line(gateway.port) as line:
        for _ in range(3):
            line.send(b"GET /api/me HTTP/1.1", *BY_TAILSCALE)
            assert caller(line.read()) == "unauthenticated"
            assert caller(boss.ask(*BY_TAILSCALE)) == f"tailscale:{BOSS}"


@pytest.mark.parametrize(
    "line",
    [
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Real-IP: 100.101.102.103",
        b"Forwarded: for=127.0.0.1;by=127.0.0.1",
        b"Mcp-Gateway-Proxy-Secret: ",
        b"Tailscale-Headers-Info: https://tailscale.com/s/serve-headers",
        b"Tailscale-App-Capabilities: {}",
        b"X-Remote-User: boss@example.com",
    ],
)
def test_nothing_else_that_is_sent_makes_up_for_the_proof(gateway: Gateway, line: bytes) -> None:
    with Line(gateway.port) as wire:
        for head in (BY_TAILSCALE, BY_PROXY):
            if line.split(b":")[0] not in {one.split(b":")[0] for one in head}:
                wire.send(b"GET /api/me HTTP/1.1", *head, line)
                assert caller(wire.read()) == "unauthenticated"


def test_one_proxy_does_not_speak_for_the_other(gateway: Gateway) -> None:
    """tailscaled passes on what it does not know: another proxy's header is then the client's own word."""
    with visit(TRUSTED, door(gateway)) as wire:
        assert caller(wire.ask(*OVER_TCP, b"Remote-User: " + BOSS.encode())) == "unauthenticated"
        assert caller(wire.ask(*BY_TAILSCALE, b"Remote-User: mallory")) == f"tailscale:{BOSS}"
        funnel = (*OVER_TCP, b"Tailscale-Funnel-Request: ?1", b"Remote-User: " + BOSS.encode())
        assert caller(wire.ask(*funnel)) == "unauthenticated"


def test_two_proxies_of_one_user_are_not_told_apart(tmp_path: Path) -> None:
    """So what Funnel passes on would count as the other's word: that is refused before the port opens."""
    same = SETTINGS | {"trustedProxy": {"uid": TRUSTED, "userHeader": "Remote-User"}}
    code, said = refused(tmp_path, same)
    assert (code, "`trustedProxy.uid` is also `tailscale.uid`" in said) == (2, True)


@pytest.mark.parametrize("place", ["tailscale", "trustedProxy"])
def test_the_gateways_own_user_proves_nothing_and_that_is_said(tmp_path: Path, place: str) -> None:
    """Every server runs as that user, and so could pass for the proxy."""
    settings = {name: dict(SETTINGS[name]) for name in ("tailscale", "trustedProxy")}
    settings[place]["uid"] = os.getuid()
    code, said = refused(tmp_path, {"publicUrl": URL, **settings})
    assert (code, f"gateway.{place}.uid: {os.getuid()} is the user that the gateway runs as" in said) == (
        2,
        True,
    )


def test_a_reload_does_not_make_the_own_user_a_proof_either(tmp_path: Path) -> None:
    need_root()
    with Gateway({}, tmp_path, dict(SETTINGS)) as gateway, visit(TRUSTED, door(gateway)) as wire:
        gateway.gateway = SETTINGS | {
            "tailscale": {"identity": True, "uid": os.getuid(), "operators": [BOSS]}
        }
        gateway.reconfigure()
        answer = wire.ask(*BY_TAILSCALE, method="POST", path="/api/reload")
        assert "is the user that the gateway runs as" in answer.json()["detail"], answer
        with Line(gateway.port) as line:
            line.send(b"GET /api/me HTTP/1.1", *BY_TAILSCALE)
            assert caller(line.read()) == "unauthenticated"
