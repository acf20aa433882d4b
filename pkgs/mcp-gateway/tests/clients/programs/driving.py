"""What the Python programs beside this have in common: orders are lines on stdin, answers lines on stdout.

`{"id": 1, "do": "call", "name": "echo", "arguments": {}}` is answered by `{"id": 1, "result": ...}` in the
words of the wire, or by `{"id": 1, "refused": {"code", "message", "data"}}`; orders run side by side. What
the server says by itself is `{"heard": WHAT, "params": ...}`. The first line is `{"speaks": REVISION, ...}`.
When stdin ends the client takes its leave. Knows no SDK: they run under interpreters of their own, and each
program hands over what differs.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

LINE_LIMIT = 1 << 24

Verb = Callable[[dict[str, Any]], Awaitable[Any]]


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def plain(model: Any) -> Any:
    """A model of an SDK as it is on the wire, without what nobody said."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


def heard(what: str, params: Any) -> None:
    say({"heard": what, "params": params})


async def progressed(progress: float, total: float | None, message: str | None) -> None:
    heard("progress", {"progress": progress, "total": total, "message": message})


async def logged(params: Any) -> None:
    heard("log", plain(params))


async def changed(message: Any) -> None:
    """Takes any message of a session: what may say that the tools or a resource have changed."""
    said = getattr(message, "root", message)
    match getattr(said, "method", None):
        case "notifications/tools/list_changed":
            heard("change", "tools")
        case "notifications/resources/updated":
            heard("change", str(said.params.uri))


def answers(name: str, types: Any) -> dict[str, Callable[..., Awaitable[Any]]]:
    """The callbacks by which a client of that name answers what a server asks; each answer has the name."""

    async def elicit(context: Any, params: Any) -> Any:
        heard("elicitation", plain(params))
        return types.ElicitResult(action="accept", content={"name": name})

    async def sample(context: Any, params: Any) -> Any:
        heard("sampling", plain(params))
        text = types.TextContent(type="text", text=f"sampled by {name}")
        return types.CreateMessageResult(role="assistant", content=text, model="none")

    async def roots(context: Any) -> Any:
        return types.ListRootsResult(roots=[types.Root(uri=f"file:///of/{name}", name=name)])

    return {"elicitation_callback": elicit, "sampling_callback": sample, "list_roots_callback": roots}


async def obey(verbs: dict[str, Verb], speaks: str, instructions: str | None) -> None:
    say({"speaks": speaks, "instructions": instructions})
    lines = asyncio.StreamReader(limit=LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        order = json.loads(line)
        task = asyncio.create_task(carry_out(verbs[order["do"]], order))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()


async def carry_out(verb: Verb, order: dict[str, Any]) -> None:
    try:
        result = await verb(order)
        say({"id": order["id"], "result": result if result is None else plain(result)})
    except Exception as problem:
        error = getattr(problem, "error", problem)  # the SDKs differ in where they keep it
        said = {name: getattr(error, name, None) for name in ("code", "message", "data")}
        say({"id": order["id"], "refused": said | {"as": repr(problem)}})
