"""A stdio server with resources, templates, prompts and completion, which a test writes down as JSON.

The one argument is a file: `{"resources": [...], "templates": [...], "prompts": [...], "tools": [...],
"era": "handshake" | "modern", "capabilities": {...}, "info": {...}}`, read again at every request, so that a
test can change it and have that announced. Everything is answered in a way that shows what arrived. The tool
`touch` says so many times that a resource has changed, to who subscribed to it; with `as`, that a part of it
has. Subscribing to URIs that are `unheard` is not answered; `listens: false` is a server without listening.
Standard library only.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

META = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
EXTENSION = META + "tasks"
_out = threading.Lock()
declared: dict[str, Any] = {}  # by the client, when it opened
tasks: dict[str, Any] = {}  # arguments of the calls that became one, by id
running: dict[Any, threading.Event] = {}
subscribed: set[str] = set()  # handshake era
listening: dict[Any, dict[str, Any]] = {}  # modern era: what each open request asks for
seen: list[str] = []  # of subscriptions, in order


def spec() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return found


def say(message: dict[str, Any]) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"
    with _out:
        while line:
            line = line[os.write(1, line) :]


class Refused(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({} if data is None else {"data": data})}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def subscribe(method: str, uri: str, done: threading.Event) -> dict[str, Any]:
    seen.append(f"{method.rpartition('/')[2]} {uri}")
    if uri in spec().get("unheard", ()):
        done.wait(60)
    if uri.endswith("/missing"):
        raise Refused(-32002, "Resource not found", {"uri": uri})
    (subscribed.add if method == "resources/subscribe" else subscribed.discard)(uri)
    return {}


def listen(request_id: Any, params: dict[str, Any], done: threading.Event) -> dict[str, Any]:
    if not spec().get("listens", True):
        raise Refused(-32601, "no subscriptions/listen")
    wish = dict(params["notifications"])
    uris = [uri for uri in wish.pop("resourceSubscriptions", ()) if not uri.endswith("/missing")]
    seen.append(" ".join(["listen", *sorted(wish), *uris]))
    honoured = {**wish, **({"resourceSubscriptions": uris} if uris else {})}
    listening[request_id] = honoured
    tell("notifications/subscriptions/acknowledged", {"notifications": honoured}, request_id)
    done.wait()
    listening.pop(request_id, None)
    seen.append("unlisten")
    return {"_meta": {META + "subscriptionId": request_id}}


def tell(method: str, params: dict[str, Any], request_id: Any) -> None:
    say({"method": method, "params": {**params, "_meta": {META + "subscriptionId": request_id}}})


def touch(uri: str, times: int, said: str) -> None:
    for _ in range(times):
        if uri in subscribed:
            say({"method": "notifications/resources/updated", "params": {"uri": said}})
        for request_id, wish in list(listening.items()):
            if uri in wish.get("resourceSubscriptions", ()):
                tell("notifications/resources/updated", {"uri": said}, request_id)


def announce(kind: str) -> None:
    if spec().get("era") != "modern":
        say({"method": f"notifications/{kind}/list_changed"})
    for request_id, wish in list(listening.items()):
        if wish.get(f"{kind}ListChanged"):
            tell(f"notifications/{kind}/list_changed", {}, request_id)


def use(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    match name:
        case "announce":
            for _ in range(arguments.get("times", 1)):
                announce(arguments["kind"])
            return {"content": [text("announced")]}
        case "touch":
            uri = arguments["uri"]
            touch(uri, arguments.get("times", 1), arguments.get("as", uri))
            return {"content": [text("touched")]}
        case "seen":
            return {"content": [text(json.dumps(seen))]}
        case "hang-up":  # ends what is open, as a server that is about to stop does
            for request_id in list(listening):
                running[request_id].set()
            return {"content": [text("gone")]}
        case "die":
            os._exit(3)
    return {"content": linked(arguments["uri"]), "structuredContent": arguments}


def linked(uri: str) -> list[dict[str, Any]]:
    return [
        {"type": "resource_link", "uri": uri, "name": "linked"},
        {"type": "resource", "resource": {"uri": uri, "text": f"about {uri}", "x-number": 1.0}},
        text(f"see {uri}"),
    ]


def read(params: dict[str, Any], done: threading.Event) -> dict[str, Any]:
    uri = params["uri"]
    if uri.endswith("/slow"):
        token = params["_meta"]["progressToken"]
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        done.wait(60)
    if uri.endswith("/large"):
        return {"contents": [{"uri": uri, "text": "0123456789" * 1_200_000}]}
    if uri.endswith("/missing"):
        raise Refused(-32002, "Resource not found", {"uri": uri})
    also = [{"uri": one["uri"], "text": "also"} for one in spec().get("resources", ()) if one["uri"] != uri]
    return {"contents": [{"uri": uri, "text": f"{spec().get('name')} read {uri}"}, *also]}


def get(params: dict[str, Any]) -> dict[str, Any]:
    said = {"name": params["name"], "arguments": params.get("arguments", {})}
    blocks = [text(json.dumps(said)), *linked(params.get("arguments", {}).get("uri", "x://none"))]
    return {"description": "asked", "messages": [{"role": "user", "content": block} for block in blocks]}


def extensions(params: dict[str, Any]) -> Any:
    return params["_meta"].get(META + "clientCapabilities", {}).get("extensions", {})


def begin(arguments: dict[str, Any], is_modern: bool) -> dict[str, Any]:
    """A task instead of a result; its id is the one that the test wants."""
    tasks[arguments["id"]] = arguments
    task = task_of(arguments["id"])
    return {"resultType": "task", **task} if is_modern else {"task": task, "_meta": {"x": 1.0}}


def task_of(task_id: str) -> dict[str, Any]:
    return {"taskId": task_id, "status": "working", "ttl": None, "server": spec().get("name")}


def answer(method: str, params: dict[str, Any], done: threading.Event) -> dict[str, Any]:
    known = spec()
    match method:
        case "initialize" if known.get("era") != "modern":
            result = {"protocolVersion": params["protocolVersion"], "capabilities": known["capabilities"]}
            declared.update(params["capabilities"])
            return {**result, "serverInfo": known.get("info", {"name": "shelf", "version": "1"})}
        case "server/discover" if known.get("era") == "modern":
            declared.update(params["_meta"][META + "clientCapabilities"])
            said = {META + "serverInfo": known["info"]} if "info" in known else {}
            return {"supportedVersions": [MODERN], "capabilities": known["capabilities"], "_meta": said}
        case "ping":
            return {}
        case "tools/list":
            return {"tools": known.get("tools", [])}
        case "resources/list":
            return {"resources": known.get("resources", [])}
        case "resources/templates/list":
            return {"resourceTemplates": known.get("templates", [])}
        case "prompts/list":
            return {"prompts": known.get("prompts", [])}
        case "tools/call" if "task" in params or EXTENSION in extensions(params):
            return begin(params["arguments"], known.get("era") == "modern")
        case "tasks/list":
            return {"tasks": [task_of(task_id) for task_id in tasks], "x-new": 1.0}
        case "tasks/get" | "tasks/cancel" | "tasks/result" | "tasks/update":
            if (arguments := tasks.get(params["taskId"])) is None:
                raise Refused(-32602, "Task not found")
            if method == "tasks/result":
                return {"content": linked(arguments["uri"]), "_meta": {"x": 1.0}}
            return {**task_of(params["taskId"]), "asked": method}
        case _ if method.partition("/")[0] == "x" or method == "resources/search":
            if method == "x/refuse":
                raise Refused(-32055, "Not today", {"n": 1.0})
            token = params.get("_meta", {}).pop("progressToken", None)
            say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
            return {"method": method, "params": params, "n": 1.0}
        case "tools/call" if params["name"] == "declared":
            return {"content": [text(json.dumps(declared))]}
        case "tools/call":
            return use(params["name"], params["arguments"])
        case "resources/subscribe" | "resources/unsubscribe" if known.get("era") != "modern":
            return subscribe(method, params["uri"], done)
        case "resources/read":
            return read(params, done)
        case "prompts/get":
            return get(params)
        case "completion/complete":
            params.pop("_meta", None)
            return {"completion": {"values": [json.dumps(params, sort_keys=True)], "hasMore": False}}
    raise Refused(-32601, f"no {method}")


def serve(message: dict[str, Any], done: threading.Event) -> None:
    params = message.get("params", {})
    try:
        if message["method"] == "subscriptions/listen":
            result = listen(message["id"], params, done)
        else:
            result = answer(message["method"], params, done)
        if spec().get("era") == "modern":
            result = {"resultType": "complete", **result}
        say({"id": message["id"], "result": result})
    except Refused as refused:
        say({"id": message["id"], "error": refused.error})
    finally:
        running.pop(message["id"], None)


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            if (done := running.get(message["params"]["requestId"])) is not None:
                done.set()
                Path(sys.argv[1]).with_suffix(".cancelled").write_text(str(time.time()))
        elif "id" in message and "method" in message:
            done = running[message["id"]] = threading.Event()
            threading.Thread(target=serve, args=(message, done), daemon=True).start()


if __name__ == "__main__":
    main()
