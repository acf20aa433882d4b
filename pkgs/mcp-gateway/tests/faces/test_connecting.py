"""What each client is told to connect with: the texts as such, and at the real gateway.

`docs/connecting.md` says the same of the usual address, and what it says is tried (`test_documented.py`); so
here it is held that both are the same texts.
"""

import json
import re
import shlex
import tomllib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from mcp_gateway.faces.connecting import Endpoint, Way, clients, connection, notes, reach_of
from mcp_gateway.faces.reaching import Around, findings, suggested
from tests.faces.knocking import check_log, check_problem
from tests.harness import Gateway, hostile
from tests.security.cast import Guarded, wait_ready
from tests.strangers import open_directory
from tests.test_unix_socket import OverSocket

PAGE: Final = Path(__file__).resolve().parents[4] / "docs" / "connecting.md"
HOME: Final = "http://127.0.0.1:8085"
PUBLIC: Final = "https://mcp.example.com"
CLIENTS: Final = {
    *(
        "open-webui-openapi",
        "open-webui-mcp",
        "open-webui-code",
        "claude-code",
        "claude-desktop",
        "claude-ai",
        "chatgpt",
    ),
    *("vscode", "cursor", "codex", "gemini-cli", "lm-studio", "curl"),
}
NOT_YET: Final = {"claude-ai", "chatgpt"}
WITHOUT_MCP: Final = {"curl", "open-webui-openapi", "open-webui-code"}
PLACES: Final = [
    Endpoint(base, server, needs_key=needs_key)
    for base in (HOME, PUBLIC, "http://[::1]:8085", "http://192.168.1.5:8085", "https://box.tail1.ts.net")
    for server in (None, "git")
    for needs_key in (True, False)
]


def told(at: Endpoint) -> dict[str, dict[str, Any]]:
    return {client["id"]: client for client in clients(at)}


def texts(client: dict[str, Any], language: str) -> list[str]:
    return [snippet["text"] for snippet in client["snippets"] if snippet["language"] == language]


def of_link(link: str) -> dict[str, Any]:
    """The configuration that a link carries."""
    parts = urlsplit(link)
    if parts.scheme == "vscode":
        found: dict[str, Any] = json.loads(unquote(parts.query))
    else:
        found = json.loads(b64decode(parse_qs(parts.query, strict_parsing=True)["config"][0]))
    return found


@pytest.mark.parametrize("at", PLACES, ids=str)
def test_every_client_is_told_the_one_url_in_a_text_that_it_can_read(at: Endpoint) -> None:
    found = told(at)
    assert found.keys() == CLIENTS
    for client in found.values():
        for text in texts(client, "json"):
            json.loads(text)
        for text in texts(client, "toml"):
            tomllib.loads(text)
        for text in texts(client, "yaml"):
            name, _, value = text.partition(": ")
            assert name == "TOOL_SERVER_CONNECTIONS"
            json.loads(value.removeprefix("'").removesuffix("'"))
        for text in texts(client, "sh"):
            assert "\n" not in text
            assert any(word.startswith(at.base) for word in shlex.split(text))
        if client["works"]:
            assert all(at.base in snippet["text"] for snippet in client["snippets"])
            assert client["snippets"]
            assert "why" not in client
        if "link" in client:
            assert of_link(client["link"])["url"] == at.url
    assert {name for name, client in found.items() if not client["works"]} == NOT_YET


@pytest.mark.parametrize("at", PLACES, ids=str)
def test_a_key_is_a_placeholder_and_where_nobody_is_asked_there_is_none(at: Endpoint) -> None:
    for client in clients(at):
        written = json.dumps([client["snippets"], of_link(client["link"]) if "link" in client else None])
        assert "mgk_" not in written
        if not at.needs_key:
            for word in ("Authorization", "Bearer", "YOUR_KEY", "GATEWAY_KEY", "gateway-key"):
                assert word not in written, client["id"]
        elif client["works"]:
            assert re.search(r"YOUR_KEY|GATEWAY_KEY|gateway-key", written), client["id"]


@pytest.mark.parametrize("at", PLACES, ids=str)
def test_who_comes_from_the_internet_is_said_not_to_work_and_gets_nothing_to_try(at: Endpoint) -> None:
    for name in ("claude-ai", "chatgpt"):
        client = told(at)[name]
        assert (client["works"], client["sendsKey"], client["snippets"]) == (False, False, [])
        assert "link" not in client
        assert "OAuth" in client["why"]


@pytest.mark.parametrize(
    ("base", "reach"),
    [
        ("http://localhost:8085", "machine"),
        ("http://127.0.0.1", "machine"),
        ("http://[::1]:1", "machine"),
        ("http://192.168.1.5:8085", "network"),
        ("http://100.101.102.103", "network"),
        ("http://[fd00::5]:8085", "network"),
        ("http://box:8085", "network"),
        ("https://box.local", "network"),
        ("https://box.tail1.ts.net", "tailnet"),
        ("https://mcp.example.com:8443", "internet"),
        ("https://8.8.8.8", "internet"),
    ],
)
def test_from_where_an_address_is_reached_is_told_by_it(base: str, reach: str) -> None:
    assert reach_of(base) == reach


def test_what_the_address_is_like_is_said() -> None:
    def said(base: str, *, needs_key: bool = True, knows_tailnet: bool = False) -> str:
        return " ".join(notes(Endpoint(base, needs_key=needs_key, knows_tailnet=knows_tailnet)))

    assert "own machine" in said(HOME)
    assert "not https" in said("http://192.168.1.5:8085")
    assert "not https" not in said(PUBLIC) + said(HOME)
    assert "log-in" in said("https://box.tail1.ts.net", knows_tailnet=True)
    assert said(PUBLIC, needs_key=False) == ""


def test_where_mcp_is_closed_only_what_needs_none_works() -> None:
    found = told(Endpoint(HOME, is_mcp_open=False))
    assert {name for name, client in found.items() if client["works"]} == WITHOUT_MCP
    assert all("/mcp" not in json.dumps(found[name]["snippets"]) for name in WITHOUT_MCP)
    assert all("mcp.enabled" in found[name]["why"] for name in CLIENTS - WITHOUT_MCP)


@pytest.mark.parametrize("at", PLACES, ids=str)
@pytest.mark.parametrize("way", ["openapi", "mcp"])
def test_open_webui_is_told_the_same_as_a_file_and_for_its_environment(at: Endpoint, way: Way) -> None:
    client = told(at)[f"open-webui-{way}"]
    (made,), (line,) = texts(client, "json"), texts(client, "yaml")
    key = "YOUR_KEY" if at.needs_key else ""
    assert json.loads(made) == connection(at, way, key=key, for_all_users=True)
    assert json.loads(line.partition(": ")[2].strip("'")) == [json.loads(made)]
    found = json.loads(made)
    where = at.url if way == "mcp" else f"{at.base}/tools" + ("" if at.server is None else "/git")
    assert (found["url"], found["path"]) == (where, "" if way == "mcp" else "openapi.json")
    assert found["auth_type"] == ("bearer" if at.needs_key else "none")
    assert not set(":|") & set(found["info"]["id"])  # which Open WebUI refuses
    assert len(found["config"]["access_grants"]) == 1
    ours = Endpoint(at.base, at.server, needs_key=at.needs_key, for_all_users=False)
    narrowed = told(ours)[f"open-webui-{way}"]
    assert json.loads(texts(narrowed, "json")[0])["config"]["access_grants"] == []
    query = parse_qs(urlsplit(narrowed["snippets"][0]["download"]).query)
    assert query == {
        "way": [way],
        "url": [at.base],
        "users": ["administrators"],
        **({} if at.server is None else {"server": [at.server]}),
    }


def around(listening: str = "127.0.0.1", *public: str, cors: tuple[str, ...] = ()) -> Around:
    is_guarded = bool(public) or listening != "127.0.0.1"
    return Around(listening, 8085, public, cors, is_guarded)


@pytest.mark.parametrize(
    ("known", "base", "tone", "words"),
    [
        (around(), "http://localhost:8085", "uneasy", "wrong from within a container"),
        (around(), "http://127.0.0.1:8085", "uneasy", "wrong from within a container"),
        (around(), "http://gateway:8085", "bad", "into `publicUrl`"),
        (around(), "http://gateway:8085", "bad", "listens on 127.0.0.1 only"),
        (around("127.0.0.1", PUBLIC), PUBLIC, "uneasy", "if a proxy leads here"),
        (
            around("0.0.0.0", "http://gateway:8085"),
            "http://gateway:8085",
            "good",
            "answers to `gateway:8085`",
        ),
        (around("0.0.0.0", "http://gateway:8085"), "http://gateway:8085", "uneasy", "unencrypted"),
        (around("0.0.0.0", "http://gateway:8085"), "http://gateway:80", "bad", "into `publicUrl`"),
        (around("0.0.0.0"), "http://192.168.1.5:8085", "good", "answers to"),
        (around("192.168.1.5"), "http://192.168.1.6:8085", "bad", "into `publicUrl`"),
        (around("0.0.0.0"), "https://192.168.1.5:8085", "bad", "speaks http"),
        (around("::"), "http://[fd00::5]:8085", "good", "answers to"),
    ],
)
def test_what_is_known_of_the_way_to_the_gateway_is_said_for_open_webuis_server(
    known: Around, base: str, tone: str, words: str
) -> None:
    said = [(one["tone"], one["says"]) for one in findings(known, base, base) if one["side"] == "server"]
    assert [one for one in said if one[0] == tone and words in one[1]], said
    assert not {"good", "bad"} <= set(dict(said))


@pytest.mark.parametrize(
    ("cors", "base", "page", "tone", "words"),
    [
        ((), PUBLIC, None, "bad", "into `corsOrigins`"),
        (("https://chat.test",), PUBLIC, None, "good", "`https://chat.test`"),
        (("https://chat.test",), PUBLIC, "https://chat.test", "good", "may call"),
        (("https://chat.test",), PUBLIC, "https://other.test", "bad", "put that into `corsOrigins`"),
        (("https://chat.test",), "http://box:8085", "https://chat.test", "bad", "https only"),
        ((), HOME, None, "uneasy", "right for you alone"),
    ],
)
def test_and_for_the_browsers_of_its_users(
    cors: tuple[str, ...], base: str, page: str | None, tone: str, words: str
) -> None:
    said = [one for one in findings(around(cors=cors), HOME, base, page) if one["side"] == "browser"]
    assert [one for one in said if one["tone"] == tone and words in one["says"]], said


def test_the_address_for_open_webuis_server_is_a_public_one_where_there_is_one() -> None:
    assert suggested(around()) == HOME
    assert suggested(around("0.0.0.0", PUBLIC, "http://box:1")) == PUBLIC
    assert suggested(around("192.168.1.5")) == "http://192.168.1.5:8085"


def test_plain_http_to_another_machine_is_allowed_where_a_client_wants_to_be_told() -> None:
    for base, is_allowed in ((HOME, False), (PUBLIC, False), ("http://192.168.1.5:8085", True)):
        (text,) = texts(told(Endpoint(base))["claude-desktop"], "json")
        assert ("--allow-http" in text) is is_allowed


def test_the_documentation_says_the_same() -> None:
    found = told(Endpoint(HOME))
    page = PAGE.read_text()

    def blocks(language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    documented = [json.loads(block) for block in blocks("json")]
    desktop = json.loads(texts(found["claude-desktop"], "json")[0])
    desktop["mcpServers"]["gateway"]["env"]["GATEWAY_AUTH"] = "Bearer mgk_..."
    ours = [
        json.loads(texts(found[name], "json")[0])
        for name in ("claude-code", "vscode", "cursor", "gemini-cli")
    ]
    for one in (*ours, desktop):
        assert one in documented, one
    assert len(documented) == len(ours) + 1
    assert [tomllib.loads(block) for block in blocks("toml")] == [
        tomllib.loads(texts(found["codex"], "toml")[0])
    ]
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    for name in ("claude-code", "codex"):
        assert texts(found[name], "sh")[0] in commands
    (container,) = blocks("yaml")
    ours_yaml = texts(found["open-webui-openapi"], "yaml")[0]
    assert container.strip() == ours_yaml.replace(HOME, "http://gateway:8085").replace("YOUR_KEY", "mgk_...")


# -- at the gateway -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway({"good": hostile("good")}, tmp_path_factory.mktemp("opened")) as gateway:
        gateway.wait_for_state("good", "ready")
        yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys = {
        "caller": {"rights": ["call"]},
        "reader": {"rights": ["read"], "servers": ["good"]},
        "operator": {"rights": ["operate"]},
    }
    with open_directory() as place:
        settings = {
            "publicUrl": ["https://gw.example.test", "http://gw.example.test:8080"],
            "socket": str(place / "gateway.sock"),
        }
        servers = {"good": hostile("good"), "other": hostile("good")}
        with Guarded(servers, tmp_path_factory.mktemp("guarded"), settings, keys=keys) as gateway:
            wait_ready(gateway, "good", "other")
            yield gateway
            check_log(gateway)


def at(gateway: Gateway, host: str, query: str = "") -> dict[str, Any]:
    answer = gateway.request("GET", f"/api/connect{query}", headers={"Host": host})
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json()
    return found


def test_the_address_is_the_one_by_which_the_page_was_reached(opened: Gateway) -> None:
    for host in (f"127.0.0.1:{opened.port}", f"LocalHost:{opened.port}", "localhost:80", "[::1]:7"):
        found = at(opened, host)
        base = f"http://{host.lower().removesuffix(':80')}"
        assert found["urls"] == {
            "base": base,
            "mcp": f"{base}/mcp",
            "sse": f"{base}/mcp/sse",
            "tools": f"{base}/tools",
            "offered": [base],
        }
        assert (found["needsKey"], found["reach"]) == (False, "machine")


def test_what_is_told_to_paste_into_curl_works(opened: Gateway) -> None:
    urls = [word for text in curl(at(opened, f"127.0.0.1:{opened.port}")) for word in text if "http" in word]
    listed, called, mcp = (url.partition(f":{opened.port}")[2] for url in urls)
    assert opened.get(listed).status == 200
    assert opened.request("POST", called.replace("SERVER/TOOL", "good/pid"), {}).status == 200
    hello = json.loads(curl(at(opened, f"127.0.0.1:{opened.port}"))[2][-2])
    accept = {"Accept": "application/json, text/event-stream"}
    assert opened.request("POST", mcp, hello, accept).status == 200


def test_every_file_that_is_offered_is_there_and_so_is_the_link(opened: Gateway) -> None:
    for query in ("", "?server=good", "?users=administrators"):
        told = at(opened, f"127.0.0.1:{opened.port}", query)
        found = [one for client in told["clients"] for one in client["snippets"]]
        files = [one["download"] for one in found if "download" in one]
        assert len(files) == 3
        for path in files:
            assert path.startswith("/api/openwebui/")
            assert opened.get(path).status == 200, path
    told = at(opened, f"127.0.0.1:{opened.port}", "?server=good")
    (code,) = (client for client in told["clients"] if client["id"] == "open-webui-code")
    link = code["snippets"][1]["text"]
    path = shlex.split(link)[-1].partition(f":{opened.port}")[2]
    answer = opened.request("POST", path)
    assert answer.status == 200, answer
    assert "token=" in answer.json()["url"]


def curl(document: dict[str, Any]) -> list[list[str]]:
    (client,) = (client for client in document["clients"] if client["id"] == "curl")
    return [shlex.split(text) for text in texts(client, "sh")]


def test_the_other_public_addresses_are_offered_and_can_be_chosen(guarded: Guarded) -> None:
    public, plain, here = (
        "https://gw.example.test",
        "http://gw.example.test:8080",
        f"http://127.0.0.1:{guarded.port}",
    )
    gateway = guarded.as_("full")
    for host, offered in (
        ("gw.example.test", [public, plain, here]),
        ("gw.example.test:443", [public, plain, here]),
        ("gw.example.test:8080", [plain, public, here]),
        (f"127.0.0.1:{guarded.port}", [here, public, plain]),
    ):
        found = at(gateway, host)
        assert found["urls"]["offered"] == offered
        assert found["urls"]["base"] == offered[0]
        assert found["needsKey"]
    assert at(gateway, "gw.example.test", f"?url={plain}")["urls"]["mcp"] == f"{plain}/mcp"
    for stranger in ("https://evil.example", "", public + "/", "javascript:alert(1)"):
        answer = gateway.request("GET", f"/api/connect?url={stranger}", headers={"Host": "gw.example.test"})
        check_problem(answer, 404, "unknown", "urls.offered")


def test_over_the_socket_there_is_no_localhost(guarded: Guarded) -> None:
    connection = OverSocket(Path(guarded.gateway["socket"]))
    try:
        connection.request("GET", "/api/connect", headers=guarded.identity)
        found = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert found["urls"]["offered"] == [
        "https://gw.example.test",
        "http://gw.example.test:8080",
        f"http://127.0.0.1:{guarded.port}",
    ]


def test_one_server_is_told_to_who_sees_it_and_no_other(guarded: Guarded) -> None:
    for who, server, status in (
        ("full", "good", 200),
        ("caller", "good", 200),
        ("reader", "good", 200),
        ("reader", "other", 404),
        ("full", "nothing", 404),
        ("full", "good%2f..%2f", 404),
        ("operator", "good", 403),
    ):
        answer = guarded.as_(who).get(f"/api/connect?server={server}")
        assert answer.status == status, answer
        if status == 200:
            assert answer.json()["urls"]["mcp"].endswith("/servers/good/mcp")
        elif status == 404:
            check_problem(answer, 404, "unknown")
    assert guarded.nobody.get("/api/connect").status == 401


def test_no_secret_is_in_what_is_told(guarded: Guarded) -> None:
    body = guarded.as_("full").get("/api/connect").body.decode()
    assert not any(text in body for text in guarded.texts.values())


def test_where_mcp_is_closed_it_is_said(tmp_path: Path) -> None:
    with Gateway({"good": hostile("good")}, tmp_path, {"mcp": {"enabled": False}}) as gateway:
        found = gateway.get("/api/connect").json()
        assert found["urls"]["mcp"] is None
        assert {client["id"] for client in found["clients"] if client["works"]} == WITHOUT_MCP
        # What the file says now holds after a restart; until then MCP stays closed.
        gateway.gateway = {"mcp": {"enabled": True}}
        gateway.reconfigure()
        gateway.reload()
        assert gateway.get("/api/connect").json()["urls"]["mcp"] is None
        assert gateway.request("POST", "/mcp", {}).status == 404
