"""Faults of the gateway's own place (F086, F097, F099, F102, S45): names, descriptors, clocks, time, itself.

Full disks, damaged files and kills are in `tests/store/` and `test_kills.py`; stops in
`tests/test_draining.py`; configurations in `tests/test_reload.py`; ports in `tests/test_serve.py`.
"""

import http.client
import json
import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, check_log, check_problem
from tests.faults.test_client_faults import changed
from tests.harness import Answer, Gateway, Pulse, free_port, hostile, remote, until

PROMPT_S = 10.0
SUSPENDED_S = 2.0  # longer than any wait for a call below
HOUR_S = 3_600


class Kept:
    """A connection that is open already: for a gateway that can open no more."""

    def __init__(self, gateway: Gateway) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PROMPT_S)
        try:
            assert self.ask("GET", "/health").status == 200
        except BaseException:
            self.connection.close()
            raise

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        headers = {} if body is None else {"Content-Type": "application/json"}
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def close(self) -> None:
        self.connection.close()


@contextmanager
def no_more_files(gateway: Gateway) -> Iterator[None]:
    before = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (gateway.holdings().files, before[1]))
        try:
            while True:  # what was just being closed when we counted is free: take that, too
                stack.enter_context(closing(Kept(gateway)))
        except (OSError, http.client.HTTPException):
            yield
        finally:
            resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, before)


def test_without_a_free_descriptor_what_is_open_works_and_all_the_rest_comes_back(tmp_path: Path) -> None:
    """F097: nobody new gets in, no server can be started or reached, and nobody spins meanwhile."""
    with remote("good") as far:
        servers = {
            "good": hostile("good"),
            "child": hostile("good", enabled=False),
            "far": far.entry | {"enabled": False},
        }
        # A secret that cannot be fetched is a mistake of the configuration, and not tried again.
        with Gateway(servers, tmp_path, plain=True) as gateway, closing(Kept(gateway)) as kept:
            gateway.wait_for_state("good", "ready")
            pid = gateway.server("good")["pid"]
            with no_more_files(gateway):
                answer = kept.ask("POST", "/api/tools/good/echo", {"text": "still here"})
                assert answer.text == "still here"
                for server in ("child", "far"):
                    assert kept.ask("PATCH", f"/api/servers/{server}", {"enabled": True}).status == 200
                    until(partial(is_waiting_for_files, kept, server), PROMPT_S, f"{server} cannot start")
                refused = kept.ask("POST", "/api/tools/child/echo", {"text": "x"})
                check_problem(refused, 503, "unavailable", "Too many open files", server="child")
            until(gateway.is_serving, PROMPT_S, "new connections are taken again")
            for server in ("child", "far"):  # it would by itself, when its back-off is over
                assert gateway.request("POST", f"/api/servers/{server}/restart").status // 100 == 2
                assert gateway.call(server, "echo", text="back").text == "back"
            assert gateway.server("good")["pid"] == pid
            check_log(gateway)


def is_waiting_for_files(kept: Kept, server: str) -> bool:
    shown = kept.ask("GET", f"/api/servers/{server}").json()
    return shown["state"] == "waiting" and "Too many open files" in shown["reason"]


def test_a_clock_that_jumps_by_hours_ends_nothing_and_disorders_nothing(tmp_path: Path) -> None:
    """F099: the wall clock is for people; what waits, expires and comes first is decided without it."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    jumping = changed(
        "import time\nreal = time.time\n"
        f"time.time = lambda: real() + float(open({str(offset)!r}).read() or 0)"
    )
    with Gateway({"good": hostile("good")}, tmp_path / "gateway", command=jumping) as gateway:
        shown = gateway.wait_for_state("good", "ready")
        session = Mcp(gateway)
        asked = gateway.request("POST", "/api/tools/good/sleep", {"ms": 400}, {"Prefer": "respond-async"})
        ids = [asked.json()["id"]]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(gateway.request, "POST", "/api/tools/good/sleep", {"ms": 400})
            gateway.wait_for("good", lambda shown: shown["calls"]["running"] == 2, PROMPT_S, "two calls run")
            for hours in (0, 1, -1, 24, 0):
                offset.write_text(str(hours * HOUR_S))
                answer = gateway.call("good", "echo", text=f"{hours}")
                assert answer.text == f"{hours}"
                assert answer.call_id is not None
                ids.append(answer.call_id)
                assert "result" in session.call("good__echo", {"text": "x"})
            assert running.result().text == "slept"
        where = asked.headers["location"]
        until(lambda: gateway.get(where).json()["outcome"] == "ok", PROMPT_S, "the result is kept")
        assert ids == sorted(ids), "the ids of calls went back with the clock"
        rows = [row["id"] for row in gateway.records("good")]
        assert len(rows) == len(set(rows)) == 12
        assert (gateway.server("good")["pid"], gateway.server("good")["state"]) == (shown["pid"], "ready")
        check_log(gateway)


def test_a_gateway_that_stood_still_goes_on_where_it_was(tmp_path: Path) -> None:
    """F102: the whole process is held, as by a lid that is closed or a loop that is blocked.

    Nothing that was due meanwhile is taken for a failure of others: servers keep their processes.
    """
    with remote("good") as far:
        servers = {"good": hostile("good"), "brief": hostile("good", timeout=1), "far": far.entry}
        with Gateway(servers, tmp_path) as gateway, ThreadPoolExecutor(3) as pool:
            pids = {server: gateway.wait_for_state(server, "ready")["pid"] for server in servers}
            calls = [pool.submit(gateway.call, server, "sleep", ms=500) for server in servers]
            for server in servers:
                gateway.wait_for(
                    server, lambda shown: shown["calls"]["running"] == 1, PROMPT_S, "a call runs"
                )
            with Pulse(gateway) as pulse:
                os.kill(gateway.pid, signal.SIGSTOP)
                try:
                    with pytest.raises(TimeoutError):
                        gateway.request("GET", "/health", timeout_s=SUSPENDED_S)
                finally:
                    os.kill(gateway.pid, signal.SIGCONT)
                codes = [call.result(PROMPT_S).code for call in calls]
                asked = pulse.answered
                until(lambda: pulse.answered > asked + 1, PROMPT_S, "it answers as before")
                assert pulse.failures == []
            assert codes[0] == codes[2] == "ok"
            assert codes[1] in ("ok", "timed_out")  # its second was over, and its answer was there
            for server, pid in pids.items():
                assert gateway.call(server, "echo", text="on").text == "on"
                assert gateway.server(server)["pid"] == pid
                gateway.check_records(server)
            assert far.stats()["sessionsOpened"] == 1
            check_log(gateway)


NAMES = """
from mcp_gateway.upstream.dialing import Dialer
ask = Dialer._look_up
async def look_up(self):
    self._host, host = open({file!r}).read(), self._host
    try:
        return await ask(self)
    finally:
        self._host = host
Dialer._look_up = look_up
"""


def test_a_server_that_moved_is_looked_for_where_its_name_leads_now(tmp_path: Path) -> None:
    """F086: the name service is a file here, since nobody may change that of the machine."""
    names = tmp_path / "names"
    names.write_text("127.0.0.1")
    command = changed(NAMES.format(file=str(names)))
    with remote("good") as far:
        servers = {"far": {"url": far.url.replace("127.0.0.1", "moving.invalid")}}
        with Gateway(servers, tmp_path / "gateway", command=command) as gateway:
            gateway.wait_for_state("far", "ready")
            names.write_text("127.0.0.2")  # where nobody listens
            opened = far.stats()["sessionsOpened"]
            assert gateway.request("POST", "/api/servers/far/restart").status // 100 == 2
            shown = gateway.wait_for_state("far", "waiting")
            assert "moving.invalid" in shown["reason"]
            assert far.stats()["sessionsOpened"] == opened, "it was looked for where its name led before"
            names.write_text("127.0.0.1")
            gateway.wait_for_state("far", "ready", timeout_s=20)
            assert gateway.call("far", "echo", text="found").text == "found"


def test_a_gateway_that_is_its_own_server_says_so_and_does_not_go_in_circles(tmp_path: Path) -> None:
    """S45: under each address it has, and by name."""
    port = free_port()
    servers: dict[str, dict[str, Any]] = {
        "good": hostile("good"),
        "itself": {"url": f"http://127.0.0.1:{port}/mcp"},
        "by-name": {"url": f"http://localhost:{port}/mcp"},
        "one-of-its-own": {"url": f"http://127.0.0.1:{port}/servers/good/mcp"},
        "as-old": {"url": f"http://127.0.0.1:{port}/mcp", "type": "sse"},
    }
    with Gateway(servers, tmp_path, wanted_port=port) as gateway:
        gateway.wait_for_state("good", "ready")
        own = [server for server in servers if server != "good"]
        for server in own:
            shown = gateway.wait_for_state(server, "failed")
            assert "this gateway itself" in shown["reason"]
            assert shown["nextRetry"] is None
            check_problem(gateway.call(server, "echo", text="x"), 503, "unavailable", "itself", server=server)
        assert gateway.call("good", "echo", text="x").text == "x"
        tools = {tool["exposedName"] for tool in gateway.get("/api/tools").json()["tools"]}
        assert all(name.startswith("good__") for name in tools)
        assert len(Mcp(gateway).tools()) == len(tools)
        check_log(gateway)
