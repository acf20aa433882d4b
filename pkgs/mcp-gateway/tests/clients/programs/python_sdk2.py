"""Drives the official Python SDK 2.x: `python_sdk2.py TARGET legacy|auto|REVISION [NAME]`, see `driving.py`.

TARGET is a URL, or a command as a JSON array, which is spoken to over stdio. With a NAME it can be asked.
"""

import asyncio
import contextlib
import json
import os
import sys
import warnings

from driving import answers, changed, heard, logged, obey, progressed
from mcp import Client, types
from mcp.client.stdio import StdioServerParameters

warnings.simplefilter("ignore")  # the handshake era is deprecated, and is what this is about


async def main() -> None:
    target, mode, *name = sys.argv[1:]
    if target.startswith("["):
        command, *args = json.loads(target)
        target = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    callbacks = answers(name[0], types) if name else {}
    client = Client(target, mode=mode, logging_callback=logged, message_handler=changed, **callbacks)

    async def watch(order: dict) -> None:
        if client.protocol_version < "2026":
            await client.subscribe_resource(order["uri"])
            return
        streams = await leaving.enter_async_context(
            client.listen(tools_list_changed=True, resource_subscriptions=[order["uri"]])
        )
        watching.append(asyncio.create_task(tell(streams)))

    async def tell(events: object) -> None:
        async for event in events:
            heard("change", getattr(event, "uri", "tools"))

    watching: list[asyncio.Task[None]] = []
    async with client, contextlib.AsyncExitStack() as leaving:
        verbs = {
            "tools": lambda order: client.list_tools(),
            "call": lambda order: client.call_tool(
                order["name"], order["arguments"], progress_callback=progressed
            ),
            "resources": lambda order: client.list_resources(),
            "templates": lambda order: client.list_resource_templates(),
            "read": lambda order: client.read_resource(order["uri"]),
            "prompts": lambda order: client.list_prompts(),
            "prompt": lambda order: client.get_prompt(order["name"], order["arguments"]),
            "watch": watch,
            "level": lambda order: client.set_logging_level(order["level"]),
        }
        await obey(verbs, client.protocol_version, client.instructions)


asyncio.run(main())
