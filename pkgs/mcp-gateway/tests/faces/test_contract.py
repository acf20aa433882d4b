"""The contract of REST, tried from outside: every answer is one that `/openapi.json` announces.

schemathesis reads the document of a real gateway and asks every operation with what the document allows,
with what lies at its edges and with what it forbids: of a gateway that asks nobody who they are, and of one
that does, with a key for everything, with one for little, with made-up ones and with none. No 5xx but those
of calls to servers that are down, no status, type or shape that is not written down, nothing forbidden
accepted, and nobody gets what, by the document, takes a right they do not have.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faces.exploring import (
    CALL,
    CALL_TOOL_API,
    CONNECT_OPEN_WEBUI,
    FILE,
    LINK,
    MAKE,
    REVOKE,
    SIGN_IN,
    STREAM,
    TRIM_MANY,
    Known,
    bustle,
    config,
    explore,
)
from tests.faces.knocking import BOTH_KINDS, Mcp, check_log, shelf
from tests.harness import Gateway, hostile, until

FEW: Final = 12  # examples of each operation, beside those at its edges; enough to meet what there is
FEWER: Final = 3  # where all answers are the same
LONG: Final = pytest.param(150, marks=(pytest.mark.long, pytest.mark.timeout(1200)))
LARGE_BYTES: Final = 10 * 2**20 + 1  # this much makes an artifact

Operations = dict[str, dict[str, Any]]
Headers = Mapping[str, str]

SERVERS: Final = {
    "good": hostile("good"),
    "spare": hostile("good"),
    "other": hostile("good"),
    "off": hostile("good", enabled=False),
}
SHELF: Final[dict[str, Any]] = {
    "capabilities": {"resources": {}, "prompts": {}},
    "resources": [{"uri": "x://known", "name": "known"}],
    "templates": [{"uriTemplate": "x://{name}", "name": "named"}],
    "prompts": [{"name": "known"}],
}
RIGHTS: Final = {
    "local": {"read", "call", "operate"},  # who sits at the machine of an open gateway
    "reader": {"read"},
    "keeper": {"read", "call", "operate", "admin"},
}
TEXTS: Final = {
    "reader": "key-of-the-reader-0f3a9c5e81d24b76",
    "keeper": "key-of-the-keeper-7be214c09a3f5d68",
}
# Every call belongs to whoever made it, and who may not call has none.
OF_WHO_CALLED: Final = {"GET /api/calls/{id}", "DELETE /api/calls/{id}"}


def bearer(who: str) -> Headers:
    return {"Authorization": f"Bearer {TEXTS[who]}"} if who in TEXTS else {}


@contextmanager
def running(directory: Path, who: str, settings: dict[str, Any]) -> Iterator[Gateway]:
    """A gateway where something happens all the time, by somebody with these rights."""
    servers = SERVERS | {"shelf": shelf(directory, "shelf", SHELF)}
    with Gateway(servers, directory, settings) as gateway:
        counts = {"ready": len(servers) - 1, "off": 1}
        until(lambda: gateway.get("/ready").json()["servers"] == counts, 10, "the servers are ready")
        with bustle(gateway, "good", bearer(who)):
            yield gateway
        check_log(gateway)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("open"), "local", {}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that lets nobody in without a key; nobody is told to slow down."""
    directory = tmp_path_factory.mktemp("guarded")
    keys = []
    for who, text in TEXTS.items():
        file = directory / who
        file.write_text(text)
        file.chmod(0o600)
        keys.append({"name": who, "file": str(file), "scopes": {"rights": sorted(RIGHTS[who])}})
    settings = {"auth": {"keys": keys}, "limits": {"rate": 100_000}}
    with running(directory, "keeper", settings) as gateway:
        yield gateway


def known(gateway: Gateway, who: str, *servers: str) -> Known:
    """A gateway where everything that has an id exists at least once, as far as its caller may."""
    headers = bearer(who)
    calls: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    sign_ins: tuple[str, ...] = ()
    keys: tuple[str, ...] = ("keeper",)  # declared: it cannot be revoked
    if "call" in RIGHTS[who]:
        asynchronous = {"Prefer": "respond-async"}  # only of such a call there is a stream afterwards
        call = gateway.request("POST", "/api/tools/good/echo", {"text": "known"}, {**headers, **asynchronous})
        large = gateway.request("POST", "/api/tools/good/blob", {"bytes": LARGE_BYTES}, headers).json()
        calls, artifacts = (call.json()["id"],), (large["_meta"]["mcp-gateway/artifact"]["id"],)
    if "admin" in RIGHTS[who]:
        made = [gateway.request("POST", "/api/keys", {"name": f"key {n}"}, headers).json() for n in range(9)]
        keys = (*keys, *(key["id"] for key in made))
        for _ in range(9):
            code = (gateway.state_dir / "one-time-code").read_text().strip()
            assert gateway.request("POST", "/api/sign-in", {"code": code}).status == 200
        shown = gateway.request("GET", "/api/sign-ins", headers=headers).json()["signIns"]
        sign_ins = tuple(one["id"] for one in shown)
    introduction = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
    for _ in range(9):  # each can be closed once
        body = Mcp.message("initialize", introduction, 1)
        assert gateway.request("POST", "/mcp", body, {**headers, "Accept": BOTH_KINDS}).status == 200
    listed = gateway.request("GET", "/api/sessions", headers=headers).json()["sessions"]
    return Known(
        servers=servers or ("good", "off"),
        switched=("spare",),
        trimmed=("other",),
        tools=("echo", "fail", "pid", "progress", "refuse"),
        calls=calls,
        artifacts=artifacts,
        keys=keys,
        shelves=("shelf", "off"),
        uris=("x://known", "x://missing"),
        prompts=("known",),
        sessions=tuple(session["id"] for session in listed),
        sign_ins=sign_ins,
    )


def documented(gateway: Gateway, headers: Headers) -> Operations:
    """Every operation of the document, by its name as `GET /api/servers`."""
    document = gateway.request("GET", "/openapi.json", headers=headers).json()
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def public(operations: Operations) -> set[str]:
    return {label for label, operation in operations.items() if not operation["security"]}


def allowed(operations: Operations, rights: set[str]) -> set[str]:
    """What the document says somebody with these rights may ask."""
    found = public(operations)
    for label, operation in operations.items():
        taken = {tuple(roles) for credential in operation["security"] for roles in credential.values()}
        if any(rights.issuperset(roles) for roles in taken):
            found.add(label)
    return found


@pytest.mark.parametrize("examples", [FEW, LONG])
@pytest.mark.parametrize("who", RIGHTS)
def test_every_answer_is_one_that_the_document_announces(
    request: pytest.FixtureRequest, who: str, examples: int
) -> None:
    gateway: Gateway = request.getfixturevalue("gateway" if who == "local" else "guarded")
    headers = bearer(who)
    operations = documented(gateway, headers)
    found = explore(gateway, config(known(gateway, who), examples, headers), headers)
    assert not found.failures, "\n\n".join(found.failures[:10])
    # Nothing was left out, nothing was only ever refused, and nobody got what is not theirs.
    may = allowed(operations, RIGHTS[who])
    assert found.asked == set(operations)
    # Nobody guesses a password, nor names in a body, nor a sealed link, nor where an Open WebUI is.
    in_vain = {SIGN_IN, TRIM_MANY, FILE, CONNECT_OPEN_WEBUI} | (
        set() if "call" in RIGHTS[who] else OF_WHO_CALLED
    )
    assert found.succeeded() == may - in_vain
    for label in set(operations) - may - {CALL, CALL_TOOL_API}:
        assert set(found.statuses[label]) == {403}, f"{label}: {found.statuses[label]}"
    for label in may:
        if "{" in label:
            assert found.answered(label, 404), f"{label}: {found.statuses[label]}"
        if operations[label].get("requestBody", {}).get("required"):
            assert found.answered(label, 400, 415), f"{label}: {found.statuses[label]}"
    if "call" in RIGHTS[who]:
        assert found.answered(CALL, 200, 202, 400, 404, 415, 503), found.statuses[CALL]
        assert found.answered(CALL_TOOL_API, 200, 400, 404, 503), found.statuses[CALL_TOOL_API]
        assert found.answered("GET /api/artifacts/{id}", 200, 206)
    if "admin" in RIGHTS[who]:
        assert found.answered(MAKE, 201)
        assert found.answered(REVOKE, 204, 409)


@pytest.mark.parametrize("examples", [FEW, LONG])
def test_every_event_of_a_stream_is_one_that_the_document_announces(gateway: Gateway, examples: int) -> None:
    labels = {
        label
        for label, operation in documented(gateway, {}).items()
        if any(STREAM in answer.get("content", {}) for answer in operation["responses"].values())
    }
    settings = config(known(gateway, "local", "good"), examples, {"Accept": STREAM}, *labels)
    found = explore(gateway, settings, {})
    assert not found.failures, "\n\n".join(found.failures[:10])
    assert found.asked == labels
    assert {label for label, kinds in found.kinds.items() if STREAM in kinds} == labels


@pytest.mark.parametrize("examples", [FEWER, LONG])
@pytest.mark.parametrize("made_up", [False, True], ids=["no credential", "made-up credentials"])
def test_who_has_no_key_gets_nothing_but_what_is_public(
    guarded: Gateway, examples: int, made_up: bool
) -> None:
    operations = documented(guarded, bearer("keeper"))
    # Of a path that is not for them strangers do not even hear which methods it takes.
    unchecked = ("unsupported_method",)
    there_is = known(guarded, "keeper")
    settings = config(there_is, examples, {}, credentials=made_up, unchecked=unchecked)
    found = explore(guarded, settings, bearer("keeper"))
    assert not found.failures, "\n\n".join(found.failures[:10])
    assert found.asked == set(operations)
    assert found.succeeded() == public(operations) - {SIGN_IN, LINK, FILE} == {"GET /health", "GET /ready"}
    # One-time codes are not to be guessed: after some, whoever comes with one has to wait.
    refusals = {401, 429} if made_up else {401}
    for label in set(operations) - public(operations):
        assert set(found.statuses[label]) <= refusals, f"{label}: {found.statuses[label]}"
        assert set(found.others[label]) <= refusals, f"{label}: {found.others[label]}"
