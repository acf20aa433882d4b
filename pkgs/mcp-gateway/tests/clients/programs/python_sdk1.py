"""Drives the official Python SDK 1.x: `python_sdk1.py URL [NAME]`, see `driving.py`."""

import asyncio
import sys

from driving import answers, changed, logged, obey, progressed
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client


async def main() -> None:
    url, *name = sys.argv[1:]
    callbacks = answers(name[0], types) if name else {}
    async with (
        streamable_http_client(url) as (read, write, _),
        ClientSession(read, write, logging_callback=logged, message_handler=changed, **callbacks) as session,
    ):
        begun = await session.initialize()
        verbs = {
            "tools": lambda order: session.list_tools(),
            "call": lambda order: session.call_tool(
                order["name"], order["arguments"], progress_callback=progressed
            ),
            "resources": lambda order: session.list_resources(),
            "templates": lambda order: session.list_resource_templates(),
            "read": lambda order: session.read_resource(order["uri"]),
            "prompts": lambda order: session.list_prompts(),
            "prompt": lambda order: session.get_prompt(order["name"], order["arguments"]),
            "watch": lambda order: session.subscribe_resource(order["uri"]),
            "level": lambda order: session.set_logging_level(order["level"]),
        }
        await obey(verbs, begun.protocolVersion, begun.instructions)


asyncio.run(main())
