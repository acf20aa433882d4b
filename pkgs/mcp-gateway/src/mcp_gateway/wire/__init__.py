"""The MCP wire, without any input or output: bytes in, heads and bytes out.

Nothing here waits, opens, logs or remembers. Everything above reads messages through `envelope`, asks
`revisions` what a revision allows, and writes event streams through `sse`; `halves` lets text pass
that was cut within a character.
"""
