"""Connections that the gateway puts into an Open WebUI, and what it says where that cannot work.

Open WebUI is a stand-in that says of a failure as little as the real one, and goes to the gateway by itself.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from mcp_gateway.gateway import openwebui
from tests import canary, leaks
from tests.faces.knocking import check_log, check_problem
from tests.harness import Answer, hostile
from tests.open_webui import EVIL, PLACES, OpenWebUi
from tests.security.cast import Guarded, wait_ready

NAME: Final = "gateway.internal:8085"  # what a container calls the gateway
OTHERS: Final[list[dict[str, Any]]] = [
    {
        "url": "http://one.test",
        "path": "openapi.json",
        "type": "openapi",
        "auth_type": "bearer",
        "key": f"{EVIL} ü \u2028 \U0001f600",
        "config": {"enable": False, "ratio": 1.0, "many": 12345678901234567890, "small": 1e-300},
        "info": {"id": "one", "name": EVIL},
        "somethingNewer": [None, {"": True}],
    },
    {"url": "http://two.test/mcp", "path": "", "auth_type": None, "key": None, "config": None},
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys = {"caller": {"rights": ["call"]}, "operator": {"rights": ["read", "call", "operate"]}}
    settings = {"publicUrl": [f"http://{NAME}"]}
    servers = {"good": hostile("good"), "other": hostile("good")}
    with Guarded(servers, tmp_path_factory.mktemp("pushing"), settings, keys=keys) as gateway:
        wait_ready(gateway, "good", "other")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def open_webui(gateway: Guarded) -> Iterator[OpenWebUi]:
    """Its key is a secret that is looked for wherever the gateway says or leaves anything."""
    planted = canary.make("key-of-open-webui", gateway.token, for_header=True)
    leaks.plant(planted)
    with OpenWebUi(planted.value) as twin:
        yield twin


@pytest.fixture(autouse=True)
def clean(gateway: Guarded, open_webui: OpenWebUi) -> Iterator[None]:
    open_webui.reset()
    open_webui.names = {NAME: gateway.port}
    before = made_keys(gateway)
    yield
    for key in made_keys(gateway).keys() - before.keys():
        gateway.revoke(key)


def made_keys(gateway: Guarded) -> dict[str, dict[str, Any]]:
    return {key["id"]: key for key in gateway.get("/api/keys").json()["keys"] if not key["declared"]}


def wanted(gateway: Guarded, open_webui: OpenWebUi, **more: Any) -> dict[str, Any]:
    asked = {
        "url": open_webui.url,
        "key": open_webui.key,
        "gatewayUrl": f"http://{NAME}",
        "gatewayKey": gateway.texts["caller"],
        "forAllUsers": True,
    }
    return {name: value for name, value in (asked | more).items() if value is not None}


def push(gateway: Guarded, open_webui: OpenWebUi, **more: Any) -> Answer:
    return gateway.request("POST", "/api/openwebui/connections", wanted(gateway, open_webui, **more))


def check(gateway: Guarded, open_webui: OpenWebUi, **more: Any) -> dict[str, Any]:
    answer = gateway.request("POST", "/api/openwebui/check", wanted(gateway, open_webui, **more))
    assert answer.status == 200, answer
    assert open_webui.writes == 0
    told: dict[str, Any] = answer.json()
    assert told["ok"] is all(one["tone"] != "bad" for one in told["findings"])
    return told


def said(told: dict[str, Any]) -> str:
    return " ".join(one["says"] for one in told["findings"])


def actions(gateway: Guarded) -> list[tuple[str, str, str]]:
    rows = gateway.get("/api/calls?kind=actions&limit=5").json()["calls"]
    return [(row["action"], row["caller"], row["detail"]) for row in rows]


# -- putting it there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["openapi", "mcp"])
def test_a_connection_is_put_beside_the_others_which_stay_as_they_are(
    gateway: Guarded, open_webui: OpenWebUi, way: str
) -> None:
    open_webui.connections = list(OTHERS)
    answer = push(gateway, open_webui, way=way)
    assert answer.status == 200, answer
    told = answer.json()
    tools = len(gateway.get("/api/tools").json()["tools"])
    findings = told.pop("findings")
    assert told == {"ok": True, "connected": True, "tools": tools, "others": 2, "replaces": False}
    assert [one["tone"] for one in findings] == ["good", "good"]
    *others, ours = open_webui.connections
    assert [{name: one[name] for name in was} for one, was in zip(others, OTHERS, strict=True)] == OTHERS
    assert ours == {
        "type": way,
        "url": f"http://{NAME}/tools" if way == "openapi" else f"http://{NAME}/mcp",
        **({"spec_type": "url", "spec": ""} if way == "openapi" else {}),
        "path": "openapi.json" if way == "openapi" else "",
        "auth_type": "bearer",
        "key": gateway.texts["caller"],
        "config": {
            "enable": True,
            "function_name_filter_list": "",
            "access_grants": [{"principal_type": "user", "principal_id": "*", "permission": "read"}],
        },
        "info": {"id": "gw", "name": "Gateway", "description": ""},
    }
    reading, checking = f"GET {PLACES}", f"POST {PLACES}/verify"
    assert open_webui.asked == [reading, checking, reading, f"POST {PLACES}", reading, checking]
    detail = f"`gw` at {open_webui.url}, for {ours['url']} over "
    detail += "OpenAPI, for all users" if way == "openapi" else "MCP, for all users"
    assert actions(gateway)[0] == ("openwebui.connect", "key:full", detail)


def test_our_own_is_replaced_and_keeps_what_somebody_has_set_there(
    gateway: Guarded, open_webui: OpenWebUi
) -> None:
    assert push(gateway, open_webui, server="good").status == 200
    (first,) = open_webui.connections
    assert (first["url"], first["info"]["id"]) == (f"http://{NAME}/tools/good", "good")
    first["info"] |= {"name": "Ours", "icon": "x"}
    first["config"] |= {"enable": False, "function_name_filter_list": "!rm"}
    first["headers"] = {"X-User": "{{USER_EMAIL}}"}
    open_webui.connections = [OTHERS[1], first, OTHERS[0]]
    told = push(gateway, open_webui, server="good", forAllUsers=False).json()
    assert (told["replaces"], told["others"]) == (True, 2)
    assert [one["url"] for one in open_webui.connections] == [
        *("http://two.test/mcp", f"http://{NAME}/tools/good", "http://one.test")
    ]
    renewed = open_webui.connections[1]
    assert renewed["info"] == {"id": "good", "name": "Ours", "icon": "x", "description": ""}
    assert renewed["config"] == {"enable": True, "function_name_filter_list": "!rm", "access_grants": []}
    assert renewed["headers"] == {"X-User": "{{USER_EMAIL}}"}
    assert push(gateway, open_webui).json()["replaces"] is False
    assert len(open_webui.connections) == 4
    renewed["config"] = ["broken"]
    assert push(gateway, open_webui, server="good").status == 200
    assert open_webui.connections[1]["config"]["access_grants"] != []


def test_a_key_is_made_for_it_that_may_read_and_call_and_no_more(
    gateway: Guarded, open_webui: OpenWebUi
) -> None:
    before = made_keys(gateway)
    answer = push(gateway, open_webui, gatewayKey=None, makeKey=True, server="good")
    assert answer.status == 200, answer
    (key,) = (key for name, key in made_keys(gateway).items() if name not in before)
    assert (key["name"], key["scopes"]) == ("open-webui", {"rights": ["read", "call"], "servers": ["good"]})
    text = open_webui.connections[0]["key"]
    assert gateway.as_("made", text).get("/api/me").json()["caller"] == key["caller"]
    assert text not in answer.body.decode() + gateway.log.read_text()
    assert [action for action, _, _ in actions(gateway)[:2]] == ["openwebui.connect", "key.create"]


def test_a_key_that_was_made_in_vain_is_gone_again(gateway: Guarded, open_webui: OpenWebUi) -> None:
    before = made_keys(gateway)
    open_webui.names = {}
    check_problem(push(gateway, open_webui, gatewayKey=None, makeKey=True), 400, "invalid", "does not reach")
    assert made_keys(gateway) == before
    open_webui.names = {NAME: gateway.port}
    assert check(gateway, open_webui, gatewayKey=None, makeKey=True)["ok"]
    assert made_keys(gateway) == before
    open_webui.fault = f"422 at POST {PLACES}"
    check_problem(push(gateway, open_webui, gatewayKey=None, makeKey=True), 400, "invalid")
    assert made_keys(gateway) == before


def test_where_nobody_is_asked_who_they_are_no_key_is_sent(gateway: Guarded, open_webui: OpenWebUi) -> None:
    """This gateway asks; but the connection holds none."""
    told = check(gateway, open_webui, gatewayKey=None)
    assert not told["ok"]
    assert "wants a key, and there is none" in said(told)
    sent = json.loads(open_webui.bodies[-1])
    assert (sent["auth_type"], sent["key"]) == ("none", "")


def test_a_change_by_somebody_else_at_the_same_moment_is_noticed(
    gateway: Guarded, open_webui: OpenWebUi
) -> None:
    def add(twin: OpenWebUi) -> None:
        twin.connections = [*twin.connections, OTHERS[1]]

    def lose(twin: OpenWebUi) -> None:
        twin.connections = []

    def change(twin: OpenWebUi) -> None:
        twin.connections[0] |= {"key": "another"}

    for meanwhile in (add, lose, change):
        open_webui.connections, open_webui.meanwhile = [OTHERS[0]], meanwhile
        check_problem(push(gateway, open_webui), 409, "invalid", "at the same moment")


def test_a_writing_without_an_answer_is_judged_by_what_is_read_afterwards(
    gateway: Guarded, open_webui: OpenWebUi
) -> None:
    """Open WebUI reads the documents of all connections before it answers, and has written by then."""
    open_webui.connections = [OTHERS[0]]
    open_webui.fault = f"hang up at POST {PLACES}"
    check_problem(push(gateway, open_webui), 502, "lost", "its list is as before")
    open_webui.fault = f"cut off at POST {PLACES}"
    assert push(gateway, open_webui).json()["connected"]
    assert len(open_webui.connections) == 2


# -- asking first ---------------------------------------------------------------------------------------


def test_a_check_says_what_would_happen_and_changes_nothing(gateway: Guarded, open_webui: OpenWebUi) -> None:
    open_webui.connections = list(OTHERS)
    told = check(gateway, open_webui)
    assert (told["ok"], told["connected"], told["others"], told["replaces"]) == (True, False, 2, False)
    assert "2 other connections" in said(told)
    assert open_webui.connections == OTHERS
    assert actions(gateway)[0][0] == "openwebui.check"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gatewayUrl": "http://localhost:1"}, "in a container the container itself"),
        ({"gatewayUrl": "http://nobody.invalid:8085"}, "may not know the name"),
        ({"gatewayUrl": f"https://{NAME}"}, "does not reach https://"),
        ({"gatewayUrl": "http://alias.internal:8085"}, "put http://alias.internal:8085 into `publicUrl`"),
        ({"gatewayKey": "mgk_wrong"}, "does not know the key"),
        ({"key": "sk-wrong"}, "does not accept the key"),
        ({"url": "http://127.0.0.1:1"}, "cannot connect"),
        ({"url": "http://nobody.invalid"}, "cannot be resolved"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wrong_is_said_in_a_sentence(
    gateway: Guarded, open_webui: OpenWebUi, change: dict[str, Any], words: str
) -> None:
    open_webui.names["alias.internal:8085"] = gateway.port
    told = check(gateway, open_webui, **change)
    assert not told["ok"]
    assert words in said(told)
    answer = push(gateway, open_webui, **change)
    assert answer.status in (400, 503)
    assert words in answer.json()["detail"]
    assert (open_webui.writes, open_webui.connections) == (0, [])


def test_an_answer_from_somewhere_else_is_not_taken_for_ours(gateway: Guarded, open_webui: OpenWebUi) -> None:
    with OpenWebUi("other") as stranger:
        stranger.fault = "document"
        told = check(gateway, open_webui, gatewayUrl=stranger.url)
        stranger.fault = "words"
        no_document = check(gateway, open_webui, gatewayUrl=stranger.url)
    assert "something else answers there" in said(told)
    assert not no_document["ok"]
    assert "no request of it came here" in said(no_document)


def test_a_gateway_that_has_nothing_for_the_key_is_told(gateway: Guarded, open_webui: OpenWebUi) -> None:
    _, narrowed = gateway.make_key("narrow", rights=["call"], tools=["nothing"])
    told = check(gateway, open_webui, gatewayKey=narrowed.identity["Authorization"].removeprefix("Bearer "))
    assert (told["ok"], told["tools"]) == (True, 0)
    assert "the key covers none" in said(told)


@pytest.mark.parametrize(
    ("fault", "status", "code", "words"),
    [
        ("401", 400, "invalid", "administrator"),
        ("403", 400, "invalid", "API keys may be switched off"),
        ("404", 400, "invalid", "no Open WebUI"),
        ("422", 400, "invalid", "does not take"),
        ("500", 502, "lost", "HTTP 500"),
        ("redirect", 400, "invalid", "leads elsewhere"),
        ("echo", 400, "invalid", "refuses the key"),
        ("html", 502, "lost", "no Open WebUI"),
        ("list", 502, "lost", "no Open WebUI"),
        ("deep", 502, "lost", "no Open WebUI"),
        ("huge", 502, "lost", "larger than"),
        ("hang up", 502, "lost", "without an answer"),
        (f"500 at POST {PLACES}/verify", 502, "lost", "HTTP 500"),
        (f"html at POST {PLACES}/verify", 502, "lost", "none that is known"),
        (f"redirect at POST {PLACES}", 400, "invalid", "leads elsewhere"),
        (f"500 at POST {PLACES}", 502, "lost", "HTTP 500"),
    ],
)
def test_whatever_open_webui_answers_is_told_in_our_words(
    gateway: Guarded, open_webui: OpenWebUi, fault: str, status: int, code: str, words: str
) -> None:
    open_webui.fault = fault
    answer = push(gateway, open_webui)
    check_problem(answer, status, code, words)
    assert "script" not in answer.body.decode()
    assert f"GET {PLACES}/elsewhere" not in open_webui.asked


@pytest.mark.long  # as long as it may take
def test_one_that_never_answers_is_given_up(gateway: Guarded, open_webui: OpenWebUi) -> None:
    assert openwebui.READ_S <= 10
    open_webui.fault = "slow"
    check_problem(push(gateway, open_webui), 504, "timed_out", "did not answer within 10 s")
    open_webui.go_on.set()


# -- who, and what --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["check", "connections"])
def test_S43_only_administration_may_and_nothing_is_sent_for_anybody_else(
    gateway: Guarded, open_webui: OpenWebUi, path: str
) -> None:
    asked = wanted(gateway, open_webui)
    for who in ("caller", "operator"):
        answer = gateway.as_(who).request("POST", f"/api/openwebui/{path}", asked)
        check_problem(answer, 403, "refused", "`admin`")
    assert gateway.nobody.request("POST", f"/api/openwebui/{path}", asked).status == 401
    assert open_webui.asked == []


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ftp://127.0.0.1"},
        {"url": "file:///etc/passwd"},
        {"url": "http://"},
        {"url": "//127.0.0.1"},
        {"url": "http://user:word@127.0.0.1"},
        {"url": "http://127.0.0.1/?x=1"},
        {"url": "http://127.0.0.1/#x"},
        {"url": "http://127.0.0.1:99999"},
        {"url": "http://b\u00fccher.test"},
        {"url": "http://127.0.0.1\r\nX: y"},
        {"url": "http://127.0.0.1/ x"},
        {"url": "http://[::1"},
        {"key": "a b"},
        {"key": "a\r\nX: y"},
        {"key": "schl\u00fcssel"},
        {"key": ""},
        {"gatewayUrl": "gateway:8085"},
        {"gatewayUrl": "http://gateway:8085/tools"},
        {"gatewayUrl": "http://user@gateway:8085"},
        {"gatewayUrl": "http://gateway:0"},
        {"gatewayUrl": None},
        {"gatewayKey": "a\nb"},
        {"makeKey": True},
        {"way": "smoke"},
        {"more": 1},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    gateway: Guarded, open_webui: OpenWebUi, change: dict[str, Any]
) -> None:
    for path in ("check", "connections"):
        answer = gateway.request("POST", f"/api/openwebui/{path}", wanted(gateway, open_webui, **change))
        check_problem(answer, 400, "invalid")
    assert open_webui.asked == []


def test_a_server_that_is_not_there_is_unknown(gateway: Guarded, open_webui: OpenWebUi) -> None:
    check_problem(push(gateway, open_webui, server="nothing"), 404, "unknown")
    check_problem(gateway.get("/api/openwebui/connection?server=nothing"), 404, "unknown")
    check_problem(gateway.get("/api/openwebui/connection?url=http://evil.test"), 404, "unknown")


def test_the_connection_is_a_file_to_download_without_a_key(gateway: Guarded) -> None:
    for query, kind, id_, grants in (
        ("", "openapi", "gw", 1),
        ("?way=mcp&users=administrators", "mcp", "gw", 0),
        ("?server=good&users=all", "openapi", "good", 1),
    ):
        answer = gateway.as_("caller").get(f"/api/openwebui/connection{query}")
        assert answer.headers["content-disposition"].startswith('attachment; filename="gateway')
        found = answer.json()
        assert (found["type"], found["info"]["id"], found["key"]) == (kind, id_, "YOUR_KEY")
        assert len(found["config"]["access_grants"]) == grants
        assert found["url"].startswith(f"http://127.0.0.1:{gateway.port}/")


def test_sightings_belong_to_their_check_and_end_with_it() -> None:
    sightings = openwebui.Sightings()
    with sightings.awaited() as (word, sighting), sightings.awaited() as (other, _):
        assert sightings.of(f"{openwebui.SIGHTING}={word}".encode()) is sighting
        assert sightings.of(f"x=1&{openwebui.SIGHTING}={word}&y".encode()) is sighting
        for query in (
            b"",
            b"x=1",
            f"{openwebui.SIGHTING}={word}0".encode(),
            f"x{openwebui.SIGHTING}={other}".encode(),
        ):
            assert sightings.of(query) is None
        for _ in range(100):
            sighting.add(401, "h")
        assert len(sighting.statuses) == openwebui.STATUSES_MAX
    assert sightings.open == {}
