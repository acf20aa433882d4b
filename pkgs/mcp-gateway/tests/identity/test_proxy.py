"""`trustedProxy`: a reverse proxy that signs people in and says in a header who they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Line
from tests.harness import Gateway
from tests.identity.recorded import NODE, URL
from tests.identity.visits import TRUSTED, Wire, caller, door, visit
from tests.strangers import NOBODY, need_root

HOST = b"Host: " + NODE
SECRET = "s" * 43


@contextmanager
def behind(tmp_path: Path, **proof: Any) -> Iterator[Gateway]:
    """A gateway behind a proxy that is known by this proof."""
    need_root()
    proxy = {"userHeader": "Remote-User", "operators": ["boss"], **proof}
    with Gateway({}, tmp_path, {"publicUrl": URL, "trustedProxy": proxy}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with behind(tmp_path_factory.mktemp("proxy"), uid=TRUSTED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def proxy(gateway: Gateway) -> Iterator[Wire]:
    with visit(TRUSTED, door(gateway)) as wire:
        yield wire


def test_who_the_proxy_names_is_who_asks(proxy: Wire) -> None:
    me = proxy.ask(
        HOST, b"Remote-User: alice", b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: https"
    ).json()
    assert (me["caller"], me["name"], me["rights"]) == ("proxy:alice", "alice", ["read", "call"])
    assert proxy.ask(HOST, b"REMOTE-USER: boss").json()["rights"] == ["read", "call", "operate"]
    assert caller(proxy.ask(HOST, "Remote-User: jürgen".encode())) == "proxy:jürgen"


@pytest.mark.parametrize(
    "named", [(), (b"Remote-User:",), (b"Remote-User: " + b"x" * 300,), (b"Remote-User: \xff",)]
)
def test_who_is_not_named_is_nobody(proxy: Wire, named: tuple[bytes, ...]) -> None:
    assert caller(proxy.ask(HOST, *named)) == "unauthenticated"


def test_two_names_are_refused(proxy: Wire) -> None:
    assert caller(proxy.ask(HOST, b"Remote-User: alice", b"Remote-User: boss")) == "invalid"
    assert caller(proxy.ask(HOST, b"Remote-User: alice", b"remote-user: alice")) == "invalid"


@pytest.mark.parametrize("name", ["=?utf-8?q?boss?=", "=?utf-8?b?Ym9zcw==?=", "Boss", "boss, alice"])
def test_a_name_is_taken_as_it_is_written(proxy: Wire, name: str) -> None:
    """Users choose their names in many a proxy; one that spells an operator in code is not the operator."""
    me = proxy.ask(HOST, b"Remote-User: " + name.encode()).json()
    assert (me["caller"], me["rights"]) == (f"proxy:{name}", ["read", "call"])


@pytest.mark.parametrize("line", [b"Remote_User: boss", b"X-Remote-User: boss", b"Remote-User-: boss"])
def test_other_headers_name_nobody(proxy: Wire, line: bytes) -> None:
    assert caller(proxy.ask(HOST, line)) == "unauthenticated"
    assert caller(proxy.ask(HOST, b"Remote-User: alice", line)) == "proxy:alice"


def test_a_proof_by_uid_is_asked_of_others_in_vain(gateway: Gateway) -> None:
    for uid in (0, NOBODY):
        with visit(uid, door(gateway)) as wire:
            assert caller(wire.ask(HOST, b"Remote-User: boss")) == "unauthenticated"


def test_where_two_proofs_are_named_both_must_hold(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    with behind(tmp_path / "gateway", uid=TRUSTED, secret=str(secret)) as gateway:
        boss, shown = b"Remote-User: boss", b"Mcp-Gateway-Proxy-Secret: " + SECRET.encode()
        with visit(TRUSTED, door(gateway)) as wire:
            assert caller(wire.ask(HOST, boss, shown)) == "proxy:boss"
            for wrong in ((), (shown + b"s",), (shown[:-1],), (b"Mcp-Gateway-Proxy-Secret:",)):
                assert caller(wire.ask(HOST, boss, *wrong)) == "unauthenticated"
            assert caller(wire.ask(HOST, boss, shown, shown)) == "invalid"
        with Line(gateway.port) as line:
            line.send(b"GET /api/me HTTP/1.1", HOST, boss, shown)
            assert caller(line.read()) == "unauthenticated"


def test_everybody_here_comes_from_loopback_so_that_is_no_address_of_a_proxy(tmp_path: Path) -> None:
    with behind(tmp_path, addresses=["192.0.2.0/24"]) as gateway, Line(gateway.port) as line:
        line.send(b"GET /api/me HTTP/1.1", HOST, b"Remote-User: boss", b"X-Forwarded-For: 192.0.2.1")
        assert caller(line.read()) == "unauthenticated"
