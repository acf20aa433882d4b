"""S28: a call that waits for its client is its caller's: to others its state is worth nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faces.knocking import Modern, check_log, check_problem
from tests.faces.test_asks import asking, told
from tests.faces.test_bridge import ASKED, FORMS, YES, again, refused
from tests.harness import until
from tests.security.cast import Guarded, wait_ready

USUAL = {"rights": ["read", "call"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys = {"ann": USUAL, "bob": USUAL, "narrow": {"rights": ["read", "call"], "servers": ["other"]}}
    servers = {"asking": asking(), "other": asking()}
    with Guarded(servers, tmp_path_factory.mktemp("states"), keys=keys) as gateway:
        wait_ready(gateway, *servers)
        yield gateway
        check_log(gateway)


def at(gateway: Guarded, endpoint: str = "/servers/asking/mcp") -> Modern:
    return Modern(gateway, endpoint, FORMS)


def test_S28_the_state_of_another_caller_is_as_good_as_one_made_up(gateway: Guarded) -> None:
    ann, bob = gateway.as_("ann"), gateway.as_("bob")
    asked, theirs = at(ann).call("ask", ASKED), at(bob).call("ask", ASKED)
    params: dict[str, Any] = {"name": "ask", "arguments": ASKED}
    words = refused(at(bob).post("tools/call", params | {"requestState": "made up"}))
    for caller in (bob, gateway):
        assert refused(at(caller).post("tools/call", params | again(asked, YES))) == words
    assert refused(at(ann).post("tools/call", params | again(theirs, YES))) == words
    assert told(at(ann).call("ask", ASKED, **again(asked, YES))) == [YES]
    no = {"action": "decline"}
    assert told(at(bob).call("ask", ASKED, **again(theirs, no))) == [no], "their question stood all the time"


def test_S28_no_process_that_knows_the_answers_of_one_caller_serves_another(gateway: Guarded) -> None:
    pids = {
        key: told(at(gateway.as_(key)).call("remember", {"text": key}))["pid"]
        for key in ("ann", "bob", "full")
    }
    assert len(set(pids.values())) == 3
    for key, pid in pids.items():
        state = told(at(gateway.as_(key)).call("state"))
        assert (state["pid"], state["said"]) == (pid, [key])


def test_S21_a_state_gives_no_right_that_its_caller_does_not_have(gateway: Guarded) -> None:
    asked = at(gateway.as_("ann")).call("ask", ASKED)
    params = {"name": "ask", "arguments": ASKED, **again(asked, YES)}
    assert at(gateway.as_("narrow")).post("tools/call", params).status == 404
    refused(at(gateway.as_("narrow"), "/servers/other/mcp").post("tools/call", params))
    assert told(at(gateway.as_("ann")).call("ask", ASKED, **again(asked, YES))) == [YES]


def test_S09_a_revoked_key_takes_the_calls_that_wait_along(gateway: Guarded) -> None:
    key_id, leaving = gateway.make_key("leaving", **USUAL)
    asked = at(leaving).call("ask", ASKED)
    call_id = leaving.get("/api/calls?tool=ask&limit=1").json()["calls"][0]["id"]
    links = gateway.server("asking")["links"]
    assert [link for link in links if link["of"] == f"caller:key:{key_id}"]
    gateway.revoke(key_id)
    assert gateway.get(f"/api/calls/{call_id}").json()["outcome"] == "cancelled"
    params = {"name": "ask", "arguments": ASKED, **again(asked, YES)}
    check_problem(at(leaving).post("tools/call", params), 401, "unauthenticated")
    for endpoint in (at(gateway), at(gateway.as_("ann"))):
        refused(endpoint.post("tools/call", params))

    def is_left() -> bool:
        return any(key_id in str(link["of"]) for link in gateway.server("asking")["links"])

    until(lambda: not is_left(), 10, "its process is ended")
