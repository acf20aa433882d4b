"""Drives the client of fastmcp: `python_fastmcp.py URL legacy|auto|REVISION [NAME]`, see `driving.py`."""

import asyncio
import sys
import warnings

from driving import heard, logged, obey, progressed
from fastmcp import Client

warnings.simplefilter("ignore")  # the handshake era is deprecated, and is what this is about


async def main() -> None:
    url, mode, *name = sys.argv[1:]

    async def elicit(message: str, response_type: object, params: object, context: object) -> object:
        heard("elicitation", {"message": message})
        return {"name": name[0]}

    async def sample(messages: list, params: object, context: object) -> str:
        heard("sampling", [str(message) for message in messages])
        return f"sampled by {name[0]}"

    asked = {"elicitation_handler": elicit, "sampling_handler": sample} if name else {}
    roots = [f"file:///of/{name[0]}"] if name else None
    async with Client(url, mode=mode, log_handler=logged, roots=roots, **asked) as client:
        verbs = {
            "tools": lambda order: client.list_tools_mcp(),
            "call": lambda order: client.call_tool_mcp(
                order["name"], order["arguments"], progress_handler=progressed
            ),
            "resources": lambda order: client.list_resources_mcp(),
            "templates": lambda order: client.list_resource_templates_mcp(),
            "read": lambda order: client.read_resource_mcp(order["uri"]),
            "prompts": lambda order: client.list_prompts_mcp(),
            "prompt": lambda order: client.get_prompt_mcp(order["name"], order["arguments"]),
            "level": lambda order: client.set_logging_level(order["level"]),
        }
        await obey(verbs, client.protocol_version, client.instructions)


asyncio.run(main())
