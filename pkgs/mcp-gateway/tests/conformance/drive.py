"""The client of the suite's client scenarios: a gateway whose one server is theirs, and somebody who uses it.

`python -m tests.conformance.drive URL` starts the gateway, does with its MCP endpoint what the scenario in
the environment wants done, and ends it. So what the suite sees of a client is what our upstream face says;
what the official SDK says only gets as far as the gateway.
"""

import asyncio
import json
import os
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from tests.harness import Gateway

SERVER: Final = "server"
MODERN: Final = "2026-07-28"
PATIENCE_S: Final = 30.0
# What tools want that cannot be called without arguments. A schema is what this client saw of another tool.
ARGUMENTS: Final = {"add_numbers": {"a": 5, "b": 3}}
ECHO, ECHOED = "json_schema_echo", "json_schema_2020_12_tool"
LISTED_ONLY: Final = {"lookup_user"}  # its server offers a list and no calls


async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """A user who leaves every form as it is, and agrees."""
    schema = getattr(params, "requested_schema", None) or {}
    fields = schema.get("properties", {})
    content = {name: field.get("default", True) for name, field in fields.items()}
    return ElicitResult(action="accept", content=content)


async def use(url: str, mode: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Makes the calls that the scenario names; if it names none, uses all that there is."""
    async with asyncio.timeout(PATIENCE_S), Client(url, mode=mode, elicitation_callback=answer) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name in tools.keys() - LISTED_ONLY if not calls else ():
            echoed = {"schema": tools[ECHOED].input_schema} if name == ECHO and ECHOED in tools else {}
            calls.append((name, ARGUMENTS.get(name, echoed)))
        for name, arguments in calls:
            # What is answered is the suite's business, and not whether this client likes it.
            with suppress(MCPError):
                await client.call_tool(name, arguments)
        for resource in (await client.list_resources()).resources:
            await client.read_resource(resource.uri)
        for prompt in (await client.list_prompts()).prompts:
            await client.get_prompt(prompt.name, {})


def main(url: str) -> None:
    warnings.simplefilter("ignore")
    mode = MODERN if os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION") == MODERN else "legacy"
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    calls = [(call["name"], call["arguments"]) for call in context.get("toolCalls", ())]
    with (
        tempfile.TemporaryDirectory() as directory,
        Gateway({SERVER: {"url": url}}, Path(directory), plain=True) as gateway,
    ):
        gateway.wait_for_state(SERVER, "ready")
        asyncio.run(use(f"http://127.0.0.1:{gateway.port}/servers/{SERVER}/mcp", mode, calls))


if __name__ == "__main__":
    main(sys.argv[1])
