"""Large results through every face: a document at once, and every byte of the server's from the artifact."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from tests.faces.knocking import Api, Mcp, check_log, check_problem, check_rpc_error, exact, tool_path
from tests.golden.exact import huge_result
from tests.harness import Answer, Gateway, Neighbour, hostile, until

MIB = 1 << 20
UNITS = 50_000_000 // 8
SMALL_UNITS = 11 * MIB // 8  # just beyond the threshold
ASYNC = {"Prefer": "respond-async"}
META = "mcp-gateway/artifact"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    servers = {"exact": exact(), "good": hostile("good"), "narrow": exact(maxResult="12MiB")}
    with Gateway(servers, tmp_path_factory.mktemp("artifacts")) as gateway:
        for server in servers:
            gateway.wait_for_state(server, "ready")
        yield Api(gateway)
        check_log(gateway)
    assert left_in(gateway) == []


def left_in(gateway: Gateway) -> list[Path]:
    return [path for name in ("artifacts", "spool") for path in (gateway.state_dir / name).iterdir()]


@pytest.fixture(scope="module")
def small() -> bytes:
    return huge_result(SMALL_UNITS)


@pytest.fixture(scope="module")
def kept(api: Api) -> dict[str, Any]:
    """A result just beyond the threshold, as its artifact is told."""
    return artifact_of(api.call("exact", "huge", units=SMALL_UNITS).json())


def artifact_of(document: Any) -> dict[str, Any]:
    about: dict[str, Any] = document["_meta"][META]
    link = document["content"][1]
    assert link["type"] == "resource_link"
    assert (link["uri"], link["size"]) == (about["uri"], about["size"])
    assert about["uri"] in document["content"][0]["text"]
    return about


def peak_bytes(pid: int) -> int:
    """The most memory a process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell VmHWM")


def test_fifty_megabytes_cost_little_memory_and_lose_no_byte(api: Api) -> None:
    gateway = api.gateway
    expected = huge_result(UNITS)
    before = peak_bytes(gateway.pid)
    with Neighbour(gateway, "good") as neighbour:
        answer = api.call("exact", "huge", units=UNITS)
        about = artifact_of(answer.json())
        digest, size = sha256(), 0
        with gateway.open("GET", about["url"]) as response:
            assert response.getheader("content-length") == str(len(expected))
            while part := response.read(MIB):
                digest.update(part)
                size += len(part)
    assert (size, about["size"]) == (len(expected), len(expected))
    assert digest.digest() == sha256(expected).digest()
    assert peak_bytes(gateway.pid) - before < 40 * MIB
    assert neighbour.failures == []
    record = api.record(answer.call_id)
    assert (record["outcome"], record["responseBytes"]) == ("ok", len(expected))


def test_the_document_begins_with_the_first_part(api: Api, small: bytes) -> None:
    answer = api.call("exact", "huge", units=SMALL_UNITS)
    first = json.loads(small)["content"][0]["text"][:1_000]
    assert answer.text.startswith(first)
    assert f"{len(small):,} bytes" in answer.text
    assert answer.json()["isError"] is False
    assert len(answer.body) < 64 * 1024


def test_a_tool_that_reports_failure_at_length_has_failed(api: Api) -> None:
    answer = api.call("exact", "huge", units=SMALL_UNITS, failed=True)
    assert answer.status == 200
    assert answer.code == "tool_error"
    whole = api.get(artifact_of(answer.json())["url"])
    assert whole.body == huge_result(SMALL_UNITS, failed=True)
    assert api.record(answer.call_id)["outcome"] == "tool_error"


def test_a_stream_ends_with_the_document(api: Api, small: bytes) -> None:
    with api.events(tool_path("exact", "huge"), "POST", {"units": SMALL_UNITS}) as events:
        ((name, document),) = events
    assert name == "result"
    assert api.get(artifact_of(document)["url"]).body == small


def test_an_asynchronous_call_keeps_the_document(api: Api, small: bytes) -> None:
    begun = api.request("POST", tool_path("exact", "huge"), {"units": SMALL_UNITS}, ASYNC)
    assert begun.status == 202
    state = api.record(begun.json()["id"])
    assert state["responseBytes"] == len(small)
    assert api.get(artifact_of(state["result"])["url"]).body == small


def test_a_result_beyond_what_the_server_may_send_is_lost(api: Api) -> None:
    answer = api.call("narrow", "huge", units=13 * MIB // 8)
    check_problem(answer, 502, "lost", str(12 * MIB), server="narrow")
    api.gateway.wait_for_state("narrow", "ready")


# -- over REST ------------------------------------------------------------------------------------------


def get(api: Api, about: dict[str, Any], method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.gateway.request(method, about["url"], None, named)


def test_the_whole_says_what_it_is_and_is_nobody_elses_page(api: Api, kept: dict[str, Any]) -> None:
    answer = get(api, kept, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert (
        answer.headers.items()
        >= {
            "content-type": "application/json",
            "content-length": str(kept["size"]),
            "content-disposition": f'attachment; filename="{kept["id"]}.json"',
            "x-content-type-options": "nosniff",
            "accept-ranges": "bytes",
            "cache-control": "private, no-store",
        }.items()
    )
    assert "content-length" in get(api, kept).headers


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=100-", (100, None)),
        ("bytes=5-999999999999", (5, None)),
        ("bytes=-17", (-17, None)),
        ("bytes=-999999999999", (0, None)),
        ("bytes=1000-300000", (1_000, 300_001)),
    ],
)
def test_a_range_is_those_bytes(
    api: Api, kept: dict[str, Any], small: bytes, wanted: str, span: tuple[int, int | None]
) -> None:
    expected = small[slice(*span)]
    answer = get(api, kept, Range=wanted)
    assert (answer.status, answer.body) == (206, expected)
    start = span[0] % len(small)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(small)}"
    head = get(api, kept, "HEAD", Range=wanted)
    assert (head.status, head.body) == (206, b"")
    assert head.headers["content-length"] == str(len(expected))


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "bytes=-", "bytes=7-3", "lines=1-2", "bytes=a-b", "x"])
def test_a_range_that_is_none_is_ignored(api: Api, kept: dict[str, Any], wanted: str) -> None:
    answer = get(api, kept, "HEAD", Range=wanted)
    assert (answer.status, answer.headers["content-length"]) == (200, str(kept["size"]))


@pytest.mark.parametrize("wanted", ["bytes={size}-", "bytes=999999999999-", "bytes=-0"])
def test_a_range_without_bytes_is_refused(api: Api, kept: dict[str, Any], wanted: str) -> None:
    answer = get(api, kept, Range=wanted.format(**kept))
    check_problem(answer, 416, "invalid", str(kept["size"]))
    assert answer.headers["content-range"] == f"bytes */{kept['size']}"


def test_a_range_of_something_else_is_the_whole(api: Api, kept: dict[str, Any]) -> None:
    tag = get(api, kept, "HEAD").headers["etag"]
    assert get(api, kept, "HEAD", Range="bytes=0-9", If_Range=tag).status == 206
    assert get(api, kept, "HEAD", Range="bytes=0-9", If_Range='"another"').status == 200


@pytest.mark.parametrize("id", ["nothing", "", "..", "%2e%2e%2fport", "x" * 5_000])
def test_what_is_not_there_is_unknown(api: Api, id: str) -> None:
    answer = api.gateway.get(f"/api/artifacts/{id}")
    check_problem(answer, 404, "unknown")


# -- over MCP -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["/mcp", "/servers/exact/mcp"])
def session(api: Api, request: pytest.FixtureRequest) -> Mcp:
    return Mcp(api.gateway, request.param)


def read(session: Mcp, uri: Any) -> tuple[dict[str, Any], str]:
    result = session.ask("resources/read", {"uri": uri}, "r-1")["result"]
    (content,) = result["contents"]
    assert content["uri"] == uri
    return result["_meta"][META], content["text"]


def test_a_call_over_mcp_answers_the_document_and_the_resource_is_the_result(
    session: Mcp, small: bytes
) -> None:
    tool = "exact__huge" if session.endpoint == "/mcp" else "huge"
    about = artifact_of(session.call(tool, {"units": SMALL_UNITS})["result"])
    listed = {one["uri"]: one for one in session.ask("resources/list")["result"]["resources"]}
    assert listed[about["uri"]].items() >= {"name": "exact/huge", "size": len(small)}.items()
    told, text = read(session, about["uri"])
    assert text.encode() == small
    assert told == {"size": len(small), "offset": 0, "length": len(small)}


def test_parts_are_the_result_when_they_are_joined(session: Mcp, kept: dict[str, Any], small: bytes) -> None:
    parts: list[bytes] = []
    uri: str | None = f"{kept['uri']}?offset=0&length=1000003"
    while uri is not None:
        about, text = read(session, uri)
        assert about["length"] == len(text.encode())
        assert about["offset"] == sum(len(part) for part in parts)
        parts.append(text.encode())
        uri = about.get("next")
    assert b"".join(parts) == small
    assert 10 < len(parts) < 20
    assert read(session, f"{kept['uri']}?offset={len(small) - 7}")[1] == small[-7:].decode()
    assert read(session, f"{kept['uri']}?offset={len(small)}")[1] == ""


def test_the_template_says_how_parts_are_asked_for(session: Mcp) -> None:
    (template,) = session.ask("resources/templates/list")["result"]["resourceTemplates"]
    assert template["uriTemplate"] == "mcp-gateway://artifacts/{id}{?offset,length}"


@pytest.mark.parametrize(
    ("uri", "code", "kind"),
    [
        ("mcp-gateway://artifacts/nothing", -32002, "unknown"),
        ("mcp-gateway://artifacts/", -32002, "unknown"),
        ("file:///etc/passwd", -32002, "unknown"),
        (None, -32602, "invalid"),
        (7, -32602, "invalid"),
        ("{uri}?offset=-1", -32602, "invalid"),
        ("{uri}?offset=1&offset=2", -32602, "invalid"),
        ("{uri}?length=3", -32602, "invalid"),
        ("{uri}?page=3", -32602, "invalid"),
        ("{uri}?", -32602, "invalid"),
        ("{uri}?offset={within}", -32602, "invalid"),
        ("{uri}?offset=999999999", -32602, "invalid"),
    ],
)
def test_a_resource_that_is_none_is_an_error(
    session: Mcp, kept: dict[str, Any], small: bytes, uri: Any, code: int, kind: str
) -> None:
    if isinstance(uri, str):
        uri = uri.format(uri=kept["uri"], within=small.index("😀".encode()) + 2)
    check_rpc_error(session.ask("resources/read", {"uri": uri}), code, kind)


def test_an_artifact_is_no_resource_of_another_server(api: Api, kept: dict[str, Any]) -> None:
    other = Mcp(api.gateway, "/servers/good/mcp")
    assert other.ask("resources/list")["result"]["resources"] == []
    check_rpc_error(other.ask("resources/read", {"uri": kept["uri"]}), -32002, "unknown", "no such artifact")


# -- when it cannot be kept -----------------------------------------------------------------------------


def test_without_room_on_disk_the_call_is_lost_and_others_go_on(tmp_path: Path) -> None:
    with Gateway({"exact": exact(), "good": hostile("good")}, tmp_path) as gateway:
        pid = gateway.wait_for_state("exact", "ready")["pid"]
        gateway.wait_for_state("good", "ready")
        process = psutil.Process(gateway.pid)
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (8 * MIB, before[1]))
        with Neighbour(gateway, "good") as neighbour:
            answer = gateway.call("exact", "huge", units=SMALL_UNITS)
        check_problem(answer, 502, "lost", "could not be put on disk", server="exact")
        assert neighbour.failures == []
        assert left_in(gateway) == []
        process.rlimit(psutil.RLIMIT_FSIZE, before)
        again = gateway.call("exact", "huge", units=SMALL_UNITS)
        assert gateway.get(artifact_of(again.json())["url"]).status == 200
        assert gateway.server("exact")["pid"] == pid, "the server has done nothing wrong"
        gateway.check_records("exact")
    check_log(gateway)


def test_nothing_of_an_earlier_run_can_be_reached(tmp_path: Path) -> None:
    gateway = Gateway({"exact": exact()}, tmp_path)
    with gateway:
        gateway.wait_for_state("exact", "ready")
        url = artifact_of(gateway.call("exact", "huge", units=SMALL_UNITS).json())["url"]
        gateway.kill()
        assert left_in(gateway) != []
        gateway.start()
        until(lambda: left_in(gateway) == [], 10, "the files are deleted")
        check_problem(gateway.get(url), 404, "unknown")
        assert quote(url) == url
    assert left_in(gateway) == []
