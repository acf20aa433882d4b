"""MCP over HTTP.

messages    what a message means, however it is carried
streamable  the endpoint `/mcp` (all servers, exposed names) and `/servers/{id}/mcp` (one, native)
modern      the same for requests of 2026-07-28, which stand alone
legacy_sse  HTTP+SSE of 2024-11-05: `/mcp/sse` and `/mcp/message`, and for each server
telling     what a session's own stream tells of itself
subscribing  subscriptions to resources, and the modern era's streams of what changes
sessions    downstream sessions of the handshake era
streams     their event streams, and what is kept of them for who lost the connection
resources   artifacts as resources
"""
