"""MCP over HTTP.

messages    what a message means, however it is carried
streamable  the endpoint `/mcp` (all servers, exposed names) and `/servers/{id}/mcp` (one, native)
sessions    downstream sessions of the handshake era
streams     their event streams, and what is kept of them for who lost the connection
resources   artifacts as resources
"""
