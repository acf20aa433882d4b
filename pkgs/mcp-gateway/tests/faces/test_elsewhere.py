"""Requests that come from other machines: who the edge takes them for. In the process, since tests listen on
loopback only; what a scope says of a connection is the web server's own word."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.access.caller import Right
from mcp_gateway.config import load
from mcp_gateway.config.model import Config, GatewayConfig, Scopes
from mcp_gateway.errors import GatewayError
from mcp_gateway.faces.edge import Edge
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.console import CALLER
from mcp_gateway.gateway.exposure import Listening
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery

PROXY: dict[str, Any] = {
    "publicUrl": "https://gw.example.com",
    "trustedProxy": {
        "userHeader": "Remote-User",
        "addresses": ["10.0.0.2", "fd00::/64"],
        "operators": ["ann"],
    },
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path / "state")
    yield store
    await store.close()


def house(store: Store, settings: dict[str, Any], *, is_exposed: bool = True) -> Gateway:
    config = Config(gateway=GatewayConfig.model_validate(settings, by_alias=True, by_name=False))
    listening = Listening("0.0.0.0" if is_exposed else "127.0.0.1", 8085)
    return Gateway(config, store, Nursery("test", {}), {}, Path("nowhere"), listening=listening)


async def caller_at(
    gateway: Gateway, *headers: tuple[bytes, bytes], client: str = "10.0.0.2", server: str = "192.168.1.5"
) -> str:
    """Who it is, or the code of the refusal."""
    scope = {
        "type": "http",
        "method": "GET",
        "raw_path": b"/api/servers",
        "query_string": b"",
        "http_version": "1.1",
        "client": (client, 40_000),
        "server": (server, 8_085),
        "headers": list(headers),
    }
    try:
        return (await Edge(gateway).let_in(scope)).caller.id
    except GatewayError as problem:
        return problem.kind.value


@pytest.mark.parametrize(
    ("client", "who"),
    [
        ("10.0.0.2", "proxy:ann"),
        ("::ffff:10.0.0.2", "proxy:ann"),
        ("fd00::7", "proxy:ann"),
        ("10.0.0.3", "unauthenticated"),
        ("::ffff:10.0.0.3", "unauthenticated"),
        ("fd01::7", "unauthenticated"),
        ("127.0.0.1", "unauthenticated"),
        ("::ffff:127.0.0.1", "unauthenticated"),
    ],
)
async def test_a_proxy_elsewhere_is_believed_at_its_addresses_only(
    store: Store, client: str, who: str
) -> None:
    """S05."""
    named = (b"host", b"gw.example.com"), (b"remote-user", b"ann"), (b"x-forwarded-for", b"10.0.0.2")
    assert await caller_at(house(store, PROXY), *named, client=client) == who


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        (b"192.168.1.5:8085", True),
        (b"192.168.1.5", False),
        (b"192.168.1.6:8085", False),
        (b"192.168.1.5:8086", False),
        (b"localhost:8085", True),
        (b"nas.local:8085", False),
        (b"0.0.0.0:8085", False),
    ],
)
async def test_beyond_loopback_the_address_that_was_reached_is_a_host_of_ours(
    store: Store, host: bytes, is_ours: bool
) -> None:
    """S02: no name leads a page to an address, so it cannot be rebound."""
    gateway = house(store, {})
    made = await gateway.keys.create(CALLER, "x", Scopes(), None)
    shown = (b"authorization", b"Bearer " + made["key"].encode())
    found = await caller_at(gateway, (b"host", host), shown)
    assert found == (made["caller"] if is_ours else "refused")
    # Nobody is let in for where they come from.
    assert await caller_at(gateway, (b"host", host)) == ("unauthenticated" if is_ours else "refused")


async def test_who_a_proxy_names_an_operator_does_not_administer(store: Store) -> None:
    """S08: the header alone must not be able to make keys."""
    gateway = house(store, PROXY)
    edge = Edge(gateway)
    scope = {
        "type": "http",
        "method": "GET",
        "raw_path": b"/api/keys",
        "query_string": b"",
        "http_version": "1.1",
        "client": ("10.0.0.2", 40_000),
        "server": ("192.168.1.5", 8_085),
        "headers": [(b"host", b"gw.example.com"), (b"remote-user", b"ann")],
    }
    ann = (await edge.let_in(scope)).caller
    assert ann.everywhere == {Right.READ, Right.CALL, Right.OPERATE}
    with pytest.raises(GatewayError, match="`admin`"):
        gateway.keys.list(ann)


def test_the_default_configuration_is_open_and_each_way_in_guards_it(store: Store) -> None:
    assert not house(store, {}, is_exposed=False).is_guarded
    for settings in (
        {"publicUrl": "https://gw.example.com"},
        {"auth": {"password": {"file": "/password"}}},
        {"auth": {"keys": [{"name": "a", "file": "/key"}]}},
        {"tailscale": {"identity": True}},
        {"trustedProxy": {"userHeader": "Remote-User", "uid": 33}},
    ):
        assert house(store, settings, is_exposed=False).is_guarded, settings
    assert house(store, {}, is_exposed=True).is_guarded
    assert not load.empty().gateway.is_guarded
