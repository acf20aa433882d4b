"""A stdio server of the handshake era that asks its client things, and keeps a state for itself.

`python -I -S asking.py` serves until stdin ends. Each process tells its pid and with which client
capabilities it was opened, and asks for roots as soon as it may, as the reference servers do. Standard
library only; a thread for each call, so that calls can wait for answers beside each other.
"""

import json
import os
import sys
import threading
from queue import Empty, Queue
from typing import Any

PATIENCE_S = 60.0

_out = threading.Lock()
_answers: dict[str, Queue[dict[str, Any]]] = {}
_running: dict[Any, "Queue[dict[str, Any]]"] = {}  # what a cancellation wakes up, by the id of the call
state: dict[str, Any] = {
    "pid": os.getpid(),
    "said": [],
    "roots": None,
    "notifications": [],
    "levels": [],
    "visited": [],
}
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def say(message: dict[str, Any]) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"
    with _out:
        while line:
            line = line[os.write(1, line) :]


def question(ask_id: str, method: str, params: Any = None) -> Queue[dict[str, Any]]:
    box = _answers[ask_id] = Queue()
    say({"id": ask_id, "method": method, **({} if params is None else {"params": params})})
    return box


def answer_of(box: "Queue[dict[str, Any]]", patience_s: float = PATIENCE_S) -> Any:
    try:
        got = box.get(timeout=patience_s)
    except Empty:
        return "no answer"
    return got.get("result", got.get("error"))


class Refused(Exception):
    """An error as the answer."""


def call(name: str, arguments: dict[str, Any], tag: str, meta: dict[str, Any]) -> Any:
    match name:
        case "several":  # {"asks": [{"method", "params"}]}: all at once, then the answers in order
            boxes = [
                question(f"{tag}-s{number}", one["method"], one.get("params"))
                for number, one in enumerate(arguments["asks"])
            ]
            return [answer_of(box) for box in boxes]
        case "chain":  # two at once, and two more when the first is answered
            boxes = [question(f"{tag}-c{n}", "elicitation/create", {"message": str(n)}) for n in (1, 2)]
            answers = [answer_of(boxes[0])]
            boxes += [question(f"{tag}-c{n}", "elicitation/create", {"message": str(n)}) for n in (3, 4)]
            return answers + [answer_of(box) for box in boxes[1:]]
        case "rounds":  # {"count"}: one question after another, each with what was said before
            said: list[Any] = []
            for number in range(arguments["count"]):
                progress(meta, number + 1)
                params = {"message": json.dumps(said), "requestedSchema": FORM}
                said.append(answer_of(question(f"{tag}-r{number}", "elicitation/create", params)))
            progress(meta, arguments["count"] + 1)
            return said
        case "speak":
            for level in LEVELS[LEVELS.index((state["levels"] or ["info"])[-1]) :]:
                say({"method": "notifications/message", "params": {"level": level, "data": level}})
            return state["levels"]
        case "die":
            os._exit(3)
        case "ask":  # {"method", "params", "times"}: all at once, then the answers in order
            boxes = [
                question(f"{tag}-{number}", arguments["method"], arguments.get("params"))
                for number in range(arguments.get("times", 1))
            ]
            return [answer_of(box) for box in boxes]
        case "withdraw":
            question(f"{tag}-w", arguments["method"], arguments.get("params"))
            say({"method": "notifications/cancelled", "params": {"requestId": f"{tag}-w"}})
            return answer_of(question(f"{tag}-x", arguments["method"], arguments.get("params")))
        case "leave":  # asks and does not wait
            question(f"{tag}-l", arguments["method"], arguments.get("params"))
            return "left"
        case "late":  # what became of a question whose call is over
            return [answer_of(box, 5.0) for key, box in _answers.items() if key.endswith("-l")]
        case "hang":
            return answer_of(_running.setdefault(tag, Queue()))
        case "page":  # sends the client to a page, and says when that is done
            box = question(f"{tag}-p", "elicitation/create", arguments)
            answer = answer_of(box)
            params = {"elicitationId": arguments["elicitationId"]}
            say({"method": "notifications/elicitation/complete", "params": params})
            return answer
        case "visit":  # answers only who comes back from the page
            if arguments["url"] not in state["visited"]:
                state["visited"].append(arguments["url"])
                page = {"mode": "url", "elicitationId": "1", "message": "Go there", "url": arguments["url"]}
                raise Refused(-32042, "There is a page to visit", {"elicitations": [page]})
            return "welcome back"
        case "remember":
            state["said"].append(arguments["text"])
            return state
        case "state":
            return state
        case _:
            raise KeyError(name)


def progress(meta: dict[str, Any], done: int) -> None:
    if "progressToken" in meta:
        params = {"progressToken": meta["progressToken"], "progress": done}
        say({"method": "notifications/progress", "params": params})


FORM = {"type": "object", "properties": {}}
TOOLS = (
    *("ask", "withdraw", "leave", "late", "hang", "page", "visit", "remember", "state"),
    *("several", "chain", "rounds", "speak", "die"),
)


def listed() -> list[dict[str, Any]]:
    is_asked = state.get("capabilities", {}).keys() & {"elicitation", "sampling", "roots"}
    names = (*TOOLS, "only-for-the-asked") if is_asked else TOOLS
    return [{"name": name, "inputSchema": {"type": "object"}} for name in names]


def answer(message: dict[str, Any]) -> None:
    params = message.get("params") or {}
    try:
        match message["method"]:
            case "initialize":
                state["capabilities"], state["revision"] = params["capabilities"], params["protocolVersion"]
                result: Any = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}, "logging": {}},
                    "serverInfo": {"name": "asking", "version": "1"},
                }
            case "tools/list":
                result = {"tools": listed()}
            case "tools/call":
                arguments, meta = params.get("arguments") or {}, params.get("_meta") or {}
                said = call(params["name"], arguments, f"q{message['id']}", meta)
                result = {"content": [{"type": "text", "text": json.dumps(said)}]}
            case "ping":
                result = {}
            case "logging/setLevel":
                state["levels"].append(params["level"])
                result = {}
            case _:
                say({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
                return
    except Refused as refused:
        code, words, data = refused.args
        say({"id": message["id"], "error": {"code": code, "message": words, "data": data}})
        return
    except KeyError as problem:
        say({"id": message["id"], "error": {"code": -32602, "message": f"no {problem}"}})
        return
    say({"id": message["id"], "result": result})


def main() -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "method" not in message:
            box = _answers.get(message["id"])
            if message["id"].startswith("roots-"):  # known before the next message is read
                said = message.get("result", message.get("error"))
                state["roots"] = said.get("roots", said)
            elif box is not None:
                box.put(message)
        elif "id" in message:
            threading.Thread(target=answer, args=(message,), daemon=True).start()
        else:
            state["notifications"].append(message["method"])
            if message["method"] == "notifications/cancelled":
                box = _running.get(f"q{message['params']['requestId']}")
                if box is not None:
                    box.put({"result": "cancelled"})
            if "roots" in message["method"] or (
                message["method"] == "notifications/initialized" and "roots" in state["capabilities"]
            ):
                question(f"roots-{len(_answers)}", "roots/list")


main()
