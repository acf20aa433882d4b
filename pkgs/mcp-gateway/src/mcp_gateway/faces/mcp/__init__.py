"""MCP over HTTP.

streamable  the endpoint `/mcp` (all servers, exposed names) and `/servers/{id}/mcp` (one, native)
sessions    downstream sessions of the handshake era
"""
