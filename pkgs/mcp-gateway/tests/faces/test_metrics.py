"""`/metrics`: the numbers are those of the activity records, and do not grow with what is asked."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.faces.knocking import Api, Mcp, check_log, check_problem
from tests.harness import Gateway, hostile, until

Labels = tuple[tuple[str, str], ...]
Numbers = dict[tuple[str, Labels], float]
MADE_UP = 1_000
read_openmetrics: Callable[[str], Iterator[Any]] = openmetrics.text_string_to_metric_families


def labelled(**labels: str) -> Labels:
    return tuple(sorted(labels.items()))


def numbers_of(families: Any) -> Numbers:
    """Every sample by name and labels, an empty label being none; each is there once."""
    found: Numbers = {}
    for family in families:
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if value}
            key = (sample.name, labelled(**labels))
            assert key not in found, key
            found[key] = sample.value
    return found


def scrape(gateway: Gateway) -> Numbers:
    answer = gateway.get("/metrics")
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return numbers_of(read_text(answer.body.decode()))


def by(numbers: Numbers, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of these labels."""
    return {
        tuple(dict(key).get(label, "") for label in labels): value
        for (sample, key), value in numbers.items()
        if sample == f"mcp_gateway_{name}"
    }


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    servers = {
        "good": hostile("good"),
        "narrow": hostile("good", concurrency=1),
        "gone": {"command": str(tmp_path / "nowhere")},
        "never": hostile("never", timeout=0.3),
    }
    with Gateway(servers, tmp_path) as running:
        for name in ("good", "narrow", "never"):
            running.wait_for_state(name, "ready")
        running.wait_for_state("gone", "failed")
        yield running
    check_log(running)


def test_the_numbers_are_those_of_the_records(gateway: Gateway) -> None:
    session = Mcp(gateway)
    for _ in range(3):
        assert gateway.call("good", "echo", text="x").code == "ok"
    assert gateway.call("good", "fail").code == "tool_error"
    assert gateway.call("good", "refuse").code == "lost"
    assert gateway.call("good", "no-such-tool").code == "unknown"
    assert gateway.call("gone", "echo").code == "unavailable"
    assert gateway.call("never", "act").code == "timed_out"
    assert gateway.call("nobody", "echo").code == "unknown"
    assert gateway.request("POST", "/api/tools/good/echo", b"{").status == 400
    assert session.call("good__echo", {"text": "y"})["result"]
    assert session.call("good__nowhere")["error"]

    numbers = scrape(gateway)
    rows = Api(gateway).json("/api/calls?limit=500")["calls"]
    configured = gateway.servers.keys()
    recorded = Counter(
        (row["server"] if row["server"] in configured else "", row["face"], row["outcome"]) for row in rows
    )
    assert len(rows) == 12
    assert by(numbers, "calls_total", "server", "face", "outcome") == recorded
    for name, member in (("request_bytes", "requestBytes"), ("response_bytes", "responseBytes")):
        summed = by(numbers, f"{name}_total", "server")
        for server in (*configured, ""):
            wanted = sum(
                row[member]
                for row in rows
                if row["server"] == server or (not server and row["server"] not in configured)
            )
            assert summed[(server,)] == wanted, (name, server)
    # Refused calls took no time and are in no bucket; the others are, and their times are those recorded.
    for server in configured:
        took = [row["durationMs"] for row in rows if row["server"] == server and row["durationMs"]]
        assert by(numbers, "call_duration_seconds_count", "server")[(server,)] == len(took)
        seconds = by(numbers, "call_duration_seconds_sum", "server")[(server,)]
        assert seconds == pytest.approx(sum(took) / 1000, abs=1e-4)
        buckets = by(numbers, "call_duration_seconds_bucket", "server", "le")
        assert buckets[server, "+Inf"] == len(took)
        assert buckets[server, "60.0"] == sum(ms <= 60_000 for ms in took)


def test_made_up_names_add_no_line(gateway: Gateway) -> None:
    session = Mcp(gateway)
    for path in ("nobody/at-all", "good/not-a-tool"):
        assert gateway.request("POST", f"/api/tools/{path}", {}).status == 404
    session.call("nobody__nothing")
    before = scrape(gateway)
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(gateway.request, "POST", f"/api/tools/{path}", {})
            for n in range(MADE_UP // 2)
            for path in (f"s{n}/t{n}", f"good/%22%0A{n}")
        ]
        assert {answer.result().status for answer in asked} == {404}
    for number in range(20):
        session.call(f"made-up__{number}")
    after = scrape(gateway)
    assert after.keys() == before.keys()
    unknown = by(after, "calls_total", "server", "face", "outcome")
    assert unknown["", "rest", "unknown"] == MADE_UP / 2 + 1
    assert unknown["good", "rest", "unknown"] == MADE_UP / 2 + 1
    assert unknown["", "mcp", "unknown"] == 21


def test_states_starts_and_calls_under_way_are_told_as_they_are(gateway: Gateway) -> None:
    def state_of(server: str) -> str:
        states = by(scrape(gateway), "server_state", "server", "state")
        (state,) = (state for (of, state), value in states.items() if of == server and value == 1)
        assert sum(of == server for of, _ in states) == 8
        return state

    assert state_of("good") == "ready"
    assert state_of("gone") == "failed"
    gateway.switch("good", False)
    gateway.wait_for_state("good", "off")
    assert state_of("good") == "off"
    gateway.switch("good", True)
    gateway.wait_for_state("good", "ready")
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(gateway.call, "narrow", "die")
        assert lost.result().code == "lost"
    gateway.wait_for_state("narrow", "ready")
    for _ in range(3):
        gateway.request("POST", "/api/tools/narrow/sleep", {"ms": 600_000}, {"Prefer": "respond-async"})
    session = Mcp(gateway)
    with gateway.open("GET", "/mcp", None, session.headers | {"Accept": "text/event-stream"}):
        numbers = scrape(gateway)
        assert by(numbers, "event_feeds") == {(): 1}
    assert by(numbers, "sessions") == {(): 1}
    assert by(numbers, "calls_in_flight", "server") == {
        ("good",): 0,
        ("narrow",): 1,
        ("gone",): 0,
        ("never",): 0,
    }
    assert by(numbers, "calls_queued", "server")["narrow",] == 2
    assert by(numbers, "server_starts_total", "server") == {
        ("good",): 2,
        ("narrow",): 2,
        ("gone",): 1,
        ("never",): 1,
    }
    assert by(numbers, "server_failures_total", "server") == {
        ("good",): 0,
        ("narrow",): 1,
        ("gone",): 1,
        ("never",): 0,
    }
    tools = {server: shown["tools"] for server in gateway.servers if (shown := gateway.server(server))}
    assert by(numbers, "tools", "server") == {(server,): count for server, count in tools.items()}
    for row in gateway.get("/api/calls?outcome=running").json()["calls"]:
        gateway.request("DELETE", f"/api/calls/{row['id']}")
    until(lambda: by(scrape(gateway), "calls_in_flight", "server")["narrow",] == 0, 5, "they were taken back")


def test_the_format_is_what_is_asked_for_and_the_edge_stands_before_it(gateway: Gateway) -> None:
    gateway.call("good", "echo", text="x")
    for accept in (
        "application/openmetrics-text",
        # What Prometheus sends, and what somebody might.
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3",
        "application/OpenMetrics-Text;version=x.y;escaping=\xff",
    ):
        answer = gateway.request("GET", "/metrics", None, {"Accept": accept})
        assert answer.status == 200, answer
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0;")
        open_numbers = numbers_of(read_openmetrics(answer.body.decode()))
        assert by(open_numbers, "calls_total", "server", "face", "outcome") == {("good", "rest", "ok"): 1}
        (build,) = by(open_numbers, "build_info", "version")
        assert build[0]
    numbers = scrape(gateway)
    assert {name for name, _ in numbers if name.startswith("mcp")} == {
        name for name, _ in open_numbers if name.startswith("mcp")
    }
    # The process speaks of itself under the names that every dashboard knows.
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info"} <= {
        name for name, _ in numbers
    }
    assert by(numbers, "activity_lost_records_total") == {(): 0}
    assert not [name for name, _ in numbers if name.endswith("_created")]
    records = len(gateway.get("/api/calls").json()["calls"])
    for _ in range(2):
        check_problem(
            gateway.request("GET", "/metrics", None, {"Origin": "http://evil.test"}), 403, "refused"
        )
    gateway.request("GET", "/metrics", None, {"Authorization": "Bearer none"})
    turned_away = {("refused",): 2.0, ("unauthenticated",): 1.0}
    assert by(scrape(gateway), "requests_turned_away_total", "code") == turned_away
    assert len(gateway.get("/api/calls").json()["calls"]) == records
    Api(gateway).get("/metrics")  # as it is described
