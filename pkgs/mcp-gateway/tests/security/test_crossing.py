"""S24, CVE-2026-25536 (GHSA-345p-7cg4-v4c7): equal ids of two clients on one server, no answer crosses.

Two keys, a thousand calls each, all under way at once on one link, with the same JSON-RPC ids and the same
progress tokens; the server answers in another order when all of them have arrived.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faces.knocking import Mcp, Modern, check_log
from tests.security.cast import Guarded, wait_ready

CALLS = 1_000
WHO = ("ann", "bob")
USUAL = {"rights": ["read", "call"]}


def request_of(gateway: Guarded, session: Mcp | None, number: int) -> bytes:
    """A call of a session, or one that stands alone."""
    arguments = {"payload": f"{gateway.key}-{number}"}
    params: dict[str, Any] = {"name": "one__hold", "arguments": arguments}
    if session is None:
        alone = Modern(gateway)
        body = alone.message("tools/call", params, number, progressToken=number)
        headers = alone.headers("tools/call", params)
    else:
        body = Mcp.message("tools/call", {**params, "_meta": {"progressToken": number}}, number)
        headers = session.headers
    headers = headers | gateway.identity | {"Content-Type": "application/json"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["POST /mcp HTTP/1.1", "Host: localhost", "Connection: close", *lines])
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def events_of(answer: bytes) -> list[dict[str, object]]:
    """The messages of an event stream, whatever its chunks."""
    return [json.loads(line[6:]) for line in answer.split(b"\n") if line.startswith(b"data: {")]


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def check(answer: bytes, who: str, number: int) -> None:
    assert b"HTTP/1.1 200" in answer[:20], answer[:500]
    *told, last = events_of(answer)
    assert last["id"] == number, last
    assert isinstance(last["result"], dict)
    assert last["result"]["content"] == [{"type": "text", "text": f"{who}-{number}"}], last
    for note in told:
        params = note["params"]
        assert isinstance(params, dict)
        assert (params["progressToken"], params["message"]) == (number, f"{who}-{number}"), note
    assert told, "no progress was told"


@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_CVE_2026_25536_equal_ids_of_two_clients_never_cross(tmp_path: Path, era: str) -> None:
    program = str(Path(__file__).with_name("shuffling.py"))
    server = {
        "command": sys.executable,
        "args": ["-I", "-S", program, str(len(WHO) * CALLS)],
        "concurrency": 10_000,
        "queue": 0,
    }
    settings = {"limits": {"rate": 100_000, "concurrency": CALLS}}
    with Guarded({"one": server}, tmp_path, settings, keys=dict.fromkeys(WHO, USUAL)) as gateway:
        wait_ready(gateway, "one")
        callers = {who: gateway.as_(who) for who in WHO}
        sessions = {who: Mcp(caller) if era == "handshake" else None for who, caller in callers.items()}
        wanted = [(who, number) for number in range(CALLS) for who in WHO]
        requests = [request_of(callers[who], sessions[who], number) for who, number in wanted]
        answers = await asyncio.gather(*(ask(gateway.port, request) for request in requests))
        for (who, number), answer in zip(wanted, answers, strict=True):
            check(answer, who, number)
        check_log(gateway)
        rows = gateway.records("one")
        assert Counter(row["caller"] for row in rows) == {f"key:{who}": CALLS for who in WHO}
        assert {row["outcome"] for row in rows} == {"ok"}


async def test_S24_an_id_is_told_from_another_of_its_letters(tmp_path: Path) -> None:
    """1 and "1" are two requests, also where one of them waits for the other."""
    program = str(Path(__file__).with_name("shuffling.py"))
    server = {"command": sys.executable, "args": ["-I", "-S", program, "2"]}
    with Guarded({"one": server}, tmp_path) as gateway:
        wait_ready(gateway, "one")
        session = Mcp(gateway)

        def call(request_id: object) -> bytes:
            params = {"name": "one__hold", "arguments": {"payload": repr(request_id)}}
            return session.post(Mcp.message("tools/call", params, request_id)).body

        both = await asyncio.gather(asyncio.to_thread(call, 1), asyncio.to_thread(call, "1"))
        for request_id, body in zip((1, "1"), both, strict=True):
            document = json.loads(body)
            assert document["id"] == request_id
            assert document["result"]["content"][0]["text"] == repr(request_id)
