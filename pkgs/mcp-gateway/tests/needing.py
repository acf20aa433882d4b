"""A stdio server of the modern era that says what input it needs, and keeps nothing: all is in its state.

`python -I -S needing.py` serves until stdin ends. `need` asks for what its arguments say, round after round,
and answers with what it got in each. Standard library only.
"""

import json
import os
import sys
from typing import Any

META = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
TOOLS = ("need", "circle", "hang", "speak", "seen", "die")
seen: dict[str, Any] = {"pid": os.getpid(), "cancelled": 0, "states": [], "meta": None, "hanging": []}


def say(message: dict[str, Any]) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


def input_required(requests: Any, state: Any) -> dict[str, Any]:
    return {"resultType": "input_required", "inputRequests": requests, "requestState": json.dumps(state)}


def text(value: Any) -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": json.dumps(value)}]}


def need(params: dict[str, Any]) -> dict[str, Any]:
    """`rounds`: what is asked for in each, by name."""
    rounds = params["arguments"]["rounds"]
    got: list[Any] = []
    if "requestState" in params:
        seen["states"].append(params["requestState"])
        got = [*json.loads(params["requestState"]), params.get("inputResponses")]
    token = params["_meta"].get("progressToken")
    if token is not None:
        tell = {"progressToken": token, "progress": len(got) + 1}
        say({"method": "notifications/progress", "params": tell})
    return text(got) if len(got) == len(rounds) else input_required(rounds[len(got)], got)


def speak(meta: dict[str, Any]) -> dict[str, Any]:
    level = meta.get(META + "logLevel")
    for one in LEVELS[LEVELS.index(level) :] if level in LEVELS else ():
        say({"method": "notifications/message", "params": {"level": one, "data": one}})
    return text(level)


def call(message: dict[str, Any]) -> dict[str, Any] | None:
    params = message["params"]
    seen["meta"] = params["_meta"]
    match params["name"]:
        case "need":
            return need(params)
        case "circle":
            return input_required({}, "round")
        case "speak":
            return speak(params["_meta"])
        case "seen":
            return text(seen)
        case "die":
            os._exit(3)
    seen["hanging"].append(message["id"])
    return None


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    match message["method"]:
        case "server/discover":
            return {
                "resultType": "complete",
                "supportedVersions": [MODERN],
                "capabilities": {"tools": {}, "logging": {}},
                "serverInfo": {"name": "needing", "version": "1"},
                "ttlMs": 0,
                "cacheScope": "private",
            }
        case "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
            return {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}
        case "tools/call":
            return call(message)
    raise KeyError(message["method"])


for raw in sys.stdin.buffer:
    request = json.loads(raw)
    if "id" not in request:
        seen["cancelled"] += request["method"] == "notifications/cancelled"
        continue
    try:
        result = answer(request)
    except KeyError as problem:
        say({"id": request["id"], "error": {"code": -32601, "message": f"no {problem}"}})
    else:
        if result is not None:
            say({"id": request["id"], "result": result})
