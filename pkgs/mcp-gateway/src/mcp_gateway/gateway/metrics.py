"""The numbers at `/metrics`: counted from call records and states of servers, written by prometheus-client.

Labels are servers of the configuration, faces, outcomes and states: never a tool, a caller or a name that
somebody made up, so what is asked of the gateway cannot make it remember more. The counts are plain
numbers of ours (a call costs well under a microsecond here); the library brings the formats. Its own
counters would bring a lock, `_created` series and a switch in the environment. Knows no HTTP.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mcp_gateway.errors import GatewayError
from mcp_gateway.gateway.calls import Journal
from mcp_gateway.gateway.servers import Servers
from mcp_gateway.store.calls import CallRecord
from mcp_gateway.upstream.lifecycle import Life, State
from mcp_gateway.upstream.upstream import Upstream
from mcp_gateway.version import VERSION

# From our own share of a call to the longest that `maxTimeout` allows by default.
BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
AT_ONCE: Final = 200  # lines that are written before others get their turn: a millisecond or two
NO_SERVER: Final = (
    ""  # of calls to names that nobody configured; cannot be an id, and is "no label" in queries
)

_LE: Final = (*(str(float(bound)) for bound in BUCKETS_S), "+Inf")
_OPENMETRICS: Final = "application/openmetrics-text"
_END: Final = b"# EOF\n"  # of OpenMetrics; the library writes one after each part


@dataclass(slots=True)
class _Tally:
    """What was counted of one server since the gateway started."""

    calls: dict[tuple[str, str], int] = field(default_factory=dict)  # by face and outcome
    buckets: list[int] = field(default_factory=lambda: [0] * len(_LE))
    seconds: float = 0.0
    request_bytes: int = 0
    response_bytes: int = 0
    starts: int = 0
    failures: int = 0


class Metrics(Collector):
    """Counts, and writes down when asked. `feeds`, `lost_records` and `sessions` are asked at that moment."""

    def __init__(self, servers: Servers, feeds: Callable[[], int], lost_records: Callable[[], int]) -> None:
        self._servers = servers
        self._feeds = feeds
        self._lost_records = lost_records
        self.sessions: Callable[[], int] = lambda: 0  # the face that has them puts itself here
        self._tallies: dict[str, _Tally] = {}
        self._turned_away: dict[str, int] = {}  # by code
        self._lives: WeakKeyDictionary[Upstream, Life] = WeakKeyDictionary()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    # Counting

    def count(self, record: CallRecord) -> None:
        """A call has ended, or was refused."""
        tally = self._tallies.get(record.server) or self._tally(record.server)
        key = (record.face, record.outcome)
        tally.calls[key] = tally.calls.get(key, 0) + 1
        tally.request_bytes += record.request_bytes
        tally.response_bytes += record.response_bytes
        if record.duration_s:  # one that was refused took no time, and would only flatter the others
            tally.buckets[bisect_left(BUCKETS_S, record.duration_s)] += 1
            tally.seconds += record.duration_s

    def turned_away(self, problem: GatewayError) -> None:
        """A request was not let in, so it was no call of anybody."""
        self._turned_away[problem.kind.value] = self._turned_away.get(problem.kind.value, 0) + 1

    def changed(self, upstream: Upstream) -> None:
        """Heard whenever the state of a server has changed."""
        tally = self._tally(upstream.id)
        # By upstream: one that takes another's place is in a state of its own.
        life, before = upstream.life, self._lives.get(upstream, Life())
        self._lives[upstream] = life
        if life.state is before.state:
            return
        tally.starts += life.state is State.STARTING
        # Leaving `starting` or `ready` with one more attempt is how `lifecycle.py` writes down a failure.
        tally.failures += life.state is State.STOPPING and life.attempt > before.attempt

    def forget(self, server: str) -> None:
        """The server is no longer configured: its numbers go. Also noticed when they are asked for."""
        self._tallies.pop(server, None)

    def _tally(self, server: str) -> _Tally:
        if self._servers.get(server) is None:
            server = NO_SERVER
        tally = self._tallies.get(server)
        if tally is None:
            tally = self._tallies[server] = _Tally()
        return tally

    # Writing

    async def write(self, accept: str) -> tuple[bytes, str]:
        """All numbers of this moment, and their media type: OpenMetrics where `accept` names it."""
        # The library would read versions out of the header, and fails on odd ones.
        encode, media_type = choose_encoder(
            f"{_OPENMETRICS}; version=1.0.0" if _OPENMETRICS in accept else ""
        )
        parts: list[bytes] = []
        for family in list(self._registry.collect()):
            for at in range(0, max(len(family.samples), 1), AT_ONCE):
                text = encode(_Part(family, at)).removesuffix(_END)
                parts.append(text.split(b"\n", 2)[2] if at else text)  # HELP and TYPE are said once
                await asyncio.sleep(0)
        if media_type.startswith(_OPENMETRICS):
            parts.append(_END)
        return b"".join(parts), media_type

    def collect(self) -> Iterator[Metric]:
        for upstream in self._servers.all():
            self._tally(upstream.id)
        for server in [*self._tallies]:
            if server != NO_SERVER and self._servers.get(server) is None:
                self.forget(server)
        yield InfoMetricFamily("mcp_gateway_build", "What this gateway is", {"version": VERSION})
        yield from self._of_calls()
        yield from self._of_servers()
        yield GaugeMetricFamily("mcp_gateway_sessions", "Open sessions of MCP clients", self.sessions())
        yield GaugeMetricFamily(
            "mcp_gateway_event_feeds", "Open live feeds, those of MCP sessions included", self._feeds()
        )
        turned_away = CounterMetricFamily(
            "mcp_gateway_requests_turned_away",
            "Requests that were not let in, and are in no activity",
            labels=["code"],
        )
        for code, count in sorted(self._turned_away.items()):
            turned_away.add_metric([code], count)
        yield turned_away
        yield CounterMetricFamily(
            "mcp_gateway_activity_lost_records",
            "Call records that could not be written",
            self._lost_records(),
        )

    def _of_calls(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "mcp_gateway_calls",
            "Ended calls, refused ones included; without a server when nobody configured it",
            labels=("server", "face", "outcome"),
        )
        durations = HistogramMetricFamily(
            "mcp_gateway_call_duration_seconds",
            "From the request read to the answer known; calls refused at once do not count",
            labels=("server",),
        )
        received = CounterMetricFamily("mcp_gateway_request_bytes", "Bodies of calls", labels=("server",))
        sent = CounterMetricFamily("mcp_gateway_response_bytes", "Results of calls", labels=("server",))
        for server, tally in self._tallies.items():
            for (face, outcome), count in tally.calls.items():
                calls.add_metric((server, face, outcome), count)
            received.add_metric((server,), tally.request_bytes)
            sent.add_metric((server,), tally.response_bytes)
            if server != NO_SERVER:
                counts = zip(_LE, accumulate(tally.buckets), strict=True)
                durations.add_metric((server,), [(le, count) for le, count in counts], tally.seconds)
        return iter((calls, durations, received, sent))

    def _of_servers(self) -> Iterator[Metric]:
        def gauge(name: str, tells: str, *more: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"mcp_gateway_{name}", tells, labels=("server", *more))

        in_flight = gauge("calls_in_flight", "Calls that were sent and have no answer yet")
        queued = gauge("calls_queued", "Calls that wait for the server to be ready or to have room")
        tools = gauge("tools", "Tools in the list, switched off ones included")
        states = gauge("server_state", "1 for the state the server is in", "state")
        starts = CounterMetricFamily(
            "mcp_gateway_server_starts", "Starts, the first included", labels=("server",)
        )
        failures = CounterMetricFamily(
            "mcp_gateway_server_failures", "Starts that failed and servers that were lost", labels=("server",)
        )
        for upstream in self._servers.all():
            label = (upstream.id,)
            links = (upstream, *self._servers.links.of(upstream.id))
            in_flight.add_metric(label, sum(link.requests.in_flight for link in links))
            queued.add_metric(label, sum(link.requests.queued for link in links))
            tools.add_metric(label, len(self._servers.catalog.by_server.get(upstream.id, ())))
            for state in State:
                states.add_metric((upstream.id, state.value), upstream.life.state is state)
            tally = self._tallies[upstream.id]
            starts.add_metric(label, tally.starts)
            failures.add_metric(label, tally.failures)
        return iter((in_flight, queued, tools, states, starts, failures))


class CountedJournal:
    """The journal of calls, with each record counted as it closes."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self.begin = journal.begin
        self._end = journal.end
        self._count = metrics.count

    def end(self, record: CallRecord) -> None:
        self._count(record)
        self._end(record)


class _Part(Collector):
    """A part of one family, as the library wants to be given it."""

    def __init__(self, family: Metric, at: int) -> None:
        self._metric = Metric(family.name, family.documentation, family.type)
        self._metric.samples = family.samples[at : at + AT_ONCE]

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)
