"""MCP Gateway: one door for every MCP server."""
