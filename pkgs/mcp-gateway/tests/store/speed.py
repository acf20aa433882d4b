"""Prints what a call costs the event loop and the writer: `python -m tests.store.speed`. Asserts nothing."""

import asyncio
import tempfile
import time
from pathlib import Path

from mcp_gateway.store import CallQuery, CallRecord, Store
from tests.store.records import a_record

_CALLS = 100_000
_BURST = 1000  # then the writer gets a moment, as the loop's own waiting gives it


def _finish(record: CallRecord) -> None:
    record.outcome, record.duration_s, record.response_bytes = "ok", 0.01, 2000


async def _measure(state_dir: Path) -> None:
    store = Store.open(state_dir)
    records = [a_record() for _ in range(_CALLS)]
    on_the_loop_s = 0.0
    for start in range(0, _CALLS, _BURST):
        began = time.perf_counter()
        for record in records[start : start + _BURST]:
            store.begin(record)
            _finish(record)
            store.end(record)
        on_the_loop_s += time.perf_counter() - began
        await asyncio.sleep(0.02)
    print(f"begin + end on the event loop: {on_the_loop_s / _CALLS * 1e6:.2f} us a call")
    await store.call(0)

    records = [a_record(outcome="ok") for _ in range(_CALLS // 2)]
    began = time.perf_counter()
    for record in records:
        store.end(record)
    await store.call(0)
    print(f"written, arguments shaped: {(time.perf_counter() - began) / len(records) * 1e6:.2f} us a record")
    for name, query in (("newest 50", CallQuery()), ("no match at all", CallQuery(server="nobody"))):
        began = time.perf_counter()
        await store.calls(query)
        print(f"page, {name}: {(time.perf_counter() - began) * 1e3:.1f} ms")
    await store.close()
    print(f"lost records: {store.lost_records}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_measure(Path(directory)))
