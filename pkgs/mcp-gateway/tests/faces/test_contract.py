"""The contract of REST, tried from outside: every answer is one that `/openapi.json` announces.

schemathesis reads the document of a real gateway and asks every operation with what the document allows,
with what lies at its edges and with what it forbids. No 5xx but those of calls to servers that are down, no
status, type or shape that is not written down, nothing forbidden accepted.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faces.exploring import CALL, STREAM, Known, bustle, config, explore
from tests.faces.knocking import check_log
from tests.harness import Gateway, hostile

FEW = 12  # examples of each operation, beside those at its edges: enough that each has met what it can meet
MANY = 400
LARGE_BYTES = 10 * 2**20 + 1  # this much makes an artifact

SERVERS = {
    "good": hostile("good"),
    "spare": hostile("good"),
    "other": hostile("good"),
    "off": hostile("good", enabled=False),
}


def known(gateway: Gateway, *servers: str) -> Known:
    """A gateway where everything that has an id exists at least once."""
    asynchronous = {"Prefer": "respond-async"}  # only of such a call there is a stream afterwards
    call = gateway.request("POST", "/api/tools/good/echo", {"text": "known"}, asynchronous).json()
    large = gateway.call("good", "blob", bytes=LARGE_BYTES).json()
    return Known(
        servers=servers,
        switched=("spare",),
        trimmed=("other",),
        tools=("echo", "fail", "pid", "progress", "refuse"),
        calls=(call["id"],),
        artifacts=(large["_meta"]["mcp-gateway/artifact"]["id"],),
    )


def documented(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every operation of the document, by its name as `GET /api/servers`."""
    document = gateway.get("/openapi.json").json()
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def streams(operations: dict[str, dict[str, Any]]) -> set[str]:
    return {
        label
        for label, operation in operations.items()
        if any(STREAM in answer.get("content", {}) for answer in operation["responses"].values())
    }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(SERVERS, tmp_path_factory.mktemp("contract")) as gateway:
        for server in ("good", "spare", "other"):
            gateway.wait_for_state(server, "ready")
        with bustle(gateway, "good", {}):
            yield gateway
        check_log(gateway)


@pytest.mark.parametrize(
    "examples", [FEW, pytest.param(MANY, marks=(pytest.mark.long, pytest.mark.timeout(900)))]
)
def test_every_answer_is_one_that_the_document_announces(gateway: Gateway, examples: int) -> None:
    operations = documented(gateway)
    found = explore(gateway, config(known(gateway, "good", "off"), examples, {}), {})
    assert not found.failures, "\n\n".join(found.failures[:10])
    # Nothing was left out, and nothing was only ever refused.
    assert found.asked == found.succeeded() == set(operations)
    for label, operation in operations.items():
        if "{" in label:
            assert found.answered(label, 404), f"{label}: {found.statuses[label]}"
        if operation.get("requestBody", {}).get("required"):
            assert found.answered(label, 400, 415), f"{label}: {found.statuses[label]}"
    assert found.answered(CALL, 200, 202, 400, 404, 415, 503), found.statuses[CALL]
    assert found.answered("GET /api/artifacts/{id}", 200, 206)


@pytest.mark.parametrize(
    "examples", [FEW, pytest.param(MANY, marks=(pytest.mark.long, pytest.mark.timeout(900)))]
)
def test_every_event_of_a_stream_is_one_that_the_document_announces(gateway: Gateway, examples: int) -> None:
    labels = streams(documented(gateway))
    found = explore(gateway, config(known(gateway, "good"), examples, {"Accept": STREAM}, *labels), {})
    assert found.asked == labels
    assert not found.failures, "\n\n".join(found.failures[:10])
    assert {label for label, kinds in found.kinds.items() if STREAM in kinds} == labels
