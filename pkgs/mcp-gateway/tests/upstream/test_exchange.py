"""One request and its readers: it ends once, and nobody who waits is forgotten."""

import asyncio
import gc
import weakref

import pytest
from msgspec import Raw

from mcp_gateway.errors import CallCancelled
from mcp_gateway.upstream.exchange import Exchange, Note
from tests.upstream.parts import exchange_of

RESULT = Raw(b'{"content":[]}')


async def test_every_reader_hears_every_note_and_the_end() -> None:
    exchange = exchange_of("echo")
    readers = [exchange.listen() for _ in range(3)]
    waiting = [asyncio.create_task(reader.wait()) for reader in readers]
    await asyncio.sleep(0)
    exchange.note(Note("progress", b"{}"))
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
    assert [reader.take() for reader in readers] == [(Note("progress", b"{}"),)] * 3
    waiting = [asyncio.create_task(reader.wait()) for reader in readers]
    await asyncio.sleep(0)
    exchange.end(RESULT, None)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
        await readers[0].wait()
    assert exchange.ended


async def test_a_note_that_came_before_the_wait_ends_it_at_once() -> None:
    exchange = exchange_of("echo")
    mailbox = exchange.listen()
    exchange.note(Note("still"))
    async with asyncio.timeout(1):
        await mailbox.wait()
    assert mailbox.take() == (Note("still"),)
    assert mailbox.take() == ()


async def test_a_reader_that_left_hears_nothing_and_a_cancelled_wait_breaks_nothing() -> None:
    exchange = exchange_of("echo")
    left, stays = exchange.listen(), exchange.listen()
    task = asyncio.create_task(stays.wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    exchange.unlisten(left)
    exchange.unlisten(left)
    exchange.note(Note("still"))
    assert left.take() == ()
    assert stays.take() == (Note("still"),)


async def test_the_end_is_told_once_also_when_nobody_listens() -> None:
    ended: list[Exchange] = []
    exchange = exchange_of("echo", on_end=ended.append)
    exchange.end(None, CallCancelled("enough"))
    assert ended == [exchange]
    with pytest.raises(AssertionError):
        exchange.end(RESULT, None)
    assert ended == [exchange]
    with pytest.raises(CallCancelled):
        await exchange.answer()


async def test_an_answer_that_is_there_already_is_given_at_once() -> None:
    exchange = exchange_of("echo")
    exchange.end(RESULT, None)
    async with asyncio.timeout(1):
        assert await exchange.answer() is RESULT


async def test_an_ended_exchange_goes_without_the_garbage_collector() -> None:
    class Argument:
        pass

    exchange = exchange_of("echo", on_end=lambda _: None)
    exchange.owner = exchange
    exchange.params["argument"] = Argument()
    gone = weakref.ref(exchange.params["argument"])
    mailbox = exchange.listen()
    exchange.end(RESULT, None)
    gc.disable()
    try:
        del exchange, mailbox
        assert gone() is None
    finally:
        gc.enable()
