"""A stdio server of the official SDK, in both eras, whose tool `touch` says that a resource has changed."""

import asyncio
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ToolsListChanged
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

URIS = ("sdk://a", "sdk://b")
bus = InMemorySubscriptionBus()
subscribed: set[str] = set()
tools = ["touch", "grow"]


async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in tools]
    )


async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    is_modern = context.session.protocol_version in MODERN_PROTOCOL_VERSIONS
    if params.name == "grow":
        tools.append("grown")
        if is_modern:
            await bus.publish(ToolsListChanged())
        else:
            await context.session.send_tool_list_changed()
    elif is_modern:
        await bus.publish(ResourceUpdated(uri=str((params.arguments or {})["uri"])))
    elif (uri := str((params.arguments or {})["uri"])) in subscribed:
        await context.session.send_resource_updated(uri)
    return types.CallToolResult(content=[types.TextContent(type="text", text="done")])


async def list_resources(_: Any, __: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[types.Resource(uri=uri, name=uri) for uri in URIS])


async def subscribe(_: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
    subscribed.add(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(_: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    subscribed.discard(str(params.uri))
    return types.EmptyResult()


server: Server[Any] = Server(
    "sdk",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_subscribe_resource=subscribe,
    on_unsubscribe_resource=unsubscribe,
    on_subscriptions_listen=ListenHandler(bus),
)


async def main() -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
