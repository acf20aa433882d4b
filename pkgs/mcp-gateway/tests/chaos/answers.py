"""Pure: what an answer tells its caller, and whether it is well-formed.

Each reader gives a `Told`, or raises `Wrong` when the answer itself breaks the contract. The shape of an
error is `faces/knocking.py`'s to know.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from tests.faces.knocking import KINDS, check_problem_document

CANCELLED: Final = "The call was cancelled"
KIND_OF_RPC_CODE: Final = {-32700: "invalid", -32600: "invalid", -32602: "invalid", -32601: "unknown"}


class Wrong(Exception):
    """An answer that no caller should get; the text says why."""


@dataclass(frozen=True)
class Told:
    """What a caller was told. `outcome` is the word its record must show; `text` the first text of a
    result or the sentence of an error; `call_id` None: no call was opened, so there is no record."""

    outcome: str
    call_id: str | None
    text: str


def parsed(body: bytes | str) -> Any:
    def refuse(constant: str) -> None:
        raise Wrong(f"the answer holds {constant}, which is not JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except ValueError as problem:
        raise Wrong(f"the answer is not JSON ({problem}): {body[:200]!r}") from None


def of_result(result: Any, call_id: str | None) -> Told:
    if call_id is None:
        raise Wrong("a result without the id of its call")
    if not isinstance(result, dict) or not isinstance(result.get("content"), list) or not result["content"]:
        raise Wrong(f"an empty success: {str(result)[:200]}")
    text = result["content"][0].get("text")
    if not isinstance(text, str):
        raise Wrong(f"a success without its text: {str(result)[:200]}")
    return Told("tool_error" if result.get("isError") else "ok", call_id, text)


def of_problem(document: Any, call_id: str | None) -> Told:
    try:
        check_problem_document(document)
    except (AssertionError, KeyError) as problem:
        raise Wrong(f"an error that is not typed as promised: {problem!r}: {document}") from None
    return _of_error(document["code"], document["detail"], document.get("callId", call_id))


def of_rest(status: int, content_type: str, body: bytes, call_id: str | None) -> Told:
    if status == 200:
        return of_result(parsed(body), call_id)
    if not content_type.startswith("application/problem+json"):
        raise Wrong(f"{status} is {content_type}, not a problem document: {body[:200]!r}")
    document = parsed(body)
    told = of_problem(document, call_id)
    if document["status"] != status:
        raise Wrong(f"{status} with a problem of status {document['status']}")
    return told


def of_rpc(message: Any, request_id: Any, call_id: str | None) -> Told:
    """A JSON-RPC response to `request_id` (None: the request could not be read)."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise Wrong(f"not JSON-RPC: {str(message)[:200]}")
    if message.get("id") != request_id:
        raise Wrong(f"asked as {request_id!r}, answered as {message.get('id')!r}")
    if ("result" in message) == ("error" in message):
        raise Wrong(f"neither or both of result and error: {str(message)[:200]}")
    if "result" in message:
        return of_result(message["result"], call_id)
    error = message["error"]
    data = error.get("data")
    if not isinstance(data, dict) or data.get("code") not in KINDS:
        # The server's own refusal, unchanged.
        if call_id is None or not isinstance(error.get("code"), int):
            raise Wrong(f"an error that is not typed: {error}")
        return _of_error(KIND_OF_RPC_CODE.get(error["code"], "lost"), str(error.get("message")), call_id)
    if data.get("retryable") is not KINDS[data["code"]][1] or data.get("detail") != error.get("message"):
        raise Wrong(f"an error that contradicts itself: {error}")
    return _of_error(data["code"], data["detail"], data.get("callId", call_id))


def _of_error(kind: str, detail: str, call_id: str | None) -> Told:
    """Somebody who asks about a cancelled call is told `lost`; its record says `cancelled`."""
    was_cancelled = kind == "lost" and detail.startswith(CANCELLED)
    return Told("cancelled" if was_cancelled else kind, call_id, detail)


async def events(parts: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, str]]:
    """The events of a stream as they arrive: (event, data); comments are skipped."""
    pending = b""
    async for part in parts:
        if b"\n\n" not in pending[-1:] + part:
            pending += part
            continue
        *blocks, pending = (pending + part).split(b"\n\n")
        for block in blocks:
            event, data = "message", []
            for line in block.decode().split("\n"):
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
            if any(data):  # without any it only gives an id to come back with
                yield event, "\n".join(data)
    if pending:
        raise Wrong(f"the stream broke off inside an event: {pending[:200]!r}")
