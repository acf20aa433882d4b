"""`POST /tools/{server}/{tool}` of the real command: arguments in, answers as HTTP clients expect them."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.faces.knocking import check_problem
from tests.harness import Answer, Gateway, parse_events
from tests.security.cast import Guarded
from tests.tools.conftest import FREE, NAMES, STRICT, saying

PNG = b"\x89PNG\r\n"
IMAGE = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(PNG).decode()}


def call(gateway: Gateway, path: str, arguments: Any, **headers: str) -> Answer:
    return gateway.request("POST", f"/tools/{path}", arguments, headers)


def say(gateway: Gateway, content: list[Any], accept: str = "*/*", **more: Any) -> Answer:
    return call(gateway, "saying/free", {"say": json.dumps({"content": content} | more)}, Accept=accept)


def got(answer: Answer) -> Any:
    """The arguments that reached the server."""
    assert answer.status == 200, answer
    text: str = answer.json()
    return json.loads(text.removeprefix("got "))


def detail_of(gateway: Gateway, answer: Answer) -> str | None:
    record = gateway.get(f"/api/calls/{answer.headers['mcp-gateway-call']}").json()
    assert record["face"] == "openapi"
    detail: str | None = record["detail"]
    return detail


def test_a_call_is_answered_with_what_the_tool_says(gateway: Gateway) -> None:
    answer = say(gateway, [{"type": "text", "text": "hello"}])
    assert (answer.status, answer.headers["content-type"], answer.json()) == (
        200,
        "application/json",
        "hello",
    )
    assert detail_of(gateway, answer) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_is_called_by_its_native_name_encoded_once(gateway: Gateway, name: str) -> None:
    assert got(call(gateway, f"saying/{quote(name, safe='')}", {"a": 1})) == {"a": 1}


def test_a_tool_without_arguments_needs_no_body(gateway: Gateway) -> None:
    assert got(call(gateway, "saying/free", None)) == {}


def test_arguments_that_fit_reach_the_server_as_they_were_written(gateway: Gateway) -> None:
    written = b'{"count": 10000000000000000000001, "ratio":1.10, "names":["\\u00fc"]}'
    answer = gateway.request("POST", "/tools/saying/strict", written)
    assert answer.json() == f"got {written.decode()}"
    assert detail_of(gateway, answer) is None


def test_a_failure_is_an_error_in_the_words_of_the_tool(gateway: Gateway) -> None:
    answer = say(gateway, [{"type": "text", "text": "The disk is full: ü"}], isError=True)
    problem = check_problem(answer, 422, "tool_error", "The disk is full: ü", server="saying")
    assert problem["retryable"] is False
    record = gateway.get(f"/api/calls/{problem['callId']}").json()
    assert record["outcome"] == "tool_error"


def test_a_failure_of_ours_is_the_same_as_everywhere(gateway: Gateway) -> None:
    check_problem(call(gateway, "saying/nobody", {}), 404, "unknown", "nobody", server="saying")
    check_problem(call(gateway, "nobody/free", {}), 404, "unknown", "nobody")
    check_problem(call(gateway, "saying", {}), 404, "unknown")
    check_problem(gateway.request("POST", "/tools/saying/free", b"{"), 400, "invalid")
    check_problem(gateway.request("POST", "/tools/saying/free", b"[]"), 400, "invalid", "object")
    check_problem(gateway.get("/tools/saying/free"), 405, "invalid", "POST")


def test_a_switched_off_tool_is_not_called(gateway: Gateway) -> None:
    gateway.request("PATCH", "/api/tools/saying/free", {"enabled": False})
    try:
        check_problem(call(gateway, "saying/free", {}), 503, "unavailable", "off", server="saying")
    finally:
        gateway.request("PATCH", "/api/tools/saying/free", {"enabled": True})


@pytest.mark.parametrize("accept", ["image/png", "image/*", "application/json, image/*;q=0.9"])
def test_an_image_comes_as_bytes_to_who_names_its_type(gateway: Gateway, accept: str) -> None:
    answer = say(gateway, [IMAGE], accept)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "image/png", PNG)
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "audio/*", "text/plain", "", "image/png;q=0", "*/*, image/*; q=0.0"]
)
def test_an_image_is_a_data_uri_to_everybody_else(gateway: Gateway, accept: str) -> None:
    answer = say(gateway, [IMAGE], accept)
    assert answer.json() == f"data:image/png;base64,{IMAGE['data']}"


def test_a_text_comes_as_it_is_to_who_takes_texts_alone(gateway: Gateway) -> None:
    answer = say(gateway, [{"type": "text", "text": "ü\n"}], "text/plain")
    assert (answer.headers["content-type"], answer.body.decode()) == ("text/plain; charset=utf-8", "ü\n")
    answer = say(gateway, [{"type": "text", "text": "ü\n"}], "application/json, text/plain, */*")
    assert answer.json() == "ü\n"


def test_a_stream_has_progress_and_then_the_answer(gateway: Gateway) -> None:
    headers = {"Accept": "text/event-stream"}
    body = {"say": json.dumps({"content": [IMAGE]})}
    with gateway.open("POST", "/tools/saying/free", body, headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = list(parse_events(response))
    assert events == [("result", f"data:image/png;base64,{IMAGE['data']}")]
    body = {"say": json.dumps({"content": [{"type": "text", "text": "no"}], "isError": True})}
    with gateway.open("POST", "/tools/saying/free", body, headers) as response:
        ((kind, problem),) = parse_events(response)
    assert (kind, problem["code"], problem["detail"]) == ("error", "tool_error", "no")


def test_a_call_can_be_left_running(gateway: Gateway) -> None:
    answer = call(gateway, "saying/free", {"a": 1}, Prefer="respond-async")
    assert answer.status == 202
    state = gateway.get(answer.headers["location"]).json()
    assert state["face"] == "openapi"


def test_a_link_leads_to_the_resource_for_who_has_no_key(gateway: Gateway) -> None:
    for uri, kind, body in (
        ("files:///x.bin", "application/zip", b"PK\x03\x04\n"),
        ("files:///page.html", "text/html; charset=utf-8", b"<script>alert(1)</script>"),
        ("files:///plain", "text/plain; charset=utf-8", "ü".encode()),
        ("files:///typed", "text/plain; charset=utf-8", b"a"),
        ("files:///large", "application/zip", bytes(9_000_000)),
    ):
        link = say(gateway, [{"type": "resource_link", "uri": uri, "name": "x"}]).json()
        assert link["url"].startswith(f"http://127.0.0.1:{gateway.port}/api/files/"), link
        answer = gateway.get(link["url"].partition(str(gateway.port))[2])
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-security-policy"].startswith("sandbox")
    link = say(gateway, [{"type": "resource_link", "uri": "files:///odd", "name": "x"}]).json()
    check_problem(gateway.get(link["url"].partition(str(gateway.port))[2]), 502, "lost")


def test_a_file_in_an_answer_is_kept_and_linked_to(gateway: Gateway) -> None:
    blob = base64.b64encode(b"%PDF-1.7").decode()
    resource = {"uri": "files:///doc.pdf", "mimeType": "application/pdf", "blob": blob}
    link = say(gateway, [{"type": "resource", "resource": resource}]).json()
    assert {name: link[name] for name in ("uri", "mimeType", "size")} == {
        "uri": "files:///doc.pdf",
        "mimeType": "application/pdf",
        "size": 8,
    }
    path = link["url"].partition(str(gateway.port))[2]
    answer = gateway.get(path)
    assert (answer.headers["content-type"], answer.body) == ("application/pdf", b"%PDF-1.7")
    part = gateway.request("GET", path, headers={"Range": "bytes=1-3"})
    assert (part.status, part.body) == (206, b"PDF")


def test_S11_a_link_is_followed_from_a_page_of_another_site_and_nothing_else_is(gateway: Gateway) -> None:
    """A chat shows the answer, and a person clicks: `Sec-Fetch-*` as browsers send them then."""
    link = say(gateway, [{"type": "resource_link", "uri": "files:///plain", "name": "x"}]).json()
    path = link["url"].partition(str(gateway.port))[2]
    for site in ("cross-site", "same-site"):
        clicked = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        # Cookies know no ports: those of a chat on this machine come along.
        answer = gateway.request("GET", path, headers=clicked | {"Cookie": "token=of-the-chat"})
        assert (answer.status, answer.body) == (200, "ü".encode())
        check_problem(gateway.request("GET", "/api/files/made-up", headers=clicked), 404, "unknown")
        for other in ("/api/tools", "/tools/openapi.json", "/api/files", "/"):
            check_problem(gateway.request("GET", other, headers=clicked), 403, "refused")
        for loaded in (
            {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
            {"Sec-Fetch-Dest": "iframe"},
        ):
            check_problem(gateway.request("GET", path, headers=clicked | loaded), 403, "refused")
        check_problem(gateway.request("POST", path, {}, clicked), 403, "refused")


def test_a_made_up_link_leads_nowhere(gateway: Gateway) -> None:
    check_problem(gateway.get("/api/files/made-up"), 404, "unknown", "link")


def test_a_result_too_large_to_hand_over_is_linked_to(gateway: Gateway) -> None:
    first, link = call(gateway, "saying/free", {"fill": 11_000_000}).json()
    assert first.startswith("xxx")
    assert link["mimeType"] == "application/json"
    whole = gateway.get(link["url"].partition(str(gateway.port))[2])
    assert whole.headers["content-type"] == "application/json"
    assert len(whole.json()["content"][0]["text"]) == 11_000_000


FITTED: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ({"count": "5"}, {"count": 5}, ("count",)),
    ({"count": 1, "ratio": "2.5"}, {"count": 1, "ratio": 2.5}, ("ratio",)),
    ({"count": 1, "force": "true"}, {"count": 1, "force": True}, ("force",)),
    ({"count": 1, "filter": '{"deep": 1}'}, {"count": 1, "filter": {"deep": 1}}, ("filter",)),
    ({"count": 1, "names": '["a"]'}, {"count": 1, "names": ["a"]}, ("names",)),
    ({"count": 1, "filter": {"deep": "7"}}, {"count": 1, "filter": {"deep": 7}}, ("deep",)),
    ({"count": 1, "note": None}, {"count": 1}, ("note",)),
    ({"count": 1, "wait_for_previous": True}, {"count": 1}, ("wait_for_previous",)),
    ({"count": "5", "note": "5", "x": 1}, {"count": 5, "note": "5"}, ("count", "x")),
]


@pytest.mark.parametrize(("sent", "arrives", "names"), FITTED)
def test_an_argument_of_another_type_is_set_right_and_the_record_says_so(
    gateway: Gateway, sent: dict[str, Any], arrives: dict[str, Any], names: tuple[str, ...]
) -> None:
    answer = call(gateway, "saying/strict", sent)
    assert got(answer) == arrives
    detail = detail_of(gateway, answer)
    assert detail is not None
    assert all(name in detail for name in names), detail


def test_what_nobody_can_set_right_reaches_the_server_as_it_is(gateway: Gateway) -> None:
    for sent in ({"count": "many"}, {"count": 1, "force": "perhaps"}, {"names": "a,b"}, {"count": [1]}):
        answer = call(gateway, "saying/strict", sent)
        assert got(answer) == sent
        assert detail_of(gateway, answer) is None


def test_arguments_are_set_right_on_this_face_only(gateway: Gateway) -> None:
    sent = {"count": "5", "x": 1}
    answer = gateway.request("POST", "/api/tools/saying/strict", sent)
    assert json.loads(answer.json()["content"][0]["text"].removeprefix("got ")) == sent


def test_a_record_does_not_tell_what_an_argument_was(gateway: Gateway) -> None:
    answer = call(gateway, "saying/strict", {"count": "5", "secret": "canary-of-an-argument"})
    assert answer.status == 200
    record = gateway.get(f"/api/calls/{answer.headers['mcp-gateway-call']}").json()
    assert "canary-of-an-argument" not in str(record["detail"])


def test_S21_a_record_does_not_tell_what_a_tool_takes_that_its_caller_may_not_see(tmp_path: Path) -> None:
    key = {"rights": ["read", "call"], "tools": ["saying/free"]}
    servers = {"saying": saying(tmp_path / "saying", [FREE, STRICT])}
    with Guarded(servers, tmp_path, keys={"narrow": key}) as gateway:
        gateway.wait_for_state("saying", "ready")
        narrow = gateway.as_("narrow")
        told = []
        for tool in ("strict", "nobody"):
            answer = call(narrow, f"saying/{tool}", {"count": "5", "x": 1})
            check_problem(answer, 404, "unknown")
            record = narrow.get(f"/api/calls/{answer.json()['callId']}").json()
            told.append((record["arguments"], record["detail"].replace(tool, "TOOL")))
        assert told[0] == told[1]
