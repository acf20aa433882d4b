"""An MCP server over stdio whose tools are those of a file, and which answers what it is told to.

`python saying.py TOOLS.json`: the file holds the list of tools. A call whose arguments have a member `say`
is answered with that as its result, byte for byte; one with `fill` with a text of so many characters; any
other one with its arguments as they were written.
`files:///x.bin` can be read. Standard library only.
"""

import json
import sys
from pathlib import Path

CONTENTS = {
    "files:///x.bin": {"mimeType": "application/zip", "blob": "UEsDBAo="},
    "files:///page.html": {"mimeType": "text/html", "text": "<script>alert(1)</script>"},
    "files:///plain": {"text": "ü"},
    "files:///typed": {"mimeType": "text/a\u4e2d", "text": "a"},
    "files:///large": {"mimeType": "application/zip", "blob": "AAAA" * 3_000_000},
    "files:///odd": {"mimeType": "text/html\r\nX: y", "blob": "not base64!"},
}


def as_written(line: str) -> str:
    """The arguments of a call, not decoded."""
    at = line.index('"arguments":') + len('"arguments":')
    return line[at : json.JSONDecoder().raw_decode(line, at)[1]]


def main() -> None:
    tools = json.loads(Path(sys.argv[1]).read_text())
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        params = message.get("params", {})
        match message["method"]:
            case "initialize":
                capabilities: dict[str, dict[str, bool]] = {"tools": {}, "resources": {}}
                info = {"name": "saying", "version": "1"}
                revision = params["protocolVersion"]
                result = json.dumps(
                    {"protocolVersion": revision, "capabilities": capabilities, "serverInfo": info}
                )
            case "tools/list":
                result = json.dumps({"tools": tools})
            case "resources/list":
                result = json.dumps({"resources": [{"uri": uri, "name": uri} for uri in CONTENTS]})
            case "resources/templates/list":
                result = '{"resourceTemplates": []}'
            case "resources/read":
                result = json.dumps({"contents": [{"uri": params["uri"]} | CONTENTS[params["uri"]]]})
            case "tools/call" if "say" in params["arguments"]:
                result = params["arguments"]["say"]
            case "tools/call" if "fill" in params["arguments"]:
                text = "x" * params["arguments"]["fill"]
                result = json.dumps({"content": [{"type": "text", "text": text}]})
            case "tools/call":
                arguments = as_written(line)
                result = json.dumps({"content": [{"type": "text", "text": f"got {arguments}"}]})
            case _:
                error = {"code": -32601, "message": "no such method"}
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), flush=True)
                continue
        print(f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},"result":{result}}}', flush=True)


if __name__ == "__main__":
    main()
