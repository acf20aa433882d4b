"""An MCP server over stdio that gathers calls and answers them all at once, in another order.

`python -I -S shuffling.py N`: holds each `tools/call` until N have come, tells progress of each twice, then
answers. The answer is the arguments' `payload`, so that a caller knows its own. Standard library only.
"""

import json
import random
import sys
from typing import Any


def write(*messages: dict[str, Any]) -> None:
    sys.stdout.write("".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages))
    sys.stdout.flush()


def progress(call: dict[str, Any], done: int) -> dict[str, Any]:
    params = call["params"]
    token, payload = params["_meta"]["progressToken"], params["arguments"]["payload"]
    told = {"progressToken": token, "progress": done, "message": payload}
    return {"method": "notifications/progress", "params": told}


def answer(call: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "text", "text": call["params"]["arguments"]["payload"]}
    return {"id": call["id"], "result": {"content": [text]}}


def main() -> None:
    wanted = int(sys.argv[1])
    held: list[dict[str, Any]] = []
    for line in sys.stdin:
        message = json.loads(line)
        method, request_id = message.get("method"), message.get("id")
        if method == "initialize":
            info = {"serverInfo": {"name": "shuffling", "version": "1"}, "capabilities": {"tools": {}}}
            write({"id": request_id, "result": {"protocolVersion": "2025-11-25", **info}})
        elif method == "tools/list":
            tools = [{"name": "hold", "inputSchema": {"type": "object"}}]
            write({"id": request_id, "result": {"tools": tools}})
        elif method == "tools/call":
            held.append(message)
            if len(held) == wanted:
                for done in (1, 2):
                    random.shuffle(held)
                    write(*(progress(call, done) for call in held))
                random.shuffle(held)
                write(*(answer(call) for call in held))
                held = []
        elif request_id is not None:
            write({"id": request_id, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
