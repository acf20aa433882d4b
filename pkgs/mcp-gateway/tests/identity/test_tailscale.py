"""Users of the tailnet: who `tailscale serve` says is asking (the cases of S07), and what they may do (S08).

The process that plays tailscaled is of another user, and the gateway is told which. What it says counts; how
it can be imitated is in `test_forged.py`.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Gateway, hostile
from tests.identity import recorded
from tests.identity.recorded import (
    ALICE,
    BOSS,
    CAPABILITY,
    JURGEN,
    NODE,
    OVER_TCP,
    OVER_UNIX,
    URL,
    granted,
    user,
)
from tests.identity.visits import TRUSTED, Wire, caller, door, visit, wait_until_ready
from tests.strangers import need_root, open_directory

SERVERS = {"good": hostile("good"), "other": hostile("good")}
TAILSCALE = {"identity": True, "uid": TRUSTED, "operators": [BOSS, JURGEN]}


@pytest.fixture(scope="module")
def socket_path() -> Iterator[Path]:
    need_root()
    with open_directory() as directory:
        yield directory / "gateway.sock"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, socket_path: Path) -> Iterator[Gateway]:
    settings = {"publicUrl": URL, "tailscale": TAILSCALE, "socket": str(socket_path)}
    with Gateway(SERVERS, tmp_path_factory.mktemp("tailscale"), settings) as gateway:
        shutil.chown(socket_path, group=TRUSTED)  # as the operator of a machine lets tailscaled in
        yield gateway


@pytest.fixture(scope="module")
def serve(gateway: Gateway) -> Iterator[Wire]:
    """A connection of tailscaled to the port."""
    with visit(TRUSTED, door(gateway)) as wire:
        wait_until_ready(wire, *OVER_TCP, *user(), servers=len(SERVERS))
        yield wire


@pytest.fixture(scope="module")
def serve_unix(gateway: Gateway, socket_path: Path) -> Iterator[Wire]:
    """A connection of tailscaled to the unix socket."""
    with visit(TRUSTED, str(socket_path)) as wire:
        yield wire


# -- the five cases -------------------------------------------------------------------------------------


def test_a_user_of_the_tailnet_reads_and_calls(serve: Wire) -> None:
    head = (*OVER_TCP, *user())
    me = serve.ask(*head).json()
    assert (me["caller"], me["name"]) == (f"tailscale:{ALICE}", "Alice Architect")
    assert me["rights"] == ["read", "call"]
    called = serve.ask(*head, method="POST", path="/api/tools/good/echo", body={"text": "hello"})
    assert called.text == "hello"
    [row] = serve.ask(*head, path="/api/calls?tool=echo&limit=1").json()["calls"]
    assert (row["caller"], row["right"]) == (f"tailscale:{ALICE}", "call")


def test_who_is_no_operator_switches_nothing(serve: Wire) -> None:
    for login, status in ((ALICE, 403), (BOSS, 200)):
        head = (*OVER_TCP, *user(login.encode()))
        switched = serve.ask(*head, method="PATCH", path="/api/servers/other", body={"enabled": True})
        assert switched.status == status, switched
    head = (*OVER_TCP, *user(BOSS.encode()))
    assert serve.ask(*head).json()["rights"] == ["read", "call", "operate"]
    # What is given to nobody by being named: keys are made by who stands at the console.
    assert serve.ask(*head, path="/api/keys").status == 403


def test_a_tagged_node_is_nobody(serve: Wire, serve_unix: Wire) -> None:
    assert caller(serve.ask(*OVER_TCP, *recorded.TAGGED)) == "unauthenticated"
    assert caller(serve_unix.ask(*OVER_UNIX, *recorded.TAGGED)) == "unauthenticated"


@pytest.mark.parametrize(
    "more", [(), user(), user(BOSS.encode())], ids=["alone", "with-a-user", "with-an-operator"]
)
def test_funnel_is_the_internet_whatever_else_it_says(
    serve: Wire, serve_unix: Wire, more: recorded.Head
) -> None:
    assert caller(serve.ask(*OVER_TCP, *recorded.FUNNEL, *more)) == "unauthenticated"
    assert caller(serve_unix.ask(*OVER_UNIX, *recorded.FUNNEL, *more)) == "unauthenticated"
    # Nor does a mark with another value: a version to come may have more to say.
    assert caller(serve.ask(*OVER_TCP, b"Tailscale-Funnel-Request: ?0", *more)) == "unauthenticated"


def test_names_beyond_ascii_are_decoded(serve: Wire) -> None:
    me = serve.ask(*OVER_TCP, *recorded.ENCODED).json()
    assert (me["caller"], me["name"]) == (f"tailscale:{JURGEN}", "Ferris Büller")
    assert "operate" in me["rights"]
    assert serve.ask(*OVER_TCP, *recorded.LONG_NAME).json()["name"] == "ü" * 20


@pytest.mark.parametrize(
    "login",
    [
        b"=?utf-8?q?boss=40example.com?=",
        b"=?us-ascii?b?Ym9zc0BleGFtcGxlLmNvbQ==?=",
        b"=?utf-8?q?boss?=@example.com",
        b"BOSS@example.com",
        b"boss@example.com.",
        b'"boss@example.com"',
    ],
)
def test_what_only_decodes_to_an_operator_is_none(serve: Wire, login: bytes) -> None:
    """tailscaled encodes nothing that is ASCII, so what looks like it is a name that somebody chose."""
    me = serve.ask(*OVER_TCP, *user(login)).json()
    assert me["caller"] == f"tailscale:{login.decode()}"
    assert me["rights"] == ["read", "call"]


@pytest.mark.parametrize(
    "login",
    [b"", b"  ", b"x" * 300, b"=?utf-8?q?=C3?=", b"=?utf-9?q?=C3=BC?=", b"=?utf-8?q?=0A=C3=BC?="],
)
def test_a_name_that_is_none_is_nobody(serve: Wire, login: bytes) -> None:
    assert caller(serve.ask(*OVER_TCP, *user(login))) == "unauthenticated"


def test_on_tcp_the_host_is_the_one_of_the_node(serve: Wire) -> None:
    who = user()
    page = (b"Origin: " + URL.encode(), b"Sec-Fetch-Site: same-origin")
    assert caller(serve.ask(*OVER_TCP, *who, *page)) == f"tailscale:{ALICE}"
    for host in (b"edge.taile0fb4.ts.net", b"edge:8448", b"evil.taile0fb4.ts.net:8448", b"rebind.test:8448"):
        assert caller(serve.ask(b"Host: " + host, *OVER_TCP[1:], *who)) == "refused"
        # What a client writes there is not looked at on TCP, where the Host is its own.
        assert caller(serve.ask(b"Host: " + host, b"X-Forwarded-Host: " + NODE, *who)) == "refused"


@pytest.mark.parametrize(
    "origin",
    [
        b"https://other.taile0fb4.ts.net:8448",
        b"https://edge.taile0fb4.ts.net:8444",
        b"https://evil.test",
        b"null",
    ],
)
def test_other_pages_of_the_tailnet_are_of_another_origin(
    serve: Wire, serve_unix: Wire, origin: bytes
) -> None:
    """Every node of a tailnet is the same site, and every port of a node shares its cookies (nix.md 3.3)."""
    for wire, way in ((serve, OVER_TCP), (serve_unix, OVER_UNIX)):
        assert caller(wire.ask(*way, *user(), b"Origin: " + origin)) == "refused"
        assert caller(wire.ask(*way, *user(), b"Sec-Fetch-Site: same-site")) == "refused"


def test_on_a_unix_socket_the_forwarded_host_is_the_one_of_the_node(serve_unix: Wire) -> None:
    who = user()
    page = (b"Origin: " + URL.encode(), b"Sec-Fetch-Site: same-origin")
    assert caller(serve_unix.ask(*OVER_UNIX, *who, *page)) == f"tailscale:{ALICE}"
    for host in (b"rebind.test:8448", b"edge.taile0fb4.ts.net", NODE + b", " + NODE, b""):
        assert caller(serve_unix.ask(b"Host: localhost", b"X-Forwarded-Host: " + host, *who)) == "refused"
    assert caller(serve_unix.ask(b"Host: rebind.test", b"X-Forwarded-Host: " + NODE, *who)) == "refused"


@pytest.mark.parametrize(
    "line",
    [
        b"Tailscale-User-Login: " + BOSS.encode(),
        b"Tailscale-User-Name: Boss",
        b"tailscale-user-login: " + ALICE.encode(),
        b"X-Forwarded-Host: " + NODE,
        b"Host: " + NODE,
    ],
)
def test_a_header_that_comes_twice_is_refused(serve: Wire, line: bytes) -> None:
    """Which of the two counts is what two programs disagree about."""
    assert caller(serve.ask(*OVER_TCP, *user(), line)) == "invalid"


def test_marks_that_come_twice_are_refused(serve: Wire) -> None:
    for line in (*recorded.FUNNEL, *granted(b"{}")):
        assert caller(serve.ask(*OVER_TCP, *user(), line, line)) == "invalid"


# -- app capabilities -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def granting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """tailscaled, at a gateway that goes by what the policy of the tailnet grants."""
    need_root()
    settings = {"publicUrl": URL, "tailscale": TAILSCALE | {"capability": CAPABILITY}}
    with (
        Gateway(SERVERS, tmp_path_factory.mktemp("capabilities"), settings) as gateway,
        visit(TRUSTED, door(gateway)) as wire,
    ):
        wait_until_ready(wire, *OVER_TCP, *user(BOSS.encode()), servers=len(SERVERS))
        yield wire


def capabilities(*grants: Any, name: str = CAPABILITY) -> recorded.Head:
    return granted(json.dumps({name: grants}).encode())


def sees(wire: Wire, *headers: bytes) -> tuple[list[str], set[str]]:
    """The rights of a caller and the tools it sees, as `server/tool`; nothing for who may do nothing."""
    me = wire.ask(*OVER_TCP, *headers)
    if me.status != 200:
        assert me.status in (401, 403), me
        return [], set()
    listed = wire.ask(*OVER_TCP, *headers, path="/api/tools")
    assert listed.status in (200, 403), listed
    tools = listed.json()["tools"] if listed.status == 200 else []
    return me.json()["rights"], {f"{tool['server']}/{tool['name']}" for tool in tools}


def test_a_capability_is_a_scope(granting: Wire) -> None:
    head = (*user(), *capabilities({"servers": ["good"], "tools": ["echo"]}))
    assert sees(granting, *head) == (["read", "call"], {"good/echo"})
    called = granting.ask(*OVER_TCP, *head, method="POST", path="/api/tools/good/echo", body={"text": "x"})
    assert called.text == "x"
    for path in ("/api/tools/good/act", "/api/tools/other/echo", "/api/tools/nowhere/echo"):
        assert granting.ask(*OVER_TCP, *head, method="POST", path=path, body={}).code == "unknown"


def test_grants_add_up_and_each_keeps_its_own_bounds(granting: Wire) -> None:
    two = capabilities(
        {"servers": ["good"], "tools": ["echo"]}, {"rights": ["read"], "servers": ["other"], "tools": ["act"]}
    )
    assert sees(granting, *user(), *two) == (["read", "call"], {"good/echo", "other/act"})
    path = "/api/tools/other/act"
    assert granting.ask(*OVER_TCP, *user(), *two, method="POST", path=path, body={}).code == "refused"


def test_machines_are_told_apart_by_their_address(granting: Wire) -> None:
    """A tagged node has no user; the capability is what lets it in."""
    head = (*OVER_TCP, *recorded.TAGGED, *capabilities({"servers": ["good"]}))
    me = granting.ask(*head).json()
    assert (me["caller"], me["rights"]) == (f"tailscale:{recorded.ADDRESS.decode()}", ["read", "call"])
    assert caller(granting.ask(*OVER_TCP, *recorded.TAGGED)) == "unauthenticated"


def test_a_capability_beyond_ascii_is_encoded_like_a_name(granting: Wire) -> None:
    encoded = b'=?utf-8?q?{"example.com/cap/mcp-gateway":[{"servers":["good"],"tools":["echo","=C3=BC"]}]}?='
    assert sees(granting, *user(), *granted(encoded)) == (["read", "call"], {"good/echo"})


@pytest.mark.parametrize(
    "told",
    [
        (),
        granted(b""),
        granted(b"{"),
        granted(b"[]"),
        granted(b"null"),
        granted(b'"' + CAPABILITY.encode() + b'"'),
        granted(b"{}" * 2),
        granted(b"[" * 20_000),
        granted(b'{"%b":{}}' % CAPABILITY.encode()),
        granted(b'{"%b":[]}' % CAPABILITY.encode()),
        capabilities("all"),
        capabilities(None),
        capabilities({"server": ["good"]}),
        capabilities({"servers": "good"}),
        capabilities({"servers": []}),
        capabilities({"rights": ["exec"]}),
        capabilities({"rights": ["everything"]}),
        capabilities({"rights": []}),
        capabilities({}, {"servers": 7}),
        capabilities({}, name="example.com/cap/other"),
        capabilities({}, name=CAPABILITY.upper()),
    ],
    ids=lambda told: told[0][28:60].decode() if told else "missing",
)
def test_what_grants_nothing_or_cannot_be_read_gives_no_rights(granting: Wire, told: recorded.Head) -> None:
    rights, tools = sees(granting, *user(), *told)
    assert tools == set()
    answer = granting.ask(
        *OVER_TCP, *user(), *told, method="POST", path="/api/tools/good/echo", body={"text": "x"}
    )
    assert answer.code in ("refused", "unknown"), rights
    # Named in the gateway's own configuration, an operator needs no grant.
    assert "operate" in granting.ask(*OVER_TCP, *user(BOSS.encode()), *told).json()["rights"]


def test_no_grant_reaches_the_internet(granting: Wire) -> None:
    assert caller(granting.ask(*OVER_TCP, *recorded.FUNNEL, *capabilities({}))) == "unauthenticated"


# -- switched off ---------------------------------------------------------------------------------------


def test_with_identity_off_the_headers_are_the_sign_of_a_proxy(tmp_path: Path) -> None:
    need_root()
    with Gateway({}, tmp_path) as gateway, visit(TRUSTED, door(gateway)) as wire:
        assert caller(wire.ask(b"Host: localhost")) == "local"
        for line in (*user(BOSS.encode()), *recorded.FUNNEL, *granted(b"{}")):
            assert caller(wire.ask(b"Host: localhost", line)) == "refused"


def test_with_identity_off_the_headers_name_nobody_where_keys_do(tmp_path: Path) -> None:
    need_root()
    key = tmp_path / "key"
    key.write_text("k" * 43)
    key.chmod(0o600)
    settings = {"publicUrl": URL, "auth": {"keys": [{"name": "robot", "file": str(key)}]}}
    with Gateway({}, tmp_path / "gateway", settings) as gateway, visit(TRUSTED, door(gateway)) as wire:
        head = (*OVER_TCP, *user(BOSS.encode()))
        assert caller(wire.ask(*head)) == "unauthenticated"
        assert caller(wire.ask(*head, b"Authorization: Bearer " + b"k" * 43)).startswith("key:")


def test_a_key_is_who_asks_even_where_tailscale_says_another(gateway: Gateway, serve: Wire) -> None:
    """A credential that is sent and wrong is not made up for by another one."""
    head = (*OVER_TCP, *user(BOSS.encode()), b"Authorization: Bearer mgk_00000000_wrong")
    assert caller(serve.ask(*head)) == "unauthenticated"
