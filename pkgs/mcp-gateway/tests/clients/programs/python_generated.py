"""Calls tools through a client that a code generator wrote: `python_generated.py PACKAGE URL`.

Reads a JSON list of calls on stdin, each `{"tag": server, "operation": name, "arguments": {...}}`, with names
as the generator writes them in Python. Prints how many `operations` there are, all of which it imports, and
what was `told`: for each call `{"status": number, "type": class, "value": JSON}`.
"""

import importlib
import inspect
import json
import sys
from pathlib import Path


def main() -> None:
    package, url = Path(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, str(package.parent))
    client = importlib.import_module(package.name).Client(base_url=url)
    every = sorted(package.glob("api/*/[!_]*.py"))
    modules = {
        (path.parent.name, path.stem): importlib.import_module(
            f"{package.name}.api.{path.parent.name}.{path.stem}"
        )
        for path in every
    }
    told = []
    for call in json.load(sys.stdin):
        module = modules[call["tag"], call["operation"]]
        body = inspect.signature(module.sync_detailed).parameters["body"].annotation
        classes = [one for one in getattr(body, "__args__", (body,)) if hasattr(one, "from_dict")]
        answer = module.sync_detailed(client=client, body=classes[0].from_dict(call["arguments"]))
        value = answer.parsed
        told.append(
            {
                "status": int(answer.status_code),
                "type": type(value).__name__,
                "value": value.to_dict() if hasattr(value, "to_dict") else value,
            }
        )
    print(json.dumps({"operations": len(every), "told": told}))


if __name__ == "__main__":
    main()
