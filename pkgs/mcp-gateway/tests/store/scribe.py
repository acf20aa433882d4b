"""A process that uses a store until it is killed or its disk is full; run by the tests, tells on stdout."""

import asyncio
import json
import logging
import resource
import sys
import time
from pathlib import Path

import mcp_gateway.store as store_module
from mcp_gateway.store import Store, StoreError
from tests.store.records import a_finished_record, a_record

_WAIT_S = 20.0


def _tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def keep_writing(state_dir: Path, *, asking: bool) -> None:
    """About a thousand calls a second; every twentieth is read back, which acknowledges all before it."""
    store = Store.open(state_dir)
    long_call = a_record(tool="long")
    store.begin(long_call)
    unacknowledged: list[int] = []
    while True:
        record = a_record()
        store.begin(record)
        await asyncio.sleep(0.001)
        record.outcome = "ok"
        store.end(record)
        unacknowledged.append(record.id)
        if not asking:
            _tell(ended=record.id, at=time.monotonic())
        elif len(unacknowledged) == 20:
            assert await store.call(record.id)
            _tell(acknowledged=unacknowledged, running=long_call.id)
            unacknowledged = []


def _limit_files(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


async def _write(store: Store, count: int) -> None:
    for _ in range(count):
        store.end(a_finished_record())
    await store.call(0)


async def _give_room_and_wait() -> None:
    """The store is left alone meanwhile: it recovers by itself, and says so in the log."""
    recovered = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "recovered" in record.msg:
                loop.call_soon_threadsafe(recovered.set)

    logging.getLogger("mcp_gateway.store").addHandler(Listener())
    _limit_files(resource.RLIM_INFINITY)
    async with asyncio.timeout(_WAIT_S):
        await recovered.wait()


async def fill_the_disk(state_dir: Path) -> None:
    """Writes into a disk that is full for a while, with room for 500 rows in the backlog."""
    store_module.MAX_BACKLOG = 500
    store = Store.open(state_dir)
    await _write(store, 100)
    _limit_files(128 * 1024)
    written = 100
    while store.healthy:
        await _write(store, 100)
        written += 100
    _tell(fault=store.fault, lost=store.lost_records)
    _limit_files(0)
    try:
        await store.set_override("git", None, False)
    except StoreError as error:
        _tell(refused=str(error), overrides=len(store.overrides()))
    for _ in range(7):
        await _write(store, 100)
        written += 100
    _tell(lost=store.lost_records, kept=500)
    await _give_room_and_wait()
    await store.set_override("git", None, False)
    lost = store.lost_records
    await store.close()
    _tell(written=written, lost=lost)


async def open_on_a_full_disk(state_dir: Path) -> None:
    _limit_files(0)
    store = Store.open(state_dir)
    _tell(fault=store.fault)
    await _give_room_and_wait()
    await store.close()
    _tell(fault=store.fault)


if __name__ == "__main__":
    task, directory = sys.argv[1], Path(sys.argv[2])
    asyncio.run(
        {
            "ask": lambda: keep_writing(directory, asking=True),
            "write": lambda: keep_writing(directory, asking=False),
            "fill": lambda: fill_the_disk(directory),
            "open-full": lambda: open_on_a_full_disk(directory),
        }[task]()
    )
