"""Who a proxy says is asking: headers as Tailscale's own proxy writes them, and headers that say nothing."""

import json
from typing import Any

import pytest

from mcp_gateway.access.caller import Grant, Right
from mcp_gateway.access.proven import MAX_CAPABILITIES, proxy_caller, tailscale_caller
from mcp_gateway.config.model import Tailscale, TrustedProxy

CAPABILITY = "example.com/cap/mcp-gateway"
ALICE = {
    b"tailscale-user-login": b"alice@example.com",
    b"tailscale-user-name": b"=?utf-8?q?Ferris_B=C3=BCller?=",
    b"x-forwarded-for": b"100.64.0.7",
}
USER = frozenset({Right.READ, Right.CALL})
PLAIN = Tailscale(identity=True, operators=("alice@example.com",))
GRANTING = Tailscale(identity=True, operators=("boss@example.com",), capability=CAPABILITY)


def capabilities(*grants: Any) -> dict[bytes, bytes]:
    return {b"tailscale-app-capabilities": json.dumps({CAPABILITY: list(grants)}).encode()}


def test_an_operator_is_who_the_configuration_names_and_names_are_decoded() -> None:
    alice = tailscale_caller(PLAIN, ALICE)
    assert alice is not None
    assert (alice.id, alice.name) == ("tailscale:alice@example.com", "Ferris Büller")
    assert alice.everywhere == USER | {Right.OPERATE}
    bob = tailscale_caller(PLAIN, {b"tailscale-user-login": b"bob@example.com"})
    assert bob is not None
    assert (bob.id, bob.name, bob.everywhere) == ("tailscale:bob@example.com", "bob@example.com", USER)


def test_a_login_that_is_encoded_is_the_login_that_it_spells() -> None:
    jurgen = tailscale_caller(PLAIN, {b"tailscale-user-login": b"=?utf-8?q?j=C3=BCrgen@example.com?="})
    assert jurgen is not None
    assert jurgen.id == "tailscale:jürgen@example.com"


def test_a_login_that_needed_no_encoding_spells_nobody_else() -> None:
    # tailscaled leaves plain ASCII alone, so this is somebody who chose such a login.
    looks = "=?utf-8?q?alice=40example.com?="
    chosen = tailscale_caller(PLAIN, {b"tailscale-user-login": looks.encode()})
    assert chosen is not None
    assert chosen.id == f"tailscale:{looks}"


def test_the_internet_and_tagged_nodes_are_nobody() -> None:
    assert tailscale_caller(PLAIN, {}) is None
    assert tailscale_caller(PLAIN, {b"x-forwarded-for": b"100.64.0.7"}) is None
    assert tailscale_caller(PLAIN, {**ALICE, b"tailscale-funnel-request": b"?1"}) is None
    assert tailscale_caller(GRANTING, {**ALICE, **capabilities({}), b"tailscale-funnel-request": b""}) is None


@pytest.mark.parametrize(
    "login",
    [
        *(b"", b" ", b"a\x00b", b"a\tb", b"\xff\xfe", b"a" * 255, "a\u202eb".encode()),
        *(b"=?utf-8?q?=00?=", b"=?no-such?q?x?=", b"=?utf-8?b?////?="),
    ],
)
def test_what_is_no_name_is_nobody(login: bytes) -> None:
    assert tailscale_caller(PLAIN, {b"tailscale-user-login": login}) is None


def test_capabilities_are_scopes_and_add_up() -> None:
    told = capabilities({"servers": ["git"], "tools": ["*"]}, {"rights": ["read"], "readOnly": True})
    alice = tailscale_caller(GRANTING, ALICE | told)
    assert alice is not None
    assert alice.grants == (Grant(USER, ("git",), ("*",)), Grant(frozenset({Right.READ}), read_only=True))
    # They work for machines, too, which have an address and no log-in.
    node = tailscale_caller(GRANTING, {b"x-forwarded-for": b"100.64.0.9", **told})
    assert node is not None
    assert (node.id, node.grants) == ("tailscale:100.64.0.9", alice.grants)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {b"tailscale-app-capabilities": b""},
        {b"tailscale-app-capabilities": b"{"},
        {b"tailscale-app-capabilities": b"[" * 5_000},
        {b"tailscale-app-capabilities": b'{"other.com/cap":[{}]}'},
        {b"tailscale-app-capabilities": b'{"example.com/cap/mcp-gateway":{}}'},
        {b"tailscale-app-capabilities": b'{"example.com/cap/mcp-gateway":[1]}'},
        capabilities({"servers": "git"}),
        capabilities({"rights": ["exec"]}),
        capabilities({"rights": []}),
        capabilities({"unheard": "of"}),
        capabilities({}, {"servers": 1}),
    ],
)
def test_what_cannot_be_read_or_is_missing_grants_nothing(told: dict[bytes, bytes]) -> None:
    alice = tailscale_caller(GRANTING, ALICE | told)
    assert alice is not None
    assert alice.grants == ()
    assert alice.rights == frozenset()


def test_grants_of_one_caller_are_bounded() -> None:
    told = capabilities(*({"servers": [f"s{number}"]} for number in range(MAX_CAPABILITIES + 10)))
    alice = tailscale_caller(GRANTING, ALICE | told)
    assert alice is not None
    assert len(alice.grants) == MAX_CAPABILITIES


def test_a_proxys_user_is_in_the_header_that_was_named() -> None:
    settings = TrustedProxy(user_header="X-Remote-User", uid=33, operators=("root",))
    carol = proxy_caller(settings, {b"x-remote-user": b"carol"})
    assert carol is not None
    assert (carol.id, carol.everywhere) == ("proxy:carol", USER)
    boss = proxy_caller(settings, {b"x-remote-user": b"root"})
    assert boss is not None
    assert boss.everywhere == USER | {Right.OPERATE}
    assert proxy_caller(settings, {b"remote-user": b"carol", b"x-remote-user": b""}) is None
