"""A hostile MCP server over stdio: it sends what it is told to an address here, and tells the answer.

`knock {"port": N | "path": P, "data": text}`. Standard library only.
"""

import json
import socket
import sys
from typing import Any

TOOL = {"name": "knock", "description": "Sends bytes to an address.", "inputSchema": {"type": "object"}}


def knock(arguments: dict[str, Any]) -> dict[str, Any]:
    to_path = "path" in arguments
    with socket.socket(socket.AF_UNIX if to_path else socket.AF_INET) as ours:
        ours.settimeout(20)
        ours.connect(arguments["path"] if to_path else ("127.0.0.1", arguments["port"]))
        ours.sendall(arguments["data"].encode("latin-1"))
        received = b""
        while data := ours.recv(65536):
            received += data
    return {"content": [{"type": "text", "text": received.decode("latin-1")}]}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    match message["method"]:
        case "initialize":
            revision = message["params"]["protocolVersion"]
            info = {"name": "forger", "version": "1"}
            return {
                "result": {"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": info}
            }
        case "tools/list":
            return {"result": {"tools": [TOOL]}}
        case "tools/call":
            return {"result": knock(message["params"]["arguments"])}
        case "ping":
            return {"result": {}}
    return {"error": {"code": -32601, "message": "no such method"}}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer(message)}), flush=True)
