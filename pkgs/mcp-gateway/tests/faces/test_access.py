"""What the gateway says of its own exposure, and ending sign-ins: at made-up places and at the real one."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.access.caller import LOCAL_OPERATOR, Right, unlimited
from mcp_gateway.access.keys import hash_text
from mcp_gateway.config.model import Config, GatewayConfig
from mcp_gateway.errors import GatewayError
from mcp_gateway.gateway import Gateway as Inside
from mcp_gateway.gateway.exposure import HERE, Listening
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery
from tests.faces.knocking import Line, Mcp, check_log, check_problem
from tests.faces.test_sign_in import PASSWORD, Browser, hashed
from tests.harness import Gateway, hostile, parse_events, until
from tests.strangers import open_directory

ADMIN_KEY = "mgk_admin_0123456789abcdefghijklmnopq"
READER_KEY = "mgk_reader_0123456789abcdefghijklmnop"
SECRET = "a-secret-of-the-proxy-0123456789"
OPERATE = unlimited("key:operator", Right.OPERATE)
WIDE = Listening("0.0.0.0", 8085)
LAN = Listening("192.168.1.5", 8085)


# -- at made-up places ----------------------------------------------------------------------------------


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path / "state")
    yield store
    await store.close()


def house(
    store: Store,
    settings: Mapping[str, Any],
    listening: Listening = HERE,
    texts: dict[str, str] | None = None,
) -> Inside:
    config = Config(
        gateway=GatewayConfig.model_validate(dict(settings), by_alias=True, by_name=False), texts=texts or {}
    )
    return Inside(config, store, Nursery("test", {}), {}, Path("nowhere"), listening=listening)


def said(inside: Inside) -> str:
    return " ".join(inside.exposure.view(OPERATE)["rules"])


def warned(inside: Inside) -> str:
    inside.console.is_written = True
    return " ".join(inside.exposure.view(OPERATE)["warnings"])


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8085"),
        ("::1", "http://[::1]:8085"),
        ("0.0.0.0", "http://127.0.0.1:8085"),
        ("::", "http://[::1]:8085"),
        ("192.168.1.5", "http://192.168.1.5:8085"),
        ("fd00::5", "http://[fd00::5]:8085"),
    ],
)
def test_what_a_program_on_this_machine_opens_follows_from_where_it_listens(address: str, url: str) -> None:
    assert Listening(address, 8085).url == url


PROXY = {"userHeader": "Remote-User"}


@pytest.mark.parametrize(
    ("settings", "listening", "because", "words"),
    [
        ({}, HERE, [], "It is open"),
        ({"publicUrl": "https://gw.example.com"}, HERE, ["publicUrl"], "answers to https://gw.example.com;"),
        (
            {"auth": {"keys": [{"name": "a", "hash": hash_text("a")}]}},
            HERE,
            ["auth.keys"],
            "1 API key: 1 decl",
        ),
        ({"auth": {"password": {"hash": "$argon2id$x"}}}, HERE, ["auth.password"], "operator's password"),
        ({"tailscale": {"identity": True}}, HERE, ["tailscale.identity"], "all of them may read and call"),
        (
            {"tailscale": {"identity": True, "operators": ["ann@x.org", "bob@x.org"]}},
            HERE,
            ["tailscale.identity"],
            "`ann@x.org` and `bob@x.org` may operate, and all others may read and call",
        ),
        (
            {"tailscale": {"identity": True, "capability": "x.org/cap/gw"}},
            HERE,
            ["tailscale.identity"],
            "may do what `x.org/cap/gw` grants them",
        ),
        (
            {"trustedProxy": {**PROXY, "uid": 33, "secret": "/secret", "operators": ["ann"]}},
            HERE,
            ["trustedProxy"],
            "believed if it runs as the user 33 and it shows the secret: `ann` may operate",
        ),
        (
            {"trustedProxy": {**PROXY, "addresses": ["10.0.0.2", "10.1.0.0/24"]}},
            HERE,
            ["trustedProxy"],
            "it comes from 10.0.0.2 and 10.1.0.0/24",
        ),
        ({}, WIDE, ["host"], "port 8085 of every address of this machine"),
        ({}, Listening("::", 8085), ["host"], "port 8085 of every address of this machine"),
        ({}, LAN, ["host"], "192.168.1.5, port 8085: whoever reaches this address"),
        (
            {"corsOrigins": ["https://chat.example.com"]},
            HERE,
            [],
            "Pages of https://chat.example.com may call",
        ),
        ({"mcp": {"enabled": False}}, HERE, [], "MCP is closed"),
        (
            {"limits": {"rate": 7, "concurrency": 3}},
            HERE,
            [],
            "7 requests a second and have 3 calls under way.",
        ),
        ({}, HERE, [], "the person at this machine has no such limit"),
        ({}, Listening("127.0.0.1", 8085, "/run/gw.sock"), [], "the socket /run/gw.sock as well"),
    ],
)
def test_the_rule_in_force_is_told_with_the_setting_behind_it(
    store: Store, settings: dict[str, Any], listening: Listening, because: list[str], words: str
) -> None:
    inside = house(store, settings, listening)
    view = inside.exposure.view(OPERATE)
    assert view["because"] == because
    assert view["guarded"] is inside.is_guarded is bool(because)
    assert words in said(inside)
    assert ("It is open" in said(inside)) is not bool(because)


@pytest.mark.parametrize(
    ("settings", "listening", "texts", "words"),
    [
        ({}, WIDE, {}, "Port 8085 speaks plain http beyond this machine"),
        ({"publicUrl": "http://box.lan:8085"}, HERE, {}, "http://box.lan:8085 is plain http"),
        ({"auth": {"password": {"file": "/password"}}}, HERE, {}, "password that is declared cannot be read"),
        (
            {"auth": {"keys": [{"name": "a", "file": "/key"}]}},
            HERE,
            {},
            "is 1 declared key that cannot be read",
        ),
        (
            {"trustedProxy": {**PROXY, "secret": "/secret"}},
            HERE,
            {},
            "secret of the trusted proxy cannot be read",
        ),
        ({"trustedProxy": {**PROXY, "addresses": ["10.0.0.2"]}}, HERE, {}, "by its address alone"),
        ({}, HERE, {}, ""),
        ({"publicUrl": ["https://gw.example.com", "http://127.0.0.1:9"]}, HERE, {}, ""),
        ({"trustedProxy": {**PROXY, "secret": "/s"}}, HERE, {"trustedProxy.secret": SECRET}, ""),
    ],
)
def test_what_a_person_should_look_at_is_a_warning(
    store: Store, settings: dict[str, Any], listening: Listening, texts: dict[str, str], words: str
) -> None:
    found = warned(house(store, settings, listening, texts))
    assert words in found
    assert bool(words) is bool(found)
    assert SECRET not in found


def test_a_code_that_is_in_no_file_is_told(store: Store) -> None:
    inside = house(store, {})
    assert not inside.exposure.view(OPERATE)["code"]
    assert "one-time code could not be written" in " ".join(inside.exposure.view(OPERATE)["warnings"])


def test_it_is_for_who_operates_everything(store: Store) -> None:
    inside = house(store, {})
    assert inside.exposure.view(LOCAL_OPERATOR)["guarded"] is False
    with pytest.raises(GatewayError, match="`operate`"):
        inside.exposure.view(unlimited("key:admin", Right.READ, Right.CALL, Right.ADMIN))


# -- at the gateway -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("access")
    secret = directory / "proxy-secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    keys = [
        {"name": "admin", "hash": hash_text(ADMIN_KEY), "scopes": {"rights": ["read", "operate", "admin"]}},
        {"name": "reader", "hash": hash_text(READER_KEY), "scopes": {"rights": ["read"]}},
        {
            "name": "narrow",
            "hash": hash_text(READER_KEY + "x"),
            "scopes": {"rights": ["operate", "admin"], "servers": ["good"]},
        },
    ]
    settings = {
        "publicUrl": ["https://gw.test:8443", "http://gw.test:8080"],
        "corsOrigins": ["https://chat.test"],
        "auth": {"password": {"hash": hashed(PASSWORD)}, "keys": keys},
        "trustedProxy": {**PROXY, "operators": ["ann"], "secret": str(secret)},
    }
    with open_directory() as place:
        settings["socket"] = str(place / "gateway.sock")
        with Gateway({"good": hostile("good")}, directory, settings) as gateway:
            gateway.credentials = {"Authorization": f"Bearer {ADMIN_KEY}"}
            until(lambda: gateway.get("/ready").json()["servers"] == {"ready": 1}, 10, "the server is ready")
            yield gateway
            check_log(gateway)


def as_key(gateway: Gateway, method: str, path: str, key: str = ADMIN_KEY) -> Any:
    return gateway.request(method, path, headers={"Authorization": f"Bearer {key}"})


def sign_ins(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = as_key(gateway, "GET", "/api/sign-ins").json()["signIns"]
    return found


def end(gateway: Gateway, sign_in_id: str) -> None:
    assert as_key(gateway, "DELETE", f"/api/sign-ins/{sign_in_id}").status == 204


def test_the_exposure_of_a_running_gateway_is_told_as_it_is(gateway: Gateway) -> None:
    answer = as_key(gateway, "GET", "/api/access")
    assert answer.status == 200
    found = answer.json()
    assert found["listening"] == {
        "address": "127.0.0.1",
        "port": gateway.port,
        "exposed": False,
        "socket": gateway.gateway["socket"],
    }
    assert found["because"] == ["publicUrl", "auth.keys", "auth.password", "trustedProxy"]
    assert found["publicUrls"] == ["https://gw.test:8443", "http://gw.test:8080"]
    assert found["corsOrigins"] == ["https://chat.test"]
    assert found["keys"] == {"declared": 3, "made": 0, "expired": 0}
    assert (found["password"], found["code"], found["mcp"]) == (True, True, True)
    assert found["trustedProxy"] == {
        "userHeader": "Remote-User",
        "operators": ["ann"],
        "uid": None,
        "addresses": [],
        "secret": True,
    }
    assert [text for text in found["warnings"] if "gw.test:8080" in text]
    for secret in (SECRET, "proxy-secret", ADMIN_KEY, "argon2", hash_text(ADMIN_KEY)):
        assert secret.encode() not in answer.body


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/sign-ins"), ("DELETE", "/api/sign-ins/nothing")])
def test_sign_ins_are_for_who_administers_everything(gateway: Gateway, method: str, path: str) -> None:
    check_problem(gateway.request(method, path), 401, "unauthenticated")
    check_problem(as_key(gateway, method, path, READER_KEY), 403, "refused", "`admin`")
    check_problem(as_key(gateway, method, path, READER_KEY + "x"), 403, "refused", "all servers")
    check_problem(as_key(gateway, "GET", "/api/access", READER_KEY + "x"), 403, "refused", "all servers")


def test_who_signed_in_a_while_ago_is_asked_again(gateway: Gateway) -> None:
    ann = Browser(gateway, "gw.test:8443", {"Remote-User": "ann", "Mcp-Gateway-Proxy-Secret": SECRET})
    check_problem(ann.get("/api/sign-ins"), 403, "refused", "`admin`")
    ann.sign_in()
    (own,) = [one for one in ann.get("/api/sign-ins").json()["signIns"] if one["yours"]]
    assert (own["caller"], own["name"], own["adds"], own["way"]) == ("proxy:ann", "ann", True, "password")
    assert ann.request("DELETE", f"/api/sign-ins/{own['id']}").status == 204
    check_problem(ann.get("/api/sign-ins"), 403, "refused", "`admin`")
    assert ann.is_known()


def test_a_sign_in_that_is_ended_elsewhere_is_over_in_the_middle_of_what_it_does(gateway: Gateway) -> None:
    browser, other = Browser(gateway), Browser(gateway)
    browser.sign_in()
    (made,) = [one for one in sign_ins(gateway) if one["caller"] == "operator"]
    assert (made["from"], made["face"], made["yours"]) == ("127.0.0.1", "rest", False)
    assert made["since"] <= made["seen"] < made["elevatedUntil"] < made["until"]
    other.sign_in()
    begun = Line(gateway.port)
    begun.send(
        b"PATCH /api/tools/good/echo HTTP/1.1",
        *(b"Host: %b" % browser.host.encode(), b"Origin: %b" % browser.origin.encode()),
        *(b"Cookie: %b" % browser.cookie.encode(), b"Content-Type: application/json", b"Content-Length: 18"),
    )
    begun.socket.sendall(b" ")
    headers = {"Host": browser.host, "Cookie": browser.cookie}
    with begun, gateway.open("GET", "/api/events", headers=headers) as feed:
        assert feed.readline().startswith(b":")
        end(gateway, made["id"])
        assert [kind for kind, _ in parse_events(feed) if kind == "result"] == []  # it has ended
        begun.socket.sendall(b'{"enabled":false}')
        check_problem(begun.read("PATCH"), 401, "unauthenticated", "ended")
    assert not browser.is_known()
    assert other.is_known()
    assert as_key(gateway, "GET", "/api/tools/good/echo").json()["enabled"]
    check_problem(as_key(gateway, "DELETE", f"/api/sign-ins/{made['id']}"), 404, "unknown")
    (record, *_) = as_key(gateway, "GET", "/api/calls?action=sign-in.end").json()["calls"]
    assert (record["caller"], record["right"], record["outcome"]) == ("key:admin", "admin", "ok")
    assert record["detail"].startswith(f"{made['id']} of operator, with the password, from 127.0.0.1")


def test_sessions_of_mcp_end_with_the_sign_in_they_were_opened_by(gateway: Gateway) -> None:
    browser = Browser(gateway)
    browser.sign_in()
    opening = Mcp.message(
        "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}, 1
    )
    accept = {"Accept": "application/json, text/event-stream"}
    assert browser.request("POST", "/mcp", opening, accept).status == 200

    def sessions() -> list[Any]:
        found = as_key(gateway, "GET", "/api/sessions").json()["sessions"]
        return [session for session in found if session["caller"] == "operator"]

    assert len(sessions()) == 1
    for one in sign_ins(gateway):
        end(gateway, one["id"])
    assert sessions() == []
    assert not browser.is_known()


@pytest.mark.parametrize("odd", ["..", "%00", "x" * 2_000, "%E2%80%AE", "*", "%2e%2e%2f", "1%20OR%201"])
def test_an_id_that_is_none_ends_nothing(gateway: Gateway, odd: str) -> None:
    browser = Browser(gateway)
    browser.sign_in()
    check_problem(as_key(gateway, "DELETE", f"/api/sign-ins/{odd}"), 404, "unknown")
    text = browser.cookie.partition("=")[2]
    check_problem(as_key(gateway, "DELETE", f"/api/sign-ins/{text}"), 404, "unknown")
    assert browser.is_known()
    assert text not in json.dumps(sign_ins(gateway))


def test_at_home_the_local_operator_sees_the_exposure_and_administers_with_the_code(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path) as opened:
        found = opened.get("/api/access").json()
        assert (found["guarded"], found["because"], found["warnings"]) == (False, [], [])
        check_problem(opened.get("/api/sign-ins"), 403, "refused", "`admin`")
        browser = Browser(opened)
        browser.sign_in(code=(opened.state_dir / "one-time-code").read_text().strip())
        (one,) = browser.get("/api/sign-ins").json()["signIns"]
        assert (one["caller"], one["way"], one["adds"], one["yours"]) == ("local", "code", True, True)
        assert opened.get("/api/access").json()["signIns"] == 1
