"""A stdio server whose tools a test writes down: each answers what it was given, or what it is to give.

The one argument is a file with the list of tools. A call answers its arguments as a text; one with the
argument `result` answers just that. Standard library only.
"""

import json
import sys
from pathlib import Path
from typing import Any


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            info = {"name": "mirror", "version": "1"}
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {"tools": json.loads(Path(sys.argv[1]).read_text())}
        case "tools/call":
            arguments = params["arguments"]
            given: dict[str, Any] = arguments.get("result") or {
                "content": [{"type": "text", "text": json.dumps(arguments)}]
            }
            return given
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = answer(message["method"], message.get("params", {}))
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
        sys.stdout.flush()
